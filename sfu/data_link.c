/* The data thread, which owns all SCTP, and its link to each worker.
 *
 *   worker: data_port_open() ──► data thread: sctp_new ── up ──► worker: ops.up
 *     packets both ways, through ops.output and data_port_input()
 *     DATA_CHANNEL_OPEN ──► on_dcep(): ACK, ops.channel; messages ──► ops.message
 *     data_port_send() ──► send_one(): usrsctp's buffer, else the queue, else lost and told
 *   worker: data_port_close() ──► conn_free()
 *
 * Two rings a port, each with one producer and one consumer; who finds the other asleep posts a
 * mail to it, once until it has woken. Worker side and data side share nothing else; counters are
 * each one's own. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_link.h"

#include <errno.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/ring.h"
#include "net/worker.h"
#include "sfu/sctp.h"

enum {
    RETRY_US = 10 * 1000, /* after a ring was full for something that must not be lost */
    INDEX_BITS = 20,      /* of an id; the rest counts the uses of the slot */
    SLOTS_FIRST = 16,
    NOTICE_MAX = 96,
    EARLY_BYTES_MAX = 65536, /* of reliable messages for a client that has no channel yet */
};
_Static_assert((unsigned)DATA_MESSAGE_MAX == (unsigned)SCTP_MESSAGE_MAX, "one limit");
_Static_assert(DATA_PORT_ASSOCS_MAX < 1 << INDEX_BITS, "an index fits an id");

enum record_type {
    REC_OPEN, /* to the data thread: + struct data_conf */
    REC_CLOSE,
    REC_INPUT,  /* + packet */
    REC_SEND,   /* + n ids + message */
    REC_OUTPUT, /* to the worker: + packet */
    REC_UP,
    REC_DOWN,
    REC_CHANNEL, /* flag: open */
    REC_MESSAGE, /* flag: text; + message */
};
struct record {
    uint8_t type, class, flag;
    uint16_t n;
    uint32_t id;
};

/* A reliable message that waits for room. */
struct queued {
    struct queued *next;
    bool text;
    size_t len;
    uint8_t bytes[];
};

/* Notices that did not fit the ring. */
enum { NOTE_UP = 1, NOTE_DOWN = 2, NOTE_CHANNEL = 4 /* << class */ };

/* One association, in the data thread. */
struct conn {
    struct data_port *port;
    struct sctp_assoc *assoc;
    struct data_channels channels;
    struct data_conf conf;
    struct queued *head, **tail;
    size_t queued_bytes;
    bool had_channel; /* the reliable one was opened, be it closed by now */
    uint64_t lost[DATA_CLASSES];
    uint32_t id;
    unsigned notes;
    struct list noted; /* on link->noted while notes is not 0 */
};

/* One association, in the worker: an index that is used again and again. */
struct slot {
    void *owner;
    uint32_t uses;
    bool open, closing; /* closing: the data thread could not be told yet */
};

struct data_port {
    struct data_link *link;
    struct worker *worker;
    const struct data_port_ops *ops;
    struct ring *down, *up; /* to the data thread, to the worker */
    struct {                /* the worker's */
        struct slot *slot;
        uint32_t n, cap, hint, n_used, n_closing; /* n_used: open or closing */
        struct wtimer retry;
        struct counter drops[DATA_DROPS];
    } w;
    struct { /* the data thread's */
        struct conn **conn;
        uint32_t cap;
        struct counter drops[DATA_DROPS];
    } d;
};

struct data_link {
    struct worker *worker; /* the data thread */
    struct wtimer tick;
    struct list noted; /* the data thread's: who has something to tell that did not fit */
    unsigned n_ports, ports_max;
    struct data_port *port;
};

static const char *const drop_names[DATA_DROPS] = {
    [DATA_DROP_RING] = "ring",
    [DATA_DROP_NO_CHANNEL] = "no_channel",
    [DATA_DROP_SLOW_LOSSY] = "slow_lossy",
    [DATA_DROP_SLOW] = "slow",
    [DATA_DROP_TOO_LARGE] = "too_large",
    [DATA_DROP_PPID] = "ppid",
    [DATA_DROP_DCEP] = "dcep",
};

const char *data_drop_name(enum data_drop why)
{
    return why < DATA_DROPS ? drop_names[why] : "";
}

uint64_t data_port_drops(const struct data_port *p, enum data_drop why)
{
    return counter_get(&p->w.drops[why]) + counter_get(&p->d.drops[why]);
}

static uint32_t id_of(uint32_t index, uint32_t uses)
{
    return uses << INDEX_BITS | (index + 1);
}

static uint32_t index_of(uint32_t id)
{
    return (id & ((1u << INDEX_BITS) - 1)) - 1;
}

/* Adds a record and wakes who reads it. */
static bool push(struct ring *ring, struct worker *reader, worker_fn *fn, void *arg,
                 const struct slice *parts, size_t n)
{
    bool fits = ring_push(ring, parts, n);

    if (ring_must_wake(ring) && worker_post(reader, fn, arg) != 0)
        ring_woken(ring); /* out of memory: the next push tries again */
    return fits;
}

/* --- Data thread: telling the worker. */

static void on_up(void *arg, uint64_t now_us);
static void on_down(void *arg, uint64_t now_us);

static bool tell(struct conn *c, struct record r, struct slice body)
{
    const struct slice parts[] = {slice_of(&r, sizeof(r)), body};

    return push(c->port->up, c->port->worker, on_up, c->port, parts, ARRAY_LEN(parts));
}

/* Tells of what is noted, in this order. Returns false when the ring is full. */
static bool tell_notes(struct conn *c)
{
    struct record r = {.id = c->id};

    if (c->notes & NOTE_UP) {
        r.type = REC_UP;
        if (!tell(c, r, (struct slice){0}))
            return false;
        c->notes &= ~(unsigned)NOTE_UP;
    }
    for (unsigned class = 0; class < DATA_CLASSES; class ++) {
        if (!(c->notes & (unsigned)NOTE_CHANNEL << class))
            continue;
        r.type = REC_CHANNEL;
        r.class = (uint8_t) class;
        r.flag = data_channels_by_class(&c->channels, (enum data_class) class) != NULL;
        if (!tell(c, r, (struct slice){0}))
            return false;
        c->notes &= ~((unsigned)NOTE_CHANNEL << class);
    }
    if (c->notes & NOTE_DOWN) {
        r = (struct record){.type = REC_DOWN, .id = c->id};
        if (!tell(c, r, (struct slice){0}))
            return false;
        c->notes &= ~(unsigned)NOTE_DOWN;
    }
    return true;
}

static void note(struct conn *c, unsigned what)
{
    bool waits = c->notes != 0;

    c->notes |= what;
    if (!waits && !tell_notes(c))
        list_append(&c->port->link->noted, &c->noted);
}

static void drop(struct conn *c, enum data_drop why)
{
    counter_inc(&c->port->d.drops[why]);
}

/* --- Data thread: sending. */

static int send_now(struct conn *c, const struct data_channel *ch, bool text, struct slice msg)
{
    struct sctp_send_as as = {
        .stream = ch->stream,
        .unordered = ch->channel_type & DCEP_UNORDERED,
        .partial = ch->channel_type & (uint8_t)~DCEP_UNORDERED,
        .value = ch->reliability,
        .ppid = text ? DATA_PPID_STRING : DATA_PPID_BINARY,
    };

    if (msg.len == 0) { /* SCTP has no empty messages (RFC 8831 §6.6) */
        as.ppid = text ? DATA_PPID_STRING_EMPTY : DATA_PPID_BINARY_EMPTY;
        msg = SLICE_LIT("\0");
    }
    return sctp_send(c->assoc, &as, msg);
}

static void lose(struct conn *c, enum data_class class)
{
    drop(c, class == DATA_LOSSY ? DATA_DROP_SLOW_LOSSY : DATA_DROP_SLOW);
    c->lost[class]++;
}

static void enqueue(struct conn *c, bool text, struct slice msg)
{
    struct queued *q = NULL;

    size_t most = c->had_channel || c->conf.queue_bytes < EARLY_BYTES_MAX ? c->conf.queue_bytes
                                                                          : EARLY_BYTES_MAX;

    if (msg.len <= most && c->queued_bytes <= most - msg.len)
        q = mem_zalloc(sizeof(*q) + msg.len);
    if (!q) {
        lose(c, DATA_RELIABLE);
        return;
    }
    q->text = text;
    q->len = msg.len;
    if (msg.len > 0)
        memcpy(q->bytes, msg.p, msg.len);
    *c->tail = q;
    c->tail = &q->next;
    c->queued_bytes += msg.len;
}

static void send_one(struct conn *c, enum data_class class, bool text, struct slice msg)
{
    const struct data_channel *ch = data_channels_by_class(&c->channels, class);
    bool behind = c->head || c->lost[DATA_RELIABLE] > 0;

    if (!ch && (class != DATA_RELIABLE || c->had_channel)) {
        drop(c, DATA_DROP_NO_CHANNEL);
        return;
    }
    if (c->conf.max_message_out && msg.len > c->conf.max_message_out) {
        drop(c, DATA_DROP_TOO_LARGE);
        return;
    }
    int err = behind || !ch ? -EAGAIN : send_now(c, ch, text, msg);
    if (err == -EAGAIN && class == DATA_RELIABLE)
        enqueue(c, text, msg);
    else if (err == -EAGAIN)
        lose(c, class);
    else if (err)
        drop(c, err == -EMSGSIZE ? DATA_DROP_TOO_LARGE : DATA_DROP_NO_CHANNEL);
}

static void queue_drop(struct conn *c)
{
    while (c->head) {
        struct queued *q = c->head;
        c->head = q->next;
        mem_free(q);
    }
    c->tail = &c->head;
    c->queued_bytes = 0;
}

/* --- Data thread: what SCTP says. */

static void on_sctp_output(void *owner, struct slice packet)
{
    struct conn *c = owner;

    if (!tell(c, (struct record){.type = REC_OUTPUT, .id = c->id}, packet))
        drop(c, DATA_DROP_RING);
}

static void on_sctp_up(void *owner)
{
    note(owner, NOTE_UP);
}

static void on_sctp_down(void *owner)
{
    struct conn *c = owner;

    queue_drop(c);
    note(c, NOTE_DOWN);
}

/* The queue goes out, once there is a channel; when it is empty, the client is told what it lost.
 */
static void on_sctp_writable(void *owner)
{
    struct conn *c = owner;
    const struct data_channel *ch = data_channels_by_class(&c->channels, DATA_RELIABLE);
    char text[NOTICE_MAX];

    while (c->head && ch) {
        struct queued *q = c->head;
        if (send_now(c, ch, q->text, slice_of(q->bytes, q->len)) == -EAGAIN)
            return;
        c->head = q->next;
        if (!c->head)
            c->tail = &c->head;
        c->queued_bytes -= q->len;
        mem_free(q);
    }
    if (!ch && !c->had_channel)
        return; /* it is being opened */
    if (!ch) {
        queue_drop(c);
        c->lost[DATA_RELIABLE] = c->lost[DATA_LOSSY] = 0;
    }
    if (c->lost[DATA_RELIABLE] == 0 && c->lost[DATA_LOSSY] == 0)
        return;
    (void)snprintf(text, sizeof(text), "{\"event\":\"lost\",\"reliable\":%llu,\"lossy\":%llu}",
                   (unsigned long long)c->lost[DATA_RELIABLE],
                   (unsigned long long)c->lost[DATA_LOSSY]);
    if (send_now(c, ch, true, slice_str(text)) != -EAGAIN)
        c->lost[DATA_RELIABLE] = c->lost[DATA_LOSSY] = 0;
}

static void on_dcep(struct conn *c, uint16_t stream, struct slice msg)
{
    struct sctp_send_as as = {.stream = stream, .ppid = DATA_PPID_DCEP};
    struct dcep_open open;
    uint8_t buf[1];
    struct wr ack = wr_init(buf, sizeof(buf));
    int type = dcep_decode(&open, msg);

    if (type == DCEP_ACK)
        return;
    if (type != DCEP_OPEN || data_channels_open(&c->channels, stream, &open) != 0) {
        drop(c, DATA_DROP_DCEP);
        sctp_reset(c->assoc, stream);
        return;
    }
    dcep_ack_encode(&ack);
    (void)sctp_send(c->assoc, &as,
                    wr_done(&ack)); /* without room for a byte nothing else matters */
    unsigned class = data_channels_by_stream(&c->channels, stream)->class;
    note(c, (unsigned)NOTE_CHANNEL << class);
    if (class == DATA_RELIABLE) {
        c->had_channel = true;
        on_sctp_writable(c); /* what came before it */
    }
}

static void on_sctp_message(void *owner, uint16_t stream, uint32_t ppid, struct slice msg)
{
    struct conn *c = owner;
    bool text = ppid == DATA_PPID_STRING || ppid == DATA_PPID_STRING_EMPTY;
    bool empty = ppid == DATA_PPID_STRING_EMPTY || ppid == DATA_PPID_BINARY_EMPTY;
    const struct data_channel *ch = data_channels_by_stream(&c->channels, stream);

    if (ppid == DATA_PPID_DCEP) {
        on_dcep(c, stream, msg);
    } else if (!text && !empty && ppid != DATA_PPID_BINARY) {
        drop(c, DATA_DROP_PPID);
    } else if (!ch) {
        drop(c, DATA_DROP_NO_CHANNEL);
    } else {
        struct record r = {.type = REC_MESSAGE, .class = ch->class, .flag = text, .id = c->id};
        if (!tell(c, r, slice_sub(msg, 0, empty ? 0 : msg.len)))
            drop(c, DATA_DROP_RING);
    }
}

static void on_sctp_reset(void *owner, uint16_t stream)
{
    struct conn *c = owner;
    const struct data_channel *ch = data_channels_by_stream(&c->channels, stream);

    if (!ch)
        return;
    unsigned class = ch->class;
    data_channels_close(&c->channels, stream);
    if (class == DATA_RELIABLE)
        queue_drop(c);
    sctp_reset(c->assoc, stream); /* RFC 8831 §6.7 */
    note(c, (unsigned)NOTE_CHANNEL << class);
}

static const struct sctp_ops sctp_ops = {
    on_sctp_output, on_sctp_up, on_sctp_down, on_sctp_message, on_sctp_reset, on_sctp_writable,
};

/* --- Data thread: what workers say. */

static struct conn *conn_of(struct data_port *p, uint32_t id)
{
    uint32_t i = index_of(id);
    struct conn *c = i < p->d.cap ? p->d.conn[i] : NULL;

    return c && c->id == id ? c : NULL;
}

static void conn_free(struct conn *c)
{
    if (!c)
        return;
    c->port->d.conn[index_of(c->id)] = NULL;
    sctp_free(c->assoc);
    if (c->notes)
        list_del(&c->noted);
    queue_drop(c);
    mem_free(c);
}

static bool conn_room(struct data_port *p, uint32_t index)
{
    if (index < p->d.cap)
        return true;
    uint32_t cap = p->d.cap ? p->d.cap : SLOTS_FIRST;
    while (cap <= index)
        cap *= 2;
    struct conn **v = mem_realloc(p->d.conn, cap * sizeof(struct conn *));
    if (!v)
        return false;
    memset(v + p->d.cap, 0, (cap - p->d.cap) * sizeof(struct conn *));
    p->d.conn = v;
    p->d.cap = cap;
    return true;
}

/* Tells the worker that there is no association, without one. */
static void refuse(struct data_port *p, uint32_t id)
{
    struct conn none = {.port = p, .id = id};

    if (!tell(&none, (struct record){.type = REC_DOWN, .id = id}, (struct slice){0}))
        counter_inc(&p->d.drops[DATA_DROP_RING]);
}

static void conn_open(struct data_port *p, uint32_t id, struct slice body, uint64_t now_us)
{
    struct conn *c = conn_room(p, index_of(id)) ? mem_zalloc(sizeof(*c)) : NULL;

    if (!c) {
        refuse(p, id);
        return;
    }
    memcpy(&c->conf, body.p, sizeof(c->conf));
    c->port = p;
    c->id = id;
    c->tail = &c->head;
    p->d.conn[index_of(id)] = c;
    struct sctp_conf conf = {c->conf.local_port, c->conf.remote_port, c->conf.max_message_in};
    c->assoc = sctp_new(&conf, &sctp_ops, c, now_us);
    if (!c->assoc) {
        conn_free(c);
        refuse(p, id);
    }
}

static void send_all(struct data_port *p, const struct record *r, struct slice body)
{
    struct slice msg = slice_sub(body, r->n * sizeof(uint32_t), SIZE_MAX);

    for (unsigned i = 0; i < r->n; i++) {
        uint32_t id;
        memcpy(&id, body.p + i * sizeof(id), sizeof(id));
        struct conn *c = conn_of(p, id);
        if (c)
            send_one(c, (enum data_class)r->class, r->flag, msg);
    }
}

static void handle(struct data_port *p, struct slice record, uint64_t now_us)
{
    struct record r;
    struct slice body = slice_sub(record, sizeof(r), SIZE_MAX);

    memcpy(&r, record.p, sizeof(r));
    struct conn *c = conn_of(p, r.id);
    switch (r.type) {
    case REC_OPEN:
        conn_open(p, r.id, body, now_us);
        return;
    case REC_CLOSE:
        conn_free(c);
        return;
    case REC_INPUT:
        if (c)
            sctp_input(c->assoc, body);
        return;
    default:
        send_all(p, &r, body);
        return;
    }
}

static void arm(struct data_link *l, uint64_t now_us)
{
    uint64_t at = sctp_deadline();

    if (!list_empty(&l->noted) && at > now_us + RETRY_US)
        at = now_us + RETRY_US;
    if (at != UINT64_MAX)
        worker_timer(l->worker, &l->tick, at);
}

static void on_down(void *arg, uint64_t now_us)
{
    struct data_port *p = arg;
    struct slice record;

    ring_woken(p->down);
    sctp_tick(now_us);
    while (ring_next(p->down, &record))
        handle(p, record, now_us);
    ring_release(p->down);
    arm(p->link, now_us);
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct data_link *l = arg;
    struct list still;

    sctp_tick(now_us);
    list_init(&still);
    while (!list_empty(&l->noted)) {
        struct conn *c = CONTAINER_OF(list_first(&l->noted), struct conn, noted);
        list_del(&c->noted);
        if (!tell_notes(c))
            list_append(&still, &c->noted);
    }
    while (!list_empty(&still)) {
        struct list *first = list_first(&still);
        list_del(first);
        list_append(&l->noted, first);
    }
    arm(l, now_us);
}

/* --- Worker: what the data thread says. */

static struct slot *slot_of(struct data_port *p, uint32_t id)
{
    uint32_t i = index_of(id);
    struct slot *s = i < p->w.n ? &p->w.slot[i] : NULL;

    return s && s->open && id_of(i, s->uses) == id ? s : NULL;
}

static void hear(struct data_port *p, struct slice record)
{
    struct record r;
    struct slice body = slice_sub(record, sizeof(r), SIZE_MAX);

    memcpy(&r, record.p, sizeof(r));
    struct slot *s = slot_of(p, r.id);
    if (!s)
        return;
    switch (r.type) {
    case REC_OUTPUT:
        p->ops->output(s->owner, body);
        return;
    case REC_UP:
        p->ops->up(s->owner);
        return;
    case REC_DOWN:
        p->ops->down(s->owner);
        return;
    case REC_CHANNEL:
        p->ops->channel(s->owner, (enum data_class)r.class, r.flag);
        return;
    default:
        p->ops->message(s->owner, (enum data_class)r.class, r.flag, body);
        return;
    }
}

static void on_up(void *arg, uint64_t now_us)
{
    struct data_port *p = arg;
    struct slice record;

    (void)now_us;
    ring_woken(p->up);
    while (ring_next(p->up, &record))
        hear(p, record);
    ring_release(p->up);
}

static bool ask(struct data_port *p, struct record r, const struct slice *body, size_t n)
{
    struct slice parts[3] = {slice_of(&r, sizeof(r))};

    for (size_t i = 0; i < n; i++)
        parts[i + 1] = body[i];
    return push(p->down, p->link->worker, on_down, p, parts, n + 1);
}

/* Slots whose close did not fit the ring. */
static void on_retry(void *arg, uint64_t now_us)
{
    struct data_port *p = arg;

    for (uint32_t i = 0; i < p->w.n && p->w.n_closing > 0; i++) {
        struct slot *s = &p->w.slot[i];
        if (!s->closing)
            continue;
        if (!ask(p, (struct record){.type = REC_CLOSE, .id = id_of(i, s->uses)}, NULL, 0))
            break;
        s->closing = false;
        s->uses++;
        p->w.n_used--;
        p->w.n_closing--;
    }
    if (p->w.n_closing > 0)
        worker_timer(p->worker, &p->w.retry, now_us + RETRY_US);
}

/* A slot that is free; the table's size when there is none. */
static uint32_t free_slot(struct data_port *p)
{
    for (uint32_t i = 0; p->w.n_used < p->w.n && i < p->w.n; i++) {
        uint32_t k = (p->w.hint + i) % p->w.n;
        if (!p->w.slot[k].open && !p->w.slot[k].closing)
            return k;
    }
    if (p->w.n < p->w.cap)
        return p->w.n++;
    uint32_t cap = p->w.cap ? 2 * p->w.cap : SLOTS_FIRST;
    struct slot *v = cap <= DATA_PORT_ASSOCS_MAX ? mem_realloc(p->w.slot, cap * sizeof(*v)) : NULL;
    if (!v)
        return UINT32_MAX;
    memset(v + p->w.cap, 0, (cap - p->w.cap) * sizeof(*v));
    p->w.slot = v;
    p->w.cap = cap;
    return p->w.n++;
}

uint32_t data_port_open(struct data_port *p, const struct data_conf *conf, void *owner)
{
    struct slice body = slice_of(conf, sizeof(*conf));
    uint32_t i = free_slot(p);

    if (i == UINT32_MAX)
        return 0;
    struct slot *s = &p->w.slot[i];
    p->w.hint = i + 1;
    if (!ask(p, (struct record){.type = REC_OPEN, .id = id_of(i, s->uses)}, &body, 1)) {
        counter_inc(&p->w.drops[DATA_DROP_RING]);
        return 0;
    }
    s->owner = owner;
    s->open = true;
    p->w.n_used++;
    return id_of(i, s->uses);
}

void data_port_close(struct data_port *p, uint32_t id)
{
    struct slot *s = slot_of(p, id);

    if (!s)
        return;
    s->open = false;
    s->owner = NULL;
    if (ask(p, (struct record){.type = REC_CLOSE, .id = id}, NULL, 0)) {
        s->uses++;
        p->w.n_used--;
        return;
    }
    s->closing = true;
    p->w.n_closing++;
    worker_timer(p->worker, &p->w.retry, worker_now(p->worker) + RETRY_US);
}

void data_port_input(struct data_port *p, uint32_t id, struct slice sctp_packet)
{
    if (!slot_of(p, id))
        return;
    if (!ask(p, (struct record){.type = REC_INPUT, .id = id}, &sctp_packet, 1))
        counter_inc(&p->w.drops[DATA_DROP_RING]);
}

void data_port_send(struct data_port *p, const uint32_t *id, unsigned n, enum data_class class,
                    bool text, struct slice msg)
{
    struct record r = {.type = REC_SEND, .class = (uint8_t) class, .flag = text};

    for (; n > 0; n -= r.n, id += r.n) {
        r.n = (uint16_t)(n < DATA_SEND_TO_MAX ? n : DATA_SEND_TO_MAX);
        const struct slice body[] = {slice_of(id, r.n * sizeof(*id)), msg};
        if (msg.len > DATA_MESSAGE_MAX || !ask(p, r, body, ARRAY_LEN(body)))
            counter_add(
                &p->w.drops[msg.len > DATA_MESSAGE_MAX ? DATA_DROP_TOO_LARGE : DATA_DROP_RING],
                r.n);
    }
}

/* --- Life. */

struct data_link *data_link_new(unsigned n_workers)
{
    struct data_link *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    l->port = mem_calloc(n_workers, sizeof(*l->port));
    l->worker = worker_new(n_workers);
    l->ports_max = n_workers;
    if (!l->port || !l->worker)
        goto fail;
    list_init(&l->noted);
    l->tick.fn = on_tick;
    l->tick.arg = l;
    sctp_start(worker_now(l->worker));
    if (worker_start(l->worker, "sori-data") == 0)
        return l;
    sctp_stop();
fail:
    worker_free(l->worker);
    mem_free(l->port);
    mem_free(l);
    return NULL;
}

struct data_port *data_link_port(struct data_link *l, struct worker *w,
                                 const struct data_port_ops *ops)
{
    if (l->n_ports == l->ports_max)
        return NULL;
    struct data_port *p = &l->port[l->n_ports];
    p->link = l;
    p->worker = w;
    p->ops = ops;
    p->down = ring_new(DATA_PORT_RING_BYTES);
    p->up = ring_new(DATA_PORT_RING_BYTES);
    if (!p->down || !p->up) {
        ring_free(p->down);
        ring_free(p->up);
        *p = (struct data_port){0};
        return NULL;
    }
    p->w.retry.fn = on_retry;
    p->w.retry.arg = p;
    l->n_ports++;
    return p;
}

void data_link_free(struct data_link *l)
{
    if (!l)
        return;
    worker_stop(l->worker);
    worker_join(l->worker);
    for (unsigned k = 0; k < l->n_ports; k++) {
        struct data_port *p = &l->port[k];
        for (uint32_t i = 0; i < p->d.cap; i++)
            conn_free(p->d.conn[i]);
        mem_free(p->d.conn);
        mem_free(p->w.slot);
        ring_free(p->down);
        ring_free(p->up);
    }
    (void)sctp_stop();
    worker_free(l->worker);
    mem_free(l->port);
    mem_free(l);
}

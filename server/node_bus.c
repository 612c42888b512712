/* Messages between nodes: numbered, kept, said again.
 *
 * Run by presence_link.c, used by router_far.c. Pure. A text is
 *
 *     "m " FROM_EPOCH " " TO_EPOCH " " SEQ " " FIRST " " ACK " " NODE "\n" BODIES, or "a " …
 * without BODIES: one or more LENGTH " " BODY, of which the first has the number SEQ
 *
 * epochs in 16 hex digits. All that is sent to a peer in a turn is one text. What comes out of its
 * order is not kept: the sender goes back to the first that was not acknowledged.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/node_bus.h"

#include <errno.h>

#include "base/list.h"
#include "base/mem.h"
#include "server/presence_wire.h"

#define MARK_US (500 * US_PER_MS) /* a word to itself that was not heard by then is said again */

struct kept {
    struct list link;
    uint64_t seq;
    size_t len;
    uint8_t body[];
};

struct peer {
    struct list link;
    struct list out;  /* struct kept, by seq */
    struct list left; /* the same, of the former process, until its end was told */
    size_t out_bytes;
    bool untold;            /* the former process's end is told at the next tick */
    uint64_t epoch, former; /* former: the process before it, whose last words may still come */
    uint64_t out_seq, said_seq, in_seq;
    uint64_t again_us, ack_us; /* when to say again, to acknowledge */
    bool all, ack;             /* with the next flush: all is said again, what was heard too */
    bool live;                 /* something was sent or heard: its end is told */
    bool dead;                 /* its lease is over, since dead_us */
    uint64_t dead_us;
    /* Its lease seems to be over, since then; nothing is said to it. The word that this side has
     * said to itself since, and when; 0: none. */
    uint64_t since_us, mark, mark_us;
    size_t node_len;
    uint8_t node[NODE_BUS_NODE_MAX];
};

struct node_bus {
    struct slice node;
    uint64_t epoch, look_us;
    size_t bytes_max, peers_n;
    const struct node_bus_ops *ops;
    void *arg;
    const struct node_bus_ears *ears;
    void *ears_arg;
    bool waits; /* something is to be said: a peer's out_seq is above its said_seq, all, ack */
    struct list peers;
    struct node_bus_stats stats;
    uint8_t text[NODE_BUS_HEAD_MAX + NODE_BUS_LEN_MAX + NODE_BUS_BODY_MAX];
};

/* ---- texts ---- */

bool node_bus_is(struct slice text)
{
    return text.len > 2 && (text.p[0] == 'm' || text.p[0] == 'a') && text.p[1] == ' ';
}

static struct slice cut(struct slice *s, uint8_t at)
{
    const uint8_t *end = s->len > 0 ? memchr(s->p, at, s->len) : NULL;
    size_t n = end ? (size_t)(end - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

int node_bus_decode(struct node_bus_head *out, struct slice text)
{
    struct node_bus_head h = {0};

    if (!node_bus_is(text))
        return -EBADMSG;
    struct slice kind = cut(&text, ' ');
    h.bare = kind.p[0] == 'a';
    if (presence_wire_epoch_decode(&h.from_epoch, cut(&text, ' ')) != 0 ||
        presence_wire_epoch_decode(&h.to_epoch, cut(&text, ' ')) != 0 ||
        slice_to_u64(cut(&text, ' '), UINT64_MAX - 1, &h.seq) != 0 ||
        slice_to_u64(cut(&text, ' '), UINT64_MAX - 1, &h.first) != 0 ||
        slice_to_u64(cut(&text, ' '), UINT64_MAX - 1, &h.ack) != 0)
        return -EBADMSG;
    bool whole = text.len > 0 && memchr(text.p, '\n', text.len);
    h.from = cut(&text, '\n');
    h.bodies = text;
    if (!whole || h.from_epoch == 0 || h.from.len == 0 || h.from.len > NODE_BUS_NODE_MAX ||
        (h.bare ? h.bodies.len > 0 : h.seq < h.first || h.first == 0))
        return -EBADMSG;
    *out = h;
    return 0;
}

void node_bus_encode(struct wr *w, const struct node_bus_head *h)
{
    wr_str(w, h->bare ? "a " : "m ");
    presence_wire_epoch(w, h->from_epoch);
    wr_u8(w, ' ');
    presence_wire_epoch(w, h->to_epoch);
    wr_u8(w, ' ');
    wr_u64(w, h->seq);
    wr_u8(w, ' ');
    wr_u64(w, h->first);
    wr_u8(w, ' ');
    wr_u64(w, h->ack);
    wr_u8(w, ' ');
    wr_bytes(w, h->from);
    wr_u8(w, '\n');
    wr_bytes(w, h->bodies);
}

bool node_bus_take(struct slice *bodies, struct slice *body)
{
    uint64_t n;

    if (bodies->len == 0 || slice_to_u64(cut(bodies, ' '), NODE_BUS_BODY_MAX, &n) != 0 ||
        n > bodies->len)
        return false;
    *body = slice_sub(*bodies, 0, n);
    *bodies = slice_sub(*bodies, n, bodies->len);
    return true;
}

void node_bus_add(struct wr *w, struct slice body)
{
    wr_u64(w, body.len);
    wr_u8(w, ' ');
    wr_bytes(w, body);
}

/* ---- peers ---- */

static struct slice node_of(const struct peer *p)
{
    return slice_of(p->node, p->node_len);
}

static struct peer *find_peer(const struct node_bus *b, struct slice node)
{
    LIST_EACH(l, tmp, &b->peers)
    {
        struct peer *p = CONTAINER_OF(l, struct peer, link);
        if (slice_eq(node_of(p), node))
            return p;
    }
    return NULL;
}

static struct peer *need_peer(struct node_bus *b, struct slice node)
{
    struct peer *p = find_peer(b, node);

    if (p || b->peers_n == NODE_BUS_PEERS_MAX)
        return p;
    p = mem_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->again_us = p->ack_us = CLOCK_NEVER;
    p->node_len = node.len;
    memcpy(p->node, node.p, node.len);
    list_init(&p->out);
    list_init(&p->left);
    list_append(&b->peers, &p->link);
    b->peers_n++;
    return p;
}

static void drop_first(struct peer *p)
{
    struct kept *k = CONTAINER_OF(list_first(&p->out), struct kept, link);

    p->out_bytes -= k->len;
    list_del(&k->link);
    mem_free(k);
}

static void drop_all(struct node_bus *b, struct peer *p)
{
    while (!list_empty(&p->out)) {
        drop_first(p);
        b->stats.dropped++;
    }
    p->again_us = CLOCK_NEVER;
}

static void drop_left(struct node_bus *b, struct peer *p)
{
    struct list *l;

    while ((l = list_first(&p->left))) {
        list_del(l);
        mem_free(CONTAINER_OF(l, struct kept, link));
        b->stats.dropped++;
    }
}

/* Tells the end of the former process. What it has left is dropped if nobody takes it. */
static void tell_former(struct node_bus *b, struct peer *p)
{
    if (p->untold && b->ears) {
        p->untold = false;
        b->ears->gone(b->ears_arg, node_of(p), p->former);
    }
    p->untold = false;
    drop_left(b, p);
}

/* That process is no more: another one is there. Its end is told by tell_former(). */
static void change_epoch(struct node_bus *b, struct peer *p, uint64_t epoch)
{
    struct list *l;

    tell_former(b, p);
    while ((l = list_first(&p->out))) {
        list_del(l);
        list_append(&p->left, l);
    }
    p->out_bytes = 0;
    p->untold = p->live && !p->dead && p->epoch != 0;
    p->dead = false;
    p->former = p->epoch;
    p->epoch = epoch;
    p->out_seq = p->said_seq = p->in_seq = 0;
    p->again_us = p->ack_us = CLOCK_NEVER;
    p->all = p->ack = false;
    p->live = false;
    p->since_us = p->mark = 0;
}

bool node_bus_is_replaced(const struct node_bus *b, struct slice node, uint64_t epoch)
{
    const struct peer *p = find_peer(b, node);

    return p && epoch != 0 && epoch == p->former;
}

bool node_bus_is_gone(const struct node_bus *b, struct slice node, uint64_t epoch)
{
    const struct peer *p = find_peer(b, node);

    return !p || p->epoch != epoch || !p->live || p->dead;
}

void node_bus_take_back(struct node_bus *b, struct slice node, uint64_t epoch,
                        node_bus_wants_fn *wants, void *arg)
{
    struct peer *p = find_peer(b, node);

    if (!p || epoch == 0 || (epoch != p->epoch && epoch != p->former))
        return;
    LIST_EACH(l, tmp, epoch == p->epoch ? &p->out : &p->left)
    {
        struct kept *k = CONTAINER_OF(l, struct kept, link);
        if (k->len == 0 || !wants(arg, slice_of(k->body, k->len)))
            continue;
        if (epoch == p->epoch)
            p->out_bytes -= k->len;
        k->len = 0; /* its number stays: whoever comes back is to miss none */
        b->stats.taken_back++;
    }
}

/* ---- saying ---- */

static struct kept *kept_of(struct list *l)
{
    return CONTAINER_OF(l, struct kept, link);
}

/* Says what is kept from `from` on, as much as fits into a text; NULL: an acknowledgement alone.
 * Gives the first that did not fit, or NULL. */
static struct list *say(struct node_bus *b, struct peer *p, struct list *from)
{
    struct list *head = list_first(&p->out), *l = from;
    struct wr w = wr_init(b->text, sizeof(b->text));

    node_bus_encode(&w, &(struct node_bus_head){.bare = !from,
                                                .from_epoch = b->epoch,
                                                .to_epoch = p->epoch,
                                                .seq = from ? kept_of(from)->seq : p->said_seq + 1,
                                                .first = head ? kept_of(head)->seq : p->out_seq + 1,
                                                .ack = p->in_seq,
                                                .from = b->node});
    size_t bodies = w.len;
    for (; l && l != &p->out; l = l->next) {
        const struct kept *k = kept_of(l);
        if (l != from && w.len - bodies + k->len > NODE_BUS_TEXT_MAX)
            break;
        node_bus_add(&w, slice_of(k->body, k->len));
        if (k->seq > p->said_seq)
            p->said_seq = k->seq;
        else
            b->stats.again++;
    }
    p->ack_us = CLOCK_NEVER;
    p->ack = false;
    b->ops->say(b->arg, node_of(p), wr_done(&w));
    return l == &p->out ? NULL : l;
}

/* What was heard is acknowledged with the next flush. */
static void want_ack(struct node_bus *b, struct peer *p)
{
    p->ack = b->waits = true;
}

/* What is not acknowledged is said again with the next flush. */
static void want_all(struct node_bus *b, struct peer *p, uint64_t now_us)
{
    if (list_empty(&p->out)) {
        p->again_us = CLOCK_NEVER;
        return;
    }
    p->again_us = now_us + NODE_BUS_AGAIN_US;
    p->all = b->waits = true;
}

static void say_all(struct node_bus *b, struct peer *p)
{
    p->all = false;
    for (struct list *l = list_first(&p->out); l;)
        l = say(b, p, l);
}

/* Says what was not said yet. */
static void say_new(struct node_bus *b, struct peer *p)
{
    struct list *l = &p->out;

    if (p->out_seq <= p->said_seq || list_empty(l))
        return;
    while (l->prev != &p->out && kept_of(l->prev)->seq > p->said_seq)
        l = l->prev;
    while (l && l != &p->out)
        l = say(b, p, l);
}

bool node_bus_waits(const struct node_bus *b)
{
    return b->waits;
}

/* acks: also what could wait. */
static void say_due(struct node_bus *b, bool acks)
{
    b->waits = false;
    LIST_EACH(l, tmp, &b->peers)
    {
        struct peer *p = CONTAINER_OF(l, struct peer, link);
        if (p->dead || p->since_us != 0)
            continue;
        if (p->all)
            say_all(b, p);
        else
            say_new(b, p);
        if (p->ack || (acks && p->ack_us != CLOCK_NEVER))
            (void)say(b, p, NULL);
    }
}

void node_bus_flush(struct node_bus *b)
{
    if (b->waits)
        say_due(b, false);
}

void node_bus_settle(struct node_bus *b)
{
    say_due(b, true);
}

int node_bus_send(struct node_bus *b, struct slice node, uint64_t epoch, struct slice body,
                  uint64_t now_us)
{
    if (node.len == 0 || node.len > NODE_BUS_NODE_MAX || slice_eq(node, b->node) || epoch == 0 ||
        body.len > NODE_BUS_BODY_MAX)
        return -EINVAL;
    struct peer *p = need_peer(b, node);
    if (!p)
        return -ENOMEM;
    if (epoch == p->former)
        return -ESRCH;
    if (p->epoch != epoch) {
        change_epoch(b, p, epoch);
        b->look_us = now_us; /* the end is told by the tick: nobody's step is broken into */
    }
    if (body.len > b->bytes_max - p->out_bytes)
        return -ENOBUFS;
    struct kept *k = mem_zalloc(sizeof(*k) + body.len);
    if (!k)
        return -ENOMEM;
    k->seq = ++p->out_seq;
    k->len = body.len;
    if (body.len > 0)
        memcpy(k->body, body.p, body.len);
    list_append(&p->out, &k->link);
    p->out_bytes += body.len;
    p->live = true;
    b->stats.sent++;
    if (p->dead) /* it is said when it is back */
        return 0;
    if (p->again_us == CLOCK_NEVER)
        p->again_us = now_us + NODE_BUS_AGAIN_US;
    b->waits = true;
    return 0;
}

/* Whether all is heard that a process has said whose lease is over: it may still be in the channel,
 * and what it has acknowledged there is not done by anybody else. */
static bool heard_out(struct node_bus *b, struct peer *p, uint64_t now_us)
{
    if (!b->ops->mark)
        return true;
    if (p->mark != 0 && b->ops->marked(b->arg, p->mark))
        return true;
    if (p->mark == 0 || now_us - p->mark_us >= MARK_US) {
        p->mark = b->ops->mark(b->arg);
        p->mark_us = now_us;
    }
    return false;
}

/* Whether its end is certain: its lease was asked for again since it first seemed to be over (it
 * may have come back, and hears what is said to it), and all is heard that it has said. */
static bool has_ended(struct node_bus *b, struct peer *p, uint64_t now_us)
{
    if (b->ops->dead(b->arg, node_of(p), p->epoch, p->since_us)) {
        if (p->since_us == 0)
            p->since_us = now_us;
        return b->ops->dead(b->arg, node_of(p), p->epoch, p->since_us) && heard_out(b, p, now_us);
    }
    if (p->since_us != 0 && b->ops->lives(b->arg, node_of(p), p->epoch)) {
        p->since_us = p->mark = 0;
        want_all(b, p, now_us);
    }
    return false;
}

/* Whether the process lives, as far as its lease tells. */
static void look_at(struct node_bus *b, struct peer *p, uint64_t now_us)
{
    bool was = p->dead;

    p->dead = was ? !b->ops->lives(b->arg, node_of(p), p->epoch) : has_ended(b, p, now_us);
    if (p->dead && was && now_us - p->dead_us >= NODE_BUS_DROP_US)
        drop_all(b, p);
    if (p->dead == was)
        return;
    p->since_us = p->mark = 0;
    p->dead_us = now_us;
    p->again_us = list_empty(&p->out) || p->dead ? CLOCK_NEVER : now_us;
    if (b->ears)
        (p->dead ? b->ears->gone : b->ears->back)(b->ears_arg, node_of(p), p->epoch);
}

/* ---- hearing ---- */

static void take_ack(struct peer *p, uint64_t ack, uint64_t now_us)
{
    bool some = false;
    struct list *first;

    while ((first = list_first(&p->out)) && CONTAINER_OF(first, struct kept, link)->seq <= ack) {
        drop_first(p);
        some = true;
    }
    if (some)
        p->again_us = list_empty(&p->out) ? CLOCK_NEVER : now_us + NODE_BUS_AGAIN_US;
}

/* Hands out what is new of a text, in its order. */
static void take_bodies(struct node_bus *b, struct peer *p, const struct node_bus_head *h,
                        uint64_t now_us)
{
    struct slice rest = h->bodies, body;
    bool some = false;

    for (uint64_t seq = h->seq; node_bus_take(&rest, &body); seq++) {
        if (p->epoch != h->from_epoch) /* whoever heard the last one has sent to another process */
            return;
        if (seq != p->in_seq + 1)
            continue;
        some = true;
        p->in_seq = seq;
        if (p->ack_us == CLOCK_NEVER)
            p->ack_us = now_us + NODE_BUS_ACK_US;
        if (body.len == 0) /* it was taken back */
            continue;
        b->stats.delivered++;
        if (b->ears)
            b->ears->message(b->ears_arg, node_of(p), h->from_epoch, body);
    }
    if (!some)
        want_ack(b, p); /* a double, or something before it was lost */
}

void node_bus_heard(struct node_bus *b, struct slice text, uint64_t now_us)
{
    struct node_bus_head h;

    if (node_bus_decode(&h, text) != 0 || slice_eq(h.from, b->node))
        return;
    struct peer *p = need_peer(b, h.from);
    if (!p || h.from_epoch == p->former)
        return;
    if (h.from_epoch != p->epoch)
        change_epoch(b, p, h.from_epoch);
    tell_former(b, p);
    if (h.to_epoch != b->epoch) { /* it means a process that was here before: it learns who is */
        if (!h.bare)
            want_ack(b, p);
        return;
    }
    if (h.first > p->in_seq + 1)
        p->in_seq = h.first - 1;
    if (p->dead)
        look_at(b, p, now_us);
    if (!h.bare && !p->dead) { /* a dead one has first to learn what was done elsewhere meanwhile */
        p->live = true;
        take_bodies(b, p, &h, now_us);
    }
    /* An acknowledgement counts when all that was said before it was heard: it may tell that what
     * it acknowledges was not done, and has to be asked of somebody else. */
    if (p->epoch == h.from_epoch && h.seq <= p->in_seq + 1)
        take_ack(p, h.ack, now_us);
}

void node_bus_up(struct node_bus *b, uint64_t now_us)
{
    LIST_EACH(l, tmp, &b->peers)
    if (!CONTAINER_OF(l, struct peer, link)->dead)
        want_all(b, CONTAINER_OF(l, struct peer, link), now_us);
}

/* ---- time ---- */

uint64_t node_bus_deadline(const struct node_bus *b)
{
    uint64_t at = list_empty(&b->peers) ? CLOCK_NEVER : b->look_us;

    LIST_EACH(l, tmp, &b->peers)
    {
        const struct peer *p = CONTAINER_OF(l, struct peer, link);
        at = p->again_us < at ? p->again_us : at;
        at = p->ack_us < at ? p->ack_us : at;
    }
    return at;
}

void node_bus_look(struct node_bus *b, uint64_t now_us)
{
    LIST_EACH(l, tmp, &b->peers)
    {
        struct peer *p = CONTAINER_OF(l, struct peer, link);
        tell_former(b, p);
        if (p->live)
            look_at(b, p, now_us);
    }
}

void node_bus_tick(struct node_bus *b, uint64_t now_us)
{
    bool look = now_us >= b->look_us;

    if (look) {
        b->look_us = now_us + NODE_BUS_LOOK_US;
        node_bus_look(b, now_us);
    }
    LIST_EACH(l, tmp, &b->peers)
    {
        struct peer *p = CONTAINER_OF(l, struct peer, link);
        if (now_us >= p->again_us)
            want_all(b, p, now_us);
        if (now_us >= p->ack_us) {
            p->ack_us = CLOCK_NEVER;
            want_ack(b, p);
        }
    }
}

/* ---- life ---- */

struct node_bus *node_bus_new(struct slice node, uint64_t epoch, size_t bytes_max,
                              const struct node_bus_ops *ops, void *arg)
{
    struct node_bus *b = mem_zalloc(sizeof(*b));

    if (!b)
        return NULL;
    b->node = node;
    b->epoch = epoch;
    b->bytes_max = bytes_max;
    b->ops = ops;
    b->arg = arg;
    list_init(&b->peers);
    return b;
}

void node_bus_free(struct node_bus *b)
{
    if (!b)
        return;
    LIST_EACH(l, tmp, &b->peers)
    {
        struct peer *p = CONTAINER_OF(l, struct peer, link);
        while (!list_empty(&p->out))
            drop_first(p);
        drop_left(b, p);
        mem_free(p);
    }
    mem_free(b);
}

void node_bus_hear(struct node_bus *b, const struct node_bus_ears *ears, void *arg)
{
    b->ears = ears;
    b->ears_arg = arg;
}

struct slice node_bus_node(const struct node_bus *b)
{
    return b->node;
}

uint64_t node_bus_epoch(const struct node_bus *b)
{
    return b->epoch;
}

const struct node_bus_stats *node_bus_stats(const struct node_bus *b)
{
    return &b->stats;
}

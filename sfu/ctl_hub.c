/* The SFU's end of the control protocol.
 *
 *   bytes ─► ctl_frame ─► ctl_decode ─► opening (challenge, hello) or request
 *   request ─► ctl_peer (done before?) ─► the room's worker ─► saying ─► answer stored and sent
 *   event of a worker ─► ctl_peer (numbered, kept) ─► sent
 *
 * What a server has here outlives its connections: struct server. A room belongs to the server that
 * made it and to one worker, chosen when it is made.
 * Called by ctl_listener.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ctl_hub.h"

#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/ctl.h"
#include "proto/json.h"
#include "sfu/ctl_peer.h"
#include "sfu/sfu_worker.h"

#define HELLO_US       (5 * US_PER_S)
#define SILENT_US      (6 * US_PER_S)
#define PING_US        (2 * US_PER_S)
#define LOAD_US        (2 * US_PER_S)
#define SERVERS_MAX    64
#define CONNS_MAX      128
#define EXPECT_ROOMS   64
#define LINE_MAX_BYTES 512
#define KEYS_TRIED     100
#define SETTLED_US     (60 * US_PER_S) /* a server without rooms or connection is forgotten */

/* One sori-server, by name. */
struct server {
    struct list link;
    char name[CTL_NAME_MAX + 1];
    struct ctl_peer *peer;
    struct ctl_conn *conn; /* NULL: away */
    uint64_t gone_us;
    struct htable rooms; /* struct home, by the room's id */
};

/* Which worker a room of a server lives on. Its key is for life: when another server adopts the
 * room, it begins with a name that is not its server's any more. */
struct home {
    struct hnode node, by_key; /* in its server's rooms; in the hub's homes */
    struct server *server;
    unsigned worker;
    unsigned joins; /* sent and not answered: the room may not be forgotten */
    bool named;     /* by a sync since the last hello */
    char key[SFU_ROOM_KEY_MAX + 1];
};

struct ctl_conn {
    struct list link;
    struct ctl_hub *h;
    void *user;
    struct server *server; /* NULL: not yet welcome */
    uint8_t nonce[CTL_NONCE_BYTES];
    uint64_t opened_us, heard_us, said_us, ping_id;
    bool operator_; /* of sori-sfuctl: lines of text */
    bool dying, closed;
};

struct ctl_hub {
    const struct sfu_conf *conf;
    const struct ctl_hub_ops *ops;
    void *arg;
    uint64_t now_us, epoch, load_us;
    struct list servers, conns;
    struct htable homes; /* struct home, by key */
    unsigned n_servers, n_conns;
    bool draining;
    uint8_t buf[CTL_HEADER_BYTES + CTL_MESSAGE_MAX], scratch[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    struct ctl_msg in, out;
    struct ctl_hub_counters count;
};

/* ---- sending ---- */

static void send_bytes(struct ctl_conn *c, struct slice s)
{
    if (c->dying)
        return;
    c->said_us = c->h->now_us;
    if (!c->h->ops->send(c->user, s))
        c->dying = true; /* it does not read: it will find the rest after a reconnect */
}

static struct slice encode(struct ctl_hub *h, const struct ctl_msg *m)
{
    struct wr w = wr_init(h->buf, sizeof(h->buf));

    ctl_encode(&w, m);
    return wr_done(&w);
}

static void send_msg(struct ctl_conn *c, const struct ctl_msg *m)
{
    send_bytes(c, encode(c->h, m));
}

static struct ctl_msg *fresh(struct ctl_hub *h, enum ctl_type type, enum ctl_kind kind, uint64_t id)
{
    memset(&h->out, 0, sizeof(h->out));
    h->out.type = type;
    h->out.kind = kind;
    h->out.id = id;
    return &h->out;
}

static struct ctl_msg *error_msg(struct ctl_hub *h, enum ctl_type type, uint64_t id,
                                 enum ctl_err code, const char *text)
{
    struct ctl_msg *m = fresh(h, type, CTL_KIND_ERROR, id);

    m->u.error.code = code;
    m->u.error.text = slice_str(text);
    return m;
}

/* ---- servers and rooms ---- */

static struct server *server_find(struct ctl_hub *h, struct slice name)
{
    LIST_EACH(it, tmp, &h->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (slice_is(name, s->name))
            return s;
    }
    return NULL;
}

static struct server *server_new(struct ctl_hub *h, struct slice name, uint64_t epoch)
{
    const struct ctl_peer_conf conf = {(unsigned)h->conf->control.events,
                                       (size_t)h->conf->control.queue_bytes};
    struct server *s = h->n_servers < SERVERS_MAX ? mem_zalloc(sizeof(*s)) : NULL;

    if (!s)
        return NULL;
    s->peer = ctl_peer_new(name, epoch, &conf);
    if (!s->peer || slice_to_cstr(name, s->name, sizeof(s->name)) != 0 ||
        htable_init(&s->rooms, EXPECT_ROOMS) != 0) {
        ctl_peer_free(s->peer);
        mem_free(s);
        return NULL;
    }
    list_append(&h->servers, &s->link);
    h->n_servers++;
    return s;
}

static void server_free(struct ctl_hub *h, struct server *s)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&s->rooms, &pos, &saved))) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        htable_del(&h->homes, &o->by_key);
        mem_free(o);
    }
    htable_fini(&s->rooms);
    ctl_peer_free(s->peer);
    list_del(&s->link);
    h->n_servers--;
    mem_free(s);
}

/* The room's id as its server knows it. */
static const char *home_room(const struct home *o)
{
    const char *at = strchr(o->key, SFU_ROOM_SEPARATOR);

    return at ? at + 1 : o->key;
}

static struct home *home_find(const struct server *s, struct slice room)
{
    for (struct hnode *n = htable_first(&s->rooms, hash_bytes(room)); n; n = htable_next(n)) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        if (slice_is(room, home_room(o)))
            return o;
    }
    return NULL;
}

static struct home *home_by_key(const struct ctl_hub *h, struct slice key)
{
    for (struct hnode *n = htable_first(&h->homes, hash_bytes(key)); n; n = htable_next(n)) {
        struct home *o = CONTAINER_OF(n, struct home, by_key);

        if (slice_is(key, o->key))
            return o;
    }
    return NULL;
}

/* A key that no room has: another server may have adopted one of this id. */
static bool new_key(const struct ctl_hub *h, const struct server *s, struct slice room, char *buf,
                    size_t cap)
{
    int n = snprintf(buf, cap, "%s%c%.*s", s->name, SFU_ROOM_SEPARATOR, SLICE_FMT(room));

    for (unsigned i = 2; home_by_key(h, slice_str(buf)) && i < KEYS_TRIED; i++)
        n = snprintf(buf, cap, "%s~%u%c%.*s", s->name, i, SFU_ROOM_SEPARATOR, SLICE_FMT(room));
    return n > 0 && (size_t)n < cap && !home_by_key(h, slice_str(buf));
}

static void home_put(struct server *s, struct home *o)
{
    o->server = s;
    o->named = true;
    htable_add(&s->rooms, &o->node, hash_bytes(slice_str(home_room(o))));
}

static struct home *home_new(struct ctl_hub *h, struct server *s, struct slice room)
{
    struct home *o = mem_zalloc(sizeof(*o));

    if (!o || !new_key(h, s, room, o->key, sizeof(o->key))) {
        mem_free(o);
        return NULL;
    }
    o->worker = h->ops->place(h->arg);
    htable_add(&h->homes, &o->by_key, hash_bytes(slice_str(o->key)));
    home_put(s, o);
    return o;
}

/* ---- opening ---- */

static void challenge(struct ctl_conn *c)
{
    struct ctl_msg *m = fresh(c->h, CTL_CHALLENGE, CTL_KIND_EVENT, 0);

    rand_bytes(c->nonce, sizeof(c->nonce));
    m->u.challenge.version = CTL_VERSION;
    memcpy(m->u.challenge.nonce, c->nonce, sizeof(c->nonce));
    send_msg(c, m);
}

static bool proves(const struct ctl_conn *c, const struct ctl_msg *m)
{
    struct slice secret = slice_of(c->h->conf->control.secret.p, c->h->conf->control.secret.len);
    const struct ctl_proof p = {.sfu_nonce = c->nonce,
                                .server_nonce = m->u.hello.nonce,
                                .server = m->u.hello.server,
                                .server_epoch = m->u.hello.epoch};
    uint8_t mac[CTL_MAC_BYTES];

    return ctl_mac(secret, &p, mac) == 0 &&
           crypto_equal(slice_of(mac, sizeof(mac)), slice_of(m->u.hello.mac, sizeof(mac)));
}

static void refuse_hello(struct ctl_conn *c, uint64_t id, enum ctl_err code, const char *text)
{
    counter_inc(&c->h->count.refused);
    send_msg(c, error_msg(c->h, CTL_HELLO, id, code, text));
    c->dying = true;
}

static void take_over(struct server *s, struct ctl_conn *c)
{
    if (s->conn) {
        s->conn->server = NULL;
        s->conn->dying = true;
    }
    s->conn = c;
    c->server = s;
    s->gone_us = 0;
}

static void resend(struct ctl_conn *c, uint64_t seq)
{
    struct slice e;

    ctl_peer_ack(c->server->peer, seq);
    while ((e = ctl_peer_next(c->server->peer, &seq)).len > 0)
        send_bytes(c, e);
}

static void unname_rooms(struct server *s)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&s->rooms, &pos, &saved)))
        CONTAINER_OF(n, struct home, node)->named = false;
}

static void welcome(struct ctl_conn *c, const struct ctl_msg *hello, bool resumed)
{
    struct ctl_hub *h = c->h;
    uint64_t last = hello->u.hello.last_seq, id = hello->id;
    uint8_t nonce[CTL_NONCE_BYTES];

    memcpy(nonce, hello->u.hello.nonce, sizeof(nonce));
    const struct ctl_proof p = {.by_sfu = true,
                                .sfu_nonce = c->nonce,
                                .server_nonce = nonce,
                                .server = slice_str(c->server->name),
                                .node = slice_str(h->conf->sfu.node_id),
                                .server_epoch = ctl_peer_epoch(c->server->peer),
                                .sfu_epoch = h->epoch};
    struct ctl_msg *m = fresh(h, CTL_HELLO, CTL_KIND_REPLY, id);
    m->u.welcome.node = p.node;
    m->u.welcome.epoch = h->epoch;
    m->u.welcome.resumed = resumed;
    m->u.welcome.lost = ctl_peer_lost(c->server->peer);
    m->u.welcome.draining = h->draining;
    struct ctl_hub_state st;
    h->ops->state(h->arg, &st);
    m->u.welcome.workers = st.workers;
    m->u.welcome.participants_max = h->conf->limits.participants_total;
    m->u.welcome.load = st.load;
    ctl_mac(slice_of(h->conf->control.secret.p, h->conf->control.secret.len), &p, m->u.welcome.mac);
    send_msg(c, m);
    if (resumed)
        resend(c, last);
    log_info("control", "%s is connected%s", c->server->name, resumed ? " again" : "");
}

static void hello(struct ctl_conn *c, const struct ctl_msg *m)
{
    struct ctl_hub *h = c->h;

    if (m->u.hello.version != CTL_VERSION) {
        refuse_hello(c, m->id, CTL_ERR_VERSION, "this SFU speaks version 1");
        return;
    }
    if (!proves(c, m)) {
        log_warn("control", "a connection as %.*s has the wrong secret",
                 SLICE_FMT(slice_sub(m->u.hello.server, 0, CTL_NAME_MAX)));
        refuse_hello(c, m->id, CTL_ERR_UNAUTHORIZED, "wrong mac");
        return;
    }
    struct server *s = server_find(h, m->u.hello.server);
    bool resumed = s && ctl_peer_epoch(s->peer) == m->u.hello.epoch;
    if (!s)
        s = server_new(h, m->u.hello.server, m->u.hello.epoch);
    if (!s) {
        refuse_hello(c, m->id, CTL_ERR_FULL, "too many servers, or out of memory");
        return;
    }
    if (!resumed)
        ctl_peer_restart(s->peer, m->u.hello.epoch);
    unname_rooms(s);
    take_over(s, c);
    welcome(c, m, resumed && m->u.hello.sfu_epoch == h->epoch);
}

/* ---- requests ---- */

static void answer(struct ctl_conn *c, uint64_t id, struct slice message)
{
    ctl_peer_answer(c->server->peer, id, message);
    send_bytes(c, message);
}

static void answer_error(struct ctl_conn *c, const struct ctl_msg *m, enum ctl_err code,
                         const char *text)
{
    answer(c, m->id, encode(c->h, error_msg(c->h, m->type, m->id, code, text)));
}

static void sync_end(struct ctl_conn *c, const struct ctl_msg *m)
{
    struct ctl_msg *r;
    uint64_t id = m->id, closed = 0;
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&c->server->rooms, &pos, &saved))) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        if (o->named)
            continue;
        c->h->ops->close_room(c->h->arg, o->worker, slice_str(o->key));
        closed++;
    }
    r = fresh(c->h, CTL_SYNC_END, CTL_KIND_REPLY, id);
    r->u.sync_end.closed = closed;
    answer(c, id, encode(c->h, r));
}

/* What of all rooms can be told without asking the workers. */
static void node_stats(struct ctl_hub *h, struct wr *w)
{
    struct ctl_hub_state st;

    h->ops->state(h->arg, &st);
    wr_fmt(w,
           "{\"node\":\"%s\",\"workers\":%u,\"rooms\":%llu,\"participants\":%llu,\"load\":%u,"
           "\"draining\":%s,\"list\":[",
           h->conf->sfu.node_id, st.workers, (unsigned long long)st.rooms,
           (unsigned long long)st.participants, st.load, h->draining ? "true" : "false");
    bool first = true;
    LIST_EACH(it, tmp, &h->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);
        size_t pos = 0;
        struct hnode *saved = NULL, *n;

        while ((n = htable_walk(&s->rooms, &pos, &saved)) && w->cap - w->len > 2048) {
            const struct home *o = CONTAINER_OF(n, struct home, node);

            wr_str(w, first ? "{\"server\":" : ",{\"server\":");
            json_write_text(w, slice_str(s->name));
            wr_str(w, ",\"room\":");
            json_write_text(w, slice_str(home_room(o)));
            wr_fmt(w, ",\"worker\":%u}", o->worker);
            first = false;
        }
    }
    wr_str(w, "]}");
}

static void stats(struct ctl_conn *c, const struct ctl_msg *m)
{
    struct wr w = wr_init(c->h->scratch, sizeof(c->h->scratch) / 2);
    uint64_t id = m->id;

    node_stats(c->h, &w);
    struct ctl_msg *r = fresh(c->h, CTL_STATS, CTL_KIND_REPLY, id);
    r->u.stats.raw = wr_done(&w);
    answer(c, id, encode(c->h, r));
}

/* The room of a server that is gone is this one's: it goes on as it is. */
static void adopt(struct ctl_conn *c, const struct ctl_msg *m)
{
    struct ctl_hub *h = c->h;
    struct server *from = server_find(h, m->u.adopt.from);
    struct home *o = from && from != c->server ? home_find(from, m->room) : NULL;
    const struct home *own = home_find(c->server, m->room);

    if (o && own) {
        answer_error(c, m, CTL_ERR_CONFLICT, "this server has a room of that id");
        return;
    }
    if (!o && !own) {
        answer_error(c, m, CTL_ERR_NO_ROOM, "no such room");
        return;
    }
    if (o) {
        log_info("control", "%s adopts a room of %s", c->server->name, from->name);
        htable_del(&from->rooms, &o->node);
        home_put(c->server, o);
    }
    answer(c, m->id, encode(h, fresh(h, CTL_ADOPT, CTL_KIND_REPLY, m->id)));
}

static void to_worker(struct ctl_conn *c, const struct ctl_msg *m, struct slice text)
{
    struct ctl_hub *h = c->h;
    struct home *o = home_find(c->server, m->room);

    if (!o && m->type == CTL_JOIN) {
        if (h->draining) {
            answer_error(c, m, CTL_ERR_DRAINING, "this node takes no new rooms");
            return;
        }
        o = home_new(h, c->server, m->room);
        if (!o) {
            answer_error(c, m, CTL_ERR_INTERNAL, "out of memory");
            return;
        }
    }
    if (!o) {
        static const char empty[] = "[]";

        if (m->type == CTL_LEAVE || m->type == CTL_CLOSE_ROOM) {
            answer(c, m->id, encode(h, fresh(h, m->type, CTL_KIND_REPLY, m->id)));
        } else if (m->type == CTL_SYNC) {
            struct ctl_msg *r = fresh(h, CTL_SYNC, CTL_KIND_REPLY, m->id);
            r->u.synced.states = slice_str(empty);
            answer(c, m->id, encode(h, r));
        } else {
            answer_error(c, m, CTL_ERR_NO_ROOM, "no such room");
        }
        return;
    }
    if (m->type == CTL_SYNC || m->type == CTL_JOIN)
        o->named = true;
    if (h->ops->request(h->arg, o->worker, ctl_peer_epoch(c->server->peer), slice_str(o->key),
                        text) != 0) {
        answer_error(c, m, CTL_ERR_INTERNAL, "out of memory");
        return;
    }
    o->joins += m->type == CTL_JOIN;
}

static void request(struct ctl_conn *c, const struct ctl_msg *m, struct slice text)
{
    struct ctl_hub *h = c->h;
    struct slice again;

    counter_inc(&h->count.requests);
    switch (ctl_peer_request(c->server->peer, m->id, &again)) {
    case CTL_PEER_BUSY:
        return;
    case CTL_PEER_REPEAT:
        counter_inc(&h->count.repeats);
        send_bytes(c, again);
        return;
    case CTL_PEER_STALE:
        counter_inc(&h->count.stale);
        send_msg(c, error_msg(h, m->type, m->id, CTL_ERR_STALE, "its answer is no longer kept"));
        return;
    case CTL_PEER_NEW:
        break;
    }
    if (m->type == CTL_SYNC_END)
        sync_end(c, m);
    else if (m->type == CTL_ADOPT)
        adopt(c, m);
    else if (m->type == CTL_STATS && m->room.len == 0)
        stats(c, m);
    else if (m->type == CTL_DRAIN) {
        bool on = m->u.drain.on;
        uint64_t id = m->id;

        h->ops->drain(h->arg, on);
        answer(c, id, encode(h, fresh(h, CTL_DRAIN, CTL_KIND_REPLY, id)));
    } else {
        to_worker(c, m, text);
    }
}

/* One whole message. */
static void message(struct ctl_conn *c, struct slice text)
{
    struct ctl_hub *h = c->h;
    struct ctl_msg *m = &h->in;
    struct wr scratch = wr_init(h->scratch, sizeof(h->scratch));
    const char *why = "";
    int e = ctl_decode(m, text, &scratch, &why);

    c->heard_us = h->now_us;
    if (e == -EPROTO && m->kind == CTL_KIND_REQUEST && c->server) {
        counter_inc(&h->count.bad);
        send_msg(c,
                 error_msg(h, m->type, m->id,
                           m->type == CTL_NONE ? CTL_ERR_UNSUPPORTED : CTL_ERR_BAD_MESSAGE, why));
        return;
    }
    if (e == -EPROTO && c->server)
        return;
    if (e) {
        counter_inc(&h->count.bad);
        c->dying = true;
        return;
    }
    if (m->type == CTL_HELLO && m->kind == CTL_KIND_REQUEST && !c->server) {
        hello(c, m);
    } else if (!c->server) {
        refuse_hello(c, m->id, CTL_ERR_UNAUTHORIZED, "hello first");
    } else if (m->type == CTL_PING) {
        if (m->kind == CTL_KIND_REQUEST)
            send_msg(c, fresh(h, CTL_PING, CTL_KIND_REPLY, m->id));
    } else if (m->type == CTL_ACK) {
        ctl_peer_ack(c->server->peer, m->u.ack.upto);
    } else if (m->kind == CTL_KIND_REQUEST && m->type != CTL_HELLO) {
        request(c, m, text);
    } else {
        c->dying = true;
    }
}

/* ---- the operator ---- */

static void operator_line(struct ctl_conn *c, struct slice line)
{
    struct ctl_hub *h = c->h;
    struct wr w = wr_init(h->scratch, sizeof(h->scratch));

    if (slice_is(line, "status")) {
        node_stats(h, &w);
    } else if (slice_is(line, "drain") || slice_is(line, "undrain")) {
        h->ops->drain(h->arg, slice_is(line, "drain"));
        wr_str(&w, "{}");
    } else if (slice_starts(line, SLICE_LIT("room "))) {
        struct slice room = slice_sub(line, 5, line.len);

        LIST_EACH(it, tmp, &h->servers)
        {
            struct server *s = CONTAINER_OF(it, struct server, link);
            struct home *o = home_find(s, slice_sub(room, 0, CTL_ROOM_MAX));
            struct ctl_msg *m;

            if (!o)
                continue;
            /* The worker answers with an id that only we know: the connection's number. */
            m = fresh(h, CTL_STATS, CTL_KIND_REQUEST, c->ping_id);
            m->room = slice_sub(room, 0, CTL_ROOM_MAX);
            struct slice text = encode(h, m);
            text = slice_sub(text, CTL_HEADER_BYTES, text.len);
            if (h->ops->request(h->arg, o->worker, 0, slice_str(o->key), text) == 0)
                return;
        }
        wr_str(&w, "{\"error\":\"no such room\"}");
    } else {
        wr_str(&w, "{\"error\":\"want status, room NAME, drain or undrain\"}");
    }
    wr_str(&w, "\n");
    send_bytes(c, wr_done(&w));
}

static void operator_reply(struct ctl_hub *h, uint64_t id, struct slice message)
{
    LIST_EACH(it, tmp, &h->conns)
    {
        struct ctl_conn *c = CONTAINER_OF(it, struct ctl_conn, link);

        if (c->operator_ && c->ping_id == id) {
            send_bytes(c, slice_sub(message, CTL_HEADER_BYTES, message.len));
            send_bytes(c, SLICE_LIT("\n"));
            return;
        }
    }
}

/* ---- what workers say ---- */

static void room_gone(struct ctl_hub *h, struct home *o)
{
    if (o->joins > 0)
        return;
    htable_del(&o->server->rooms, &o->node);
    htable_del(&h->homes, &o->by_key);
    mem_free(o);
}

/* Whose request it was: its room may be gone by now, or another server's. */
static struct server *server_of(struct ctl_hub *h, const struct home *o, uint64_t epoch)
{
    if (o && ctl_peer_epoch(o->server->peer) == epoch)
        return o->server;
    LIST_EACH(it, tmp, &h->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (ctl_peer_epoch(s->peer) == epoch)
            return s;
    }
    return NULL;
}

/* o: the room's; NULL: it is gone. */
static void replied(struct ctl_hub *h, const struct sfu_saying *y, struct home *o, struct slice m)
{
    struct server *s = server_of(h, o, y->epoch);
    bool join = m.len > CTL_HEADER_BYTES + 12 &&
                slice_starts(slice_sub(m, CTL_HEADER_BYTES, m.len), SLICE_LIT("{\"t\":\"join\""));

    if (o && join && o->joins > 0)
        o->joins--;
    if (y->epoch == 0)
        operator_reply(h, y->id, m);
    if (y->epoch == 0 || !s)
        return;
    ctl_peer_answer(s->peer, y->id, m);
    if (s->conn)
        send_bytes(s->conn, m);
}

static void said(struct ctl_hub *h, const struct sfu_saying *y)
{
    struct slice key = slice_of(y->bytes, y->room_len);
    struct slice m = slice_of(y->bytes + y->room_len, y->len);
    struct home *o = y->room_len ? home_by_key(h, key) : NULL;
    struct server *s = o ? o->server : NULL;

    if (y->what == SFU_SAY_REPLY)
        replied(h, y, o, m);
    if (y->what == SFU_SAY_REPLY || !s)
        return;
    switch (y->what) {
    case SFU_SAY_EVENT: {
        struct slice numbered = ctl_peer_event(s->peer, m);

        counter_inc(&h->count.events);
        if (numbered.len == 0) {
            counter_inc(&h->count.events_lost);
            if (s->conn)
                s->conn->dying = true; /* so that a hello tells of it */
        } else if (s->conn) {
            send_bytes(s->conn, numbered);
        }
        break;
    }
    case SFU_SAY_PASSING:
        if (s->conn)
            send_bytes(s->conn, m);
        break;
    default: /* SFU_SAY_ROOM_GONE */
        room_gone(h, o);
        break;
    }
}

/* ---- ends ---- */

/* Nothing more goes to it; what its server has here stays. */
static void reap(struct ctl_conn *c)
{
    if (!c->dying || c->closed)
        return;
    if (c->server) {
        c->server->conn = NULL;
        c->server->gone_us = c->h->now_us;
        c->server = NULL;
    }
    c->closed = true;
    c->h->ops->close(c->user);
}

static void reap_all(struct ctl_hub *h)
{
    LIST_EACH(it, tmp, &h->conns)
    reap(CONTAINER_OF(it, struct ctl_conn, link));
}

void ctl_hub_said(struct ctl_hub *h, struct list *sayings, uint64_t now_us)
{
    h->now_us = now_us;

    LIST_EACH(it, tmp, sayings)
    {
        struct sfu_saying *y = CONTAINER_OF(it, struct sfu_saying, link);

        list_del(it);
        said(h, y);
        mem_free(y);
    }
    reap_all(h);
}

/* ---- time ---- */

static void tell_load(struct ctl_hub *h, uint64_t now_us)
{
    struct ctl_msg *m = fresh(h, CTL_LOAD, CTL_KIND_EVENT, 0);

    struct ctl_hub_state st;
    h->ops->state(h->arg, &st);
    m->u.load.load = st.load;
    m->u.load.rooms = st.rooms;
    m->u.load.participants = st.participants;
    m->u.load.draining = h->draining;
    struct slice text = encode(h, m);
    LIST_EACH(it, tmp, &h->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (s->conn)
            send_bytes(s->conn, text);
    }
    h->load_us = now_us;
}

static void watch_conn(struct ctl_conn *c, uint64_t now_us)
{
    if (c->operator_)
        return;
    if (!c->server && now_us - c->opened_us > HELLO_US)
        c->dying = true;
    else if (now_us - c->heard_us > SILENT_US)
        c->dying = true;
    else if (c->server && now_us - c->said_us > PING_US)
        send_msg(c, fresh(c->h, CTL_PING, CTL_KIND_REQUEST, ++c->ping_id));
}

/* A server that stays away: its rooms end. */
static void watch_server(struct ctl_hub *h, struct server *s, uint64_t now_us)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    if (s->conn || s->gone_us == 0 || now_us - s->gone_us < h->conf->sfu.grace_s * US_PER_S)
        return;
    if (s->rooms.count == 0) {
        if (now_us - s->gone_us > h->conf->sfu.grace_s * US_PER_S + SETTLED_US)
            server_free(h, s);
        return;
    }
    log_warn("control", "%s has been away for too long: its %zu rooms end", s->name,
             s->rooms.count);
    while ((n = htable_walk(&s->rooms, &pos, &saved))) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        h->ops->close_room(h->arg, o->worker, slice_str(o->key));
    }
    s->gone_us = now_us - h->conf->sfu.grace_s * US_PER_S; /* asks again until they are gone */
}

void ctl_hub_tick(struct ctl_hub *h, uint64_t now_us)
{
    h->now_us = now_us;
    LIST_EACH(it, tmp, &h->conns)
    watch_conn(CONTAINER_OF(it, struct ctl_conn, link), now_us);
    if (now_us - h->load_us >= LOAD_US)
        tell_load(h, now_us);
    LIST_EACH(it, tmp, &h->servers)
    watch_server(h, CONTAINER_OF(it, struct server, link), now_us);
    reap_all(h);
}

void ctl_hub_drain(struct ctl_hub *h, bool on, uint64_t now_us)
{
    h->now_us = now_us;
    h->draining = on;
    tell_load(h, now_us);
    reap_all(h);
}

/* ---- connections ---- */

struct ctl_conn *ctl_hub_open(struct ctl_hub *h, void *user, bool operator_, uint64_t now_us)
{
    struct ctl_conn *c = h->n_conns < CONNS_MAX ? mem_zalloc(sizeof(*c)) : NULL;

    h->now_us = now_us;
    if (!c) {
        counter_inc(&h->count.refused);
        return NULL;
    }
    c->h = h;
    c->user = user;
    c->operator_ = operator_;
    c->opened_us = c->heard_us = now_us;
    rand_bytes(&c->ping_id, sizeof(c->ping_id));
    c->ping_id >>= 12; /* fits JSON's numbers */
    list_append(&h->conns, &c->link);
    h->n_conns++;
    counter_add(&h->count.connections, 1);
    if (!operator_)
        challenge(c);
    return c;
}

static size_t take_lines(struct ctl_conn *c, struct slice in)
{
    size_t used = 0;

    while (!c->dying && used < in.len) {
        struct slice rest = slice_sub(in, used, in.len);
        const uint8_t *nl = memchr(rest.p, '\n', rest.len);

        if (!nl) {
            c->dying = rest.len > LINE_MAX_BYTES;
            break;
        }
        operator_line(c, slice_of(rest.p, (size_t)(nl - rest.p)));
        used += (size_t)(nl - rest.p) + 1;
    }
    return used;
}

size_t ctl_hub_data(struct ctl_hub *h, struct ctl_conn *c, struct slice bytes, uint64_t now_us)
{
    size_t used = 0, one;
    struct slice text;
    int e = 0;

    h->now_us = now_us;
    if (c->operator_)
        used = take_lines(c, bytes);
    while (!c->operator_ && !c->dying && used < bytes.len) {
        e = ctl_frame(slice_sub(bytes, used, bytes.len), &text, &one);
        if (e)
            break;
        message(c, text);
        used += one;
    }
    if (e && e != -EAGAIN) {
        counter_inc(&h->count.bad);
        c->dying = true;
    }
    reap_all(h);
    return used;
}

void ctl_hub_closed(struct ctl_hub *h, struct ctl_conn *c, uint64_t now_us)
{
    h->now_us = now_us;
    if (c->server) {
        c->server->conn = NULL;
        c->server->gone_us = now_us;
        log_info("control", "%s is away", c->server->name);
    }
    list_del(&c->link);
    h->n_conns--;
    counter_sub(&h->count.connections, 1);
    mem_free(c);
}

struct ctl_hub_counters *ctl_hub_count(struct ctl_hub *h)
{
    return &h->count;
}

/* ---- life ---- */

struct ctl_hub *ctl_hub_new(const struct sfu_conf *conf, uint64_t epoch,
                            const struct ctl_hub_ops *ops, void *arg)
{
    struct ctl_hub *h = mem_zalloc(sizeof(*h));

    if (!h)
        return NULL;
    h->conf = conf;
    h->epoch = epoch;
    h->ops = ops;
    h->arg = arg;
    list_init(&h->servers);
    list_init(&h->conns);
    if (htable_init(&h->homes, EXPECT_ROOMS) == 0)
        return h;
    mem_free(h);
    return NULL;
}

void ctl_hub_free(struct ctl_hub *h)
{
    if (!h)
        return;
    LIST_EACH(it, tmp, &h->conns)
    {
        list_del(it);
        mem_free(CONTAINER_OF(it, struct ctl_conn, link));
    }
    LIST_EACH(it, tmp, &h->servers)
    server_free(h, CONTAINER_OF(it, struct server, link));
    htable_fini(&h->homes);
    mem_free(h);
}

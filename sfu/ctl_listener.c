/* The SFU's end of the control protocol.
 *
 *   bytes ─► ctl_frame ─► ctl_decode ─► opening (challenge, hello) or request
 *   request ─► ctl_peer (done before?) ─► the room's worker ─► saying ─► answer stored and sent
 *   event of a worker ─► ctl_peer (numbered, kept) ─► sent
 *
 * What a server has here outlives its connections: struct server. A room belongs to the server that
 * made it and to one worker; which one is chosen when it is made, the one with the fewest
 * participants. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ctl_listener.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/worker.h"
#include "proto/json.h"
#include "sfu/ctl_peer.h"
#include "sfu/sfu_node.h"
#include "sfu/sfu_worker.h"

#define HELLO_US       (5 * US_PER_S)
#define SILENT_US      (6 * US_PER_S)
#define PING_US        (2 * US_PER_S)
#define LOAD_US        (2 * US_PER_S)
#define TICK_US        (500 * US_PER_MS)
#define SERVERS_MAX    64
#define CONNS_MAX      128
#define EXPECT_ROOMS   64
#define SOCKET_MODE    0600
#define LINE_MAX_BYTES 512
#define SETTLED_US     (60 * US_PER_S) /* a server without rooms or connection is forgotten */

/* One sori-server, by name. */
struct server {
    struct list link;
    char name[CTL_NAME_MAX + 1];
    struct ctl_peer *peer;
    struct conn *conn; /* NULL: away */
    uint64_t gone_us;
    struct htable rooms; /* struct home */
};

/* Which worker a room of a server lives on. */
struct home {
    struct hnode node;
    unsigned worker;
    unsigned joins; /* sent and not answered: the room may not be forgotten */
    bool named;     /* by a sync since the last hello */
    char key[SFU_ROOM_KEY_MAX + 1];
};

/* One connection. */
struct conn {
    struct list link;
    struct ctl_listener *l;
    struct bufferevent *bev;
    struct server *server; /* NULL: not yet welcome */
    uint8_t nonce[CTL_NONCE_BYTES];
    uint64_t opened_us, heard_us, said_us, ping_id;
    bool operator_; /* of sori-sfuctl: lines of text */
    bool dying;
};

struct ctl_listener {
    struct worker *control;
    const struct sfu_conf *conf;
    struct sfu_node *node;
    struct list servers, conns;
    unsigned n_servers, n_conns;
    struct evconnlistener *listener[SFU_CONTROL_MAX + 1];
    char path[SFU_CONTROL_MAX + 1][sizeof(((struct sockaddr_un *)0)->sun_path)];
    size_t n_listeners;
    uint64_t epoch, load_us;
    struct wtimer tick;
    bool draining;
    uint8_t buf[CTL_HEADER_BYTES + CTL_MESSAGE_MAX], scratch[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    struct ctl_msg in, out;
    struct counter connections, refused, requests, repeats, stale, bad, events, events_lost;
};

/* ---- sending ---- */

static void send_bytes(struct conn *c, struct slice s)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);

    if (c->dying)
        return;
    if (evbuffer_get_length(out) + s.len > c->l->conf->control.queue_bytes) {
        c->dying = true; /* it does not read: it will find the rest after a reconnect */
        return;
    }
    c->said_us = worker_now(c->l->control);
    bufferevent_write(c->bev, s.p, s.len);
}

static struct slice encode(struct ctl_listener *l, const struct ctl_msg *m)
{
    struct wr w = wr_init(l->buf, sizeof(l->buf));

    ctl_encode(&w, m);
    return wr_done(&w);
}

static void send_msg(struct conn *c, const struct ctl_msg *m)
{
    send_bytes(c, encode(c->l, m));
}

static struct ctl_msg *fresh(struct ctl_listener *l, enum ctl_type type, enum ctl_kind kind,
                             uint64_t id)
{
    memset(&l->out, 0, sizeof(l->out));
    l->out.type = type;
    l->out.kind = kind;
    l->out.id = id;
    return &l->out;
}

static struct ctl_msg *error_msg(struct ctl_listener *l, enum ctl_type type, uint64_t id,
                                 enum ctl_err code, const char *text)
{
    struct ctl_msg *m = fresh(l, type, CTL_KIND_ERROR, id);

    m->u.error.code = code;
    m->u.error.text = slice_str(text);
    return m;
}

/* ---- servers and rooms ---- */

static struct server *server_find(struct ctl_listener *l, struct slice name)
{
    LIST_EACH(it, tmp, &l->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (slice_is(name, s->name))
            return s;
    }
    return NULL;
}

static struct server *server_new(struct ctl_listener *l, struct slice name, uint64_t epoch)
{
    const struct ctl_peer_conf conf = {(unsigned)l->conf->control.events,
                                       (size_t)l->conf->control.queue_bytes};
    struct server *s = l->n_servers < SERVERS_MAX ? mem_zalloc(sizeof(*s)) : NULL;

    if (!s)
        return NULL;
    s->peer = ctl_peer_new(name, epoch, &conf);
    if (!s->peer || slice_to_cstr(name, s->name, sizeof(s->name)) != 0 ||
        htable_init(&s->rooms, EXPECT_ROOMS) != 0) {
        ctl_peer_free(s->peer);
        mem_free(s);
        return NULL;
    }
    list_append(&l->servers, &s->link);
    l->n_servers++;
    return s;
}

static void server_free(struct ctl_listener *l, struct server *s)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&s->rooms, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct home, node));
    htable_fini(&s->rooms);
    ctl_peer_free(s->peer);
    list_del(&s->link);
    l->n_servers--;
    mem_free(s);
}

static struct home *home_find(const struct server *s, struct slice key)
{
    uint64_t h = hash_bytes(key);

    for (struct hnode *n = htable_first(&s->rooms, h); n; n = htable_next(n)) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        if (slice_is(key, o->key))
            return o;
    }
    return NULL;
}

static unsigned idlest(const struct ctl_listener *l)
{
    unsigned best = 0;
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < sfu_node_threads(l->node); i++) {
        const struct core_counters *c = &sfu_node_worker(l->node, i)->core->count;
        uint64_t n = counter_get(&c->participants) + counter_get(&c->rooms);

        if (n < least) {
            least = n;
            best = i;
        }
    }
    return best;
}

static struct home *home_new(struct ctl_listener *l, struct server *s, struct slice key)
{
    struct home *o = mem_zalloc(sizeof(*o));

    if (!o || slice_to_cstr(key, o->key, sizeof(o->key)) != 0) {
        mem_free(o);
        return NULL;
    }
    o->worker = idlest(l);
    o->named = true;
    htable_add(&s->rooms, &o->node, hash_bytes(key));
    return o;
}

static struct slice room_key(const struct server *s, struct slice room,
                             char buf[SFU_ROOM_KEY_MAX + 2])
{
    int n = snprintf(buf, SFU_ROOM_KEY_MAX + 2, "%s%c%.*s", s->name, SFU_ROOM_SEPARATOR,
                     SLICE_FMT(room));

    return slice_of(buf, (size_t)n);
}

/* ---- opening ---- */

static void challenge(struct conn *c)
{
    struct ctl_msg *m = fresh(c->l, CTL_CHALLENGE, CTL_KIND_EVENT, 0);

    rand_bytes(c->nonce, sizeof(c->nonce));
    m->u.challenge.version = CTL_VERSION;
    memcpy(m->u.challenge.nonce, c->nonce, sizeof(c->nonce));
    send_msg(c, m);
}

static bool proves(const struct conn *c, const struct ctl_msg *m)
{
    struct slice secret = slice_of(c->l->conf->control.secret.p, c->l->conf->control.secret.len);
    const struct ctl_proof p = {.sfu_nonce = c->nonce,
                                .server_nonce = m->u.hello.nonce,
                                .server = m->u.hello.server,
                                .server_epoch = m->u.hello.epoch};
    uint8_t mac[CTL_MAC_BYTES];

    return ctl_mac(secret, &p, mac) == 0 &&
           crypto_equal(slice_of(mac, sizeof(mac)), slice_of(m->u.hello.mac, sizeof(mac)));
}

static void refuse_hello(struct conn *c, uint64_t id, enum ctl_err code, const char *text)
{
    counter_inc(&c->l->refused);
    send_msg(c, error_msg(c->l, CTL_HELLO, id, code, text));
    c->dying = true;
}

static void take_over(struct server *s, struct conn *c)
{
    if (s->conn) {
        s->conn->server = NULL;
        s->conn->dying = true;
    }
    s->conn = c;
    c->server = s;
    s->gone_us = 0;
}

static void resend(struct conn *c, uint64_t seq)
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

static void welcome(struct conn *c, const struct ctl_msg *hello, bool resumed)
{
    struct ctl_listener *l = c->l;
    uint64_t last = hello->u.hello.last_seq, id = hello->id;
    uint8_t nonce[CTL_NONCE_BYTES];

    memcpy(nonce, hello->u.hello.nonce, sizeof(nonce));
    const struct ctl_proof p = {.by_sfu = true,
                                .sfu_nonce = c->nonce,
                                .server_nonce = nonce,
                                .server = slice_str(c->server->name),
                                .node = slice_str(l->conf->sfu.node_id),
                                .server_epoch = ctl_peer_epoch(c->server->peer),
                                .sfu_epoch = l->epoch};
    struct ctl_msg *m = fresh(l, CTL_HELLO, CTL_KIND_REPLY, id);
    m->u.welcome.node = p.node;
    m->u.welcome.epoch = l->epoch;
    m->u.welcome.resumed = resumed;
    m->u.welcome.lost = ctl_peer_lost(c->server->peer);
    m->u.welcome.draining = l->draining;
    m->u.welcome.workers = sfu_node_threads(l->node);
    m->u.welcome.participants_max = l->conf->limits.participants_total;
    m->u.welcome.load = sfu_node_load(l->node, worker_now(l->control));
    ctl_mac(slice_of(l->conf->control.secret.p, l->conf->control.secret.len), &p, m->u.welcome.mac);
    send_msg(c, m);
    if (resumed)
        resend(c, last);
    log_info("control", "%s is connected%s", c->server->name, resumed ? " again" : "");
}

static void hello(struct conn *c, const struct ctl_msg *m)
{
    struct ctl_listener *l = c->l;

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
    struct server *s = server_find(l, m->u.hello.server);
    bool resumed = s && ctl_peer_epoch(s->peer) == m->u.hello.epoch;
    if (!s)
        s = server_new(l, m->u.hello.server, m->u.hello.epoch);
    if (!s) {
        refuse_hello(c, m->id, CTL_ERR_FULL, "too many servers, or out of memory");
        return;
    }
    if (!resumed)
        ctl_peer_restart(s->peer, m->u.hello.epoch);
    unname_rooms(s);
    take_over(s, c);
    welcome(c, m, resumed && m->u.hello.sfu_epoch == l->epoch);
}

/* ---- requests ---- */

static void answer(struct conn *c, uint64_t id, struct slice message)
{
    ctl_peer_answer(c->server->peer, id, message);
    send_bytes(c, message);
}

static void answer_error(struct conn *c, const struct ctl_msg *m, enum ctl_err code,
                         const char *text)
{
    answer(c, m->id, encode(c->l, error_msg(c->l, m->type, m->id, code, text)));
}

static void sync_end(struct conn *c, const struct ctl_msg *m)
{
    struct ctl_msg *r;
    uint64_t id = m->id, closed = 0;
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&c->server->rooms, &pos, &saved))) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        if (o->named)
            continue;
        sfu_worker_close_room(sfu_node_worker(c->l->node, o->worker), slice_str(o->key),
                              (struct slice){0});
        closed++;
    }
    r = fresh(c->l, CTL_SYNC_END, CTL_KIND_REPLY, id);
    r->u.sync_end.closed = closed;
    answer(c, id, encode(c->l, r));
}

/* What of all rooms can be told without asking the workers. */
static void node_stats(struct ctl_listener *l, struct wr *w)
{
    wr_fmt(w,
           "{\"node\":\"%s\",\"workers\":%u,\"rooms\":%llu,\"participants\":%llu,\"load\":%u,"
           "\"draining\":%s,\"list\":[",
           l->conf->sfu.node_id, sfu_node_threads(l->node),
           (unsigned long long)sfu_node_rooms(l->node),
           (unsigned long long)sfu_node_participants(l->node),
           sfu_node_load(l->node, worker_now(l->control)), l->draining ? "true" : "false");
    bool first = true;
    LIST_EACH(it, tmp, &l->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);
        size_t pos = 0;
        struct hnode *saved = NULL, *n;

        while ((n = htable_walk(&s->rooms, &pos, &saved)) && w->cap - w->len > 2048) {
            const struct home *o = CONTAINER_OF(n, struct home, node);
            const char *name = strchr(o->key, SFU_ROOM_SEPARATOR);

            wr_str(w, first ? "{\"server\":" : ",{\"server\":");
            json_write_text(w, slice_str(s->name));
            wr_str(w, ",\"room\":");
            json_write_text(w, slice_str(name ? name + 1 : o->key));
            wr_fmt(w, ",\"worker\":%u}", o->worker);
            first = false;
        }
    }
    wr_str(w, "]}");
}

static void stats(struct conn *c, const struct ctl_msg *m)
{
    struct wr w = wr_init(c->l->scratch, sizeof(c->l->scratch) / 2);
    uint64_t id = m->id;

    node_stats(c->l, &w);
    struct ctl_msg *r = fresh(c->l, CTL_STATS, CTL_KIND_REPLY, id);
    r->u.stats.raw = wr_done(&w);
    answer(c, id, encode(c->l, r));
}

static void to_worker(struct conn *c, const struct ctl_msg *m, struct slice text)
{
    struct ctl_listener *l = c->l;
    char buf[SFU_ROOM_KEY_MAX + 2];
    struct slice key = room_key(c->server, m->room, buf);
    struct home *o = home_find(c->server, key);

    if (!o && m->type == CTL_JOIN) {
        if (l->draining) {
            answer_error(c, m, CTL_ERR_DRAINING, "this node takes no new rooms");
            return;
        }
        o = home_new(l, c->server, key);
        if (!o) {
            answer_error(c, m, CTL_ERR_INTERNAL, "out of memory");
            return;
        }
    }
    if (!o) {
        static const char empty[] = "[]";

        if (m->type == CTL_LEAVE || m->type == CTL_CLOSE_ROOM) {
            answer(c, m->id, encode(l, fresh(l, m->type, CTL_KIND_REPLY, m->id)));
        } else if (m->type == CTL_SYNC) {
            struct ctl_msg *r = fresh(l, CTL_SYNC, CTL_KIND_REPLY, m->id);
            r->u.synced.states = slice_str(empty);
            answer(c, m->id, encode(l, r));
        } else {
            answer_error(c, m, CTL_ERR_NO_ROOM, "no such room");
        }
        return;
    }
    if (m->type == CTL_SYNC || m->type == CTL_JOIN)
        o->named = true;
    if (sfu_worker_request(sfu_node_worker(l->node, o->worker), ctl_peer_epoch(c->server->peer),
                           key, text) != 0) {
        answer_error(c, m, CTL_ERR_INTERNAL, "out of memory");
        return;
    }
    o->joins += m->type == CTL_JOIN;
}

static void request(struct conn *c, const struct ctl_msg *m, struct slice text)
{
    struct ctl_listener *l = c->l;
    struct slice again;

    counter_inc(&l->requests);
    switch (ctl_peer_request(c->server->peer, m->id, &again)) {
    case CTL_PEER_BUSY:
        return;
    case CTL_PEER_REPEAT:
        counter_inc(&l->repeats);
        send_bytes(c, again);
        return;
    case CTL_PEER_STALE:
        counter_inc(&l->stale);
        send_msg(c, error_msg(l, m->type, m->id, CTL_ERR_STALE, "its answer is no longer kept"));
        return;
    case CTL_PEER_NEW:
        break;
    }
    if (m->type == CTL_SYNC_END)
        sync_end(c, m);
    else if (m->type == CTL_STATS && m->room.len == 0)
        stats(c, m);
    else if (m->type == CTL_DRAIN) {
        bool on = m->u.drain.on;
        uint64_t id = m->id;

        sfu_node_drain(l->node, on);
        answer(c, id, encode(l, fresh(l, CTL_DRAIN, CTL_KIND_REPLY, id)));
    } else {
        to_worker(c, m, text);
    }
}

/* One whole message. */
static void message(struct conn *c, struct slice text)
{
    struct ctl_listener *l = c->l;
    struct ctl_msg *m = &l->in;
    struct wr scratch = wr_init(l->scratch, sizeof(l->scratch));
    const char *why = "";
    int e = ctl_decode(m, text, &scratch, &why);

    c->heard_us = worker_now(l->control);
    if (e == -EPROTO && m->kind == CTL_KIND_REQUEST && c->server) {
        counter_inc(&l->bad);
        send_msg(c,
                 error_msg(l, m->type, m->id,
                           m->type == CTL_NONE ? CTL_ERR_UNSUPPORTED : CTL_ERR_BAD_MESSAGE, why));
        return;
    }
    if (e == -EPROTO && c->server)
        return;
    if (e) {
        counter_inc(&l->bad);
        c->dying = true;
        return;
    }
    if (m->type == CTL_HELLO && m->kind == CTL_KIND_REQUEST && !c->server) {
        hello(c, m);
    } else if (!c->server) {
        refuse_hello(c, m->id, CTL_ERR_UNAUTHORIZED, "hello first");
    } else if (m->type == CTL_PING) {
        if (m->kind == CTL_KIND_REQUEST)
            send_msg(c, fresh(l, CTL_PING, CTL_KIND_REPLY, m->id));
    } else if (m->type == CTL_ACK) {
        ctl_peer_ack(c->server->peer, m->u.ack.upto);
    } else if (m->kind == CTL_KIND_REQUEST && m->type != CTL_HELLO) {
        request(c, m, text);
    } else {
        c->dying = true;
    }
}

/* ---- the operator ---- */

static void operator_line(struct conn *c, struct slice line)
{
    struct ctl_listener *l = c->l;
    struct wr w = wr_init(l->scratch, sizeof(l->scratch));

    if (slice_is(line, "status")) {
        node_stats(l, &w);
    } else if (slice_is(line, "drain") || slice_is(line, "undrain")) {
        sfu_node_drain(l->node, slice_is(line, "drain"));
        wr_str(&w, "{}");
    } else if (slice_starts(line, SLICE_LIT("room "))) {
        struct slice room = slice_sub(line, 5, line.len);

        LIST_EACH(it, tmp, &l->servers)
        {
            struct server *s = CONTAINER_OF(it, struct server, link);
            char buf[SFU_ROOM_KEY_MAX + 2];
            struct slice key = room_key(s, slice_sub(room, 0, CTL_ROOM_MAX), buf);
            struct home *o = home_find(s, key);
            struct ctl_msg *m;

            if (!o)
                continue;
            /* The worker answers with an id that only we know: the connection's number. */
            m = fresh(l, CTL_STATS, CTL_KIND_REQUEST, c->ping_id);
            m->room = slice_sub(room, 0, CTL_ROOM_MAX);
            struct slice text = encode(l, m);
            text = slice_sub(text, CTL_HEADER_BYTES, text.len);
            if (sfu_worker_request(sfu_node_worker(l->node, o->worker), 0, key, text) == 0)
                return;
        }
        wr_str(&w, "{\"error\":\"no such room\"}");
    } else {
        wr_str(&w, "{\"error\":\"want status, room NAME, drain or undrain\"}");
    }
    wr_str(&w, "\n");
    send_bytes(c, wr_done(&w));
}

static void operator_reply(struct ctl_listener *l, uint64_t id, struct slice message)
{
    LIST_EACH(it, tmp, &l->conns)
    {
        struct conn *c = CONTAINER_OF(it, struct conn, link);

        if (c->operator_ && c->ping_id == id) {
            send_bytes(c, slice_sub(message, CTL_HEADER_BYTES, message.len));
            send_bytes(c, SLICE_LIT("\n"));
            return;
        }
    }
}

/* ---- connections ---- */

static void conn_free(struct conn *c)
{
    struct ctl_listener *l = c->l;

    if (c->server) {
        c->server->conn = NULL;
        c->server->gone_us = worker_now(l->control);
        log_info("control", "%s is away", c->server->name);
    }
    list_del(&c->link);
    l->n_conns--;
    counter_sub(&l->connections, 1);
    bufferevent_free(c->bev);
    mem_free(c);
}

static void reap(struct conn *c)
{
    if (!c->dying)
        return;
    if (c->server) { /* nothing more goes to it, what it has here stays */
        c->server->conn = NULL;
        c->server->gone_us = worker_now(c->l->control);
        c->server = NULL;
    }
    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
        conn_free(c);
    else
        bufferevent_disable(c->bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);

    while (!c->dying && evbuffer_get_length(in) > 0) {
        size_t len = evbuffer_get_length(in), used;
        struct slice text;
        uint8_t *p = evbuffer_pullup(in, (ssize_t)len);

        if (c->operator_) {
            uint8_t *nl = memchr(p, '\n', len);

            if (!nl) {
                c->dying = len > LINE_MAX_BYTES;
                break;
            }
            operator_line(c, slice_of(p, (size_t)(nl - p)));
            evbuffer_drain(in, (size_t)(nl - p) + 1);
            continue;
        }
        int e = ctl_frame(slice_of(p, len), &text, &used);
        if (e == -EAGAIN)
            break;
        if (e) {
            counter_inc(&c->l->bad);
            c->dying = true;
            break;
        }
        message(c, text);
        evbuffer_drain(in, used);
    }
    reap(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)bev;
    reap(arg);
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        conn_free(arg);
}

static void on_accept(struct evconnlistener *el, evutil_socket_t fd, struct sockaddr *sa, int len,
                      void *arg)
{
    struct ctl_listener *l = arg;
    struct conn *c = l->n_conns < CONNS_MAX ? mem_zalloc(sizeof(*c)) : NULL;
    struct bufferevent *bev =
        c ? bufferevent_socket_new(worker_base(l->control), fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    (void)sa;
    (void)len;
    if (!bev) {
        mem_free(c);
        evutil_closesocket(fd);
        counter_inc(&l->refused);
        return;
    }
    c->l = l;
    c->bev = bev;
    c->operator_ = el == l->listener[SFU_CONTROL_MAX];
    c->opened_us = c->heard_us = worker_now(l->control);
    rand_bytes(&c->ping_id, sizeof(c->ping_id));
    c->ping_id >>= 12; /* fits JSON's numbers */
    list_append(&l->conns, &c->link);
    l->n_conns++;
    counter_add(&l->connections, 1);
    bufferevent_setcb(bev, on_read, on_written, on_end, c);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    if (!c->operator_)
        challenge(c);
}

/* ---- what workers say ---- */

static struct server *server_of(struct ctl_listener *l, struct slice key)
{
    const uint8_t *at = memchr(key.p, SFU_ROOM_SEPARATOR, key.len);

    return at ? server_find(l, slice_of(key.p, (size_t)(at - key.p))) : NULL;
}

static void room_gone(struct server *s, struct slice key)
{
    struct home *o = home_find(s, key);

    if (o && o->joins == 0) {
        htable_del(&s->rooms, &o->node);
        mem_free(o);
    }
}

static void said(struct ctl_listener *l, const struct sfu_saying *y)
{
    struct slice key = slice_of(y->bytes, y->room_len);
    struct slice m = slice_of(y->bytes + y->room_len, y->len);
    struct server *s = y->room_len ? server_of(l, key) : NULL;

    if (y->what == SFU_SAY_REPLY && y->epoch == 0) {
        operator_reply(l, y->id, m);
        return;
    }
    if (!s)
        return;
    switch (y->what) {
    case SFU_SAY_REPLY: {
        struct home *o = home_find(s, key);
        bool join =
            m.len > CTL_HEADER_BYTES + 12 &&
            slice_starts(slice_sub(m, CTL_HEADER_BYTES, m.len), SLICE_LIT("{\"t\":\"join\""));

        if (o && join && o->joins > 0)
            o->joins--;
        if (ctl_peer_epoch(s->peer) != y->epoch)
            return;
        ctl_peer_answer(s->peer, y->id, m);
        if (s->conn)
            send_bytes(s->conn, m);
        break;
    }
    case SFU_SAY_EVENT: {
        struct slice numbered = ctl_peer_event(s->peer, m);

        counter_inc(&l->events);
        if (numbered.len == 0) {
            counter_inc(&l->events_lost);
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
    case SFU_SAY_ROOM_GONE:
        room_gone(s, key);
        break;
    }
}

static void reap_all(struct ctl_listener *l)
{
    LIST_EACH(it, tmp, &l->conns)
    reap(CONTAINER_OF(it, struct conn, link));
}

void ctl_listener_said(void *arg, struct list *sayings)
{
    struct ctl_listener *l = arg;

    LIST_EACH(it, tmp, sayings)
    {
        struct sfu_saying *y = CONTAINER_OF(it, struct sfu_saying, link);

        list_del(it);
        said(l, y);
        mem_free(y);
    }
    reap_all(l);
}

/* ---- time ---- */

static void tell_load(struct ctl_listener *l, uint64_t now_us)
{
    struct ctl_msg *m = fresh(l, CTL_LOAD, CTL_KIND_EVENT, 0);

    m->u.load.load = sfu_node_load(l->node, now_us);
    m->u.load.rooms = sfu_node_rooms(l->node);
    m->u.load.participants = sfu_node_participants(l->node);
    m->u.load.draining = l->draining;
    struct slice text = encode(l, m);
    LIST_EACH(it, tmp, &l->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (s->conn)
            send_bytes(s->conn, text);
    }
    l->load_us = now_us;
}

static void watch_conn(struct conn *c, uint64_t now_us)
{
    if (c->operator_)
        return;
    if (!c->server && now_us - c->opened_us > HELLO_US)
        c->dying = true;
    else if (now_us - c->heard_us > SILENT_US)
        c->dying = true;
    else if (c->server && now_us - c->said_us > PING_US)
        send_msg(c, fresh(c->l, CTL_PING, CTL_KIND_REQUEST, ++c->ping_id));
}

/* A server that stays away: its rooms end. */
static void watch_server(struct ctl_listener *l, struct server *s, uint64_t now_us)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    if (s->conn || s->gone_us == 0 || now_us - s->gone_us < l->conf->sfu.grace_s * US_PER_S)
        return;
    if (s->rooms.count == 0) {
        if (now_us - s->gone_us > l->conf->sfu.grace_s * US_PER_S + SETTLED_US)
            server_free(l, s);
        return;
    }
    log_warn("control", "%s has been away for too long: its %zu rooms end", s->name,
             s->rooms.count);
    while ((n = htable_walk(&s->rooms, &pos, &saved))) {
        struct home *o = CONTAINER_OF(n, struct home, node);

        sfu_worker_close_room(sfu_node_worker(l->node, o->worker), slice_str(o->key),
                              (struct slice){0});
    }
    s->gone_us = now_us - l->conf->sfu.grace_s * US_PER_S; /* asks again until they are gone */
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct ctl_listener *l = arg;

    LIST_EACH(it, tmp, &l->conns)
    watch_conn(CONTAINER_OF(it, struct conn, link), now_us);
    if (now_us - l->load_us >= LOAD_US)
        tell_load(l, now_us);
    LIST_EACH(it, tmp, &l->servers)
    watch_server(l, CONTAINER_OF(it, struct server, link), now_us);
    reap_all(l);
    worker_timer(l->control, &l->tick, now_us + TICK_US);
}

static void do_drain(void *arg, uint64_t now_us)
{
    struct ctl_listener *l = arg;

    l->draining = __atomic_load_n(&l->draining, __ATOMIC_RELAXED);
    tell_load(l, now_us);
    reap_all(l);
}

void ctl_listener_drain(struct ctl_listener *l, bool on)
{
    __atomic_store_n(&l->draining, on, __ATOMIC_RELAXED);
    worker_post(l->control, do_drain, l);
}

/* ---- life ---- */

/* A socket file that nobody listens on any more is in the way. */
static void clear_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 && errno == ECONNREFUSED)
        unlink(at->sun_path);
    close(fd);
}

static int open_unix(struct ctl_listener *l, size_t slot, const char *path, char err[CONF_ERR_MAX])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(at.sun_path)) {
        snprintf(err, CONF_ERR_MAX, "[control] %s: longer than 107 bytes", path);
        return -EINVAL;
    }
    memcpy(at.sun_path, path, strlen(path));
    clear_stale(&at);
    mode_t old = umask(0777 & ~SOCKET_MODE);
    l->listener[slot] = evconnlistener_new_bind(worker_base(l->control), on_accept, l,
                                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                                (struct sockaddr *)&at, sizeof(at));
    int e = errno;
    umask(old);
    if (!l->listener[slot]) {
        snprintf(err, CONF_ERR_MAX, "[control] unix:%s: %s", path, strerror(e));
        return -e;
    }
    snprintf(l->path[slot], sizeof(l->path[slot]), "%s", path);
    return 0;
}

static int open_one(struct ctl_listener *l, size_t slot, const char *where, char err[CONF_ERR_MAX])
{
    struct slice s = slice_str(where);
    struct sockaddr_storage ss;
    struct addr a;

    if (slice_starts(s, SLICE_LIT("unix:")))
        return open_unix(l, slot, where + 5, err);
    if (addr_parse(&a, s) != 0)
        return -EINVAL;
    unsigned len = addr_to_sockaddr(&a, &ss);
    l->listener[slot] =
        evconnlistener_new_bind(worker_base(l->control), on_accept, l,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                -1, (struct sockaddr *)&ss, (int)len);
    if (l->listener[slot])
        return 0;
    snprintf(err, CONF_ERR_MAX, "[control] listen: %s: %s", where, strerror(errno));
    return -EADDRINUSE;
}

struct ctl_listener *ctl_listener_new(struct worker *control, const struct sfu_conf *conf,
                                      struct sfu_node *node, char err[CONF_ERR_MAX])
{
    struct ctl_listener *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    l->control = control;
    l->conf = conf;
    l->node = node;
    list_init(&l->servers);
    list_init(&l->conns);
    do
        rand_bytes(&l->epoch, sizeof(l->epoch));
    while ((l->epoch >>= 12) == 0); /* fits JSON's numbers */
    for (size_t i = 0; i < conf->control.listen_text.n; i++) {
        if (open_one(l, i, conf->control.listen_text.v[i], err) != 0) {
            ctl_listener_free(l);
            return NULL;
        }
        l->n_listeners++;
    }
    if (conf->control.socket[0] && open_unix(l, SFU_CONTROL_MAX, conf->control.socket, err) != 0) {
        ctl_listener_free(l);
        return NULL;
    }
    l->tick = (struct wtimer){.fn = on_tick, .arg = l};
    worker_timer(control, &l->tick, worker_now(control) + TICK_US);
    return l;
}

void ctl_listener_free(struct ctl_listener *l)
{
    if (!l)
        return;
    LIST_EACH(it, tmp, &l->conns)
    conn_free(CONTAINER_OF(it, struct conn, link));
    LIST_EACH(it, tmp, &l->servers)
    server_free(l, CONTAINER_OF(it, struct server, link));
    for (size_t i = 0; i <= SFU_CONTROL_MAX; i++) {
        if (l->listener[i])
            evconnlistener_free(l->listener[i]);
        if (l->path[i][0])
            unlink(l->path[i]);
    }
    worker_timer_cancel(l->control, &l->tick);
    mem_free(l);
}

void ctl_listener_metrics(struct ctl_listener *l, struct metrics *m)
{
    const struct {
        const char *name, *help;
        enum metric_type type;
        const struct counter *cell;
    } v[] = {
        {"sori_sfu_control_connections", "Connections of sori-servers and operators now.",
         METRIC_GAUGE, &l->connections},
        {"sori_sfu_control_refused_total", "Connections refused: wrong secret, version, too many.",
         METRIC_COUNTER, &l->refused},
        {"sori_sfu_control_requests_total", "Requests, repetitions included.", METRIC_COUNTER,
         &l->requests},
        {"sori_sfu_control_repeats_total", "Requests answered from the store.", METRIC_COUNTER,
         &l->repeats},
        {"sori_sfu_control_stale_total", "Requests whose answer was no longer kept.",
         METRIC_COUNTER, &l->stale},
        {"sori_sfu_control_bad_total", "Messages that could not be read.", METRIC_COUNTER, &l->bad},
        {"sori_sfu_control_events_total", "Numbered events.", METRIC_COUNTER, &l->events},
        {"sori_sfu_control_events_lost_total", "Events that could not be kept: sync followed.",
         METRIC_COUNTER, &l->events_lost},
    };

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        metrics_add(m, v[i].name, "", v[i].help, v[i].type, v[i].cell);
}

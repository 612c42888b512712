/* The sockets of sori-server: accept, HTTP, WebSocket, and the clock that drives the router.
 *
 * A connection begins as a small `struct http_conn`; after the upgrade the stream's user is the
 * client itself (client.c) and nothing else is kept for it. The router's time is set when the first
 * callback of a turn enters it; at the turn's end one timer is armed for the router's next
 * deadline.
 *
 *     stream.c ──bytes──► http_conn ──upgrade──► client.c ──► router.c
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ws_listener.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/stream.h"
#include "proto/http1.h"
#include "server/client.h"
#include "server/export_link.h"
#include "server/export_sock.h"
#include "server/http_page.h"
#include "server/limit_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PROTOCOL        "sori.v1"
#define LISTENERS_MAX   16
#define LINGER_US       (2 * US_PER_S)
#define HTTP_LIFE       6     /* handshake timeouts that a connection may live without an upgrade */
#define HTTP_QUEUE      65536 /* unsent answers of a client that asks on without reading */
#define QUEUE_SLACK     65536 /* the page's files and Close frames fit beside a full queue */
#define HANDSHAKE_KEYS  65536
#define WALL_REFRESH_US (100 * US_PER_MS)
#define PENDING_MAX     (HTTP1_HEAD_MAX > WS_PENDING_MAX ? HTTP1_HEAD_MAX : WS_PENDING_MAX)

struct ws_listener {
    struct worker *worker;
    struct router *router;
    const struct server_conf *conf;
    struct stream_listener *listeners[LISTENERS_MAX];
    size_t n;
    struct limit_table *handshakes;
    struct wtimer tick;
    struct wflush flush;
    uint64_t wall_offset_us, wall_read_us;
    bool stopped;
    struct export_sock *exports; /* NULL: none */
    struct ws_counters count;
    uint8_t scratch[HTTP_PAGE_SCRATCH];
};

struct http_conn {
    struct ws_listener *l;
    struct stream *s;
    uint64_t since_us;
};

/* Sets the router's clock once per turn and asks for the end of the turn. */
static void enter(struct ws_listener *l)
{
    uint64_t now = worker_now(l->worker);

    if (now - l->wall_read_us >= WALL_REFRESH_US || l->wall_read_us == 0) {
        l->wall_offset_us = clock_wall_us() - now;
        l->wall_read_us = now;
    }
    router_clock(l->router, now, now + l->wall_offset_us);
    worker_want_flush(l->worker, &l->flush);
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct ws_listener *l = arg;
    uint64_t at = router_deadline(l->router);

    if (at <= now_us) {
        router_tick(l->router);
        at = router_deadline(l->router);
    }
    worker_timer(l->worker, &l->tick, at);
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct ws_listener *l = arg;

    (void)now_us;
    enter(l);
    router_tick(l->router);
}

/* ---- WebSocket ---- */

static int client_write(void *conn, struct slice a, struct slice b)
{
    return stream_write2(conn, a, b);
}

static void client_end(void *conn)
{
    stream_close(conn, LINGER_US);
}

static const struct client_ops CLIENT_OPS = {.write = client_write, .close = client_end};

static size_t ws_data(void *user, uint8_t *data, size_t len)
{
    struct client *c = user;

    enter(router_owner(c->router));
    return client_recv(c, data, len);
}

static void ws_end(void *user, enum stream_end why)
{
    struct client *c = user;

    (void)why;
    enter(router_owner(c->router));
    client_free(c);
}

static const struct stream_ops WS_OPS = {.data = ws_data, .end = ws_end};

/* ---- HTTP ---- */

static void respond(struct http_conn *h, const struct http_page *page, bool body)
{
    uint8_t head[2048];
    struct wr w = wr_init(head, sizeof(head));

    http1_write_response(&w, &page->head);
    if (w.bad || stream_write2(h->s, wr_done(&w), body ? page->body : (struct slice){0}) != 0 ||
        !page->head.keep_alive)
        stream_close(h->s, LINGER_US);
}

static void refuse(struct http_conn *h, unsigned status)
{
    struct slice text = slice_str(http1_reason(status));

    counter_inc(&h->l->count.http_bad);
    respond(
        h,
        &(struct http_page){{.status = status, .type = "text/plain", .body_bytes = text.len}, text},
        true);
}

/* Turns the connection into a client's. h is freed on success. */
static void upgrade(struct http_conn *h, const struct http1_request *q)
{
    const struct server_conf *conf = h->l->conf;
    char accept[HTTP1_ACCEPT_BYTES];
    uint8_t head[512];
    struct wr w = wr_init(head, sizeof(head));
    struct slice origin = http1_header(q, "Origin");
    struct addr from = stream_peer(h->s);
    struct stream *s = h->s;
    unsigned status = 500;

    if (!http1_origin_allowed(origin, conf->server.allow_no_origin, conf->server.origins.v,
                              conf->server.origins.n)) {
        counter_inc(&h->l->count.origins_refused);
        refuse(h, 403);
        return;
    }
    if (http1_websocket_check(q, PROTOCOL, accept, &status) != 0) {
        refuse(h, status);
        return;
    }
    struct client *c = client_new(h->l->router, &CLIENT_OPS, s, &from);
    if (!c) {
        refuse(h, 503);
        return;
    }
    http1_write_switch(&w, accept, PROTOCOL);
    counter_inc(&h->l->count.upgrades);
    stream_deadline(s, CLOCK_NEVER); /* the client's own timer waits for hello */
    stream_set_user(s, &WS_OPS, c);
    mem_free(h);
    if (stream_write(s, wr_done(&w)) != 0)
        stream_close(s, LINGER_US);
}

/* One request. False: the connection is not HTTP any more, or closing. */
static bool request(struct http_conn *h, const struct http1_request *q)
{
    struct ws_listener *l = h->l;
    const char *not_ready = router_draining(l->router) ? "draining\n" : NULL;

    counter_inc(&l->count.http_requests);
    if (slice_is(q->path, "/ws")) {
        if (http1_wants_websocket(q))
            upgrade(h, q);
        else
            refuse(h, 426);
        return false;
    }
    uint64_t wall_us = worker_now(l->worker) + l->wall_offset_us;
    char scratch[EXPORT_SOCK_HEAD_MAX];
    struct http_page page;
    if (l->exports && slice_starts(q->path, SLICE_LIT(EXPORT_LINK_PATH))) {
        if (!export_sock_get(l->exports, h->s, q, wall_us, &page, scratch)) {
            mem_free(h);
            return false;
        }
    } else {
        page = http_page_get(q, l->conf, stream_is_tls(h->s), not_ready, wall_us, l->scratch);
    }
    bool over = worker_now(l->worker) - h->since_us >=
                    HTTP_LIFE * l->conf->session.handshake_timeout_s * US_PER_S ||
                stream_queued(h->s) > HTTP_QUEUE;
    page.head.keep_alive = page.head.keep_alive && q->keep_alive && !over;
    bool keep = page.head.keep_alive;
    respond(h, &page, !q->head);
    return keep;
}

static void *http_open(void *arg, struct stream *s)
{
    struct ws_listener *l = arg;
    struct http_conn *h = mem_zalloc(sizeof(*h));

    if (!h)
        return NULL;
    *h = (struct http_conn){l, s, worker_now(l->worker)};
    enter(l);
    stream_deadline(s, worker_now(l->worker) + l->conf->session.handshake_timeout_s * US_PER_S);
    return h;
}

static size_t http_data(void *user, uint8_t *data, size_t len)
{
    struct http_conn *h = user;
    struct ws_listener *l = h->l;
    struct http1_request q;
    unsigned status;
    size_t used = 0;

    enter(l);
    while (used < len) {
        int rc = http1_decode(&q, slice_of(data + used, len - used), &status);
        if (rc == -EAGAIN)
            return used;
        if (rc != 0) {
            refuse(h, status);
            return len;
        }
        used += q.len;
        if (!request(h, &q))
            return used;
        stream_deadline(h->s,
                        worker_now(l->worker) + l->conf->session.handshake_timeout_s * US_PER_S);
    }
    return used;
}

static void http_end(void *user, enum stream_end why)
{
    (void)why;
    mem_free(user);
}

static const struct stream_ops HTTP_OPS = {.open = http_open, .data = http_data, .end = http_end};

/* ---- listeners ---- */

static bool admit(void *arg, const struct addr *from, uint64_t now_us)
{
    struct ws_listener *l = arg;

    if (l->stopped)
        return false;
    if (limit_take(l->handshakes, limit_addr_key(from), 1, now_us))
        return true;
    counter_inc(&l->count.handshakes_limited);
    return false;
}

static int listen_all(struct ws_listener *l, const struct conf_list *list, struct tls_ctx **tls,
                      char err[CONF_ERR_MAX])
{
    const struct stream_conf sc = {
        .ops = &HTTP_OPS,
        .arg = l,
        .tls = tls,
        .max_pending = PENDING_MAX,
        .max_queue = l->conf->session.queue_bytes + QUEUE_SLACK,
        .handshake_us = l->conf->session.handshake_timeout_s * US_PER_S,
        .max_streams = (unsigned)l->conf->server.max_connections,
        .admit = admit,
    };

    for (size_t i = 0; i < list->n; i++) {
        struct addr a;
        int err_no = EINVAL;
        if (l->n == LISTENERS_MAX) {
            snprintf(err, CONF_ERR_MAX, "[server]: more than %d listeners", LISTENERS_MAX);
            return -ENOSPC;
        }
        if (addr_parse(&a, slice_str(list->v[i])) == 0)
            l->listeners[l->n] = stream_listen(l->worker, &a, false, &sc, &err_no);
        if (!l->listeners[l->n]) {
            snprintf(err, CONF_ERR_MAX, "cannot listen on %s: %s", list->v[i], strerror(err_no));
            return -err_no;
        }
        char text[ADDR_TEXT_MAX];
        a = stream_listener_addr(l->listeners[l->n++]);
        log_info("listen", "%s on %s", tls ? "https and wss" : "http and ws",
                 addr_format(&a, text));
    }
    return 0;
}

struct ws_listener *ws_listener_new(struct worker *w, struct router *r,
                                    const struct server_conf *conf, struct tls_ctx **tls,
                                    char err[CONF_ERR_MAX])
{
    const struct bucket_rule per_addr = {.milli_per_s =
                                             (uint32_t)conf->limits.handshakes_per_s * 1000,
                                         .burst = (uint32_t)conf->limits.handshakes_burst};
    struct ws_listener *l = mem_zalloc(sizeof(*l));

    snprintf(err, CONF_ERR_MAX, "out of memory");
    if (!l)
        return NULL;
    l->worker = w;
    l->router = r;
    l->conf = conf;
    l->tick = (struct wtimer){.fn = on_tick, .arg = l};
    l->flush = (struct wflush){.fn = on_flush, .arg = l};
    router_set_owner(r, l);
    l->handshakes = limit_table_new(&per_addr, HANDSHAKE_KEYS);
    if (l->handshakes && listen_all(l, &conf->server.listen_tls, tls, err) == 0 &&
        listen_all(l, &conf->server.listen_clear, NULL, err) == 0)
        return l;
    ws_listener_free(l);
    return NULL;
}

void ws_listener_set_exports(struct ws_listener *l, struct export_sock *e)
{
    l->exports = e;
}

void ws_listener_stop(struct ws_listener *l)
{
    l->stopped = true;
}

void ws_listener_free(struct ws_listener *l)
{
    if (!l)
        return;
    enter(l);
    for (size_t i = 0; i < l->n; i++) {
        stream_abort_all(l->listeners[i]);
        stream_listener_free(l->listeners[i]);
    }
    worker_cancel_flush(&l->flush);
    worker_timer_cancel(l->worker, &l->tick);
    limit_table_free(l->handshakes);
    mem_free(l);
}

unsigned ws_listener_count(const struct ws_listener *l)
{
    unsigned n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += stream_listener_count(l->listeners[i]);
    return n;
}

const struct ws_counters *ws_listener_counters(const struct ws_listener *l)
{
    return &l->count;
}

void ws_listener_enter(struct ws_listener *l)
{
    enter(l);
}

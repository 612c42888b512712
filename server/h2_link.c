/* One HTTP/2 connection over TLS: connect, read, write, time. It never looks inside a frame.
 *
 * Made and freed by h2_client_link.c at the pool's wish.
 *
 *   RESOLVING -> DIALLING (each address in turn) -> PROXY (if there is one) -> TLS -> UP
 *   any -> OVER: the pool has been told; nothing but h2_link_free() follows
 *
 * UP begins with TLS; the pool hears of it at the peer's SETTINGS, which tell how many streams it
 * takes. A socket's failure is only noted where it is seen inside a call of the pool's or of
 * libevent's, and told from h2_link_flush() or h2_link_tick(), so that the pool is never entered
 * twice. SPDX-License-Identifier: BSD-3-Clause */
#include "server/h2_link.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/resolve.h"
#include "net/tls.h"
#include "net/worker.h"
#include "server/h2_proxy.h"
#include "server/h2_session.h"

#define OUT_BYTES       16384 /* one TLS record's worth */
#define IN_BYTES        16384
#define READS_MAX       16   /* of IN_BYTES, in a turn: others have their turn, too */
#define USER_TIMEOUT_MS 5000 /* unacknowledged bytes: the kernel ends the connection */

enum link_state { RESOLVING, DIALLING, PROXY, TLS, UP, OVER };

struct h2_link {
    struct h2_link_env *env;
    struct h2_conn *conn;
    struct h2_session *session;
    struct tls *tls;
    struct resolve_query *query;
    struct dial *dial;
    struct event *readable, *writable;
    int fd;
    enum link_state state;
    bool told_open;
    bool doomed; /* over, to be told */
    enum h2_end end;
    uint64_t open_by_us;
    uint64_t taken;         /* bytes of the session that TLS has taken */
    size_t out_at, out_len; /* of out */
    struct slice more;      /* of the session, did not fit into out */
    size_t in_len;          /* PROXY: of in */
    char why[256];
    uint8_t out[OUT_BYTES], in[IN_BYTES];
};

static void wake(struct h2_link *k)
{
    k->env->wake(k->env);
}

/* Notes the end; flush or tick tells the pool. */
static void doom(struct h2_link *k, enum h2_end end, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void doom(struct h2_link *k, enum h2_end end, const char *fmt, ...)
{
    va_list ap;

    if (k->doomed || k->state == OVER)
        return;
    va_start(ap, fmt);
    vsnprintf(k->why, sizeof(k->why), fmt, ap);
    va_end(ap);
    k->doomed = true;
    k->end = end;
    wake(k);
}

static void close_socket(struct h2_link *k)
{
    dial_free(k->dial);
    k->dial = NULL;
    if (k->readable)
        event_free(k->readable);
    if (k->writable)
        event_free(k->writable);
    k->readable = k->writable = NULL;
    tls_free(k->tls);
    k->tls = NULL;
    if (k->fd != -1)
        close(k->fd);
    k->fd = -1;
}

/* Tells the pool of a noted end. Returns false if there was one. */
static bool tell_end(struct h2_link *k)
{
    if (!k->doomed)
        return true;
    uint64_t now = worker_now(k->env->worker);
    if (k->end == H2_END_LOCAL)
        log_info("h2", "%s/%u: %s", k->env->name, h2_conn_number(k->conn), k->why);
    else if (log_allow(&k->env->noise, 1, now))
        log_warn("h2", "%s/%u: %s (%u more such lines left out)", k->env->name,
                 h2_conn_number(k->conn), k->why, k->env->noise.suppressed);
    k->doomed = false;
    k->state = OVER;
    resolver_cancel(k->query);
    k->query = NULL;
    close_socket(k);
    if (k->session)
        h2_session_end(k->session, k->taken, k->why);
    h2_conn_ended(k->conn, k->end, k->why, now);
    k->conn = NULL;
    return false;
}

/* ---- what the session tells ---- */

static void on_answered(void *user, void *req, const struct h2_response *r)
{
    struct h2_link *k = user;

    h2_job_answered(req, r, worker_now(k->env->worker));
}

static void on_refused(void *user, void *req, bool goaway)
{
    struct h2_link *k = user;

    h2_job_refused(req, goaway, worker_now(k->env->worker));
}

static void on_failed(void *user, void *req, const char *why)
{
    struct h2_link *k = user;

    h2_job_failed(req, why, worker_now(k->env->worker));
}

static void on_limit(void *user, unsigned streams)
{
    struct h2_link *k = user;
    uint64_t now = worker_now(k->env->worker);

    if (!k->told_open) {
        k->told_open = true;
        log_info("h2", "%s/%u: connected to %s, %u requests at once", k->env->name,
                 h2_conn_number(k->conn), k->env->host, streams);
        h2_conn_opened(k->conn, now);
    }
    h2_conn_limit(k->conn, streams, now);
}

static void on_goaway(void *user, const char *why)
{
    struct h2_link *k = user;

    log_info("h2", "%s/%u: GOAWAY: %s", k->env->name, h2_conn_number(k->conn), why);
    h2_conn_goaway(k->conn, why, worker_now(k->env->worker));
}

static const struct h2_session_ops SESSION_OPS = {on_answered, on_refused, on_failed, on_limit,
                                                  on_goaway};

/* ---- sending ---- */

/* Fills out from the session. */
static void fill(struct h2_link *k)
{
    for (;;) {
        if (k->more.len == 0)
            k->more = h2_session_send(k->session);
        size_t room = OUT_BYTES - k->out_len;
        struct slice part = slice_sub(k->more, 0, room);
        if (part.len == 0)
            return;
        memcpy(k->out + k->out_len, part.p, part.len);
        k->out_len += part.len;
        k->more = slice_sub(k->more, part.len, k->more.len);
    }
}

/* False: the socket takes nothing any more. */
static bool send_session(struct h2_link *k)
{
    bool want_write = true;

    for (;;) {
        if (k->out_at == k->out_len)
            k->out_at = k->out_len = 0;
        if (k->out_at == 0)
            fill(k);
        if (k->out_len == 0)
            break;
        int n =
            tls_write(k->tls, slice_of(k->out + k->out_at, k->out_len - k->out_at), &want_write);
        if (n == -EAGAIN) {
            if (want_write)
                event_add(k->writable, NULL);
            return true;
        }
        if (n <= 0)
            return false;
        k->taken += (uint64_t)n;
        k->out_at += (size_t)n;
    }
    event_del(k->writable);
    if (!h2_session_over(k->session))
        return true;
    const char *why = h2_session_why(k->session);
    if (why[0] != '\0')
        doom(k, H2_END_PROTOCOL, "%s", why);
    else
        doom(k, H2_END_LOCAL, "finished after GOAWAY");
    return true;
}

/* ---- receiving ---- */

static void recv_session(struct h2_link *k)
{
    bool want_write = false;

    for (unsigned i = 0; i < READS_MAX && !k->doomed; i++) {
        int n = tls_read(k->tls, k->in, sizeof(k->in), &want_write);
        if (n == -EAGAIN) {
            if (want_write)
                event_add(k->writable, NULL);
            return;
        }
        if (n <= 0) {
            if (n == -EPROTO) /* TLS 1.3 refuses our certificate behind the handshake */
                doom(k, H2_END_TLS, "TLS to %s failed: %s", k->env->host, tls_why(k->tls));
            else
                doom(k, H2_END_EOF,
                     n == 0 ? "the peer closed the connection" : "the connection broke");
            return;
        }
        if (h2_session_recv(k->session, slice_of(k->in, (size_t)n), worker_now(k->env->worker)) !=
            0) {
            doom(k, H2_END_PROTOCOL, "%s", h2_session_why(k->session));
            return;
        }
        if (tls_dry(k->tls))
            return;
    }
    if (!k->doomed && tls_pending(k->tls) > 0)
        event_active(k->readable, EV_READ, 0); /* the socket won't announce these */
}

/* ---- TLS ---- */

static void start_session(struct h2_link *k)
{
    const struct h2_session_conf conf = {k->env->authority, k->env->streams_max, k->env->ping_us,
                                         k->env->ping_idle_us, k->env->dead_us};

    k->session = h2_session_new(&conf, &SESSION_OPS, k, worker_now(k->env->worker));
    if (!k->session) {
        doom(k, H2_END_PROTOCOL, "memory is out");
        return;
    }
    k->state = UP;
    recv_session(k); /* what came with the end of the handshake */
    wake(k);
}

static void handshake(struct h2_link *k)
{
    bool want_write = false;
    int rc = tls_handshake(k->tls, &want_write);

    if (rc == 1) {
        start_session(k);
    } else if (rc == -EAGAIN) {
        if (want_write)
            event_add(k->writable, NULL);
        else
            event_del(k->writable);
    } else {
        doom(k, H2_END_TLS, "TLS to %s failed: %s", k->env->host, tls_why(k->tls));
    }
}

static void start_tls(struct h2_link *k)
{
    k->tls = tls_connect_new(k->env->tls, k->fd, k->env->host);
    if (!k->tls) {
        doom(k, H2_END_TLS, "TLS to %s could not be begun: memory is out or it is no name",
             k->env->host);
        return;
    }
    k->state = TLS;
    handshake(k);
}

/* ---- the proxy ---- */

static void ask_proxy(struct h2_link *k)
{
    struct wr w = wr_init(k->out, sizeof(k->out));

    h2_proxy_write(&w, slice_str(k->env->host), k->env->port, slice_str(k->env->proxy_auth));
    k->state = PROXY;
    k->in_len = 0;
    /* A fresh connection takes these few bytes whole. */
    ssize_t n = w.bad ? -1 : send(k->fd, k->out, w.len, MSG_NOSIGNAL);
    if (n < 0 || (size_t)n != w.len)
        doom(k, H2_END_PROXY, "the proxy %s could not be asked", k->env->dial_host);
}

static void hear_proxy(struct h2_link *k)
{
    unsigned status;
    ssize_t n = recv(k->fd, k->in + k->in_len, H2_PROXY_HEAD_MAX - k->in_len, 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        doom(k, H2_END_PROXY, "the proxy %s closed the connection", k->env->dial_host);
        return;
    }
    k->in_len += (size_t)n;
    int rc = h2_proxy_read(slice_of(k->in, k->in_len), &status);
    if (rc == -EAGAIN)
        return;
    if (rc == 0)
        start_tls(k);
    else if (rc == -EACCES)
        doom(k, H2_END_PROXY, "the proxy %s refuses with status %u%s", k->env->dial_host, status,
             status == 407 ? ": it wants a user name and password" : "");
    else
        doom(k, H2_END_PROXY, "the proxy %s does not answer as an HTTP/1.1 proxy",
             k->env->dial_host);
}

/* ---- connecting ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct h2_link *k = arg;

    (void)fd;
    wake(k);
    if (k->doomed || k->state == OVER)
        return;
    if (k->state == PROXY && (what & EV_READ))
        hear_proxy(k);
    else if (k->state == TLS)
        handshake(k);
    else if (k->state == UP && (what & EV_READ))
        recv_session(k);
    /* UP and writable: h2_link_flush() sends. */
}

/* Owns fd from now on. False: memory is out. */
static bool take_socket(struct h2_link *k, int fd)
{
    struct event_base *base = worker_base(k->env->worker);
    int one = 1, timeout_ms = USER_TIMEOUT_MS;

    k->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    k->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_ready, k);
    k->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_ready, k);
    return k->readable && k->writable && event_add(k->readable, NULL) == 0;
}

/* One of the addresses has answered, or none. */
static void on_dialled(void *arg, int fd, const char *why)
{
    struct h2_link *k = arg;

    k->dial = NULL;
    wake(k);
    if (fd == -1)
        doom(k, k->env->by_proxy ? H2_END_PROXY : H2_END_CONNECT, "cannot connect to %s: %s",
             k->env->dial_host, why);
    else if (!take_socket(k, fd))
        doom(k, H2_END_CONNECT, "memory is out");
    else if (k->env->by_proxy)
        ask_proxy(k);
    else
        start_tls(k);
}

static void on_resolved(void *arg, const struct addr *addrs, size_t n, const char *why)
{
    struct h2_link *k = arg;

    k->query = NULL;
    wake(k);
    if (k->doomed)
        return;
    if (n == 0) {
        doom(k, H2_END_RESOLVE, "%s has no address: %s", k->env->dial_host, why);
        return;
    }
    struct addr to[RESOLVE_ADDRS_MAX];
    memcpy(to, addrs, n * sizeof(*addrs));
    dial_order(to, n, h2_conn_number(k->conn)); /* connections of a pool begin at different ones */
    k->state = DIALLING;
    k->dial = dial_new(k->env->worker, to, n, on_dialled, k);
    if (!k->dial)
        doom(k, H2_END_CONNECT, "memory is out");
}

/* ---- the pool's calls ---- */

struct h2_link *h2_link_new(struct h2_link_env *env, struct h2_conn *c)
{
    struct h2_link *k = mem_zalloc(sizeof(*k));

    if (!k)
        return NULL;
    k->env = env;
    k->conn = c;
    k->fd = -1;
    k->open_by_us = worker_now(env->worker) + env->open_us;
    k->query = resolver_ask(env->resolver, env->dial_host, env->dial_port, on_resolved, k);
    if (!k->query) {
        mem_free(k);
        return NULL;
    }
    return k;
}

void h2_link_free(struct h2_link *k)
{
    if (!k)
        return;
    resolver_cancel(k->query);
    if (k->state == UP && !k->doomed) {
        h2_session_goodbye(k->session);
        send_session(k);
        tls_shutdown(k->tls);
    }
    close_socket(k);
    h2_session_free(k->session);
    mem_free(k);
}

int h2_link_submit(struct h2_link *k, const struct h2_request *q, struct h2_job *job, void **stream,
                   uint64_t now_us)
{
    struct h2_stream *t;

    if (k->state != UP || k->doomed)
        return -EPIPE;
    int rc = h2_session_submit(k->session, q, job, &t, now_us);
    if (rc == 0)
        *stream = t;
    return rc;
}

void h2_link_forget(struct h2_link *k, void *stream)
{
    if (k->session)
        h2_session_forget(k->session, stream);
    wake(k);
}

bool h2_link_flush(struct h2_link *k)
{
    if (k->state == UP && !k->doomed && !send_session(k)) {
        recv_session(k); /* answers, and perhaps the reason, may have come before the end */
        doom(k, H2_END_EOF, "the connection broke while sending");
    }
    return tell_end(k);
}

uint64_t h2_link_deadline(const struct h2_link *k)
{
    uint64_t at = k->told_open ? CLOCK_NEVER : k->open_by_us;

    if (k->state == OVER)
        return CLOCK_NEVER;
    if (k->state == UP && h2_session_deadline(k->session) < at)
        at = h2_session_deadline(k->session);
    return at;
}

bool h2_link_tick(struct h2_link *k, uint64_t now_us)
{
    if (k->state == OVER)
        return true;
    if (!k->told_open && k->open_by_us <= now_us)
        doom(k,
             k->state == RESOLVING ? H2_END_RESOLVE
             : k->state == UP      ? H2_END_PROTOCOL
                                   : H2_END_CONNECT,
             "%s does not answer while the connection is made", k->env->dial_host);
    if (k->state == UP && !h2_session_tick(k->session, now_us))
        doom(k, H2_END_DEAD, "%s", h2_session_why(k->session));
    return tell_end(k);
}

/* The shell around redis_client.c: one socket, opened and closed as the machine wishes.
 *
 *     wish OPEN ─► name ─► dial ─► TLS ─► opened;  wish CLOSE at any time
 *     or Unix socket ──────────────────►
 *
 * Made by the stores' owners. It never looks inside a reply. Input is fed as it comes, which may
 * run callbacks; output, opening and closing wait for the end of the turn. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "net/redis_link.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/resolve.h"
#include "net/tls.h"
#include "net/worker.h"

#define IO_BYTES   16384 /* one TLS record's worth */
#define READS_MAX  16    /* of IO_BYTES in a turn: others have their turn, too */
#define ROUNDS_MAX 8     /* of wishes in a turn */

struct redis_link {
    struct worker *worker;
    const struct redis_client_ops *ops; /* the owner's */
    void *arg;
    struct redis_client *client;
    struct resolver *resolver;
    struct tls_ctx *tls_ctx;
    const char *name, *tls_name;
    struct wtimer timer;
    struct wflush flush;
    struct redis_endpoint to;
    struct resolve_query *query;
    struct dial *dial;
    struct tls *tls;
    struct event *readable, *writable;
    int fd;
    bool handshake; /* of TLS, under way */
    bool open;      /* bytes may flow */
    bool again;     /* woken while it flushes */
    bool told;      /* that it is away has been logged */
    bool secret;    /* AUTH may be in out */
    size_t out_at, out_len;
    uint8_t out[IO_BYTES], in[IO_BYTES];
};

static uint64_t now_of(const struct redis_link *l)
{
    return worker_now(l->worker);
}

/* ---- the socket ---- */

/* in_order: what was said is to arrive. */
static void close_socket(struct redis_link *l, bool in_order)
{
    resolver_cancel(l->query);
    dial_free(l->dial);
    if (l->readable)
        event_free(l->readable);
    if (l->writable)
        event_free(l->writable);
    if (!in_order)
        dial_forget_unsent(l->fd);
    else if (l->tls && l->open)
        tls_shutdown(l->tls);
    tls_free(l->tls);
    if (l->fd != -1)
        close(l->fd);
    l->query = NULL;
    l->dial = NULL;
    l->readable = l->writable = NULL;
    l->tls = NULL;
    l->fd = -1;
    l->handshake = l->open = false;
    crypto_wipe(l->out, l->out_len); /* AUTH was in it */
    l->out_at = l->out_len = 0;
}

/* It could not be made, or is gone. */
static void gone(struct redis_link *l, const char *what, const char *more)
{
    char why[REDIS_WHY_MAX];

    close_socket(l, false);
    snprintf(why, sizeof(why), "%s%s%s", what, more[0] != '\0' ? ": " : "", more);
    redis_client_closed(l->client, why, now_of(l));
    worker_want_flush(l->worker, &l->flush);
    l->again = true;
}

/* Both give bytes, 0 at the end, -EAGAIN, or another negative errno. */
static int io_read(struct redis_link *l, bool *want_write)
{
    if (l->tls)
        return tls_read(l->tls, l->in, sizeof(l->in), want_write);
    ssize_t n = recv(l->fd, l->in, sizeof(l->in), 0);
    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EIO;
    return (int)n;
}

static int io_write(struct redis_link *l, struct slice s, bool *want_write)
{
    if (l->tls)
        return tls_write(l->tls, s, want_write);
    ssize_t n = send(l->fd, s.p, s.len, MSG_NOSIGNAL);
    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EIO;
    return (int)n;
}

static void hear(struct redis_link *l)
{
    bool want_write = false;

    for (unsigned i = 0; i < READS_MAX; i++) {
        int n = io_read(l, &want_write);
        if (n == -EAGAIN) {
            if (want_write)
                event_add(l->writable, NULL);
            return;
        }
        if (n == -EPROTO)
            gone(l, "TLS failed", tls_why(l->tls));
        else if (n <= 0)
            gone(l, n == 0 ? "Redis closed the connection" : "the connection broke", "");
        if (n <= 0)
            return;
        redis_client_recv(l->client, slice_of(l->in, (size_t)n), now_of(l));
        if (l->tls ? tls_dry(l->tls) : (size_t)n < sizeof(l->in))
            return;
    }
    if (!l->tls || tls_pending(l->tls) > 0)
        event_active(l->readable, EV_READ, 0); /* the socket won't announce what TLS holds */
}

static void say(struct redis_link *l, uint64_t now_us)
{
    bool want_write = true;

    for (;;) {
        if (l->out_at == l->out_len) {
            if (l->secret)
                crypto_wipe(l->out, l->out_len);
            l->secret = !redis_client_ready(l->client);
            l->out_at = 0;
            l->out_len = redis_client_take(l->client, l->out, sizeof(l->out), now_us);
        }
        if (l->out_len == 0)
            break;
        int n = io_write(l, slice_of(l->out + l->out_at, l->out_len - l->out_at), &want_write);
        if (n == -EAGAIN) {
            if (want_write)
                event_add(l->writable, NULL);
            return;
        }
        if (n <= 0) {
            gone(l, "the connection broke while sending", "");
            return;
        }
        l->out_at += (size_t)n;
    }
    event_del(l->writable);
}

/* ---- opening ---- */

static void opened(struct redis_link *l)
{
    l->handshake = false;
    l->open = true;
    redis_client_opened(l->client, now_of(l));
}

static void shake(struct redis_link *l)
{
    bool want_write = false;
    int rc = tls_handshake(l->tls, &want_write);

    if (rc == 1) {
        event_del(l->writable);
        opened(l);
        hear(l); /* what came with the end of the handshake */
    } else if (rc != -EAGAIN) {
        gone(l, "TLS failed", tls_why(l->tls));
    } else if (want_write) {
        event_add(l->writable, NULL);
    } else {
        event_del(l->writable);
    }
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *l = arg;

    (void)fd;
    worker_want_flush(l->worker, &l->flush); /* which sends, and looks at the time */
    if (l->handshake)
        shake(l);
    else if (l->open && (what & EV_READ))
        hear(l);
}

/* Owns fd from now on. */
static void take_socket(struct redis_link *l, int fd)
{
    struct event_base *base = worker_base(l->worker);
    bool local = l->to.port == 0;
    int one = 1;

    l->fd = fd;
    if (!local)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    l->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_ready, l);
    l->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_ready, l);
    if (l->tls_ctx && !local)
        l->tls =
            tls_connect_new(l->tls_ctx, fd, l->tls_name && *l->tls_name ? l->tls_name : l->to.host);
    if (!l->readable || !l->writable || event_add(l->readable, NULL) != 0 ||
        (l->tls_ctx && !local && !l->tls)) {
        gone(l, "memory is out, or the host is no name", l->to.host);
        return;
    }
    l->handshake = l->tls != NULL;
    if (l->handshake)
        shake(l);
    else
        opened(l);
}

static void on_dialled(void *arg, int fd, const char *why)
{
    struct redis_link *l = arg;

    l->dial = NULL;
    worker_want_flush(l->worker, &l->flush);
    if (fd == -1)
        gone(l, "cannot connect", why);
    else
        take_socket(l, fd);
}

static void dial_these(struct redis_link *l, const struct addr *addrs, size_t n)
{
    l->dial = dial_new(l->worker, addrs, n, on_dialled, l);
    if (!l->dial)
        gone(l, "memory is out", "");
}

static void on_resolved(void *arg, const struct addr *addrs, size_t n, const char *why)
{
    struct redis_link *l = arg;
    struct addr to[RESOLVE_ADDRS_MAX];

    l->query = NULL;
    worker_want_flush(l->worker, &l->flush);
    if (n == 0) {
        gone(l, "the host has no address", why);
        return;
    }
    memcpy(to, addrs, n * sizeof(*addrs));
    dial_order(to, n, 0);
    dial_these(l, to, n);
}

static void open_local(struct redis_link *l)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%.*s", (int)sizeof(to.sun_path) - 1, l->to.host);
    if (fd != -1 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0) {
        take_socket(l, fd);
        return;
    }
    const char *why = strerror(errno);
    if (fd != -1)
        close(fd);
    gone(l, "cannot connect", why);
}

static void open_socket(struct redis_link *l, const struct redis_endpoint *to)
{
    struct addr addr;

    l->to = *to;
    if (to->port == 0) {
        open_local(l);
        return;
    }
    if (addr_parse(&addr, slice_str(l->to.host)) == 0) {
        addr = addr_with_port(addr, l->to.port);
        dial_these(l, &addr, 1);
        return;
    }
    l->query =
        l->resolver ? resolver_ask(l->resolver, l->to.host, l->to.port, on_resolved, l) : NULL;
    if (!l->query)
        gone(l, "the host cannot be looked up", l->to.host);
}

/* ---- turns ---- */

static void do_wishes(struct redis_link *l, uint64_t now_us)
{
    const struct redis_endpoint *to;

    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        enum redis_wish wish = redis_client_wish(l->client, &to, now_us);
        if (wish == REDIS_WISH_CLOSE)
            close_socket(l, false);
        else if (wish == REDIS_WISH_OPEN)
            open_socket(l, to);
        else
            return;
    }
}

void redis_link_push(struct redis_link *l)
{
    if (l->open)
        say(l, now_of(l));
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct redis_link *l = arg;
    unsigned rounds = 0;

    do {
        l->again = false;
        do_wishes(l, now_us);
        if (l->open)
            say(l, now_us);
    } while (l->again && ++rounds < ROUNDS_MAX);
    worker_timer(l->worker, &l->timer, l->again ? now_us : redis_client_deadline(l->client));
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct redis_link *l = arg;

    redis_client_tick(l->client, now_us);
    worker_want_flush(l->worker, &l->flush);
}

/* ---- what the machine tells ---- */

static void on_wake(void *arg)
{
    struct redis_link *l = arg;

    l->again = true;
    worker_want_flush(l->worker, &l->flush);
}

static void on_up(void *arg, uint64_t now_us)
{
    struct redis_link *l = arg;

    log_info("redis", "%s: connected to %s%s%u", l->name, l->to.host,
             l->to.port == 0 ? ", Unix socket " : ":", (unsigned)l->to.port);
    l->told = false;
    if (l->ops->up)
        l->ops->up(l->arg, now_us);
}

static void on_down(void *arg, const char *why, uint64_t now_us)
{
    struct redis_link *l = arg;

    if (!l->told)
        log_warn("redis", "%s: %s: %s; trying again, this is not logged until it is there", l->name,
                 l->to.host, why);
    l->told = true;
    if (l->ops->down)
        l->ops->down(l->arg, why, now_us);
}

static void on_message(void *arg, struct slice channel, struct slice payload, uint64_t now_us)
{
    struct redis_link *l = arg;

    if (l->ops->message)
        l->ops->message(l->arg, channel, payload, now_us);
}

/* ---- life ---- */

struct redis_link *redis_link_new(struct worker *w, const struct redis_link_conf *conf,
                                  const struct redis_client_ops *ops, void *arg)
{
    static const struct redis_client_ops own = {on_wake, on_up, on_down, on_message};
    struct redis_client_conf client = conf->client;
    struct redis_link *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    while (client.seed == 0)
        rand_bytes(&client.seed, sizeof(client.seed));
    *l = (struct redis_link){.worker = w,
                             .ops = ops,
                             .arg = arg,
                             .resolver = conf->resolver,
                             .tls_ctx = conf->tls,
                             .name = conf->name,
                             .tls_name = conf->tls_name,
                             .fd = -1};
    l->timer = (struct wtimer){.fn = on_timer, .arg = l};
    l->flush = (struct wflush){.fn = on_flush, .arg = l};
    l->client = redis_client_new(&client, &own, l, worker_now(w));
    if (!l->client) {
        mem_free(l);
        return NULL;
    }
    worker_timer(w, &l->timer, 0); /* as soon as it runs */
    return l;
}

void redis_link_free(struct redis_link *l)
{
    if (!l)
        return;
    close_socket(l, true);
    worker_timer_cancel(l->worker, &l->timer);
    worker_cancel_flush(&l->flush);
    redis_client_free(l->client);
    mem_free(l);
}

struct redis_client *redis_link_client(struct redis_link *l)
{
    return l->client;
}

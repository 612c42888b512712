/* The accepting side of streams: listen, accept with a budget, pause and resume, walk.
 *
 * Called by libevent when connections wait, and by stream.c when a stream has gone. Accepting
 * pauses while the listener has all the streams it may have, and for 100 ms when descriptors or
 * memory run out: a listening socket stays readable, so that trying on would spin. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/stream_priv.h"

#include "base/mem.h"
#include "net/inherited_sock.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_ACCEPTS         64 /* per listener and turn */
#define STREAM_BACKLOG         4096
#define STREAM_ACCEPT_PAUSE_US (100 * US_PER_MS)
#define STREAM_USER_TIMEOUT_MS 20000 /* unacknowledged data older than this breaks the stream */

void stream_listener_unref(struct stream_listener *l)
{
    if (--l->refs > 0)
        return;
    mem_free(l->buf);
    mem_free(l);
}

void stream_listener_resume(struct stream_listener *l)
{
    if (!l->paused || l->fd == -1 || timer_is_set(&l->resume.timer))
        return;
    if (event_add(&l->ev, NULL) == 0)
        l->paused = false;
    else
        worker_timer(l->w, &l->resume, worker_now(l->w) + STREAM_ACCEPT_PAUSE_US);
}

static void accept_pause(struct stream_listener *l)
{
    event_del(&l->ev);
    l->paused = true;
}

/* Accepts one connection. Returns false when this turn's accepting is over. */
static bool accept_one(struct stream_listener *l)
{
    if (l->conf.max_streams && l->count >= l->conf.max_streams) {
        accept_pause(l);
        return false;
    }
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;
    int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(l);
            worker_timer(l->w, &l->resume, worker_now(l->w) + STREAM_ACCEPT_PAUSE_US);
        }
        /* Anything else but EAGAIN is an error of that one connection (accept(2)): it is gone, and
         * the next one comes with the next turn. */
        return false;
    }
    struct addr peer = addr_from_sockaddr((struct sockaddr *)&ss);
    bool proxied = l->conf.proxied && l->conf.proxied(l->conf.arg, &peer);
    /* Who comes through a proxy is asked about when the proxy has said who that is. */
    if (!proxied && l->conf.admit && !l->conf.admit(l->conf.arg, &peer, worker_now(l->w)))
        close(fd);
    else
        stream_begin(l, fd, &peer, proxied);
    return l->fd != -1; /* open() may have freed the listener */
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct stream_listener *l = arg;
    (void)fd;
    (void)what;
    l->refs++;
    for (unsigned i = 0; i < STREAM_ACCEPTS; i++)
        if (!accept_one(l))
            break;
    stream_listener_unref(l);
}

static void on_resume(void *arg, uint64_t now_us)
{
    (void)now_us;
    stream_listener_resume(arg);
}

/* Accepted sockets inherit them. */
static bool set_tcp_options(int fd)
{
    int on = 1, ms = STREAM_USER_TIMEOUT_MS;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) == 0;
}

/* A bound, listening descriptor, or -errno. */
static int listen_on(const struct addr *addr, bool reuseport)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(addr, &ss);
    if (len == 0)
        return -EAFNOSUPPORT;
    int fd = inherited_take(addr, SOCK_STREAM), on = 1;
    bool ok = true;
    if (fd < 0) {
        fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd == -1)
            return -errno;
        ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
             (!reuseport || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
             (ss.ss_family != AF_INET6 ||
              setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
             bind(fd, (struct sockaddr *)&ss, len) == 0;
    }
    ok = ok && set_tcp_options(fd) && listen(fd, STREAM_BACKLOG) == 0;
    if (ok)
        return fd;
    int err = errno;
    close(fd);
    return -err;
}

struct addr stream_local_addr(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == -1)
        return (struct addr){0};
    return addr_from_sockaddr((struct sockaddr *)&ss);
}

struct stream_listener *stream_listen(struct worker *w, const struct addr *addr, bool reuseport,
                                      const struct stream_conf *conf, int *err_no)
{
    struct stream_listener *l = mem_zalloc(sizeof *l);
    uint8_t *buf = mem_realloc(NULL, conf->max_pending + STREAM_READ_BYTES);
    int fd = l && buf ? listen_on(addr, reuseport) : -ENOMEM;
    if (fd < 0) {
        mem_free(buf);
        mem_free(l);
        *err_no = -fd;
        return NULL;
    }
    l->w = w;
    l->conf = *conf;
    l->fd = fd;
    l->buf = buf;
    l->refs = 1;
    l->addr = stream_local_addr(fd);
    l->resume = (struct wtimer){.fn = on_resume, .arg = l};
    list_init(&l->streams);
    event_assign(&l->ev, worker_base(w), fd, EV_READ | EV_PERSIST, on_accept, l);
    if (event_add(&l->ev, NULL) != 0) {
        stream_listener_free(l);
        *err_no = ENOMEM;
        return NULL;
    }
    return l;
}

void stream_listener_free(struct stream_listener *l)
{
    if (!l)
        return;
    event_del(&l->ev);
    worker_timer_cancel(l->w, &l->resume);
    close(l->fd);
    l->fd = -1;
    LIST_EACH(it, tmp, &l->streams)
    {
        struct stream *s = CONTAINER_OF(it, struct stream, link);
        if (s->state == STREAM_HANDSHAKE || s->state == STREAM_PREFACE)
            stream_destroy(s, STREAM_END_LOCAL);
    }
    stream_listener_unref(l);
}

struct addr stream_listener_addr(const struct stream_listener *l)
{
    return l->addr;
}

unsigned stream_listener_count(const struct stream_listener *l)
{
    return l->count;
}

uint64_t stream_listener_tls_failures(const struct stream_listener *l)
{
    return l->tls_failures;
}

void stream_each(struct stream_listener *l, void (*fn)(void *user, void *arg), void *arg)
{
    LIST_EACH(it, tmp, &l->streams)
    {
        struct stream *s = CONTAINER_OF(it, struct stream, link);
        if (s->state == STREAM_OPEN)
            fn(s->user, arg);
    }
}

void stream_abort_all(struct stream_listener *l)
{
    LIST_EACH(it, tmp, &l->streams)
    {
        stream_destroy(CONTAINER_OF(it, struct stream, link), STREAM_END_LOCAL);
    }
}

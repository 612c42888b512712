/* The sockets of TCP allocations at their own worker (RFC 6062).
 *
 * Called through relay_ops by allocate.c and connect.c. A shell: who may connect is decided there.
 * Nothing is ever read here: what a peer sends before the client has bound its connection waits in
 * the kernel, whose buffer bounds it. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/tcp_relay_sock.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "turn/connect.h"
#include "turn/tcp_data_sock.h"

#define BACKLOG         16 /* peers that the loop has not seen yet */
#define ACCEPT_BUDGET   16 /* per allocation and turn */
#define ACCEPT_PAUSE_US (100 * US_PER_MS)

/* The listening socket: struct alloc's sock. */
struct tcp_listen {
    struct turn_worker *w;
    struct alloc *alloc;
    struct event readable;
    struct wtimer resume;
    int fd;
};

struct peer_sock {
    struct turn_worker *w;
    struct peer_conn *conn;
    struct event writable; /* while connecting */
    int fd;
};

static int set_on(int fd, int level, int option)
{
    int on = 1;

    return setsockopt(fd, level, option, &on, sizeof(on));
}

/* A TCP socket bound to `at`, which others of ours share: the listening one and those that connect
 * from the relayed address, as peers expect. The first of them shares it only when it has it: with
 * nobody who listens there already, be it for clients. Returns the descriptor or -errno. */
static int bound_socket(const struct addr *at, bool first)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(at, &ss);
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -errno;
    if (set_on(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
        (first || set_on(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
        (at->family != ADDR_V6 || set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
        set_on(fd, IPPROTO_TCP, TCP_NODELAY) == 0 && bind(fd, (struct sockaddr *)&ss, len) == 0 &&
        (!first || set_on(fd, SOL_SOCKET, SO_REUSEPORT) == 0))
        return fd;
    int err = errno;
    close(fd);
    return -err;
}

/* ---- incoming ---- */

static struct peer_sock *sock_new(struct turn_worker *w, int fd)
{
    struct peer_sock *s = mem_zalloc(sizeof(*s));

    if (!s)
        return NULL;
    s->w = w;
    s->fd = fd;
    return s;
}

static void take_peer(struct tcp_listen *l, int fd, const struct addr *peer)
{
    struct peer_sock *s = sock_new(l->w, fd);
    struct peer_conn *p =
        s ? connect_incoming(&l->w->core, l->alloc, peer, worker_now(l->w->loop)) : NULL;

    if (!p) {
        mem_free(s);
        close(fd);
        return;
    }
    s->conn = p;
    p->sock = s;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct tcp_listen *l = arg;

    (void)what;
    for (unsigned i = 0; i < ACCEPT_BUDGET; i++) {
        struct sockaddr_storage ss = {0};
        socklen_t len = sizeof(ss);
        int peer_fd = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer_fd == -1 &&
            (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            /* The socket stays readable: trying on would spin. */
            event_del(&l->readable);
            worker_timer(l->w->loop, &l->resume, worker_now(l->w->loop) + ACCEPT_PAUSE_US);
        }
        if (peer_fd == -1)
            return;
        struct addr peer = addr_from_sockaddr((struct sockaddr *)&ss);
        take_peer(l, peer_fd, &peer);
    }
}

static void on_resume(void *arg, uint64_t now_us)
{
    struct tcp_listen *l = arg;

    if (event_add(&l->readable, NULL) == -1)
        worker_timer(l->w->loop, &l->resume, now_us + ACCEPT_PAUSE_US);
}

int tcp_relay_sock_open(struct turn_worker *w, struct alloc *a, const struct addr *at)
{
    struct tcp_listen *l = mem_zalloc(sizeof(*l));

    if (!l)
        return -ENOMEM;
    *l = (struct tcp_listen){.w = w, .alloc = a, .fd = bound_socket(at, true)};
    l->resume = (struct wtimer){.fn = on_resume, .arg = l};
    int err = l->fd < 0 ? l->fd : listen(l->fd, BACKLOG) == -1 ? -errno : 0;
    if (!err && (event_assign(&l->readable, worker_base(w->loop), l->fd, EV_READ | EV_PERSIST,
                              on_acceptable, l) == -1 ||
                 event_add(&l->readable, NULL) == -1))
        err = -ENOMEM;
    if (err) {
        if (l->fd >= 0)
            close(l->fd);
        mem_free(l);
        return err;
    }
    a->sock = l;
    return 0;
}

void tcp_relay_sock_close(struct turn_worker *w, struct alloc *a)
{
    struct tcp_listen *l = a->sock;

    if (!l)
        return;
    worker_timer_cancel(w->loop, &l->resume);
    event_del(&l->readable);
    close(l->fd);
    mem_free(l);
    a->sock = NULL;
}

/* ---- outgoing ---- */

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct peer_sock *s = arg;
    int err = 0;
    socklen_t len = sizeof(err);

    (void)what;
    event_del(&s->writable);
    bool ok = getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0;
    connect_done(&s->w->core, s->conn, ok, worker_now(s->w->loop));
}

int tcp_relay_sock_connect(struct turn_worker *w, struct peer_conn *p)
{
    struct addr wire = turn_shared_to_wire(w->core.shared, p->peer);
    const struct alloc *a = p->alloc;
    bool first = a->relayed.family == wire.family;
    int fd = bound_socket(first ? &a->relayed : &a->second.relayed, false);
    struct peer_sock *s = fd < 0 ? NULL : sock_new(w, fd);
    struct sockaddr_storage ss;

    if (!s) {
        if (fd >= 0)
            close(fd);
        return fd < 0 ? fd : -ENOMEM;
    }
    socklen_t len = addr_to_sockaddr(&wire, &ss);
    s->conn = p;
    p->sock = s;
    /* From here on tcp_relay_sock_disconnect() cleans up. */
    event_assign(&s->writable, worker_base(w->loop), fd, EV_WRITE | EV_PERSIST, on_connected, s);
    if (connect(fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS)
        return -errno;
    return event_add(&s->writable, NULL) == -1 ? -ENOMEM : 0;
}

/* ---- end ---- */

int tcp_relay_sock_take(struct peer_conn *p)
{
    struct peer_sock *s = p->sock;
    int fd = s->fd;

    p->sock = NULL;
    mem_free(s);
    return fd;
}

void tcp_relay_sock_disconnect(struct turn_worker *w, struct peer_conn *p)
{
    if (p->state == PEER_CONN_BOUND) {
        tcp_data_sock_end(w, p->worker, p->id);
        return;
    }
    if (!p->sock)
        return;
    if (p->state == PEER_CONN_CONNECTING)
        event_del(&p->sock->writable);
    close(tcp_relay_sock_take(p));
}

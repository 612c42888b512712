/* UDP in batches: what both back ends have in common.
 *
 * Called by the UDP shells of each daemon (turn/turn_udp_listener.c, turn/relay_sock.c).
 *
 *     one read  = a slot: datagrams of one sender, equally long but for the last (UDP_GRO)
 *     one send  = a run:  datagrams to one address, the same (udp_queue.c)
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/udp_backend.h"

#define LOOKS 256 /* sockets that few use, looked at in one second */

/* True when the kernel takes runs (Linux 4.18). */
static bool kernel_has_gso(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), value = 0;
    socklen_t len = sizeof(value);

    if (fd == -1)
        return false;
    bool has = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &len) == 0;
    close(fd);
    return has;
}

static void on_flush(void *arg, uint64_t now_us)
{
    (void)now_us;
    udp_push(arg);
}

static void look_at(struct udp_io *io, struct udp_sock *s)
{
    uint32_t lost = udp_overflows(s->fd);

    counter_add(&io->stats.overflow, (uint32_t)(lost - s->_lost));
    s->_lost = lost;
}

/* Once a second: at all shared sockets, and at some of the others, in turns. */
static void on_look(void *arg, uint64_t now_us)
{
    struct udp_io *io = arg;

    LIST_EACH(it, next, &io->shared)
    look_at(io, CONTAINER_OF(it, struct udp_sock, _link));
    for (unsigned i = 0; i < LOOKS && i < io->n_single; i++) {
        struct list *it = list_first(&io->single);
        look_at(io, CONTAINER_OF(it, struct udp_sock, _link));
        list_del(it);
        list_append(&io->single, it);
    }
    worker_timer(io->worker, &io->look, now_us + US_PER_S);
}

/* Opens the back end that is wished for, or can be had. Returns 0 or -errno with why. */
static int open_backend(struct udp_io *io, char why[UDP_WHY_MAX])
{
    int err = -ENOSYS;

    if (io->conf.backend != UDP_EPOLL) {
        io->backend = &udp_backend_uring;
        err = io->backend->open(io, why);
    }
    if (err && err != -ENOMEM && io->conf.backend != UDP_URING) {
        io->backend = &udp_backend_epoll;
        err = io->backend->open(io, why);
    }
    if (err)
        io->backend = NULL;
    return err;
}

struct udp_io *udp_io_new(struct worker *w, const struct udp_io_conf *conf, char why[UDP_WHY_MAX])
{
    struct udp_io *io = mem_zalloc(sizeof(*io));

    why[0] = '\0';
    if (!io) {
        snprintf(why, UDP_WHY_MAX, "out of memory");
        return NULL;
    }
    io->conf = *conf;
    io->worker = w;
    io->flush = (struct wflush){.fn = on_flush, .arg = io};
    io->look = (struct wtimer){.fn = on_look, .arg = io};
    list_init(&io->shared);
    list_init(&io->single);
    if (udp_queue_init(&io->queue, conf->slots, kernel_has_gso()) == 0) {
        if (open_backend(io, why) == 0) {
            on_look(io, worker_now(w));
            return io;
        }
    } else {
        snprintf(why, UDP_WHY_MAX, "out of memory");
    }
    udp_io_free(io);
    return NULL;
}

void udp_io_free(struct udp_io *io)
{
    if (!io)
        return;
    worker_cancel_flush(&io->flush);
    worker_timer_cancel(io->worker, &io->look);
    if (io->backend)
        io->backend->close(io);
    udp_queue_fini(&io->queue);
    mem_free(io);
}

const char *udp_io_backend(const struct udp_io *io)
{
    return io->backend->name;
}

bool udp_io_gso(const struct udp_io *io)
{
    return io->queue.gso;
}

struct udp_stats *udp_io_stats(struct udp_io *io)
{
    return &io->stats;
}

int udp_watch(struct udp_io *io, struct udp_sock *s, int fd, bool shared,
              const struct udp_sock_ops *ops, void *arg)
{
    *s = (struct udp_sock){.fd = fd, ._io = io, ._ops = ops, ._arg = arg};
    int err = io->backend->watch(io, s, shared);

    if (err) {
        *s = (struct udp_sock){.fd = fd};
        return err;
    }
    s->_shared = shared;
    io->n_single += !shared;
    list_append(shared ? &io->shared : &io->single, &s->_link);
    return 0;
}

void udp_unwatch(struct udp_sock *s)
{
    struct udp_io *io = s->_io;

    if (!io)
        return;
    udp_push(io);
    look_at(io, s);
    list_del(&s->_link);
    io->n_single -= !s->_shared;
    io->backend->unwatch(io, s);
    s->_io = NULL;
}

void udp_send(struct udp_sock *s, const struct udp_out *out)
{
    struct udp_io *io = s->_io;

    if (udp_queue_is_full(&io->queue))
        udp_push(io);
    worker_want_flush(io->worker, &io->flush);
    udp_queue_add(&io->queue, s, out);
}

void udp_send_copy(struct udp_sock *s, const struct addr *to, struct slice bytes)
{
    const struct udp_out out = {.to = to, .body = bytes, .copy = true};

    udp_send(s, &out);
}

void udp_push(struct udp_io *io)
{
    io->backend->push(io);
    udp_queue_clear(&io->queue);
}

/* What the kernel says of a read. */
struct read_info {
    size_t merged; /* length of each datagram but the last, 0 when there is only one */
    struct udp_mark mark;
};

static int number_of(const struct cmsghdr *c)
{
    int n = 0;

    if (c->cmsg_len >= CMSG_LEN(sizeof(n)))
        memcpy(&n, CMSG_DATA(c), sizeof(n));
    else if (c->cmsg_len >= CMSG_LEN(1))
        n = *CMSG_DATA(c); /* IP_TOS is one byte */
    return n;
}

static struct read_info read_control(struct msghdr *h)
{
    struct read_info info = {0};

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        int n = number_of(c);
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && n > 0)
            info.merged = (size_t)n;
        else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
                 (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
            info.mark.tos = (uint8_t)n;
        else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
                 (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
            info.mark.ttl = (uint8_t)n;
    }
    return info;
}

unsigned udp_split(struct udp_io *io, const struct sockaddr *from, uint8_t *p, size_t len,
                   struct msghdr *h, struct udp_msg *out)
{
    struct read_info info = read_control(h);
    size_t seg = info.merged, at = 0;
    struct addr sender = addr_from_sockaddr(from);
    unsigned n = 0;

    /* More merged datagrams than any known kernel makes are cut off like a too long one. */
    if (h->msg_flags & MSG_TRUNC || (seg > 0 && len > seg * UDP_SLOT_PKTS)) {
        counter_inc(&io->stats.truncated);
        return 0;
    }
    counter_inc(&io->stats.reads);
    do {
        size_t one = seg > 0 && len > seg ? seg : len;
        out[n++] = (struct udp_msg){sender, &p[at], one, info.mark};
        at += one;
        len -= one;
    } while (len > 0);
    return n;
}

void udp_deliver(struct udp_io *io, struct udp_sock *s, const struct udp_msg *msg, unsigned n)
{
    counter_add(&io->stats.recv_pkts, n);
    worker_handled(io->worker, n);
    worker_want_flush(io->worker, &io->flush);
    s->_ops->recv(s->_arg, msg, n);
}

void udp_tell_error(struct udp_io *io, struct udp_sock *s)
{
    worker_want_flush(io->worker, &io->flush);
    if (s->_ops->error)
        s->_ops->error(s->_arg);
}

bool udp_may_be_of_an_earlier_one(int err)
{
    return err != EAGAIN && err != ENOBUFS && err != EMSGSIZE && err != EINVAL && err != EIO;
}

/* Sends a run that the kernel does not take as one, datagram by datagram. */
static void send_singly(struct udp_io *io, const struct udp_run *r, struct msghdr *h)
{
    struct iovec *iov = io->queue.iov;
    unsigned end = r->first_iov + r->iovs;

    udp_queue_mark(h, r);
    for (unsigned i = r->first_iov; i < end;) {
        size_t len = 0;
        h->msg_iov = &iov[i];
        h->msg_iovlen = 0;
        while (i < end && len < r->seg) {
            len += iov[i++].iov_len;
            h->msg_iovlen++;
        }
        if (sendmsg(r->sock->fd, h, MSG_DONTWAIT) != -1)
            counter_inc(&io->stats.sent_pkts);
        else if (errno == EAGAIN || errno == ENOBUFS)
            counter_inc(&io->stats.full);
        else
            counter_inc(&io->stats.failed);
    }
}

/* A run is refused as a whole when one datagram is too long for its route's MTU (a run is never
 * fragmented) or when a device can't do runs; in the latter case none is tried again. */
void udp_refused(struct udp_io *io, const struct udp_run *r, struct msghdr *h, int err)
{
    if (err == EAGAIN || err == ENOBUFS) {
        counter_add(&io->stats.full, r->pkts);
    } else if (r->pkts > 1 && (err == EINVAL || err == EMSGSIZE || err == EIO)) {
        io->queue.gso = io->queue.gso && err != EIO;
        send_singly(io, r, h);
    } else {
        counter_add(&io->stats.failed, r->pkts);
    }
}

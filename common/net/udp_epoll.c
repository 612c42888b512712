/* The epoll back end: libevent tells which socket is readable, recvmmsg and sendmmsg move batches.
 *
 * Called by udp.c. All runs of one socket are a chain, sent by one sendmmsg, in the order in which
 * they were queued. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>

#include "base/mem.h"
#include "net/udp_backend.h"

#define SHARED_READS 512 /* of one loop turn, from a socket that many senders use */
#define SINGLE_READS 16  /* from one that few use */
#define CAUTION      8   /* reads of one datagram before two are asked for */

struct epoll_io {
    unsigned used; /* the first so many slots are borrowed from */
    size_t stride;
    uint8_t *buf;        /* slots * stride */
    struct udp_msg *msg; /* slots * UDP_SLOT_PKTS */
    struct mmsghdr *hdr;
    struct iovec *iov;
    struct sockaddr_storage *from;
    union udp_read_control *control;
    const struct udp_run **sending; /* the chain at hand */
};

static bool allocate(struct epoll_io *e, size_t slots)
{
    e->buf = mem_calloc(slots, e->stride);
    e->msg = mem_calloc(slots * UDP_SLOT_PKTS, sizeof(*e->msg));
    e->hdr = mem_calloc(slots, sizeof(*e->hdr));
    e->iov = mem_calloc(slots, sizeof(*e->iov));
    e->from = mem_calloc(slots, sizeof(*e->from));
    e->control = mem_calloc(slots, sizeof(*e->control));
    e->sending = mem_calloc(slots, sizeof(*e->sending));
    return e->buf && e->msg && e->hdr && e->iov && e->from && e->control && e->sending;
}

/* Gives a slot back to the kernel: it has shortened name and control. */
static void rearm(struct epoll_io *e, unsigned slot)
{
    e->hdr[slot].msg_hdr.msg_namelen = sizeof(e->from[slot]);
    e->hdr[slot].msg_hdr.msg_controllen = sizeof(e->control[slot]);
}

static void epoll_close(struct udp_io *io)
{
    struct epoll_io *e = io->state;

    if (!e)
        return;
    mem_free(e->buf);
    mem_free(e->msg);
    mem_free(e->hdr);
    mem_free(e->iov);
    mem_free(e->from);
    mem_free(e->control);
    mem_free(e->sending);
    mem_free(e);
    io->state = NULL;
}

static int epoll_open(struct udp_io *io, char why[UDP_WHY_MAX])
{
    struct epoll_io *e = mem_zalloc(sizeof(*e));

    io->state = e;
    if (e)
        e->stride = io->conf.slot_bytes + UDP_SLOT_SKEW;
    if (!e || !allocate(e, io->conf.slots)) {
        snprintf(why, UDP_WHY_MAX, "out of memory");
        epoll_close(io);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < io->conf.slots; i++) {
        e->iov[i] = (struct iovec){&e->buf[i * e->stride], io->conf.slot_bytes};
        e->hdr[i].msg_hdr = (struct msghdr){
            .msg_name = &e->from[i],
            .msg_iov = &e->iov[i],
            .msg_iovlen = 1,
            .msg_control = &e->control[i],
        };
        rearm(e, i);
    }
    return 0;
}

/* Looking for a second datagram costs a fifth of taking the first: nobody asks for two who does not
 * expect them. */
static int read_some(int fd, struct mmsghdr *h, unsigned budget)
{
    if (budget > 1)
        return recvmmsg(fd, h, budget, MSG_DONTWAIT, NULL);
    ssize_t n = recvmsg(fd, &h->msg_hdr, MSG_DONTWAIT);
    if (n == -1)
        return -1;
    h->msg_len = (unsigned)n;
    return 1;
}

/* Reads at most budget times. Errors that belong to one earlier datagram (ICMP) are swallowed.
 * Returns the number of datagrams in e->msg; *reads: how many reads there were. */
static unsigned read_slots(struct udp_io *io, int fd, unsigned budget, unsigned *reads)
{
    struct epoll_io *e = io->state;
    unsigned kept = 0;

    if (budget > io->conf.slots)
        budget = io->conf.slots;
    if (io->conf.slots - e->used < budget)
        udp_push(io);
    if (io->queue.n == 0)
        e->used = 0;

    int n = read_some(fd, &e->hdr[e->used], budget);
    for (int i = 0; i < n; i++, e->used++) {
        struct mmsghdr *h = &e->hdr[e->used];
        kept += udp_split(io, h->msg_hdr.msg_name, e->iov[e->used].iov_base, h->msg_len,
                          &h->msg_hdr, &e->msg[kept]);
        rearm(e, e->used);
    }
    *reads = n > 0 ? (unsigned)n : 0;
    return kept;
}

unsigned udp_expected(unsigned expect)
{
    unsigned ask = expect / CAUTION;

    return ask == 0 ? 1 : ask > SINGLE_READS ? SINGLE_READS : ask;
}

unsigned udp_expect_next(unsigned expect, unsigned asked, unsigned reads)
{
    if (reads < asked)
        return CAUTION * (reads > asked / 2 ? reads : asked / 2);
    if (asked > 1)
        return CAUTION * 2 * asked;
    return expect < CAUTION ? CAUTION : expect + 1;
}

/* Gives what was read; when nothing was, readable means that the error queue is. */
static void give(struct udp_sock *s, unsigned n)
{
    struct udp_io *io = s->_io;

    if (n > 0)
        udp_deliver(io, s, ((struct epoll_io *)io->state)->msg, n);
    else
        udp_tell_error(io, s);
}

static void on_single(evutil_socket_t fd, short what, void *arg)
{
    struct udp_sock *s = arg;
    unsigned reads, asked = udp_expected(s->_expect);

    (void)what;
    unsigned n = read_slots(s->_io, fd, asked, &reads);
    s->_expect = udp_expect_next(s->_expect, asked, reads);
    give(s, n);
}

static void on_shared(evutil_socket_t fd, short what, void *arg)
{
    struct udp_sock *s = arg;
    unsigned reads;

    (void)what;
    give(s, read_slots(s->_io, fd, SHARED_READS, &reads));
}

static int epoll_watch(struct udp_io *io, struct udp_sock *s, bool shared)
{
    s->_readable = event_new(worker_base(io->worker), s->fd, EV_READ | EV_PERSIST,
                             shared ? on_shared : on_single, s);
    if (s->_readable && event_add(s->_readable, NULL) == 0)
        return 0;
    if (s->_readable)
        event_free(s->_readable);
    return -ENOMEM;
}

static void epoll_unwatch(struct udp_io *io, struct udp_sock *s)
{
    (void)io;
    event_free(s->_readable);
    s->_readable = NULL;
}

/* Describes the runs of the chain that begins with `first`. Returns how many. */
static unsigned gather(struct udp_io *io, const struct udp_run *first)
{
    struct epoll_io *e = io->state;
    const struct udp_run *r = first;

    for (unsigned n = 0;; r = &io->queue.run[r->next - 1]) {
        udp_queue_describe(&io->queue, r, n);
        e->sending[n++] = r;
        if (r->next == 0)
            return n;
    }
}

/* As sendmmsg(), but a single datagram in one piece, which is what a client sends to its peer, goes
 * without lists for the kernel to read. */
static int send_some(int fd, struct mmsghdr *v, unsigned n)
{
    const struct msghdr *h = &v->msg_hdr;

    if (n > 1 || h->msg_iovlen != 1 || h->msg_controllen > 0)
        return sendmmsg(fd, v, n, MSG_DONTWAIT);
    return sendto(fd, h->msg_iov->iov_base, h->msg_iov->iov_len, MSG_DONTWAIT, h->msg_name,
                  h->msg_namelen) == -1
               ? -1
               : 1;
}

static void send_chain(struct udp_io *io, int fd, unsigned n)
{
    struct epoll_io *e = io->state;
    struct mmsghdr *hdr = io->queue.hdr;
    unsigned done = 0, again = UINT_MAX; /* the one that is tried a second time */

    while (done < n) {
        int sent = send_some(fd, &hdr[done], n - done);
        for (int i = 0; i < sent; i++)
            counter_add(&io->stats.sent_pkts, e->sending[done++]->pkts);
        if (sent > 0 || (sent == -1 && errno == EINTR))
            continue;
        if (again != done && udp_may_be_of_an_earlier_one(errno)) {
            again = done;
            continue;
        }
        /* The first of the rest: drop that one, try the others. */
        udp_refused(io, e->sending[done], &hdr[done].msg_hdr, errno);
        done++;
    }
}

static void epoll_push(struct udp_io *io)
{
    for (unsigned i = 0; i < io->queue.n; i++) {
        const struct udp_run *r = &io->queue.run[i];
        if (r->begins)
            send_chain(io, r->sock->fd, gather(io, r));
    }
}

const struct udp_backend udp_backend_epoll = {
    "epoll", epoll_open, epoll_close, epoll_watch, epoll_unwatch, epoll_push,
};

/* The interface between net/udp.c and its back ends, and what they share.
 *
 * Internal to net/udp*.c. A back end reads datagrams into slots of its own, gives them to the
 * sockets' owners through udp_deliver(), and sends the queue's runs. Slots are taken back all at
 * once, when the queue, which borrows from them, has been sent.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_UDP_BACKEND_H
#define SORI_NET_UDP_BACKEND_H

#include "net/udp_queue.h"
#include "net/worker.h"

#define UDP_SLOT_PKTS 128 /* datagrams that any kernel merges into one read */
/* Slots of a power-of-two stride would fight for the same sets of the L1 and L2 caches; 17 lines
 * more spread them. */
#define UDP_SLOT_SKEW (17 * 64)

struct udp_backend {
    const char *name;
    /* Makes io->state. Returns 0; -ENOMEM; or another -errno with why: not on this machine. */
    int (*open)(struct udp_io *io, char why[UDP_WHY_MAX]);
    void (*close)(struct udp_io *io);
    int (*watch)(struct udp_io *io, struct udp_sock *s, bool shared);
    void (*unwatch)(struct udp_io *io, struct udp_sock *s);
    /* Sends what io->queue holds, then takes slots back. The caller clears the queue. */
    void (*push)(struct udp_io *io);
};

extern const struct udp_backend udp_backend_epoll, udp_backend_uring;

struct udp_io {
    struct udp_stats stats;
    struct udp_queue queue;
    struct udp_io_conf conf;
    const struct udp_backend *backend;
    void *state; /* the back end's */
    struct worker *worker;
    struct wflush flush;
    struct wtimer look;         /* for overflows */
    struct list shared, single; /* all watched sockets */
    unsigned n_single;
};

/* How many reads the epoll back end asks a socket for that few senders use, by what lately came
 * together: one that has one datagram whenever it is ready costs one system call, not a search for
 * a second. What is left makes it readable again. expect starts as 0; the second function gives the
 * next one, after `reads` of `asked` had something. */
unsigned udp_expected(unsigned expect);
unsigned udp_expect_next(unsigned expect, unsigned asked, unsigned reads);

/* Control messages that come with a read: length of merged datagrams, TOS, TTL. */
union udp_read_control {
    struct cmsghdr hdr;
    uint8_t room[3 * CMSG_SPACE(sizeof(int))];
};

/* Takes one read apart into out (room for UDP_SLOT_PKTS): len bytes at p, flags and control as
 * recvmsg() left them in h. Returns the number of datagrams; 0 when it was too long (counted). */
unsigned udp_split(struct udp_io *io, const struct sockaddr *from, uint8_t *p, size_t len,
                   struct msghdr *h, struct udp_msg *out);

/* Gives n > 0 datagrams to the socket's owner, counts them, and asks for the turn's flush. s may be
 * gone afterwards. */
void udp_deliver(struct udp_io *io, struct udp_sock *s, const struct udp_msg *msg, unsigned n);

/* Tells the owner that the socket's error queue may hold something. s may be gone afterwards. */
void udp_tell_error(struct udp_io *io, struct udp_sock *s);

/* What to do about a run that the kernel refused with err (positive): drop and count it, or send
 * its datagrams one by one. */
void udp_refused(struct udp_io *io, const struct udp_run *r, struct msghdr *h, int err);

/* True for an error that may be an ICMP message about an earlier datagram (net/icmp_queue.h): it is
 * told once, and the datagram at hand has not been sent. */
bool udp_may_be_of_an_earlier_one(int err);

#endif

/* Datagrams on their way out: neighbours that may travel as one send are kept as one run.
 *
 * Internal to net/udp*.c. Pure but for the kernel's structures that it fills. A run is datagrams to
 * one address from one socket, equally long but for the last (UDP_SEGMENT), each in parts: iovecs.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_UDP_QUEUE_H
#define SORI_NET_UDP_QUEUE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "net/udp.h"

/* Datagrams for one address, one UDP_SEGMENT send. */
struct udp_run {
    struct addr to;
    struct udp_sock *sock;
    struct udp_mark mark;
    unsigned first_iov, iovs, pkts;
    unsigned next;     /* 1 + index of the next run of the same socket, 0: none */
    size_t seg, bytes; /* length of each datagram but the last; of all */
    bool begins;       /* no run of the same socket is before it in its chain */
    bool closed;       /* the last one was shorter: none may follow */
};

/* Control messages that go with a run: TOS, TTL, length of its datagrams. */
union udp_send_control {
    struct cmsghdr hdr;
    uint8_t room[2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
};

#define UDP_TAILS 256 /* power of two */

struct udp_queue {
    bool gso;     /* merge into runs */
    unsigned cap; /* runs, and copies */
    unsigned n;   /* runs queued */
    unsigned iovs, copies;
    size_t heads; /* bytes used of head */
    struct udp_run *run;
    struct iovec *iov;
    uint8_t *head;
    uint8_t (*copy)[UDP_COPY_MAX];
    struct mmsghdr *hdr; /* by position in the send, with what they point to: */
    struct sockaddr_storage *to;
    union udp_send_control *control;
    unsigned tail[UDP_TAILS]; /* by descriptor: 1 + index of its last run, 0: none */
};

/* Makes an empty queue of cap runs. Returns 0 or -ENOMEM (then fini it). */
int udp_queue_init(struct udp_queue *q, unsigned cap, bool gso);
void udp_queue_fini(struct udp_queue *q); /* a zeroed queue is allowed */

/* True when nothing more can be added before udp_queue_clear(). */
bool udp_queue_is_full(const struct udp_queue *q);

/* Adds one datagram. The queue must not be full. */
void udp_queue_add(struct udp_queue *q, struct udp_sock *s, const struct udp_out *out);

/* Fills hdr[at] with the kernel's message for a run; it borrows from the queue. */
struct msghdr *udp_queue_describe(struct udp_queue *q, const struct udp_run *r, unsigned at);

/* Leaves only the run's mark of the control messages in h, which udp_queue_describe() filled: for
 * datagrams that are sent one by one. */
void udp_queue_mark(struct msghdr *h, const struct udp_run *r);

/* Forgets everything queued. */
void udp_queue_clear(struct udp_queue *q);

#endif

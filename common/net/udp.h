/* UDP in batches: sockets that a worker watches, datagrams in, datagrams out.
 *
 * One `struct udp_io` per worker. It calls a socket's `recv` with a batch of datagrams; what that
 * sends leaves together at the end of the loop turn. What was received is forwarded without a copy:
 * udp_send() borrows the payload, which stays where it arrived until it is on its way.
 *
 *     udp_open() -> udp_watch()      ... ops->recv(arg, msg, n)
 *                                          for (i < n) udp_send(other, {to, header, payload})
 *                                    ... end of the turn: everything queued is sent
 *
 * Two back ends do the same work, chosen when the io is made: epoll with recvmmsg and sendmmsg,
 * and io_uring (multishot receive into a ring of buffers, one system call for all sends of a
 * turn), which wants Linux 6.1. See udp_backend.h.
 *
 * A udp_msg is always one datagram, and the queue keeps the order within a socket. Below that,
 * datagrams travel in runs wherever the kernel can: it merges what arrives together (UDP_GRO), and
 * neighbours in the queue of equal length to one address (the last may be shorter) leave as one
 * send (UDP_SEGMENT), whatever heads were put before their bodies.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_UDP_H
#define SORI_NET_UDP_H

#include "base/addr.h"
#include "base/list.h"
#include "base/metrics.h"

#define UDP_HEAD_MAX     64    /* bytes of header that udp_send() copies */
#define UDP_DATAGRAM_MAX 65535 /* no datagram is longer */
#define UDP_COPY_MAX     2048  /* bytes that are copied for one datagram */

struct event;
struct udp_io;
struct worker;

/* Fields of the IP header: DSCP and ECN (the whole octet), TTL or hop limit. ttl 0: neither is
 * known, or the system's defaults. */
struct udp_mark {
    uint8_t tos, ttl;
};

/* One datagram. p is valid until the recv callback returns, and for what it queued until sent. */
struct udp_msg {
    struct addr from;
    uint8_t *p;
    size_t len;
    struct udp_mark mark; /* of sockets with udp_set_marks() */
};

/* One datagram to send: head (at most UDP_HEAD_MAX bytes, copied), body (borrowed until it is sent,
 * or, with copy, copied: at most UDP_COPY_MAX bytes), pad (0..3) zero bytes. */
struct udp_out {
    const struct addr *to;
    struct slice head, body;
    unsigned pad;
    struct udp_mark mark;
    bool copy;
};

struct udp_stats {
    struct counter recv_pkts, sent_pkts;
    struct counter reads;     /* that brought them: one may bring many that the kernel merged */
    struct counter overflow;  /* arrived while the socket's receive buffer was full: looked up each
                               * second for shared sockets, in turns for the others, at the end */
    struct counter truncated; /* longer than a slot, dropped */
    struct counter full;      /* send buffer or device queue full: dropped */
    struct counter failed;    /* refused by the kernel: no route, too long, not permitted */
};

/* What the owner of a socket is called for, in the worker's thread. Either may close this or any
 * other socket. */
struct udp_sock_ops {
    void (*recv)(void *arg, const struct udp_msg *msg, unsigned n);
    /* The socket's error queue may hold something (net/icmp_queue.h). May be NULL. */
    void (*error)(void *arg);
};

/* A watched socket; embedded in its owner's struct. */
struct udp_sock {
    int fd;
    struct udp_io *_io;
    const struct udp_sock_ops *_ops;
    void *_arg;
    struct list _link; /* in io's list of such sockets */
    bool _shared;
    uint32_t _lost;          /* of struct udp_stats' overflow: what has been counted */
    struct event *_readable; /* epoll */
    unsigned _expect;        /* epoll: eight times how many reads to ask for at once */
    uint32_t _slot;          /* io_uring */
};

enum udp_backend_wish { UDP_AUTO, UDP_EPOLL, UDP_URING };

struct udp_io_conf {
    enum udp_backend_wish backend;
    unsigned slots;    /* reads in flight, and runs queued, at most; a power of two */
    size_t slot_bytes; /* the longest datagram, or merged read, that is taken; slots are not
                        * touched beyond what arrives: UDP_DATAGRAM_MAX costs address space */
};

/* Makes an io for a worker, whose thread need not run yet. NULL when memory is out, or when
 * UDP_URING is wished and cannot be had; why (UDP_WHY_MAX bytes) then says what is missing. With
 * UDP_AUTO why says so too when epoll was taken for want of io_uring; else it is empty. */
#define UDP_WHY_MAX 96
struct udp_io *udp_io_new(struct worker *w, const struct udp_io_conf *conf, char why[UDP_WHY_MAX]);

/* Frees it; all sockets must have been unwatched. What is queued is dropped. NULL is allowed. */
void udp_io_free(struct udp_io *io);

/* "epoll" or "io_uring". */
const char *udp_io_backend(const struct udp_io *io);

/* True while runs are sent as one: the kernel can (probed when the io was made), and no device has
 * refused for good. */
bool udp_io_gso(const struct udp_io *io);
struct udp_stats *udp_io_stats(struct udp_io *io);

/* Opens a bound, non-blocking, close-on-exec socket that never sets DF by itself. reuseport:
 * several workers share the port. buffer_bytes: SO_RCVBUF and SO_SNDBUF, 0 = the system's default.
 * Returns the descriptor or -errno (-EADDRINUSE: try another port). */
int udp_open(const struct addr *at, bool reuseport, unsigned buffer_bytes);

/* The same for a listener of one of several workers: takes a socket that is bound there already
 * (inherited_sock.h), each once, else opens one with reuseport. Main thread. */
int udp_listen(const struct addr *at, unsigned buffer_bytes);

/* The address a descriptor is bound to (ADDR_NONE when it is none). */
struct addr udp_local(int fd);

/* Lists the addresses (port 0) of all interfaces that are up, at most max. Returns how many, or
 * -errno. Those that come later are not seen: start again after a change. */
int udp_own_addresses(struct addr *out, size_t max);

/* Sets or clears DF on what fd sends from now on. Returns 0 or -errno. */
int udp_set_dont_fragment(int fd, bool on);

/* How many datagrams the kernel has dropped because fd's receive buffer was full, since it was
 * opened (modulo 2^32); 0 where the kernel does not tell. */
uint32_t udp_overflows(int fd);

/* Tells the mark of each datagram that fd receives from now on. Returns 0 or -errno. */
int udp_set_marks(int fd);

/* Lets the kernel merge datagrams of one sender that arrive together: one read gives up to 128.
 * Only for sockets of an io with slots of UDP_DATAGRAM_MAX: a merged read is as long as that.
 * Returns 0, or -errno where the kernel can't (before Linux 5.0): nothing is lost but speed. */
int udp_set_gro(int fd);

/* Watches fd from now on: *s is filled, ops->recv(arg, ...) called. shared: many senders use this
 * socket, so that reading it in large batches pays. ops and s outlive the watch.
 * Returns 0 or -ENOMEM. */
int udp_watch(struct udp_io *io, struct udp_sock *s, int fd, bool shared,
              const struct udp_sock_ops *ops, void *arg);

/* Sends what is queued and ends the watch; s->fd stays open and is the caller's. A socket that is
 * not watched (zeroed) is allowed. */
void udp_unwatch(struct udp_sock *s);

/* Queues one datagram. A full queue is sent first. */
void udp_send(struct udp_sock *s, const struct udp_out *out);

/* Queues one datagram whose bytes (at most UDP_COPY_MAX) are copied. */
void udp_send_copy(struct udp_sock *s, const struct addr *to, struct slice bytes);

/* Sends all that is queued. Never waits: what the kernel does not take is dropped and counted. The
 * io does so at the end of the turn; who lends bytes that go away earlier calls it before. */
void udp_push(struct udp_io *io);

#endif

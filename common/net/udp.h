/* UDP in batches: open sockets, receive up to a budget at once, queue answers, send them together.
 *
 * One `struct udp_io` per worker holds the receive slots and the send queue. What was received is
 * forwarded without a copy: udp_send() borrows the payload, which stays in its slot until it is on
 * its way.
 *
 *     n = udp_recv(io, fd, budget, &msg);
 *     for (i < n) ... udp_send(io, other_fd, &to, header, payload of msg[i], 0);
 *     ...                                     more sockets of the same loop turn
 *     udp_push(io);                           end of the turn
 *
 * A udp_msg is always one datagram, and the queue keeps the order within a descriptor. Below that,
 * datagrams travel in runs wherever the kernel can: it merges what arrives together (UDP_GRO, see
 * udp_set_gro()), and neighbours in the queue of equal length to one address (the last may be
 * shorter) leave as one send (UDP_SEGMENT), whatever heads were put before their bodies.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_UDP_H
#define SORI_NET_UDP_H

#include "base/addr.h"
#include "base/metrics.h"

#define UDP_HEAD_MAX     64    /* bytes of header that udp_send() copies */
#define UDP_DATAGRAM_MAX 65535 /* no datagram is longer */

/* One datagram. p is valid until the next udp_recv() on the same udp_io. */
struct udp_msg {
    struct addr from;
    uint8_t *p;
    size_t len;
};

struct udp_stats {
    struct counter recv_pkts, sent_pkts;
    struct counter truncated; /* longer than a slot, dropped */
    struct counter full;      /* send buffer or device queue full: dropped */
    struct counter failed;    /* refused by the kernel: no route, too long, not permitted */
};

struct udp_io;

/* slots: reads in flight, and runs queued, at most (>= 1). slot_bytes: the longest that is taken;
 * slots are not touched beyond what arrives, so UDP_DATAGRAM_MAX costs address space only. NULL
 * without memory.
 */
struct udp_io *udp_io_new(unsigned slots, size_t slot_bytes);
void udp_io_free(struct udp_io *io); /* NULL is allowed; what is queued is dropped */

/* True while runs are sent as one: the kernel can (probed when the io was made), and no device has
 * refused for good. */
bool udp_io_gso(const struct udp_io *io);
struct udp_stats *udp_io_stats(struct udp_io *io);

/* Opens a bound, non-blocking, close-on-exec socket that never sets DF by itself. reuseport:
 * several workers share the port. buffer_bytes: SO_RCVBUF and SO_SNDBUF, 0 = the system's default.
 * Returns the descriptor or -errno (-EADDRINUSE: try another port). */
int udp_open(const struct addr *at, bool reuseport, unsigned buffer_bytes);

/* The address a descriptor is bound to (ADDR_NONE when it is none). */
struct addr udp_local(int fd);

/* Lists the addresses (port 0) of all interfaces that are up, at most max. Returns how many, or
 * -errno. Those that come later are not seen: start again after a change. */
int udp_own_addresses(struct addr *out, size_t max);

/* Sets or clears DF on what fd sends from now on. Returns 0 or -errno. */
int udp_set_dont_fragment(int fd, bool on);

/* Lets the kernel merge datagrams of one sender that arrive together. Only for descriptors that are
 * read by udp_recv() with slots of UDP_DATAGRAM_MAX: a merged read is as long as that. Returns 0,
 * or -errno where the kernel can't (before Linux 5.0): nothing is lost but speed. */
int udp_set_gro(int fd);

/* Reads at most budget times (and at most `slots` times) and gives the datagrams in *out; one read
 * gives one datagram, or up to 128 after udp_set_gro().
 * Returns their number, 0 when nothing waits; errors that belong to one earlier datagram (ICMP) are
 * swallowed. When the slots run out it sends what is queued first. */
unsigned udp_recv(struct udp_io *io, int fd, unsigned budget, struct udp_msg **out);

/* The same, but asks for about as many reads at once as lately came together: a socket that has one
 * datagram whenever it is ready costs one system call, not a search for a second. *expect starts as
 * 0, belongs to fd and is only this function's to read. What is left makes fd readable again. */
unsigned udp_recv_expected(struct udp_io *io, int fd, unsigned *expect, unsigned budget,
                           struct udp_msg **out);

/* Queues one datagram: head (at most UDP_HEAD_MAX bytes, copied), body (borrowed until udp_push()),
 * pad (0..3) zero bytes. fd must stay open until udp_push(). A full queue is sent first. */
void udp_send(struct udp_io *io, int fd, const struct addr *to, struct slice head,
              struct slice body, unsigned pad);

/* Queues one datagram whose bytes (at most 2048) are copied. */
void udp_send_copy(struct udp_io *io, int fd, const struct addr *to, struct slice bytes);

/* Sends all that is queued, grouped by descriptor. Never waits: what the kernel does not take is
 * dropped and counted. */
void udp_push(struct udp_io *io);

#endif

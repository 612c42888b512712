/* A TCP connection to whichever of a host's addresses answers first (RFC 8305, "happy eyeballs").
 *
 * The families take turns, and an address that has not answered after DIAL_STAGGER_US gets company:
 * the next one is tried beside it, so that a family or a machine that is a black hole costs a
 * quarter of a second and not a timeout. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_DIAL_H
#define SORI_NET_DIAL_H

#include "base/addr.h"
#include "base/clock.h"

#define DIAL_ADDRS_MAX  16
#define DIAL_STAGGER_US (250 * US_PER_MS) /* RFC 8305 §8: Connection Attempt Delay */

struct dial;
struct worker;

/* fd: connected, non-blocking, the callee's; or -1 when all failed: why says what was wrong with
 * the last one. The dial is gone when this is called. Never from inside dial_new(). */
typedef void dial_fn(void *arg, int fd, const char *why);

/* Puts n addresses (at most DIAL_ADDRS_MAX) into the order in which they are tried: those of the
 * first one's family and the others by turns (RFC 8305 §4), each family from its turn'th on, so
 * that several connections begin at different machines. Pure. */
void dial_order(struct addr *addrs, size_t n, unsigned turn);

/* Begins with addrs[0]; they are copied. There is no time limit: free it. NULL when memory is out.
 */
struct dial *dial_new(struct worker *w, const struct addr *addrs, size_t n, dial_fn *fn, void *arg);
/* Closes all attempts; fn is not called. NULL is allowed. */
void dial_free(struct dial *d);

/* Of a TCP connection that is given up, before close(): what has not left is not to leave any more.
 * Else it arrives when the network heals, behind what the next connection has said by then, and
 * undoes it. Harmless for other sockets and for -1. */
void dial_forget_unsent(int fd);

#endif

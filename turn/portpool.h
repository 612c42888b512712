/* The relay ports of one relay address: which are taken, and by whose socket. Shared by all workers
 * without a lock: one bit a port, changed by compare-and-swap. (A slice of ports per worker would
 * need no atomics, but a RESERVATION-TOKEN comes from another 5-tuple, hence perhaps to another
 * worker.) SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_PORTPOOL_H
#define SORI_TURN_PORTPOOL_H

#include "base/bytes.h"

#define PORTPOOL_WORDS      (65536 / 64)
#define PORTPOOL_WORKER_MAX 0x7ffe

enum portpool_want {
    PORTPOOL_ANY,
    PORTPOOL_EVEN, /* EVEN-PORT with R = 0 */
    PORTPOOL_PAIR, /* EVEN-PORT with R = 1: the even port and the one above are taken together */
};

struct portpool {
    uint64_t _taken[PORTPOOL_WORDS]; /* ports outside the range are taken for ever */
    uint16_t _open[65536];           /* 0: no socket; else see portpool_open() */
    uint16_t _min, _max;
};

/* Makes a pool of the ports min..max, both included (min <= max). */
void portpool_init(struct portpool *p, uint16_t min, uint16_t max);

/* Takes a port, at a place that `random` chooses (RFC 6056: hard to guess). Returns it, or -ENOSPC
 * when no such port is left. Any thread. */
int portpool_take(struct portpool *p, enum portpool_want want, uint64_t random);

/* Gives one port back. It must be taken and in the range. Any thread. */
void portpool_give(struct portpool *p, uint16_t port);

/* True when port is in the range and taken. Any thread. */
bool portpool_is_taken(const struct portpool *p, uint16_t port);

/* Notes that a worker (0..PORTPOOL_WORKER_MAX) has opened its socket on a port that is taken, a TCP
 * or a UDP one; portpool_give() forgets it. Any thread. */
void portpool_open(struct portpool *p, uint16_t port, unsigned worker, bool tcp);

/* The worker whose socket of that transport is open on port, or -ENOENT: a port that is only
 * reserved, or where the other transport's socket is ours, may be some other program's. The answer
 * is of this moment. Any thread. */
int portpool_worker(const struct portpool *p, uint16_t port, bool tcp);

/* True when port is in the range. */
static inline bool portpool_covers(const struct portpool *p, uint16_t port)
{
    return port >= p->_min && port <= p->_max;
}

/* How many are taken. Any thread; exact while no other changes the pool. */
unsigned portpool_in_use(const struct portpool *p);

#endif

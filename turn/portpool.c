/* The relay ports of one relay address: which are taken, and by whose socket.
 *
 * Called by allocate.c, and by turn_shared.c and relay.c to ask. Pure but for its atomics. One word
 * holds the bits of 64 neighbours, so an even port and the one above are always in the same word
 * and are taken in one step. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/portpool.h"

#include <assert.h>
#include <errno.h>

#define EVEN_BITS UINT64_C(0x5555555555555555)
#define OPEN_TCP  0x8000u

void portpool_init(struct portpool *p, uint16_t min, uint16_t max)
{
    memset(p->_taken, 0xff, sizeof(p->_taken));
    p->_min = min;
    p->_max = max;
    for (unsigned port = min; port <= max; port++)
        p->_taken[port / 64] &= ~(UINT64_C(1) << port % 64);
    memset(p->_open, 0, sizeof(p->_open));
}

static uint64_t candidates(uint64_t taken, enum portpool_want want)
{
    switch (want) {
    case PORTPOOL_EVEN:
        return ~taken & EVEN_BITS;
    case PORTPOOL_PAIR:
        return ~(taken | taken >> 1) & EVEN_BITS;
    case PORTPOOL_ANY:
        break;
    }
    return ~taken;
}

/* The first bit set in `set` at or after bit `from`, going round. */
static unsigned pick(uint64_t set, unsigned from)
{
    uint64_t high = set >> from << from;

    return (unsigned)__builtin_ctzll(high ? high : set);
}

int portpool_take(struct portpool *p, enum portpool_want want, uint64_t random)
{
    unsigned first = p->_min / 64u, words = p->_max / 64u - first + 1;
    unsigned from = (unsigned)(random >> 58);

    for (unsigned k = 0; k < words; k++) {
        unsigned w = first + (unsigned)((random + k) % words);
        uint64_t old = __atomic_load_n(&p->_taken[w], __ATOMIC_RELAXED);
        uint64_t set;
        while ((set = candidates(old, want)) != 0) {
            unsigned bit = pick(set, from);
            uint64_t mask = (want == PORTPOOL_PAIR ? UINT64_C(3) : UINT64_C(1)) << bit;
            if (__atomic_compare_exchange_n(&p->_taken[w], &old, old | mask, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                return (int)(w * 64 + bit);
        }
    }
    return -ENOSPC;
}

void portpool_give(struct portpool *p, uint16_t port)
{
    uint64_t mask = UINT64_C(1) << port % 64;

    __atomic_store_n(&p->_open[port], 0, __ATOMIC_RELAXED);
    uint64_t old = __atomic_fetch_and(&p->_taken[port / 64], ~mask, __ATOMIC_ACQ_REL);

    assert(port >= p->_min && port <= p->_max && (old & mask));
    (void)old;
}

bool portpool_is_taken(const struct portpool *p, uint16_t port)
{
    uint64_t w = __atomic_load_n(&p->_taken[port / 64], __ATOMIC_RELAXED);

    return port >= p->_min && port <= p->_max && (w >> port % 64 & 1);
}

void portpool_open(struct portpool *p, uint16_t port, unsigned worker, bool tcp)
{
    assert(worker <= PORTPOOL_WORKER_MAX && portpool_is_taken(p, port));
    __atomic_store_n(&p->_open[port], (uint16_t)((worker + 1) | (tcp ? OPEN_TCP : 0)),
                     __ATOMIC_RELAXED);
}

int portpool_worker(const struct portpool *p, uint16_t port, bool tcp)
{
    unsigned v = __atomic_load_n(&p->_open[port], __ATOMIC_RELAXED);

    if (v == 0 || ((v & OPEN_TCP) != 0) != tcp)
        return -ENOENT;
    return (int)(v & (OPEN_TCP - 1)) - 1;
}

unsigned portpool_in_use(const struct portpool *p)
{
    unsigned first = p->_min / 64u, last = p->_max / 64u, n = 0;

    for (unsigned i = first; i <= last; i++)
        n += (unsigned)__builtin_popcountll(__atomic_load_n(&p->_taken[i], __ATOMIC_RELAXED));
    /* Less the bits of these words that are outside the range. */
    return n - ((last - first + 1) * 64 - (p->_max - p->_min + 1u));
}

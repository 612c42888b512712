/* Channel bindings of one allocation: number <-> peer (RFC 8656 §12).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CHAN_H
#define SORI_TURN_CHAN_H

#include "base/addr.h"
#include "base/clock.h"

struct portpool;

#define CHAN_LIFETIME_US (600 * US_PER_S) /* RFC 8656 §12 */
#define CHAN_MAX         128              /* bindings at once; expired ones make room */

struct chan {
    struct addr peer;
    uint16_t number;
    uint64_t until_us;      /* of the binding */
    uint64_t perm_until_us; /* of the peer's permission, a copy: see chan_permit() */
    /* Set when the peer is a relayed address of ours: its port must be taken for data to flow. */
    const struct portpool *guard;
};

/* A zeroed table is empty. */
struct chan_table {
    struct chan *_v;
    uint16_t _n, _cap;
    uint16_t _hit_number, _hit_peer; /* where the last search ended: the next one starts there */
};

/* Frees the table's memory and leaves it empty. */
void chan_fini(struct chan_table *t);

/* True when number is bound to another peer, or peer to another number (answer 400, RFC 8656
 * §12.2). */
bool chan_conflicts(const struct chan_table *t, uint16_t number, const struct addr *peer,
                    uint64_t now_us);

/* Binds number to peer for CHAN_LIFETIME_US, or extends that binding. guard: as in struct chan.
 *
 * Returns 0; -EPROTO when chan_conflicts(); -ENOSPC when CHAN_MAX bindings live (508); -ENOMEM. The
 * caller checks the number's range, installs the permission and then reports it by chan_permit():
 * without it the channel carries nothing. */
int chan_bind(struct chan_table *t, uint16_t number, const struct addr *peer,
              const struct portpool *guard, uint64_t now_us);

/* Tells the table that peer's address (any port) has a permission until until_us. */
void chan_permit(struct chan_table *t, const struct addr *peer, uint64_t until_us);

/* The i-th binding, in no order, expired ones among them; NULL when there are not so many. */
const struct chan *chan_at(const struct chan_table *t, unsigned i);

/* The open channel of this number or to this peer: bound, and its permission alive. NULL when there
 * is none. The pointer is good until the next chan_bind() or chan_fini(). */
const struct chan *chan_by_number(struct chan_table *t, uint16_t number, uint64_t now_us);
const struct chan *chan_by_peer(struct chan_table *t, const struct addr *peer, uint64_t now_us);

#endif

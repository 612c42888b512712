/* Clients whose packets the kernel brings to this worker while their allocation is another's, after
 * a move (RFC 8016). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_GUEST_H
#define SORI_TURN_GUEST_H

#include "base/htable.h"
#include "base/timerwheel.h"
#include "turn/five_tuple.h"

#define GUESTS_MAX 65536           /* per worker */
#define GUEST_US   (60 * US_PER_S) /* a guest outlives what its owner may have granted */

struct guest {
    struct hnode node;
    struct timer timer;
    struct five_tuple tuple;
    unsigned owner; /* the worker */
    uint32_t seq;   /* messages passed on so far, modulo 2^32 */
    void *link;     /* the shell's: the client's connection or association; NULL over UDP */
};

struct guests {
    struct htable _by_tuple;
    struct timerwheel *_expiry;
};

/* Makes an empty table. Returns 0 or -ENOMEM. */
int guests_init(struct guests *t, uint64_t now_us);

/* Forgets all and frees. A zeroed table is allowed. */
void guests_fini(struct guests *t);

/* How many there are. */
static inline size_t guests_count(const struct guests *t)
{
    return t->_by_tuple.count;
}

/* Notes that tuple's packets are for owner until until_us; replaces what was known of it. Returns
 * 0, -ENOSPC (answer 508), -ENOMEM. */
int guest_add(struct guests *t, const struct five_tuple *tuple, unsigned owner, void *link,
              uint64_t until_us);

/* The guest, or NULL. */
struct guest *guest_find(const struct guests *t, const struct five_tuple *tuple);

/* It stays until until_us. */
void guest_extend(struct guests *t, struct guest *g, uint64_t until_us);

/* Forgets g. NULL is allowed. */
void guest_del(struct guests *t, struct guest *g);

/* Forgets those whose time is over, and says when to call again. */
void guests_tick(struct guests *t, uint64_t now_us);
uint64_t guests_deadline(const struct guests *t);

#endif

/* Mobility (RFC 8016): an allocation follows its client to another 5-tuple.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_MOBILITY_H
#define SORI_TURN_MOBILITY_H

#include "turn/request.h"

/* Whether an Allocate wants to be mobile. Returns 0 and *wanted, or 400, 405. tcp: a TCP
 * allocation, which cannot move. */
int mobility_wanted(const struct request *r, bool tcp, bool *wanted);

/* Adds the ticket for a's next move to an answer. */
void mobility_put_ticket(const struct request *r, const struct alloc *a, struct wr *w);

/* Takes a Refresh that carries a ticket: r->alloc is the allocation that it names then, which
 * expects its client at r's 5-tuple from now on. Returns 0; REQUEST_FORWARD when it is another
 * worker's, to which the message must go; or 400, 405, 437, 441, 508. A retransmission (same
 * transaction, from where it has moved to) gets 0 again. */
int mobility_refresh(struct request *r, struct slice ticket);

/* Data has come from the 5-tuple `from` of a, which is moving: if that is the new one the old one
 * is given up. */
void mobility_data(struct turn_core *c, struct alloc *a, const struct five_tuple *from);

/* The connection of one of a's 5-tuples is gone. True: a lives on, by its other 5-tuple or, being
 * mobile, for MOBILITY_GRACE_US without one. False: it is to be ended. */
#define MOBILITY_GRACE_US (30 * US_PER_S)
bool mobility_gone(struct turn_core *c, struct alloc *a, const struct five_tuple *gone,
                   uint64_t now_us);

/* a ends: tells the workers where its clients came in. */
void mobility_end(struct turn_core *c, struct alloc *a);

#endif

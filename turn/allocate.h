/* Allocate and Refresh (RFC 8656 §7, §8): how an allocation comes to be, lives on and ends.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_ALLOCATE_H
#define SORI_TURN_ALLOCATE_H

#include "turn/request.h"

/* Answers an Allocate request: 0, or 300 (draining), 400, 437, 440, 442, 486, 508. A retransmission
 * (same client, transaction id and user) gets the same answer again. */
int allocate_request(struct request *r, struct wr *w);

/* Answers a Refresh request: 0, or 400, 437, 441, 443. LIFETIME 0 ends the allocation, or the
 * relayed address of the family that the request names. */
int allocate_refresh(struct request *r, struct wr *w);

/* Ends an allocation: takes it off the table, closes its socket, gives port and quota back, frees
 * it. why: one word for the usage record. */
void allocate_end(struct turn_core *c, struct alloc *a, const char *why, uint64_t now_us);

/* Ends those of an allocation's relayed addresses whose time is over, and with the last one the
 * allocation. */
void allocate_expire(struct turn_core *c, struct alloc *a, uint64_t now_us);

#endif

/* Reserved ports: the odd neighbour that EVEN-PORT with R = 1 holds for 30 s, until an Allocate
 * brings its RESERVATION-TOKEN (RFC 8656 §7.2, §18.10). Shared by all workers, locked: that
 * Allocate has another 5-tuple. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_RESERVE_H
#define SORI_TURN_RESERVE_H

#include "base/bytes.h"
#include "base/clock.h"

#define RESERVE_LIFETIME_US (30 * US_PER_S) /* RFC 8656 §7.2: "30 seconds is recommended" */
#define RESERVE_MAX         512             /* at once, over all accounts */
#define RESERVE_TOKEN_BYTES 8

/* One port held: who may claim it. */
struct reserved {
    uint64_t account; /* as in quota.h; its quota counts the port */
    uint16_t pool, port;
};

struct reserve;

struct reserve *reserve_new(void);    /* NULL when memory is out */
void reserve_free(struct reserve *r); /* NULL is allowed */

/* Holds *what and gives its unguessable token. Returns 0, or -ENOSPC (answer 508). Any thread. */
int reserve_add(struct reserve *r, const struct reserved *what, uint64_t now_us,
                uint8_t token[RESERVE_TOKEN_BYTES]);

/* Hands over what token holds for this account; the caller owns port and quota now. Returns 0, or
 * -ENOENT for an unknown, expired or foreign token. Any thread. */
int reserve_claim(struct reserve *r, struct slice token, uint64_t account, uint64_t now_us,
                  struct reserved *out);

/* Takes out one reservation that has expired; the caller gives port and quota back. False when
 * there is none. Any thread. */
bool reserve_expire(struct reserve *r, uint64_t now_us, struct reserved *out);

/* Reservations held now. Any thread. */
unsigned reserve_count(struct reserve *r);

#endif

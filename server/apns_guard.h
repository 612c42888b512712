/* The guard against mass rejection: many different tokens called bad and none accepted means that
 * the configuration is wrong (another app's topic, the other environment), not the tokens.
 *
 * One per app and environment. Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_GUARD_H
#define SORI_SERVER_APNS_GUARD_H

#include "base/clock.h"

#include <stdbool.h>

#define APNS_GUARD_US     (60 * US_PER_S) /* the window, once something was accepted */
#define APNS_GUARD_TOKENS 3               /* different tokens in it, and none accepted */

/* Zeroed = at the start. */
struct apns_guard {
    struct {
        uint64_t hash, at_us;
    } _rejected[APNS_GUARD_TOKENS];
    unsigned _n;
    uint64_t _accepted_us; /* 0: never */
    bool tripped;
};

/* A token (its hash) was rejected. Gives false when it may be believed; true when it may not,
 * because it is one of many: *since_us is then the time of the first of them. */
bool apns_guard_reject(struct apns_guard *g, uint64_t hash, uint64_t now_us, uint64_t *since_us);

/* A push to some token was accepted: rejections are believed again. */
void apns_guard_accept(struct apns_guard *g, uint64_t now_us);

#endif

/* Token bucket: so many per second, so many at once. 16 bytes, lazily refilled.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_TOKENBUCKET_H
#define SORI_BASE_TOKENBUCKET_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* The rule, shared by many buckets: `burst` tokens at once at most (over 4294967 counts as that),
 * `milli_per_s` / 1000 tokens a second. */
struct bucket_rule {
    uint32_t milli_per_s; /* 1000 = one token a second; 0 = no limit */
    uint32_t burst;
};

/* Zeroed = full (start_us 0 is long ago). */
struct bucket {
    uint64_t _at_us;
    uint32_t _milli_used; /* thousandths of tokens taken and not yet refilled */
};

/* Takes n tokens. Returns true, or false and takes nothing. Pure. */
bool bucket_take(struct bucket *b, const struct bucket_rule *rule, uint32_t n, uint64_t now_us);

/* How long until n tokens are there, in ms rounded up (for retryAfterMs); 0 = now,
 * UINT32_MAX = never, n is above the burst. */
uint32_t bucket_wait_ms(const struct bucket *b, const struct bucket_rule *rule, uint32_t n,
                        uint64_t now_us);

#endif

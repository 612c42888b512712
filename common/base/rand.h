/* Random bytes: the system's (OpenSSL DRBG) and a seeded source for tests and simulation.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_RAND_H
#define SORI_BASE_RAND_H

#include "base/bytes.h"

/* Fills p with n unpredictable bytes. Never fails: when the system has none the process
 * ends (abort), because a weaker source would be worse. Thread safe, fork safe. */
void rand_bytes(void *p, size_t n);

/* An unpredictable number below bound (bound > 0), without modulo bias. */
uint64_t rand_below(uint64_t bound);

/* A seeded generator (xoshiro256**): the same seed gives the same run. Not for secrets. */
struct rand_src {
    uint64_t _s[4];
};
void rand_src_init(struct rand_src *r, uint64_t seed);
uint64_t rand_src_u64(struct rand_src *r);
uint64_t rand_src_below(struct rand_src *r, uint64_t bound);

#endif

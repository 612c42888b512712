/* A histogram of milliseconds whose buckets are a sixteenth wide, so that a quantile is right
 * within 6 %, and that can be added up over days. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_USAGE_HIST_H
#define SORI_SERVER_USAGE_HIST_H

#include "base/bytes.h"

enum {
    USAGE_HIST_FINE = 16,    /* buckets of one power of two */
    USAGE_HIST_OCTAVES = 14, /* up to 262,143 ms; what is longer counts as that */
    USAGE_HIST_BUCKETS = USAGE_HIST_FINE * (USAGE_HIST_OCTAVES + 1),
};

struct usage_hist {
    uint64_t count;
    uint64_t n[USAGE_HIST_BUCKETS];
};

/* Counts a value n times. */
void usage_hist_add(struct usage_hist *h, uint64_t ms, uint64_t n);
void usage_hist_merge(struct usage_hist *h, const struct usage_hist *other);

/* The value below which permille of the values are: the middle of a bucket; 0 when empty. */
uint64_t usage_hist_quantile(const struct usage_hist *h, unsigned permille);

/* The smallest value of a bucket, as what it is written. */
uint64_t usage_hist_floor(unsigned bucket);

#endif

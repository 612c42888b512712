/* A histogram of milliseconds with buckets a sixteenth wide.
 *
 * Called by usage_report.c and the archive. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_hist.h"

#define FINE_BITS 4 /* 2^4 = USAGE_HIST_FINE */

static unsigned bucket_of(uint64_t ms)
{
    unsigned shift = 0;

    if (ms >> (FINE_BITS + USAGE_HIST_OCTAVES))
        return USAGE_HIST_BUCKETS - 1;
    while (ms >> shift >= 2 * USAGE_HIST_FINE)
        shift++;
    return shift * USAGE_HIST_FINE + (unsigned)(ms >> shift);
}

uint64_t usage_hist_floor(unsigned bucket)
{
    unsigned shift = bucket < 2 * USAGE_HIST_FINE ? 0 : bucket / USAGE_HIST_FINE - 1;

    return (uint64_t)(bucket - shift * USAGE_HIST_FINE) << shift;
}

void usage_hist_add(struct usage_hist *h, uint64_t ms, uint64_t n)
{
    h->n[bucket_of(ms)] += n;
    h->count += n;
}

void usage_hist_merge(struct usage_hist *h, const struct usage_hist *other)
{
    for (unsigned i = 0; i < USAGE_HIST_BUCKETS; i++)
        h->n[i] += other->n[i];
    h->count += other->count;
}

uint64_t usage_hist_quantile(const struct usage_hist *h, unsigned permille)
{
    /* The rank-th smallest value, the first one for 0. */
    uint64_t rank = h->count / 1000 * permille + (h->count % 1000 * permille + 999) / 1000,
             seen = 0;

    for (unsigned i = 0; i < USAGE_HIST_BUCKETS; i++) {
        seen += h->n[i];
        if (h->n[i] > 0 && seen >= rank) {
            uint64_t low = usage_hist_floor(i);
            uint64_t high = i + 1 < USAGE_HIST_BUCKETS ? usage_hist_floor(i + 1) : low + 1;
            return low + (high - low) / 2;
        }
    }
    return 0;
}

/* Token buckets that count what is taken, so that a zeroed bucket is a full one.
 *
 * Called wherever a stranger's rate is limited. Pure. Time that is not yet worth a thousandth of a
 * token stays in _at_us; the remainder is rounded against the taker, so that a rate is never
 * exceeded. SPDX-License-Identifier: BSD-3-Clause */
#include "base/tokenbucket.h"

enum { MILLI = 1000, BUCKET_BURST_MAX = UINT32_MAX / MILLI };

/* Size of the bucket in thousandths; larger bursts than fit are cut. */
static uint64_t rule_burst_milli(const struct bucket_rule *rule)
{
    return (uint64_t)(rule->burst < BUCKET_BURST_MAX ? rule->burst : BUCKET_BURST_MAX) * MILLI;
}

/* Microseconds in which so many thousandths (at most 2^33) come back, rounded up. */
static uint64_t rule_refill_us(const struct bucket_rule *rule, uint64_t milli)
{
    return (milli * US_PER_S + rule->milli_per_s - 1) / rule->milli_per_s;
}

/* Gives the bucket what it earned up to now_us. */
static struct bucket bucket_refilled(const struct bucket *b, const struct bucket_rule *rule,
                                     uint64_t now_us)
{
    struct bucket r = *b;
    uint64_t elapsed_us = now_us > r._at_us ? now_us - r._at_us : 0;

    if (elapsed_us >= rule_refill_us(rule, r._milli_used))
        return (struct bucket){._at_us = now_us};
    /* Below the time for all of 2^32 thousandths, so the product is below 2^32 * 10^6. */
    uint64_t back = elapsed_us * rule->milli_per_s / US_PER_S;
    r._milli_used -= (uint32_t)back;
    r._at_us += rule_refill_us(rule, back);
    return r;
}

bool bucket_take(struct bucket *b, const struct bucket_rule *rule, uint32_t n, uint64_t now_us)
{
    if (rule->milli_per_s == 0)
        return true;
    struct bucket r = bucket_refilled(b, rule, now_us);
    uint64_t used = r._milli_used + (uint64_t)n * MILLI;
    if (used > rule_burst_milli(rule))
        return false;
    r._milli_used = (uint32_t)used;
    *b = r;
    return true;
}

uint32_t bucket_wait_ms(const struct bucket *b, const struct bucket_rule *rule, uint32_t n,
                        uint64_t now_us)
{
    if (rule->milli_per_s == 0)
        return 0;
    uint64_t burst = rule_burst_milli(rule);
    if ((uint64_t)n * MILLI > burst)
        return UINT32_MAX; /* never */
    struct bucket r = bucket_refilled(b, rule, now_us);
    uint64_t used = r._milli_used + (uint64_t)n * MILLI;
    if (used <= burst)
        return 0;
    uint64_t ready_us = r._at_us + rule_refill_us(rule, used - burst);
    uint64_t wait_ms = ready_us > now_us ? (ready_us - now_us + US_PER_MS - 1) / US_PER_MS : 0;
    return wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
}

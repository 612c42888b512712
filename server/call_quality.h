/* What a call sounded like at one of its ends: reports in, one sample each out, and a summary of
 * any length of call in a few hundred bytes.
 *
 *     call_leg_begin(&leg, now);                     it was answered
 *     call_leg_add(&leg, &report, …, &sample);       each report
 *     call_leg_add_mos(&leg, mos, ms);               or: what somebody else has judged
 *     call_leg_sum(&leg, &sum);                      any time
 *
 * A report becomes an R and a MOS by the E-model (proto/emodel.h): an estimate. Reports are the
 * client's word; what they can do is bounded: the time that they cover is never more than what has
 * passed, and nothing in them gives a figure that is no number. Pure values; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_QUALITY_H
#define SORI_SERVER_CALL_QUALITY_H

#include "base/clock.h"
#include "proto/sig_quality.h"

enum {
    CALL_QUALITY_STEP_MILLI = 50, /* MOS: how fine p10 is known */
    CALL_QUALITY_BINS = 3500 / CALL_QUALITY_STEP_MILLI + 1,
};

/* What a low figure is owed to most. */
enum call_blame { CALL_BLAME_NONE, CALL_BLAME_LOSS, CALL_BLAME_DELAY, CALL_BLAME_CODEC };
const char *call_blame_name(enum call_blame b); /* "", "loss", "delay", "codec" */

/* One report, judged. */
struct call_sample {
    bool judged; /* something came that could be */
    double r, mos, loss, burst_ratio;
    uint32_t interval_ms; /* what it covers, cut to the time that has passed */
    uint32_t rtt_ms, jitter_ms, buffer_ms, silence_ms, bps;
    enum sig_voice voice;
    enum sig_route route;
    enum call_blame blame;
    unsigned clamped; /* fields that were cut, in decoding and here */
};

/* One end of a call. A zeroed one has begun at time 0. */
struct call_leg {
    uint64_t _begin_us, _covered_ms;
    uint64_t _judged_ms, _mos_sum, _loss_sum; /* weighted by time */
    uint64_t _rtt_sum, _rtt_ms, _jitter_sum, _jitter_ms;
    uint32_t _bins[CALL_QUALITY_BINS]; /* ms of each MOS */
    uint64_t silence_ms;
    uint32_t samples; /* judged ones */
    uint32_t _last_rtt_ms, _min_milli, _max_milli;
    enum call_blame _blame;
    enum sig_voice voice; /* as told last */
    enum sig_route route;
    enum sig_network network;
};

/* The leg's time begins. */
void call_leg_begin(struct call_leg *leg, uint64_t now_us);

/* Judges a report, and takes it in. device_ms: what sound devices add to the delay. */
void call_leg_add(struct call_leg *leg, const struct sig_quality *q, unsigned device_ms,
                  uint64_t now_us, struct call_sample *out);

/* Takes in a MOS × 1000 (cut to 1000 .. 4500) that held for so long. */
void call_leg_add_mos(struct call_leg *leg, unsigned mos_milli, uint64_t ms);

/* The leg so far; MOS × 1000, 0 while nothing was judged. p10: nine tenths of the time were better.
 */
struct call_leg_sum {
    unsigned samples, avg_milli, p10_milli, min_milli;
    unsigned loss_permille, rtt_ms, jitter_ms, silence_ms;
    enum call_blame worst; /* of the lowest */
};
void call_leg_sum(const struct call_leg *leg, struct call_leg_sum *out);

#endif

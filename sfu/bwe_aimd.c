/* Rate control on delay (draft-ietf-rmcat-gcc-02 §5.5), with a drain.
 *
 * Called by bwe.c per feedback. Pure.
 *
 *                 queue grows or stands too long
 *       INCREASE ───────────────────────────────► DECREASE: to less than comes through, so that
 *          ▲                                          │     the queue drains in DRAIN_US
 *          │ drained: on with what the path took      ▼
 *          └───────────────────────────────────── HOLD: a round trip at least
 *
 * The draft goes down to 0.85 of the received rate whatever the queue is; after a fall of the
 * path's rate to a fifth that leaves seconds of queue to drain at 15 %. Here the decrease follows
 * the queue that is there, and when it is gone the rate goes back to just under what was
 * measured. A queue that does not react to several decreases is not ours: competing traffic keeps
 * it; going lower would only give the path away.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_aimd.h"

#define BETA            0.95 /* of what came through: after a drain, that is enough */
#define DRAIN_S         0.4  /* a queue is to be gone in this time */
#define DRAIN_FLOOR     0.5  /* but no deeper than this part of what comes through */
#define QUEUE_GROWS_US  8000 /* with a growing trend: a queue, not noise */
#define QUEUE_STANDS_US 40000
#define QUEUE_GONE_US   12000
#define SPREAD_PART     0.5 /* jitter makes the measured queue uncertain by this part of it */
#define CUTS_MAX        4
#define FALL_DEEP       0.66 /* §5.5 has no such thing: a fall below this part wants a probe */
#define GROWTH_FAR      0.08 /* per second: §5.5 eta */
#define GROWTH_NEAR     0.02 /* per second, around what the path took before */
#define NEAR_LOW        0.85
#define NEAR_HIGH       1.10
#define ACKED_MAX       1.5 /* §5.5: no further above what is received */
#define ACKED_SLACK     10000.0
#define CAP_WEIGHT      0.4
#define RESPONSE_US     (100 * US_PER_MS) /* §5.5: response time is the RTT and 100 ms */
#define UPDATE_MAX_S    0.25

void bwe_aimd_init(struct bwe_aimd *a, double bps, uint64_t now_us)
{
    *a = (struct bwe_aimd){.bps = bps, .state = BWE_INCREASE, ._at_us = now_us};
}

static void learn_cap(struct bwe_aimd *a, double bps)
{
    if (a->cap_bps <= 0 || bps < 0.8 * a->cap_bps || bps > 1.2 * a->cap_bps)
        a->cap_bps = bps;
    else
        a->cap_bps += CAP_WEIGHT * (bps - a->cap_bps);
}

/* What to fall to, so that the queue drains. */
static double drain_bps(double through_bps, int64_t queue_us)
{
    double part = BETA - (double)queue_us / 1e6 / DRAIN_S;

    return through_bps * (part > DRAIN_FLOOR ? part : DRAIN_FLOOR);
}

static void cut(struct bwe_aimd *a, const struct aimd_in *in, uint64_t now_us)
{
    double through = in->fresh_bps > 0 ? in->fresh_bps : in->acked_bps;

    if (through <= 0 || through > a->bps) /* nothing measured: the draft's factor on the estimate */
        through = through <= 0 ? 0.9 * a->bps : a->bps;
    double to = drain_bps(through, in->queue_us);
    if (to < FALL_DEEP * a->bps && a->state == BWE_INCREASE) {
        a->before_bps = a->bps;
        a->fell_us = now_us;
    }
    learn_cap(a, through);
    if (to < a->bps)
        a->bps = to;
    a->_resume_bps = BETA * through;
    a->_cut_us = now_us;
    a->_cut_queue_us = in->queue_us;
    a->state = BWE_DECREASE;
}

static void increase(struct bwe_aimd *a, const struct aimd_in *in, double elapsed_s)
{
    double growth = GROWTH_FAR;

    if (a->cap_bps > 0 && a->bps > NEAR_LOW * a->cap_bps && a->bps < NEAR_HIGH * a->cap_bps)
        growth = GROWTH_NEAR;
    else if (a->cap_bps > 0 && a->bps >= NEAR_HIGH * a->cap_bps)
        a->cap_bps = 0; /* it takes more than it took then */
    double to = a->bps * (1 + growth * elapsed_s);
    double limit = ACKED_MAX * in->acked_bps + ACKED_SLACK;
    if (in->acked_bps > 0 && to > limit)
        to = limit;
    if (to > in->max_bps)
        to = in->max_bps;
    if (to > a->bps)
        a->bps = to;
}

/* While the queue drains. Returns true when it turns out not to be ours. */
static bool drain(struct bwe_aimd *a, const struct aimd_in *in, bool gone, uint64_t now_us)
{
    if (gone) {
        if (a->bps < a->_resume_bps)
            a->bps = a->_resume_bps;
        a->state = BWE_INCREASE;
        a->_cuts = 0;
        return false;
    }
    a->state = BWE_HOLD;
    if (now_us - a->_cut_us < in->rtt_us + RESPONSE_US)
        return false;
    if (in->queue_us > a->_cut_queue_us - a->_cut_queue_us / 4 && ++a->_cuts >= CUTS_MAX) {
        a->_cuts = 0;
        a->bps = a->bps < a->_resume_bps ? a->_resume_bps : a->bps;
        a->state = BWE_INCREASE;
        return true;
    }
    cut(a, in, now_us);
    return false;
}

bool bwe_aimd_update(struct bwe_aimd *a, const struct aimd_in *in, uint64_t now_us)
{
    double elapsed_s = (double)(now_us - a->_at_us) / 1e6;
    double doubt_us = SPREAD_PART * in->spread_us;

    a->_at_us = now_us;
    if (elapsed_s > UPDATE_MAX_S)
        elapsed_s = UPDATE_MAX_S;
    bool grows = in->usage == BWE_OVERUSE && (double)in->queue_us > QUEUE_GROWS_US + doubt_us;
    bool stands = (double)in->queue_us > QUEUE_STANDS_US + doubt_us;
    bool gone = (double)in->queue_us < QUEUE_GONE_US + doubt_us && in->usage != BWE_OVERUSE;
    if (a->state != BWE_INCREASE)
        return drain(a, in, gone, now_us);
    if (grows || stands)
        cut(a, in, now_us);
    else if (in->usage == BWE_NORMAL)
        increase(a, in, elapsed_s);
    return false;
}

void bwe_aimd_probed(struct bwe_aimd *a, double bps, bool saturated, uint64_t now_us)
{
    (void)now_us;
    if (a->state != BWE_INCREASE)
        return;
    if (saturated)
        bps *= BETA;
    if (bps <= a->bps)
        return;
    a->bps = bps;
    a->cap_bps = saturated ? bps / BETA : 0;
}

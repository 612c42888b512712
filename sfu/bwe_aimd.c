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

#define BETA             0.95  /* of what came through: after a drain, that is enough */
#define DRAIN_S          0.4   /* a queue is to be gone in this time */
#define JUMP_US          30000 /* the last packets so late, and clearly beyond jitter: a queue */
#define JUMP_SPREAD      2.0   /* times the jitter */
#define DRAIN_FLOOR      0.3   /* but no deeper than this part of what comes through */
#define QUEUE_GROWS_US   8000  /* with a growing trend: a queue, not noise */
#define QUEUE_STANDS_US  25000 /* without a trend: this is too long */
#define QUEUE_GONE_US    12000 /* drained */
#define SPREAD_PART      0.5   /* jitter makes the measured queue uncertain by this part of it */
#define DRAINS           1.3   /* comes through, of what is sent: the rest is our queue, draining */
#define UNDO_PART        0.8   /* and that much of the old rate comes through again */
#define DIP_US           600000 /* a drain of up to so long is no reason to change what is sent */
#define UNDO_US          60000  /* a queue gone so soon after a round trip was a stall */
#define FOREIGN_US       (15 * US_PER_S) /* so long a foreign queue is borne, ... */
#define FOREIGN_QUEUE_US 120000          /* ... up to so much more of it */
#define CUTS_MAX         4               /* decreases that do not help: the queue is not ours */
#define FRESH_PART       0.75            /* of the long measurement: then the short one counts */
#define IDLE_PART        0.3 /* of the estimate is sent: media is not what fills the path */
#define SLIGHT_CUT       0.9
#define UNMEASURED       0.9   /* of the estimate, when nothing was measured */
#define NEWEST_US        30000 /* a trend, and the last packets so late: no need to wait for more */
#define NEWEST_SPREAD    2.0   /* times the jitter */
#define WORSE_US         40000 /* so much more queue than at the decrease: again, at once */
#define SOON_US          (50 * US_PER_MS) /* but not sooner */
#define LIMITED          0.8   /* less is sent than this part of the estimate: nothing tests it */
#define FALL_DEEP        0.66  /* §5.5 has no such thing: a fall below this part wants a probe */
#define GROWTH_FAR       0.08  /* per second: §5.5 eta */
#define GROWTH_NEAR      0.012 /* per second, around what the path took before */
#define NEAR_LOW         0.85  /* of what the path took: near ... */
#define NEAR_HIGH        1.10  /* ... up to here; above, it takes more now */
#define ACKED_MAX        1.5   /* §5.5: no further above what is received */
#define ACKED_SLACK      10000.0
#define MORE_COMES       1.2 /* times the estimate comes through: it was tried beyond it */
#define CAP_WEIGHT       0.4 /* of a new measurement */
#define RESPONSE_US      (100 * US_PER_MS) /* §5.5: response time is the RTT and 100 ms */
#define UPDATE_MAX_S     0.25              /* a longer silence grows no more than this */

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

/* What comes through now. A short measurement is noisy, and a long one has seen the rate before it
 * fell: the short one counts where they differ much, or where the queue proves that it is full. */
static double through_bps(const struct bwe_aimd *a, const struct aimd_in *in)
{
    double bps = in->acked_bps;

    if (in->fresh_bps > 0 && (bps <= 0 || in->fresh_bps < FRESH_PART * bps))
        bps = in->fresh_bps;
    return bps > 0 ? bps : UNMEASURED * a->bps;
}

static void cut(struct bwe_aimd *a, const struct aimd_in *in, uint64_t now_us)
{
    int64_t queue_us = in->queue_us - (int64_t)(SPREAD_PART * in->spread_us);
    int64_t newest_us = in->newest_us - (int64_t)(NEWEST_SPREAD * in->spread_us);
    if (queue_us < newest_us)
        queue_us = newest_us;
    double through = through_bps(a, in);

    /* What came through is all that was sent: the queue is not due to the estimate's height. */
    if (in->sent_bps > 0 && in->sent_bps < IDLE_PART * a->bps && through < SLIGHT_CUT * a->bps)
        through = SLIGHT_CUT * a->bps;
    double to = drain_bps(through, queue_us > 0 ? queue_us : 0);

    if (a->state == BWE_INCREASE) {
        a->_undo_bps = a->bps;
        a->_first_cut_us = now_us;
        a->_resume_bps = BETA * (through < a->bps ? through : a->bps);
        if (to < FALL_DEEP * a->bps) {
            a->before_bps = a->bps;
            a->fell_us = now_us;
        }
    } else if (BETA * through < a->_resume_bps && in->queue_us > QUEUE_STANDS_US) {
        a->_resume_bps = BETA * through;
    }
    learn_cap(a, a->_resume_bps / BETA);
    if (to < a->bps)
        a->bps = to;
    a->_cut_us = now_us;
    a->_cut_queue_us = in->queue_us > in->newest_us ? in->queue_us : in->newest_us;
    a->state = BWE_DECREASE;
}

static void increase(struct bwe_aimd *a, const struct aimd_in *in, double elapsed_s)
{
    double growth = GROWTH_FAR;

    if (in->acked_bps < LIMITED * a->bps) /* probes find what more there is */
        return;
    if (a->cap_bps > 0 && a->bps > NEAR_LOW * a->cap_bps && a->bps < NEAR_HIGH * a->cap_bps)
        growth = GROWTH_NEAR;
    else if (a->cap_bps > 0 && a->bps >= NEAR_HIGH * a->cap_bps)
        a->cap_bps = 0; /* it takes more than it took then */
    double to = a->bps * (1 + growth * elapsed_s);
    if (to < in->acked_bps / MORE_COMES) /* a measurement is not as exact as a little more */
        to = BETA * in->acked_bps;
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
        /* Sooner than the lower rate can have helped: it was a stall, not a limit. */
        if (now_us - a->_first_cut_us < in->rtt_us + UNDO_US &&
            a->_resume_bps < BETA * a->_undo_bps && in->fresh_bps > UNDO_PART * a->_undo_bps)
            a->_resume_bps = BETA * a->_undo_bps;
        if (a->bps < a->_resume_bps)
            a->bps = a->_resume_bps;
        a->state = BWE_INCREASE;
        a->_cuts = 0;
        return false;
    }
    a->state = BWE_HOLD;
    uint64_t since_us = now_us - a->_cut_us;
    bool worse =
        in->newest_us > a->_cut_queue_us + WORSE_US + (int64_t)in->spread_us && since_us > SOON_US;
    if (since_us < in->rtt_us + RESPONSE_US && !worse)
        return false;
    if (!worse && in->queue_us > a->_cut_queue_us - a->_cut_queue_us / 4 &&
        ++a->_cuts >= CUTS_MAX) {
        a->_cuts = 0;
        a->_foreign_until_us = now_us + FOREIGN_US;
        a->bps = a->bps < a->_resume_bps ? a->_resume_bps : a->bps;
        a->state = BWE_INCREASE;
        return true;
    }
    cut(a, in, now_us);
    return false;
}

void bwe_aimd_idle(struct bwe_aimd *a)
{
    if (a->state != BWE_INCREASE && a->bps < a->_resume_bps)
        a->bps = a->_resume_bps;
    a->state = BWE_INCREASE;
    a->_cuts = 0;
}

double bwe_aimd_steady(const struct bwe_aimd *a, uint64_t now_us)
{
    bool brief = a->state != BWE_INCREASE && now_us - a->_first_cut_us < DIP_US;

    return brief && a->_resume_bps > a->bps ? a->_resume_bps : a->bps;
}

bool bwe_aimd_update(struct bwe_aimd *a, const struct aimd_in *in, uint64_t now_us)
{
    double elapsed_s = (double)(now_us - a->_at_us) / 1e6;
    double doubt_us =
        SPREAD_PART * in->spread_us + (now_us < a->_foreign_until_us ? FOREIGN_QUEUE_US : 0);

    a->_at_us = now_us;
    if (elapsed_s > UPDATE_MAX_S)
        elapsed_s = UPDATE_MAX_S;
    bool grows = in->usage == BWE_OVERUSE &&
                 ((double)in->queue_us > QUEUE_GROWS_US + doubt_us ||
                  (double)in->newest_us > NEWEST_US + NEWEST_SPREAD * doubt_us / SPREAD_PART);
    bool stands = (double)in->queue_us > QUEUE_STANDS_US + doubt_us ||
                  (double)in->newest_us > JUMP_US + JUMP_SPREAD * doubt_us / SPREAD_PART;
    bool gone = (double)in->queue_us < QUEUE_GONE_US + doubt_us &&
                (double)in->newest_us < NEWEST_US + NEWEST_SPREAD * doubt_us / SPREAD_PART &&
                in->usage != BWE_OVERUSE;
    if (a->state != BWE_INCREASE)
        return drain(a, in, gone, now_us);
    if (grows || stands)
        cut(a, in, now_us);
    else if (in->usage == BWE_NORMAL)
        increase(a, in, elapsed_s);
    return false;
}

void bwe_aimd_probed(struct bwe_aimd *a, double bps, bool saturated, double acked_bps)
{
    if (a->state != BWE_INCREASE)
        return;
    if (!saturated) {
        a->cap_bps = 0;
        a->bps = bps > a->bps ? bps : a->bps;
        return;
    }
    learn_cap(a, bps);
    bps *= BETA;
    /* An estimate that nothing tested gives way to what was measured; one that is used does not. */
    if (bps > a->bps || acked_bps < LIMITED * a->bps)
        a->bps = bps > acked_bps ? bps : acked_bps;
}

/* The loss-based limit: experiments that tell radio from congestion.
 *
 * Called by bwe.c. Pure.
 *
 *           loss clearly above the inherent
 *     FREE ─────────────────────────────────► TESTING: limit = what came through
 *      ▲ ▲                                       │  four spans sent under the limit
 *      │ └── as much is lost as before ──────────┤  inherent loss: the limit goes
 *      └──── less is lost ───────────────────────┘  congestion: it stays, and grows slowly
 *
 * draft-ietf-rmcat-gcc-02 §6 takes all loss over 10 % for congestion, which starves a call on bad
 * radio; libwebrtc's second loss-based estimator fits both parts to what was observed, which tells
 * nothing as long as the rate is constant. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_loss.h"

#include <math.h>

#define SPAN_US      250000
#define SPAN_MAX_US  1500000 /* slow streams: a span is over then, whatever it holds */
#define SPAN_PKTS    20
#define PKTS_MAX     60000
#define TEST_SPANS   4
#define INHERENT_MAX 0.25 /* more than that is congestion */
#define NEW_LOSS     0.04 /* so much above half as much again as the inherent loss is new */
#define NEW_FACTOR   1.5
#define BREAK        0.25 /* so much more in one span, and not of a handful of packets: at once */
#define BREAK_PKTS   8.0
/* The experiment goes lower than what came through by this part of the new loss, so that its result
 * is clear: within these bounds. */
#define MARGIN        0.5
#define MARGIN_MIN    0.05
#define MARGIN_MAX    0.15
#define LESS          0.6  /* of what was new is lost in the experiment: congestion */
#define CALM          0.02 /* above the inherent loss: more may fit */
#define GROWTH        1.01 /* of the limit per calm span */
#define QUIET_SPANS   20   /* calm spans after which the limit is lifted */
#define RELEASE       1.10 /* or when it is so far above what delay allows */
#define RECENT_WEIGHT 0.3
#define LEARN         0.05

void bwe_loss_init(struct bwe_loss *l)
{
    *l = (struct bwe_loss){.limit_bps = INFINITY};
}

void bwe_loss_packet(struct bwe_loss *l, int64_t sent_us, size_t bytes, bool lost)
{
    if (l->testing && sent_us < l->_test_from_us)
        return;
    if (l->_pkts == 0) {
        l->_from_us = l->_to_us = sent_us;
        l->_bytes = 0;
    }
    if (sent_us > l->_to_us)
        l->_to_us = sent_us;
    if (l->_pkts < PKTS_MAX) {
        l->_pkts++;
        l->_lost += lost;
        l->_bytes += bytes;
    }
}

void bwe_loss_found(struct bwe_loss *l)
{
    if (l->_lost > -PKTS_MAX)
        l->_lost--;
}

static bool span_is_full(const struct bwe_loss *l)
{
    int64_t us = l->_to_us - l->_from_us;

    return l->_pkts > 1 && ((l->_pkts >= SPAN_PKTS && us >= SPAN_US) || us >= SPAN_MAX_US);
}

static double inherent_of(double loss)
{
    return loss < INHERENT_MAX ? loss : INHERENT_MAX;
}

static void begin_test(struct bwe_loss *l, double loss, double bps, int64_t now_us)
{
    if (!l->testing)
        l->_limit_before = l->limit_bps;
    double more = MARGIN * (loss - l->inherent), through = bps * (1 - loss) / (1 - l->inherent);
    more = more < MARGIN_MIN ? MARGIN_MIN : more > MARGIN_MAX ? MARGIN_MAX : more;
    through *= 1 - more;
    if (through < l->limit_bps)
        l->limit_bps = through;
    l->testing = true;
    l->_test_spans = 0;
    l->_test_pkts = l->_test_lost = 0;
    l->_test_from_us = now_us;
    l->_loss_before = loss;
    l->_quiet = 0;
}

static void end_test(struct bwe_loss *l)
{
    double loss = (double)l->_test_lost / l->_test_pkts;

    l->testing = false;
    l->recent = loss;
    if (loss <= l->inherent + LESS * (l->_loss_before - l->inherent))
        return;
    l->inherent = inherent_of((loss + l->_loss_before) / 2);
    if (l->_loss_before < INHERENT_MAX + BREAK)
        l->limit_bps = l->_limit_before;
}

/* Nothing new: forgets slowly what is not lost any more (only an experiment shows the opposite),
 * and tries more. */
static void go_on(struct bwe_loss *l, double delay_bps)
{
    if (l->recent < l->inherent)
        l->inherent += LEARN * (l->recent - l->inherent);
    if (isinf(l->limit_bps) || l->recent > l->inherent + CALM)
        return;
    l->limit_bps *= GROWTH;
    if (++l->_quiet > QUIET_SPANS || l->limit_bps > RELEASE * delay_bps)
        l->limit_bps = INFINITY;
}

void bwe_loss_update(struct bwe_loss *l, double delay_bps, int64_t now_us)
{
    if (!span_is_full(l))
        return;
    double bps = (double)l->_bytes * 8e6 / (double)(l->_to_us - l->_from_us);
    double allowed = delay_bps < l->limit_bps ? delay_bps : l->limit_bps;
    uint32_t lost = l->_lost > 0 ? (uint32_t)l->_lost : 0;
    double loss = (double)lost / l->_pkts, above = loss - l->inherent;
    bool breaks = above > BREAK && above * l->_pkts > BREAK_PKTS;

    l->recent += RECENT_WEIGHT * (loss - l->recent);
    l->_test_pkts += l->_pkts;
    l->_test_lost += lost;
    l->_pkts = 0;
    l->_lost -= (int32_t)lost;
    if (breaks) {
        begin_test(l, loss, bps, now_us);
    } else if (l->testing) {
        if (++l->_test_spans >= TEST_SPANS)
            end_test(l);
    } else if (l->recent > NEW_FACTOR * l->inherent + NEW_LOSS) {
        begin_test(l, l->recent, bps < allowed ? bps : allowed, now_us);
    } else {
        go_on(l, delay_bps);
    }
}

void bwe_loss_probed(struct bwe_loss *l, double bps)
{
    if (bps > l->limit_bps)
        l->limit_bps = bps;
}

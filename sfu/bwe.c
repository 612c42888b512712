/* One receiver's bandwidth estimate: puts the parts together.
 *
 * Called by transport's owner (sent packets, RTCP, ticks). Pure; owned by the worker.
 *
 *     feedback ─► send_history: sent when, how long, of which probe
 *                   ├─► bwe_path   delivered rate, standing queue, jitter ─┐
 *                   ├─► bwe_trend  over-use by delay gradient ─────────────┼─► bwe_aimd ──┐
 *                   ├─► probe      what a burst showed ────────────────────┘              ├─►
 * target └─► bwe_loss   inherent loss, capacity that loss shows ───────────────┘
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe.h"

#include <math.h>

#include "base/mem.h"
#include "proto/twcc_fb.h"
#include "sfu/bwe_aimd.h"
#include "sfu/bwe_loss.h"
#include "sfu/bwe_path.h"
#include "sfu/bwe_trend.h"
#include "sfu/probe.h"
#include "sfu/send_history.h"

#define HISTORY_AUDIO   256
#define HISTORY_VIDEO   2048
#define AGE_MAX_US      (10 * US_PER_S) /* feedback about older packets is nonsense */
#define ACKED_WINDOW_US 500000
#define FRESH_MIN_US    100000
#define RTT_UNKNOWN_US  (100 * US_PER_MS)
#define RTT_WEIGHT      0.125
#define QUIET_PROBE_US \
    (300 * US_PER_MS)                   /* the queue that a probe makes is not taken for over-use */
#define CALM_US         (1 * US_PER_S)  /* so long after a decrease nothing is probed */
#define BACK_US         (20 * US_PER_S) /* what was before a deep fall is worth a probe so long */
#define SILENCE_US      (600 * US_PER_MS) /* packets out, and no feedback: each time ... */
#define SILENCE_FACTOR  0.7               /* ... down to this */
#define REPORT_HIGH     26                /* 10 % of 256, 2 %: GCC §6 */
#define REPORT_LOW      5
#define REPORT_GROWTH   1.08
#define REPORT_EVERY_US (900 * US_PER_MS)
#define REMB_FRESH_US   (10 * US_PER_S)
#define ABOVE_LIMIT     1.05 /* the delay-based estimate stays so near to what loss allows */
#define RAISED          1.15 /* by less, a probe is not to blame for what follows */
#define TESTED          0.8  /* of the estimate is sent: media tests it */
#define NEAR_CAP        0.99 /* of what the path took before */
#define LIMIT_FELL      0.9  /* of what loss allows: a probe was mistaken */
#define APP_LIMITED     0.65
#define GAP_MAX         256 /* packets of lost feedback that are made good */
#define PACING          1.5 /* of the target: key frames are to pass without a queue */
#define PACING_DRAIN    1.0 /* while a queue drains */
#define SENT_US         (500 * US_PER_MS)
#define IDLE_US         US_PER_S /* so long without feedback or anything to tell of */
#define TICK_US         (100 * US_PER_MS)

struct bwe {
    struct bwe_conf conf;
    struct send_history history;
    struct bwe_path path;
    struct bwe_trend trend;
    struct bwe_aimd aimd;
    struct bwe_loss loss;
    struct probe probe;
    double want_bps, target_bps, steady_bps;
    double rtt_us;   /* 0: not known */
    int64_t base_us; /* the receiver's clock of `reference`, unwrapped */
    uint32_t reference;
    uint8_t fb_seq;
    uint64_t sent_bytes, sent_from_us; /* in the running half second */
    double sent_bps;                   /* in the one before */
    uint64_t heard_us;                 /* the last feedback about what we sent */
    uint64_t told;                     /* the highest number that feedback told of */
    uint64_t first;                    /* the first number on the present path */
    bool by_twcc;
    uint64_t quiet_until_us;
    uint64_t unanswered_us; /* since when packets are out without any feedback; 0: none are */
    uint64_t tick_us;
    double fallback_bps; /* without transport-wide feedback */
    uint64_t fallback_at_us;
    double remb_bps;
    uint64_t remb_us;
    uint64_t feedbacks, bad_feedbacks, overuses, lost_pkts, acked_pkts;
};

static double within(const struct bwe *b, double bps)
{
    if (!(bps >= (double)b->conf.min_bps))
        return (double)b->conf.min_bps;
    return bps < (double)b->conf.max_bps ? bps : (double)b->conf.max_bps;
}

static void set_target(struct bwe *b, uint64_t now_us)
{
    double to = b->aimd.bps, steady = bwe_aimd_steady(&b->aimd, now_us);

    if (!b->by_twcc) {
        to = b->fallback_bps;
        if (b->remb_us && now_us - b->remb_us < REMB_FRESH_US && to > b->remb_bps)
            to = b->remb_bps;
        steady = to;
    }
    double limit = b->by_twcc ? b->loss.limit_bps : INFINITY;
    b->target_bps = within(b, to < limit ? to : limit);
    b->steady_bps = within(b, steady < limit ? steady : limit);
}

static void start_over(struct bwe *b, double bps, uint64_t now_us)
{
    b->path = (struct bwe_path){0};
    bwe_trend_init(&b->trend);
    bwe_aimd_init(&b->aimd, bps, now_us);
    bwe_loss_init(&b->loss);
    probe_init(&b->probe, now_us);
    b->rtt_us = 0;
    b->unanswered_us = 0;
    set_target(b, now_us);
}

struct bwe *bwe_new(const struct bwe_conf *conf, uint64_t now_us)
{
    struct bwe *b = mem_zalloc(sizeof(*b));

    if (!b)
        return NULL;
    b->conf = *conf;
    b->fallback_bps = (double)conf->start_bps;
    if (send_history_init(&b->history, HISTORY_AUDIO)) {
        mem_free(b);
        return NULL;
    }
    start_over(b, (double)conf->start_bps, now_us);
    return b;
}

void bwe_free(struct bwe *b)
{
    if (!b)
        return;
    send_history_fini(&b->history);
    mem_free(b);
}

int bwe_widen(struct bwe *b)
{
    return send_history_grow(&b->history, HISTORY_VIDEO);
}

static void note_sent(struct bwe *b, size_t bytes, uint64_t now_us)
{
    uint64_t passed = now_us - b->sent_from_us;

    if (passed >= SENT_US) {
        b->sent_bps = (double)b->sent_bytes * 8e6 / (double)passed;
        b->sent_bytes = 0;
        b->sent_from_us = now_us;
    }
    b->sent_bytes += bytes;
}

uint16_t bwe_sent(struct bwe *b, size_t bytes, unsigned cluster, uint64_t now_us)
{
    if (!b->unanswered_us)
        b->unanswered_us = now_us;
    if (cluster)
        b->quiet_until_us = now_us + (uint64_t)b->rtt_us + QUIET_PROBE_US;
    note_sent(b, bytes, now_us);
    return (uint16_t)send_history_put(&b->history, bytes, cluster, now_us);
}

/* The receiver's time of the feedback's reference, without wraps. */
static int64_t unwrap(struct bwe *b, uint32_t reference)
{
    if (b->feedbacks == 0)
        b->base_us = (int64_t)reference * TWCC_BASE_US;
    else
        b->base_us += twcc_fb_base_diff_us(reference, b->reference);
    b->reference = reference;
    return b->base_us - (int64_t)reference * TWCC_BASE_US;
}

static void packet_told(struct bwe *b, struct sent *s, const struct twcc_status *st,
                        int64_t shift_us, uint64_t now_us)
{
    int64_t sent_us = (int64_t)now_us - (int64_t)(uint32_t)((uint32_t)now_us - s->at_us);

    if (!st->arrived) {
        if (s->state != SENT_FLYING)
            return;
        s->state = SENT_LOST;
        b->lost_pkts++;
        bwe_loss_packet(&b->loss, sent_us, s->bytes, true);
        probe_told(&b->probe, s->cluster, s->bytes, false, sent_us, 0);
        return;
    }
    if (s->state == SENT_LOST) {
        bwe_loss_found(&b->loss);
        b->lost_pkts--;
    } else {
        bwe_loss_packet(&b->loss, sent_us, s->bytes, false);
    }
    int64_t arrived_us = st->at_us + shift_us;
    s->state = SENT_ACKED;
    b->acked_pkts++;
    bwe_path_packet(&b->path, sent_us, arrived_us, s->bytes);
    bwe_trend_packet(&b->trend, sent_us, arrived_us);
    probe_told(&b->probe, s->cluster, s->bytes, true, sent_us, arrived_us);
}

/* Feedback was lost: the packets between what was told before and now have most likely come. */
static void fill_gap(struct bwe *b, const struct twcc_fb *fb)
{
    uint64_t seq = 0, base = 0;
    bool lost = b->feedbacks > 0 && fb->fb_seq != (uint8_t)(b->fb_seq + 1);

    b->fb_seq = fb->fb_seq;
    if (!lost || !send_history_find(&b->history, fb->base_seq, &base))
        return;
    for (uint64_t n = base; n > b->told + 1 && n > b->first && base - n < GAP_MAX; n--) {
        const struct sent *s = send_history_find(&b->history, (uint16_t)(n - 1), &seq);
        if (!s || s->state != SENT_FLYING)
            break;
        bwe_path_unseen(&b->path, s->bytes);
    }
}

/* Tells all packets of one feedback. Returns whether any was ours and arrived. */
static bool all_told(struct bwe *b, struct twcc_fb *fb, uint64_t now_us)
{
    int64_t shift_us = unwrap(b, fb->reference), newest_us = INT64_MIN;
    uint64_t rtt_us = 0, seq;
    struct twcc_status st;

    while (twcc_fb_next(fb, &st)) {
        struct sent *s = send_history_find(&b->history, st.seq, &seq);
        if (!s || s->state == SENT_ACKED || s->state == SENT_NONE)
            continue;
        uint32_t age_us = (uint32_t)now_us - s->at_us;
        if (age_us > AGE_MAX_US)
            continue;
        if (seq > b->told)
            b->told = seq;
        if (seq < b->first) /* the path before: its delays are not this one's */
            continue;
        if (st.arrived && st.at_us > newest_us) {
            newest_us = st.at_us;
            rtt_us = age_us;
        }
        packet_told(b, s, &st, shift_us, now_us);
    }
    if (newest_us == INT64_MIN)
        return false;
    b->rtt_us += b->rtt_us > 0 ? RTT_WEIGHT * ((double)rtt_us - b->rtt_us) : (double)rtt_us;
    return true;
}

/* What is lost whatever is sent has been sent all the same. */
static double made_good(const struct bwe *b)
{
    return 1 / (1 - b->loss.inherent);
}

static void probe_told_all(struct bwe *b, uint64_t now_us)
{
    struct probe_result r =
        probe_result(&b->probe, made_good(b), bwe_path_spread_us(&b->path), now_us);

    if (!r.done || r.bps <= 0)
        return;
    double before = b->aimd.bps;
    bwe_aimd_probed(&b->aimd, r.bps, r.saturated, bwe_path_rate(&b->path, ACKED_WINDOW_US));
    bwe_loss_probed(&b->loss, b->aimd.bps);
    if (b->aimd.bps > RAISED * before && r.got_through && !r.saturated)
        probe_raised(&b->probe, now_us);
}

/* What was sent lately: the higher of the running interval, once it is long enough, and the last.
 */
static double sent_bps(const struct bwe *b, uint64_t now_us)
{
    uint64_t passed = now_us - b->sent_from_us;
    double now = passed >= SENT_US / 4 ? (double)b->sent_bytes * 8e6 / (double)passed : 0;

    if (passed > 2 * SENT_US)
        return now;
    return now > b->sent_bps ? now : b->sent_bps;
}

static void control(struct bwe *b, uint64_t now_us)
{
    double factor = made_good(b), limit = b->loss.limit_bps;
    int64_t queue_us = bwe_path_queue_us(&b->path);
    int64_t fresh_us = queue_us > FRESH_MIN_US ? queue_us : FRESH_MIN_US;
    bool quiet = now_us < b->quiet_until_us;
    struct aimd_in in = {
        .usage = quiet && b->trend.usage == BWE_OVERUSE ? BWE_NORMAL : b->trend.usage,
        .queue_us = queue_us,
        .newest_us = quiet ? queue_us : bwe_path_newest_us(&b->path),
        .spread_us = bwe_path_spread_us(&b->path),
        .acked_bps = factor * bwe_path_rate(&b->path, ACKED_WINDOW_US),
        .fresh_bps = factor * bwe_path_rate(&b->path, fresh_us < ACKED_WINDOW_US ? fresh_us
                                                                                 : ACKED_WINDOW_US),
        .sent_bps = sent_bps(b, now_us),
        .rtt_us = b->rtt_us > 0 ? (uint64_t)b->rtt_us : RTT_UNKNOWN_US,
        .max_bps = limit * ABOVE_LIMIT < (double)b->conf.max_bps ? limit * ABOVE_LIMIT
                                                                 : (double)b->conf.max_bps,
    };
    enum bwe_state before = b->aimd.state;
    if (bwe_aimd_update(&b->aimd, &in, now_us))
        bwe_path_accept_queue(&b->path);
    if (before == BWE_INCREASE && b->aimd.state == BWE_DECREASE) {
        b->overuses++;
        probe_overused(&b->probe, now_us);
    }
    bwe_loss_update(&b->loss, b->aimd.bps, (int64_t)now_us);
    if (!b->loss.testing && b->aimd.bps > ABOVE_LIMIT * b->loss.limit_bps)
        b->aimd.bps = ABOVE_LIMIT * b->loss.limit_bps; /* when the limit goes, no jump */
    if (b->loss.limit_bps < LIMIT_FELL * limit)
        probe_overused(&b->probe, now_us);
}

void bwe_twcc(struct bwe *b, struct slice fci, uint64_t now_us)
{
    struct twcc_fb fb;

    if (twcc_fb_decode(&fb, fci)) {
        b->bad_feedbacks++;
        return;
    }
    fill_gap(b, &fb);
    bool ours = all_told(b, &fb, now_us);
    b->feedbacks++;
    if (!ours)
        return;
    b->by_twcc = true;
    b->unanswered_us = 0;
    b->heard_us = now_us;
    probe_told_all(b, now_us);
    control(b, now_us);
    set_target(b, now_us);
}

void bwe_remb(struct bwe *b, uint64_t bps, uint64_t now_us)
{
    b->remb_bps = (double)bps;
    b->remb_us = now_us;
    set_target(b, now_us);
}

void bwe_report(struct bwe *b, uint8_t fraction_lost, uint64_t rtt_us, uint64_t now_us)
{
    if (rtt_us > 0 && !b->by_twcc)
        b->rtt_us += b->rtt_us > 0 ? RTT_WEIGHT * ((double)rtt_us - b->rtt_us) : (double)rtt_us;
    if (b->by_twcc || (b->fallback_at_us && now_us - b->fallback_at_us < REPORT_EVERY_US))
        return;
    b->fallback_at_us = now_us;
    if (fraction_lost > REPORT_HIGH)
        b->fallback_bps *= 1 - 0.5 * fraction_lost / 256;
    else if (fraction_lost < REPORT_LOW)
        b->fallback_bps *= REPORT_GROWTH;
    b->fallback_bps = within(b, b->fallback_bps);
    set_target(b, now_us);
}

void bwe_want(struct bwe *b, uint64_t bps)
{
    b->want_bps = (double)(bps < b->conf.max_bps ? bps : b->conf.max_bps);
}

void bwe_path_changed(struct bwe *b, uint64_t now_us)
{
    double bps =
        b->target_bps < (double)b->conf.start_bps ? b->target_bps : (double)b->conf.start_bps;

    b->first = b->history.next;
    start_over(b, bps, now_us);
}

void bwe_tick(struct bwe *b, uint64_t now_us)
{
    b->tick_us = now_us;
    probe_told_all(b, now_us);
    if (b->by_twcc && !b->unanswered_us && now_us - b->heard_us > IDLE_US + (uint64_t)b->rtt_us &&
        b->aimd.state != BWE_INCREASE) { /* nothing tells that a queue is gone, but it is */
        bwe_aimd_idle(&b->aimd);
        bwe_trend_init(&b->trend);
        b->path = (struct bwe_path){0};
        set_target(b, now_us);
    }
    if (!b->by_twcc || !b->unanswered_us ||
        now_us - b->unanswered_us < SILENCE_US + 2 * (uint64_t)b->rtt_us)
        return;
    b->unanswered_us = now_us;
    b->aimd.bps = within(b, b->aimd.bps * SILENCE_FACTOR);
    set_target(b, now_us);
}

uint64_t bwe_deadline(const struct bwe *b)
{
    return b->unanswered_us || b->probe.now.cluster || b->want_bps > b->target_bps
               ? b->tick_us + TICK_US
               : CLOCK_NEVER;
}

bool bwe_probe(struct bwe *b, struct bwe_probe *out, uint64_t now_us)
{
    const struct bwe_aimd *a = &b->aimd;
    bool calm = a->state == BWE_INCREASE && b->trend.usage == BWE_NORMAL &&
                (!a->_cut_us || now_us - a->_cut_us > CALM_US);
    /* Media itself tests the path up to what it took: nothing to be found by a burst. */
    bool tested = a->cap_bps > 0 && a->bps < NEAR_CAP * a->cap_bps &&
                  bwe_path_rate(&b->path, ACKED_WINDOW_US) > TESTED * a->bps;
    bool back = a->before_bps > 0 && now_us - a->fell_us < BACK_US;

    if (!probe_start(&b->probe, out, b->target_bps, b->want_bps, back ? a->before_bps : 0,
                     calm && !tested, now_us))
        return false;
    b->aimd.before_bps = 0;
    return true;
}

uint64_t bwe_target_bps(const struct bwe *b)
{
    return (uint64_t)b->target_bps;
}

uint64_t bwe_steady_bps(const struct bwe *b)
{
    return (uint64_t)b->steady_bps;
}

bool bwe_drains(const struct bwe *b)
{
    return b->by_twcc && b->aimd.state != BWE_INCREASE;
}

uint64_t bwe_pacing_bps(const struct bwe *b)
{
    return (uint64_t)(b->target_bps * (bwe_drains(b) ? PACING_DRAIN : PACING));
}

uint64_t bwe_rtt_us(const struct bwe *b)
{
    return (uint64_t)b->rtt_us;
}

static uint64_t bps_of(double bps)
{
    return bps < 1e12 ? (uint64_t)bps : UINT64_MAX;
}

void bwe_stats(const struct bwe *b, struct bwe_stats *out)
{
    double acked = bwe_path_rate(&b->path, ACKED_WINDOW_US);

    *out = (struct bwe_stats){
        .target_bps = bwe_target_bps(b),
        .delay_bps = bps_of(b->aimd.bps),
        .loss_bps = bps_of(b->loss.limit_bps),
        .acked_bps = bps_of(acked),
        .rtt_us = bwe_rtt_us(b),
        .queue_us = (uint64_t)bwe_path_queue_us(&b->path),
        .loss = b->loss.recent,
        .state = b->aimd.state,
        .usage = b->trend.usage,
        .by_twcc = b->by_twcc,
        .app_limited = acked < APP_LIMITED * b->target_bps,
        .feedbacks = b->feedbacks,
        .bad_feedbacks = b->bad_feedbacks,
        .probes = b->probe.started,
        .probes_failed = b->probe.failed,
        .overuses = b->overuses,
        .lost_pkts = b->lost_pkts,
        .acked_pkts = b->acked_pkts,
    };
}

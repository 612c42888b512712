/* Reports of a call's quality into samples and sums.
 *
 * Called by router_quality.c. Pure. The mean is over time, not over reports: who reports often
 * counts no more. p10 comes from a histogram of MOS in steps of 0.05, so that four hours need no
 * more memory than ten seconds; it is rounded down. SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_quality.h"

#include "proto/emodel.h"

enum {
    SLACK_MS = 2000, /* clients' clocks and queues */
    MOS_MIN_MILLI = 1000,
    MOS_MAX_MILLI = 4500,
    FRAME_MS = 20,       /* what emodel_delay_ms() takes for granted */
    SAMPLES_PER_MS = 48, /* of what browsers play */
    OPUS_BPS_MIN = 6000,
    OPUS_BPS_MAX = 510000,
    SILENT_MS = 2000, /* so long without a packet is heard as silence */
};
#define BLAME_R 1.0 /* less than this is nobody's fault */

const char *call_blame_name(enum call_blame b)
{
    static const char *const names[] = {"", "loss", "delay", "codec"};

    return names[(unsigned)b < ARRAY_LEN(names) ? b : CALL_BLAME_NONE];
}

void call_leg_begin(struct call_leg *leg, uint64_t now_us)
{
    *leg = (struct call_leg){._begin_us = now_us};
}

/* ---- one report ---- */

/* Opus at what it was sent with, where that can be told: DTX leaves pauses out, RED sends twice. */
static uint32_t opus_bps(const struct sig_quality *q)
{
    uint32_t most = q->max_bps ? q->max_bps : OPUS_BPS_MAX;
    uint32_t bps = q->in_bps;

    if (q->dtx || q->voice == SIG_VOICE_RED || bps == 0)
        bps = q->max_bps; /* 0: emodel's own default */
    if (bps == 0)
        return 0;
    bps = bps < most ? bps : most;
    return bps < OPUS_BPS_MIN ? OPUS_BPS_MIN : bps > OPUS_BPS_MAX ? OPUS_BPS_MAX : bps;
}

static bool is_opus(enum sig_voice v)
{
    return v == SIG_VOICE_OPUS || v == SIG_VOICE_RED;
}

/* What was lost for the ear: concealed samples where they are told, which already has what FEC, RED
 * and the jitter buffer did; else packets. False: nothing came, nothing can be said. */
static bool take_loss(const struct sig_quality *q, struct emodel_path *p)
{
    uint64_t all = (uint64_t)q->received + q->lost;

    if ((q->has & SIG_QUALITY_RECEIVED) && all == 0)
        return false;
    if (q->has & SIG_QUALITY_CONCEALED) {
        const uint64_t frame = (uint64_t)(q->frame_ms ? q->frame_ms : FRAME_MS) * SAMPLES_PER_MS;
        p->loss = (double)q->concealed / (double)q->samples;
        if (q->has & SIG_QUALITY_CONCEALMENTS)
            p->burst_ratio =
                emodel_burst_ratio(q->samples / frame, q->concealed / frame, q->concealments);
        return true;
    }
    if (all == 0)
        return false;
    p->loss = (double)q->lost / (double)all;
    p->copies = is_opus(q->voice) && (q->fec || q->voice == SIG_VOICE_RED) ? 1 : 0;
    return true;
}

static double r_without(const struct emodel_path *p, bool loss, bool delay)
{
    struct emodel_path better = *p;

    if (loss)
        better.loss = 0;
    if (delay)
        better.delay_ms = 0;
    return emodel_path_r(&better);
}

static enum call_blame blame(const struct emodel_path *p, double r)
{
    double by_loss = r_without(p, true, false) - r, by_delay = r_without(p, false, true) - r;

    if (by_loss < BLAME_R && by_delay < BLAME_R)
        return CALL_BLAME_CODEC;
    return by_loss > by_delay ? CALL_BLAME_LOSS : CALL_BLAME_DELAY;
}

static void judge(const struct sig_quality *q, unsigned device_ms, struct call_sample *s)
{
    struct emodel_path p = {.codec = is_opus(q->voice) ? EMODEL_OPUS : EMODEL_G711_PLC,
                            .bps = is_opus(q->voice) ? opus_bps(q) : 0};
    double frames = q->frame_ms > FRAME_MS ? q->frame_ms - FRAME_MS : 0;

    s->judged = take_loss(q, &p);
    if (!s->judged)
        return;
    p.delay_ms =
        emodel_delay_ms(p.codec, s->rtt_ms * UINT64_C(1000), s->buffer_ms * UINT64_C(1000)) -
        EMODEL_DEVICE_MS + device_ms + frames;
    s->r = emodel_path_r(&p);
    s->mos = emodel_mos(s->r);
    s->loss = p.loss;
    s->burst_ratio = p.burst_ratio < 1 ? 1 : p.burst_ratio;
    s->blame = blame(&p, s->r);
}

/* No more than the time that has passed. */
static uint32_t covers(const struct call_leg *leg, uint32_t interval_ms, uint64_t now_us)
{
    uint64_t passed = now_us > leg->_begin_us ? (now_us - leg->_begin_us) / US_PER_MS : 0;
    uint64_t most = passed + SLACK_MS;
    uint64_t left = most > leg->_covered_ms ? most - leg->_covered_ms : 0;

    return interval_ms <= left ? interval_ms : (uint32_t)left;
}

/* ---- sums ---- */

static void take_mos(struct call_leg *leg, unsigned milli, uint64_t ms, enum call_blame why)
{
    uint32_t *bin = &leg->_bins[(milli - MOS_MIN_MILLI) / CALL_QUALITY_STEP_MILLI];

    *bin = ms < UINT32_MAX - *bin ? *bin + (uint32_t)ms : UINT32_MAX;
    leg->_judged_ms += ms;
    leg->_mos_sum += ms * milli;
    if (leg->samples == 0 || milli < leg->_min_milli) {
        leg->_min_milli = milli;
        leg->_blame = why;
    }
    if (leg->samples == 0 || milli > leg->_max_milli)
        leg->_max_milli = milli;
    leg->samples++;
}

static unsigned milli_of(double v)
{
    return (unsigned)(v * 1000 + 0.5);
}

void call_leg_add(struct call_leg *leg, const struct sig_quality *q, unsigned device_ms,
                  uint64_t now_us, struct call_sample *out)
{
    uint32_t ms = covers(leg, q->interval_ms, now_us);
    bool mute = (q->has & SIG_QUALITY_RECEIVED) && q->received == 0;

    *out = (struct call_sample){
        .interval_ms = ms,
        .rtt_ms = q->has & SIG_QUALITY_RTT ? q->rtt_ms : leg->_last_rtt_ms,
        .jitter_ms = q->jitter_ms,
        .buffer_ms = q->has & SIG_QUALITY_BUFFER
                         ? q->buffer_ms
                         : (uint32_t)(emodel_buffer_us(q->jitter_ms * UINT64_C(1000)) / 1000),
        .silence_ms = q->has & SIG_QUALITY_SILENCE         ? q->silence_ms
                      : mute && q->interval_ms > SILENT_MS ? q->interval_ms
                                                           : 0,
        .bps = q->in_bps,
        .voice = q->voice,
        .route = q->route,
        .clamped = q->clamped + (ms < q->interval_ms)};
    out->silence_ms = out->silence_ms < ms ? out->silence_ms : ms;
    leg->_covered_ms += ms;
    leg->silence_ms += out->silence_ms;
    leg->voice = q->voice;
    if (q->route != SIG_ROUTE_UNKNOWN)
        leg->route = q->route;
    if (q->network != SIG_NETWORK_UNKNOWN)
        leg->network = q->network;
    if (q->has & SIG_QUALITY_RTT) {
        leg->_last_rtt_ms = q->rtt_ms;
        leg->_rtt_sum += (uint64_t)ms * q->rtt_ms;
        leg->_rtt_ms += ms;
    }
    if (q->has & SIG_QUALITY_JITTER) {
        leg->_jitter_sum += (uint64_t)ms * q->jitter_ms;
        leg->_jitter_ms += ms;
    }
    judge(q, device_ms, out);
    if (!out->judged || ms == 0)
        return;
    leg->_loss_sum += ms * (uint64_t)milli_of(out->loss);
    take_mos(leg, milli_of(out->mos), ms, out->blame);
}

void call_leg_add_mos(struct call_leg *leg, unsigned mos_milli, uint64_t ms)
{
    unsigned milli = mos_milli < MOS_MIN_MILLI   ? MOS_MIN_MILLI
                     : mos_milli > MOS_MAX_MILLI ? MOS_MAX_MILLI
                                                 : mos_milli;

    if (ms > 0)
        take_mos(leg, milli, ms, CALL_BLAME_NONE);
}

static unsigned p10(const struct call_leg *leg)
{
    uint64_t sum = 0;
    unsigned milli = leg->_max_milli;

    for (unsigned i = 0; i < CALL_QUALITY_BINS; i++) {
        sum += leg->_bins[i];
        if (sum * 10 >= leg->_judged_ms) {
            milli = MOS_MIN_MILLI + i * CALL_QUALITY_STEP_MILLI;
            break;
        }
    }
    return milli > leg->_min_milli ? milli : leg->_min_milli;
}

static unsigned mean(uint64_t sum, uint64_t n)
{
    return n > 0 ? (unsigned)((sum + n / 2) / n) : 0;
}

static unsigned capped(uint64_t v)
{
    return v < UINT32_MAX ? (unsigned)v : UINT32_MAX;
}

void call_leg_sum(const struct call_leg *leg, struct call_leg_sum *out)
{
    *out = (struct call_leg_sum){.samples = leg->samples,
                                 .rtt_ms = mean(leg->_rtt_sum, leg->_rtt_ms),
                                 .jitter_ms = mean(leg->_jitter_sum, leg->_jitter_ms),
                                 .silence_ms = capped(leg->silence_ms)};
    if (leg->samples == 0)
        return;
    out->avg_milli = mean(leg->_mos_sum, leg->_judged_ms);
    out->p10_milli = p10(leg);
    out->min_milli = leg->_min_milli;
    out->loss_permille = mean(leg->_loss_sum, leg->_judged_ms);
    out->worst = leg->_blame;
}

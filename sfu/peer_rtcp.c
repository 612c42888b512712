/* RTCP from a client.
 *
 *   SR          ─► times of its streams (for our SRs), one clock offset per participant
 *   RR blocks   ─► loss, jitter, RTT of slots ─► redundancy, estimator, what publishers are told
 *   NACK        ─► consumer_nack        PLI, FIR ─► consumer_key
 *   transport-cc, REMB ─► bwe           XR ─► RTT, DLRR
 *   BYE         ─► nothing: sections say what ends
 *
 * Called by sfu_core.c. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp_fb.h"
#include "proto/rtcp_xr.h"
#include "sfu/consumer.h"
#include "sfu/participant.h"
#include "sfu/room.h"
#include "sfu/rtcp_report.h"

#define NTP_TO_UNIX_S  2208988800 /* 1900 to 1970 */
#define RTT_SHARE      8          /* smoothing: an eighth of each new value */
#define LOSS_SHARE     0.25f
#define CLOCK_DRIFT_US 500 /* a clock offset may grow by so much per report: the clocks drift */
#define CLOCK_JUMP_US  (5 * (int64_t)US_PER_S)
#define BURST_PERIODS  2
#define RED_ONE_LOSS   0.005f /* from this loss on one copy, … */
#define RED_TWO_LOSS   0.03f  /* … two; half of it to go back */

static int64_t ntp_unix_us(uint64_t ntp)
{
    int64_t s = (int64_t)(ntp >> 32) - NTP_TO_UNIX_S;

    return s * (int64_t)US_PER_S + (int64_t)((ntp & UINT32_MAX) * US_PER_S >> 32);
}

static struct stream *stream_by_ssrc(struct peer *p, uint32_t ssrc)
{
    for (unsigned i = 0; i < p->n_ssrc; i++)
        if (p->ssrc[i].ssrc == ssrc && !p->ssrc[i].rtx)
            return p->ssrc[i].stream;
    return NULL;
}

/* The client's clock against ours: the smallest transit seen is the best guess; it may rise slowly,
 * since clocks drift, and starts over when one was set. */
static void note_clock(struct peer *p, int64_t theirs_us, uint64_t now_us)
{
    int64_t ours = (int64_t)(now_us + p->owner->room->core->ntp_offset_us);
    int64_t offset = ours - theirs_us;
    int64_t d = offset - p->clock_offset_us;

    if (!p->has_clock || d < 0 || d > CLOCK_JUMP_US)
        p->clock_offset_us = offset;
    else
        p->clock_offset_us += d < CLOCK_DRIFT_US ? d : CLOCK_DRIFT_US;
    p->has_clock = true;
}

static void sender_report(struct peer *p, const struct rtcp_report *r, uint64_t now_us)
{
    struct stream *s = stream_by_ssrc(p, r->ssrc);

    if (!s)
        return;
    s->sr_ntp = r->ntp;
    s->sr_ts = r->rtp_ts;
    s->sr_at_us = now_us;
    s->sr_unix_us = ntp_unix_us(r->ntp);
    note_clock(p, s->sr_unix_us, now_us);
    if (s->video)
        video_source_sr(s->video, r->rtp_ts, r->ntp);
}

static void note_rtt(struct peer *p, uint64_t rtt_us)
{
    p->rtt_us = p->rtt_us ? p->rtt_us + rtt_us / RTT_SHARE - p->rtt_us / RTT_SHARE : rtt_us;
    for (unsigned i = 0; i < p->n_ssrc; i++) {
        struct stream *s = p->ssrc[i].stream;

        if (s->nack)
            nack_gen_rtt(s->nack, p->rtt_us);
        keyframe_req_rtt(&s->key, p->rtt_us);
    }
}

/* How many older payloads each packet of a slot carries: by the loss that its receiver has. */
static void choose_red(struct consumer *c)
{
    const struct sfu_conf *conf = c->peer->owner->room->core->conf;
    float loss = c->report.loss;
    uint8_t least = conf->audio.red == SFU_RED_ALWAYS ? 1 : 0;

    if (conf->audio.red == SFU_RED_OFF || !c->red_pt) {
        c->red_depth = 0;
        return;
    }
    if (loss >= RED_TWO_LOSS)
        c->red_depth = 2;
    else if (loss >= RED_ONE_LOSS && (c->red_depth < 2 || loss < RED_TWO_LOSS / 2))
        c->red_depth = 1;
    else if (loss < RED_ONE_LOSS / 2)
        c->red_depth = 0;
    c->red_depth = c->red_depth < least ? least : c->red_depth;
}

static void report_block(struct peer *p, const struct rtcp_block *b, uint8_t *worst,
                         uint64_t *rtt_us, uint64_t now_us)
{
    struct consumer *c = peer_slot_by_ssrc(p, b->ssrc);
    uint64_t rtt;

    if (!c || c->rtx_ssrc == b->ssrc)
        return;
    struct consumer_report *r = &c->report;
    float now = (float)b->fraction_lost / 256.0f;
    /* Up at once, down slowly: protection must not flap. */
    r->loss = r->at_us == 0 || now > r->loss ? now : r->loss + (now - r->loss) * LOSS_SHARE;
    r->fraction = b->fraction_lost;
    r->sum += b->fraction_lost;
    r->n++;
    r->lost = b->lost;
    r->jitter = b->jitter;
    r->at_us = now_us;
    if (b->fraction_lost > *worst)
        *worst = b->fraction_lost;
    uint64_t ntp = sfu_core_ntp(p->owner->room->core, now_us);
    if (rtcp_rtt(rtcp_ntp_middle(ntp), b->lsr, b->dlsr, &rtt)) {
        note_rtt(p, rtt);
        *rtt_us = rtt;
    }
    if (c->kind == RTP_KIND_AUDIO)
        choose_red(c);
}

static void report(struct peer *p, const struct rtcp_packet *k, uint64_t now_us)
{
    struct rtcp_report r;
    uint8_t worst = 0;
    uint64_t rtt_us = 0;

    if (rtcp_report_decode(&r, k) != 0) {
        core_drop(p->owner->room->core, CORE_DROP_RTCP_BAD);
        return;
    }
    if (k->type == RTCP_SR)
        sender_report(p, &r, now_us);
    for (unsigned i = 0; i < r.n; i++)
        report_block(p, &r.v[i], &worst, &rtt_us, now_us);
    if (r.n && p->bwe && p->pacer) {
        bwe_report(p->bwe, worst, rtt_us, now_us);
        peer_target(p, now_us);
    }
}

static void nack(struct peer *p, const struct rtcp_fb *f, uint64_t now_us)
{
    struct sfu_core *core = p->owner->room->core;
    struct consumer *c = peer_slot_by_ssrc(p, f->media);
    struct rtcp_nack n = rtcp_nack_init(f->fci);
    struct bucket_rule rule = {.milli_per_s = (uint32_t)(core->conf->limits.requests_per_s * 1000),
                               .burst = (uint32_t)core->conf->limits.requests_per_s};
    uint16_t seq;

    while (c && rtcp_nack_next(&n, &seq)) {
        counter_inc(&core->count.nacks_in);
        if (!bucket_take(&p->nack_bucket, &rule, 1, now_us)) {
            core_drop(core, CORE_DROP_NACK_LIMIT);
            return;
        }
        consumer_nack(c, seq, now_us);
    }
}

static void transport_feedback(struct peer *p, const struct rtcp_packet *k, uint64_t now_us)
{
    struct sfu_core *core = p->owner->room->core;
    struct rtcp_fb f;

    if (rtcp_fb_decode(&f, k) != 0) {
        core_drop(core, CORE_DROP_RTCP_BAD);
        return;
    }
    if (k->count == RTCP_FB_NACK) {
        nack(p, &f, now_us);
    } else if (k->count == RTCP_FB_TWCC && p->bwe && p->pacer) {
        counter_inc(&core->count.feedback_in);
        bwe_twcc(p->bwe, f.fci, now_us);
        peer_target(p, now_us);
        peer_arm(p, bwe_deadline(p->bwe));
    }
}

static void want_key(struct peer *p, uint32_t ssrc, uint64_t now_us)
{
    struct sfu_core *core = p->owner->room->core;
    struct bucket_rule rule = {.milli_per_s = (uint32_t)(core->conf->limits.keys_per_s * 1000),
                               .burst = (uint32_t)core->conf->limits.keys_per_s};
    struct consumer *c = peer_slot_by_ssrc(p, ssrc);

    counter_inc(&core->count.keys_in);
    if (!bucket_take(&p->key_bucket, &rule, 1, now_us))
        core_drop(core, CORE_DROP_KEY_LIMIT);
    else if (c)
        consumer_key(c, now_us);
}

static void payload_feedback(struct peer *p, const struct rtcp_packet *k, uint64_t now_us)
{
    struct rtcp_fb f;
    struct rtcp_fir fir;
    struct rtcp_remb remb;

    if (rtcp_fb_decode(&f, k) != 0) {
        core_drop(p->owner->room->core, CORE_DROP_RTCP_BAD);
        return;
    }
    if (k->count == RTCP_FB_PLI) {
        want_key(p, f.media, now_us);
    } else if (k->count == RTCP_FB_FIR) {
        struct rd r = rd_init(f.fci);

        while (rtcp_fir_next(&r, &fir))
            want_key(p, fir.ssrc, now_us);
    } else if (k->count == RTCP_FB_AFB && p->bwe && p->pacer &&
               rtcp_remb_decode(&remb, f.fci) == 0) {
        bwe_remb(p->bwe, remb.bps, now_us);
        peer_target(p, now_us);
    }
}

/* What the receiver's jitter buffer does, which report blocks do not tell. */
static void voip_metrics(struct peer *p, const struct rtcp_xr_block *b)
{
    struct rtcp_xr_voip v;
    struct consumer *c;

    if (rtcp_xr_voip_decode(&v, b) != 0 || !(c = peer_slot_by_ssrc(p, v.ssrc)))
        return;
    c->report.discarded = v.discard_rate;
    c->report.buffer_us = (uint32_t)(v.jb_nominal_ms * US_PER_MS);
}

static void extended(struct peer *p, const struct rtcp_packet *k, uint64_t now_us)
{
    struct rtcp_xr x;
    struct rtcp_xr_block b;
    struct rtcp_xr_dlrr d;
    uint64_t ntp, rtt;

    if (rtcp_xr_decode(&x, k) != 0) {
        core_drop(p->owner->room->core, CORE_DROP_RTCP_BAD);
        return;
    }
    while (rtcp_xr_next(&x, &b)) {
        if (b.type == RTCP_XR_RRTR && rtcp_xr_rrtr_decode(&ntp, &b) == 0) {
            p->dlrr = (struct peer_dlrr){x.ssrc, rtcp_ntp_middle(ntp), now_us};
        } else if (b.type == RTCP_XR_DLRR) {
            struct rd r = rd_init(b.body);
            uint32_t at = rtcp_ntp_middle(sfu_core_ntp(p->owner->room->core, now_us));

            while (rtcp_xr_dlrr_next(&r, &d))
                if (rtcp_rtt(at, d.lrr, d.dlrr, &rtt))
                    note_rtt(p, rtt);
        } else if (b.type == RTCP_XR_VOIP) {
            voip_metrics(p, &b);
        }
    }
}

static void one(struct peer *p, const struct rtcp_packet *k, uint64_t now_us)
{
    switch (k->type) {
    case RTCP_SR:
    case RTCP_RR:
        report(p, k, now_us);
        break;
    case RTCP_RTPFB:
        transport_feedback(p, k, now_us);
        break;
    case RTCP_PSFB:
        payload_feedback(p, k, now_us);
        break;
    case RTCP_XR:
        extended(p, k, now_us);
        break;
    default: /* SDES, BYE, APP and what is unknown change nothing */
        break;
    }
}

void peer_rtcp(struct peer *p, struct slice compound, uint64_t now_us)
{
    struct sfu_core *core = p->owner->room->core;
    struct bucket_rule rule = {.milli_per_s = (uint32_t)(core->conf->limits.rtcp_per_s * 1000),
                               .burst = (uint32_t)core->conf->limits.rtcp_per_s};
    struct rd r = rd_init(compound);
    struct rtcp_packet k;
    int n;

    while ((n = rtcp_next(&r, &k)) == 1) {
        if (!bucket_take(&p->rtcp_bucket, &rule, 1, now_us)) {
            core_drop(core, CORE_DROP_RTCP_LIMIT);
            return;
        }
        one(p, &k, now_us);
    }
    if (n < 0)
        core_drop(core, CORE_DROP_RTCP_BAD);
}

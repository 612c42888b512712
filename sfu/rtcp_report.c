/* What we tell a client by RTCP.
 *
 * A sender report's pair of times is the publisher's own, carried over: the capture time that its
 * last report gave for a timestamp, moved into our clock by one offset per participant, and the
 * receiver's timestamp for it. Audio and video of one participant are moved by the same offset, so
 * that they stay in sync, whatever layer is sent. A receiver report about audio can tell the loss
 * of the worst receiver in place of ours, so that the publisher's encoder protects against it.
 * Called by peer.c. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/rtcp_report.h"

#include "base/rand.h"
#include "proto/rtcp_fb.h"
#include "proto/rtcp_xr.h"
#include "sfu/consumer.h"
#include "sfu/participant.h"
#include "sfu/room.h"

#define PACKET_BYTES   1200 /* of one compound packet, before protection */
#define AUDIO_US       (2500 * US_PER_MS)
#define VIDEO_US       (1000 * US_PER_MS)
#define SR_BYTES       (4 + 24)
#define RR_BYTES(n)    (4 + 4 + 24 * (size_t)(n))
#define SDES_BYTES     44              /* one chunk with our CNAME */
#define EXTRA_BYTES    128             /* DLRR, REMB */
#define STALE_US       (10 * US_PER_S) /* a slot that has sent nothing for so long sends no SR */
#define SR_TRUST_US    (60 * US_PER_S)
#define MIRROR_MAX     0.2f /* one receiver on a dead path must not cost all others their quality */
#define NACK_BATCH     64
#define REMB_SHARE_PCT 100

static struct wr begin(struct peer *p)
{
    struct sfu_core *c = p->owner->room->core;

    return wr_init(c->rtcp, PACKET_BYTES);
}

static void send(struct peer *p, const struct wr *w)
{
    struct slice s = wr_done(w);

    if (s.len > 0)
        transport_send_rtcp(p->transport, s);
}

static uint32_t own_ssrc(const struct peer *p)
{
    for (unsigned i = 0; i < p->n_slots; i++)
        if (p->slot[i]->pkts > 0)
            return p->slot[i]->ssrc;
    return p->ssrc_self;
}

/* ---- sender reports ---- */

/* The stream whose packets the slot sends at present. */
static const struct stream *sending(const struct consumer *c, unsigned *layer)
{
    unsigned sid, tid;

    *layer = 0;
    if (!c->source)
        return NULL;
    if (c->kind == RTP_KIND_VIDEO &&
        (!c->video || !video_forward_current(c->video, layer, &sid, &tid)))
        return NULL;
    return &c->source->layer[*layer];
}

static bool receiver_ts(const struct consumer *c, unsigned layer, uint32_t ts, uint32_t *out)
{
    if (c->kind == RTP_KIND_VIDEO)
        return video_forward_ts(c->video, layer, ts, out);
    *out = audio_forward_ts(&c->audio, ts);
    return c->audio.running;
}

/* NTP and RTP time of the slot's stream: from the publisher's report, else from the last packet. */
static void times(const struct consumer *c, struct rtcp_report *r, uint64_t now_us)
{
    const struct sfu_core *core = c->peer->owner->room->core;
    unsigned layer;
    const struct stream *s = sending(c, &layer);
    uint32_t ts;

    r->ntp = sfu_core_ntp(core, now_us);
    r->rtp_ts = c->last_ts + (uint32_t)((now_us - c->last_us) * c->clock / US_PER_S);
    if (!s || !s->sr_at_us || !s->track->peer->has_clock || !receiver_ts(c, layer, s->sr_ts, &ts))
        return;
    /* Capture time in our clock, and how long ago that was. */
    int64_t captured_us = s->sr_unix_us + s->track->peer->clock_offset_us;
    int64_t ago = (int64_t)(now_us + core->ntp_offset_us) - captured_us;
    if (ago > (int64_t)SR_TRUST_US || ago < -(int64_t)SR_TRUST_US)
        return; /* an old report, or a clock that leaps: nothing to go by */
    r->rtp_ts = ts + (uint32_t)(ago * (int64_t)c->clock / (int64_t)US_PER_S);
}

/* Sees to it that so many bytes fit: what there is leaves as a compound of its own, with the CNAME
 * that each must have (RFC 3550 §6.1). */
static void make_room(struct peer *p, struct wr *w, size_t bytes)
{
    if (w->cap - w->len >= bytes + SDES_BYTES)
        return;
    rtcp_put_sdes(w, own_ssrc(p), slice_str(p->cname));
    send(p, w);
    *w = begin(p);
}

static void put_sender_reports(struct peer *p, struct wr *w, uint64_t now_us)
{
    for (unsigned i = 0; i < p->n_slots; i++) {
        struct consumer *c = p->slot[i];

        if (c->pkts == 0 || now_us - c->last_us > STALE_US)
            continue;
        struct rtcp_report r = {
            .ssrc = c->ssrc, .pkts = (uint32_t)c->pkts, .bytes = (uint32_t)c->bytes};
        make_room(p, w, SR_BYTES);
        times(c, &r, now_us);
        rtcp_put_sr(w, &r);
    }
}

/* ---- receiver reports ---- */

/* The loss on the way to this track's receivers, 1/256: what they told. */
static uint8_t mirrored(const struct producer *t)
{
    unsigned how = t->room->core->conf->audio.mirror_loss;
    float worst = 0, sum = 0;
    unsigned n = 0;

    if (how == SFU_MIRROR_OFF || t->kind != RTP_KIND_AUDIO)
        return 0;
    for (unsigned i = 0; i < t->n_consumers; i++) {
        const struct consumer *c = t->consumer[i];

        if (c->report.at_us == 0)
            continue;
        /* What RED repairs on the way down needs no protection by the encoder. */
        float loss = c->red_depth && c->red_pt ? c->report.loss * c->report.loss : c->report.loss;
        worst = loss > worst ? loss : worst;
        sum += loss;
        n++;
    }
    float v = how == SFU_MIRROR_MEAN ? (n ? sum / (float)n : 0) : worst;
    return (uint8_t)((v < MIRROR_MAX ? v : MIRROR_MAX) * 255.0f);
}

static void put_block(struct rtcp_report *r, struct stream *s, uint64_t now_us)
{
    struct rx_report rx;
    struct rtcp_block *b = &r->v[r->n];
    uint8_t theirs = mirrored(s->track);

    if (s->ssrc == 0 || s->rx.packets == 0 || r->n == RTCP_COUNT_MAX)
        return;
    rx_stats_report(&s->rx, &rx);
    *b = (struct rtcp_block){.ssrc = s->ssrc,
                             .fraction_lost = rx.fraction > theirs ? rx.fraction : theirs,
                             .lost = rx.lost,
                             .highest_seq = rx.highest,
                             .jitter = rx.jitter};
    if (s->sr_at_us) {
        b->lsr = rtcp_ntp_middle(s->sr_ntp);
        b->dlsr = rtcp_us_middle(now_us - s->sr_at_us);
    }
    r->n++;
}

static void put_receiver_report(struct peer *p, struct wr *w, uint64_t now_us)
{
    struct rtcp_report r = {.ssrc = own_ssrc(p)};

    for (unsigned i = 0; i < p->owner->n_tracks; i++) {
        struct producer *t = p->owner->track[i];

        for (unsigned l = 0; t->peer == p && l < t->n_layers; l++)
            put_block(&r, &t->layer[l], now_us);
    }
    make_room(p, w, RR_BYTES(r.n) + EXTRA_BYTES);
    rtcp_put_rr(w, &r);
}

/* ---- the compound ---- */

static void put_dlrr(struct peer *p, struct wr *w, uint64_t now_us)
{
    if (p->dlrr.at_us == 0)
        return;
    struct rtcp_xr_dlrr d = {p->dlrr.ssrc, p->dlrr.lrr, rtcp_us_middle(now_us - p->dlrr.at_us)};
    size_t at = rtcp_xr_begin(w, own_ssrc(p));
    rtcp_xr_put_dlrr(w, &d, 1);
    rtcp_end(w, at, RTCP_XR, 0);
    p->dlrr.at_us = 0;
}

/* Tells a publisher without transport-wide feedback what it may send. */
static void put_remb(struct peer *p, struct wr *w)
{
    uint32_t ssrc[RTP_LAYERS_MAX * 4];
    unsigned n = 0;
    uint64_t bps = 0;

    if (p->twcc)
        return;
    for (unsigned i = 0; i < p->owner->n_tracks; i++) {
        const struct producer *t = p->owner->track[i];

        if (t->peer != p || t->kind != RTP_KIND_VIDEO || !(t->codec.fb & RTP_FB_REMB))
            continue;
        for (unsigned l = 0; l < t->n_layers && n < ARRAY_LEN(ssrc); l++)
            if (t->layer[l].ssrc)
                ssrc[n++] = t->layer[l].ssrc;
        bps += p->owner->room->core->conf->video.max_bps;
    }
    if (n)
        rtcp_put_remb(w, own_ssrc(p), bps, ssrc, n);
}

static bool carries_video(const struct peer *p)
{
    if (p->n_video > 0)
        return true;
    for (unsigned i = 0; i < p->owner->n_tracks; i++)
        if (p->owner->track[i]->peer == p && p->owner->track[i]->kind == RTP_KIND_VIDEO)
            return true;
    return false;
}

void rtcp_report_send(struct peer *p, uint64_t now_us)
{
    struct wr w = begin(p);
    uint64_t every = carries_video(p) ? VIDEO_US : AUDIO_US;

    put_sender_reports(p, &w, now_us);
    put_receiver_report(p, &w, now_us);
    rtcp_put_sdes(&w, own_ssrc(p), slice_str(p->cname));
    put_dlrr(p, &w, now_us);
    put_remb(p, &w);
    send(p, &w);
    /* Half to one and a half times the interval (RFC 3550 §6.2): no room reports in step. */
    p->report_us = now_us + every / 2 + rand_below(every);
}

void rtcp_report_feedback(struct peer *p, uint64_t now_us)
{
    uint32_t media = p->n_ssrc ? p->ssrc[0].ssrc : 0;
    size_t n;

    do {
        struct wr w = begin(p);

        n = twcc_recv_feedback(p->twcc, own_ssrc(p), media, &w, now_us);
        if (n == 0)
            break;
        send(p, &w);
        counter_inc(&p->owner->room->core->count.feedback_out);
    } while (n > 0);
}

void peer_send_nack(struct peer *p, struct stream *s, uint64_t now_us)
{
    uint16_t seq[NACK_BATCH];
    struct wr w = begin(p);
    size_t n = nack_gen_take(s->nack, now_us, seq, NACK_BATCH);

    if (n == 0 || s->ssrc == 0)
        return;
    rtcp_put_nack(&w, own_ssrc(p), s->ssrc, seq, n);
    send(p, &w);
    counter_add(&p->owner->room->core->count.nacks_out, n);
}

void peer_send_key_request(struct peer *p, struct stream *s)
{
    struct wr w = begin(p);
    bool pli = s->track->codec.codec == RTP_CODEC_NONE || (s->track->codec.fb & RTP_FB_PLI);

    if (pli) {
        rtcp_put_pli(&w, own_ssrc(p), s->ssrc);
    } else {
        struct rtcp_fir f = {s->ssrc, s->fir_seq++};
        rtcp_put_fir(&w, own_ssrc(p), &f, 1);
    }
    send(p, &w);
    counter_inc(&p->owner->room->core->count.keys_out);
}

void rtcp_report_bye(struct peer *p, uint64_t now_us)
{
    struct wr w = begin(p);
    struct rtcp_report r = {.ssrc = own_ssrc(p)};
    struct rtcp_bye bye = {0};

    (void)now_us;
    for (unsigned i = 0; i < p->n_slots && bye.n < RTCP_COUNT_MAX; i++)
        if (p->slot[i]->pkts > 0)
            bye.ssrc[bye.n++] = p->slot[i]->ssrc;
    if (bye.n == 0)
        bye.ssrc[bye.n++] = own_ssrc(p);
    rtcp_put_rr(&w, &r);
    rtcp_put_bye(&w, &bye);
    send(p, &w);
}

/* Quality of a room's members: loss, jitter and round trip of both directions.
 *
 *   up     what did not come of its streams: voice if it speaks, else video. Retransmissions and
 *          RED copies have filled what they could; in-band FEC is the receivers' to use
 *   down   its receiver reports about its slots, less what was sent again over RTX, and less what
 *          the copies in each packet repair
 *
 * The worse of the two counts, by what it would do to a voice. It is the quality of the
 * participant's own connection: what the others' add is in theirs.
 * Called by room.c. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/quality.h"

#define FRESH_US   (QUALITY_REPEAT * QUALITY_INTERVAL_US)
#define MOS_UNIT   100
#define MOS_CHANGE 0.1f
#define OF_256     256.0
#define NOTHING    200.0f /* beyond every R */
#define BY_FEC     1      /* copies: in-band FEC carries the packet before */

static uint64_t us_of(uint32_t units, uint32_t clock)
{
    return clock ? (uint64_t)units * US_PER_S / clock : 0;
}

/* How the voice of a track is coded; video is judged as if it were one. */
static void take_codec(struct link_path *out, const struct producer *t)
{
    bool g711 = t->codec.codec == RTP_CODEC_PCMU || t->codec.codec == RTP_CODEC_PCMA;

    out->codec = g711 ? EMODEL_G711_PLC : EMODEL_OPUS;
    out->bps = t->codec.codec == RTP_CODEC_OPUS ? t->codec.max_bps : 0;
}

static bool has_fec(const struct producer *t)
{
    const struct sfu_conf *conf = t->room->core->conf;

    return t->codec.codec == RTP_CODEC_OPUS && t->codec.fec && conf->audio.fec &&
           conf->audio.mirror_loss != SFU_MIRROR_OFF;
}

static void keep(struct link_leg *leg, const struct link_path *path, uint64_t now_us)
{
    *leg = (struct link_leg){
        .r = (float)link_quality_r(path),
        .loss = (float)emodel_residual_loss(path->loss, path->burst_ratio, path->copies),
        .burst_ratio = (float)path->burst_ratio,
        .jitter_us = (uint32_t)path->jitter_us,
        .at_us = now_us};
}

/* Adds up what its streams of one kind lost. False: nothing came, nothing was lost. */
static bool gather_up(const struct participant *p, uint8_t kind, struct link_path *out)
{
    uint64_t judged = 0, lost = 0, runs = 0, jitter_us = 0;

    for (unsigned i = 0; i < p->n_tracks; i++) {
        struct producer *t = p->track[i];

        for (unsigned k = 0; t->kind == kind && k < t->n_layers; k++) {
            struct stream *s = &t->layer[k];
            struct link_loss l;

            link_runs_take(&s->runs, &l);
            if (l.judged == 0)
                continue;
            if (kind == RTP_KIND_VIDEO) /* is waited for longer */
                l.lost -= l.late < l.lost ? l.late : l.lost;
            judged += l.judged;
            lost += l.lost;
            runs += l.runs;
            jitter_us += l.judged * us_of(s->rx.jitter16 >> 4, s->clock);
            take_codec(out, t);
            out->copies = has_fec(t) ? BY_FEC : 0;
        }
    }
    if (judged == 0)
        return false;
    out->loss = (double)lost / (double)judged;
    out->burst_ratio = emodel_burst_ratio(judged, lost, runs);
    out->jitter_us = jitter_us / judged;
    return true;
}

static void look_up(struct participant *p, uint64_t now_us)
{
    const struct peer *peer = participant_up(p);
    struct link_path video = {0}, audio = {0};
    bool seen = gather_up(p, RTP_KIND_VIDEO, &video), heard = gather_up(p, RTP_KIND_AUDIO, &audio);

    if (!peer || (!seen && !heard))
        return;
    struct link_path *path = heard ? &audio : &video;
    path->rtt_us = peer->rtt_us;
    keep(&p->up, path, now_us);
}

/* Part of a slot's packets that its receiver did without. */
static double slot_loss(const struct consumer *c, uint64_t sent)
{
    const struct consumer_report *r = &c->report;
    double loss = r->sum / OF_256 / r->n - (double)r->resent / (double)sent;
    unsigned copies = 0;

    loss = (loss > 0 ? loss : 0) + r->discarded / OF_256;
    if (c->kind == RTP_KIND_AUDIO)
        copies = c->red_depth && c->red_pt ? c->red_depth : has_fec(c->source) ? BY_FEC : 0;
    return emodel_residual_loss(loss, 1, copies);
}

static bool gather_down(const struct peer *p, uint8_t kind, struct link_path *out)
{
    double lost = 0, jitter_us = 0, buffer_us = 0, all = 0;

    for (unsigned i = 0; i < p->n_slots; i++) {
        struct consumer *c = p->slot[i];
        uint64_t sent = c->pkts - c->report.pkts;

        if (c->kind != kind || c->report.n == 0)
            continue;
        if (sent > 0 && c->source) {
            lost += (double)sent * slot_loss(c, sent);
            jitter_us += (double)(sent * us_of(c->report.jitter, c->clock));
            buffer_us += (double)(sent * c->report.buffer_us);
            all += (double)sent;
            take_codec(out, c->source);
        }
        c->report.sum = c->report.n = c->report.resent = 0;
        c->report.pkts = c->pkts;
    }
    if (all <= 0)
        return false;
    out->loss = lost / all;
    out->burst_ratio = 1;
    out->jitter_us = (uint64_t)(jitter_us / all);
    out->buffer_us = (uint64_t)(buffer_us / all);
    return true;
}

static void look_down(struct participant *p, uint64_t now_us)
{
    const struct peer *peer = participant_down(p);
    struct link_path video = {0}, audio = {0};

    if (!peer)
        return;
    bool seen = gather_down(peer, RTP_KIND_VIDEO, &video),
         heard = gather_down(peer, RTP_KIND_AUDIO, &audio);
    if (!seen && !heard)
        return;
    struct link_path *path = heard ? &audio : &video;
    path->rtt_us = peer->rtt_us;
    keep(&p->down, path, now_us);
}

/* True: there is something to say of it. */
static bool judge(struct participant *p, uint64_t now_us)
{
    const struct peer *peer = participant_up(p);
    float r = NOTHING;

    look_up(p, now_us);
    look_down(p, now_us);
    if (p->up.at_us && now_us - p->up.at_us < FRESH_US)
        r = p->up.r;
    if (p->down.at_us && now_us - p->down.at_us < FRESH_US && p->down.r < r)
        r = p->down.r;
    if (p->lost_us) {
        r = 0;
    } else if (r == NOTHING) { /* nothing flows: what the path would do */
        if (!peer || peer->rtt_us == 0)
            return false;
        struct link_path idle = {.codec = EMODEL_OPUS, .rtt_us = peer->rtt_us};
        r = (float)link_quality_r(&idle);
    }
    p->r = r;
    p->mos = (float)emodel_mos((double)r);
    return true;
}

static bool worth_telling(struct participant *p, bool other_score, uint64_t now_us)
{
    float d = p->mos - p->mos_told;

    return other_score || d >= MOS_CHANGE || d <= -MOS_CHANGE ||
           now_us - p->told_us >= FRESH_US - QUALITY_INTERVAL_US / 2;
}

void quality_room(struct room *r, uint64_t now_us)
{
    struct ctl_msg *m = NULL;

    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *p = r->member[i];

        if (!judge(p, now_us))
            continue;
        bool other = link_score_update(&p->score, (double)p->r);
        if (!worth_telling(p, other, now_us))
            continue;
        p->mos_told = p->mos;
        p->told_us = now_us;
        if (!m)
            m = core_event(r->core, CTL_QUALITY, r, NULL);
        m->u.quality.v[m->u.quality.n++] = (struct ctl_quality){
            slice_str(p->id), p->score.score, (unsigned)(p->mos * MOS_UNIT + 0.5f)};
        if (m->u.quality.n == CTL_QUALITY_MAX) {
            core_emit(r->core);
            m = NULL;
        }
    }
    if (m)
        core_emit(r->core);
}

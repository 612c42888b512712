/* What an operator may see of rooms. Called by sfu_core.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/core_stats.h"

#include "proto/json.h"
#include "sfu/codec_policy.h"
#include "sfu/room.h"

static const char *state_name(uint8_t state)
{
    static const char *const v[] = {"new",          "checking", "connected",
                                    "disconnected", "failed",   "closed"};

    return v[state];
}

/* The room's id without its server's name. */
static const char *room_name(const struct room *r)
{
    const char *at = strchr(r->id, SFU_ROOM_SEPARATOR);

    return at ? at + 1 : r->id;
}

static void text(struct wr *w, const char *key, const char *value)
{
    wr_fmt(w, "\"%s\":", key);
    json_write_text(w, slice_str(value));
}

static void put_track(struct wr *w, const struct producer *t)
{
    wr_str(w, "{");
    text(w, "track", t->id);
    wr_fmt(w, ",\"kind\":\"%s\",\"source\":\"%s\",\"codec\":\"%s\",\"muted\":%s,\"receivers\":%u,",
           t->kind == RTP_KIND_AUDIO ? "audio" : "video", ctl_source_name(t->source),
           t->codec.codec ? codec_name(t->codec.codec) : "",
           t->muted || t->forced ? "true" : "false", t->n_consumers);
    wr_str(w, "\"layers\":[");
    for (unsigned i = 0; i < t->n_layers; i++) {
        const struct stream *s = &t->layer[i];
        uint64_t bps = 0, expected = rx_stats_expected(&s->rx);

        for (unsigned k = 0; k < RTP_LAYERS_MAX * LAYER_TIDS_MAX; k++)
            bps += s->bps[k / LAYER_TIDS_MAX][k % LAYER_TIDS_MAX];
        wr_fmt(w, "%s{\"ssrc\":%u,\"packets\":%llu,\"bytes\":%llu,\"lost\":%lld,\"jitterUs\":%llu,",
               i ? "," : "", s->ssrc, (unsigned long long)s->rx.packets,
               (unsigned long long)s->rx.bytes, (long long)expected - (long long)s->rx.packets,
               (unsigned long long)(s->clock ? (uint64_t)(s->rx.jitter16 >> 4) * US_PER_S / s->clock
                                             : 0));
        wr_fmt(w, "\"bps\":%llu,\"live\":%s}", (unsigned long long)bps, s->live ? "true" : "false");
    }
    wr_str(w, "]}");
}

static void put_slot(struct wr *w, const struct consumer *c)
{
    wr_str(w, "{");
    text(w, "mid", c->mid);
    wr_str(w, ",");
    text(w, "track", c->source ? c->source->id : "");
    wr_fmt(w,
           ",\"ssrc\":%u,\"packets\":%llu,\"bytes\":%llu,\"lossPercent\":%.1f,\"red\":%u,\"layer\":"
           "%d,\"temporal\":%d,\"paused\":%s}",
           c->ssrc, (unsigned long long)c->pkts, (unsigned long long)c->bytes,
           (double)c->report.loss * 100.0, c->red_depth,
           c->kind == RTP_KIND_VIDEO ? c->alloc.layer : 0,
           c->kind == RTP_KIND_VIDEO ? c->alloc.tid : 0, c->paused ? "true" : "false");
}

static void put_estimate(struct wr *w, const struct peer *p, const struct bwe_stats *b)
{
    wr_fmt(w,
           "\"estimate\":{\"delayBps\":%llu,\"lossBps\":%llu,\"ackedBps\":%llu,\"wantedBps\":%llu,"
           "\"queueMs\":%.1f,",
           (unsigned long long)b->delay_bps, (unsigned long long)b->loss_bps,
           (unsigned long long)b->acked_bps, (unsigned long long)p->chosen.wanted_bps,
           (double)b->queue_us / 1000.0);
    wr_fmt(w,
           "\"byTwcc\":%s,\"feedbacks\":%llu,\"probes\":%llu,\"probesFailed\":%llu,\"overuses\":%"
           "llu},\"slots\":[",
           b->by_twcc ? "true" : "false", (unsigned long long)b->feedbacks,
           (unsigned long long)b->probes, (unsigned long long)b->probes_failed,
           (unsigned long long)b->overuses);
}

static void put_peer(struct wr *w, const struct peer *p)
{
    struct bwe_stats b = {0};
    const struct media_path *path = transport_path(p->transport);
    bool first = true;

    if (p->bwe)
        bwe_stats(p->bwe, &b);
    wr_fmt(w,
           "{\"state\":\"%s\",\"transport\":\"%s\",\"profile\":%u,\"rttMs\":%.1f,\"inBps\":%llu,"
           "\"targetBps\":%llu,\"downLossPercent\":%.1f,",
           state_name(p->state), path && path->tcp ? "tcp" : "udp", transport_profile(p->transport),
           (double)p->rtt_us / 1000.0, (unsigned long long)p->in_bps,
           (unsigned long long)b.target_bps, b.loss * 100.0);
    put_estimate(w, p, &b);
    for (unsigned i = 0; i < p->n_slots; i++) {
        if (!p->slot[i]->source)
            continue;
        if (!first)
            wr_str(w, ",");
        first = false;
        put_slot(w, p->slot[i]);
    }
    wr_str(w, "]}");
}

static void put_leg(struct wr *w, const char *name, const struct link_leg *l)
{
    if (l->at_us)
        wr_fmt(w, "\"%s\":{\"r\":%.1f,\"lossPercent\":%.2f,\"burstRatio\":%.2f,\"jitterMs\":%.1f},",
               name, (double)l->r, (double)l->loss * 100.0, (double)l->burst_ratio,
               (double)l->jitter_us / 1000.0);
}

static void put_participant(struct wr *w, const struct participant *p)
{
    wr_str(w, "{");
    text(w, "participant", p->id);
    wr_fmt(w, ",\"score\":%u,\"mos\":%.2f,", p->score.score, (double)p->mos);
    put_leg(w, "up", &p->up);
    put_leg(w, "down", &p->down);
    wr_str(w, "\"tracks\":[");
    for (unsigned i = 0; i < p->n_tracks; i++) {
        if (i)
            wr_str(w, ",");
        put_track(w, p->track[i]);
    }
    wr_str(w, "],\"peers\":[");
    for (int i = 0; i < PEER_MAX && p->peer[i]; i++) {
        if (i)
            wr_str(w, ",");
        put_peer(w, p->peer[i]);
    }
    wr_str(w, "]}");
}

static void put_room(struct wr *w, const struct room *r)
{
    wr_str(w, "{");
    text(w, "room", room_name(r));
    wr_str(w, ",");
    text(w, "dominant", r->dominant ? r->dominant->peer->owner->id : "");
    wr_str(w, ",\"participants\":[");
    for (unsigned i = 0; i < r->n_members; i++) {
        if (i)
            wr_str(w, ",");
        put_participant(w, r->member[i]);
    }
    wr_str(w, "]}");
}

void core_stats(struct sfu_core *c, const struct room *r, struct ctl_msg *reply)
{
    struct wr w = wr_init(c->answer, sizeof(c->answer));
    size_t pos = 0;
    struct hnode *saved = NULL, *n;
    bool first = true;

    if (r) {
        put_room(&w, r);
    } else {
        wr_str(&w, "{\"rooms\":[");
        while ((n = htable_walk(&c->rooms, &pos, &saved))) {
            const struct room *o = CONTAINER_OF(n, struct room, node);

            if (w.cap - w.len < 4 * CTL_ROOM_MAX)
                break; /* more than one message holds */
            wr_str(&w, first ? "{" : ",{");
            first = false;
            text(&w, "room", room_name(o));
            wr_fmt(&w, ",\"participants\":%u,\"tracks\":%u}", o->n_members, o->n_tracks);
        }
        wr_str(&w, "]}");
    }
    reply->u.stats.raw = w.bad ? SLICE_LIT("{}") : wr_done(&w);
}

/* Which layers a slot sends: what its source offers, what was chosen, who is told.
 *
 * Called by peer.c around layer_alloc.c's choice. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/consumer_priv.h"

#define REPLAY_US    (1000 * US_PER_MS)
#define REPLAY_MS    250 /* of the path's rate: more is not replayed, a new key frame is shorter */
#define REPLAY_BYTES 65536 /* the same where no rate is known */
#define REPLAY_PKTS  128

/* Bytes from one number to another that are stored. */
static size_t stored_bytes(struct packet_store *store, uint64_t from, uint64_t to)
{
    size_t bytes = 0;

    for (uint64_t seq = from; seq <= to; seq++) {
        const struct media_packet *m = packet_store_find(store, seq);
        bytes += m ? m->len : 0;
    }
    return bytes;
}

/* What a path can be given beside what flows, without a queue that looks like congestion. */
static size_t replay_room(const struct peer *p)
{
    return p->bwe ? (size_t)(bwe_target_bps(p->bwe) * REPLAY_MS / 8 / 1000) : REPLAY_BYTES;
}

/* A joiner, or a layer that is switched to, can begin with the last key frame while it and what
 * followed are still stored: nobody has to make a new one. Not while packets wait to be fanned out:
 * they would be sent twice. */
static bool replay(struct consumer *c, unsigned layer, uint64_t now_us)
{
    struct stream *s = &c->source->layer[layer];
    uint64_t newest;

    if (layer >= c->source->n_layers || !s->store || s->key_us == 0 ||
        now_us - s->key_us > REPLAY_US || c->source->n_news > 0 ||
        !packet_store_newest(s->store, &newest) || newest - s->key_seq > REPLAY_PKTS ||
        !packet_store_find(s->store, s->key_seq) ||
        stored_bytes(s->store, s->key_seq, newest) > replay_room(c->peer))
        return false;
    for (uint64_t seq = s->key_seq; seq <= newest; seq++) {
        const struct media_packet *m = packet_store_find(s->store, seq);

        if (m)
            consumer_video_one(c, m, layer, now_us);
    }
    unsigned want;
    if (video_forward_wants_key(c->video, &want))
        return false;
    counter_inc(&c->peer->owner->room->core->count.replays);
    return true;
}

/* Spatial layers inside the one stream of a track; 0: one, or none is known. */
static unsigned spatial_layers(const struct producer *t)
{
    unsigned sid = 0, tid = 0;

    if (t->layer[0].video)
        video_source_layers(t->layer[0].video, &sid, &tid);
    return sid == 0 ? 0 : sid < RTP_LAYERS_MAX ? sid + 1 : RTP_LAYERS_MAX;
}

/* The rates of layer l, a stream of its own or a spatial layer with all below it. */
static void offer_layer(struct layer_slot *a, const struct producer *t, unsigned l, bool spatial)
{
    /* What a layer that has just begun may take, until it is measured. */
    static const uint32_t guess[RTP_LAYERS_MAX] = {150000, 500000, 1500000};
    const struct stream *s = &t->layer[spatial ? 0 : l];
    uint32_t sum = 0;

    for (unsigned tid = 0; s->live && tid < LAYER_TIDS_MAX; tid++) {
        for (unsigned sid = 0; sid <= (spatial ? l : RTP_LAYERS_MAX - 1); sid++)
            sum += s->bps[sid][tid];
        a->bps[l][tid] = sum;
    }
    for (unsigned tid = 0; s->live && sum == 0 && tid < LAYER_TIDS_MAX; tid++)
        a->bps[l][tid] = guess[t->n_layers == 1 && !spatial ? 1 : l];
}

void consumer_offer_layers(struct consumer *c, uint64_t now_us)
{
    struct producer *t = c->source;
    struct layer_slot *a = &c->alloc;
    int max_layer = c->wish_layer == CTL_LAYER_AUTO ? RTP_LAYERS_MAX - 1 : c->wish_layer;

    memset(a->bps, 0, sizeof(a->bps));
    a->max_layer = (int8_t)(c->paused || !c->enabled || !producer_open(t) ? -1 : max_layer);
    a->max_tid = c->wish_tid == CTL_LAYER_AUTO ? LAYER_TIDS_MAX - 1 : c->wish_tid;
    a->priority = c->priority;
    if (consumer_is_dominant(t) && a->priority < CTL_PRIORITY_MAX)
        a->priority++;
    a->screen = t->source == CTL_SOURCE_SCREEN;
    c->spatial = (uint8_t)(t->n_layers == 1 ? spatial_layers(t) : 0);
    for (unsigned l = 0; l < t->n_layers; l++)
        stream_measure(&t->layer[l], now_us);
    for (unsigned l = 0; l < (c->spatial ? c->spatial : t->n_layers); l++)
        offer_layer(a, t, l, c->spatial != 0);
}

enum ctl_pause consumer_pause(const struct consumer *c)
{
    if (c->paused)
        return CTL_PAUSE_SUBSCRIBER;
    if (!producer_open(c->source))
        return CTL_PAUSE_SOURCE;
    return c->alloc.starved ? CTL_PAUSE_BANDWIDTH : CTL_PAUSE_NONE;
}

static void tell_layers(struct consumer *c)
{
    enum ctl_pause why = consumer_pause(c);

    if (c->alloc.layer == c->told_layer && c->alloc.tid == c->told_tid && why == c->told_pause)
        return;
    if (c->alloc.layer != c->told_layer)
        counter_inc(&c->peer->owner->room->core->count.layer_switches);
    c->told_layer = c->alloc.layer;
    c->told_tid = c->alloc.tid;
    c->told_pause = (uint8_t)why;
    struct sfu_core *core = c->peer->owner->room->core;
    struct ctl_msg *m = core_event(core, CTL_LAYERS, c->peer->owner->room, c->peer->owner);
    m->u.layers.mid = slice_str(c->mid);
    m->u.layers.layer = c->alloc.layer;
    m->u.layers.temporal = c->alloc.tid;
    m->u.layers.pause = why;
    core_emit(core);
}

void consumer_take_layers(struct consumer *c, uint64_t now_us)
{
    const struct layer_slot *a = &c->alloc;
    unsigned want;

    if (!c->video || !c->source)
        return;
    video_forward_target(c->video, c->spatial && a->layer >= 0 ? 0 : a->layer,
                         c->spatial && a->layer >= 0 ? (unsigned)a->layer : VIDEO_SID_MAX,
                         a->tid < 0 ? LAYER_TIDS_MAX - 1 : (unsigned)a->tid);
    if (a->layer >= 0 && transport_can_send(c->peer->transport) &&
        video_forward_wants_key(c->video, &want) && !replay(c, want, now_us))
        producer_want_key(c->source, want, now_us);
    tell_layers(c);
}

unsigned consumer_wants(const struct consumer *c)
{
    if (c->paused || !c->enabled || consumer_is_audio(c))
        return 0;
    unsigned top = c->wish_layer == CTL_LAYER_AUTO ? RTP_LAYERS_MAX - 1 : (unsigned)c->wish_layer;
    return (1u << (top + 1)) - 1;
}

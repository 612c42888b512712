/* One published track: packets are parsed once, kept once, and told to fanout.c.
 *
 *   peer_rtp.c ─► producer_packet ─► packet_store (media_packet) ─► room_heard (audio)
 *                     │                                          └► fanout_add
 *                     └ RED: the primary is what is kept; copies fill what was lost
 *
 * Called by peer_rtp.c, participant.c, consumer.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/producer.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/red.h"
#include "sfu/consumer.h"
#include "sfu/fanout.h"
#include "sfu/room.h"

#define LIVE_US           (1500 * US_PER_MS) /* a layer without packets for so long has stopped */
#define MEASURE_US        (500 * US_PER_MS)
#define MEASURE_MAX_US    (4 * US_PER_S)
#define BAD_RED_MAX       2 /* unreadable in a row: it is no RED that we can open */
#define CONSUMERS_STEP    8
#define VIDEO_STORE_MIN   16384
#define VIDEO_PACKET_MEAN 1024 /* bytes; where packets are shorter, their number is what limits */

/* ---- life ---- */

static void stream_fini(struct stream *s)
{
    packet_store_free(s->store);
    nack_gen_free(s->nack);
    if (s->video) {
        video_source_fini(s->video);
        mem_free(s->video);
    }
    *s = (struct stream){0};
}

size_t producer_store_bytes(const struct producer *t, unsigned layer)
{
    unsigned below = layer + 1u < t->n_layers ? t->n_layers - 1u - layer : 0;
    size_t bytes = (size_t)t->room->core->conf->video.history_bytes >> below;

    return bytes < VIDEO_STORE_MIN ? VIDEO_STORE_MIN : bytes;
}

static struct packet_store *video_store(const struct stream *s)
{
    size_t bytes = producer_store_bytes(s->track, s->layer);

    return packet_store_new((unsigned)(bytes / VIDEO_PACKET_MEAN), bytes);
}

/* Memory of one stream, when it is first needed. */
static int stream_ready(struct stream *s, const struct neg_codec *codec)
{
    struct producer *t = s->track;
    const struct sfu_conf *conf = t->room->core->conf;
    bool audio = t->kind == RTP_KIND_AUDIO;

    if (!s->store)
        s->store = audio ? packet_store_new(PACKET_STORE_AUDIO_PKTS, PACKET_STORE_AUDIO_BYTES)
                         : video_store(s);
    if (!s->nack && codec && (codec->fb & RTP_FB_NACK) && (!audio || conf->audio.nack))
        s->nack = nack_gen_new(audio ? &nack_conf_audio : &nack_conf_video);
    if (!audio && !s->video) {
        s->video = mem_zalloc(sizeof(*s->video));
        if (s->video)
            video_source_init(s->video, codec ? codec->codec : RTP_CODEC_NONE, t->opaque);
    }
    s->clock = codec && codec->clock ? codec->clock : s->clock;
    s->key.min_us = conf->video.key_interval_ms * US_PER_MS;
    return s->store && (audio || s->video) ? 0 : -ENOMEM;
}

void stream_restart(struct stream *s)
{
    struct producer *t = s->track;

    fanout_flush(t->room->core);
    if (s->store)
        packet_store_reset(s->store);
    if (s->nack)
        nack_gen_reset(s->nack);
    s->rx = (struct rx_stats){0};
    s->runs = (struct link_runs){0};
    s->gaps = (struct unpadded){0};
    s->sr_at_us = s->key_us = 0;
    if (s->video) {
        video_source_fini(s->video);
        video_source_init(s->video, t->codec.codec, t->opaque);
    }
    for (unsigned i = 0; i < t->n_consumers; i++)
        consumer_restart(t->consumer[i]);
}

struct producer *producer_new(struct peer *p, const struct neg_section *s)
{
    struct producer *t = mem_zalloc(sizeof(*t));

    if (!t)
        return NULL;
    t->peer = p;
    t->room = p->owner->room;
    t->kind = s->kind;
    t->allowed = true;
    t->wanted = (1u << RTP_LAYERS_MAX) - 1;
    t->first_news = t->last_news = CORE_NEWS_MAX;
    snprintf(t->mid, sizeof(t->mid), "%s", s->mid);
    snprintf(t->id, sizeof(t->id), "%s:%s", p->owner->id, s->mid);
    for (unsigned i = 0; i < RTP_LAYERS_MAX; i++)
        t->layer[i] = (struct stream){
            .track = t, .layer = (uint8_t)i, .clock = t->kind == RTP_KIND_AUDIO ? 48000 : 90000};
    if (producer_describe(t, s) != 0 || room_add_track(t->room, t) != 0) {
        for (unsigned i = 0; i < RTP_LAYERS_MAX; i++)
            stream_fini(&t->layer[i]);
        mem_free(t);
        return NULL;
    }
    counter_inc(&t->room->core->count.tracks);
    return t;
}

void producer_free(struct producer *t, uint64_t now_us)
{
    struct sfu_core *core = t->room->core;

    fanout_forget(core, t);
    while (t->n_consumers > 0)
        consumer_set_source(t->consumer[t->n_consumers - 1], NULL, now_us);
    room_remove_track(t->room, t, now_us);
    for (unsigned i = 0; i < RTP_LAYERS_MAX; i++)
        stream_fini(&t->layer[i]);
    counter_sub(&core->count.tracks, 1);
    mem_free(t->consumer);
    mem_free(t);
}

int producer_describe(struct producer *t, const struct neg_section *s)
{
    int e = 0;

    t->n_layers = s->n_layers ? s->n_layers : 1;
    for (unsigned i = 0; i < t->n_layers && !e; i++) {
        struct stream *st = &t->layer[i];
        const struct neg_layer *l = &s->layer[i];

        if (l->ssrc && st->ssrc && l->ssrc != st->ssrc)
            stream_restart(st);
        if (l->ssrc)
            st->ssrc = l->ssrc;
        if (l->rtx_ssrc)
            st->rtx_ssrc = l->rtx_ssrc;
        e = stream_ready(st, s->n_codecs ? &s->codec[0] : NULL);
    }
    return e;
}

bool producer_open(const struct producer *t)
{
    return t->allowed && !t->forced;
}

static bool flows(const struct producer *t)
{
    return producer_open(t) && !t->muted;
}

void producer_mute(struct producer *t, bool muted, bool forced, uint64_t now_us)
{
    bool did = flows(t);

    t->muted = muted;
    t->forced = forced;
    if (!did || flows(t))
        return;
    fanout_flush(t->room->core); /* said before */
    for (unsigned i = 0; i < t->n_consumers; i++)
        consumer_silence(t->consumer[i], now_us);
    for (unsigned i = 0; i < t->n_layers; i++)
        stream_restart(&t->layer[i]);
}

/* ---- receivers ---- */

int producer_attach(struct producer *t, struct consumer *c)
{
    if (t->n_consumers == t->cap_consumers) {
        unsigned cap = t->cap_consumers + CONSUMERS_STEP;
        struct consumer **v = mem_realloc(t->consumer, cap * sizeof(*v));

        if (!v)
            return -ENOMEM;
        t->consumer = v;
        t->cap_consumers = cap;
    }
    t->consumer[t->n_consumers++] = c;
    return 0;
}

void producer_detach(struct producer *t, struct consumer *c)
{
    for (unsigned i = 0; i < t->n_consumers; i++) {
        if (t->consumer[i] == c) {
            t->consumer[i] = t->consumer[--t->n_consumers];
            return;
        }
    }
}

void producer_wanted(struct producer *t, uint64_t now_us)
{
    unsigned wanted = 0;

    if (t->kind != RTP_KIND_VIDEO)
        return;
    for (unsigned i = 0; i < t->n_consumers; i++)
        wanted |= consumer_wants(t->consumer[i]);
    wanted &= (1u << t->n_layers) - 1;
    if (wanted == t->wanted)
        return;
    t->wanted = (uint8_t)wanted;
    struct ctl_msg *m = core_event(t->room->core, CTL_LAYERS, t->room, t->peer->owner);
    m->u.layers.track = slice_str(t->id);
    m->u.layers.wanted = wanted;
    m->u.layers.layer = m->u.layers.temporal = -1;
    core_emit(t->room->core);
    (void)now_us;
}

/* ---- packets ---- */

static struct media_part part_of(const struct stream_packet *in, enum rtp_ext ext)
{
    struct slice s = in->exts->v[ext];

    if (s.len == 0 || s.len > UINT8_MAX)
        return (struct media_part){0};
    return (struct media_part){(uint16_t)(s.p - in->p), (uint8_t)s.len};
}

static void note_extensions(struct media_packet *m, const struct stream_packet *in)
{
    m->capture_time = part_of(in, RTP_EXT_ABS_CAPTURE_TIME);
    m->playout_delay = part_of(in, RTP_EXT_PLAYOUT_DELAY);
    m->orientation = part_of(in, RTP_EXT_VIDEO_ORIENTATION);
    m->dependency = part_of(in, RTP_EXT_DEPENDENCY);
    m->level = SPEAKER_LEVEL_UNKNOWN;
    m->voice = false;
    if (in->exts->v[RTP_EXT_AUDIO_LEVEL].p)
        rtp_ext_audio_level(in->exts->v[RTP_EXT_AUDIO_LEVEL], &m->level, &m->voice);
}

void stream_measure(struct stream *s, uint64_t now_us)
{
    uint64_t passed = now_us - s->measured_us;

    s->live = s->last_us != 0 && now_us - s->last_us < LIVE_US;
    if (passed < MEASURE_US)
        return;
    for (unsigned sid = 0; sid < RTP_LAYERS_MAX; sid++) {
        for (unsigned tid = 0; tid < LAYER_TIDS_MAX; tid++) {
            uint32_t *was = &s->bps[sid][tid], *bytes = &s->bytes[sid][tid];
            uint64_t bps = passed > MEASURE_MAX_US ? 0 : (uint64_t)*bytes * 8 * US_PER_S / passed;

            /* Half of the new value: frames of different size come and go. */
            *was = *was == 0 ? (uint32_t)bps : (uint32_t)((*was + bps) / 2);
            *bytes = 0;
        }
    }
    s->measured_us = now_us;
}

static void note_codec(struct producer *t, const struct neg_codec *codec, uint64_t now_us)
{
    if (t->codec.codec == codec->codec && t->codec.pt == codec->pt)
        return;
    bool other = t->codec.codec != codec->codec;
    t->codec = *codec;
    for (unsigned i = 0; i < t->n_layers; i++) {
        struct stream *s = &t->layer[i];

        s->clock = codec->clock ? codec->clock : s->clock;
        if (other && s->video) {
            video_source_fini(s->video);
            video_source_init(s->video, codec->codec, t->opaque);
        }
    }
    for (unsigned i = 0; i < t->n_consumers; i++)
        consumer_codec(t->consumer[i], now_us);
}

static bool comes_as_key(const struct media_packet *m)
{
    return (m->video.facts & (VIDEO_KEY | VIDEO_START)) == (VIDEO_KEY | VIDEO_START);
}

static void video_arrived(struct stream *s, struct media_packet *m, uint64_t now_us)
{
    unsigned sid, tid;

    video_describe(s->video, m);
    m->video.layer = s->layer;
    tid = m->video.tid < LAYER_TIDS_MAX ? m->video.tid : LAYER_TIDS_MAX - 1;
    sid = m->video.sid < RTP_LAYERS_MAX ? m->video.sid : RTP_LAYERS_MAX - 1;
    s->bytes[sid][tid] += m->len + BWE_OVERHEAD_V4;
    if (comes_as_key(m)) {
        keyframe_req_got(&s->key, now_us);
        s->key_seq = m->seq;
        s->key_us = now_us;
        if (s->nack)
            nack_gen_clear(s->nack, m->seq);
    }
}

static void audio_arrived(struct stream *s, struct media_packet *m, uint64_t now_us)
{
    struct producer *t = s->track;
    bool loud, silent = !speaker_active(&t->speaker, now_us);

    s->bytes[0][0] += m->len + BWE_OVERHEAD_V4;
    s->live = true;
    loud = speaker_hear(&t->speaker, m->level, m->voice,
                        (uint8_t)t->room->core->conf->audio.active_level, now_us);
    room_heard(t->room, t, loud, loud && silent, now_us);
}

/* Puts one packet into the store; NULL when it is there already. */
static struct media_packet *keep(struct stream *s, const struct stream_packet *in, uint32_t ts,
                                 bool marker, uint8_t pt, struct slice payload, uint64_t now_us)
{
    struct media_packet *m = packet_store_commit(s->store, unpadded_seq(&s->gaps, in->index),
                                                 (size_t)(payload.p + payload.len - in->p));

    if (!m) {
        core_drop(s->track->room->core, CORE_DROP_DUPLICATE);
        return NULL;
    }
    m->arrival_us = now_us;
    m->payload_at = (uint16_t)(payload.p - in->p);
    m->ts = ts;
    m->marker = marker;
    m->pt = pt;
    note_extensions(m, in);
    return m;
}

/* A copy of a lost packet that a later one brought: kept as if it had come. */
static void recover(struct stream *s, uint64_t seq, uint32_t ts, const struct red_block *b,
                    uint64_t now_us)
{
    uint8_t *p = packet_store_reserve(s->store, b->data.len + RTP_HEADER_BYTES);

    if (!p || b->data.len == 0)
        return;
    memset(p, 0, RTP_HEADER_BYTES);
    memcpy(p + RTP_HEADER_BYTES, b->data.p, b->data.len);
    struct media_packet *m = packet_store_commit(s->store, seq, b->data.len + RTP_HEADER_BYTES);
    if (!m)
        return;
    m->arrival_us = now_us;
    m->payload_at = RTP_HEADER_BYTES;
    m->ts = ts;
    m->pt = b->pt;
    m->level = SPEAKER_LEVEL_UNKNOWN;
    uint64_t index = unpadded_index(&s->gaps, seq);
    rx_stats_repaired(&s->rx, index, m->len);
    link_runs_packet(&s->runs, index);
    if (s->nack)
        nack_gen_recv(s->nack, index, now_us);
    counter_inc(&s->track->room->core->count.repaired_red);
    fanout_add(s->track->room->core, s->track, m, 0);
}

/* Older packets that the RED blocks of m bring and that never came. The blocks' bytes are m's own:
 * they are copied first, since room for another packet may be where m's neighbours are. */
static void recover_all(struct stream *s, const struct media_packet *m,
                        const struct red_block *block, int n, uint64_t now_us)
{
    uint32_t step = n > 1 ? block[n - 2].ts_offset : 0; /* the youngest copy is one packet older */

    for (int i = 0; step != 0 && i < n - 1; i++) {
        uint32_t back = block[i].ts_offset / step;
        if (back == 0 || back * step != block[i].ts_offset || m->seq <= back ||
            unpadded_index(&s->gaps, m->seq - back) <= s->rx.first ||
            packet_store_find(s->store, m->seq - back))
            continue;
        uint8_t copy[RED_LEN_MAX];
        struct red_block b = block[i];
        if (b.data.len > sizeof(copy))
            continue;
        memcpy(copy, b.data.p, b.data.len);
        b.data = slice_of(copy, b.data.len);
        recover(s, m->seq - back, m->ts - block[i].ts_offset, &b, now_us);
    }
}

static void count_arrival(struct stream *s, const struct stream_packet *in, uint64_t now_us)
{
    if (in->repaired)
        rx_stats_repaired(&s->rx, in->index, in->len);
    else
        rx_stats_packet(&s->rx, in->index, in->header->ts, in->len, s->clock, now_us);
    link_runs_packet(&s->runs, in->index);
    s->last_us = now_us;
    if (!s->nack)
        return;
    if (nack_gen_recv(s->nack, in->index, now_us) == NACK_SEEN_RECOVERED)
        counter_inc(&s->track->room->core->count.repaired_rtx);
    uint64_t due = nack_gen_deadline(s->nack);
    if (due != CLOCK_NEVER)
        peer_arm(s->track->peer, due);
}

static void red_packet(struct stream *s, const struct stream_packet *in, uint64_t now_us)
{
    struct producer *t = s->track;
    struct red_block block[RED_BLOCKS_MAX];
    const struct neg_codec *inner = NULL;
    struct slice payload =
        slice_of(in->p + in->header->header_len, in->len - in->header->header_len);
    int n = red_decode(block, payload);
    const struct neg_section *sec = negotiate_by_mid(t->peer->neg, slice_str(t->mid));

    if (n < 1 || !sec || neg_section_pt(sec, block[n - 1].pt, &inner) != NEG_PT_MEDIA ||
        inner->codec == RTP_CODEC_NONE) {
        /* Frames that are encrypted end to end: what is inside is the receivers' business. */
        t->opaque = ++t->bad_red >= BAD_RED_MAX;
        core_drop(t->room->core, CORE_DROP_RED_BAD);
        return;
    }
    t->bad_red = 0;
    struct media_packet *m =
        keep(s, in, in->header->ts, in->header->marker, block[n - 1].pt, block[n - 1].data, now_us);
    if (!m)
        return;
    note_codec(t, inner, now_us);
    audio_arrived(s, m, now_us);
    struct media_packet held = *m; /* recovering may move the ring on */
    recover_all(s, &held, block, n, now_us);
    m = packet_store_find(s->store, held.seq);
    if (m && m->len)
        fanout_add(t->room->core, t, m, 0);
}

void producer_packet(struct stream *s, const struct stream_packet *in, uint64_t now_us)
{
    struct producer *t = s->track;
    size_t at = in->header->header_len;

    count_arrival(s, in, now_us);
    if (!flows(t)) { /* not even kept: redundancy and stored key frames would tell it later */
        core_drop(t->room->core, CORE_DROP_NOT_ALLOWED);
        return;
    }
    if (in->role == NEG_PT_RED && !t->opaque) {
        red_packet(s, in, now_us);
        return;
    }
    note_codec(t, in->codec, now_us);
    if (t->kind == RTP_KIND_VIDEO && !s->live) { /* receivers choose it before it is stored */
        s->live = true;
        room_layers_changed(t, now_us);
    }
    struct media_packet *m = keep(s, in, in->header->ts, in->header->marker, in->header->pt,
                                  slice_of(in->p + at, in->len - at), now_us);
    if (!m)
        return;
    if (t->kind == RTP_KIND_AUDIO)
        audio_arrived(s, m, now_us);
    else
        video_arrived(s, m, now_us);
    fanout_add(t->room->core, t, m, s->layer);
}

void producer_padding(struct stream *s, uint64_t index, uint64_t now_us)
{
    /* What came before a later packet does so with a gap: that is numbered already. */
    if (s->track->kind == RTP_KIND_AUDIO && s->rx.packets > 0 && index > s->rx.highest)
        unpadded_note(&s->gaps, index);
    rx_stats_repaired(&s->rx, index, 0);
    link_runs_packet(&s->runs, index);
    if (s->nack)
        nack_gen_recv(s->nack, index, now_us);
}

/* ---- what is due ---- */

unsigned producer_live_layers(const struct producer *t, uint64_t now_us)
{
    unsigned v = 0;

    for (unsigned i = 0; i < t->n_layers; i++)
        if (t->layer[i].last_us && now_us - t->layer[i].last_us < LIVE_US)
            v |= 1u << i;
    return v;
}

void producer_want_key(struct producer *t, unsigned layer, uint64_t now_us)
{
    if (layer >= t->n_layers || t->kind != RTP_KIND_VIDEO)
        return;
    struct stream *s = &t->layer[layer];
    if (s->ssrc && keyframe_req_ask(&s->key, now_us))
        peer_send_key_request(t->peer, s);
    uint64_t due = keyframe_req_deadline(&s->key);
    if (due != CLOCK_NEVER)
        peer_arm(t->peer, due);
}

uint64_t producer_deadline(const struct producer *t)
{
    uint64_t due = CLOCK_NEVER, d;

    for (unsigned i = 0; i < t->n_layers; i++) {
        const struct stream *s = &t->layer[i];

        d = s->nack ? nack_gen_deadline(s->nack) : CLOCK_NEVER;
        due = d < due ? d : due;
        d = keyframe_req_deadline(&s->key);
        due = d < due ? d : due;
        d = t->kind == RTP_KIND_VIDEO && s->live ? s->last_us + LIVE_US : CLOCK_NEVER;
        due = d < due ? d : due;
    }
    return due;
}

void producer_tick(struct producer *t, uint64_t now_us)
{
    for (unsigned i = 0; i < t->n_layers; i++) {
        struct stream *s = &t->layer[i];

        if (s->nack && nack_gen_deadline(s->nack) <= now_us)
            peer_send_nack(t->peer, s, now_us);
        if (keyframe_req_deadline(&s->key) <= now_us && keyframe_req_tick(&s->key, now_us))
            peer_send_key_request(t->peer, s);
        if (t->kind == RTP_KIND_VIDEO && s->live && now_us - s->last_us >= LIVE_US) {
            s->live = false;
            room_layers_changed(t, now_us);
        }
    }
}

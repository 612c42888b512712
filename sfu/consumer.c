/* One slot: from a stored packet to an encrypted one.
 *
 *   consumer_packet ─► audio: audio_forward (numbers) ─► emit_audio ─┐
 *                  └─► video: video_forward (choice, numbers) ─► pacer ─► emit_video ─► transport
 *   consumer_nack ─► sent ring ─► packet_store ─► RTX, or the same bytes once more
 *
 * What was sent is remembered by number in a ring of small entries (struct sent); payloads stay in
 * the source's packet_store. With AES-GCM the same SSRC and number must never be encrypted twice
 * with other bytes: a retransmission goes by RTX, whose numbers are its own, or, where the receiver
 * knows no RTX, repeats header, extensions and payload exactly.
 * What goes again is in consumer_repair.c, which layers go in consumer_layers.c.
 * Called by fanout.c, peer_rtcp.c, room_slots.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/consumer_priv.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/rand.h"
#include "proto/red.h"

#define RTX_OSN_BYTES  2
#define RED_COPIES_MAX 2
#define SILENCE_PKTS   2 /* so that one may be lost */
#define AUDIO_STEP_MS  20
#define OVERTAKEN_MAX  32

/* ---- numbers ---- */

/* Nothing that was sent until now can be sent again. */
static void forget_sent(struct consumer *c)
{
    c->run++;
    for (unsigned i = 0; c->run == 0 && c->sent && i <= c->sent_mask; i++)
        c->sent[i].src_seq = UINT64_MAX; /* once round: old entries must not look like new ones */
}

/* The entry of a number that is to be sent for the first time; NULL when it has been sent, or is so
 * old that it may have been, or older than the receiver's keys. Entries only ever rise: that is
 * what keeps a nonce from being used twice, whatever source, batch or receiver's request leads
 * here. */
static struct sent *take_number(struct consumer *c, uint64_t seq)
{
    struct sent *e = &c->sent[seq & c->sent_mask];

    return seq > e->seq && seq >= c->epoch ? e : NULL;
}

/* ---- life ---- */

struct consumer *consumer_new(struct peer *p, unsigned section, const struct neg_section *s)
{
    struct consumer *c = mem_zalloc(sizeof(*c));
    uint32_t r[2];

    if (!c)
        return NULL;
    rand_bytes(r, sizeof(r));
    c->peer = p;
    c->section = section;
    c->kind = s->kind;
    c->wish_layer = c->wish_tid = CTL_LAYER_AUTO;
    c->told_layer = c->told_tid = -1;
    c->rtx_seq = r[1] & 0x7FFF;
    snprintf(c->mid, sizeof(c->mid), "%s", s->mid);
    if (consumer_is_audio(c)) {
        audio_forward_init(&c->audio, (uint16_t)r[0], r[1]);
    } else {
        c->alloc.layer = c->alloc.tid = -1;
    }
    consumer_describe(c, s, 0);
    counter_inc(&p->owner->room->core->count.consumers);
    return c;
}

void consumer_free(struct consumer *c, uint64_t now_us)
{
    if (!c)
        return;
    consumer_set_source(c, NULL, now_us);
    if (c->peer->pacer)
        pacer_forget(c->peer->pacer, c);
    counter_sub(&c->peer->owner->room->core->count.consumers, 1);
    if (!consumer_is_audio(c))
        mem_free(c->video);
    mem_free(c->sent);
    mem_free(c);
}

bool consumer_can(const struct consumer *c, const struct producer *t)
{
    const struct neg_section *s = negotiate_section(c->peer->neg, c->section);

    if (!s || !s->send || t->kind != c->kind)
        return false;
    /* The codec is known with the first packet; until then what its section says first. */
    return t->codec.codec == RTP_CODEC_NONE || negotiate_map(s, &t->codec).verdict == NEG_MAP_OK;
}

/* Payload types and extension ids for the present source's codec. */
static void map_codec(struct consumer *c)
{
    const struct neg_section *s = negotiate_section(c->peer->neg, c->section);
    struct neg_map m = {.verdict = NEG_MAP_NO_CODEC};

    if (s && s->send && c->source && c->source->codec.codec != RTP_CODEC_NONE)
        m = negotiate_map(s, &c->source->codec);
    c->enabled = m.verdict == NEG_MAP_OK;
    if (!c->enabled)
        return;
    if (c->pt != m.codec->pt || c->red_pt != m.codec->red_pt)
        forget_sent(c); /* it can't be repeated byte for byte */
    c->pt = m.codec->pt;
    c->rtx_pt = m.codec->rtx_pt;
    c->red_pt = m.codec->red_pt;
    c->clock = m.codec->clock;
    c->nack = m.codec->fb & RTP_FB_NACK;
    c->twcc_on = (m.codec->fb & RTP_FB_TWCC) && c->ext[RTP_EXT_TWCC] != 0;
}

void consumer_restart(struct consumer *c)
{
    forget_sent(c);
    if (consumer_is_audio(c))
        audio_forward_stop(&c->audio);
    else if (c->video)
        video_forward_source(c->video);
}

/* The next number's part that a receiver who begins now does not know. */
static uint64_t epoch_after(uint64_t seq)
{
    return (seq + 1) & ~(uint64_t)UINT16_MAX;
}

void consumer_rekeyed(struct consumer *c)
{
    forget_sent(c);
    c->epoch = epoch_after(consumer_is_audio(c) ? c->audio.seq : c->newest);
    c->rtx_epoch = epoch_after(c->rtx_seq);
}

void consumer_codec(struct consumer *c, uint64_t now_us)
{
    map_codec(c);
    if (!consumer_is_audio(c))
        peer_realloc(c->peer, now_us);
}

void consumer_describe(struct consumer *c, const struct neg_section *s, uint64_t now_us)
{
    (void)now_us;
    memcpy(c->ext, s->ext, sizeof(c->ext));
    c->ssrc = s->ssrc;
    c->rtx_ssrc = s->rtx_ssrc;
    /* Bytes that go out again must be the same: other ids or types make the past unrepeatable. */
    if (s->changed & (NEG_CHANGED_CODECS | NEG_CHANGED_EXTS))
        forget_sent(c);
    map_codec(c);
}

static bool make_ready(struct consumer *c)
{
    unsigned n = consumer_is_audio(c) ? SENT_AUDIO : SENT_VIDEO;
    uint32_t r[2];

    if (!c->sent) {
        c->sent = mem_calloc(n, sizeof(*c->sent));
        c->sent_mask = n - 1;
    }
    if (!consumer_is_audio(c) && !c->video) {
        c->video = mem_zalloc(sizeof(*c->video));
        rand_bytes(r, sizeof(r));
        if (c->video)
            video_forward_init(c->video, (uint16_t)(1 + (r[0] & 0x3FFF)), r[1]);
    }
    return c->sent && (consumer_is_audio(c) || c->video);
}

void consumer_set_source(struct consumer *c, struct producer *t, uint64_t now_us)
{
    struct producer *old = c->source;
    struct sfu_core *core = c->peer->owner->room->core;

    if (old == t)
        return;
    if (old) {
        if (consumer_is_audio(c))
            consumer_silence(c, now_us);
        producer_detach(old, c);
        c->source = NULL;
        if (!consumer_is_audio(c)) {
            if (c->peer->pacer)
                pacer_forget(c->peer->pacer, c);
            c->peer->n_video--;
        }
    }
    forget_sent(c);
    c->dirty = true;
    c->peer->owner->slots_dirty = true;
    c->started_us = now_us;
    c->told_pause = CTL_PAUSE_NONE;
    c->told_layer = c->told_tid = -1;
    if (consumer_is_audio(c)) {
        audio_forward_stop(&c->audio);
    } else {
        c->alloc = (struct layer_slot){.layer = -1, .tid = -1};
        if (c->video)
            video_forward_source(c->video);
    }
    if (t && make_ready(c) && producer_attach(t, c) == 0) {
        c->source = t;
        if (!consumer_is_audio(c))
            c->peer->n_video++;
        if (old)
            counter_inc(&core->count.slot_switches);
    }
    map_codec(c);
    if (!consumer_is_audio(c)) {
        peer_video_changed(c->peer, now_us);
        peer_realloc(c->peer, now_us);
        if (t)
            producer_wanted(t, now_us);
    }
}

/* ---- header ---- */

/* An extension that is passed on as it came. */
static void pass(struct rtp_ext_wr *x, const struct consumer *c, enum rtp_ext ext,
                 const struct media_packet *m, struct media_part part)
{
    if (part.len && c->ext[ext])
        rtp_ext_put(x, c->ext[ext], media_part(m, part));
}

static void put_twcc(struct rtp_ext_wr *x, const struct consumer *c, uint16_t number)
{
    uint8_t b[2] = {(uint8_t)(number >> 8), (uint8_t)number};

    rtp_ext_put(x, c->ext[RTP_EXT_TWCC], slice_of(b, sizeof(b)));
}

/* 24 bits of seconds, 6.18 (the REMB draft's absolute send time). */
static void put_send_time(struct rtp_ext_wr *x, const struct consumer *c, uint64_t now_us)
{
    uint32_t v = (uint32_t)(((now_us % (64 * US_PER_S)) << 18) / US_PER_S);
    uint8_t b[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    rtp_ext_put(x, c->ext[RTP_EXT_ABS_SEND_TIME], slice_of(b, sizeof(b)));
}

static void put_level(struct rtp_ext_wr *x, const struct consumer *c, const struct media_packet *m)
{
    uint8_t b = (uint8_t)((m->voice ? 0x80 : 0) | (m->level & 0x7f));

    if (c->ext[RTP_EXT_AUDIO_LEVEL] && m->level != SPEAKER_LEVEL_UNKNOWN)
        rtp_ext_put(x, c->ext[RTP_EXT_AUDIO_LEVEL], slice_of(&b, 1));
}

struct rtp_header consumer_header(const struct consumer *c, uint8_t pt, uint64_t seq, uint32_t ts,
                                  bool marker)
{
    return (struct rtp_header){
        .marker = marker, .pt = pt, .seq = (uint16_t)seq, .ts = ts, .ssrc = c->ssrc};
}

/* ---- audio ---- */

unsigned consumer_gather_red(struct consumer *c, const struct media_packet *m, unsigned copies,
                             struct slice *out)
{
    struct sfu_core *core = c->peer->owner->room->core;
    struct packet_store *store = c->source->layer[0].store;
    struct red_block v[RED_COPIES_MAX + 1];
    struct wr w = wr_init(core->red, sizeof(core->red));
    unsigned n = 0, had = 0;

    for (unsigned back = RED_COPIES_MAX; back > 0; back--) {
        const struct media_packet *old = (copies >> (back - 1) & 1) && m->seq > back
                                             ? packet_store_find(store, m->seq - back)
                                             : NULL;
        uint32_t age = old ? m->ts - old->ts : 0;
        struct slice data = old ? media_payload(old) : (struct slice){0};

        if (!old || data.len == 0 || data.len > RED_LEN_MAX || age == 0 ||
            age > RED_TS_OFFSET_MAX || old->pt != m->pt)
            continue;
        v[n++] = (struct red_block){c->pt, (uint16_t)age, data};
        had |= 1u << (back - 1);
    }
    if (n == 0)
        return 0;
    v[n] = (struct red_block){c->pt, 0, media_payload(m)};
    red_put_headers(&w, v, n + 1);
    for (unsigned i = 0; i < n; i++)
        wr_bytes(&w, v[i].data);
    if (w.bad)
        return 0;
    *out = wr_done(&w);
    return had;
}

size_t consumer_emit_audio(struct consumer *c, const struct sent *e, const struct media_packet *m,
                           struct slice red)
{
    uint8_t buf[CONSUMER_HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice payload = media_payload(m);
    uint8_t pt = red.len || (c->source->opaque && m->pt == c->source->codec.red_pt && c->red_pt)
                     ? c->red_pt
                     : c->pt;
    struct rtp_header h = consumer_header(c, pt, e->seq, e->ts, e->marker);
    bool with_level = c->ext[RTP_EXT_AUDIO_LEVEL] && m->level != SPEAKER_LEVEL_UNKNOWN;
    bool any =
        with_level || e->numbered || (m->capture_time.len && c->ext[RTP_EXT_ABS_CAPTURE_TIME]);

    rtp_put_header(&w, &h, any);
    if (any) {
        struct rtp_ext_wr x;

        rtp_ext_begin(&x, &w, false);
        put_level(&x, c, m);
        if (e->numbered)
            put_twcc(&x, c, e->twcc);
        pass(&x, c, RTP_EXT_ABS_CAPTURE_TIME, m, m->capture_time);
        rtp_ext_end(&x);
    }
    if (w.bad)
        return 0;
    transport_send_rtp(c->peer->transport, e->seq - c->epoch, wr_done(&w), red, payload);
    return consumer_datagram_bytes(w.len + red.len + payload.len);
}

static void count_sent(struct consumer *c, size_t bytes, uint32_t ts, uint64_t now_us)
{
    struct core_counters *n = &c->peer->owner->room->core->count;

    c->pkts++;
    c->bytes += bytes;
    c->last_us = now_us;
    c->last_ts = ts;
    counter_inc(&n->forwarded_pkts);
    counter_add(&n->forwarded_bytes, bytes);
}

/* RED that can't be opened is of use only to who can take RED. */
static bool is_closed_red(const struct consumer *c, const struct media_packet *m)
{
    return c->source->opaque && m->pt == c->source->codec.red_pt;
}

static void audio_packet(struct consumer *c, const struct media_packet *m, uint64_t now_us)
{
    struct peer *p = c->peer;
    struct slice red = {0};
    struct audio_out o;

    if (is_closed_red(c, m) && !c->red_pt)
        return;
    if (!audio_forward_packet(&c->audio, m->seq, m->ts, m->marker, c->clock, now_us, &o))
        return;
    struct sent *e = take_number(c, o.seq);
    if (!e)
        return;
    *e = (struct sent){.seq = o.seq,
                       .src_seq = m->seq,
                       .run = c->run,
                       .ts = o.ts,
                       .marker = o.marker,
                       .numbered = c->twcc_on && p->bwe};
    if (c->red_depth && c->red_pt && !c->source->opaque && p->red_room)
        e->red = (uint8_t)consumer_gather_red(c, m, (1u << c->red_depth) - 1, &red);
    if (e->numbered)
        e->twcc =
            bwe_sent(p->bwe, consumer_datagram_bytes(RTP_HEADER_BYTES + 8) + media_payload(m).len,
                     p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    size_t bytes = consumer_emit_audio(c, e, m, red);
    if (e->red)
        counter_inc(&p->owner->room->core->count.red_pkts);
    if (p->pacer)
        pacer_sent(p->pacer, bytes, now_us);
    p->audio_bytes += bytes - red.len; /* redundancy is an extra that may go */
    count_sent(c, bytes, o.ts, now_us);
}

void consumer_silence(struct consumer *c, uint64_t now_us)
{
    static const uint8_t opus[] = {0xf8, 0xff, 0xfe}; /* 20 ms of nothing, RFC 6716 */
    static uint8_t ulaw[160], alaw[160];
    struct slice payload = slice_of(opus, sizeof(opus));
    uint32_t step = c->clock * AUDIO_STEP_MS / 1000;

    if (!consumer_is_audio(c) || !c->audio.running || !c->source || !c->enabled || c->peer->closing)
        return;
    if (c->source->opaque ||
        (c->source->codec.codec != RTP_CODEC_OPUS && c->source->codec.codec != RTP_CODEC_PCMU &&
         c->source->codec.codec != RTP_CODEC_PCMA))
        return;
    if (c->source->codec.codec != RTP_CODEC_OPUS) {
        bool u = c->source->codec.codec == RTP_CODEC_PCMU;
        memset(u ? ulaw : alaw, u ? 0xff : 0xd5, sizeof(ulaw));
        payload = slice_of(u ? ulaw : alaw, sizeof(ulaw));
    }
    audio_forward_stop(&c->audio);
    for (int i = 0; i < SILENCE_PKTS; i++) {
        uint8_t buf[CONSUMER_HEAD_MAX];
        struct wr w = wr_init(buf, sizeof(buf));
        struct audio_out o;

        audio_forward_insert(&c->audio, step, now_us, &o);
        struct rtp_header h = consumer_header(c, c->pt, o.seq, o.ts, false);
        rtp_put_header(&w, &h, false);
        struct sent *e = take_number(c, o.seq);
        if (!e)
            return;
        *e = (struct sent){.seq = o.seq, .src_seq = UINT64_MAX, .run = c->run};
        transport_send_rtp(c->peer->transport, o.seq - c->epoch, wr_done(&w), payload,
                           (struct slice){0});
        count_sent(c, consumer_datagram_bytes(w.len + payload.len), o.ts, now_us);
        counter_inc(&c->peer->owner->room->core->count.silence_pkts);
    }
}

/* ---- video ---- */

void consumer_video_head(struct consumer *c, struct wr *w, const struct rtp_header *h,
                         const struct media_packet *m, const struct video_out *o, bool with_twcc,
                         uint16_t twcc, uint64_t now_us)
{
    struct rtp_ext_wr x;
    bool dd = o->dd_len && c->ext[RTP_EXT_DEPENDENCY];

    rtp_put_header(w, h, true);
    rtp_ext_begin(&x, w, false);
    if (with_twcc)
        put_twcc(&x, c, twcc);
    else if (c->ext[RTP_EXT_ABS_SEND_TIME])
        put_send_time(&x, c, now_us);
    if (dd)
        rtp_ext_put(&x, c->ext[RTP_EXT_DEPENDENCY], slice_of(o->dd, o->dd_len));
    pass(&x, c, RTP_EXT_ABS_CAPTURE_TIME, m, m->capture_time);
    pass(&x, c, RTP_EXT_PLAYOUT_DELAY, m, m->playout_delay);
    pass(&x, c, RTP_EXT_VIDEO_ORIENTATION, m, m->orientation);
    rtp_ext_end(&x);
}

size_t consumer_emit_video(struct consumer *c, const struct media_packet *m,
                           const struct video_out *o, bool rtx, unsigned cluster, uint64_t now_us)
{
    struct peer *p = c->peer;
    uint8_t buf[CONSUMER_HEAD_MAX + VIDEO_DD_MAX], front[RTX_OSN_BYTES + VIDEO_PATCH_MAX];
    struct wr w = wr_init(buf, sizeof(buf)), f = wr_init(front, sizeof(front));
    struct slice payload = media_payload(m);
    bool with_twcc = c->twcc_on && p->bwe;
    struct rtp_header h = consumer_header(c, rtx ? c->rtx_pt : c->pt, o->seq, o->ts, o->marker);
    uint64_t index = o->seq - c->epoch;
    uint16_t twcc = 0;

    if (rtx) {
        h.ssrc = c->rtx_ssrc;
        index = ++c->rtx_seq - c->rtx_epoch;
        h.seq = (uint16_t)index;
        wr_be16(&f, (uint16_t)o->seq); /* RFC 4588 §4: the original number */
    }
    wr_bytes(&f, slice_of(o->patch, o->patch_len));
    payload = slice_sub(payload, o->skip, payload.len);
    if (with_twcc)
        twcc =
            bwe_sent(p->bwe, consumer_datagram_bytes(RTP_HEADER_BYTES + 12) + f.len + payload.len,
                     cluster, now_us);
    consumer_video_head(c, &w, &h, m, o, with_twcc, twcc, now_us);
    if (w.bad)
        return 0;
    transport_send_rtp(p->transport, index, wr_done(&w), wr_done(&f), payload);
    return consumer_datagram_bytes(w.len + f.len + payload.len);
}

/* An empty packet that takes a number. */
static void emit_fill(struct consumer *c, const struct video_out *o, uint64_t now_us)
{
    uint8_t buf[CONSUMER_HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct rtp_header h = consumer_header(c, c->pt, o->seq, o->ts, false);
    uint8_t one = 1;
    struct sent *e = take_number(c, o->seq);

    if (!e)
        return;
    *e = (struct sent){.seq = o->seq, .src_seq = UINT64_MAX, .run = c->run};
    h.padded = true;
    rtp_put_header(&w, &h, false);
    transport_send_rtp(c->peer->transport, o->seq - c->epoch, wr_done(&w), slice_of(&one, 1),
                       (struct slice){0});
    count_sent(c, consumer_datagram_bytes(w.len + 1), o->ts, now_us);
}

bool consumer_is_dominant(const struct producer *t)
{
    return t->room->dominant && t->room->dominant->peer->owner == t->peer->owner;
}

static enum pacer_class pacing_class(const struct consumer *c)
{
    return c->source->source == CTL_SOURCE_SCREEN || consumer_is_dominant(c->source) ||
                   c->priority > CTL_PRIORITY_MAX / 2
               ? PACER_VIDEO_HIGH
               : PACER_VIDEO;
}

static void drop_for_pacer(struct consumer *c)
{
    core_drop(c->peer->owner->room->core, CORE_DROP_PACER);
}

/* Sends a packet that has a number, now or when the pacer lets it. */
static void send_video(struct consumer *c, const struct media_packet *m, unsigned layer,
                       const struct video_out *o, const struct video_sent *kept, uint64_t now_us)
{
    struct peer *p = c->peer;
    size_t about = consumer_datagram_bytes(RTP_HEADER_BYTES + 12) + media_payload(m).len;
    enum pacer_class cls = pacing_class(c);

    struct sent *e = take_number(c, o->seq);

    if (!e)
        return;
    c->newest = o->seq > c->newest ? o->seq : c->newest;
    *e = (struct sent){
        .seq = o->seq, .src_seq = m->seq, .run = c->run, .layer = (uint8_t)layer, .video = *kept};
    if (p->pacer && !pacer_pass(p->pacer, cls, about, now_us)) {
        struct pacer_item item = {.owner = c,
                                  .seq = o->seq,
                                  .tag = c->run,
                                  .bytes = (uint16_t)about,
                                  .cls = (uint8_t)cls};
        if (pacer_push(p->pacer, &item, now_us))
            peer_arm(p, pacer_deadline(p->pacer));
        else
            drop_for_pacer(c);
        return;
    }
    size_t bytes =
        consumer_emit_video(c, m, o, false, p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    count_sent(c, bytes, o->ts, now_us);
}

bool consumer_video_one(struct consumer *c, const struct media_packet *m, unsigned layer,
                        uint64_t now_us)
{
    struct video_out o;
    struct video_sent kept;
    unsigned want;

    o.began = false;
    enum video_verdict v =
        video_forward_packet(c->video, c->source->layer[layer].video, m, &o, &kept);
    if (v == VIDEO_DROP_WAIT_KEY && video_forward_wants_key(c->video, &want))
        producer_want_key(c->source, want, now_us);
    if (v == VIDEO_FILL)
        emit_fill(c, &o, now_us);
    if (v != VIDEO_FORWARD)
        return false;
    send_video(c, m, layer, &o, &kept, now_us);
    return o.began;
}

static void video_packet(struct consumer *c, const struct media_packet *m, unsigned layer,
                         uint64_t now_us)
{
    struct packet_store *store = c->source->layer[layer].store;

    if (!consumer_video_one(c, m, layer, now_us))
        return;
    /* Packets of the key frame that overtook its first one were dropped when they came. */
    for (uint64_t seq = m->seq + 1; seq <= m->seq + OVERTAKEN_MAX; seq++) {
        struct media_packet *early = packet_store_find(store, seq);

        if (!early || early->arrival_us >= m->arrival_us)
            continue;
        if (early->video.facts & VIDEO_DD_UNKNOWN) /* its structure has come since */
            video_describe(c->source->layer[layer].video, early);
        consumer_video_one(c, early, layer, now_us);
    }
}

const struct media_packet *consumer_recall(struct consumer *c, const struct sent *e,
                                           struct video_out *o)
{
    if (!c->source || e->run != c->run)
        return NULL;
    struct stream *s = &c->source->layer[e->layer];
    const struct media_packet *m = s->store ? packet_store_find(s->store, e->src_seq) : NULL;

    if (!m || consumer_is_audio(c))
        return m;
    video_rewrite(s->video, m, &e->video, o);
    o->seq = e->seq;
    return m;
}

void consumer_packet(struct consumer *c, struct media_packet *m, unsigned layer, uint64_t now_us)
{
    if (!c->enabled || c->paused || !transport_can_send(c->peer->transport))
        return;
    if (consumer_is_audio(c))
        audio_packet(c, m, now_us);
    else
        video_packet(c, m, layer, now_us);
}

void consumer_prefetch(const struct consumer *c, unsigned step)
{
    const struct peer *p = c->peer;

    if (step > 1) {
        transport_prefetch(p->transport, TRANSPORT_OUT, step - 2);
    } else if (step == 0) {
        __builtin_prefetch(p);
        bytes_prefetch(&p->bwe, 2 * sizeof(void *));
        bytes_prefetch(&p->audio_bytes,
                       offsetof(struct peer, told_bps) - offsetof(struct peer, audio_bytes));
    } else {
        __builtin_prefetch(p->owner);
        if (c->sent && consumer_is_audio(c))
            bytes_prefetch(&c->sent[(c->audio.seq + 1) & c->sent_mask], sizeof(*c->sent));
    }
}

void consumer_paced(struct consumer *c, const struct pacer_item *item, uint64_t now_us)
{
    struct sent *e = &c->sent[item->seq & c->sent_mask];
    struct video_out o;
    const struct media_packet *m =
        e->seq == item->seq && item->tag == c->run ? consumer_recall(c, e, &o) : NULL;

    if (!m || !c->enabled) {
        core_drop(c->peer->owner->room->core, CORE_DROP_NACK_GONE);
        return;
    }
    bool rtx = item->cls == PACER_RTX;
    size_t bytes = consumer_emit_video(c, m, &o, rtx, item->cluster, now_us);
    if (rtx) {
        c->peer->extra_bytes += bytes;
        counter_inc(&c->peer->owner->room->core->count.rtx_pkts);
    } else {
        count_sent(c, bytes, o.ts, now_us);
    }
}

void consumer_dropped(struct consumer *c, const struct pacer_item *item, uint64_t now_us)
{
    drop_for_pacer(c);
    /* A gap in video is a broken picture until something repairs it: the receiver will ask. */
    if (item->cls != PACER_RTX)
        peer_realloc(c->peer, now_us);
}

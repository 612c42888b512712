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
 * Called by fanout.c, peer_rtcp.c, room_slots.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/consumer.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/rand.h"
#include "proto/red.h"
#include "sfu/participant.h"
#include "sfu/room.h"

#define HEAD_MAX       160 /* header and extensions of one packet: 12 + 4 + what we put */
#define PAD_MAX        255 /* RFC 3550 §5.1: the last byte counts the padding */
#define PAD_MIN        16
#define PAD_LOOK_BACK  32
#define SRTP_TAIL      16
#define IP_UDP_V4      BWE_OVERHEAD_V4
#define RTX_OSN_BYTES  2
#define RED_COPIES_MAX 2
#define SILENCE_PKTS   2 /* so that one may be lost */
#define AUDIO_STEP_MS  20
#define OPUS_STEP_MAX  5760 /* 120 ms at 48 kHz: no two neighbours are further apart */
#define OVERTAKEN_MAX  32
#define REPLAY_US      (1000 * US_PER_MS)
#define REPLAY_MS      250 /* of the path's rate: more is not replayed, a new key frame is shorter */
#define REPLAY_BYTES   65536 /* the same where no rate is known */
#define REPLAY_PKTS    128
#define BUDGET_FLOOR   12000 /* bytes of retransmission that a slot may always run up */

static const uint8_t zeros[PAD_MAX + 1];

static bool is_audio(const struct consumer *c)
{
    return c->kind == RTP_KIND_AUDIO;
}

static size_t datagram_bytes(size_t packet)
{
    return packet + SRTP_TAIL + IP_UDP_V4;
}

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
    if (is_audio(c)) {
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
    if (!is_audio(c))
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
    if (is_audio(c))
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
    c->epoch = epoch_after(is_audio(c) ? c->audio.seq : c->newest);
    c->rtx_epoch = epoch_after(c->rtx_seq);
}

void consumer_codec(struct consumer *c, uint64_t now_us)
{
    map_codec(c);
    if (!is_audio(c))
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
    unsigned n = is_audio(c) ? SENT_AUDIO : SENT_VIDEO;
    uint32_t r[2];

    if (!c->sent) {
        c->sent = mem_calloc(n, sizeof(*c->sent));
        c->sent_mask = n - 1;
    }
    if (!is_audio(c) && !c->video) {
        c->video = mem_zalloc(sizeof(*c->video));
        rand_bytes(r, sizeof(r));
        if (c->video)
            video_forward_init(c->video, (uint16_t)(1 + (r[0] & 0x3FFF)), r[1]);
    }
    return c->sent && (is_audio(c) || c->video);
}

void consumer_set_source(struct consumer *c, struct producer *t, uint64_t now_us)
{
    struct producer *old = c->source;
    struct sfu_core *core = c->peer->owner->room->core;

    if (old == t)
        return;
    if (old) {
        if (is_audio(c))
            consumer_silence(c, now_us);
        producer_detach(old, c);
        c->source = NULL;
        if (!is_audio(c)) {
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
    if (is_audio(c)) {
        audio_forward_stop(&c->audio);
    } else {
        c->alloc = (struct layer_slot){.layer = -1, .tid = -1};
        if (c->video)
            video_forward_source(c->video);
    }
    if (t && make_ready(c) && producer_attach(t, c) == 0) {
        c->source = t;
        if (!is_audio(c))
            c->peer->n_video++;
        if (old)
            counter_inc(&core->count.slot_switches);
    }
    map_codec(c);
    if (!is_audio(c)) {
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

static struct rtp_header header_of(const struct consumer *c, uint8_t pt, uint64_t seq, uint32_t ts,
                                   bool marker)
{
    return (struct rtp_header){
        .marker = marker, .pt = pt, .seq = (uint16_t)seq, .ts = ts, .ssrc = c->ssrc};
}

/* ---- audio ---- */

/* Writes RED headers and the older payloads that go in front of m (copies: bit i for the packet
 * i + 1 before it) into core->red. Gives those that could be had; 0: none, and nothing is written.
 */
static unsigned gather_red(struct consumer *c, const struct media_packet *m, unsigned copies,
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

/* Encrypts and queues one audio packet as the entry says, with this in front of its payload; the
 * same entry gives the same bytes. Returns the bytes of the datagram. */
static size_t emit_audio(struct consumer *c, const struct sent *e, const struct media_packet *m,
                         struct slice red)
{
    uint8_t buf[HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice payload = media_payload(m);
    uint8_t pt = red.len || (c->source->opaque && m->pt == c->source->codec.red_pt && c->red_pt)
                     ? c->red_pt
                     : c->pt;
    struct rtp_header h = header_of(c, pt, e->seq, e->ts, e->marker);
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
    return datagram_bytes(w.len + red.len + payload.len);
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
        e->red = (uint8_t)gather_red(c, m, (1u << c->red_depth) - 1, &red);
    if (e->numbered)
        e->twcc = bwe_sent(p->bwe, datagram_bytes(RTP_HEADER_BYTES + 8) + media_payload(m).len,
                           p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    size_t bytes = emit_audio(c, e, m, red);
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

    if (!is_audio(c) || !c->audio.running || !c->source || !c->enabled || c->peer->closing)
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
        uint8_t buf[HEAD_MAX];
        struct wr w = wr_init(buf, sizeof(buf));
        struct audio_out o;

        audio_forward_insert(&c->audio, step, now_us, &o);
        struct rtp_header h = header_of(c, c->pt, o.seq, o.ts, false);
        rtp_put_header(&w, &h, false);
        struct sent *e = take_number(c, o.seq);
        if (!e)
            return;
        *e = (struct sent){.seq = o.seq, .src_seq = UINT64_MAX, .run = c->run};
        transport_send_rtp(c->peer->transport, o.seq - c->epoch, wr_done(&w), payload,
                           (struct slice){0});
        count_sent(c, datagram_bytes(w.len + payload.len), o.ts, now_us);
        counter_inc(&c->peer->owner->room->core->count.silence_pkts);
    }
}

/* ---- video ---- */

/* Header and extensions of a video packet. */
static void video_head(struct consumer *c, struct wr *w, const struct rtp_header *h,
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

/* Encrypts and queues one packet: as new (rtx false: its own number, once) or inside RTX. Returns
 * the bytes of the datagram, 0 when it could not be made. */
static size_t emit_video(struct consumer *c, const struct media_packet *m,
                         const struct video_out *o, bool rtx, unsigned cluster, uint64_t now_us)
{
    struct peer *p = c->peer;
    uint8_t buf[HEAD_MAX + VIDEO_DD_MAX], front[RTX_OSN_BYTES + VIDEO_PATCH_MAX];
    struct wr w = wr_init(buf, sizeof(buf)), f = wr_init(front, sizeof(front));
    struct slice payload = media_payload(m);
    bool with_twcc = c->twcc_on && p->bwe;
    struct rtp_header h = header_of(c, rtx ? c->rtx_pt : c->pt, o->seq, o->ts, o->marker);
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
        twcc = bwe_sent(p->bwe, datagram_bytes(RTP_HEADER_BYTES + 12) + f.len + payload.len,
                        cluster, now_us);
    video_head(c, &w, &h, m, o, with_twcc, twcc, now_us);
    if (w.bad)
        return 0;
    transport_send_rtp(p->transport, index, wr_done(&w), wr_done(&f), payload);
    return datagram_bytes(w.len + f.len + payload.len);
}

/* An empty packet that takes a number. */
static void emit_fill(struct consumer *c, const struct video_out *o, uint64_t now_us)
{
    uint8_t buf[HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct rtp_header h = header_of(c, c->pt, o->seq, o->ts, false);
    uint8_t one = 1;
    struct sent *e = take_number(c, o->seq);

    if (!e)
        return;
    *e = (struct sent){.seq = o->seq, .src_seq = UINT64_MAX, .run = c->run};
    h.padded = true;
    rtp_put_header(&w, &h, false);
    transport_send_rtp(c->peer->transport, o->seq - c->epoch, wr_done(&w), slice_of(&one, 1),
                       (struct slice){0});
    count_sent(c, datagram_bytes(w.len + 1), o->ts, now_us);
}

/* It is of the participant who speaks. */
static bool is_dominant(const struct producer *t)
{
    return t->room->dominant && t->room->dominant->peer->owner == t->peer->owner;
}

static enum pacer_class pacing_class(const struct consumer *c)
{
    return c->source->source == CTL_SOURCE_SCREEN || is_dominant(c->source) ||
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
    size_t about = datagram_bytes(RTP_HEADER_BYTES + 12) + media_payload(m).len;
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
    size_t bytes = emit_video(c, m, o, false, p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    count_sent(c, bytes, o->ts, now_us);
}

/* Decides about one packet. True when it begins a source or layer. */
static bool video_one(struct consumer *c, const struct media_packet *m, unsigned layer,
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

    if (!video_one(c, m, layer, now_us))
        return;
    /* Packets of the key frame that overtook its first one were dropped when they came. */
    for (uint64_t seq = m->seq + 1; seq <= m->seq + OVERTAKEN_MAX; seq++) {
        struct media_packet *early = packet_store_find(store, seq);

        if (!early || early->arrival_us >= m->arrival_us)
            continue;
        if (early->video.facts & VIDEO_DD_UNKNOWN) /* its structure has come since */
            video_describe(c->source->layer[layer].video, early);
        video_one(c, early, layer, now_us);
    }
}

/* The packet behind an entry, and how it was rewritten; NULL when either is gone. */
static const struct media_packet *recall(struct consumer *c, const struct sent *e,
                                         struct video_out *o)
{
    if (!c->source || e->run != c->run)
        return NULL;
    struct stream *s = &c->source->layer[e->layer];
    const struct media_packet *m = s->store ? packet_store_find(s->store, e->src_seq) : NULL;

    if (!m || is_audio(c))
        return m;
    video_rewrite(s->video, m, &e->video, o);
    o->seq = e->seq;
    return m;
}

void consumer_packet(struct consumer *c, struct media_packet *m, unsigned layer, uint64_t now_us)
{
    if (!c->enabled || c->paused || !transport_can_send(c->peer->transport))
        return;
    if (is_audio(c))
        audio_packet(c, m, now_us);
    else
        video_packet(c, m, layer, now_us);
}

void consumer_prefetch(const struct consumer *c)
{
    transport_prefetch(c->peer->transport);
}

void consumer_paced(struct consumer *c, const struct pacer_item *item, uint64_t now_us)
{
    struct sent *e = &c->sent[item->seq & c->sent_mask];
    struct video_out o;
    const struct media_packet *m =
        e->seq == item->seq && item->tag == c->run ? recall(c, e, &o) : NULL;

    if (!m || !c->enabled) {
        core_drop(c->peer->owner->room->core, CORE_DROP_NACK_GONE);
        return;
    }
    bool rtx = item->cls == PACER_RTX;
    size_t bytes = emit_video(c, m, &o, rtx, item->cluster, now_us);
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
            video_one(c, m, layer, now_us);
    }
    unsigned want;
    if (video_forward_wants_key(c->video, &want))
        return false;
    counter_inc(&c->peer->owner->room->core->count.replays);
    return true;
}

/* ---- what the receiver asks for ---- */

/* Takes from the budget of retransmissions: a share of what the slot sends. */
static bool may_resend(struct consumer *c, size_t bytes, uint64_t now_us)
{
    const struct sfu_conf *conf = c->peer->owner->room->core->conf;
    uint64_t bps = is_audio(c) ? 64000
                   : c->alloc.layer >= 0
                       ? c->alloc.bps[c->alloc.layer][c->alloc.tid < 0 ? 0 : c->alloc.tid]
                       : 0;
    int64_t most = (int64_t)(bps * conf->video.rtx_percent / 100 / 8) + BUDGET_FLOOR;
    uint64_t passed = now_us - c->rtx_at_us;

    if (passed > US_PER_S)
        passed = US_PER_S;
    c->rtx_budget += (int64_t)((uint64_t)most * passed / US_PER_S);
    if (c->rtx_budget > most)
        c->rtx_budget = most;
    c->rtx_at_us = now_us;
    if (c->rtx_budget < (int64_t)bytes)
        return false;
    c->rtx_budget -= (int64_t)bytes;
    return true;
}

static void resend(struct consumer *c, struct sent *e, const struct media_packet *m,
                   const struct video_out *o, uint64_t now_us)
{
    struct peer *p = c->peer;
    size_t about = datagram_bytes(RTP_HEADER_BYTES + 14) + media_payload(m).len;

    if (is_audio(c)) {
        /* Byte for byte: the same index may be encrypted again only with the same content. RED
         * copies may be gone from the store by now, and then it can't be repeated. */
        struct slice red = {0};
        if (e->red && gather_red(c, m, e->red, &red) != e->red)
            return;
        p->extra_bytes += emit_audio(c, e, m, red);
        counter_inc(&p->owner->room->core->count.rtx_pkts);
        return;
    }
    if (!c->rtx_pt || !c->rtx_ssrc)
        return;
    c->report.resent++;
    struct pacer_item item = {
        .owner = c, .seq = e->seq, .tag = c->run, .bytes = (uint16_t)about, .cls = PACER_RTX};
    if (p->pacer && !pacer_pass(p->pacer, PACER_RTX, about, now_us)) {
        if (pacer_push(p->pacer, &item, now_us))
            peer_arm(p, pacer_deadline(p->pacer));
        return;
    }
    p->extra_bytes += emit_video(c, m, o, true, p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    counter_inc(&p->owner->room->core->count.rtx_pkts);
}

/* A number that was kept for a packet which was not sent: it may be sent now. */
static bool send_late(struct consumer *c, uint16_t seq, uint64_t now_us)
{
    uint64_t src_seq;
    unsigned layer;

    if (is_audio(c) || !c->video || !c->source || !c->enabled ||
        !video_forward_lookup(c->video, rtp_extend(c->newest, seq), &layer, &src_seq) ||
        layer >= c->source->n_layers)
        return false;
    struct packet_store *store = c->source->layer[layer].store;
    const struct media_packet *m = store ? packet_store_find(store, src_seq) : NULL;
    if (m)
        video_one(c, m, layer, now_us);
    return m != NULL;
}

void consumer_nack(struct consumer *c, uint16_t seq, uint64_t now_us)
{
    struct sfu_core *core = c->peer->owner->room->core;
    struct sent *e = c->sent ? &c->sent[seq & c->sent_mask] : NULL;
    struct video_out o;

    if (!e || e->seq == 0 || (uint16_t)e->seq != seq || !c->enabled) {
        if (!send_late(c, seq, now_us))
            core_drop(core, CORE_DROP_NACK_GONE);
        return;
    }
    const struct media_packet *m = recall(c, e, &o);
    if (!m || now_us - m->arrival_us > core->conf->video.history_ms * US_PER_MS) {
        core_drop(core, CORE_DROP_NACK_GONE);
        return;
    }
    if (!may_resend(c, m->len, now_us)) {
        core_drop(core, CORE_DROP_NACK_LIMIT);
        return;
    }
    resend(c, e, m, &o, now_us);
}

void consumer_key(struct consumer *c, uint64_t now_us)
{
    unsigned layer = 0, sid, tid;

    if (is_audio(c) || !c->source || !c->video)
        return;
    if (!video_forward_wants_key(c->video, &layer) &&
        !video_forward_current(c->video, &layer, &sid, &tid))
        return;
    producer_want_key(c->source, layer, now_us);
}

/* A packet that was sent lately, to be sent again as padding: long ones probe with fewer packets.
 */
static const struct media_packet *pad_with(struct consumer *c, size_t bytes, struct video_out *o)
{
    for (uint64_t back = 0; c->sent && back < PAD_LOOK_BACK && back < c->newest; back++) {
        const struct sent *e = &c->sent[(c->newest - back) & c->sent_mask];
        const struct media_packet *m = e->seq == c->newest - back ? recall(c, e, o) : NULL;

        if (m && m->len > PAD_MAX && m->len <= bytes + bytes / 4)
            return m;
    }
    return NULL;
}

size_t consumer_pad(struct consumer *c, size_t bytes, unsigned cluster, uint64_t now_us)
{
    struct peer *p = c->peer;
    uint8_t buf[HEAD_MAX], count;
    struct wr w = wr_init(buf, sizeof(buf));
    size_t pad = bytes > PAD_MAX ? PAD_MAX : bytes < PAD_MIN ? PAD_MIN : bytes;
    struct video_out o = {0};

    if (is_audio(c) || !c->enabled || !c->rtx_pt || !c->rtx_ssrc || !c->twcc_on || !p->bwe)
        return 0;
    const struct media_packet *again = pad_with(c, bytes, &o);
    size_t sent = again ? emit_video(c, again, &o, true, cluster, now_us) : 0;
    if (!sent) {
        uint64_t index = ++c->rtx_seq - c->rtx_epoch;
        struct rtp_header h = header_of(c, c->rtx_pt, index, c->last_ts, false);
        struct media_packet empty = {0};

        o = (struct video_out){0};
        h.ssrc = c->rtx_ssrc;
        h.padded = true;
        video_head(c, &w, &h, &empty, &o, true,
                   bwe_sent(p->bwe, datagram_bytes(RTP_HEADER_BYTES + 8 + pad), cluster, now_us),
                   now_us);
        count = (uint8_t)pad;
        transport_send_rtp(p->transport, index, wr_done(&w), slice_of(zeros, pad - 1),
                           slice_of(&count, 1));
        sent = datagram_bytes(w.len + pad);
    }
    counter_add(&p->owner->room->core->count.padding_bytes, sent);
    return sent;
}

/* ---- layers ---- */

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
    if (is_dominant(t) && a->priority < CTL_PRIORITY_MAX)
        a->priority++;
    a->screen = t->source == CTL_SOURCE_SCREEN;
    c->spatial = (uint8_t)(t->n_layers == 1 ? spatial_layers(t) : 0);
    for (unsigned l = 0; l < t->n_layers; l++)
        stream_measure(&t->layer[l], now_us);
    for (unsigned l = 0; l < (c->spatial ? c->spatial : t->n_layers); l++)
        offer_layer(a, t, l, c->spatial != 0);
}

/* Why nothing is sent although there is a source. */
static enum ctl_pause pause_of(const struct consumer *c)
{
    if (c->paused)
        return CTL_PAUSE_SUBSCRIBER;
    if (!producer_open(c->source))
        return CTL_PAUSE_SOURCE;
    return c->alloc.starved ? CTL_PAUSE_BANDWIDTH : CTL_PAUSE_NONE;
}

static void tell_layers(struct consumer *c)
{
    enum ctl_pause why = pause_of(c);

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
    if (c->paused || !c->enabled || is_audio(c))
        return 0;
    unsigned top = c->wish_layer == CTL_LAYER_AUTO ? RTP_LAYERS_MAX - 1 : (unsigned)c->wish_layer;
    return (1u << (top + 1)) - 1;
}

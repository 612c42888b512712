/* Made-up video senders for tests: streams of every codec and kind of scalability, with the truth
 * of which frame needs which. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_VIDEO_WORLD_H
#define SORI_TESTS_LIB_VIDEO_WORLD_H

#include <stdlib.h>

#include "base/rand.h"
#include "proto/av1_desc.h"
#include "proto/vp8_desc.h"
#include "proto/vp9_desc.h"
#include "sfu/video_source.h"

enum {
    WORLD_PACKET_BYTES = 400,
    WORLD_PACKETS = 4096, /* that live at once */
    WORLD_REFS = 6,
    WORLD_FRAME_PACKETS = 4,
};

enum world_kind {
    WORLD_VP8,              /* simulcast, three temporal layers, 15 bit picture ids */
    WORLD_VP8_SHORT,        /* 7 bit picture ids */
    WORLD_VP8_BARE,         /* no picture id, no temporal layers */
    WORLD_VP9_FLEXIBLE,     /* L3T3, P_DIFF */
    WORLD_VP9_FIXED,        /* L3T3, U bits */
    WORLD_VP9_KSVC,         /* L3T3_KEY, P_DIFF, Z bits */
    WORLD_H264,             /* simulcast */
    WORLD_AV1_DD,           /* L3T3 with dependency descriptor */
    WORLD_AV1_KSVC_DD,      /* L3T3_KEY */
    WORLD_AV1_SIMULCAST_DD, /* L1T3 per layer */
    WORLD_VP8_DD,           /* both descriptors */
    WORLD_H264_OPAQUE_DD,
    WORLD_KINDS,
};

/* The truth about one frame (of one spatial layer). */
struct world_frame {
    uint32_t id; /* counts a stream's frames, from 1 */
    bool key;    /* of its picture: nothing before is needed */
    uint8_t sid, tid;
    uint8_t n_refs;
    uint32_t ref[WORLD_REFS];
};

struct world_packet {
    struct media_packet m;
    struct world_frame frame;
    bool first, last; /* of the frame */
    uint8_t stream;
    uint32_t picture; /* counts a stream's pictures */
    uint8_t bytes[WORLD_PACKET_BYTES];
};

struct world_stream {
    enum world_kind kind;
    uint8_t stream; /* which: goes into packets */
    uint8_t layer;  /* simulcast */
    uint64_t seq;
    uint32_t ts, picture, next_id;
    uint16_t pid, frame;
    uint8_t tl0, structure_offset;
    unsigned cycle;        /* place in 0 2 1 2 */
    unsigned round;        /* cycles so far */
    uint32_t last[3][3];   /* [sid][tid]: id of the newest frame, 0 none */
    uint16_t last_n[3][3]; /* its frame number (DD) or picture id (VP9) */
    struct video_source src;
    struct dependency_structure structure;
};

static inline unsigned world_spatial(enum world_kind k)
{
    return (k >= WORLD_VP9_FLEXIBLE && k <= WORLD_VP9_KSVC) || k == WORLD_AV1_DD ||
                   k == WORLD_AV1_KSVC_DD
               ? 3
               : 1;
}

static inline bool world_has_dd(enum world_kind k)
{
    return k >= WORLD_AV1_DD;
}

static inline bool world_is_ksvc(enum world_kind k)
{
    return k == WORLD_VP9_KSVC || k == WORLD_AV1_KSVC_DD;
}

static inline bool world_has_temporal(enum world_kind k)
{
    return k != WORLD_VP8_BARE && k != WORLD_H264;
}

static inline enum rtp_codec world_codec(enum world_kind k)
{
    switch (k) {
    case WORLD_VP8:
    case WORLD_VP8_SHORT:
    case WORLD_VP8_BARE:
    case WORLD_VP8_DD:
        return RTP_CODEC_VP8;
    case WORLD_VP9_FLEXIBLE:
    case WORLD_VP9_FIXED:
    case WORLD_VP9_KSVC:
        return RTP_CODEC_VP9;
    case WORLD_H264:
    case WORLD_H264_OPAQUE_DD:
        return RTP_CODEC_H264;
    default:
        return RTP_CODEC_AV1;
    }
}

/* One template per layer; what frames really depend on is written as their own. */
static inline void world_structure(struct world_stream *s)
{
    unsigned spatial = world_spatial(s->kind);
    struct dependency_structure *d = &s->structure;

    *d = (struct dependency_structure){.offset = s->structure_offset};
    d->n_targets = (uint8_t)(spatial * 3);
    d->n_chains = (uint8_t)spatial;
    d->max_sid = (uint8_t)(spatial - 1);
    d->max_tid = 2;
    for (unsigned sid = 0; sid < spatial; sid++) {
        for (unsigned tid = 0; tid < 3; tid++) {
            struct dependency_template *t = &d->v[d->n_templates++];
            t->sid = (uint8_t)sid;
            t->tid = (uint8_t)tid;
            for (unsigned i = 0; i < d->n_targets; i++) {
                if (i / 3 >= sid && i % 3 >= tid)
                    t->dti |= (uint64_t)DEPENDENCY_REQUIRED << (2 * i);
            }
            d->protected_by[sid * 3 + tid] = (uint8_t)sid;
            d->target_sid[sid * 3 + tid] = (uint8_t)sid;
            d->target_tid[sid * 3 + tid] = (uint8_t)tid;
        }
    }
}

static inline void world_stream_init(struct world_stream *s, enum world_kind kind, uint8_t stream,
                                     uint8_t layer, struct rand_src *rnd)
{
    *s = (struct world_stream){.kind = kind, .stream = stream, .layer = layer};
    s->seq = 70000 + rand_src_below(rnd, 65536);
    s->ts = (uint32_t)rand_src_u64(rnd);
    s->pid = (uint16_t)(rand_src_u64(rnd) & (kind == WORLD_VP8_SHORT ? 0x7f : 0x7fff));
    s->frame = (uint16_t)rand_src_u64(rnd);
    s->tl0 = (uint8_t)rand_src_u64(rnd);
    s->structure_offset = (uint8_t)rand_src_below(rnd, 64);
    video_source_init(&s->src, world_codec(kind), kind == WORLD_H264_OPAQUE_DD);
}

static inline void world_ref(struct world_frame *f, uint32_t id)
{
    for (unsigned i = 0; i < f->n_refs; i++) {
        if (f->ref[i] == id)
            return;
    }
    if (id != 0)
        f->ref[f->n_refs++] = id;
}

/* Whether the frame stands on frames of its own and lower temporal layers from before this cycle:
 * then nothing can be added here. */
static inline bool world_sync(const struct world_stream *s)
{
    return s->kind == WORLD_VP9_FIXED || s->round % 2 == 0;
}

static inline struct world_frame world_truth(struct world_stream *s, unsigned sid, unsigned tid,
                                             bool key)
{
    struct world_frame f = {
        .id = ++s->next_id, .key = key, .sid = (uint8_t)sid, .tid = (uint8_t)tid};

    if (!key) {
        world_ref(&f, s->last[sid][0]);
        if (tid == 2 && s->cycle == 3)
            world_ref(&f, s->last[sid][1]);
        if (tid > 0 && !world_sync(s))
            world_ref(&f, s->last[sid][tid]);
    }
    if (sid > 0 && (key || !world_is_ksvc(s->kind)))
        world_ref(&f, s->next_id - 1); /* the layer below, right before it */
    return f;
}

static inline size_t world_vp8(const struct world_stream *s, struct wr *w,
                               const struct world_packet *p)
{
    bool bare = s->kind == WORLD_VP8_BARE;
    struct vp8_desc d = {.start = p->first,
                         .has_pid = !bare,
                         .has_tl0 = !bare,
                         .has_tid = !bare,
                         .pid_bits = s->kind == WORLD_VP8_SHORT ? 7 : 15,
                         .pid = s->pid,
                         .tl0 = s->tl0,
                         .tid = p->frame.tid,
                         .sync = p->frame.tid > 0 && world_sync(s) && s->cycle != 3};
    vp8_desc_encode(w, &d);
    wr_u8(w, p->frame.key ? 0 : 1);
    return w->len;
}

static inline void world_vp9(const struct world_stream *s, struct wr *w,
                             const struct world_packet *p, bool key_picture)
{
    const struct world_frame *f = &p->frame;
    struct vp9_desc d = {.start = p->first,
                         .end = p->last,
                         .inter_picture = !key_picture,
                         .flexible = s->kind != WORLD_VP9_FIXED,
                         .non_ref_above = f->sid == 2 || (world_is_ksvc(s->kind) && !key_picture),
                         .has_layers = true,
                         .has_pid = true,
                         .up_switch = true,
                         .inter_layer = f->sid > 0 && (key_picture || !world_is_ksvc(s->kind)),
                         .sid = f->sid,
                         .tid = f->tid,
                         .tl0 = s->tl0,
                         .pid_bits = 15,
                         .pid = s->pid,
                         .has_structure = key_picture && f->sid == 0 && p->first,
                         .n_spatial = 3};
    for (unsigned i = 0; i < f->n_refs; i++) {
        for (unsigned t = 0; t < 3; t++) {
            if (s->last[f->sid][t] == f->ref[i])
                d.ref[d.n_refs++] = (uint8_t)((s->pid - s->last_n[f->sid][t]) & 0x7fff);
        }
    }
    vp9_desc_encode(w, &d);
}

/* Which targets need this frame, and for which it is a switch. */
static inline uint64_t world_dti(const struct world_stream *s, const struct world_frame *f,
                                 bool key_picture)
{
    uint64_t dti = 0;

    for (unsigned i = 0; i < s->structure.n_targets; i++) {
        unsigned sid = i / 3, tid = i % 3;
        enum dependency_dti k = DEPENDENCY_REQUIRED;
        if (f->sid > sid || f->tid > tid ||
            (world_is_ksvc(s->kind) && !key_picture && f->sid != sid))
            k = DEPENDENCY_NOT_PRESENT;
        else if (key_picture)
            k = DEPENDENCY_SWITCH;
        else if (f->sid == sid && f->tid == 0 && world_sync(s))
            k = DEPENDENCY_SWITCH; /* nothing after it goes back beyond it */
        else if (f->sid == sid && f->tid == 2 && s->cycle == 1 && world_sync(s))
            k = DEPENDENCY_DISCARDABLE;
        dti |= (uint64_t)k << (2 * i);
    }
    return dti;
}

static inline struct slice world_dd(const struct world_stream *s, uint8_t *buf, size_t cap,
                                    const struct world_packet *p, bool key_picture,
                                    const uint16_t numbers[3])
{
    const struct world_frame *f = &p->frame;
    struct dependency d = {.start = p->first,
                           .end = p->last,
                           .template_id =
                               (uint8_t)((s->structure.offset + f->sid * 3u + f->tid) & 63),
                           .frame = s->frame,
                           .dti = world_dti(s, f, key_picture)};
    for (unsigned i = 0; i < f->n_refs; i++) {
        uint16_t n = f->sid > 0 && f->ref[i] == f->id - 1 ? numbers[f->sid - 1] : 0;
        for (unsigned t = 0; t < 3; t++) {
            if (s->last[f->sid][t] == f->ref[i])
                n = s->last_n[f->sid][t];
        }
        d.fdiff[d.n_fdiffs++] = (uint16_t)(s->frame - n);
    }
    for (unsigned c = 0; c < s->structure.n_chains; c++) {
        bool within = key_picture && c < f->sid;
        if (!key_picture && s->last[c][0] != 0)
            d.chain[c] = (uint8_t)(s->frame - s->last_n[c][0]);
        else if (within)
            d.chain[c] = (uint8_t)(s->frame - numbers[c]);
    }
    struct wr w = wr_init(buf, cap);
    dependency_encode(&w, &d, &s->structure, key_picture && f->sid == 0 && p->first);
    if (w.bad)
        abort();
    return wr_done(&w);
}

/* Makes the packets of one picture into out (room for 3 × WORLD_FRAME_PACKETS). They are described
 * by world_describe() when they arrive. Returns how many. */
static inline unsigned world_picture(struct world_stream *s, struct world_packet **out, bool key,
                                     uint64_t now_us, struct rand_src *rnd)
{
    static const uint8_t tids[4] = {0, 2, 1, 2};
    unsigned spatial = world_spatial(s->kind), n = 0;
    uint16_t numbers[3] = {0};

    if (key || s->picture == 0) {
        key = true;
        s->cycle = 0;
        memset(s->last, 0, sizeof(s->last));
        s->structure_offset = (uint8_t)((s->structure_offset + 9) & 63);
        world_structure(s);
    }
    unsigned tid = world_has_temporal(s->kind) ? tids[s->cycle] : 0;
    if (tid == 0)
        s->tl0++;
    s->pid = (uint16_t)((s->pid + 1) & (s->kind == WORLD_VP8_SHORT ? 0x7f : 0x7fff));
    s->picture++;
    struct world_frame made[3];
    for (unsigned sid = 0; sid < spatial; sid++) {
        struct world_frame f = world_truth(s, sid, tid, key);
        unsigned packets = 1 + (unsigned)rand_src_below(rnd, WORLD_FRAME_PACKETS);
        s->frame++;
        numbers[sid] = s->frame;
        made[sid] = f;
        for (unsigned i = 0; i < packets; i++) {
            struct world_packet *p = out[n++];
            struct wr w = wr_init(p->bytes, sizeof(p->bytes));
            p->frame = f;
            p->first = i == 0;
            p->last = i + 1 == packets;
            p->stream = s->stream;
            p->picture = s->picture;
            wr_zero(&w, 12); /* the header, which nobody looks at */
            struct media_packet m = {.seq = s->seq++,
                                     .arrival_us = now_us,
                                     .p = p->bytes,
                                     .ts = s->ts,
                                     .marker = p->last && sid + 1 == spatial,
                                     .video.layer = s->layer};
            if (world_has_dd(s->kind)) {
                struct slice dd =
                    world_dd(s, p->bytes + w.len, sizeof(p->bytes) - w.len, p, key, numbers);
                m.dependency.at = (uint16_t)w.len;
                m.dependency.len = (uint8_t)dd.len;
                w.len += dd.len;
            }
            m.payload_at = (uint16_t)w.len;
            switch (world_codec(s->kind)) {
            case RTP_CODEC_VP8:
                (void)world_vp8(s, &w, p);
                break;
            case RTP_CODEC_VP9:
                world_vp9(s, &w, p, key);
                break;
            case RTP_CODEC_H264:
                wr_u8(&w, key && p->first && sid == 0 ? 0x67 : 0x41);
                break;
            default:
                wr_u8(&w, (uint8_t)(0x10 | (key && p->first && sid == 0 ? 0x08 : 0)));
                wr_u8(&w, key && p->first ? 0x08 : 0x30);
            }
            wr_be32(&w, f.id);
            if (w.bad)
                abort();
            m.len = (uint16_t)w.len;
            p->m = m;
        }
    }
    for (unsigned sid = 0; sid < spatial; sid++) {
        s->last[sid][tid] = made[sid].id;
        s->last_n[sid][tid] = world_has_dd(s->kind) ? numbers[sid] : s->pid;
    }
    if (world_has_temporal(s->kind) && ++s->cycle == 4) {
        s->cycle = 0;
        s->round++;
    }
    s->ts += 3000;
    return n;
}

/* The packet arrives: what the producer does with it. */
static inline void world_arrive(struct world_stream *s, struct world_packet *p, uint64_t now_us)
{
    p->m.arrival_us = now_us;
    video_describe(&s->src, &p->m);
}

#endif

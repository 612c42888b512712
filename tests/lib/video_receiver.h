/* A receiver of forwarded video that knows the truth (video_world.h): it fails the test as soon as
 * a number is used twice, time runs backwards, or a frame comes that it can't decode.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_VIDEO_RECEIVER_H
#define SORI_TESTS_LIB_VIDEO_RECEIVER_H

#include <stdio.h>

#include "sfu/video_forward.h"
#include "tests/lib/video_world.h"

enum { RECEIVER_FRAMES = 8192, RECEIVER_SEQS = 1 << 16 };

enum receiver_state { FRAME_UNSEEN, FRAME_SENT, FRAME_LEFT_OUT };

struct receiver_frame {
    uint32_t id;
    uint8_t state;
    uint16_t out_frame; /* DD */
};

struct receiver {
    uint64_t first_seq, top_seq; /* what came; top is the highest */
    bool any;
    uint8_t seq_used[RECEIVER_SEQS]; /* by low bits, of the last ones */
    /* Of the present epoch. */
    uint32_t epoch_key_id;
    uint32_t picture, ts;   /* the newest picture */
    uint32_t lost_pictures; /* since the newest one: left out when first seen (VP8) */
    uint32_t left_out[64];  /* which ones, a ring by picture number */
    uint16_t pid;
    uint8_t tl0;
    uint32_t top_ts; /* ever */
    uint64_t top_ts_at_us;
    bool has_pid, has_tl0;
    struct receiver_frame frame[RECEIVER_FRAMES]; /* of the present source stream, by id */
    struct dependency_structure structure;
    bool has_structure;
    uint64_t switches, packets, fills, frames;
};

#define CHECK(what)                                                    \
    do {                                                               \
        if (!(what)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            abort();                                                   \
        }                                                              \
    } while (0)

static inline void receiver_number(struct receiver *r, uint64_t seq)
{
    if (!r->any) {
        r->any = true;
        r->first_seq = r->top_seq = seq;
        r->seq_used[seq % RECEIVER_SEQS] = 1;
        return;
    }
    CHECK(seq >= r->first_seq && seq + RECEIVER_SEQS / 2 > r->top_seq);
    CHECK(seq < r->top_seq + 1000);
    for (; r->top_seq < seq; r->top_seq++)
        r->seq_used[(r->top_seq + 1) % RECEIVER_SEQS] = 0;
    CHECK(!r->seq_used[seq % RECEIVER_SEQS]); /* a number is used once */
    r->seq_used[seq % RECEIVER_SEQS] = 1;
}

static inline struct receiver_frame *receiver_frame(struct receiver *r, uint32_t id)
{
    struct receiver_frame *f = &r->frame[id % RECEIVER_FRAMES];

    if (f->id != id)
        *f = (struct receiver_frame){.id = id};
    return f;
}

/* The verdict was not to send this packet for the layer it belongs to. */
static inline void receiver_left_out(struct receiver *r, const struct world_packet *p,
                                     enum video_verdict v)
{
    struct receiver_frame *f = receiver_frame(r, p->frame.id);

    CHECK(f->state != FRAME_SENT || v == VIDEO_FILL || v == VIDEO_DROP_LATE ||
          v == VIDEO_DROP_BROKEN);
    if (f->state == FRAME_UNSEEN && v == VIDEO_DROP_SVC)
        f->state = FRAME_LEFT_OUT;
    if (v == VIDEO_DROP_SVC)
        r->left_out[p->picture % 64] = p->picture;
}

static inline void receiver_time(struct receiver *r, const struct world_packet *p,
                                 const struct video_out *out, uint64_t now_us)
{
    if (out->began) {
        if (r->switches > 0) {
            CHECK((int32_t)(out->ts - r->top_ts) > 0);
            int64_t apart = (int64_t)(int32_t)(out->ts - r->top_ts) * 100 / 9 -
                            (int64_t)(now_us - r->top_ts_at_us);
            CHECK(apart < 1200000 && apart > -1200000);
        }
        r->switches++;
        r->picture = p->picture;
        r->ts = out->ts;
    } else if (p->picture == r->picture) {
        CHECK(out->ts == r->ts);
    } else if ((int32_t)(p->picture - r->picture) > 0) {
        CHECK((int32_t)(out->ts - r->ts) > 0);
        r->picture = p->picture;
        r->ts = out->ts;
    } else {
        CHECK((int32_t)(out->ts - r->ts) < 0);
        return;
    }
    if ((int32_t)(out->ts - r->top_ts) > 0 || r->packets == 0) {
        r->top_ts = out->ts;
        r->top_ts_at_us = now_us;
    }
}

/* Picture ids: one more than before, and one more for each picture in between that is missing (for
 * VP9: or left out). */
static inline void receiver_pictures(struct receiver *r, const struct world_packet *p,
                                     const struct video_out *out)
{
    uint8_t payload[WORLD_PACKET_BYTES + VIDEO_PATCH_MAX];
    struct wr w = wr_init(payload, sizeof(payload));
    struct slice src = media_payload(&p->m);
    uint16_t pid;
    uint8_t tl0;

    wr_bytes(&w, slice_of(out->patch, out->patch_len));
    wr_bytes(&w, slice_sub(src, out->skip, src.len));
    if (p->m.video.codec == RTP_CODEC_VP8) {
        struct vp8_desc d;
        CHECK(vp8_desc_decode(&d, wr_done(&w)) == 0);
        CHECK(!d.has_tid || d.tid == p->frame.tid);
        CHECK(w.len - d.len == 5);
        if (!d.has_pid)
            return;
        CHECK(d.pid_bits == 15);
        pid = d.pid;
        tl0 = d.tl0;
    } else {
        struct vp9_desc d;
        CHECK(vp9_desc_decode(&d, wr_done(&w)) == 0);
        CHECK(w.len - d.len == 4);
        CHECK(d.sid == p->frame.sid && d.tid == p->frame.tid && d.pid_bits == 15);
        pid = d.pid;
        tl0 = d.tl0;
    }
    bool newer = (int32_t)(p->picture - r->picture) > 0;
    unsigned step = (unsigned)(pid - r->pid) & 0x7fff;
    if (out->began) {
        CHECK(!r->has_pid || step == 1);
    } else if (newer) {
        unsigned want = p->picture - r->picture;
        for (uint32_t k = r->picture + 1; k < p->picture; k++) {
            if (p->m.video.codec == RTP_CODEC_VP8 && r->left_out[k % 64] == k)
                want--;
        }
        CHECK(step == want);
    } else if (p->picture == r->picture) {
        CHECK(step == 0);
    } else {
        CHECK(step > 0x4000);
    }
    bool has_tl0 = p->m.video.facts & VIDEO_HAS_TL0;
    if (out->began && r->has_tl0 && has_tl0)
        CHECK(tl0 == (uint8_t)(r->tl0 + 1));
    if (out->began || newer || p->picture == r->picture) {
        r->has_pid = true;
        r->pid = pid;
        r->tl0 = has_tl0 ? tl0 : r->tl0;
        r->has_tl0 = r->has_tl0 || has_tl0;
    }
}

/* All that the frame needs was sent, or is only lost. */
static inline void receiver_decode(struct receiver *r, const struct world_packet *p,
                                   const struct video_out *out)
{
    struct receiver_frame *f = receiver_frame(r, p->frame.id);

    if (out->began) {
        CHECK(p->frame.key && p->first && p->frame.sid == 0);
        r->epoch_key_id = p->frame.id;
        memset(r->frame, 0, sizeof(r->frame));
        f = receiver_frame(r, p->frame.id);
    }
    CHECK(p->frame.id >= r->epoch_key_id);
    if (f->state == FRAME_SENT || (p->m.video.facts & VIDEO_DD_UNKNOWN))
        return;
    CHECK(f->state != FRAME_LEFT_OUT);
    f->state = FRAME_SENT;
    r->frames++;
    for (unsigned i = 0; i < p->frame.n_refs; i++) {
        CHECK(p->frame.ref[i] >= r->epoch_key_id);
        CHECK(receiver_frame(r, p->frame.ref[i])->state != FRAME_LEFT_OUT);
    }
}

/* The descriptor can be read with the structures that came, and names the right frames. */
static inline void receiver_descriptor(struct receiver *r, const struct world_packet *p,
                                       const struct video_out *out)
{
    struct dependency_structure fresh;
    struct dependency d;
    struct receiver_frame *f = receiver_frame(r, p->frame.id);

    CHECK(out->dd_len > 0);
    struct slice bytes = slice_of(out->dd, out->dd_len);
    int err = dependency_decode(&d, r->has_structure ? &r->structure : NULL, &fresh, bytes);
    if (p->m.video.facts & VIDEO_DD_UNKNOWN)
        return;
    CHECK(err == 0);
    if (d.has_structure) {
        r->structure = fresh;
        r->has_structure = true;
    }
    CHECK(d.start == p->first && d.end == p->last);
    CHECK(d.sid == p->frame.sid && d.tid == p->frame.tid && d.n_fdiffs == p->frame.n_refs);
    f->out_frame = d.frame;
    for (unsigned i = 0; i < d.n_fdiffs; i++) {
        struct receiver_frame *ref = receiver_frame(r, p->frame.ref[i]);
        CHECK(ref->state != FRAME_SENT || ref->out_frame == 0 ||
              ref->out_frame == (uint16_t)(d.frame - d.fdiff[i]));
    }
}

/* A packet was forwarded or filled. */
static inline void receiver_recv(struct receiver *r, const struct world_packet *p,
                                 enum video_verdict v, const struct video_out *out, uint64_t now_us)
{
    receiver_number(r, out->seq);
    if (v == VIDEO_FILL) {
        r->fills++;
        return;
    }
    receiver_decode(r, p, out);
    if (p->m.video.codec == RTP_CODEC_VP8 || p->m.video.codec == RTP_CODEC_VP9)
        receiver_pictures(r, p, out);
    if (p->m.dependency.len > 0)
        receiver_descriptor(r, p, out);
    receiver_time(r, p, out, now_us);
    r->packets++;
}

#endif

/* Forwards video to one consumer: switching and numbering.
 *
 *   nothing sent ── key frame of the wanted layer ──► sending a layer ── pause, other source ──►
 * nothing (begin_epoch)                                     │        ▲                (end_epoch)
 *                                                     └────────┘ key frame of another layer that is
 *                                                                wanted (end_epoch, begin_epoch)
 *
 * An epoch is the time between two switches. In it the number sent is the source's number plus an
 * offset, which shrinks by one with each packet that is left out; the offsets of the past are kept
 * as ranges, so that a late packet gets the number that was kept for it. Numbers are kept for all
 * packets that have not come: what is really lost stays a gap.
 *
 * Called by consumer.c for each packet and receiver: nothing allocates. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/video_forward.h"

#include <assert.h>

#include "base/clock.h"

/* A frame that would go backwards or stand still comes this much after the one before instead. */
#define TS_STEP (VIDEO_CLOCK_HZ / 1000)
/* Layers whose reports and arrivals tell of times further apart than this have a broken clock. */
#define SR_TRUST_US (1 * US_PER_S)
#define BLIND_US    (1 * US_PER_S)
#define PID_MASK    0x7fff
/* After a wider gap nothing of it can be had again: a key frame begins anew, and the numbers of the
 * gap are not given out. A receiver that misses 2^15 of them in a row would lose count of their
 * roll-overs, and with it the slot (RFC 3711 §3.3.1). */
#define GAP_MAX 512

void video_forward_init(struct video_forward *f, uint16_t first_seq, uint32_t random)
{
    *f = (struct video_forward){
        .layer = VIDEO_LAYER_NONE,
        .now_layer = VIDEO_LAYER_NONE,
        ._old_layer = VIDEO_LAYER_NONE,
        ._next_seq = first_seq,
        ._out_ts = random,
        ._out_pid = (uint16_t)(random >> 3) & PID_MASK,
        ._out_frame = (uint16_t)(random >> 7),
        ._out_tl0 = (uint8_t)(random >> 11),
    };
    video_select_begin(&f->_select);
}

/* Nothing is sent any more; what came late may still be filled. */
static void end_epoch(struct video_forward *f)
{
    if (f->now_layer == VIDEO_LAYER_NONE)
        return;
    f->_old_layer = f->now_layer;
    f->_old_epoch = f->_epoch;
    f->_old_top = f->_top;
    f->now_layer = VIDEO_LAYER_NONE;
}

void video_forward_target(struct video_forward *f, int layer, unsigned sid, unsigned tid)
{
    assert(layer >= VIDEO_LAYER_NONE && layer < RTP_LAYERS_MAX);
    f->layer = (int8_t)layer;
    f->_select.sid = (uint8_t)(sid < VIDEO_SID_MAX ? sid : VIDEO_SID_MAX);
    f->_select.tid = (uint8_t)(tid < VIDEO_SID_MAX ? tid : VIDEO_SID_MAX);
    if (layer == VIDEO_LAYER_NONE)
        end_epoch(f);
}

void video_forward_source(struct video_forward *f)
{
    end_epoch(f);
    f->_old_layer = VIDEO_LAYER_NONE; /* another source's numbers mean nothing */
    f->_true_ntp = 0;
}

/* --- Times --- */

static uint64_t capture_ntp(const struct video_source *src, uint32_t ts)
{
    if (!src->has_sr)
        return 0;
    int64_t ticks = (int32_t)(ts - src->sr_ts);
    return src->sr_ntp + (uint64_t)(ticks * (INT64_C(1) << 32) / VIDEO_CLOCK_HZ);
}

static int64_t us_to_ticks(int64_t us)
{
    return us * (VIDEO_CLOCK_HZ / 1000) / 1000;
}

/* How long after the newest frame sent (in microseconds) was this one captured? */
static int64_t us_since_last_frame(const struct video_forward *f, const struct video_source *src,
                                   const struct media_packet *m)
{
    int64_t by_arrival = (int64_t)(m->arrival_us - f->_true_at_us);
    uint64_t ntp = capture_ntp(src, m->ts);

    if (by_arrival < (int64_t)US_PER_MS)
        by_arrival = US_PER_MS;
    if (ntp == 0 || f->_true_ntp == 0)
        return by_arrival;
    int64_t d = (int64_t)(ntp - f->_true_ntp);
    int64_t by_report =
        (d >> 32) * (int64_t)US_PER_S + (int64_t)(((uint64_t)d & UINT32_MAX) * US_PER_S >> 32);
    int64_t apart = by_report - by_arrival;
    return apart > (int64_t)SR_TRUST_US || apart < -(int64_t)SR_TRUST_US ? by_arrival : by_report;
}

/* --- Pictures --- */

static struct video_frame *frame_find(struct video_forward *f, uint32_t ts)
{
    for (unsigned k = 0; k < f->_n_frames; k++) {
        struct video_frame *e =
            &f->_frame[(f->_at_frame + VIDEO_FRAMES_KEPT - k) % VIDEO_FRAMES_KEPT];
        if (e->ts == ts && e->epoch == f->_epoch)
            return e;
    }
    return NULL;
}

/* The picture right before ts among those that are known; NULL: none of this epoch is. */
static const struct video_frame *frame_before(const struct video_forward *f, uint32_t ts)
{
    const struct video_frame *best = NULL;

    for (unsigned k = 0; k < f->_n_frames; k++) {
        const struct video_frame *e = &f->_frame[k];
        if (e->epoch == f->_epoch && (int32_t)(ts - e->ts) > 0 &&
            (!best || (int32_t)(e->ts - best->ts) > 0))
            best = e;
    }
    return best;
}

static unsigned pid_diff(const struct video_packet *v, uint16_t from)
{
    return (unsigned)(v->pid - from) & (v->pid_bits == 7 ? 0x7fu : PID_MASK);
}

/* Makes an entry for a picture seen for the first time. newest: all known ones of the epoch are
 * before it. NULL when it is older than what is remembered. */
static struct video_frame *frame_add(struct video_forward *f, const struct media_packet *m,
                                     bool newest)
{
    const struct video_packet *v = &m->video;
    struct video_frame e = {.ts = m->ts, .pid = v->pid, .epoch = f->_epoch};

    e.out_ts = m->ts + f->_ts_offset;
    if (newest) {
        if (f->_started && (int32_t)(e.out_ts - f->_out_ts) <= 0)
            e.out_ts = f->_out_ts + TS_STEP;
        e.out_pid = (uint16_t)(f->_ref_out_pid + pid_diff(v, f->_ref_pid)) & PID_MASK;
        f->_ref_pid = v->pid;
        f->_ref_out_pid = e.out_pid;
        f->_newest_ts = m->ts;
        f->_any_frame = true;
    } else {
        const struct video_frame *before = frame_before(f, m->ts);
        if (!before)
            return NULL;
        if ((int32_t)(e.out_ts - before->out_ts) <= 0)
            e.out_ts = before->out_ts + 1;
        e.out_pid = (uint16_t)(before->out_pid + pid_diff(v, before->pid)) & PID_MASK;
    }
    f->_at_frame = (uint8_t)((f->_at_frame + 1) % VIDEO_FRAMES_KEPT);
    if (f->_n_frames < VIDEO_FRAMES_KEPT)
        f->_n_frames++;
    f->_frame[f->_at_frame] = e;
    return &f->_frame[f->_at_frame];
}

/* --- Numbers --- */

static struct video_range *range_push(struct video_forward *f, uint64_t first, uint32_t offset)
{
    f->_at_range = (uint8_t)((f->_at_range + 1) % VIDEO_RANGES_KEPT);
    if (f->_n_ranges < VIDEO_RANGES_KEPT)
        f->_n_ranges++;
    struct video_range *r = &f->_range[f->_at_range];
    *r = (struct video_range){(uint32_t)first, (uint32_t)first - 1, offset, f->_epoch};
    return r;
}

/* The range of an epoch that holds a number; NULL: it was left out, or is too old. */
static const struct video_range *range_find(const struct video_forward *f, uint8_t epoch,
                                            uint64_t seq)
{
    for (unsigned k = 0; k < f->_n_ranges; k++) {
        const struct video_range *r =
            &f->_range[(f->_at_range + VIDEO_RANGES_KEPT - k) % VIDEO_RANGES_KEPT];
        if (r->epoch == epoch && (int32_t)((uint32_t)seq - r->first) >= 0 &&
            (int32_t)(r->last - (uint32_t)seq) >= 0)
            return r;
    }
    return NULL;
}

static uint64_t range_out(const struct video_forward *f, const struct video_range *r, uint64_t seq)
{
    uint32_t out = (uint32_t)seq + r->offset;

    return f->_next_seq + (uint64_t)(int64_t)(int32_t)(out - (uint32_t)f->_next_seq);
}

/* Packets up to seq have numbers, those that did not come yet among them. */
static void range_extend(struct video_forward *f, uint64_t seq)
{
    f->_range[f->_at_range].last = (uint32_t)seq;
    f->_next_seq = range_out(f, &f->_range[f->_at_range], seq) + 1;
}

/* Packet seq, the newest, is left out: the next one gets its number. */
static void range_skip(struct video_forward *f, uint64_t seq)
{
    struct video_range *r = &f->_range[f->_at_range];

    if (seq > f->_top + 1)
        range_extend(f, seq - 1);
    if (r->last + 1 == r->first) { /* nothing is in it yet */
        r->first++;
        r->last++;
        r->offset--;
        return;
    }
    (void)range_push(f, seq + 1, r->offset - 1);
}

/* --- Switching --- */

static void begin_epoch(struct video_forward *f, const struct video_source *src,
                        const struct media_packet *m)
{
    const struct video_packet *v = &m->video;

    end_epoch(f);
    f->now_layer = (int8_t)v->layer;
    f->_epoch = (uint8_t)(f->_epoch == UINT8_MAX ? 1 : f->_epoch + 1);
    f->_top = m->seq - 1;
    (void)range_push(f, m->seq, (uint32_t)f->_next_seq - (uint32_t)m->seq);
    uint32_t ts = f->_out_ts;
    if (f->_started)
        ts = f->_true_ts + (uint32_t)us_to_ticks(us_since_last_frame(f, src, m));
    f->_ts_offset = ts - m->ts;
    f->_ref_pid = (uint16_t)(v->pid - 1);
    f->_ref_out_pid = f->_out_pid;
    f->_any_frame = false;
    f->_key_ts = m->ts;
    f->_tl0_offset = (uint8_t)(f->_out_tl0 + 1 - v->tl0);
    f->_frame_offset = (uint16_t)(f->_out_frame + 1 - v->frame);
    const struct video_targets *t = video_source_targets(src, v->structure);
    f->_template_delta = (uint8_t)(t && (v->facts & VIDEO_DD) ? f->_template_next - t->offset : 0) &
                         (DEPENDENCY_TEMPLATES_MAX - 1);
    f->_blind = v->facts & VIDEO_BLIND;
    f->_blind_until_us = m->arrival_us + BLIND_US;
    video_select_begin(&f->_select);
}

/* A decoder that has seen nothing of this layer can begin with this packet. */
static bool can_begin(const struct video_packet *v)
{
    if (v->facts & VIDEO_BLIND)
        return v->facts & VIDEO_START;
    return v->facts & VIDEO_KEY;
}

/* --- Packets --- */

/* A number was kept for a packet that is of no use: it is given to padding. */
static enum video_verdict fill(const struct video_forward *f, const struct video_range *r,
                               uint64_t seq, struct video_out *out)
{
    out->seq = range_out(f, r, seq);
    out->ts = f->_out_ts;
    out->began = false;
    return VIDEO_FILL;
}

/* The range of a late packet from before the last switch. */
static const struct video_range *range_of_old(const struct video_forward *f,
                                              const struct media_packet *m)
{
    if ((int8_t)m->video.layer != f->_old_layer || m->seq > f->_old_top)
        return NULL;
    return range_find(f, f->_old_epoch, m->seq);
}

/* A packet of a layer that is not sent. */
static enum video_verdict other_layer(const struct video_forward *f, const struct media_packet *m,
                                      struct video_out *out)
{
    const struct video_range *r = range_of_old(f, m);

    if (r)
        return fill(f, r, m->seq, out);
    if (f->layer == VIDEO_LAYER_NONE)
        return VIDEO_DROP_PAUSED;
    return (int8_t)m->video.layer == f->layer ? VIDEO_DROP_WAIT_KEY : VIDEO_DROP_OTHER_LAYER;
}

/* Whether the packet is wanted; if so, *frame is its picture. */
static enum video_verdict choose(struct video_forward *f, const struct video_source *src,
                                 const struct media_packet *m, bool late,
                                 struct video_frame **frame)
{
    const struct video_packet *v = &m->video;

    if (v->facts & VIDEO_EMPTY)
        return VIDEO_DROP_EMPTY;
    if (v->facts & VIDEO_BROKEN)
        return VIDEO_DROP_BROKEN;
    struct video_frame *e = frame_find(f, m->ts);
    bool begins = false;
    if (!e) {
        begins = !f->_any_frame || (int32_t)(m->ts - f->_newest_ts) > 0;
        e = frame_add(f, m, begins);
        if (!e)
            return VIDEO_DROP_LATE;
    }
    if ((v->facts & VIDEO_KEY) && (int32_t)(m->ts - f->_key_ts) > 0)
        f->_key_ts = m->ts;
    /* A key frame came after it, what it would be decided by is gone: nobody misses it. */
    if (late && (int32_t)(m->ts - f->_key_ts) < 0 && !(e->pic.decided >> v->sid & 1))
        return VIDEO_DROP_SVC;
    if (!video_select_packet(&f->_select, src, v, &e->pic, begins, late)) {
        /* VP8's picture ids have no gaps: that of a picture left out goes to the next one. */
        if (begins && v->codec == RTP_CODEC_VP8) {
            e->out_pid = (uint16_t)(e->out_pid - 1) & PID_MASK;
            f->_ref_out_pid = e->out_pid;
        }
        return VIDEO_DROP_SVC;
    }
    *frame = e;
    return VIDEO_FORWARD;
}

/* A packet is sent: what the next switch goes on from. */
static void note_sent(struct video_forward *f, const struct video_source *src,
                      const struct media_packet *m, const struct video_sent *sent)
{
    const struct video_packet *v = &m->video;

    if (!f->_started || (int32_t)(sent->ts - f->_out_ts) > 0) {
        f->_started = true;
        f->_out_ts = sent->ts;
        f->_true_ts = m->ts + f->_ts_offset;
        f->_true_at_us = m->arrival_us;
        f->_true_ntp = capture_ntp(src, m->ts);
    }
    if ((v->facts & VIDEO_HAS_PID) && ((sent->pid - f->_out_pid) & PID_MASK) <= PID_MASK / 2)
        f->_out_pid = sent->pid;
    if ((v->facts & VIDEO_HAS_TL0) && (int8_t)(uint8_t)(sent->tl0 - f->_out_tl0) > 0)
        f->_out_tl0 = sent->tl0;
    if ((v->facts & (VIDEO_DD | VIDEO_DD_UNKNOWN)) &&
        (int16_t)(uint16_t)(sent->frame - f->_out_frame) > 0)
        f->_out_frame = sent->frame;
    const struct video_targets *t =
        v->facts & VIDEO_DD_STRUCTURE ? video_source_targets(src, v->structure) : NULL;
    if (t)
        f->_template_next = (uint8_t)(t->offset + f->_template_delta + t->n_templates) &
                            (DEPENDENCY_TEMPLATES_MAX - 1);
}

enum video_verdict video_forward_packet(struct video_forward *f, const struct video_source *src,
                                        const struct media_packet *m, struct video_out *out,
                                        struct video_sent *sent)
{
    const struct video_packet *v = &m->video;
    int8_t layer = (int8_t)v->layer;
    const struct video_range *r = NULL;
    struct video_frame *e;
    bool began = false;

    if (layer == f->now_layer && m->seq > f->_top + GAP_MAX)
        end_epoch(f);
    if (layer != f->now_layer) {
        if (layer != f->layer || !can_begin(v))
            return other_layer(f, m, out);
        begin_epoch(f, src, m);
        began = true;
    }
    f->_blind = f->_blind && m->arrival_us < f->_blind_until_us;
    bool late = m->seq <= f->_top;
    if (late) {
        r = range_find(f, f->_epoch, m->seq);
        if (!r && (r = range_of_old(f, m)))
            return fill(f, r, m->seq, out);
        if (!r)
            return VIDEO_DROP_LATE;
    }
    enum video_verdict verdict = choose(f, src, m, late, &e);
    if (verdict != VIDEO_FORWARD && late)
        return fill(f, r, m->seq, out);
    if (!late) {
        if (verdict == VIDEO_FORWARD)
            range_extend(f, m->seq);
        else
            range_skip(f, m->seq);
        f->_top = m->seq;
        r = &f->_range[f->_at_range];
    }
    if (verdict != VIDEO_FORWARD)
        return verdict;

    *sent = (struct video_sent){
        .ts = e->out_ts,
        .pid = e->out_pid,
        .frame = (uint16_t)(v->frame + f->_frame_offset),
        .tl0 = (uint8_t)(v->tl0 + f->_tl0_offset),
        .template_delta = f->_template_delta,
        .target = video_select_mask(&f->_select, src, v),
        .marker = m->marker || video_select_ends_picture(&f->_select, v),
    };
    note_sent(f, src, m, sent);
    out->seq = range_out(f, r, m->seq);
    out->began = began;
    video_rewrite(src, m, sent, out);
    return VIDEO_FORWARD;
}

bool video_forward_lookup(const struct video_forward *f, uint64_t seq, unsigned *layer,
                          uint64_t *src_seq)
{
    for (unsigned k = 0; k < f->_n_ranges; k++) {
        const struct video_range *r =
            &f->_range[(f->_at_range + VIDEO_RANGES_KEPT - k) % VIDEO_RANGES_KEPT];
        uint32_t at = (uint32_t)seq - r->offset;
        bool now = f->now_layer != VIDEO_LAYER_NONE && r->epoch == f->_epoch;
        bool old = f->_old_layer != VIDEO_LAYER_NONE && r->epoch == f->_old_epoch;
        if ((int32_t)(at - r->first) < 0 || (int32_t)(r->last - at) < 0 || (!now && !old))
            continue;
        uint64_t top = now ? f->_top : f->_old_top;
        *layer = (unsigned)(now ? f->now_layer : f->_old_layer);
        *src_seq = top + (uint64_t)(int64_t)(int32_t)(at - (uint32_t)top);
        return true;
    }
    return false;
}

bool video_forward_wants_key(const struct video_forward *f, unsigned *layer)
{
    if (f->layer == VIDEO_LAYER_NONE)
        return false;
    *layer = (unsigned)f->layer;
    return f->now_layer != f->layer || f->_select.need_key || f->_blind;
}

bool video_forward_current(const struct video_forward *f, unsigned *layer, unsigned *sid,
                           unsigned *tid)
{
    if (f->now_layer == VIDEO_LAYER_NONE)
        return false;
    *layer = (unsigned)f->now_layer;
    *sid = f->_select.now_sid;
    *tid = f->_select.now_tid;
    return true;
}

bool video_forward_ts(const struct video_forward *f, unsigned layer, uint32_t ts, uint32_t *out)
{
    if (f->now_layer == VIDEO_LAYER_NONE || (int)layer != f->now_layer)
        return false;
    *out = ts + f->_ts_offset;
    return true;
}

/* What a stream of video tells about itself.
 *
 * Called for each video packet that comes in, once. Pure; owned by the producer. Without a
 * dependency descriptor the codec's payload descriptor is all there is; with one it decides, since
 * it is right for payloads that are encrypted end to end too.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/video_source.h"

#include <errno.h>

#include "base/mem.h"
#include "proto/av1_desc.h"
#include "proto/h264_desc.h"
#include "proto/vp8_desc.h"
#include "proto/vp9_desc.h"

enum { LATE_FRAMES = 512 }; /* some seconds with three spatial layers */

void video_source_init(struct video_source *s, enum rtp_codec codec, bool opaque)
{
    *s = (struct video_source){.codec = (uint8_t)codec, .opaque = opaque};
}

void video_source_fini(struct video_source *s)
{
    mem_free(s->_structure);
    *s = (struct video_source){0};
}

void video_source_sr(struct video_source *s, uint32_t rtp_ts, uint64_t ntp)
{
    s->has_sr = true;
    s->sr_ts = rtp_ts;
    s->sr_ntp = ntp;
}

const struct video_targets *video_source_targets(const struct video_source *s, uint8_t generation)
{
    const struct video_targets *t = &s->_targets[generation % VIDEO_STRUCTURES_KEPT];

    return t->n > 0 && t->generation == generation ? t : NULL;
}

void video_source_layers(const struct video_source *s, unsigned *max_sid, unsigned *max_tid)
{
    const struct video_targets *t = video_source_targets(s, s->_generation);

    *max_sid = s->_max_sid;
    *max_tid = s->_max_tid;
    for (unsigned i = 0; t && i < t->n; i++) {
        if (t->sid[i] > *max_sid)
            *max_sid = t->sid[i];
        if (t->tid[i] > *max_tid)
            *max_tid = t->tid[i];
    }
}

/* True when ts is that of a frame not seen before. */
static bool is_new_frame(const struct video_source *s, uint32_t ts)
{
    return !s->_any || (int32_t)(ts - s->_last_ts) > 0;
}

static uint32_t fact(bool is, uint32_t f)
{
    return is ? f : 0;
}

static bool describe_vp8(struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;
    struct vp8_desc d;

    if (vp8_desc_decode(&d, media_payload(m)) != 0)
        return false;
    v->facts |= fact(d.start, VIDEO_START) | fact(m->marker, VIDEO_END) |
                fact(d.key && !s->opaque, VIDEO_KEY) | fact(s->opaque, VIDEO_BLIND) |
                fact(d.sync, VIDEO_UP_SWITCH) | fact(d.has_pid, VIDEO_HAS_PID) |
                fact(d.has_tl0, VIDEO_HAS_TL0) | fact(d.has_tid, VIDEO_HAS_TID);
    v->tid = d.tid;
    v->pid = d.pid;
    v->pid_bits = d.pid_bits;
    v->pid_at = d.pid_at;
    v->tl0 = d.tl0;
    v->tl0_at = d.tl0_at;
    return true;
}

static bool describe_vp9(struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;
    struct vp9_desc d;

    if (vp9_desc_decode(&d, media_payload(m)) != 0)
        return false;
    bool key = d.start && !d.inter_picture && !d.inter_layer && d.sid == 0;
    bool refs = d.flexible && d.has_pid;
    v->facts |= fact(d.start, VIDEO_START) | fact(d.end, VIDEO_END) | fact(key, VIDEO_KEY) |
                fact(d.up_switch, VIDEO_UP_SWITCH) | fact(d.has_pid, VIDEO_HAS_PID) |
                fact(d.has_tl0, VIDEO_HAS_TL0) | fact(d.has_layers, VIDEO_HAS_TID) |
                fact(d.inter_picture, VIDEO_INTER_PICTURE) |
                fact(d.inter_layer, VIDEO_INTER_LAYER) | fact(d.non_ref_above, VIDEO_NOT_BELOW) |
                fact(refs, VIDEO_HAS_REFS);
    v->sid = d.sid;
    v->tid = d.tid;
    v->pid = d.pid;
    v->pid_bits = d.pid_bits;
    v->pid_at = d.pid_at;
    v->tl0 = d.tl0;
    v->tl0_at = d.tl0_at;
    v->n_ref = refs ? d.n_refs : 0;
    memcpy(v->ref, d.ref, v->n_ref);
    if (d.has_structure)
        s->_max_sid = (uint8_t)(d.n_spatial - 1);
    return true;
}

static bool describe_h264(struct video_source *s, struct media_packet *m)
{
    struct h264_desc d = {0};
    bool known = h264_desc_decode(&d, media_payload(m)) == 0;

    if (!known && !s->opaque)
        return false;
    /* Where parameter sets come in the stream a decoder begins with them, else (they came with the
     * description) with the picture. */
    bool key = d.sps || (d.idr && !s->_sps_seen);
    s->_sps_seen |= d.sps;
    m->video.facts |= fact(key || is_new_frame(s, m->ts), VIDEO_START) |
                      fact(m->marker, VIDEO_END) | fact(key && !s->opaque, VIDEO_KEY) |
                      fact(s->opaque, VIDEO_BLIND);
    return true;
}

static bool describe_av1(struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;
    struct av1_desc d;

    if (av1_desc_decode(&d, media_payload(m), !s->opaque) != 0)
        return false;
    bool key = d.new_sequence && (d.sequence_header || s->opaque);
    v->facts |= fact(key || is_new_frame(s, m->ts), VIDEO_START) | fact(m->marker, VIDEO_END) |
                fact(key, VIDEO_KEY);
    return true;
}

/* A late frame, from before the key frame that brought the structure. (Much further back: the
 * sender began anew.) */
static bool is_before_structure(const struct video_source *s, uint16_t frame)
{
    int ahead = (int16_t)(uint16_t)(frame - s->_structure_frame);

    return s->_structure && ahead < 0 && ahead > -LATE_FRAMES;
}

/* Makes a structure that came the present one. */
static bool adopt(struct video_source *s, const struct dependency_structure *fresh, uint16_t frame)
{
    if (!s->_structure)
        s->_structure = mem_zalloc(sizeof(*s->_structure));
    if (!s->_structure)
        return false;
    *s->_structure = *fresh;
    s->_structure_frame = frame;
    struct video_targets *t = &s->_targets[++s->_generation % VIDEO_STRUCTURES_KEPT];
    *t = (struct video_targets){
        .generation = s->_generation,
        .n = fresh->n_targets,
        .n_chains = fresh->n_chains,
        .offset = fresh->offset,
        .n_templates = fresh->n_templates,
    };
    memcpy(t->sid, fresh->target_sid, sizeof(t->sid));
    memcpy(t->tid, fresh->target_tid, sizeof(t->tid));
    memcpy(t->chain, fresh->protected_by, sizeof(t->chain));
    return true;
}

/* The frames it needs, when they fit. */
static void keep_refs(struct video_packet *v, const struct dependency *d)
{
    v->facts &= ~(uint32_t)VIDEO_HAS_REFS;
    v->n_ref = 0;
    if (d->n_fdiffs > VIDEO_REFS_MAX)
        return;
    for (unsigned i = 0; i < d->n_fdiffs; i++) {
        if (d->fdiff[i] > UINT8_MAX)
            return;
        v->ref[i] = (uint8_t)d->fdiff[i];
    }
    v->n_ref = d->n_fdiffs;
    v->facts |= VIDEO_HAS_REFS;
}

/* The structure is that of a key frame whose first packet was lost (it may come yet), or the one
 * before: only what is at the same place in every descriptor can be read. */
static void describe_unknown(const struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;
    struct rd r = rd_init(media_part(m, m->dependency));
    uint8_t first = rd_u8(&r);

    v->facts &= ~(uint32_t)(VIDEO_START | VIDEO_END | VIDEO_KEY | VIDEO_BLIND);
    v->facts |= VIDEO_DD_UNKNOWN;
    v->template_id = first & (DEPENDENCY_TEMPLATES_MAX - 1);
    v->frame = rd_be16(&r);
    v->structure = s->_generation;
    v->sid = v->tid = 0;
}

/* The dependency descriptor overrules what the payload says. */
static bool describe_dependency(struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;
    struct dependency_structure fresh;
    struct dependency d;

    int err = dependency_decode(&d, s->_structure, &fresh, media_part(m, m->dependency));
    if (err != 0 && err != -ENOENT)
        return false;
    if (err != 0 || is_before_structure(s, d.frame)) {
        describe_unknown(s, m);
        return true;
    }
    if (d.has_structure && !adopt(s, &fresh, d.frame))
        return false;
    if (d.has_active)
        s->_active = d.active;
    v->facts &= ~(uint32_t)(VIDEO_START | VIDEO_END | VIDEO_KEY | VIDEO_BLIND);
    v->facts |= VIDEO_DD | fact(d.start, VIDEO_START) | fact(d.end, VIDEO_END) |
                fact(d.start && d.has_structure && d.n_fdiffs == 0, VIDEO_KEY) |
                fact(d.has_structure, VIDEO_DD_STRUCTURE) | fact(d.mask_present, VIDEO_DD_ACTIVE);
    v->sid = d.sid;
    v->tid = d.tid;
    v->structure = s->_generation;
    v->template_id = d.template_id;
    v->frame = d.frame;
    v->active = s->_active;
    v->dti = d.dti;
    memcpy(v->chain, d.chain, sizeof(v->chain));
    keep_refs(v, &d);
    return true;
}

static bool describe_payload(struct video_source *s, struct media_packet *m)
{
    switch (s->codec) {
    case RTP_CODEC_VP8:
        return describe_vp8(s, m);
    case RTP_CODEC_VP9:
        return describe_vp9(s, m);
    case RTP_CODEC_H264:
        return describe_h264(s, m);
    case RTP_CODEC_AV1:
        return describe_av1(s, m);
    default: /* not known: frames by their timestamps, nothing else */
        m->video.facts |=
            fact(is_new_frame(s, m->ts), VIDEO_START) | fact(m->marker, VIDEO_END) | VIDEO_BLIND;
        return true;
    }
}

void video_describe(struct video_source *s, struct media_packet *m)
{
    struct video_packet *v = &m->video;

    *v = (struct video_packet){.layer = v->layer, .codec = s->codec};
    if (m->len <= m->payload_at) {
        v->facts = VIDEO_EMPTY;
        return;
    }
    if (!describe_payload(s, m) || (m->dependency.len > 0 && !describe_dependency(s, m)))
        v->facts |= VIDEO_BROKEN;
    if (is_new_frame(s, m->ts)) {
        s->_last_ts = m->ts;
        s->_any = true;
    }
    if (v->sid > s->_max_sid)
        s->_max_sid = v->sid;
    if (v->tid > s->_max_tid)
        s->_max_tid = v->tid;
}

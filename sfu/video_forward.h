/* Forwards video to one consumer: chooses among simulcast layers, and keeps sequence numbers,
 * timestamps, picture ids and frame numbers continuous whatever the source is switched to.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_FORWARD_H
#define SORI_SFU_VIDEO_FORWARD_H

#include "sfu/video_rewrite.h"
#include "sfu/video_select.h"

#define VIDEO_LAYER_NONE  (-1) /* as target: paused */
#define VIDEO_CLOCK_HZ    90000
#define VIDEO_FRAMES_KEPT 32 /* pictures back that late packets find their decision */
#define VIDEO_RANGES_KEPT 64 /* runs of dropped packets back that they find their number */

/* What becomes of one packet. All but the first two are drop reasons, and counters. */
enum video_verdict {
    VIDEO_FORWARD,
    VIDEO_FILL, /* its number was kept for it, it is not wanted: send an empty (padding) packet with
                   out->seq and out->ts, so that the receiver does not wait for it */
    VIDEO_DROP_PAUSED,
    VIDEO_DROP_OTHER_LAYER, /* simulcast */
    VIDEO_DROP_WAIT_KEY,
    VIDEO_DROP_SVC,  /* a spatial or temporal layer that is not wanted or can't be decoded */
    VIDEO_DROP_LATE, /* too late to be given a number */
    VIDEO_DROP_EMPTY,
    VIDEO_DROP_BROKEN,
    VIDEO_VERDICTS,
};

struct video_range {      /* packets that have, or had kept for them, consecutive numbers */
    uint32_t first, last; /* at the source, low 32 bits */
    uint32_t offset;      /* to the number sent, modulo 2^32 */
    uint8_t epoch;
};

struct video_frame {
    uint32_t ts, out_ts;
    uint16_t pid, out_pid;
    uint8_t epoch; /* of numbers: which switch it came after; 0: an empty entry */
    struct video_picture pic;
};

struct video_forward {
    int8_t layer;     /* wanted; VIDEO_LAYER_NONE */
    int8_t now_layer; /* sent; VIDEO_LAYER_NONE */
    bool _started;
    uint8_t _epoch;
    /* Before the last switch: late packets of it get their numbers filled. */
    int8_t _old_layer;
    uint8_t _old_epoch;
    uint64_t _old_top;
    /* Numbers. */
    uint64_t _next_seq;
    uint64_t _top; /* the highest number of the source's stream in this epoch */
    uint32_t _ts_offset, _out_ts;
    uint32_t _true_ts;    /* of the newest frame, before it was kept from going backwards */
    uint64_t _true_at_us; /* when that frame came */
    uint64_t _true_ntp;   /* and when it was captured, on its sender's clock; 0: not known */
    uint64_t _blind_until_us;
    uint32_t _newest_ts; /* of the epoch's pictures, at the source */
    uint32_t _key_ts;    /* of its last key frame */
    bool _any_frame;
    uint16_t _out_pid;               /* the highest sent */
    uint16_t _ref_pid, _ref_out_pid; /* at the source and as sent, of the newest picture */
    uint16_t _out_frame, _frame_offset;
    uint8_t _out_tl0, _tl0_offset;
    uint8_t _template_next, _template_delta; /* the first id that the last structure left free */
    bool _blind;                             /* began without knowing of a key frame */
    uint8_t _n_ranges, _at_range, _n_frames, _at_frame; /* used; the newest one */
    struct video_select _select;
    struct video_range _range[VIDEO_RANGES_KEPT];
    struct video_frame _frame[VIDEO_FRAMES_KEPT];
};

/* Begins a consumer that wants nothing yet. The first packet gets the number first_seq; timestamps
 * and picture ids begin anywhere (random). */
void video_forward_init(struct video_forward *f, uint16_t first_seq, uint32_t random);

/* Says what is wanted: the simulcast layer (0 for a source that has one stream; VIDEO_LAYER_NONE:
 * pause) and the highest spatial and temporal layer in it (VIDEO_SID_MAX: all). Takes effect at the
 * next packet at which a decoder can follow; until then the present choice goes on.
 *
 * Where key frames can't be told (payloads encrypted, no dependency descriptor) a switch is made at
 * the next frame's first packet, and a key frame asked for, for a second. */
void video_forward_target(struct video_forward *f, int layer, unsigned sid, unsigned tid);

/* Says that from now on the packets are another source's (or that a layer's stream began anew): the
 * next thing sent is a key frame of it, and numbers go on. */
void video_forward_source(struct video_forward *f);

/* Decides about one packet of the source, of any layer, in the order of arrival; one that was
 * dropped may be given again later (see video_out.began and video_forward_lookup()), one that was
 * sent may not.
 *
 * src: of the packet's layer. out: written for VIDEO_FORWARD and VIDEO_FILL (then seq and ts only);
 * of patch and dd only what is used. sent: written for VIDEO_FORWARD, to be kept for
 * video_rewrite(). */
enum video_verdict video_forward_packet(struct video_forward *f, const struct video_source *src,
                                        const struct media_packet *m, struct video_out *out,
                                        struct video_sent *sent);

/* Rewrites a packet that was sent before as it was then (out->seq is left alone). */
static inline bool video_forward_again(const struct video_source *src, const struct media_packet *m,
                                       const struct video_sent *sent, struct video_out *out)
{
    video_rewrite(src, m, sent, out);
    return true;
}

/* Which packet of the source has, or had kept for it, the number seq (a NACK that names one that
 * was never sent). False when none has. */
bool video_forward_lookup(const struct video_forward *f, uint64_t seq, unsigned *layer,
                          uint64_t *src_seq);

/* True while a key frame of *layer is needed to go on or to get to the target. */
bool video_forward_wants_key(const struct video_forward *f, unsigned *layer);

/* The layers that are sent at present; false when nothing is. */
bool video_forward_current(const struct video_forward *f, unsigned *layer, unsigned *sid,
                           unsigned *tid);

/* The timestamp at the receiver that belongs to ts of the layer that is sent at present (for sender
 * reports); false when it is another or nothing is sent. */
bool video_forward_ts(const struct video_forward *f, unsigned layer, uint32_t ts, uint32_t *out);

#endif

/* Chooses and rewrites the video packets of one consumer: simulcast layer, spatial and temporal
 * layers; sequence numbers, timestamps, picture ids and dependency descriptors stay continuous
 * whatever the source is switched to.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_FORWARD_H
#define SORI_SFU_VIDEO_FORWARD_H

#include "sfu/video_source.h"

#define VIDEO_LAYER_NONE  (-1) /* as target: paused */
#define VIDEO_PATCH_MAX   16
#define VIDEO_DD_MAX      255 /* of an extension element */
#define VIDEO_CLOCK_HZ    90000
#define VIDEO_FRAMES_KEPT 32 /* frames (pictures) back that late packets find their decision */
#define VIDEO_RANGES_KEPT                                                  \
    64 /* runs of dropped packets back that late packets find their number \
        */

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

/* All that is needed to rewrite the same packet in the same way again. */
struct video_sent {
    uint32_t ts;
    uint16_t pid, frame;
    uint8_t tl0;
    uint8_t template_delta;
    uint8_t target; /* sid << 4 | tid of the decode target; 0xff: no mask is written */
    uint8_t flags;
};

_Static_assert(sizeof(struct video_sent) == 12, "kept for each packet sent");

struct video_out {
    uint64_t seq; /* extended, from the start value on; its low 16 bits go into the header */
    uint32_t ts;
    bool marker;
    uint8_t skip;      /* the first skip bytes of the payload are left out ... */
    uint8_t patch_len; /* ... and these come in their place */
    uint8_t dd_len;    /* > 0: the dependency descriptor to write in place of the packet's */
    uint8_t patch[VIDEO_PATCH_MAX];
    uint8_t dd[VIDEO_DD_MAX];
};

struct video_range {
    uint32_t first, last; /* numbers at the source, low 32 bits */
    uint32_t offset;      /* to the number sent, modulo 2^32 */
    uint8_t epoch;
};

struct video_frame {
    uint32_t ts, out_ts;
    uint16_t pid, out_pid;
    uint8_t epoch;           /* which source and layer; 0: an empty entry */
    uint8_t decided, wanted; /* by spatial layer */
    uint8_t tl0;
};

struct video_forward {
    /* What is wanted. */
    int8_t layer, sid, tid;
    /* What is sent: the layer, -1: nothing yet or after pause and source change. */
    int8_t now_layer, now_sid, now_tid;
    uint8_t epoch;  /* counts switches; never 0 */
    uint8_t source; /* counts sources */
    bool started;
    /* Numbers. */
    uint64_t next_seq;
    uint64_t src_seq; /* the highest one of the epoch's stream */
    uint32_t ts_offset, out_ts, last_src_ts;
    uint64_t out_ts_at_us; /* when the frame of out_ts arrived */
    uint64_t out_ntp;      /* and when it was captured, on its sender's clock; 0: not known */
    uint16_t out_pid, pid_offset;
    uint8_t out_tl0, tl0_offset;
    uint16_t frame_offset, out_frame;
    uint8_t template_delta,
        out_templates; /* the first template id not used by the last structure */
    /* Scalability. */
    uint8_t intact;      /* VP8: temporal layers, VP9: spatial layers, that can go on as they are */
    int8_t target;       /* decode target; -1 none */
    uint8_t structure;   /* generation that complete and target are about */
    uint32_t complete;   /* decode targets of which nothing needed was left out */
    uint8_t mask_frames; /* the mask is written while > 0 */
    uint16_t mask_frame;
    uint8_t n_ranges, n_frames; /* how many of the rings below are used */
    uint8_t at_range, at_frame; /* the newest one */
    struct video_range range[VIDEO_RANGES_KEPT];
    struct video_frame frame[VIDEO_FRAMES_KEPT];
    uint8_t known[256]; /* of the last 256 frames (VP9: pictures): whether they were sent */
};

/* Begins a consumer that wants nothing yet. The first packet gets the number first_seq (below 2^16,
 * random), first_ts, first_pid and so on come from rand. */
void video_forward_init(struct video_forward *f, uint16_t first_seq, uint32_t rand);

/* Says what is wanted: the simulcast layer (0 for a source that has one stream; VIDEO_LAYER_NONE:
 * pause) and the highest spatial and temporal layer in it. Takes effect at the next packet at which
 * a decoder can follow; until then the present choice goes on. */
void video_forward_target(struct video_forward *f, int layer, unsigned sid, unsigned tid);

/* Says that from now on the packets are another source's (or that a layer's stream began anew): the
 * next thing sent is a key frame of it, and numbers go on. */
void video_forward_source(struct video_forward *f);

/* Decides about one packet of the source, of any layer, in the order of arrival.
 *
 * src: of the packet's layer. out: written for VIDEO_FORWARD and VIDEO_FILL (then seq, ts and
 * nothing else of use); of patch and dd only what is used. sent: written for VIDEO_FORWARD, to be
 * kept for video_forward_again(). */
enum video_verdict video_forward_packet(struct video_forward *f, const struct video_source *src,
                                        const struct media_packet *m, struct video_out *out,
                                        struct video_sent *sent);

/* Rewrites a packet that was sent before as it was then (out->seq is left alone). False when what
 * that needs is gone. */
bool video_forward_again(const struct video_source *src, const struct media_packet *m,
                         const struct video_sent *sent, struct video_out *out);

/* True while a key frame of *layer is needed to go on or to get to the target. */
bool video_forward_wants_key(const struct video_forward *f, unsigned *layer);

/* The layers that are sent at present; false when nothing is. */
bool video_forward_current(const struct video_forward *f, unsigned *layer, unsigned *sid,
                           unsigned *tid);

/* The timestamp at the receiver that belongs to ts of the layer that is sent at present (for sender
 * reports); false when it is another or nothing was sent. */
bool video_forward_ts(const struct video_forward *f, unsigned layer, uint32_t ts, uint32_t *out);

#endif

/* Chooses the frames of one stream that one consumer gets: spatial and temporal layers, such that
 * whatever is sent can be decoded from what was sent.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_SELECT_H
#define SORI_SFU_VIDEO_SELECT_H

#include "sfu/video_source.h"

#define VIDEO_SELECT_KNOWN 256 /* frames (VP9: pictures) back that a reference is looked up */
#define VIDEO_SID_MAX      7
#define VIDEO_NO_MASK      0xff

/* The layers of one picture (frames of one time) about which was decided, bit per spatial layer. */
struct video_picture {
    uint8_t decided, wanted;
};

struct video_select {
    uint8_t sid, tid;           /* the highest that are wanted */
    uint8_t now_sid, now_tid;   /* what is sent */
    bool need_key;              /* only a key frame leads on, or to what is wanted */
    uint8_t _pic_sid, _top_sid; /* VP9: the highest of this picture so far, of the one before */
    bool _up_next;              /* VP9 U: temporal layers may be added from the next picture on */
    uint8_t _intact; /* layers whose frames can go on: VP8 temporal, VP9 spatial; bit 0 lowest */
    /* Dependency descriptor. */
    int8_t _target;       /* the decode target that is sent; -1 none */
    bool _any;            /* _top is known */
    uint8_t _structure;   /* generation that _target and _complete are about */
    uint16_t _top;        /* the highest frame number (VP9: picture id) seen */
    uint16_t _key_frame;  /* that brought the structure */
    uint16_t _mask_frame; /* the frame at which the target changed */
    bool _mask_due;
    uint32_t _complete; /* decode targets of which nothing that is needed was left out */
    uint8_t _known[VIDEO_SELECT_KNOWN]; /* DD: enum; VP9: spatial layers that were left out */
};

/* Begins with a stream's key frame; what is wanted stays. */
void video_select_begin(struct video_select *s);

/* Decides about the frame that v belongs to: at its first packet; all its packets get the same
 * answer.
 *
 * pic: of this picture (all layers), zeroed when it is new. begins: v is of a picture later than
 * all before. late: packets after it were seen already. */
bool video_select_packet(struct video_select *s, const struct video_source *src,
                         const struct video_packet *v, struct video_picture *pic, bool begins,
                         bool late);

/* True when v ends the last frame of a picture that the consumer gets. */
bool video_select_ends_picture(const struct video_select *s, const struct video_packet *v);

/* The decode target to tell the receiver of with this packet, as sid << 4 | tid, or VIDEO_NO_MASK.
 */
uint8_t video_select_mask(const struct video_select *s, const struct video_source *src,
                          const struct video_packet *v);

/* The mask of active decode targets for layers up to those of target (see above). */
uint32_t video_select_targets(const struct video_targets *t, uint32_t active, uint8_t target);

#endif

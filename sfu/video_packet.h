/* What is known of one video packet, found once when it comes in (video_source.h) and read by each
 * consumer (video_forward.h). Small: it is kept with every stored packet.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_PACKET_H
#define SORI_SFU_VIDEO_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#define VIDEO_CHAINS_MAX 4 /* chains of a dependency descriptor that are kept */
#define VIDEO_REFS_MAX   7 /* frames that one frame refers to directly */

enum video_facts {
    VIDEO_START = 1 << 0, /* of a frame (with spatial layers: of this layer's frame) */
    VIDEO_END = 1 << 1,
    VIDEO_KEY = 1 << 2,       /* a decoder can begin with this packet */
    VIDEO_UP_SWITCH = 1 << 3, /* VP8 Y, VP9 U: temporal layers may be added here */
    VIDEO_HAS_PID = 1 << 4,
    VIDEO_HAS_TL0 = 1 << 5,
    VIDEO_HAS_TID = 1 << 6,
    VIDEO_INTER_PICTURE = 1 << 7, /* VP9 P: needs earlier frames of its layer */
    VIDEO_INTER_LAYER = 1 << 8,   /* VP9 D: needs the frame of the spatial layer below */
    VIDEO_NOT_BELOW = 1 << 9,     /* VP9 Z: no frame above needs this one */
    VIDEO_HAS_REFS = 1 << 10,     /* ref[] is the whole list */
    VIDEO_DD = 1 << 11,           /* the fields of the dependency descriptor are there */
    VIDEO_DD_STRUCTURE = 1 << 12, /* … and it carries a template structure */
    VIDEO_DD_ACTIVE = 1 << 13,    /* … and the mask of active decode targets */
    VIDEO_EMPTY = 1 << 14,        /* padding only: never forwarded */
    VIDEO_BROKEN = 1 << 15,       /* not to be understood: never forwarded */
    VIDEO_BLIND = 1 << 16,        /* encrypted: key frames can't be told, VIDEO_KEY says nothing */
    VIDEO_DD_UNKNOWN = 1 << 17,   /* a descriptor whose structure is not known (yet): frame and
                                   template_id are there */
};

struct video_packet {
    uint32_t facts; /* enum video_facts */
    uint8_t layer;  /* simulcast: 0 = lowest; the caller sets it, all else is video_describe()'s */
    uint8_t codec;  /* enum rtp_codec */
    uint8_t sid, tid;
    uint16_t pid;     /* picture id */
    uint8_t pid_at;   /* where it is in the payload; 0 nowhere */
    uint8_t pid_bits; /* 7 or 15 */
    uint8_t tl0_at;
    uint8_t tl0;
    uint8_t n_ref;
    uint8_t ref[VIDEO_REFS_MAX]; /* by how many frames (VP9: pictures) earlier */
    /* Dependency descriptor (VIDEO_DD). */
    uint8_t structure; /* generation: see video_source.h */
    uint8_t template_id;
    uint8_t chain[VIDEO_CHAINS_MAX]; /* how many frames earlier the last one of the chain was */
    uint16_t frame;
    uint32_t active; /* active decode targets, as of this packet */
    uint64_t dti;    /* two bits each, target 0 lowest: enum dependency_dti */
};

_Static_assert(sizeof(struct video_packet) <= 48, "kept with every stored packet");

#endif

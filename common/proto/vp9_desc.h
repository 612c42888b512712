/* The VP9 payload descriptor (RFC 9628 §4.2).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_VP9_DESC_H
#define SORI_PROTO_VP9_DESC_H

#include "base/bytes.h"

#define VP9_REFS_MAX    3 /* P_DIFF of one picture */
#define VP9_SPATIAL_MAX 8 /* 3 bits */

struct vp9_desc {
    bool start, end;    /* B, E: of a frame of one spatial layer */
    bool inter_picture; /* P */
    bool flexible;      /* F */
    bool non_ref_above; /* Z: the layers above don't need this frame */
    bool has_layers;    /* L */
    bool has_pid, has_tl0;
    bool up_switch;   /* U */
    bool inter_layer; /* D */
    uint8_t sid, tid, tl0;
    uint8_t pid_bits;
    uint16_t pid;
    uint8_t pid_at, tl0_at;
    uint8_t n_refs;            /* flexible mode only */
    uint8_t ref[VP9_REFS_MAX]; /* P_DIFF: how many pictures before */
    bool has_structure;        /* V */
    uint8_t n_spatial;         /* of the structure */
    struct {
        uint16_t width, height; /* 0: not said */
    } size[VP9_SPATIAL_MAX];
    size_t len;
};

/* Decodes the descriptor at the front of a payload. Returns 0, or -EBADMSG. */
int vp9_desc_decode(struct vp9_desc *out, struct slice payload);

/* Writes one (tests, load generators); a structure is written with sizes and without pictures. */
void vp9_desc_encode(struct wr *w, const struct vp9_desc *d);

#endif

/* The VP8 payload descriptor (RFC 7741 §4.2).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_VP8_DESC_H
#define SORI_PROTO_VP8_DESC_H

#include "base/bytes.h"

#define VP8_DESC_LEN_MAX 6
#define VP8_TID_MAX      3

struct vp8_desc {
    bool start;   /* of a frame: S is set and the partition index is 0 */
    bool key;     /* start, and what follows begins a key frame (RFC 6386 §9.1) */
    bool non_ref; /* N: no other frame needs it */
    bool has_pid, has_tl0, has_tid, has_keyidx;
    bool sync; /* Y: needs frames of temporal layer 0 only */
    uint8_t tid, tl0, keyidx;
    uint8_t pid_bits; /* 7 or 15 */
    uint16_t pid;
    uint8_t pid_at, tl0_at, tid_at; /* offsets; 0: not there */
    size_t len;                     /* of the descriptor */
};

/* Decodes the descriptor at the front of a payload. Returns 0, or -EBADMSG. */
int vp8_desc_decode(struct vp8_desc *out, struct slice payload);

/* Writes one (tests, load generators): start, non_ref and what the has_ flags name; pid_bits says
 * how the picture id is written. */
void vp8_desc_encode(struct wr *w, const struct vp8_desc *d);

#endif

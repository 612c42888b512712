/* The VP8 payload descriptor (RFC 7741 §4.2).
 *
 *     X R N S R PID(3)      required
 *     I L T K RSV(4)        if X
 *     M PictureID(7)        if I; M: 8 more bits
 *     TL0PICIDX             if L
 *     TID(2) Y KEYIDX(5)    if T or K
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/vp8_desc.h"

#include <errno.h>

enum {
    X = 0x80,
    N = 0x20,
    S = 0x10,
    PARTITION = 0x07,
    I = 0x80,
    L = 0x40,
    T = 0x20,
    K = 0x10,
    M = 0x80,
    Y = 0x20,
    KEYIDX = 0x1f,
    INTER_FRAME = 0x01, /* RFC 6386 §9.1: the first bit of a frame, 0 for key frames */
};

int vp8_desc_decode(struct vp8_desc *out, struct slice payload)
{
    struct rd r = rd_init(payload);
    uint8_t first = rd_u8(&r);
    uint8_t more = first & X ? rd_u8(&r) : 0;
    struct vp8_desc d = {
        .start = (first & S) && (first & PARTITION) == 0,
        .non_ref = first & N,
        .has_pid = more & I,
        .has_tl0 = more & L,
        .has_tid = more & T,
        .has_keyidx = more & K,
    };

    if (d.has_pid) {
        d.pid_at = (uint8_t)(payload.len - r.left);
        uint8_t high = rd_u8(&r);
        d.pid = high & 0x7f;
        d.pid_bits = 7;
        if (high & M) {
            d.pid = (uint16_t)(d.pid << 8 | rd_u8(&r));
            d.pid_bits = 15;
        }
    }
    if (d.has_tl0) {
        d.tl0_at = (uint8_t)(payload.len - r.left);
        d.tl0 = rd_u8(&r);
    }
    if (d.has_tid || d.has_keyidx) {
        d.tid_at = (uint8_t)(payload.len - r.left);
        uint8_t b = rd_u8(&r);
        d.tid = d.has_tid ? b >> 6 : 0;
        d.sync = d.has_tid && (b & Y);
        d.keyidx = b & KEYIDX;
    }
    if (r.bad)
        return -EBADMSG;
    d.len = payload.len - r.left;
    d.key = d.start && r.left > 0 && !(r.p[0] & INTER_FRAME);
    *out = d;
    return 0;
}

void vp8_desc_encode(struct wr *w, const struct vp8_desc *d)
{
    unsigned more = (d->has_pid ? I : 0u) | (d->has_tl0 ? L : 0u) | (d->has_tid ? T : 0u) |
                    (d->has_keyidx ? K : 0u);

    wr_u8(w, (uint8_t)((more ? X : 0u) | (d->non_ref ? N : 0u) | (d->start ? S : 0u)));
    if (more)
        wr_u8(w, (uint8_t)more);
    if (d->has_pid && d->pid_bits == 15)
        wr_be16(w, (uint16_t)(M << 8 | d->pid));
    else if (d->has_pid)
        wr_u8(w, d->pid & 0x7f);
    if (d->has_tl0)
        wr_u8(w, d->tl0);
    if (d->has_tid || d->has_keyidx)
        wr_u8(w, (uint8_t)((unsigned)d->tid << 6 | (d->sync ? Y : 0u) | (d->keyidx & KEYIDX)));
}

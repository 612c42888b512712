/* The VP9 payload descriptor (RFC 9628 §4.2).
 *
 *     I P L F B E V Z          required
 *     M PICTURE ID             if I: 7 or 15 bits
 *     TID(3) U SID(3) D        if L
 *     TL0PICIDX                if L and not F
 *     P_DIFF(7) N              if P and F, up to three
 *     N_S(3) Y G RSV(3) …      if V: the scalability structure
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/vp9_desc.h"

#include <errno.h>

enum {
    I = 0x80,
    P = 0x40,
    L = 0x20,
    F = 0x10,
    B = 0x08,
    E = 0x04,
    V = 0x02,
    Z = 0x01,
    M = 0x80,
    U = 0x10,
    D = 0x01,
    MORE_REFS = 0x01,
    SS_Y = 0x10,
    SS_G = 0x08,
};

static void decode_structure(struct vp9_desc *d, struct rd *r)
{
    uint8_t first = rd_u8(r);

    d->has_structure = true;
    d->n_spatial = (uint8_t)((first >> 5) + 1);
    for (unsigned i = 0; (first & SS_Y) && i < d->n_spatial; i++) {
        d->size[i].width = rd_be16(r);
        d->size[i].height = rd_be16(r);
    }
    unsigned pictures = first & SS_G ? rd_u8(r) : 0;
    for (; pictures > 0 && !r->bad; pictures--)
        (void)rd_take(r, rd_u8(r) >> 2 & 3); /* R reference indices */
}

int vp9_desc_decode(struct vp9_desc *out, struct slice payload)
{
    struct rd r = rd_init(payload);
    uint8_t first = rd_u8(&r);
    struct vp9_desc d = {
        .start = first & B,
        .end = first & E,
        .inter_picture = first & P,
        .flexible = first & F,
        .non_ref_above = first & Z,
        .has_layers = first & L,
        .has_pid = first & I,
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
    if (d.has_layers) {
        uint8_t b = rd_u8(&r);
        d.tid = b >> 5;
        d.up_switch = b & U;
        d.sid = b >> 1 & 7;
        d.inter_layer = b & D;
        if (!d.flexible) {
            d.has_tl0 = true;
            d.tl0_at = (uint8_t)(payload.len - r.left);
            d.tl0 = rd_u8(&r);
        }
    }
    for (bool more = d.flexible && d.inter_picture; more;) {
        if (d.n_refs == VP9_REFS_MAX)
            return -EBADMSG;
        uint8_t b = rd_u8(&r);
        d.ref[d.n_refs++] = b >> 1;
        more = b & MORE_REFS;
    }
    if (first & V)
        decode_structure(&d, &r);
    if (r.bad)
        return -EBADMSG;
    d.len = payload.len - r.left;
    *out = d;
    return 0;
}

void vp9_desc_encode(struct wr *w, const struct vp9_desc *d)
{
    wr_u8(w,
          (uint8_t)((d->has_pid ? I : 0u) | (d->inter_picture ? P : 0u) | (d->has_layers ? L : 0u) |
                    (d->flexible ? F : 0u) | (d->start ? B : 0u) | (d->end ? E : 0u) |
                    (d->has_structure ? V : 0u) | (d->non_ref_above ? Z : 0u)));
    if (d->has_pid && d->pid_bits == 15)
        wr_be16(w, (uint16_t)(M << 8 | d->pid));
    else if (d->has_pid)
        wr_u8(w, d->pid & 0x7f);
    if (d->has_layers) {
        wr_u8(w, (uint8_t)((unsigned)d->tid << 5 | (d->up_switch ? U : 0u) | (unsigned)d->sid << 1 |
                           (d->inter_layer ? D : 0u)));
        if (!d->flexible)
            wr_u8(w, d->tl0);
    }
    for (unsigned i = 0; d->flexible && d->inter_picture && i < d->n_refs; i++)
        wr_u8(w, (uint8_t)(d->ref[i] << 1 | (i + 1 < d->n_refs ? MORE_REFS : 0)));
    if (d->has_structure) {
        wr_u8(w, (uint8_t)((unsigned)(d->n_spatial - 1) << 5 | SS_Y));
        for (unsigned i = 0; i < d->n_spatial; i++) {
            wr_be16(w, d->size[i].width);
            wr_be16(w, d->size[i].height);
        }
    }
}

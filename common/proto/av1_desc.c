/* The AV1 aggregation header and the OBU headers behind it (AV1 RTP specification §4.4).
 *
 *     Z Y W(2) N -(3)
 *     OBU elements, each behind its length (leb128); with W > 0 there are W, the last without
 * length
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/av1_desc.h"

#include <errno.h>

enum {
    Z = 0x80,
    Y = 0x40,
    W_SHIFT = 4,
    W_MASK = 3,
    N = 0x08,
    OBU_SEQUENCE_HEADER = 1, /* AV1 §6.2.2 */
    OBU_EXTENDED = 0x04,
    LEB128_BYTES_MAX = 5, /* lengths below 2^35: more than any packet */
};

static size_t rd_leb128(struct rd *r)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < LEB128_BYTES_MAX; i++) {
        uint8_t b = rd_u8(r);
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80))
            return (size_t)v;
    }
    r->bad = true;
    return 0;
}

static void see(struct av1_desc *d, struct slice obu)
{
    if (obu.len == 0)
        return;
    d->sequence_header |= (obu.p[0] >> 3 & 0x0f) == OBU_SEQUENCE_HEADER;
    if ((obu.p[0] & OBU_EXTENDED) && obu.len > 1) {
        d->has_layer = true;
        d->tid = obu.p[1] >> 5;
        d->sid = obu.p[1] >> 3 & 3;
    }
}

int av1_desc_decode(struct av1_desc *out, struct slice payload, bool obus)
{
    struct rd r = rd_init(payload);
    uint8_t first = rd_u8(&r);
    unsigned count = first >> W_SHIFT & W_MASK;
    struct av1_desc d = {
        .continues = first & Z,
        .to_continue = first & Y,
        .new_sequence = first & N,
    };

    if (r.bad || (d.continues && d.new_sequence))
        return -EBADMSG;
    for (unsigned i = 0; obus && r.left > 0 && i < AV1_OBUS_MAX; i++) {
        bool last = count > 0 && i + 1 == count;
        struct slice obu = last ? rd_take(&r, r.left) : rd_take(&r, rd_leb128(&r));
        if (r.bad)
            return -EBADMSG;
        if (i > 0 || !d.continues)
            see(&d, obu);
        if (last)
            break;
    }
    *out = d;
    return 0;
}

/* The RTP header (RFC 3550 §5.1) with its extension (§5.3.1).
 *
 * Called for each packet that comes in, before it is decrypted, and for each that goes out.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtp.h"

#include <errno.h>

enum {
    FIRST_EXTENDED = 0x10,
    FIRST_PADDED = 0x20,
    FIRST_COUNT = 0x0f,
    SECOND_MARKER = 0x80,
    SECOND_PT = 0x7f,
};

int rtp_decode(struct rtp_header *out, struct slice packet)
{
    struct rd r = rd_init(packet);
    uint8_t first = rd_u8(&r);
    uint8_t second = rd_u8(&r);
    struct rtp_header h = {
        .padded = first & FIRST_PADDED,
        .n_csrc = first & FIRST_COUNT,
        .marker = second & SECOND_MARKER,
        .pt = second & SECOND_PT,
    };

    h.seq = rd_be16(&r);
    h.ts = rd_be32(&r);
    h.ssrc = rd_be32(&r);
    if (h.n_csrc > 0)
        h.csrc = rd_take(&r, h.n_csrc * sizeof(uint32_t));
    if (first & FIRST_EXTENDED) {
        h.ext_profile = rd_be16(&r);
        size_t words = rd_be16(&r);
        h.ext = rd_take(&r, words * 4);
    }
    if (r.bad || first >> 6 != RTP_VERSION)
        return -EBADMSG;
    h.header_len = packet.len - r.left;
    *out = h;
    return 0;
}

int rtp_padding(struct slice payload, bool padded, size_t *pad)
{
    size_t n = 0;

    if (padded) {
        if (payload.len == 0)
            return -EBADMSG;
        n = payload.p[payload.len - 1];
        if (n == 0 || n > payload.len)
            return -EBADMSG;
    }
    *pad = n;
    return 0;
}

void rtp_put_header(struct wr *w, const struct rtp_header *h, bool extended)
{
    wr_u8(w, (uint8_t)(RTP_VERSION << 6 | (h->padded ? FIRST_PADDED : 0) |
                       (extended ? FIRST_EXTENDED : 0) | (h->csrc.len / sizeof(uint32_t))));
    wr_u8(w, (uint8_t)((h->marker ? SECOND_MARKER : 0) | (h->pt & SECOND_PT)));
    wr_be16(w, h->seq);
    wr_be32(w, h->ts);
    wr_be32(w, h->ssrc);
    wr_bytes(w, h->csrc);
}

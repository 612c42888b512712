/* RTCP feedback: generic NACK and PLI (RFC 4585), FIR (RFC 5104), REMB
 * (draft-alvestrand-rmcat-remb-03 §2.2).
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp_fb.h"

#include <assert.h>
#include <errno.h>

enum {
    NACK_ENTRY_BYTES = 4,
    NACK_BLP_BITS = 16,
    FB_HEAD_BYTES = RTCP_HEADER_BYTES + 8,
    FIR_ENTRY_BYTES = 8,
    REMB_MANTISSA_BITS = 18,
};

int rtcp_fb_decode(struct rtcp_fb *out, const struct rtcp_packet *p)
{
    struct rd r = rd_init(p->body);
    uint32_t sender = rd_be32(&r);
    uint32_t media = rd_be32(&r);

    if (r.bad)
        return -EBADMSG;
    *out = (struct rtcp_fb){sender, media, rd_rest(&r)};
    return 0;
}

bool rtcp_nack_next(struct rtcp_nack *n, uint16_t *seq)
{
    if (n->_blp == 0) {
        if (n->_r.left < NACK_ENTRY_BYTES)
            return false;
        n->_pid = rd_be16(&n->_r);
        n->_blp = rd_be16(&n->_r);
        *seq = n->_pid;
        return true;
    }
    do {
        n->_pid++;
        bool lost = n->_blp & 1;
        n->_blp >>= 1;
        if (lost)
            break;
    } while (n->_blp != 0);
    *seq = n->_pid;
    return true;
}

size_t rtcp_put_nack(struct wr *w, uint32_t sender, uint32_t media, const uint16_t *seq, size_t n)
{
    size_t i = 0;

    if (w->bad || w->cap - w->len < FB_HEAD_BYTES + NACK_ENTRY_BYTES || n == 0)
        return 0;
    size_t at = rtcp_begin(w);
    wr_be32(w, sender);
    wr_be32(w, media);
    while (i < n && w->cap - w->len >= NACK_ENTRY_BYTES) {
        uint16_t pid = seq[i++];
        unsigned blp = 0;
        for (; i < n; i++) {
            unsigned ahead = (uint16_t)(seq[i] - pid);
            if (ahead > NACK_BLP_BITS)
                break;
            if (ahead > 0)
                blp |= 1u << (ahead - 1);
        }
        wr_be16(w, pid);
        wr_be16(w, (uint16_t)blp);
    }
    rtcp_end(w, at, RTCP_RTPFB, RTCP_FB_NACK);
    return i;
}

void rtcp_put_pli(struct wr *w, uint32_t sender, uint32_t media)
{
    size_t at = rtcp_begin(w);

    wr_be32(w, sender);
    wr_be32(w, media);
    rtcp_end(w, at, RTCP_PSFB, RTCP_FB_PLI);
}

bool rtcp_fir_next(struct rd *r, struct rtcp_fir *out)
{
    if (r->bad || r->left < FIR_ENTRY_BYTES)
        return false;
    out->ssrc = rd_be32(r);
    out->seq = rd_u8(r);
    (void)rd_take(r, 3);
    return true;
}

void rtcp_put_fir(struct wr *w, uint32_t sender, const struct rtcp_fir *v, size_t n)
{
    size_t at = rtcp_begin(w);

    wr_be32(w, sender);
    wr_be32(w, 0); /* RFC 5104 §4.3.1.2: the media source is not used, 0 */
    for (size_t i = 0; i < n; i++) {
        wr_be32(w, v[i].ssrc);
        wr_be32(w, (uint32_t)v[i].seq << 24);
    }
    rtcp_end(w, at, RTCP_PSFB, RTCP_FB_FIR);
}

int rtcp_remb_decode(struct rtcp_remb *out, struct slice fci)
{
    struct rd r = rd_init(fci);
    struct slice name = rd_take(&r, 4);

    if (r.bad || !slice_eq(name, SLICE_LIT("REMB")))
        return -ENOENT;
    uint32_t word = rd_be32(&r);
    unsigned n = word >> 24;
    unsigned exp = word >> REMB_MANTISSA_BITS & 0x3f;
    uint64_t mantissa = word & ((1u << REMB_MANTISSA_BITS) - 1);
    struct slice ssrcs = rd_take(&r, n * sizeof(uint32_t));
    if (r.bad)
        return -EBADMSG;
    /* Up to 2^81 on the wire: what does not fit is as good as no limit. */
    uint64_t bps = mantissa << (exp & 0x3f);
    if (exp > 0 && bps >> exp != mantissa)
        bps = UINT64_MAX;
    *out = (struct rtcp_remb){bps, n, ssrcs};
    return 0;
}

void rtcp_put_remb(struct wr *w, uint32_t sender, uint64_t bps, const uint32_t *ssrc, size_t n)
{
    unsigned exp = 0;

    assert(n <= RTCP_REMB_SSRCS_MAX);
    while (bps >> exp >= 1u << REMB_MANTISSA_BITS)
        exp++;
    size_t at = rtcp_begin(w);
    wr_be32(w, sender);
    wr_be32(w, 0);
    wr_str(w, "REMB");
    wr_be32(w, (uint32_t)n << 24 | exp << REMB_MANTISSA_BITS | (uint32_t)(bps >> exp));
    for (size_t i = 0; i < n; i++)
        wr_be32(w, ssrc[i]);
    rtcp_end(w, at, RTCP_PSFB, RTCP_FB_AFB);
}

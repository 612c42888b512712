/* RTCP extended reports (RFC 3611).
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp_xr.h"

#include <errno.h>

enum {
    RRTR_BYTES = 8,
    DLRR_ENTRY_BYTES = 12,
    STATISTICS_BYTES = 36,
    VOIP_BYTES = 32,
    /* RFC 3611 §4.6: type-specific bits of the statistics summary. */
    HAS_LOST = 0x80,
    HAS_DUP = 0x40,
    HAS_JITTER = 0x20,
    TTL_SHIFT = 3,
    TTL_MASK = 3,
};

int rtcp_xr_decode(struct rtcp_xr *out, const struct rtcp_packet *p)
{
    struct rd r = rd_init(p->body);
    uint32_t ssrc = rd_be32(&r);

    if (r.bad)
        return -EBADMSG;
    *out = (struct rtcp_xr){ssrc, r};
    return 0;
}

bool rtcp_xr_next(struct rtcp_xr *x, struct rtcp_xr_block *out)
{
    struct rtcp_xr_block b = {.type = rd_u8(&x->_r)};

    b.specific = rd_u8(&x->_r);
    size_t words = rd_be16(&x->_r);
    b.body = rd_take(&x->_r, words * 4);
    if (x->_r.bad)
        return false;
    *out = b;
    return true;
}

int rtcp_xr_rrtr_decode(uint64_t *ntp, const struct rtcp_xr_block *b)
{
    struct rd r = rd_init(b->body);
    uint64_t v = rd_be64(&r);

    if (b->type != RTCP_XR_RRTR || b->body.len != RRTR_BYTES)
        return -EBADMSG;
    *ntp = v;
    return 0;
}

bool rtcp_xr_dlrr_next(struct rd *r, struct rtcp_xr_dlrr *out)
{
    if (r->bad || r->left < DLRR_ENTRY_BYTES)
        return false;
    out->ssrc = rd_be32(r);
    out->lrr = rd_be32(r);
    out->dlrr = rd_be32(r);
    return true;
}

int rtcp_xr_statistics_decode(struct rtcp_xr_statistics *out, const struct rtcp_xr_block *b)
{
    struct rd r = rd_init(b->body);

    if (b->type != RTCP_XR_STATISTICS || b->body.len != STATISTICS_BYTES)
        return -EBADMSG;
    out->has_lost = b->specific & HAS_LOST;
    out->has_dup = b->specific & HAS_DUP;
    out->has_jitter = b->specific & HAS_JITTER;
    out->ttl_kind = b->specific >> TTL_SHIFT & TTL_MASK;
    out->ssrc = rd_be32(&r);
    out->begin_seq = rd_be16(&r);
    out->end_seq = rd_be16(&r);
    out->lost = rd_be32(&r);
    out->dup = rd_be32(&r);
    out->min_jitter = rd_be32(&r);
    out->max_jitter = rd_be32(&r);
    out->mean_jitter = rd_be32(&r);
    out->dev_jitter = rd_be32(&r);
    out->min_ttl = rd_u8(&r);
    out->max_ttl = rd_u8(&r);
    out->mean_ttl = rd_u8(&r);
    out->dev_ttl = rd_u8(&r);
    return 0;
}

int rtcp_xr_voip_decode(struct rtcp_xr_voip *out, const struct rtcp_xr_block *b)
{
    struct rd r = rd_init(b->body);

    if (b->type != RTCP_XR_VOIP || b->body.len != VOIP_BYTES)
        return -EBADMSG;
    out->ssrc = rd_be32(&r);
    out->loss_rate = rd_u8(&r);
    out->discard_rate = rd_u8(&r);
    out->burst_density = rd_u8(&r);
    out->gap_density = rd_u8(&r);
    out->burst_ms = rd_be16(&r);
    out->gap_ms = rd_be16(&r);
    out->round_trip_ms = rd_be16(&r);
    out->end_system_ms = rd_be16(&r);
    out->signal_dbm = (int8_t)rd_u8(&r);
    out->noise_dbm = (int8_t)rd_u8(&r);
    out->rerl_db = rd_u8(&r);
    out->gmin = rd_u8(&r);
    out->r_factor = rd_u8(&r);
    out->ext_r_factor = rd_u8(&r);
    out->mos_lq = rd_u8(&r);
    out->mos_cq = rd_u8(&r);
    out->rx_config = rd_u8(&r);
    (void)rd_u8(&r); /* reserved */
    out->jb_nominal_ms = rd_be16(&r);
    out->jb_maximum_ms = rd_be16(&r);
    out->jb_abs_max_ms = rd_be16(&r);
    return 0;
}

size_t rtcp_xr_begin(struct wr *w, uint32_t ssrc)
{
    size_t at = rtcp_begin(w);

    wr_be32(w, ssrc);
    return at;
}

static void put_block(struct wr *w, uint8_t type, unsigned specific, size_t body)
{
    wr_u8(w, type);
    wr_u8(w, (uint8_t)specific);
    wr_be16(w, (uint16_t)(body / 4));
}

void rtcp_xr_put_rrtr(struct wr *w, uint64_t ntp)
{
    put_block(w, RTCP_XR_RRTR, 0, RRTR_BYTES);
    wr_be64(w, ntp);
}

void rtcp_xr_put_dlrr(struct wr *w, const struct rtcp_xr_dlrr *v, size_t n)
{
    put_block(w, RTCP_XR_DLRR, 0, n * DLRR_ENTRY_BYTES);
    for (size_t i = 0; i < n; i++) {
        wr_be32(w, v[i].ssrc);
        wr_be32(w, v[i].lrr);
        wr_be32(w, v[i].dlrr);
    }
}

void rtcp_xr_put_statistics(struct wr *w, const struct rtcp_xr_statistics *s)
{
    put_block(w, RTCP_XR_STATISTICS,
              (s->has_lost ? HAS_LOST : 0u) | (s->has_dup ? HAS_DUP : 0u) |
                  (s->has_jitter ? HAS_JITTER : 0u) |
                  (s->ttl_kind & (unsigned)TTL_MASK) << TTL_SHIFT,
              STATISTICS_BYTES);
    wr_be32(w, s->ssrc);
    wr_be16(w, s->begin_seq);
    wr_be16(w, s->end_seq);
    wr_be32(w, s->lost);
    wr_be32(w, s->dup);
    wr_be32(w, s->min_jitter);
    wr_be32(w, s->max_jitter);
    wr_be32(w, s->mean_jitter);
    wr_be32(w, s->dev_jitter);
    wr_u8(w, s->min_ttl);
    wr_u8(w, s->max_ttl);
    wr_u8(w, s->mean_ttl);
    wr_u8(w, s->dev_ttl);
}

void rtcp_xr_put_voip(struct wr *w, const struct rtcp_xr_voip *v)
{
    put_block(w, RTCP_XR_VOIP, 0, VOIP_BYTES);
    wr_be32(w, v->ssrc);
    wr_u8(w, v->loss_rate);
    wr_u8(w, v->discard_rate);
    wr_u8(w, v->burst_density);
    wr_u8(w, v->gap_density);
    wr_be16(w, v->burst_ms);
    wr_be16(w, v->gap_ms);
    wr_be16(w, v->round_trip_ms);
    wr_be16(w, v->end_system_ms);
    wr_u8(w, (uint8_t)v->signal_dbm);
    wr_u8(w, (uint8_t)v->noise_dbm);
    wr_u8(w, v->rerl_db);
    wr_u8(w, v->gmin);
    wr_u8(w, v->r_factor);
    wr_u8(w, v->ext_r_factor);
    wr_u8(w, v->mos_lq);
    wr_u8(w, v->mos_cq);
    wr_u8(w, v->rx_config);
    wr_u8(w, 0);
    wr_be16(w, v->jb_nominal_ms);
    wr_be16(w, v->jb_maximum_ms);
    wr_be16(w, v->jb_abs_max_ms);
}

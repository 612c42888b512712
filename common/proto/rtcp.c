/* RTCP (RFC 3550 §6): walk, sender and receiver reports, SDES, BYE, APP; NTP arithmetic.
 *
 * Compound packets and those of reduced size (RFC 5506) are walked alike: what is in them is
 * authenticated by SRTCP, so the heuristics of RFC 3550 §A.2 are not needed. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"

enum {
    FIRST_COUNT = 0x1f,
    SDES_END = 0,
    SDES_CNAME = 1, /* RFC 3550 §6.5.1 */
    LOST_MAX = 0x7fffff,
    RTT_MAX_S = 60,
};

/* From 1900 to 1970. */
#define NTP_UNIX_S UINT64_C(2208988800)

int rtcp_next(struct rd *r, struct rtcp_packet *out)
{
    if (r->bad)
        return -EBADMSG;
    if (r->left == 0)
        return 0;
    uint8_t first = rd_u8(r);
    uint8_t type = rd_u8(r);
    size_t words = rd_be16(r);
    struct slice body = rd_take(r, words * 4);
    if (r->bad || first >> 6 != 2) {
        r->bad = true;
        return -EBADMSG;
    }
    if (first & RTCP_PADDED) {
        size_t pad = body.len > 0 ? body.p[body.len - 1] : 0;
        if (pad == 0 || pad > body.len) {
            r->bad = true;
            return -EBADMSG;
        }
        body.len -= pad;
    }
    *out = (struct rtcp_packet){type, first & FIRST_COUNT, body};
    return 1;
}

size_t rtcp_begin(struct wr *w)
{
    size_t at = w->len;

    wr_zero(w, RTCP_HEADER_BYTES);
    return at;
}

void rtcp_end(struct wr *w, size_t at, uint8_t type, uint8_t count)
{
    if (w->bad)
        return;
    size_t body = w->len - at - RTCP_HEADER_BYTES;
    if (body % 4 != 0 || body / 4 > UINT16_MAX) {
        w->bad = true;
        return;
    }
    wr_patch_be16(w, at, (uint16_t)((2 << 6 | (count & FIRST_COUNT)) << 8 | type));
    wr_patch_be16(w, at + 2, (uint16_t)(body / 4));
}

int rtcp_report_decode(struct rtcp_report *out, const struct rtcp_packet *p)
{
    struct rd r = rd_init(p->body);
    struct rtcp_report rep;

    rep.ssrc = rd_be32(&r);
    rep.ntp = 0;
    rep.rtp_ts = rep.pkts = rep.bytes = 0;
    if (p->type == RTCP_SR) {
        rep.ntp = rd_be64(&r);
        rep.rtp_ts = rd_be32(&r);
        rep.pkts = rd_be32(&r);
        rep.bytes = rd_be32(&r);
    }
    rep.n = p->count;
    for (unsigned i = 0; i < rep.n; i++) {
        struct rtcp_block *b = &rep.v[i];
        b->ssrc = rd_be32(&r);
        uint32_t loss = rd_be32(&r);
        b->fraction_lost = (uint8_t)(loss >> 24);
        b->lost = (int32_t)(loss & 0xffffff) - (loss & 0x800000 ? 0x1000000 : 0);
        b->highest_seq = rd_be32(&r);
        b->jitter = rd_be32(&r);
        b->lsr = rd_be32(&r);
        b->dlsr = rd_be32(&r);
    }
    if (r.bad)
        return -EBADMSG;
    out->ssrc = rep.ssrc;
    out->ntp = rep.ntp;
    out->rtp_ts = rep.rtp_ts;
    out->pkts = rep.pkts;
    out->bytes = rep.bytes;
    out->n = rep.n;
    memcpy(out->v, rep.v, rep.n * sizeof(*rep.v));
    return 0;
}

static void put_blocks(struct wr *w, const struct rtcp_report *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        const struct rtcp_block *b = &r->v[i];
        /* RFC 3550 §A.3: clamped to what 24 bits hold. */
        int32_t lost = b->lost > LOST_MAX        ? LOST_MAX
                       : b->lost < -LOST_MAX - 1 ? -LOST_MAX - 1
                                                 : b->lost;
        wr_be32(w, b->ssrc);
        wr_be32(w, (uint32_t)b->fraction_lost << 24 | ((uint32_t)lost & 0xffffff));
        wr_be32(w, b->highest_seq);
        wr_be32(w, b->jitter);
        wr_be32(w, b->lsr);
        wr_be32(w, b->dlsr);
    }
}

void rtcp_put_sr(struct wr *w, const struct rtcp_report *r)
{
    assert(r->n <= RTCP_COUNT_MAX);
    size_t at = rtcp_begin(w);
    wr_be32(w, r->ssrc);
    wr_be64(w, r->ntp);
    wr_be32(w, r->rtp_ts);
    wr_be32(w, r->pkts);
    wr_be32(w, r->bytes);
    put_blocks(w, r);
    rtcp_end(w, at, RTCP_SR, (uint8_t)r->n);
}

void rtcp_put_rr(struct wr *w, const struct rtcp_report *r)
{
    assert(r->n <= RTCP_COUNT_MAX);
    size_t at = rtcp_begin(w);
    wr_be32(w, r->ssrc);
    put_blocks(w, r);
    rtcp_end(w, at, RTCP_RR, (uint8_t)r->n);
}

int rtcp_sdes_cname(const struct rtcp_packet *p, uint32_t *ssrc, struct slice *cname)
{
    struct rd r = rd_init(p->body);

    for (unsigned i = 0; i < p->count; i++) {
        uint32_t who = rd_be32(&r);
        for (;;) {
            uint8_t item = rd_u8(&r);
            if (r.bad)
                return -EBADMSG;
            if (item == SDES_END)
                break;
            struct slice text = rd_take(&r, rd_u8(&r));
            if (r.bad)
                return -EBADMSG;
            if (item == SDES_CNAME) {
                *ssrc = who;
                *cname = text;
                return 0;
            }
        }
        /* Chunks begin at multiples of four bytes. */
        (void)rd_take(&r, (4 - (p->body.len - r.left) % 4) % 4);
    }
    return r.bad ? -EBADMSG : -ENOENT;
}

void rtcp_put_sdes(struct wr *w, uint32_t ssrc, struct slice cname)
{
    if (cname.len > RTCP_CNAME_MAX) {
        w->bad = true;
        return;
    }
    size_t at = rtcp_begin(w);
    wr_be32(w, ssrc);
    wr_u8(w, SDES_CNAME);
    wr_u8(w, (uint8_t)cname.len);
    wr_bytes(w, cname);
    /* The list ends with at least one zero, and at a multiple of four. */
    wr_zero(w, 4 - (2 + cname.len) % 4);
    rtcp_end(w, at, RTCP_SDES, 1);
}

int rtcp_bye_decode(struct rtcp_bye *out, const struct rtcp_packet *p)
{
    struct rd r = rd_init(p->body);
    struct rtcp_bye bye = {.n = p->count};

    for (unsigned i = 0; i < bye.n; i++)
        bye.ssrc[i] = rd_be32(&r);
    if (!r.bad && r.left > 0)
        bye.reason = rd_take(&r, rd_u8(&r));
    if (r.bad)
        return -EBADMSG;
    *out = bye;
    return 0;
}

void rtcp_put_bye(struct wr *w, const struct rtcp_bye *bye)
{
    assert(bye->n <= RTCP_COUNT_MAX);
    if (bye->reason.len > UINT8_MAX) {
        w->bad = true;
        return;
    }
    size_t at = rtcp_begin(w);
    for (unsigned i = 0; i < bye->n; i++)
        wr_be32(w, bye->ssrc[i]);
    if (bye->reason.len > 0) {
        wr_u8(w, (uint8_t)bye->reason.len);
        wr_bytes(w, bye->reason);
        wr_zero(w, (4 - (1 + bye->reason.len) % 4) % 4);
    }
    rtcp_end(w, at, RTCP_BYE, (uint8_t)bye->n);
}

int rtcp_app_decode(struct rtcp_app *out, const struct rtcp_packet *p)
{
    struct rd r = rd_init(p->body);
    uint32_t ssrc = rd_be32(&r);
    struct slice name = rd_take(&r, sizeof(out->name));

    if (r.bad || r.left % 4 != 0)
        return -EBADMSG;
    out->subtype = p->count;
    out->ssrc = ssrc;
    memcpy(out->name, name.p, sizeof(out->name));
    out->data = rd_rest(&r);
    return 0;
}

void rtcp_put_app(struct wr *w, const struct rtcp_app *app)
{
    size_t at = rtcp_begin(w);

    wr_be32(w, app->ssrc);
    wr_bytes(w, slice_of(app->name, sizeof(app->name)));
    wr_bytes(w, app->data);
    rtcp_end(w, at, RTCP_APP, app->subtype);
}

uint64_t rtcp_ntp(uint64_t unix_us)
{
    uint64_t s = unix_us / US_PER_S + NTP_UNIX_S;
    uint64_t us = unix_us % US_PER_S;

    return s << 32 | (us << 32) / US_PER_S;
}

int64_t rtcp_ntp_diff_us(uint64_t later, uint64_t earlier)
{
    bool negative = (int64_t)(later - earlier) < 0;
    uint64_t d = negative ? earlier - later : later - earlier;
    int64_t us = (int64_t)((d >> 32) * US_PER_S + ((d & 0xffffffff) * US_PER_S >> 32));

    return negative ? -us : us;
}

uint64_t rtcp_middle_us(uint32_t units)
{
    return (uint64_t)units * US_PER_S >> 16;
}

uint32_t rtcp_us_middle(uint64_t us)
{
    uint64_t s = us / US_PER_S;

    return s > UINT16_MAX ? UINT32_MAX : (uint32_t)(s << 16 | ((us % US_PER_S) << 16) / US_PER_S);
}

bool rtcp_rtt(uint32_t arrival, uint32_t lsr, uint32_t dlsr, uint64_t *rtt_us)
{
    if (lsr == 0)
        return false;
    int32_t rtt = (int32_t)(arrival - lsr - dlsr);
    if (rtt < 0 || rtt > RTT_MAX_S << 16)
        return false;
    *rtt_us = rtcp_middle_us((uint32_t)rtt);
    return true;
}

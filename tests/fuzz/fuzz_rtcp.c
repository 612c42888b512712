/* RTCP compounds: every packet that is understood can be written, and reads the same again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/rtcp.h"
#include "proto/rtcp_fb.h"
#include "proto/rtcp_xr.h"
#include "proto/twcc_fb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t buf[1 << 20];

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static struct rtcp_packet only(const struct wr *w)
{
    struct rd r = rd_init(wr_done(w));
    struct rtcp_packet p;

    expect(!w->bad && rtcp_next(&r, &p) == 1 && r.left == 0);
    return p;
}

static void report(const struct rtcp_packet *p)
{
    struct rtcp_report r, again;

    if (rtcp_report_decode(&r, p) != 0)
        return;
    struct wr w = wr_init(buf, sizeof(buf));
    if (p->type == RTCP_SR)
        rtcp_put_sr(&w, &r);
    else
        rtcp_put_rr(&w, &r);
    struct rtcp_packet q = only(&w);
    expect(rtcp_report_decode(&again, &q) == 0 && again.n == r.n && again.ntp == r.ntp);
    for (unsigned i = 0; i < r.n; i++)
        expect(again.v[i].lost == r.v[i].lost && again.v[i].jitter == r.v[i].jitter);
}

static void names(const struct rtcp_packet *p)
{
    struct slice cname, again;
    struct rtcp_bye bye;
    struct rtcp_app app;
    uint32_t ssrc, ssrc_again;

    struct wr w = wr_init(buf, sizeof(buf));
    if (rtcp_sdes_cname(p, &ssrc, &cname) == 0) {
        rtcp_put_sdes(&w, ssrc, cname);
        struct rtcp_packet q = only(&w);
        expect(rtcp_sdes_cname(&q, &ssrc_again, &again) == 0 && ssrc == ssrc_again);
        expect(slice_eq(cname, again));
    }
    w = wr_init(buf, sizeof(buf));
    if (rtcp_bye_decode(&bye, p) == 0) {
        rtcp_put_bye(&w, &bye);
        (void)only(&w);
    }
    w = wr_init(buf, sizeof(buf));
    if (rtcp_app_decode(&app, p) == 0) {
        rtcp_put_app(&w, &app);
        (void)only(&w);
    }
}

static void nack(struct slice fci)
{
    static uint16_t seq[1 << 16];
    struct rtcp_nack it = rtcp_nack_init(fci);
    size_t n = 0;

    while (n < ARRAY_LEN(seq) && rtcp_nack_next(&it, &seq[n]))
        n++;
    struct wr w = wr_init(buf, sizeof(buf));
    size_t taken = rtcp_put_nack(&w, 1, 2, seq, n < 1000 ? n : 1000);
    expect(taken == (n < 1000 ? n : 1000));
}

static void twcc(struct slice fci)
{
    static struct twcc_arrival v[TWCC_STATUS_MAX];
    struct twcc_fb fb, again;
    struct twcc_status s, t;
    size_t n = 0, seen = 0;
    bool plain = true;
    const uint64_t base = 1 << 20;

    if (twcc_fb_decode(&fb, fci) != 0)
        return;
    while (twcc_fb_next(&fb, &s)) {
        if (s.arrived)
            v[n++] = (struct twcc_arrival){base + seen, (uint64_t)(s.at_us + TWCC_BASE_WRAP_US)};
        plain = plain && (!s.arrived || s.delta_us >= -TWCC_TICK_US * 32768);
        seen++;
    }
    expect(seen == fb.n);
    if (n == 0)
        return;
    struct wr w = wr_init(buf, sizeof(buf));
    size_t taken = twcc_fb_encode(&w, 1, 2, 3, base, v, n);
    expect(plain && taken >= 1 && taken <= n);
    struct rtcp_packet q = only(&w);
    struct rtcp_fb f;
    expect(rtcp_fb_decode(&f, &q) == 0 && twcc_fb_decode(&again, f.fci) == 0);
    seen = 0;
    for (size_t i = 0; twcc_fb_next(&again, &t); i++) {
        bool arrived = seen < taken && v[seen].seq == base + i;
        expect(t.arrived == arrived);
        if (arrived)
            expect((t.at_us - (int64_t)v[seen++].at_us) % TWCC_BASE_WRAP_US == 0);
    }
    expect(seen == taken);
}

static void feedback(const struct rtcp_packet *p)
{
    struct rtcp_remb remb, again;
    struct rtcp_fir fir;
    struct rtcp_fb fb;

    if (rtcp_fb_decode(&fb, p) != 0)
        return;
    nack(fb.fci);
    twcc(fb.fci);
    for (struct rd r = rd_init(fb.fci); rtcp_fir_next(&r, &fir);) {
        struct wr w = wr_init(buf, sizeof(buf));
        rtcp_put_fir(&w, fb.sender, &fir, 1);
        (void)only(&w);
    }
    if (rtcp_remb_decode(&remb, fb.fci) == 0) {
        struct wr w = wr_init(buf, sizeof(buf));
        rtcp_put_remb(&w, 1, remb.bps, NULL, 0);
        struct rtcp_packet q = only(&w);
        expect(rtcp_fb_decode(&fb, &q) == 0 && rtcp_remb_decode(&again, fb.fci) == 0);
        expect(again.bps <= remb.bps);
    }
}

static void extended(const struct rtcp_packet *p)
{
    struct rtcp_xr_statistics st;
    struct rtcp_xr_voip voip;
    struct rtcp_xr_dlrr dlrr;
    struct rtcp_xr_block b;
    struct rtcp_xr x;
    uint64_t ntp;

    if (rtcp_xr_decode(&x, p) != 0)
        return;
    while (rtcp_xr_next(&x, &b)) {
        struct wr w = wr_init(buf, sizeof(buf));
        size_t at = rtcp_xr_begin(&w, x.ssrc);
        if (rtcp_xr_rrtr_decode(&ntp, &b) == 0)
            rtcp_xr_put_rrtr(&w, ntp);
        else if (rtcp_xr_statistics_decode(&st, &b) == 0)
            rtcp_xr_put_statistics(&w, &st);
        else if (rtcp_xr_voip_decode(&voip, &b) == 0)
            rtcp_xr_put_voip(&w, &voip);
        else
            continue;
        rtcp_end(&w, at, RTCP_XR, 0);
        struct rtcp_packet q = only(&w);
        struct rtcp_xr y;
        struct rtcp_xr_block c;
        expect(rtcp_xr_decode(&y, &q) == 0 && rtcp_xr_next(&y, &c) && c.type == b.type);
        expect(c.body.len == b.body.len);
        if (b.type != RTCP_XR_VOIP) /* which has a reserved byte */
            expect(slice_eq(c.body, b.body));
        for (struct rd r = rd_init(b.body); rtcp_xr_dlrr_next(&r, &dlrr);)
            ;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    struct rtcp_packet p;

    if (size > 65535)
        return 0;
    while (rtcp_next(&r, &p) == 1) {
        report(&p);
        names(&p);
        feedback(&p);
        extended(&p);
    }
    twcc(slice_of(data, size));
    return 0;
}

/* rtcp_xr.c: every kind of block comes back; lengths must be the RFC's.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp_xr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_all_blocks_come_back(void **state)
{
    static const struct rtcp_xr_dlrr dlrr[2] = {{1, 2, 3}, {4, 5, 6}};
    static const struct rtcp_xr_statistics st = {.ssrc = 9,
                                                 .has_lost = true,
                                                 .has_jitter = true,
                                                 .ttl_kind = 2,
                                                 .begin_seq = 65535,
                                                 .end_seq = 7,
                                                 .lost = 3,
                                                 .dup = 4,
                                                 .min_jitter = 5,
                                                 .max_jitter = 6,
                                                 .mean_jitter = 7,
                                                 .dev_jitter = 8,
                                                 .min_ttl = 1,
                                                 .max_ttl = 2,
                                                 .mean_ttl = 3,
                                                 .dev_ttl = 4};
    static const struct rtcp_xr_voip vo = {.ssrc = 8,
                                           .loss_rate = 1,
                                           .discard_rate = 2,
                                           .burst_density = 3,
                                           .gap_density = 4,
                                           .burst_ms = 500,
                                           .gap_ms = 600,
                                           .round_trip_ms = 700,
                                           .end_system_ms = 800,
                                           .signal_dbm = -20,
                                           .noise_dbm = -60,
                                           .rerl_db = RTCP_XR_UNKNOWN,
                                           .gmin = 16,
                                           .r_factor = 90,
                                           .ext_r_factor = RTCP_XR_UNKNOWN,
                                           .mos_lq = 42,
                                           .mos_cq = 41,
                                           .rx_config = 0xc0,
                                           .jb_nominal_ms = 40,
                                           .jb_maximum_ms = 100,
                                           .jb_abs_max_ms = 200};
    uint8_t buf[256];
    struct rtcp_packet p;
    struct rtcp_xr x;
    struct rtcp_xr_block b;
    uint64_t ntp;
    struct rtcp_xr_dlrr d;
    struct rtcp_xr_statistics s;
    struct rtcp_xr_voip v;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    size_t at = rtcp_xr_begin(&w, 77);
    rtcp_xr_put_rrtr(&w, 0x0102030405060708);
    rtcp_xr_put_dlrr(&w, dlrr, 2);
    rtcp_xr_put_statistics(&w, &st);
    rtcp_xr_put_voip(&w, &vo);
    rtcp_end(&w, at, RTCP_XR, 0);
    struct rd r = rd_init(wr_done(&w));
    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(rtcp_xr_decode(&x, &p), 0);
    assert_int_equal(x.ssrc, 77);
    assert_true(rtcp_xr_next(&x, &b));
    assert_int_equal(rtcp_xr_rrtr_decode(&ntp, &b), 0);
    assert_int_equal(ntp, 0x0102030405060708);
    assert_int_equal(rtcp_xr_voip_decode(&v, &b), -EBADMSG);
    assert_true(rtcp_xr_next(&x, &b));
    assert_int_equal(b.type, RTCP_XR_DLRR);
    r = rd_init(b.body);
    for (size_t i = 0; i < 2; i++) {
        assert_true(rtcp_xr_dlrr_next(&r, &d));
        assert_memory_equal(&d, &dlrr[i], sizeof(d));
    }
    assert_false(rtcp_xr_dlrr_next(&r, &d));
    assert_int_equal(rtcp_xr_rrtr_decode(&ntp, &b), -EBADMSG);
    assert_true(rtcp_xr_next(&x, &b));
    memset(&s, 0, sizeof(s));
    assert_int_equal(rtcp_xr_statistics_decode(&s, &b), 0);
    assert_true(s.has_lost && !s.has_dup && s.has_jitter);
    assert_int_equal(s.ttl_kind, 2);
    assert_int_equal(s.begin_seq, 65535);
    assert_int_equal(s.end_seq, 7);
    assert_int_equal(s.dev_jitter, 8);
    assert_int_equal(s.dev_ttl, 4);
    assert_true(rtcp_xr_next(&x, &b));
    memset(&v, 0, sizeof(v));
    assert_int_equal(rtcp_xr_voip_decode(&v, &b), 0);
    assert_memory_equal(&v, &vo, sizeof(v));
    assert_false(rtcp_xr_next(&x, &b));
}

static void test_cut_and_odd_blocks(void **state)
{
    uint8_t buf[64];
    struct slice body = hex_bytes("0000004d 04000002 0102030405060708 09000001 00000000", buf, 64);

    (void)state;
    for (size_t n = 0; n <= body.len; n++) {
        uint8_t *copy = guard_copy(body.p, n);
        struct rtcp_packet p = {RTCP_XR, 0, slice_of(copy, n)};
        struct rtcp_xr x;
        struct rtcp_xr_block b;
        assert_int_equal(rtcp_xr_decode(&x, &p), n < 4 ? -EBADMSG : 0);
        unsigned blocks = 0;
        while (n >= 4 && rtcp_xr_next(&x, &b))
            blocks++;
        assert_int_equal(blocks, (n >= 16) + (n >= 24));
        guard_free(copy, n);
    }
    /* right type, wrong length */
    for (size_t n = 0; n < 48; n += 4) {
        uint64_t ntp;
        struct rtcp_xr_statistics s;
        struct rtcp_xr_voip v;
        uint8_t zero[48] = {0};
        struct rtcp_xr_block b = {RTCP_XR_RRTR, 0, slice_of(zero, n)};
        assert_int_equal(rtcp_xr_rrtr_decode(&ntp, &b), n == 8 ? 0 : -EBADMSG);
        b.type = RTCP_XR_STATISTICS;
        assert_int_equal(rtcp_xr_statistics_decode(&s, &b), n == 36 ? 0 : -EBADMSG);
        b.type = RTCP_XR_VOIP;
        assert_int_equal(rtcp_xr_voip_decode(&v, &b), n == 32 ? 0 : -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_blocks_come_back),
        cmocka_unit_test(test_cut_and_odd_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* rtcp_fb.c: NACK, PLI, FIR, REMB by hand and by us, truncations.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp_fb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static struct rtcp_fb decode(struct slice bytes, uint8_t type, uint8_t fmt)
{
    struct rd r = rd_init(bytes);
    struct rtcp_packet p;
    struct rtcp_fb fb;

    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(r.left, 0);
    assert_int_equal(p.type, type);
    assert_int_equal(p.count, fmt);
    assert_int_equal(rtcp_fb_decode(&fb, &p), 0);
    return fb;
}

static void test_a_nack_is_walked(void **state)
{
    /* PID 65534 with the next, the one after and the 16th after it; then PID 9 alone */
    static const uint16_t want[] = {65534, 65535, 0, 14, 9};
    uint8_t buf[64];
    uint16_t seq;

    (void)state;
    struct rtcp_fb fb =
        decode(hex_bytes("81 cd 0004 00000001 00000002 fffe8003 00090000", buf, 64), RTCP_RTPFB, 1);
    assert_int_equal(fb.sender, 1);
    assert_int_equal(fb.media, 2);
    struct rtcp_nack n = rtcp_nack_init(fb.fci);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(rtcp_nack_next(&n, &seq));
        assert_int_equal(seq, want[i]);
    }
    assert_false(rtcp_nack_next(&n, &seq));
    for (size_t k = 0; k < 8; k++) {
        uint8_t *copy = guard_copy(fb.fci.p, k);
        n = rtcp_nack_init(slice_of(copy, k));
        size_t got = 0;
        while (rtcp_nack_next(&n, &seq))
            got++;
        assert_int_equal(got, k < 4 ? 0 : 4);
        guard_free(copy, k);
    }
}

static void test_nacks_of_any_list_come_back(void **state)
{
    struct rand_src rnd;

    (void)state;
    rand_src_init(&rnd, 1);
    for (unsigned round = 0; round < 2000; round++) {
        uint16_t list[200], seq;
        uint8_t buf[1000];
        size_t n = 1 + rand_src_below(&rnd, 200);
        uint16_t at = (uint16_t)rand_src_u64(&rnd);
        for (size_t i = 0; i < n; i++) {
            list[i] = at;
            at = (uint16_t)(at + 1 + rand_src_below(&rnd, round % 2 ? 3 : 30));
        }
        size_t cap = round % 3 ? sizeof(buf) : rand_src_below(&rnd, 100);
        struct wr w = wr_init(buf, cap);
        size_t taken = rtcp_put_nack(&w, 3, 4, list, n);
        assert_false(w.bad);
        if (cap < 16) {
            assert_int_equal(taken, 0);
            assert_int_equal(w.len, 0);
            continue;
        }
        assert_in_range(taken, cap == sizeof(buf) ? n : 1, n);
        struct rtcp_fb fb = decode(wr_done(&w), RTCP_RTPFB, RTCP_FB_NACK);
        struct rtcp_nack it = rtcp_nack_init(fb.fci);
        for (size_t i = 0; i < taken; i++) {
            assert_true(rtcp_nack_next(&it, &seq));
            assert_int_equal(seq, list[i]);
        }
        assert_false(rtcp_nack_next(&it, &seq));
    }
}

static void test_pli_and_fir(void **state)
{
    uint8_t buf[64], want[64];
    struct rtcp_fir fir[2] = {{0xaabbccdd, 7}, {1, 255}}, got;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_pli(&w, 1, 2);
    assert_true(slice_eq(wr_done(&w), hex_bytes("81ce0002 00000001 00000002", want, 64)));
    w = wr_init(buf, sizeof(buf));
    rtcp_put_fir(&w, 1, fir, 2);
    struct rtcp_fb fb = decode(wr_done(&w), RTCP_PSFB, RTCP_FB_FIR);
    struct rd r = rd_init(fb.fci);
    for (size_t i = 0; i < 2; i++) {
        assert_true(rtcp_fir_next(&r, &got));
        assert_int_equal(got.ssrc, fir[i].ssrc);
        assert_int_equal(got.seq, fir[i].seq);
    }
    assert_false(rtcp_fir_next(&r, &got));
    r = rd_init(slice_sub(fb.fci, 0, 7));
    assert_false(rtcp_fir_next(&r, &got));
}

static void test_remb_comes_back(void **state)
{
    static const struct {
        uint64_t in, out;
    } cases[] = {
        {0, 0},
        {1, 1},
        {0x3ffff, 0x3ffff},
        {0x40000, 0x40000},
        {0x40001, 0x40000},
        {2500000, 2500000 / 16 * 16},
        {UINT64_MAX, 0x3ffffull << 46},
    };
    uint32_t ssrc[] = {1, 2, 3};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct rtcp_remb remb;
        struct wr w = wr_init(buf, sizeof(buf));
        rtcp_put_remb(&w, 9, cases[i].in, ssrc, 3);
        struct rtcp_fb fb = decode(wr_done(&w), RTCP_PSFB, RTCP_FB_AFB);
        assert_int_equal(rtcp_remb_decode(&remb, fb.fci), 0);
        assert_int_equal(remb.bps, cases[i].out);
        assert_int_equal(remb.n, 3);
        assert_int_equal(remb.ssrcs.len, 12);
        for (size_t n = 0; n < fb.fci.len; n++) {
            uint8_t *copy = guard_copy(fb.fci.p, n);
            assert_int_equal(rtcp_remb_decode(&remb, slice_of(copy, n)),
                             n < 4 ? -ENOENT : -EBADMSG);
            guard_free(copy, n);
        }
    }
}

static void test_a_remb_beyond_64_bits_is_no_limit(void **state)
{
    uint8_t buf[64];
    struct rtcp_remb remb;

    (void)state;
    assert_int_equal(rtcp_remb_decode(&remb, hex_bytes("52454d42 00ffffff", buf, 64)), 0);
    assert_true(remb.bps == UINT64_MAX);
    assert_int_equal(rtcp_remb_decode(&remb, hex_bytes("52454d42 00fc0000", buf, 64)), 0);
    assert_int_equal(remb.bps, 0);
    assert_int_equal(rtcp_remb_decode(&remb, hex_bytes("52454d43 00fc0000", buf, 64)), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_nack_is_walked),
        cmocka_unit_test(test_nacks_of_any_list_come_back),
        cmocka_unit_test(test_pli_and_fir),
        cmocka_unit_test(test_remb_comes_back),
        cmocka_unit_test(test_a_remb_beyond_64_bits_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* rtcp.c: compounds, reports, SDES, BYE, APP, every truncation, NTP arithmetic.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static const struct rtcp_report sr = {
    .ssrc = 0x11223344,
    .ntp = 0x0102030405060708,
    .rtp_ts = 90000,
    .pkts = 1000,
    .bytes = 1234567,
    .n = 2,
    .v = {{0xaabbccdd, 255, -1, 0x1ffff, 77, 0x03040506, 65536},
          {0xaabbccde, 0, 0x7fffff, 5, 0, 0, 0}},
};

static struct rtcp_packet first_of(struct slice compound)
{
    struct rd r = rd_init(compound);
    struct rtcp_packet p;

    assert_int_equal(rtcp_next(&r, &p), 1);
    return p;
}

static void test_a_compound_is_walked(void **state)
{
    uint8_t buf[512];
    struct rtcp_packet p;
    struct rtcp_report rep;
    struct slice cname;
    uint32_t ssrc;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_sr(&w, &sr);
    rtcp_put_sdes(&w, 0x11223344, SLICE_LIT("abc"));
    size_t unknown = rtcp_begin(&w);
    wr_be32(&w, 1);
    rtcp_end(&w, unknown, 223, 9);
    rtcp_put_bye(&w, &(struct rtcp_bye){2, {7, 8}, SLICE_LIT("gone")});
    assert_false(w.bad);
    struct rd r = rd_init(wr_done(&w));
    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(p.type, RTCP_SR);
    assert_int_equal(rtcp_report_decode(&rep, &p), 0);
    assert_int_equal(rep.ssrc, sr.ssrc);
    assert_int_equal(rep.ntp, sr.ntp);
    assert_int_equal(rep.rtp_ts, sr.rtp_ts);
    assert_int_equal(rep.pkts, sr.pkts);
    assert_int_equal(rep.bytes, sr.bytes);
    assert_int_equal(rep.n, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rep.v[i].ssrc, sr.v[i].ssrc);
        assert_int_equal(rep.v[i].fraction_lost, sr.v[i].fraction_lost);
        assert_int_equal(rep.v[i].lost, sr.v[i].lost);
        assert_int_equal(rep.v[i].highest_seq, sr.v[i].highest_seq);
        assert_int_equal(rep.v[i].jitter, sr.v[i].jitter);
        assert_int_equal(rep.v[i].lsr, sr.v[i].lsr);
        assert_int_equal(rep.v[i].dlsr, sr.v[i].dlsr);
    }
    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(rtcp_sdes_cname(&p, &ssrc, &cname), 0);
    assert_int_equal(ssrc, 0x11223344);
    assert_true(slice_is(cname, "abc"));
    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(p.type, 223);
    assert_int_equal(p.count, 9);
    assert_int_equal(rtcp_next(&r, &p), 1);
    struct rtcp_bye bye;
    assert_int_equal(rtcp_bye_decode(&bye, &p), 0);
    assert_int_equal(bye.n, 2);
    assert_int_equal(bye.ssrc[1], 8);
    assert_true(slice_is(bye.reason, "gone"));
    assert_int_equal(rtcp_next(&r, &p), 0);
}

static void test_every_truncation_of_a_compound_is_safe(void **state)
{
    uint8_t buf[256];

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_rr(&w, &sr);
    size_t second = w.len;
    rtcp_put_sdes(&w, 5, SLICE_LIT("abcdefg"));
    for (size_t n = 0; n < w.len; n++) {
        uint8_t *copy = guard_copy(buf, n);
        struct rd r = rd_init(slice_of(copy, n));
        struct rtcp_packet p;
        if (n == 0) {
            assert_int_equal(rtcp_next(&r, &p), 0);
        } else if (n < second) {
            assert_int_equal(rtcp_next(&r, &p), -EBADMSG);
            assert_int_equal(rtcp_next(&r, &p), -EBADMSG); /* and stays so */
        } else {
            assert_int_equal(rtcp_next(&r, &p), 1);
            assert_int_equal(rtcp_next(&r, &p), n == second ? 0 : -EBADMSG);
        }
        guard_free(copy, n);
    }
}

static void test_bodies_shorter_than_their_counts_are_refused(void **state)
{
    uint8_t buf[1500];
    struct rtcp_report full = {.ssrc = 1, .n = RTCP_COUNT_MAX}, rep;
    struct rtcp_bye bye = {.n = RTCP_COUNT_MAX, .reason = SLICE_LIT("why not")};
    struct rtcp_app app;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_sr(&w, &full);
    struct rtcp_packet p = first_of(wr_done(&w));
    for (size_t n = 0; n <= p.body.len; n++) {
        uint8_t *copy = guard_copy(p.body.p, n);
        struct rtcp_packet cut = {p.type, p.count, slice_of(copy, n)};
        assert_int_equal(rtcp_report_decode(&rep, &cut), n == p.body.len ? 0 : -EBADMSG);
        guard_free(copy, n);
    }
    w = wr_init(buf, sizeof(buf));
    rtcp_put_bye(&w, &bye);
    p = first_of(wr_done(&w));
    for (size_t n = 0; n <= p.body.len; n++) {
        uint8_t *copy = guard_copy(p.body.p, n);
        struct rtcp_packet cut = {p.type, p.count, slice_of(copy, n)};
        bool whole = n == RTCP_COUNT_MAX * 4 || n >= RTCP_COUNT_MAX * 4 + 8;
        assert_int_equal(rtcp_bye_decode(&bye, &cut), whole ? 0 : -EBADMSG);
        guard_free(copy, n);
    }
    for (size_t n = 0; n < 16; n++) {
        struct rtcp_packet cut = {RTCP_APP, 0, slice_of(buf, n)};
        assert_int_equal(rtcp_app_decode(&app, &cut), n >= 8 && n % 4 == 0 ? 0 : -EBADMSG);
    }
}

static void test_padding_is_taken_off(void **state)
{
    static const struct {
        const char *hex;
        int want;
        size_t body;
    } cases[] = {
        {"a0 c9 0002 00000001 00000004", 1, 4},
        {"a0 c9 0001 00000004", 1, 0},
        {"a0 c9 0001 00000005", -EBADMSG, 0},
        {"a0 c9 0001 00000000", -EBADMSG, 0},
        {"a0 c9 0000", -EBADMSG, 0},
        {"00 c9 0000", -EBADMSG, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[32];
        struct rd r = rd_init(hex_bytes(cases[i].hex, buf, sizeof(buf)));
        struct rtcp_packet p;
        assert_int_equal(rtcp_next(&r, &p), cases[i].want);
        if (cases[i].want == 1)
            assert_int_equal(p.body.len, cases[i].body);
    }
}

static void test_sdes_of_every_length_and_shape(void **state)
{
    uint8_t buf[300], name[RTCP_CNAME_MAX + 1];
    uint32_t ssrc;
    struct slice got;

    (void)state;
    memset(name, 'x', sizeof(name));
    for (size_t n = 0; n <= RTCP_CNAME_MAX; n++) {
        struct wr w = wr_init(buf, sizeof(buf));
        rtcp_put_sdes(&w, 9, slice_of(name, n));
        assert_false(w.bad);
        assert_int_equal(w.base[w.len - 1], 0);
        struct rtcp_packet p = first_of(wr_done(&w));
        assert_int_equal(rtcp_sdes_cname(&p, &ssrc, &got), 0);
        assert_int_equal(got.len, n);
    }
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_sdes(&w, 9, slice_of(name, RTCP_CNAME_MAX + 1));
    assert_true(w.bad);
    /* two chunks: the first has only a NAME (2), the second the CNAME */
    struct rtcp_packet p =
        first_of(hex_bytes("82 ca 0005 00000001 02016100 00000002 01026263 00000000", buf, 300));
    assert_int_equal(rtcp_sdes_cname(&p, &ssrc, &got), 0);
    assert_int_equal(ssrc, 2);
    assert_true(slice_is(got, "bc"));
    for (size_t n = 0; n < 16; n++) {
        uint8_t *copy = guard_copy(p.body.p, n);
        struct rtcp_packet cut = {p.type, p.count, slice_of(copy, n)};
        assert_int_equal(rtcp_sdes_cname(&cut, &ssrc, &got), -EBADMSG);
        guard_free(copy, n);
    }
    p.count = 1;
    assert_int_equal(rtcp_sdes_cname(&p, &ssrc, &got), -ENOENT);
}

static void test_app_comes_back(void **state)
{
    uint8_t buf[64];
    struct rtcp_app in = {5, 0x01020304, {'S', 'o', 'r', 'i'}, SLICE_LIT("12345678")}, out;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtcp_put_app(&w, &in);
    struct rtcp_packet p = first_of(wr_done(&w));
    assert_int_equal(rtcp_app_decode(&out, &p), 0);
    assert_int_equal(out.subtype, 5);
    assert_int_equal(out.ssrc, in.ssrc);
    assert_memory_equal(out.name, "Sori", 4);
    assert_true(slice_eq(out.data, in.data));
    in.data.len = 7;
    w = wr_init(buf, sizeof(buf));
    rtcp_put_app(&w, &in);
    assert_true(w.bad);
}

static void test_losses_are_clamped_to_24_bits(void **state)
{
    static const struct {
        int32_t in, out;
    } cases[] = {{0, 0},
                 {-1, -1},
                 {0x7fffff, 0x7fffff},
                 {0x800000, 0x7fffff},
                 {-0x800000, -0x800000},
                 {-0x800001, -0x800000},
                 {INT32_MAX, 0x7fffff}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct rtcp_report r = {.n = 1, .v = {{.lost = cases[i].in}}}, got;
        struct wr w = wr_init(buf, sizeof(buf));
        rtcp_put_rr(&w, &r);
        struct rtcp_packet p = first_of(wr_done(&w));
        assert_int_equal(rtcp_report_decode(&got, &p), 0);
        assert_int_equal(got.v[0].lost, cases[i].out);
    }
}

static void test_ntp_times(void **state)
{
    uint64_t rtt;

    (void)state;
    assert_int_equal(rtcp_ntp(0) >> 32, 2208988800);
    assert_int_equal(rtcp_ntp(500000) & 0xffffffff, 0x80000000);
    /* RFC 3550 §6.4.1, figure 2: 10 Nov 1995 11:33:25.125, A = 0xb710:8000, LSR 0xb705:2000,
     * DLSR 5.250 s, delay 6.125 s */
    assert_int_equal(rtcp_ntp_middle(0xb44db705ull << 32 | 0x20000000), 0xb7052000);
    assert_true(rtcp_rtt(0xb7108000, 0xb7052000, 0x00054000, &rtt));
    assert_int_equal(rtt, 6125000);
    assert_false(rtcp_rtt(0xb7108000, 0, 0x00054000, &rtt));
    assert_false(rtcp_rtt(0xb7108000, 0xb7108001, 0, &rtt));
    assert_true(rtcp_rtt(5, 0xfffffffb, 10, &rtt));
    assert_int_equal(rtt, 0);
    assert_int_equal(rtcp_ntp_diff_us(rtcp_ntp(3000000), rtcp_ntp(1000000)), 2000000);
    assert_int_equal(rtcp_ntp_diff_us(rtcp_ntp(1000000), rtcp_ntp(3000000)), -2000000);
    assert_int_equal(rtcp_us_middle(5250000), 0x54000);
    assert_int_equal(rtcp_us_middle(UINT64_MAX), UINT32_MAX);
    assert_int_equal(rtcp_middle_us(0x54000), 5250000);
}

static void test_the_writers_are_bounded(void **state)
{
    uint8_t buf[128];

    (void)state;
    for (size_t cap = 0; cap < 76; cap++) {
        struct wr w = wr_init(buf, cap);
        rtcp_put_sr(&w, &sr);
        assert_true(w.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_compound_is_walked),
        cmocka_unit_test(test_every_truncation_of_a_compound_is_safe),
        cmocka_unit_test(test_bodies_shorter_than_their_counts_are_refused),
        cmocka_unit_test(test_padding_is_taken_off),
        cmocka_unit_test(test_sdes_of_every_length_and_shape),
        cmocka_unit_test(test_app_comes_back),
        cmocka_unit_test(test_losses_are_clamped_to_24_bits),
        cmocka_unit_test(test_ntp_times),
        cmocka_unit_test(test_the_writers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

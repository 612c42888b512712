/* twcc_fb.c: feedback written by hand and by us, all kinds of chunks, every truncation, wraps.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/twcc_fb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_all_kinds_of_chunks_read(void **state)
{
    /* base 5, 1+8+14 statuses: run of 2 small; vector of one bit; vector of two bits */
    uint8_t buf[64];
    struct slice in = hex_bytes("0005 0015 000002 07"
                                "2002"        /* run: small × 2 */
                                "a001"        /* one bit: 1 0 0 … 0 1 (14) */
                                "d600"        /* two bits: 01 01 10 00 00 (5 of 7 used) */
                                "04 08"       /* run */
                                "0a 0c"       /* first vector */
                                "00 ff fffc", /* second: 0, 255, -4 */
                                buf, sizeof(buf));
    static const struct {
        unsigned at;
        int32_t delta;
    } want[] = {{0, 1000}, {1, 2000}, {2, 2500}, {15, 3000}, {16, 0}, {17, 63750}, {18, -1000}};
    struct twcc_fb fb;
    struct twcc_status s;
    size_t k = 0;
    int64_t at = 2 * 64000;

    (void)state;
    assert_int_equal(twcc_fb_decode(&fb, in), 0);
    assert_int_equal(fb.base_seq, 5);
    assert_int_equal(fb.n, 21);
    assert_int_equal(fb.reference, 2);
    assert_int_equal(fb.fb_seq, 7);
    for (unsigned i = 0; i < fb.n; i++) {
        assert_true(twcc_fb_next(&fb, &s));
        assert_int_equal(s.seq, 5 + i);
        bool arrived = k < ARRAY_LEN(want) && want[k].at == i;
        assert_int_equal(s.arrived, arrived);
        if (arrived) {
            at += want[k].delta;
            assert_int_equal(s.delta_us, want[k++].delta);
            assert_int_equal(s.at_us, at);
        }
    }
    assert_int_equal(k, ARRAY_LEN(want));
    assert_false(twcc_fb_next(&fb, &s));
    for (size_t n = 0; n < in.len; n++) {
        uint8_t *copy = guard_copy(in.p, n);
        assert_int_equal(twcc_fb_decode(&fb, slice_of(copy, n)), -EBADMSG);
        guard_free(copy, n);
    }
}

static void test_malformed_is_refused(void **state)
{
    static const char *const cases[] = {
        "0005 0001 000002 07 6001 00 00 00", /* symbol 3 in a run */
        "0005 0001 000002 07 f000 00 00 00", /* symbol 3 in a vector */
        "0005 0001 000002 07 2000 00 00 00", /* a run of none */
        "0005 0001 000002 07",               /* no chunk */
        "0005 ffff 000002 07 3fff",          /* deltas missing */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[32];
        struct twcc_fb fb;
        assert_int_equal(twcc_fb_decode(&fb, hex_bytes(cases[i], buf, sizeof(buf))), -EBADMSG);
    }
}

/* Decodes what was written and compares it with the arrivals. */
static void check(struct slice packet, uint64_t base, const struct twcc_arrival *v, size_t n)
{
    struct rd r = rd_init(packet);
    struct rtcp_packet p;
    struct rtcp_fb f;
    struct twcc_fb fb;
    struct twcc_status s;
    size_t k = 0;

    assert_int_equal(packet.len % 4, 0);
    assert_int_equal(rtcp_next(&r, &p), 1);
    assert_int_equal(r.left, 0);
    assert_int_equal(p.type, RTCP_RTPFB);
    assert_int_equal(p.count, RTCP_FB_TWCC);
    assert_int_equal(rtcp_fb_decode(&f, &p), 0);
    assert_int_equal(twcc_fb_decode(&fb, f.fci), 0);
    assert_int_equal(fb.n, v[n - 1].seq + 1 - base);
    while (twcc_fb_next(&fb, &s)) {
        bool arrived = k < n && (uint16_t)v[k].seq == s.seq;
        assert_int_equal(s.arrived, arrived);
        if (arrived) {
            int64_t want = (int64_t)(v[k].at_us / 250 * 250 % (64000ull << 24));
            assert_int_equal((s.at_us - want) % TWCC_BASE_WRAP_US, 0);
            k++;
        }
    }
    assert_int_equal(k, n);
}

static void test_arrivals_come_back(void **state)
{
    static struct twcc_arrival v[3000];
    static uint8_t buf[8192];
    struct rand_src rnd;

    (void)state;
    rand_src_init(&rnd, 1);
    for (unsigned round = 0; round < 3000; round++) {
        /* a little generator: gaps, bursts, jumps in time, reordering */
        size_t n = 1 + rand_src_below(&rnd, round % 50 == 0 ? 3000 : 40);
        uint64_t kind = rand_src_below(&rnd, 4);
        uint64_t seq = 65000 + rand_src_below(&rnd, 2000);
        uint64_t at = round % 7 == 0 ? (64000ull << 24) - 30000 : rand_src_below(&rnd, UINT32_MAX);
        uint64_t base = seq - rand_src_below(&rnd, 20);
        for (size_t i = 0; i < n; i++) {
            v[i] = (struct twcc_arrival){seq, at};
            seq += kind == 0 || rand_src_below(&rnd, 8) ? 1 : 1 + rand_src_below(&rnd, 40);
            at += kind == 1 ? 0 : rand_src_below(&rnd, kind == 2 ? 200000 : 3000);
            if (kind == 3 && at > 100000)
                at -= rand_src_below(&rnd, 2000);
        }
        size_t cap = round % 3 ? sizeof(buf) : 24 + rand_src_below(&rnd, 200);
        struct wr w = wr_init(buf, cap);
        size_t taken = twcc_fb_encode(&w, 1, 2, (uint8_t)round, base, v, n);
        assert_false(w.bad);
        assert_in_range(taken, cap > 32 ? 1 : 0, n);
        if (taken == 0) {
            assert_int_equal(w.len, 0);
            continue;
        }
        if (cap == sizeof(buf))
            assert_int_equal(taken, n);
        check(wr_done(&w), base, v, taken);
    }
}

static void test_it_ends_where_a_delta_does_not_fit(void **state)
{
    uint8_t buf[256];
    struct twcc_arrival v[] = {{1, 64000}, {2, 64000 + 32767 * 250}, {3, 64000 + 65536 * 250}};

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    assert_int_equal(twcc_fb_encode(&w, 1, 2, 0, 1, v, 3), 2);
    check(wr_done(&w), 1, v, 2);
    /* and where there are too many packets between */
    v[1] = (struct twcc_arrival){1 + 65535, 64000};
    w = wr_init(buf, sizeof(buf));
    assert_int_equal(twcc_fb_encode(&w, 1, 2, 0, 1, v, 2), 1);
    v[1].seq--;
    w = wr_init(buf, sizeof(buf));
    assert_int_equal(twcc_fb_encode(&w, 1, 2, 0, 1, v, 2), 2);
    check(wr_done(&w), 1, v, 2);
    v[0].seq = 65536;
    w = wr_init(buf, sizeof(buf));
    assert_int_equal(twcc_fb_encode(&w, 1, 2, 0, 1, v, 1), 0);
    assert_int_equal(w.len, 0);
}

static void test_reference_times_compare_across_the_wrap(void **state)
{
    (void)state;
    assert_int_equal(twcc_fb_base_diff_us(5, 3), 128000);
    assert_int_equal(twcc_fb_base_diff_us(3, 5), -128000);
    assert_int_equal(twcc_fb_base_diff_us(1, 0xffffff), 128000);
    assert_int_equal(twcc_fb_base_diff_us(0xffffff, 1), -128000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds_of_chunks_read),
        cmocka_unit_test(test_malformed_is_refused),
        cmocka_unit_test(test_arrivals_come_back),
        cmocka_unit_test(test_it_ends_where_a_delta_does_not_fit),
        cmocka_unit_test(test_reference_times_compare_across_the_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

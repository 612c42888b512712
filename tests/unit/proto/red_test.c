/* red.c: RFC 2198 §5's example, every truncation, limits.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/red.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

/* RFC 2198 §5: LPC (7) of 14 bytes, 160 units old, before DVI4 (5) of 84 bytes. */
static struct slice rfc_example(uint8_t *buf, size_t cap)
{
    struct wr w = wr_init(buf, cap);

    wr_u8(&w, 0x80 | 7);
    wr_u8(&w, (uint8_t)(160 >> 6));
    wr_be16(&w, (uint16_t)((160 & 0x3f) << 10 | 14));
    wr_u8(&w, 5);
    wr_zero(&w, 14 + 84);
    return wr_done(&w);
}

static void test_the_rfcs_example_reads(void **state)
{
    uint8_t buf[128];
    struct red_block b[RED_BLOCKS_MAX];

    (void)state;
    assert_int_equal(red_decode(b, rfc_example(buf, sizeof(buf))), 2);
    assert_int_equal(b[0].pt, 7);
    assert_int_equal(b[0].ts_offset, 160);
    assert_int_equal(b[0].data.len, 14);
    assert_int_equal(b[1].pt, 5);
    assert_int_equal(b[1].ts_offset, 0);
    assert_int_equal(b[1].data.len, 84);
}

static void test_truncations_are_refused_or_shorten_the_primary(void **state)
{
    uint8_t buf[128];
    struct slice in = rfc_example(buf, sizeof(buf));

    (void)state;
    for (size_t n = 0; n < in.len; n++) {
        uint8_t *copy = guard_copy(in.p, n);
        struct red_block b[RED_BLOCKS_MAX];
        assert_int_equal(red_decode(b, slice_of(copy, n)), n < 19 ? -EBADMSG : 2);
        guard_free(copy, n);
    }
}

static void test_blocks_at_the_limits_come_back(void **state)
{
    static uint8_t data[RED_LEN_MAX];
    static uint8_t buf[RED_BLOCKS_MAX * (RED_LEN_MAX + 4)];
    struct red_block v[RED_BLOCKS_MAX], got[RED_BLOCKS_MAX];

    (void)state;
    for (size_t n = 1; n <= RED_BLOCKS_MAX; n++) {
        for (size_t i = 0; i < n; i++) {
            bool last = i + 1 == n;
            v[i] = (struct red_block){(uint8_t)(i == 0 ? 127 : i),
                                      last ? 0 : (uint16_t)(RED_TS_OFFSET_MAX - i),
                                      slice_of(data, i % 2 ? 0 : sizeof(data))};
        }
        struct wr w = wr_init(buf, sizeof(buf));
        red_encode(&w, v, n);
        assert_false(w.bad);
        assert_int_equal(red_decode(got, wr_done(&w)), n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(got[i].pt, v[i].pt);
            assert_int_equal(got[i].ts_offset, v[i].ts_offset);
            assert_int_equal(got[i].data.len, v[i].data.len);
        }
    }
}

static void test_what_does_not_fit_is_refused(void **state)
{
    static uint8_t data[RED_LEN_MAX + 1], buf[4096];
    struct red_block v[2] = {{96, 1, slice_of(data, sizeof(data))}, {96, 0, {0}}};
    struct red_block got[RED_BLOCKS_MAX];

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    red_encode(&w, v, 2);
    assert_true(w.bad);
    v[0] = (struct red_block){96, RED_TS_OFFSET_MAX + 1, {0}};
    w = wr_init(buf, sizeof(buf));
    red_encode(&w, v, 2);
    assert_true(w.bad);
    w = wr_init(buf, sizeof(buf));
    red_encode(&w, v, 0);
    assert_true(w.bad);
    /* one block too many */
    w = wr_init(buf, sizeof(buf));
    for (unsigned i = 0; i < RED_BLOCKS_MAX; i++)
        wr_be32(&w, 0x80000000);
    wr_u8(&w, 0);
    assert_int_equal(red_decode(got, wr_done(&w)), -EBADMSG);
    /* no end of headers */
    assert_int_equal(red_decode(got, slice_of("\x80\x00\x00\x00", 4)), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rfcs_example_reads),
        cmocka_unit_test(test_truncations_are_refused_or_shorten_the_primary),
        cmocka_unit_test(test_blocks_at_the_limits_come_back),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

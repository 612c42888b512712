/* Tests of base/bytes: bounds, latching, numbers, formatting.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/bytes.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

static void test_reader_reads_big_endian_in_order(void **state)
{
    (void)state;
    static const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t *g = guard_copy(in, sizeof(in));
    struct rd r = rd_init(slice_of(g, sizeof(in)));

    assert_int_equal(rd_u8(&r), 1);
    assert_int_equal(rd_be16(&r), 0x0203);
    assert_int_equal(rd_be32(&r), 0x04050607);
    assert_int_equal(rd_be64(&r), UINT64_C(0x08090a0b0c0d0e0f));
    assert_int_equal(rd_rest(&r).len, 1);
    assert_int_equal(rd_take(&r, 1).p[0], 16);
    assert_int_equal(rd_take(&r, 0).len, 0);
    assert_false(r.bad);
    guard_free(g, sizeof(in));
}

static void test_every_short_read_latches_and_gives_zero(void **state)
{
    (void)state;
    static const uint8_t in[8] = {255, 255, 255, 255, 255, 255, 255, 255};

    for (size_t n = 0; n < 8; n++) {
        uint8_t *g = guard_copy(in, n);
        struct rd r = rd_init(slice_of(g, n));
        uint64_t v = rd_be64(&r);
        assert_true(r.bad);
        assert_true(n >= 4 || v == 0);
        assert_int_equal(rd_u8(&r), 0);
        assert_int_equal(rd_be16(&r), 0);
        assert_int_equal(rd_take(&r, 0).len, 0);
        assert_null(rd_rest(&r).p);
        guard_free(g, n);
    }
    struct rd r = rd_init((struct slice){0});
    assert_int_equal(rd_take(&r, SIZE_MAX).len, 0);
    assert_true(r.bad);
}

static void test_writer_fills_to_the_last_byte_and_latches_after(void **state)
{
    (void)state;
    for (size_t cap = 0; cap <= 16; cap++) {
        uint8_t *g = guard_copy(NULL, cap);
        struct wr w = wr_init(g, cap);
        wr_u8(&w, 1);
        wr_be16(&w, 0x0203);
        wr_be32(&w, 0x04050607);
        wr_be64(&w, UINT64_C(0x08090a0b0c0d0e0f));
        assert_int_equal(w.bad, cap < 15);
        assert_int_equal(wr_done(&w).len, cap < 15 ? 0 : 15);
        for (size_t i = 0; i < w.len; i++)
            assert_int_equal(g[i], i + 1);
        guard_free(g, cap);
    }
}

static void test_patch_stays_inside_what_is_written(void **state)
{
    (void)state;
    uint8_t buf[8] = {0};
    struct wr w = wr_init(buf, sizeof(buf));

    wr_zero(&w, 4);
    wr_patch_be16(&w, 2, 0xabcd);
    assert_false(w.bad);
    assert_int_equal(buf[2] << 8 | buf[3], 0xabcd);
    wr_patch_be16(&w, 3, 1);
    assert_true(w.bad);
    w = wr_init(buf, sizeof(buf));
    wr_patch_be16(&w, SIZE_MAX, 1);
    assert_true(w.bad);
}

static void test_fmt_fits_exactly_without_room_for_nul(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 8; cap++) {
        uint8_t *g = guard_copy(NULL, cap);
        struct wr w = wr_init(g, cap);
        wr_fmt(&w, "%d-%s", 12, "ab");
        assert_int_equal(w.bad, cap < 5);
        if (!w.bad)
            assert_true(slice_is(wr_done(&w), "12-ab"));
        guard_free(g, cap);
    }
}

static void test_fmt_of_long_text_needs_one_spare_byte(void **state)
{
    (void)state;
    for (size_t cap = 1999; cap <= 2002; cap++) {
        uint8_t *g = guard_copy(NULL, cap);
        struct wr w = wr_init(g, cap);
        wr_fmt(&w, "%02000d", 7);
        assert_int_equal(w.bad, cap < 2001);
        guard_free(g, cap);
    }
}

static void test_u64_prints_what_it_parses(void **state)
{
    (void)state;
    static const uint64_t cases[] = {0, 1, 9, 10, 99, 100, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[20];
        uint64_t back = 77;
        struct wr w = wr_init(buf, sizeof(buf));
        wr_u64(&w, cases[i]);
        assert_int_equal(slice_to_u64(wr_done(&w), UINT64_MAX, &back), 0);
        assert_true(back == cases[i]);
        if (cases[i] > 0)
            assert_int_equal(slice_to_u64(wr_done(&w), cases[i] - 1, &back), -EBADMSG);
        assert_int_equal(slice_to_u64(wr_done(&w), cases[i], &back), 0);
    }
}

static void test_u64_refuses_anything_but_plain_decimal(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "00",
                                      "01",
                                      "+1",
                                      "-1",
                                      " 1",
                                      "1 ",
                                      "1a",
                                      "0x1",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    uint64_t v = 42;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(slice_to_u64(slice_str(bad[i]), UINT64_MAX, &v), -EBADMSG);
    assert_int_equal(slice_to_u64(SLICE_LIT("5"), 4, &v), -EBADMSG);
    assert_true(v == 42);
}

static void test_cstr_refuses_nul_and_overflow(void **state)
{
    (void)state;
    char out[4] = "zzz";

    assert_int_equal(slice_to_cstr(SLICE_LIT("abc"), out, sizeof(out)), 0);
    assert_string_equal(out, "abc");
    assert_int_equal(slice_to_cstr(SLICE_LIT("abcd"), out, sizeof(out)), -ENOSPC);
    assert_string_equal(out, "");
    assert_int_equal(slice_to_cstr(SLICE_LIT("a\0b"), out, sizeof(out)), -ENOSPC);
    assert_int_equal(slice_to_cstr((struct slice){0}, out, sizeof(out)), 0);
    assert_int_equal(slice_to_cstr((struct slice){0}, out, 0), -ENOSPC);
}

static void test_slices_compare_and_clamp(void **state)
{
    (void)state;
    assert_true(slice_eq((struct slice){0}, SLICE_LIT("")));
    assert_true(slice_eq_nocase(SLICE_LIT("Upgrade-@["), SLICE_LIT("uPGRADE-@[")));
    assert_false(slice_eq_nocase(SLICE_LIT("@"), SLICE_LIT("`")));
    assert_false(slice_eq_nocase(SLICE_LIT("a"), SLICE_LIT("ab")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("abc")));
    assert_false(slice_starts(SLICE_LIT("ab"), SLICE_LIT("abc")));
    assert_true(slice_is(slice_sub(SLICE_LIT("abc"), 1, SIZE_MAX), "bc"));
    assert_int_equal(slice_sub(SLICE_LIT("abc"), 3, 1).len, 0);
    assert_int_equal(slice_sub(SLICE_LIT("abc"), SIZE_MAX, SIZE_MAX).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_reads_big_endian_in_order),
        cmocka_unit_test(test_every_short_read_latches_and_gives_zero),
        cmocka_unit_test(test_writer_fills_to_the_last_byte_and_latches_after),
        cmocka_unit_test(test_patch_stays_inside_what_is_written),
        cmocka_unit_test(test_fmt_fits_exactly_without_room_for_nul),
        cmocka_unit_test(test_fmt_of_long_text_needs_one_spare_byte),
        cmocka_unit_test(test_u64_prints_what_it_parses),
        cmocka_unit_test(test_u64_refuses_anything_but_plain_decimal),
        cmocka_unit_test(test_cstr_refuses_nul_and_overflow),
        cmocka_unit_test(test_slices_compare_and_clamp),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}

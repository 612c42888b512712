/* tariff.c: what is read, what a month costs. SPDX-License-Identifier: BSD-3-Clause */
#include "server/tariff.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define GB UINT64_C(1000000000)

static uint64_t nanos(const char *text)
{
    uint64_t v = 77;

    assert_int_equal(tariff_amount(slice_str(text), &v), 0);
    return v;
}

static void test_amounts(void **state)
{
    static const char *const bad[] = {
        "",    ".",  "1.", ".5",   "-1",    "1.0000000001",        "1,5",
        "1e9", "01", " 1", "0x10", "1.5.2", "99999999999999999999"};
    uint64_t v;

    (void)state;
    assert_int_equal(nanos("0"), 0);
    assert_int_equal(nanos("0.09"), 90000000);
    assert_int_equal(nanos("12.123456789"), UINT64_C(12123456789));
    assert_int_equal(nanos("1000000000"), TARIFF_AMOUNT_MAX * TARIFF_UNIT);
    assert_int_equal(tariff_amount(SLICE_LIT("1000000000.1"), &v), -ERANGE);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(tariff_amount(slice_str(bad[i]), &v), -EBADMSG);
}

static void test_amounts_are_written_as_people_read_them(void **state)
{
    static const struct {
        uint64_t nanos;
        const char *text;
    } rows[] = {{0, "0.00"},
                {1, "0.000000001"},
                {90000000, "0.09"},
                {100000000, "0.10"},
                {UINT64_C(12345000000), "12.345"},
                {UINT64_MAX, "18446744073.709551615"}};
    uint8_t buf[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        tariff_write(&w, rows[i].nanos);
        assert_true(slice_is(wr_done(&w), rows[i].text));
    }
}

static void test_tiers_rise(void **state)
{
    struct tariff t = {0};

    (void)state;
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("10:1")), -EINVAL); /* the first is at 0 */
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("0:0.09")), 0);
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("0:0.08")), -EINVAL);
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("10240 : 0.085")), 0);
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("10240:0.07")), -EINVAL);
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("nothing")), -EBADMSG);
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("20000:-1")), -EBADMSG);
    for (unsigned i = 0; i < TARIFF_TIERS_MAX - 2; i++) {
        char text[32];
        snprintf(text, sizeof(text), "%u:0.01", 50000 + i);
        assert_int_equal(tariff_add_tier(&t, slice_str(text)), 0);
    }
    assert_int_equal(tariff_add_tier(&t, SLICE_LIT("99999:0.01")), -ENOSPC);
}

static void test_a_month_costs(void **state)
{
    struct tariff t = {.free_gb = 100, .in_nanos = 10000000};

    (void)state;
    assert_int_equal(tariff_price(&(struct tariff){0}, UINT64_MAX, UINT64_MAX), 0);
    tariff_add_tier(&t, SLICE_LIT("0:0.09"));
    tariff_add_tier(&t, SLICE_LIT("10000:0.085"));
    tariff_add_tier(&t, SLICE_LIT("50000:0.07"));
    assert_int_equal(tariff_price(&t, 0, 0), 0);
    assert_int_equal(tariff_price(&t, 100 * GB, 0), 0);
    assert_int_equal(tariff_price(&t, 101 * GB, 0), nanos("0.09"));
    assert_int_equal(tariff_price(&t, 101 * GB, 3 * GB), nanos("0.12"));
    assert_int_equal(tariff_price(&t, 10000 * GB, 0), nanos("891"));     /* 9900 at 0.09 */
    assert_int_equal(tariff_price(&t, 10001 * GB, 0), nanos("891.085")); /* the next tier */
    assert_int_equal(tariff_price(&t, 60000 * GB, 0), nanos("4991"));    /* 891 + 3400 + 700 */
    t.free_gb = 20000; /* more is free than the first tier has */
    assert_int_equal(tariff_price(&t, 20001 * GB, 0), nanos("0.085"));
    t.free_gb = UINT64_MAX;
    assert_int_equal(tariff_price(&t, UINT64_MAX, 0), 0);
    t.free_gb = 0;
    t.gb_bytes = UINT64_C(1) << 30;
    assert_int_equal(tariff_price(&t, UINT64_C(1) << 30, 0), nanos("0.09"));
    /* One byte after the other is what all of them cost, within rounding. */
    uint64_t last = 0;
    for (uint64_t gb = 0; gb < 60000; gb += 997) {
        uint64_t price = tariff_price(&t, gb << 30, 0);
        assert_true(price >= last);
        last = price;
    }
}

static void test_fixed_costs(void **state)
{
    struct tariff_fixed f;

    (void)state;
    assert_int_equal(tariff_fixed_read(&f, SLICE_LIT("TURN host = 60")), 0);
    assert_string_equal(f.name, "TURN host");
    assert_int_equal(f.nanos, nanos("60"));
    assert_int_equal(tariff_fixed_read(&f, SLICE_LIT("=60")), -EBADMSG);
    assert_int_equal(tariff_fixed_read(&f, SLICE_LIT("host")), -EBADMSG);
    assert_int_equal(tariff_fixed_read(&f, SLICE_LIT("host=much")), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_amounts_are_written_as_people_read_them),
        cmocka_unit_test(test_tiers_rise),
        cmocka_unit_test(test_a_month_costs),
        cmocka_unit_test(test_fixed_costs),
    };

    return cmocka_run_group_tests_name("tariff", tests, NULL, NULL);
}

/* Tests of server/limit_table.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/limit_table.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static const struct bucket_rule FIVE = {.milli_per_s = 1000, .burst = 5};

static void test_a_key_has_its_burst_and_then_its_rate(void **state)
{
    struct limit_table *t = limit_table_new(&FIVE, 64);
    uint64_t now = US_PER_S;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(limit_take(t, 7, 1, now));
    assert_false(limit_take(t, 7, 1, now));
    assert_false(limit_take(t, 7, 0, now));
    assert_int_equal(limit_wait_ms(t, 7, now), 1000);
    assert_true(limit_take(t, 8, 1, now)); /* another key */
    now += US_PER_S;
    assert_true(limit_take(t, 7, 0, now)); /* asking takes nothing */
    assert_true(limit_take(t, 7, 1, now));
    assert_false(limit_take(t, 7, 1, now));
    limit_table_free(t);
}

static void test_no_rate_is_no_limit(void **state)
{
    const struct bucket_rule none = {0};
    struct limit_table *t = limit_table_new(&none, 4);

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(limit_take(t, 1, 1, 0));
    assert_int_equal(limit_wait_ms(t, 1, 0), 0);
    limit_table_free(t);
}

static void test_a_flood_of_keys_takes_no_memory_and_blocks_no_stranger(void **state)
{
    struct limit_table *t = limit_table_new(&FIVE, 64);
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t key = 1; key < 100000; key++)
        assert_true(limit_take(t, key * 0x9E3779B97F4A7C15u, 1, key));
    assert_int_equal(mem_live(), live);
    limit_table_free(t);
}

static void test_an_ipv6_network_of_64_bits_is_one_key(void **state)
{
    struct addr a, b, c;

    (void)state;
    addr_parse(&a, SLICE_LIT("2001:db8:1:2::1"));
    addr_parse(&b, SLICE_LIT("2001:db8:1:2:ffff::9"));
    addr_parse(&c, SLICE_LIT("2001:db8:1:3::1"));
    assert_true(limit_addr_key(&a) == limit_addr_key(&b));
    assert_false(limit_addr_key(&a) == limit_addr_key(&c));
    addr_parse(&a, SLICE_LIT("192.0.2.1"));
    addr_parse(&b, SLICE_LIT("192.0.2.2"));
    assert_false(limit_addr_key(&a) == limit_addr_key(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_has_its_burst_and_then_its_rate),
        cmocka_unit_test(test_no_rate_is_no_limit),
        cmocka_unit_test(test_a_flood_of_keys_takes_no_memory_and_blocks_no_stranger),
        cmocka_unit_test(test_an_ipv6_network_of_64_bits_is_one_key),
    };

    return cmocka_run_group_tests_name("limit_table", tests, NULL, NULL);
}

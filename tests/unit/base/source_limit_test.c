/* source_limit.c: a burst, then a rate, per address; the table is fixed.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/source_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct bucket_rule rule = {10000, 10};

static struct addr v4(uint32_t n)
{
    return (struct addr){.ip = {198, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n},
                         .family = ADDR_V4};
}

static unsigned flood(struct source_limit *s, const struct addr *from, unsigned n, uint64_t now_us)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < n; i++)
        taken += source_limit_take(s, from, now_us + i);
    return taken;
}

static void test_burst_then_rate(void **state)
{
    struct source_limit *s = source_limit_new(64, rule);
    struct addr a = v4(1);

    (void)state;
    assert_int_equal(flood(s, &a, 100, US_PER_S), 10);
    assert_int_equal(flood(s, &a, 100, 2 * US_PER_S), 10);
    assert_int_equal(flood(s, &a, 100, 2 * US_PER_S + US_PER_S / 2), 5);
    source_limit_free(s);
}

static void test_ports_and_the_rest_of_a_64_are_one_source(void **state)
{
    struct source_limit *s = source_limit_new(64, rule);
    struct addr a = v4(1), six = {.ip = {0x20, 1, 2}, .family = ADDR_V6};
    unsigned taken = 0;

    (void)state;
    for (uint16_t i = 0; i < 100; i++) {
        struct addr other = addr_with_port(a, i);
        taken += source_limit_take(s, &other, US_PER_S);
    }
    assert_int_equal(taken, 10);
    for (uint8_t i = 0; i < 100; i++) {
        six.ip[15] = i;
        taken += source_limit_take(s, &six, US_PER_S);
    }
    assert_int_equal(taken, 20);
    source_limit_free(s);
}

/* A reflection attack has one victim: invented sources beside it must not wash its entry out. */
static void test_busy_source_stays_limited_in_a_flood_of_others(void **state)
{
    struct source_limit *s = source_limit_new(64, rule);
    struct addr victim = v4(1);
    unsigned taken = 0;

    (void)state;
    for (uint32_t i = 0; i < 20000; i++) { /* two seconds */
        struct addr other = v4(1000 + i);
        taken += source_limit_take(s, &victim, US_PER_S + i * 100);
        source_limit_take(s, &other, US_PER_S + i * 100);
    }
    assert_in_range(taken, 20, 31);
    source_limit_free(s);
}

static void test_oom_table_is_made_or_not(void **state)
{
    (void)state;
    uint64_t before = mem_live();
    mem_fail_after(0);
    assert_null(source_limit_new(64, rule));
    mem_fail_never();
    source_limit_free(NULL);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_rate),
        cmocka_unit_test(test_ports_and_the_rest_of_a_64_are_one_source),
        cmocka_unit_test(test_busy_source_stays_limited_in_a_flood_of_others),
        cmocka_unit_test(test_oom_table_is_made_or_not),
    };

    return cmocka_run_group_tests_name("source_limit", tests, NULL, NULL);
}

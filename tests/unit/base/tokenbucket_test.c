/* Tests of base/tokenbucket: burst, exact refill, waits that are enough, extremes.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/rand.h"
#include "base/tokenbucket.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct bucket_rule ten_a_second = {10000, 5};

static void test_burst_then_one_per_period(void **state)
{
    (void)state;
    struct bucket b = {0};
    uint64_t now = 1000 * US_PER_S;

    for (int i = 0; i < 5; i++)
        assert_true(bucket_take(&b, &ten_a_second, 1, now));
    assert_false(bucket_take(&b, &ten_a_second, 1, now));
    assert_int_equal(bucket_wait_ms(&b, &ten_a_second, 1, now), 100);
    assert_false(bucket_take(&b, &ten_a_second, 1, now + 99999));
    assert_true(bucket_take(&b, &ten_a_second, 1, now + 100000));
    assert_false(bucket_take(&b, &ten_a_second, 1, now + 100001));
    assert_true(bucket_take(&b, &ten_a_second, 5, now + 10 * US_PER_S)); /* full again, not more */
    assert_false(bucket_take(&b, &ten_a_second, 1, now + 10 * US_PER_S));
}

static void test_refusal_takes_nothing(void **state)
{
    (void)state;
    struct bucket b = {0};

    assert_true(bucket_take(&b, &ten_a_second, 3, US_PER_S));
    assert_false(bucket_take(&b, &ten_a_second, 3, US_PER_S));
    assert_true(bucket_take(&b, &ten_a_second, 2, US_PER_S));
}

static void test_zero_rate_is_no_limit_and_over_burst_is_never(void **state)
{
    (void)state;
    static const struct bucket_rule none = {0, 0};
    struct bucket b = {0};

    assert_true(bucket_take(&b, &none, UINT32_MAX, 0));
    assert_int_equal(bucket_wait_ms(&b, &none, UINT32_MAX, 0), 0);
    assert_false(bucket_take(&b, &ten_a_second, 6, UINT64_MAX - 1));
    assert_true(bucket_wait_ms(&b, &ten_a_second, 6, 0) == UINT32_MAX);
    assert_int_equal(bucket_wait_ms(&b, &ten_a_second, 5, 0), 0);
}

static void test_clock_that_steps_back_gives_nothing(void **state)
{
    (void)state;
    struct bucket b = {0};

    assert_true(bucket_take(&b, &ten_a_second, 5, 50 * US_PER_S));
    assert_false(bucket_take(&b, &ten_a_second, 1, 10 * US_PER_S));
    assert_true(bucket_take(&b, &ten_a_second, 1, 51 * US_PER_S));
}

static void test_extremes_do_not_overflow(void **state)
{
    (void)state;
    static const struct bucket_rule rules[] = {{UINT32_MAX, UINT32_MAX}, {1, UINT32_MAX}, {1, 1}};

    for (size_t i = 0; i < 3; i++) {
        struct bucket b = {0};
        uint32_t most = rules[i].burst > 4294967 ? 4294967 : rules[i].burst;
        assert_true(bucket_take(&b, &rules[i], most, 1));
        assert_false(bucket_take(&b, &rules[i], 1, 1));
        assert_false(bucket_take(&b, &rules[i], UINT32_MAX, UINT64_MAX - 1));
        assert_true(bucket_take(&b, &rules[i], most, UINT64_MAX - 1));
    }
}

/* Over any run: granted <= burst + rate * time; a wait of wait_ms() is enough; close to the rate.
 */
static void test_random_runs_keep_the_rate(void **state)
{
    (void)state;
    struct rand_src r;

    rand_src_init(&r, 5);
    for (unsigned run = 0; run < 200; run++) {
        struct bucket_rule rule = {1 + (uint32_t)rand_src_below(&r, 5000000),
                                   1 + (uint32_t)rand_src_below(&r, 100)};
        uint64_t start = rand_src_below(&r, US_PER_S), now = start, granted = 0;
        struct bucket b = {0};
        for (unsigned step = 0; step < 500; step++) {
            now += rand_src_below(&r, 2000000000 / rule.milli_per_s + 2);
            if (bucket_take(&b, &rule, 1, now)) {
                granted++;
                continue;
            }
            uint32_t wait_ms = bucket_wait_ms(&b, &rule, 1, now);
            assert_true(wait_ms > 0);
            assert_false(bucket_take(&b, &rule, 1, now + (wait_ms - 1) * US_PER_MS));
            now += wait_ms * US_PER_MS;
            assert_true(bucket_take(&b, &rule, 1, now));
            granted++;
        }
        assert_true((granted - rule.burst) * 1000 <=
                        (now - start) * rule.milli_per_s / US_PER_S + 1 ||
                    granted <= rule.burst);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_one_per_period),
        cmocka_unit_test(test_refusal_takes_nothing),
        cmocka_unit_test(test_zero_rate_is_no_limit_and_over_burst_is_never),
        cmocka_unit_test(test_clock_that_steps_back_gives_nothing),
        cmocka_unit_test(test_extremes_do_not_overflow),
        cmocka_unit_test(test_random_runs_keep_the_rate),
    };
    return cmocka_run_group_tests_name("tokenbucket", tests, NULL, NULL);
}

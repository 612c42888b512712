/* usage_hist.c: quantiles within 6 %, whatever is put in. SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_buckets_follow_each_other_without_gaps(void **state)
{
    struct usage_hist h;

    (void)state;
    for (unsigned i = 0; i + 1 < USAGE_HIST_BUCKETS; i++) {
        uint64_t low = usage_hist_floor(i), next = usage_hist_floor(i + 1);
        assert_true(next > low);
        assert_true((next - low) * USAGE_HIST_FINE <=
                    (low > USAGE_HIST_FINE ? low : USAGE_HIST_FINE));
        h = (struct usage_hist){0};
        usage_hist_add(&h, low, 1);
        usage_hist_add(&h, next - 1, 1);
        assert_int_equal(h.n[i], 2);
    }
    h = (struct usage_hist){0};
    usage_hist_add(&h, UINT64_MAX, 3);
    assert_int_equal(h.n[USAGE_HIST_BUCKETS - 1], 3);
    assert_int_equal(usage_hist_floor(USAGE_HIST_BUCKETS - 1), 253952);
}

static void near(uint64_t got, uint64_t want)
{
    assert_in_range(got, want - want / 16 - 1, want + want / 16 + 1);
}

static void test_quantiles_are_near(void **state)
{
    struct usage_hist h = {0}, sum = {0};

    (void)state;
    assert_int_equal(usage_hist_quantile(&h, 500), 0); /* empty */
    for (uint64_t ms = 1; ms <= 10000; ms++)
        usage_hist_add(&h, ms, 1);
    near(usage_hist_quantile(&h, 0), 1);
    near(usage_hist_quantile(&h, 500), 5000);
    near(usage_hist_quantile(&h, 950), 9500);
    near(usage_hist_quantile(&h, 990), 9900);
    near(usage_hist_quantile(&h, 1000), 10000);
    usage_hist_merge(&sum, &h);
    usage_hist_merge(&sum, &h);
    assert_int_equal(sum.count, 20000);
    assert_int_equal(usage_hist_quantile(&sum, 500), usage_hist_quantile(&h, 500));
    h = (struct usage_hist){0};
    usage_hist_add(&h, 7, 1);
    for (unsigned q = 0; q <= 1000; q += 100)
        assert_int_equal(usage_hist_quantile(&h, q), 7); /* one value is every quantile */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_follow_each_other_without_gaps),
        cmocka_unit_test(test_quantiles_are_near),
    };

    return cmocka_run_group_tests_name("usage_hist", tests, NULL, NULL);
}

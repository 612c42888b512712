/* Tests of base/metrics: histograms, summing of cells, the text format, no memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "base/metrics.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

static void test_cells_of_one_name_are_summed_under_one_head(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct counter a = {0}, b = {0}, c = {0}, g1 = {0}, g2 = {0};
    size_t len;

    counter_add(&a, 5);
    counter_inc(&b);
    counter_add(&c, UINT64_C(1) << 40);
    counter_sub(&g1, 3); /* one worker's gauge below zero, the other's above */
    counter_add(&g2, 1);
    assert_int_equal(metrics_add(m, "x_total", "reason=\"b\"", "Dropped.", METRIC_COUNTER, &c), 0);
    assert_int_equal(metrics_add(m, "open", "", "Two\nlines \\.", METRIC_GAUGE, &g1), 0);
    assert_int_equal(metrics_add(m, "x_total", "reason=\"a\"", "Dropped.", METRIC_COUNTER, &a), 0);
    assert_int_equal(metrics_add(m, "open", "", "Two\nlines \\.", METRIC_GAUGE, &g2), 0);
    assert_int_equal(metrics_add(m, "x_total", "reason=\"a\"", "Dropped.", METRIC_COUNTER, &b), 0);
    char *text = metrics_render(m, &len);
    assert_string_equal(text, "# HELP open Two\\nlines \\\\.\n"
                              "# TYPE open gauge\n"
                              "open -2\n"
                              "# HELP x_total Dropped.\n"
                              "# TYPE x_total counter\n"
                              "x_total{reason=\"a\"} 6\n"
                              "x_total{reason=\"b\"} 1099511627776\n");
    assert_int_equal(len, strlen(text));
    mem_free(text);
    metrics_free(m);
}

static void test_histogram_buckets_are_powers_of_two(void **state)
{
    (void)state;
    static const struct {
        uint64_t us, bound;
    } cases[] = {{0, 1},
                 {1, 1},
                 {2, 2},
                 {3, 4},
                 {4, 4},
                 {5, 8},
                 {1 << 25, 1 << 25},
                 {(1 << 25) + 1, UINT64_MAX},
                 {UINT64_MAX, UINT64_MAX}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct histogram h = {0};
        histogram_add(&h, cases[i].us);
        assert_true(histogram_quantile(&h, 0.5) == cases[i].bound);
    }
    struct histogram h = {0};
    assert_true(histogram_quantile(&h, 0.99) == 0);
    for (unsigned i = 0; i < 99; i++)
        histogram_add(&h, 10);
    histogram_add(&h, 1000);
    assert_true(histogram_quantile(&h, 0.0) == 16);
    assert_true(histogram_quantile(&h, 0.99) == 16);
    assert_true(histogram_quantile(&h, 1.0) == 1024);
}

static void test_histogram_renders_cumulative_seconds(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct histogram h[2] = {0};
    size_t len;

    histogram_add(&h[0], 1);
    histogram_add(&h[1], 1500000);
    histogram_add(&h[1], UINT64_C(100000000));
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(metrics_add_histogram(m, "t_seconds", "k=\"v\"", "T.", &h[i]), 0);
    char *text = metrics_render(m, &len);
    static const char *const lines[] = {
        "# TYPE t_seconds histogram\n",
        "t_seconds_bucket{k=\"v\",le=\"0.000001\"} 1\n",
        "t_seconds_bucket{k=\"v\",le=\"1.048576\"} 1\n",
        "t_seconds_bucket{k=\"v\",le=\"2.097152\"} 2\n",
        "t_seconds_bucket{k=\"v\",le=\"33.554432\"} 2\n",
        "t_seconds_bucket{k=\"v\",le=\"+Inf\"} 3\n",
        "t_seconds_sum{k=\"v\"} 101.500001\n",
        "t_seconds_count{k=\"v\"} 3\n",
    };
    const char *at = text;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        at = strstr(at, lines[i]);
        assert_non_null(at);
    }
    mem_free(text);
    metrics_free(m);
}

static void test_a_tally_has_bounds_of_its_own(void **state)
{
    static const uint32_t bounds[] = {1500, 3500, 4500};
    static const char text[] = "# HELP mos M.\n# TYPE mos histogram\n"
                               "mos_bucket{p=\"x\",le=\"1.500\"} 2\n"
                               "mos_bucket{p=\"x\",le=\"3.500\"} 3\n"
                               "mos_bucket{p=\"x\",le=\"4.500\"} 3\n"
                               "mos_bucket{p=\"x\",le=\"+Inf\"} 4\n"
                               "mos_sum{p=\"x\"} 10.902\nmos_count{p=\"x\"} 4\n";
    struct metrics *m = metrics_new();
    struct tally t[2];
    size_t len;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tally_init(&t[i], bounds, ARRAY_LEN(bounds));
        assert_int_equal(metrics_add_tally(m, "mos", "p=\"x\"", "M.", &t[i]), 0);
    }
    tally_add(&t[0], 1500);
    tally_add(&t[1], 1400);
    tally_add(&t[0], 3500);
    tally_add(&t[1], 4502);
    char *got = metrics_render(m, &len);
    assert_string_equal(got, text);
    mem_free(got);
    metrics_free(m);
}

static void test_bound_holds_for_the_longest_values(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct counter c = {0};
    struct histogram h = {0};
    size_t len;

    counter_sub(&c, 1);
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        counter_add(&h.bucket[i], UINT64_MAX / 64);
    counter_sub(&h.sum_us, 1);
    assert_int_equal(metrics_add(m, "a", "", "\n\n\n\n", METRIC_COUNTER, &c), 0);
    assert_int_equal(metrics_add_histogram(m, "b", "", "\\\\\\", &h), 0);
    for (size_t i = 0; i < 200; i++) /* beyond the first growth */
        assert_int_equal(metrics_add(m, "c", "", "", METRIC_COUNTER, &c), 0);
    char *text = metrics_render(m, &len);
    assert_non_null(strstr(text, "a 18446744073709551615\n"));
    mem_free(text);
    metrics_free(m);
    metrics_free(NULL);
}

static void test_oom_leaves_a_usable_registry(void **state)
{
    (void)state;
    struct counter c = {0};
    uint64_t live = mem_live();
    bool failed = true;

    for (uint64_t n = 0; failed; n++) {
        size_t len;
        mem_fail_after(n);
        struct metrics *m = metrics_new();
        int err = m ? metrics_add(m, "a_total", "", "A.", METRIC_COUNTER, &c) : -ENOMEM;
        char *text = m ? metrics_render(m, &len) : NULL;
        failed = mem_failed();
        mem_fail_never();
        assert_true(err == 0 || err == -ENOMEM);
        assert_true(failed || text);
        if (text)
            assert_int_equal(len > 0, err == 0);
        mem_free(text);
        metrics_free(m);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_of_one_name_are_summed_under_one_head),
        cmocka_unit_test(test_histogram_buckets_are_powers_of_two),
        cmocka_unit_test(test_histogram_renders_cumulative_seconds),
        cmocka_unit_test(test_a_tally_has_bounds_of_its_own),
        cmocka_unit_test(test_bound_holds_for_the_longest_values),
        cmocka_unit_test(test_oom_leaves_a_usable_registry),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}

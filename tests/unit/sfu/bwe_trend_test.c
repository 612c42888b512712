/* bwe_trend.c: a growing queue is over-use, a draining one under-use, noise is neither.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_trend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

#define MS 1000

struct feed {
    struct bwe_trend t;
    int64_t now_us, delay_us;
};

static void start(struct feed *f)
{
    bwe_trend_init(&f->t);
    f->now_us = 0;
    f->delay_us = 40 * MS;
}

/* n packets, one each 10 ms, the delay growing by step_us each. Returns after how many the usage
 * was first `until`, or n. */
static unsigned feed(struct feed *f, unsigned n, int64_t step_us, enum bwe_usage until)
{
    unsigned at = n;

    for (unsigned i = 0; i < n; i++) {
        f->now_us += 10 * MS;
        f->delay_us += step_us;
        bwe_trend_packet(&f->t, f->now_us, f->now_us + f->delay_us);
        if (at == n && f->t.usage == until)
            at = i;
    }
    return at;
}

static void test_a_steady_path_is_normal(void **state)
{
    struct feed f;

    (void)state;
    start(&f);
    assert_int_equal(feed(&f, 2000, 0, BWE_OVERUSE), 2000);
    assert_int_equal(f.t.usage, BWE_NORMAL);
}

static void test_a_growing_queue_is_overuse_soon(void **state)
{
    struct feed f;

    (void)state;
    start(&f);
    feed(&f, 200, 0, BWE_OVERUSE);
    assert_true(feed(&f, 100, 2 * MS, BWE_OVERUSE) < 30); /* +20 %: within 300 ms */
    start(&f);
    feed(&f, 200, 0, BWE_OVERUSE);
    assert_true(feed(&f, 100, 20 * MS, BWE_OVERUSE) < 10);
}

static void test_a_draining_queue_is_underuse(void **state)
{
    struct feed f;

    (void)state;
    start(&f);
    feed(&f, 200, 0, BWE_OVERUSE);
    f.delay_us += 300 * MS;
    feed(&f, 30, 0, BWE_OVERUSE);
    assert_true(feed(&f, 100, -2 * MS, BWE_UNDERUSE) < 60);
}

static void test_noise_is_not_overuse_for_long(void **state)
{
    struct feed f;
    struct rand_src rnd;
    unsigned over = 0;

    (void)state;
    start(&f);
    rand_src_init(&rnd, 4);
    for (unsigned i = 0; i < 10000; i++) {
        f.now_us += 10 * MS;
        bwe_trend_packet(&f.t, f.now_us, f.now_us + (int64_t)rand_src_below(&rnd, 4 * MS));
        over += f.t.usage == BWE_OVERUSE;
    }
    assert_true(over < 100);
}

static void test_bursts_are_one_group(void **state)
{
    struct feed f;

    (void)state;
    start(&f);
    for (unsigned i = 0; i < 500; i++) { /* eight at once each 33 ms, 2 ms apart on arrival */
        f.now_us += 33 * MS;
        for (int64_t k = 0; k < 8; k++)
            bwe_trend_packet(&f.t, f.now_us + k * 100, f.now_us + f.delay_us + k * 2 * MS);
        assert_int_not_equal(f.t.usage, BWE_OVERUSE);
    }
}

static void test_gaps_wraps_and_nonsense(void **state)
{
    struct feed f;
    struct rand_src rnd;

    (void)state;
    start(&f);
    feed(&f, 100, 5 * MS, BWE_OVERUSE);
    f.now_us += 10000 * MS;
    feed(&f, 1, 0, BWE_OVERUSE);
    assert_int_equal(f.t.usage, BWE_NORMAL); /* starts over after a pause */
    rand_src_init(&rnd, 9);
    for (unsigned i = 0; i < 100000; i++)
        bwe_trend_packet(&f.t, (int64_t)(rand_src_u64(&rnd) >> 20),
                         (int64_t)(rand_src_u64(&rnd) >> 20));
    assert_true(f.t._threshold_ms >= 6 && f.t._threshold_ms <= 600);
    start(&f);
    feed(&f, 200, 0, BWE_OVERUSE);
    assert_true(feed(&f, 100, 5 * MS, BWE_OVERUSE) < 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_steady_path_is_normal),
        cmocka_unit_test(test_a_growing_queue_is_overuse_soon),
        cmocka_unit_test(test_a_draining_queue_is_underuse),
        cmocka_unit_test(test_noise_is_not_overuse_for_long),
        cmocka_unit_test(test_bursts_are_one_group),
        cmocka_unit_test(test_gaps_wraps_and_nonsense),
    };

    return cmocka_run_group_tests_name("bwe_trend", tests, NULL, NULL);
}

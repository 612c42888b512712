/* bwe_aimd.c: growth, decrease to what comes through, drain and resume, stalls, foreign queues.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_aimd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS US_PER_MS

static struct aimd_in calm(double acked_bps)
{
    return (struct aimd_in){.usage = BWE_NORMAL,
                            .acked_bps = acked_bps,
                            .fresh_bps = acked_bps,
                            .rtt_us = 80 * MS,
                            .max_bps = 1e7};
}

/* seconds of feedback each 50 ms, all that is allowed is sent and comes through. */
static uint64_t grow(struct bwe_aimd *a, double seconds, uint64_t now_us)
{
    for (uint64_t end = now_us + (uint64_t)(seconds * 1e6); now_us < end;) {
        struct aimd_in in = calm(a->bps);
        bwe_aimd_update(a, &in, now_us += 50 * MS);
    }
    return now_us;
}

static void test_growth_is_multiplicative_and_tested(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    grow(&a, 10, 0);
    assert_in_range((uint64_t)a.bps, 2100000, 2300000); /* 8 % a second */
    bwe_aimd_init(&a, 1e6, 0);
    for (uint64_t t = 0; t < 10000 * MS; t += 50 * MS) {
        struct aimd_in in = calm(5e5); /* half of it is sent: nothing is learned */
        bwe_aimd_update(&a, &in, t);
    }
    assert_in_range((uint64_t)a.bps, 999999, 1000001);
}

static void test_what_comes_through_is_no_less_than_the_estimate(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 6e5, 0);
    struct aimd_in in = calm(1e6); /* media that was tried beyond it */
    bwe_aimd_update(&a, &in, 50 * MS);
    assert_in_range((uint64_t)a.bps, 949999, 950001);
    in.max_bps = 8e5; /* loss allows no more */
    bwe_aimd_init(&a, 6e5, 0);
    bwe_aimd_update(&a, &in, 50 * MS);
    assert_in_range((uint64_t)a.bps, 799999, 800001);
}

static void test_growth_ends_at_the_most(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 9e6, 0);
    grow(&a, 60, 0);
    assert_true(a.bps <= 1e7);
}

static void test_a_queue_that_grows_cuts_to_what_comes_through(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    struct aimd_in in = calm(8e5);
    in.usage = BWE_OVERUSE;
    in.queue_us = 5 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    assert_int_equal(a.state, BWE_INCREASE); /* no queue to speak of: noise */
    in.queue_us = 20 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1050 * MS);
    assert_int_equal(a.state, BWE_DECREASE);
    assert_in_range((uint64_t)a.bps, 710000, 730000); /* 0.95 - 20 ms / 400 ms of 800k */
    assert_in_range((uint64_t)bwe_aimd_steady(&a, 1060 * MS), 755000, 765000);
    assert_in_range((uint64_t)bwe_aimd_steady(&a, 2000 * MS), 710000, 730000);
}

static void test_a_drained_queue_resumes_under_what_came_through(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 2.5e6, 0);
    struct aimd_in in = calm(5e5);
    in.queue_us = 300 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    assert_in_range((uint64_t)a.bps, 149000, 151000); /* as deep as it goes */
    in.queue_us = 100 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1100 * MS);
    assert_int_equal(a.state, BWE_HOLD);
    struct aimd_in drained = calm(4e5);
    bwe_aimd_update(&a, &drained, 1900 * MS);
    assert_int_equal(a.state, BWE_INCREASE);
    assert_in_range((uint64_t)a.bps, 474000, 476000);
    assert_true(a.before_bps > 2.4e6); /* wants a probe */
    grow(&a, 2, 1900 * MS);
    assert_true(a.bps < 500000); /* slowly, near what the path took */
}

static void test_a_queue_that_still_grows_cuts_again_at_once(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 2.5e6, 0);
    struct aimd_in in = calm(1.5e6);
    in.queue_us = in.newest_us = 100 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    double first = a.bps;
    in = calm(5e5);
    in.queue_us = 120 * (int64_t)MS;
    in.newest_us = 200 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1060 * MS);
    assert_true(a.bps < 0.5 * first);
    bwe_aimd_update(&a, &in, 1080 * MS); /* not for the same news */
    assert_int_equal(a.state, BWE_HOLD);
}

static void test_a_stall_is_undone(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    struct aimd_in in = calm(6e5);
    in.queue_us = in.newest_us = 90 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    assert_true(a.bps < 5e5);
    struct aimd_in gone = calm(1e6);
    bwe_aimd_update(&a, &gone, 1100 * MS);
    assert_in_range((uint64_t)a.bps, 949000, 951000);
    /* The same, but little came through: the low rate may have drained it. */
    bwe_aimd_init(&a, 1e6, 0);
    bwe_aimd_update(&a, &in, 1000 * MS);
    gone = calm(5e5);
    bwe_aimd_update(&a, &gone, 1100 * MS);
    assert_true(a.bps < 6e5);
}

static void test_a_foreign_queue_is_accepted_and_borne(void **state)
{
    struct bwe_aimd a;
    uint64_t now = 1000 * MS;
    bool accepted = false;
    unsigned rounds = 0;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    while (!accepted && rounds++ < 100) {
        struct aimd_in in = calm(a.bps); /* what is sent comes through, and the queue stays */
        in.queue_us = in.newest_us = 150 * (int64_t)MS;
        accepted = bwe_aimd_update(&a, &in, now += 50 * MS);
    }
    assert_true(accepted);
    assert_int_equal(a.state, BWE_INCREASE);
    struct aimd_in in = calm(a.bps);
    in.queue_us = in.newest_us = 100 * (int64_t)MS;
    bwe_aimd_update(&a, &in, now += 50 * MS);
    assert_int_equal(a.state, BWE_INCREASE); /* borne now */
    now += 20 * US_PER_S;
    bwe_aimd_update(&a, &in, now);
    assert_int_equal(a.state, BWE_DECREASE); /* not for ever */
}

static void test_jitter_widens_the_bounds(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    struct aimd_in in = calm(1e6);
    in.queue_us = 40 * (int64_t)MS;
    in.newest_us = 100 * (int64_t)MS;
    in.spread_us = 60 * (double)MS;
    in.usage = BWE_OVERUSE;
    in.queue_us = 30 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    assert_int_equal(a.state, BWE_INCREASE);
    in.queue_us = 60 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1050 * MS);
    assert_int_equal(a.state, BWE_DECREASE);
}

static void test_probes(void **state)
{
    struct bwe_aimd a;

    (void)state;
    bwe_aimd_init(&a, 1e6, 0);
    bwe_aimd_probed(&a, 2e6, false, 1e6);
    assert_in_range((uint64_t)a.bps, 1999999, 2000001);
    bwe_aimd_probed(&a, 3e6, true, 1e6);
    assert_in_range((uint64_t)a.bps, 2849999, 2850001);
    bwe_aimd_probed(&a, 2e6, true, 2.7e6); /* in use: a probe does not lower it */
    assert_in_range((uint64_t)a.bps, 2849999, 2850001);
    bwe_aimd_probed(&a, 2e6, true, 1e6); /* nothing tested it: it does */
    assert_in_range((uint64_t)a.bps, 1899999, 1900001);
    struct aimd_in in = calm(5e5);
    in.queue_us = 100 * (int64_t)MS;
    bwe_aimd_update(&a, &in, 1000 * MS);
    double low = a.bps;
    bwe_aimd_probed(&a, 5e6, false, 1e6); /* not while a queue drains */
    assert_true(a.bps <= low);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth_is_multiplicative_and_tested),
        cmocka_unit_test(test_what_comes_through_is_no_less_than_the_estimate),
        cmocka_unit_test(test_growth_ends_at_the_most),
        cmocka_unit_test(test_a_queue_that_grows_cuts_to_what_comes_through),
        cmocka_unit_test(test_a_drained_queue_resumes_under_what_came_through),
        cmocka_unit_test(test_a_queue_that_still_grows_cuts_again_at_once),
        cmocka_unit_test(test_a_stall_is_undone),
        cmocka_unit_test(test_a_foreign_queue_is_accepted_and_borne),
        cmocka_unit_test(test_jitter_widens_the_bounds),
        cmocka_unit_test(test_probes),
    };

    return cmocka_run_group_tests_name("bwe_aimd", tests, NULL, NULL);
}

/* bwe_path.c: delivered rate and standing queue in arrival time; jitter is no queue.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

#define MS 1000

/* One packet of 1000 bytes each 10 ms: 800 kbit/s. */
static int64_t steady(struct bwe_path *p, int64_t from_us, unsigned n, int64_t delay_us)
{
    for (unsigned i = 0; i < n; i++, from_us += 10 * MS)
        bwe_path_packet(p, from_us, from_us + delay_us, 1000);
    return from_us;
}

static void test_a_zeroed_one_knows_nothing(void **state)
{
    struct bwe_path p = {0};

    (void)state;
    assert_true(bwe_path_rate(&p, 500 * MS) <= 0);
    assert_int_equal(bwe_path_queue_us(&p), 0);
    assert_int_equal(bwe_path_newest_us(&p), 0);
    bwe_path_unseen(&p, 1000);
    bwe_path_accept_queue(&p);
}

static void test_rate_of_the_last_window(void **state)
{
    struct bwe_path p = {0};

    (void)state;
    int64_t t = steady(&p, 0, 20, 40 * MS);
    assert_true(bwe_path_rate(&p, 500 * MS) <= 0); /* nothing known of so long */
    t = steady(&p, t, 150, 40 * MS);
    assert_in_range((uint64_t)bwe_path_rate(&p, 500 * MS), 770000, 840000);
    assert_in_range((uint64_t)bwe_path_rate(&p, 100 * MS), 740000, 900000);
    assert_in_range((uint64_t)bwe_path_rate(&p, 100000 * MS), 770000, 840000);
    assert_true(bwe_path_rate(&p, 0) <= 0);
    for (unsigned i = 0; i < 10; i++)
        bwe_path_unseen(&p, 1000); /* what lost feedback would have told of */
    assert_in_range((uint64_t)bwe_path_rate(&p, 500 * MS), 920000, 1000000);
    (void)t;
}

static void test_standing_queue_is_the_delay_above_the_smallest(void **state)
{
    struct bwe_path p = {0};
    int64_t t = steady(&p, 0, 100, 40 * MS);

    (void)state;
    assert_int_equal(bwe_path_queue_us(&p), 0);
    t = steady(&p, t, 2, 70 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 0); /* two late packets are no standing queue */
    t = steady(&p, t, 2, 70 * MS);
    assert_int_equal(bwe_path_newest_us(&p), 30 * MS); /* but the newest are late */
    steady(&p, t, 20, 70 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 30 * MS);
}

static void test_jitter_is_no_queue(void **state)
{
    struct bwe_path p = {0};
    struct rand_src rnd;
    int64_t worst_us = 0;

    (void)state;
    rand_src_init(&rnd, 1);
    for (int64_t t = 0; t < 60000 * MS; t += 4 * MS) {
        bwe_path_packet(&p, t, t + 40 * MS + (int64_t)rand_src_below(&rnd, 100 * MS), 1000);
        int64_t queue_us = bwe_path_queue_us(&p);
        if (t > 2000 * MS && queue_us > worst_us)
            worst_us = queue_us;
    }
    assert_true(bwe_path_spread_us(&p) > 30 * MS);
    assert_true(worst_us < 70 * MS);
}

static void test_the_base_moves_on(void **state)
{
    struct bwe_path p = {0};
    int64_t t = steady(&p, 0, 100, 40 * MS);

    (void)state;
    t = steady(&p, t, 900, 60 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 20 * MS);
    t = steady(&p, t, 1500, 60 * MS); /* 25 s in all: another route, not a queue */
    assert_int_equal(bwe_path_queue_us(&p), 0);
    steady(&p, t, 100, 40 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 0);
}

static void test_an_accepted_queue_counts_no_more(void **state)
{
    struct bwe_path p = {0};
    int64_t t = steady(&p, 0, 100, 40 * MS);

    (void)state;
    t = steady(&p, t, 100, 90 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 50 * MS);
    bwe_path_accept_queue(&p);
    assert_int_equal(bwe_path_queue_us(&p), 0);
    steady(&p, t, 100, 100 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 10 * MS);
}

static void test_gaps_and_jumps_start_over(void **state)
{
    struct bwe_path p = {0};
    int64_t t = steady(&p, 0, 200, 40 * MS);

    (void)state;
    steady(&p, t + 6000 * MS, 1, 500 * MS);
    assert_int_equal(bwe_path_queue_us(&p), 0);
    assert_true(bwe_path_rate(&p, 500 * MS) <= 0);
    bwe_path_packet(&p, 0, INT64_MAX / 4, 1000); /* the receiver's clock has jumped */
    assert_int_equal(bwe_path_queue_us(&p), 0);
    bwe_path_packet(&p, INT64_MAX / 4, 0, 1000);
    assert_int_equal(bwe_path_queue_us(&p), 0);
    bwe_path_packet(&p, 0, -5 * MS, 1000);
    assert_int_equal(bwe_path_queue_us(&p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_zeroed_one_knows_nothing),
        cmocka_unit_test(test_rate_of_the_last_window),
        cmocka_unit_test(test_standing_queue_is_the_delay_above_the_smallest),
        cmocka_unit_test(test_jitter_is_no_queue),
        cmocka_unit_test(test_the_base_moves_on),
        cmocka_unit_test(test_an_accepted_queue_counts_no_more),
        cmocka_unit_test(test_gaps_and_jumps_start_over),
    };

    return cmocka_run_group_tests_name("bwe_path", tests, NULL, NULL);
}

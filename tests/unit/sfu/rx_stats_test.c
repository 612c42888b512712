/* rx_stats.c: RFC 3550's loss and jitter. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/rx_stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CLOCK 48000
#define MS    UINT64_C(1000)
#define STEP  960

static void test_nothing_lost_nothing_told(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    rx_stats_report(&s, &r);
    assert_int_equal(r.fraction, 0);
    assert_int_equal(r.lost, 0);
    for (unsigned i = 0; i < 100; i++)
        rx_stats_packet(&s, 65500 + i, i * STEP, 100, CLOCK, 1000 * MS + i * 20 * MS);
    rx_stats_report(&s, &r);
    assert_int_equal(r.fraction, 0);
    assert_int_equal(r.lost, 0);
    assert_int_equal(r.highest, 65599);
    assert_int_equal(r.jitter, 0);
}

static void test_loss_is_told_per_interval_and_in_all(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        if (i % 4 != 1)
            rx_stats_packet(&s, i, i * STEP, 100, CLOCK, i * 20 * MS);
    rx_stats_report(&s, &r);
    assert_int_equal(r.fraction, 64);
    assert_int_equal(r.lost, 25);
    for (unsigned i = 100; i < 200; i++)
        rx_stats_packet(&s, i, i * STEP, 100, CLOCK, i * 20 * MS);
    rx_stats_report(&s, &r);
    assert_int_equal(r.fraction, 0);
    assert_int_equal(r.lost, 25);
}

static void test_duplicates_make_loss_negative_not_the_fraction(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        rx_stats_packet(&s, i, i * STEP, 100, CLOCK, i * 20 * MS);
        rx_stats_packet(&s, i, i * STEP, 100, CLOCK, i * 20 * MS);
    }
    rx_stats_report(&s, &r);
    assert_int_equal(r.fraction, 0);
    assert_int_equal(r.lost, -10);
}

static void test_repaired_packets_are_not_lost(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    rx_stats_packet(&s, 1, 0, 100, CLOCK, 0);
    rx_stats_packet(&s, 3, 2 * STEP, 100, CLOCK, 40 * MS);
    rx_stats_repaired(&s, 2, 100);
    rx_stats_report(&s, &r);
    assert_int_equal(r.lost, 0);
    assert_int_equal(r.jitter, 0);
}

/* §A.8: a packet that is d late moves the estimate by d/16. */
static void test_jitter_is_a_sixteenth_of_each_difference(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    rx_stats_packet(&s, 1, 0, 100, CLOCK, 0);
    rx_stats_packet(&s, 2, STEP, 100, CLOCK, 20 * MS + 10 * MS); /* 480 units late */
    rx_stats_report(&s, &r);
    assert_int_equal(r.jitter, 30);
    rx_stats_packet(&s, 3, 2 * STEP, 100, CLOCK, 40 * MS + 10 * MS); /* as late: no difference */
    rx_stats_report(&s, &r);
    assert_in_range(r.jitter, 27, 29);
}

static void test_one_frame_of_many_packets_is_one_measurement(void **state)
{
    struct rx_stats s = {0};
    struct rx_report r;

    (void)state;
    for (unsigned i = 0; i < 50; i++)
        rx_stats_packet(&s, i, 0, 1200, 90000, i * MS);
    rx_stats_report(&s, &r);
    assert_int_equal(r.jitter, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_lost_nothing_told),
        cmocka_unit_test(test_loss_is_told_per_interval_and_in_all),
        cmocka_unit_test(test_duplicates_make_loss_negative_not_the_fraction),
        cmocka_unit_test(test_repaired_packets_are_not_lost),
        cmocka_unit_test(test_jitter_is_a_sixteenth_of_each_difference),
        cmocka_unit_test(test_one_frame_of_many_packets_is_one_measurement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

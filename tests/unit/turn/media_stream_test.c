/* media_stream.c: what is lost, in which runs, how unevenly it comes, at which clock.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/media_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define T0      (100 * US_PER_S)
#define FRAME   (20 * US_PER_MS)
#define WINDOW  64
#define PACKETS 20000

static struct media_stream s;

static void begin(uint16_t seq)
{
    media_stream_begin(&s, 7, seq, 1000, 100, T0);
}

/* The n-th packet after the first, at its time and so much later. */
static void come(uint16_t first, unsigned n, uint32_t hz, uint64_t late_us)
{
    media_stream_packet(&s, (uint16_t)(first + n), 1000 + n * (hz / 50), 100,
                        T0 + n * FRAME + late_us);
}

static void test_nothing_is_lost_of_what_comes(void **state)
{
    (void)state;
    begin(65000);
    for (unsigned n = 1; n < 1000; n++) /* over the wrap of numbers */
        come(65000, n, 48000, 0);
    assert_int_equal(s.packets, 1000);
    assert_int_equal(s.bytes, 100000);
    assert_int_equal(s.lost, 0);
    assert_int_equal(s.expected, 1000 - WINDOW); /* the others may be asked for yet */
    assert_int_equal(s.clock, 48000);
    assert_int_equal(media_stream_jitter_us(&s), 0);
    assert_int_equal(media_stream_frame_us(&s), 20000);
    assert_true(media_stream_is_voice(&s));
}

/* Against a count that looks at all numbers at once. */
static void test_losses_and_runs_are_those_of_a_plain_count(void **state)
{
    static bool came[PACKETS];

    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        unsigned lost = 0, runs = 0, bad = 0;
        srand(seed);
        begin(60000);
        came[0] = true;
        for (unsigned n = 1; n < PACKETS; n++) {
            bad = bad > 0 ? bad - 1 : rand() % 40 == 0 ? (unsigned)rand() % (seed * 6) : 0;
            came[n] = bad == 0;
        }
        for (unsigned n = 1; n < PACKETS; n += 8) { /* in blocks that are turned around */
            for (unsigned k = 8; k-- > 0;)
                if (n + k < PACKETS && came[n + k])
                    come(60000, n + k, 48000, 0);
        }
        unsigned judged = 1;
        for (; judged + 1 < s._highest - ((1u << 16) + 60000) + 2 - WINDOW; judged++) {
            lost += !came[judged];
            runs += !came[judged] && came[judged - 1];
        }
        assert_int_equal(s.lost, lost);
        assert_int_equal(s.runs, runs);
        assert_int_equal(s.expected, judged);
    }
}

static void test_a_gap_longer_than_the_window_is_one_run(void **state)
{
    (void)state;
    begin(0);
    for (unsigned n = 1; n <= 100; n++)
        come(0, n, 8000, 0);
    for (unsigned n = 1101; n <= 1300; n++)
        come(0, n, 8000, 0);
    assert_int_equal(s.lost, 1000);
    assert_int_equal(s.runs, 1);
    assert_int_equal(s.expected, 1301 - WINDOW);
}

static void test_doubles_and_latecomers(void **state)
{
    (void)state;
    begin(10);
    for (unsigned n = 1; n <= 200; n++) {
        if (n != 120)
            come(10, n, 48000, 0);
        come(10, n - (n == 120), 48000, 0); /* each twice */
    }
    assert_int_equal(s.packets, 200);
    come(10, 120 + 0, 48000, 0); /* too late: judged already */
    assert_int_equal(s.lost, 1);
}

static void test_one_wild_number_changes_nothing_and_two_begin_anew(void **state)
{
    (void)state;
    begin(10);
    for (unsigned n = 1; n <= 100; n++)
        come(10, n, 48000, 0);
    struct media_stream before = s;
    media_stream_packet(&s, 40000, 5, 100, T0);
    assert_int_equal(s.lost, before.lost);
    come(10, 101, 48000, 0);
    assert_int_equal(s.packets, 102);
    media_stream_packet(&s, 40000, 5, 100, T0 + 3 * US_PER_S);
    media_stream_packet(&s, 40001, 965, 100, T0 + 3 * US_PER_S + FRAME);
    for (unsigned n = 2; n < 100; n++)
        media_stream_packet(&s, (uint16_t)(40000 + n), 5 + 960 * n, 100,
                            T0 + 3 * US_PER_S + n * FRAME);
    assert_int_equal(s.lost, 0);
    assert_int_equal(s.packets, 102 + 99);
}

static void test_the_clock_is_found(void **state)
{
    static const uint32_t hz[] = {8000, 16000, 48000, 90000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hz); i++) {
        begin(0);
        for (unsigned n = 1; n <= 60; n++)
            come(0, n, hz[i], n % 3 * 2000);
        assert_int_equal(s.clock, hz[i]);
        assert_int_equal(media_stream_is_voice(&s), hz[i] != 90000);
    }
    begin(0); /* none that we know */
    for (unsigned n = 1; n <= 60; n++)
        come(0, n, 30000, 0);
    assert_int_equal(s.clock, 0);
    assert_int_equal(media_stream_jitter_us(&s), 0);
    assert_int_equal(media_stream_frame_us(&s), 0);
}

/* RFC 3550 §6.4.1 in real numbers. */
static void test_jitter_is_that_of_the_rfc(void **state)
{
    double j = 0, before = 0;

    (void)state;
    srand(3);
    begin(0);
    for (unsigned n = 1; n <= 500; n++) {
        double late = rand() % 9000;
        come(0, n, 48000, (uint64_t)late);
        if (s.clock != 0 && before >= 0 && n > 52)
            j += ((late > before ? late - before : before - late) - j) / 16;
        before = late;
    }
    assert_in_range(media_stream_jitter_us(&s), (uint64_t)(j * 0.95), (uint64_t)(j * 1.05));
}

static void test_a_pause_is_no_jitter(void **state)
{
    (void)state;
    begin(0);
    for (unsigned n = 1; n <= 100; n++)
        come(0, n, 48000, 0);
    for (unsigned n = 101; n <= 200; n++) /* ten seconds later, its timestamps stood still */
        come(0, n, 48000, 10 * US_PER_S);
    assert_int_equal(media_stream_jitter_us(&s), 0);
}

static void test_an_interval_counts_for_itself(void **state)
{
    (void)state;
    begin(0);
    for (unsigned n = 1; n <= 200; n++)
        if (n % 10 != 0)
            come(0, n, 48000, 0);
    media_stream_next(&s);
    assert_int_equal(s.packets, 0);
    for (unsigned n = 201; n <= 300; n++)
        come(0, n, 48000, 0);
    assert_int_equal(s.packets, 100);
    assert_int_equal(s.expected, 101); /* 200 did not come: its place is 199 .. 300 */
    assert_in_range(s.lost, 6, 7);     /* those that were in the window */
    assert_in_range(media_stream_frame_us(&s), 19990, 20010);
    media_stream_next(&s);
    media_stream_next(&s); /* silence */
    assert_int_equal(s.clock, 48000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost_of_what_comes),
        cmocka_unit_test(test_losses_and_runs_are_those_of_a_plain_count),
        cmocka_unit_test(test_a_gap_longer_than_the_window_is_one_run),
        cmocka_unit_test(test_doubles_and_latecomers),
        cmocka_unit_test(test_one_wild_number_changes_nothing_and_two_begin_anew),
        cmocka_unit_test(test_the_clock_is_found),
        cmocka_unit_test(test_jitter_is_that_of_the_rfc),
        cmocka_unit_test(test_a_pause_is_no_jitter),
        cmocka_unit_test(test_an_interval_counts_for_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

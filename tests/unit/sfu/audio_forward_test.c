/* audio_forward.c: one slot's numbers go on whoever talks behind it.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/audio_forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

#define CLOCK 48000
#define MS    UINT64_C(1000)
#define STEP  960

static void test_first_packet_follows_the_start_and_is_marked(void **state)
{
    struct audio_forward f;
    struct audio_out o;

    (void)state;
    audio_forward_init(&f, 0xFFFF, 7000); /* the first number stays below 2^15 */
    assert_true(audio_forward_packet(&f, 500, 90000, false, CLOCK, 1000 * MS, &o));
    assert_int_equal(o.seq, 0x8000);
    assert_int_equal(o.ts, 7000 + STEP);
    assert_true(o.marker);
    assert_true(audio_forward_packet(&f, 501, 90000 + STEP, false, CLOCK, 1020 * MS, &o));
    assert_int_equal(o.seq, 0x8001);
    assert_int_equal(o.ts, 7000 + 2 * STEP);
    assert_false(o.marker);
}

static void test_loss_and_reordering_pass_through(void **state)
{
    struct audio_forward f;
    struct audio_out o;

    (void)state;
    audio_forward_init(&f, 10, 0);
    audio_forward_packet(&f, 100, 0, false, CLOCK, 1000 * MS, &o);
    audio_forward_packet(&f, 103, 3 * STEP, false, CLOCK, 1060 * MS, &o);
    assert_int_equal(o.seq, 14);
    assert_true(audio_forward_packet(&f, 101, STEP, true, CLOCK, 1061 * MS, &o));
    assert_int_equal(o.seq, 12);
    assert_int_equal(o.ts, 2 * STEP);
    assert_true(o.marker);
    assert_int_equal(f.seq, 14); /* the highest stays */
}

static void test_another_talker_goes_on_after_the_pause(void **state)
{
    struct audio_forward f;
    struct audio_out a, b;

    (void)state;
    audio_forward_init(&f, 10, 0);
    audio_forward_packet(&f, 100, 5000, false, CLOCK, 1000 * MS, &a);
    audio_forward_stop(&f);
    assert_true(audio_forward_packet(&f, 9, 0xFFFFFF00, false, CLOCK, 1500 * MS, &b));
    assert_int_equal(b.seq, a.seq + 1);
    assert_int_equal(b.ts - a.ts, 500 * CLOCK / 1000);
    assert_true(b.marker);
    /* What the new talker said before its run is not sent. */
    assert_false(audio_forward_packet(&f, 8, 0xFFFFFF00 - STEP, false, CLOCK, 1501 * MS, &b));
    /* Its timestamps wrap, the receiver's go on. */
    assert_true(audio_forward_packet(&f, 10, 0xFFFFFF00 + STEP, false, CLOCK, 1520 * MS, &b));
    assert_int_equal(b.ts - a.ts, 500 * CLOCK / 1000 + STEP);
}

static void test_runs_have_numbers(void **state)
{
    struct audio_forward f;
    struct audio_out o;

    (void)state;
    audio_forward_init(&f, 1, 0);
    audio_forward_packet(&f, 100, 0, false, CLOCK, MS, &o);
    uint16_t first = f.run;
    audio_forward_packet(&f, 101, STEP, false, CLOCK, 20 * MS, &o);
    assert_int_equal(f.run, first);
    audio_forward_stop(&f);
    audio_forward_packet(&f, 102, 2 * STEP, false, CLOCK, 40 * MS, &o);
    assert_int_not_equal(f.run, first);
}

static void test_silence_takes_a_number_of_its_own(void **state)
{
    struct audio_forward f;
    struct audio_out a, s, b;

    (void)state;
    audio_forward_init(&f, 1, 0);
    audio_forward_packet(&f, 100, 0, false, CLOCK, 1000 * MS, &a);
    audio_forward_stop(&f);
    audio_forward_insert(&f, STEP, 1020 * MS, &s);
    assert_int_equal(s.seq, a.seq + 1);
    assert_int_equal(s.ts, a.ts + STEP);
    audio_forward_packet(&f, 7, 12345, false, CLOCK, 1040 * MS, &b);
    assert_int_equal(b.seq, s.seq + 1);
    assert_int_equal(b.ts, s.ts + STEP);
}

/* However sources switch, lose and reorder: numbers are never used twice, and between runs time
 * never goes back. */
static void test_numbers_are_unique_and_time_goes_forward(void **state)
{
    static uint8_t seen[400000];
    struct rand_src rnd;
    struct audio_forward f;
    struct audio_out o;
    uint64_t src = 70000, now = 1000 * MS;
    uint32_t ts = 0, run_end_ts = 0;

    (void)state;
    rand_src_init(&rnd, 1);
    audio_forward_init(&f, 1, 0);
    for (unsigned i = 0; i < 200000; i++) {
        now += 20 * MS;
        if (rand_src_below(&rnd, 50) == 0) {
            audio_forward_stop(&f);
            run_end_ts = f.ts;
            src = rand_src_below(&rnd, 1 << 20) + (1 << 16);
            ts = (uint32_t)rand_src_u64(&rnd);
            now += rand_src_below(&rnd, 1000) * MS;
        }
        src++;
        ts += STEP;
        if (rand_src_below(&rnd, 10) == 0)
            continue; /* lost */
        assert_true(audio_forward_packet(&f, src, ts, false, CLOCK, now, &o));
        assert_in_range(o.seq, 1, sizeof(seen) - 1);
        assert_int_equal(seen[o.seq], 0);
        seen[o.seq] = 1;
        assert_true((int32_t)(o.ts - run_end_ts) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_packet_follows_the_start_and_is_marked),
        cmocka_unit_test(test_loss_and_reordering_pass_through),
        cmocka_unit_test(test_another_talker_goes_on_after_the_pause),
        cmocka_unit_test(test_runs_have_numbers),
        cmocka_unit_test(test_silence_takes_a_number_of_its_own),
        cmocka_unit_test(test_numbers_are_unique_and_time_goes_forward),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* speaker.c: loud is not noise, the dominant speaker follows speech and not clicks.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/speaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0     UINT64_C(1000000)
#define MS     UINT64_C(1000)
#define FRAME  (20 * MS)
#define LIMIT  50
#define QUIET  80
#define SPEECH 25

/* n packets of one level, the first at from_us; gives the time after the last. */
static uint64_t hear(struct speaker *s, uint8_t level, unsigned n, uint64_t from_us)
{
    for (unsigned i = 0; i < n; i++)
        speaker_hear(s, level, level < LIMIT, LIMIT, from_us + i * FRAME);
    return from_us + n * FRAME;
}

static void test_speech_is_loud_and_noise_is_not(void **state)
{
    struct speaker s = {0};

    (void)state;
    assert_false(speaker_hear(&s, QUIET, false, LIMIT, T0));
    assert_true(speaker_hear(&s, SPEECH, true, LIMIT, T0 + FRAME));
    assert_false(speaker_hear(&s, LIMIT + 1, true, LIMIT, T0 + 2 * FRAME));
    assert_false(speaker_hear(&s, SPEAKER_LEVEL_UNKNOWN, true, LIMIT, T0 + 3 * FRAME));
    assert_false(speaker_hear(&s, 127, false, LIMIT, T0 + 4 * FRAME));
}

static void test_steady_noise_over_the_threshold_stops_counting(void **state)
{
    struct speaker s = {0};
    uint64_t now = hear(&s, 48, 500, T0); /* a fan, just over the threshold */

    (void)state;
    assert_false(speaker_hear(&s, 48, false, LIMIT, now));
    assert_true(speaker_hear(&s, 30, false, LIMIT, now + FRAME)); /* speech over it */
}

static void test_a_steady_loud_tone_goes_on_counting(void **state)
{
    struct speaker s = {0};
    uint64_t now = hear(&s, 20, 1500, T0);

    (void)state;
    assert_true(speaker_hear(&s, 20, false, LIMIT, now));
    assert_true(speaker_active(&s, now + 299 * MS));
    assert_false(speaker_active(&s, now + 300 * MS));
}

static void test_presence_rises_fast_and_falls_slowly(void **state)
{
    struct speaker s = {0};
    uint64_t now = hear(&s, QUIET, 5, T0);

    (void)state;
    now = hear(&s, SPEECH, 10, now);
    float full = speaker_rank(&s, now);
    assert_true(full > 85.0f && full <= 102.0f);
    assert_true(speaker_rank(&s, now + 500 * MS) > full / 3);
    assert_true(speaker_rank(&s, now + 500 * MS) < full / 2);
    assert_true(speaker_rank(&s, now + 20000 * MS) < 0.001f);
}

static void test_first_speaker_of_a_silent_room_is_dominant_within_200_ms(void **state)
{
    struct speaker a = {0}, b = {0};
    struct speaker *v[] = {&a, NULL, &b};
    uint64_t now = hear(&a, QUIET, 10, T0);

    (void)state;
    hear(&b, QUIET, 10, T0);
    assert_int_equal(speaker_dominant(v, 3, -1, now), -1);
    uint64_t onset = now;
    int got = -1;
    while (got < 0 && now < onset + 200 * MS) {
        speaker_hear(&b, SPEECH, true, LIMIT, now);
        got = speaker_dominant(v, 3, -1, now);
        now += FRAME;
    }
    assert_int_equal(got, 2);
}

static void test_turn_taking_switches_within_200_ms(void **state)
{
    struct speaker a = {0}, b = {0};
    struct speaker *v[] = {&a, &b};
    uint64_t now = hear(&a, QUIET, 10, T0);

    (void)state;
    hear(&b, QUIET, 10, T0);
    uint64_t next = hear(&a, SPEECH, 100, now);
    hear(&b, QUIET, 100, now);
    now = next;
    assert_int_equal(speaker_dominant(v, 2, -1, now), 0);
    uint64_t onset = now;
    int got = 0;
    while (got == 0 && now <= onset + 200 * MS) {
        speaker_hear(&a, QUIET, false, LIMIT, now);
        speaker_hear(&b, SPEECH, true, LIMIT, now);
        got = speaker_dominant(v, 2, 0, now);
        now += FRAME;
    }
    assert_int_equal(got, 1);
}

static void test_a_click_and_an_agreeing_word_do_not_switch(void **state)
{
    struct speaker a = {0}, b = {0};
    struct speaker *v[] = {&a, &b};
    uint64_t now = hear(&a, SPEECH, 100, T0);

    (void)state;
    hear(&b, QUIET, 100, T0);
    for (int i = 0; i < 15; i++, now += FRAME) { /* 300 ms, as loud */
        speaker_hear(&a, SPEECH, true, LIMIT, now);
        speaker_hear(&b, SPEECH, true, LIMIT, now);
        assert_int_equal(speaker_dominant(v, 2, 0, now), 0);
    }
}

static void test_the_clearly_louder_of_two_takes_over_in_the_end(void **state)
{
    struct speaker a = {0}, b = {0};
    struct speaker *v[] = {&a, &b};
    uint64_t now = hear(&a, 40, 100, T0);
    int got = 0;

    (void)state;
    hear(&b, QUIET, 100, T0);
    uint64_t onset = now;
    for (; got == 0 && now < onset + 3000 * MS; now += FRAME) {
        speaker_hear(&a, 40, true, LIMIT, now);
        speaker_hear(&b, 20, true, LIMIT, now);
        got = speaker_dominant(v, 2, 0, now);
    }
    assert_int_equal(got, 1);
    assert_in_range(now - onset, 500 * MS, 1500 * MS);
}

static void test_silence_keeps_the_last_speaker(void **state)
{
    struct speaker a = {0}, b = {0};
    struct speaker *v[] = {&a, &b};
    uint64_t now = hear(&a, SPEECH, 50, T0);

    (void)state;
    assert_int_equal(speaker_dominant(v, 2, 0, now + 60000 * MS), 0);
    assert_int_equal(speaker_dominant(v, 2, -1, now + 60000 * MS), -1);
    assert_int_equal(speaker_dominant(v, 0, -1, now), -1);
    v[0] = NULL; /* it has left */
    assert_int_equal(speaker_dominant(v, 2, 0, now), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_is_loud_and_noise_is_not),
        cmocka_unit_test(test_steady_noise_over_the_threshold_stops_counting),
        cmocka_unit_test(test_a_steady_loud_tone_goes_on_counting),
        cmocka_unit_test(test_presence_rises_fast_and_falls_slowly),
        cmocka_unit_test(test_first_speaker_of_a_silent_room_is_dominant_within_200_ms),
        cmocka_unit_test(test_turn_taking_switches_within_200_ms),
        cmocka_unit_test(test_a_click_and_an_agreeing_word_do_not_switch),
        cmocka_unit_test(test_the_clearly_louder_of_two_takes_over_in_the_end),
        cmocka_unit_test(test_silence_keeps_the_last_speaker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

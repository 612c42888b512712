/* keyframe_req.c: first at once, joiners share, back-off, spacing by cost.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/keyframe_req.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MS(n) ((n)*US_PER_MS)

static void test_the_first_request_goes_out_at_once(void **state)
{
    struct keyframe_req k = {0};

    (void)state;
    assert_int_equal(keyframe_req_deadline(&k), CLOCK_NEVER);
    assert_false(keyframe_req_tick(&k, MS(5)));
    assert_true(keyframe_req_ask(&k, MS(10)));
    assert_int_equal(keyframe_req_deadline(&k), CLOCK_NEVER); /* until somebody asks again */
    assert_false(keyframe_req_ask(&k, MS(11)));
    assert_int_equal(keyframe_req_deadline(&k), MS(310));
}

static void test_a_hundred_joiners_in_a_second_cost_two(void **state)
{
    struct keyframe_req k = {0};
    unsigned sent = 0;
    uint64_t key_at = CLOCK_NEVER;
    bool waits[100] = {false};

    (void)state;
    keyframe_req_rtt(&k, MS(60));
    for (uint64_t t = 0; t < MS(1600); t += MS(1)) {
        if (t == key_at) {
            keyframe_req_got(&k, t);
            memset(waits, 0, sizeof(waits));
            key_at = CLOCK_NEVER;
        }
        if (t < MS(1000) && t % MS(10) == 0)
            waits[t / MS(10)] = true;
        for (unsigned i = 0; i < 100; i++) {
            if (waits[i] && keyframe_req_ask(&k, t)) {
                sent += t < MS(1000);
                key_at = t + MS(80);
            }
        }
    }
    assert_int_equal(sent, 2);
    for (unsigned i = 0; i < 100; i++)
        assert_false(waits[i]);
}

static void test_unanswered_it_is_repeated_more_and_more_rarely(void **state)
{
    static const unsigned want_ms[] = {0, 400, 1200, 2800, 6000, 10000, 14000};
    struct keyframe_req k = {0};
    unsigned n = 0;

    (void)state;
    keyframe_req_rtt(&k, MS(100));
    for (uint64_t t = 0; t <= MS(14000); t += MS(10)) {
        if (keyframe_req_ask(&k, t)) {
            assert_in_range(n, 0, ARRAY_LEN(want_ms) - 1);
            assert_int_equal(t, MS(want_ms[n]));
            n++;
        }
    }
    assert_int_equal(n, ARRAY_LEN(want_ms));
    keyframe_req_got(&k, MS(14100));
    assert_false(keyframe_req_ask(&k, MS(14200)));
    assert_int_equal(keyframe_req_deadline(&k), MS(14600));
    assert_false(keyframe_req_tick(&k, MS(14599)));
    assert_true(keyframe_req_tick(&k, MS(14600)));
}

static void test_nobody_asks_again_nothing_is_repeated(void **state)
{
    struct keyframe_req k = {0};

    (void)state;
    assert_true(keyframe_req_ask(&k, MS(0)));
    for (uint64_t t = 0; t < MS(20000); t += MS(100))
        assert_false(keyframe_req_tick(&k, t));
}

static void test_a_key_frame_nobody_asked_for_delays_nothing(void **state)
{
    struct keyframe_req k = {0};

    (void)state;
    keyframe_req_got(&k, MS(100));
    assert_true(keyframe_req_ask(&k, MS(120)));
}

static void test_dear_key_frames_are_asked_for_less(void **state)
{
    struct keyframe_req k = {0};

    (void)state;
    keyframe_req_cost(&k, 100000, 1000000); /* 0.8 s of the stream: a quarter is 3.2 s */
    assert_true(keyframe_req_ask(&k, MS(0)));
    keyframe_req_got(&k, MS(100));
    assert_false(keyframe_req_ask(&k, MS(200)));
    assert_int_equal(keyframe_req_deadline(&k), MS(100) + KEYFRAME_REQ_MAX_US);
    for (unsigned i = 0; i < 30; i++)
        keyframe_req_cost(&k, 10000, 1000000); /* 80 ms: 320 ms, under the least spacing */
    assert_true(keyframe_req_tick(&k, MS(4000)));
    keyframe_req_got(&k, MS(4100));
    assert_false(keyframe_req_ask(&k, MS(4200)));
    assert_int_equal(keyframe_req_deadline(&k), MS(4100) + KEYFRAME_REQ_MIN_US);
    keyframe_req_cost(&k, SIZE_MAX, 1);
    keyframe_req_cost(&k, 5, 0);
    assert_true(keyframe_req_deadline(&k) <= MS(4100) + KEYFRAME_REQ_MAX_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_request_goes_out_at_once),
        cmocka_unit_test(test_a_hundred_joiners_in_a_second_cost_two),
        cmocka_unit_test(test_unanswered_it_is_repeated_more_and_more_rarely),
        cmocka_unit_test(test_nobody_asks_again_nothing_is_repeated),
        cmocka_unit_test(test_a_key_frame_nobody_asked_for_delays_nothing),
        cmocka_unit_test(test_dear_key_frames_are_asked_for_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

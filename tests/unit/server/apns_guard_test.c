/* Tests of server/apns_guard.c: when rejections are believed.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/apns_guard.h"

#define T0 (1000 * US_PER_S)

static uint64_t since;

static void test_the_third_token_trips(void **state)
{
    struct apns_guard g = {0};

    (void)state;
    assert_false(apns_guard_reject(&g, 1, T0, &since));
    assert_false(apns_guard_reject(&g, 1, T0 + 1, &since)); /* the same one again */
    assert_false(apns_guard_reject(&g, 2, T0 + 2, &since));
    assert_false(apns_guard_reject(&g, 2, T0 + 3, &since));
    assert_true(apns_guard_reject(&g, 3, T0 + 4, &since));
    assert_true(since == T0);
    assert_true(g.tripped);
    assert_true(apns_guard_reject(&g, 1, T0 + 5, &since)); /* and none is believed from now on */
    assert_true(apns_guard_reject(&g, 9, T0 + 3600 * US_PER_S, &since));
}

static void test_an_accepted_push_clears_it(void **state)
{
    struct apns_guard g = {0};

    (void)state;
    for (uint64_t i = 0; i < 5; i++)
        apns_guard_reject(&g, i, T0, &since);
    assert_true(g.tripped);
    apns_guard_accept(&g, T0 + 1);
    assert_false(g.tripped);
    for (uint64_t i = 0; i < 50; i++) /* many bad ones beside accepted ones are believed */
        assert_false(apns_guard_reject(&g, i, T0 + 2 + i, &since));
}

static void test_after_an_acceptance_only_the_window_counts(void **state)
{
    struct apns_guard g = {0};
    uint64_t t = T0;

    (void)state;
    apns_guard_accept(&g, t);
    t += APNS_GUARD_US; /* the acceptance is just outside of the window */
    assert_false(apns_guard_reject(&g, 1, t, &since));
    assert_false(apns_guard_reject(&g, 2, t + APNS_GUARD_US, &since)); /* 1 is forgotten */
    assert_false(apns_guard_reject(&g, 3, t + APNS_GUARD_US + 1, &since));
    assert_true(apns_guard_reject(&g, 4, t + 2 * APNS_GUARD_US - 1, &since));
    assert_true(since == t + APNS_GUARD_US);
}

static void test_without_any_acceptance_there_is_no_window(void **state)
{
    struct apns_guard g = {0};

    (void)state;
    assert_false(apns_guard_reject(&g, 1, T0, &since));
    assert_false(apns_guard_reject(&g, 2, T0 + 600 * US_PER_S, &since));
    assert_true(apns_guard_reject(&g, 3, T0 + 1200 * US_PER_S, &since));
    assert_true(since == T0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_third_token_trips),
        cmocka_unit_test(test_an_accepted_push_clears_it),
        cmocka_unit_test(test_after_an_acceptance_only_the_window_counts),
        cmocka_unit_test(test_without_any_acceptance_there_is_no_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* coalesce.c: waits under load only, and stops soon after it.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/coalesce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MAX_US   400
#define START_US (1000 * US_PER_S)

/* Turns of `pkts` each, every `gap_us`, for `turns` turns. Returns what the last one gave. */
static uint64_t run(struct coalesce *c, uint64_t *now_us, unsigned pkts, uint64_t gap_us,
                    unsigned turns)
{
    uint64_t wait_us = 0;

    for (unsigned i = 0; i < turns; i++) {
        *now_us += gap_us;
        wait_us = coalesce_after(c, pkts, *now_us);
        assert_true(wait_us == 0 || wait_us == c->max_us);
    }
    return wait_us;
}

static void test_waits_above_the_rate_only(void **state)
{
    static const struct {
        unsigned pkts;
        uint64_t gap_us, wait_us;
    } cases[] = {
        {1, 1000, 0},                  /* 1,000 a second: nobody would come */
        {1, 105, 0},                   /* 9,500 */
        {1, 95, MAX_US},               /* 10,500: 4 in 400 us */
        {8, 100, MAX_US},              /* 80,000 in bursts */
        {600, 20 * US_PER_MS, MAX_US}, /* 30,000, all flows at once every 20 ms */
        {100, 20 * US_PER_MS, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coalesce c = {.max_us = MAX_US};
        uint64_t now_us = START_US;
        assert_int_equal(run(&c, &now_us, cases[i].pkts, cases[i].gap_us, 3000), cases[i].wait_us);
    }
}

static void test_a_turn_without_packets_never_waits(void **state)
{
    struct coalesce c = {.max_us = MAX_US};
    uint64_t now_us = START_US;

    (void)state;
    assert_int_equal(run(&c, &now_us, 10, 100, 1000), MAX_US);
    assert_int_equal(coalesce_after(&c, 0, now_us + 1), 0);
}

static void test_load_is_forgotten_within_two_windows(void **state)
{
    struct coalesce c = {.max_us = MAX_US};
    uint64_t now_us = START_US;

    (void)state;
    assert_int_equal(run(&c, &now_us, 10, 100, 1000), MAX_US);
    now_us += 2 * COALESCE_WINDOW_US;
    assert_int_equal(coalesce_after(&c, 1, now_us), 0);
}

static void test_zero_turns_it_off(void **state)
{
    struct coalesce c = {0};
    uint64_t now_us = START_US;

    (void)state;
    assert_int_equal(run(&c, &now_us, 100, 10, 10000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_above_the_rate_only),
        cmocka_unit_test(test_a_turn_without_packets_never_waits),
        cmocka_unit_test(test_load_is_forgotten_within_two_windows),
        cmocka_unit_test(test_zero_turns_it_off),
    };

    return cmocka_run_group_tests_name("coalesce", tests, NULL, NULL);
}

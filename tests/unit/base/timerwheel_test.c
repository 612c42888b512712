/* Tests of base/timerwheel: a naive model in seeded runs, digit boundaries, far and past deadlines.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "base/rand.h"
#include "base/timerwheel.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TIMERS = 200 };

static struct timer timers[TIMERS];
static uint64_t model[TIMERS]; /* deadline, CLOCK_NEVER: not set */

static uint64_t tick_up(uint64_t us)
{
    return us / US_PER_MS + (us % US_PER_MS != 0);
}

static uint64_t model_earliest(void)
{
    uint64_t least = CLOCK_NEVER;

    for (size_t i = 0; i < TIMERS; i++)
        if (model[i] < least)
            least = model[i];
    return least;
}

/* Deadlines of all magnitudes: the past, this tick, up to years. */
static uint64_t random_deadline(struct rand_src *r, uint64_t now)
{
    uint64_t span = UINT64_C(1) << rand_src_below(r, 60);
    uint64_t d = rand_src_below(r, span);

    if (rand_src_below(r, 20) == 0)
        return now > d ? now - d : 0;
    return now < CLOCK_NEVER - d ? now + d : CLOCK_NEVER - 1;
}

static void pop_all(struct timerwheel *w, uint64_t now)
{
    struct timer *t;

    while ((t = timerwheel_pop(w, now))) {
        size_t i = (size_t)(t - timers);
        assert_true(model[i] != CLOCK_NEVER && model[i] == t->deadline_us);
        assert_true(tick_up(model[i]) <= now / US_PER_MS); /* never early */
        assert_false(timer_is_set(t));
        model[i] = CLOCK_NEVER;
    }
    for (size_t i = 0; i < TIMERS; i++) /* none is late */
        assert_true(model[i] == CLOCK_NEVER || tick_up(model[i]) > now / US_PER_MS);
}

static void check_next(const struct timerwheel *w, uint64_t now)
{
    uint64_t next = timerwheel_next(w), earliest = model_earliest();

    if (earliest == CLOCK_NEVER) {
        assert_true(next == CLOCK_NEVER);
        return;
    }
    assert_true(next != CLOCK_NEVER);
    assert_true(next / US_PER_MS <= tick_up(earliest));
    /* A wheel that has been popped asks for a time ahead: no loop without sleep. */
    assert_true(next > now || tick_up(earliest) <= now / US_PER_MS ||
                next / US_PER_MS > now / 1000);
}

static void run_seed(uint64_t seed)
{
    struct rand_src r;
    uint64_t now = (seed % 3) * UINT64_C(1234567891234);

    rand_src_init(&r, seed);
    memset(timers, 0, sizeof(timers));
    for (size_t i = 0; i < TIMERS; i++)
        model[i] = CLOCK_NEVER;
    struct timerwheel *w = timerwheel_new(now);
    assert_non_null(w);
    for (unsigned step = 0; step < 400; step++) {
        for (unsigned k = 0; k < 5; k++) {
            size_t i = rand_src_below(&r, TIMERS);
            if (rand_src_below(&r, 4) == 0) {
                timer_cancel(w, &timers[i]);
                model[i] = CLOCK_NEVER;
            } else {
                model[i] = random_deadline(&r, now);
                timer_set(w, &timers[i], model[i]);
            }
            assert_int_equal(timer_is_set(&timers[i]), model[i] != CLOCK_NEVER);
        }
        if (rand_src_below(&r, 2) == 0) { /* as a loop does: sleep until next */
            uint64_t next = timerwheel_next(w);
            now = next != CLOCK_NEVER && next > now ? next : now;
        } else {
            now += rand_src_below(&r, UINT64_C(1) << rand_src_below(&r, 40));
        }
        pop_all(w, now);
        check_next(w, now);
    }
    timerwheel_free(w);
}

static void test_seeded_runs_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++)
        run_seed(seed);
}

/* Jumps to just before, at and after each deadline at the digits' borders. */
static void test_every_digit_border_fires_on_time(void **state)
{
    (void)state;
    static const uint64_t starts_ms[] = {0, 1, 62, 63, 64, 4095, 4096, (UINT64_C(1) << 36) - 1};

    for (size_t s = 0; s < sizeof(starts_ms) / sizeof(starts_ms[0]); s++) {
        for (unsigned bit = 0; bit < 44; bit++) {
            for (int d = -1; d <= 1; d++) {
                uint64_t start = starts_ms[s] * US_PER_MS;
                uint64_t due = start + ((UINT64_C(1) << bit) + 2 + (uint64_t)d) * US_PER_MS;
                struct timerwheel *w = timerwheel_new(start);
                struct timer t = {0};
                timer_set(w, &t, due);
                assert_null(timerwheel_pop(w, due - 1));
                assert_true(timerwheel_next(w) == due);
                assert_ptr_equal(timerwheel_pop(w, due), &t);
                assert_true(timerwheel_next(w) == CLOCK_NEVER);
                timerwheel_free(w);
            }
        }
    }
}

static void test_sleeping_until_next_wakes_seldom(void **state)
{
    (void)state;
    struct timerwheel *w = timerwheel_new(123456);
    struct timer t = {0};
    uint64_t now = 123456, due = now + 3600 * US_PER_S;
    unsigned wakes = 0;

    timer_set(w, &t, due);
    while (!timerwheel_pop(w, now)) {
        assert_true(timerwheel_next(w) > now);
        now = timerwheel_next(w);
        wakes++;
    }
    assert_true(now >= due && now < due + US_PER_MS);
    assert_true(wakes <= 6); /* once a level at most */
    timerwheel_free(w);
}

static void test_past_never_and_end_of_time(void **state)
{
    (void)state;
    struct timerwheel *w = timerwheel_new(5 * US_PER_S);
    struct timer a = {0}, b = {0};

    timer_cancel(w, &a); /* not set: harmless */
    timer_set(w, &a, 0);
    assert_true(timerwheel_next(w) <= 5 * US_PER_S);
    timer_set(w, &b, CLOCK_NEVER - 1);
    assert_ptr_equal(timerwheel_pop(w, 5 * US_PER_S), &a);
    assert_null(timerwheel_pop(w, 6 * US_PER_S));
    assert_true(timerwheel_next(w) < CLOCK_NEVER);
    timer_set(w, &b, CLOCK_NEVER);
    assert_false(timer_is_set(&b));
    assert_true(timerwheel_next(w) == CLOCK_NEVER);
    timerwheel_free(w);
    timerwheel_free(NULL);
}

/* A due timer may be cancelled or moved by the handler of another one. */
static void test_due_timers_can_be_cancelled_and_moved(void **state)
{
    (void)state;
    struct timerwheel *w = timerwheel_new(0);
    struct timer t[3] = {0};

    for (int i = 0; i < 3; i++)
        timer_set(w, &t[i], US_PER_MS);
    struct timer *first = timerwheel_pop(w, 2 * US_PER_MS);
    assert_ptr_equal(first, &t[0]);
    timer_cancel(w, &t[1]);
    timer_set(w, &t[2], 10 * US_PER_MS);
    assert_null(timerwheel_pop(w, 2 * US_PER_MS));
    assert_ptr_equal(timerwheel_pop(w, 10 * US_PER_MS), &t[2]);
    timerwheel_free(w);
}

static void test_oom_new_gives_null(void **state)
{
    (void)state;
    uint64_t live = mem_live();

    mem_fail_after(0);
    assert_null(timerwheel_new(0));
    mem_fail_never();
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeded_runs_agree_with_a_naive_model),
        cmocka_unit_test(test_every_digit_border_fires_on_time),
        cmocka_unit_test(test_sleeping_until_next_wakes_seldom),
        cmocka_unit_test(test_past_never_and_end_of_time),
        cmocka_unit_test(test_due_timers_can_be_cancelled_and_moved),
        cmocka_unit_test(test_oom_new_gives_null),
    };
    return cmocka_run_group_tests_name("timerwheel", tests, NULL, NULL);
}

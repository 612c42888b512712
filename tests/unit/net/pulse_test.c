/* Whether workers turn: answers, silence, several of them, no memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/pulse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

#include <cmocka.h>

static void test_true_while_all_answer(void **state)
{
    struct worker *a = worker_new(0), *b = worker_new(1);
    struct pulse *p = pulse_new(2);

    (void)state;
    pulse_add(p, a);
    pulse_add(p, b);
    for (int i = 0; i < 5; i++) {
        assert_true(pulse_beat(p));
        assert_true(worker_settle(a));
        assert_true(worker_settle(b));
    }
    worker_free(a);
    worker_free(b);
    pulse_free(p);
}

static void test_false_until_the_silent_one_has_answered(void **state)
{
    struct worker *a = worker_new(0), *b = worker_new(1);
    struct pulse *p = pulse_new(2);

    (void)state;
    pulse_add(p, a);
    pulse_add(p, b);
    assert_true(pulse_beat(p));
    worker_settle(a);
    for (int i = 0; i < 3; i++) {
        assert_false(pulse_beat(p));
        assert_true(worker_settle(a));
    }
    assert_true(worker_settle(b));
    assert_false(worker_settle(b)); /* one letter, however often it was asked */
    assert_true(pulse_beat(p));
    worker_free(a);
    worker_free(b);
    pulse_free(p);
}

static void test_nobody_is_always_alive(void **state)
{
    struct pulse *p = pulse_new(0);

    (void)state;
    assert_true(pulse_beat(p));
    assert_true(pulse_beat(p));
    pulse_free(p);
    pulse_free(NULL);
}

static void test_oom_is_no_sign_of_a_worker_that_hangs(void **state)
{
    struct worker *w = worker_new(0);
    struct pulse *p = pulse_new(1);

    (void)state;
    pulse_add(p, w);
    mem_fail_after(0);
    assert_true(pulse_beat(p)); /* its letter cannot be written */
    mem_fail_never();
    assert_true(pulse_beat(p)); /* this one can, and nobody reads it */
    assert_false(pulse_beat(p));
    worker_free(w);
    pulse_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_true_while_all_answer),
        cmocka_unit_test(test_false_until_the_silent_one_has_answered),
        cmocka_unit_test(test_nobody_is_always_alive),
        cmocka_unit_test(test_oom_is_no_sign_of_a_worker_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

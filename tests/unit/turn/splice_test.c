/* splice.c: every byte once and in order, one read's worth of memory at most, the end after the
 * last byte. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/splice.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"

static void test_nothing_is_read_while_something_is_left(void **state)
{
    struct splice s = {0};

    (void)state;
    assert_true(splice_wants_read(&s));
    assert_int_equal(splice_keep(&s, (struct slice){0}), 0);
    assert_true(splice_wants_read(&s));
    assert_int_equal(splice_keep(&s, SLICE_LIT("abc")), 0);
    assert_false(splice_wants_read(&s));
    splice_wrote(&s, 2);
    assert_false(splice_wants_read(&s));
    assert_true(slice_eq(splice_left(&s), SLICE_LIT("c")));
    splice_wrote(&s, 1);
    assert_int_equal(splice_left(&s).len, 0);
    assert_true(splice_wants_read(&s));
    assert_int_equal(mem_live(), 0);
}

static void test_the_end_follows_the_last_byte(void **state)
{
    struct splice s = {0};

    (void)state;
    assert_false(splice_take_end(&s));
    assert_int_equal(splice_keep(&s, SLICE_LIT("ab")), 0);
    splice_end_in(&s);
    assert_false(splice_take_end(&s));
    assert_false(splice_done(&s));
    splice_wrote(&s, 2);
    assert_false(splice_wants_read(&s));
    assert_true(splice_take_end(&s));
    assert_false(splice_take_end(&s));
    assert_true(splice_done(&s));
}

static void test_abandoned_is_done_and_holds_nothing(void **state)
{
    struct splice s = {0};

    (void)state;
    assert_int_equal(splice_keep(&s, SLICE_LIT("ab")), 0);
    splice_abandon(&s);
    assert_true(splice_done(&s));
    assert_false(splice_take_end(&s));
    assert_false(splice_wants_read(&s));
    assert_int_equal(splice_left(&s).len, 0);
    assert_int_equal(mem_live(), 0);
    splice_fini(&s);
}

/* A source and a destination that take what they like: the bytes that go in come out. */
static void test_random_steps_lose_and_swap_nothing(void **state)
{
    struct rand_src rnd;
    struct splice s = {0};
    uint8_t next_in = 0, next_out = 0, buf[300];
    unsigned total = 0;

    (void)state;
    rand_src_init(&rnd, 3);
    while (total < 200000 || splice_left(&s).len > 0) {
        struct slice left = splice_left(&s);
        if (left.len > 0) {
            size_t n = (size_t)rand_src_below(&rnd, left.len + 1);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(left.p[i], next_out++);
            splice_wrote(&s, n);
            continue;
        }
        assert_true(splice_wants_read(&s));
        size_t n = (size_t)rand_src_below(&rnd, sizeof(buf)) + 1;
        for (size_t i = 0; i < n; i++)
            buf[i] = next_in++;
        size_t direct = (size_t)rand_src_below(&rnd, n + 1);
        for (size_t i = 0; i < direct; i++)
            assert_int_equal(buf[i], next_out++);
        assert_int_equal(splice_keep(&s, slice_of(buf + direct, n - direct)), 0);
        total += (unsigned)n;
    }
    assert_int_equal(next_in, next_out);
}

static void test_oom_keep_says_so(void **state)
{
    struct splice s = {0};

    (void)state;
    mem_fail_after(0);
    assert_int_equal(splice_keep(&s, SLICE_LIT("x")), -ENOMEM);
    mem_fail_never();
    assert_int_equal(splice_left(&s).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_read_while_something_is_left),
        cmocka_unit_test(test_the_end_follows_the_last_byte),
        cmocka_unit_test(test_abandoned_is_done_and_holds_nothing),
        cmocka_unit_test(test_random_steps_lose_and_swap_nothing),
        cmocka_unit_test(test_oom_keep_says_so),
    };

    return cmocka_run_group_tests_name("splice", tests, NULL, NULL);
}

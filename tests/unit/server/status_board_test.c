/* Tests of server/status_board.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/status_board.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include "base/mem.h"

#include <cmocka.h>

static void test_wanted_only_while_somebody_looks(void **state)
{
    struct status_board *b = status_board_new();
    size_t len;

    (void)state;
    assert_false(status_board_wanted(b, 0));
    assert_null(status_board_look(b, US_PER_S, &len));
    assert_true(status_board_wanted(b, US_PER_S));
    assert_true(status_board_wanted(b, US_PER_S + STATUS_BOARD_LOOK_US - 1));
    assert_false(status_board_wanted(b, US_PER_S + STATUS_BOARD_LOOK_US));
    status_board_free(b);
    status_board_free(NULL);
}

static void test_gives_what_was_written_last_and_nothing_old(void **state)
{
    struct status_board *b = status_board_new();
    size_t len;

    (void)state;
    assert_null(status_board_look(b, 1, &len));
    assert_int_equal(status_board_write(b, SLICE_LIT("one")), 0);
    assert_int_equal(status_board_write(b, SLICE_LIT("second")), 0);
    char *text = status_board_look(b, 2, &len);
    assert_int_equal(len, 6);
    assert_string_equal(text, "second");
    mem_free(text);
    assert_false(status_board_wanted(b, 2 + STATUS_BOARD_LOOK_US)); /* nobody looked: it is old */
    assert_null(status_board_look(b, 2 + STATUS_BOARD_LOOK_US, &len));
    status_board_free(b);
}

static void test_oom_keeps_the_old_text(void **state)
{
    struct status_board *b = status_board_new();
    size_t len;

    (void)state;
    assert_int_equal(status_board_write(b, SLICE_LIT("old")), 0);
    mem_fail_after(0);
    assert_int_equal(status_board_write(b, SLICE_LIT("new")), -ENOMEM);
    mem_fail_after(0);
    assert_null(status_board_look(b, 1, &len));
    mem_fail_never();
    char *text = status_board_look(b, 1, &len);
    assert_string_equal(text, "old");
    mem_free(text);
    status_board_free(b);
    mem_fail_after(0);
    assert_null(status_board_new());
    mem_fail_never();
    assert_int_equal(mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted_only_while_somebody_looks),
        cmocka_unit_test(test_gives_what_was_written_last_and_nothing_old),
        cmocka_unit_test(test_oom_keeps_the_old_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

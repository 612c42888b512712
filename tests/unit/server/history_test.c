/* Tests of server/history.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "server/history.h"

static void test_cursors_come_back_and_others_are_refused(void **state)
{
    const struct ledger_entry e = {.id = {{1, 2, 3, 255}}, .created_ms = 1795383765123};
    uint8_t text[HISTORY_CURSOR_TEXT + 1];
    struct wr w = wr_init(text, sizeof(text));
    struct ledger_cursor c;

    (void)state;
    history_cursor_write(&w, &e);
    assert_int_equal(w.len, HISTORY_CURSOR_TEXT);
    assert_int_equal(history_cursor_parse(&c, wr_done(&w)), 0);
    assert_int_equal(c.created_ms, e.created_ms);
    assert_memory_equal(c.id.b, e.id.b, 16);
    for (size_t n = 0; n < w.len; n++)
        assert_int_equal(history_cursor_parse(&c, slice_of(text, n)), -EBADMSG);
    assert_int_equal(history_cursor_parse(&c, SLICE_LIT("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
                     -EBADMSG); /* too long */
    assert_int_equal(history_cursor_parse(&c, SLICE_LIT("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
                     -EBADMSG); /* another version */
    assert_int_equal(history_cursor_parse(&c, SLICE_LIT("Af__________AAAAAAAAAAAAAAAAAAAAAA")),
                     -EBADMSG); /* a time that no database holds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursors_come_back_and_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* server/ledger_move.c: rows on their way from SQLite to PostgreSQL.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server/ledger_move.h"

static const struct ledger_move_table all = {
    .name = "t", .columns = "a, b, c, d", .types = "tbny", .key = "a", .where = ""};

static void test_a_row_is_what_copy_binary_wants(void **state)
{
    static const uint8_t want[] = {
        'P',  'G',  'C',  'O',  'P',  'Y',  '\n', 0xff, '\r', '\n', 0, /* */
        0,    0,    0,    0,    0,    0,    0,    0,                   /* flags, extension */
        0,    4,                                                       /* fields */
        0,    0,    0,    2,    'h',  'i',                             /* text */
        0xff, 0xff, 0xff, 0xff,                                        /* NULL */
        0,    0,    0,    8,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0,    0,    0,    2,    0,    1, /* yes */
        0xff, 0xff};
    const struct ledger_move_field f[] = {
        {.bytes = SLICE_LIT("hi")}, {.null = true}, {.number = -2}, {.number = 7}};
    uint8_t out[sizeof(want)];
    struct wr w = wr_init(out, sizeof(out));

    (void)state;
    ledger_move_head(&w);
    assert_int_equal(ledger_move_row(&w, &all, f), 0);
    ledger_move_tail(&w);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(out, want, sizeof(want));
}

static void test_a_text_that_can_not_be_leaves_the_row_out(void **state)
{
    static const struct slice bad[] = {SLICE_LIT("a\0b"), SLICE_LIT("\xff"), SLICE_LIT("\xc3")};
    struct ledger_move_field f[4] = {{.number = 0}};
    uint8_t out[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct wr w = wr_init(out, sizeof(out));
        f[0].bytes = bad[i];
        f[1].bytes = (struct slice){0};
        assert_int_equal(ledger_move_row(&w, &all, f), -EINVAL);
        assert_int_equal(w.len, 0);
        f[0].bytes = SLICE_LIT("fine");
        f[1].bytes = bad[i]; /* bytes may be anything */
        assert_int_equal(ledger_move_row(&w, &all, f), 0);
    }
}

static void test_no_room_is_told(void **state)
{
    const struct ledger_move_field f[] = {
        {.bytes = SLICE_LIT("hi")}, {.null = true}, {.number = -2}, {.number = 7}};
    uint8_t out[32];

    (void)state;
    for (size_t cap = 0; cap < 29; cap++) {
        struct wr w = wr_init(out, cap);
        assert_int_equal(ledger_move_row(&w, &all, f), 0);
        assert_true(w.bad);
    }
}

static void test_each_table_has_a_letter_for_each_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEDGER_MOVE_TABLES; i++) {
        const struct ledger_move_table *t = &ledger_move_tables[i];
        size_t columns = 1;
        for (const char *p = t->columns; *p; p++)
            columns += *p == ',';
        assert_int_equal(strlen(t->types), columns);
        assert_in_range(columns, 1, LEDGER_MOVE_COLUMNS_MAX);
        assert_int_equal(strspn(t->types, "tbny"), columns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_is_what_copy_binary_wants),
        cmocka_unit_test(test_a_text_that_can_not_be_leaves_the_row_out),
        cmocka_unit_test(test_no_room_is_told),
        cmocka_unit_test(test_each_table_has_a_letter_for_each_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of proto/resp.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/mem.h"
#include "proto/resp.h"

#define WIRE "*5\r\n$3\r\na\0b\r\n:-7\r\n$-1\r\n*1\r\n+OK\r\n-ERR no such thing\r\n"

static struct resp_reader *reader(void)
{
    struct resp_reader *r = resp_reader_new(1000, 20);

    assert_non_null(r);
    return r;
}

static void check_wire(struct resp *v)
{
    assert_int_equal(v->kind, RESP_ARRAY);
    assert_int_equal(v->n, 5);
    assert_true(slice_eq(resp_text(resp_at(v, 0)), SLICE_LIT("a\0b")));
    assert_int_equal(resp_at(v, 1)->kind, RESP_INTEGER);
    assert_int_equal(resp_at(v, 1)->integer, -7);
    assert_int_equal(resp_at(v, 2)->kind, RESP_NIL);
    assert_true(slice_is(resp_text(resp_at(resp_at(v, 3), 0)), "OK"));
    assert_true(resp_is_error(resp_at(v, 4), "ERR"));
    assert_false(resp_is_error(resp_at(v, 4), "ERRO"));
    assert_false(resp_is_error(resp_at(v, 4), "ER"));
    assert_null(resp_at(v, 5));
    assert_int_equal(resp_text(resp_at(v, 4)).len, 0); /* an error is no text */
    resp_free(v);
}

static void test_every_kind_of_value_is_read(void **state)
{
    struct resp_reader *r = reader();
    struct resp *v;

    (void)state;
    assert_int_equal(resp_next(r, &v), -EAGAIN);
    assert_int_equal(resp_feed(r, SLICE_LIT(WIRE WIRE)), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(resp_next(r, &v), 0);
        check_wire(v);
    }
    assert_int_equal(resp_next(r, &v), -EAGAIN);
    resp_reader_free(r);
}

static void test_a_reply_may_come_byte_by_byte(void **state)
{
    struct resp_reader *r = reader();
    struct slice wire = SLICE_LIT(WIRE);
    struct resp *v;

    (void)state;
    for (size_t i = 0; i < wire.len; i++) {
        assert_int_equal(resp_next(r, &v), -EAGAIN);
        assert_int_equal(resp_feed(r, slice_sub(wire, i, 1)), 0);
    }
    assert_int_equal(resp_next(r, &v), 0);
    check_wire(v);
    resp_reader_free(r);
}

static int verdict(struct slice wire, size_t bytes, size_t values)
{
    struct resp_reader *r = resp_reader_new(bytes, values);
    struct resp *v = NULL;

    assert_non_null(r);
    int err = resp_feed(r, wire);
    if (err == 0)
        err = resp_next(r, &v);
    resp_free(v);
    resp_reader_free(r);
    return err;
}

static void test_what_is_larger_than_allowed_is_refused(void **state)
{
    static uint8_t big[300];
    struct resp_reader *r = resp_reader_new(100, 4);
    struct resp *v;

    (void)state;
    assert_int_equal(verdict(SLICE_LIT("$4\r\nabcd\r\n"), 4, 1), 0);
    assert_int_equal(verdict(SLICE_LIT("$4\r\nabcd\r\n"), 3, 1), -EMSGSIZE);
    assert_int_equal(verdict(SLICE_LIT("*3\r\n:1\r\n:2\r\n:3\r\n"), 0, 4), 0);
    assert_int_equal(verdict(SLICE_LIT("*3\r\n:1\r\n:2\r\n:3\r\n"), 0, 3), -EMSGSIZE);
    assert_int_equal(verdict(SLICE_LIT("*2147483647\r\n"), 100, 1000), -EMSGSIZE);
    /* Parts that are allowed each, but not together. */
    assert_int_equal(verdict(SLICE_LIT("*2\r\n$3\r\nabc\r\n$3\r\ndef\r\n"), 6, 9), 0);
    assert_int_equal(verdict(SLICE_LIT("*2\r\n$3\r\nabc\r\n$3\r\ndef\r\n"), 5, 9), -EMSGSIZE);
    /* A string that never comes whole does not grow for ever. */
    assert_int_equal(resp_feed(r, SLICE_LIT("$999999999\r\n")), 0);
    assert_int_equal(resp_next(r, &v), -EAGAIN);
    assert_int_equal(resp_feed(r, slice_of(big, sizeof(big))), 0);
    assert_int_equal(resp_next(r, &v), -EAGAIN);
    assert_int_equal(resp_feed(r, slice_of(big, 1)), -EMSGSIZE);
    resp_reader_free(r);
}

static void test_what_is_not_resp2_is_refused(void **state)
{
    static const char *const wrong[] = {"HTTP/1.1 400\r\n", "\x15\x03\x03\r\n", "*-2\r\n",
                                        "$-2\r\n",          ":x\r\n",           "%1\r\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(verdict(slice_str(wrong[i]), 1000, 20), -EBADMSG);
    /* Nested deeper than anybody means. */
    assert_int_equal(
        verdict(SLICE_LIT("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"), 1000,
                20),
        -EBADMSG);
}

static void test_a_command_is_counted_words(void **state)
{
    const struct slice words[] = {SLICE_LIT("SET"), SLICE_LIT("a\r\n*1"), (struct slice){0}};
    uint8_t buf[128];
    struct wr w = wr_init(buf, resp_command_size(words, 3));

    (void)state;
    resp_command(&w, words, 3);
    assert_false(w.bad);
    assert_true(slice_eq(wr_done(&w), SLICE_LIT("*3\r\n$3\r\nSET\r\n$5\r\na\r\n*1\r\n$0\r\n\r\n")));
}

static void test_when_memory_is_out_nothing_is_left(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct resp_reader *r = resp_reader_new(1000, 20);
        struct resp *v = NULL;
        if (r && resp_feed(r, SLICE_LIT(WIRE)) == 0)
            assert_true(resp_next(r, &v) == (mem_failed() ? -ENOMEM : 0));
        bool failed = mem_failed();
        mem_fail_never();
        resp_free(v);
        resp_reader_free(r);
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_value_is_read),
        cmocka_unit_test(test_a_reply_may_come_byte_by_byte),
        cmocka_unit_test(test_what_is_larger_than_allowed_is_refused),
        cmocka_unit_test(test_what_is_not_resp2_is_refused),
        cmocka_unit_test(test_a_command_is_counted_words),
        cmocka_unit_test(test_when_memory_is_out_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

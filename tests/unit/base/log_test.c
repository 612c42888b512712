/* Tests of base/log: one line a call, escapes in both forms, cuts, budgets.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>

static int pipe_fds[2];
static char line[65536];

/* Gives what was written since, NUL ended; the bytes must be there or never come. */
static const char *written(void)
{
    ssize_t n = read(pipe_fds[0], line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    return line;
}

static int open_pipe(void **state)
{
    (void)state;
    return pipe2(pipe_fds, O_NONBLOCK);
}

static int close_pipe(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, 2);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return 0;
}

static void test_text_line_has_time_level_area_message(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, pipe_fds[1]);
    log_info("chan", "bind %u to %s", 0x4000U, "x");
    const char *s = written();
    static const char shape[] = "0000-00-00T00:00:00.000Z";
    for (size_t i = 0; i < sizeof(shape) - 1; i++)
        assert_true(shape[i] == '0' ? s[i] >= '0' && s[i] <= '9' : s[i] == shape[i]);
    assert_string_equal(s + sizeof(shape) - 1, " info chan: bind 16384 to x\n");
}

static void test_level_filters(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_TEXT, pipe_fds[1]);
    log_info("a", "no");
    log_debug("a", "no");
    assert_string_equal(written(), "");
    log_error("a", "yes");
    assert_non_null(strstr(written(), " error a: yes\n"));
    log_set_level(LOG_DEBUG);
    log_debug("a", "yes");
    assert_non_null(strstr(written(), " debug a: yes\n"));
}

static void test_errno_survives_a_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, -1); /* write fails */
    errno = EAGAIN;
    log_info("a", "%m");
    assert_int_equal(errno, EAGAIN);
}

/* What reads as text and as JSON after the area. */
static const struct {
    const char *in, *text, *json;
} escapes[] = {
    {"plain", "plain", "plain"},
    {"two\nlines\r\t", "two\\nlines\\u000d\\t", "two\\nlines\\u000d\\t"},
    {"\"q\" \\", "\\\"q\\\" \\\\", "\\\"q\\\" \\\\"},
    {"\x1b[31m\x7f", "\\u001b[31m\\u007f", "\\u001b[31m\\u007f"},
    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
     "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\xff\xc3", "\\xff\\xc3", "\\\\xff\\\\xc3"},
    {"\xc0\x80", "\\xc0\\x80", "\\\\xc0\\\\x80"},                 /* overlong NUL */
    {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\\\xed\\\\xa0\\\\x80"}, /* surrogate */
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"},
    {"\xc2\x9b", "\\u009b", "\\u009b"},     /* C1 */
    {"\xe2\x80\xae", "\\u202e", "\\u202e"}, /* turns text round */
};

static void test_messages_are_escaped_to_one_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        char want[128];
        log_setup(LOG_INFO, LOG_TEXT, pipe_fds[1]);
        log_info("a", "%s", escapes[i].in);
        snprintf(want, sizeof(want), " info a: %s\n", escapes[i].text);
        assert_string_equal(strchr(written(), ' '), want);
        log_setup(LOG_INFO, LOG_JSON, pipe_fds[1]);
        log_info("a", "%s", escapes[i].in);
        snprintf(want, sizeof(want), "\"msg\":\"%s\"}\n", escapes[i].json);
        assert_string_equal(strstr(written(), "\"msg\""), want);
    }
}

/* Every byte pair as a message: the line is one line, valid JSON, and has four members. */
static void test_json_is_valid_whatever_the_message(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON, pipe_fds[1]);
    for (unsigned v = 0x0101; v < 0x10000; v += 7) {
        char msg[3] = {(char)(v >> 8), (char)(v | 1), 0};
        log_info("area", "%s", msg);
        const char *s = written();
        assert_ptr_equal(strchr(s, '\n'), s + strlen(s) - 1);
        json_t *j = json_loads(s, 0, NULL);
        assert_non_null(j);
        assert_int_equal(json_object_size(j), 4);
        assert_string_equal(json_string_value(json_object_get(j, "level")), "info");
        assert_string_equal(json_string_value(json_object_get(j, "area")), "area");
        json_decref(j);
    }
}

static void test_long_message_is_cut_at_a_character_and_marked(void **state)
{
    (void)state;
    char msg[5000];

    log_setup(LOG_INFO, LOG_JSON, pipe_fds[1]);
    for (size_t shift = 0; shift < 4; shift++) {
        for (size_t i = 0; i < sizeof(msg) - 1; i++)
            msg[i] = i < shift ? 'x' : "\xf0\x9f\x98\x80"[(i - shift) % 4];
        msg[sizeof(msg) - 1] = '\0';
        log_info("a", "%s", msg);
        const char *s = written();
        assert_non_null(strstr(s, " [cut]\"}\n"));
        assert_null(strstr(s, "\\x")); /* no split character */
        assert_in_range(strlen(s), 2000, 2200);
    }
    memset(msg, 1, sizeof(msg) - 1); /* the largest line: all escaped */
    log_info("a", "%s", msg);
    assert_non_null(strstr(written(), " [cut]\"}\n"));
    msg[2048] = '\0';
    log_info("a", "%s", msg);
    assert_null(strstr(written(), "[cut]"));
}

static void test_level_names_parse(void **state)
{
    (void)state;
    enum log_level l = LOG_ERROR;

    assert_int_equal(log_level_parse(SLICE_LIT("debug"), &l), 0);
    assert_int_equal(l, LOG_DEBUG);
    assert_int_equal(log_level_parse(SLICE_LIT("Info"), &l), -EINVAL);
    assert_int_equal(log_level_parse(SLICE_LIT(""), &l), -EINVAL);
}

static void test_budget_counts_what_it_refuses(void **state)
{
    (void)state;
    struct log_limit l = {0};

    for (uint64_t s = 0; s < 3; s++) {
        uint64_t now = s * 1000000 + 5;
        assert_true(log_allow(&l, 2, now));
        assert_int_equal(l.suppressed, s == 0 ? 0 : 3);
        assert_true(log_allow(&l, 2, now + 1));
        assert_int_equal(l.suppressed, 0);
        for (int i = 0; i < 3; i++)
            assert_false(log_allow(&l, 2, now + 2));
    }
    assert_false(log_allow(&(struct log_limit){0}, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_line_has_time_level_area_message),
        cmocka_unit_test(test_level_filters),
        cmocka_unit_test(test_errno_survives_a_line),
        cmocka_unit_test(test_messages_are_escaped_to_one_line),
        cmocka_unit_test(test_json_is_valid_whatever_the_message),
        cmocka_unit_test(test_long_message_is_cut_at_a_character_and_marked),
        cmocka_unit_test(test_level_names_parse),
        cmocka_unit_test(test_budget_counts_what_it_refuses),
    };
    return cmocka_run_group_tests_name("log", tests, open_pipe, close_pipe);
}

/* Tests of server/operator.c: what a request line may be. SPDX-License-Identifier: BSD-3-Clause */
#include "server/operator.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define CALL "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"

static struct operator_request decode(const char *line)
{
    struct operator_request q;
    const char *why = NULL;

    if (operator_decode(&q, slice_str(line), &why) != 0)
        fail_msg("%s: %s", line, why);
    return q;
}

static void test_commands(void **state)
{
    static const struct {
        const char *line;
        enum operator_command want;
    } cases[] = {
        {"{\"command\":\"status\"}", OPERATOR_STATUS},
        {"{\"command\":\"calls\"}", OPERATOR_CALLS},
        {"{\"command\":\"end\",\"call\":\"" CALL "\"}", OPERATOR_END},
        {"{\"command\":\"nodes\"}", OPERATOR_NODES},
        {"{\"command\":\"tokens\",\"user\":\"ann\"}", OPERATOR_TOKENS},
        {"{\"command\":\"log-level\",\"level\":\"warn\"}", OPERATOR_LOG_LEVEL},
        {"{\"command\":\"drain\"}", OPERATOR_DRAIN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(decode(cases[i].line).command, cases[i].want);
}

static void test_what_they_carry(void **state)
{
    char id[SIG_CALL_ID_TEXT + 1];
    struct operator_request q = decode("{\"command\":\"calls\",\"user\":\"an\\u00e9\"}");

    (void)state;
    assert_true(q.has_user);
    assert_true(slice_is(slice_of(q.user, q.user_len), "an\xc3\xa9"));
    assert_false(decode("{\"command\":\"calls\"}").has_user);
    q = decode("{\"command\":\"end\",\"call\":\"" CALL "\"}");
    assert_string_equal(sig_call_id_text(&q.call, id), CALL);
    assert_int_equal(decode("{\"command\":\"log-level\",\"level\":\"debug\"}").level, LOG_DEBUG);
    assert_int_equal(decode("{\"command\":\"drain\"}").seconds, OPERATOR_DRAIN_DEFAULT_S);
    assert_int_equal(decode("{\"command\":\"drain\",\"seconds\":\"0\"}").seconds, 0);
    assert_int_equal(decode("{\"command\":\"drain\",\"seconds\":\"86400\"}").seconds, 86400);
}

static void test_refuses_what_is_wrong_and_says_why(void **state)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"", "not one flat JSON object"},
        {"status", "not one flat JSON object"},
        {"{\"command\":{\"a\":1}}", "not one flat JSON object"},
        {"{}", "unknown command"},
        {"{\"command\":7}", "unknown command"},
        {"{\"command\":\"stat\"}", "unknown command"},
        {"{\"command\":\"tokens\"}", "whose tokens"},
        {"{\"command\":\"calls\",\"user\":1}", "user: want"},
        {"{\"command\":\"end\"}", "call: want"},
        {"{\"command\":\"end\",\"call\":\"0192\"}", "call: want"},
        {"{\"command\":\"log-level\"}", "level: want"},
        {"{\"command\":\"log-level\",\"level\":\"loud\"}", "level: want"},
        {"{\"command\":\"drain\",\"seconds\":\"86401\"}", "seconds: want"},
        {"{\"command\":\"drain\",\"seconds\":\"soon\"}", "seconds: want"},
        {"{\"command\":\"drain\",\"seconds\":5}", "seconds: want"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct operator_request q;
        const char *why = NULL;
        assert_int_equal(operator_decode(&q, slice_str(cases[i].line), &why), -EBADMSG);
        assert_non_null(strstr(why, cases[i].why));
    }
}

static void test_a_user_is_as_long_as_a_session_has(void **state)
{
    char line[300];
    struct operator_request q;
    const char *why;

    (void)state;
    for (int n = SESSION_USER_MAX; n <= SESSION_USER_MAX + 1; n++) {
        snprintf(line, sizeof(line), "{\"command\":\"calls\",\"user\":\"%0*d\"}", n, 0);
        assert_int_equal(operator_decode(&q, slice_str(line), &why),
                         n == SESSION_USER_MAX ? 0 : -EBADMSG);
    }
}

static void test_errors_are_escaped(void **state)
{
    uint8_t buf[100];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    operator_put_error(&w, "a \"b\"\n");
    assert_true(slice_is(wr_done(&w), "{\"ok\":false,\"error\":\"a \\\"b\\\"\\u000a\"}\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_what_they_carry),
        cmocka_unit_test(test_refuses_what_is_wrong_and_says_why),
        cmocka_unit_test(test_a_user_is_as_long_as_a_session_has),
        cmocka_unit_test(test_errors_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

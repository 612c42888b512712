/* Tests of server/router_operator.c: what the operator sees and does, over whole messages.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_world.h"

#include "proto/json.h"
#include "server/device_dir.h"
#include "server/operator.h"

#include <setjmp.h>
#include <cmocka.h>

#define CALL   "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"
#define OFFER  "{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},\"metadata\":{\"isVideo\":true}}"
#define ANSWER "{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0\"}}"

static uint8_t text[OPERATOR_REPLY_MAX];

/* The answer to a request line, NUL-terminated. */
static const char *ask_with(struct world *w, const char *line, size_t cap)
{
    struct operator_request q;
    const char *why;
    struct wr out = wr_init(text, cap);

    assert_int_equal(operator_decode(&q, slice_str(line), &why), 0);
    operator_answer(&out, w->r, &q);
    assert_false(out.bad);
    text[out.len] = '\0';
    return (const char *)text;
}

static const char *ask(struct world *w, const char *line)
{
    return ask_with(w, line, sizeof(text) - 1);
}

static const char *status(struct world *w, const struct operator_facts *f)
{
    struct wr out = wr_init(text, OPERATOR_LAST_MAX);

    operator_put_status(&out, w->r, f);
    assert_false(out.bad);
    text[out.len] = '\0';
    return (const char *)text;
}

static void has(const char *in, const char *part)
{
    if (!strstr(in, part))
        fail_msg("'%s' lacks '%s'", in, part);
}

static struct fake *join(struct world *w, const char *user)
{
    struct fake *f = fake_open(w->r, 1);

    fake_hello(f, user, "phone", NULL);
    has(fake_next(f), "welcome");
    return f;
}

static void say(struct fake *f, const char *type, const char *more)
{
    char message[600];

    snprintf(message, sizeof(message), "{\"type\":\"%s\",\"id\":\"%s\",\"callId\":\"" CALL "\"%s}",
             type, type, more);
    fake_say(f, message);
}

static void dial(struct fake *a)
{
    say(a, "call.invite", ",\"to\":\"ben\",\"data\":" OFFER);
}

static void test_calls_are_listed_with_both_sides(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "ann"), *b = join(w, "ben");

    assert_string_equal(ask(w, "{\"command\":\"calls\"}"),
                        "{\"ok\":true,\"shown\":0,\"left_out\":0}\n");
    dial(a);
    pass(w, 3 * US_PER_S);
    const char *list = ask(w, "{\"command\":\"calls\"}");
    has(list, "{\"call\":\"" CALL "\",\"state\":\"inviting\",\"caller\":\"ann\","
              "\"caller_device\":\"phone\",\"callee\":\"ben\",\"callee_device\":\"\"");
    has(list, "\"video\":true,\"path\":\"unknown\",\"seconds\":3}\n");
    say(b, "call.answer", ",\"data\":" ANSWER);
    pass(w, 2 * US_PER_S);
    list = ask(w, "{\"command\":\"calls\",\"user\":\"ben\"}");
    has(list, "\"callee_device\":\"phone\"");
    has(list, "\"seconds\":5,\"answered_seconds\":2}");
    assert_null(strstr(ask(w, "{\"command\":\"calls\",\"user\":\"eve\"}"), CALL));
    assert_null(strstr(list, "v=0"));
    fake_free(a);
    fake_free(b);
}

static void test_a_list_that_is_too_long_says_so(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "ann"), *b = join(w, "ben");

    dial(a);
    has(ask_with(w, "{\"command\":\"calls\"}", OPERATOR_LAST_MAX + 100),
        "\"shown\":0,\"left_out\":1}");
    fake_free(a);
    fake_free(b);
}

static void test_ending_a_call_tells_both(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "ann"), *b = join(w, "ben");
    const char *m;

    dial(a);
    say(b, "call.answer", ",\"data\":" ANSWER);
    assert_string_equal(ask(w, "{\"command\":\"end\",\"call\":\"" CALL "\"}"), "{\"ok\":true}\n");
    for (struct fake *f = a; f; f = f == a ? b : NULL) {
        while ((m = fake_next(f)) && !strstr(m, "call.ended"))
            ;
        assert_non_null(m);
        has(m, "\"admin\"");
    }
    has(ask(w, "{\"command\":\"end\",\"call\":\"" CALL "\"}"), "\"error\":\"no such call\"");
    assert_null(strstr(ask(w, "{\"command\":\"calls\"}"), CALL));
    fake_free(a);
    fake_free(b);
}

static void test_status_counts_and_names_nobody(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "ann"), *b = join(w, "ben");
    struct operator_facts f = {.seconds = 7, .ready = true};
    static const struct json_limits limits = {.depth = 4, .values = 1000, .bytes = 65536};
    struct json_field ok = {.key = "ok"};

    dial(a);
    const char *s = status(w, &f);
    assert_int_equal(json_scan_object(slice_str(s), &limits, &ok, 1), 0);
    has(s, "\"seconds\":7,\"ready\":true,\"draining\":false,\"log_level\":\"info\"");
    has(s, "\"connections\":2,\"sessions\":2");
    has(s, "\"calls\":{\"live\":1,\"looked_at\":1,\"inviting\":1,\"ringing\":0");
    has(s, "\"nodes\":[]}\n");
    assert_null(strstr(s, "degraded"));
    assert_null(strstr(s, "ann"));
    assert_null(strstr(s, CALL));
    say(b, "call.answer", ",\"data\":" ANSWER);
    has(status(w, &f), "\"path\":{\"unknown\":1,");
    ask(w, "{\"command\":\"end\",\"call\":\"" CALL "\"}");
    router_drain(w->r, 1000);
    f = (struct operator_facts){.degraded = "the disk is \"full\""};
    s = status(w, &f);
    has(s, "\"ready\":false,\"draining\":true");
    has(s, "\"degraded\":\"the disk is \\\"full\\\"\"");
    has(s, "\"admin\":1");
    fake_free(a);
    fake_free(b);
}

static void test_without_devices_nobody_has_tokens(void **state)
{
    assert_string_equal(ask(*state, "{\"command\":\"tokens\",\"user\":\"ann\"}"),
                        "{\"ok\":true,\"shown\":0,\"left_out\":0}\n");
    assert_string_equal(ask(*state, "{\"command\":\"nodes\"}"),
                        "{\"ok\":true,\"shown\":0,\"left_out\":0}\n");
}

static void test_tokens_are_shown_by_type_and_never_themselves(void **state)
{
    const struct device_dir_conf conf = {
        .devices = 10, .devices_per_user = 4, .tokens_per_device = 8};
    const struct ledger_token token = {
        .type = LEDGER_VOIP, .token = SLICE_LIT("5ec2e7"), .registered_ms = 9};
    const struct ledger_device d = {.user = SLICE_LIT("ann"),
                                    .device = SLICE_LIT("phone"),
                                    .app = SLICE_LIT("com.example"),
                                    .seen_ms = 11,
                                    .tokens = &token,
                                    .tokens_n = 1};
    struct device_dir *dir = device_dir_new(&conf);
    struct world *w = *state;

    assert_true(router_set_push(w->r, dir, NULL));
    assert_int_equal(device_dir_put(dir, &d), 0);
    const char *list = ask(w, "{\"command\":\"tokens\",\"user\":\"ann\"}");
    has(list, "{\"device\":\"phone\",\"app\":\"com.example\"");
    has(list,
        "\"seen_ms\":11,\"tokens\":[{\"type\":\"voip\",\"registered_ms\":9,\"expires_ms\":0}]}");
    has(list, "\"shown\":1");
    assert_null(strstr(list, "5ec2e7"));
    has(ask(w, "{\"command\":\"tokens\",\"user\":\"ben\"}"), "\"shown\":0");
    router_free(w->r);
    w->r = NULL;
    device_dir_free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_calls_are_listed_with_both_sides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_list_that_is_too_long_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ending_a_call_tells_both, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_counts_and_names_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_devices_nobody_has_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_are_shown_by_type_and_never_themselves, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

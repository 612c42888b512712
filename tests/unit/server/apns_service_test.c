/* Tests of server/apns_service.c: verdicts in the words of push.h, tokens from text to bytes.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "server/apns_service.h"

static unsigned befores;

static void before(void *arg)
{
    (void)arg;
    befores++;
}

static void test_verdicts(void **state)
{
    static const struct {
        struct apns_verdict v;
        enum push_result result;
        enum ledger_env env;
        const char *reason;
        bool maybe;
    } cases[] = {
        {{.result = APNS_ACCEPTED, .status = 200, .env = APNS_SANDBOX},
         PUSH_TAKEN,
         LEDGER_SANDBOX,
         "",
         false},
        {{.result = APNS_TOKEN_GONE, .status = 410, .reason = APNS_Unregistered},
         PUSH_GONE,
         LEDGER_ENV_UNKNOWN,
         "Unregistered",
         false},
        {{.result = APNS_TOKEN_BAD, .status = 400, .reason = APNS_BadDeviceToken},
         PUSH_BAD,
         LEDGER_ENV_UNKNOWN,
         "BadDeviceToken",
         false},
        {{.result = APNS_TOKEN_PARKED, .status = 400, .reason = APNS_DeviceTokenNotForTopic},
         PUSH_NO,
         LEDGER_ENV_UNKNOWN,
         "DeviceTokenNotForTopic",
         false},
        {{.result = APNS_GAVE_UP, .why = APNS_WHY_UNCERTAIN, .maybe_done = true},
         PUSH_NO,
         LEDGER_ENV_UNKNOWN,
         "uncertain",
         true},
        {{.result = APNS_GAVE_UP, .why = APNS_WHY_NO_CONNECTION},
         PUSH_NO,
         LEDGER_ENV_UNKNOWN,
         "no_connection",
         false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push_verdict v = apns_service_verdict(&cases[i].v);
        assert_int_equal(v.result, cases[i].result);
        assert_int_equal(v.env, cases[i].env);
        assert_int_equal(v.maybe, cases[i].maybe);
        assert_int_equal(v.status, cases[i].v.status);
        if (!slice_is(v.reason, cases[i].reason))
            fail_msg("case %zu: %.*s", i, SLICE_FMT(v.reason));
    }
}

static void test_what_is_no_token_is_not_sent(void **state)
{
    static const char *const wrong[] = {"", "a", "abc", "zz", "AA", "aa "};
    const struct apns_conf conf = {0};
    const struct apns_ops ops = {0};
    struct apns *a = apns_new(&conf, &ops, NULL, US_PER_S, 2 * US_PER_S);
    struct apns_service s;
    char id[PUSH_ID_TEXT + 1];
    struct push_job job = {.content = {.kind = PUSH_MISSED, .topic = SLICE_LIT("x")},
                           .deadline_us = 9 * US_PER_S};

    (void)state;
    assert_non_null(a);
    apns_service_init(&s, a, before, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        job.token = slice_str(wrong[i]);
        assert_int_equal(s.service.send(s.service.arg, &job, NULL, id), -EINVAL);
    }
    assert_int_equal(befores, 0);
    apns_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_what_is_no_token_is_not_sent),
    };

    return cmocka_run_group_tests_name("apns_service", tests, NULL, NULL);
}

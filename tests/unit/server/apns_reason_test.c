/* Tests of server/apns_reason.c: every documented reason by name, status and reaction.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tests/lib/guard.h"
#include "server/apns_reason.h"

static struct apns_answer answer(unsigned status, const char *body)
{
    size_t n = strlen(body);
    uint8_t *copy = guard_copy(body, n);
    struct apns_answer a = apns_answer_read(status, slice_of(copy, n));

    guard_free(copy, n);
    return a;
}

/* Written from Apple's table by hand, not from ours. */
static const struct {
    unsigned status;
    const char *reason;
    enum apns_do what;
} DOCUMENTED[] = {
    {400, "BadCollapseId", APNS_DO_DROP},
    {400, "BadDeviceToken", APNS_DO_BAD_TOKEN},
    {400, "BadExpirationDate", APNS_DO_DROP},
    {400, "BadMessageId", APNS_DO_DROP},
    {400, "BadPriority", APNS_DO_DROP},
    {400, "BadTopic", APNS_DO_DROP},
    {400, "DeviceTokenNotForTopic", APNS_DO_PARK},
    {400, "DuplicateHeaders", APNS_DO_DROP},
    {400, "IdleTimeout", APNS_DO_RECONNECT},
    {400, "InvalidPushType", APNS_DO_DROP},
    {400, "MissingDeviceToken", APNS_DO_DROP},
    {400, "MissingTopic", APNS_DO_DROP},
    {400, "PayloadEmpty", APNS_DO_DROP},
    {400, "TopicDisallowed", APNS_DO_DROP},
    {403, "BadCertificate", APNS_DO_STOP},
    {403, "BadCertificateEnvironment", APNS_DO_STOP},
    {403, "BadEnvironmentKeyIdInToken", APNS_DO_STOP},
    {403, "BadEnvironmentKeyInToken", APNS_DO_STOP},
    {403, "ExpiredProviderToken", APNS_DO_NEW_JWT},
    {403, "Forbidden", APNS_DO_STOP},
    {403, "InvalidProviderToken", APNS_DO_STOP},
    {403, "MissingProviderToken", APNS_DO_STOP},
    {403, "UnrelatedKeyIdInToken", APNS_DO_RECONNECT},
    {404, "BadPath", APNS_DO_DROP},
    {405, "MethodNotAllowed", APNS_DO_DROP},
    {410, "ExpiredToken", APNS_DO_GONE},
    {410, "Unregistered", APNS_DO_GONE},
    {413, "PayloadTooLarge", APNS_DO_SHORTEN},
    {429, "TooManyProviderTokenUpdates", APNS_DO_OLD_JWT},
    {429, "TooManyRequests", APNS_DO_WAIT},
    {500, "InternalServerError", APNS_DO_RETRY},
    {503, "ServiceUnavailable", APNS_DO_RETRY},
    {503, "Shutdown", APNS_DO_RETIRE},
    {400, "FeatureNotEnabled", APNS_DO_DROP},
    {400, "MissingChannelId", APNS_DO_DROP},
    {400, "BadChannelId", APNS_DO_DROP},
    {400, "ChannelNotRegistered", APNS_DO_DROP},
    {400, "MissingPushType", APNS_DO_DROP},
    {400, "CannotCreateChannelConfig", APNS_DO_DROP},
    {403, "TopicMismatch", APNS_DO_DROP},
};

static void test_each_documented_reason_has_its_reaction(void **state)
{
    char body[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(DOCUMENTED); i++) {
        snprintf(body, sizeof(body), "{\"reason\":\"%s\"}", DOCUMENTED[i].reason);
        struct apns_answer a = answer(DOCUMENTED[i].status, body);
        assert_string_equal(apns_reason_name(a.reason), DOCUMENTED[i].reason);
        assert_int_equal(a.what, DOCUMENTED[i].what);
        assert_int_equal(a.status, DOCUMENTED[i].status);
    }
    assert_int_equal(ARRAY_LEN(DOCUMENTED), APNS_REASON_COUNT - 2); /* and there are no others */
}

static void test_unknown_reasons_are_judged_by_status(void **state)
{
    static const struct {
        unsigned status;
        enum apns_do what;
    } cases[] = {
        {400, APNS_DO_DROP},  {401, APNS_DO_STOP},  {403, APNS_DO_STOP},    {404, APNS_DO_DROP},
        {408, APNS_DO_RETRY}, {410, APNS_DO_GONE},  {413, APNS_DO_SHORTEN}, {429, APNS_DO_WAIT},
        {500, APNS_DO_RETRY}, {502, APNS_DO_RETRY}, {503, APNS_DO_RETRY},   {599, APNS_DO_RETRY},
        {100, APNS_DO_DROP},  {204, APNS_DO_DROP},  {302, APNS_DO_DROP},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct apns_answer a = answer(cases[i].status, "{\"reason\":\"BrandNew2027\"}");
        assert_int_equal(a.what, cases[i].what);
        assert_int_equal(a.reason, APNS_REASON_UNKNOWN);
        assert_int_equal(answer(cases[i].status, "").what, cases[i].what);
    }
}

static void test_success_needs_no_body(void **state)
{
    (void)state;
    assert_int_equal(answer(200, "").what, APNS_DO_ACCEPT);
    assert_int_equal(answer(200, "").reason, APNS_REASON_NONE);
    assert_int_equal(answer(200, "{\"reason\":\"BadDeviceToken\"}").what, APNS_DO_ACCEPT);
}

static void test_timestamp_of_gone_tokens(void **state)
{
    static const struct {
        const char *body;
        uint64_t ms;
    } cases[] = {
        {"{\"reason\":\"Unregistered\",\"timestamp\":1795000000000}", UINT64_C(1795000000000)},
        {"{\"timestamp\":1,\"reason\":\"ExpiredToken\"}", 1},
        {"{\"reason\":\"Unregistered\"}", 0},
        {"{\"reason\":\"Unregistered\",\"timestamp\":-1}", 0},
        {"{\"reason\":\"Unregistered\",\"timestamp\":1.5}", 0},
        {"{\"reason\":\"Unregistered\",\"timestamp\":\"1795000000000\"}", 0},
        {"{\"reason\":\"Unregistered\",\"timestamp\":99999999999999999999}", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct apns_answer a = answer(410, cases[i].body);
        assert_int_equal(a.what, APNS_DO_GONE);
        assert_true(a.timestamp_ms == cases[i].ms);
    }
    /* A time means something with 410 only. */
    assert_true(answer(400, "{\"reason\":\"BadTopic\",\"timestamp\":5}").timestamp_ms == 0);
}

/* A reason under a status of another class is not believed: a 500 that says Unregistered must not
 * cost a token. */
static void test_reason_under_a_foreign_status_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(answer(500, "{\"reason\":\"Unregistered\"}").what, APNS_DO_RETRY);
    assert_int_equal(answer(503, "{\"reason\":\"BadDeviceToken\"}").what, APNS_DO_RETRY);
    assert_int_equal(answer(302, "{\"reason\":\"Unregistered\"}").what, APNS_DO_DROP);
}

static void test_hostile_bodies_fall_back_to_the_status(void **state)
{
    static const char *const bodies[] = {
        "{",
        "[]",
        "null",
        "{\"reason\":5}",
        "{\"reason\":null}",
        "\xff\xfe",
        "{\"reason\":\"",
        "{\"reason\":\"Unregistered\",\"reason\":\"BadTopic\"}", /* twice */
        "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}",
        "<html>Bad gateway</html>",
    };
    static char big[APNS_BODY_MAX + 64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_int_equal(answer(400, bodies[i]).what, APNS_DO_DROP);
        assert_int_equal(answer(503, bodies[i]).what, APNS_DO_RETRY);
        assert_int_equal(answer(410, bodies[i]).timestamp_ms, 0);
    }
    snprintf(big, sizeof(big), "{\"reason\":\"%0*d\"}", APNS_BODY_MAX, 0);
    assert_int_equal(answer(403, big).reason, APNS_REASON_UNKNOWN);
    /* An escaped name is the same name; one that is far too long is not. */
    assert_int_equal(answer(400, "{\"reason\":\"Bad\\u0054opic\"}").reason, APNS_BadTopic);
    snprintf(big, sizeof(big), "{\"reason\":\"\\u0041%0*d\"}", 400, 0);
    assert_int_equal(answer(400, big).reason, APNS_REASON_UNKNOWN);
}

static void test_names_are_total(void **state)
{
    (void)state;
    assert_string_equal(apns_reason_name(APNS_REASON_NONE), "");
    assert_string_equal(apns_reason_name((enum apns_reason)9999), "unknown");
    assert_int_equal(apns_reason_parse(SLICE_LIT("unknown")), APNS_REASON_UNKNOWN);
    assert_int_equal(apns_reason_parse(SLICE_LIT("")), APNS_REASON_UNKNOWN);
    assert_int_equal(apns_reason_parse(SLICE_LIT("baddevicetoken")), APNS_REASON_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_documented_reason_has_its_reaction),
        cmocka_unit_test(test_unknown_reasons_are_judged_by_status),
        cmocka_unit_test(test_success_needs_no_body),
        cmocka_unit_test(test_timestamp_of_gone_tokens),
        cmocka_unit_test(test_reason_under_a_foreign_status_is_not_believed),
        cmocka_unit_test(test_hostile_bodies_fall_back_to_the_status),
        cmocka_unit_test(test_names_are_total),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/call_fx.c: each effect as the message it becomes; sizes that always suffice.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "proto/json.h"
#include "server/call_fx.h"

#define ID "\"callId\":\"07000000-0000-0000-0000-000000000000\""

static const struct sig_call_id id = {{7}};
static char text[8192];

/* The body of an effect; checked against call_fx_size(). */
static const char *body(const struct call_fx *fx)
{
    const struct json_limits limits = {16, 512, sizeof(text)};
    size_t size = call_fx_size(fx, SLICE_LIT("[1]"));

    assert_true(size + 2 < sizeof(text));
    text[0] = '{';
    struct wr w = wr_init(text + 1, size);
    call_fx_write(&w, fx, SLICE_LIT("r1"), SLICE_LIT("[1]"), 99);
    assert_false(w.bad);
    text[w.len + 1] = '\0';
    assert_int_equal(json_scan(slice_str(text), &limits), 0);
    return text + 1;
}

static void test_effects_become_the_messages_of_the_contract(void **state)
{
    static const struct {
        struct call_fx fx;
        const char *want;
    } cases[] = {
        {{.kind = CALL_FX_REPLY, .type = SIG_CALL_RINGING},
         "\"type\":\"call.ringing\",\"re\":\"r1\"," ID ",\"data\":{}}"},
        {{.kind = CALL_FX_REPLY, .type = SIG_CALL_ANSWER, .state = SIG_CALL_CONNECTING},
         "\"type\":\"call.answer\",\"re\":\"r1\"," ID
         ",\"data\":{\"state\":\"connecting\",\"iceServers\":[1]}}"},
        {{.kind = CALL_FX_REPLY, .type = SIG_CALL_CANCEL, .state = SIG_CALL_OVER},
         "\"type\":\"call.cancel\",\"re\":\"r1\"," ID ",\"data\":{\"state\":\"ended\"}}"},
        {{.kind = CALL_FX_REPLY, .type = SIG_CALL_HANGUP, .duration_ms = 5},
         "\"type\":\"call.hangup\",\"re\":\"r1\"," ID ",\"data\":{\"durationMs\":5}}"},
        {{.kind = CALL_FX_REPLY, .type = SIG_CALL_INVITE, .expires_in_ms = 9, .online = 2},
         "\"type\":\"call.invite\",\"re\":\"r1\"," ID ",\"data\":{\"state\":\"inviting\","
         "\"expiresInMs\":9,\"devices\":{\"online\":2,\"pushed\":0},\"iceServers\":[1]}}"},
        {{.kind = CALL_FX_REPLY,
          .type = SIG_CALL_INVITE,
          .glare = true,
          .merged_into = {{7}},
          .from = {(const uint8_t *)"al", 2},
          .from_device = {(const uint8_t *)"pc", 2},
          .data_raw = {(const uint8_t *)"{}", 2},
          .expires_in_ms = 3},
         "\"type\":\"call.invite\",\"re\":\"r1\"," ID ",\"data\":{\"state\":\"glare\","
         "\"mergedInto\":\"07000000-0000-0000-0000-000000000000\",\"offer\":{},\"from\":\"al\","
         "\"fromDevice\":\"pc\",\"expiresInMs\":3,\"iceServers\":[1]}}"},
        {{.kind = CALL_FX_ERROR, .err = SIG_ERR_CALL_ENDED, .reason = SIG_REASON_BUSY},
         "\"type\":\"error\",\"re\":\"r1\"," ID ",\"data\":{\"code\":\"call.ended\",\"status\":410,"
         "\"message\":\"the call has "
         "ended\",\"retryable\":false,\"details\":{\"reason\":\"busy\"}}}"},
        {{.kind = CALL_FX_RINGING, .from = {(const uint8_t *)"bob", 3}},
         "\"type\":\"call.ringing\"," ID ",\"from\":\"bob\",\"ts\":99}"},
        {{.kind = CALL_FX_ENDED,
          .reason = SIG_REASON_DECLINED_ELSEWHERE,
          .by = {(const uint8_t *)"bob", 3},
          .by_device = {(const uint8_t *)"pc", 2}},
         "\"type\":\"call.ended\"," ID
         ",\"data\":{\"reason\":\"declined_elsewhere\",\"by\":\"bob\","
         "\"deviceId\":\"pc\",\"sipCode\":603,\"durationMs\":0,\"missed\":false}}"},
        {{.kind = CALL_FX_RELAY,
          .type = SIG_CALL_INFO,
          .from = {(const uint8_t *)"bob", 3},
          .from_device = {(const uint8_t *)"pc", 2},
          .data_raw = {(const uint8_t *)"{\"x\":1}", 7}},
         "\"type\":\"call.info\"," ID
         ",\"from\":\"bob\",\"fromDevice\":\"pc\",\"ts\":99,\"data\":{\"x\":1}}"},
        {{.kind = CALL_FX_STATE, .state = SIG_CALL_ACTIVE, .conn = SIG_CONN_COUNT},
         "\"type\":\"call.state\"," ID ",\"data\":{\"state\":\"active\"}}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct call_fx fx = cases[i].fx;
        fx.call_id = id;
        assert_string_equal(body(&fx), cases[i].want);
    }
}

static void test_the_size_allows_for_escapes(void **state)
{
    uint8_t odd[128];
    struct call_fx fx = {.kind = CALL_FX_INCOMING,
                         .call_id = id,
                         .from = SLICE_LIT("bob"),
                         .data_raw = SLICE_LIT("{}"),
                         .metadata_raw = SLICE_LIT("{}"),
                         .from_name = slice_of(odd, sizeof(odd))};

    (void)state;
    memset(odd, 1, sizeof(odd)); /* six bytes each */
    assert_non_null(strstr(body(&fx), "\"fromName\":\"\\u0001"));
}

static void test_added_effects_are_empty(void **state)
{
    struct call_effects *out = malloc(sizeof(*out));

    (void)state;
    assert_non_null(out);
    memset(out, 0xA5, sizeof(*out));
    call_effects_clear(out);
    for (size_t i = 0; i < CALL_FX_MAX; i++) {
        const struct call_fx *fx = call_fx_add(out, CALL_FX_ENDED, &id);
        assert_true(fx->from.len == 0 && fx->conn == SIG_CONN_COUNT && !fx->glare);
    }
    assert_int_equal(out->n, CALL_FX_MAX);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_effects_become_the_messages_of_the_contract),
        cmocka_unit_test(test_the_size_allows_for_escapes),
        cmocka_unit_test(test_added_effects_are_empty),
    };

    return cmocka_run_group_tests_name("call_fx", tests, NULL, NULL);
}

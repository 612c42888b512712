/* Tests of proto/sig_server.c: every server message, byte for byte where it matters, valid always.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/json.h"
#include "proto/sig_server.h"

#define ID_TEXT "00000000-0000-0000-0000-000000000007"

static uint8_t buf[4096];
static const struct sig_call_id id = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}};

/* A writer behind `{"seq":1,"ack":2,`. */
static struct wr open_msg(void)
{
    struct wr w = wr_init(buf, sizeof(buf));

    sig_server_open(&w, 1, 2);
    return w;
}

static void is(const struct wr *w, const char *body)
{
    const struct json_limits limits = {SIG_DEPTH, SIG_VALUES, SIG_LARGE_BYTES};
    struct slice text = wr_done(w);
    struct slice open = SLICE_LIT("{\"seq\":1,\"ack\":2,");

    if (json_scan(text, &limits) != 0)
        fail_msg("not JSON: %.*s", SLICE_FMT(text));
    if (!slice_starts(text, open) || !slice_is(slice_sub(text, open.len, text.len), body))
        fail_msg("%.*s", SLICE_FMT(text));
}

static struct sig_head head(enum sig_type type)
{
    return (struct sig_head){.type = type,
                             .call_id = &id,
                             .from = SLICE_LIT("bob"),
                             .from_device = SLICE_LIT("phone"),
                             .ts_ms = 5};
}

#define FROM "\"callId\":\"" ID_TEXT "\",\"from\":\"bob\",\"fromDevice\":\"phone\",\"ts\":5"

static void test_the_opening_leaves_out_what_is_not_there(void **state)
{
    static const struct {
        uint64_t seq, ack;
        const char *text;
    } cases[] = {
        {0, 0, "{"}, {3, 0, "{\"seq\":3,"}, {0, 4, "{\"ack\":4,"}, {3, 4, "{\"seq\":3,\"ack\":4,"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        sig_server_open(&w, cases[i].seq, cases[i].ack);
        assert_true(slice_is(wr_done(&w), cases[i].text));
    }
    struct wr w = wr_init(buf, SIG_SERVER_OPEN_MAX);
    sig_server_open(&w, UINT64_MAX, UINT64_MAX);
    assert_false(w.bad);
}

static void test_session_messages(void **state)
{
    (void)state;
    struct wr w = open_msg();
    sig_server_welcome(&w, &(struct sig_welcome){.session_id = SLICE_LIT("s"),
                                                 .resume_token = SLICE_LIT("t"),
                                                 .user = SLICE_LIT("bob"),
                                                 .device = SLICE_LIT("phone"),
                                                 .node = SLICE_LIT("n1"),
                                                 .resume_ttl_ms = 120000,
                                                 .server_time_ms = 9,
                                                 .last_seq = 3,
                                                 .ping_interval_ms = 25000,
                                                 .ping_timeout_ms = 50000});
    is(&w, "\"type\":\"welcome\",\"data\":{\"sessionId\":\"s\",\"resumeToken\":\"t\","
           "\"resumeTtlMs\":120000,\"resumed\":false,\"lastSeq\":3,\"userId\":\"bob\","
           "\"deviceId\":\"phone\",\"nodeId\":\"n1\",\"serverTime\":9,\"pingIntervalMs\":25000,"
           "\"pingTimeoutMs\":50000,\"limits\":{\"messageBytes\":8192,\"sdpBytes\":65536},"
           "\"activeCalls\":[]}}");
    w = open_msg();
    sig_server_pong(&w, (struct slice){0}, (struct slice){0});
    is(&w, "\"type\":\"pong\",\"data\":{}}");
    w = open_msg();
    sig_server_pong(&w, SLICE_LIT("p"), SLICE_LIT("17"));
    is(&w, "\"type\":\"pong\",\"re\":\"p\",\"data\":{\"t\":17}}");
    w = open_msg();
    sig_server_auth_expiring(&w, 60000);
    is(&w, "\"type\":\"auth.expiring\",\"data\":{\"expiresInMs\":60000}}");
    w = open_msg();
    sig_server_auth_refresh(&w, SLICE_LIT("r"), 1);
    is(&w, "\"type\":\"auth.refresh\",\"re\":\"r\",\"data\":{\"expiresInMs\":1}}");
    w = open_msg();
    sig_server_goaway(&w, 10, true, 20);
    is(&w, "\"type\":\"server.goaway\",\"data\":{\"reconnectDelayMs\":10,\"resumable\":true,"
           "\"deadlineMs\":20}}");
    w = wr_init(buf, sizeof(buf));
    sig_server_ack(&w, 7);
    assert_true(slice_is(wr_done(&w), "{\"type\":\"ack\",\"ack\":7}"));
}

static void test_errors_carry_their_details(void **state)
{
    (void)state;
    struct wr w = open_msg();
    sig_server_error(&w, &(struct sig_error){.re = SLICE_LIT("x"),
                                             .code = SIG_ERR_BAD_REQUEST,
                                             .text = "data.offer: \"missing\""});
    is(&w, "\"type\":\"error\",\"re\":\"x\",\"data\":{\"code\":\"bad_request\",\"status\":400,"
           "\"message\":\"data.offer: \\\"missing\\\"\",\"retryable\":false}}");
    w = open_msg();
    sig_server_error(&w, &(struct sig_error){.call_id = &id,
                                             .code = SIG_ERR_CALL_ALREADY_ANSWERED,
                                             .has_state = true,
                                             .state = SIG_CALL_ACTIVE,
                                             .winner = SLICE_LIT("pad")});
    is(&w, "\"type\":\"error\",\"callId\":\"" ID_TEXT "\",\"data\":{\"code\":"
           "\"call.already_answered\",\"status\":409,\"message\":\"another device has answered\","
           "\"retryable\":false,\"details\":{\"winner\":\"pad\",\"state\":\"active\"}}}");
    w = open_msg();
    sig_server_error(&w, &(struct sig_error){.code = SIG_ERR_CALL_ENDED,
                                             .reason = SIG_REASON_TIMEOUT,
                                             .retry_after_ms = 9});
    is(&w, "\"type\":\"error\",\"data\":{\"code\":\"call.ended\",\"status\":410,\"message\":"
           "\"the call has ended\",\"retryable\":false,\"retryAfterMs\":9,\"details\":{\"reason\":"
           "\"timeout\"}}}");
}

static void test_presence_lists(void **state)
{
    (void)state;
    struct wr w = open_msg();
    sig_server_presence_begin(&w, SIG_PRESENCE_SUBSCRIBE, SLICE_LIT("r"));
    sig_server_presence_item(&w, true, SLICE_LIT("bob"), SIG_PRESENCE_AWAY, SLICE_LIT("Bob"));
    sig_server_presence_item(&w, false, SLICE_LIT("eve"), SIG_PRESENCE_OFFLINE, (struct slice){0});
    sig_server_presence_end(&w);
    is(&w, "\"type\":\"presence.subscribe\",\"re\":\"r\",\"data\":{\"users\":[{\"user\":\"bob\","
           "\"state\":\"away\",\"name\":\"Bob\"},{\"user\":\"eve\",\"state\":\"offline\"}]}}");
    w = open_msg();
    sig_server_presence_set(&w, SLICE_LIT("r"), SIG_PRESENCE_INVISIBLE);
    is(&w, "\"type\":\"presence.set\",\"re\":\"r\",\"data\":{\"state\":\"invisible\"}}");
}

static void test_replies_of_calls(void **state)
{
    struct sig_head h = {.type = SIG_CALL_INVITE, .re = SLICE_LIT("a1"), .call_id = &id};

    (void)state;
    struct wr w = open_msg();
    sig_server_invite_reply(&w, &h, SIG_CALL_INVITING, 30000, 2, 0, SLICE_LIT("[{}]"));
    is(&w, "\"type\":\"call.invite\",\"re\":\"a1\",\"callId\":\"" ID_TEXT "\",\"data\":{\"state\":"
           "\"inviting\",\"expiresInMs\":30000,\"devices\":{\"online\":2,\"pushed\":0},"
           "\"iceServers\":[{}]}}");
    w = open_msg();
    sig_server_glare_reply(&w, &h,
                           &(struct sig_glare){.merged_into = &id,
                                               .offer_raw = SLICE_LIT("{}"),
                                               .from = SLICE_LIT("al"),
                                               .from_device = SLICE_LIT("pc"),
                                               .expires_in_ms = 8});
    is(&w, "\"type\":\"call.invite\",\"re\":\"a1\",\"callId\":\"" ID_TEXT "\",\"data\":{\"state\":"
           "\"glare\",\"mergedInto\":\"" ID_TEXT "\",\"offer\":{},\"from\":\"al\",\"fromDevice\":"
           "\"pc\",\"expiresInMs\":8,\"iceServers\":[]}}");
    h.type = SIG_CALL_ANSWER;
    w = open_msg();
    sig_server_answer_reply(&w, &h, SIG_CALL_CONNECTING, (struct slice){0});
    is(&w, "\"type\":\"call.answer\",\"re\":\"a1\",\"callId\":\"" ID_TEXT "\",\"data\":{\"state\":"
           "\"connecting\",\"iceServers\":[]}}");
    h.type = SIG_CALL_CANCEL;
    w = open_msg();
    sig_server_cancel_reply(&w, &h, SIG_CALL_OVER);
    is(&w, "\"type\":\"call.cancel\",\"re\":\"a1\",\"callId\":\"" ID_TEXT
           "\",\"data\":{\"state\":\"ended\"}}");
    h.type = SIG_CALL_HANGUP;
    w = open_msg();
    sig_server_hangup_reply(&w, &h, 61234);
    is(&w, "\"type\":\"call.hangup\",\"re\":\"a1\",\"callId\":\"" ID_TEXT
           "\",\"data\":{\"durationMs\":61234}}");
    h.type = SIG_TURN_CREDENTIALS;
    w = open_msg();
    sig_server_turn_reply(&w, &h, SLICE_LIT("[1]"), 2);
    is(&w, "\"type\":\"turn.credentials\",\"re\":\"a1\",\"callId\":\"" ID_TEXT
           "\",\"data\":{\"iceServers\":[1],\"ttlMs\":2}}");
    h.type = SIG_CALL_RINGING;
    w = open_msg();
    sig_server_raw(&w, &h, SLICE_LIT("{}"));
    is(&w, "\"type\":\"call.ringing\",\"re\":\"a1\",\"callId\":\"" ID_TEXT "\",\"data\":{}}");
}

static void test_events_of_calls(void **state)
{
    struct sig_head h = head(SIG_CALL_INCOMING);

    (void)state;
    struct wr w = open_msg();
    sig_server_incoming(&w, &h,
                        &(struct sig_incoming){.offer_raw = SLICE_LIT("{\"o\":1}"),
                                               .metadata_raw = SLICE_LIT("{}"),
                                               .from_name = SLICE_LIT("B\"ob"),
                                               .expires_in_ms = 29998});
    is(&w,
       "\"type\":\"call.incoming\"," FROM ",\"data\":{\"offer\":{\"o\":1},\"metadata\":{},"
       "\"fromName\":\"B\\\"ob\",\"expiresInMs\":29998,\"iceServers\":[],\"callWaiting\":false}}");
    h = head(SIG_CALL_ACCEPTED);
    w = open_msg();
    sig_server_accepted(&w, &h, SLICE_LIT("{\"a\":1}"));
    is(&w, "\"type\":\"call.accepted\"," FROM ",\"data\":{\"answer\":{\"a\":1}}}");
    h = (struct sig_head){.type = SIG_CALL_ENDED, .call_id = &id, .ts_ms = 5};
    w = open_msg();
    sig_server_ended(
        &w, &h, &(struct sig_ended){.reason = SIG_REASON_TIMEOUT, .sip_code = 408, .missed = true});
    is(&w, "\"type\":\"call.ended\",\"callId\":\"" ID_TEXT "\",\"data\":{\"reason\":\"timeout\","
           "\"sipCode\":408,\"durationMs\":0,\"missed\":true}}");
    h.type = SIG_CALL_STATE;
    w = open_msg();
    sig_server_call_state(&w, &h, SIG_CALL_RECONNECTING, SIG_CONN_FAILED);
    is(&w, "\"type\":\"call.state\",\"callId\":\"" ID_TEXT "\",\"data\":{\"state\":"
           "\"reconnecting\",\"connectionState\":\"failed\"}}");
    h = head(SIG_CALL_CANDIDATES);
    w = open_msg();
    sig_server_raw(&w, &h, SLICE_LIT("{\"candidates\":[]}"));
    is(&w, "\"type\":\"call.candidates\"," FROM ",\"data\":{\"candidates\":[]}}");
}

static void test_views(void **state)
{
    struct sig_view v = {.call_id = &id,
                         .state = SIG_CALL_OVER,
                         .reason = SIG_REASON_BUSY,
                         .peer = SLICE_LIT("al"),
                         .peer_device = SLICE_LIT("pc"),
                         .selected = true};
    struct sig_head h = {.type = SIG_CALL_SYNC, .re = SLICE_LIT("s"), .call_id = &id};

    (void)state;
    struct wr w = open_msg();
    sig_server_sync_reply(&w, &h, &v);
    is(&w, "\"type\":\"call.sync\",\"re\":\"s\",\"callId\":\"" ID_TEXT
           "\",\"data\":{\"callId\":\"" ID_TEXT
           "\",\"state\":\"ended\",\"reason\":\"busy\",\"role\":\"callee\",\"peer\":\"al\","
           "\"peerDevice\":\"pc\",\"isVideo\":false,\"selected\":true,\"callWaiting\":false}}");
    v = (struct sig_view){.call_id = &id,
                          .caller = true,
                          .peer = SLICE_LIT("bo"),
                          .is_video = true,
                          .has_expires = true,
                          .expires_in_ms = 4,
                          .offer_raw = SLICE_LIT("{\"o\":1}"),
                          .answer_raw = SLICE_LIT("{\"a\":1}")};
    w = open_msg();
    sig_server_sync_reply(&w, &h, &v);
    is(&w, "\"type\":\"call.sync\",\"re\":\"s\",\"callId\":\"" ID_TEXT
           "\",\"data\":{\"callId\":\"" ID_TEXT
           "\",\"state\":\"inviting\",\"role\":\"caller\",\"peer\":\"bo\",\"isVideo\":true,"
           "\"expiresInMs\":4,\"selected\":false,\"answer\":{\"a\":1},\"offer\":{\"o\":1},"
           "\"callWaiting\":false}}");
}

static void test_a_body_that_does_not_fit_is_bad(void **state)
{
    struct sig_head h = head(SIG_CALL_ACCEPTED);

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    sig_server_accepted(&w, &h, SLICE_LIT("{}"));
    size_t need = w.len;
    for (size_t n = 0; n < need; n++) {
        w = wr_init(buf, n);
        sig_server_accepted(&w, &h, SLICE_LIT("{}"));
        assert_true(w.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_opening_leaves_out_what_is_not_there),
        cmocka_unit_test(test_session_messages),
        cmocka_unit_test(test_errors_carry_their_details),
        cmocka_unit_test(test_presence_lists),
        cmocka_unit_test(test_replies_of_calls),
        cmocka_unit_test(test_events_of_calls),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_a_body_that_does_not_fit_is_bad),
    };

    return cmocka_run_group_tests_name("sig_server", tests, NULL, NULL);
}

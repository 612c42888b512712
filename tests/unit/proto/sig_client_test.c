/* Tests of proto/sig_client.c: the data of every client message, field by field.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/json.h"
#include "proto/sig_client.h"

static uint8_t scratch_mem[SIG_SCRATCH_BYTES];
static struct wr scratch;
static struct sig_fault fault;
static struct sig_msg m; /* the present one */

/* A message with this data, as sig_decode() would give it. */
static struct sig_msg with(enum sig_type type, const char *data)
{
    const struct json_limits limits = {SIG_DEPTH, 100000, SIG_LARGE_BYTES};
    struct sig_msg made = {.type = type, .data = slice_str(data)};

    scratch = wr_init(scratch_mem, sizeof(scratch_mem));
    fault = (struct sig_fault){0};
    if (made.data.len > 0)
        assert_int_equal(json_scan(made.data, &limits), 0);
    return made;
}

/* The wrong ones: data, and what the fault begins with. */
struct wrong {
    const char *data, *starts;
};

#define REFUSES(call, rows)                                                     \
    for (size_t i_ = 0; i_ < ARRAY_LEN(rows); i_++) {                           \
        m = with(SIG_UNKNOWN, (rows)[i_].data);                                 \
        if ((call) == 0)                                                        \
            fail_msg("accepted: %s", (rows)[i_].data);                          \
        if (!slice_starts(slice_str(fault.text), slice_str((rows)[i_].starts))) \
            fail_msg("%s: %s", (rows)[i_].data, fault.text);                    \
    }

static void test_hello_is_read(void **state)
{
    struct sig_hello h;

    (void)state;
    m = with(SIG_HELLO, "{\"token\":\"a.b.c\",\"deviceId\":\"phone\\u002d1\","
                        "\"platform\":\"ios\",\"appState\":\"background\","
                        "\"capabilities\":[\"x\",\"video\",\"call-waiting\"],"
                        "\"resume\":{\"sessionId\":\"s\",\"resumeToken\":\"t\","
                        "\"lastSeq\":7,\"nextSeq\":9}}");
    assert_int_equal(sig_client_hello(&h, &m, &scratch, &fault), 0);
    assert_true(slice_is(h.token, "a.b.c") && slice_is(h.device, "phone-1"));
    assert_int_equal(h.platform, SIG_PLATFORM_IOS);
    assert_int_equal(h.caps, SIG_CAP_CALL_WAITING | SIG_CAP_VIDEO);
    assert_true(h.background && h.resume && h.last_seq == 7 && h.next_seq == 9);
    assert_true(slice_is(h.session_id, "s") && slice_is(h.resume_token, "t"));
    m = with(SIG_HELLO, "{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":null}");
    assert_int_equal(sig_client_hello(&h, &m, &scratch, &fault), 0);
    assert_true(!h.resume && h.caps == 0 && h.platform == SIG_PLATFORM_OTHER);
}

static void test_wrong_hellos_are_refused(void **state)
{
    static const struct wrong rows[] = {
        {"", "data.token"},
        {"{\"token\":\"\"}", "data.token"},
        {"{\"token\":1,\"deviceId\":\"d\"}", "data.token"},
        {"{\"token\":\"t\"}", "data.deviceId"},
        {"{\"token\":\"t\",\"deviceId\":\"a b\"}", "data.deviceId"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"platform\":\"vms\"}", "data.platform"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"capabilities\":{}}", "data.capabilities"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"capabilities\":[1]}", "data.capabilities"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"appState\":\"up\"}", "data.appState"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":[]}", "data.resume:"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":{}}", "data.resume.sessionId"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":{\"sessionId\":\"s\"}}",
         "data.resume.resumeToken"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":{\"sessionId\":\"s\",\"resumeToken\":"
         "\"t\",\"lastSeq\":\"1\"}}",
         "data.resume.lastSeq"},
        {"{\"token\":\"t\",\"deviceId\":\"d\",\"resume\":{\"sessionId\":\"s\",\"resumeToken\":"
         "\"t\",\"lastSeq\":1,\"nextSeq\":0}}",
         "data.resume.nextSeq"},
        {"{\"token\":\"t\",\"token\":\"u\",\"deviceId\":\"d\"}", "a key"},
    };
    struct sig_hello h;

    (void)state;
    REFUSES(sig_client_hello(&h, &m, &scratch, &fault), rows);
}

static void test_session_messages(void **state)
{
    static const struct wrong tokens[] = {{"{}", "data.token"}, {"{\"token\":[]}", "data.token"}};
    static const struct wrong pings[] = {{"{\"t\":\"x\"}", "data.t"}, {"{\"t\":null}", "data.t"}};
    struct slice out;
    (void)state;
    m = with(SIG_AUTH_REFRESH, "{\"token\":\"new\"}");
    assert_int_equal(sig_client_auth_refresh(&out, &m, &scratch, &fault), 0);
    assert_true(slice_is(out, "new"));
    REFUSES(sig_client_auth_refresh(&out, &m, &scratch, &fault), tokens);
    m = with(SIG_PING, "{\"t\":1.5e3}");
    assert_int_equal(sig_client_ping(&out, &m, &fault), 0);
    assert_true(slice_is(out, "1.5e3"));
    m = with(SIG_PING, "");
    assert_int_equal(sig_client_ping(&out, &m, &fault), 0);
    assert_int_equal(out.len, 0);
    REFUSES(sig_client_ping(&out, &m, &fault), pings);
}

static void test_presence_messages(void **state)
{
    static const struct wrong users[] = {
        {"", "data.users"},
        {"{\"users\":{}}", "data.users"},
        {"{\"users\":[]}", "data.users"},
        {"{\"users\":[\"a\",\"b c\"]}", "data.users"},
        {"{\"users\":[1]}", "data.users"},
    };
    static const struct wrong states[] = {{"{}", "data.state"},
                                          {"{\"state\":\"offline\"}", "data.state"},
                                          {"{\"state\":1}", "data.state"}};
    static char many[8192];
    enum sig_presence p;
    struct slice out;
    (void)state;
    m = with(SIG_PRESENCE_SUBSCRIBE, "{\"users\":[\"bob\",\"al\\u0069ce\"]}");
    assert_int_equal(sig_client_presence_users(&out, &m, &fault), 0);
    assert_int_equal(json_items_count(out), 2);
    REFUSES(sig_client_presence_users(&out, &m, &fault), users);
    for (unsigned n = SIG_USERS_MAX; n <= SIG_USERS_MAX + 1; n++) {
        struct wr w = wr_init(many, sizeof(many) - 1);
        wr_str(&w, "{\"users\":[\"u\"");
        for (unsigned i = 1; i < n; i++)
            wr_str(&w, ",\"u\"");
        wr_str(&w, "]}");
        many[w.len] = '\0';
        m = with(SIG_PRESENCE_SUBSCRIBE, many);
        assert_int_equal(sig_client_presence_users(&out, &m, &fault) == 0, n == SIG_USERS_MAX);
    }
    m = with(SIG_PRESENCE_SET, "{\"state\":\"invisible\"}");
    assert_int_equal(sig_client_presence_set(&p, &m, &fault), 0);
    assert_int_equal(p, SIG_PRESENCE_INVISIBLE);
    REFUSES(sig_client_presence_set(&p, &m, &fault), states);
}

#define OFFER "\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}"

static void test_invite_is_read(void **state)
{
    struct sig_invite in;

    (void)state;
    m = with(SIG_CALL_INVITE, "{" OFFER ",\"metadata\":{\"isVideo\":true,"
                              "\"timestamp\":1767225600123,\"custom\":{\"a\":1}},"
                              "\"ringTimeoutMs\":5000}");
    assert_int_equal(sig_client_invite(&in, &m, &fault), 0);
    assert_true(slice_is(in.offer, "{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}"));
    assert_true(slice_is(in.metadata,
                         "{\"isVideo\":true,\"timestamp\":1767225600123,\"custom\":{\"a\":1}}"));
    assert_true(in.is_video && in.ring_timeout_ms == 5000);
}

static void test_wrong_invites_are_refused(void **state)
{
    static char big[4096];
    static const struct wrong rows[] = {
        {"", "data.offer"},
        {"{\"offer\":\"sdp\"}", "data.offer"},
        {"{\"offer\":{\"type\":\"answer\",\"sdp\":\"\"}}", "data.offer"},
        {"{\"offer\":{\"type\":\"offer\"}}", "data.offer"},
        {"{\"offer\":{\"type\":\"offer\",\"sdp\":1}}", "data.offer"},
        {"{\"offer\":{\"type\":\"offer\",\"type\":\"offer\",\"sdp\":\"\"}}", "data.offer"},
        {"{" OFFER "}", "data.metadata:"},
        {"{" OFFER ",\"metadata\":{}}", "data.metadata.isVideo"},
        {"{" OFFER ",\"metadata\":{\"isVideo\":1}}", "data.metadata.isVideo"},
        {"{" OFFER ",\"metadata\":{\"isVideo\":true,\"timestamp\":\"x\"}}",
         "data.metadata.timestamp"},
        {"{" OFFER ",\"metadata\":{\"isVideo\":true},\"ringTimeoutMs\":4999}",
         "data.ringTimeoutMs"},
        {"{" OFFER ",\"metadata\":{\"isVideo\":true},\"ringTimeoutMs\":4294967296}",
         "data.ringTimeoutMs"},
        {big, "data.metadata.custom"},
    };
    struct sig_invite in;

    (void)state;
    (void)snprintf(big, sizeof(big),
                   "{" OFFER ",\"metadata\":{\"isVideo\":true,\"custom\":\"%*s\"}}",
                   SIG_CUSTOM_MAX - 1, "");
    REFUSES(sig_client_invite(&in, &m, &fault), rows);
    (void)snprintf(big, sizeof(big),
                   "{" OFFER ",\"metadata\":{\"isVideo\":true,\"custom\":\"%*s\"}}",
                   SIG_CUSTOM_MAX - 2, "");
    m = with(SIG_CALL_INVITE, big);
    assert_int_equal(sig_client_invite(&in, &m, &fault), 0);
}

static void test_answer_reject_hangup_state(void **state)
{
    static const struct wrong answers[] = {
        {"{\"answer\":7}", "data.answer"},
        {"{\"answer\":{\"type\":\"offer\",\"sdp\":\"\"}}", "data.answer"}};
    static const struct wrong rejects[] = {{"{\"scope\":\"some\"}", "data.scope"},
                                           {"{\"reason\":\"hangup\"}", "data.reason"},
                                           {"{\"reason\":null}", "data.reason"}};
    static const struct wrong hangups[] = {{"{\"reason\":\"declined\"}", "data.reason"}};
    static const struct wrong states[] = {{"", "data.connectionState"},
                                          {"{\"connectionState\":\"up\"}", "data.connectionState"}};
    struct sig_reject reject;
    enum sig_reason reason;
    enum sig_conn conn;
    struct slice out;

    (void)state;
    m = with(SIG_CALL_ANSWER, "{\"answer\":{\"sdp\":\"\",\"type\":\"answer\"}}");
    assert_int_equal(sig_client_answer(&out, &m, &fault), 0);
    REFUSES(sig_client_answer(&out, &m, &fault), answers);
    m = with(SIG_CALL_REJECT, "");
    assert_int_equal(sig_client_reject(&reject, &m, &fault), 0);
    assert_true(!reject.device_only && reject.reason == SIG_REASON_DECLINED);
    m = with(SIG_CALL_REJECT, "{\"scope\":\"device\",\"reason\":\"need_permission\"}");
    assert_int_equal(sig_client_reject(&reject, &m, &fault), 0);
    assert_true(reject.device_only && reject.reason == SIG_REASON_NEED_PERMISSION);
    REFUSES(sig_client_reject(&reject, &m, &fault), rejects);
    m = with(SIG_CALL_HANGUP, "{\"reason\":\"media_failed\"}");
    assert_int_equal(sig_client_hangup(&reason, &m, &fault), 0);
    assert_int_equal(reason, SIG_REASON_MEDIA_FAILED);
    REFUSES(sig_client_hangup(&reason, &m, &fault), hangups);
    m = with(SIG_CALL_STATE,
             "{\"connectionState\":\"disconnected\",\"path\":{\"local\":\"host\"}}");
    assert_int_equal(sig_client_state(&conn, &m, &fault), 0);
    assert_int_equal(conn, SIG_CONN_DISCONNECTED);
    REFUSES(sig_client_state(&conn, &m, &fault), states);
}

static void test_candidates_are_counted(void **state)
{
    static const struct wrong rows[] = {
        {"", "data.candidates"},
        {"{\"candidates\":{}}", "data.candidates"},
        {"{\"candidates\":[]}", "data.candidates"},
        {"{\"candidates\":[\"x\"]}", "data.candidates"},
        {"{\"candidates\":[{\"candidate\":1}]}", "data.candidates"},
        {"{\"candidates\":[{\"candidate\":\"a\",\"candidate\":\"b\"}]}", "data.candidates"},
    };
    static char many[2048];

    (void)state;
    REFUSES(sig_client_candidates(&m, &fault), rows);
    for (unsigned n = SIG_CANDIDATES_MAX; n <= SIG_CANDIDATES_MAX + 1; n++) {
        struct wr w = wr_init(many, sizeof(many) - 1);
        wr_str(&w, "{\"candidates\":[{\"candidate\":\"\"}");
        for (unsigned i = 1; i < n; i++)
            wr_str(&w, ",{\"candidate\":\"c\"}");
        wr_str(&w, "]}");
        many[w.len] = '\0';
        m = with(SIG_CALL_CANDIDATES, many);
        assert_int_equal(sig_client_candidates(&m, &fault) == 0, n == SIG_CANDIDATES_MAX);
    }
}

static void test_negotiate_and_info(void **state)
{
    static const struct wrong rows[] = {
        {"{}", "data.description"},
        {"{\"description\":{\"type\":\"pranswer\",\"sdp\":\"\"}}", "data.description"},
        {"{\"description\":{\"type\":\"offer\",\"sdp\":\"\"}}", "data.negotiationId"},
        {"{\"description\":{\"type\":\"offer\",\"sdp\":\"\"},\"negotiationId\":\"n\",\"fresh\":1}",
         "data.fresh"},
        {"{\"description\":{\"type\":\"offer\",\"sdp\":\"\"},\"negotiationId\":\"n\","
         "\"iceRestart\":\"\"}",
         "data.iceRestart"},
        {"{\"description\":{\"type\":\"answer\",\"sdp\":\"\"},\"negotiationId\":\"n\","
         "\"fresh\":true}",
         "data.fresh"},
    };
    static const struct wrong infos[] = {{"{\"onHold\":1}", "data:"}};
    struct sig_negotiate n;

    (void)state;
    m = with(SIG_CALL_NEGOTIATE, "{\"description\":{\"type\":\"rollback\"},"
                                 "\"negotiationId\":\"n1\",\"iceRestart\":true}");
    assert_int_equal(sig_client_negotiate(&n, &m, &scratch, &fault), 0);
    assert_true(n.sdp == SIG_SDP_ROLLBACK && slice_is(n.id, "n1") && n.ice_restart && !n.fresh);
    REFUSES(sig_client_negotiate(&n, &m, &scratch, &fault), rows);
    m = with(SIG_CALL_INFO, "{\"audioMuted\":true,\"custom\":[1,2],\"other\":7}");
    assert_int_equal(sig_client_info(&m, &fault), 0);
    m = with(SIG_CALL_INFO, "");
    assert_int_equal(sig_client_info(&m, &fault), 0);
    REFUSES(sig_client_info(&m, &fault), infos);
}

/* Every reader refuses a key of its own that is there twice, with bad_json. */
static void test_doubled_keys_are_refused(void **state)
{
    struct sig_negotiate negotiate;
    enum sig_presence presence;
    struct sig_reject reject;
    struct sig_invite invite;
    enum sig_reason reason;
    enum sig_conn conn;
    struct slice out;
    int rc = 0;

    (void)state;
    for (int i = 0; i < 11; i++) {
        static const char *const data[] = {
            "{\"token\":\"a\",\"token\":\"a\"}",
            "{\"t\":1,\"t\":1}",
            "{\"users\":[\"a\"],\"users\":[\"a\"]}",
            "{\"state\":\"away\",\"state\":\"away\"}",
            "{\"offer\":{},\"offer\":{}}",
            "{\"answer\":{},\"answer\":{}}",
            "{\"scope\":\"all\",\"scope\":\"all\"}",
            "{\"reason\":\"hangup\",\"reason\":\"hangup\"}",
            "{\"candidates\":[],\"candidates\":[]}",
            "{\"negotiationId\":\"n\",\"negotiationId\":\"n\"}",
            "{\"onHold\":true,\"onHold\":true}",
        };
        m = with(SIG_UNKNOWN, data[i]);
        rc = i == 0   ? sig_client_auth_refresh(&out, &m, &scratch, &fault)
             : i == 1 ? sig_client_ping(&out, &m, &fault)
             : i == 2 ? sig_client_presence_users(&out, &m, &fault)
             : i == 3 ? sig_client_presence_set(&presence, &m, &fault)
             : i == 4 ? sig_client_invite(&invite, &m, &fault)
             : i == 5 ? sig_client_answer(&out, &m, &fault)
             : i == 6 ? sig_client_reject(&reject, &m, &fault)
             : i == 7 ? sig_client_hangup(&reason, &m, &fault)
             : i == 8 ? sig_client_candidates(&m, &fault)
             : i == 9 ? sig_client_negotiate(&negotiate, &m, &scratch, &fault)
                      : sig_client_info(&m, &fault);
        assert_true(rc != 0);
        assert_int_equal(fault.code, SIG_ERR_BAD_JSON);
    }
    m = with(SIG_CALL_STATE, "{\"connectionState\":\"new\",\"connectionState\":\"new\"}");
    assert_true(sig_client_state(&conn, &m, &fault) != 0);
    assert_int_equal(fault.code, SIG_ERR_BAD_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_is_read),
        cmocka_unit_test(test_wrong_hellos_are_refused),
        cmocka_unit_test(test_session_messages),
        cmocka_unit_test(test_presence_messages),
        cmocka_unit_test(test_invite_is_read),
        cmocka_unit_test(test_wrong_invites_are_refused),
        cmocka_unit_test(test_answer_reject_hangup_state),
        cmocka_unit_test(test_candidates_are_counted),
        cmocka_unit_test(test_negotiate_and_info),
        cmocka_unit_test(test_doubled_keys_are_refused),
    };

    return cmocka_run_group_tests_name("sig_client", tests, NULL, NULL);
}

/* Tests of proto/sig.c: names, tables, ids, the envelope.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "proto/sig.h"
#include "tests/lib/guard.h"

#define CALL_ID "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"

static uint8_t scratch_mem[SIG_SCRATCH_BYTES];
static struct sig_fault fault;

static int decode(struct sig_msg *m, struct slice text)
{
    struct wr scratch = wr_init(scratch_mem, sizeof(scratch_mem));

    fault = (struct sig_fault){0};
    return sig_decode(m, text, &scratch, &fault);
}

static void test_type_names_go_both_ways(void **state)
{
    (void)state;
    for (int t = SIG_UNKNOWN + 1; t < SIG_TYPE_COUNT; t++) {
        const char *name = sig_type_name((enum sig_type)t);
        assert_true(name[0] != '\0');
        assert_int_equal(sig_type_parse(slice_str(name)), t);
    }
    static const char *const unknown[] = {"",      "c",    "call.", "call.invitex",
                                          "Hello", "turn", "hell"};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        assert_int_equal(sig_type_parse(slice_str(unknown[i])), SIG_UNKNOWN);
    assert_string_equal(sig_type_name(SIG_UNKNOWN), "");
    assert_string_equal(sig_type_name((enum sig_type)999), "");
}

static void test_numbering_follows_the_contract(void **state)
{
    static const enum sig_type plain_server[] = {
        SIG_WELCOME, SIG_PONG, SIG_ACK, SIG_PRESENCE, SIG_AUTH_EXPIRING, SIG_SERVER_GOAWAY};
    static const enum sig_type plain_client[] = {
        SIG_HELLO,       SIG_ACK, SIG_PING, SIG_PRESENCE_SUBSCRIBE, SIG_PRESENCE_UNSUBSCRIBE,
        SIG_PRESENCE_SET};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(plain_server); i++)
        assert_false(sig_type_numbered_by_server(plain_server[i]));
    for (size_t i = 0; i < ARRAY_LEN(plain_client); i++) {
        assert_true(sig_type_from_client(plain_client[i]));
        assert_false(sig_type_numbered_by_client(plain_client[i]));
    }
    for (int t = SIG_CALL_INVITE; t <= SIG_CALL_SYNC; t++) {
        assert_true(sig_type_numbered_by_server((enum sig_type)t));
        assert_int_equal(sig_type_from_client((enum sig_type)t),
                         sig_type_numbered_by_client((enum sig_type)t));
    }
    assert_true(sig_type_numbered_by_server(SIG_ERROR));
    assert_int_equal(sig_type_max_bytes(SIG_CALL_INVITE), 65536);
    assert_int_equal(sig_type_max_bytes(SIG_CALL_ANSWER), 65536);
    assert_int_equal(sig_type_max_bytes(SIG_CALL_NEGOTIATE), 65536);
    assert_int_equal(sig_type_max_bytes(SIG_CALL_CANDIDATES), 8192);
    assert_int_equal(sig_type_max_bytes(SIG_HELLO), 8192);
}

static void test_errors_have_name_status_and_text(void **state)
{
    (void)state;
    for (int e = SIG_OK + 1; e < SIG_ERR_COUNT; e++) {
        assert_true(sig_err_name((enum sig_err)e)[0] != '\0');
        assert_true(sig_err_text((enum sig_err)e)[0] != '\0');
        assert_true(sig_err_status((enum sig_err)e) >= 400);
    }
    assert_string_equal(sig_err_name(SIG_ERR_CALLEE_UNREACHABLE), "callee.unreachable");
    assert_int_equal(sig_err_status(SIG_ERR_CALL_BUSY), 486);
    assert_true(sig_err_retryable(SIG_ERR_RATE_LIMITED));
    assert_false(sig_err_retryable(SIG_ERR_TURN_UNAVAILABLE));
    assert_string_equal(sig_close_text(SIG_CLOSE_REPLACED), "replaced by a newer connection");
    assert_string_equal(sig_close_text((enum sig_close)4999), "");
    for (int r = 1; r < SIG_REASON_COUNT; r++)
        assert_true(sig_reason_name((enum sig_reason)r)[0] != '\0');
}

static void test_call_ids_are_lower_case_uuids(void **state)
{
    static const char *const bad[] = {"",
                                      "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7",
                                      "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f0",
                                      "0192F3E4-7b1c-7d0e-9c1f-2b3a4c5d6e7f",
                                      "0192f3e4x7b1c-7d0e-9c1f-2b3a4c5d6e7f",
                                      "0192f3e47b1c7d0e9c1f2b3a4c5d6e7f",
                                      "g192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f",
                                      "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e-f"};
    char text[SIG_CALL_ID_TEXT + 1];
    struct sig_call_id id, other = {{1}};

    (void)state;
    assert_int_equal(sig_call_id_parse(&id, SLICE_LIT(CALL_ID)), 0);
    assert_int_equal(id.b[0], 0x01);
    assert_int_equal(id.b[15], 0x7f);
    assert_string_equal(sig_call_id_text(&id, text), CALL_ID);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(sig_call_id_parse(&other, slice_str(bad[i])), -EBADMSG);
    assert_int_equal(other.b[0], 1);
    uint8_t small[35];
    struct wr w = wr_init(small, sizeof(small));
    sig_call_id_write(&w, &id);
    assert_true(w.bad);
}

static void test_charsets_of_ids(void **state)
{
    char longest[SIG_USER_MAX + 2];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(sig_id_ok(SLICE_LIT("aZ09._-")));
    assert_false(sig_id_ok(SLICE_LIT("")));
    assert_false(sig_id_ok(SLICE_LIT("a b")));
    assert_false(sig_id_ok(SLICE_LIT("a@b")));
    assert_true(sig_id_ok(slice_of(longest, SIG_ID_MAX)));
    assert_false(sig_id_ok(slice_of(longest, SIG_ID_MAX + 1)));
    assert_true(sig_user_ok(SLICE_LIT("bob.smith+x@example-1.org")));
    assert_false(sig_user_ok(SLICE_LIT("bob/1")));
    assert_true(sig_user_ok(slice_of(longest, SIG_USER_MAX)));
    assert_false(sig_user_ok(slice_of(longest, SIG_USER_MAX + 1)));
}

static void test_the_envelope_is_read(void **state)
{
    struct slice text = SLICE_LIT(
        "{\"type\":\"call.invite\",\"id\":\"7f3a\",\"seq\":12,\"ack\":9,\"callId\":\"" CALL_ID
        "\",\"to\":\"bob\\u002b1\",\"from\":\"liar\",\"extra\":[],\"data\":{\"offer\":{}}}");
    struct sig_msg m;

    (void)state;
    assert_int_equal(decode(&m, text), 0);
    assert_int_equal(m.type, SIG_CALL_INVITE);
    assert_true(m.has_id && slice_is(m.id, "7f3a"));
    assert_true(m.has_seq && m.seq == 12 && m.has_ack && m.ack == 9);
    assert_true(m.has_call_id && slice_is(m.call_id_text, CALL_ID));
    assert_true(slice_is(m.to, "bob+1"));
    assert_true(slice_is(m.data, "{\"offer\":{}}"));
    for (size_t n = 0; n < text.len; n++) {
        uint8_t *copy = guard_copy(text.p, n);
        assert_int_equal(decode(&m, slice_of(copy, n)), -EBADMSG);
        assert_int_equal(fault.code, SIG_ERR_BAD_JSON);
        guard_free(copy, n);
    }
}

static void test_faults_name_the_field(void **state)
{
    static const struct {
        const char *text;
        enum sig_err code;
        const char *starts;
        bool has_id;
    } cases[] = {
        {"[]", SIG_ERR_BAD_JSON, "", false},
        {"{\"type\":\"ping\",\"type\":\"ping\"}", SIG_ERR_BAD_JSON, "a key", false},
        {"{}", SIG_ERR_BAD_REQUEST, "type:", false},
        {"{\"type\":7,\"id\":\"x\"}", SIG_ERR_BAD_REQUEST, "type:", true},
        {"{\"type\":\"room.join\",\"id\":\"x\"}", SIG_ERR_BAD_REQUEST, "roomId", true},
        {"{\"type\":\"room.join\",\"id\":\"x\",\"roomId\":\"a b\"}", SIG_ERR_BAD_REQUEST, "roomId",
         true},
        {"{\"type\":\"room.state\",\"id\":\"x\"}", SIG_ERR_UNSUPPORTED_TYPE, "", true},
        {"{\"type\":\"welcome\",\"id\":\"x\"}", SIG_ERR_UNSUPPORTED_TYPE, "", true},
        {"{\"type\":\"ping\",\"id\":\"a b\"}", SIG_ERR_BAD_REQUEST, "id:", false},
        {"{\"type\":\"ping\",\"id\":5}", SIG_ERR_BAD_REQUEST, "id:", false},
        {"{\"type\":\"call.sync\",\"callId\":\"" CALL_ID "\"}", SIG_ERR_BAD_REQUEST, "id:", false},
        {"{\"type\":\"call.sync\",\"id\":\"x\"}", SIG_ERR_BAD_REQUEST, "callId:", true},
        {"{\"type\":\"call.sync\",\"id\":\"x\",\"callId\":\"no\"}", SIG_ERR_BAD_REQUEST,
         "callId:", true},
        {"{\"type\":\"call.sync\",\"id\":\"x\",\"callId\":\"" CALL_ID "\",\"seq\":0}",
         SIG_ERR_BAD_REQUEST, "seq:", true},
        {"{\"type\":\"call.sync\",\"id\":\"x\",\"callId\":\"" CALL_ID "\",\"seq\":1.5}",
         SIG_ERR_BAD_REQUEST, "seq:", true},
        {"{\"type\":\"call.sync\",\"id\":\"x\",\"callId\":\"" CALL_ID "\",\"ack\":-1}",
         SIG_ERR_BAD_REQUEST, "ack:", true},
        {"{\"type\":\"ping\",\"seq\":1}", SIG_ERR_BAD_REQUEST, "seq:", false},
        {"{\"type\":\"ack\"}", SIG_ERR_BAD_REQUEST, "ack:", false},
        {"{\"type\":\"ping\",\"data\":[]}", SIG_ERR_BAD_REQUEST, "data:", false},
        {"{\"type\":\"call.invite\",\"id\":\"x\",\"callId\":\"" CALL_ID "\"}", SIG_ERR_BAD_REQUEST,
         "to:", true},
        {"{\"type\":\"call.invite\",\"id\":\"x\",\"callId\":\"" CALL_ID "\",\"to\":\"b b\"}",
         SIG_ERR_BAD_REQUEST, "to:", true},
    };
    struct sig_msg m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(decode(&m, slice_str(cases[i].text)), -EBADMSG);
        if (fault.code != cases[i].code ||
            !slice_starts(slice_str(fault.text), slice_str(cases[i].starts)) ||
            m.has_id != cases[i].has_id)
            fail_msg("%s: %s, %s", cases[i].text, sig_err_name(fault.code), fault.text);
    }
}

static void test_sizes_depend_on_the_type(void **state)
{
    static const struct {
        const char *head;
        size_t max;
    } cases[] = {
        {"{\"type\":\"call.candidates\",\"callId\":\"" CALL_ID "\",\"x\":\"", SIG_SMALL_BYTES},
        {"{\"type\":\"hello\",\"x\":\"", SIG_HELLO_BYTES},
        {"{\"type\":\"call.answer\",\"id\":\"x\",\"callId\":\"" CALL_ID "\",\"x\":\"",
         SIG_LARGE_BYTES},
    };
    static char text[SIG_LARGE_BYTES + 2];
    struct sig_msg m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memset(text, 'x', sizeof(text));
        memcpy(text, cases[i].head, strlen(cases[i].head));
        memcpy(text + cases[i].max - 2, "\"}", 2);
        assert_int_equal(decode(&m, slice_of(text, cases[i].max)), 0);
        memcpy(text + cases[i].max - 2, "x\"}", 3);
        assert_int_equal(decode(&m, slice_of(text, cases[i].max + 1)), -EBADMSG);
        assert_int_equal(fault.code, SIG_ERR_TOO_LARGE);
    }
}

static void test_json_limits_are_the_contracts(void **state)
{
    char text[4096];
    struct wr w = wr_init(text, sizeof(text));
    struct sig_msg m;

    (void)state;
    wr_str(&w, "{\"type\":\"ping\",\"x\":");
    for (int i = 0; i < SIG_DEPTH - 1; i++)
        wr_str(&w, "[");
    for (int i = 0; i < SIG_DEPTH - 1; i++)
        wr_str(&w, "]");
    wr_str(&w, "}");
    assert_int_equal(decode(&m, wr_done(&w)), 0);
    w = wr_init(text, sizeof(text));
    wr_str(&w, "{\"type\":\"ping\",\"x\":[0");
    for (int i = 0; i < SIG_VALUES - 4; i++)
        wr_str(&w, ",0");
    wr_str(&w, "]}");
    assert_int_equal(decode(&m, wr_done(&w)), 0);
    w.len -= 2;
    wr_str(&w, ",0]}");
    assert_int_equal(decode(&m, wr_done(&w)), -EBADMSG);
    assert_int_equal(fault.code, SIG_ERR_BAD_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_names_go_both_ways),
        cmocka_unit_test(test_numbering_follows_the_contract),
        cmocka_unit_test(test_errors_have_name_status_and_text),
        cmocka_unit_test(test_call_ids_are_lower_case_uuids),
        cmocka_unit_test(test_charsets_of_ids),
        cmocka_unit_test(test_the_envelope_is_read),
        cmocka_unit_test(test_faults_name_the_field),
        cmocka_unit_test(test_sizes_depend_on_the_type),
        cmocka_unit_test(test_json_limits_are_the_contracts),
    };

    return cmocka_run_group_tests_name("sig", tests, NULL, NULL);
}

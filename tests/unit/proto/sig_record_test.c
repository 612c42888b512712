/* Tests of proto/sig_record_read.c and sig_record_write.c: what is taken, what is refused and how,
 * what replies look like. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/json.h"
#include "proto/sig_record.h"

#define ID "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"

static uint8_t mem[SIG_SCRATCH_BYTES], body[65536];
static char text[8000];
static struct sig_fault fault;
static struct sig_msg m;
static struct wr scratch;

/* Decodes a message of this type and data. */
static void decode(const char *type, const char *data)
{
    scratch = wr_init(mem, sizeof(mem));
    (void)snprintf(text, sizeof(text), "{\"type\":\"%s\",\"id\":\"1\",\"data\":%s}", type, data);
    assert_int_equal(sig_decode(&m, slice_str(text), &scratch, &fault), 0);
    assert_true(sig_type_is_record(m.type));
    fault = (struct sig_fault){0};
}

/* Takes a body apart: it must be valid JSON behind a brace. */
static void is(const struct wr *w, const char *want)
{
    static const struct json_limits limits = {SIG_DEPTH, SIG_VALUES, sizeof(body)};

    assert_false(w->bad);
    assert_int_equal(json_scan(wr_done(w), &limits), 0);
    if (!slice_is(wr_done(w), want))
        fail_msg("%.*s", (int)w->len, (const char *)w->base);
}

static struct wr open_body(void)
{
    struct wr w = wr_init(body, sizeof(body));

    wr_u8(&w, '{');
    return w;
}

static void test_a_device_registers(void **state)
{
    struct sig_device d;

    (void)state;
    decode("device.register",
           "{\"platform\":\"ios\",\"app\":\"com.acme.talk\",\"version\":\"1.2\",\"locale\":\"ko\","
           "\"environment\":\"sandbox\",\"callUi\":\"callkit\",\"tokens\":[{\"type\":\"voip\","
           "\"token\":\"aa\"},{\"type\":\"alert\",\"token\":null},{\"type\":\"liveactivity\","
           "\"token\":\"bb\",\"callId\":\"" ID "\"}]}");
    assert_int_equal(sig_record_device(&d, &m, &scratch, &fault), 0);
    assert_true(slice_is(d.platform, "ios") && slice_is(d.app, "com.acme.talk"));
    assert_true(slice_is(d.environment, "sandbox") && slice_is(d.call_ui, "callkit"));
    assert_int_equal(d.tokens_n, 3);
    assert_true(slice_is(d.tokens[0].token, "aa"));
    assert_int_equal(d.tokens[1].token.len, 0);
    assert_true(d.tokens[2].has_call && d.tokens[2].call_id.b[0] == 0x01);
    decode("device.register", "{\"platform\":\"web\",\"app\":\"x\"}");
    assert_int_equal(sig_record_device(&d, &m, &scratch, &fault), 0);
    assert_int_equal(d.tokens_n + d.locale.len, 0);
}

static void test_what_is_wrong_with_a_device_is_said(void **state)
{
    static const struct {
        const char *data, *says;
    } cases[] = {
        {"{}", "data.platform"},
        {"{\"platform\":\"ios\"}", "data.app"},
        {"{\"platform\":7,\"app\":\"x\"}", "data.platform"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"version\":\"\"}", "data.version"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"locale\":1}", "data.locale"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"environment\":[]}", "data.environment"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"callUi\":null}", "data.callUi"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":{}}", "data.tokens: a list"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[1]}", "{type, token}"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\"}]}", "2,048"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\",\"token\":\"\"}]}",
         "2,048"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\",\"token\":\"a\","
         "\"callId\":\"x\"}]}",
         "callId"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"a\",\"token\":null},"
         "{\"type\":\"a\",\"token\":null},{\"type\":\"a\",\"token\":null},{\"type\":\"a\","
         "\"token\":null},{\"type\":\"a\",\"token\":null},{\"type\":\"a\",\"token\":null},"
         "{\"type\":\"a\",\"token\":null},{\"type\":\"a\",\"token\":null},{\"type\":\"a\","
         "\"token\":null}]}",
         "at most 8"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sig_device d;
        decode("device.register", cases[i].data);
        assert_int_not_equal(sig_record_device(&d, &m, &scratch, &fault), 0);
        if (!strstr(fault.text, cases[i].says))
            fail_msg("case %zu: %s", i, fault.text);
    }
    struct slice device;
    decode("device.unregister", "{\"deviceId\":\"a b\"}");
    assert_int_not_equal(sig_record_device_id(&device, &m, &scratch, &fault), 0);
    decode("device.unregister", "{\"deviceId\":\"tablet\"}");
    assert_int_equal(sig_record_device_id(&device, &m, &scratch, &fault), 0);
    assert_true(slice_is(device, "tablet"));
}

static void test_pages_and_picks(void **state)
{
    struct sig_history_query q;
    struct sig_history_pick p;

    (void)state;
    decode("history.list", "{}");
    assert_int_equal(sig_record_query(&q, &m, &scratch, &fault), 0);
    assert_int_equal(q.limit, SIG_PAGE_DEFAULT);
    decode("history.list", "{\"limit\":100,\"cursor\":\"c\",\"missed\":true}");
    assert_int_equal(sig_record_query(&q, &m, &scratch, &fault), 0);
    assert_true(q.limit == 100 && q.missed_only && slice_is(q.cursor, "c"));
    static const char *const wrong[] = {"{\"limit\":0}", "{\"limit\":101}", "{\"limit\":\"5\"}",
                                        "{\"missed\":1}", "{\"cursor\":\"\"}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        decode("history.list", wrong[i]);
        assert_int_not_equal(sig_record_query(&q, &m, &scratch, &fault), 0);
    }
    decode("history.seen", "{\"callIds\":[\"" ID "\",\"" ID "\"]}");
    assert_int_equal(sig_record_pick(&p, &m, &fault), 0);
    assert_int_equal(p.n, 2);
    decode("history.delete", "{\"until\":1767225600000}");
    assert_int_equal(sig_record_pick(&p, &m, &fault), 0);
    assert_true(p.n == 0 && p.until_ms == UINT64_C(1767225600000));
    static const char *const odd[] = {"{}",
                                      "{\"callIds\":[]}",
                                      "{\"callIds\":[\"x\"]}",
                                      "{\"callIds\":[\"" ID "\"],\"until\":1}",
                                      "{\"until\":-1}",
                                      "{\"callIds\":\"" ID "\"}"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        decode("history.seen", odd[i]);
        assert_int_not_equal(sig_record_pick(&p, &m, &fault), 0);
        assert_int_equal(fault.code, SIG_ERR_BAD_REQUEST);
    }
    char many[SIG_PICK_MAX * 39 + 200] = "{\"callIds\":[\"" ID "\"";
    for (size_t i = 0; i < SIG_PICK_MAX; i++)
        memcpy(many + strlen(many), ",\"" ID "\"", 40);
    memcpy(many + strlen(many), "]}", 3);
    decode("history.seen", many);
    assert_int_not_equal(sig_record_pick(&p, &m, &fault), 0);
}

static void test_replies(void **state)
{
    const struct sig_call_id id = {{1, 2, 3}};
    struct wr w = open_body();

    (void)state;
    sig_record_devices_begin(&w, SLICE_LIT("7"));
    sig_record_device_open(&w, true,
                           &(struct sig_device_view){.device = SLICE_LIT("p"),
                                                     .app = SLICE_LIT("a"),
                                                     .platform = "ios",
                                                     .environment = "unknown",
                                                     .call_ui = "callkit",
                                                     .seen_ms = 5,
                                                     .self = true});
    sig_record_device_token(&w, true, "voip", 3);
    sig_record_device_token(&w, false, "alert", 4);
    sig_record_device_close(&w);
    sig_record_devices_end(&w);
    is(&w, "{\"type\":\"device.list\",\"re\":\"7\",\"data\":{\"devices\":[{\"deviceId\":\"p\","
           "\"platform\":\"ios\",\"app\":\"a\",\"environment\":\"unknown\",\"callUi\":\"callkit\","
           "\"seen\":5,\"self\":true,\"tokens\":[{\"type\":\"voip\",\"registered\":3},{\"type\":"
           "\"alert\",\"registered\":4}]}]}}");

    w = open_body();
    sig_record_history_begin(&w, SLICE_LIT("7"));
    sig_record_history_entry(&w, true,
                             &(struct sig_history_entry){.call_id = &id,
                                                         .missed = true,
                                                         .role = "callee",
                                                         .outcome = "missed",
                                                         .ended_by = "system",
                                                         .path = "unknown",
                                                         .reason = SIG_REASON_TIMEOUT,
                                                         .peer = SLICE_LIT("al\"ice"),
                                                         .created_ms = 1,
                                                         .end_ms = 2});
    sig_record_history_entry(&w, false,
                             &(struct sig_history_entry){.call_id = &id,
                                                         .role = "caller",
                                                         .outcome = "answered",
                                                         .ended_by = "caller",
                                                         .path = "p2p",
                                                         .created_ms = 1,
                                                         .answer_ms = 2,
                                                         .samples = 3,
                                                         .mos_avg_milli = 4105,
                                                         .mos_p10_milli = 3450,
                                                         .mos_min_milli = 3000,
                                                         .quality_path = "turn",
                                                         .leg = SLICE_LIT("heard"),
                                                         .codec = SLICE_LIT("opus"),
                                                         .worst = SLICE_LIT("loss")});
    sig_record_history_end(&w, 4, SLICE_LIT("next"));
    is(&w, "{\"type\":\"history.list\",\"re\":\"7\",\"data\":{\"calls\":[{\"callId\":\"01020300-"
           "0000-0000-0000-000000000000\",\"role\":\"callee\",\"peer\":\"al\\\"ice\",\"isVideo\":"
           "false,\"created\":1,\"ended\":2,\"outcome\":\"missed\",\"reason\":\"timeout\","
           "\"endedBy\":\"system\",\"path\":\"unknown\",\"missed\":true,\"seen\":false},{"
           "\"callId\":\"01020300-0000-0000-0000-000000000000\",\"role\":\"caller\",\"isVideo\":"
           "false,\"created\":1,\"answered\":2,\"outcome\":\"answered\",\"path\":\"p2p\","
           "\"missed\":false,\"quality\":{\"leg\":\"heard\",\"codec\":\"opus\",\"path\":"
           "\"turn\",\"samples\":3,\"mosAvg\":4.10,\"mosP10\":3.45,\"mosMin\":3.00,"
           "\"lossPermille\":0,\"rttMs\":0,\"jitterMs\":0,\"worst\":\"loss\",\"silenceMs\":0}}],"
           "\"missed\":4,\"cursor\":\"next\"}}");

    w = open_body();
    sig_record_privacy(&w, SIG_PRIVACY_STATUS, SLICE_LIT("7"),
                       &(struct sig_privacy){.kind = "export",
                                             .state = "done",
                                             .id = SLICE_LIT("\x01\xAB"),
                                             .requested_ms = 1,
                                             .expires_ms = 3,
                                             .bytes = 10,
                                             .sha256 = SLICE_LIT("\xFF"),
                                             .has_file = true});
    is(&w, "{\"type\":\"privacy.status\",\"re\":\"7\",\"data\":{\"kind\":\"export\",\"state\":"
           "\"done\",\"requestId\":\"01ab\",\"requested\":1,\"expires\":3,\"bytes\":10,\"sha256\":"
           "\"ff\",\"form\":\"json\"}}");
}

static void test_a_page_of_the_longest_entries_fits(void **state)
{
    static uint8_t big[SIG_PAGE_MAX * SIG_RECORD_ENTRY_MAX];
    char name[SIG_USER_MAX];
    const struct sig_call_id id = {{1}};
    struct wr w = wr_init(big, sizeof(big));
    struct sig_history_entry e = {.call_id = &id,
                                  .video = true,
                                  .group = true,
                                  .missed = true,
                                  .role = "member",
                                  .outcome = "unreachable",
                                  .ended_by = "system",
                                  .path = "unknown",
                                  .reason = SIG_REASON_ANSWERED_ELSEWHERE,
                                  .created_ms = UINT64_MAX,
                                  .ring_ms = UINT64_MAX,
                                  .answer_ms = UINT64_MAX,
                                  .end_ms = UINT64_MAX,
                                  .samples = UINT32_MAX,
                                  .mos_avg_milli = UINT32_MAX,
                                  .mos_p10_milli = UINT32_MAX,
                                  .mos_min_milli = UINT32_MAX,
                                  .jitter_ms = UINT32_MAX,
                                  .silence_ms = UINT32_MAX,
                                  .quality_path = "unknown",
                                  .leg = SLICE_LIT("heard"),
                                  .codec = SLICE_LIT("other"),
                                  .worst = SLICE_LIT("delay"),
                                  .loss_permille = UINT32_MAX,
                                  .rtt_ms = UINT32_MAX};

    (void)state;
    memset(name, 'u', sizeof(name));
    e.peer = slice_of(name, SIG_USER_MAX);
    e.device = slice_of(name, SIG_DEVICE_MAX);
    for (size_t i = 0; i < SIG_PAGE_MAX; i++)
        sig_record_history_entry(&w, i == 0, &e);
    assert_false(w.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_device_registers),
        cmocka_unit_test(test_what_is_wrong_with_a_device_is_said),
        cmocka_unit_test(test_pages_and_picks),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_a_page_of_the_longest_entries_fits),
    };

    return cmocka_run_group_tests_name("sig_record", tests, NULL, NULL);
}

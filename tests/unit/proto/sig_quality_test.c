/* Tests of proto/sig_quality.c: a report is read strictly, and what is beyond reality is cut.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/json.h"
#include "proto/sig_quality.h"

static struct sig_fault fault;
static struct sig_quality q;

static int decode(const char *data)
{
    const struct json_limits limits = {SIG_DEPTH, SIG_VALUES, SIG_LARGE_BYTES};
    struct sig_msg m = {.type = SIG_CALL_QUALITY, .data = slice_str(data)};

    assert_int_equal(json_scan(m.data, &limits), 0);
    fault = (struct sig_fault){0};
    return sig_quality_decode(&q, &m, &fault);
}

static void test_a_whole_report_is_read(void **state)
{
    (void)state;
    assert_int_equal(
        decode(
            "{\"final\":true,\"intervalMs\":10000,\"rttMs\":84,\"jitterMs\":7,\"bufferMs\":61,"
            "\"received\":493,\"lost\":7,\"sent\":500,\"samples\":480000,\"concealed\":5760,"
            "\"concealments\":4,\"silenceMs\":12,\"inBps\":31200,\"outBps\":30100,"
            "\"maxBps\":32000,\"frameMs\":20,\"codec\":\"OPUS\",\"fec\":true,\"dtx\":true,"
            "\"local\":\"srflx\",\"remote\":\"relay\",\"relay\":\"tls\",\"network\":\"cellular\","
            "\"unknown\":[1,{}]}"),
        0);
    assert_true(q.final && q.fec && q.dtx);
    assert_int_equal(q.interval_ms, 10000);
    assert_int_equal(q.rtt_ms, 84);
    assert_int_equal(q.jitter_ms, 7);
    assert_int_equal(q.buffer_ms, 61);
    assert_int_equal(q.received, 493);
    assert_int_equal(q.lost, 7);
    assert_int_equal(q.sent, 500);
    assert_int_equal(q.samples, 480000);
    assert_int_equal(q.concealed, 5760);
    assert_int_equal(q.concealments, 4);
    assert_int_equal(q.silence_ms, 12);
    assert_int_equal(q.in_bps, 31200);
    assert_int_equal(q.out_bps, 30100);
    assert_int_equal(q.max_bps, 32000);
    assert_int_equal(q.frame_ms, 20);
    assert_int_equal(q.voice, SIG_VOICE_OPUS);
    assert_int_equal(q.route, SIG_ROUTE_TURN);
    assert_int_equal(q.network, SIG_NETWORK_CELLULAR);
    assert_int_equal(q.has, 511);
    assert_int_equal(q.clamped, 0);
}

static void test_what_is_not_known_may_be_left_out_or_null(void **state)
{
    (void)state;
    assert_int_equal(decode("{\"intervalMs\":1}"), 0);
    assert_int_equal(q.has, 0);
    assert_int_equal(q.voice, SIG_VOICE_OTHER);
    assert_int_equal(q.route, SIG_ROUTE_UNKNOWN);
    assert_int_equal(decode("{\"intervalMs\":1,\"rttMs\":null,\"codec\":null,\"final\":null,"
                            "\"path\":null,\"local\":null,\"network\":null,\"fec\":null}"),
                     0);
    assert_int_equal(q.has, 0);
    assert_int_equal(decode("{\"intervalMs\":1,\"rttMs\":0,\"concealed\":0,\"samples\":0}"), 0);
    assert_int_equal(q.has, SIG_QUALITY_RTT); /* of no samples nothing can be concealed */
}

static void test_the_way_is_told_or_seen_from_its_ends(void **state)
{
    static const struct {
        const char *data;
        enum sig_route route;
    } v[] = {
        {"{\"intervalMs\":1,\"local\":\"host\",\"remote\":\"prflx\"}", SIG_ROUTE_P2P},
        {"{\"intervalMs\":1,\"local\":\"relay\",\"remote\":\"prflx\"}", SIG_ROUTE_TURN},
        {"{\"intervalMs\":1,\"local\":\"relay\"}", SIG_ROUTE_TURN},
        {"{\"intervalMs\":1,\"local\":\"host\"}", SIG_ROUTE_UNKNOWN},
        {"{\"intervalMs\":1,\"path\":\"sfu\",\"local\":\"host\",\"remote\":\"host\"}",
         SIG_ROUTE_SFU},
        {"{\"intervalMs\":1,\"path\":\"unknown\",\"local\":\"host\",\"remote\":\"host\"}",
         SIG_ROUTE_P2P},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        assert_int_equal(decode(v[i].data), 0);
        assert_int_equal(q.route, v[i].route);
    }
}

static void test_codecs_that_nobody_knows_are_others(void **state)
{
    (void)state;
    assert_int_equal(decode("{\"intervalMs\":1,\"codec\":\"lyra-3\"}"), 0);
    assert_int_equal(q.voice, SIG_VOICE_OTHER);
    assert_int_equal(decode("{\"intervalMs\":1,\"codec\":\"PCMU\"}"), 0);
    assert_int_equal(q.voice, SIG_VOICE_PCMU);
    assert_string_equal(sig_voice_name(SIG_VOICE_G722), "g722");
    assert_string_equal(sig_voice_name((enum sig_voice)99), "other");
    assert_string_equal(sig_route_name((enum sig_route)99), "unknown");
}

static void test_what_is_beyond_reality_is_cut_and_counted(void **state)
{
    (void)state;
    assert_int_equal(
        decode("{\"intervalMs\":18446744073709551615,\"rttMs\":10001,\"jitterMs\":10000,"
               "\"received\":4294967296,\"lost\":120001,\"inBps\":2000001,\"frameMs\":121}"),
        0);
    assert_int_equal(q.interval_ms, SIG_QUALITY_INTERVAL_MAX_MS);
    assert_int_equal(q.rtt_ms, SIG_QUALITY_DELAY_MAX_MS);
    assert_int_equal(q.received, SIG_QUALITY_PACKETS_MAX);
    assert_int_equal(q.frame_ms, SIG_QUALITY_FRAME_MAX_MS);
    assert_int_equal(q.clamped, 6);
    assert_int_equal(decode("{\"intervalMs\":100,\"samples\":4800,\"concealed\":4801,"
                            "\"concealments\":4802,\"silenceMs\":101}"),
                     0);
    assert_int_equal(q.concealed, 4800);
    assert_int_equal(q.concealments, 4800);
    assert_int_equal(q.silence_ms, 100);
    assert_int_equal(q.clamped, 3);
}

static void test_what_is_no_figure_is_refused_by_name(void **state)
{
    static const struct {
        const char *data, *starts;
    } v[] = {
        {"{}", "data.intervalMs"},
        {"{\"intervalMs\":0}", "data.intervalMs"},
        {"{\"intervalMs\":-1}", "data.intervalMs"},
        {"{\"intervalMs\":1,\"rttMs\":-4}", "data.rttMs"},
        {"{\"intervalMs\":1,\"rttMs\":1.5}", "data.rttMs"},
        {"{\"intervalMs\":1,\"jitterMs\":1e2}", "data.jitterMs"},
        {"{\"intervalMs\":1,\"lost\":\"7\"}", "data.lost"},
        {"{\"intervalMs\":1,\"lost\":18446744073709551616}", "data.lost"},
        {"{\"intervalMs\":1,\"bufferMs\":[1]}", "data.bufferMs"},
        {"{\"intervalMs\":1,\"final\":1}", "data.final"},
        {"{\"intervalMs\":1,\"fec\":\"true\"}", "data.final"},
        {"{\"intervalMs\":1,\"codec\":7}", "data.codec"},
        {"{\"intervalMs\":1,\"codec\":\"\"}", "data.codec"},
        {"{\"intervalMs\":1,\"path\":\"moon\"}", "data.path"},
        {"{\"intervalMs\":1,\"local\":\"Relay\"}", "data.local"},
        {"{\"intervalMs\":1,\"remote\":3}", "data.local"},
        {"{\"intervalMs\":1,\"relay\":\"quic\"}", "data.relay"},
        {"{\"intervalMs\":1,\"network\":\"5g\"}", "data.network"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        if (decode(v[i].data) == 0)
            fail_msg("accepted: %s", v[i].data);
        assert_int_equal(fault.code, SIG_ERR_BAD_REQUEST);
        if (!slice_starts(slice_str(fault.text), slice_str(v[i].starts)))
            fail_msg("%s: %s", v[i].data, fault.text);
    }
    assert_int_not_equal(decode("{\"intervalMs\":1,\"rttMs\":1,\"rttMs\":2}"), 0);
    assert_int_equal(fault.code, SIG_ERR_BAD_JSON);
}

static void test_a_kilobyte_is_the_most(void **state)
{
    char text[SIG_QUALITY_BYTES + 2];

    (void)state;
    memset(text, ' ', sizeof(text));
    memcpy(text, "{\"intervalMs\":1", 15);
    text[SIG_QUALITY_BYTES - 1] = '}';
    text[SIG_QUALITY_BYTES] = '\0';
    assert_int_equal(decode(text), 0);
    text[SIG_QUALITY_BYTES - 1] = ' ';
    text[SIG_QUALITY_BYTES] = '}';
    text[SIG_QUALITY_BYTES + 1] = '\0';
    assert_int_not_equal(decode(text), 0);
    assert_int_equal(fault.code, SIG_ERR_TOO_LARGE);
}

static void test_the_answer_says_what_was_made_of_it(void **state)
{
    const struct sig_call_id id = {{0x01, 0x92, 0xf3}};
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    sig_quality_reply(&w, SLICE_LIT("q1"), &id,
                      &(struct sig_quality_view){.judged = true,
                                                 .r_milli = 81042,
                                                 .mos_milli = 4065,
                                                 .samples = 3,
                                                 .avg_milli = 4100,
                                                 .p10_milli = 3950,
                                                 .min_milli = 3900,
                                                 .loss_permille = 12,
                                                 .rtt_ms = 84,
                                                 .silence_ms = 2000,
                                                 .route = SIG_ROUTE_TURN,
                                                 .clamped = 1});
    assert_true(
        slice_is(wr_done(&w),
                 "\"type\":\"call.quality\",\"re\":\"q1\",\"callId\":"
                 "\"0192f300-0000-0000-0000-000000000000\",\"data\":{\"mos\":4.065,"
                 "\"r\":81.042,\"samples\":3,\"mosAvg\":4.100,\"mosP10\":3.950,\"mosMin\":3.900,"
                 "\"lossPermille\":12,\"rttMs\":84,\"silenceMs\":2000,\"path\":\"turn\","
                 "\"clamped\":1}}"));
    w = wr_init(buf, sizeof(buf));
    sig_quality_reply(&w, SLICE_LIT("q2"), &id, &(struct sig_quality_view){.silence_ms = 10000});
    assert_true(slice_is(wr_done(&w),
                         "\"type\":\"call.quality\",\"re\":\"q2\",\"callId\":"
                         "\"0192f300-0000-0000-0000-000000000000\",\"data\":{\"samples\":0,"
                         "\"silenceMs\":10000,\"path\":\"unknown\",\"clamped\":0}}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_report_is_read),
        cmocka_unit_test(test_what_is_not_known_may_be_left_out_or_null),
        cmocka_unit_test(test_the_way_is_told_or_seen_from_its_ends),
        cmocka_unit_test(test_codecs_that_nobody_knows_are_others),
        cmocka_unit_test(test_what_is_beyond_reality_is_cut_and_counted),
        cmocka_unit_test(test_what_is_no_figure_is_refused_by_name),
        cmocka_unit_test(test_a_kilobyte_is_the_most),
        cmocka_unit_test(test_the_answer_says_what_was_made_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

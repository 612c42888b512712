/* relay_media.c: what a relay publishes of media, and what it would have sounded like.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/relay_media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

#define CALL "d9428888-122b-11e1-b85c-61cd3cbb3210"
#define LEG                                                                                   \
    "{\"packets\":490,\"bytes\":58800,\"expected\":500,\"lost\":10,\"runs\":5,\"jitter_us\":" \
    "4600,\"frame_us\":20000,\"clock\":48000,\"rtt_us\":30000}"
#define QUIET                                                                          \
    "{\"packets\":0,\"bytes\":0,\"expected\":0,\"lost\":0,\"runs\":0,\"jitter_us\":0," \
    "\"frame_us\":0,\"clock\":0,\"rtt_us\":50000}"
#define RECORD(user, ms, up, down)                                                  \
    "{\"v\":1,\"alloc\":\"00-1\",\"node\":\"a\",\"user\":" user ",\"call\":\"" CALL \
    "\",\"ms\":" ms ",\"up\":" up ",\"down\":" down ",\"later\":{}}"
#define GOOD RECORD("\"ann\\u0065\"", "10000", LEG, QUIET)

static void test_a_record_is_read(void **state)
{
    struct relay_media m;
    struct sig_quality q;

    (void)state;
    assert_int_equal(relay_media_decode(&m, SLICE_LIT(GOOD)), 0);
    assert_true(slice_is(m.user, "anne"));
    assert_int_equal(m.call.b[0], 0xd9);
    assert_int_equal(m.ms, 10000);
    assert_true(relay_media_heard(&m, &m.up, &q));
    assert_int_equal(q.interval_ms, 10000);
    assert_int_equal(q.rtt_ms, 80); /* of both legs */
    assert_int_equal(q.jitter_ms, 5);
    assert_int_equal(q.received, 490);
    assert_int_equal(q.lost, 10);
    assert_int_equal(q.samples, 480000);
    assert_int_equal(q.concealed, 9600);
    assert_int_equal(q.concealments, 5);
    assert_int_equal(q.in_bps, (58800 - 490 * 22) * 8 / 10);
    assert_int_equal(q.voice, SIG_VOICE_OPUS);
    assert_int_equal(q.route, SIG_ROUTE_TURN);
    assert_false(relay_media_heard(&m, &m.down, &q)); /* nothing came */
}

static void test_figures_beyond_what_can_be_are_cut(void **state)
{
    static const char wild[] =
        RECORD("\"a\"", "99999999",
               "{\"packets\":9007199254740992,\"bytes\":9007199254740992,\"expected\":50,\"lost\":"
               "900000,\"runs\":800000,\"jitter_us\":99999999999,\"frame_us\":9999999,\"clock\":"
               "77,\"rtt_us\":99999999999}",
               LEG);
    struct relay_media m;
    struct sig_quality q;

    (void)state;
    assert_int_equal(relay_media_decode(&m, slice_str(wild)), 0);
    assert_int_equal(m.ms, SIG_QUALITY_INTERVAL_MAX_MS);
    assert_int_equal(m.up.lost, 50);
    assert_int_equal(m.up.runs, 50);
    assert_true(relay_media_heard(&m, &m.up, &q));
    assert_true(q.concealed <= q.samples && q.rtt_ms <= 2 * SIG_QUALITY_DELAY_MAX_MS);
    assert_int_equal(q.voice, SIG_VOICE_OTHER);
    assert_int_equal(q.in_bps, SIG_QUALITY_BPS_MAX);
}

static void test_what_is_no_record_is_passed_over(void **state)
{
    static const char *const v[] = {
        "",
        "{}",
        "[1]",
        RECORD("\"\"", "10000", LEG, LEG),
        RECORD("7", "10000", LEG, LEG),
        RECORD("\"a\"", "0", LEG, LEG),
        RECORD("\"a\"", "-1", LEG, LEG),
        RECORD("\"a\"", "10000", "{}", LEG),
        RECORD("\"a\"", "10000", LEG, "3"),
        RECORD("\"a\"", "10000", LEG, "{\"packets\":1.5}"),
        "{\"v\":2,\"user\":\"a\",\"call\":\"" CALL "\",\"ms\":1,\"up\":" LEG ",\"down\":" LEG "}",
        "{\"v\":1,\"user\":\"a\",\"call\":\"c\",\"ms\":1,\"up\":" LEG ",\"down\":" LEG "}",
    };
    struct relay_media m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        assert_int_not_equal(relay_media_decode(&m, slice_str(v[i])), 0);
    for (size_t len = 0; len < sizeof(GOOD) - 1; len++) {
        uint8_t *p = guard_copy(GOOD, len);
        assert_int_not_equal(relay_media_decode(&m, slice_of(p, len)), 0);
        guard_free(p, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_is_read),
        cmocka_unit_test(test_figures_beyond_what_can_be_are_cut),
        cmocka_unit_test(test_what_is_no_record_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

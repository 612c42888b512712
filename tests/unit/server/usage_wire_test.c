/* usage_wire.c: the table of reference figures, and what if. SPDX-License-Identifier: BSD-3-Clause
 */
#include "server/usage_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEN_TB UINT64_C(10000000000000)

/* Opus rate and packet length: what one direction weighs, how much of it is headers, what a relay
 * sends a minute (both directions), how many call minutes are in 10 TB. */
static void test_the_wire_weighs_what_the_table_says(void **state)
{
    static const struct {
        uint64_t bps;
        unsigned ptime_ms;
        uint64_t wire_bps;
        unsigned overhead_permille;
        uint64_t kb_min;
        uint64_t minutes_100k; /* in hundred thousands */
    } rows[] = {
        {12000, 20, 33600, 643, 504, 198}, {20000, 20, 41600, 519, 624, 160},
        {24000, 20, 45600, 474, 684, 146}, {32000, 20, 53600, 403, 804, 124},
        {20000, 40, 30800, 351, 462, 216}, {20000, 60, 27200, 265, 408, 245},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t bps = rows[i].bps;
        unsigned ms = rows[i].ptime_ms;
        assert_int_equal(usage_wire_bps(bps, ms), rows[i].wire_bps);
        assert_int_equal(usage_wire_overhead_permille(bps, ms), rows[i].overhead_permille);
        assert_int_equal(usage_wire_bytes_min(bps, ms), rows[i].kb_min * 1000);
        assert_int_equal((usage_wire_minutes(TEN_TB, bps, ms) + 50000) / 100000,
                         rows[i].minutes_100k);
    }
    /* 40 ms packets save 26 %, 12k instead of 20k only 19 %. */
    assert_int_equal(1000 - usage_wire_bps(20000, 40) * 1000 / usage_wire_bps(20000, 20), 260);
    assert_int_equal(1000 - usage_wire_bps(12000, 20) * 1000 / usage_wire_bps(20000, 20), 193);
}

static void test_headers_are_those_of_the_transport(void **state)
{
    struct usage_wire udp = usage_wire_of(RELAY_UDP, false, 10, 820, 20, 1640);

    (void)state;
    /* Client's side 20 + 8 + 4, peer's side 20 + 8. */
    assert_int_equal(udp.in, 820 + 10 * 32 + 1640 + 20 * 28);
    assert_int_equal(udp.out, 820 + 10 * 28 + 1640 + 20 * 32);
    struct usage_wire six = usage_wire_of(RELAY_UDP, true, 10, 820, 20, 1640);
    assert_int_equal(six.in - udp.in, 30 * 20);
    struct usage_wire tcp = usage_wire_of(RELAY_TCP, false, 10, 820, 20, 1640);
    assert_int_equal(tcp.out, 820 + 10 * 28 + 1640 + 20 * 56);
    struct usage_wire tls = usage_wire_of(RELAY_TLS, false, 10, 820, 20, 1640);
    assert_int_equal(tls.out - tcp.out, 20 * 22);
    struct usage_wire dtls = usage_wire_of(RELAY_DTLS, false, 10, 820, 20, 1640);
    assert_int_equal(dtls.out - udp.out, 20 * 37);
    struct usage_wire none = usage_wire_of(RELAY_UDP, false, 0, 0, 0, 0);
    assert_int_equal(none.in + none.out, 0);
}

/* A minute of both directions at 20 kbit/s in 20 ms packets: 6000 packets of 50 + 22 bytes. */
static const struct usage_voice minute = {120, 6000, 6000 * 72};

static void test_longer_packets_save_their_headers(void **state)
{
    struct usage_voice v = usage_voice_ptime(minute, 40);

    (void)state;
    assert_int_equal(usage_voice_ptime_ms(minute), 20);
    assert_int_equal(v.pkts, 3000);
    assert_int_equal(v.bytes, 3000 * (100 + 22));
    v = usage_voice_ptime(v, 40);
    assert_int_equal(v.pkts, 3000); /* no further */
    v = usage_voice_ptime(v, 20);
    assert_int_equal(v.pkts, 3000); /* and not back */
    v = usage_voice_ptime((struct usage_voice){0}, 40);
    assert_int_equal(v.pkts + v.bytes, 0);
    assert_int_equal(usage_voice_ptime_ms((struct usage_voice){5, 0, 0}), 0);
}

static void test_silence_and_lower_rates_save(void **state)
{
    struct usage_voice v = usage_voice_dtx(minute, 45);

    (void)state;
    assert_int_equal(v.pkts, 3300);
    assert_int_equal(v.bytes, 3300 * 72);
    v = usage_voice_dtx(minute, 100);
    assert_int_equal(v.pkts + v.bytes, 0);
    v = usage_voice_bitrate(minute, 12000);
    assert_int_equal(v.pkts, 6000);
    assert_int_equal(v.bytes, 6000 * (30 + 22));
    v = usage_voice_bitrate(minute, 32000);
    assert_int_equal(v.bytes, minute.bytes);
    /* Less than headers: damaged, but no underflow. */
    v = usage_voice_bitrate((struct usage_voice){1, 50, 10}, 1);
    assert_int_equal(v.bytes, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_wire_weighs_what_the_table_says),
        cmocka_unit_test(test_headers_are_those_of_the_transport),
        cmocka_unit_test(test_longer_packets_save_their_headers),
        cmocka_unit_test(test_silence_and_lower_rates_save),
    };

    return cmocka_run_group_tests_name("usage_wire", tests, NULL, NULL);
}

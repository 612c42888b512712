/* media_quality.c: media of both ways, round trips by connectivity checks, strangers' bytes.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/media_quality.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

#define T0    (100 * US_PER_S)
#define FRAME (20 * US_PER_MS)

static struct media_quality it, *const m = &it;

static int set_up(void **state)
{
    (void)state;
    it = (struct media_quality){.since_us = 0};
    media_quality_init(m, NULL, T0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    media_quality_fini(m);
    return 0;
}

static void rtp(enum media_way way, uint32_t ssrc, uint16_t seq, uint32_t ts, uint64_t now_us)
{
    uint8_t buf[60] = {0};
    struct wr w = wr_init(buf, sizeof(buf));

    wr_be16(&w, 0x80ef); /* version 2; marker, type 111 */
    wr_be16(&w, seq);
    wr_be32(&w, ts);
    wr_be32(&w, ssrc);
    media_quality_packet(m, way, slice_of(buf, sizeof(buf)), now_us);
}

/* So many seconds of a voice; every lost-th packet is not there (0: all are). */
static void talk(enum media_way way, uint32_t ssrc, unsigned from_s, unsigned seconds,
                 unsigned lost)
{
    for (unsigned n = from_s * 50; n < (from_s + seconds) * 50; n++)
        if (lost == 0 || n % lost != 0)
            rtp(way, ssrc, (uint16_t)n, n * 960, T0 + n * FRAME);
}

static void stun(enum media_way way, uint16_t type, uint32_t id, uint64_t now_us)
{
    uint8_t buf[28] = {0};
    struct wr w = wr_init(buf, sizeof(buf));

    wr_be16(&w, type);
    wr_be16(&w, 8);
    wr_be32(&w, 0x2112a442);
    wr_be64(&w, 42);
    wr_be32(&w, id);
    media_quality_packet(m, way, slice_of(buf, sizeof(buf)), now_us);
}

static struct media_report next(unsigned at_s)
{
    struct media_report r;

    media_quality_next(m, T0 + at_s * US_PER_S, &r);
    return r;
}

static void test_each_way_is_judged_for_itself(void **state)
{
    struct media_report r;

    (void)state;
    assert_false(media_quality_next(m, T0, &r));
    talk(MEDIA_UP, 1, 0, 10, 10);
    talk(MEDIA_DOWN, 1, 0, 10, 0); /* the same SSRC, the other way */
    assert_true(media_quality_next(m, T0 + 10 * US_PER_S, &r));
    assert_int_equal(r.us, 10 * US_PER_S);
    assert_int_equal(r.leg[MEDIA_UP].voice.lost, 43);
    assert_int_equal(r.leg[MEDIA_UP].voice.runs, 43);
    assert_in_range(r.leg[MEDIA_UP].voice.expected, 432, 437);
    assert_int_equal(r.leg[MEDIA_DOWN].voice.lost, 0);
    assert_int_equal(r.leg[MEDIA_DOWN].voice.packets, 499); /* the first one proved the second */
    assert_int_equal(r.leg[MEDIA_DOWN].clock, 48000);
    assert_int_equal(r.leg[MEDIA_DOWN].frame_us, 20000);
    assert_true(media_quality_has_sums(m));
    assert_int_equal(m->sums[MEDIA_UP].lost, 43);
}

static void test_round_trips_of_both_legs(void **state)
{
    (void)state;
    stun(MEDIA_UP, 0x0001, 1, T0);
    stun(MEDIA_DOWN, 0x0101, 1, T0 + 30000); /* the peer has answered */
    stun(MEDIA_DOWN, 0x0101, 1, T0 + 90000); /* twice: says nothing */
    stun(MEDIA_DOWN, 0x0001, 2, T0);
    stun(MEDIA_DOWN, 0x0001, 2, T0 + 40000); /* sent again: which one is answered? */
    stun(MEDIA_UP, 0x0101, 2, T0 + 50000);
    stun(MEDIA_UP, 0x0101, 3, T0 + 50000);   /* an answer to nothing */
    stun(MEDIA_DOWN, 0x0101, 2, T0 + 60000); /* the wrong way */
    struct media_report r = next(10);
    assert_int_equal(r.leg[MEDIA_DOWN].rtt_us, 30000);
    assert_int_equal(r.leg[MEDIA_UP].rtt_us, 50000);
    stun(MEDIA_UP, 0x0001, 4, T0 + 11 * US_PER_S);
    stun(MEDIA_DOWN, 0x0101, 4, T0 + 11 * US_PER_S + 10000);
    stun(MEDIA_UP, 0x0001, 5, T0 + 12 * US_PER_S);
    stun(MEDIA_DOWN, 0x0101, 5, T0 + 12 * US_PER_S + 20000);
    r = next(20);
    assert_int_equal(r.leg[MEDIA_DOWN].rtt_us, 15000);
    assert_int_equal(r.leg[MEDIA_UP].rtt_us, 50000); /* as far as is known */
    assert_int_equal(m->sums[MEDIA_DOWN].rtt_n, 2);  /* intervals that heard of it */
}

static void test_strangers_do_not_drive_a_voice_out(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 500; n++) {
        rtp(MEDIA_UP, 1, (uint16_t)n, n * 960, T0 + n * FRAME);
        for (uint32_t k = 0; n > 1 && k < 20; k++) /* once each, and twice in a row each */
            rtp(MEDIA_UP, 1000 + n * 20 + k, 1, 2, T0 + n * FRAME);
        rtp(MEDIA_UP, 5000000 + n, 1, 2, T0 + n * FRAME);
        rtp(MEDIA_UP, 5000000 + n, 2, 2, T0 + n * FRAME);
    }
    struct media_report r = next(10);
    assert_in_range(r.leg[MEDIA_UP].voice.packets, 490, 500);
    assert_int_equal(r.leg[MEDIA_UP].voice.lost, 0);
}

static void test_voice_is_told_from_video(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 500; n++) {
        rtp(MEDIA_UP, 1, (uint16_t)n, n * 960, T0 + n * FRAME);
        rtp(MEDIA_UP, 3, (uint16_t)n, n * 1800, T0 + n * FRAME); /* of another picture */
        for (unsigned k = 0; k < 5; k++)                         /* five packets a picture */
            rtp(MEDIA_UP, 2, (uint16_t)(5 * n + k), n * 1800, T0 + n * FRAME + k * 100);
    }
    struct media_report r = next(10);
    assert_int_equal(r.leg[MEDIA_UP].voice.packets, 499);
    assert_int_equal(r.leg[MEDIA_UP].others, 499 + 5 * 500 - 1);
}

static void test_what_went_past_us_is_not_judged(void **state)
{
    struct media_report r;

    (void)state;
    talk(MEDIA_UP, 1, 0, 5, 0);
    media_quality_blind(m); /* the kernel takes it */
    assert_false(media_quality_next(m, T0 + 10 * US_PER_S, &r));
    talk(MEDIA_UP, 1, 15, 5, 0); /* and gives it back */
    assert_true(media_quality_next(m, T0 + 20 * US_PER_S, &r));
    assert_int_equal(r.leg[MEDIA_UP].voice.lost, 0);
    assert_int_equal(r.leg[MEDIA_UP].voice.packets, 249);
    assert_int_equal(m->sums[MEDIA_UP].lost, 0);
}

static void test_rtcp_and_other_bytes_are_not_media(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 100; n++) {
        uint8_t buf[60] = {0x80, 200, 0, (uint8_t)n, 0, 0, 0, 1, 0, 0, 0, 9};
        media_quality_packet(m, MEDIA_UP, slice_of(buf, sizeof(buf)), T0 + n * FRAME);
        buf[0] = 22; /* DTLS */
        media_quality_packet(m, MEDIA_UP, slice_of(buf, sizeof(buf)), T0 + n * FRAME);
    }
    struct media_report r = next(10);
    assert_int_equal(r.leg[MEDIA_UP].others + r.leg[MEDIA_UP].voice.packets, 0);
    assert_false(media_quality_has_sums(m));
}

static void test_short_packets_are_not_read_beyond(void **state)
{
    static const uint8_t first[] = {0, 1, 3, 127, 128, 144, 191, 192, 255};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        for (size_t len = 0; len < 40; len++) {
            uint8_t bytes[40];
            memset(bytes, 0xa5, sizeof(bytes));
            bytes[0] = first[i];
            uint8_t *p = guard_copy(bytes, len);
            media_quality_packet(m, MEDIA_UP, slice_of(p, len), T0);
            guard_free(p, len);
        }
}

static void test_a_stream_that_is_gone_makes_room(void **state)
{
    struct media_report r;

    (void)state;
    for (uint32_t ssrc = 1; ssrc <= MEDIA_STREAMS; ssrc++)
        talk(MEDIA_UP, ssrc, 0, 2, 0);
    next(10);
    talk(MEDIA_UP, 99, 20, 5, 0);
    assert_true(media_quality_next(m, T0 + 30 * US_PER_S, &r));
    assert_int_equal(r.leg[MEDIA_UP].voice.packets, 249);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_each_way_is_judged_for_itself),      T(test_round_trips_of_both_legs),
        T(test_strangers_do_not_drive_a_voice_out), T(test_voice_is_told_from_video),
        T(test_what_went_past_us_is_not_judged),    T(test_rtcp_and_other_bytes_are_not_media),
        T(test_short_packets_are_not_read_beyond),  T(test_a_stream_that_is_gone_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

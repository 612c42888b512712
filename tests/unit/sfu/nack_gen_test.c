/* nack_gen.c: losses are asked for once they are losses, again after a round trip, and not for
 * ever. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/nack_gen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#define MS US_PER_MS

static const struct nack_conf conf = {.max_missing = 8,
                                      .max_retries = 3,
                                      .reorder_pkts = 4,
                                      .reorder_us = 10000,
                                      .max_age_us = 500000,
                                      .min_retry_us = 20000};

static struct nack_gen *started(uint64_t first)
{
    struct nack_gen *g = nack_gen_new(&conf);

    nack_gen_rtt(g, 40 * MS);
    assert_int_equal(nack_gen_recv(g, first, 0), NACK_SEEN_NEW);
    return g;
}

/* Asserts that exactly these are asked for at now_us. */
static void asks(struct nack_gen *g, uint64_t now_us, unsigned n, const uint16_t *want)
{
    uint16_t got[64];

    assert_int_equal(nack_gen_take(g, now_us, got, ARRAY_LEN(got)), n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(got[i], want[i]);
}

static void test_nothing_missing_nothing_due(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    for (uint64_t seq = 11; seq < 100; seq++)
        assert_int_equal(nack_gen_recv(g, seq, seq * MS), NACK_SEEN_NEW);
    assert_int_equal(nack_gen_recv(g, 99, 99 * MS), NACK_SEEN_OLD);
    assert_int_equal(nack_gen_recv(g, 50, 99 * MS), NACK_SEEN_OLD);
    assert_int_equal(nack_gen_deadline(g), CLOCK_NEVER);
    asks(g, US_PER_S, 0, NULL);
    nack_gen_free(g);
}

static void test_a_gap_is_asked_for_after_the_reordering_time(void **state)
{
    struct nack_gen *g = started(65534);

    (void)state;
    nack_gen_recv(g, 65537, 1 * MS);
    assert_int_equal(nack_gen_missing(g), 2);
    assert_int_equal(nack_gen_deadline(g), 11 * MS);
    asks(g, 11 * MS - 1, 0, NULL);
    asks(g, 11 * MS, 2, (const uint16_t[]){65535, 0});
    assert_int_equal(nack_gen_recv(g, 65535, 60 * MS), NACK_SEEN_RECOVERED);
    assert_int_equal(nack_gen_recv(g, 65535, 60 * MS), NACK_SEEN_OLD);
    assert_int_equal(nack_gen_missing(g), 1);
    assert_int_equal(nack_gen_stats(g)->recovered, 1);
    nack_gen_free(g);
}

static void test_newer_packets_prove_a_loss(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_recv(g, 12, 0);
    nack_gen_recv(g, 14, 0);
    assert_int_equal(nack_gen_deadline(g), 10 * MS);
    nack_gen_recv(g, 15, 1 * MS); /* four after 11, two after 13 */
    assert_int_equal(nack_gen_deadline(g), 1 * MS);
    asks(g, 1 * MS, 1, (const uint16_t[]){11});
    assert_int_equal(nack_gen_deadline(g), 10 * MS);
    nack_gen_free(g);
}

static void test_a_reordered_packet_is_not_asked_for(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_recv(g, 12, 0);
    assert_int_equal(nack_gen_recv(g, 11, 5 * MS), NACK_SEEN_REORDERED);
    assert_int_equal(nack_gen_deadline(g), CLOCK_NEVER);
    assert_int_equal(nack_gen_stats(g)->requests, 0);
    assert_int_equal(nack_gen_stats(g)->reordered, 1);
    nack_gen_free(g);
}

/* What comes long before an answer could come by itself: the wait grows, and shrinks again. */
static void test_reordering_time_is_learned(void **state)
{
    struct nack_gen *g = started(10);
    uint64_t seq = 10, now = 0;

    (void)state;
    nack_gen_rtt(g, 100 * MS);
    nack_gen_recv(g, seq += 2, now);
    asks(g, now + 10 * MS, 1, (const uint16_t[]){11});
    assert_int_equal(nack_gen_recv(g, 11, now + 24 * MS), NACK_SEEN_RECOVERED);
    now += US_PER_S;
    nack_gen_recv(g, seq += 2, now);
    uint64_t wait = nack_gen_deadline(g) - now;
    assert_in_range(wait, 25 * MS, 28 * MS);
    for (unsigned i = 0; i < 10; i++) /* packets after it prove nothing now */
        nack_gen_recv(g, ++seq, now);
    assert_int_equal(nack_gen_deadline(g) - now, wait);
    for (unsigned i = 0; i < 300; i++, now += US_PER_S) {
        uint16_t out[8];
        nack_gen_recv(g, seq += 2, now);
        nack_gen_take(g, now + 30 * MS, out, 8);
        nack_gen_recv(g, seq - 1, now + 200 * MS);
    }
    nack_gen_recv(g, seq += 2, now);
    assert_in_range(nack_gen_deadline(g) - now, 10 * MS, 10 * MS + 200);
    nack_gen_free(g);
}

static void test_retries_follow_the_round_trip_and_end(void **state)
{
    struct nack_gen *g = started(10);
    uint64_t at = 10 * MS, last = 0;

    (void)state;
    nack_gen_recv(g, 12, 0);
    for (unsigned i = 0; i < conf.max_retries; i++) {
        assert_int_equal(nack_gen_deadline(g), at);
        asks(g, at, 1, (const uint16_t[]){11});
        asks(g, at, 0, NULL);
        assert_true(nack_gen_deadline(g) - at >= 40 * MS);
        assert_true(nack_gen_deadline(g) - at > last);
        last = nack_gen_deadline(g) - at;
        at = nack_gen_deadline(g);
    }
    asks(g, at, 0, NULL);
    assert_int_equal(nack_gen_missing(g), 0);
    assert_int_equal(nack_gen_stats(g)->given_up, 1);
    assert_int_equal(nack_gen_recv(g, 11, at), NACK_SEEN_OLD);
    nack_gen_free(g);
}

static void test_a_short_round_trip_does_not_flood(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_rtt(g, 0);
    nack_gen_recv(g, 12, 0);
    asks(g, 10 * MS, 1, (const uint16_t[]){11});
    assert_int_equal(nack_gen_deadline(g), 30 * MS);
    nack_gen_free(g);
}

static void test_old_gaps_are_given_up(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_rtt(g, UINT64_MAX);
    nack_gen_recv(g, 12, 0);
    asks(g, 10 * MS, 1, (const uint16_t[]){11});
    nack_gen_recv(g, 14, 499 * MS);
    asks(g, 510 * MS, 1, (const uint16_t[]){13});
    assert_int_equal(nack_gen_missing(g), 1);
    nack_gen_free(g);
}

static void test_a_key_frame_clears_what_is_before_it(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_recv(g, 12, 0);
    nack_gen_recv(g, 15, 0);
    nack_gen_recv(g, 17, 0);
    nack_gen_clear(g, 14); /* the key frame began at 14, which is missing itself */
    asks(g, 10 * MS, 2, (const uint16_t[]){14, 16});
    assert_int_equal(nack_gen_stats(g)->cleared, 2);
    nack_gen_clear(g, 100);
    assert_int_equal(nack_gen_deadline(g), CLOCK_NEVER);
    nack_gen_free(g);
}

static void test_the_list_is_bounded(void **state)
{
    struct nack_gen *g = started(10);

    (void)state;
    nack_gen_recv(g, 17, 0); /* 11..16 */
    nack_gen_recv(g, 22, 0); /* 18..21: 11 and 12 have to go */
    assert_int_equal(nack_gen_missing(g), 8);
    assert_int_equal(nack_gen_stats(g)->given_up, 2);
    asks(g, 10 * MS, 8, (const uint16_t[]){13, 14, 15, 16, 18, 19, 20, 21});
    nack_gen_recv(g, 1000000, 11 * MS);
    assert_int_equal(nack_gen_missing(g), 8);
    asks(g, 21 * MS, 8, (const uint16_t[]){16952, 16953, 16954, 16955, 16956, 16957, 16958, 16959});
    nack_gen_free(g);
}

static void test_a_small_request_leaves_the_rest_due(void **state)
{
    struct nack_gen *g = started(10);
    uint16_t out[2];

    (void)state;
    nack_gen_recv(g, 14, 0);
    assert_int_equal(nack_gen_take(g, 10 * MS, out, 2), 2);
    assert_int_equal(out[1], 12);
    assert_true(nack_gen_deadline(g) <= 10 * MS);
    assert_int_equal(nack_gen_take(g, 10 * MS, out, 2), 1);
    assert_int_equal(out[0], 13);
    nack_gen_free(g);
}

static void test_reset_starts_anywhere(void **state)
{
    struct nack_gen *g = started(1000);

    (void)state;
    nack_gen_recv(g, 1002, 0);
    nack_gen_reset(g);
    assert_int_equal(nack_gen_recv(g, 5, 0), NACK_SEEN_NEW);
    assert_int_equal(nack_gen_missing(g), 0);
    nack_gen_free(g);
}

static void test_oom_new(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_null(nack_gen_new(&nack_conf_video));
        mem_fail_never();
        assert_int_equal(mem_live(), 0);
    }
    nack_gen_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_missing_nothing_due),
        cmocka_unit_test(test_a_gap_is_asked_for_after_the_reordering_time),
        cmocka_unit_test(test_newer_packets_prove_a_loss),
        cmocka_unit_test(test_a_reordered_packet_is_not_asked_for),
        cmocka_unit_test(test_reordering_time_is_learned),
        cmocka_unit_test(test_retries_follow_the_round_trip_and_end),
        cmocka_unit_test(test_a_short_round_trip_does_not_flood),
        cmocka_unit_test(test_old_gaps_are_given_up),
        cmocka_unit_test(test_a_key_frame_clears_what_is_before_it),
        cmocka_unit_test(test_the_list_is_bounded),
        cmocka_unit_test(test_a_small_request_leaves_the_rest_due),
        cmocka_unit_test(test_reset_starts_anywhere),
        cmocka_unit_test(test_oom_new),
    };

    return cmocka_run_group_tests_name("nack_gen", tests, NULL, NULL);
}

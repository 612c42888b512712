/* pacer.c: the budget, the order of classes, bounds in time, packets and bytes, probes.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/pacer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"

#define MS US_PER_MS

/* 8 Mbit/s: 1000 bytes a millisecond; a burst of 5 ms. */
static const struct pacer_conf conf = {
    .max_items = 8, .max_bytes = 8000, .max_delay_us = 100000, .burst_us = 5000};
static const uint64_t rate_bps = 8000000;
static int owner_a, owner_b;

static struct pacer *started(uint64_t now_us)
{
    struct pacer *p = pacer_new(&conf, 0);

    pacer_rate(p, rate_bps, 0);
    assert_false(pacer_pass(p, PACER_VIDEO, 1, 0)); /* an empty budget at the start */
    pacer_rate(p, rate_bps, now_us);
    return p;
}

static bool push(struct pacer *p, enum pacer_class cls, void *owner, uint64_t seq, uint64_t now_us)
{
    struct pacer_item item = {.owner = owner, .seq = seq, .bytes = 1000, .cls = (uint8_t)cls};

    return pacer_push(p, &item, now_us);
}

static void test_a_frame_passes_at_once_then_the_rate_holds(void **state)
{
    struct pacer *p = started(1000 * MS);
    uint64_t now = 1000 * MS;
    unsigned n = 0;

    (void)state;
    while (pacer_pass(p, PACER_VIDEO, 1000, now))
        n++;
    assert_in_range(n, 5, 6); /* 5 ms of budget, and the packet that overdraws it */
    assert_true(push(p, PACER_VIDEO, &owner_a, 1, now));
    assert_int_equal(pacer_queued(p), 1000);
    struct pacer_item out;
    assert_int_equal(pacer_next(p, now, &out), PACER_WAIT);
    uint64_t at = pacer_deadline(p);
    assert_in_range(at - now, 1, 1 * MS + 1);
    assert_int_equal(pacer_next(p, at, &out), PACER_SEND);
    assert_int_equal(out.seq, 1);
    assert_int_equal(pacer_deadline(p), CLOCK_NEVER);
    pacer_free(p);
}

static void test_over_time_no_more_than_the_rate_passes(void **state)
{
    struct pacer *p = started(0);
    uint64_t bytes = 0;

    (void)state;
    for (uint64_t now = 0; now < 1000 * MS; now += 100) {
        if (pacer_pass(p, PACER_VIDEO, 1200, now))
            bytes += 1200;
    }
    assert_in_range(bytes, 990000, 1010000);
    pacer_free(p);
}

static void test_nothing_passes_what_waits_before_it(void **state)
{
    struct pacer *p = started(10 * MS);

    (void)state;
    assert_true(push(p, PACER_VIDEO, &owner_a, 1, 10 * MS));
    assert_false(pacer_pass(p, PACER_VIDEO, 1000, 10 * MS));
    assert_false(pacer_pass(p, PACER_VIDEO_LOW, 1000, 10 * MS));
    assert_true(pacer_pass(p, PACER_RTX, 1000, 10 * MS));
    pacer_free(p);
}

static void test_classes_come_in_order(void **state)
{
    struct pacer *p = started(0);
    struct pacer_item out;

    (void)state;
    push(p, PACER_VIDEO_LOW, &owner_a, 1, 0);
    push(p, PACER_VIDEO, &owner_a, 2, 0);
    push(p, PACER_RTX, &owner_a, 3, 0);
    push(p, PACER_VIDEO_HIGH, &owner_a, 4, 0);
    push(p, PACER_VIDEO, &owner_a, 5, 0);
    const uint64_t order[] = {3, 4, 2, 5, 1};
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        assert_int_equal(pacer_next(p, 50 * MS, &out), PACER_SEND);
        assert_int_equal(out.seq, order[i]);
    }
    assert_int_equal(pacer_next(p, 50 * MS, &out), PACER_WAIT);
    pacer_free(p);
}

static void test_audio_is_taken_off_the_budget(void **state)
{
    struct pacer *p = started(10 * MS);

    (void)state;
    pacer_sent(p, 5000, 10 * MS);
    assert_false(pacer_pass(p, PACER_VIDEO, 1000, 10 * MS));
    assert_true(pacer_pass(p, PACER_VIDEO, 1000, 11 * MS));
    pacer_free(p);
}

static void test_what_waits_too_long_is_dropped_and_told(void **state)
{
    struct pacer *p = started(0);
    struct pacer_item out;

    (void)state;
    pacer_rate(p, 0, 0); /* the least rate there is */
    pacer_sent(p, 100000, 0);
    push(p, PACER_VIDEO, &owner_a, 1, 0);
    push(p, PACER_VIDEO, &owner_a, 2, 60 * MS);
    assert_int_equal(pacer_deadline(p), 100 * MS);
    assert_int_equal(pacer_next(p, 100 * MS - 1, &out), PACER_WAIT);
    assert_int_equal(pacer_next(p, 100 * MS, &out), PACER_DROPPED);
    assert_int_equal(out.seq, 1);
    assert_int_equal(pacer_next(p, 100 * MS, &out), PACER_WAIT);
    struct pacer_stats st;
    pacer_stats(p, &st, 100 * MS);
    assert_int_equal(st.dropped_late, 1);
    assert_int_equal(st.queue_pkts, 1);
    assert_int_equal(st.queue_us, 40 * MS);
    pacer_free(p);
}

static void test_a_full_queue_pushes_out_lesser_packets_only(void **state)
{
    struct pacer *p = started(0);
    struct pacer_item out;

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        assert_true(push(p, i < 2 ? PACER_VIDEO_LOW : PACER_VIDEO, &owner_a, i, 0));
    assert_false(push(p, PACER_VIDEO_LOW, &owner_a, 100, 0));
    assert_true(push(p, PACER_RTX, &owner_a, 101, 0));
    assert_true(push(p, PACER_VIDEO, &owner_a, 102, 0));
    assert_false(push(p, PACER_VIDEO, &owner_a, 103, 0)); /* all are as good */
    assert_int_equal(pacer_deadline(p), 0);
    assert_int_equal(pacer_next(p, 0, &out), PACER_DROPPED);
    assert_int_equal(out.seq, 0);
    assert_int_equal(pacer_next(p, 0, &out), PACER_DROPPED);
    assert_int_equal(out.seq, 1);
    assert_int_equal(pacer_next(p, 0, &out), PACER_WAIT);
    assert_int_equal(pacer_queued(p), 8000);
    pacer_free(p);
}

static void test_an_owner_that_goes_away_leaves_nothing(void **state)
{
    struct pacer *p = started(0);
    struct pacer_item out;

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        push(p, PACER_VIDEO_LOW, i % 2 ? (void *)&owner_b : (void *)&owner_a, i, 0);
    push(p, PACER_VIDEO, &owner_b, 50, 0); /* pushes 0 of owner_a out */
    pacer_forget(p, &owner_a);
    assert_int_equal(pacer_queued(p), 5000);
    const uint64_t left[] = {50, 1, 3, 5, 7};
    for (unsigned i = 0; i < ARRAY_LEN(left); i++) {
        assert_int_equal(pacer_next(p, 50 * MS, &out), PACER_SEND);
        assert_ptr_equal(out.owner, &owner_b);
        assert_int_equal(out.seq, left[i]);
    }
    assert_int_equal(pacer_next(p, 50 * MS, &out), PACER_WAIT);
    pacer_free(p);
}

static void test_a_probe_pads_at_its_rate_and_ends(void **state)
{
    struct pacer *p = started(0);
    const struct bwe_probe probe = {.cluster = 7, .bps = 800000, .bytes = 2500, .min_pkts = 5};
    struct pacer_item out;
    uint64_t now = 1 * MS;
    unsigned n = 0;
    size_t bytes = 0;

    (void)state;
    pacer_probe(p, &probe, now);
    assert_int_equal(pacer_cluster(p), 7);
    while (pacer_cluster(p) && now < 100 * MS) {
        if (pacer_next(p, now, &out) == PACER_PAD) {
            assert_int_equal(out.cluster, 7);
            bytes += out.bytes;
            n++;
        } else {
            now = pacer_deadline(p);
        }
    }
    assert_int_equal(n, 5);
    assert_int_equal(bytes, 2500);
    assert_in_range(now - 1 * MS, 19 * MS, 21 * MS); /* the fifth: 2000 bytes at 100 a ms */
    assert_int_equal(pacer_deadline(p), CLOCK_NEVER);
    pacer_free(p);
}

static void test_media_and_audio_are_part_of_a_probe(void **state)
{
    struct pacer *p = started(0);
    const struct bwe_probe probe = {.cluster = 9, .bps = 8000000, .bytes = 3000, .min_pkts = 3};
    struct pacer_item out;

    (void)state;
    pacer_sent(p, 20000, 0); /* no budget of its own */
    pacer_probe(p, &probe, 1 * MS);
    push(p, PACER_VIDEO, &owner_a, 1, 1 * MS);
    assert_int_equal(pacer_next(p, 1 * MS, &out), PACER_SEND);
    assert_int_equal(out.cluster, 9);
    pacer_sent(p, 1000, 2 * MS);
    assert_int_equal(pacer_cluster(p), 9);
    assert_true(pacer_pass(p, PACER_VIDEO, 1000, 3 * MS));
    assert_int_equal(pacer_cluster(p), 0);
    pacer_free(p);
}

static void test_a_probe_that_gets_nowhere_is_broken_off(void **state)
{
    struct pacer *p = started(0);
    const struct bwe_probe probe = {.cluster = 1, .bps = 800000, .bytes = 1000, .min_pkts = 5};
    struct pacer_item out;

    (void)state;
    pacer_probe(p, &probe, 0);
    assert_int_equal(pacer_next(p, 60 * MS, &out), PACER_WAIT);
    assert_int_equal(pacer_cluster(p), 0);
    pacer_probe(p, &probe, 100 * MS);
    pacer_probe(p, NULL, 100 * MS);
    assert_int_equal(pacer_cluster(p), 0);
    pacer_free(p);
}

/* Whatever is pushed comes out once: sent or dropped; the bounds hold. */
static void test_random_traffic_is_accounted_for(void **state)
{
    struct pacer *p = started(0);
    struct rand_src rnd;
    struct pacer_item out;
    uint64_t in = 0, gone = 0, now = 0;

    (void)state;
    rand_src_init(&rnd, 3);
    for (unsigned i = 0; i < 200000; i++) {
        now += rand_src_below(&rnd, 3000);
        uint64_t what = rand_src_below(&rnd, 10);
        struct pacer_item item = {.owner = &owner_a,
                                  .bytes = (uint16_t)(1 + rand_src_below(&rnd, 1500)),
                                  .cls = (uint8_t)rand_src_below(&rnd, PACER_CLASS_COUNT)};
        if (what < 5) {
            in += pacer_push(p, &item, now);
        } else if (what == 5) {
            pacer_rate(p, rand_src_below(&rnd, 20000000), now);
        } else if (what == 6) {
            struct bwe_probe probe = {1 + (unsigned)rand_src_below(&rnd, 255),
                                      rand_src_below(&rnd, 5000000), rand_src_below(&rnd, 9000),
                                      (unsigned)rand_src_below(&rnd, 9)};
            pacer_probe(p, &probe, now);
        } else {
            enum pacer_verdict v;
            while ((v = pacer_next(p, now, &out)) != PACER_WAIT)
                gone += v == PACER_SEND || v == PACER_DROPPED;
        }
        struct pacer_stats st;
        pacer_stats(p, &st, now);
        assert_true(st.queue_pkts <= conf.max_items && st.queue_bytes <= conf.max_bytes);
        assert_true(in - gone >= st.queue_pkts);
    }
    for (; pacer_deadline(p) != CLOCK_NEVER;
         now = pacer_deadline(p) > now ? pacer_deadline(p) : now)
        while (pacer_next(p, now, &out) != PACER_WAIT)
            gone += out.owner == &owner_a;
    assert_int_equal(in, gone);
    pacer_free(p);
}

static void test_oom_new(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_null(pacer_new(&pacer_conf_video, 0));
        mem_fail_never();
        assert_int_equal(mem_live(), 0);
    }
    pacer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_passes_at_once_then_the_rate_holds),
        cmocka_unit_test(test_over_time_no_more_than_the_rate_passes),
        cmocka_unit_test(test_nothing_passes_what_waits_before_it),
        cmocka_unit_test(test_classes_come_in_order),
        cmocka_unit_test(test_audio_is_taken_off_the_budget),
        cmocka_unit_test(test_what_waits_too_long_is_dropped_and_told),
        cmocka_unit_test(test_a_full_queue_pushes_out_lesser_packets_only),
        cmocka_unit_test(test_an_owner_that_goes_away_leaves_nothing),
        cmocka_unit_test(test_a_probe_pads_at_its_rate_and_ends),
        cmocka_unit_test(test_media_and_audio_are_part_of_a_probe),
        cmocka_unit_test(test_a_probe_that_gets_nowhere_is_broken_off),
        cmocka_unit_test(test_random_traffic_is_accounted_for),
        cmocka_unit_test(test_oom_new),
    };

    return cmocka_run_group_tests_name("pacer", tests, NULL, NULL);
}

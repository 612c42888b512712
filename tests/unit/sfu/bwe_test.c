/* bwe.c: the whole estimator over a small virtual path: whose word steers it, what lost feedback
 * and other paths do to it, and that it stays within its bounds. How good it is on real paths:
 * tests/sim/bwe_sim.c. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "proto/twcc_fb.h"

#define MS     US_PER_MS
#define START  UINT64_C(600000)
#define LEAST  UINT64_C(30000)
#define MOST   UINT64_C(4000000)
#define FCI_AT 12 /* RTCP header, sender, media */

enum { GATHER_MAX = 400, PKT = 1200 };

static const struct bwe_conf conf = {START, LEAST, MOST};

/* A path with a queue: packets are sent at the target, feedback goes back every 50 ms. */
struct world {
    struct bwe *b;
    uint64_t now_us, next_us, fb_us, free_us, seq, told;
    uint64_t bps, delay_us, queue_max_us; /* of the path */
    uint64_t app_bps;                     /* 0: as much as the target */
    unsigned lose_pct, fb_every;          /* every fb_every-th feedback arrives; 0: none */
    unsigned fb_n;
    uint8_t fb_seq;
    struct twcc_arrival got[GATHER_MAX];
    size_t n;
    struct rand_src rnd;
    struct bwe_probe probe;
    size_t probe_left;
};

static struct world *world_new(struct world *w, uint64_t bps)
{
    *w = (struct world){.now_us = 1000 * US_PER_S,
                        .bps = bps,
                        .delay_us = 20 * MS,
                        .queue_max_us = 300 * MS,
                        .fb_every = 1};
    w->next_us = w->fb_us = w->now_us;
    w->told = 1;
    rand_src_init(&w->rnd, 9);
    w->b = bwe_new(&conf, w->now_us);
    assert_non_null(w->b);
    assert_int_equal(bwe_widen(w->b), 0);
    bwe_want(w->b, MOST);
    return w;
}

static void send_one(struct world *w)
{
    unsigned cluster = w->probe_left ? w->probe.cluster : 0;
    uint64_t rate = w->app_bps ? w->app_bps : bwe_target_bps(w->b);

    w->seq++;
    assert_int_equal(bwe_sent(w->b, PKT, cluster, w->now_us), (uint16_t)w->seq);
    if (cluster) {
        rate = w->probe.bps;
        w->probe_left -= w->probe_left < PKT ? w->probe_left : PKT;
    }
    w->next_us = w->now_us + PKT * 8 * US_PER_S / rate;
    w->free_us = w->free_us < w->now_us ? w->now_us : w->free_us;
    if (w->free_us - w->now_us > w->queue_max_us || rand_src_below(&w->rnd, 100) < w->lose_pct ||
        w->n == GATHER_MAX)
        return;
    w->free_us += PKT * 8 * US_PER_S / w->bps;
    w->got[w->n++] = (struct twcc_arrival){w->seq, w->free_us + w->delay_us};
}

static void feed_back(struct world *w)
{
    uint8_t bytes[2000];
    size_t ready = 0;

    w->fb_us += 50 * MS;
    while (ready < w->n && w->got[ready].at_us + w->delay_us <= w->now_us)
        ready++;
    if (ready == 0)
        return;
    struct wr out = wr_init(bytes, sizeof(bytes));
    size_t k = twcc_fb_encode(&out, 1, 2, w->fb_seq++, w->told, w->got, ready);
    assert_true(k > 0);
    w->told = w->got[k - 1].seq + 1;
    memmove(w->got, w->got + k, (w->n - k) * sizeof(*w->got));
    w->n -= k;
    struct slice all = wr_done(&out);
    if (w->fb_every && w->fb_n++ % w->fb_every == 0)
        bwe_twcc(w->b, slice_sub(all, FCI_AT, all.len), w->now_us);
}

static void run(struct world *w, uint64_t us)
{
    for (uint64_t end = w->now_us + us; w->now_us < end; w->now_us += 1000) {
        struct bwe_probe p;

        if (w->now_us >= bwe_deadline(w->b))
            bwe_tick(w->b, w->now_us);
        if (bwe_probe(w->b, &p, w->now_us)) {
            w->probe = p;
            w->probe_left = p.bytes > p.min_pkts * PKT ? p.bytes : p.min_pkts * PKT;
        }
        while (w->next_us <= w->now_us)
            send_one(w);
        if (w->now_us >= w->fb_us)
            feed_back(w);
        uint64_t t = bwe_target_bps(w->b), s = bwe_steady_bps(w->b);
        assert_in_range(t, LEAST, MOST);
        assert_in_range(s, LEAST, MOST);
        assert_true(bwe_pacing_bps(w->b) >= t);
    }
}

static struct bwe_stats stats(const struct world *w)
{
    struct bwe_stats s;

    bwe_stats(w->b, &s);
    return s;
}

static void test_it_finds_what_the_path_takes(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    assert_int_equal(bwe_target_bps(w.b), START);
    run(&w, 20 * US_PER_S);
    assert_in_range(bwe_target_bps(w.b), 1400000, 2100000);
    struct bwe_stats s = stats(&w);
    assert_true(s.by_twcc && s.probes > 0 && s.acked_pkts > 1000);
    assert_in_range(bwe_rtt_us(w.b), 40 * MS, 150 * MS);
    assert_true(s.queue_us < 100 * MS);
    bwe_free(w.b);
}

static void test_it_follows_a_path_that_narrows(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    run(&w, 15 * US_PER_S);
    w.bps = 400000;
    run(&w, 4 * US_PER_S);
    assert_in_range(bwe_target_bps(w.b), 200000, 440000);
    run(&w, 4 * US_PER_S);
    assert_true(stats(&w).queue_us < 100 * MS); /* and what stood in the queue is gone */
    bwe_free(w.b);
}

static void test_bounds_hold_on_a_path_without_end_and_one_of_nothing(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 1000000000);
    run(&w, 30 * US_PER_S);
    assert_int_equal(bwe_target_bps(w.b), MOST);
    bwe_free(w.b);
    world_new(&w, 5000);
    run(&w, 30 * US_PER_S);
    assert_in_range(bwe_target_bps(w.b), LEAST, 2 * LEAST);
    bwe_free(w.b);
}

static void test_random_loss_does_not_starve_it(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    w.lose_pct = 10;
    run(&w, 40 * US_PER_S);
    assert_true(bwe_target_bps(w.b) > 1000000);
    assert_true(stats(&w).loss > 0.05);
    bwe_free(w.b);
}

static void test_every_other_feedback_is_enough(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    w.fb_every = 2;
    run(&w, 30 * US_PER_S);
    assert_in_range(bwe_target_bps(w.b), 1000000, 2400000);
    assert_true(stats(&w).loss < 0.02); /* what feedback does not tell is not lost */
    bwe_free(w.b);
}

static void test_without_any_feedback_it_goes_down_to_the_least(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    run(&w, 10 * US_PER_S);
    uint64_t before = bwe_target_bps(w.b);
    w.fb_every = 0;
    run(&w, 500 * MS);
    assert_int_equal(bwe_target_bps(w.b), before); /* one round trip is no silence */
    run(&w, 1500 * MS);
    assert_true(bwe_target_bps(w.b) < before * 3 / 4);
    run(&w, 20 * US_PER_S);
    assert_int_equal(bwe_target_bps(w.b), LEAST);
    w.fb_every = 1;
    w.n = 0;
    w.told = w.seq + 1;
    run(&w, 20 * US_PER_S);
    assert_true(bwe_target_bps(w.b) > 1000000);
    bwe_free(w.b);
}

static void test_nothing_sent_is_no_silence(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    run(&w, 10 * US_PER_S);
    uint64_t before = bwe_target_bps(w.b);
    for (int i = 0; i < 50; i++) { /* what is out is told; then nobody speaks */
        w.now_us += 50 * MS;
        feed_back(&w);
        bwe_tick(w.b, w.now_us);
    }
    assert_true(bwe_target_bps(w.b) >= before * 9 / 10);
    bwe_free(w.b);
}

static void test_remb_and_reports_steer_where_there_is_no_feedback(void **state)
{
    struct bwe *b = bwe_new(&conf, 0);
    uint64_t now_us = US_PER_S;

    (void)state;
    for (int i = 0; i < 10; i++, now_us += US_PER_S)
        bwe_report(b, 0, 50 * MS, now_us);
    assert_in_range(bwe_target_bps(b), 1200000, 1400000); /* 8 % each */
    assert_int_equal(bwe_rtt_us(b), 50 * MS);
    uint64_t before = bwe_target_bps(b);
    bwe_report(b, 0, 0, now_us - 900 * MS); /* too soon after the last */
    assert_int_equal(bwe_target_bps(b), before);
    bwe_report(b, 10, 0, now_us += US_PER_S); /* between 2 and 10 %: as it is */
    assert_int_equal(bwe_target_bps(b), before);
    bwe_report(b, 128, 0, now_us += US_PER_S); /* half is lost: a quarter less */
    assert_in_range(bwe_target_bps(b), before * 74 / 100, before * 76 / 100);
    bwe_remb(b, 200000, now_us);
    assert_int_equal(bwe_target_bps(b), 200000);
    bwe_report(b, 0, 0, now_us + 11 * US_PER_S); /* REMB is stale */
    assert_true(bwe_target_bps(b) > 900000);
    bwe_remb(b, 1, now_us);
    assert_int_equal(bwe_target_bps(b), LEAST);
    bwe_remb(b, UINT64_MAX, now_us);
    assert_in_range(bwe_target_bps(b), LEAST, MOST);
    for (int i = 0; i < 200; i++)
        bwe_report(b, 255, 0, now_us += US_PER_S);
    assert_int_equal(bwe_target_bps(b), LEAST);
    for (int i = 0; i < 200; i++)
        bwe_report(b, 0, 0, now_us += US_PER_S);
    assert_int_equal(bwe_target_bps(b), MOST);
    bwe_free(b);
}

static void test_feedback_takes_over_from_reports(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 2000000);
    bwe_remb(w.b, 100000, w.now_us);
    assert_int_equal(bwe_target_bps(w.b), 100000);
    run(&w, 10 * US_PER_S);
    bwe_remb(w.b, 100000, w.now_us);
    bwe_report(w.b, 255, 900 * MS, w.now_us);
    assert_true(bwe_target_bps(w.b) > 1000000);
    assert_true(bwe_rtt_us(w.b) < 200 * MS);
    bwe_free(w.b);
}

static void test_another_path_begins_anew(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 3000000);
    run(&w, 15 * US_PER_S);
    assert_true(bwe_target_bps(w.b) > 2000000);
    bwe_path_changed(w.b, w.now_us);
    assert_int_equal(bwe_target_bps(w.b), START);
    w.bps = 1000000;
    w.delay_us = 150 * MS;
    run(&w, 10 * US_PER_S);
    assert_in_range(bwe_target_bps(w.b), 600000, 1100000);
    assert_true(bwe_rtt_us(w.b) > 300 * MS);
    bwe_free(w.b);
    world_new(&w, 100000);
    run(&w, 10 * US_PER_S);
    uint64_t low = bwe_target_bps(w.b);
    bwe_path_changed(w.b, w.now_us); /* never up by that alone */
    assert_int_equal(bwe_target_bps(w.b), low);
    bwe_free(w.b);
}

static void test_nonsense_is_counted_and_changes_nothing(void **state)
{
    struct bwe *b = bwe_new(&conf, US_PER_S);
    uint8_t bytes[200];
    struct bwe_stats s;
    struct twcc_arrival never[2] = {{50000, US_PER_S}, {50001, US_PER_S}};

    (void)state;
    for (size_t n = 0; n < 8; n++) /* shorter than any feedback */
        bwe_twcc(b, slice_of("\0\0\0\0\0\0\0", n), US_PER_S);
    struct wr w = wr_init(bytes, sizeof(bytes));
    assert_int_equal(twcc_fb_encode(&w, 1, 2, 0, 50000, never, 2), 2);
    struct slice all = wr_done(&w);
    bwe_twcc(b, slice_sub(all, FCI_AT, all.len), US_PER_S); /* numbers that were never sent */
    bwe_stats(b, &s);
    assert_int_equal(s.bad_feedbacks, 8);
    assert_false(s.by_twcc);
    assert_int_equal(s.acked_pkts, 0);
    assert_int_equal(bwe_target_bps(b), START);
    bwe_free(b);
}

static void test_what_is_not_wanted_is_not_probed(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 3000000);
    bwe_want(w.b, 0);
    w.app_bps = 50000;
    run(&w, 30 * US_PER_S);
    assert_int_equal(stats(&w).probes, 0);
    assert_true(stats(&w).app_limited);
    bwe_want(w.b, 2500000);
    run(&w, 10 * US_PER_S);
    assert_true(stats(&w).probes > 0);
    assert_true(bwe_target_bps(w.b) > 1500000);
    bwe_free(w.b);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        uint64_t live = mem_live();

        mem_fail_after(n);
        struct bwe *b = bwe_new(&conf, 0);
        int wide = b ? bwe_widen(b) : 0;
        bool failed = mem_failed();
        mem_fail_never();
        assert_true(!failed || !b || wide == -ENOMEM);
        if (b) { /* it goes on with what it has */
            for (uint64_t i = 1; i < 3000; i++)
                assert_int_equal(bwe_sent(b, 1000, 0, i * MS), (uint16_t)i);
            assert_int_equal(bwe_widen(b), 0);
        }
        bwe_free(b);
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
    }
    bwe_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_finds_what_the_path_takes),
        cmocka_unit_test(test_it_follows_a_path_that_narrows),
        cmocka_unit_test(test_bounds_hold_on_a_path_without_end_and_one_of_nothing),
        cmocka_unit_test(test_random_loss_does_not_starve_it),
        cmocka_unit_test(test_every_other_feedback_is_enough),
        cmocka_unit_test(test_without_any_feedback_it_goes_down_to_the_least),
        cmocka_unit_test(test_nothing_sent_is_no_silence),
        cmocka_unit_test(test_remb_and_reports_steer_where_there_is_no_feedback),
        cmocka_unit_test(test_feedback_takes_over_from_reports),
        cmocka_unit_test(test_another_path_begins_anew),
        cmocka_unit_test(test_nonsense_is_counted_and_changes_nothing),
        cmocka_unit_test(test_what_is_not_wanted_is_not_probed),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

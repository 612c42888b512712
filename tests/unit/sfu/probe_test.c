/* probe.c: when a burst is sent, how high, and what its arrival shows.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS US_PER_MS

/* Sends the probe's packets of 500 bytes at its rate through a path of capacity bps with 40 ms of
 * delay; all feedback comes at the end. Returns what it showed. */
static struct probe_result burst(struct probe *p, const struct bwe_probe *b, double capacity,
                                 unsigned lose_each, uint64_t *now_us)
{
    double sent = (double)*now_us, free_at = 0;
    unsigned n = 0;

    for (size_t bytes = 0; bytes < b->bytes; bytes += 500, n++) {
        double at = sent > free_at ? sent : free_at;
        free_at = at + 500 * 8e6 / capacity;
        bool lost = lose_each && n % lose_each == 0;
        probe_told(p, b->cluster, 500, !lost, (int64_t)sent, (int64_t)free_at + 40000);
        sent += 500 * 8e6 / (double)b->bps;
    }
    *now_us = (uint64_t)sent + 150 * MS;
    return probe_result(p, 1.0, 0, *now_us);
}

static void test_nothing_is_probed_that_nobody_wants(void **state)
{
    struct probe p;
    struct bwe_probe b;

    (void)state;
    probe_init(&p, 0);
    assert_false(probe_start(&p, &b, 1e6, 0, 0, true, 1));
    assert_false(probe_start(&p, &b, 1e6, 1.04e6, 0, true, 1));
    assert_false(probe_start(&p, &b, 1e6, 2e6, 0, false, 1)); /* not calm */
    assert_true(probe_start(&p, &b, 1e6, 2e6, 0, true, 1));
    assert_false(probe_start(&p, &b, 1e6, 2e6, 0, true, 1)); /* one at a time */
    assert_in_range(b.bps, 2100000, 2300000);                /* not far beyond what is wanted */
    assert_true(b.cluster > 0 && b.min_pkts >= 5 && b.bytes >= 1000);
}

static void test_the_first_goes_high_and_on_while_it_gets_through(void **state)
{
    struct probe p;
    struct bwe_probe b;
    uint64_t now = 0;
    double bps = 500e3;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, bps, 10e6, 0, true, now));
    assert_in_range(b.bps, 1499000, 1501000);
    struct probe_result r = burst(&p, &b, 100e6, 0, &now);
    assert_true(r.done && r.got_through && !r.saturated);
    assert_in_range((uint64_t)r.bps, 1400000, 1600000);
    assert_true(probe_start(&p, &b, r.bps, 10e6, 0, true, now)); /* at once */
    assert_in_range(b.bps, 2800000, 3200000);
}

static void test_a_full_path_shows_what_it_takes(void **state)
{
    struct probe p;
    struct bwe_probe b;
    uint64_t now = 0;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, 500e3, 10e6, 0, true, now));
    struct probe_result r = burst(&p, &b, 700e3, 0, &now);
    assert_true(r.done && r.saturated && !r.got_through);
    assert_in_range((uint64_t)r.bps, 650000, 750000);
    assert_int_equal(p.failed, 1);
    assert_false(probe_start(&p, &b, 600e3, 10e6, 0, true, now + 2 * US_PER_S));
    assert_true(probe_start(&p, &b, 600e3, 10e6, 0, true, now + 5 * US_PER_S));
}

static void test_loss_is_not_taken_for_less_rate(void **state)
{
    struct probe p;
    struct bwe_probe b;
    uint64_t now = 0;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, 2e6, 10e6, 0, true, now));
    struct probe_result r = burst(&p, &b, 100e6, 10, &now);
    assert_true(r.done && r.got_through);
}

static void test_a_probe_that_is_not_told_of_fails(void **state)
{
    struct probe p;
    struct bwe_probe b;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, 0));
    assert_false(probe_result(&p, 1.0, 0, 1000 * MS).done);
    assert_true(probe_deadline(&p) <= 1500 * MS);
    struct probe_result r = probe_result(&p, 1.0, 0, 1500 * MS);
    assert_true(r.done && r.bps <= 0);
    assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, 2600 * MS));
}

static void test_jitter_and_merged_arrivals_show_nothing(void **state)
{
    struct probe p;
    struct bwe_probe b;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, 0));
    for (unsigned i = 0; i < 40; i++) /* all arrive within 2 ms */
        probe_told(&p, b.cluster, 500, true, (int64_t)i * 1300, 80000 + (int64_t)i * 50);
    assert_true(probe_result(&p, 1.0, 0, 200 * MS).bps <= 0);
    assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, 5000 * MS));
    for (unsigned i = 0; i < 40; i++)
        probe_told(&p, b.cluster, 500, true, (int64_t)i * 1300, 80000 + (int64_t)i * 1300);
    assert_true(probe_result(&p, 1.0, 100e3, 5200 * MS).bps <= 0);
}

static void test_others_packets_and_clusters_are_ignored(void **state)
{
    struct probe p;
    struct bwe_probe b;

    (void)state;
    probe_init(&p, 0);
    probe_told(&p, 0, 500, true, 0, 0);
    assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, 0));
    for (unsigned i = 0; i < 1000; i++)
        probe_told(&p, b.cluster + 1, 500, true, 0, 0);
    assert_false(probe_result(&p, 1.0, 0, 100 * MS).done);
}

static void test_mistaken_probes_get_longer_and_lower(void **state)
{
    struct probe p;
    struct bwe_probe a, b;
    uint64_t now = 0;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &a, 500e3, 10e6, 0, true, now));
    burst(&p, &a, 100e6, 0, &now);
    probe_raised(&p, now);
    probe_overused(&p, now + US_PER_S);
    now += 10 * US_PER_S;
    assert_true(probe_start(&p, &b, 500e3, 10e6, 0, true, now));
    assert_true(b.bytes > a.bytes);
    assert_true(b.bps < 750000);
    assert_int_not_equal(a.cluster, b.cluster);
}

static void test_after_a_fall_it_reaches_back(void **state)
{
    struct probe p;
    struct bwe_probe b;
    uint64_t now = 0;

    (void)state;
    probe_init(&p, 0);
    assert_true(probe_start(&p, &b, 500e3, 10e6, 0, true, now));
    burst(&p, &b, 600e3, 0, &now);
    now += 10 * US_PER_S;
    assert_true(probe_start(&p, &b, 1e6, 10e6, 2e6, true, now));
    assert_in_range(b.bps, 1690000, 1710000); /* 0.85 of it */
}

static void test_cluster_numbers_skip_zero(void **state)
{
    struct probe p;
    struct bwe_probe b;

    (void)state;
    probe_init(&p, 0);
    for (uint64_t i = 0; i < 600; i++) {
        uint64_t now = i * 10 * US_PER_S;
        assert_true(probe_start(&p, &b, 1e6, 10e6, 0, true, now));
        assert_in_range(b.cluster, 1, 255);
        probe_result(&p, 1.0, 0, now + 2 * US_PER_S);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_probed_that_nobody_wants),
        cmocka_unit_test(test_the_first_goes_high_and_on_while_it_gets_through),
        cmocka_unit_test(test_a_full_path_shows_what_it_takes),
        cmocka_unit_test(test_loss_is_not_taken_for_less_rate),
        cmocka_unit_test(test_a_probe_that_is_not_told_of_fails),
        cmocka_unit_test(test_jitter_and_merged_arrivals_show_nothing),
        cmocka_unit_test(test_others_packets_and_clusters_are_ignored),
        cmocka_unit_test(test_mistaken_probes_get_longer_and_lower),
        cmocka_unit_test(test_after_a_fall_it_reaches_back),
        cmocka_unit_test(test_cluster_numbers_skip_zero),
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}

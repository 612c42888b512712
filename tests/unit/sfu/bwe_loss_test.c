/* bwe_loss.c: radio loss limits nothing, loss of congestion does, and the two are told apart.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_loss.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "base/rand.h"

#define MS 1000

struct path {
    struct bwe_loss l;
    struct rand_src rnd;
    double inherent, capacity, delay_bps;
    int64_t now_us;
};

static void start(struct path *p, double inherent, double capacity, double bps)
{
    *p = (struct path){.inherent = inherent, .capacity = capacity, .delay_bps = bps};
    bwe_loss_init(&p->l);
    rand_src_init(&p->rnd, 11);
}

static bool hits(struct path *p, double part)
{
    return (double)rand_src_below(&p->rnd, 1000000) < part * 1e6;
}

/* Sends as much as both limits allow, the delay-based one growing by 5 % a second. Returns the mean
 * rate of the second half. */
static double run(struct path *p, double seconds)
{
    int64_t from = p->now_us, end = from + (int64_t)(seconds * 1e6), fb = from;
    double sum = 0, n = 0;

    while (p->now_us < end) {
        double bps = p->delay_bps < p->l.limit_bps ? p->delay_bps : p->l.limit_bps;
        double over = bps > p->capacity ? 1 - p->capacity / bps : 0;
        bwe_loss_packet(&p->l, p->now_us, 1000, hits(p, over) || hits(p, p->inherent));
        p->now_us += (int64_t)(8e9 / bps);
        if (p->now_us - fb > 50 * MS) {
            fb = p->now_us;
            bwe_loss_update(&p->l, p->delay_bps, p->now_us);
            if (p->delay_bps < 1.05 * p->l.limit_bps)
                p->delay_bps *= 1.0025;
            else if (!p->l.testing)
                p->delay_bps = 1.05 * p->l.limit_bps;
        }
        if (p->now_us > from + (end - from) / 2) {
            sum += bps;
            n++;
        }
    }
    return sum / n;
}

static void test_no_loss_no_limit(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0, 1e9, 1e6);
    run(&p, 20);
    assert_true(isinf(p.l.limit_bps));
    assert_true(p.l.inherent < 0.001);
}

static void test_radio_loss_does_not_starve(void **state)
{
    static const double part[] = {0.02, 0.05, 0.10, 0.20};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct path p;
        start(&p, part[i], 1e9, 1e6);
        double bps = run(&p, 30);
        assert_true(bps > 1e6);
        assert_true(fabs(p.l.inherent - part[i]) < 0.05);
    }
}

static void test_a_policer_is_found(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0, 1e6, 1.5e6);
    double bps = run(&p, 30);
    assert_true(bps > 0.9e6 && bps < 1.1e6);
}

static void test_a_policer_behind_radio_is_found(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0.05, 1e6, 1.5e6);
    double bps = run(&p, 30);
    assert_true(bps > 0.85e6 && bps < 1.2e6);
}

static void test_a_deep_fall_is_seen_in_half_a_second(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0, 1e9, 2.5e6);
    run(&p, 10);
    p.capacity = 5e5;
    run(&p, 0.6);
    assert_true(p.l.limit_bps < 1e6);
    double bps = run(&p, 10);
    assert_true(bps > 0.3e6 && bps < 0.6e6);
}

static void test_the_limit_is_lifted_when_the_path_recovers(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0, 1e6, 1.5e6);
    run(&p, 10);
    p.capacity = 1e9;
    run(&p, 15);
    assert_true(isinf(p.l.limit_bps) || p.l.limit_bps > 1.3e6);
}

static void test_packets_found_later_are_not_lost(void **state)
{
    struct bwe_loss l;

    (void)state;
    bwe_loss_init(&l);
    for (int64_t t = 0; t < 20000 * MS; t += 10 * MS) {
        bool late = t / (10 * MS) % 5 == 0;
        bwe_loss_packet(&l, t, 1000, late);
        if (t / (10 * MS) % 5 == 3)
            bwe_loss_found(&l);
        bwe_loss_update(&l, 1e6, t);
    }
    assert_true(l.recent < 0.05);
    assert_true(isinf(l.limit_bps));
    for (unsigned i = 0; i < 1000000; i++)
        bwe_loss_found(&l); /* more than ever were lost */
    assert_true(l._lost < 0 && l._lost >= -60000);
}

static void test_a_probe_raises_the_limit(void **state)
{
    struct path p;

    (void)state;
    start(&p, 0, 1e6, 1.5e6);
    run(&p, 10);
    assert_true(p.l.limit_bps < 1.2e6);
    bwe_loss_probed(&p.l, 2e6);
    assert_true(p.l.limit_bps >= 2e6);
    bwe_loss_probed(&p.l, 1e6);
    assert_true(p.l.limit_bps >= 2e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_loss_no_limit),
        cmocka_unit_test(test_radio_loss_does_not_starve),
        cmocka_unit_test(test_a_policer_is_found),
        cmocka_unit_test(test_a_policer_behind_radio_is_found),
        cmocka_unit_test(test_a_deep_fall_is_seen_in_half_a_second),
        cmocka_unit_test(test_the_limit_is_lifted_when_the_path_recovers),
        cmocka_unit_test(test_packets_found_later_are_not_lost),
        cmocka_unit_test(test_a_probe_raises_the_limit),
    };

    return cmocka_run_group_tests_name("bwe_loss", tests, NULL, NULL);
}

/* Tests of server/call_quality.c: reports into samples and sums, and what must hold whatever a
 * client says. SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_quality.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"
#include "proto/emodel.h"

#define SOON (100 * US_PER_S)
#define HOUR (3600 * US_PER_S)

/* Ten seconds of Opus at 32 kbit/s over a good path: 84 ms round trip, 60 ms buffer, no loss. */
static struct sig_quality good(void)
{
    return (struct sig_quality){.interval_ms = 10000,
                                .has = SIG_QUALITY_RTT | SIG_QUALITY_JITTER | SIG_QUALITY_BUFFER |
                                       SIG_QUALITY_RECEIVED | SIG_QUALITY_LOST |
                                       SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS,
                                .rtt_ms = 84,
                                .jitter_ms = 5,
                                .buffer_ms = 60,
                                .received = 500,
                                .samples = 480000,
                                .in_bps = 32000,
                                .voice = SIG_VOICE_OPUS,
                                .route = SIG_ROUTE_P2P};
}

static struct call_sample judged(const struct sig_quality *q)
{
    struct call_leg leg = {.samples = 0};
    struct call_sample s;

    call_leg_add(&leg, q, 20, SOON, &s);
    return s;
}

static void near(double got, double want, double by)
{
    if (!(fabs(got - want) <= by))
        fail_msg("%.4f instead of %.4f", got, want);
}

static void test_a_sample_is_the_emodels(void **state)
{
    struct sig_quality q = good();
    struct emodel_path p = {.codec = EMODEL_OPUS, .bps = 32000, .delay_ms = 42 + 60 + 26.5 + 20};

    (void)state;
    struct call_sample s = judged(&q);
    assert_true(s.judged);
    near(s.r, emodel_path_r(&p), 1e-9);
    near(s.mos, emodel_mos(s.r), 1e-9);
    assert_int_equal(s.interval_ms, 10000);
    assert_int_equal(s.route, SIG_ROUTE_P2P);
    q.concealed = 4800; /* 1 %, in five runs of one frame each */
    q.concealments = 5;
    p.loss = 0.01;
    s = judged(&q);
    near(s.r, emodel_path_r(&p), 1e-9);
    near(s.burst_ratio, 1, 1e-9);
    q.concealments = 1; /* five frames in a row */
    p.burst_ratio = 5 * 0.99;
    s = judged(&q);
    near(s.r, emodel_path_r(&p), 1e-9);
}

/* With G.711 the model is G.107's own: the figures of its tables must come out of a report. */
static void test_reference_points_come_out_of_reports(void **state)
{
    static const double loss[][2] = {{0, 90.66}, {1, 87.02}, {2, 83.65}, {5, 74.88}, {10, 63.59}};
    struct sig_quality q = {.interval_ms = 10000,
                            .has = SIG_QUALITY_RTT | SIG_QUALITY_BUFFER | SIG_QUALITY_RECEIVED,
                            .rtt_ms = 80, /* 40 + 20 + frame 20 + devices 20 = 100 ms */
                            .buffer_ms = 20,
                            .voice = SIG_VOICE_PCMU};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(loss); i++) {
        q.lost = (uint32_t)(loss[i][0] * 10);
        q.received = 1000 - q.lost;
        near(judged(&q).r, loss[i][1], 0.05);
    }
}

static void test_delay_counts_what_is_known(void **state)
{
    struct sig_quality q = good();
    struct call_leg leg = {.samples = 0};
    struct call_sample s;

    (void)state;
    call_leg_add(&leg, &q, 20, SOON, &s);
    q.has &= ~(unsigned)SIG_QUALITY_RTT; /* this time it is not known: as before */
    q.rtt_ms = 0;
    call_leg_add(&leg, &q, 20, SOON, &s);
    assert_int_equal(s.rtt_ms, 84);
    q = good();
    double r = judged(&q).r;
    q.has &= ~(unsigned)SIG_QUALITY_BUFFER; /* guessed from the jitter: 20 + 2 * 5 */
    assert_int_equal(judged(&q).buffer_ms, 30);
    assert_true(judged(&q).r > r);
    q = good();
    q.frame_ms = 60;
    assert_true(judged(&q).r < r);
    call_leg_begin(&leg, 0);
    call_leg_add(&leg, &q, 220, SOON, &s);
    assert_true(s.r < judged(&q).r);
}

static void test_without_concealment_packets_are_judged(void **state)
{
    struct sig_quality q = good();

    (void)state;
    q.has &= ~(unsigned)(SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS);
    q.received = 450;
    q.lost = 50;
    double plain = judged(&q).r;
    near(judged(&q).loss, 0.1, 1e-9);
    q.fec = true; /* the next packet brings it back */
    assert_true(judged(&q).r > plain + 5);
    q.received = 0;
    q.lost = 500;
    near(judged(&q).loss, 1, 1e-9);
    assert_true(judged(&q).mos < 1.4);
}

static void test_opus_is_judged_by_the_rate_it_was_sent_at(void **state)
{
    struct sig_quality q = good();

    (void)state;
    double r = judged(&q).r;
    q.in_bps = 12000;
    assert_true(judged(&q).r < r);
    q.dtx = true; /* the pauses were left out: nothing can be said */
    near(judged(&q).r, r, 1e-9);
    q.max_bps = 12000;
    assert_true(judged(&q).r < r);
    q = good();
    q.voice = SIG_VOICE_RED;
    q.in_bps = 64000; /* sent twice: no better for that */
    near(judged(&q).r, r, 1e-9);
}

static void test_nothing_that_came_is_silence_not_quality(void **state)
{
    struct sig_quality q = good();
    struct call_leg leg = {.samples = 0};
    struct call_leg_sum sum;
    struct call_sample s;

    (void)state;
    q.received = 0;
    call_leg_add(&leg, &q, 20, SOON, &s);
    assert_false(s.judged);
    assert_int_equal(s.silence_ms, 10000);
    q.has |= SIG_QUALITY_SILENCE; /* the other side was muted */
    call_leg_add(&leg, &q, 20, SOON, &s);
    assert_int_equal(s.silence_ms, 0);
    q = good();
    q.has |= SIG_QUALITY_SILENCE;
    q.silence_ms = 3000;
    call_leg_add(&leg, &q, 20, SOON, &s);
    assert_true(s.judged);
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.samples, 1);
    assert_int_equal(sum.silence_ms, 13000);
}

static void test_what_is_to_blame(void **state)
{
    struct sig_quality q = good();

    (void)state;
    q.concealed = 48000;
    assert_int_equal(judged(&q).blame, CALL_BLAME_LOSS);
    q = good();
    q.rtt_ms = 900;
    assert_int_equal(judged(&q).blame, CALL_BLAME_DELAY);
    q = (struct sig_quality){.interval_ms = 1000,
                             .has = SIG_QUALITY_RECEIVED | SIG_QUALITY_BUFFER,
                             .received = 50,
                             .in_bps = 6000,
                             .voice = SIG_VOICE_OPUS};
    struct call_leg leg = {.samples = 0};
    struct call_sample s;
    call_leg_add(&leg, &q, 0, SOON, &s);
    assert_int_equal(s.blame, CALL_BLAME_CODEC);
    assert_string_equal(call_blame_name(CALL_BLAME_DELAY), "delay");
    assert_string_equal(call_blame_name((enum call_blame)77), "");
}

static void test_sums_are_over_time(void **state)
{
    struct call_leg leg;
    struct call_leg_sum sum;

    (void)state;
    call_leg_begin(&leg, 0);
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.samples | sum.avg_milli | sum.p10_milli | sum.min_milli, 0);
    call_leg_add_mos(&leg, 4200, 89000);
    call_leg_add_mos(&leg, 2000, 1000);
    call_leg_add_mos(&leg, 3100, 10000);
    call_leg_add_mos(&leg, 1000, 0); /* held for no time */
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.samples, 3);
    assert_int_equal(sum.avg_milli, (4200 * 89 + 2000 + 3100 * 10) / 100);
    assert_int_equal(sum.p10_milli, 3100);
    assert_int_equal(sum.min_milli, 2000);
    call_leg_begin(&leg, 0);
    call_leg_add_mos(&leg, 4237, 5000); /* p10 is no finer than 0.05, but never below the lowest */
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.p10_milli, 4237);
    call_leg_add_mos(&leg, 0, 5000);
    call_leg_add_mos(&leg, UINT32_MAX, UINT32_MAX);
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.min_milli, 1000);
    assert_in_range(sum.avg_milli, 4490, 4500);
}

static void test_figures_are_means_over_time_of_what_was_told(void **state)
{
    struct sig_quality q = good();
    struct call_leg leg;
    struct call_leg_sum sum;
    struct call_sample s;

    (void)state;
    call_leg_begin(&leg, 0);
    call_leg_add(&leg, &q, 20, SOON, &s);
    q.interval_ms = 30000;
    q.rtt_ms = 164;
    q.jitter_ms = 25;
    q.concealed = 19200;
    q.concealments = 20;
    q.route = SIG_ROUTE_UNKNOWN; /* stays what it was */
    call_leg_add(&leg, &q, 20, SOON, &s);
    q.has = SIG_QUALITY_RECEIVED | SIG_QUALITY_CONCEALED;
    call_leg_add(&leg, &q, 20, SOON, &s);
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.rtt_ms, 144);
    assert_int_equal(sum.jitter_ms, 20);
    assert_int_equal(sum.loss_permille, 34); /* 40 of 60 s in 70 */
    assert_int_equal(sum.worst, CALL_BLAME_LOSS);
    assert_int_equal(leg.route, SIG_ROUTE_P2P);
}

static void test_reports_cover_no_more_than_the_time_that_has_passed(void **state)
{
    struct sig_quality q = good();
    struct call_leg leg;
    struct call_leg_sum sum;
    struct call_sample s;

    (void)state;
    call_leg_begin(&leg, HOUR);
    call_leg_add(&leg, &q, 20, HOUR + US_PER_S, &s); /* ten seconds, a second after the answer */
    assert_int_equal(s.interval_ms, 3000);
    assert_int_equal(s.clamped, 1);
    call_leg_add(&leg, &q, 20, HOUR + US_PER_S, &s);
    assert_int_equal(s.interval_ms, 0);
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.samples, 1);
    call_leg_add(&leg, &q, 20, HOUR - US_PER_S, &s); /* never before its beginning */
    assert_int_equal(s.interval_ms, 0);
    for (int i = 1; i <= 6; i++) { /* what waited for a connection comes at once */
        call_leg_add(&leg, &q, 20, HOUR + 61 * US_PER_S, &s);
        assert_int_equal(s.interval_ms, 10000);
    }
    call_leg_sum(&leg, &sum);
    assert_int_equal(sum.samples, 7);
}

/* ---- properties ---- */

static struct sig_quality any(struct rand_src *s)
{
    struct sig_quality q = {.interval_ms = 1 + (uint32_t)rand_src_below(s, 60000),
                            .has = (unsigned)rand_src_below(s, 512),
                            .rtt_ms = (uint32_t)rand_src_below(s, 10001),
                            .jitter_ms = (uint32_t)rand_src_below(s, 10001),
                            .buffer_ms = (uint32_t)rand_src_below(s, 10001),
                            .received = (uint32_t)rand_src_below(s, 120001),
                            .lost = (uint32_t)rand_src_below(s, 120001),
                            .samples = 1 + (uint32_t)rand_src_below(s, 6000000),
                            .silence_ms = (uint32_t)rand_src_below(s, 60001),
                            .in_bps = (uint32_t)rand_src_below(s, 2000001),
                            .max_bps = (uint32_t)rand_src_below(s, 2000001),
                            .frame_ms = (uint32_t)rand_src_below(s, 121),
                            .voice = (enum sig_voice)rand_src_below(s, SIG_VOICE_COUNT),
                            .route = (enum sig_route)rand_src_below(s, SIG_ROUTE_COUNT),
                            .fec = rand_src_below(s, 2) == 0,
                            .dtx = rand_src_below(s, 2) == 0};

    q.concealed = (uint32_t)rand_src_below(s, q.samples + UINT64_C(1));
    q.concealments = (uint32_t)rand_src_below(s, q.concealed + UINT64_C(1));
    if (rand_src_below(s, 4) == 0)
        q.received = q.lost = 0;
    return q;
}

static void test_no_report_gives_a_figure_that_is_none(void **state)
{
    struct rand_src src;
    struct call_leg leg;

    (void)state;
    rand_src_init(&src, 7);
    call_leg_begin(&leg, 0);
    for (unsigned n = 0; n < 100000; n++) {
        struct sig_quality q = any(&src);
        struct call_leg_sum sum;
        struct call_sample s;
        if (n % 500 == 0)
            call_leg_begin(&leg, 0);
        call_leg_add(&leg, &q, (unsigned)rand_src_below(&src, 500), HOUR * (n % 500), &s);
        assert_true(s.r >= 0 && s.r <= 100 && s.loss >= 0 && s.loss <= 1);
        assert_true(!s.judged || (s.mos >= 1 && s.mos <= 4.5));
        assert_true(!s.judged || (s.burst_ratio >= 1 && s.burst_ratio <= EMODEL_BURST_MAX));
        assert_true(s.silence_ms <= s.interval_ms && s.interval_ms <= q.interval_ms);
        call_leg_sum(&leg, &sum);
        if (sum.samples == 0)
            continue;
        assert_in_range(sum.min_milli, 1000, 4500);
        assert_in_range(sum.avg_milli, sum.min_milli, 4500);
        assert_in_range(sum.p10_milli, sum.min_milli, 4500);
        assert_in_range(sum.loss_permille, 0, 1000);
    }
}

static void test_worse_reports_are_never_better(void **state)
{
    struct rand_src src;

    (void)state;
    rand_src_init(&src, 11);
    for (unsigned n = 0; n < 50000; n++) {
        struct sig_quality q = any(&src), worse;
        struct call_sample s = judged(&q);
        if (!s.judged)
            continue;
        worse = q;
        worse.rtt_ms += (uint32_t)rand_src_below(&src, 500);
        assert_true(judged(&worse).r <= s.r + 1e-9);
        worse = q;
        worse.buffer_ms += (uint32_t)rand_src_below(&src, 500);
        assert_true(judged(&worse).r <= s.r + 1e-9);
        worse = q;
        worse.jitter_ms += (uint32_t)rand_src_below(&src, 500);
        assert_true(judged(&worse).r <= s.r + 1e-9);
        worse = q;
        worse.has &= ~(unsigned)SIG_QUALITY_CONCEALMENTS; /* bursts are another matter */
        double r = judged(&worse).r;
        worse.concealed += (uint32_t)rand_src_below(&src, worse.samples - worse.concealed + 1);
        worse.lost += (uint32_t)rand_src_below(&src, 1000);
        assert_true(judged(&worse).r <= r + 1e-9);
        worse = q;
        worse.concealments = worse.concealments / 2 + (worse.concealments > 0); /* longer runs */
        assert_true(judged(&worse).r <= s.r + 1e-9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sample_is_the_emodels),
        cmocka_unit_test(test_reference_points_come_out_of_reports),
        cmocka_unit_test(test_delay_counts_what_is_known),
        cmocka_unit_test(test_without_concealment_packets_are_judged),
        cmocka_unit_test(test_opus_is_judged_by_the_rate_it_was_sent_at),
        cmocka_unit_test(test_nothing_that_came_is_silence_not_quality),
        cmocka_unit_test(test_what_is_to_blame),
        cmocka_unit_test(test_sums_are_over_time),
        cmocka_unit_test(test_figures_are_means_over_time_of_what_was_told),
        cmocka_unit_test(test_reports_cover_no_more_than_the_time_that_has_passed),
        cmocka_unit_test(test_no_report_gives_a_figure_that_is_none),
        cmocka_unit_test(test_worse_reports_are_never_better),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

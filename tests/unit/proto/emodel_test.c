/* emodel.c: ITU-T G.107's figures, and what must hold whatever goes in.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/emodel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

#define R_NEAR 0.05

static void near(double got, double want, double by)
{
    if (!(fabs(got - want) <= by))
        fail_msg("%.3f instead of %.3f", got, want);
}

static double r_of(enum emodel_codec codec, double loss_pct, double delay_ms)
{
    struct emodel_path p = {.codec = codec, .loss = loss_pct / 100, .delay_ms = delay_ms};

    return emodel_path_r(&p);
}

static void test_defaults_give_93_2(void **state)
{
    (void)state;
    near(emodel_r(&emodel_defaults), 93.206, 0.005);
    near(emodel_mos(emodel_r(&emodel_defaults)), 4.409, 0.001);
}

/* Figures of a second implementation (Python, written from the Recommendation's formulas). */
static void test_each_parameter_counts_as_g107_says(void **state)
{
    static const struct {
        double r;
        struct emodel m; /* 0: the default */
    } v[] = {
        {50.320, {.ps = 70, .pr = 70}},
        {76.562, {.slr = 14, .rlr = 8}},
        {80.823, {.slr = 1e-12, .rlr = -4}},
        {85.147, {.stmr = 5, .t = 30, .telr = 45}},
        {87.666, {.stmr = 25, .lstr = 28, .t = 20, .telr = 50}},
        {69.886, {.telr = 40, .t = 60, .ta = 60, .tr = 120}},
        {92.049, {.t = 1, .telr = 30}},
        {50.135, {.wepl = 15, .tr = 300}},
        {84.577, {.qdu = 6}},
        {69.179, {.nc = -45}},
        {66.309, {.nfor = -45}},
        {59.123,
         {.ie = 12, .bpl = 17, .ppl = 4, .burst_r = 1.7, .ta = 220, .t = 220, .tr = 440, .a = 5}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct emodel m = emodel_defaults;
        double *to = (double *)&m;
        const double *from = (const double *)&v[i].m;
        for (size_t k = 0; k < sizeof(m) / sizeof(*to); k++)
            to[k] = from[k] != 0 ? from[k] : to[k];
        near(emodel_r(&m), v[i].r, 0.001);
    }
}

static void test_delay_reference_points(void **state)
{
    static const double v[][3] = {{0, 93.21, 4.41},   {50, 91.76, 4.38},    {100, 90.66, 4.35},
                                  {150, 89.54, 4.33}, {177.3, 88.05, 4.29}, {200, 85.80, 4.22},
                                  {250, 79.18, 3.99}, {300, 72.67, 3.72},   {400, 62.25, 3.22},
                                  {500, 54.80, 2.83}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        double r = r_of(EMODEL_G711, 0, v[i][0]);
        near(r, v[i][1], R_NEAR);
        near(emodel_mos(r), v[i][2], 0.006);
    }
}

static void test_loss_reference_points(void **state)
{
    static const double pct[] = {1, 2, 3, 5, 10, 20};
    static const struct {
        enum emodel_codec codec;
        double r[6];
    } v[] = {
        {EMODEL_G711, {75.28, 63.05, 54.17, 42.13, 26.77, 15.02}},
        {EMODEL_G711_PLC, {89.57, 86.20, 83.06, 77.43, 66.14, 51.08}},
        {EMODEL_G729A, {78.01, 74.21, 70.75, 64.71, 53.24, 39.13}},
        {EMODEL_G723, {73.53, 69.37, 65.64, 59.25, 47.55, 33.88}},
        {EMODEL_GSM_EFR, {80.02, 73.21, 67.44, 58.21, 43.21, 28.21}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        for (size_t k = 0; k < ARRAY_LEN(pct); k++)
            near(r_of(v[i].codec, pct[k], 0), v[i].r[k], R_NEAR);
    near(r_of(EMODEL_G729A, 0, 0), 82.21, R_NEAR);
    near(r_of(EMODEL_G711_PLC, 1, 150), 85.90, R_NEAR);
    near(emodel_mos(r_of(EMODEL_G711_PLC, 1, 150)), 4.23, 0.006);
    struct emodel_path burst = {.codec = EMODEL_G729A, .loss = 0.02, .burst_ratio = 2};
    near(emodel_path_r(&burst), 73.81, R_NEAR);
}

static void test_mos_reference_points(void **state)
{
    static const double v[][2] = {{10, 1.035}, {20, 1.252},   {30, 1.609}, {40, 2.064},
                                  {50, 2.575}, {60, 3.100},   {70, 3.597}, {80, 4.024},
                                  {90, 4.339}, {93.2, 4.409}, {100, 4.5},  {-5, 1},
                                  {120, 4.5},  {3.22, 1},     {NAN, 1},    {INFINITY, 4.5}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        near(emodel_mos(v[i][0]), v[i][1], 0.0006);
}

static void test_opus_follows_the_published_fit(void **state)
{
    static const struct {
        uint32_t bps;
        double pct, mos;
    } v[] = {
        {13000, 0, 4.18}, {13000, 1, 4.09}, {13000, 3, 3.90}, {13000, 5, 3.72}, {13000, 10, 3.34}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct emodel_path p = {.codec = EMODEL_OPUS, .bps = v[i].bps, .loss = v[i].pct / 100};
        near(emodel_mos(emodel_path_r(&p)), v[i].mos, 0.006);
    }
    double before = 0; /* without loss more bits are never worse */
    for (uint32_t bps = 1000; bps < 100000; bps += 500) {
        struct emodel_path p = {.codec = EMODEL_OPUS, .bps = bps};
        double r = emodel_path_r(&p);
        assert_true(r >= before - 1e-9);
        before = r;
    }
}

/* A parameter that takes R down when it rises. */
static void falls(double *at, const struct emodel *m, double from, double to)
{
    double before = INFINITY;

    for (int i = 0; i <= 400; i++) {
        *at = from + (to - from) * i / 400;
        double r = emodel_r(m);
        assert_true(isfinite(r) && r >= 0 && r <= 100);
        assert_true(r <= before + 1e-9);
        before = r;
    }
}

static void test_each_impairment_impairs(void **state)
{
    struct emodel m = emodel_defaults;

    (void)state;
    falls(&m.ta, &m, 0, 3000);
    m = emodel_defaults;
    falls(&m.tr, &m, 0, 3000);
    m = emodel_defaults;
    m.ppl = 0;
    falls(&m.ppl, &m, 0, 100);
    m = emodel_defaults;
    falls(&m.ie, &m, 0, 95);
    m = emodel_defaults;
    m.ppl = 3;
    falls(&m.burst_r, &m, 1, 8);
    m = emodel_defaults;
    falls(&m.nc, &m, -80, -40);
    m = emodel_defaults;
    falls(&m.ps, &m, 35, 85);
    m = emodel_defaults;
    falls(&m.qdu, &m, 1, 14);
    m = emodel_defaults;
    m.t = 100;
    falls(&m.telr, &m, 65, 5);
    m = emodel_defaults;
    m.tr = 200;
    falls(&m.wepl, &m, 110, 5);
}

static double any(struct rand_src *s)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0, -1, 1e308, -1e308, 5e-324};
    unsigned i = (unsigned)rand_src_below(s, 24);

    return i < ARRAY_LEN(odd) ? odd[i] : ((double)rand_src_below(s, 2000001) - 1000000) / 1000;
}

static void test_any_input_gives_a_finite_result(void **state)
{
    struct rand_src s;

    (void)state;
    rand_src_init(&s, 107);
    for (int n = 0; n < 200000; n++) {
        struct emodel m;
        double *v = (double *)&m;
        for (size_t i = 0; i < sizeof(m) / sizeof(*v); i++)
            v[i] = rand_src_below(&s, 3) ? ((const double *)&emodel_defaults)[i] : any(&s);
        double r = emodel_r(&m), mos = emodel_mos(r);
        assert_true(r >= 0 && r <= 100 && mos >= 1 && mos <= 4.5);
        struct emodel_path p = {.codec = (enum emodel_codec)rand_src_below(&s, 9),
                                .bps = (uint32_t)rand_src_u64(&s),
                                .loss = any(&s),
                                .burst_ratio = any(&s),
                                .delay_ms = any(&s),
                                .copies = (unsigned)rand_src_below(&s, 4)};
        r = emodel_path_r(&p);
        assert_true(r >= 0 && r <= 100);
    }
}

static void test_more_loss_or_delay_is_never_better(void **state)
{
    struct rand_src s;

    (void)state;
    rand_src_init(&s, 3);
    for (int n = 0; n < 100000; n++) {
        struct emodel_path p = {.codec = (enum emodel_codec)rand_src_below(&s, EMODEL_CODEC_COUNT),
                                .bps = (uint32_t)rand_src_below(&s, 64000),
                                .loss = (double)rand_src_below(&s, 1001) / 1000,
                                .burst_ratio = 1 + (double)rand_src_below(&s, 70) / 10,
                                .delay_ms = (double)rand_src_below(&s, 1500),
                                .copies = (unsigned)rand_src_below(&s, 3)};
        struct emodel_path worse = p;
        worse.loss += (double)rand_src_below(&s, 200) / 1000;
        assert_true(emodel_path_r(&worse) <= emodel_path_r(&p) + 1e-9);
        worse.delay_ms += (double)rand_src_below(&s, 500);
        assert_true(emodel_path_r(&worse) <= emodel_path_r(&p) + 1e-9);
        worse = p;
        worse.burst_ratio += 0.5;
        assert_true(emodel_path_r(&worse) <= emodel_path_r(&p) + 1e-9);
        worse = p;
        worse.copies++; /* better */
        assert_true(emodel_path_r(&worse) >= emodel_path_r(&p) - 1e-9);
    }
}

static void test_copies_repair_single_losses_not_long_runs(void **state)
{
    (void)state;
    near(emodel_residual_loss(0.1, 1, 0), 0.1, 1e-12);
    near(emodel_residual_loss(0.1, 1, 1), 0.01, 1e-12); /* random: both must be lost */
    near(emodel_residual_loss(0.1, 1, 2), 0.001, 1e-12);
    near(emodel_residual_loss(0.1, 3, 1), 0.07, 1e-12); /* runs of 3.33: one of them comes back */
    near(emodel_residual_loss(1, 1, 2), 1, 1e-12);
    near(emodel_residual_loss(NAN, NAN, 1), 0, 1e-12);
}

static void test_burst_ratio(void **state)
{
    (void)state;
    near(emodel_burst_ratio(100, 0, 0), 1, 0);
    near(emodel_burst_ratio(0, 0, 0), 1, 0);
    near(emodel_burst_ratio(100, 100, 1), 1, 0);
    near(emodel_burst_ratio(100, 10, 9), 1, 1e-9);   /* as random loss of 10 % */
    near(emodel_burst_ratio(100, 10, 10), 1, 1e-9);  /* sparser: not told from random */
    near(emodel_burst_ratio(100, 10, 2), 4.5, 1e-9); /* five in a row */
    near(emodel_burst_ratio(1000, 100, 1), EMODEL_BURST_MAX, 0);
}

static void test_delay_adds_up(void **state)
{
    (void)state;
    near(emodel_delay_ms(EMODEL_OPUS, 80000, 40000), 40 + 40 + 26.5 + 20, 1e-9);
    near(emodel_delay_ms(EMODEL_G711, 0, 0), 40, 1e-9);
    assert_true(emodel_delay_ms(EMODEL_OPUS, UINT64_MAX, UINT64_MAX) <= 10000);
    assert_int_equal(emodel_buffer_us(0), 20000);
    assert_int_equal(emodel_buffer_us(30000), 80000);
    assert_int_equal(emodel_buffer_us(UINT64_MAX), 500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_give_93_2),
        cmocka_unit_test(test_each_parameter_counts_as_g107_says),
        cmocka_unit_test(test_delay_reference_points),
        cmocka_unit_test(test_loss_reference_points),
        cmocka_unit_test(test_mos_reference_points),
        cmocka_unit_test(test_opus_follows_the_published_fit),
        cmocka_unit_test(test_each_impairment_impairs),
        cmocka_unit_test(test_any_input_gives_a_finite_result),
        cmocka_unit_test(test_more_loss_or_delay_is_never_better),
        cmocka_unit_test(test_copies_repair_single_losses_not_long_runs),
        cmocka_unit_test(test_burst_ratio),
        cmocka_unit_test(test_delay_adds_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

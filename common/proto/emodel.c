/* The E-model (ITU-T G.107, 06/2015) and a table of codecs.
 *
 * Called by sfu/link_quality.c. Pure. Equation numbers are G.107's. Sources of the codec table:
 * G.113 appendix I for the ITU-T codecs; for Opus the fit of Al-Ahmadi et al. (ACM,
 * doi 10.1145/3458751) for random loss. That fit comes from three bands, each with a scale of its
 * own, and does not grow with the bit rate where two of them meet; the points kept here are those
 * that no smaller bit rate surpasses. Its values for bursty loss are not used: the burst ratio is
 * in the formula. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/emodel.h"

#include <math.h>

#define DELAY_MAX_MS      10000.0
#define BUFFER_MAX_US     500000
#define BUFFER_FRAME_US   20000
#define LOSS_CONSTANT     95.0  /* G.107 (7-29), G.107.1 */
#define LOSS_CONSTANT_FB  132.0 /* G.107.2 */
#define SCALE_WB          1.29
#define SCALE_FB          1.48
#define R_MAX             100.0
#define MOS_MAX           4.5
#define DEFAULT_DELAY_CLS 1.0
#define DEFAULT_DELAY_MIN 100.0

const struct emodel emodel_defaults = {
    .slr = 8,
    .rlr = 2,
    .stmr = 15,
    .lstr = 18,
    .ds = 3,
    .dr = 3,
    .telr = 65,
    .wepl = 110,
    .qdu = 1,
    .bpl = 4.3,
    .burst_r = 1,
    .nc = -70,
    .nfor = -64,
    .ps = 35,
    .pr = 35,
    .st = DEFAULT_DELAY_CLS,
    .mt = DEFAULT_DELAY_MIN,
};

static double within(double v, double low, double high, double otherwise)
{
    if (isnan(v))
        return otherwise;
    return v < low ? low : v > high ? high : v;
}

/* Only what keeps every formula finite; G.107's own ranges are narrower. */
static struct emodel sane(const struct emodel *m)
{
    const struct emodel *d = &emodel_defaults;

    return (struct emodel){
        .slr = within(m->slr, -50, 100, d->slr),
        .rlr = within(m->rlr, -50, 100, d->rlr),
        .stmr = within(m->stmr, -20, 100, d->stmr),
        .lstr = within(m->lstr, -20, 100, d->lstr),
        .ds = within(m->ds, -20, 20, d->ds),
        .dr = within(m->dr, -20, 20, d->dr),
        .telr = within(m->telr, -20, 150, d->telr),
        .wepl = within(m->wepl, -6, 200, d->wepl),
        .t = within(m->t, 0, DELAY_MAX_MS, d->t),
        .tr = within(m->tr, 0, 2 * DELAY_MAX_MS, d->tr),
        .ta = within(m->ta, 0, DELAY_MAX_MS, d->ta),
        .qdu = within(m->qdu, 1, 100, d->qdu),
        .ie = within(m->ie, 0, LOSS_CONSTANT, d->ie),
        .bpl = within(m->bpl, 1, 200, d->bpl),
        .ppl = within(m->ppl, 0, 100, d->ppl),
        .burst_r = within(m->burst_r, 1, EMODEL_BURST_MAX, d->burst_r),
        .nc = within(m->nc, -120, 0, d->nc),
        .nfor = within(m->nfor, -120, 0, d->nfor),
        .ps = within(m->ps, 0, 120, d->ps),
        .pr = within(m->pr, 0, 120, d->pr),
        .a = within(m->a, 0, 20, d->a),
        .st = within(m->st, 0.1, 3, d->st),
        .mt = within(m->mt, 20, 1000, d->mt),
    };
}

static double power(double db)
{
    return pow(10, db / 10);
}

static double square(double v)
{
    return v * v;
}

/* All noise at 0 dBr, (7-3) to (7-7). */
static double noise(const struct emodel *m)
{
    double olr = m->slr + m->rlr;
    double nos = m->ps - m->slr - m->ds - 100 + 0.004 * square(m->ps - olr - m->ds - 14);
    double pre = m->pr + 10 * log10(1 + power(10 - m->lstr));
    double nor = m->rlr - 121 + pre + 0.008 * square(pre - 35);
    double nfo = m->nfor + m->rlr;

    return 10 * log10(power(m->nc) + power(nos) + power(nor) + power(nfo));
}

/* Sidetone that is not as it should be, (7-11), (7-12). */
static double sidetone(const struct emodel *m)
{
    double stmro = -10 * log10(power(-m->stmr) + exp(-m->t / 4) * power(-m->telr));

    return 12 * pow(1 + pow((stmro - 13) / 6, 8), 1.0 / 8) -
           28 * pow(1 + pow(fmax((stmro + 1) / 19.4, 0), 35), 1.0 / 35) -
           13 * pow(1 + pow(fmax((stmro - 3) / 33, -0.99), 13), 1.0 / 13) + 29;
}

/* Is: what comes along with the voice, (7-8) to (7-17). */
static double simultaneous(const struct emodel *m, double ro, double no, double ist)
{
    double x = m->slr + m->rlr + 0.2 * (64 + no - m->rlr);
    double iolr = 20 * (pow(1 + pow(x / 8, 8), 1.0 / 8) - x / 8);
    double q = 37 - 15 * log10(m->qdu);
    double g = 1.07 + 0.258 * q + 0.0602 * square(q);
    double y = (ro - 100) / 15 + 46 / 8.4 - g / 9;
    double z = 46.0 / 30 - g / 40;

    return iolr + ist + 15 * log10(1 + pow(10, y) + pow(10, z));
}

/* Idd: delay alone, without any echo, (7-27), (7-28). */
static double long_delay(const struct emodel *m)
{
    double e = 6 * m->st;

    if (m->ta <= m->mt)
        return 0;
    double x = log2(m->ta / m->mt);
    return 25 * (pow(1 + pow(x, e), 1 / e) - 3 * pow(1 + pow(x / 3, e), 1 / e) + 2);
}

/* Id: echo and delay, (7-18) to (7-28). */
static double delayed(const struct emodel *m, double ro, double no, double ist)
{
    double terv =
        m->telr - 40 * log10((1 + m->t / 10) / (1 + m->t / 150)) + 6 * exp(-0.3 * square(m->t));

    if (m->stmr < 9)
        terv += ist / 2;
    double roe = -1.5 * (no - m->rlr), re = 80 + 2.5 * (terv - 14);
    double idte = ((roe - re) / 2 + sqrt(square(roe - re) / 4 + 100) - 1) * (1 - exp(-m->t));
    if (m->stmr > 20)
        idte = sqrt(square(idte) + square(ist));
    double rle = 10.5 * (m->wepl + 7) * pow(m->tr + 1, -0.25);
    double idle = (ro - rle) / 2 + sqrt(square(ro - rle) / 4 + 169);
    return idte + idle + long_delay(m);
}

/* Ie,eff: the codec, and what is lost of it (7-29); ppl in percent. */
static double equipment(double ie, double bpl, double ppl, double burst_r, double constant)
{
    return ie + (constant - ie) * ppl / (ppl / burst_r + bpl);
}

double emodel_r(const struct emodel *of)
{
    struct emodel m = sane(of);
    double no = noise(&m), ro = 15 - 1.5 * (m.slr + no), ist = sidetone(&m);
    double r = ro - simultaneous(&m, ro, no, ist) - delayed(&m, ro, no, ist) -
               equipment(m.ie, m.bpl, m.ppl, m.burst_r, LOSS_CONSTANT) + m.a;

    return within(r, 0, R_MAX, 0);
}

double emodel_mos(double r)
{
    r = within(r, 0, R_MAX, 0);
    double mos = 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6;
    return within(mos, 1, MOS_MAX, 1);
}

/* ---- codecs ---- */

enum band { BAND_NARROW, BAND_WIDE, BAND_FULL };

struct point {
    uint32_t bps; /* Opus */
    enum band band;
    double ie, bpl;
};

static const struct point itu[EMODEL_OPUS] = {
    [EMODEL_G711] = {0, BAND_NARROW, 0, 4.3},     [EMODEL_G711_PLC] = {0, BAND_NARROW, 0, 25.1},
    [EMODEL_G729A] = {0, BAND_NARROW, 11, 19.0},  [EMODEL_G723] = {0, BAND_NARROW, 15, 16.1},
    [EMODEL_GSM_EFR] = {0, BAND_NARROW, 5, 10.0},
};

static const struct point opus[] = {
    {6000, BAND_NARROW, 23.0, 24.6},  {9000, BAND_NARROW, 11.74, 18.91},
    {13000, BAND_WIDE, 19.96, 19.50}, {22000, BAND_FULL, 20.22, 10.47},
    {28000, BAND_FULL, 18.48, 10.63}, {34000, BAND_FULL, 14.76, 10.12},
    {40000, BAND_FULL, 10.67, 9.79},
};

/* Frame and look-ahead, ms. */
static const double own_delay_ms[EMODEL_CODEC_COUNT] = {
    [EMODEL_G711] = 20,   [EMODEL_G711_PLC] = 20, [EMODEL_G729A] = 25,
    [EMODEL_G723] = 37.5, [EMODEL_GSM_EFR] = 20,  [EMODEL_OPUS] = 26.5,
};

/* R of a codec with this loss and delay. */
static double point_r(const struct point *c, double ppl, double burst_r, double delay_ms)
{
    struct emodel m = emodel_defaults;

    m.t = m.ta = delay_ms;
    m.tr = 2 * delay_ms;
    if (c->band == BAND_NARROW) {
        m.ie = c->ie;
        m.bpl = c->bpl;
        m.ppl = ppl;
        m.burst_r = burst_r;
        return emodel_r(&m);
    }
    bool full = c->band == BAND_FULL;
    double scale = full ? SCALE_FB : SCALE_WB;
    double off = equipment(c->ie, c->bpl, ppl, burst_r, full ? LOSS_CONSTANT_FB : LOSS_CONSTANT);
    double by_delay = emodel_r(&emodel_defaults) - emodel_r(&m);
    return within(R_MAX - off / scale - by_delay, 0, R_MAX, 0);
}

static double opus_r(uint32_t bps, double ppl, double burst_r, double delay_ms)
{
    size_t i = 0;

    while (i < ARRAY_LEN(opus) && opus[i].bps < bps)
        i++;
    if (i == 0)
        return point_r(&opus[0], ppl, burst_r, delay_ms);
    if (i == ARRAY_LEN(opus))
        return point_r(&opus[i - 1], ppl, burst_r, delay_ms);
    double share = (double)(bps - opus[i - 1].bps) / (double)(opus[i].bps - opus[i - 1].bps);
    return (1 - share) * point_r(&opus[i - 1], ppl, burst_r, delay_ms) +
           share * point_r(&opus[i], ppl, burst_r, delay_ms);
}

double emodel_path_r(const struct emodel_path *p)
{
    double burst_r = within(p->burst_ratio, 1, EMODEL_BURST_MAX, 1);
    double loss = emodel_residual_loss(p->loss, burst_r, p->copies);
    double delay_ms = within(p->delay_ms, 0, DELAY_MAX_MS, 0);

    if (p->codec >= EMODEL_OPUS)
        return opus_r(p->bps ? p->bps : EMODEL_OPUS_BPS, 100 * loss, burst_r, delay_ms);
    return point_r(&itu[p->codec], 100 * loss, burst_r, delay_ms);
}

/* Runs end at each packet with the same chance (the two-state model behind the burst ratio): of the
 * lost ones, those with so many more behind them in the run stay lost. */
double emodel_residual_loss(double loss, double burst_ratio, unsigned copies)
{
    loss = within(loss, 0, 1, 0);
    double go_on = 1 - (1 - loss) / within(burst_ratio, 1, EMODEL_BURST_MAX, 1);
    return loss * pow(go_on, copies);
}

double emodel_burst_ratio(uint64_t sent, uint64_t lost, uint64_t runs)
{
    if (runs == 0 || lost == 0 || lost >= sent)
        return 1;
    double mean = (double)lost / (double)runs, random = 1 / (1 - (double)lost / (double)sent);
    return within(mean / random, 1, EMODEL_BURST_MAX, 1);
}

double emodel_delay_ms(enum emodel_codec codec, uint64_t rtt_us, uint64_t buffer_us)
{
    double own = own_delay_ms[codec < EMODEL_CODEC_COUNT ? codec : EMODEL_OPUS];
    double ms = (double)rtt_us / 2000 + (double)buffer_us / 1000 + own + EMODEL_DEVICE_MS;

    return within(ms, 0, DELAY_MAX_MS, 0);
}

uint64_t emodel_buffer_us(uint64_t jitter_us)
{
    if (jitter_us > BUFFER_MAX_US / 2)
        return BUFFER_MAX_US;
    uint64_t us = BUFFER_FRAME_US + 2 * jitter_us;
    return us < BUFFER_MAX_US ? us : BUFFER_MAX_US;
}

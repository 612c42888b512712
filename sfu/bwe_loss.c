/* The loss-based limit: a fit of inherent loss and capacity to what was sent and lost.
 *
 * Called by bwe.c. Pure.
 *
 * For each candidate capacity the inherent loss that explains the spans best follows directly; the
 * binomial likelihood then ranks the candidates. Losses come in bursts, which a binomial takes for
 * more evidence than they are: it is weakened (TEMPER), and a change of mind wants to be clearly
 * better (EVIDENCE). Without differing rates in the spans nothing can be told apart. Then high loss
 * is taken for congestion (PRIOR), and the lower rate that follows is the experiment that tells: if
 * as much is lost as before, it was not, and the limit goes at once.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_loss.h"

#include <math.h>

#define SPAN_US       250000
#define SPAN_MAX_US   1500000 /* slow streams: a span is over then, whatever it holds */
#define SPAN_PKTS     20
#define PKTS_MAX      60000
#define INHERENT_MAX  0.25 /* more than that is congestion */
#define LOSS_LOW      0.02 /* below, nothing is fitted: GCC §6 holds from 2 % on */
#define TEMPER        0.3
#define EVIDENCE      2.0
#define PRIOR         40.0 /* inherent loss is the less likely the higher it is: so the fit tries less */
#define QUIET_SPANS   20   /* without loss of congestion: the limit is lifted */
#define AGE           0.95 /* weight of a span against the one after it */
#define GROWTH        1.01 /* of the limit per span without loss of congestion */
#define RELEASE       1.10 /* the limit is lifted when it is so far above what delay allows */
#define PROB_MIN      0.001
#define PROB_MAX      0.999
#define RECENT_WEIGHT 0.3

void bwe_loss_init(struct bwe_loss *l)
{
    *l = (struct bwe_loss){.limit_bps = INFINITY};
}

void bwe_loss_packet(struct bwe_loss *l, int64_t sent_us, size_t bytes, bool lost)
{
    if (l->_pkts == 0) {
        l->_from_us = l->_to_us = sent_us;
        l->_bytes = 0;
    }
    if (sent_us > l->_to_us)
        l->_to_us = sent_us;
    if (l->_pkts < PKTS_MAX) {
        l->_pkts++;
        l->_lost += lost;
        l->_bytes += bytes;
    }
}

void bwe_loss_found(struct bwe_loss *l)
{
    if (l->_lost > -PKTS_MAX)
        l->_lost--;
}

/* Part of the packets beyond capacity c. */
static double excess(double bps, double c)
{
    return bps > c ? 1 - c / bps : 0;
}

/* The inherent loss that explains the spans best at capacity c. */
static double inherent_at(const struct bwe_loss *l, double c)
{
    double lost = 0, through = 0, weight = 1;

    for (unsigned i = 0; i < l->_n; i++, weight *= AGE) {
        const struct loss_span *s = &l->_span[(l->_head + LOSS_SPANS - 1 - i) % LOSS_SPANS];
        double k = excess((double)s->bps, c);
        lost += weight * (s->lost - k * s->pkts);
        through += weight * (1 - k) * s->pkts;
    }
    if (through <= 0 || lost <= 0)
        return 0;
    double p = lost / through;
    return p < INHERENT_MAX ? p : INHERENT_MAX;
}

static double likelihood(const struct bwe_loss *l, double c, double p)
{
    double sum = 0, weight = TEMPER;

    for (unsigned i = 0; i < l->_n; i++, weight *= AGE) {
        const struct loss_span *s = &l->_span[(l->_head + LOSS_SPANS - 1 - i) % LOSS_SPANS];
        double e = p + (1 - p) * excess((double)s->bps, c);
        e = e < PROB_MIN ? PROB_MIN : e > PROB_MAX ? PROB_MAX : e;
        sum += weight * (s->lost * log(e) + (s->pkts - s->lost) * log(1 - e));
    }
    return sum;
}

/* How well capacity c (infinite: none) explains the spans, and the inherent loss that goes with it.
 */
static double score(const struct bwe_loss *l, double c, double *p)
{
    *p = inherent_at(l, c);
    return likelihood(l, c, *p) - PRIOR * *p;
}

/* Fits: gives the capacity (infinite: none) and sets the inherent loss. */
static double fit(struct bwe_loss *l)
{
    const struct loss_span *now = &l->_span[(l->_head + LOSS_SPANS - 1) % LOSS_SPANS];
    double through = (double)now->bps * (1 - (double)now->lost / now->pkts);
    bool limited = isfinite(l->limit_bps);
    const double base[] = {through, limited ? l->limit_bps : (double)now->bps};
    static const double step[] = {0.85, 0.95, 1.0, 1.05, 1.15};
    double best_c = INFINITY, best_p;
    double best = score(l, INFINITY, &best_p) + (limited ? -EVIDENCE : EVIDENCE);

    for (unsigned b = 0; b < ARRAY_LEN(base); b++) {
        for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
            double c = base[b] * step[i], p = 0;
            double s = c > 0 ? score(l, c, &p) : -INFINITY;
            if (s > best) {
                best = s;
                best_c = c;
                best_p = p;
            }
        }
    }
    l->inherent = best_p;
    return best_c;
}

static bool span_is_full(const struct bwe_loss *l)
{
    int64_t us = l->_to_us - l->_from_us;

    return l->_pkts > 1 && ((l->_pkts >= SPAN_PKTS && us >= SPAN_US) || us >= SPAN_MAX_US);
}

void bwe_loss_update(struct bwe_loss *l, double delay_bps)
{
    if (!span_is_full(l))
        return;
    double bps = (double)l->_bytes * 8e6 / (double)(l->_to_us - l->_from_us);
    int32_t n_lost = l->_lost > 0 ? l->_lost : 0;
    double lost = (double)n_lost / l->_pkts;
    l->_span[l->_head] =
        (struct loss_span){.bps = (float)bps, .pkts = (uint16_t)l->_pkts, .lost = (uint16_t)n_lost};
    l->_head = (l->_head + 1) % LOSS_SPANS;
    if (l->_n < LOSS_SPANS)
        l->_n++;
    l->_pkts = 0;
    l->_lost -= n_lost;
    l->recent += RECENT_WEIGHT * (lost - l->recent);
    if (lost < LOSS_LOW && l->recent < LOSS_LOW) {
        l->inherent += 0.1 * (lost - l->inherent);
        l->_quiet++;
    } else {
        double c = fit(l);
        if (c < l->limit_bps || isinf(c))
            l->limit_bps = c;
        l->_quiet = 0;
    }
    /* No more is lost than is anyway: more may fit. */
    if (isfinite(l->limit_bps) && lost <= l->inherent + LOSS_LOW)
        l->limit_bps *= GROWTH;
    if (l->limit_bps > RELEASE * delay_bps || l->_quiet > QUIET_SPANS)
        l->limit_bps = INFINITY;
}

void bwe_loss_probed(struct bwe_loss *l, double bps)
{
    if (bps > l->limit_bps)
        l->limit_bps = bps;
}

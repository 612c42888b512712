/* Delay gradient and over-use detector (draft-ietf-rmcat-gcc-02 §5.2 to §5.4).
 *
 * Called by bwe.c for each packet that arrived. Pure.
 *
 *     packets ─► groups (sent within 5 ms, or arrived as one burst)
 *             ─► delay variation between groups, summed and smoothed
 *             ─► slope of a line through the last 20 sums
 *             ─► against a threshold that follows it, slowly: over-use, normal, under-use
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_trend.h"

#define GROUP_US         5000   /* §5.2: packets sent within this are one group */
#define BURST_ARRIVAL_US 5000   /* those that arrive within this of one another ... */
#define BURST_MAX_US     100000 /* ... for at most this long, and faster than sent: one too */
#define GAP_RESET_US     3000000
#define SMOOTHING        0.9
#define GAIN             4.0
#define DELTAS_MAX       60
#define THRESHOLD_MS     12.5 /* §5.4: del_var_th(0) */
#define THRESHOLD_MIN_MS 6.0
#define THRESHOLD_MAX_MS 600.0
#define THRESHOLD_UP     0.0087 /* K_u, K_d per ms: §5.4 has 0.01 and 0.00018; these adapt to it */
#define THRESHOLD_DOWN   0.039
#define THRESHOLD_JUMP   15.0 /* §5.4: a sample so far above does not move it */
#define OVERUSE_MS       10.0 /* overuse_time_th */

void bwe_trend_init(struct bwe_trend *t)
{
    *t = (struct bwe_trend){._threshold_ms = THRESHOLD_MS};
}

static double slope(const struct bwe_trend *t)
{
    double mean_x = 0, mean_y = 0, num = 0, den = 0;

    for (unsigned i = 0; i < t->_n; i++) {
        mean_x += t->_at_ms[i];
        mean_y += t->_delay_ms[i];
    }
    mean_x /= t->_n;
    mean_y /= t->_n;
    for (unsigned i = 0; i < t->_n; i++) {
        double dx = t->_at_ms[i] - mean_x;
        num += dx * (t->_delay_ms[i] - mean_y);
        den += dx * dx;
    }
    return den > 0 ? num / den : 0;
}

static void adapt_threshold(struct bwe_trend *t, double size_ms, int64_t now_us)
{
    double elapsed_ms = (double)(now_us - t->_threshold_at_us) / 1e3;

    if (t->_threshold_at_us == 0 || elapsed_ms < 0)
        elapsed_ms = 0;
    if (elapsed_ms > 100)
        elapsed_ms = 100;
    t->_threshold_at_us = now_us;
    if (size_ms > t->_threshold_ms + THRESHOLD_JUMP)
        return;
    double k = size_ms < t->_threshold_ms ? THRESHOLD_DOWN : THRESHOLD_UP;
    t->_threshold_ms += k * (size_ms - t->_threshold_ms) * elapsed_ms;
    if (t->_threshold_ms < THRESHOLD_MIN_MS)
        t->_threshold_ms = THRESHOLD_MIN_MS;
    if (t->_threshold_ms > THRESHOLD_MAX_MS)
        t->_threshold_ms = THRESHOLD_MAX_MS;
}

static void detect(struct bwe_trend *t, double trend, double sent_delta_ms, int64_t now_us)
{
    double value = (t->_deltas < DELTAS_MAX ? t->_deltas : DELTAS_MAX) * trend * GAIN;

    if (value > t->_threshold_ms) {
        t->_over_ms += t->_overs == 0 ? sent_delta_ms / 2 : sent_delta_ms;
        t->_overs++;
        if (t->_over_ms > OVERUSE_MS && t->_overs > 1 && trend >= t->_trend_before) {
            t->_over_ms = 0;
            t->_overs = 0;
            t->usage = BWE_OVERUSE;
        }
    } else {
        t->_over_ms = 0;
        t->_overs = 0;
        t->usage = value < -t->_threshold_ms ? BWE_UNDERUSE : BWE_NORMAL;
    }
    t->_trend_before = trend;
    adapt_threshold(t, value < 0 ? -value : value, now_us);
}

static void group_ended(struct bwe_trend *t)
{
    const struct trend_group *g = &t->_group, *b = &t->_before;
    double sent_ms = (double)(g->last_sent_us - b->last_sent_us) / 1e3;
    double arrived_ms = (double)(g->last_arrived_us - b->last_arrived_us) / 1e3;

    if (arrived_ms < 0) /* reordered over groups: tells nothing */
        return;
    t->_deltas++;
    t->_accumulated_ms += arrived_ms - sent_ms;
    t->_smoothed_ms = SMOOTHING * t->_smoothed_ms + (1 - SMOOTHING) * t->_accumulated_ms;
    if (t->_n == 0)
        t->_zero_us = g->last_arrived_us;
    t->_at_ms[t->_head] = (double)(g->last_arrived_us - t->_zero_us) / 1e3;
    t->_delay_ms[t->_head] = t->_smoothed_ms;
    t->_head = (t->_head + 1) % TREND_POINTS;
    if (t->_n < TREND_POINTS)
        t->_n++;
    if (t->_n < TREND_POINTS / 4)
        return;
    detect(t, slope(t), sent_ms, g->last_arrived_us);
}

static bool same_group(const struct trend_group *g, int64_t sent_us, int64_t arrived_us)
{
    if (sent_us - g->first_sent_us <= GROUP_US)
        return true;
    int64_t arrived = arrived_us - g->last_arrived_us, sent = sent_us - g->last_sent_us;
    return arrived - sent < 0 && arrived <= BURST_ARRIVAL_US &&
           arrived_us - g->first_arrived_us < BURST_MAX_US;
}

void bwe_trend_packet(struct bwe_trend *t, int64_t sent_us, int64_t arrived_us)
{
    struct trend_group *g = &t->_group;

    if (t->_has_group) {
        int64_t sent = sent_us - g->last_sent_us, arrived = arrived_us - g->last_arrived_us;
        if (sent > GAP_RESET_US || arrived > GAP_RESET_US || arrived < -GAP_RESET_US) {
            double threshold = t->_threshold_ms;
            bwe_trend_init(t);
            t->_threshold_ms = threshold;
        } else if (sent_us < g->first_sent_us) {
            return;
        } else if (same_group(g, sent_us, arrived_us)) {
            if (sent > 0)
                g->last_sent_us = sent_us;
            if (arrived > 0)
                g->last_arrived_us = arrived_us;
            return;
        } else {
            if (t->_has_before)
                group_ended(t);
            t->_before = *g;
            t->_has_before = true;
        }
    }
    t->_has_group = true;
    *g = (struct trend_group){sent_us, sent_us, arrived_us, arrived_us};
}

/* Probes: bursts at a higher rate, told from their arrival times what the path takes.
 *
 * Called by bwe.c. Pure.
 *
 *     start ──► packets of one cluster, paced at its rate ──► feedback ──► result
 *                 rate sent    = bytes without the last packet  / time from first to last sent
 *                 rate arrived = bytes without the first packet / time from first to last arrival
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/probe.h"

#define SPAN_US         (25 * US_PER_MS) /* as short as a probe can tell something */
#define SPAN_MAX_US     (200 * US_PER_MS)
#define INTERVAL_US     (4 * US_PER_S)
#define INTERVAL_MAX_US (20 * US_PER_S)
#define RETRY_US        (1 * US_PER_S)     /* after one that could not be measured */
#define BLAME_US        (3 * US_PER_S)     /* a queue within this is the probe's fault */
#define TELL_US         (1500 * US_PER_MS) /* no result for so long: it failed */
#define PKTS_MIN        5
#define PKT_BYTES       200 /* a padding packet is not smaller */
#define FIRST_FACTOR    3.0
#define FACTOR          2.0
#define BACK_FACTOR     0.85 /* of what it was before a fall */
#define BACK_FACTOR_MAX 3.0
#define WANT_FACTOR     1.1 /* so that what is wanted is surely measured */
#define WANT_MIN        1.05
#define TOLD_PART       0.8 /* of the bytes must have been told of, */
#define ACKED_PART      0.5 /* and of those so many must have come */
#define SATURATED       0.9 /* less came than was sent */
#define GOT_THROUGH     0.8
#define RATIO_MAX       2.0 /* arrived faster than this times what was sent: merged, not measured */

void probe_init(struct probe *p, uint64_t now_us)
{
    *p = (struct probe){._next_us = now_us, ._interval_us = INTERVAL_US, ._span_us = SPAN_US};
}

static double rate_to_try(const struct probe *p, double bps, double want_bps, double back_bps)
{
    double to = bps * (p->_first_done ? FACTOR : FIRST_FACTOR);

    if (p->_first_done && !p->_go_on && back_bps > 0) {
        to = BACK_FACTOR * back_bps;
        if (to > BACK_FACTOR_MAX * bps)
            to = BACK_FACTOR_MAX * bps;
    }
    return to < WANT_FACTOR * want_bps ? to : WANT_FACTOR * want_bps;
}

bool probe_start(struct probe *p, struct bwe_probe *out, double bps, double want_bps,
                 double back_bps, bool calm, uint64_t now_us)
{
    if (p->now.cluster || now_us < p->_next_us || !calm || want_bps < WANT_MIN * bps)
        return false;
    double to = rate_to_try(p, bps, want_bps, back_bps);
    if (to < WANT_MIN * bps)
        return false;
    if (++p->_cluster == 0)
        p->_cluster = 1;
    size_t bytes = (size_t)(to / 8e6 * (double)p->_span_us);
    if (bytes < PKTS_MIN * PKT_BYTES)
        bytes = PKTS_MIN * PKT_BYTES;
    p->now = (struct bwe_probe){
        .cluster = p->_cluster, .bps = (uint64_t)to, .bytes = bytes, .min_pkts = PKTS_MIN};
    p->_started_us = now_us;
    p->_told_pkts = p->_acked_pkts = 0;
    p->_told_bytes = p->_acked_bytes = 0;
    p->_first_done = true;
    p->_go_on = false;
    p->started++;
    *out = p->now;
    return true;
}

void probe_told(struct probe *p, unsigned cluster, size_t bytes, bool arrived, int64_t sent_us,
                int64_t arrived_us)
{
    if (cluster == 0 || cluster != p->now.cluster)
        return;
    p->_told_pkts++;
    p->_told_bytes += bytes;
    if (!arrived)
        return;
    if (p->_acked_pkts == 0 || sent_us < p->_first_sent_us)
        p->_first_sent_us = sent_us;
    if (p->_acked_pkts == 0 || sent_us >= p->_last_sent_us) {
        p->_last_sent_us = sent_us;
        p->_last_sent_bytes = (uint32_t)bytes;
    }
    if (p->_acked_pkts == 0 || arrived_us < p->_first_arrived_us) {
        p->_first_arrived_us = arrived_us;
        p->_first_arrived_bytes = (uint32_t)bytes;
    }
    if (p->_acked_pkts == 0 || arrived_us > p->_last_arrived_us)
        p->_last_arrived_us = arrived_us;
    p->_acked_pkts++;
    p->_acked_bytes += bytes;
}

/* Bits per second through both ends; 0 when it can't be told. */
static double measure(const struct probe *p, double *sent_bps)
{
    int64_t sent_us = p->_last_sent_us - p->_first_sent_us;
    int64_t arrived_us = p->_last_arrived_us - p->_first_arrived_us;

    if (p->_acked_pkts < PKTS_MIN - 1 || sent_us <= 0 || arrived_us <= 0)
        return 0;
    /* What was lost on the way was sent at the same rate. */
    double lost = (double)p->_told_bytes / (double)p->_acked_bytes;
    *sent_bps = (double)(p->_acked_bytes - p->_last_sent_bytes) * lost * 8e6 / (double)sent_us;
    double arrived_bps =
        (double)(p->_acked_bytes - p->_first_arrived_bytes) * lost * 8e6 / (double)arrived_us;
    if (arrived_bps > RATIO_MAX * *sent_bps)
        return 0;
    return arrived_bps < *sent_bps ? arrived_bps : *sent_bps;
}

struct probe_result probe_result(struct probe *p, uint64_t now_us)
{
    struct probe_result r = {0};
    double sent_bps = 0;

    if (!p->now.cluster)
        return r;
    bool told = (double)p->_told_bytes >= TOLD_PART * (double)p->now.bytes &&
                p->_told_pkts >= p->now.min_pkts;
    if (!told && now_us - p->_started_us < TELL_US)
        return r;
    r.done = true;
    p->now = (struct bwe_probe){0};
    if (told && (double)p->_acked_bytes >= ACKED_PART * (double)p->_told_bytes)
        r.bps = measure(p, &sent_bps);
    if (r.bps <= 0) {
        p->failed++;
        p->_next_us = now_us + RETRY_US;
        return r;
    }
    r.saturated = r.bps < SATURATED * sent_bps;
    r.got_through = r.bps >= GOT_THROUGH * sent_bps;
    p->_go_on = r.got_through && !r.saturated;
    p->_next_us = p->_go_on ? now_us : now_us + p->_interval_us;
    if (!r.got_through)
        p->failed++;
    return r;
}

void probe_raised(struct probe *p, uint64_t now_us)
{
    p->_raised_us = now_us;
}

void probe_overused(struct probe *p, uint64_t now_us)
{
    p->_go_on = false;
    if (p->_raised_us && now_us - p->_raised_us < BLAME_US) {
        if (p->_span_us < SPAN_MAX_US)
            p->_span_us *= 2;
        if (p->_interval_us < INTERVAL_MAX_US)
            p->_interval_us += p->_interval_us / 2;
    } else {
        p->_interval_us -= (p->_interval_us - INTERVAL_US) / 2;
    }
    p->_raised_us = 0;
    if (p->_next_us < now_us + p->_interval_us / 2)
        p->_next_us = now_us + p->_interval_us / 2;
}

uint64_t probe_deadline(const struct probe *p)
{
    return p->now.cluster ? p->_started_us + TELL_US : p->_next_us;
}

/* Probes: bursts at a higher rate, told from their arrival times what the path takes.
 *
 * Called by bwe.c. Pure.
 *
 *     start ──► packets of one cluster, paced at its rate ──► feedback ──► result
 *                 rate sent    = bytes without the last packet  / time from first to last sent
 *                 rate arrived = bytes without the first packet / time from first to last arrival
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/probe.h"

#include <math.h>

#define SPAN_US         (25 * US_PER_MS) /* as short as a probe can tell something */
#define SPAN_MAX_US     (200 * US_PER_MS)
#define INTERVAL_US     (3500 * US_PER_MS)
#define INTERVAL_MAX_US (5 * US_PER_S)
#define RETRY_US        (1 * US_PER_S)     /* after one that could not be measured */
#define CALM_US         (2 * US_PER_S)     /* after a queue */
#define FORGIVE_US      (30 * US_PER_S)    /* no queue for so long after a raise: it was right */
#define BLAME_US        (3 * US_PER_S)     /* a queue within this is the probe's fault */
#define TELL_US         (1500 * US_PER_MS) /* no result for so long: it failed */
#define PKTS_MIN        5
#define PKT_BYTES       200              /* a padding packet is not smaller */
#define FIRST_MORE      2.0              /* at three times the estimate */
#define MORE            0.5              /* above the estimate */
#define MORE_ON         1.0              /* after one that got through */
#define BYTES_MIN       6000             /* a link lets a packet or two pass at any rate, */
#define BYTES_MIN_US    (80 * US_PER_MS) /* but slow ones shall not be blocked for long */
#define BACK_FACTOR     0.85             /* of what it was before a fall */
#define BACK_FACTOR_MAX 3.0
#define WANT_FACTOR     1.1 /* so that what is wanted is surely measured */
#define WANT_MIN        1.05
#define TOLD_PART       0.8 /* of the bytes must have been told of, */
#define ACKED_PART      0.5 /* and of those so many must have come */
#define SATURATED       0.9 /* less came than was sent */
#define GOT_THROUGH     0.8
#define TIME_MAX_US     (150 * US_PER_MS) /* no probe takes longer */
#define SKIP_PART       3                 /* the first third of the bytes is not measured */
#define PKTS_TAIL       2                 /* but so many packets at least are */
#define SPREAD_FREE_US  10000.0           /* frames that are sent as bursts make so much */
#define SPREAD_MAX      0.4               /* of the time it took to arrive */
#define RATIO_MAX       2.0 /* arrived faster than this times what was sent: merged, not measured */

void probe_init(struct probe *p, uint64_t now_us)
{
    *p = (struct probe){._next_us = now_us, ._interval_us = INTERVAL_US, ._span_us = SPAN_US};
}

static double rate_to_try(const struct probe *p, double bps, double want_bps, double back_bps)
{
    double more = !p->_first_done ? FIRST_MORE : p->_go_on ? MORE_ON : MORE;
    double shorter = sqrt(SPAN_US / (double)p->_span_us); /* long ones must not fill queues */
    double to = bps * (1 + more * shorter);

    if (p->_first_done && !p->_go_on && back_bps > 0 && p->_span_us == SPAN_US) {
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
    size_t least = (size_t)(to / 8e6 * (double)BYTES_MIN_US);
    if (least > BYTES_MIN)
        least = BYTES_MIN;
    least = least * p->_span_us / SPAN_US; /* mistaken probes make it longer */
    if (bytes < least)
        bytes = least;
    size_t most = (size_t)(to / 8e6 * (double)TIME_MAX_US);
    if (bytes > most)
        bytes = most;
    if (bytes < PKTS_MIN * PKT_BYTES)
        bytes = PKTS_MIN * PKT_BYTES;
    p->now = (struct bwe_probe){
        .cluster = p->_cluster, .bps = (uint64_t)to, .bytes = bytes, .min_pkts = PKTS_MIN};
    p->_started_us = now_us;
    p->_told_pkts = p->_n = 0;
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
    p->_acked_bytes += bytes;
    if (p->_n < PROBE_PKTS)
        p->_pkt[p->_n++] =
            (struct probe_packet){(uint32_t)sent_us, (uint32_t)arrived_us, (uint32_t)bytes};
}

/* Bits per second through both ends; 0 when it can't be told. The first packets fill what an idle
 * path lets through at any rate (a token bucket, an idle radio grant): those behind them count. */
static double measure(const struct probe *p, double made_good, double spread_us, double *sent_bps)
{
    uint64_t skip = p->_acked_bytes / SKIP_PART, seen = 0, bytes = 0;
    const struct probe_packet *first = NULL, *last = NULL;

    if (p->_n < PKTS_MIN - 1)
        return 0;
    for (unsigned i = 0; i < p->_n; i++) {
        const struct probe_packet *k = &p->_pkt[i];
        seen += k->bytes;
        if (!first) {
            if (seen >= skip && i + PKTS_TAIL < p->_n)
                first = last = k;
            continue;
        }
        bytes += k->bytes;
        if ((int32_t)(k->arrived_us - last->arrived_us) > 0)
            last = k;
    }
    if (!first)
        return 0;
    int32_t sent_us = (int32_t)(p->_pkt[p->_n - 1].sent_us - first->sent_us);
    int32_t arrived_us = (int32_t)(last->arrived_us - first->arrived_us);
    if (sent_us <= 0 || arrived_us <= 0 || spread_us > SPREAD_FREE_US + SPREAD_MAX * arrived_us)
        return 0;
    double sent = (double)p->_told_bytes / (double)p->_acked_bytes;
    *sent_bps = (double)bytes * sent * 8e6 / sent_us;
    double arrived_bps = (double)bytes * made_good * 8e6 / arrived_us;
    if (arrived_bps > RATIO_MAX * *sent_bps)
        return 0;
    return arrived_bps < *sent_bps ? arrived_bps : *sent_bps;
}

struct probe_result probe_result(struct probe *p, double made_good, double spread_us,
                                 uint64_t now_us)
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
        r.bps = measure(p, made_good, spread_us, &sent_bps);
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
    if (p->_raised_us && now_us - p->_raised_us >= FORGIVE_US && p->_span_us > SPAN_US)
        p->_span_us /= 2; /* the last one was right */
    p->_raised_us = now_us;
}

void probe_overused(struct probe *p, uint64_t now_us)
{
    p->_go_on = false;
    if (p->_raised_us && now_us - p->_raised_us < BLAME_US) {
        if (p->_span_us < SPAN_MAX_US)
            p->_span_us *= 2;
        if (p->_interval_us < INTERVAL_MAX_US)
            p->_interval_us += p->_interval_us / 4;
        p->_raised_us = 0;
    } else {
        p->_interval_us -= (p->_interval_us - INTERVAL_US) / 2;
    }
    if (p->_next_us < now_us + CALM_US)
        p->_next_us = now_us + CALM_US;
}

uint64_t probe_deadline(const struct probe *p)
{
    return p->now.cluster ? p->_started_us + TELL_US : p->_next_us;
}

/* The pacer of one receiver: a budget that grows with time, a bounded queue by class.
 *
 * Called by consumer.c (pass, push) and the owner of the transport (next, at the deadline). Pure;
 * owned by the worker. The queue is a pool of items in one list per class; one list more holds what
 * was pushed out and has not been told yet.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/pacer.h"

#include "base/mem.h"

#define RATE_MIN_BPS    10000
#define DROPPED         PACER_CLASS_COUNT /* the list of what must be told */
#define DROPPED_MAX     16
#define PAD_BYTES_MIN   100
#define PAD_BYTES_MAX   1200
#define PROBE_LATE_PART 4 /* a probe that takes so many times its span is broken off */
#define NONE            UINT16_MAX

const struct pacer_conf pacer_conf_video = {
    .max_items = 256,
    .max_bytes = 400000,
    .max_delay_us = 500000,
    .burst_us = 10000,
};

struct queued {
    struct pacer_item item;
    uint64_t at_us;
    uint16_t next;
};

struct fifo {
    uint16_t first, last;
};

struct pacer {
    struct pacer_conf conf;
    struct pacer_stats stats;
    struct queued *pool;
    uint16_t free_first;
    struct fifo fifo[PACER_CLASS_COUNT + 1];
    unsigned n; /* that wait */
    size_t bytes;
    double rate;  /* bytes per microsecond */
    double level; /* bytes that may go now; less than 0: owed */
    uint64_t at_us;
    struct bwe_probe probe; /* cluster 0: none */
    uint64_t probe_us;      /* when it began */
    size_t probe_sent;
    unsigned probe_pkts;
};

struct pacer *pacer_new(const struct pacer_conf *conf, uint64_t now_us)
{
    struct pacer *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->conf = *conf;
    if (p->conf.max_items > PACER_ITEMS_MAX)
        p->conf.max_items = PACER_ITEMS_MAX;
    unsigned n = p->conf.max_items + DROPPED_MAX;
    p->pool = mem_calloc(n, sizeof(*p->pool));
    if (!p->pool) {
        mem_free(p);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++)
        p->pool[i].next = (uint16_t)(i + 1 < n ? i + 1 : NONE);
    for (unsigned i = 0; i <= PACER_CLASS_COUNT; i++)
        p->fifo[i] = (struct fifo){NONE, NONE};
    p->at_us = now_us;
    pacer_rate(p, RATE_MIN_BPS, now_us);
    return p;
}

void pacer_free(struct pacer *p)
{
    if (!p)
        return;
    mem_free(p->pool);
    mem_free(p);
}

static void refill(struct pacer *p, uint64_t now_us)
{
    if (now_us <= p->at_us)
        return;
    double burst = p->rate * p->conf.burst_us;
    p->level += p->rate * (double)(now_us - p->at_us);
    if (p->level > burst)
        p->level = burst;
    p->at_us = now_us;
}

void pacer_rate(struct pacer *p, uint64_t pacing_bps, uint64_t now_us)
{
    refill(p, now_us);
    if (pacing_bps < RATE_MIN_BPS)
        pacing_bps = RATE_MIN_BPS;
    p->rate = (double)pacing_bps / 8e6;
}

void pacer_probe(struct pacer *p, const struct bwe_probe *probe, uint64_t now_us)
{
    p->probe = probe && probe->bps > 0 ? *probe : (struct bwe_probe){0};
    p->probe_us = now_us;
    p->probe_sent = 0;
    p->probe_pkts = 0;
}

unsigned pacer_cluster(const struct pacer *p)
{
    return p->probe.cluster;
}

/* When the probe's next packet is due. */
static uint64_t probe_due_us(const struct pacer *p)
{
    return p->probe_us + (uint64_t)p->probe_sent * 8 * US_PER_S / p->probe.bps;
}

static bool probe_is_late(const struct pacer *p, uint64_t now_us)
{
    uint64_t span_us = (uint64_t)p->probe.bytes * 8 * US_PER_S / p->probe.bps;

    return now_us - p->probe_us > PROBE_LATE_PART * span_us + 10 * US_PER_MS;
}

void pacer_sent(struct pacer *p, size_t bytes, uint64_t now_us)
{
    refill(p, now_us);
    p->level -= (double)bytes;
    if (!p->probe.cluster)
        return;
    p->probe_sent += bytes;
    p->probe_pkts++;
    if ((p->probe_sent >= p->probe.bytes && p->probe_pkts >= p->probe.min_pkts) ||
        probe_is_late(p, now_us))
        p->probe = (struct bwe_probe){0};
}

/* The budget has room for the next packet. */
static bool may_send(struct pacer *p, uint64_t now_us)
{
    refill(p, now_us);
    return p->level > 0 || (p->probe.cluster && now_us >= probe_due_us(p));
}

static bool waits_before(const struct pacer *p, unsigned cls)
{
    for (unsigned i = 0; i <= cls; i++) {
        if (p->fifo[i].first != NONE)
            return true;
    }
    return false;
}

bool pacer_pass(struct pacer *p, enum pacer_class cls, size_t bytes, uint64_t now_us)
{
    if (waits_before(p, cls) || !may_send(p, now_us))
        return false;
    p->stats.passed++;
    pacer_sent(p, bytes, now_us);
    return true;
}

static void append(struct pacer *p, unsigned list, uint16_t i)
{
    struct fifo *f = &p->fifo[list];

    p->pool[i].next = NONE;
    if (f->first == NONE)
        f->first = i;
    else
        p->pool[f->last].next = i;
    f->last = i;
}

static uint16_t take_first(struct pacer *p, unsigned list)
{
    struct fifo *f = &p->fifo[list];
    uint16_t i = f->first;

    f->first = p->pool[i].next;
    if (list != DROPPED) {
        p->n--;
        p->bytes -= p->pool[i].item.bytes;
    }
    return i;
}

static void release(struct pacer *p, uint16_t i)
{
    p->pool[i].next = p->free_first;
    p->free_first = i;
}

/* Pushes out the oldest of the least class below cls. */
static bool push_out(struct pacer *p, unsigned cls)
{
    for (unsigned i = PACER_CLASS_COUNT - 1; i > cls; i--) {
        if (p->fifo[i].first != NONE) {
            append(p, DROPPED, take_first(p, i));
            p->stats.dropped_full++;
            return true;
        }
    }
    return false;
}

bool pacer_push(struct pacer *p, const struct pacer_item *item, uint64_t now_us)
{
    while (p->n >= p->conf.max_items || item->bytes > p->conf.max_bytes - p->bytes) {
        if (p->free_first == NONE || !push_out(p, item->cls)) {
            p->stats.dropped_full++;
            return false;
        }
    }
    if (p->free_first == NONE) { /* too many not told yet */
        p->stats.dropped_full++;
        return false;
    }
    uint16_t i = p->free_first;
    p->free_first = p->pool[i].next;
    p->pool[i] = (struct queued){.item = *item, .at_us = now_us};
    append(p, item->cls < PACER_CLASS_COUNT ? item->cls : PACER_VIDEO_LOW, i);
    p->n++;
    p->bytes += item->bytes;
    p->stats.queued++;
    return true;
}

static bool is_late(const struct pacer *p, unsigned list, uint64_t now_us)
{
    uint16_t i = p->fifo[list].first;

    return i != NONE && now_us >= p->pool[i].at_us + p->conf.max_delay_us;
}

static void give(struct pacer *p, unsigned list, struct pacer_item *out)
{
    uint16_t i = take_first(p, list);

    *out = p->pool[i].item;
    out->cluster = p->probe.cluster & 0xff;
    release(p, i);
}

static size_t pad_bytes(const struct pacer *p)
{
    size_t left = p->probe.bytes > p->probe_sent ? p->probe.bytes - p->probe_sent : 0;
    unsigned pkts = p->probe.min_pkts > p->probe_pkts ? p->probe.min_pkts - p->probe_pkts : 1;
    size_t each = left / pkts;

    return each < PAD_BYTES_MIN ? PAD_BYTES_MIN : each > PAD_BYTES_MAX ? PAD_BYTES_MAX : each;
}

static enum pacer_verdict pad(struct pacer *p, uint64_t now_us, struct pacer_item *out)
{
    *out = (struct pacer_item){.bytes = (uint16_t)pad_bytes(p), .cluster = p->probe.cluster & 0xff};
    p->stats.padded_bytes += out->bytes;
    pacer_sent(p, out->bytes, now_us);
    return PACER_PAD;
}

enum pacer_verdict pacer_next(struct pacer *p, uint64_t now_us, struct pacer_item *out)
{
    if (p->fifo[DROPPED].first != NONE) {
        give(p, DROPPED, out);
        return PACER_DROPPED;
    }
    for (unsigned i = 0; i < PACER_CLASS_COUNT; i++) {
        if (is_late(p, i, now_us)) {
            give(p, i, out);
            p->stats.dropped_late++;
            return PACER_DROPPED;
        }
    }
    if (p->probe.cluster && probe_is_late(p, now_us))
        p->probe = (struct bwe_probe){0};
    if (!may_send(p, now_us))
        return PACER_WAIT;
    for (unsigned i = 0; i < PACER_CLASS_COUNT; i++) {
        if (p->fifo[i].first != NONE) {
            give(p, i, out);
            pacer_sent(p, out->bytes, now_us);
            return PACER_SEND;
        }
    }
    if (p->probe.cluster && now_us >= probe_due_us(p))
        return pad(p, now_us, out);
    return PACER_WAIT;
}

uint64_t pacer_deadline(const struct pacer *p)
{
    uint64_t at_us = CLOCK_NEVER;

    if (p->fifo[DROPPED].first != NONE)
        return p->at_us;
    if (p->probe.cluster)
        at_us = probe_due_us(p);
    if (p->n == 0)
        return at_us;
    uint64_t budget_us = p->at_us + (p->level > 0 ? 0 : (uint64_t)(-p->level / p->rate) + 1);
    if (budget_us < at_us)
        at_us = budget_us;
    for (unsigned i = 0; i < PACER_CLASS_COUNT; i++) {
        uint16_t first = p->fifo[i].first;
        if (first != NONE && p->pool[first].at_us + p->conf.max_delay_us < at_us)
            at_us = p->pool[first].at_us + p->conf.max_delay_us;
    }
    return at_us;
}

void pacer_forget(struct pacer *p, const void *owner)
{
    for (unsigned list = 0; list <= PACER_CLASS_COUNT; list++) {
        uint16_t i = p->fifo[list].first;
        p->fifo[list] = (struct fifo){NONE, NONE};
        while (i != NONE) {
            uint16_t next = p->pool[i].next;
            if (p->pool[i].item.owner != owner) {
                append(p, list, i);
            } else {
                if (list != DROPPED) {
                    p->n--;
                    p->bytes -= p->pool[i].item.bytes;
                }
                release(p, i);
            }
            i = next;
        }
    }
}

size_t pacer_queued(const struct pacer *p)
{
    return p->bytes;
}

void pacer_stats(const struct pacer *p, struct pacer_stats *out, uint64_t now_us)
{
    *out = p->stats;
    out->queue_bytes = p->bytes;
    out->queue_pkts = p->n;
    out->queue_us = 0;
    for (unsigned i = 0; i < PACER_CLASS_COUNT; i++) {
        uint16_t first = p->fifo[i].first;
        if (first != NONE && now_us - p->pool[first].at_us > out->queue_us)
            out->queue_us = now_us - p->pool[first].at_us;
    }
}

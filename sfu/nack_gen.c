/* Missing packets of one incoming stream and when to ask for them (RFC 4585 §6.2.1).
 *
 * Called by producer.c with each arrival and at the deadline. Pure; owned by the room's worker.
 *
 *     gap seen ──► waiting ──(reorder time, or enough newer packets)──► asked ──(RTT)──► asked
 * again │ arrives: reordered                                │ arrives: recovered └───────────── too
 * old, list full, too many tries: given up ─────────────┘
 *
 * The list is sorted by sequence number, because gaps open at the newest end. How long a gap may be
 * mere reordering is learned: what arrives late by itself, or so soon after a request that the
 * request can't be why, stretches the wait; it shrinks back slowly.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/nack_gen.h"

#include "base/mem.h"

#define RTT_START_US      (100 * US_PER_MS)
#define RTT_MAX_US        (2 * US_PER_S)
#define REORDER_GROW_MAX  8  /* times the conf's reorder_us */
#define REORDER_DECAY     64 /* of what was learned, one part is forgotten per gap */
#define RETRY_SPREAD_PART 4  /* a quarter of the RTT for its variation, and more per retry */

const struct nack_conf nack_conf_video = {
    .max_missing = 256,
    .max_retries = 8,
    .reorder_pkts = 6,
    .reorder_us = 8000,
    .max_age_us = 1000000,
    .min_retry_us = 15000,
};

const struct nack_conf nack_conf_audio = {
    .max_missing = 24,
    .max_retries = 3,
    .reorder_pkts = 2,
    .reorder_us = 15000,
    .max_age_us = 400000,
    .min_retry_us = 20000,
};

struct missing {
    uint64_t seq;
    uint64_t seen_us; /* when the gap opened */
    uint64_t due_us;  /* the next request */
    uint64_t asked_us;
    unsigned tries;
};

struct nack_gen {
    struct nack_conf conf;
    struct nack_stats stats;
    struct missing *v; /* sorted by seq */
    unsigned n;
    bool started;
    uint64_t newest;
    uint64_t rtt_us;
    uint64_t reorder_us; /* learned */
    uint64_t due_us;     /* not later than the first due_us of the list */
};

struct nack_gen *nack_gen_new(const struct nack_conf *conf)
{
    struct nack_gen *g = mem_zalloc(sizeof(*g));

    if (!g)
        return NULL;
    g->conf = *conf;
    if (g->conf.max_missing > NACK_MISSING_MAX)
        g->conf.max_missing = NACK_MISSING_MAX;
    g->v = mem_calloc(g->conf.max_missing, sizeof(*g->v));
    if (!g->v) {
        mem_free(g);
        return NULL;
    }
    g->rtt_us = RTT_START_US;
    nack_gen_reset(g);
    return g;
}

void nack_gen_free(struct nack_gen *g)
{
    if (!g)
        return;
    mem_free(g->v);
    mem_free(g);
}

void nack_gen_reset(struct nack_gen *g)
{
    g->n = 0;
    g->started = false;
    g->reorder_us = g->conf.reorder_us;
    g->due_us = CLOCK_NEVER;
}

void nack_gen_rtt(struct nack_gen *g, uint64_t rtt_us)
{
    g->rtt_us = rtt_us < RTT_MAX_US ? rtt_us : RTT_MAX_US;
}

/* The first entry whose seq is not below seq. */
static unsigned lower_bound(const struct nack_gen *g, uint64_t seq)
{
    unsigned lo = 0, hi = g->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (g->v[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void drop_oldest(struct nack_gen *g, unsigned n)
{
    g->n -= n;
    memmove(g->v, g->v + n, g->n * sizeof(*g->v));
    if (g->n == 0)
        g->due_us = CLOCK_NEVER;
}

/* Puts first .. seq-1 on the list. */
static void open_gap(struct nack_gen *g, uint64_t first, uint64_t seq, uint64_t now_us)
{
    uint64_t gap = seq - first;
    const unsigned max = g->conf.max_missing;

    g->stats.missing += gap;
    if (gap > max) {
        g->stats.given_up += gap - max;
        first = seq - max;
        gap = max;
    }
    if (gap > max - g->n) {
        unsigned over = (unsigned)gap - (max - g->n);
        g->stats.given_up += over;
        drop_oldest(g, over);
    }
    g->reorder_us -= (g->reorder_us - g->conf.reorder_us) / REORDER_DECAY;
    uint64_t due_us = now_us + g->reorder_us;
    for (; first < seq; first++)
        g->v[g->n++] = (struct missing){.seq = first, .seen_us = now_us, .due_us = due_us};
    if (gap > 0 && due_us < g->due_us)
        g->due_us = due_us;
}

/* Enough newer packets have come: those gaps are losses, ask at once. Not while reordering has been
 * seen that takes longer than the conf expects. */
static void prove_losses(struct nack_gen *g, uint64_t now_us)
{
    if (g->conf.reorder_pkts == 0 || g->reorder_us > 2 * (uint64_t)g->conf.reorder_us)
        return;
    for (unsigned i = g->n; i > 0 && g->v[i - 1].tries == 0; i--) {
        struct missing *m = &g->v[i - 1];
        if (g->newest - m->seq < g->conf.reorder_pkts)
            continue;
        if (m->due_us <= now_us)
            break;
        m->due_us = now_us;
        g->due_us = now_us;
    }
}

static void learn_reordering(struct nack_gen *g, const struct missing *m, uint64_t now_us)
{
    uint64_t late_us = now_us - m->seen_us;
    uint64_t max_us = REORDER_GROW_MAX * (uint64_t)g->conf.reorder_us;

    late_us += late_us / 8;
    if (late_us > max_us)
        late_us = max_us;
    if (late_us > g->reorder_us)
        g->reorder_us = late_us;
}

static enum nack_seen fill_gap(struct nack_gen *g, uint64_t seq, uint64_t now_us)
{
    unsigned i = lower_bound(g, seq);

    if (i == g->n || g->v[i].seq != seq)
        return NACK_SEEN_OLD;
    struct missing m = g->v[i];
    g->n--;
    memmove(g->v + i, g->v + i + 1, (g->n - i) * sizeof(*g->v));
    if (g->n == 0)
        g->due_us = CLOCK_NEVER;
    /* The first request was on its way for less than half a round trip: it came by itself. */
    bool by_itself = m.tries == 0 || (m.tries == 1 && now_us - m.asked_us < g->rtt_us / 2);
    if (by_itself)
        learn_reordering(g, &m, now_us);
    if (m.tries == 0) {
        g->stats.reordered++;
        return NACK_SEEN_REORDERED;
    }
    g->stats.recovered++;
    return NACK_SEEN_RECOVERED;
}

enum nack_seen nack_gen_recv(struct nack_gen *g, uint64_t seq, uint64_t now_us)
{
    if (!g->started) {
        g->started = true;
        g->newest = seq;
        return NACK_SEEN_NEW;
    }
    if (seq == g->newest)
        return NACK_SEEN_OLD;
    if (seq < g->newest)
        return fill_gap(g, seq, now_us);
    if (seq - g->newest > 1)
        open_gap(g, g->newest + 1, seq, now_us);
    g->newest = seq;
    if (g->n > 0)
        prove_losses(g, now_us);
    return NACK_SEEN_NEW;
}

void nack_gen_clear(struct nack_gen *g, uint64_t seq)
{
    unsigned n = lower_bound(g, seq);

    g->stats.cleared += n;
    drop_oldest(g, n);
}

static uint64_t retry_us(const struct nack_gen *g, unsigned tries)
{
    uint64_t wait_us = g->rtt_us + g->rtt_us * tries / RETRY_SPREAD_PART;

    return wait_us > g->conf.min_retry_us ? wait_us : g->conf.min_retry_us;
}

size_t nack_gen_take(struct nack_gen *g, uint64_t now_us, uint16_t *out, size_t max)
{
    size_t n = 0;
    unsigned keep = 0;

    if (now_us < g->due_us)
        return 0;
    g->due_us = CLOCK_NEVER;
    for (unsigned i = 0; i < g->n; i++) {
        struct missing m = g->v[i];
        bool due = m.due_us <= now_us;
        if (now_us - m.seen_us >= g->conf.max_age_us || (due && m.tries >= g->conf.max_retries)) {
            g->stats.given_up++;
            continue;
        }
        if (due && n < max) {
            out[n++] = (uint16_t)m.seq;
            g->stats.requests++;
            m.tries++;
            m.asked_us = now_us;
            m.due_us = now_us + retry_us(g, m.tries);
        }
        if (m.due_us < g->due_us)
            g->due_us = m.due_us;
        g->v[keep++] = m;
    }
    g->n = keep;
    return n;
}

uint64_t nack_gen_deadline(const struct nack_gen *g)
{
    return g->due_us;
}

unsigned nack_gen_missing(const struct nack_gen *g)
{
    return g->n;
}

const struct nack_stats *nack_gen_stats(const struct nack_gen *g)
{
    return &g->stats;
}

/* Arrivals of one client's packets, gathered for transport-wide feedback.
 *
 * Called by transport's owner with each packet that carries a number, and at the deadline. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/twcc_recv.h"

#include "base/mem.h"
#include "proto/twcc_fb.h"

#define ARRIVALS_MAX    128
#define ARRIVALS_DUE    96 /* so many wait: tell them now */
#define INTERVAL_MIN_US (50 * US_PER_MS)
#define INTERVAL_MAX_US (100 * US_PER_MS)
#define FEEDBACK_BITS   (68 * 8) /* a feedback packet on the wire, about */
#define FEEDBACK_PART   20       /* it may take a twentieth of the rate */
#define BEHIND_MAX      1000     /* a number further behind is not told */
#define GAP_MAX         8192     /* a longer gap is not told of: begin after it */

struct twcc_recv {
    struct twcc_arrival v[ARRIVALS_MAX]; /* ascending */
    unsigned n;
    bool started;
    uint64_t newest; /* extended */
    uint64_t told;   /* the last number that feedback told of */
    uint64_t due_us, last_us, interval_us;
    uint64_t bytes; /* since last_us */
    uint8_t fb_seq;
};

struct twcc_recv *twcc_recv_new(void)
{
    struct twcc_recv *t = mem_zalloc(sizeof(*t));

    if (t) {
        t->due_us = CLOCK_NEVER;
        t->interval_us = INTERVAL_MAX_US;
    }
    return t;
}

void twcc_recv_free(struct twcc_recv *t)
{
    mem_free(t);
}

static uint64_t extend(struct twcc_recv *t, uint16_t wire)
{
    if (!t->started) {
        t->started = true;
        t->newest = UINT64_C(0x10000) + wire; /* room for what was sent before it */
        t->told = t->newest - 1;
        return t->newest;
    }
    int16_t ahead = (int16_t)(uint16_t)(wire - (uint16_t)t->newest);
    uint64_t seq = t->newest + (uint64_t)(int64_t)ahead;
    if (ahead > 0)
        t->newest = seq;
    return seq;
}

void twcc_recv_packet(struct twcc_recv *t, uint16_t twcc_seq, size_t bytes, uint64_t now_us)
{
    uint64_t seq = extend(t, twcc_seq);
    unsigned i = t->n;

    t->bytes += bytes;
    if (t->newest - seq > BEHIND_MAX || t->n == ARRIVALS_MAX)
        return;
    while (i > 0 && t->v[i - 1].seq > seq)
        i--;
    if (i > 0 && t->v[i - 1].seq == seq)
        return;
    for (unsigned k = t->n; k > i; k--)
        t->v[k] = t->v[k - 1];
    t->v[i] = (struct twcc_arrival){.seq = seq, .at_us = now_us};
    t->n++;
    if (t->n == 1) {
        uint64_t next_us = t->last_us + t->interval_us;
        t->due_us = next_us > now_us ? next_us : now_us + INTERVAL_MIN_US / 2;
    }
    if (t->n >= ARRIVALS_DUE)
        t->due_us = now_us;
}

uint64_t twcc_recv_deadline(const struct twcc_recv *t)
{
    return t->due_us;
}

static void next_interval(struct twcc_recv *t, uint64_t now_us)
{
    uint64_t span_us = now_us - t->last_us;
    uint64_t bps = span_us > 0 && t->last_us ? t->bytes * 8 * US_PER_S / span_us : 0;
    uint64_t us = bps > 0 ? FEEDBACK_BITS * FEEDBACK_PART * US_PER_S / bps : INTERVAL_MAX_US;

    t->interval_us = us < INTERVAL_MIN_US   ? INTERVAL_MIN_US
                     : us > INTERVAL_MAX_US ? INTERVAL_MAX_US
                                            : us;
    t->last_us = now_us;
    t->bytes = 0;
}

size_t twcc_recv_feedback(struct twcc_recv *t, uint32_t sender_ssrc, uint32_t media_ssrc,
                          struct wr *w, uint64_t now_us)
{
    size_t before = w->len;

    if (t->n == 0)
        return 0;
    uint64_t first = t->v[0].seq;
    uint64_t base = first <= t->told || first - t->told > GAP_MAX ? first : t->told + 1;
    size_t took = twcc_fb_encode(w, sender_ssrc, media_ssrc, t->fb_seq, base, t->v, t->n);
    if (took == 0 || w->bad)
        return 0;
    t->fb_seq++;
    if (t->v[took - 1].seq > t->told)
        t->told = t->v[took - 1].seq;
    t->n -= (unsigned)took;
    memmove(t->v, t->v + took, t->n * sizeof(t->v[0]));
    if (t->n == 0) {
        t->due_us = CLOCK_NEVER;
        next_interval(t, now_us);
    } else {
        t->due_us = now_us;
    }
    return w->len - before;
}

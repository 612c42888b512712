/* A network path under a virtual clock, for bwe_sim.c: a bottleneck with a rate that changes, a
 * queue or a policer, loss that is random or comes in bursts, jitter, reordering, cross traffic.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_BWE_LINK_H
#define SORI_TESTS_BWE_LINK_H

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rand.h"

enum { LINK_PKTS = 8192, LINK_RATES = 8, LINK_MTU = 1500 };

enum pkt_kind { PKT_AUDIO, PKT_VIDEO, PKT_PAD, PKT_CROSS };

struct pkt {
    uint64_t sent_us, at_us;
    uint32_t bytes;
    uint16_t seq;
    uint8_t kind;
};

struct link_conf {
    struct {
        uint64_t from_us;
        double bps;
    } rate[LINK_RATES]; /* the first from 0; bps 0 ends the list */
    uint64_t prop_us;   /* one way */
    uint64_t queue_us;  /* the queue holds so much time at the present rate; 0: policer, no queue */
    uint32_t burst_bytes; /* token bucket */
    uint64_t jitter_us;   /* uniform 0..jitter */
    bool reorder;         /* jitter may reorder */
    double loss;          /* part of the packets, in the mean */
    double burst_len;     /* mean length of a run of losses; 0 or 1: independent */
    double cross_bps;     /* while cross_on: constant rate */
    uint64_t cross_from_us, cross_to_us;
    bool tcp;      /* a greedy flow with a window beside, from cross_from_us to cross_to_us */
    double outage; /* part of the time the link stands still, in pieces of 100 ms (radio) */
};

struct tcp_flow {
    double window, threshold; /* packets */
    unsigned flying;
    uint64_t next_us, recover_us;
};

struct path {
    struct link_conf conf;
    struct rand_src *rnd;
    struct pkt queue[LINK_PKTS];
    unsigned q_head, q_n;
    uint64_t q_bytes;
    double tokens;
    bool bad;                  /* Gilbert-Elliott */
    struct pkt air[LINK_PKTS]; /* after the bottleneck, by arrival time */
    unsigned air_n;
    uint64_t last_us, still_until_us, still_check_us;
    double cross_debt;
    struct tcp_flow tcp;
    uint64_t drops; /* of the bottleneck */
};

static double rnd01(struct rand_src *r)
{
    return (double)(rand_src_u64(r) >> 11) / (double)(UINT64_C(1) << 53);
}

static double path_bps(const struct path *p, uint64_t now_us)
{
    double bps = p->conf.rate[0].bps;

    for (unsigned i = 0; i < LINK_RATES && p->conf.rate[i].bps > 0; i++) {
        if (p->conf.rate[i].from_us <= now_us)
            bps = p->conf.rate[i].bps;
    }
    return bps;
}

/* How long a packet that comes now would wait. */
static uint64_t path_queue_us(const struct path *p, uint64_t now_us)
{
    return (uint64_t)((double)p->q_bytes * 8e6 / path_bps(p, now_us));
}

static bool loses(struct path *p)
{
    double len = p->conf.burst_len;

    if (p->conf.loss <= 0)
        return false;
    if (len <= 1)
        return rnd01(p->rnd) < p->conf.loss;
    /* In the bad state everything is lost: mean stay len packets, mean part `loss`. */
    double leave = 1 / len, enter = p->conf.loss / (1 - p->conf.loss) / len;
    p->bad = p->bad ? rnd01(p->rnd) >= leave : rnd01(p->rnd) < enter;
    return p->bad;
}

static void fly(struct path *p, struct pkt k, uint64_t now_us)
{
    k.at_us = now_us + p->conf.prop_us + (uint64_t)(rnd01(p->rnd) * (double)p->conf.jitter_us);
    if (!p->conf.reorder && k.at_us < p->last_us)
        k.at_us = p->last_us;
    p->last_us = k.at_us;
    if (p->air_n == LINK_PKTS)
        abort();
    unsigned i = p->air_n++;
    for (; i > 0 && p->air[i - 1].at_us > k.at_us; i--)
        p->air[i] = p->air[i - 1];
    p->air[i] = k;
}

/* False: dropped by the bottleneck. */
static bool path_send(struct path *p, struct pkt k, uint64_t now_us)
{
    k.sent_us = now_us;
    if (p->conf.queue_us == 0) {
        if (p->tokens < k.bytes) {
            p->drops++;
            return false;
        }
        p->tokens -= k.bytes;
        if (!loses(p))
            fly(p, k, now_us);
        return true;
    }
    bool full = p->q_bytes > LINK_MTU * 2 && path_queue_us(p, now_us) > p->conf.queue_us;
    if (full || p->q_n == LINK_PKTS) {
        p->drops++;
        return false;
    }
    p->queue[(p->q_head + p->q_n++) % LINK_PKTS] = k;
    p->q_bytes += k.bytes;
    return true;
}

/* A greedy flow: slow start, then one packet a round trip more, half of it after a loss. */
static void tcp_step(struct path *p, uint64_t now_us)
{
    struct tcp_flow *t = &p->tcp;

    if (!p->conf.tcp || now_us < p->conf.cross_from_us || now_us >= p->conf.cross_to_us)
        return;
    if (t->window < 2) {
        t->window = 10;
        t->threshold = 1e9;
    }
    while (t->flying < (unsigned)t->window) {
        t->flying++;
        if (!path_send(p, (struct pkt){.bytes = LINK_MTU, .kind = PKT_CROSS}, now_us)) {
            t->flying--;
            if (now_us > t->recover_us) {
                t->window = t->window / 2 < 2 ? 2 : t->window / 2;
                t->threshold = t->window;
                t->recover_us = now_us + path_queue_us(p, now_us) + 2 * p->conf.prop_us;
            }
            break;
        }
    }
}

static void tcp_acked(struct path *p)
{
    struct tcp_flow *t = &p->tcp;

    if (t->flying > 0)
        t->flying--;
    t->window += t->window < t->threshold ? 1 : 1 / t->window;
}

static void cross_step(struct path *p, uint64_t now_us, uint64_t step_us)
{
    if (p->conf.cross_bps <= 0 || now_us < p->conf.cross_from_us || now_us >= p->conf.cross_to_us)
        return;
    p->cross_debt += p->conf.cross_bps * (double)step_us / 8e6;
    while (p->cross_debt >= 1000) {
        p->cross_debt -= 1000;
        (void)path_send(p, (struct pkt){.bytes = 1000, .kind = PKT_CROSS}, now_us);
    }
}

/* Radio that stands still now and then. */
static bool stands_still(struct path *p, uint64_t now_us)
{
    if (p->conf.outage <= 0)
        return false;
    if (now_us >= p->still_check_us) {
        p->still_check_us = now_us + 100000;
        if (rnd01(p->rnd) < p->conf.outage)
            p->still_until_us = now_us + 100000;
    }
    return now_us < p->still_until_us;
}

static void path_step(struct path *p, uint64_t now_us, uint64_t step_us)
{
    double burst = p->conf.burst_bytes > LINK_MTU ? p->conf.burst_bytes : LINK_MTU;

    cross_step(p, now_us, step_us);
    tcp_step(p, now_us);
    if (stands_still(p, now_us))
        return;
    p->tokens += path_bps(p, now_us) * (double)step_us / 8e6;
    while (p->q_n > 0 && p->tokens >= p->queue[p->q_head].bytes) {
        struct pkt k = p->queue[p->q_head];
        p->q_head = (p->q_head + 1) % LINK_PKTS;
        p->q_n--;
        p->q_bytes -= k.bytes;
        p->tokens -= k.bytes;
        if (k.kind == PKT_CROSS || !loses(p))
            fly(p, k, now_us);
    }
    if (p->tokens > burst)
        p->tokens = burst;
}

/* The next packet that has arrived by now_us. */
static bool path_recv(struct path *p, struct pkt *out, uint64_t now_us)
{
    while (p->air_n > 0 && p->air[0].at_us <= now_us) {
        *out = p->air[0];
        memmove(p->air, p->air + 1, --p->air_n * sizeof(p->air[0]));
        if (out->kind != PKT_CROSS)
            return true;
        tcp_acked(p);
    }
    return false;
}

#endif

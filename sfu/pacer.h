/* Spreads what one receiver gets over time, so that its path's queue stays short.
 *
 *     audio:  transport_send_rtp() at once, pacer_sent(p, bytes)      never queued
 *     video:  if (pacer_pass(p, cls, bytes, now)) send it at once     the usual case: no queue
 *             else if (pacer_push(p, &item, now)) queued: pacer_next() gives it later
 *             else it is lost (counted): the consumer repairs it or waits for a key frame
 *     then, each turn and at pacer_deadline():
 *             while ((v = pacer_next(p, now, &item)) != PACER_WAIT) ...
 *
 * The budget grows at bwe_pacing_bps(), half as much again as the target while all is well; a burst
 * of burst_us of it (a frame) passes at once, which keeps packets of equal length together for one
 * GSO send. Order: retransmissions, then video, by priority; then the padding of a probe. Inside a
 * probe the probe's rate is the budget. Pure; one per receiver transport, owned by the worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PACER_H
#define SORI_SFU_PACER_H

#include "base/bytes.h"
#include "base/clock.h"
#include "sfu/bwe.h"

struct pacer;

#define PACER_ITEMS_MAX 1024 /* the most a conf may ask for */

enum pacer_class {
    PACER_RTX,        /* retransmissions */
    PACER_VIDEO_HIGH, /* base layers, the speaker, the screen */
    PACER_VIDEO,
    PACER_VIDEO_LOW, /* what is dropped first */
    PACER_CLASS_COUNT,
};

/* A packet that waits. owner, seq and tag mean nothing to the pacer. */
struct pacer_item {
    void *owner;
    uint64_t seq;
    uint32_t tag;
    uint16_t bytes;  /* of the IP datagram */
    uint8_t cls;     /* enum pacer_class */
    uint8_t cluster; /* out: of the probe it is part of, for bwe_sent() */
};

struct pacer_conf {
    unsigned max_items;    /* in the queue */
    size_t max_bytes;      /* in the queue */
    uint32_t max_delay_us; /* no packet waits longer: then it is dropped */
    uint32_t burst_us;     /* of budget that may pass at once */
};
extern const struct pacer_conf pacer_conf_video;

enum pacer_verdict {
    PACER_WAIT,    /* nothing now: pacer_deadline() says when */
    PACER_SEND,    /* out: send it */
    PACER_DROPPED, /* out: was taken out (too late, or pushed out by better): tell its owner */
    PACER_PAD,     /* out->bytes: send a padding packet (RTX) of about so many; out->cluster */
};

struct pacer_stats {
    uint64_t passed, queued, dropped_late, dropped_full, padded_bytes;
    uint64_t queue_bytes, queue_pkts, queue_us; /* now: waiting, and how long the oldest has */
};

/* NULL when memory is out. The first queued packet, not this, allocates nothing either. */
struct pacer *pacer_new(const struct pacer_conf *conf, uint64_t now_us);

/* NULL is allowed. */
void pacer_free(struct pacer *p);

/* The rate at which the budget grows: bwe_pacing_bps(). */
void pacer_rate(struct pacer *p, uint64_t pacing_bps, uint64_t now_us);

/* Starts a probe; one that runs is replaced. */
void pacer_probe(struct pacer *p, const struct bwe_probe *probe, uint64_t now_us);

/* The cluster of the running probe (0: none): what every packet sent now is part of. */
unsigned pacer_cluster(const struct pacer *p);

/* So many bytes went out beside the queue (audio, RTCP is not counted). */
void pacer_sent(struct pacer *p, size_t bytes, uint64_t now_us);

/* True when a packet of this class may go at once: nothing waits before it and the budget has room.
 * Then it counts as sent. */
bool pacer_pass(struct pacer *p, enum pacer_class cls, size_t bytes, uint64_t now_us);

/* Queues one. False: the queue is full of packets that are as good or better; it is lost. A lesser
 * packet that had to go for it comes out of pacer_next() as PACER_DROPPED. */
bool pacer_push(struct pacer *p, const struct pacer_item *item, uint64_t now_us);

/* What to do now; call until PACER_WAIT. A PACER_SEND or PACER_PAD counts as sent with the bytes it
 * was queued with (padding: with out->bytes). */
enum pacer_verdict pacer_next(struct pacer *p, uint64_t now_us, struct pacer_item *out);

/* When pacer_next() has something; CLOCK_NEVER when nothing waits and no probe runs. */
uint64_t pacer_deadline(const struct pacer *p);

/* Takes out all packets of an owner that goes away, without telling. */
void pacer_forget(struct pacer *p, const void *owner);

/* Bytes that wait. */
size_t pacer_queued(const struct pacer *p);

/* Counted since pacer_new(), and the queue as it is now. */
void pacer_stats(const struct pacer *p, struct pacer_stats *out, uint64_t now_us);

#endif

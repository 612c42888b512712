/* One direction of an impaired link: a bottleneck with a bounded queue, then loss, then delay.
 *
 *     push -> cut, blocked? -> queue (bytes, time) -> bottleneck (rate) -> lost? doubled? held?
 *          -> delay and jitter -> pop
 *
 * Pure: takes packets and now_us, gives packets and a deadline. What happens to a packet depends on
 * the seed, the configuration and the packets before it, not on when it is looked at: departures
 * are computed, a late caller only delivers late. Lost packets have used the bottleneck, as on a
 * radio link. ICMPv6 (which the kernel sends on its own) is never lost and draws no random number.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_IMPAIR_LINK_H
#define SORI_TESTS_IMPAIR_LINK_H

#include "base/bytes.h"
#include "base/clock.h"

#define IMPAIR_PACKET_MAX 2000  /* bytes; the MTU of a TUN device is 1500 */
#define IMPAIR_PKTS_MAX   16384 /* in one direction at a time */
#define IMPAIR_RULES_MAX  8
#define IMPAIR_PPM        1000000 /* chances are parts of a million */
#define IMPAIR_BUCKET_US  50000   /* of the series */
#define IMPAIR_BUCKETS    12000   /* ten minutes, then the oldest are overwritten */

/* Blocks one transport protocol (an IP protocol number), all of it or to and from one port. */
struct impair_rule {
    uint8_t protocol;
    uint16_t port; /* 0: any */
};

/* All zero: a perfect link. */
struct impair_conf {
    bool cut; /* nothing passes */
    struct impair_rule block[IMPAIR_RULES_MAX];
    unsigned n_block;
    uint64_t rate_bps;              /* 0: no limit; of IP packets */
    uint64_t queue_bytes, queue_us; /* 0: no limit; what waits for the bottleneck */
    uint32_t loss_ppm;
    double burst; /* mean length of a run of losses; up to 1: losses are independent */
    uint32_t dup_ppm;
    uint32_t held_ppm; /* packets that take held_us longer than the others: reordering */
    uint64_t held_us;
    uint64_t delay_us, jitter_us; /* delay + uniform 0..jitter */
    bool reorder; /* jitter may change the order; else a packet waits for those before it */
};

/* Packets that went in, each way out, and what was in between. */
struct impair_stats {
    uint64_t in_pkts, in_bytes, out_pkts, out_bytes;
    uint64_t cut, blocked, queue_full, lost, pool_full, too_long; /* dropped, and why */
    uint64_t dup, held;
    uint64_t queue_us_max; /* the longest wait for the bottleneck */
};

struct impair_bucket {
    uint32_t in_bytes, out_bytes, drops, queue_us_max;
};

struct impair_link;

/* A perfect link whose series begins at now_us. NULL: out of memory. */
struct impair_link *impair_link_new(uint64_t seed, uint64_t now_us);
void impair_link_free(struct impair_link *l); /* NULL is allowed */

/* What is configured now, and to configure it: what waits in the queue stays there and leaves at
 * the new rate; what has passed the bottleneck keeps its delay. */
const struct impair_conf *impair_link_conf(const struct impair_link *l);
void impair_link_set(struct impair_link *l, const struct impair_conf *conf, uint64_t now_us);

/* Takes (copies) an IP packet, or drops it and counts why. */
void impair_link_push(struct impair_link *l, struct slice packet, uint64_t now_us);

/* Gives the next packet that is due; valid until the next call. False when there is none. */
bool impair_link_pop(struct impair_link *l, uint64_t now_us, struct slice *out);

/* When the next packet is due; CLOCK_NEVER without packets. */
uint64_t impair_link_deadline(const struct impair_link *l);

/* Counters (may be zeroed), and the buckets of the series: bucket i began at i * IMPAIR_BUCKET_US.
 * impair_link_bucket() gives NULL for one that is not there (any more). */
struct impair_stats *impair_link_stats(struct impair_link *l);
const struct impair_bucket *impair_link_bucket(const struct impair_link *l, uint64_t i);

#endif

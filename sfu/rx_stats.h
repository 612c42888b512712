/* What RFC 3550 wants to know of one incoming stream: counts, loss, interarrival jitter.
 *
 * Sequence numbers come extended (the SRTP index). Pure values; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_RX_STATS_H
#define SORI_SFU_RX_STATS_H

#include "base/bytes.h"

struct rx_stats {
    uint64_t first, highest; /* extended sequence numbers; meaningful once packets > 0 */
    uint64_t packets, bytes; /* received; packets repaired by retransmission too */
    uint64_t told_expected, told_packets; /* at the last report */
    uint32_t transit;                     /* of the packet before, timestamp units */
    uint32_t jitter16; /* interarrival jitter, sixteenths of a timestamp unit (§A.8) */
    uint32_t last_ts;
};

/* Counts a packet that arrived in its own time. clock: of its timestamps, Hz. */
void rx_stats_packet(struct rx_stats *s, uint64_t seq, uint32_t ts, size_t len, uint32_t clock,
                     uint64_t now_us);

/* Counts a packet that a retransmission or redundancy brought: it is no longer lost, but says
 * nothing of jitter. */
void rx_stats_repaired(struct rx_stats *s, uint64_t seq, size_t len);

/* The fields of a report block (RFC 3550 §6.4.1). */
struct rx_report {
    uint8_t fraction; /* lost since the last report, 1/256 */
    int32_t lost;     /* cumulative, clamped to 24 bits signed */
    uint32_t highest; /* extended highest sequence number, low 32 bits */
    uint32_t jitter;  /* timestamp units */
};

/* Fills the fields and begins the next interval. */
void rx_stats_report(struct rx_stats *s, struct rx_report *out);

/* Packets expected so far. */
uint64_t rx_stats_expected(const struct rx_stats *s);

#endif

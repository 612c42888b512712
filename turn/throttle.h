/* How much an allocation may carry: packets and bytes a second, its user's bytes, new peers.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_THROTTLE_H
#define SORI_TURN_THROTTLE_H

#include "base/tokenbucket.h"
#include "turn/quota.h"

#define THROTTLE_UNIT_BYTES 64 /* bytes per token: keeps 2 Gbit/s within a bucket's 32 bits */

/* Each with milli_per_s 0 = no limit. */
struct throttle_rules {
    struct bucket_rule bandwidth; /* per allocation, both ways, tokens of THROTTLE_UNIT_BYTES */
    struct bucket_rule packets;   /* per allocation, both ways */
    struct bucket_rule peers;     /* addresses without a permission, per allocation */
};

/* An allocation's part; zeroed = nothing used yet. */
struct throttle {
    struct bucket _bandwidth, _packets, _peers;
    uint64_t _dry_until_us;         /* the account had no tokens: not asked again before */
    uint32_t _lease;                /* tokens drawn from the account and not used yet */
    const struct bucket_rule *user; /* of its account, in the same tokens; NULL = no limit; lent */
};

enum throttle_verdict {
    THROTTLE_PASS,
    THROTTLE_PACKETS,
    THROTTLE_BANDWIDTH,
    THROTTLE_USER,
};

/* Takes what a packet of len payload bytes costs. Anything but THROTTLE_PASS: drop it, counted
 * under that name; a limit asked before the one that refuses has been charged then. account must
 * hold something in q. */
enum throttle_verdict throttle_packet(struct throttle *t, const struct throttle_rules *rules,
                                      struct quota *q, uint64_t account, size_t len,
                                      uint64_t now_us);

/* Takes n peer addresses that have no permission yet. False: refuse the request (508). */
bool throttle_peers(struct throttle *t, const struct throttle_rules *rules, unsigned n,
                    uint64_t now_us);

/* The rule for so many payload bytes a second; a second's worth may come at once. */
struct bucket_rule throttle_rule_bytes(uint64_t bytes_per_s);

#endif

/* What the connections of one TCP allocation carry together, over all workers: its limits, its
 * counts, and whether it still lives. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_TCP_METER_H
#define SORI_TURN_TCP_METER_H

#include "base/clock.h"
#include "turn/throttle.h"

struct tcp_meter;

/* A meter with one reference. user: the limit of the account's bytes, or NULL. rules, user and
 * quota outlive it; account must hold something in quota until tcp_meter_end(). NULL when memory is
 * out.
 */
struct tcp_meter *tcp_meter_new(const struct throttle_rules *rules, const struct bucket_rule *user,
                                struct quota *quota, uint64_t account);

/* Takes a reference, gives one back (NULL is allowed); the last one frees. Counted because the
 * allocation and the workers of its data connections end in any order. Any thread. */
struct tcp_meter *tcp_meter_ref(struct tcp_meter *m);
void tcp_meter_unref(struct tcp_meter *m);

/* The allocation is over: nothing more is granted. Any thread. */
void tcp_meter_end(struct tcp_meter *m);
bool tcp_meter_ended(const struct tcp_meter *m);

/* Asks for up to want bytes (> 0). Returns how many may be carried now; 0: none, ask again in
 * TCP_METER_RETRY_US. What is granted and not carried is the caller's to use later. Any thread. */
#define TCP_METER_RETRY_US (20 * US_PER_MS)
size_t tcp_meter_take(struct tcp_meter *m, size_t want, uint64_t now_us);

/* Counts what was carried towards the peer, and towards the client. Any thread. */
void tcp_meter_count(struct tcp_meter *m, uint64_t up_bytes, uint64_t down_bytes);

/* The sums. Any thread. */
void tcp_meter_sums(const struct tcp_meter *m, uint64_t *up_bytes, uint64_t *down_bytes);

#endif

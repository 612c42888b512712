/* How much an allocation may carry, and how fast it may reach for new peers.
 *
 * Called by relay.c for every packet and by permit.c for every new permission. Pure but for
 * quota.c's lock, which a packet almost never takes: a user's bytes are counted over all workers,
 * so each allocation draws them from the account in leases of a twentieth of a second, and when the
 * account is dry it does not ask again for a while. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/throttle.h"

#define LEASES_PER_S 20
#define DRY_US       (20 * US_PER_MS)
#define MILLI        1000

/* Draws enough for need tokens, and a lease on top when the account has it. */
static bool draw(struct throttle *t, const struct bucket_rule *rule, struct quota *q,
                 uint64_t account, uint32_t need, uint64_t now_us)
{
    uint32_t lease = rule->milli_per_s / MILLI / LEASES_PER_S;

    if (now_us < t->_dry_until_us)
        return false;
    if (quota_draw(q, account, rule, need + lease, now_us)) {
        t->_lease += need + lease;
        return true;
    }
    if (quota_draw(q, account, rule, need, now_us)) {
        t->_lease += need;
        return true;
    }
    t->_dry_until_us = now_us + DRY_US;
    return false;
}

enum throttle_verdict throttle_packet(struct throttle *t, const struct throttle_rules *rules,
                                      struct quota *q, uint64_t account, size_t len,
                                      uint64_t now_us)
{
    uint32_t tokens = (uint32_t)((len + THROTTLE_UNIT_BYTES - 1) / THROTTLE_UNIT_BYTES);

    if (!bucket_take(&t->_packets, &rules->packets, 1, now_us))
        return THROTTLE_PACKETS;
    if (!bucket_take(&t->_bandwidth, &rules->bandwidth, tokens, now_us))
        return THROTTLE_BANDWIDTH;
    if (!t->user)
        return THROTTLE_PASS;
    if (t->_lease < tokens && !draw(t, t->user, q, account, tokens - t->_lease, now_us))
        return THROTTLE_USER;
    t->_lease -= tokens;
    return THROTTLE_PASS;
}

bool throttle_peers(struct throttle *t, const struct throttle_rules *rules, unsigned n,
                    uint64_t now_us)
{
    return bucket_take(&t->_peers, &rules->peers, n, now_us);
}

struct bucket_rule throttle_rule_bytes(uint64_t bytes_per_s)
{
    uint64_t units_per_s = (bytes_per_s + THROTTLE_UNIT_BYTES - 1) / THROTTLE_UNIT_BYTES;

    return (struct bucket_rule){(uint32_t)(units_per_s * MILLI), (uint32_t)units_per_s};
}

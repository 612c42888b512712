/* What all workers of the relay share: questions over more than one of the shared parts.
 *
 * Called by permit.c, relay.c, allocate.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_shared.h"

struct turn_relay *turn_shared_relay(const struct turn_shared *s, const struct addr *ip)
{
    for (size_t i = 0; i < s->n_relays; i++) {
        if (addr_ip_eq(&s->relays[i].shown, ip) || addr_ip_eq(&s->relays[i].bound, ip))
            return &s->relays[i];
    }
    return NULL;
}

/* The one question behind CreatePermission's data, ChannelBind, Send and Connect. */
static bool may_reach(const struct turn_shared *s, const struct addr *peer, bool tcp,
                      const struct portpool **guard)
{
    const struct turn_relay *relay;

    *guard = NULL;
    switch (peer_policy_check(&s->policy, peer)) {
    case PEER_ALLOWED:
        return true;
    case PEER_RELAY:
        relay = turn_shared_relay(s, peer);
        if (relay)
            *guard = &relay->pool;
        if (relay && portpool_worker(&relay->pool, peer->port, tcp) >= 0)
            return true;
        break;
    case PEER_DENIED:
        break;
    }
    return false;
}

bool turn_shared_may_send(const struct turn_shared *s, const struct addr *peer,
                          const struct portpool **guard)
{
    return may_reach(s, peer, false, guard);
}

bool turn_shared_may_connect(const struct turn_shared *s, const struct addr *peer)
{
    const struct portpool *guard;

    return may_reach(s, peer, true, &guard);
}

struct addr turn_shared_to_wire(const struct turn_shared *s, struct addr peer)
{
    const struct turn_relay *relay = turn_shared_relay(s, &peer);

    return relay ? addr_with_port(relay->bound, peer.port) : peer;
}

struct addr turn_shared_from_wire(const struct turn_shared *s, struct addr peer)
{
    const struct turn_relay *relay = turn_shared_relay(s, &peer);

    return relay && portpool_is_taken(&relay->pool, peer.port)
               ? addr_with_port(relay->shown, peer.port)
               : peer;
}

void turn_shared_give(struct turn_shared *s, const struct reserved *what)
{
    portpool_give(&s->relays[what->pool].pool, what->port);
    quota_give(s->quota, what->account, 1);
}

void turn_shared_drain(struct turn_shared *s)
{
    __atomic_store_n(&s->draining, true, __ATOMIC_RELAXED);
}

bool turn_shared_draining(const struct turn_shared *s)
{
    return __atomic_load_n(&s->draining, __ATOMIC_RELAXED);
}

const struct addr *turn_shared_alternate(const struct turn_shared *s, uint8_t family)
{
    const struct addr *a = &s->alternate[family == ADDR_V6];

    return a->family == family ? a : NULL;
}

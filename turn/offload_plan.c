/* Which channels the kernel may relay by itself, and what it must know for that.
 *
 * Called by offload_sock.c for each channel after each request. Pure. What relay.c would ask of
 * each packet is asked here once, so everything that could change the answer before until_us comes
 * by here again: requests, moves, ends. What is asked of packets in other ways (limits, ports of
 * ours that are given back) has no place in the kernel: such channels stay with relay.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/offload_plan.h"

static uint16_t net16(uint16_t host)
{
    uint8_t bytes[sizeof(host)];
    struct wr w = wr_init(bytes, sizeof(bytes));
    uint16_t net;

    wr_be16(&w, host);
    memcpy(&net, bytes, sizeof(net));
    return net;
}

static uint32_t ip4(const struct addr *a)
{
    uint32_t net;

    memcpy(&net, a->ip, sizeof(net));
    return net;
}

static bool has_limits(const struct turn_shared *s, const struct alloc *a)
{
    const struct throttle_rules *r = &s->limits.throttle;

    return r->packets.milli_per_s > 0 || r->bandwidth.milli_per_s > 0 || a->throttle.user;
}

/* Its client sends over plain UDP, straight to this worker, from one place. */
static bool is_plain(const struct alloc *a, unsigned worker)
{
    return !a->tcp && a->tuple.transport == FIVE_TUPLE_UDP && a->via.family == ADDR_NONE &&
           !a->moving && !alloc_is_lost(a) && a->at == worker;
}

static uint64_t earliest(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t first = a < b ? a : b;

    return first < c ? first : c;
}

/* The peer is an allocation of ours, or may become one. */
static bool is_ours(const struct turn_shared *s, const struct chan *c)
{
    const struct turn_relay *relay = turn_shared_relay(s, &c->peer);

    return c->guard || (relay && portpool_covers(&relay->pool, c->peer.port));
}

bool offload_plan_channel(struct offload_plan *out, const struct turn_shared *s, unsigned worker,
                          const struct alloc *a, const struct chan *c, const struct addr *listener,
                          uint64_t now_us)
{
    const struct addr *client = &a->tuple.client, *peer = &c->peer;
    bool first = a->relayed.family == ADDR_V4;
    const struct addr *relayed = first ? &a->relayed : &a->second.relayed;
    uint64_t until_us =
        earliest(c->until_us, c->perm_until_us, first ? a->until_us : a->second.until_us);

    if (!is_plain(a, worker) || has_limits(s, a) || until_us <= now_us)
        return false;
    if (listener->family != ADDR_V4 || client->family != ADDR_V4 || relayed->family != ADDR_V4 ||
        peer->family != ADDR_V4 || peer->port == 0)
        return false;
    if (is_ours(s, c)) /* handed over in memory */
        return false;
    *out = (struct offload_plan){
        .up_key = {ip4(listener), ip4(client), net16(listener->port), net16(client->port),
                   net16(c->number), 0},
        .down_key = {ip4(relayed), ip4(peer), net16(relayed->port), net16(peer->port)},
        .up = {.from_ip = ip4(relayed),
               .to_ip = ip4(peer),
               .from_port = net16(relayed->port),
               .to_port = net16(peer->port),
               .channel = net16(c->number)},
        .down = {.from_ip = ip4(listener),
                 .to_ip = ip4(client),
                 .from_port = net16(listener->port),
                 .to_port = net16(client->port),
                 .channel = net16(c->number)},
        .until_us = until_us,
    };
    return true;
}

bool offload_plan_same(const struct offload_plan *a, const struct offload_plan *b)
{
    return memcmp(&a->up_key, &b->up_key, sizeof(a->up_key)) == 0 &&
           memcmp(&a->down_key, &b->down_key, sizeof(a->down_key)) == 0;
}

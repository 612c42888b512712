/* The data path between a client and its peers (RFC 8656 §11, §12).
 *
 *     client ──ChannelData──► relay_channel ─┐                       ┌─► peer
 *     client ──Send─────────► relay_send ────┴─► struct relay_to_peer┘
 *     peer ──► relay_from_peer ─┐
 *     ICMP ──► relay_icmp ──────┴► struct relay_to_client (ChannelData | Data) ──► client
 *
 * Called by dispatch.c and relay_sock.c for every packet. Pure; allocates nothing, copies no
 * payload. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/relay.h"

#include "proto/chandata.h"
#include "turn/media_quality.h"
#include "turn/mobility.h"

/* Types and codes, RFC 792 and RFC 4443. */
#define ICMP_UNREACHABLE               3
#define ICMP_TIME_EXCEEDED             11
#define ICMP_CODE_FRAGMENTATION_NEEDED 4
#define ICMP6_UNREACHABLE              1
#define ICMP6_TOO_BIG                  2
#define ICMP6_TIME_EXCEEDED            3

static bool drop(struct turn_core *c, enum turn_drop why)
{
    turn_metrics_drop(&c->metrics, why);
    return false;
}

void relay_count(struct turn_core *c, struct alloc *a, bool up, uint64_t pkts, uint64_t bytes)
{
    struct turn_relayed *of = &(up ? c->metrics.up : c->metrics.down)[a->tuple.transport];

    if (up) {
        a->up_pkts += pkts;
        a->up_bytes += bytes;
    } else {
        a->down_pkts += pkts;
        a->down_bytes += bytes;
    }
    counter_add(&of->pkts, pkts);
    counter_add(&of->bytes, bytes);
}

bool relay_hop(struct turn_core *c, struct udp_mark in, struct udp_mark *out)
{
    if (in.ttl == 0)
        return true;
    if (in.ttl == 1)
        return drop(c, TURN_DROP_HOP_LIMIT);
    *out = (struct udp_mark){in.tos, (uint8_t)(in.ttl - 1)};
    return true;
}

/* Charges a packet to the allocation's limits. False: dropped and counted. */
static bool within_limits(struct turn_core *c, struct alloc *a, size_t len, uint64_t now_us)
{
    static const enum turn_drop why[] = {
        [THROTTLE_PACKETS] = TURN_DROP_PACKET_RATE,
        [THROTTLE_BANDWIDTH] = TURN_DROP_BANDWIDTH,
        [THROTTLE_USER] = TURN_DROP_USER_BANDWIDTH,
    };
    enum throttle_verdict v = throttle_packet(&a->throttle, &c->shared->limits.throttle,
                                              c->shared->quota, a->account, len, now_us);

    return v == THROTTLE_PASS || drop(c, why[v]);
}

static void judge(struct alloc *a, enum media_way way, struct slice payload, uint64_t now_us)
{
    if (a->media)
        media_quality_packet(a->media, way, payload, now_us);
}

/* The last step towards a peer: limits, counts, result. */
static bool to_peer(struct turn_core *c, struct alloc *a, const struct addr *peer,
                    struct slice payload, uint64_t now_us, struct relay_to_peer *out)
{
    if (!alloc_has(a, peer->family)) /* that half of a dual allocation has ended */
        return drop(c, TURN_DROP_NO_PERMISSION);
    if (!within_limits(c, a, payload.len, now_us))
        return false;
    relay_count(c, a, true, 1, payload.len);
    judge(a, MEDIA_UP, payload, now_us);
    *out = (struct relay_to_peer){a,    turn_shared_to_wire(c->shared, *peer), payload, false, {0},
                                  false};
    return true;
}

bool relay_channel(struct turn_core *c, const struct five_tuple *from, struct slice msg,
                   uint64_t now_us, struct relay_to_peer *out)
{
    struct chandata data;

    if (chandata_decode(&data, msg) != 0)
        return drop(c, TURN_DROP_BAD_CHANDATA);
    struct alloc *a = alloc_find(&c->allocs, from);
    if (!a)
        return drop(c, TURN_DROP_NO_ALLOCATION);
    media_quality_expect(a->media, MEDIA_UP);
    if (a->moving)
        mobility_data(c, a, from);
    const struct chan *chan = chan_by_number(&a->chans, data.channel, now_us);
    if (!chan)
        return drop(c, TURN_DROP_NO_CHANNEL);
    if (chan->guard && portpool_worker(chan->guard, chan->peer.port, false) < 0)
        return drop(c, TURN_DROP_PEER_DENIED);
    return to_peer(c, a, &chan->peer, data.payload, now_us, out);
}

/* Where a datagram is translated, or goes from IPv6 to IPv6, its own fragmentation counts and not
 * the attribute (RFC 8656 §13). */
static bool may_say_df(const struct five_tuple *from, const struct addr *peer)
{
    return five_tuple_is_stream(from) ||
           (from->client.family == ADDR_V4 && peer->family == ADDR_V4);
}

bool relay_send(struct turn_core *c, const struct five_tuple *from, const struct stun_msg *m,
                uint64_t now_us, struct relay_to_peer *out)
{
    struct slice peer_value, data, df;
    const struct portpool *guard;
    struct addr peer;
    struct alloc *a = alloc_find(&c->allocs, from);

    if (!a)
        return drop(c, TURN_DROP_NO_ALLOCATION);
    if (a->tcp)
        return drop(c, TURN_DROP_UNEXPECTED);
    if (a->moving)
        mobility_data(c, a, from);
    if (!stun_find(m, STUN_ATTR_XOR_PEER_ADDRESS, &peer_value) ||
        !stun_find(m, STUN_ATTR_DATA, &data) || stun_xaddr_decode(&peer, peer_value, m->tid) != 0)
        return drop(c, TURN_DROP_BAD_STUN);
    if (!perm_allows(&a->perms, &peer, now_us))
        return drop(c, TURN_DROP_NO_PERMISSION);
    if (!turn_shared_may_send(c->shared, &peer, &guard))
        return drop(c, TURN_DROP_PEER_DENIED);
    if (!to_peer(c, a, &peer, data, now_us, out))
        return false;
    out->dont_fragment = may_say_df(from, &peer) && stun_find(m, STUN_ATTR_DONT_FRAGMENT, &df);
    return true;
}

static void put_channel(struct wr *w, const struct five_tuple *client, const struct chan *chan,
                        size_t len, unsigned *pad)
{
    chandata_put_header(w, chan->number, len);
    *pad = five_tuple_is_stream(client) ? chandata_pad(len) : 0;
}

/* A Data indication up to what follows the peer's address. Its transaction id answers nothing: it
 * only has to differ from its neighbours', which a count does without drawing random bytes per
 * packet. */
static void begin_data(struct wr *w, const struct alloc *a, const struct addr *peer)
{
    uint8_t tid[STUN_TID_BYTES];
    struct wr t = wr_init(tid, sizeof(tid));

    wr_be32(&t, a->relayed.port);
    wr_be64(&t, a->down_pkts);
    stun_begin(w, stun_type(STUN_DATA, STUN_INDICATION), tid);
    stun_put_xaddr(w, STUN_ATTR_XOR_PEER_ADDRESS, peer, tid);
}

static void put_data(struct wr *w, const struct alloc *a, const struct addr *peer, size_t len,
                     unsigned *pad)
{
    begin_data(w, a, peer);
    *pad = stun_put_trailing(w, STUN_ATTR_DATA, len);
}

bool relay_from_peer(struct turn_core *c, struct alloc *a, const struct addr *peer,
                     struct slice payload, uint64_t now_us, struct relay_to_client *out)
{
    media_quality_expect(a->media, MEDIA_DOWN);
    struct addr shown = turn_shared_from_wire(c->shared, *peer);
    const struct chan *chan = chan_by_peer(&a->chans, &shown, now_us);
    struct wr w = wr_init(out->head, sizeof(out->head));

    if (!chan && !perm_allows(&a->perms, &shown, now_us))
        return drop(c, TURN_DROP_NO_PERMISSION);
    if (chan)
        put_channel(&w, &a->tuple, chan, payload.len, &out->pad);
    else
        put_data(&w, a, &shown, payload.len, &out->pad);
    if (w.bad)
        return drop(c, TURN_DROP_TOO_LONG);
    if (!within_limits(c, a, payload.len, now_us))
        return false;
    out->head_len = w.len;
    out->payload = payload;
    out->mark = (struct udp_mark){0};
    out->copy = false;
    relay_count(c, a, false, 1, payload.len);
    judge(a, MEDIA_DOWN, payload, now_us);
    return true;
}

/* "type 3 or 11 for ICMPv4, 1, 2 or 3 for ICMPv6" (RFC 8656 §11.5): unreachable, time exceeded,
 * too big. */
static bool icmp_is_told(const struct icmp_error *e)
{
    if (e->peer.family == ADDR_V4)
        return e->type == ICMP_UNREACHABLE || e->type == ICMP_TIME_EXCEEDED;
    return e->type >= ICMP6_UNREACHABLE && e->type <= ICMP6_TIME_EXCEEDED;
}

static bool icmp_has_mtu(const struct icmp_error *e)
{
    return e->peer.family == ADDR_V4
               ? e->type == ICMP_UNREACHABLE && e->code == ICMP_CODE_FRAGMENTATION_NEEDED
               : e->type == ICMP6_TOO_BIG;
}

bool relay_icmp(struct turn_core *c, struct alloc *a, const struct icmp_error *error,
                uint64_t now_us, struct relay_to_client *out)
{
    struct addr shown = turn_shared_from_wire(c->shared, error->peer);
    struct wr w = wr_init(out->head, sizeof(out->head));

    if (!icmp_is_told(error))
        return drop(c, TURN_DROP_UNEXPECTED);
    if (!perm_allows(&a->perms, &shown, now_us))
        return drop(c, TURN_DROP_NO_PERMISSION);
    if (!within_limits(c, a, sizeof(out->head), now_us))
        return false;
    begin_data(&w, a, &shown);
    stun_put_icmp(&w, error->type, error->code, icmp_has_mtu(error) ? error->info : 0);
    a->down_pkts++;
    out->head_len = w.len;
    out->payload = (struct slice){0};
    out->pad = 0;
    out->mark = (struct udp_mark){0};
    out->copy = false;
    return !w.bad;
}

/* Allocate and Refresh (RFC 8656 §7, §8).
 *
 * Called by dispatch.c with verified requests, and by turn_core.c to end allocations. Pure: sockets
 * are opened through relay_ops. The only place that takes and gives back ports and quota: each
 * relayed address holds exactly one port and one unit of its account's quota, each reservation too.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/allocate.h"

#include <errno.h>

#include "base/mem.h"
#include "base/rand.h"
#include "turn/connect.h"
#include "turn/media_quality.h"
#include "turn/mobility.h"
#include "turn/tcp_meter.h"

#define BIND_TRIES  8    /* ports tried when other programs sit on ours */
#define EVEN_PORT_R 0x80 /* RFC 8656 §18.7 */

/* What an Allocate asks for, decoded. */
struct wish {
    uint8_t family;
    bool tcp, mobile;
    enum portpool_want ports;
    bool has_token;
    struct slice token;
    uint32_t lifetime_s;
    uint8_t additional; /* wire value of ADDITIONAL-ADDRESS-FAMILY, 0 = none */
};

/* Decodes LIFETIME and clamps it; the default when it is absent. Returns 0 or an error code. */
static int wish_lifetime(const struct request *r, uint32_t *out)
{
    const struct turn_limits *l = &r->core->shared->limits;
    struct slice value;
    uint32_t s = l->default_lifetime_s;

    if (stun_find(r->msg, STUN_ATTR_LIFETIME, &value) && stun_u32_decode(&s, value) != 0)
        return STUN_ERR_BAD_REQUEST;
    *out = s < l->max_lifetime_s ? s : l->max_lifetime_s;
    return 0;
}

/* "The lifetime provided by the TURN server in the Allocate and Refresh responses MUST be less than
 * or equal to the lifetime of the token" (RFC 7635 §10). */
static uint32_t within_token(const struct request *r, uint32_t lifetime_s)
{
    uint32_t left_s = UINT32_MAX;

    if (r->id.by_token)
        left_s = access_token_left_s(&r->id.token, r->now_us + r->core->wall_offset_us);
    return lifetime_s < left_s ? lifetime_s : left_s;
}

/* Keeps the token that the allocation is held by from now on. Returns 0 or -ENOMEM. */
static int keep_token(struct alloc *a, const struct request *r)
{
    if (!r->id.by_token)
        return 0;
    if (!a->grant)
        a->grant = mem_zalloc(sizeof(*a->grant));
    if (!a->grant)
        return -ENOMEM;
    *a->grant = r->id.token;
    return 0;
}

/* Whose quota it counts for. The kid of a token names its maker, not its user: each session key is
 * an account. */
static uint64_t account_of(const struct request *r)
{
    const struct credentials *creds = credentials_of(r->core->creds, r->realm);

    if (r->id.by_token)
        return realm_account(r->realm, slice_of(r->id.token.mac_key, r->id.token.mac_key_len));
    return realm_account(r->realm, credentials_account(creds, r->id.username));
}

static int wish_family(const struct request *r, uint8_t *out)
{
    struct slice value;
    uint8_t wire = STUN_FAMILY_V4;

    if (stun_find(r->msg, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, &value) &&
        stun_first_byte_decode(&wire, value, 4) != 0)
        return STUN_ERR_BAD_REQUEST;
    if (wire != STUN_FAMILY_V4 && wire != STUN_FAMILY_V6)
        return STUN_ERR_FAMILY_NOT_SUPPORTED;
    *out = wire == STUN_FAMILY_V4 ? ADDR_V4 : ADDR_V6;
    return 0;
}

/* EVEN-PORT and RESERVATION-TOKEN, which exclude each other (RFC 8656 §7.2, steps 5 and 8). */
static int wish_ports(const struct request *r, struct wish *out)
{
    struct slice even, family;
    uint8_t flags = 0;
    bool has_even = stun_find(r->msg, STUN_ATTR_EVEN_PORT, &even);

    out->has_token = stun_find(r->msg, STUN_ATTR_RESERVATION_TOKEN, &out->token);
    if (out->has_token &&
        (has_even || stun_find(r->msg, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, &family) ||
         out->token.len != STUN_RESERVATION_BYTES))
        return STUN_ERR_BAD_REQUEST;
    if (has_even && stun_first_byte_decode(&flags, even, 1) != 0)
        return STUN_ERR_BAD_REQUEST;
    if (has_even)
        out->ports = flags & EVEN_PORT_R ? PORTPOOL_PAIR : PORTPOOL_EVEN;
    return 0;
}

/* ADDITIONAL-ADDRESS-FAMILY asks for an IPv4 address and one more; it goes with neither of the
 * attributes that name one address (RFC 8656 §7.2, steps 5, 6, 8 and 9). */
static int wish_additional(const struct request *r, struct wish *out)
{
    struct slice value, other;

    if (!stun_find(r->msg, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, &value) &&
        !stun_find(r->msg, STUN_ATTR_SSODA_FAMILY, &value)) /* coturn's clients */
        return 0;
    if (stun_first_byte_decode(&out->additional, value, 4) != 0 ||
        out->additional == STUN_FAMILY_V4 || out->additional == 0 || out->has_token ||
        out->ports == PORTPOOL_PAIR ||
        stun_find(r->msg, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, &other))
        return STUN_ERR_BAD_REQUEST;
    return 0;
}

/* A TCP allocation is asked for over a connection, and without what only datagrams know (RFC 6062
 * §4.1, §5.1). */
static int wish_transport(const struct request *r, uint8_t transport, bool *tcp)
{
    struct slice value;

    *tcp = transport == STUN_TRANSPORT_TCP;
    if (transport != STUN_TRANSPORT_UDP && !(*tcp && r->core->shared->limits.tcp_allocations))
        return STUN_ERR_TRANSPORT_NOT_SUPPORTED;
    if (*tcp &&
        (!five_tuple_is_stream(r->from) || stun_find(r->msg, STUN_ATTR_DONT_FRAGMENT, &value) ||
         stun_find(r->msg, STUN_ATTR_EVEN_PORT, &value) ||
         stun_find(r->msg, STUN_ATTR_RESERVATION_TOKEN, &value)))
        return STUN_ERR_BAD_REQUEST;
    return 0;
}

static int wish_decode(const struct request *r, struct wish *out)
{
    struct slice value;
    uint8_t transport;

    if (!stun_find(r->msg, STUN_ATTR_REQUESTED_TRANSPORT, &value) ||
        stun_first_byte_decode(&transport, value, 4) != 0)
        return STUN_ERR_BAD_REQUEST;
    int err = wish_transport(r, transport, &out->tcp);
    if (!err)
        err = mobility_wanted(r, out->tcp, &out->mobile);
    if (!err)
        err = wish_ports(r, out);
    if (!err)
        err = wish_additional(r, out);
    if (!err)
        err = wish_family(r, &out->family);
    if (!err)
        err = wish_lifetime(r, &out->lifetime_s);
    if (out->lifetime_s < r->core->shared->limits.default_lifetime_s)
        out->lifetime_s = r->core->shared->limits.default_lifetime_s;
    return err;
}

/* Opens a's socket on this port. Returns 0 or -errno. */
static int open_at(struct turn_core *c, struct alloc *a, uint16_t pool, uint16_t port)
{
    struct addr at = addr_with_port(c->shared->relays[pool].bound, port);
    int err = c->ops->open(c->ops_arg, a, &at);

    if (err)
        return err;
    portpool_open(&c->shared->relays[pool].pool, port, c->worker, a->tcp);
    a->relayed = at;
    a->pool = pool;
    return 0;
}

/* Takes a port (or a pair) of one relay and opens the socket there. Returns 0 or -errno. */
static int open_on(struct turn_core *c, struct alloc *a, uint16_t pool, enum portpool_want want)
{
    struct portpool *p = &c->shared->relays[pool].pool;
    int err = -EADDRINUSE;

    for (unsigned try = 0; err == -EADDRINUSE && try < BIND_TRIES; try++) {
        uint64_t random;
        rand_bytes(&random, sizeof(random));
        int port = portpool_take(p, want, random);
        if (port < 0)
            return port;
        err = open_at(c, a, pool, (uint16_t)port);
        if (err) {
            portpool_give(p, (uint16_t)port);
            if (want == PORTPOOL_PAIR)
                portpool_give(p, (uint16_t)(port + 1));
        }
    }
    return err;
}

/* Finds a relay address of the family with a port left. Returns 0 or an error code. */
static int open_any(struct turn_core *c, struct alloc *a, const struct wish *wish)
{
    struct turn_shared *s = c->shared;
    int code = STUN_ERR_FAMILY_NOT_SUPPORTED;
    unsigned first = c->next_relay++;

    for (size_t k = 0; k < s->n_relays; k++) {
        uint16_t pool = (uint16_t)((first + k) % s->n_relays);
        if (s->relays[pool].bound.family != wish->family)
            continue;
        if (open_on(c, a, pool, wish->ports) == 0)
            return 0;
        code = STUN_ERR_INSUFFICIENT_CAPACITY;
    }
    return code;
}

/* Opens the socket on the port that the client's token holds. */
static int open_reserved(struct turn_core *c, struct alloc *a, const struct reserved *held)
{
    if (open_at(c, a, held->pool, held->port) == 0)
        return 0;
    portpool_give(&c->shared->relays[held->pool].pool, held->port);
    return STUN_ERR_INSUFFICIENT_CAPACITY;
}

/* Holds the port above a's, already taken, for a second allocation. When that fails the whole pair
 * is given up: an answer without its token would leave the client guessing. */
static int hold_neighbour(struct turn_core *c, struct alloc *a, uint64_t now_us)
{
    struct portpool *p = &c->shared->relays[a->pool].pool;
    struct reserved held = {a->account, a->pool, (uint16_t)(a->relayed.port + 1)};

    a->has_token = reserve_add(c->shared->reserve, &held, now_us, a->token) == 0;
    if (a->has_token)
        return 0;
    c->ops->close(c->ops_arg, a);
    portpool_give(p, a->relayed.port);
    portpool_give(p, held.port);
    return STUN_ERR_INSUFFICIENT_CAPACITY;
}

static int quota_error(int err)
{
    return err == -EDQUOT ? STUN_ERR_QUOTA_REACHED : STUN_ERR_INSUFFICIENT_CAPACITY;
}

/* Takes quota and port and opens the socket for a. On failure nothing is held. */
static int acquire(struct turn_core *c, struct alloc *a, const struct wish *wish, uint64_t now_us)
{
    struct turn_shared *s = c->shared;
    unsigned units = wish->ports == PORTPOOL_PAIR ? 2 : 1;
    struct reserved held;
    int err;

    if (wish->has_token) {
        /* The reservation has paid for port and quota: both pass to the allocation. */
        if (reserve_claim(s->reserve, wish->token, a->account, now_us, &held) != 0)
            return STUN_ERR_INSUFFICIENT_CAPACITY;
        units = 1;
        err = open_reserved(c, a, &held);
    } else {
        err = quota_take(s->quota, a->realm, a->account, units);
        if (err)
            return quota_error(err);
        err = open_any(c, a, wish);
        if (!err && wish->ports == PORTPOOL_PAIR)
            err = hold_neighbour(c, a, now_us);
    }
    if (err)
        quota_give(s->quota, a->account, units);
    return err;
}

/* Acquires one address of each family. "If the server can only allocate one of them, it answers
 * success with that one and ADDRESS-ERROR-CODE for the other" (RFC 8656 §7.2): an error only when
 * there is none at all. */
static int acquire_both(struct turn_core *c, struct alloc *a, struct wish *wish, uint64_t now_us)
{
    int first = acquire(c, a, wish, now_us);
    int second = STUN_ERR_FAMILY_NOT_SUPPORTED;

    alloc_swap(a);
    wish->family = ADDR_V6;
    if (wish->additional == STUN_FAMILY_V6)
        second = acquire(c, a, wish, now_us);
    if (!first)
        alloc_swap(a);
    if (first && second)
        return first == STUN_ERR_FAMILY_NOT_SUPPORTED ? second : first;
    if (first || second) {
        int code = first ? first : second;
        a->refused_family = first ? STUN_FAMILY_V4 : wish->additional;
        a->refused_code = code == STUN_ERR_FAMILY_NOT_SUPPORTED ? STUN_ERR_FAMILY_NOT_SUPPORTED
                                                                : STUN_ERR_INSUFFICIENT_CAPACITY;
    }
    return 0;
}

static void put_relayed(const struct request *r, uint16_t pool, const struct addr *relayed,
                        struct wr *w)
{
    struct addr shown = addr_with_port(r->core->shared->relays[pool].shown, relayed->port);

    stun_put_xaddr(w, STUN_ATTR_XOR_RELAYED_ADDRESS, &shown, r->msg->tid);
}

/* The success answer, the same for a retransmission: RFC 8656 §7.2. */
static void answer(const struct request *r, const struct alloc *a, struct wr *w)
{
    put_relayed(r, a->pool, &a->relayed, w);
    if (alloc_addresses(a) > 1)
        put_relayed(r, a->second.pool, &a->second.relayed, w);
    if (a->refused_family)
        stun_put_address_error(w, a->refused_family, (enum stun_error)a->refused_code);
    stun_put_u32(w, STUN_ATTR_LIFETIME, a->lifetime_s);
    if (a->has_token)
        stun_put(w, STUN_ATTR_RESERVATION_TOKEN, slice_of(a->token, sizeof(a->token)));
    stun_put_xaddr(w, STUN_ATTR_XOR_MAPPED_ADDRESS, &r->from->client, r->msg->tid);
    if (a->mobile)
        mobility_put_ticket(r, a, w);
}

static bool is_retransmission(const struct alloc *a, const struct request *r)
{
    return memcmp(a->tid, r->msg->tid, STUN_TID_BYTES) == 0 && request_is_owners(r, a);
}

/* A new allocation for r's client, without addresses yet. NULL when memory is out. */
static struct alloc *make(const struct request *r, bool tcp, bool mobile)
{
    struct turn_core *c = r->core;
    bool judged = c->shared->limits.media_quality && !tcp;
    struct alloc *a = judged ? alloc_new_judged(r->from, r->id.username, r->now_us)
                             : alloc_new(r->from, r->id.username, r->now_us);

    if (!a)
        return NULL;
    a->link = r->link;
    a->realm = (uint16_t)r->realm;
    a->account = account_of(r);
    if (quota_rule_of(c->shared->quota, r->realm)->bytes.milli_per_s > 0)
        a->throttle.user = &quota_rule_of(c->shared->quota, r->realm)->bytes;
    memcpy(a->tid, r->msg->tid, STUN_TID_BYTES);
    a->tcp = tcp;
    a->at = (uint16_t)c->worker;
    if (tcp)
        a->meter = tcp_meter_new(&c->shared->limits.throttle, a->throttle.user, c->shared->quota,
                                 a->account);
    if ((!tcp || a->meter) && (!mobile || alloc_make_mobile(a) == 0) && keep_token(a, r) == 0)
        return a;
    alloc_free(a);
    return NULL;
}

/* What a client is told whom we have no room for. A reserved port is nowhere else: the caller sees
 * to that. */
static int no_room(const struct request *r, bool elsewhere)
{
    return elsewhere && turn_shared_alternate(r->core->shared, r->from->client.family)
               ? STUN_ERR_TRY_ALTERNATE
               : STUN_ERR_INSUFFICIENT_CAPACITY;
}

int allocate_request(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    struct wish wish = {0};

    if (r->alloc) {
        if (!is_retransmission(r->alloc, r))
            return STUN_ERR_ALLOCATION_MISMATCH;
        answer(r, r->alloc, w);
        return 0;
    }
    if (c->forwarded) /* its worker has not heard yet that it is no guest of ours any more */
        return STUN_ERR_ALLOCATION_MISMATCH;
    int err = peer_policy_is_tunnel(&r->from->client) ? STUN_ERR_FORBIDDEN : wish_decode(r, &wish);
    if (!err && turn_shared_draining(c->shared))
        return no_room(r, true);
    if (err)
        return err;
    struct alloc *a = make(r, wish.tcp, wish.mobile);
    if (!a)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    err = wish.additional ? acquire_both(c, a, &wish, r->now_us) : acquire(c, a, &wish, r->now_us);
    if (err) {
        alloc_free(a);
        return err == STUN_ERR_INSUFFICIENT_CAPACITY && !wish.has_token
                   ? no_room(r, c->shared->alternate_when_full)
                   : err;
    }
    alloc_add(&c->allocs, a);
    if (a->media)
        list_append(&c->media, &a->media->due);
    alloc_refresh(&c->allocs, a, within_token(r, wish.lifetime_s), r->now_us);
    counter_inc(&c->metrics.allocations);
    counter_inc(&c->metrics.allocations_made);
    answer(r, a, w);
    return 0;
}

/* Closes the first relayed address and gives back what it holds. */
static void release(struct turn_core *c, struct alloc *a)
{
    struct reserved held = {a->account, a->pool, a->relayed.port};

    connect_end_all(c, a, a->relayed.family);
    c->ops->close(c->ops_arg, a);
    turn_shared_give(c->shared, &held);
}

/* Releases one of two relayed addresses; the other is the first one then. */
static void release_family(struct turn_core *c, struct alloc *a, uint8_t family)
{
    if (a->relayed.family != family)
        alloc_swap(a);
    release(c, a);
    alloc_swap(a);
    a->second = (struct alloc_second){0};
}

/* Reads which family a Refresh is about: ADDR_NONE for all. Returns 0 or an error code. */
static int refresh_family(const struct request *r, uint8_t *out)
{
    struct slice value;

    *out = ADDR_NONE;
    if (!stun_find(r->msg, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, &value))
        return 0;
    if (wish_family(r, out) != 0 || !alloc_has(r->alloc, *out))
        return STUN_ERR_PEER_FAMILY_MISMATCH;
    return 0;
}

/* Ends one of two relayed addresses while the allocation lives on. */
static void end_family(struct turn_core *c, struct alloc *a, uint8_t family)
{
    *(a->relayed.family == family ? &a->until_us : &a->second.until_us) = 0;
    turn_core_offload(c, a, true);
    release_family(c, a, family);
    alloc_rearm(&c->allocs, a);
}

/* Ends the allocation, or one relayed address of two. */
static void refresh_zero(struct request *r, uint8_t family)
{
    if (family != ADDR_NONE && alloc_addresses(r->alloc) > 1) {
        end_family(r->core, r->alloc, family);
        return;
    }
    allocate_end(r->core, r->alloc, "released", r->now_us);
    r->alloc = NULL;
}

int allocate_refresh(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    uint32_t lifetime_s;
    uint8_t family;
    struct slice ticket;
    bool moves = stun_find(r->msg, STUN_ATTR_MOBILITY_TICKET, &ticket);

    int err = moves ? wish_lifetime(r, &lifetime_s) : 0;
    if (!err && moves)
        err = mobility_refresh(r, ticket);
    if (err)
        return err;
    if (!r->alloc)
        return STUN_ERR_ALLOCATION_MISMATCH;
    if (!request_is_owners(r, r->alloc))
        return STUN_ERR_WRONG_CREDENTIALS;
    err = refresh_family(r, &family);
    if (!err)
        err = wish_lifetime(r, &lifetime_s);
    if (err)
        return err;

    if (lifetime_s > 0 && lifetime_s < c->shared->limits.default_lifetime_s)
        lifetime_s = c->shared->limits.default_lifetime_s;
    lifetime_s = within_token(r, lifetime_s);
    if (keep_token(r->alloc, r) != 0)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    if (moves)
        mobility_put_ticket(r, r->alloc, w);
    if (lifetime_s == 0)
        refresh_zero(r, family);
    else if (family != ADDR_NONE)
        alloc_refresh_family(&c->allocs, r->alloc, family, lifetime_s, r->now_us);
    else
        alloc_refresh(&c->allocs, r->alloc, lifetime_s, r->now_us);
    stun_put_u32(w, STUN_ATTR_LIFETIME, lifetime_s);
    return 0;
}

void allocate_end(struct turn_core *c, struct alloc *a, const char *why, uint64_t now_us)
{
    if (a->meter)
        tcp_meter_end(a->meter);
    turn_core_offload(c, a, false);
    if (c->ops->ended)
        c->ops->ended(c->ops_arg, a, why, now_us);
    mobility_end(c, a);
    alloc_del(&c->allocs, a);
    if (alloc_addresses(a) > 1)
        release_family(c, a, a->second.relayed.family);
    release(c, a);
    counter_sub(&c->metrics.allocations, 1);
    alloc_free(a);
}

void allocate_expire(struct turn_core *c, struct alloc *a, uint64_t now_us)
{
    bool first = a->until_us <= now_us, second = a->second.until_us <= now_us;

    if (alloc_addresses(a) == 1 || first == second) {
        allocate_end(c, a, "expired", now_us);
        return;
    }
    end_family(c, a, first ? a->relayed.family : a->second.relayed.family);
}

/* CreatePermission and ChannelBind (RFC 8656 §10, §12.1): which peers an allocation talks to.
 *
 * Called by dispatch.c with verified requests. Pure. Everything is checked before anything is
 * changed. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/permit.h"

#include "proto/chandata.h"

/* The allocation must exist and be this user's. */
static int check_owner(const struct request *r)
{
    if (!r->alloc)
        return STUN_ERR_ALLOCATION_MISMATCH;
    return request_is_owners(r, r->alloc) ? 0 : STUN_ERR_WRONG_CREDENTIALS;
}

/* Decodes every XOR-PEER-ADDRESS; there must be one. */
static int decode_peers(const struct request *r, struct addr peers[STUN_ATTRS_MAX], unsigned *n)
{
    struct slice at = r->msg->attrs;
    struct stun_attr a;

    for (*n = 0; stun_next(&at, &a);) {
        if (a.type == STUN_ATTR_XOR_PEER_ADDRESS &&
            stun_xaddr_decode(&peers[(*n)++], a.value, r->msg->tid) != 0)
            return STUN_ERR_BAD_REQUEST;
    }
    return *n > 0 ? 0 : STUN_ERR_BAD_REQUEST;
}

/* Families before the policy: a request with several faults is told the first of RFC 8656 §10.2. */
static int check_peers(const struct request *r, const struct addr *peers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!alloc_has(r->alloc, peers[i].family))
            return STUN_ERR_PEER_FAMILY_MISMATCH;
    }
    for (unsigned i = 0; i < n; i++) {
        if (peer_policy_check(&r->core->shared->policy, &peers[i]) == PEER_DENIED)
            return STUN_ERR_FORBIDDEN;
    }
    return 0;
}

/* Permits the address, and tells the channels to it. Room must have been reserved. */
static void permit(struct request *r, const struct addr *peer)
{
    uint64_t until_us = perm_install(&r->alloc->perms, peer, r->now_us);

    chan_permit(&r->alloc->chans, peer, until_us);
}

/* Charges those of the peers that have no permission now: looking for open doors is slow. */
static bool may_reach(struct request *r, const struct addr *peers, unsigned n)
{
    struct turn_core *c = r->core;
    unsigned fresh = 0;

    for (unsigned i = 0; i < n; i++)
        fresh += !perm_allows(&r->alloc->perms, &peers[i], r->now_us);
    if (throttle_peers(&r->alloc->throttle, &c->shared->limits.throttle, fresh, r->now_us))
        return true;
    counter_inc(&c->metrics.peers_refused);
    return false;
}

int permit_create(struct request *r, struct wr *w)
{
    struct addr peers[STUN_ATTRS_MAX];
    unsigned n;
    int err = check_owner(r);

    (void)w; /* a success answer has no attributes of its own */
    if (!err)
        err = decode_peers(r, peers, &n);
    if (!err)
        err = check_peers(r, peers, n);
    if (err)
        return err;
    if (!may_reach(r, peers, n) || perm_reserve(&r->alloc->perms, n, r->now_us) != 0)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    for (unsigned i = 0; i < n; i++)
        permit(r, &peers[i]);
    return 0;
}

int permit_bind(struct request *r, struct wr *w)
{
    struct slice number_value, peer_value;
    const struct portpool *guard;
    uint16_t number;
    struct addr peer;
    int err = check_owner(r);

    (void)w;
    if (err)
        return err;
    if (r->alloc->tcp) /* channels carry datagrams */
        return STUN_ERR_FORBIDDEN;
    if (!stun_find(r->msg, STUN_ATTR_CHANNEL_NUMBER, &number_value) ||
        !stun_find(r->msg, STUN_ATTR_XOR_PEER_ADDRESS, &peer_value) ||
        stun_channel_decode(&number, number_value) != 0 || number < CHANDATA_CHANNEL_MIN ||
        number > r->core->shared->limits.channel_max ||
        stun_xaddr_decode(&peer, peer_value, r->msg->tid) != 0 ||
        chan_conflicts(&r->alloc->chans, number, &peer, r->now_us))
        return STUN_ERR_BAD_REQUEST;
    if (!alloc_has(r->alloc, peer.family))
        return STUN_ERR_PEER_FAMILY_MISMATCH;
    if (!turn_shared_may_send(r->core->shared, &peer, &guard))
        return STUN_ERR_FORBIDDEN;
    if (!may_reach(r, &peer, 1) || perm_reserve(&r->alloc->perms, 1, r->now_us) != 0)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    if (chan_bind(&r->alloc->chans, number, &peer, guard, r->now_us) != 0)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    permit(r, &peer);
    return 0;
}

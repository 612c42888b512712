/* Connect, ConnectionBind and ConnectionAttempt (RFC 6062 §5.2 to §5.4).
 *
 * Called by dispatch.c with verified requests, by tcp_relay_sock.c with what the sockets say, by
 * allocate.c and turn_core.c to end connections. Pure: sockets are behind relay_ops. The only place
 * that makes and ends peer connections: each holds exactly one CONNECTION-ID.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/connect.h"

#include <errno.h>

#include "base/crypto.h"
#include "base/rand.h"
#include "turn/dispatch.h"

#define ANSWER_MAX 512

/* A place among the allocation's connections and among all. Returns 0 or -errno. */
static int take_id(struct turn_core *c, const struct alloc *a, uint32_t *id)
{
    if (a->n_conns >= c->shared->limits.tcp_per_allocation)
        return -ENOSPC;
    return conn_ids_add(c->shared->conn_ids, c->worker, request_user_of(a), id);
}

static struct peer_conn *begin(struct turn_core *c, struct alloc *a, const struct addr *peer,
                               enum peer_conn_state state, uint64_t until_us)
{
    uint32_t id;

    if (take_id(c, a, &id) != 0)
        return NULL;
    struct peer_conn *p = peer_conn_new(&c->conns, a, peer, id, state, until_us);
    if (!p) {
        conn_ids_del(c->shared->conn_ids, id);
        return NULL;
    }
    counter_inc(&c->metrics.tcp_connections);
    counter_inc(&c->metrics.tcp_connections_made);
    return p;
}

static void forget(struct turn_core *c, struct peer_conn *p)
{
    conn_ids_del(c->shared->conn_ids, p->id);
    counter_sub(&c->metrics.tcp_connections, 1);
    peer_conn_free(&c->conns, p);
}

void connect_end(struct turn_core *c, struct peer_conn *p)
{
    c->ops->disconnect(c->ops_arg, p);
    forget(c, p);
}

void connect_end_all(struct turn_core *c, struct alloc *a, uint8_t family)
{
    struct peer_conn *p;

    while ((p = peer_conn_first(a, family)))
        connect_end(c, p);
}

static void keep_request(const struct request *r, struct deferred *d)
{
    struct slice value;

    memcpy(d->id.key, r->id.key, r->id.key_len);
    d->id.key_len = r->id.key_len;
    d->id.sha256 = r->id.sha256;
    d->method = stun_method_of(r->msg->type);
    memcpy(d->tid, r->msg->tid, STUN_TID_BYTES);
    d->fingerprint = r->msg->has_fingerprint;
    d->has_counter = stun_find(r->msg, STUN_ATTR_TRANSMIT_COUNTER, &value) &&
                     stun_u32_decode(&d->counter, value) == 0;
}

static int decode_peer(const struct request *r, struct addr *peer)
{
    struct slice value;

    if (!stun_find(r->msg, STUN_ATTR_XOR_PEER_ADDRESS, &value) ||
        stun_xaddr_decode(peer, value, r->msg->tid) != 0 || peer->port == 0)
        return STUN_ERR_BAD_REQUEST;
    return alloc_has(r->alloc, peer->family) ? 0 : STUN_ERR_PEER_FAMILY_MISMATCH;
}

/* A socket that connects to its own address talks to itself. */
static bool is_itself(const struct request *r, const struct addr *peer)
{
    struct addr wire = turn_shared_to_wire(r->core->shared, *peer);

    return addr_eq(&wire, &r->alloc->relayed) || addr_eq(&wire, &r->alloc->second.relayed);
}

int connect_request(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    struct alloc *a = r->alloc;
    struct addr peer;

    (void)w; /* connect_done() writes the answer */
    if (!a)
        return STUN_ERR_ALLOCATION_MISMATCH;
    if (!request_is_owners(r, a))
        return STUN_ERR_WRONG_CREDENTIALS;
    if (!a->tcp)
        return STUN_ERR_FORBIDDEN;
    int err = decode_peer(r, &peer);
    if (err)
        return err;
    if (peer_conn_to(a, &peer))
        return STUN_ERR_CONNECTION_EXISTS;
    if (!turn_shared_may_connect(c->shared, &peer) || is_itself(r, &peer))
        return STUN_ERR_FORBIDDEN;
    if (!throttle_peers(&a->throttle, &c->shared->limits.throttle, 1, r->now_us)) {
        counter_inc(&c->metrics.peers_refused);
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    }
    struct peer_conn *p =
        begin(c, a, &peer, PEER_CONN_CONNECTING, r->now_us + c->shared->limits.tcp_connect_us);
    if (!p)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    keep_request(r, &p->waiting);
    if (c->ops->connect(c->ops_arg, p) != 0) {
        connect_end(c, p);
        return STUN_ERR_CONNECTION_FAILED;
    }
    return REQUEST_LATER;
}

void connect_done(struct turn_core *c, struct peer_conn *p, bool ok, uint64_t now_us)
{
    uint8_t buf[ANSWER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct alloc *a = p->alloc;

    dispatch_late(c, &p->waiting, ok ? 0 : STUN_ERR_CONNECTION_FAILED, p->id, &w);
    crypto_wipe(&p->waiting, sizeof(p->waiting));
    if (ok) {
        peer_conn_move(&c->conns, p, PEER_CONN_WAITING, now_us + c->shared->limits.tcp_bind_us);
        conn_ids_open(c->shared->conn_ids, p->id);
    } else {
        connect_end(c, p);
    }
    /* A client whose queue is full of unread answers will not miss this one; its connection ends
     * unbound. */
    (void)c->ops->tell(c->ops_arg, a, wr_done(&w));
}

/* ConnectionAttempt: who has connected, and by which id to take it. */
static int tell_attempt(struct turn_core *c, const struct peer_conn *p)
{
    uint8_t buf[ANSWER_MAX], tid[STUN_TID_BYTES];
    struct wr w = wr_init(buf, sizeof(buf));

    rand_bytes(tid, sizeof(tid));
    stun_begin(&w, stun_type(STUN_CONNECTION_ATTEMPT, STUN_INDICATION), tid);
    stun_put_u32(&w, STUN_ATTR_CONNECTION_ID, p->id);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &p->peer, tid);
    return c->ops->tell(c->ops_arg, p->alloc, wr_done(&w));
}

struct peer_conn *connect_incoming(struct turn_core *c, struct alloc *a, const struct addr *peer,
                                   uint64_t now_us)
{
    struct addr shown = turn_shared_from_wire(c->shared, *peer);

    if (!perm_allows(&a->perms, &shown, now_us)) {
        turn_metrics_drop(&c->metrics, TURN_DROP_NO_PERMISSION);
        return NULL;
    }
    struct peer_conn *p =
        begin(c, a, &shown, PEER_CONN_WAITING, now_us + c->shared->limits.tcp_bind_us);
    if (!p) {
        turn_metrics_drop(&c->metrics, TURN_DROP_TCP_LIMIT);
        return NULL;
    }
    if (tell_attempt(c, p) != 0) {
        turn_metrics_drop(&c->metrics, TURN_DROP_CLIENT_QUEUE);
        connect_end(c, p);
        return NULL;
    }
    conn_ids_open(c->shared->conn_ids, p->id);
    return p;
}

int connect_bind(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    struct slice value;
    uint32_t id;

    (void)w;
    /* A control connection stays one; and one that is not here cannot be joined here. */
    if (r->alloc || c->forwarded || !five_tuple_is_stream(r->from) ||
        !stun_find(r->msg, STUN_ATTR_CONNECTION_ID, &value) || stun_u32_decode(&id, value) != 0)
        return STUN_ERR_BAD_REQUEST;
    int err = conn_ids_claim(c->shared->conn_ids, id, request_user(r), &c->bound_worker);
    if (err)
        return err == -EACCES ? STUN_ERR_WRONG_CREDENTIALS : STUN_ERR_BAD_REQUEST;
    held_drop(&c->held, r->from);
    c->bound_id = id;
    r->bound = true;
    return 0;
}

struct peer_conn *connect_bound(struct turn_core *c, uint32_t id, unsigned worker)
{
    struct peer_conn *p = peer_conn_find(&c->conns, id);

    if (!p || p->state != PEER_CONN_WAITING)
        return NULL;
    peer_conn_move(&c->conns, p, PEER_CONN_BOUND, CLOCK_NEVER);
    p->worker = worker;
    return p;
}

void connect_gone(struct turn_core *c, uint32_t id)
{
    struct peer_conn *p = peer_conn_find(&c->conns, id);

    if (p && p->state == PEER_CONN_BOUND)
        forget(c, p);
}

void connect_tick(struct turn_core *c, uint64_t now_us)
{
    struct peer_conn *p;

    while ((p = peer_conn_expired(&c->conns, now_us))) {
        if (p->state == PEER_CONN_CONNECTING)
            connect_done(c, p, false, now_us);
        else
            connect_end(c, p);
    }
}

/* Mobility (RFC 8016): an allocation follows its client to another 5-tuple.
 *
 * Called by allocate.c with verified requests, by relay.c with data while an allocation is moving,
 * by turn_core.c when a connection is gone. Pure.
 *
 *     still ──Refresh with ticket, from elsewhere──► moving ──data from there, or the old──► still
 *             mobility_refresh                         │      connection gone: alloc_move_end
 *                                  another ticket: alloc_move_cancel, then moving again
 *
 * While it is moving, both 5-tuples may ask and send, and data goes to the old one: the client may
 * not have heard yet (§3.2.2). The allocation stays with its worker for life, with its sockets,
 * port and quota; a client that the kernel steers to another worker is a guest there (guest.c), and
 * its messages are passed on (forward.c).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/mobility.h"

#include <errno.h>

#include "turn/ticket.h"

#define RETRANSMIT_US (40 * US_PER_S) /* RFC 8016 §3.2.2: "at least 30 seconds" */

int mobility_wanted(const struct request *r, bool tcp, bool *wanted)
{
    struct slice value;

    *wanted = stun_find(r->msg, STUN_ATTR_MOBILITY_TICKET, &value);
    if (!*wanted)
        return 0;
    if (value.len > 0)
        return STUN_ERR_BAD_REQUEST;
    return r->core->shared->limits.mobility && !tcp ? 0 : STUN_ERR_MOBILITY_FORBIDDEN;
}

void mobility_put_ticket(const struct request *r, const struct alloc *a, struct wr *w)
{
    const struct turn_core *c = r->core;
    const struct ticket t = {(uint8_t)c->worker, a->serial, a->mobile->moves};
    uint8_t sealed[TICKET_BYTES];

    if (ticket_seal(sealed, &t, c->shared->ticket_key) != 0)
        w->bad = true;
    else
        stun_put(w, STUN_ATTR_MOBILITY_TICKET, slice_of(sealed, sizeof(sealed)));
}

/* Nobody comes by this 5-tuple any more: if it is one of another worker's guests, that one is told.
 */
static void leave(struct turn_core *c, unsigned at, const struct five_tuple *tuple, uint32_t seq)
{
    if (at != c->worker)
        c->ops->left(c->ops_arg, at, tuple, seq);
}

static void cancel(struct turn_core *c, struct alloc *a)
{
    leave(c, a->mobile->next.at, &a->mobile->next.tuple, a->mobile->next.seq);
    alloc_move_cancel(&c->allocs, a);
}

static void settle(struct turn_core *c, struct alloc *a)
{
    leave(c, a->at, &a->tuple, a->seq);
    alloc_move_end(&c->allocs, a);
    turn_core_offload(c, a, true);
}

/* The message is for another worker, whose guest the client is here from now on. */
static int forward(struct request *r, unsigned owner)
{
    struct turn_core *c = r->core;
    uint64_t until_us = r->now_us + c->shared->limits.max_lifetime_s * US_PER_S + GUEST_US;

    if (c->forwarded || owner >= c->n_workers)
        return STUN_ERR_ALLOCATION_MISMATCH;
    if (guest_add(&c->guests, r->from, owner, r->link, until_us) != 0)
        return STUN_ERR_INSUFFICIENT_CAPACITY;
    c->forward_to = owner;
    return REQUEST_FORWARD;
}

/* A ticket from a 5-tuple that has an allocation: the answer was lost, or it is a mistake. */
static int from_known(const struct request *r, const struct ticket *t)
{
    const struct alloc *a = r->alloc;

    if (t->worker != r->core->worker || t->serial != a->serial || !a->mobile)
        return STUN_ERR_ALLOCATION_MISMATCH;
    if ((uint16_t)(t->moves + 1) == a->mobile->moves &&
        memcmp(a->mobile->tid, r->msg->tid, STUN_TID_BYTES) == 0 &&
        r->now_us < a->mobile->moved_us + RETRANSMIT_US)
        return 0;
    return STUN_ERR_BAD_REQUEST;
}

int mobility_refresh(struct request *r, struct slice sealed)
{
    struct turn_core *c = r->core;
    struct ticket t;

    if (!c->shared->limits.mobility || peer_policy_is_tunnel(&r->from->client))
        return STUN_ERR_MOBILITY_FORBIDDEN;
    int err = ticket_open(&t, sealed, c->shared->ticket_key);
    if (err)
        return err == -EBADMSG ? STUN_ERR_BAD_REQUEST : STUN_ERR_ALLOCATION_MISMATCH;
    if (r->alloc)
        return from_known(r, &t);
    if (t.worker != c->worker)
        return forward(r, t.worker);
    struct alloc *a = alloc_by_serial(&c->allocs, t.serial);
    if (!a || t.moves != a->mobile->moves)
        return STUN_ERR_ALLOCATION_MISMATCH;
    if (request_user(r) != request_user_of(a))
        return STUN_ERR_WRONG_CREDENTIALS;

    if (a->moving)
        cancel(c, a);
    const struct alloc_place to = {.tuple = *r->from,
                                   .link = r->link,
                                   .at = (uint16_t)(c->forwarded ? c->came_from : c->worker)};
    alloc_move_begin(&c->allocs, a, &to);
    a->mobile->moves++;
    a->mobile->moved_us = r->now_us;
    memcpy(a->mobile->tid, r->msg->tid, STUN_TID_BYTES);
    if (a->mobile->lost) /* nobody is at the old place */
        settle(c, a);
    counter_inc(&c->metrics.moves);
    r->alloc = a;
    return 0;
}

void mobility_data(struct turn_core *c, struct alloc *a, const struct five_tuple *from)
{
    if (five_tuple_eq(&a->mobile->next.tuple, from))
        settle(c, a);
}

bool mobility_gone(struct turn_core *c, struct alloc *a, const struct five_tuple *gone,
                   uint64_t now_us)
{
    if (a->moving && five_tuple_eq(&a->mobile->next.tuple, gone)) {
        cancel(c, a);
        turn_core_offload(c, a, true);
        return true;
    }
    if (a->moving) {
        settle(c, a);
        return true;
    }
    if (!a->mobile)
        return false;
    a->mobile->lost = true;
    a->link = NULL;
    alloc_shorten(&c->allocs, a, now_us + MOBILITY_GRACE_US);
    return true;
}

void mobility_end(struct turn_core *c, struct alloc *a)
{
    if (a->moving)
        cancel(c, a);
    leave(c, a->at, &a->tuple, a->seq);
}

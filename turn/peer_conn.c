/* The peer data connections of TCP allocations: what each waits for and until when.
 *
 * Called by connect.c only, which also performs the arrows. Pure; owned by the allocation's worker.
 *
 *     connect_request ──► CONNECTING ──connect_done──► WAITING ──connect_bound──► BOUND
 *                             │        connect_incoming ──►│                        │
 *         refused, 30 s over ─┴── 30 s over, ──────────────┴─ either side closed, ──┴─► gone
 *
 * and from any state when the allocation ends.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/peer_conn.h"

#include <assert.h>
#include <errno.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/mem.h"

#define CONNS_EXPECT 16

int peer_conns_init(struct peer_conns *t, uint64_t now_us)
{
    *t = (struct peer_conns){0};
    if (htable_init(&t->_by_id, CONNS_EXPECT) != 0)
        return -ENOMEM;
    t->_expiry = timerwheel_new(now_us);
    if (!t->_expiry) {
        htable_fini(&t->_by_id);
        return -ENOMEM;
    }
    return 0;
}

void peer_conns_fini(struct peer_conns *t)
{
    htable_fini(&t->_by_id);
    timerwheel_free(t->_expiry);
    *t = (struct peer_conns){0};
}

struct peer_conn *peer_conn_new(struct peer_conns *t, struct alloc *a, const struct addr *peer,
                                uint32_t id, enum peer_conn_state state, uint64_t until_us)
{
    struct peer_conn *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->alloc = a;
    p->peer = *peer;
    p->id = id;
    p->state = (uint8_t)state;
    list_append(&a->conns, &p->link);
    a->n_conns++;
    htable_add(&t->_by_id, &p->by_id, id);
    timer_set(t->_expiry, &p->timer, until_us);
    return p;
}

void peer_conn_free(struct peer_conns *t, struct peer_conn *p)
{
    if (!p)
        return;
    timer_cancel(t->_expiry, &p->timer);
    htable_del(&t->_by_id, &p->by_id);
    list_del(&p->link);
    p->alloc->n_conns--;
    crypto_wipe(&p->waiting, sizeof(p->waiting));
    mem_free(p);
}

void peer_conn_move(struct peer_conns *t, struct peer_conn *p, enum peer_conn_state state,
                    uint64_t until_us)
{
    assert((unsigned)state > p->state);
    p->state = (uint8_t)state;
    timer_set(t->_expiry, &p->timer, until_us);
}

struct peer_conn *peer_conn_find(const struct peer_conns *t, uint32_t id)
{
    struct hnode *n = htable_first(&t->_by_id, id);

    return n ? CONTAINER_OF(n, struct peer_conn, by_id) : NULL;
}

struct peer_conn *peer_conn_to(const struct alloc *a, const struct addr *peer)
{
    LIST_EACH(it, tmp, &a->conns)
    {
        struct peer_conn *p = CONTAINER_OF(it, struct peer_conn, link);
        if (addr_eq(&p->peer, peer))
            return p;
    }
    return NULL;
}

struct peer_conn *peer_conn_first(const struct alloc *a, uint8_t family)
{
    LIST_EACH(it, tmp, &a->conns)
    {
        struct peer_conn *p = CONTAINER_OF(it, struct peer_conn, link);
        if (p->peer.family == family)
            return p;
    }
    return NULL;
}

struct peer_conn *peer_conn_expired(struct peer_conns *t, uint64_t now_us)
{
    struct timer *timer = timerwheel_pop(t->_expiry, now_us);

    return timer ? CONTAINER_OF(timer, struct peer_conn, timer) : NULL;
}

uint64_t peer_conns_deadline(const struct peer_conns *t)
{
    return timerwheel_next(t->_expiry);
}

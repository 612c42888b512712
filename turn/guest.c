/* Clients whose packets come to this worker while their allocation is another's.
 *
 * Called by mobility.c (a ticket that names another worker), dispatch.c (each message, while there
 * is a guest at all) and forward.c (the owner says that it is over). Pure. A guest exists only
 * after a request with credentials and a ticket that opens (whose it is,
 * the owner knows: if it was another user's, the guest goes again).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/guest.h"

#include <errno.h>

#include "base/mem.h"

#define GUESTS_EXPECT 8

int guests_init(struct guests *t, uint64_t now_us)
{
    *t = (struct guests){0};
    if (htable_init(&t->_by_tuple, GUESTS_EXPECT) != 0)
        return -ENOMEM;
    t->_expiry = timerwheel_new(now_us);
    if (!t->_expiry) {
        htable_fini(&t->_by_tuple);
        return -ENOMEM;
    }
    return 0;
}

void guests_fini(struct guests *t)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&t->_by_tuple, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct guest, node));
    htable_fini(&t->_by_tuple);
    timerwheel_free(t->_expiry);
    *t = (struct guests){0};
}

struct guest *guest_find(const struct guests *t, const struct five_tuple *tuple)
{
    struct hnode *n = htable_first(&t->_by_tuple, five_tuple_hash(tuple));

    for (; n; n = htable_next(n)) {
        struct guest *g = CONTAINER_OF(n, struct guest, node);
        if (five_tuple_eq(&g->tuple, tuple))
            return g;
    }
    return NULL;
}

int guest_add(struct guests *t, const struct five_tuple *tuple, unsigned owner, void *link,
              uint64_t until_us)
{
    struct guest *g = guest_find(t, tuple);

    if (!g) {
        if (t->_by_tuple.count >= GUESTS_MAX)
            return -ENOSPC;
        g = mem_zalloc(sizeof(*g));
        if (!g)
            return -ENOMEM;
        g->tuple = *tuple;
        htable_add(&t->_by_tuple, &g->node, five_tuple_hash(tuple));
    }
    g->owner = owner;
    g->link = link;
    timer_set(t->_expiry, &g->timer, until_us);
    return 0;
}

void guest_extend(struct guests *t, struct guest *g, uint64_t until_us)
{
    timer_set(t->_expiry, &g->timer, until_us);
}

void guest_del(struct guests *t, struct guest *g)
{
    if (!g)
        return;
    timer_cancel(t->_expiry, &g->timer);
    htable_del(&t->_by_tuple, &g->node);
    mem_free(g);
}

void guests_tick(struct guests *t, uint64_t now_us)
{
    struct timer *timer;

    while ((timer = timerwheel_pop(t->_expiry, now_us)))
        guest_del(t, CONTAINER_OF(timer, struct guest, timer));
}

uint64_t guests_deadline(const struct guests *t)
{
    return timerwheel_next(t->_expiry);
}

/* Permissions of one allocation: peer address -> 5 minutes (RFC 8656 §9).
 *
 * Called by permit.c (CreatePermission, ChannelBind) and relay.c (each Send, each datagram from a
 * peer without a channel). Pure; owned by the allocation. The order carries no meaning: an expired
 * entry is replaced by the last one. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/perm.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

#define PERM_FIRST_CAP 2 /* most clients have one peer, some one per family */

void perm_fini(struct perm_table *t)
{
    mem_free(t->_v);
    *t = (struct perm_table){0};
}

static void purge(struct perm_table *t, uint64_t now_us)
{
    for (unsigned i = 0; i < t->_n;) {
        if (t->_v[i].until_us <= now_us)
            t->_v[i] = t->_v[--t->_n];
        else
            i++;
    }
}

int perm_reserve(struct perm_table *t, unsigned n, uint64_t now_us)
{
    if (n <= (unsigned)(t->_cap - t->_n))
        return 0;
    purge(t, now_us);
    if (n > (unsigned)(PERM_MAX - t->_n))
        return -ENOSPC;
    unsigned cap = t->_cap ? t->_cap : PERM_FIRST_CAP;
    while (cap < t->_n + n)
        cap *= 2;
    struct perm *v = mem_realloc(t->_v, cap * sizeof(*v));
    if (!v)
        return -ENOMEM;
    t->_v = v;
    t->_cap = (uint16_t)cap;
    return 0;
}

static struct perm *find(const struct perm_table *t, const struct addr *peer)
{
    for (unsigned i = 0; i < t->_n; i++) {
        if (addr_ip_eq(&t->_v[i].peer, peer))
            return &t->_v[i];
    }
    return NULL;
}

uint64_t perm_install(struct perm_table *t, const struct addr *peer, uint64_t now_us)
{
    struct perm *p = find(t, peer);

    if (!p) {
        assert(t->_n < t->_cap);
        p = &t->_v[t->_n++];
        p->peer = addr_with_port(*peer, 0);
    }
    p->until_us = now_us + PERM_LIFETIME_US;
    return p->until_us;
}

bool perm_allows(const struct perm_table *t, const struct addr *peer, uint64_t now_us)
{
    const struct perm *p = find(t, peer);

    return p && p->until_us > now_us;
}

/* Channel bindings of one allocation: number <-> peer, 10 minutes each (RFC 8656 §12).
 *
 * Called by permit.c (ChannelBind) and relay.c (ChannelData, datagrams from peers). Pure; owned by
 * the allocation's worker thread. Each ChannelBind also installs or refreshes the peer's
 * permission, which lasts 5 minutes, not 10 (RFC 8656 §12.2; perm.c); the binding keeps a copy of
 * that deadline, so that a relayed packet costs one search and two comparisons.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/chan.h"

#include <errno.h>

#include "base/mem.h"

#define CHAN_FIRST_CAP 1 /* BUNDLE made one channel the rule */

void chan_fini(struct chan_table *t)
{
    mem_free(t->_v);
    *t = (struct chan_table){0};
}

static bool is_bound(const struct chan *c, uint64_t now_us)
{
    return c->until_us > now_us;
}

static bool is_open(const struct chan *c, uint64_t now_us)
{
    return c->until_us > now_us && c->perm_until_us > now_us;
}

/* Makes room for one more; bindings that have expired go first. */
static int reserve(struct chan_table *t, uint64_t now_us)
{
    if (t->_n < t->_cap)
        return 0;
    for (unsigned i = 0; i < t->_n;) {
        if (!is_bound(&t->_v[i], now_us))
            t->_v[i] = t->_v[--t->_n];
        else
            i++;
    }
    if (t->_n < t->_cap)
        return 0;
    if (t->_n == CHAN_MAX)
        return -ENOSPC;
    unsigned cap = t->_cap ? 2u * t->_cap : CHAN_FIRST_CAP;
    struct chan *v = mem_realloc(t->_v, cap * sizeof(*v));
    if (!v)
        return -ENOMEM;
    t->_v = v;
    t->_cap = (uint16_t)cap;
    return 0;
}

bool chan_conflicts(const struct chan_table *t, uint16_t number, const struct addr *peer,
                    uint64_t now_us)
{
    for (unsigned i = 0; i < t->_n; i++) {
        const struct chan *c = &t->_v[i];
        if (is_bound(c, now_us) && (c->number == number) != addr_eq(&c->peer, peer))
            return true;
    }
    return false;
}

int chan_bind(struct chan_table *t, uint16_t number, const struct addr *peer,
              const struct portpool *guard, uint64_t now_us)
{
    if (chan_conflicts(t, number, peer, now_us))
        return -EPROTO;
    for (unsigned i = 0; i < t->_n; i++) {
        struct chan *c = &t->_v[i];
        if (c->number == number && is_bound(c, now_us)) {
            c->until_us = now_us + CHAN_LIFETIME_US;
            return 0;
        }
    }
    int err = reserve(t, now_us);
    if (err)
        return err;
    t->_v[t->_n++] = (struct chan){
        .peer = *peer,
        .number = number,
        .until_us = now_us + CHAN_LIFETIME_US,
        .guard = guard,
    };
    return 0;
}

void chan_permit(struct chan_table *t, const struct addr *peer, uint64_t until_us)
{
    for (unsigned i = 0; i < t->_n; i++) {
        if (addr_ip_eq(&t->_v[i].peer, peer))
            t->_v[i].perm_until_us = until_us;
    }
}

const struct chan *chan_at(const struct chan_table *t, unsigned i)
{
    return i < t->_n ? &t->_v[i] : NULL;
}

const struct chan *chan_by_number(struct chan_table *t, uint16_t number, uint64_t now_us)
{
    for (unsigned k = 0, i = t->_hit_number; k < t->_n; k++, i++) {
        if (i >= t->_n)
            i = 0;
        const struct chan *c = &t->_v[i];
        if (c->number == number && is_open(c, now_us)) {
            t->_hit_number = (uint16_t)i;
            return c;
        }
    }
    return NULL;
}

const struct chan *chan_by_peer(struct chan_table *t, const struct addr *peer, uint64_t now_us)
{
    for (unsigned k = 0, i = t->_hit_peer; k < t->_n; k++, i++) {
        if (i >= t->_n)
            i = 0;
        const struct chan *c = &t->_v[i];
        if (addr_eq(&c->peer, peer) && is_open(c, now_us)) {
            t->_hit_peer = (uint16_t)i;
            return c;
        }
    }
    return NULL;
}

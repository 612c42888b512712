/* Realms: which one a request belongs to.
 *
 * Called by dispatch.c for each request that needs credentials (the table is made by turn_node.c),
 * by the TLS shells for the host's number, by whoever names a realm. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/realm.h"

#include <errno.h>

#include "proto/opaque_string.h"

#define ACCOUNT_STEP \
    UINT64_C(0x9e3779b97f4a7c15) /* odd: as many accounts as realms, all far apart */

bool realm_name_fits(struct slice name)
{
    uint8_t buf[REALM_NAME_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    return name.len <= sizeof(buf) && opaque_string(&w, name) == 0 && slice_eq(wr_done(&w), name) &&
           !memchr(name.p, '"', name.len) && !memchr(name.p, '\\', name.len);
}

uint8_t realm_host(const struct realm_table *t, struct slice name)
{
    for (size_t i = 0; i < t->n_hosts && name.len > 0; i++) {
        if (slice_eq_nocase(t->hosts[i].name, name))
            return (uint8_t)(i + 1);
    }
    return 0;
}

static bool owns_host(const struct realm_table *t, unsigned realm, uint8_t host)
{
    return host > 0 && host <= t->n_hosts && t->hosts[host - 1].realm == realm;
}

/* How much of where the request came to this realm names; 0 when it names something else, or
 * nothing. */
static unsigned binds(const struct realm_table *t, unsigned realm, const struct five_tuple *from)
{
    const struct realm *r = &t->of[realm];

    if (r->has_listeners &&
        (from->listener >= REALM_LISTENERS_MAX || !r->listeners[from->listener]))
        return 0;
    if (r->has_hosts && !owns_host(t, realm, from->host))
        return 0;
    return (r->has_hosts ? 2u : 0u) + (r->has_listeners ? 1u : 0u);
}

static bool is_bound(const struct realm *r)
{
    return r->has_listeners || r->has_hosts;
}

static bool has_origin(const struct realm *r, struct slice origin)
{
    for (size_t i = 0; i < r->n_origins && origin.len > 0; i++) {
        if (slice_eq_nocase(r->origins[i], origin))
            return true;
    }
    return false;
}

/* How well a realm that may be used here suits a request that names none. One that is there for
 * certain origins is the last resort for others. */
static unsigned suits(const struct realm_table *t, unsigned realm, const struct five_tuple *from,
                      struct slice origin)
{
    const struct realm *r = &t->of[realm];

    if (has_origin(r, origin))
        return 16 + binds(t, realm, from);
    return (r->n_origins == 0 ? 8 : 1) + binds(t, realm, from);
}

unsigned realm_for(const struct realm_table *t, const struct five_tuple *from, struct slice named,
                   struct slice origin)
{
    unsigned best = 0, best_suits = 0;
    bool home = false; /* a realm that names this place is there: the others stay away */

    for (unsigned i = 1; i < t->n; i++)
        home = home || binds(t, i, from) > 0;
    for (unsigned i = 0; i < t->n; i++) {
        if (home != is_bound(&t->of[i]) || (home && binds(t, i, from) == 0))
            continue;
        if (slice_eq(t->of[i].name, named))
            return i;
        unsigned s = suits(t, i, from, origin);
        if (s > best_suits) {
            best = i;
            best_suits = s;
        }
    }
    return best;
}

int realm_find(const struct realm_table *t, struct slice name)
{
    for (unsigned i = 0; i < t->n; i++) {
        if (slice_eq(t->of[i].name, name))
            return (int)i;
    }
    return -ENOENT;
}

struct slice realm_name(const struct realm_table *t, unsigned realm)
{
    return realm < t->n ? t->of[realm].name : (struct slice){0};
}

uint64_t realm_account(unsigned realm, struct slice user)
{
    return hash_bytes(user) + realm * ACCOUNT_STEP;
}

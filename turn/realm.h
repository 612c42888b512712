/* Realms: which one a request belongs to, by the address that it came to, the host that it named in
 * TLS, and its ORIGIN. Every realm has users, secrets and quotas of its own.
 *
 * Where a realm may be used: one that names listeners or hosts (or both) at exactly these; any
 * other (the default one, those that name only origins) wherever none of the former is at home.
 * There it may be used by every request that names it in REALM; an ORIGIN is a bare claim, so it
 * only chooses which of the realms that may be used here the first, empty-handed request is
 * challenged for. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REALM_H
#define SORI_TURN_REALM_H

#include "turn/five_tuple.h"

#define REALMS_MAX          16 /* the default one among them */
#define REALM_HOSTS_MAX     64 /* of all realms together */
#define REALM_ORIGINS_MAX   16 /* of one realm */
#define REALM_LISTENERS_MAX 128
#define REALM_NAME_MAX      127 /* bytes; a 401 carries it; RFC 8489 §14.9 */

/* True when name may be a realm: not empty, at most REALM_NAME_MAX bytes, as opaque_string() leaves
 * it, and without quotes and backslashes, which would need quoting (RFC 8489 §14.9). */
bool realm_name_fits(struct slice name);

struct realm {
    struct slice name;
    bool has_listeners, has_hosts;
    bool listeners[REALM_LISTENERS_MAX]; /* by number: five_tuple.listener */
    struct slice origins[REALM_ORIGINS_MAX];
    size_t n_origins;
};

/* A host name and whose it is. */
struct realm_host {
    struct slice name;
    unsigned realm;
};

/* All realms, read only; the texts are the owner's. A realm is known by its place in of[]; 0 is the
 * default one, which names neither listeners nor hosts. */
struct realm_table {
    struct realm of[REALMS_MAX];
    size_t n;
    struct realm_host hosts[REALM_HOSTS_MAX];
    size_t n_hosts;
};

/* The number for five_tuple.host of the name that a client gave in TLS; 0 when it is nobody's. */
uint8_t realm_host(const struct realm_table *t, struct slice name);

/* The realm that a request is verified under, or challenged for: the one that it names, if it may
 * be used here; else, of those that may, the first with its ORIGIN, then the one that names most of
 * where it came to. named, origin: empty when the request does not say. */
unsigned realm_for(const struct realm_table *t, const struct five_tuple *from, struct slice named,
                   struct slice origin);

/* The realm of this name, -ENOENT when there is none. */
int realm_find(const struct realm_table *t, struct slice name);

/* Its name; lent. */
struct slice realm_name(const struct realm_table *t, unsigned realm);

/* The account of a user of a realm for quota.c: a keyed hash. */
uint64_t realm_account(unsigned realm, struct slice user);

#endif

/* Where the devices of users are: the interface of the presence stores.
 *
 * Two implementations: presence_store_mem.c (one node), and one over Redis. A store may answer at
 * once, inside the call, or later: callers must be right either way, and a lookup that is no longer
 * wanted is cancelled by presence_store_cancel(). Entries carry (session, generation); a change or
 * removal under an older pair than the stored one is ignored, so that the end of an old connection
 * never removes the new one.
 *
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_STORE_H
#define SORI_SERVER_PRESENCE_STORE_H

#include "base/list.h"
#include "proto/sig.h"

#define PRESENCE_SESSION_BYTES 16
#define PRESENCE_DEVICES_MAX   16 /* of one user */

/* One device of a user. Slices are borrowed: the store copies on put, and lends on lookup. */
struct presence_entry {
    struct slice user, device, node; /* node empty = this one */
    uint8_t session[PRESENCE_SESSION_BYTES];
    uint64_t generation;      /* grows with each socket of the session */
    uint64_t node_epoch;      /* of the process that has it; lookups of other nodes' only */
    enum sig_presence state;  /* what the user set on this device */
    bool attached;            /* its session has a socket */
    bool call_waiting, rooms; /* capabilities */
};

/* A lookup under way. The caller owns it and keeps it alive until fn ran or it was cancelled. fn
 * gets the user's entries (n may be 0), valid inside the call only; err is 0, or a negative errno
 * when the store cannot answer: then the entries are those of this node alone, and whoever else
 * there may be is unknown, not gone. */
struct presence_lookup;
typedef void presence_lookup_fn(struct presence_lookup *l, int err,
                                const struct presence_entry *entries, size_t n);
struct presence_lookup {
    struct list _link; /* the store's, while it waits */
    presence_lookup_fn *fn;
    void *arg;
    bool orphans; /* told with the answer: the user had devices at a node that is dead */
};

/* Something about this user changed: told only for watched users. May come from inside a call. */
typedef void presence_changed_fn(void *arg, struct slice user);

/* Another node has a newer session of this device: the one here is to end (4409, replaced) and to
 * be removed. Never from inside a call; a store of one node has nothing to say here. */
typedef void presence_replaced_fn(void *arg, struct slice user, struct slice device,
                                  const uint8_t session[PRESENCE_SESSION_BYTES]);

struct presence_store {
    const struct presence_store_ops *ops;
    presence_changed_fn *changed; /* set by presence_new() */
    void *changed_arg;
    presence_replaced_fn *replaced; /* set by whoever owns the sessions; may be NULL */
    void *replaced_arg;
};

struct presence_store_ops {
    /* Adds or replaces the entry of user/device. Returns 0; -ESTALE: a newer generation of the same
     * session, or nothing else is stored (ignored); -ENOSPC: too many devices; -ENOMEM. A store
     * that answers later returns 0 and repairs itself. */
    int (*put)(struct presence_store *s, const struct presence_entry *e);
    /* Removes the entry if it is still this session's and not of a newer generation. */
    void (*remove)(struct presence_store *s, struct slice user, struct slice device,
                   const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation);
    /* Finds the user's entries: l->fn runs exactly once, unless cancelled. */
    void (*lookup)(struct presence_store *s, struct slice user, struct presence_lookup *l);
    void (*cancel)(struct presence_store *s, struct presence_lookup *l);
    /* From now on changed() tells of this user, or no more. Not counted: one watch, one unwatch.
     * Returns 0 or -ENOMEM. */
    int (*watch)(struct presence_store *s, struct slice user);
    void (*unwatch)(struct presence_store *s, struct slice user);
    void (*free)(struct presence_store *s);
};

static inline int presence_store_put(struct presence_store *s, const struct presence_entry *e)
{
    return s->ops->put(s, e);
}
static inline void presence_store_remove(struct presence_store *s, struct slice user,
                                         struct slice device,
                                         const uint8_t session[PRESENCE_SESSION_BYTES],
                                         uint64_t generation)
{
    s->ops->remove(s, user, device, session, generation);
}
static inline void presence_store_lookup(struct presence_store *s, struct slice user,
                                         struct presence_lookup *l)
{
    s->ops->lookup(s, user, l);
}
static inline void presence_store_cancel(struct presence_store *s, struct presence_lookup *l)
{
    s->ops->cancel(s, l);
}
static inline int presence_store_watch(struct presence_store *s, struct slice user)
{
    return s->ops->watch(s, user);
}
static inline void presence_store_unwatch(struct presence_store *s, struct slice user)
{
    s->ops->unwatch(s, user);
}
/* NULL is allowed. */
static inline void presence_store_free(struct presence_store *s)
{
    if (s)
        s->ops->free(s);
}

#endif

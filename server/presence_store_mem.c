/* The presence store of a single node.
 *
 * Made by router.c, used through presence_store.h. Pure. A user object lives while it has devices
 * or is watched. SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_store_mem.h"

#include <errno.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"

struct mem_device {
    struct list of_user;
    uint8_t session[PRESENCE_SESSION_BYTES];
    uint64_t generation;
    enum sig_presence state;
    bool attached, call_waiting, rooms;
    struct slice node;   /* in text, behind the device */
    struct slice device; /* in text */
    uint8_t text[];
};

struct mem_user {
    struct hnode by_id;
    struct list devices; /* struct mem_device */
    unsigned devices_n;
    bool watched;
    size_t id_len;
    uint8_t id[];
};

struct mem_store {
    struct presence_store store;
    struct htable users;
    size_t entries;
};

static struct mem_store *self(struct presence_store *s)
{
    return CONTAINER_OF(s, struct mem_store, store);
}

static struct mem_user *find_user(const struct mem_store *m, struct slice id)
{
    for (struct hnode *n = htable_first(&m->users, hash_bytes(id)); n; n = htable_next(n)) {
        struct mem_user *u = CONTAINER_OF(n, struct mem_user, by_id);
        if (slice_eq(slice_of(u->id, u->id_len), id))
            return u;
    }
    return NULL;
}

/* Finds or makes; NULL: memory is out. */
static struct mem_user *need_user(struct mem_store *m, struct slice id)
{
    struct mem_user *u = find_user(m, id);

    if (u)
        return u;
    u = mem_zalloc(sizeof(*u) + id.len);
    if (!u)
        return NULL;
    list_init(&u->devices);
    u->id_len = id.len;
    if (id.len > 0)
        memcpy(u->id, id.p, id.len);
    htable_add(&m->users, &u->by_id, hash_bytes(id));
    return u;
}

static void release_user(struct mem_store *m, struct mem_user *u)
{
    if (u->devices_n > 0 || u->watched)
        return;
    htable_del(&m->users, &u->by_id);
    mem_free(u);
}

static struct mem_device *find_device(const struct mem_user *u, struct slice device)
{
    LIST_EACH(l, tmp, &u->devices)
    {
        struct mem_device *d = CONTAINER_OF(l, struct mem_device, of_user);
        if (slice_eq(d->device, device))
            return d;
    }
    return NULL;
}

static void drop_device(struct mem_store *m, struct mem_user *u, struct mem_device *d)
{
    list_del(&d->of_user);
    u->devices_n--;
    m->entries--;
    mem_free(d);
}

static struct mem_device *new_device(const struct presence_entry *e)
{
    size_t n = e->device.len + e->node.len;
    struct mem_device *d = mem_zalloc(sizeof(*d) + n);

    if (!d)
        return NULL;
    struct wr w = wr_init(d->text, n);
    wr_bytes(&w, e->device);
    wr_bytes(&w, e->node);
    d->device = slice_sub(slice_of(d->text, n), 0, e->device.len);
    d->node = slice_sub(slice_of(d->text, n), e->device.len, e->node.len);
    return d;
}

static void tell(struct mem_store *m, const struct mem_user *u)
{
    if (u->watched && m->store.changed)
        m->store.changed(m->store.changed_arg, slice_of(u->id, u->id_len));
}

static bool same_session(const struct mem_device *d, const uint8_t session[PRESENCE_SESSION_BYTES])
{
    return memcmp(d->session, session, PRESENCE_SESSION_BYTES) == 0;
}

static int mem_put(struct presence_store *s, const struct presence_entry *e)
{
    struct mem_store *m = self(s);
    struct mem_user *u = need_user(m, e->user);

    if (!u)
        return -ENOMEM;
    struct mem_device *old = find_device(u, e->device);
    if (old && same_session(old, e->session) && old->generation > e->generation)
        return -ESTALE;
    if (!old && u->devices_n >= PRESENCE_DEVICES_MAX)
        return -ENOSPC;
    struct mem_device *d = new_device(e);
    if (!d) {
        release_user(m, u);
        return -ENOMEM;
    }
    if (old)
        drop_device(m, u, old);
    memcpy(d->session, e->session, PRESENCE_SESSION_BYTES);
    d->generation = e->generation;
    d->state = e->state;
    d->attached = e->attached;
    d->call_waiting = e->call_waiting;
    d->rooms = e->rooms;
    list_append(&u->devices, &d->of_user);
    u->devices_n++;
    m->entries++;
    tell(m, u);
    return 0;
}

static void mem_remove(struct presence_store *s, struct slice user, struct slice device,
                       const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation)
{
    struct mem_store *m = self(s);
    struct mem_user *u = find_user(m, user);
    struct mem_device *d = u ? find_device(u, device) : NULL;

    if (!d || !same_session(d, session) || d->generation > generation)
        return;
    drop_device(m, u, d);
    tell(m, u);
    release_user(m, u);
}

static void mem_lookup(struct presence_store *s, struct slice user, struct presence_lookup *l)
{
    struct presence_entry entries[PRESENCE_DEVICES_MAX];
    const struct mem_user *u = find_user(self(s), user);
    size_t n = 0;

    if (u) {
        LIST_EACH(link, tmp, &u->devices)
        {
            const struct mem_device *d = CONTAINER_OF(link, struct mem_device, of_user);
            struct presence_entry *e = &entries[n++];
            *e = (struct presence_entry){.user = slice_of(u->id, u->id_len),
                                         .device = d->device,
                                         .node = d->node,
                                         .generation = d->generation,
                                         .state = d->state,
                                         .attached = d->attached,
                                         .call_waiting = d->call_waiting,
                                         .rooms = d->rooms};
            memcpy(e->session, d->session, PRESENCE_SESSION_BYTES);
        }
    }
    l->fn(l, 0, entries, n);
}

static void mem_cancel(struct presence_store *s, struct presence_lookup *l)
{
    (void)s; /* every answer was given inside the lookup */
    (void)l;
}

static int mem_watch(struct presence_store *s, struct slice user)
{
    struct mem_user *u = need_user(self(s), user);

    if (!u)
        return -ENOMEM;
    u->watched = true;
    return 0;
}

static void mem_unwatch(struct presence_store *s, struct slice user)
{
    struct mem_user *u = find_user(self(s), user);

    if (!u)
        return;
    u->watched = false;
    release_user(self(s), u);
}

static void mem_store_free(struct presence_store *s)
{
    struct mem_store *m = self(s);
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    while ((n = htable_walk(&m->users, &pos, &saved))) {
        struct mem_user *u = CONTAINER_OF(n, struct mem_user, by_id);
        LIST_EACH(l, tmp, &u->devices)
        drop_device(m, u, CONTAINER_OF(l, struct mem_device, of_user));
        htable_del(&m->users, &u->by_id);
        mem_free(u);
    }
    htable_fini(&m->users);
    mem_free(m);
}

struct presence_store *presence_store_mem_new(void)
{
    static const struct presence_store_ops ops = {
        .put = mem_put,
        .remove = mem_remove,
        .lookup = mem_lookup,
        .cancel = mem_cancel,
        .watch = mem_watch,
        .unwatch = mem_unwatch,
        .free = mem_store_free,
    };
    struct mem_store *m = mem_zalloc(sizeof(*m));

    if (!m)
        return NULL;
    if (htable_init(&m->users, 0) != 0) {
        mem_free(m);
        return NULL;
    }
    m->store.ops = &ops;
    return &m->store;
}

size_t presence_store_mem_count(const struct presence_store *s)
{
    return CONTAINER_OF(s, const struct mem_store, store)->entries;
}

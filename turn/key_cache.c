/* Long-term keys of users that another process knows, kept for a while.
 *
 *     key_cache_asked ─► asked ─┬─ key_cache_answer ─► found | absent ── time ─► unknown
 *                               └─ key_cache_failed, time ─► failed; a key that was found before
 *                                                            counts again meanwhile (stale)
 *
 * Called by stun_auth.c and dispatch.c, answered through turn_worker.c. Pure. The entry that was
 * asked for longest ago makes room for a new one. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/key_cache.h"

#include <errno.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/list.h"
#include "base/mem.h"

#define EXPECT 64

struct entry {
    struct hnode node; /* in table, by realm and name */
    struct list order; /* on order: asked for longest ago first */
    struct list open;  /* on open while it is asked */
    struct known_keys keys;
    bool has_keys;
    uint64_t fresh_us, stale_us;  /* until when the answer counts, and with nobody to ask */
    uint64_t asked_us, failed_us; /* until when the question is open; not to be asked again */
    unsigned realm;
    size_t len;
    uint8_t name[];
};

struct key_cache {
    struct key_cache_conf conf;
    struct htable table;
    struct list order, open;
    unsigned n_open;
};

struct key_cache *key_cache_new(const struct key_cache_conf *conf)
{
    struct key_cache *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->conf = *conf;
    list_init(&c->order);
    list_init(&c->open);
    if (htable_init(&c->table, EXPECT) == 0)
        return c;
    mem_free(c);
    return NULL;
}

static void close_question(struct key_cache *c, struct entry *e)
{
    if (list_linked(&e->open))
        c->n_open--;
    list_del(&e->open);
    e->asked_us = 0;
}

static void drop(struct key_cache *c, struct entry *e)
{
    close_question(c, e);
    list_del(&e->order);
    htable_del(&c->table, &e->node);
    crypto_wipe(&e->keys, sizeof(e->keys));
    mem_free(e);
}

void key_cache_free(struct key_cache *c)
{
    struct list *first;

    if (!c)
        return;
    while ((first = list_first(&c->order)))
        drop(c, CONTAINER_OF(first, struct entry, order));
    htable_fini(&c->table);
    mem_free(c);
}

static struct entry *find(const struct key_cache *c, unsigned realm, struct slice name)
{
    for (struct hnode *n = htable_first(&c->table, hash_bytes(name)); n; n = htable_next(n)) {
        struct entry *e = CONTAINER_OF(n, struct entry, node);
        if (e->realm == realm && slice_eq(slice_of(e->name, e->len), name))
            return e;
    }
    return NULL;
}

static enum key_cache_state give(const struct entry *e, struct known_keys *keys)
{
    if (!e->has_keys)
        return KEY_CACHE_ABSENT;
    *keys = e->keys;
    return KEY_CACHE_FOUND;
}

enum key_cache_state key_cache_find(const struct key_cache *c, unsigned realm, struct slice name,
                                    uint64_t now_us, struct known_keys *keys)
{
    const struct entry *e = find(c, realm, name);

    if (!e)
        return KEY_CACHE_UNKNOWN;
    if (now_us < e->fresh_us)
        return give(e, keys);
    if (now_us < e->asked_us)
        return KEY_CACHE_ASKED;
    if (now_us >= e->failed_us)
        return KEY_CACHE_UNKNOWN;
    return e->has_keys && now_us < e->stale_us ? give(e, keys) : KEY_CACHE_FAILED;
}

/* Closes questions that nobody has answered in time. */
static void give_up(struct key_cache *c, uint64_t now_us)
{
    struct list *first;

    while ((first = list_first(&c->open))) {
        struct entry *e = CONTAINER_OF(first, struct entry, open);
        if (now_us < e->asked_us)
            return;
        close_question(c, e);
    }
}

static struct entry *add(struct key_cache *c, unsigned realm, struct slice name)
{
    if (c->table.count >= c->conf.entries)
        drop(c, CONTAINER_OF(list_first(&c->order), struct entry, order));
    struct entry *e = mem_zalloc(sizeof(*e) + name.len);
    if (!e)
        return NULL;
    e->realm = realm;
    e->len = name.len;
    if (name.len > 0)
        memcpy(e->name, name.p, name.len);
    htable_add(&c->table, &e->node, hash_bytes(name));
    list_append(&c->order, &e->order);
    return e;
}

int key_cache_asked(struct key_cache *c, unsigned realm, struct slice name, uint64_t now_us)
{
    give_up(c, now_us);
    if (c->n_open >= c->conf.asked)
        return -ENOSPC;
    struct entry *e = find(c, realm, name);
    if (!e)
        e = add(c, realm, name);
    if (!e)
        return -ENOMEM;
    close_question(c, e);
    e->asked_us = now_us + c->conf.asked_us;
    e->failed_us = 0;
    list_append(&c->open, &e->open);
    c->n_open++;
    list_del(&e->order);
    list_append(&c->order, &e->order);
    return 0;
}

void key_cache_answer(struct key_cache *c, unsigned realm, struct slice name,
                      const struct known_keys *keys, uint64_t now_us)
{
    struct entry *e = find(c, realm, name);

    if (!e)
        return;
    close_question(c, e);
    crypto_wipe(&e->keys, sizeof(e->keys));
    e->has_keys = keys != NULL;
    if (keys)
        e->keys = *keys;
    e->fresh_us = now_us + (keys ? c->conf.found_us : c->conf.absent_us);
    e->stale_us = now_us + c->conf.stale_us;
}

void key_cache_failed(struct key_cache *c, unsigned realm, struct slice name, uint64_t now_us)
{
    struct entry *e = find(c, realm, name);

    if (!e)
        return;
    close_question(c, e);
    e->failed_us = now_us + c->conf.failed_us;
}

void key_cache_expire(struct key_cache *c)
{
    LIST_EACH(it, tmp, &c->order)
    CONTAINER_OF(it, struct entry, order)->fresh_us = 0;
}

size_t key_cache_count(const struct key_cache *c)
{
    return c->table.count;
}

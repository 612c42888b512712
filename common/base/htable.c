/* Chained hash table over nodes that live in the caller's objects.
 *
 * Called by tables of allocations, sessions, calls. Worker-owned. One pointer per slot, a slot per
 * object; doubling re-links nodes by their stored hash, no key is looked at again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/htable.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>

enum { HTABLE_SLOTS_MIN = 8 };

int htable_init(struct htable *t, size_t expect)
{
    size_t slots = HTABLE_SLOTS_MIN;

    while (slots < expect && slots <= SIZE_MAX / 2)
        slots *= 2;
    struct hnode **array = mem_calloc(slots, sizeof(*array));
    if (!array)
        return -ENOMEM;
    *t = (struct htable){._slots = array, ._mask = slots - 1};
    return 0;
}

void htable_fini(struct htable *t)
{
    mem_free(t->_slots);
    *t = (struct htable){0};
}

static void htable_link(struct hnode **slots, size_t mask, struct hnode *n)
{
    struct hnode **slot = &slots[n->_hash & mask];

    n->_next = *slot;
    *slot = n;
}

/* Doubles the slots; without memory the table stays as it is and the next add tries again. */
static void htable_grow(struct htable *t)
{
    size_t slots = (t->_mask + 1) * 2;
    struct hnode **array = mem_calloc(slots, sizeof(*array));

    if (!array)
        return;
    for (size_t i = 0; i <= t->_mask; i++) {
        for (struct hnode *n = t->_slots[i], *next; n; n = next) {
            next = n->_next;
            htable_link(array, slots - 1, n);
        }
    }
    mem_free(t->_slots);
    t->_slots = array;
    t->_mask = slots - 1;
}

void htable_add(struct htable *t, struct hnode *n, uint64_t hash)
{
    assert(t->_slots);
    if (t->count > t->_mask && t->_mask < SIZE_MAX / 4)
        htable_grow(t);
    n->_hash = hash;
    htable_link(t->_slots, t->_mask, n);
    t->count++;
}

void htable_del(struct htable *t, struct hnode *n)
{
    struct hnode **link = &t->_slots[n->_hash & t->_mask];

    while (*link && *link != n)
        link = &(*link)->_next;
    assert(*link == n);
    *link = n->_next;
    n->_next = NULL;
    t->count--;
}

/* The first node from n on whose hash is `hash`. */
static struct hnode *htable_match(struct hnode *n, uint64_t hash)
{
    while (n && n->_hash != hash)
        n = n->_next;
    return n;
}

struct hnode *htable_first(const struct htable *t, uint64_t hash)
{
    return t->count > 0 ? htable_match(t->_slots[hash & t->_mask], hash) : NULL;
}

struct hnode *htable_next(const struct hnode *n)
{
    return htable_match(n->_next, n->_hash);
}

struct hnode *htable_walk(const struct htable *t, size_t *pos, struct hnode **saved)
{
    struct hnode *n = *saved;

    while (!n && t->_slots && *pos <= t->_mask)
        n = t->_slots[(*pos)++];
    *saved = n ? n->_next : NULL;
    return n;
}

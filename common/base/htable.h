/* Intrusive chained hash table: the object embeds a `struct hnode`, the caller supplies the 64-bit
 * hash and compares keys itself while it walks the nodes of equal hash.
 *
 *     for (struct hnode *n = htable_first(&t, h); n; n = htable_next(n))
 *         if (key_eq(CONTAINER_OF(n, struct obj, node), key)) ...
 *
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_HTABLE_H
#define SORI_BASE_HTABLE_H

#include "base/bytes.h"
#include "base/list.h"

struct hnode {
    struct hnode *_next;
    uint64_t _hash;
};

struct htable {
    struct hnode **_slots;
    size_t _mask, count;
};

/* Makes an empty table with room for about `expect` objects. Returns 0 or -ENOMEM. */
int htable_init(struct htable *t, size_t expect);

/* Frees the table's own memory; the objects are the caller's. A zeroed table is allowed. */
void htable_fini(struct htable *t);

/* Adds n under hash. n must be on no table. Grows when dense; a failed growth only makes chains
 * longer. Never fails. */
void htable_add(struct htable *t, struct hnode *n, uint64_t hash);

/* Takes n off. n must be on t. */
void htable_del(struct htable *t, struct hnode *n);

/* First node with this hash, or NULL; htable_next(): the next with the same hash. */
struct hnode *htable_first(const struct htable *t, uint64_t hash);
struct hnode *htable_next(const struct hnode *n);

/* Ahead of a look-up: step 0 has the slot brought into the cache, step 1 its first node. */
static inline void htable_prefetch(const struct htable *t, uint64_t hash, unsigned step)
{
    struct hnode *const *slot = &t->_slots[hash & t->_mask];

    __builtin_prefetch(step == 0 ? (const void *)slot : (const void *)*slot);
}

/* Visits every node: starts with *pos = 0 and *saved = NULL; gives NULL at the end. The node given
 * may be deleted (and freed) before the next call; deleting others or adding is not allowed. */
struct hnode *htable_walk(const struct htable *t, size_t *pos, struct hnode **saved);

#endif

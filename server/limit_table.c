/* Token buckets by key in a fixed table.
 *
 * Used by ws_listener.c (connections per address), login.c (failures per address) and router.c
 * (invites per pair). Keys are keyed hashes (base/hash.h), so a stranger can't choose its set.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/limit_table.h"

#include "base/hash.h"
#include "base/mem.h"

#define WAYS 4

struct place {
    uint64_t key, used_us;
    struct bucket bucket;
};

struct limit_table {
    struct bucket_rule rule;
    size_t mask; /* sets - 1 */
    struct place places[];
};

struct limit_table *limit_table_new(const struct bucket_rule *rule, size_t keys)
{
    size_t sets = 1;

    while (sets * WAYS < keys && sets < SIZE_MAX / WAYS / sizeof(struct place) / 4)
        sets *= 2;
    struct limit_table *t = mem_zalloc(sizeof(*t) + sets * WAYS * sizeof(struct place));
    if (!t)
        return NULL;
    t->rule = *rule;
    t->mask = sets - 1;
    return t;
}

void limit_table_free(struct limit_table *t)
{
    mem_free(t);
}

static size_t set_at(const struct limit_table *t, uint64_t key)
{
    return (size_t)(key & t->mask) * WAYS;
}

/* The key's place, taken from the longest unused one when it has none. */
static struct place *place_get(struct limit_table *t, uint64_t key)
{
    struct place *set = &t->places[set_at(t, key)], *oldest = set;

    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key && set[i].used_us != 0)
            return &set[i];
        if (set[i].used_us < oldest->used_us)
            oldest = &set[i];
    }
    *oldest = (struct place){.key = key};
    return oldest;
}

bool limit_take(struct limit_table *t, uint64_t key, uint32_t n, uint64_t now_us)
{
    if (t->rule.milli_per_s == 0)
        return true;
    if (n == 0)
        return limit_wait_ms(t, key, now_us) == 0;
    struct place *p = place_get(t, key);
    p->used_us = now_us;
    return bucket_take(&p->bucket, &t->rule, n, now_us);
}

uint32_t limit_wait_ms(const struct limit_table *t, uint64_t key, uint64_t now_us)
{
    const struct place *set = &t->places[set_at(t, key)];

    for (size_t i = 0; i < WAYS; i++)
        if (set[i].key == key && set[i].used_us != 0)
            return bucket_wait_ms(&set[i].bucket, &t->rule, 1, now_us);
    return 0;
}

uint64_t limit_addr_key(const struct addr *a)
{
    return hash_bytes(slice_of(a->ip, a->family == ADDR_V6 ? 8 : 4));
}

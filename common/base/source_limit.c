/* Token buckets per source address in a fixed, four-way associative table.
 *
 * Called by the relay's dispatch.c (answers) and listeners (connections), the SFU's demux.c and
 * ice_tcp_listener.c. Pure. Of four candidates the least recently used is given up: a flood of
 * invented sources pushes out idle ones, while the one that is being hit (a reflection attack has
 * one victim) stays and stays limited. The hash is keyed, so nobody can aim at a row.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/source_limit.h"

#include "base/hash.h"
#include "base/mem.h"

#define WAYS            4
#define IPV6_SITE_BYTES 8 /* one customer has a /64 at least */

struct entry {
    uint64_t tag; /* 0 = never used */
    uint64_t used_us;
    struct bucket bucket;
};

struct source_limit {
    struct bucket_rule rule;
    unsigned mask; /* over rows */
    struct entry v[];
};

struct source_limit *source_limit_new(unsigned entries, struct bucket_rule rule)
{
    unsigned rows = 1;

    while (rows * WAYS < entries)
        rows *= 2;
    struct source_limit *s = mem_zalloc(sizeof(*s) + (size_t)rows * WAYS * sizeof(s->v[0]));
    if (!s)
        return NULL;
    s->rule = rule;
    s->mask = rows - 1;
    return s;
}

void source_limit_free(struct source_limit *s)
{
    mem_free(s);
}

bool source_limit_take(struct source_limit *s, const struct addr *from, uint64_t now_us)
{
    size_t len = from->family == ADDR_V6 ? IPV6_SITE_BYTES : addr_ip_len(from);
    uint64_t tag = hash_bytes(slice_of(from->ip, len)) | 1;
    struct entry *row = &s->v[(tag >> 32 & s->mask) * WAYS];
    struct entry *use = row;

    for (struct entry *e = row; e < row + WAYS; e++) {
        if (e->tag == tag) {
            use = e;
            break;
        }
        if (e->used_us < use->used_us)
            use = e;
    }
    if (use->tag != tag)
        *use = (struct entry){.tag = tag};
    use->used_us = now_us;
    return bucket_take(&use->bucket, &s->rule, 1, now_us);
}

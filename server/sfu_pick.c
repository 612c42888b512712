/* Which SFU node takes a new room: power of two choices by load.
 *
 * Called by router_room.c when a room is placed. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/sfu_pick.h"

/* What is asked of a candidate; each later step asks less. */
struct sieve {
    bool region, not_full, not_avoided;
};

static bool passes(const struct sfu_candidate *c, size_t i, struct slice region, size_t avoid,
                   const struct sieve *s)
{
    return c->usable && c->weight > 0 && (!s->region || slice_eq(c->region, region)) &&
           (!s->not_full || c->load < SFU_PICK_FULL) && (!s->not_avoided || i != avoid);
}

/* The candidate on which the draw falls; total is the sum of the weights of those that pass. */
static size_t draw_one(const struct sfu_candidate *v, size_t n, struct slice region, size_t avoid,
                       const struct sieve *s, uint64_t at)
{
    for (size_t i = 0; i < n; i++) {
        if (!passes(&v[i], i, region, avoid, s))
            continue;
        if (at < v[i].weight)
            return i;
        at -= v[i].weight;
    }
    return SFU_PICK_NONE;
}

size_t sfu_pick(const struct sfu_candidate *v, size_t n, struct slice region, size_t avoid,
                const uint64_t draw[2])
{
    static const struct sieve sieves[] = {
        {true, true, true},   {false, true, true}, {true, false, true},
        {false, false, true}, {true, true, false}, {false, false, false},
    };

    for (size_t k = 0; k < ARRAY_LEN(sieves); k++) {
        const struct sieve *s = &sieves[k];
        uint64_t total = 0;
        if (s->region && region.len == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            if (passes(&v[i], i, region, avoid, s))
                total += v[i].weight;
        if (total == 0)
            continue;
        size_t a = draw_one(v, n, region, avoid, s, draw[0] % total);
        size_t b = draw_one(v, n, region, avoid, s, draw[1] % total);
        return v[b].load < v[a].load ? b : a;
    }
    return SFU_PICK_NONE;
}

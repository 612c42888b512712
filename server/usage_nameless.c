/* Calls without a record: the ledger's sums, less the calls that it still has, and calls that only
 * relays know.
 *
 * Called by usage_fold.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_report_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Takes at most so many away, and gives them. */
static struct usage_nameless take(struct usage_nameless *from, struct usage_nameless most)
{
    struct usage_nameless t = {least(most.calls, from->calls), least(most.seconds, from->seconds),
                               least(most.ice_failed, from->ice_failed)};

    from->calls -= t.calls;
    from->seconds -= t.seconds;
    from->ice_failed -= t.ice_failed;
    return t;
}

static int add_nameless(struct usage_report *r, uint32_t day, enum usage_path path,
                        const char *region, enum ledger_outcome outcome, struct usage_nameless n)
{
    const char *codec = usage_name_of(&r->codecs, (struct slice){0});
    struct usage_row *row =
        codec && region ? usage_row_at(r, false, day, path, region, codec) : NULL;

    if (!row || !usage_day_at(r, day))
        return -ENOMEM;
    row->calls[outcome] += n.calls;
    row->seconds += n.seconds;
    row->ice_failed += n.ice_failed;
    return 0;
}

static enum usage_path path_of_sum(enum ledger_path p)
{
    return p == LEDGER_P2P ? USAGE_P2P : p == LEDGER_SFU ? USAGE_SFU : USAGE_PATH_UNKNOWN;
}

/* Calls that relays carried and the ledger does not have, by day and id. */
struct orphans {
    const struct usage_call_entry **v;
    size_t n, next;
};

static int orphan_order(const void *a, const void *b)
{
    const struct usage_call_entry *x = *(const struct usage_call_entry *const *)a,
                                  *y = *(const struct usage_call_entry *const *)b;

    if (x->relay_day != y->relay_day)
        return x->relay_day < y->relay_day ? -1 : 1;
    return memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

static int find_orphans(const struct usage_report *r, struct orphans *o)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    o->v = mem_calloc(r->calls.count, sizeof(*o->v));
    if (!o->v)
        return -ENOMEM;
    while ((n = htable_walk(&r->calls, &pos, &saved))) {
        const struct usage_call_entry *c = CONTAINER_OF(n, struct usage_call_entry, node);
        if (!c->known && c->relay_region &&
            usage_was_relayed(r, c->relayed_bytes, c->alloc_seconds))
            o->v[o->n++] = c;
    }
    qsort(o->v, o->n, sizeof(*o->v), orphan_order);
    return 0;
}

/* All of a call that a relay carried. */
static struct usage_nameless whole(const struct usage_call_entry *c)
{
    return (struct usage_nameless){.calls = 1, .seconds = c->alloc_seconds};
}

static int name_one(struct usage_report *r, const struct usage_call_entry *c,
                    struct usage_nameless n)
{
    return add_nameless(r, c->relay_day, usage_path_of(c->best), c->relay_region, LEDGER_ANSWERED,
                        n);
}

/* Those of a day are among the nameless ones of that day. */
static int name_relayed(struct usage_report *r, struct orphans *o, uint32_t day,
                        struct usage_nameless *left)
{
    int rc = 0;

    while (o->next < o->n && (!o->v[o->next] || o->v[o->next]->relay_day < day))
        o->next++;
    for (size_t i = o->next; rc == 0 && left->calls > 0 && i < o->n; i++) {
        const struct usage_call_entry *c = o->v[i];
        if (c && c->relay_day != day)
            break;
        o->v[i] = NULL;
        if (c)
            rc = name_one(r, c, take(left, whole(c)));
    }
    return rc;
}

/* Without any ledger they are all the calls that there are. */
static int name_all(struct usage_report *r, const struct orphans *o)
{
    int rc = 0;

    for (size_t i = 0; i < o->n && rc == 0; i++)
        rc = name_one(r, o->v[i], whole(o->v[i]));
    return rc;
}

/* What is left of a sum. */
struct rest {
    const struct usage_sum_entry *s;
    struct usage_nameless left;
};

/* The calls that the ledger still has are in the sums of their path. Where those do not have them
 * (an older server let the sum's path be) they are in others, in their order. */
static void take_known(struct rest *v, struct usage_day_entry *d, bool same_path)
{
    for (unsigned p = 0; p < LEDGER_PATH_COUNT; p++) {
        struct usage_nameless *known = &d->known[p][v->s->sum.outcome];
        if (!same_path || p == v->s->sum.path)
            take(known, take(&v->left, *known));
    }
    if (v->left.calls == 0)
        v->left.seconds = 0; /* rounded otherwise: a call's sum is never more than its record's */
}

static int take_all_known(struct usage_report *r, struct rest *v, size_t n)
{
    for (int same_path = 1; same_path >= 0; same_path--)
        for (size_t i = 0; i < n; i++) {
            struct usage_day_entry *d = usage_day_at(r, v[i].s->sum.day);
            if (!d)
                return -ENOMEM;
            take_known(&v[i], d, same_path);
        }
    return 0;
}

/* Calls that only relays know are rather among those of which a relay, or no path, was told. */
static int name_all_relayed(struct usage_report *r, struct orphans *o, struct rest *v, size_t n)
{
    int rc = 0;

    for (int first = 1; first >= 0; first--) {
        o->next = 0;
        for (size_t i = 0; i < n && rc == 0; i++) {
            enum ledger_path p = v[i].s->sum.path;
            bool likely = p == LEDGER_TURN || p == LEDGER_PATH_UNKNOWN;
            if (v[i].s->sum.outcome == LEDGER_ANSWERED && likely == first)
                rc = name_relayed(r, o, v[i].s->sum.day, &v[i].left);
        }
    }
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const struct usage_sum_entry *x = ((const struct rest *)a)->s, *y = ((const struct rest *)b)->s;
    int c = strcmp(x->region, y->region);

    if (x->sum.day != y->sum.day)
        return x->sum.day < y->sum.day ? -1 : 1;
    if (c != 0)
        return c;
    if (x->sum.path != y->sum.path)
        return x->sum.path < y->sum.path ? -1 : 1;
    return (x->sum.outcome > y->sum.outcome) - (x->sum.outcome < y->sum.outcome);
}

static int fold_sums(struct usage_report *r, struct orphans *orphans)
{
    size_t n = 0, i = 0;
    int rc = 0;

    for (const struct usage_sum_entry *s = r->sums; s; s = s->next)
        n++;
    struct rest *v = mem_calloc(n, sizeof(*v));
    if (!v)
        return -ENOMEM;
    for (const struct usage_sum_entry *s = r->sums; s; s = s->next)
        v[i++] = (struct rest){s, {s->sum.calls, s->sum.seconds, s->sum.ice_failed}};
    qsort(v, n, sizeof(*v), by_key);
    rc = take_all_known(r, v, n);
    if (rc == 0)
        rc = name_all_relayed(r, orphans, v, n);
    for (i = 0; i < n && rc == 0; i++)
        if (v[i].left.calls > 0)
            rc = add_nameless(r, v[i].s->sum.day, path_of_sum(v[i].s->sum.path), v[i].s->region,
                              v[i].s->sum.outcome, v[i].left);
    mem_free(v);
    return rc;
}

int usage_fold_nameless(struct usage_report *r)
{
    struct orphans o = {0};
    int rc = find_orphans(r, &o);

    if (rc == 0)
        rc = r->ledger ? fold_sums(r, &o) : name_all(r, &o);
    mem_free(o.v);
    return rc;
}

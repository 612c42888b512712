/* The relays and media servers that have registered themselves.
 *
 * Called by registry_link.c (what Redis tells) and ice_servers.c (relays for a client). Pure. Each
 * list is made anew with each answer; of a node that is missing the old entry is carried over while
 * it may still come. SPDX-License-Identifier: BSD-3-Clause */
#include "server/node_list.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/turncred.h"
#include "server/sfu_pick.h"

/* A node with its texts behind it. */
struct entry {
    struct listed_node pub;
    uint8_t bytes[];
};

struct kind_list {
    struct entry *v[NODE_LIST_MAX];
    size_t n;
};

struct node_list {
    struct kind_list of[NODE_KINDS];
    struct sfu_candidate relays[NODE_LIST_MAX]; /* of the relays, in their order */
    struct slice region;
    struct rand_src rand;
    bool has_secret;
    uint64_t grace_until_us;
    struct node_list_counters count;
    uint8_t mark[TURNCRED_MARK_BYTES];
};

static void drop_all(struct kind_list *k)
{
    for (size_t i = 0; i < k->n; i++)
        mem_free(k->v[i]);
    k->n = 0;
}

void node_list_up(struct node_list *l, uint64_t now_us)
{
    l->grace_until_us = now_us + NODE_LIST_GRACE_US;
}

/* ---- what Redis tells ---- */

static struct entry *find(const struct kind_list *k, struct slice name)
{
    for (size_t i = 0; i < k->n; i++)
        if (slice_eq(k->v[i]->pub.name, name))
            return k->v[i];
    return NULL;
}

/* An entry of its own memory. Returns 0, -EBADMSG, -ENOMEM. */
static int make(struct entry **out, enum node_kind kind, struct slice name, struct slice text)
{
    struct node_record probe;

    if (!node_record_name_ok(name) || node_record_decode(&probe, kind, text) != 0)
        return -EBADMSG;
    struct entry *e = mem_zalloc(sizeof(*e) + name.len + text.len);
    if (!e)
        return -ENOMEM;
    memcpy(e->bytes, name.p, name.len);
    memcpy(e->bytes + name.len, text.p, text.len);
    e->pub.name = slice_of(e->bytes, name.len);
    e->pub.listed = true;
    (void)node_record_decode(&e->pub.record, kind, slice_of(e->bytes + name.len, text.len));
    *out = e;
    return 0;
}

/* Reads the whole answer into fresh. Returns 0 or -ENOMEM. */
static int read_all(struct node_list *l, enum node_kind kind, const struct resp *reply,
                    struct kind_list *fresh)
{
    for (size_t i = 0; i + 1 < reply->n && fresh->n < NODE_LIST_MAX; i += 2) {
        struct slice name = resp_text(resp_at(reply, i)), text = resp_text(resp_at(reply, i + 1));
        int e = make(&fresh->v[fresh->n], kind, name, text);
        if (e == -ENOMEM)
            return e;
        if (e == 0)
            fresh->n++;
        else
            counter_inc(&l->count.bad);
    }
    return 0;
}

/* Takes over from old what is missing in fresh and may still come back. */
static void carry_over(struct kind_list *old, struct kind_list *fresh)
{
    for (size_t i = 0; i < old->n; i++) {
        struct entry *e = old->v[i];
        if (fresh->n < NODE_LIST_MAX && !find(fresh, e->pub.name)) {
            e->pub.listed = false;
            fresh->v[fresh->n++] = e;
            old->v[i] = NULL;
        }
    }
}

static bool knows_secret(const struct node_list *l, const struct node_record *r)
{
    bool any = r->keys_n == 0; /* it does not say */

    for (size_t i = 0; i < r->keys_n; i++)
        any = any || slice_eq(r->keys[i], slice_of(l->mark, sizeof(l->mark)));
    return l->has_secret && any;
}

static void show(struct counter *c, uint64_t value)
{
    counter_add(c, value - counter_get(c));
}

/* Counts, and makes candidates of relays. */
static void review(struct node_list *l, enum node_kind kind)
{
    const struct kind_list *k = &l->of[kind];
    uint64_t usable = 0;

    for (size_t i = 0; i < k->n; i++) {
        const struct node_record *r = &k->v[i]->pub.record;
        bool good = !r->draining && (kind != NODE_RELAY || knows_secret(l, r));
        usable += good;
        if (kind == NODE_RELAY)
            l->relays[i] = (struct sfu_candidate){good, r->weight, r->load, r->region};
    }
    show(&l->count.nodes[kind], k->n);
    show(&l->count.usable[kind], usable);
}

void node_list_secret(struct node_list *l, struct slice secret)
{
    l->has_secret = secret.len > 0 && turncred_mark(l->mark, secret) == 0;
    review(l, NODE_RELAY);
}

static void tell(enum node_kind kind, const struct kind_list *now, const struct kind_list *other,
                 const char *what)
{
    for (size_t i = 0; i < now->n; i++)
        if (now->v[i] && !find(other, now->v[i]->pub.name))
            log_info("cluster", "%s %.*s %s", kind == NODE_RELAY ? "relay" : "media server",
                     SLICE_FMT(now->v[i]->pub.name), what);
}

int node_list_take(struct node_list *l, enum node_kind kind, const struct resp *reply,
                   uint64_t now_us)
{
    struct kind_list *old = &l->of[kind], fresh = {.n = 0};

    if (reply->kind != RESP_ARRAY)
        return -EBADMSG;
    int e = read_all(l, kind, reply, &fresh);
    if (e) {
        drop_all(&fresh);
        return e;
    }
    tell(kind, &fresh, old, "has registered");
    if (now_us < l->grace_until_us)
        carry_over(old, &fresh);
    else
        tell(kind, old, &fresh, "is gone");
    drop_all(old);
    *old = fresh;
    review(l, kind);
    return 0;
}

/* ---- life ---- */

struct node_list *node_list_new(const struct node_list_conf *conf)
{
    struct node_list *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    l->region = conf->region;
    rand_src_init(&l->rand, conf->seed);
    node_list_secret(l, conf->secret);
    return l;
}

void node_list_free(struct node_list *l)
{
    if (!l)
        return;
    for (int k = 0; k < NODE_KINDS; k++)
        drop_all(&l->of[k]);
    mem_free(l);
}

/* ---- looking ---- */

const struct listed_node *node_list_at(const struct node_list *l, enum node_kind kind, size_t i)
{
    return i < l->of[kind].n ? &l->of[kind].v[i]->pub : NULL;
}

size_t node_list_relays(struct node_list *l, size_t want,
                        const struct node_record *out[NODE_LIST_GRANT])
{
    size_t got[NODE_LIST_GRANT], n = 0, all = l->of[NODE_RELAY].n;

    while (n < want && n < NODE_LIST_GRANT) {
        const uint64_t draw[2] = {rand_src_u64(&l->rand), rand_src_u64(&l->rand)};
        size_t i = sfu_pick(l->relays, all, l->region, SFU_PICK_NONE, draw);
        if (i == SFU_PICK_NONE)
            break;
        l->relays[i].usable = false; /* not twice */
        got[n] = i;
        out[n++] = &l->of[NODE_RELAY].v[i]->pub.record;
    }
    for (size_t i = 0; i < n; i++)
        l->relays[got[i]].usable = true;
    counter_add(&l->count.granted, n);
    return n;
}

struct node_list_counters *node_list_count(struct node_list *l)
{
    return &l->count;
}

/* Allocations per account, per realm and in total, over all workers.
 *
 * Called by allocate.c. An account exists while it holds something, so a stranger's name costs
 * nothing. Accounts are told apart by a 64-bit hash under the process's secret key only: a
 * collision would make two accounts share a quota, once in 2^32 accounts.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/quota.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/htable.h"
#include "base/mem.h"

#define QUOTA_EXPECT 64

struct account {
    struct hnode node;
    uint64_t held;
    struct bucket bucket;
    unsigned realm;
};

struct realm {
    struct quota_rule rule;
    uint64_t held;
};

struct quota {
    pthread_mutex_t lock;
    struct htable accounts;
    uint64_t total, held;
    unsigned n_realms;
    struct realm realms[];
};

struct quota *quota_new(const struct quota_rule *rules, unsigned n, uint64_t total)
{
    struct quota *q = mem_zalloc(sizeof(*q) + n * sizeof(struct realm));

    if (!q)
        return NULL;
    if (htable_init(&q->accounts, QUOTA_EXPECT) != 0) {
        mem_free(q);
        return NULL;
    }
    pthread_mutex_init(&q->lock, NULL);
    q->total = total;
    q->n_realms = n;
    for (unsigned i = 0; i < n; i++)
        q->realms[i].rule = rules[i];
    return q;
}

void quota_free(struct quota *q)
{
    if (!q)
        return;
    size_t pos = 0;
    struct hnode *saved = NULL, *n;
    while ((n = htable_walk(&q->accounts, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct account, node));
    htable_fini(&q->accounts);
    pthread_mutex_destroy(&q->lock);
    mem_free(q);
}

static struct account *find(struct quota *q, uint64_t account)
{
    struct hnode *n = htable_first(&q->accounts, account);

    return n ? CONTAINER_OF(n, struct account, node) : NULL;
}

static bool is_over(uint64_t limit, uint64_t held, unsigned n)
{
    return limit && (held >= limit || n > limit - held);
}

static int take_locked(struct quota *q, unsigned realm, uint64_t account, unsigned n)
{
    struct account *a = find(q, account);
    struct realm *r = &q->realms[realm];

    if (is_over(q->total, q->held, n) || is_over(r->rule.total, r->held, n))
        return -ENOSPC;
    if (is_over(r->rule.per_account, a ? a->held : 0, n))
        return -EDQUOT;
    if (!a) {
        a = mem_zalloc(sizeof(*a));
        if (!a)
            return -ENOMEM;
        a->realm = realm;
        htable_add(&q->accounts, &a->node, account);
    }
    a->held += n;
    r->held += n;
    q->held += n;
    return 0;
}

int quota_take(struct quota *q, unsigned realm, uint64_t account, unsigned n)
{
    assert(realm < q->n_realms);
    pthread_mutex_lock(&q->lock);
    int err = take_locked(q, realm, account, n);
    pthread_mutex_unlock(&q->lock);
    return err;
}

void quota_give(struct quota *q, uint64_t account, unsigned n)
{
    pthread_mutex_lock(&q->lock);
    struct account *a = find(q, account);
    assert(a && a->held >= n);
    a->held -= n;
    q->realms[a->realm].held -= n;
    q->held -= n;
    if (a->held == 0) {
        htable_del(&q->accounts, &a->node);
        mem_free(a);
    }
    pthread_mutex_unlock(&q->lock);
}

uint64_t quota_in_use(struct quota *q)
{
    pthread_mutex_lock(&q->lock);
    uint64_t n = q->held;
    pthread_mutex_unlock(&q->lock);
    return n;
}

bool quota_draw(struct quota *q, uint64_t account, const struct bucket_rule *rule, uint32_t n,
                uint64_t now_us)
{
    pthread_mutex_lock(&q->lock);
    struct account *a = find(q, account);
    assert(a);
    bool taken = bucket_take(&a->bucket, rule, n, now_us);
    pthread_mutex_unlock(&q->lock);
    return taken;
}

uint64_t quota_held(struct quota *q, uint64_t account)
{
    pthread_mutex_lock(&q->lock);
    const struct account *a = find(q, account);
    uint64_t n = a ? a->held : 0;
    pthread_mutex_unlock(&q->lock);
    return n;
}

uint64_t quota_in_use_of(struct quota *q, unsigned realm)
{
    pthread_mutex_lock(&q->lock);
    uint64_t n = q->realms[realm].held;
    pthread_mutex_unlock(&q->lock);
    return n;
}

const struct quota_rule *quota_rule_of(const struct quota *q, unsigned realm)
{
    return &q->realms[realm].rule;
}

uint64_t quota_total(const struct quota *q)
{
    return q->total;
}

/* Allocations per account and in total, over all workers.
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
};

struct quota {
    pthread_mutex_t lock;
    struct htable accounts;
    uint64_t per_account, total, held;
};

struct quota *quota_new(uint64_t per_account, uint64_t total)
{
    struct quota *q = mem_zalloc(sizeof(*q));

    if (!q)
        return NULL;
    if (htable_init(&q->accounts, QUOTA_EXPECT) != 0) {
        mem_free(q);
        return NULL;
    }
    pthread_mutex_init(&q->lock, NULL);
    q->per_account = per_account;
    q->total = total;
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

static int take_locked(struct quota *q, uint64_t account, unsigned n)
{
    struct account *a = find(q, account);
    uint64_t held = a ? a->held : 0;

    if (q->total && (q->held >= q->total || n > q->total - q->held))
        return -ENOSPC;
    if (q->per_account && (held >= q->per_account || n > q->per_account - held))
        return -EDQUOT;
    if (!a) {
        a = mem_zalloc(sizeof(*a));
        if (!a)
            return -ENOMEM;
        htable_add(&q->accounts, &a->node, account);
    }
    a->held += n;
    q->held += n;
    return 0;
}

int quota_take(struct quota *q, uint64_t account, unsigned n)
{
    pthread_mutex_lock(&q->lock);
    int err = take_locked(q, account, n);
    pthread_mutex_unlock(&q->lock);
    return err;
}

void quota_give(struct quota *q, uint64_t account, unsigned n)
{
    pthread_mutex_lock(&q->lock);
    struct account *a = find(q, account);
    assert(a && a->held >= n);
    a->held -= n;
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

void quota_limits(const struct quota *q, uint64_t *per_account, uint64_t *total)
{
    *per_account = q->per_account;
    *total = q->total;
}

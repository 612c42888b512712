/* CONNECTION-IDs: from the worker where a data connection arrives to the owner of the allocation.
 *
 * Called by connect.c. All 32 bits of an id are random: to guess one is no use without the user's
 * credentials, and hard with them. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/conn_id.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/htable.h"
#include "base/mem.h"
#include "base/rand.h"

#define IDS_EXPECT 64

struct conn_id {
    struct hnode node;
    uint64_t user;
    unsigned worker;
    bool open;
};

struct conn_ids {
    pthread_mutex_t lock;
    struct htable by_id;
    unsigned max;
};

struct conn_ids *conn_ids_new(unsigned max)
{
    struct conn_ids *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    if (htable_init(&c->by_id, IDS_EXPECT) != 0) {
        mem_free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->max = max;
    return c;
}

void conn_ids_free(struct conn_ids *c)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    if (!c)
        return;
    while ((n = htable_walk(&c->by_id, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct conn_id, node));
    htable_fini(&c->by_id);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

static struct conn_id *find(const struct conn_ids *c, uint32_t id)
{
    struct hnode *n = htable_first(&c->by_id, id);

    return n ? CONTAINER_OF(n, struct conn_id, node) : NULL;
}

static int add_locked(struct conn_ids *c, unsigned worker, uint64_t user, uint32_t *id)
{
    if (c->by_id.count >= c->max)
        return -ENOSPC;
    struct conn_id *n = mem_zalloc(sizeof(*n));
    if (!n)
        return -ENOMEM;
    do
        rand_bytes(id, sizeof(*id));
    while (find(c, *id));
    n->user = user;
    n->worker = worker;
    htable_add(&c->by_id, &n->node, *id);
    return 0;
}

int conn_ids_add(struct conn_ids *c, unsigned worker, uint64_t user, uint32_t *id)
{
    pthread_mutex_lock(&c->lock);
    int err = add_locked(c, worker, user, id);
    pthread_mutex_unlock(&c->lock);
    return err;
}

static int claim_locked(struct conn_ids *c, uint32_t id, uint64_t user, unsigned *worker)
{
    struct conn_id *n = find(c, id);

    if (!n || !n->open)
        return -ENOENT;
    if (n->user != user)
        return -EACCES;
    n->open = false;
    *worker = n->worker;
    return 0;
}

int conn_ids_claim(struct conn_ids *c, uint32_t id, uint64_t user, unsigned *worker)
{
    pthread_mutex_lock(&c->lock);
    int err = claim_locked(c, id, user, worker);
    pthread_mutex_unlock(&c->lock);
    return err;
}

void conn_ids_open(struct conn_ids *c, uint32_t id)
{
    pthread_mutex_lock(&c->lock);
    struct conn_id *n = find(c, id);
    assert(n);
    n->open = true;
    pthread_mutex_unlock(&c->lock);
}

void conn_ids_del(struct conn_ids *c, uint32_t id)
{
    pthread_mutex_lock(&c->lock);
    struct conn_id *n = find(c, id);
    assert(n);
    htable_del(&c->by_id, &n->node);
    mem_free(n);
    pthread_mutex_unlock(&c->lock);
}

unsigned conn_ids_count(struct conn_ids *c)
{
    pthread_mutex_lock(&c->lock);
    unsigned n = (unsigned)c->by_id.count;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* An allocation, and the table of all allocations of a worker.
 *
 * Called by dispatch.c (look-up), allocate.c (life) and turn_core.c (expiry). Pure. What an
 * allocation holds elsewhere (port, quota, socket) is taken and given back by allocate.c only.
 *
 *     alloc_new ──alloc_add──► alive ──alloc_refresh──► alive
 *                                │
 *        lifetime over, Refresh 0, connection gone ──allocate_end──► alloc_del, alloc_free
 *
 * A dual allocation has a relayed address of each family, each with its own lifetime; it ends with
 * the last of them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/alloc.h"

#include <errno.h>

#include "base/mem.h"
#include "turn/media_quality.h"
#include "turn/tcp_meter.h"

#define ALLOC_EXPECT 256

int alloc_table_init(struct alloc_table *t, uint64_t now_us)
{
    *t = (struct alloc_table){0};
    if (htable_init(&t->_by_tuple, ALLOC_EXPECT) == 0 && htable_init(&t->_by_next, 1) == 0 &&
        htable_init(&t->_by_serial, 1) == 0 && (t->_expiry = timerwheel_new(now_us)) != NULL)
        return 0;
    alloc_table_fini(t);
    return -ENOMEM;
}

void alloc_table_fini(struct alloc_table *t)
{
    htable_fini(&t->_by_tuple);
    htable_fini(&t->_by_next);
    htable_fini(&t->_by_serial);
    timerwheel_free(t->_expiry);
    *t = (struct alloc_table){0};
}

size_t alloc_table_count(const struct alloc_table *t)
{
    return t->_by_tuple.count;
}

struct alloc *alloc_table_walk(const struct alloc_table *t, size_t *pos, struct hnode **saved)
{
    struct hnode *n = htable_walk(&t->_by_tuple, pos, saved);

    return n ? CONTAINER_OF(n, struct alloc, node) : NULL;
}

/* more: bytes behind the name. */
static struct alloc *make(const struct five_tuple *client, struct slice username, size_t more,
                          uint64_t now_us)
{
    struct alloc *a = mem_zalloc(sizeof(*a) + username.len + more);

    if (!a)
        return NULL;
    a->tuple = *client;
    a->start_us = now_us;
    list_init(&a->conns);
    a->user_len = (uint16_t)username.len;
    if (username.len > 0)
        memcpy(a->user, username.p, username.len);
    return a;
}

struct alloc *alloc_new(const struct five_tuple *client, struct slice username, uint64_t now_us)
{
    return make(client, username, 0, now_us);
}

struct alloc *alloc_new_judged(const struct five_tuple *client, struct slice username,
                               uint64_t now_us)
{
    struct alloc *a = make(client, username, MEDIA_LINE - 1 + sizeof(struct media_quality), now_us);

    if (!a)
        return NULL;
    uint8_t *p = &a->user[username.len];
    a->media = (void *)(p + (MEDIA_LINE - (uintptr_t)p % MEDIA_LINE) % MEDIA_LINE);
    media_quality_init(a->media, a, now_us);
    return a;
}

void alloc_free(struct alloc *a)
{
    if (!a)
        return;
    perm_fini(&a->perms);
    chan_fini(&a->chans);
    if (a->grant)
        crypto_wipe(a->grant, sizeof(*a->grant));
    mem_free(a->grant);
    tcp_meter_unref(a->meter);
    media_quality_fini(a->media);
    mem_free(a->mobile);
    mem_free(a);
}

struct slice alloc_user(const struct alloc *a)
{
    return slice_of(a->user, a->user_len);
}

void alloc_bytes(const struct alloc *a, uint64_t *up, uint64_t *down)
{
    *up = a->up_bytes;
    *down = a->down_bytes;
    if (a->meter)
        tcp_meter_sums(a->meter, up, down);
}

static struct alloc *find_next(const struct alloc_table *t, const struct five_tuple *client)
{
    struct hnode *n = htable_first(&t->_by_next, five_tuple_hash(client));

    for (; n; n = htable_next(n)) {
        const struct alloc_mobile *m = CONTAINER_OF(n, struct alloc_mobile, by_next);
        if (five_tuple_eq(&m->next.tuple, client))
            return m->alloc;
    }
    return NULL;
}

struct alloc *alloc_find(const struct alloc_table *t, const struct five_tuple *client)
{
    struct hnode *n = htable_first(&t->_by_tuple, five_tuple_hash(client));

    for (; n; n = htable_next(n)) {
        struct alloc *a = CONTAINER_OF(n, struct alloc, node);
        if (five_tuple_eq(&a->tuple, client) && !alloc_is_lost(a))
            return a;
    }
    return t->_by_next.count > 0 ? find_next(t, client) : NULL;
}

int alloc_make_mobile(struct alloc *a)
{
    a->mobile = mem_zalloc(sizeof(*a->mobile));
    if (!a->mobile)
        return -ENOMEM;
    a->mobile->alloc = a;
    return 0;
}

struct alloc *alloc_by_serial(const struct alloc_table *t, uint64_t serial)
{
    struct hnode *n = htable_first(&t->_by_serial, serial);

    return n ? CONTAINER_OF(n, struct alloc_mobile, by_serial)->alloc : NULL;
}

void alloc_move_begin(struct alloc_table *t, struct alloc *a, const struct alloc_place *to)
{
    a->mobile->next = *to;
    a->moving = true;
    htable_add(&t->_by_next, &a->mobile->by_next, five_tuple_hash(&a->mobile->next.tuple));
}

void alloc_move_cancel(struct alloc_table *t, struct alloc *a)
{
    htable_del(&t->_by_next, &a->mobile->by_next);
    a->moving = false;
}

void alloc_move_end(struct alloc_table *t, struct alloc *a)
{
    alloc_move_cancel(t, a);
    htable_del(&t->_by_tuple, &a->node);
    a->tuple = a->mobile->next.tuple;
    a->via = a->mobile->next.via;
    a->link = a->mobile->next.link;
    a->at = a->mobile->next.at;
    a->seq = a->mobile->next.seq;
    a->mobile->lost = false;
    htable_add(&t->_by_tuple, &a->node, five_tuple_hash(&a->tuple));
}

void alloc_add(struct alloc_table *t, struct alloc *a)
{
    a->serial = ++t->_serial;
    htable_add(&t->_by_tuple, &a->node, five_tuple_hash(&a->tuple));
    if (a->mobile)
        htable_add(&t->_by_serial, &a->mobile->by_serial, a->serial);
}

void alloc_del(struct alloc_table *t, struct alloc *a)
{
    if (a->moving)
        alloc_move_cancel(t, a);
    if (a->mobile)
        htable_del(&t->_by_serial, &a->mobile->by_serial);
    timer_cancel(t->_expiry, &a->timer);
    htable_del(&t->_by_tuple, &a->node);
}

void alloc_swap(struct alloc *a)
{
    struct alloc_second first = {a->relayed, a->sock, a->until_us, a->pool};

    a->relayed = a->second.relayed;
    a->sock = a->second.sock;
    a->until_us = a->second.until_us;
    a->pool = a->second.pool;
    a->second = first;
}

void alloc_rearm(struct alloc_table *t, struct alloc *a)
{
    uint64_t until_us = a->until_us;

    if (alloc_addresses(a) > 1 && a->second.until_us < until_us)
        until_us = a->second.until_us;
    timer_set(t->_expiry, &a->timer, until_us);
}

void alloc_refresh_family(struct alloc_table *t, struct alloc *a, uint8_t family,
                          uint32_t lifetime_s, uint64_t now_us)
{
    uint64_t until_us = now_us + lifetime_s * US_PER_S;

    a->lifetime_s = lifetime_s;
    if (a->relayed.family == family)
        a->until_us = until_us;
    else
        a->second.until_us = until_us;
    alloc_rearm(t, a);
}

void alloc_refresh(struct alloc_table *t, struct alloc *a, uint32_t lifetime_s, uint64_t now_us)
{
    a->lifetime_s = lifetime_s;
    a->until_us = a->second.until_us = now_us + lifetime_s * US_PER_S;
    alloc_rearm(t, a);
}

void alloc_shorten(struct alloc_table *t, struct alloc *a, uint64_t until_us)
{
    if (a->until_us > until_us)
        a->until_us = until_us;
    if (a->second.until_us > until_us)
        a->second.until_us = until_us;
    alloc_rearm(t, a);
}

struct alloc *alloc_expired(struct alloc_table *t, uint64_t now_us)
{
    struct timer *timer = timerwheel_pop(t->_expiry, now_us);

    return timer ? CONTAINER_OF(timer, struct alloc, timer) : NULL;
}

uint64_t alloc_deadline(const struct alloc_table *t)
{
    return timerwheel_next(t->_expiry);
}

/* One job on the store's thread: performed, and what it brings kept for the worker.
 *
 * Called by ledger.c within a transaction. The texts of an answer are in blocks that it owns: it is
 * read by the worker after the store has gone on.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>

#define BLOCK_BYTES 16384

struct block {
    struct list link;
    size_t used, cap;
    uint8_t bytes[];
};

static void *answer_room(struct ledger_answer *a, size_t n)
{
    struct list *last = list_empty(&a->blocks) ? NULL : a->blocks.prev;
    struct block *b = last ? CONTAINER_OF(last, struct block, link) : NULL;

    if (!b || n > b->cap - b->used) {
        size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        b = mem_zalloc(sizeof(*b) + cap);
        if (!b) {
            a->out_of_memory = true;
            return NULL;
        }
        b->cap = cap;
        list_append(&a->blocks, &b->link);
    }
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

static struct slice answer_text(struct ledger_answer *a, struct slice s)
{
    uint8_t *p = s.len > 0 ? answer_room(a, s.len) : NULL;

    if (!p)
        return (struct slice){0};
    memcpy(p, s.p, s.len);
    return slice_of(p, s.len);
}

void ledger_answer_free(struct ledger_answer *a)
{
    if (!a)
        return;
    LIST_EACH(it, tmp, &a->blocks)
    {
        struct block *b = CONTAINER_OF(it, struct block, link);
        crypto_wipe(b->bytes, b->used); /* tokens */
        mem_free(b);
    }
    for (size_t i = 0; i < a->r.devices_n; i++)
        mem_free((void *)(uintptr_t)a->devices[i].tokens);
    mem_free(a->entries);
    mem_free(a->devices);
    mem_free(a);
}

static struct ledger_answer *answer_new(void)
{
    struct ledger_answer *a = mem_zalloc(sizeof(*a));

    if (a)
        list_init(&a->blocks);
    return a;
}

static void on_entry(void *ctx, const struct ledger_entry *e)
{
    struct ledger_answer *a = ctx;

    if (a->r.entries_n == a->cap)
        return;
    struct ledger_entry *c = &a->entries[a->r.entries_n++];
    *c = *e;
    c->peer = answer_text(a, e->peer);
    c->device = answer_text(a, e->device);
    c->leg = answer_text(a, e->leg);
    c->model = answer_text(a, e->model);
    c->codec = answer_text(a, e->codec);
    c->worst = answer_text(a, e->worst);
    c->network = answer_text(a, e->network);
}

static void on_device(void *ctx, const struct ledger_device *d)
{
    struct ledger_answer *a = ctx;

    if (a->r.devices_n == a->cap)
        return;
    struct ledger_token *tokens = mem_calloc(d->tokens_n, sizeof(*tokens));
    if (!tokens) {
        a->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < d->tokens_n; i++) {
        tokens[i] = d->tokens[i];
        tokens[i].token = answer_text(a, d->tokens[i].token);
    }
    struct ledger_device *c = &a->devices[a->r.devices_n++];
    *c = *d;
    c->user = answer_text(a, d->user);
    c->device = answer_text(a, d->device);
    c->app = answer_text(a, d->app);
    c->version = answer_text(a, d->version);
    c->locale = answer_text(a, d->locale);
    c->tokens = tokens;
}

static int read_history(struct ledger *l, struct ledger_job *j, struct ledger_answer *a)
{
    const struct ledger_store_ops *ops = l->store->ops;
    const struct ledger_query q = {j->ask.user, j->ask.after ? &j->ask.cursor : NULL, j->ask.n,
                                   j->ask.missed_only};

    a->cap = j->ask.n;
    a->entries = mem_calloc(a->cap, sizeof(*a->entries));
    a->r.entries = a->entries;
    if (!a->entries)
        return -ENOMEM;
    int rc = ops->history(l->store, &q, on_entry, a, &a->r.more);
    return rc == 0 ? ops->badge(l->store, j->ask.user, &a->r.count) : rc;
}

static int read_devices(struct ledger *l, struct ledger_job *j, struct ledger_answer *a)
{
    const struct ledger_device_key after = {j->ask.user, j->ask.device};
    bool of_one = j->kind == JOB_DEVICES_OF;

    a->cap = of_one ? LEDGER_PAGE_MAX : j->ask.n;
    a->devices = mem_calloc(a->cap, sizeof(*a->devices));
    a->r.devices = a->devices;
    if (!a->devices)
        return -ENOMEM;
    if (of_one)
        return l->store->ops->devices_of(l->store, j->ask.user, on_device, a);
    return l->store->ops->devices(l->store, &after, j->ask.n, on_device, a, &a->r.more);
}

static int read_holds(struct ledger *l, struct ledger_answer *a)
{
    a->cap = LEDGER_HOLDS_MAX;
    a->devices = mem_calloc(a->cap, sizeof(*a->devices));
    a->r.devices = a->devices;
    return a->devices ? l->store->ops->holds(l->store, on_device, a) : -ENOMEM;
}

/* Jobs that bring an answer. */
static int answer(struct ledger *l, struct ledger_job *j)
{
    const struct ledger_store_ops *ops = l->store->ops;
    struct ledger_answer *a = answer_new();
    struct slice user = j->ask.user, actor = j->ask.actor;
    int rc;

    ledger_answer_free(j->answer); /* of an attempt that was taken back */
    j->answer = a;
    if (!a)
        return -ENOMEM;
    switch (j->kind) {
    case JOB_HISTORY:
        rc = read_history(l, j, a);
        break;
    case JOB_DEVICES:
    case JOB_DEVICES_OF:
        rc = read_devices(l, j, a);
        break;
    case JOB_HOLDS:
        rc = read_holds(l, a);
        break;
    case JOB_HOLD:
    case JOB_UNHOLD:
        rc = ops->hold(l->store, user, actor, j->kind == JOB_HOLD, j->ask.ms);
        break;
    case JOB_BADGE:
        rc = ops->badge(l->store, user, &a->r.count);
        break;
    case JOB_SEEN:
        rc = ops->seen(l->store, user, j->ask.ids, j->ask.n, j->ask.ms);
        if (rc == 0)
            rc = ops->badge(l->store, user, &a->r.count);
        break;
    case JOB_HIDE:
        rc = ops->hide(l->store, user, j->ask.ids, j->ask.n, j->ask.ms);
        if (rc == 0)
            rc = ops->badge(l->store, user, &a->r.count);
        break;
    case JOB_ERASE:
        rc = ops->erase(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case JOB_KEEP:
        rc = ops->keep(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case JOB_EXPORT:
        rc = ops->export(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case JOB_PRIVACY:
        rc = ops->privacy(l->store, user, j->ask.privacy, &a->r.privacy);
        break;
    default:
        rc = ops->sweep(l->store, j->ask.ms, &a->r.more);
        break;
    }
    return rc == 0 && a->out_of_memory ? -ENOMEM : rc;
}

int ledger_job_perform(struct ledger *l, struct ledger_job *j)
{
    const struct ledger_store_ops *ops = l->store->ops;
    struct ledger_store *s = l->store;

    switch (j->kind) {
    case JOB_PUT_CALL:
        return ops->put_call(s, &j->call, l->conf.history);
    case JOB_PUT_PUSH:
        return l->conf.history ? ops->put_push(s, &j->push) : ops->count_push(s, &j->push);
    case JOB_PUT_QUALITY:
        return l->conf.history ? ops->put_quality(s, &j->quality) : 0;
    case JOB_PUT_SAMPLE:
        return l->conf.history ? ops->put_sample(s, &j->sample) : 0;
    case JOB_PUT_DEVICE:
        return ops->put_device(s, &j->device);
    case JOB_DEL_DEVICE:
        return ops->del_device(s, j->ask.user, j->ask.device);
    case JOB_BAD_TOKEN:
        return ops->bad_token(s, j->ask.token, j->ask.ms);
    case JOB_SET_ENV:
        return ops->set_env(s, j->ask.user, j->ask.device, j->ask.env);
    case JOB_TOUCH:
        return ops->touch(s, j->ask.user, j->ask.device, j->ask.ms);
    default:
        return answer(l, j);
    }
}

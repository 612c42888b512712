/* The ledger's queue: jobs in, batches of them into the store, answers back.
 *
 *     ledger_put_…(): waiting ──ledger_run()──► transaction ──commit──► finished ──ledger_deliver()
 *                        ▲                          │
 *                        └── records, at the front ─┘ the store is in trouble
 *
 * Called by the router and push.c (requests), ledger_link.c (run, deliver). A job is one block:
 * what it is, and copies of its texts behind it. The lock is held for moving jobs between lists
 * only. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger.h"

#include "base/crypto.h"
#include "base/list.h"
#include "base/mem.h"
#include "server/ledger_store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

enum kind {
    PUT_CALL,
    PUT_PUSH,
    PUT_QUALITY,
    BAD_TOKEN,
    SET_ENV,
    TOUCH,
    DEVICES,
    SWEEP,
    /* requests: they do not wait for a store in trouble */
    PUT_DEVICE,
    DEL_DEVICE,
    HISTORY,
    BADGE,
    SEEN,
    HIDE,
    ERASE,
    KEEP,
    EXPORT,
    PRIVACY,
};

/* The answer of a read, made on the store's thread: entries or devices with their texts. */
struct answer {
    struct ledger_result r;
    struct list blocks;
    bool out_of_memory;
    size_t cap;
    struct ledger_entry *entries;
    struct ledger_device *devices;
};
struct block {
    struct list link;
    size_t used, cap;
    uint8_t bytes[];
};
#define BLOCK_BYTES    16384
#define RETRY_FIRST_US (250 * US_PER_MS)
#define RETRY_MAX_US   (10 * US_PER_S)

struct job {
    struct list link;
    enum kind kind;
    ledger_done_fn *done;
    void *ctx;
    uint64_t since_us;
    size_t bytes, text_bytes;
    int rc;
    struct answer *answer;
    union {
        struct ledger_call call;
        struct ledger_push push;
        struct ledger_quality quality;
        struct ledger_device device;
        struct {
            struct slice user, device, token, actor;
            struct sig_call_id *ids;
            struct ledger_cursor cursor;
            uint64_t ms;
            size_t n;
            enum ledger_env env;
            enum ledger_privacy_kind privacy;
            bool after, missed_only;
        } ask;
    };
    uint8_t *text; /* behind the job's arrays */
};

struct ledger {
    struct ledger_conf conf;
    struct ledger_store *store;
    void (*wake)(void *arg);
    void *arg;
    uint64_t retry_us, retries; /* in trouble: when to try again; how often it was in vain */
    unsigned health;            /* atomic */
    struct ledger_counters count;
    pthread_mutex_t lock;
    struct list waiting, finished;
    size_t waiting_bytes;
};

/* Records and what the server itself needs; the others are requests of somebody who waits. */
static bool waits(enum kind k)
{
    return k < PUT_DEVICE;
}

/* Reads, which a full or write-protected disk does not hinder. */
static bool reads(enum kind k)
{
    return k == DEVICES || k == HISTORY || k == BADGE || k == PRIVACY;
}

static bool is_record(enum kind k)
{
    return k <= TOUCH;
}

/* ---- answers ---- */

static void *answer_room(struct answer *a, size_t n)
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

static struct slice answer_text(struct answer *a, struct slice s)
{
    uint8_t *p = s.len > 0 ? answer_room(a, s.len) : NULL;

    if (!p)
        return (struct slice){0};
    memcpy(p, s.p, s.len);
    return slice_of(p, s.len);
}

static void answer_free(struct answer *a)
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

static struct answer *answer_new(void)
{
    struct answer *a = mem_zalloc(sizeof(*a));

    if (a)
        list_init(&a->blocks);
    return a;
}

static void on_entry(void *ctx, const struct ledger_entry *e)
{
    struct answer *a = ctx;

    if (a->r.entries_n == a->cap)
        return;
    struct ledger_entry *c = &a->entries[a->r.entries_n++];
    *c = *e;
    c->peer = answer_text(a, e->peer);
    c->device = answer_text(a, e->device);
    c->model = answer_text(a, e->model);
}

static void on_device(void *ctx, const struct ledger_device *d)
{
    struct answer *a = ctx;

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

/* ---- jobs ---- */

static void job_free(struct job *j)
{
    if (!j)
        return;
    answer_free(j->answer);
    crypto_wipe(j->text, j->text_bytes);
    mem_free(j);
}

/* A job with room for n elements of size bytes, *array, and text_bytes of text behind them. */
static struct job *job_new(enum kind kind, size_t n, size_t size, size_t text_bytes, void **array,
                           struct wr *w)
{
    size_t arrays = n * size, bytes = sizeof(struct job) + arrays + text_bytes;
    struct job *j = mem_zalloc(bytes);

    if (!j)
        return NULL;
    j->kind = kind;
    j->bytes = bytes;
    *array = n > 0 ? (void *)(j + 1) : NULL;
    j->text = (uint8_t *)(j + 1) + arrays;
    j->text_bytes = text_bytes;
    *w = wr_init(j->text, text_bytes);
    return j;
}

static struct slice keep(struct wr *w, struct slice s)
{
    uint8_t *p = wr_reserve(w, s.len);

    if (!p || s.len == 0)
        return (struct slice){0};
    memcpy(p, s.p, s.len);
    return slice_of(p, s.len);
}

static bool has_room(const struct ledger *l, size_t bytes)
{
    return counter_get(&l->count.queued) < l->conf.queue &&
           l->waiting_bytes < l->conf.queue_bytes &&
           bytes <= l->conf.queue_bytes - l->waiting_bytes;
}

/* Puts a job in the queue; takes it. */
static int enqueue(struct ledger *l, struct job *j, ledger_done_fn *done, void *ctx)
{
    bool first;
    int rc = 0;

    if (!j)
        return -ENOMEM;
    j->done = done;
    j->ctx = ctx;
    j->since_us = l->conf.now_us ? l->conf.now_us() : 0;
    pthread_mutex_lock(&l->lock);
    first = list_empty(&l->waiting);
    /* Our own jobs always find room: without them nothing would get better. */
    if (j->kind != SWEEP && !has_room(l, j->bytes)) {
        rc = -ENOSPC;
    } else {
        list_append(&l->waiting, &j->link);
        l->waiting_bytes += j->bytes;
        counter_inc(&l->count.queued); /* under the lock, by whoever */
    }
    pthread_mutex_unlock(&l->lock);
    if (rc != 0) {
        counter_inc(&l->count.refused);
        job_free(j);
    } else if (first && l->wake) {
        l->wake(l->arg);
    }
    return rc;
}

static bool key_ok(struct slice s, size_t max)
{
    return s.len > 0 && s.len <= max;
}

static bool whose_ok(struct slice user, struct slice device)
{
    return key_ok(user, SIG_USER_MAX) && key_ok(device, SIG_DEVICE_MAX);
}

static bool call_ok(const struct ledger_call *c)
{
    if (c->parties_n > LEDGER_PARTIES_MAX || c->node.len > LEDGER_NAME_MAX ||
        c->region.len > LEDGER_NAME_MAX || c->outcome >= LEDGER_OUTCOME_COUNT ||
        c->reason >= SIG_REASON_COUNT || c->ended_by >= LEDGER_BY_COUNT ||
        c->path >= LEDGER_PATH_COUNT)
        return false;
    for (size_t i = 0; i < c->parties_n; i++)
        if (!key_ok(c->parties[i].user, SIG_USER_MAX) ||
            c->parties[i].device.len > SIG_DEVICE_MAX || c->parties[i].role >= LEDGER_ROLE_COUNT)
            return false;
    return true;
}

int ledger_put_call(struct ledger *l, const struct ledger_call *c, ledger_done_fn *done, void *ctx)
{
    size_t bytes = c->node.len + c->region.len;
    void *array;
    struct wr w;

    if (!call_ok(c))
        return -EINVAL;
    for (size_t i = 0; i < c->parties_n; i++)
        bytes += c->parties[i].user.len + c->parties[i].device.len;
    struct job *j = job_new(PUT_CALL, c->parties_n, sizeof(*c->parties), bytes, &array, &w);
    if (!j)
        return -ENOMEM;
    struct ledger_party *parties = array;
    j->call = *c;
    j->call.node = keep(&w, c->node);
    j->call.region = keep(&w, c->region);
    j->call.parties = parties;
    for (size_t i = 0; i < c->parties_n; i++) {
        parties[i] = c->parties[i];
        parties[i].user = keep(&w, c->parties[i].user);
        parties[i].device = keep(&w, c->parties[i].device);
    }
    return enqueue(l, j, done, ctx);
}

int ledger_put_push(struct ledger *l, const struct ledger_push *p, ledger_done_fn *done, void *ctx)
{
    void *array;
    struct wr w;

    if (!key_ok(p->apns_id, LEDGER_NAME_MAX) || !whose_ok(p->user, p->device) ||
        p->kind.len > LEDGER_NAME_MAX || p->reason.len > LEDGER_NAME_MAX)
        return -EINVAL;
    struct job *j = job_new(
        PUT_PUSH, 0, 0, p->apns_id.len + p->user.len + p->device.len + p->kind.len + p->reason.len,
        &array, &w);
    if (!j)
        return -ENOMEM;
    j->push = *p;
    j->push.apns_id = keep(&w, p->apns_id);
    j->push.user = keep(&w, p->user);
    j->push.device = keep(&w, p->device);
    j->push.kind = keep(&w, p->kind);
    j->push.reason = keep(&w, p->reason);
    return enqueue(l, j, done, ctx);
}

int ledger_put_quality(struct ledger *l, const struct ledger_quality *q, ledger_done_fn *done,
                       void *ctx)
{
    void *array;
    struct wr w;

    if (!key_ok(q->user, SIG_USER_MAX) || q->leg.len > LEDGER_NAME_MAX ||
        q->model.len > LEDGER_NAME_MAX || q->codec.len > LEDGER_NAME_MAX ||
        q->path >= LEDGER_PATH_COUNT)
        return -EINVAL;
    struct job *j = job_new(PUT_QUALITY, 0, 0,
                            q->user.len + q->leg.len + q->model.len + q->codec.len, &array, &w);
    if (!j)
        return -ENOMEM;
    j->quality = *q;
    j->quality.user = keep(&w, q->user);
    j->quality.leg = keep(&w, q->leg);
    j->quality.model = keep(&w, q->model);
    j->quality.codec = keep(&w, q->codec);
    return enqueue(l, j, done, ctx);
}

static bool device_ok(const struct ledger_device *d)
{
    if (!whose_ok(d->user, d->device) || d->app.len > LEDGER_APP_MAX ||
        d->version.len > LEDGER_VERSION_MAX || d->locale.len > LEDGER_LOCALE_MAX ||
        d->tokens_n > LEDGER_TOKENS_MAX || d->platform >= LEDGER_PLATFORM_COUNT ||
        d->env >= LEDGER_ENV_COUNT || d->call_ui >= LEDGER_CALL_UI_COUNT)
        return false;
    for (size_t i = 0; i < d->tokens_n; i++)
        if (d->tokens[i].token.len > LEDGER_TOKEN_MAX ||
            d->tokens[i].type >= LEDGER_TOKEN_TYPE_COUNT)
            return false;
    return true;
}

int ledger_put_device(struct ledger *l, const struct ledger_device *d, ledger_done_fn *done,
                      void *ctx)
{
    size_t bytes = d->user.len + d->device.len + d->app.len + d->version.len + d->locale.len;
    void *array;
    struct wr w;

    if (!device_ok(d))
        return -EINVAL;
    for (size_t i = 0; i < d->tokens_n; i++)
        bytes += d->tokens[i].token.len;
    struct job *j = job_new(PUT_DEVICE, d->tokens_n, sizeof(*d->tokens), bytes, &array, &w);
    if (!j)
        return -ENOMEM;
    struct ledger_token *tokens = array;
    j->device = *d;
    j->device.user = keep(&w, d->user);
    j->device.device = keep(&w, d->device);
    j->device.app = keep(&w, d->app);
    j->device.version = keep(&w, d->version);
    j->device.locale = keep(&w, d->locale);
    j->device.tokens = tokens;
    for (size_t i = 0; i < d->tokens_n; i++) {
        tokens[i] = d->tokens[i];
        tokens[i].token = keep(&w, d->tokens[i].token);
    }
    return enqueue(l, j, done, ctx);
}

/* A job about a user, a device, a token; who asked. */
static struct job *ask_new(enum kind kind, struct slice user, struct slice device,
                           struct slice token, struct slice actor, const struct sig_call_id *ids,
                           size_t n)
{
    void *array;
    struct wr w;
    struct job *j =
        job_new(kind, n, sizeof(*ids), user.len + device.len + token.len + actor.len, &array, &w);

    if (!j)
        return NULL;
    j->ask.user = keep(&w, user);
    j->ask.device = keep(&w, device);
    j->ask.token = keep(&w, token);
    j->ask.actor = keep(&w, actor);
    j->ask.ids = array;
    j->ask.n = n;
    if (n > 0)
        memcpy(array, ids, n * sizeof(*ids));
    return j;
}

static const struct slice NO = {0};

int ledger_bad_token(struct ledger *l, struct slice token, uint64_t since_ms, ledger_done_fn *done,
                     void *ctx)
{
    if (!key_ok(token, LEDGER_TOKEN_MAX))
        return -EINVAL;
    struct job *j = ask_new(BAD_TOKEN, NO, NO, token, NO, NULL, 0);
    if (j)
        j->ask.ms = since_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_set_env(struct ledger *l, struct slice user, struct slice device, enum ledger_env env,
                   ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device) || env >= LEDGER_ENV_COUNT)
        return -EINVAL;
    struct job *j = ask_new(SET_ENV, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.env = env;
    return enqueue(l, j, done, ctx);
}

int ledger_touch(struct ledger *l, struct slice user, struct slice device, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device))
        return -EINVAL;
    struct job *j = ask_new(TOUCH, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_del_device(struct ledger *l, struct slice user, struct slice device,
                      ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device))
        return -EINVAL;
    return enqueue(l, ask_new(DEL_DEVICE, user, device, NO, NO, NULL, 0), done, ctx);
}

int ledger_history(struct ledger *l, const struct ledger_query *q, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(q->user, SIG_USER_MAX) || q->limit == 0 || q->limit > LEDGER_PAGE_MAX)
        return -EINVAL;
    struct job *j = ask_new(HISTORY, q->user, NO, NO, NO, NULL, 0);
    if (j) {
        j->ask.n = q->limit;
        j->ask.missed_only = q->missed_only;
        j->ask.after = q->after != NULL;
        if (q->after)
            j->ask.cursor = *q->after;
    }
    return enqueue(l, j, done, ctx);
}

int ledger_badge(struct ledger *l, struct slice user, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX))
        return -EINVAL;
    return enqueue(l, ask_new(BADGE, user, NO, NO, NO, NULL, 0), done, ctx);
}

static int mark(struct ledger *l, enum kind kind, struct slice user, const struct sig_call_id *ids,
                size_t n, uint64_t until_ms, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || n > LEDGER_IDS_MAX)
        return -EINVAL;
    struct job *j = ask_new(kind, user, NO, NO, NO, ids, n);
    if (j)
        j->ask.ms = until_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_seen(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx)
{
    return mark(l, SEEN, user, ids, n, until_ms, done, ctx);
}

int ledger_hide(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx)
{
    return mark(l, HIDE, user, ids, n, until_ms, done, ctx);
}

static int ask_privacy(struct ledger *l, enum kind kind, struct slice user, struct slice actor,
                       uint64_t now_ms, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || !key_ok(actor, LEDGER_NAME_MAX))
        return -EINVAL;
    struct job *j = ask_new(kind, user, NO, NO, actor, NULL, 0);
    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_erase(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, ERASE, user, actor, now_ms, done, ctx);
}

int ledger_keep(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, KEEP, user, actor, now_ms, done, ctx);
}

int ledger_export(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                  ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, EXPORT, user, actor, now_ms, done, ctx);
}

int ledger_privacy(struct ledger *l, struct slice user, enum ledger_privacy_kind kind,
                   ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || kind >= LEDGER_PRIVACY_KIND_COUNT)
        return -EINVAL;
    struct job *j = ask_new(PRIVACY, user, NO, NO, NO, NULL, 0);
    if (j)
        j->ask.privacy = kind;
    return enqueue(l, j, done, ctx);
}

int ledger_devices(struct ledger *l, struct slice user, struct slice device, size_t limit,
                   ledger_done_fn *done, void *ctx)
{
    if (user.len > SIG_USER_MAX || device.len > SIG_DEVICE_MAX || limit == 0)
        return -EINVAL;
    struct job *j = ask_new(DEVICES, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.n = limit;
    return enqueue(l, j, done, ctx);
}

int ledger_sweep(struct ledger *l, uint64_t now_ms, ledger_done_fn *done, void *ctx)
{
    struct job *j = ask_new(SWEEP, NO, NO, NO, NO, NULL, 0);

    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

/* ---- on the store's thread ---- */

static int read_history(struct ledger *l, struct job *j, struct answer *a)
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

static int read_devices(struct ledger *l, struct job *j, struct answer *a)
{
    const struct ledger_device_key after = {j->ask.user, j->ask.device};

    a->cap = j->ask.n;
    a->devices = mem_calloc(a->cap, sizeof(*a->devices));
    a->r.devices = a->devices;
    if (!a->devices)
        return -ENOMEM;
    return l->store->ops->devices(l->store, &after, j->ask.n, on_device, a, &a->r.more);
}

/* Jobs that bring an answer. */
static int answer(struct ledger *l, struct job *j)
{
    const struct ledger_store_ops *ops = l->store->ops;
    struct answer *a = answer_new();
    struct slice user = j->ask.user, actor = j->ask.actor;
    int rc;

    answer_free(j->answer); /* of an attempt that was taken back */
    j->answer = a;
    if (!a)
        return -ENOMEM;
    switch (j->kind) {
    case HISTORY:
        rc = read_history(l, j, a);
        break;
    case DEVICES:
        rc = read_devices(l, j, a);
        break;
    case BADGE:
        rc = ops->badge(l->store, user, &a->r.count);
        break;
    case SEEN:
        rc = ops->seen(l->store, user, j->ask.ids, j->ask.n, j->ask.ms);
        if (rc == 0)
            rc = ops->badge(l->store, user, &a->r.count);
        break;
    case HIDE:
        rc = ops->hide(l->store, user, j->ask.ids, j->ask.n, j->ask.ms);
        if (rc == 0)
            rc = ops->badge(l->store, user, &a->r.count);
        break;
    case ERASE:
        rc = ops->erase(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case KEEP:
        rc = ops->keep(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case EXPORT:
        rc = ops->export(l->store, user, actor, j->ask.ms, &a->r.privacy);
        break;
    case PRIVACY:
        rc = ops->privacy(l->store, user, j->ask.privacy, &a->r.privacy);
        break;
    default:
        rc = ops->sweep(l->store, j->ask.ms, &a->r.more);
        break;
    }
    return rc == 0 && a->out_of_memory ? -ENOMEM : rc;
}

static int perform(struct ledger *l, struct job *j)
{
    const struct ledger_store_ops *ops = l->store->ops;
    struct ledger_store *s = l->store;

    switch (j->kind) {
    case PUT_CALL:
        return ops->put_call(s, &j->call, l->conf.history);
    case PUT_PUSH:
        return l->conf.history ? ops->put_push(s, &j->push) : 0;
    case PUT_QUALITY:
        return l->conf.history ? ops->put_quality(s, &j->quality) : 0;
    case PUT_DEVICE:
        return ops->put_device(s, &j->device);
    case DEL_DEVICE:
        return ops->del_device(s, j->ask.user, j->ask.device);
    case BAD_TOKEN:
        return ops->bad_token(s, j->ask.token, j->ask.ms);
    case SET_ENV:
        return ops->set_env(s, j->ask.user, j->ask.device, j->ask.env);
    case TOUCH:
        return ops->touch(s, j->ask.user, j->ask.device, j->ask.ms);
    default:
        return answer(l, j);
    }
}

static void set_health(struct ledger *l, enum ledger_health h)
{
    enum ledger_health was = ledger_health(l);

    if (was == h)
        return;
    counter_sub(&l->count.health[was], 1);
    counter_inc(&l->count.health[h]);
    __atomic_store_n(&l->health, (unsigned)h, __ATOMIC_RELAXED);
}

static void finish(struct ledger *l, struct list *to, struct job *j, int rc)
{
    j->rc = rc;
    if (rc == -EIO)
        counter_inc(&l->count.failed);
    if (is_record(j->kind)) {
        if (rc == 0)
            counter_inc(&l->count.records);
        if (l->conf.now_us)
            histogram_add(&l->count.lag, l->conf.now_us() - j->since_us);
    } else {
        counter_inc(&l->count.requests);
    }
    list_append(to, &j->link);
}

/* Moves the jobs of a list to another one, in their order. */
static size_t move_all(struct list *from, struct list *to)
{
    size_t n = 0;

    LIST_EACH(it, tmp, from)
    {
        list_del(it);
        list_append(to, it);
        n++;
    }
    return n;
}

/* Hands finished jobs over. Returns how many. */
static long hand_over(struct ledger *l, struct list *done)
{
    long n = 0;

    pthread_mutex_lock(&l->lock);
    LIST_EACH(it, tmp, done)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        list_del(it);
        counter_sub(&l->count.queued, 1);
        l->waiting_bytes -= j->bytes;
        list_append(&l->finished, it);
        n++;
    }
    pthread_mutex_unlock(&l->lock);
    return n;
}

static void take_batch(struct ledger *l, struct list *batch)
{
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    LIST_EACH(it, tmp, &l->waiting)
    {
        if (n++ == l->conf.batch)
            break;
        list_del(it);
        list_append(batch, it);
    }
    pthread_mutex_unlock(&l->lock);
}

/* What can't be done now goes back to the front of the queue. */
static void put_back(struct ledger *l, struct list *jobs)
{
    pthread_mutex_lock(&l->lock);
    while (!list_empty(jobs)) {
        struct list *last = jobs->prev;
        list_del(last);
        list_prepend(&l->waiting, last);
    }
    pthread_mutex_unlock(&l->lock);
}

/* A request meets a store in trouble: reads are tried, the others fail. */
static int perform_in_trouble(struct ledger *l, struct job *j)
{
    enum ledger_health h = ledger_health(l);
    bool readable = h == LEDGER_DISK_FULL || h == LEDGER_READ_ONLY;

    return readable && reads(j->kind) ? perform(l, j) : -EAGAIN;
}

/* Takes the requests out of the queue and ends them: nobody waits for a disk. */
static void end_requests(struct ledger *l, struct list *done)
{
    struct list requests;

    list_init(&requests);
    pthread_mutex_lock(&l->lock);
    LIST_EACH(it, tmp, &l->waiting)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        if (waits(j->kind))
            continue;
        list_del(it);
        list_append(&requests, it);
    }
    pthread_mutex_unlock(&l->lock);
    LIST_EACH(it, tmp, &requests)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        list_del(it);
        finish(l, done, j, perform_in_trouble(l, j));
    }
}

/* The batch did not come through: its requests end, its records go back. */
static void fail_batch(struct ledger *l, struct list *batch, struct list *done)
{
    struct list back;

    l->store->ops->rollback(l->store);
    enum ledger_health h = l->store->ops->health(l->store);
    set_health(l, h == LEDGER_FINE ? LEDGER_TROUBLE : h);
    counter_inc(&l->count.retries);
    list_init(&back);
    LIST_EACH(it, tmp, batch)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        list_del(it);
        if (waits(j->kind))
            list_append(&back, it);
        else
            finish(l, done, j, perform_in_trouble(l, j));
    }
    put_back(l, &back);
}

/* Performs the batch in one transaction. */
static int run_batch(struct ledger *l, struct list *batch)
{
    const struct ledger_store_ops *ops = l->store->ops;
    bool write = false;
    int rc;

    LIST_EACH(it, tmp, batch)
    write = write || !reads(CONTAINER_OF(it, struct job, link)->kind);
    rc = ops->begin(l->store, write);
    LIST_EACH(it, tmp, batch)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        if (rc != 0)
            return rc;
        j->rc = perform(l, j);
        rc = j->rc == -EAGAIN ? -EAGAIN : 0;
    }
    return rc == 0 ? ops->commit(l->store) : rc;
}

/* Out of trouble? Asked with growing pauses: looking at a damaged file costs something. */
static int recover(struct ledger *l)
{
    uint64_t now = l->conf.now_us ? l->conf.now_us() : CLOCK_NEVER;

    if (now < l->retry_us)
        return -EAGAIN;
    int rc = l->store->ops->recover(l->store, l->conf.wall_ms ? l->conf.wall_ms() : 0);
    if (rc == 0)
        return 0;
    enum ledger_health h = l->store->ops->health(l->store);
    set_health(l, h == LEDGER_FINE ? LEDGER_TROUBLE : h);
    uint64_t pause = RETRY_FIRST_US << (l->retries < 6 ? l->retries : 6);
    l->retries++;
    l->retry_us = l->conf.now_us ? now + (pause < RETRY_MAX_US ? pause : RETRY_MAX_US) : 0;
    return rc;
}

long ledger_run(struct ledger *l)
{
    bool trouble = ledger_health(l) != LEDGER_FINE;
    struct list batch, done;
    int rc = 0;

    list_init(&batch);
    list_init(&done);
    if (trouble) {
        end_requests(l, &done);
        rc = recover(l);
    }
    if (rc == 0)
        take_batch(l, &batch);
    if (rc == 0 && (trouble || !list_empty(&batch))) {
        rc = run_batch(l, &batch);
        counter_inc(&l->count.batches);
        if (rc == 0) {
            set_health(l, LEDGER_FINE);
            l->retries = l->retry_us = 0;
        } else {
            fail_batch(l, &batch, &done);
        }
    }
    LIST_EACH(it, tmp, &batch)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        list_del(it);
        finish(l, &done, j, j->rc);
    }
    long n = hand_over(l, &done);
    return rc != 0 ? -EAGAIN : n;
}

/* ---- on the worker ---- */

size_t ledger_deliver(struct ledger *l)
{
    static const struct ledger_result nothing = {0};
    struct list done;
    size_t n;

    list_init(&done);
    pthread_mutex_lock(&l->lock);
    n = move_all(&l->finished, &done);
    pthread_mutex_unlock(&l->lock);
    while (!list_empty(&done)) {
        struct job *j = CONTAINER_OF(list_first(&done), struct job, link);
        list_del(&j->link);
        if (j->done)
            j->done(j->ctx, j->rc, j->answer ? &j->answer->r : &nothing);
        if (j->rc == 0 && (j->kind == EXPORT || j->kind == ERASE) && l->conf.asked)
            l->conf.asked(l->arg);
        job_free(j);
    }
    return n;
}

enum ledger_health ledger_health(const struct ledger *l)
{
    return (enum ledger_health)__atomic_load_n(&l->health, __ATOMIC_RELAXED);
}

size_t ledger_queued(const struct ledger *l)
{
    return (size_t)counter_get(&l->count.queued);
}

struct ledger_counters *ledger_count(struct ledger *l)
{
    return &l->count;
}

/* ---- life ---- */

struct ledger *ledger_new(const struct ledger_conf *conf, struct ledger_store *s,
                          void (*wake)(void *arg), void *arg)
{
    struct ledger *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    assert(conf->batch > 0);
    l->conf = *conf;
    l->store = s;
    l->wake = wake;
    l->arg = arg;
    l->health = s->ops->health(s);
    counter_inc(&l->count.health[l->health]);
    list_init(&l->waiting);
    list_init(&l->finished);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

static void drop_all(struct list *jobs)
{
    LIST_EACH(it, tmp, jobs)
    {
        list_del(it);
        job_free(CONTAINER_OF(it, struct job, link));
    }
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    drop_all(&l->waiting);
    drop_all(&l->finished);
    l->store->ops->free(l->store);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

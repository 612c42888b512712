/* What is put into the ledger, and asked of it, as jobs in its queue.
 *
 * Called by whoever uses ledger.h, on the worker. A job is one block: what it is, and copies of its
 * texts behind it. Limits are checked here, so that the store meets none that is broken.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>

void ledger_job_free(struct ledger_job *j)
{
    if (!j)
        return;
    ledger_answer_free(j->answer);
    crypto_wipe(j->text, j->text_bytes);
    mem_free(j);
}

/* A job with room for n elements of size bytes, *array, and text_bytes of text behind them. */
static struct ledger_job *job_new(enum ledger_job_kind kind, size_t n, size_t size,
                                  size_t text_bytes, void **array, struct wr *w)
{
    size_t arrays = n * size, bytes = sizeof(struct ledger_job) + arrays + text_bytes;
    struct ledger_job *j = mem_zalloc(bytes);

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
static int enqueue(struct ledger *l, struct ledger_job *j, ledger_done_fn *done, void *ctx)
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
    if (j->kind != JOB_SWEEP && !has_room(l, j->bytes)) {
        rc = -ENOSPC;
    } else {
        list_append(&l->waiting, &j->link);
        l->waiting_bytes += j->bytes;
        counter_inc(&l->count.queued); /* under the lock, by whoever */
    }
    pthread_mutex_unlock(&l->lock);
    if (rc != 0) {
        counter_inc(&l->count.refused);
        ledger_job_free(j);
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
        c->path >= LEDGER_PATH_COUNT || c->path_was >= LEDGER_PATH_COUNT)
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
    struct ledger_job *j =
        job_new(JOB_PUT_CALL, c->parties_n, sizeof(*c->parties), bytes, &array, &w);
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
    struct ledger_job *j = job_new(
        JOB_PUT_PUSH, 0, 0,
        p->apns_id.len + p->user.len + p->device.len + p->kind.len + p->reason.len, &array, &w);
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
    size_t bytes =
        q->user.len + q->leg.len + q->model.len + q->codec.len + q->worst.len + q->network.len;
    void *array;
    struct wr w;

    if (!key_ok(q->user, SIG_USER_MAX) || q->leg.len > LEDGER_NAME_MAX ||
        q->model.len > LEDGER_NAME_MAX || q->codec.len > LEDGER_NAME_MAX ||
        q->worst.len > LEDGER_NAME_MAX || q->network.len > LEDGER_NAME_MAX ||
        q->path >= LEDGER_PATH_COUNT)
        return -EINVAL;
    struct ledger_job *j = job_new(JOB_PUT_QUALITY, 0, 0, bytes, &array, &w);
    if (!j)
        return -ENOMEM;
    j->quality = *q;
    j->quality.user = keep(&w, q->user);
    j->quality.leg = keep(&w, q->leg);
    j->quality.model = keep(&w, q->model);
    j->quality.codec = keep(&w, q->codec);
    j->quality.worst = keep(&w, q->worst);
    j->quality.network = keep(&w, q->network);
    return enqueue(l, j, done, ctx);
}

int ledger_put_sample(struct ledger *l, const struct ledger_sample *v, ledger_done_fn *done,
                      void *ctx)
{
    void *array;
    struct wr w;

    if (!key_ok(v->user, SIG_USER_MAX) || v->leg.len > LEDGER_NAME_MAX ||
        v->codec.len > LEDGER_NAME_MAX || v->path >= LEDGER_PATH_COUNT)
        return -EINVAL;
    struct ledger_job *j =
        job_new(JOB_PUT_SAMPLE, 0, 0, v->user.len + v->leg.len + v->codec.len, &array, &w);
    if (!j)
        return -ENOMEM;
    j->sample = *v;
    j->sample.user = keep(&w, v->user);
    j->sample.leg = keep(&w, v->leg);
    j->sample.codec = keep(&w, v->codec);
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
    struct ledger_job *j =
        job_new(JOB_PUT_DEVICE, d->tokens_n, sizeof(*d->tokens), bytes, &array, &w);
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
static struct ledger_job *ask_new(enum ledger_job_kind kind, struct slice user, struct slice device,
                                  struct slice token, struct slice actor,
                                  const struct sig_call_id *ids, size_t n)
{
    void *array;
    struct wr w;
    struct ledger_job *j =
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
    struct ledger_job *j = ask_new(JOB_BAD_TOKEN, NO, NO, token, NO, NULL, 0);
    if (j)
        j->ask.ms = since_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_set_env(struct ledger *l, struct slice user, struct slice device, enum ledger_env env,
                   ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device) || env >= LEDGER_ENV_COUNT)
        return -EINVAL;
    struct ledger_job *j = ask_new(JOB_SET_ENV, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.env = env;
    return enqueue(l, j, done, ctx);
}

int ledger_touch(struct ledger *l, struct slice user, struct slice device, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device))
        return -EINVAL;
    struct ledger_job *j = ask_new(JOB_TOUCH, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_del_device(struct ledger *l, struct slice user, struct slice device,
                      ledger_done_fn *done, void *ctx)
{
    if (!whose_ok(user, device))
        return -EINVAL;
    return enqueue(l, ask_new(JOB_DEL_DEVICE, user, device, NO, NO, NULL, 0), done, ctx);
}

int ledger_history(struct ledger *l, const struct ledger_query *q, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(q->user, SIG_USER_MAX) || q->limit == 0 || q->limit > LEDGER_PAGE_MAX)
        return -EINVAL;
    struct ledger_job *j = ask_new(JOB_HISTORY, q->user, NO, NO, NO, NULL, 0);
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
    return enqueue(l, ask_new(JOB_BADGE, user, NO, NO, NO, NULL, 0), done, ctx);
}

static int mark(struct ledger *l, enum ledger_job_kind kind, struct slice user,
                const struct sig_call_id *ids, size_t n, uint64_t until_ms, ledger_done_fn *done,
                void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || n > LEDGER_IDS_MAX)
        return -EINVAL;
    struct ledger_job *j = ask_new(kind, user, NO, NO, NO, ids, n);
    if (j)
        j->ask.ms = until_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_seen(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx)
{
    return mark(l, JOB_SEEN, user, ids, n, until_ms, done, ctx);
}

int ledger_hide(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx)
{
    return mark(l, JOB_HIDE, user, ids, n, until_ms, done, ctx);
}

static int ask_privacy(struct ledger *l, enum ledger_job_kind kind, struct slice user,
                       struct slice actor, uint64_t now_ms, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || !key_ok(actor, LEDGER_NAME_MAX))
        return -EINVAL;
    struct ledger_job *j = ask_new(kind, user, NO, NO, actor, NULL, 0);
    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

int ledger_erase(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, JOB_ERASE, user, actor, now_ms, done, ctx);
}

int ledger_keep(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, JOB_KEEP, user, actor, now_ms, done, ctx);
}

int ledger_export(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                  ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, JOB_EXPORT, user, actor, now_ms, done, ctx);
}

int ledger_privacy(struct ledger *l, struct slice user, enum ledger_privacy_kind kind,
                   ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX) || kind >= LEDGER_PRIVACY_KIND_COUNT)
        return -EINVAL;
    struct ledger_job *j = ask_new(JOB_PRIVACY, user, NO, NO, NO, NULL, 0);
    if (j)
        j->ask.privacy = kind;
    return enqueue(l, j, done, ctx);
}

int ledger_hold(struct ledger *l, struct slice user, struct slice actor, bool on, uint64_t now_ms,
                ledger_done_fn *done, void *ctx)
{
    return ask_privacy(l, on ? JOB_HOLD : JOB_UNHOLD, user, actor, now_ms, done, ctx);
}

int ledger_holds(struct ledger *l, ledger_done_fn *done, void *ctx)
{
    return enqueue(l, ask_new(JOB_HOLDS, NO, NO, NO, NO, NULL, 0), done, ctx);
}

int ledger_devices(struct ledger *l, struct slice user, struct slice device, size_t limit,
                   ledger_done_fn *done, void *ctx)
{
    if (user.len > SIG_USER_MAX || device.len > SIG_DEVICE_MAX || limit == 0)
        return -EINVAL;
    struct ledger_job *j = ask_new(JOB_DEVICES, user, device, NO, NO, NULL, 0);
    if (j)
        j->ask.n = limit;
    return enqueue(l, j, done, ctx);
}

int ledger_devices_of(struct ledger *l, struct slice user, ledger_done_fn *done, void *ctx)
{
    if (!key_ok(user, SIG_USER_MAX))
        return -EINVAL;
    return enqueue(l, ask_new(JOB_DEVICES_OF, user, NO, NO, NO, NULL, 0), done, ctx);
}

struct ledger_job *ledger_job_news(struct slice user)
{
    return ask_new(JOB_NEWS, user, NO, NO, NO, NULL, 0);
}

int ledger_sweep(struct ledger *l, uint64_t now_ms, ledger_done_fn *done, void *ctx)
{
    struct ledger_job *j = ask_new(JOB_SWEEP, NO, NO, NO, NO, NULL, 0);

    if (j)
        j->ask.ms = now_ms;
    return enqueue(l, j, done, ctx);
}

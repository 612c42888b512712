/* The ledger's queue: jobs in, batches of them into the store, answers back.
 *
 *     ledger_put_…(): waiting ──ledger_run()──► transaction ──commit──► finished ──ledger_deliver()
 *                        ▲                          │
 *                        └── records, at the front ─┘ the store is in trouble
 *
 * Called by ledger_link.c (run, deliver); jobs come from ledger_job.c, and are performed by
 * ledger_answer.c. The lock is held for moving jobs between lists only.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <assert.h>
#include <errno.h>

#define RETRY_FIRST_US (250 * US_PER_MS)
#define RETRY_MAX_US   (10 * US_PER_S)
#define RETRY_AWAY_US  (2 * US_PER_S) /* asking for a connection costs little */

static void set_health(struct ledger *l, enum ledger_health h)
{
    enum ledger_health was = ledger_health(l);

    if (was == h)
        return;
    counter_sub(&l->count.health[was], 1);
    counter_inc(&l->count.health[h]);
    __atomic_store_n(&l->health, (unsigned)h, __ATOMIC_RELAXED);
}

static void finish(struct ledger *l, struct list *to, struct ledger_job *j, int rc)
{
    j->rc = rc;
    if (rc == -EIO)
        counter_inc(&l->count.failed);
    if (ledger_job_is_record(j->kind)) {
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
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
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
static int perform_in_trouble(struct ledger *l, struct ledger_job *j)
{
    enum ledger_health h = ledger_health(l);
    bool readable = h == LEDGER_DISK_FULL || h == LEDGER_READ_ONLY;

    return readable && ledger_job_reads(j->kind) ? ledger_job_perform(l, j) : -EAGAIN;
}

/* Takes the requests out of the queue and ends them: nobody waits for a disk. */
static void end_requests(struct ledger *l, struct list *done)
{
    struct list requests;

    list_init(&requests);
    pthread_mutex_lock(&l->lock);
    LIST_EACH(it, tmp, &l->waiting)
    {
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
        if (ledger_job_waits(j->kind))
            continue;
        list_del(it);
        list_append(&requests, it);
    }
    pthread_mutex_unlock(&l->lock);
    LIST_EACH(it, tmp, &requests)
    {
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
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
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
        list_del(it);
        if (ledger_job_waits(j->kind))
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
    write = write || !ledger_job_reads(CONTAINER_OF(it, struct ledger_job, link)->kind);
    rc = ops->begin(l->store, write);
    LIST_EACH(it, tmp, batch)
    {
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
        if (rc != 0)
            return rc;
        j->rc = ledger_job_perform(l, j);
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
    uint64_t max = h == LEDGER_AWAY ? RETRY_AWAY_US : RETRY_MAX_US;
    pause = pause < max ? pause : max;
    l->retries++;
    /* Servers that lost one database do not all come back to it at once. */
    l->retry_us = l->conf.now_us ? now + pause * 3 / 4 + rand_below(pause / 2 + 1) : 0;
    return rc;
}

static bool on_news(void *ctx, struct slice user)
{
    struct ledger *l = ctx;
    struct ledger_job *j = ledger_job_news(user);

    if (!j)
        return false;
    pthread_mutex_lock(&l->lock);
    list_append(&l->finished, &j->link);
    pthread_mutex_unlock(&l->lock);
    l->news++;
    return true;
}

/* What other servers tell; a connection that is lost shows here when nothing else is to do. */
static int take_news(struct ledger *l)
{
    const struct ledger_store_ops *ops = l->store->ops;

    l->news = 0;
    if (!ops->news || ops->news(l->store, on_news, l) == 0)
        return 0;
    enum ledger_health h = ops->health(l->store);
    set_health(l, h == LEDGER_FINE ? LEDGER_TROUBLE : h);
    return -EAGAIN;
}

int ledger_fd(const struct ledger *l)
{
    return l->store->ops->fd ? l->store->ops->fd(l->store) : -1;
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
        struct ledger_job *j = CONTAINER_OF(it, struct ledger_job, link);
        list_del(it);
        finish(l, &done, j, j->rc);
    }
    long n = hand_over(l, &done);
    if (rc == 0)
        rc = take_news(l);
    return rc != 0 ? -EAGAIN : n + (long)l->news;
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
        struct ledger_job *j = CONTAINER_OF(list_first(&done), struct ledger_job, link);
        list_del(&j->link);
        if (j->kind == JOB_NEWS && l->conf.changed)
            l->conf.changed(l->arg, j->ask.user);
        if (j->done)
            j->done(j->ctx, j->rc, j->answer ? &j->answer->r : &nothing);
        if (j->rc == 0 && (j->kind == JOB_EXPORT || j->kind == JOB_ERASE) && l->conf.asked)
            l->conf.asked(l->arg);
        ledger_job_free(j);
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

size_t ledger_unwritten(struct ledger *l)
{
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    LIST_EACH(it, tmp, &l->waiting)
    n += ledger_job_is_record(CONTAINER_OF(it, struct ledger_job, link)->kind);
    pthread_mutex_unlock(&l->lock);
    return n;
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
        ledger_job_free(CONTAINER_OF(it, struct ledger_job, link));
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

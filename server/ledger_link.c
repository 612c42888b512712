/* The thread that runs the ledger's batches, and the timer that asks for sweeps.
 *
 * Made by main.c. The thread sleeps until the ledger wakes it, runs batches until nothing waits,
 * and posts their answers to the worker; while the file is in trouble it looks again every 250 ms.
 * It also wakes when a database has something to tell.
 * A batch is what has come in during the one before: under load records share a sync, without load
 * one goes to the disk at once. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_link.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/worker.h"
#include "server/ledger_store_pg.h"
#include "server/ledger_store_sqlite.h"
#include "server/server_conf.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS     250 /* in trouble, and when an answer could not be posted */
#define FIRST_SWEEP (10 * US_PER_S)
#define SWEEP_US    (3600 * US_PER_S)
#define SWEEP_AGAIN (10 * US_PER_MS) /* between steps: others want the disk too */
#define SWEEP_OTHER (1 * US_PER_S)   /* another server is at it */
#define SWEEP_LATER (30 * US_PER_S)  /* the database is in trouble: exports wait */

struct ledger_link {
    struct worker *worker;
    struct ledger *ledger;
    struct ledger_store *store; /* the ledger's */
    pthread_t thread;
    int awake;   /* an eventfd: there is work, or the end */
    bool ending; /* atomic */
    ledger_link_changed_fn *changed;
    void *changed_ctx;
    bool posted;             /* atomic: an answer is on its way to the worker */
    enum ledger_health told; /* thread: what the log knows */
    struct wtimer sweep;     /* worker */
    bool sweeping;
    struct ledger_reseal reseal;
};

static uint64_t wall_ms(void)
{
    return clock_wall_us() / US_PER_MS;
}

/* ---- the thread ---- */

static void tell_health(struct ledger_link *k)
{
    enum ledger_health h = ledger_health(k->ledger);

    if (h == k->told)
        return;
    if (h == LEDGER_FINE)
        log_info("ledger", "works again; %zu waiting", ledger_queued(k->ledger));
    else
        log_error("ledger", "%s (%s): %s", ledger_health_name(h), k->store->ops->detail(k->store),
                  ledger_health_help(h));
    k->told = h;
}

static void on_answers(void *arg, uint64_t now_us)
{
    struct ledger_link *k = arg;

    (void)now_us;
    __atomic_store_n(&k->posted, false, __ATOMIC_SEQ_CST);
    ledger_deliver(k->ledger);
}

/* Tells the worker that there are answers. False: memory is out, later. */
static bool post(struct ledger_link *k)
{
    if (__atomic_exchange_n(&k->posted, true, __ATOMIC_SEQ_CST))
        return true;
    if (worker_post(k->worker, on_answers, k) == 0)
        return true;
    __atomic_store_n(&k->posted, false, __ATOMIC_SEQ_CST);
    return false;
}

/* Waits for work, or (tick) a moment. False: the end, and nothing is left to do. */
static bool wait_for_work(struct ledger_link *k, bool tick)
{
    struct pollfd p[] = {{.fd = k->awake, .events = POLLIN},
                         {.fd = tick ? -1 : ledger_fd(k->ledger), .events = POLLIN}};
    uint64_t n;

    poll(p, ARRAY_LEN(p), tick ? TICK_MS : -1);
    (void)!read(k->awake, &n, sizeof(n)); /* it does not block */
    return !__atomic_load_n(&k->ending, __ATOMIC_ACQUIRE);
}

static void *run(void *arg)
{
    struct ledger_link *k = arg;
    bool tick = ledger_health(k->ledger) != LEDGER_FINE, unsent = false;
    long n;

    while (wait_for_work(k, tick)) {
        do {
            n = ledger_run(k->ledger);
            tell_health(k);
            if (n != 0 || unsent) /* in trouble, requests have ended */
                unsent = !post(k);
        } while (n > 0);
        tick = n < 0 || unsent;
    }
    return NULL;
}

static void wake(void *arg)
{
    struct ledger_link *k = arg;
    uint64_t one = 1;

    (void)!write(k->awake, &one, sizeof(one)); /* full: it is awake */
}

/* ---- sweeps ---- */

static void on_swept(void *ctx, int rc, const struct ledger_result *r)
{
    struct ledger_link *k = ctx;
    uint64_t pause = rc == -EBUSY ? SWEEP_OTHER
                     : rc != 0    ? SWEEP_LATER
                     : r->more    ? SWEEP_AGAIN
                                  : SWEEP_US;

    k->sweeping = false;
    worker_timer(k->worker, &k->sweep, worker_now(k->worker) + pause);
}

static void on_sweep(void *arg, uint64_t now_us)
{
    struct ledger_link *k = arg;

    if (k->sweeping)
        return;
    k->sweeping = ledger_sweep(k->ledger, wall_ms(), on_swept, k) == 0;
    if (!k->sweeping)
        worker_timer(k->worker, &k->sweep, now_us + SWEEP_LATER);
}

void ledger_link_sweep(struct ledger_link *k)
{
    if (!k->sweeping)
        worker_timer(k->worker, &k->sweep, worker_now(k->worker));
}

/* An export does not wait for the hour. */
static void on_asked(void *arg)
{
    ledger_link_sweep(arg);
}

/* ---- what other servers change ---- */

static void on_changed(void *arg, struct slice user)
{
    struct ledger_link *k = arg;

    if (k->changed)
        k->changed(k->changed_ctx, user);
}

void ledger_link_watch(struct ledger_link *k, ledger_link_changed_fn *changed, void *ctx)
{
    k->changed = changed;
    k->changed_ctx = ctx;
}

/* ---- life ---- */

static struct ledger_store_conf store_conf(const struct server_conf *c,
                                           struct ledger_reseal *reseal)
{
    return (struct ledger_store_conf){
        .file = c->ledger.file,
        .postgres = c->ledger.postgres,
        .password = slice_of(c->ledger.password.p, c->ledger.password.len),
        .node = c->server.node_id,
        .erased_file = c->ledger.erased_file,
        .connect_timeout_ms = c->ledger.connect_timeout_ms,
        .query_timeout_ms = c->ledger.query_timeout_ms,
        .export_dir = c->privacy.export_dir,
        .secret = slice_of(c->ledger.token_key.p, c->ledger.token_key.len),
        .seal_key = slice_of(c->ledger.seal_key.p, c->ledger.seal_key.len),
        .other_seal_key = slice_of(c->ledger.other_seal_key.p, c->ledger.other_seal_key.len),
        .reseal = reseal,
        .check = c->ledger.check,
        .devices_per_user = (size_t)c->ledger.devices_per_user,
        .tokens_per_device = (size_t)c->ledger.tokens_per_device,
        .grace_days = c->privacy.grace_days,
        .export_keep_days = c->privacy.export_keep_days,
        .export_every_days = c->privacy.export_every_days,
        .ndjson_calls = c->privacy.ndjson_calls,
        .calls_days = c->privacy.calls_days,
        .samples_days = c->privacy.samples_days,
        .push_days = c->privacy.push_days,
        .device_days = c->privacy.device_days,
        .audit_days = c->privacy.audit_days,
    };
}

/* k is zeroed but for reseal. Returns 0 or -ENOMEM. */
static int link_init(struct ledger_link *k, struct worker *w, const struct server_conf *c,
                     struct ledger_store *s)
{
    const struct ledger_conf conf = {.queue = (size_t)c->ledger.queue,
                                     .queue_bytes = (size_t)c->ledger.queue_bytes,
                                     .batch = (size_t)c->ledger.batch,
                                     .history = c->privacy.history,
                                     .now_us = clock_now_us,
                                     .wall_ms = wall_ms,
                                     .asked = on_asked,
                                     .changed = on_changed};

    k->worker = w;
    k->store = s;
    k->awake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    k->ledger = k->awake >= 0 ? ledger_new(&conf, s, wake, k) : NULL;
    if (!k->ledger) {
        if (k->awake >= 0)
            close(k->awake);
        return -ENOMEM;
    }
    k->sweep = (struct wtimer){.fn = on_sweep, .arg = k};
    return 0;
}

static void link_free(struct ledger_link *k)
{
    ledger_free(k->ledger);
    close(k->awake);
    mem_free(k);
}

bool ledger_link_wanted(const struct server_conf *c)
{
    return *c->ledger.file || *c->ledger.postgres;
}

int ledger_link_new(struct worker *w, const struct server_conf *c, struct ledger_link **out,
                    char why[LEDGER_LINK_WHY_MAX])
{
    struct ledger_link *k = mem_zalloc(sizeof(*k));
    struct ledger_store *s;

    snprintf(why, LEDGER_LINK_WHY_MAX, "out of memory");
    if (!k)
        return -ENOMEM;
    const struct ledger_store_conf conf = store_conf(c, &k->reseal);
    int rc = *conf.postgres ? ledger_pg_open(&conf, wall_ms(), &s, why)
                            : ledger_sqlite_open(&conf, wall_ms(), &s, why);
    if (rc != 0) {
        mem_free(k);
        return rc;
    }
    rc = link_init(k, w, c, s);
    if (rc != 0) {
        s->ops->free(s);
        mem_free(k);
        snprintf(why, LEDGER_LINK_WHY_MAX, "out of memory");
        return rc;
    }
    tell_health(k);
    rc = -pthread_create(&k->thread, NULL, run, k);
    if (rc != 0) {
        link_free(k);
        snprintf(why, LEDGER_LINK_WHY_MAX, "no thread for the ledger");
        return rc;
    }
    pthread_setname_np(k->thread, "ledger");
    worker_timer(w, &k->sweep, worker_now(w) + FIRST_SWEEP);
    *out = k;
    return 0;
}

/* In the worker's thread, after the ledger's has ended: what waits goes to the disk, if it can. */
static void write_rest(struct ledger_link *k)
{
    const struct timespec pause = {.tv_nsec = TICK_MS * 1000000};
    uint64_t until = clock_now_us() + LEDGER_LINK_END_S * US_PER_S;
    size_t left;
    long n;

    do {
        n = ledger_run(k->ledger);
        left = ledger_unwritten(k->ledger);
        if (n < 0 && left > 0)
            nanosleep(&pause, NULL);
    } while ((n > 0 || left > 0) && clock_now_us() < until);
    if (left > 0)
        log_error("ledger", "%zu records could not be written and are lost (%s): %s", left,
                  k->store->ops->detail(k->store), ledger_health_help(ledger_health(k->ledger)));
}

void ledger_link_free(struct ledger_link *k)
{
    if (!k)
        return;
    __atomic_store_n(&k->ending, true, __ATOMIC_RELEASE);
    wake(k);
    pthread_join(k->thread, NULL);
    worker_timer_cancel(k->worker, &k->sweep);
    write_rest(k);
    worker_settle(k->worker); /* answers that were on their way */
    ledger_deliver(k->ledger);
    worker_timer_cancel(k->worker, &k->sweep);
    link_free(k);
}

struct ledger *ledger_link_ledger(struct ledger_link *k)
{
    return k->ledger;
}

int ledger_link_export_path(const struct ledger_link *k, const struct ledger_privacy *p, char *out,
                            size_t cap)
{
    return k->store->ops->export_path(k->store, p, out, cap);
}

void ledger_link_metrics(struct ledger_link *k, struct metrics *m)
{
    static const char *const HEALTH[LEDGER_HEALTH_COUNT] = {
        "state=\"ok\"",      "state=\"disk_full\"", "state=\"read_only\"",
        "state=\"damaged\"", "state=\"trouble\"",   "state=\"away\""};
    struct ledger_counters *c = ledger_count(k->ledger);

    metrics_add(m, "sori_ledger_records_total", "", "Records that are on the disk.", METRIC_COUNTER,
                &c->records);
    metrics_add(m, "sori_ledger_requests_total", "", "Requests to the ledger that were answered.",
                METRIC_COUNTER, &c->requests);
    metrics_add(m, "sori_ledger_refused_total", "",
                "Records and requests without a place in the queue.", METRIC_COUNTER, &c->refused);
    metrics_add(m, "sori_ledger_failed_total", "", "Records that could not be stored: a bug.",
                METRIC_COUNTER, &c->failed);
    metrics_add(m, "sori_ledger_batches_total", "", "Transactions.", METRIC_COUNTER, &c->batches);
    metrics_add(m, "sori_ledger_retries_total", "",
                "Transactions that failed and were tried again.", METRIC_COUNTER, &c->retries);
    metrics_add(m, "sori_ledger_tokens_resealed_total", "", "Push tokens that got the present key.",
                METRIC_COUNTER, &k->reseal.done);
    metrics_add(m, "sori_ledger_tokens_unopened", "",
                "Push tokens that no configured key opens, as found last.", METRIC_GAUGE,
                &k->reseal.behind);
    metrics_add(m, "sori_ledger_queued_records", "", "Records and requests that wait.",
                METRIC_GAUGE, &c->queued);
    metrics_add_histogram(m, "sori_history_queue_lag_seconds", "",
                          "From a record's put to its commit.", &c->lag);
    for (size_t i = 0; i < LEDGER_HEALTH_COUNT; i++)
        metrics_add(m, "sori_ledger_state", HEALTH[i], "1 for the state that the ledger is in.",
                    METRIC_GAUGE, &c->health[i]);
}

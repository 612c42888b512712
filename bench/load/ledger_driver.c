/* Drives the ledger as sori-server does, thread and all: for the bench, and for tests that kill it.
 *
 *     ledger_driver rate FILE SECONDS WINDOW     puts call records; prints figures as JSON
 *     ledger_driver crash FILE CYCLES SEED       kills a writer again and again; prints what it
 *                                                acknowledged, a record number a line
 *     ledger_driver purge FILE CYCLES SEED       the same while a user is being purged
 *     ledger_driver watch FILE                   puts records until stdin ends; prints what happens
 *     ledger_driver open FILE                    opens, tells the state, closes
 *     ledger_driver export FILE CALLS            makes calls, exports them; prints how much memory
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/worker.h"
#include "server/ledger_link.h"
#include "server/ledger_store_sqlite.h"
#include "server/server_conf.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define DAY_MS UINT64_C(86400000)

static struct worker *worker;
static struct ledger_link *link_;
static struct ledger *ledger;

static uint64_t wall_ms(void)
{
    return clock_wall_us() / US_PER_MS;
}

static void die(const char *what)
{
    fprintf(stderr, "ledger_driver: %s\n", what);
    exit(1);
}

/* ---- the ledger as in sori-server ---- */

static void load(struct server_conf *c, const char *file, bool check)
{
    char err[CONF_ERR_MAX];

    *c = (struct server_conf){0};
    if (conf_load(server_conf_opts, server_conf_opts_n, c, NULL, err) != 0)
        die(err);
    if (strchr(file, '=')) { /* a connection string */
        mem_free(c->ledger.postgres);
        c->ledger.postgres = mem_strndup(slice_str(file));
    } else {
        mem_free(c->ledger.file);
        c->ledger.file = mem_strndup(slice_str(file));
    }
    c->ledger.token_key.p = mem_zalloc(32);
    memcpy(c->ledger.token_key.p, SECRET, 32);
    c->ledger.token_key.len = 32;
    c->ledger.check = check;
    c->privacy.grace_days = 0;
    c->privacy.export_every_days = 0;
}

static void open_link(const char *file, bool check)
{
    static char why[LEDGER_LINK_WHY_MAX];
    struct server_conf c;

    load(&c, file, check);
    worker = worker_new(0);
    if (!worker)
        die("no worker");
    if (ledger_link_new(worker, &c, &link_, why) != 0)
        die(why);
    ledger = ledger_link_ledger(link_);
    server_conf_free(&c);
}

static void close_link(void)
{
    ledger_link_free(link_);
    worker_free(worker);
}

/* Record n: a call between two of 10,000 users. */
static int put(uint64_t n, ledger_done_fn *done)
{
    char from[32], to[32];
    struct ledger_call c = {.created_ms = wall_ms(),
                            .outcome = n % 5 == 0 ? LEDGER_MISSED : LEDGER_ANSWERED,
                            .reason = SIG_REASON_HANGUP,
                            .path = LEDGER_P2P,
                            .node = SLICE_LIT("node-1"),
                            .region = SLICE_LIT("eu")};
    struct wr id = wr_init(c.id.b, sizeof(c.id.b));

    /* As random as a UUID, and the number can be told from it. */
    wr_be64(&id, n * UINT64_C(0x9E3779B97F4A7C15));
    wr_be64(&id, n);
    snprintf(from, sizeof(from), "user-%u@example.org", (unsigned)(n * 7919 % 10000));
    snprintf(to, sizeof(to), "user-%u@example.org", (unsigned)(n * 104729 % 10000 + 10000));
    const struct ledger_party parties[] = {
        {.user = slice_str(from), .device = SLICE_LIT("phone"), .role = LEDGER_CALLER},
        {.user = slice_str(to),
         .device = SLICE_LIT("phone"),
         .role = LEDGER_CALLEE,
         .missed = n % 5 == 0}};
    c.ring_ms = c.created_ms + 200;
    c.answer_ms = n % 5 == 0 ? 0 : c.created_ms + 3000;
    c.end_ms = c.created_ms + 60000;
    c.parties = parties;
    c.parties_n = 2;
    return ledger_put_call(ledger, &c, done, (void *)(uintptr_t)n);
}

/* ---- rate ---- */

static struct {
    uint64_t next, acked, window, until_us, worst_put_us;
} rate;

static void on_rated(void *ctx, int rc, const struct ledger_result *r);

static void put_next(void)
{
    uint64_t before = clock_now_us();

    if (put(rate.next++, on_rated) != 0)
        die("the queue is full");
    uint64_t took = clock_now_us() - before;
    if (took > rate.worst_put_us)
        rate.worst_put_us = took;
}

static void on_rated(void *ctx, int rc, const struct ledger_result *r)
{
    (void)ctx;
    (void)r;
    if (rc != 0)
        die("a record was not stored");
    rate.acked++;
    if (clock_now_us() >= rate.until_us)
        worker_stop(worker);
    else
        put_next();
}

static void on_start(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    for (uint64_t i = 0; i < rate.window; i++)
        put_next();
}

static int run_rate(const char *file, unsigned seconds, unsigned window)
{
    struct rusage used;

    open_link(file, true);
    rate.window = window;
    rate.next = wall_ms() * 1000000;
    uint64_t start = clock_now_us();
    rate.until_us = start + seconds * US_PER_S;
    worker_post(worker, on_start, NULL);
    worker_run(worker);
    double took = (double)(clock_now_us() - start) / 1e6;
    uint64_t acked = rate.acked;
    struct ledger_counters *c = ledger_count(ledger);
    getrusage(RUSAGE_SELF, &used);
    printf("{\"records\":%llu,\"seconds\":%.3f,\"per_s\":%.0f,\"batches\":%llu,"
           "\"lag_p99_us\":%llu,\"worst_put_us\":%llu,\"cpu_s\":%.3f}\n",
           (unsigned long long)acked, took, (double)acked / took,
           (unsigned long long)counter_get(&c->batches),
           (unsigned long long)histogram_quantile(&c->lag, 0.99),
           (unsigned long long)rate.worst_put_us,
           (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6 +
               (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6);
    fflush(stdout);
    close_link();
    return 0;
}

/* ---- crash ---- */

static int acks = -1; /* the writer's pipe */
static uint64_t crash_next;

static void on_acked(void *ctx, int rc, const struct ledger_result *r)
{
    uint64_t n = (uintptr_t)ctx;

    (void)r;
    if (rc == 0 && write(acks, &n, sizeof(n)) != sizeof(n))
        _exit(3);
    put(crash_next++, on_acked);
}

static void on_crash_start(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    for (int i = 0; i < 20; i++)
        put(crash_next++, on_acked);
}

static void child_writes(const char *file)
{
    open_link(file, false);
    worker_post(worker, on_crash_start, NULL);
    worker_run(worker);
}

static void on_keep_sweeping(void *ctx, int rc, const struct ledger_result *r)
{
    (void)ctx;
    (void)r;
    if (rc != 0)
        _exit(4);
    ledger_sweep(ledger, wall_ms(), on_keep_sweeping, NULL);
}

static void on_purge_start(void *arg, uint64_t now_us)
{
    (void)now_us;
    ledger_erase(ledger, slice_str(arg), SLICE_LIT("user"), wall_ms(), NULL, NULL);
    ledger_sweep(ledger, wall_ms(), on_keep_sweeping, NULL);
    on_crash_start(NULL, 0);
}

/* Runs work in a process of its own and kills it: some time after its start, or (warm) after its
 * first acknowledgement. Gives what it acknowledged to said. */
static void run_and_kill(void (*work)(const char *file), const char *file, bool warm,
                         uint64_t after_us, void (*said)(uint64_t n))
{
    struct timespec pause = {(time_t)(after_us / US_PER_S), (long)(after_us % US_PER_S * 1000)};
    int pipes[2], status;
    uint64_t n;

    if (pipe(pipes) == -1)
        die(strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        acks = pipes[1];
        work(file);
        _exit(0);
    }
    close(pipes[1]);
    struct pollfd first = {.fd = pipes[0], .events = POLLIN};
    if (warm)
        poll(&first, 1, 2000);
    nanosleep(&pause, NULL);
    kill(pid, SIGKILL);
    while (read(pipes[0], &n, sizeof(n)) == sizeof(n))
        said(n);
    close(pipes[0]);
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status))
        die("the writer ended by itself");
}

static void say_number(uint64_t n)
{
    printf("%llu\n", (unsigned long long)n);
    if (n >= crash_next)
        crash_next = n + 1;
}

static int run_crash(const char *file, unsigned cycles, uint64_t seed)
{
    struct rand_src r;

    rand_src_init(&r, seed);
    log_set_level(LOG_ERROR);
    crash_next = 1;
    for (unsigned i = 0; i < cycles; i++) {
        fflush(stdout);
        bool warm = i % 4 != 0;
        run_and_kill(child_writes, file, warm, rand_src_below(&r, warm ? 8000 : 20000), say_number);
        crash_next += 100; /* those that were not acknowledged may be there */
    }
    return 0;
}

/* ---- purge ---- */

static char victim[32];

static void child_purges(const char *file)
{
    open_link(file, false);
    worker_post(worker, on_purge_start, victim);
    worker_run(worker);
}

/* How the first party of a call heard it: a sample, and the summary. */
static int put_heard(struct ledger_store *s, const struct ledger_call *c)
{
    const struct ledger_sample v = {.call_id = c->id,
                                    .user = c->parties[0].user,
                                    .leg = SLICE_LIT("heard"),
                                    .codec = SLICE_LIT("opus"),
                                    .path = LEDGER_P2P,
                                    .at_ms = c->end_ms,
                                    .interval_ms = 8000,
                                    .rtt_ms = 40,
                                    .loss_permille = 3,
                                    .burst_centi = 100,
                                    .r_milli = 85123,
                                    .mos_milli = 4196};
    const struct ledger_quality q = {.call_id = c->id,
                                     .user = v.user,
                                     .leg = v.leg,
                                     .model = SLICE_LIT("g107"),
                                     .codec = v.codec,
                                     .path = v.path,
                                     .at_ms = c->end_ms,
                                     .samples = 1,
                                     .mos_avg_milli = v.mos_milli,
                                     .mos_p10_milli = v.mos_milli,
                                     .mos_min_milli = v.mos_milli,
                                     .worst = SLICE_LIT("delay")};
    int rc = s->ops->put_sample(s, &v);

    return rc == 0 ? s->ops->put_quality(s, &q) : rc;
}

/* Calls of one user, synchronously, many in a transaction. */
static void make_calls(const char *file, const char *user, unsigned calls, bool pushes)
{
    const struct ledger_store_conf conf = {.file = file,
                                           .export_dir = "",
                                           .secret = slice_of(SECRET, 32),
                                           .devices_per_user = 16,
                                           .tokens_per_device = 8};
    char why[LEDGER_STORE_WHY_MAX], id[64];
    struct ledger_store *s;

    if (ledger_sqlite_open(&conf, wall_ms(), &s, why) != 0)
        die(why);
    for (unsigned i = 0; i < calls; i++) {
        char other[32];
        struct ledger_call c = {.created_ms = wall_ms() - UINT64_C(1000) * (calls - i) - 100000,
                                .outcome = LEDGER_ANSWERED,
                                .reason = SIG_REASON_HANGUP};
        struct ledger_party parties[2] = {{.user = slice_str(user), .role = LEDGER_CALLER},
                                          {.role = LEDGER_CALLEE}};
        rand_bytes(c.id.b, sizeof(c.id.b));
        snprintf(other, sizeof(other), "peer-%u", i % 100);
        parties[1].user = slice_str(other);
        c.answer_ms = c.created_ms + 1000;
        c.end_ms = c.created_ms + 9000;
        c.parties = parties;
        c.parties_n = 2;
        snprintf(id, sizeof(id), "%s-%u", victim, i);
        const struct ledger_push push = {.apns_id = slice_str(id),
                                         .call_id = c.id,
                                         .user = slice_str(user),
                                         .device = SLICE_LIT("phone"),
                                         .kind = SLICE_LIT("voip"),
                                         .status = 200,
                                         .sent_ms = c.created_ms};
        if (i % 1000 == 0 && s->ops->begin(s, true) != 0)
            die("begin");
        if (s->ops->put_call(s, &c, true) != 0 ||
            (pushes && (s->ops->put_push(s, &push) != 0 || put_heard(s, &c) != 0)))
            die("put");
        if ((i % 1000 == 999 || i + 1 == calls) && s->ops->commit(s) != 0)
            die("commit");
    }
    s->ops->free(s);
}

/* Each cycle: a user with calls, a purge that is killed somewhere, a new open. Prints the users. */
static int run_purge(const char *file, unsigned cycles, uint64_t seed)
{
    struct rand_src r;

    rand_src_init(&r, seed);
    log_set_level(LOG_ERROR);
    crash_next = 1;
    for (unsigned i = 0; i < cycles; i++) {
        snprintf(victim, sizeof(victim), "victim-%u-end", i);
        make_calls(file, victim, 2000, true);
        run_and_kill(child_purges, file, i % 4 != 0, rand_src_below(&r, 40000), say_number);
        crash_next += 100;
        make_calls(file, "nobody", 0, false); /* opens: what had begun is ended */
    }
    return 0;
}

/* ---- watch ---- */

static struct {
    uint64_t put, refused, acked, worst_put_us;
    enum ledger_health told;
} watch;

static void on_watched(void *ctx, int rc, const struct ledger_result *r)
{
    (void)r;
    if (rc == 0) {
        printf("ack %llu\n", (unsigned long long)(uintptr_t)ctx);
        watch.acked++;
    } else {
        printf("fail %d\n", rc);
    }
}

static void on_request(void *ctx, int rc, const struct ledger_result *r)
{
    (void)r;
    printf("request %d %llu\n", rc,
           (unsigned long long)((clock_now_us() - (uintptr_t)ctx) / US_PER_MS));
}

static struct wtimer watch_timer;

static void on_watch(void *arg, uint64_t now_us)
{
    static unsigned ticks;
    struct pollfd in = {.fd = 0, .events = POLLIN};
    char dump[64];

    (void)arg;
    if (poll(&in, 1, 0) == 1 && read(0, dump, sizeof(dump)) <= 0) {
        worker_stop(worker);
        return;
    }
    for (int i = 0; i < 20; i++) {
        uint64_t before = clock_now_us();
        if (put(++watch.put, on_watched) != 0)
            watch.refused++;
        uint64_t took = clock_now_us() - before;
        if (took > watch.worst_put_us)
            watch.worst_put_us = took;
    }
    if (ticks++ % 50 == 0)
        ledger_del_device(ledger, SLICE_LIT("nobody"), SLICE_LIT("phone"), on_request,
                          (void *)(uintptr_t)clock_now_us());
    if (ledger_health(ledger) != watch.told || ticks == 1) {
        watch.told = ledger_health(ledger);
        printf("health %s\n", ledger_health_name(watch.told));
    }
    fflush(stdout);
    worker_timer(worker, &watch_timer, now_us + 5 * US_PER_MS);
}

static int run_watch(const char *file)
{
    open_link(file, true);
    watch_timer = (struct wtimer){.fn = on_watch};
    worker_timer(worker, &watch_timer, 0);
    worker_run(worker);
    close_link();
    printf("end put=%llu refused=%llu acked=%llu worst_put_us=%llu\n",
           (unsigned long long)watch.put, (unsigned long long)watch.refused,
           (unsigned long long)watch.acked, (unsigned long long)watch.worst_put_us);
    return 0;
}

static int run_open(const char *file)
{
    open_link(file, true);
    printf("%s\n", ledger_health_name(ledger_health(ledger)));
    close_link();
    return 0;
}

/* ---- export ---- */

static long rss_kb(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return used.ru_maxrss;
}

static void on_exported(void *ctx, int rc, const struct ledger_result *r)
{
    (void)ctx;
    if (rc != 0 ||
        (r->privacy.state != LEDGER_PRIVACY_PENDING && r->privacy.state != LEDGER_PRIVACY_DONE))
        die("no export");
    if (r->privacy.state == LEDGER_PRIVACY_DONE) {
        printf("%llu %d ", (unsigned long long)r->privacy.bytes, r->privacy.ndjson);
        for (size_t i = 0; i < sizeof(r->privacy.sha256); i++)
            printf("%02x", r->privacy.sha256[i]);
        worker_stop(worker);
        return;
    }
    ledger_privacy(ledger, SLICE_LIT("victim"), LEDGER_EXPORT, on_exported, NULL);
}

static void on_export_start(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    ledger_export(ledger, SLICE_LIT("victim"), SLICE_LIT("user"), wall_ms(), on_exported, NULL);
}

static int run_export(const char *file, unsigned calls)
{
    const struct ledger_token t = {.type = LEDGER_VOIP,
                                   .token = SLICE_LIT("00fc13adff785122b4ad28809a3420982341"),
                                   .registered_ms = wall_ms()};
    const struct ledger_device d = {.user = SLICE_LIT("victim"),
                                    .device = SLICE_LIT("phone"),
                                    .app = SLICE_LIT("com.acme.talk"),
                                    .env = LEDGER_PRODUCTION,
                                    .seen_ms = wall_ms(),
                                    .tokens = &t,
                                    .tokens_n = 1};

    snprintf(victim, sizeof(victim), "push");
    make_calls(file, "victim", calls, true);
    open_link(file, false);
    ledger_put_device(ledger, &d, NULL, NULL);
    long before = rss_kb();
    worker_post(worker, on_export_start, NULL);
    worker_run(worker);
    printf(" %ld\n", rss_kb() - before);
    close_link();
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    unsigned a = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    unsigned b = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (strcmp(mode, "rate") == 0 && argc == 5)
        return run_rate(argv[2], a, b);
    if (strcmp(mode, "crash") == 0 && argc == 5)
        return run_crash(argv[2], a, b);
    if (strcmp(mode, "purge") == 0 && argc == 5)
        return run_purge(argv[2], a, b);
    if (strcmp(mode, "watch") == 0)
        return run_watch(argv[2]);
    if (strcmp(mode, "open") == 0)
        return run_open(argv[2]);
    if (strcmp(mode, "export") == 0 && argc == 4)
        return run_export(argv[2], a);
    fprintf(stderr, "usage: ledger_driver rate|crash|purge|watch|open|export FILE …\n");
    return 64;
}

/* Simulator of one receiver's path: the real estimator, pacer, layer choice and feedback over a
 * virtual link. Virtual time, seeded.
 *
 *     bwe_sim [--seeds N] [--start S] [-v]     every scenario with N/500 seeds (default 20) from S
 *     bwe_sim --only NAME --seed S [--trace]   one run; --trace prints it as CSV, ten lines a
 * second
 *
 * Each scenario has goals over a window of time; a run that misses one prints scenario, seed and
 * figure. Of the seeds of a scenario one in twenty may miss (the goals are for nineteen calls in
 * twenty); exit code 1 when more do. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "tests/sim/bwe_app.h"

#define S(x)  ((uint64_t)((x)*1e6))
#define MS(x) ((uint64_t)((x)*1e3))

enum { SAMPLES_MAX = 12000, SAMPLE_US = 10000, SEEDS_PART = 500, MISS_PART = 20 };

/* Of one run; 0: not asked. */
struct goals {
    double from_s, to_s;        /* the window */
    double mean_low, mean_high; /* target over the link's rate, mean */
    double queue_p95_ms, queue_max_ms;
    double audio_loss; /* beyond what the link loses anyway, whole run */
    double below_s;    /* after the fall at 20 s: target under the cap within */
    double drained_s;  /* after the fall: queue under 60 ms for good within */
    double back_s;     /* after the rise at 50 s: at 85 % of want or cap within */
    double min_bps;    /* the target is never under it in the window */
    double lost_part;  /* of packets in the bottleneck, whole run */
    double switches;   /* layer changes in the whole run */
};

struct scenario {
    const char *name;
    double seconds;
    struct app_conf app;
    struct link_conf link;
    struct goals goals;
};

#include "tests/sim/bwe_scenarios.h"

struct sample {
    float target, rate, queue_ms;
    float sent; /* bits since the last sample */
};

static struct sample samples[SAMPLES_MAX];
static struct path the_path;
static bool verbose, trace;
static unsigned failures, checks;

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static void want(bool ok, const struct scenario *sc, uint64_t seed, const char *what, double got,
                 double goal)
{
    checks++;
    if (ok && !verbose)
        return;
    if (!ok)
        failures++;
    printf("%s %s seed %llu: %s %.3f (goal %.3f)\n", ok ? "ok  " : "MISS", sc->name,
           (unsigned long long)seed, what, got, goal);
}

static double p95_queue(unsigned from, unsigned to, double *max)
{
    static float v[SAMPLES_MAX];
    unsigned n = 0;

    for (unsigned i = from; i < to; i++)
        v[n++] = samples[i].queue_ms;
    if (n == 0)
        return 0;
    qsort(v, n, sizeof(v[0]), by_value);
    *max = (double)v[n - 1];
    return (double)v[n * 95 / 100];
}

/* Sent in the last 200 ms. */
static double sent_bps(unsigned at)
{
    double sum = 0;

    for (unsigned i = at - 19; i <= at; i++)
        sum += (double)samples[i].sent;
    return sum * 5;
}

/* What the estimate can be asked to reach: the link's rate, or all that is wanted. */
static double goal_bps(const struct scenario *sc, unsigned at)
{
    double all = sc->app.video == VIDEO_LAYERS ? APP_LAYERS_BPS : sc->app.want_bps;

    return all < (double)samples[at].rate ? all : (double)samples[at].rate;
}

static void judge(const struct scenario *sc, uint64_t seed, const struct app *a, unsigned n)
{
    const struct goals *g = &sc->goals;
    unsigned from = (unsigned)(g->from_s * 1e6 / SAMPLE_US);
    unsigned to = g->to_s > 0 ? (unsigned)(g->to_s * 1e6 / SAMPLE_US) : n;
    double mean = 0, max = 0, low = 1e18, all_max = 0;

    for (unsigned i = from; i < to; i++) {
        mean += (double)(samples[i].target / samples[i].rate) / (to - from);
        if ((double)samples[i].target < low)
            low = (double)samples[i].target;
    }
    for (unsigned i = 100; i < n; i++)
        all_max = (double)samples[i].queue_ms > all_max ? (double)samples[i].queue_ms : all_max;
    double p95 = p95_queue(from, to, &max);
    want(mean >= g->mean_low, sc, seed, "mean estimate", mean, g->mean_low);
    want(mean <= g->mean_high, sc, seed, "mean estimate", mean, g->mean_high);
    if (g->queue_p95_ms > 0)
        want(p95 <= g->queue_p95_ms, sc, seed, "queue p95 ms", p95, g->queue_p95_ms);
    if (g->queue_max_ms > 0)
        want(all_max <= g->queue_max_ms, sc, seed, "queue peak ms", all_max, g->queue_max_ms);
    if (g->min_bps > 0)
        want(low >= g->min_bps, sc, seed, "lowest estimate", low, g->min_bps);
    if (g->audio_loss > 0) {
        double loss = 1 - (double)a->audio_got / (double)a->audio_sent;
        want(loss <= g->audio_loss, sc, seed, "audio loss", loss, g->audio_loss);
    }
    if (g->lost_part > 0) {
        double part = (double)a->path->drops / (double)a->sent_pkts;
        want(part <= g->lost_part, sc, seed, "dropped part", part, g->lost_part);
    }
    if (g->below_s > 0) {
        unsigned i = 2000;
        while (i < n && sent_bps(i) > (double)samples[i].rate)
            i++;
        want((i - 2000) / 100.0 <= g->below_s, sc, seed, "s until sent below the cap",
             (i - 2000) / 100.0, g->below_s);
    }
    if (g->drained_s > 0) {
        unsigned i = 2000, calm = 0;
        while (i < n && ((double)samples[i].queue_ms < 60 || i < 2030))
            i++; /* it has grown */
        for (; i < n && calm < 30; i++)
            calm = (double)samples[i].queue_ms < 60 ? calm + 1 : 0;
        i = i < n ? i - 30 : 2000;
        want((i - 2000) / 100.0 <= g->drained_s, sc, seed, "s until the queue is gone",
             (i - 2000) / 100.0, g->drained_s);
    }
    if (g->back_s > 0) {
        unsigned i = 5000;
        while (i < n && (double)samples[i].target < 0.85 * goal_bps(sc, i))
            i++;
        want((i - 5000) / 100.0 <= g->back_s, sc, seed, "s until back at 85 %", (i - 5000) / 100.0,
             g->back_s);
    }
    if (g->switches > 0)
        want((double)a->switches <= g->switches, sc, seed, "layer switches", (double)a->switches,
             g->switches);
}

static void print_trace(const struct app *a, const struct path *p, uint64_t now_us, double sent,
                        double got)
{
    struct bwe_stats st;

    bwe_stats(a->bwe, &st);
    printf("%.2f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.1f,%.1f,%d,%d,%.3f,%d,%llu,%llu,%llu\n",
           (double)now_us / 1e6, path_bps(p, now_us) / 1e3, (double)st.target_bps / 1e3,
           st.loss_bps > 100000000 ? 0 : (double)st.loss_bps / 1e3, (double)st.acked_bps / 1e3,
           sent / 1e3, got / 1e3, (double)path_queue_us(p, now_us) / 1e3, (double)st.queue_us / 1e3,
           (int)st.state, (int)st.usage, st.loss, a->slot.layer, (unsigned long long)st.probes,
           (unsigned long long)st.probes_failed, (unsigned long long)st.overuses);
}

static void run(const struct scenario *sc, uint64_t seed)
{
    static struct app app;
    struct rand_src rnd;
    unsigned n = 0;
    uint64_t sent = 0, got = 0, sampled = 0;

    rand_src_init(&rnd, seed);
    the_path = (struct path){.conf = sc->link, .rnd = &rnd};
    app_init(&app, &sc->app, &the_path, &rnd);
    if (trace)
        printf("t,link,target,loss_limit,acked,sent,got,queue_ms,seen_queue_ms,state,usage,loss,"
               "layer,probes,failed,overuses\n");
    for (uint64_t now_us = 0; now_us < S(sc->seconds); now_us += APP_STEP_US) {
        app_step(&app, now_us);
        if (now_us % SAMPLE_US == 0 && n < SAMPLES_MAX)
            samples[n++] =
                (struct sample){.target = (float)bwe_target_bps(app.bwe),
                                .rate = (float)path_bps(&the_path, now_us),
                                .sent = (float)((app.sent_bytes - sampled) * 8),
                                .queue_ms = (float)path_queue_us(&the_path, now_us) / 1e3f};
        if (now_us % SAMPLE_US == 0)
            sampled = app.sent_bytes;
        if (trace && now_us % 100000 == 0) {
            print_trace(&app, &the_path, now_us, (double)(app.sent_bytes - sent) * 80,
                        (double)(app.got_bytes - got) * 80);
            sent = app.sent_bytes;
            got = app.got_bytes;
        }
    }
    if (!trace)
        judge(sc, seed, &app, n);
    app_fini(&app);
}

int main(int argc, char **argv)
{
    uint64_t seeds = 20, start = 1;
    const char *only = NULL;
    bool too_many = false;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && value) {
            seeds = strtoull(argv[++i], NULL, 10) / SEEDS_PART;
        } else if (strcmp(argv[i], "--start") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
            seeds = 1;
        } else if (strcmp(argv[i], "--only") == 0 && value) {
            only = argv[++i];
        } else {
            (void)fprintf(stderr,
                          "usage: %s [--seeds N] [--start S] [--seed S] [--only NAME] [-v] "
                          "[--trace]\n",
                          argv[0]);
            return 2;
        }
    }
    if (seeds == 0)
        seeds = 1;
    for (unsigned k = 0; k < ARRAY_LEN(scenarios); k++) {
        if (only && strcmp(only, scenarios[k].name) != 0)
            continue;
        unsigned bad = 0;
        for (uint64_t seed = start; seed < start + seeds; seed++) {
            unsigned before = failures;
            run(&scenarios[k], seed);
            bad += failures > before;
        }
        if (trace)
            continue;
        too_many |= bad > seeds / MISS_PART;
        printf("%-18s %llu seeds, %u missed a goal%s\n", scenarios[k].name,
               (unsigned long long)seeds, bad, bad > seeds / MISS_PART ? ": too many" : "");
    }
    if (!trace)
        printf("bwe_sim: %u goals checked, %u missed\n", checks, failures);
    return too_many ? 1 : 0;
}

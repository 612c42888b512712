/* Pushes through server/apns_link.c as sori-server sends them: the client of
 * tests/e2e/apns_*_test.py.
 *
 *     apns_push CONFIG      CONFIG as server.ini ([apns], [app NAME])
 *
 * Reads commands, one a line; writes one JSON object a line for each verdict and answer:
 *
 *     push TAG KIND TOPIC ENV TOKEN TTL_MS     KIND 0..5 (enum push_kind), ENV 0..2, TOKEN in hex
 *     flood N INFLIGHT KIND TOPIC TTL_MS       tokens 0001, 0002, …: 32 bytes each
 *     reload CONFIG                            as SIGHUP does
 *     trouble                                  what /readyz would say
 *     metric NAME                              its lines
 *
 * Ends at the end of its input, when every push has its verdict.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/worker.h"
#include "server/apns_link.h"

#define LINE_MAX_BYTES 4096
#define SAMPLES        1000000

struct push {
    char tag[64];
};

static struct worker *worker;
static struct apns_link *link_;
static struct metrics *metrics;
static struct server_conf conf, fresh[16];
static unsigned fresh_n;
static struct event *input;
static char line[LINE_MAX_BYTES * 4];
static size_t line_len;
static uint64_t out;
static bool ended;

/* The flood that is on. */
static struct {
    uint64_t n, inflight, ttl_ms, sent, done, results[APNS_RESULT_COUNT], tries, maybe, start_us;
    unsigned kind;
    char topic[200];
    double cpu;
    uint64_t whys[APNS_WHY_COUNT];
} flood;
static uint32_t samples[SAMPLES];

static double cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void maybe_stop(void)
{
    if (ended && out == 0)
        worker_stop(worker);
}

static void on_done(void *ctx, const struct apns_verdict *v)
{
    struct push *p = ctx;

    printf("{\"tag\":\"%s\",\"result\":\"%s\",\"why\":\"%s\",\"status\":%u,\"reason\":\"%s\","
           "\"env\":\"%s\",\"env_changed\":%s,\"maybe_done\":%s,\"gone_since_ms\":%" PRIu64
           ",\"id\":\"%.*s\",\"tries\":%u,\"took_ms\":%.3f}\n",
           p->tag, apns_result_name(v->result), apns_why_name(v->why), v->status,
           apns_reason_name(v->reason), apns_env_name(v->env), v->env_changed ? "true" : "false",
           v->maybe_done ? "true" : "false", v->gone_since_ms, SLICE_FMT(v->id), v->tries,
           (double)v->took_us / 1000);
    fflush(stdout);
    free(p);
    out--;
    maybe_stop();
}

static int start(unsigned kind, const char *topic, unsigned env, struct slice token,
                 uint64_t ttl_ms, apns_done_fn *done, void *ctx)
{
    uint64_t now_s = clock_wall_us() / US_PER_S;
    struct apns_job job = {.content = {.kind = (enum push_kind)kind,
                                       .topic = slice_str(topic),
                                       .call_id = SLICE_LIT("6f1e2a34-7b1c-4d0e-9c1f-2b3a4c5d6e7f"),
                                       .from = SLICE_LIT("alice"),
                                       .name = SLICE_LIT("Alice"),
                                       .now_s = now_s,
                                       .ring_until_s = now_s + 30,
                                       .ws = SLICE_LIT("wss://sori.example/ws"),
                                       .ring_token = SLICE_LIT("ring-token"),
                                       .badge = 2,
                                       .live_type = SLICE_LIT("CallActivityAttributes"),
                                       .status = SLICE_LIT("active"),
                                       .started_s = now_s},
                           .token = token,
                           .env = (enum apns_env)env,
                           .deadline_us = worker_now(worker) + ttl_ms * US_PER_MS};

    apns_link_enter(link_);
    return apns_push(apns_link_apns(link_), &job, done, ctx, NULL);
}

static void cmd_push(const char *tag, unsigned kind, const char *topic, unsigned env,
                     const char *hex, uint64_t ttl_ms)
{
    uint8_t token[APNS_TOKEN_MAX];
    size_t n = strlen(hex) / 2;
    struct push *p = calloc(1, sizeof(*p));

    snprintf(p->tag, sizeof(p->tag), "%s", tag);
    int rc = n <= sizeof(token) && hex_decode(slice_str(hex), token, n) == 0
                 ? start(kind, topic, env, slice_of(token, n), ttl_ms, on_done, p)
                 : -EINVAL;
    if (rc == 0) {
        out++;
        return;
    }
    printf("{\"tag\":\"%s\",\"error\":\"%s\"}\n", tag, strerror(-rc));
    fflush(stdout);
    free(p);
}

/* ---- floods ---- */

static int by_size(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void flood_report(void)
{
    uint64_t took_us = worker_now(worker) - flood.start_us;
    uint64_t n = flood.done < SAMPLES ? flood.done : SAMPLES;

    qsort(samples, n, sizeof(samples[0]), by_size);
    printf("{\"flood\":%" PRIu64 ",\"seconds\":%.3f,\"cpu_s\":%.4f,\"tries\":%" PRIu64
           ",\"maybe\":%" PRIu64 ",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f",
           flood.done, (double)took_us / 1e6, cpu_s() - flood.cpu, flood.tries, flood.maybe,
           samples[n / 2] / 1000.0, samples[n * 99 / 100] / 1000.0, samples[n - 1] / 1000.0);
    for (unsigned r = 0; r < APNS_RESULT_COUNT; r++)
        printf(",\"%s\":%" PRIu64, apns_result_name((enum apns_result)r), flood.results[r]);
    for (unsigned w = 1; w < APNS_WHY_COUNT; w++)
        if (flood.whys[w] > 0)
            printf(",\"why_%s\":%" PRIu64, apns_why_name((enum apns_why)w), flood.whys[w]);
    printf("}\n");
    fflush(stdout);
}

static void flood_more(void);

static void flood_done(void *ctx, const struct apns_verdict *v)
{
    (void)ctx;
    if (flood.done < SAMPLES)
        samples[flood.done] = (uint32_t)v->took_us;
    flood.done++;
    flood.results[v->result]++;
    flood.whys[v->why]++;
    flood.tries += v->tries;
    flood.maybe += v->maybe_done;
    out--;
    if (flood.done == flood.n)
        flood_report();
    else
        flood_more();
    maybe_stop();
}

static void flood_more(void)
{
    while (flood.sent < flood.n && flood.sent - flood.done < flood.inflight) {
        uint8_t token[32] = {0};
        struct wr w = wr_init(token + 24, 8);
        wr_be64(&w, ++flood.sent);
        int rc = start(flood.kind, flood.topic, APNS_PRODUCTION, slice_of(token, 32), flood.ttl_ms,
                       flood_done, NULL);
        if (rc != 0) {
            printf("{\"flood_error\":\"%s\",\"sent\":%" PRIu64 "}\n", strerror(-rc),
                   flood.sent - 1);
            fflush(stdout);
            flood.n = --flood.sent;
            if (flood.done == flood.n)
                flood_report();
            return;
        }
        out++;
    }
}

static void cmd_flood(uint64_t n, uint64_t inflight, unsigned kind, const char *topic,
                      uint64_t ttl_ms)
{
    memset(&flood, 0, sizeof(flood));
    flood.n = n;
    flood.inflight = inflight;
    flood.kind = kind;
    flood.ttl_ms = ttl_ms;
    snprintf(flood.topic, sizeof(flood.topic), "%s", topic);
    flood.start_us = worker_now(worker);
    flood.cpu = cpu_s();
    flood_more();
}

/* ---- commands ---- */

static void cmd_reload(const char *path)
{
    char err[CONF_ERR_MAX] = "";
    struct server_conf *f = &fresh[fresh_n++ % ARRAY_LEN(fresh)];
    int rc = server_conf_load(f, path, err);

    if (rc == 0)
        rc = apns_link_reload(link_, f, err);
    printf("{\"reload\":%d,\"error\":\"%s\"}\n", rc, rc < 0 ? err : "");
    fflush(stdout);
}

static void cmd_metric(const char *name)
{
    size_t len;
    char *text = metrics_render(metrics, &len), *save = NULL;

    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
        if (strncmp(l, name, strlen(name)) == 0) {
            for (char *c = l; *c; c++)
                if (*c == '"')
                    *c = '\'';
            printf("{\"metric\":\"%s\"}\n", l);
        }
    printf("{\"metrics\":\"end\"}\n");
    fflush(stdout);
    mem_free(text);
}

static void command(char *text)
{
    char *word[8] = {0}, *save = NULL;
    unsigned n = 0;

    for (char *w = strtok_r(text, " ", &save); w && n < 8; w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    if (n == 7 && strcmp(word[0], "push") == 0) {
        cmd_push(word[1], (unsigned)strtoul(word[2], NULL, 10), word[3],
                 (unsigned)strtoul(word[4], NULL, 10), word[5], strtoull(word[6], NULL, 10));
    } else if (n == 6 && strcmp(word[0], "flood") == 0) {
        cmd_flood(strtoull(word[1], NULL, 10), strtoull(word[2], NULL, 10),
                  (unsigned)strtoul(word[3], NULL, 10), word[4], strtoull(word[5], NULL, 10));
    } else if (n == 2 && strcmp(word[0], "reload") == 0) {
        cmd_reload(word[1]);
    } else if (n == 2 && strcmp(word[0], "metric") == 0) {
        cmd_metric(word[1]);
    } else if (n == 1 && strcmp(word[0], "trouble") == 0) {
        const char *what = apns_link_trouble(link_);
        printf("{\"trouble\":\"%s\"}\n", what ? what : "");
        fflush(stdout);
    } else if (n > 0) {
        printf("{\"error\":\"what is %s?\"}\n", word[0]);
        fflush(stdout);
    }
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    ssize_t n = read(fd, line + line_len, sizeof(line) - 1 - line_len);
    char *end;

    (void)what;
    (void)arg;
    if (n <= 0) {
        if (n == -1 && errno == EAGAIN)
            return;
        event_del(input);
        ended = true;
        maybe_stop();
        return;
    }
    line_len += (size_t)n;
    line[line_len] = '\0';
    while ((end = strchr(line, '\n'))) {
        char one[sizeof(line)];
        *end = '\0';
        memcpy(one, line, (size_t)(end - line) + 1);
        line_len -= (size_t)(end - line) + 1;
        memmove(line, end + 1, line_len + 1);
        command(one);
    }
}

int main(int argc, char **argv)
{
    char err[CONF_ERR_MAX];
    int rc = 1;

    if (argc != 2 || server_conf_load(&conf, argv[1], err) != 0) {
        fprintf(stderr, "apns_push: %s\n", argc == 2 ? err : "apns_push CONFIG");
        return 78;
    }
    log_setup((enum log_level)conf.log.level, LOG_TEXT, STDERR_FILENO);
    worker = worker_new(0);
    metrics = metrics_new();
    link_ = worker ? apns_link_new(worker, &conf, NULL, NULL, err) : NULL;
    if (!link_) {
        fprintf(stderr, "apns_push: %s\n", err);
        goto out;
    }
    apns_link_metrics(metrics, link_);
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    input = event_new(worker_base(worker), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
    event_add(input, NULL);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    worker_run(worker);
    rc = 0;
out:
    if (input)
        event_free(input);
    metrics_free(metrics);
    apns_link_free(link_);
    worker_free(worker);
    for (unsigned i = 0; i < ARRAY_LEN(fresh); i++)
        server_conf_free(&fresh[i]);
    server_conf_free(&conf);
    return rc;
}

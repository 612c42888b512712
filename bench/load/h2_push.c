/* Pushes through server/h2_client_link.c: the load of bench/push.py and the client of
 * tests/e2e/h2_*_test.py.
 *
 *     h2_push KEY=VALUE...   n=1000 inflight=500 rate=0 conns=2 body=194 deadline_ms=10000 resend=0
 *                            host=localhost port=443 connect=ADDR:PORT ca= cert= key= proxy= auth=
 *                            ping_ms=0 idle_ms=0 dead_ms=0 open_ms=0 retry_ms=0 streams=1000
 *                            warm=1 linger_ms=0 retire=0 drain_ms=10000 same=0
 *
 * rate: pushes a second; 0: as many as inflight allows. warm: waits until a connection is up (at
 * most deadline_ms) before the first. retire: asks for new connections after each so many answers.
 * linger_ms: stays so long after the last answer. Each push has its own apns-id
 * (00000000-0000-4000-8000-%012u) and, unless same=1, its own path. Prints one JSON object.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/worker.h"
#include "server/h2_client_link.h"

#define STATUS_MAX 1000
#define SAMPLES    2000000
#define WHYS       8

static uint64_t n = 1000, inflight = 500, rate, conns = 2, body_bytes = 194, deadline_ms = 10000,
                resend, port = 443, ping_ms, idle_ms, dead_ms, open_ms, retry_ms, warm = 1,
                linger_ms, retire, streams = 1000, drain_ms = 10000, same;
static const char *host = "localhost", *connect_to, *ca, *cert, *key, *proxy, *auth;

static struct worker *worker;
static struct h2_client *client;
static struct wtimer timer;
static struct wflush flush;
static uint64_t sent, finished, outcome[H2_NO_CONNECTION + 1], status[STATUS_MAX], first_us,
    last_us, maybe_twice, wrong_id, cut, started_us, refused_at_send, up_us;
static double cpu_at_start;
static uint32_t *samples;
static uint64_t n_samples;
static uint8_t *done_of; /* answers per push: 1 each */
static char whys[WHYS][200];
static uint8_t body[H2_REQUEST_BODY_MAX];

static double cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void note_why(const char *why)
{
    for (int i = 0; i < WHYS; i++) {
        if (whys[i][0] == '\0')
            snprintf(whys[i], sizeof(whys[i]), "%s", why);
        if (strcmp(whys[i], why) == 0)
            return;
    }
}

static void on_done(void *ctx, const struct h2_response *r)
{
    uint64_t i = (uint64_t)(uintptr_t)ctx;
    char want[40];

    finished++;
    if (done_of[i]++)
        abort(); /* told twice */
    outcome[r->outcome]++;
    if (r->status < STATUS_MAX)
        status[r->status]++;
    maybe_twice += r->resends > 0;
    cut += r->cut;
    if (r->outcome != H2_ANSWERED)
        note_why(r->why);
    snprintf(want, sizeof(want), "00000000-0000-4000-8000-%012" PRIu64, i);
    struct slice id = h2_field(r, "apns-id");
    if (r->outcome == H2_ANSWERED && id.len > 0 && !slice_is(id, want))
        wrong_id++;
    if (n_samples < SAMPLES)
        samples[n_samples++] = (uint32_t)(r->answered_us - r->queued_us);
    last_us = r->answered_us;
    if (retire && finished % retire == 0)
        h2_pool_retire(h2_client_pool(client), 0, r->answered_us);
    worker_want_flush(worker, &flush);
}

static bool send_one(uint64_t now_us)
{
    static const char token[] = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad";
    static const char jwt[] =
        "bearer eyJhbGciOiJFUzI1NiIsImtpZCI6IkFCQzEyM0RFRkcifQ.eyJpc3MiOiJERUYxMjNHSElKIiwiaWF0Ijox"
        "Nzk1MzgzNzY1fQ."
        "MEUCIQDk1mXnvqLmrPaVSV0oRVzVLWxqVCGpKFAYqzF7lmxnZAIgKrQGPSyxLmuWZzlG9xXTfiLq"
        "oZbYCg0w";
    char path[96], id[40];

    if (same)
        snprintf(path, sizeof(path), "/3/device/%s", token);
    else
        snprintf(path, sizeof(path), "/3/device/%s%08" PRIx64, token, sent);
    snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012" PRIu64, sent);
    const struct h2_header headers[] = {
        {SLICE_LIT("apns-topic"), SLICE_LIT("com.example.talk.voip"), H2_INDEX},
        {SLICE_LIT("apns-push-type"), SLICE_LIT("voip"), H2_INDEX},
        {SLICE_LIT("apns-priority"), SLICE_LIT("10"), H2_INDEX},
        {SLICE_LIT("apns-expiration"), SLICE_LIT("0"), H2_INDEX_FIRST},
        {SLICE_LIT("apns-id"), slice_str(id), H2_INDEX_FIRST},
    };
    const struct h2_request q = {.path = slice_str(path),
                                 .authorization = slice_str(jwt),
                                 .headers = headers,
                                 .n_headers = ARRAY_LEN(headers),
                                 .body = slice_of(body, body_bytes),
                                 .deadline_us = now_us + deadline_ms * US_PER_MS,
                                 .resend_uncertain = resend != 0};
    int rc = h2_client_send(client, &q, on_done, (void *)(uintptr_t)sent, 0);
    if (rc != 0) {
        refused_at_send++;
        return false;
    }
    sent++;
    return true;
}

static void pump(void *arg, uint64_t now_us)
{
    (void)arg;
    if (!up_us && h2_pool_up(h2_client_pool(client)) > 0)
        up_us = now_us;
    if (sent == 0 && warm && h2_pool_up(h2_client_pool(client)) < conns &&
        now_us < started_us + deadline_ms * US_PER_MS) {
        worker_timer(worker, &timer, now_us + US_PER_MS);
        return;
    }
    if (sent == 0) {
        first_us = now_us;
        cpu_at_start = cpu_s();
    }
    uint64_t may = n;
    if (rate > 0) {
        may = (now_us - first_us) * rate / US_PER_S + 1;
        may = may < n ? may : n;
    }
    while (sent < may && sent - finished < inflight && send_one(now_us))
        ;
    if (finished == n && n > 0)
        worker_timer(worker, &timer, last_us + linger_ms * US_PER_MS + 1);
    else if (rate > 0 || sent - finished < inflight)
        worker_timer(worker, &timer, now_us + US_PER_MS);
    if (finished == n && now_us >= last_us + linger_ms * US_PER_MS)
        worker_stop(worker);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t quantile(double q)
{
    return n_samples == 0 ? 0 : samples[(uint64_t)((double)(n_samples - 1) * q)];
}

static void print_text(const char *s)
{
    putchar('"');
    for (; *s; s++)
        putchar(*s == '"' || *s == '\\' || (unsigned char)*s < ' ' ? '?' : *s);
    putchar('"');
}

/* The most memory that this program had, in kB; ru_maxrss counts its parent's, too. */
static long peak_kb(void)
{
    char line[128];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");

    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

static void report(double cpu, struct h2_pool_stats *st)
{
    static const char *const ends[] = {"local",   "eof",     "dead",  "protocol",
                                       "resolve", "connect", "proxy", "tls"};
    const char *sep = "";

    qsort(samples, n_samples, sizeof(*samples), by_value);
    printf("{\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"uncertain\":%" PRIu64
           ",\"late\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"no_connection\":%" PRIu64,
           sent, outcome[H2_ANSWERED], outcome[H2_UNCERTAIN], outcome[H2_LATE], outcome[H2_REFUSED],
           outcome[H2_NO_CONNECTION]);
    printf(",\"seconds\":%.6f,\"cpu_s\":%.6f,\"rss_kb\":%ld,\"up_ms\":%.3f",
           (double)(last_us - first_us) / 1e6, cpu, peak_kb(),
           up_us ? (double)(up_us - started_us) / 1e3 : -1.0);
    printf(",\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u", quantile(0.5), quantile(0.99),
           quantile(1));
    printf(",\"resent\":%" PRIu64 ",\"maybe_twice\":%" PRIu64 ",\"wrong_id\":%" PRIu64
           ",\"cut\":%" PRIu64 ",\"refused_at_send\":%" PRIu64,
           counter_get(&st->resent), maybe_twice, wrong_id, cut, refused_at_send);
    printf(",\"moved_refused\":%" PRIu64 ",\"moved_goaway\":%" PRIu64 ",\"opened\":%" PRIu64
           ",\"goaways\":%" PRIu64 ",\"retired\":%" PRIu64 ",\"ended\":{",
           counter_get(&st->moved_refused), counter_get(&st->moved_goaway),
           counter_get(&st->opened), counter_get(&st->goaways), counter_get(&st->retired));
    for (int i = 0; i < H2_ENDS; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "", ends[i], counter_get(&st->ended[i]));
    printf("},\"status\":{");
    for (int i = 1; i < STATUS_MAX; i++) {
        if (status[i] == 0)
            continue;
        printf("%s\"%d\":%" PRIu64, sep, i, status[i]);
        sep = ",";
    }
    printf("},\"why\":[");
    for (int i = 0; i < WHYS && whys[i][0]; i++) {
        if (i)
            putchar(',');
        print_text(whys[i]);
    }
    printf("],\"trouble\":");
    print_text(h2_pool_trouble(h2_client_pool(client)));
    printf("}\n");
    fflush(stdout);
}

static const struct {
    const char *name;
    uint64_t *number;
    const char **text;
} OPTIONS[] = {
    {"n", &n, NULL},
    {"inflight", &inflight, NULL},
    {"rate", &rate, NULL},
    {"conns", &conns, NULL},
    {"body", &body_bytes, NULL},
    {"deadline_ms", &deadline_ms, NULL},
    {"resend", &resend, NULL},
    {"port", &port, NULL},
    {"ping_ms", &ping_ms, NULL},
    {"idle_ms", &idle_ms, NULL},
    {"dead_ms", &dead_ms, NULL},
    {"open_ms", &open_ms, NULL},
    {"retry_ms", &retry_ms, NULL},
    {"warm", &warm, NULL},
    {"linger_ms", &linger_ms, NULL},
    {"retire", &retire, NULL},
    {"streams", &streams, NULL},
    {"drain_ms", &drain_ms, NULL},
    {"same", &same, NULL},
    {"host", NULL, &host},
    {"connect", NULL, &connect_to},
    {"ca", NULL, &ca},
    {"cert", NULL, &cert},
    {"key", NULL, &key},
    {"proxy", NULL, &proxy},
    {"auth", NULL, &auth},
};

static bool option(const char *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(OPTIONS); i++) {
        size_t len = strlen(OPTIONS[i].name);
        if (strncmp(arg, OPTIONS[i].name, len) != 0 || arg[len] != '=')
            continue;
        if (OPTIONS[i].text) {
            *OPTIONS[i].text = arg + len + 1;
            return true;
        }
        return slice_to_u64(slice_str(arg + len + 1), UINT32_MAX, OPTIONS[i].number) == 0;
    }
    return false;
}

int main(int argc, char **argv)
{
    char err[TLS_ERR_MAX];

    for (int i = 1; i < argc; i++) {
        if (option(argv[i]))
            continue;
        fprintf(stderr, "h2_push: no such option, or no number: %s\n", argv[i]);
        return 2;
    }
    log_setup(LOG_WARN, LOG_TEXT, 2);
    if (n == 0 || body_bytes > sizeof(body))
        return 2;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t) "{\"aps\":{},\"call_id\":\"x\"}"[i % 23];
    samples = calloc(n < SAMPLES ? n : SAMPLES, sizeof(*samples));
    done_of = calloc(n, 1);
    worker = worker_new(0);
    if (!worker || !samples || !done_of)
        return 1;
    struct h2_client_conf conf = {
        .name = "load",
        .host = host,
        .port = (uint16_t)port,
        .connect_to = connect_to,
        .proxy = proxy,
        .proxy_auth = auth,
        .ca_file = ca,
        .cert_file = cert,
        .key_file = key,
        .pool = H2_POOL_CONF_DEFAULT,
        .open_us = open_ms * US_PER_MS,
        .ping_us = ping_ms * US_PER_MS,
        .ping_idle_us = idle_ms * US_PER_MS,
        .dead_us = dead_ms * US_PER_MS,
    };
    conf.pool.conns = (unsigned)conns;
    conf.pool.streams_max = (unsigned)streams;
    conf.pool.drain_us = drain_ms * US_PER_MS;
    if (retry_ms > 0)
        conf.pool.retry_min_us = retry_ms * US_PER_MS;
    started_us = clock_now_us();
    client = h2_client_new(worker, &conf, err);
    if (!client) {
        fprintf(stderr, "h2_push: %s\n", err);
        return 1;
    }
    timer = (struct wtimer){.fn = pump};
    flush = (struct wflush){.fn = pump};
    worker_timer(worker, &timer, 0);
    worker_run(worker);
    report(cpu_s() - cpu_at_start, h2_pool_stats(h2_client_pool(client)));
    h2_client_free(client);
    while (worker_settle(worker))
        ;
    worker_free(worker);
    free(samples);
    free(done_of);
    return 0;
}

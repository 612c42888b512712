/* sori-sfu: the daemon of group calls. Options, configuration, signals.
 *
 * The main thread only waits for signals: SIGTERM and SIGUSR1 drain (no new room; the end comes
 * with the last one, or drain_timeout later); SIGINT and SIGTERM while it drains end the process at
 * once. Exit status: 0, 64 for a wrong command line, 78 for a wrong configuration or an address
 * that cannot be used. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/admin_http.h"
#include "net/notify_sock.h"
#include "net/registrar.h"
#include "net/signal_wait.h"
#include "sfu/reclaim.h"
#include "sfu/sfu_node.h"
#include "sfu/sfu_worker.h"

#define POLL_US      (100 * US_PER_MS)
#define STOP_GRACE_S 30 /* to end what still lives after the drain */

struct options {
    const char *config;
    bool check, print;
};

/* What runs, in the order in which it was made. */
struct daemon {
    struct sfu_conf conf;
    struct metrics *metrics;
    struct sfu_node *node;
    struct admin_http *admin;
    struct registrar *registrar; /* NULL: the node does not register itself */
    struct pulse *pulse;         /* of the workers */
    struct notify notify;
    bool ready, draining;
    uint64_t end_us; /* of the drain */
};

static void usage(FILE *f)
{
    fputs("usage: sori-sfu [--config FILE] [--check-config | --print-config]\n"
          "  -c, --config FILE   read the configuration from FILE (default: built-in values)\n"
          "      --check-config  read it, say what is wrong, and exit\n"
          "      --print-config  print the commented default configuration and exit\n"
          "      --version       print the version and exit\n"
          "  -h, --help          print this and exit\n"
          "signals: SIGTERM drains, then ends; SIGUSR1 too, but repeating it changes nothing; "
          "SIGINT\n"
          "         and a second SIGTERM end at once.\n",
          f);
}

/* Returns -1 to go on, or an exit status. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { CHECK = 256, PRINT, VERSION };
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},   {"check-config", no_argument, NULL, CHECK},
        {"print-config", no_argument, NULL, PRINT}, {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case CHECK:
            o->check = true;
            break;
        case PRINT:
            o->print = true;
            break;
        case VERSION:
            puts("sori-sfu " SORI_VERSION);
            return EX_OK;
        case 'h':
            usage(stdout);
            return EX_OK;
        default:
            usage(stderr);
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return EX_USAGE;
    }
    return -1;
}

/* Every TCP connection is a descriptor: take as many as we may. */
static void raise_nofile(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

static bool is_ready(void *arg)
{
    const struct daemon *d = arg;

    return __atomic_load_n(&d->ready, __ATOMIC_ACQUIRE);
}

static void log_start(const struct daemon *d)
{
    char text[ADDR_TEXT_MAX];
    const char *why, *io = sfu_node_io(d->node, &why);
    unsigned n = sfu_node_threads(d->node);

    for (size_t i = 0; i < d->conf.n_listen; i++)
        log_info("sfu", "media on %s, %s%" PRIu64 " to %" PRIu64,
                 addr_ip_format(&d->conf.listen[i], text),
                 d->conf.sfu.tcp ? "UDP and TCP " : "UDP ", d->conf.sfu.port,
                 d->conf.sfu.port + n - 1);
    for (size_t i = 0; i < d->conf.control.listen_text.n; i++)
        log_info("sfu", "control on %s", d->conf.control.listen_text.v[i]);
    if (d->conf.control.listen_text.n == 0)
        log_warn("sfu", "no sori-server can connect: [control] listen is empty");
    log_info("sfu", "datagrams move by %s%s%s%s", io, why[0] ? " (" : "", why, why[0] ? ")" : "");
    log_info("sfu", "sori-sfu %s is ready, %u threads", SORI_VERSION, n);
}

static int start_pulse(struct daemon *d)
{
    unsigned n = sfu_node_threads(d->node);

    d->pulse = pulse_new(n);
    for (unsigned i = 0; d->pulse && i < n; i++)
        pulse_add(d->pulse, sfu_node_worker(d->node, i)->loop);
    return d->pulse ? 0 : -ENOMEM;
}

/* ---- what sori-servers are told ---- */

static unsigned load_of(void *arg, uint64_t now_us)
{
    const struct daemon *d = arg;

    (void)now_us; /* measured by the control thread, which says it to those that are connected */
    return sfu_node_load_last(d->node);
}

static int count_registrar(struct daemon *d)
{
    const struct enroll_counters *n = registrar_count(d->registrar);
    const struct {
        const char *name, *labels, *help;
        enum metric_type type;
        const struct counter *cell;
    } v[] = {
        {"sori_sfu_registered", "", "1 while this node stands in the list that sori-servers read.",
         METRIC_GAUGE, &n->entered},
        {"sori_sfu_registrations_total", "result=\"ok\"", "Registrations written, by result.",
         METRIC_COUNTER, &n->renewals},
        {"sori_sfu_registrations_total", "result=\"failed\"", "Registrations written, by result.",
         METRIC_COUNTER, &n->failures},
    };
    int e = 0;

    for (size_t i = 0; i < ARRAY_LEN(v) && !e; i++)
        e = metrics_add(d->metrics, v[i].name, v[i].labels, v[i].help, v[i].type, v[i].cell);
    return e;
}

static int start_registrar(struct daemon *d)
{
    const struct node_record what = {.weight = (unsigned)d->conf.cluster.weight,
                                     .region = slice_str(d->conf.sfu.region),
                                     .at = {sfu_conf_cluster_address(&d->conf)},
                                     .at_n = 1};
    const struct registrar_conf conf = {.redis = &d->conf.cluster.redis,
                                        .name = slice_str(d->conf.sfu.node_id),
                                        .kind = NODE_SFU,
                                        .load = load_of,
                                        .arg = d};
    char err[REGISTRAR_ERR_MAX];

    if (!redis_options_wanted(&d->conf.cluster.redis))
        return EX_OK;
    d->registrar = registrar_start(&conf, &what, err);
    if (!d->registrar) {
        log_error("sfu", "cannot start: %s", err);
        return EX_CONFIG;
    }
    return count_registrar(d) == 0 ? EX_OK : EX_OSERR;
}

static int start(struct daemon *d)
{
    char err[CONF_ERR_MAX];

    d->metrics = metrics_new();
    if (!d->metrics)
        return EX_OSERR;
    d->node = sfu_node_new(&d->conf, d->metrics, err);
    if (d->node && d->conf.admin.listen.family != ADDR_NONE) {
        char why[ADMIN_HTTP_ERR_MAX];

        d->admin = admin_http_start(&d->conf.admin.listen, d->metrics, is_ready, d, why);
        if (!d->admin)
            snprintf(err, sizeof(err), "[admin] listen: %s", why);
    }
    if (!d->node || (d->conf.admin.listen.family != ADDR_NONE && !d->admin)) {
        log_error("sfu", "cannot start: %s", err);
        return EX_CONFIG;
    }
    int e = start_pulse(d);
    if (!e)
        e = sfu_node_start(d->node);
    if (e) {
        log_error("sfu", "cannot start threads: %s", strerror(-e));
        return EX_OSERR;
    }
    int status = start_registrar(d);
    if (status != EX_OK)
        return status;
    __atomic_store_n(&d->ready, true, __ATOMIC_RELEASE);
    log_start(d);
    notify_ready(&d->notify);
    return EX_OK;
}

static void stop(struct daemon *d)
{
    __atomic_store_n(&d->ready, false, __ATOMIC_RELEASE);
    admin_http_stop(d->admin);
    registrar_stop(d->registrar);
    sfu_node_free(d->node);
    pulse_free(d->pulse);
    metrics_free(d->metrics);
    sfu_conf_free(&d->conf);
    notify_fini(&d->notify);
}

/* From now on no new room; not ready any more. Doing it twice changes nothing. */
static void drain(struct daemon *d)
{
    if (d->draining)
        return;
    d->draining = true;
    d->end_us = clock_now_us() + d->conf.sfu.drain_timeout_s * US_PER_S;
    __atomic_store_n(&d->ready, false, __ATOMIC_RELEASE);
    sfu_node_drain(d->node, true);
    registrar_drain(d->registrar);
    notify_stopping(&d->notify, (d->conf.sfu.drain_timeout_s + STOP_GRACE_S) * US_PER_S);
    log_info("sfu", "draining: %" PRIu64 " rooms, at most %" PRIu64 " s", sfu_node_rooms(d->node),
             d->conf.sfu.drain_timeout_s);
}

static bool is_drained(const struct daemon *d)
{
    return d->draining && (sfu_node_rooms(d->node) == 0 || clock_now_us() >= d->end_us);
}

/* The next signal; -1 when there is something to look at first. */
static int next_signal(const struct daemon *d, const sigset_t *set)
{
    uint64_t poll = d->draining ? clock_now_us() + POLL_US : CLOCK_NEVER;
    uint64_t beat = notify_deadline(&d->notify);

    return signal_wait(set, poll < beat ? poll : beat);
}

static void wait_for_end(struct daemon *d, const sigset_t *set)
{
    while (!is_drained(d)) {
        int sig = next_signal(d, set);

        if (sig == SIGINT || (sig == SIGTERM && d->draining))
            break;
        if (sig == SIGTERM || sig == SIGUSR1)
            drain(d);
        notify_beat(&d->notify, d->pulse, clock_now_us());
    }
    log_info("sfu", "stopping with %" PRIu64 " rooms", sfu_node_rooms(d->node));
}

/* Blocks the signals that wait_for_end() waits for, in this thread and those it starts. A shell's
 * background jobs begin with SIGINT ignored, and what is ignored is not waited for: undone. */
static void block_signals(sigset_t *set)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_IGN); /* nothing is reloaded: it must not end the daemon */
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    static struct daemon d;
    char err[CONF_ERR_MAX];
    sigset_t set;

    int status = parse(&o, argc, argv);
    if (status >= 0)
        return status;
    if (o.print) {
        sfu_conf_print(stdout);
        return EX_OK;
    }
    if (sfu_conf_load(&d.conf, o.config, err) != 0) {
        fprintf(stderr, "sori-sfu: %s\n", err);
        return EX_CONFIG;
    }
    if (o.check) {
        sfu_conf_free(&d.conf);
        puts("configuration is valid");
        return EX_OK;
    }
    log_setup((enum log_level)d.conf.log.level, (enum log_format)d.conf.log.format, 2);
    raise_nofile();
    block_signals(&set);
    if (notify_init(&d.notify) != 0) {
        fputs(
            "sori-sfu: NOTIFY_SOCKET or WATCHDOG_USEC of the environment cannot be used: start it "
            "by systemd, or without them\n",
            stderr);
        sfu_conf_free(&d.conf);
        return EX_CONFIG;
    }
    if (!reclaim_start())
        log_warn("sfu", "freed memory is given back late: no background thread");

    status = start(&d);
    if (status == EX_OK)
        wait_for_end(&d, &set);
    stop(&d);
    return status;
}

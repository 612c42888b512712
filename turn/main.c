/* sori-turn: the relay daemon. Options, configuration, signals.
 *
 * The main thread only waits for signals: SIGHUP re-reads secrets, users and certificates; SIGTERM
 * and SIGUSR1 drain (no new allocation; the end comes with the last one, or drain_timeout later);
 * SIGINT and SIGTERM while it drains end the process at once. Exit status: 0, 64 for a wrong
 * command line, 78 for a wrong configuration or an address that cannot be used.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "net/admin_http.h"
#include "net/inherited_sock.h"
#include "net/notify_sock.h"
#include "net/registrar.h"
#include "net/signal_wait.h"
#include "turn/file_watch.h"
#include "turn/control_listener.h"
#include "turn/turn_conf.h"
#include "turn/turn_node.h"
#include "turn/turn_redis_link.h"
#include "turn/turn_register.h"
#include "turn/turn_worker.h"
#include "turn/usage_writer.h"

#define POLL_US      (100 * US_PER_MS)
#define STOP_GRACE_S 30                /* to end what still lives after the drain */
#define SETTLE_US    (500 * US_PER_MS) /* certificate and key are written one after the other */

struct options {
    const char *config;
    bool check, print;
};

/* What runs, in the order in which it was made. */
struct daemon {
    struct turn_conf conf;
    struct metrics *metrics;
    struct turn_redis_link *redis; /* NULL: none */
    struct usage_writer *writer;   /* NULL: none */
    struct turn_node *node;
    struct admin_http *admin;
    struct control_listener *control;
    struct registrar *registrar; /* NULL: the relay does not register itself */
    struct turn_load load;       /* the registrar's thread's */
    struct file_watch *files;    /* certificates, secrets, users; NULL: not watched */
    struct pulse *pulse;         /* of the workers */
    struct notify notify;
    bool ready, draining;
    uint64_t end_us;  /* of the drain */
    uint64_t look_us; /* when to look at the files; 0 = not until told */
};

static void usage(FILE *f)
{
    fputs(
        "usage: sori-turn [--config FILE] [--check-config | --print-config]\n"
        "  -c, --config FILE   read the configuration from FILE (default: built-in values)\n"
        "      --check-config  read it, say what is wrong, and exit\n"
        "      --print-config  print the commented default configuration and exit\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this and exit\n"
        "signals: SIGHUP reloads secrets, users and certificates; SIGTERM drains, then ends;\n"
        "         SIGUSR1 too, but repeating it changes nothing; SIGINT and a second SIGTERM end\n"
        "         at once.\n",
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
            puts("sori-turn " SORI_VERSION);
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

/* Every allocation and connection is a descriptor: take as many as we may. */
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

static void log_listeners(const char *transport, const struct addr *v, size_t n)
{
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < n; i++)
        log_info("turn", "listening on %s %s", transport, addr_format(&v[i], text));
}

static void log_io(const struct turn_node *n)
{
    const char *why, *io = turn_node_io(n, &why);

    log_info("turn", "datagrams move by %s%s%s%s", io, why[0] ? " (" : "", why, why[0] ? ")" : "");
    if (turn_node_offload(n))
        log_info("turn", "the kernel relays open channels on %s", turn_node_offload(n));
}

/* As the signal of that meaning would: only the main thread knows what to do. */
static void ask_to_drain(void)
{
    kill(getpid(), SIGUSR1);
}

static int start_control(struct daemon *d)
{
    char why[CONTROL_ERR_MAX];

    if (d->conf.control[0] == '\0')
        return EX_OK;
    d->control = control_listener_start(d->conf.control, d->node, ask_to_drain, why);
    if (d->control)
        return EX_OK;
    log_error("turn", "cannot start: [admin] control: %s", why);
    return EX_CONFIG;
}

/* ---- what sori-servers are told ---- */

static unsigned load_of(void *arg, uint64_t now_us)
{
    struct daemon *d = arg;

    return turn_load_of(&d->load, d->node, &d->conf, now_us);
}

/* What c says, with the addresses of now: those need a restart. */
static int fill_register(const struct daemon *d, struct turn_register *t, const struct turn_conf *c)
{
    struct shared_secrets others = {0};
    struct turn_register secrets;

    if (d->redis)
        turn_redis_link_secrets(d->redis, &others);
    int e = turn_register_fill(t, &d->conf, NULL);
    if (!e)
        e = turn_register_fill(&secrets, c, &others);
    if (!e) {
        memcpy(t->marks, secrets.marks, sizeof(t->marks));
        t->record.keys_n = secrets.record.keys_n;
        for (size_t i = 0; i < t->record.keys_n; i++)
            t->record.keys[i] = slice_of(t->marks[i], NODE_RECORD_MARK);
    }
    crypto_wipe(&others, sizeof(others));
    return e;
}

static int count_registrar(struct daemon *d)
{
    const struct enroll_counters *n = registrar_count(d->registrar);
    int e = metrics_add(d->metrics, "sori_turn_registered", "",
                        "1 while this relay stands in the list that sori-servers read",
                        METRIC_GAUGE, &n->entered);

    if (!e)
        e = metrics_add(d->metrics, "sori_turn_registrations_total", "result=\"ok\"",
                        "Registrations written, by result", METRIC_COUNTER, &n->renewals);
    return e ? e
             : metrics_add(d->metrics, "sori_turn_registrations_total", "result=\"failed\"",
                           "Registrations written, by result", METRIC_COUNTER, &n->failures);
}

static int start_registrar(struct daemon *d)
{
    struct turn_register t;
    char err[REGISTRAR_ERR_MAX];
    const struct registrar_conf conf = {.redis = &d->conf.cluster.redis,
                                        .name = turn_conf_cluster_node(&d->conf),
                                        .kind = NODE_RELAY,
                                        .load = load_of,
                                        .arg = d};

    if (!redis_options_wanted(&d->conf.cluster.redis))
        return EX_OK;
    if (fill_register(d, &t, &d->conf) != 0)
        return EX_OSERR;
    d->registrar = registrar_start(&conf, &t.record, err);
    if (!d->registrar) {
        log_error("turn", "cannot start: %s", err);
        return EX_CONFIG;
    }
    turn_node_publish(d->node, d->registrar);
    return count_registrar(d) == 0 ? EX_OK : EX_OSERR;
}

static size_t certificate_files(const struct turn_conf *c, const char **paths)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_certs; i++) {
        paths[n++] = c->certs[i].cert;
        if (strncmp(c->certs[i].key, "credential:", strlen("credential:")) != 0)
            paths[n++] = c->certs[i].key;
    }
    return n;
}

static void watch_files(struct daemon *d)
{
    const char *paths[FILE_WATCH_MAX];
    size_t n =
        d->conf.tls_watch && turn_conf_wants_tls(&d->conf) ? certificate_files(&d->conf, paths) : 0;

    if (d->conf.auth_watch)
        n += turn_conf_auth_files(&d->conf, &paths[n], FILE_WATCH_MAX - n);
    if (n == 0)
        return;
    d->files = file_watch_new(paths, n);
    if (!d->files)
        log_warn("turn", "files are not watched: SIGHUP reloads them");
}

/* As the signal of that meaning would: secrets are read by the main thread, from all places. */
static void ask_to_reload(void)
{
    kill(getpid(), SIGHUP);
}

static int start_redis(struct daemon *d)
{
    if (!turn_conf_wants_redis(&d->conf))
        return 0;
    d->redis = turn_redis_link_start(&d->conf, d->metrics, ask_to_reload);
    if (!d->redis) {
        log_error("turn", "cannot start the thread for Redis");
        return -ENOMEM;
    }
    if (!turn_redis_link_wait(d->redis))
        log_warn("turn", "no secrets from Redis yet: they count as soon as they are there");
    return 0;
}

static int start_writer(struct daemon *d, char err[CONF_ERR_MAX])
{
    if (d->conf.usage_directory[0] == '\0')
        return 0;
    d->writer = usage_writer_start(&d->conf, d->metrics, err);
    if (!d->writer)
        return -EIO;
    if (d->conf.usage_interval_s == 0)
        log_warn("turn", "what living allocations have relayed is lost at a crash: set [log] "
                         "usage_interval, to 60 for example");
    return 0;
}

static int start_pulse(struct daemon *d)
{
    unsigned n = turn_node_threads(d->node);

    d->pulse = pulse_new(n);
    for (unsigned i = 0; d->pulse && i < n; i++)
        pulse_add(d->pulse, turn_node_worker(d->node, i)->loop);
    return d->pulse ? 0 : -ENOMEM;
}

static int start(struct daemon *d)
{
    char err[CONF_ERR_MAX];

    d->metrics = metrics_new();
    if (!d->metrics)
        return EX_OSERR;
    if (start_redis(d) != 0)
        return EX_OSERR;
    if (start_writer(d, err) == 0)
        d->node = turn_node_new(&d->conf, d->metrics, d->redis, d->writer, err);
    if (d->node && d->conf.admin.family != ADDR_NONE) {
        char why[256];
        d->admin = admin_http_start(&d->conf.admin, d->metrics, is_ready, d, why);
        if (!d->admin)
            snprintf(err, sizeof(err), "[admin] listen: %s", why);
    }
    if (!d->node || (d->conf.admin.family != ADDR_NONE && !d->admin)) {
        log_error("turn", "cannot start: %s", err);
        return EX_CONFIG;
    }
    int e = start_pulse(d);
    if (!e)
        e = turn_node_start(d->node);
    if (e) {
        log_error("turn", "cannot start threads: %s", strerror(-e));
        return EX_OSERR;
    }
    int status = start_control(d);
    if (status != EX_OK)
        return status;
    status = start_registrar(d);
    if (status != EX_OK)
        return status;
    watch_files(d);
    log_listeners("udp", d->conf.listen_udp, d->conf.n_udp);
    if (turn_conf_wants_dtls(&d->conf))
        log_listeners("dtls", d->conf.listen_udp, d->conf.n_udp);
    log_listeners("tcp", d->conf.listen_tcp, d->conf.n_tcp);
    log_listeners("tls", d->conf.listen_tls, d->conf.n_tls);
    inherited_report();
    log_io(d->node);
    __atomic_store_n(&d->ready, true, __ATOMIC_RELEASE);
    log_info("turn", "sori-turn %s is ready, %u threads", SORI_VERSION, turn_node_threads(d->node));
    notify_ready(&d->notify);
    return EX_OK;
}

static void reload(struct daemon *d, const char *path)
{
    struct turn_conf fresh = {0};
    char err[CONF_ERR_MAX];

    notify_reloading(&d->notify, clock_now_us());
    int e = turn_conf_load(&fresh, path, err);

    if (!e)
        e = turn_node_reload(d->node, &fresh, err);
    if (e)
        log_error("turn", "reload refused, the old settings stay: %s", err);
    else
        log_info("turn", "secrets, users and certificates reloaded");
    struct turn_register t;
    if (!e && d->registrar && fill_register(d, &t, &fresh) == 0)
        registrar_change(d->registrar, &t.record);
    turn_conf_free(&fresh);
    notify_ready(&d->notify);
}

static void stop(struct daemon *d)
{
    __atomic_store_n(&d->ready, false, __ATOMIC_RELEASE);
    file_watch_free(d->files);
    control_listener_stop(d->control);
    admin_http_stop(d->admin);
    if (d->registrar)
        turn_node_publish(d->node, NULL);
    registrar_stop(d->registrar);
    turn_node_free(d->node);
    pulse_free(d->pulse);
    turn_redis_link_stop(d->redis);
    usage_writer_stop(d->writer);
    metrics_free(d->metrics);
    turn_conf_free(&d->conf);
    notify_fini(&d->notify);
}

/* From now on no new allocation; not ready any more. Doing it twice changes nothing. */
static void drain(struct daemon *d)
{
    if (d->draining)
        return;
    d->draining = true;
    d->end_us = clock_now_us() + d->conf.drain_timeout_s * US_PER_S;
    __atomic_store_n(&d->ready, false, __ATOMIC_RELEASE);
    turn_node_drain(d->node);
    registrar_drain(d->registrar);
    notify_stopping(&d->notify, (d->conf.drain_timeout_s + STOP_GRACE_S) * US_PER_S);
    log_info("turn", "draining: %" PRIu64 " allocations, at most %" PRIu64 " s",
             turn_node_allocations(d->node), d->conf.drain_timeout_s);
}

static bool is_drained(const struct daemon *d)
{
    return d->draining && (turn_node_allocations(d->node) == 0 || clock_now_us() >= d->end_us);
}

/* The next signal; -1 when there is something to look at first. */
static int next_signal(const struct daemon *d, const sigset_t *set)
{
    uint64_t poll = d->draining || d->look_us ? clock_now_us() + POLL_US : CLOCK_NEVER;
    uint64_t beat = notify_deadline(&d->notify);

    return signal_wait(set, poll < beat ? poll : beat);
}

/* Looks at the files when something happened around them and they have settled. */
static void look_at_files(struct daemon *d, const char *path)
{
    if (d->look_us == 0 || clock_now_us() < d->look_us)
        return;
    d->look_us = 0;
    if (d->files && file_watch_changed(d->files))
        reload(d, path);
}

static void wait_for_end(struct daemon *d, const char *path, const sigset_t *set)
{
    while (!is_drained(d)) {
        int sig = next_signal(d, set);
        if (sig == SIGHUP)
            reload(d, path);
        else if (sig == SIGIO && d->look_us == 0)
            d->look_us = clock_now_us() + SETTLE_US;
        else if (sig == SIGINT || (sig == SIGTERM && d->draining))
            break;
        else if (sig == SIGTERM || sig == SIGUSR1)
            drain(d);
        look_at_files(d, path);
        notify_beat(&d->notify, d->pulse, clock_now_us());
    }
    log_info("turn", "stopping with %" PRIu64 " allocations", turn_node_allocations(d->node));
}

/* Blocks the signals that wait_for_end() waits for, in this thread and those it starts. A shell's
 * background jobs begin with SIGINT ignored, and what is ignored is not waited for: undone. */
static void block_signals(sigset_t *set)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    sigemptyset(set);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGIO); /* file_watch.c */
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
        turn_conf_print(stdout);
        return EX_OK;
    }
    if (turn_conf_load(&d.conf, o.config, err) != 0) {
        fprintf(stderr, "sori-turn: %s\n", err);
        return EX_CONFIG;
    }
    if (o.check) {
        turn_conf_free(&d.conf);
        puts("configuration is valid");
        return EX_OK;
    }
    log_setup((enum log_level)d.conf.log_level, (enum log_format)d.conf.log_format, 2);
    raise_nofile();
    block_signals(&set);
    if (notify_init(&d.notify) != 0 || inherited_init() < 0) {
        fputs("sori-turn: NOTIFY_SOCKET, WATCHDOG_USEC or LISTEN_FDS of the environment cannot be "
              "used: start it by systemd, or without them\n",
              stderr);
        turn_conf_free(&d.conf);
        return EX_CONFIG;
    }

    status = start(&d);
    if (status == EX_OK)
        wait_for_end(&d, o.config, &set);
    stop(&d);
    return status;
}

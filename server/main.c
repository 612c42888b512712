/* sori-server: the signaling daemon's shell: options, configuration, keys, signals, life and end.
 *
 * One worker runs everything: sockets, router, timers. SIGHUP reads certificate and token keys
 * again (a bad file leaves the old ones in force). SIGTERM and SIGINT tell the clients to come back
 * elsewhere, close, and exit; a second one exits at once. Under systemd: Type=notify, its watchdog
 * and its sockets.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "net/admin_http.h"
#include "net/inherited_sock.h"
#include "net/notify_sock.h"
#include "net/tls.h"
#include "net/worker.h"
#include "server/apns_link.h"
#include "server/apns_service.h"
#include "server/device_read.h"
#include "server/export_sock.h"
#include "server/ledger_link.h"
#include "server/node_link.h"
#include "server/operator_listener.h"
#include "server/presence_link.h"
#include "server/redis_conf.h"
#include "server/registry_link.h"
#include "server/router.h"
#include "server/server_metrics.h"
#include "server/server_keys.h"
#include "server/status_board.h"
#include "server/web_files.h"
#include "server/ws_listener.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#define STOP_GRACE_US    (500 * US_PER_MS)
#define SETTLE_US        (10 * US_PER_MS)
#define SETTLES          100 /* looks whether other nodes have all, before this one leaves */
#define LEAVE_US         (100 * US_PER_MS) /* for Redis to hear that this node has left */
#define GOAWAY_SPREAD_MS 1000              /* clients come back within that time of a stop */
#define BOARD_US         US_PER_S
#define BOARD_BYTES      (64 << 10)

struct server {
    struct server_conf conf;
    const char *conf_path;
    struct token_keys *keys;
    struct tls_ctx *tls;
    struct worker *worker;
    struct presence_link *presence; /* NULL: one node */
    struct router *router;
    struct ws_listener *listener;
    struct node_link *links[SERVER_SFU_MAX];
    struct registry_link *registry; /* NULL: no node registers itself */
    struct ledger_link *ledger;
    struct export_sock *exports;
    struct device_dir *devices;
    struct device_read *reading; /* of devices, out of the ledger */
    struct apns_link *apns;
    struct apns_service apns_service;
    struct metrics *metrics;
    struct admin_http *admin;
    struct event *signals[3];
    struct operator_listener *control;
    struct status_board *board;
    uint64_t start_us;
    struct wtimer stop_timer, beat_timer, board_timer, read_timer;
    struct notify notify;
    bool closing;           /* clients are being told that the end is now */
    bool left;              /* other nodes too */
    unsigned settles;       /* how often it is still looked */
    bool stopping, loading; /* atomic: ready() reads on another thread */
};

static const char USAGE[] =
    "Usage: sori-server [--config FILE] [--check-config | --print-config | --help | --version]\n"
    "\n"
    "The signaling server of Sori: WebSocket clients, presence, calls.\n"
    "\n"
    "  -c, --config FILE   read this INI file (without one, defaults are in force)\n"
    "      --check-config  check the configuration, print what is wrong, and exit (0 or 78)\n"
    "      --print-config  print every option with its default, unit, range and effect\n"
    "  -h, --help          this text\n"
    "  -V, --version       the version\n"
    "\n"
    "Signals: HUP reads certificate and keys again; TERM and INT stop (twice: at once).\n"
    "Exit codes: 0 ended well, 64 usage, 69 could not listen, 71 out of memory, 78 "
    "configuration.\n";

static int load_files(struct server *s, const struct server_conf *c, char err[CONF_ERR_MAX])
{
    struct token_keys *keys = server_keys_load(c, err);
    if (!keys)
        return -EINVAL;
    struct tls_ctx *tls = NULL;
    if (s->conf.server.listen_tls.n > 0) {
        tls = tls_ctx_new(c->tls.cert_file, c->tls.key_file, NULL, err);
        if (!tls) {
            token_keys_free(keys);
            return -EINVAL;
        }
    }
    token_keys_free(s->keys);
    tls_ctx_free(s->tls);
    s->keys = keys;
    s->tls = tls;
    return 0;
}

static void swap_secret(struct conf_secret *a, struct conf_secret *b)
{
    struct conf_secret was = *a;

    *a = *b;
    *b = was;
}

/* Secrets are read with the options that name their files: the whole file is read again, and must
 * be good. What else changed in it waits for a restart. */
static int reload_files(struct server *s, char err[CONF_ERR_MAX])
{
    struct server_conf fresh;

    int rc = server_conf_load(&fresh, s->conf_path, err);
    if (rc < 0)
        return rc;
    rc = load_files(s, &fresh, err);
    if (rc == 0) {
        swap_secret(&s->conf.auth.hs256_secret, &fresh.auth.hs256_secret);
        swap_secret(&s->conf.turn.secret, &fresh.turn.secret);
        registry_link_reload(s->registry);
    }
    server_conf_free(&fresh);
    return rc;
}

static void on_stop_timer(void *arg, uint64_t now_us)
{
    struct server *s = arg;

    if (s->closing && s->presence && !s->left) {
        if (!router_settled(s->router) && s->settles-- > 0) {
            worker_timer(s->worker, &s->stop_timer, now_us + SETTLE_US);
            return;
        }
        s->left = true;
        presence_link_leave(s->presence);
        worker_timer(s->worker, &s->stop_timer, now_us + LEAVE_US);
        return;
    }
    if (s->closing) {
        worker_stop(s->worker);
        return;
    }
    s->closing = true;
    s->settles = SETTLES;
    ws_listener_enter(s->listener);
    router_close_all(s->router, SIG_CLOSE_RESTART);
    /* Time for the Close frames to leave. */
    worker_timer(s->worker, &s->stop_timer, now_us + STOP_GRACE_US);
}

/* Sends clients elsewhere within that time, then closes. Again: changes nothing. */
static void drain(void *arg, uint64_t within_us)
{
    struct server *s = arg;

    if (s->stopping)
        return;
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELAXED); /* ready() reads on another thread */
    log_info("main", "stopping: %u connections", ws_listener_count(s->listener));
    notify_stopping(&s->notify, within_us + STOP_GRACE_US + US_PER_S);
    ws_listener_stop(s->listener);
    router_drain(s->router, within_us > 0 ? within_us / US_PER_MS : GOAWAY_SPREAD_MS);
    worker_timer(s->worker, &s->stop_timer, worker_now(s->worker) + within_us);
}

/* This worker is all that there is to look after: that the timer fires says that it is alive. */
static void on_beat_timer(void *arg, uint64_t now_us)
{
    struct server *s = arg;

    notify_beat(&s->notify, NULL, now_us);
    worker_timer(s->worker, &s->beat_timer, notify_deadline(&s->notify));
}

/* Ends now; a second time at once. */
static void stop(struct server *s)
{
    if (s->closing)
        worker_stop(s->worker);
    drain(s, 0);
    on_stop_timer(s, worker_now(s->worker));
}

/* Keys of [app NAME] may have been rotated. */
static void reload_apns(struct server *s)
{
    struct server_conf fresh;
    char err[CONF_ERR_MAX];

    if (!s->apns)
        return;
    int n = server_conf_load(&fresh, s->conf_path, err);
    if (n == 0) {
        n = apns_link_reload(s->apns, &fresh, err);
        server_conf_free(&fresh);
    }
    if (n < 0)
        log_error("main", "the old push keys stay in force: %s", err);
    else
        log_info("main", "%d push keys were exchanged", n);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct server *s = arg;
    char err[CONF_ERR_MAX];

    (void)what;
    ws_listener_enter(s->listener);
    if (number != SIGHUP) {
        stop(s);
        return;
    }
    notify_reloading(&s->notify, worker_now(s->worker));
    if (reload_files(s, err) == 0)
        log_info("main", "certificate and token keys were read again");
    else
        log_error("main", "the old certificate and keys stay in force: %s", err);
    reload_apns(s);
    notify_ready(&s->notify);
}

static bool ready(void *arg)
{
    const struct server *s = arg;

    if (__atomic_load_n(&s->stopping, __ATOMIC_RELAXED) ||
        (s->registry && !registry_link_told(s->registry)))
        return false;
    /* A ledger in trouble is read when it is out of it: nobody waits for that. */
    return !__atomic_load_n(&s->loading, __ATOMIC_RELAXED) ||
           ledger_health(ledger_link_ledger(s->ledger)) != LEDGER_FINE;
}

/* What does not work, for /readyz. */
static const char *degraded(void *arg)
{
    const struct server *s = arg;
    enum ledger_health health =
        s->ledger ? ledger_health(ledger_link_ledger(s->ledger)) : LEDGER_FINE;

    if (health != LEDGER_FINE)
        return ledger_health_help(health);
    const char *redis = s->presence ? presence_link_trouble(s->presence) : NULL;
    return redis ? redis : s->apns ? apns_link_trouble(s->apns) : NULL;
}

/* ---- the operator ---- */

static struct operator_facts facts(void *arg)
{
    struct server *s = arg;

    return (struct operator_facts){.seconds = (worker_now(s->worker) - s->start_us) / US_PER_S,
                                   .ready = ready(s),
                                   .degraded = degraded(s)};
}

/* Writes the status while somebody looks at the page. */
static void on_board_timer(void *arg, uint64_t now_us)
{
    static uint8_t text[BOARD_BYTES];
    struct server *s = arg;

    if (status_board_wanted(s->board, now_us)) {
        struct operator_facts now = facts(s);
        struct wr w = wr_init(text, sizeof(text));
        ws_listener_enter(s->listener);
        operator_put_status(&w, s->router, &now);
        if (!w.bad)
            (void)status_board_write(s->board, wr_done(&w)); /* no memory: the page asks again */
    }
    worker_timer(s->worker, &s->board_timer, now_us + BOARD_US);
}

/* On the admin listener's thread. */
static char *look_at_board(void *arg, size_t *len)
{
    const struct server *s = arg;

    return status_board_look(s->board, clock_now_us(), len);
}

static void serve_pages(struct server *s)
{
    static const char *const paths[] = {"/", "/status.css", "/status.js"};
    static struct admin_page pages[ARRAY_LEN(paths) + 1];

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct web_file *f = web_file_status(slice_str(paths[i]));
        pages[i] = (struct admin_page){.path = f->path, .type = f->type, .body = f->body};
    }
    pages[ARRAY_LEN(paths)] = (struct admin_page){
        .path = "/status.json", .type = "application/json", .make = look_at_board};
    admin_http_pages(s->admin, pages, ARRAY_LEN(pages));
}

/* Opens what the operator looks in by. Returns an exit code. */
static int open_operator(struct server *s)
{
    const struct operator_host host = {.facts = facts, .drain = drain, .arg = s};
    char err[CONF_ERR_MAX];

    s->board = status_board_new();
    if (!s->board)
        return EX_OSERR;
    s->board_timer = (struct wtimer){.fn = on_board_timer, .arg = s};
    worker_timer(s->worker, &s->board_timer, worker_now(s->worker) + BOARD_US);
    if (s->conf.admin.listen.family != ADDR_NONE) {
        s->admin = admin_http_start(&s->conf.admin.listen, s->metrics, ready, s, err);
        if (!s->admin) {
            fprintf(stderr, "sori-server: %s\n", err);
            return EX_UNAVAILABLE;
        }
        admin_http_degraded(s->admin, degraded);
        serve_pages(s);
    }
    if (*s->conf.admin.control) {
        s->control = operator_listener_new(s->worker, s->conf.admin.control, s->router, s->listener,
                                           &host, err);
        if (!s->control) {
            fprintf(stderr, "sori-server: %s\n", err);
            return EX_UNAVAILABLE;
        }
    }
    return EX_OK;
}

/* ---- records and pushes ---- */

/* The ledger or the push service has something for the router. */
static void enter_router(void *arg)
{
    struct server *s = arg;

    if (s->listener)
        ws_listener_enter(s->listener);
}

static void sweep(void *arg)
{
    struct server *s = arg;

    ledger_link_sweep(s->ledger);
}

static void enter_apns(void *arg)
{
    struct server *s = arg;

    apns_link_enter(s->apns);
}

static void on_doubt(void *arg, struct slice topic, enum apns_env env, uint64_t since_us)
{
    struct server *s = arg;

    if (router_push(s->router))
        push_doubt(router_push(s->router), topic, apns_service_env(env), since_us);
}

/* The directory is as the ledger has it, or could not be read. */
static void on_devices(void *arg, int rc)
{
    struct server *s = arg;

    if (rc != 0 && rc != -EDQUOT) { /* the ledger's queue is full, or memory is out */
        worker_timer(s->worker, &s->read_timer, worker_now(s->worker) + US_PER_S);
        return;
    }
    __atomic_store_n(&s->loading, false, __ATOMIC_RELAXED);
    log_info("main", "%zu devices can be pushed", device_dir_devices(s->devices));
    if (rc != 0)
        log_error("main", "there are more devices in the ledger than [ledger] devices, "
                          "devices_per_user and tokens_per_device allow: the others are not "
                          "pushed");
}

static void on_read_timer(void *arg, uint64_t now_us)
{
    struct server *s = arg;

    (void)now_us;
    device_read_all(s->reading);
}

/* Another server has changed somebody's devices. */
static void on_changed(void *arg, struct slice user)
{
    struct server *s = arg;

    if (user.len > 0)
        device_read_user(s->reading, user);
    else
        device_read_all(s->reading);
}

/* Keeps the directory as the ledger has it. */
static bool read_devices(struct server *s)
{
    s->read_timer = (struct wtimer){.fn = on_read_timer, .arg = s};
    s->reading = device_read_new(s->devices, ledger_link_ledger(s->ledger), on_devices, s);
    if (!s->reading)
        return false;
    s->loading = true;
    ledger_link_watch(s->ledger, on_changed, s);
    device_read_all(s->reading);
    return true;
}

/* Opens the ledger and the way to Apple, where they are configured. Returns an exit code. */
static int open_services(struct server *s)
{
    const struct server_conf *c = &s->conf;
    char why[LEDGER_LINK_WHY_MAX], err[CONF_ERR_MAX];
    const struct device_dir_conf dir = {.devices = c->ledger.devices,
                                        .devices_per_user = c->ledger.devices_per_user,
                                        .tokens_per_device = c->ledger.tokens_per_device};

    if (!ledger_link_wanted(c) && c->apps.n == 0)
        return EX_OK;
    if (ledger_link_wanted(c) && ledger_link_new(s->worker, c, &s->ledger, why) != 0) {
        fprintf(stderr, "sori-server: %s\n", why);
        return EX_CONFIG;
    }
    if (c->apps.n > 0 && !(s->apns = apns_link_new(s->worker, c, on_doubt, s, err))) {
        fprintf(stderr, "sori-server: %s\n", err);
        return EX_CONFIG;
    }
    s->devices = device_dir_new(&dir);
    if (!s->devices)
        return EX_OSERR;
    if (s->ledger &&
        !(s->exports = export_sock_new(s->worker, s->ledger,
                                       slice_of(c->ledger.token_key.p, c->ledger.token_key.len))))
        return EX_OSERR;
    if (s->ledger)
        router_set_ledger(s->router, ledger_link_ledger(s->ledger), enter_router, sweep, s);
    if (s->apns)
        apns_service_init(&s->apns_service, apns_link_apns(s->apns), enter_apns, enter_router, s);
    if (!router_set_push(s->router, s->devices, s->apns ? &s->apns_service.service : NULL))
        return EX_OSERR;
    if (s->ledger && !read_devices(s))
        return EX_OSERR;
    if (s->ledger)
        ledger_link_metrics(s->ledger, s->metrics);
    if (s->exports)
        server_metrics_exports(s->metrics, export_sock_count(s->exports));
    if (s->apns)
        apns_link_metrics(s->metrics, s->apns);
    server_metrics_push(s->metrics, router_push(s->router));
    return EX_OK;
}

/* The middle, and its way to other nodes. Returns an exit code. */
static int open_router(struct server *s)
{
    char err[TLS_ERR_MAX];

    s->metrics = metrics_new();
    if (!s->metrics)
        return EX_OSERR;
    if (redis_conf_wanted(&s->conf)) {
        s->presence = presence_link_new(s->worker, &s->conf, err);
        if (!s->presence) {
            fprintf(stderr, "sori-server: %s\n", err);
            return EX_CONFIG;
        }
        presence_link_set_enter(s->presence, enter_router, s);
        presence_link_metrics(s->presence, s->metrics);
    }
    s->router =
        router_new(&s->conf, &s->keys, s->presence ? presence_link_store(s->presence) : NULL,
                   clock_now_us(), clock_wall_us());
    if (!s->router)
        return EX_OSERR;
    router_set_enter(s->router, enter_router, s);
    const struct router_nodes nodes =
        s->presence ? presence_link_nodes(s->presence) : (struct router_nodes){0};
    return !s->presence || router_set_nodes(s->router, &nodes) ? EX_OK : EX_OSERR;
}

/* As many descriptors as the system grants. */
static void raise_descriptors(const struct server_conf *conf)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
        return;
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    if (rl.rlim_cur < conf->server.max_connections + 64)
        log_warn("main",
                 "only %llu descriptors are allowed: fewer than max_connections = %llu needs",
                 (unsigned long long)rl.rlim_cur, (unsigned long long)conf->server.max_connections);
}

static int serve(struct server *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    char err[CONF_ERR_MAX];
    int rc = EX_OSERR;

    s->worker = worker_new(0);
    if (!s->worker)
        return EX_OSERR;
    s->start_us = worker_now(s->worker);
    rc = open_router(s);
    if (rc != EX_OK)
        goto out;
    rc = open_services(s);
    if (rc != EX_OK)
        goto out;
    rc = EX_UNAVAILABLE;
    s->listener = ws_listener_new(s->worker, s->router, &s->conf, &s->tls, err);
    if (!s->listener) {
        fprintf(stderr, "sori-server: %s\n", err);
        goto out;
    }
    ws_listener_set_exports(s->listener, s->exports);
    server_metrics_register(s->metrics, router_count(s->router), ws_listener_counters(s->listener));
    rc = EX_CONFIG;
    if (redis_conf_wanted(&s->conf) &&
        !(s->registry = registry_link_new(s->worker, &s->conf, s->router, s->listener, err))) {
        fprintf(stderr, "sori-server: %s\n", err);
        goto out;
    }
    if (s->registry)
        registry_link_metrics(s->registry, s->metrics);
    rc = open_operator(s);
    if (rc != EX_OK)
        goto out;
    rc = EX_OSERR;
    for (size_t i = 0; router_node(s->router, i); i++) {
        s->links[i] = node_link_new(s->worker, s->listener, router_node(s->router, i),
                                    slice_str(s->conf.sfu.nodes.v[i]));
        if (!s->links[i])
            goto out;
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        s->signals[i] = evsignal_new(worker_base(s->worker), numbers[i], on_signal, s);
        if (!s->signals[i] || evsignal_add(s->signals[i], NULL) != 0)
            goto out;
    }
    s->stop_timer = (struct wtimer){.fn = on_stop_timer, .arg = s};
    s->beat_timer = (struct wtimer){.fn = on_beat_timer, .arg = s};
    worker_timer(s->worker, &s->beat_timer, notify_deadline(&s->notify));
    inherited_report();
    log_info("main", "sori-server " SORI_VERSION " is ready%s",
             s->conf.dev.enabled ? " (development mode: anybody gets a token)" : "");
    notify_ready(&s->notify);
    worker_run(s->worker);
    log_info("main", "stopped");
    rc = EX_OK;
out:
    admin_http_stop(s->admin);
    status_board_free(s->board);
    registry_link_free(s->registry);
    for (size_t i = 0; i < ARRAY_LEN(s->links); i++)
        node_link_free(s->links[i]);
    ws_listener_free(s->listener);
    s->listener = NULL;
    export_sock_free(s->exports);
    apns_link_free(s->apns); /* verdicts still come: the push log has them */
    ledger_link_free(s->ledger);
    operator_listener_free(s->control); /* some of it may have waited for the ledger */
    worker_timer_cancel(s->worker, &s->read_timer);
    device_read_free(s->reading);
    router_free(s->router);
    presence_link_free(s->presence);
    device_dir_free(s->devices);
    metrics_free(s->metrics);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (s->signals[i])
            event_free(s->signals[i]);
    worker_free(s->worker);
    return rc;
}

struct options {
    const char *conf_path;
    bool check;
};

/* Reads the command line. Returns -1 to go on, else the exit code. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0}};

    for (int ch; (ch = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1;) {
        switch (ch) {
        case 'c':
            o->conf_path = optarg;
            break;
        case 'k':
            o->check = true;
            break;
        case 'p':
            conf_print(server_conf_opts, server_conf_opts_n, stdout);
            return EX_OK;
        case 'h':
            fputs(USAGE, stdout);
            return EX_OK;
        case 'V':
            puts("sori-server " SORI_VERSION);
            return EX_OK;
        default:
            fputs("Try sori-server --help\n", stderr);
            return EX_USAGE;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "sori-server: unexpected argument '%s'\n", argv[optind]);
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    static struct server s;
    struct options o = {0};
    char err[CONF_ERR_MAX];
    int rc = read_options(argc, argv, &o);

    if (rc >= 0)
        return rc;
    if (server_conf_load(&s.conf, o.conf_path, err) != 0) {
        fprintf(stderr, "sori-server: %s\n", err);
        return EX_CONFIG;
    }
    s.conf_path = o.conf_path;
    log_setup((enum log_level)s.conf.log.level, (enum log_format)s.conf.log.format, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    rc = EX_CONFIG;
    if (notify_init(&s.notify) != 0 || inherited_init() < 0) {
        fputs(
            "sori-server: NOTIFY_SOCKET, WATCHDOG_USEC or LISTEN_FDS of the environment cannot be "
            "used: start it by systemd, or without them\n",
            stderr);
    } else if (load_files(&s, &s.conf, err) != 0 ||
               (o.check && apns_link_check(&s.conf, err) != 0)) {
        fprintf(stderr, "sori-server: %s\n", err);
    } else if (o.check) {
        puts("configuration ok");
        rc = EX_OK;
    } else {
        raise_descriptors(&s.conf);
        rc = serve(&s);
    }
    notify_fini(&s.notify);
    token_keys_free(s.keys);
    tls_ctx_free(s.tls);
    server_conf_free(&s.conf);
    return rc;
}

/* Push over real connections: one HTTP/2 client for each lane, a timer, the doors of the machine.
 *
 * Made by main.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_link.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "net/worker.h"
#include "server/apns_keys.h"
#include "server/h2_client_link.h"

#include <errno.h>
#include <stdio.h>

#define LANES_MAX  (APNS_KEYS_MAX * APNS_CLASSES)
#define HOST_MAX   256
#define LABEL_MAX  160
#define DETAIL_MAX (LABEL_MAX + 32)
#define DETAILS    (H2_ENDS + 2 + H2_POOL_CONNS_MAX) /* of a lane */
#define STREAMS    1000

struct apns_link {
    struct worker *worker;
    const struct server_conf *conf;
    struct apns_keys *keys;
    struct apns *apns;
    struct h2_client *clients[LANES_MAX];
    void (*doubt)(void *arg, struct slice topic, enum apns_env env, uint64_t since_us);
    void *arg;
    struct wtimer timer, look;
    uint64_t up_us;   /* when every lane was last seen connected, or the start */
    const char *down; /* atomic */
    char labels[LANES_MAX][LABEL_MAX];
    char (*details)[DETAIL_MAX]; /* DETAILS of each lane; NULL: not registered */
    size_t details_n;
};

/* ---- the machine's doors ---- */

static int do_send(void *arg, unsigned lane, const struct h2_request *q, h2_done_fn *done,
                   void *ctx, unsigned avoid_conn, uint64_t now_us)
{
    struct apns_link *l = arg;

    (void)now_us;
    return h2_client_send(l->clients[lane], q, done, ctx, avoid_conn);
}

static void do_retire(void *arg, unsigned lane, unsigned conn, uint64_t now_us)
{
    struct apns_link *l = arg;

    h2_pool_retire(h2_client_pool(l->clients[lane]), conn, now_us);
}

static void do_doubt(void *arg, struct slice topic, enum apns_env env, uint64_t since_us)
{
    struct apns_link *l = arg;

    if (l->doubt)
        l->doubt(l->arg, topic, env, since_us);
}

static void do_wake(void *arg)
{
    struct apns_link *l = arg;

    worker_timer(l->worker, &l->timer, apns_deadline(l->apns));
}
static const struct apns_ops OPS = {do_send, do_retire, do_doubt, do_wake};

void apns_link_enter(struct apns_link *l)
{
    apns_clock(l->apns, worker_now(l->worker), clock_wall_us());
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct apns_link *l = arg;

    (void)now_us;
    apns_link_enter(l);
    apns_tick(l->apns);
    worker_timer(l->worker, &l->timer, apns_deadline(l->apns));
}

/* Looks once a second whether every lane has a connection. */
static void on_look(void *arg, uint64_t now_us)
{
    struct apns_link *l = arg;
    unsigned n = apns_lanes(l->apns), up = 0;

    for (unsigned i = 0; i < n; i++)
        up += h2_pool_up(h2_client_pool(l->clients[i])) > 0;
    if (up == n)
        l->up_us = now_us;
    bool down = now_us - l->up_us >= APNS_LINK_DOWN_US;
    __atomic_store_n(&l->down,
                     down ? "no connection to Apple's push service: the log says why" : NULL,
                     __ATOMIC_RELAXED);
    worker_timer(l->worker, &l->look, now_us + US_PER_S);
}

const char *apns_link_trouble(const struct apns_link *l)
{
    const char *what = apns_trouble(l->apns);

    return what ? what : __atomic_load_n(&l->down, __ATOMIC_RELAXED);
}

struct apns *apns_link_apns(struct apns_link *l)
{
    return l->apns;
}

/* ---- making ---- */

/* "host:port" or "host". */
static int split_host(const char *text, char host[HOST_MAX], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    struct slice name = colon ? slice_of(text, (size_t)(colon - text)) : slice_str(text);
    uint64_t n = 443;

    if (colon && (slice_to_u64(slice_str(colon + 1), UINT16_MAX, &n) != 0 || n == 0))
        return -EINVAL;
    *port = (uint16_t)n;
    return name.len > 0 ? slice_to_cstr(name, host, HOST_MAX) : -EINVAL;
}

static int make_client(struct apns_link *l, unsigned lane, char err[CONF_ERR_MAX])
{
    const struct server_conf *conf = l->conf;
    const struct apns_key *key = &apns_keys_conf(l->keys)->keys[apns_lane_key(lane)];
    bool sandbox = key->env == APNS_SANDBOX;
    const char *where = sandbox ? conf->apns.sandbox : conf->apns.production;
    char host[HOST_MAX], name[80], auth[512] = "", why[TLS_ERR_MAX];
    struct h2_client_conf c = {.name = name, .host = host, .pool = H2_POOL_CONF_DEFAULT};

    if (split_host(where, host, &c.port) != 0) {
        snprintf(err, CONF_ERR_MAX, "[apns] %s = %s: expected host:port",
                 sandbox ? "sandbox" : "production", where);
        return -EINVAL;
    }
    if (slice_to_cstr(slice_of(conf->apns.proxy_auth.p, conf->apns.proxy_auth.len), auth,
                      sizeof(auth)) != 0) {
        snprintf(err, CONF_ERR_MAX, "[apns] proxy_auth_file: longer than %zu bytes",
                 sizeof(auth) - 1);
        return -EINVAL;
    }
    snprintf(name, sizeof(name), "apns %s %.*s %s", apns_env_name(key->env), SLICE_FMT(key->kid),
             apns_lane_class(lane) == APNS_CALL ? "call" : "other");
    c.proxy = *conf->apns.proxy ? conf->apns.proxy : NULL;
    c.proxy_auth = *auth ? auth : NULL;
    c.ca_file = *conf->apns.ca_file ? conf->apns.ca_file : NULL;
    c.cert_file = apns_keys_cert(l->keys, apns_lane_key(lane), &c.key_file);
    c.pool.conns = (unsigned)conf->apns.connections;
    c.pool.streams_max = STREAMS;
    l->clients[lane] = h2_client_new(l->worker, &c, why);
    crypto_wipe(auth, sizeof(auth));
    if (l->clients[lane])
        return 0;
    snprintf(err, CONF_ERR_MAX, "[apns]: %s", why);
    return -EINVAL;
}

/* Reads what key i's connections read. */
static int check_files(const struct server_conf *conf, const struct apns_keys *keys, size_t i,
                       char err[CONF_ERR_MAX])
{
    const char *ca = *conf->apns.ca_file ? conf->apns.ca_file : NULL, *cert_key;
    const char *cert = apns_keys_cert(keys, i, &cert_key);
    char why[TLS_ERR_MAX];
    struct tls_ctx *tls = tls_client_ctx_new(ca, cert, cert_key, "h2", why);

    if (!tls) {
        snprintf(err, CONF_ERR_MAX, "[apns]: %s", why);
        return -EINVAL;
    }
    tls_ctx_free(tls);
    return 0;
}

int apns_link_check(const struct server_conf *conf, char err[CONF_ERR_MAX])
{
    const char *const hosts[] = {conf->apns.production, conf->apns.sandbox};
    char host[HOST_MAX];
    uint16_t port;
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (split_host(hosts[i], host, &port) != 0) {
            snprintf(err, CONF_ERR_MAX, "[apns] %s = %s: expected host:port",
                     i == 0 ? "production" : "sandbox", hosts[i]);
            return -EINVAL;
        }
    struct apns_keys *keys = apns_keys_load(conf, err);
    if (!keys)
        return -EINVAL;
    for (size_t i = 0; i < apns_keys_conf(keys)->keys_n && rc == 0; i++)
        rc = check_files(conf, keys, i, err);
    apns_keys_free(keys);
    return rc;
}

struct apns_link *apns_link_new(struct worker *w, const struct server_conf *conf,
                                void (*doubt)(void *arg, struct slice topic, enum apns_env env,
                                              uint64_t since_us),
                                void *arg, char err[CONF_ERR_MAX])
{
    struct apns_link *l = mem_zalloc(sizeof(*l));
    uint64_t now_us = worker_now(w);
    int rc = 0;

    snprintf(err, CONF_ERR_MAX, "out of memory");
    if (!l)
        return NULL;
    l->worker = w;
    l->conf = conf;
    l->doubt = doubt;
    l->arg = arg;
    l->timer = (struct wtimer){.fn = on_timer, .arg = l};
    l->look = (struct wtimer){.fn = on_look, .arg = l};
    l->up_us = now_us;
    l->keys = apns_keys_load(conf, err);
    if (l->keys) {
        snprintf(err, CONF_ERR_MAX, "out of memory");
        l->apns = apns_new(apns_keys_conf(l->keys), &OPS, l, now_us, clock_wall_us());
    }
    for (unsigned i = 0; l->apns && i < apns_lanes(l->apns) && rc == 0; i++)
        rc = make_client(l, i, err);
    if (!l->apns || rc != 0) {
        apns_link_free(l);
        return NULL;
    }
    worker_timer(w, &l->look, now_us + US_PER_S);
    return l;
}

void apns_link_free(struct apns_link *l)
{
    if (!l)
        return;
    worker_timer_cancel(l->worker, &l->look);
    for (unsigned i = 0; i < LANES_MAX; i++)
        h2_client_free(l->clients[i]);
    worker_timer_cancel(l->worker, &l->timer);
    apns_free(l->apns);
    apns_keys_free(l->keys);
    mem_free(l->details);
    mem_free(l);
}

int apns_link_reload(struct apns_link *l, const struct server_conf *fresh, char err[CONF_ERR_MAX])
{
    struct apns_keys *k = apns_keys_load(fresh, err);
    int changed = 0;

    if (!k)
        return -EINVAL;
    if (!apns_keys_alike(k, l->keys)) {
        snprintf(err, CONF_ERR_MAX,
                 "[app NAME]: apps, or their environments, have come or gone: restart for that");
        apns_keys_free(k);
        return -EINVAL;
    }
    apns_link_enter(l);
    for (size_t i = 0; i < apns_keys_conf(k)->keys_n; i++) {
        const struct apns_key *key = &apns_keys_conf(k)->keys[i];
        if (!key->signer)
            continue;
        bool differs = apns_keys_differ(k, l->keys, i);
        changed += differs;
        if (differs)
            (void)apns_rekey(l->apns, i, key->team, key->kid, key->signer);
        else
            apns_resign(l->apns, i, key->signer);
    }
    apns_keys_free(l->keys);
    l->keys = k;
    return changed;
}

/* ---- metrics ---- */

/* The labels of a lane with one more. They live as long as the link. */
static const char *more_label(struct apns_link *l, unsigned lane, const char *key, const char *word)
{
    char *text = l->details[l->details_n++];

    snprintf(text, DETAIL_MAX, "%s,%s=\"%s\"", l->labels[lane], key, word);
    return text;
}

/* What has a table of words, or of connections. */
static void add_details(struct metrics *m, struct apns_link *l, unsigned lane,
                        const struct h2_pool_stats *s)
{
    static const char moved[] = "sori_push_moved_total";
    static const char moved_help[] = "Requests that went over another connection, not processed.";
    char slot[16];

    for (unsigned e = 0; e < H2_ENDS; e++)
        metrics_add(m, "sori_push_conn_ended_total",
                    more_label(l, lane, "why", h2_end_name((enum h2_end)e)),
                    "Connections to APNs that ended, or did not come up.", METRIC_COUNTER,
                    &s->ended[e]);
    metrics_add(m, moved, more_label(l, lane, "why", "refused"), moved_help, METRIC_COUNTER,
                &s->moved_refused);
    metrics_add(m, moved, more_label(l, lane, "why", "goaway"), moved_help, METRIC_COUNTER,
                &s->moved_goaway);
    for (unsigned i = 0; i < l->conf->apns.connections; i++) {
        snprintf(slot, sizeof(slot), "%u", i);
        metrics_add(m, "sori_push_streams_limit", more_label(l, lane, "connection", slot),
                    "Streams that APNs allows on a connection; 0: it is not up.", METRIC_GAUGE,
                    &s->streams[i]);
    }
}

void apns_link_metrics(struct metrics *m, struct apns_link *l)
{
    apns_metrics_register(m, l->apns);
    l->details = mem_calloc(apns_lanes(l->apns) * DETAILS, sizeof(*l->details));
    for (unsigned i = 0; i < apns_lanes(l->apns); i++) {
        const struct apns_key *key = &apns_keys_conf(l->keys)->keys[apns_lane_key(i)];
        const struct h2_pool_stats *s = h2_pool_stats(h2_client_pool(l->clients[i]));
        const struct {
            const char *name, *help;
            enum metric_type type;
            const struct counter *cell;
        } list[] = {
            {"sori_push_connections", "Connections to APNs that are up.", METRIC_GAUGE, &s->up},
            {"sori_push_waiting", "Requests that wait for a connection.", METRIC_GAUGE,
             &s->waiting},
            {"sori_push_inflight", "Requests under way.", METRIC_GAUGE, &s->inflight},
            {"sori_push_conn_opened_total", "Connections opened.", METRIC_COUNTER, &s->opened},
            {"sori_push_conn_goaway_total", "Connections that APNs said GOAWAY on.", METRIC_COUNTER,
             &s->goaways},
            {"sori_push_resent_total", "Requests sent again after nothing was heard of them.",
             METRIC_COUNTER, &s->resent},
        };
        snprintf(l->labels[i], LABEL_MAX, "env=\"%s\",key=\"%.*s\",pool=\"%s\"",
                 apns_env_name(key->env), SLICE_FMT(key->kid),
                 apns_lane_class(i) == APNS_CALL ? "call" : "other");
        for (size_t k = 0; k < ARRAY_LEN(list); k++)
            metrics_add(m, list[k].name, l->labels[i], list[k].help, list[k].type, list[k].cell);
        if (l->details)
            add_details(m, l, i, s);
    }
}

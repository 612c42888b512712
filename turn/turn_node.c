/* The whole relay: workers, what they share, reload.
 *
 * Called by main.c, in the main thread only. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_node.h"

#include <errno.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/tls.h"
#include "turn/handover.h"
#include "turn/turn_redis_link.h"
#include "turn/turn_tcp_listener.h"
#include "turn/turn_worker.h"

#define OWN_MAX (256 + TURN_LISTEN_MAX * 3 + TURN_RELAYS_MAX * 2)

struct turn_node {
    struct turn_shared shared;
    struct turn_relay relays[TURN_RELAYS_MAX];
    struct addr relay_addrs[2 * TURN_RELAYS_MAX]; /* bound and shown, for the policy */
    struct addr own[OWN_MAX];
    size_t n_own;
    struct addr udp_shown[TURN_LISTEN_MAX]; /* UDP listeners as clients see them */
    struct turn_worker **workers;
    unsigned n_workers, n_started;
    struct counter draining; /* 0 or 1; main thread */
    struct turn_redis_link *redis;
    struct usage_writer *writer;
    struct offload *offload; /* NULL: off */
};

/* Link-local addresses need a scope that struct addr does not carry: nobody listens there. */
static bool is_link_local(const struct addr *a)
{
    return a->family == ADDR_V6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/* Replaces wildcards by the machine's addresses of that family: then each answer leaves from the
 * address that was asked, without looking at control messages per packet. */
static int expand(const struct turn_node *n, struct addr *v, size_t *count, char err[CONF_ERR_MAX])
{
    struct addr out[TURN_LISTEN_MAX] = {0};
    size_t k = 0;

    for (size_t i = 0; i < *count; i++) {
        size_t from = addr_is_wildcard(&v[i]) ? 0 : n->n_own;
        if (from == n->n_own && k < TURN_LISTEN_MAX)
            out[k++] = v[i];
        for (size_t j = from; j < n->n_own && k < TURN_LISTEN_MAX; j++) {
            if (n->own[j].family == v[i].family && !is_link_local(&n->own[j]))
                out[k++] = addr_with_port(n->own[j], v[i].port);
        }
    }
    if (*count > 0 && k == 0) {
        snprintf(err, CONF_ERR_MAX, "no interface has an address to listen on");
        return -EADDRNOTAVAIL;
    }
    memcpy(v, out, k * sizeof(out[0]));
    *count = k;
    return 0;
}

static int find_own(struct turn_node *n, char err[CONF_ERR_MAX])
{
    int found = udp_own_addresses(n->own, OWN_MAX);

    if (found < 0) {
        snprintf(err, CONF_ERR_MAX, "cannot list interfaces: %s", strerror(-found));
        return found;
    }
    n->n_own = (size_t)found;
    return 0;
}

static void add_own(struct turn_node *n, const struct addr *v, size_t count)
{
    for (size_t i = 0; i < count && n->n_own < OWN_MAX; i++)
        n->own[n->n_own++] = addr_with_port(v[i], 0);
}

/* Relay addresses: as configured, else where we listen for UDP, each once. */
static void default_relays(struct turn_conf *c)
{
    for (size_t i = 0; i < c->n_udp && c->relay_text.n == 0; i++) {
        bool seen = false;
        for (size_t j = 0; j < c->n_relay; j++)
            seen = seen || addr_ip_eq(&c->relay[j], &c->listen_udp[i]);
        if (!seen && c->n_relay < TURN_RELAYS_MAX)
            c->relay[c->n_relay++] = addr_with_port(c->listen_udp[i], 0);
    }
}

static void make_relays(struct turn_node *n, const struct turn_conf *c)
{
    for (size_t i = 0; i < c->n_relay; i++) {
        struct turn_relay *r = &n->relays[i];
        r->bound = r->shown = c->relay[i];
        for (size_t j = 0; j < c->n_external; j++) {
            if (addr_ip_eq(&c->external[j].bound, &r->bound))
                r->shown = c->external[j].shown;
        }
        portpool_init(&r->pool, (uint16_t)c->min_port, (uint16_t)c->max_port);
        n->relay_addrs[2 * i] = r->bound;
        n->relay_addrs[2 * i + 1] = r->shown;
    }
    n->shared.relays = n->relays;
    n->shared.n_relays = c->n_relay;
}

static void make_discovery(struct turn_node *n, const struct turn_conf *c)
{
    for (size_t i = 0; i < c->n_udp; i++) {
        n->udp_shown[i] = c->listen_udp[i];
        for (size_t j = 0; j < c->n_external; j++) {
            if (addr_ip_eq(&c->external[j].bound, &c->listen_udp[i]))
                n->udp_shown[i] = addr_with_port(c->external[j].shown, c->listen_udp[i].port);
        }
    }
    n->shared.discovery = n->udp_shown;
    n->shared.n_discovery = c->nat_discovery ? c->n_udp : 0;
}

static void make_policy(struct turn_node *n, const struct turn_conf *c)
{
    add_own(n, c->listen_udp, c->n_udp);
    add_own(n, c->listen_tcp, c->n_tcp);
    add_own(n, c->listen_tls, c->n_tls);
    for (size_t i = 0; i < c->n_external; i++)
        add_own(n, &c->external[i].shown, 1);
    n->shared.policy = (struct peer_policy){
        .own = n->own,
        .n_own = n->n_own,
        .relay = n->relay_addrs,
        .n_relay = 2 * c->n_relay,
        .allow = c->allow.v,
        .n_allow = c->allow.n,
        .deny = c->deny.v,
        .n_deny = c->deny.n,
        .allow_relay_to_relay = c->allow_relay_to_relay,
        .allow_private = c->allow_private,
        .allow_own = c->allow_own,
        .allow_loopback = c->allow_loopback,
    };
    n->shared.clients = (struct client_policy){
        .allow = c->allow_clients.v,
        .n_allow = c->allow_clients.n,
        .deny = c->deny_clients.v,
        .n_deny = c->deny_clients.n,
        .proxies = c->proxies.v,
        .n_proxies = c->proxies.n,
    };
}

/* The address of a listener; a wildcard names all with its port. */
static bool names_listener(const struct addr *named, const struct addr *listener)
{
    return addr_eq(named, listener) ||
           (addr_is_wildcard(named) && named->family == listener->family &&
            named->port == listener->port);
}

/* Marks those of the listeners, numbered from first, that the realm's addresses name; used[i] says
 * that the i-th address has named one. */
static void mark_listeners(struct realm *r, const struct turn_realm_conf *c, const struct addr *v,
                           size_t n, size_t first, bool *used)
{
    for (size_t k = 0; k < c->n_listeners; k++) {
        for (size_t i = 0; i < n && first + i < REALM_LISTENERS_MAX; i++) {
            if (names_listener(&c->listeners[k], &v[i]))
                r->listeners[first + i] = used[k] = true;
        }
    }
}

static int make_realm(struct realm_table *t, unsigned i, const struct turn_realm_view *v,
                      const struct turn_conf *c, char err[CONF_ERR_MAX])
{
    bool used[TURN_LISTEN_MAX] = {0};
    struct realm *r = &t->of[i];
    char text[ADDR_TEXT_MAX];

    r->name = v->name;
    t->n = i + 1;
    if (!v->conf)
        return 0;
    mark_listeners(r, v->conf, c->listen_udp, c->n_udp, 0, used);
    mark_listeners(r, v->conf, c->listen_tcp, c->n_tcp, c->n_udp, used);
    mark_listeners(r, v->conf, c->listen_tls, c->n_tls, c->n_udp + c->n_tcp, used);
    for (size_t k = 0; k < v->conf->n_listeners; k++) {
        if (used[k])
            continue;
        snprintf(err, CONF_ERR_MAX, "[realm %.*s] listeners: we do not listen on %s",
                 SLICE_FMT(v->name), addr_format(&v->conf->listeners[k], text));
        return -EINVAL;
    }
    r->has_listeners = v->conf->n_listeners > 0;
    r->has_hosts = v->conf->hosts.n > 0;
    for (size_t k = 0; k < v->conf->hosts.n; k++)
        t->hosts[t->n_hosts++] = (struct realm_host){slice_str(v->conf->hosts.v[k]), i};
    for (size_t k = 0; k < v->conf->origins.n; k++)
        r->origins[r->n_origins++] = slice_str(v->conf->origins.v[k]);
    return 0;
}

/* Realms and their quotas, after wildcards among the listeners have become addresses. */
static int make_realms(struct turn_node *n, const struct turn_conf *c, char err[CONF_ERR_MAX])
{
    struct quota_rule rules[REALMS_MAX];
    unsigned count = turn_conf_realms(c);

    for (unsigned i = 0; i < count; i++) {
        struct turn_realm_view v = turn_conf_realm(c, i);
        int e = make_realm(&n->shared.realms, i, &v, c, err);
        if (e)
            return e;
        rules[i] = v.rule;
    }
    n->shared.quota = quota_new(rules, count, c->total);
    if (n->shared.quota)
        return 0;
    snprintf(err, CONF_ERR_MAX, "out of memory");
    return -ENOMEM;
}

/* The credentials of all realms, the default one's first. */
static struct credentials *make_chain(const struct turn_conf *c, const struct shared_secrets *s,
                                      char err[CONF_ERR_MAX])
{
    struct credentials *chain = NULL;

    for (unsigned i = turn_conf_realms(c); i-- > 0;) {
        struct turn_realm_view v = turn_conf_realm(c, i);
        struct slice secrets[TURN_SECRETS_MAX + SHARED_SECRETS_MAX];
        size_t n = 0;
        for (size_t k = 0; k < v.n_secrets; k++)
            secrets[n++] = v.secrets[k];
        for (unsigned k = 0; k < s->of[i].n; k++)
            secrets[n++] = slice_of(s->of[i].bytes[k], s->of[i].len[k]);
        const struct credentials_spec spec = {
            .realm = v.name,
            .users = v.users,
            .secrets = secrets,
            .n_secrets = n,
            .access_keys = v.access_keys,
            .server = v.server,
            .elsewhere = c->redis_users,
            .elsewhere_sha256 = c->redis_users_sha256,
        };
        char why[CREDENTIALS_ERR_MAX];
        struct credentials *creds = credentials_new(&spec, why);
        if (!creds) {
            snprintf(err, CONF_ERR_MAX, "realm %.*s: %s", SLICE_FMT(v.name), why);
            credentials_free(chain);
            return NULL;
        }
        credentials_chain(creds, chain);
        chain = creds;
    }
    return chain;
}

static struct credentials *make_credentials(const struct turn_node *n, const struct turn_conf *c,
                                            char err[CONF_ERR_MAX])
{
    struct shared_secrets s = {0};

    if (n->redis)
        turn_redis_link_secrets(n->redis, &s);
    struct credentials *chain = make_chain(c, &s, err);
    crypto_wipe(&s, sizeof(s));
    return chain;
}

/* A reload brings secrets and users of the realms that are there, not others. */
static bool has_same_realms(const struct turn_node *n, const struct turn_conf *fresh)
{
    bool same = turn_conf_realms(fresh) == n->shared.realms.n;

    for (unsigned i = 0; same && i < turn_conf_realms(fresh); i++)
        same = slice_eq(turn_conf_realm(fresh, i).name, realm_name(&n->shared.realms, i));
    return same;
}

static int make_shared(struct turn_node *n, struct turn_conf *c, char err[CONF_ERR_MAX])
{
    int e = find_own(n, err);

    if (!e)
        e = expand(n, c->listen_udp, &c->n_udp, err);
    if (!e)
        e = expand(n, c->listen_tcp, &c->n_tcp, err);
    if (!e)
        e = expand(n, c->listen_tls, &c->n_tls, err);
    if (e)
        return e;
    default_relays(c);
    make_relays(n, c);
    make_policy(n, c);
    make_discovery(n, c);
    n->shared.limits = turn_conf_limits(c);
    memcpy(n->shared.alternate, c->alternate, sizeof(n->shared.alternate));
    n->shared.software = slice_str(c->software);
    n->shared.alternate_domain = slice_str(c->alternate_domain);
    n->shared.alternate_when_full = c->alternate_when_full;
    e = make_realms(n, c, err);
    if (e)
        return e;
    n->shared.reserve = reserve_new();
    rand_bytes(n->shared.ticket_key, sizeof(n->shared.ticket_key));
    n->shared.conn_ids = conn_ids_new((unsigned)c->tcp_connections);
    rand_bytes(n->shared.nonce_master, sizeof(n->shared.nonce_master));
    rand_bytes(n->shared.cookie_master, sizeof(n->shared.cookie_master));
    if (n->shared.reserve && n->shared.conn_ids)
        return 0;
    snprintf(err, CONF_ERR_MAX, "out of memory");
    return -ENOMEM;
}

static int register_udp(struct metrics *m, const struct udp_stats *s)
{
    static const char drops[] = "sori_turn_udp_dropped_total";
    static const char help[] = "Datagrams lost at a socket, by reason";

    int e = metrics_add(m, "sori_turn_udp_received_total", "", "Datagrams received", METRIC_COUNTER,
                        &s->recv_pkts);
    if (!e)
        e = metrics_add(m, "sori_turn_udp_sent_total", "", "Datagrams sent", METRIC_COUNTER,
                        &s->sent_pkts);
    if (!e)
        e = metrics_add(m, drops, "reason=\"overflow\"", help, METRIC_COUNTER, &s->overflow);
    if (!e)
        e = metrics_add(m, drops, "reason=\"truncated\"", help, METRIC_COUNTER, &s->truncated);
    if (!e)
        e = metrics_add(m, drops, "reason=\"full\"", help, METRIC_COUNTER, &s->full);
    if (!e)
        e = metrics_add(m, drops, "reason=\"failed\"", help, METRIC_COUNTER, &s->failed);
    return e;
}

static int make_worker(struct turn_node *n, const struct turn_conf *c, struct metrics *m,
                       char err[CONF_ERR_MAX])
{
    struct credentials *creds = make_credentials(n, c, err);
    struct turn_worker *w;

    if (!creds)
        return -EINVAL;
    w = turn_worker_new(n->n_workers, c, &n->shared, creds, n->redis, n->writer, n->offload, err);
    if (!w)
        return -EINVAL;
    w->all = n->workers;
    n->workers[n->n_workers++] = w;
    if (turn_metrics_register(m, &w->core.metrics) == 0 &&
        register_udp(m, udp_io_stats(w->io)) == 0 && offload_register(m, &w->offload) == 0 &&
        metrics_add_histogram(m, "sori_turn_loop_busy_seconds", "",
                              "Time that a turn of a worker's loop took", &w->busy) == 0)
        return 0;
    snprintf(err, CONF_ERR_MAX, "out of memory");
    return -ENOMEM;
}

struct turn_node *turn_node_new(struct turn_conf *conf, struct metrics *m,
                                struct turn_redis_link *redis, struct usage_writer *writer,
                                char err[CONF_ERR_MAX])
{
    struct turn_node *n = mem_zalloc(sizeof(*n));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = conf->threads > 0 ? (unsigned)conf->threads
                       : cores > 0       ? (unsigned)cores
                                         : 1;

    snprintf(err, CONF_ERR_MAX, "out of memory");
    if (!n)
        return NULL;
    n->redis = redis;
    n->writer = writer;
    n->workers = mem_calloc(threads, sizeof(struct turn_worker *));
    if (!n->workers || make_shared(n, conf, err) != 0)
        goto fail;
    if (conf->offload == TURN_OFFLOAD_TC && !(n->offload = offload_new(conf, err)))
        goto fail;
    for (unsigned i = 0; i < threads; i++) {
        if (make_worker(n, conf, m, err) != 0)
            goto fail;
    }
    for (unsigned i = 0; i < threads; i++)
        n->workers[i]->core.n_workers = threads;
    if (threads > 1 && handover_open(n->workers, threads, (size_t)conf->handover_buffer_bytes) != 0)
        goto fail;
    if (metrics_add(m, "sori_turn_draining", "", "1 while no new allocation is made", METRIC_GAUGE,
                    &n->draining) != 0)
        goto fail;
    if (redis && turn_redis_link_attach(redis, n->workers, n->n_workers) != 0)
        goto fail;
    return n;
fail:
    turn_node_free(n);
    return NULL;
}

int turn_node_start(struct turn_node *n)
{
    for (; n->n_started < n->n_workers; n->n_started++) {
        int err = worker_start(n->workers[n->n_started]->loop, "turn");
        if (err)
            return err;
    }
    return 0;
}

/* Makes what a reload brings for one worker. Returns 0 or -EINVAL with err; nothing is held then.
 */
static int make_renewal(const struct turn_node *n, const struct turn_conf *fresh,
                        struct credentials **creds, struct tls_ctx **tls, char err[CONF_ERR_MAX])
{
    *tls = NULL;
    *creds = make_credentials(n, fresh, err);
    if (!*creds)
        return -EINVAL;
    if (!turn_conf_wants_tls(n->workers[0]->conf) || fresh->cert_file[0] == '\0')
        return 0;
    char why[TLS_ERR_MAX];
    *tls = turn_worker_tls(fresh, why);
    if (*tls)
        return 0;
    snprintf(err, CONF_ERR_MAX, "[tls] %s", why);
    credentials_free(*creds);
    return -EINVAL;
}

int turn_node_reload(struct turn_node *n, const struct turn_conf *fresh, char err[CONF_ERR_MAX])
{
    struct credentials **creds = mem_calloc(n->n_workers, sizeof(struct credentials *));
    struct tls_ctx **tls = mem_calloc(n->n_workers, sizeof(struct tls_ctx *));
    unsigned made = 0;
    int e = creds && tls ? 0 : -ENOMEM;

    snprintf(err, CONF_ERR_MAX, "out of memory");
    if (!e && !has_same_realms(n, fresh)) {
        snprintf(err, CONF_ERR_MAX, "other realms than before: they need a restart");
        e = -EINVAL;
    }
    while (!e && made < n->n_workers) {
        e = make_renewal(n, fresh, &creds[made], &tls[made], err);
        if (!e)
            made++;
    }
    for (unsigned i = 0; i < made; i++) {
        if (e) {
            credentials_free(creds[i]);
            tls_ctx_free(tls[i]);
        } else if (turn_worker_reload(n->workers[i], creds[i], tls[i]) != 0) {
            /* Without memory for a mailbox entry: this worker keeps the old ones. */
            e = 0;
        }
    }
    mem_free(creds);
    mem_free(tls);
    return e;
}

/* Runs the mail that is under way between the workers, whose threads have ended, and stops it. */
static void settle(struct turn_node *n)
{
    bool some = true;

    while (some) {
        some = false;
        for (unsigned i = 0; i < n->n_workers; i++)
            some = worker_settle(n->workers[i]->loop) || some;
    }
    for (unsigned i = 0; i < n->n_workers; i++)
        n->workers[i]->stopped = true;
}

void turn_node_free(struct turn_node *n)
{
    if (!n)
        return;
    if (n->redis)
        turn_redis_link_detach(n->redis);
    for (unsigned i = 0; i < n->n_started; i++)
        worker_stop(n->workers[i]->loop);
    for (unsigned i = 0; i < n->n_started; i++)
        worker_join(n->workers[i]->loop);
    settle(n);
    for (unsigned i = 0; i < n->n_workers; i++)
        turn_worker_free(n->workers[i]);
    offload_free(n->offload);
    mem_free(n->workers);
    quota_free(n->shared.quota);
    reserve_free(n->shared.reserve);
    conn_ids_free(n->shared.conn_ids);
    mem_free(n);
}

unsigned turn_node_threads(const struct turn_node *n)
{
    return n->n_workers;
}

static void on_publish(struct turn_worker *w, void *arg, uint64_t now_us)
{
    (void)now_us;
    w->registrar = arg;
}

void turn_node_publish(struct turn_node *n, struct registrar *r)
{
    for (unsigned i = 0; i < turn_node_threads(n); i++)
        while (turn_worker_call(turn_node_worker(n, i), on_publish, r) != 0)
            continue; /* it has to know that r is going: memory comes back */
}

void turn_node_drain(struct turn_node *n)
{
    turn_shared_drain(&n->shared);
    if (counter_get(&n->draining) == 0)
        counter_inc(&n->draining);
}

uint64_t turn_node_allocations(const struct turn_node *n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n->n_workers; i++)
        sum += counter_get(&n->workers[i]->core.metrics.allocations);
    return sum;
}

const char *turn_node_io(const struct turn_node *n, const char **why)
{
    *why = n->workers[0]->io_why;
    return udp_io_backend(n->workers[0]->io);
}

const char *turn_node_offload(const struct turn_node *n)
{
    return n->offload ? offload_devices(n->offload) : NULL;
}

struct turn_worker *turn_node_worker(const struct turn_node *n, unsigned i)
{
    return n->workers[i];
}

const struct turn_shared *turn_node_shared(const struct turn_node *n)
{
    return &n->shared;
}

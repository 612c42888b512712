/* Reads which relays and media servers have registered themselves, and keeps a connection to each
 * of the media servers.
 *
 * Made by main.c. A connection to Redis of its own, twice a second two questions over it;
 * node_list.c has the answers. A media server's truth is its control connection: who is missing in
 * Redis and connected stays; who is missing and not connected, or silent, is dead, and its rooms
 * move at once if there is another. SPDX-License-Identifier: BSD-3-Clause */
#include "server/registry_link.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/redis_link.h"
#include "net/resolve.h"
#include "net/worker.h"
#include "server/node.h"
#include "server/node_link.h"
#include "server/node_list.h"
#include "server/redis_conf.h"
#include "server/relay_media.h"
#include "server/router.h"
#include "server/ws_listener.h"

#define POLL_US   (500 * US_PER_MS)
#define TOLD_US   (3 * US_PER_S)
#define SILENT_US (3 * US_PER_S) /* a media server speaks at least each 2 s */
#define TEXT_MAX  (NODE_RECORD_NAME_MAX + 1 + NODE_RECORD_PLACE + 32 + NODE_RECORD_NAME_MAX)

/* A media server that registered itself. */
struct member {
    struct node_link *link; /* NULL: this place is free */
    size_t index;           /* of its node in the router */
    uint64_t epoch;
    char name[NODE_RECORD_NAME_MAX + 1];
    char text[TEXT_MAX]; /* as in [sfu] nodes */
};

struct question {
    struct registry_link *k;
    enum node_kind kind;
    struct redis_call call;
    bool asking;
};

struct registry_link {
    struct worker *worker;
    const struct server_conf *conf;
    struct router *router;
    struct ws_listener *listener;
    struct node_list *list;
    struct redis_link *redis, *ears;
    struct slice channel; /* that relays tell in how media fares */
    uint8_t channel_buf[NODE_RECORD_KEY_MAX];
    struct resolver *resolver;
    struct tls_ctx *tls;
    struct wtimer poll;
    uint64_t begun_us;
    bool told; /* atomic */
    struct question questions[NODE_KINDS];
    struct member members[SERVER_SFU_MAX];
    struct log_limit noise;
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
};

/* ---- media servers ---- */

static struct member *find_member(struct registry_link *k, struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(k->members); i++)
        if (k->members[i].link && slice_is(name, k->members[i].name))
            return &k->members[i];
    return NULL;
}

static struct member *free_member(struct registry_link *k)
{
    for (size_t i = 0; i < ARRAY_LEN(k->members); i++)
        if (!k->members[i].link)
            return &k->members[i];
    return NULL;
}

static bool is_configured(const struct registry_link *k, struct slice name)
{
    struct server_sfu sfu;

    for (size_t i = 0; i < k->conf->sfu.nodes.n; i++)
        if (server_sfu_parse(&sfu, slice_str(k->conf->sfu.nodes.v[i])) == 0 &&
            slice_eq(sfu.name, name))
            return true;
    return false;
}

/* The line of [sfu] nodes that would say the same. */
static void write_entry(struct member *m, const struct listed_node *n)
{
    const struct node_record *r = &n->record;

    snprintf(m->name, sizeof(m->name), "%.*s", SLICE_FMT(n->name));
    snprintf(m->text, sizeof(m->text), "%.*s=%.*s weight=%u%s%.*s", SLICE_FMT(n->name),
             SLICE_FMT(r->at[0]), r->weight, r->region.len > 0 ? " region=" : "",
             SLICE_FMT(r->region));
}

static void add_member(struct registry_link *k, const struct listed_node *n)
{
    struct member *m = is_configured(k, n->name) ? NULL : free_member(k);
    struct server_sfu sfu;

    if (!m)
        return;
    write_entry(m, n);
    m->epoch = n->record.epoch;
    m->index = server_sfu_parse(&sfu, slice_str(m->text)) == 0 ? router_node_add(k->router, &sfu)
                                                               : SIZE_MAX;
    if (m->index != SIZE_MAX)
        m->link = node_link_new(k->worker, k->listener, router_node(k->router, m->index),
                                slice_str(m->text));
    if (m->link)
        return;
    if (m->index != SIZE_MAX)
        router_node_drop(k->router, m->index);
    if (log_allow(&k->noise, 1, worker_now(k->worker)))
        log_error("cluster", "media server %s is not used: there are %d already, or memory is out",
                  m->name, SERVER_SFU_MAX);
}

static void drop_member(struct registry_link *k, struct member *m)
{
    node_link_free(m->link);
    m->link = NULL;
    router_node_drop(k->router, m->index);
}

/* A node that Redis tells of. */
static void look_at(struct registry_link *k, const struct listed_node *n)
{
    struct member *m = find_member(k, n->name);
    struct member fresh = {.link = NULL};

    if (m && m->epoch != n->record.epoch) {
        write_entry(&fresh, n);
        m->epoch = n->record.epoch;
        if (strcmp(fresh.text, m->text) == 0)
            return; /* it has restarted where it was: its connection tells */
        drop_member(k, m);
        m = NULL;
    }
    if (!m)
        add_member(k, n);
}

/* A member that Redis does not tell of: does anything else say that it lives? */
static bool is_dead(struct registry_link *k, const struct member *m, uint64_t now_us)
{
    struct node *n = router_node(k->router, m->index);

    if (node_up(n))
        return node_silence(n, now_us) >= SILENT_US;
    return !node_alive(n) || router_has_other_node(k->router, m->index);
}

static bool is_listed(const struct registry_link *k, const struct member *m)
{
    const struct listed_node *n;

    for (size_t i = 0; (n = node_list_at(k->list, NODE_SFU, i)); i++)
        if (slice_is(n->name, m->name))
            return true;
    return false;
}

static void look_at_all(struct registry_link *k, uint64_t now_us)
{
    const struct listed_node *n;

    if (!k->conf->sfu.registered || k->conf->sfu.secret.len == 0)
        return;
    ws_listener_enter(k->listener);
    for (size_t i = 0; i < ARRAY_LEN(k->members); i++) {
        struct member *m = &k->members[i];
        if (m->link && !is_listed(k, m) && is_dead(k, m, now_us))
            drop_member(k, m);
    }
    for (size_t i = 0; (n = node_list_at(k->list, NODE_SFU, i)); i++)
        if (n->listed)
            look_at(k, n);
}

/* ---- Redis ---- */

static void on_told(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct question *q = call->arg;
    struct registry_link *k = q->k;

    q->asking = false;
    if (end != REDIS_ANSWERED)
        return; /* asked again by the next poll */
    if (node_list_take(k->list, q->kind, reply, now_us) != 0) {
        if (log_allow(&k->noise, 1, now_us))
            log_warn("cluster", "Redis does not tell which nodes there are: %.*s",
                     SLICE_FMT(reply->kind == RESP_ERROR ? reply->text : SLICE_LIT("no list")));
        return;
    }
    if (q->kind == NODE_SFU)
        look_at_all(k, now_us);
    else
        __atomic_store_n(&k->told, true, __ATOMIC_RELAXED);
}

static void ask(struct question *q, uint64_t now_us)
{
    struct registry_link *k = q->k;
    uint8_t key_buf[NODE_RECORD_KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    if (q->asking)
        return;
    node_record_key(&key, slice_str(k->conf->redis.key_prefix), q->kind);
    const struct slice words[] = {wr_done(&key)};
    q->call = (struct redis_call){.fn = on_told, .arg = q};
    q->asking = redis_client_eval(redis_link_client(k->redis), &q->call, NODE_SCRIPT_LIST, 1, words,
                                  1, now_us) == 0;
}

static void on_poll(void *arg, uint64_t now_us)
{
    struct registry_link *k = arg;

    worker_timer(k->worker, &k->poll, now_us + POLL_US);
    if (now_us >= k->begun_us + TOLD_US)
        __atomic_store_n(&k->told, true, __ATOMIC_RELAXED);
    if (!redis_client_ready(redis_link_client(k->redis)))
        return;
    for (int i = 0; i < NODE_KINDS; i++)
        ask(&k->questions[i], now_us);
}

static void on_up(void *arg, uint64_t now_us)
{
    struct registry_link *k = arg;

    node_list_up(k->list, now_us);
    on_poll(k, now_us);
}

/* Whoever can write to Redis can say this; it changes figures of quality, nothing else. */
static void on_said(void *arg, struct slice channel, struct slice payload, uint64_t now_us)
{
    struct registry_link *k = arg;
    struct relay_media m;

    (void)channel;
    if (relay_media_decode(&m, payload) != 0) {
        if (log_allow(&k->noise, 1, now_us))
            log_warn("cluster", "a relay's word of media can't be read");
        return;
    }
    ws_listener_enter(k->listener);
    router_relay_media(k->router, &m);
}

/* ---- life ---- */

static struct slice turn_secret(const struct server_conf *c)
{
    return slice_of(c->turn.secret.p, c->turn.secret.len);
}

static bool make(struct registry_link *k, char err[TLS_ERR_MAX])
{
    static const struct redis_client_ops ops = {.up = on_up}, ears_ops = {.message = on_said};
    const struct server_conf *c = k->conf;
    struct node_list_conf list = {.secret = turn_secret(c), .region = slice_str(c->turn.region)};
    struct redis_link_conf conf = {.name = "registry", .tls_name = c->redis.tls_name};

    rand_bytes(&list.seed, sizeof(list.seed));
    k->list = node_list_new(&list);
    k->resolver = resolver_new(k->worker);
    if (!k->list || !k->resolver)
        return false;
    if (c->redis.tls) {
        k->tls =
            tls_client_ctx_new(c->redis.ca_file, c->redis.cert_file, c->redis.key_file, NULL, err);
        if (!k->tls)
            return false;
    }
    conf.resolver = k->resolver;
    conf.tls = k->tls;
    redis_conf_client(c, k->at, &conf.client);
    conf.client.scripts = node_record_scripts;
    conf.client.scripts_n = NODE_SCRIPTS;
    k->redis = redis_link_new(k->worker, &conf, &ops, k);
    struct wr channel = wr_init(k->channel_buf, sizeof(k->channel_buf));
    node_record_media_channel(&channel, slice_str(c->redis.key_prefix));
    k->channel = wr_done(&channel);
    conf.name = "relays' quality";
    conf.client.scripts = NULL;
    conf.client.scripts_n = 0;
    conf.client.channels = &k->channel;
    conf.client.channels_n = 1;
    conf.client.sharded = true;
    k->ears = redis_link_new(k->worker, &conf, &ears_ops, k);
    return k->redis && k->ears;
}

struct registry_link *registry_link_new(struct worker *w, const struct server_conf *c,
                                        struct router *r, struct ws_listener *l,
                                        char err[TLS_ERR_MAX])
{
    struct registry_link *k = mem_zalloc(sizeof(*k));

    snprintf(err, TLS_ERR_MAX, "[redis]: out of memory or threads");
    if (!k)
        return NULL;
    k->worker = w;
    k->conf = c;
    k->router = r;
    k->listener = l;
    k->begun_us = worker_now(w);
    k->poll = (struct wtimer){.fn = on_poll, .arg = k};
    for (int i = 0; i < NODE_KINDS; i++)
        k->questions[i] = (struct question){.k = k, .kind = (enum node_kind)i};
    if (!make(k, err)) {
        registry_link_free(k);
        return NULL;
    }
    router_set_relays(r, k->list);
    worker_timer(w, &k->poll, 0);
    return k;
}

void registry_link_reload(struct registry_link *k)
{
    if (k)
        node_list_secret(k->list, turn_secret(k->conf));
}

void registry_link_free(struct registry_link *k)
{
    if (!k)
        return;
    worker_timer_cancel(k->worker, &k->poll);
    router_set_relays(k->router, NULL);
    for (size_t i = 0; i < ARRAY_LEN(k->members); i++)
        node_link_free(k->members[i].link);
    redis_link_free(k->ears);
    redis_link_free(k->redis);
    tls_ctx_free(k->tls);
    resolver_free(k->resolver);
    node_list_free(k->list);
    mem_free(k);
}

bool registry_link_told(const struct registry_link *k)
{
    return __atomic_load_n(&k->told, __ATOMIC_RELAXED);
}

void registry_link_metrics(struct registry_link *k, struct metrics *m)
{
    const struct node_list_counters *n = node_list_count(k->list);
    const struct {
        const char *name, *labels, *help;
        enum metric_type type;
        const struct counter *cell;
    } v[] = {
        {"sori_registered_nodes", "kind=\"relay\"", "Nodes that have registered themselves.",
         METRIC_GAUGE, &n->nodes[NODE_RELAY]},
        {"sori_registered_nodes", "kind=\"sfu\"", "Nodes that have registered themselves.",
         METRIC_GAUGE, &n->nodes[NODE_SFU]},
        {"sori_registered_usable", "kind=\"relay\"",
         "Those that are chosen: not draining, relays with the secret.", METRIC_GAUGE,
         &n->usable[NODE_RELAY]},
        {"sori_registered_usable", "kind=\"sfu\"",
         "Those that are chosen: not draining, relays with the secret.", METRIC_GAUGE,
         &n->usable[NODE_SFU]},
        {"sori_registered_bad_total", "", "Records of nodes that could not be read.",
         METRIC_COUNTER, &n->bad},
        {"sori_relays_granted_total", "", "Registered relays given to clients.", METRIC_COUNTER,
         &n->granted},
    };

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        metrics_add(m, v[i].name, v[i].labels, v[i].help, v[i].type, v[i].cell);
}

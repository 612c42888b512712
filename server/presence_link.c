/* The presence store of many nodes with its two connections.
 *
 * Made by main.c. One connection for commands and one that hears what other nodes say: a subscriber
 * of RESP2 can do nothing else. SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_link.h"

#include <stdio.h>

#include <string.h>

#include "base/mem.h"
#include "net/redis_link.h"
#include "net/resolve.h"
#include "net/worker.h"
#include "server/call_share.h"
#include "server/session_share.h"
#include "server/node_bus.h"
#include "server/presence_store_redis.h"
#include "server/presence_wire.h"
#include "server/redis_conf.h"
#include "server/room_share.h"

#define WORD        "w "
#define TICK_US     (100 * US_PER_MS)
#define SPARE_PARTS 3                 /* of the lease: one of them */
#define DEAF_US     (10 * US_PER_MS)  /* the tick while the bus may not be heard */
#define ANSWER_US   (5 * US_PER_S)    /* a failover is over by then */
#define BUS_BYTES   ((size_t)4 << 20) /* kept for each node until it has acknowledged */

/* What the operator sees: written here, read on another thread. */
struct presence_link_counters {
    struct counter bus_sent, bus_again, bus_delivered, bus_dropped, bus_deaf;
    struct counter up, connects, losses, failures, commands, again, behind, full;
    struct counter ends[REDIS_ENDS];
};

enum trouble { TROUBLE_NONE, TROUBLE_AWAY, TROUBLE_LOST };

struct presence_link {
    struct worker *worker;
    void (*enter)(void *arg);
    void *enter_arg;
    int trouble; /* enum trouble; atomic */
    struct presence_link_counters count;
    struct presence_store *store;
    struct redis_link *commands, *ears;
    struct resolver *resolver;
    struct tls_ctx *tls;
    struct wtimer tick, bus_tick;
    struct node_bus *bus;
    struct call_claims claims;
    bool was_up;
    bool stood; /* the lease was certain once */
    /* Others may have taken us for dead: what waits in the ears was taken back, or done, elsewhere.
     * Nothing of the bus counts until it is known which of our calls are another's, and a word that
     * we say to ourselves, with the lease certain again, is heard. */
    bool deaf;
    uint64_t spare_us;
    uint64_t word, first_word; /* the last one said; the first that counts, 0: none yet */
    uint64_t heard, marked;    /* the last one that came back; the one the bus waits for, 0: none */
    uint64_t lapses;           /* how often it was so */
    uint64_t known;            /* of how many of them it is known what others have taken */
    uint64_t away_us;          /* since when Redis is not ready */
    uint64_t began_us;
    struct slice
        scripts[PRESENCE_SCRIPTS + CALL_SHARE_SCRIPTS + SESSION_SHARE_SCRIPTS + ROOM_SHARE_SCRIPTS];
    struct slice channel;
    uint8_t channel_buf[PRESENCE_WIRE_KEY_MAX];
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
};

static uint64_t now_of(void *arg)
{
    return worker_now(((struct presence_link *)arg)->worker);
}

static void enter(struct presence_link *l)
{
    if (l->enter)
        l->enter(l->enter_arg);
}

static void show(struct counter *c, uint64_t value)
{
    counter_add(c, value - counter_get(c));
}

/* Both connections together, but for the commands. */
static void count(struct presence_link *l)
{
    const struct redis_client_stats *a = redis_client_stats(redis_link_client(l->commands)),
                                    *b = redis_client_stats(redis_link_client(l->ears));

    show(&l->count.up, presence_link_ready(l));
    show(&l->count.connects, a->connects + b->connects);
    show(&l->count.losses, a->losses + b->losses);
    show(&l->count.failures, a->failures + b->failures);
    show(&l->count.commands, a->calls);
    show(&l->count.again, a->again);
    for (int e = 0; e < REDIS_ENDS; e++)
        show(&l->count.ends[e], a->ends[e]);
    show(&l->count.behind, presence_store_redis_behind(l->store));
    show(&l->count.full, presence_store_redis_full(l->store));
    show(&l->count.bus_sent, node_bus_stats(l->bus)->sent);
    show(&l->count.bus_again, node_bus_stats(l->bus)->again);
    show(&l->count.bus_delivered, node_bus_stats(l->bus)->delivered);
    show(&l->count.bus_dropped, node_bus_stats(l->bus)->dropped);
}

/* The bus is looked at when it wants to be: an acknowledgement must not wait for the tick. */
static void arm_bus(struct presence_link *l)
{
    worker_timer(l->worker, &l->bus_tick, node_bus_deadline(l->bus));
}

static void bus_say(void *arg, struct slice node, struct slice text)
{
    struct presence_link *l = arg;
    uint8_t key[PRESENCE_WIRE_KEY_MAX];
    struct wr channel = wr_init(key, sizeof(key));

    presence_wire_key(&channel, l->claims.prefix, "say", node);
    const struct slice words[] = {SLICE_LIT("SPUBLISH"), wr_done(&channel), text};
    /* While Redis is away it would only queue: it is said again when it is back. */
    if (!channel.bad && redis_client_ready(l->claims.client))
        (void)redis_client_call(l->claims.client, NULL, words, ARRAY_LEN(words),
                                worker_now(l->worker));
    arm_bus(l);
}

/* ---- hearing nothing stale ---- */

/* By the clock, not the turn's time: it may be this turn that stood still. With a part of the lease
 * to spare: what is heard has to be saved and acknowledged before others may take us for dead. */
static bool is_sure(const struct presence_link *l)
{
    return presence_store_redis_is_sure(l->store, clock_now_us() + l->spare_us);
}

/* Whether the bus may be heard. */
static bool hears(struct presence_link *l)
{
    bool sure = is_sure(l);

    if (!l->deaf && sure)
        return true;
    if (!l->deaf) {
        l->lapses++;
        l->away_us = worker_now(l->worker);
    }
    if (!l->deaf || !sure)
        l->first_word = 0;
    l->deaf = true;
    return false;
}

/* Says the next word to this process itself. */
static void put_word(struct presence_link *l)
{
    uint8_t text[32];
    struct wr w = wr_init(text, sizeof(text));

    wr_str(&w, WORD);
    wr_u64(&w, ++l->word);
    bus_say(l, l->claims.node, wr_done(&w));
}

static void say_word(struct presence_link *l)
{
    if (hears(l) || !is_sure(l) || !presence_link_ready(l))
        return;
    put_word(l);
    if (l->first_word == 0)
        l->first_word = l->word;
}

static void hear_word(struct presence_link *l, struct slice text)
{
    uint64_t n, now_us = worker_now(l->worker);

    if (slice_to_u64(text, UINT64_MAX, &n) != 0)
        return;
    l->heard = n > l->heard ? n : l->heard;
    if (l->first_word != 0 && n >= l->first_word && l->known == l->lapses) {
        if (l->deaf)
            node_bus_up(l->bus, now_us); /* others may not have taken what was said */
        l->deaf = false;
    }
    if (l->marked != 0 && l->heard >= l->marked) {
        l->marked = 0;
        node_bus_look(l->bus, now_us);
    }
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct presence_link *l = arg;
    enum trouble trouble = presence_store_redis_is_lost(l->store) ? TROUBLE_LOST
                           : presence_link_ready(l)               ? TROUBLE_NONE
                                                                  : TROUBLE_AWAY;

    __atomic_store_n(&l->trouble, (int)trouble, __ATOMIC_RELAXED);
    enter(l);
    if (presence_link_ready(l) && l->stood)
        say_word(l);
    l->stood = l->stood || is_sure(l);
    presence_store_redis_tick(l->store);
    count(l);
    worker_timer(l->worker, &l->tick, now_us + (l->deaf ? DEAF_US : TICK_US));
}

static void on_bus_tick(void *arg, uint64_t now_us)
{
    struct presence_link *l = arg;

    enter(l);
    node_bus_tick(l->bus, now_us);
    arm_bus(l);
}

static void on_up(void *arg, uint64_t now_us)
{
    struct presence_link *l = arg;

    (void)now_us;
    enter(l);
    l->was_up = true;
    presence_store_redis_up(l->store);
    if (presence_link_ready(l))
        node_bus_up(l->bus, worker_now(l->worker));
}

static void on_down(void *arg, const char *why, uint64_t now_us)
{
    struct presence_link *l = arg;

    (void)why;
    enter(l);
    if (l->was_up)
        l->away_us = now_us;
    l->was_up = false;
    presence_store_redis_down(l->store);
}

static void on_hears(void *arg, uint64_t now_us)
{
    struct presence_link *l = arg;

    (void)now_us;
    enter(l);
    presence_store_redis_hears(l->store);
    if (presence_link_ready(l))
        node_bus_up(l->bus, worker_now(l->worker));
}

static void on_said(void *arg, struct slice channel, struct slice payload, uint64_t now_us)
{
    struct presence_link *l = arg;

    (void)channel;
    enter(l);
    if (slice_starts(payload, SLICE_LIT(WORD))) {
        hear_word(l, slice_sub(payload, sizeof(WORD) - 1, payload.len));
    } else if (node_bus_is(payload)) {
        if (!hears(l)) {
            counter_inc(&l->count.bus_deaf);
            say_word(l);
            return;
        }
        node_bus_heard(l->bus, payload, now_us);
        arm_bus(l);
    } else {
        presence_store_redis_heard(l->store, payload);
    }
}

static const struct redis_client_ops commands_ops = {.up = on_up, .down = on_down};
static const struct redis_client_ops ears_ops = {.up = on_hears, .message = on_said};

static bool make_links(struct presence_link *l, const struct server_conf *c)
{
    struct redis_link_conf conf = {
        .name = "commands", .resolver = l->resolver, .tls = l->tls, .tls_name = c->redis.tls_name};

    redis_conf_client(c, l->at, &conf.client);
    memcpy(l->scripts, presence_wire_scripts, sizeof(presence_wire_scripts));
    memcpy(l->scripts + PRESENCE_SCRIPTS, call_share_scripts, sizeof(call_share_scripts));
    memcpy(l->scripts + PRESENCE_SCRIPTS + CALL_SHARE_SCRIPTS, session_share_scripts,
           sizeof(session_share_scripts));
    memcpy(l->scripts + ARRAY_LEN(l->scripts) - ROOM_SHARE_SCRIPTS, room_share_scripts,
           sizeof(room_share_scripts));
    conf.client.scripts = l->scripts;
    conf.client.scripts_n = ARRAY_LEN(l->scripts);
    l->commands = redis_link_new(l->worker, &conf, &commands_ops, l);
    conf.name = "news";
    conf.client.scripts = NULL;
    conf.client.scripts_n = 0;
    conf.client.channels = &l->channel;
    conf.client.channels_n = 1;
    conf.client.sharded = true;
    l->ears = redis_link_new(l->worker, &conf, &ears_ops, l);
    return l->commands && l->ears;
}

/* ---- other nodes ---- */

static bool bus_dead(void *arg, struct slice node, uint64_t epoch, uint64_t since_us)
{
    struct presence_link *l = arg;

    return presence_store_redis_alive(l->store, node, epoch, since_us) == NODE_DEAD;
}

static bool bus_lives(void *arg, struct slice node, uint64_t epoch)
{
    struct presence_link *l = arg;
    bool lives = presence_store_redis_alive(l->store, node, epoch, 0) == NODE_ALIVE;

    /* It has seemed dead, and is asked for because of what it says: nothing of that counts, and if
     * it dies now all is lost, until this process knows better. */
    if (!lives)
        presence_store_redis_look(l->store, node);
    return lives;
}

static uint64_t bus_mark(void *arg)
{
    struct presence_link *l = arg;

    l->marked = l->word + 1;
    put_word(l);
    return l->marked;
}

static bool bus_marked(void *arg, uint64_t mark)
{
    return ((const struct presence_link *)arg)->heard >= mark;
}

static const struct node_bus_ops bus_ops = {
    .say = bus_say, .dead = bus_dead, .lives = bus_lives, .mark = bus_mark, .marked = bus_marked};

static bool nodes_ready(void *arg, uint64_t *away_us)
{
    const struct presence_link *l = arg;

    *away_us = l->away_us;
    return presence_link_ready(l) && !l->deaf;
}

static bool nodes_saves(void *arg)
{
    return presence_link_ready(arg);
}

static uint64_t nodes_lapses(void *arg)
{
    return ((const struct presence_link *)arg)->lapses;
}

static void nodes_known(void *arg, uint64_t lapses)
{
    ((struct presence_link *)arg)->known = lapses;
}

static enum node_alive nodes_alive(void *arg, struct slice node, uint64_t epoch)
{
    struct presence_link *l = arg;

    /* What is known of leases may be a second old. */
    return node_bus_is_replaced(l->bus, node, epoch)
               ? NODE_DEAD
               : presence_store_redis_alive(l->store, node, epoch, 0);
}

static uint64_t nodes_dead_us(void *arg, struct slice node, uint64_t epoch)
{
    const struct presence_link *l = arg;

    return slice_eq(node, l->claims.node) /* one before this process */
               ? worker_now(l->worker) - l->began_us
               : presence_store_redis_dead_us(l->store, node, epoch);
}

static void nodes_push(void *arg)
{
    redis_link_push(((struct presence_link *)arg)->commands);
}

struct router_nodes presence_link_nodes(struct presence_link *l)
{
    return (struct router_nodes){.bus = l->bus,
                                 .claims = &l->claims,
                                 .ready = nodes_ready,
                                 .saves = nodes_saves,
                                 .alive = nodes_alive,
                                 .dead_us = nodes_dead_us,
                                 .lapses = nodes_lapses,
                                 .known = nodes_known,
                                 .push = nodes_push,
                                 .arg = l};
}

/* Who seems to have ended is looked at at once: what is said to it meanwhile it may yet hear. */
static void on_leases(void *arg)
{
    struct presence_link *l = arg;

    if (!l->bus)
        return;
    enter(l);
    node_bus_look(l->bus, worker_now(l->worker));
}

static bool make_store(struct presence_link *l, const struct server_conf *c)
{
    struct presence_store_redis_conf conf = {.prefix = slice_str(c->redis.key_prefix),
                                             .node = slice_str(c->server.node_id),
                                             .lease_us = c->redis.lease_s * US_PER_S,
                                             .answer_us = ANSWER_US,
                                             .now = now_of,
                                             .now_arg = l,
                                             .leases = on_leases};

    l->spare_us = conf.lease_us / SPARE_PARTS;
    while (conf.epoch == 0)
        rand_bytes(&conf.epoch, sizeof(conf.epoch));
    l->store = presence_store_redis_new(&conf);
    if (!l->store)
        return false;
    struct wr w = wr_init(l->channel_buf, sizeof(l->channel_buf));
    presence_store_redis_channel(l->store, &w);
    l->channel = wr_done(&w);
    l->claims = (struct call_claims){
        .prefix = conf.prefix, .node = conf.node, .epoch = conf.epoch, .first = PRESENCE_SCRIPTS};
    l->bus = node_bus_new(conf.node, conf.epoch, BUS_BYTES, &bus_ops, l);
    return l->bus != NULL;
}

struct presence_link *presence_link_new(struct worker *w, const struct server_conf *c,
                                        char err[TLS_ERR_MAX])
{
    struct presence_link *l = mem_zalloc(sizeof(*l));

    snprintf(err, TLS_ERR_MAX, "[redis]: out of memory or threads");
    if (!l)
        return NULL;
    l->worker = w;
    l->tick = (struct wtimer){.fn = on_tick, .arg = l};
    l->resolver = resolver_new(w);
    if (!l->resolver)
        goto fail;
    if (c->redis.tls) {
        l->tls =
            tls_client_ctx_new(c->redis.ca_file, c->redis.cert_file, c->redis.key_file, NULL, err);
        if (!l->tls)
            goto fail;
    }
    if (!make_store(l, c) || !make_links(l, c))
        goto fail;
    presence_store_redis_use(l->store, redis_link_client(l->commands));
    l->claims.client = redis_link_client(l->commands);
    l->began_us = l->away_us = worker_now(w);
    l->bus_tick = (struct wtimer){.fn = on_bus_tick, .arg = l};
    worker_timer(w, &l->tick, 0);
    return l;
fail:
    presence_link_free(l);
    return NULL;
}

void presence_link_free(struct presence_link *l)
{
    if (!l)
        return;
    worker_timer_cancel(l->worker, &l->tick);
    worker_timer_cancel(l->worker, &l->bus_tick);
    node_bus_free(l->bus);
    presence_store_free(l->store);
    redis_link_free(l->ears);
    redis_link_free(l->commands);
    tls_ctx_free(l->tls);
    resolver_free(l->resolver);
    mem_free(l);
}

void presence_link_leave(struct presence_link *l)
{
    if (l)
        presence_store_redis_leave(l->store);
}

struct presence_store *presence_link_store(struct presence_link *l)
{
    return l->store;
}

bool presence_link_ready(const struct presence_link *l)
{
    return redis_client_ready(redis_link_client(l->commands)) &&
           redis_client_ready(redis_link_client(l->ears));
}

const char *presence_link_why(const struct presence_link *l)
{
    const char *why = redis_client_why(redis_link_client(l->commands));

    return why[0] != '\0' ? why : redis_client_why(redis_link_client(l->ears));
}

void presence_link_set_enter(struct presence_link *l, void (*enter_fn)(void *arg), void *arg)
{
    l->enter = enter_fn;
    l->enter_arg = arg;
}

const char *presence_link_trouble(const struct presence_link *l)
{
    static const char *const texts[] = {
        [TROUBLE_NONE] = NULL,
        [TROUBLE_AWAY] = "Redis of [redis] is away: who is on other nodes is unknown and cannot be "
                         "called; the log has the reason",
        [TROUBLE_LOST] = "another process uses this [server] node_id: give each node its own, and "
                         "start this one again",
    };

    return texts[__atomic_load_n(&l->trouble, __ATOMIC_RELAXED)];
}

void presence_link_metrics(struct presence_link *l, struct metrics *m)
{
    const struct presence_link_counters *n = &l->count;
    const struct {
        const char *name, *labels, *help;
        enum metric_type type;
        const struct counter *cell;
    } list[] = {
        {"sori_redis_up", "", "Both connections to Redis are in use.", METRIC_GAUGE, &n->up},
        {"sori_redis_connects_total", "result=\"ok\"", "Attempts to connect to Redis.",
         METRIC_COUNTER, &n->connects},
        {"sori_redis_connects_total", "result=\"failed\"", "Attempts to connect to Redis.",
         METRIC_COUNTER, &n->failures},
        {"sori_redis_losses_total", "", "Connections to Redis that broke.", METRIC_COUNTER,
         &n->losses},
        {"sori_redis_commands_total", "", "Commands for Redis.", METRIC_COUNTER, &n->commands},
        {"sori_redis_again_total", "", "Commands that were sent again.", METRIC_COUNTER, &n->again},
        {"sori_redis_ends_total", "end=\"answered\"", "What became of commands.", METRIC_COUNTER,
         &n->ends[REDIS_ANSWERED]},
        {"sori_redis_ends_total", "end=\"unsent\"", "What became of commands.", METRIC_COUNTER,
         &n->ends[REDIS_UNSENT]},
        {"sori_redis_ends_total", "end=\"late\"", "What became of commands.", METRIC_COUNTER,
         &n->ends[REDIS_LATE]},
        {"sori_redis_ends_total", "end=\"broken\"", "What became of commands.", METRIC_COUNTER,
         &n->ends[REDIS_BROKEN]},
        {"sori_bus_messages_total", "what=\"sent\"", "Messages for other nodes.", METRIC_COUNTER,
         &n->bus_sent},
        {"sori_bus_messages_total", "what=\"again\"", "Messages for other nodes.", METRIC_COUNTER,
         &n->bus_again},
        {"sori_bus_messages_total", "what=\"delivered\"", "Messages for other nodes.",
         METRIC_COUNTER, &n->bus_delivered},
        {"sori_bus_messages_total", "what=\"dropped\"", "Messages for other nodes.", METRIC_COUNTER,
         &n->bus_dropped},
        {"sori_bus_messages_total", "what=\"stale\"", "Messages for other nodes.", METRIC_COUNTER,
         &n->bus_deaf},
        {"sori_presence_behind", "", "Devices whose state Redis does not have yet.", METRIC_GAUGE,
         &n->behind},
        {"sori_presence_full_total", "", "Devices refused because their user has too many.",
         METRIC_COUNTER, &n->full},
    };

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        metrics_add(m, list[i].name, list[i].labels, list[i].help, list[i].type, list[i].cell);
}

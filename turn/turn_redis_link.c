/* What is done with Redis: users' keys, secrets, records of use.
 *
 * Called by turn_worker.c (questions, records), turn_node.c and main.c. A shell around
 * redis_schema.c on two connections (redis_conn_link.c), in a thread with a loop of its own: other
 * threads only post to it. What is asked while Redis is away fails at once; records wait, as many
 * as configured, and then the oldest is lost and counted. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_redis_link.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/crypto.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/worker.h"
#include "turn/redis_conn_link.h"
#include "turn/redis_schema.h"
#include "turn/turn_worker.h"

#define TICK_US      (100 * US_PER_MS)
#define POSTED_MAX   4096 /* questions and records on their way to this thread or to Redis */
#define RECORDS_SENT 64   /* records without an answer yet */
#define RECORD_US    (3600 * US_PER_S) /* they end with their connection, and not before */

/* A question on its way. */
struct query {
    struct list link; /* on asked */
    struct redis_call call;
    struct turn_redis_link *l;
    unsigned worker, realm;
    size_t len;
    uint8_t name[];
};

/* A record of use, on waiting or on sent. */
struct record {
    struct list link;
    struct redis_call call;
    struct turn_redis_link *l;
    size_t len;
    uint8_t json[];
};

/* Of one realm. */
struct secret_read {
    struct redis_call call;
    struct turn_redis_link *l;
    unsigned realm;
};

enum look_up { LOOK_UP_FOUND, LOOK_UP_ABSENT, LOOK_UP_FAILED, LOOK_UPS };

struct turn_redis_link {
    const struct turn_conf *conf;
    void (*changed)(void);
    struct worker *loop;
    struct redis_conn_base base;
    struct redis_conn command, subscription;
    struct wtimer tick;
    struct turn_worker **workers;
    unsigned n_workers;
    struct list asked, waiting, sent;
    size_t n_waiting, n_sent;
    struct secret_read *reads;      /* of each realm */
    struct shared_secrets incoming; /* the round that is being read */
    unsigned answers_left;          /* of that round; 0: none is read */
    uint64_t secrets_us;            /* when to read them again */
    bool finishing;
    uint64_t finish_us;
    /* Shared with other threads. */
    unsigned posted;  /* atomic */
    bool ready;       /* atomic: command is READY */
    uint64_t refused; /* atomic: records that had no room */
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct shared_secrets secrets;
    bool secrets_known, secrets_copied, detached;
    struct counter up, connects, waiting_now, records_sent, records_lost, look_ups[LOOK_UPS];
    uint64_t refused_told;
};

/* Asks with what is to be filled of a call; false: it cannot be sent. */
static bool ask(struct turn_redis_link *l, struct redis_call *call, const struct slice *words,
                size_t n)
{
    return redis_conn_is_ready(&l->command) &&
           redis_client_call(redis_conn_client(&l->command), call, words, n, worker_now(l->loop)) ==
               0;
}

/* ---- records ---- */

static void count_waiting(struct turn_redis_link *l)
{
    uint64_t now = l->n_waiting + l->n_sent, was = counter_get(&l->waiting_now);

    if (now > was)
        counter_add(&l->waiting_now, now - was);
    else
        counter_sub(&l->waiting_now, was - now);
}

static void drop_record(struct record *r, size_t *count)
{
    list_del(&r->link);
    (*count)--;
    mem_free(r);
}

static void pump(struct turn_redis_link *l);

static void on_record_answer(struct redis_call *call, enum redis_end end, const struct resp *reply,
                             uint64_t now_us)
{
    struct record *r = call->arg;
    struct turn_redis_link *l = r->l;

    (void)now_us;
    if (end != REDIS_ANSWERED)
        return; /* the connection is going: on_down() takes all of them back */
    counter_inc(reply->kind == RESP_ERROR ? &l->records_lost : &l->records_sent);
    drop_record(r, &l->n_sent);
    pump(l);
}

static bool send_record(struct turn_redis_link *l, struct record *r)
{
    struct slice prefix = slice_str(l->conf->redis_prefix), json = slice_of(r->json, r->len);
    uint8_t name[REDIS_SCHEMA_NAME_MAX], length[24];
    struct wr w = wr_init(name, sizeof(name)), n = wr_init(length, sizeof(length));

    wr_bytes(&w, prefix);
    wr_str(&w, "usage");
    wr_u64(&n, l->conf->redis_stream_length);
    const struct slice publish[] = {SLICE_LIT("PUBLISH"), wr_done(&w), json};
    const struct slice add[] = {SLICE_LIT("XADD"), wr_done(&w), SLICE_LIT("MAXLEN"),
                                SLICE_LIT("~"),    wr_done(&n), SLICE_LIT("*"),
                                SLICE_LIT("json"), json};
    r->call = (struct redis_call){
        .fn = on_record_answer, .arg = r, .deadline_us = worker_now(l->loop) + RECORD_US};
    if (l->conf->redis_usage == TURN_REDIS_USAGE_STREAM)
        return ask(l, &r->call, add, ARRAY_LEN(add));
    return ask(l, &r->call, publish, ARRAY_LEN(publish));
}

/* Sends what waits, as far as Redis is there and keeps up. */
static void pump(struct turn_redis_link *l)
{
    struct list *first;

    while (redis_conn_is_ready(&l->command) && l->n_sent < RECORDS_SENT &&
           (first = list_first(&l->waiting))) {
        if (!send_record(l, CONTAINER_OF(first, struct record, link)))
            break;
        list_del(first);
        list_append(&l->sent, first);
        l->n_waiting--;
        l->n_sent++;
    }
    count_waiting(l);
}

/* What has no answer is sent again, in its order. */
static void take_back(struct turn_redis_link *l)
{
    while (!list_empty(&l->sent)) {
        struct list *last = l->sent.prev;
        redis_client_cancel(redis_conn_client(&l->command),
                            &CONTAINER_OF(last, struct record, link)->call);
        list_del(last);
        list_prepend(&l->waiting, last);
        l->n_sent--;
        l->n_waiting++;
    }
}

static void on_record(void *arg, uint64_t now_us)
{
    struct record *r = arg;
    struct turn_redis_link *l = r->l;

    (void)now_us;
    __atomic_fetch_sub(&l->posted, 1, __ATOMIC_RELAXED);
    list_append(&l->waiting, &r->link);
    l->n_waiting++;
    while (l->n_waiting + l->n_sent > l->conf->redis_usage_buffer && l->n_waiting > 0) {
        drop_record(CONTAINER_OF(list_first(&l->waiting), struct record, link), &l->n_waiting);
        counter_inc(&l->records_lost);
    }
    pump(l);
}

/* ---- questions ---- */

static void give_answer(struct query *q, enum look_up what, const struct known_keys *keys)
{
    struct turn_redis_link *l = q->l;

    counter_inc(&l->look_ups[what]);
    if (q->worker < l->n_workers)
        turn_worker_known(l->workers[q->worker], q->realm, slice_of(q->name, q->len),
                          what == LOOK_UP_FAILED, keys);
    __atomic_fetch_sub(&l->posted, 1, __ATOMIC_RELAXED);
    list_del(&q->link);
    mem_free(q);
}

static void on_user(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct known_keys keys;

    (void)now_us;
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY) {
        give_answer(call->arg, LOOK_UP_FAILED, NULL);
    } else if (!redis_schema_keys(&keys, resp_text(resp_at(reply, 0)),
                                  resp_text(resp_at(reply, 1)))) {
        give_answer(call->arg, LOOK_UP_ABSENT, NULL);
    } else {
        give_answer(call->arg, LOOK_UP_FOUND, &keys);
        crypto_wipe(&keys, sizeof(keys));
    }
}

static void on_ask(void *arg, uint64_t now_us)
{
    struct query *q = arg;
    struct turn_redis_link *l = q->l;
    struct slice prefix = slice_str(l->conf->redis_prefix);
    struct slice realm = turn_conf_realm(l->conf, q->realm).name, name = slice_of(q->name, q->len);
    uint8_t buf[2][REDIS_SCHEMA_NAME_MAX];
    struct wr md5 = wr_init(buf[0], sizeof(buf[0])), sha256 = wr_init(buf[1], sizeof(buf[1]));

    (void)now_us;
    redis_schema_user(&md5, prefix, realm, name, false);
    redis_schema_user(&sha256, prefix, realm, name, true);
    const struct slice words[] = {SLICE_LIT("MGET"), wr_done(&md5), wr_done(&sha256)};
    q->call = (struct redis_call){.fn = on_user, .arg = q};
    list_append(&l->asked, &q->link);
    if (md5.bad || sha256.bad || !ask(l, &q->call, words, ARRAY_LEN(words)))
        give_answer(q, LOOK_UP_FAILED, NULL);
}

/* ---- secrets ---- */

static void put_secret(struct shared_secrets *s, unsigned realm, struct slice secret)
{
    uint8_t padded[SHARED_SECRETS_BYTES] = {0};
    unsigned at = s->of[realm].n;

    if (secret.len == 0 || secret.len > sizeof(padded) || at == SHARED_SECRETS_MAX)
        return;
    memcpy(padded, secret.p, secret.len);
    /* In order: a set gives its members in any, and another order is no change. */
    while (at > 0 && memcmp(s->of[realm].bytes[at - 1], padded, sizeof(padded)) > 0) {
        memcpy(s->of[realm].bytes[at], s->of[realm].bytes[at - 1], sizeof(padded));
        s->of[realm].len[at] = s->of[realm].len[at - 1];
        at--;
    }
    memcpy(s->of[realm].bytes[at], padded, sizeof(padded));
    s->of[realm].len[at] = (uint8_t)secret.len;
    s->of[realm].n++;
    crypto_wipe(padded, sizeof(padded));
}

/* The round is complete: takes it over if it brings anything new. */
static void take_secrets(struct turn_redis_link *l)
{
    pthread_mutex_lock(&l->lock);
    bool told = l->secrets_copied;
    bool other = memcmp(&l->secrets, &l->incoming, sizeof(l->secrets)) != 0;
    l->secrets = l->incoming;
    l->secrets_known = true;
    pthread_cond_broadcast(&l->news);
    pthread_mutex_unlock(&l->lock);
    crypto_wipe(&l->incoming, sizeof(l->incoming));
    if (other && told) {
        log_info("redis", "secrets have changed");
        l->changed();
    }
}

static void on_secrets(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    const struct secret_read *k = call->arg;
    struct turn_redis_link *l = k->l;

    (void)now_us;
    if (l->answers_left == 0)
        return; /* a round that has failed */
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY) {
        l->answers_left = 0;
        crypto_wipe(&l->incoming, sizeof(l->incoming));
        return;
    }
    for (size_t i = 0; i < reply->n; i++)
        put_secret(&l->incoming, k->realm, resp_text(resp_at(reply, i)));
    if (reply->n > SHARED_SECRETS_MAX)
        log_warn("redis", "more than %d secrets of one realm: the others are not used",
                 SHARED_SECRETS_MAX);
    if (--l->answers_left == 0)
        take_secrets(l);
}

static void read_secrets(struct turn_redis_link *l, uint64_t now_us)
{
    l->secrets_us = now_us + l->conf->redis_refresh_s * US_PER_S;
    if (!l->conf->redis_secrets || l->answers_left > 0)
        return;
    for (unsigned i = 0; i < turn_conf_realms(l->conf); i++) {
        uint8_t buf[REDIS_SCHEMA_NAME_MAX];
        struct wr key = wr_init(buf, sizeof(buf));
        redis_schema_secrets(&key, slice_str(l->conf->redis_prefix),
                             turn_conf_realm(l->conf, i).name);
        const struct slice words[] = {SLICE_LIT("SMEMBERS"), wr_done(&key)};
        struct secret_read *k = &l->reads[i];
        redis_client_cancel(redis_conn_client(&l->command), &k->call); /* of a round that failed */
        k->call = (struct redis_call){.fn = on_secrets, .arg = k};
        if (ask(l, &k->call, words, ARRAY_LEN(words)))
            l->answers_left++;
    }
}

/* ---- the two connections ---- */

static void set_ready(struct turn_redis_link *l, bool ready)
{
    if (ready && counter_get(&l->up) == 0)
        counter_inc(&l->up);
    else if (!ready && counter_get(&l->up) == 1)
        counter_sub(&l->up, 1);
    __atomic_store_n(&l->ready, ready, __ATOMIC_RELAXED);
}

static void on_up(void *arg, uint64_t now_us)
{
    struct turn_redis_link *l = arg;

    (void)now_us;
    counter_inc(&l->connects);
    set_ready(l, true);
    read_secrets(l, worker_now(l->loop));
    pump(l);
}

static void on_down(void *arg, const char *why, uint64_t now_us)
{
    struct turn_redis_link *l = arg;

    (void)why, (void)now_us;
    set_ready(l, false);
    l->answers_left = 0;
    take_back(l);
    count_waiting(l);
}

/* Somebody says that what he has written counts from now on. Whatever was said while the
 * subscription was away has passed unheard: when it is there it is as if that had been said. */
static void on_news(void *arg, uint64_t now_us)
{
    struct turn_redis_link *l = arg;

    read_secrets(l, now_us);
    for (unsigned i = 0; i < l->n_workers; i++)
        turn_worker_forget_users(l->workers[i]);
}

static void on_message(void *arg, struct slice channel, struct slice payload, uint64_t now_us)
{
    (void)channel, (void)payload;
    on_news(arg, now_us);
}

static const struct redis_client_ops command_ops = {.up = on_up, .down = on_down};
static const struct redis_client_ops subscription_ops = {.up = on_news, .message = on_message};

/* ---- the thread ---- */

static bool wants_news(const struct turn_conf *c)
{
    return c->redis_users || c->redis_secrets;
}

static bool is_finished(const struct turn_redis_link *l, uint64_t now_us)
{
    return l->finishing && (l->n_waiting + l->n_sent == 0 || !redis_conn_is_ready(&l->command) ||
                            now_us >= l->finish_us);
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct turn_redis_link *l = arg;
    uint64_t refused = __atomic_load_n(&l->refused, __ATOMIC_RELAXED);

    counter_add(&l->records_lost, refused - l->refused_told);
    l->refused_told = refused;
    if (redis_conn_is_ready(&l->command) && now_us >= l->secrets_us)
        read_secrets(l, now_us);
    if (is_finished(l, now_us))
        worker_stop(l->loop);
    worker_timer(l->loop, &l->tick, now_us + TICK_US);
}

static void on_finish(void *arg, uint64_t now_us)
{
    struct turn_redis_link *l = arg;

    l->finishing = true;
    l->finish_us = now_us + l->conf->redis_timeout_ms * US_PER_MS;
    pump(l);
    worker_timer(l->loop, &l->tick, now_us);
}

static void on_detach(void *arg, uint64_t now_us)
{
    struct turn_redis_link *l = arg;

    (void)now_us;
    l->n_workers = 0;
    pthread_mutex_lock(&l->lock);
    l->detached = true;
    pthread_cond_broadcast(&l->news);
    pthread_mutex_unlock(&l->lock);
}

static int register_counters(struct metrics *m, const struct turn_redis_link *l)
{
    static const char look_ups[] = "sori_turn_redis_look_ups_total";
    static const char records[] = "sori_turn_redis_records_total";
    static const char *const labels[LOOK_UPS] = {"result=\"found\"", "result=\"absent\"",
                                                 "result=\"failed\""};

    int e = metrics_add(m, "sori_turn_redis_up", "", "1 while Redis answers", METRIC_GAUGE, &l->up);
    if (!e)
        e = metrics_add(m, "sori_turn_redis_connects_total", "", "Connections to Redis made",
                        METRIC_COUNTER, &l->connects);
    for (unsigned i = 0; !e && i < LOOK_UPS; i++)
        e = metrics_add(m, look_ups, labels[i], "Users looked up in Redis, by result",
                        METRIC_COUNTER, &l->look_ups[i]);
    if (!e)
        e = metrics_add(m, records, "result=\"sent\"", "Records of use for Redis, by result",
                        METRIC_COUNTER, &l->records_sent);
    if (!e)
        e = metrics_add(m, records, "result=\"lost\"", "Records of use for Redis, by result",
                        METRIC_COUNTER, &l->records_lost);
    if (!e)
        e = metrics_add(m, "sori_turn_redis_records_waiting", "",
                        "Records of use that Redis has not confirmed", METRIC_GAUGE,
                        &l->waiting_now);
    return e;
}

static void link_free(struct turn_redis_link *l)
{
    struct list *first;

    l->n_workers = 0;
    while ((first = list_first(&l->asked))) {
        struct query *q = CONTAINER_OF(first, struct query, link);
        redis_client_cancel(redis_conn_client(&l->command), &q->call);
        give_answer(q, LOOK_UP_FAILED, NULL);
    }
    if (l->command.link)
        take_back(l);
    redis_conn_close(&l->subscription);
    redis_conn_close(&l->command);
    redis_conn_base_fini(&l->base);
    mem_free(l->reads);
    while ((first = list_first(&l->waiting)))
        drop_record(CONTAINER_OF(first, struct record, link), &l->n_waiting);
    worker_free(l->loop);
    pthread_cond_destroy(&l->news);
    pthread_mutex_destroy(&l->lock);
    crypto_wipe(&l->secrets, sizeof(l->secrets));
    crypto_wipe(&l->incoming, sizeof(l->incoming));
    mem_free(l);
}

static bool make_conns(struct turn_redis_link *l)
{
    unsigned realms = turn_conf_realms(l->conf);

    l->reads = mem_calloc(realms, sizeof(*l->reads));
    if (!l->reads || redis_conn_base_init(&l->base, l->loop, l->conf) != 0)
        return false;
    for (unsigned i = 0; i < realms; i++)
        l->reads[i] = (struct secret_read){.l = l, .realm = i};
    return redis_conn_init(&l->command, &l->base, NULL, &command_ops, l) == 0 &&
           (!wants_news(l->conf) ||
            redis_conn_init(&l->subscription, &l->base, "reload", &subscription_ops, l) == 0);
}

struct turn_redis_link *turn_redis_link_start(const struct turn_conf *conf, struct metrics *m,
                                              void (*changed)(void))
{
    struct turn_redis_link *l = mem_zalloc(sizeof(*l));
    pthread_condattr_t monotonic;

    if (!l)
        return NULL;
    l->conf = conf;
    l->changed = changed;
    list_init(&l->asked);
    list_init(&l->waiting);
    list_init(&l->sent);
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->tick = (struct wtimer){.fn = on_tick, .arg = l};
    l->loop = worker_new(0);
    if (l->loop && make_conns(l) && register_counters(m, l) == 0) {
        worker_timer(l->loop, &l->tick, worker_now(l->loop));
        if (worker_start(l->loop, "redis") == 0)
            return l;
    }
    link_free(l);
    return NULL;
}

/* Waits until *what, at most timeout_ms. Gives *what. */
static bool wait_for(struct turn_redis_link *l, const bool *what, uint64_t timeout_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000) + 1; /* a whole second more: it is a bound */
    pthread_mutex_lock(&l->lock);
    while (!*what && pthread_cond_timedwait(&l->news, &l->lock, &until) != ETIMEDOUT)
        continue;
    bool there = *what;
    pthread_mutex_unlock(&l->lock);
    return there;
}

bool turn_redis_link_wait(struct turn_redis_link *l)
{
    return !l->conf->redis_secrets || wait_for(l, &l->secrets_known, l->conf->redis_timeout_ms);
}

void turn_redis_link_secrets(struct turn_redis_link *l, struct shared_secrets *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->secrets;
    l->secrets_copied = true;
    pthread_mutex_unlock(&l->lock);
}

struct attachment {
    struct turn_redis_link *l;
    struct turn_worker **workers;
    unsigned n;
};

static void on_attach(void *arg, uint64_t now_us)
{
    struct attachment *a = arg;

    (void)now_us;
    a->l->workers = a->workers;
    a->l->n_workers = a->n;
    mem_free(a);
}

int turn_redis_link_attach(struct turn_redis_link *l, struct turn_worker **workers, unsigned n)
{
    struct attachment *a = mem_zalloc(sizeof(*a));

    if (!a)
        return -ENOMEM;
    *a = (struct attachment){l, workers, n};
    int err = worker_post(l->loop, on_attach, a);
    if (err)
        mem_free(a);
    return err;
}

void turn_redis_link_detach(struct turn_redis_link *l)
{
    while (worker_post(l->loop, on_detach, l) != 0)
        continue; /* nothing can go on without: memory comes back */
    while (!wait_for(l, &l->detached, 60000))
        continue;
}

int turn_redis_link_ask(struct turn_redis_link *l, unsigned worker, unsigned realm,
                        struct slice name)
{
    if (!__atomic_load_n(&l->ready, __ATOMIC_RELAXED) ||
        __atomic_load_n(&l->posted, __ATOMIC_RELAXED) >= POSTED_MAX)
        return -EAGAIN;
    struct query *q = mem_zalloc(sizeof(*q) + name.len);
    if (!q)
        return -EAGAIN;
    *q = (struct query){.l = l, .worker = worker, .realm = realm, .len = name.len};
    struct wr w = wr_init(q->name, name.len);
    wr_bytes(&w, name);
    __atomic_fetch_add(&l->posted, 1, __ATOMIC_RELAXED);
    if (worker_post(l->loop, on_ask, q) == 0)
        return 0;
    __atomic_fetch_sub(&l->posted, 1, __ATOMIC_RELAXED);
    mem_free(q);
    return -EAGAIN;
}

void turn_redis_link_record(struct turn_redis_link *l, struct slice json)
{
    struct record *r = NULL;

    if (__atomic_load_n(&l->posted, __ATOMIC_RELAXED) < POSTED_MAX)
        r = mem_zalloc(sizeof(*r) + json.len);
    if (r) {
        r->l = l;
        r->len = json.len;
        struct wr w = wr_init(r->json, json.len);
        wr_bytes(&w, json);
        __atomic_fetch_add(&l->posted, 1, __ATOMIC_RELAXED);
        if (worker_post(l->loop, on_record, r) == 0)
            return;
        __atomic_fetch_sub(&l->posted, 1, __ATOMIC_RELAXED);
        mem_free(r);
    }
    __atomic_fetch_add(&l->refused, 1, __ATOMIC_RELAXED);
}

void turn_redis_link_stop(struct turn_redis_link *l)
{
    if (!l)
        return;
    while (worker_post(l->loop, on_finish, l) != 0)
        continue;
    worker_join(l->loop);
    if (l->n_waiting + l->n_sent > 0)
        log_warn("redis", "%zu records of use are lost", l->n_waiting + l->n_sent);
    link_free(l);
}

/* One connection to Redis: made, proven alive, made again.
 *
 * Called by turn_redis_link.c, which has one for commands and one that subscribes and can do
 * nothing else.
 *
 *     DOWN ──open_conn──► CONNECTING ──on_connect──► SETTING_UP ──on_ready──► READY
 *       ▲  (backoff, jitter)                         AUTH SELECT, PING or SUBSCRIBE │
 *       └──────────── down ◄── error, end, no answer within the timeout ────────────┘
 *
 * Commands are sent as counted words, never as text put together.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/redis_conn_link.h"

#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>

#include "base/log.h"
#include "base/rand.h"
#include "turn/redis_schema.h"

#define IDLE_US        (5 * US_PER_S) /* without a word for so long: PING */
#define BACKOFF_MIN_US (100 * US_PER_MS)
#define BACKOFF_MAX_US (10 * US_PER_S)
#define DOUBLINGS_MAX  7
#define WORDS_MAX      8 /* of a command */
#define WHY_MAX        128

void redis_conn_init(struct redis_conn *c, struct worker *loop, const struct turn_conf *conf,
                     const char *channel, const struct redis_conn_ops *ops, void *arg)
{
    *c =
        (struct redis_conn){.loop = loop, .conf = conf, .ops = ops, .arg = arg, .channel = channel};
}

bool redis_conn_send(struct redis_conn *c, redis_conn_fn *fn, void *arg, const struct slice *words,
                     int n)
{
    const char *v[WORDS_MAX];
    size_t len[WORDS_MAX];

    if (!c->ac || n > WORDS_MAX)
        return false;
    for (int i = 0; i < n; i++) {
        v[i] = words[i].len > 0 ? (const char *)words[i].p : "";
        len[i] = words[i].len;
    }
    if (redisAsyncCommandArgv(c->ac, fn, arg, n, v, len) != REDIS_OK)
        return false;
    if (c->open++ == 0)
        c->word_us = worker_now(c->loop);
    return true;
}

static struct redis_conn *heard(redisAsyncContext *ac)
{
    struct redis_conn *c = ac->data;

    c->word_us = worker_now(c->loop);
    if (c->open > 0)
        c->open--;
    return c;
}

void *redis_conn_heard(struct redisAsyncContext *ac)
{
    return heard(ac)->arg;
}

static const char *name_of(const struct redis_conn *c)
{
    return c->channel ? "subscription" : "connection";
}

/* It is gone, or was never there: comes again after a while, each time a longer one, and not when
 * all others do. The line is written once until it is there again. */
static void down(struct redis_conn *c, const char *why)
{
    unsigned doublings = c->tries < DOUBLINGS_MAX ? c->tries : DOUBLINGS_MAX;
    uint64_t wait_us = BACKOFF_MIN_US << doublings;

    if (c->state == REDIS_CONN_DOWN)
        return;
    c->ac = NULL;
    c->state = REDIS_CONN_DOWN;
    c->open = 0;
    c->tries++;
    if (wait_us > BACKOFF_MAX_US)
        wait_us = BACKOFF_MAX_US;
    c->retry_us = worker_now(c->loop) + wait_us / 2 + rand_below(wait_us / 2);
    c->ops->down(c->arg);
    if (!c->told && !c->quiet)
        log_warn("redis", "%s: %s; trying again", name_of(c), why);
    c->told = true;
}

/* Ends the connection from our side; its callbacks come before this returns. */
static void give_up(struct redis_conn *c, const char *why)
{
    redisAsyncContext *ac = c->ac;

    down(c, why);
    if (ac)
        redisAsyncFree(ac);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    (void)status;
    if (((struct redis_conn *)ac->data)->ac == ac)
        down(ac->data, ac->err ? ac->errstr : "closed");
}

static void up(struct redis_conn *c)
{
    c->state = REDIS_CONN_READY;
    c->tries = 0;
    if (c->told || !c->channel)
        log_info("redis", "%s is there", name_of(c));
    c->told = false;
    c->ops->up(c->arg);
}

/* After AUTH and SELECT. An error there ends the connection: it would be of no use. */
static void on_setup(redisAsyncContext *ac, void *reply, void *arg)
{
    struct redis_conn *c = heard(ac);
    const redisReply *r = reply;

    (void)arg;
    if (r && r->type == REDIS_REPLY_ERROR && c->ac == ac)
        give_up(c, r->str);
}

/* The answer to PING, the first one and later ones. */
static void on_ready(redisAsyncContext *ac, void *reply, void *arg)
{
    struct redis_conn *c = heard(ac);
    const redisReply *r = reply;

    (void)arg;
    if (!r || c->ac != ac)
        return;
    if (r->type == REDIS_REPLY_ERROR)
        give_up(c, r->str);
    else if (c->state != REDIS_CONN_READY)
        up(c);
}

static bool is_message(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements > 0 &&
           r->element[0]->type == REDIS_REPLY_STRING &&
           slice_is(slice_of(r->element[0]->str, r->element[0]->len), "message");
}

static void on_message(redisAsyncContext *ac, void *reply, void *arg)
{
    struct redis_conn *c = ac->data;
    const redisReply *r = reply;

    (void)arg;
    c->word_us = worker_now(c->loop);
    c->open = 0;
    if (!r || c->ac != ac)
        return;
    if (r->type == REDIS_REPLY_ERROR)
        give_up(c, r->str);
    else if (is_message(r))
        c->ops->message(c->arg);
    else if (c->state != REDIS_CONN_READY)
        up(c);
}

static void authenticate(struct redis_conn *c)
{
    struct slice user = slice_str(c->conf->redis_username);
    const struct slice password = slice_of(c->conf->redis_password.p, c->conf->redis_password.len);
    const struct slice words[] = {SLICE_LIT("AUTH"), user, password};
    const struct slice alone[] = {SLICE_LIT("AUTH"), password};

    if (password.len > 0 && user.len > 0)
        redis_conn_send(c, on_setup, NULL, words, ARRAY_LEN(words));
    else if (password.len > 0)
        redis_conn_send(c, on_setup, NULL, alone, ARRAY_LEN(alone));
}

/* Proves who we are, takes the database, and asks for a first sign of life. */
static void set_up(struct redis_conn *c)
{
    uint8_t text[24], name[REDIS_SCHEMA_NAME_MAX];
    struct wr number = wr_init(text, sizeof(text)), channel = wr_init(name, sizeof(name));
    const struct slice ping[] = {SLICE_LIT("PING")};

    authenticate(c);
    wr_u64(&number, c->conf->redis_database);
    const struct slice select[] = {SLICE_LIT("SELECT"), wr_done(&number)};
    if (c->conf->redis_database > 0)
        redis_conn_send(c, on_setup, NULL, select, ARRAY_LEN(select));
    wr_str(&channel, c->conf->redis_prefix);
    wr_str(&channel, c->channel ? c->channel : "");
    const struct slice subscribe[] = {SLICE_LIT("SUBSCRIBE"), wr_done(&channel)};
    if (c->channel)
        redis_conn_send(c, on_message, NULL, subscribe, ARRAY_LEN(subscribe));
    else
        redis_conn_send(c, on_ready, NULL, ping, ARRAY_LEN(ping));
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct redis_conn *c = ac->data;

    if (c->ac != ac)
        return;
    if (status != REDIS_OK) {
        down(c, ac->errstr); /* hiredis frees it itself */
        return;
    }
    if (!c->conf->redis_socket[0])
        redisEnableKeepAlive(&c->ac->c); /* a subscription may be silent for ever */
    c->state = REDIS_CONN_SETTING_UP;
    c->open = 0;
    set_up(c);
}

static void open_conn(struct redis_conn *c)
{
    char ip[ADDR_TEXT_MAX];

    c->state = REDIS_CONN_CONNECTING;
    c->open = 1; /* the connection itself is waited for */
    c->word_us = worker_now(c->loop);
    c->ac = c->conf->redis_socket[0]
                ? redisAsyncConnectUnix(c->conf->redis_socket)
                : redisAsyncConnect(addr_ip_format(&c->conf->redis, ip), c->conf->redis.port);
    if (!c->ac || c->ac->err) {
        char why[WHY_MAX];
        snprintf(why, sizeof(why), "%s", c->ac ? c->ac->errstr : "out of memory");
        give_up(c, why);
        return;
    }
    c->ac->data = c;
    redisLibeventAttach(c->ac, worker_base(c->loop));
    redisAsyncSetConnectCallback(c->ac, on_connect);
    redisAsyncSetDisconnectCallback(c->ac, on_disconnect);
}

void redis_conn_look(struct redis_conn *c, uint64_t now_us)
{
    const struct slice ping[] = {SLICE_LIT("PING")};

    if (c->state == REDIS_CONN_DOWN) {
        if (now_us >= c->retry_us && !c->quiet)
            open_conn(c);
    } else if (c->open > 0 && now_us >= c->word_us + c->conf->redis_timeout_ms * US_PER_MS) {
        give_up(c, "no answer in time");
    } else if (c->state == REDIS_CONN_READY && c->open == 0 && !c->channel &&
               now_us >= c->word_us + IDLE_US) {
        redis_conn_send(c, on_ready, NULL, ping, ARRAY_LEN(ping));
    }
}

void redis_conn_close(struct redis_conn *c)
{
    c->quiet = true;
    give_up(c, "");
}

/* One connection to Redis: made, proven alive, made again. The wrapper of hiredis: whoever sends
 * commands gets replies as hiredis gives them. Of the thread whose loop it is on.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REDIS_CONN_LINK_H
#define SORI_TURN_REDIS_CONN_LINK_H

#include "net/worker.h"
#include "turn/turn_conf.h"

struct redisAsyncContext;

/* Told in the loop's thread; each with the arg of redis_conn_init(). */
struct redis_conn_ops {
    void (*up)(void *arg);   /* it can be used; for a subscription: from now on it hears */
    void (*down)(void *arg); /* what has no reply yet is called back with NULL, before or after */
    void (*message)(void *arg); /* something was said in the channel */
};

enum redis_conn_state {
    REDIS_CONN_DOWN,
    REDIS_CONN_CONNECTING,
    REDIS_CONN_SETTING_UP,
    REDIS_CONN_READY,
};

/* Embedded; its members are the file's own. */
struct redis_conn {
    struct worker *loop;
    const struct turn_conf *conf;
    const struct redis_conn_ops *ops;
    void *arg;
    const char *channel;          /* heard behind the prefix; NULL: it sends commands */
    struct redisAsyncContext *ac; /* NULL: REDIS_CONN_DOWN */
    enum redis_conn_state state;
    bool told, quiet;           /* that it is down has been logged; need not be */
    unsigned tries, open;       /* attempts since it was ready; commands without a reply */
    uint64_t retry_us, word_us; /* when to connect; when it last said something, or was asked */
};

/* channel: NULL for commands, else it does nothing but hear that one. Nothing is done before the
 * first redis_conn_look(). */
void redis_conn_init(struct redis_conn *c, struct worker *loop, const struct turn_conf *conf,
                     const char *channel, const struct redis_conn_ops *ops, void *arg);

/* Connects when it is time, asks for a sign of life, gives up what does not answer within the
 * configured timeout. To be called several times a second. */
void redis_conn_look(struct redis_conn *c, uint64_t now_us);

/* Sends a command of n counted words (at most 8). fn(ac, reply, arg) is called with hiredis's
 * reply, or NULL when the connection has gone; it begins with redis_conn_heard(). False, and fn is
 * not called: it cannot be sent. */
typedef void redis_conn_fn(struct redisAsyncContext *ac, void *reply, void *arg);
bool redis_conn_send(struct redis_conn *c, redis_conn_fn *fn, void *arg, const struct slice *words,
                     int n);

/* Counts the reply and gives the arg of redis_conn_init(). */
void *redis_conn_heard(struct redisAsyncContext *ac);

static inline bool redis_conn_is_ready(const struct redis_conn *c)
{
    return c->state == REDIS_CONN_READY;
}

/* Ends it, without a line in the log; down() is called if it was not down. */
void redis_conn_close(struct redis_conn *c);

#endif

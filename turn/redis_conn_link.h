/* One connection of sori-turn's to Redis, as [redis] says; where that names no server, to the one
 * of [cluster], with its TLS and Sentinels. Of the thread whose loop it is on.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REDIS_CONN_LINK_H
#define SORI_TURN_REDIS_CONN_LINK_H

#include "net/redis_link.h"
#include "turn/redis_schema.h"
#include "turn/turn_conf.h"

struct resolver;

/* Embedded; its members are the file's own. */
struct redis_conn {
    struct redis_link *link;
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
    struct slice channel;
    uint8_t channel_text[REDIS_SCHEMA_NAME_MAX];
};

/* What connections of a thread share: names, TLS. Zeroed at first. */
struct redis_conn_base {
    struct worker *loop;
    const struct turn_conf *conf;
    struct resolver *resolver;
    struct tls_ctx *tls;
};
/* Returns 0, or -EINVAL with a line in the log: the configured certificates cannot be used. */
int redis_conn_base_init(struct redis_conn_base *b, struct worker *loop,
                         const struct turn_conf *conf);
void redis_conn_base_fini(struct redis_conn_base *b);

/* Begins to connect when the loop runs. channel: heard behind the prefix, and it can do nothing
 * else; NULL: it sends commands. Returns 0 or -ENOMEM. */
int redis_conn_init(struct redis_conn *c, const struct redis_conn_base *b, const char *channel,
                    const struct redis_client_ops *ops, void *arg);
/* Calls without an end are forgotten. Harmless when it was not made. */
void redis_conn_close(struct redis_conn *c);

static inline struct redis_client *redis_conn_client(const struct redis_conn *c)
{
    return redis_link_client(c->link);
}

static inline bool redis_conn_is_ready(const struct redis_conn *c)
{
    return redis_client_ready(redis_conn_client(c));
}

#endif

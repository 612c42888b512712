/* One connection of sori-turn's to Redis: what common/net/redis_link.h is told of the
 * configuration.
 *
 * Called by turn_redis_link.c, which has one for commands and one that subscribes and can do
 * nothing else. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/redis_conn_link.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "net/resolve.h"
#include "net/tls.h"
#include "net/worker.h"

/* Whether [redis] names no server of its own. */
static bool is_clusters(const struct turn_conf *c)
{
    return c->redis.family == ADDR_NONE && c->redis_socket[0] == '\0';
}

int redis_conn_base_init(struct redis_conn_base *b, struct worker *loop,
                         const struct turn_conf *conf)
{
    const struct redis_options *o = &conf->cluster.redis;
    char err[TLS_ERR_MAX];

    *b = (struct redis_conn_base){.loop = loop, .conf = conf};
    if (!is_clusters(conf))
        return 0;
    b->resolver = resolver_new(loop);
    if (!o->tls)
        return 0;
    b->tls = tls_client_ctx_new(o->ca_file, o->cert_file, o->key_file, NULL, err);
    if (b->tls)
        return 0;
    log_error("redis", "%s", err);
    return -EINVAL;
}

void redis_conn_base_fini(struct redis_conn_base *b)
{
    tls_ctx_free(b->tls);
    resolver_free(b->resolver);
    *b = (struct redis_conn_base){0};
}

/* As [redis] has it: one server, in clear text. */
static void own_server(const struct turn_conf *conf, struct redis_endpoint *at,
                       struct redis_client_conf *out)
{
    char ip[ADDR_TEXT_MAX];

    if (conf->redis_socket[0] != '\0')
        (void)snprintf(at->host, sizeof(at->host), "%s", conf->redis_socket);
    else
        (void)snprintf(at->host, sizeof(at->host), "%s", addr_ip_format(&conf->redis, ip));
    at->port = conf->redis_socket[0] != '\0' ? 0 : conf->redis.port;
    out->at_n = 1;
    out->master = (struct slice){0};
    out->user = slice_str(conf->redis_username);
    out->password = slice_of(conf->redis_password.p, conf->redis_password.len);
    out->database = (unsigned)conf->redis_database;
    out->any_role = true; /* as before there were others: its user may be allowed no ROLE */
}

int redis_conn_init(struct redis_conn *c, const struct redis_conn_base *b, const char *channel,
                    const struct redis_client_ops *ops, void *arg)
{
    const struct turn_conf *conf = b->conf;
    struct redis_link_conf link = {.name = channel ? "subscription" : "connection",
                                   .resolver = b->resolver,
                                   .tls = b->tls,
                                   .tls_name = conf->cluster.redis.tls_name};
    struct redis_client_conf *client = &link.client;
    uint64_t timeout_us = conf->redis_timeout_ms * US_PER_MS;
    struct wr w = wr_init(c->channel_text, sizeof(c->channel_text));

    redis_options_client(&conf->cluster.redis, c->at, client);
    if (is_clusters(conf) == false)
        own_server(conf, &c->at[0], client);
    client->timeout_us = client->dead_us = timeout_us;
    client->open_us = 2 * timeout_us;
    if (channel) {
        wr_str(&w, conf->redis_prefix);
        wr_str(&w, channel);
        c->channel = wr_done(&w);
        client->channels = &c->channel;
        client->channels_n = 1;
    }
    c->link = redis_link_new(b->loop, &link, ops, arg);
    return c->link ? 0 : -ENOMEM;
}

void redis_conn_close(struct redis_conn *c)
{
    redis_link_free(c->link);
    c->link = NULL;
}

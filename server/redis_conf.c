/* [redis] of server.ini.
 *
 * Called by server_conf.c (checks) and main.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/redis_conf.h"

#include <stdio.h>

#include "proto/sig.h"

#define PORT          6379
#define SENTINEL_PORT 26379
#define REPLY_BYTES   ((size_t)4 << 20) /* of one reply: a user's devices, a portion of a stream */
#define REPLY_VALUES  ((size_t)65536)
#define RETRY_MIN_US  (100 * US_PER_MS)
#define RETRY_MAX_US  (1 * US_PER_S)
#define IDLE_US       (2 * US_PER_S) /* silence before PING: a dead path is found by it */

bool redis_conf_wanted(const struct server_conf *c)
{
    return c->redis.servers.n + c->redis.sentinels.n > 0;
}

static const char *wrong_entry(const struct conf_list *l, const char *name, uint16_t port,
                               char buf[CONF_ERR_MAX])
{
    struct redis_endpoint e;

    if (l->n > REDIS_ENDPOINTS_MAX) {
        snprintf(buf, CONF_ERR_MAX, "[redis] %s: more than %d", name, REDIS_ENDPOINTS_MAX);
        return buf;
    }
    for (size_t i = 0; i < l->n; i++)
        if (redis_endpoint_parse(&e, slice_str(l->v[i]), port) != 0) {
            snprintf(buf, CONF_ERR_MAX,
                     "[redis] %s = %.200s: host, host:port, [IPv6]:port or unix:PATH is expected",
                     name, l->v[i]);
            return buf;
        }
    return NULL;
}

const char *redis_conf_wrong(const struct server_conf *c, char buf[CONF_ERR_MAX])
{
    bool tls_files = *c->redis.ca_file || *c->redis.cert_file || *c->redis.tls_name;
    const char *wrong = wrong_entry(&c->redis.servers, "servers", PORT, buf);

    if (!wrong)
        wrong = wrong_entry(&c->redis.sentinels, "sentinels", SENTINEL_PORT, buf);
    if (wrong || !redis_conf_wanted(c))
        return wrong;
    struct slice node = slice_str(c->server.node_id);
    if (c->redis.servers.n > 0 && c->redis.sentinels.n > 0)
        return "[redis] servers, sentinels: name one of them; Sentinels tell where the servers are";
    if (c->redis.sentinels.n > 0 && !*c->redis.master)
        return "[redis] master: the Sentinels need the name they know it by";
    if (node.len == 0 || !sig_id_ok(node))
        return "[server] node_id: 1 to 64 of A-Z a-z 0-9 . _ - when Redis is used, and another one "
               "on each node";
    if (tls_files && !c->redis.tls)
        return "[redis] ca_file, cert_file, tls_name: need tls = yes";
    if (*c->redis.cert_file && !*c->redis.key_file)
        return "[redis] cert_file: its key_file is missing";
    if (*c->redis.username && c->redis.password.len == 0)
        return "[redis] username: its password_file is missing";
    if (*c->redis.sentinel_username && c->redis.sentinel_password.len == 0)
        return "[redis] sentinel_username: its sentinel_password_file is missing";
    if (c->redis.lease_s * 1000 < 3 * c->redis.timeout_ms)
        return "[redis] lease: at least three times the timeout, or one late answer ends it";
    return NULL;
}

static struct slice secret_of(const struct conf_secret *s)
{
    return slice_of(s->p, s->len);
}

void redis_conf_client(const struct server_conf *c, struct redis_endpoint at[REDIS_ENDPOINTS_MAX],
                       struct redis_client_conf *out)
{
    bool sentinels = c->redis.sentinels.n > 0;
    const struct conf_list *l = sentinels ? &c->redis.sentinels : &c->redis.servers;
    uint64_t timeout_us = c->redis.timeout_ms * US_PER_MS;

    for (size_t i = 0; i < l->n; i++)
        (void)redis_endpoint_parse(&at[i], slice_str(l->v[i]), sentinels ? SENTINEL_PORT : PORT);
    *out = (struct redis_client_conf){
        .at = at,
        .at_n = l->n,
        .master = sentinels ? slice_str(c->redis.master) : (struct slice){0},
        .user = slice_str(c->redis.username),
        .password = secret_of(&c->redis.password),
        .sentinel_user = slice_str(c->redis.sentinel_username),
        .sentinel_password = secret_of(&c->redis.sentinel_password),
        .database = (unsigned)c->redis.database,
        .timeout_us = timeout_us,
        .open_us = 2 * timeout_us,
        .dead_us = timeout_us,
        .idle_us = IDLE_US,
        .retry_min_us = RETRY_MIN_US,
        .retry_max_us = RETRY_MAX_US,
        .calls_max = c->redis.queue,
        .bytes_max = c->redis.queue_bytes,
        .reply_bytes = REPLY_BYTES,
        .reply_values = REPLY_VALUES,
    };
}

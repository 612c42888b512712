/* [redis] of server.ini.
 *
 * Called by server_conf.c (checks) and main.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/redis_conf.h"

#include "proto/sig.h"

bool redis_conf_wanted(const struct server_conf *c)
{
    return redis_options_wanted(&c->redis);
}

const char *redis_conf_wrong(const struct server_conf *c, char buf[CONF_ERR_MAX])
{
    const char *wrong = redis_options_wrong(&c->redis, "redis", buf);
    struct slice node = slice_str(c->server.node_id);

    if (wrong || !redis_conf_wanted(c))
        return wrong;
    if (node.len == 0 || !sig_id_ok(node))
        return "[server] node_id: 1 to 64 of A-Z a-z 0-9 . _ - when Redis is used, and another one "
               "on each node";
    return NULL;
}

void redis_conf_client(const struct server_conf *c, struct redis_endpoint at[REDIS_ENDPOINTS_MAX],
                       struct redis_client_conf *out)
{
    redis_options_client(&c->redis, at, out);
}

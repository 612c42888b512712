/* What [redis] of server.ini says, checked and put into the form that net/redis_link.h takes.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REDIS_CONF_H
#define SORI_SERVER_REDIS_CONF_H

#include "net/redis_client.h"
#include "server/server_conf.h"

/* Whether Redis is to be used: servers or sentinels are given. */
bool redis_conf_wanted(const struct server_conf *c);

/* What is wrong with the section, together with [server] node_id, in words that say what to do;
 * NULL: nothing. buf holds them where they name an entry. */
const char *redis_conf_wrong(const struct server_conf *c, char buf[CONF_ERR_MAX]);

/* Fills what a client of ours needs but for its scripts and channels. at: memory for the endpoints,
 * which *out borrows, as it does all of c. Only when redis_conf_wrong() has nothing to say. */
void redis_conf_client(const struct server_conf *c, struct redis_endpoint at[REDIS_ENDPOINTS_MAX],
                       struct redis_client_conf *out);

#endif

/* The presence store of many nodes with its two connections to Redis, on a worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_LINK_H
#define SORI_SERVER_PRESENCE_LINK_H

#include "base/metrics.h"
#include "net/tls.h"
#include "server/presence_store.h"
#include "server/router.h"
#include "server/server_conf.h"

struct presence_link;
struct worker;

/* As [redis] and [server] node_id of c say (redis_conf_wanted(c)); c outlives it. Connects when the
 * worker runs. NULL: err says what is wrong, and which file. */
struct presence_link *presence_link_new(struct worker *w, const struct server_conf *c,
                                        char err[TLS_ERR_MAX]);
/* With the store. NULL is allowed. */
void presence_link_free(struct presence_link *l);

/* From now on enter(arg) is called before anything is told: the shell sets its clock. */
void presence_link_set_enter(struct presence_link *l, void (*enter)(void *arg), void *arg);

/* This process ends, and all that it had to say is said: others may take over at once what it had.
 * Takes a round trip to Redis. NULL is allowed. */
void presence_link_leave(struct presence_link *l);

/* The store, for router_new(); the link frees it. Whether it is connected; why not. */
struct presence_store *presence_link_store(struct presence_link *l);
bool presence_link_ready(const struct presence_link *l);
const char *presence_link_why(const struct presence_link *l);
/* The way to other nodes, for router_set_nodes(); the link frees it. */
struct router_nodes presence_link_nodes(struct presence_link *l);
/* What does not work, as a text that stays; NULL: nothing. Any thread. */
const char *presence_link_trouble(const struct presence_link *l);
/* Names what has become of its commands, and how it stands. The link outlives m. */
void presence_link_metrics(struct presence_link *l, struct metrics *m);

#endif

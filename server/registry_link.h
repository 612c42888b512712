/* Reads which relays and media servers have registered themselves in Redis, and connects to the
 * media servers. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REGISTRY_LINK_H
#define SORI_SERVER_REGISTRY_LINK_H

#include "base/metrics.h"
#include "net/tls.h"
#include "server/server_conf.h"

struct registry_link;
struct router;
struct worker;
struct ws_listener;

/* As [redis], [turn] and [sfu] of c say; c, r and l outlive it. From now on r gives registered
 * relays to its clients. NULL: err says what is wrong, and which file. */
struct registry_link *registry_link_new(struct worker *w, const struct server_conf *c,
                                        struct router *r, struct ws_listener *l,
                                        char err[TLS_ERR_MAX]);
/* With its connections to media servers, whose nodes stay in the router. NULL is allowed. */
void registry_link_free(struct registry_link *k);

/* The secrets in its configuration are others now. NULL is allowed. */
void registry_link_reload(struct registry_link *k);

/* Whether relays have been told of, or Redis has had its time to do so (3 s): until then clients of
 * a server that has just begun would be given none. Any thread. */
bool registry_link_told(const struct registry_link *k);

/* Names what is registered, usable and granted. The link outlives m. */
void registry_link_metrics(struct registry_link *k, struct metrics *m);

#endif

/* A connection to Redis on a worker: name, TCP or Unix socket, TLS, and the machine of
 * redis_client.h that says what goes over it and whom to connect to.
 *
 * Everything is done at the end of a turn, all commands of a turn in as few writes as possible.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_REDIS_LINK_H
#define SORI_NET_REDIS_LINK_H

#include "net/redis_client.h"

struct redis_link;
struct resolver;
struct tls_ctx;
struct worker;

/* All borrowed; outlives the link. */
struct redis_link_conf {
    const char *name;                /* in the log */
    struct redis_client_conf client; /* its seed is drawn here when it is 0 */
    struct resolver *resolver; /* NULL: addresses and Unix sockets only, names cannot be reached */
    struct tls_ctx *tls;  /* of tls_client_ctx_new(), this worker's; NULL: clear text. Not for Unix
                             sockets */
    const char *tls_name; /* whom the servers' certificates are for; NULL or empty: for the host
                             that is connected to (Sentinels name addresses) */
};

/* Begins to connect as soon as the worker runs. ops: wake is the link's own, the others may be
 * NULL; they are called with arg. The loss of the connection and its return are logged here. NULL
 * when memory is out. */
struct redis_link *redis_link_new(struct worker *w, const struct redis_link_conf *conf,
                                  const struct redis_client_ops *ops, void *arg);
/* Closes; calls without an end are forgotten. NULL is allowed. */
void redis_link_free(struct redis_link *l);

/* Sends what was asked for now, ahead of what else leaves at the end of the turn. */
void redis_link_push(struct redis_link *l);

/* For redis_client_call() and what else is above the line there. */
struct redis_client *redis_link_client(struct redis_link *l);

#endif

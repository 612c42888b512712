/* An HTTP/2 client: a pool of TLS connections to one host, driven by a worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_CLIENT_LINK_H
#define SORI_SERVER_H2_CLIENT_LINK_H

#include "net/tls.h"
#include "server/h2_pool.h"

struct h2_client;
struct worker;

struct h2_client_conf {
    const char *name;       /* "call": in log lines */
    const char *host;       /* verified in the certificate; asked of the DNS at each connect */
    uint16_t port;          /* 443 */
    const char *connect_to; /* NULL, or "address[:port]" that is connected to instead (tests) */
    const char *proxy;      /* NULL, or "host:port" of a proxy that is asked to CONNECT */
    const char *proxy_auth; /* NULL, or "user:password" for it (Basic) */
    const char *ca_file;    /* NULL: the system's store */
    const char *cert_file, *key_file; /* both or none: certificate authentication */
    struct h2_pool_conf pool;
    /* 0: the default in brackets. */
    uint64_t open_us;      /* for a connection to come up, all steps together (10 s) */
    uint64_t ping_us;      /* a request waits so long without a word from the peer: PING (1 s) */
    uint64_t ping_idle_us; /* nothing was heard for so long: PING (60 s) */
    uint64_t dead_us;      /* a PING is not answered for so long: the connection is dead (1 s) */
};

/* A client on w that opens its connections as soon as w runs; conf is copied. NULL with err saying
 * what is wrong and what to do (unreadable ca_file, key that is not the certificate's, …). Before w
 * runs or on its thread. */
struct h2_client *h2_client_new(struct worker *w, const struct h2_client_conf *conf,
                                char err[TLS_ERR_MAX]);
/* Ends all, as h2_pool_free() does. NULL is allowed. */
void h2_client_free(struct h2_client *c);

/* The pool, for h2_pool_retire() and figures; lent. */
struct h2_pool *h2_client_pool(struct h2_client *c);

/* h2_pool_send() at the worker's time. */
int h2_client_send(struct h2_client *c, const struct h2_request *q, h2_done_fn *done, void *ctx,
                   unsigned avoid_conn);

#endif

/* One connection of a pool: name, TCP, proxy, TLS, HTTP/2; a shell around h2_session.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_LINK_H
#define SORI_SERVER_H2_LINK_H

#include "base/log.h"
#include "server/h2_pool.h"

struct h2_link;
struct resolver;
struct tls_ctx;
struct worker;

/* What the links of one client share; its owner's, outlives them. */
struct h2_link_env {
    struct worker *worker;
    struct resolver *resolver;
    struct tls_ctx *tls;
    const char *name;             /* the pool's, for the log */
    const char *host, *authority; /* of the certificate; of requests */
    const char *dial_host;        /* who is connected to: the host, the proxy, or a test's */
    const char *proxy_auth;       /* "user:password", or NULL */
    uint16_t port, dial_port;
    bool by_proxy;
    unsigned streams_max;
    uint64_t open_us; /* time for all up to the peer's SETTINGS */
    uint64_t ping_us, ping_idle_us, dead_us;
    struct log_limit noise;
    void (*wake)(struct h2_link_env *env); /* there is something to flush, or a new deadline */
};

/* Begins to connect. NULL when memory is out. */
struct h2_link *h2_link_new(struct h2_link_env *env, struct h2_conn *c);
/* Says goodbye as far as the socket takes it, closes. The pool is told nothing. */
void h2_link_free(struct h2_link *k);

/* h2_conn_ops, see there. */
int h2_link_submit(struct h2_link *k, const struct h2_request *q, struct h2_job *job, void **stream,
                   uint64_t now_us);
void h2_link_forget(struct h2_link *k, void *stream);

/* Sends what is to be sent, at the end of a turn. False: the connection is over, the pool has been
 * told; free it. */
bool h2_link_flush(struct h2_link *k);
/* When to call h2_link_tick(), which does what is due. False: as for h2_link_flush(). */
uint64_t h2_link_deadline(const struct h2_link *k);
bool h2_link_tick(struct h2_link *k, uint64_t now_us);

#endif

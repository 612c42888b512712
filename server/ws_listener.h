/* The sockets of sori-server: accept, HTTP, WebSocket, and the clock that drives the router.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_WS_LISTENER_H
#define SORI_SERVER_WS_LISTENER_H

#include "net/tls.h"
#include "net/worker.h"
#include "server/router.h"

struct ws_listener;

/* What the operator sees of the sockets; written by the worker. */
struct ws_counters {
    struct counter http_requests, http_bad, upgrades, origins_refused, handshakes_limited;
};

/* Opens all listeners of conf on w (which does not run yet) and serves r. tls and conf are
 * borrowed; *tls may be replaced between turns. NULL with err saying which address and why. */
struct ws_listener *ws_listener_new(struct worker *w, struct router *r,
                                    const struct server_conf *conf, struct tls_ctx **tls,
                                    char err[CONF_ERR_MAX]);

/* Exports are fetched here, too (export_sock.h); e must outlive the streams. */
struct export_sock;
void ws_listener_set_exports(struct ws_listener *l, struct export_sock *e);

/* Refuses new connections from now on. */
void ws_listener_stop(struct ws_listener *l);
/* Ends every connection and frees; the worker must have stopped. NULL is allowed. */
void ws_listener_free(struct ws_listener *l);

/* Connections open now. */
unsigned ws_listener_count(const struct ws_listener *l);
const struct ws_counters *ws_listener_counters(const struct ws_listener *l);

/* Sets the router's clock and asks for its timers at the end of this turn: to be called before the
 * router is used from elsewhere on this worker (signals). */
void ws_listener_enter(struct ws_listener *l);

#endif

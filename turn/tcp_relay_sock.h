/* The sockets of TCP allocations at their own worker: the listening one, connections being made,
 * connections that wait for the client (RFC 6062). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_TCP_RELAY_SOCK_H
#define SORI_TURN_TCP_RELAY_SOCK_H

#include "turn/turn_worker.h"

/* Opens a's listening socket at `at`, and closes it: relay_ops.open and .close for TCP. */
int tcp_relay_sock_open(struct turn_worker *w, struct alloc *a, const struct addr *at);
void tcp_relay_sock_close(struct turn_worker *w, struct alloc *a);

/* relay_ops.connect and .disconnect. */
int tcp_relay_sock_connect(struct turn_worker *w, struct peer_conn *p);
void tcp_relay_sock_disconnect(struct turn_worker *w, struct peer_conn *p);

/* Takes the descriptor of p out of the worker's hands. */
int tcp_relay_sock_take(struct peer_conn *p);

#endif

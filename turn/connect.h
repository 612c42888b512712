/* Connect, ConnectionBind and ConnectionAttempt (RFC 6062 §5.2 to §5.4): how the peer data
 * connections of a TCP allocation come to be and end. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CONNECT_H
#define SORI_TURN_CONNECT_H

#include "turn/request.h"

/* Takes a Connect request: REQUEST_LATER, and connect_done() answers it; or 400, 403, 437, 441,
 * 443, 446, 447, 508. The peer is judged by the same rules as one of Send and ChannelBind, now,
 * right before the connection is begun. */
int connect_request(struct request *r, struct wr *w);

/* Takes a ConnectionBind request: 0, with r->core->bound_id and .bound_worker saying what the
 * client's connection is to be joined with after the answer; or 400, 441. Requests that wait on
 * that connection are forgotten. */
int connect_bind(struct request *r, struct wr *w);

/* The outgoing connection of p stands, or has failed: answers its Connect. p may be gone. */
void connect_done(struct turn_core *c, struct peer_conn *p, bool ok, uint64_t now_us);

/* A peer has connected to a's relayed address: tells the client. NULL: refused and counted, the
 * caller closes it at once. */
struct peer_conn *connect_incoming(struct turn_core *c, struct alloc *a, const struct addr *peer,
                                   uint64_t now_us);

/* The client data connection that has claimed id is at this worker: p is BOUND then, and the caller
 * sends p->sock's descriptor there. NULL: it is gone meanwhile. */
struct peer_conn *connect_bound(struct turn_core *c, uint32_t id, unsigned worker);

/* The data connection of a BOUND one has ended. Nothing happens when it is gone already. */
void connect_gone(struct turn_core *c, uint32_t id);

/* Ends p, or all connections of a to peers of this family, wherever they are. */
void connect_end(struct turn_core *c, struct peer_conn *p);
void connect_end_all(struct turn_core *c, struct alloc *a, uint8_t family);

/* Ends what has waited too long. */
void connect_tick(struct turn_core *c, uint64_t now_us);

#endif

/* One TCP or TLS address that clients connect to. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_TCP_LISTENER_H
#define SORI_TURN_TCP_LISTENER_H

#include "turn/turn_worker.h"

#define TURN_ALPN "stun.turn,stun.nat-discovery" /* RFC 7443 */

/* Opens a listener on `at`, which the workers share by SO_REUSEPORT. transport: TCP (with [tls]
 * on_tcp_ports TLS too, as the client begins) or TLS; number: as in five_tuple. Returns 0 and *out,
 * or -errno. */
int turn_tcp_listener_new(struct turn_tcp_listener **out, struct turn_worker *w,
                          const struct addr *at, enum five_tuple_transport transport,
                          uint16_t number);

/* Ends its connections, hence their allocations. NULL is allowed. */
void turn_tcp_listener_free(struct turn_tcp_listener *l);

/* The connection is no guest's any more: it ends in idle_timeout if nothing comes of it. */
void turn_tcp_listener_left(void *link);

/* Queues a control message on it. Returns 0, or -errno when there is no room. */
int turn_tcp_listener_tell(void *link, struct slice msg);

/* Queues a relayed message on the connection link (struct alloc.link); a message that the full
 * queue has no room for is dropped whole and counted. */
void turn_tcp_listener_send(void *link, const struct relay_to_client *out);

/* Takes a message that came earlier and was held (turn/held.h). */
void turn_tcp_listener_again(void *link, struct slice msg);

#endif

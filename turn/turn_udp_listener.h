/* One UDP address that clients send to. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_UDP_LISTENER_H
#define SORI_TURN_UDP_LISTENER_H

#include "turn/turn_worker.h"

/* Opens a listener on `at`, which the workers share by SO_REUSEPORT. number: as in five_tuple.
 * Returns 0 and *out, or -errno. */
int turn_udp_listener_new(struct turn_udp_listener **out, struct turn_worker *w,
                          const struct addr *at, uint16_t number);
void turn_udp_listener_free(struct turn_udp_listener *l); /* NULL is allowed */

/* Its socket, for what leaves from it otherwise. */
struct udp_sock *turn_udp_listener_sock(struct turn_udp_listener *l);

/* Queues a relayed message for a client, or the proxy before it, until the worker's next
 * udp_push(). */
void turn_udp_listener_send(struct turn_udp_listener *l, const struct addr *client,
                            const struct relay_to_client *out);

#endif

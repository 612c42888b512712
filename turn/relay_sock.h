/* The socket of an allocation's relayed address. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_RELAY_SOCK_H
#define SORI_TURN_RELAY_SOCK_H

#include "turn/turn_worker.h"

/* Opens a's relay socket at `at` and reads from it from now on. Returns 0 or -errno; relay_ops.open
 * has the meaning. */
int relay_sock_open(struct turn_worker *w, struct alloc *a, const struct addr *at);

/* Closes it, after what is queued has been sent. */
void relay_sock_close(struct turn_worker *w, struct alloc *a);

/* Queues one datagram to a peer until the worker's next udp_push(), which must come before
 * out->payload goes away. */
void relay_sock_send(struct turn_worker *w, const struct relay_to_peer *out);

#endif

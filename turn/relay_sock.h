/* The socket of an allocation's relayed address. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_RELAY_SOCK_H
#define SORI_TURN_RELAY_SOCK_H

#include "turn/turn_worker.h"

/* Opens a's relay socket at `at` and reads from it from now on. Returns 0 or -errno; relay_ops.open
 * has the meaning. */
int relay_sock_open(struct turn_worker *w, struct alloc *a, const struct addr *at);

/* Closes it, after what is queued has been sent. */
void relay_sock_close(struct turn_worker *w, struct alloc *a);

/* Takes a datagram that another allocation of ours has sent to a relayed address of w's, as if read
 * from its socket; payload must stay until the next udp_push(). Dropped and counted when there is
 * none. */
void relay_sock_take(struct turn_worker *w, const struct addr *to, const struct addr *from,
                     struct slice payload);

/* Queues one datagram to a peer until the worker's next udp_push(), which must come before
 * out->payload goes away. */
void relay_sock_send(struct turn_worker *w, const struct relay_to_peer *out);

#endif

/* Messages of clients whose allocation is another worker's, after a move (RFC 8016).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_FORWARD_H
#define SORI_TURN_FORWARD_H

#include "turn/handover.h"

/* Passes a client's message on to the worker core.forward_to (DISPATCH_FORWARD). Copied; one that
 * has no room is dropped and counted. */
void forward_message(struct turn_worker *w, const struct five_tuple *from, struct slice msg);

/* Sends a relayed message to a's client, which has its connection at another worker (a->at). The
 * same. */
void forward_to_client(struct turn_worker *w, const struct alloc *a,
                       const struct relay_to_client *out);

/* Tells a worker that this 5-tuple, a guest there, leads nowhere any more, unless it has passed on
 * a message after seq: relay_ops.left. */
void forward_left(struct turn_worker *w, unsigned at, const struct five_tuple *tuple, uint32_t seq);

/* The connection of a client here is gone: its owner is told if it is a guest. */
void forward_gone(struct turn_worker *w, const struct five_tuple *tuple);

/* Takes what another worker has passed on: handover.c's records but HANDOVER_RELAYED. */
void forward_arrived(struct turn_worker *w, unsigned from, enum handover_kind kind,
                     struct slice record);

#endif

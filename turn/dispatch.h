/* What a client sent: a datagram, or one framed message of a stream. Answers it, relays it or drops
 * it. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_DISPATCH_H
#define SORI_TURN_DISPATCH_H

#include "turn/relay.h"

#define DISPATCH_ANSWER_MAX 2048 /* the longest answer has RFC 5780 PADDING, others 512 at most */

enum dispatch_verdict {
    DISPATCH_DROP,    /* nothing to send; counted */
    DISPATCH_ANSWER,  /* send answer to the client */
    DISPATCH_RELAY,   /* send *out to the peer */
    DISPATCH_FORWARD, /* pass the message on to the worker forward_to (struct turn_core) */
    DISPATCH_LATER,   /* nothing to send now: relay_ops.tell will */
    /* Send answer, then join this connection with the peer connection bound_id of the worker
     * bound_worker (struct turn_core). */
    DISPATCH_BIND,
    /* Send answer from the UDP listener elsewhere_from to elsewhere_to (struct turn_core). */
    DISPATCH_ANSWER_ELSEWHERE,
};

/* Handles one message from a client.
 *
 * link:   kept in the allocation that this message may make (struct alloc.link).
 * answer: an empty writer of DISPATCH_ANSWER_MAX bytes; filled for DISPATCH_ANSWER.
 * out:    filled for DISPATCH_RELAY; borrows from msg.
 *
 * A stranger's message allocates nothing; only a verified Allocate, CreatePermission or ChannelBind
 * does. Thread of the worker. */
enum dispatch_verdict dispatch_client(struct turn_core *c, const struct five_tuple *from,
                                      void *link, struct slice msg, uint64_t now_us,
                                      struct wr *answer, struct relay_to_peer *out);

/* Writes the answer to a request that was kept: code 0 is a success that carries the CONNECTION-ID
 * id. */
void dispatch_late(struct turn_core *c, const struct deferred *d, int code, uint32_t id,
                   struct wr *w);

#endif

/* DTLS clients (RFC 7350) of a worker: their datagrams come in through the UDP listeners.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_DTLS_LISTENER_H
#define SORI_TURN_DTLS_LISTENER_H

#include "proto/dtls_hello.h"
#include "turn/turn_worker.h"

/* Makes the worker's table of associations. Returns 0 and *out, or -ENOMEM. */
int turn_dtls_listener_new(struct turn_dtls_listener **out, struct turn_worker *w);

/* Ends all associations, hence their allocations, while the UDP listeners are there still. NULL is
 * allowed. */
void turn_dtls_listener_free(struct turn_dtls_listener *l);

/* True when a datagram is DTLS. */
static inline bool turn_dtls_listener_wants(const struct udp_msg *m)
{
    return m->len > 0 && dtls_hello_is_dtls(m->p[0]);
}

/* Takes a datagram that is DTLS. from: the client, as over UDP. What is decrypted is put where the
 * datagram was. */
void turn_dtls_listener_take(struct turn_dtls_listener *l, const struct five_tuple *from,
                             const struct udp_msg *m);

/* Sends a relayed message over the association link (struct alloc.link); one that is longer than a
 * record is dropped and counted. */
void turn_dtls_listener_send(void *link, const struct relay_to_client *out);

/* The association is no guest's any more: it ends in idle_timeout if nothing comes of it. */
void turn_dtls_listener_left(void *link);

#endif

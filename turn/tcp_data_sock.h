/* Client data connections (RFC 6062 §3): each spliced to its peer connection, byte for byte.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_TCP_DATA_SOCK_H
#define SORI_TURN_TCP_DATA_SOCK_H

#include "net/tls.h"
#include "turn/turn_worker.h"

/* Makes a client's connection (fd, tls or NULL: taken over) a data connection of the peer
 * connection id, which the worker `owner` has. answer is sent first; rest is what the client has
 * sent already; both are copied. Ends the connection when there is no memory. */
void tcp_data_sock_join(struct turn_worker *w, int fd, struct tls *tls, unsigned owner, uint32_t id,
                        struct slice answer, struct slice rest);

/* Ends the data connection of id at worker `at`, which may be another one than w. */
void tcp_data_sock_end(struct turn_worker *w, unsigned at, uint32_t id);

/* Ends all of w's, after its thread has ended. */
void tcp_data_sock_end_all(struct turn_worker *w);

#endif

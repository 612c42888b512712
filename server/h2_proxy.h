/* Asking an HTTP proxy for a tunnel: CONNECT and its answer (RFC 9110 §9.3.6, RFC 9112).
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_PROXY_H
#define SORI_SERVER_H2_PROXY_H

#include "base/bytes.h"

#define H2_PROXY_HEAD_MAX 8192 /* bytes of the answer's head */
#define H2_PROXY_AUTH_MAX 512  /* bytes of "user:password" */

/* Writes the request for a tunnel to host:port. auth: "user:password" (RFC 7617), or empty. w is
 * bad when it does not fit, or auth is over H2_PROXY_AUTH_MAX. */
void h2_proxy_write(struct wr *w, struct slice host, uint16_t port, struct slice auth);

/* Reads the answer's head, all that has come so far.
 *
 * Returns 0 for a 2xx whose head ends in: the tunnel stands. -EAGAIN: more is to come. -EACCES: the
 * proxy says no, *status tells (407: it wants a user name). -EBADMSG: not an HTTP/1 answer, a head
 * over the limit, or bytes behind it (the server does not speak first). *status is 0 until known.
 */
int h2_proxy_read(struct slice in, unsigned *status);

#endif

/* One DTLS 1.2 association, server side: datagrams in, datagrams out, no socket.
 *
 * The handshake's answers, alerts and records leave through a function, one call per datagram, from
 * inside whatever call makes them. Who may begin an association was decided before: dtls_new()
 * wants a ClientHello whose cookie has been verified (proto/dtls_hello.h, proto/dtls_cookie.h).
 * OpenSSL keeps its own clock for retransmissions: dtls_deadline() translates.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_DTLS_H
#define SORI_NET_DTLS_H

#include "base/bytes.h"

#define DTLS_RECORD_MAX    16384 /* bytes that one record carries */
#define DTLS_OVERHEAD_MAX  64    /* bytes that it adds to them */
#define DTLS_HANDSHAKE_MTU 1200  /* longest datagram of the handshake: passes every path */

struct dtls;
struct tls_ctx;

/* Sends one datagram, or drops it; bytes are the caller's again when it returns. */
typedef void dtls_send_fn(void *arg, struct slice datagram);

/* Begins an association with a context of tls_ctx_new_with_dtls(), which it holds, and takes the
 * ClientHello: the next call is dtls_read(). NULL without memory, or when OpenSSL does not take the
 * ClientHello. */
struct dtls *dtls_new(struct tls_ctx *c, struct slice hello, dtls_send_fn *send, void *arg);
void dtls_free(struct dtls *d); /* NULL is allowed */

/* Shows it a datagram, which must stay until the first dtls_read(); call that until it gives no
 * more. */
void dtls_feed(struct dtls *d, struct slice datagram);

/* Goes on with the handshake, or gives the content of one record. buf may be where the datagram
 * was. Returns bytes; -EAGAIN: nothing more in it; -EMSGSIZE: a record longer than cap, skipped; 0:
 * the peer has closed; -EPROTO: it is broken, free it. */
int dtls_read(struct dtls *d, void *buf, size_t cap);

/* Sends one record. Returns 0, -EMSGSIZE over DTLS_RECORD_MAX, or -EPROTO. After the handshake. */
int dtls_write(struct dtls *d, struct slice bytes);

/* The handshake is done. */
bool dtls_is_open(const struct dtls *d);

/* When to call dtls_tick(), which sends again what the peer has not answered: CLOCK_NEVER when
 * nothing waits. dtls_tick() returns 0, or -ETIMEDOUT when it has tried often enough. */
uint64_t dtls_deadline(const struct dtls *d, uint64_t now_us);
int dtls_tick(struct dtls *d);

/* Says goodbye (close_notify), once. */
void dtls_shutdown(struct dtls *d);

/* Negotiated version ("DTLSv1.2"), the host that the client named (empty: none; lent until
 * dtls_free()) and ALPN protocol (empty: none). */
const char *dtls_version(const struct dtls *d);
struct slice dtls_host(const struct dtls *d);
struct slice dtls_alpn(const struct dtls *d);

#endif

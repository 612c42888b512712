/* TLS contexts and connections, server and client: the only file besides net/dtls.c that names
 * SSL_*.
 *
 * TLS 1.2 and 1.3, AEAD suites only, no renegotiation, no compression, no 0-RTT, no tickets by
 * default; SSL_MODE_RELEASE_BUFFERS. One context per worker thread (a shared SSL_CTX contends).
 * Non-blocking on a descriptor the caller owns. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_TLS_H
#define SORI_NET_TLS_H

#include "base/bytes.h"

struct tls_ctx;
struct tls;

#define TLS_ERR_MAX 256

/* Loads certificate chain and private key (PEM files). alpn: comma-separated protocols that are
 * accepted, in our order of preference ("stun.turn,stun.nat-discovery"), or NULL: ALPN is ignored.
 * A client that offers ALPN without a common protocol is refused (RFC 7301 §3.2) unless alpn is
 * NULL. NULL on failure with err saying which file and why. */
struct tls_ctx *tls_ctx_new(const char *cert_file, const char *key_file, const char *alpn,
                            char err[TLS_ERR_MAX]);
/* The same, for DTLS 1.2 (net/dtls.h) besides. */
struct tls_ctx *tls_ctx_new_with_dtls(const char *cert_file, const char *key_file, const char *alpn,
                                      char err[TLS_ERR_MAX]);
/* Adds another certificate with its key: shown to clients that name a host (SNI) which it is for
 * and no earlier one is. Before the first connection. At most TLS_MORE_MAX times. Returns 0, or a
 * negative errno with err saying which file and why. */
#define TLS_MORE_MAX 16
int tls_ctx_add(struct tls_ctx *c, const char *cert_file, const char *key_file,
                char err[TLS_ERR_MAX]);
void tls_ctx_free(struct tls_ctx *c); /* connections made from it stay valid; NULL is allowed */

/* For net/dtls.c: another owner, who calls tls_ctx_free(), too; and a new SSL for DTLS, server
 * side, NULL when memory is out. */
struct ssl_st;
void tls_ctx_hold(struct tls_ctx *c);
struct ssl_st *tls_ctx_dtls(struct tls_ctx *c);

/* A server side on fd (not taken over), or NULL when memory is out. tls_free closes nothing. */
struct tls *tls_accept_new(struct tls_ctx *c, int fd);
void tls_free(struct tls *t); /* NULL is allowed */

/* --- The client side. The peer's certificate is always verified: chain, dates, name.
 *
 * ca_file: PEM file of the authorities to trust; NULL or empty: the system's. cert_file and
 * key_file: what we show when asked, or both NULL or empty. alpn: the one protocol to speak ("h2"):
 * a server that does not choose it is refused; NULL: none is named. NULL on failure with err saying
 * which file and why. */
struct tls_ctx *tls_client_ctx_new(const char *ca_file, const char *cert_file, const char *key_file,
                                   const char *alpn, char err[TLS_ERR_MAX]);
/* A client side on fd (not taken over) to host, a DNS name (sent as SNI) or an address in text; the
 * certificate must be for it. c is of tls_client_ctx_new(). NULL when memory is out or host is no
 * name. */
struct tls *tls_connect_new(struct tls_ctx *c, int fd, const char *host);
/* After tls_handshake() gave a final error: why, in words of OpenSSL's ("certificate has expired",
 * "hostname mismatch", "the server does not speak h2"). Lent by t, never NULL. */
const char *tls_why(const struct tls *t);

/* Each returns > 0 (bytes, or 1 for a finished handshake), 0 at a clean end (close_notify), or
 * -EAGAIN with *want_write telling which readiness to wait for, -EPROTO on a TLS error, -EIO on a
 * broken connection. After anything but > 0 and -EAGAIN only tls_free() is allowed.
 * After -EAGAIN wait for readiness (level-triggered) before the next call of the same kind.
 * tls_write may be retried with the same or a longer buffer at another address. Nothing here raises
 * SIGPIPE. Connections of one context belong to one thread. */
int tls_handshake(struct tls *t, bool *want_write);
int tls_read(struct tls *t, void *buf, size_t cap, bool *want_write);
int tls_write(struct tls *t, struct slice s, bool *want_write);
/* Bytes that have left the socket and wait inside: while there are any, call tls_read() again
 * without waiting for the socket, which won't announce them. */
size_t tls_pending(const struct tls *t);
/* True when the read before has taken all that the socket had: another tls_read() could only give
 * -EAGAIN. Saves that call; the socket announces what comes later. */
bool tls_dry(struct tls *t);
/* Sends close_notify, best effort, never waits. */
void tls_shutdown(struct tls *t);
/* "TLSv1.3" etc. and the chosen ALPN protocol (empty slice: none). */
const char *tls_version(const struct tls *t);
struct slice tls_alpn(const struct tls *t);
/* The host that the client named (SNI, RFC 6066 §3) in its handshake; empty: none. Lent by t. */
struct slice tls_host(const struct tls *t);

#endif

/* The first words of DTLS before anybody is known: the ClientHello that fills a datagram, and the
 * HelloVerifyRequest that answers it without a memory (RFC 6347 §4.2.1).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_DTLS_HELLO_H
#define SORI_PROTO_DTLS_HELLO_H

#include "base/bytes.h"

#define DTLS_HELLO_RANDOM_BYTES 32
#define DTLS_HELLO_COOKIE_MAX   255

/* What counts of a ClientHello; borrows from the datagram. */
struct dtls_hello {
    struct slice record_seq; /* 6 bytes: the answer's record carries them, too */
    struct slice random;     /* DTLS_HELLO_RANDOM_BYTES */
    struct slice cookie;     /* empty: the client has none yet */
};

/* True when a datagram that begins with this byte is DTLS (RFC 7983 §7: 20..63). */
static inline bool dtls_hello_is_dtls(uint8_t first)
{
    return first >= 20 && first <= 63;
}

/* True for application data, whose record is sent after the handshake only. */
static inline bool dtls_hello_is_data(uint8_t first)
{
    return first == 23;
}

/* True when the datagram begins with a ClientHello in the clear, or a fragment of one. */
bool dtls_hello_is(struct slice dgram);

/* Decodes the ClientHello at the start of a datagram; records that follow are not looked at.
 * Returns 0; -EBADMSG when it is malformed; -EPROTO for a fragment, or one that goes on in another
 * record: putting them together would need memory for a stranger. */
int dtls_hello_decode(struct dtls_hello *out, struct slice dgram);

/* True when a datagram is nothing but whole records in the clear, as all of a handshake's are that
 * come before the client's last flight. */
bool dtls_hello_is_clear(struct slice dgram);

/* Writes the datagram that asks the client to come again with this cookie (at most
 * DTLS_HELLO_COOKIE_MAX bytes, else w->bad). It is shorter than any ClientHello while the cookie
 * has less than 39 bytes. */
void dtls_hello_put_verify(struct wr *w, const struct dtls_hello *hello, struct slice cookie);

#endif

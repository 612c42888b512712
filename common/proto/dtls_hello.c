/* The ClientHello that fills a datagram, and the HelloVerifyRequest (RFC 6347 §4.1, §4.2).
 *
 * Called by turn_dtls_listener.c on datagrams of strangers. Pure; allocates nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/dtls_hello.h"

#include <errno.h>

#define RECORD_HANDSHAKE     22
#define HELLO_CLIENT         1
#define HELLO_VERIFY         3
#define VERSION_MAJOR        0xfe
#define VERSION_1_0          0xfeff
#define MESSAGE_HEADER_BYTES 12
#define SEQ_BYTES            6
#define SESSION_ID_MAX       32
#define RECORD_MAX           (16384 + 2048) /* RFC 5246 §6.2.3 */

static uint32_t rd_be24(struct rd *r)
{
    uint32_t high = rd_u8(r);
    return high << 16 | rd_be16(r);
}

static void wr_be24(struct wr *w, size_t v)
{
    wr_u8(w, (uint8_t)(v >> 16));
    wr_be16(w, (uint16_t)v);
}

/* Reads a record's header and gives its content, at most what the datagram has of it. */
static struct slice read_record(struct rd *r, uint8_t *type, uint16_t *epoch, struct slice *seq)
{
    *type = rd_u8(r);
    uint16_t version = rd_be16(r);
    *epoch = rd_be16(r);
    *seq = rd_take(r, SEQ_BYTES);
    struct slice body = rd_take(r, rd_be16(r));
    if (version >> 8 != VERSION_MAJOR)
        r->bad = true;
    return body;
}

bool dtls_hello_is(struct slice dgram)
{
    struct rd r = rd_init(dgram);
    uint8_t type = rd_u8(&r);
    rd_be16(&r);
    uint16_t epoch = rd_be16(&r);
    rd_take(&r, SEQ_BYTES + 2);
    uint8_t message = rd_u8(&r);
    return !r.bad && type == RECORD_HANDSHAKE && epoch == 0 && message == HELLO_CLIENT;
}

bool dtls_hello_is_clear(struct slice dgram)
{
    struct rd r = rd_init(dgram);

    while (r.left > 0) {
        uint8_t type;
        uint16_t epoch;
        struct slice seq, body = read_record(&r, &type, &epoch, &seq);
        if (r.bad || epoch != 0 || body.len > RECORD_MAX)
            return false;
    }
    return true;
}

/* The body of a ClientHello up to its extensions, which are not for us. */
static int read_body(struct dtls_hello *out, struct slice body)
{
    struct rd r = rd_init(body);
    uint16_t version = rd_be16(&r);
    struct slice random = rd_take(&r, DTLS_HELLO_RANDOM_BYTES);
    struct slice session = rd_take(&r, rd_u8(&r));
    struct slice cookie = rd_take(&r, rd_u8(&r));
    struct slice suites = rd_take(&r, rd_be16(&r));
    struct slice compression = rd_take(&r, rd_u8(&r));

    if (r.bad || version >> 8 != VERSION_MAJOR || session.len > SESSION_ID_MAX || suites.len == 0 ||
        suites.len % 2 != 0 || compression.len == 0)
        return -EBADMSG;
    out->random = random;
    out->cookie = cookie;
    return 0;
}

int dtls_hello_decode(struct dtls_hello *out, struct slice dgram)
{
    struct rd r = rd_init(dgram);
    struct dtls_hello h;
    uint8_t type;
    uint16_t epoch;
    struct slice record = read_record(&r, &type, &epoch, &h.record_seq);

    if (r.bad || type != RECORD_HANDSHAKE || epoch != 0)
        return -EBADMSG;
    r = rd_init(record);
    uint8_t message = rd_u8(&r);
    uint32_t length = rd_be24(&r);
    rd_be16(&r); /* message_seq: 0 at first, 1 with a cookie; clients differ after a loss */
    uint32_t offset = rd_be24(&r), fragment = rd_be24(&r);
    if (r.bad || message != HELLO_CLIENT)
        return -EBADMSG;
    if (offset != 0 || fragment != length)
        return offset < length && fragment <= length - offset ? -EPROTO : -EBADMSG;
    struct slice body = rd_take(&r, length);
    if (r.bad || read_body(&h, body) != 0)
        return -EBADMSG;
    *out = h;
    return 0;
}

void dtls_hello_put_verify(struct wr *w, const struct dtls_hello *hello, struct slice cookie)
{
    size_t body = 2 + 1 + cookie.len;

    if (cookie.len > DTLS_HELLO_COOKIE_MAX)
        w->bad = true;
    /* RFC 6347 §4.2.1: "DTLS 1.2 server implementations SHOULD use DTLS version 1.0 regardless of
     * the version of TLS that is expected to be negotiated." */
    wr_u8(w, RECORD_HANDSHAKE);
    wr_be16(w, VERSION_1_0);
    wr_be16(w, 0); /* epoch */
    wr_bytes(w, hello->record_seq);
    wr_be16(w, (uint16_t)(MESSAGE_HEADER_BYTES + body));
    wr_u8(w, HELLO_VERIFY);
    wr_be24(w, body);
    wr_be16(w, 0); /* message_seq */
    wr_be24(w, 0);
    wr_be24(w, body);
    wr_be16(w, VERSION_1_0);
    wr_u8(w, (uint8_t)cookie.len);
    wr_bytes(w, cookie);
}

/* DTLS 1.2 associations on OpenSSL without a socket.
 *
 * Called by turn_dtls_listener.c. OpenSSL reads and writes through a BIO of ours that keeps
 * datagrams apart: a read gives the one that was fed, a write is a datagram on its way.
 *
 * DTLSv1_listen() is OpenSSL's entrance for a ClientHello whose cookie is good; the cookie exchange
 * itself happened before, without an SSL, so its callback (tls.c) says yes.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/dtls.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/time.h>

struct dtls {
    SSL *ssl;
    struct tls_ctx *ctx;
    struct slice in; /* fed and not read yet */
    dtls_send_fn *send;
    void *arg;
};

/* ---- the BIO ---- */

static int dgram_read(BIO *b, char *buf, int len)
{
    struct dtls *d = BIO_get_data(b);
    struct slice in = d->in;

    BIO_clear_retry_flags(b);
    if (in.len == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    d->in = (struct slice){0};
    size_t n = len > 0 && in.len > (size_t)len ? (size_t)len : in.len;
    memcpy(buf, in.p, n);
    return (int)n;
}

static int dgram_write(BIO *b, const char *buf, int len)
{
    struct dtls *d = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (len > 0)
        d->send(d->arg, slice_of(buf, (size_t)len));
    return len;
}

static long dgram_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
        return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
        return DTLS_HANDSHAKE_MTU;
    default:
        return 0;
    }
}

static BIO_METHOD *method;

/* Once per process, never freed: every BIO refers to it. */
static void method_init(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sori datagram");

    if (!m)
        return;
    BIO_meth_set_read(m, dgram_read);
    BIO_meth_set_write(m, dgram_write);
    BIO_meth_set_ctrl(m, dgram_ctrl);
    method = m;
}

static BIO *bio_new(struct dtls *d)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, method_init);
    BIO *b = method ? BIO_new(method) : NULL;
    if (!b)
        return NULL;
    BIO_set_data(b, d);
    BIO_set_init(b, 1);
    return b;
}

/* ---- associations ---- */

/* SSL_get_error() trusts the thread's error queue, which others may have filled. */
static void begin(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

/* Hands the ClientHello to OpenSSL. */
static bool listen_to(struct dtls *d, struct slice hello)
{
    BIO_ADDR *peer = BIO_ADDR_new(); /* it wants to tell an address that our BIO does not know */

    begin();
    d->in = hello;
    int rc = peer ? DTLSv1_listen(d->ssl, peer) : 0;
    BIO_ADDR_free(peer);
    ERR_clear_error();
    return rc == 1;
}

struct dtls *dtls_new(struct tls_ctx *c, struct slice hello, dtls_send_fn *send, void *arg)
{
    struct dtls *d = mem_zalloc(sizeof *d);

    if (!d)
        return NULL;
    *d = (struct dtls){.ssl = tls_ctx_dtls(c), .ctx = c, .send = send, .arg = arg};
    BIO *b = d->ssl ? bio_new(d) : NULL;
    if (!b) {
        SSL_free(d->ssl);
        mem_free(d);
        ERR_clear_error();
        return NULL;
    }
    tls_ctx_hold(c);
    SSL_set_bio(d->ssl, b, b);
    SSL_set_options(d->ssl, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(d->ssl, DTLS_HANDSHAKE_MTU);
    if (listen_to(d, hello))
        return d;
    dtls_free(d);
    return NULL;
}

void dtls_free(struct dtls *d)
{
    if (!d)
        return;
    SSL_free(d->ssl);
    tls_ctx_free(d->ctx);
    mem_free(d);
}

/* Throws away what is left of a record, or of records that nobody read. */
static void skip(struct dtls *d)
{
    uint8_t waste[512];

    while (SSL_pending(d->ssl) > 0 && SSL_read(d->ssl, waste, sizeof waste) > 0)
        ;
}

void dtls_feed(struct dtls *d, struct slice datagram)
{
    begin();
    skip(d); /* else the next read would write over a datagram that OpenSSL has not taken */
    d->in = datagram;
}

/* What a call that gave rc <= 0 means. */
static int verdict(struct dtls *d, int rc)
{
    int e = SSL_get_error(d->ssl, rc);

    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    ERR_clear_error();
    return e == SSL_ERROR_ZERO_RETURN ? 0 : -EPROTO;
}

int dtls_read(struct dtls *d, void *buf, size_t cap)
{
    begin();
    int room = cap > INT_MAX ? INT_MAX : (int)cap;
    int rc = SSL_read(d->ssl, buf, room);
    if (rc <= 0)
        return verdict(d, rc);
    if (rc == room && SSL_pending(d->ssl) > 0) {
        skip(d);
        return -EMSGSIZE;
    }
    return rc;
}

int dtls_write(struct dtls *d, struct slice bytes)
{
    if (bytes.len > DTLS_RECORD_MAX)
        return -EMSGSIZE;
    begin();
    if (SSL_write(d->ssl, bytes.p, (int)bytes.len) > 0)
        return 0;
    ERR_clear_error();
    return -EPROTO;
}

bool dtls_is_open(const struct dtls *d)
{
    return SSL_is_init_finished(d->ssl);
}

uint64_t dtls_deadline(const struct dtls *d, uint64_t now_us)
{
    struct timeval left;

    if (DTLSv1_get_timeout(d->ssl, &left) != 1)
        return CLOCK_NEVER;
    return now_us + (uint64_t)left.tv_sec * US_PER_S + (uint64_t)left.tv_usec;
}

int dtls_tick(struct dtls *d)
{
    begin();
    long rc = DTLSv1_handle_timeout(d->ssl);
    ERR_clear_error();
    return rc < 0 ? -ETIMEDOUT : 0;
}

void dtls_shutdown(struct dtls *d)
{
    begin();
    SSL_shutdown(d->ssl);
    ERR_clear_error();
}

const char *dtls_version(const struct dtls *d)
{
    return SSL_get_version(d->ssl);
}

struct slice dtls_host(const struct dtls *d)
{
    return slice_str(SSL_get_servername(d->ssl, TLSEXT_NAMETYPE_host_name));
}

struct slice dtls_alpn(const struct dtls *d)
{
    const unsigned char *p = NULL;
    unsigned n = 0;

    SSL_get0_alpn_selected(d->ssl, &p, &n);
    return slice_of(p, n);
}

/* A browser's side of DTLS-SRTP in memory: OpenSSL with a certificate of its own, whose datagrams
 * are taken and given by the test. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_DTLS_PEER_H
#define SORI_TESTS_LIB_DTLS_PEER_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ec.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "net/dtls_srtp.h"

enum { DTLS_PEER_QUEUE = 64, DTLS_PEER_DGRAM = 2048 };

struct dtls_peer_dgram {
    size_t len;
    uint8_t p[DTLS_PEER_DGRAM];
};

struct dtls_peer {
    SSL_CTX *ctx;
    SSL *ssl;
    EVP_PKEY *key;
    X509 *cert;
    struct slice in;
    struct dtls_peer_dgram out[DTLS_PEER_QUEUE]; /* what it has sent and nobody taken */
    unsigned n_out, sent;
    bool done, failed;
};

struct dtls_peer_conf {
    bool server;
    const char *profiles; /* NULL: SRTP is not offered */
    const char *ciphers;  /* NULL: OpenSSL's */
    long mtu;             /* 0: 1200 */
    size_t pad;           /* bytes by which its ClientHello is longer (as post-quantum shares) */
};

static int dtls_peer_write(BIO *b, const char *buf, int len)
{
    struct dtls_peer *p = BIO_get_data(b);

    p->sent++;
    if (p->n_out == DTLS_PEER_QUEUE || len > DTLS_PEER_DGRAM)
        abort();
    p->out[p->n_out].len = (size_t)len;
    memcpy(p->out[p->n_out++].p, buf, (size_t)len);
    return len;
}

static int dtls_peer_read(BIO *b, char *buf, int len)
{
    struct dtls_peer *p = BIO_get_data(b);
    size_t n = p->in.len < (size_t)len ? p->in.len : (size_t)len;

    BIO_clear_retry_flags(b);
    if (n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(buf, p->in.p, n);
    p->in = (struct slice){0};
    return (int)n;
}

static long dtls_peer_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
}

static int dtls_peer_any(int ok, X509_STORE_CTX *x)
{
    (void)ok, (void)x;
    return 1;
}

/* A ClientHello extension of many bytes. */
static int dtls_peer_pad(SSL *s, unsigned type, unsigned context, const unsigned char **out,
                         size_t *len, X509 *x, size_t i, int *alert, void *arg)
{
    static const unsigned char zeroes[1600];

    (void)s, (void)type, (void)context, (void)x, (void)i, (void)alert;
    *out = zeroes;
    *len = *(size_t *)arg;
    return 1;
}

static void dtls_peer_cert(struct dtls_peer *p)
{
    p->key = EVP_EC_gen("P-256");
    p->cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(p->cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(p->cert), -100);
    X509_gmtime_adj(X509_getm_notAfter(p->cert), 100000);
    X509_set_pubkey(p->cert, p->key);
    X509_sign(p->cert, p->key, EVP_sha256());
    SSL_CTX_use_certificate(p->ctx, p->cert);
    SSL_CTX_use_PrivateKey(p->ctx, p->key);
}

static inline void dtls_peer_open(struct dtls_peer *p, const struct dtls_peer_conf *c)
{
    static BIO_METHOD *m;
    static size_t pad;

    *p = (struct dtls_peer){.ctx = SSL_CTX_new(DTLS_method())};
    if (!m) {
        m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "peer");
        BIO_meth_set_read(m, dtls_peer_read);
        BIO_meth_set_write(m, dtls_peer_write);
        BIO_meth_set_ctrl(m, dtls_peer_ctrl);
    }
    dtls_peer_cert(p);
    if (c->ciphers)
        SSL_CTX_set_cipher_list(p->ctx, c->ciphers);
    if (c->profiles)
        SSL_CTX_set_tlsext_use_srtp(p->ctx, c->profiles);
    SSL_CTX_set_verify(p->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, dtls_peer_any);
    if (c->pad) {
        pad = c->pad;
        SSL_CTX_add_custom_ext(p->ctx, 0xfafa, SSL_EXT_CLIENT_HELLO, dtls_peer_pad, NULL, &pad,
                               NULL, NULL);
    }
    p->ssl = SSL_new(p->ctx);
    BIO *b = BIO_new(m);
    BIO_set_data(b, p);
    BIO_set_init(b, 1);
    SSL_set_bio(p->ssl, b, b);
    SSL_set_options(p->ssl, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(p->ssl, c->mtu ? c->mtu : 1200);
    if (c->server)
        SSL_set_accept_state(p->ssl);
    else
        SSL_set_connect_state(p->ssl);
}

static inline void dtls_peer_close(struct dtls_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
    *p = (struct dtls_peer){0};
}

static inline struct dtls_fingerprint dtls_peer_fingerprint(const struct dtls_peer *p,
                                                            enum crypto_md md)
{
    struct dtls_fingerprint f = {.md = (uint8_t)md};
    unsigned n = 0;

    X509_digest(p->cert,
                md == CRYPTO_SHA512   ? EVP_sha512()
                : md == CRYPTO_SHA384 ? EVP_sha384()
                                      : EVP_sha256(),
                f.digest, &n);
    f.len = (uint8_t)n;
    return f;
}

/* Goes on with the handshake, with a datagram or (empty) to begin. */
static inline void dtls_peer_take(struct dtls_peer *p, struct slice dgram)
{
    uint8_t waste[64];

    p->in = dgram;
    ERR_clear_error();
    if (p->done) {
        (void)SSL_read(p->ssl, waste, 0);
        return;
    }
    int rc = SSL_do_handshake(p->ssl);
    p->done = rc == 1;
    if (rc != 1 && SSL_get_error(p->ssl, rc) != SSL_ERROR_WANT_READ)
        p->failed = true;
    ERR_clear_error();
}

/* Content of a record in dgram; 0: none. */
static inline size_t dtls_peer_read_data(struct dtls_peer *p, struct slice dgram, uint8_t *out,
                                         size_t cap)
{
    p->in = dgram;
    ERR_clear_error();
    int rc = SSL_read(p->ssl, out, (int)cap);
    ERR_clear_error();
    return rc > 0 ? (size_t)rc : 0;
}

/* Its keys, as dtls_srtp_keys() would give them: local_… is what it sends with. */
static inline struct dtls_srtp_keys dtls_peer_keys(struct dtls_peer *p)
{
    struct dtls_srtp_keys k = {0};
    SRTP_PROTECTION_PROFILE *prof = SSL_get_selected_srtp_profile(p->ssl);
    uint8_t block[92];

    if (!prof)
        return k;
    k.profile = (uint16_t)prof->id;
    k.key_len = prof->id == SRTP_AEAD_AES_256_GCM ? 32 : 16;
    k.salt_len = prof->id == SRTP_AES128_CM_SHA1_80 ? 14 : 12;
    SSL_export_keying_material(p->ssl, block, 2u * (k.key_len + k.salt_len), "EXTRACTOR-dtls_srtp",
                               19, NULL, 0, 0);
    bool server = SSL_is_server(p->ssl);
    const uint8_t *salts = block + 2 * k.key_len;
    memcpy(k.local_key, block + (server ? k.key_len : 0), k.key_len);
    memcpy(k.remote_key, block + (server ? 0 : k.key_len), k.key_len);
    memcpy(k.local_salt, salts + (server ? k.salt_len : 0), k.salt_len);
    memcpy(k.remote_salt, salts + (server ? 0 : k.salt_len), k.salt_len);
    return k;
}

#endif

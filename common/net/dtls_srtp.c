/* DTLS-SRTP associations on OpenSSL without a socket (RFC 5763, RFC 5764).
 *
 * Called by sfu/transport.c. OpenSSL reads and writes through a BIO of ours that keeps datagrams
 * apart, as in dtls.c. There is no cookie exchange: whoever gets here has passed an ICE check from
 * the address that we answer to, which proves what a cookie would (RFC 6347 §4.2.1).
 *
 * An SSL object holds tens of kilobytes. When the keys have been exported and no data channel needs
 * records, it is of use only to repeat our last flight, should it have been lost: that flight is
 * kept as it was sent, and the SSL freed DTLS_SRTP_LINGER_US after the handshake.
 *
 *   HANDSHAKE ── finished() ──► OPEN ── close_notify: dtls_srtp_read() ──► CLOSED
 *       └────────── fail() ──────┴──► FAILED
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/dtls_srtp.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sys/time.h>

#include "base/mem.h"
#include "base/rand.h"

enum {
    LAST_FLIGHT_MAX = 512, /* ChangeCipherSpec and Finished: about 75 bytes */
    CERT_DAYS = 365,
    SECONDS_A_DAY = 24 * 60 * 60,
    RECORD_HANDSHAKE = 22, /* RFC 5246 §6.2.1 */
    EPOCH_AT = 3,          /* in a record's header (RFC 6347 §4.1) */
    REPEAT_US = 50000,     /* the last flight is not repeated more often */
};
#define EXPORT_LABEL "EXTRACTOR-dtls_srtp" /* RFC 5764 §4.2 */
#define SRTP_NAMES   "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80"
/* Forward secrecy and, but for the two of RFC 8827 §6.5's older peers, AEAD. */
#define CIPHERS                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:" \
    "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"

struct dtls_srtp_ctx {
    SSL_CTX *ssl;
};

struct dtls_srtp {
    SSL *ssl;        /* NULL: freed, see above */
    struct slice in; /* fed and not read yet */
    void (*send)(void *arg, struct slice dgram);
    void *arg;
    uint8_t *last; /* our last flight, datagrams with two bytes of length before each */
    size_t last_len;
    enum dtls_srtp_state state;
    enum dtls_srtp_why why;
    bool client, data;
    uint64_t now_us, started_us, finished_us, repeated_us;
    struct dtls_fingerprint remote[DTLS_SRTP_FINGERPRINTS_MAX];
    size_t n_remote;
};

/* SSL_get_error() trusts the thread's error queue, which others may have filled. */
static void begin(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

/* --- The certificate. ------------------------------------------------------------------------ */

static struct {
    EVP_PKEY *key;
    X509 *cert;
} own;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static bool name_cert(X509 *x)
{
    uint8_t raw[16];
    char name[2 * sizeof(raw) + 1];
    struct wr w = wr_init(name, sizeof(name));
    X509_NAME *subject = X509_get_subject_name(x);

    rand_bytes(raw, sizeof(raw)); /* says nothing about us */
    hex_encode(&w, slice_of(raw, sizeof(raw)));
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, w.base, (int)w.len, -1, 0) ==
               1 &&
           X509_set_issuer_name(x, subject) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), rand_below(UINT32_MAX) + 1) == 1;
}

static void own_make(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    if (key && x && X509_set_version(x, 2) == 1 && name_cert(x) &&
        X509_gmtime_adj(X509_getm_notBefore(x), -SECONDS_A_DAY) &&
        X509_gmtime_adj(X509_getm_notAfter(x), (long)CERT_DAYS * SECONDS_A_DAY) &&
        X509_set_pubkey(x, key) == 1 && X509_sign(x, key, EVP_sha256()) > 0) {
        own.key = key;
        own.cert = x;
        return;
    }
    EVP_PKEY_free(key);
    X509_free(x);
    ERR_clear_error();
}

bool dtls_srtp_cert_ready(void)
{
    pthread_once(&own_once, own_make);
    return own.cert != NULL;
}

/* --- Fingerprints. --------------------------------------------------------------------------- */

static const struct {
    enum crypto_md md;
    const char *name; /* RFC 8122 §5 */
} hashes[] = {{CRYPTO_SHA256, "sha-256"}, {CRYPTO_SHA384, "sha-384"}, {CRYPTO_SHA512, "sha-512"}};

static bool digest_of(X509 *x, enum crypto_md md, struct dtls_fingerprint *out)
{
    const EVP_MD *type = md == CRYPTO_SHA512   ? EVP_sha512()
                         : md == CRYPTO_SHA384 ? EVP_sha384()
                                               : EVP_sha256();
    unsigned n = 0;

    *out = (struct dtls_fingerprint){.md = (uint8_t)md};
    if (X509_digest(x, type, out->digest, &n) != 1)
        return false;
    out->len = (uint8_t)n;
    return true;
}

struct dtls_fingerprint dtls_srtp_fingerprint(enum crypto_md md)
{
    struct dtls_fingerprint f = {0};

    if (dtls_srtp_cert_ready())
        (void)digest_of(own.cert, md, &f);
    return f;
}

void dtls_fingerprint_print(const struct dtls_fingerprint *f, char out[DTLS_FINGERPRINT_TEXT_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    struct wr w = wr_init(out, DTLS_FINGERPRINT_TEXT_MAX - 1);

    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        if (hashes[i].md == (enum crypto_md)f->md)
            wr_str(&w, hashes[i].name);
    }
    for (size_t i = 0; i < f->len; i++) {
        wr_u8(&w, i ? ':' : ' ');
        wr_u8(&w, (uint8_t)hex[f->digest[i] >> 4]);
        wr_u8(&w, (uint8_t)hex[f->digest[i] & 15]);
    }
    out[w.len] = '\0';
}

/* The digits of "AB:CD:…" without colons; false for another shape. */
static bool strip_colons(struct slice value, struct wr *digits)
{
    for (size_t i = 0; i < value.len; i++) {
        if (i % 3 != 2)
            wr_u8(digits, value.p[i]);
        else if (value.p[i] != ':')
            return false;
    }
    return !digits->bad && value.len % 3 == 2;
}

int dtls_fingerprint_parse(struct dtls_fingerprint *out, struct slice hash, struct slice value)
{
    uint8_t text[2 * CRYPTO_DIGEST_MAX];
    struct wr digits = wr_init(text, sizeof(text));

    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        struct dtls_fingerprint f = {.md = (uint8_t)hashes[i].md};
        if (!slice_eq_nocase(hash, slice_str(hashes[i].name)))
            continue;
        f.len = (uint8_t)crypto_md_bytes(hashes[i].md);
        if (!strip_colons(value, &digits) || digits.len != 2u * f.len ||
            hex_decode(wr_done(&digits), f.digest, f.len) != 0)
            return -EBADMSG;
        *out = f;
        return 0;
    }
    return -EACCES;
}

/* --- OpenSSL's side. ------------------------------------------------------------------------- */

static int dgram_read(BIO *b, char *buf, int len)
{
    struct dtls_srtp *d = BIO_get_data(b);
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

/* Adds a datagram to the flight that is kept. What does not fit makes it useless: it is dropped. */
static void keep(struct dtls_srtp *d, struct slice dgram)
{
    if (!d->last || dgram.len + 2 > LAST_FLIGHT_MAX - d->last_len)
        return;
    struct wr w = wr_init(d->last + d->last_len, LAST_FLIGHT_MAX - d->last_len);
    wr_be16(&w, (uint16_t)dgram.len);
    wr_bytes(&w, dgram);
    d->last_len += w.len;
}

static int dgram_write(BIO *b, const char *buf, int len)
{
    struct dtls_srtp *d = BIO_get_data(b);
    struct slice dgram = slice_of(buf, len > 0 ? (size_t)len : 0);

    BIO_clear_retry_flags(b);
    if (len <= 0)
        return len;
    if (d->state == DTLS_SRTP_HANDSHAKE)
        keep(d, dgram);
    d->send(d->arg, dgram);
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
        return DTLS_SRTP_MTU;
    default:
        return 0;
    }
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

/* Once per process, never freed: every BIO refers to it. */
static void method_init(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sori media");

    if (!m)
        return;
    BIO_meth_set_read(m, dgram_read);
    BIO_meth_set_write(m, dgram_write);
    BIO_meth_set_ctrl(m, dgram_ctrl);
    method = m;
}

static BIO *bio_new(struct dtls_srtp *d)
{
    pthread_once(&method_once, method_init);
    BIO *b = method ? BIO_new(method) : NULL;
    if (!b)
        return NULL;
    BIO_set_data(b, d);
    BIO_set_init(b, 1);
    return b;
}

/* In place of a chain's verification: nobody signed for the certificate but the description. */
static int verify_peer(X509_STORE_CTX *x, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct dtls_srtp *d = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get0_cert(x);
    struct dtls_fingerprint f;

    (void)arg;
    for (size_t i = 0; cert && i < d->n_remote; i++) {
        if (digest_of(cert, d->remote[i].md, &f) &&
            slice_eq(slice_of(f.digest, f.len), slice_of(d->remote[i].digest, d->remote[i].len))) {
            X509_STORE_CTX_set_error(x, X509_V_OK);
            return 1;
        }
    }
    d->why = DTLS_SRTP_WHY_FINGERPRINT;
    X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REJECTED);
    return 0;
}

static unsigned next_timeout(SSL *ssl, unsigned last_us)
{
    (void)ssl;
    if (last_us == 0)
        return DTLS_SRTP_RETRY_US;
    return last_us < DTLS_SRTP_RETRY_MAX_US / 2 ? 2 * last_us : DTLS_SRTP_RETRY_MAX_US;
}

static bool ctx_setup(SSL_CTX *c)
{
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(c, verify_peer, NULL);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_NO_QUERY_MTU | SSL_OP_CIPHER_SERVER_PREFERENCE);
    return SSL_CTX_set_min_proto_version(c, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(c, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(c, CIPHERS) == 1 &&
           SSL_CTX_set1_groups_list(c, "X25519:P-256:P-384") == 1 &&
           SSL_CTX_set_tlsext_use_srtp(c, SRTP_NAMES) == 0 && /* 0 is success here */
           SSL_CTX_use_certificate(c, own.cert) == 1 && SSL_CTX_use_PrivateKey(c, own.key) == 1;
}

struct dtls_srtp_ctx *dtls_srtp_ctx_new(void)
{
    if (!dtls_srtp_cert_ready())
        return NULL;
    struct dtls_srtp_ctx *c = mem_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->ssl = SSL_CTX_new(DTLS_method());
    if (c->ssl && ctx_setup(c->ssl))
        return c;
    dtls_srtp_ctx_free(c);
    ERR_clear_error();
    return NULL;
}

void dtls_srtp_ctx_free(struct dtls_srtp_ctx *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    mem_free(c);
}

/* --- Associations. --------------------------------------------------------------------------- */

static void ssl_drop(struct dtls_srtp *d)
{
    SSL_free(d->ssl);
    d->ssl = NULL;
}

static void fail(struct dtls_srtp *d, enum dtls_srtp_why why)
{
    d->state = DTLS_SRTP_FAILED;
    if (!d->why)
        d->why = why;
    ssl_drop(d);
}

static void finished(struct dtls_srtp *d)
{
    d->state = DTLS_SRTP_OPEN;
    d->finished_us = d->now_us;
    if (d->client) /* the server's flight was the last one */
        d->last_len = 0;
    uint8_t *fit = mem_realloc(d->last, d->last_len);
    if (fit)
        d->last = fit;
}

/* True when the last error is the peer's alert. */
static bool is_alert(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    return reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + UINT8_MAX;
}

static void shake(struct dtls_srtp *d)
{
    begin();
    d->last_len = 0; /* what is written now is a new flight */
    int rc = SSL_do_handshake(d->ssl);
    int err = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(d->ssl, rc);
    if (rc == 1)
        finished(d);
    else if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
        fail(d, is_alert() ? DTLS_SRTP_WHY_ALERT : DTLS_SRTP_WHY_PROTOCOL);
    ERR_clear_error();
}

static bool ssl_make(struct dtls_srtp *d, struct dtls_srtp_ctx *c)
{
    d->ssl = SSL_new(c->ssl);
    BIO *b = d->ssl ? bio_new(d) : NULL;
    if (!b)
        return false;
    SSL_set_bio(d->ssl, b, b);
    SSL_set_app_data(d->ssl, d);
    SSL_set_mtu(d->ssl, DTLS_SRTP_MTU);
    DTLS_set_timer_cb(d->ssl, next_timeout);
    if (d->client)
        SSL_set_connect_state(d->ssl);
    else
        SSL_set_accept_state(d->ssl);
    return true;
}

struct dtls_srtp *dtls_srtp_new(struct dtls_srtp_ctx *c, const struct dtls_srtp_conf *conf,
                                uint64_t now_us)
{
    struct dtls_srtp *d = mem_zalloc(sizeof(*d));

    if (!d)
        return NULL;
    *d = (struct dtls_srtp){.send = conf->send,
                            .arg = conf->arg,
                            .client = conf->client,
                            .data = conf->data,
                            .now_us = now_us,
                            .started_us = now_us};
    while (d->n_remote < conf->n_remote && d->n_remote < DTLS_SRTP_FINGERPRINTS_MAX) {
        d->remote[d->n_remote] = conf->remote[d->n_remote];
        d->n_remote++;
    }
    d->last = mem_zalloc(LAST_FLIGHT_MAX);
    if (!d->last || !ssl_make(d, c)) {
        dtls_srtp_free(d);
        ERR_clear_error();
        return NULL;
    }
    if (d->client)
        shake(d);
    return d;
}

void dtls_srtp_free(struct dtls_srtp *d)
{
    if (!d)
        return;
    SSL_free(d->ssl);
    mem_free(d->last);
    mem_free(d);
}

/* Sends our last flight as it was: who has not seen it takes it, who has drops it as replayed. */
static void repeat(struct dtls_srtp *d)
{
    struct rd r = rd_init(slice_of(d->last, d->last_len));

    if (d->repeated_us != 0 && d->now_us - d->repeated_us < REPEAT_US)
        return;
    d->repeated_us = d->now_us;
    while (r.left > 0) {
        struct slice dgram = rd_take(&r, rd_be16(&r));
        d->send(d->arg, dgram);
    }
}

/* Reads on without anybody who wants the content: alerts are seen. */
static void drain(struct dtls_srtp *d)
{
    uint8_t waste[256];

    while (dtls_srtp_read(d, waste, sizeof(waste)) > 0)
        ;
}

void dtls_srtp_recv(struct dtls_srtp *d, uint8_t *dgram, size_t len, uint64_t now_us)
{
    d->now_us = now_us;
    if (d->state == DTLS_SRTP_HANDSHAKE) {
        d->in = slice_of(dgram, len);
        shake(d);
        if (d->state == DTLS_SRTP_OPEN && !d->data)
            drain(d);
        return;
    }
    if (d->state != DTLS_SRTP_OPEN || len <= EPOCH_AT + 1)
        return;
    if (dgram[0] == RECORD_HANDSHAKE) { /* its last flight once more: it lacks ours */
        if (!d->client)
            repeat(d);
        return;
    }
    if (!d->ssl)
        return;
    drain(d); /* else OpenSSL would have two datagrams at once */
    if (!d->ssl)
        return;
    d->in = slice_of(dgram, len);
    if (!d->data)
        drain(d);
}

size_t dtls_srtp_read(struct dtls_srtp *d, uint8_t *out, size_t cap)
{
    if (d->state != DTLS_SRTP_OPEN || !d->ssl)
        return 0;
    begin();
    int room = cap > INT_MAX ? INT_MAX : (int)cap;
    int rc = SSL_read(d->ssl, out, room);
    if (rc > 0) {
        uint8_t waste[256];
        while (rc == room && SSL_pending(d->ssl) > 0 && SSL_read(d->ssl, waste, sizeof(waste)) > 0)
            ;
        return (size_t)rc;
    }
    int err = SSL_get_error(d->ssl, rc);
    if (err == SSL_ERROR_ZERO_RETURN) {
        d->state = DTLS_SRTP_CLOSED;
        ssl_drop(d);
    } else if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE) {
        fail(d, is_alert() ? DTLS_SRTP_WHY_ALERT : DTLS_SRTP_WHY_PROTOCOL);
    }
    ERR_clear_error();
    return 0;
}

int dtls_srtp_write(struct dtls_srtp *d, struct slice bytes)
{
    if (bytes.len > DTLS_SRTP_DATA_MAX)
        return -EMSGSIZE;
    if (d->state != DTLS_SRTP_OPEN || !d->ssl || bytes.len == 0)
        return -EPROTO;
    begin();
    int rc = SSL_write(d->ssl, bytes.p, (int)bytes.len);
    ERR_clear_error();
    return rc > 0 ? 0 : -EPROTO;
}

enum dtls_srtp_state dtls_srtp_state(const struct dtls_srtp *d)
{
    return d->state;
}

enum dtls_srtp_why dtls_srtp_why(const struct dtls_srtp *d)
{
    return d->why;
}

/* Fills one direction from the exporter's block: client key, server key, client salt, server salt.
 */
static void keys_side(const struct dtls_srtp_keys *k, const uint8_t *block, bool server,
                      uint8_t *key, uint8_t *salt)
{
    memcpy(key, block + (server ? k->key_len : 0), k->key_len);
    memcpy(salt, block + 2 * k->key_len + (server ? k->salt_len : 0), k->salt_len);
}

int dtls_srtp_keys(struct dtls_srtp *d, struct dtls_srtp_keys *out)
{
    uint8_t block[2 * (DTLS_SRTP_KEY_MAX + DTLS_SRTP_SALT_MAX)];

    if (d->state != DTLS_SRTP_OPEN || !d->ssl)
        return -EPROTO;
    *out = (struct dtls_srtp_keys){0};
    SRTP_PROTECTION_PROFILE *p = SSL_get_selected_srtp_profile(d->ssl);
    if (!p)
        return 0;
    out->profile = (uint16_t)p->id;
    out->key_len = p->id == SRTP_AEAD_AES_256_GCM ? 32 : 16;
    out->salt_len = p->id == SRTP_AES128_CM_SHA1_80 ? 14 : 12;
    begin();
    int rc = SSL_export_keying_material(d->ssl, block, 2u * (out->key_len + out->salt_len),
                                        EXPORT_LABEL, sizeof(EXPORT_LABEL) - 1, NULL, 0, 0);
    ERR_clear_error();
    if (rc == 1) {
        keys_side(out, block, !d->client, out->local_key, out->local_salt);
        keys_side(out, block, d->client, out->remote_key, out->remote_salt);
    }
    crypto_wipe(block, sizeof(block));
    return rc == 1 ? 0 : -EPROTO;
}

bool dtls_srtp_can_data(const struct dtls_srtp *d)
{
    return d->ssl != NULL;
}

bool dtls_srtp_want_data(struct dtls_srtp *d)
{
    if (!dtls_srtp_can_data(d))
        return false;
    d->data = true;
    return true;
}

uint64_t dtls_srtp_deadline(const struct dtls_srtp *d)
{
    struct timeval left;

    if (d->state == DTLS_SRTP_OPEN && d->ssl && !d->data)
        return d->finished_us + DTLS_SRTP_LINGER_US;
    if (d->state != DTLS_SRTP_HANDSHAKE)
        return CLOCK_NEVER;
    uint64_t end = d->started_us + DTLS_SRTP_HANDSHAKE_US;
    if (DTLSv1_get_timeout(d->ssl, &left) != 1)
        return end;
    uint64_t retry = d->now_us + (uint64_t)left.tv_sec * US_PER_S + (uint64_t)left.tv_usec;
    return retry < end ? retry : end;
}

void dtls_srtp_tick(struct dtls_srtp *d, uint64_t now_us)
{
    d->now_us = now_us;
    if (d->state == DTLS_SRTP_OPEN && d->ssl && !d->data &&
        now_us >= d->finished_us + DTLS_SRTP_LINGER_US)
        ssl_drop(d);
    if (d->state != DTLS_SRTP_HANDSHAKE)
        return;
    begin();
    if (now_us >= d->started_us + DTLS_SRTP_HANDSHAKE_US || DTLSv1_handle_timeout(d->ssl) < 0)
        fail(d, DTLS_SRTP_WHY_TIMEOUT);
    ERR_clear_error();
}

void dtls_srtp_close(struct dtls_srtp *d)
{
    if (d->state == DTLS_SRTP_OPEN && d->ssl) {
        begin();
        SSL_shutdown(d->ssl);
        ERR_clear_error();
    }
    if (d->state != DTLS_SRTP_FAILED)
        d->state = DTLS_SRTP_CLOSED;
    ssl_drop(d);
}

bool dtls_srtp_is_whole(const struct dtls_srtp *d)
{
    return d->ssl != NULL;
}

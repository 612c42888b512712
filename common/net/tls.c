/* TLS contexts and connections on OpenSSL: TLS 1.2 and 1.3, AEAD only, nothing resumable.
 *
 * Called by stream.c (server side) and server/h2_link.c (client side). Ciphertext goes through a
 * BIO of our own instead of OpenSSL's socket BIO: it sends with MSG_NOSIGNAL (no SIGPIPE, whatever
 * main() did), and it reads into a stage that all connections of the context share, so that a
 * record costs one recv(), not the three (header, body, EAGAIN) of OpenSSL without read-ahead, and
 * no connection keeps a read buffer. A connection that leaves bytes in the stage takes them home
 * (spill) when another one needs it: rare, since callers read until -EAGAIN.
 *
 * The context is reference counted: a reload replaces it while its connections live on.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/tls.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/secretfile.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define TLS_STAGE_BYTES 16384
#define TLS_ALPN_MAX    128   /* bytes of the ALPN list in wire form */
#define TLS_CHAIN_MAX   65536 /* bytes of certificates that a server may show us */

static const char CIPHERS_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char CIPHERS_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                 "TLS_CHACHA20_POLY1305_SHA256";
static const char GROUPS[] = "X25519:P-256";

/* Bytes received from one connection's socket and not yet asked for by its SSL. */
struct stage {
    struct tls *owner;
    size_t at, end;
    uint8_t bytes[TLS_STAGE_BYTES];
};

/* One certificate, over streams and over datagrams (NULL unless asked for). */
struct served {
    SSL_CTX *tls, *dtls;
};

struct tls_ctx {
    struct served first;
    struct served more[TLS_MORE_MAX]; /* chosen by the host that the client names */
    unsigned n_more, refs;
    bool with_dtls;
    size_t alpn_len;
    uint8_t alpn[TLS_ALPN_MAX]; /* RFC 7301 wire form, our preference first */
    struct stage stage;
};

struct tls {
    SSL *ssl;
    struct tls_ctx *ctx;
    uint8_t *spill; /* what this connection had in the stage when another one took it */
    uint32_t spill_at, spill_end;
    const char *why; /* a client's handshake failed: static text */
    int fd;
    bool drained; /* the last recv() took everything: the next one would only say EAGAIN */
    bool client, eof, broken;
};

/* ---- the BIO ---- */

/* Moves the owner's rest out of the stage, so that another connection may use it. */
static void stage_evict(struct stage *st)
{
    struct tls *t = st->owner;
    size_t n = st->end - st->at;
    st->owner = NULL;
    if (!t || n == 0)
        return;
    t->spill = mem_realloc(NULL, n);
    if (!t->spill) {
        t->broken = true; /* its record stream has a hole now */
        return;
    }
    memcpy(t->spill, st->bytes + st->at, n);
    t->spill_at = 0;
    t->spill_end = (uint32_t)n;
}

static size_t take_spill(struct tls *t, uint8_t *out, size_t cap)
{
    size_t n = t->spill_end - t->spill_at;
    if (n > cap)
        n = cap;
    memcpy(out, t->spill + t->spill_at, n);
    t->spill_at += (uint32_t)n;
    if (t->spill_at == t->spill_end) {
        mem_free(t->spill);
        t->spill = NULL;
    }
    return n;
}

static size_t take_stage(struct stage *st, uint8_t *out, size_t cap)
{
    size_t n = st->end - st->at;
    if (n > cap)
        n = cap;
    memcpy(out, st->bytes + st->at, n);
    st->at += n;
    if (st->at == st->end)
        st->owner = NULL;
    return n;
}

/* Fills the (then free) stage for t. Returns what recv() returned. */
static ssize_t stage_fill(struct stage *st, struct tls *t)
{
    ssize_t n = recv(t->fd, st->bytes, sizeof st->bytes, MSG_DONTWAIT);
    if (n > 0) {
        st->owner = t;
        st->at = 0;
        st->end = (size_t)n;
    }
    return n;
}

static int sock_read(BIO *b, char *buf, int len)
{
    struct tls *t = BIO_get_data(b);
    struct stage *st = &t->ctx->stage;
    BIO_clear_retry_flags(b);
    if (len <= 0 || t->broken)
        return -1;
    if (t->spill)
        return (int)take_spill(t, (uint8_t *)buf, (size_t)len);
    if (st->owner == t)
        return (int)take_stage(st, (uint8_t *)buf, (size_t)len);
    if (t->drained) {
        t->drained = false; /* once: the caller waits for readiness and comes back */
        BIO_set_retry_read(b);
        return -1;
    }
    stage_evict(st);
    ssize_t n = stage_fill(st, t);
    if (n > 0) {
        t->drained = (size_t)n < sizeof st->bytes;
        return (int)take_stage(st, (uint8_t *)buf, (size_t)len);
    }
    if (n == 0)
        t->eof = true;
    else if (errno == EAGAIN || errno == EINTR)
        BIO_set_retry_read(b);
    return (int)n;
}

static int sock_write(BIO *b, const char *buf, int len)
{
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    ssize_t n = send(t->fd, buf, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return (int)n;
}

static long sock_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)num;
    (void)ptr;
    struct tls *t = BIO_get_data(b);
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return t->eof;
    default:
        return 0;
    }
}

static BIO_METHOD *method;

/* Once per process, never freed: every BIO refers to it. */
static void method_init(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sori socket");
    if (!m)
        return;
    BIO_meth_set_read(m, sock_read);
    BIO_meth_set_write(m, sock_write);
    BIO_meth_set_ctrl(m, sock_ctrl);
    method = m;
}

static BIO *bio_new(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, method_init);
    BIO *b = method ? BIO_new(method) : NULL;
    if (!b)
        return NULL;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}

/* ---- contexts ---- */

/* "a,b" to the wire form of RFC 7301 §3.1. Returns 0 or -EINVAL. */
static int alpn_encode(struct tls_ctx *c, const char *list)
{
    struct wr w = wr_init(c->alpn, sizeof c->alpn);
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n == 0 || n > UINT8_MAX)
            return -EINVAL;
        wr_u8(&w, (uint8_t)n);
        wr_bytes(&w, slice_of(list, n));
        list += n + (list[n] == ',');
    }
    c->alpn_len = w.len;
    return w.bad || w.len == 0 ? -EINVAL : 0;
}

/* RFC 7301 §3.2: "In the event that the server supports no protocols that the client advertises,
 * then the server SHALL respond with a fatal no_application_protocol alert." */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned inlen, void *arg)
{
    const struct tls_ctx *c = arg;
    unsigned char *hit = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&hit, outlen, c->alpn, (unsigned)c->alpn_len, in, inlen) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = hit;
    return SSL_TLSEXT_ERR_OK;
}

/* A key under a pass phrase is refused instead of asking a terminal that is not there. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static void set_error(char err[TLS_ERR_MAX], const char *file, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;
    if (e && ERR_SYSTEM_ERROR(e))
        snprintf(err, TLS_ERR_MAX, "%s: %s: %s", file, what, strerror(ERR_GET_REASON(e)));
    else
        snprintf(err, TLS_ERR_MAX, "%s: %s: %s", file, what, why ? why : "unknown");
    ERR_clear_error();
}

/* Loads the private key under the rules for secrets: a file that only its owner reads, or a systemd
 * credential. False with err filled. */
static bool use_key(SSL_CTX *s, const char *key_file, char err[TLS_ERR_MAX])
{
    const char *why;
    uint8_t *pem;
    size_t len;

    int rc = secretfile_load(slice_str(key_file), &pem, &len, &why);
    if (rc != 0) {
        snprintf(err, TLS_ERR_MAX, "%s: %s", key_file, why);
        return false;
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    bool ok = key && SSL_CTX_use_PrivateKey(s, key) == 1;
    if (!ok)
        set_error(err, key_file, "cannot load the private key");
    EVP_PKEY_free(key);
    BIO_free(bio);
    crypto_wipe(pem, len);
    mem_free(pem);
    return ok;
}

/* dtls_new() is given ClientHellos whose cookie was verified. */
static int cookie_was_verified(SSL *ssl, const unsigned char *cookie, unsigned len)
{
    (void)ssl;
    (void)cookie;
    (void)len;
    return 1;
}

static bool set_protocol(SSL_CTX *s, bool dtls)
{
    SSL_CTX_set_options(s, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(s, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_read_ahead(s, 0);
    /* Nobody is asked for a certificate; DTLS would keep room for ten messages of 100 kB. */
    SSL_CTX_set_max_cert_list(s, SSL3_RT_MAX_PLAIN_LENGTH);
    SSL_CTX_set_cookie_verify_cb(s, cookie_was_verified);
    return SSL_CTX_set_num_tickets(s, 0) && SSL_CTX_set_max_early_data(s, 0) &&
           SSL_CTX_set_min_proto_version(s, dtls ? DTLS1_2_VERSION : TLS1_2_VERSION) &&
           SSL_CTX_set_max_proto_version(s, dtls ? DTLS1_2_VERSION : TLS1_3_VERSION) &&
           SSL_CTX_set_cipher_list(s, CIPHERS_12) && SSL_CTX_set_ciphersuites(s, CIPHERS_13) &&
           SSL_CTX_set1_groups_list(s, GROUPS);
}

/* A whole OpenSSL context for one certificate, or NULL with err filled. */
static SSL_CTX *load_one(struct tls_ctx *c, bool dtls, const char *cert_file, const char *key_file,
                         char err[TLS_ERR_MAX])
{
    SSL_CTX *s = SSL_CTX_new(dtls ? DTLS_server_method() : TLS_server_method());

    if (!s) {
        snprintf(err, TLS_ERR_MAX, "out of memory");
        return NULL;
    }
    SSL_CTX_set_default_passwd_cb(s, no_passphrase);
    if (!set_protocol(s, dtls))
        set_error(err, "tls", "cannot set protocol options");
    else if (SSL_CTX_use_certificate_chain_file(s, cert_file) != 1)
        set_error(err, cert_file, "cannot load the certificate chain");
    else if (!use_key(s, key_file, err))
        ;
    else if (SSL_CTX_check_private_key(s) != 1)
        set_error(err, key_file, "does not belong to the certificate");
    else {
        if (c->alpn_len > 0)
            SSL_CTX_set_alpn_select_cb(s, alpn_select, c);
        return s;
    }
    SSL_CTX_free(s);
    return NULL;
}

static void unload(struct served *v)
{
    SSL_CTX_free(v->tls);
    SSL_CTX_free(v->dtls);
    *v = (struct served){0};
}

/* The same for every kind that c serves. Returns 0 or -EINVAL with err filled; *out is empty then.
 */
static int load(struct tls_ctx *c, struct served *out, const char *cert_file, const char *key_file,
                char err[TLS_ERR_MAX])
{
    out->tls = load_one(c, false, cert_file, key_file, err);
    if (out->tls && c->with_dtls)
        out->dtls = load_one(c, true, cert_file, key_file, err);
    if (out->tls && (out->dtls || !c->with_dtls))
        return 0;
    unload(out);
    return -EINVAL;
}

static struct tls_ctx *ctx_new(bool with_dtls, const char *cert_file, const char *key_file,
                               const char *alpn, char err[TLS_ERR_MAX])
{
    struct tls_ctx *c = mem_zalloc(sizeof *c);
    ERR_clear_error();
    if (!c) {
        snprintf(err, TLS_ERR_MAX, "out of memory");
        return NULL;
    }
    c->refs = 1;
    c->with_dtls = with_dtls;
    if (alpn && alpn_encode(c, alpn) != 0)
        snprintf(err, TLS_ERR_MAX, "bad ALPN list \"%s\"", alpn);
    else if (load(c, &c->first, cert_file, key_file, err) == 0)
        return c;
    tls_ctx_free(c);
    return NULL;
}

struct tls_ctx *tls_ctx_new(const char *cert_file, const char *key_file, const char *alpn,
                            char err[TLS_ERR_MAX])
{
    return ctx_new(false, cert_file, key_file, alpn, err);
}

struct tls_ctx *tls_ctx_new_with_dtls(const char *cert_file, const char *key_file, const char *alpn,
                                      char err[TLS_ERR_MAX])
{
    return ctx_new(true, cert_file, key_file, alpn, err);
}

/* The authorities that a client trusts. False with err filled. */
static bool use_authorities(SSL_CTX *s, const char *ca_file, char err[TLS_ERR_MAX])
{
    if (ca_file && SSL_CTX_load_verify_file(s, ca_file) != 1)
        set_error(err, ca_file, "cannot load the certificates of the authorities to trust");
    else if (!ca_file && SSL_CTX_set_default_verify_paths(s) != 1)
        set_error(err, "tls", "cannot use the system's certificates (ca-certificates)");
    else
        return true;
    return false;
}

/* What a client shows when it is asked for a certificate; none is fine. False with err filled. */
static bool use_identity(SSL_CTX *s, const char *cert_file, const char *key_file,
                         char err[TLS_ERR_MAX])
{
    if (!cert_file && !key_file)
        return true;
    if (!cert_file || !key_file)
        snprintf(err, TLS_ERR_MAX, "%s: a certificate and its key go together: name both files",
                 cert_file ? cert_file : key_file);
    else if (SSL_CTX_use_certificate_chain_file(s, cert_file) != 1)
        set_error(err, cert_file, "cannot load the certificate chain");
    else if (!use_key(s, key_file, err))
        ;
    else if (SSL_CTX_check_private_key(s) != 1)
        set_error(err, key_file, "does not belong to the certificate");
    else
        return true;
    return false;
}

/* A whole OpenSSL context for the client side, or NULL with err filled. */
static SSL_CTX *load_client(struct tls_ctx *c, const char *ca_file, const char *cert_file,
                            const char *key_file, char err[TLS_ERR_MAX])
{
    SSL_CTX *s = SSL_CTX_new(TLS_client_method());

    if (!s) {
        snprintf(err, TLS_ERR_MAX, "out of memory");
        return NULL;
    }
    SSL_CTX_set_default_passwd_cb(s, no_passphrase);
    if (!set_protocol(s, false) ||
        (c->alpn_len > 0 && SSL_CTX_set_alpn_protos(s, c->alpn, (unsigned)c->alpn_len) != 0))
        set_error(err, "tls", "cannot set protocol options");
    else if (use_authorities(s, ca_file, err) && use_identity(s, cert_file, key_file, err)) {
        SSL_CTX_set_verify(s, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_max_cert_list(s, TLS_CHAIN_MAX);
        return s;
    }
    SSL_CTX_free(s);
    return NULL;
}

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

struct tls_ctx *tls_client_ctx_new(const char *ca_file, const char *cert_file, const char *key_file,
                                   const char *alpn, char err[TLS_ERR_MAX])
{
    struct tls_ctx *c = mem_zalloc(sizeof *c);

    ERR_clear_error();
    if (!c) {
        snprintf(err, TLS_ERR_MAX, "out of memory");
        return NULL;
    }
    c->refs = 1;
    if (alpn && (strchr(alpn, ',') || alpn_encode(c, alpn) != 0))
        snprintf(err, TLS_ERR_MAX, "bad ALPN protocol \"%s\"", alpn);
    else
        c->first.tls = load_client(c, or_null(ca_file), or_null(cert_file), or_null(key_file), err);
    if (c->first.tls)
        return c;
    tls_ctx_free(c);
    return NULL;
}

static bool is_for(const SSL_CTX *s, const char *host)
{
    X509 *x = SSL_CTX_get0_certificate(s);

    return x && X509_check_host(x, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

/* The client named a host (RFC 6066 §3): the first certificate that is for it, else the first. */
static int choose(SSL *ssl, int *alert, void *arg)
{
    const struct tls_ctx *c = arg;
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    if (!host || is_for(c->first.tls, host))
        return SSL_TLSEXT_ERR_OK;
    for (unsigned i = 0; i < c->n_more; i++) {
        SSL_CTX *s = SSL_is_dtls(ssl) ? c->more[i].dtls : c->more[i].tls;
        if (is_for(s, host))
            return SSL_set_SSL_CTX(ssl, s) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return SSL_TLSEXT_ERR_OK;
}

static void choose_by_host(SSL_CTX *s, struct tls_ctx *c)
{
    SSL_CTX_set_tlsext_servername_callback(s, choose);
    SSL_CTX_set_tlsext_servername_arg(s, c);
}

int tls_ctx_add(struct tls_ctx *c, const char *cert_file, const char *key_file,
                char err[TLS_ERR_MAX])
{
    if (c->n_more == TLS_MORE_MAX) {
        snprintf(err, TLS_ERR_MAX, "%s: more than %d certificates", cert_file, TLS_MORE_MAX + 1);
        return -ENOSPC;
    }
    ERR_clear_error();
    if (load(c, &c->more[c->n_more], cert_file, key_file, err) != 0)
        return -EINVAL;
    c->n_more++;
    choose_by_host(c->first.tls, c);
    if (c->first.dtls)
        choose_by_host(c->first.dtls, c);
    return 0;
}

void tls_ctx_free(struct tls_ctx *c)
{
    if (!c || --c->refs > 0)
        return;
    for (unsigned i = 0; i < c->n_more; i++)
        unload(&c->more[i]);
    unload(&c->first);
    mem_free(c);
}

void tls_ctx_hold(struct tls_ctx *c)
{
    c->refs++;
}

struct ssl_st *tls_ctx_dtls(struct tls_ctx *c)
{
    SSL *s = SSL_new(c->first.dtls);

    if (s)
        SSL_set_accept_state(s);
    return s;
}

/* ---- connections ---- */

/* A connection without a side yet, or NULL. */
static struct tls *conn_new(struct tls_ctx *c, int fd)
{
    struct tls *t = mem_zalloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (struct tls){.ctx = c, .fd = fd};
    t->ssl = SSL_new(c->first.tls);
    BIO *b = t->ssl ? bio_new(t) : NULL;
    if (!b) {
        SSL_free(t->ssl);
        mem_free(t);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_bio(t->ssl, b, b);
    tls_ctx_hold(c);
    return t;
}

struct tls *tls_accept_new(struct tls_ctx *c, int fd)
{
    struct tls *t = conn_new(c, fd);

    if (t)
        SSL_set_accept_state(t->ssl);
    return t;
}

/* Whom the certificate must be for. RFC 6066 §3: an address is not sent as SNI. */
static bool expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (host[0] == '\0')
        return false; /* would take every name */
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_connect_new(struct tls_ctx *c, int fd, const char *host)
{
    struct tls *t = conn_new(c, fd);

    if (t && !expect_host(t->ssl, host)) {
        tls_free(t);
        t = NULL;
    }
    ERR_clear_error();
    if (!t)
        return NULL;
    t->client = true;
    SSL_set_connect_state(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->ctx->stage.owner == t)
        t->ctx->stage.owner = NULL;
    SSL_free(t->ssl);
    mem_free(t->spill);
    tls_ctx_free(t->ctx);
    mem_free(t);
}

/* SSL_get_error() trusts the thread's error queue, which verifying a token may have filled too. */
static void begin(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

/* Keeps OpenSSL's words for a client's failure before they are cleared; all are static. */
static void note_why(struct tls *t)
{
    long verified = SSL_get_verify_result(t->ssl);
    unsigned long e = ERR_peek_last_error();
    const char *text = e && !ERR_SYSTEM_ERROR(e) ? ERR_reason_error_string(e) : NULL;

    if (verified != X509_V_OK)
        text = X509_verify_cert_error_string(verified);
    t->why = text;
}

/* The verdict of tls.h for a call that gave rc <= 0. */
static int verdict(struct tls *t, int rc, bool *want_write)
{
    *want_write = false;
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *want_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SSL:
        if (t->client)
            note_why(t);
        ERR_clear_error();
        return t->eof || t->broken ? -EIO : -EPROTO;
    default:
        ERR_clear_error();
        return -EIO;
    }
}

/* RFC 7301 §3.1: one protocol was offered; the server has chosen it or named none. */
static bool speaks_ours(const struct tls *t)
{
    struct slice got = tls_alpn(t);

    return slice_eq(got, slice_of(t->ctx->alpn + 1, t->ctx->alpn_len - 1));
}

int tls_handshake(struct tls *t, bool *want_write)
{
    begin();
    int rc = SSL_do_handshake(t->ssl);
    if (rc != 1)
        return verdict(t, rc, want_write);
    if (t->client && t->ctx->alpn_len > 0 && !speaks_ours(t)) {
        t->why = "the server does not speak the protocol that we asked for (ALPN)";
        return -EPROTO;
    }
    return 1;
}

const char *tls_why(const struct tls *t)
{
    if (t->why)
        return t->why;
    return t->eof ? "the server closed the connection" : "the connection broke";
}

int tls_read(struct tls *t, void *buf, size_t cap, bool *want_write)
{
    begin();
    int rc = SSL_read(t->ssl, buf, cap > INT_MAX ? INT_MAX : (int)cap);
    return rc > 0 ? rc : verdict(t, rc, want_write);
}

int tls_write(struct tls *t, struct slice s, bool *want_write)
{
    begin();
    int rc = SSL_write(t->ssl, s.p, s.len > INT_MAX ? INT_MAX : (int)s.len);
    return rc > 0 ? rc : verdict(t, rc, want_write);
}

size_t tls_pending(const struct tls *t)
{
    const struct stage *st = &t->ctx->stage;
    size_t raw = st->owner == t ? st->end - st->at : 0;
    if (t->spill)
        raw += t->spill_end - t->spill_at;
    return (size_t)SSL_pending(t->ssl) + raw;
}

bool tls_dry(struct tls *t)
{
    if (!t->drained || tls_pending(t) > 0)
        return false;
    t->drained = false; /* the EAGAIN that it stands for is given here */
    return true;
}

void tls_shutdown(struct tls *t)
{
    begin();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

const char *tls_version(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}

struct slice tls_host(const struct tls *t)
{
    return slice_str(SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
}

struct slice tls_alpn(const struct tls *t)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &p, &n);
    return slice_of(p, n);
}

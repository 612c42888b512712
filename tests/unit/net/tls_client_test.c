/* TLS client side over socket pairs against OpenSSL's server: whom it believes, and why not.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/tls.h"

#include "base/mem.h"
#include "tests/lib/test_cert.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#define HOUR 3600L

static char err[TLS_ERR_MAX], ca_file[128];
static struct test_cert own; /* what the client shows; not signed by the authority */
static EVP_PKEY *ca_key, *leaf_key;
static X509 *ca;

/* A certificate for san ("DNS:a,IP:::1"), signed by the authority or by itself. */
static X509 *cert_for(const char *san, long from_s, long to_s, bool self_signed)
{
    X509 *x = X509_new();
    X509V3_CTX v3;

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_gmtime_adj(X509_getm_notBefore(x), from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), to_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"ours", -1, -1, 0);
    X509_set_issuer_name(x, self_signed ? X509_get_subject_name(x) : X509_get_subject_name(ca));
    X509_set_pubkey(x, leaf_key);
    X509V3_set_ctx(&v3, self_signed ? x : ca, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, &v3, NID_subject_alt_name, san);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(x, self_signed ? leaf_key : ca_key, EVP_sha256());
    return x;
}

static void make_authority(void)
{
    X509V3_CTX v3;

    ca_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    ca = X509_new();
    X509_set_version(ca, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(ca), 1);
    X509_gmtime_adj(X509_getm_notBefore(ca), -HOUR);
    X509_gmtime_adj(X509_getm_notAfter(ca), 24 * HOUR);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(ca), "CN", MBSTRING_ASC,
                               (const unsigned char *)"authority", -1, -1, 0);
    X509_set_issuer_name(ca, X509_get_subject_name(ca));
    X509_set_pubkey(ca, ca_key);
    X509V3_set_ctx(&v3, ca, ca, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(ca, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(ca, ca_key, EVP_sha256());
    FILE *f = fopen(ca_file, "w");
    PEM_write_X509(f, ca);
    fclose(f);
}

struct pair {
    int fd[2];
    SSL_CTX *ctx;
    SSL *server;
    struct tls *client;
    const char *alpn; /* wire form that the server chooses, NULL: none */
    bool seen_sni;
    char sni[64];
};

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    const struct pair *p = arg;

    (void)ssl, (void)in, (void)in_len;
    if (!p->alpn)
        return SSL_TLSEXT_ERR_NOACK;
    *out = (const unsigned char *)p->alpn;
    *len = (unsigned char)strlen(p->alpn);
    return SSL_TLSEXT_ERR_OK;
}

/* Connects to a server that shows x. Returns the client's verdict. */
static int shake(struct pair *p, struct tls_ctx *c, X509 *x, int version, const char *alpn,
                 const char *host, int verify)
{
    int client = -EAGAIN, server = 0;
    bool want_write;

    *p = (struct pair){.alpn = alpn};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
    p->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(p->ctx, 0);
    SSL_CTX_set_max_proto_version(p->ctx, version);
    SSL_CTX_use_certificate(p->ctx, x);
    SSL_CTX_use_PrivateKey(p->ctx, leaf_key);
    SSL_CTX_set_alpn_select_cb(p->ctx, choose_alpn, p);
    SSL_CTX_set_verify(p->ctx, verify, NULL);
    if (verify)
        SSL_CTX_load_verify_file(p->ctx, own.cert);
    p->server = SSL_new(p->ctx);
    SSL_set_fd(p->server, p->fd[0]);
    SSL_set_accept_state(p->server);
    p->client = tls_connect_new(c, p->fd[1], host);
    assert_non_null(p->client);
    for (int i = 0; i < 20 && (client == -EAGAIN || server != 1); i++) {
        if (client == -EAGAIN)
            client = tls_handshake(p->client, &want_write);
        if (client != 1 && client != -EAGAIN)
            break;
        if (server != 1)
            server = SSL_do_handshake(p->server);
    }
    const char *name = SSL_get_servername(p->server, TLSEXT_NAMETYPE_host_name);
    p->seen_sni = name != NULL;
    snprintf(p->sni, sizeof(p->sni), "%s", name ? name : "");
    return client;
}

/* The first read may say -EAGAIN: the socket had nothing more at the handshake's end. */
static int read_some(struct pair *p, char *buf, size_t cap)
{
    bool want_write;
    int rc = tls_read(p->client, buf, cap, &want_write);

    return rc == -EAGAIN ? tls_read(p->client, buf, cap, &want_write) : rc;
}

static void pair_close(struct pair *p)
{
    SSL_free(p->server);
    SSL_CTX_free(p->ctx);
    tls_free(p->client);
    close(p->fd[0]);
    close(p->fd[1]);
}

static struct tls_ctx *context(const char *cert, const char *key)
{
    struct tls_ctx *c = tls_client_ctx_new(ca_file, cert, key, "h2", err);

    if (!c)
        fail_msg("%s", err);
    return c;
}

static void test_believes_only_the_right_certificate(void **state)
{
    static const struct {
        const char *san;
        long from_s, to_s;
        bool self_signed;
        const char *host;
        const char *why; /* NULL: believed */
    } cases[] = {
        {"DNS:api.example.com", -HOUR, HOUR, false, "api.example.com", NULL},
        {"DNS:api.example.com", -HOUR, HOUR, false, "API.example.com", NULL},
        {"DNS:*.example.com", -HOUR, HOUR, false, "api.example.com", NULL},
        {"IP:127.0.0.1", -HOUR, HOUR, false, "127.0.0.1", NULL},
        {"IP:::1", -HOUR, HOUR, false, "::1", NULL},
        {"DNS:other.example.com", -HOUR, HOUR, false, "api.example.com", "hostname mismatch"},
        {"DNS:*.example.com", -HOUR, HOUR, false, "a.b.example.com", "hostname mismatch"},
        {"DNS:*.example.com", -HOUR, HOUR, false, "example.com", "hostname mismatch"},
        {"DNS:a*.example.com", -HOUR, HOUR, false, "api.example.com", "hostname mismatch"},
        {"DNS:127.0.0.1", -HOUR, HOUR, false, "127.0.0.1", "IP address mismatch"},
        {"IP:127.0.0.2", -HOUR, HOUR, false, "127.0.0.1", "IP address mismatch"},
        {"DNS:api.example.com", -2 * HOUR, -HOUR, false, "api.example.com", "expired"},
        {"DNS:api.example.com", HOUR, 2 * HOUR, false, "api.example.com", "not yet valid"},
        {"DNS:api.example.com", -HOUR, HOUR, true, "api.example.com", "self-signed"},
    };
    struct tls_ctx *c = context(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        X509 *x = cert_for(cases[i].san, cases[i].from_s, cases[i].to_s, cases[i].self_signed);
        struct pair p;
        int rc = shake(&p, c, x, TLS1_3_VERSION, "h2", cases[i].host, SSL_VERIFY_NONE);
        if (rc != (cases[i].why ? -EPROTO : 1) ||
            (cases[i].why && !strstr(tls_why(p.client), cases[i].why)))
            fail_msg("case %zu: %d, %s", i, rc, tls_why(p.client));
        pair_close(&p);
        X509_free(x);
    }
    tls_ctx_free(c);
}

static void test_no_protocol_need_be_named(void **state)
{
    struct tls_ctx *c = tls_client_ctx_new(ca_file, NULL, NULL, NULL, err);
    X509 *x = cert_for("DNS:redis.example.com", -HOUR, HOUR, false);
    struct pair p;

    (void)state;
    assert_non_null(c);
    assert_int_equal(shake(&p, c, x, TLS1_3_VERSION, NULL, "redis.example.com", 0), 1);
    assert_int_equal(tls_alpn(p.client).len, 0);
    pair_close(&p);
    X509_free(x);
    tls_ctx_free(c);
}

static void test_names_are_sent_addresses_are_not(void **state)
{
    struct tls_ctx *c = context(NULL, NULL);
    X509 *x = cert_for("DNS:api.example.com,IP:127.0.0.1", -HOUR, HOUR, false);
    struct pair p;

    (void)state;
    assert_int_equal(shake(&p, c, x, TLS1_3_VERSION, "h2", "api.example.com", 0), 1);
    assert_string_equal(p.sni, "api.example.com");
    assert_string_equal(tls_version(p.client), "TLSv1.3");
    pair_close(&p);
    assert_int_equal(shake(&p, c, x, TLS1_2_VERSION, "h2", "127.0.0.1", 0), 1);
    assert_false(p.seen_sni);
    assert_string_equal(tls_version(p.client), "TLSv1.2");
    pair_close(&p);
    assert_null(tls_connect_new(c, -1, ""));
    X509_free(x);
    tls_ctx_free(c);
}

static void test_a_server_must_choose_our_protocol(void **state)
{
    struct tls_ctx *c = context(NULL, NULL);
    X509 *x = cert_for("DNS:a", -HOUR, HOUR, false);
    struct pair p;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_int_equal(shake(&p, c, x, version, NULL, "a", 0), -EPROTO);
        assert_non_null(strstr(tls_why(p.client), "ALPN"));
        pair_close(&p);
        assert_int_equal(shake(&p, c, x, version, "http/1.1", "a", 0), -EPROTO);
        pair_close(&p);
    }
    assert_int_equal(shake(&p, c, x, TLS1_1_VERSION, "h2", "a", 0), -EPROTO);
    assert_true(strlen(tls_why(p.client)) > 0);
    pair_close(&p);
    X509_free(x);
    tls_ctx_free(c);
}

static void test_shows_its_certificate_when_asked(void **state)
{
    X509 *x = cert_for("DNS:a", -HOUR, HOUR, false);
    struct tls_ctx *c = context(own.cert, own.key), *none = context(NULL, NULL);
    struct pair p;
    char buf[8];

    (void)state;
    int must = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    assert_int_equal(shake(&p, c, x, TLS1_3_VERSION, "h2", "a", must), 1);
    X509 *seen = SSL_get1_peer_certificate(p.server);
    assert_non_null(seen);
    X509_free(seen);
    assert_int_equal(SSL_write(p.server, "hello", 5), 5);
    assert_int_equal(read_some(&p, buf, sizeof(buf)), 5);
    pair_close(&p);
    int rc = shake(&p, none, x, TLS1_3_VERSION, "h2", "a", must);
    if (rc == 1) /* TLS 1.3: told behind the handshake */
        rc = read_some(&p, buf, sizeof(buf));
    assert_int_equal(rc, -EPROTO);
    assert_non_null(strstr(tls_why(p.client), "certificate required"));
    pair_close(&p);
    X509_free(x);
    tls_ctx_free(c);
    tls_ctx_free(none);
}

static void test_a_connection_that_closes_in_the_handshake(void **state)
{
    struct tls_ctx *c = context(NULL, NULL);
    bool want_write;
    int fd[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    struct tls *t = tls_connect_new(c, fd[1], "a");
    assert_int_equal(tls_handshake(t, &want_write), -EAGAIN);
    close(fd[0]);
    assert_int_equal(tls_handshake(t, &want_write), -EIO);
    assert_true(strlen(tls_why(t)) > 0);
    tls_free(t);
    close(fd[1]);
    tls_ctx_free(c);
}

static void test_bad_files_are_named_with_the_reason(void **state)
{
    const struct {
        const char *ca, *cert, *key, *alpn, *named;
    } cases[] = {
        {"/nonexistent", NULL, NULL, "h2", "/nonexistent"},
        {own.key, NULL, NULL, "h2", own.key}, /* no certificate in it */
        {ca_file, "/nonexistent", own.key, "h2", "/nonexistent"},
        {ca_file, own.cert, "/nonexistent", "h2", "/nonexistent"},
        {ca_file, own.cert, NULL, "h2", "both"},
        {ca_file, NULL, own.key, "h2", "both"},
        {ca_file, ca_file, own.key, "h2", own.key}, /* another's */
        {ca_file, NULL, NULL, "h2,http/1.1", "ALPN"},
        {ca_file, NULL, NULL, "", "ALPN"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err[0] = '\0';
        assert_null(
            tls_client_ctx_new(cases[i].ca, cases[i].cert, cases[i].key, cases[i].alpn, err));
        if (!strstr(err, cases[i].named))
            fail_msg("case %zu: %s", i, err);
    }
    for (int i = 0; i < 2; i++) { /* the system's, and no certificate: an option that is not set */
        const char *none = i ? "" : NULL;
        struct tls_ctx *c = tls_client_ctx_new(none, none, none, "h2", err);
        assert_non_null(c);
        tls_ctx_free(c);
    }
}

static void test_oom_leaves_nothing(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct tls_ctx *c = tls_client_ctx_new(ca_file, own.cert, own.key, "h2", err);
        struct tls *t = c ? tls_connect_new(c, -1, "a") : NULL;
        bool failed = mem_failed(), made = t != NULL;
        mem_fail_never();
        tls_free(t);
        tls_ctx_free(c);
        assert_true(mem_live() == live);
        assert_int_equal(made, !failed);
        if (!failed)
            break;
    }
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's own socket BIO, in the server */
    if (test_cert_make(&own) != 0)
        return -1;
    snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", own.dir);
    make_authority();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    unlink(ca_file);
    test_cert_remove(&own);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_believes_only_the_right_certificate),
        cmocka_unit_test(test_no_protocol_need_be_named),
        cmocka_unit_test(test_names_are_sent_addresses_are_not),
        cmocka_unit_test(test_a_server_must_choose_our_protocol),
        cmocka_unit_test(test_shows_its_certificate_when_asked),
        cmocka_unit_test(test_a_connection_that_closes_in_the_handshake),
        cmocka_unit_test(test_bad_files_are_named_with_the_reason),
        cmocka_unit_test(test_oom_leaves_nothing),
    };
    return cmocka_run_group_tests_name("tls_client", tests, group_setup, group_teardown);
}

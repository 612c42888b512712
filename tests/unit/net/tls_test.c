/* TLS server side over socket pairs against OpenSSL's client: versions, suites, ALPN, no
 * resumption, the shared read stage, ends.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/tls.h"

#include "base/mem.h"
#include "tests/lib/test_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct test_cert cert, other;
static char err[TLS_ERR_MAX];

/* A client and our server side, both non-blocking, on the two ends of a socket pair. */
struct pair {
    int fd[2];
    SSL_CTX *ctx;
    SSL *client;
    struct tls *server;
};

static void pair_open(struct pair *p, struct tls_ctx *c)
{
    *p = (struct pair){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
    p->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(p->ctx, 0);
    p->client = SSL_new(p->ctx);
    SSL_set_fd(p->client, p->fd[0]);
    SSL_set_connect_state(p->client);
    p->server = tls_accept_new(c, p->fd[1]);
    assert_non_null(p->server);
}

static void pair_close(struct pair *p)
{
    SSL_free(p->client);
    SSL_CTX_free(p->ctx);
    tls_free(p->server);
    close(p->fd[0]);
    close(p->fd[1]);
}

/* Steps both sides. Returns the server's verdict: 1, or a negative errno. */
static int shake(struct pair *p)
{
    int server = -EAGAIN, client = 0;
    bool want_write;
    for (int i = 0; i < 20 && (server == -EAGAIN || client != 1); i++) {
        if (client != 1)
            client = SSL_do_handshake(p->client);
        if (server == -EAGAIN)
            server = tls_handshake(p->server, &want_write);
        if (server != 1 && server != -EAGAIN)
            break;
    }
    return client == 1 || server != 1 ? server : -ECONNREFUSED;
}

static struct tls_ctx *context(const char *alpn)
{
    struct tls_ctx *c = tls_ctx_new(cert.cert, cert.key, alpn, err);
    if (!c)
        fail_msg("%s", err);
    return c;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static void test_bad_files_are_named_with_the_reason(void **state)
{
    char junk[128], locked[128];
    (void)state;
    snprintf(junk, sizeof junk, "%s/junk", cert.dir);
    snprintf(locked, sizeof locked, "%s/locked", cert.dir);
    write_file(junk, "not a pem\n");
    chmod(junk, 0600);
    EVP_PKEY *k = EVP_EC_gen("P-256");
    FILE *f = fopen(locked, "w");
    chmod(locked, 0600);
    PEM_write_PKCS8PrivateKey(f, k, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    fclose(f);
    EVP_PKEY_free(k);
    const struct {
        const char *cert, *key, *alpn, *named;
    } cases[] = {
        {"/nonexistent", cert.key, NULL, "/nonexistent"},
        {cert.cert, "/nonexistent", NULL, "/nonexistent"},
        {junk, cert.key, NULL, "junk"},
        {cert.cert, junk, NULL, "junk"},
        {cert.cert, locked, NULL, "locked"},
        {cert.cert, other.key, NULL, other.key},
        {cert.cert, cert.key, "", "ALPN"},
        {cert.cert, cert.key, "a,,b", "ALPN"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err[0] = '\0';
        assert_null(tls_ctx_new(cases[i].cert, cases[i].key, cases[i].alpn, err));
        if (!strstr(err, cases[i].named))
            fail_msg("case %zu: %s", i, err);
    }
    unlink(junk);
    unlink(locked);
}

static void test_versions_and_suites(void **state)
{
    static const struct {
        int version;
        const char *suites, *groups;
        bool ok;
    } cases[] = {
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "X25519", true},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "P-256", true},
        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", "P-521:P-256", true},
        {TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", "X25519", false},
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "P-384", false},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "X25519:P-256", true},
        {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", "P-256", true},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", "P-256", false},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", "P-256", false},
        {TLS1_2_VERSION, "AECDH-NULL-SHA", "P-256", false},
        {TLS1_1_VERSION, "ALL:@SECLEVEL=0", "P-256", false},
        {TLS1_VERSION, "ALL:@SECLEVEL=0", "P-256", false},
    };
    struct tls_ctx *c = context(NULL);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p;
        pair_open(&p, c);
        SSL_set_min_proto_version(p.client, cases[i].version);
        SSL_set_max_proto_version(p.client, cases[i].version);
        SSL_set1_groups_list(p.client, cases[i].groups);
        if (cases[i].version == TLS1_3_VERSION)
            SSL_set_ciphersuites(p.client, cases[i].suites);
        else
            SSL_set_cipher_list(p.client, cases[i].suites);
        int rc = shake(&p);
        if ((rc == 1) != cases[i].ok)
            fail_msg("%s with %s: %d", cases[i].suites, cases[i].groups, rc);
        if (cases[i].ok)
            assert_string_equal(tls_version(p.server),
                                cases[i].version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
        pair_close(&p);
    }
    tls_ctx_free(c);
}

static void test_alpn(void **state)
{
    static const struct {
        const char *ours, *theirs, *got; /* theirs in wire form; got NULL: refused */
    } cases[] = {
        {"stun.turn,stun.nat-discovery", "\x12stun.nat-discovery\x09stun.turn", "stun.turn"},
        {"stun.turn,stun.nat-discovery", "\x12stun.nat-discovery", "stun.nat-discovery"},
        {"stun.turn", "\x08http/1.1", NULL},
        {"stun.turn", "", ""},
        {NULL, "\x08http/1.1", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_ctx *c = context(cases[i].ours);
        struct pair p;
        pair_open(&p, c);
        if (cases[i].theirs[0])
            SSL_set_alpn_protos(p.client, (const unsigned char *)cases[i].theirs,
                                (unsigned)strlen(cases[i].theirs));
        int rc = shake(&p);
        assert_int_equal(rc, cases[i].got ? 1 : -EPROTO);
        if (cases[i].got)
            assert_true(slice_is(tls_alpn(p.server), cases[i].got));
        pair_close(&p);
        tls_ctx_free(c);
    }
}

static void test_nothing_can_be_resumed(void **state)
{
    struct tls_ctx *c = context(NULL);
    (void)state;
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        struct pair p;
        char b[8];
        bool want_write;
        pair_open(&p, c);
        SSL_set_max_proto_version(p.client, v);
        assert_int_equal(shake(&p), 1);
        assert_int_equal(tls_write(p.server, SLICE_LIT("x"), &want_write), 1);
        assert_int_equal(SSL_read(p.client, b, sizeof b), 1);
        assert_false(SSL_SESSION_is_resumable(SSL_get0_session(p.client)));
        pair_close(&p);
    }
    tls_ctx_free(c);
}

static void test_renegotiation_is_refused(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;
    char b[8];
    bool want_write;
    (void)state;
    pair_open(&p, c);
    SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
    assert_int_equal(shake(&p), 1);
    assert_int_equal(SSL_renegotiate(p.client), 1);
    SSL_do_handshake(p.client);
    assert_int_equal(tls_read(p.server, b, sizeof b, &want_write), -EAGAIN);
    assert_int_not_equal(SSL_do_handshake(p.client), 1); /* the no_renegotiation alert */
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_ends_are_told_apart(void **state)
{
    struct tls_ctx *c = context(NULL);
    char b[8];
    bool want_write;
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct pair p;
        pair_open(&p, c);
        assert_int_equal(shake(&p), 1);
        assert_int_equal(tls_read(p.server, b, sizeof b, &want_write), -EAGAIN);
        assert_false(want_write);
        if (i == 0)
            SSL_shutdown(p.client);
        else if (i == 1)
            shutdown(p.fd[0], SHUT_WR); /* no close_notify: cut off */
        else
            assert_int_equal(send(p.fd[0], "\x17\x03\x03\x00\x05hello", 10, 0), 10);
        int want = i == 0 ? 0 : i == 1 ? -EIO : -EPROTO;
        assert_int_equal(tls_read(p.server, b, sizeof b, &want_write), want);
        pair_close(&p);
    }
    tls_ctx_free(c);
}

static void test_writing_to_a_gone_peer_raises_no_signal(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;
    bool want_write;
    (void)state;
    signal(SIGPIPE, SIG_DFL);
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    close(p.fd[0]);
    assert_int_equal(tls_write(p.server, SLICE_LIT("x"), &want_write), -EIO);
    tls_shutdown(p.server);
    p.fd[0] = dup(p.fd[1]);
    pair_close(&p);
    tls_ctx_free(c);
}

static void send_records(struct pair *p, char from, int n)
{
    char b[100];
    for (int i = 0; i < n; i++) {
        memset(b, from + i, sizeof b);
        assert_int_equal(SSL_write(p->client, b, sizeof b), sizeof b);
    }
}

static int read_one(struct pair *p, char *first)
{
    char b[500] = "";
    bool want_write;
    int n = tls_read(p->server, b, sizeof b, &want_write);
    *first = b[0];
    return n;
}

/* A handshake, and the read that stream.c tries right after it. */
static void shake_and_drain(struct pair *p)
{
    char first;
    assert_int_equal(shake(p), 1);
    assert_int_equal(read_one(p, &first), -EAGAIN);
}

/* Two connections that leave records in the shared stage and read by turns. */
static void test_connections_do_not_mix_in_the_shared_stage(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair a, b;
    char first;
    (void)state;
    pair_open(&a, c);
    pair_open(&b, c);
    shake_and_drain(&a);
    shake_and_drain(&b);
    assert_int_equal(tls_pending(a.server), 0);
    send_records(&a, 'a', 4);
    send_records(&b, 'p', 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(read_one(&a, &first), 100);
        assert_int_equal(first, 'a' + i);
        assert_int_equal(tls_pending(a.server) > 0, i < 3);
        assert_int_equal(read_one(&b, &first), 100);
        assert_int_equal(first, 'p' + i);
        assert_int_equal(tls_pending(b.server) > 0, i < 3);
    }
    assert_int_equal(read_one(&a, &first), -EAGAIN);
    assert_int_equal(read_one(&b, &first), -EAGAIN);
    /* And again, after both have run dry. */
    send_records(&a, 'a', 1);
    assert_int_equal(read_one(&a, &first), 100);
    pair_close(&a);
    pair_close(&b);
    tls_ctx_free(c);
}

static void test_stage_lost_to_oom_breaks_only_its_connection(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair a, b;
    char first;
    (void)state;
    pair_open(&a, c);
    pair_open(&b, c);
    shake_and_drain(&a);
    shake_and_drain(&b);
    send_records(&a, 'a', 3);
    send_records(&b, 'p', 1);
    assert_int_equal(read_one(&a, &first), 100);
    mem_fail_after(0);
    assert_int_equal(read_one(&b, &first), 100);
    assert_true(mem_failed());
    mem_fail_never();
    assert_int_equal(read_one(&a, &first), -EIO);
    pair_close(&a);
    pair_close(&b);
    tls_ctx_free(c);
}

static void test_context_lives_until_its_last_connection(void **state)
{
    uint64_t live = mem_live();
    struct tls_ctx *c = context(NULL);
    struct pair p;
    bool want_write;
    (void)state;
    pair_open(&p, c);
    tls_ctx_free(c);
    assert_int_equal(shake(&p), 1);
    assert_int_equal(tls_write(p.server, SLICE_LIT("x"), &want_write), 1);
    pair_close(&p);
    assert_true(mem_live() == live);
}

static void test_more_certificates_are_bounded_and_checked(void **state)
{
    struct tls_ctx *c = context("a");

    (void)state;
    assert_int_equal(tls_ctx_add(c, "/nonexistent.pem", cert.key, err), -EINVAL);
    assert_non_null(strstr(err, "/nonexistent.pem"));
    assert_int_equal(tls_ctx_add(c, other.cert, cert.key, err), -EINVAL);
    for (unsigned i = 0; i < TLS_MORE_MAX; i++)
        assert_int_equal(tls_ctx_add(c, other.cert, other.key, err), 0);
    assert_int_equal(tls_ctx_add(c, other.cert, other.key, err), -ENOSPC);
    tls_ctx_free(c);
}

static void test_oom_leaves_nothing(void **state)
{
    uint64_t live = mem_live();
    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct tls_ctx *c = tls_ctx_new(cert.cert, cert.key, "a", err);
        struct tls *t = c ? tls_accept_new(c, -1) : NULL;
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
    return test_cert_make(&cert) == 0 && test_cert_make(&other) == 0 ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    test_cert_remove(&cert);
    test_cert_remove(&other);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files_are_named_with_the_reason),
        cmocka_unit_test(test_versions_and_suites),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_nothing_can_be_resumed),
        cmocka_unit_test(test_renegotiation_is_refused),
        cmocka_unit_test(test_ends_are_told_apart),
        cmocka_unit_test(test_writing_to_a_gone_peer_raises_no_signal),
        cmocka_unit_test(test_connections_do_not_mix_in_the_shared_stage),
        cmocka_unit_test(test_stage_lost_to_oom_breaks_only_its_connection),
        cmocka_unit_test(test_context_lives_until_its_last_connection),
        cmocka_unit_test(test_more_certificates_are_bounded_and_checked),
        cmocka_unit_test(test_oom_leaves_nothing),
    };
    return cmocka_run_group_tests_name("tls", tests, group_setup, group_teardown);
}

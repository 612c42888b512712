/* DTLS associations against OpenSSL's client over a pair of connected UDP sockets: handshake after
 * the cookie, records, losses, ends.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/dtls.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/tls.h"
#include "proto/dtls_hello.h"
#include "tests/lib/test_cert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#define COOKIE SLICE_LIT("sixteen bytes ..")

static struct test_cert cert;

struct pair {
    int fd[2]; /* client, server */
    SSL_CTX *ctx;
    SSL *client;
    struct dtls *server;
    struct tls_ctx *tls;
    unsigned sent, lose; /* datagrams of the server: sent, and to lose from now on */
    size_t longest;
    uint8_t in[20000], out[20000];
};

static void on_send(void *arg, struct slice datagram)
{
    struct pair *p = arg;

    p->sent++;
    if (datagram.len > p->longest)
        p->longest = datagram.len;
    if (p->lose > 0)
        p->lose--;
    else
        assert_int_equal(send(p->fd[1], datagram.p, datagram.len, 0), datagram.len);
}

static void sockets(int fd[2])
{
    struct sockaddr_in at[2];
    socklen_t len = sizeof at[0];

    for (int i = 0; i < 2; i++) {
        at[i] = (struct sockaddr_in){.sin_family = AF_INET};
        at[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(fd[i], (struct sockaddr *)&at[i], sizeof at[i]), 0);
        assert_int_equal(getsockname(fd[i], (struct sockaddr *)&at[i], &len), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(connect(fd[i], (struct sockaddr *)&at[1 - i], sizeof at[0]), 0);
}

static void pair_open(struct pair *p, struct tls_ctx *c)
{
    *p = (struct pair){.tls = c};
    sockets(p->fd);
    p->ctx = SSL_CTX_new(DTLS_client_method());
    SSL_CTX_set_cipher_list(p->ctx, "ALL:@SECLEVEL=0");
    p->client = SSL_new(p->ctx);
    BIO *b = BIO_new_dgram(p->fd[0], BIO_NOCLOSE);
    struct sockaddr_in to;
    socklen_t len = sizeof to;
    getpeername(p->fd[0], (struct sockaddr *)&to, &len);
    BIO_ctrl(b, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &to);
    SSL_set_bio(p->client, b, b);
    SSL_set_options(p->client, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(p->client, 1400);
    SSL_set_connect_state(p->client);
}

static void pair_close(struct pair *p)
{
    SSL_free(p->client);
    SSL_CTX_free(p->ctx);
    dtls_free(p->server);
    close(p->fd[0]);
    close(p->fd[1]);
}

/* Takes one datagram of the client as a server would: asks for the cookie, begins, feeds. */
static int serve_one(struct pair *p, struct slice d)
{
    struct dtls_hello h;
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof buf);

    if (!p->server && (!dtls_hello_is(d) || dtls_hello_decode(&h, d) != 0))
        return -EPROTO;
    if (!p->server && !slice_eq(h.cookie, COOKIE)) {
        dtls_hello_put_verify(&w, &h, COOKIE);
        assert_int_equal(send(p->fd[1], buf, w.len, 0), w.len);
        return -EAGAIN;
    }
    if (!p->server) {
        p->server = dtls_new(p->tls, d, on_send, p);
        if (!p->server)
            return -EPROTO;
    } else {
        dtls_feed(p->server, d);
    }
    return dtls_read(p->server, p->out, sizeof p->out);
}

/* Takes all that the client has sent. Returns the last verdict of dtls_read(). */
static int serve(struct pair *p)
{
    int rc = -EAGAIN;
    ssize_t n;

    while ((rc == -EAGAIN || rc > 0) && (n = recv(p->fd[1], p->in, sizeof p->in, 0)) >= 0)
        rc = serve_one(p, slice_of(p->in, (size_t)n));
    return rc;
}

/* Steps both sides. Returns 1, or the server's verdict. */
static int shake(struct pair *p)
{
    int rc = -EAGAIN, client = 0;

    for (int i = 0; i < 20 && rc == -EAGAIN; i++) {
        if (client != 1)
            client = SSL_do_handshake(p->client);
        if (client == 1 && p->server && dtls_is_open(p->server))
            return 1;
        rc = serve(p);
    }
    return rc;
}

static struct tls_ctx *context(const char *alpn)
{
    char err[TLS_ERR_MAX];
    struct tls_ctx *c = tls_ctx_new_with_dtls(cert.cert, cert.key, alpn, err);

    if (!c)
        fail_msg("%s", err);
    return c;
}

static void test_records_go_both_ways_one_per_datagram(void **state)
{
    struct tls_ctx *c = context("stun.turn");
    struct pair p;
    uint8_t buf[2048];

    (void)state;
    pair_open(&p, c);
    SSL_set_alpn_protos(p.client, (const uint8_t *)"\x9stun.turn", 10);
    assert_int_equal(shake(&p), 1);
    assert_string_equal(dtls_version(p.server), "DTLSv1.2");
    assert_true(slice_is(dtls_alpn(p.server), "stun.turn"));
    assert_true(p.longest <= DTLS_HANDSHAKE_MTU);
    tls_ctx_free(c); /* a reload: the association lives on */
    for (size_t n = 1; n < 1300; n += 259) {
        memset(buf, 'a', n);
        assert_int_equal(SSL_write(p.client, buf, (int)n), n);
        assert_int_equal(serve(&p), n);
        unsigned before = p.sent;
        assert_int_equal(dtls_write(p.server, slice_of(buf, n)), 0);
        assert_int_equal(p.sent, before + 1);
        assert_int_equal(SSL_read(p.client, buf, sizeof buf), n);
    }
    pair_close(&p);
}

static void test_plaintext_may_take_the_datagrams_place(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;

    (void)state;
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    SSL_write(p.client, "hello", 5);
    ssize_t n = recv(p.fd[1], p.in, sizeof p.in, 0);
    SSL_write(p.client, "world!", 6);
    ssize_t m = recv(p.fd[1], p.in + n, sizeof p.in - (size_t)n, 0);
    size_t len = (size_t)(n + m);
    dtls_feed(p.server, slice_of(p.in, len)); /* two records in one datagram */
    assert_int_equal(dtls_read(p.server, p.in, len), 5);
    assert_memory_equal(p.in, "hello", 5);
    assert_int_equal(dtls_read(p.server, p.in + 5, len - 5), 6);
    assert_memory_equal(p.in, "helloworld!", 11);
    assert_int_equal(dtls_read(p.server, p.in + 11, len - 11), -EAGAIN);
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_forged_and_replayed_records_are_ignored(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;

    (void)state;
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    SSL_write(p.client, "hello", 5);
    ssize_t n = recv(p.fd[1], p.in, sizeof p.in, 0);
    p.in[n - 1] ^= 1;
    assert_int_equal(serve_one(&p, slice_of(p.in, (size_t)n)), -EAGAIN);
    p.in[n - 1] ^= 1;
    assert_int_equal(serve_one(&p, slice_of(p.in, (size_t)n)), 5);
    assert_int_equal(serve_one(&p, slice_of(p.in, (size_t)n)), -EAGAIN);
    assert_int_equal(serve_one(&p, SLICE_LIT("\x17\xfe\xfd")), -EAGAIN);
    assert_int_equal(serve_one(&p, SLICE_LIT("\x15\xfe\xfd\0\0\0\0\0\0\0\0\0\2\2\50")), -EAGAIN);
    SSL_write(p.client, "again", 5);
    assert_int_equal(serve(&p), 5);
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_lengths_have_limits(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;
    static uint8_t big[DTLS_RECORD_MAX + 1];

    (void)state;
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    p.lose = 1;
    assert_int_equal(dtls_write(p.server, slice_of(big, DTLS_RECORD_MAX)), 0);
    assert_true(p.longest <= DTLS_RECORD_MAX + DTLS_OVERHEAD_MAX);
    assert_int_equal(dtls_write(p.server, slice_of(big, sizeof big)), -EMSGSIZE);
    SSL_write(p.client, big, 100);
    ssize_t n = recv(p.fd[1], p.in, sizeof p.in, 0);
    dtls_feed(p.server, slice_of(p.in, (size_t)n));
    assert_int_equal(dtls_read(p.server, p.out, 99), -EMSGSIZE);
    assert_int_equal(dtls_read(p.server, p.out, 99), -EAGAIN);
    SSL_write(p.client, big, 99);
    assert_int_equal(serve(&p), 99);
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_goodbyes_are_heard(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;
    uint8_t buf[16];

    (void)state;
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    dtls_shutdown(p.server);
    assert_int_equal(SSL_read(p.client, buf, sizeof buf), 0);
    assert_int_equal(SSL_get_shutdown(p.client) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    pair_close(&p);
    pair_open(&p, c);
    assert_int_equal(shake(&p), 1);
    SSL_shutdown(p.client);
    assert_int_equal(serve(&p), 0);
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_lost_flight_is_sent_again(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;
    uint64_t now = 77;

    (void)state;
    pair_open(&p, c);
    p.lose = 99;
    assert_int_equal(shake(&p), -EAGAIN);
    unsigned lost = p.sent;
    assert_true(lost > 0 && !dtls_is_open(p.server));
    uint64_t due = dtls_deadline(p.server, now);
    assert_true(due > now && due <= now + US_PER_S);
    assert_int_equal(dtls_tick(p.server), 0); /* not due: nothing happens */
    assert_int_equal(p.sent, lost);
    struct timespec wait = {.tv_sec = 1, .tv_nsec = 1000000}; /* the clock is OpenSSL's own */
    nanosleep(&wait, NULL);
    p.lose = 0;
    assert_int_equal(dtls_tick(p.server), 0);
    assert_true(p.sent > lost);
    assert_int_equal(shake(&p), 1);
    assert_int_equal(dtls_deadline(p.server, now), CLOCK_NEVER);
    pair_close(&p);
    tls_ctx_free(c);
}

static void test_versions_and_suites(void **state)
{
    static const struct {
        int version;
        const char *suites;
        bool ok;
    } cases[] = {
        {DTLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
        {DTLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", true},
        {DTLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", false},
        {DTLS1_VERSION, "ALL:@SECLEVEL=0", false},
    };
    struct tls_ctx *c = context(NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p;
        pair_open(&p, c);
        SSL_set_min_proto_version(p.client, cases[i].version);
        SSL_set_max_proto_version(p.client, cases[i].version);
        SSL_set_cipher_list(p.client, cases[i].suites);
        if ((shake(&p) == 1) != cases[i].ok)
            fail_msg("case %zu", i);
        pair_close(&p);
        ERR_clear_error();
    }
    tls_ctx_free(c);
}

static void test_alpn_without_a_common_protocol_is_refused(void **state)
{
    struct tls_ctx *c = context("stun.turn");
    struct pair p;

    (void)state;
    pair_open(&p, c);
    SSL_set_alpn_protos(p.client, (const uint8_t *)"\x2h2", 3);
    assert_int_equal(shake(&p), -EPROTO);
    pair_close(&p);
    tls_ctx_free(c);
    ERR_clear_error();
}

static void test_what_is_no_hello_begins_nothing(void **state)
{
    struct tls_ctx *c = context(NULL);
    struct pair p;

    (void)state;
    pair_open(&p, c);
    assert_null(dtls_new(c, SLICE_LIT("\x16\xfe\xff"), on_send, &p));
    assert_null(dtls_new(c, (struct slice){0}, on_send, &p));
    pair_close(&p);
    tls_ctx_free(c);
    assert_int_equal(mem_live(), 0);
}

static void test_names_choose_certificates(void **state)
{
    char err[TLS_ERR_MAX];
    struct tls_ctx *c = context(NULL);
    struct pair p;

    (void)state;
    assert_int_equal(tls_ctx_add(c, "/nonexistent.pem", cert.key, err), -EINVAL);
    assert_int_equal(tls_ctx_add(c, cert.cert, cert.key, err), 0);
    pair_open(&p, c);
    SSL_set_tlsext_host_name(p.client, "turn.example");
    assert_int_equal(shake(&p), 1);
    assert_true(slice_is(dtls_host(p.server), "turn.example"));
    pair_close(&p);
    tls_ctx_free(c);
}

/* Gives the ClientHello that follows a HelloVerifyRequest. */
static struct slice second_hello(struct pair *p)
{
    struct dtls_hello h;
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof buf);

    SSL_do_handshake(p->client);
    ssize_t n = recv(p->fd[1], p->in, sizeof p->in, 0);
    assert_int_equal(dtls_hello_decode(&h, slice_of(p->in, (size_t)n)), 0);
    dtls_hello_put_verify(&w, &h, COOKIE);
    assert_int_equal(send(p->fd[1], buf, w.len, 0), w.len);
    SSL_do_handshake(p->client);
    n = recv(p->fd[1], p->in, sizeof p->in, 0);
    return slice_of(p->in, (size_t)n);
}

static void test_oom_leaves_nothing(void **state)
{
    uint64_t live = mem_live();
    struct pair p;

    (void)state;
    pair_open(&p, NULL);
    struct slice hello = second_hello(&p);
    for (uint64_t n = 0;; n++) {
        char err[TLS_ERR_MAX];
        mem_fail_after(n);
        struct tls_ctx *c = tls_ctx_new_with_dtls(cert.cert, cert.key, "a", err);
        struct dtls *d = c ? dtls_new(c, hello, on_send, &p) : NULL;
        bool failed = mem_failed(), made = d != NULL;
        mem_fail_never();
        dtls_free(d);
        tls_ctx_free(c);
        assert_true(mem_live() == live);
        assert_int_equal(made, !failed);
        if (!failed)
            break;
    }
    pair_close(&p);
}

static int group_setup(void **state)
{
    (void)state;
    return test_cert_make(&cert);
}

static int group_teardown(void **state)
{
    (void)state;
    test_cert_remove(&cert);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_go_both_ways_one_per_datagram),
        cmocka_unit_test(test_plaintext_may_take_the_datagrams_place),
        cmocka_unit_test(test_forged_and_replayed_records_are_ignored),
        cmocka_unit_test(test_lengths_have_limits),
        cmocka_unit_test(test_goodbyes_are_heard),
        cmocka_unit_test(test_lost_flight_is_sent_again),
        cmocka_unit_test(test_versions_and_suites),
        cmocka_unit_test(test_alpn_without_a_common_protocol_is_refused),
        cmocka_unit_test(test_what_is_no_hello_begins_nothing),
        cmocka_unit_test(test_names_choose_certificates),
        cmocka_unit_test(test_oom_leaves_nothing),
    };
    return cmocka_run_group_tests_name("dtls", tests, group_setup, group_teardown);
}

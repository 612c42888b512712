/* Tests of server/h2_client_link.c without a network: configurations that are refused and why,
 * freeing, memory that is out. What goes over sockets is tested by tests/e2e/h2_*_test.py.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/worker.h"
#include "server/h2_client_link.h"
#include "tests/lib/test_cert.h"

static struct test_cert cert;
static struct worker *worker;
static char err[TLS_ERR_MAX];

static struct h2_client_conf conf(void)
{
    return (struct h2_client_conf){
        .name = "call", .host = "localhost", .ca_file = cert.cert, .pool = H2_POOL_CONF_DEFAULT};
}

static void refused(struct h2_client_conf c, const char *words)
{
    struct h2_client *k = h2_client_new(worker, &c, err);

    if (k || !strstr(err, words))
        fail_msg("%s: %s", words, k ? "accepted" : err);
}

static void accepted(struct h2_client_conf c)
{
    struct h2_client *k = h2_client_new(worker, &c, err);

    if (!k)
        fail_msg("%s", err);
    h2_client_free(k);
}

static void test_peers_as_text(void **state)
{
    static const char *const good[] = {"a", "a:1", "127.0.0.1:65535", "::1", "[::1]", "[::1]:443"};
    static const char *const bad[] = {"",     ":",    "a:",      "a:0",    "a:65536",
                                      "a:1 ", ":443", "[::1]:0", "[::1]:", "a:-1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct h2_client_conf c = conf(), p = conf();
        c.connect_to = good[i];
        accepted(c);
        p.proxy = good[i];
        accepted(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct h2_client_conf c = conf(), p = conf();
        c.connect_to = bad[i];
        refused(c, "write name");
        p.proxy = bad[i];
        refused(p, "write name");
    }
}

static void test_what_is_wrong_is_said(void **state)
{
    struct h2_client_conf c = conf();
    char longer[600];

    (void)state;
    memset(longer, 'p', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    c.host = "";
    refused(c, "name the host");
    c.host = longer;
    refused(c, "name the host");
    c = conf();
    c.ca_file = "/nonexistent";
    refused(c, "/nonexistent");
    c = conf();
    c.cert_file = cert.cert;
    refused(c, "both files");
    c = conf();
    c.proxy_auth = longer;
    refused(c, "password");
    assert_null(strstr(err, "ppp"));
    c = conf();
    c.pool.conns = 0;
    refused(c, "limit of the pool");
    h2_client_free(NULL);
}

static void done(void *ctx, const struct h2_response *r)
{
    unsigned *n = ctx;

    assert_int_equal(r->outcome, H2_NO_CONNECTION);
    (*n)++;
}

static void test_freed_with_requests(void **state)
{
    struct h2_client_conf c = conf();
    const struct h2_request q = {.path = SLICE_LIT("/"),
                                 .deadline_us = worker_now(worker) + US_PER_S};
    unsigned n = 0;

    (void)state;
    struct h2_client *k = h2_client_new(worker, &c, err);
    assert_int_equal(h2_client_send(k, &q, done, &n, 0), 0);
    h2_client_free(k);
    assert_int_equal(n, 1);
}

static void test_oom(void **state)
{
    struct h2_client_conf c = conf();

    (void)state;
    c.proxy = "p:1";
    c.proxy_auth = "u:p";
    usleep(100000); /* the resolvers' threads of earlier tests let go */
    uint64_t live = mem_live();
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct h2_client *k = h2_client_new(worker, &c, err);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(failed, !k);
        h2_client_free(k);
        for (int i = 0; i < 500 && mem_live() != live; i++)
            usleep(1000);
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
    }
}

static int setup(void **state)
{
    (void)state;
    worker = worker_new(0);
    return test_cert_make(&cert) == 0 && worker ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    worker_free(worker);
    test_cert_remove(&cert);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_as_text),
        cmocka_unit_test(test_what_is_wrong_is_said),
        cmocka_unit_test(test_freed_with_requests),
        cmocka_unit_test(test_oom),
    };
    return cmocka_run_group_tests_name("h2_client_link", tests, setup, teardown);
}

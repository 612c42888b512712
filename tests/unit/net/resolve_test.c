/* Tests of net/resolve.c: names of /etc/hosts and addresses, failures, cancelling, freeing with
 * questions under way. SPDX-License-Identifier: BSD-3-Clause */
#include "net/resolve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/worker.h"

struct answer {
    struct worker *w;
    unsigned calls;
    size_t n;
    struct addr first;
    char why[96];
};

static void on_answer(void *arg, const struct addr *addrs, size_t n, const char *why)
{
    struct answer *a = arg;

    a->calls++;
    a->n = n;
    if (n > 0)
        a->first = addrs[0];
    snprintf(a->why, sizeof(a->why), "%s", why);
    worker_stop(a->w);
}

static void on_late(void *arg, uint64_t now_us)
{
    (void)now_us;
    worker_stop(arg);
}

static struct answer ask(const char *host, uint16_t port)
{
    struct answer a = {.w = worker_new(0)};
    struct resolver *r = resolver_new(a.w);
    struct wtimer late = {.fn = on_late, .arg = a.w};

    assert_non_null(r);
    worker_timer(a.w, &late, worker_now(a.w) + 20 * US_PER_S);
    assert_non_null(resolver_ask(r, host, port, on_answer, &a));
    worker_run(a.w);
    resolver_free(r);
    worker_timer_cancel(a.w, &late);
    worker_free(a.w);
    return a;
}

static void test_addresses_and_names(void **state)
{
    struct addr want;
    struct answer a = ask("127.0.0.1", 443);

    (void)state;
    addr_parse(&want, SLICE_LIT("127.0.0.1:443"));
    assert_int_equal(a.n, 1);
    assert_true(addr_eq(&a.first, &want));
    assert_string_equal(a.why, "");
    a = ask("::1", 1);
    addr_parse(&want, SLICE_LIT("[::1]:1"));
    assert_true(a.n == 1 && addr_eq(&a.first, &want));
    a = ask("localhost", 8443);
    assert_true(a.n >= 1 && a.first.port == 8443 && addr_is_loopback(&a.first));
}

static void test_what_is_no_name_says_so(void **state)
{
    struct answer a = ask("no such name.invalid", 1);

    (void)state;
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_true(a.why[0] != '\0');
}

static void test_cancelled_and_freed_questions_are_not_answered(void **state)
{
    char longer[RESOLVE_HOST_MAX + 2];
    struct answer a = {.w = worker_new(0)};
    struct resolver *r = resolver_new(a.w);

    (void)state;
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_null(resolver_ask(r, longer, 1, on_answer, &a));
    struct resolve_query *q[20];
    for (int i = 0; i < 20; i++)
        q[i] = resolver_ask(r, "127.0.0.1", 1, on_answer, &a);
    for (int i = 0; i < 20; i++)
        resolver_cancel(q[i]);
    resolver_cancel(NULL);
    resolver_free(r);
    resolver_free(NULL);
    while (worker_settle(a.w))
        ;
    worker_free(a.w);
    assert_int_equal(a.calls, 0);
}

static void test_oom(void **state)
{
    struct worker *w = worker_new(0);
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        struct resolver *r = resolver_new(w);
        mem_fail_never();
        assert_null(r);
        assert_int_equal(mem_live(), live);
    }
    struct resolver *r = resolver_new(w);
    mem_fail_after(0);
    assert_null(resolver_ask(r, "a", 1, on_answer, NULL));
    mem_fail_never();
    resolver_free(r);
    worker_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_and_names),
        cmocka_unit_test(test_what_is_no_name_says_so),
        cmocka_unit_test(test_cancelled_and_freed_questions_are_not_answered),
        cmocka_unit_test(test_oom),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}

/* proto/dtls_cookie.c: for whom and how long a cookie is good. SPDX-License-Identifier:
 * BSD-3-Clause
 */
#include "proto/dtls_cookie.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint8_t master[EPOCH_KEYS_MASTER_BYTES] = "the same in all workers ........";

#define CLIENT SLICE_LIT("192.0.2.1:5000")
#define RANDOM SLICE_LIT("0123456789abcdef0123456789abcdef")

static struct dtls_cookie_keys keys(void)
{
    struct dtls_cookie_keys k;

    assert_int_equal(dtls_cookie_init(&k, master), 0);
    return k;
}

static void test_good_for_its_client_and_random_only(void **state)
{
    struct dtls_cookie_keys k = keys();
    uint8_t c[DTLS_COOKIE_BYTES];
    struct slice cookie = slice_of(c, sizeof c);

    (void)state;
    assert_int_equal(dtls_cookie_make(&k, CLIENT, RANDOM, 5, c), 0);
    assert_true(dtls_cookie_is_valid(&k, cookie, CLIENT, RANDOM, 5));
    assert_false(dtls_cookie_is_valid(&k, cookie, SLICE_LIT("192.0.2.1:5001"), RANDOM, 5));
    assert_false(
        dtls_cookie_is_valid(&k, cookie, CLIENT, SLICE_LIT("0123456789abcdef0123456789abcdeF"), 5));
    assert_false(dtls_cookie_is_valid(&k, slice_sub(cookie, 0, 15), CLIENT, RANDOM, 5));
    assert_false(dtls_cookie_is_valid(&k, (struct slice){0}, CLIENT, RANDOM, 5));
    for (unsigned bit = 0; bit < 8 * sizeof c; bit++) {
        c[bit / 8] = (uint8_t)(c[bit / 8] ^ 1u << bit % 8);
        assert_false(dtls_cookie_is_valid(&k, cookie, CLIENT, RANDOM, 5));
        c[bit / 8] = (uint8_t)(c[bit / 8] ^ 1u << bit % 8);
    }
    dtls_cookie_fini(&k);
}

static void test_good_for_one_to_two_periods(void **state)
{
    struct dtls_cookie_keys k = keys();
    uint8_t c[DTLS_COOKIE_BYTES];
    struct slice cookie = slice_of(c, sizeof c);
    uint64_t start = 7 * DTLS_COOKIE_PERIOD_US;

    (void)state;
    assert_int_equal(dtls_cookie_make(&k, CLIENT, RANDOM, start, c), 0);
    assert_true(dtls_cookie_is_valid(&k, cookie, CLIENT, RANDOM, start + DTLS_COOKIE_PERIOD_US));
    assert_true(
        dtls_cookie_is_valid(&k, cookie, CLIENT, RANDOM, start + 2 * DTLS_COOKIE_PERIOD_US - 1));
    assert_false(
        dtls_cookie_is_valid(&k, cookie, CLIENT, RANDOM, start + 2 * DTLS_COOKIE_PERIOD_US));
    dtls_cookie_fini(&k);
}

static void test_workers_agree(void **state)
{
    struct dtls_cookie_keys a = keys(), b = keys();
    uint8_t c[DTLS_COOKIE_BYTES];

    (void)state;
    assert_int_equal(dtls_cookie_make(&a, CLIENT, RANDOM, 0, c), 0);
    assert_true(dtls_cookie_is_valid(&b, slice_of(c, sizeof c), CLIENT, RANDOM, 0));
    dtls_cookie_fini(&a);
    dtls_cookie_fini(&b);
}

static void test_oom_is_refused_and_heals(void **state)
{
    uint8_t c[DTLS_COOKIE_BYTES];
    unsigned failed = 0;

    (void)state;
    for (uint64_t n = 0; n < 100; n++) {
        struct dtls_cookie_keys k = {0};
        mem_fail_after(n);
        int err = dtls_cookie_init(&k, master);
        if (!err)
            err = dtls_cookie_make(&k, CLIENT, RANDOM, 0, c);
        bool reached = mem_failed();
        mem_fail_never();
        failed += err != 0;
        if (k._keys._master) {
            assert_int_equal(dtls_cookie_make(&k, CLIENT, RANDOM, 0, c), 0);
            assert_true(dtls_cookie_is_valid(&k, slice_of(c, sizeof c), CLIENT, RANDOM, 0));
        }
        dtls_cookie_fini(&k);
        if (!reached)
            break;
    }
    assert_true(failed > 0);
    assert_int_equal(mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_for_its_client_and_random_only),
        cmocka_unit_test(test_good_for_one_to_two_periods),
        cmocka_unit_test(test_workers_agree),
        cmocka_unit_test(test_oom_is_refused_and_heals),
    };
    return cmocka_run_group_tests_name("dtls_cookie", tests, NULL, NULL);
}

/* reserve.c: a token works once, for its account, for thirty seconds.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

static void test_token_works_once_for_its_account(void **state)
{
    struct reserve *r = reserve_new();
    struct reserved in = {.account = 7, .pool = 1, .port = 50001}, out;
    uint8_t token[RESERVE_TOKEN_BYTES];
    struct slice t = slice_of(token, sizeof(token));

    (void)state;
    assert_int_equal(reserve_add(r, &in, 0, token), 0);
    assert_int_equal(reserve_claim(r, t, 8, 0, &out), -ENOENT);
    token[3] ^= 1;
    assert_int_equal(reserve_claim(r, t, 7, 0, &out), -ENOENT);
    token[3] ^= 1;
    assert_int_equal(reserve_claim(r, slice_sub(t, 0, 7), 7, 0, &out), -ENOENT);
    assert_int_equal(reserve_claim(r, t, 7, RESERVE_LIFETIME_US - 1, &out), 0);
    assert_int_equal(out.port, 50001);
    assert_int_equal(out.pool, 1);
    assert_int_equal(reserve_claim(r, t, 7, 0, &out), -ENOENT);
    assert_int_equal(reserve_count(r), 0);
    reserve_free(r);
}

static void test_expired_reservation_is_given_back_not_claimed(void **state)
{
    struct reserve *r = reserve_new();
    struct reserved in = {.account = 7, .port = 50001}, out;
    uint8_t token[RESERVE_TOKEN_BYTES];

    (void)state;
    assert_int_equal(reserve_add(r, &in, 0, token), 0);
    assert_false(reserve_expire(r, RESERVE_LIFETIME_US - 1, &out));
    assert_int_equal(reserve_claim(r, slice_of(token, sizeof(token)), 7, RESERVE_LIFETIME_US, &out),
                     -ENOENT);
    assert_true(reserve_expire(r, RESERVE_LIFETIME_US, &out));
    assert_int_equal(out.port, 50001);
    assert_false(reserve_expire(r, RESERVE_LIFETIME_US, &out));
    reserve_free(r);
}

static void test_number_of_reservations_is_bounded(void **state)
{
    struct reserve *r = reserve_new();
    struct reserved in = {0}, out;
    uint8_t token[RESERVE_TOKEN_BYTES];

    (void)state;
    for (unsigned i = 0; i < RESERVE_MAX; i++)
        assert_int_equal(reserve_add(r, &in, i, token), 0);
    assert_int_equal(reserve_add(r, &in, 0, token), -ENOSPC);
    assert_true(reserve_expire(r, RESERVE_LIFETIME_US, &out));
    assert_int_equal(reserve_add(r, &in, 0, token), 0);
    reserve_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_works_once_for_its_account),
        cmocka_unit_test(test_expired_reservation_is_given_back_not_claimed),
        cmocka_unit_test(test_number_of_reservations_is_bounded),
    };

    return cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
}

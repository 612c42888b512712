/* Tests of server/ring_token.c: a token opens one call for one device, until its end.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server/ring_token.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW    UINT64_C(1767225600)

static const struct sig_call_id call = {{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15}};

static struct slice token(uint8_t buf[RING_TOKEN_MAX], struct slice user, struct slice device)
{
    struct wr w = wr_init(buf, RING_TOKEN_MAX);

    assert_int_equal(ring_token_write(&w, SLICE_LIT(SECRET), user, device, &call, NOW + 90), 0);
    return wr_done(&w);
}

static void test_says_who_and_for_what(void **state)
{
    uint8_t buf[RING_TOKEN_MAX];
    struct token_keys *k = ring_token_keys(SLICE_LIT(SECRET));
    struct token t;

    (void)state;
    struct slice jws = token(buf, SLICE_LIT("bob"), SLICE_LIT("phone"));
    assert_int_equal(ring_token_verify(&t, k, jws, NOW), TOKEN_OK);
    assert_string_equal(t.user, "bob");
    assert_string_equal(t.device, "phone");
    assert_true(t.has_call && sig_call_id_eq(&t.call, &call));
    assert_int_equal(t.expires_at_s, NOW + 90);
    assert_int_equal(ring_token_verify(&t, k, jws, NOW + 89), TOKEN_OK);
    assert_int_equal(ring_token_verify(&t, k, jws, NOW + 90), TOKEN_EXPIRED);
    buf[jws.len / 2] ^= 1;
    assert_int_not_equal(ring_token_verify(&t, k, jws, NOW), TOKEN_OK);
    token_keys_free(k);
}

static void test_longest_ids_fit(void **state)
{
    uint8_t buf[RING_TOKEN_MAX];
    char user[TOKEN_USER_MAX], device[TOKEN_DEVICE_MAX];
    struct token_keys *k = ring_token_keys(SLICE_LIT(SECRET));
    struct token t;

    (void)state;
    memset(user, 'u', sizeof(user));
    memset(device, 'd', sizeof(device));
    struct slice jws = token(buf, slice_of(user, sizeof(user)), slice_of(device, sizeof(device)));
    assert_int_equal(ring_token_verify(&t, k, jws, NOW), TOKEN_OK);
    token_keys_free(k);

    struct wr w = wr_init(buf, sizeof(buf)), small = wr_init(buf, 100);
    assert_int_equal(
        ring_token_write(&w, SLICE_LIT(SECRET), SLICE_LIT("a\"b"), SLICE_LIT("d"), &call, NOW),
        -EINVAL);
    assert_int_equal(
        ring_token_write(&small, SLICE_LIT(SECRET), SLICE_LIT("b"), SLICE_LIT("d"), &call, NOW),
        -ENOSPC);
}

static void test_another_token_is_none(void **state)
{
    static const struct token_rules rules = {0};
    uint8_t buf[2048];
    struct wr w = wr_init(buf, sizeof(buf));
    struct token_keys *k = ring_token_keys(SLICE_LIT(SECRET));
    struct token t = {.user = "bob", .device = "phone", .expires_at_s = NOW + 90}, out;

    (void)state;
    /* the operator has used one secret for both */
    assert_int_equal(token_sign_hs256(&w, SLICE_LIT(SECRET), RING_TOKEN_KID, &t, &rules, NOW), 0);
    assert_int_equal(ring_token_verify(&out, k, wr_done(&w), NOW), TOKEN_BAD_CLAIM);
    w = wr_init(buf, sizeof(buf));
    assert_int_equal(token_sign_hs256(&w, SLICE_LIT(SECRET), NULL, &t, &rules, NOW), 0);
    assert_int_not_equal(ring_token_verify(&out, k, wr_done(&w), NOW), TOKEN_OK);
    token_keys_free(k);
    assert_null(ring_token_keys(SLICE_LIT("short")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_who_and_for_what),
        cmocka_unit_test(test_longest_ids_fit),
        cmocka_unit_test(test_another_token_is_none),
    };

    return cmocka_run_group_tests_name("ring_token", tests, NULL, NULL);
}

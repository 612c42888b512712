/* Tests of server/apns_token.c: form, signature, age, jumps of the clock, Apple's refusals.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "server/apns_token.h"
#include "tests/lib/apns_key.h"

#define MIN_US (60 * US_PER_S)
#define TEAM   SLICE_LIT("TEAM123456")
#define KID    SLICE_LIT("KEY1234567")

static struct crypto_signer *signer;
static struct apns_token *t;
static uint64_t now, wall;

static int setup(void **state)
{
    const char *why;

    (void)state;
    signer = crypto_signer_pem(SLICE_LIT(APNS_KEY_PEM), &why);
    assert_non_null(signer);
    t = apns_token_new(TEAM, KID, signer);
    assert_non_null(t);
    now = 5000 * US_PER_S;
    wall = UINT64_C(1795383765) * US_PER_S;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    apns_token_free(t);
    crypto_signer_free(signer);
    return 0;
}

static void pass(uint64_t us)
{
    now += us;
    wall += us;
}

static unsigned get(void)
{
    struct slice bearer;
    unsigned gen;

    assert_int_equal(apns_token_bearer(t, &bearer, &gen, now, wall), 0);
    assert_memory_equal(bearer.p, "bearer ", 7);
    return gen;
}

static void test_form_and_signature(void **state)
{
    struct slice bearer;
    uint8_t sig[100], part[100];
    size_t n;
    unsigned gen;

    (void)state;
    assert_int_equal(apns_token_bearer(t, &bearer, &gen, now, wall), 0);
    assert_int_equal(gen, 1);
    struct slice jwt = slice_sub(bearer, 7, bearer.len);
    const uint8_t *dot = memchr(jwt.p, '.', jwt.len);
    const uint8_t *dot2 = memrchr(jwt.p, '.', jwt.len);
    assert_true(dot && dot2 > dot);
    assert_int_equal(base64url_decode(slice_of(jwt.p, (size_t)(dot - jwt.p)), part, 100, &n), 0);
    assert_int_equal(n, strlen("{\"alg\":\"ES256\",\"kid\":\"KEY1234567\"}"));
    assert_memory_equal(part, "{\"alg\":\"ES256\",\"kid\":\"KEY1234567\"}", n);
    assert_int_equal(base64url_decode(slice_of(dot + 1, (size_t)(dot2 - dot - 1)), part, 100, &n),
                     0);
    assert_memory_equal(part, "{\"iss\":\"TEAM123456\",\"iat\":1795383765}", n);
    struct slice tail = slice_of(dot2 + 1, jwt.len - (size_t)(dot2 + 1 - jwt.p));
    assert_int_equal(base64url_decode(tail, sig, 100, &n), 0);
    assert_int_equal(n, CRYPTO_ES256_BYTES);
    struct crypto_key *public = crypto_signer_public(signer);
    assert_true(
        crypto_key_verify(public, slice_of(jwt.p, (size_t)(dot2 - jwt.p)), slice_of(sig, n)));
    crypto_key_free(public);
}

static void test_one_token_for_40_minutes(void **state)
{
    (void)state;
    assert_int_equal(get(), 1);
    pass(APNS_TOKEN_RENEW_US - 1);
    assert_int_equal(get(), 1);
    pass(APNS_TOKEN_JITTER_US + 1);
    assert_int_equal(get(), 2);
    assert_int_equal(apns_token_minted(t), 2);
    for (int h = 0; h < 24 * 60; h++) { /* a day, a push a minute */
        pass(MIN_US);
        get();
    }
    assert_in_range(apns_token_minted(t), 2 + 24 * 60 / 43, 2 + 24 * 60 / 40);
}

static void test_a_sleeping_server_makes_a_new_one(void **state)
{
    (void)state;
    assert_int_equal(get(), 1);
    pass(10 * 60 * MIN_US);
    assert_int_equal(get(), 2);
}

static void test_jumps_of_the_clock(void **state)
{
    (void)state;
    /* Never accepted: nobody knows which time was right. */
    assert_int_equal(get(), 1);
    pass(2 * MIN_US);
    wall += 120 * MIN_US;
    assert_int_equal(get(), 2);
    pass(2 * MIN_US);
    wall -= 120 * MIN_US;
    assert_int_equal(get(), 3);
    /* Accepted: Apple's clock has not jumped. */
    apns_token_accepted(t, 3);
    wall += 120 * MIN_US;
    pass(2 * MIN_US);
    assert_int_equal(get(), 3);
    wall -= 300 * MIN_US;
    pass(35 * MIN_US);
    assert_int_equal(get(), 3);
}

/* The clock is two hours off when the token is renewed: Apple refuses the new one, the old one goes
 * on, another is tried every five minutes, and when none is left one is made each minute at most.
 */
static void test_renewed_under_a_wrong_clock(void **state)
{
    (void)state;
    get();
    apns_token_accepted(t, 1);
    pass(42 * MIN_US);
    wall -= 120 * MIN_US;
    assert_int_equal(get(), 2);
    assert_true(apns_token_refused(t, 2, true, now, wall));
    assert_int_equal(get(), 1);
    assert_true(apns_token_refused(t, 2, true, now, wall)); /* another that was out with it */
    pass(5 * MIN_US);
    assert_int_equal(get(), 3);
    assert_true(apns_token_refused(t, 3, false, now, wall)); /* "invalid": ahead of time */
    assert_int_equal(get(), 1);
    wall += 120 * MIN_US; /* the clock is right again */
    pass(5 * MIN_US);
    assert_int_equal(get(), 4);
    apns_token_accepted(t, 4);
    pass(20 * MIN_US);
    assert_int_equal(get(), 4);
}

static void test_expired_is_replaced_once_a_minute(void **state)
{
    (void)state;
    assert_int_equal(get(), 1);
    assert_false(apns_token_refused(t, 1, true, now, wall)); /* made a moment ago */
    assert_int_equal(get(), 1);
    pass(APNS_TOKEN_FORCED_US);
    assert_true(apns_token_refused(t, 1, true, now, wall));
    assert_int_equal(get(), 2);
    assert_true(apns_token_refused(t, 1, true, now, wall)); /* it is replaced already */
    assert_int_equal(get(), 2);
    assert_false(apns_token_refused(t, 2, true, now, wall));
    assert_false(apns_token_refused(t, 2, false, now, wall));
    pass(2 * MIN_US);
    assert_false(apns_token_refused(t, 2, false, now, wall)); /* "invalid" is not cured so */
    assert_int_equal(apns_token_minted(t), 2);
}

static void test_too_often_goes_back(void **state)
{
    (void)state;
    assert_int_equal(get(), 1);
    assert_false(apns_token_too_often(t, 1, now, wall)); /* nothing to go back to */
    pass(42 * MIN_US);
    assert_int_equal(get(), 2);
    assert_true(apns_token_too_often(t, 2, now, wall));
    assert_int_equal(get(), 1);
    assert_true(apns_token_too_often(t, 2, now, wall));
    assert_int_equal(get(), 1);
    pass(12 * MIN_US); /* 54: the old one can just be used */
    assert_int_equal(get(), 1);
    pass(1 * MIN_US);
    assert_int_equal(get(), 2); /* then the one that Apple knows by now, not a third */
    assert_int_equal(apns_token_minted(t), 2);
}

/* A refused renewal without one to go back to: 20 minutes of peace. */
static void test_too_often_makes_none(void **state)
{
    (void)state;
    get();
    pass(39 * MIN_US);
    assert_false(apns_token_too_often(t, 1, now, wall));
    pass(10 * MIN_US);
    assert_int_equal(get(), 1);
    pass(10 * MIN_US);
    assert_int_equal(get(), 2);
}

static void test_rekey(void **state)
{
    const char *why;
    struct slice bearer;
    unsigned gen;
    struct crypto_signer *other = crypto_signer_pem(SLICE_LIT(APNS_KEY_PEM), &why);

    (void)state;
    get();
    assert_int_equal(apns_token_rekey(t, TEAM, SLICE_LIT("bad key"), other), -EINVAL);
    assert_int_equal(get(), 1);
    assert_int_equal(apns_token_rekey(t, TEAM, SLICE_LIT("KEY7654321"), other), 0);
    assert_int_equal(apns_token_bearer(t, &bearer, &gen, now, wall), 0);
    assert_int_equal(gen, 2);
    /* base64url of {"alg":"ES256","kid":"KEY7 */
    assert_non_null(memmem(bearer.p, bearer.len, "eyJhbGciOiJFUzI1NiIsImtpZCI6IktFWTc", 35));
    assert_false(apns_token_too_often(t, 2, now, wall)); /* not back to the old key's */
    apns_token_rekey(t, TEAM, KID, signer);
    crypto_signer_free(other);
}

static void test_adopting_another_servers(void **state)
{
    static uint8_t big[APNS_BEARER_MAX];
    uint64_t now_s = wall / US_PER_S;

    (void)state;
    assert_int_equal(apns_token_adopt(t, SLICE_LIT("a.b.c"), now_s - 600, now, wall), 0);
    assert_int_equal(get(), 1);
    assert_int_equal(apns_token_minted(t), 0);
    assert_int_equal(apns_token_adopt(t, SLICE_LIT("d.e.f"), now_s - 600, now, wall), -ESTALE);
    assert_int_equal(apns_token_adopt(t, SLICE_LIT("d.e.f"), now_s + 3600, now, wall), -ESTALE);
    assert_int_equal(apns_token_adopt(t, SLICE_LIT(""), now_s, now, wall), -EINVAL);
    assert_int_equal(apns_token_adopt(t, slice_of(big, sizeof(big)), now_s, now, wall), -EINVAL);
    pass(29 * MIN_US); /* its age is counted from its making, not from its coming */
    assert_int_equal(get(), 1);
    pass(4 * MIN_US);
    assert_int_equal(get(), 2);
}

static void test_ids(void **state)
{
    static const char *const bad[] = {"", "TEAM 12345", "TEAM\"12345",
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ1234567"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(apns_token_new(slice_str(bad[i]), KID, signer));
        assert_null(apns_token_new(TEAM, slice_str(bad[i]), signer));
    }
}

static void test_oom(void **state)
{
    (void)state;
    mem_fail_after(0);
    assert_null(apns_token_new(TEAM, KID, signer));
    mem_fail_never();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_form_and_signature),
        T(test_one_token_for_40_minutes),
        T(test_a_sleeping_server_makes_a_new_one),
        T(test_jumps_of_the_clock),
        T(test_renewed_under_a_wrong_clock),
        T(test_expired_is_replaced_once_a_minute),
        T(test_too_often_goes_back),
        T(test_too_often_makes_none),
        T(test_rekey),
        T(test_adopting_another_servers),
        T(test_ids),
        T(test_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

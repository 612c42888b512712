/* Access tokens: claims, keys, algorithm pinning, and the Wycheproof JWS cases.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/token.h"

#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW    UINT64_C(1800000000)
#define LEEWAY 60

static const struct slice secret = SLICE_LIT("0123456789abcdef0123456789abcdef");
static const struct token_rules lax = {.leeway_s = LEEWAY};
static char err[TOKEN_ERR_MAX];

static struct token_keys *hs256_keys(void)
{
    struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
    assert_int_equal(token_keys_add_secret(k, SLICE_LIT("k1"), CRYPTO_HS256, secret, err), 0);
    return k;
}

/* A JWS over any header and payload text, signed with HS256. */
static struct slice sign_text(const char *header, struct slice payload, uint8_t *buf, size_t cap)
{
    struct wr w = wr_init(buf, cap);
    uint8_t mac[CRYPTO_SHA256_BYTES];
    base64url_encode(&w, slice_str(header));
    wr_u8(&w, '.');
    base64url_encode(&w, payload);
    struct slice part = wr_done(&w);
    crypto_hmac(CRYPTO_SHA256, secret, &part, 1, mac);
    wr_u8(&w, '.');
    base64url_encode(&w, slice_of(mac, sizeof mac));
    assert_false(w.bad);
    return wr_done(&w);
}

static enum token_error verify_text(const char *header, const char *payload,
                                    const struct token_rules *rules, struct token *out)
{
    static uint8_t buf[8192];
    struct token_keys *k = hs256_keys();
    struct slice jws = sign_text(header, slice_str(payload), buf, sizeof buf);
    enum token_error e = token_verify(out, k, rules, jws, NOW);
    token_keys_free(k);
    return e;
}

#define HEADER "{\"alg\":\"HS256\",\"kid\":\"k1\"}"

/* ---- what we sign, we accept ---- */

static struct token sample(void)
{
    return (struct token){
        .user = "alice@example.com",
        .device = "phone-1",
        .name = "Al\xc3\xafs",
        .expires_at_s = NOW + 3600,
        .perms = {.call = true,
                  .presence = false,
                  .room = "r1",
                  .in_room = {.publish = CTL_SOURCE_BIT(CTL_SOURCE_CAMERA), .data = true}},
    };
}

static void test_signed_token_comes_back_whole(void **state)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof buf);
    struct token t = sample(), got;
    struct token_rules rules = {"https://id.example", "sori", LEEWAY};
    struct token_keys *k = hs256_keys();
    (void)state;
    assert_int_equal(token_sign_hs256(&w, secret, "k1", &t, &rules, NOW), 0);
    assert_int_equal(token_verify(&got, k, &rules, wr_done(&w), NOW), TOKEN_OK);
    assert_memory_equal(&got, &t, sizeof t);
    token_keys_free(k);
}

static void test_signing_refuses_what_it_could_not_verify(void **state)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof buf);
    (void)state;
    struct token t = sample();
    t.user[0] = '\0';
    assert_int_equal(token_sign_hs256(&w, secret, "k1", &t, &lax, NOW), -EINVAL);
    t = sample();
    t.name[0] = '\n';
    assert_int_equal(token_sign_hs256(&w, secret, "k1", &t, &lax, NOW), -EINVAL);
    t = sample();
    assert_int_equal(token_sign_hs256(&w, secret, "k\"1", &t, &lax, NOW), -EINVAL);
    for (size_t cap = 0; cap < 200; cap++) {
        struct wr small = wr_init(buf, cap);
        assert_int_equal(token_sign_hs256(&small, secret, NULL, &t, &lax, NOW), -ENOSPC);
    }
}

static void test_every_changed_character_is_refused(void **state)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof buf);
    struct token t = sample(), got;
    struct token_keys *k = hs256_keys();
    (void)state;
    assert_int_equal(token_sign_hs256(&w, secret, "k1", &t, &lax, NOW), 0);
    struct slice jws = wr_done(&w);
    for (size_t i = 0; i < jws.len; i++) {
        uint8_t was = buf[i];
        for (int bit = 0; bit < 8; bit++) {
            buf[i] = (uint8_t)(was ^ 1 << bit);
            assert_int_not_equal(token_verify(&got, k, &lax, jws, NOW), TOKEN_OK);
        }
        buf[i] = was;
    }
    for (size_t n = 0; n < jws.len; n++)
        assert_int_not_equal(token_verify(&got, k, &lax, slice_sub(jws, 0, n), NOW), TOKEN_OK);
    assert_int_equal(token_verify(&got, k, &lax, jws, NOW), TOKEN_OK);
    token_keys_free(k);
}

/* ---- claims ---- */

#define EXP "\"exp\":1800003600"
#define SUB "\"sub\":\"u\","
#define S128                                                           \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    enum token_error want;
    const char *claims;
} claim_cases[] = {
    {TOKEN_OK, "{" SUB EXP "}"},
    {TOKEN_OK, "{\"sub\":\"Az09._@+-\"," EXP "}"},
    {TOKEN_OK, "{\"sub\":\"" S128 "\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"" S128 "a\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{" EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":5," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":null," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"a b\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"a:b\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"\xc3\x9f\"," EXP "}"},
    {TOKEN_BAD_CLAIM, "{\"sub\":\"a\\n\"," EXP "}"},
    {TOKEN_MALFORMED, "{\"sub\":\"a\\u0000\"," EXP "}"},
    /* exp: a number, over with the leeway. */
    {TOKEN_BAD_CLAIM, "{\"sub\":\"u\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB "\"exp\":\"1800003600\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB "\"exp\":-1}"},
    {TOKEN_BAD_CLAIM, "{" SUB "\"exp\":1e30}"},
    {TOKEN_BAD_CLAIM, "{" SUB "\"exp\":true}"},
    {TOKEN_OK, "{" SUB "\"exp\":1800000000.5}"},
    {TOKEN_OK, "{" SUB "\"exp\":1799999941}"},
    {TOKEN_EXPIRED, "{" SUB "\"exp\":1799999940}"},
    {TOKEN_EXPIRED, "{" SUB "\"exp\":0}"},
    /* nbf, iat. */
    {TOKEN_OK, "{" SUB EXP ",\"nbf\":1800000060,\"iat\":1800000060}"},
    {TOKEN_NOT_YET, "{" SUB EXP ",\"nbf\":1800000061}"},
    {TOKEN_NOT_YET, "{" SUB EXP ",\"iat\":1800000061}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"nbf\":\"0\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"iat\":null}"},
    /* dev, name. */
    {TOKEN_OK, "{" SUB EXP ",\"dev\":\"d1\",\"name\":\"\xe6\x97\xa5 \xe6\x9c\xac\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"dev\":\"\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"dev\":\"" S128 "\"}"},
    {TOKEN_OK, "{" SUB EXP ",\"name\":\"" S128 "\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"name\":\"" S128 "a\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"name\":\"a\\tb\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"name\":\"a\\u0085b\"}"},
    {TOKEN_OK, "{" SUB EXP ",\"name\":\"a\\u00a0b\"}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"name\":[]}"},
    /* perms. */
    {TOKEN_OK, "{" SUB EXP ",\"perms\":{\"call\":false,\"more\":1}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":[]}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"call\":\"no\"}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"presence\":0}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"room\":\"a/b\"}}"},
    {TOKEN_OK, "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"publish\":[\"camera\"],\"x\":1}}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"roomPerms\":true}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"publish\":\"camera\"}}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"publish\":[\"nose\"]}}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"publish\":[1]}}}"},
    {TOKEN_BAD_CLAIM, "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"admin\":1}}}"},
    /* JSON. */
    {TOKEN_MALFORMED, ""},
    {TOKEN_MALFORMED, "[]"},
    {TOKEN_MALFORMED, "\"a\""},
    {TOKEN_MALFORMED, "{" SUB EXP},
    {TOKEN_MALFORMED, "{" SUB EXP "}}"},
    {TOKEN_MALFORMED, "{" SUB EXP "} x"},
    {TOKEN_MALFORMED, "{" SUB SUB EXP "}"},
    {TOKEN_MALFORMED, "{" SUB EXP "," EXP "}"},
    {TOKEN_OK, "{" SUB EXP ",\"x\":[[[[[[[\"{{{{{{{{{{\\\"\"]]]]]]]}"},
    {TOKEN_MALFORMED, "{" SUB EXP ",\"x\":[[[[[[[[]]]]]]]]}"},
};

static void test_claims(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(claim_cases); i++) {
        struct token t = {.user = "untouched"};
        enum token_error e = verify_text(HEADER, claim_cases[i].claims, &lax, &t);
        if (e != claim_cases[i].want)
            fail_msg("%s for %s", token_error_name(e), claim_cases[i].claims);
        if (e != TOKEN_OK)
            assert_string_equal(t.user, "untouched");
    }
}

static void test_absent_perms_are_granted(void **state)
{
    struct token t;
    (void)state;
    assert_int_equal(verify_text(HEADER, "{" SUB EXP "}", &lax, &t), TOKEN_OK);
    assert_true(t.perms.call && t.perms.presence);
    assert_string_equal(t.perms.room, "");
    assert_true(t.expires_at_s == NOW + 3600);
    assert_int_equal(verify_text(HEADER, "{" SUB EXP ",\"perms\":{\"call\":false}}", &lax, &t), 0);
    assert_true(!t.perms.call && t.perms.presence);
    const struct sig_room_perms *p = &t.perms.in_room;
    assert_true(p->publish == CTL_SOURCES_ALL && p->subscribe && p->data);
    assert_true(!p->admin && !p->hidden); /* these are given, never assumed */
    assert_int_equal(verify_text(HEADER,
                                 "{" SUB EXP ",\"perms\":{\"roomPerms\":{\"publish\":[\"screen\","
                                 "\"microphone\"],\"data\":false,\"admin\":true}}}",
                                 &lax, &t),
                     0);
    assert_int_equal(p->publish,
                     CTL_SOURCE_BIT(CTL_SOURCE_SCREEN) | CTL_SOURCE_BIT(CTL_SOURCE_MICROPHONE));
    assert_true(p->subscribe && !p->data && p->admin && !p->hidden);
}

static void test_issuer_and_audience(void **state)
{
    static const struct {
        enum token_error want;
        const char *claims;
    } cases[] = {
        {TOKEN_OK, "{" SUB EXP ",\"iss\":\"i\",\"aud\":\"a\"}"},
        {TOKEN_OK, "{" SUB EXP ",\"iss\":\"i\",\"aud\":[\"x\",1,\"a\"]}"},
        {TOKEN_WRONG_ISSUER, "{" SUB EXP ",\"aud\":\"a\"}"},
        {TOKEN_WRONG_ISSUER, "{" SUB EXP ",\"iss\":\"I\",\"aud\":\"a\"}"},
        {TOKEN_WRONG_ISSUER, "{" SUB EXP ",\"iss\":[\"i\"],\"aud\":\"a\"}"},
        {TOKEN_WRONG_AUDIENCE, "{" SUB EXP ",\"iss\":\"i\"}"},
        {TOKEN_WRONG_AUDIENCE, "{" SUB EXP ",\"iss\":\"i\",\"aud\":\"ab\"}"},
        {TOKEN_WRONG_AUDIENCE, "{" SUB EXP ",\"iss\":\"i\",\"aud\":[]}"},
        {TOKEN_WRONG_AUDIENCE, "{" SUB EXP ",\"iss\":\"i\",\"aud\":{\"a\":1}}"},
    };
    struct token_rules rules = {"i", "a", 0}, blank = {"", "", 0};
    struct token t;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(verify_text(HEADER, cases[i].claims, &rules, &t), cases[i].want);
        assert_int_equal(verify_text(HEADER, cases[i].claims, &blank, &t), TOKEN_OK);
    }
}

/* ---- headers and keys ---- */

static void test_headers(void **state)
{
    static const struct {
        enum token_error want;
        const char *header;
    } cases[] = {
        {TOKEN_OK, HEADER},
        {TOKEN_OK, "{\"alg\":\"HS256\"}"},
        {TOKEN_OK, "{\"alg\":\"HS256\",\"kid\":\"\",\"typ\":5,\"jku\":\"http://x\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"none\",\"kid\":\"k1\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"None\",\"kid\":\"k1\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"hs256\",\"kid\":\"k1\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"\",\"kid\":\"k1\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"HS384\",\"kid\":\"k1\"}"},
        {TOKEN_WRONG_ALG, "{\"alg\":\"RS256\",\"kid\":\"k1\"}"},
        {TOKEN_UNKNOWN_KEY, "{\"alg\":\"RS256\"}"},
        {TOKEN_UNKNOWN_KEY, "{\"alg\":\"HS256\",\"kid\":\"k2\"}"},
        {TOKEN_UNKNOWN_KEY, "{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}"},
        {TOKEN_UNKNOWN_KEY, "{\"alg\":\"HS256\",\"kid\":\"' OR 1=1 --\"}"},
        {TOKEN_UNKNOWN_KEY, "{\"alg\":\"HS256\",\"kid\":\"http://evil/jwks\"}"},
        {TOKEN_MALFORMED, "{\"alg\":\"HS256\",\"kid\":1}"},
        {TOKEN_MALFORMED, "{\"alg\":\"HS256\",\"kid\":\"" S128 "a\"}"},
        {TOKEN_MALFORMED, "{\"kid\":\"k1\"}"},
        {TOKEN_MALFORMED, "{\"alg\":[\"HS256\"],\"kid\":\"k1\"}"},
        {TOKEN_MALFORMED, "{\"alg\":\"HS256\",\"kid\":\"k1\",\"crit\":[\"exp\"]}"},
        {TOKEN_MALFORMED, "{\"alg\":\"HS256\",\"kid\":\"k1\",\"crit\":[]}"},
        {TOKEN_MALFORMED, "{\"alg\":\"HS256\",\"alg\":\"HS256\"}"},
        {TOKEN_MALFORMED, "[]"},
        {TOKEN_MALFORMED, "{}x"},
    };
    struct token t;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum token_error e = verify_text(cases[i].header, "{" SUB EXP "}", &lax, &t);
        if (e != cases[i].want)
            fail_msg("%s for %s", token_error_name(e), cases[i].header);
    }
}

static void test_size_limit(void **state)
{
    static uint8_t buf[8192];
    static char payload[4096];
    struct token_keys *k = hs256_keys();
    struct token t;
    (void)state;
    for (int pad = 2960; pad < 3010; pad++) {
        snprintf(payload, sizeof payload, "{" SUB EXP ",\"x\":\"%0*d\"}", pad, 1);
        struct slice jws = sign_text(HEADER, slice_str(payload), buf, sizeof buf);
        enum token_error want = jws.len <= TOKEN_JWS_MAX ? TOKEN_OK : TOKEN_MALFORMED;
        assert_int_equal(token_verify(&t, k, &lax, jws, NOW), want);
    }
    token_keys_free(k);
}

static void test_public_key_never_serves_as_a_secret(void **state)
{
    static uint8_t buf[8192];
    struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    BIO *mem = BIO_new(BIO_s_mem());
    char *pem;
    (void)state;
    PEM_write_bio_PUBKEY(mem, rsa);
    size_t n = (size_t)BIO_get_mem_data(mem, &pem);
    struct slice text = slice_of(pem, n);
    assert_int_equal(token_keys_add_pem(k, SLICE_LIT("k1"), CRYPTO_RS256, text, err), 0);
    /* The forgery that libjwt 1.10 takes: HS256 with the public key's text as the secret. */
    struct wr w = wr_init(buf, sizeof buf);
    struct token t = sample(), got;
    assert_int_equal(token_sign_hs256(&w, text, "k1", &t, &lax, NOW), 0);
    assert_int_equal(token_verify(&got, k, &lax, wr_done(&w), NOW), TOKEN_WRONG_ALG);
    w = wr_init(buf, sizeof buf);
    assert_int_equal(token_sign_hs256(&w, text, NULL, &t, &lax, NOW), 0);
    assert_int_equal(token_verify(&got, k, &lax, wr_done(&w), NOW), TOKEN_UNKNOWN_KEY);
    assert_int_equal(token_keys_add_pem(k, SLICE_LIT("k2"), CRYPTO_ES256, text, err), -EINVAL);
    assert_int_equal(token_keys_add_pem(k, SLICE_LIT("k3"), CRYPTO_HS256, text, err), -EINVAL);
    assert_int_equal(token_keys_count(k), 1);
    BIO_free(mem);
    EVP_PKEY_free(rsa);
    token_keys_free(k);
}

static void test_key_table_limits(void **state)
{
    struct token_keys *k = hs256_keys();
    char kid[TOKEN_KID_MAX + 2] = "";
    (void)state;
    assert_int_equal(token_keys_add_secret(k, SLICE_LIT("k1"), CRYPTO_HS256, secret, err), -EEXIST);
    assert_int_equal(
        token_keys_add_secret(k, SLICE_LIT("k2"), CRYPTO_HS256, slice_sub(secret, 0, 31), err),
        -EINVAL);
    assert_int_equal(token_keys_add_secret(k, SLICE_LIT("k2"), CRYPTO_HS384, secret, err), -EINVAL);
    memset(kid, 'k', TOKEN_KID_MAX + 1);
    assert_int_equal(token_keys_add_secret(k, slice_str(kid), CRYPTO_HS256, secret, err), -EINVAL);
    for (int i = 2; i <= TOKEN_KEYS_MAX; i++) {
        snprintf(kid, sizeof kid, "k%d", i);
        assert_int_equal(token_keys_add_secret(k, slice_str(kid), CRYPTO_HS256, secret, err), 0);
    }
    assert_int_equal(token_keys_add_secret(k, SLICE_LIT("x"), CRYPTO_HS256, secret, err), -ENOSPC);
    assert_int_equal(token_keys_count(k), TOKEN_KEYS_MAX);
    token_keys_free(k);
}

static void test_no_kid_needs_a_single_candidate(void **state)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof buf);
    struct token t = sample(), got;
    struct token_keys *k = hs256_keys();
    (void)state;
    token_sign_hs256(&w, secret, NULL, &t, &lax, NOW);
    assert_int_equal(token_verify(&got, k, &lax, wr_done(&w), NOW), TOKEN_OK);
    token_keys_add_secret(k, (struct slice){0}, CRYPTO_HS256, secret, err);
    assert_int_equal(token_verify(&got, k, &lax, wr_done(&w), NOW), TOKEN_UNKNOWN_KEY);
    token_keys_free(k);
}

#define OCT "\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\""
#define ED \
    "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""

static void test_jwk_sets(void **state)
{
    static const struct {
        int rc;
        size_t keys;
        const char *json;
    } cases[] = {
        {0, 1, "{" OCT ",\"alg\":\"HS256\"}"},
        {0, 2, "{\"keys\":[{" OCT ",\"alg\":\"HS256\",\"kid\":\"a\"},{" ED ",\"kid\":\"b\"}]}"},
        {0, 1,
         "{\"keys\":[{" ED ",\"use\":\"sig\",\"key_ops\":[\"verify\"]},"
         "{\"kty\":\"RSA\",\"use\":\"enc\"},{\"kty\":\"new\"},{" OCT "},"
         "{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\"},{" ED ",\"key_ops\":[\"sign\"]},"
         "{" OCT ",\"alg\":\"HS512\"},{\"kty\":\"EC\",\"crv\":\"P-384\"}]}"},
        {-EINVAL, 0, "{\"keys\":[]}"},
        {-EINVAL, 0, "{\"keys\":[{" OCT "}]}"},
        {-EINVAL, 0, "{\"keys\":{}}"},
        {-EINVAL, 0, "{\"keys\":[5]}"},
        {-EINVAL, 0, "{\"keys\":["},
        {-EINVAL, 0, "[]"},
        {-EINVAL, 0, ""},
        {-EINVAL, 0, "{\"keys\":[],\"keys\":[]}"},
        /* Broken or too weak keys of a kind that we use. */
        {-EINVAL, 0, "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"MDEyMw\"}"},
        {-EINVAL, 0, "{\"kty\":\"oct\",\"alg\":\"HS256\"}"},
        {-EINVAL, 0, "{\"kty\":\"oct\",\"alg\":\"RS256\",\"k\":\"MDEyMw\"}"},
        {-EINVAL, 0, "{\"kty\":\"RSA\",\"alg\":\"HS256\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"},
        {-EINVAL, 0, "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"},
        {-EINVAL, 0, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}"},
        {-EEXIST, 0, "{\"keys\":[{" ED ",\"kid\":\"a\"},{" ED ",\"kid\":\"a\"}]}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
        int rc = token_keys_add_jwks(k, slice_str(cases[i].json), err);
        if (rc != cases[i].rc || token_keys_count(k) != cases[i].keys)
            fail_msg("%d, %zu keys, \"%s\" for %s", rc, token_keys_count(k), err, cases[i].json);
        token_keys_free(k);
    }
}

/* RFC 8037 appendix A.4 and A.5. */
static void test_rfc8037_ed25519(void **state)
{
    struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof buf);
    struct slice jws = SLICE_LIT(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09P"
        "GcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    (void)state;
    assert_int_equal(token_keys_add_jwks(k, SLICE_LIT("{" ED "}"), err), 0);
    assert_int_equal(token_verify_jws(k, jws, &w), TOKEN_OK);
    assert_true(slice_is(wr_done(&w), "Example of Ed25519 signing"));
    token_keys_free(k);
}

static void test_wire_codes(void **state)
{
    (void)state;
    assert_string_equal(token_error_code(TOKEN_EXPIRED), "token_expired");
    assert_string_equal(token_error_code(TOKEN_NOT_YET), "token_not_valid_yet");
    assert_string_equal(token_error_code(TOKEN_BAD_SIGNATURE), "unauthorized");
    assert_string_equal(token_error_code(TOKEN_WRONG_AUDIENCE), "unauthorized");
    for (int e = TOKEN_OK; e <= TOKEN_NO_MEMORY; e++)
        assert_non_null(token_error_name((enum token_error)e));
}

static void test_oom_leaves_nothing_and_no_half_token(void **state)
{
    uint8_t buf[1024];
    struct token t = sample(), got;
    struct wr w = wr_init(buf, sizeof buf);
    (void)state;
    assert_int_equal(token_sign_hs256(&w, secret, "k1", &t, &lax, NOW), 0);
    struct slice jws = wr_done(&w);
    struct slice jwks =
        SLICE_LIT("{\"keys\":[{" OCT ",\"alg\":\"HS256\",\"kid\":\"k1\"},{" ED ",\"kid\":\"b\"}]}");
    for (uint64_t n = 0;; n++) {
        uint64_t live = mem_live();
        uint8_t out[1024];
        struct wr w2 = wr_init(out, sizeof out);
        mem_fail_after(n);
        struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
        int rc = k ? token_keys_add_jwks(k, jwks, err) : -ENOMEM;
        memset(&got, 0, sizeof got);
        enum token_error e = rc == 0 ? token_verify(&got, k, &lax, jws, NOW) : TOKEN_NO_MEMORY;
        int rs = token_sign_hs256(&w2, secret, "k1", &t, &lax, NOW);
        bool failed = mem_failed();
        mem_fail_never();
        if (k && rc != 0)
            assert_int_equal(token_keys_count(k), 0);
        token_keys_free(k);
        assert_true(mem_live() == live);
        /* All or nothing: what did come out is whole. */
        if (e == TOKEN_OK)
            assert_memory_equal(&got, &t, sizeof t);
        if (rs == 0)
            assert_true(slice_eq(wr_done(&w2), jws));
        if (!failed)
            assert_true(rc == 0 && e == TOKEN_OK && rs == 0);
        if (!failed)
            break;
    }
}

/* ---- Wycheproof ---- */

/* Cases whose published verdict can't be ours:
 * 367, 370 are marked invalid (base64 padding), but hold byte for byte the token of 357, valid;
 * 372, 373 are marked valid with a '?' in the base64url text. RFC 7515 §2 defines the encoding
 * "without the inclusion of any line breaks, whitespace, or other additional characters".
 * The two pairs have each other's verdict; the totals stay 46 and 355. */
static bool verdict_swapped(json_int_t id)
{
    return id == 367 || id == 370 || id == 372 || id == 373;
}

/* The key as configured. The vectors' RFC 7520 keys carry a label that is not the algorithm of
 * their own valid signature ("ES521"; PS256 for a PS384 signature): an operator who pins the right
 * one is what the case means. */
static void fix_label(json_t *key, json_int_t id)
{
    const char *alg = json_string_value(json_object_get(key, "alg"));
    if (alg && strcmp(alg, "ES521") == 0)
        json_object_set_new(key, "alg", json_string("ES512"));
    if (id == 346 || id == 350)
        json_object_set_new(key, "alg", json_string("PS384"));
}

static bool accepts(const json_t *group, const json_t *test)
{
    json_t *key = json_object_get(group, "public");
    uint8_t buf[TOKEN_JWS_MAX];
    struct wr w = wr_init(buf, sizeof buf);
    key = json_deep_copy(key ? key : json_object_get(group, "private"));
    fix_label(key, json_integer_value(json_object_get(test, "tcId")));
    char *text = json_dumps(key, 0);
    struct token_keys *k = token_keys_new(TOKEN_ALGS_ALL);
    const char *jws = json_string_value(json_object_get(test, "jws"));
    bool ok = token_keys_add_jwks(k, slice_str(text), err) == 0 &&
              token_verify_jws(k, slice_str(jws), &w) == TOKEN_OK;
    token_keys_free(k);
    mem_free(text); /* jansson allocates there, see token_json.h */
    json_decref(key);
    return ok;
}

static void test_wycheproof_json_web_signature(void **state)
{
    const char *dir = getenv("SORI_VECTORS");
    char path[512];
    json_t *all, *group, *test;
    size_t g, t, accepted = 0, refused = 0;
    (void)state;
    snprintf(path, sizeof path, "%s/wycheproof/json_web_signature_test.json",
             dir ? dir : "../shared/vectors");
    all = json_load_file(path, 0, NULL);
    if (!all) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    json_array_foreach(json_object_get(all, "testGroups"), g, group)
    {
        json_array_foreach(json_object_get(group, "tests"), t, test)
        {
            json_int_t id = json_integer_value(json_object_get(test, "tcId"));
            bool want =
                slice_is(slice_str(json_string_value(json_object_get(test, "result"))), "valid");
            bool got = accepts(group, test);
            accepted += got;
            refused += !got;
            if (got != (want != verdict_swapped(id)))
                fail_msg("case %d: %s", (int)id, got ? "accepted" : "refused");
        }
    }
    print_message("%zu accepted, %zu refused\n", accepted, refused);
    assert_int_equal(accepted, 46);
    assert_int_equal(refused, 355);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_token_comes_back_whole),
        cmocka_unit_test(test_signing_refuses_what_it_could_not_verify),
        cmocka_unit_test(test_every_changed_character_is_refused),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_absent_perms_are_granted),
        cmocka_unit_test(test_issuer_and_audience),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_public_key_never_serves_as_a_secret),
        cmocka_unit_test(test_key_table_limits),
        cmocka_unit_test(test_no_kid_needs_a_single_candidate),
        cmocka_unit_test(test_jwk_sets),
        cmocka_unit_test(test_rfc8037_ed25519),
        cmocka_unit_test(test_wire_codes),
        cmocka_unit_test(test_oom_leaves_nothing_and_no_half_token),
        cmocka_unit_test(test_wycheproof_json_web_signature),
    };
    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}

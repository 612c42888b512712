/* Tests of base/crypto: RFC vectors, Wycheproof, keys of each algorithm made on the fly, base64.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/crypto.h"
#include "base/mem.h"

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

/* --- Helpers ------------------------------------------------------------------------------------
 */

static const char *hex(struct slice s)
{
    static char buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    hex_encode(&w, s);
    wr_u8(&w, 0);
    assert_false(w.bad);
    return buf;
}

static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
    size_t n = strlen(text) / 2;
    assert_true(n <= cap);
    for (size_t i = 0; i < n; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

struct bytes {
    uint8_t p[4096];
    size_t len;
};

static struct slice b64(struct bytes *b, const char *text)
{
    assert_int_equal(base64url_decode(slice_str(text), b->p, sizeof(b->p), &b->len), 0);
    return slice_of(b->p, b->len);
}

/* --- Digests and HMAC ---------------------------------------------------------------------------
 */

static void test_digests_of_abc(void **state)
{
    (void)state;
    static const struct {
        enum crypto_md md;
        const char *sum;
    } cases[] = {
        {CRYPTO_MD5, "900150983cd24fb0d6963f7d28e17f72"}, /* RFC 1321 A.5 */
        {CRYPTO_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {CRYPTO_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {CRYPTO_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                        "8086072ba1e7cc2358baeca134c825a7"},
        {CRYPTO_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
    };
    const struct slice parts[] = {SLICE_LIT("a"), {0}, SLICE_LIT("bc")};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t out[CRYPTO_DIGEST_MAX];
        size_t n = crypto_md_bytes(cases[i].md);
        assert_int_equal(crypto_digest(cases[i].md, parts, ARRAY_LEN(parts), out), 0);
        assert_string_equal(hex(slice_of(out, n)), cases[i].sum);
        assert_int_equal(n * 2, strlen(cases[i].sum));
    }
}

static void test_a_digest_of_pieces_is_that_of_the_whole(void **state)
{
    uint8_t text[300], whole[CRYPTO_DIGEST_MAX], pieces[CRYPTO_DIGEST_MAX];
    struct slice all = slice_of(text, sizeof(text));

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)i;
    assert_int_equal(crypto_digest(CRYPTO_SHA256, &all, 1, whole), 0);
    for (size_t step = 1; step < sizeof(text); step += 37) {
        struct digest *d = digest_new(CRYPTO_SHA256);
        assert_non_null(d);
        for (size_t at = 0; at < sizeof(text); at += step)
            assert_int_equal(digest_add(d, slice_sub(all, at, step)), 0);
        assert_int_equal(digest_end(d, pieces), 0);
        digest_free(d);
        assert_memory_equal(whole, pieces, CRYPTO_SHA256_BYTES);
    }
    digest_free(NULL);
}

/* RFC 2202 §3 (SHA-1) and RFC 4231 §4 (SHA-256, -384, -512), and the empty key. */
static const struct {
    enum crypto_md md;
    const char *key, *msg, *sum;
} hmac_cases[] = {
    {CRYPTO_SHA1, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
     "b617318655057264e28bc0b6fb378c8ef146be00"},
    {CRYPTO_SHA1, "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
    {CRYPTO_SHA256, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {CRYPTO_SHA256, "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {CRYPTO_SHA384, "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
     "8e2240ca5e69e2c78b3239ecfab21649"},
    {CRYPTO_SHA512, "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
     "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
    {CRYPTO_SHA256, "", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
    {CRYPTO_MD5, "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "750c783e6ab0b503eaa86e310a5db738"},
};

static void test_hmac_vectors_of_rfc2202_and_rfc4231(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hmac_cases); i++) {
        uint8_t key[64], msg[64], out[CRYPTO_DIGEST_MAX];
        size_t nk = unhex(hmac_cases[i].key, key, sizeof(key));
        size_t nm = unhex(hmac_cases[i].msg, msg, sizeof(msg));
        size_t n = crypto_md_bytes(hmac_cases[i].md);
        struct slice parts[] = {slice_of(msg, nm / 2), slice_of(msg + nm / 2, nm - nm / 2)};
        assert_int_equal(crypto_hmac(hmac_cases[i].md, slice_of(key, nk), parts, 2, out), 0);
        assert_string_equal(hex(slice_of(out, n)), hmac_cases[i].sum);
        struct hmac *h = hmac_new(hmac_cases[i].md, slice_of(key, nk));
        for (int again = 0; again < 3; again++) {
            memset(out, 0, sizeof(out));
            assert_int_equal(hmac_sum(h, parts, 2, out), 0);
            assert_string_equal(hex(slice_of(out, n)), hmac_cases[i].sum);
        }
        hmac_free(h);
    }
    hmac_free(NULL);
}

/* Key lengths around the block of each digest, against OpenSSL's own HMAC. */
static void test_hmac_keys_of_every_length_agree_with_openssl(void **state)
{
    (void)state;
    static const char *const names[] = {"MD5", "SHA1", "SHA256", "SHA384", "SHA512"};
    uint8_t key[200];

    memset(key, 0xaa, sizeof(key));
    for (unsigned md = CRYPTO_MD5; md <= CRYPTO_SHA512; md++) {
        for (size_t n = 0; n <= sizeof(key); n++) {
            uint8_t ours[CRYPTO_DIGEST_MAX], theirs[CRYPTO_DIGEST_MAX];
            const struct slice msg = SLICE_LIT("message");
            size_t len = 0;
            assert_int_equal(crypto_hmac((enum crypto_md)md, slice_of(key, n), &msg, 1, ours), 0);
            assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, names[md], NULL, key, n, msg.p, msg.len,
                                      theirs, sizeof(theirs), &len));
            assert_int_equal(len, crypto_md_bytes((enum crypto_md)md));
            assert_memory_equal(ours, theirs, len);
        }
    }
}

static json_t *wycheproof(const char *name)
{
    const char *dir = getenv("SORI_VECTORS");
    char path[512];
    snprintf(path, sizeof(path), "%s/wycheproof/%s", dir ? dir : "../shared/vectors", name);
    json_t *j = json_load_file(path, 0, NULL);
    if (!j)
        print_message("skipped: no %s\n", path);
    return j;
}

static const char *str(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static size_t run_wycheproof_hmac(enum crypto_md md, const json_t *root)
{
    size_t i, k, count = 0;
    json_t *group, *test;

    json_array_foreach(json_object_get(root, "testGroups"), i, group)
    {
        json_int_t tag_bytes = json_integer_value(json_object_get(group, "tagSize")) / 8;
        json_array_foreach(json_object_get(group, "tests"), k, test)
        {
            uint8_t key[512], msg[1024], tag[64], out[CRYPTO_DIGEST_MAX];
            size_t nk = unhex(str(test, "key"), key, sizeof(key));
            struct slice m = slice_of(msg, unhex(str(test, "msg"), msg, sizeof(msg)));
            size_t nt = unhex(str(test, "tag"), tag, sizeof(tag));
            assert_int_equal(crypto_hmac(md, slice_of(key, nk), &m, 1, out), 0);
            bool same = crypto_equal(slice_of(out, (size_t)tag_bytes), slice_of(tag, nt));
            assert_int_equal(same, strcmp(str(test, "result"), "valid") == 0);
            count++;
        }
    }
    assert_int_equal(count, json_integer_value(json_object_get(root, "numberOfTests")));
    return count;
}

static void test_hmac_wycheproof(void **state)
{
    (void)state;
    json_t *sha1 = wycheproof("hmac_sha1_test.json");
    json_t *sha256 = wycheproof("hmac_sha256_test.json");

    if (sha1)
        print_message("sha1: %zu cases\n", run_wycheproof_hmac(CRYPTO_SHA1, sha1));
    if (sha256)
        print_message("sha256: %zu cases\n", run_wycheproof_hmac(CRYPTO_SHA256, sha256));
    json_decref(sha1);
    json_decref(sha256);
}

static void test_equal_and_wipe(void **state)
{
    (void)state;
    char secret[8] = "secret";

    assert_true(crypto_equal((struct slice){0}, (struct slice){0}));
    assert_true(crypto_equal(SLICE_LIT("ab"), SLICE_LIT("ab")));
    assert_false(crypto_equal(SLICE_LIT("ab"), SLICE_LIT("ac")));
    assert_false(crypto_equal(SLICE_LIT("ab"), SLICE_LIT("abc")));
    crypto_wipe(secret, sizeof(secret));
    assert_memory_equal(secret, "\0\0\0\0\0\0\0\0", 8);
    crypto_wipe(NULL, 0);
}

/* --- base64 -------------------------------------------------------------------------------------
 */

static void test_base64_vectors_of_rfc4648(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *text, *url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xbf", "+/+/", "-_-_"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice plain = slice_str(cases[i].plain);
        for (int url = 0; url < 2; url++) {
            struct slice text = slice_str(url ? cases[i].url : cases[i].text);
            uint8_t *out = guard_copy(NULL, text.len), *back = guard_copy(NULL, plain.len);
            uint8_t *in = guard_copy(text.p, text.len);
            struct wr w = wr_init(out, text.len);
            size_t len = 99;
            (url ? base64url_encode : base64_encode)(&w, plain);
            assert_true(!w.bad && slice_eq(wr_done(&w), text));
            int rc = (url ? base64url_decode : base64_decode)(slice_of(in, text.len), back,
                                                              plain.len, &len);
            assert_int_equal(rc, 0);
            assert_true(slice_eq(slice_of(back, len), plain));
            if (plain.len > 0) {
                rc = (url ? base64url_decode : base64_decode)(text, back, plain.len - 1, &len);
                assert_int_equal(rc, -ENOSPC);
                w = wr_init(out, text.len - 1);
                (url ? base64url_encode : base64_encode)(&w, plain);
                assert_true(w.bad);
            }
            guard_free(in, text.len);
            guard_free(out, text.len);
            guard_free(back, plain.len);
        }
    }
}

static void test_base64_decoders_are_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",      "Zg",    "Zg=",      "Zg===", "=",    "====", "Zh==",     "Zm9=",   "Zm9v=",
        "Zm9v\n", " Zm9v", "Zg==Zg==", "Z===",  "Zm-v", "Zm_v", "Zm9vYmF=", "Zm9\xc3"};
    static const char *const bad_url[] = {"Z",    "Zg==",  "Zm8=",   "Zh",
                                          "Zm9",  "Zm9v ", "Zm9v\n", "Zm+v",
                                          "Zm/v", "Zm.v",  "Zm9vY",  "\xff\xff\xff\xff"};
    uint8_t out[64];
    size_t len = 77;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(base64_decode(slice_str(bad[i]), out, sizeof(out), &len), -EBADMSG);
    for (size_t i = 0; i < ARRAY_LEN(bad_url); i++)
        assert_int_equal(base64url_decode(slice_str(bad_url[i]), out, sizeof(out), &len), -EBADMSG);
    assert_int_equal(base64url_decode(slice_of("Zm\0v", 4), out, sizeof(out), &len), -EBADMSG);
    assert_int_equal(len, 77);
}

static void test_gcm_vectors_of_the_specification(void **state)
{
    (void)state;
    /* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 2, 14 and 4. */
    static const struct {
        enum crypto_aead a;
        const char *key, *nonce, *aad, *plain, *sealed;
    } cases[] = {
        {CRYPTO_A128GCM, "00000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000",
         "0388dace60b6a392f328c2b971b2fe78 ab6e47d42cec13bdf53a67b21257bddf"},
        {CRYPTO_A256GCM, "0000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000", "", "00000000000000000000000000000000",
         "cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919"},
        {CRYPTO_A128GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
         "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
         "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
         "5bc94fbc3221a5db94fae95ae7121a47"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t kb[32], nb[12], ab[32], pb[64], sb[80], out[80];
        struct slice key = hex_bytes(cases[i].key, kb, sizeof(kb));
        struct slice nonce = hex_bytes(cases[i].nonce, nb, sizeof(nb));
        struct slice aad = hex_bytes(cases[i].aad, ab, sizeof(ab));
        struct slice plain = hex_bytes(cases[i].plain, pb, sizeof(pb));
        struct slice sealed = hex_bytes(cases[i].sealed, sb, sizeof(sb));
        assert_int_equal(crypto_aead_key_bytes(cases[i].a), key.len);
        assert_int_equal(crypto_aead_seal(cases[i].a, key, nonce, aad, plain, out), 0);
        assert_memory_equal(out, sb, sealed.len);
        assert_int_equal(crypto_aead_open(cases[i].a, key, nonce, aad, sealed, out), 0);
        assert_memory_equal(out, pb, plain.len);
        for (size_t at = 0; at < sealed.len; at++) {
            static const uint8_t zero[64];
            sb[at] ^= 1;
            assert_int_equal(crypto_aead_open(cases[i].a, key, nonce, aad, sealed, out), -EACCES);
            assert_memory_equal(out, zero, plain.len);
            sb[at] ^= 1;
        }
        assert_int_equal(
            crypto_aead_open(cases[i].a, key, nonce, aad, slice_sub(sealed, 0, 15), out), -EACCES);
        assert_int_equal(
            crypto_aead_open(cases[i].a, key, slice_sub(nonce, 0, 11), aad, sealed, out), -EACCES);
        assert_int_equal(
            crypto_aead_open(cases[i].a, slice_sub(key, 1, 64), nonce, aad, sealed, out), -EACCES);
    }
}

static void test_hex_is_lower_case(void **state)
{
    (void)state;
    assert_string_equal(hex(SLICE_LIT("\x00\x9f\xff")), "009fff");
    uint8_t buf[3];
    struct wr w = wr_init(buf, sizeof(buf));
    hex_encode(&w, SLICE_LIT("ab"));
    assert_true(w.bad);
}

/* --- Keys: published examples --------------------------------------------------------------------
 */

static void test_jws_example_hs256_rfc7515_a1(void **state)
{
    (void)state;
    struct bytes secret, sig;
    struct crypto_key *k = crypto_key_hmac(
        CRYPTO_HS256, b64(&secret, "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
                                   "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"));
    struct slice s = b64(&sig, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    const struct slice msg =
        SLICE_LIT("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
                  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
                  "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ");

    assert_int_equal(crypto_key_alg(k), CRYPTO_HS256);
    assert_true(crypto_key_verify(k, msg, s));
    assert_false(crypto_key_verify(k, slice_sub(msg, 0, msg.len - 1), s));
    for (size_t n = 0; n < s.len; n++)
        assert_false(crypto_key_verify(k, msg, slice_sub(s, 0, n)));
    crypto_key_free(k);
}

static void test_jws_example_es256_rfc7515_a3(void **state)
{
    (void)state;
    struct bytes x, y, sig;
    struct slice bx = b64(&x, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    struct slice by = b64(&y, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    struct crypto_key *k = crypto_key_ec(CRYPTO_ES256, bx, by);
    struct slice s = b64(
        &sig, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6N"
              "U1Q");
    const struct slice msg =
        SLICE_LIT("eyJhbGciOiJFUzI1NiJ9."
                  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
                  "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ");

    assert_true(crypto_key_verify(k, msg, s));
    sig.p[63] ^= 1;
    assert_false(crypto_key_verify(k, msg, s));
    memset(sig.p, 0, 64); /* CVE-2022-21449: r = s = 0 */
    assert_false(crypto_key_verify(k, msg, s));
    crypto_key_free(k);
    assert_null(crypto_key_ec(CRYPTO_ES256, bx, slice_sub(by, 1, 31)));
    assert_null(crypto_key_ec(CRYPTO_ES384, bx, by));
    assert_null(crypto_key_ec(CRYPTO_RS256, bx, by));
    y.p[31] ^= 1; /* off the curve */
    assert_null(crypto_key_ec(CRYPTO_ES256, bx, by));
    memset(x.p, 0, 32);
    memset(y.p, 0, 32);
    assert_null(crypto_key_ec(CRYPTO_ES256, bx, by));
    memset(x.p, 0xff, 32);
    assert_null(crypto_key_ec(CRYPTO_ES256, bx, by));
}

static void test_jws_example_eddsa_rfc8037_a4(void **state)
{
    (void)state;
    struct bytes x, sig;
    struct slice bx = b64(&x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    struct crypto_key *k = crypto_key_ed25519(bx);
    struct slice s = b64(&sig, "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVs"
                               "Pt9g7sVvpAr_MuM0KAg");
    const struct slice msg = SLICE_LIT("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");

    assert_true(crypto_key_verify(k, msg, s));
    for (size_t n = 0; n < s.len; n++)
        assert_false(crypto_key_verify(k, msg, slice_sub(s, 0, n)));
    assert_false(crypto_key_verify(k, (struct slice){0}, s));
    crypto_key_free(k);
    assert_null(crypto_key_ed25519(slice_sub(bx, 0, 31)));
}

/* --- Keys: made here with OpenSSL
 * ----------------------------------------------------------------- */

static EVP_PKEY *make_pkey(enum crypto_alg alg)
{
    switch (alg) {
    case CRYPTO_ES256:
        return EVP_EC_gen("P-256");
    case CRYPTO_ES384:
        return EVP_EC_gen("P-384");
    case CRYPTO_ES512:
        return EVP_EC_gen("P-521");
    case CRYPTO_EDDSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    default:
        return EVP_RSA_gen(2048);
    }
}

static struct slice pem_of(EVP_PKEY *pkey, struct bytes *b)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    b->len = (size_t)BIO_read(bio, b->p, sizeof(b->p));
    BIO_free(bio);
    return slice_of(b->p, b->len);
}

static const char *const md_names[] = {[0] = "SHA256", [1] = "SHA384", [2] = "SHA512"};

/* A JWS signature of "message". */
static struct slice sign(EVP_PKEY *pkey, enum crypto_alg alg, struct bytes *b)
{
    bool pss = alg >= CRYPTO_PS256 && alg <= CRYPTO_PS512;
    bool ec = alg >= CRYPTO_ES256 && alg <= CRYPTO_ES512;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    const char *md = alg == CRYPTO_EDDSA ? NULL : md_names[((int)alg - CRYPTO_HS256) % 3];

    assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, md, NULL, NULL, pkey, NULL), 1);
    if (pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    b->len = sizeof(b->p);
    assert_int_equal(EVP_DigestSign(ctx, b->p, &b->len, (const uint8_t *)"message", 7), 1);
    EVP_MD_CTX_free(ctx);
    if (ec) {
        const uint8_t *der = b->p;
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)b->len);
        int coord = (EVP_PKEY_get_bits(pkey) + 7) / 8;
        BN_bn2binpad(ECDSA_SIG_get0_r(sig), b->p, coord);
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), b->p + coord, coord);
        b->len = 2 * (size_t)coord;
        ECDSA_SIG_free(sig);
    }
    return slice_of(b->p, b->len);
}

static void check_signature(const struct crypto_key *k, struct slice sig, struct bytes *b)
{
    const struct slice msg = SLICE_LIT("message");

    assert_true(crypto_key_verify(k, msg, sig));
    assert_false(crypto_key_verify(k, SLICE_LIT("massage"), sig));
    assert_false(crypto_key_verify(k, msg, (struct slice){0}));
    assert_false(crypto_key_verify(k, msg, slice_sub(sig, 0, sig.len - 1)));
    assert_false(crypto_key_verify(k, msg, slice_sub(sig, 1, sig.len)));
    b->p[sig.len] = 0;
    assert_false(crypto_key_verify(k, msg, slice_of(sig.p, sig.len + 1)));
    for (size_t i = 0; i < sig.len; i += 13) {
        b->p[i] ^= 0x40;
        assert_false(crypto_key_verify(k, msg, sig));
        b->p[i] ^= 0x40;
    }
}

static void test_each_algorithm_verifies_its_own_and_nothing_else(void **state)
{
    (void)state;
    ERR_clear_error();
    for (unsigned a = CRYPTO_RS256; a <= CRYPTO_EDDSA; a++) {
        enum crypto_alg alg = (enum crypto_alg)a;
        EVP_PKEY *pkey = make_pkey(alg), *other = make_pkey(alg);
        struct bytes pem, sig;
        struct crypto_key *k = crypto_key_pem(alg, pem_of(pkey, &pem));
        assert_non_null(k);
        /* Signatures with leading zeros in r or s are 1 of 128: sign often enough to meet some. */
        int rounds = alg >= CRYPTO_ES256 && alg <= CRYPTO_EDDSA ? 200 : 1;
        for (int i = 0; i < rounds; i++)
            assert_true(crypto_key_verify(k, SLICE_LIT("message"), sign(pkey, alg, &sig)));
        check_signature(k, sign(pkey, alg, &sig), &sig);
        assert_false(crypto_key_verify(k, SLICE_LIT("message"), sign(other, alg, &sig)));
        for (unsigned b = CRYPTO_RS256; b <= CRYPTO_EDDSA; b++) { /* a key is of one algorithm */
            bool both_rsa = a <= CRYPTO_PS512 && b <= CRYPTO_PS512;
            struct crypto_key *wrong = crypto_key_pem((enum crypto_alg)b, pem_of(pkey, &pem));
            assert_int_equal(wrong != NULL, a == b || both_rsa);
            if (wrong && a != b)
                assert_false(crypto_key_verify(wrong, SLICE_LIT("message"), sign(pkey, alg, &sig)));
            crypto_key_free(wrong);
        }
        crypto_key_free(k);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(other);
    }
    assert_int_equal(ERR_peek_error(), 0); /* failures leave nothing for SSL_get_error() */
}

static struct slice bn_param(EVP_PKEY *pkey, const char *name, struct bytes *b)
{
    BIGNUM *bn = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, name, &bn), 1);
    b->len = (size_t)BN_bn2bin(bn, b->p);
    BN_free(bn);
    return slice_of(b->p, b->len);
}

static void test_rsa_from_n_and_e_and_its_limits(void **state)
{
    (void)state;
    EVP_PKEY *pkey = EVP_RSA_gen(2048), *small = EVP_RSA_gen(1024);
    struct bytes n, e, sig, pem;
    struct slice bn = bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n);
    struct slice be = bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e);
    struct crypto_key *k = crypto_key_rsa(CRYPTO_PS256, bn, be);

    check_signature(k, sign(pkey, CRYPTO_PS256, &sig), &sig);
    crypto_key_free(k);
    assert_null(crypto_key_rsa(CRYPTO_ES256, bn, be));
    assert_null(crypto_key_rsa(CRYPTO_HS256, bn, be));
    assert_null(crypto_key_rsa(CRYPTO_RS256, slice_sub(bn, 0, 255), be)); /* 2040 bits */
    assert_null(crypto_key_rsa(CRYPTO_RS256, (struct slice){0}, be));
    assert_null(crypto_key_rsa(CRYPTO_RS256, bn, (struct slice){0}));
    assert_null(crypto_key_rsa(CRYPTO_RS256, bn, SLICE_LIT("\x01"))); /* e = 1 signs nothing */
    assert_null(crypto_key_rsa(CRYPTO_RS256, bn, SLICE_LIT("\x02")));
    n.p[255] ^= 1; /* even */
    assert_null(crypto_key_rsa(CRYPTO_RS256, bn, be));
    assert_null(crypto_key_pem(CRYPTO_RS256, pem_of(small, &pem)));
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(small);
}

static void test_pem_of_anything_else_is_refused(void **state)
{
    (void)state;
    struct bytes pem;
    EVP_PKEY *pkey = EVP_EC_gen("P-256"), *other = EVP_EC_gen("secp256k1");
    struct slice good = pem_of(pkey, &pem);

    for (size_t n = 0; n + 2 < good.len;
         n++) { /* without the last dash or newline it may be read */
        uint8_t *g = guard_copy(good.p, n);
        assert_null(crypto_key_pem(CRYPTO_ES256, slice_of(g, n)));
        guard_free(g, n);
    }
    assert_null(crypto_key_pem(CRYPTO_HS256, good));
    assert_null(crypto_key_pem(CRYPTO_ALG_NONE, good));
    assert_null(crypto_key_pem(CRYPTO_ES256, pem_of(other, &pem)));
    BIO *bio = BIO_new(BIO_s_mem()); /* a private key is not a public one */
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    pem.len = (size_t)BIO_read(bio, pem.p, sizeof(pem.p));
    assert_null(crypto_key_pem(CRYPTO_ES256, slice_of(pem.p, pem.len)));
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(other);
}

static void test_certificate_gives_its_key(void **state)
{
    (void)state;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    struct bytes pem, sig;
    BIO *bio = BIO_new(BIO_s_mem());

    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, pkey);
    assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    pem.len = (size_t)BIO_read(bio, pem.p, sizeof(pem.p));
    struct crypto_key *k = crypto_key_pem(CRYPTO_ES256, slice_of(pem.p, pem.len));
    check_signature(k, sign(pkey, CRYPTO_ES256, &sig), &sig);
    crypto_key_free(k);
    BIO_free(bio);
    X509_free(cert);
    EVP_PKEY_free(pkey);
}

static void test_hmac_keys_are_hs_only_and_not_empty(void **state)
{
    (void)state;
    assert_null(crypto_key_hmac(CRYPTO_HS256, (struct slice){0}));
    assert_null(crypto_key_hmac(CRYPTO_RS256, SLICE_LIT("secret")));
    assert_null(crypto_key_hmac(CRYPTO_ALG_NONE, SLICE_LIT("secret")));
    crypto_key_free(NULL);
}

static void test_algorithm_names_are_exact(void **state)
{
    (void)state;
    static const char *const names[] = {"HS256", "HS384", "HS512", "RS256", "RS384",
                                        "RS512", "PS256", "PS384", "PS512", "ES256",
                                        "ES384", "ES512", "EdDSA"};
    static const char *const bad[] = {"",       "none", "None",  "NONE",   "hs256",
                                      "HS256 ", "HS25", "EDDSA", "ES256K", "RS1"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(crypto_alg_parse(slice_str(names[i])), CRYPTO_HS256 + i);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(crypto_alg_parse(slice_str(bad[i])), CRYPTO_ALG_NONE);
    assert_int_equal(crypto_alg_parse(SLICE_LIT("HS256\0")), CRYPTO_ALG_NONE);
}

/* The private key as PEM: PKCS#8, SEC1 ("traditional"), or PKCS#8 under a pass phrase. */
enum pem_form { PKCS8, SEC1, LOCKED };
static struct slice private_pem(EVP_PKEY *pkey, enum pem_form form, struct bytes *b)
{
    BIO *bio = BIO_new(BIO_s_mem());

    if (form == SEC1)
        PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, form == LOCKED ? EVP_aes_128_cbc() : NULL,
                                      form == LOCKED ? "x1x2" : NULL, form == LOCKED ? 4 : 0, NULL,
                                      NULL);
    int n = BIO_read(bio, b->p, sizeof(b->p));
    assert_true(n > 0 && (size_t)n < sizeof(b->p));
    BIO_free(bio);
    b->len = (size_t)n;
    return slice_of(b->p, b->len);
}

static void test_signatures_verify_and_are_64_bytes_with_short_numbers_padded(void **state)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    struct bytes pem;
    const char *why = NULL;
    uint8_t sig[CRYPTO_ES256_BYTES], msg[300] = {1};
    unsigned short_r = 0, short_s = 0;

    (void)state;
    for (enum pem_form form = PKCS8; form <= SEC1; form++) {
        struct crypto_signer *s = crypto_signer_pem(private_pem(pkey, form, &pem), &why);
        assert_non_null(s);
        struct crypto_key *k = crypto_signer_public(s);
        assert_non_null(k);
        assert_int_equal(crypto_key_alg(k), CRYPTO_ES256);
        for (size_t n = 0; n < 1500; n++) {
            struct slice m = slice_of(msg, n % sizeof(msg));
            memset(sig, 0xee, sizeof(sig));
            assert_int_equal(crypto_signer_sign(s, m, sig), 0);
            assert_true(crypto_key_verify(k, m, slice_of(sig, sizeof(sig))));
            short_r += sig[0] == 0;
            short_s += sig[32] == 0;
            sig[n % sizeof(sig)] ^= 1;
            assert_false(crypto_key_verify(k, m, slice_of(sig, sizeof(sig))));
        }
        crypto_key_free(k);
        crypto_signer_free(s);
    }
    assert_true(short_r > 0 && short_s > 0); /* 1 in 256 each */
    assert_int_equal(ERR_peek_error(), 0);
    EVP_PKEY_free(pkey);
    crypto_signer_free(NULL);
}

static void test_signers_say_what_is_wrong_with_a_key(void **state)
{
    EVP_PKEY *good = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384"),
             *k1 = EVP_EC_gen("secp256k1"), *rsa = EVP_RSA_gen(2048);
    struct bytes pem;
    static uint8_t large[65537];
    const struct {
        EVP_PKEY *key;
        enum pem_form form;
        const char *says;
    } cases[] = {
        {good, LOCKED, "pass phrase"}, {p384, PKCS8, "P-256"}, {p384, SEC1, "P-256"},
        {k1, PKCS8, "P-256"},          {rsa, PKCS8, "P-256"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why = NULL;
        assert_null(crypto_signer_pem(private_pem(cases[i].key, cases[i].form, &pem), &why));
        if (!why || !strstr(why, cases[i].says))
            fail_msg("case %zu: %s", i, why ? why : "(none)");
    }
    const struct slice texts[] = {{0}, SLICE_LIT("x"), pem_of(good, &pem), slice_of(large, 65537)};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *why = NULL;
        assert_null(crypto_signer_pem(texts[i], &why));
        assert_non_null(why);
    }
    struct slice whole = private_pem(good, PKCS8, &pem);
    for (size_t n = 0; n + 1 < whole.len; n++) { /* the last byte is a newline */
        const char *why = NULL;
        uint8_t *g = guard_copy(whole.p, n);
        struct crypto_signer *s = crypto_signer_pem(slice_of(g, n), &why);
        assert_null(s);
        assert_non_null(why);
        guard_free(g, n);
    }
    assert_int_equal(ERR_peek_error(), 0);
    EVP_PKEY_free(good);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(k1);
    EVP_PKEY_free(rsa);
}

static void test_oom_gives_null_and_leaks_nothing(void **state)
{
    (void)state;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    struct bytes pem;
    struct slice text = pem_of(pkey, &pem);
    struct bytes secret;
    struct slice private = private_pem(pkey, PKCS8, &secret);
    const char *why;
    uint64_t live = mem_live();
    bool failed = true;

    for (uint64_t n = 0; failed; n++) {
        mem_fail_after(n);
        struct hmac *h = hmac_new(CRYPTO_SHA1, SLICE_LIT("k"));
        struct crypto_key *hs = crypto_key_hmac(CRYPTO_HS256, SLICE_LIT("k"));
        struct crypto_key *es = crypto_key_pem(CRYPTO_ES256, text);
        struct crypto_signer *signer = crypto_signer_pem(private, &why);
        failed = mem_failed();
        mem_fail_never();
        assert_int_equal(failed, !h || !hs || !es || !signer);
        hmac_free(h);
        crypto_key_free(hs);
        crypto_key_free(es);
        crypto_signer_free(signer);
        assert_int_equal(mem_live(), live);
    }
    EVP_PKEY_free(pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_of_abc),
        cmocka_unit_test(test_a_digest_of_pieces_is_that_of_the_whole),
        cmocka_unit_test(test_hmac_vectors_of_rfc2202_and_rfc4231),
        cmocka_unit_test(test_hmac_keys_of_every_length_agree_with_openssl),
        cmocka_unit_test(test_hmac_wycheproof),
        cmocka_unit_test(test_equal_and_wipe),
        cmocka_unit_test(test_base64_vectors_of_rfc4648),
        cmocka_unit_test(test_base64_decoders_are_strict),
        cmocka_unit_test(test_gcm_vectors_of_the_specification),
        cmocka_unit_test(test_hex_is_lower_case),
        cmocka_unit_test(test_jws_example_hs256_rfc7515_a1),
        cmocka_unit_test(test_jws_example_es256_rfc7515_a3),
        cmocka_unit_test(test_jws_example_eddsa_rfc8037_a4),
        cmocka_unit_test(test_each_algorithm_verifies_its_own_and_nothing_else),
        cmocka_unit_test(test_rsa_from_n_and_e_and_its_limits),
        cmocka_unit_test(test_pem_of_anything_else_is_refused),
        cmocka_unit_test(test_certificate_gives_its_key),
        cmocka_unit_test(test_hmac_keys_are_hs_only_and_not_empty),
        cmocka_unit_test(test_algorithm_names_are_exact),
        cmocka_unit_test(test_signatures_verify_and_are_64_bytes_with_short_numbers_padded),
        cmocka_unit_test(test_signers_say_what_is_wrong_with_a_key),
        cmocka_unit_test(test_oom_gives_null_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}

/* Digests, HMAC, signatures and base64 over OpenSSL 3's EVP.
 *
 * Called by token and credential checks, STUN integrity, the WebSocket handshake. Any thread.
 * Algorithms are fetched once per process: a fetch per call costs more than a short digest.
 * OpenSSL's error queue is left as it was found, because SSL_get_error() reads the same queue.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/crypto.h"

#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>

enum {
    HMAC_BLOCK_MAX = 128, /* of SHA-384 and SHA-512 (FIPS 180-4) */
    HMAC_IPAD = 0x36,     /* RFC 2104 §2 */
    HMAC_OPAD = 0x5c,
    RSA_BITS_MIN = 2048, /* RFC 7518 §3.3 */
    RSA_BITS_MAX = 8192, /* what a verification may cost */
    PEM_MAX_BYTES = 65536,
    EC_COORD_MAX = 66,     /* P-521 */
    ECDSA_DER_MAX = 160,   /* SEQUENCE of two INTEGERs of 67 bytes and their headers */
    DER_LEN_1BYTE = 0x81,  /* "length in the next byte" (X.690 §8.1.3.5) */
    EC_UNCOMPRESSED = 0x04 /* SEC 1 §2.3.3 */
};

/* --- Digests -----------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    size_t bytes, block;
} md_info[] = {
    [CRYPTO_MD5] = {"MD5", CRYPTO_MD5_BYTES, 64},
    [CRYPTO_SHA1] = {"SHA1", CRYPTO_SHA1_BYTES, 64},
    [CRYPTO_SHA256] = {"SHA256", CRYPTO_SHA256_BYTES, 64},
    [CRYPTO_SHA384] = {"SHA384", 48, 128},
    [CRYPTO_SHA512] = {"SHA512", CRYPTO_SHA512_BYTES, 128},
};

static EVP_MD *md_fetched[ARRAY_LEN(md_info)];
static pthread_once_t md_once = PTHREAD_ONCE_INIT;

static void md_fetch_all(void)
{
    ERR_set_mark();
    for (size_t i = 0; i < ARRAY_LEN(md_info); i++)
        md_fetched[i] = EVP_MD_fetch(NULL, md_info[i].name, NULL);
    ERR_pop_to_mark();
}

/* NULL when this OpenSSL has it not (MD5 under FIPS). */
static const EVP_MD *md_get(enum crypto_md md)
{
    pthread_once(&md_once, md_fetch_all);
    return md_fetched[md];
}

size_t crypto_md_bytes(enum crypto_md md)
{
    return md_info[md].bytes;
}

static bool md_update(EVP_MD_CTX *ctx, const struct slice *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (parts[i].len > 0 && EVP_DigestUpdate(ctx, parts[i].p, parts[i].len) != 1)
            return false;
    return true;
}

/* Starts ctx over and takes prefix in. */
static bool md_start(EVP_MD_CTX *ctx, enum crypto_md md, struct slice prefix)
{
    const EVP_MD *type = md_get(md);

    return ctx && type && EVP_DigestInit_ex2(ctx, type, NULL) == 1 && md_update(ctx, &prefix, 1);
}

int crypto_digest(enum crypto_md md, const struct slice *parts, size_t n, uint8_t *out)
{
    ERR_set_mark();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = md_start(ctx, md, (struct slice){0}) && md_update(ctx, parts, n) &&
              EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_pop_to_mark();
    return ok ? 0 : -EIO;
}

struct digest {
    EVP_MD_CTX *ctx;
};

struct digest *digest_new(enum crypto_md md)
{
    struct digest *d = mem_zalloc(sizeof(*d));

    ERR_set_mark();
    if (d)
        d->ctx = EVP_MD_CTX_new();
    bool ok = d && md_start(d->ctx, md, (struct slice){0});
    ERR_pop_to_mark();
    if (ok)
        return d;
    digest_free(d);
    return NULL;
}

void digest_free(struct digest *d)
{
    if (d)
        EVP_MD_CTX_free(d->ctx);
    mem_free(d);
}

int digest_add(struct digest *d, struct slice part)
{
    ERR_set_mark();
    bool ok = md_update(d->ctx, &part, 1);
    ERR_pop_to_mark();
    return ok ? 0 : -EIO;
}

int digest_end(struct digest *d, uint8_t *out)
{
    ERR_set_mark();
    bool ok = EVP_DigestFinal_ex(d->ctx, out, NULL) == 1;
    ERR_pop_to_mark();
    return ok ? 0 : -EIO;
}

/* --- HMAC (RFC 2104) ---------------------------------------------------------------------------
 *
 * The digest states after the inner and the outer padded key are kept and copied for each sum.
 * Measured with 100 bytes, SHA-1 and SHA-256 alike: copying two digest states 0.29 us,
 * EVP_MAC_init(ctx, NULL, 0, NULL) 0.37 us, EVP_MAC_CTX_dup 0.81 us, a fresh EVP_MAC 1.5 us. It
 * also leaves the keyed states untouched, so that several threads may verify with one key. */

struct hmac {
    enum crypto_md md;
    EVP_MD_CTX *inner, *outer, *work;
};

void hmac_free(struct hmac *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->inner); /* wipes its state */
    EVP_MD_CTX_free(h->outer);
    EVP_MD_CTX_free(h->work);
    mem_free(h);
}

static bool hmac_set_key(struct hmac *h, struct slice key)
{
    uint8_t pad[HMAC_BLOCK_MAX] = {0};
    struct slice block = {pad, md_info[h->md].block};
    bool ok = true;

    if (key.len > block.len)
        ok = crypto_digest(h->md, &key, 1, pad) == 0;
    else if (key.len > 0)
        memcpy(pad, key.p, key.len);
    for (size_t i = 0; i < block.len; i++)
        pad[i] ^= HMAC_IPAD;
    ok = ok && md_start(h->inner, h->md, block);
    for (size_t i = 0; i < block.len; i++)
        pad[i] ^= HMAC_IPAD ^ HMAC_OPAD;
    ok = ok && md_start(h->outer, h->md, block);
    crypto_wipe(pad, sizeof(pad));
    return ok;
}

struct hmac *hmac_new(enum crypto_md md, struct slice key)
{
    struct hmac *h = mem_zalloc(sizeof(*h));

    if (!h)
        return NULL;
    ERR_set_mark();
    *h = (struct hmac){md, EVP_MD_CTX_new(), EVP_MD_CTX_new(), EVP_MD_CTX_new()};
    if (!h->work || !hmac_set_key(h, key)) {
        hmac_free(h);
        h = NULL;
    }
    ERR_pop_to_mark();
    return h;
}

static int hmac_sum_with(EVP_MD_CTX *work, const struct hmac *h, const struct slice *parts,
                         size_t n, uint8_t *out)
{
    uint8_t inner[CRYPTO_DIGEST_MAX];
    bool ok = EVP_MD_CTX_copy_ex(work, h->inner) == 1 && md_update(work, parts, n) &&
              EVP_DigestFinal_ex(work, inner, NULL) == 1 &&
              EVP_MD_CTX_copy_ex(work, h->outer) == 1 &&
              EVP_DigestUpdate(work, inner, crypto_md_bytes(h->md)) == 1 &&
              EVP_DigestFinal_ex(work, out, NULL) == 1;

    crypto_wipe(inner, sizeof(inner));
    return ok ? 0 : -EIO;
}

int hmac_sum(struct hmac *h, const struct slice *parts, size_t n, uint8_t *out)
{
    return hmac_sum_with(h->work, h, parts, n, out);
}

int crypto_hmac(enum crypto_md md, struct slice key, const struct slice *parts, size_t n,
                uint8_t *out)
{
    struct hmac *h = hmac_new(md, key);
    int err = h ? hmac_sum(h, parts, n, out) : -EIO;

    hmac_free(h);
    return err;
}

bool crypto_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.p, b.p, a.len) == 0);
}

void crypto_wipe(void *p, size_t n)
{
    if (n > 0)
        OPENSSL_cleanse(p, n);
}

/* --- AEAD (RFC 5116) ----------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    size_t key_bytes;
} aead_info[] = {
    [CRYPTO_A128GCM] = {"AES-128-GCM", 16},
    [CRYPTO_A256GCM] = {"AES-256-GCM", 32},
};

size_t crypto_aead_key_bytes(enum crypto_aead a)
{
    return aead_info[a].key_bytes;
}

/* Runs in through ctx, aad before it. tag: read when seal is false, written when it is true. */
static bool aead_run(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, bool seal, struct slice key,
                     struct slice nonce, struct slice aad, struct slice in, uint8_t *out,
                     uint8_t *tag)
{
    int n = 0;

    if (EVP_CipherInit_ex2(ctx, cipher, key.p, nonce.p, seal, NULL) != 1 ||
        (aad.len > 0 && EVP_CipherUpdate(ctx, NULL, &n, aad.p, (int)aad.len) != 1) ||
        (in.len > 0 && EVP_CipherUpdate(ctx, out, &n, in.p, (int)in.len) != 1))
        return false;
    if (!seal && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_AEAD_TAG_BYTES, tag) != 1)
        return false;
    uint8_t none[EVP_MAX_BLOCK_LENGTH];
    return EVP_CipherFinal_ex(ctx, none, &n) == 1 &&
           (!seal ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_AEAD_TAG_BYTES, tag) == 1);
}

static bool aead(enum crypto_aead a, bool seal, struct slice key, struct slice nonce,
                 struct slice aad, struct slice in, uint8_t *out, uint8_t *tag)
{
    bool fits = key.len == aead_info[a].key_bytes && nonce.len == CRYPTO_AEAD_NONCE_BYTES &&
                in.len <= INT_MAX && aad.len <= INT_MAX;

    ERR_set_mark();
    EVP_CIPHER *cipher = fits ? EVP_CIPHER_fetch(NULL, aead_info[a].name, NULL) : NULL;
    EVP_CIPHER_CTX *ctx = cipher ? EVP_CIPHER_CTX_new() : NULL;
    bool ok = ctx && aead_run(ctx, cipher, seal, key, nonce, aad, in, out, tag);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    ERR_pop_to_mark();
    return ok;
}

int crypto_aead_open(enum crypto_aead a, struct slice key, struct slice nonce, struct slice aad,
                     struct slice sealed, uint8_t *out)
{
    uint8_t tag[CRYPTO_AEAD_TAG_BYTES];

    if (sealed.len < sizeof(tag))
        return -EACCES;
    struct slice text = slice_sub(sealed, 0, sealed.len - sizeof(tag));
    memcpy(tag, sealed.p + text.len, sizeof(tag));
    if (aead(a, false, key, nonce, aad, text, out, tag))
        return 0;
    crypto_wipe(out, text.len);
    return -EACCES;
}

int crypto_aead_seal(enum crypto_aead a, struct slice key, struct slice nonce, struct slice aad,
                     struct slice plain, uint8_t *out)
{
    return aead(a, true, key, nonce, aad, plain, out, out + plain.len) ? 0 : -EIO;
}

/* --- base64 and hex (RFC 4648) ------------------------------------------------------------------
 */

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_put(struct wr *w, struct slice in, const char *alphabet, bool padded)
{
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t group = (uint32_t)in.p[i] << 16;
        group |= n > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
        group |= n > 2 ? in.p[i + 2] : 0;
        uint8_t *out = wr_reserve(w, padded ? 4 : n + 1);
        if (!out)
            return;
        for (size_t c = 0; c <= n; c++)
            out[c] = (uint8_t)alphabet[group >> (18 - 6 * c) & 63];
        for (size_t c = n + 1; padded && c < 4; c++)
            out[c] = '=';
    }
}

void base64_encode(struct wr *w, struct slice in)
{
    base64_put(w, in, base64_std, true);
}

void base64url_encode(struct wr *w, struct slice in)
{
    base64_put(w, in, base64_url, false);
}

/* Value of a character, or 64 when it is not in the alphabet that ends with c62, c63. */
static uint32_t base64_value(uint8_t c, char c62, char c63)
{
    if (c >= 'A' && c <= 'Z')
        return c - (uint32_t)'A';
    if (c >= 'a' && c <= 'z')
        return c - (uint32_t)'a' + 26;
    if (c >= '0' && c <= '9')
        return c - (uint32_t)'0' + 52;
    return c == (uint8_t)c62 ? 62 : c == (uint8_t)c63 ? 63 : 64;
}

/* Decodes text without padding. */
static int base64_get(struct slice in, const char *alphabet, uint8_t *out, size_t cap, size_t *len)
{
    size_t tail = in.len % 4, need = in.len / 4 * 3 + (tail > 0 ? tail - 1 : 0), at = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    if (tail == 1)
        return -EBADMSG;
    for (size_t i = 0; i < in.len; i++)
        if (base64_value(in.p[i], alphabet[62], alphabet[63]) > 63)
            return -EBADMSG;
    if (need > cap)
        return -ENOSPC;
    for (size_t i = 0; i < in.len; i++) {
        bits = (bits << 6 | base64_value(in.p[i], alphabet[62], alphabet[63])) & 0x3fff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[at++] = (uint8_t)(bits >> have);
        }
    }
    /* RFC 4648 §3.5: "the pad bits MUST be set to zero"; else one value had several texts. */
    if ((bits & ((1U << have) - 1)) != 0)
        return -EBADMSG;
    *len = at;
    return 0;
}

int base64_decode(struct slice in, uint8_t *out, size_t cap, size_t *len)
{
    if (in.len % 4 != 0)
        return -EBADMSG;
    for (int pads = 0; pads < 2 && in.len > 0 && in.p[in.len - 1] == '='; pads++)
        in.len--;
    return base64_get(in, base64_std, out, cap, len);
}

int base64url_decode(struct slice in, uint8_t *out, size_t cap, size_t *len)
{
    return base64_get(in, base64_url, out, cap, len);
}

void hex_encode(struct wr *w, struct slice in)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < in.len; i++) {
        uint8_t *p = wr_reserve(w, 2);
        if (!p)
            return;
        p[0] = (uint8_t)digits[in.p[i] >> 4];
        p[1] = (uint8_t)digits[in.p[i] & 15];
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int hex_decode(struct slice in, uint8_t *out, size_t n)
{
    if (in.len % 2 != 0 || in.len / 2 != n)
        return -EBADMSG;
    for (size_t i = 0; i < in.len; i++) {
        if (hex_digit(in.p[i]) < 0)
            return -EBADMSG;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(hex_digit(in.p[2 * i]) << 4 | hex_digit(in.p[2 * i + 1]));
    return 0;
}

/* --- Signature keys -----------------------------------------------------------------------------
 */

enum key_kind { KEY_NONE, KEY_HMAC, KEY_RSA, KEY_PSS, KEY_EC, KEY_ED25519 };

static const struct alg_info {
    const char *name;
    enum key_kind kind;
    enum crypto_md md;
    const char *curve; /* OpenSSL's name of it */
    size_t coord;      /* bytes of one coordinate, and of r and s */
} alg_info[] = {
    [CRYPTO_ALG_NONE] = {"", KEY_NONE, CRYPTO_SHA256, NULL, 0},
    [CRYPTO_HS256] = {"HS256", KEY_HMAC, CRYPTO_SHA256, NULL, 0},
    [CRYPTO_HS384] = {"HS384", KEY_HMAC, CRYPTO_SHA384, NULL, 0},
    [CRYPTO_HS512] = {"HS512", KEY_HMAC, CRYPTO_SHA512, NULL, 0},
    [CRYPTO_RS256] = {"RS256", KEY_RSA, CRYPTO_SHA256, NULL, 0},
    [CRYPTO_RS384] = {"RS384", KEY_RSA, CRYPTO_SHA384, NULL, 0},
    [CRYPTO_RS512] = {"RS512", KEY_RSA, CRYPTO_SHA512, NULL, 0},
    [CRYPTO_PS256] = {"PS256", KEY_PSS, CRYPTO_SHA256, NULL, 0},
    [CRYPTO_PS384] = {"PS384", KEY_PSS, CRYPTO_SHA384, NULL, 0},
    [CRYPTO_PS512] = {"PS512", KEY_PSS, CRYPTO_SHA512, NULL, 0},
    [CRYPTO_ES256] = {"ES256", KEY_EC, CRYPTO_SHA256, "prime256v1", 32},
    [CRYPTO_ES384] = {"ES384", KEY_EC, CRYPTO_SHA384, "secp384r1", 48},
    [CRYPTO_ES512] = {"ES512", KEY_EC, CRYPTO_SHA512, "secp521r1", EC_COORD_MAX},
    [CRYPTO_EDDSA] = {"EdDSA", KEY_ED25519, CRYPTO_SHA512, NULL, 32},
};

struct crypto_key {
    enum crypto_alg alg;
    struct hmac *hmac; /* HS*, else NULL */
    EVP_PKEY *pkey;    /* all others */
};

enum crypto_alg crypto_alg_parse(struct slice name)
{
    for (size_t i = CRYPTO_ALG_NONE + 1; i < ARRAY_LEN(alg_info); i++)
        if (slice_is(name, alg_info[i].name))
            return (enum crypto_alg)i;
    return CRYPTO_ALG_NONE;
}

enum crypto_alg crypto_key_alg(const struct crypto_key *k)
{
    return k->alg;
}

void crypto_key_free(struct crypto_key *k)
{
    if (!k)
        return;
    hmac_free(k->hmac);
    EVP_PKEY_free(k->pkey);
    mem_free(k);
}

static bool rsa_acceptable(EVP_PKEY *pkey)
{
    int bits = EVP_PKEY_get_bits(pkey);
    BIGNUM *n = NULL, *e = NULL;
    bool ok = EVP_PKEY_is_a(pkey, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX &&
              EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
              EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(n) &&
              BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= 64;

    BN_free(n);
    BN_free(e);
    return ok;
}

static bool ec_acceptable(EVP_PKEY *pkey, const char *curve)
{
    char group[32];
    size_t len;
    int explicit_params = 0;

    if (!EVP_PKEY_is_a(pkey, "EC") ||
        EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) != 1 || strcmp(group, curve) != 0)
        return false;
    /* Parameters that are spelled out could name another generator (CVE-2020-0601). */
    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &explicit_params) == 1 &&
        explicit_params != 0)
        return false;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* Makes a key of pkey, which it takes, or NULL when pkey does not suit alg. */
static struct crypto_key *key_of_pkey(enum crypto_alg alg, EVP_PKEY *pkey)
{
    enum key_kind kind = alg_info[alg].kind;
    bool ok = pkey != NULL;

    if (kind == KEY_RSA || kind == KEY_PSS)
        ok = ok && rsa_acceptable(pkey);
    else if (kind == KEY_EC)
        ok = ok && ec_acceptable(pkey, alg_info[alg].curve);
    else
        ok = ok && kind == KEY_ED25519 && EVP_PKEY_is_a(pkey, "ED25519");
    struct crypto_key *k = ok ? mem_zalloc(sizeof(*k)) : NULL;
    if (!k) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    *k = (struct crypto_key){.alg = alg, .pkey = pkey};
    return k;
}

struct crypto_key *crypto_key_hmac(enum crypto_alg alg, struct slice secret)
{
    if (alg_info[alg].kind != KEY_HMAC || secret.len == 0)
        return NULL;
    struct hmac *hmac = hmac_new(alg_info[alg].md, secret);
    struct crypto_key *k = hmac ? mem_zalloc(sizeof(*k)) : NULL;
    if (!k) {
        hmac_free(hmac);
        return NULL;
    }
    *k = (struct crypto_key){.alg = alg, .hmac = hmac};
    return k;
}

/* OpenSSL would ask the terminal for the password of an encrypted PEM. */
static int no_password(char *buf, int size, int rwflag, void *user)
{
    (void)buf, (void)size, (void)rwflag, (void)user;
    return -1;
}

static EVP_PKEY *pkey_of_pem(struct slice pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL) : NULL;

    BIO_free(bio);
    if (pkey || !bio)
        return pkey;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    pkey = cert ? X509_get_pubkey(cert) : NULL;
    X509_free(cert);
    BIO_free(bio);
    return pkey;
}

struct crypto_key *crypto_key_pem(enum crypto_alg alg, struct slice pem)
{
    if (pem.len == 0 || pem.len > PEM_MAX_BYTES)
        return NULL;
    ERR_set_mark();
    struct crypto_key *k = key_of_pkey(alg, pkey_of_pem(pem));
    ERR_pop_to_mark();
    return k;
}

/* Makes a public key of OpenSSL's type `type`; NULL when the parameters do not describe one. */
static EVP_PKEY *pkey_of_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (ctx && params && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

struct crypto_key *crypto_key_rsa(enum crypto_alg alg, struct slice n, struct slice e)
{
    if (n.len == 0 || n.len > RSA_BITS_MAX / 8 || e.len == 0 || e.len > 8)
        return NULL;
    ERR_set_mark();
    BIGNUM *bn_n = BN_bin2bn(n.p, (int)n.len, NULL), *bn_e = BN_bin2bn(e.p, (int)e.len, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;

    if (bn_n && bn_e && bld && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    struct crypto_key *k = key_of_pkey(alg, pkey_of_params("RSA", params));
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn_n);
    BN_free(bn_e);
    ERR_pop_to_mark();
    return k;
}

struct crypto_key *crypto_key_ec(enum crypto_alg alg, struct slice x, struct slice y)
{
    size_t coord = alg_info[alg].coord;
    uint8_t point[1 + 2 * EC_COORD_MAX] = {EC_UNCOMPRESSED};
    char curve[32] = "";

    if (alg_info[alg].kind != KEY_EC || x.len != coord || y.len != coord ||
        slice_to_cstr(slice_str(alg_info[alg].curve), curve, sizeof(curve)) != 0)
        return NULL;
    memcpy(point + 1, x.p, coord);
    memcpy(point + 1 + coord, y.p, coord);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * coord),
        OSSL_PARAM_construct_end(),
    };
    ERR_set_mark();
    struct crypto_key *k = key_of_pkey(alg, pkey_of_params("EC", params));
    ERR_pop_to_mark();
    return k;
}

struct crypto_key *crypto_key_ed25519(struct slice x)
{
    if (x.len != alg_info[CRYPTO_EDDSA].coord)
        return NULL;
    ERR_set_mark();
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, x.p, x.len);
    struct crypto_key *k = key_of_pkey(CRYPTO_EDDSA, pkey);
    ERR_pop_to_mark();
    return k;
}

static bool verify_hmac(const struct crypto_key *k, struct slice msg, struct slice sig)
{
    uint8_t sum[CRYPTO_DIGEST_MAX];
    EVP_MD_CTX *work = EVP_MD_CTX_new(); /* the key's own one belongs to one thread at a time */
    bool ok = work && hmac_sum_with(work, k->hmac, &msg, 1, sum) == 0 &&
              crypto_equal(slice_of(sum, crypto_md_bytes(alg_info[k->alg].md)), sig);

    EVP_MD_CTX_free(work);
    crypto_wipe(sum, sizeof(sum));
    return ok;
}

static bool verify_pkey(const struct crypto_key *k, struct slice msg, struct slice sig)
{
    const struct alg_info *info = &alg_info[k->alg];
    const EVP_MD *md = info->kind == KEY_ED25519 ? NULL : md_get(info->md);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL; /* ctx owns it */
    bool ok = ctx && EVP_DigestVerifyInit(ctx, &pctx, md, NULL, k->pkey) == 1;

    if (info->kind == KEY_PSS) /* RFC 7518 §3.5: salt as long as the digest, MGF1 with the same */
        ok = ok && EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    const uint8_t *bytes = msg.len > 0 ? msg.p : (const uint8_t *)"";
    ok = ok && EVP_DigestVerify(ctx, sig.p, sig.len, bytes, msg.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* Writes an unsigned big-endian number as a DER INTEGER: no leading zeros but one before a set top
 * bit (X.690 §8.3). Numbers of at most EC_COORD_MAX bytes: the length takes one byte. */
static void der_put_uint(struct wr *w, struct slice v)
{
    while (v.len > 1 && v.p[0] == 0)
        v = slice_sub(v, 1, v.len);
    bool sign = (v.p[0] & 0x80) != 0;

    wr_u8(w, 0x02);
    wr_u8(w, (uint8_t)(v.len + sign));
    wr_zero(w, sign);
    wr_bytes(w, v);
}

/* JWS carries r||s (RFC 7518 §3.4), OpenSSL wants SEQUENCE { r, s }. */
static bool verify_ecdsa(const struct crypto_key *k, struct slice msg, struct slice sig)
{
    uint8_t body_buf[ECDSA_DER_MAX], der_buf[ECDSA_DER_MAX];
    struct wr body = wr_init(body_buf, sizeof(body_buf)), der = wr_init(der_buf, sizeof(der_buf));
    size_t coord = alg_info[k->alg].coord;

    if (sig.len != 2 * coord)
        return false;
    der_put_uint(&body, slice_sub(sig, 0, coord));
    der_put_uint(&body, slice_sub(sig, coord, coord));
    wr_u8(&der, 0x30);
    if (body.len >= 0x80)
        wr_u8(&der, DER_LEN_1BYTE);
    wr_u8(&der, (uint8_t)body.len);
    wr_bytes(&der, wr_done(&body));
    return !der.bad && verify_pkey(k, msg, wr_done(&der));
}

bool crypto_key_verify(const struct crypto_key *k, struct slice msg, struct slice sig)
{
    enum key_kind kind = alg_info[k->alg].kind;
    bool ok;

    if (kind == KEY_HMAC)
        return verify_hmac(k, msg, sig);
    ERR_set_mark();
    if (kind == KEY_EC)
        ok = verify_ecdsa(k, msg, sig);
    else /* RSA: the modulus's size; Ed25519: 64 */
        ok = sig.len == (size_t)EVP_PKEY_get_size(k->pkey) && verify_pkey(k, msg, sig);
    ERR_pop_to_mark();
    return ok;
}

/* --- Signing ------------------------------------------------------------------------------------
 */

struct crypto_signer {
    EVP_PKEY *pkey;
    EVP_MD_CTX *ctx; /* reset between signatures */
};

/* Notes that a pass phrase was asked for. */
static int no_pass_phrase(char *buf, int size, int rwflag, void *user)
{
    bool *asked = user;

    (void)buf, (void)size, (void)rwflag;
    *asked = true;
    return -1;
}

static EVP_PKEY *private_of_pem(struct slice pem, const char **why)
{
    bool locked = false;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, &locked) : NULL;

    BIO_free(bio);
    if (!pkey)
        *why = locked ? "has a pass phrase: store the key without one"
                      : "is not a private key in PEM form (PKCS#8 or SEC1)";
    return pkey;
}

struct crypto_signer *crypto_signer_pem(struct slice pem, const char **why)
{
    if (pem.len == 0 || pem.len > PEM_MAX_BYTES) {
        *why = pem.len == 0 ? "is empty" : "is too long for a key";
        return NULL;
    }
    ERR_set_mark();
    EVP_PKEY *pkey = private_of_pem(pem, why);
    bool ok = pkey != NULL;
    if (ok && !ec_acceptable(pkey, alg_info[CRYPTO_ES256].curve)) {
        *why = "is not a key of the curve P-256, which ES256 needs";
        ok = false;
    }
    ERR_pop_to_mark();
    EVP_MD_CTX *ctx = ok ? EVP_MD_CTX_new() : NULL;
    struct crypto_signer *s = ctx ? mem_zalloc(sizeof(*s)) : NULL;
    if (!s) {
        if (ok)
            *why = "needs memory, which is out";
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(pkey);
        return NULL;
    }
    *s = (struct crypto_signer){pkey, ctx};
    return s;
}

void crypto_signer_free(struct crypto_signer *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    EVP_PKEY_free(s->pkey);
    mem_free(s);
}

/* Reads a DER INTEGER of at most 32 bytes into out, right-aligned. */
static void der_get_uint(struct rd *r, uint8_t out[CRYPTO_ES256_BYTES / 2])
{
    uint8_t tag = rd_u8(r);
    struct slice v = rd_take(r, rd_u8(r));

    while (v.len > 0 && v.p[0] == 0)
        v = slice_sub(v, 1, v.len);
    if (tag != 0x02 || v.len > CRYPTO_ES256_BYTES / 2) {
        r->bad = true;
        return;
    }
    memset(out, 0, CRYPTO_ES256_BYTES / 2);
    if (v.len > 0)
        memcpy(out + CRYPTO_ES256_BYTES / 2 - v.len, v.p, v.len);
}

int crypto_signer_sign(struct crypto_signer *s, struct slice msg, uint8_t sig[CRYPTO_ES256_BYTES])
{
    uint8_t der[ECDSA_DER_MAX];
    size_t len = sizeof(der);
    const uint8_t *bytes = msg.len > 0 ? msg.p : (const uint8_t *)"";

    ERR_set_mark();
    bool ok = EVP_DigestSignInit(s->ctx, NULL, md_get(CRYPTO_SHA256), NULL, s->pkey) == 1 &&
              EVP_DigestSign(s->ctx, der, &len, bytes, msg.len) == 1;
    EVP_MD_CTX_reset(s->ctx);
    ERR_pop_to_mark();
    if (!ok)
        return -EIO;
    struct rd r = rd_init(slice_of(der, len)); /* SEQUENCE { r, s }: 72 bytes at most */
    rd_take(&r, 2);
    der_get_uint(&r, sig);
    der_get_uint(&r, sig + CRYPTO_ES256_BYTES / 2);
    return r.bad || r.left > 0 ? -EIO : 0;
}

struct crypto_key *crypto_signer_public(const struct crypto_signer *s)
{
    if (EVP_PKEY_up_ref(s->pkey) != 1)
        return NULL;
    return key_of_pkey(CRYPTO_ES256, s->pkey);
}

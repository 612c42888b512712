/* The table of keys that access tokens may be signed with: HMAC secrets, PEM keys, JWK Sets.
 *
 * Filled by main.c at start and at reload, asked by token.c. A token's kid is looked up here and
 * nowhere else: it is never a path, an address or a query. Symmetric and public keys can't be mixed
 * up (RFC 8725 §2.1), since a key never changes its algorithm and an algorithm never its key type.
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/token_keys.h"

#include "base/mem.h"
#include "server/token_json.h"

#include <errno.h>
#include <stdio.h>

#define JWKS_MAX        (256 * 1024)
#define JWKS_DEPTH_MAX  8
#define JWKS_VALUES_MAX 4096
#define KEY_FIELD_MAX   1024 /* bytes of a JWK's n: 8192 bits */

struct entry {
    struct crypto_key *key;
    char kid[TOKEN_KID_MAX + 1];
};

struct token_keys {
    uint32_t algs;
    size_t n;
    struct entry v[TOKEN_KEYS_MAX];
};

struct token_keys *token_keys_new(uint32_t algs)
{
    struct token_keys *k = mem_zalloc(sizeof *k);
    if (k)
        k->algs = algs & TOKEN_ALGS_ALL;
    return k;
}

static void keys_cut(struct token_keys *k, size_t n)
{
    while (k->n > n)
        crypto_key_free(k->v[--k->n].key);
}

void token_keys_free(struct token_keys *k)
{
    if (!k)
        return;
    keys_cut(k, 0);
    mem_free(k);
}

size_t token_keys_count(const struct token_keys *k)
{
    return k->n;
}

static const struct entry *find_kid(const struct token_keys *k, struct slice kid)
{
    for (size_t i = 0; i < k->n; i++)
        if (slice_is(kid, k->v[i].kid))
            return &k->v[i];
    return NULL;
}

/* Adds key (taken over, failing or not) under kid. */
static int add_key(struct token_keys *k, struct slice kid, struct crypto_key *key,
                   char err[TOKEN_ERR_MAX])
{
    struct entry e = {.key = key};
    int rc = 0;
    if (!key) {
        snprintf(err, TOKEN_ERR_MAX, "key \"%.*s\" is not one of its algorithm's kind, or too weak",
                 SLICE_FMT(slice_sub(kid, 0, TOKEN_KID_MAX)));
        return -EINVAL;
    }
    if (slice_to_cstr(kid, e.kid, sizeof e.kid) != 0) {
        snprintf(err, TOKEN_ERR_MAX, "a kid has more than %d bytes", TOKEN_KID_MAX);
        rc = -EINVAL;
    } else if (kid.len > 0 && find_kid(k, kid)) {
        snprintf(err, TOKEN_ERR_MAX, "kid \"%s\" is there twice", e.kid);
        rc = -EEXIST;
    } else if (k->n == TOKEN_KEYS_MAX) {
        snprintf(err, TOKEN_ERR_MAX, "more than %d keys", TOKEN_KEYS_MAX);
        rc = -ENOSPC;
    }
    if (rc == 0)
        k->v[k->n++] = e;
    else
        crypto_key_free(key);
    return rc;
}

static bool alg_allowed(const struct token_keys *k, enum crypto_alg alg)
{
    return k->algs & TOKEN_ALG(alg);
}

/* RFC 7518 §3.2: "A key of the same size as the hash output [...] or larger MUST be used". */
static size_t secret_min(enum crypto_alg alg)
{
    switch (alg) {
    case CRYPTO_HS256:
        return 32;
    case CRYPTO_HS384:
        return 48;
    case CRYPTO_HS512:
        return 64;
    default:
        return SIZE_MAX;
    }
}

static struct crypto_key *secret_key(enum crypto_alg alg, struct slice secret)
{
    return secret.len < secret_min(alg) ? NULL : crypto_key_hmac(alg, secret);
}

static int refuse_alg(char err[TOKEN_ERR_MAX])
{
    snprintf(err, TOKEN_ERR_MAX, "the algorithm is not one that tokens may use");
    return -EINVAL;
}

int token_keys_add_secret(struct token_keys *k, struct slice kid, enum crypto_alg alg,
                          struct slice secret, char err[TOKEN_ERR_MAX])
{
    if (!alg_allowed(k, alg))
        return refuse_alg(err);
    return add_key(k, kid, secret_key(alg, secret), err);
}

int token_keys_add_pem(struct token_keys *k, struct slice kid, enum crypto_alg alg,
                       struct slice pem, char err[TOKEN_ERR_MAX])
{
    if (!alg_allowed(k, alg))
        return refuse_alg(err);
    return add_key(k, kid, crypto_key_pem(alg, pem), err);
}

/* ---- JWK ---- */

/* A base64url member; the empty slice when it is absent or broken. */
static struct slice field(const json_t *jwk, const char *name, uint8_t buf[KEY_FIELD_MAX])
{
    size_t len = 0;
    struct slice s = token_json_text(jwk, name);
    if (!s.p || base64url_decode(s, buf, KEY_FIELD_MAX, &len) != 0)
        return (struct slice){0};
    return slice_of(buf, len);
}

/* use "sig" and key_ops with "verify", each when it is there (RFC 7517 §4.2, §4.3). */
static bool is_signature_key(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops"), *op;
    size_t i;
    if (use && !slice_is(token_json_text(jwk, "use"), "sig"))
        return false;
    if (!ops)
        return true;
    json_array_foreach(ops, i, op)
    {
        if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0)
            return true;
    }
    return false;
}

/* The one algorithm that this key is good for; CRYPTO_ALG_NONE: pass it over. */
static enum crypto_alg jwk_alg(const json_t *jwk)
{
    static const struct {
        const char *kty, *crv;
        enum crypto_alg alg;
    } by_kind[] = {
        {"RSA", NULL, CRYPTO_RS256},      {"EC", "P-256", CRYPTO_ES256},
        {"EC", "P-384", CRYPTO_ES384},    {"EC", "P-521", CRYPTO_ES512},
        {"OKP", "Ed25519", CRYPTO_EDDSA},
    };
    if (json_object_get(jwk, "alg"))
        return crypto_alg_parse(token_json_text(jwk, "alg"));
    for (size_t i = 0; i < ARRAY_LEN(by_kind); i++)
        if (slice_is(token_json_text(jwk, "kty"), by_kind[i].kty) &&
            (!by_kind[i].crv || slice_is(token_json_text(jwk, "crv"), by_kind[i].crv)))
            return by_kind[i].alg;
    return CRYPTO_ALG_NONE;
}

/* Whether the key type is alg's, so that "kty":"oct" can never serve a signature algorithm. */
static bool kty_fits(struct slice kty, enum crypto_alg alg)
{
    switch (alg) {
    case CRYPTO_HS256:
    case CRYPTO_HS384:
    case CRYPTO_HS512:
        return slice_is(kty, "oct");
    case CRYPTO_ES256:
    case CRYPTO_ES384:
    case CRYPTO_ES512:
        return slice_is(kty, "EC");
    case CRYPTO_EDDSA:
        return slice_is(kty, "OKP");
    case CRYPTO_ALG_NONE:
        return false;
    default:
        return slice_is(kty, "RSA");
    }
}

static struct crypto_key *jwk_key(const json_t *jwk, enum crypto_alg alg)
{
    uint8_t a[KEY_FIELD_MAX], b[KEY_FIELD_MAX];
    struct slice kty = token_json_text(jwk, "kty");
    if (!kty_fits(kty, alg))
        return NULL;
    if (slice_is(kty, "RSA"))
        return crypto_key_rsa(alg, field(jwk, "n", a), field(jwk, "e", b));
    if (slice_is(kty, "EC"))
        return crypto_key_ec(alg, field(jwk, "x", a), field(jwk, "y", b));
    if (slice_is(kty, "OKP"))
        return crypto_key_ed25519(field(jwk, "x", a));
    struct crypto_key *k = secret_key(alg, field(jwk, "k", a));
    crypto_wipe(a, sizeof a);
    return k;
}

/* Adds one JWK or passes it over. */
static int add_jwk(struct token_keys *k, const json_t *jwk, char err[TOKEN_ERR_MAX])
{
    if (!json_is_object(jwk)) {
        snprintf(err, TOKEN_ERR_MAX, "a key of the set is not an object");
        return -EINVAL;
    }
    enum crypto_alg alg = jwk_alg(jwk);
    if (!is_signature_key(jwk) || alg == CRYPTO_ALG_NONE || !alg_allowed(k, alg))
        return 0;
    return add_key(k, token_json_text(jwk, "kid"), jwk_key(jwk, alg), err);
}

static int add_set(struct token_keys *k, const json_t *set, char err[TOKEN_ERR_MAX])
{
    const json_t *keys = json_object_get(set, "keys"), *jwk;
    size_t i, before = k->n;
    int rc = 0;
    if (!keys) {
        rc = add_jwk(k, set, err);
    } else if (!json_is_array(keys)) {
        snprintf(err, TOKEN_ERR_MAX, "\"keys\" is not an array");
        rc = -EINVAL;
    } else {
        json_array_foreach(keys, i, jwk)
        {
            rc = add_jwk(k, jwk, err);
            if (rc != 0)
                break;
        }
    }
    if (rc == 0 && k->n == before) {
        snprintf(err, TOKEN_ERR_MAX, "no signature key of an algorithm that tokens may use");
        rc = -EINVAL;
    }
    if (rc != 0)
        keys_cut(k, before);
    return rc;
}

int token_keys_add_jwks(struct token_keys *k, struct slice json, char err[TOKEN_ERR_MAX])
{
    static const struct token_json_limits max = {JWKS_MAX, JWKS_DEPTH_MAX, JWKS_VALUES_MAX};
    json_t *set;
    int rc = token_json_load(&set, json, &max, err, TOKEN_ERR_MAX);
    if (rc != 0)
        return rc == -EBADMSG ? -EINVAL : rc;
    rc = add_set(k, set, err);
    json_decref(set);
    return rc;
}

/* The only key of that algorithm, for tokens that name none. */
static const struct entry *find_only(const struct token_keys *k, enum crypto_alg alg)
{
    const struct entry *hit = NULL;
    for (size_t i = 0; i < k->n; i++) {
        if (crypto_key_alg(k->v[i].key) != alg)
            continue;
        if (hit)
            return NULL;
        hit = &k->v[i];
    }
    return hit;
}

const struct crypto_key *token_keys_find(const struct token_keys *k, struct slice kid,
                                         enum crypto_alg alg)
{
    const struct entry *e = kid.len > 0 ? find_kid(k, kid) : find_only(k, alg);
    return e ? e->key : NULL;
}

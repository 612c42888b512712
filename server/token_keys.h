/* The table of keys that access tokens may be signed with, each bound to one algorithm for life:
 * HMAC secrets, PEM public keys, JWK Sets (RFC 7517).
 *
 * Filled at start or reload, then read-only: lookups may run on several threads.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_TOKEN_KEYS_H
#define SORI_SERVER_TOKEN_KEYS_H

#include "base/crypto.h"

#define TOKEN_KEYS_MAX 64
#define TOKEN_KID_MAX  128
#define TOKEN_ERR_MAX  256

#define TOKEN_ALG(a) (UINT32_C(1) << (a))
/* What a configuration may use, and what the verifier knows at all. */
#define TOKEN_ALGS_PRODUCT                                                         \
    (TOKEN_ALG(CRYPTO_HS256) | TOKEN_ALG(CRYPTO_RS256) | TOKEN_ALG(CRYPTO_ES256) | \
     TOKEN_ALG(CRYPTO_EDDSA))
#define TOKEN_ALGS_ALL (UINT32_MAX & ~TOKEN_ALG(CRYPTO_ALG_NONE))

struct token_keys;

/* An empty table for the algorithms in the mask `algs`; NULL when memory is out. */
struct token_keys *token_keys_new(uint32_t algs);
void token_keys_free(struct token_keys *k); /* wipes; NULL is allowed */
size_t token_keys_count(const struct token_keys *k);

/* Add one key under kid (at most TOKEN_KID_MAX bytes, unique; empty: found only by tokens without
 * a kid). An HMAC secret has at least the digest's size (RFC 7518 §3.2).
 * Return 0; -EINVAL with the reason in err; -EEXIST (kid), -ENOSPC (TOKEN_KEYS_MAX), -ENOMEM. */
int token_keys_add_secret(struct token_keys *k, struct slice kid, enum crypto_alg alg,
                          struct slice secret, char err[TOKEN_ERR_MAX]);
int token_keys_add_pem(struct token_keys *k, struct slice kid, enum crypto_alg alg,
                       struct slice pem, char err[TOKEN_ERR_MAX]);

/* Adds the signature keys of a JWK Set (RFC 7517 §5), or of a single JWK. A key's algorithm is its
 * `alg`; without one it is given by the curve (ES256.., EdDSA), RS256 for RSA; an `oct` key must
 * have it. Keys for other uses (use, key_ops), of unknown types or algorithms outside the mask are
 * passed over. Broken JSON, a broken key, a doubled kid or no usable key at all is an error: then
 * err says why and the table holds what it held before. Returns as above. */
int token_keys_add_jwks(struct token_keys *k, struct slice json, char err[TOKEN_ERR_MAX]);

/* The key that a token names by kid, whatever its algorithm; without a kid (empty) the only key of
 * algorithm alg. NULL when there is none, or more than one to choose from. */
const struct crypto_key *token_keys_find(const struct token_keys *k, struct slice kid,
                                         enum crypto_alg alg);

#endif

/* The one wrapper over OpenSSL's EVP: digests, HMAC, signatures, base64, secrets.
 * No OpenSSL type appears here. Errors say only "no": callers must not tell strangers why.
 * Thread: functions any thread; a `struct hmac` or `crypto_key` may be used by one thread at a
 * time, except that crypto_key_verify() on a key is safe from several. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_BASE_CRYPTO_H
#define SORI_BASE_CRYPTO_H

#include "base/bytes.h"

#define CRYPTO_MD5_BYTES    16
#define CRYPTO_SHA1_BYTES   20
#define CRYPTO_SHA256_BYTES 32
#define CRYPTO_SHA512_BYTES 64
#define CRYPTO_DIGEST_MAX   64

enum crypto_md { CRYPTO_MD5, CRYPTO_SHA1, CRYPTO_SHA256, CRYPTO_SHA384, CRYPTO_SHA512 };

/* Bytes of the digest. */
size_t crypto_md_bytes(enum crypto_md md);

/* Digest of the concatenation of n parts into out (crypto_md_bytes). Returns 0 or -EIO. */
int crypto_digest(enum crypto_md md, const struct slice *parts, size_t n, uint8_t *out);

/* A digest of what comes piece by piece (a file). digest_end() writes crypto_md_bytes to out and
 * leaves nothing to do but digest_free(). add and end return 0 or -EIO. */
struct digest;
struct digest *digest_new(enum crypto_md md); /* NULL: out of memory */
void digest_free(struct digest *d);           /* NULL is allowed */
int digest_add(struct digest *d, struct slice part);
int digest_end(struct digest *d, uint8_t *out);

/* HMAC of the concatenation of n parts. Key of any length, the empty one too. Returns 0 or -EIO. */
int crypto_hmac(enum crypto_md md, struct slice key, const struct slice *parts, size_t n,
                uint8_t *out);

/* A keyed HMAC state that is prepared once and used often (the key schedule is not repeated). */
struct hmac;
struct hmac *hmac_new(enum crypto_md md, struct slice key); /* NULL: out of memory */
void hmac_free(struct hmac *h);                             /* wipes; NULL is allowed */
int hmac_sum(struct hmac *h, const struct slice *parts, size_t n, uint8_t *out);

/* Constant-time comparison; false at once when the lengths differ (lengths are not secret). */
bool crypto_equal(struct slice a, struct slice b);

/* Overwrites a secret so that the compiler can't leave it out. */
void crypto_wipe(void *p, size_t n);

/* --- AEAD (RFC 5116): AES-GCM with 12-byte nonces and 16-byte tags. */
enum crypto_aead { CRYPTO_A128GCM, CRYPTO_A256GCM };
#define CRYPTO_AEAD_NONCE_BYTES 12
#define CRYPTO_AEAD_TAG_BYTES   16
#define CRYPTO_AEAD_KEY_MAX     32

/* Bytes of the cipher's key: 16 or 32. */
size_t crypto_aead_key_bytes(enum crypto_aead a);

/* Opens sealed (ciphertext and tag) into out, which has room for sealed.len - TAG bytes. Returns 0,
 * or -EACCES when key, nonce, aad or sealed is not what it was sealed with; out is then wiped. */
int crypto_aead_open(enum crypto_aead a, struct slice key, struct slice nonce, struct slice aad,
                     struct slice sealed, uint8_t *out);
/* Seals plain into out, which has room for plain.len + TAG bytes. A nonce is used once. Returns 0
 * or -EIO. */
int crypto_aead_seal(enum crypto_aead a, struct slice key, struct slice nonce, struct slice aad,
                     struct slice plain, uint8_t *out);

/* --- base64 (RFC 4648). Encoders write text without NUL into w (bad when it does not fit).
 * Decoders are strict: alphabet only, exact padding rules, unused bits zero; they write at most
 * cap bytes, set *len, and return 0, -EBADMSG, or -ENOSPC. */
void base64_encode(struct wr *w, struct slice in);    /* standard alphabet, padded */
void base64url_encode(struct wr *w, struct slice in); /* URL alphabet, unpadded */
int base64_decode(struct slice in, uint8_t *out, size_t cap, size_t *len);
int base64url_decode(struct slice in, uint8_t *out, size_t cap, size_t *len);
void hex_encode(struct wr *w, struct slice in); /* lower case */
/* The n bytes that 2 n hex digits of either case stand for. Returns 0 or -EBADMSG. */
int hex_decode(struct slice in, uint8_t *out, size_t n);

/* --- Signature keys (JWS, RFC 7518 and 8037). A key is bound to one algorithm for life. */
enum crypto_alg {
    CRYPTO_ALG_NONE,
    CRYPTO_HS256,
    CRYPTO_HS384,
    CRYPTO_HS512,
    CRYPTO_RS256,
    CRYPTO_RS384,
    CRYPTO_RS512,
    CRYPTO_PS256,
    CRYPTO_PS384,
    CRYPTO_PS512,
    CRYPTO_ES256,
    CRYPTO_ES384,
    CRYPTO_ES512,
    CRYPTO_EDDSA, /* Ed25519 */
};

struct crypto_key;

/* HS*: secret is copied. NULL for a wrong alg, an empty secret or no memory. */
struct crypto_key *crypto_key_hmac(enum crypto_alg alg, struct slice secret);
/* RS*, PS*, ES*, EdDSA from a PEM public key (SubjectPublicKeyInfo or certificate). NULL when the
 * PEM does not hold a key of alg's type and curve, or RSA is under 2048 bits. */
struct crypto_key *crypto_key_pem(enum crypto_alg alg, struct slice pem);
/* RS*, PS* from big-endian modulus and exponent (JWK n, e). */
struct crypto_key *crypto_key_rsa(enum crypto_alg alg, struct slice n, struct slice e);
/* ES* from affine coordinates (JWK x, y; exactly the curve's size each); checks the point. */
struct crypto_key *crypto_key_ec(enum crypto_alg alg, struct slice x, struct slice y);
/* EdDSA, Ed25519, from the 32-byte public key (JWK x). */
struct crypto_key *crypto_key_ed25519(struct slice x);
void crypto_key_free(struct crypto_key *k); /* NULL is allowed */
enum crypto_alg crypto_key_alg(const struct crypto_key *k);

/* True when sig is the signature of msg in JWS form (ECDSA: r||s of exactly the curve's size). */
bool crypto_key_verify(const struct crypto_key *k, struct slice msg, struct slice sig);

/* --- Signing, ES256 only (RFC 7518 §3.4). */
struct crypto_signer;

#define CRYPTO_ES256_BYTES 64

/* A P-256 private key from PEM: PKCS#8 ("PRIVATE KEY", Apple's .p8) or SEC1 ("EC PRIVATE KEY").
 * NULL with *why, a static text for people, when it is neither, has a pass phrase, is of another
 * kind or curve, or memory is out. The pem stays the caller's to wipe. */
struct crypto_signer *crypto_signer_pem(struct slice pem, const char **why);
void crypto_signer_free(struct crypto_signer *s); /* NULL is allowed */
/* Signs msg: r||s as JWS has it. Returns 0 or -EIO. About 40 us. One thread at a time. */
int crypto_signer_sign(struct crypto_signer *s, struct slice msg, uint8_t sig[CRYPTO_ES256_BYTES]);
/* The signer's public half, to verify with; NULL when memory is out. */
struct crypto_key *crypto_signer_public(const struct crypto_signer *s);

/* "HS256" ... "EdDSA" to the enum; CRYPTO_ALG_NONE for anything else, "none" and case variants. */
enum crypto_alg crypto_alg_parse(struct slice name);

#endif

/* The ciphers of SRTP packets over OpenSSL's EVP, and SHA-1 for the HMAC.
 *
 * Called by sfu/srtp_sess.c. Owned by the thread of the transport. EVP_CIPHER_CTX keeps the key
 * schedule; EVP_CipherInit_ex2() with nothing but an IV is its cheapest way to begin a packet.
 *
 * HMAC is made of SHA_CTX values, OpenSSL's older interface: the states after the two padded keys
 * are 96 bytes each that are copied on the stack. EVP's ways to keep them (EVP_MD_CTX_copy_ex,
 * EVP_MAC_init without a key) allocate for each packet and cost as much again as the digest.
 * SPDX-License-Identifier: BSD-3-Clause */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/packet_cipher.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>

#include "base/crypto.h"
#include "base/mem.h"

#define HMAC_BLOCK_BYTES 64
#define HMAC_IPAD        0x36 /* RFC 2104 §2 */
#define HMAC_OPAD        0x5c

static const struct {
    const char *name;
    size_t key_bytes, tag_bytes;
} info[] = {
    [PACKET_CIPHER_AES128_GCM] = {"AES-128-GCM", 16, 16},
    [PACKET_CIPHER_AES256_GCM] = {"AES-256-GCM", 32, 16},
    [PACKET_CIPHER_AES128_CM_SHA1_80] = {"AES-128-CTR", 16, 10},
};

struct packet_cipher {
    EVP_CIPHER_CTX *ctx;
    bool gcm;
    SHA_CTX inner, outer; /* after the padded keys */
};

/* Fetched once per process: a fetch takes a lock and 2 us. */
static EVP_CIPHER *fetched[ARRAY_LEN(info)];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_all(void)
{
    ERR_set_mark();
    for (size_t i = 0; i < ARRAY_LEN(info); i++)
        fetched[i] = EVP_CIPHER_fetch(NULL, info[i].name, NULL);
    ERR_pop_to_mark();
}

size_t packet_cipher_key_bytes(enum packet_cipher_kind kind)
{
    return info[kind].key_bytes;
}

size_t packet_cipher_tag_bytes(enum packet_cipher_kind kind)
{
    return info[kind].tag_bytes;
}

static void hmac_key(struct packet_cipher *c, struct slice key)
{
    uint8_t pad[HMAC_BLOCK_BYTES] = {0};

    memcpy(pad, key.p, key.len);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= HMAC_IPAD;
    SHA1_Init(&c->inner);
    SHA1_Update(&c->inner, pad, sizeof(pad));
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= HMAC_IPAD ^ HMAC_OPAD;
    SHA1_Init(&c->outer);
    SHA1_Update(&c->outer, pad, sizeof(pad));
    crypto_wipe(pad, sizeof(pad));
}

struct packet_cipher *packet_cipher_new(enum packet_cipher_kind kind, struct slice key,
                                        struct slice auth, bool seal)
{
    const uint8_t iv[PACKET_CIPHER_IV_BYTES] = {0};
    bool gcm = kind != PACKET_CIPHER_AES128_CM_SHA1_80;

    pthread_once(&once, fetch_all);
    if (!fetched[kind] || key.len != info[kind].key_bytes ||
        (!gcm && auth.len != PACKET_CIPHER_AUTH_BYTES))
        return NULL;
    struct packet_cipher *c = mem_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->gcm = gcm;
    ERR_set_mark();
    c->ctx = EVP_CIPHER_CTX_new();
    /* Counter mode is the same both ways. */
    bool ok = c->ctx && EVP_CipherInit_ex2(c->ctx, fetched[kind], key.p, iv, seal, NULL) == 1;
    ERR_pop_to_mark();
    if (!ok) {
        packet_cipher_free(c);
        return NULL;
    }
    if (!gcm)
        hmac_key(c, auth);
    return c;
}

void packet_cipher_free(struct packet_cipher *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->ctx); /* wipes its state */
    crypto_wipe(c, sizeof(*c));
    mem_free(c);
}

/* Runs in through the cipher; out NULL: it is authenticated only. */
static bool run(EVP_CIPHER_CTX *ctx, uint8_t *out, struct slice in)
{
    int n;

    return in.len == 0 ||
           (in.len <= INT_MAX && EVP_CipherUpdate(ctx, out, &n, in.p, (int)in.len) == 1);
}

static void mac(const struct packet_cipher *c, struct slice head, struct slice text,
                struct slice trail, uint8_t sum[SHA_DIGEST_LENGTH])
{
    SHA_CTX h = c->inner;

    if (head.p + head.len == text.p) {
        SHA1_Update(&h, head.p, head.len + text.len);
    } else {
        SHA1_Update(&h, head.p, head.len);
        SHA1_Update(&h, text.p, text.len);
    }
    SHA1_Update(&h, trail.p, trail.len);
    SHA1_Final(sum, &h);
    h = c->outer;
    SHA1_Update(&h, sum, SHA_DIGEST_LENGTH);
    SHA1_Final(sum, &h);
}

bool packet_cipher_seal(struct packet_cipher *c, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                        struct slice head, struct slice trail, struct slice a, struct slice b,
                        uint8_t *out, uint8_t *tag)
{
    EVP_CIPHER_CTX *ctx = c->ctx;
    uint8_t rest[EVP_MAX_BLOCK_LENGTH], sum[SHA_DIGEST_LENGTH];
    int n;

    if (EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL) != 1)
        return false;
    if (c->gcm)
        return run(ctx, NULL, head) && run(ctx, NULL, trail) && run(ctx, out, a) &&
               run(ctx, out + a.len, b) && EVP_CipherFinal_ex(ctx, rest, &n) == 1 &&
               EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, PACKET_CIPHER_TAG_MAX, tag) == 1;
    if (!run(ctx, out, a) || !run(ctx, out + a.len, b))
        return false;
    mac(c, head, slice_of(out, a.len + b.len), trail, sum);
    memcpy(tag, sum, info[PACKET_CIPHER_AES128_CM_SHA1_80].tag_bytes);
    return true;
}

bool packet_cipher_open(struct packet_cipher *c, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                        struct slice head, struct slice trail, struct slice text,
                        const uint8_t *tag, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = c->ctx;
    uint8_t rest[EVP_MAX_BLOCK_LENGTH], sum[SHA_DIGEST_LENGTH];
    int n;

    if (c->gcm) {
        memcpy(sum, tag, PACKET_CIPHER_TAG_MAX); /* OpenSSL wants it writable */
        return EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL) == 1 &&
               EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, PACKET_CIPHER_TAG_MAX, sum) == 1 &&
               run(ctx, NULL, head) && run(ctx, NULL, trail) && run(ctx, out, text) &&
               EVP_CipherFinal_ex(ctx, rest, &n) == 1;
    }
    mac(c, head, text, trail, sum);
    return CRYPTO_memcmp(sum, tag, info[PACKET_CIPHER_AES128_CM_SHA1_80].tag_bytes) == 0 &&
           EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL) == 1 && run(ctx, out, text);
}

bool packet_cipher_keystream(struct slice key, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                             uint8_t *out, size_t len)
{
    int n;

    if (len > PACKET_CIPHER_KEYSTREAM_MAX || (key.len != 16 && key.len != 32))
        return false;
    memset(out, 0, len);
    ERR_set_mark();
    EVP_CIPHER *cipher =
        EVP_CIPHER_fetch(NULL, key.len == 16 ? "AES-128-CTR" : "AES-256-CTR", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = cipher && ctx && EVP_CipherInit_ex2(ctx, cipher, key.p, iv, 1, NULL) == 1 &&
              EVP_CipherUpdate(ctx, out, &n, out, (int)len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    ERR_pop_to_mark();
    return ok;
}

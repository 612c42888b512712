/* The ciphers of SRTP packets: OpenSSL's AES by the functions of its provider, and SHA-1 for HMAC.
 *
 * Called by sfu/srtp_sess.c. Owned by the thread of the transport.
 *
 * EVP_EncryptInit_ex(), _Update(), _Final() and _CTX_ctrl() cost 70 ns a packet over what they
 * call, a quarter of the whole for 160 bytes: so the provider's functions (provider-cipher(7)) are
 * looked up once and called directly. EVP still chooses the implementation. It also gives us the
 * address of the state, so that packet_cipher_prefetch() can have it in the cache when its turn
 * comes: with thousands of sessions in turn, each is cold.
 *
 * HMAC is made of SHA_CTX values, OpenSSL's older interface: the states after the two padded keys
 * are 96 bytes each that are copied on the stack. EVP's ways to keep them (EVP_MD_CTX_copy_ex,
 * EVP_MAC_init without a key) allocate for each packet and cost as much again as the digest.
 * SPDX-License-Identifier: BSD-3-Clause */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/packet_cipher.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/sha.h>
#include <pthread.h>

#include "base/crypto.h"
#include "base/mem.h"

#define HMAC_BLOCK_BYTES 64
#define HMAC_IPAD        0x36 /* RFC 2104 §2 */
#define HMAC_OPAD        0x5c
#define CACHE_LINE       64
#define STATE_LINES      14 /* of OpenSSL 3.0's AES-GCM state that a packet touches */
#define CM_TAG_BYTES     10

static const struct {
    const char *name;
    size_t key_bytes, tag_bytes, iv_bytes;
} info[] = {
    [PACKET_CIPHER_AES128_GCM] = {"AES-128-GCM", 16, 16, PACKET_CIPHER_GCM_IV_BYTES},
    [PACKET_CIPHER_AES256_GCM] = {"AES-256-GCM", 32, 16, PACKET_CIPHER_GCM_IV_BYTES},
    [PACKET_CIPHER_AES128_CM_SHA1_80] = {"AES-128-CTR", 16, CM_TAG_BYTES, PACKET_CIPHER_IV_BYTES},
};

/* What a provider has for one cipher. */
struct alg {
    EVP_CIPHER *evp; /* keeps the provider */
    void *provider;
    OSSL_FUNC_cipher_newctx_fn *newctx;
    OSSL_FUNC_cipher_freectx_fn *freectx;
    OSSL_FUNC_cipher_encrypt_init_fn *seal_init;
    OSSL_FUNC_cipher_decrypt_init_fn *open_init;
    OSSL_FUNC_cipher_update_fn *update;
    OSSL_FUNC_cipher_final_fn *final;
    OSSL_FUNC_cipher_get_ctx_params_fn *get;
    OSSL_FUNC_cipher_set_ctx_params_fn *set;
};

struct packet_cipher {
    const struct alg *alg;
    void *state;
    bool gcm;
    uint8_t iv_bytes;
    OSSL_FUNC_cipher_encrypt_init_fn *init;
    SHA_CTX inner, outer; /* after the padded keys */
};

static struct alg algs[ARRAY_LEN(info)];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* True when name is one of names, which are separated by colons. */
static bool is_named(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (; names; names = strchr(names, ':')) {
        names += *names == ':';
        if (strncmp(names, name, n) == 0 && (names[n] == ':' || names[n] == '\0'))
            return true;
    }
    return false;
}

static void alg_fill(struct alg *a, const OSSL_DISPATCH *d)
{
    for (; d->function_id != 0; d++) {
        switch (d->function_id) {
        case OSSL_FUNC_CIPHER_NEWCTX:
            a->newctx = OSSL_FUNC_cipher_newctx(d);
            break;
        case OSSL_FUNC_CIPHER_FREECTX:
            a->freectx = OSSL_FUNC_cipher_freectx(d);
            break;
        case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            a->seal_init = OSSL_FUNC_cipher_encrypt_init(d);
            break;
        case OSSL_FUNC_CIPHER_DECRYPT_INIT:
            a->open_init = OSSL_FUNC_cipher_decrypt_init(d);
            break;
        case OSSL_FUNC_CIPHER_UPDATE:
            a->update = OSSL_FUNC_cipher_update(d);
            break;
        case OSSL_FUNC_CIPHER_FINAL:
            a->final = OSSL_FUNC_cipher_final(d);
            break;
        case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
            a->get = OSSL_FUNC_cipher_get_ctx_params(d);
            break;
        case OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
            a->set = OSSL_FUNC_cipher_set_ctx_params(d);
            break;
        }
    }
}

/* Looks one cipher up where EVP would take it from. Left without newctx when there is none. */
static void alg_find(struct alg *a, const char *name)
{
    a->evp = EVP_CIPHER_fetch(NULL, name, NULL);
    const OSSL_PROVIDER *p = a->evp ? EVP_CIPHER_get0_provider(a->evp) : NULL;
    if (!p)
        return;
    int no_cache = 0;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(p, OSSL_OP_CIPHER, &no_cache);
    for (const OSSL_ALGORITHM *x = all; x && x->algorithm_names; x++) {
        if (is_named(x->algorithm_names, name)) {
            alg_fill(a, x->implementation);
            break;
        }
    }
    OSSL_PROVIDER_unquery_operation(p, OSSL_OP_CIPHER, all);
    a->provider = OSSL_PROVIDER_get0_provider_ctx(p);
    if (!a->freectx || !a->seal_init || !a->open_init || !a->update || !a->final || !a->get ||
        !a->set)
        a->newctx = NULL;
}

static void find_all(void)
{
    ERR_set_mark();
    for (size_t i = 0; i < ARRAY_LEN(info); i++)
        alg_find(&algs[i], info[i].name);
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
    const struct alg *a = &algs[kind];
    bool gcm = kind != PACKET_CIPHER_AES128_CM_SHA1_80;

    pthread_once(&once, find_all);
    if (!a->newctx || key.len != info[kind].key_bytes ||
        (!gcm && auth.len != PACKET_CIPHER_AUTH_BYTES))
        return NULL;
    struct packet_cipher *c = mem_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    *c = (struct packet_cipher){.alg = a, .gcm = gcm, .iv_bytes = (uint8_t)info[kind].iv_bytes};
    c->init = seal || !gcm ? a->seal_init : a->open_init; /* counter mode is the same both ways */
    ERR_set_mark();
    c->state = a->newctx(a->provider);
    bool ok = c->state && c->init(c->state, key.p, key.len, iv, c->iv_bytes, NULL) == 1;
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
    if (c->state)
        c->alg->freectx(c->state); /* wipes */
    crypto_wipe(c, sizeof(*c));
    mem_free(c);
}

void packet_cipher_prefetch(const struct packet_cipher *c, unsigned step)
{
    if (step == 0) {
        __builtin_prefetch(c);
        return;
    }
    bytes_prefetch(c->state, STATE_LINES * CACHE_LINE);
    if (!c->gcm)
        bytes_prefetch(c, sizeof(*c));
}

/* Begins a packet. */
static bool begin(const struct packet_cipher *c, const uint8_t *iv)
{
    return c->init(c->state, NULL, 0, iv, c->iv_bytes, NULL) == 1;
}

/* Runs in through the cipher; out NULL: it is authenticated only. */
static bool run(const struct packet_cipher *c, uint8_t *out, struct slice in)
{
    size_t n;

    return in.len == 0 || c->alg->update(c->state, out, &n, in.len, in.p, in.len) == 1;
}

/* The end of a packet: with GCM, gives the tag or checks it. */
static bool end(const struct packet_cipher *c)
{
    uint8_t rest[EVP_MAX_BLOCK_LENGTH];
    size_t n;

    return c->alg->final(c->state, rest, &n, sizeof(rest)) == 1;
}

static bool tag_get(const struct packet_cipher *c, uint8_t *tag)
{
    OSSL_PARAM p[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, PACKET_CIPHER_TAG_MAX),
        OSSL_PARAM_END,
    };
    return c->alg->get(c->state, p) == 1;
}

static bool tag_set(const struct packet_cipher *c, const uint8_t *tag)
{
    uint8_t copy[PACKET_CIPHER_TAG_MAX]; /* OpenSSL wants it writable */
    OSSL_PARAM p[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, copy, PACKET_CIPHER_TAG_MAX),
        OSSL_PARAM_END,
    };
    memcpy(copy, tag, sizeof(copy));
    return c->alg->set(c->state, p) == 1;
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
    uint8_t sum[SHA_DIGEST_LENGTH];

    if (!begin(c, iv))
        return false;
    if (c->gcm)
        return run(c, NULL, head) && run(c, NULL, trail) && run(c, out, a) &&
               run(c, out + a.len, b) && end(c) && tag_get(c, tag);
    if (!run(c, out, a) || !run(c, out + a.len, b))
        return false;
    mac(c, head, slice_of(out, a.len + b.len), trail, sum);
    memcpy(tag, sum, CM_TAG_BYTES);
    return true;
}

bool packet_cipher_open(struct packet_cipher *c, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                        struct slice head, struct slice trail, struct slice text,
                        const uint8_t *tag, uint8_t *out)
{
    uint8_t sum[SHA_DIGEST_LENGTH];

    if (c->gcm)
        return begin(c, iv) && tag_set(c, tag) && run(c, NULL, head) && run(c, NULL, trail) &&
               run(c, out, text) && end(c);
    mac(c, head, text, trail, sum);
    return CRYPTO_memcmp(sum, tag, CM_TAG_BYTES) == 0 && begin(c, iv) && run(c, out, text);
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

/* SRTP for the SFU's load generator, by OpenSSL alone (RFC 3711, RFC 7714).
 *
 * Written apart from sfu/srtp_sess on purpose: what the generator can read, somebody else has
 * checked. No replay windows, one rollover counter an SSRC. SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SORI_BENCH_SFU_SRTP_H
#define SORI_BENCH_SFU_SRTP_H

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/bytes.h"

#define SRTP_CM80   1 /* RFC 5764 §4.1.2 */
#define SRTP_GCM128 7 /* RFC 7714 §14.2 */
#define SRTP_GCM256 8
#define GCM_TAG     16u
#define CM_TAG      10u

/* One direction: keys for RTP [0] and RTCP [1]. */
struct bench_srtp {
    unsigned profile;
    bool gcm, seal;
    EVP_CIPHER_CTX *cipher[2];
    EVP_MAC_CTX *hmac[2];
    uint8_t salt[2][14];
    uint32_t rtcp_index;
};

static inline unsigned srtp_key_bytes(unsigned profile)
{
    return profile == SRTP_GCM256 ? 32 : 16;
}

static inline unsigned srtp_salt_bytes(unsigned profile)
{
    return profile == SRTP_CM80 ? 14 : 12;
}

/* RFC 3711 §4.3.1: n bytes of key stream for this label. */
static inline void srtp_derive(unsigned profile, const uint8_t *key, const uint8_t *salt,
                               uint8_t label, uint8_t *out, int n)
{
    static const uint8_t zero[64];
    uint8_t iv[16] = {0};
    int done;

    memcpy(iv, salt, srtp_salt_bytes(profile));
    iv[7] ^= label;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(c, profile == SRTP_GCM256 ? EVP_aes_256_ctr() : EVP_aes_128_ctr(), NULL, key,
                       iv);
    EVP_EncryptUpdate(c, out, &done, zero, n);
    EVP_CIPHER_CTX_free(c);
}

static inline void bench_srtp_init(struct bench_srtp *s, unsigned profile, const uint8_t *key,
                                   const uint8_t *salt, bool seal)
{
    uint8_t k[32], a[20];

    *s = (struct bench_srtp){.profile = profile, .gcm = profile != SRTP_CM80, .seal = seal};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t label = (uint8_t)(3 * i);
        srtp_derive(profile, key, salt, label, k, (int)srtp_key_bytes(profile));
        srtp_derive(profile, key, salt, label + 2, s->salt[i], (int)srtp_salt_bytes(profile));
        s->cipher[i] = EVP_CIPHER_CTX_new();
        const EVP_CIPHER *kind = profile == SRTP_CM80     ? EVP_aes_128_ctr()
                                 : profile == SRTP_GCM128 ? EVP_aes_128_gcm()
                                                          : EVP_aes_256_gcm();
        EVP_CipherInit_ex(s->cipher[i], kind, NULL, k, NULL, !s->gcm || seal);
        if (s->gcm)
            continue;
        srtp_derive(profile, key, salt, label + 1, a, sizeof(a));
        static EVP_MAC *hmac;
        OSSL_PARAM sha1[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA1"}, 0),
            OSSL_PARAM_construct_end()};
        if (!hmac)
            hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        s->hmac[i] = EVP_MAC_CTX_new(hmac);
        EVP_MAC_init(s->hmac[i], a, sizeof(a), sha1);
    }
}

static inline void bench_srtp_fini(struct bench_srtp *s)
{
    for (unsigned i = 0; i < 2; i++) {
        EVP_CIPHER_CTX_free(s->cipher[i]);
        EVP_MAC_CTX_free(s->hmac[i]);
    }
    *s = (struct bench_srtp){0};
}

static inline void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* RFC 7714 §8.1, §9.1 and RFC 3711 §4.1.1: the index is 48 bits (RTP) or 31 (RTCP). */
static inline void srtp_iv(const struct bench_srtp *s, unsigned rtcp, uint32_t ssrc, uint64_t index,
                           uint8_t iv[16])
{
    uint8_t *at = s->gcm ? iv + 2 : iv + 4;

    memset(iv, 0, 16);
    put32(at, ssrc);
    put32(at + 4, (uint32_t)(index >> 16));
    at[8] = (uint8_t)(index >> 8);
    at[9] = (uint8_t)index;
    for (unsigned i = 0; i < srtp_salt_bytes(s->profile); i++)
        iv[i] ^= s->salt[rtcp][i];
}

static inline void srtp_mac(const struct bench_srtp *s, unsigned rtcp, const uint8_t *p, size_t len,
                            uint32_t roc, uint8_t out[20])
{
    uint8_t word[4];
    size_t n;

    put32(word, roc);
    EVP_MAC_init(s->hmac[rtcp], NULL, 0, NULL);
    EVP_MAC_update(s->hmac[rtcp], p, len);
    if (!rtcp)
        EVP_MAC_update(s->hmac[rtcp], word, 4);
    EVP_MAC_final(s->hmac[rtcp], out, &n, 20);
}

/* Encrypts a packet in place (room for the tag behind it). Gives the new length. */
static inline size_t bench_srtp_seal(struct bench_srtp *s, uint8_t *p, size_t header, size_t len,
                                     uint64_t index)
{
    uint8_t iv[16], mac[20];
    int n;

    srtp_iv(s, 0, get32(p + 8), index, iv);
    EVP_EncryptInit_ex(s->cipher[0], NULL, NULL, NULL, iv);
    if (s->gcm) {
        EVP_EncryptUpdate(s->cipher[0], NULL, &n, p, (int)header);
        EVP_EncryptUpdate(s->cipher[0], p + header, &n, p + header, (int)(len - header));
        EVP_EncryptFinal_ex(s->cipher[0], p + len, &n);
        EVP_CIPHER_CTX_ctrl(s->cipher[0], EVP_CTRL_AEAD_GET_TAG, GCM_TAG, p + len);
        return len + GCM_TAG;
    }
    EVP_EncryptUpdate(s->cipher[0], p + header, &n, p + header, (int)(len - header));
    srtp_mac(s, 0, p, len, (uint32_t)(index >> 16), mac);
    memcpy(p + len, mac, CM_TAG);
    return len + CM_TAG;
}

/* Decrypts a packet in place. Gives its length without tag, 0 when it is forged. */
static inline size_t bench_srtp_open(struct bench_srtp *s, uint8_t *p, size_t header, size_t len,
                                     uint64_t index)
{
    uint8_t iv[16], mac[20];
    size_t tag = s->gcm ? GCM_TAG : CM_TAG;
    int n;

    if (len < header + tag)
        return 0;
    len -= tag;
    srtp_iv(s, 0, get32(p + 8), index, iv);
    if (s->gcm) {
        EVP_DecryptInit_ex(s->cipher[0], NULL, NULL, NULL, iv);
        EVP_DecryptUpdate(s->cipher[0], NULL, &n, p, (int)header);
        EVP_DecryptUpdate(s->cipher[0], p + header, &n, p + header, (int)(len - header));
        EVP_CIPHER_CTX_ctrl(s->cipher[0], EVP_CTRL_AEAD_SET_TAG, GCM_TAG, p + len);
        return EVP_DecryptFinal_ex(s->cipher[0], p + len, &n) == 1 ? len : 0;
    }
    srtp_mac(s, 0, p, len, (uint32_t)(index >> 16), mac);
    if (memcmp(mac, p + len, CM_TAG) != 0)
        return 0;
    EVP_EncryptInit_ex(s->cipher[0], NULL, NULL, NULL, iv);
    EVP_EncryptUpdate(s->cipher[0], p + header, &n, p + header, (int)(len - header));
    return len;
}

/* RTCP: 8 bytes stay clear; behind the ciphertext come (GCM) tag, index or (CM) index, tag. */
static inline size_t bench_srtcp_seal(struct bench_srtp *s, uint8_t *p, size_t len)
{
    uint8_t iv[16], word[4], mac[20];
    uint32_t index = ++s->rtcp_index;
    int n;

    put32(word, index | 0x80000000u);
    srtp_iv(s, 1, get32(p + 4), index, iv);
    EVP_EncryptInit_ex(s->cipher[1], NULL, NULL, NULL, iv);
    if (s->gcm) {
        EVP_EncryptUpdate(s->cipher[1], NULL, &n, p, 8);
        EVP_EncryptUpdate(s->cipher[1], NULL, &n, word, 4);
        EVP_EncryptUpdate(s->cipher[1], p + 8, &n, p + 8, (int)len - 8);
        EVP_EncryptFinal_ex(s->cipher[1], p + len, &n);
        EVP_CIPHER_CTX_ctrl(s->cipher[1], EVP_CTRL_AEAD_GET_TAG, GCM_TAG, p + len);
        memcpy(p + len + GCM_TAG, word, 4);
        return len + GCM_TAG + 4;
    }
    EVP_EncryptUpdate(s->cipher[1], p + 8, &n, p + 8, (int)len - 8);
    memcpy(p + len, word, 4);
    srtp_mac(s, 1, p, len + 4, 0, mac);
    memcpy(p + len + 4, mac, CM_TAG);
    return len + 4 + CM_TAG;
}

static inline size_t bench_srtcp_open(struct bench_srtp *s, uint8_t *p, size_t len)
{
    uint8_t iv[16], word[4], mac[20];
    int n;

    if (len < 8 + 4 + (s->gcm ? GCM_TAG : CM_TAG))
        return 0;
    len -= s->gcm ? 4 + GCM_TAG : 4 + CM_TAG;
    memcpy(word, s->gcm ? p + len + GCM_TAG : p + len, 4);
    srtp_iv(s, 1, get32(p + 4), get32(word) & 0x7fffffffu, iv);
    if (s->gcm) {
        EVP_DecryptInit_ex(s->cipher[1], NULL, NULL, NULL, iv);
        EVP_DecryptUpdate(s->cipher[1], NULL, &n, p, 8);
        EVP_DecryptUpdate(s->cipher[1], NULL, &n, word, 4);
        EVP_DecryptUpdate(s->cipher[1], p + 8, &n, p + 8, (int)len - 8);
        EVP_CIPHER_CTX_ctrl(s->cipher[1], EVP_CTRL_AEAD_SET_TAG, GCM_TAG, p + len);
        return EVP_DecryptFinal_ex(s->cipher[1], p + len, &n) == 1 ? len : 0;
    }
    srtp_mac(s, 1, p, len + 4, 0, mac);
    if (memcmp(mac, p + len + 4, CM_TAG) != 0)
        return 0;
    EVP_EncryptInit_ex(s->cipher[1], NULL, NULL, NULL, iv);
    EVP_EncryptUpdate(s->cipher[1], p + 8, &n, p + 8, (int)len - 8);
    return len;
}

#endif

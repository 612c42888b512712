/* The self-contained access token of third-party authorization (RFC 7635 §6.2):
 *
 *     nonce_length (2) nonce | key_length (2) mac_key timestamp (8) lifetime (4) | tag (16)
 *                              `----------------- encrypted -----------------'
 *
 * The server's name is the additional authenticated data. timestamp: seconds in 48 bits, 1/64000ths
 * in 16. Called by stun_auth.c with bytes of strangers. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/access_token.h"

#include <errno.h>

#define SECONDS_MAX                                                              \
    (UINT64_C(1) << 40) /* of a timestamp: in microseconds it still fits 64 bits \
                         */
#define US        UINT64_C(1000000)
#define FRACTIONS 64000

/* Reads what was under encryption. Everything is checked against its bounds before it is copied:
 * who has the key may still be wrong. */
static int decode_block(struct access_token *out, struct slice block)
{
    struct rd r = rd_init(block);
    uint16_t key_len = rd_be16(&r);
    struct slice mac_key = rd_take(&r, key_len);
    uint64_t timestamp = rd_be64(&r);
    uint32_t lifetime_s = rd_be32(&r);

    if (r.bad || r.left != 0 || key_len < ACCESS_TOKEN_MAC_KEY_MIN ||
        key_len > ACCESS_TOKEN_MAC_KEY_MAX || timestamp >> 16 > SECONDS_MAX)
        return -EBADMSG;
    *out = (struct access_token){.mac_key_len = (uint8_t)key_len};
    memcpy(out->mac_key, mac_key.p, mac_key.len);
    out->made_us = (timestamp >> 16) * US + (timestamp & 0xffff) * US / FRACTIONS;
    out->until_us = out->made_us + lifetime_s * US;
    return 0;
}

int access_token_open(struct access_token *out, struct slice token, enum crypto_aead cipher,
                      struct slice key, struct slice server)
{
    uint8_t block[ACCESS_TOKEN_MAX];
    struct rd r = rd_init(token);
    uint16_t nonce_len = rd_be16(&r);
    struct slice nonce = rd_take(&r, nonce_len), sealed = rd_rest(&r);

    if (r.bad || token.len > ACCESS_TOKEN_MAX || nonce_len != CRYPTO_AEAD_NONCE_BYTES ||
        sealed.len < CRYPTO_AEAD_TAG_BYTES)
        return -EBADMSG;
    if (crypto_aead_open(cipher, key, nonce, server, sealed, block) != 0)
        return -EACCES;
    int err = decode_block(out, slice_of(block, sealed.len - CRYPTO_AEAD_TAG_BYTES));
    crypto_wipe(block, sizeof(block));
    return err;
}

bool access_token_is_live(const struct access_token *t, uint64_t wall_us)
{
    return t->made_us <= wall_us + ACCESS_TOKEN_SKEW_US &&
           wall_us < t->until_us + ACCESS_TOKEN_SKEW_US;
}

uint32_t access_token_left_s(const struct access_token *t, uint64_t wall_us)
{
    uint64_t left_s = t->until_us > wall_us ? (t->until_us - wall_us) / US : 0;

    return left_s == 0 ? 1 : left_s > UINT32_MAX ? UINT32_MAX : (uint32_t)left_s;
}

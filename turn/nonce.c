/* Stateless nonces: "obMatJos2" || base64(features (3 bytes)) || base64url(seconds (4 bytes) ||
 * port (2 bytes) || first 8 bytes of HMAC-SHA256(epoch key, features || seconds || port ||
 * 5-tuple)). The 5-tuple is taken without the client's port over TCP and TLS: a client opens its
 * data connections (RFC 6062) with the nonce of the control connection. The port beside it is that
 * of the client who was given the nonce, so that no other has the same (RFC 8489 §9.2.4).
 *
 * Called by stun_auth.c. Pure. The seconds are of the monotonic clock: a nonce is worth nothing to
 * another process or after a restart, and is then answered with 438 and a new one.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/nonce.h"

#include <errno.h>

#include "base/clock.h"
#include "base/crypto.h"

#define COOKIE        SLICE_LIT("obMatJos2") /* RFC 8489 §9.2 */
#define FEATURE_BYTES 3
#define STAMP_BYTES   4
#define MAC_BYTES     8
#define PORT_BYTES    2
#define RAW_BYTES     (STAMP_BYTES + PORT_BYTES + MAC_BYTES) /* 14 bytes: 19 characters of base64 */

int nonce_init(struct nonce_keys *k, const uint8_t master[NONCE_MASTER_BYTES], uint32_t lifetime_s)
{
    k->_lifetime_s = lifetime_s;
    return epoch_keys_init(&k->_keys, master);
}

void nonce_fini(struct nonce_keys *k)
{
    epoch_keys_fini(&k->_keys);
    *k = (struct nonce_keys){0};
}

static int encode(struct hmac *key, unsigned features, uint32_t stamp_s, uint16_t port,
                  const struct five_tuple *client, uint8_t out[NONCE_BYTES])
{
    uint8_t head[1 + FEATURE_BYTES], raw[RAW_BYTES], mac[CRYPTO_SHA256_BYTES];
    struct wr h = wr_init(head, sizeof(head)), w = wr_init(raw, sizeof(raw));
    struct wr text = wr_init(out, NONCE_BYTES);

    wr_be32(&h, features);
    struct slice bits = slice_sub(wr_done(&h), 1, FEATURE_BYTES);
    wr_be32(&w, stamp_s);
    wr_be16(&w, port);
    struct five_tuple who = *client;
    if (five_tuple_is_stream(client))
        who.client.port = 0;
    const struct slice parts[] = {bits, wr_done(&w), five_tuple_bytes(&who)};
    if (!key)
        return -ENOMEM;
    if (hmac_sum(key, parts, ARRAY_LEN(parts), mac) != 0)
        return -EIO;
    wr_bytes(&w, slice_of(mac, MAC_BYTES));
    wr_bytes(&text, COOKIE);
    base64_encode(&text, bits);
    base64url_encode(&text, wr_done(&w));
    return text.bad ? -EIO : 0;
}

int nonce_make(struct nonce_keys *k, unsigned features, const struct five_tuple *client,
               uint64_t now_us, uint8_t out[NONCE_BYTES])
{
    uint64_t now_s = now_us / US_PER_S;

    uint64_t epoch = now_s / k->_lifetime_s;
    return encode(epoch_keys_at(&k->_keys, epoch, epoch), features, (uint32_t)now_s,
                  client->client.port, client, out);
}

unsigned nonce_features(struct slice nonce)
{
    uint8_t bits[FEATURE_BYTES];
    struct slice text = slice_sub(nonce, COOKIE.len, NONCE_COOKIE_BYTES - COOKIE.len);
    size_t len = 0;

    if (!slice_starts(nonce, COOKIE) || base64_decode(text, bits, sizeof(bits), &len) != 0 ||
        len != sizeof(bits))
        return 0;
    return (unsigned)bits[0] << 16 | (unsigned)bits[1] << 8 | bits[2];
}

bool nonce_is_valid(struct nonce_keys *k, struct slice nonce, const struct five_tuple *client,
                    uint64_t now_us)
{
    uint64_t now_s = now_us / US_PER_S;
    uint8_t raw[RAW_BYTES], want[NONCE_BYTES];
    struct slice stamp = slice_sub(nonce, NONCE_COOKIE_BYTES, SIZE_MAX);
    size_t len = 0;

    if (base64url_decode(stamp, raw, sizeof(raw), &len) != 0 || len != sizeof(raw))
        return false;
    struct rd r = rd_init(slice_of(raw, len));
    uint32_t stamp_s = rd_be32(&r);
    uint16_t port = rd_be16(&r);
    uint64_t epoch = now_s / k->_lifetime_s;
    if (stamp_s > now_s || now_s - stamp_s >= k->_lifetime_s)
        return false;

    return encode(epoch_keys_at(&k->_keys, epoch, stamp_s / k->_lifetime_s), nonce_features(nonce),
                  stamp_s, port, client, want) == 0 &&
           crypto_equal(slice_of(want, sizeof(want)), nonce);
}

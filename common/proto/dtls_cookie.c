/* Cookies that show that a DTLS client receives at the address it sends from.
 *
 * Called by turn_dtls_listener.c. Pure. RFC 6347 §4.2.1 wants the client's parameters in the
 * cookie, so that one that was taken cannot open another handshake: the random stands for them.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/dtls_cookie.h"

#include "base/crypto.h"

#include <errno.h>

int dtls_cookie_init(struct dtls_cookie_keys *k, const uint8_t master[EPOCH_KEYS_MASTER_BYTES])
{
    return epoch_keys_init(&k->_keys, master);
}

void dtls_cookie_fini(struct dtls_cookie_keys *k)
{
    epoch_keys_fini(&k->_keys);
}

static int sum(struct hmac *key, struct slice client, struct slice random,
               uint8_t out[DTLS_COOKIE_BYTES])
{
    uint8_t mac[CRYPTO_SHA256_BYTES];
    const struct slice parts[] = {SLICE_LIT("dtls cookie"), client, random};

    if (!key)
        return -ENOMEM;
    if (hmac_sum(key, parts, ARRAY_LEN(parts), mac) != 0)
        return -EIO;
    memcpy(out, mac, DTLS_COOKIE_BYTES);
    return 0;
}

int dtls_cookie_make(struct dtls_cookie_keys *k, struct slice client, struct slice random,
                     uint64_t now_us, uint8_t out[DTLS_COOKIE_BYTES])
{
    uint64_t now = now_us / DTLS_COOKIE_PERIOD_US;

    return sum(epoch_keys_at(&k->_keys, now, now), client, random, out);
}

bool dtls_cookie_is_valid(struct dtls_cookie_keys *k, struct slice cookie, struct slice client,
                          struct slice random, uint64_t now_us)
{
    uint64_t now = now_us / DTLS_COOKIE_PERIOD_US;
    uint8_t want[DTLS_COOKIE_BYTES];

    if (cookie.len != DTLS_COOKIE_BYTES)
        return false;
    for (uint64_t back = 0; back < 2 && back <= now; back++) {
        if (sum(epoch_keys_at(&k->_keys, now, now - back), client, random, want) == 0 &&
            crypto_equal(cookie, slice_of(want, sizeof want)))
            return true;
    }
    return false;
}

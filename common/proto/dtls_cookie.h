/* Cookies that show that a DTLS client receives at the address it sends from (RFC 6347 §4.2.1):
 * the first half of HMAC-SHA256(key of the period, client, random of its ClientHello). Nothing is
 * remembered of who got one. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_DTLS_COOKIE_H
#define SORI_PROTO_DTLS_COOKIE_H

#include "base/clock.h"
#include "base/epoch_keys.h"

#define DTLS_COOKIE_BYTES     16
#define DTLS_COOKIE_PERIOD_US (30 * US_PER_S) /* a cookie is good for one to two of these */

struct dtls_cookie_keys {
    struct epoch_keys _keys;
};

/* Returns 0 or -ENOMEM. fini wipes; a zeroed struct is allowed. */
int dtls_cookie_init(struct dtls_cookie_keys *k, const uint8_t master[EPOCH_KEYS_MASTER_BYTES]);
void dtls_cookie_fini(struct dtls_cookie_keys *k);

/* Writes the cookie for a client (bytes that stand for its transport address) that sent random.
 * Returns 0, -ENOMEM or -EIO. */
int dtls_cookie_make(struct dtls_cookie_keys *k, struct slice client, struct slice random,
                     uint64_t now_us, uint8_t out[DTLS_COOKIE_BYTES]);

/* True when cookie was made for this client and random in this period or the one before. */
bool dtls_cookie_is_valid(struct dtls_cookie_keys *k, struct slice cookie, struct slice client,
                          struct slice random, uint64_t now_us);

#endif

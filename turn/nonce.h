/* Stateless nonces: the nonce cookie, a time stamp, the client's port and a MAC over all of it and
 * the 5-tuple, over TCP and TLS without its port (RFC 8489 §9.2). The cookie's feature bits say
 * what the server offered with this nonce; being under the MAC, they come back as they were sent or
 * not at all (bid-down protection).
 *
 * The MAC key changes with every epoch of one nonce lifetime and is derived from a master key, so
 * all workers agree without talking; the current and the previous epoch's keys are alive.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_NONCE_H
#define SORI_TURN_NONCE_H

#include "base/epoch_keys.h"
#include "turn/five_tuple.h"

#define NONCE_COOKIE_BYTES 13 /* "obMatJos2" and 4 characters of features */
#define NONCE_BYTES        32 /* characters on the wire: short, a 401 must not amplify */
#define NONCE_MASTER_BYTES EPOCH_KEYS_MASTER_BYTES

/* STUN Security Features (RFC 8489 §18.1; bit 0 is the rightmost one, erratum 6290). */
enum nonce_feature { NONCE_PASSWORD_ALGORITHMS = 1 << 0, NONCE_USERNAME_ANONYMITY = 1 << 1 };

struct nonce_keys {
    struct epoch_keys _keys;
    uint32_t _lifetime_s;
};

/* lifetime_s >= 1: how long a nonce is accepted. Returns 0 or -ENOMEM. */
int nonce_init(struct nonce_keys *k, const uint8_t master[NONCE_MASTER_BYTES], uint32_t lifetime_s);
void nonce_fini(struct nonce_keys *k); /* wipes; a zeroed struct is allowed */

/* Writes a nonce with these features (bits of enum nonce_feature) for this client. Returns 0,
 * -ENOMEM or -EIO. */
int nonce_make(struct nonce_keys *k, unsigned features, const struct five_tuple *client,
               uint64_t now_us, uint8_t out[NONCE_BYTES]);

/* The features that a nonce claims: of whatever was sent, valid or not. 0 without a cookie. */
unsigned nonce_features(struct slice nonce);

/* True when nonce was made for this client and is not over its lifetime. */
bool nonce_is_valid(struct nonce_keys *k, struct slice nonce, const struct five_tuple *client,
                    uint64_t now_us);

#endif

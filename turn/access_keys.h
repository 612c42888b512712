/* The keys that authorization servers seal access tokens with, by their kid (RFC 7635).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_ACCESS_KEYS_H
#define SORI_TURN_ACCESS_KEYS_H

#include "base/crypto.h"

#define ACCESS_KEYS_MAX    64
#define ACCESS_KEYS_KID    128 /* bytes of a kid */
#define ACCESS_KEYS_ERR    160
#define ACCESS_KEYS_ALWAYS UINT64_MAX

struct access_keys;

struct access_key {
    struct slice kid;
    enum crypto_aead cipher;
    uint8_t key[CRYPTO_AEAD_KEY_MAX];
    uint64_t from_s, until_s; /* Unix time; may be used from <= t < until */
};

/* Reads lines "kid:A256GCM:base64 key" or "kid:A128GCM:base64 key", followed or not by ":from" and
 * ":until" in Unix seconds; "#" comments and empty lines. NULL with err (ACCESS_KEYS_ERR bytes) =
 * what is wrong in which line, or that memory is out. Empty text gives an empty table. */
struct access_keys *access_keys_new(struct slice text, char *err);
void access_keys_free(struct access_keys *k); /* wipes; NULL is allowed */

/* How many there are. */
size_t access_keys_count(const struct access_keys *k);

/* The key of this kid that may be used at wall_us, or NULL; lent. */
const struct access_key *access_keys_find(const struct access_keys *k, struct slice kid,
                                          uint64_t wall_us);

#endif

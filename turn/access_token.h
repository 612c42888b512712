/* The self-contained access token of third-party authorization (RFC 7635 §6.2): an authorization
 * server that shares a key with us vouches for a session key, for a time.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_ACCESS_TOKEN_H
#define SORI_TURN_ACCESS_TOKEN_H

#include "base/crypto.h"

#define ACCESS_TOKEN_MAC_KEY_MIN 16 /* bytes; the RFC's own is 20 */
#define ACCESS_TOKEN_MAC_KEY_MAX 64
#define ACCESS_TOKEN_MAX         512               /* bytes of a whole token */
#define ACCESS_TOKEN_SKEW_US     UINT64_C(5000000) /* RFC 7635 §9: "allowed Delta is 5 seconds" */

/* What a token says. Holds a secret: wipe after use. */
struct access_token {
    uint8_t mac_key[ACCESS_TOKEN_MAC_KEY_MAX]; /* makes the integrity of the client's messages */
    uint8_t mac_key_len;
    uint64_t made_us, until_us; /* Unix time in microseconds */
};

/* Opens a token under the key that it was sealed with for this server.
 *
 * key: of cipher's length. server: our name, as the authorization server knows it.
 *
 * Returns 0; -EACCES when it was not made with this key for this name, or was changed; -EBADMSG
 * when it is not of the form, or holds a session key or a time out of bounds. *out is written on
 * success only. The caller answers 401 for both. */
int access_token_open(struct access_token *out, struct slice token, enum crypto_aead cipher,
                      struct slice key, struct slice server);

/* True while it may be used at wall_us: neither over nor of the future, give or take the skew. */
bool access_token_is_live(const struct access_token *t, uint64_t wall_us);

/* The seconds that it has left, at least 1: the longest lifetime to grant under it. */
uint32_t access_token_left_s(const struct access_token *t, uint64_t wall_us);

#endif

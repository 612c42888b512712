/* Long-term credentials: is this request from whom it says (RFC 8489 §9.2)?
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_STUN_AUTH_H
#define SORI_TURN_STUN_AUTH_H

#include "proto/stun_attr.h"
#include "turn/access_token.h"
#include "turn/credentials.h"
#include "turn/nonce.h"

#define STUN_IDENTITY_KEY_MAX ACCESS_TOKEN_MAC_KEY_MAX

/* A request that was verified. key makes the answer's integrity; wipe after use. */
struct stun_identity {
    struct slice username; /* borrows from the request, or (USERHASH) from the credentials */
    uint8_t key[STUN_IDENTITY_KEY_MAX];
    uint8_t key_len;
    bool by_token; /* proven by an access token or the session it began: token says until when */
    struct access_token token;
    bool sha256; /* the answer carries MESSAGE-INTEGRITY-SHA256, else MESSAGE-INTEGRITY */
};

/* Checks one request in the order of RFC 8489 §9.2.4: integrity present; USERNAME or USERHASH,
 * REALM and NONCE present; password algorithm as offered; user known and credential not expired at
 * wall_us; integrity right and not truncated; nonce fresh and for this client. Nothing is
 * remembered.
 *
 * An ACCESS-TOKEN (RFC 7635; only where the realm has keys for it) is opened by the key that
 * USERNAME names and gives the key of the integrity. session: the token that the client's
 * allocation is held by, or NULL; it counts for requests without one whose USERNAME is a kid.
 *
 * Returns 0 and fills *out; or STUN_ERR_BAD_REQUEST, STUN_ERR_UNAUTHENTICATED, STUN_ERR_STALE_NONCE
 * for an answer without integrity (the latter two with stun_auth_challenge()). */
int stun_auth_check(struct stun_identity *out, const struct stun_msg *m,
                    const struct credentials *c, struct nonce_keys *nonces,
                    const struct five_tuple *from, const struct access_token *session,
                    uint64_t now_us, uint64_t wall_us);

/* Adds REALM, a fresh NONCE and, if offer_sha256 and every user has such a key,
 * PASSWORD-ALGORITHMS to a 401 or 438; THIRD-PARTY-AUTHORIZATION too where tokens are taken.
 * Latches w->bad when no nonce can be made. */
void stun_auth_challenge(struct wr *w, const struct credentials *c, struct nonce_keys *nonces,
                         const struct five_tuple *to, bool offer_sha256, uint64_t now_us);

/* How many bytes that adds when it offers SHA-256. */
size_t stun_auth_challenge_bytes(const struct credentials *c);

/* Adds the integrity that id's request asks for. */
void stun_auth_sign(struct wr *w, const struct stun_identity *id);

#endif

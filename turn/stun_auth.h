/* Long-term credentials: is this request from whom it says (RFC 8489 §9.2)?
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_STUN_AUTH_H
#define SORI_TURN_STUN_AUTH_H

#include "proto/stun_attr.h"
#include "turn/access_token.h"
#include "turn/credentials.h"
#include "turn/key_cache.h"
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

/* What a request is checked against. */
struct stun_auth_env {
    const struct credentials *creds; /* of the realm that it is checked under */
    unsigned realm;                  /* its number */
    struct nonce_keys *nonces;
    const struct five_tuple *from;
    const struct access_token *session; /* that the client's allocation is held by, or NULL */
    const struct key_cache *cache;      /* of users whom somebody else knows; NULL: nobody does */
    uint64_t now_us, wall_us;
};

/* The user may be known elsewhere: ask, and check again. No error of STUN. */
#define STUN_AUTH_ASK 1
/* Nobody could be asked. */
#define STUN_AUTH_FAILED STUN_ERR_SERVER_ERROR

/* Checks one request in the order of RFC 8489 §9.2.4: integrity present; USERNAME or USERHASH,
 * REALM and NONCE present; password algorithm as offered; user known and credential not expired at
 * wall_us; integrity right and not truncated; nonce fresh and for this client. Nothing is
 * remembered.
 *
 * An ACCESS-TOKEN (RFC 7635; only where the realm has keys for it) is opened by the key that
 * USERNAME names and gives the key of the integrity. The session's token counts for requests
 * without one whose USERNAME is a kid.
 *
 * With a cache or more than two secrets the nonce is checked before the user, whoever that is: only
 * who has shown that he receives at his address makes us ask, or try them all, and nobody learns
 * from the order who is known here.
 *
 * Returns 0 and fills *out; or STUN_ERR_BAD_REQUEST, STUN_ERR_UNAUTHENTICATED, STUN_ERR_STALE_NONCE
 * for an answer without integrity (the latter two with stun_auth_challenge()); or STUN_AUTH_FAILED
 * (the same, without); or STUN_AUTH_ASK with out->username filled. */
int stun_auth_check(struct stun_identity *out, const struct stun_msg *m,
                    const struct stun_auth_env *env);

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

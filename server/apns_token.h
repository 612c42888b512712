/* The provider token of one key: a JWT (ES256) that stands in every request to APNs.
 *
 * Apple wants one token per key, made anew "no more than once every 20 minutes, no less than once
 * every 60". It is renewed after 40 minutes and up to 2 more, by the monotonic clock; a jump of the
 * wall clock that leaves its `iat` in the future or too old has it made anew at once.
 *
 * The tokens of a fleet: apns_token_adopt() takes what another server has made (later, from Redis).
 * Pure but for the signature; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_TOKEN_H
#define SORI_SERVER_APNS_TOKEN_H

#include "base/bytes.h"
#include "base/clock.h"

struct crypto_signer;

enum {
    APNS_TEAM_MAX = 32, /* characters of team id and key id; Apple's have 10 */
    APNS_BEARER_MAX = 512,
};
#define APNS_TOKEN_RENEW_US (40 * 60 * US_PER_S)
#define APNS_TOKEN_JITTER_US \
    (2 * 60 * US_PER_S) /* on top, so that a fleet does not renew at once */
#define APNS_TOKEN_OLD_US    (55 * 60 * US_PER_S) /* older than this it is not sent */
#define APNS_TOKEN_AHEAD_US  (60 * US_PER_S)      /* its iat may be so much in the future */
#define APNS_TOKEN_PACE_US   (20 * 60 * US_PER_S) /* Apple: not more often than this */
#define APNS_TOKEN_AGAIN_US  (5 * 60 * US_PER_S)  /* gone back to an older one: the next try */
#define APNS_TOKEN_FORCED_US (60 * US_PER_S)      /* and never, for whatever reason, than this */

struct apns_token;

/* NULL when memory is out, or team or kid is empty, over APNS_TEAM_MAX or not A-Z a-z 0-9. signer
 * is lent and outlives it. */
struct apns_token *apns_token_new(struct slice team, struct slice kid,
                                  struct crypto_signer *signer);
void apns_token_free(struct apns_token *t); /* wipes; NULL is allowed */

/* The value of the authorization header, made when there is none that can be used.
 *
 * bearer: borrowed until the next call of any function here. gen: which token it is, for the
 * functions below; counts from 1.
 *
 * Returns 0, or -EIO when it can't be signed: try again later. */
int apns_token_bearer(struct apns_token *t, struct slice *bearer, unsigned *gen, uint64_t now_us,
                      uint64_t wall_us);

/* Apple has accepted a push with token gen: from now on only its true age counts, whatever our wall
 * clock says. */
void apns_token_accepted(struct apns_token *t, unsigned gen);

/* Apple refuses token gen: as expired, or else as invalid. Gives true when the next bearer will be
 * another one: it was replaced meanwhile; the one before was accepted and is young enough to go
 * back to (then our clock has jumped between them); or, when expired, one can be made. False when
 * this one was made a moment ago: another would be refused, too, and the machine's clock or the key
 * is the likely reason. */
bool apns_token_refused(struct apns_token *t, unsigned gen, bool expired, uint64_t now_us,
                        uint64_t wall_us);

/* Apple says that tokens change too often: the one before gen is used again, while it is valid,
 * and none is made for APNS_TOKEN_PACE_US unless there is none to use. Gives true when there is one
 * to go back to. */
bool apns_token_too_often(struct apns_token *t, unsigned gen, uint64_t now_us, uint64_t wall_us);

/* Another key or key id: the next bearer is signed with it. The same rules as of _new. 0 or
 * -EINVAL. */
int apns_token_rekey(struct apns_token *t, struct slice team, struct slice kid,
                     struct crypto_signer *signer);

/* The same key under another object: the tokens made stay. */
void apns_token_resign(struct apns_token *t, struct crypto_signer *signer);

/* Takes a token that another server has made for the same key at iat_s. Returns 0, -EINVAL when it
 * does not fit, -ESTALE when it can't be used at this time or is not newer than ours. */
int apns_token_adopt(struct apns_token *t, struct slice jwt, uint64_t iat_s, uint64_t now_us,
                     uint64_t wall_us);

/* How many were made here. */
uint64_t apns_token_minted(const struct apns_token *t);

#endif

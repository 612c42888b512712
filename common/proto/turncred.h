/* Time-limited TURN credentials ("REST", draft-uberti-behave-turn-rest): the server that grants
 * them and the relay that checks them share a secret and nothing else.
 *
 *     username = <unix expiry> ":" <callId> ":" <user>     (or <unix expiry> ":" <user>)
 *     password = base64(HMAC-SHA1(secret, username))
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_TURNCRED_H
#define SORI_PROTO_TURNCRED_H

#include "base/bytes.h"

#define TURNCRED_USERNAME_MAX   508 /* what a STUN USERNAME may hold, RFC 8489 §14.3 */
#define TURNCRED_PASSWORD_BYTES 28  /* base64 of 20 bytes */

/* A username taken apart; borrows from it. */
struct turncred {
    uint64_t expiry_s;    /* Unix time */
    struct slice call_id; /* empty in the short form */
    struct slice user;
};

/* Takes a username apart. Returns 0, or -EBADMSG when it is not of either form: the caller treats
 * it as an ordinary name. */
int turncred_parse(struct turncred *out, struct slice username);

/* Writes a credential that ends at expiry_s. call_id may be empty; neither part may make the
 * username ambiguous or too long.
 *
 * Returns 0; -EINVAL for an empty user, a ":" in call_id or (without a call_id) in user, or a
 * username over TURNCRED_USERNAME_MAX; -ENOSPC when a writer is too small; -EIO when the digest
 * fails. On failure what was written is of no use. */
int turncred_grant(struct wr *username, struct wr *password, struct slice secret, uint64_t expiry_s,
                   struct slice call_id, struct slice user);

/* Computes the password that belongs to username. Returns 0 or -EIO. The caller wipes it. */
int turncred_password(uint8_t out[TURNCRED_PASSWORD_BYTES], struct slice secret,
                      struct slice username);

/* Writes what a relay tells of a secret that it accepts, so that a server with another one leaves
 * it out: 16 hex digits of a digest, which say no more of the secret than a credential does.
 * Returns 0 or -EIO. */
#define TURNCRED_MARK_BYTES 16
int turncred_mark(uint8_t out[TURNCRED_MARK_BYTES], struct slice secret);

/* True while the credential may be used at wall_us (microseconds of Unix time). */
static inline bool turncred_is_live(const struct turncred *c, uint64_t wall_us)
{
    return wall_us / 1000000 < c->expiry_s;
}

#endif

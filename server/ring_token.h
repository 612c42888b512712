/* Ring tokens: what a push gives a device to join the one call that it is woken for, before it has
 * an access token of its own (docs/SIGNALING.md §3).
 *
 * A compact HS256 JWT with the key id RING_TOKEN_KID: sub, dev, callId, exp. It is verified like an
 * access token (token.h), against a key of this server's own; callId makes the session one for that
 * call only. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_RING_TOKEN_H
#define SORI_SERVER_RING_TOKEN_H

#include "server/token.h"

#define RING_TOKEN_KID    "ring"
#define RING_TOKEN_MAX    512 /* bytes; the longest ids fit */
#define RING_TOKEN_SECRET 32  /* bytes at least */

/* Writes a token for user's device and call, good until expires_s (Unix seconds). Returns 0;
 * -EINVAL: user or device are no ids; -ENOSPC, -ENOMEM: nothing useful was written. */
int ring_token_write(struct wr *w, struct slice secret, struct slice user, struct slice device,
                     const struct sig_call_id *call, uint64_t expires_s);

/* Verifies one at wall time now_s. keys: a table that has the secret under RING_TOKEN_KID. A token
 * without a callId or dev is refused, whoever signed it. */
enum token_error ring_token_verify(struct token *out, const struct token_keys *keys,
                                   struct slice jws, uint64_t now_s);

/* A key table for one secret (at least RING_TOKEN_SECRET bytes). NULL: too short, or memory is
 * out. */
struct token_keys *ring_token_keys(struct slice secret);

#endif

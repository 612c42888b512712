/* Access tokens: JWT in JWS compact form (RFC 7515, 7519), verified against keys that the operator
 * configured, each bound to one algorithm (RFC 8725 §3.1).
 *
 * The token's header only picks a key from the table; it can neither bring a key along nor choose
 * another algorithm for one. The wall clock is an argument.
 * Verification is pure and may run on several threads over one struct token_keys that nobody
 * changes any more. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_TOKEN_H
#define SORI_SERVER_TOKEN_H

#include "proto/sig_room.h"
#include "server/token_keys.h"

#define TOKEN_JWS_MAX    4096 /* bytes of the whole token */
#define TOKEN_USER_MAX   128
#define TOKEN_DEVICE_MAX 64
#define TOKEN_NAME_MAX   128
#define TOKEN_ROOM_MAX   128

enum token_error {
    TOKEN_OK,
    TOKEN_MALFORMED,   /* not a JWS, header or claims not JSON objects of sane size, `crit` */
    TOKEN_UNKNOWN_KEY, /* kid not in the table; no kid and not exactly one key for the alg */
    TOKEN_WRONG_ALG,   /* the header's alg is not the key's, or "none" */
    TOKEN_BAD_SIGNATURE,
    TOKEN_BAD_CLAIM, /* sub or exp missing; a claim of the wrong type, size or alphabet */
    TOKEN_EXPIRED,
    TOKEN_NOT_YET, /* nbf or iat lies in the future by more than the leeway */
    TOKEN_WRONG_ISSUER,
    TOKEN_WRONG_AUDIENCE,
    TOKEN_NO_MEMORY,
};

/* The wire error code of docs/SIGNALING.md: "token_expired", "token_not_valid_yet", and
 * "unauthorized" for all the rest (strangers are not told why). */
const char *token_error_code(enum token_error e);
/* For logs and counters: "bad_signature" etc. */
const char *token_error_name(enum token_error e);

/* ---- verification ---- */

struct token_rules {
    const char *issuer;   /* iss must be this; NULL or "" = not checked */
    const char *audience; /* aud must be or contain this; NULL or "" = not checked */
    uint32_t leeway_s;    /* clock difference granted to exp, nbf, iat */
};

struct token_perms {
    bool call, presence;           /* absent: true */
    char room[TOKEN_ROOM_MAX + 1]; /* the one room it is good for; "" = not bound */
    struct sig_room_perms in_room; /* roomPerms; absent: TOKEN_ROOM_PERMS */
};
/* What a token without roomPerms allows in a room. */
#define TOKEN_ROOM_PERMS \
    ((struct sig_room_perms){.publish = CTL_SOURCES_ALL, .subscribe = true, .data = true})

/* What a valid token says. Texts end with NUL and contain no other. */
struct token {
    char user[TOKEN_USER_MAX + 1];     /* sub */
    char device[TOKEN_DEVICE_MAX + 1]; /* dev; "" = not bound to a device */
    char name[TOKEN_NAME_MAX + 1];     /* name, UTF-8 without control characters; "" = none */
    uint64_t expires_at_s;             /* exp, Unix seconds, without leeway */
    bool has_call;                     /* callId: good for this one call only */
    struct sig_call_id call;
    struct token_perms perms;
};

/* Checks signature and claims at wall time now_s. *out is written on TOKEN_OK only. */
enum token_error token_verify(struct token *out, const struct token_keys *k,
                              const struct token_rules *rules, struct slice jws, uint64_t now_s);

/* The signature alone: decodes the payload into w, whatever it is. */
enum token_error token_verify_jws(const struct token_keys *k, struct slice jws, struct wr *payload);

/* True for a user or device id: 1..max bytes of A-Z a-z 0-9 . _ @ + - */
bool token_id_valid(struct slice id, size_t max);

/* Writes a token for t, issued at now_s, with iss and aud of rules (each optional) and kid
 * (optional, NULL), signed with HS256. For development mode and tests. Returns 0, -EINVAL when t
 * could not be verified back, -ENOSPC, -ENOMEM. */
int token_sign_hs256(struct wr *w, struct slice secret, const char *kid, const struct token *t,
                     const struct token_rules *rules, uint64_t now_s);

#endif

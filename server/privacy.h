/* The keys of the ledger and what is made with them: sealed tokens, subjects that name nobody, the
 * chain of the audit log, the list of the erased.
 *
 * All keys come from one secret ([ledger] token_key_file), each for one purpose.
 * Pure; one thread at a time. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRIVACY_H
#define SORI_SERVER_PRIVACY_H

#include "server/ledger.h"

enum {
    PRIVACY_SECRET_MIN = 32, /* bytes of the secret */
    PRIVACY_SUBJECT_BYTES = 32,
    PRIVACY_HASH_BYTES = 32,
    PRIVACY_SEAL_EXTRA = 12 + 16,                   /* a sealed token is so much longer */
    PRIVACY_SEAL_ID = 8,                            /* digits */
    PRIVACY_ERASED_LINE = 64 + 1 + 20 + 1 + 32 + 1, /* bytes of an erased user's line, at most */
};

struct privacy_keys;

/* NULL when memory is out. */
struct privacy_keys *privacy_keys_new(struct slice secret);
void privacy_keys_free(struct privacy_keys *k); /* wipes; NULL is allowed */

/* From now on tokens are sealed with a key of its own (present; empty: the secret's), and opened
 * with that, with other (the one before, or the one to come; may be empty) or with the secret's.
 * Returns 0 or -EIO. */
int privacy_keys_seal(struct privacy_keys *k, struct slice present, struct slice other);
/* Names the key that seals: PRIVACY_SEAL_ID hex digits, or "" for the secret's. Says nothing of it.
 */
const char *privacy_seal_id(const struct privacy_keys *k);

/* A value that tells whether a database was made with the same secret; says nothing about it. */
int privacy_keys_check(struct privacy_keys *k, uint8_t out[PRIVACY_HASH_BYTES]);

/* The pseudonym of a user in what outlives him: audit log, requests, list of the erased. Returns 0
 * or -EIO, like all that follow. */
int privacy_subject(struct privacy_keys *k, struct slice user, uint8_t out[PRIVACY_SUBJECT_BYTES]);

/* What makes a token unique without showing it. */
int privacy_token_hash(struct privacy_keys *k, struct slice token, uint8_t out[PRIVACY_HASH_BYTES]);

/* Seals a token with AES-256-GCM for this user and device, into out (token.len +
 * PRIVACY_SEAL_EXTRA). */
int privacy_token_seal(struct privacy_keys *k, struct slice user, struct slice device,
                       struct slice token, uint8_t *out);
/* Opens it into out (sealed.len - PRIVACY_SEAL_EXTRA). Returns 0, or -EACCES: it is another's, or
 * was changed; the row is skipped. */
int privacy_token_open(struct privacy_keys *k, struct slice user, struct slice device,
                       struct slice sealed, uint8_t *out);

/* One record of the audit log. */
struct privacy_audit {
    uint64_t seq, at_ms;
    struct slice actor, action;
    struct slice subject; /* PRIVACY_SUBJECT_BYTES, or empty */
    struct slice prev;    /* hash of the record before */
};
/* Its hash: keyed, so that who can write the database can't rewrite the log. */
int privacy_audit_hash(struct privacy_keys *k, const struct privacy_audit *a,
                       uint8_t out[PRIVACY_HASH_BYTES]);

/* A line of the list of the erased: subject, time, check. The list is a file of its own beside the
 * database, so that a restored backup does not bring the erased back. */
void privacy_erased_write(struct privacy_keys *k, struct wr *w,
                          const uint8_t subject[PRIVACY_SUBJECT_BYTES], uint64_t at_ms);
/* Takes the first line off rest. Returns 0; -ENODATA: rest was empty; -EAGAIN: it ends within a
 * line (a crash while it was written: cut it off); -EBADMSG: the line was changed, or the secret is
 * another one: refuse to go on. */
int privacy_erased_read(struct privacy_keys *k, struct slice *rest,
                        uint8_t subject[PRIVACY_SUBJECT_BYTES], uint64_t *at_ms);

#endif

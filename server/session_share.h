/* Sessions in Redis, so that a client whose node has died resumes on another (docs/CLUSTER.md).
 *
 * A session is one process's at a time. What is written is what a resume has to know (a record, the
 * numbers) and the messages that the client has not acknowledged, each under its number; the names
 * of all that end with the process. Whoever takes the session gives them its own end: what the
 * former owner adds later nobody reads, and the answer tells it. So most saves are plain commands,
 * which cost Redis a fifth of a script. Resume tokens are there as hashes. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SESSION_SHARE_H
#define SORI_SERVER_SESSION_SHARE_H

#include "server/call_claims.h"
#include "server/session.h"

enum session_share_script {
    SESSION_SHARE_SAVE,
    SESSION_SHARE_TAKE,
    SESSION_SHARE_DROP,
    SESSION_SHARE_SCRIPTS
};
extern const struct slice session_share_scripts[SESSION_SHARE_SCRIPTS];

#define SESSION_SHARE_HASH       32 /* of a token */
#define SESSION_SHARE_AT_ONCE    24 /* messages of one save */
#define SESSION_SHARE_NUMBERS    34 /* bytes of the numbers */
#define SESSION_SHARE_RECORD_MAX ((size_t)131072)

/* What is in a record, and the numbers, which change more often. Slices are lent. */
struct session_record {
    struct slice user, device, name;
    struct slice watched; /* users whose presence it follows: a raw array; may be empty */
    struct slice rooms;   /* those it has a seat in, each followed by a space; may be empty */
};
struct session_numbers {
    uint64_t in_seq, out_seq, acked, generation;
    enum sig_presence state;
};
void session_record_write(struct wr *w, const struct session_record *r);
void session_numbers_write(struct wr *w, const struct session_numbers *n);
/* Return 0 or -EBADMSG. */
int session_record_read(struct session_record *out, struct slice bytes);
int session_numbers_read(struct session_numbers *out, struct slice bytes);

/* A message. */
struct session_share_message {
    uint64_t seq, id_hash;
    struct slice text;
};

/* What is saved. */
struct session_share_save {
    const uint8_t *id;
    struct session_numbers numbers;
    const struct session_share_message *messages;
    size_t n; /* <= SESSION_SHARE_AT_ONCE */
    /* Only of a whole save. */
    struct slice record;
    uint8_t tokens[2][SESSION_SHARE_HASH]; /* that are good now; the same twice when it is one */
    bool here_only;                        /* it has a part in something that cannot move */
    uint64_t life_us;
};

/* c: as for claims; its client has session_share_scripts from `first` on. Each returns as
 * redis_client_call(). */
/* Saves all but messages that were saved before, and compares the owner: answered "ok", or the new
 * owner's text. */
int session_share_save(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const struct session_share_save *s, uint64_t now_us);
/* Numbers and messages only. Answered with an integer above s->n: the session is not there any
 * more, or another's; a whole save tells. */
int session_share_add(const struct call_claims *c, struct redis_call *call,
                      const struct session_share_save *s, uint64_t now_us);
/* Takes out messages of these numbers, at most SESSION_SHARE_AT_ONCE of them. */
void session_share_trim(const struct call_claims *c, const uint8_t id[SESSION_ID_BYTES],
                        uint64_t from, uint64_t to, uint64_t now_us);
/* Makes the session ours. Answered with an array: "ok", the former owner's text and all fields,
 * their ends taken off; or one of "none", "no" (the token is not its), "stay" (it cannot move). */
int session_share_take(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const uint8_t id[SESSION_ID_BYTES], const uint8_t token[SESSION_SHARE_HASH],
                       uint64_t now_us);
void session_share_drop(const struct call_claims *c, unsigned first,
                        const uint8_t id[SESSION_ID_BYTES], uint64_t now_us);

/* A field of the answer: 'r' the record, 'n' the numbers, 'm' a message (*m), 0: none of them. */
char session_share_field(struct slice name, struct slice value, struct session_share_message *m);

#endif

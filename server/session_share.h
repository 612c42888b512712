/* Sessions in Redis, so that a client whose node has died resumes on another (docs/CLUSTER.md).
 *
 * A session is one node's at a time; every write compares the owner. What is written is what a
 * resume has to know (a record) and the messages that the client has not acknowledged, each under
 * its number. Resume tokens are there as hashes. Pure. SPDX-License-Identifier: BSD-3-Clause */
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
#define SESSION_SHARE_RECORD_MAX ((size_t)131072)

/* What is in a record. Slices are lent. */
struct session_record {
    struct slice user, device, name;
    uint64_t in_seq, out_seq, acked, generation;
    enum sig_presence state;
    struct slice watched; /* users whose presence it follows: a raw array; may be empty */
};
void session_record_write(struct wr *w, const struct session_record *r);
/* Returns 0 or -EBADMSG. */
int session_record_read(struct session_record *out, struct slice bytes);

/* A message. */
struct session_share_message {
    uint64_t seq, id_hash;
    struct slice text;
};

/* What is saved. */
struct session_share_save {
    const uint8_t *id;
    struct slice record;
    uint8_t tokens[2][SESSION_SHARE_HASH]; /* that are good now; the same twice when it is one */
    bool here_only;                        /* it has a part in something that cannot move */
    uint64_t drop_from, drop_to; /* numbers that are acknowledged since; from > to: none */
    const struct session_share_message *messages;
    size_t n; /* <= SESSION_SHARE_AT_ONCE */
    uint64_t life_us;
};

/* c: as for claims; its client has session_share_scripts from `first` on. Each returns as
 * redis_client_call(). */
/* Answered "ok", or the new owner's text. */
int session_share_save(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const struct session_share_save *s, uint64_t now_us);
/* Makes the session ours. Answered with an array: "ok", the former owner's text and all fields; or
 * one of "none", "no" (the token is not its), "stay" (it cannot move). */
int session_share_take(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const uint8_t id[SESSION_ID_BYTES], const uint8_t token[SESSION_SHARE_HASH],
                       uint64_t now_us);
void session_share_drop(const struct call_claims *c, unsigned first,
                        const uint8_t id[SESSION_ID_BYTES], uint64_t now_us);

/* A field of the answer: 'r' the record, 'm' a message (*m), 0: neither. */
char session_share_field(struct slice name, struct slice value, struct session_share_message *m);

#endif

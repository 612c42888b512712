/* Sessions that can be resumed on any node, and what was sent to them: the interface of the session
 * stores.
 *
 * A session is one node's at a time. Its record says what a resume has to know (session.h: user,
 * device, both resume tokens by their hashes, generation, permissions of the token, its end), its
 * stream holds the messages that the client has not acknowledged (reliable.h: number and text).
 *
 *     put      when it begins, when its token is rotated, and when its socket goes: not per
 *              message
 *     append   each numbered message, beside the socket: nobody waits for it. What Redis loses of
 *              it is still in the owner's memory, and written again when Redis is back
 *     trim     after an acknowledgement, gathered: at most once a second and session
 *     take     a client came to another node: in one step the token is compared, the generation
 *              raised and the node set, so that of two nodes one wins; record and stream come back.
 *              The former owner, if it lives, is told (presence_replaced_fn) and ends its copy
 *              without a word to calls
 *
 * The order that keeps a message from being lost or doubled: an owner numbers, appends, and sends
 * without waiting. The taker replays everything above the client's last number and goes on from the
 * highest number in the stream. A client that knows a higher number than the stream has (its owner
 * died between send and append) is told that its history is lost, as today.
 *
 * What it needs of reliable.c (later): to begin from a given number with given unacknowledged
 * texts, to tell of what was acknowledged, and to give the hashes of request ids that it remembers
 * (a request that is repeated on another node must be known there: the stored reply is in the
 * stream with its hash). Of session.c: to write and read the record.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SESSION_STORE_H
#define SORI_SERVER_SESSION_STORE_H

#include "base/list.h"
#include "server/session.h"

#define SESSION_STORE_RECORD_MAX 4096

/* A message of the stream. */
struct session_store_message {
    uint64_t seq, id_hash; /* id_hash: of the request that it answers; 0: of none */
    struct slice text;
};

/* A resume under way; as a presence_lookup. err: 0; -ENOENT: no such session (any more); -EACCES:
 * the token is not its; -EAGAIN: the store does not answer: the client is told to come again, not
 * that its session is lost. All lent, inside the call only. */
struct session_store_take;
struct session_store_taken {
    int err;
    struct slice record;
    uint64_t generation;
    struct slice former; /* the node that had it */
    const struct session_store_message *messages;
    size_t n;
};
typedef void session_store_take_fn(struct session_store_take *t,
                                   const struct session_store_taken *taken);
struct session_store_take {
    struct list _link;
    session_store_take_fn *fn;
    void *arg;
};

struct session_store {
    const struct session_store_ops *ops;
};

struct session_store_ops {
    /* Writes or replaces the record, if the stored generation is not newer. tokens: hashes of those
     * that are good now. keep_us: how long it stays without another put. */
    int (*put)(struct session_store *s, const struct session *session, struct slice record,
               const uint8_t tokens[2][32], uint64_t keep_us);
    /* Both ignored for a session that another node has taken. */
    int (*append)(struct session_store *s, const struct session *session,
                  const struct session_store_message *m);
    void (*trim)(struct session_store *s, const struct session *session, uint64_t acked);
    void (*take)(struct session_store *s, struct slice user, const uint8_t id[SESSION_ID_BYTES],
                 const uint8_t token[32], struct session_store_take *t);
    void (*cancel)(struct session_store *s, struct session_store_take *t);
    void (*remove)(struct session_store *s, const struct session *session);
    void (*free)(struct session_store *s);
};

#endif

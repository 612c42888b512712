/* Presence as it stands in Redis: names of keys and channels, the text of an entry, the scripts,
 * the messages between nodes (docs/CLUSTER.md). Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_WIRE_H
#define SORI_SERVER_PRESENCE_WIRE_H

#include "server/presence_store.h"

#define PRESENCE_WIRE_KEY_MAX   640 /* prefix, a user of SIG_USER_MAX escaped, and the rest */
#define PRESENCE_WIRE_ENTRY_MAX 256 /* the text of an entry */
#define PRESENCE_WIRE_SAY_MAX   320 /* a message */
#define PRESENCE_WIRE_NODE_MAX  64
#define PRESENCE_WIRE_STAMP_MAX 20 /* digits of a stamp, microseconds since 1970 */
/* Lua has numbers of 53 bits only: a generation is below that. */
#define PRESENCE_WIRE_GENERATION_MAX (UINT64_C(1) << 53)

/* Writes PREFIX WHAT ":{" ID "}", ID with '{', '}' and '%' as %7B, %7D, %25: all keys of one id
 * have one hash tag, whatever the id is. what: "pres", "watch", "node", "say". */
void presence_wire_key(struct wr *w, struct slice prefix, const char *what, struct slice id);

/* An entry with what is not in struct presence_entry. */
struct presence_wire {
    struct presence_entry e; /* user is not in the text */
    uint64_t epoch;          /* of the node's process */
    struct slice stamp;      /* when the session was first stored, by Redis's clock: digits */
};

/* The text: "1 SESSION GENERATION STAMP EPOCH FLAGS NODE". device and user are left as they are.
 * Returns 0 or -EBADMSG; slices borrow from text. */
int presence_wire_decode(struct presence_wire *out, struct slice text);
/* The parts that the put script is given: session (32 hex digits), generation, and
 * "EPOCH FLAGS NODE". */
void presence_wire_session(struct wr *w, const uint8_t session[PRESENCE_SESSION_BYTES]);
void presence_wire_rest(struct wr *w, const struct presence_entry *e, uint64_t epoch,
                        struct slice node);
/* An epoch in its form: 16 hex digits. Decoding returns 0 or -EBADMSG. */
void presence_wire_epoch(struct wr *w, uint64_t epoch);
int presence_wire_epoch_decode(uint64_t *out, struct slice text);
/* A process: "EPOCH NODE". Read by call_share_owner(). */
void presence_wire_owner(struct wr *w, uint64_t epoch, struct slice node);

/* The scripts, in the order of their indexes. KEYS and ARGV of each are told in presence_wire.c. */
enum presence_script {
    PRESENCE_PUT,
    PRESENCE_REMOVE,
    PRESENCE_PURGE,
    PRESENCE_WATCH,
    PRESENCE_UNWATCH,
    PRESENCE_LEASE,
    PRESENCE_SCRIPTS
};
extern const struct slice presence_wire_scripts[PRESENCE_SCRIPTS];

/* What one node says to another in its channel. */
enum presence_said_kind {
    PRESENCE_SAID_CHANGED,  /* user: something about it changed */
    PRESENCE_SAID_REPLACED, /* user, device, session: it has a newer session on another node */
};
struct presence_said {
    enum presence_said_kind kind;
    struct slice user, device;
    uint8_t session[PRESENCE_SESSION_BYTES];
};
void presence_wire_say(struct wr *w, const struct presence_said *s);
/* Returns 0 or -EBADMSG; slices borrow from text. */
int presence_wire_said(struct presence_said *out, struct slice text);

#endif

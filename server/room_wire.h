/* What nodes say to one another about rooms, in bodies of the bus (docs/CLUSTER.md): one node runs
 * a room, others have some of its participants (hosts).
 *
 *     host -> runner   ASK      a request of a participant, or of one that wants to be
 *                      EVENT    what happened to its session
 *     runner -> host   SAY      a message for one session
 *                      CAST     a message for all of the room there
 *                      AGAIN    an ASK that came back: the room is not run here (any more)
 *                      MINE     the room is run here now: whom have you of it?
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROOM_WIRE_H
#define SORI_SERVER_ROOM_WIRE_H

#include "proto/sig_room.h"
#include "server/session.h"

enum room_wire_kind {
    ROOM_WIRE_ASK,
    ROOM_WIRE_EVENT,
    ROOM_WIRE_SAY,
    ROOM_WIRE_CAST,
    ROOM_WIRE_AGAIN,
    ROOM_WIRE_MINE,
    ROOM_WIRE_KINDS
};

/* Flags of SAY; of CAST PLAIN alone. */
enum {
    ROOM_WIRE_REPLY = 1,    /* the answer to a request, by id_hash */
    ROOM_WIRE_JOIN = 2,     /* that was room.join */
    ROOM_WIRE_IN = 4,       /* the session has a seat in the room (now) */
    ROOM_WIRE_OUT = 8,      /* it has none (any more) */
    ROOM_WIRE_FOREIGN = 16, /* news: dropped rather than to end a session's history (MISSED) */
    ROOM_WIRE_PLAIN = 32,   /* without a number */
};

/* Of EVENT: the first four as in enum room_session. */
enum {
    ROOM_WIRE_LOST,
    ROOM_WIRE_BACK,
    ROOM_WIRE_REPLACED,
    ROOM_WIRE_ENDED, /* its reason is LEFT */
    ROOM_WIRE_EXPIRED,
    ROOM_WIRE_MISSED, /* news were dropped, and there is room again */
    ROOM_WIRE_EVENTS
};

/* All slices are lent. What a kind does not use is empty. */
struct room_message {
    enum room_wire_kind kind;
    struct slice room;
    struct slice user, device;         /* ASK, EVENT, AGAIN */
    uint8_t session[SESSION_ID_BYTES]; /* ASK, EVENT, SAY, AGAIN */
    uint64_t id_hash;                  /* ASK, SAY, AGAIN */
    uint8_t flags, event, tries;       /* tries: of ASK and AGAIN, how often it came back */
    bool may_call;                     /* ASK: as the token says */
    struct sig_room_perms perms;       /* the same */
    struct slice name, bound;          /* the same; bound: the token's one room */
    struct slice participant;          /* CAST: whom it is not for; SAY: whose seat (IN) */
    struct slice text;                 /* ASK, AGAIN: the client's message; SAY, CAST: the body */
};

#define ROOM_WIRE_HEAD_MAX 1024

/* Whether a body of the bus is one of these. */
bool room_wire_is(struct slice body);
/* ROOM_WIRE_HEAD_MAX + text.len bytes are enough. */
void room_wire_encode(struct wr *w, const struct room_message *m);
/* Returns 0 or -EBADMSG. */
int room_wire_decode(struct room_message *out, struct slice body);

#endif

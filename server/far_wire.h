/* What nodes say to one another about calls, in bodies of the bus (docs/CLUSTER.md): one node runs
 * a call (the owner, the caller's), others have some of its devices (hosts).
 *
 *     owner -> host   SAY      a message for a device, ready to be numbered and sent
 *     host -> owner   ASK      a request of a device on a call
 *                     EVENT    what happened to its session
 *                     CROSS    an invite that crosses the owner's call (glare)
 *                     SUPERSEDE  the device dials anew: its call is over
 *     any -> owner    CHECK    the user's entry of this call stands; is there such a call?
 *     any -> former   TAKEN    the call is the sender's: it had found the lease over
 *                     MOVED    the session goes on at the sender, which has its messages so far
 *     former -> host  ELSEWHERE  the call is run by that process now
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_FAR_WIRE_H
#define SORI_SERVER_FAR_WIRE_H

#include "proto/sig.h"
#include "server/session.h"

enum far_kind {
    FAR_SAY,
    FAR_ASK,
    FAR_EVENT,
    FAR_CROSS,
    FAR_SUPERSEDE,
    FAR_MOVED,
    FAR_TAKEN,
    FAR_CHECK,
    FAR_ELSEWHERE,
    FAR_KINDS
};

/* Flags of FAR_SAY; CAN_ROOMS of FAR_ASK and FAR_EVENT. */
enum {
    FAR_RINGS = 1,      /* it is call.incoming */
    FAR_OVER = 2,       /* the device has nothing to do with the call any more */
    FAR_FOREIGN = 4,    /* what another user sent: dropped rather than to end a session's history */
    FAR_REPLY = 8,      /* the answer to a request of session, by id_hash */
    FAR_TO_ROOM = 16,   /* it is call.incoming of a room: `name` is its id */
    FAR_CAN_ROOMS = 32, /* the device takes part in rooms */
    FAR_PASSED = 64,    /* it was said to a node where the device was before */
};

/* All slices are lent. What a kind does not use is empty. */
struct far_message {
    enum far_kind kind;
    struct sig_call_id call;
    struct slice user, device;
    uint8_t session[SESSION_ID_BYTES]; /* ASK, CROSS, SAY with FAR_REPLY */
    uint64_t id_hash;                  /* the same, odd; MOVED: that number; other SAY: its own,
                                          even, or 0 */
    uint8_t flags;                     /* SAY, ASK, EVENT */
    uint8_t event;                     /* EVENT: enum call_event_kind */
    bool can_wait;                     /* EVENT: NEW */
    struct slice name;                 /* CROSS: of the caller; SAY with FAR_TO_ROOM: the room */
    struct slice text;                 /* SAY: the body; ASK, CROSS: the client's message;
                                          ELSEWHERE: "EPOCH NODE" */
};

#define FAR_WIRE_HEAD_MAX 512

/* FAR_WIRE_HEAD_MAX + text.len bytes are enough. */
void far_wire_encode(struct wr *w, const struct far_message *m);
/* Returns 0 or -EBADMSG. */
int far_wire_decode(struct far_message *out, struct slice body);

#endif

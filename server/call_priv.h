/* Inside of a call, shared by call.c (life, timers, views), call_ring.c (until somebody wins) and
 * call_up.c (after the claim). Nobody else includes it. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_PRIV_H
#define SORI_SERVER_CALL_PRIV_H

#include "server/call.h"
#include "server/call_keep.h"
#include "server/call_offers.h"

enum leg_state {
    LEG_PENDING,   /* call.incoming was handed to its session */
    LEG_DELIVERED, /* it is known to have it */
    LEG_RINGING,
    LEG_WINNER,
    LEG_STOPPED, /* reason tells why */
};

struct call_leg {
    enum leg_state state;
    enum sig_reason reason;
    bool present;      /* it has a session: what is sent to it arrives, now or when it resumes */
    bool call_waiting; /* what its call.incoming said */
    uint8_t device_len;
    char device[SIG_DEVICE_MAX];
    struct call_keep kept; /* its candidates, until it wins */
};

struct call_party {
    bool online; /* has a socket */
    enum sig_conn media;
};

struct call {
    const struct call_conf *conf;
    struct sig_call_id id, merged_into;
    struct slice caller, caller_device, caller_name, callee; /* in the memory behind this struct */
    enum sig_call_state state;
    enum sig_reason reason; /* what was committed */
    bool is_video, rang, delivered, second;
    bool awaits;     /* a pushed device may come */
    uint16_t pushed; /* devices that were pushed when it was made */
    bool was_pushed; /* then or later */
    enum call_role ended_by;
    struct call_times times;
    uint64_t ring_us, grace_us, connect_us, reconnect_us, max_us, forget_us; /* deadlines */
    uint64_t active_at_us, duration_ms;

    uint8_t *invite_mem; /* offer and metadata, until nobody can ring any more */
    struct slice offer, metadata, room_raw;
    uint8_t *answer_mem; /* until the call is active */
    struct slice answer;
    bool invites; /* into a room: an answer ends it */
    uint8_t room_len;
    char room[SIG_ROOM_MAX];
    struct call_keep caller_kept; /* the caller's candidates, for devices that join late */
    struct call_keep spent;       /* the winner's candidates: lent to the last step's effects */

    struct call_leg *legs;
    size_t legs_n, legs_cap;
    struct call_leg *winner;
    struct call_party party[2]; /* CALL_SIDE_CALLER, CALL_SIDE_CALLEE */
    struct call_offers offers;
    struct call_saved saved;
};

/* Who performs the current step. */
struct call_actor {
    enum call_role role;
    struct call_leg *leg; /* LEG and WINNER */
};

static inline struct slice call_leg_device(const struct call_leg *l)
{
    return slice_of(l->device, l->device_len);
}

static inline struct slice call_room_id(const struct call *c)
{
    return slice_of(c->room, c->room_len);
}

/* Still rings (or will, when its session comes back). */
static inline bool call_leg_open(const struct call_leg *l)
{
    return l->state < LEG_WINNER;
}

/* An error or reply to the requester. */
struct call_fx *call_refuse(struct call *c, enum sig_err err, struct call_effects *out);
struct call_fx *call_reply(struct call *c, enum sig_type type, struct call_effects *out);
/* A message to a device of one side. */
struct call_fx *call_tell_caller(struct call *c, enum call_fx_kind kind, struct call_effects *out);
struct call_fx *call_tell_leg(struct call *c, const struct call_leg *l, enum call_fx_kind kind,
                              struct call_effects *out);
/* Passes data on as sent by the event's device. */
void call_relay_as(struct call_fx *fx, enum sig_type type, struct slice from, struct slice device,
                   struct slice data);

/* Ends the call: tells everyone who knows of it, but not `who`, whose own request it was (role
 * NONE: nobody's). For who a leg, the other legs hear the "elsewhere" form of the reason. */
void call_end(struct call *c, enum sig_reason reason, const struct call_actor *who,
              struct call_effects *out, uint64_t now_us);
/* Names the room that the call goes on in or invites into. */
void call_set_room(struct call *c, struct slice room);
/* Frees offer, metadata and the candidates that wait for late devices. */
void call_drop_invite(struct call *c);
uint64_t call_expires_ms(const struct call *c, uint64_t now_us);

/* A call with what its invite said, no legs, no effects: call_snapshot.c has the rest. NULL: memory
 * is out. */
struct call *call_new_bare(const struct call_conf *conf, const struct call_invite *in);

/* A device of the callee becomes a leg. NULL: -ENOMEM or -ENOSPC in *err. */
struct call_leg *call_add_leg(struct call *c, struct slice device, int *err);
/* Sends call.incoming to a leg, and what the caller has sent since. */
void call_ring_incoming(struct call *c, struct call_leg *l, struct call_effects *out,
                        uint64_t now_us);

/* One event while it rings (call_ring.c), while it is up (call_up.c). */
void call_ring_recv(struct call *c, struct call_actor *who, const struct call_event *ev,
                    struct call_effects *out, uint64_t now_us);
void call_up_recv(struct call *c, struct call_actor *who, const struct call_event *ev,
                  struct call_effects *out, uint64_t now_us);

#endif

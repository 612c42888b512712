/* One call: the state machine of docs/SIGNALING.md §5 as a pure function. Events in, effects out.
 *
 * Everything that decides who wins happens inside one call_recv(), so that exactly one of answer,
 * reject-all, cancel and timeout is ever committed.
 *
 * A device of the callee is a leg:  pending -> delivered -> ringing -> winner | stopped{reason}.
 * pending: call.incoming was handed to its session. delivered: it is known to have it (the session
 * saw the acknowledgement: CALL_EV_DELIVERED; optional, call.ringing implies it). What a leg says
 * before the claim stays here: nothing of the callee reaches the caller earlier.
 *
 * Worker-owned. Used by call_table.c; the router goes through the table.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_H
#define SORI_SERVER_CALL_H

#include "base/clock.h"
#include "proto/sig_client.h"
#include "server/call_fx.h"

#define CALL_NAME_MAX            128
#define CALL_NEGOTIATE_LIFE_US   (10 * US_PER_S) /* an unanswered offer blocks its side this long */
#define CALL_RING_TIMEOUT_MIN_US (5 * US_PER_S)

struct call;

struct call_conf {
    uint64_t ring_timeout_us, caller_grace_us, connect_timeout_us, reconnect_timeout_us;
    uint64_t max_duration_us, ended_keep_us;
    uint64_t pushed_keep_us; /* ended_keep_us of a call that devices were pushed for: they may wake
                                up late */
    bool busy_is_missed;
};

/* A device of the callee at the time of the invite. */
struct call_device {
    struct slice device;
    bool online;       /* its session has a socket now */
    bool call_waiting; /* it said the capability */
};

struct call_invite {
    struct sig_call_id id;
    struct slice user, device, name; /* the caller; name may be empty */
    struct slice to;                 /* the callee, not the caller himself */
    struct slice offer_raw, metadata_raw;
    struct slice room, room_raw; /* an invitation into this room, without an offer; room_raw is what
                                    the callee is shown of it. Both empty: a call */
    bool is_video;
    uint32_t ring_timeout_ms; /* 0: the server's; more than the server's is cut to it */
    const struct call_device
        *devices; /* every session of the callee; the first CALL_LEGS_MAX count */
    size_t devices_n;
    size_t busy, calls; /* live calls of callee and caller that other nodes run */
    unsigned pushed;    /* devices without a socket that are woken by a push: they may come yet */
    bool waiting;       /* the callee is in another call: each incoming says callWaiting */
};

enum call_event_kind {
    /* requests of clients */
    CALL_EV_RINGING,
    CALL_EV_ANSWER, /* data */
    CALL_EV_REJECT, /* reject */
    CALL_EV_CANCEL,
    CALL_EV_HANGUP,     /* reason */
    CALL_EV_CANDIDATES, /* data */
    CALL_EV_NEGOTIATE,  /* data, negotiate */
    CALL_EV_INFO,       /* data */
    CALL_EV_STATE,      /* conn */
    CALL_EV_UPGRADE,    /* data: the id of the room to go on in, unless one was agreed on before */
    CALL_EV_SYNC,
    /* what happened to the session of user/device */
    CALL_EV_DELIVERED, /* it acknowledged call.incoming */
    CALL_EV_LOST,      /* its socket is gone, the session is kept */
    CALL_EV_BACK,      /* resumed: nothing was lost */
    CALL_EV_NEW,       /* a new session of this device, which heard nothing yet (a device the call
                          does not know becomes a leg while it rings); waiting */
    CALL_EV_CLOSED,    /* session.close: hang up, cancel */
    CALL_EV_EXPIRED,   /* the session ended by itself */
    /* the server's own will: reason; by = user */
    CALL_EV_END,
    /* how it stands with the devices that are pushed: awaits, reached */
    CALL_EV_PUSH,
    CALL_EV_COUNT
};

struct call_event {
    enum call_event_kind kind;
    struct slice user, device; /* who; both empty for CALL_EV_END and CALL_EV_PUSH */
    struct slice data;         /* raw */
    struct sig_reject reject;
    enum sig_reason reason;
    struct sig_negotiate negotiate;
    enum sig_conn conn;
    bool waiting; /* CALL_EV_NEW: the callee is in another call as well */
    bool awaits;  /* CALL_EV_PUSH: a pushed device may still come. False: none will; without a
                     device that has the call it is over, unreachable */
    bool reached; /* CALL_EV_PUSH: a push was accepted: who then does not come was not unreachable,
                     nobody answered */
};

/* Notes of whoever saves calls (router_keep.c); zeroed at first. */
struct call_saved {
    uint64_t state, texts; /* as call_snapshot.h tells them apart */
    bool known;            /* it stands there, as far as we know */
    bool dirty;            /* to be saved at the end of the turn */
};

enum call_role {
    CALL_ROLE_NONE, /* not one of this call's devices: call.not_found */
    CALL_ROLE_CALLER,
    CALL_ROLE_LEG,    /* rings or was told why it stopped */
    CALL_ROLE_WINNER, /* the leg that answered */
};

/* When what happened, monotonic; 0: not yet, or never. */
struct call_times {
    uint64_t made_us, rang_us, answered_us, ended_us;
};

/* Makes the call in state inviting and puts the reply and one call.incoming per device into out.
 * Copies all it keeps. devices_n or pushed must be > 0. NULL when memory is out: out then has
 * nothing. */
struct call *call_new(const struct call_conf *conf, const struct call_invite *in,
                      struct call_effects *out, uint64_t now_us);

/* The record of an invite that ended before it began (glare): state ended, no legs. NULL when
 * memory is out. merged_into: the call that lives on. */
struct call *call_new_ended(const struct call_conf *conf, const struct call_invite *in,
                            enum sig_reason reason, const struct sig_call_id *merged_into,
                            uint64_t now_us);
void call_free(struct call *c); /* NULL is allowed */

/* Performs one event. The requester's reply or error is the first effect when ev is a request. */
void call_recv(struct call *c, const struct call_event *ev, struct call_effects *out,
               uint64_t now_us);

/* The reply to an invite that is repeated under the same id by the same device: as it is now. */
void call_invite_again(const struct call *c, struct call_effects *out, uint64_t now_us);

/* The reply to the callee device's own invite (own_id) that crossed this one; the device becomes a
 * leg if it is none, and once more if it had stopped. Returns 0; -ENOMEM or -ENOSPC (there are
 * CALL_LEGS_MAX others): nothing was done, out is empty. The call must be inviting or ringing. */
int call_merge_glare(struct call *c, const struct sig_call_id *own_id, struct slice device,
                     struct call_effects *out, uint64_t now_us);

/* When to call call_tick(). For an ended call: when it may be freed. */
uint64_t call_deadline(const struct call *c);
/* Commits what is due: timeout, cancelled, media_failed, connection_lost, max_duration. */
void call_tick(struct call *c, struct call_effects *out, uint64_t now_us);

/* The view of a device that has a part in the call; slices borrow from c. False: it has none. A
 * device of the callee that was woken by a push, but too late, is shown the end: it rings no more.
 */
bool call_view(const struct call *c, struct slice user, struct slice device, struct sig_view *out,
               uint64_t now_us);

/* What a device is to this call; facts about the call. Slices borrow from it. */
enum call_role call_role(const struct call *c, struct slice user, struct slice device);
const struct sig_call_id *call_id(const struct call *c);
enum sig_call_state call_state(const struct call *c);
static inline bool call_live(const struct call *c)
{
    return call_state(c) != SIG_CALL_OVER;
}
/* inviting or ringing: nobody has won yet. */
static inline bool call_rings(const struct call *c)
{
    return call_state(c) <= SIG_CALL_RINGS;
}
enum sig_reason call_ended_reason(const struct call *c);
struct slice call_caller(const struct call *c);
struct slice call_caller_device(const struct call *c);
struct slice call_callee(const struct call *c);
struct slice call_winner(const struct call *c);      /* device; empty before the claim */
struct slice call_caller_name(const struct call *c); /* may be empty */
bool call_is_video(const struct call *c);
bool call_is_second(const struct call *c); /* the callee was in another call when it was made */
const struct call_times *call_times(const struct call *c);
uint64_t call_ring_until_us(const struct call *c); /* when it ends unanswered */
/* Who ended it: CALLER, LEG (before the claim), WINNER, or NONE: nobody, time or the server did. */
enum call_role call_ended_by(const struct call *c);
/* It invites into a room: room.invite made it. */
bool call_invites(const struct call *c);
/* It belongs on the callee's list of missed calls. */
bool call_missed(const struct call *c);
/* The room that it goes on in, or invites into; empty: none. */
struct slice call_room(const struct call *c);
/* For call records: since both were connected, 0 if never; and 0 while it lives. */
uint64_t call_duration_ms(const struct call *c);
/* The call that a glared invite was merged into; NULL for others. */
const struct sig_call_id *call_merged_into(const struct call *c);

#endif

/* Rooms and who is in them (docs/SIGNALING.md §10): the rules, without sockets and without media.
 *
 * A *seat* is one device in one room: what the wire calls a participant. The table decides who may
 * come in, what each may do, what the others are told, and when seats and rooms end. Media belongs
 * to an SFU node, which the router picks and talks to; what the node says is told to the table.
 *
 *     seat:  made by room_join --seat_joined--> in <--> lost (needs a fresh offer) ... freed
 *     room:  made by room_join --last seat gone, empty_us--> freed
 *
 * News go out through room_ops while everything they speak of is still there; no callback may call
 * into the table. Slices and pointers borrow until the next call into it.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROOM_TABLE_H
#define SORI_SERVER_ROOM_TABLE_H

#include "base/htable.h"
#include "base/timerwheel.h"
#include "proto/sig_room.h"

#define ROOM_NODE_NONE  SIZE_MAX
#define ROOM_GUESTS_MAX 64 /* users invited to one room; users banned from one */

struct room_conf {
    size_t rooms, participants, per_user, tracks, metadata_bytes;
    bool open, creator_is_admin;
    uint64_t empty_us;   /* life of a room without seats */
    uint64_t gone_us;    /* life of a seat without socket */
    uint64_t restart_us; /* life of a seat without media that has to start over */
};

/* One published track. Its texts live behind it. */
struct seat_track {
    struct list of_seat;
    struct ctl_track t;
    struct slice name;
    unsigned wanted; /* layers that somebody receives, as the SFU said last */
    bool has_wanted, keep;
};

/* A receive section and what is on it. */
struct seat_slot {
    char mid[RTP_MID_MAX], track[CTL_TRACK_MAX], participant[CTL_PARTICIPANT_MAX];
    uint8_t mid_len, track_len, participant_len;
    bool picture; /* as in struct ctl_slot */
    int8_t layer, temporal;
    uint8_t pause;
};

/* What the client said of a section it sends: for the track that comes of it. */
struct seat_wish {
    char mid[RTP_MID_MAX], name[CTL_TRACK_NAME_MAX];
    uint8_t mid_len, name_len;
};

/* Where the session of a seat is, of several nodes (docs/CLUSTER.md). The router's; the table only
 * takes events of local sessions (room_table_session()) for seats that are here. */
enum seat_where { SEAT_HERE, SEAT_THERE, SEAT_NOWHERE };
#define SEAT_NODE_MAX      64
#define SEAT_SESSION_BYTES 16
struct seat_at {
    enum seat_where where;
    uint64_t epoch; /* THERE: of the node's process */
    uint8_t session[SEAT_SESSION_BYTES];
    uint8_t node_len;
    uint8_t node[SEAT_NODE_MAX]; /* THERE */
};

struct seat {
    struct list of_room;
    struct hnode by_id, by_device, by_user;
    struct room *room;
    struct timer timer;
    struct slice id, user, device; /* in the memory behind this struct */
    struct slice name, metadata;   /* heap */
    struct sig_room_perms perms;
    enum sig_room_role role;
    enum ctl_mode mode;
    bool auto_audio, auto_video;
    bool named_by_token;
    bool in;     /* the SFU has taken it: the others know of it */
    bool online; /* its session has a socket */
    bool orphan; /* its session has ended: a new one of the device may take its place by joining */
    bool lost;   /* its media has to start over: a fresh offer is awaited */
    bool connected_once;
    bool busy;    /* a description of it is at the SFU */
    bool stale;   /* it missed news: room.state is due */
    bool in_sync; /* the sync under way names it */
    enum ctl_media media;
    enum sig_room_state told; /* to the others */
    struct seat_at at;
    bool dirty; /* the router's: it is to be saved */
    uint64_t in_us, gone_us, lost_us;
    struct seat_quality *quality; /* the router's; freed with the seat */
    struct sig_call_id stay;      /* the router's: its record */
    struct list tracks;           /* struct seat_track */
    size_t tracks_n, slots_n, wishes_n;
    struct seat_slot *slots;
    struct seat_wish *wishes;
};

struct room {
    struct hnode by_id;
    struct timer timer;
    struct list seats;
    size_t seats_n;
    size_t node; /* index of its SFU node, or ROOM_NODE_NONE */
    struct slice id;
    struct list guests, banned; /* struct room_guest */
    size_t guests_n, banned_n;
    bool has_call; /* it continues this call */
    struct sig_call_id call;
    bool closing;
    struct list dirty;      /* the router's: rooms that are to be saved */
    uint64_t saved_us;      /* the same: when it was saved last */
    bool whole;             /* the same: not only seats of it */
    struct list seats_gone; /* struct room_gone: seats that ended since it was saved last */
};

/* The id of a seat that has ended. */
struct room_gone {
    struct list link;
    uint8_t id_len;
    uint8_t id[CTL_PARTICIPANT_MAX];
};

/* What somebody is told. */
enum room_note_kind {
    ROOM_NOTE_PERSON,
    ROOM_NOTE_TRACK,
    ROOM_NOTE_SLOTS,
    ROOM_NOTE_RESTART,
    ROOM_NOTE_CLOSED,
    ROOM_NOTE_STATE, /* room.state is due: seat->stale was set */
};
enum room_event {
    ROOM_JOINED,
    ROOM_LEFT,
    ROOM_UPDATED,
    ROOM_RECONNECTING,
    ROOM_CONNECTED,
    ROOM_PUBLISHED,
    ROOM_UNPUBLISHED,
    ROOM_MUTED,
    ROOM_UNMUTED,
    ROOM_TRACK_UPDATED,
    ROOM_EVENT_COUNT
};
const char *room_event_name(enum room_event e); /* as on the wire */
enum room_reason {
    ROOM_REASON_NONE,
    ROOM_REASON_LEFT,
    ROOM_REASON_KICKED,
    ROOM_REASON_BANNED,
    ROOM_REASON_REPLACED,
    ROOM_REASON_EXPIRED,
    ROOM_REASON_MEDIA_FAILED,
    ROOM_REASON_CLOSED,
    ROOM_REASON_SFU_UNAVAILABLE,
    ROOM_REASON_SFU_LOST,
    ROOM_REASON_SFU_MOVED,
    ROOM_REASON_MEDIA_LOST,
    ROOM_REASON_COUNT
};
const char *room_reason_name(enum room_reason r); /* as on the wire; "" for NONE */

struct room_note {
    enum room_note_kind kind;
    enum room_event event;          /* PERSON, TRACK */
    const struct seat *about;       /* PERSON, TRACK; for CLOSED: whose seat it was */
    const struct seat_track *track; /* TRACK */
    struct slice by;                /* TRACK: participant id of the admin who muted; may be empty */
    enum room_reason reason;
};

struct room_ops {
    /* to NULL: every seat that is in, but note->about. */
    void (*tell)(void *arg, struct room *r, struct seat *to, const struct room_note *note);
    /* A command for the room's SFU node whose answer nobody waits for (leave, close_room, mute,
     * permissions). Only for rooms that have a node. */
    void (*sfu)(void *arg, struct room *r, const struct ctl_msg *m);
    /* The seat's media is connected, for the first time. NULL: nobody wants to know. */
    void (*connected)(void *arg, struct seat *s);
    /* A seat that was in ends, and is freed after this. NULL: nobody wants to know. */
    void (*left)(void *arg, struct seat *s, enum room_reason reason);
    /* What another node would have to know to go on with the room has changed: of a seat, or (s
     * NULL) of the room; gone: the seat ends. NULL: nobody wants to know. */
    void (*changed)(void *arg, struct room *r, struct seat *s, bool gone);
    /* The room ends, and is freed after this. NULL: the same. */
    void (*ended)(void *arg, struct room *r);
};

struct room_table;

/* NULL when memory is out. */
struct room_table *room_table_new(const struct room_conf *conf, const struct room_ops *ops,
                                  void *arg, uint64_t now_us);
void room_table_free(struct room_table *t); /* nobody is told; NULL is allowed */

/* ---- coming in ---- */

struct room_entry {
    struct slice room, user, device, name; /* name may be empty */
    struct slice bound;                    /* the token's one room; empty: any */
    struct sig_room_perms perms;           /* the token's */
    const struct sig_room_offer *offer;
};

/* Makes the seat, and the room when there is none, after all that the rules ask. A seat of the same
 * device in the room stays until the new one is in, and leaves then (replaced). Returns SIG_OK with
 * *out, not in yet: seat_joined() or seat_leave() must follow. */
enum sig_err room_join(struct room_table *t, const struct room_entry *in, struct seat **out,
                       uint64_t now_us);

/* The SFU has taken the seat's join (or fresh offer): it is in; tracks and slots are its. */
void seat_joined(struct room_table *t, struct seat *s, const struct ctl_msg *reply,
                 uint64_t now_us);
/* The SFU has answered an offer: what is new is told, what is gone ends. */
void seat_offered(struct room_table *t, struct seat *s, const struct ctl_msg *reply,
                  uint64_t now_us);
/* The SFU has answered a subscription; a track of it is no longer published. */
void seat_set_slots(struct seat *s, const struct ctl_slot *v, size_t n);
void seat_unpublished(struct room_table *t, struct seat *s, struct slice track);
/* Keeps what an offer says of its sections. False: memory is out, nothing changed. */
bool seat_wishes(struct seat *s, const struct sig_room_offer *offer);
/* A fresh offer begins: what was published ends. */
void seat_start_over(struct room_table *t, struct seat *s, uint64_t now_us);

/* Ends a seat: the others are told why, the SFU to drop it, and the seat's own device unless it
 * asked (reason LEFT) or is replaced by itself. Frees s. */
void seat_leave(struct room_table *t, struct seat *s, enum room_reason reason, uint64_t now_us);

/* ---- what members do ---- */

/* The seat's own device, or an admin, mutes a track. by: who asks. Returns SIG_OK,
 * SIG_ERR_ROOM_TRACK_NOT_FOUND or SIG_ERR_ROOM_FORBIDDEN. The SFU is told. */
enum sig_err room_mute(struct room_table *t, struct seat *by, struct slice track, bool muted);

/* Changes a seat (NULL u->participant: its own) as the rules allow. *changed is the seat. */
enum sig_err room_update(struct room_table *t, struct seat *by, const struct sig_room_update *u,
                         struct seat **changed);
/* Removes somebody; ban keeps the user out. */
enum sig_err room_kick(struct room_table *t, struct seat *by, struct slice participant, bool ban,
                       uint64_t now_us);
/* Ends the room for everybody. Frees it. */
void room_close(struct room_table *t, struct room *r, enum room_reason reason, uint64_t now_us);
/* user may join the room while it lives. False: no memory, or ROOM_GUESTS_MAX others. */
bool room_invite(struct room_table *t, struct room *r, struct slice user);
bool room_is_banned(const struct room *r, struct slice user);

/* Makes an empty room that waits for its users (call.upgrade), both of them admins there. NULL:
 * limits or memory. */
struct room *room_make(struct room_table *t, struct slice id, const struct sig_call_id *call,
                       struct slice user_a, struct slice user_b, uint64_t now_us);

/* ---- what the SFU says ---- */

/* One event about a room or seat of node. Unknown ones are ignored. */
void room_sfu_event(struct room_table *t, size_t node, const struct ctl_msg *m, uint64_t now_us);
/* The SFU does not have the seat: its media starts over. */
void seat_media_lost(struct room_table *t, struct seat *s, uint64_t now_us);
/* The node has forgotten the room, or is gone: everybody's media starts over, on a node that is yet
 * to be picked. */
void room_media_lost(struct room_table *t, struct room *r, enum room_reason reason,
                     uint64_t now_us);
/* Writes the ids of a sync request (without brackets), marking them; and takes in its reply: who is
 * marked and missing has lost its media. */
void room_sync_write(struct room *r, struct wr *w);
void room_synced(struct room_table *t, struct room *r, struct slice states, uint64_t now_us);

/* ---- sessions and time ---- */

enum room_session {
    ROOM_SESSION_LOST,
    ROOM_SESSION_BACK,
    ROOM_SESSION_REPLACED,
    ROOM_SESSION_ENDED
};
/* Something happened to the session of user/device. ENDED leaves every room (reason: LEFT or
 * EXPIRED). BACK: the client resumed; room.state is due for each of its seats. REPLACED: a new
 * session of the device began, which knows of no room: its seats wait for a join, and nobody hears
 * for them. Seats that are not here hear nothing. */
void room_table_session(struct room_table *t, struct slice user, struct slice device,
                        enum room_session what, enum room_reason reason, uint64_t now_us);
/* The same for one seat, wherever it is. May free s. */
void seat_session(struct room_table *t, struct seat *s, enum room_session what,
                  enum room_reason reason, uint64_t now_us);
/* Forgets a room that another node runs now: nobody is told. Frees it. */
void room_forget(struct room_table *t, struct room *r);

/* When to call room_table_tick(); CLOCK_NEVER: nothing waits. */
uint64_t room_table_deadline(const struct room_table *t);
/* Performs what is due. */
void room_table_tick(struct room_table *t, uint64_t now_us);

/* ---- looking ---- */

/* Lookups give NULL when there is none. room_track_find(): *owner is set with it. */
struct room *room_by_id(const struct room_table *t, struct slice id);
struct seat *seat_find(const struct room_table *t, struct slice participant);
struct seat *seat_of(const struct room_table *t, struct slice room, struct slice user,
                     struct slice device); /* the one that is in, if there are two */
/* The seats of a device, one after another: *n NULL gives the first. */
struct seat *seat_next_of(const struct room_table *t, struct slice user, struct slice device,
                          struct hnode **n);
struct seat *room_seat_of_user(const struct room *r, struct slice user); /* any device's */
/* The one of that session that is in, or (in false) on its way. */
struct seat *room_seat_of_session(const struct room *r, const uint8_t session[SEAT_SESSION_BYTES],
                                  bool in);
struct seat_track *seat_track_find(const struct seat *s, struct slice track);
struct seat_track *room_track_find(const struct room_table *t, const struct room *r,
                                   struct slice track, struct seat **owner);
enum sig_room_state seat_state(const struct seat *s);
struct ctl_perms seat_ctl_perms(const struct seat *s); /* as the SFU is told */
struct ctl_slot seat_slot_view(const struct seat_slot *s);
/* What is forwarded on a slot has changed; a slot that is not there: nothing happens. */
void seat_slot_forward(struct seat *s, struct slice mid, int layer, int temporal,
                       enum ctl_pause pause);
bool room_table_in_room(const struct room_table *t, struct slice user, struct slice device);
/* Visits all rooms, as htable_walk(). */
struct room *room_walk(const struct room_table *t, size_t *pos, struct hnode **saved);
size_t room_table_count(const struct room_table *t);
size_t room_table_seats(const struct room_table *t);

#endif

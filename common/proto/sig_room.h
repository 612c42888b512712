/* Rooms on the socket (docs/SIGNALING.md §10): readers of what clients send, writers of what the
 * server says. Tracks, slots and subscriptions are those of the control protocol: the server passes
 * them on between the two.
 *
 * Readers take a message that sig_decode() accepted, and the same scratch; they return 0, or
 * -EBADMSG with *fault naming the field (then *out is undefined). Writers give bodies as in
 * sig_server.h. Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_ROOM_H
#define SORI_PROTO_SIG_ROOM_H

#include "proto/ctl.h"
#include "proto/sig_client.h"
#include "proto/sig_server.h"

enum {
    SIG_ROOM_SUBSCRIBE_MAX = 32,
    SIG_ROOM_INVITE_MAX = 16,     /* users in one room.invite */
    SIG_ROOM_METADATA_MAX = 1024, /* of a participant, raw; [room] metadata_bytes may be less */
    SIG_ROOM_NAMED_MAX = 8,       /* participants named in a call.incoming */
    SIG_ROOM_NAME_MAX = 128,      /* a participant's name */
};

enum sig_room_role { SIG_ROLE_MEMBER, SIG_ROLE_VIEWER, SIG_ROLE_ADMIN, SIG_ROLE_COUNT };
const char *sig_room_role_name(enum sig_room_role r); /* "member" */

enum sig_room_state { SIG_ROOM_CONNECTING, SIG_ROOM_CONNECTED, SIG_ROOM_RECONNECTING };

struct sig_room_perms {
    unsigned publish; /* CTL_SOURCE_BIT()s */
    bool subscribe, data, admin, hidden;
};

/* ---- what clients send ---- */

struct sig_room_wish {
    struct ctl_wish wish;
    struct slice name; /* may be empty */
};

/* room.join, room.offer. sdp: the raw JSON string. */
struct sig_room_offer {
    struct slice sdp;
    bool fresh;                  /* room.offer */
    bool pair;                   /* room.join */
    bool auto_audio, auto_video; /* room.join */
    bool has_metadata;
    struct slice metadata; /* raw object */
    size_t n;
    struct sig_room_wish v[CTL_TRACKS_MAX];
};
int sig_room_join(struct sig_room_offer *out, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault);
int sig_room_offer(struct sig_room_offer *out, const struct sig_msg *m, struct wr *scratch,
                   struct sig_fault *fault);

/* room.answer: the raw SDP string and its negotiation. */
int sig_room_answer(struct slice *sdp, struct slice *negotiation, const struct sig_msg *m,
                    struct wr *scratch, struct sig_fault *fault);

/* room.candidates: the raw array. */
int sig_room_candidates(struct slice *raw, const struct sig_msg *m, struct sig_fault *fault);

/* room.subscribe into at most SIG_ROOM_SUBSCRIBE_MAX wishes. */
int sig_room_subscribe(struct ctl_subscription *v, size_t *n, const struct sig_msg *m,
                       struct wr *scratch, struct sig_fault *fault);

/* room.unpublish, room.mute (then muted is required). */
int sig_room_mute(struct slice *track, bool *muted, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault);

struct sig_room_update {
    struct slice participant; /* empty: oneself */
    struct slice name;        /* empty: not there */
    bool has_metadata, has_role, has_perms;
    struct slice metadata; /* raw object */
    enum sig_room_role role;
    struct sig_room_perms perms; /* only the members named in `named` */
    struct {
        bool publish, subscribe, data, admin, hidden;
    } named;
};
int sig_room_update(struct sig_room_update *out, const struct sig_msg *m, struct wr *scratch,
                    struct sig_fault *fault);

/* room.kick. */
int sig_room_kick(struct slice *participant, bool *ban, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault);

/* room.invite: users is a raw array of 1 to SIG_ROOM_INVITE_MAX valid ids. */
struct sig_room_invite {
    struct slice users, metadata; /* metadata: raw object; empty when not there */
    bool is_video;
    uint32_t ring_timeout_ms;
};
int sig_room_invite(struct sig_room_invite *out, const struct sig_msg *m, struct sig_fault *fault);

/* ---- what the server says ----
 * A body: sig_room_open(), members in any order, sig_room_end(). */

/* Begins and ends a body. */
void sig_room_open(struct wr *w, const struct sig_head *h);
void sig_room_end(struct wr *w);
/* Begins and ends a list that is a member. */
void sig_room_list(struct wr *w, const char *key);
void sig_room_list_end(struct wr *w);

/* Members. */
void sig_room_text(struct wr *w, const char *key, struct slice v); /* left out when empty */
void sig_room_word(struct wr *w, const char *key, const char *v);
void sig_room_number(struct wr *w, const char *key, uint64_t v);
void sig_room_truth(struct wr *w, const char *key, bool v);
void sig_room_raw(struct wr *w, const char *key, struct slice v); /* left out when empty */
/* {"type":type,"sdp":raw}; left out when empty. */
void sig_room_sdp(struct wr *w, const char *key, const char *type, struct slice sdp_raw);
void sig_room_perms(struct wr *w, const struct sig_room_perms *p);
void sig_room_facts(struct wr *w, struct slice room, unsigned participants, unsigned tracks,
                    unsigned slots, unsigned metadata_bytes);

/* A participant, as a member under key (NULL: as a list item), up to its tracks: they follow
 * between sig_room_list() and sig_room_list_end() or not at all, then sig_room_person_end(). */
struct sig_room_person {
    struct slice id, user, device, name, metadata;
    enum sig_room_role role;
    enum sig_room_state state;
};
void sig_room_person(struct wr *w, const char *key, const struct sig_room_person *p);
void sig_room_person_end(struct wr *w);

/* A track, as a member under key (NULL: as a list item). */
void sig_room_track(struct wr *w, const char *key, const struct ctl_track *t, struct slice name);
/* What is forwarded of a picture, as members: `layer` and `temporal` (-1: left out), `paused`,
 * `reason`. */
void sig_room_forwarded(struct wr *w, int layer, int temporal, enum ctl_pause pause);
/* A list item. */
void sig_room_slot(struct wr *w, const struct ctl_slot *s);
/* `layers` of a bit mask under key. */
void sig_room_bits(struct wr *w, const char *key, unsigned bits);
/* A list item {user, name?} of the participants in a call.incoming. */
void sig_room_card(struct wr *w, struct slice user, struct slice name);
/* A list item of room.invite's reply: {user, callId}, or {user, code} without a call. */
void sig_room_invited(struct wr *w, struct slice user, const struct sig_call_id *call,
                      enum sig_err err);
/* `need` of room.negotiate. */
void sig_room_need(struct wr *w, unsigned audio, unsigned video);
/* A list item of speakers, of quality. */
void sig_room_speaker(struct wr *w, const struct ctl_speaker *s);
void sig_room_quality(struct wr *w, const struct ctl_quality *q);

#endif

/* One member of a room: its peers, its tracks, its permissions and wishes.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PARTICIPANT_H
#define SORI_SFU_PARTICIPANT_H

#include "sfu/data_room.h"
#include "sfu/link_quality.h"
#include "sfu/peer.h"

#define PEER_MAX 2

/* What it wants of one track. */
struct wish {
    char track[CTL_TRACK_MAX + 1], mid[RTP_MID_MAX + 1]; /* mid "": any slot */
    bool wanted, paused;
    int8_t layer, temporal;
    uint8_t priority;
};

struct participant {
    struct room *room;
    char id[CTL_PARTICIPANT_MAX + 1];
    unsigned place; /* in room->member */
    uint8_t mode;   /* enum ctl_mode */
    struct ctl_perms perms;
    struct ctl_limits limits;
    bool auto_audio, auto_video;
    struct peer *peer[PEER_MAX]; /* publisher's first; single mode: one */
    struct producer **track;
    unsigned n_tracks;
    struct wish *wish;
    unsigned n_wishes;
    uint8_t media;    /* enum ctl_media, as told */
    uint64_t lost_us; /* since when it is disconnected; 0: it is not */
    bool slots_dirty;
    unsigned lacks[RTP_KIND_COUNT]; /* tracks that would be on a slot if there were one more … */
    bool lacks_more;                /* … and this has not been dealt with */
    char negotiation[CTL_NEGOTIATION_MAX + 1]; /* of our open offer */
    unsigned negotiations;
    struct data_sender data;  /* of its messages */
    struct link_leg up, down; /* quality of what it sends, of what it receives */
    struct link_score score;
    float r, mos, mos_told; /* of the worse leg; score 0: not known */
    uint64_t told_us;       /* when its quality was told */
};

/* Performs CTL_JOIN: makes or replaces it, fills reply. */
void participant_join(struct room *room, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us);
/* Ends it. reason: told to sori-server unless NULL. */
void participant_free(struct participant *p, const char *reason, uint64_t now_us);

/* Perform CTL_OFFER, CTL_ANSWER, CTL_SUBSCRIBE, CTL_UNPUBLISH, CTL_MUTE, CTL_PERMISSIONS. */
void participant_offer(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                       uint64_t now_us);
void participant_answer(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                        uint64_t now_us);
void participant_subscribe(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                           uint64_t now_us);
void participant_unpublish(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                           uint64_t now_us);
void participant_mute(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us);
void participant_permissions(struct participant *p, const struct ctl_msg *req, uint64_t now_us);

/* The peer that it sends over, and the one that it receives over. */
static inline struct peer *participant_up(const struct participant *p)
{
    return p->peer[0];
}
static inline struct peer *participant_down(const struct participant *p)
{
    return p->peer[1] ? p->peer[1] : p->peer[0];
}

/* Its wish about a track, or NULL. */
const struct wish *participant_wish(const struct participant *p, const struct producer *t);
struct producer *participant_track(const struct participant *p, struct slice id);

/* Tells sori-server that it lacks slots (single mode), or offers some (pair mode); and finds out
 * whether wishes can't be met for want of slots. */
void participant_need(struct participant *p, unsigned audio, unsigned video, uint64_t now_us);
void participant_wants_more(struct participant *p, uint64_t now_us);

/* A peer's transport has another state. */
void participant_state(struct participant *p, uint64_t now_us);
/* When it has been without media for too long and leaves; CLOCK_NEVER while it has some. */
uint64_t participant_deadline(const struct participant *p);

/* Tells sori-server which tracks are on its slots, when that changed. */
void participant_tell_slots(struct participant *p);
/* Fills the slots of a message. */
size_t participant_slots(const struct participant *p, struct ctl_slot *v);

/* A description of its publisher was taken: makes and ends tracks and slots accordingly. */
int participant_sections(struct participant *p, struct peer *peer, const struct ctl_wish *wishes,
                         size_t n_wishes, uint64_t now_us);

#endif

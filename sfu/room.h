/* A room: its members, who is heard, who is seen, who speaks.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_ROOM_H
#define SORI_SFU_ROOM_H

#include "sfu/consumer.h"
#include "sfu/participant.h"

struct room {
    struct sfu_core *core;
    struct hnode node;             /* core->rooms */
    char id[SFU_ROOM_KEY_MAX + 1]; /* the key */
    struct participant **member;
    unsigned n_members, cap_members;
    struct producer **track; /* of all members, in the order in which they came */
    unsigned n_tracks, cap_tracks, n_audio, n_on_air;
    struct timer timer;
    uint64_t heard_us;    /* when somebody was last loud */
    uint64_t speakers_us; /* when speakers were told last */
    uint64_t quality_us;
    uint64_t slots_us;         /* when slots were told last */
    struct producer *dominant; /* NULL: nobody yet */
    uint32_t spoke_hash;       /* of who was told as speaking */
    bool slots_stale;          /* who is on which slot is to be decided again */
};

/* The room of that id; NULL: there is none. room_new() makes it, taken into the census before
 * (core_census_take); NULL when memory is out. */
struct room *room_find(struct sfu_core *c, struct slice id);
struct room *room_new(struct sfu_core *c, struct slice id);
/* Ends it with all members; nothing is told. */
void room_free(struct room *r, uint64_t now_us);

/* The member of that id; NULL: none. */
struct participant *room_member(const struct room *r, struct slice id);
/* Adds a member (0, -ENOSPC, -ENOMEM) and takes it out; a track likewise. */
int room_add(struct room *r, struct participant *p);
void room_remove(struct room *r, struct participant *p);
int room_add_track(struct room *r, struct producer *t);
void room_remove_track(struct room *r, struct producer *t, uint64_t now_us);
struct producer *room_track(const struct room *r, struct slice id);

/* Does what is due: speakers, slots, quality. */
void room_tick(struct room *r, uint64_t now_us);
/* Brings its timer forward. */
void room_arm(struct room *r, uint64_t at_us);

/* Layers of a video track came or went: its receivers choose anew, sori-server is told. */
void room_layers_changed(struct producer *t, uint64_t now_us);
/* Tells sori-server of a track. */
void room_tell_track(struct producer *t, enum ctl_track_event what);

/* room_slots.c: puts tracks on everybody's slots (one participant's: room_assign()); the dominant
 * speaker is another one. */
void room_assign_all(struct room *r, uint64_t now_us);
void room_assign_audio(struct room *r, uint64_t now_us);
void room_assign(struct room *r, struct participant *p, uint64_t now_us);
void room_dominant_changed(struct room *r, uint64_t now_us);

/* A track that is on air begins to speak: receivers with fewer slots than talkers let go of a
 * silent one for it. */
void room_began(struct room *r, const struct producer *t, uint64_t now_us);

/* room_audio.c: an audio packet came, loud or not; began: the first loud one after silence. True:
 * its track is (now) among those heard. */
bool room_heard(struct room *r, struct producer *t, bool loud, bool began, uint64_t now_us);
/* Tells who speaks, when it changed. Returns when to look again. */
uint64_t room_speakers(struct room *r, uint64_t now_us);

#endif

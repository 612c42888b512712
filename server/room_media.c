/* What the SFU says of a room, and what becomes of media that is lost.
 *
 * Called by router_room.c. Pure.
 *
 *     seat: joining --seat_joined--> in --seat_media_lost, room_media_lost--> lost
 *           lost --seat_start_over, seat_joined (a fresh offer)--> in
 *           lost --restart_us--> gone (room_table.c)
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_priv.h"

/* ---- tracks ---- */

/* Takes in the list of tracks that the SFU has of a seat: what is missing ends. */
static void take_tracks(struct room_table *t, struct seat *s, const struct ctl_track *v, size_t n)
{
    bool fresh, changed;

    for (size_t i = 0; i < n; i++) {
        struct seat_track *track = seat_track_put(s, &v[i], &fresh, &changed);
        if (!track)
            continue;
        track->keep = true;
        if (fresh)
            room_say_track(t, s, track, ROOM_PUBLISHED, (struct slice){0});
        else if (changed)
            room_say_track(t, s, track, ROOM_TRACK_UPDATED, (struct slice){0});
    }
    LIST_EACH(l, tmp, &s->tracks)
    {
        struct seat_track *track = CONTAINER_OF(l, struct seat_track, of_seat);
        bool keep = track->keep;
        track->keep = false;
        if (keep)
            continue;
        room_say_track(t, s, track, ROOM_UNPUBLISHED, (struct slice){0});
        seat_track_del(s, track);
    }
    room_touch(t, s->room, s);
}

void seat_joined(struct room_table *t, struct seat *s, const struct ctl_msg *reply, uint64_t now_us)
{
    bool first = !s->in;
    struct seat *old = first ? room_twin(t, s) : NULL;

    if (old)
        seat_leave(t, old, ROOM_REASON_REPLACED, now_us);
    s->lost = false;
    s->lost_us = CLOCK_NEVER;
    s->media = CTL_MEDIA_CONNECTING;
    seat_slots_put(s, reply->u.joined.slots, reply->u.joined.slots_n);
    /* Of a seat that is not in yet nothing is told: joined brings its tracks along. */
    take_tracks(t, s, reply->u.joined.tracks, reply->u.joined.tracks_n);
    s->in = true;
    if (first) {
        s->in_us = now_us;
        s->told = seat_state(s);
        room_say_person(t, s, ROOM_JOINED, ROOM_REASON_NONE);
    } else {
        room_review(t, s);
    }
    room_arm_seat(t, s);
}

void seat_offered(struct room_table *t, struct seat *s, const struct ctl_msg *reply,
                  uint64_t now_us)
{
    (void)now_us;
    seat_slots_put(s, reply->u.joined.slots, reply->u.joined.slots_n);
    take_tracks(t, s, reply->u.joined.tracks, reply->u.joined.tracks_n);
}

/* Everything that s published ends; the others hear of each unless the room's restart tells all. */
static void end_tracks(struct room_table *t, struct seat *s, bool say)
{
    LIST_EACH(l, tmp, &s->tracks)
    {
        struct seat_track *track = CONTAINER_OF(l, struct seat_track, of_seat);
        if (say)
            room_say_track(t, s, track, ROOM_UNPUBLISHED, (struct slice){0});
        seat_track_del(s, track);
    }
    seat_slots_put(s, NULL, 0);
}

static void lose_media(struct room_table *t, struct seat *s, uint64_t now_us)
{
    s->media = CTL_MEDIA_CLOSED;
    if (!s->lost)
        s->lost_us = now_us;
    s->lost = true;
    room_touch(t, s->room, s);
    room_arm_seat(t, s);
}

void seat_start_over(struct room_table *t, struct seat *s, uint64_t now_us)
{
    lose_media(t, s, now_us);
    end_tracks(t, s, true);
    room_review(t, s);
}

void seat_set_slots(struct seat *s, const struct ctl_slot *v, size_t n)
{
    seat_slots_put(s, v, n);
}

void seat_unpublished(struct room_table *t, struct seat *s, struct slice track_id)
{
    struct seat_track *track = seat_track_find(s, track_id);

    if (!track)
        return; /* the SFU's event came first */
    room_say_track(t, s, track, ROOM_UNPUBLISHED, (struct slice){0});
    seat_track_del(s, track);
    room_touch(t, s->room, s);
}

/* ---- what the SFU says ---- */

void seat_media_lost(struct room_table *t, struct seat *s, uint64_t now_us)
{
    if (s->lost || !s->in)
        return;
    seat_start_over(t, s, now_us);
    room_say(t, s->room, s,
             &(struct room_note){.kind = ROOM_NOTE_RESTART, .reason = ROOM_REASON_MEDIA_LOST});
}

void room_media_lost(struct room_table *t, struct room *r, enum room_reason reason, uint64_t now_us)
{
    const struct room_note note = {.kind = ROOM_NOTE_RESTART, .reason = reason};

    r->node = ROOM_NODE_NONE;
    room_touch(t, r, NULL);
    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (!s->in)
            continue; /* its join is about to fail, or goes to the next node */
        lose_media(t, s, now_us);
        end_tracks(t, s, false);
        s->told = seat_state(s); /* the restart tells everybody */
    }
    room_say(t, r, NULL, &note);
}

static void state_event(struct room_table *t, struct seat *s, const struct ctl_msg *m,
                        uint64_t now_us)
{
    if (m->u.state.media == CTL_MEDIA_CLOSED) {
        seat_media_lost(t, s, now_us);
        return;
    }
    s->media = m->u.state.media;
    room_touch(t, s->room, s);
    room_review(t, s);
}

static void track_event(struct room_table *t, struct seat *s, const struct ctl_msg *m)
{
    const struct ctl_track *from = &m->u.track.track;
    bool fresh = false, changed = false;

    room_touch(t, s->room, s);
    if (m->u.track.event == CTL_TRACK_ENDED) {
        struct seat_track *gone = seat_track_find(s, from->track);
        if (!gone)
            return;
        room_say_track(t, s, gone, ROOM_UNPUBLISHED, (struct slice){0});
        room_say_owner(t, s, gone, ROOM_UNPUBLISHED, (struct slice){0});
        seat_track_del(s, gone);
        return;
    }
    struct seat_track *track = seat_track_put(s, from, &fresh, &changed);
    if (!track)
        return;
    if (fresh)
        room_say_track(t, s, track, ROOM_PUBLISHED, (struct slice){0});
    else if (changed)
        room_say_track(t, s, track, ROOM_TRACK_UPDATED, (struct slice){0});
}

void room_sfu_event(struct room_table *t, size_t node, const struct ctl_msg *m, uint64_t now_us)
{
    struct seat *s = m->participant.len > 0 ? seat_find(t, m->participant) : NULL;
    struct room *r = room_by_id(t, m->room);

    if (!r || r->node != node)
        return;
    if (m->type == CTL_ROOM_CLOSED) {
        room_media_lost(t, r, ROOM_REASON_SFU_LOST, now_us);
        return;
    }
    if (!s || s->room != r || !s->in || s->lost)
        return;
    switch (m->type) {
    case CTL_STATE:
        state_event(t, s, m, now_us);
        break;
    case CTL_TRACK:
        track_event(t, s, m);
        break;
    case CTL_SLOTS:
        seat_slots_put(s, m->u.slots.v, m->u.slots.n);
        room_say(t, r, s, &(struct room_note){.kind = ROOM_NOTE_SLOTS, .about = s});
        break;
    default:
        break;
    }
}

void room_sync_write(struct room *r, struct wr *w)
{
    bool first = true;

    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        s->in_sync = false;
        if (s->lost && !s->busy) /* a fresh join under way may have been done already */
            continue;
        s->in_sync = s->in && !s->lost;
        ctl_ids_add(w, first, s->id);
        first = false;
    }
}

void room_synced(struct room_table *t, struct room *r, struct slice states, uint64_t now_us)
{
    struct ctl_walk it = {0};
    enum ctl_media media;
    struct slice id;

    while (ctl_states(&it, states, &id, &media)) {
        struct seat *s = seat_find(t, id);
        if (!s || s->room != r || !s->in_sync)
            continue;
        s->in_sync = false;
        if (s->lost || media == CTL_MEDIA_CLOSED)
            continue;
        s->media = media;
        room_review(t, s);
    }
    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->in_sync)
            seat_media_lost(t, s, now_us);
        s->in_sync = false;
    }
}

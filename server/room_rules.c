/* What members of a room do to themselves and each other: mute, change, kick; and the words for it.
 *
 * Called by router_room.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_priv.h"

const char *room_event_name(enum room_event e)
{
    static const char *const names[ROOM_EVENT_COUNT] = {
        [ROOM_JOINED] = "joined",           [ROOM_LEFT] = "left",
        [ROOM_UPDATED] = "updated",         [ROOM_RECONNECTING] = "reconnecting",
        [ROOM_CONNECTED] = "connected",     [ROOM_PUBLISHED] = "published",
        [ROOM_UNPUBLISHED] = "unpublished", [ROOM_MUTED] = "muted",
        [ROOM_UNMUTED] = "unmuted",         [ROOM_TRACK_UPDATED] = "updated",
    };

    return (unsigned)e < ROOM_EVENT_COUNT ? names[e] : "";
}

const char *room_reason_name(enum room_reason r)
{
    static const char *const names[ROOM_REASON_COUNT] = {
        [ROOM_REASON_NONE] = "",
        [ROOM_REASON_LEFT] = "left",
        [ROOM_REASON_KICKED] = "kicked",
        [ROOM_REASON_BANNED] = "banned",
        [ROOM_REASON_REPLACED] = "replaced",
        [ROOM_REASON_EXPIRED] = "expired",
        [ROOM_REASON_MEDIA_FAILED] = "media_failed",
        [ROOM_REASON_CLOSED] = "closed",
        [ROOM_REASON_SFU_UNAVAILABLE] = "sfu_unavailable",
        [ROOM_REASON_SFU_LOST] = "sfu_lost",
        [ROOM_REASON_SFU_MOVED] = "sfu_moved",
        [ROOM_REASON_MEDIA_LOST] = "media_lost",
    };

    return (unsigned)r < ROOM_REASON_COUNT ? names[r] : "";
}

/* ---- telling ---- */

void room_say(const struct room_table *t, struct room *r, struct seat *to,
              const struct room_note *note)
{
    t->ops->tell(t->arg, r, to, note);
}

/* News about a seat to the others; nothing when they do not see it. */
void room_say_person(const struct room_table *t, const struct seat *s, enum room_event event,
                     enum room_reason reason)
{
    if (s->in && !s->perms.hidden)
        room_say(t, s->room, NULL,
                 &(struct room_note){
                     .kind = ROOM_NOTE_PERSON, .event = event, .about = s, .reason = reason});
}

void room_say_track(const struct room_table *t, const struct seat *s,
                    const struct seat_track *track, enum room_event event, struct slice by)
{
    if (s->in && !s->perms.hidden)
        room_say(
            t, s->room, NULL,
            &(struct room_note){
                .kind = ROOM_NOTE_TRACK, .event = event, .about = s, .track = track, .by = by});
}

/* The owner hears of what was not its own doing. */
void room_say_owner(const struct room_table *t, struct seat *s, const struct seat_track *track,
                    enum room_event event, struct slice by)
{
    room_say(t, s->room, s,
             &(struct room_note){
                 .kind = ROOM_NOTE_TRACK, .event = event, .about = s, .track = track, .by = by});
}

/* Tells the others when the state that they know is no longer true. */
void room_review(const struct room_table *t, struct seat *s)
{
    enum sig_room_state now = seat_state(s);

    if (s->media == CTL_MEDIA_CONNECTED && !s->lost && !s->connected_once) {
        s->connected_once = true;
        if (t->ops->connected)
            t->ops->connected(t->arg, s);
    }
    if (now == s->told)
        return;
    s->told = now;
    room_say_person(t, s,
                    now == SIG_ROOM_CONNECTED      ? ROOM_CONNECTED
                    : now == SIG_ROOM_RECONNECTING ? ROOM_RECONNECTING
                                                   : ROOM_UPDATED,
                    ROOM_REASON_NONE);
}

/* ---- the SFU's commands ---- */

void room_command(const struct room_table *t, const struct seat *s, struct ctl_msg *m)
{
    if (s->room->node == ROOM_NODE_NONE)
        return;
    m->room = s->room->id;
    m->participant = s->id;
    t->ops->sfu(t->arg, s->room, m);
}

/* ---- what members do ---- */

enum sig_err room_mute(struct room_table *t, struct seat *by, struct slice track_id, bool muted)
{
    struct ctl_msg m = {.type = CTL_MUTE};
    struct seat *owner = NULL;
    struct seat_track *track = room_track_find(t, by->room, track_id, &owner);

    if (!track)
        return SIG_ERR_ROOM_TRACK_NOT_FOUND;
    bool own = owner == by;
    if (!own && (!by->perms.admin || !muted))
        return SIG_ERR_ROOM_FORBIDDEN;
    m.u.mute.track = track->t.track;
    m.u.mute.muted = muted;
    m.u.mute.forced = !own;
    room_command(t, owner, &m);
    if (track->t.muted == muted)
        return SIG_OK;
    track->t.muted = muted;
    room_touch(t, owner->room, owner);
    enum room_event event = muted ? ROOM_MUTED : ROOM_UNMUTED;
    struct slice by_id = own ? slice_str(NULL) : by->id;
    room_say_track(t, owner, track, event, by_id);
    if (!own)
        room_say_owner(t, owner, track, event, by->id);
    return SIG_OK;
}

static struct sig_room_perms perms_of_role(enum sig_room_role role, bool hidden)
{
    return (struct sig_room_perms){.publish = role == SIG_ROLE_VIEWER ? 0 : CTL_SOURCES_ALL,
                                   .subscribe = true,
                                   .data = true,
                                   .admin = role == SIG_ROLE_ADMIN,
                                   .hidden = hidden};
}

/* The permissions that an update leaves a seat with. */
static struct sig_room_perms updated_perms(const struct seat *s, const struct sig_room_update *u)
{
    struct sig_room_perms p = u->has_role ? perms_of_role(u->role, s->perms.hidden) : s->perms;

    if (u->named.publish)
        p.publish = u->perms.publish;
    if (u->named.subscribe)
        p.subscribe = u->perms.subscribe;
    if (u->named.data)
        p.data = u->perms.data;
    if (u->named.admin)
        p.admin = u->perms.admin;
    if (u->named.hidden)
        p.hidden = u->perms.hidden;
    if (p.hidden)
        p.publish = 0;
    return p;
}

/* Gives s other permissions; the SFU ends what is no longer allowed. */
static void change_perms(struct room_table *t, struct seat *s, const struct sig_room_perms *p)
{
    struct ctl_msg m = {.type = CTL_PERMISSIONS};
    bool was_hidden = s->perms.hidden;

    if (!was_hidden && p->hidden) /* to the others this is a leave */
        room_say_person(t, s, ROOM_LEFT, ROOM_REASON_LEFT);
    s->perms = *p;
    s->role = seat_role_of(p);
    m.u.permissions.perms = seat_ctl_perms(s);
    room_command(t, s, &m);
    if (was_hidden && !p->hidden)
        room_say_person(t, s, ROOM_JOINED, ROOM_REASON_NONE);
}

static bool perms_equal(const struct sig_room_perms *a, const struct sig_room_perms *b)
{
    return a->publish == b->publish && a->subscribe == b->subscribe && a->data == b->data &&
           a->admin == b->admin && a->hidden == b->hidden;
}

enum sig_err room_update(struct room_table *t, struct seat *by, const struct sig_room_update *u,
                         struct seat **changed)
{
    struct seat *s = u->participant.len > 0 ? seat_find(t, u->participant) : by;
    bool rights = u->has_role || u->has_perms;

    if (!s || s->room != by->room || (!s->in && s != by))
        return SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND;
    if ((rights && !by->perms.admin) || (s != by && (u->has_metadata || u->name.len > 0)) ||
        (s != by && !rights) || (u->name.len > 0 && s->named_by_token))
        return SIG_ERR_ROOM_FORBIDDEN;
    if (u->metadata.len > t->conf.metadata_bytes)
        return SIG_ERR_BAD_REQUEST;
    if ((u->has_metadata && !seat_text_put(&s->metadata, u->metadata)) ||
        (u->name.len > 0 && !seat_text_put(&s->name, u->name)))
        return SIG_ERR_INTERNAL;
    struct sig_room_perms p = updated_perms(s, u);
    if (rights && !perms_equal(&p, &s->perms))
        change_perms(t, s, &p);
    room_touch(t, s->room, s);
    room_say_person(t, s, ROOM_UPDATED, ROOM_REASON_NONE);
    if (s != by)
        room_say(t, s->room, s,
                 &(struct room_note){.kind = ROOM_NOTE_PERSON, .event = ROOM_UPDATED, .about = s});
    *changed = s;
    return SIG_OK;
}

enum sig_err room_kick(struct room_table *t, struct seat *by, struct slice participant, bool ban,
                       uint64_t now_us)
{
    struct seat *s = seat_find(t, participant);
    struct room *r = by->room;

    if (!by->perms.admin)
        return SIG_ERR_ROOM_FORBIDDEN;
    if (!s || s->room != r || s == by)
        return SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND;
    if (!ban) {
        seat_leave(t, s, ROOM_REASON_KICKED, now_us);
        return SIG_OK;
    }
    struct room_guest *g = room_guest_add(&r->banned, &r->banned_n, s->user);
    if (!g)
        return r->banned_n >= ROOM_GUESTS_MAX ? SIG_ERR_OVERLOADED : SIG_ERR_INTERNAL;
    room_touch(t, r, NULL);
    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *other = CONTAINER_OF(l, struct seat, of_room);
        if (other != by && slice_eq(other->user, slice_of(g->user, g->len)))
            seat_leave(t, other, ROOM_REASON_BANNED, now_us);
    }
    return SIG_OK;
}

/* Rooms: who is in them, and what is due in them.
 *
 * A room exists from its first participant to its last. Its timer runs while somebody speaks
 * (speakers), while slots are to be decided again, and for quality reports.
 * Called by sfu_core.c, participant.c, producer.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/room.h"

#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sfu/quality.h"

#define STEP 8
#define SLOTS_US                                                                    \
    (50 * US_PER_MS) /* slots are told at most so often: who talks may change often \
                      */

struct room *room_find(struct sfu_core *c, struct slice id)
{
    uint64_t h = hash_bytes(id);

    for (struct hnode *n = htable_first(&c->rooms, h); n; n = htable_next(n)) {
        struct room *r = CONTAINER_OF(n, struct room, node);

        if (slice_eq(slice_str(r->id), id))
            return r;
    }
    return NULL;
}

struct room *room_new(struct sfu_core *c, struct slice id)
{
    struct room *r = mem_zalloc(sizeof(*r));

    if (!r || slice_to_cstr(id, r->id, sizeof(r->id)) != 0) {
        mem_free(r);
        return NULL;
    }
    r->core = c;
    r->quality_us = c->now_us + QUALITY_INTERVAL_US;
    htable_add(&c->rooms, &r->node, hash_bytes(id));
    counter_inc(&c->count.rooms);
    room_arm(r, r->quality_us);
    return r;
}

void room_free(struct room *r, uint64_t now_us)
{
    struct sfu_core *c = r->core;

    while (r->n_members > 0)
        participant_free(r->member[r->n_members - 1], NULL, now_us);
    timer_cancel(c->room_wheel, &r->timer);
    htable_del(&c->rooms, &r->node);
    counter_sub(&c->count.rooms, 1);
    core_census_leave(&c->census->rooms);
    mem_free(r->member);
    mem_free(r->track);
    mem_free(r);
}

struct participant *room_member(const struct room *r, struct slice id)
{
    for (unsigned i = 0; i < r->n_members; i++)
        if (slice_eq(slice_str(r->member[i]->id), id))
            return r->member[i];
    return NULL;
}

int room_add(struct room *r, struct participant *p)
{
    if (r->n_members >= r->core->conf->limits.participants)
        return -ENOSPC;
    if (r->n_members == r->cap_members) {
        struct participant **v = mem_realloc(r->member, (r->cap_members + STEP) * sizeof(*v));

        if (!v)
            return -ENOMEM;
        r->member = v;
        r->cap_members += STEP;
    }
    p->place = r->n_members;
    r->member[r->n_members++] = p;
    return 0;
}

void room_remove(struct room *r, struct participant *p)
{
    r->member[p->place] = r->member[--r->n_members];
    r->member[p->place]->place = p->place;
}

int room_add_track(struct room *r, struct producer *t)
{
    if (r->n_tracks == r->cap_tracks) {
        struct producer **v = mem_realloc(r->track, (r->cap_tracks + STEP) * sizeof(*v));

        if (!v)
            return -ENOMEM;
        r->track = v;
        r->cap_tracks += STEP;
    }
    r->track[r->n_tracks++] = t;
    r->n_audio += t->kind == RTP_KIND_AUDIO;
    r->slots_stale = true;
    return 0;
}

void room_remove_track(struct room *r, struct producer *t, uint64_t now_us)
{
    for (unsigned i = 0; i < r->n_tracks; i++) {
        if (r->track[i] != t)
            continue;
        memmove(&r->track[i], &r->track[i + 1], (r->n_tracks - i - 1) * sizeof(struct producer *));
        r->n_tracks--;
        r->n_audio -= t->kind == RTP_KIND_AUDIO;
        r->n_on_air -= t->on_air;
        break;
    }
    if (r->dominant == t)
        r->dominant = NULL;
    r->slots_stale = true;
    room_arm(r, now_us);
}

struct producer *room_track(const struct room *r, struct slice id)
{
    for (unsigned i = 0; i < r->n_tracks; i++)
        if (slice_eq(slice_str(r->track[i]->id), id))
            return r->track[i];
    return NULL;
}

static unsigned layers_of(const struct producer *t)
{
    unsigned sid = 0, tid = 0;

    if (t->n_layers > 1 || !t->layer[0].video)
        return t->n_layers;
    video_source_layers(t->layer[0].video, &sid, &tid);
    return sid + 1 > RTP_LAYERS_MAX ? RTP_LAYERS_MAX : sid + 1;
}

void room_tell_track(struct producer *t, enum ctl_track_event what)
{
    struct sfu_core *c = t->room->core;

    if (what == CTL_TRACK_UPDATED && !t->told)
        return;
    struct ctl_msg *m = core_event(c, CTL_TRACK, t->room, t->peer->owner);
    m->u.track.event = what;
    m->u.track.track = (struct ctl_track){.track = slice_str(t->id),
                                          .mid = slice_str(t->mid),
                                          .kind = t->kind,
                                          .source = t->source,
                                          .muted = t->muted || t->forced,
                                          .layers = layers_of(t)};
    t->told = what != CTL_TRACK_ENDED;
    core_emit(c);
}

void room_layers_changed(struct producer *t, uint64_t now_us)
{
    for (unsigned i = 0; i < t->n_consumers; i++) {
        if (t->consumer[i]->alloc.layer < 0)
            peer_allocate(t->consumer[i]->peer, now_us); /* its first packet may be a key frame */
        else
            peer_realloc(t->consumer[i]->peer, now_us);
    }
}

void room_arm(struct room *r, uint64_t at_us)
{
    if (!timer_is_set(&r->timer) || at_us < r->timer.deadline_us) {
        timer_set(r->core->room_wheel, &r->timer, at_us);
        r->core->ops->wake(r->core->arg);
    }
}

void room_tick(struct room *r, uint64_t now_us)
{
    uint64_t next = r->quality_us;

    if (r->slots_stale)
        room_assign_all(r, now_us);
    uint64_t again = room_speakers(r, now_us);
    next = again < next ? again : next;
    if (now_us >= r->quality_us) {
        quality_room(r, now_us);
        r->quality_us = now_us + QUALITY_INTERVAL_US;
        next = r->quality_us < next ? r->quality_us : next;
    }
    bool tell = now_us - r->slots_us >= SLOTS_US;
    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *p = r->member[i];

        if (p->slots_dirty && tell) {
            r->slots_us = now_us;
            participant_tell_slots(p);
        } else if (p->slots_dirty && r->slots_us + SLOTS_US < next) {
            next = r->slots_us + SLOTS_US;
        }
        /* In pair mode it is we who offer. */
        if (p->lacks_more && p->mode == CTL_MODE_PAIR && !p->negotiation[0]) {
            p->lacks_more = false;
            participant_need(p, p->lacks[RTP_KIND_AUDIO], p->lacks[RTP_KIND_VIDEO], now_us);
        }
    }
    room_arm(r, next);
}

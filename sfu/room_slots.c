/* Which track is on which slot of whom.
 *
 * Audio: all talkers while there are slots for all of them, else those on air. Video: what the
 * receiver asked for, by priority; then, in auto mode, screens, who speaks, and the rest in the
 * order in which they came. A track that has a slot keeps it: pictures do not jump.
 * Called by room.c, room_audio.c, participant.c. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/room.h"

#define CHOICE_MAX 128 /* slots of one participant ([limits] slots_per_participant) */

struct choice {
    struct producer *t; /* NULL: has its place */
    const struct wish *wish;
    int rank;             /* higher first */
    struct consumer *pin; /* the slot that was asked for, if it may have it */
};

static bool wants(const struct participant *p, const struct producer *t, const struct wish *w)
{
    if (!p->perms.subscribe || t->peer->owner == p || !producer_open(t))
        return false;
    if (w)
        return w->wanted;
    return t->kind == RTP_KIND_AUDIO ? p->auto_audio : p->auto_video;
}

static unsigned count_slots(const struct peer *d, uint8_t kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->n_slots; i++) {
        const struct neg_section *s = negotiate_section(d->neg, d->slot[i]->section);
        n += d->slot[i]->kind == kind && s && s->send;
    }
    return n;
}

static int rank_of(const struct room *r, const struct producer *t, const struct wish *w,
                   bool has_slot)
{
    int rank = w && w->wanted ? 1000 + w->priority * 10 : 0;

    if (t->kind == RTP_KIND_AUDIO)
        return rank + (t->on_air ? 4 : 0) + (speaker_active(&t->speaker, r->core->now_us) ? 2 : 0) +
               (has_slot ? 1 : 0);
    if (t->source == CTL_SOURCE_SCREEN)
        rank += 8;
    if (r->dominant && t->peer->owner == r->dominant->peer->owner)
        rank += 4;
    return rank + (has_slot ? 2 : 0); /* who is shown stays, unless somebody better comes */
}

static bool on_slot(const struct peer *d, const struct producer *t)
{
    for (unsigned i = 0; i < d->n_slots; i++)
        if (d->slot[i]->source == t)
            return true;
    return false;
}

/* The n best tracks of a kind for p, in v; gives how many there are, and in *all how many would be
 * wanted. */
static unsigned choose(struct room *r, const struct participant *p, const struct peer *d,
                       uint8_t kind, struct choice *v, unsigned n, unsigned *all)
{
    unsigned have = 0;

    *all = 0;
    for (unsigned i = 0; i < r->n_tracks; i++) {
        struct producer *t = r->track[i];
        const struct wish *w = t->kind == kind ? participant_wish(p, t) : NULL;

        if (t->kind != kind || !wants(p, t, w))
            continue;
        (*all)++;
        int rank = rank_of(r, t, w, on_slot(d, t));
        unsigned at = have < n ? have : n;
        while (at > 0 && v[at - 1].rank < rank)
            at--;
        if (at >= n)
            continue;
        have += have < n;
        memmove(&v[at + 1], &v[at], (have - 1 - at) * sizeof(*v));
        v[at] = (struct choice){t, w, rank, NULL};
    }
    return have;
}

static void apply_wish(struct consumer *c, const struct wish *w)
{
    bool paused = w && w->paused;

    c->wish_layer = w ? w->layer : CTL_LAYER_AUTO;
    c->wish_tid = w ? w->temporal : CTL_LAYER_AUTO;
    c->priority = w ? w->priority : 0;
    c->paused = paused;
    c->pinned = w && w->mid[0];
}

static struct choice *chosen(struct choice *v, unsigned n, const struct producer *t)
{
    for (unsigned i = 0; i < n; i++)
        if (v[i].t == t)
            return &v[i];
    return NULL;
}

/* Slots that were asked for by name; of two who ask for one the better has it. */
static void pin(struct peer *d, struct choice *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct wish *w = v[i].wish;
        struct consumer *c = w && w->mid[0] ? peer_slot_by_mid(d, slice_str(w->mid)) : NULL;

        if (!c || !consumer_can(c, v[i].t))
            continue;
        bool taken = false;
        for (unsigned k = 0; k < i && !taken; k++)
            taken = v[k].pin == c;
        v[i].pin = taken ? NULL : c;
    }
}

static bool is_pinned(const struct choice *v, unsigned n, const struct consumer *c)
{
    for (unsigned i = 0; i < n; i++)
        if (v[i].pin == c)
            return true;
    return false;
}

static struct consumer *free_slot(const struct peer *d, const struct producer *t)
{
    for (unsigned i = 0; i < d->n_slots; i++)
        if (!d->slot[i]->source && consumer_can(d->slot[i], t))
            return d->slot[i];
    return NULL;
}

static void place(struct choice *ch, struct consumer *c, uint64_t now_us)
{
    apply_wish(c, ch->wish);
    consumer_set_source(c, ch->t, now_us);
    ch->t = NULL;
}

static void assign_kind(struct room *r, struct participant *p, struct peer *d, uint8_t kind,
                        uint64_t now_us)
{
    struct choice v[CHOICE_MAX + 1];
    unsigned slots = count_slots(d, kind), all;
    unsigned n = slots > CHOICE_MAX ? CHOICE_MAX : slots;
    uint64_t last_n = r->core->conf->audio.last_n;

    /* More talkers than slots: only those on air, the last_n loudest. */
    unsigned have = choose(r, p, d, kind, v, n, &all);
    unsigned lacks = all > slots ? all - slots : 0;
    p->lacks_more = p->lacks_more || lacks > p->lacks[kind];
    p->lacks[kind] = lacks;
    if (kind == RTP_KIND_AUDIO && all > slots && last_n != 0 && have > last_n)
        have = (unsigned)last_n;
    pin(d, v, have);
    for (unsigned i = 0; i < d->n_slots; i++) { /* what stays, and what goes */
        struct consumer *c = d->slot[i];
        struct choice *ch = c->kind == kind && c->source ? chosen(v, have, c->source) : NULL;

        if (c->kind != kind || !c->source)
            continue;
        bool moves = ch && ch->pin != c && (ch->pin || is_pinned(v, have, c));
        if (!ch || moves || !consumer_can(c, c->source)) {
            consumer_set_source(c, NULL, now_us);
            continue;
        }
        apply_wish(c, ch->wish);
        ch->t = NULL;
    }
    for (unsigned i = 0; i < have; i++)
        if (v[i].t && v[i].pin)
            place(&v[i], v[i].pin, now_us);
    for (unsigned i = 0; i < have; i++) {
        struct consumer *c = v[i].t ? free_slot(d, v[i].t) : NULL;

        if (c)
            place(&v[i], c, now_us);
    }
    if (kind == RTP_KIND_VIDEO)
        peer_realloc(d, now_us);
}

void room_assign(struct room *r, struct participant *p, uint64_t now_us)
{
    struct peer *d = participant_down(p);

    if (!d || d->closing)
        return;
    assign_kind(r, p, d, RTP_KIND_AUDIO, now_us);
    assign_kind(r, p, d, RTP_KIND_VIDEO, now_us);
}

void room_began(struct room *r, const struct producer *t, uint64_t now_us)
{
    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *p = r->member[i];
        struct peer *d = p->lacks[RTP_KIND_AUDIO] ? participant_down(p) : NULL;

        if (!d || d->closing || on_slot(d, t))
            continue;
        assign_kind(r, p, d, RTP_KIND_AUDIO, now_us);
        room_arm(r, now_us); /* to tell */
    }
}

void room_assign_all(struct room *r, uint64_t now_us)
{
    r->slots_stale = false;
    for (unsigned i = 0; i < r->n_members; i++)
        room_assign(r, r->member[i], now_us);
    room_arm(r, now_us); /* to tell */
}

/* Who is heard has changed, in the middle of a packet: pictures stay where they are. */
void room_assign_audio(struct room *r, uint64_t now_us)
{
    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *p = r->member[i];
        struct peer *d = participant_down(p);

        if (d && !d->closing)
            assign_kind(r, p, d, RTP_KIND_AUDIO, now_us);
    }
    room_arm(r, now_us);
}

void room_dominant_changed(struct room *r, uint64_t now_us)
{
    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *p = r->member[i];
        struct peer *d = participant_down(p);

        if (d && d->n_video > 0)
            assign_kind(r, p, d, RTP_KIND_VIDEO, now_us);
    }
}

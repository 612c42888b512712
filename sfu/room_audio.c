/* Who is heard in a room, and who is said to speak.
 *
 * While everybody has a slot for every talker, all are heard. In a larger room the N loudest are
 * *on air* (Last-N): a talker who begins to speak takes the place of one who is silent, with the
 * very packet that says so, so that no onset is cut; against N who all speak, only one who is
 * clearly louder gets in. Called by producer.c for each audio packet, and by room.c.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/room.h"

#define LOOK_US    (50 * US_PER_MS)
#define TELL_US    (100 * US_PER_MS) /* speakers are told at most so often … */
#define LEVELS_US  (500 * US_PER_MS) /* … and so often while nothing but levels changes */
#define QUIET_US   (2 * US_PER_S)    /* nobody was loud for so long: nothing to look at */
#define OUTDO_DB   6.0f
#define ON_AIR_MAX 64

/* How many may be on air: one more than a receiver hears, since nobody hears himself. */
static unsigned air_places(const struct room *r)
{
    uint64_t n = r->core->conf->audio.last_n;

    return n == 0 || n > ON_AIR_MAX ? ON_AIR_MAX : (unsigned)n + 1;
}

/* The one on air whose place t may take; NULL when none. */
static struct producer *weakest(const struct room *r, const struct producer *t, uint64_t now_us)
{
    struct producer *low = NULL;
    float low_rank = 0.0f; /* of one who is silent: below zero, the lower the longer */

    for (unsigned i = 0; i < r->n_tracks; i++) {
        struct producer *o = r->track[i];

        if (o->kind != RTP_KIND_AUDIO || !o->on_air)
            continue;
        float rank = speaker_active(&o->speaker, now_us)
                         ? speaker_rank(&o->speaker, now_us)
                         : -(float)(now_us - o->speaker.loud_us) - 1.0f;
        if (!low || rank < low_rank) {
            low = o;
            low_rank = rank;
        }
    }
    if (low && low_rank >= 0.0f && speaker_rank(&t->speaker, now_us) < low_rank + OUTDO_DB)
        return NULL;
    return low;
}

bool room_heard(struct room *r, struct producer *t, bool loud, bool began, uint64_t now_us)
{
    if (loud) {
        r->heard_us = now_us;
        if (!timer_is_set(&r->timer) || r->timer.deadline_us > now_us + LOOK_US)
            room_arm(r, now_us + LOOK_US);
    }
    if (t->on_air || !producer_open(t)) {
        if (t->on_air && began)
            room_began(r, t, now_us);
        return t->on_air;
    }
    if (r->n_on_air < air_places(r)) {
        r->n_on_air++; /* there is room: nobody has to speak for it */
    } else {
        struct producer *low = loud ? weakest(r, t, now_us) : NULL;

        if (!low)
            return false;
        low->on_air = false;
    }
    t->on_air = true;
    room_assign_audio(r, now_us);
    return true;
}

static void tell_speakers(struct room *r, uint64_t now_us)
{
    struct sfu_core *c = r->core;
    struct ctl_msg *m = core_event(c, CTL_SPEAKERS, r, NULL);

    m->u.speakers.dominant =
        r->dominant ? slice_str(r->dominant->peer->owner->id) : (struct slice){0};
    m->u.speakers.n = 0;
    for (unsigned i = 0; i < r->n_tracks && m->u.speakers.n < CTL_SPEAKERS_MAX; i++) {
        struct producer *t = r->track[i];

        if (t->kind != RTP_KIND_AUDIO || !speaker_active(&t->speaker, now_us))
            continue;
        float rank = speaker_rank(&t->speaker, now_us);
        m->u.speakers.v[m->u.speakers.n++] = (struct ctl_speaker){
            slice_str(t->peer->owner->id), rank > 127.0f ? 0 : (unsigned)(127.0f - rank)};
    }
    r->speakers_us = now_us;
    core_emit(c);
}

uint64_t room_speakers(struct room *r, uint64_t now_us)
{
    struct speaker *v[ON_AIR_MAX];
    struct producer *who[ON_AIR_MAX];
    int n = 0, current = -1;
    uint32_t hash = 0;

    if (r->heard_us == 0 || now_us - r->heard_us > QUIET_US)
        return CLOCK_NEVER;
    for (unsigned i = 0; i < r->n_tracks && n < ON_AIR_MAX; i++) {
        struct producer *t = r->track[i];

        if (t->kind != RTP_KIND_AUDIO || (!t->on_air && t != r->dominant))
            continue;
        if (t == r->dominant)
            current = n;
        if (speaker_active(&t->speaker, now_us))
            hash = hash * 31 + (uint32_t)(i + 1);
        who[n] = t;
        v[n++] = &t->speaker;
    }
    int best = speaker_dominant(v, n, current, now_us);
    bool switched = best >= 0 && who[best] != r->dominant;
    if (switched) {
        r->dominant = who[best];
        counter_inc(&r->core->count.speaker_switches);
        room_dominant_changed(r, now_us);
    }
    bool changed = hash != r->spoke_hash;
    if (switched || (changed && now_us - r->speakers_us >= TELL_US) ||
        (hash != 0 && now_us - r->speakers_us >= LEVELS_US)) {
        r->spoke_hash = hash;
        tell_speakers(r, now_us);
    }
    return now_us + LOOK_US;
}

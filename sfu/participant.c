/* Members of a room: what sori-server asks for them.
 *
 *   CTL_JOIN ─► participant_join ─► peer_offer ─► participant_sections ─► producers, consumers
 *                                                                      └► room_assign ─► slots
 * Sections of its own that the client sends in become tracks (producer), those it receives in
 * become slots (consumer); a section that is no longer used gives up both.
 * Called by sfu_core.c. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/participant.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "sfu/room.h"

#define WISHES_MAX (2 * CTL_SUBSCRIBE_MAX)

static void refuse(struct ctl_msg *reply, enum ctl_err code, const char *text)
{
    reply->kind = CTL_KIND_ERROR;
    reply->u.error.code = code;
    reply->u.error.text = slice_str(text);
}

/* ---- tracks and slots from sections ---- */

static const struct ctl_wish *wish_of(const struct ctl_wish *v, size_t n, const char *mid)
{
    for (size_t i = 0; i < n; i++)
        if (slice_is(v[i].mid, mid))
            return &v[i];
    return NULL;
}

static struct producer *track_by_mid(const struct participant *p, const char *mid)
{
    for (unsigned i = 0; i < p->n_tracks; i++)
        if (strcmp(p->track[i]->mid, mid) == 0)
            return p->track[i];
    return NULL;
}

static void end_track(struct participant *p, struct producer *t, uint64_t now_us)
{
    for (unsigned i = 0; i < p->n_tracks; i++) {
        if (p->track[i] != t)
            continue;
        memmove(&p->track[i], &p->track[i + 1], (p->n_tracks - i - 1) * sizeof(t));
        p->n_tracks--;
        break;
    }
    if (t->told)
        room_tell_track(t, CTL_TRACK_ENDED);
    peer_forget_track(t->peer, t);
    producer_free(t, now_us);
}

/* What a permission for one source allows is of one kind: a "microphone" can't be video. */
static bool may_publish(const struct participant *p, enum ctl_source source, uint8_t kind)
{
    static const unsigned of_kind[] = {[RTP_KIND_AUDIO] = CTL_SOURCE_BIT(CTL_SOURCE_MICROPHONE) |
                                                          CTL_SOURCE_BIT(CTL_SOURCE_SCREEN_AUDIO) |
                                                          CTL_SOURCE_BIT(CTL_SOURCE_OTHER),
                                       [RTP_KIND_VIDEO] = CTL_SOURCE_BIT(CTL_SOURCE_CAMERA) |
                                                          CTL_SOURCE_BIT(CTL_SOURCE_SCREEN) |
                                                          CTL_SOURCE_BIT(CTL_SOURCE_OTHER)};

    return kind < ARRAY_LEN(of_kind) && p->perms.publish & of_kind[kind] & CTL_SOURCE_BIT(source);
}

/* What the client says that it is, else what it was, else what most sections are. */
static enum ctl_source source_of(const struct ctl_wish *w, const struct producer *t,
                                 const struct neg_section *s)
{
    if (w)
        return w->source;
    if (t && t->kind == s->kind)
        return (enum ctl_source)t->source;
    return s->kind == RTP_KIND_AUDIO ? CTL_SOURCE_MICROPHONE : CTL_SOURCE_CAMERA;
}

static int begin_track(struct participant *p, struct peer *peer, const struct neg_section *s,
                       const struct ctl_wish *w)
{
    struct producer **v = mem_realloc(p->track, (p->n_tracks + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    p->track = v;
    struct producer *t = producer_new(peer, s);
    if (!t)
        return -ENOMEM;
    t->source = (uint8_t)source_of(w, NULL, s);
    t->muted = w && w->muted;
    p->track[p->n_tracks++] = t;
    return peer_add_track(peer, t);
}

static void mute(struct producer *t, bool muted, bool forced, uint64_t now_us)
{
    bool was = t->muted || t->forced;

    producer_mute(t, muted, forced, now_us);
    if (was != (muted || forced))
        room_tell_track(t, CTL_TRACK_UPDATED);
}

static int section_track(struct participant *p, struct peer *peer, const struct neg_section *s,
                         const struct ctl_wish *w, uint64_t now_us)
{
    struct producer *t = track_by_mid(p, s->mid);
    enum ctl_source source = source_of(w, t, s);
    bool on = s->recv && s->kind != RTP_KIND_DATA && may_publish(p, source, s->kind);

    if (!on) {
        if (t)
            end_track(p, t, now_us);
        return 0;
    }
    if (t && t->kind != s->kind) {
        end_track(p, t, now_us);
        t = NULL;
    }
    if (!t) {
        int e = begin_track(p, peer, s, w);
        if (e)
            return e;
        t = p->track[p->n_tracks - 1];
        room_tell_track(t, CTL_TRACK_PUBLISHED);
        return 0;
    }
    t->source = (uint8_t)source;
    if (w)
        mute(t, w->muted, t->forced, now_us);
    int e = producer_describe(t, s);
    return e ? e : peer_add_track(peer, t);
}

/* Slots whose section is another one now (RFC 8829 §5.2.2: a rejected section may be used again,
 * with another mid) are gone: the new one has an SSRC of its own. */
static void end_slots(struct peer *peer, uint64_t now_us)
{
    unsigned n = 0;

    for (unsigned i = 0; i < peer->n_slots; i++) {
        struct consumer *c = peer->slot[i];
        const struct neg_section *s = negotiate_section(peer->neg, c->section);

        if (s && s->kind == c->kind && strcmp(s->mid, c->mid) == 0) {
            peer->slot[n++] = c;
            continue;
        }
        peer->owner->slots_dirty = true;
        consumer_free(c, now_us);
    }
    peer->n_slots = n;
}

static struct consumer *slot_of(const struct peer *peer, unsigned section)
{
    for (unsigned i = 0; i < peer->n_slots; i++)
        if (peer->slot[i]->section == section)
            return peer->slot[i];
    return NULL;
}

static int section_slot(struct peer *peer, unsigned i, const struct neg_section *s, uint64_t now_us)
{
    struct consumer *c = slot_of(peer, i);

    if (c && !s->send) {
        consumer_describe(c, s, now_us);
        consumer_set_source(c, NULL, now_us);
        return 0; /* stays as it is: its SSRC and numbers serve the section again */
    }
    if (!s->send || s->kind == RTP_KIND_DATA)
        return 0;
    if (c) {
        consumer_describe(c, s, now_us);
        return 0;
    }
    struct consumer **v = mem_realloc(peer->slot, (peer->n_slots + 1) * sizeof(*v));
    if (!v)
        return -ENOMEM;
    peer->slot = v;
    c = consumer_new(peer, i, s);
    if (!c)
        return -ENOMEM;
    peer->slot[peer->n_slots++] = c;
    return 0;
}

int participant_sections(struct participant *p, struct peer *peer, const struct ctl_wish *wishes,
                         size_t n_wishes, uint64_t now_us)
{
    int e = 0;

    end_slots(peer, now_us);
    for (unsigned i = 0; !e && i < negotiate_sections(peer->neg); i++) {
        const struct neg_section *s = negotiate_section(peer->neg, i);

        if (peer->publisher)
            e = section_track(p, peer, s, wish_of(wishes, n_wishes, s->mid), now_us);
        if (!e && peer->subscriber)
            e = section_slot(peer, i, s, now_us);
    }
    peer_data_changed(peer);
    return e;
}

/* ---- join, offer, answer ---- */

static void fill_tracks(const struct participant *p, struct ctl_msg *reply)
{
    size_t n = 0;

    for (unsigned i = 0; i < p->n_tracks && n < CTL_TRACKS_MAX; i++) {
        const struct producer *t = p->track[i];

        reply->u.joined.tracks[n++] = (struct ctl_track){.track = slice_str(t->id),
                                                         .mid = slice_str(t->mid),
                                                         .kind = t->kind,
                                                         .source = t->source,
                                                         .muted = t->muted || t->forced,
                                                         .layers = t->n_layers};
    }
    reply->u.joined.tracks_n = n;
    reply->u.joined.slots_n = participant_slots(p, reply->u.joined.slots);
}

size_t participant_slots(const struct participant *p, struct ctl_slot *v)
{
    const struct peer *d = participant_down(p);
    size_t n = 0;

    for (unsigned i = 0; d && i < d->n_slots && n < CTL_SLOTS_MAX; i++) {
        const struct consumer *c = d->slot[i];

        v[n] = (struct ctl_slot){.mid = slice_str(c->mid)};
        if (c->source) {
            v[n].track = slice_str(c->source->id);
            v[n].participant = slice_str(c->source->peer->owner->id);
            v[n].picture = c->kind == RTP_KIND_VIDEO;
            v[n].layer = c->alloc.layer;
            v[n].temporal = c->alloc.tid;
            v[n].pause = v[n].picture ? consumer_pause(c) : CTL_PAUSE_NONE;
        }
        n++;
    }
    return n;
}

void participant_tell_slots(struct participant *p)
{
    struct sfu_core *c = p->room->core;

    if (!p->slots_dirty)
        return;
    p->slots_dirty = false;
    struct ctl_msg *m = core_event(c, CTL_SLOTS, p->room, p);
    m->u.slots.n = participant_slots(p, m->u.slots.v);
    core_emit(c);
}

/* Takes an offer over peer and fills the answer; on failure reply is an error. */
static bool take_offer(struct participant *p, struct peer *peer, struct slice sdp,
                       const struct ctl_wish *wishes, size_t n_wishes, struct ctl_msg *reply,
                       uint64_t now_us)
{
    struct sfu_core *c = p->room->core;
    struct wr w = wr_init(c->answer, sizeof(c->answer));
    const char *why = "";
    enum ctl_err e = peer_offer(peer, sdp, &w, &why, now_us);

    if (e == CTL_OK && participant_sections(p, peer, wishes, n_wishes, now_us) != 0) {
        e = CTL_ERR_INTERNAL;
        why = "out of memory";
    }
    if (e != CTL_OK) {
        refuse(reply, e, why);
        return false;
    }
    reply->u.joined.answer = (struct ctl_sdp){.text = wr_done(&w)};
    return true;
}

/* Pair mode: an offer for the subscriber's side with slots for what is in the room. */
static void offer_slots(struct participant *p, struct ctl_msg *reply, uint64_t now_us)
{
    struct sfu_core *c = p->room->core;
    struct wr w = wr_init(c->sub_offer, sizeof(c->sub_offer));
    unsigned audio = 0, video = 0;

    for (unsigned i = 0; i < p->room->n_tracks; i++) {
        const struct producer *t = p->room->track[i];

        if (t->peer->owner != p)
            *(t->kind == RTP_KIND_AUDIO ? &audio : &video) += 1;
    }
    if (peer_make_offer(p->peer[1], audio, video, &w, now_us) != CTL_OK)
        return;
    snprintf(p->negotiation, sizeof(p->negotiation), "n%u", ++p->negotiations);
    reply->u.joined.sub_offer = (struct ctl_sdp){.text = wr_done(&w)};
    reply->u.joined.negotiation = slice_str(p->negotiation);
}

static void describe_join(struct participant *p, const struct ctl_msg *req)
{
    p->mode = (uint8_t)req->u.join.mode;
    p->perms = req->u.join.perms;
    p->limits = req->u.join.limits;
    p->auto_audio = req->u.join.auto_audio;
    p->auto_video = req->u.join.auto_video;
    p->media = CTL_MEDIA_CONNECTING;
}

static struct participant *make(struct room *room, const struct ctl_msg *req, uint64_t now_us)
{
    struct participant *p = mem_zalloc(sizeof(*p));

    if (!p || slice_to_cstr(req->participant, p->id, sizeof(p->id)) != 0) {
        mem_free(p);
        return NULL;
    }
    p->room = room;
    describe_join(p, req);
    bool pair = p->mode == CTL_MODE_PAIR;
    p->peer[0] = peer_new(p, true, !pair, now_us);
    p->peer[1] = pair ? peer_new(p, false, true, now_us) : NULL;
    if (!p->peer[0] || (pair && !p->peer[1]) || room_add(room, p) != 0) {
        peer_free(p->peer[0], now_us);
        peer_free(p->peer[1], now_us);
        mem_free(p);
        return NULL;
    }
    counter_inc(&room->core->count.participants);
    counter_inc(&room->core->count.joins);
    return p;
}

void participant_join(struct room *room, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us)
{
    struct sfu_core *c = room->core;
    struct participant *p = room_member(room, req->participant);

    if (p)
        participant_free(p, NULL, now_us);
    if (room->n_members >= c->conf->limits.participants ||
        !core_census_take(&c->census->participants, c->conf->limits.participants_total)) {
        refuse(reply, CTL_ERR_FULL, "too many participants");
        return;
    }
    p = make(room, req, now_us);
    if (!p) {
        core_census_leave(&c->census->participants);
        refuse(reply, CTL_ERR_INTERNAL, "out of memory");
        return;
    }
    if (!take_offer(p, p->peer[0], req->u.join.offer.text, req->u.join.wishes, req->u.join.wishes_n,
                    reply, now_us)) {
        participant_free(p, NULL, now_us);
        return;
    }
    room_assign_all(room, now_us);
    if (p->mode == CTL_MODE_PAIR)
        offer_slots(p, reply, now_us);
    p->slots_dirty = false;
    fill_tracks(p, reply);
}

void participant_free(struct participant *p, const char *reason, uint64_t now_us)
{
    struct room *room = p->room;
    struct sfu_core *c = room->core;

    while (p->n_tracks > 0)
        end_track(p, p->track[p->n_tracks - 1], now_us);
    peer_free(p->peer[1], now_us);
    peer_free(p->peer[0], now_us);
    if (reason) {
        struct ctl_msg *m = core_event(c, CTL_STATE, room, p);
        m->u.state.media = CTL_MEDIA_CLOSED;
        m->u.state.reason = slice_str(reason);
        core_emit(c);
    }
    room_remove(room, p);
    core_census_leave(&c->census->participants);
    counter_sub(&c->count.participants, 1);
    counter_inc(&c->count.leaves);
    mem_free(p->track);
    mem_free(p->wish);
    mem_free(p);
}

void participant_offer(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                       uint64_t now_us)
{
    if (p->peer[0]->state == TRANSPORT_FAILED || p->peer[0]->state == TRANSPORT_CLOSED) {
        refuse(reply, CTL_ERR_NO_PARTICIPANT, "its media is lost for good: join again");
        return;
    }
    if (!take_offer(p, p->peer[0], req->u.offer.offer.text, req->u.offer.wishes,
                    req->u.offer.wishes_n, reply, now_us))
        return;
    room_assign_all(p->room, now_us);
    p->slots_dirty = false;
    fill_tracks(p, reply);
}

void participant_answer(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                        uint64_t now_us)
{
    const char *why = "";

    if (!p->peer[1] || !p->negotiation[0] || !slice_is(req->u.answer.negotiation, p->negotiation)) {
        refuse(reply, CTL_ERR_CONFLICT, "no offer of this negotiation is open");
        return;
    }
    enum ctl_err e = peer_answer(p->peer[1], req->u.answer.answer.text, &why, now_us);
    if (e != CTL_OK) {
        refuse(reply, e, why);
        return;
    }
    p->negotiation[0] = '\0';
    if (participant_sections(p, p->peer[1], NULL, 0, now_us) != 0) {
        refuse(reply, CTL_ERR_INTERNAL, "out of memory");
        return;
    }
    room_assign(p->room, p, now_us);
    p->lacks_more = true; /* what came while the answer was awaited */
    room_arm(p->room, now_us);
}

/* Tells sori-server what the participant lacks: slots of a client that offers, or an offer. */
void participant_need(struct participant *p, unsigned audio, unsigned video, uint64_t now_us)
{
    struct sfu_core *c = p->room->core;

    if (audio + video == 0 || (p->mode == CTL_MODE_PAIR && p->negotiation[0]))
        return;
    struct ctl_msg reply = {0};
    if (p->mode == CTL_MODE_PAIR) {
        offer_slots(p, &reply, now_us);
        if (!p->negotiation[0])
            return;
    }
    struct ctl_msg *m = core_event(c, CTL_NEGOTIATE, p->room, p);
    m->u.negotiate.why = p->mode == CTL_MODE_PAIR ? CTL_NEGOTIATE_OFFER : CTL_NEGOTIATE_NEED_SLOTS;
    m->u.negotiate.negotiation = reply.u.joined.negotiation;
    m->u.negotiate.offer = reply.u.joined.sub_offer;
    m->u.negotiate.need_audio = audio;
    m->u.negotiate.need_video = video;
    core_emit(c);
}

/* ---- wishes ---- */

const struct wish *participant_wish(const struct participant *p, const struct producer *t)
{
    for (unsigned i = 0; i < p->n_wishes; i++)
        if (strcmp(p->wish[i].track, t->id) == 0)
            return &p->wish[i];
    return NULL;
}

static struct wish *wish_for(struct participant *p, struct slice track)
{
    for (unsigned i = 0; i < p->n_wishes; i++)
        if (slice_is(track, p->wish[i].track))
            return &p->wish[i];
    /* The oldest wish about a track that is gone makes room. */
    if (p->n_wishes == WISHES_MAX) {
        unsigned i = 0;
        while (i < p->n_wishes && room_track(p->room, slice_str(p->wish[i].track)))
            i++;
        if (i == p->n_wishes)
            return NULL;
        memmove(&p->wish[i], &p->wish[i + 1], (p->n_wishes - i - 1) * sizeof(*p->wish));
        p->n_wishes--;
    }
    struct wish *v = mem_realloc(p->wish, (p->n_wishes + 1) * sizeof(*v));
    if (!v)
        return NULL;
    p->wish = v;
    p->wish[p->n_wishes] = (struct wish){0};
    return &p->wish[p->n_wishes++];
}

void participant_subscribe(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                           uint64_t now_us)
{
    if (!p->perms.subscribe) {
        refuse(reply, CTL_ERR_FORBIDDEN, "this participant may not subscribe");
        return;
    }
    for (size_t i = 0; i < req->u.subscribe.n; i++)
        if (!room_track(p->room, req->u.subscribe.v[i].track)) {
            refuse(reply, CTL_ERR_NO_TRACK, "no such track");
            return;
        }
    for (size_t i = 0; i < req->u.subscribe.n; i++) {
        const struct ctl_subscription *s = &req->u.subscribe.v[i];
        struct wish *w = wish_for(p, s->track);

        if (!w) {
            refuse(reply, CTL_ERR_FULL, "too many wishes");
            return;
        }
        *w = (struct wish){.wanted = s->wanted,
                           .paused = s->paused,
                           .layer = (int8_t)s->layer,
                           .temporal = (int8_t)s->temporal,
                           .priority = (uint8_t)s->priority};
        slice_to_cstr(s->track, w->track, sizeof(w->track));
        slice_to_cstr(s->mid, w->mid, sizeof(w->mid));
    }
    room_assign(p->room, p, now_us);
    participant_wants_more(p, now_us);
    for (unsigned i = 0; i < p->room->n_tracks; i++)
        producer_wanted(p->room->track[i], now_us);
    p->slots_dirty = false;
    reply->u.slots.n = participant_slots(p, reply->u.slots.v);
}

/* Asks for slots that wishes and auto mode could fill. */
void participant_wants_more(struct participant *p, uint64_t now_us)
{
    struct peer *d = participant_down(p);
    unsigned need[RTP_KIND_COUNT] = {0};

    for (unsigned i = 0; i < p->n_wishes; i++) {
        struct producer *t =
            p->wish[i].wanted ? room_track(p->room, slice_str(p->wish[i].track)) : NULL;
        bool has = false;

        for (unsigned k = 0; t && k < d->n_slots; k++)
            has = has || d->slot[k]->source == t;
        if (t && !has && producer_open(t) && t->peer->owner != p)
            need[t->kind]++;
    }
    participant_need(p, need[RTP_KIND_AUDIO], need[RTP_KIND_VIDEO], now_us);
}

/* ---- track requests ---- */

struct producer *participant_track(const struct participant *p, struct slice id)
{
    for (unsigned i = 0; i < p->n_tracks; i++)
        if (slice_is(id, p->track[i]->id))
            return p->track[i];
    return NULL;
}

void participant_unpublish(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                           uint64_t now_us)
{
    struct producer *t = participant_track(p, req->u.mute.track);

    if (!t) {
        refuse(reply, CTL_ERR_NO_TRACK, "no such track");
        return;
    }
    end_track(p, t, now_us);
    room_assign_all(p->room, now_us);
}

void participant_mute(struct participant *p, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us)
{
    struct producer *t = participant_track(p, req->u.mute.track);

    if (!t) {
        refuse(reply, CTL_ERR_NO_TRACK, "no such track");
        return;
    }
    /* Only its owner's unmuting ends what others did; his muting does not. */
    if (req->u.mute.forced)
        mute(t, t->muted, req->u.mute.muted, now_us);
    else
        mute(t, req->u.mute.muted, t->forced && req->u.mute.muted, now_us);
    room_assign_all(p->room, now_us);
}

void participant_permissions(struct participant *p, const struct ctl_msg *req, uint64_t now_us)
{
    p->perms = req->u.permissions.perms;
    for (int i = 0; i < PEER_MAX; i++)
        if (p->peer[i])
            peer_permissions(p->peer[i]);
    for (unsigned i = p->n_tracks; i > 0; i--)
        if (!may_publish(p, p->track[i - 1]->source, p->track[i - 1]->kind))
            end_track(p, p->track[i - 1], now_us);
    room_assign_all(p->room, now_us);
}

/* ---- media state ---- */

static enum ctl_media media_of(const struct participant *p)
{
    enum ctl_media worst = CTL_MEDIA_CONNECTED;

    for (int i = 0; i < PEER_MAX; i++) {
        const struct peer *peer = p->peer[i];
        enum ctl_media m = CTL_MEDIA_CONNECTED;

        if (!peer || (i == 1 && peer->state == TRANSPORT_NEW))
            continue; /* a subscriber side that was never answered */
        switch ((enum transport_state)peer->state) {
        case TRANSPORT_NEW:
        case TRANSPORT_CHECKING:
            m = CTL_MEDIA_CONNECTING;
            break;
        case TRANSPORT_CONNECTED:
            break;
        case TRANSPORT_DISCONNECTED:
            m = CTL_MEDIA_DISCONNECTED;
            break;
        case TRANSPORT_FAILED:
        case TRANSPORT_CLOSED:
            m = CTL_MEDIA_FAILED;
            break;
        }
        if (m == CTL_MEDIA_FAILED || worst == CTL_MEDIA_CONNECTED ||
            (m == CTL_MEDIA_DISCONNECTED && worst == CTL_MEDIA_CONNECTING))
            worst = m == CTL_MEDIA_CONNECTED ? worst : m;
    }
    return worst;
}

uint64_t participant_deadline(const struct participant *p)
{
    return p->lost_us ? p->lost_us + p->room->core->conf->transport.idle_timeout_s * US_PER_S
                      : CLOCK_NEVER;
}

void participant_state(struct participant *p, uint64_t now_us)
{
    struct sfu_core *c = p->room->core;
    enum ctl_media m = media_of(p);

    p->lost_us = m == CTL_MEDIA_DISCONNECTED || m == CTL_MEDIA_FAILED
                     ? (p->lost_us ? p->lost_us : now_us)
                     : 0;
    if (m == p->media)
        return;
    p->media = (uint8_t)m;
    struct ctl_msg *ev = core_event(c, CTL_STATE, p->room, p);
    ev->u.state.media = m;
    core_emit(c);
}

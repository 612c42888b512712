/* What rooms say to clients: notes of the table, events of the SFU, lists of participants.
 *
 * Called by the room table (router_room_ops) and by router_room.c and router_sfu.c. A body is
 * written once and sent to everybody it is for. Who has no socket, or does not keep up, is marked
 * stale instead and hears room.state later. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "server/router_priv.h"
#include "server/room_wire.h"

/* ---- writing ---- */

void router_room_write_tracks(struct wr *w, const struct seat *s)
{
    sig_room_list(w, "tracks");
    LIST_EACH(l, tmp, &s->tracks)
    {
        const struct seat_track *t = CONTAINER_OF(l, struct seat_track, of_seat);
        sig_room_track(w, NULL, &t->t, t->name);
    }
    sig_room_list_end(w);
}

void router_room_write_slots(struct wr *w, const struct seat *s)
{
    sig_room_list(w, "slots");
    for (size_t i = 0; i < s->slots_n; i++) {
        struct ctl_slot v = seat_slot_view(&s->slots[i]);
        sig_room_slot(w, &v);
    }
    sig_room_list_end(w);
}

void router_room_write_person(struct wr *w, const char *key, const struct seat *s, bool tracks)
{
    sig_room_person(w, key,
                    &(struct sig_room_person){.id = s->id,
                                              .user = s->user,
                                              .device = s->device,
                                              .name = s->name,
                                              .metadata = s->metadata,
                                              .role = s->role,
                                              .state = seat_state(s)});
    if (tracks)
        router_room_write_tracks(w, s);
    sig_room_person_end(w);
}

const struct list *router_room_people(struct wr *w, const struct room *room,
                                      const struct seat *self, const struct list *from)
{
    const struct list *l = from ? from : room->seats.next;
    size_t start = w->len;

    sig_room_list(w, "participants");
    for (; l != &room->seats; l = l->next) {
        const struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s == self || !s->in || s->perms.hidden)
            continue;
        if (w->bad || w->len - start > ROUTER_PEOPLE_BYTES)
            break;
        router_room_write_person(w, NULL, s, true);
    }
    sig_room_list_end(w);
    return l == &room->seats ? NULL : l;
}

/* ---- sending ---- */

/* The session of a seat that is here; NULL: it has none (any more), or is elsewhere. */
static struct session *session_of(const struct router *r, const struct seat *s)
{
    return s->at.where == SEAT_HERE && !s->orphan ? router_find_session(r, s->user, s->device)
                                                  : NULL;
}

void router_room_missed(struct router *r, struct seat *s)
{
    s->stale = true;
    if (r->stale_us == CLOCK_NEVER)
        r->stale_us = r->now_us + ROUTER_STALE_US;
}

/* Sends a body to one seat, or marks it. */
static void send_to(struct router *r, struct seat *to, struct slice body, bool even_offline)
{
    struct session *s = session_of(r, to);
    bool sent = false;

    if (to->at.where == SEAT_THERE && !to->orphan && (even_offline || to->online))
        sent = router_seat_say(r, to, body, even_offline ? ROOM_WIRE_OUT : ROOM_WIRE_FOREIGN);
    else if (s && (even_offline || (s->client && router_has_room(r, s, body.len)))) {
        router_send(r, s, body, 0);
        sent = true;
    }
    if (!sent && to->in)
        router_room_missed(r, to);
}

static void send_all(struct router *r, struct room *room, struct seat *to, const struct seat *about,
                     struct slice body)
{
    if (to) {
        send_to(r, to, body, false);
        return;
    }
    LIST_EACH(l, tmp, &room->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->in && s != about && s->at.where != SEAT_THERE)
            send_to(r, s, body, false);
    }
    router_seat_cast(r, room, about, body, false);
}

/* Sends room.state, or what goes with it. */
static void send_own(struct router *r, struct seat *seat, struct slice body)
{
    struct session *s = session_of(r, seat);

    if (seat->at.where == SEAT_THERE && !router_seat_say(r, seat, body, ROOM_WIRE_FOREIGN))
        router_room_missed(r, seat);
    else if (s)
        router_send(r, s, body, 0);
}

void router_room_rest(struct router *r, struct seat *seat, const struct list *from)
{
    const struct sig_head head = {.type = SIG_ROOM_STATE, .room = seat->room->id};

    while (from) {
        struct wr w = router_body(r);
        sig_room_open(&w, &head);
        sig_room_truth(&w, "full", false);
        from = router_room_people(&w, seat->room, seat, from);
        sig_room_end(&w);
        if (w.bad)
            return;
        send_own(r, seat, wr_done(&w));
    }
}

/* A seat that has to start over, and may have missed being told. */
static void remind(struct router *r, struct seat *seat)
{
    const struct sig_head head = {.type = SIG_ROOM_RESTART, .room = seat->room->id};
    struct wr w = router_body(r);

    if (!seat->lost)
        return;
    sig_room_open(&w, &head);
    sig_room_word(&w, "reason", room_reason_name(ROOM_REASON_MEDIA_LOST));
    sig_room_end(&w);
    send_own(r, seat, wr_done(&w));
}

/* Whether room.state could be sent to the seat's session now. */
static bool has_ears(const struct router *r, const struct seat *seat)
{
    const struct session *s = session_of(r, seat);

    if (seat->at.where == SEAT_THERE)
        return seat->online && !seat->orphan;
    return s && s->client;
}

void router_room_send_state(struct router *r, struct seat *seat)
{
    const struct sig_head head = {.type = SIG_ROOM_STATE, .room = seat->room->id};
    const struct session *s = session_of(r, seat);
    struct wr w = router_body(r);

    if (!has_ears(r, seat) || !seat->in) /* once more when it is there */
        return;
    if (s && !router_has_room(r, s, ROUTER_PEOPLE_BYTES)) {
        router_room_missed(r, seat);
        return;
    }
    seat->stale = false;
    sig_room_open(&w, &head);
    sig_room_truth(&w, "full", true);
    router_room_write_tracks(&w, seat);
    router_room_write_slots(&w, seat);
    const struct list *rest = router_room_people(&w, seat->room, seat, NULL);
    sig_room_end(&w);
    if (w.bad)
        return;
    send_own(r, seat, wr_done(&w));
    router_room_rest(r, seat, rest);
    remind(r, seat);
}

/* ---- notes ---- */

static void write_note(struct wr *w, const struct room *room, const struct seat *to,
                       const struct room_note *n)
{
    static const enum sig_type types[] = {
        [ROOM_NOTE_PERSON] = SIG_ROOM_PARTICIPANT, [ROOM_NOTE_TRACK] = SIG_ROOM_TRACK,
        [ROOM_NOTE_SLOTS] = SIG_ROOM_SLOTS,        [ROOM_NOTE_RESTART] = SIG_ROOM_RESTART,
        [ROOM_NOTE_CLOSED] = SIG_ROOM_CLOSED,
    };
    const struct sig_head head = {.type = types[n->kind], .room = room->id};

    sig_room_open(w, &head);
    switch (n->kind) {
    case ROOM_NOTE_PERSON:
        sig_room_word(w, "event", room_event_name(n->event));
        router_room_write_person(w, "participant", n->about, n->event == ROOM_JOINED);
        if (to == n->about)
            sig_room_perms(w, &n->about->perms);
        break;
    case ROOM_NOTE_TRACK:
        sig_room_word(w, "event", room_event_name(n->event));
        sig_room_text(w, "participantId", n->about->id);
        sig_room_track(w, "track", &n->track->t, n->track->name);
        sig_room_text(w, "by", n->by);
        break;
    case ROOM_NOTE_SLOTS:
        router_room_write_slots(w, n->about);
        break;
    default:
        break;
    }
    if (n->reason != ROOM_REASON_NONE)
        sig_room_word(w, "reason", room_reason_name(n->reason));
    sig_room_end(w);
}

static void on_tell(void *arg, struct room *room, struct seat *to, const struct room_note *n)
{
    struct router *r = arg;
    struct wr w = router_body(r);

    if (n->kind == ROOM_NOTE_STATE) {
        router_room_send_state(r, to);
        return;
    }
    write_note(&w, room, to, n);
    if (w.bad) {
        log_error("room", "a note of kind %d does not fit its buffer", (int)n->kind);
        return;
    }
    if (n->kind == ROOM_NOTE_CLOSED)
        send_to(r, to, wr_done(&w), true);
    else
        send_all(r, room, to, n->kind == ROOM_NOTE_RESTART ? NULL : n->about, wr_done(&w));
}

static void on_sfu(void *arg, struct room *room, const struct ctl_msg *m)
{
    struct router *r = arg;

    r->ctl = *m;
    router_sfu_tell(r, room);
}

static void on_connected(void *arg, struct seat *s)
{
    router_history_stay(arg, s, ROOM_REASON_NONE);
}

static void on_left(void *arg, struct seat *s, enum room_reason reason)
{
    router_history_stay(arg, s, reason);
}

const struct room_ops router_room_ops = {
    on_tell, on_sfu, on_connected, on_left, router_room_changed, router_room_ended};

/* ---- what is passed on ---- */

static void write_layers(struct wr *w, const struct ctl_msg *m)
{
    if (m->u.layers.track.len > 0) {
        sig_room_text(w, "trackId", m->u.layers.track);
        sig_room_bits(w, "wanted", m->u.layers.wanted);
        return;
    }
    sig_room_text(w, "mid", m->u.layers.mid);
    sig_room_forwarded(w, m->u.layers.layer, m->u.layers.temporal, m->u.layers.pause);
}

static void write_negotiate(struct wr *w, const struct ctl_msg *m)
{
    static const char *const reasons[CTL_NEGOTIATE_COUNT] = {
        [CTL_NEGOTIATE_NEED_SLOTS] = "need_slots",
        [CTL_NEGOTIATE_OFFER] = "offer",
        [CTL_NEGOTIATE_ICE_RESTART] = "ice_restart",
    };

    sig_room_word(w, "reason", reasons[m->u.negotiate.why]);
    sig_room_text(w, "negotiationId", m->u.negotiate.negotiation);
    sig_room_sdp(w, "offer", "offer", m->u.negotiate.offer.raw);
    if (m->u.negotiate.why == CTL_NEGOTIATE_NEED_SLOTS)
        sig_room_need(w, m->u.negotiate.need_audio, m->u.negotiate.need_video);
}

void router_room_write_closed(struct wr *w, struct slice room, enum room_reason reason)
{
    const struct sig_head head = {.type = SIG_ROOM_CLOSED, .room = room};

    sig_room_open(w, &head);
    sig_room_word(w, "reason", room_reason_name(reason));
    sig_room_end(w);
}

/* To everybody in the room who has a socket; lost for the others. */
static void broadcast(struct router *r, struct room *room, const struct wr *w)
{
    LIST_EACH(l, tmp, &room->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        struct session *session = s->in ? session_of(r, s) : NULL;
        if (session && session->client)
            router_send_plain(r, session->client, w);
    }
    router_seat_cast(r, room, NULL, wr_done(w), true);
}

static void pass_speakers(struct router *r, struct room *room, const struct ctl_msg *m)
{
    const struct sig_head head = {.type = SIG_ROOM_SPEAKERS, .room = room->id};
    struct wr w = router_body(r);

    sig_room_open(&w, &head);
    sig_room_text(&w, "dominant", m->u.speakers.dominant);
    sig_room_list(&w, "speakers");
    for (size_t i = 0; i < m->u.speakers.n; i++)
        sig_room_speaker(&w, &m->u.speakers.v[i]);
    sig_room_list_end(&w);
    sig_room_end(&w);
    if (!w.bad)
        broadcast(r, room, &w);
}

static void pass_quality(struct router *r, struct room *room, const struct ctl_msg *m)
{
    const struct sig_head head = {.type = SIG_ROOM_QUALITY, .room = room->id};
    struct wr w = router_body(r);

    sig_room_open(&w, &head);
    sig_room_list(&w, "participants");
    for (size_t i = 0; i < m->u.quality.n; i++)
        sig_room_quality(&w, &m->u.quality.v[i]);
    sig_room_list_end(&w);
    sig_room_end(&w);
    if (!w.bad)
        broadcast(r, room, &w);
}

void router_room_pass(struct router *r, struct room *room, const struct ctl_msg *m)
{
    if (m->type == CTL_SPEAKERS) {
        pass_speakers(r, room, m);
        return;
    }
    if (m->type == CTL_QUALITY) {
        pass_quality(r, room, m);
        return;
    }
    bool layers = m->type == CTL_LAYERS;
    const struct sig_head head = {.type = layers ? SIG_ROOM_LAYERS : SIG_ROOM_NEGOTIATE,
                                  .room = room->id};
    struct seat *seat = seat_find(r->rooms, m->participant);
    struct wr w = router_body(r);

    if (!seat || seat->room != room || !seat->in || seat->lost)
        return;
    if (layers && m->u.layers.track.len == 0)
        seat_slot_forward(seat, m->u.layers.mid, m->u.layers.layer, m->u.layers.temporal,
                          m->u.layers.pause);
    sig_room_open(&w, &head);
    if (layers)
        write_layers(&w, m);
    else
        write_negotiate(&w, m);
    sig_room_end(&w);
    if (!w.bad)
        send_to(r, seat, wr_done(&w), false);
}

/* ---- time ---- */

uint64_t router_room_deadline(const struct router *r)
{
    uint64_t at = room_table_deadline(r->rooms);

    return r->stale_us < at ? r->stale_us : at;
}

static void retry_stale(struct router *r)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    r->stale_us = CLOCK_NEVER;
    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        LIST_EACH(l, tmp, &room->seats)
        {
            struct seat *s = CONTAINER_OF(l, struct seat, of_room);
            if (s->stale && s->online)
                router_room_send_state(r, s);
        }
}

void router_room_tick(struct router *r)
{
    room_table_tick(r->rooms, r->now_us);
    if (r->stale_us <= r->now_us)
        retry_stale(r);
    counter_add(&r->count.rooms, room_table_count(r->rooms) - counter_get(&r->count.rooms));
    counter_add(&r->count.participants,
                room_table_seats(r->rooms) - counter_get(&r->count.participants));
}

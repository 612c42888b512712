/* Rooms of ours with participants at other nodes: what those ask, and what they are told.
 *
 * Called by router_room.c, router_room_say.c and router_sfu.c (what is said), and by router_far.c
 * (what comes). Pure. The host's side is router_far_room.c.
 *
 *     ASK ─► far_seat_take_ask() ─► router_room_perform() ─► router_far_room_reply() ══SAY══►
 *     note of the table ─► router_seat_say() ══SAY══►  router_seat_cast() ══CAST══► (once per node)
 *     EVENT ─► far_seat_take_event() ─► seat_session()
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "server/router_far_priv.h"

static bool is_at(const struct seat *s, struct slice node, uint64_t epoch)
{
    return s->at.where == SEAT_THERE && s->at.epoch == epoch &&
           slice_eq(slice_of(s->at.node, s->at.node_len), node);
}

static void put_there(struct seat *s, struct slice node, uint64_t epoch)
{
    s->at.where = SEAT_THERE;
    s->at.epoch = epoch;
    s->at.node_len = (uint8_t)(node.len < sizeof(s->at.node) ? node.len : sizeof(s->at.node));
    memcpy(s->at.node, node.p, s->at.node_len);
}

void router_seat_place(struct seat *s, const struct request *q)
{
    memcpy(s->at.session, request_session(q), SEAT_SESSION_BYTES);
    s->at.where = SEAT_HERE;
    if (q->far)
        put_there(s, q->far->node, q->far->epoch);
}

void router_seat_adrift(struct router *r, const struct session *s)
{
    struct hnode *n = NULL;
    struct seat *seat;

    while ((seat = seat_next_of(r->rooms, user_id(s->user), session_device(s), &n))) {
        if (seat->at.where != SEAT_HERE || memcmp(seat->at.session, s->id, SESSION_ID_BYTES) != 0)
            continue;
        seat->at.where = SEAT_NOWHERE;
        seat_session(r->rooms, seat, ROOM_SESSION_LOST, ROOM_REASON_NONE, r->now_us);
    }
}

/* ---- what is said ---- */

static struct slice node_of(const struct seat *s)
{
    return slice_of(s->at.node, s->at.node_len);
}

bool router_seat_say(struct router *r, const struct seat *s, struct slice body, unsigned flags)
{
    struct room_message m = {
        .kind = ROOM_WIRE_SAY, .room = s->room->id, .flags = (uint8_t)flags, .text = body};

    memcpy(m.session, s->at.session, sizeof(m.session));
    return far_room_send(r, node_of(s), s->at.epoch, &m) == 0;
}

/* No seat before s is at the same node. */
static bool is_first_there(const struct room *room, const struct seat *s, const struct seat *about)
{
    LIST_EACH(l, tmp, &room->seats)
    {
        const struct seat *o = CONTAINER_OF(l, struct seat, of_room);
        if (o == s)
            return true;
        if (o->in && o != about && is_at(o, node_of(s), s->at.epoch))
            return false;
    }
    return true;
}

/* What could not be said to a node was missed by all of the room there. */
static void all_missed(struct router *r, struct room *room, const struct seat *at)
{
    LIST_EACH(l, tmp, &room->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->in && is_at(s, node_of(at), at->at.epoch))
            router_room_missed(r, s);
    }
}

void router_seat_cast(struct router *r, struct room *room, const struct seat *about,
                      struct slice body, bool plain)
{
    struct room_message m = {.kind = ROOM_WIRE_CAST, .room = room->id, .text = body};

    m.flags = plain ? ROOM_WIRE_PLAIN : 0;
    if (about)
        m.participant = about->id;
    LIST_EACH(l, tmp, &room->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->at.where == SEAT_THERE && s->in && s != about && is_first_there(room, s, about) &&
            far_room_send(r, node_of(s), s->at.epoch, &m) != 0 && !plain)
            all_missed(r, room, s);
    }
}

static void reply(struct router *r, struct slice node, uint64_t epoch, struct room_message *m,
                  bool joins)
{
    const struct room *room = room_by_id(r->rooms, m->room);
    const struct seat *s = room ? room_seat_of_session(room, m->session, true) : NULL;

    m->flags = (uint8_t)(ROOM_WIRE_REPLY | (joins ? ROOM_WIRE_JOIN : 0) |
                         (s ? ROOM_WIRE_IN : ROOM_WIRE_OUT));
    if (s)
        m->participant = s->id;
    (void)far_room_send(r, node, epoch, m); /* it hears of our end, or asks again */
}

void router_seat_reply(struct router *r, const struct sfu_wait *w, struct slice body)
{
    struct room_message m = {.kind = ROOM_WIRE_SAY,
                             .room = slice_of(w->room, w->room_len),
                             .id_hash = w->id_hash,
                             .text = body};

    memcpy(m.session, w->session, sizeof(m.session));
    reply(r, slice_of(w->node, w->node_len), w->node_epoch, &m, w->request == SIG_ROOM_JOIN);
}

void router_far_room_reply(const struct request *q, struct slice body)
{
    struct room_message m = {
        .kind = ROOM_WIRE_SAY, .room = q->m->room, .id_hash = q->id_hash, .text = body};

    memcpy(m.session, q->far->session, sizeof(m.session));
    reply(q->r, q->far->node, q->far->epoch, &m, q->m->type == SIG_ROOM_JOIN);
}

/* ---- what comes ---- */

/* The room is not run here, whatever the node says: Redis is asked, and m waits behind that. False:
 * it was (looked), or cannot be. */
static bool looks_for(struct router *r, struct slice node, uint64_t epoch,
                      const struct room_message *m, bool looked)
{
    if (looked || room_by_id(r->rooms, m->room) || !far_hold_may_ask(r, false))
        return false;
    far_look_begin(r, m->room);
    return far_room_hold(r, node, epoch, m);
}

void far_seat_take_ask(struct router *r, struct slice node, uint64_t epoch,
                       const struct room_message *m, bool looked)
{
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct far_who who = {.node = node,
                          .epoch = epoch,
                          .user = m->user,
                          .device = m->device,
                          .name = m->name,
                          .bound = m->bound,
                          .perms = m->perms,
                          .may_call = m->may_call};
    struct sig_fault fault;
    struct sig_msg msg;
    struct request q = {.r = r,
                        .far = &who,
                        .m = &msg,
                        .text = m->text,
                        .scratch = &scratch,
                        .id_hash = m->id_hash};

    if (far_room_hold(r, node, epoch, m) || looks_for(r, node, epoch, m, looked))
        return;
    memcpy(who.session, m->session, sizeof(who.session));
    if (sig_decode(&msg, m->text, &scratch, &fault) != 0 || !sig_type_needs_room(msg.type) ||
        !slice_eq(msg.room, m->room))
        return; /* the node has read it before: it is of another version */
    if (looked || room_by_id(r->rooms, m->room))
        router_room_perform(&q);
    else
        far_room_unavailable(&q);
}

/* The device comes (back) to a seat that it has not any more. */
static void say_closed(struct router *r, struct slice node, uint64_t epoch,
                       const struct room_message *m)
{
    struct room_message out = {.kind = ROOM_WIRE_SAY, .room = m->room, .flags = ROOM_WIRE_OUT};
    struct wr w = router_body(r);

    router_room_write_closed(&w, m->room, ROOM_REASON_EXPIRED);
    out.text = wr_done(&w);
    memcpy(out.session, m->session, sizeof(out.session));
    (void)far_room_send(r, node, epoch, &out);
}

static void seat_event(struct router *r, struct seat *s, unsigned event)
{
    switch (event) {
    case ROOM_WIRE_LOST:
        seat_session(r->rooms, s, ROOM_SESSION_LOST, ROOM_REASON_NONE, r->now_us);
        break;
    case ROOM_WIRE_REPLACED:
        seat_session(r->rooms, s, ROOM_SESSION_REPLACED, ROOM_REASON_NONE, r->now_us);
        break;
    case ROOM_WIRE_ENDED:
        seat_session(r->rooms, s, ROOM_SESSION_ENDED, ROOM_REASON_LEFT, r->now_us);
        break;
    case ROOM_WIRE_EXPIRED:
        seat_session(r->rooms, s, ROOM_SESSION_ENDED, ROOM_REASON_EXPIRED, r->now_us);
        break;
    case ROOM_WIRE_MISSED:
        router_room_missed(r, s);
        break;
    default:
        break;
    }
}

void far_seat_take_event(struct router *r, struct slice node, uint64_t epoch,
                         const struct room_message *m, bool looked)
{
    struct room *room = room_by_id(r->rooms, m->room);
    bool back = m->event == ROOM_WIRE_BACK, comes = back || m->event == ROOM_WIRE_LOST;
    struct seat *s;

    if (far_room_hold(r, node, epoch, m) || (comes && looks_for(r, node, epoch, m, looked)))
        return;
    struct seat *in = room ? room_seat_of_session(room, m->session, true) : NULL;
    if (comes && !in) {
        say_closed(r, node, epoch, m);
        return;
    }
    if (comes && !is_at(in, node, epoch))
        put_there(in, node, epoch);
    if (back) {
        seat_session(r->rooms, in, ROOM_SESSION_BACK, ROOM_REASON_NONE, r->now_us);
        return;
    }
    if (in && is_at(in, node, epoch))
        seat_event(r, in, m->event);
    if (m->event != ROOM_WIRE_ENDED && m->event != ROOM_WIRE_EXPIRED)
        return;
    room = room_by_id(r->rooms, m->room); /* a join on its way ends with the session */
    s = room ? room_seat_of_session(room, m->session, false) : NULL;
    if (s && is_at(s, node, epoch))
        seat_event(r, s, m->event);
}

void far_seat_lost(struct router *r, const struct seat *s)
{
    struct room_message m = {
        .kind = ROOM_WIRE_AGAIN, .room = s->room->id, .user = s->user, .device = s->device};

    memcpy(m.session, s->at.session, sizeof(m.session));
    (void)far_room_send(r, node_of(s), s->at.epoch, &m);
}

/* ---- nodes ---- */

void far_seats_gone(struct router *r, struct slice node, uint64_t epoch)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        LIST_EACH(l, tmp, &room->seats)
        {
            struct seat *s = CONTAINER_OF(l, struct seat, of_room);
            if (is_at(s, node, epoch))
                seat_session(r->rooms, s, ROOM_SESSION_LOST, ROOM_REASON_NONE, r->now_us);
        }
}

/* Whether somebody of the room is, or was when it was taken over, at the process. */
static bool has_seat_at(const struct room *room, struct slice node, uint64_t epoch)
{
    LIST_EACH(l, tmp, &room->seats)
    {
        const struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->at.where == SEAT_NOWHERE || is_at(s, node, epoch))
            return true;
    }
    return false;
}

void far_seats_back(struct router *r, struct slice node, uint64_t epoch)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        if (has_seat_at(room, node, epoch))
            (void)far_room_send(r, node, epoch,
                                &(struct room_message){.kind = ROOM_WIRE_MINE, .room = room->id});
}

/* Rooms that other nodes run, and our sessions in them: the host's side.
 *
 * Called by router_room.c (requests), router_session.c (sessions) and router_far.c (what other
 * nodes say). Pure. A room is run by the node that has it in Redis (room_share.h); the runner's
 * side is router_far_seat.c.
 *
 *     join of a room unknown here ─► look ─► Redis ─► ours: router_room_perform()
 *                                                 ─► another's: ASK; what comes behind waits
 *     its node is gone ─► look ─► dead: ours, made again (router_room_keep.c)
 *                              ─► another's by now: EVENT (back)
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/router_far_priv.h"

#include <errno.h>

/* ---- sending ---- */

int far_room_send(struct router *r, struct slice node, uint64_t epoch, const struct room_message *m)
{
    struct far *f = r->far;
    struct wr w = wr_init(f->body, sizeof(f->body));

    room_wire_encode(&w, m);
    if (w.bad)
        return -EMSGSIZE;
    return node_bus_send(f->nodes.bus, node, epoch, wr_done(&w), r->now_us);
}

void far_seat_tell(struct router *r, const struct far_seat *k, const struct session *s,
                   unsigned event)
{
    struct room_message m = {.kind = ROOM_WIRE_EVENT,
                             .room = far_seat_room(k),
                             .user = user_id(s->user),
                             .device = session_device(s),
                             .event = (uint8_t)event};

    memcpy(m.session, k->session, sizeof(m.session));
    (void)far_room_send(r, far_seat_node(k), k->epoch, &m);
}

/* ---- seats ---- */

static uint64_t session_hash(const uint8_t session[SESSION_ID_BYTES])
{
    return hash_bytes(slice_of(session, SESSION_ID_BYTES));
}

struct far_seat *far_seat_next_of_room(const struct far *f, struct slice room, struct hnode **n)
{
    *n = *n ? htable_next(*n) : htable_first(&f->seats_by_room, hash_bytes(room));
    for (; *n; *n = htable_next(*n)) {
        struct far_seat *k = CONTAINER_OF(*n, struct far_seat, by_room);
        if (slice_eq(far_seat_room(k), room))
            return k;
    }
    return NULL;
}

static struct far_seat *next_of_session(const struct far *f,
                                        const uint8_t session[SESSION_ID_BYTES], struct hnode **n)
{
    *n = *n ? htable_next(*n) : htable_first(&f->seats_by_session, session_hash(session));
    for (; *n; *n = htable_next(*n)) {
        struct far_seat *k = CONTAINER_OF(*n, struct far_seat, by_session);
        if (memcmp(k->session, session, SESSION_ID_BYTES) == 0)
            return k;
    }
    return NULL;
}

struct far_seat *far_seat_find(const struct far *f, struct slice room,
                               const uint8_t session[SESSION_ID_BYTES])
{
    struct hnode *n = NULL;
    struct far_seat *k;

    while ((k = next_of_session(f, session, &n)))
        if (slice_eq(far_seat_room(k), room))
            return k;
    return NULL;
}

void far_seat_set_node(struct far_seat *k, struct slice node, uint64_t epoch)
{
    k->node_len = (uint8_t)(node.len < sizeof(k->node) ? node.len : sizeof(k->node));
    if (node.len > 0)
        memmove(k->node, node.p, k->node_len); /* it may be its own */
    k->epoch = epoch;
    k->orphan = node.len == 0;
}

struct far_seat *far_seat_need(struct router *r, struct slice room,
                               const uint8_t session[SESSION_ID_BYTES], struct slice node,
                               uint64_t epoch)
{
    struct far *f = r->far;
    struct far_seat *k = far_seat_find(f, room, session);
    struct hnode *n = NULL;

    if (room.len > SIG_ROOM_MAX)
        return NULL;
    if (!k) {
        k = mem_zalloc(sizeof(*k));
        if (!k)
            return NULL;
        memcpy(k->session, session, SESSION_ID_BYTES);
        k->room_len = (uint8_t)room.len;
        memcpy(k->room, room.p, room.len);
        counter_add(&r->count.room_guests, 1);
        counter_add(&r->count.rooms_hosted, far_seat_next_of_room(f, room, &n) == NULL);
        htable_add(&f->seats_by_room, &k->by_room, hash_bytes(room));
        htable_add(&f->seats_by_session, &k->by_session, session_hash(session));
        list_append(&f->seats, &k->link);
    }
    far_seat_set_node(k, node, epoch);
    return k;
}

void far_seat_drop(struct router *r, struct far_seat *k)
{
    struct far *f = r->far;
    struct hnode *n = NULL;

    htable_del(&f->seats_by_room, &k->by_room);
    counter_sub(&r->count.room_guests, 1);
    counter_sub(&r->count.rooms_hosted, far_seat_next_of_room(f, far_seat_room(k), &n) == NULL);
    htable_del(&f->seats_by_session, &k->by_session);
    list_del(&k->link);
    mem_free(k);
}

void far_seat_closed(struct router *r, struct far_seat *k, enum room_reason reason)
{
    struct session *s = session_by_id(r->sessions, k->session);
    struct wr w = router_body(r);

    router_room_write_closed(&w, far_seat_room(k), reason);
    far_seat_drop(r, k);
    if (!s)
        return;
    router_send(r, s, wr_done(&w), 0);
    router_saves_whole(r, s);
    router_update_in_call(r, s);
}

bool router_far_room_has(const struct router *r, const struct session *s)
{
    struct hnode *n = NULL;

    return r->far && next_of_session(r->far, s->id, &n) != NULL;
}

/* ---- asking ---- */

void far_room_unavailable(const struct request *q)
{
    request_error(q, &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                         .text = "the node of this room does not answer",
                                         .retry_after_ms = FAR_RETRY_MS});
}

static struct far_wait *wait_new(const struct request *q, struct slice node, uint64_t epoch)
{
    struct far_wait *wait = mem_zalloc(sizeof(*wait));

    if (!wait)
        return NULL;
    memcpy(wait->session, q->s->id, sizeof(wait->session));
    wait->id_hash = q->id_hash;
    wait->epoch = epoch;
    wait->id_len = (uint8_t)q->m->id.len;
    memcpy(wait->id, q->m->id.p, q->m->id.len);
    wait->node_len = (uint8_t)node.len;
    memcpy(wait->node, node.p, node.len);
    wait->room_len = (uint8_t)q->m->room.len;
    memcpy(wait->room, q->m->room.p, q->m->room.len);
    list_append(&q->r->far->waits, &wait->link);
    return wait;
}

/* Sends the request to the node that runs the room; its answer is waited for. */
void far_room_ask(const struct request *q, struct slice node, uint64_t epoch, uint8_t tries)
{
    struct far *f = q->r->far;
    bool joins = q->m->type == SIG_ROOM_JOIN;
    struct far_seat *k = joins ? far_seat_need(q->r, q->m->room, q->s->id, node, epoch)
                               : far_seat_find(f, q->m->room, q->s->id);
    struct far_wait *wait = q->m->has_id && k ? wait_new(q, node, epoch) : NULL;
    struct room_message m = {.kind = ROOM_WIRE_ASK,
                             .room = q->m->room,
                             .user = user_id(q->s->user),
                             .device = session_device(q->s),
                             .id_hash = q->id_hash,
                             .tries = tries,
                             .may_call = q->s->may_call,
                             .perms = q->s->room_perms,
                             .name = session_name(q->s),
                             .bound = session_room(q->s),
                             .text = q->text};

    memcpy(m.session, q->s->id, sizeof(m.session));
    if (!k || (q->m->has_id && !wait) || far_room_send(q->r, node, epoch, &m) != 0) {
        if (wait)
            far_wait_drop(wait);
        if (k && joins && !k->in && k->joins == 0)
            far_seat_drop(q->r, k);
        far_room_unavailable(q);
        return;
    }
    k->joins += joins;
}

/* The node of the room, as another session here knows it. */
const struct far_seat *far_room_runner(const struct far *f, struct slice room)
{
    struct hnode *n = NULL;
    struct far_seat *k;

    while ((k = far_seat_next_of_room(f, room, &n)))
        if (!k->orphan)
            return k;
    return NULL;
}

bool router_far_room(const struct request *q)
{
    struct router *r = q->r;
    struct far *f = r->far;
    bool looks = f && far_look_is(r, q->m->room);

    if (!f || (!looks && room_by_id(r->rooms, q->m->room)))
        return false;
    const struct far_seat *seat = far_seat_find(f, q->m->room, q->s->id);
    if (!looks && !seat && q->m->type != SIG_ROOM_JOIN)
        return false; /* it has no seat there */
    if (!looks && (!seat || seat->orphan))
        seat = far_room_runner(f, q->m->room);
    if (!looks && seat) {
        uint8_t node[NODE_BUS_NODE_MAX];
        memcpy(node, seat->node, seat->node_len);
        far_room_ask(q, slice_of(node, seat->node_len), seat->epoch, 0);
        return true;
    }
    if (!far_hold_may_ask(r, false))
        far_room_unavailable(q);
    else if (!far_look_push(r, q->m->room, q->s->id, q->id_hash, 0, q->text))
        request_fail(q, SIG_ERR_OVERLOADED, NULL);
    return true;
}

/* ---- sessions ---- */

void router_far_room_session(struct router *r, struct session *s, enum room_session what,
                             enum room_reason reason)
{
    struct hnode *n = NULL;
    struct far_seat *k;
    bool ends = what == ROOM_SESSION_ENDED || what == ROOM_SESSION_REPLACED;
    unsigned event = what == ROOM_SESSION_LOST       ? ROOM_WIRE_LOST
                     : what == ROOM_SESSION_BACK     ? ROOM_WIRE_BACK
                     : what == ROOM_SESSION_REPLACED ? ROOM_WIRE_REPLACED
                     : reason == ROOM_REASON_LEFT    ? ROOM_WIRE_ENDED
                                                     : ROOM_WIRE_EXPIRED;

    if (!r->far)
        return;
    if (s->taken_away)
        router_seat_adrift(r, s);
    while ((k = next_of_session(r->far, s->id, &n))) {
        if (!k->orphan && !s->taken_away && (k->in || ends))
            far_seat_tell(r, k, s, event);
        if (ends) {
            far_seat_drop(r, k);
            n = NULL; /* from the first again */
        }
    }
}

void router_far_room_list(const struct router *r, const struct session *s, struct wr *w)
{
    struct hnode *n = NULL;
    const struct far_seat *k;
    const struct seat *seat;

    while (r->far && (k = next_of_session(r->far, s->id, &n)))
        if (k->in) {
            wr_bytes(w, far_seat_room(k));
            wr_u8(w, ' ');
        }
    n = NULL;
    while ((seat = seat_next_of(r->rooms, user_id(s->user), session_device(s), &n)))
        if (seat->in && seat->at.where == SEAT_HERE &&
            memcmp(seat->at.session, s->id, SEAT_SESSION_BYTES) == 0) {
            wr_bytes(w, seat->room->id);
            wr_u8(w, ' ');
        }
}

static void resume_one(struct router *r, struct session *s, struct slice id)
{
    struct room *room = room_by_id(r->rooms, id);
    struct seat *seat = room ? room_seat_of_session(room, s->id, true) : NULL;

    if (seat) { /* it hears that its session is back with all that are here */
        seat->at.where = SEAT_HERE;
        return;
    }
    const struct far_seat *known = far_room_runner(r->far, id);
    struct far_seat *k = far_seat_need(
        r, id, s->id, known ? far_seat_node(known) : (struct slice){0}, known ? known->epoch : 0);
    if (!k)
        return;
    k->in = true; /* its node hears that it is back with all that have one */
    if (!known)
        far_look_begin(r, id);
}

void router_far_room_resume(struct router *r, struct session *s, struct slice rooms)
{
    while (r->far && rooms.len > 0) {
        const uint8_t *end = memchr(rooms.p, ' ', rooms.len);
        size_t n = end ? (size_t)(end - rooms.p) : rooms.len;
        struct slice id = slice_sub(rooms, 0, n);
        rooms = slice_sub(rooms, n + 1, rooms.len);
        if (sig_user_ok(id))
            resume_one(r, s, id);
    }
}

/* ---- what other nodes say ---- */

static void missed(struct router *r, struct far_seat *k)
{
    counter_inc(&r->count.rate_limited);
    k->missed = true;
    if (r->far->missed_us == CLOCK_NEVER)
        r->far->missed_us = r->now_us + ROUTER_STALE_US;
}

void far_seats_look(struct router *r)
{
    struct far *f = r->far;

    f->missed_us = CLOCK_NEVER;
    LIST_EACH(link, tmp, &f->seats)
    {
        struct far_seat *k = CONTAINER_OF(link, struct far_seat, link);
        const struct session *s = k->missed ? session_by_id(r->sessions, k->session) : NULL;
        if (!s || !s->client || k->orphan) {
            k->missed = false; /* it hears how all is when it is back */
        } else if (router_has_room(r, s, ROUTER_PEOPLE_BYTES)) {
            k->missed = false;
            far_seat_tell(r, k, s, ROOM_WIRE_MISSED);
        } else {
            f->missed_us = r->now_us + ROUTER_STALE_US;
        }
    }
}

/* The runner tells how it stands with the session. */
static struct far_seat *learn(struct router *r, struct slice node, uint64_t epoch,
                              const struct room_message *m, struct session *s)
{
    struct far_seat *k = far_seat_find(r->far, m->room, m->session);
    bool joined = (m->flags & ROOM_WIRE_JOIN) != 0;

    if (!k && s && (m->flags & ROOM_WIRE_IN) != 0)
        k = far_seat_need(r, m->room, m->session, node, epoch);
    if (!k)
        return NULL;
    if (joined && k->joins > 0)
        k->joins--;
    if ((m->flags & ROOM_WIRE_IN) != 0) {
        bool was = k->in;
        if (!was && s)
            router_saves_whole(r, s);
        far_seat_set_node(k, node, epoch);
        k->in = true;
        k->participant_len = (uint8_t)m->participant.len;
        if (m->participant.len > 0)
            memcpy(k->participant, m->participant.p, m->participant.len);
        if (!was && s && !s->client)
            far_seat_tell(r, k, s, ROOM_WIRE_LOST);
    } else if ((m->flags & ROOM_WIRE_OUT) != 0) {
        k->in = false;
        if (s)
            router_saves_whole(r, s);
        if (k->joins == 0) {
            far_seat_drop(r, k);
            return NULL;
        }
    }
    return k;
}

/* It stood still while the room was taken over, and has not seen it yet. */
static bool is_stale(const struct router *r, struct slice node, uint64_t epoch,
                     const struct room_message *m)
{
    const struct far_seat *k = far_seat_find(r->far, m->room, m->session);

    return room_by_id(r->rooms, m->room) ||
           (k && !k->orphan && (k->epoch != epoch || !slice_eq(far_seat_node(k), node)));
}

static void take_say(struct router *r, struct slice node, uint64_t epoch,
                     const struct room_message *m)
{
    struct session *s = session_by_id(r->sessions, m->session);
    bool reply = (m->flags & ROOM_WIRE_REPLY) != 0, foreign = (m->flags & ROOM_WIRE_FOREIGN) != 0;
    struct far_wait *wait =
        reply && m->id_hash ? far_wait_find(r->far, m->session, m->id_hash) : NULL;

    if (wait)
        far_wait_drop(wait);
    if (s && s->ending)
        s = NULL;
    if (!reply && is_stale(r, node, epoch, m))
        return;
    struct far_seat *k = learn(r, node, epoch, m, s);
    if (!s)
        return;
    struct wr w = router_body(r);
    wr_bytes(&w, m->text);
    if (foreign && !s->client)
        ; /* it hears how all is when it is back */
    else if (foreign && !router_has_room(r, s, m->text.len)) {
        if (k)
            missed(r, k);
    } else if (m->text.len > 0 && !w.bad)
        router_send(r, s, wr_done(&w), reply ? m->id_hash : 0);
    router_update_in_call(r, s);
}

static void take_cast(struct router *r, struct slice node, uint64_t epoch,
                      const struct room_message *m)
{
    bool plain = (m->flags & ROOM_WIRE_PLAIN) != 0;
    struct hnode *n = NULL;
    struct far_seat *k;
    struct wr w = router_body(r);

    wr_bytes(&w, m->text);
    while (!w.bad && (k = far_seat_next_of_room(r->far, m->room, &n))) {
        struct session *s = session_by_id(r->sessions, k->session);
        if (!k->in || !s || !s->client || k->epoch != epoch || !slice_eq(far_seat_node(k), node) ||
            (m->participant.len > 0 &&
             slice_eq(m->participant, slice_of(k->participant, k->participant_len))))
            continue;
        if (plain)
            router_send_plain(r, s->client, &w);
        else if (router_has_room(r, s, m->text.len))
            router_send(r, s, wr_done(&w), 0);
        else
            missed(r, k);
    }
}

/* What we have said of a room came back: whoever we took for its runner is not. */
static void take_again(struct router *r, const struct room_message *m)
{
    struct session *s = session_by_id(r->sessions, m->session);
    struct far_seat *k = far_seat_find(r->far, m->room, m->session);
    struct far_wait *wait = m->id_hash ? far_wait_find(r->far, m->session, m->id_hash) : NULL;

    if (wait)
        far_wait_drop(wait);
    if (!s || s->ending)
        return;
    if (k && k->joins > 0 && m->text.len > 0)
        k->joins--;
    if (k && k->in)
        k->orphan = true;
    else if (k && k->joins == 0)
        far_seat_drop(r, k);
    if (m->text.len > 0)
        (void)far_look_push(r, m->room, m->session, m->id_hash, m->tries, m->text);
    else
        far_look_begin(r, m->room);
}

/* Another node runs the room, and asks whom we have of it. */
static void take_mine(struct router *r, struct slice node, uint64_t epoch,
                      const struct room_message *m)
{
    struct room *room = room_by_id(r->rooms, m->room);
    struct hnode *n = NULL;
    struct far_seat *k;

    if (room)
        far_room_lose(r, room, node, epoch);
    while (!room && (k = far_seat_next_of_room(r->far, m->room, &n))) {
        const struct session *s = session_by_id(r->sessions, k->session);
        far_seat_set_node(k, node, epoch);
        if (k->in && s)
            far_seat_tell(r, k, s, s->client ? ROOM_WIRE_BACK : ROOM_WIRE_LOST);
    }
}

void far_room_take(struct router *r, struct slice node, uint64_t epoch,
                   const struct room_message *m)
{
    switch (m->kind) {
    case ROOM_WIRE_ASK:
        far_seat_take_ask(r, node, epoch, m, false);
        break;
    case ROOM_WIRE_EVENT:
        far_seat_take_event(r, node, epoch, m, false);
        break;
    case ROOM_WIRE_SAY:
        take_say(r, node, epoch, m);
        break;
    case ROOM_WIRE_CAST:
        take_cast(r, node, epoch, m);
        break;
    case ROOM_WIRE_AGAIN:
        take_again(r, m);
        break;
    default:
        take_mine(r, node, epoch, m);
        break;
    }
}

/* ---- nodes ---- */

bool far_room_take_back(struct router *r, struct slice body)
{
    struct room_message m;

    if (room_wire_decode(&m, body) != 0 || m.kind != ROOM_WIRE_ASK)
        return false;
    struct far_seat *k = far_seat_find(r->far, m.room, m.session);
    if (!k || !far_look_push(r, m.room, m.session, m.id_hash, m.tries, m.text))
        return true; /* who waits for its answer is told with all that wait for the node */
    struct far_wait *wait = m.id_hash ? far_wait_find(r->far, m.session, m.id_hash) : NULL;
    if (wait)
        far_wait_drop(wait);
    return true;
}

void far_room_gone(struct router *r, struct slice node, uint64_t epoch)
{
    LIST_EACH(link, tmp, &r->far->seats)
    {
        struct far_seat *k = CONTAINER_OF(link, struct far_seat, link);
        if (k->epoch != epoch || !slice_eq(far_seat_node(k), node))
            continue;
        k->joins = 0; /* they failed, or wait for the next node */
        k->orphan = true;
        if (k->in)
            far_look_begin(r, far_seat_room(k));
        else
            far_seat_drop(r, k);
    }
}

void far_rooms_free(struct router *r)
{
    struct far *f = r->far;

    far_looks_free(r);
    LIST_EACH(link, tmp, &f->seats)
    far_seat_drop(r, CONTAINER_OF(link, struct far_seat, link));
    htable_fini(&f->seats_by_room);
    htable_fini(&f->seats_by_session);
}

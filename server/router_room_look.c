/* Whose a room is: what is asked of Redis, and what waits behind the question.
 *
 * Called by router_far_room.c and router_far_seat.c. Pure. While a room is looked for, all that is
 * said about it waits in its order, of sessions here and of nodes that took the room for ours.
 *
 *     ours (made now, or a dead node's: made again by router_room_keep.c) ─► performed here
 *     another's ─► ASK, EVENT (back)        nobody knows ─► store.unavailable
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "server/call_share.h"
#include "server/room_share.h"
#include "server/router_far_priv.h"

#define LOOK_AGAIN_US   (100 * US_PER_MS)
#define LOOK_LEASE_US   (5 * US_PER_MS) /* a lease is asked for */
#define LOOK_UNKNOWN_US (2 * US_PER_S)  /* a node whose lease is not known by then counts */
#define LOOK_SLOW_US    US_PER_S        /* nobody waits but seats whose node is gone */
#define LOOK_HELD_MAX   1024            /* messages that wait for one room, and their bytes */
#define LOOK_HELD_BYTES ((size_t)4194304)
#define TRIES_MAX       3

/* A message that waits: a client's, or another node's as it came. */
struct room_held {
    struct list link;
    bool far;
    uint8_t session[SESSION_ID_BYTES], tries;
    uint64_t id_hash, epoch;
    uint8_t node_len;
    uint8_t node[NODE_BUS_NODE_MAX];
    size_t len;
    uint8_t text[];
};

/* Whose a room is, is asked. */
struct room_look {
    struct list link;
    struct router *r;
    struct redis_call call;
    bool open;
    uint64_t by_us, again_us, unknown_us;
    uint64_t give_up_us; /* seats whose node is gone have none then */
    struct list texts;
    size_t texts_n, bytes;
    uint8_t room_len, dead_len;
    uint8_t room[SIG_ROOM_MAX], dead[CALL_CLAIMS_TEXT_MAX];
};

static struct slice look_room(const struct room_look *k)
{
    return slice_of(k->room, k->room_len);
}

/* ---- what waits ---- */

static struct room_look *look_find(const struct far *f, struct slice room)
{
    LIST_EACH(link, tmp, &f->looks)
    {
        struct room_look *k = CONTAINER_OF(link, struct room_look, link);
        if (slice_eq(look_room(k), room))
            return k;
    }
    return NULL;
}

static void look_free(struct room_look *k)
{
    struct list *first;

    redis_client_cancel(k->r->far->nodes.claims->client, &k->call);
    while ((first = list_first(&k->texts))) {
        list_del(first);
        mem_free(CONTAINER_OF(first, struct room_held, link));
    }
    list_del(&k->link);
    mem_free(k);
}

static struct room_held *push(struct room_look *k, struct slice text)
{
    struct room_held *t;

    if (k->texts_n == LOOK_HELD_MAX || text.len > LOOK_HELD_BYTES - k->bytes)
        return NULL;
    t = mem_zalloc(sizeof(*t) + text.len);
    if (!t)
        return NULL;
    if (k->texts_n++ == 0)
        k->by_us = k->r->now_us + FAR_ANSWER_US;
    k->bytes += text.len;
    t->len = text.len;
    if (text.len > 0)
        memcpy(t->text, text.p, text.len);
    list_append(&k->texts, &t->link);
    return t;
}

bool far_room_hold(struct router *r, struct slice node, uint64_t epoch,
                   const struct room_message *m)
{
    struct room_look *k = look_find(r->far, m->room);
    struct wr w = wr_init(r->far->body, sizeof(r->far->body));

    if (!k)
        return false;
    room_wire_encode(&w, m);
    struct room_held *t = w.bad ? NULL : push(k, wr_done(&w));
    if (!t)
        return true; /* it ends with the node's wait for it */
    t->far = true;
    t->epoch = epoch;
    t->node_len = (uint8_t)node.len;
    memcpy(t->node, node.p, node.len);
    return true;
}

bool router_far_room_waits(const struct router *r, const struct session *s, uint64_t id_hash)
{
    if (!r->far)
        return false;
    if (router_far_ring_waits(r, s, id_hash))
        return true;
    LIST_EACH(link, tmp, &r->far->looks)
    {
        const struct room_look *k = CONTAINER_OF(link, struct room_look, link);
        LIST_EACH(l, tmp_text, &k->texts)
        {
            const struct room_held *t = CONTAINER_OF(l, struct room_held, link);
            if (!t->far && t->id_hash == id_hash &&
                memcmp(t->session, s->id, SESSION_ID_BYTES) == 0)
                return true;
        }
    }
    return false;
}

/* ---- looking ---- */

static void on_claimed(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us);

static void look_ask(struct room_look *k)
{
    struct router *r = k->r;

    k->call = (struct redis_call){
        .fn = on_claimed, .arg = k, .deadline_us = r->now_us + FAR_ANSWER_US, .again = true};
    k->again_us = r->now_us + LOOK_AGAIN_US;
    k->open = room_share_claim(r->far->nodes.claims, far_room_scripts(r), &k->call, look_room(k),
                               slice_of(k->dead, k->dead_len), far_room_life_us(r), r->now_us) == 0;
}

/* Whose the room is, is asked now, or was already. NULL: memory is out. */
static struct room_look *look_begin(struct router *r, struct slice room)
{
    struct room_look *k = look_find(r->far, room);

    if (k)
        return k;
    k = mem_zalloc(sizeof(*k));
    if (!k)
        return NULL;
    k->r = r;
    k->room_len = (uint8_t)room.len;
    memcpy(k->room, room.p, room.len);
    list_init(&k->texts);
    k->by_us = CLOCK_NEVER;
    k->give_up_us = r->now_us + r->conf->session.resume_ttl_s * US_PER_S;
    list_append(&r->far->looks, &k->link);
    look_ask(k);
    return k;
}

bool far_look_push(struct router *r, struct slice room, const uint8_t session[SESSION_ID_BYTES],
                   uint64_t id_hash, uint8_t tries, struct slice text)
{
    struct room_look *k = look_begin(r, room);
    struct room_held *t = k ? push(k, text) : NULL;

    if (!t)
        return false;
    memcpy(t->session, session, SESSION_ID_BYTES);
    t->id_hash = id_hash;
    t->tries = tries;
    return true;
}

bool far_look_is(const struct router *r, struct slice room)
{
    return look_find(r->far, room) != NULL;
}

void far_look_begin(struct router *r, struct slice room)
{
    (void)look_begin(r, room);
}

/* ---- answers ---- */

/* One request of a session here. */
static void replay_here(struct router *r, const struct room_held *t, struct slice node,
                        uint64_t epoch, bool fails)
{
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct session *s = session_by_id(r->sessions, t->session);
    struct sig_fault fault;
    struct sig_msg m;

    if (!s || s->ending || sig_decode(&m, slice_of(t->text, t->len), &scratch, &fault) != 0)
        return;
    const struct request q = {.r = r,
                              .c = s->client,
                              .s = s,
                              .m = &m,
                              .text = slice_of(t->text, t->len),
                              .scratch = &scratch,
                              .id_hash = t->id_hash};
    if (fails || t->tries > TRIES_MAX)
        far_room_unavailable(&q);
    else if (node.len == 0)
        router_room_perform(&q);
    else if (m.type == SIG_ROOM_JOIN || far_seat_find(r->far, m.room, s->id))
        far_room_ask(&q, node, epoch, t->tries);
    else
        router_room_perform(&q); /* it has no seat there */
}

/* One of another node, which took the room for ours. */
static void replay_far(struct router *r, const struct room_held *t, bool ours)
{
    struct slice node = slice_of(t->node, t->node_len);
    struct room_message m;

    if (room_wire_decode(&m, slice_of(t->text, t->len)) != 0)
        return;
    if (ours && m.kind == ROOM_WIRE_ASK) {
        far_seat_take_ask(r, node, t->epoch, &m, true);
    } else if (ours) {
        far_seat_take_event(r, node, t->epoch, &m, true);
    } else {
        m.kind = ROOM_WIRE_AGAIN;
        m.tries++;
        (void)far_room_send(r, node, t->epoch, &m);
    }
}

/* Does with every message that waited; frees k, unless it fails. node: whose the room is; empty:
 * ours; fails: nobody knows. */
static void replay(struct room_look *k, struct slice node, uint64_t epoch, bool fails)
{
    struct router *r = k->r;
    struct list texts, *l;

    list_init(&texts); /* the look goes: nothing may wait behind it any more */
    while ((l = list_first(&k->texts))) {
        list_del(l);
        list_append(&texts, l);
    }
    k->texts_n = k->bytes = 0;
    k->by_us = CLOCK_NEVER;
    if (!fails)
        look_free(k);
    while ((l = list_first(&texts))) {
        struct room_held *t = CONTAINER_OF(l, struct room_held, link);
        list_del(l);
        if (t->far)
            replay_far(r, t, node.len == 0 && !fails);
        else
            replay_here(r, t, node, epoch, fails);
        mem_free(t);
    }
}

/* Our sessions in a room that is ours now. */
static void bring_home(struct router *r, struct room *room, struct slice id)
{
    struct hnode *n = NULL;
    struct far_seat *k;

    while ((n = NULL, k = far_seat_next_of_room(r->far, id, &n))) {
        struct session *s = session_by_id(r->sessions, k->session);
        struct seat *seat = room ? room_seat_of_session(room, k->session, true) : NULL;
        if (!seat || !s) {
            far_seat_closed(r, k, ROOM_REASON_EXPIRED);
            continue;
        }
        seat->at.where = SEAT_HERE;
        far_seat_drop(r, k);
        seat_session(r->rooms, seat, s->client ? ROOM_SESSION_BACK : ROOM_SESSION_LOST,
                     ROOM_REASON_NONE, r->now_us);
    }
}

static void finish_here(struct room_look *k, const struct resp *reply)
{
    struct router *r = k->r;
    uint8_t copy[SIG_ROOM_MAX];
    struct slice id = slice_of(copy, k->room_len), server = {0};
    struct room *room = room_by_id(r->rooms, look_room(k)), *made = NULL;

    memcpy(copy, k->room, k->room_len);
    if (!room)
        room = made = far_room_restore(r, id, reply, &server);
    bring_home(r, room, id);
    if (made && made->seats_n > 0)
        router_sfu_adopt(r, made, server);
    replay(k, (struct slice){0}, 0, false);
    if (!room_by_id(r->rooms, id))
        room_share_drop(r->far->nodes.claims, far_room_scripts(r), id, r->now_us);
}

static void finish_there(struct room_look *k, struct slice node, uint64_t epoch)
{
    struct router *r = k->r;
    struct far_seat *seat;
    struct hnode *n = NULL;

    while ((seat = far_seat_next_of_room(r->far, look_room(k), &n))) {
        const struct session *s = session_by_id(r->sessions, seat->session);
        bool was = seat->orphan || seat->epoch != epoch;
        far_seat_set_node(seat, node, epoch);
        if (was && seat->in && s)
            far_seat_tell(r, seat, s, s->client ? ROOM_WIRE_BACK : ROOM_WIRE_LOST);
    }
    replay(k, node, epoch, false);
}

static void on_claimed(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    struct room_look *k = call->arg;
    struct router *r = k->r;
    uint8_t text[CALL_CLAIMS_TEXT_MAX];
    struct slice said, node;
    uint64_t epoch;

    (void)now_us;
    router_enter(r);
    k->open = false;
    k->again_us = r->now_us + LOOK_AGAIN_US;
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY)
        return;
    said = resp_text(resp_at(reply, 0));
    if (slice_is(said, "ok")) {
        finish_here(k, reply);
        return;
    }
    if (said.len > sizeof(text))
        return;
    memcpy(text, said.p, said.len);
    said = slice_of(text, said.len);
    if (call_share_owner(said, &epoch, &node) != 0)
        return;
    enum node_alive alive = r->far->nodes.alive(r->far->nodes.arg, node, epoch);
    if (alive == NODE_DEAD) {
        k->dead_len = (uint8_t)(said.len <= UINT8_MAX ? said.len : 0);
        memcpy(k->dead, said.p, k->dead_len);
        look_ask(k);
        return;
    }
    if (alive == NODE_UNKNOWN) {
        if (k->unknown_us == 0)
            k->unknown_us = r->now_us;
        k->again_us = r->now_us + LOOK_LEASE_US;
        if (r->now_us < k->unknown_us + LOOK_UNKNOWN_US)
            return;
    }
    finish_there(k, node, epoch);
}

/* ---- time ---- */

void far_looks_free(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->looks)
    look_free(CONTAINER_OF(link, struct room_look, link));
}

uint64_t far_rooms_deadline(const struct router *r)
{
    uint64_t at = r->far->missed_us;

    if (r->far->sync_waits && r->far->sync_end_us < at)
        at = r->far->sync_end_us;

    LIST_EACH(link, tmp, &r->far->looks)
    {
        const struct room_look *k = CONTAINER_OF(link, struct room_look, link);
        uint64_t own = k->open ? CLOCK_NEVER : k->again_us;
        own = k->by_us < own ? k->by_us : own;
        at = own < at ? own : at;
    }
    return at;
}

/* A seat whose node is not known, or NULL. */
static struct far_seat *next_orphan(const struct room_look *k)
{
    struct hnode *n = NULL;
    struct far_seat *seat;

    while ((seat = far_seat_next_of_room(k->r->far, look_room(k), &n)))
        if (seat->orphan)
            return seat;
    return NULL;
}

/* Nobody is found: seats whose node is gone have none. */
static void give_up(struct room_look *k)
{
    struct router *r = k->r;
    struct far_seat *seat;

    while ((seat = next_orphan(k)))
        far_seat_closed(r, seat, ROOM_REASON_SFU_UNAVAILABLE);
    look_free(k);
}

/* One that may ask again, or whose time is up */
static void look_due(struct room_look *k)
{
    struct router *r = k->r;
    bool has_orphans = next_orphan(k) != NULL;

    if (r->now_us >= k->by_us)
        replay(k, (struct slice){0}, 0, true);
    if (k->texts_n == 0 && (!has_orphans || r->now_us >= k->give_up_us)) {
        give_up(k);
        return;
    }
    if (k->open || r->now_us < k->again_us)
        return;
    if (far_hold_may_ask(r, false))
        look_ask(k);
    else
        k->again_us = r->now_us + LOOK_SLOW_US;
}

bool router_far_sync_waits(struct router *r)
{
    if (!r->far || r->now_us >= r->far->sync_end_us)
        return false;
    r->far->sync_waits = true;
    return true;
}

static void end_syncs(struct router *r)
{
    r->far->sync_waits = false;
    for (size_t i = 0; i < r->nodes_n; i++)
        if (r->nodes[i] && node_up(r->nodes[i]))
            node_sync_end(r->nodes[i], r->now_us);
}

void far_rooms_tick(struct router *r)
{
    if (r->far->sync_waits && r->now_us >= r->far->sync_end_us)
        end_syncs(r);
    if (r->far->missed_us <= r->now_us)
        far_seats_look(r);
    LIST_EACH(link, tmp, &r->far->looks)
    look_due(CONTAINER_OF(link, struct room_look, link));
}

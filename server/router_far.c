/* Calls between nodes: devices of our calls elsewhere, calls elsewhere of our devices.
 *
 * Called by router_call.c (effects, sessions) and by the bus. The node of the caller runs the call;
 * whatever a device on another node says to it, or hears of it, goes over the bus (far_wire.h).
 * Pure.
 *
 *     effect ─► router_far_say.c ══SAY══► its session          (what calls say)
 *     session request ─► router_far_ask.c ══ASK══► the call     (what devices ask)
 *     session ─ router_far_session() ══EVENT══► take_event() ─► router_call_device()
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/router_far_priv.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/call_share.h"
#include "server/presence_wire.h"

/* ---- legs ---- */

struct far_leg *far_find(const struct far *f, const struct sig_call_id *call, struct slice user,
                         struct slice device, bool host)
{
    for (struct hnode *n = htable_first(&f->by_call, far_call_key(call)); n; n = htable_next(n)) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_call);
        if (l->host == host && sig_call_id_eq(&l->call, call) && far_leg_is(l, user, device))
            return l;
    }
    return NULL;
}

static void set_node(struct far_leg *l, struct slice node, uint64_t epoch)
{
    l->node_len = (uint8_t)node.len;
    memcpy(l->node, node.p, node.len);
    l->epoch = epoch;
}

struct far_leg *far_need(struct far *f, const struct sig_call_id *call, struct slice user,
                         struct slice device, bool host, struct slice node, uint64_t epoch)
{
    struct far_leg *l = far_find(f, call, user, device, host);

    if ((host && node.len == 0) || node.len > NODE_BUS_NODE_MAX || user.len > SIG_USER_MAX ||
        device.len > SIG_DEVICE_MAX)
        return NULL;
    if (!l) {
        l = mem_zalloc(sizeof(*l));
        if (!l)
            return NULL;
        list_init(&l->texts);
        l->call = *call;
        l->host = host;
        l->user_len = (uint8_t)user.len;
        l->device_len = (uint8_t)device.len;
        memcpy(l->user, user.p, user.len);
        memcpy(l->device, device.p, device.len);
        htable_add(&f->by_call, &l->by_call, far_call_key(call));
        htable_add(&f->by_device, &l->by_device, far_device_key(user, device));
        list_append(&f->legs, &l->link);
    }
    l->orphan = false; /* of another process, or its lease stands again */
    set_node(l, node, epoch);
    return l;
}

void far_drop(struct far *f, struct far_leg *l)
{
    htable_del(&f->by_call, &l->by_call);
    if (!l->host || !l->over)
        htable_del(&f->by_device, &l->by_device);
    list_del(&l->link);
    far_away_drop(l);
    mem_free(l);
}

void router_far_place(struct router *r, const struct sig_call_id *id, struct slice user,
                      struct slice device, struct slice node, uint64_t epoch)
{
    struct far_leg *l = far_find(r->far, id, user, device, false);

    if (l && !far_leg_at(l, node, epoch))
        far_away_begin(r, l);
    l = far_need(r->far, id, user, device, false, node, epoch);
    if (!l) {
        log_warn("call", "memory is out: a device on another node is left out");
        return;
    }
    l->over = false;
    far_away_end(r, l);
}

void router_far_unplace(struct router *r, const struct sig_call_id *id, struct slice user,
                        struct slice device)
{
    struct far_leg *l = far_find(r->far, id, user, device, false);

    if (l)
        far_drop(r->far, l);
}

bool router_far_in_call(const struct router *r, struct slice user, struct slice device)
{
    struct hnode *n =
        r->far ? htable_first(&r->far->by_device, far_device_key(user, device)) : NULL;

    for (; n; n = htable_next(n)) {
        const struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        if (l->host && !l->over && far_leg_is(l, user, device))
            return true;
    }
    return false;
}

struct far_leg *far_next_of(const struct far *f, struct slice user, struct slice device)
{
    struct hnode *n = htable_first(&f->by_device, far_device_key(user, device));

    for (; n; n = htable_next(n)) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        if (!l->host && far_leg_is(l, user, device))
            return l;
    }
    return NULL;
}

/* ---- sending ---- */

int far_send(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m)
{
    struct far *f = r->far;
    struct wr w = wr_init(f->body, sizeof(f->body));

    far_wire_encode(&w, m);
    if (w.bad)
        return -EMSGSIZE;
    return node_bus_send(f->nodes.bus, node, epoch, wr_done(&w), r->now_us);
}

void router_far_changed(struct router *r, const struct call *c, enum sig_call_state before)
{
    struct hnode *next;

    if (!r->far)
        return;
    if (before <= SIG_CALL_RINGS && !call_rings(c))
        call_claims_drop_pair(r->far->nodes.claims, call_id(c), call_caller(c), call_callee(c),
                              r->now_us);
    if (call_live(c))
        return;
    call_claims_drop_user(r->far->nodes.claims, call_id(c), call_caller(c), r->now_us);
    call_claims_drop_user(r->far->nodes.claims, call_id(c), call_callee(c), r->now_us);
    for (struct hnode *n = htable_first(&r->far->by_call, far_call_key(call_id(c))); n; n = next) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_call);
        next = htable_next(n);
        if (l->host || !sig_call_id_eq(&l->call, call_id(c)))
            continue;
        if (!l->over && !l->away) /* it ended this itself, or had said no before */
            (void)far_send(r, far_leg_node(l), l->epoch,
                           &(struct far_message){.kind = FAR_SAY,
                                                 .call = l->call,
                                                 .user = far_leg_user(l),
                                                 .device = far_leg_device(l),
                                                 .flags = FAR_OVER});
        far_drop(r->far, l);
    }
}

/* ---- sessions ---- */

static void tell(struct router *r, const struct far_leg *l, struct slice node, uint64_t epoch,
                 enum call_event_kind kind, bool can_wait)
{
    const struct session *s = router_find_session(r, far_leg_user(l), far_leg_device(l));

    (void)far_send(r, node, epoch,
                   &(struct far_message){.kind = FAR_EVENT,
                                         .call = l->call,
                                         .user = far_leg_user(l),
                                         .device = far_leg_device(l),
                                         .flags = s && s->can_rooms ? FAR_CAN_ROOMS : 0,
                                         .event = (uint8_t)kind,
                                         .can_wait = can_wait});
}

void far_tell(struct router *r, const struct far_leg *l, enum call_event_kind kind, bool can_wait)
{
    tell(r, l, far_leg_node(l), l->epoch, kind, can_wait);
}

bool router_far_can_rooms(const struct router *r, const struct sig_call_id *id, struct slice user,
                          struct slice device)
{
    const struct far_leg *l = r->far ? far_find(r->far, id, user, device, false) : NULL;

    return l && l->can_rooms;
}

void far_learn(struct router *r, const struct far_message *m)
{
    struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, false);

    if (l)
        l->can_rooms = (m->flags & FAR_CAN_ROOMS) != 0;
}

void router_far_session(struct router *r, struct session *s, enum call_event_kind kind)
{
    struct slice user = user_id(s->user), device = session_device(s);
    struct far *f = r->far;
    struct hnode *next;

    if (!f)
        return;
    if (kind == CALL_EV_NEW || (kind == CALL_EV_BACK && s->only_call))
        router_far_greet(r, s);
    for (struct hnode *n = htable_first(&f->by_device, far_device_key(user, device)); n; n = next) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        next = htable_next(n);
        if (!far_leg_is(l, user, device))
            continue;
        if (!l->host) { /* a device that was elsewhere is here now */
            if (kind == CALL_EV_NEW || kind == CALL_EV_BACK)
                far_drop(f, l);
            continue;
        }
        if (kind != CALL_EV_NEW && kind != CALL_EV_COUNT && !l->over)
            far_tell(r, l, kind, s->can_wait);
        if (kind == CALL_EV_CLOSED || kind == CALL_EV_EXPIRED || kind == CALL_EV_COUNT)
            far_drop(f, l);
    }
}

/* ---- what other nodes say ---- */

static void take_event(struct router *r, struct slice node, uint64_t epoch,
                       const struct far_message *m)
{
    const struct call *c = call_table_find(r->calls, &m->call);
    const struct call_event ev = {
        .kind = (enum call_event_kind)m->event, .user = m->user, .device = m->device};
    bool comes = ev.kind == CALL_EV_NEW || ev.kind == CALL_EV_BACK;

    if (ev.kind < CALL_EV_DELIVERED || ev.kind > CALL_EV_EXPIRED)
        return;
    const struct far_trace *t = far_trace_of_call(r->far, &m->call);
    if (t) {
        far_elsewhere(r, node, epoch, &m->call, m->user, m->device, t);
        return;
    }
    if (!c || !call_live(c)) {
        if (comes) /* it ended while the device was away */
            (void)far_send(r, node, epoch,
                           &(struct far_message){.kind = FAR_SAY,
                                                 .call = m->call,
                                                 .user = m->user,
                                                 .device = m->device,
                                                 .flags = FAR_OVER});
        return;
    }
    if (comes) {
        struct far_leg *was = far_find(r->far, &m->call, m->user, m->device, false);
        if (was && ev.kind == CALL_EV_NEW) { /* it hears of the call anew */
            far_away_begin(r, was);
            far_away_drop(was);
        }
        router_far_place(r, &m->call, m->user, m->device, node, epoch);
        far_learn(r, m);
    } else {
        const struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, false);
        if (!l || !far_leg_at(l, node, epoch) || router_find_session(r, m->user, m->device))
            return; /* it has come back elsewhere */
        router_push_far(r, m->user, m->device, &m->call, ev.kind);
    }
    if (!router_call_device(r, &m->call, &ev, m->can_wait) && comes) {
        router_far_unplace(r, &m->call, m->user, m->device);
        (void)far_send(r, node, epoch, /* it has no part in it */
                       &(struct far_message){.kind = FAR_SAY,
                                             .call = m->call,
                                             .user = m->user,
                                             .device = m->device,
                                             .flags = FAR_OVER});
        return;
    }
    if (comes || ev.kind == CALL_EV_DELIVERED)
        router_push_far(r, m->user, m->device, &m->call, ev.kind);
}

void far_elsewhere(struct router *r, struct slice node, uint64_t epoch,
                   const struct sig_call_id *call, struct slice user, struct slice device,
                   const struct far_trace *where)
{
    uint8_t text[CALL_CLAIMS_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));

    presence_wire_owner(&w, where->epoch, far_trace_node(where));
    (void)far_send(r, node, epoch,
                   &(struct far_message){.kind = FAR_ELSEWHERE,
                                         .call = *call,
                                         .user = user,
                                         .device = device,
                                         .text = wr_done(&w)});
}

/* The node that had the call says who has it: the device goes on there, and what it has asked. */
static void take_elsewhere(struct router *r, struct slice node, uint64_t epoch,
                           const struct far_message *m)
{
    struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, true);
    const struct session *s = router_find_session(r, m->user, m->device);
    struct slice owner;
    uint64_t its;

    if (!l || l->over || !far_leg_at(l, node, epoch) ||
        call_share_owner(m->text, &its, &owner) != 0 || its == node_bus_epoch(r->far->nodes.bus))
        return; /* it is known better here */
    if (r->far->nodes.alive(r->far->nodes.arg, owner, its) == NODE_DEAD) {
        l->orphan = true;
        l->orphan_us = r->now_us;
        if (s)
            router_far_greet_again(r, s);
        return;
    }
    tell(r, l, owner, its,
         !s          ? CALL_EV_EXPIRED
         : s->client ? CALL_EV_BACK
                     : CALL_EV_LOST,
         s && s->can_wait);
    (void)far_host(r, &m->call, m->user, m->device, owner, its);
}

/* An entry of ours makes a user busy. It goes if its call is over, or never began. */
static void far_check(struct router *r, const struct far_message *m)
{
    const struct call *c = call_table_find(r->calls, &m->call);
    bool asks = false;

    LIST_EACH(link, tmp, &r->far->holds)
    {
        const struct far_hold *h = CONTAINER_OF(link, struct far_hold, link);
        asks = asks || (h->kind == FAR_HOLD_INVITE && sig_call_id_eq(&h->call, &m->call));
    }
    if (!asks && (!c || !call_live(c)))
        call_claims_drop_user(r->far->nodes.claims, &m->call, m->user, r->now_us);
}

/* A session of ours goes on there: so does what our calls have for it, before it says that it is
 * there. */
static void follow(struct router *r, const struct session *s, struct slice node, uint64_t epoch)
{
    struct sig_call_id calls[CALL_TABLE_PER_USER_MAX];
    size_t n = call_table_of_device(r->calls, user_id(s->user), session_device(s), calls);

    for (size_t i = 0; i < n; i++)
        router_far_place(r, &calls[i], user_id(s->user), session_device(s), node, epoch);
}

void far_take(struct router *r, struct slice node, uint64_t epoch, struct slice body)
{
    struct room_message room;
    struct far_message m;

    if (room_wire_is(body) && room_wire_decode(&room, body) == 0) {
        far_room_take(r, node, epoch, &room);
        return;
    }
    if (far_wire_decode(&m, body) != 0) {
        log_warn("call", "node %.*s says what is not understood: is it of another version?",
                 SLICE_FMT(node));
        return;
    }
    switch (m.kind) {
    case FAR_SAY:
        far_take_say(r, node, epoch, &m);
        break;
    case FAR_EVENT:
        take_event(r, node, epoch, &m);
        break;
    case FAR_CHECK:
        far_check(r, &m);
        break;
    case FAR_TAKEN:
        router_keep_taken(r, &m.call, node, epoch);
        break;
    case FAR_MOVED: {
        struct session *s = session_by_id(r->sessions, m.session);
        if (s && slice_eq(user_id(s->user), m.user)) {
            far_trace_device(r, m.user, m.device, node, epoch);
            router_resume_forward(r, s, node, epoch, m.id_hash);
            follow(r, s, node, epoch);
            s->taken_away = true;
            router_end(r, s, CALL_EV_COUNT);
        }
        break;
    }
    case FAR_ELSEWHERE:
        take_elsewhere(r, node, epoch, &m);
        break;
    case FAR_SUPERSEDE: {
        const struct call *c = call_table_find(r->calls, &m.call);
        enum call_role role = c ? call_role(c, m.user, m.device) : CALL_ROLE_NONE;
        if (role == CALL_ROLE_CALLER || role == CALL_ROLE_WINNER)
            (void)router_call_end(r, &m.call, SIG_REASON_SUPERSEDED);
        break;
    }
    default:
        far_take_ask(r, node, epoch, &m);
        break;
    }
}

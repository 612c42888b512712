/* Calls between nodes: devices of our calls elsewhere, calls elsewhere of our devices.
 *
 * Called by router_call.c (effects, requests, sessions) and by the bus. The node of the caller runs
 * the call; whatever a device on another node says to it, or hears of it, goes over the bus
 * (far_wire.h). Pure.
 *
 *     effect ─ perform_one() ─ no session here ─► router_far_say() ══SAY══► take_say() ─► its
 * session request ─ router_far_ask() ══ASK══► take_ask() ─► router_call_perform() ─►
 * router_far_reply() session ─ router_far_session() ══EVENT══► take_event() ─► router_call_device()
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/router_far_priv.h"

#include <errno.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/sig_client.h"
#include "proto/sig_server.h"

/* ---- legs ---- */

static uint64_t hash_of(const struct sig_call_id *id)
{
    return hash_bytes(slice_of(id->b, sizeof(id->b)));
}

static uint64_t device_hash(struct slice user, struct slice device)
{
    return hash_bytes(user) * 31 + hash_bytes(device);
}

static bool is_of(const struct far_leg *l, struct slice user, struct slice device)
{
    return slice_eq(far_leg_user(l), user) && slice_eq(far_leg_device(l), device);
}

struct far_leg *far_find(const struct far *f, const struct sig_call_id *call, struct slice user,
                         struct slice device, bool host)
{
    for (struct hnode *n = htable_first(&f->by_call, hash_of(call)); n; n = htable_next(n)) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_call);
        if (l->host == host && sig_call_id_eq(&l->call, call) && is_of(l, user, device))
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
        htable_add(&f->by_call, &l->by_call, hash_of(call));
        htable_add(&f->by_device, &l->by_device, device_hash(user, device));
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

/* The device was told the end of the call: what it asks of it later is still asked there. */
static void end_leg(struct router *r, struct far_leg *l)
{
    if (l->over)
        return;
    l->over = true;
    l->forget_us = r->now_us + r->conf->call.ended_keep_s * US_PER_S;
    htable_del(&r->far->by_device, &l->by_device); /* who dials all day has many */
    list_del(&l->link);
    list_append(&r->far->over, &l->link);
}

void router_far_place(struct router *r, const struct sig_call_id *id, struct slice user,
                      struct slice device, struct slice node, uint64_t epoch)
{
    struct far_leg *l = far_find(r->far, id, user, device, false);

    if (l && (l->epoch != epoch || !slice_eq(far_leg_node(l), node)))
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
    struct hnode *n = r->far ? htable_first(&r->far->by_device, device_hash(user, device)) : NULL;

    for (; n; n = htable_next(n)) {
        const struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        if (l->host && !l->over && is_of(l, user, device))
            return true;
    }
    return false;
}

struct far_leg *far_next_of(const struct far *f, struct slice user, struct slice device)
{
    struct hnode *n = htable_first(&f->by_device, device_hash(user, device));

    for (; n; n = htable_next(n)) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        if (!l->host && is_of(l, user, device))
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

/* Keeps m for a device until somebody knows where it is. */
static int far_keep(struct router *r, struct far_leg *l, const struct far_message *m)
{
    struct wr w = wr_init(r->far->body, sizeof(r->far->body));

    far_wire_encode(&w, m);
    return !w.bad && far_away_push(l, wr_done(&w)) ? 0 : -ENOBUFS;
}

bool router_far_full(const struct router *r, const struct sig_call_id *id, struct slice user,
                     struct slice device, size_t bytes)
{
    const struct far_leg *l = r->far ? far_find(r->far, id, user, device, false) : NULL;

    return l && l->away && !far_away_fits(l, bytes + FAR_WIRE_HEAD_MAX);
}

void router_far_say(struct router *r, const struct call_fx *fx, struct slice body)
{
    struct far_leg *l = far_find(r->far, &fx->call_id, fx->user, fx->device, false);
    struct far_message m = {
        .kind = FAR_SAY, .call = fx->call_id, .user = fx->user, .device = fx->device, .text = body};

    if (!l)
        return;
    if (fx->kind == CALL_FX_INCOMING)
        m.flags = FAR_RINGS | FAR_FOREIGN;
    else if (fx->kind == CALL_FX_RELAY)
        m.flags = FAR_FOREIGN;
    else if (fx->kind == CALL_FX_ENDED)
        m.flags = FAR_OVER;
    const struct call *c = fx->room_raw.len > 0 ? call_table_find(r->calls, &fx->call_id) : NULL;
    if (c) {
        m.flags |= FAR_TO_ROOM;
        m.name = call_room(c);
    }
    l->over = fx->kind == CALL_FX_ENDED;
    m.id_hash = ++r->far->said;
    int err = l->away ? far_keep(r, l, &m) : far_send(r, far_leg_node(l), l->epoch, &m);
    if (err)
        log_warn("call", "a message for node %.*s is lost: %s", SLICE_FMT(far_leg_node(l)),
                 strerror(-err));
}

void router_far_reply(const struct request *q, struct slice body)
{
    const struct far_who *who = q->far;
    struct far_message m = {.kind = FAR_SAY,
                            .call = q->m->call_id,
                            .user = who->user,
                            .device = who->device,
                            .id_hash = q->id_hash,
                            .flags = FAR_REPLY,
                            .text = body};

    memcpy(m.session, who->session, sizeof(m.session));
    (void)far_send(q->r, who->node, who->epoch, &m); /* it hears of our end, or asks again */
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
    for (struct hnode *n = htable_first(&r->far->by_call, hash_of(call_id(c))); n; n = next) {
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

/* ---- requests ---- */

static void unavailable(const struct request *q)
{
    request_error(q, &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                         .text = "the node of this call does not answer",
                                         .retry_after_ms = FAR_RETRY_MS});
}

void far_ask(const struct request *q, struct slice node, uint64_t epoch, enum far_kind kind,
             const struct sig_call_id *call)
{
    struct far_wait *wait = q->m->has_id ? mem_zalloc(sizeof(*wait)) : NULL;
    struct far_message m = {.kind = kind,
                            .call = *call,
                            .user = request_user(q),
                            .device = request_device(q),
                            .id_hash = q->id_hash,
                            .flags = q->s->can_rooms ? FAR_CAN_ROOMS : 0,
                            .name = session_name(q->s),
                            .text = q->text};

    memcpy(m.session, q->s->id, sizeof(m.session));
    if ((q->m->has_id && !wait) || far_send(q->r, node, epoch, &m) != 0) {
        mem_free(wait);
        unavailable(q);
        return;
    }
    if (!wait)
        return;
    memcpy(wait->session, q->s->id, sizeof(wait->session));
    wait->id_hash = q->id_hash;
    wait->epoch = epoch;
    wait->call = q->m->call_id;
    wait->id_len = (uint8_t)q->m->id.len;
    memcpy(wait->id, q->m->id.p, q->m->id.len);
    wait->node_len = (uint8_t)node.len;
    memcpy(wait->node, node.p, node.len);
    list_append(&q->r->far->waits, &wait->link);
}

bool router_far_ask(const struct request *q)
{
    struct far *f = q->r->far;
    struct far_leg *l =
        f ? far_find(f, &q->m->call_id, request_user(q), request_device(q), true) : NULL;

    if (!l || l->orphan)
        return false;
    far_ask(q, far_leg_node(l), l->epoch, FAR_ASK, &l->call);
    return true;
}

/* A device's call, and the node that runs it now. */
struct far_move {
    struct router *r;
    const struct far_leg *l;
    struct slice node;
    uint64_t epoch;
};

static bool move_ask(void *arg, struct slice body)
{
    const struct far_move *mv = arg;
    struct far_message m;

    if (far_wire_decode(&m, body) != 0 || m.kind != FAR_ASK ||
        !sig_call_id_eq(&m.call, &mv->l->call) || !is_of(mv->l, m.user, m.device) ||
        node_bus_send(mv->r->far->nodes.bus, mv->node, mv->epoch, body, mv->r->now_us) != 0)
        return false;
    struct far_wait *wait = m.id_hash != 0 ? far_wait_find(mv->r->far, m.session, m.id_hash) : NULL;
    if (wait) {
        wait->epoch = mv->epoch;
        wait->node_len = (uint8_t)mv->node.len;
        memcpy(wait->node, mv->node.p, mv->node.len);
    }
    return true;
}

struct far_leg *far_host(struct router *r, const struct sig_call_id *call, struct slice user,
                         struct slice device, struct slice node, uint64_t epoch)
{
    const struct far_leg *l = far_find(r->far, call, user, device, true);
    struct far_move mv = {r, l, node, epoch};

    /* of a process that another of its name has replaced all is taken back when its end is told */
    if (l && l->epoch != epoch && !slice_eq(far_leg_node(l), node))
        node_bus_take_back(r->far->nodes.bus, far_leg_node(l), l->epoch, move_ask, &mv);
    return far_need(r->far, call, user, device, true, node, epoch);
}

struct far_wait *far_wait_find(const struct far *f, const uint8_t session[SESSION_ID_BYTES],
                               uint64_t id_hash)
{
    LIST_EACH(link, tmp, &f->waits)
    {
        struct far_wait *w = CONTAINER_OF(link, struct far_wait, link);
        if (w->id_hash == id_hash && memcmp(w->session, session, SESSION_ID_BYTES) == 0)
            return w;
    }
    return NULL;
}

bool router_far_waits(const struct router *r, const struct session *s, uint64_t id_hash)
{
    return r->far && (far_wait_find(r->far, s->id, id_hash) || router_far_held(r, s, id_hash));
}

void far_wait_drop(struct far_wait *w)
{
    list_del(&w->link);
    mem_free(w);
}

bool router_far_supersede(struct router *r, struct slice user, struct slice device,
                          const struct sig_call_id *id)
{
    struct far_leg *l = far_find(r->far, id, user, device, true);

    if (!l || l->over)
        return false;
    (void)far_send(
        r, far_leg_node(l), l->epoch,
        &(struct far_message){.kind = FAR_SUPERSEDE, .call = *id, .user = user, .device = device});
    return true;
}

/* ---- sessions ---- */

void far_tell(struct router *r, const struct far_leg *l, enum call_event_kind kind, bool can_wait)
{
    const struct session *s = router_find_session(r, far_leg_user(l), far_leg_device(l));

    (void)far_send(r, far_leg_node(l), l->epoch,
                   &(struct far_message){.kind = FAR_EVENT,
                                         .call = l->call,
                                         .user = far_leg_user(l),
                                         .device = far_leg_device(l),
                                         .flags = s && s->can_rooms ? FAR_CAN_ROOMS : 0,
                                         .event = (uint8_t)kind,
                                         .can_wait = can_wait});
}

bool router_far_can_rooms(const struct router *r, const struct sig_call_id *id, struct slice user,
                          struct slice device)
{
    const struct far_leg *l = r->far ? far_find(r->far, id, user, device, false) : NULL;

    return l && l->can_rooms;
}

/* The device has spoken from there. */
static void learn(struct router *r, const struct far_message *m)
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
    for (struct hnode *n = htable_first(&f->by_device, device_hash(user, device)); n; n = next) {
        struct far_leg *l = CONTAINER_OF(n, struct far_leg, by_device);
        next = htable_next(n);
        if (!is_of(l, user, device))
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

/* Whether a call may ring on it: as in devices_of(), router_call.c. */
static bool may_ring(const struct session *s, const struct far_message *m)
{
    bool into_room = (m->flags & FAR_TO_ROOM) != 0;

    if (!s->may_call || s->only_call)
        return false;
    return !into_room || (s->can_rooms && (!s->room || slice_is(m->name, s->room)));
}

/* Whether the device has it: its node was taken for dead before it could say so, and is said it
 * again. They come in their order. */
static bool was_said(struct far_leg *l, const struct far_message *m, uint64_t epoch)
{
    if (m->id_hash == 0 || (m->flags & FAR_REPLY) != 0)
        return false;
    if (l->said_epoch == epoch && m->id_hash <= l->said)
        return true;
    l->said_epoch = epoch;
    l->said = m->id_hash;
    return false;
}

/* A message for a device of ours. */
static void take_say(struct router *r, struct slice node, uint64_t epoch,
                     const struct far_message *m)
{
    struct session *s = (m->flags & FAR_REPLY) != 0 ? session_by_id(r->sessions, m->session)
                                                    : router_find_session(r, m->user, m->device);
    struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, true);
    struct far_wait *wait =
        (m->flags & FAR_REPLY) != 0 ? far_wait_find(r->far, m->session, m->id_hash) : NULL;
    bool rings = (m->flags & FAR_RINGS) != 0, over = (m->flags & FAR_OVER) != 0;

    if (wait)
        far_wait_drop(wait);
    if (!s || s->ending || (rings && !may_ring(s, m))) {
        if (rings)
            (void)far_send(r, node, epoch,
                           &(struct far_message){.kind = FAR_EVENT,
                                                 .call = m->call,
                                                 .user = m->user,
                                                 .device = m->device,
                                                 .event = CALL_EV_EXPIRED});
        return;
    }
    const struct call *ours = call_table_find(r->calls, &m->call);
    if ((m->flags & FAR_REPLY) == 0 && ours && call_live(ours)) {
        /* It stood still while the call was taken over, and has not seen it yet: what others asked
         * it to pass on is passed on, what it decided is not. */
        if ((m->flags & (FAR_FOREIGN | FAR_RINGS)) != FAR_FOREIGN)
            return;
    } else if ((m->flags & FAR_REPLY) == 0 && !over)
        l = far_host(r, &m->call, m->user, m->device, node, epoch);
    if (l && was_said(l, m, epoch))
        return;
    if (l)
        l->confirmed = true;
    struct wr w = router_body(r);
    wr_bytes(&w, m->text);
    if ((m->flags & FAR_FOREIGN) != 0 && !router_has_room(r, s, m->text.len))
        counter_inc(&r->count.rate_limited);
    else if (m->text.len > 0 && !w.bad)
        router_send(r, s, wr_done(&w), (m->flags & FAR_REPLY) != 0 ? m->id_hash : 0);
    if (rings)
        s->incoming_seq = s->rel.out_seq;
    if (l && over)
        end_leg(r, l);
    router_update_in_call(r, s);
}

/* Whether it was done before: its node took it back, because we seemed to have ended, or its client
 * has come with it to another node. A request is done again for a node that does not have its
 * answer. */
static bool was_asked(struct far_leg *l, const struct far_message *m, const struct sig_msg *msg,
                      uint64_t epoch)
{
    bool same = l->asked_epoch == epoch;

    if (!msg->has_seq)
        return false;
    if (memcmp(l->asked_session, m->session, sizeof(l->asked_session)) != 0) {
        memcpy(l->asked_session, m->session, sizeof(l->asked_session));
        l->asked_top = l->asked = 0;
    }
    l->asked_epoch = epoch;
    if (msg->seq > l->asked_top) {
        uint64_t by = msg->seq - l->asked_top;
        l->asked = (by < 64 ? l->asked << by : 0) | 1;
        l->asked_top = msg->seq;
        return false;
    }
    uint64_t back = l->asked_top - msg->seq;
    uint64_t bit = back < 64 ? UINT64_C(1) << back : 0;
    bool before = (l->asked & bit) != 0;
    l->asked |= bit;
    return before && (m->id_hash == 0 || same);
}

/* A request of a device there on a call of ours, or its invite that crosses one. */
static void take_ask(struct router *r, struct slice node, uint64_t epoch,
                     const struct far_message *m)
{
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct far_who who = {.node = node, .epoch = epoch, .user = m->user, .device = m->device};
    struct sig_fault fault;
    struct sig_msg msg;
    struct sig_invite in;
    struct request q = {.r = r,
                        .far = &who,
                        .m = &msg,
                        .text = m->text,
                        .scratch = &scratch,
                        .id_hash = m->id_hash};

    memcpy(who.session, m->session, sizeof(who.session));
    if (sig_decode(&msg, m->text, &scratch, &fault) != 0 || !msg.has_call_id)
        return; /* the node has read it before: it is of another version */
    if (m->kind == FAR_CROSS) {
        const struct router_invite more = {.crosses = true, .first = m->call, .name = m->name};
        if (msg.type != SIG_CALL_INVITE || sig_client_invite(&in, &msg, &fault) != 0)
            return;
        const struct call *first = call_table_find(r->calls, &m->call);
        if (first && call_rings(first))
            router_far_place(r, &m->call, m->user, m->device, node, epoch);
        (void)router_invite_now(&q, &in, &more);
        if (first && call_rings(first)) /* it learns whom to ask about that call */
            (void)far_send(
                r, node, epoch,
                &(struct far_message){
                    .kind = FAR_SAY, .call = m->call, .user = m->user, .device = m->device});
        return;
    }
    if (!sig_type_needs_call(msg.type) || msg.type == SIG_CALL_INVITE)
        return;
    const struct call *c = call_table_find(r->calls, &msg.call_id);
    if (c && call_live(c))
        router_far_place(r, &msg.call_id, m->user, m->device, node, epoch);
    struct far_leg *l = far_find(r->far, &msg.call_id, m->user, m->device, false);
    if (l && was_asked(l, m, &msg, epoch))
        return;
    learn(r, m);
    if (msg.type == SIG_CALL_QUALITY)
        router_quality_request(&q);
    else
        router_call_perform(&q);
}

static void take_event(struct router *r, struct slice node, uint64_t epoch,
                       const struct far_message *m)
{
    const struct call *c = call_table_find(r->calls, &m->call);
    const struct call_event ev = {
        .kind = (enum call_event_kind)m->event, .user = m->user, .device = m->device};
    bool comes = ev.kind == CALL_EV_NEW || ev.kind == CALL_EV_BACK;

    if (ev.kind < CALL_EV_DELIVERED || ev.kind > CALL_EV_EXPIRED)
        return;
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
        learn(r, m);
    } else {
        const struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, false);
        if (!l || !slice_eq(far_leg_node(l), node) || l->epoch != epoch ||
            router_find_session(r, m->user, m->device))
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
        take_say(r, node, epoch, &m);
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
            router_resume_forward(r, s, node, epoch, m.id_hash);
            follow(r, s, node, epoch);
            s->taken_away = true;
            router_end(r, s, CALL_EV_COUNT);
        }
        break;
    }
    case FAR_SUPERSEDE: {
        const struct call *c = call_table_find(r->calls, &m.call);
        enum call_role role = c ? call_role(c, m.user, m.device) : CALL_ROLE_NONE;
        if (role == CALL_ROLE_CALLER || role == CALL_ROLE_WINNER)
            (void)router_call_end(r, &m.call, SIG_REASON_SUPERSEDED);
        break;
    }
    default:
        take_ask(r, node, epoch, &m);
        break;
    }
}

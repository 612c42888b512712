/* What calls of ours say to devices on other nodes, and what calls elsewhere say to devices here.
 *
 * Called by router_call.c (effects, answers, ends) and router_far.c. Pure.
 *
 *     effect ─ no session here ─► router_far_say() ══SAY══► far_take_say() ─► its session
 *                                    └─ nobody knows where it is: router_away.c
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/router_far_priv.h"

#include <errno.h>

#include "base/log.h"

/* ---- ours say ---- */

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

static void send_leg(struct router *r, struct far_leg *l, const struct far_message *m)
{
    int err = l->away ? far_keep(r, l, m) : far_send(r, far_leg_node(l), l->epoch, m);

    if (err)
        log_warn("call", "a message for node %.*s is lost: %s", SLICE_FMT(far_leg_node(l)),
                 strerror(-err));
}

/* Of a message for a device elsewhere; no other process gives it. Even: no request has it. */
static uint64_t new_id(struct far *f)
{
    uint64_t id = node_bus_epoch(f->nodes.bus) + ++f->said * UINT64_C(0x9E3779B97F4A7C15);

    return id < 2 ? 2 : id & ~UINT64_C(1);
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
    m.id_hash = new_id(r->far);
    send_leg(r, l, &m);
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

/* ---- others say ---- */

/* The device is not here: a call of ours knows where it is, or it was here not long ago. */
static void pass_on(struct router *r, const struct far_message *m, bool runs_here)
{
    const struct far_trace *t = far_trace_of_device(r->far, m->user, m->device);
    struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, false);
    struct far_message more = *m;

    more.flags |= FAR_PASSED;
    if ((m->flags & (FAR_PASSED | FAR_RINGS)) != 0 || reliable_is_reply(m->id_hash))
        return; /* who asked asks again */
    if (!runs_here && t)
        (void)far_send(r, far_trace_node(t), t->epoch, &more);
    else if (runs_here && l && (m->flags & FAR_FOREIGN) != 0)
        send_leg(r, l, &more);
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

/* Whether a call may ring on it: as in devices_of(), router_call.c. */
static bool may_ring(const struct session *s, const struct far_message *m)
{
    bool into_room = (m->flags & FAR_TO_ROOM) != 0;

    if (!s->may_call || s->only_call)
        return false;
    return !into_room || (s->can_rooms && (!s->room || slice_is(m->name, s->room)));
}

/* Whether somebody else is known to run the call of l, and lives. */
static bool is_run_elsewhere(const struct router *r, const struct far_leg *l, struct slice node,
                             uint64_t epoch)
{
    return l && !l->orphan && !far_leg_at(l, node, epoch) &&
           r->far->nodes.alive(r->far->nodes.arg, far_leg_node(l), l->epoch) != NODE_DEAD;
}

void far_take_say(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m)
{
    struct session *s = (m->flags & FAR_REPLY) != 0 ? session_by_id(r->sessions, m->session)
                                                    : router_find_session(r, m->user, m->device);
    struct far_leg *l = far_find(r->far, &m->call, m->user, m->device, true);
    struct far_wait *wait =
        (m->flags & FAR_REPLY) != 0 ? far_wait_find(r->far, m->session, m->id_hash) : NULL;
    const struct call *ours = call_table_find(r->calls, &m->call);
    bool runs_here = ours && call_live(ours), reply = (m->flags & FAR_REPLY) != 0,
         rings = (m->flags & FAR_RINGS) != 0, over = (m->flags & FAR_OVER) != 0;

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
        else if (!s)
            pass_on(r, m, runs_here);
        return;
    }
    if (!reply && (runs_here || is_run_elsewhere(r, l, node, epoch))) {
        /* The node was taken for dead, and has not seen it yet: what others asked it to pass on is
         * passed on, what it decided is not. */
        if ((m->flags & (FAR_FOREIGN | FAR_RINGS)) != FAR_FOREIGN)
            return;
    } else if (!reply && !over) {
        l = far_host(r, &m->call, m->user, m->device, node, epoch);
    }
    if (reliable_heard(&s->rel, m->id_hash))
        return;
    if (l)
        l->confirmed = true;
    struct wr w = router_body(r);
    wr_bytes(&w, m->text);
    if ((m->flags & FAR_FOREIGN) != 0 && !router_has_room(r, s, m->text.len))
        counter_inc(&r->count.rate_limited);
    else if (m->text.len > 0 && !w.bad)
        router_send(r, s, wr_done(&w), m->id_hash);
    if (rings)
        s->incoming_seq = s->rel.out_seq;
    if (l && over)
        end_leg(r, l);
    router_update_in_call(r, s);
}

/* What devices here ask of calls elsewhere, and devices elsewhere of calls of ours.
 *
 * Called by router_call.c (requests) and router_far.c. Pure.
 *
 *     request ─ router_far_ask() ══ASK══► far_take_ask() ─► router_call_perform()
 *     session ◄──────────────────══SAY══─ router_far_reply() ◄────────┘
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/router_far_priv.h"

#include "base/mem.h"
#include "proto/sig_client.h"

/* ---- ours ask ---- */

void far_unavailable(const struct request *q)
{
    request_error(q, &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                         .text = "whose this call is cannot be told now",
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
        far_unavailable(q);
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
        !sig_call_id_eq(&m.call, &mv->l->call) || !far_leg_is(mv->l, m.user, m.device) ||
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

/* ---- others ask ---- */

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

void far_take_ask(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m)
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
    const struct far_trace *t = far_trace_of_call(r->far, &msg.call_id);
    if (t) { /* before this is acknowledged: it is asked again there */
        far_elsewhere(r, node, epoch, &msg.call_id, m->user, m->device, t);
        return;
    }
    const struct call *c = call_table_find(r->calls, &msg.call_id);
    if (c && call_live(c))
        router_far_place(r, &msg.call_id, m->user, m->device, node, epoch);
    struct far_leg *l = far_find(r->far, &msg.call_id, m->user, m->device, false);
    if (l && was_asked(l, m, &msg, epoch))
        return;
    far_learn(r, m);
    if (msg.type == SIG_CALL_QUALITY)
        router_quality_request(&q);
    else
        router_call_perform(&q);
}

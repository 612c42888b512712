/* What a call of ours says to a device while nobody knows where it is: its node is gone, or the
 * call was taken over without it. It is kept, in order and bounded, until the device is back.
 *
 * Called by router_far.c, router_nodes.c and router_keep.c. Pure.
 *
 *     gone: unacknowledged SAY ─► far_away_take_back() ┐
 *     router_far_say(), away ────────────────────────► ├─ texts ─ back elsewhere ─► its new node
 *     a session comes here ─► router_far_arrive() ─────┘        ─ back here ─► its session
 *
 * A device that comes with a new session hears of the call anew: nothing of this is said to it.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "server/router_far_priv.h"

#define AWAY_MAX       256 /* messages for one device, and their bytes */
#define AWAY_BYTES_MAX 65536

bool far_away_fits(const struct far_leg *l, size_t bytes)
{
    return l->texts_n < AWAY_MAX && bytes <= AWAY_BYTES_MAX - l->bytes;
}

bool far_away_push(struct far_leg *l, struct slice body)
{
    struct far_held *t = far_away_fits(l, body.len) ? mem_zalloc(sizeof(*t) + body.len) : NULL;

    if (!t)
        return false;
    t->len = body.len;
    memcpy(t->text, body.p, body.len);
    list_append(&l->texts, &t->link);
    l->texts_n++;
    l->bytes += body.len;
    return true;
}

/* The first that is kept, for the caller to free; NULL: none. */
static struct far_held *take_first(struct far_leg *l)
{
    struct list *first = list_first(&l->texts);
    struct far_held *t = first ? CONTAINER_OF(first, struct far_held, link) : NULL;

    if (!t)
        return NULL;
    list_del(first);
    l->texts_n--;
    l->bytes -= t->len;
    return t;
}

void far_away_drop(struct far_leg *l)
{
    for (struct far_held *t; (t = take_first(l));)
        mem_free(t);
}

static void lost(const struct far_leg *l)
{
    log_warn("call", "a message for a device of node %.*s is lost: too many wait",
             SLICE_FMT(far_leg_node(l)));
}

/* Of what a node has not acknowledged: what is for this leg. */
static bool take_for(void *arg, struct slice body)
{
    struct far_leg *l = arg;
    struct far_message m;

    if (far_wire_decode(&m, body) != 0 || m.kind != FAR_SAY || !sig_call_id_eq(&m.call, &l->call) ||
        !slice_eq(m.user, far_leg_user(l)) || !slice_eq(m.device, far_leg_device(l)))
        return false;
    if (!far_away_push(l, body))
        lost(l);
    return true;
}

void far_away_begin(struct router *r, struct far_leg *l)
{
    if (!l->away)
        node_bus_take_back(r->far->nodes.bus, far_leg_node(l), l->epoch, take_for, l);
    l->away = true;
}

void far_away_end(struct router *r, struct far_leg *l)
{
    l->away = false;
    for (struct far_held *t; (t = take_first(l)); mem_free(t))
        if (node_bus_send(r->far->nodes.bus, far_leg_node(l), l->epoch, slice_of(t->text, t->len),
                          r->now_us) != 0)
            lost(l);
}

/* Says one of them to a session here. */
static void say_here(struct router *r, struct session *s, struct slice body)
{
    struct far_message m;

    if (far_wire_decode(&m, body) != 0 || m.text.len == 0 ||
        ((m.flags & FAR_REPLY) != 0 && memcmp(m.session, s->id, sizeof(m.session)) != 0))
        return;
    if ((m.flags & FAR_FOREIGN) != 0 && !router_has_room(r, s, m.text.len)) {
        counter_inc(&r->count.rate_limited);
        return;
    }
    if (reliable_heard(&s->rel, m.id_hash))
        return;
    struct wr w = router_body(r);
    wr_bytes(&w, m.text);
    if (w.bad)
        return;
    router_send(r, s, wr_done(&w), m.id_hash);
    if ((m.flags & FAR_RINGS) != 0)
        s->incoming_seq = s->rel.out_seq;
}

void router_far_arrive(struct router *r, struct session *s)
{
    if (!r->far)
        return;
    for (struct far_leg *l; (l = far_next_of(r->far, user_id(s->user), session_device(s)));) {
        far_away_begin(r, l);
        for (struct far_held *t; (t = take_first(l)); mem_free(t))
            say_here(r, s, slice_of(t->text, t->len));
        far_drop(r->far, l);
    }
}

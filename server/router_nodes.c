/* Other nodes as the router sees them: they come, they go; and time for what concerns them.
 *
 * Called by main.c (router_set_nodes), router.c (ticks) and the bus. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "proto/sig_server.h"
#include "server/router_far_priv.h"

void far_orphan_end(struct router *r, struct far_leg *l)
{
    struct session *s = router_find_session(r, far_leg_user(l), far_leg_device(l));
    struct call_fx fx = {.kind = CALL_FX_ENDED,
                         .call_id = l->call,
                         .conn = SIG_CONN_COUNT,
                         .reason = SIG_REASON_SERVER_ERROR};
    struct wr w = router_body(r);

    far_drop(r->far, l);
    if (!s)
        return;
    call_fx_write(&w, &fx, (struct slice){0}, (struct slice){0}, r->wall_us / US_PER_MS);
    router_send(r, s, wr_done(&w), 0);
    router_update_in_call(r, s);
}

/* Who waits for an answer of the node hears that none will come. */
static void fail_waits(struct router *r, struct slice node, uint64_t epoch)
{
    LIST_EACH(link, tmp, &r->far->waits)
    {
        struct far_wait *wait = CONTAINER_OF(link, struct far_wait, link);
        struct session *s = session_by_id(r->sessions, wait->session);
        struct wr w = router_body(r);
        if (wait->epoch != epoch || !slice_eq(slice_of(wait->node, wait->node_len), node))
            continue;
        sig_server_error(&w, &(struct sig_error){.re = slice_of(wait->id, wait->id_len),
                                                 .call_id = wait->room_len ? NULL : &wait->call,
                                                 .room = slice_of(wait->room, wait->room_len),
                                                 .code = SIG_ERR_STORE_UNAVAILABLE,
                                                 .text = "the node that ran this is gone",
                                                 .retry_after_ms = FAR_RETRY_MS});
        if (s)
            router_send(r, s, wr_done(&w), wait->id_hash);
        far_wait_drop(wait);
    }
}

/* The device of a call of ours is at that process. */
static bool is_there(const struct far_leg *l, struct slice node, uint64_t epoch)
{
    return !l->host && far_leg_at(l, node, epoch);
}

struct gone {
    struct router *r;
    struct slice node;
    uint64_t epoch;
};

/* What a dead process has not acknowledged was not done there: requests wait for the next node of
 * their call, what was said to its devices for the next node of theirs. */
static bool take_back(void *arg, struct slice body)
{
    const struct gone *g = arg;
    struct far_message m;

    if (room_wire_is(body))
        return far_room_take_back(g->r, body);
    if (far_wire_decode(&m, body) != 0)
        return false;
    if (m.kind == FAR_ASK)
        return far_hold_take_back(g->r, &m);
    struct far_leg *l =
        m.kind == FAR_SAY ? far_find(g->r->far, &m.call, m.user, m.device, false) : NULL;
    return l && is_there(l, g->node, g->epoch) && far_away_push(l, body);
}

/* The devices that are there have no socket any more, or have one again. */
static void tell_parties(struct router *r, struct slice node, uint64_t epoch,
                         enum call_event_kind kind)
{
    LIST_EACH(link, tmp, &r->far->legs)
    {
        struct far_leg *l = CONTAINER_OF(link, struct far_leg, link);
        const struct call_event ev = {
            .kind = kind, .user = far_leg_user(l), .device = far_leg_device(l)};
        if (!is_there(l, node, epoch))
            continue;
        if (kind == CALL_EV_LOST)
            router_push_far(r, ev.user, ev.device, &l->call, kind);
        (void)router_call_device(r, &l->call, &ev, false);
    }
}

static void on_gone(void *arg, struct slice node, uint64_t epoch)
{
    struct router *r = arg;

    log_warn("call", "node %.*s is gone", SLICE_FMT(node));
    r->far->look_us = r->now_us; /* its calls are taken over at once */
    struct gone g = {r, node, epoch};
    node_bus_take_back(r->far->nodes.bus, node, epoch, take_back, &g);
    LIST_EACH(link, tmp, &r->far->legs)
    {
        struct far_leg *l = CONTAINER_OF(link, struct far_leg, link);
        if (is_there(l, node, epoch))
            l->away = true;
    }
    tell_parties(r, node, epoch, CALL_EV_LOST);
    fail_waits(r, node, epoch);
    LIST_EACH(link, tmp, &r->far->legs)
    {
        struct far_leg *l = CONTAINER_OF(link, struct far_leg, link);
        if (!l->host || !far_leg_at(l, node, epoch))
            continue;
        const struct session *s = router_find_session(r, far_leg_user(l), far_leg_device(l));
        l->orphan = true;
        l->orphan_us = r->now_us;
        if (s)
            router_far_greet_again(r, s);
    }
    far_seats_gone(r, node, epoch);
    far_room_gone(r, node, epoch);
}

static void on_back(void *arg, struct slice node, uint64_t epoch)
{
    struct router *r = arg;

    log_info("call", "node %.*s is back", SLICE_FMT(node));
    LIST_EACH(link, tmp, &r->far->legs)
    {
        struct far_leg *l = CONTAINER_OF(link, struct far_leg, link);
        if (is_there(l, node, epoch))
            far_away_end(r, l);
    }
    tell_parties(r, node, epoch, CALL_EV_BACK);
    far_seats_back(r, node, epoch);
}

static void on_message(void *arg, struct slice node, uint64_t epoch, struct slice body)
{
    far_take(arg, node, epoch, body);
}

/* ---- life ---- */

bool router_set_nodes(struct router *r, const struct router_nodes *nodes)
{
    static const struct node_bus_ears ears = {on_message, on_gone, on_back};
    struct far *f = mem_zalloc(sizeof(*f));

    if (!f || htable_init(&f->by_call, 0) != 0 || htable_init(&f->by_device, 0) != 0 ||
        htable_init(&f->seats_by_room, 0) != 0 || htable_init(&f->seats_by_session, 0) != 0 ||
        htable_init(&f->traces_by_key, 0) != 0) {
        if (f) {
            htable_fini(&f->by_call);
            htable_fini(&f->by_device);
            htable_fini(&f->seats_by_room);
            htable_fini(&f->seats_by_session);
        }
        mem_free(f);
        return false;
    }
    f->nodes = *nodes;
    list_init(&f->legs);
    list_init(&f->over);
    list_init(&f->waits);
    list_init(&f->holds);
    list_init(&f->steps);
    list_init(&f->sweeps);
    list_init(&f->dirty_sessions);
    list_init(&f->soon_sessions);
    list_init(&f->saves);
    list_init(&f->logins);
    list_init(&f->seats);
    list_init(&f->rings);
    list_init(&f->traces);
    list_init(&f->rooms_left);
    f->missed_us = CLOCK_NEVER;
    f->sync_end_us = r->now_us + FAR_ADOPT_US;
    list_init(&f->looks);
    list_init(&f->dirty_rooms);
    list_init(&f->room_saves);
    r->far = f;
    node_bus_hear(nodes->bus, &ears, r);
    return true;
}

void router_far_free(struct router *r)
{
    struct far *f = r->far;

    if (!f)
        return;
    node_bus_hear(f->nodes.bus, NULL, NULL);
    router_far_holds_free(r);
    router_keep_free(r);
    router_resume_free(r);
    far_rings_free(r);
    far_rooms_free(r);
    far_rooms_keep_free(r);
    while (!list_empty(&f->dirty_sessions))
        list_del(list_first(&f->dirty_sessions));
    while (!list_empty(&f->soon_sessions))
        list_del(list_first(&f->soon_sessions));
    LIST_EACH(link, tmp, &f->legs)
    far_drop(f, CONTAINER_OF(link, struct far_leg, link));
    LIST_EACH(link, tmp, &f->over)
    far_drop(f, CONTAINER_OF(link, struct far_leg, link));
    LIST_EACH(link, tmp, &f->waits)
    far_wait_drop(CONTAINER_OF(link, struct far_wait, link));
    far_traces_free(f);
    htable_fini(&f->by_call);
    htable_fini(&f->by_device);
    mem_free(f);
    r->far = NULL;
}

uint64_t router_far_deadline(const struct router *r)
{
    const struct list *first = r->far ? list_first(&r->far->over) : NULL;
    uint64_t at = first ? CONTAINER_OF(first, const struct far_leg, link)->forget_us : CLOCK_NEVER;
    uint64_t holds = r->far ? router_far_holds_deadline(r) : CLOCK_NEVER;

    uint64_t keep = r->far ? router_keep_deadline(r) : CLOCK_NEVER;

    uint64_t rooms = r->far ? far_rooms_deadline(r) : CLOCK_NEVER;
    uint64_t rings = r->far ? far_rings_deadline(r) : CLOCK_NEVER;

    at = keep < at ? keep : at;
    at = rooms < at ? rooms : at;
    at = rings < at ? rings : at;
    return holds < at ? holds : at;
}

void router_far_tick(struct router *r)
{
    struct list *first;

    if (!r->far)
        return;
    while ((first = list_first(&r->far->over)) &&
           CONTAINER_OF(first, struct far_leg, link)->forget_us <= r->now_us)
        far_drop(r->far, CONTAINER_OF(first, struct far_leg, link));
    far_traces_tick(r);
    router_far_holds_tick(r);
    far_rooms_tick(r);
    far_rings_tick(r);
    router_keep_tick(r);
}

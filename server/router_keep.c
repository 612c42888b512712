/* Our calls where others find them when we die; others' calls when they have died.
 *
 * Called by router_call.c (a call may have changed) and router.c (ticks). Pure.
 *
 *     router_keep() ─► dirty ─► end of the turn: snapshot ─► Redis ─ another's? ─► far_call_lose():
 * it is theirs once a second: nodes ─ a lease is over ─► its list of calls ─► take each ─► adopt()
 *
 * Of several nodes that find the same dead one, Redis gives each call to one. Whoever has devices
 * of a call that was taken finds its new node in the users' entries (router_far_hold.c).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_share.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/call_snapshot.h"
#include "server/presence_wire.h"
#include "server/router_far_priv.h"

#define LOOK_US      US_PER_S
#define SPARE_US     (60 * US_PER_S)  /* a call stays in Redis so long beyond its longest time */
#define TAKE_AT_ONCE 256              /* calls of one dead node that are asked for at once */
#define HEARD_OUT_US (10 * US_PER_MS) /* what a dead process has said last is heard by then */
#define JOIN_US      (60 * US_PER_S)  /* that we are there is said so often */

/* One command about one call. */
struct keep_step {
    struct list link;
    struct router *r;
    struct redis_call call;
    struct sig_call_id id;
    int64_t fields; /* keeping: of the call, that may be new */
    bool missing;   /* asking who has it: it was not where it had been saved; else after a lapse */
    uint64_t epoch; /* taking: from whom */
    uint8_t node_len;
    uint8_t node[NODE_BUS_NODE_MAX];
};

/* A dead process whose calls are being taken. */
struct keep_sweep {
    struct list link;
    struct router *r;
    struct redis_call call;
    uint64_t epoch;
    uint8_t node_len;
    uint8_t node[NODE_BUS_NODE_MAX];
};

static const struct call_claims *claims(const struct router *r)
{
    return r->far->nodes.claims;
}

static bool is_ready(const struct router *r)
{
    uint64_t away_us;

    return r->far->nodes.ready(r->far->nodes.arg, &away_us);
}

static uint64_t life_us(const struct router *r)
{
    return r->conf->call.max_duration_s * US_PER_S + SPARE_US;
}

/* ---- ours ---- */

static struct keep_step *new_step(struct router *r, const struct sig_call_id *id, redis_done_fn *fn)
{
    struct keep_step *k = mem_zalloc(sizeof(*k));

    if (!k)
        return NULL;
    k->r = r;
    k->id = *id;
    k->call = (struct redis_call){.fn = fn, .arg = k, .again = true};
    list_append(&r->far->steps, &k->link);
    return k;
}

static void free_step(struct keep_step *k)
{
    redis_client_cancel(claims(k->r)->client, &k->call);
    list_del(&k->link);
    mem_free(k);
}

void router_keep_taken(struct router *r, const struct sig_call_id *id, struct slice node,
                       uint64_t epoch)
{
    call_share_drop(claims(r), id, r->now_us); /* it may have been saved since */
    far_call_lose(r, id, node, epoch);
}

/* All of it is to be saved. */
static void save_again(struct router *r, const struct sig_call_id *id)
{
    struct call_saved *saved = call_table_saved(r->calls, id);

    if (!saved)
        return;
    *saved = (struct call_saved){0};
    router_keep(r, id);
}

static void look_known(struct router *r)
{
    struct far *f = r->far;

    if (f->asking == 0 && !f->ask_failed)
        f->nodes.known(f->nodes.arg, f->lapses);
}

void far_known(struct router *r, bool failed)
{
    r->far->asking--;
    r->far->ask_failed = r->far->ask_failed || failed;
    look_known(r);
}

/* Redis did not have what we had saved: another node has the call, or it was lost there. */
static void on_who(struct redis_call *call, enum redis_end end, const struct resp *reply,
                   uint64_t now_us)
{
    struct keep_step *k = call->arg;
    struct router *r = k->r;
    struct sig_call_id id = k->id;
    bool missing = k->missing;
    bool failed = end != REDIS_ANSWERED || reply->kind == RESP_ERROR;
    struct slice node, text = {0};
    uint64_t epoch;

    (void)now_us;
    router_enter(r);
    free_step(k);
    if (!failed)
        text = resp_text(reply);
    const uint8_t *line = text.len > 0 ? memchr(text.p, '\n', text.len) : NULL;
    if (line)
        text.len = (size_t)(line - text.p);
    if (call_share_owner(text, &epoch, &node) == 0) {
        call_share_drop(claims(r), &id, r->now_us);
        far_call_lose(r, &id, node, epoch);
    } else if (missing) {
        save_again(r, &id);
    }
    if (!missing)
        far_known(r, failed);
}

/* missing: it was not where it had been saved; else it may have been taken in a lapse. */
static void ask_who(struct router *r, const struct sig_call_id *id, bool missing)
{
    struct keep_step *k = new_step(r, id, on_who);

    if (k)
        k->missing = missing;
    if (k && call_share_who(claims(r), &k->call, id, r->now_us) == 0) {
        r->far->asking += !missing;
        return;
    }
    if (k)
        free_step(k);
    r->far->ask_failed = r->far->ask_failed || !missing;
    if (missing)
        save_again(r, id);
}

static void on_kept(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct keep_step *k = call->arg;
    struct router *r = k->r;
    struct sig_call_id id = k->id;
    bool failed = end != REDIS_ANSWERED || reply->kind == RESP_ERROR;
    bool gone = !failed && reply->kind == RESP_INTEGER && reply->integer > k->fields;

    (void)now_us;
    free_step(k);
    if (!failed && !gone)
        return;
    router_enter(r);
    if (failed)
        save_again(r, &id);
    else
        ask_who(r, &id, true);
}

static void save(struct router *r, const struct call *c)
{
    struct call_saved *saved = call_table_saved(r->calls, call_id(c));
    struct wr w = wr_init(r->far->snapshot, sizeof(r->far->snapshot));

    if (!call_live(c)) {
        if (saved->known)
            call_share_drop(claims(r), call_id(c), r->now_us);
        *saved = (struct call_saved){0};
        return;
    }
    uint64_t mark = call_snapshot_texts_mark(c);
    if (mark != saved->texts)
        call_snapshot_texts(&w, c);
    struct slice texts = wr_done(&w);
    uint64_t state = call_snapshot_state(&w, c, r->now_us, r->wall_us);
    if (w.bad || (state == saved->state && texts.len == 0))
        return;
    struct keep_step *k = new_step(r, call_id(c), on_kept);
    if (!k)
        return; /* the next change saves it */
    k->fields = saved->known ? 0 : CALL_SHARE_FIELDS;
    if (call_share_keep(claims(r), &k->call, call_id(c),
                        slice_of(w.base + texts.len, w.len - texts.len), texts, r->now_us) != 0) {
        free_step(k); /* the same */
        return;
    }
    *saved = (struct call_saved){.state = state, .texts = mark, .known = true};
}

/* Makes a call known again: its users have it. */
static void announce(struct router *r, const struct call *c)
{
    call_claims_user_again(claims(r), call_id(c), call_caller(c), life_us(r), r->now_us);
    call_claims_user_again(claims(r), call_id(c), call_callee(c), life_us(r), r->now_us);
}

void router_keep(struct router *r, const struct sig_call_id *id)
{
    struct far *f = r->far;

    struct call_saved *saved = f ? call_table_saved(r->calls, id) : NULL;

    if (!saved || saved->dirty)
        return;
    if (f->dirty_n == ARRAY_LEN(f->dirty))
        router_keep_tick(r);
    saved->dirty = true;
    f->dirty[f->dirty_n++] = *id;
}

/* Not ready: all are saved when Redis is back. */
static void save_dirty(struct router *r, bool ready)
{
    struct far *f = r->far;

    for (size_t i = 0; i < f->dirty_n; i++) {
        const struct call *c = call_table_find(r->calls, &f->dirty[i]);
        if (!c)
            continue;
        call_table_saved(r->calls, &f->dirty[i])->dirty = false;
        if (ready || !call_live(c)) /* what has ended is not looked through again */
            save(r, c);
    }
    f->dirty_n = 0;
}

static void join(struct router *r)
{
    r->far->join_us = r->now_us + JOIN_US;
    call_share_join(claims(r), life_us(r), r->now_us);
}

/* Redis is there again, perhaps empty. */
static void save_all(struct router *r)
{
    struct hnode *saved = NULL;
    const struct call *c;
    size_t pos = 0;

    join(r);
    r->far->ask_failed = false;
    while ((c = call_table_walk(r->calls, &pos, &saved)))
        if (call_live(c)) {
            struct call_saved *notes = call_table_saved(r->calls, call_id(c));
            bool known = notes->known;
            *notes = (struct call_saved){.known = known};
            announce(r, c);
            save(r, c);
            /* It may have been taken; the answer that tells it may have gone with a connection. */
            if (known)
                ask_who(r, call_id(c), false);
        }
}

/* ---- others' ---- */

/* Its devices: those here are told to be back, the others lost until their nodes say otherwise. */
static void tell_devices(struct router *r, const struct sig_call_id *id)
{
    struct {
        uint8_t user_len, device_len, user[SIG_USER_MAX], device[SIG_DEVICE_MAX];
    } all[CALL_LEGS_MAX + 1];
    const struct call *c = call_table_find(r->calls, id);
    struct slice user, device;
    size_t pos = 0, n = 0;

    while (n < ARRAY_LEN(all) && call_devices(c, &pos, &user, &device)) {
        all[n].user_len = (uint8_t)user.len;
        all[n].device_len = (uint8_t)device.len;
        memcpy(all[n].user, user.p, user.len);
        memcpy(all[n++].device, device.p, device.len);
    }
    for (size_t i = 0; i < n; i++) {
        struct call_event ev = {.kind = CALL_EV_LOST,
                                .user = slice_of(all[i].user, all[i].user_len),
                                .device = slice_of(all[i].device, all[i].device_len)};
        struct session *s = router_find_session(r, ev.user, ev.device);
        struct far_leg *l = far_find(r->far, id, ev.user, ev.device, true);
        if (s && s->client)
            ev.kind = !l || l->confirmed ? CALL_EV_BACK : CALL_EV_NEW;
        if (l)
            far_drop(r->far, l);
        struct far_leg *away =
            s ? NULL : far_need(r->far, id, ev.user, ev.device, false, SLICE_LIT(""), 0);
        if (away)
            away->away = true;
        (void)router_call_device(r, id, &ev, s && s->can_wait);
        if (s)
            router_update_in_call(r, s);
    }
}

/* The users' entries name the dead no longer. */
static void forget_former(struct router *r, const struct call *c, struct slice node, uint64_t epoch)
{
    const struct call_claim dead = {.call = *call_id(c), .node = node, .epoch = epoch};

    call_claims_purge_user(claims(r), &dead, call_caller(c), r->now_us);
    call_claims_purge_user(claims(r), &dead, call_callee(c), r->now_us);
}

static void adopt(struct router *r, const struct sig_call_id *of, struct slice snapshot,
                  struct slice from, uint64_t epoch)
{
    char text[SIG_CALL_ID_TEXT + 1];

    /* It was taken from here, as from a dead process, by one that has died before it could say so.
     */
    call_table_forget(r->calls, of);
    const struct call *c = call_table_adopt(r->calls, snapshot, r->now_us, r->wall_us);

    if (!c) {
        log_error("call",
                  "%s of node %.*s is lost: its state is of another version, or there are more "
                  "than [limits] calls",
                  sig_call_id_text(of, text), SLICE_FMT(from));
        return;
    }
    struct sig_call_id id = *call_id(c);
    far_trace_forget(r->far, &id);
    log_info("call", "%s goes on here: node %.*s is gone", sig_call_id_text(&id, text),
             SLICE_FMT(from));
    announce(r, c);
    forget_former(r, c, from, epoch);
    call_share_ours(claims(r), &id, r->now_us);
    save(r, c);
    call_share_took(claims(r), &id, from, epoch, r->now_us);
    tell_devices(r, &id);
    /* Should it live, it learns of it before it writes next. */
    (void)far_send(r, from, epoch, &(struct far_message){.kind = FAR_TAKEN, .call = id});
}

static void on_taken(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct keep_step *k = call->arg;
    struct router *r = k->r;
    struct slice from = slice_of(k->node, k->node_len);

    (void)now_us;
    router_enter(r);
    if (end == REDIS_ANSWERED && slice_is(resp_text(resp_at(reply, 0)), "ok")) {
        struct wr w = wr_init(r->far->snapshot, sizeof(r->far->snapshot));
        wr_bytes(&w, resp_text(resp_at(reply, 1)));
        wr_bytes(&w, resp_text(resp_at(reply, 2)));
        adopt(r, &k->id, wr_done(&w), from, k->epoch);
    }
    free_step(k);
}

static void free_sweep(struct keep_sweep *k)
{
    redis_client_cancel(claims(k->r)->client, &k->call);
    list_del(&k->link);
    mem_free(k);
}

/* The calls of a dead process: each is asked for. */
static void on_listed(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us)
{
    struct keep_sweep *sweep = call->arg;
    struct router *r = sweep->r;
    struct slice node = slice_of(sweep->node, sweep->node_len);
    size_t n = 0;

    (void)now_us;
    router_enter(r);
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY) {
        free_sweep(sweep);
        return;
    }
    for (size_t i = 0; i < reply->n && n < TAKE_AT_ONCE; i++) {
        struct sig_call_id id;
        if (sig_call_id_parse(&id, resp_text(resp_at(reply, i))) != 0)
            continue;
        struct keep_step *k = new_step(r, &id, on_taken);
        if (!k)
            break;
        k->epoch = sweep->epoch;
        k->node_len = sweep->node_len;
        memcpy(k->node, sweep->node, k->node_len);
        n++;
        if (call_share_take(claims(r), &k->call, &k->id, node, k->epoch, r->now_us) != 0)
            free_step(k);
    }
    if (n == 0)
        call_share_leave(claims(r), node, sweep->epoch, r->now_us);
    free_sweep(sweep);
}

/* Nothing is taken from who has come back: what is known of leases may be a second old. */
static void on_lease(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct keep_sweep *k = call->arg;
    struct router *r = k->r;
    bool told = end == REDIS_ANSWERED && reply->kind != RESP_ERROR;
    uint64_t epoch;

    (void)now_us;
    router_enter(r);
    if (!told || (presence_wire_epoch_decode(&epoch, resp_text(reply)) == 0 && epoch == k->epoch)) {
        free_sweep(k);
        return;
    }
    node_bus_look(r->far->nodes.bus, r->now_us); /* what it has not done comes first */
    k->call.fn = on_listed;
    if (!node_bus_is_gone(r->far->nodes.bus, slice_of(k->node, k->node_len), k->epoch)) {
        r->far->look_us = r->now_us + HEARD_OUT_US;
        free_sweep(k);
        return;
    }
    if (call_share_of_node(claims(r), &k->call, slice_of(k->node, k->node_len), k->epoch,
                           r->now_us) != 0)
        free_sweep(k);
}

static void begin_sweep(struct router *r, struct slice node, uint64_t epoch)
{
    LIST_EACH(link, tmp, &r->far->sweeps)
    {
        const struct keep_sweep *k = CONTAINER_OF(link, struct keep_sweep, link);
        if (k->epoch == epoch && slice_eq(slice_of(k->node, k->node_len), node))
            return;
    }
    struct keep_sweep *k = node.len <= NODE_BUS_NODE_MAX ? mem_zalloc(sizeof(*k)) : NULL;
    if (!k)
        return;
    k->r = r;
    k->epoch = epoch;
    k->node_len = (uint8_t)node.len;
    memcpy(k->node, node.p, node.len);
    k->call = (struct redis_call){.fn = on_lease, .arg = k, .again = true};
    list_append(&r->far->sweeps, &k->link);
    if (call_share_lease(claims(r), &k->call, node, r->now_us) != 0)
        free_sweep(k);
}

static void on_nodes(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct router *r = call->arg;
    struct far *f = r->far;

    (void)now_us;
    router_enter(r);
    f->nodes_asked = false;
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY)
        return;
    bool listed = false;
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        struct slice node;
        uint64_t epoch;
        if (call_share_owner(resp_text(resp_at(reply, i)), &epoch, &node) != 0)
            continue;
        listed = listed || epoch == node_bus_epoch(f->nodes.bus);
        if (epoch != node_bus_epoch(f->nodes.bus) &&
            f->nodes.alive(f->nodes.arg, node, epoch) == NODE_DEAD)
            begin_sweep(r, node, epoch);
    }
    if (!listed) /* somebody took us for dead, and had found all our calls taken, when we came back
                  */
        join(r);
}

/* ---- time ---- */

uint64_t router_keep_deadline(const struct router *r)
{
    uint64_t at = router_saves_deadline(r);

    if (r->far->dirty_n > 0 || router_saves_wait(r) || far_rooms_wait(r) ||
        node_bus_waits(r->far->nodes.bus))
        return r->now_us;
    return r->far->look_us < at ? r->far->look_us : at;
}

void router_keep_tick(struct router *r)
{
    struct far *f = r->far;
    bool ready = is_ready(r), can_save = f->nodes.saves(f->nodes.arg);
    uint64_t lapses = f->nodes.lapses(f->nodes.arg);
    bool saves = f->dirty_n > 0 || router_saves_wait(r) || far_rooms_wait(r);
    bool says = node_bus_waits(f->nodes.bus);

    if (ready && !f->was_ready && f->was_ever)
        f->back_us = r->now_us;
    f->was_ever = f->was_ever || ready;
    bool again = f->ask_failed && f->asking == 0 && r->now_us >= f->look_us;
    bool all = can_save && (!f->saved || f->lapses != lapses || again || (ready && !f->was_ready));
    if (all) {
        f->lapses = lapses;
        save_all(r);
        router_saves_all(r);
        far_rooms_save_all(r);
    }
    f->was_ready = ready;
    f->saved = can_save;
    save_dirty(r, can_save);
    far_rooms_save(r, can_save);
    if (all)
        look_known(r);
    router_saves_tick(r, can_save);
    if (can_save && saves)
        node_bus_settle(f->nodes.bus); /* what was acknowledged is saved, and the other way round */
    else
        node_bus_flush(f->nodes.bus);
    if (can_save && (saves || says))
        f->nodes.push(f->nodes.arg);
    if (r->now_us < f->look_us)
        return;
    f->look_us = r->now_us + LOOK_US;
    if (ready && r->now_us >= f->join_us)
        join(r);
    if (!ready || f->nodes_asked)
        return;
    f->nodes_call = (struct redis_call){.fn = on_nodes, .arg = r, .again = true};
    f->nodes_asked = call_share_nodes(claims(r), &f->nodes_call, r->now_us) == 0;
}

void router_keep_free(struct router *r)
{
    struct far *f = r->far;

    if (f->nodes_asked)
        redis_client_cancel(claims(r)->client, &f->nodes_call);
    LIST_EACH(link, tmp, &f->steps)
    free_step(CONTAINER_OF(link, struct keep_step, link));
    LIST_EACH(link, tmp, &f->sweeps)
    free_sweep(CONTAINER_OF(link, struct keep_sweep, link));
}

/* All calls of the node: who may call whom now, and whose turn a timer is.
 *
 * Called by router.c. Pure. Live calls are found by id and by both users; an ended call stays
 * findable by id for `ended_keep`, so that whoever comes late hears the true reason. Policy of an
 * invite, in this order:
 *
 *     same id            -> the same reply again, or call.exists
 *     caller has too many calls, table full -> call.too_many, overloaded
 *     the callee rings this user -> glare: merged into that call
 *     same pair of devices       -> recall: the old call is superseded
 *     nobody to ring             -> callee.unreachable
 *     callee in another call     -> call.busy, or call waiting
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_table.h"

#include <assert.h>
#include <errno.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "base/timerwheel.h"
#include "proto/sig_server.h"
#include "server/call_offers.h"
#include "server/call_snapshot.h"

enum { TABLE_EXPECT = 64, VIEW_MAX = 1024 };

/* One side of a live call in the table of users. */
struct side {
    struct hnode by_user;
    struct entry *entry;
};

/* Invitations into rooms that one user may have open, whatever calls_per_user says. */
#define ROOM_INVITES_MAX (CALL_TABLE_PER_USER_MAX / 2)

struct entry {
    struct hnode by_id;
    struct side side[2]; /* CALL_SIDE_CALLER, CALL_SIDE_CALLEE; on the table while it is live */
    struct list ended;   /* in order of ending */
    struct timer timer;
    struct call *call;
    enum sig_call_state noted; /* call_table_changed() */
    bool live;
};

struct call_table {
    struct call_table_conf conf;
    struct htable by_id, by_user;
    struct timerwheel *wheel;
    struct list ended;
    size_t live_n, ended_n;
};

/* ---- entries ---- */

static struct entry *find(const struct call_table *t, const struct sig_call_id *id)
{
    uint64_t h = hash_bytes(slice_of(id->b, sizeof(id->b)));

    for (struct hnode *n = htable_first(&t->by_id, h); n; n = htable_next(n)) {
        struct entry *e = CONTAINER_OF(n, struct entry, by_id);
        if (sig_call_id_eq(call_id(e->call), id))
            return e;
    }
    return NULL;
}

static bool side_is(const struct side *s, struct slice user)
{
    const struct call *c = s->entry->call;
    bool caller = s == &s->entry->side[CALL_SIDE_CALLER];

    return slice_eq(caller ? call_caller(c) : call_callee(c), user);
}

/* Walks the live calls of a user; *n is the table's node, NULL first. */
static struct entry *next_of_user(const struct call_table *t, struct slice user, struct hnode **n)
{
    *n = *n ? htable_next(*n) : htable_first(&t->by_user, hash_bytes(user));
    for (; *n; *n = htable_next(*n)) {
        struct side *s = CONTAINER_OF(*n, struct side, by_user);
        if (side_is(s, user))
            return s->entry;
    }
    return NULL;
}

static size_t count_of_user(const struct call_table *t, struct slice user)
{
    struct hnode *n = NULL;
    size_t count = 0;

    while (next_of_user(t, user, &n))
        count++;
    return count;
}

static void unlink_entry(struct call_table *t, struct entry *e)
{
    timer_cancel(t->wheel, &e->timer);
    htable_del(&t->by_id, &e->by_id);
    if (e->live) {
        htable_del(&t->by_user, &e->side[0].by_user);
        htable_del(&t->by_user, &e->side[1].by_user);
        t->live_n--;
    } else {
        list_del(&e->ended);
        t->ended_n--;
    }
    call_free(e->call);
    mem_free(e);
}

/* Takes over c. NULL (c freed): memory is out. */
static struct entry *add_entry(struct call_table *t, struct call *c)
{
    struct entry *e = mem_zalloc(sizeof(*e));

    if (!e) {
        call_free(c);
        return NULL;
    }
    e->call = c;
    e->live = call_live(c);
    e->noted = call_state(c);
    e->side[0].entry = e->side[1].entry = e;
    htable_add(&t->by_id, &e->by_id, hash_bytes(slice_of(call_id(c)->b, sizeof(call_id(c)->b))));
    if (e->live) {
        htable_add(&t->by_user, &e->side[CALL_SIDE_CALLER].by_user, hash_bytes(call_caller(c)));
        htable_add(&t->by_user, &e->side[CALL_SIDE_CALLEE].by_user, hash_bytes(call_callee(c)));
        t->live_n++;
    } else {
        list_append(&t->ended, &e->ended);
        t->ended_n++;
    }
    timer_set(t->wheel, &e->timer, call_deadline(c));
    return e;
}

/* After a step: moves a call that has just ended to the ended ones, and sets its timer anew. */
static void settle(struct call_table *t, struct entry *e)
{
    if (e->live && !call_live(e->call)) {
        htable_del(&t->by_user, &e->side[0].by_user);
        htable_del(&t->by_user, &e->side[1].by_user);
        e->live = false;
        t->live_n--;
        list_append(&t->ended, &e->ended);
        t->ended_n++;
    }
    timer_set(t->wheel, &e->timer, call_deadline(e->call));
}

/* Forgets the oldest ended calls beyond the limit. Not inside a step: effects may borrow from them.
 */
static void trim_ended(struct call_table *t)
{
    while (t->ended_n > t->conf.ended)
        unlink_entry(t, CONTAINER_OF(list_first(&t->ended), struct entry, ended));
}

struct call_table *call_table_new(const struct call_table_conf *conf, uint64_t now_us)
{
    struct call_table *t = mem_zalloc(sizeof(*t));

    if (!t)
        return NULL;
    t->conf = *conf;
    if (t->conf.per_user > CALL_TABLE_PER_USER_MAX)
        t->conf.per_user = CALL_TABLE_PER_USER_MAX;
    list_init(&t->ended);
    t->wheel = timerwheel_new(now_us);
    if (!t->wheel || htable_init(&t->by_id, TABLE_EXPECT) != 0 ||
        htable_init(&t->by_user, TABLE_EXPECT) != 0) {
        call_table_free(t);
        return NULL;
    }
    return t;
}

void call_table_free(struct call_table *t)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    if (!t)
        return;
    while ((n = htable_walk(&t->by_id, &pos, &saved)))
        unlink_entry(t, CONTAINER_OF(n, struct entry, by_id));
    htable_fini(&t->by_id);
    htable_fini(&t->by_user);
    timerwheel_free(t->wheel);
    mem_free(t);
}

/* ---- invites ---- */

static void refuse(struct call_effects *out, const struct sig_call_id *id, enum sig_err err,
                   const char *text)
{
    struct call_fx *fx = call_fx_add(out, CALL_FX_ERROR, id);

    fx->err = err;
    fx->err_text = text;
}

/* The callee's call that rings this caller, or NULL. */
static struct entry *find_glare(const struct call_table *t, const struct call_invite *in)
{
    struct hnode *n = NULL;
    struct entry *e;

    while ((e = next_of_user(t, in->user, &n)))
        if (call_rings(e->call) && call_room(e->call).len == 0 &&
            slice_eq(call_caller(e->call), in->to) && slice_eq(call_callee(e->call), in->user))
            return e;
    return NULL;
}

/* A live call that the new one replaces: it is between these two users, and the dialing device is
 * one of its two devices. While it still rings that is only its caller's: he dials once more. */
static struct entry *find_recall(const struct call_table *t, const struct call_invite *in)
{
    struct hnode *n = NULL;
    struct entry *e;

    while ((e = next_of_user(t, in->user, &n))) {
        enum call_role role = call_role(e->call, in->user, in->device);
        if (role == CALL_ROLE_CALLER && slice_eq(call_callee(e->call), in->to))
            return e;
        if (role == CALL_ROLE_WINNER && slice_eq(call_caller(e->call), in->to))
            return e;
    }
    return NULL;
}

/* The same id once more. */
static void invite_again(struct call_table *t, struct entry *e, const struct call_invite *in,
                         struct call_effects *out, uint64_t now_us)
{
    const struct sig_call_id *merged = call_merged_into(e->call);
    struct entry *into = merged ? find(t, merged) : NULL;

    if (call_role(e->call, in->user, in->device) != CALL_ROLE_CALLER ||
        !slice_eq(call_callee(e->call), in->to)) {
        refuse(out, &in->id, SIG_ERR_CALL_EXISTS, NULL);
    } else if (into && call_rings(into->call)) {
        if (call_merge_glare(into->call, &in->id, in->device, out, now_us) != 0)
            refuse(out, &in->id, SIG_ERR_INTERNAL, NULL);
    } else {
        call_invite_again(e->call, out, now_us);
    }
}

/* Both dialed: the later invite becomes an answer to the earlier one. */
static void merge(struct call_table *t, struct entry *first, const struct call_invite *in,
                  struct call_effects *out, uint64_t now_us)
{
    struct call *dead =
        call_new_ended(&t->conf.call, in, SIG_REASON_GLARE, call_id(first->call), now_us);

    if (!dead) {
        refuse(out, &in->id, SIG_ERR_INTERNAL, NULL);
        return;
    }
    int err = call_merge_glare(first->call, &in->id, in->device, out, now_us);
    if (err) {
        call_free(dead);
        refuse(out, &in->id, err == -ENOSPC ? SIG_ERR_OVERLOADED : SIG_ERR_INTERNAL, NULL);
        return;
    }
    settle(t, first);
    add_entry(t, dead); /* without memory the merge stands: only late messages to its id suffer */
}

/* Who of the callee's devices rings. Returns how many; in picked. */
static size_t pick_devices(const struct call_invite *in, bool waiting,
                           struct call_device picked[CALL_LEGS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < in->devices_n && n < CALL_LEGS_MAX; i++)
        if (!waiting || in->devices[i].call_waiting)
            picked[n++] = in->devices[i];
    return n;
}

static void start_call(struct call_table *t, const struct call_invite *in, struct call_effects *out,
                       uint64_t now_us)
{
    size_t before = out->n;
    struct call *c = call_new(&t->conf.call, in, out, now_us);

    if (c && add_entry(t, c))
        return;
    out->n = before;
    refuse(out, &in->id, SIG_ERR_INTERNAL, NULL);
}

/* A call that passes none of the special cases. */
static void invite_plain(struct call_table *t, const struct call_invite *in,
                         struct call_effects *out, uint64_t now_us)
{
    struct call_device picked[CALL_LEGS_MAX];
    struct call_invite use = *in;
    size_t busy = count_of_user(t, in->to) + in->busy;

    use.waiting = busy > 0;
    if (in->devices_n == 0 && in->pushed == 0) {
        refuse(out, &in->id, SIG_ERR_CALLEE_UNREACHABLE, NULL);
        return;
    }
    use.devices = picked;
    use.devices_n = pick_devices(in, use.waiting, picked);
    if (busy > 0 && (!t->conf.waiting || use.devices_n == 0 || busy >= t->conf.per_user)) {
        refuse(out, &in->id, SIG_ERR_CALL_BUSY, NULL);
        return;
    }
    if (busy > 0) /* a phone that sleeps is not woken to ring beside the one in use */
        use.pushed = 0;
    start_call(t, &use, out, now_us);
}

void call_table_invite(struct call_table *t, const struct call_invite *in, struct call_effects *out,
                       uint64_t now_us)
{
    struct entry *e;

    call_effects_clear(out);
    trim_ended(t);
    if ((e = find(t, &in->id))) {
        invite_again(t, e, in, out, now_us);
        return;
    }
    if (slice_eq(in->user, in->to)) {
        refuse(out, &in->id, SIG_ERR_BAD_REQUEST, "to: names yourself");
        return;
    }
    bool invites = in->room.len > 0; /* neither crosses a call nor takes the place of one */
    if (!invites && (e = find_glare(t, in))) {
        merge(t, e, in, out, now_us);
        return;
    }
    if (!invites && (e = find_recall(t, in))) {
        call_recv(e->call,
                  &(struct call_event){.kind = CALL_EV_END, .reason = SIG_REASON_SUPERSEDED}, out,
                  now_us);
        settle(t, e);
    }
    if (count_of_user(t, in->user) + in->calls >= (invites ? ROOM_INVITES_MAX : t->conf.per_user))
        refuse(out, &in->id, SIG_ERR_CALL_TOO_MANY, NULL);
    else if (t->live_n >= t->conf.calls)
        refuse(out, &in->id, SIG_ERR_OVERLOADED, NULL);
    else
        invite_plain(t, in, out, now_us);
}

/* ---- events ---- */

void call_table_event(struct call_table *t, const struct sig_call_id *id,
                      const struct call_event *ev, struct call_effects *out, uint64_t now_us)
{
    struct entry *e;

    call_effects_clear(out);
    trim_ended(t);
    e = find(t, id);
    if (!e) {
        refuse(out, id, SIG_ERR_CALL_NOT_FOUND, NULL);
        return;
    }
    call_recv(e->call, ev, out, now_us);
    settle(t, e);
}

/* Whether news of this session concern the call: it is one of its devices, or could become one. */
static bool concerns(const struct call *c, const struct call_event *ev)
{
    if (call_role(c, ev->user, ev->device) != CALL_ROLE_NONE)
        return true;
    return ev->kind == CALL_EV_NEW && call_rings(c) && slice_eq(call_callee(c), ev->user);
}

static void pick_calls(struct call_table *t, struct call_walk *walk, const struct call_event *ev)
{
    struct hnode *n = NULL;
    struct entry *e;

    walk->started = true;
    while ((e = next_of_user(t, ev->user, &n)))
        if (walk->n < ARRAY_LEN(walk->ids) && concerns(e->call, ev) &&
            (!walk->only || ev->kind != CALL_EV_NEW ||
             sig_call_id_eq(walk->only, call_id(e->call))))
            walk->ids[walk->n++] = *call_id(e->call);
}

/* One call is told of a session, if that is a device of it or could become one. */
static void tell_session(struct call_table *t, struct entry *e, const struct call_event *ev,
                         bool waiting_ok, struct call_effects *out, uint64_t now_us)
{
    struct call_event told = *ev;

    told.waiting = count_of_user(t, call_callee(e->call)) > 1;
    bool unknown = call_role(e->call, ev->user, ev->device) == CALL_ROLE_NONE;
    if (!unknown || !told.waiting || waiting_ok) {
        call_recv(e->call, &told, out, now_us);
        settle(t, e);
    }
}

bool call_table_device(struct call_table *t, const struct sig_call_id *id,
                       const struct call_event *ev, bool waiting_ok, struct call_effects *out,
                       uint64_t now_us)
{
    struct entry *e;

    call_effects_clear(out);
    trim_ended(t);
    e = find(t, id);
    if (!e || !e->live || !concerns(e->call, ev))
        return false;
    tell_session(t, e, ev, waiting_ok, out, now_us);
    return true;
}

void call_table_cross(struct call_table *t, const struct sig_call_id *first,
                      const struct call_invite *in, struct call_effects *out, uint64_t now_us)
{
    struct entry *e;

    call_effects_clear(out);
    trim_ended(t);
    e = find(t, &in->id);
    if (e) {
        invite_again(t, e, in, out, now_us);
        return;
    }
    e = find(t, first);
    if (e && call_rings(e->call) && call_room(e->call).len == 0 &&
        slice_eq(call_caller(e->call), in->to) && slice_eq(call_callee(e->call), in->user))
        merge(t, e, in, out, now_us);
    else
        refuse(out, &in->id, SIG_ERR_OVERLOADED, "the calls crossed: dial again");
}

bool call_table_session(struct call_table *t, struct call_walk *walk, const struct call_event *ev,
                        bool waiting_ok, struct call_effects *out, uint64_t now_us)
{
    struct entry *e = NULL;

    call_effects_clear(out);
    trim_ended(t);
    if (!walk->started)
        pick_calls(t, walk, ev);
    while (walk->at < walk->n && !e)
        e = find(t, &walk->ids[walk->at++]);
    if (!e)
        return false;

    tell_session(t, e, ev, waiting_ok, out, now_us);
    return true;
}

struct call *call_table_adopt(struct call_table *t, struct slice bytes, uint64_t now_us,
                              uint64_t wall_us)
{
    struct call *c = call_snapshot_read(&t->conf.call, bytes, now_us, wall_us);

    if (!c)
        return NULL;
    struct entry *e = find(t, call_id(c));
    if (e || t->live_n >= t->conf.calls) {
        call_free(c);
        return NULL;
    }
    return add_entry(t, c) ? c : NULL;
}

void call_table_forget(struct call_table *t, const struct sig_call_id *id)
{
    struct entry *e = find(t, id);

    if (e)
        unlink_entry(t, e);
}

/* An event of the server's own. False: there is no such live call. */
static bool tell(struct call_table *t, const struct sig_call_id *id, const struct call_event *ev,
                 struct call_effects *out, uint64_t now_us)
{
    struct entry *e;

    call_effects_clear(out);
    trim_ended(t);
    e = find(t, id);
    if (!e || !e->live)
        return false;
    call_recv(e->call, ev, out, now_us);
    settle(t, e);
    return true;
}

bool call_table_end(struct call_table *t, const struct sig_call_id *id, enum sig_reason reason,
                    struct call_effects *out, uint64_t now_us)
{
    return tell(t, id, &(struct call_event){.kind = CALL_EV_END, .reason = reason}, out, now_us);
}

bool call_table_push(struct call_table *t, const struct sig_call_id *id, bool awaits, bool reached,
                     struct call_effects *out, uint64_t now_us)
{
    const struct call_event ev = {.kind = CALL_EV_PUSH, .awaits = awaits, .reached = reached};

    return tell(t, id, &ev, out, now_us);
}

/* ---- time ---- */

uint64_t call_table_deadline(const struct call_table *t)
{
    return timerwheel_next(t->wheel);
}

bool call_table_tick(struct call_table *t, struct call_effects *out, uint64_t now_us)
{
    struct timer *timer;

    call_effects_clear(out);
    trim_ended(t);
    timer = timerwheel_pop(t->wheel, now_us);
    if (!timer)
        return false;
    struct entry *e = CONTAINER_OF(timer, struct entry, timer);
    if (!e->live) {
        unlink_entry(t, e);
        return true;
    }
    call_tick(e->call, out, now_us);
    settle(t, e);
    return true;
}

/* ---- looking ---- */

/* The view of a device in a live call that goes on for it. */
static bool live_view(const struct call *c, struct slice user, struct slice device,
                      struct sig_view *v, uint64_t now_us)
{
    return call_view(c, user, device, v, now_us) && v->state != SIG_CALL_OVER;
}

void call_table_views(const struct call_table *t, struct slice user, struct slice device,
                      struct wr *w, uint64_t now_us)
{
    struct hnode *n = NULL;
    struct entry *e;
    struct sig_view v;
    size_t payload = 0;
    bool first = true;

    wr_u8(w, '[');
    while ((e = next_of_user(t, user, &n))) {
        if (!live_view(e->call, user, device, &v, now_us))
            continue;
        if (!first)
            wr_u8(w, ',');
        first = false;
        if (v.offer_raw.len + v.answer_raw.len > CALL_TABLE_VIEWS_PAYLOAD - payload)
            v.offer_raw = v.answer_raw = (struct slice){0};
        payload += v.offer_raw.len + v.answer_raw.len;
        sig_server_view(w, &v);
    }
    wr_u8(w, ']');
}

size_t call_table_views_size(const struct call_table *t, struct slice user, struct slice device)
{
    struct hnode *n = NULL;
    struct entry *e;
    struct sig_view v;
    size_t size = 2;

    while ((e = next_of_user(t, user, &n)))
        if (live_view(e->call, user, device, &v, 0))
            size += VIEW_MAX + v.offer_raw.len + v.answer_raw.len + v.room_raw.len;
    return size;
}

bool call_table_view(const struct call_table *t, const struct sig_call_id *id, struct slice user,
                     struct slice device, struct sig_view *out, uint64_t now_us)
{
    struct entry *e = find(t, id);

    return e && call_view(e->call, user, device, out, now_us);
}

const struct call *call_table_changed(struct call_table *t, const struct sig_call_id *id,
                                      enum sig_call_state *before)
{
    struct entry *e = find(t, id);

    if (!e || e->noted == call_state(e->call))
        return NULL;
    *before = e->noted;
    e->noted = call_state(e->call);
    return e->call;
}

const struct call *call_table_find(const struct call_table *t, const struct sig_call_id *id)
{
    struct entry *e = find(t, id);

    return e ? e->call : NULL;
}

struct call_saved *call_table_saved(struct call_table *t, const struct sig_call_id *id)
{
    struct entry *e = find(t, id);

    return e ? call_snapshot_saved(e->call) : NULL;
}

bool call_table_in_call(const struct call_table *t, struct slice user, struct slice device)
{
    struct hnode *n = NULL;
    struct entry *e;
    struct sig_view v;

    while ((e = next_of_user(t, user, &n)))
        if (live_view(e->call, user, device, &v, 0))
            return true;
    return false;
}

size_t call_table_of_device(const struct call_table *t, struct slice user, struct slice device,
                            struct sig_call_id out[CALL_TABLE_PER_USER_MAX])
{
    struct hnode *n = NULL;
    struct sig_view v;
    struct entry *e;
    size_t count = 0;

    while (count < CALL_TABLE_PER_USER_MAX && (e = next_of_user(t, user, &n)))
        if (live_view(e->call, user, device, &v, 0))
            out[count++] = *call_id(e->call);
    return count;
}

const struct call *call_table_walk(const struct call_table *t, size_t *pos, struct hnode **saved)
{
    struct hnode *n = htable_walk(&t->by_id, pos, saved);

    return n ? CONTAINER_OF(n, struct entry, by_id)->call : NULL;
}

size_t call_table_count(const struct call_table *t)
{
    return t->live_n;
}

size_t call_table_ended(const struct call_table *t)
{
    return t->ended_n;
}

/* One call: birth, dispatch, end, timers, views (docs/SIGNALING.md §5).
 *
 * Called by call_table.c. Pure: one event or tick in, effects out.
 *
 *     inviting --ringing--> ringing --answer--> connecting --both connected--> active <-->
 * reconnecting call_new   call_ring.c: ring_ringing   ring_answer      call_up.c: up_review
 * up_review
 *         '----------'-----------'------------------'---------------'-------------------'--> ended:
 * call_end
 *
 * call_recv() decides who speaks (call_actor_of) and whether the call is still open, then hands
 * over to the phase: call_ring.c before the claim, call_up.c after it. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "server/call.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "server/call_priv.h"
#include "server/call_reason.h"

enum { LEGS_FIRST_CAP = 4 };

/* ---- effects ---- */

struct call_fx *call_refuse(struct call *c, enum sig_err err, struct call_effects *out)
{
    struct call_fx *fx = call_fx_add(out, CALL_FX_ERROR, &c->id);

    fx->err = err;
    if (err == SIG_ERR_CALL_INVALID_STATE) {
        fx->has_state = true;
        fx->state = c->state;
    } else if (err == SIG_ERR_CALL_ALREADY_ANSWERED) {
        fx->has_state = true;
        fx->state = c->state;
        fx->by_device = call_winner(c);
    }
    return fx;
}

struct call_fx *call_reply(struct call *c, enum sig_type type, struct call_effects *out)
{
    struct call_fx *fx = call_fx_add(out, CALL_FX_REPLY, &c->id);

    fx->type = type;
    return fx;
}

struct call_fx *call_tell_caller(struct call *c, enum call_fx_kind kind, struct call_effects *out)
{
    struct call_fx *fx = call_fx_add(out, kind, &c->id);

    fx->user = c->caller;
    fx->device = c->caller_device;
    return fx;
}

struct call_fx *call_tell_leg(struct call *c, const struct call_leg *l, enum call_fx_kind kind,
                              struct call_effects *out)
{
    struct call_fx *fx = call_fx_add(out, kind, &c->id);

    fx->user = c->callee;
    fx->device = call_leg_device(l);
    return fx;
}

void call_relay_as(struct call_fx *fx, enum sig_type type, struct slice from, struct slice device,
                   struct slice data)
{
    fx->type = type;
    fx->from = from;
    fx->from_device = device;
    fx->data_raw = data;
}

uint64_t call_expires_ms(const struct call *c, uint64_t now_us)
{
    return call_rings(c) && c->ring_us > now_us ? (c->ring_us - now_us) / US_PER_MS : 0;
}

static void refuse_ended(struct call *c, const struct call_leg *l, struct call_effects *out)
{
    call_refuse(c, SIG_ERR_CALL_ENDED, out)->reason = l ? l->reason : c->reason;
}

/* ---- birth ---- */

struct call_leg *call_add_leg(struct call *c, struct slice device, int *err)
{
    *err = -ENOSPC;
    if (c->legs_n >= CALL_LEGS_MAX || device.len > SIG_DEVICE_MAX)
        return NULL;
    if (c->legs_n == c->legs_cap) {
        size_t cap = c->legs_cap > 0 ? c->legs_cap * 2 : LEGS_FIRST_CAP;
        struct call_leg *legs = mem_realloc(c->legs, cap * sizeof(*legs));
        *err = -ENOMEM;
        if (!legs)
            return NULL;
        c->legs = legs; /* only while it rings: nothing points at a leg but the current step */
        c->legs_cap = cap;
    }
    struct call_leg *l = &c->legs[c->legs_n++];
    *l = (struct call_leg){.present = true, .device_len = (uint8_t)device.len};
    if (device.len > 0)
        memcpy(l->device, device.p, device.len);
    *err = 0;
    return l;
}

/* A call with its names copied; nothing else. */
static struct call *new_named(const struct call_conf *conf, const struct call_invite *in)
{
    size_t n = in->user.len + in->device.len + in->name.len + in->to.len;
    struct call *c = mem_zalloc(sizeof(*c) + n);

    if (!c)
        return NULL;
    struct wr w = wr_init(c + 1, n);
    struct slice *names[] = {&c->caller, &c->caller_device, &c->caller_name, &c->callee};
    const struct slice from[] = {in->user, in->device, in->name, in->to};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t at = w.len;
        wr_bytes(&w, from[i]);
        *names[i] = slice_of(&w.base[at], from[i].len);
    }
    c->conf = conf;
    c->id = in->id;
    c->is_video = in->is_video;
    c->second = in->waiting;
    c->ring_us = c->grace_us = c->connect_us = c->reconnect_us = c->max_us = CLOCK_NEVER;
    c->forget_us = CLOCK_NEVER;
    return c;
}

/* Names the room; the caller has seen that it fits. */
void call_set_room(struct call *c, struct slice room)
{
    c->room_len = (uint8_t)(room.len < SIG_ROOM_MAX ? room.len : SIG_ROOM_MAX);
    if (c->room_len > 0)
        memcpy(c->room, room.p, c->room_len);
}

/* Copies offer, metadata and what is shown of the room. False: memory is out. */
static bool keep_invite(struct call *c, const struct call_invite *in)
{
    size_t n = in->offer_raw.len + in->metadata_raw.len + in->room_raw.len;

    c->invite_mem = mem_zalloc(n);
    if (!c->invite_mem)
        return false;
    struct wr w = wr_init(c->invite_mem, n);
    wr_bytes(&w, in->offer_raw);
    wr_bytes(&w, in->metadata_raw);
    wr_bytes(&w, in->room_raw);
    call_set_room(c, in->room);
    c->invites = in->room.len > 0;
    c->offer = slice_sub(slice_of(c->invite_mem, n), 0, in->offer_raw.len);
    c->metadata = slice_sub(slice_of(c->invite_mem, n), in->offer_raw.len, in->metadata_raw.len);
    c->room_raw = slice_sub(slice_of(c->invite_mem, n), in->offer_raw.len + in->metadata_raw.len,
                            in->room_raw.len);
    return true;
}

static uint64_t ring_time(const struct call_conf *conf, uint32_t wanted_ms)
{
    uint64_t wanted = wanted_ms * US_PER_MS;

    if (wanted == 0 || wanted > conf->ring_timeout_us)
        return conf->ring_timeout_us;
    return wanted > CALL_RING_TIMEOUT_MIN_US ? wanted : CALL_RING_TIMEOUT_MIN_US;
}

static unsigned legs_online(const struct call_invite *in)
{
    unsigned n = 0;

    for (size_t i = 0; i < in->devices_n && i < CALL_LEGS_MAX; i++)
        n += in->devices[i].online;
    return n;
}

struct call *call_new(const struct call_conf *conf, const struct call_invite *in,
                      struct call_effects *out, uint64_t now_us)
{
    struct call *c = new_named(conf, in);
    int err = 0;

    assert(in->devices_n > 0 || in->pushed > 0);
    if (!c || !keep_invite(c, in)) {
        call_free(c);
        return NULL;
    }
    c->times.made_us = now_us;
    c->pushed = (uint16_t)in->pushed;
    c->was_pushed = c->awaits = in->pushed > 0;
    c->ring_us = now_us + ring_time(conf, in->ring_timeout_ms);
    c->party[CALL_SIDE_CALLER].online = true;
    for (size_t i = 0; i < in->devices_n && i < CALL_LEGS_MAX; i++) {
        struct call_leg *l = call_add_leg(c, in->devices[i].device, &err);
        if (!l) {
            call_free(c);
            return NULL;
        }
        l->call_waiting = in->waiting;
    }

    struct call_fx *fx = call_reply(c, SIG_CALL_INVITE, out);
    fx->state = c->state;
    fx->expires_in_ms = call_expires_ms(c, now_us);
    fx->online = (uint16_t)legs_online(in);
    fx->pushed = c->pushed;
    fx->needs_ice = true;
    for (size_t i = 0; i < c->legs_n; i++)
        call_ring_incoming(c, &c->legs[i], out, now_us);
    return c;
}

struct call *call_new_bare(const struct call_conf *conf, const struct call_invite *in)
{
    struct call *c = new_named(conf, in);

    if (c && keep_invite(c, in))
        return c;
    call_free(c);
    return NULL;
}

struct call *call_new_ended(const struct call_conf *conf, const struct call_invite *in,
                            enum sig_reason reason, const struct sig_call_id *merged_into,
                            uint64_t now_us)
{
    struct call *c = new_named(conf, in);

    if (!c)
        return NULL;
    c->state = SIG_CALL_OVER;
    c->reason = reason;
    c->merged_into = *merged_into;
    c->forget_us = now_us + conf->ended_keep_us;
    return c;
}

void call_drop_invite(struct call *c)
{
    mem_free(c->invite_mem);
    c->invite_mem = NULL;
    c->offer = c->metadata = c->room_raw = (struct slice){0};
    call_keep_clear(&c->caller_kept);
}

static void drop_answer(struct call *c)
{
    mem_free(c->answer_mem);
    c->answer_mem = NULL;
    c->answer = (struct slice){0};
}

void call_free(struct call *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->legs_n; i++)
        call_keep_clear(&c->legs[i].kept);
    call_drop_invite(c);
    drop_answer(c);
    call_keep_clear(&c->spent);
    mem_free(c->legs);
    mem_free(c);
}

/* ---- end ---- */

static void tell_ended(struct call_fx *fx, const struct call *c, enum sig_reason reason,
                       const struct call_actor *who)
{
    fx->reason = reason;
    fx->duration_ms = c->duration_ms;
    if (who->role == CALL_ROLE_CALLER) {
        fx->by = c->caller;
        fx->by_device = c->caller_device;
    } else if (who->role != CALL_ROLE_NONE) {
        fx->by = c->callee;
        fx->by_device = call_leg_device(who->leg);
    }
}

/* Stops a leg that did not win, and tells it unless it is the one who asked. */
static void end_leg(struct call *c, struct call_leg *l, enum sig_reason reason,
                    const struct call_actor *who, struct call_effects *out)
{
    bool asked = who->leg == l;
    bool up = l->state == LEG_WINNER;

    if (who->role == CALL_ROLE_LEG && !asked)
        reason = call_reason_elsewhere(reason);
    l->state = LEG_STOPPED;
    l->reason = reason;
    call_keep_clear(&l->kept);
    if (asked || !l->present)
        return;
    struct call_fx *fx = call_tell_leg(c, l, CALL_FX_ENDED, out);
    tell_ended(fx, c, reason, who);
    fx->missed = !up && call_reason_missed(reason, c->conf->busy_is_missed);
}

/* A device that a push wakes up late should still hear what became of the call. */
static uint64_t ended_keep(const struct call *c)
{
    const struct call_conf *conf = c->conf;

    return c->was_pushed && conf->pushed_keep_us > conf->ended_keep_us ? conf->pushed_keep_us
                                                                       : conf->ended_keep_us;
}

void call_end(struct call *c, enum sig_reason reason, const struct call_actor *who,
              struct call_effects *out, uint64_t now_us)
{
    if (c->active_at_us > 0)
        c->duration_ms = (now_us - c->active_at_us) / US_PER_MS;
    if (who->role != CALL_ROLE_CALLER)
        tell_ended(call_tell_caller(c, CALL_FX_ENDED, out), c, reason, who);
    for (size_t i = 0; i < c->legs_n; i++)
        if (c->legs[i].state != LEG_STOPPED)
            end_leg(c, &c->legs[i], reason, who, out);
    c->state = SIG_CALL_OVER;
    c->reason = reason;
    c->ended_by = who->role;
    c->awaits = false;
    c->times.ended_us = now_us;
    c->forget_us = now_us + ended_keep(c);
    call_drop_invite(c);
    drop_answer(c);
}

/* ---- dispatch ---- */

static struct call_leg *find_leg(const struct call *c, struct slice device)
{
    for (size_t i = 0; i < c->legs_n; i++)
        if (slice_eq(call_leg_device(&c->legs[i]), device))
            return &c->legs[i];
    return NULL;
}

static struct call_actor call_actor_of(const struct call *c, struct slice user, struct slice device)
{
    struct call_actor who = {CALL_ROLE_NONE, NULL};

    if (slice_eq(user, c->caller) && slice_eq(device, c->caller_device)) {
        who.role = CALL_ROLE_CALLER;
    } else if (slice_eq(user, c->callee)) {
        who.leg = find_leg(c, device);
        if (who.leg)
            who.role = who.leg == c->winner ? CALL_ROLE_WINNER : CALL_ROLE_LEG;
    }
    return who;
}

/* What a device that is no leg, but was perhaps woken for the call, hears of it: why it does not
 * ring. SIG_REASON_NONE: the device has nothing to do with the call, or it may still become a leg.
 */
static enum sig_reason late_reason(const struct call *c, struct slice user)
{
    if (!c->was_pushed || call_rings(c) || !slice_eq(user, c->callee))
        return SIG_REASON_NONE;
    if (c->times.answered_us > 0)
        return SIG_REASON_ANSWERED_ELSEWHERE;
    return c->ended_by == CALL_ROLE_LEG ? call_reason_elsewhere(c->reason) : c->reason;
}

static void refuse_stranger(struct call *c, const struct call_event *ev, struct call_effects *out)
{
    enum sig_reason reason = late_reason(c, ev->user);

    if (reason == SIG_REASON_NONE)
        call_refuse(c, SIG_ERR_CALL_NOT_FOUND, out);
    else
        call_refuse(c, SIG_ERR_CALL_ENDED, out)->reason = reason;
}

static void reply_view(struct call *c, const struct call_event *ev, struct call_effects *out,
                       uint64_t now_us)
{
    if (!call_view(c, ev->user, ev->device, &out->view, now_us)) {
        call_refuse(c, SIG_ERR_CALL_NOT_FOUND, out);
        return;
    }
    call_reply(c, SIG_CALL_SYNC, out)->view = &out->view;
}

static bool is_request(enum call_event_kind kind)
{
    return kind <= CALL_EV_SYNC;
}

void call_recv(struct call *c, const struct call_event *ev, struct call_effects *out,
               uint64_t now_us)
{
    struct call_actor who = call_actor_of(c, ev->user, ev->device);

    call_keep_clear(&c->spent);
    if (ev->kind == CALL_EV_SYNC) {
        reply_view(c, ev, out, now_us);
    } else if (ev->kind == CALL_EV_END) {
        if (call_live(c))
            call_end(c, ev->reason, &(struct call_actor){CALL_ROLE_NONE, NULL}, out, now_us);
    } else if (is_request(ev->kind) && who.role == CALL_ROLE_NONE) {
        refuse_stranger(c, ev, out);
    } else if (!call_live(c)) {
        if (is_request(ev->kind))
            refuse_ended(c, who.leg, out);
    } else if (call_rings(c)) {
        call_ring_recv(c, &who, ev, out, now_us);
    } else if (who.role == CALL_ROLE_LEG) {
        if (is_request(ev->kind))
            call_refuse(c, SIG_ERR_CALL_ALREADY_ANSWERED, out);
    } else if (who.role != CALL_ROLE_NONE) {
        call_up_recv(c, &who, ev, out, now_us);
    }
    if (c->state == SIG_CALL_ACTIVE && c->answer_mem)
        drop_answer(c);
}

void call_invite_again(const struct call *c, struct call_effects *out, uint64_t now_us)
{
    struct call_fx *fx;

    if (!call_live(c)) {
        fx = call_fx_add(out, CALL_FX_ERROR, &c->id);
        fx->err = SIG_ERR_CALL_ENDED;
        fx->reason = c->reason;
        return;
    }
    fx = call_fx_add(out, CALL_FX_REPLY, &c->id);
    fx->type = SIG_CALL_INVITE;
    fx->state = c->state;
    fx->expires_in_ms = call_expires_ms(c, now_us);
    for (size_t i = 0; i < c->legs_n; i++)
        fx->online = (uint16_t)(fx->online + c->legs[i].present);
    fx->pushed = c->pushed;
    fx->needs_ice = true;
}

/* ---- timers ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t call_deadline(const struct call *c)
{
    switch (c->state) {
    case SIG_CALL_INVITING:
    case SIG_CALL_RINGS:
        return earlier(c->ring_us, c->grace_us);
    case SIG_CALL_CONNECTING:
        return earlier(c->connect_us, c->max_us);
    case SIG_CALL_ACTIVE:
        return c->max_us;
    case SIG_CALL_RECONNECTING:
        return earlier(c->reconnect_us, c->max_us);
    default:
        return c->forget_us;
    }
}

/* Which reason is due. */
static enum sig_reason due_reason(const struct call *c)
{
    switch (c->state) {
    case SIG_CALL_INVITING:
    case SIG_CALL_RINGS:
        if (c->grace_us < c->ring_us)
            return SIG_REASON_CANCELLED;
        return c->delivered ? SIG_REASON_TIMEOUT : SIG_REASON_UNREACHABLE;
    case SIG_CALL_CONNECTING:
        return c->connect_us <= c->max_us ? SIG_REASON_MEDIA_FAILED : SIG_REASON_MAX_DURATION;
    case SIG_CALL_RECONNECTING:
        return c->reconnect_us <= c->max_us ? SIG_REASON_CONNECTION_LOST : SIG_REASON_MAX_DURATION;
    default:
        return SIG_REASON_MAX_DURATION;
    }
}

void call_tick(struct call *c, struct call_effects *out, uint64_t now_us)
{
    call_keep_clear(&c->spent);
    if (call_live(c) && call_deadline(c) <= now_us)
        call_end(c, due_reason(c), &(struct call_actor){CALL_ROLE_NONE, NULL}, out, now_us);
}

/* ---- views ---- */

static void view_of_caller(const struct call *c, struct sig_view *out)
{
    out->caller = true;
    out->peer = c->callee;
    out->peer_device = call_winner(c);
    out->answer_raw = c->answer;
}

static void view_of_leg(const struct call *c, const struct call_leg *l, struct sig_view *out)
{
    out->peer = c->caller;
    out->peer_device = c->caller_device;
    out->selected = l == c->winner;
    out->call_waiting = l->call_waiting;
    if (call_leg_open(l)) {
        out->offer_raw = c->offer;
        out->room_raw = c->room_raw;
    }
    if (l->state == LEG_STOPPED) { /* over for this device, whatever the others do */
        out->state = SIG_CALL_OVER;
        out->reason = l->reason;
        out->has_expires = false;
    }
}

static bool view_of_late(const struct call *c, struct slice user, struct sig_view *out)
{
    enum sig_reason reason = late_reason(c, user);

    if (reason == SIG_REASON_NONE)
        return false;
    *out = (struct sig_view){.call_id = &c->id,
                             .state = SIG_CALL_OVER,
                             .reason = reason,
                             .is_video = c->is_video,
                             .peer = c->caller,
                             .peer_device = c->caller_device};
    return true;
}

bool call_view(const struct call *c, struct slice user, struct slice device, struct sig_view *out,
               uint64_t now_us)
{
    struct call_actor who = call_actor_of(c, user, device);

    if (who.role == CALL_ROLE_NONE)
        return view_of_late(c, user, out);
    *out = (struct sig_view){.call_id = &c->id,
                             .state = c->state,
                             .reason = c->reason,
                             .is_video = c->is_video,
                             .has_expires = call_rings(c),
                             .expires_in_ms = call_expires_ms(c, now_us)};
    if (who.role == CALL_ROLE_CALLER)
        view_of_caller(c, out);
    else
        view_of_leg(c, who.leg, out);
    return true;
}

enum call_role call_role(const struct call *c, struct slice user, struct slice device)
{
    return call_actor_of(c, user, device).role;
}

const struct sig_call_id *call_id(const struct call *c)
{
    return &c->id;
}

enum sig_call_state call_state(const struct call *c)
{
    return c->state;
}

enum sig_reason call_ended_reason(const struct call *c)
{
    return c->reason;
}

struct slice call_caller(const struct call *c)
{
    return c->caller;
}

struct slice call_caller_device(const struct call *c)
{
    return c->caller_device;
}

struct slice call_callee(const struct call *c)
{
    return c->callee;
}

struct slice call_winner(const struct call *c)
{
    return c->winner ? call_leg_device(c->winner) : (struct slice){0};
}

struct slice call_caller_name(const struct call *c)
{
    return c->caller_name;
}

bool call_is_video(const struct call *c)
{
    return c->is_video;
}

bool call_is_second(const struct call *c)
{
    return c->second;
}

const struct call_times *call_times(const struct call *c)
{
    return &c->times;
}

uint64_t call_ring_until_us(const struct call *c)
{
    return c->ring_us;
}

enum call_role call_ended_by(const struct call *c)
{
    return c->ended_by;
}

bool call_invites(const struct call *c)
{
    return c->invites;
}

bool call_missed(const struct call *c)
{
    return c->state == SIG_CALL_OVER && c->times.answered_us == 0 &&
           call_reason_missed(c->reason, c->conf->busy_is_missed);
}

struct slice call_room(const struct call *c)
{
    return call_room_id(c);
}

uint64_t call_duration_ms(const struct call *c)
{
    return c->duration_ms;
}

const struct sig_call_id *call_merged_into(const struct call *c)
{
    return c->reason == SIG_REASON_GLARE ? &c->merged_into : NULL;
}

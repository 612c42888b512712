/* A call while nobody has won: fan-out, ringing, answer, reject, cancel, late devices, glare.
 *
 * Called by call.c, which knows by then that the call is open. Pure.
 * What a leg says here (candidates) is kept with the leg; only ring_answer(), the claim, passes the
 * winner's on. The caller's candidates go to every leg at once: legs have his offer already.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "base/mem.h"
#include "server/call_priv.h"

static const struct call_actor nobody = {CALL_ROLE_NONE, NULL};

/* ---- fan-out ---- */

void call_ring_incoming(struct call *c, struct call_leg *l, struct call_effects *out,
                        uint64_t now_us)
{
    struct call_fx *fx = call_tell_leg(c, l, CALL_FX_INCOMING, out);
    struct slice data;
    size_t pos = 0;

    call_relay_as(fx, SIG_CALL_INCOMING, c->caller, c->caller_device, c->offer);
    fx->metadata_raw = c->metadata;
    fx->room_raw = c->room_raw;
    fx->from_name = c->caller_name;
    fx->expires_in_ms = call_expires_ms(c, now_us);
    fx->call_waiting = l->call_waiting;
    fx->needs_ice = true;
    while (call_keep_next(&c->caller_kept, &pos, &data))
        call_relay_as(call_tell_leg(c, l, CALL_FX_RELAY, out), SIG_CALL_CANDIDATES, c->caller,
                      c->caller_device, data);
}

/* ---- requests of legs ---- */

static void ring_ringing(struct call *c, struct call_leg *l, struct call_effects *out,
                         uint64_t now_us)
{
    call_reply(c, SIG_CALL_RINGING, out);
    l->state = LEG_RINGING;
    if (c->rang)
        return;
    c->rang = true;
    c->times.rang_us = now_us;
    c->state = SIG_CALL_RINGS;
    call_tell_caller(c, CALL_FX_RINGING, out)->from = c->callee;
}

/* The others hear that it was answered. */
static void stop_losers(struct call *c, struct call_effects *out)
{
    for (size_t i = 0; i < c->legs_n; i++) {
        struct call_leg *l = &c->legs[i];
        if (!call_leg_open(l))
            continue;
        l->state = LEG_STOPPED;
        l->reason = SIG_REASON_ANSWERED_ELSEWHERE;
        call_keep_clear(&l->kept);
        if (!l->present)
            continue;
        struct call_fx *fx = call_tell_leg(c, l, CALL_FX_ENDED, out);
        fx->reason = l->reason;
        fx->by = c->callee;
        fx->by_device = call_winner(c);
    }
}

/* The claim. Everything that can fail is done before anything is committed. */
static void ring_answer(struct call *c, struct call_leg *l, struct slice answer,
                        struct call_effects *out, uint64_t now_us)
{
    struct slice data;
    size_t pos = 0;

    c->answer_mem = mem_zalloc(answer.len);
    if (!c->answer_mem) {
        call_refuse(c, SIG_ERR_INTERNAL, out);
        return;
    }
    if (answer.len > 0)
        memcpy(c->answer_mem, answer.p, answer.len);
    c->answer = slice_of(c->answer_mem, answer.len);
    c->state = SIG_CALL_CONNECTING;
    c->winner = l;
    l->state = LEG_WINNER;
    c->party[CALL_SIDE_CALLEE].online = true;
    c->times.answered_us = now_us;
    c->awaits = false;
    c->connect_us = now_us + c->conf->connect_timeout_us;
    c->max_us = now_us + c->conf->max_duration_us;
    c->spent = l->kept;
    l->kept = (struct call_keep){0};
    call_drop_invite(c);

    struct call_fx *fx = call_reply(c, SIG_CALL_ANSWER, out);
    fx->state = c->state;
    fx->needs_ice = true;
    call_relay_as(call_tell_caller(c, CALL_FX_ACCEPTED, out), SIG_CALL_ACCEPTED, c->callee,
                  call_leg_device(l), c->answer);
    while (call_keep_next(&c->spent, &pos, &data))
        call_relay_as(call_tell_caller(c, CALL_FX_RELAY, out), SIG_CALL_CANDIDATES, c->callee,
                      call_leg_device(l), data);
    stop_losers(c, out);
}

/* The claim of an invitation into a room: who answered is in, and the call has done its work. */
static void ring_answer_room(struct call *c, struct call_actor *who, struct call_effects *out,
                             uint64_t now_us)
{
    struct call_leg *l = who->leg;

    c->winner = l;
    c->times.answered_us = now_us;
    l->state = LEG_WINNER;
    who->role = CALL_ROLE_WINNER;
    struct call_fx *fx = call_reply(c, SIG_CALL_ANSWER, out);
    fx->state = SIG_CALL_OVER;
    fx->room = call_room_id(c);
    fx->needs_ice = true;
    fx = call_tell_caller(c, CALL_FX_ACCEPTED, out);
    call_relay_as(fx, SIG_CALL_ACCEPTED, c->callee, call_leg_device(l), (struct slice){0});
    fx->room = call_room_id(c);
    stop_losers(c, out);
    call_end(c, SIG_REASON_ROOM_MIGRATED, who, out, now_us);
}

/* What the caller hears when all legs said no on their own: what a person said weighs more than
 * what a device did. */
static enum sig_reason gathered_reason(const struct call *c)
{
    static const enum sig_reason by_weight[] = {
        SIG_REASON_DECLINED, SIG_REASON_BUSY, SIG_REASON_NEED_PERMISSION, SIG_REASON_MEDIA_FAILED};

    for (size_t w = 0; w < ARRAY_LEN(by_weight); w++)
        for (size_t i = 0; i < c->legs_n; i++)
            if (c->legs[i].state == LEG_STOPPED && c->legs[i].reason == by_weight[w])
                return by_weight[w];
    return SIG_REASON_NONE;
}

/* Nobody who could answer has the call or may still be woken up for it. */
static bool nobody_left(const struct call *c)
{
    for (size_t i = 0; i < c->legs_n; i++)
        if (call_leg_open(&c->legs[i]) && c->legs[i].present)
            return false;
    return !c->awaits;
}

/* Ends the call when no leg is left that could answer and at least one said no. Legs that are
 * merely gone may come back until the deadline. */
static void end_if_all_stopped(struct call *c, const struct call_actor *who,
                               struct call_effects *out, uint64_t now_us)
{
    if (!nobody_left(c))
        return;
    enum sig_reason reason = gathered_reason(c);
    if (reason != SIG_REASON_NONE)
        call_end(c, reason, who, out, now_us);
}

static void ring_reject(struct call *c, struct call_actor *who, const struct sig_reject *r,
                        struct call_effects *out, uint64_t now_us)
{
    call_reply(c, SIG_CALL_REJECT, out);
    if (!r->device_only) {
        call_end(c, r->reason, who, out, now_us);
        return;
    }
    who->leg->state = LEG_STOPPED;
    who->leg->reason = r->reason;
    call_keep_clear(&who->leg->kept);
    end_if_all_stopped(c, who, out, now_us);
}

/* Keeps candidates; what can't be kept is refused. */
static bool keep(struct call *c, struct call_keep *k, struct slice data, struct call_effects *out)
{
    int err = call_keep_add(k, data);

    if (err)
        call_refuse(c, err == -ENOSPC ? SIG_ERR_OVERLOADED : SIG_ERR_INTERNAL, out);
    return err == 0;
}

static void leg_request(struct call *c, struct call_actor *who, const struct call_event *ev,
                        struct call_effects *out, uint64_t now_us)
{
    struct call_leg *l = who->leg;

    if (!call_leg_open(l)) { /* it said no for itself before */
        call_refuse(c, SIG_ERR_CALL_INVALID_STATE, out);
        return;
    }
    c->delivered = true;
    l->present = true;
    if (l->state == LEG_PENDING)
        l->state = LEG_DELIVERED;
    switch (ev->kind) {
    case CALL_EV_RINGING:
        ring_ringing(c, l, out, now_us);
        break;
    case CALL_EV_ANSWER:
        if (c->invites)
            ring_answer_room(c, who, out, now_us);
        else if (ev->data.len == 0)
            call_refuse(c, SIG_ERR_BAD_REQUEST, out)->err_text = "data.answer: is required";
        else
            ring_answer(c, l, ev->data, out, now_us);
        break;
    case CALL_EV_REJECT:
        ring_reject(c, who, &ev->reject, out, now_us);
        break;
    case CALL_EV_CANDIDATES:
        keep(c, &l->kept, ev->data, out);
        break;
    default:
        call_refuse(c, SIG_ERR_CALL_INVALID_STATE, out);
        break;
    }
}

/* ---- requests of the caller ---- */

static void caller_candidates(struct call *c, struct slice data, struct call_effects *out)
{
    if (!keep(c, &c->caller_kept, data, out))
        return;
    for (size_t i = 0; i < c->legs_n; i++) {
        struct call_leg *l = &c->legs[i];
        if (call_leg_open(l) && l->present)
            call_relay_as(call_tell_leg(c, l, CALL_FX_RELAY, out), SIG_CALL_CANDIDATES, c->caller,
                          c->caller_device, data);
    }
}

static void caller_request(struct call *c, struct call_actor *who, const struct call_event *ev,
                           struct call_effects *out, uint64_t now_us)
{
    switch (ev->kind) {
    case CALL_EV_CANCEL:
        call_reply(c, SIG_CALL_CANCEL, out)->state = SIG_CALL_OVER;
        call_end(c, SIG_REASON_CANCELLED, who, out, now_us);
        break;
    case CALL_EV_CANDIDATES:
        caller_candidates(c, ev->data, out);
        break;
    default:
        call_refuse(c, SIG_ERR_CALL_INVALID_STATE, out);
        break;
    }
}

/* ---- sessions ---- */

static void caller_session(struct call *c, struct call_actor *who, const struct call_event *ev,
                           struct call_effects *out, uint64_t now_us)
{
    bool *online = &c->party[CALL_SIDE_CALLER].online;

    switch (ev->kind) {
    case CALL_EV_LOST:
    case CALL_EV_EXPIRED: /* a new session may still take over */
        if (*online)
            c->grace_us = now_us + c->conf->caller_grace_us;
        *online = false;
        break;
    case CALL_EV_BACK:
    case CALL_EV_NEW:
        *online = true;
        c->grace_us = CLOCK_NEVER;
        break;
    case CALL_EV_CLOSED:
        call_end(c, SIG_REASON_CANCELLED, who, out, now_us);
        break;
    default:
        break;
    }
}

static void leg_session(struct call *c, struct call_actor *who, const struct call_event *ev,
                        struct call_effects *out, uint64_t now_us)
{
    struct call_leg *l = who->leg;

    switch (ev->kind) {
    case CALL_EV_DELIVERED:
        c->delivered = true;
        if (l->state == LEG_PENDING)
            l->state = LEG_DELIVERED;
        break;
    case CALL_EV_NEW:
        l->present = true;
        if (!call_leg_open(l))
            break;
        l->call_waiting = ev->waiting;
        call_ring_incoming(c, l, out, now_us);
        break;
    case CALL_EV_CLOSED:
    case CALL_EV_EXPIRED:
        l->present = false;
        if (call_leg_open(l))
            end_if_all_stopped(c, &nobody, out, now_us);
        break;
    default:
        break;
    }
}

/* News of the devices that are pushed. */
static void ring_push(struct call *c, const struct call_event *ev, struct call_effects *out,
                      uint64_t now_us)
{
    c->awaits = ev->awaits;
    c->was_pushed = c->was_pushed || ev->awaits;
    c->delivered = c->delivered || ev->reached;
    end_if_all_stopped(c, &nobody, out, now_us);
    if (call_live(c) && !c->delivered && nobody_left(c))
        call_end(c, SIG_REASON_UNREACHABLE, &nobody, out, now_us);
}

/* A device that was not there when the call was made: it rings too. Nobody waits for an answer, so
 * a full table or a lack of memory only means that this device stays silent. */
static void late_device(struct call *c, const struct call_event *ev, struct call_effects *out,
                        uint64_t now_us)
{
    int err;

    if (ev->kind != CALL_EV_NEW || !slice_eq(ev->user, c->callee))
        return;
    struct call_leg *l = call_add_leg(c, ev->device, &err);
    if (!l)
        return;
    l->call_waiting = ev->waiting;
    call_ring_incoming(c, l, out, now_us);
}

int call_merge_glare(struct call *c, const struct sig_call_id *own_id, struct slice device,
                     struct call_effects *out, uint64_t now_us)
{
    struct call_leg *l = NULL;
    struct slice data;
    size_t pos = 0;
    int err = 0;

    for (size_t i = 0; i < c->legs_n; i++)
        if (slice_eq(call_leg_device(&c->legs[i]), device))
            l = &c->legs[i];
    bool fresh = !l || !call_leg_open(l) || !l->present;
    if (!l && !(l = call_add_leg(c, device, &err)))
        return err;
    l->present = true;
    if (fresh || l->state == LEG_PENDING)
        l->state = LEG_DELIVERED;
    l->reason = SIG_REASON_NONE;
    c->delivered = true;

    struct call_fx *fx = call_reply(c, SIG_CALL_INVITE, out);
    fx->call_id = *own_id;
    fx->glare = true;
    fx->merged_into = c->id;
    fx->from = c->caller;
    fx->from_device = c->caller_device;
    fx->data_raw = c->offer;
    fx->expires_in_ms = call_expires_ms(c, now_us);
    fx->needs_ice = true;
    while (fresh && call_keep_next(&c->caller_kept, &pos, &data))
        call_relay_as(call_tell_leg(c, l, CALL_FX_RELAY, out), SIG_CALL_CANDIDATES, c->caller,
                      c->caller_device, data);
    return 0;
}

void call_ring_recv(struct call *c, struct call_actor *who, const struct call_event *ev,
                    struct call_effects *out, uint64_t now_us)
{
    bool request = ev->kind <= CALL_EV_SYNC;

    if (ev->kind == CALL_EV_PUSH)
        ring_push(c, ev, out, now_us);
    else if (who->role == CALL_ROLE_NONE)
        late_device(c, ev, out, now_us);
    else if (who->role == CALL_ROLE_CALLER && request)
        caller_request(c, who, ev, out, now_us);
    else if (who->role == CALL_ROLE_CALLER)
        caller_session(c, who, ev, out, now_us);
    else if (request)
        leg_request(c, who, ev, out, now_us);
    else
        leg_session(c, who, ev, out, now_us);
}

/* Calls: requests become events of the call machine, its effects become messages.
 *
 * Called by router.c. Every step is: clear r->fx, ask the table, perform(). While effects are
 * performed nothing asks the table again: a socket that breaks meanwhile is told at the next tick.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"
#include "base/log.h"
#include "base/rand.h"
#include "proto/sig_client.h"
#include "proto/sig_server.h"
#include "server/router_priv.h"

#define NO_ROOMS_TEXT "a device of this call takes no part in rooms"

struct session *router_find_session(const struct router *r, struct slice user, struct slice device)
{
    struct user *u = user_find(r->sessions, user);

    return u ? session_find_device(u, device) : NULL;
}

bool router_in_call(const struct router *r, const struct session *s)
{
    return call_table_in_call(r->calls, user_id(s->user), session_device(s)) ||
           room_table_in_room(r->rooms, user_id(s->user), session_device(s)) ||
           router_far_in_call(r, user_id(s->user), session_device(s)) || router_far_room_has(r, s);
}

/* Pings come faster while a device is in a call. */
void router_update_in_call(struct router *r, struct session *s)
{
    bool in_call = router_in_call(r, s);

    if (in_call == s->in_call)
        return;
    s->in_call = in_call;
    if (s->client)
        client_rearm(s->client);
}

/* Writes iceServers for the receiver of an effect; empty when the message carries none. */
static struct slice ice_for(struct router *r, const struct call_fx *fx, struct slice user)
{
    char id[SIG_CALL_ID_TEXT + 1];

    if (!fx->needs_ice)
        return (struct slice){0};
    struct wr w = wr_init(r->ice, sizeof(r->ice));
    ice_servers_write(&w, r->conf, r->relays, slice_str(sig_call_id_text(&fx->call_id, id)), user,
                      r->wall_us);
    return w.bad ? SLICE_LIT("[]") : wr_done(&w);
}

/* An effect for whoever asked. */
static void perform_answer(const struct request *q, const struct call_fx *fx)
{
    struct router *r = q->r;
    struct wr w = router_body(r);

    if (fx->kind == CALL_FX_ERROR)
        counter_inc(&r->count.errors[fx->err]);
    if (!q->m->has_id)
        return;
    call_fx_write(&w, fx, q->m->id, ice_for(r, fx, request_user(q)), r->wall_us / US_PER_MS);
    request_reply(q, &w);
}

/* Whether s can take what another user sends it: flooded, it keeps what is its own instead. */
bool router_has_room(const struct router *r, const struct session *s, size_t bytes)
{
    return reliable_has_room(&s->rel, &r->reliable, bytes);
}

static void perform_one(struct router *r, const struct call_fx *fx)
{
    struct session *s = router_find_session(r, fx->user, fx->device);
    bool foreign = fx->kind == CALL_FX_INCOMING || fx->kind == CALL_FX_RELAY;
    struct wr w = router_body(r);

    if (!s && !r->far)
        return; /* its session has ended; a new one hears of the call in its welcome */
    call_fx_write(&w, fx, (struct slice){0}, ice_for(r, fx, fx->user), r->wall_us / US_PER_MS);
    if (w.bad)
        log_error("call", "a message of type %s does not fit its buffer", sig_type_name(fx->type));
    else if (!s)
        router_far_say(r, fx, wr_done(&w));
    else if (foreign && !router_has_room(r, s, fx->data_raw.len))
        counter_inc(&r->count.rate_limited);
    else
        router_send(r, s, wr_done(&w), 0);
    if (!s)
        return;
    if (fx->kind == CALL_FX_INCOMING)
        s->incoming_seq = s->rel.out_seq;
    if (fx->kind == CALL_FX_INCOMING || fx->kind == CALL_FX_ENDED || fx->kind == CALL_FX_ACCEPTED)
        router_update_in_call(r, s);
}

/* Looks at a call after a step: what has changed is counted, logged, and told to those who keep an
 * eye on calls. */
static void review(struct router *r, const struct sig_call_id *id)
{
    enum sig_call_state before;
    const struct call *c = call_table_changed(r->calls, id, &before);
    char text[SIG_CALL_ID_TEXT + 1];

    if (!c)
        return;
    if (!call_live(c)) {
        counter_inc(&r->count.ended[call_ended_reason(c)]);
        log_info("call", "%s ended: %s after %llu ms", sig_call_id_text(id, text),
                 sig_reason_name(call_ended_reason(c)), (unsigned long long)call_duration_ms(c));
    }
    router_push_changed(r, c, before);
    router_history_changed(r, c, before);
    router_far_changed(r, c, before);
}

/* Performs r->fx in order. q: the request that caused them, or NULL. */
static void perform(struct router *r, const struct request *q)
{
    for (size_t i = 0; i < r->fx.n; i++) {
        const struct call_fx *fx = &r->fx.fx[i];
        if (fx->kind == CALL_FX_REPLY || fx->kind == CALL_FX_ERROR) {
            if (q)
                perform_answer(q, fx);
        } else {
            perform_one(r, fx);
        }
    }
    for (size_t i = 0; i < r->fx.n; i++)
        if (i == 0 || !sig_call_id_eq(&r->fx.fx[i].call_id, &r->fx.fx[i - 1].call_id)) {
            review(r, &r->fx.fx[i].call_id);
            router_keep(r, &r->fx.fx[i].call_id);
        }
}

static void limited(const struct request *q, uint32_t wait_ms)
{
    counter_inc(&q->r->count.rate_limited);
    request_error(q, &(struct sig_error){.code = SIG_ERR_RATE_LIMITED, .retry_after_ms = wait_ms});
}

/* The limits of one user, and of one pair, on dialing. False: *wait_ms says how long to wait. */
static bool may_dial(const struct request *q, struct slice to, uint32_t *wait_ms)
{
    struct router *r = q->r;
    uint64_t user = hash_bytes(request_user(q)), pair = user * 31 + hash_bytes(to);

    if (!limit_take(r->invites_short, user, 1, r->now_us))
        *wait_ms = limit_wait_ms(r->invites_short, user, r->now_us);
    else if (!limit_take(r->invites_long, user, 1, r->now_us))
        *wait_ms = limit_wait_ms(r->invites_long, user, r->now_us);
    else if (!limit_take(r->pairs, pair, 1, r->now_us))
        *wait_ms = limit_wait_ms(r->pairs, pair, r->now_us);
    else
        return true;
    return false;
}

/* The devices on which a user can be rung; room (may be empty): those that may and can go there. */
static size_t devices_of(const struct router *r, struct slice user, struct slice room,
                         struct call_device out[CALL_LEGS_MAX])
{
    struct user *u = user_find(r->sessions, user);
    size_t n = 0;

    if (!u)
        return 0;
    LIST_EACH(l, tmp, &u->sessions)
    {
        struct session *s = CONTAINER_OF(l, struct session, of_user);
        if (s->ending || !s->may_call || s->only_call || n == CALL_LEGS_MAX)
            continue;
        if (room.len > 0 && (!s->can_rooms || (s->room && !slice_is(room, s->room))))
            continue;
        out[n++] = (struct call_device){
            .device = session_device(s), .online = s->client != NULL, .call_waiting = s->can_wait};
    }
    return n;
}

/* The answer among the effects of an invite. */
static const struct call_fx *answer_of(const struct router *r)
{
    for (size_t i = 0; i < r->fx.n; i++)
        if (r->fx.fx[i].kind == CALL_FX_REPLY || r->fx.fx[i].kind == CALL_FX_ERROR)
            return &r->fx.fx[i];
    return NULL;
}

/* After an invite, which was new: wakes the callee's devices, or tells them that they missed it. */
static void invited(const struct request *q, const struct push_call *call, bool into_room)
{
    struct router *r = q->r;
    const struct call_fx *fx = answer_of(r);

    if (!fx)
        return;
    if (fx->glare)
        router_push_spoke(r, request_user(q), request_device(q), &fx->merged_into);
    else if (fx->kind == CALL_FX_REPLY)
        router_push_begin(r, &call->id);
    else
        router_history_refused(r, call, into_room, fx->err);
}

static struct push_call push_call_of(const struct request *q, const struct sig_call_id *id,
                                     struct slice to, bool video)
{
    return (struct push_call){.id = *id,
                              .caller = request_user(q),
                              .caller_name = request_name(q),
                              .callee = to,
                              .video = video};
}

static void invite(const struct request *q)
{
    struct sig_fault fault;
    struct sig_invite in;
    uint32_t wait_ms = 0;

    if (sig_client_invite(&in, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (!may_dial(q, q->m->to, &wait_ms)) {
        limited(q, wait_ms);
        return;
    }
    if (!router_far_invite(q, &in))
        (void)router_invite_now(q, &in, &(struct router_invite){0});
}

bool router_invite_now(const struct request *q, const struct sig_invite *in,
                       const struct router_invite *more)
{
    struct call_device devices[CALL_LEGS_MAX];
    struct router *r = q->r;
    size_t n = devices_of(r, q->m->to, (struct slice){0}, devices);

    for (size_t i = 0; i < more->devices_n && n < CALL_LEGS_MAX; i++)
        devices[n++] = more->devices[i];
    bool known = call_table_find(r->calls, &q->m->call_id) != NULL;
    const struct call_invite made = {.id = q->m->call_id,
                                     .user = request_user(q),
                                     .device = request_device(q),
                                     .name = q->far ? more->name : session_name(q->s),
                                     .to = q->m->to,
                                     .offer_raw = in->offer,
                                     .metadata_raw = in->metadata,
                                     .is_video = in->is_video,
                                     .ring_timeout_ms = in->ring_timeout_ms,
                                     .devices = devices,
                                     .devices_n = n,
                                     .busy = more->busy,
                                     .calls = more->calls,
                                     .pushed = router_push_count(r, q->m->to)};
    if (more->crosses)
        call_table_cross(r->calls, &more->first, &made, &r->fx, r->now_us);
    else
        call_table_invite(r->calls, &made, &r->fx, r->now_us);
    perform(r, q);
    struct push_call call = push_call_of(q, &q->m->call_id, q->m->to, in->is_video);
    if (!known && !more->crosses)
        invited(q, &call, false);
    if (q->s)
        router_update_in_call(r, q->s);
    const struct call *c = call_table_find(r->calls, &q->m->call_id);
    return c && call_live(c);
}

/* A random call id (RFC 9562 §5.4). */
void router_new_call_id(struct sig_call_id *id)
{
    rand_bytes(id->b, sizeof(id->b));
    id->b[6] = (uint8_t)((id->b[6] & 0x0F) | 0x40);
    id->b[8] = (uint8_t)((id->b[8] & 0x3F) | 0x80);
}

enum sig_err router_ring_into(const struct request *q, const struct room *room, struct slice user,
                              const struct sig_room_invite *in, struct slice room_raw,
                              const struct router_invite *more, const struct sig_call_id *call)
{
    struct call_device devices[CALL_LEGS_MAX];
    struct router *r = q->r;
    uint32_t wait_ms;

    if (!may_dial(q, user, &wait_ms)) {
        counter_inc(&r->count.rate_limited);
        return SIG_ERR_RATE_LIMITED;
    }
    unsigned pushed = router_push_count(r, user);
    size_t n = devices_of(r, user, room->id, devices);
    for (size_t i = 0; i < more->devices_n && n < CALL_LEGS_MAX; i++)
        devices[n++] = more->devices[i];
    call_table_invite(r->calls,
                      &(struct call_invite){.id = *call,
                                            .user = request_user(q),
                                            .device = request_device(q),
                                            .name = request_name(q),
                                            .to = user,
                                            .metadata_raw = in->metadata,
                                            .room = room->id,
                                            .room_raw = room_raw,
                                            .is_video = in->is_video,
                                            .ring_timeout_ms = in->ring_timeout_ms,
                                            .devices = devices,
                                            .devices_n = n,
                                            .busy = more->busy,
                                            .pushed = pushed},
                      &r->fx, r->now_us);
    enum sig_err err = r->fx.n > 0 && r->fx.fx[0].kind == CALL_FX_ERROR ? r->fx.fx[0].err : SIG_OK;
    perform(r, NULL); /* the inviter hears of all of them in one reply */
    struct push_call pushed_call = push_call_of(q, call, user, in->is_video);
    invited(q, &pushed_call, true);
    return err;
}

/* ---- moving to a room ---- */

/* The device that a party's messages are passed on to; false: while it rings there may be many. */
static bool other_device(const struct request *q, struct slice *user, struct slice *device)
{
    const struct call *c = call_table_find(q->r->calls, &q->m->call_id);
    enum call_role role = c ? call_role(c, request_user(q), request_device(q)) : CALL_ROLE_NONE;

    if (role != CALL_ROLE_CALLER && role != CALL_ROLE_WINNER)
        return false;
    *user = role == CALL_ROLE_CALLER ? call_callee(c) : call_caller(c);
    *device = role == CALL_ROLE_CALLER ? call_winner(c) : call_caller_device(c);
    return true;
}

/* The room that the call goes on in: the one agreed on, or a new id into text. */
static struct slice upgrade_room(const struct call *c, char text[SIG_CALL_ID_TEXT + 1])
{
    struct sig_call_id id;

    if (call_room(c).len > 0)
        return call_room(c);
    router_new_call_id(&id);
    return slice_str(sig_call_id_text(&id, text));
}

/* Whether who asks takes part in rooms. */
static bool can_rooms(const struct request *q)
{
    return q->far ? router_far_can_rooms(q->r, &q->m->call_id, q->far->user, q->far->device)
                  : q->s->can_rooms;
}

/* Prepares call.upgrade: the room is there before anybody hears of it. False: the request was
 * answered. *room borrows from text or the call. */
static bool prepare_upgrade(const struct request *q, char text[SIG_CALL_ID_TEXT + 1],
                            struct slice *room)
{
    struct router *r = q->r;
    const struct call *c = call_table_find(r->calls, &q->m->call_id);
    struct slice user, device;

    *room = (struct slice){0};
    if (!c || !call_live(c) || call_rings(c) || !other_device(q, &user, &device))
        return true; /* the machine has the error */
    const struct session *other = router_find_session(r, user, device);
    if (!can_rooms(q) ||
        (other ? !other->can_rooms : !router_far_can_rooms(r, &q->m->call_id, user, device))) {
        request_fail(q, SIG_ERR_CALL_INVALID_STATE, NO_ROOMS_TEXT);
        return false;
    }
    bool agreed = call_room(c).len > 0;
    *room = upgrade_room(c, text);
    if (room_by_id(r->rooms, *room) || (agreed && r->far)) /* another node may run it by now */
        return true;
    if (!router_sfu_usable(r)) {
        request_error(q, &(struct sig_error){.code = SIG_ERR_SFU_UNAVAILABLE,
                                             .retry_after_ms = ROUTER_SFU_RETRY_MS});
        return false;
    }
    if (room_make(r->rooms, *room, call_id(c), call_caller(c), call_callee(c), r->now_us))
        return true;
    request_fail(q, SIG_ERR_OVERLOADED, NULL);
    return false;
}

bool router_call_end(struct router *r, const struct sig_call_id *id, enum sig_reason reason)
{
    bool ended = call_table_end(r->calls, id, reason, &r->fx, r->now_us);

    if (ended)
        perform(r, NULL);
    return ended;
}

/* ---- requests ---- */

/* Reads the data of a call request into an event. Returns 0, or -EBADMSG with *fault. */
static int read_event(const struct request *q, struct call_event *ev, struct sig_fault *fault)
{
    const struct sig_msg *m = q->m;

    ev->data = m->data;
    switch (m->type) {
    case SIG_CALL_RINGING:
        ev->kind = CALL_EV_RINGING;
        return 0;
    case SIG_CALL_ANSWER:
        ev->kind = CALL_EV_ANSWER;
        return sig_client_answer(&ev->data, m, fault);
    case SIG_CALL_REJECT:
        ev->kind = CALL_EV_REJECT;
        return sig_client_reject(&ev->reject, m, fault);
    case SIG_CALL_CANCEL:
        ev->kind = CALL_EV_CANCEL;
        return 0;
    case SIG_CALL_HANGUP:
        ev->kind = CALL_EV_HANGUP;
        return sig_client_hangup(&ev->reason, m, fault);
    case SIG_CALL_CANDIDATES:
        ev->kind = CALL_EV_CANDIDATES;
        return sig_client_candidates(m, fault);
    case SIG_CALL_NEGOTIATE:
        ev->kind = CALL_EV_NEGOTIATE;
        return sig_client_negotiate(&ev->negotiate, m, q->scratch, fault);
    case SIG_CALL_INFO:
        ev->kind = CALL_EV_INFO;
        return sig_client_info(m, fault);
    case SIG_CALL_UPGRADE:
        ev->kind = CALL_EV_UPGRADE;
        return 0;
    case SIG_CALL_STATE:
        ev->kind = CALL_EV_STATE;
        return sig_client_state(&ev->conn, m, fault);
    default: /* sig_decode() lets nothing else through */
        ev->kind = CALL_EV_SYNC;
        return 0;
    }
}

/* Whether the event is passed on, and whoever is to get it can't take it now. */
static bool overfills(const struct request *q, const struct call_event *ev)
{
    if (ev->kind != CALL_EV_CANDIDATES && ev->kind != CALL_EV_NEGOTIATE && ev->kind != CALL_EV_INFO)
        return false;
    struct slice user, device;
    if (!other_device(q, &user, &device))
        return false;
    const struct session *s = router_find_session(q->r, user, device);
    return s ? !router_has_room(q->r, s, ev->data.len)
             : router_far_full(q->r, &q->m->call_id, user, device, ev->data.len);
}

void router_call_request(const struct request *q)
{
    struct call_event ev = {0};
    struct sig_fault fault;

    if (!q->s->may_call)
        request_fail(q, SIG_ERR_FORBIDDEN, NULL);
    else if (router_far_hold(q))
        return;
    else if (q->m->type == SIG_CALL_INVITE)
        invite(q);
    else if (call_table_find(q->r->calls, &q->m->call_id))
        router_call_perform(q);
    else if (read_event(q, &ev, &fault) != 0)
        request_fail(q, fault.code, fault.text);
    else if (!router_far_ask(q) && !router_far_look(q))
        router_call_perform(q);
}

void router_call_perform(const struct request *q)
{
    struct call_event ev = {.user = request_user(q), .device = request_device(q)};
    struct router *r = q->r;
    struct sig_fault fault;
    char room[SIG_CALL_ID_TEXT + 1];

    if (read_event(q, &ev, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (ev.kind == CALL_EV_UPGRADE && !prepare_upgrade(q, room, &ev.data))
        return;
    if (overfills(q, &ev)) {
        counter_inc(&r->count.rate_limited);
        request_fail(q, SIG_ERR_OVERLOADED, "the other side does not keep up");
        return;
    }
    router_push_spoke(r, ev.user, ev.device, &q->m->call_id);
    call_table_event(r->calls, &q->m->call_id, &ev, &r->fx, r->now_us);
    perform(r, q);
    if (call_table_find(r->calls, &q->m->call_id))
        router_keep(r, &q->m->call_id); /* what is kept for later has no effects */
    if (ev.kind == CALL_EV_INFO)
        router_push_info(r, ev.user, ev.device, &q->m->call_id, q->m->data);
    if (q->s && (ev.kind == CALL_EV_ANSWER || ev.kind == CALL_EV_REJECT ||
                 ev.kind == CALL_EV_CANCEL || ev.kind == CALL_EV_HANGUP))
        router_update_in_call(r, q->s);
}

bool router_call_device(struct router *r, const struct sig_call_id *id, const struct call_event *ev,
                        bool can_wait)
{
    if (!call_table_device(r->calls, id, ev, can_wait, &r->fx, r->now_us))
        return false;
    perform(r, NULL);
    review(r, id);
    router_keep(r, id);
    return true;
}

void router_turn_request(const struct request *q)
{
    struct router *r = q->r;
    struct wr ice = wr_init(r->ice, sizeof(r->ice)), w = router_body(r);

    if (!q->s->may_call) {
        request_fail(q, SIG_ERR_FORBIDDEN, NULL);
        return;
    }
    ice_servers_write(&ice, r->conf, r->relays, q->m->call_id_text, user_id(q->s->user),
                      r->wall_us);
    if (ice.bad || slice_is(wr_done(&ice), "[]")) {
        request_fail(q, SIG_ERR_TURN_UNAVAILABLE, NULL);
        return;
    }
    sig_server_turn_reply(&w,
                          &(struct sig_head){.type = q->m->type,
                                             .re = q->m->id,
                                             .call_id = q->m->has_call_id ? &q->m->call_id : NULL},
                          wr_done(&ice), r->conf->turn.ttl_s * 1000);
    request_reply(q, &w);
}

void router_call_session(struct router *r, struct session *s, enum call_event_kind kind)
{
    const struct call_event ev = {
        .kind = kind, .user = user_id(s->user), .device = session_device(s)};
    bool gone = kind == CALL_EV_LOST || kind == CALL_EV_CLOSED || kind == CALL_EV_EXPIRED;
    struct call_walk walk = {.only = s->only_call ? &s->call : NULL};

    if (gone)
        router_push_session(r, s, kind);
    if (kind == CALL_EV_BACK)
        router_far_arrive(r, s);
    while (call_table_session(r->calls, &walk, &ev, s->can_wait, &r->fx, r->now_us)) {
        perform(r, NULL);
        router_keep(r, &walk.ids[walk.at - 1]);
        review(r, &walk.ids[walk.at - 1]); /* who has ended it may have had nobody to tell */
    }
    if (!gone)
        router_push_session(r, s, kind);
    router_far_session(r, s, kind);
    router_update_in_call(r, s);
}

void router_call_pushed(struct router *r, const struct push_news *news)
{
    if (call_table_push(r->calls, &news->call, news->awaits, news->reached, &r->fx, r->now_us))
        perform(r, NULL);
}

void router_call_tick(struct router *r)
{
    while (call_table_tick(r->calls, &r->fx, r->now_us))
        perform(r, NULL);
}

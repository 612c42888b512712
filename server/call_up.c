/* A call after the claim: two parties, connecting, active, reconnecting.
 *
 * Called by call.c with the caller or the winner as actor. Pure.
 *
 *     connecting --both report connected--> active           up_review
 *     active --a socket gone, media broken--> reconnecting    up_review
 *     reconnecting --both sockets there, both connected--> active
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_priv.h"

static int side_of(const struct call_actor *who)
{
    return who->role == CALL_ROLE_CALLER ? CALL_SIDE_CALLER : CALL_SIDE_CALLEE;
}

static struct call_fx *tell_side(struct call *c, int side, enum call_fx_kind kind,
                                 struct call_effects *out)
{
    return side == CALL_SIDE_CALLER ? call_tell_caller(c, kind, out)
                                    : call_tell_leg(c, c->winner, kind, out);
}

static void relay(struct call *c, const struct call_actor *who, enum sig_type type,
                  const struct call_event *ev, struct call_effects *out)
{
    struct call_fx *fx = tell_side(c, 1 - side_of(who), CALL_FX_RELAY, out);

    if (who->role == CALL_ROLE_CALLER)
        call_relay_as(fx, type, c->caller, c->caller_device, ev->data);
    else
        call_relay_as(fx, type, c->callee, call_leg_device(who->leg), ev->data);
}

static void tell_state(struct call *c, int side, enum sig_conn conn, struct call_effects *out)
{
    struct call_fx *fx = tell_side(c, side, CALL_FX_STATE, out);

    fx->state = c->state;
    fx->conn = conn;
}

static bool both_connected(const struct call *c)
{
    return c->party[0].media == SIG_CONN_CONNECTED && c->party[1].media == SIG_CONN_CONNECTED;
}

static bool broken(const struct call_party *p)
{
    return !p->online || p->media == SIG_CONN_DISCONNECTED || p->media == SIG_CONN_FAILED ||
           p->media == SIG_CONN_CLOSED;
}

static void enter_reconnecting(struct call *c, uint64_t now_us)
{
    c->state = SIG_CALL_RECONNECTING;
    c->reconnect_us = now_us + c->conf->reconnect_timeout_us;
}

/* Draws the conclusion from what has changed at `side`. conn: what it reported, for the peer;
 * SIG_CONN_COUNT: its socket changed. */
static void up_review(struct call *c, int side, enum sig_conn conn, struct call_effects *out,
                      uint64_t now_us)
{
    enum sig_call_state before = c->state;
    bool good = both_connected(c) && c->party[0].online && c->party[1].online;

    if (c->state == SIG_CALL_CONNECTING && both_connected(c)) {
        c->active_at_us = now_us;
        c->connect_us = CLOCK_NEVER;
        c->state = SIG_CALL_ACTIVE;
    } else if (c->state == SIG_CALL_RECONNECTING && good) {
        c->reconnect_us = CLOCK_NEVER;
        c->state = SIG_CALL_ACTIVE;
    }
    bool told = before != c->state;
    for (int s = 0; s < 2 && told; s++)
        tell_state(c, s, SIG_CONN_COUNT, out);
    for (int s = 0; s < 2 && c->state == SIG_CALL_ACTIVE; s++) {
        if (!broken(&c->party[s]))
            continue;
        enter_reconnecting(c, now_us);
        tell_state(c, 1 - s, s == side ? conn : SIG_CONN_COUNT, out);
        told = true;
    }
    if (!told && conn != SIG_CONN_COUNT && c->state != SIG_CALL_CONNECTING)
        tell_state(c, 1 - side, conn, out);
}

/* ---- requests ---- */

static void up_negotiate(struct call *c, const struct call_actor *who, const struct call_event *ev,
                         struct call_effects *out, uint64_t now_us)
{
    int side = side_of(who);
    enum sig_err err = call_offers_judge(&c->offers, side, &ev->negotiate, now_us);

    if (err != SIG_OK) {
        call_refuse(c, err, out);
        return;
    }
    call_reply(c, SIG_CALL_NEGOTIATE, out);
    relay(c, who, SIG_CALL_NEGOTIATE, ev, out);
    if (!ev->negotiate.fresh)
        return;
    /* Both make a new RTCPeerConnection: until both report again, there is no media. */
    c->party[0].media = c->party[1].media = SIG_CONN_NEW;
    if (c->state == SIG_CALL_ACTIVE) {
        enter_reconnecting(c, now_us);
        tell_state(c, 1 - side, SIG_CONN_NEW, out);
    }
}

static void up_hangup(struct call *c, struct call_actor *who, enum sig_type type,
                      enum sig_reason reason, struct call_effects *out, uint64_t now_us)
{
    struct call_fx *fx = call_reply(c, type, out);

    fx->state = SIG_CALL_OVER;
    call_end(c, reason, who, out, now_us);
    fx->duration_ms = c->duration_ms;
}

static void up_state(struct call *c, const struct call_actor *who, enum sig_conn conn,
                     struct call_effects *out, uint64_t now_us)
{
    struct call_party *p = &c->party[side_of(who)];

    if (p->media == conn)
        return;
    p->media = conn;
    up_review(c, side_of(who), conn, out, now_us);
}

/* The winner answers once more (its reply was lost with its session). */
static void up_answer_again(struct call *c, struct call_effects *out)
{
    struct call_fx *fx = call_reply(c, SIG_CALL_ANSWER, out);

    fx->state = c->state;
    fx->needs_ice = true;
}

/* Both go on in a room. The first to ask names it; asked again, it is the same. */
static void up_upgrade(struct call *c, const struct call_actor *who, const struct call_event *ev,
                       struct call_effects *out)
{
    bool agreed = c->room_len > 0;

    if (!agreed && ev->data.len == 0) { /* the other side has no session now */
        call_refuse(c, SIG_ERR_CALL_INVALID_STATE, out);
        return;
    }
    if (!agreed)
        call_set_room(c, ev->data);
    call_reply(c, SIG_CALL_UPGRADE, out)->room = call_room_id(c);
    if (agreed)
        return;
    struct call_fx *fx = tell_side(c, 1 - side_of(who), CALL_FX_UPGRADE, out);
    bool caller = who->role == CALL_ROLE_CALLER;
    call_relay_as(fx, SIG_CALL_UPGRADE, caller ? c->caller : c->callee,
                  caller ? c->caller_device : call_leg_device(who->leg), (struct slice){0});
    fx->room = call_room_id(c);
}

static void up_request(struct call *c, struct call_actor *who, const struct call_event *ev,
                       struct call_effects *out, uint64_t now_us)
{
    switch (ev->kind) {
    case CALL_EV_HANGUP:
        up_hangup(c, who, SIG_CALL_HANGUP, ev->reason, out, now_us);
        return;
    case CALL_EV_CANDIDATES:
        relay(c, who, SIG_CALL_CANDIDATES, ev, out);
        return;
    case CALL_EV_INFO:
        relay(c, who, SIG_CALL_INFO, ev, out);
        return;
    case CALL_EV_NEGOTIATE:
        up_negotiate(c, who, ev, out, now_us);
        return;
    case CALL_EV_STATE:
        up_state(c, who, ev->conn, out, now_us);
        return;
    case CALL_EV_UPGRADE:
        up_upgrade(c, who, ev, out);
        return;
    case CALL_EV_CANCEL: /* it crossed the answer: SIP CANCEL after a 2xx has no effect but BYE */
        if (who->role != CALL_ROLE_CALLER)
            break;
        up_hangup(c, who, SIG_CALL_CANCEL, SIG_REASON_HANGUP, out, now_us);
        return;
    case CALL_EV_ANSWER:
        if (who->role != CALL_ROLE_WINNER)
            break;
        up_answer_again(c, out);
        return;
    default:
        break;
    }
    call_refuse(c, SIG_ERR_CALL_INVALID_STATE, out);
}

/* ---- sessions ---- */

static void up_session(struct call *c, struct call_actor *who, enum call_event_kind kind,
                       struct call_effects *out, uint64_t now_us)
{
    struct call_party *p = &c->party[side_of(who)];
    bool online = kind == CALL_EV_BACK || kind == CALL_EV_NEW;

    if (kind == CALL_EV_CLOSED) {
        call_end(c, SIG_REASON_HANGUP, who, out, now_us);
        return;
    }
    if (kind == CALL_EV_DELIVERED || p->online == online)
        return;
    p->online = online;
    up_review(c, side_of(who), SIG_CONN_COUNT, out, now_us);
}

void call_up_recv(struct call *c, struct call_actor *who, const struct call_event *ev,
                  struct call_effects *out, uint64_t now_us)
{
    if (ev->kind <= CALL_EV_SYNC)
        up_request(c, who, ev, out, now_us);
    else
        up_session(c, who, ev->kind, out, now_us);
}

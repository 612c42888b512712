/* One session over its life: attached, without a socket, shown to others, ended.
 *
 *     hello --login.c--> attached <--resume-- detached --resume_ttl--> ended
 *                           +--router_detached()--^   +-- session.close, replaced, history lost
 *
 * Called by login.c (attach, end), client.c (detached) and router.c (ticks). The timer is lazy: it
 * is only ever brought forward and looks again when it fires. Pure. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "proto/sig_server.h"
#include "server/router_priv.h"

#define EXPIRY_WARNING_US (60 * US_PER_S)

/* The earliest thing that s waits for. */
static uint64_t session_deadline(const struct router *r, const struct session *s)
{
    uint64_t early = r->conf->auth.leeway_s * US_PER_S + EXPIRY_WARNING_US;
    uint64_t warn = s->expires_us > early ? s->expires_us - early : 0;
    uint64_t at, ack = reliable_deadline(&s->rel);

    if (s->ending || s->lost_untold)
        return r->now_us;
    if (!s->client) {
        at = s->gone_us + r->conf->session.resume_ttl_s * US_PER_S;
        uint64_t hide = s->gone_us + r->conf->session.presence_linger_s * US_PER_S;
        return s->shown && hide < at ? hide : at;
    }
    at = s->expiry_told ? s->expires_us : warn;
    return ack < at ? ack : at;
}

void router_arm(struct router *r, struct session *s)
{
    uint64_t at = session_deadline(r, s);

    /* Only ever forward: a timer that fires too early looks again and costs less than moving it
     * with every message. */
    if (!timer_is_set(&s->timer) || at < s->timer.deadline_us)
        timer_set(r->session_wheel, &s->timer, at);
}

void router_show(struct router *r, struct session *s)
{
    struct presence_entry e = {.user = user_id(s->user),
                               .device = session_device(s),
                               .generation = s->generation,
                               .state = s->state,
                               .attached = s->client != NULL,
                               .call_waiting = s->can_wait,
                               .rooms = s->can_rooms};

    memcpy(e.session, s->id, sizeof(e.session));
    s->shown = e.attached;
    /* A failure leaves others with an older state until the next change: soft state. */
    (void)presence_put(r->presence, &e, r->now_us);
}

void router_attached(struct router *r, struct session *s, struct client *c)
{
    s->client = c;
    s->gone_us = CLOCK_NEVER;
    s->generation++;
    s->lost_untold = false;
    c->session = s;
    ws_set_max(&c->ws, SIG_LARGE_BYTES);
    client_rearm(c);
    router_saves_whole(r, s);
    router_show(r, s);
    router_arm(r, s);
}

void router_detached(struct router *r, struct session *s)
{
    s->client = NULL;
    s->gone_us = r->now_us;
    s->lost_untold = true;
    router_saves_whole(r, s);
    router_arm(r, s);
}

void router_end(struct router *r, struct session *s, enum call_event_kind event)
{
    struct client *c = s->client;

    s->ending = true;
    if (event != CALL_EV_COUNT)
        router_call_session(r, s, event);
    else
        router_far_session(r, s, event);
    if (event == CALL_EV_COUNT) /* a newer session may take the seats over by joining again */
        router_room_session(r, s, ROOM_SESSION_REPLACED, ROOM_REASON_NONE);
    else
        router_room_session(r, s, ROOM_SESSION_ENDED,
                            event == CALL_EV_CLOSED ? ROOM_REASON_LEFT : ROOM_REASON_EXPIRED);
    if (c) {
        s->client = NULL; /* so that closing does not detach it */
        client_close(c, event == CALL_EV_COUNT ? SIG_CLOSE_REPLACED : SIG_CLOSE_NORMAL);
    }
    timer_cancel(r->session_wheel, &s->timer);
    presence_unwatch_all(r->presence, &s->watcher);
    presence_remove(r->presence, user_id(s->user), session_device(s), s->id, s->generation,
                    r->now_us);
    router_saves_end(r, s);
    session_free(r->sessions, s);
    counter_sub(&r->count.sessions, 1);
}

void router_replaced(void *arg, struct slice user, struct slice device,
                     const uint8_t session[PRESENCE_SESSION_BYTES])
{
    struct router *r = arg;
    struct session *s = session_by_id(r->sessions, session);

    if (s && slice_eq(user_id(s->user), user) && slice_eq(session_device(s), device))
        router_end(r, s, CALL_EV_COUNT);
}

static void send_ack(struct session *s)
{
    uint8_t text[64];
    struct wr w = wr_init(text, sizeof(text));

    sig_server_ack(&w, reliable_take_ack(&s->rel));
    client_send(s->client, wr_done(&w));
}

static void warn_expiry(struct router *r, struct session *s)
{
    uint64_t left = s->expires_us > r->now_us ? s->expires_us - r->now_us : 0;
    uint64_t leeway = r->conf->auth.leeway_s * US_PER_S;
    struct wr w = router_body(r);

    s->expiry_told = true;
    sig_server_auth_expiring(&w, (left > leeway ? left - leeway : 0) / US_PER_MS);
    router_send_plain(r, s->client, &w);
}

/* Does what is due for one session; may free it. */
void router_session_tick(struct router *r, struct session *s)
{
    if (s->lost_untold) {
        s->lost_untold = false;
        router_call_session(r, s, CALL_EV_LOST);
        router_room_session(r, s, ROOM_SESSION_LOST, ROOM_REASON_NONE);
    }
    if (s->ending ||
        (!s->client && r->now_us - s->gone_us >= r->conf->session.resume_ttl_s * US_PER_S)) {
        router_end(r, s, CALL_EV_EXPIRED);
        return;
    }
    if (!s->client && s->shown &&
        r->now_us - s->gone_us >= r->conf->session.presence_linger_s * US_PER_S)
        router_show(r, s);
    if (s->client && reliable_deadline(&s->rel) <= r->now_us) {
        send_ack(s);
        router_saves(r, s); /* the client forgets what it was told is here */
    }
    if (s->client && r->now_us >= s->expires_us)
        client_close(s->client, SIG_CLOSE_AUTH);
    else if (s->client && !s->expiry_told && session_deadline(r, s) <= r->now_us)
        warn_expiry(r, s);
    router_arm(r, s);
}

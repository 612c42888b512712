/* The people of call_sim.c: what a device believes after each message, and what it does next.
 *
 * Included by call_sim.c only. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_SIM_CALL_PEOPLE_H
#define SORI_TESTS_SIM_CALL_PEOPLE_H

#include "tests/sim/call_world.h"

/* ---- hearing ---- */

static inline void receive_error(struct device *d, const struct notice *n)
{
    if (n->type != SIG_UNKNOWN)
        return;
    switch (n->err) {
    case SIG_ERR_CALL_ENDED:
    case SIG_ERR_CALL_NOT_FOUND:
    case SIG_ERR_CALL_ALREADY_ANSWERED:
    case SIG_ERR_CALL_BUSY:
    case SIG_ERR_CALL_TOO_MANY:
    case SIG_ERR_CALLEE_UNREACHABLE:
    case SIG_ERR_OVERLOADED:
    case SIG_ERR_BAD_REQUEST:
        if (n->err != SIG_ERR_OVERLOADED || d->belief[n->call] == B_DIALING)
            d->belief[n->call] = B_OVER;
        break;
    default:
        break;
    }
}

/* Its media come up soon after. */
static inline void come_up(struct device *d, int call)
{
    d->belief[call] = B_UP;
    if (d->up_n < QUEUE_MAX)
        d->up[d->up_n++] =
            (struct request){.kind = CALL_EV_STATE, .call = call, .conn = SIG_CONN_CONNECTED};
}

static inline void receive_reply(struct device *d, const struct notice *n)
{
    switch (n->type) {
    case SIG_CALL_INVITE:
        if (n->glare) {
            d->belief[n->call] = B_OVER;
            d->belief[n->merged_into] = B_ALERTING;
            if (d->up_n < QUEUE_MAX)
                d->up[d->up_n++] = (struct request){.kind = CALL_EV_ANSWER, .call = n->merged_into};
        } else {
            d->belief[n->call] = n->state <= SIG_CALL_RINGS ? B_DIALING : B_UP;
        }
        break;
    case SIG_CALL_ANSWER:
        come_up(d, n->call);
        break;
    case SIG_CALL_REJECT:
    case SIG_CALL_CANCEL:
    case SIG_CALL_HANGUP:
        d->belief[n->call] = B_OVER;
        break;
    default:
        break;
    }
}

static inline void receive_welcome(struct device *d, uint64_t live)
{
    for (int c = 0; c < CALLS_MAX; c++) {
        if (!(live >> c & 1))
            d->belief[c] = d->belief[c] == B_NONE ? B_NONE : B_OVER;
        else if (d->belief[c] == B_NONE || d->belief[c] == B_OVER)
            d->belief[c] = B_UP;
    }
}

static inline void receive(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];
    struct notice n = d->down[0];

    memmove(d->down, d->down + 1, --d->down_n * sizeof(d->down[0]));
    if (n.what == N_WELCOME) {
        receive_welcome(d, n.live);
        return;
    }
    switch (n.kind) {
    case CALL_FX_REPLY:
        receive_reply(d, &n);
        break;
    case CALL_FX_ERROR:
        receive_error(d, &n);
        break;
    case CALL_FX_INCOMING:
        d->belief[n.call] = B_ALERTING;
        if (chance(s, 90) && d->up_n < QUEUE_MAX)
            d->up[d->up_n++] = (struct request){.kind = CALL_EV_RINGING, .call = n.call};
        break;
    case CALL_FX_ACCEPTED:
        come_up(d, n.call);
        break;
    case CALL_FX_ENDED:
        d->belief[n.call] = B_OVER;
        break;
    default:
        break;
    }
}

/* ---- doing ---- */

static inline void push_up(struct sim *s, int dev, struct request req)
{
    struct device *d = &s->dev[dev];
    unsigned copies = chance(s, 5) ? 2 : 1;

    for (; copies > 0 && d->up_n < QUEUE_MAX; copies--)
        d->up[d->up_n++] = req;
}

static inline void act_invite(struct sim *s, int dev)
{
    int to = (int)below(s, (unsigned)s->users_n);

    if (to == s->dev[dev].user && chance(s, 90))
        to = (to + 1) % s->users_n;
    if (s->calls_n == CALLS_MAX)
        return;
    struct request req = {.invite = true, .call = s->calls_n++, .to_user = to};
    s->dev[dev].belief[req.call] = B_DIALING;
    push_up(s, dev, req);
}

static inline struct request alerting(struct sim *s, int call)
{
    static const enum sig_reason reasons[] = {SIG_REASON_DECLINED, SIG_REASON_BUSY,
                                              SIG_REASON_NEED_PERMISSION, SIG_REASON_MEDIA_FAILED};
    struct request req = {.call = call};
    unsigned what = below(s, 100);

    req.kind = what < 10   ? CALL_EV_RINGING
               : what < 45 ? CALL_EV_ANSWER
               : what < 60 ? CALL_EV_REJECT
               : what < 95 ? CALL_EV_CANDIDATES
                           : CALL_EV_SYNC;
    req.reject.device_only = chance(s, 60);
    req.reject.reason = reasons[below(s, ARRAY_LEN(reasons))];
    return req;
}

static inline struct request connected(struct sim *s, int call)
{
    struct request req = {.call = call};
    unsigned what = below(s, 100);

    req.kind = what < 30   ? CALL_EV_STATE
               : what < 50 ? CALL_EV_CANDIDATES
               : what < 75 ? CALL_EV_NEGOTIATE
               : what < 80 ? CALL_EV_INFO
               : what < 84 ? CALL_EV_HANGUP
               : what < 86 ? CALL_EV_CANCEL
               : what < 96 ? CALL_EV_ANSWER
                           : CALL_EV_SYNC;
    req.conn = chance(s, 70) ? SIG_CONN_CONNECTED : (enum sig_conn)below(s, SIG_CONN_COUNT);
    req.sdp = chance(s, 50) ? SIG_SDP_OFFER : (enum sig_sdp)below(s, 3);
    req.fresh = req.sdp == SIG_SDP_OFFER && chance(s, 10);
    return req;
}

/* Something a right client would not do. */
static inline struct request nonsense(struct sim *s)
{
    struct request req = connected(s, (int)below(s, (unsigned)s->calls_n + 1));

    req.kind = (enum call_event_kind)below(s, CALL_EV_SYNC + 1);
    req.reject.reason = SIG_REASON_DECLINED;
    req.call = req.call < CALLS_MAX ? req.call : 0;
    return req;
}

static inline void act(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];
    int call = s->calls_n > 0 ? (int)below(s, (unsigned)s->calls_n) : 0;

    if (!d->session || d->up_n > QUEUE_MAX / 2)
        return;
    for (int i = 0; i < s->calls_n && (d->belief[call] == B_NONE || d->belief[call] == B_OVER); i++)
        call = (call + 1) % s->calls_n; /* mostly a call that is on */
    if (chance(s, 3)) {
        push_up(s, dev, nonsense(s));
        return;
    }
    switch (d->belief[call]) {
    case B_DIALING:
        push_up(s, dev,
                (struct request){.call = call,
                                 .kind = chance(s, 15) ? CALL_EV_CANCEL : CALL_EV_CANDIDATES});
        break;
    case B_ALERTING:
        push_up(s, dev, alerting(s, call));
        break;
    case B_UP:
        push_up(s, dev, connected(s, call));
        break;
    default:
        break;
    }
    if (chance(s, d->belief[call] == B_NONE || d->belief[call] == B_OVER ? 30 : 3))
        act_invite(s, dev);
}

#endif

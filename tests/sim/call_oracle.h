/* What must be true of every effect and after every step of the call table, told from outside: the
 * oracle keeps its own small model of each call and never asks the machine why.
 *
 * Included by call_sim.c only. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_SIM_CALL_ORACLE_H
#define SORI_TESTS_SIM_CALL_ORACLE_H

#include <stdio.h>

#include "server/call_table.h"

enum { DEVS_MAX = 12, CALLS_MAX = 48, WHY_MAX = 160 };

/* One device's part in one call, as told by effects. */
struct leg_model {
    bool told;   /* call.incoming, or the glare reply, went to its present session */
    bool closed; /* and so did the one final reason */
    enum sig_reason reason;
    unsigned next_n; /* number of the next candidate message it must get */
};

struct call_model {
    bool made, rang, accepted, over;
    int caller, callee_user, winner; /* device, user, device */
    enum sig_call_state state;
    uint64_t state_us, made_us, deadline_us;
    unsigned sent[DEVS_MAX]; /* candidate messages that the server took from a device */
    unsigned caller_next;    /* number of the next one that the caller must get */
    bool caller_closed;
    enum sig_reason caller_reason;
    struct leg_model leg[DEVS_MAX];
};

/* What the runs have seen: a scenario that never happens is not tested. */
struct coverage {
    unsigned ended[SIG_REASON_COUNT], states[SIG_CALL_STATE_COUNT], errors[SIG_ERR_COUNT], glare;
};

struct oracle {
    struct coverage *seen;
    const struct call_table_conf *conf;
    struct call_model call[CALLS_MAX];
    int user_of[DEVS_MAX];
    bool has_session[DEVS_MAX];
    char why[WHY_MAX]; /* the first violation; empty = none */
    unsigned checks;
};

static inline int call_index(const struct sig_call_id *id)
{
    return id->b[0] << 8 | id->b[1];
}

static inline void violate(struct oracle *o, const char *what, int call, int dev)
{
    if (o->why[0] == '\0')
        (void)snprintf(o->why, sizeof(o->why), "%s (call %d, device %d)", what, call, dev);
}

static inline void must(struct oracle *o, bool ok, const char *what, int call, int dev)
{
    o->checks++;
    if (!ok)
        violate(o, what, call, dev);
}

/* A payload's tag: who made it and its number ("d3 n7"). */
struct tag {
    int dev;
    unsigned n;
};

static inline void oracle_closed(struct oracle *o, int call, int dev, enum sig_reason reason)
{
    struct call_model *m = &o->call[call];

    if (dev == m->caller) {
        must(o, !m->caller_closed, "caller gets a second final reason", call, dev);
        m->caller_closed = true;
        m->caller_reason = reason;
        return;
    }
    struct leg_model *l = &m->leg[dev];
    must(o, l->told, "a device that was never told of the call gets its end", call, dev);
    must(o, !l->closed, "leg gets a second final reason", call, dev);
    l->closed = true;
    l->reason = reason;
}

/* The glare reply and call.incoming make a leg. */
static inline void oracle_told(struct oracle *o, int call, int dev)
{
    struct call_model *m = &o->call[call];

    must(o, o->user_of[dev] == m->callee_user, "another user's device rings", call, dev);
    must(o, dev != m->caller, "the caller's own device rings", call, dev);
    m->leg[dev] = (struct leg_model){.told = true};
}

/* A candidate, negotiation or info that reaches `to`. */
static inline void oracle_relay(struct oracle *o, const struct call_fx *fx, int call, int to,
                                struct tag tag)
{
    struct call_model *m = &o->call[call];

    if (to == m->caller) {
        must(o, m->accepted, "the callee's data reaches the caller before the claim", call, to);
        must(o, tag.dev == m->winner, "data of a loser reaches the caller", call, to);
    } else {
        must(o, !o->has_session[to] || (m->leg[to].told && !m->leg[to].closed),
             "data for a leg that is over", call, to);
        must(o, tag.dev == m->caller, "data of one leg reaches another", call, to);
        must(o, !m->accepted || to == m->winner, "data for a loser after the claim", call, to);
    }
    if (fx->type != SIG_CALL_CANDIDATES)
        return;
    unsigned *next = to == m->caller ? &m->caller_next : &m->leg[to].next_n;
    must(o, tag.n == *next, "candidates out of order, lost or doubled", call, to);
    *next = tag.n + 1;
}

/* One effect for a device (not a reply). */
static inline void oracle_effect(struct oracle *o, const struct call_fx *fx, int to, struct tag tag,
                                 uint64_t now_us)
{
    int call = call_index(&fx->call_id);
    struct call_model *m = &o->call[call];

    must(o, m->made, "effect of a call that was never made", call, to);
    must(o, !m->over, "effect after the end", call, to);
    switch (fx->kind) {
    case CALL_FX_INCOMING:
        must(o, !m->accepted, "rings after the claim", call, to);
        must(o, now_us + fx->expires_in_ms * US_PER_MS <= m->deadline_us,
             "rings beyond the deadline", call, to);
        oracle_told(o, call, to);
        break;
    case CALL_FX_RINGING:
        must(o, to == m->caller && !m->rang && !m->accepted, "ringing told twice or late", call,
             to);
        must(o, fx->from_device.len == 0 && fx->data_raw.len == 0, "ringing names a device", call,
             to);
        m->rang = true;
        break;
    case CALL_FX_ACCEPTED:
        must(o, to == m->caller && !m->accepted, "accepted twice", call, to);
        m->accepted = true;
        m->winner = tag.dev;
        break;
    case CALL_FX_ENDED:
        if (!o->has_session[to])
            break; /* nobody hears it */
        must(o, to != m->caller || !m->caller_closed, "ended twice", call, to);
        oracle_closed(o, call, to, fx->reason);
        must(o, !fx->missed || to != m->caller, "the caller has missed his own call", call, to);
        must(o, !fx->missed || !m->accepted, "an answered call is missed", call, to);
        break;
    case CALL_FX_RELAY:
        oracle_relay(o, fx, call, to, tag);
        break;
    case CALL_FX_STATE:
        must(o, m->accepted, "call.state before the claim", call, to);
        must(o, to == m->caller || to == m->winner, "call.state for a stranger", call, to);
        break;
    case CALL_FX_UPGRADE:
        must(o, m->accepted, "call.upgrade before the claim", call, to);
        must(o, to == m->caller || to == m->winner, "call.upgrade for a stranger", call, to);
        break;
    default:
        violate(o, "a reply for somebody else", call, to);
    }
}

/* How long a call may stay in a state. */
static inline uint64_t oracle_longest(const struct call_conf *c, enum sig_call_state s)
{
    switch (s) {
    case SIG_CALL_INVITING:
    case SIG_CALL_RINGS:
        return c->ring_timeout_us;
    case SIG_CALL_CONNECTING:
        return c->connect_timeout_us;
    case SIG_CALL_RECONNECTING:
        return c->reconnect_timeout_us;
    default:
        return c->max_duration_us;
    }
}

/* The call has ended in this step: everybody knows why, and both parties say the same. */
static inline void oracle_over(struct oracle *o, int call, enum sig_reason reason)
{
    struct call_model *m = &o->call[call];

    o->seen->ended[reason]++;
    m->over = true;
    for (int d = 0; d < DEVS_MAX; d++)
        if (o->has_session[d] && m->leg[d].told)
            must(o, m->leg[d].closed, "a device that was told of the call is not told its end",
                 call, d);
    if (o->has_session[m->caller])
        must(o, m->caller_closed, "the caller is not told the end", call, m->caller);
    if (m->accepted && m->caller_closed && m->leg[m->winner].closed)
        must(o, m->caller_reason == m->leg[m->winner].reason, "caller and winner disagree", call,
             m->winner);
}

/* After each step, for each call. */
static inline void oracle_step(struct oracle *o, const struct call_table *t, int call,
                               uint64_t now_us)
{
    struct call_model *m = &o->call[call];
    struct sig_call_id id = {.b = {(uint8_t)(call >> 8), (uint8_t)call, 0x5A}};
    const struct call *c = m->made ? call_table_find(t, &id) : NULL;

    if (!m->made)
        return;
    if (!c) {
        must(o, m->over, "a live call was forgotten", call, -1);
        return;
    }
    enum sig_call_state s = call_state(c);
    must(o, !m->over || s == SIG_CALL_OVER, "an ended call lives again", call, -1);
    must(o, !m->accepted || s >= SIG_CALL_CONNECTING, "rings again after the claim", call, -1);
    must(o, m->accepted || s <= SIG_CALL_RINGS || s == SIG_CALL_OVER, "up without a claim", call,
         -1);
    if (s == SIG_CALL_OVER && !m->over)
        oracle_over(o, call, call_ended_reason(c));
    bool both_ring = s <= SIG_CALL_RINGS && m->state <= SIG_CALL_RINGS;
    if (s != m->state && !both_ring)
        m->state_us = now_us;
    o->seen->states[s] += s != m->state;
    m->state = s;
    if (s != SIG_CALL_OVER) /* 1 ms: the wheel's resolution */
        must(o, now_us <= m->state_us + oracle_longest(&o->conf->call, s) + US_PER_MS,
             "outlives its deadline", call, -1);
}

#endif

/* What an answer of Apple leads to, and what it teaches of key, topic and connection.
 *
 * Called by the pool, as the end of a request (apns_flight_answer). Pure. The table of reactions is
 * in apns_reason.c; each cause of a second try has a budget of one (enum apns_second).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_priv.h"

#include "base/log.h"
#include "base/rand.h"

#define FAILURES_MAX 3 /* 5xx in a row on one connection: it is replaced */
#define LOG_PER_S    2

static void on_accepted(struct apns_flight *f, const struct apns_try *t)
{
    struct apns *a = f->apns;
    struct apns_guard *g = &f->app->guard[f->env == APNS_SANDBOX];
    bool tripped = g->tripped;

    if (apns_lane_ident(a, t->lane)->token)
        apns_token_accepted(apns_lane_ident(a, t->lane)->token, t->gen);
    apns_guard_accept(g, a->now_us);
    if (tripped)
        apns_set_trouble(a);
}

static bool guard_rejects(struct apns_flight *f, enum apns_env env)
{
    struct apns *a = f->apns;
    struct apns_guard *g = &f->app->guard[env == APNS_SANDBOX];
    bool before = g->tripped;
    uint64_t since_us;

    if (!apns_guard_reject(g, f->token_hash, a->now_us, &since_us))
        return false;
    if (!before) {
        counter_inc(&a->count.guards);
        log_error("apns",
                  "%.*s, %s: all tokens are rejected and none was accepted; is the topic or the "
                  "environment wrong? No token is marked bad",
                  SLICE_FMT(f->app->topic), apns_env_name(env));
        apns_set_trouble(a);
        if (a->ops->doubt)
            a->ops->doubt(a->arg, f->app->topic, env, since_us);
    }
    return true;
}

static void on_bad_token(struct apns_flight *f)
{
    enum apns_env other = f->env == APNS_SANDBOX ? APNS_PRODUCTION : APNS_SANDBOX;
    bool mass;

    if (f->asked == APNS_ENV_UNKNOWN && !(f->spent & SECOND_ENV) &&
        apns_topic_key(f->app, other) >= 0) {
        f->env = other;
        if (!apns_flight_again(f, SECOND_ENV, &f->apns->count.retries_env, f->apns->now_us))
            apns_flight_end(f, APNS_GAVE_UP, APNS_WHY_DEADLINE);
        return;
    }
    mass = guard_rejects(f, f->env);
    if (f->spent & SECOND_ENV)
        mass |= guard_rejects(f, other);
    apns_flight_end(f, mass ? APNS_REJECTED : APNS_TOKEN_BAD, mass ? APNS_WHY_MASS : APNS_WHY_NONE);
}

/* The provider token was refused. */
static void on_jwt(struct apns_flight *f, const struct apns_try *t, unsigned conn)
{
    struct apns *a = f->apns;
    struct apns_ident *k = apns_lane_ident(a, t->lane);
    bool expired = f->last.what == APNS_DO_NEW_JWT;

    /* Once a connection has said so it says so of every push, whatever token that has. */
    apns_retire(a, t->lane, conn);
    if (k->token && (expired || f->last.reason == APNS_InvalidProviderToken) &&
        apns_token_refused(k->token, t->gen, expired, a->now_us, a->wall_us)) {
        f->avoid = conn;
        if (apns_flight_again(f, SECOND_TOKEN, &a->count.retries_token, a->now_us))
            return;
    }
    apns_key_stop(a, k, f->last.reason);
    apns_flight_end(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_old_jwt(struct apns_flight *f, const struct apns_try *t)
{
    struct apns *a = f->apns;
    struct apns_ident *k = apns_lane_ident(a, t->lane);

    if (k->token && apns_token_too_often(k->token, t->gen, a->now_us, a->wall_us) &&
        apns_flight_again(f, SECOND_TOKEN, &a->count.retries_token, a->now_us))
        return;
    apns_flight_end(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_failure(struct apns_flight *f, const struct apns_try *t, unsigned conn)
{
    struct apns *a = f->apns;
    struct apns_lane *l = &apns_lane_ident(a, t->lane)->lanes[apns_lane_class(t->lane)];
    uint64_t pause_us = APNS_RETRY_MIN_US + rand_below(APNS_RETRY_MAX_US - APNS_RETRY_MIN_US + 1);

    if (l->failed_conn != conn)
        *l = (struct apns_lane){.failed_conn = conn};
    l->failures++;
    if (f->last.what == APNS_DO_RETIRE || l->failures >= FAILURES_MAX)
        apns_retire(a, t->lane, conn);
    if (apns_flight_out(f) > 0)
        return; /* the other request may do better */
    f->avoid = conn;
    if (!apns_flight_again(f, SECOND_SERVER, &a->count.retries_server, a->now_us + pause_us))
        apns_flight_end(f, APNS_GAVE_UP, APNS_WHY_SERVER);
}

static void on_reconnect(struct apns_flight *f, const struct apns_try *t, unsigned conn)
{
    apns_retire(f->apns, t->lane, conn);
    f->avoid = conn;
    if (!apns_flight_again(f, SECOND_CONN, &f->apns->count.retries_conn, f->apns->now_us))
        apns_flight_end(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_busy(struct apns_flight *f)
{
    struct apns *a = f->apns;

    /* A call can't wait so long; the callee's other devices ring. */
    if (push_kind_urgent(f->kind) ||
        !apns_flight_again(f, SECOND_BUSY, &a->count.retries_busy, a->now_us + APNS_BUSY_US))
        apns_flight_end(f, APNS_GAVE_UP, APNS_WHY_BUSY);
}

static void on_too_large(struct apns_flight *f)
{
    f->brief = true;
    if (!apns_flight_again(f, SECOND_SHORT, &f->apns->count.retries_short, f->apns->now_us))
        apns_flight_end(f, APNS_REJECTED, APNS_WHY_CONTENT);
}

static void log_reason(struct apns_flight *f, const char *what)
{
    struct apns *a = f->apns;

    if (log_allow(&a->log_reason, LOG_PER_S, a->now_us))
        log_warn("apns", "%s to %.*s, %s: %s: %u %s (%u more like this)", push_kind_name(f->kind),
                 SLICE_FMT(f->app->topic), apns_env_name(f->env), what, f->last.status,
                 apns_reason_name(f->last.reason), a->log_reason.suppressed);
}

/* What a whole answer leads to. f may be gone afterwards. */
static void judge(struct apns_flight *f, const struct apns_try *t, unsigned conn)
{
    switch (f->last.what) {
    case APNS_DO_ACCEPT:
        apns_flight_end(f, APNS_ACCEPTED, APNS_WHY_NONE);
        break;
    case APNS_DO_BAD_TOKEN:
        on_bad_token(f);
        break;
    case APNS_DO_GONE:
        apns_flight_end(f, APNS_TOKEN_GONE, APNS_WHY_NONE);
        break;
    case APNS_DO_PARK:
        log_reason(f, "the token is another app's");
        apns_flight_end(f, APNS_TOKEN_PARKED, APNS_WHY_NONE);
        break;
    case APNS_DO_RECONNECT:
        on_reconnect(f, t, conn);
        break;
    case APNS_DO_NEW_JWT:
    case APNS_DO_STOP:
        on_jwt(f, t, conn);
        break;
    case APNS_DO_OLD_JWT:
        log_reason(f, "the provider token changes too often; does another server use the key?");
        on_old_jwt(f, t);
        break;
    case APNS_DO_SHORTEN:
        on_too_large(f);
        break;
    case APNS_DO_WAIT:
        on_busy(f);
        break;
    case APNS_DO_RETRY:
    case APNS_DO_RETIRE:
        on_failure(f, t, conn);
        break;
    case APNS_DO_DROP:
        log_reason(f, "refused");
        apns_flight_end(f, APNS_REJECTED, APNS_WHY_NONE);
        break;
    }
}

/* What every answer teaches, also one that comes after the verdict. */
static void learn(struct apns_flight *f, const struct apns_try *t, const struct apns_answer *answer,
                  unsigned conn)
{
    struct apns *a = f->apns;
    struct apns_ident *k = apns_lane_ident(a, t->lane);
    struct apns_lane *l = &k->lanes[apns_lane_class(t->lane)];

    counter_inc(&a->count.answers[k->env == APNS_SANDBOX][answer->reason]);
    if (answer->status < 500 && l->failed_conn == conn)
        l->failures = 0;
    if (answer->what == APNS_DO_ACCEPT)
        on_accepted(f, t);
    if (answer->status < 500 && answer->what != APNS_DO_STOP && answer->what != APNS_DO_NEW_JWT &&
        answer->what != APNS_DO_OLD_JWT)
        apns_key_works(a, k);
}

/* A request ended without an answer. */
static void no_answer(struct apns_flight *f, const struct h2_response *r)
{
    static const enum apns_why whys[] = {[H2_UNCERTAIN] = APNS_WHY_UNCERTAIN,
                                         [H2_LATE] = APNS_WHY_DEADLINE,
                                         [H2_REFUSED] = APNS_WHY_SERVER,
                                         [H2_NO_CONNECTION] = APNS_WHY_NO_CONNECTION};

    if (r->outcome == H2_UNCERTAIN)
        counter_inc(&f->apns->count.uncertain);
    f->maybe_done |= r->maybe_done;
    if (apns_flight_out(f) > 0 || f->retry_us != CLOCK_NEVER)
        return;
    /* The pool has sent it twice. Doubled is harmless: all have the same apns-id and call id. */
    if (r->outcome != H2_UNCERTAIN ||
        !apns_flight_again(f, SECOND_LOST, &f->apns->count.retries_lost,
                           f->apns->now_us + APNS_RETRY_MIN_US))
        apns_flight_end(f, APNS_GAVE_UP, whys[r->outcome]);
}

void apns_flight_answer(void *ctx, const struct h2_response *r)
{
    struct apns_try *t = ctx;
    struct apns_flight *f = t->flight;
    struct apns *a = f->apns;

    if (r->answered_us > a->now_us)
        apns_clock(a, r->answered_us, a->wall_us + (r->answered_us - a->now_us));
    t->out = false;
    if (r->outcome == H2_ANSWERED) {
        struct apns_answer answer = apns_answer_read(r->status, r->body);
        learn(f, t, &answer, r->conn);
        if (!f->over) {
            f->last = answer;
            judge(f, t, r->conn);
            return;
        }
    } else if (!f->over) {
        no_answer(f, r);
        return;
    }
    if (apns_flight_out(f) == 0)
        apns_flight_free(f);
}

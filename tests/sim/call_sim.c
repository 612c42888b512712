/* Simulator of the call table in virtual time: random devices, orders, losses and reconnects, with
 * the oracle's invariants (call_oracle.h) checked after each step.
 *
 *     call_sim [--seeds N] [--start S]     runs N seeds (default 10,000) from S (default 1)
 *     call_sim --seed S -v                 runs one seed again and prints every step
 *
 * Replay: a violation prints its seed and what was violated; `call_sim --seed S -v` shows the same
 * run, step by step, on any machine. The exit code is 1 after a violation.
 *
 * The session layer is modelled by its promise: messages of a device arrive in order, exactly once,
 * while its session lives, whatever happens to its sockets; a new session has lost everything.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/sim/call_people.h"

/* ---- payload tags: {"d":3,"n":7} ---- */

static struct slice tag_write(char buf[TEXT_MAX], int dev, unsigned n)
{
    int len = snprintf(buf, TEXT_MAX, "{\"d\":%d,\"n\":%u}", dev, n);

    return slice_of(buf, (size_t)len);
}

static struct tag tag_read(struct slice data)
{
    struct tag t = {-1, 0};
    char buf[TEXT_MAX];

    if (slice_to_cstr(data, buf, sizeof(buf)) == 0 && strncmp(buf, "{\"d\":", 5) == 0) {
        char *end = NULL;
        t.dev = (int)strtol(buf + 5, &end, 10);
        t.n = (unsigned)strtoul(end + 5, NULL, 10);
    }
    return t;
}

static struct sig_call_id id_of(int call)
{
    return (struct sig_call_id){.b = {(uint8_t)(call >> 8), (uint8_t)call, 0x5A}};
}

/* ---- server side ---- */

static void push_down(struct sim *s, int dev, const struct notice *n)
{
    struct device *d = &s->dev[dev];

    if (d->session && d->down_n < QUEUE_MAX)
        d->down[d->down_n++] = *n;
    else if (d->session)
        violate(&s->oracle, "simulator: queue full", n->call, dev);
}

static struct notice notice_of(const struct call_fx *fx)
{
    return (struct notice){.what = N_FX,
                           .kind = fx->kind,
                           .type = fx->type,
                           .err = fx->err,
                           .call = call_index(&fx->call_id),
                           .merged_into = fx->glare ? call_index(&fx->merged_into) : -1,
                           .glare = fx->glare,
                           .state = fx->state};
}

/* The reply or error that the requester gets: what it means for the oracle. */
static void check_reply(struct sim *s, const struct call_fx *fx, int from,
                        const struct request *req)
{
    struct oracle *o = &s->oracle;
    int call = call_index(&fx->call_id);

    if (fx->kind == CALL_FX_ERROR) {
        const struct call_model *m = &o->call[call];
        bool lost = m->accepted && !m->over && m->leg[from].told && from != m->winner;
        o->seen->errors[fx->err]++;
        must(o, !lost || req->invite || fx->err == SIG_ERR_CALL_ALREADY_ANSWERED,
             "a loser hears something else than who has won", call, from);
        must(o, fx->err != SIG_ERR_INTERNAL, "internal error", call, from);
        return;
    }
    if (req->invite && fx->glare) {
        o->seen->glare++;
        struct call_model *m = &o->call[call_index(&fx->merged_into)];
        must(o, !m->over && !m->accepted, "glare into a call that does not ring", call, from);
        if (!m->leg[from].told || m->leg[from].closed)
            oracle_told(o, call_index(&fx->merged_into), from);
    } else if (req->invite) {
        must(o, fx->expires_in_ms <= s->conf.call.ring_timeout_us / US_PER_MS, "expires too late",
             call, from);
    } else if (req->kind == CALL_EV_ANSWER) {
        must(o, !o->call[call].accepted || o->call[call].winner == from, "a second winner", call,
             from);
    } else if (req->kind == CALL_EV_REJECT) {
        oracle_closed(o, call, from, req->reject.reason);
        o->call[call].sent[from] = 0; /* what it had sent is forgotten with it */
    } else if (req->kind == CALL_EV_CANCEL || req->kind == CALL_EV_HANGUP) {
        oracle_closed(o, call, from,
                      o->call[call].accepted ? SIG_REASON_HANGUP : SIG_REASON_CANCELLED);
    }
}

static void check_calls(struct sim *s)
{
    for (int c = 0; c < s->calls_n; c++)
        oracle_step(&s->oracle, s->table, c, s->now_us);
    must(&s->oracle, call_table_count(s->table) <= s->conf.calls, "more calls than allowed", -1,
         -1);
}

/* Hands the effects out. from: the requester, or -1. */
static void perform(struct sim *s, int from, const struct request *req)
{
    unsigned answers = 0;

    for (size_t i = 0; i < s->fx.n; i++) {
        const struct call_fx *fx = &s->fx.fx[i];
        bool answer = fx->kind == CALL_FX_REPLY || fx->kind == CALL_FX_ERROR;
        struct notice n = notice_of(fx);
        int to = answer ? from : find_device(s, fx->user, fx->device);
        SAY(s, "      -> %s: kind %d type %s call %d reason %s err %s\n",
            to >= 0 ? s->dev[to].name : "?", (int)fx->kind, sig_type_name(fx->type), n.call,
            sig_reason_name(fx->reason), sig_err_name(fx->err));
        if (to < 0) {
            violate(&s->oracle, "effect for nobody", n.call, to);
            continue;
        }
        if (answer) {
            answers++;
            check_reply(s, fx, from, req);
        } else {
            struct tag tag = tag_read(fx->data_raw);
            oracle_effect(&s->oracle, fx, to, tag, s->now_us);
        }
        push_down(s, to, &n);
    }
    bool quiet = req && !req->invite &&
                 (req->kind == CALL_EV_CANDIDATES || req->kind == CALL_EV_INFO ||
                  req->kind == CALL_EV_STATE);
    must(&s->oracle,
         !req    ? answers == 0
         : quiet ? answers <= 1
                 : answers == 1,
         "not one answer to one request", -1, from);
    check_calls(s);
}

static bool refused(const struct sim *s)
{
    for (size_t i = 0; i < s->fx.n; i++)
        if (s->fx.fx[i].kind == CALL_FX_ERROR)
            return true;
    return false;
}

/* The oracle has to know a new call before its effects are looked at. An id that was forgotten
 * after its end makes a new call; one that is still known must not ring again. */
static void note_invite(struct sim *s, const struct request *req, int from, bool known)
{
    struct call_model *m = &s->oracle.call[req->call];
    bool rings = false;

    for (size_t i = 0; i < s->fx.n; i++) {
        const struct call_fx *fx = &s->fx.fx[i];
        bool ours = fx->kind == CALL_FX_REPLY && fx->type == SIG_CALL_INVITE && !fx->glare;
        rings = rings || fx->kind == CALL_FX_INCOMING || (ours && !known && fx->pushed > 0);
        s->awaits[req->call] = ours && !known ? fx->pushed > 0 : s->awaits[req->call];
    }
    if (!rings)
        return;
    must(&s->oracle, !known, "an invite under the same id rings again", req->call, from);
    *m = (struct call_model){.made = true,
                             .caller = from,
                             .callee_user = req->to_user,
                             .winner = -1,
                             .state_us = s->now_us,
                             .made_us = s->now_us,
                             .deadline_us = s->now_us + s->conf.call.ring_timeout_us};
}

static void serve_invite(struct sim *s, const struct request *req, int from)
{
    struct call_device devices[DEVS_MAX];
    char offer[TEXT_MAX];
    size_t n = 0;

    for (int d = 0; d < s->devs_n; d++)
        if (s->dev[d].user == req->to_user && s->dev[d].session)
            devices[n++] = (struct call_device){name_of(s, d), s->dev[d].socket, s->dev[d].waiting};
    struct call_invite in = {.id = id_of(req->call),
                             .user = user_of(s, from),
                             .device = name_of(s, from),
                             .to = slice_str(user_names[req->to_user]),
                             .offer_raw = tag_write(offer, from, 0),
                             .metadata_raw = SLICE_LIT("{\"isVideo\":false}"),
                             .devices = devices,
                             .devices_n = n,
                             .pushed = chance(s, 30) ? 1 + below(s, 3) : 0};
    const struct call *c = call_table_find(s->table, &in.id);
    bool known = c && (call_live(c) || call_table_ended(s->table) <= s->conf.ended);
    call_table_invite(s->table, &in, &s->fx, s->now_us);
    note_invite(s, req, from, known);
    perform(s, from, req);
}

static void serve(struct sim *s, const struct request *req, int from)
{
    struct sig_call_id id = id_of(req->call);
    char data[TEXT_MAX];

    SAY(s, "%9.3f %s serves %s%d of call %d\n", (double)s->now_us / 1e6, s->dev[from].name,
        req->invite ? "invite " : "event ", (int)req->kind, req->call);
    if (req->invite) {
        serve_invite(s, req, from);
        return;
    }
    unsigned *sent = &s->oracle.call[req->call].sent[from];
    struct call_event ev = {.kind = req->kind,
                            .user = user_of(s, from),
                            .device = name_of(s, from),
                            .data = tag_write(data, from, *sent),
                            .reject = req->reject,
                            .reason = SIG_REASON_HANGUP,
                            .negotiate = {req->sdp, SLICE_LIT("neg"), false, req->fresh},
                            .conn = req->conn};
    call_table_event(s->table, &id, &ev, &s->fx, s->now_us);
    if (req->kind == CALL_EV_CANDIDATES && !refused(s))
        ++*sent;
    perform(s, from, req);
}

static void tell_session(struct sim *s, int dev, enum call_event_kind kind)
{
    struct call_event ev = {.kind = kind, .user = user_of(s, dev), .device = name_of(s, dev)};
    struct call_walk walk = {0};

    SAY(s, "%9.3f %s session event %d\n", (double)s->now_us / 1e6, s->dev[dev].name, (int)kind);
    while (call_table_session(s->table, &walk, &ev, s->dev[dev].waiting, &s->fx, s->now_us))
        perform(s, -1, NULL);
}

/* Calls of a device, as welcome.activeCalls has them. */
static uint64_t active_calls(struct sim *s, int dev)
{
    uint64_t live = 0;

    for (int c = 0; c < s->calls_n; c++) {
        struct sig_call_id id = id_of(c);
        struct sig_view v;
        if (call_table_view(s->table, &id, user_of(s, dev), name_of(s, dev), &v, s->now_us) &&
            v.state != SIG_CALL_OVER)
            live |= UINT64_C(1) << c;
    }
    return live;
}

/* ---- sessions ---- */

/* The oracle forgets what an old session had been told. */
static void forget_session(struct sim *s, int dev)
{
    s->dev[dev].up_n = s->dev[dev].down_n = 0;
    for (int c = 0; c < s->calls_n; c++)
        s->oracle.call[c].leg[dev].told = s->oracle.call[c].leg[dev].closed = false;
}

static void drop_session(struct sim *s, int dev, enum call_event_kind kind)
{
    s->dev[dev].session = s->dev[dev].socket = false;
    s->oracle.has_session[dev] = false;
    forget_session(s, dev);
    tell_session(s, dev, kind);
}

static void new_session(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];
    struct notice welcome = {.what = N_WELCOME};

    forget_session(s, dev);
    d->session = d->socket = true;
    s->oracle.has_session[dev] = true;
    if (chance(s, 60)) /* a reload; else the app lives on and only the history is lost */
        memset(d->belief, 0, sizeof(d->belief));
    welcome.live = active_calls(s, dev);
    for (int c = 0; c < s->calls_n; c++) /* what is in the welcome counts as told */
        if (welcome.live >> c & 1 && dev != s->oracle.call[c].caller)
            s->oracle.call[c].leg[dev].told = true;
    push_down(s, dev, &welcome);
    tell_session(s, dev, CALL_EV_NEW);
}

/* A device that has sent and received everything believes what the server says. */
static void check_belief(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];

    if (!d->session || !d->socket || d->up_n > 0 || d->down_n > 0)
        return;
    uint64_t live = active_calls(s, dev);
    for (int c = 0; c < s->calls_n; c++) {
        bool believed = d->belief[c] != B_NONE && d->belief[c] != B_OVER;
        must(&s->oracle, believed == (live >> c & 1), "client and server disagree on a call", c,
             dev);
    }
}

/* ---- links ---- */

static void act_link(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];

    if (!d->session) {
        new_session(s, dev);
    } else if (!d->socket) {
        if (chance(s, 75)) {
            d->socket = true;
            tell_session(s, dev, CALL_EV_BACK);
        } else if (chance(s, 50)) {
            new_session(s, dev);
        } else {
            drop_session(s, dev, CALL_EV_EXPIRED);
        }
    } else if (chance(s, 80)) {
        d->socket = false;
        tell_session(s, dev, CALL_EV_LOST);
    } else if (chance(s, 60)) {
        new_session(s, dev);
    } else {
        drop_session(s, dev, CALL_EV_CLOSED);
    }
}

/* ---- pushes ---- */

/* The push service has news: a device is pushed after all, Apple took it, no device can be woken.
 */
static void act_push(struct sim *s)
{
    int call = s->calls_n > 0 ? (int)below(s, (unsigned)s->calls_n) : 0;
    struct call_model *m = &s->oracle.call[call];
    struct sig_call_id id = id_of(call);
    bool reached = chance(s, 40), awaits = reached || chance(s, 50);

    for (int i = 0; i < s->calls_n && !s->awaits[call]; i++)
        call = (call + 1) % s->calls_n; /* mostly one that was pushed */
    id = id_of(call);
    m = &s->oracle.call[call];
    if (!m->made || m->over)
        return;
    SAY(s, "%9.3f push news for call %d: awaits %d reached %d\n", (double)s->now_us / 1e6, call,
        awaits, reached);
    s->awaits[call] = awaits;
    if (call_table_push(s->table, &id, awaits, reached, &s->fx, s->now_us))
        perform(s, -1, NULL);
}

/* ---- time ---- */

static void run_until(struct sim *s, uint64_t until_us)
{
    uint64_t due;

    while ((due = call_table_deadline(s->table)) <= until_us) {
        if (due > s->now_us)
            s->now_us = due;
        while (call_table_tick(s->table, &s->fx, s->now_us)) {
            SAY(s, "%9.3f tick\n", (double)s->now_us / 1e6);
            perform(s, -1, NULL);
        }
    }
    s->now_us = until_us;
    check_calls(s);
}

static uint64_t some_time(struct sim *s)
{
    unsigned what = below(s, 1000);

    if (what < 850)
        return below(s, 50) * US_PER_MS;
    if (what < 975)
        return below(s, 2000) * US_PER_MS;
    return (what < 997 ? below(s, 12000) : below(s, 40000)) * US_PER_MS;
}

static void deliver(struct sim *s, int dev)
{
    struct device *d = &s->dev[dev];

    if (!d->session || !d->socket)
        return;
    bool up = d->down_n == 0 || (d->up_n > 0 && chance(s, 50));
    if (up && d->up_n > 0) {
        struct request req = d->up[0];
        memmove(d->up, d->up + 1, --d->up_n * sizeof(d->up[0]));
        serve(s, &req, dev);
    } else if (d->down_n > 0) {
        receive(s, dev);
    }
    check_belief(s, dev);
}

static void step(struct sim *s)
{
    unsigned what = below(s, 100);
    int dev = (int)below(s, (unsigned)s->devs_n);

    run_until(s, s->now_us + some_time(s));
    if (what < 25)
        act(s, dev);
    else if (what < 28)
        act_link(s, dev);
    else if (what < 30)
        act_push(s);
    else
        deliver(s, dev);
}

/* ---- a run ---- */

static void setup(struct sim *s, uint64_t seed)
{
    rand_src_init(&s->rnd, seed);
    s->seed = seed;
    s->now_us = 1000 * US_PER_S;
    s->conf = (struct call_table_conf){.call = {.ring_timeout_us = 30 * US_PER_S,
                                                .caller_grace_us = 10 * US_PER_S,
                                                .connect_timeout_us = 15 * US_PER_S,
                                                .reconnect_timeout_us = 30 * US_PER_S,
                                                .max_duration_us = 120 * US_PER_S,
                                                .ended_keep_us = 60 * US_PER_S,
                                                .pushed_keep_us = 90 * US_PER_S,
                                                .busy_is_missed = chance(s, 50)},
                                       .calls = 8,
                                       .ended = chance(s, 10) ? 2 : 1000,
                                       .per_user = 1 + below(s, 4),
                                       .waiting = chance(s, 50)};
    s->table = call_table_new(&s->conf, s->now_us);
    s->oracle.conf = &s->conf;
    s->users_n = 2 + (int)below(s, USERS_MAX - 1);
    for (int u = 0; u < s->users_n; u++) {
        unsigned n = 1 + below(s, 3);
        for (unsigned i = 0; i < n; i++) {
            struct device *d = &s->dev[s->devs_n];
            d->user = u;
            d->waiting = chance(s, 50);
            (void)snprintf(d->name, sizeof(d->name), "%s-%u", user_names[u], i);
            s->oracle.user_of[s->devs_n] = u;
            d->session = d->socket = s->oracle.has_session[s->devs_n] = chance(s, 85);
            s->devs_n++;
        }
    }
}

/* Everybody comes back and reads all; then all leave, and nothing may be left. */
static void settle(struct sim *s)
{
    for (int d = 0; d < s->devs_n; d++)
        if (s->dev[d].session && !s->dev[d].socket) {
            s->dev[d].socket = true;
            tell_session(s, d, CALL_EV_BACK);
        }
    for (bool busy = true; busy && s->oracle.why[0] == '\0';) {
        busy = false;
        for (int d = 0; d < s->devs_n; d++)
            if (s->dev[d].session && (s->dev[d].up_n > 0 || s->dev[d].down_n > 0)) {
                deliver(s, d);
                busy = true;
            }
    }
    for (int d = 0; d < s->devs_n; d++)
        if (s->dev[d].session && chance(s, 50))
            drop_session(s, d, CALL_EV_CLOSED);
    run_until(s, s->now_us + s->conf.call.max_duration_us + 60 * US_PER_S);
    must(&s->oracle, call_table_count(s->table) == 0, "a call outlives its deadlines", -1, -1);
    run_until(s, s->now_us + s->conf.call.pushed_keep_us + US_PER_S);
    must(&s->oracle, call_table_ended(s->table) == 0, "an ended call is kept for ever", -1, -1);
}

/* Runs one seed. Returns how many checks were made, 0 after a violation (which is printed). */
static unsigned run_seed(uint64_t seed, bool verbose, struct coverage *seen)
{
    static struct sim s;
    uint64_t live = mem_live();

    memset(&s, 0, sizeof(s));
    s.oracle.seen = seen;
    s.verbose = verbose;
    setup(&s, seed);
    for (int i = 0; i < STEPS && s.oracle.why[0] == '\0'; i++)
        step(&s);
    if (s.oracle.why[0] == '\0')
        settle(&s);
    call_table_free(s.table);
    must(&s.oracle, mem_live() == live, "memory is left", -1, -1);
    if (s.oracle.why[0] == '\0')
        return s.oracle.checks;
    (void)printf("seed %llu at %.3f s: %s\n", (unsigned long long)seed, (double)s.now_us / 1e6,
                 s.oracle.why);
    return 0;
}

/* How often each thing happened. False: something that should happen in many seeds never did. */
static bool report(const struct coverage *seen, bool complete)
{
    bool all = seen->glare > 0;

    (void)printf("glare %u", seen->glare);
    for (int i = SIG_CALL_CONNECTING; i < SIG_CALL_STATE_COUNT; i++) {
        (void)printf(", %s %u", sig_call_state_name((enum sig_call_state)i), seen->states[i]);
        all = all && seen->states[i] > 0;
    }
    (void)printf("\nended:");
    for (int i = SIG_REASON_NONE + 1; i < SIG_REASON_COUNT; i++)
        if (seen->ended[i] > 0)
            (void)printf(" %s %u", sig_reason_name((enum sig_reason)i), seen->ended[i]);
    (void)printf("\nerrors:");
    for (int i = SIG_OK + 1; i < SIG_ERR_COUNT; i++)
        if (seen->errors[i] > 0)
            (void)printf(" %s %u", sig_err_name((enum sig_err)i), seen->errors[i]);
    (void)printf("\n");
    static const enum sig_reason always[] = {SIG_REASON_HANGUP,          SIG_REASON_CANCELLED,
                                             SIG_REASON_TIMEOUT,         SIG_REASON_UNREACHABLE,
                                             SIG_REASON_DECLINED,        SIG_REASON_BUSY,
                                             SIG_REASON_SUPERSEDED,      SIG_REASON_MEDIA_FAILED,
                                             SIG_REASON_CONNECTION_LOST, SIG_REASON_MAX_DURATION};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        all = all && seen->ended[always[i]] > 0;
    return all || !complete;
}

static void progress(uint64_t done, uint64_t seeds)
{
    if (isatty(STDERR_FILENO) && done % 500 == 0)
        (void)fprintf(stderr, "\r%llu of %llu", (unsigned long long)done,
                      (unsigned long long)seeds);
}

int main(int argc, char **argv)
{
    uint64_t seeds = 10000, start = 1, checks = 0;
    struct coverage seen = {0};
    bool verbose = false;

    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && value) {
            seeds = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--start") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
            seeds = 1;
        } else {
            (void)fprintf(stderr, "usage: %s [--seeds N] [--start S] [--seed S] [-v]\n", argv[0]);
            return 2;
        }
    }
    for (uint64_t i = 0; i < seeds; i++) {
        unsigned n = run_seed(start + i, verbose, &seen);
        if (n == 0)
            return 1;
        checks += n;
        progress(i + 1, seeds);
    }
    if (!report(&seen, seeds >= COMPLETE_SEEDS)) {
        (void)printf("call_sim: something never happened: the runs prove too little\n");
        return 1;
    }
    (void)printf("call_sim: %llu seeds from %llu, %llu checks, no violation\n",
                 (unsigned long long)seeds, (unsigned long long)start, (unsigned long long)checks);
    return 0;
}

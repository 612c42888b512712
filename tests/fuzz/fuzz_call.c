/* server/call_table.c and the call machine under a script: three bytes a step say who does what on
 * which call, or how much time passes. Checked: one winner, nothing after the end, nothing of the
 * callee before the claim, one answer to each request, no call left at the end.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/call_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    CALLS = 8,
    USERS = 3,
    DEVICES = 2,
    STEPS_MAX = 400,
    OP_INVITE = CALL_EV_COUNT,
    OP_TIME,
    OPS
};

struct script {
    struct call_table *t;
    struct call_effects fx;
    uint64_t now_us;
    bool accepted[CALLS], over[CALLS];
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static const char *const users[USERS] = {"ann", "bob", "cyd"};
static const struct call_device devices[DEVICES] = {
    {.device = {(const uint8_t *)"one", 3}, .online = true, .call_waiting = true},
    {.device = {(const uint8_t *)"two", 3}}};

static void check(struct script *s, bool request, bool quiet)
{
    size_t answers = 0;

    for (size_t i = 0; i < s->fx.n; i++) {
        const struct call_fx *fx = &s->fx.fx[i];
        uint8_t call = fx->call_id.b[0];
        must(call < CALLS);
        if (fx->kind == CALL_FX_REPLY || fx->kind == CALL_FX_ERROR) {
            must(fx->kind == CALL_FX_REPLY || fx->err != SIG_ERR_INTERNAL);
            answers++;
            continue;
        }
        must(!s->over[call]);
        must(fx->kind != CALL_FX_STATE || s->accepted[call]);
        bool to_caller = slice_is(fx->user, users[call % 2]);
        must(fx->kind != CALL_FX_RELAY || s->accepted[call] || !to_caller);
        if (fx->kind == CALL_FX_ACCEPTED) {
            must(!s->accepted[call]);
            s->accepted[call] = true;
        }
    }
    must(!request ? answers == 0 : quiet ? answers <= 1 : answers == 1);
    for (uint8_t c = 0; c < CALLS; c++) {
        const struct call *call = call_table_find(s->t, &(struct sig_call_id){{c}});
        must(!s->over[c] || !call || !call_live(call));
        if (call && !call_live(call))
            s->over[c] = true;
        else if (!call) /* forgotten: the id may be used again */
            s->over[c] = s->accepted[c] = false;
    }
}

/* Even calls are made by ann for bob, odd ones by bob for ann or cyd. */
static void do_invite(struct script *s, uint8_t call, uint8_t arg)
{
    unsigned device = arg % DEVICES;
    struct call_invite in = {.id = {{call}},
                             .user = slice_str(users[call % 2]),
                             .device = devices[device].device,
                             .to = slice_str(users[call % 2 == 0   ? 1
                                                   : call % 4 == 1 ? 0
                                                                   : 2]),
                             .offer_raw = SLICE_LIT("{}"),
                             .metadata_raw = SLICE_LIT("{}"),
                             .devices = devices,
                             .devices_n = arg & 0x40 ? 0 : DEVICES,
                             .pushed = arg & 0x20 ? 1 : 0};

    call_table_invite(s->t, &in, &s->fx, s->now_us);
    bool made = s->fx.n > 0 && s->fx.fx[s->fx.n > 1 ? s->fx.n - 1 : 0].kind != CALL_FX_ERROR;
    if (s->over[call] && made) /* forgotten just now: the id is used again */
        s->over[call] = s->accepted[call] = false;
    check(s, true, false);
}

static void do_time(struct script *s, uint8_t amount)
{
    s->now_us += (uint64_t)amount * amount * US_PER_MS;
    while (call_table_tick(s->t, &s->fx, s->now_us))
        check(s, false, false);
}

static void do_event(struct script *s, enum call_event_kind kind, uint8_t call, uint8_t arg)
{
    struct call_event ev = {
        .kind = kind,
        .user = slice_str(users[arg % USERS]),
        .device = devices[arg / USERS % DEVICES].device,
        .data = SLICE_LIT("{\"x\":1}"),
        .reject = {arg & 0x40, SIG_REASON_BUSY},
        .reason = SIG_REASON_HANGUP,
        .negotiate = {(enum sig_sdp)(arg % 3), SLICE_LIT("n"), false, arg % 3 == 0 && arg & 0x80},
        .conn = arg & 0x40 ? (enum sig_conn)(arg % SIG_CONN_COUNT) : SIG_CONN_CONNECTED};
    struct sig_call_id id = {{call}};
    struct call_walk walk = {0};

    if (kind == CALL_EV_END) {
        (void)call_table_end(s->t, &id, SIG_REASON_ADMIN, &s->fx, s->now_us);
        check(s, false, false);
    } else if (kind == CALL_EV_PUSH) {
        (void)call_table_push(s->t, &id, arg & 0x40, arg & 0x80, &s->fx, s->now_us);
        check(s, false, false);
    } else if (kind > CALL_EV_SYNC) {
        while (call_table_session(s->t, &walk, &ev, arg & 0x80, &s->fx, s->now_us))
            check(s, false, false);
    } else {
        call_table_event(s->t, &id, &ev, &s->fx, s->now_us);
        check(s, true, kind == CALL_EV_CANDIDATES || kind == CALL_EV_INFO || kind == CALL_EV_STATE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct script s;
    uint64_t live = mem_live();
    struct call_table_conf conf = {.call = {.ring_timeout_us = 30 * US_PER_S,
                                            .caller_grace_us = 10 * US_PER_S,
                                            .connect_timeout_us = 15 * US_PER_S,
                                            .reconnect_timeout_us = 30 * US_PER_S,
                                            .max_duration_us = 300 * US_PER_S,
                                            .ended_keep_us = 60 * US_PER_S,
                                            .pushed_keep_us = 90 * US_PER_S},
                                   .calls = 5,
                                   .ended = 4,
                                   .per_user = 3};

    s = (struct script){.now_us = US_PER_S};
    conf.waiting = size > 0 && data[0] & 1;
    s.t = call_table_new(&conf, s.now_us);
    if (!s.t)
        return 0;
    for (size_t i = 1; i + 3 <= size && i < STEPS_MAX * 3; i += 3) {
        unsigned op = data[i] % OPS;
        uint8_t call = data[i + 1] % CALLS;
        if (op == OP_INVITE)
            do_invite(&s, call, data[i + 2]);
        else if (op == OP_TIME)
            do_time(&s, data[i + 2]);
        else
            do_event(&s, (enum call_event_kind)op, call, data[i + 2]);
    }
    for (int i = 0; i < 20; i++)
        do_time(&s, 255);
    must(call_table_count(s.t) == 0 && call_table_ended(s.t) == 0);
    call_table_free(s.t);
    must(mem_live() == live);
    return 0;
}

/* Tests of one call (server/call.c, call_ring.c, call_up.c): every state x role x request, the race
 * matrix in both orders, timers, payloads, views.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "server/call.h"

static const struct call_conf conf = {.ring_timeout_us = 30 * US_PER_S,
                                      .caller_grace_us = 10 * US_PER_S,
                                      .connect_timeout_us = 15 * US_PER_S,
                                      .reconnect_timeout_us = 30 * US_PER_S,
                                      .max_duration_us = 4 * 3600 * US_PER_S,
                                      .ended_keep_us = 60 * US_PER_S,
                                      .busy_is_missed = true};

/* Alice (laptop) calls Bob, who has a phone and a tablet. */
struct fixture {
    struct call *c;
    struct call_effects fx;
    uint64_t now;
};

static const char *const alice[] = {"alice", "laptop"};
static const char *const phone[] = {"bob", "phone"};
static const char *const tablet[] = {"bob", "tablet"};
static const char *const watch[] = {"bob", "watch"};
static const char *const eve[] = {"eve", "box"};

static const struct call_device two_devices[] = {{.device = {(const uint8_t *)"phone", 5}},
                                                 {.device = {(const uint8_t *)"tablet", 6}}};

static const char *const nobody_at_all[2] = {"", ""};

static struct call_invite invite_of(const struct call_device *devices, size_t n)
{
    return (struct call_invite){.id = {{1, 2, 3}},
                                .user = SLICE_LIT("alice"),
                                .device = SLICE_LIT("laptop"),
                                .name = SLICE_LIT("Alice"),
                                .to = SLICE_LIT("bob"),
                                .offer_raw = SLICE_LIT("{\"offer\":1}"),
                                .metadata_raw = SLICE_LIT("{\"meta\":1}"),
                                .devices = devices,
                                .devices_n = n};
}

static void start(struct fixture *f)
{
    struct call_invite in = invite_of(two_devices, 2);

    f->now = 100 * US_PER_S;
    call_effects_clear(&f->fx);
    f->c = call_new(&conf, &in, &f->fx, f->now);
    assert_non_null(f->c);
}

static void stop(struct fixture *f)
{
    call_free(f->c);
    f->c = NULL;
}

/* The requester's error, SIG_OK for a reply or for silence. */
static enum sig_err send_event(struct fixture *f, const char *const who[2], struct call_event ev)
{
    ev.user = slice_str(who[0]);
    ev.device = slice_str(who[1]);
    if (ev.kind == CALL_EV_NEGOTIATE && ev.negotiate.id.len == 0)
        ev.negotiate.id = SLICE_LIT("n1");
    call_effects_clear(&f->fx);
    call_recv(f->c, &ev, &f->fx, f->now);
    for (size_t i = 0; i < f->fx.n; i++)
        if (f->fx.fx[i].kind == CALL_FX_ERROR)
            return f->fx.fx[i].err;
    return SIG_OK;
}

static enum sig_err send_kind(struct fixture *f, const char *const who[2],
                              enum call_event_kind kind)
{
    return send_event(f, who,
                      (struct call_event){.kind = kind,
                                          .reason = SIG_REASON_HANGUP,
                                          .data = SLICE_LIT("{\"x\":1}"),
                                          .reject = {false, SIG_REASON_DECLINED},
                                          .conn = SIG_CONN_CONNECTED});
}

static void tick(struct fixture *f, uint64_t after_us)
{
    f->now += after_us;
    call_effects_clear(&f->fx);
    call_tick(f->c, &f->fx, f->now);
}

/* The n-th effect of a kind for a device ("": for the requester), or NULL. */
static const struct call_fx *effect(const struct fixture *f, enum call_fx_kind kind,
                                    const char *device, unsigned n)
{
    for (size_t i = 0; i < f->fx.n; i++)
        if (f->fx.fx[i].kind == kind && slice_is(f->fx.fx[i].device, device) && n-- == 0)
            return &f->fx.fx[i];
    return NULL;
}

static size_t count(const struct fixture *f, enum call_fx_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < f->fx.n; i++)
        n += f->fx.fx[i].kind == kind;
    return n;
}

static void answered(struct fixture *f)
{
    start(f);
    assert_int_equal(send_kind(f, phone, CALL_EV_RINGING), SIG_OK);
    assert_int_equal(send_kind(f, phone, CALL_EV_ANSWER), SIG_OK);
}

static void active(struct fixture *f)
{
    answered(f);
    assert_int_equal(send_kind(f, alice, CALL_EV_STATE), SIG_OK);
    assert_int_equal(send_kind(f, phone, CALL_EV_STATE), SIG_OK);
    assert_int_equal(call_state(f->c), SIG_CALL_ACTIVE);
}

/* ---- every state x role x request ---- */

static void to_inviting(struct fixture *f)
{
    start(f);
}

/* The phone rings, the watch has rejected for itself. */
static void to_ringing(struct fixture *f)
{
    struct call_event no = {.kind = CALL_EV_REJECT, .reject = {true, SIG_REASON_DECLINED}};

    start(f);
    assert_int_equal(send_kind(f, phone, CALL_EV_RINGING), SIG_OK);
    assert_int_equal(send_kind(f, watch, CALL_EV_NEW), SIG_OK);
    assert_int_equal(send_event(f, watch, no), SIG_OK);
}

static void to_reconnecting(struct fixture *f)
{
    active(f);
    assert_int_equal(send_kind(f, alice, CALL_EV_LOST), SIG_OK);
    assert_int_equal(call_state(f->c), SIG_CALL_RECONNECTING);
}

static void to_ended(struct fixture *f)
{
    active(f);
    assert_int_equal(send_kind(f, alice, CALL_EV_HANGUP), SIG_OK);
}

static void test_every_request_in_every_state(void **state)
{
    static const struct {
        const char *name;
        void (*to)(struct fixture *);
        const char *const *who;
        /* ringing answer reject cancel hangup candidates negotiate info state upgrade sync:
         * . done  I invalid_state  A already_answered  E ended  N not_found */
        const char *want;
    } rows[] = {
        {"inviting, caller", to_inviting, alice, "III.I.IIII."},
        {"inviting, leg", to_inviting, phone, "...II.IIII."},
        {"inviting, stranger", to_inviting, eve, "NNNNNNNNNNN"},
        {"inviting, callee's device without a leg", to_inviting, watch, "NNNNNNNNNNN"},
        {"ringing, caller", to_ringing, alice, "III.I.IIII."},
        {"ringing, ringing leg", to_ringing, phone, "...II.IIII."},
        {"ringing, other leg", to_ringing, tablet, "...II.IIII."},
        {"ringing, leg that said no", to_ringing, watch, "IIIIIIIIII."},
        {"ringing, stranger", to_ringing, eve, "NNNNNNNNNNN"},
        {"connecting, caller", answered, alice, "III........"},
        {"connecting, winner", answered, phone, "I.II......."},
        {"connecting, loser", answered, tablet, "AAAAAAAAAA."},
        {"connecting, stranger", answered, eve, "NNNNNNNNNNN"},
        {"active, caller", active, alice, "III........"},
        {"active, winner", active, phone, "I.II......."},
        {"active, loser", active, tablet, "AAAAAAAAAA."},
        {"active, late device", active, watch, "NNNNNNNNNNN"},
        {"reconnecting, caller", to_reconnecting, alice, "III........"},
        {"reconnecting, winner", to_reconnecting, phone, "I.II......."},
        {"reconnecting, loser", to_reconnecting, tablet, "AAAAAAAAAA."},
        {"ended, caller", to_ended, alice, "EEEEEEEEEE."},
        {"ended, winner", to_ended, phone, "EEEEEEEEEE."},
        {"ended, loser", to_ended, tablet, "EEEEEEEEEE."},
        {"ended, stranger", to_ended, eve, "NNNNNNNNNNN"},
    };
    struct fixture f;

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        for (int kind = CALL_EV_RINGING; kind <= CALL_EV_SYNC; kind++) {
            rows[r].to(&f);
            enum sig_call_state before = call_state(f.c);
            enum sig_err got = send_kind(&f, rows[r].who, (enum call_event_kind)kind);
            char letter = rows[r].want[kind];
            enum sig_err want = letter == 'I'   ? SIG_ERR_CALL_INVALID_STATE
                                : letter == 'A' ? SIG_ERR_CALL_ALREADY_ANSWERED
                                : letter == 'E' ? SIG_ERR_CALL_ENDED
                                : letter == 'N' ? SIG_ERR_CALL_NOT_FOUND
                                                : SIG_OK;
            if (got != want)
                fail_msg("%s, event %d: %s", rows[r].name, kind, sig_err_name(got));
            if (want != SIG_OK) { /* refused: nothing else happens */
                assert_int_equal(f.fx.n, 1);
                assert_int_equal(call_state(f.c), before);
            }
            if (want == SIG_ERR_CALL_INVALID_STATE)
                assert_true(f.fx.fx[0].has_state && f.fx.fx[0].state == before);
            stop(&f);
        }
    }
}

/* ---- races, in both orders ---- */

enum act {
    ANSWER_PHONE,
    ANSWER_TABLET,
    REJECT_ALL_TABLET,
    BUSY_TABLET, /* for itself */
    CANCEL,
    TIMEOUT,
    CALLER_LOST,
    GRACE_OVER,
    CALLER_BACK,
    CALLER_CLOSED,
    PHONE_CLOSED,
    PHONE_CANDIDATES,
    HANGUP_CALLER,
    HANGUP_PHONE,
    OFFER_CALLER,
    OFFER_PHONE,
};

static enum sig_err perform(struct fixture *f, enum act act)
{
    struct call_event ev = {.data = SLICE_LIT("{}"), .reason = SIG_REASON_HANGUP};

    switch (act) {
    case ANSWER_PHONE:
        return send_kind(f, phone, CALL_EV_ANSWER);
    case ANSWER_TABLET:
        return send_kind(f, tablet, CALL_EV_ANSWER);
    case REJECT_ALL_TABLET:
        return send_kind(f, tablet, CALL_EV_REJECT);
    case BUSY_TABLET:
        ev.kind = CALL_EV_REJECT;
        ev.reject = (struct sig_reject){true, SIG_REASON_BUSY};
        return send_event(f, tablet, ev);
    case CANCEL:
        return send_kind(f, alice, CALL_EV_CANCEL);
    case TIMEOUT:
        tick(f, conf.ring_timeout_us);
        return SIG_OK;
    case GRACE_OVER:
        tick(f, conf.caller_grace_us);
        return SIG_OK;
    case CALLER_LOST:
        return send_kind(f, alice, CALL_EV_LOST);
    case CALLER_BACK:
        return send_kind(f, alice, CALL_EV_BACK);
    case CALLER_CLOSED:
        return send_kind(f, alice, CALL_EV_CLOSED);
    case PHONE_CLOSED:
        return send_kind(f, phone, CALL_EV_CLOSED);
    case PHONE_CANDIDATES:
        return send_kind(f, phone, CALL_EV_CANDIDATES);
    case HANGUP_CALLER:
        return send_kind(f, alice, CALL_EV_HANGUP);
    case HANGUP_PHONE:
        return send_kind(f, phone, CALL_EV_HANGUP);
    case OFFER_CALLER:
        return send_kind(f, alice, CALL_EV_NEGOTIATE);
    case OFFER_PHONE:
        return send_kind(f, phone, CALL_EV_NEGOTIATE);
    }
    return SIG_ERR_INTERNAL;
}

struct race {
    enum act first, second;
    enum sig_err second_err;
    enum sig_call_state end_state;
    enum sig_reason reason; /* when it has ended */
};

static void run_races(void (*to)(struct fixture *), const struct race *races, size_t n)
{
    struct fixture f;

    for (size_t i = 0; i < n; i++) {
        const struct race *r = &races[i];
        to(&f);
        enum sig_err err = perform(&f, r->first);
        assert_int_equal(err, SIG_OK);
        err = perform(&f, r->second);
        if (err != r->second_err || call_state(f.c) != r->end_state ||
            call_ended_reason(f.c) != r->reason)
            fail_msg("race %zu: error %s, state %s, reason %s", i, sig_err_name(err),
                     sig_call_state_name(call_state(f.c)), sig_reason_name(call_ended_reason(f.c)));
        stop(&f);
    }
}

/* The watch has declined for itself, so that is what a call ends with when nobody else is left. */
static void test_races_while_it_rings(void **state)
{
    static const struct race races[] = {
        {ANSWER_PHONE, ANSWER_TABLET, SIG_ERR_CALL_ALREADY_ANSWERED, SIG_CALL_CONNECTING, 0},
        {ANSWER_TABLET, ANSWER_PHONE, SIG_ERR_CALL_ALREADY_ANSWERED, SIG_CALL_CONNECTING, 0},
        {ANSWER_PHONE, ANSWER_PHONE, SIG_OK, SIG_CALL_CONNECTING, 0},
        {ANSWER_PHONE, CANCEL, SIG_OK, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {CANCEL, ANSWER_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {ANSWER_PHONE, REJECT_ALL_TABLET, SIG_ERR_CALL_ALREADY_ANSWERED, SIG_CALL_CONNECTING, 0},
        {REJECT_ALL_TABLET, ANSWER_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_DECLINED},
        {ANSWER_PHONE, BUSY_TABLET, SIG_ERR_CALL_ALREADY_ANSWERED, SIG_CALL_CONNECTING, 0},
        {BUSY_TABLET, ANSWER_PHONE, SIG_OK, SIG_CALL_CONNECTING, 0},
        {TIMEOUT, ANSWER_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_TIMEOUT},
        {ANSWER_PHONE, TIMEOUT, SIG_OK, SIG_CALL_OVER, SIG_REASON_MEDIA_FAILED},
        {TIMEOUT, CANCEL, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_TIMEOUT},
        {CANCEL, TIMEOUT, SIG_OK, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {REJECT_ALL_TABLET, CANCEL, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_DECLINED},
        {CANCEL, REJECT_ALL_TABLET, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {REJECT_ALL_TABLET, TIMEOUT, SIG_OK, SIG_CALL_OVER, SIG_REASON_DECLINED},
        {TIMEOUT, REJECT_ALL_TABLET, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_TIMEOUT},
        {CALLER_LOST, ANSWER_PHONE, SIG_OK, SIG_CALL_CONNECTING, 0},
        {ANSWER_PHONE, CALLER_LOST, SIG_OK, SIG_CALL_CONNECTING, 0},
        {CALLER_LOST, GRACE_OVER, SIG_OK, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {CALLER_LOST, CALLER_BACK, SIG_OK, SIG_CALL_RINGS, 0},
        {CALLER_CLOSED, ANSWER_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {ANSWER_PHONE, CALLER_CLOSED, SIG_OK, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {ANSWER_PHONE, PHONE_CLOSED, SIG_OK, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {PHONE_CLOSED, ANSWER_TABLET, SIG_OK, SIG_CALL_CONNECTING, 0},
        {PHONE_CLOSED, BUSY_TABLET, SIG_OK, SIG_CALL_OVER, SIG_REASON_DECLINED},
        {BUSY_TABLET, PHONE_CLOSED, SIG_OK, SIG_CALL_OVER, SIG_REASON_DECLINED},
        {PHONE_CANDIDATES, ANSWER_PHONE, SIG_OK, SIG_CALL_CONNECTING, 0},
        {ANSWER_PHONE, PHONE_CANDIDATES, SIG_OK, SIG_CALL_CONNECTING, 0},
        {ANSWER_TABLET, PHONE_CANDIDATES, SIG_ERR_CALL_ALREADY_ANSWERED, SIG_CALL_CONNECTING, 0},
        {CANCEL, PHONE_CANDIDATES, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_CANCELLED},
        {CANCEL, CALLER_BACK, SIG_OK, SIG_CALL_OVER, SIG_REASON_CANCELLED}, /* resume x ended */
    };

    (void)state;
    run_races(to_ringing, races, ARRAY_LEN(races));
}

static void test_races_while_it_is_up(void **state)
{
    static const struct race races[] = {
        {HANGUP_CALLER, HANGUP_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {HANGUP_PHONE, HANGUP_CALLER, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {HANGUP_CALLER, OFFER_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {OFFER_PHONE, HANGUP_CALLER, SIG_OK, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {OFFER_CALLER, OFFER_PHONE, SIG_ERR_CALL_GLARE, SIG_CALL_ACTIVE, 0},
        {OFFER_PHONE, OFFER_CALLER, SIG_OK, SIG_CALL_ACTIVE, 0},
        {OFFER_CALLER, OFFER_CALLER, SIG_ERR_CALL_INVALID_STATE, SIG_CALL_ACTIVE, 0},
        {CALLER_LOST, HANGUP_PHONE, SIG_OK, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {CALLER_LOST, CALLER_BACK, SIG_OK, SIG_CALL_ACTIVE, 0},
        {CALLER_LOST, TIMEOUT, SIG_OK, SIG_CALL_OVER, SIG_REASON_CONNECTION_LOST},
        {CALLER_LOST, OFFER_PHONE, SIG_OK, SIG_CALL_RECONNECTING, 0},
        {CALLER_CLOSED, HANGUP_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_HANGUP},
        {CANCEL, HANGUP_PHONE, SIG_ERR_CALL_ENDED, SIG_CALL_OVER, SIG_REASON_HANGUP},
    };

    (void)state;
    run_races(active, races, ARRAY_LEN(races));
}

/* ---- what is said to whom ---- */

static void test_invite_rings_every_device_with_the_offer(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    const struct call_fx *reply = effect(&f, CALL_FX_REPLY, "", 0);
    assert_non_null(reply);
    assert_int_equal(reply->expires_in_ms, 30000);
    assert_true(reply->needs_ice);
    assert_int_equal(count(&f, CALL_FX_INCOMING), 2);
    const struct call_fx *in = effect(&f, CALL_FX_INCOMING, "tablet", 0);
    assert_true(slice_is(in->from, "alice") && slice_is(in->from_device, "laptop"));
    assert_true(slice_is(in->data_raw, "{\"offer\":1}"));
    assert_true(slice_is(in->metadata_raw, "{\"meta\":1}"));
    assert_true(slice_is(in->from_name, "Alice"));
    assert_false(in->call_waiting);
    stop(&f);
}

static void test_the_caller_hears_ringing_once(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    send_kind(&f, phone, CALL_EV_RINGING);
    const struct call_fx *fx = effect(&f, CALL_FX_RINGING, "laptop", 0);
    assert_non_null(fx);
    assert_true(slice_is(fx->from, "bob") && fx->from_device.len == 0);
    send_kind(&f, tablet, CALL_EV_RINGING);
    send_kind(&f, phone, CALL_EV_RINGING);
    assert_int_equal(count(&f, CALL_FX_RINGING), 0);
    stop(&f);
}

static void test_the_claim_tells_everybody(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    send_event(&f, phone,
               (struct call_event){.kind = CALL_EV_CANDIDATES, .data = SLICE_LIT("{\"c\":1}")});
    assert_int_equal(f.fx.n, 0); /* kept */
    send_event(&f, tablet,
               (struct call_event){.kind = CALL_EV_CANDIDATES, .data = SLICE_LIT("{\"t\":1}")});
    send_event(&f, phone,
               (struct call_event){.kind = CALL_EV_CANDIDATES, .data = SLICE_LIT("{\"c\":2}")});
    send_event(&f, phone,
               (struct call_event){.kind = CALL_EV_ANSWER, .data = SLICE_LIT("{\"answer\":1}")});

    assert_int_equal(f.fx.n, 5);
    const struct call_fx *reply = effect(&f, CALL_FX_REPLY, "", 0);
    assert_int_equal(reply->state, SIG_CALL_CONNECTING);
    assert_true(reply->needs_ice);
    const struct call_fx *accepted = effect(&f, CALL_FX_ACCEPTED, "laptop", 0);
    assert_true(slice_is(accepted->data_raw, "{\"answer\":1}"));
    assert_true(slice_is(accepted->from_device, "phone"));
    assert_true(slice_is(effect(&f, CALL_FX_RELAY, "laptop", 0)->data_raw, "{\"c\":1}"));
    assert_true(slice_is(effect(&f, CALL_FX_RELAY, "laptop", 1)->data_raw, "{\"c\":2}"));
    const struct call_fx *ended = effect(&f, CALL_FX_ENDED, "tablet", 0);
    assert_int_equal(ended->reason, SIG_REASON_ANSWERED_ELSEWHERE);
    assert_true(slice_is(ended->by, "bob") && slice_is(ended->by_device, "phone"));
    assert_false(ended->missed);

    send_kind(&f, tablet, CALL_EV_ANSWER);
    assert_true(slice_is(f.fx.fx[0].by_device, "phone")); /* details.winner */
    assert_int_equal(f.fx.fx[0].state, SIG_CALL_CONNECTING);
    stop(&f);
}

static void test_rejections_have_their_reasons(void **state)
{
    static const struct {
        enum sig_reason given, elsewhere;
    } cases[] = {
        {SIG_REASON_DECLINED, SIG_REASON_DECLINED_ELSEWHERE},
        {SIG_REASON_BUSY, SIG_REASON_BUSY_ELSEWHERE},
        {SIG_REASON_NEED_PERMISSION, SIG_REASON_DECLINED_ELSEWHERE},
        {SIG_REASON_MEDIA_FAILED, SIG_REASON_DECLINED_ELSEWHERE},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start(&f);
        send_event(&f, phone,
                   (struct call_event){.kind = CALL_EV_REJECT, .reject = {false, cases[i].given}});
        assert_int_equal(f.fx.n, 3); /* reply, caller, tablet */
        assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, cases[i].given);
        assert_int_equal(effect(&f, CALL_FX_ENDED, "tablet", 0)->reason, cases[i].elsewhere);
        send_kind(&f, tablet, CALL_EV_ANSWER);
        assert_int_equal(f.fx.fx[0].reason, cases[i].elsewhere); /* the truth for this device */
        stop(&f);
    }
}

static void test_the_last_device_that_says_no_ends_it(void **state)
{
    static const struct {
        enum sig_reason first, second, end;
    } cases[] = {
        {SIG_REASON_BUSY, SIG_REASON_BUSY, SIG_REASON_BUSY},
        {SIG_REASON_BUSY, SIG_REASON_DECLINED, SIG_REASON_DECLINED},
        {SIG_REASON_DECLINED, SIG_REASON_BUSY, SIG_REASON_DECLINED},
        {SIG_REASON_MEDIA_FAILED, SIG_REASON_NEED_PERMISSION, SIG_REASON_NEED_PERMISSION},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct call_event ev = {.kind = CALL_EV_REJECT, .reject = {true, cases[i].first}};
        start(&f);
        send_event(&f, phone, ev);
        assert_int_equal(f.fx.n, 1);
        assert_true(call_rings(f.c));
        ev.reject.reason = cases[i].second;
        send_event(&f, tablet, ev);
        assert_int_equal(f.fx.n, 2); /* both devices have their replies */
        assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, cases[i].end);
        stop(&f);
    }
}

static void test_timeout_is_missed_and_unreachable_when_nobody_had_it(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    assert_int_equal(call_deadline(f.c), f.now + conf.ring_timeout_us);
    tick(&f, conf.ring_timeout_us - 1);
    assert_int_equal(f.fx.n, 0);
    tick(&f, 1);
    assert_int_equal(f.fx.n, 3);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_UNREACHABLE);
    stop(&f);

    start(&f);
    send_kind(&f, tablet, CALL_EV_DELIVERED);
    tick(&f, conf.ring_timeout_us);
    const struct call_fx *ended = effect(&f, CALL_FX_ENDED, "phone", 0);
    assert_int_equal(ended->reason, SIG_REASON_TIMEOUT);
    assert_true(ended->missed);
    assert_false(effect(&f, CALL_FX_ENDED, "laptop", 0)->missed);
    assert_int_equal(call_deadline(f.c), f.now + conf.ended_keep_us);
    stop(&f);
}

static void test_the_caller_may_ask_for_a_shorter_ring(void **state)
{
    static const struct {
        uint32_t wanted_ms;
        uint64_t rings_us;
    } cases[] = {{0, 30 * US_PER_S},
                 {5000, 5 * US_PER_S},
                 {29999, 29999 * US_PER_MS},
                 {60000, 30 * US_PER_S},
                 {1, 5 * US_PER_S}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct call_invite in = invite_of(two_devices, 2);
        struct fixture f = {.now = US_PER_S};
        in.ring_timeout_ms = cases[i].wanted_ms;
        f.c = call_new(&conf, &in, &f.fx, f.now);
        assert_int_equal(call_deadline(f.c), f.now + cases[i].rings_us);
        stop(&f);
    }
}

static void test_a_lost_caller_cancels_after_the_grace_but_not_after_the_deadline(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    send_kind(&f, phone, CALL_EV_RINGING);
    f.now += 25 * US_PER_S;
    send_kind(&f, alice, CALL_EV_LOST);
    assert_int_equal(call_deadline(f.c), 130 * US_PER_S); /* the ring's own end comes first */
    tick(&f, 5 * US_PER_S);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_TIMEOUT);
    stop(&f);

    start(&f);
    send_kind(&f, alice, CALL_EV_LOST);
    send_kind(&f, alice, CALL_EV_LOST); /* does not start over */
    assert_int_equal(call_deadline(f.c), f.now + conf.caller_grace_us);
    tick(&f, conf.caller_grace_us);
    assert_true(effect(&f, CALL_FX_ENDED, "phone", 0)->missed);
    stop(&f);
}

static void test_a_late_device_rings_with_all_that_was_sent(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    send_event(&f, alice,
               (struct call_event){.kind = CALL_EV_CANDIDATES, .data = SLICE_LIT("{\"c\":1}")});
    assert_int_equal(count(&f, CALL_FX_RELAY), 2); /* both legs have the offer already */
    f.now += 4 * US_PER_S;
    send_event(&f, watch, (struct call_event){.kind = CALL_EV_NEW, .waiting = true});
    assert_int_equal(f.fx.n, 2);
    assert_int_equal(f.fx.fx[0].kind, CALL_FX_INCOMING);
    assert_int_equal(f.fx.fx[0].expires_in_ms, 26000);
    assert_true(f.fx.fx[0].call_waiting);
    assert_true(slice_is(f.fx.fx[1].data_raw, "{\"c\":1}"));
    assert_int_equal(send_kind(&f, watch, CALL_EV_ANSWER), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_ENDED), 2);
    stop(&f);

    active(&f); /* after the claim nobody rings any more */
    send_kind(&f, watch, CALL_EV_NEW);
    assert_int_equal(f.fx.n, 0);
    stop(&f);
}

static void test_devices_beyond_the_limit_stay_silent(void **state)
{
    struct call_device devices[CALL_LEGS_MAX + 1];
    char names[CALL_LEGS_MAX + 1][8];
    struct fixture f = {.now = 1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "d%zu", i);
        devices[i] = (struct call_device){.device = slice_str(names[i])};
    }
    struct call_invite in = invite_of(devices, ARRAY_LEN(devices));
    f.c = call_new(&conf, &in, &f.fx, f.now);
    assert_int_equal(count(&f, CALL_FX_INCOMING), CALL_LEGS_MAX);
    send_kind(&f, watch, CALL_EV_NEW);
    assert_int_equal(f.fx.n, 0);
    stop(&f);
}

static void test_kept_candidates_are_bounded(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    for (int i = 0; i < CALL_KEPT_MAX; i++) {
        assert_int_equal(send_kind(&f, phone, CALL_EV_CANDIDATES), SIG_OK);
        assert_int_equal(send_kind(&f, alice, CALL_EV_CANDIDATES), SIG_OK);
    }
    assert_int_equal(send_kind(&f, phone, CALL_EV_CANDIDATES), SIG_ERR_OVERLOADED);
    assert_int_equal(send_kind(&f, alice, CALL_EV_CANDIDATES), SIG_ERR_OVERLOADED);
    send_kind(&f, watch, CALL_EV_NEW);
    assert_int_equal(f.fx.n, 1 + CALL_KEPT_MAX);
    send_kind(&f, phone, CALL_EV_ANSWER);
    assert_int_equal(count(&f, CALL_FX_RELAY), CALL_KEPT_MAX);
    stop(&f);

    static uint8_t big[CALL_KEPT_BYTES_MAX / 2];
    struct call_event ev = {.kind = CALL_EV_CANDIDATES, .data = slice_of(big, sizeof(big))};
    start(&f);
    assert_int_equal(send_event(&f, phone, ev), SIG_OK);
    assert_int_equal(send_event(&f, phone, ev), SIG_ERR_OVERLOADED);
    stop(&f);
}

static void test_both_connected_is_active_and_counts_time(void **state)
{
    struct fixture f;

    (void)state;
    answered(&f);
    send_kind(&f, alice, CALL_EV_STATE);
    assert_int_equal(f.fx.n, 0);
    send_kind(&f, phone, CALL_EV_STATE);
    assert_int_equal(count(&f, CALL_FX_STATE), 2);
    assert_int_equal(effect(&f, CALL_FX_STATE, "laptop", 0)->state, SIG_CALL_ACTIVE);
    assert_int_equal(call_deadline(f.c), f.now + conf.max_duration_us);
    f.now += 61234 * US_PER_MS;
    send_kind(&f, phone, CALL_EV_HANGUP);
    assert_int_equal(f.fx.n, 2);
    assert_int_equal(f.fx.fx[0].duration_ms, 61234);
    assert_int_equal(f.fx.fx[1].duration_ms, 61234);
    assert_true(slice_is(f.fx.fx[1].by, "bob") && slice_is(f.fx.fx[1].by_device, "phone"));
    assert_int_equal(call_duration_ms(f.c), 61234);
    stop(&f);
}

static void test_broken_media_is_told_and_heals_or_ends(void **state)
{
    struct fixture f;

    (void)state;
    active(&f);
    send_event(&f, phone,
               (struct call_event){.kind = CALL_EV_STATE, .conn = SIG_CONN_DISCONNECTED});
    assert_int_equal(f.fx.n, 1);
    const struct call_fx *fx = effect(&f, CALL_FX_STATE, "laptop", 0);
    assert_int_equal(fx->state, SIG_CALL_RECONNECTING);
    assert_int_equal(fx->conn, SIG_CONN_DISCONNECTED);
    assert_int_equal(call_deadline(f.c), f.now + conf.reconnect_timeout_us);
    send_kind(&f, phone, CALL_EV_LOST); /* one more trouble: no later deadline */
    f.now += US_PER_S;
    send_kind(&f, phone, CALL_EV_STATE);
    assert_int_equal(call_state(f.c), SIG_CALL_RECONNECTING);
    send_kind(&f, phone, CALL_EV_BACK);
    assert_int_equal(call_state(f.c), SIG_CALL_ACTIVE);
    assert_int_equal(count(&f, CALL_FX_STATE), 2);

    send_kind(&f, alice, CALL_EV_LOST);
    assert_int_equal(effect(&f, CALL_FX_STATE, "phone", 0)->state, SIG_CALL_RECONNECTING);
    tick(&f, conf.reconnect_timeout_us);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "phone", 0)->reason, SIG_REASON_CONNECTION_LOST);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, SIG_REASON_CONNECTION_LOST);
    stop(&f);
}

static void test_max_duration_ends_it(void **state)
{
    struct fixture f;

    (void)state;
    active(&f);
    tick(&f, conf.max_duration_us);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_MAX_DURATION);
    stop(&f);
}

static void test_negotiations_pass_as_sent(void **state)
{
    struct call_event offer = {.kind = CALL_EV_NEGOTIATE,
                               .data = SLICE_LIT("{\"description\":0}"),
                               .negotiate = {SIG_SDP_OFFER, SLICE_LIT("n1"), false, false}};
    struct call_event answer = offer;
    struct fixture f;

    (void)state;
    answer.negotiate.sdp = SIG_SDP_ANSWER;
    active(&f);
    assert_int_equal(send_event(&f, alice, answer), SIG_ERR_CALL_INVALID_STATE);
    assert_int_equal(send_event(&f, phone, offer), SIG_OK);
    assert_true(slice_is(effect(&f, CALL_FX_RELAY, "laptop", 0)->data_raw, "{\"description\":0}"));
    assert_int_equal(effect(&f, CALL_FX_RELAY, "laptop", 0)->type, SIG_CALL_NEGOTIATE);
    assert_int_equal(send_event(&f, phone, answer), SIG_ERR_CALL_INVALID_STATE);
    assert_int_equal(send_event(&f, alice, answer), SIG_OK);
    assert_int_equal(send_event(&f, phone, offer), SIG_OK);
    f.now += CALL_NEGOTIATE_LIFE_US;
    assert_int_equal(send_event(&f, phone, offer), SIG_OK); /* the first has expired */

    offer.negotiate.fresh = true;
    assert_int_equal(send_event(&f, phone, offer), SIG_OK);
    assert_int_equal(call_state(f.c), SIG_CALL_RECONNECTING);
    send_kind(&f, alice, CALL_EV_STATE);
    send_kind(&f, phone, CALL_EV_STATE);
    assert_int_equal(call_state(f.c), SIG_CALL_ACTIVE);
    stop(&f);
}

static void test_glare_makes_the_dialing_device_a_leg(void **state)
{
    const struct sig_call_id own = {{9}};
    struct fixture f;

    (void)state;
    start(&f);
    send_kind(&f, alice, CALL_EV_CANDIDATES);
    call_effects_clear(&f.fx);
    assert_int_equal(call_merge_glare(f.c, &own, SLICE_LIT("watch"), &f.fx, f.now), 0);
    assert_int_equal(f.fx.n, 2);
    const struct call_fx *reply = &f.fx.fx[0];
    assert_true(reply->glare && sig_call_id_eq(&reply->call_id, &own));
    assert_true(sig_call_id_eq(&reply->merged_into, call_id(f.c)));
    assert_true(slice_is(reply->data_raw, "{\"offer\":1}"));
    assert_int_equal(f.fx.fx[1].kind, CALL_FX_RELAY);
    call_effects_clear(&f.fx);
    assert_int_equal(call_merge_glare(f.c, &own, SLICE_LIT("watch"), &f.fx, f.now), 0);
    assert_int_equal(f.fx.n, 1); /* it has the candidates */
    assert_int_equal(send_kind(&f, watch, CALL_EV_ANSWER), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_ENDED), 2);
    stop(&f);
}

static void test_a_new_session_of_a_ringing_device_is_rung_again(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    send_kind(&f, phone, CALL_EV_EXPIRED);
    send_kind(&f, phone, CALL_EV_NEW);
    assert_int_equal(count(&f, CALL_FX_INCOMING), 1);
    send_kind(&f, phone, CALL_EV_EXPIRED);
    send_kind(&f, alice, CALL_EV_CANCEL);
    assert_null(effect(&f, CALL_FX_ENDED, "phone", 0)); /* nobody there to hear it */
    assert_non_null(effect(&f, CALL_FX_ENDED, "tablet", 0));
    stop(&f);
}

static void test_an_upgrade_names_one_room_for_both(void **state)
{
    struct call_event first = {.kind = CALL_EV_UPGRADE, .data = SLICE_LIT("room-1")};
    struct call_event second = {.kind = CALL_EV_UPGRADE, .data = SLICE_LIT("room-2")};
    struct fixture f;

    (void)state;
    active(&f);
    assert_int_equal(call_room(f.c).len, 0);
    assert_int_equal(send_event(&f, phone, first), SIG_OK);
    assert_int_equal(f.fx.n, 2);
    assert_true(slice_is(effect(&f, CALL_FX_REPLY, "", 0)->room, "room-1"));
    const struct call_fx *told = effect(&f, CALL_FX_UPGRADE, "laptop", 0);
    assert_true(slice_is(told->room, "room-1") && slice_is(told->from, "bob"));
    assert_true(slice_is(told->from_device, "phone"));
    assert_int_equal(send_event(&f, alice, second), SIG_OK); /* they asked at once: one room */
    assert_int_equal(f.fx.n, 1);
    assert_true(slice_is(effect(&f, CALL_FX_REPLY, "", 0)->room, "room-1"));
    assert_int_equal(call_state(f.c), SIG_CALL_ACTIVE); /* the call goes on meanwhile */
    send_event(&f, nobody_at_all,
               (struct call_event){.kind = CALL_EV_END, .reason = SIG_REASON_ROOM_MIGRATED});
    assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, SIG_REASON_ROOM_MIGRATED);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "phone", 0)->reason, SIG_REASON_ROOM_MIGRATED);
    stop(&f);
    active(&f);
    assert_int_equal(send_event(&f, alice, (struct call_event){.kind = CALL_EV_UPGRADE}),
                     SIG_ERR_CALL_INVALID_STATE); /* nobody prepared a room */
    stop(&f);
}

static void start_invitation(struct fixture *f)
{
    struct call_invite in = invite_of(two_devices, 2);

    in.offer_raw = (struct slice){0};
    in.room = SLICE_LIT("standup");
    in.room_raw = SLICE_LIT("{\"roomId\":\"standup\"}");
    f->now = 100 * US_PER_S;
    call_effects_clear(&f->fx);
    f->c = call_new(&conf, &in, &f->fx, f->now);
    assert_non_null(f->c);
}

static void test_an_invitation_into_a_room_ends_when_it_is_answered(void **state)
{
    struct fixture f;

    (void)state;
    start_invitation(&f);
    const struct call_fx *in = effect(&f, CALL_FX_INCOMING, "phone", 0);
    assert_true(slice_is(in->room_raw, "{\"roomId\":\"standup\"}") && in->data_raw.len == 0);
    send_kind(&f, phone, CALL_EV_RINGING);
    assert_int_equal(count(&f, CALL_FX_RINGING), 1);
    assert_int_equal(send_event(&f, phone, (struct call_event){.kind = CALL_EV_ANSWER}), SIG_OK);
    const struct call_fx *reply = effect(&f, CALL_FX_REPLY, "", 0);
    assert_true(slice_is(reply->room, "standup") && reply->state == SIG_CALL_OVER);
    assert_true(slice_is(effect(&f, CALL_FX_ACCEPTED, "laptop", 0)->room, "standup"));
    assert_int_equal(effect(&f, CALL_FX_ENDED, "tablet", 0)->reason, SIG_REASON_ANSWERED_ELSEWHERE);
    assert_true(slice_is(effect(&f, CALL_FX_ENDED, "tablet", 0)->by_device, "phone"));
    assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, SIG_REASON_ROOM_MIGRATED);
    assert_null(effect(&f, CALL_FX_ENDED, "phone", 0)); /* it knows from its reply */
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_ROOM_MIGRATED);
    assert_int_equal(send_kind(&f, tablet, CALL_EV_ANSWER), SIG_ERR_CALL_ENDED);
    stop(&f);
}

static void test_an_invitation_is_refused_and_times_out_like_a_call(void **state)
{
    struct call_event busy = {.kind = CALL_EV_REJECT, .reject = {false, SIG_REASON_BUSY}};
    struct sig_view v;
    struct fixture f;

    (void)state;
    start_invitation(&f);
    assert_true(call_view(f.c, SLICE_LIT("bob"), SLICE_LIT("phone"), &v, f.now));
    assert_true(slice_is(v.room_raw, "{\"roomId\":\"standup\"}"));
    assert_int_equal(send_event(&f, phone, busy), SIG_OK);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, SIG_REASON_BUSY);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "tablet", 0)->reason, SIG_REASON_BUSY_ELSEWHERE);
    stop(&f);
    start_invitation(&f);
    send_kind(&f, tablet, CALL_EV_RINGING);
    tick(&f, 30 * US_PER_S);
    assert_int_equal(effect(&f, CALL_FX_ENDED, "laptop", 0)->reason, SIG_REASON_TIMEOUT);
    stop(&f);
    start(&f); /* and a call is not answered without an answer */
    assert_int_equal(send_event(&f, phone, (struct call_event){.kind = CALL_EV_ANSWER}),
                     SIG_ERR_BAD_REQUEST);
    assert_true(call_rings(f.c));
    stop(&f);
}

static void test_views_tell_each_device_its_truth(void **state)
{
    struct sig_view v;
    struct fixture f;

    (void)state;
    start(&f);
    f.now += US_PER_S;
    assert_true(call_view(f.c, SLICE_LIT("bob"), SLICE_LIT("phone"), &v, f.now));
    assert_true(!v.caller && !v.selected && v.has_expires && v.expires_in_ms == 29000);
    assert_true(slice_is(v.offer_raw, "{\"offer\":1}") && slice_is(v.peer, "alice"));
    assert_false(call_view(f.c, SLICE_LIT("eve"), SLICE_LIT("phone"), &v, f.now));
    send_kind(&f, phone, CALL_EV_ANSWER);
    assert_true(call_view(f.c, SLICE_LIT("alice"), SLICE_LIT("laptop"), &v, f.now));
    assert_true(v.caller && slice_is(v.answer_raw, "{\"x\":1}") && !v.has_expires);
    assert_true(slice_is(v.peer_device, "phone"));
    assert_true(call_view(f.c, SLICE_LIT("bob"), SLICE_LIT("phone"), &v, f.now));
    assert_true(v.selected && v.offer_raw.len == 0);
    assert_true(call_view(f.c, SLICE_LIT("bob"), SLICE_LIT("tablet"), &v, f.now));
    assert_int_equal(v.state, SIG_CALL_OVER);
    assert_int_equal(v.reason, SIG_REASON_ANSWERED_ELSEWHERE);
    stop(&f);
}

static void test_oom_leaves_no_half_made_call(void **state)
{
    uint64_t live = mem_live();
    struct fixture f;
    bool done = false;

    (void)state;
    for (uint64_t n = 0; !done; n++) {
        struct call_invite in = invite_of(two_devices, 2);
        f.now = 1;
        call_effects_clear(&f.fx);
        mem_fail_after(n);
        f.c = call_new(&conf, &in, &f.fx, f.now);
        if (f.c) {
            send_kind(&f, alice, CALL_EV_CANDIDATES);
            send_kind(&f, phone, CALL_EV_CANDIDATES);
            enum sig_err err = send_kind(&f, phone, CALL_EV_ANSWER);
            assert_true(err == SIG_OK || (err == SIG_ERR_INTERNAL && call_rings(f.c)));
        } else {
            assert_int_equal(f.fx.n, 0);
        }
        done = !mem_failed();
        mem_fail_never();
        call_free(f.c);
        assert_int_equal(mem_live(), live);
    }
}

/* ---- devices that are pushed ---- */

static const struct call_conf pushed_conf = {.ring_timeout_us = 30 * US_PER_S,
                                             .caller_grace_us = 10 * US_PER_S,
                                             .connect_timeout_us = 15 * US_PER_S,
                                             .reconnect_timeout_us = 30 * US_PER_S,
                                             .max_duration_us = 4 * 3600 * US_PER_S,
                                             .ended_keep_us = 60 * US_PER_S,
                                             .pushed_keep_us = 600 * US_PER_S,
                                             .busy_is_missed = true};

/* Alice calls Bob, whose devices sleep, but for the first `awake` of two. */
static void start_pushed(struct fixture *f, size_t awake, unsigned pushed)
{
    struct call_invite in = invite_of(two_devices, awake);

    in.pushed = pushed;
    f->now = 100 * US_PER_S;
    call_effects_clear(&f->fx);
    f->c = call_new(&pushed_conf, &in, &f->fx, f->now);
    assert_non_null(f->c);
}

static void push_news(struct fixture *f, bool awaits, bool reached)
{
    struct call_event ev = {.kind = CALL_EV_PUSH, .awaits = awaits, .reached = reached};

    call_effects_clear(&f->fx);
    call_recv(f->c, &ev, &f->fx, f->now);
}

static void test_a_call_lives_on_pushes_alone(void **state)
{
    struct fixture f;

    (void)state;
    start_pushed(&f, 0, 2);
    assert_int_equal(f.fx.n, 1);
    assert_int_equal(f.fx.fx[0].kind, CALL_FX_REPLY);
    assert_int_equal(f.fx.fx[0].pushed, 2);
    assert_int_equal(f.fx.fx[0].online, 0);
    push_news(&f, true, true);
    assert_int_equal(f.fx.n, 0);
    assert_int_equal(send_kind(&f, phone, CALL_EV_NEW), SIG_OK);
    assert_non_null(effect(&f, CALL_FX_INCOMING, "phone", 0));
    push_news(&f, false, true);
    assert_true(call_live(f.c));
    assert_int_equal(send_kind(&f, phone, CALL_EV_ANSWER), SIG_OK);
    assert_int_equal(call_state(f.c), SIG_CALL_CONNECTING);
    assert_int_equal(call_times(f.c)->answered_us, f.now);
    stop(&f);
}

static void test_all_pushes_failed_is_unreachable_at_once(void **state)
{
    struct fixture f;

    (void)state;
    start_pushed(&f, 0, 1);
    push_news(&f, false, false);
    assert_int_equal(call_state(f.c), SIG_CALL_OVER);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_UNREACHABLE);
    assert_int_equal(count(&f, CALL_FX_ENDED), 1);
    assert_true(slice_is(f.fx.fx[0].user, "alice"));
    assert_true(call_missed(f.c));
    assert_int_equal(call_ended_by(f.c), CALL_ROLE_NONE);
    stop(&f);

    start_pushed(&f, 1, 1); /* the phone has it: it rings on */
    push_news(&f, false, false);
    assert_true(call_live(f.c));
    stop(&f);
}

static void test_accepted_pushes_that_bring_nobody_are_a_timeout(void **state)
{
    struct fixture f;

    (void)state;
    start_pushed(&f, 0, 1);
    push_news(&f, true, true);
    tick(&f, 30 * US_PER_S);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_TIMEOUT);
    stop(&f);

    start_pushed(&f, 0, 1); /* no verdict ever */
    tick(&f, 30 * US_PER_S);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_UNREACHABLE);
    stop(&f);
}

static void test_who_says_no_waits_for_who_may_still_wake(void **state)
{
    struct call_event no = {.kind = CALL_EV_REJECT, .reject = {true, SIG_REASON_BUSY}};
    struct fixture f;

    (void)state;
    start_pushed(&f, 1, 1);
    push_news(&f, true, true);
    assert_int_equal(send_event(&f, phone, no), SIG_OK);
    assert_true(call_live(f.c));
    push_news(&f, false, true);
    assert_int_equal(call_ended_reason(f.c), SIG_REASON_BUSY);
    stop(&f);
}

static void test_a_late_push_finds_the_truth(void **state)
{
    struct sig_view v;
    struct fixture f;

    (void)state;
    start_pushed(&f, 0, 2);
    assert_false(call_view(f.c, slice_str("bob"), slice_str("watch"), &v, f.now));
    assert_int_equal(send_kind(&f, alice, CALL_EV_CANCEL), SIG_OK);
    assert_int_equal(send_kind(&f, watch, CALL_EV_NEW), SIG_OK);
    assert_int_equal(f.fx.n, 0);
    assert_int_equal(send_kind(&f, watch, CALL_EV_SYNC), SIG_OK);
    assert_int_equal(f.fx.fx[0].view->state, SIG_CALL_OVER);
    assert_int_equal(f.fx.fx[0].view->reason, SIG_REASON_CANCELLED);
    assert_true(slice_is(f.fx.fx[0].view->peer, "alice"));
    assert_int_equal(send_kind(&f, watch, CALL_EV_ANSWER), SIG_ERR_CALL_ENDED);
    assert_int_equal(send_kind(&f, eve, CALL_EV_SYNC), SIG_ERR_CALL_NOT_FOUND);
    assert_int_equal(call_deadline(f.c), f.now + pushed_conf.pushed_keep_us);
    stop(&f);

    start_pushed(&f, 0, 2);
    assert_int_equal(send_kind(&f, phone, CALL_EV_NEW), SIG_OK);
    assert_int_equal(send_kind(&f, phone, CALL_EV_ANSWER), SIG_OK);
    assert_true(call_view(f.c, slice_str("bob"), slice_str("watch"), &v, f.now));
    assert_int_equal(v.reason, SIG_REASON_ANSWERED_ELSEWHERE);
    assert_int_equal(v.state, SIG_CALL_OVER);
    stop(&f);

    start_pushed(&f, 0, 2);
    assert_int_equal(send_kind(&f, phone, CALL_EV_NEW), SIG_OK);
    assert_int_equal(send_kind(&f, phone, CALL_EV_REJECT), SIG_OK);
    assert_true(call_view(f.c, slice_str("bob"), slice_str("watch"), &v, f.now));
    assert_int_equal(v.reason, SIG_REASON_DECLINED_ELSEWHERE);
    stop(&f);
}

static void test_times_and_who_ended_it(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    uint64_t made = f.now;
    tick(&f, US_PER_S);
    assert_int_equal(send_kind(&f, phone, CALL_EV_RINGING), SIG_OK);
    tick(&f, US_PER_S);
    assert_int_equal(send_kind(&f, phone, CALL_EV_ANSWER), SIG_OK);
    tick(&f, US_PER_S);
    assert_int_equal(send_kind(&f, phone, CALL_EV_HANGUP), SIG_OK);
    const struct call_times *t = call_times(f.c);
    assert_int_equal(t->made_us, made);
    assert_int_equal(t->rang_us, made + US_PER_S);
    assert_int_equal(t->answered_us, made + 2 * US_PER_S);
    assert_int_equal(t->ended_us, made + 3 * US_PER_S);
    assert_int_equal(call_ended_by(f.c), CALL_ROLE_WINNER);
    assert_false(call_missed(f.c));
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_lives_on_pushes_alone),
        cmocka_unit_test(test_all_pushes_failed_is_unreachable_at_once),
        cmocka_unit_test(test_accepted_pushes_that_bring_nobody_are_a_timeout),
        cmocka_unit_test(test_who_says_no_waits_for_who_may_still_wake),
        cmocka_unit_test(test_a_late_push_finds_the_truth),
        cmocka_unit_test(test_times_and_who_ended_it),
        cmocka_unit_test(test_every_request_in_every_state),
        cmocka_unit_test(test_races_while_it_rings),
        cmocka_unit_test(test_races_while_it_is_up),
        cmocka_unit_test(test_invite_rings_every_device_with_the_offer),
        cmocka_unit_test(test_the_caller_hears_ringing_once),
        cmocka_unit_test(test_the_claim_tells_everybody),
        cmocka_unit_test(test_rejections_have_their_reasons),
        cmocka_unit_test(test_the_last_device_that_says_no_ends_it),
        cmocka_unit_test(test_timeout_is_missed_and_unreachable_when_nobody_had_it),
        cmocka_unit_test(test_the_caller_may_ask_for_a_shorter_ring),
        cmocka_unit_test(test_a_lost_caller_cancels_after_the_grace_but_not_after_the_deadline),
        cmocka_unit_test(test_a_late_device_rings_with_all_that_was_sent),
        cmocka_unit_test(test_devices_beyond_the_limit_stay_silent),
        cmocka_unit_test(test_kept_candidates_are_bounded),
        cmocka_unit_test(test_both_connected_is_active_and_counts_time),
        cmocka_unit_test(test_broken_media_is_told_and_heals_or_ends),
        cmocka_unit_test(test_max_duration_ends_it),
        cmocka_unit_test(test_negotiations_pass_as_sent),
        cmocka_unit_test(test_glare_makes_the_dialing_device_a_leg),
        cmocka_unit_test(test_a_new_session_of_a_ringing_device_is_rung_again),
        cmocka_unit_test(test_an_upgrade_names_one_room_for_both),
        cmocka_unit_test(test_an_invitation_into_a_room_ends_when_it_is_answered),
        cmocka_unit_test(test_an_invitation_is_refused_and_times_out_like_a_call),
        cmocka_unit_test(test_views_tell_each_device_its_truth),
        cmocka_unit_test(test_oom_leaves_no_half_made_call),
    };

    return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}

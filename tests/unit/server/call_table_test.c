/* Tests of server/call_table.c: the policy of invites, glare and recall, sessions, time, limits.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/mem.h"
#include "proto/json.h"
#include "server/call_table.h"

static const struct call_table_conf usual = {.call = {.ring_timeout_us = 30 * US_PER_S,
                                                      .caller_grace_us = 10 * US_PER_S,
                                                      .connect_timeout_us = 15 * US_PER_S,
                                                      .reconnect_timeout_us = 30 * US_PER_S,
                                                      .max_duration_us = 14400 * US_PER_S,
                                                      .ended_keep_us = 60 * US_PER_S,
                                                      .busy_is_missed = true},
                                             .calls = 100,
                                             .ended = 100,
                                             .per_user = 4};

struct fixture {
    struct call_table *t;
    struct call_effects fx;
    uint64_t now;
};

/* "alice/laptop" taken apart. */
struct who {
    struct slice user, device;
};

static struct who who(const char *name)
{
    struct slice s = slice_str(name);
    size_t slash = 0;

    while (slash < s.len && s.p[slash] != '/')
        slash++;
    return (struct who){slice_sub(s, 0, slash), slice_sub(s, slash + 1, s.len)};
}

static void open_table(struct fixture *f, const struct call_table_conf *conf)
{
    f->now = 50 * US_PER_S;
    f->t = call_table_new(conf, f->now);
    assert_non_null(f->t);
}

static void close_table(struct fixture *f)
{
    call_table_free(f->t);
}

static const struct sig_call_id *id_of(uint8_t n)
{
    static struct sig_call_id id;

    id = (struct sig_call_id){{n}};
    return &id;
}

/* Devices of everybody: phone, and a tablet that knows call waiting. */
static const struct call_device everybody[] = {
    {.device = {(const uint8_t *)"phone", 5}, .online = true},
    {.device = {(const uint8_t *)"tablet", 6}, .call_waiting = true}};

/* The invite's error, SIG_OK when it was done. */
static enum sig_err invite_devices(struct fixture *f, uint8_t id, const char *from, const char *to,
                                   size_t devices)
{
    struct who w = who(from);
    struct call_invite in = {.id = *id_of(id),
                             .user = w.user,
                             .device = w.device,
                             .to = slice_str(to),
                             .offer_raw = SLICE_LIT("{\"o\":1}"),
                             .metadata_raw = SLICE_LIT("{}"),
                             .devices = everybody,
                             .devices_n = devices};

    call_table_invite(f->t, &in, &f->fx, f->now);
    for (size_t i = 0; i < f->fx.n; i++)
        if (f->fx.fx[i].kind == CALL_FX_ERROR)
            return f->fx.fx[i].err;
    return SIG_OK;
}

static enum sig_err invite(struct fixture *f, uint8_t id, const char *from, const char *to)
{
    return invite_devices(f, id, from, to, 2);
}

static enum sig_err request(struct fixture *f, uint8_t id, const char *from,
                            enum call_event_kind kind)
{
    struct who w = who(from);
    struct call_event ev = {.kind = kind,
                            .user = w.user,
                            .device = w.device,
                            .data = SLICE_LIT("{}"),
                            .reason = SIG_REASON_HANGUP,
                            .reject = {false, SIG_REASON_DECLINED}};

    call_table_event(f->t, id_of(id), &ev, &f->fx, f->now);
    return f->fx.n > 0 && f->fx.fx[0].kind == CALL_FX_ERROR ? f->fx.fx[0].err : SIG_OK;
}

static size_t count(const struct fixture *f, enum call_fx_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < f->fx.n; i++)
        n += f->fx.fx[i].kind == kind;
    return n;
}

static void test_a_repeated_invite_gets_the_same_reply_and_rings_nobody(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(f.fx.n, 3);
    f.now += US_PER_S;
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(f.fx.n, 1);
    assert_int_equal(f.fx.fx[0].expires_in_ms, 29000);
    assert_int_equal(invite(&f, 1, "alice/phone", "bob"), SIG_ERR_CALL_EXISTS);
    assert_int_equal(invite(&f, 1, "alice/laptop", "carol"), SIG_ERR_CALL_EXISTS);
    assert_int_equal(invite(&f, 1, "eve/box", "bob"), SIG_ERR_CALL_EXISTS);
    request(&f, 1, "alice/laptop", CALL_EV_CANCEL);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_ERR_CALL_ENDED);
    assert_int_equal(f.fx.fx[0].reason, SIG_REASON_CANCELLED);
    assert_int_equal(call_table_count(f.t), 0);
    close_table(&f);
}

static void test_refused_invites_make_no_call(void **state)
{
    struct call_table_conf small = usual;
    struct fixture f;

    (void)state;
    small.calls = 2;
    small.per_user = 1;
    open_table(&f, &small);
    assert_int_equal(invite(&f, 1, "alice/laptop", "alice"), SIG_ERR_BAD_REQUEST);
    assert_int_equal(invite_devices(&f, 1, "alice/laptop", "ghost", 0), SIG_ERR_CALLEE_UNREACHABLE);
    assert_int_equal(call_table_count(f.t), 0);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(invite(&f, 2, "alice/laptop", "carol"), SIG_ERR_CALL_TOO_MANY);
    assert_int_equal(invite(&f, 2, "carol/pc", "bob"), SIG_ERR_CALL_BUSY);
    assert_int_equal(invite(&f, 2, "carol/pc", "dave"), SIG_OK);
    assert_int_equal(invite(&f, 3, "eve/box", "frank"), SIG_ERR_OVERLOADED);
    assert_int_equal(call_table_count(f.t), 2);
    assert_null(call_table_find(f.t, id_of(3)));
    close_table(&f);
}

static void test_call_waiting_rings_the_devices_that_can(void **state)
{
    struct call_table_conf conf = usual;
    struct fixture f;

    (void)state;
    conf.waiting = true;
    conf.per_user = 2;
    open_table(&f, &conf);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_INCOMING), 2);
    assert_false(f.fx.fx[1].call_waiting);
    assert_int_equal(invite(&f, 2, "carol/pc", "bob"), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_INCOMING), 1);
    assert_true(f.fx.fx[1].call_waiting && slice_is(f.fx.fx[1].device, "tablet"));
    assert_int_equal(invite(&f, 3, "dave/pc", "bob"), SIG_ERR_CALL_BUSY); /* his limit */
    assert_int_equal(invite_devices(&f, 3, "dave/pc", "carol", 1), SIG_ERR_CALL_BUSY);
    close_table(&f);
}

static void test_crossing_invites_become_one_call(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(invite(&f, 2, "bob/phone", "alice"), SIG_OK);
    assert_int_equal(f.fx.n, 1);
    assert_true(f.fx.fx[0].glare && sig_call_id_eq(&f.fx.fx[0].merged_into, id_of(1)));
    assert_true(slice_is(f.fx.fx[0].from_device, "laptop"));
    assert_int_equal(call_table_count(f.t), 1);
    assert_int_equal(invite(&f, 2, "bob/phone", "alice"), SIG_OK); /* repeated: the same */
    assert_true(f.fx.fx[0].glare);

    assert_int_equal(request(&f, 2, "bob/phone", CALL_EV_CANDIDATES), SIG_ERR_CALL_ENDED);
    assert_int_equal(f.fx.fx[0].reason, SIG_REASON_GLARE);
    assert_int_equal(request(&f, 2, "alice/laptop", CALL_EV_CANCEL), SIG_ERR_CALL_NOT_FOUND);
    assert_int_equal(request(&f, 1, "bob/phone", CALL_EV_ANSWER), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_ACCEPTED), 1);
    assert_int_equal(count(&f, CALL_FX_ENDED), 1); /* the tablet */
    assert_int_equal(invite(&f, 2, "bob/phone", "alice"), SIG_ERR_CALL_ENDED);
    close_table(&f);

    open_table(&f, &usual); /* the other order */
    assert_int_equal(invite(&f, 2, "bob/phone", "alice"), SIG_OK);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_true(f.fx.fx[0].glare && sig_call_id_eq(&f.fx.fx[0].merged_into, id_of(2)));
    close_table(&f);
}

static void test_a_new_invite_of_the_same_devices_replaces_the_call(void **state)
{
    static const struct {
        const char *from, *to;
        enum sig_err err;
    } cases[] = {
        {"alice/laptop", "bob", SIG_OK},            /* the caller's device dials again */
        {"bob/phone", "alice", SIG_OK},             /* the winner's device */
        {"bob/tablet", "alice", SIG_ERR_CALL_BUSY}, /* another device of the callee */
        {"alice/pad", "bob", SIG_ERR_CALL_BUSY},
        {"carol/pc", "bob", SIG_ERR_CALL_BUSY},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        open_table(&f, &usual);
        assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
        assert_int_equal(request(&f, 1, "bob/phone", CALL_EV_ANSWER), SIG_OK);
        assert_int_equal(invite(&f, 2, cases[i].from, cases[i].to), cases[i].err);
        if (cases[i].err == SIG_OK) {
            assert_int_equal(f.fx.n, 5); /* two ended, reply, two incoming */
            assert_int_equal(f.fx.fx[0].reason, SIG_REASON_SUPERSEDED);
            assert_int_equal(f.fx.fx[1].reason, SIG_REASON_SUPERSEDED);
        }
        assert_int_equal(call_table_count(f.t), 1);
        close_table(&f);
    }
}

static void test_dialing_again_while_it_rings_replaces_the_ghost(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    assert_int_equal(invite(&f, 1, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(invite(&f, 2, "alice/laptop", "bob"), SIG_OK);
    assert_int_equal(count(&f, CALL_FX_ENDED), 3);
    assert_int_equal(count(&f, CALL_FX_INCOMING), 2);
    close_table(&f);
}

static void test_timers_run_and_ended_calls_are_forgotten(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    assert_true(call_table_deadline(f.t) == CLOCK_NEVER);
    invite(&f, 1, "alice/laptop", "bob");
    assert_true(call_table_deadline(f.t) <= f.now + 30 * US_PER_S);
    assert_false(call_table_tick(f.t, &f.fx, f.now));
    f.now += 30 * US_PER_S + US_PER_MS;
    assert_true(call_table_tick(f.t, &f.fx, f.now));
    assert_int_equal(count(&f, CALL_FX_ENDED), 3);
    assert_false(call_table_tick(f.t, &f.fx, f.now));
    assert_int_equal(call_table_ended(f.t), 1);
    assert_int_equal(request(&f, 1, "bob/phone", CALL_EV_ANSWER), SIG_ERR_CALL_ENDED);
    assert_int_equal(f.fx.fx[0].reason, SIG_REASON_UNREACHABLE);
    f.now += 60 * US_PER_S + US_PER_MS;
    assert_true(call_table_tick(f.t, &f.fx, f.now));
    assert_int_equal(call_table_ended(f.t), 0);
    assert_int_equal(request(&f, 1, "bob/phone", CALL_EV_ANSWER), SIG_ERR_CALL_NOT_FOUND);
    close_table(&f);
}

static void test_only_so_many_ended_calls_are_kept(void **state)
{
    struct call_table_conf conf = usual;
    struct fixture f;

    (void)state;
    conf.ended = 3;
    open_table(&f, &conf);
    for (uint8_t i = 1; i <= 10; i++) {
        assert_int_equal(invite(&f, i, "alice/laptop", "bob"), SIG_OK);
        assert_int_equal(request(&f, i, "alice/laptop", CALL_EV_CANCEL), SIG_OK);
    }
    assert_int_equal(request(&f, 10, "alice/laptop", CALL_EV_CANCEL), SIG_ERR_CALL_ENDED);
    assert_int_equal(request(&f, 6, "alice/laptop", CALL_EV_CANCEL), SIG_ERR_CALL_NOT_FOUND);
    assert_int_equal(call_table_ended(f.t), 3);
    close_table(&f);
}

/* Calls the session walk until its end; gives how many effects of a kind came. */
static size_t session(struct fixture *f, const char *name, enum call_event_kind kind,
                      bool waiting_ok, enum call_fx_kind wanted)
{
    struct who w = who(name);
    struct call_event ev = {.kind = kind, .user = w.user, .device = w.device};
    struct call_walk walk = {0};
    size_t n = 0;

    while (call_table_session(f->t, &walk, &ev, waiting_ok, &f->fx, f->now))
        n += count(f, wanted);
    return n;
}

static void test_sessions_reach_all_calls_of_the_device(void **state)
{
    struct call_table_conf conf = usual;
    struct sig_call_id of[CALL_TABLE_PER_USER_MAX];
    struct fixture f;

    (void)state;
    conf.waiting = true;
    open_table(&f, &conf);
    invite(&f, 1, "alice/laptop", "bob");
    invite(&f, 2, "alice/laptop", "carol");
    invite(&f, 3, "dave/pc", "bob"); /* call waiting: the tablet only */
    assert_int_equal(session(&f, "bob/watch", CALL_EV_NEW, true, CALL_FX_INCOMING), 2);
    assert_int_equal(session(&f, "bob/ring", CALL_EV_NEW, false, CALL_FX_INCOMING), 0);
    assert_int_equal(session(&f, "eve/box", CALL_EV_NEW, true, CALL_FX_INCOMING), 0);
    assert_true(call_table_in_call(f.t, SLICE_LIT("bob"), SLICE_LIT("watch")));
    assert_int_equal(call_table_of_device(f.t, SLICE_LIT("bob"), SLICE_LIT("watch"), of), 2);
    assert_int_equal(call_table_of_device(f.t, SLICE_LIT("bob"), SLICE_LIT("ring"), of), 0);
    assert_false(call_table_in_call(f.t, SLICE_LIT("bob"), SLICE_LIT("ring")));
    assert_int_equal(session(&f, "alice/laptop", CALL_EV_CLOSED, true, CALL_FX_ENDED), 3 + 2);
    assert_int_equal(call_table_count(f.t), 1);
    assert_int_equal(session(&f, "alice/laptop", CALL_EV_LOST, true, CALL_FX_ENDED), 0);
    close_table(&f);
}

static void test_the_server_can_end_a_call(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    invite(&f, 1, "alice/laptop", "bob");
    assert_true(call_table_end(f.t, id_of(1), SIG_REASON_ADMIN, &f.fx, f.now));
    assert_int_equal(count(&f, CALL_FX_ENDED), 3);
    assert_false(call_table_end(f.t, id_of(1), SIG_REASON_ADMIN, &f.fx, f.now));
    assert_false(call_table_end(f.t, id_of(9), SIG_REASON_ADMIN, &f.fx, f.now));
    close_table(&f);
}

static void test_views_are_valid_json_of_live_calls_only(void **state)
{
    const struct json_limits limits = {16, 512, 65536};
    struct call_table_conf conf = usual;
    uint8_t buf[4096];
    struct fixture f;

    (void)state;
    conf.waiting = true;
    open_table(&f, &conf);
    invite(&f, 1, "alice/laptop", "bob");
    invite(&f, 2, "alice/laptop", "carol");
    invite(&f, 3, "alice/laptop", "dave");
    request(&f, 3, "alice/laptop", CALL_EV_CANCEL);
    size_t size = call_table_views_size(f.t, SLICE_LIT("alice"), SLICE_LIT("laptop"));
    assert_true(size <= sizeof(buf));
    struct wr w = wr_init(buf, size);
    call_table_views(f.t, SLICE_LIT("alice"), SLICE_LIT("laptop"), &w, f.now);
    assert_false(w.bad);
    assert_int_equal(json_scan(wr_done(&w), &limits), 0);
    assert_int_equal(json_items_count(wr_done(&w)), 2);
    w = wr_init(buf, sizeof(buf));
    call_table_views(f.t, SLICE_LIT("eve"), SLICE_LIT("box"), &w, f.now);
    assert_true(slice_is(wr_done(&w), "[]"));
    close_table(&f);
}

static void test_views_leave_out_what_a_welcome_cannot_carry(void **state)
{
    static uint8_t buf[200000], offer[40000];
    struct call_table_conf conf = usual;
    struct fixture f;
    size_t with_offer = 0;

    (void)state;
    conf.waiting = true;
    open_table(&f, &conf);
    memset(offer, ' ', sizeof(offer));
    offer[0] = '{';
    offer[sizeof(offer) - 1] = '}';
    for (uint8_t n = 1; n <= 3; n++) {
        char caller[2] = {(char)('a' + n), 0};
        const struct call_invite in = {.id = *id_of(n),
                                       .user = slice_str(caller),
                                       .device = SLICE_LIT("d"),
                                       .to = SLICE_LIT("bob"),
                                       .offer_raw = slice_of(offer, sizeof(offer)),
                                       .metadata_raw = SLICE_LIT("{}"),
                                       .devices = everybody + 1,
                                       .devices_n = 1};
        call_table_invite(f.t, &in, &f.fx, f.now);
    }
    struct wr w = wr_init(buf, sizeof(buf));
    call_table_views(f.t, SLICE_LIT("bob"), SLICE_LIT("tablet"), &w, f.now);
    assert_int_equal(json_items_count(wr_done(&w)), 3);
    for (size_t i = 0; i + 7 < w.len; i++)
        with_offer += memcmp(buf + i, "\"offer\"", 7) == 0;
    assert_int_equal(with_offer, 1);
    close_table(&f);
}

static void test_effects_become_valid_messages(void **state)
{
    const struct json_limits limits = {16, 512, 65536};
    const struct slice ice = SLICE_LIT("[{\"urls\":[\"turn:x\"]}]");
    static const enum call_event_kind kinds[] = {
        CALL_EV_RINGING, CALL_EV_CANDIDATES, CALL_EV_ANSWER, CALL_EV_SYNC,
        CALL_EV_STATE,   CALL_EV_HANGUP,     CALL_EV_HANGUP};
    uint8_t buf[8192];
    struct fixture f;

    (void)state;
    open_table(&f, &usual);
    invite(&f, 1, "alice/laptop", "bob");
    for (size_t k = 0; k <= ARRAY_LEN(kinds); k++) {
        for (size_t i = 0; i < f.fx.n; i++) {
            buf[0] = '{';
            struct wr w = wr_init(buf + 1, call_fx_size(&f.fx.fx[i], ice));
            call_fx_write(&w, &f.fx.fx[i], SLICE_LIT("req-1"), ice, 1767225600140);
            assert_false(w.bad);
            assert_int_equal(json_scan(slice_of(buf, w.len + 1), &limits), 0);
        }
        if (k < ARRAY_LEN(kinds))
            request(&f, 1, "bob/phone", kinds[k]);
    }
    close_table(&f);
}

static void test_oom_leaves_a_table_that_works(void **state)
{
    uint64_t live = mem_live();
    bool done = false;

    (void)state;
    for (uint64_t n = 0; !done; n++) {
        struct fixture f = {.now = US_PER_S};
        mem_fail_after(n);
        f.t = call_table_new(&usual, f.now);
        if (f.t) {
            enum sig_err a = invite(&f, 1, "alice/laptop", "bob");
            enum sig_err b = invite(&f, 2, "bob/phone", "alice");
            assert_true(a == SIG_OK || a == SIG_ERR_INTERNAL);
            assert_true(b == SIG_OK || b == SIG_ERR_INTERNAL);
            assert_int_equal(call_table_count(f.t), 1); /* one of them, whichever failed */
            request(&f, 1, "bob/phone", CALL_EV_CANDIDATES);
            request(&f, 1, "bob/phone", CALL_EV_ANSWER);
        }
        done = !mem_failed();
        mem_fail_never();
        call_table_free(f.t);
        assert_int_equal(mem_live(), live);
    }
}

static void test_a_callee_who_sleeps_is_called_when_he_can_be_pushed(void **state)
{
    struct fixture f;
    struct call_invite in = {.id = *id_of(1),
                             .user = SLICE_LIT("alice"),
                             .device = SLICE_LIT("laptop"),
                             .to = SLICE_LIT("bob"),
                             .offer_raw = SLICE_LIT("{}"),
                             .metadata_raw = SLICE_LIT("{}"),
                             .pushed = 1};

    (void)state;
    open_table(&f, &usual);
    call_table_invite(f.t, &in, &f.fx, f.now);
    assert_int_equal(f.fx.n, 1);
    assert_int_equal(f.fx.fx[0].kind, CALL_FX_REPLY);
    assert_true(call_table_push(f.t, &in.id, false, false, &f.fx, f.now));
    assert_int_equal(f.fx.fx[0].reason, SIG_REASON_UNREACHABLE);
    assert_false(call_table_push(f.t, &in.id, false, false, &f.fx, f.now));
    assert_int_equal(call_table_count(f.t), 0);
    /* the second call of somebody who is in one wakes nobody */
    struct call_table_conf waiting = usual;
    waiting.waiting = true;
    close_table(&f);
    open_table(&f, &waiting);
    assert_int_equal(invite(&f, 1, "cyd/laptop", "bob"), SIG_OK);
    in.id = *id_of(2);
    in.devices = everybody;
    in.devices_n = ARRAY_LEN(everybody);
    call_table_invite(f.t, &in, &f.fx, f.now);
    assert_int_equal(f.fx.fx[0].kind, CALL_FX_REPLY);
    assert_int_equal(f.fx.fx[0].pushed, 0);
    assert_true(call_is_second(call_table_find(f.t, &in.id)));
    close_table(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_callee_who_sleeps_is_called_when_he_can_be_pushed),
        cmocka_unit_test(test_a_repeated_invite_gets_the_same_reply_and_rings_nobody),
        cmocka_unit_test(test_refused_invites_make_no_call),
        cmocka_unit_test(test_call_waiting_rings_the_devices_that_can),
        cmocka_unit_test(test_crossing_invites_become_one_call),
        cmocka_unit_test(test_a_new_invite_of_the_same_devices_replaces_the_call),
        cmocka_unit_test(test_dialing_again_while_it_rings_replaces_the_ghost),
        cmocka_unit_test(test_timers_run_and_ended_calls_are_forgotten),
        cmocka_unit_test(test_only_so_many_ended_calls_are_kept),
        cmocka_unit_test(test_sessions_reach_all_calls_of_the_device),
        cmocka_unit_test(test_the_server_can_end_a_call),
        cmocka_unit_test(test_views_are_valid_json_of_live_calls_only),
        cmocka_unit_test(test_views_leave_out_what_a_welcome_cannot_carry),
        cmocka_unit_test(test_effects_become_valid_messages),
        cmocka_unit_test(test_oom_leaves_a_table_that_works),
    };

    return cmocka_run_group_tests_name("call_table", tests, NULL, NULL);
}

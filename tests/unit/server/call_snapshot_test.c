/* Tests of server/call_snapshot.c: a call goes on elsewhere as it was.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "server/call_snapshot.h"

#define NOW  (1000 * US_PER_S)
#define WALL (1700000000 * US_PER_S)

static const struct call_conf conf = {.ring_timeout_us = 30 * US_PER_S,
                                      .caller_grace_us = 10 * US_PER_S,
                                      .connect_timeout_us = 15 * US_PER_S,
                                      .reconnect_timeout_us = 30 * US_PER_S,
                                      .max_duration_us = 3600 * US_PER_S,
                                      .ended_keep_us = 60 * US_PER_S};
static struct call_effects fx;
static uint8_t first[CALL_SNAPSHOT_MAX], second[CALL_SNAPSHOT_MAX];

static struct call *ring(void)
{
    static const struct call_device devices[] = {{SLICE_LIT("phone"), true, false},
                                                 {SLICE_LIT("tablet"), true, true}};
    const struct call_invite in = {.id = {{1, 2, 3}},
                                   .user = SLICE_LIT("ann"),
                                   .device = SLICE_LIT("mac"),
                                   .name = SLICE_LIT("Ann A."),
                                   .to = SLICE_LIT("bob"),
                                   .offer_raw = SLICE_LIT("{\"sdp\":\"offer\"}"),
                                   .metadata_raw = SLICE_LIT("{\"x\":1}"),
                                   .is_video = true,
                                   .devices = devices,
                                   .devices_n = ARRAY_LEN(devices)};
    call_effects_clear(&fx);
    struct call *c = call_new(&conf, &in, &fx, NOW);
    assert_non_null(c);
    return c;
}

static void say(struct call *c, const char *user, const char *device, enum call_event_kind kind,
                const char *data, uint64_t now)
{
    const struct call_event ev = {.kind = kind,
                                  .user = slice_str(user),
                                  .device = slice_str(device),
                                  .data = slice_str(data),
                                  .conn = SIG_CONN_CONNECTED};
    call_effects_clear(&fx);
    call_recv(c, &ev, &fx, now);
}

static struct slice write_it(uint8_t *buf, const struct call *c, uint64_t now, uint64_t wall)
{
    struct wr w = wr_init(buf, CALL_SNAPSHOT_MAX);

    call_snapshot_write(&w, c, now, wall);
    assert_false(w.bad);
    return wr_done(&w);
}

/* What is read on a clock of another node, and read again on this one, has the same bytes; c is
 * freed. */
static struct call *move(struct call *c, uint64_t now, uint64_t there)
{
    struct slice a = write_it(first, c, now, WALL);
    struct call *d = call_snapshot_read(&conf, a, there, WALL);

    assert_non_null(d);
    struct call *back = call_snapshot_read(&conf, write_it(second, d, there, WALL), now, WALL);
    assert_non_null(back);
    struct slice b = write_it(second, back, now, WALL);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.p, b.p, a.len);
    call_free(back);
    call_free(c);
    return d;
}

static uint64_t hash_of(const struct call *c, uint64_t now)
{
    struct wr w = wr_init(first, sizeof(first));

    return call_snapshot_state(&w, c, now, WALL + now);
}

static void test_what_has_not_changed_is_told_by_its_hash(void **state)
{
    struct call *c = ring();
    uint64_t texts = call_snapshot_texts_mark(c), hash = hash_of(c, NOW);
    struct wr small = wr_init(first, 20);

    (void)state;
    assert_true(hash == hash_of(c, NOW + 5 * US_PER_S)); /* clocks go on */
    assert_int_equal(call_snapshot_state(&small, c, NOW, WALL), 0);
    say(c, "bob", "phone", CALL_EV_RINGING, "", NOW + US_PER_S);
    assert_true(hash != hash_of(c, NOW + US_PER_S) && texts == call_snapshot_texts_mark(c));
    hash = hash_of(c, NOW);
    say(c, "bob", "phone", CALL_EV_RINGING, "", NOW + 2 * US_PER_S); /* says nothing new */
    assert_true(hash == hash_of(c, NOW));
    say(c, "bob", "phone", CALL_EV_ANSWER, "{\"sdp\":\"answer\"}", NOW + 3 * US_PER_S);
    assert_true(hash != hash_of(c, NOW) && texts != call_snapshot_texts_mark(c));
    call_free(c);
}

static void test_a_ringing_call_rings_on(void **state)
{
    struct call *c = ring();

    (void)state;
    say(c, "ann", "mac", CALL_EV_CANDIDATES, "{\"c\":1}", NOW);
    say(c, "bob", "phone", CALL_EV_RINGING, "", NOW + US_PER_S);
    say(c, "bob", "phone", CALL_EV_CANDIDATES, "{\"c\":2}", NOW + US_PER_S);
    c = move(c, NOW + 2 * US_PER_S, 50 * US_PER_S);
    assert_int_equal(call_state(c), SIG_CALL_RINGS);
    assert_int_equal(call_deadline(c), 78 * US_PER_S); /* 28 s are left of 30 */
    say(c, "bob", "phone", CALL_EV_ANSWER, "{\"sdp\":\"answer\"}", 51 * US_PER_S);
    assert_int_equal(call_state(c), SIG_CALL_CONNECTING);
    size_t relayed = 0, ended = 0;
    for (size_t i = 0; i < fx.n; i++) {
        relayed += fx.fx[i].kind == CALL_FX_RELAY && slice_is(fx.fx[i].data_raw, "{\"c\":2}");
        ended += fx.fx[i].kind == CALL_FX_ENDED && slice_is(fx.fx[i].device, "tablet");
    }
    assert_true(relayed == 1 && ended == 1);
    c = move(c, 52 * US_PER_S, NOW);
    assert_true(slice_is(call_winner(c), "phone"));
    say(c, "ann", "mac", CALL_EV_STATE, "", NOW);
    say(c, "bob", "phone", CALL_EV_STATE, "", NOW);
    assert_int_equal(call_state(c), SIG_CALL_ACTIVE);
    c = move(c, NOW + 5 * US_PER_S, 20 * US_PER_S);
    say(c, "ann", "mac", CALL_EV_HANGUP, "", 21 * US_PER_S);
    assert_int_equal(call_state(c), SIG_CALL_OVER);
    assert_int_equal(call_duration_ms(c), 6000);
    call_free(c);
}

static void test_time_goes_on_while_nobody_has_the_call(void **state)
{
    struct call *c = ring();
    struct slice a = write_it(first, c, NOW, WALL);
    struct call *d = call_snapshot_read(&conf, a, 10 * US_PER_S, WALL + 8 * US_PER_S);

    (void)state;
    assert_int_equal(call_deadline(d), 32 * US_PER_S);
    call_free(d);
    d = call_snapshot_read(&conf, a, 10 * US_PER_S, WALL + 31 * US_PER_S);
    assert_int_equal(call_deadline(d), 10 * US_PER_S); /* due at once */
    call_free(d);
    d = call_snapshot_read(&conf, a, 10 * US_PER_S, WALL - 5 * US_PER_S); /* a clock behind */
    assert_int_equal(call_deadline(d), 40 * US_PER_S);
    call_free(d);
    call_free(c);
}

static void test_what_is_cut_or_changed_is_no_call(void **state)
{
    struct call *c = ring();
    struct slice a = write_it(first, c, NOW, WALL);

    (void)state;
    for (size_t n = 0; n < a.len; n++)
        assert_null(call_snapshot_read(&conf, slice_sub(a, 0, n), NOW, WALL));
    first[a.len] = 0;
    assert_null(call_snapshot_read(&conf, slice_of(first, a.len + 1), NOW, WALL));
    struct wr texts = wr_init(second, sizeof(second));
    call_snapshot_texts(&texts, c);
    first[texts.len]++; /* the version */
    assert_null(call_snapshot_read(&conf, a, NOW, WALL));
    call_free(c);
}

static void test_oom_leaves_nothing(void **state)
{
    struct call *c = ring();

    (void)state;
    say(c, "ann", "mac", CALL_EV_CANDIDATES, "{\"c\":1}", NOW);
    struct slice a = write_it(first, c, NOW, WALL);
    uint64_t live = mem_live();
    struct call *d = NULL;
    for (uint64_t n = 0; !d; n++) {
        assert_int_equal(mem_live(), live);
        mem_fail_after(n);
        d = call_snapshot_read(&conf, a, NOW, WALL);
        mem_fail_never();
    }
    call_free(d);
    call_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ringing_call_rings_on),
        cmocka_unit_test(test_what_has_not_changed_is_told_by_its_hash),
        cmocka_unit_test(test_time_goes_on_while_nobody_has_the_call),
        cmocka_unit_test(test_what_is_cut_or_changed_is_no_call),
        cmocka_unit_test(test_oom_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

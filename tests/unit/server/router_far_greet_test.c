/* Tests of server/router_far_hold.c in a whole router: sessions that begin, and calls whose node is
 * gone. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/far_scene.h"

/* Time passes for a client that answers pings; nothing is said to it. */
static void pass_quietly(struct world *w, struct fake *f, uint64_t us, const char *one,
                         const char *two)
{
    char entries[2][80];

    snprintf(entries[0], sizeof(entries[0]), "%s", one ? one : "");
    snprintf(entries[1], sizeof(entries[1]), "%s", two ? two : "");
    for (uint64_t end = w->now + us; w->now < end; far_pass(w, 10 * US_PER_MS)) {
        far_pass(w, 0);
        while (one && far_open() > 0)
            far_answer(w, entries[0], two ? entries[1] : NULL);
        assert_null(fake_next(f));
        fake_frame(f, WS_OP_PONG, "", 0);
    }
}

static bool is_ended(struct fake *f, const char *call)
{
    const char *m = fake_next(f);

    return has(m, "\"call.ended\"") && has(m, "server_error") && has(m, call);
}

/* ---- greetings ---- */

static void test_a_greeting_tells_the_nodes_of_the_users_calls(void **state)
{
    struct world *w = *state;
    struct fake *f = come(w);

    assert_true(far_world.looks == 1 && far_world.heard_n == 0);
    assert_string_equal(far_world.look_key, "p:busy:{bob}");
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    assert_int_equal(far_world.heard_n, 2);
    assert_true(is_told(0, 'b', CALL_EV_NEW, CALL) && is_told(1, 'c', CALL_EV_NEW, CALL2));
    say(w, f, "call.hangup", "r1", CALL2, NULL);
    assert_true(is_asked(w, 2, 'c', "\"r1\"") && far_world.looks == 1);
    fake_free(f);
}

static void test_a_greeting_does_not_hold_back_what_the_device_says(void **state)
{
    struct world *w = *state;
    struct fake *f = come(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_int_equal(far_world.looks, 2);
    far_answer(w, far_entry(CALL, 'a'), far_entry(CALL2, 'b')); /* of ours nobody is told */
    assert_true(far_world.heard_n == 1 && is_told(0, 'b', CALL_EV_NEW, CALL2));
    far_answer(w, NULL, NULL);
    assert_true(is_not_found(f, "r1") && far_world.heard_n == 1);
    fake_free(f);
}

static void test_a_session_that_goes_on_here_is_back_in_its_calls(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    router_far_greet_back(w->r, session_of(w));
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    assert_true(is_told(0, 'b', CALL_EV_BACK, CALL) && is_told(1, 'c', CALL_EV_BACK, CALL2));
    assert_int_equal(far_world.heard_n, 2);
    fake_free(f);
}

static void test_a_session_for_one_call_tells_only_the_node_of_that_one(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);
    struct session *s = session_of(w);

    s->only_call = true;
    s->call = far_call_id(CALL2);
    router_far_greet(w->r, s);
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    assert_true(far_world.heard_n == 1 && is_told(0, 'c', CALL_EV_NEW, CALL2));
    fake_free(f);
}

static void test_a_greeting_waits_for_the_next_node_of_a_dead_ones_call_alone(void **state)
{
    struct world *w = *state;
    struct fake *f = come(w);

    far_world.alive['b' - 'a'] = NODE_DEAD;
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    assert_true(far_world.heard_n == 1 && is_told(0, 'c', CALL_EV_NEW, CALL2));
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    assert_true(far_world.heard_n == 1 && far_world.looks == 2);
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    far_answer(w, far_entry(CALL, 'd'), far_entry(CALL2, 'c')); /* who was told hears it once */
    assert_true(far_world.heard_n == 2 && is_told(1, 'd', CALL_EV_NEW, CALL));
    assert_true(list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_a_device_whose_socket_is_gone_before_the_answer_is_lost(void **state)
{
    struct world *w = *state;
    struct fake *f = come(w);

    fake_free(f);
    far_pass(w, 0);
    assert_int_equal(far_world.heard_n, 0);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_int_equal(far_world.heard_n, 2);
    assert_true(is_told(0, 'b', CALL_EV_NEW, CALL) && is_told(1, 'b', CALL_EV_LOST, CALL));
}

/* ---- nodes that go ---- */

static void test_a_dead_nodes_call_that_another_has_knows_that_its_device_is_back(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    far_dies(w, 'b');
    far_pass(w, 0);
    assert_int_equal(far_world.looks, 1);
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL2, 'd'));
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    far_answer(w, far_entry(CALL, 'c'), far_entry(CALL2, 'd'));
    assert_int_equal(far_world.heard_n, 1); /* of no other call */
    assert_true(is_told(0, 'c', CALL_EV_BACK, CALL) && !fake_next(f));
    assert_true(router_in_call(w->r, session_of(w)));
    fake_free(f);
}

static void test_a_device_without_a_socket_is_not_back_at_the_next_node(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    fake_free(f);
    far_pass(w, 0);
    assert_true(far_world.heard_n == 1 && is_told(0, 'b', CALL_EV_LOST, CALL));
    far_dies(w, 'b');
    far_pass(w, 0);
    far_answer(w, far_entry(CALL, 'c'), NULL);
    assert_true(far_world.heard_n == 2 && is_told(1, 'c', CALL_EV_LOST, CALL));
}

static void test_a_dead_nodes_call_that_nobody_has_after_15_s_has_ended(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    node_says(w, 'c', CALL2, "\"type\":\"call.info\"}"); /* a call of a living one goes on */
    assert_true(has(fake_next(f), "call.info"));
    far_dies(w, 'b');
    pass_quietly(w, f, ORPHAN_US - 10 * US_PER_MS, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    far_pass(w, 20 * US_PER_MS);
    assert_true(is_ended(f, CALL) && !fake_next(f) && router_in_call(w->r, session_of(w)));
    assert_true(list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_each_dead_nodes_call_has_15_s_of_its_own(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    node_says(w, 'c', CALL2, "\"type\":\"call.info\"}");
    assert_true(has(fake_next(f), "call.info"));
    far_dies(w, 'b');
    pass_quietly(w, f, ORPHAN_US - US_PER_S, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    far_dies(w, 'c');
    pass_quietly(w, f, US_PER_S - 10 * US_PER_MS, far_entry(CALL, 'b'), far_entry(CALL2, 'c'));
    far_pass(w, 20 * US_PER_MS);
    assert_true(is_ended(f, CALL));
    pass_quietly(w, f, US_PER_S, far_entry(CALL2, 'd'), NULL);
    assert_true(is_told(0, 'd', CALL_EV_BACK, CALL2) && router_in_call(w->r, session_of(w)));
    fake_free(f);
}

static void test_a_dead_nodes_call_that_was_over_ends_at_once(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    far_dies(w, 'b');
    far_pass(w, 0);
    far_answer(w, far_entry(CALL2, 'c'), NULL);
    assert_true(is_ended(f, CALL) && !fake_next(f) && list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_a_dead_nodes_call_is_looked_for_whatever_redis_says(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    say(w, f, "call.info", "r1", CALL, "{\"onHold\":true}");
    far_dies(w, 'b');
    far_pass(w, 0);
    far_answer_raw(w, "-ERR no\r\n");
    far_answer_raw(w, "-ERR no\r\n");
    pass_quietly(w, f, AGAIN_US, NULL, NULL);
    assert_true(far_open() == 2 && far_world.looks == 4);
    pass_quietly(w, f, 10 * US_PER_S, NULL, NULL); /* it does not answer */
    far_world.ready = false; /* what the device asks meanwhile is looked for as well */
    far_world.away_us = w->now - 10 * US_PER_S;
    say(w, f, "call.info", "r2", CALL, "{\"onHold\":false}");
    assert_null(fake_next(f));
    far_world.ready = true;
    pass_quietly(w, f, US_PER_S, far_entry(CALL, 'c'), NULL);
    assert_true(far_world.heard_n == 4 && is_told(1, 'c', CALL_EV_BACK, CALL));
    assert_true(is_asked(w, 2, 'c', "\"r1\"") && is_asked(w, 3, 'c', "\"r2\""));
    assert_true(list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_what_is_asked_of_a_dead_nodes_call_waits_whatever_redis_says(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    far_world.ready = false;
    pass_quietly(w, f, 10 * US_PER_S, NULL, NULL);
    far_dies(w, 'b');
    say(w, f, "call.hangup", "r1", CALL, NULL);
    pass_quietly(w, f, 10 * US_PER_S, NULL, NULL);
    assert_int_equal(far_open(), 2);
    pass_quietly(w, f, 10 * US_PER_MS, far_entry(CALL, 'c'), NULL);
    assert_true(far_world.heard_n == 2 && is_told(0, 'c', CALL_EV_BACK, CALL));
    assert_true(is_asked(w, 1, 'c', "\"r1\""));
    fake_free(f);
}

static void test_a_dead_nodes_call_ends_when_redis_is_away_for_15_s(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    far_world.ready = false;
    far_world.away_us = 0;
    pass_quietly(w, f, 10 * US_PER_S, NULL, NULL);
    far_dies(w, 'b');
    pass_quietly(w, f, ORPHAN_US - 10 * US_PER_MS, NULL, NULL);
    far_pass(w, 20 * US_PER_MS);
    assert_true(is_ended(f, CALL) && list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_requests_that_are_taken_back_wait_and_are_asked_again_in_their_order(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    say(w, f, "call.info", "r1", CALL, "{\"a\":1}");
    say(w, f, "call.candidates", NULL, CALL, CANDIDATE);
    say(w, f, "call.info", "r2", CALL, "{\"a\":2}");
    assert_true(far_world.heard_n == 3 && far_world.looks == 0);
    far_dies(w, 'b');
    say(w, f, "call.info", "r3", CALL, "{\"a\":3}");
    assert_true(far_world.heard_n == 3 && !fake_next(f));
    assert_int_equal(far_world.looks, 2); /* for them; for the device */
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL, 'c'));
    assert_int_equal(far_world.heard_n, 8);
    assert_true(is_told(3, 'c', CALL_EV_BACK, CALL)); /* before: it takes the device for lost */
    assert_true(is_asked(w, 4, 'c', "\"r1\"") && is_asked(w, 5, 'c', "call.candidates"));
    assert_true(is_asked(w, 6, 'c', "\"r2\"") && is_asked(w, 7, 'c', "\"r3\""));
    far_answer(w, far_entry(CALL, 'c'), NULL);
    assert_true(far_world.heard_n == 8 && !fake_next(f));
    node_replies(w, 4, "\"re\":\"r1\",\"yes\":1}");
    assert_true(has(fake_next(f), "\"r1\"") && !fake_next(f));
    fake_free(f);
}

static void test_what_is_taken_back_beyond_what_can_wait_is_unavailable(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    for (int i = 0; i < 256; i++)
        fake_say(f, text_of("call.candidates", NULL, CALL, CANDIDATE));
    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_int_equal(far_world.heard_n, 257);
    far_dies(w, 'b');
    const char *m = fake_next(f);
    assert_true(has(m, "store.unavailable") && has(m, "\"r1\"") && !fake_next(f));
    far_pass(w, 0);
    far_answer(w, far_entry(CALL, 'c'), NULL);
    assert_int_equal(far_world.heard_n, 257 + 1 + 256);
    fake_free(f);
}

/* One allocation fails while b's end is told. False: none did. */
static bool fails(void **state, uint64_t n)
{
    uint64_t live = mem_live();
    assert_int_equal(far_setup(state), 0);
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);
    size_t asked = 0, refused = 0;

    say(w, f, "call.info", "r1", CALL, NULL);
    say(w, f, "call.info", "r2", CALL, NULL);
    mem_fail_after(n);
    far_dies(w, 'b');
    bool failed = mem_failed();
    mem_fail_never();
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    say(w, f, "call.hangup", "r3", CALL, NULL);
    while (far_open() > 0)
        far_answer(w, far_entry(CALL, 'c'), NULL);
    for (size_t i = 2; i < far_world.heard_n; i++)
        asked += is_asked(w, i, 'c', "\"call.");
    for (const char *m; (m = fake_next(f)); refused++)
        assert_true(has(m, "store.unavailable"));
    assert_true(asked + refused == 3 && asked >= 1 &&
                is_asked(w, far_world.heard_n - 1, 'c', "r3"));
    assert_true(list_empty(&w->r->far->holds) && router_in_call(w->r, session_of(w)));
    fake_free(f);
    far_teardown(state);
    assert_true(mem_live() == live);
    return failed;
}

static void test_a_dead_nodes_call_that_cannot_be_looked_for_now_is_later(void **state)
{
    unsigned fails = 0, misses = 0;

    for (bool failed = true; failed; fails += failed) {
        struct world *w = *state;
        struct fake *f = in_call_of_b(w);
        mem_fail_after(fails);
        far_dies(w, 'b');
        failed = mem_failed();
        mem_fail_never();
        far_pass(w, AGAIN_US + 20 * US_PER_MS);
        misses += far_open() == 0;
        if (far_open() > 0)
            far_answer(w, far_entry(CALL, 'c'), NULL);
        assert_true(far_world.heard_n == 0 || is_told(0, 'c', CALL_EV_BACK, CALL));
        fake_free(f);
        far_teardown(state);
        assert_int_equal(far_setup(state), 0);
    }
    assert_true(fails >= 2 && misses == 1); /* of the greeting itself */
}

static void test_a_failing_allocation_loses_no_more_than_its_own(void **state)
{
    uint64_t n = 0;

    far_teardown(state);
    while (fails(state, n))
        n++;
    assert_true(n >= 5);
    assert_int_equal(far_setup(state), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_greeting_tells_the_nodes_of_the_users_calls),
        TEST(test_a_greeting_does_not_hold_back_what_the_device_says),
        TEST(test_a_session_that_goes_on_here_is_back_in_its_calls),
        TEST(test_a_session_for_one_call_tells_only_the_node_of_that_one),
        TEST(test_a_greeting_waits_for_the_next_node_of_a_dead_ones_call_alone),
        TEST(test_a_device_whose_socket_is_gone_before_the_answer_is_lost),
        TEST(test_a_dead_nodes_call_that_another_has_knows_that_its_device_is_back),
        TEST(test_a_device_without_a_socket_is_not_back_at_the_next_node),
        TEST(test_a_dead_nodes_call_that_nobody_has_after_15_s_has_ended),
        TEST(test_each_dead_nodes_call_has_15_s_of_its_own),
        TEST(test_a_dead_nodes_call_that_was_over_ends_at_once),
        TEST(test_a_dead_nodes_call_is_looked_for_whatever_redis_says),
        TEST(test_what_is_asked_of_a_dead_nodes_call_waits_whatever_redis_says),
        TEST(test_a_dead_nodes_call_ends_when_redis_is_away_for_15_s),
        TEST(test_requests_that_are_taken_back_wait_and_are_asked_again_in_their_order),
        TEST(test_what_is_taken_back_beyond_what_can_wait_is_unavailable),
        TEST(test_a_dead_nodes_call_that_cannot_be_looked_for_now_is_later),
        TEST(test_a_failing_allocation_loses_no_more_than_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

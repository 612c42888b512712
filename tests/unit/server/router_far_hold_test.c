/* Tests of server/router_far_hold.c in a whole router: requests that wait until Redis has told who
 * runs their call, and what waits behind them. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/far_scene.h"

/* ---- requests ---- */

static void test_a_request_on_an_unknown_call_is_asked_of_its_node(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.answer", "r1", CALL, ANSWER);
    assert_int_equal(far_world.looks, 1);
    assert_string_equal(far_world.look_key, "p:busy:{bob}");
    assert_true(far_world.heard_n == 0 && !fake_next(f));
    far_answer(w, far_entry(CALL2, 'c'), far_entry(CALL, 'b'));
    assert_int_equal(far_world.heard_n, 1);
    assert_true(is_asked(w, 0, 'b', text_of("call.answer", "r1", CALL, ANSWER)));
    assert_null(fake_next(f)); /* its answer is the node's */
    node_replies(w, 0, "\"re\":\"r1\",\"yes\":1}");
    assert_true(has(fake_next(f), "\"re\":\"r1\",\"yes\":1}"));
    say(w, f, "call.hangup", "r2", CALL, NULL); /* now it is known */
    assert_true(is_asked(w, 1, 'b', "r2") && far_world.looks == 1);
    assert_true(list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_what_is_said_of_the_call_meanwhile_waits_behind_it(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.answer", "r1", CALL, ANSWER);
    say(w, f, "call.candidates", NULL, CALL, CANDIDATE);
    say(w, f, "call.state", NULL, CALL2, CONNECTED);
    say(w, f, "call.hangup", "r2", CALL, NULL);
    say(w, f, "call.hangup", "r2", CALL, NULL); /* repeated: it has no second answer */
    assert_true(far_world.heard_n == 0 && !fake_next(f));
    node_says(w, 'b', CALL, "\"type\":\"call.info\"}"); /* its node becomes known: not to them */
    assert_true(has(fake_next(f), "call.info"));
    say(w, f, "call.info", "r3", CALL, "{\"a\":1}");
    assert_int_equal(far_world.heard_n, 0);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_int_equal(far_world.heard_n, 4);
    assert_true(is_asked(w, 0, 'b', "call.answer") && is_asked(w, 1, 'b', "call.candidates"));
    assert_true(is_asked(w, 2, 'b', "\"r2\"") && is_asked(w, 3, 'b', "\"r3\""));
    assert_true(far_world.looks == 2 && far_open() == 1); /* the other call's question */
    far_answer(w, far_entry(CALL2, 'c'), NULL);
    assert_true(far_world.heard_n == 5 && is_asked(w, 4, 'c', "call.state"));
    assert_null(fake_next(f));
    fake_free(f);
}

static void test_an_invite_that_waits_is_an_invite(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.sync", "r1", CALL, NULL);
    fake_say(f, "{\"type\":\"call.invite\",\"id\":\"r2\",\"callId\":\"" CALL
                "\",\"to\":\"alice\",\"data\":{\"metadata\":{\"isVideo\":false},\"offer\":{"
                "\"type\":\"offer\",\"sdp\":\"v=0\"}}}");
    say(w, f, "call.cancel", "r3", CALL, NULL);
    far_answer(w, NULL, NULL);
    assert_true(is_not_found(f, "r1") && !fake_next(f));
    far_pass(w, US_PER_S); /* nobody is found; what came behind it waits for that */
    const char *m = fake_next(f);
    assert_true(has(m, "\"r2\"") && has(m, "callee.unreachable"));
    m = fake_next(f);
    assert_true(has(m, "\"r3\"") && !fake_next(f) && list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_calls_besides_the_one_that_is_asked_for_do_not_matter(void **state)
{
    const char *entries[21]; /* more than are looked at of a new session */
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.alive['c' - 'a'] = NODE_UNKNOWN;
    far_world.alive['d' - 'a'] = NODE_DEAD;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    for (int i = 0; i < 20; i++)
        entries[i] = far_entry(CALL2, i % 2 ? 'c' : 'd');
    entries[20] = far_entry(CALL, 'b');
    far_answer_all(w, entries, ARRAY_LEN(entries));
    assert_true(far_world.heard_n == 1 && is_asked(w, 0, 'b', "\"r1\""));
    fake_free(f);
}

static void test_a_call_that_nobody_has_is_not_found(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    say(w, f, "call.candidates", NULL, CALL, CANDIDATE);
    say(w, f, "call.hangup", "r2", CALL, NULL);
    far_answer(w, far_entry(CALL2, 'b'), "of no call");
    assert_true(is_not_found(f, "r1") && is_not_found(f, "r2") && !fake_next(f));
    say(w, f, "call.hangup", "r3", CALL, NULL);
    far_answer(w, far_entry(CALL, 'a'), NULL); /* ours, and it has ended */
    assert_true(is_not_found(f, "r3") && far_world.heard_n == 0);
    fake_free(f);
}

static void test_a_call_of_a_dead_node_is_looked_for_until_another_has_it(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.alive['b' - 'a'] = NODE_DEAD;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    for (size_t n = 1; n <= 5; n++) {
        assert_true(far_world.looks == n && far_open() == 1);
        far_answer(w, far_entry(CALL, 'b'), NULL);
        far_pass(w, AGAIN_US - 1);
        assert_int_equal(far_world.looks, n);
        far_pass(w, 10 * US_PER_MS);
    }
    assert_int_equal(far_world.looks, 6);
    say(w, f, "call.info", "r2", CALL, "{\"a\":1}");
    assert_true(far_world.heard_n == 0 && !fake_next(f));
    far_answer(w, far_entry(CALL, 'b'), far_entry(CALL, 'c')); /* who takes it stands behind */
    assert_int_equal(far_world.heard_n, 2);
    assert_true(is_asked(w, 0, 'c', "\"r1\"") && is_asked(w, 1, 'c', "\"r2\""));
    far_pass(w, US_PER_S);
    assert_true(far_world.looks == 6 && !fake_next(f));
    fake_free(f);
}

static void test_a_call_of_a_dead_node_that_nobody_takes_is_not_found_after_15_s(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);
    uint64_t since = w->now;

    far_world.alive['b' - 'a'] = NODE_DEAD;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    while (w->now < since + ORPHAN_US - 10 * US_PER_MS) {
        if (far_open() > 0)
            far_answer(w, far_entry(CALL, 'b'), NULL);
        far_pass(w, 10 * US_PER_MS);
    }
    assert_true(!fake_next(f) && far_world.looks > 60);
    far_pass(w, 20 * US_PER_MS);
    assert_true(is_not_found(f, "r1") && list_empty(&w->r->far->holds));
    fake_free(f);
}

static void test_256_messages_wait_and_no_more(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    for (int i = 1; i < 256; i++)
        fake_say(f, text_of("call.candidates", NULL, CALL, CANDIDATE));
    assert_null(fake_next(f));
    say(w, f, "call.hangup", "r2", CALL, NULL);
    const char *m = fake_next(f);
    assert_true(has(m, "\"overloaded\"") && has(m, "\"r2\"") && far_open() == 1);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(far_world.heard_n == 256 && is_asked(w, 0, 'b', "\"r1\""));
    assert_true(is_asked(w, 255, 'b', "call.candidates") && !fake_next(f));
    fake_free(f);
}

static void test_64_KB_wait_and_no_more(void **state)
{
    static char data[32768];
    struct world *w = *state;
    struct fake *f = join(w);
    size_t head = strlen(text_of("call.answer", "b1", CALL, ANSWER_OF("")));

    snprintf(data, sizeof(data), ANSWER_OF("%0*d"), (int)(16384 - head), 0);
    assert_int_equal(strlen(text_of("call.answer", "b1", CALL, data)), 16384);
    for (int i = 1; i < 6; i++) { /* the request itself does not count */
        char id[] = {'b', (char)('0' + i), 0};
        say(w, f, "call.answer", id, CALL, data);
    }
    assert_null(fake_next(f));
    say(w, f, "call.hangup", "r2", CALL, NULL);
    const char *m = fake_next(f);
    assert_true(has(m, "\"overloaded\"") && has(m, "\"r2\""));
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(far_world.heard_n == 5 && is_asked(w, 4, 'b', "\"b5\"") && !fake_next(f));
    fake_free(f);
}

/* ---- when Redis does not say ---- */

static void test_when_redis_says_an_error_the_call_is_unknown(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    far_answer_raw(w, "-ERR no\r\n");
    assert_true(is_unknown(f, "r1"));
    say(w, f, "call.hangup", "r2", CALL, NULL);
    node_says(w, 'b', CALL, ""); /* it learns whom to ask meanwhile */
    far_answer_raw(w, "-ERR no\r\n");
    assert_true(far_world.heard_n == 1 && is_asked(w, 0, 'b', "\"r2\"") && !fake_next(f));
    fake_free(f);
}

/* Until then it waits; then the command is of no use any more, whoever tells it first. */
static void silent(void **state, bool idle)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.idle = idle;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    far_pass(w, ANSWER_US - 1);
    assert_true(!fake_next(f) && far_open() == 1);
    far_pass(w, 1);
    assert_true(is_unknown(f, "r1") && list_empty(&w->r->far->holds));
    far_answer(w, far_entry(CALL, 'b'), NULL); /* too late */
    assert_true(far_world.heard_n == 0 && !fake_next(f));
    fake_free(f);
}

static void test_when_redis_does_not_answer_the_call_is_unknown_after_5_s(void **state)
{
    silent(state, false);
}

static void test_when_its_client_does_not_say_so_it_is_unknown_all_the_same(void **state)
{
    silent(state, true);
}

static void test_redis_that_is_away_for_long_is_not_asked(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.ready = false;
    far_world.away_us = w->now;
    assert_true(far_hold_may_ask(w->r, false) && !far_hold_may_ask(w->r, true));
    far_pass(w, ANSWER_US - 1);
    assert_true(far_hold_may_ask(w->r, false));
    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_true(far_world.looks == 1 && !fake_next(f));
    far_answer(w, far_entry(CALL2, 'b'), NULL);
    assert_true(is_not_found(f, "r1"));
    far_pass(w, 1);
    assert_false(far_hold_may_ask(w->r, false));
    say(w, f, "call.hangup", "r2", CALL, NULL);
    assert_true(far_world.looks == 1 && is_unknown(f, "r2"));
    router_far_greet(w->r, session_of(w));
    assert_true(list_empty(&w->r->far->holds));
    far_world.ready = true;
    assert_true(far_hold_may_ask(w->r, false) && far_hold_may_ask(w->r, true));
    fake_free(f);
}

static void test_a_node_of_unknown_life_is_waited_for_2_s_at_most(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.alive['b' - 'a'] = NODE_UNKNOWN;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    far_pass(w, 500 * US_PER_MS);
    assert_int_equal(far_world.heard_n, 0);
    far_world.alive['b' - 'a'] = NODE_ALIVE;
    far_pass(w, 10 * US_PER_MS);
    assert_true(is_asked(w, 0, 'b', "\"r1\"") && far_world.looks == 1);
    far_world.alive['c' - 'a'] = NODE_UNKNOWN;
    say(w, f, "call.hangup", "r2", CALL2, NULL);
    far_answer(w, far_entry(CALL2, 'c'), NULL);
    far_pass(w, 2 * US_PER_S - 1);
    assert_int_equal(far_world.heard_n, 1);
    far_pass(w, 10 * US_PER_MS);
    assert_true(is_asked(w, 1, 'c', "\"r2\"") && !fake_next(f)); /* it counts */
    fake_free(f);
}

/* ---- what is left ---- */

static void test_a_session_without_a_socket_has_its_answer_when_it_comes_back(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    fake_free(f);
    far_pass(w, 0);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(far_world.heard_n == 1 && is_asked(w, 0, 'b', "\"r1\""));
    uint64_t said = session_of(w)->rel.out_seq;
    node_replies(w, 0, "\"re\":\"r1\",\"yes\":1}");
    assert_int_equal(session_of(w)->rel.out_seq, said + 1);
}

/* Bob's session says this of calls, and ends before Redis has told whose they are. */
static void end_while_it_waits(struct world *w)
{
    struct fake *f = join(w);

    say(w, f, "call.hangup", "r1", CALL, NULL);
    say(w, f, "call.candidates", NULL, CALL, CANDIDATE);
    router_far_greet(w->r, session_of(w));
    far_pass(w, 0);
    router_end(w->r, session_of(w), CALL_EV_CLOSED);
    fake_free(f);
    far_pass(w, 0);
    assert_int_equal(far_open(), 2);
}

static void test_a_session_that_ends_while_it_waits_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    router_end(w->r, session_of(w), CALL_EV_CLOSED);
    fake_free(f);
    far_pass(w, 0);
    uint64_t live = mem_live();

    end_while_it_waits(w); /* Redis answers; that the node is dead is waited for by nobody */
    far_world.alive['c' - 'a'] = NODE_DEAD;
    far_answer(w, far_entry(CALL, 'b'), NULL);
    far_answer(w, far_entry(CALL, 'c'), NULL);
    assert_true(far_world.heard_n == 0 && mem_live() == live);

    end_while_it_waits(w); /* it does not, and then too late */
    far_world.idle = true;
    far_pass(w, ANSWER_US);
    assert_true(list_empty(&w->r->far->holds));
    far_answer(w, far_entry(CALL, 'b'), NULL);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(far_world.heard_n == 0 && mem_live() == live);

    end_while_it_waits(w); /* all ends */
    router_far_free(w->r);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(redis_client_calls(world.c) == 0 && far_world.heard_n == 0);
}

static void test_a_question_that_nobody_waits_for_is_not_sent_any_more(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.idle = far_world.cut = true;
    say(w, f, "call.hangup", "r1", CALL, NULL);
    far_pass(w, ANSWER_US);
    assert_true(is_unknown(f, "r1"));
    far_world.cut = false;
    far_pass(w, 0);
    assert_true(far_world.looks == 0 && far_open() == 0);
    fake_free(f);
}

/* Its answer, without what Redis's client does with memory. */
static void answer_by_hand(struct world *w, const char *entry)
{
    struct far_hold *h = CONTAINER_OF(list_first(&w->r->far->holds), struct far_hold, link);
    struct resp text = {.kind = RESP_STRING, .text = slice_str(entry)}, *item = &text;
    const struct resp list = {.kind = RESP_ARRAY, .item = &item, .n = 1};

    redis_client_cancel(world.c, &h->look);
    far_hold_on_look(&h->look, REDIS_ANSWERED, &list, w->now);
}

/* The request was taken to b, once; or it was refused. */
static bool is_done(struct world *w, struct fake *f, const char *id)
{
    size_t n = 0;

    for (size_t i = 0; i < far_world.heard_n; i++)
        n += far_world.heard[i].kind == FAR_ASK && strstr(far_world.heard[i].text, id) != NULL;
    const char *m = fake_next(f);
    (void)w;
    return m ? n == 0 && has(m, id) && has(m, "\"error\"") && !fake_next(f) : n == 1;
}

/* One allocation fails while a request is taken in, or while its answer comes (late). False: none
 * did. */
static bool fails(void **state, uint64_t n, bool late)
{
    uint64_t live = mem_live();
    assert_int_equal(far_setup(state), 0);
    struct world *w = *state;
    struct fake *f = join(w);

    if (!late)
        mem_fail_after(n);
    fake_say(f, text_of("call.hangup", "r1", CALL, NULL));
    bool failed = mem_failed();
    mem_fail_never();
    far_pass(w, 0);
    if (late) {
        assert_int_equal(far_open(), 1);
        mem_fail_after(n);
        answer_by_hand(w, far_entry(CALL, 'b'));
        failed = mem_failed();
        mem_fail_never();
        far_reply("*0\r\n");
    }
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    if (far_open() > 0)
        far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(is_done(w, f, "\"r1\"") && list_empty(&w->r->far->holds));
    if (late) /* it lives: nobody says that there is no such call */
        assert_int_equal(counter_get(&w->r->count.errors[SIG_ERR_CALL_NOT_FOUND]), 0);
    say(w, f, "call.hangup", "r2", CALL, NULL);
    if (far_open() > 0)
        far_answer(w, far_entry(CALL, 'b'), NULL);
    assert_true(is_done(w, f, "\"r2\"") && !f->closed);
    fake_free(f);
    far_teardown(state);
    assert_true(mem_live() == live);
    return failed;
}

static void test_a_failing_allocation_loses_no_more_than_its_own(void **state)
{
    uint64_t n = 0, late = 0;

    far_teardown(state);
    while (fails(state, n, false))
        n++;
    while (fails(state, late, true))
        late++;
    assert_true(n >= 3 && late >= 3);
    assert_int_equal(far_setup(state), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_on_an_unknown_call_is_asked_of_its_node),
        TEST(test_what_is_said_of_the_call_meanwhile_waits_behind_it),
        TEST(test_an_invite_that_waits_is_an_invite),
        TEST(test_calls_besides_the_one_that_is_asked_for_do_not_matter),
        TEST(test_a_call_that_nobody_has_is_not_found),
        TEST(test_a_call_of_a_dead_node_is_looked_for_until_another_has_it),
        TEST(test_a_call_of_a_dead_node_that_nobody_takes_is_not_found_after_15_s),
        TEST(test_256_messages_wait_and_no_more),
        TEST(test_64_KB_wait_and_no_more),
        TEST(test_when_redis_says_an_error_the_call_is_unknown),
        TEST(test_when_redis_does_not_answer_the_call_is_unknown_after_5_s),
        TEST(test_when_its_client_does_not_say_so_it_is_unknown_all_the_same),
        TEST(test_redis_that_is_away_for_long_is_not_asked),
        TEST(test_a_node_of_unknown_life_is_waited_for_2_s_at_most),
        TEST(test_a_session_without_a_socket_has_its_answer_when_it_comes_back),
        TEST(test_a_session_that_ends_while_it_waits_leaves_nothing),
        TEST(test_a_question_that_nobody_waits_for_is_not_sent_any_more),
        TEST(test_a_failing_allocation_loses_no_more_than_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

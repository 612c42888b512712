/* Tests of router_far_say.c, router_far_ask.c and router_far_trace.c in a whole router: calls and
 * sessions that go on at a third node, and what comes by two ways.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/far_scene.h"

#define INFO  "\"type\":\"call.info\",\"data\":{\"n\":1}}"
#define STATE "\"type\":\"call.state\",\"data\":{\"state\":\"active\"}}"

static void says(struct world *w, char node, const char *call, unsigned flags, uint64_t id,
                 const char *text)
{
    struct far_message m = {.kind = FAR_SAY,
                            .call = far_call_id(call),
                            .user = SLICE_LIT("bob"),
                            .device = SLICE_LIT("phone"),
                            .flags = (uint8_t)flags,
                            .id_hash = id,
                            .text = slice_str(text)};

    if ((flags & FAR_REPLY) != 0)
        memcpy(m.session, session_of(w)->id, sizeof(m.session));
    far_says(w, node, &m);
    far_pass(w, 0);
}

/* The node says that another runs the call by now. */
static void is_elsewhere(struct world *w, char node, const char *call, char owner)
{
    char text[32];

    snprintf(text, sizeof(text), "%016llx %c", (unsigned long long)far_epoch(owner), owner);
    far_says(w, node,
             &(struct far_message){.kind = FAR_ELSEWHERE,
                                   .call = far_call_id(call),
                                   .user = SLICE_LIT("bob"),
                                   .device = SLICE_LIT("phone"),
                                   .text = slice_str(text)});
    far_pass(w, 0);
}

/* The n-th body that was sent, for that node. */
static bool is_said(size_t n, char node, enum far_kind kind, const char *part)
{
    const struct far_heard *h = &far_world.heard[n];

    return n < far_world.heard_n && h->kind == kind && h->node == node && has(h->text, part);
}

/* ---- calls ---- */

static void test_what_a_former_node_says_moves_no_call(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    says(w, 'c', CALL, 0, 2, STATE); /* it was cut off, and does not know yet */
    says(w, 'c', CALL, FAR_OVER, 4, STATE);
    assert_null(fake_next(f));
    says(w, 'c', CALL, FAR_FOREIGN, 6, INFO); /* that somebody has said before */
    assert_true(has(fake_next(f), "call.info"));
    says(w, 'b', CALL, 0, 2, STATE);
    assert_true(has(fake_next(f), "call.state"));
    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_true(far_world.heard_n == 1 && is_asked(w, 0, 'b', "\"r1\""));
    fake_free(f);
}

static void test_a_node_that_follows_a_dead_one_is_believed(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    far_world.alive['b' - 'a'] = NODE_DEAD; /* its end was not told yet */
    says(w, 'c', CALL, 0, 2, STATE);
    assert_true(has(fake_next(f), "call.state"));
    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_true(is_asked(w, far_world.heard_n - 1, 'c', "\"r1\""));
    fake_free(f);
}

static void test_what_was_asked_of_the_former_node_is_asked_of_the_next(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    say(w, f, "call.candidates", NULL, CALL, CANDIDATE);
    say(w, f, "call.hangup", "r1", CALL, NULL);
    assert_int_equal(far_world.heard_n, 2);
    is_elsewhere(w, 'd', CALL, 'c'); /* it does not run it, as far as is known */
    assert_int_equal(far_world.heard_n, 2);
    is_elsewhere(w, 'b', CALL, 'c');
    assert_int_equal(far_world.heard_n, 5);
    assert_true(is_told(2, 'c', CALL_EV_BACK, CALL)); /* else it is lost there */
    assert_true(is_asked(w, 3, 'c', "candidate:1") && is_asked(w, 4, 'c', "\"r1\""));
    is_elsewhere(w, 'b', CALL, 'c'); /* once more does nothing */
    assert_int_equal(far_world.heard_n, 5);
    node_replies(w, 4, "\"type\":\"call.hangup\",\"re\":\"r1\"}");
    far_pass(w, 0);
    assert_true(has(fake_next(f), "\"re\":\"r1\"") && list_empty(&w->r->far->waits));
    fake_free(f);
}

static void test_a_call_that_is_at_a_dead_node_by_now_is_looked_for(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    for (int i = 0; i < 20; i++) { /* longer than it is looked for */
        far_pass(w, US_PER_S);
        fake_frame(f, WS_OP_PONG, "", 0);
    }
    far_world.alive['c' - 'a'] = NODE_DEAD;
    is_elsewhere(w, 'b', CALL, 'c');
    assert_true(far_world.heard_n == 0 && far_open() == 1);
    far_answer(w, far_entry(CALL, 'c'), NULL);
    assert_null(fake_next(f)); /* it has not ended: somebody may take it yet */
    far_pass(w, AGAIN_US + 10 * US_PER_MS);
    far_answer(w, far_entry(CALL, 'c'), far_entry(CALL, 'd'));
    assert_true(far_world.heard_n == 1 && is_told(0, 'd', CALL_EV_BACK, CALL));
    fake_free(f);
}

/* Alice at this node calls bob here; his tablet is at node b. */
static struct fake *call_of_ours(struct world *w, struct fake *bob)
{
    struct fake *f = fake_open(w->r, 2);
    const struct sig_call_id id = far_call_id(CALL);

    fake_hello(f, "alice", "pc", NULL);
    far_redis(w);
    far_answer(w, NULL, NULL);
    fake_say(f, "{\"type\":\"call.invite\",\"id\":\"i\",\"callId\":\"" CALL
                "\",\"to\":\"bob\",\"data\":{\"metadata\":{\"isVideo\":false},"
                "\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"}}}");
    far_pass(w, 0);
    assert_true(has(fake_next(bob), "call.incoming"));
    say(w, bob, "call.answer", "r1", CALL, ANSWER);
    router_far_place(w->r, &id, SLICE_LIT("bob"), SLICE_LIT("phone"), SLICE_LIT("b"),
                     far_epoch('b'));
    far_pass(w, 0);
    while (fake_next(bob))
        ;
    far_world.heard_n = 0;
    return f;
}

static void test_who_has_lost_a_call_says_who_has_it(void **state)
{
    struct world *w = *state;
    struct fake *bob = join(w), *alice = call_of_ours(w, bob);
    const struct sig_call_id id = far_call_id(CALL);
    struct far_message ask = {.kind = FAR_ASK,
                              .call = id,
                              .user = SLICE_LIT("bob"),
                              .device = SLICE_LIT("phone"),
                              .text = slice_str(text_of("call.hangup", "r9", CALL, NULL))};

    far_says(w, 'c', &(struct far_message){.kind = FAR_TAKEN, .call = id});
    far_pass(w, 0);
    assert_null(call_table_find(w->r->calls, &id));
    size_t n = 0;
    while (n < far_world.heard_n && far_world.heard[n].kind != FAR_ELSEWHERE)
        n++;
    assert_true(is_said(n, 'b', FAR_ELSEWHERE, "00000000000000c1 c"));
    n = far_world.heard_n;
    far_says(w, 'b', &ask); /* it was on its way */
    far_pass(w, 0);
    assert_true(far_world.heard_n == n + 1 && is_said(n, 'b', FAR_ELSEWHERE, " c"));
    far_says(w, 'b',
             &(struct far_message){.kind = FAR_EVENT,
                                   .call = id,
                                   .user = SLICE_LIT("bob"),
                                   .device = SLICE_LIT("phone"),
                                   .event = CALL_EV_BACK});
    far_pass(w, 0);
    assert_true(far_world.heard_n == n + 2 && is_said(n + 1, 'b', FAR_ELSEWHERE, " c"));
    far_pass(w, 61 * US_PER_S);
    n = far_world.heard_n;
    far_says(w, 'b', &ask);
    far_pass(w, 0);
    assert_true(is_said(n, 'b', FAR_SAY, "call.not_found")); /* it is forgotten */
    fake_free(alice);
    fake_free(bob);
}

static void test_what_is_another_s_is_asked_after_a_lapse(void **state)
{
    struct world *w = *state;
    struct fake *bob = join(w), *alice = call_of_ours(w, bob);

    far_pass(w, US_PER_S);
    far_world.lapses = 1;
    far_world.cut = true; /* Redis does not answer yet */
    far_pass(w, US_PER_S);
    assert_true(w->r->far->asking > 0 && far_world.known == 0);
    far_world.cut = false;
    far_pass(w, US_PER_S);
    assert_true(w->r->far->asking == 0 && far_world.known == 1);
    fake_free(alice);
    fake_free(bob);
}

/* ---- devices ---- */

static void test_what_comes_by_two_ways_is_heard_once(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);

    says(w, 'b', CALL, FAR_FOREIGN, 8, INFO);
    assert_true(has(fake_next(f), "call.info"));
    says(w, 'b', CALL, FAR_FOREIGN, 8, INFO);
    says(w, 'c', CALL, FAR_REPLY, 8, INFO); /* of the node that the session was at before */
    assert_null(fake_next(f));
    says(w, 'c', CALL, FAR_REPLY, 10, INFO);
    says(w, 'b', CALL, FAR_FOREIGN, 12, INFO);
    assert_true(has(fake_next(f), "call.info") && has(fake_next(f), "call.info"));
    assert_null(fake_next(f));
    fake_free(f);
}

static void test_what_is_for_a_device_that_has_left_is_passed_on_once(void **state)
{
    struct world *w = *state;
    struct fake *f = in_call_of_b(w);
    struct far_message moved = {
        .kind = FAR_MOVED, .user = SLICE_LIT("bob"), .device = SLICE_LIT("phone")};

    memcpy(moved.session, session_of(w)->id, sizeof(moved.session));
    moved.id_hash = session_of(w)->rel.out_seq;
    far_says(w, 'c', &moved);
    far_pass(w, 0);
    assert_null(session_of(w));
    size_t n = far_world.heard_n;
    says(w, 'b', CALL, FAR_FOREIGN, 8, INFO); /* it was on its way */
    assert_true(far_world.heard_n == n + 1 && is_said(n, 'c', FAR_SAY, "call.info"));
    assert_int_equal(far_world.heard[n].id_hash, 8);
    assert_int_equal(far_world.heard[n].flags, FAR_FOREIGN | FAR_PASSED);
    says(w, 'b', CALL, FAR_FOREIGN | FAR_PASSED, 10, INFO);
    assert_int_equal(far_world.heard_n, n + 1);
    fake_free(f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_former_node_says_moves_no_call),
        TEST(test_a_node_that_follows_a_dead_one_is_believed),
        TEST(test_what_was_asked_of_the_former_node_is_asked_of_the_next),
        TEST(test_a_call_that_is_at_a_dead_node_by_now_is_looked_for),
        TEST(test_who_has_lost_a_call_says_who_has_it),
        TEST(test_what_is_another_s_is_asked_after_a_lapse),
        TEST(test_what_comes_by_two_ways_is_heard_once),
        TEST(test_what_is_for_a_device_that_has_left_is_passed_on_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

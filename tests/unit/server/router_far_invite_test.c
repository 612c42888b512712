/* Tests of server/router_far_invite.c in a whole router: what an invite comes across in users'
 * lists. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/far_scene.h"

/* Bob dials, and has a call of b, which is dead, before that one. */
static void dial(struct world *w, struct fake *f)
{
    far_world.alive['b' - 'a'] = NODE_DEAD;
    far_world.second = "p:busy:{bob}";
    fake_say(f, "{\"type\":\"call.invite\",\"id\":\"r1\",\"callId\":\"" CALL
                "\",\"to\":\"alice\",\"data\":{\"metadata\":{\"isVideo\":false},"
                "\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"}}}");
    far_pass(w, 0);
    assert_int_equal(far_world.looks, 1);
    assert_string_equal(far_world.look_key, "p:busy:{bob}");
    far_answer(w, far_entry(CALL2, 'b'), far_entry(CALL, 'a'));
    far_pass(w, US_PER_S);
    const char *m = fake_next(f);
    assert_true(has(m, "callee.unreachable") && has(m, "\"r1\"") && !fake_next(f));
    assert_true(strstr(far_world.removed, far_entry(CALL, 'a')) != NULL);
}

static void test_a_dead_nodes_entry_is_left_while_another_may_go_on_with_its_call(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.dead_us = ORPHAN_US - 1;
    dial(w, f);
    assert_null(strstr(far_world.removed, far_entry(CALL2, 'b')));
    fake_free(f);
}

static void test_a_long_dead_nodes_entry_is_taken_out(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w);

    far_world.dead_us = ORPHAN_US;
    dial(w, f);
    assert_non_null(strstr(far_world.removed, far_entry(CALL2, 'b')));
    fake_free(f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_dead_nodes_entry_is_left_while_another_may_go_on_with_its_call),
        TEST(test_a_long_dead_nodes_entry_is_taken_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/reliable.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/reliable.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static const struct reliable_limits LIMITS = {.messages = 256, .bytes = 262144};

static bool text_is(struct slice s, const char *text)
{
    if (slice_is(s, text))
        return true;
    printf("# got %.*s\n", SLICE_FMT(s));
    return false;
}

static struct slice say(struct reliable *r, const char *body, uint64_t id)
{
    return reliable_send(r, &LIMITS, slice_str(body), id);
}

static void test_messages_are_numbered_from_one_and_carry_the_ack(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_true(text_is(say(&r, "\"a\":1}", 0), "{\"seq\":1,\"a\":1}"));
    assert_int_equal(reliable_recv(&r, 1, false, 0, 5), RELIABLE_NEW);
    assert_true(text_is(say(&r, "\"a\":2}", 0), "{\"seq\":2,\"ack\":1,\"a\":2}"));
    assert_true(text_is(say(&r, "\"a\":3}", 0), "{\"seq\":3,\"a\":3}"));
    reliable_fini(&r);
}

static void test_duplicates_are_seen_and_gaps_are_bad(void **state)
{
    static const struct {
        uint64_t seq;
        enum reliable_rx want;
    } cases[] = {{1, RELIABLE_NEW}, {1, RELIABLE_SEEN},        {3, RELIABLE_BAD},
                 {2, RELIABLE_NEW}, {0, RELIABLE_NEW},         {1, RELIABLE_SEEN},
                 {3, RELIABLE_NEW}, {UINT64_MAX, RELIABLE_BAD}};
    struct reliable r;

    (void)state;
    reliable_init(&r);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(reliable_recv(&r, cases[i].seq, false, 0, 0), cases[i].want);
    assert_int_equal(r.in_seq, 3);
    reliable_fini(&r);
}

static void test_an_ack_of_what_was_never_sent_is_bad(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_int_equal(reliable_recv(&r, 0, true, 0, 0), RELIABLE_NEW);
    assert_int_equal(reliable_recv(&r, 0, true, 1, 0), RELIABLE_BAD);
    say(&r, "}", 0);
    assert_int_equal(reliable_recv(&r, 0, true, 1, 0), RELIABLE_NEW);
    assert_int_equal(reliable_recv(&r, 0, true, 2, 0), RELIABLE_BAD);
    reliable_fini(&r);
}

static void test_a_bare_ack_is_due_after_a_second_or_sixteen_messages(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_true(reliable_deadline(&r) == CLOCK_NEVER);
    reliable_recv(&r, 1, false, 0, 1000);
    assert_true(reliable_deadline(&r) == 1000 + RELIABLE_ACK_DELAY_US);
    reliable_recv(&r, 2, false, 0, 2000);
    assert_true(reliable_deadline(&r) == 1000 + RELIABLE_ACK_DELAY_US);
    assert_int_equal(reliable_take_ack(&r), 2);
    assert_true(reliable_deadline(&r) == CLOCK_NEVER);
    for (uint64_t seq = 3; seq < 3 + RELIABLE_ACK_EVERY; seq++)
        reliable_recv(&r, seq, false, 0, 5000);
    assert_true(reliable_deadline(&r) == 5000);
    say(&r, "}", 0); /* carries it */
    assert_true(reliable_deadline(&r) == CLOCK_NEVER);
    reliable_fini(&r);
}

static void test_a_repeated_message_is_acknowledged_again(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    reliable_recv(&r, 1, false, 0, 0);
    reliable_take_ack(&r);
    assert_int_equal(reliable_recv(&r, 1, false, 0, 10), RELIABLE_SEEN);
    assert_true(reliable_deadline(&r) == 10 + RELIABLE_ACK_DELAY_US);
    reliable_fini(&r);
}

static void test_replay_gives_exactly_what_was_not_acknowledged(void **state)
{
    struct reliable r;
    const struct list *pos = NULL;

    (void)state;
    reliable_init(&r);
    say(&r, "1}", 0);
    say(&r, "2}", 0);
    say(&r, "3}", 0);
    assert_true(reliable_can_resume(&r, 0));
    reliable_recv(&r, 0, true, 1, 0);
    assert_false(reliable_can_resume(&r, 0)); /* 1 is gone */
    assert_true(reliable_can_resume(&r, 1));
    assert_true(reliable_can_resume(&r, 3));
    assert_false(reliable_can_resume(&r, 4)); /* never sent */
    assert_true(text_is(reliable_replay(&r, 2, &pos), "{\"seq\":3,3}"));
    assert_int_equal(reliable_replay(&r, 2, &pos).len, 0);
    reliable_fini(&r);
}

static void test_a_reply_is_found_by_its_request_before_and_after_the_ack(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_false(reliable_seen_id(&r, 77));
    say(&r, "reply}", 77);
    assert_true(reliable_seen_id(&r, 77));
    assert_true(text_is(reliable_reply(&r, 77), "{\"seq\":1,reply}"));
    reliable_recv(&r, 0, true, 1, 0);
    assert_true(text_is(reliable_reply(&r, 77), "{\"seq\":1,reply}"));
    assert_int_equal(reliable_reply(&r, 78).len, 0);
    reliable_fini(&r);
}

static void test_old_replies_give_way_within_their_bytes(void **state)
{
    static char body[4096];
    struct reliable r;

    (void)state;
    memset(body, 'x', sizeof(body) - 1);
    reliable_init(&r);
    for (uint64_t id = 1; id <= 10; id++) {
        say(&r, body, 2 * id + 1);
        reliable_recv(&r, 0, true, id, 0);
    }
    assert_true(r._answered_bytes <= RELIABLE_REPLY_BYTES_MAX);
    assert_int_equal(reliable_reply(&r, 3).len, 0);
    assert_true(reliable_reply(&r, 21).len > 4000);
    reliable_fini(&r);
}

static void test_what_comes_from_another_node_is_known_again_and_is_no_reply(void **state)
{
    struct reliable r, next;

    (void)state;
    reliable_init(&r);
    assert_false(reliable_heard(&r, 8));
    assert_true(reliable_heard(&r, 8));
    assert_false(reliable_seen_id(&r, 8)); /* no request has it */
    say(&r, "\"type\":\"call.info\"}", 8);
    reliable_recv(&r, 0, true, 1, 0);
    assert_int_equal(r._answered_bytes, 0);
    assert_int_equal(reliable_reply(&r, 8).len, 0);
    reliable_fini(&r);
    reliable_init(&next); /* where the session goes on */
    reliable_restore(&next, 0, 4, 2);
    assert_true(reliable_restore_message(&next, 3, 8, SLICE_LIT("{\"seq\":3,}")));
    assert_true(reliable_restore_message(&next, 4, 0, SLICE_LIT("{\"seq\":4,}")));
    assert_true(reliable_heard(&next, 8));
    assert_false(reliable_heard(&next, 10));
    reliable_fini(&next);
}

static void test_the_last_256_ids_are_remembered(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    for (uint64_t id = 1; id <= 300; id++)
        assert_false(reliable_seen_id(&r, id));
    for (uint64_t id = 300 - RELIABLE_IDS_MAX + 1; id <= 300; id++)
        assert_true(reliable_seen_id(&r, id));
    assert_false(reliable_seen_id(&r, 1));
    reliable_fini(&r);
}

static void test_limits_end_the_history(void **state)
{
    const struct reliable_limits few = {.messages = 2, .bytes = 1000},
                                 small = {.messages = 9, .bytes = 20};
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_true(reliable_send(&r, &few, SLICE_LIT("}"), 0).len > 0);
    assert_true(reliable_send(&r, &few, SLICE_LIT("}"), 0).len > 0);
    assert_int_equal(reliable_send(&r, &few, SLICE_LIT("}"), 0).len, 0);
    assert_int_equal(r.out_seq, 2); /* a refused message takes no number */
    reliable_fini(&r);
    assert_int_equal(reliable_send(&r, &small, SLICE_LIT("012345678901234567890"), 0).len, 0);
    reliable_fini(&r);
}

static void test_the_numbers_in_front_count_against_the_bytes(void **state)
{
    const struct reliable_limits lim = {.messages = 256, .bytes = 1000};
    static const uint8_t body[2000];
    struct reliable r;
    size_t kept = 0;

    (void)state;
    reliable_init(&r);
    /* The body alone would fit, with its number it does not. */
    assert_int_equal(reliable_send(&r, &lim, slice_of(body, 1000), 0).len, 0);
    for (size_t n = 990; n > 0; n /= 2)
        while ((reliable_send(&r, &lim, slice_of(body, n), 0).len) > 0)
            assert_true((kept += n) <= 1000);
    assert_int_equal(reliable_send(&r, &lim, slice_of(body, 2000), 0).len, 0);
    reliable_fini(&r);
}

static void test_others_may_fill_half_of_the_history(void **state)
{
    const struct reliable_limits lim = {.messages = 8, .bytes = 1000};
    static const uint8_t body[500];
    struct reliable r;

    (void)state;
    reliable_init(&r);
    assert_true(reliable_has_room(&r, &lim, 500));
    assert_false(reliable_has_room(&r, &lim, 501));
    assert_true(reliable_send(&r, &lim, slice_of(body, 300), 0).len > 300);
    assert_true(reliable_has_room(&r, &lim, 150));
    assert_false(reliable_has_room(&r, &lim, 200));
    assert_true(reliable_send(&r, &lim, slice_of(body, 300), 0).len > 300);
    assert_false(reliable_has_room(&r, &lim, 0));
    reliable_recv(&r, 0, true, 2, 0);
    for (size_t i = 0; i < 4; i++) {
        assert_true(reliable_has_room(&r, &lim, 0));
        reliable_send(&r, &lim, slice_of(body, 1), 0);
    }
    assert_false(reliable_has_room(&r, &lim, 0));
    reliable_fini(&r);
}

static void test_the_newest_reply_to_a_request_counts(void **state)
{
    struct reliable r;

    (void)state;
    reliable_init(&r);
    say(&r, "\"no\":1}", 7);
    say(&r, "\"yes\":1}", 7);
    assert_true(text_is(reliable_reply(&r, 7), "{\"seq\":2,\"yes\":1}"));
    reliable_recv(&r, 0, true, 2, 0);
    assert_true(text_is(reliable_reply(&r, 7), "{\"seq\":2,\"yes\":1}"));
    reliable_fini(&r);
}

static void test_oom_sends_nothing_or_all(void **state)
{
    uint64_t before = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        struct reliable r;
        reliable_init(&r);
        mem_fail_after(n);
        reliable_seen_id(&r, 1);
        bool sent = say(&r, "}", 1).len > 0;
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(r.out_seq, sent ? 1 : 0);
        reliable_fini(&r);
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

/* A client that loses and repeats at random ends with every message once, in order. */
static void test_random_losses_lose_and_double_nothing(void **state)
{
    struct rand_src rs;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct reliable r;
        uint64_t client_seen = 0, sent = 0, handled = 0;
        rand_src_init(&rs, seed);
        reliable_init(&r);
        for (int step = 0; step < 400; step++) {
            uint64_t from = rand_src_below(&rs, 3);
            if (from == 0 && sent < client_seen + 200) {
                say(&r, "}", 0);
                sent++;
            } else if (from == 1) { /* the client repeats from a random point */
                uint64_t seq = rand_src_below(&rs, handled + 1) + 1;
                enum reliable_rx rx = reliable_recv(&r, seq, true, client_seen, 0);
                assert_int_equal(rx, seq == handled + 1 ? RELIABLE_NEW : RELIABLE_SEEN);
                handled += rx == RELIABLE_NEW;
            } else { /* reconnects: replay must begin right after what it has */
                const struct list *pos = NULL;
                struct slice m;
                assert_true(reliable_can_resume(&r, client_seen));
                while ((m = reliable_replay(&r, client_seen, &pos)).len > 0) {
                    uint64_t seq = 0;
                    for (size_t i = 7; i < m.len && m.p[i] >= '0' && m.p[i] <= '9'; i++)
                        seq = seq * 10 + (uint64_t)(m.p[i] - '0');
                    assert_int_equal(seq, client_seen + 1);
                    client_seen = seq;
                    if (rand_src_below(&rs, 4) == 0)
                        break; /* the socket breaks again */
                }
            }
        }
        assert_int_equal(r.in_seq, handled);
        reliable_fini(&r);
    }
}

static void test_the_body_of_a_text_is_what_was_numbered(void **state)
{
    struct reliable r;
    const struct reliable_limits lim = {.messages = 8, .bytes = 4096};
    struct slice body = SLICE_LIT("\"type\":\"call.info\",\"data\":{\"ack\":1,\"a\":[1,2]}}");

    (void)state;
    reliable_init(&r);
    assert_true(slice_eq(reliable_body(reliable_send(&r, &lim, body, 0)), body));
    assert_int_equal(reliable_recv(&r, 1, false, 0, 1), RELIABLE_NEW);
    struct slice text = reliable_send(&r, &lim, body, 0);
    assert_non_null(memmem(text.p, 24, ",\"ack\":1,", 9));
    assert_true(slice_eq(reliable_body(text), body));
    assert_int_equal(reliable_body(SLICE_LIT("{\"seq\":1")).len, 0);
    assert_int_equal(reliable_body((struct slice){0}).len, 0);
    reliable_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_body_of_a_text_is_what_was_numbered),
        cmocka_unit_test(test_messages_are_numbered_from_one_and_carry_the_ack),
        cmocka_unit_test(test_duplicates_are_seen_and_gaps_are_bad),
        cmocka_unit_test(test_an_ack_of_what_was_never_sent_is_bad),
        cmocka_unit_test(test_a_bare_ack_is_due_after_a_second_or_sixteen_messages),
        cmocka_unit_test(test_a_repeated_message_is_acknowledged_again),
        cmocka_unit_test(test_replay_gives_exactly_what_was_not_acknowledged),
        cmocka_unit_test(test_a_reply_is_found_by_its_request_before_and_after_the_ack),
        cmocka_unit_test(test_old_replies_give_way_within_their_bytes),
        cmocka_unit_test(test_what_comes_from_another_node_is_known_again_and_is_no_reply),
        cmocka_unit_test(test_the_last_256_ids_are_remembered),
        cmocka_unit_test(test_limits_end_the_history),
        cmocka_unit_test(test_the_numbers_in_front_count_against_the_bytes),
        cmocka_unit_test(test_others_may_fill_half_of_the_history),
        cmocka_unit_test(test_the_newest_reply_to_a_request_counts),
        cmocka_unit_test(test_oom_sends_nothing_or_all),
        cmocka_unit_test(test_random_losses_lose_and_double_nothing),
    };

    return cmocka_run_group_tests_name("reliable", tests, NULL, NULL);
}

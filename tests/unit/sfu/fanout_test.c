/* fanout.c: what came in together leaves together, once, and nothing of who is gone.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/fanout.h"
#include "tests/lib/fake_room.h"

static const struct fake_offer talker = {.mic = true, .audio = 3};

static void say(struct fake_client *c, uint32_t word)
{
    struct fake_rtp r = {
        .ssrc = c->ssrc, .ts = c->ts, .index = c->seq++, .pt = FAKE_PT_OPUS, .level = 20};

    c->ts += 960;
    fake_rtp_out(c, &r, slice_of((uint8_t *)&word, sizeof(word)));
}

static uint32_t word_of(const struct fake_got *g)
{
    uint32_t w;

    memcpy(&w, g->payload, sizeof(w));
    return w;
}

/* More than can be remembered, of several talkers: all of it arrives, in each one's order. */
static void test_a_batch_of_any_length_arrives_whole_and_in_order(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *v[3], *b = fake_join(w, "r", "b", &talker);

    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[4] = {'p', (char)('0' + i)};
        v[i] = fake_join(w, "r", id, &talker);
    }
    for (uint32_t i = 0; i < 2 * CORE_NEWS_MAX; i++)
        say(v[i % 3], i);
    fake_turn(w);
    assert_int_equal(b->n_got, 2 * CORE_NEWS_MAX);
    uint32_t next[3] = {0, 1, 2};
    for (unsigned i = 0; i < b->n_got; i++) {
        uint32_t word = word_of(&b->got[i]);
        assert_int_equal(word, next[word % 3]);
        next[word % 3] += 3;
    }
    assert_int_equal(w->core->n_news, 0);
    assert_int_equal(w->core->n_dirty, 0);
    fake_room_free(w);
}

static void test_packets_of_who_left_in_the_same_turn_are_dropped(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &talker);

    (void)state;
    say(a, 1);
    say(c, 2);
    fake_request(w, a, CTL_LEAVE); /* ends with the batch */
    assert_int_equal(b->n_got, 1);
    assert_int_equal(word_of(&b->got[0]), 2);
    fake_room_free(w);
}

static void test_packets_for_who_left_in_the_same_turn_go_to_the_others(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &talker);

    (void)state;
    say(a, 1);
    fake_request(w, b, CTL_LEAVE);
    assert_int_equal(c->n_got, 1);
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_batch_of_any_length_arrives_whole_and_in_order),
        cmocka_unit_test(test_packets_of_who_left_in_the_same_turn_are_dropped),
        cmocka_unit_test(test_packets_for_who_left_in_the_same_turn_go_to_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

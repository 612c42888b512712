/* Tests of server/node_bus.c: two processes and a channel that loses, doubles and reorders.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "server/node_bus.h"

enum { MS = 1000, CHANNEL = 256, TEXT = 8192 };

static struct channel {
    int n;
    size_t len[CHANNEL];
    uint8_t text[CHANNEL][TEXT];
} channel[2]; /* to a, to b */

static struct side {
    struct node_bus *bus;
    bool peer_dead;
    int gone, back, heard;
    bool takes; /* what is not acknowledged when the other side is gone */
    size_t taken_n;
    char taken[4][16];
    char last[TEXT];
} side[2];
static uint64_t now;
static int lose; /* of a hundred */
static int said;
static struct rand_src rnd;

static void say(void *arg, struct slice node, struct slice text)
{
    (void)arg;
    struct channel *c = &channel[slice_is(node, "b")];
    said++;
    if (lose > 0 && rand_src_below(&rnd, 100) < (unsigned)lose)
        return;
    for (int twice = lose > 0 && rand_src_below(&rnd, 10) == 0; twice >= 0; twice--) {
        assert_true(c->n < CHANNEL && text.len <= TEXT);
        memcpy(c->text[c->n], text.p, text.len);
        c->len[c->n++] = text.len;
    }
}

static bool dead(void *arg, struct slice node, uint64_t epoch, uint64_t since_us)
{
    (void)node;
    (void)epoch;
    (void)since_us;
    return ((struct side *)arg)->peer_dead;
}

/* Bodies are numbers: each comes once, in order. */
static void on_message(void *arg, struct slice node, uint64_t epoch, struct slice body)
{
    struct side *s = arg;

    (void)node;
    (void)epoch;
    assert_int_equal(slice_to_cstr(body, s->last, sizeof(s->last)), 0);
    s->heard++;
}

/* All but "keep". */
static bool wants(void *arg, struct slice body)
{
    struct side *s = arg;

    if (slice_is(body, "keep"))
        return false;
    assert_true(s->taken_n < ARRAY_LEN(s->taken));
    assert_int_equal(slice_to_cstr(body, s->taken[s->taken_n], sizeof(s->taken[0])), 0);
    s->taken_n++;
    return true;
}

static void on_gone(void *arg, struct slice node, uint64_t epoch)
{
    struct side *s = arg;

    s->gone++;
    if (s->takes)
        node_bus_take_back(s->bus, node, epoch, wants, s);
}

static void on_back(void *arg, struct slice node, uint64_t epoch)
{
    (void)node;
    (void)epoch;
    ((struct side *)arg)->back++;
}

static bool lives(void *arg, struct slice node, uint64_t epoch)
{
    return !dead(arg, node, epoch, 0);
}

/* Words that the sides have said to themselves; those up to word_back have come back. */
static uint64_t words, word_back;

static uint64_t mark(void *arg)
{
    (void)arg;
    return ++words;
}

static bool marked(void *arg, uint64_t n)
{
    (void)arg;
    return n <= word_back;
}

static const struct node_bus_ops ops = {say, dead, lives, NULL, NULL};
static const struct node_bus_ops careful_ops = {say, dead, lives, mark, marked};
static const struct node_bus_ears ears = {on_message, on_gone, on_back};

static void begin_side(int i, uint64_t epoch)
{
    node_bus_free(side[i].bus);
    side[i] = (struct side){
        .bus = node_bus_new(i == 0 ? SLICE_LIT("a") : SLICE_LIT("b"), epoch, 4096, &ops, &side[i])};
    assert_non_null(side[i].bus);
    node_bus_hear(side[i].bus, &ears, &side[i]);
}

static int setup(void **state)
{
    (void)state;
    memset(channel, 0, sizeof(channel));
    lose = 0;
    now = 1000 * MS;
    rand_src_init(&rnd, 7);
    begin_side(0, 0xa1);
    begin_side(1, 0xb1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        node_bus_free(side[i].bus);
        side[i].bus = NULL;
    }
    return 0;
}

/* What is in the channels arrives. */
static void deliver(void)
{
    for (int round = 0; round < 8; round++)
        for (int i = 0; i < 2; i++) {
            struct channel c = channel[i];
            channel[i].n = 0;
            for (int k = 0; k < c.n; k++)
                node_bus_heard(side[i].bus, slice_of(c.text[k], c.len[k]), now);
            node_bus_flush(side[i].bus);
        }
}

static void pass(uint64_t us)
{
    for (uint64_t end = now + us; now < end;) {
        now += 10 * MS;
        for (int i = 0; i < 2; i++) {
            node_bus_tick(side[i].bus, now);
            node_bus_flush(side[i].bus);
        }
        deliver();
    }
}

static int send_text(int from, uint64_t epoch, const char *text)
{
    int err = node_bus_send(side[from].bus, from == 0 ? SLICE_LIT("b") : SLICE_LIT("a"), epoch,
                            slice_str(text), now);

    node_bus_flush(side[from].bus);
    return err;
}

static void test_a_text_is_read_as_it_was_written(void **state)
{
    static const char *const bad[] = {
        "",
        "m",
        "m ",
        "x 00000000000000a1 00000000000000b1 1 1 0 a\n",
        "m 00000000000000a1",
        "m 00000000000000a1 00000000000000b1 0 1 0 a\nx",
        "m 00000000000000a1 00000000000000b1 1 2 0 a\nx",
        "m 0000000000000000 00000000000000b1 1 1 0 a\nx",
        "m 00000000000000a1 00000000000000b1 1 1 0 \nx",
        "a 00000000000000a1 00000000000000b1 0 1 0 a\nx",
        "m 00000000000000a1 00000000000000b1 1 1 z a\nx",
    };
    static const char *const cut[] = {"", "x", " ", "1 ", "2 a", "-1 a", "262145 a"};
    struct slice body;
    struct node_bus_head h, in = {.from_epoch = 0xa1,
                                  .to_epoch = 0xb1,
                                  .seq = 7,
                                  .first = 3,
                                  .ack = 9,
                                  .from = SLICE_LIT("fra-1"),
                                  .bodies = SLICE_LIT("3 a\nb0 2 c ")};
    uint8_t buf[256];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    node_bus_encode(&w, &in);
    assert_int_equal(node_bus_decode(&h, wr_done(&w)), 0);
    assert_true(!h.bare && h.from_epoch == 0xa1 && h.to_epoch == 0xb1 && h.seq == 7 &&
                h.first == 3 && h.ack == 9 && slice_is(h.from, "fra-1") &&
                slice_eq(h.bodies, in.bodies));
    assert_true(node_bus_take(&h.bodies, &body) && slice_is(body, "a\nb"));
    assert_true(node_bus_take(&h.bodies, &body) && body.len == 0);
    assert_true(node_bus_take(&h.bodies, &body) && slice_is(body, "c "));
    assert_false(node_bus_take(&h.bodies, &body));
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        h.bodies = slice_str(cut[i]);
        assert_false(node_bus_take(&h.bodies, &body));
    }
    for (size_t n = 0; n < w.len - in.bodies.len; n++)
        assert_int_equal(node_bus_decode(&h, slice_of(buf, n)), -EBADMSG);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(node_bus_decode(&h, slice_str(bad[i])), -EBADMSG);
}

static void test_what_is_sent_comes_at_once_and_once(void **state)
{
    (void)state;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    deliver();
    assert_string_equal(side[1].last, "one");
    pass(2000 * MS);
    assert_int_equal(side[1].heard, 1);
    assert_int_equal(node_bus_stats(side[0].bus)->again, 0); /* it was acknowledged in time */
    assert_int_equal(send_text(0, 0xb1, ""), 0);
    assert_int_equal(node_bus_send(side[0].bus, SLICE_LIT("a"), 0xa1, SLICE_LIT("x"), now),
                     -EINVAL);
}

static void test_what_is_sent_in_a_turn_is_one_text(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(node_bus_send(side[0].bus, SLICE_LIT("b"), 0xb1,
                                       i == 2 ? SLICE_LIT("last") : SLICE_LIT("x"), now),
                         0);
    assert_int_equal(channel[1].n, 0);
    assert_true(node_bus_waits(side[0].bus));
    node_bus_tick(side[0].bus, now + 500 * MS);
    node_bus_up(side[0].bus, now);
    assert_int_equal(channel[1].n, 0); /* what came of the turn is not saved yet */
    node_bus_settle(side[0].bus);
    assert_int_equal(channel[1].n, 1);
    node_bus_settle(side[0].bus);
    assert_int_equal(channel[1].n, 1);
    channel[1].n = 0; /* lost */
    assert_int_equal(send_text(0, 0xb1, "newest"), 0);
    deliver(); /* out of order: not taken */
    assert_int_equal(side[1].heard, 0);
    pass(500 * MS);
    assert_int_equal(side[1].heard, 4);
    assert_string_equal(side[1].last, "newest");
    assert_int_equal(node_bus_stats(side[0].bus)->again, 4);
}

static void test_what_is_long_is_several_texts(void **state)
{
    static uint8_t big[3000];
    struct node_bus *b = node_bus_new(SLICE_LIT("a"), 0xa2, 1 << 20, &ops, &side[0]);

    (void)state;
    assert_non_null(b);
    lose = 100; /* they do not fit into the channel of this test */
    for (int i = 0; i < 60; i++)
        assert_int_equal(node_bus_send(b, SLICE_LIT("b"), 0xb1, slice_of(big, sizeof(big)), now),
                         0);
    said = 0;
    node_bus_settle(b);
    assert_int_equal(said, 3); /* of 21 and less */
    node_bus_free(b);
}

static void test_loss_and_doubles_lose_and_double_nothing(void **state)
{
    char text[16], want[16];

    (void)state;
    lose = 40;
    for (int i = 1; i <= 200; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(send_text(0, 0xb1, text), 0);
        assert_int_equal(send_text(1, 0xa1, text), 0);
        pass(50 * MS);
    }
    lose = 0;
    pass(1000 * MS);
    (void)snprintf(want, sizeof(want), "%d", 200);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(side[i].heard, 200);
        assert_string_equal(side[i].last, want);
        assert_int_equal(side[i].gone, 0);
    }
}

static void test_another_process_of_the_name_gets_nothing_of_the_old_one(void **state)
{
    (void)state;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    pass(100 * MS);
    begin_side(1, 0xb2);
    assert_int_equal(send_text(0, 0xb1, "for the old one"), 0);
    pass(500 * MS);
    assert_int_equal(side[1].heard, 0);
    assert_int_equal(side[0].gone, 1);
    assert_int_equal(node_bus_stats(side[0].bus)->dropped, 1);
    assert_int_equal(send_text(0, 0xb1, "late"), -ESRCH);
    assert_int_equal(send_text(0, 0xb2, "two"), 0);
    pass(100 * MS);
    assert_string_equal(side[1].last, "two");
    assert_int_equal(side[1].heard, 1);
}

static void test_the_last_words_of_the_dead_count(void **state)
{
    static uint8_t text[256];
    struct wr w = wr_init(text, sizeof(text));
    struct node_bus *b = node_bus_new(SLICE_LIT("a"), 0xa1, 1 << 20, &careful_ops, &side[0]);

    (void)state;
    assert_non_null(b);
    node_bus_hear(b, &ears, &side[0]);
    assert_int_equal(node_bus_send(b, SLICE_LIT("b"), 0xb1, SLICE_LIT("asked"), now), 0);
    node_bus_flush(b);
    assert_false(node_bus_is_gone(b, SLICE_LIT("b"), 0xb1));
    side[0].peer_dead = true; /* known before what it said has come through the channel */
    node_bus_look(b, now);
    assert_int_equal(words, 1);
    assert_false(node_bus_is_gone(b, SLICE_LIT("b"), 0xb1));
    node_bus_encode(&w, &(struct node_bus_head){.from_epoch = 0xb1,
                                                .to_epoch = 0xa1,
                                                .seq = 1,
                                                .first = 1,
                                                .ack = 1,
                                                .from = SLICE_LIT("b")});
    node_bus_add(&w, SLICE_LIT("answer"));
    node_bus_heard(b, wr_done(&w), now);
    assert_string_equal(side[0].last, "answer");
    assert_int_equal(side[0].gone, 0);
    node_bus_look(b, now + 499 * MS); /* the word may be late, */
    assert_int_equal(words, 1);
    node_bus_look(b, now + 500 * MS); /* or lost */
    assert_int_equal(words, 2);
    word_back = 2;
    node_bus_look(b, now + 501 * MS);
    assert_int_equal(side[0].gone, 1);
    assert_true(node_bus_is_gone(b, SLICE_LIT("b"), 0xb1));
    node_bus_free(b);
}

/* A text of b to a, out of nothing: an acknowledgement of one message, and perhaps a body. */
static void hear(uint64_t seq, const char *body)
{
    static uint8_t text[256];
    struct wr w = wr_init(text, sizeof(text));

    node_bus_encode(&w, &(struct node_bus_head){.bare = !body,
                                                .from_epoch = 0xb1,
                                                .to_epoch = 0xa1,
                                                .seq = seq,
                                                .first = 1,
                                                .ack = 1,
                                                .from = SLICE_LIT("b")});
    if (body)
        node_bus_add(&w, slice_str(body));
    node_bus_heard(side[0].bus, wr_done(&w), now);
}

/* Takes back what it has asked, when it hears that it was not done. */
static void on_refusal(void *arg, struct slice node, uint64_t epoch, struct slice body)
{
    struct side *s = arg;

    on_message(arg, node, epoch, body);
    node_bus_take_back(s->bus, node, epoch, wants, s);
}

static void test_an_acknowledgement_counts_behind_all_that_was_said_before_it(void **state)
{
    static const struct node_bus_ears refused = {on_refusal, on_gone, on_back};

    (void)state;
    lose = 100;
    node_bus_hear(side[0].bus, &refused, &side[0]);
    assert_int_equal(send_text(0, 0xb1, "asked"), 0);
    hear(2, NULL); /* the one before it was lost in the channel */
    hear(2, "later");
    assert_int_equal(side[0].heard, 0);
    hear(1, "not done");
    assert_int_equal(side[0].heard, 1);
    assert_int_equal(side[0].taken_n, 1);
    assert_string_equal(side[0].taken[0], "asked");
    hear(2, NULL);
    node_bus_hear(side[0].bus, &ears, &side[0]);
    assert_int_equal(send_text(0, 0xb1, "keep"), 0);
    uint64_t again = node_bus_stats(side[0].bus)->again;
    pass(300 * MS); /* what was acknowledged is not said again */
    assert_int_equal(node_bus_stats(side[0].bus)->again - again, 1);
}

static void test_who_was_cut_off_comes_back_with_all_that_was_said(void **state)
{
    (void)state;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    pass(100 * MS);
    lose = 100;
    side[0].peer_dead = true;
    assert_int_equal(send_text(0, 0xb1, "two"), 0);
    pass(3000 * MS);
    assert_int_equal(side[0].gone, 1);
    lose = 0;
    side[0].peer_dead = false;
    assert_int_equal(send_text(1, 0xa1, "here"), 0);
    pass(500 * MS);
    assert_int_equal(side[0].gone, 1);
    assert_int_equal(side[0].back, 1);
    assert_string_equal(side[1].last, "two");
    assert_int_equal(side[1].heard, 2);
}

static void test_the_words_of_a_process_without_lease_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    pass(100 * MS);
    side[0].peer_dead = true;
    pass(2000 * MS);
    assert_int_equal(side[0].gone, 1);
    assert_int_equal(send_text(1, 0xa1, "late"), 0);
    pass(3000 * MS);
    assert_int_equal(side[0].heard, 0);
    assert_int_equal(side[0].back, 0);
    side[0].peer_dead = false; /* its lease stands again: it is said once more by then */
    pass(1500 * MS);
    assert_int_equal(side[0].back, 1);
    assert_int_equal(side[0].heard, 1);
    assert_string_equal(side[0].last, "late");
    assert_int_equal(side[0].gone, 1);
}

static void test_what_is_taken_back_is_not_said_again(void **state)
{
    (void)state;
    side[0].takes = true;
    assert_int_equal(send_text(0, 0xb1, "heard"), 0);
    pass(100 * MS);
    lose = 100;
    side[0].peer_dead = true;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    assert_int_equal(send_text(0, 0xb1, "keep"), 0);
    assert_int_equal(send_text(0, 0xb1, "two"), 0);
    node_bus_look(side[0].bus, now);
    assert_int_equal(side[0].gone, 1);
    pass(2000 * MS);
    assert_int_equal(side[0].gone, 1);
    assert_int_equal(side[0].taken_n, 2);
    assert_string_equal(side[0].taken[0], "one");
    assert_string_equal(side[0].taken[1], "two");
    node_bus_take_back(side[0].bus, SLICE_LIT("b"), 0xb1, wants, &side[0]);
    assert_int_equal(side[0].taken_n, 2); /* once only */
    lose = 0;
    side[0].peer_dead = false;
    pass(1500 * MS); /* it was only cut off: its numbers have no gap */
    assert_string_equal(side[1].last, "keep");
    assert_int_equal(side[1].heard, 2);
    assert_int_equal(send_text(0, 0xb1, "more"), 0);
    pass(500 * MS);
    assert_string_equal(side[1].last, "more");
    assert_int_equal(node_bus_stats(side[0].bus)->taken_back, 2);
}

static void test_what_a_replaced_process_has_not_heard_can_be_taken_back(void **state)
{
    (void)state;
    side[0].takes = true;
    lose = 100;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    assert_int_equal(send_text(0, 0xb2, "two"), 0); /* its end is told by the tick, not in here */
    assert_true(node_bus_is_replaced(side[0].bus, SLICE_LIT("b"), 0xb1));
    assert_false(node_bus_is_replaced(side[0].bus, SLICE_LIT("b"), 0xb2));
    assert_int_equal(side[0].gone, 0);
    assert_true(node_bus_deadline(side[0].bus) <= now);
    begin_side(1, 0xb2);
    lose = 0;
    pass(500 * MS);
    assert_int_equal(side[0].gone, 1);
    assert_int_equal(side[0].taken_n, 1);
    assert_string_equal(side[0].taken[0], "one");
    assert_string_equal(side[1].last, "two");
    node_bus_take_back(side[0].bus, SLICE_LIT("b"), 0xb1, wants, &side[0]);
    assert_int_equal(side[0].taken_n, 1);
}

static void test_settled_is_acknowledged(void **state)
{
    (void)state;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    deliver();
    assert_int_equal(channel[0].n, 0);
    node_bus_settle(side[1].bus);
    assert_int_equal(channel[0].n, 1);
    node_bus_settle(side[1].bus); /* once */
    assert_int_equal(channel[0].n, 1);
    deliver();
    node_bus_take_back(side[0].bus, SLICE_LIT("b"), 0xb1, wants, &side[0]);
    assert_int_equal(side[0].taken_n, 0);
}

static void test_after_a_minute_what_was_kept_for_the_dead_is_dropped(void **state)
{
    (void)state;
    lose = 100;
    assert_int_equal(send_text(0, 0xb1, "one"), 0);
    side[0].peer_dead = true;
    pass(65000 * (uint64_t)MS);
    assert_int_equal(node_bus_stats(side[0].bus)->dropped, 1);
    lose = 0;
    side[0].peer_dead = false;
    assert_int_equal(send_text(0, 0xb1, "two"), 0); /* its number goes on: no gap holds it up */
    pass(500 * MS);
    assert_string_equal(side[1].last, "two");
    assert_int_equal(side[1].heard, 1);
}

static void test_what_is_kept_is_bounded(void **state)
{
    uint8_t big[50];
    int sent = 0;

    (void)state;
    memset(big, 'x', sizeof(big));
    lose = 100;
    while (node_bus_send(side[0].bus, SLICE_LIT("b"), 0xb1, slice_of(big, sizeof(big)), now) == 0)
        sent++;
    node_bus_flush(side[0].bus);
    assert_int_equal(sent, 4096 / sizeof(big));
    lose = 0;
    pass(500 * MS);
    assert_int_equal(side[1].heard, sent);
    assert_int_equal(send_text(0, 0xb1, "more"), 0);
}

static void test_oom_is_told(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        int err = send_text(0, 0xb1, "x");
        mem_fail_never();
        assert_int_equal(err, -ENOMEM);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_text_is_read_as_it_was_written),
        TEST(test_what_is_sent_comes_at_once_and_once),
        TEST(test_what_is_sent_in_a_turn_is_one_text),
        TEST(test_what_is_long_is_several_texts),
        TEST(test_loss_and_doubles_lose_and_double_nothing),
        TEST(test_another_process_of_the_name_gets_nothing_of_the_old_one),
        TEST(test_the_last_words_of_the_dead_count),
        TEST(test_an_acknowledgement_counts_behind_all_that_was_said_before_it),
        TEST(test_who_was_cut_off_comes_back_with_all_that_was_said),
        TEST(test_the_words_of_a_process_without_lease_do_not_count),
        TEST(test_what_is_taken_back_is_not_said_again),
        TEST(test_what_a_replaced_process_has_not_heard_can_be_taken_back),
        TEST(test_settled_is_acknowledged),
        TEST(test_after_a_minute_what_was_kept_for_the_dead_is_dropped),
        TEST(test_what_is_kept_is_bounded),
        TEST(test_oom_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

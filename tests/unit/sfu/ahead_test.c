/* ahead.c: looking ahead changes nothing of what is forwarded, whoever the packets are from.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ahead.h"
#include "tests/lib/fake_room.h"

static const struct fake_offer talker = {.mic = true, .audio = 2};

static void say(struct fake_client *c, uint32_t word)
{
    struct fake_rtp r = {
        .ssrc = c->ssrc, .ts = c->ts, .index = c->seq++, .pt = FAKE_PT_OPUS, .level = 20};

    c->ts += 960;
    fake_rtp_out(c, &r, slice_of((uint8_t *)&word, sizeof(word)));
}

/* What everybody was sent, as bytes, after the same packets. */
static uint64_t sent_after(bool look)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *v[4];
    uint64_t bytes;

    for (unsigned i = 0; i < 4; i++) {
        char id[4] = {'p', (char)('0' + i)};
        v[i] = fake_join(w, i < 2 ? "one" : "two", id, &talker);
    }
    uint64_t before = w->out_bytes;
    for (uint32_t turn = 0; turn < 20; turn++) {
        struct media_path from[4];

        for (unsigned i = 0; i < 4; i++)
            from[i] = v[i]->path;
        if (look)
            ahead(w->core, from, 4);
        for (unsigned i = 0; i < 4; i++)
            say(v[i], turn);
        fake_turn(w);
        fake_wait(w, 20 * US_PER_MS);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(v[i]->n_got, 20);
    bytes = w->out_bytes - before;
    fake_room_free(w);
    return bytes;
}

static void test_it_changes_nothing(void **state)
{
    (void)state;
    /* Reports go out at random times: a few of 20 rounds more or less. */
    uint64_t with = sent_after(true), without = sent_after(false);
    assert_in_range(with, without - without / 4, without + without / 4);
}

/* Strangers, somebody who has sent nothing yet, who is alone, has left, or hears nobody. */
static void test_any_mix_of_senders_is_looked_at(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &talker),
                       *alone = fake_join(w, "s", "d", &talker),
                       *deaf = fake_join(w, "t", "e", &(struct fake_offer){.mic = true}),
                       *mute = fake_join(w, "t", "f", &(struct fake_offer){.audio = 1}),
                       *gone = fake_join(w, "u", "g", &talker);
    struct media_path from[AHEAD_MAX];
    struct media_path stranger = {.remote = {.family = ADDR_V4, .ip = {192, 0, 2, 1}, .port = 9}};

    (void)state;
    fake_request(w, gone, CTL_LEAVE);
    const struct media_path mix[] = {a->path,     b->path,    stranger,   c->path,
                                     alone->path, deaf->path, mute->path, gone->path};
    for (int round = 0; round < 3; round++) {
        for (unsigned n = 0; n <= AHEAD_MAX; n++) {
            for (unsigned i = 0; i < n; i++)
                from[i] = mix[(i + n) % ARRAY_LEN(mix)];
            ahead(w->core, from, n);
        }
        say(a, 1);
        say(b, 2);
        say(deaf, 3);
        say(alone, 4);
        fake_turn(w);
        fake_wait(w, 20 * US_PER_MS);
    }
    assert_int_equal(c->n_got, 6);
    assert_int_equal(mute->n_got, 3);
    fake_room_free(w);
}

/* The same, with the second back end, whose sessions have no ciphers of ours. */
static void test_sessions_of_libsrtp2_have_nothing_to_fetch(void **state)
{
    struct fake_room *w = fake_room_new("[transport]\nsrtp_backend = libsrtp2\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct media_path from[4] = {a->path, b->path, a->path, b->path};

    (void)state;
    for (int i = 0; i < 3; i++) {
        ahead(w->core, from, 4);
        say(a, 1);
        fake_turn(w);
    }
    assert_int_equal(b->n_got, 3);
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_changes_nothing),
        cmocka_unit_test(test_any_mix_of_senders_is_looked_at),
        cmocka_unit_test(test_sessions_of_libsrtp2_have_nothing_to_fetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

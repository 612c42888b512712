/* Tests of what one client can make the server do, and keep: limits of router.c, login.c,
 * router_call.c and client.c over whole messages. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_world.h"

#include <setjmp.h>
#include <cmocka.h>

#define CALL "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"

static struct fake *join(struct world *w, const char *user, const char *device)
{
    struct fake *f = fake_open(w->r, 1);
    const char *m;

    fake_hello(f, user, device, NULL);
    m = fake_next(f);
    assert_true(m && strstr(m, "\"type\":\"welcome\""));
    return f;
}

/* The close code once everything the server sent has been read. */
static unsigned close_code(struct fake *f)
{
    while (fake_next(f))
        ;
    return f->close_code;
}

/* Skips until a message with this part comes; NULL: none did. */
static const char *until(struct fake *f, const char *part)
{
    const char *m;

    while ((m = fake_next(f)) && !strstr(m, part))
        ;
    return m;
}

static void dial(struct fake *f, unsigned id, const char *to)
{
    char text[500];

    snprintf(text, sizeof(text),
             "{\"type\":\"call.invite\",\"id\":\"i%u\",\"callId\":"
             "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d%04x\",\"to\":\"%s\",\"data\":{\"offer\":{"
             "\"type\":\"offer\",\"sdp\":\"v=0\"},\"metadata\":{\"isVideo\":false}}}",
             id, id, to);
    fake_say(f, text);
}

static void test_a_new_session_does_not_renew_the_users_invites(void **state)
{
    struct world *w = *state;
    unsigned passed = 0, limited = 0;

    for (unsigned round = 0; round < 4; round++) {
        struct fake *a = join(w, "alice", "d");
        for (unsigned i = 0; i < 5; i++) {
            char to[20];
            snprintf(to, sizeof(to), "user-%u", round * 5 + i);
            dial(a, round * 5 + i, to);
            const char *m = fake_next(a);
            limited += strstr(m, "rate_limited") != NULL;
            passed += strstr(m, "callee.unreachable") != NULL;
        }
        fake_say(a, "{\"type\":\"session.close\",\"id\":\"bye\"}");
        fake_free(a);
    }
    assert_int_equal(passed, w->conf.limits.invites_per_10s);
    assert_int_equal(passed + limited, 20);
}

/* Says the same text again and again; how often until the server closes. */
static unsigned flood(struct fake *f, uint8_t opcode, const char *text, unsigned most)
{
    unsigned n = 0;

    for (; n < most && !f->closed; n++) {
        fake_frame(f, opcode, text, strlen(text));
        if (!f->closed)
            while (fake_next(f))
                ;
    }
    return n;
}

static void test_no_kind_of_frame_may_come_without_end(void **state)
{
    struct world *w = *state;
    static const struct {
        uint8_t opcode;
        const char *text;
    } floods[] = {
        {WS_OP_PING, ""},
        {WS_OP_PONG, "x"},
        {WS_OP_TEXT, "{\"type\":\"ack\",\"ack\":0}"},
        {WS_OP_TEXT, "not json"},
        {WS_OP_TEXT, "{\"type\":\"ping\"}"},
        {WS_OP_TEXT, "{\"type\":\"call.sync\",\"id\":\"1\",\"seq\":1,\"callId\":\"" CALL "\"}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
        struct fake *a = join(w, "alice", "d");
        unsigned n = flood(a, floods[i].opcode, floods[i].text, 20000);
        if (n == 20000)
            printf("# flood %zu was let through\n", i);
        assert_true(n < 20000);
        assert_int_equal(close_code(a), SIG_CLOSE_RATE);
        fake_free(a);
    }
    struct fake *stranger = fake_open(w->r, 1);
    assert_true(flood(stranger, WS_OP_PING, "", 20000) < 100);
    assert_int_equal(close_code(stranger), SIG_CLOSE_RATE);
    fake_free(stranger);
}

static void test_a_busy_client_stays_within_the_frame_limit(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d");

    /* 20 messages, 20 acks and 20 pongs a second, for a minute. */
    for (unsigned i = 0; i < 60 * 20; i++) {
        fake_say(a, "{\"type\":\"ping\"}");
        fake_say(a, "{\"type\":\"ack\",\"ack\":0}");
        fake_frame(a, WS_OP_PONG, "", 0);
        while (fake_next(a))
            ;
        pass(w, 50 * US_PER_MS);
    }
    assert_false(a->closed);
    fake_free(a);
}

static void test_a_token_that_ends_soon_after_boot_ends_its_session(void **state)
{
    struct world *w = *state; /* the monotonic clock is at one second */
    struct fake *a = fake_open(w->r, 1);
    char text[2000];

    snprintf(text, sizeof(text),
             "{\"type\":\"hello\",\"id\":\"h\",\"data\":{\"token\":\"%s\",\"deviceId\":\"d\"}}",
             fake_token("alice", 20));
    fake_say(a, text);
    assert_non_null(until(a, "welcome"));
    for (unsigned i = 0; i < 10; i++, fake_frame(a, WS_OP_PONG, "", 0))
        pass(w, 10 * US_PER_S);
    assert_non_null(until(a, "auth.expiring"));
    assert_int_equal(close_code(a), SIG_CLOSE_AUTH);
    fake_free(a);
}

static void test_an_unknown_type_counts_its_seq(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d");

    fake_say(a, "{\"type\":\"call.hologram\",\"id\":\"1\",\"seq\":1}");
    assert_non_null(until(a, "unsupported_type"));
    fake_say(a, "{\"type\":\"call.sync\",\"id\":\"2\",\"seq\":2,\"callId\":\"" CALL "\"}");
    assert_non_null(until(a, "call.not_found"));
    assert_false(a->closed);
    fake_free(a);
}

/* Two in a call with media. */
static void talk(struct world *w, struct fake **a, struct fake **b)
{
    *a = join(w, "alice", "d");
    *b = join(w, "bob", "d");
    dial(*a, 0, "bob");
    fake_say(*b, "{\"type\":\"call.answer\",\"id\":\"w\",\"callId\":"
                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d0000\",\"data\":{\"answer\":{\"type\":"
                 "\"answer\",\"sdp\":\"v=0\"}}}");
    assert_non_null(until(*b, "connecting"));
    assert_non_null(until(*a, "call.accepted"));
}

static void test_the_other_party_cannot_break_a_session_with_bulk(void **state)
{
    struct world *w = *state;
    static char text[70000];
    struct fake *a, *b;

    talk(w, &a, &b);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(text, sizeof(text),
                 "{\"type\":\"call.candidates\",\"id\":\"c%u\",\"callId\":"
                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d0000\",\"data\":{\"candidates\":[{"
                 "\"candidate\":\"%07600d\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}]}}",
                 i, 0);
        fake_say(a, text);
    }
    assert_false(b->closed);
    /* Fresh offers may cross whatever is outstanding. */
    for (unsigned i = 0; i < 8; i++) {
        snprintf(text, sizeof(text),
                 "{\"type\":\"call.negotiate\",\"id\":\"n%u\",\"callId\":"
                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d0000\",\"data\":{\"description\":{\"type\":"
                 "\"offer\",\"sdp\":\"%060000d\"},\"negotiationId\":\"n%u\",\"fresh\":true}}",
                 i, 0, i);
        fake_say(a, text);
    }
    assert_false(b->closed);
    assert_non_null(until(a, "overloaded"));
    /* Once it has caught up, what comes is passed on again. */
    const char *m, *last = "0";
    while ((m = fake_next(b)))
        last = *fake_field(m, "\"seq\":") ? fake_field(m, "\"seq\":") : last;
    snprintf(text, sizeof(text), "{\"type\":\"ack\",\"ack\":%s}", last);
    fake_say(b, text);
    pass(w, 5 * US_PER_S);
    fake_say(a, "{\"type\":\"call.info\",\"callId\":\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d0000\","
                "\"data\":{\"audioMuted\":true}}");
    assert_non_null(until(b, "audioMuted"));
    fake_free(a);
    fake_free(b);
}

static void test_invites_cannot_break_the_callees_session(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");
    static char text[70000];

    for (unsigned i = 0; i < 5; i++) {
        snprintf(text, sizeof(text),
                 "{\"type\":\"call.invite\",\"id\":\"i%u\",\"callId\":"
                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d%04x\",\"to\":\"bob\",\"data\":{\"offer\":{"
                 "\"type\":\"offer\",\"sdp\":\"%060000d\"},\"metadata\":{\"isVideo\":false}}}",
                 i, i, 0);
        fake_say(a, text);
        assert_non_null(until(a, "inviting"));
        snprintf(text, sizeof(text),
                 "{\"type\":\"call.cancel\",\"id\":\"c%u\",\"callId\":"
                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d%04x\"}",
                 i, i);
        fake_say(a, text);
    }
    pass(w, US_PER_S);
    assert_false(b->closed);
    assert_non_null(until(b, "call.incoming"));
    fake_free(a);
    fake_free(b);
}

static void test_a_device_whose_token_forbids_calls_does_not_ring(void **state)
{
    struct world *w = *state;
    const struct token_rules rules = {0};
    struct token t = {.expires_at_s = FAKE_WALL / US_PER_S + 3600,
                      .user = "bob",
                      .perms = {.call = false, .presence = true}};
    char jwt[1000], text[2000];
    struct wr out = wr_init(jwt, sizeof(jwt) - 1);
    struct fake *a = join(w, "alice", "d"), *b = fake_open(w->r, 1);

    token_sign_hs256(&out, SLICE_LIT(FAKE_SECRET), NULL, &t, &rules, FAKE_WALL / US_PER_S);
    jwt[out.len] = 0;
    snprintf(text, sizeof(text),
             "{\"type\":\"hello\",\"data\":{\"token\":\"%s\",\"deviceId\":\"kiosk\"}}", jwt);
    fake_say(b, text);
    assert_non_null(until(b, "welcome"));
    dial(a, 1, "bob");
    assert_non_null(until(a, "callee.unreachable"));
    assert_null(fake_next(b));

    struct fake *phone = join(w, "bob", "phone");
    dial(a, 2, "bob");
    assert_non_null(until(phone, "call.incoming"));
    assert_null(fake_next(b));
    fake_free(b);
    b = fake_open(w->r, 1); /* the same device once more, while it rings */
    fake_say(b, text);
    assert_non_null(until(b, "welcome"));
    assert_null(fake_next(b));
    fake_free(a);
    fake_free(b);
    fake_free(phone);
}

static void test_a_refusal_does_not_stand_for_the_answer_that_came_later(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d");
    const char *ask = "{\"type\":\"presence.set\",\"id\":\"s\",\"data\":{\"state\":\"away\"}}";
    char text[200];

    for (unsigned i = 0; i < 60; i++) {
        snprintf(text, sizeof(text),
                 "{\"type\":\"presence.set\",\"id\":\"%u\",\"data\":{\"state\":\"away\"}}", i);
        fake_say(a, text);
    }
    fake_say(a, ask);
    assert_non_null(until(a, "rate_limited"));
    pass(w, 5 * US_PER_S);
    fake_say(a, ask);
    assert_non_null(until(a, "\"re\":\"s\""));
    fake_say(a, ask); /* the answer was lost: it must not turn into the refusal */
    const char *again = until(a, "\"re\":\"s\"");
    assert_non_null(again);
    assert_non_null(strstr(again, "\"state\":\"away\""));
    fake_free(a);
}

static void test_too_many_failed_logins_are_told_how_long_to_wait(void **state)
{
    struct world *w = *state;
    const char *m = NULL;

    for (uint64_t i = 0; i <= w->conf.limits.login_failures_per_10min; i++) {
        struct fake *f = fake_open(w->r, 9);
        fake_say(f, "{\"type\":\"hello\",\"data\":{\"token\":\"a.b.c\",\"deviceId\":\"d\"}}");
        m = fake_field(fake_next(f), "\"retryAfterMs\":");
        fake_free(f);
    }
    assert_in_range(strtoul(m, NULL, 10), 1, 65000);
    pass(w, (uint64_t)strtoul(m, NULL, 10) * US_PER_MS);
    struct fake *f = fake_open(w->r, 9);
    fake_hello(f, "alice", "d", NULL);
    assert_non_null(until(f, "welcome"));
    fake_free(f);
}

static void test_a_storm_of_logins_is_admitted_little_by_little(void **state)
{
    struct world *w = *state;
    unsigned in = 0, told = 0;

    w->conf.limits.logins_per_s = 5;
    router_free(w->r);
    w->r = router_new(&w->conf, &w->keys, NULL, w->now, FAKE_WALL);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20; i++) {
            char user[20];
            snprintf(user, sizeof(user), "user-%d-%u", round, i);
            struct fake *f = fake_open(w->r, 1);
            fake_hello(f, user, "d", NULL);
            const char *m = fake_next(f);
            if (strstr(m, "\"welcome\"")) {
                in++;
            } else {
                assert_non_null(strstr(m, "\"overloaded\""));
                assert_non_null(strstr(m, "\"retryAfterMs\""));
                assert_int_equal(close_code(f), 1013);
                told++;
            }
            fake_free(f);
        }
        pass(w, US_PER_S);
    }
    assert_int_equal(in, 10 + 5); /* the burst, then what a second gives */
    assert_int_equal(told, 40 - in);
}

static void test_a_peers_close_code_is_not_counted_as_ours(void **state)
{
    struct world *w = *state;
    struct fake *f = fake_open(w->r, 1);

    fake_frame(f, WS_OP_CLOSE, "\x11\x31", 2); /* 4401 */
    assert_int_equal(close_code(f), 4401);
    assert_int_equal(counter_get(&router_count(w->r)->closes_auth), 0);
    assert_int_equal(counter_get(&router_count(w->r)->closes_other), 1);
    fake_free(f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest router_limits[] = {
        T(test_a_new_session_does_not_renew_the_users_invites),
        T(test_no_kind_of_frame_may_come_without_end),
        T(test_a_busy_client_stays_within_the_frame_limit),
        T(test_a_token_that_ends_soon_after_boot_ends_its_session),
        T(test_an_unknown_type_counts_its_seq),
        T(test_the_other_party_cannot_break_a_session_with_bulk),
        T(test_invites_cannot_break_the_callees_session),
        T(test_a_device_whose_token_forbids_calls_does_not_ring),
        T(test_too_many_failed_logins_are_told_how_long_to_wait),
        T(test_a_storm_of_logins_is_admitted_little_by_little),
        T(test_a_peers_close_code_is_not_counted_as_ours),
        T(test_a_refusal_does_not_stand_for_the_answer_that_came_later),
    };

    return cmocka_run_group_tests(router_limits, NULL, NULL);
}

/* Tests of server/router.c, login.c, router_call.c and client.c together: whole messages in, whole
 * messages out, time as a variable. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_world.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>

#define CALL  "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"
#define CALL2 "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e80"

static char *turn_urls[] = {(char *)"stun:t.example:3478",
                            (char *)"turn:t.example:3478?transport=udp"};

static bool has(const char *text, const char *part)
{
    if (text && strstr(text, part))
        return true;
    printf("# '%s' lacks '%s'\n", text ? text : "(nothing)", part);
    return false;
}

/* Skips until a message with this part comes. */
static const char *until(struct fake *f, const char *part)
{
    const char *m;

    while ((m = fake_next(f)) && !strstr(m, part))
        ;
    if (!m)
        printf("# no message with '%s'\n", part);
    return m;
}

static struct fake *join(struct world *w, const char *user, const char *device)
{
    struct fake *f = fake_open(w->r, 1);

    fake_hello(f, user, device, NULL);
    assert_true(has(fake_next(f), "\"type\":\"welcome\""));
    return f;
}

/* Resume object out of a welcome. */
static const char *resume_of(const char *welcome, unsigned last_seq)
{
    static char text[300];

    snprintf(text, sizeof(text), "{\"sessionId\":\"%s\",\"resumeToken\":\"%s\",\"lastSeq\":%u}",
             fake_field(welcome, "\"sessionId\":"), fake_field(welcome, "\"resumeToken\":"),
             last_seq);
    return text;
}

static void dial(struct fake *f, const char *id, const char *call, const char *to)
{
    char text[600];

    snprintf(text, sizeof(text),
             "{\"type\":\"call.invite\",\"id\":\"%s\",\"callId\":\"%s\",\"to\":\"%s\",\"from\":"
             "\"mallory\",\"data\":"
             "{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0 "
             "secret-offer\"},\"metadata\":{\"isVideo\":false}}}",
             id, call, to);
    fake_say(f, text);
}

static void say_call(struct fake *f, const char *type, const char *id, const char *call,
                     const char *data)
{
    char text[900];

    snprintf(text, sizeof(text), "{\"type\":\"%s\",\"id\":\"%s\",\"callId\":\"%s\"%s%s}", type, id,
             call, data ? ",\"data\":" : "", data ? data : "");
    fake_say(f, text);
}

#define ANSWER    "{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0 secret-answer\"}}"
#define CANDIDATE "{\"candidates\":[{\"candidate\":\"candidate:secret\",\"sdpMid\":\"0\"}]}"

static void test_hello_comes_first(void **state)
{
    static const struct {
        const char *text, *code;
    } cases[] = {
        {"{\"type\":\"ping\"}", "bad_request"},
        {"{\"type\":\"nonsense\"}", "unsupported_type"},
        {"{", "bad_json"},
        {"[]", "bad_json"},
        {"{\"type\":\"hello\",\"id\":\"1\"}", "bad_request"},
        {"{\"type\":\"hello\",\"id\":\"1\",\"data\":{\"token\":\"x\",\"deviceId\":\"bad id\"}}",
         "bad_request"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake *f = fake_open(w->r, 2);
        fake_say(f, cases[i].text);
        assert_true(has(fake_next(f), cases[i].code));
        assert_null(fake_next(f));
        assert_int_equal(f->close_code, SIG_CLOSE_MALFORMED);
        assert_true(f->closed);
        fake_free(f);
    }
}

static void test_a_bad_token_is_refused_and_counted(void **state)
{
    struct world *w = *state;
    uint64_t limit = w->conf.limits.login_failures_per_10min;

    for (uint64_t i = 0; i <= limit; i++) {
        struct fake *f = fake_open(w->r, 3);
        fake_say(
            f,
            "{\"type\":\"hello\",\"id\":\"1\",\"data\":{\"token\":\"a.b.c\",\"deviceId\":\"d\"}}");
        assert_true(has(fake_next(f), i < limit ? "unauthorized" : "rate_limited"));
        fake_next(f);
        assert_int_equal(f->close_code, i < limit ? SIG_CLOSE_AUTH : SIG_CLOSE_RATE);
        fake_free(f);
    }
    struct fake *other = fake_open(w->r, 4); /* another address is welcome */
    fake_hello(other, "alice", "d", NULL);
    assert_true(has(fake_next(other), "welcome"));
    fake_free(other);
}

static void test_who_says_nothing_is_closed(void **state)
{
    struct world *w = *state;
    struct fake *f = fake_open(w->r, 1);

    pass(w, 4 * US_PER_S);
    assert_false(f->closed);
    pass(w, 2 * US_PER_S);
    assert_true(f->closed);
    fake_next(f);
    assert_int_equal(f->close_code, SIG_CLOSE_TIMEOUT);
    fake_free(f);
}

static void test_a_silent_session_is_pinged_then_closed(void **state)
{
    struct world *w = *state;
    struct fake *f = join(w, "alice", "d");

    pass(w, 26 * US_PER_S);
    assert_null(fake_next(f));
    assert_int_equal(f->pings, 1);
    fake_frame(f, WS_OP_PONG, "", 0);
    pass(w, 26 * US_PER_S);
    assert_false(f->closed);
    pass(w, 30 * US_PER_S);
    assert_true(f->closed);
    fake_free(f);
}

static void test_a_call_to_a_silent_device_pings_it_before_giving_up(void **state)
{
    struct world *w = *state;

    for (int answers = 0; answers < 2; answers++) {
        struct fake *bob = join(w, "bob", answers ? "phone" : "tablet");
        pass(w, 15 * US_PER_S); /* more than twice the interval of a call, less than an idle one */
        struct fake *alice = join(w, "alice", "laptop");
        dial(alice, "a1", answers ? CALL : CALL2, "bob");
        pass(w, 1);
        assert_true(has(fake_next(bob), "call.incoming"));
        assert_null(fake_next(bob));
        assert_false(bob->closed);
        assert_int_equal(bob->pings, 1);
        if (answers)
            fake_frame(bob, WS_OP_PONG, "", 0);
        pass(w, w->conf.session.ping_call_s * US_PER_S);
        assert_int_equal(bob->closed, !answers);
        fake_say(alice, "{\"type\":\"session.close\",\"id\":\"a2\"}");
        fake_free(alice);
        fake_free(bob);
    }
}

static void test_malformed_messages_get_errors_and_the_connection_lives(void **state)
{
    static const struct {
        const char *text, *code;
    } cases[] = {
        {"{\"type\":\"nonsense\",\"id\":\"1\"}", "unsupported_type"},
        {"{\"type\":\"call.hangup\",\"id\":\"2\"}", "bad_request"},
        {"nonsense", "bad_json"},
        {"{\"type\":\"hello\",\"id\":\"4\",\"data\":{\"token\":\"x\",\"deviceId\":\"d\"}}",
         "bad_request"},
        {"{\"type\":\"call.hangup\",\"id\":\"5\",\"callId\":\"" CALL "\"}", "call.not_found"},
        {"{\"type\":\"call.sync\",\"id\":\"6\",\"callId\":\"" CALL "\"}", "call.not_found"},
        {"{\"type\":\"welcome\",\"id\":\"7\"}", "unsupported_type"},
        {"{\"type\":\"turn.credentials\",\"id\":\"8\"}", "turn.unavailable"},
    };
    struct world *w = *state;
    struct fake *f = join(w, "alice", "d");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fake_say(f, cases[i].text);
        assert_true(has(fake_next(f), cases[i].code));
        assert_false(f->closed);
    }
    fake_frame(f, WS_OP_BINARY, "x", 1);
    fake_next(f);
    assert_int_equal(f->close_code, SIG_CLOSE_UNSUPPORTED);
    fake_free(f);
}

static void test_a_call_from_invite_to_hangup(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "laptop"), *phone = join(w, "bob", "phone"),
                *tablet = join(w, "bob", "tablet");
    const char *m;

    dial(a, "a1", CALL, "bob");
    assert_true(has(fake_next(a), "\"state\":\"inviting\""));
    m = fake_next(phone);
    assert_true(has(m, "call.incoming"));
    assert_true(has(m, "\"from\":\"alice\"")); /* not what the client wrote */
    assert_true(has(m, "\"fromDevice\":\"laptop\""));
    assert_true(has(m, "secret-offer"));
    assert_true(has(fake_next(tablet), "call.incoming"));
    say_call(phone, "call.ringing", "p1", CALL, NULL);
    assert_true(has(fake_next(a), "call.ringing"));
    say_call(phone, "call.candidates", "p2", CALL, CANDIDATE);
    assert_null(fake_next(a)); /* nothing of the callee before the accept */
    say_call(phone, "call.answer", "p3", CALL, ANSWER);
    assert_true(has(fake_next(a), "secret-answer"));
    assert_true(has(fake_next(a), "candidate:secret"));
    assert_true(has(until(tablet, "call.ended"), "answered_elsewhere"));
    say_call(tablet, "call.answer", "t1", CALL, ANSWER);
    assert_true(has(fake_next(tablet), "\"winner\":\"phone\""));
    say_call(a, "call.state", "a2", CALL, "{\"connectionState\":\"connected\"}");
    say_call(phone, "call.state", "p4", CALL, "{\"connectionState\":\"connected\"}");
    assert_true(has(until(a, "call.state"), "active"));
    pass(w, 2 * US_PER_S);
    say_call(phone, "call.hangup", "p5", CALL, NULL);
    assert_true(has(until(a, "call.ended"), "\"reason\":\"hangup\""));
    say_call(a, "call.hangup", "a3", CALL, NULL);
    assert_true(has(until(a, "a3"), "call.ended"));
    fake_free(a);
    fake_free(phone);
    fake_free(tablet);
}

static void test_unknown_and_offline_users_look_the_same(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");
    char *first;

    fake_say(b, "{\"type\":\"session.close\",\"id\":\"x\"}");
    fake_free(b);
    dial(a, "a1", CALL, "bob");
    first = strdup(fake_next(a));
    assert_true(has(first, "callee.unreachable"));
    dial(a, "a1x", CALL2, "nobody");
    const char *second = fake_next(a);
    assert_true(has(second, "callee.unreachable"));
    assert_string_equal(strstr(first, "\"data\""), strstr(second, "\"data\""));
    fake_say(
        a,
        "{\"type\":\"presence.subscribe\",\"id\":\"p\",\"data\":{\"users\":[\"bob\",\"nobody\"]}}");
    const char *m = fake_next(a);
    assert_true(has(m, "{\"user\":\"bob\",\"state\":\"offline\"}"));
    assert_true(has(m, "{\"user\":\"nobody\",\"state\":\"offline\"}"));
    free(first);
    fake_free(a);
}

static void test_a_resumed_session_gets_what_it_missed_once(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "laptop"), *b = fake_open(w->r, 1);
    char resume[300];

    fake_hello(b, "bob", "phone", NULL);
    snprintf(resume, sizeof(resume), "%s", resume_of(fake_next(b), 0));
    fake_free(b); /* the network is gone */
    pass(w, US_PER_S);
    dial(a, "a1", CALL, "bob");
    assert_true(has(fake_next(a), "\"online\":0"));
    b = fake_open(w->r, 1);
    fake_hello(b, "bob", "phone", resume);
    const char *m = fake_next(b);
    assert_true(has(m, "\"resumed\":true"));
    assert_true(has(m, CALL)); /* activeCalls */
    m = fake_next(b);
    assert_true(has(m, "call.incoming"));
    assert_true(has(m, "\"seq\":1,"));
    assert_null(fake_next(b));
    say_call(b, "call.ringing", "b1", CALL, NULL);
    assert_true(has(fake_next(a), "call.ringing"));
    fake_free(a);
    fake_free(b);
}

static void test_a_resume_token_of_another_device_or_user_makes_a_new_session(void **state)
{
    struct world *w = *state;
    struct fake *a = fake_open(w->r, 1), *thief = fake_open(w->r, 1), *other = fake_open(w->r, 1);
    char resume[300];

    fake_hello(a, "alice", "laptop", NULL);
    snprintf(resume, sizeof(resume), "%s", resume_of(fake_next(a), 0));
    fake_hello(thief, "mallory", "laptop", resume);
    assert_true(has(fake_next(thief), "\"resumed\":false"));
    fake_hello(other, "alice", "phone", resume);
    assert_true(has(fake_next(other), "\"resumed\":false"));
    assert_null(fake_next(a));
    assert_false(a->closed);
    fake_free(a);
    fake_free(thief);
    fake_free(other);
}

static void test_a_newer_socket_of_the_device_replaces_the_older(void **state)
{
    struct world *w = *state;
    struct fake *old = join(w, "alice", "laptop"), *new = join(w, "alice", "laptop");

    fake_next(old);
    assert_int_equal(old->close_code, SIG_CLOSE_REPLACED);
    assert_true(old->closed);
    assert_false(new->closed);
    fake_free(old);
    fake_say(new, "{\"type\":\"ping\",\"id\":\"1\",\"data\":{\"t\":7}}");
    assert_true(has(fake_next(new), "\"t\":7"));
    fake_free(new);
}

static void test_a_request_is_executed_once(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");
    char *first;

    dial(a, "same", CALL, "bob");
    first = strdup(fake_next(a));
    assert_true(has(fake_next(b), "call.incoming"));
    dial(a, "same", CALL, "bob");
    assert_string_equal(fake_next(a), first);
    assert_null(fake_next(b));
    dial(a, "other", CALL, "bob"); /* same call, other request: the same state, no second ring */
    assert_true(has(fake_next(a), "\"state\":\"inviting\""));
    assert_null(fake_next(b));
    free(first);
    fake_free(a);
    fake_free(b);
}

static void test_a_gap_in_seq_closes(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d");

    fake_say(a, "{\"type\":\"call.sync\",\"id\":\"1\",\"seq\":2,\"callId\":\"" CALL "\"}");
    fake_next(a);
    assert_int_equal(a->close_code, SIG_CLOSE_MALFORMED);
    fake_free(a);
    a = join(w, "alice", "d");
    fake_say(a, "{\"type\":\"ack\",\"ack\":99}");
    fake_next(a);
    assert_int_equal(a->close_code, SIG_CLOSE_MALFORMED);
    fake_free(a);
}

static void test_too_many_messages_are_refused_and_then_closed(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d");
    unsigned limited = 0;

    for (int i = 0; i < 300 && !a->closed; i++) {
        char text[200];
        snprintf(text, sizeof(text),
                 "{\"type\":\"presence.set\",\"id\":\"%d\",\"data\":{\"state\":\"away\"}}", i);
        fake_say(a, text);
        const char *m = fake_next(a);
        limited += m && strstr(m, "rate_limited") != NULL;
        if (i == 0)
            assert_true(has(m, "away"));
    }
    assert_true(limited >= 90);
    while (fake_next(a))
        ;
    assert_int_equal(a->close_code, SIG_CLOSE_RATE);
    fake_free(a);
}

static void test_a_slow_reader_is_closed_with_1013_and_may_resume(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = fake_open(w->r, 1);
    char resume[300];

    fake_hello(b, "bob", "d", NULL);
    snprintf(resume, sizeof(resume), "%s", resume_of(fake_next(b), 0));
    b->write_max = 10;
    dial(a, "1", CALL, "bob");
    assert_true(b->closed);
    fake_free(b);
    b = fake_open(w->r, 1);
    fake_hello(b, "bob", "d", resume);
    assert_true(has(fake_next(b), "\"resumed\":true"));
    assert_true(has(fake_next(b), "call.incoming"));
    fake_free(a);
    fake_free(b);
}

static void test_a_token_is_warned_of_refreshed_and_expires(void **state)
{
    struct world *w = *state;
    struct fake *a = fake_open(w->r, 1);
    char text[2000];

    snprintf(text, sizeof(text),
             "{\"type\":\"hello\",\"id\":\"h\",\"data\":{\"token\":\"%s\",\"deviceId\":\"d\"}}",
             fake_token("alice", 100));
    fake_say(a, text);
    assert_true(has(fake_next(a), "welcome"));
    for (int i = 0; i < 3; i++, fake_frame(a, WS_OP_PONG, "", 0))
        pass(w, 15 * US_PER_S);
    assert_true(has(until(a, "auth.expiring"), "expiresInMs"));
    snprintf(text, sizeof(text),
             "{\"type\":\"auth.refresh\",\"id\":\"r\",\"data\":{\"token\":\"%s\"}}",
             fake_token("mallory", 300));
    fake_say(a, text);
    assert_true(has(fake_next(a), "forbidden"));
    snprintf(text, sizeof(text),
             "{\"type\":\"auth.refresh\",\"id\":\"r2\",\"data\":{\"token\":\"%s\"}}",
             fake_token("alice", 300));
    fake_say(a, text);
    assert_true(has(fake_next(a), "auth.refresh"));
    for (int i = 0; i < 40 && !a->closed; i++) {
        pass(w, 10 * US_PER_S);
        if (!a->closed)
            fake_frame(a, WS_OP_PONG, "", 0);
    }
    while (fake_next(a))
        ;
    assert_int_equal(a->close_code, SIG_CLOSE_AUTH);
    fake_free(a);
}

static void test_relay_credentials_are_granted_for_the_call_and_user(void **state)
{
    struct world *w = *state;
    static uint8_t secret[] = "relay-secret";
    struct conf_list urls = w->conf.turn.urls;
    struct conf_secret was = w->conf.turn.secret;

    w->conf.turn.urls = (struct conf_list){turn_urls, 2};
    w->conf.turn.secret = (struct conf_secret){.p = secret, .len = sizeof(secret) - 1};
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");
    dial(a, "1", CALL, "bob");
    const char *m = fake_next(a);
    assert_true(has(m, "\"urls\":[\"stun:t.example:3478\"]}"));
    assert_true(has(m, ":" CALL ":alice\""));
    assert_true(has(fake_next(b), ":" CALL ":bob\""));
    fake_say(a, "{\"type\":\"turn.credentials\",\"id\":\"2\"}");
    assert_true(has(fake_next(a), ":alice\""));
    fake_free(a);
    fake_free(b);
    w->conf.turn.urls = urls;
    w->conf.turn.secret = was;
}

static void test_a_lost_caller_does_not_ring_for_ever(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");

    dial(a, "1", CALL, "bob");
    fake_next(b);
    say_call(b, "call.ringing", "b1", CALL, NULL);
    fake_free(a);
    pass(w, 9 * US_PER_S);
    assert_true(has(until(b, "b1"), "call.ringing"));
    assert_null(fake_next(b));
    fake_frame(b, WS_OP_PONG, "", 0);
    pass(w, 2 * US_PER_S);
    assert_true(has(until(b, "call.ended"), "cancelled"));
    fake_free(b);
}

static void test_a_device_that_acknowledged_the_call_was_reached(void **state)
{
    struct world *w = *state;

    for (int acks = 0; acks < 2; acks++) {
        struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");
        dial(a, "1", acks ? CALL : CALL2, "bob");
        assert_true(has(fake_next(b), "call.incoming"));
        if (acks)
            fake_say(b, "{\"type\":\"ack\",\"ack\":1}");
        for (int i = 0; i < 8; i++) {
            pass(w, 4 * US_PER_S);
            fake_frame(a, WS_OP_PONG, "", 0);
            fake_frame(b, WS_OP_PONG, "", 0);
        }
        assert_true(has(until(a, "call.ended"), acks ? "timeout" : "unreachable"));
        fake_free(a);
        fake_free(b);
    }
}

static void test_presence_follows_the_session(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b;

    fake_say(a, "{\"type\":\"presence.subscribe\",\"id\":\"p\",\"data\":{\"users\":[\"bob\"]}}");
    assert_true(has(fake_next(a), "offline"));
    b = join(w, "bob", "d");
    pass(w, US_PER_S);
    assert_true(has(fake_next(a), "{\"user\":\"bob\",\"state\":\"online\"}"));
    fake_say(b, "{\"type\":\"presence.set\",\"id\":\"s\",\"data\":{\"state\":\"invisible\"}}");
    pass(w, US_PER_S);
    assert_true(has(fake_next(a), "offline"));
    fake_say(b, "{\"type\":\"presence.set\",\"id\":\"s2\",\"data\":{\"state\":\"busy\"}}");
    pass(w, US_PER_S);
    assert_true(has(fake_next(a), "busy"));
    fake_free(b);
    pass(w, 2 * US_PER_S);
    assert_null(fake_next(a)); /* a short loss is not seen */
    pass(w, 5 * US_PER_S);
    assert_true(has(fake_next(a), "offline"));
    fake_free(a);
}

static void test_draining_tells_and_refuses(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = fake_open(w->r, 1);

    router_drain(w->r, 1000);
    assert_true(has(fake_next(a), "server.goaway"));
    fake_hello(b, "bob", "d", NULL);
    assert_true(has(fake_next(b), "overloaded"));
    fake_next(b);
    assert_int_equal(b->close_code, SIG_CLOSE_RESTART);
    fake_free(a);
    fake_free(b);
}

static void test_sessions_end_and_nothing_is_left(void **state)
{
    struct world *w = *state;
    struct fake *a = join(w, "alice", "d"), *b = join(w, "bob", "d");

    dial(a, "1", CALL, "bob");
    fake_free(a);
    fake_free(b);
    pass(w, 400 * US_PER_S);
    assert_int_equal(counter_get(&router_count(w->r)->sessions), 0);
    assert_int_equal(counter_get(&router_count(w->r)->connections), 0);
    assert_int_equal(counter_get(&router_count(w->r)->calls), 0);
    assert_true(router_deadline(w->r) == CLOCK_NEVER);
}

/* Whatever allocation fails while two clients come, call and go: no crash, no leak. */
static void test_oom_fails_requests_not_the_server(void **state)
{
    struct world *w = *state;

    for (uint64_t n = 0; n < 400; n++) {
        uint64_t before;
        bool failed;
        pass(w, 400 * US_PER_S);
        before = mem_live();
        mem_fail_after(n);
        struct fake *a = fake_open(w->r, 1), *b = fake_open(w->r, 2);
        if (a->c && b->c) {
            fake_hello(a, "alice", "d", NULL);
            fake_hello(b, "bob", "d", NULL);
            dial(a, "1", CALL, "bob");
            say_call(b, "call.ringing", "2", CALL, NULL);
            say_call(b, "call.answer", "3", CALL, ANSWER);
            say_call(a, "call.candidates", "4", CALL, CANDIDATE);
            say_call(a, "call.hangup", "5", CALL, NULL);
        }
        failed = mem_failed();
        mem_fail_never();
        fake_free(a);
        fake_free(b);
        pass(w, 400 * US_PER_S);
        assert_int_equal(mem_live(), before);
        if (!failed)
            return;
    }
    fail_msg("the scenario never got through");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_hello_comes_first),
        T(test_a_bad_token_is_refused_and_counted),
        T(test_who_says_nothing_is_closed),
        T(test_a_silent_session_is_pinged_then_closed),
        T(test_a_call_to_a_silent_device_pings_it_before_giving_up),
        T(test_malformed_messages_get_errors_and_the_connection_lives),
        T(test_a_call_from_invite_to_hangup),
        T(test_unknown_and_offline_users_look_the_same),
        T(test_a_resumed_session_gets_what_it_missed_once),
        T(test_a_resume_token_of_another_device_or_user_makes_a_new_session),
        T(test_a_newer_socket_of_the_device_replaces_the_older),
        T(test_a_request_is_executed_once),
        T(test_a_gap_in_seq_closes),
        T(test_too_many_messages_are_refused_and_then_closed),
        T(test_a_slow_reader_is_closed_with_1013_and_may_resume),
        T(test_a_token_is_warned_of_refreshed_and_expires),
        T(test_relay_credentials_are_granted_for_the_call_and_user),
        T(test_a_lost_caller_does_not_ring_for_ever),
        T(test_a_device_that_acknowledged_the_call_was_reached),
        T(test_presence_follows_the_session),
        T(test_draining_tells_and_refuses),
        T(test_sessions_end_and_nothing_is_left),
        T(test_oom_fails_requests_not_the_server),
    };

    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}

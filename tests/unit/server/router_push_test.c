/* Tests of server/router_push.c, router_record.c (devices) and the limits of ring tokens: whole
 * messages in and out, a push service of the test's own.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_world.h"

#include "tests/lib/fake_push.h"

#include <setjmp.h>
#include <cmocka.h>

#define CALL  "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"
#define CALL2 "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e80"

struct scene {
    struct world *w;
    struct device_dir *dir;
    struct fake_push push;
    struct fake *alice;
};

static struct scene scene;

static bool has(const char *text, const char *part)
{
    if (text && strstr(text, part))
        return true;
    printf("# '%s' lacks '%s'\n", text ? text : "(nothing)", part);
    return false;
}

/* The next message with this part, or NULL. */
static const char *until(struct fake *f, const char *part)
{
    const char *m;

    while ((m = fake_next(f)) && !strstr(m, part))
        ;
    return m;
}

static struct fake *join(const char *user, const char *device)
{
    struct fake *f = fake_open(scene.w->r, 1);

    fake_hello(f, user, device, NULL);
    assert_true(has(fake_next(f), "\"type\":\"welcome\""));
    return f;
}

static void say(struct fake *f, const char *type, const char *id, const char *call,
                const char *more)
{
    char text[1600];

    snprintf(text, sizeof(text), "{\"type\":\"%s\",\"id\":\"%s\"%s%s%s%s}", type, id,
             call ? ",\"callId\":\"" : "", call ? call : "", call ? "\"" : "", more);
    fake_say(f, text);
}

static void dial(struct fake *f, const char *id, const char *call)
{
    say(f, "call.invite", id, call,
        ",\"to\":\"bob\",\"data\":{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},\"metadata\":{"
        "\"isVideo\":false}}");
}

#define ANSWER         ",\"data\":{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0\"}}"
#define TOKENS(t, hex) "\"tokens\":[{\"type\":\"" t "\",\"token\":\"" hex "\"}]"

/* Bob's device registers and goes to sleep for good. */
static void device(const char *name, const char *tokens)
{
    char more[400];
    struct fake *f = join("bob", name);

    snprintf(more, sizeof(more), ",\"data\":{\"platform\":\"ios\",\"app\":\"com.acme.talk\",%s}",
             tokens);
    say(f, "device.register", "1", NULL, more);
    assert_true(has(until(f, "\"re\":\"1\""), "\"tokens\":"));
    say(f, "session.close", "2", NULL, "");
    fake_free(f);
}

static int start(void **state)
{
    const struct device_dir_conf conf = {
        .devices = 100, .devices_per_user = 3, .tokens_per_device = 8};

    memset(&scene, 0, sizeof(scene));
    if (setup((void **)&scene.w) != 0)
        return -1;
    scene.dir = device_dir_new(&conf);
    fake_push_init(&scene.push);
    if (!router_set_push(scene.w->r, scene.dir, &scene.push.service))
        return -1;
    scene.alice = join("alice", "laptop");
    *state = &scene;
    return 0;
}

static int stop(void **state)
{
    void *w = scene.w;

    (void)state;
    fake_free(scene.alice);
    teardown(&w);
    device_dir_free(scene.dir);
    return 0;
}

/* Says hello with the token of a push. */
static struct fake *wake(unsigned push, const char *device)
{
    char text[1200];
    struct fake *f = fake_open(scene.w->r, 2);

    snprintf(text, sizeof(text),
             "{\"type\":\"hello\",\"id\":\"h\",\"data\":{\"token\":\"%s\",\"deviceId\":\"%s\"}}",
             fake_push_at(&scene.push, push)->k, device);
    fake_say(f, text);
    return f;
}

/* Lets seconds pass; f and alice answer pings. */
static void idle(struct fake *f, unsigned seconds)
{
    for (; seconds > 0; seconds--) {
        pass(scene.w, US_PER_S);
        fake_frame(scene.alice, WS_OP_PONG, "", 0);
        if (f)
            fake_frame(f, WS_OP_PONG, "", 0);
    }
}

static void test_an_offline_callee_is_woken_and_answers(void **state)
{
    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "i", CALL);
    assert_true(has(until(scene.alice, "\"re\":\"i\""), "\"devices\":{\"online\":0,\"pushed\":1}"));
    assert_int_equal(scene.push.n, 1);
    struct fake_pushed *p = fake_push_at(&scene.push, 0);
    assert_int_equal(p->kind, PUSH_RING);
    assert_string_equal(p->token, "aa01");
    assert_string_equal(p->call, CALL);
    assert_string_equal(p->from, "alice");
    assert_int_equal(p->deadline_us, scene.w->now + 30 * US_PER_S);
    fake_push_judge(&scene.push, 0, PUSH_TAKEN, 200);
    pass(scene.w, 2 * US_PER_S);

    struct fake *phone = wake(0, "phone");
    assert_true(has(fake_next(phone), "\"type\":\"welcome\""));
    assert_true(has(fake_next(phone), "\"type\":\"call.incoming\""));
    say(phone, "call.ringing", "1", CALL, "");
    assert_true(until(scene.alice, "\"type\":\"call.ringing\"") != NULL);
    say(phone, "call.answer", "2", CALL, ANSWER);
    assert_true(has(until(phone, "\"re\":\"2\""), "\"state\":\"connecting\""));
    assert_true(has(until(scene.alice, "call.accepted"), "\"fromDevice\":\"phone\""));
    static const char up[] = ",\"data\":{\"connectionState\":\"connected\"}";
    say(phone, "call.state", "3", CALL, up);
    say(scene.alice, "call.state", "4", CALL, up);
    assert_true(until(phone, "\"state\":\"active\"") != NULL);
    assert_true(until(scene.alice, "\"state\":\"active\"") != NULL);
    assert_int_equal(scene.push.n, 1);
    say(phone, "call.hangup", "5", CALL, "");
    fake_free(phone);
}

static void test_a_ring_token_is_good_for_one_call(void **state)
{
    static const struct {
        const char *type, *call, *more;
    } no[] = {
        {"call.invite", CALL2,
         ",\"to\":\"alice\",\"data\":{\"offer\":{\"type\":\"offer\",\"sdp\":\"\"},\"metadata\":{"
         "\"isVideo\":false}}"},
        {"call.sync", CALL2, ""},
        {"call.upgrade", CALL, ""},
        {"turn.credentials", NULL, ""},
        {"presence.set", NULL, ",\"data\":{\"state\":\"busy\"}"},
        {"presence.subscribe", NULL, ",\"data\":{\"users\":[\"alice\"]}"},
        {"device.register", NULL, ",\"data\":{\"platform\":\"ios\",\"app\":\"x\"}"},
        {"device.list", NULL, ""},
        {"history.list", NULL, ""},
        {"privacy.export", NULL, ""},
        {"room.join", NULL, ",\"roomId\":\"r\",\"data\":{}"},
    };
    char id[8], more[1200];

    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "i", CALL);
    struct fake *other = wake(0, "tablet"); /* the token names the phone */
    assert_true(has(fake_next(other), "forbidden"));
    fake_free(other);
    struct fake *phone = wake(0, "phone");
    assert_true(until(phone, "call.incoming") != NULL);
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        snprintf(id, sizeof(id), "n%zu", i);
        say(phone, no[i].type, id, no[i].call, no[i].more);
        if (!has(fake_next(phone), "\"code\":\"forbidden\""))
            fail_msg("%s", no[i].type);
    }
    say(phone, "ping", "p", NULL, "");
    assert_true(until(phone, "\"type\":\"pong\"") != NULL);
    say(phone, "call.sync", "s", CALL, "");
    assert_true(has(until(phone, "\"re\":\"s\""), "\"offer\":"));
    say(phone, "turn.credentials", "t", CALL, "");
    assert_true(has(until(phone, "\"re\":\"t\""), "turn.unavailable"));

    /* other calls do not ring on it, and it is pushed for them like one that sleeps */
    struct fake *cyd = join("cyd", "laptop");
    say(phone, "call.reject", "j", CALL, "");
    dial(cyd, "i", CALL2);
    assert_true(has(until(cyd, "\"re\":\"i\""), "\"devices\":{\"online\":0,\"pushed\":1}"));
    assert_null(until(phone, "call.incoming"));

    /* with a token of its own it is a whole session */
    snprintf(more, sizeof(more), ",\"data\":{\"token\":\"%s\"}", fake_token("bob", 3600));
    say(phone, "auth.refresh", "r", NULL, more);
    assert_true(has(until(phone, "\"re\":\"r\""), "expiresInMs"));
    say(phone, "device.list", "d", NULL, "");
    assert_true(has(until(phone, "\"re\":\"d\""), "\"deviceId\":\"phone\""));
    fake_free(cyd);
    fake_free(phone);
}

static void test_a_late_push_finds_the_truth_in_one_round_trip(void **state)
{
    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "i", CALL);
    fake_push_judge(&scene.push, 0, PUSH_TAKEN, 200);
    say(scene.alice, "call.cancel", "c", CALL, "");
    assert_int_equal(scene.push.n, 1); /* no VoIP push says that it is over */
    pass(scene.w, 60 * US_PER_S);
    struct fake *phone = wake(0, "phone");
    assert_true(has(fake_next(phone), "\"activeCalls\":[]"));
    assert_null(fake_next(phone));
    say(phone, "call.sync", "s", CALL, "");
    assert_true(has(fake_next(phone), "\"state\":\"ended\",\"reason\":\"cancelled\""));
    say(phone, "call.answer", "a", CALL, ANSWER);
    assert_true(has(fake_next(phone), "\"code\":\"call.ended\""));
    fake_free(phone);
    pass(scene.w, 120 * US_PER_S); /* and then the token is over, leeway included */
    phone = wake(0, "phone");
    assert_true(has(fake_next(phone), "token_expired"));
    fake_free(phone);
}

static void test_unreachable_at_once(void **state)
{
    (void)state;
    dial(scene.alice, "i", CALL);
    assert_true(has(until(scene.alice, "\"re\":\"i\""), "callee.unreachable"));
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "j", CALL2);
    assert_true(has(until(scene.alice, "\"re\":\"j\""), "\"pushed\":1"));
    fake_push_judge(&scene.push, 0, PUSH_GONE, 410);
    pass(scene.w, 0);
    const char *m = until(scene.alice, "call.ended");
    assert_true(has(m, "\"reason\":\"unreachable\"") && has(m, "\"sipCode\":480"));
    dial(scene.alice, "k", "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e81");
    assert_true(has(until(scene.alice, "\"re\":\"k\""), "callee.unreachable"));
}

static void test_who_acknowledges_in_time_is_not_pushed(void **state)
{
    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    struct fake *phone = join("bob", "phone");
    dial(scene.alice, "i", CALL);
    assert_true(has(until(scene.alice, "\"re\":\"i\""), "\"devices\":{\"online\":1,\"pushed\":0}"));
    pass(scene.w, 300 * US_PER_MS);
    const char *m = until(phone, "call.incoming");
    char ack[80];
    snprintf(ack, sizeof(ack), "{\"type\":\"ack\",\"ack\":%s}", fake_field(m, "\"seq\":"));
    fake_say(phone, ack);
    idle(phone, 10);
    assert_int_equal(scene.push.n, 0);

    /* the second call is not acknowledged: the phone is pushed after half a second, once */
    say(scene.alice, "call.cancel", "c", CALL, "");
    dial(scene.alice, "j", CALL2);
    pass(scene.w, 499 * US_PER_MS);
    assert_int_equal(scene.push.n, 0);
    pass(scene.w, 2 * US_PER_MS);
    assert_int_equal(scene.push.n, 1);
    assert_string_equal(fake_push_at(&scene.push, 0)->call, CALL2);
    idle(phone, 20);
    assert_int_equal(scene.push.n, 1);
    fake_free(phone);
}

static void test_a_missed_call_is_an_alert(void **state)
{
    (void)state;
    device("phone", "\"tokens\":[{\"type\":\"voip\",\"token\":\"aa01\"},{\"type\":\"alert\","
                    "\"token\":\"bb01\"}]");
    dial(scene.alice, "i", CALL);
    fake_push_judge(&scene.push, 0, PUSH_TAKEN, 200);
    idle(NULL, 31);
    assert_true(has(until(scene.alice, "call.ended"), "\"reason\":\"timeout\""));
    assert_int_equal(scene.push.n, 2);
    struct fake_pushed *p = fake_push_at(&scene.push, 1);
    assert_int_equal(p->kind, PUSH_MISSED);
    assert_string_equal(p->token, "bb01");
    assert_string_equal(p->from, "alice");
    fake_push_judge(&scene.push, 1, PUSH_TAKEN, 200);
    /* declined is not missed */
    dial(scene.alice, "j", CALL2);
    struct fake *phone = wake(2, "phone");
    assert_true(until(phone, "call.incoming") != NULL);
    say(phone, "call.reject", "r", CALL2, "");
    pass(scene.w, US_PER_S);
    assert_int_equal(scene.push.n, 3);
    fake_free(phone);
}

static void test_live_activities_hear_of_the_call(void **state)
{
    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "i", CALL);
    struct fake *phone = wake(0, "phone");
    assert_true(until(phone, "call.incoming") != NULL);
    struct fake *tablet = join("bob", "tablet"); /* registers for the phone's call, say */
    say(tablet, "device.register", "1", NULL,
        ",\"data\":{\"platform\":\"ios\",\"app\":\"com.acme.talk\",\"tokens\":[{\"type\":"
        "\"liveactivity\",\"token\":\"cc01\",\"callId\":\"" CALL "\"}]}");
    assert_true(has(until(tablet, "\"re\":\"1\""), "\"tokens\":1"));
    say(phone, "call.answer", "2", CALL, ANSWER);
    static const char up[] = ",\"data\":{\"connectionState\":\"connected\"}";
    say(phone, "call.state", "3", CALL, up);
    say(scene.alice, "call.state", "4", CALL, up);
    pass(scene.w, 5 * US_PER_S);
    say(phone, "call.hangup", "5", CALL, "");
    assert_int_equal(scene.push.n, 4);
    assert_string_equal(fake_push_at(&scene.push, 1)->status, "connecting");
    assert_string_equal(fake_push_at(&scene.push, 2)->status, "active");
    assert_string_equal(fake_push_at(&scene.push, 3)->status, "ended");
    assert_int_equal(fake_push_at(&scene.push, 3)->kind, PUSH_LIVE_END);
    fake_free(tablet);
    fake_free(phone);
}

static void test_what_is_wrong_with_a_device_is_said(void **state)
{
    static const struct {
        const char *data, *code;
    } cases[] = {
        {"{}", "data.platform"},
        {"{\"platform\":\"amiga\",\"app\":\"x\"}", "data.platform"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"environment\":\"test\"}", "data.environment"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"callUi\":\"x\"}", "data.callUi"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"x\",\"token\":\"aa\"}]}",
         "data.tokens"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\",\"token\":\"AA\"}]}",
         "lower-case"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\",\"token\":\"aaa\"}]}",
         "lower-case"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"liveactivity\",\"token\":"
         "\"aa\"}]}",
         "callId"},
        {"{\"platform\":\"ios\",\"app\":\"x\",\"tokens\":[{\"type\":\"voip\",\"token\":\"aa\","
         "\"callId\":\"" CALL "\"}]}",
         "callId"},
    };
    char id[8], more[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(id, sizeof(id), "n%zu", i);
        snprintf(more, sizeof(more), ",\"data\":%s", cases[i].data);
        say(scene.alice, "device.register", id, NULL, more);
        const char *m = fake_next(scene.alice);
        if (!has(m, "bad_request") || !has(m, cases[i].code))
            fail_msg("case %zu", i);
    }
    for (int i = 0; i < 4; i++) {
        char name[] = {'d', (char)('0' + i), 0};
        struct fake *f = join("bob", name);
        say(f, "device.register", "1", NULL, ",\"data\":{\"platform\":\"web\",\"app\":\"x\"}");
        assert_true(has(until(f, "\"re\":\"1\""), i < 3 ? "\"tokens\":0" : "device.too_many"));
        if (i == 3) {
            say(f, "device.unregister", "2", NULL, ",\"data\":{\"deviceId\":\"d1\"}");
            assert_true(has(until(f, "\"re\":\"2\""), "{}"));
            say(f, "device.list", "3", NULL, "");
            const char *m = until(f, "\"re\":\"3\"");
            assert_true(has(m, "d0") && has(m, "d2") && !strstr(m, "\"d1\""));
        }
        fake_free(f);
    }
    say(scene.alice, "history.list", "h", NULL, "");
    assert_true(has(until(scene.alice, "\"re\":\"h\""), "store.unavailable"));
}

static void test_a_caller_who_leaves_before_anybody_woke(void **state)
{
    (void)state;
    device("phone", TOKENS("voip", "aa01"));
    dial(scene.alice, "i", CALL);
    assert_int_equal(scene.push.under_way, 1);
    say(scene.alice, "session.close", "x", NULL, "");
    assert_true(fake_push_at(&scene.push, 0)->cancelled); /* not tried again */
    assert_int_equal(counter_get(&router_count(scene.w->r)->ended[SIG_REASON_CANCELLED]), 1);
}

/* Whatever allocation fails while a sleeper is woken and answers: no crash, no leak, no call that
 * rings for nobody. */
static void test_oom_fails_one_thing_not_the_rest(void **state)
{
    bool failed = true;

    (void)state;
    device("phone", "\"tokens\":[{\"type\":\"voip\",\"token\":\"aa01\"},{\"type\":\"alert\","
                    "\"token\":\"bb01\"}]");
    for (uint64_t n = 0; failed; n++) {
        assert_true(n < 1000);
        pass(scene.w, 1000 * US_PER_S);
        uint64_t before = mem_live();
        mem_fail_after(n);
        scene.push.n = 0;
        struct fake *a = fake_open(scene.w->r, 1), *phone = NULL;
        if (a->c) {
            fake_hello(a, "alice", "tab", NULL);
            dial(a, "i", CALL);
            if (scene.push.n > 0)
                phone = wake(0, "phone");
            if (phone && phone->c) {
                say(phone, "call.answer", "2", CALL, ANSWER);
                say(phone, "call.hangup", "3", CALL, "");
            }
            dial(a, "j", CALL2);
            say(a, "call.cancel", "k", CALL2, "");
        }
        failed = mem_failed();
        mem_fail_never();
        for (unsigned i = 0; i < FAKE_PUSH_MAX; i++)
            fake_push_judge(&scene.push, i, PUSH_TAKEN, 200);
        fake_free(a);
        if (phone)
            fake_free(phone);
        pass(scene.w, 1000 * US_PER_S);
        assert_int_equal(mem_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
        T(test_an_offline_callee_is_woken_and_answers),
        T(test_a_ring_token_is_good_for_one_call),
        T(test_a_late_push_finds_the_truth_in_one_round_trip),
        T(test_unreachable_at_once),
        T(test_who_acknowledges_in_time_is_not_pushed),
        T(test_a_missed_call_is_an_alert),
        T(test_live_activities_hear_of_the_call),
        T(test_what_is_wrong_with_a_device_is_said),
        T(test_a_caller_who_leaves_before_anybody_woke),
        T(test_oom_fails_one_thing_not_the_rest),
    };

    return cmocka_run_group_tests_name("router_push", tests, NULL, NULL);
}

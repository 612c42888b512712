/* Tests of server/router_record.c and router_history.c over a real ledger in a file, run inline:
 * devices, the history, missed calls with their badge, privacy requests.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/record_scene.h"

static void test_a_device_is_there_when_it_is_answered(void **state)
{
    (void)state;
    say(scene.bob, "device.register", "1", NULL, DEVICE(TOKEN("voip", "aa01")));
    assert_null(fake_next(scene.bob));
    assert_int_equal(device_dir_devices(scene.dir), 0);
    say(scene.bob, "device.register", "1", NULL, DEVICE(TOKEN("voip", "aa01")));
    assert_null(fake_next(scene.bob)); /* its answer is under way */
    commit();
    assert_true(scene.entered > 0);
    assert_true(has(fake_next(scene.bob), "\"re\":\"1\""));
    assert_null(fake_next(scene.bob));
    assert_int_equal(device_dir_tokens(scene.dir, LEDGER_VOIP), 1);
    /* the token moves to another user's phone, in the file as well */
    assert_true(has(ask(scene.alice, "device.register", "1", DEVICE(TOKEN("voip", "aa01"))),
                    "\"tokens\":1"));
    assert_true(has(ask(scene.bob, "device.list", "2", ""), "\"tokens\":[]"));
    assert_true(has(ask(scene.alice, "device.unregister", "3", ""), "{}"));
    assert_true(has(ask(scene.alice, "device.unregister", "4", ""), "{}"));
    assert_int_equal(device_dir_devices(scene.dir), 1);
    /* nobody is there any more to hear the answer */
    say(scene.bob, "device.register", "5", NULL, DEVICE(TOKEN("alert", "bb01")));
    say(scene.bob, "session.close", "6", NULL, "");
    commit();
    assert_int_equal(device_dir_tokens(scene.dir, LEDGER_ALERT), 1);
}

static void test_calls_are_kept_for_both(void **state)
{
    static const char up[] = ",\"data\":{\"connectionState\":\"connected\"}";

    (void)state;
    dial(scene.alice, "i", CALL, "bob");
    say(scene.bob, "call.ringing", "r", CALL, "");
    pass(scene.w, US_PER_S);
    say(scene.bob, "call.answer", "a", CALL,
        ",\"data\":{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0\"}}");
    commit();
    const char *m = ask(scene.alice, "history.list", "h1", "");
    assert_true(has(m, "\"outcome\":\"answered\"") && !strstr(m, "\"ended\":"));
    say(scene.bob, "call.state", "s", CALL, up);
    say(scene.alice, "call.state", "s", CALL, up);
    pass(scene.w, 2 * US_PER_S);
    say(scene.alice, "call.hangup", "e", CALL, "");
    commit();
    m = ask(scene.alice, "history.list", "h2", "");
    assert_true(has(m, "\"callId\":\"" CALL "\",\"role\":\"caller\",\"peer\":\"bob\""));
    assert_true(has(m, "\"endedBy\":\"caller\"") && has(m, "\"isVideo\":true"));
    assert_true(has(m, "\"created\":1767225601000,\"rang\":1767225601000,\"answered\":"
                       "1767225602000,\"ended\":1767225604000"));
    m = ask(scene.bob, "history.list", "h2", "");
    assert_true(has(m, "\"role\":\"callee\",\"peer\":\"alice\",\"deviceId\":\"phone\""));
    assert_true(has(m, "\"missed\":false}],\"missed\":0"));
    /* bob takes it off his list: alice's stays */
    assert_true(has(ask(scene.bob, "history.delete", "d", ",\"data\":{\"callIds\":[\"" CALL "\"]}"),
                    "\"missed\":0"));
    assert_true(has(ask(scene.bob, "history.list", "h3", ""), "\"calls\":[]"));
    assert_true(has(ask(scene.alice, "history.list", "h3", ""), CALL));
}

static void test_missed_calls_are_counted_before_they_are_told(void **state)
{
    (void)state;
    assert_true(ask(scene.bob, "device.register", "1",
                    DEVICE(TOKEN("alert", "bb01") "," TOKEN("voip", "aa01"))));
    dial(scene.alice, "i", CALL, "bob");
    say(scene.alice, "call.cancel", "c", CALL, "");
    assert_int_equal(scene.push.n, 0);
    commit();
    assert_int_equal(scene.push.n, 1);
    assert_int_equal(fake_push_at(&scene.push, 0)->kind, PUSH_MISSED);
    assert_int_equal(fake_push_at(&scene.push, 0)->badge, 1);
    /* busy is missed, too: bob talks to cyd */
    struct fake *cyd = join("cyd", "x");
    dial(scene.bob, "j", CALL2, "cyd");
    dial(scene.alice, "k", CALL3, "bob");
    assert_true(has(until(scene.alice, "\"re\":\"k\""), "call.busy"));
    commit();
    assert_int_equal(scene.push.n, 2);
    assert_int_equal(fake_push_at(&scene.push, 1)->badge, 2);
    const char *m = ask(scene.bob, "history.list", "h", ",\"data\":{\"missed\":true,\"limit\":1}");
    assert_true(has(m, "\"outcome\":\"busy\"") && has(m, "\"seen\":false") &&
                has(m, "\"missed\":2,\"cursor\":\""));
    char more[200];
    snprintf(more, sizeof(more), ",\"data\":{\"missed\":true,\"cursor\":\"%s\"}",
             fake_field(m, "\"cursor\":"));
    m = ask(scene.bob, "history.list", "h2", more);
    assert_true(has(m, "\"outcome\":\"cancelled\"") && !strstr(m, "cursor"));
    assert_true(has(ask(scene.bob, "history.list", "h3", ",\"data\":{\"cursor\":\"nonsense\"}"),
                    "bad_request"));
    assert_true(has(ask(scene.bob, "history.seen", "s", ",\"data\":{\"until\":1767230000000}"),
                    "\"missed\":0"));
    fake_free(cyd);
    /* nobody at all could be reached, ever: it is on the list for when he comes */
    dial(scene.alice, "l", "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e82", "dan");
    assert_true(has(until(scene.alice, "\"re\":\"l\""), "callee.unreachable"));
    commit();
    struct fake *dan = join("dan", "x");
    assert_true(has(ask(dan, "history.list", "h", ""), "\"outcome\":\"unreachable\""));
    fake_free(dan);
}

static void test_pushes_are_logged_and_tokens_forgotten(void **state)
{
    (void)state;
    assert_true(ask(scene.bob, "device.register", "1", DEVICE(TOKEN("voip", "aa01"))));
    say(scene.bob, "session.close", "x", NULL, "");
    dial(scene.alice, "i", CALL, "bob");
    assert_int_equal(scene.push.n, 1);
    fake_push_judge(&scene.push, 0, PUSH_GONE, 410);
    commit();
    assert_int_equal(device_dir_tokens(scene.dir, LEDGER_VOIP), 0);
    pass(scene.w, 0);
    assert_true(has(until(scene.alice, "call.ended"), "unreachable"));
    commit();
    /* so the file says after a restart */
    ledger_free(scene.ledger);
    struct ledger_store *s = scene_open();
    assert_string_equal(scene_devices(s), "bob/phone");
    scene_close(s);
    const struct ledger_conf conf = {.queue = 10, .queue_bytes = 1 << 20, .batch = 5};
    scene.ledger = ledger_new(&conf, scene_open(), NULL, NULL);
}

static void test_who_is_not_seen_for_long_is_pushed_no_more(void **state)
{
    (void)state;
    scene.w->conf.privacy.device_days = 2;
    ask(scene.bob, "device.register", "1", DEVICE(TOKEN("voip", "aa01")));
    pass(scene.w, 47 * 3600 * US_PER_S);
    assert_int_equal(device_dir_devices(scene.dir), 1);
    pass(scene.w, 2 * 3600 * US_PER_S);
    assert_int_equal(device_dir_devices(scene.dir), 0);
}

static void test_privacy(void **state)
{
    const char *m;

    (void)state;
    assert_true(ask(scene.bob, "device.register", "1", DEVICE(TOKEN("voip", "aa01"))));
    m = ask(scene.bob, "privacy.status", "a", "");
    assert_true(has(m, "\"kind\":\"deletion\",\"state\":\"none\""));
    assert_true(
        has(ask(scene.bob, "privacy.status", "b", ",\"data\":{\"kind\":\"x\"}"), "bad_request"));
    assert_true(has(ask(scene.bob, "privacy.cancel", "c", ""), "privacy.not_found"));
    m = ask(scene.bob, "privacy.delete", "d", "");
    assert_true(has(m, "\"state\":\"pending\"") && has(m, "\"due\":"));
    assert_int_equal(device_dir_devices(scene.dir), 0); /* no push after the request */
    assert_true(has(ask(scene.bob, "device.register", "e", DEVICE(TOKEN("voip", "aa01"))),
                    "privacy.pending"));
    assert_true(has(ask(scene.bob, "privacy.cancel", "f", ""), "\"state\":\"cancelled\""));
    assert_true(
        has(ask(scene.bob, "device.register", "g", DEVICE(TOKEN("voip", "aa01"))), "\"tokens\":1"));
    assert_int_equal(scene.swept, 0);
    m = ask(scene.bob, "privacy.export", "h", "");
    assert_int_equal(scene.swept, 1);
    assert_true(has(m, "\"kind\":\"export\",\"state\":\"pending\""));
    m = ask(scene.bob, "privacy.status", "i", ",\"data\":{\"kind\":\"export\"}");
    assert_true(has(m, "\"kind\":\"export\",\"state\":\"pending\""));
}

static void test_requests_do_not_wait_for_a_full_queue(void **state)
{
    char id[16];
    const char *m = NULL;

    (void)state;
    for (unsigned i = 0; i < 60 && !m; i++) {
        snprintf(id, sizeof(id), "q%u", i);
        say(scene.bob, "history.list", id, NULL, "");
        m = fake_next(scene.bob);
        pass(scene.w, 100 * US_PER_MS);
        fake_frame(scene.bob, WS_OP_PONG, "", 0);
    }
    for (unsigned i = 60; i < 120 && !m; i++) {
        snprintf(id, sizeof(id), "q%u", i);
        say(scene.alice, "history.list", id, NULL, "");
        m = fake_next(scene.alice);
        pass(scene.w, 100 * US_PER_MS);
        fake_frame(scene.alice, WS_OP_PONG, "", 0);
    }
    assert_true(has(m, "store.unavailable"));
    commit();
}

/* Whatever allocation fails: an error for one request, no crash, no leak, and the next one works.
 */
static void test_oom_fails_one_thing_not_the_rest(void **state)
{
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        assert_true(n < 400);
        pass(scene.w, 5 * US_PER_S);
        struct fake *a = join("anna", "tab");
        mem_fail_after(n);
        say(a, "device.register", "1", NULL, DEVICE(TOKEN("voip", "aa01")));
        dial(a, "2", CALL, "dan");
        say(a, "history.list", "3", NULL, "");
        say(a, "history.seen", "4", NULL, ",\"data\":{\"until\":1}");
        say(a, "device.unregister", "5", NULL, "");
        say(a, "privacy.status", "6", NULL, "");
        commit();
        failed = mem_failed();
        mem_fail_never();
        commit();
        if (!a->closed)
            assert_true(has(ask(a, "history.list", "7", ""), "\"re\":\"7\""));
        fake_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
        T(test_a_device_is_there_when_it_is_answered),
        T(test_calls_are_kept_for_both),
        T(test_missed_calls_are_counted_before_they_are_told),
        T(test_pushes_are_logged_and_tokens_forgotten),
        T(test_who_is_not_seen_for_long_is_pushed_no_more),
        T(test_privacy),
        T(test_requests_do_not_wait_for_a_full_queue),
        T(test_oom_fails_one_thing_not_the_rest),
    };

    return cmocka_run_group_tests_name("router_record", tests, NULL, NULL);
}

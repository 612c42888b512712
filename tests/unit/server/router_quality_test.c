/* Tests of server/router_quality.c over a real ledger: reports, who may make them, what is kept,
 * and what is counted. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/record_scene.h"

#define ANSWER ",\"data\":{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0\"}}"
#define REPORT(more)                                                                            \
    ",\"data\":{\"intervalMs\":10000,\"rttMs\":84,\"jitterMs\":5,\"bufferMs\":60,\"received\":" \
    "500,"                                                                                      \
    "\"lost\":0,\"codec\":\"opus\"" more "}"
#define DIRECT  ",\"local\":\"host\",\"remote\":\"srflx\""
#define RELAYED ",\"local\":\"relay\",\"remote\":\"prflx\""

static const struct router_counters *counted(void)
{
    return router_count(scene.w->r);
}

#define UP ",\"data\":{\"connectionState\":\"connected\"}"

/* Time goes by; both answer pings. */
static void live(unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        pass(scene.w, US_PER_S);
        fake_frame(scene.alice, WS_OP_PONG, "", 0);
        fake_frame(scene.bob, WS_OP_PONG, "", 0);
    }
}

static void talk(void)
{
    dial(scene.alice, "i", CALL, "bob");
    say(scene.bob, "call.ringing", "r", CALL, "");
    say(scene.bob, "call.answer", "a", CALL, ANSWER);
    say(scene.alice, "call.state", "u", CALL, UP);
    say(scene.bob, "call.state", "u", CALL, UP);
    live(12);
}

/* What is answered to one report. */
static const char *report(struct fake *f, const char *id, const char *more)
{
    char re[32];

    say(f, "call.quality", id, CALL, more);
    snprintf(re, sizeof(re), "\"re\":\"%s\"", id);
    return until(f, re);
}

static void test_reports_become_quality_of_the_call(void **state)
{
    (void)state;
    talk();
    const char *m = report(scene.alice, "q1", REPORT(DIRECT));
    assert_true(has(m, "\"type\":\"call.quality\"") && has(m, "\"mos\":4.") &&
                has(m, "\"samples\":1,\"mosAvg\":4.") && has(m, "\"path\":\"p2p\",\"clamped\":0"));
    live(10);
    m = report(scene.alice, "q2",
               REPORT(DIRECT ",\"samples\":480000,\"concealed\":48000,\"concealments\":50"));
    assert_true(has(m, "\"samples\":2") && has(m, "\"lossPermille\":50"));
    say(scene.alice, "call.hangup", "e", CALL, "");
    commit();
    m = ask(scene.alice, "history.list", "h", "");
    assert_true(has(m, "\"path\":\"p2p\",\"missed\":false,\"quality\":{\"leg\":\"heard\","
                       "\"codec\":\"opus\",\"path\":\"p2p\",\"samples\":2,\"mosAvg\":"));
    assert_true(has(m, "\"rttMs\":84,\"jitterMs\":5,\"worst\":\"loss\",\"silenceMs\":0}"));
    m = ask(scene.bob, "history.list", "h", ""); /* it is alice's, the path is the call's */
    assert_true(has(m, "\"path\":\"p2p\"") && !strstr(m, "quality"));
    scene_shell("test $(sqlite3 '%s' 'SELECT COUNT(*) FROM quality_sample') = 2", scene_file);
    assert_int_equal(counter_get(&counted()->quality_accepted), 2);
    assert_int_equal(counter_get(&counted()->quality_bad[ROUTER_BAD_LOSS]), 1);
    assert_int_equal(counter_get(&counted()->quality_bad[ROUTER_BAD_RTT]), 0);
}

static void test_the_last_word_may_come_after_the_end(void **state)
{
    (void)state;
    talk();
    assert_true(report(scene.alice, "q1", REPORT("")));
    say(scene.alice, "call.hangup", "e", CALL, "");
    commit();
    assert_true(has(ask(scene.bob, "history.list", "h1", ""), "\"path\":\"unknown\""));
    /* bob hears of the end, and tells what he had: now the way is known as well */
    const char *m = report(scene.bob, "q1", REPORT(RELAYED ",\"final\":true"));
    assert_true(has(m, "\"samples\":1"));
    commit();
    m = ask(scene.bob, "history.list", "h2", "");
    assert_true(has(m, "\"outcome\":\"answered\"") && has(m, "\"path\":\"turn\",\"missed\"") &&
                has(m, "\"path\":\"turn\",\"samples\":1"));
    live(11);
    assert_true(has(report(scene.bob, "q2", REPORT("")), "\"code\":\"call.ended\""));
    commit();
    scene_sql_is("SELECT path, calls FROM usage_day WHERE calls<>0", "turn|1");
}

static void test_only_a_party_of_a_call_that_was_answered_reports(void **state)
{
    (void)state;
    assert_true(has(report(scene.alice, "q0", REPORT("")), "call.not_found"));
    dial(scene.alice, "i", CALL, "bob");
    assert_true(has(report(scene.alice, "q1", REPORT("")), "call.invalid_state"));
    say(scene.bob, "call.ringing", "r", CALL, "");
    assert_true(has(report(scene.bob, "q1", REPORT("")), "call.invalid_state"));
    struct fake *second = join("bob", "tablet"), *eve = join("eve", "x");
    say(scene.bob, "call.answer", "a", CALL, ANSWER);
    assert_true(has(report(second, "q1", REPORT("")), "call.invalid_state"));
    assert_true(has(report(eve, "q1", REPORT("")), "call.not_found"));
    assert_true(has(report(scene.bob, "q2", REPORT("")), "\"samples\":1"));
    assert_int_equal(counter_get(&counted()->quality_refused), 5);
    fake_free(second);
    fake_free(eve);
}

static void test_wild_reports_change_nothing_but_their_own_figures(void **state)
{
    static const char *const wild[] = {
        ",\"data\":{\"intervalMs\":10000,\"rttMs\":-1}",
        ",\"data\":{\"intervalMs\":10000,\"lost\":1e99}",
        ",\"data\":{\"intervalMs\":10000,\"lost\":2.5}",
        ",\"data\":{\"rttMs\":1}",
        ",\"data\":{\"intervalMs\":10000,\"path\":\"moon\"}",
        ",\"data\":[]",
    };
    char id[16], big[1200] = ",\"data\":{\"intervalMs\":1,\"x\":\"";

    (void)state;
    talk();
    assert_true(report(scene.bob, "good", REPORT(DIRECT)));
    for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
        snprintf(id, sizeof(id), "w%zu", i);
        assert_true(has(report(scene.alice, id, wild[i]), "bad_request"));
    }
    size_t n = strlen(big);
    memset(big + n, 'x', 1040);
    memcpy(big + n + 1040, "\"}", 3);
    assert_true(has(report(scene.alice, "big", big), "too_large"));
    const char *m = report(scene.alice, "huge",
                           ",\"data\":{\"intervalMs\":99999999,\"rttMs\":99999999,\"received\":1,"
                           "\"lost\":99999999,\"silenceMs\":999999}");
    assert_true(has(m, "\"samples\":1") && has(m, "\"mosMin\":1.") && has(m, "\"clamped\":5"));
    assert_int_equal(counter_get(&counted()->quality_clamped), 1);
    /* too often */
    for (unsigned i = 0; i < 31; i++) {
        snprintf(id, sizeof(id), "f%u", i);
        m = report(scene.alice, id, REPORT(""));
    }
    assert_true(has(m, "rate_limited") && has(m, "retryAfterMs"));
    say(scene.alice, "call.hangup", "e", CALL, "");
    commit();
    m = ask(scene.bob, "history.list", "h", "");
    assert_true(has(m, "\"samples\":1,\"mosAvg\":4."));
}

static void test_a_crash_costs_a_summary_less_than_a_minute(void **state)
{
    char id[16];

    (void)state;
    talk();
    for (unsigned i = 0; i < 6; i++) {
        snprintf(id, sizeof(id), "q%u", i);
        assert_true(report(scene.alice, id, REPORT("")));
        live(10);
    }
    commit();
    assert_true(has(ask(scene.alice, "history.list", "h", ""), "\"samples\":6"));
}

static void test_without_history_nothing_is_kept_but_answered(void **state)
{
    (void)state;
    scene.w->conf.privacy.history = false;
    talk();
    assert_true(has(report(scene.alice, "q1", REPORT("")), "\"samples\":1"));
    say(scene.alice, "call.hangup", "e", CALL, "");
    commit();
    scene_shell("test $(sqlite3 '%s' 'SELECT (SELECT COUNT(*) FROM quality_sample) + "
                "(SELECT COUNT(*) FROM quality_leg)') = 0",
                scene_file);
    assert_int_equal(counter_get(&counted()->quality_accepted), 1);
}

static void test_oom_costs_a_report(void **state)
{
    bool failed = true;
    char id[16];

    (void)state;
    talk();
    for (uint64_t n = 0; failed; n++) {
        assert_true(n < 50);
        live(5);
        snprintf(id, sizeof(id), "q%u", (unsigned)n);
        mem_fail_after(n);
        say(scene.alice, "call.quality", id, CALL, REPORT(""));
        failed = mem_failed();
        mem_fail_never();
        if (scene.alice->closed)
            break; /* its history could not be kept: the session is broken, and nobody else */
        while (fake_next(scene.alice))
            ;
    }
    say(scene.bob, "call.hangup", "e", CALL, "");
    commit();
    assert_true(has(ask(scene.bob, "history.list", "h", ""), CALL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
        T(test_reports_become_quality_of_the_call),
        T(test_the_last_word_may_come_after_the_end),
        T(test_only_a_party_of_a_call_that_was_answered_reports),
        T(test_wild_reports_change_nothing_but_their_own_figures),
        T(test_a_crash_costs_a_summary_less_than_a_minute),
        T(test_without_history_nothing_is_kept_but_answered),
        T(test_oom_costs_a_report),
    };

    return cmocka_run_group_tests_name("router_quality", tests, NULL, NULL);
}

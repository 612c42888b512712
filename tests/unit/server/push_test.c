/* Tests of server/push.c: who is pushed, when, and what verdicts mean.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/push.h"
#include "server/push_suspects.h"

enum { SENT_MAX = 32 };
#define WALL (UINT64_C(1767225600) * US_PER_S)

/* A push as the service got it. */
struct sent {
    enum push_kind kind;
    struct push_out *out; /* NULL: judged */
    bool cancelled;
    char token[80], call[40], ring_token[32], status[16], name[32], ws[32];
    enum ledger_env env;
    uint64_t deadline_us, ring_until_s, started_s, seconds;
    unsigned badge;
};

struct world {
    struct push *p;
    struct device_dir *dir;
    uint64_t now;
    struct sent sent[SENT_MAX];
    size_t n;
    int refuse; /* what send returns */
    const char *online[4];
    char log[256];
    unsigned logged, bad_tokens, envs;
    uint64_t bad_since;
};

static void copy(char *to, size_t cap, struct slice s)
{
    assert_int_equal(slice_to_cstr(s, to, cap), 0);
}

static int send(void *arg, const struct push_job *job, struct push_out *out, char *id)
{
    struct world *w = arg;

    if (w->refuse)
        return w->refuse;
    assert_true(w->n < SENT_MAX);
    struct sent *s = &w->sent[w->n++];
    *s = (struct sent){.kind = job->content.kind,
                       .out = out,
                       .env = job->env,
                       .deadline_us = job->deadline_us,
                       .ring_until_s = job->content.ring_until_s,
                       .started_s = job->content.started_s,
                       .seconds = job->content.seconds,
                       .badge = job->content.badge};
    copy(s->token, sizeof(s->token), job->token);
    copy(s->call, sizeof(s->call), job->content.call_id);
    copy(s->ring_token, sizeof(s->ring_token), job->content.ring_token);
    copy(s->status, sizeof(s->status), job->content.status);
    copy(s->name, sizeof(s->name), job->content.name);
    copy(s->ws, sizeof(s->ws), job->content.ws);
    (void)snprintf(id, PUSH_ID_TEXT + 1, "id-%zu", w->n);
    return 0;
}

static void cancel(void *arg, struct slice id)
{
    struct world *w = arg;
    char name[32];

    for (size_t i = 0; i < w->n; i++) {
        (void)snprintf(name, sizeof(name), "id-%zu", i + 1);
        w->sent[i].cancelled = w->sent[i].cancelled || slice_is(id, name);
    }
}

static void ring_token(void *arg, const struct sig_call_id *call, struct slice user,
                       struct slice device, uint64_t until_us, struct wr *w)
{
    (void)arg;
    (void)call;
    (void)until_us;
    wr_bytes(w, user);
    wr_u8(w, '/');
    wr_bytes(w, device);
}

static void bad_token(void *arg, struct slice token, uint64_t since_ms)
{
    struct world *w = arg;

    (void)token;
    w->bad_tokens++;
    w->bad_since = since_ms;
}

static void set_env(void *arg, struct slice user, struct slice device, enum ledger_env env)
{
    struct world *w = arg;

    (void)user;
    (void)device;
    assert_int_equal(env, LEDGER_SANDBOX);
    w->envs++;
}

static void log_push(void *arg, const struct ledger_push *p)
{
    struct world *w = arg;

    w->logged++;
    (void)snprintf(w->log, sizeof(w->log), "%.*s %.*s %u %.*s", (int)p->apns_id.len,
                   (const char *)p->apns_id.p, (int)p->kind.len, (const char *)p->kind.p, p->status,
                   (int)p->reason.len, (const char *)p->reason.p);
}

static const struct push_ops ops = {.send = send,
                                    .cancel = cancel,
                                    .ring_token = ring_token,
                                    .bad_token = bad_token,
                                    .set_env = set_env,
                                    .log = log_push};

static bool connected(void *arg, struct slice device)
{
    const struct world *w = arg;

    for (size_t i = 0; i < ARRAY_LEN(w->online); i++)
        if (w->online[i] && slice_is(device, w->online[i]))
            return true;
    return false;
}

static void at(struct world *w, uint64_t us)
{
    w->now = us;
    push_clock(w->p, us, WALL + us);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const struct device_dir_conf dir = {
        .devices = 100, .devices_per_user = 16, .tokens_per_device = 16};
    const struct push_conf conf = {.ack_us = 500 * US_PER_MS,
                                   .ws = SLICE_LIT("wss://a/ws"),
                                   .live_type = SLICE_LIT("CallActivityAttributes")};

    w->dir = device_dir_new(&dir);
    w->p = push_new(&conf, w->dir, &ops, w, US_PER_S, WALL + US_PER_S);
    w->now = US_PER_S;
    *state = w;
    return w->dir && w->p ? 0 : -1;
}

static int teardown(void **state)
{
    struct world *w = *state;

    push_free(w->p);
    device_dir_free(w->dir);
    free(w);
    return 0;
}

/* Registers a device of bob's with one token. */
static void device(struct world *w, const char *name, enum ledger_call_ui ui,
                   enum ledger_token_type type, const char *token)
{
    struct ledger_token t = {
        .type = type, .token = slice_str(token), .registered_ms = WALL / US_PER_MS};
    struct ledger_device d = {.user = SLICE_LIT("bob"),
                              .device = slice_str(name),
                              .app = SLICE_LIT("com.acme.talk"),
                              .call_ui = ui,
                              .seen_ms = 1,
                              .tokens = &t,
                              .tokens_n = 1};

    if (type == LEDGER_LIVEACTIVITY)
        t.call_id = (struct sig_call_id){{7}};
    assert_int_equal(device_dir_put(w->dir, &d), 0);
}

static struct push_call a_call(const struct world *w, uint8_t id)
{
    return (struct push_call){.id = {{id}},
                              .caller = SLICE_LIT("alice"),
                              .caller_name = SLICE_LIT("Alice"),
                              .callee = SLICE_LIT("bob"),
                              .until_us = w->now + 30 * US_PER_S};
}

static void ring(struct world *w)
{
    struct push_call c = a_call(w, 7);

    assert_true(push_ring(w->p, &c, connected, w));
}

static void over(struct world *w)
{
    push_over(w->p, &(struct sig_call_id){{7}}, SLICE_LIT("bob"));
}

static void judge(struct world *w, size_t i, enum push_result result, unsigned status)
{
    struct push_out *out = w->sent[i].out;

    assert_non_null(out);
    w->sent[i].out = NULL;
    push_verdict(out, &(struct push_verdict){.result = result,
                                             .status = status,
                                             .reason = SLICE_LIT("why"),
                                             .gone_since_ms = WALL / US_PER_MS + 1});
}

static void expect_news(struct world *w, bool awaits, bool reached)
{
    struct push_news n;

    assert_true(push_news(w->p, &n));
    assert_int_equal(n.call.b[0], 7);
    assert_int_equal(n.awaits, awaits);
    assert_int_equal(n.reached, reached);
    assert_false(push_news(w->p, &n));
}

static void test_who_sleeps_is_pushed_once_and_at_once(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    device(w, "tablet", LEDGER_LCK, LEDGER_VOIP, "aa02");
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 2);
    assert_int_equal(push_count(w->p, SLICE_LIT("eve"), connected, w), 0);
    ring(w);
    ring(w); /* the same call again */
    assert_int_equal(w->n, 2);
    for (size_t i = 0; i < w->n; i++) {
        assert_int_equal(w->sent[i].kind, PUSH_RING);
        assert_string_equal(w->sent[i].name, "Alice");
        assert_string_equal(w->sent[i].ws, "wss://a/ws");
        assert_int_equal(w->sent[i].deadline_us, w->now + 30 * US_PER_S);
        assert_int_equal(w->sent[i].ring_until_s, WALL / US_PER_S + 31);
        assert_string_equal(w->sent[i].ring_token,
                            strcmp(w->sent[i].token, "aa01") == 0 ? "bob/phone" : "bob/tablet");
    }
    expect_news(w, true, false);
    judge(w, 0, PUSH_TAKEN, 200);
    assert_string_equal(w->log, "id-1 ring 200 why");
    expect_news(w, true, true);
    at(w, w->now + 20 * US_PER_S);
    push_tick(w->p);
    assert_int_equal(w->n, 2);
    over(w);
    assert_true(w->sent[1].cancelled && !w->sent[0].cancelled);
    judge(w, 1, PUSH_NO, 0); /* told all the same, for the log */
    assert_string_equal(w->log, "id-2 ring 0 why");
    struct push_news n;
    assert_false(push_news(w->p, &n));
}

static void test_who_acknowledges_in_time_is_not_pushed(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    device(w, "tablet", LEDGER_CALLKIT, LEDGER_VOIP, "aa02");
    w->online[0] = "phone";
    w->online[1] = "tablet";
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 0);
    ring(w);
    assert_int_equal(w->n, 0);
    expect_news(w, false, false);
    assert_int_equal(push_deadline(w->p), w->now + 500 * US_PER_MS);
    push_came(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"), NULL);
    at(w, w->now + 499 * US_PER_MS);
    push_tick(w->p);
    assert_int_equal(w->n, 0);
    at(w, w->now + US_PER_MS);
    push_tick(w->p);
    assert_int_equal(w->n, 1);
    assert_string_equal(w->sent[0].token, "aa02");
    expect_news(w, true, false);
    assert_int_equal(push_deadline(w->p), CLOCK_NEVER);
    assert_int_equal(counter_get(&push_count_of(w->p)->awake), 1);
    assert_int_equal(counter_get(&push_count_of(w->p)->late), 1);
    over(w);
}

static void test_a_socket_that_breaks_before_is_pushed_at_once(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    w->online[0] = "phone";
    ring(w);
    push_lost(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"));
    assert_int_equal(w->n, 1);
    push_lost(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"));
    at(w, w->now + US_PER_S);
    push_tick(w->p);
    assert_int_equal(w->n, 1);
    expect_news(w, true, false);
    push_connected(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"), NULL);
    expect_news(w, false, false);
    judge(w, 0, PUSH_TAKEN, 200); /* late: it is here already */
    struct push_news n;
    assert_false(push_news(w->p, &n));
    push_lost(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"));
    assert_int_equal(w->n, 1);
    over(w);
}

static void test_a_ring_token_brings_its_device_to_its_call_only(void **state)
{
    struct world *w = *state;
    struct sig_call_id other = {{8}};

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    ring(w);
    expect_news(w, true, false);
    push_connected(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"), &other);
    struct push_news n;
    assert_false(push_news(w->p, &n));
    push_connected(w->p, SLICE_LIT("bob"), SLICE_LIT("phone"), &(struct sig_call_id){{7}});
    expect_news(w, false, false);
    over(w);
}

static void test_nobody_left_is_told(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    device(w, "tablet", LEDGER_CALLKIT, LEDGER_VOIP, "aa02");
    ring(w);
    expect_news(w, true, false);
    judge(w, 0, PUSH_GONE, 410);
    expect_news(w, true, false);
    assert_int_equal(w->bad_tokens, 1);
    assert_int_equal(w->bad_since, WALL / US_PER_MS + 1);
    struct push_out *out = w->sent[1].out; /* given up, but it may have arrived */
    push_out_set_service(out, w);
    assert_ptr_equal(push_out_service(out), w);
    w->sent[1].out = NULL;
    push_verdict(out, &(struct push_verdict){.result = PUSH_NO, .maybe = true});
    struct push_news n;
    assert_false(push_news(w->p, &n));
    over(w);
    ring(w);
    expect_news(w, true, false);
    judge(w, 2, PUSH_NO, 503);
    expect_news(w, false, false);
    assert_int_equal(w->bad_tokens, 1);
    over(w);
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 1);
}

static void test_a_service_that_takes_nothing_is_a_failure(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    w->refuse = -EHOSTDOWN;
    ring(w);
    expect_news(w, false, false);
    assert_int_equal(counter_get(&push_count_of(w->p)->unsent), 1);
    over(w);
}

static void test_without_callkit_an_alert_rings(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_UI_NONE, LEDGER_VOIP, "aa01");
    device(w, "phone", LEDGER_UI_NONE, LEDGER_ALERT, "bb01");
    device(w, "mac", LEDGER_CALLKIT, LEDGER_ALERT, "bb02");
    device(w, "old", LEDGER_UI_NONE, LEDGER_VOIP, "aa03");
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 2);
    ring(w);
    assert_int_equal(w->n, 2);
    assert_int_equal(w->sent[0].kind, PUSH_RING_ALERT);
    assert_int_equal(w->sent[1].kind, PUSH_RING_ALERT);
    assert_int_equal(w->sent[0].token[0], 'b');
    assert_int_equal(w->sent[1].token[0], 'b');
    over(w);
}

static void test_bad_tokens_rest_until_they_are_believed(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    ring(w);
    judge(w, 0, PUSH_BAD, 400);
    over(w);
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 0);
    assert_int_equal(w->bad_tokens, 0);
    /* the service takes it back: the configuration was at fault */
    push_doubt(w->p, SLICE_LIT("com.acme.talk"), LEDGER_PRODUCTION, w->now - US_PER_S);
    assert_int_equal(push_count(w->p, SLICE_LIT("bob"), connected, w), 1);
    ring(w);
    judge(w, 1, PUSH_BAD, 400);
    over(w);
    push_doubt(w->p, SLICE_LIT("com.other"), LEDGER_PRODUCTION, 0);
    at(w, w->now + PUSH_BAD_US);
    assert_int_equal(push_deadline(w->p), w->now);
    push_tick(w->p);
    assert_int_equal(w->bad_tokens, 1);
    assert_int_equal(w->bad_since, 0);
    assert_null(device_dir_token(device_dir_find(w->dir, SLICE_LIT("bob"), SLICE_LIT("phone")),
                                 LEDGER_VOIP, NULL));
}

static void test_the_environment_is_learned(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    ring(w);
    struct push_out *out = w->sent[0].out;
    w->sent[0].out = NULL;
    push_verdict(
        out, &(struct push_verdict){.result = PUSH_TAKEN, .status = 200, .env = LEDGER_SANDBOX});
    assert_int_equal(w->envs, 1);
    over(w);
    ring(w);
    assert_int_equal(w->sent[1].env, LEDGER_SANDBOX);
    over(w);
}

static void test_missed_goes_to_every_alert_token(void **state)
{
    struct world *w = *state;
    struct push_call c = a_call(w, 7);

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    device(w, "phone", LEDGER_CALLKIT, LEDGER_ALERT, "bb01");
    device(w, "tablet", LEDGER_CALLKIT, LEDGER_ALERT, "bb02");
    w->online[0] = "tablet";
    push_missed(w->p, &c, 3);
    assert_int_equal(w->n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(w->sent[i].kind, PUSH_MISSED);
        assert_int_equal(w->sent[i].badge, 3);
        assert_int_equal(w->sent[i].token[0], 'b');
    }
    judge(w, 0, PUSH_TAKEN, 200);
    judge(w, 1, PUSH_GONE, 410);
    assert_int_equal(w->logged, 2);
}

static void live(struct world *w, uint8_t call, const char *user, const char *status)
{
    push_live(w->p, &(struct push_activity){.call = {{call}},
                                            .user = slice_str(user),
                                            .device = SLICE_LIT("phone"),
                                            .peer = SLICE_LIT("alice"),
                                            .status = status,
                                            .started_us = w->now,
                                            .over = strcmp(status, "ended") == 0,
                                            .seconds = 12});
}

static void test_four_live_activity_pushes_a_call(void **state)
{
    static const char *const turns[] = {"held", "active", "held", "active", "held"};
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_LIVEACTIVITY, "cc01");
    live(w, 7, "bob", "connecting");
    live(w, 7, "bob", "active");
    live(w, 7, "bob", "active"); /* as they show it */
    live(w, 7, "alice", "active");
    live(w, 8, "bob", "active");
    assert_int_equal(w->n, 2);
    assert_string_equal(w->sent[1].status, "active");
    assert_int_equal(w->sent[1].started_s, WALL / US_PER_S + 1);
    for (size_t i = 0; i < ARRAY_LEN(turns); i++)
        live(w, 7, "bob", turns[i]);
    assert_int_equal(w->n, PUSH_LIVE_MAX - 1);
    assert_string_equal(w->sent[2].status, "held");
    live(w, 7, "bob", "ended");
    assert_int_equal(w->n, PUSH_LIVE_MAX);
    assert_int_equal(w->sent[3].kind, PUSH_LIVE_END);
    assert_int_equal(w->sent[3].seconds, 12);
}

static void test_a_live_activity_is_started_once_where_the_call_is(void **state)
{
    struct world *w = *state;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_LA_START, "dd01");
    device(w, "tablet", LEDGER_CALLKIT, LEDGER_LA_START, "dd02");
    live(w, 7, "bob", "connecting");
    assert_int_equal(w->n, 1);
    assert_int_equal(w->sent[0].kind, PUSH_LIVE_START);
    assert_string_equal(w->sent[0].token, "dd01");
    live(w, 7, "bob", "active"); /* its own token has not come yet: nobody to tell */
    assert_int_equal(w->n, 1);
    device(w, "phone", LEDGER_CALLKIT, LEDGER_LIVEACTIVITY, "cc01");
    live(w, 7, "bob", "held");
    live(w, 7, "bob", "ended");
    assert_int_equal(w->n, 3);
    assert_int_equal(w->sent[1].kind, PUSH_LIVE_UPDATE);
    assert_string_equal(w->sent[2].token, "cc01");
    /* a call that was never shown is not started to be ended */
    live(w, 9, "bob", "ended");
    assert_int_equal(w->n, 3);
}

static void test_oom_fails_one_thing_not_the_rest(void **state)
{
    struct world *w = *state;
    bool failed = true;

    device(w, "phone", LEDGER_CALLKIT, LEDGER_VOIP, "aa01");
    device(w, "phone", LEDGER_CALLKIT, LEDGER_ALERT, "bb01");
    for (uint64_t i = 0; failed; i++) {
        struct push_call c = a_call(w, 7);
        mem_fail_after(i);
        w->n = 0;
        (void)push_ring(w->p, &c, connected, w);
        push_missed(w->p, &c, 1);
        failed = mem_failed();
        mem_fail_never();
        over(w);
        for (size_t k = 0; k < w->n; k++)
            if (w->sent[k].out)
                judge(w, k, PUSH_NO, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_who_sleeps_is_pushed_once_and_at_once),
        T(test_who_acknowledges_in_time_is_not_pushed),
        T(test_a_socket_that_breaks_before_is_pushed_at_once),
        T(test_a_ring_token_brings_its_device_to_its_call_only),
        T(test_nobody_left_is_told),
        T(test_a_service_that_takes_nothing_is_a_failure),
        T(test_without_callkit_an_alert_rings),
        T(test_bad_tokens_rest_until_they_are_believed),
        T(test_the_environment_is_learned),
        T(test_missed_goes_to_every_alert_token),
        T(test_four_live_activity_pushes_a_call),
        T(test_a_live_activity_is_started_once_where_the_call_is),
        T(test_oom_fails_one_thing_not_the_rest),
    };

    return cmocka_run_group_tests_name("push", tests, NULL, NULL);
}

/* Tests of server/apns.c over pools that a script plays: each reaction of the table, second tries,
 * hedges, keys that stop, the guard. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/apns.h"
#include "tests/lib/apns_key.h"

#define SENT_MAX 64

/* What the machine has sent, in order, and what is still to be answered. */
static struct sent {
    unsigned lane, avoid;
    h2_done_fn *done;
    void *ctx;
    char path[600], headers[600], body[PUSH_VOIP_BYTES + 1], authorization[APNS_BEARER_MAX];
    uint64_t deadline_us;
    bool resend;
} sent[SENT_MAX];
static unsigned sent_n, send_error_at;
static int send_error;
static char told[4096]; /* verdicts, retirements, doubts */
static uint64_t now, wall;
static struct apns *a;
static struct crypto_signer *signer;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    size_t len = strlen(told);
    va_list ap;

    va_start(ap, fmt);
    if (len > 0)
        told[len++] = ' ';
    vsnprintf(told + len, sizeof(told) - len, fmt, ap);
    va_end(ap);
}

#define TOLD(text)                         \
    do {                                   \
        assert_string_equal(told, (text)); \
        told[0] = '\0';                    \
    } while (0)

static void put(char *out, size_t cap, struct slice s)
{
    assert_int_equal(slice_to_cstr(s, out, cap), 0);
}

static int pool_send(void *arg, unsigned lane, const struct h2_request *q, h2_done_fn *done,
                     void *ctx, unsigned avoid, uint64_t now_us)
{
    struct sent *s = &sent[sent_n];
    size_t at = 0;

    (void)arg;
    assert_true(now_us == now && q->deadline_us > now);
    if (send_error != 0 && sent_n >= send_error_at)
        return send_error;
    assert_true(sent_n < SENT_MAX);
    *s = (struct sent){.lane = lane, .avoid = avoid, .done = done, .ctx = ctx};
    s->deadline_us = q->deadline_us;
    s->resend = q->resend_uncertain;
    put(s->path, sizeof(s->path), q->path);
    put(s->body, sizeof(s->body), q->body);
    put(s->authorization, sizeof(s->authorization), q->authorization);
    for (size_t i = 0; i < q->n_headers; i++)
        at += (size_t)snprintf(s->headers + at, sizeof(s->headers) - at, "%.*s=%.*s;",
                               SLICE_FMT(q->headers[i].name), SLICE_FMT(q->headers[i].value));
    sent_n++;
    return 0;
}

static void pool_retire(void *arg, unsigned lane, unsigned conn, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    note("retire(%u/%u)", lane, conn);
}

static void doubt(void *arg, struct slice topic, enum apns_env env, uint64_t since_us)
{
    (void)arg;
    note("doubt(%.*s,%s,%llus)", SLICE_FMT(topic), apns_env_name(env),
         (unsigned long long)((now - since_us) / US_PER_S));
}

/* Each deadline must have been told: nobody would tick else. */
static uint64_t told_us;
static void wake(void *arg)
{
    (void)arg;
    told_us = apns_deadline(a);
}
static const struct apns_ops OPS = {pool_send, pool_retire, doubt, wake};

static void on_done(void *ctx, const struct apns_verdict *v)
{
    note("%s:%s", (const char *)ctx, apns_result_name(v->result));
    if (v->why != APNS_WHY_NONE)
        note("why=%s", apns_why_name(v->why));
    if (v->reason != APNS_REASON_NONE)
        note("%u/%s", v->status, apns_reason_name(v->reason));
    if (v->env_changed)
        note("env=%s", apns_env_name(v->env));
    if (v->gone_since_ms > 0)
        note("since=%llu", (unsigned long long)v->gone_since_ms);
    if (v->tries > 1)
        note("tries=%u", v->tries);
    if (v->maybe_done)
        note("maybe");
    assert_int_equal(v->id.len, APNS_ID_TEXT);
}

/* Keys: 0 production, 1 sandbox, 2 a certificate for production. */
static struct apns *make(void)
{
    const struct apns_key keys[] = {
        {APNS_PRODUCTION, SLICE_LIT("TEAM123456"), SLICE_LIT("KEY1234567"), signer},
        {APNS_SANDBOX, SLICE_LIT("TEAM123456"), SLICE_LIT("KEYSANDBOX"), signer},
        {APNS_PRODUCTION, {0}, {0}, NULL},
    };
    const struct apns_app apps[] = {
        {SLICE_LIT("com.acme.talk"), 0, 1},
        {SLICE_LIT("com.acme.only"), 0, -1},
        {SLICE_LIT("com.acme.cert"), 2, -1},
        {SLICE_LIT("com.acme.dev"), -1, 1},
    };

    return apns_new(&(struct apns_conf){keys, ARRAY_LEN(keys), apps, ARRAY_LEN(apps)}, &OPS, NULL,
                    now, wall);
}

static int setup(void **state)
{
    const char *why;

    (void)state;
    now = 5000 * US_PER_S;
    wall = UINT64_C(1795383765) * US_PER_S;
    sent_n = 0;
    send_error = 0;
    told[0] = '\0';
    told_us = CLOCK_NEVER;
    signer = crypto_signer_pem(SLICE_LIT(APNS_KEY_PEM), &why);
    a = make();
    assert_non_null(a);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    apns_free(a);
    crypto_signer_free(signer);
    return 0;
}

static void at(uint64_t us)
{
    now += us;
    wall += us;
    apns_clock(a, now, wall);
    assert_true(told_us <= apns_deadline(a));
    apns_tick(a);
    told_us = apns_deadline(a); /* as the shell does */
}

static struct apns_job job_of(enum push_kind kind, const char *topic, enum apns_env env,
                              const char *token)
{
    return (struct apns_job){.content = {.kind = kind,
                                         .topic = slice_str(topic),
                                         .call_id = SLICE_LIT("c-1"),
                                         .from = SLICE_LIT("u1"),
                                         .now_s = wall / US_PER_S,
                                         .ring_until_s = wall / US_PER_S + 30,
                                         .ws = SLICE_LIT("wss://s"),
                                         .status = SLICE_LIT("active")},
                             .token = slice_str(token),
                             .env = env,
                             .deadline_us = now + 30 * US_PER_S};
}

static int push_as(enum push_kind kind, const char *topic, enum apns_env env, const char *token,
                   const char *ctx)
{
    struct apns_job job = job_of(kind, topic, env, token);

    return apns_push(a, &job, on_done, (void *)(uintptr_t)ctx, NULL);
}

static void push(const char *ctx)
{
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, ctx, ctx), 0);
}

static void outcome(unsigned i, enum h2_outcome o, unsigned status, const char *body, unsigned conn)
{
    assert_true(i < sent_n && sent[i].done);
    h2_done_fn *done = sent[i].done;
    sent[i].done = NULL;
    done(sent[i].ctx, &(struct h2_response){.outcome = o,
                                            .status = status,
                                            .body = slice_str(body),
                                            .conn = conn,
                                            .maybe_done = o == H2_UNCERTAIN || o == H2_LATE,
                                            .why = ""});
}

/* The i-th request is answered over connection 7. */
static void answer(unsigned i, unsigned status, const char *reason)
{
    char body[128];

    snprintf(body, sizeof(body),
             status == 410 ? "{\"reason\":\"%s\",\"timestamp\":1795000000000}"
                           : "{\"reason\":\"%s\"}",
             reason);
    outcome(i, H2_ANSWERED, status, reason[0] ? body : "", 7);
}

/* ---- what goes out ---- */

static void test_the_request(void **state)
{
    char id[APNS_ID_TEXT + 1], want[600];
    struct apns_job job = job_of(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "\xab\x01z");

    (void)state;
    assert_int_equal(apns_push(a, &job, on_done, (void *)(uintptr_t) "x", id), 0);
    assert_int_equal(sent_n, 1);
    assert_string_equal(sent[0].path, "/3/device/ab017a");
    snprintf(want, sizeof(want),
             "apns-topic=com.acme.talk.voip;apns-push-type=voip;apns-priority=10;"
             "apns-expiration=0;apns-id=%s;",
             id);
    assert_string_equal(sent[0].headers, want);
    assert_string_equal(sent[0].body, "{\"aps\":{},\"v\":1,\"call_id\":\"c-1\",\"from\":\"u1\","
                                      "\"name\":\"u1\",\"video\":false,\"ts\":1795383765,"
                                      "\"ring_until\":1795383795,\"ws\":\"wss://s\"}");
    assert_true(sent[0].deadline_us == job.deadline_us);
    assert_true(sent[0].resend);
    assert_int_equal(strspn(id, "0123456789abcdef-"), 36);
    assert_true(id[8] == '-' && id[13] == '-' && id[14] == '4' && id[18] == '-' && id[23] == '-');
    answer(0, 200, "");
    TOLD("x:accepted");
    assert_int_equal(apns_count(a)->jobs._v, 0);
}

static void test_lanes(void **state)
{
    (void)state;
    assert_int_equal(apns_lanes(a), 6);
    push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "a");
    push_as(PUSH_MISSED, "com.acme.talk", APNS_PRODUCTION, "t", "b");
    push_as(PUSH_RING_ALERT, "com.acme.talk", APNS_SANDBOX, "t", "c");
    push_as(PUSH_LIVE_UPDATE, "com.acme.talk", APNS_SANDBOX, "t", "d");
    push_as(PUSH_RING, "com.acme.cert", APNS_PRODUCTION, "t", "e");
    push_as(PUSH_MISSED, "com.acme.dev", APNS_ENV_UNKNOWN, "t", "f");
    static const unsigned lanes[] = {0, 1, 2, 3, 4, 3};
    for (unsigned i = 0; i < ARRAY_LEN(lanes); i++) {
        assert_int_equal(sent[i].lane, lanes[i]);
        assert_int_equal(apns_lane_key(lanes[i]), lanes[i] / 2);
        assert_int_equal(apns_lane_class(lanes[i]), lanes[i] % 2);
        answer(i, 200, "");
    }
    assert_string_equal(sent[4].authorization, ""); /* the connection has a certificate */
    assert_string_equal(sent[0].authorization, sent[1].authorization);
    assert_string_not_equal(sent[0].authorization, sent[2].authorization);
    TOLD("a:accepted b:accepted c:accepted d:accepted e:accepted f:accepted env=sandbox");
}

static void test_what_is_refused_at_once(void **state)
{
    static uint8_t big[APNS_TOKEN_MAX + 1];
    struct apns_job job = job_of(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t");

    (void)state;
    assert_int_equal(push_as(PUSH_RING, "com.acme.other", APNS_PRODUCTION, "t", "x"), -ENOENT);
    assert_int_equal(push_as(PUSH_RING, "com.acme.only", APNS_SANDBOX, "t", "x"), -ENOENT);
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "", "x"), -EINVAL);
    job.token = slice_of(big, sizeof(big));
    assert_int_equal(apns_push(a, &job, on_done, NULL, NULL), -EINVAL);
    job.token = slice_of(big, APNS_TOKEN_MAX);
    job.env = (enum apns_env)9;
    assert_int_not_equal(apns_push(a, &job, on_done, NULL, NULL), 0);
    job.env = APNS_PRODUCTION;
    job.content.ring_until_s = 0;
    assert_int_equal(apns_push(a, &job, on_done, NULL, NULL), -EINVAL);
    job.content.ring_until_s = 1;
    job.deadline_us = now;
    assert_int_equal(apns_push(a, &job, on_done, NULL, NULL), -ETIME);
    job.deadline_us = now + 1;
    send_error = -ENOBUFS;
    assert_int_equal(apns_push(a, &job, on_done, NULL, NULL), -ENOBUFS);
    send_error = 0;
    assert_int_equal(apns_push(a, &job, on_done, (void *)(uintptr_t) "long", NULL), 0);
    assert_int_equal(strlen(sent[0].path), 10 + 2 * APNS_TOKEN_MAX);
    answer(0, 200, "");
    TOLD("long:accepted");
}

/* ---- reactions ---- */

/* Answers that end a push at once, whatever else is configured. */
static void test_answers_that_end_it(void **state)
{
    static const struct {
        unsigned status;
        const char *reason, *told;
    } cases[] = {
        {400, "BadTopic", "x:rejected 400/BadTopic"},
        {400, "InvalidPushType", "x:rejected 400/InvalidPushType"},
        {400, "PayloadEmpty", "x:rejected 400/PayloadEmpty"},
        {400, "BrandNew", "x:rejected 400/unknown"},
        {404, "BadPath", "x:rejected 404/BadPath"},
        {405, "MethodNotAllowed", "x:rejected 405/MethodNotAllowed"},
        {400, "BadDeviceToken", "x:token_bad 400/BadDeviceToken"},
        {400, "DeviceTokenNotForTopic", "x:token_parked 400/DeviceTokenNotForTopic"},
        {410, "Unregistered", "x:token_gone 410/Unregistered since=1795000000000"},
        {410, "ExpiredToken", "x:token_gone 410/ExpiredToken since=1795000000000"},
        {429, "TooManyRequests", "x:gave_up why=busy 429/TooManyRequests"},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        push("x");
        answer(i, cases[i].status, cases[i].reason);
        TOLD(cases[i].told);
    }
    assert_int_equal(sent_n, ARRAY_LEN(cases)); /* none was sent again */
    assert_null(apns_trouble(a));
}

static void test_server_errors_are_tried_once_more_elsewhere(void **state)
{
    (void)state;
    push("x");
    answer(0, 503, "ServiceUnavailable");
    at(APNS_RETRY_MIN_US - 1000);
    assert_int_equal(sent_n, 1);
    at(APNS_RETRY_MAX_US);
    assert_int_equal(sent_n, 2);
    assert_int_equal(sent[1].avoid, 7);
    assert_string_equal(sent[0].headers, sent[1].headers); /* the apns-id, too */
    answer(1, 200, "");
    TOLD("x:accepted tries=2");

    push("y");
    answer(2, 500, "InternalServerError");
    at(US_PER_S);
    answer(3, 500, "InternalServerError");
    TOLD("y:gave_up why=server 500/InternalServerError tries=2");
    assert_int_equal(sent_n, 4);
}

static void test_no_second_try_after_the_ring_window(void **state)
{
    struct apns_job job = job_of(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t");

    (void)state;
    job.deadline_us = now + APNS_RETRY_MIN_US;
    apns_push(a, &job, on_done, (void *)(uintptr_t) "x", NULL);
    answer(0, 503, "ServiceUnavailable");
    TOLD("x:gave_up why=server 503/ServiceUnavailable");
}

static void test_a_failing_connection_is_replaced(void **state)
{
    (void)state;
    push("x");
    answer(0, 503, "Shutdown"); /* at once */
    TOLD("retire(0/7)");
    at(US_PER_S);
    outcome(1, H2_ANSWERED, 200, "", 8);
    TOLD("x:accepted tries=2");
    for (unsigned i = 0; i < 3; i++) /* three times in a row */
        push("y");
    for (unsigned i = 2; i < 4; i++)
        outcome(i, H2_ANSWERED, 500, "", 9);
    TOLD("");
    outcome(4, H2_ANSWERED, 500, "", 9);
    TOLD("retire(0/9)");
    at(US_PER_S);
    for (unsigned i = 5; i < 8; i++)
        outcome(i, H2_ANSWERED, 200, "", 8);
    TOLD("y:accepted tries=2 y:accepted tries=2 y:accepted tries=2");
}

static void test_unrelated_key_and_idle_timeout_reconnect(void **state)
{
    (void)state;
    push("x");
    answer(0, 403, "UnrelatedKeyIdInToken");
    TOLD("retire(0/7)");
    assert_int_equal(sent[1].avoid, 7);
    answer(1, 200, "");
    TOLD("x:accepted tries=2");
    push("y");
    answer(2, 400, "IdleTimeout");
    answer(3, 400, "IdleTimeout");
    TOLD("retire(0/7) retire(0/7) y:rejected 400/IdleTimeout tries=2");
}

static void test_too_large_is_sent_again_without_what_is_optional(void **state)
{
    (void)state;
    push("x");
    answer(0, 413, "PayloadTooLarge");
    assert_int_equal(sent_n, 2);
    assert_non_null(strstr(sent[0].body, "\"ws\""));
    assert_null(strstr(sent[1].body, "\"ws\""));
    answer(1, 413, "PayloadTooLarge");
    TOLD("x:rejected why=content 413/PayloadTooLarge tries=2");
}

static void test_alerts_wait_when_a_device_is_busy(void **state)
{
    (void)state;
    push_as(PUSH_MISSED, "com.acme.talk", APNS_PRODUCTION, "t", "x");
    answer(0, 429, "TooManyRequests");
    at(APNS_BUSY_US + 2000);
    assert_int_equal(sent_n, 2);
    answer(1, 429, "TooManyRequests");
    TOLD("x:gave_up why=busy 429/TooManyRequests tries=2");
}

/* ---- environments and the guard ---- */

static void test_unknown_environment_is_found(void **state)
{
    (void)state;
    push_as(PUSH_RING, "com.acme.talk", APNS_ENV_UNKNOWN, "t", "x");
    answer(0, 400, "BadDeviceToken");
    assert_int_equal(sent[1].lane, 2);
    assert_int_equal(sent[1].avoid, 0);
    answer(1, 200, "");
    TOLD("x:accepted env=sandbox tries=2");
    push_as(PUSH_RING, "com.acme.talk", APNS_ENV_UNKNOWN, "t", "y");
    answer(2, 200, "");
    TOLD("y:accepted env=production");
    push_as(PUSH_RING, "com.acme.talk", APNS_ENV_UNKNOWN, "bad", "z");
    answer(3, 400, "BadDeviceToken");
    answer(4, 400, "BadDeviceToken");
    TOLD("z:token_bad 400/BadDeviceToken tries=2");
    push_as(PUSH_RING, "com.acme.only", APNS_ENV_UNKNOWN, "bad", "w");
    answer(5, 400, "BadDeviceToken");
    TOLD("w:token_bad 400/BadDeviceToken");
}

static void test_mass_rejection_blames_no_token(void **state)
{
    static const char *const names[] = {"t1", "t2", "t3", "t4"};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        push(names[i]);
        answer(i, 400, "BadDeviceToken");
        at(US_PER_S);
    }
    TOLD("t1:token_bad 400/BadDeviceToken t2:token_bad 400/BadDeviceToken "
         "doubt(com.acme.talk,production,2s) t3:rejected why=mass 400/BadDeviceToken "
         "t4:rejected why=mass 400/BadDeviceToken");
    assert_non_null(strstr(apns_trouble(a), "wrong topic or environment"));
    push("t5");
    answer(4, 200, "");
    assert_null(apns_trouble(a));
    push("t6");
    answer(5, 400, "BadDeviceToken");
    TOLD("t5:accepted t6:token_bad 400/BadDeviceToken");
    /* Another app and the other environment have their own. */
    assert_int_equal(apns_count(a)->guards._v, 1);
}

/* ---- provider tokens and keys ---- */

static void test_expired_provider_token(void **state)
{
    (void)state;
    push("a");
    answer(0, 200, "");
    at(5 * 60 * US_PER_S);
    push("x");
    push("y");
    answer(1, 403, "ExpiredProviderToken");
    answer(2, 403, "ExpiredProviderToken"); /* it was out with the old one */
    TOLD("a:accepted retire(0/7) retire(0/7)");
    assert_int_equal(sent_n, 5);
    assert_string_equal(sent[1].authorization, sent[2].authorization);
    assert_string_not_equal(sent[1].authorization, sent[3].authorization);
    assert_string_equal(sent[3].authorization, sent[4].authorization);
    assert_int_equal(sent[3].avoid, 7);
    outcome(3, H2_ANSWERED, 200, "", 8);
    outcome(4, H2_ANSWERED, 200, "", 8);
    TOLD("x:accepted tries=2 y:accepted tries=2");
    assert_int_equal(apns_count(a)->tokens_minted._v, 2);
    assert_null(apns_trouble(a));
}

static void test_a_wrong_clock_is_named(void **state)
{
    (void)state;
    push("x");
    answer(0, 403, "ExpiredProviderToken");
    TOLD("retire(0/7) x:rejected 403/ExpiredProviderToken");
    assert_non_null(strstr(apns_trouble(a), "clock"));
}

static void test_token_updates_too_often_keep_the_old_one(void **state)
{
    (void)state;
    push("a");
    answer(0, 200, "");
    at(45 * 60 * US_PER_S);
    push("x");
    assert_string_not_equal(sent[0].authorization, sent[1].authorization);
    answer(1, 429, "TooManyProviderTokenUpdates");
    assert_string_equal(sent[2].authorization, sent[0].authorization);
    answer(2, 200, "");
    push("y");
    assert_string_equal(sent[3].authorization, sent[0].authorization);
    answer(3, 429, "TooManyProviderTokenUpdates"); /* nothing else to try */
    TOLD("a:accepted x:accepted tries=2");
    assert_int_equal(sent_n, 5);
    answer(4, 429, "TooManyProviderTokenUpdates");
    TOLD("y:rejected 429/TooManyProviderTokenUpdates tries=2");
    assert_int_equal(apns_count(a)->tokens_minted._v, 2); /* none in reaction */
    assert_null(apns_trouble(a));
}

static void test_a_key_that_is_not_accepted_rests(void **state)
{
    static const char *const reasons[] = {"InvalidProviderToken", "BadEnvironmentKeyInToken",
                                          "BadEnvironmentKeyIdInToken", "Forbidden", "BrandNew"};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(reasons); i++) {
        unsigned n = sent_n;
        char want[128];
        push("x");
        push("y"); /* out before */
        answer(n, 403, reasons[i]);
        snprintf(want, sizeof(want), "retire(0/7) x:rejected 403/%s",
                 strcmp(reasons[i], "BrandNew") == 0 ? "unknown" : reasons[i]);
        TOLD(want);
        assert_non_null(apns_trouble(a));
        assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "z"),
                         -EHOSTDOWN);
        assert_int_equal(push_as(PUSH_MISSED, "com.acme.only", APNS_PRODUCTION, "t", "z"),
                         -EHOSTDOWN); /* the same key */
        assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_SANDBOX, "t", "s"), 0);
        answer(n + 2, 200, "");
        answer(n + 1, 200, ""); /* this one was still accepted: it works again */
        TOLD("s:accepted y:accepted");
        assert_null(apns_trouble(a));
    }
}

static void test_a_stopped_key_is_tried_with_one_push(void **state)
{
    (void)state;
    push("x");
    answer(0, 403, "Forbidden");
    TOLD("retire(0/7) x:rejected 403/Forbidden");
    at(APNS_STOP_MIN_US - 1000);
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "p"), -EHOSTDOWN);
    at(1000);
    push("p");
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "q"), -EHOSTDOWN);
    answer(1, 403, "Forbidden");
    TOLD("retire(0/7) p:rejected 403/Forbidden");
    at(APNS_STOP_MIN_US + 1000); /* the pause has doubled */
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "q"), -EHOSTDOWN);
    at(APNS_STOP_MIN_US);
    push("q");
    outcome(2, H2_NO_CONNECTION, 0, "", 0); /* tells nothing: the next one may try */
    TOLD("q:gave_up why=no_connection");
    push("r");
    answer(3, 200, "");
    TOLD("r:accepted");
    assert_null(apns_trouble(a));
    push("s");
    answer(4, 200, "");
    TOLD("s:accepted");
}

static void test_a_key_is_rotated(void **state)
{
    (void)state;
    push("a");
    answer(0, 403, "Forbidden");
    told[0] = '\0';
    assert_int_equal(apns_rekey(a, 0, SLICE_LIT("TEAM123456"), SLICE_LIT("bad!"), signer), -EINVAL);
    assert_int_equal(apns_rekey(a, 0, SLICE_LIT("TEAM123456"), SLICE_LIT("KEYROTATED"), signer), 0);
    TOLD("retire(0/0) retire(1/0)");
    assert_null(apns_trouble(a));
    push("x");
    assert_string_not_equal(sent[0].authorization, sent[1].authorization);
    answer(1, 200, "");
    TOLD("x:accepted");
}

/* ---- no answer, hedges, cancelling ---- */

static void test_no_answer(void **state)
{
    (void)state;
    push("a");
    outcome(0, H2_UNCERTAIN, 0, "", 7); /* the pool has sent it twice */
    at(APNS_RETRY_MIN_US + 1000);
    assert_int_equal(sent_n, 2);
    outcome(1, H2_UNCERTAIN, 0, "", 7); /* and twice again */
    push("b");
    outcome(2, H2_LATE, 0, "", 7);
    push("c");
    outcome(3, H2_REFUSED, 0, "", 7);
    push("d");
    outcome(4, H2_NO_CONNECTION, 0, "", 0);
    TOLD("a:gave_up why=uncertain tries=2 maybe b:gave_up why=deadline maybe c:gave_up why=server "
         "d:gave_up why=no_connection");
}

static void test_calls_are_hedged(void **state)
{
    (void)state;
    push("x");
    push_as(PUSH_MISSED, "com.acme.talk", APNS_PRODUCTION, "t", "m");
    at(APNS_HEDGE_US - 1000);
    assert_int_equal(sent_n, 2);
    at(2000);
    assert_int_equal(sent_n, 3); /* the call only */
    assert_string_equal(sent[0].headers, sent[2].headers);
    at(10 * US_PER_S);
    assert_int_equal(sent_n, 3); /* once */
    answer(2, 200, "");
    TOLD("x:accepted tries=2 maybe");
    answer(0, 200, ""); /* the slow one: nobody cares */
    answer(1, 200, "");
    TOLD("m:accepted");
    assert_int_equal(apns_count(a)->jobs._v, 0);
}

static void test_a_hedge_that_fails_does_not_end_it(void **state)
{
    (void)state;
    push("x");
    at(APNS_HEDGE_US + 1000);
    answer(1, 503, "ServiceUnavailable");
    at(US_PER_S);
    TOLD("");
    assert_int_equal(sent_n, 2);
    outcome(0, H2_UNCERTAIN, 0, "", 7);
    TOLD("");
    at(US_PER_S);
    outcome(2, H2_UNCERTAIN, 0, "", 7);
    TOLD("x:gave_up why=uncertain 503/ServiceUnavailable tries=3 maybe");

    push("y");
    at(APNS_HEDGE_US + 1000);
    outcome(4, H2_UNCERTAIN, 0, "", 7);
    TOLD("");
    answer(3, 200, "");
    TOLD("y:accepted tries=2 maybe");

    push("z");
    at(APNS_HEDGE_US + 1000);
    answer(5, 410, "Unregistered");
    TOLD("z:token_gone 410/Unregistered since=1795000000000 tries=2 maybe");
    answer(6, 410, "Unregistered");
    TOLD("");
    send_error = -ENOBUFS; /* no room for a hedge: the first goes on */
    send_error_at = sent_n + 1;
    push("w");
    at(APNS_HEDGE_US + 1000);
    answer(7, 200, "");
    TOLD("w:accepted");
}

static void test_the_deadline_is_kept_without_the_pool(void **state)
{
    (void)state;
    push("x");
    at(30 * US_PER_S + 1000);
    TOLD(""); /* the pool may still tell what kept it */
    at(APNS_GRACE_US + 1000);
    TOLD("x:gave_up why=deadline maybe");
    assert_int_equal(apns_count(a)->jobs._v, 1); /* until the pool has told its end */
    outcome(0, H2_LATE, 0, "", 7);
    assert_int_equal(apns_count(a)->jobs._v, 0);
}

static void test_cancelled(void **state)
{
    char id[APNS_ID_TEXT + 1];
    struct apns_job job = job_of(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t");

    (void)state;
    apns_push(a, &job, on_done, (void *)(uintptr_t) "x", id);
    answer(0, 503, "");
    apns_cancel(a, slice_str(id));
    TOLD(""); /* not from inside */
    at(2000);
    TOLD("x:gave_up why=cancelled 503/unknown");
    apns_cancel(a, slice_str(id));
    apns_push(a, &job, on_done, (void *)(uintptr_t) "y", id);
    apns_cancel(a, slice_str(id));
    at(APNS_HEDGE_US);
    assert_int_equal(sent_n, 2); /* no hedge */
    answer(1, 200, "");
    TOLD("y:accepted");
    apns_cancel(a, SLICE_LIT("nobody"));
}

static void test_free_with_pushes_under_way(void **state)
{
    (void)state;
    push("x");
    push_as(PUSH_MISSED, "com.acme.talk", APNS_PRODUCTION, "t", "m");
    answer(1, 429, "TooManyRequests");
    TOLD("");
    /* teardown frees */
}

static void test_metrics(void **state)
{
    struct metrics *m = metrics_new();
    size_t len;

    (void)state;
    apns_metrics_register(m, a);
    push("x");
    answer(0, 200, "");
    push("y");
    answer(1, 410, "Unregistered");
    char *text = metrics_render(m, &len);
    static const char *const want[] = {
        "sori_push_results_total{kind=\"ring\",result=\"accepted\"} 1",
        "sori_push_results_total{kind=\"ring\",result=\"token_gone\"} 1",
        "sori_push_answers_total{env=\"production\",reason=\"ok\"} 1",
        "sori_push_answers_total{env=\"production\",reason=\"Unregistered\"} 1",
        "sori_push_answers_total{env=\"sandbox\",reason=\"BadEnvironmentKeyInToken\"} 0",
        "sori_push_gave_up_total{why=\"deadline\"} 0",
        "sori_push_jwt_mint_total 1",
        "sori_push_latency_seconds_count{class=\"call\"} 2",
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_non_null(strstr(text, want[i]));
    mem_free(text);
    metrics_free(m);
}

static void test_oom(void **state)
{
    (void)state;
    apns_free(a);
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        a = make();
        if (a)
            break;
        assert_true(mem_failed());
    }
    mem_fail_after(0);
    assert_int_equal(push_as(PUSH_RING, "com.acme.talk", APNS_PRODUCTION, "t", "x"), -ENOMEM);
    mem_fail_never();
    push("x");
    answer(0, 200, "");
    TOLD("x:accepted");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_request),
        T(test_lanes),
        T(test_what_is_refused_at_once),
        T(test_answers_that_end_it),
        T(test_server_errors_are_tried_once_more_elsewhere),
        T(test_no_second_try_after_the_ring_window),
        T(test_a_failing_connection_is_replaced),
        T(test_unrelated_key_and_idle_timeout_reconnect),
        T(test_too_large_is_sent_again_without_what_is_optional),
        T(test_alerts_wait_when_a_device_is_busy),
        T(test_unknown_environment_is_found),
        T(test_mass_rejection_blames_no_token),
        T(test_expired_provider_token),
        T(test_a_wrong_clock_is_named),
        T(test_token_updates_too_often_keep_the_old_one),
        T(test_a_key_that_is_not_accepted_rests),
        T(test_a_stopped_key_is_tried_with_one_push),
        T(test_a_key_is_rotated),
        T(test_no_answer),
        T(test_calls_are_hedged),
        T(test_a_hedge_that_fails_does_not_end_it),
        T(test_the_deadline_is_kept_without_the_pool),
        T(test_cancelled),
        T(test_free_with_pushes_under_way),
        T(test_metrics),
        T(test_oom),
    };
    log_set_level(LOG_ERROR);
    log_setup(LOG_ERROR, LOG_TEXT, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/device_dir.c. SPDX-License-Identifier: BSD-3-Clause */
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
#include "server/device_dir.h"

#define A   SLICE_LIT("anna")
#define B   SLICE_LIT("berta")
#define DAY UINT64_C(86400000)

static const struct device_dir_conf CONF = {
    .devices = 100, .devices_per_user = 3, .tokens_per_device = 6};
static struct device_dir *d;

static int set_up(void **state)
{
    (void)state;
    d = device_dir_new(&CONF);
    return d ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    device_dir_free(d);
    return 0;
}

static int put(struct slice user, const char *device, enum ledger_token_type type,
               const char *token, uint64_t at_ms)
{
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", token);
    const struct ledger_token t = {.type = type, .token = slice_str(copy), .registered_ms = at_ms};
    const struct ledger_device dev = {.user = user,
                                      .device = slice_str(device),
                                      .app = SLICE_LIT("com.acme.talk"),
                                      .platform = LEDGER_IOS,
                                      .env = LEDGER_SANDBOX,
                                      .call_ui = LEDGER_CALLKIT,
                                      .seen_ms = at_ms,
                                      .tokens = &t,
                                      .tokens_n = 1};
    int rc = device_dir_put(d, &dev);
    memset(copy, 'x', sizeof(copy)); /* it was copied */
    return rc;
}

/* The tokens of a user's devices: "phone=voip:aa,alert:bb pad=…", devices in their order of name.
 */
static const char *shows(struct slice user)
{
    static char text[2048];
    const char *names[] = {"pad", "phone", "watch"};
    size_t len = 0, n = 0;

    text[0] = '\0';
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        const struct dir_device *v = device_dir_find(d, user, slice_str(names[k]));
        if (!v)
            continue;
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? " " : "", names[k]);
        for (unsigned t = 0; t < LEDGER_TOKEN_TYPE_COUNT; t++) {
            const struct dir_token *tok = device_dir_token(v, t, NULL);
            if (tok)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "=%s:%.*s",
                                        ledger_token_type_name(t), SLICE_FMT(tok->token));
        }
        n++;
    }
    for (const struct dir_device *v = device_dir_first(d, user); v; v = device_dir_next(v))
        n--;
    assert_int_equal(n, 0);
    return text;
}

static void test_tokens_merge_by_type(void **state)
{
    (void)state;
    assert_int_equal(put(A, "phone", LEDGER_VOIP, "v1", 1), 0);
    assert_int_equal(put(A, "phone", LEDGER_ALERT, "a1", 2), 0);
    assert_string_equal(shows(A), "phone=voip:v1=alert:a1");
    assert_int_equal(put(A, "phone", LEDGER_VOIP, "v2", 3), 0);
    assert_string_equal(shows(A), "phone=voip:v2=alert:a1");
    assert_int_equal(put(A, "phone", LEDGER_ALERT, "", 4), 0); /* taken away */
    assert_string_equal(shows(A), "phone=voip:v2");
    assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), 1);
    assert_int_equal(device_dir_tokens(d, LEDGER_ALERT), 0);
    assert_int_equal(device_dir_devices(d), 1);
}

static void test_a_token_moves_to_whoever_registers_it(void **state)
{
    (void)state;
    put(A, "phone", LEDGER_VOIP, "shared", 1);
    put(A, "phone", LEDGER_ALERT, "kept", 1);
    put(A, "pad", LEDGER_VOIP, "own", 1);
    assert_int_equal(put(B, "phone", LEDGER_VOIP, "shared", 2), 0);
    assert_string_equal(shows(A), "pad=voip:own phone=alert:kept");
    assert_string_equal(shows(B), "phone=voip:shared");
    assert_int_equal(put(B, "phone", LEDGER_ALERT, "shared", 3), 0); /* of another type now */
    assert_string_equal(shows(B), "phone=alert:shared");
    assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), 1);
}

static void test_live_activities_are_one_per_call(void **state)
{
    struct sig_call_id one = {{1}}, two = {{2}};
    const struct ledger_token t[] = {
        {.type = LEDGER_LIVEACTIVITY, .token = SLICE_LIT("l1"), .call_id = one, .expires_ms = 50},
        {.type = LEDGER_LIVEACTIVITY, .token = SLICE_LIT("l2"), .call_id = two, .expires_ms = 90},
        {.type = LEDGER_LIVEACTIVITY, .token = SLICE_LIT("l3"), .call_id = one, .expires_ms = 60},
    };
    const struct ledger_device dev = {
        .user = A, .device = SLICE_LIT("phone"), .tokens = t, .tokens_n = 3};

    (void)state;
    assert_int_equal(device_dir_put(d, &dev), 0);
    const struct dir_device *v = device_dir_find(d, A, SLICE_LIT("phone"));
    assert_int_equal(v->tokens_n, 2);
    assert_true(slice_is(device_dir_token(v, LEDGER_LIVEACTIVITY, &one)->token, "l3"));
    assert_true(slice_is(device_dir_token(v, LEDGER_LIVEACTIVITY, &two)->token, "l2"));
    put(A, "phone", LEDGER_VOIP, "v", 1);
    assert_int_equal(device_dir_expire(d, 59, 0, 10), 0);
    assert_int_equal(device_dir_expire(d, 60, 0, 10), 1);
    v = device_dir_find(d, A, SLICE_LIT("phone"));
    assert_null(device_dir_token(v, LEDGER_LIVEACTIVITY, &one));
    assert_int_equal(device_dir_expire(d, 1000, 0, 10), 1);
    assert_int_equal(device_dir_expire(d, 1000, 0, 10), 0);
    assert_string_equal(shows(A), "phone=voip:v");
}

static void test_a_410_of_before_the_registration_is_void(void **state)
{
    (void)state;
    put(A, "phone", LEDGER_VOIP, "v", 1000);
    assert_false(device_dir_bad(d, SLICE_LIT("w"), 0));
    assert_false(device_dir_bad(d, SLICE_LIT("v"), 999));
    assert_false(device_dir_bad(d, SLICE_LIT("v"), 1000));
    assert_true(device_dir_bad(d, SLICE_LIT("v"), 1001));
    assert_string_equal(shows(A), "phone");
    put(A, "phone", LEDGER_VOIP, "v", 5000);
    assert_true(device_dir_bad(d, SLICE_LIT("v"), 0)); /* BadDeviceToken: whenever */
    put(A, "phone", LEDGER_VOIP, "v", 5000);
    put(A, "phone", LEDGER_VOIP, "new", 6000);
    assert_false(device_dir_bad(d, SLICE_LIT("v"), 0)); /* it changed meanwhile */
    assert_string_equal(shows(A), "phone=voip:new");
}

static void test_limits_are_said_before_and_hold(void **state)
{
    const struct ledger_device fourth = {.user = A, .device = SLICE_LIT("desk")};
    struct ledger_token t[7];
    char text[7][8];
    const struct ledger_device greedy = {
        .user = B, .device = SLICE_LIT("phone"), .tokens = t, .tokens_n = 7};

    (void)state;
    for (uint8_t i = 0; i < 7; i++) {
        snprintf(text[i], sizeof(text[i]), "t%u", i);
        t[i] = (struct ledger_token){
            .type = LEDGER_LIVEACTIVITY, .token = slice_str(text[i]), .call_id = {{i}}};
    }
    put(A, "phone", LEDGER_VOIP, "1", 1);
    put(A, "pad", LEDGER_VOIP, "2", 1);
    put(A, "watch", LEDGER_VOIP, "3", 1);
    assert_int_equal(device_dir_check(d, &fourth), -ENOSPC);
    assert_int_equal(device_dir_put(d, &fourth), -ENOSPC);
    assert_int_equal(put(A, "pad", LEDGER_VOIP, "4", 1), 0);
    assert_int_equal(device_dir_check(d, &greedy), -EINVAL);
    assert_int_equal(device_dir_put(d, &greedy), -EINVAL);
    assert_int_equal(device_dir_devices(d), 3);
}

static void test_the_whole_directory_is_bounded(void **state)
{
    char name[16];
    unsigned n = 0;

    (void)state;
    for (;; n++) {
        snprintf(name, sizeof(name), "user-%u", n);
        if (put(slice_str(name), "phone", LEDGER_VOIP, name, 1) != 0)
            break;
    }
    assert_int_equal(n, 100);
    assert_int_equal(device_dir_del_user(d, SLICE_LIT("user-5")), 1);
    assert_int_equal(put(A, "phone", LEDGER_VOIP, "v", 1), 0);
}

static void test_who_is_not_seen_for_long_is_forgotten(void **state)
{
    char name[16];
    size_t gone = 0;

    (void)state;
    for (unsigned n = 0; n < 60; n++) {
        snprintf(name, sizeof(name), "user-%u", n);
        put(slice_str(name), "phone", LEDGER_VOIP, name, n < 40 ? 100 : 200);
    }
    assert_int_equal(device_dir_expire(d, 1100, 1000, 100), 0); /* to the millisecond */
    assert_int_equal(device_dir_expire(d, 5000, 0, 100), 0);
    assert_int_equal(device_dir_expire(d, 50, 100, 100), 0); /* a clock that is wrong */
    for (int calls = 0; gone < 40; calls++) {
        size_t n = device_dir_expire(d, 1101, 1000, 10);
        assert_true(n < 40 && calls < 20); /* some at a time, all in the end */
        gone += n;
    }
    assert_int_equal(device_dir_devices(d), 20);
    assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), 20);
    assert_null(device_dir_find(d, SLICE_LIT("user-0"), SLICE_LIT("phone")));
    assert_non_null(device_dir_find(d, SLICE_LIT("user-40"), SLICE_LIT("phone")));
    for (int calls = 0; calls < 20; calls++)
        assert_int_equal(device_dir_expire(d, 1101, 1000, 10), 0);
}

static void test_texts_are_looked_at(void **state)
{
    static uint8_t big[LEDGER_TOKEN_MAX + 1];
    memset(big, 'a', sizeof(big));
    struct ledger_token t = {.type = LEDGER_FCM, .token = slice_of(big, LEDGER_TOKEN_MAX)};
    struct ledger_device dev = {
        .user = A, .device = SLICE_LIT("phone"), .tokens = &t, .tokens_n = 1};

    (void)state;
    assert_int_equal(device_dir_check(d, &dev), 0);
    t.token.len++;
    assert_int_equal(device_dir_check(d, &dev), -EINVAL);
    t.token = SLICE_LIT("a\nb");
    assert_int_equal(device_dir_check(d, &dev), -EINVAL);
    t.token = SLICE_LIT("ab");
    t.type = LEDGER_TOKEN_TYPE_COUNT;
    assert_int_equal(device_dir_check(d, &dev), -EINVAL);
    t.type = LEDGER_FCM;
    dev.app = slice_of(big, LEDGER_APP_MAX + 1);
    assert_int_equal(device_dir_check(d, &dev), -EINVAL);
    dev.app = (struct slice){0};
    dev.user = (struct slice){0};
    assert_int_equal(device_dir_check(d, &dev), -EINVAL);
}

static void test_facts_change_in_place(void **state)
{
    (void)state;
    put(A, "phone", LEDGER_VOIP, "v", 10 * DAY);
    assert_true(device_dir_set_env(d, A, SLICE_LIT("phone"), LEDGER_PRODUCTION));
    assert_false(device_dir_set_env(d, A, SLICE_LIT("pad"), LEDGER_PRODUCTION));
    assert_int_equal(device_dir_find(d, A, SLICE_LIT("phone"))->env, LEDGER_PRODUCTION);
    assert_false(device_dir_touch(d, A, SLICE_LIT("phone"), 11 * DAY - 1));
    assert_true(device_dir_touch(d, A, SLICE_LIT("phone"), 11 * DAY));
    assert_false(device_dir_touch(d, A, SLICE_LIT("phone"), 11 * DAY + 5));
    assert_false(device_dir_touch(d, A, SLICE_LIT("phone"), 2 * DAY)); /* the clock went back */
    assert_false(device_dir_touch(d, B, SLICE_LIT("phone"), 99 * DAY));
}

static void test_a_user_leaves_with_all_devices(void **state)
{
    (void)state;
    put(A, "phone", LEDGER_VOIP, "1", 1);
    put(A, "pad", LEDGER_VOIP, "2", 1);
    put(B, "pad", LEDGER_VOIP, "3", 1);
    assert_int_equal(device_dir_del(d, A, SLICE_LIT("watch")), 0);
    assert_int_equal(device_dir_del(d, A, SLICE_LIT("pad")), 1);
    assert_int_equal(device_dir_del_user(d, A), 1);
    assert_int_equal(device_dir_del_user(d, A), 0);
    assert_string_equal(shows(A), "");
    assert_string_equal(shows(B), "pad=voip:3");
    assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), 1);
}

/* Random registrations against a plain model: who has each token. */
static void test_each_token_has_one_owner_whatever_happens(void **state)
{
    enum { TOKENS = 12, STEPS = 20000 };
    const char *users[] = {"u0", "u1", "u2", "u3"}, *devices[] = {"pad", "phone", "watch"};
    int owner[TOKENS], type_of[TOKENS]; /* owner: user * 3 + device, or -1 */
    struct rand_src r;

    (void)state;
    rand_src_init(&r, 42);
    for (int i = 0; i < TOKENS; i++)
        owner[i] = -1;
    for (int step = 0; step < STEPS; step++) {
        unsigned u = (unsigned)rand_src_below(&r, 4), v = (unsigned)rand_src_below(&r, 3);
        int t = (int)rand_src_below(&r, TOKENS), me = (int)(u * 3 + v);
        enum ledger_token_type type = rand_src_below(&r, 2) ? LEDGER_VOIP : LEDGER_ALERT;
        char token[8];
        snprintf(token, sizeof(token), "t%d", t);
        switch (rand_src_below(&r, 8)) {
        case 0:
            device_dir_del(d, slice_str(users[u]), slice_str(devices[v]));
            for (int i = 0; i < TOKENS; i++)
                owner[i] = owner[i] == me ? -1 : owner[i];
            break;
        case 1:
            assert_int_equal(device_dir_bad(d, slice_str(token), 0), owner[t] >= 0);
            owner[t] = -1;
            break;
        default:
            assert_int_equal(put(slice_str(users[u]), devices[v], type, token, 1), 0);
            for (int i = 0; i < TOKENS; i++)
                if (owner[i] == me && type_of[i] == (int)type)
                    owner[i] = -1;
            owner[t] = me;
            type_of[t] = (int)type;
            break;
        }
        size_t voip = 0;
        for (int i = 0; i < TOKENS; i++) {
            if (owner[i] < 0)
                continue;
            const struct dir_device *dev = device_dir_find(d, slice_str(users[owner[i] / 3]),
                                                           slice_str(devices[owner[i] % 3]));
            assert_non_null(dev);
            snprintf(token, sizeof(token), "t%d", i);
            const struct dir_token *tok = device_dir_token(dev, (unsigned)type_of[i], NULL);
            assert_non_null(tok);
            assert_true(slice_is(tok->token, token));
            voip += type_of[i] == LEDGER_VOIP;
        }
        assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), voip);
    }
}

static void test_oom_changes_nothing(void **state)
{
    (void)state;
    put(A, "phone", LEDGER_VOIP, "v", 1);
    uint64_t live = mem_live();
    mem_fail_after(0);
    assert_int_equal(put(A, "phone", LEDGER_VOIP, "w", 1), -ENOMEM);
    mem_fail_after(0);
    assert_int_equal(put(B, "phone", LEDGER_VOIP, "v", 1), -ENOMEM);
    mem_fail_never();
    assert_string_equal(shows(A), "phone=voip:v");
    assert_string_equal(shows(B), "");
    assert_int_equal(mem_live(), live);
    for (uint64_t i = 0; i < 3; i++) {
        mem_fail_after(i);
        assert_null(device_dir_new(&CONF));
        mem_fail_never();
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_tokens_merge_by_type),
        T(test_a_token_moves_to_whoever_registers_it),
        T(test_live_activities_are_one_per_call),
        T(test_a_410_of_before_the_registration_is_void),
        T(test_limits_are_said_before_and_hold),
        T(test_the_whole_directory_is_bounded),
        T(test_who_is_not_seen_for_long_is_forgotten),
        T(test_texts_are_looked_at),
        T(test_facts_change_in_place),
        T(test_a_user_leaves_with_all_devices),
        T(test_each_token_has_one_owner_whatever_happens),
        T(test_oom_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

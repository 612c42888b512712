/* Tests of server/push_suspects.c: how long a bad token is put aside, and what takes it back.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/push_suspects.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>

#define T0    (1000 * US_PER_S)
#define TOPIC SLICE_LIT("com.acme.talk")

static uint8_t room[LEDGER_TOKEN_MAX];

static void test_a_token_is_put_aside_until_it_is_believed(void **state)
{
    struct push_suspects s;
    char mine[] = "token-a";

    (void)state;
    assert_int_equal(push_suspects_init(&s), 0);
    assert_false(push_suspects_has(&s, SLICE_LIT("token-a")));
    assert_true(push_suspects_deadline(&s) == CLOCK_NEVER);
    assert_int_equal(push_suspects_add(&s, slice_str(mine), TOPIC, LEDGER_PRODUCTION, T0), 0);
    mine[6] = 'x'; /* it was copied */
    assert_true(push_suspects_has(&s, SLICE_LIT("token-a")));
    assert_false(push_suspects_has(&s, SLICE_LIT("token-")));
    assert_false(push_suspects_has(&s, (struct slice){0}));
    assert_int_equal(push_suspects_add(&s, SLICE_LIT("token-b"), TOPIC, LEDGER_PRODUCTION, T0 + 5),
                     0);
    /* called bad again: its time stays */
    assert_int_equal(push_suspects_add(&s, SLICE_LIT("token-a"), TOPIC, LEDGER_PRODUCTION, T0 + 9),
                     0);
    assert_true(push_suspects_deadline(&s) == T0 + PUSH_BAD_US);
    assert_int_equal(push_suspects_due(&s, T0 + PUSH_BAD_US - 1, room).len, 0);
    assert_true(slice_is(push_suspects_due(&s, T0 + PUSH_BAD_US, room), "token-a"));
    assert_int_equal(push_suspects_due(&s, T0 + PUSH_BAD_US, room).len, 0);
    assert_false(push_suspects_has(&s, SLICE_LIT("token-a")));
    assert_true(slice_is(push_suspects_due(&s, CLOCK_NEVER, room), "token-b"));
    push_suspects_fini(&s);
}

static void test_doubt_takes_back_what_it_is_about(void **state)
{
    struct push_suspects s;
    const struct {
        const char *token, *topic;
        enum ledger_env env;
        uint64_t at_us;
        bool stays;
    } c[] = {
        {"older", "com.acme.talk", LEDGER_PRODUCTION, T0 - 1, true},
        {"first", "com.acme.talk", LEDGER_PRODUCTION, T0, false},
        {"unknown", "com.acme.talk", LEDGER_ENV_UNKNOWN, T0 + 1, false},
        {"sandbox", "com.acme.talk", LEDGER_SANDBOX, T0 + 2, true},
        {"another", "com.acme.mail", LEDGER_PRODUCTION, T0 + 3, true},
    };

    (void)state;
    assert_int_equal(push_suspects_init(&s), 0);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(push_suspects_add(&s, slice_str(c[i].token), slice_str(c[i].topic),
                                           c[i].env, c[i].at_us),
                         0);
    push_suspects_doubt(&s, TOPIC, LEDGER_PRODUCTION, T0);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(push_suspects_has(&s, slice_str(c[i].token)), c[i].stays);
    push_suspects_fini(&s);
}

static void test_there_is_room_for_so_many(void **state)
{
    struct push_suspects s;
    uint64_t live = mem_live();
    uint32_t i;

    (void)state;
    assert_int_equal(push_suspects_init(&s), 0);
    for (i = 0; i < PUSH_BAD_MAX; i++)
        assert_int_equal(
            push_suspects_add(&s, slice_of(&i, sizeof(i)), TOPIC, LEDGER_PRODUCTION, T0 + i), 0);
    assert_int_equal(push_suspects_add(&s, slice_of(&i, sizeof(i)), TOPIC, LEDGER_PRODUCTION, T0),
                     -ENOSPC);
    for (i = 0; i < PUSH_BAD_MAX; i++)
        assert_true(push_suspects_has(&s, slice_of(&i, sizeof(i))));
    push_suspects_fini(&s);
    assert_int_equal(mem_live(), live);
}

static void test_oom(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct push_suspects s;
        uint64_t live = mem_live();
        mem_fail_after(n);
        int rc = push_suspects_init(&s);
        if (rc == 0)
            rc = push_suspects_add(&s, SLICE_LIT("token"), TOPIC, LEDGER_PRODUCTION, T0);
        mem_fail_never();
        assert_true(rc == 0 || rc == -ENOMEM);
        push_suspects_fini(&s);
        assert_int_equal(mem_live(), live);
        if (rc == 0)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_is_put_aside_until_it_is_believed),
        cmocka_unit_test(test_doubt_takes_back_what_it_is_about),
        cmocka_unit_test(test_there_is_room_for_so_many),
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests_name("push_suspects", tests, NULL, NULL);
}

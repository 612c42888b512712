/* turncred.c: the draft's example, grant against check, ambiguous parts, expiry at the second.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/turncred.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_usernames_of_both_forms_parse(void **state)
{
    static const struct {
        const char *text, *call_id, *user;
        uint64_t expiry_s;
    } cases[] = {
        {"1433895918:506001", "", "506001", 1433895918},
        {"1700000000:call-7:ann", "call-7", "ann", 1700000000},
        {"1700000000:c:user:with:colons", "c", "user:with:colons", 1700000000},
        {"0:u", "", "u", 0},
        {"4294967295:c:%s%n", "c", "%s%n", 4294967295},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct turncred c;
        assert_int_equal(turncred_parse(&c, slice_str(cases[i].text)), 0);
        assert_int_equal(c.expiry_s, cases[i].expiry_s);
        assert_true(slice_is(c.call_id, cases[i].call_id));
        assert_true(slice_is(c.user, cases[i].user));
    }
}

static void test_other_names_are_ordinary(void **state)
{
    static const char *const names[] = {
        "",   "ann",     ":ann", "1433895918", "12x:ann", " 12:a", "-1:a", "4294967296:a",
        "1:", "1:call:", "01:a", "1e3:a",      "0x10:a"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct turncred c;
        assert_int_equal(turncred_parse(&c, slice_str(names[i])), -EBADMSG);
    }
}

static void test_granted_credential_is_what_the_relay_computes(void **state)
{
    uint8_t name[TURNCRED_USERNAME_MAX], pass[TURNCRED_PASSWORD_BYTES], want[sizeof(pass)];
    struct wr wn = wr_init(name, sizeof(name)), wp = wr_init(pass, sizeof(pass));
    struct slice secret = SLICE_LIT("north");
    struct turncred c;

    (void)state;
    assert_int_equal(
        turncred_grant(&wn, &wp, secret, 1700000600, SLICE_LIT("call-7"), SLICE_LIT("ann")), 0);
    assert_true(slice_is(wr_done(&wn), "1700000600:call-7:ann"));
    assert_int_equal(turncred_password(want, secret, wr_done(&wn)), 0);
    assert_memory_equal(want, pass, sizeof(pass));
    assert_int_equal(turncred_parse(&c, wr_done(&wn)), 0);
    assert_true(turncred_is_live(&c, UINT64_C(1700000599999999)));
    assert_false(turncred_is_live(&c, UINT64_C(1700000600000000)));
}

/* openssl dgst -sha1 -hmac north -binary | base64, over "1433895918:506001". */
static void test_password_is_base64_of_hmac_sha1(void **state)
{
    uint8_t pass[TURNCRED_PASSWORD_BYTES];

    (void)state;
    assert_int_equal(turncred_password(pass, SLICE_LIT("north"), SLICE_LIT("1433895918:506001")),
                     0);
    assert_memory_equal(pass, "ygeNCC7+MWjn7f/pmy7TUaeyFyQ=", sizeof(pass));
}

static void test_ambiguous_or_overlong_grants_are_refused(void **state)
{
    static uint8_t long_user[TURNCRED_USERNAME_MAX];
    const struct {
        struct slice call_id, user;
        int want;
    } cases[] = {
        {SLICE_LIT("c"), {0}, -EINVAL},
        {SLICE_LIT("a:b"), SLICE_LIT("u"), -EINVAL},
        {{0}, SLICE_LIT("a:b"), -EINVAL},
        {SLICE_LIT("c"), SLICE_LIT("a:b"), 0},
        {{0}, {long_user, sizeof(long_user) - 2}, 0},       /* "1:" and 506 bytes: 508 */
        {{0}, {long_user, sizeof(long_user) - 1}, -EINVAL}, /* 509 */
    };

    (void)state;
    memset(long_user, 'u', sizeof(long_user));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t name[TURNCRED_USERNAME_MAX], pass[TURNCRED_PASSWORD_BYTES];
        struct wr wn = wr_init(name, sizeof(name)), wp = wr_init(pass, sizeof(pass));
        assert_int_equal(
            turncred_grant(&wn, &wp, SLICE_LIT("s"), 1, cases[i].call_id, cases[i].user),
            cases[i].want);
    }
    uint8_t name[8], pass[TURNCRED_PASSWORD_BYTES];
    struct wr wn = wr_init(name, sizeof(name)), wp = wr_init(pass, sizeof(pass));
    assert_int_equal(
        turncred_grant(&wn, &wp, SLICE_LIT("s"), 1, SLICE_LIT("call"), SLICE_LIT("user")), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usernames_of_both_forms_parse),
        cmocka_unit_test(test_other_names_are_ordinary),
        cmocka_unit_test(test_granted_credential_is_what_the_relay_computes),
        cmocka_unit_test(test_password_is_base64_of_hmac_sha1),
        cmocka_unit_test(test_ambiguous_or_overlong_grants_are_refused),
    };

    return cmocka_run_group_tests_name("turncred", tests, NULL, NULL);
}

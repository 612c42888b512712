/* credentials.c: users files good and bad, time-limited names under two secrets, accounts.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proto/turncred.h"

#define WALL_US (UINT64_C(1700000000) * 1000000)

static const struct slice two[2] = {SLICE_LIT("current"), SLICE_LIT("previous")};
static const struct slice none[2];

static struct credentials *make(const char *users, const struct slice *secrets)
{
    const struct credentials_spec spec = {.realm = SLICE_LIT("example.org"),
                                          .users = slice_str(users),
                                          .secrets = secrets,
                                          .n_secrets = 2};
    char err[CREDENTIALS_ERR_MAX];

    return credentials_new(&spec, err);
}

static unsigned md5_keys(const struct credentials *c, struct slice name, uint64_t wall_us,
                         uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX])
{
    return credentials_keys(c, name, STUN_PASSWORD_MD5, wall_us, keys);
}

static void test_static_users_have_one_key(void **state)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX], want[STUN_KEY_BYTES];
    struct credentials *c = make("# people\n\nann:of:green gables\r\n"
                                 "bob:0x00112233445566778899AABBCCDDEEFF\neve:0x12\n",
                                 none);

    (void)state;
    assert_non_null(c);
    assert_int_equal(md5_keys(c, SLICE_LIT("ann"), 0, keys), 1);
    stun_long_term_key(want, SLICE_LIT("ann"), SLICE_LIT("example.org"),
                       SLICE_LIT("of:green gables"));
    assert_memory_equal(keys[0], want, sizeof(want));
    assert_int_equal(md5_keys(c, SLICE_LIT("bob"), 0, keys), 1);
    assert_int_equal(keys[0][15], 0xff);
    assert_int_equal(md5_keys(c, SLICE_LIT("eve"), 0, keys), 1); /* "0x12" is a password */
    assert_int_equal(md5_keys(c, SLICE_LIT("an"), 0, keys), 0);
    assert_int_equal(md5_keys(c, SLICE_LIT(""), 0, keys), 0);
    assert_false(credentials_is_empty(c));
    credentials_free(c);
}

static void test_sha256_keys_come_with_passwords_or_ready(void **state)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX], want[STUN_KEY_SHA256_BYTES];
    struct credentials *c =
        make("ann:of green gables\n"
             "bob:0x00112233445566778899AABBCCDDEEFF"
             "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
             two);

    (void)state;
    assert_true(credentials_have_sha256(c));
    assert_int_equal(credentials_keys(c, SLICE_LIT("ann"), STUN_PASSWORD_SHA256, 0, keys), 1);
    stun_long_term_key_sha256(want, SLICE_LIT("ann"), SLICE_LIT("example.org"),
                              SLICE_LIT("of green gables"));
    assert_memory_equal(keys[0], want, sizeof(want));
    assert_int_equal(credentials_keys(c, SLICE_LIT("bob"), STUN_PASSWORD_SHA256, 0, keys), 1);
    assert_int_equal(keys[0][31], 0x1f);
    assert_int_equal(md5_keys(c, SLICE_LIT("bob"), 0, keys), 1);
    assert_int_equal(keys[0][15], 0xff);
    assert_int_equal(
        credentials_keys(c, SLICE_LIT("1700000001:ann"), STUN_PASSWORD_SHA256, WALL_US, keys), 2);
    assert_true(memcmp(keys[0], keys[1], STUN_KEY_SHA256_BYTES) != 0);
    credentials_free(c);
    c = make("ann:x\nbob:0x00112233445566778899AABBCCDDEEFF\n", none);
    assert_false(credentials_have_sha256(c)); /* so nobody is offered what bob cannot do */
    assert_int_equal(credentials_keys(c, SLICE_LIT("bob"), STUN_PASSWORD_SHA256, 0, keys), 0);
    credentials_free(c);
}

static void test_userhash_finds_static_users(void **state)
{
    uint8_t hash[STUN_USERHASH_BYTES];
    struct slice h = slice_of(hash, sizeof(hash)), name;
    struct credentials *c = make("ann:x\nbob:y\n", none);

    (void)state;
    assert_true(credentials_are_hashed(c));
    stun_userhash(hash, SLICE_LIT("bob"), SLICE_LIT("example.org"));
    assert_true(credentials_name_of(c, h, &name) && slice_is(name, "bob"));
    assert_false(credentials_name_of(c, slice_sub(h, 0, 31), &name));
    assert_false(credentials_name_of(c, (struct slice){0}, &name));
    hash[0] ^= 1;
    assert_false(credentials_name_of(c, h, &name));
    credentials_free(c);
    c = make("ann:x\n", two);
    assert_false(credentials_are_hashed(c)); /* time-limited names are in no list */
    credentials_free(c);
}

static void test_names_and_passwords_are_prepared(void **state)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX], want[STUN_KEY_BYTES];
    struct credentials *c = make("a\xc2\xa0z:of\xe3\x80\x80gables\n"
                                 "rene\xcc\x81:caf\x65\xcc\x81\n",
                                 none);

    (void)state;
    assert_non_null(c);
    assert_int_equal(md5_keys(c, SLICE_LIT("a z"), 0, keys), 1);
    stun_long_term_key(want, SLICE_LIT("a z"), SLICE_LIT("example.org"), SLICE_LIT("of gables"));
    assert_memory_equal(keys[0], want, sizeof(want));
    /* Composed, as a client sends it. */
    assert_int_equal(md5_keys(c, SLICE_LIT("ren\xc3\xa9"), 0, keys), 1);
    stun_long_term_key(want, SLICE_LIT("ren\xc3\xa9"), SLICE_LIT("example.org"),
                       SLICE_LIT("caf\xc3\xa9"));
    assert_memory_equal(keys[0], want, sizeof(want));
    credentials_free(c);
}

static void test_bad_users_files_name_their_line(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"ann", "line 1"},
        {"ann:x\n:pw\n", "line 2"},
        {"ann:\n", "line 1"},
        {"ann:x\n\nann:y\n", "line 3"},
        {"ann:latin\xe9\n", "line 1"},
        {"a\tn:x\n", "line 1"},
        {"a b:x\na\xc2\xa0"
         "b:y\n",
         "line 2"}, /* the same name once prepared */
    };
    char err[CREDENTIALS_ERR_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct credentials_spec spec = {.realm = SLICE_LIT("r"),
                                              .users = slice_str(cases[i].text)};
        assert_null(credentials_new(&spec, err));
        assert_non_null(strstr(err, cases[i].want));
    }
}

static void test_time_limited_names_have_a_key_per_secret_until_they_expire(void **state)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX];
    struct credentials *c = make("", two);

    (void)state;
    assert_int_equal(md5_keys(c, SLICE_LIT("1700000001:ann"), WALL_US, keys), 2);
    assert_true(memcmp(keys[0], keys[1], STUN_KEY_BYTES) != 0);
    assert_int_equal(md5_keys(c, SLICE_LIT("1700000001:call:ann"), WALL_US, keys), 2);
    assert_int_equal(md5_keys(c, SLICE_LIT("1700000000:ann"), WALL_US, keys), 0);
    assert_int_equal(md5_keys(c, SLICE_LIT("ann"), WALL_US, keys), 0);
    credentials_free(c);
    c = make("", none);
    assert_true(credentials_is_empty(c));
    assert_int_equal(md5_keys(c, SLICE_LIT("1700000001:ann"), WALL_US, keys), 0);
    credentials_free(c);
}

static void test_many_secrets_are_valid_at_once_and_bounded(void **state)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX], want[STUN_KEY_BYTES];
    uint8_t password[TURNCRED_PASSWORD_BYTES];
    struct slice many[CREDENTIALS_SECRETS_MAX + 2];
    struct credentials_spec spec = {
        .realm = SLICE_LIT("r"), .secrets = many, .n_secrets = CREDENTIALS_SECRETS_MAX + 1};
    struct slice name = SLICE_LIT("1700000001:ann");
    char err[CREDENTIALS_ERR_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = slice_of("abcdefghijklmnopqr" + i, 1);
    assert_null(credentials_new(&spec, err));
    assert_non_null(strstr(err, "16 secrets"));
    many[3] = (struct slice){0}; /* an empty one does not count */
    struct credentials *c = credentials_new(&spec, err);
    assert_non_null(c);
    assert_int_equal(md5_keys(c, name, WALL_US, keys), CREDENTIALS_SECRETS_MAX);
    turncred_password(password, many[16], name);
    stun_long_term_key(want, name, SLICE_LIT("r"), slice_of(password, sizeof(password)));
    assert_memory_equal(keys[15], want, sizeof(want));
    credentials_free(c);
}

static void test_realms_are_a_chain(void **state)
{
    uint64_t before = mem_live();
    struct credentials *a = make("ann:x\n", none), *b = make("bob:x\n", none);
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX];

    (void)state;
    credentials_chain(a, b);
    assert_ptr_equal(credentials_of(a, 0), a);
    assert_ptr_equal(credentials_of(a, 1), b);
    assert_null(credentials_of(a, 2));
    assert_int_equal(md5_keys(a, SLICE_LIT("bob"), 0, keys), 0);
    credentials_free(a);
    assert_int_equal(mem_live(), before);
}

static void test_account_is_the_user_of_all_calls(void **state)
{
    struct credentials *c = make("1:2:static:x\n", two);

    (void)state;
    assert_true(slice_is(credentials_account(c, SLICE_LIT("17:call-1:ann")), "ann"));
    assert_true(slice_is(credentials_account(c, SLICE_LIT("18:ann")), "ann"));
    assert_true(slice_is(credentials_account(c, SLICE_LIT("ann")), "ann"));
    credentials_free(c);
}

static void test_oom_snapshot_is_whole_or_not_there(void **state)
{
    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct credentials *c = make("ann:x\nbob:y\n", two);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(c == NULL, failed);
        credentials_free(c);
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static_users_have_one_key),
        cmocka_unit_test(test_sha256_keys_come_with_passwords_or_ready),
        cmocka_unit_test(test_userhash_finds_static_users),
        cmocka_unit_test(test_names_and_passwords_are_prepared),
        cmocka_unit_test(test_bad_users_files_name_their_line),
        cmocka_unit_test(test_time_limited_names_have_a_key_per_secret_until_they_expire),
        cmocka_unit_test(test_many_secrets_are_valid_at_once_and_bounded),
        cmocka_unit_test(test_realms_are_a_chain),
        cmocka_unit_test(test_account_is_the_user_of_all_calls),
        cmocka_unit_test(test_oom_snapshot_is_whole_or_not_there),
    };

    return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}

/* redis_schema.c: names of keys as coturn's schema has them, values good and bad.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/redis_schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names_are_coturns(void **state)
{
    uint8_t buf[REDIS_SCHEMA_NAME_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    const struct slice prefix = SLICE_LIT("turn/"), realm = SLICE_LIT("north.gov");

    (void)state;
    redis_schema_user(&w, prefix, realm, SLICE_LIT("gorst"), false);
    assert_true(slice_is(wr_done(&w), "turn/realm/north.gov/user/gorst/key"));
    w = wr_init(buf, sizeof(buf));
    redis_schema_user(&w, prefix, realm, SLICE_LIT("a\r\nb\0c"), true);
    assert_true(slice_eq(wr_done(&w), SLICE_LIT("turn/realm/north.gov/user/a\r\nb\0c/key256")));
    w = wr_init(buf, sizeof(buf));
    redis_schema_secrets(&w, prefix, realm);
    assert_true(slice_is(wr_done(&w), "turn/realm/north.gov/secret"));
}

static void test_longest_names_fit(void **state)
{
    static const uint8_t x[STUN_USERNAME_MAX];
    uint8_t buf[REDIS_SCHEMA_NAME_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    redis_schema_user(&w, slice_of(x, REDIS_SCHEMA_PREFIX_MAX), slice_of(x, 128),
                      slice_of(x, STUN_USERNAME_MAX), true);
    assert_false(w.bad);
}

static void test_values_are_hex_of_the_right_length_or_nothing(void **state)
{
#define MD5 "7da2270ccfa49786e0115366d3a3d14d"
#define SHA "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
    static const struct {
        const char *md5, *sha256;
        bool found, has_sha256;
    } cases[] = {
        {MD5, "", true, false},
        {MD5, SHA, true, true},
        {"", SHA, false, false},
        {"", "", false, false},
        {MD5 "0", "", false, false},
        {MD5 "00", "", false, false},
        {MD5, SHA "00", true, false},
        {"g" MD5, "", false, false},
        {"7da2270ccfa49786e0115366d3a3d14", "", false, false},
        {"7da2270ccfa49786e0115366d3a3d1 d", "", false, false},
        {MD5, MD5, true, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct known_keys k = {.md5 = {9}};
        bool found = redis_schema_keys(&k, slice_str(cases[i].md5), slice_str(cases[i].sha256));
        assert_int_equal(found, cases[i].found);
        assert_int_equal(k.md5[0], found ? 0x7d : 9);
        assert_int_equal(k.has_sha256, cases[i].has_sha256);
        if (k.has_sha256)
            assert_int_equal(k.sha256[31], 0x1f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_coturns),
        cmocka_unit_test(test_longest_names_fit),
        cmocka_unit_test(test_values_are_hex_of_the_right_length_or_nothing),
    };

    return cmocka_run_group_tests_name("redis_schema", tests, NULL, NULL);
}

/* Tests of base/hash: SipHash-1-3 against another implementation's output.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Zero key, message 00 01 02 ...: what CPython 3.11 (siphash13, PYTHONHASHSEED=0) gives. */
static void test_siphash13_matches_cpython(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {1, UINT64_C(0x68a914128e01e473)},  {7, UINT64_C(0x2f098ab0c751325a)},
        {8, UINT64_C(0xead411e67ebe2eea)},  {9, UINT64_C(0x75927f9d95124362)},
        {15, UINT64_C(0xf30eb725bb91c9ea)}, {16, UINT64_C(0x8972188433a5c5b7)},
        {19, UINT64_C(0x091f4a3329f87d19)}, {63, UINT64_C(0x385d3e39e5f37359)},
    };
    static const uint8_t key[16] = {0};
    uint8_t msg[64];

    for (size_t i = 0; i < sizeof(msg); i++)
        msg[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *g = guard_copy(msg, cases[i].len);
        assert_true(hash_siphash13(key, slice_of(g, cases[i].len)) == cases[i].hash);
        guard_free(g, cases[i].len);
    }
}

static void test_every_key_byte_and_length_matters(void **state)
{
    (void)state;
    uint8_t key[16] = {0}, msg[16] = {0};
    uint64_t base = hash_siphash13(key, slice_of(msg, 8));

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = 1;
        assert_true(hash_siphash13(key, slice_of(msg, 8)) != base);
        key[i] = 0;
    }
    for (size_t n = 0; n <= 16; n++)
        assert_true(n == 8 || hash_siphash13(key, slice_of(msg, n)) != base);
}

static void test_process_key_is_stable(void **state)
{
    (void)state;
    assert_true(hash_bytes(SLICE_LIT("a")) == hash_bytes(SLICE_LIT("a")));
    assert_true(hash_bytes(SLICE_LIT("a")) != hash_bytes(SLICE_LIT("b")));
    assert_true(hash_bytes((struct slice){0}) == hash_bytes(SLICE_LIT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash13_matches_cpython),
        cmocka_unit_test(test_every_key_byte_and_length_matters),
        cmocka_unit_test(test_process_key_is_stable),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}

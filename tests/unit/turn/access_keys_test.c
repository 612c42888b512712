/* access_keys.c: lines good and bad, windows in time.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/access_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#define K32 "SEdrajMyS0pHaXV5MDk4c2RmYXFiTmpPaWF6NzE5MjM="
#define K16 "MTIzNDU2Nzg5MDEyMzQ1Ng=="
#define US  UINT64_C(1000000)

static void test_keys_are_found_within_their_time(void **state)
{
    char err[ACCESS_KEYS_ERR];
    struct access_keys *k = access_keys_new(
        SLICE_LIT("# of the west\nwest:A256GCM:" K32 "\r\n\neast:A128GCM:" K16 ":100:200\n"
                  "late:A128GCM:" K16 ":100\nearly:A128GCM:" K16 "::200\n"),
        err);

    (void)state;
    assert_non_null(k);
    assert_int_equal(access_keys_count(k), 4);
    const struct access_key *w = access_keys_find(k, SLICE_LIT("west"), 0);
    assert_true(w && w->cipher == CRYPTO_A256GCM &&
                slice_is(slice_of(w->key, 32), "HGkj32KJGiuy098sdfaqbNjOiaz71923"));
    assert_non_null(access_keys_find(k, SLICE_LIT("west"), UINT64_MAX));
    assert_null(access_keys_find(k, SLICE_LIT("wes"), 0));
    assert_null(access_keys_find(k, (struct slice){0}, 0));
    assert_null(access_keys_find(k, SLICE_LIT("east"), 100 * US - 1));
    assert_non_null(access_keys_find(k, SLICE_LIT("east"), 100 * US));
    assert_non_null(access_keys_find(k, SLICE_LIT("east"), 200 * US - 1));
    assert_null(access_keys_find(k, SLICE_LIT("east"), 200 * US));
    assert_null(access_keys_find(k, SLICE_LIT("late"), 99 * US));
    assert_non_null(access_keys_find(k, SLICE_LIT("late"), 999 * US));
    assert_null(access_keys_find(k, SLICE_LIT("early"), 200 * US));
    access_keys_free(k);
}

static void test_bad_lines_are_told(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"k", "line 1: the cipher"},
        {":A256GCM:" K32, "line 1: want kid"},
        {"k:A256GCM:" K32 "\nl:A257GCM:" K32, "line 2: the cipher"},
        {"k:A256GCM:" K16, "line 1: the key must be 32"},
        {"k:A128GCM:" K32, "line 1: the key must be 32"},
        {"k:A128GCM:????", "line 1: the key must"},
        {"k:A128GCM:", "line 1: the key must"},
        {"k:A128GCM:" K16 ":soon", "Unix seconds"},
        {"k:A128GCM:" K16 ":1:2:3", "nothing follows"},
        {"k:A128GCM:" K16 "\n\nk:A128GCM:" K16, "line 3: this kid is there twice"},
    };
    char err[ACCESS_KEYS_ERR];
    uint64_t before = mem_live();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_null(access_keys_new(slice_str(cases[i].text), err));
        if (!strstr(err, cases[i].want))
            fail_msg("case %zu: %s", i, err);
    }
    assert_int_equal(mem_live(), before);
}

static void test_number_of_keys_is_bounded(void **state)
{
    char err[ACCESS_KEYS_ERR];
    static uint8_t text[8192];

    (void)state;
    for (unsigned n = ACCESS_KEYS_MAX; n <= ACCESS_KEYS_MAX + 1; n++) {
        struct wr w = wr_init(text, sizeof(text));
        for (unsigned i = 0; i < n; i++)
            wr_fmt(&w, "%u:A128GCM:" K16 "\n", i);
        struct access_keys *k = access_keys_new(wr_done(&w), err);
        assert_int_equal(k != NULL, n == ACCESS_KEYS_MAX);
        access_keys_free(k);
    }
    assert_non_null(strstr(err, "line 65: more than 64"));
}

static void test_oom_leaves_nothing(void **state)
{
    uint64_t before = mem_live();
    char err[ACCESS_KEYS_ERR];
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        mem_fail_after(n);
        struct access_keys *k = access_keys_new(SLICE_LIT("k:A128GCM:" K16), err);
        failed = mem_failed();
        mem_fail_never();
        assert_int_equal(k == NULL, failed);
        access_keys_free(k);
        assert_int_equal(mem_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_found_within_their_time),
        cmocka_unit_test(test_bad_lines_are_told),
        cmocka_unit_test(test_number_of_keys_is_bounded),
        cmocka_unit_test(test_oom_leaves_nothing),
    };

    return cmocka_run_group_tests_name("access_keys", tests, NULL, NULL);
}

/* Tests of server/privacy.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "server/privacy.h"

#define SECRET SLICE_LIT("0123456789abcdef0123456789abcdef")
#define USER   SLICE_LIT("anna")
#define PHONE  SLICE_LIT("phone")

static struct privacy_keys *k;

static int set_up(void **state)
{
    (void)state;
    k = privacy_keys_new(SECRET);
    return k ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    privacy_keys_free(k);
    return 0;
}

static void test_a_token_opens_for_its_device_only(void **state)
{
    uint8_t sealed[3 + PRIVACY_SEAL_EXTRA], twice[sizeof(sealed)], out[3];
    struct slice token = SLICE_LIT("tok"), s = slice_of(sealed, sizeof(sealed));

    (void)state;
    assert_int_equal(privacy_token_seal(k, USER, PHONE, token, sealed), 0);
    assert_int_equal(privacy_token_seal(k, USER, PHONE, token, twice), 0);
    assert_memory_not_equal(sealed, twice, sizeof(sealed));
    assert_int_equal(privacy_token_open(k, USER, PHONE, s, out), 0);
    assert_memory_equal(out, "tok", 3);
    assert_int_equal(privacy_token_open(k, USER, SLICE_LIT("pad"), s, out), -EACCES);
    assert_int_equal(privacy_token_open(k, SLICE_LIT("annap"), SLICE_LIT("hone"), s, out), -EACCES);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 1;
        assert_int_equal(privacy_token_open(k, USER, PHONE, s, out), -EACCES);
        sealed[i] ^= 1;
        assert_int_equal(privacy_token_open(k, USER, PHONE, slice_sub(s, 0, i), out), -EACCES);
    }
}

static void test_purposes_and_secrets_are_apart(void **state)
{
    struct privacy_keys *other = privacy_keys_new(SLICE_LIT("another secret"));
    uint8_t a[32], b[32];

    (void)state;
    privacy_subject(k, USER, a);
    privacy_token_hash(k, USER, b);
    assert_memory_not_equal(a, b, 32);
    privacy_subject(other, USER, b);
    assert_memory_not_equal(a, b, 32);
    privacy_subject(k, USER, b);
    assert_memory_equal(a, b, 32);
    privacy_keys_check(k, a);
    privacy_keys_check(other, b);
    assert_memory_not_equal(a, b, 32);
    privacy_keys_free(other);
}

static void test_no_part_of_an_audit_record_can_move_into_another(void **state)
{
    const struct privacy_audit one = {1, 2, SLICE_LIT("ab"), SLICE_LIT("c"), {0}, {0}};
    const struct privacy_audit two = {1, 2, SLICE_LIT("a"), SLICE_LIT("bc"), {0}, {0}};
    uint8_t a[32], b[32];

    (void)state;
    assert_int_equal(privacy_audit_hash(k, &one, a), 0);
    assert_int_equal(privacy_audit_hash(k, &two, b), 0);
    assert_memory_not_equal(a, b, 32);
}

static void test_the_list_of_the_erased_is_read_back(void **state)
{
    uint8_t text[3 * PRIVACY_ERASED_LINE], subject[32], got[32];
    struct wr w = wr_init(text, sizeof(text));
    uint64_t at;

    (void)state;
    privacy_subject(k, USER, subject);
    privacy_erased_write(k, &w, subject, 0);
    privacy_erased_write(k, &w, subject, INT64_MAX);
    struct slice rest = wr_done(&w), whole = rest;
    assert_true(rest.len > 0);
    assert_int_equal(privacy_erased_read(k, &rest, got, &at), 0);
    assert_memory_equal(got, subject, 32);
    assert_int_equal(at, 0);
    assert_int_equal(privacy_erased_read(k, &rest, got, &at), 0);
    assert_true(at == INT64_MAX);
    assert_int_equal(privacy_erased_read(k, &rest, got, &at), -ENODATA);
    for (size_t n = 1; n < whole.len; n++) { /* every cut is seen as one */
        rest = slice_sub(whole, 0, n);
        int rc;
        while ((rc = privacy_erased_read(k, &rest, got, &at)) == 0)
            ;
        assert_true(rc == -EAGAIN || rc == -ENODATA);
    }
    for (size_t i = 0; i < whole.len; i++) { /* and every change as a change */
        text[i] ^= 0x02;
        rest = whole;
        int rc, n = 0;
        while ((rc = privacy_erased_read(k, &rest, got, &at)) == 0)
            n++;
        assert_true(rc == -EBADMSG || (rc == -EAGAIN && n < 2));
        text[i] ^= 0x02;
    }
}

static void test_oom_gives_no_keys(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        mem_fail_after(i);
        assert_null(privacy_keys_new(SECRET));
        mem_fail_never();
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_token_opens_for_its_device_only),
        T(test_purposes_and_secrets_are_apart),
        T(test_no_part_of_an_audit_record_can_move_into_another),
        T(test_the_list_of_the_erased_is_read_back),
        T(test_oom_gives_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

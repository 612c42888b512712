/* Tests of base/mem: the fault switch and the live count.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_live_counts_each_object_once(void **state)
{
    (void)state;
    uint64_t live = mem_live();
    void *a = mem_zalloc(10), *b = mem_calloc(0, 8), *c = mem_realloc(NULL, 0);

    assert_true(a && b && c);
    assert_int_equal(mem_live(), live + 3);
    c = mem_realloc(c, 1000);
    assert_int_equal(mem_live(), live + 3);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(NULL);
    assert_int_equal(mem_live(), live);
}

static void test_memory_is_zeroed_and_products_are_checked(void **state)
{
    (void)state;
    uint8_t *p = mem_zalloc(100);

    for (size_t i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    mem_free(p);
    volatile size_t many = SIZE_MAX / 2;
    assert_null(mem_calloc(many, 3));
}

static void test_strndup_ends_with_nul(void **state)
{
    (void)state;
    char *s = mem_strndup(slice_sub(SLICE_LIT("hello"), 0, 4));

    assert_string_equal(s, "hell");
    mem_free(s);
    s = mem_strndup((struct slice){0});
    assert_string_equal(s, "");
    mem_free(s);
}

static void test_switch_fails_exactly_the_nth(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 5; n++) {
        mem_fail_after(n);
        assert_false(mem_failed());
        for (uint64_t i = 0; i < 8; i++) {
            void *p = mem_zalloc(1);
            assert_int_equal(p == NULL, i == n);
            assert_int_equal(mem_failed(), i >= n);
            mem_free(p);
        }
    }
    mem_fail_after(0);
    mem_fail_never();
    void *p = mem_realloc(NULL, 1);
    assert_non_null(p);
    mem_fail_after(0);
    assert_null(mem_realloc(p, 100)); /* p stays */
    mem_fail_never();
    mem_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live_counts_each_object_once),
        cmocka_unit_test(test_memory_is_zeroed_and_products_are_checked),
        cmocka_unit_test(test_strndup_ends_with_nul),
        cmocka_unit_test(test_switch_fails_exactly_the_nth),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}

/* perm.c: five minutes to the microsecond, any port, bounded.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/perm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "base/mem.h"

static struct addr peer(unsigned n)
{
    return (struct addr){.ip = {8, 8, (uint8_t)(n >> 8), (uint8_t)n}, .port = 9, .family = ADDR_V4};
}

static int add(struct perm_table *t, unsigned n, uint64_t now_us)
{
    struct addr a = peer(n);
    int err = perm_reserve(t, 1, now_us);

    if (!err)
        perm_install(t, &a, now_us);
    return err;
}

static void test_permission_lasts_five_minutes_for_any_port(void **state)
{
    struct perm_table t = {0};
    struct addr a = peer(1), other_port = addr_with_port(a, 1), b = peer(2);

    (void)state;
    assert_false(perm_allows(&t, &a, 0));
    assert_int_equal(add(&t, 1, 1000), 0);
    assert_true(perm_allows(&t, &other_port, 1000));
    assert_false(perm_allows(&t, &b, 1000));
    assert_true(perm_allows(&t, &a, 1000 + PERM_LIFETIME_US - 1));
    assert_false(perm_allows(&t, &a, 1000 + PERM_LIFETIME_US));
    perm_fini(&t);
}

static void test_refresh_extends_and_takes_no_room(void **state)
{
    struct perm_table t = {0};
    struct addr a = peer(1);

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(add(&t, 1, i * US_PER_S), 0);
    assert_int_equal(t._n, 1);
    assert_true(perm_allows(&t, &a, 9 * US_PER_S + PERM_LIFETIME_US - 1));
    perm_fini(&t);
}

static void test_table_is_bounded_and_the_expired_make_room(void **state)
{
    struct perm_table t = {0};

    (void)state;
    for (unsigned i = 0; i < PERM_MAX; i++)
        assert_int_equal(add(&t, i, i), 0);
    assert_int_equal(add(&t, PERM_MAX, PERM_LIFETIME_US - 1), -ENOSPC);
    assert_int_equal(add(&t, PERM_MAX, PERM_LIFETIME_US), 0);
    assert_int_equal(perm_reserve(&t, 2, PERM_LIFETIME_US), -ENOSPC);
    assert_int_equal(perm_reserve(&t, PERM_MAX + 1, 10 * PERM_LIFETIME_US), -ENOSPC);
    assert_int_equal(perm_reserve(&t, PERM_MAX, 10 * PERM_LIFETIME_US), 0);
    perm_fini(&t);
}

static void test_oom_reserve_changes_nothing(void **state)
{
    struct perm_table t = {0};
    struct addr a = peer(0);

    (void)state;
    uint64_t before = mem_live();
    assert_int_equal(add(&t, 0, 0), 0);
    assert_int_equal(add(&t, 1, 0), 0);
    mem_fail_after(0);
    assert_int_equal(perm_reserve(&t, 10, 0), -ENOMEM);
    mem_fail_never();
    assert_true(perm_allows(&t, &a, 0));
    assert_int_equal(t._n, 2);
    perm_fini(&t);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permission_lasts_five_minutes_for_any_port),
        cmocka_unit_test(test_refresh_extends_and_takes_no_room),
        cmocka_unit_test(test_table_is_bounded_and_the_expired_make_room),
        cmocka_unit_test(test_oom_reserve_changes_nothing),
    };

    return cmocka_run_group_tests_name("perm", tests, NULL, NULL);
}

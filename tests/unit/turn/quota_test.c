/* quota.c: limits per account and in total, accounts that hold nothing cost nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "base/mem.h"

static struct quota *one_realm(uint64_t per_account, uint64_t total)
{
    const struct quota_rule rule = {.per_account = per_account};

    return quota_new(&rule, 1, total);
}

static void test_realms_count_for_themselves_and_for_the_whole(void **state)
{
    const struct quota_rule rules[] = {{.per_account = 2}, {.per_account = 3, .total = 4}};
    struct quota *q = quota_new(rules, 2, 6);

    (void)state;
    assert_int_equal(quota_take(q, 1, 1, 3), 0);
    assert_int_equal(quota_take(q, 1, 1, 1), -EDQUOT);
    assert_int_equal(quota_take(q, 1, 2, 2), -ENOSPC); /* the realm's total */
    assert_int_equal(quota_take(q, 1, 2, 1), 0);
    assert_int_equal(quota_take(q, 0, 3, 2), 0);       /* not the realm's matter */
    assert_int_equal(quota_take(q, 0, 4, 1), -ENOSPC); /* of all */
    assert_int_equal(quota_in_use_of(q, 0), 2);
    assert_int_equal(quota_in_use_of(q, 1), 4);
    quota_give(q, 1, 1);
    assert_int_equal(quota_in_use_of(q, 1), 3);
    assert_int_equal(quota_in_use(q), 5);
    assert_int_equal(quota_rule_of(q, 1)->total, 4);
    quota_free(q);
}

static void test_limits_hold_to_the_unit(void **state)
{
    struct quota *q = one_realm(3, 5);

    (void)state;
    assert_int_equal(quota_take(q, 0, 1, 2), 0);
    assert_int_equal(quota_take(q, 0, 1, 2), -EDQUOT);
    assert_int_equal(quota_take(q, 0, 1, 1), 0);
    assert_int_equal(quota_take(q, 0, 1, 1), -EDQUOT);
    assert_int_equal(quota_take(q, 0, 2, 2), 0);
    assert_int_equal(quota_take(q, 0, 2, 1), -ENOSPC);
    assert_int_equal(quota_take(q, 0, 3, 1), -ENOSPC);
    assert_int_equal(quota_in_use(q), 5);
    assert_int_equal(quota_held(q, 1), 3);
    assert_int_equal(quota_held(q, 3), 0);
    quota_give(q, 1, 1);
    assert_int_equal(quota_take(q, 0, 3, 2), -ENOSPC);
    assert_int_equal(quota_take(q, 0, 3, 1), 0);
    quota_free(q);
}

static void test_zero_means_no_limit(void **state)
{
    struct quota *q = one_realm(0, 0);

    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(quota_take(q, 0, i % 7, 1), 0);
    assert_int_equal(quota_in_use(q), 10000);
    quota_free(q);
}

static void test_oom_accounts_live_only_while_they_hold(void **state)
{
    uint64_t before = mem_live();
    struct quota *q = one_realm(0, 0);
    uint64_t empty = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_int_equal(quota_take(q, 0, 1, 1), -ENOMEM);
    mem_fail_never();
    assert_int_equal(quota_in_use(q), 0);
    assert_int_equal(quota_take(q, 0, 1, 2), 0);
    quota_give(q, 1, 1);
    quota_give(q, 1, 1);
    assert_int_equal(mem_live(), empty);
    assert_int_equal(quota_take(q, 0, 1, 1), 0);
    quota_free(q);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_realms_count_for_themselves_and_for_the_whole),
        cmocka_unit_test(test_limits_hold_to_the_unit),
        cmocka_unit_test(test_zero_means_no_limit),
        cmocka_unit_test(test_oom_accounts_live_only_while_they_hold),
    };

    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}

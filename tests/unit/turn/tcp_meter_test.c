/* tcp_meter.c: limits make TCP wait and hold over all connections; nothing after the end.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/tcp_meter.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define T0 (1000 * US_PER_S)

static struct quota *quota_of(uint64_t account)
{
    const struct quota_rule none = {0};
    struct quota *q = quota_new(&none, 1, 0);

    assert_int_equal(quota_take(q, 0, account, 1), 0);
    return q;
}

static void test_without_limits_all_is_granted(void **state)
{
    const struct throttle_rules rules = {0};
    struct tcp_meter *m = tcp_meter_new(&rules, NULL, NULL, 1);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(tcp_meter_take(m, 1 << 20, T0), 1 << 20);
    tcp_meter_end(m);
    assert_int_equal(tcp_meter_take(m, 1, T0), 0);
    tcp_meter_unref(m);
}

/* Asked as fast as one likes, a limit is used up and kept. */
static void test_limits_are_kept_and_used(void **state)
{
    static const uint64_t rates[] = {1000, 64000, 1000000, 50000000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        for (unsigned user = 0; user < 2; user++) {
            struct throttle_rules rules = {0};
            struct bucket_rule limit = throttle_rule_bytes(rates[i]);
            if (!user)
                rules.bandwidth = limit;
            struct quota *q = quota_of(5);
            struct tcp_meter *m = tcp_meter_new(&rules, user ? &limit : NULL, q, 5);
            uint64_t got = 0;
            for (uint64_t t = 0; t < 10 * US_PER_S; t += US_PER_MS) {
                for (size_t n; (n = tcp_meter_take(m, 65536, T0 + t)) > 0;)
                    got += n;
            }
            /* The burst of a second, and ten. */
            assert_in_range(got, rates[i] * 10, rates[i] * 11 + 200);
            tcp_meter_end(m);
            quota_give(q, 5, 1); /* the account is gone: it must not be asked any more */
            assert_int_equal(tcp_meter_take(m, 1, T0 + 100 * US_PER_S), 0);
            tcp_meter_unref(m);
            quota_free(q);
        }
    }
}

static void test_counts(void **state)
{
    const struct throttle_rules rules = {0};
    struct tcp_meter *m = tcp_meter_ref(tcp_meter_new(&rules, NULL, NULL, 1));
    uint64_t up, down;

    (void)state;
    tcp_meter_count(m, 5, 0);
    tcp_meter_unref(m);
    tcp_meter_count(m, 2, 9);
    tcp_meter_sums(m, &up, &down);
    assert_int_equal(up, 7);
    assert_int_equal(down, 9);
    assert_false(tcp_meter_ended(m));
    tcp_meter_unref(m);
    tcp_meter_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_limits_all_is_granted),
        cmocka_unit_test(test_limits_are_kept_and_used),
        cmocka_unit_test(test_counts),
    };

    return cmocka_run_group_tests_name("tcp_meter", tests, NULL, NULL);
}

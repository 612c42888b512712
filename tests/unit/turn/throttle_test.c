/* throttle.c: rates hold per allocation and, over all allocations, per user.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0 (1000 * US_PER_S)

static struct quota *quota_of(uint64_t account, unsigned n)
{
    const struct quota_rule rule = {0};
    struct quota *q = quota_new(&rule, 1, 0);

    assert_int_equal(quota_take(q, 0, account, n), 0);
    return q;
}

/* Bytes of 640 B packets that pass in a time, one offered each `every_us` on each allocation. */
static uint64_t carried(struct throttle *t, size_t n, const struct throttle_rules *rules,
                        struct quota *q, uint64_t account, uint64_t from_us, uint64_t for_us,
                        uint64_t every_us)
{
    uint64_t bytes = 0;

    for (uint64_t now_us = from_us; now_us < from_us + for_us; now_us += every_us) {
        for (size_t i = 0; i < n; i++)
            bytes +=
                throttle_packet(&t[i], rules, q, account, 640, now_us) == THROTTLE_PASS ? 640 : 0;
    }
    return bytes;
}

static void test_no_rules_let_everything_pass(void **state)
{
    const struct throttle_rules rules = {0};
    struct throttle t = {0};

    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(throttle_packet(&t, &rules, NULL, 1, 65535, T0), THROTTLE_PASS);
    assert_true(throttle_peers(&t, &rules, 1000, T0));
}

static void test_packets_are_limited_whatever_their_size(void **state)
{
    const struct throttle_rules rules = {.packets = {100000, 100}};
    struct throttle t = {0};
    unsigned passed = 0;

    (void)state;
    for (unsigned i = 0; i < 2000; i++) /* one second */
        passed += throttle_packet(&t, &rules, NULL, 1, i % 2, T0 + i * 500) == THROTTLE_PASS;
    assert_in_range(passed, 198, 200);
    assert_int_equal(throttle_packet(&t, &rules, NULL, 1, 0, T0 + US_PER_S), THROTTLE_PASS);
    assert_int_equal(throttle_packet(&t, &rules, NULL, 1, 0, T0 + US_PER_S), THROTTLE_PACKETS);
}

static void test_users_bytes_are_limited_over_all_their_allocations(void **state)
{
    const struct throttle_rules rules = {0};
    const struct bucket_rule user = throttle_rule_bytes(1000000);
    struct throttle t[4] = {{.user = &user}, {.user = &user}, {.user = &user}, {.user = &user}},
                    other = {.user = &user};
    struct quota *q = quota_of(7, 4);

    (void)state;
    assert_int_equal(quota_take(q, 0, 8, 1), 0);
    /* 10 MB/s offered for 5 s: the burst of a second, then the rate, less what leases hold. */
    uint64_t got = carried(t, 4, &rules, q, 7, T0, 5 * US_PER_S, 256);
    assert_in_range(got, 5600000, 6000064);
    assert_int_equal(throttle_packet(&other, &rules, q, 8, 640, T0 + 5 * US_PER_S), THROTTLE_PASS);
    got = carried(t, 4, &rules, q, 7, T0 + 60 * US_PER_S, US_PER_S, 256);
    assert_in_range(got, 1800000, 2300000);
    quota_free(q);
}

static void test_slow_users_are_never_refused(void **state)
{
    const struct throttle_rules rules = {0};
    const struct bucket_rule user = throttle_rule_bytes(1000000);
    struct throttle t[4] = {{.user = &user}, {.user = &user}, {.user = &user}, {.user = &user}};
    struct quota *q = quota_of(7, 4);

    (void)state;
    uint64_t got = carried(t, 4, &rules, q, 7, T0, 10 * US_PER_S, 3200); /* 800 kB/s */
    assert_int_equal(got, 4 * 640 * (10 * US_PER_S / 3200));
    quota_free(q);
}

static void test_packet_larger_than_the_limit_never_passes(void **state)
{
    const struct throttle_rules rules = {0};
    const struct bucket_rule user = throttle_rule_bytes(640);
    struct throttle t = {.user = &user};
    struct quota *q = quota_of(7, 1);

    (void)state;
    assert_int_equal(throttle_packet(&t, &rules, q, 7, 641, T0), THROTTLE_USER);
    assert_int_equal(throttle_packet(&t, &rules, q, 7, 640, T0 + US_PER_S), THROTTLE_PASS);
    assert_int_equal(throttle_packet(&t, &rules, q, 7, 1, T0 + US_PER_S), THROTTLE_USER);
    quota_free(q);
}

static void test_new_peers_are_limited(void **state)
{
    const struct throttle_rules rules = {.peers = {1000, 3}};
    struct throttle t = {0};

    (void)state;
    assert_true(throttle_peers(&t, &rules, 3, T0));
    assert_true(throttle_peers(&t, &rules, 0, T0));
    assert_false(throttle_peers(&t, &rules, 1, T0));
    assert_true(throttle_peers(&t, &rules, 1, T0 + US_PER_S));
    assert_false(throttle_peers(&t, &rules, 4, T0 + 100 * US_PER_S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_rules_let_everything_pass),
        cmocka_unit_test(test_packets_are_limited_whatever_their_size),
        cmocka_unit_test(test_users_bytes_are_limited_over_all_their_allocations),
        cmocka_unit_test(test_slow_users_are_never_refused),
        cmocka_unit_test(test_packet_larger_than_the_limit_never_passes),
        cmocka_unit_test(test_new_peers_are_limited),
    };

    return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}

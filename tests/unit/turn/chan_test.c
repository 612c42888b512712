/* chan.c: number and peer bound to each other, ten minutes, open only with a permission.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/chan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "base/mem.h"

#define NEVER UINT64_MAX

static struct addr peer(uint16_t port)
{
    return (struct addr){.ip = {8, 8, 8, 8}, .port = port, .family = ADDR_V4};
}

static int bind(struct chan_table *t, uint16_t number, uint16_t port, uint64_t now_us)
{
    struct addr a = peer(port);

    return chan_bind(t, number, &a, NULL, now_us);
}

static void test_channel_opens_with_its_permission(void **state)
{
    struct chan_table t = {0};
    struct addr a = peer(1), any_port = peer(77);

    (void)state;
    assert_int_equal(bind(&t, 0x4000, 1, 0), 0);
    assert_null(chan_by_number(&t, 0x4000, 0));
    assert_null(chan_by_peer(&t, &a, 0));
    chan_permit(&t, &any_port, 100);
    assert_non_null(chan_by_number(&t, 0x4000, 99));
    assert_non_null(chan_by_peer(&t, &a, 99));
    assert_null(chan_by_peer(&t, &any_port, 99));
    assert_null(chan_by_number(&t, 0x4001, 99));
    assert_null(chan_by_number(&t, 0x4000, 100));
    chan_fini(&t);
}

static void test_rebind_same_peer_extends_lifetime(void **state)
{
    struct chan_table t = {0};
    struct addr a = peer(1);

    (void)state;
    assert_int_equal(bind(&t, 0x4000, 1, 0), 0);
    chan_permit(&t, &a, NEVER);
    assert_non_null(chan_by_number(&t, 0x4000, CHAN_LIFETIME_US - 1));
    assert_int_equal(bind(&t, 0x4000, 1, CHAN_LIFETIME_US - 1), 0);
    assert_non_null(chan_by_number(&t, 0x4000, 2 * CHAN_LIFETIME_US - 2));
    assert_null(chan_by_number(&t, 0x4000, 2 * CHAN_LIFETIME_US - 1));
    assert_int_equal(t._n, 1);
    chan_fini(&t);
}

static void test_bound_number_or_peer_is_refused_until_it_expires(void **state)
{
    struct chan_table t = {0};

    (void)state;
    assert_int_equal(bind(&t, 0x4000, 1, 0), 0);
    assert_int_equal(bind(&t, 0x4000, 2, 0), -EPROTO);
    assert_int_equal(bind(&t, 0x4001, 1, 0), -EPROTO);
    assert_int_equal(bind(&t, 0x4001, 1, CHAN_LIFETIME_US - 1), -EPROTO);
    assert_int_equal(bind(&t, 0x4001, 1, CHAN_LIFETIME_US), 0);
    assert_int_equal(bind(&t, 0x4000, 2, CHAN_LIFETIME_US), 0);
    chan_fini(&t);
}

static void test_table_is_bounded_and_every_entry_is_found(void **state)
{
    struct chan_table t = {0};
    struct addr a = peer(0);

    (void)state;
    for (uint16_t i = 0; i < CHAN_MAX; i++)
        assert_int_equal(bind(&t, (uint16_t)(0x4000 + i), i, 0), 0);
    assert_int_equal(bind(&t, 0x7000, 7000, 0), -ENOSPC);
    chan_permit(&t, &a, NEVER);
    for (uint16_t k = 0; k < CHAN_MAX; k++) {
        uint16_t i = (uint16_t)(k * 37 % CHAN_MAX);
        a = peer(i);
        assert_int_equal(chan_by_peer(&t, &a, 1)->number, 0x4000 + i);
        assert_int_equal(chan_by_number(&t, (uint16_t)(0x4000 + i), 1)->peer.port, i);
    }
    assert_int_equal(bind(&t, 0x7000, 7000, CHAN_LIFETIME_US), 0);
    assert_int_equal(t._n, 1);
    a = peer(7000);
    chan_permit(&t, &a, NEVER);
    assert_non_null(chan_by_number(&t, 0x7000, CHAN_LIFETIME_US)); /* the hints were beyond it */
    assert_non_null(chan_by_peer(&t, &a, CHAN_LIFETIME_US));
    chan_fini(&t);
}

static void test_oom_bind_changes_nothing(void **state)
{
    struct chan_table t = {0};

    (void)state;
    uint64_t before = mem_live();
    mem_fail_after(0);
    assert_int_equal(bind(&t, 0x4000, 1, 0), -ENOMEM);
    mem_fail_never();
    assert_int_equal(t._n, 0);
    assert_int_equal(bind(&t, 0x4000, 1, 0), 0);
    mem_fail_after(0);
    assert_int_equal(bind(&t, 0x4001, 2, 0), -ENOMEM);
    mem_fail_never();
    assert_int_equal(t._n, 1);
    chan_fini(&t);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_opens_with_its_permission),
        cmocka_unit_test(test_rebind_same_peer_extends_lifetime),
        cmocka_unit_test(test_bound_number_or_peer_is_refused_until_it_expires),
        cmocka_unit_test(test_table_is_bounded_and_every_entry_is_found),
        cmocka_unit_test(test_oom_bind_changes_nothing),
    };

    return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}

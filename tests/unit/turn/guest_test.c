/* guest.c: who is somewhere else's client, for how long, and how many.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define T0 (1000 * US_PER_S)

static struct five_tuple from(unsigned n)
{
    struct five_tuple t = {.client = {.ip = {203, 0, (uint8_t)(n >> 16), 7}, .family = ADDR_V4}};

    t.client.port = (uint16_t)n;
    return t;
}

static void test_guests_are_found_until_their_time_is_over(void **state)
{
    struct guests t;
    struct five_tuple a = from(1), b = from(2);
    int link;

    (void)state;
    assert_int_equal(guests_init(&t, T0), 0);
    assert_null(guest_find(&t, &a));
    assert_int_equal(guest_add(&t, &a, 3, &link, T0 + 10 * US_PER_S), 0);
    assert_int_equal(guest_add(&t, &b, 4, NULL, T0 + 10 * US_PER_S), 0);
    assert_int_equal(guest_find(&t, &a)->owner, 3);
    assert_ptr_equal(guest_find(&t, &a)->link, &link);
    assert_int_equal(guest_add(&t, &a, 5, NULL, T0 + 10 * US_PER_S), 0); /* moved again */
    assert_int_equal(guest_find(&t, &a)->owner, 5);
    assert_int_equal(guests_count(&t), 2);
    guest_extend(&t, guest_find(&t, &b), T0 + 20 * US_PER_S);
    guests_tick(&t, T0 + 11 * US_PER_S);
    assert_null(guest_find(&t, &a));
    assert_non_null(guest_find(&t, &b));
    assert_true(guests_deadline(&t) <= T0 + 21 * US_PER_S);
    guest_del(&t, guest_find(&t, &b));
    guest_del(&t, NULL);
    assert_int_equal(guests_count(&t), 0);
    guests_fini(&t);
}

static void test_guests_are_bounded(void **state)
{
    struct guests t;

    (void)state;
    assert_int_equal(guests_init(&t, T0), 0);
    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        struct five_tuple g = from(i);
        assert_int_equal(guest_add(&t, &g, 0, NULL, T0 + US_PER_S), 0);
    }
    struct five_tuple last = from(GUESTS_MAX), first = from(0);
    assert_int_equal(guest_add(&t, &last, 0, NULL, T0 + US_PER_S), -ENOSPC);
    assert_int_equal(guest_add(&t, &first, 1, NULL, T0 + US_PER_S), 0); /* is one already */
    guests_fini(&t);
    assert_int_equal(mem_live(), 0);
}

static void test_oom_init_and_add(void **state)
{
    struct guests t;
    struct five_tuple a = from(1);

    (void)state;
    for (uint64_t n = 0; n < 3; n++) {
        mem_fail_after(n);
        bool made = guests_init(&t, T0) == 0;
        if (made)
            assert_int_equal(guest_add(&t, &a, 0, NULL, T0), -ENOMEM);
        mem_fail_never();
        if (made)
            assert_int_equal(guests_count(&t), 0);
        guests_fini(&t);
        assert_int_equal(mem_live(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guests_are_found_until_their_time_is_over),
        cmocka_unit_test(test_guests_are_bounded),
        cmocka_unit_test(test_oom_init_and_add),
    };

    return cmocka_run_group_tests_name("guest", tests, NULL, NULL);
}

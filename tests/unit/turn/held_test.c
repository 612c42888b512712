/* held.c: requests are kept for their user, in order, within bounds, and not longer than told.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/held.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct five_tuple one = {.listener = 1}, two = {.listener = 2};
static const struct slice ann = SLICE_LIT("ann"), bob = SLICE_LIT("bob");

static void test_each_waits_for_its_user(void **state)
{
    struct held_list l = {.max = 4};
    int link;

    (void)state;
    assert_null(held_take(&l, 0, ann));
    assert_int_equal(held_add(&l, &one, &link, 0, ann, SLICE_LIT("first"), 5), 0);
    assert_int_equal(held_add(&l, &two, NULL, 0, bob, SLICE_LIT("other"), 5), 0);
    assert_int_equal(held_add(&l, &one, NULL, 1, ann, SLICE_LIT("realm"), 5), 0);
    assert_int_equal(held_add(&l, &two, NULL, 0, ann, SLICE_LIT("second"), 5), 0);
    struct held *h = held_take(&l, 0, ann);
    assert_true(h && slice_is(held_message(h), "first") && h->link == &link);
    held_free(h);
    h = held_take(&l, 0, ann);
    assert_true(h && slice_is(held_message(h), "second"));
    held_free(h);
    assert_null(held_take(&l, 0, ann));
    assert_int_equal(l.n, 2);
    held_fini(&l);
    assert_int_equal(l.n, 0);
}

static void test_number_and_size_are_bounded(void **state)
{
    static const uint8_t bytes[HELD_BYTES_MAX + 1];
    struct held_list l = {.max = 1}, none = {.max = 0};

    (void)state;
    assert_int_equal(held_add(&none, &one, NULL, 0, ann, SLICE_LIT("request"), 5), -ENOSPC);
    assert_int_equal(held_add(&l, &one, NULL, 0, ann, slice_of(bytes, sizeof(bytes)), 5), -ENOSPC);
    assert_int_equal(held_add(&l, &one, NULL, 0, ann, slice_of(bytes, HELD_BYTES_MAX), 5), 0);
    assert_int_equal(held_add(&l, &one, NULL, 0, ann, SLICE_LIT("request"), 5), -ENOSPC);
    held_fini(&l);
}

/* Nobody takes the places of all others. */
static void test_one_client_has_few_places(void **state)
{
    struct held_list l = {.max = 64};

    (void)state;
    for (unsigned i = 0; i < HELD_PER_CLIENT; i++)
        assert_int_equal(held_add(&l, &one, NULL, 0, ann, SLICE_LIT("request"), 5), 0);
    assert_int_equal(held_add(&l, &one, NULL, 0, bob, SLICE_LIT("request"), 5), -ENOSPC);
    assert_int_equal(held_add(&l, &two, NULL, 0, ann, SLICE_LIT("request"), 5), 0);
    held_free(held_take(&l, 0, ann));
    assert_int_equal(held_add(&l, &one, NULL, 0, bob, SLICE_LIT("request"), 5), 0);
    held_fini(&l);
}

static void test_none_outlives_its_connection_or_its_time(void **state)
{
    uint64_t before = mem_live();
    struct held_list l = {.max = 4};

    (void)state;
    held_add(&l, &one, NULL, 0, ann, SLICE_LIT("request"), 9);
    held_add(&l, &two, NULL, 0, ann, SLICE_LIT("request"), 7);
    held_add(&l, &one, NULL, 0, bob, SLICE_LIT("request"), 5);
    held_drop(&l, &one);
    assert_int_equal(l.n, 1);
    assert_null(held_take_expired(&l, 6));
    struct held *h = held_take_expired(&l, 7);
    assert_true(h && five_tuple_eq(&h->from, &two));
    held_free(h);
    assert_null(held_take_expired(&l, 99));
    assert_int_equal(mem_live(), before);
}

static void test_oom_holds_nothing(void **state)
{
    struct held_list l = {.max = 4};

    (void)state;
    mem_fail_after(0);
    assert_int_equal(held_add(&l, &one, NULL, 0, ann, SLICE_LIT("request"), 5), -ENOMEM);
    mem_fail_never();
    assert_int_equal(l.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_waits_for_its_user),
        cmocka_unit_test(test_number_and_size_are_bounded),
        cmocka_unit_test(test_one_client_has_few_places),
        cmocka_unit_test(test_none_outlives_its_connection_or_its_time),
        cmocka_unit_test(test_oom_holds_nothing),
    };

    return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}

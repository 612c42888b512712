/* alloc.c: the table finds by whole 5-tuple, expires by deadline, walks while entries end.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/alloc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

static struct five_tuple client(uint16_t port)
{
    return (struct five_tuple){.client = {.ip = {203, 0, 113, 7}, .port = port, .family = ADDR_V4}};
}

static struct alloc *add(struct alloc_table *t, uint16_t port, uint32_t lifetime_s, uint64_t now_us)
{
    struct five_tuple c = client(port);
    struct alloc *a = alloc_new(&c, SLICE_LIT("ann"), now_us);

    assert_non_null(a);
    alloc_add(t, a);
    alloc_refresh(t, a, lifetime_s, now_us);
    return a;
}

static void end(struct alloc_table *t, struct alloc *a)
{
    alloc_del(t, a);
    alloc_free(a);
}

static void test_every_part_of_the_tuple_counts(void **state)
{
    struct alloc_table t;
    struct five_tuple c = client(1), other;

    (void)state;
    assert_int_equal(alloc_table_init(&t, 0), 0);
    struct alloc *a = add(&t, 1, 600, 0);
    assert_ptr_equal(alloc_find(&t, &c), a);
    assert_true(slice_is(alloc_user(a), "ann"));
    other = c;
    other.client.port = 2;
    assert_null(alloc_find(&t, &other));
    other = c;
    other.client.ip[3]++;
    assert_null(alloc_find(&t, &other));
    other = c;
    other.listener = 1;
    assert_null(alloc_find(&t, &other));
    other = c;
    other.transport = FIVE_TUPLE_TCP;
    assert_null(alloc_find(&t, &other));
    end(&t, a);
    assert_null(alloc_find(&t, &c));
    alloc_table_fini(&t);
}

static void test_allocations_expire_in_order_of_their_deadlines(void **state)
{
    struct alloc_table t;

    (void)state;
    assert_int_equal(alloc_table_init(&t, 0), 0);
    assert_int_equal(alloc_deadline(&t), CLOCK_NEVER);
    struct alloc *a = add(&t, 1, 100, 0), *b = add(&t, 2, 200, 0);
    assert_true(alloc_deadline(&t) <= 100 * US_PER_S + US_PER_MS);
    assert_null(alloc_expired(&t, 100 * US_PER_S - 1));
    alloc_refresh(&t, a, 300, 100 * US_PER_S - 1);
    assert_null(alloc_expired(&t, 199 * US_PER_S));
    assert_ptr_equal(alloc_expired(&t, 201 * US_PER_S), b);
    end(&t, b);
    assert_null(alloc_expired(&t, 399 * US_PER_S));
    assert_ptr_equal(alloc_expired(&t, 401 * US_PER_S), a);
    end(&t, a);
    alloc_table_fini(&t);
}

static void test_walk_meets_each_while_they_end(void **state)
{
    struct alloc_table t;
    size_t pos = 0;
    unsigned met = 0;
    struct hnode *saved = NULL;
    struct alloc *a;

    (void)state;
    assert_int_equal(alloc_table_init(&t, 0), 0);
    for (uint16_t i = 0; i < 1000; i++)
        add(&t, i, 600, 0);
    assert_int_equal(alloc_table_count(&t), 1000);
    while ((a = alloc_table_walk(&t, &pos, &saved))) {
        end(&t, a);
        met++;
    }
    assert_int_equal(met, 1000);
    assert_int_equal(alloc_table_count(&t), 0);
    assert_int_equal(alloc_deadline(&t), CLOCK_NEVER);
    alloc_table_fini(&t);
}

static void test_allocation_is_small(void **state)
{
    (void)state;
    assert_true(
        sizeof(struct alloc) <=
        456); /* 1.5 kB with channel, permission and tables; media_quality.h has 1.3 kB more */
}

static void test_oom_table_is_whole_or_not_there(void **state)
{
    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        struct alloc_table t;
        mem_fail_after(n);
        int err = alloc_table_init(&t, 0);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(err, failed ? -ENOMEM : 0);
        if (!err)
            alloc_table_fini(&t);
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_of_the_tuple_counts),
        cmocka_unit_test(test_allocations_expire_in_order_of_their_deadlines),
        cmocka_unit_test(test_walk_meets_each_while_they_end),
        cmocka_unit_test(test_allocation_is_small),
        cmocka_unit_test(test_oom_table_is_whole_or_not_there),
    };

    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}

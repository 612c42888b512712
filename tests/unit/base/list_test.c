/* Tests of base/list: order, links that know whether they are linked, deletion while walking.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/list.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int id;
    struct list link;
};

static int first_id(const struct list *head)
{
    return CONTAINER_OF(list_first(head), struct item, link)->id;
}

static void test_order_and_linked_state(void **state)
{
    (void)state;
    struct list head;
    struct item a = {.id = 1}, b = {.id = 2}, c = {.id = 3};

    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_first(&head));
    assert_true(list_empty(&(struct list){0}));
    list_append(&head, &b.link);
    list_append(&head, &c.link);
    list_prepend(&head, &a.link);
    int want = 1;
    LIST_EACH(it, tmp, &head)
    assert_int_equal(CONTAINER_OF(it, struct item, link)->id, want++);
    assert_int_equal(want, 4);
    list_del(&a.link);
    assert_false(list_linked(&a.link));
    list_del(&a.link); /* harmless */
    assert_int_equal(first_id(&head), 2);
}

static void test_current_link_may_go_while_walking(void **state)
{
    (void)state;
    struct list head;
    struct item items[5] = {0};
    int seen = 0;

    list_init(&head);
    for (int i = 0; i < 5; i++)
        list_append(&head, &items[i].link);
    LIST_EACH(it, tmp, &head)
    {
        list_del(it);
        seen++;
    }
    assert_int_equal(seen, 5);
    assert_true(list_empty(&head));
    LIST_EACH(it, tmp, &(struct list){0})
    {
        fail();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_linked_state),
        cmocka_unit_test(test_current_link_may_go_while_walking),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}

/* Tests of base/htable: a model run, equal hashes, walking while deleting, no memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/htable.h"
#include "base/mem.h"
#include "base/rand.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

enum { ITEMS = 2000 };

struct item {
    struct hnode node;
    unsigned key;
    bool in;
};

static struct item items[ITEMS];

static struct item *find(const struct htable *t, unsigned key, uint64_t hash)
{
    for (struct hnode *n = htable_first(t, hash); n; n = htable_next(n)) {
        struct item *it = CONTAINER_OF(n, struct item, node);
        if (it->key == key)
            return it;
    }
    return NULL;
}

/* Few hash values: chains of equal hashes are long. */
static uint64_t weak_hash(unsigned key)
{
    return key % 64 * UINT64_C(0x9e3779b97f4a7c15);
}

static void test_table_agrees_with_a_model(void **state)
{
    (void)state;
    struct htable t;
    struct rand_src r;
    uint64_t live = mem_live();
    size_t count = 0;

    memset(items, 0, sizeof(items));
    rand_src_init(&r, 1);
    assert_int_equal(htable_init(&t, 0), 0);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned k = (unsigned)rand_src_below(&r, ITEMS);
        struct item *it = &items[k];
        assert_ptr_equal(find(&t, k, weak_hash(k)), it->in ? it : NULL);
        if (it->in) {
            htable_del(&t, &it->node);
            count--;
        } else {
            it->key = k;
            htable_add(&t, &it->node, weak_hash(k));
            count++;
        }
        it->in = !it->in;
        assert_int_equal(t.count, count);
    }
    htable_fini(&t);
    assert_int_equal(mem_live(), live);
}

static void test_walk_visits_each_once_while_deleting(void **state)
{
    (void)state;
    struct htable t;
    struct hnode *n, *saved = NULL;
    size_t pos = 0, seen = 0;

    memset(items, 0, sizeof(items));
    assert_int_equal(htable_init(&t, 10), 0);
    for (unsigned k = 0; k < ITEMS; k++)
        htable_add(&t, &items[k].node, weak_hash(k));
    while ((n = htable_walk(&t, &pos, &saved))) {
        struct item *it = CONTAINER_OF(n, struct item, node);
        assert_false(it->in);
        it->in = true;
        htable_del(&t, n);
        memset(n, 0xee, sizeof(*n)); /* as if freed */
        seen++;
    }
    assert_int_equal(seen, ITEMS);
    assert_int_equal(t.count, 0);
    htable_fini(&t);
}

static void test_zeroed_table_is_empty(void **state)
{
    (void)state;
    struct htable t = {0};
    struct hnode *saved = NULL;
    size_t pos = 0;

    assert_null(htable_first(&t, 1));
    assert_null(htable_walk(&t, &pos, &saved));
    htable_fini(&t);
    htable_fini(&t);
}

static void test_oom_init_fails_and_growth_only_slows(void **state)
{
    (void)state;
    struct htable t = {0};
    uint64_t live = mem_live();

    mem_fail_after(0);
    assert_int_equal(htable_init(&t, 100), -ENOMEM);
    assert_null(t._slots);
    memset(items, 0, sizeof(items));
    assert_int_equal(htable_init(&t, 0), 0);
    for (unsigned k = 0; k < ITEMS; k++) {
        mem_fail_after(0);
        items[k].key = k;
        htable_add(&t, &items[k].node, k);
    }
    mem_fail_never();
    for (unsigned k = 0; k < ITEMS; k++)
        assert_ptr_equal(find(&t, k, k), &items[k]);
    htable_fini(&t);
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_agrees_with_a_model),
        cmocka_unit_test(test_walk_visits_each_once_while_deleting),
        cmocka_unit_test(test_zeroed_table_is_empty),
        cmocka_unit_test(test_oom_init_fails_and_growth_only_slows),
    };
    return cmocka_run_group_tests_name("htable", tests, NULL, NULL);
}

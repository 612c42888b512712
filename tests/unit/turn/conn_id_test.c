/* conn_id.c: ids lead to their worker, once, for their user; all of it bounded.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/conn_id.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_id_leads_to_its_worker_once(void **state)
{
    struct conn_ids *c = conn_ids_new(2);
    uint32_t a, b;
    unsigned worker = 9;

    (void)state;
    assert_int_equal(conn_ids_add(c, 3, 77, &a), 0);
    assert_int_equal(conn_ids_claim(c, a, 77, &worker), -ENOENT); /* not established yet */
    conn_ids_open(c, a);
    assert_int_equal(conn_ids_claim(c, a, 78, &worker), -EACCES);
    assert_int_equal(worker, 9);
    assert_int_equal(conn_ids_claim(c, a, 77, &worker), 0);
    assert_int_equal(worker, 3);
    assert_int_equal(conn_ids_claim(c, a, 77, &worker), -ENOENT);
    assert_int_equal(conn_ids_add(c, 0, 77, &b), 0);
    assert_int_not_equal(a, b);
    conn_ids_del(c, a);
    assert_int_equal(conn_ids_claim(c, a, 77, &worker), -ENOENT);
    conn_ids_free(c);
    conn_ids_free(NULL);
}

static void test_ids_are_bounded(void **state)
{
    struct conn_ids *c = conn_ids_new(2);
    uint32_t id[3];

    (void)state;
    assert_int_equal(conn_ids_add(c, 0, 1, &id[0]), 0);
    assert_int_equal(conn_ids_add(c, 0, 1, &id[1]), 0);
    assert_int_equal(conn_ids_add(c, 0, 1, &id[2]), -ENOSPC);
    conn_ids_del(c, id[0]);
    assert_int_equal(conn_ids_add(c, 0, 1, &id[2]), 0);
    assert_int_equal(conn_ids_count(c), 2);
    conn_ids_free(c);
}

/* All 32 bits are used, and none twice: 4096 ids have a collision of their upper halves. */
static void test_ids_are_spread(void **state)
{
    struct conn_ids *c = conn_ids_new(4096);
    uint32_t ones = 0, zeros = 0, id;

    (void)state;
    for (unsigned i = 0; i < 4096; i++) {
        assert_int_equal(conn_ids_add(c, 0, 1, &id), 0);
        ones |= id;
        zeros |= ~id;
    }
    assert_int_equal(ones & zeros, UINT32_MAX);
    assert_int_equal(conn_ids_count(c), 4096);
    conn_ids_free(c);
}

static void test_oom_add(void **state)
{
    uint32_t id;

    (void)state;
    for (uint64_t n = 0; n < 3; n++) {
        mem_fail_after(n);
        struct conn_ids *c = conn_ids_new(2);
        if (c && conn_ids_add(c, 0, 1, &id) != 0)
            assert_int_equal(conn_ids_count(c), 0);
        mem_fail_never();
        conn_ids_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_leads_to_its_worker_once),
        cmocka_unit_test(test_ids_are_bounded),
        cmocka_unit_test(test_ids_are_spread),
        cmocka_unit_test(test_oom_add),
    };

    return cmocka_run_group_tests_name("conn_id", tests, NULL, NULL);
}

/* Tests of server/router_far_trace.c: where calls and devices went is known for a minute, bounded.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "server/router_far_priv.h"

static struct far far;
static struct router router;
static uint64_t live;

static const struct sig_call_id call = {{1}}, other = {{2}};

static int setup(void **state)
{
    (void)state;
    live = mem_live();
    memset(&far, 0, sizeof(far));
    memset(&router, 0, sizeof(router));
    router.far = &far;
    list_init(&far.traces);
    return htable_init(&far.traces_by_key, 0);
}

static int teardown(void **state)
{
    (void)state;
    far_traces_free(&far);
    return mem_live() == live ? 0 : -1;
}

static void test_the_last_place_counts(void **state)
{
    (void)state;
    assert_null(far_trace_of_call(&far, &call));
    far_trace_call(&router, &call, SLICE_LIT("b"), 0xb1);
    far_trace_call(&router, &other, SLICE_LIT("b"), 0xb1);
    far_trace_call(&router, &call, SLICE_LIT("node-c"), 0xc1);
    const struct far_trace *t = far_trace_of_call(&far, &call);
    assert_true(t && t->epoch == 0xc1 && slice_is(far_trace_node(t), "node-c"));
    assert_int_equal(far.traces_n, 2);
    far_trace_forget(&far, &call);
    far_trace_forget(&far, &call); /* once more does no harm */
    assert_null(far_trace_of_call(&far, &call));
    assert_non_null(far_trace_of_call(&far, &other));
}

static void test_devices_are_not_calls(void **state)
{
    (void)state;
    far_trace_device(&router, SLICE_LIT("bob"), SLICE_LIT("phone"), SLICE_LIT("b"), 0xb1);
    assert_non_null(far_trace_of_device(&far, SLICE_LIT("bob"), SLICE_LIT("phone")));
    assert_null(far_trace_of_device(&far, SLICE_LIT("bob"), SLICE_LIT("tablet")));
    assert_null(far_trace_of_device(&far, SLICE_LIT("phone"), SLICE_LIT("bob")));
    assert_null(far_trace_of_call(&far, &call));
}

static void test_after_a_minute_it_is_forgotten(void **state)
{
    (void)state;
    far_trace_call(&router, &call, SLICE_LIT("b"), 0xb1);
    router.now_us = 30 * US_PER_S;
    far_trace_call(&router, &other, SLICE_LIT("b"), 0xb1);
    router.now_us = 60 * US_PER_S;
    far_traces_tick(&router);
    assert_null(far_trace_of_call(&far, &call));
    assert_non_null(far_trace_of_call(&far, &other));
}

static void test_no_more_than_is_allowed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= 65536; i++) {
        struct sig_call_id id = {{3}};
        memcpy(id.b + 1, &i, sizeof(i));
        far_trace_call(&router, &id, SLICE_LIT("b"), 0xb1);
    }
    assert_int_equal(far.traces_n, 65536);
    assert_null(far_trace_of_call(&far, &(struct sig_call_id){{3}})); /* the oldest gave way */
    char longest[NODE_BUS_NODE_MAX + 1];
    memset(longest, 'n', sizeof(longest));
    far_trace_call(&router, &call, slice_of(longest, sizeof(longest)), 0xb1);
    assert_null(far_trace_of_call(&far, &call)); /* no node is called that */
    mem_fail_after(0);
    far_trace_call(&router, &call, SLICE_LIT("b"), 0xb1);
    mem_fail_never();
    assert_null(far_trace_of_call(&far, &call));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_place_counts),
        TEST(test_devices_are_not_calls),
        TEST(test_after_a_minute_it_is_forgotten),
        TEST(test_no_more_than_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

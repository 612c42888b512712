/* Tests of server/call_keep.c: order, bounds, memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/mem.h"
#include "server/call_fx.h"
#include "server/call_keep.h"

static void test_payloads_come_back_in_order(void **state)
{
    static const char *const texts[] = {"one", "", "three and a bit more"};
    struct call_keep k = {0};
    struct slice payload;
    size_t pos = 0, n = 0;

    (void)state;
    assert_false(call_keep_next(&k, &pos, &payload));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(call_keep_add(&k, slice_str(texts[i])), 0);
    for (pos = 0; call_keep_next(&k, &pos, &payload); n++)
        assert_true(slice_is(payload, texts[n]));
    assert_int_equal(n, ARRAY_LEN(texts));
    assert_int_equal(k.n, n);
    call_keep_clear(&k);
    pos = 0;
    assert_false(call_keep_next(&k, &pos, &payload));
}

static void test_number_and_bytes_are_bounded(void **state)
{
    static uint8_t big[CALL_KEPT_BYTES_MAX];
    struct call_keep k = {0};

    (void)state;
    for (int i = 0; i < CALL_KEPT_MAX; i++)
        assert_int_equal(call_keep_add(&k, SLICE_LIT("x")), 0);
    assert_int_equal(call_keep_add(&k, SLICE_LIT("x")), -ENOSPC);
    assert_int_equal(k.n, CALL_KEPT_MAX);
    call_keep_clear(&k);
    assert_int_equal(call_keep_add(&k, slice_of(big, sizeof(big))), 0);
    assert_int_equal(call_keep_add(&k, SLICE_LIT("x")), -ENOSPC);
    call_keep_clear(&k);
    assert_int_equal(call_keep_add(&k, SLICE_LIT("x")), 0);
    assert_int_equal(call_keep_add(&k, slice_of(big, sizeof(big))), -ENOSPC);
    call_keep_clear(&k);
}

static void test_oom_keeps_what_was_there(void **state)
{
    static uint8_t big[4096];
    uint64_t live = mem_live();
    struct call_keep k = {0};
    struct slice payload;
    size_t pos = 0;

    (void)state;
    mem_fail_after(0);
    assert_int_equal(call_keep_add(&k, SLICE_LIT("a")), -ENOMEM);
    mem_fail_never();
    assert_int_equal(call_keep_add(&k, SLICE_LIT("a")), 0);
    mem_fail_after(0);
    assert_int_equal(call_keep_add(&k, slice_of(big, sizeof(big))), -ENOMEM);
    mem_fail_never();
    assert_true(call_keep_next(&k, &pos, &payload) && slice_is(payload, "a"));
    assert_false(call_keep_next(&k, &pos, &payload));
    call_keep_clear(&k);
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads_come_back_in_order),
        cmocka_unit_test(test_number_and_bytes_are_bounded),
        cmocka_unit_test(test_oom_keeps_what_was_there),
    };

    return cmocka_run_group_tests_name("call_keep", tests, NULL, NULL);
}

/* send_history.c: what was sent is found by its number on the wire until it is overwritten.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/send_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_numbers_begin_at_one_and_are_found(void **state)
{
    struct send_history h;
    uint64_t seq;

    (void)state;
    assert_int_equal(send_history_init(&h, 8), 0);
    assert_null(send_history_find(&h, 0, &seq));
    assert_null(send_history_find(&h, 1, &seq));
    assert_int_equal(send_history_put(&h, 1200, 3, 5000), 1);
    struct sent *s = send_history_find(&h, 1, &seq);
    assert_non_null(s);
    assert_int_equal(seq, 1);
    assert_int_equal(s->bytes, 1200);
    assert_int_equal(s->cluster, 3);
    assert_int_equal(s->at_us, 5000);
    assert_int_equal(s->state, SENT_FLYING);
    assert_null(send_history_find(&h, 2, &seq)); /* not sent yet */
    assert_null(send_history_find(&h, 0, &seq));
    assert_null(send_history_find(&h, 65535, &seq));
    send_history_fini(&h);
}

static void test_the_oldest_are_forgotten(void **state)
{
    struct send_history h;
    uint64_t seq;

    (void)state;
    assert_int_equal(send_history_init(&h, 8), 0);
    for (unsigned i = 0; i < 12; i++)
        send_history_put(&h, i, 0, i);
    assert_null(send_history_find(&h, 4, &seq));
    assert_non_null(send_history_find(&h, 5, &seq));
    assert_non_null(send_history_find(&h, 12, &seq));
    assert_null(send_history_find(&h, 13, &seq));
    send_history_fini(&h);
}

static void test_numbers_wrap_on_the_wire_only(void **state)
{
    struct send_history h;
    uint64_t seq;

    (void)state;
    assert_int_equal(send_history_init(&h, 16), 0);
    for (unsigned i = 0; i < 65540; i++)
        send_history_put(&h, i & 0xfff, 0, i);
    assert_non_null(send_history_find(&h, 65533, &seq));
    assert_int_equal(seq, 65533);
    struct sent *s = send_history_find(&h, 2, &seq);
    assert_int_equal(seq, 65538);
    assert_int_equal(s->at_us, 65537);
    assert_null(send_history_find(&h, 65524, &seq));
    send_history_fini(&h);
}

static void test_long_packets_and_times_are_cut(void **state)
{
    struct send_history h;
    uint64_t seq;

    (void)state;
    assert_int_equal(send_history_init(&h, 8), 0);
    send_history_put(&h, 100000, 256 + 7, (UINT64_C(5) << 32) + 9);
    struct sent *s = send_history_find(&h, 1, &seq);
    assert_int_equal(s->bytes, 65535);
    assert_int_equal(s->cluster, 7);
    assert_int_equal(s->at_us, 9);
    send_history_fini(&h);
}

static void test_growing_keeps_what_is_there(void **state)
{
    struct send_history h;
    uint64_t seq;

    (void)state;
    assert_int_equal(send_history_init(&h, 8), 0);
    for (unsigned i = 1; i <= 11; i++)
        send_history_put(&h, i, 0, i);
    assert_int_equal(send_history_grow(&h, 32), 0);
    assert_int_equal(send_history_grow(&h, 8), 0); /* not smaller */
    for (unsigned i = 4; i <= 11; i++) {
        struct sent *s = send_history_find(&h, (uint16_t)i, &seq);
        assert_non_null(s);
        assert_int_equal(s->bytes, i);
    }
    struct sent *gone = send_history_find(&h, 3, &seq);
    assert_true(!gone || gone->state == SENT_NONE);
    for (unsigned i = 12; i <= 35; i++)
        send_history_put(&h, i, 0, i);
    assert_int_equal(send_history_find(&h, 4, &seq)->bytes, 4);
    send_history_fini(&h);
}

static void test_oom(void **state)
{
    struct send_history h;

    (void)state;
    mem_fail_after(0);
    assert_int_equal(send_history_init(&h, 8), -ENOMEM);
    mem_fail_never();
    assert_int_equal(send_history_init(&h, 8), 0);
    send_history_put(&h, 1, 0, 1);
    mem_fail_after(0);
    assert_int_equal(send_history_grow(&h, 16), -ENOMEM);
    mem_fail_never();
    uint64_t seq;
    assert_non_null(send_history_find(&h, 1, &seq));
    send_history_fini(&h);
    assert_int_equal(mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_begin_at_one_and_are_found),
        cmocka_unit_test(test_the_oldest_are_forgotten),
        cmocka_unit_test(test_numbers_wrap_on_the_wire_only),
        cmocka_unit_test(test_long_packets_and_times_are_cut),
        cmocka_unit_test(test_growing_keeps_what_is_there),
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests_name("send_history", tests, NULL, NULL);
}

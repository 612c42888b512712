/* Indexes of SRTP packets: rollover, windows, the table's limits.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/srtp_index.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_guesses_around_a_rollover(void **state)
{
    static const struct {
        uint64_t newest;
        uint16_t seq;
        uint64_t want;
    } v[] = {
        {0, 1, 1},
        {0, 0x8000, 0x8000},
        {0, 0xffff, 0xffff}, /* nothing was before the first cycle */
        {0x10000, 0xffff, 0xffff} /* late, of the cycle before */,
        {0xffff, 0, 0x10000},
        {0xffff, 0x7ffe, 0x17ffe},
        {0xffff, 0x7fff, 0x7fff},
        {0x17fff, 0xffff, 0x1ffff},
        {0x17ffe, 0xffff, 0xffff},
        {0x2ffff, 0x0001, 0x30001},
        {0xffff0000ffff, 0x0000, UINT64_C(0xffff00010000)},
    };

    (void)state;
    assert_int_equal(srtp_stream_guess(NULL, 0xfff0), 0xfff0);
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct srtp_stream st = {0};
        assert_int_equal(srtp_stream_guess(&st, v[i].seq), v[i].seq);
        srtp_stream_note(&st, v[i].newest);
        assert_int_equal(srtp_stream_guess(&st, v[i].seq), v[i].want);
    }
}

static void test_each_index_is_taken_once_within_the_window(void **state)
{
    struct srtp_stream st = {0};

    (void)state;
    assert_true(srtp_stream_is_new(&st, 5000));
    srtp_stream_note(&st, 5000);
    assert_false(srtp_stream_is_new(&st, 5000));
    assert_true(srtp_stream_is_new(&st, 5000 - (SRTP_INDEX_WINDOW - 1)));
    assert_false(srtp_stream_is_new(&st, 5000 - SRTP_INDEX_WINDOW));
    srtp_stream_note(&st, 5000 - (SRTP_INDEX_WINDOW - 1));
    assert_false(srtp_stream_is_new(&st, 5000 - (SRTP_INDEX_WINDOW - 1)));
    srtp_stream_note(&st, 5001); /* the oldest one's bit is the newest's */
    assert_false(srtp_stream_is_new(&st, 5001));
    assert_true(srtp_stream_is_new(&st, 5001 - (SRTP_INDEX_WINDOW - 1)));
    srtp_stream_note(&st, 5001 + 2 * SRTP_INDEX_WINDOW); /* all is behind it */
    for (uint64_t i = 0; i < SRTP_INDEX_WINDOW; i++)
        assert_int_equal(srtp_stream_is_new(&st, 5001 + 2 * SRTP_INDEX_WINDOW - i), i > 0);
}

static void test_against_a_simple_model(void **state)
{
    static bool seen[70000];
    struct srtp_stream st = {0};
    uint64_t high = 0;
    uint32_t r = 1;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        r = r * 1664525 + 1013904223;
        uint64_t index = high + (r >> 16) % 1500;
        index = index > 1300 ? index - 1300 : 0;
        if (r % 997 == 0)
            index += 3000;
        if (index >= ARRAY_LEN(seen))
            break;
        bool want = (index > high || high - index < SRTP_INDEX_WINDOW) && !seen[index];
        assert_int_equal(srtp_stream_is_new(&st, index), want);
        if (want) {
            seen[index] = true;
            srtp_stream_note(&st, index);
            high = index > high ? index : high;
        }
    }
}

static void test_rtcp_has_a_window_of_its_own(void **state)
{
    struct srtp_stream st = {0};

    (void)state;
    srtp_stream_note(&st, 7);
    assert_true(srtp_stream_is_new_rtcp(&st, 7));
    srtp_stream_note_rtcp(&st, 0x7fffffff);
    assert_false(srtp_stream_is_new_rtcp(&st, 0x7fffffff));
    assert_true(srtp_stream_is_new_rtcp(&st, 0x7fffffff - (SRTP_INDEX_RTCP_WINDOW - 1)));
    assert_false(srtp_stream_is_new_rtcp(&st, 0x7fffffff - SRTP_INDEX_RTCP_WINDOW));
    assert_false(srtp_stream_is_new_rtcp(&st, 0));
}

static void test_the_table_is_bounded(void **state)
{
    struct srtp_index t = {0};

    (void)state;
    for (uint32_t i = 0; i < SRTP_INDEX_SSRCS_MAX; i++) {
        assert_false(srtp_index_is_full(&t));
        assert_null(srtp_index_find(&t, i));
        struct srtp_stream *st = srtp_index_add(&t, i);
        assert_non_null(st);
        srtp_stream_note(st, i);
    }
    assert_true(srtp_index_is_full(&t));
    assert_null(srtp_index_add(&t, 1000));
    for (uint32_t i = 0; i < SRTP_INDEX_SSRCS_MAX; i++) {
        assert_int_equal(srtp_index_find(&t, i)->rtp.high, i);
        assert_int_equal(srtp_index_find(&t, i)->rtp.high, i);
    }
    srtp_index_fini(&t);
}

static void test_out_of_memory(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        struct srtp_index t = {0};
        mem_fail_after(n);
        assert_null(srtp_index_add(&t, 1));
        mem_fail_never();
        assert_null(srtp_index_find(&t, 1));
        assert_non_null(srtp_index_add(&t, 1));
        srtp_index_fini(&t);
    }
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_around_a_rollover),
        cmocka_unit_test(test_each_index_is_taken_once_within_the_window),
        cmocka_unit_test(test_against_a_simple_model),
        cmocka_unit_test(test_rtcp_has_a_window_of_its_own),
        cmocka_unit_test(test_the_table_is_bounded),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

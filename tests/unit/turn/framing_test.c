/* framing.c: where messages on a stream end, at every split.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

static void test_messages_end_where_they_should(void **state)
{
    static const struct {
        uint8_t in[28];
        size_t len, msg, total;
        int want;
    } cases[] = {
        {{0}, 0, 0, 0, -EAGAIN},
        {{0, 1, 0}, 3, 0, 0, -EAGAIN},
        {{0, 1, 0, 0}, 20, 20, 20, 0},
        {{0, 1, 0, 8}, 28, 28, 28, 0},
        {{0, 1, 0, 2}, 22, 0, 0, -EBADMSG}, /* STUN is a multiple of 4 */
        {{0x40, 0, 0, 0}, 4, 4, 4, 0},
        {{0x40, 0, 0, 5}, 12, 9, 12, 0},      /* padded */
        {{0x40, 0, 0, 5}, 11, 0, 0, -EAGAIN}, /* the padding is not there yet */
        {{0x7f, 0xff, 0, 4}, 8, 8, 8, 0},
        {{0x04}, 1, 0, 0, -EBADMSG},
        {{0x3f}, 1, 0, 0, -EBADMSG},
        {{0x80, 0x60}, 2, 0, 0, -EBADMSG},
        {{'G', 'E', 'T', ' '}, 4, 0, 0, -EAGAIN}, /* a channel number, as it happens */
        {{0x16, 3, 1}, 3, 0, 0, -EBADMSG},        /* TLS to the TCP port */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct frame f = {99, 99};
        uint8_t *copy = guard_copy(cases[i].in, cases[i].len);
        assert_int_equal(framing_next(&f, slice_of(copy, cases[i].len)), cases[i].want);
        if (cases[i].want == 0) {
            assert_int_equal(f.msg_len, cases[i].msg);
            assert_int_equal(f.total_len, cases[i].total);
        } else {
            assert_int_equal(f.msg_len, 99);
        }
        guard_free(copy, cases[i].len);
    }
}

static void test_longest_frame_is_bounded(void **state)
{
    static uint8_t in[FRAMING_MAX] = {0x40, 0, 0xff, 0xff};
    struct frame f;

    (void)state;
    assert_int_equal(framing_next(&f, slice_of(in, FRAMING_MAX - 1)), -EAGAIN);
    assert_int_equal(framing_next(&f, slice_of(in, FRAMING_MAX)), 0);
    assert_int_equal(f.total_len, FRAMING_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_end_where_they_should),
        cmocka_unit_test(test_longest_frame_is_bounded),
    };

    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}

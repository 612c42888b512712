/* Frames on a stream: every cut, limits. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ice_tcp_framing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

static void test_every_cut_of_two_frames(void **state)
{
    static const uint8_t two[] = {0, 3, 'a', 'b', 'c', 0, 0};
    struct slice p;

    (void)state;
    for (size_t cut = 0; cut < 5; cut++) {
        uint8_t *g = guard_copy(two, cut);
        assert_int_equal(ice_tcp_framing_next(&p, slice_of(g, cut)), -EAGAIN);
        guard_free(g, cut);
    }
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(two, 5)), 5);
    assert_true(slice_is(p, "abc"));
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(two, 7)), 5);
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(two + 5, 2)), 2);
    assert_int_equal(p.len, 0);
}

static void test_limits(void **state)
{
    static uint8_t buf[ICE_TCP_HEADER_BYTES + ICE_TCP_PACKET_MAX];
    struct slice p;

    (void)state;
    ice_tcp_framing_head(buf, ICE_TCP_PACKET_MAX);
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(buf, sizeof(buf))), sizeof(buf));
    assert_int_equal(p.len, ICE_TCP_PACKET_MAX);
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(buf, sizeof(buf) - 1)), -EAGAIN);
    ice_tcp_framing_head(buf, ICE_TCP_PACKET_MAX + 1);
    assert_int_equal(ice_tcp_framing_next(&p, slice_of(buf, 2)), -EMSGSIZE);
    ice_tcp_framing_head(buf, 65535);
    assert_int_equal(buf[0], 255);
    assert_int_equal(buf[1], 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut_of_two_frames),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

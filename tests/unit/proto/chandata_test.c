/* chandata.c: every channel number at the edges, every truncation, padding.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/chandata.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_whole_messages_decode(void **state)
{
    static const struct {
        const char *hex;
        uint16_t channel;
        size_t len;
    } cases[] = {
        {"40000000", 0x4000, 0},
        {"40000001ff", 0x4000, 1},
        {"4fff0003aabbcc", 0x4fff, 3},
        {"50000003aabbcc00", 0x5000, 3}, /* padded */
        {"7fff0004aabbccdd", 0x7fff, 4},
        {"40000001ff000000ee", 0x4000, 1}, /* whatever follows is ignored */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[32];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        struct chandata d;
        assert_int_equal(chandata_decode(&d, in), 0);
        assert_int_equal(d.channel, cases[i].channel);
        assert_int_equal(d.payload.len, cases[i].len);
    }
}

static void test_numbers_outside_the_range_are_refused(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= 0xffff; n++) {
        const uint8_t in[] = {(uint8_t)(n >> 8), (uint8_t)n, 0, 0};
        struct chandata d;
        bool valid = n >= CHANDATA_CHANNEL_MIN && n <= CHANDATA_CHANNEL_MAX;
        assert_int_equal(chandata_decode(&d, slice_of(in, sizeof(in))), valid ? 0 : -EBADMSG);
        assert_int_equal(chandata_is((uint8_t)(n >> 8)), valid);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    static const uint8_t whole[] = {0x40, 0x00, 0x00, 0x04, 1, 2, 3, 4};

    (void)state;
    for (size_t n = 0; n < sizeof(whole); n++) {
        uint8_t *copy = guard_copy(whole, n);
        struct chandata d;
        assert_int_equal(chandata_decode(&d, slice_of(copy, n)), -EBADMSG);
        guard_free(copy, n);
    }
}

static void test_header_and_padding_match_the_decoder(void **state)
{
    (void)state;
    for (size_t len = 0; len < 9; len++) {
        uint8_t buf[32] = {0};
        struct wr w = wr_init(buf, sizeof(buf));
        struct chandata d;
        chandata_put_header(&w, 0x4abc, len);
        wr_zero(&w, len + chandata_pad(len));
        assert_int_equal(w.len % 4, 0);
        assert_int_equal(chandata_decode(&d, wr_done(&w)), 0);
        assert_int_equal(d.channel, 0x4abc);
        assert_int_equal(d.payload.len, len);
    }
    uint8_t buf[8];
    struct wr w = wr_init(buf, sizeof(buf));
    chandata_put_header(&w, 0x4000, 65536);
    assert_true(w.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_messages_decode),
        cmocka_unit_test(test_numbers_outside_the_range_are_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_header_and_padding_match_the_decoder),
    };

    return cmocka_run_group_tests_name("chandata", tests, NULL, NULL);
}

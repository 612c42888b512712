/* rtp_ext.c: RFC 8285's examples, both forms, broken elements, the writer's change of form.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtp_ext.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static const struct rtp_ext_map map = {
    .of = {[1] = RTP_EXT_MID,
           [2] = RTP_EXT_AUDIO_LEVEL,
           [3] = RTP_EXT_TWCC,
           [14] = RTP_EXT_RID,
           [15] = RTP_EXT_VLA,
           [200] = RTP_EXT_DEPENDENCY},
};

static struct rtp_exts scan(uint16_t profile, struct slice body)
{
    struct rtp_header h = {.ext_profile = profile, .ext = body};
    struct rtp_exts e;

    rtp_ext_scan(&e, &h, &map);
    return e;
}

static void test_one_byte_form_reads(void **state)
{
    uint8_t buf[64];

    (void)state;
    /* RFC 8285 §4.2's example: lengths 1, 2 with padding before, 4 */
    struct rtp_exts e =
        scan(0xbede, hex_bytes("10aa 21bbcc 0000 33ddddeeff 000000", buf, sizeof(buf)));
    assert_true(slice_eq(e.v[RTP_EXT_MID], slice_of("\xaa", 1)));
    assert_true(slice_eq(e.v[RTP_EXT_AUDIO_LEVEL], slice_of("\xbb\xcc", 2)));
    assert_true(slice_eq(e.v[RTP_EXT_TWCC], slice_of("\xdd\xdd\xee\xff", 4)));
    assert_null(e.v[RTP_EXT_RID].p);
    /* 15 ends it; so does id 0 with a length */
    e = scan(0xbede, hex_bytes("10aa f0bb 20cc 0000", buf, sizeof(buf)));
    assert_non_null(e.v[RTP_EXT_MID].p);
    assert_null(e.v[RTP_EXT_AUDIO_LEVEL].p);
    assert_null(e.v[RTP_EXT_VLA].p);
    e = scan(0xbede, hex_bytes("10aa 01bb 20cc 0000", buf, sizeof(buf)));
    assert_null(e.v[RTP_EXT_AUDIO_LEVEL].p);
    /* the first of two counts, an unknown id is passed over, 16 bytes are the most */
    e = scan(0xbede, hex_bytes("10aa 10bb 50cc ef000102030405060708090a0b0c0d0e0f", buf, 64));
    assert_int_equal(e.v[RTP_EXT_MID].p[0], 0xaa);
    assert_int_equal(e.v[RTP_EXT_RID].len, 16);
}

static void test_two_byte_form_reads(void **state)
{
    uint8_t buf[64];

    (void)state;
    struct rtp_exts e =
        scan(0x1005, hex_bytes("0100 0201bb 00 0304ddddeeff c801aa 0f0199", buf, sizeof(buf)));
    assert_non_null(e.v[RTP_EXT_MID].p);
    assert_int_equal(e.v[RTP_EXT_MID].len, 0);
    assert_int_equal(e.v[RTP_EXT_AUDIO_LEVEL].len, 1);
    assert_int_equal(e.v[RTP_EXT_TWCC].len, 4);
    assert_int_equal(e.v[RTP_EXT_DEPENDENCY].p[0], 0xaa);
    assert_int_equal(e.v[RTP_EXT_VLA].p[0], 0x99); /* 15 is an id like others here */
    e = scan(0x2000, hex_bytes("0101aa", buf, sizeof(buf)));
    assert_null(e.v[RTP_EXT_MID].p);
}

static void test_every_truncation_is_safe(void **state)
{
    static const struct {
        uint16_t profile;
        const char *hex;
    } cases[] = {
        {0xbede, "10aa 21bbcc 0000 33ddddeeff e0aa"},
        {0x1000, "0100 0201bb 00 0304ddddeeff c801aa"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        for (size_t n = 0; n < in.len; n++) {
            uint8_t *copy = guard_copy(in.p, n);
            struct rtp_exts e = scan(cases[i].profile, slice_of(copy, n));
            for (unsigned k = 0; k < RTP_EXT_COUNT; k++)
                assert_true(!e.v[k].p || (e.v[k].p >= copy && e.v[k].p + e.v[k].len <= copy + n));
            guard_free(copy, n);
        }
    }
}

static void test_written_in_one_byte_form(void **state)
{
    uint8_t buf[64], want[64];
    struct rtp_ext_wr x;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtp_ext_begin(&x, &w, false);
    rtp_ext_put(&x, 1, SLICE_LIT("ab"));
    rtp_ext_put(&x, 14, SLICE_LIT("c"));
    rtp_ext_end(&x);
    assert_true(slice_eq(wr_done(&w), hex_bytes("bede0002 116162 e063 000000", want, 64)));
}

static void test_an_element_too_big_changes_the_form(void **state)
{
    static const struct {
        uint8_t id;
        size_t len;
    } cases[] = {{15, 1}, {200, 1}, {3, 0}, {3, 17}, {3, 255}};
    uint8_t buf[512], data[255] = {7};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rtp_ext_wr x;
        struct wr w = wr_init(buf, sizeof(buf));
        wr_zero(&w, 12); /* something before it */
        rtp_ext_begin(&x, &w, false);
        rtp_ext_put(&x, 1, SLICE_LIT("ab"));
        rtp_ext_put(&x, 2, SLICE_LIT("c"));
        rtp_ext_put(&x, cases[i].id, slice_of(data, cases[i].len));
        rtp_ext_end(&x);
        assert_false(w.bad);
        assert_int_equal(w.len % 4, 0);
        assert_int_equal(buf[12] << 8 | buf[13], 0x1000);
        assert_int_equal(((unsigned)buf[14] << 8 | buf[15]) * 4, w.len - 16);
        struct rtp_exts e = scan(0x1000, slice_of(buf + 16, w.len - 16));
        assert_true(slice_is(e.v[RTP_EXT_MID], "ab"));
        assert_true(slice_is(e.v[RTP_EXT_AUDIO_LEVEL], "c"));
        struct slice got = e.v[map.of[cases[i].id]];
        assert_non_null(got.p);
        assert_int_equal(got.len, cases[i].len);
    }
}

static void test_the_writer_is_bounded(void **state)
{
    uint8_t buf[64], big[256] = {0};
    struct rtp_ext_wr x;

    (void)state;
    for (size_t cap = 0; cap < 16; cap++) {
        struct wr w = wr_init(buf, cap);
        rtp_ext_begin(&x, &w, false);
        rtp_ext_put(&x, 1, SLICE_LIT("ab"));
        rtp_ext_put(&x, 200, SLICE_LIT("c"));
        rtp_ext_end(&x);
        assert_int_equal(w.bad, cap < 12);
    }
    struct wr w = wr_init(buf, sizeof(buf));
    rtp_ext_begin(&x, &w, true);
    rtp_ext_put(&x, 1, slice_of(big, 256));
    assert_true(w.bad);
    w = wr_init(buf, sizeof(buf));
    rtp_ext_begin(&x, &w, true);
    rtp_ext_put(&x, 0, SLICE_LIT("c"));
    assert_true(w.bad);
}

static void test_audio_level_reads(void **state)
{
    uint8_t level;
    bool voice;

    (void)state;
    assert_false(rtp_ext_audio_level(slice_of(NULL, 0), &level, &voice));
    assert_true(rtp_ext_audio_level(slice_of("\xff", 1), &level, &voice));
    assert_int_equal(level, 127);
    assert_true(voice);
    assert_true(rtp_ext_audio_level(slice_of("\x1e\x00", 2), &level, &voice));
    assert_int_equal(level, 30);
    assert_false(voice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_byte_form_reads),
        cmocka_unit_test(test_two_byte_form_reads),
        cmocka_unit_test(test_every_truncation_is_safe),
        cmocka_unit_test(test_written_in_one_byte_form),
        cmocka_unit_test(test_an_element_too_big_changes_the_form),
        cmocka_unit_test(test_the_writer_is_bounded),
        cmocka_unit_test(test_audio_level_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

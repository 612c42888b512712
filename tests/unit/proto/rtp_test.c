/* rtp.c: headers with and without CSRCs and extension, every truncation, padding, extension of
 * sequence numbers. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_headers_decode(void **state)
{
    static const struct {
        const char *hex;
        bool marker, padded;
        uint8_t pt, n_csrc;
        uint16_t profile;
        size_t ext, header;
    } cases[] = {
        {"80 00 0001 00000002 00000003", false, false, 0, 0, 0, 0, 12},
        {"80 ff ffff 00000002 00000003 aa", true, false, 127, 0, 0, 0, 12},
        {"a0 6f 0001 00000002 00000003 0004", false, true, 111, 0, 0, 0, 12},
        {"82 00 0001 00000002 00000003 0000000a 0000000b cc", false, false, 0, 2, 0, 0, 20},
        {"90 00 0001 00000002 00000003 bede 0000", false, false, 0, 0, 0xbede, 0, 16},
        {"90 00 0001 00000002 00000003 bede 0001 10aa0000 01", false, false, 0, 0, 0xbede, 4, 20},
        {"91 00 0001 00000002 00000003 0000000a 1000 0002 0101aa00 00000000", false, false, 0, 1,
         0x1000, 8, 28},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        struct rtp_header h;
        assert_int_equal(rtp_decode(&h, in), 0);
        assert_int_equal(h.marker, cases[i].marker);
        assert_int_equal(h.padded, cases[i].padded);
        assert_int_equal(h.pt, cases[i].pt);
        assert_int_equal(h.n_csrc, cases[i].n_csrc);
        assert_int_equal(h.csrc.len, 4u * cases[i].n_csrc);
        assert_int_equal(h.seq, buf[2] << 8 | buf[3]);
        assert_int_equal(h.ts, 2);
        assert_int_equal(h.ssrc, 3);
        assert_int_equal(h.ext_profile, cases[i].profile);
        assert_int_equal(h.ext.len, cases[i].ext);
        assert_int_equal(h.header_len, cases[i].header);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    uint8_t buf[64];
    struct slice in =
        hex_bytes("92 00 0001 00000002 00000003 0000000a 0000000b bede 0001 10aa0000", buf, 64);

    (void)state;
    for (size_t n = 0; n <= in.len; n++) {
        uint8_t *copy = guard_copy(in.p, n);
        struct rtp_header h;
        assert_int_equal(rtp_decode(&h, slice_of(copy, n)), n == in.len ? 0 : -EBADMSG);
        guard_free(copy, n);
    }
}

static void test_other_versions_are_refused(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 4; v++) {
        uint8_t in[12] = {(uint8_t)(v << 6)};
        struct rtp_header h;
        assert_int_equal(rtp_decode(&h, slice_of(in, sizeof(in))), v == 2 ? 0 : -EBADMSG);
    }
}

static void test_padding_is_bounded_by_the_payload(void **state)
{
    uint8_t p[] = {1, 2, 3, 0};
    size_t pad = 99;

    (void)state;
    assert_int_equal(rtp_padding(slice_of(p, 4), false, &pad), 0);
    assert_int_equal(pad, 0);
    assert_int_equal(rtp_padding(slice_of(p, 0), true, &pad), -EBADMSG);
    assert_int_equal(rtp_padding(slice_of(p, 4), true, &pad), -EBADMSG); /* counts 0 */
    p[3] = 5;
    assert_int_equal(rtp_padding(slice_of(p, 4), true, &pad), -EBADMSG);
    assert_int_equal(pad, 0); /* untouched on failure */
    p[3] = 4;
    assert_int_equal(rtp_padding(slice_of(p, 4), true, &pad), 0);
    assert_int_equal(pad, 4);
    p[3] = 1;
    assert_int_equal(rtp_padding(slice_of(p, 4), true, &pad), 0);
    assert_int_equal(pad, 1);
}

static void test_header_written_reads_the_same(void **state)
{
    const uint8_t csrc[8] = {0, 0, 0, 1, 0, 0, 0, 2};
    const struct rtp_header h = {
        .marker = true,
        .padded = true,
        .pt = 96,
        .seq = 0xfffe,
        .ts = 0xdeadbeef,
        .ssrc = 0x01020304,
        .csrc = slice_of(csrc, sizeof(csrc)),
    };
    uint8_t buf[20];
    struct rtp_header d;

    (void)state;
    struct wr w = wr_init(buf, sizeof(buf));
    rtp_put_header(&w, &h, false);
    assert_int_equal(rtp_decode(&d, wr_done(&w)), 0);
    assert_true(d.marker && d.padded);
    assert_int_equal(d.pt, 96);
    assert_int_equal(d.seq, 0xfffe);
    assert_int_equal(d.ts, 0xdeadbeef);
    assert_int_equal(d.ssrc, 0x01020304);
    assert_true(slice_eq(d.csrc, h.csrc));
    w = wr_init(buf, sizeof(buf) - 1);
    rtp_put_header(&w, &h, false);
    assert_true(w.bad);
}

static void test_rtcp_is_told_from_rtp(void **state)
{
    (void)state;
    assert_true(rtp_is_rtcp(0x80, 200));
    assert_true(rtp_is_rtcp(0xbf, 192));
    assert_true(rtp_is_rtcp(0x80, 223));
    assert_false(rtp_is_rtcp(0x80, 191));
    assert_false(rtp_is_rtcp(0x80, 224)); /* marker and payload type 96 */
    assert_false(rtp_is_rtcp(0x40, 200));
}

static void test_numbers_extend_to_the_nearest(void **state)
{
    static const struct {
        uint64_t last;
        uint16_t seq;
        uint64_t want;
    } cases[] = {
        {0, 0, 0},
        {0, 1, 1},
        {0, 0x7fff, 0x7fff},
        {0, 0xffff, 0xffff}, /* nothing is before 0 */
        {0xffff, 0, 0x10000},
        {0xffff, 0xfffe, 0xfffe},
        {0x10000, 0xffff, 0xffff},
        {0x10005, 0x8006, 0x8006},
        {0x10005, 0x8004, 0x18004},
        {0x7ffffffff, 1, 0x800000001},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(rtp_extend(cases[i].last, cases[i].seq), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_decode),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_other_versions_are_refused),
        cmocka_unit_test(test_padding_is_bounded_by_the_payload),
        cmocka_unit_test(test_header_written_reads_the_same),
        cmocka_unit_test(test_rtcp_is_told_from_rtp),
        cmocka_unit_test(test_numbers_extend_to_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

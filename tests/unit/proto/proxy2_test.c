/* proto/proxy2.c: headers of the specification's every kind, cut, wrong, with extensions.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/proxy2.h"

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SIG     "0d0a0d0a000d0a515549540a "
#define ADDRS_4 "c6336407 c0000201 d431 01bb" /* 198.51.100.7:54321 to 192.0.2.1:443 */
#define ADDRS_6 "20010db8000000000000000000000007 20010db8000000000000000000000001 d431 01bb"
/* Whole headers: PROXY over TCP and IPv4, bare; with a checksum made by an independent program. */
#define PLAIN_4 SIG "21 11 000c " ADDRS_4
#define CRC_4   SIG "21 11 0013 " ADDRS_4 " 03 0004 "

static int decode_hex(const char *hex, struct proxy2 *h)
{
    uint8_t buf[1024];
    struct slice s = hex_bytes(hex, buf, sizeof buf);
    uint8_t *copy = guard_copy(s.p, s.len);
    int err = proxy2_decode(h, slice_of(copy, s.len));

    guard_free(copy, s.len);
    return err;
}

static void test_every_kind_is_read(void **state)
{
    static const struct {
        const char *hex, *src, *dst;
        unsigned transport;
        size_t len;
    } cases[] = {
        {PLAIN_4, "198.51.100.7:54321", "192.0.2.1:443", PROXY2_STREAM, 28},
        {SIG "21 12 000c " ADDRS_4 " 0001", "198.51.100.7:54321", "192.0.2.1:443", PROXY2_DGRAM,
         28},
        {SIG "21 21 0024 " ADDRS_6, "[2001:db8::7]:54321", "[2001:db8::1]:443", PROXY2_STREAM, 52},
        {SIG "21 22 0024 " ADDRS_6, "[2001:db8::7]:54321", "[2001:db8::1]:443", PROXY2_DGRAM, 52},
        {SIG
         "21 21 0024 00000000000000000000ffffc6336407 20010db8000000000000000000000001 d431 01bb",
         "198.51.100.7:54321", "[2001:db8::1]:443", PROXY2_STREAM, 52},
        {SIG "20 00 0000", NULL, NULL, 0, 16},          /* LOCAL, as health checks send it */
        {SIG "20 11 000c " ADDRS_4, NULL, NULL, 0, 28}, /* LOCAL with addresses: ignored */
        {SIG "21 00 0003 ffffff", NULL, NULL, 0, 19},   /* UNSPEC: what follows is skipped */
        {SIG "20 31 0000", NULL, NULL, 0, 16},          /* LOCAL of a Unix socket */
        {SIG "21 11 0011 " ADDRS_4 " 04 0002 0000", "198.51.100.7:54321", "192.0.2.1:443",
         PROXY2_STREAM, 33},
        {CRC_4 "44da1b80", "198.51.100.7:54321", "192.0.2.1:443", PROXY2_STREAM, 35},
    };
    char text[ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct proxy2 h;
        int err = decode_hex(cases[i].hex, &h);
        if (err || h.len != cases[i].len || h.transport != cases[i].transport)
            fail_msg("case %zu: %d", i, err);
        if (!cases[i].src) {
            assert_int_equal(h.src.family, ADDR_NONE);
            continue;
        }
        assert_string_equal(addr_format(&h.src, text), cases[i].src);
        assert_string_equal(addr_format(&h.dst, text), cases[i].dst);
    }
}

static void test_wrong_headers_are_refused(void **state)
{
    static const struct {
        const char *hex;
        int err;
    } cases[] = {
        {"50524f585920544350342031 3938 2e35312e3130302e37", -EBADMSG}, /* version 1 */
        {SIG "31 11 000c " ADDRS_4, -EBADMSG},                          /* version 3 */
        {SIG "22 11 000c " ADDRS_4, -EBADMSG},                          /* command 2 */
        {SIG "21 10 000c " ADDRS_4, -EBADMSG},                          /* INET, no transport */
        {SIG "21 01 000c " ADDRS_4, -EBADMSG},
        {SIG "21 13 000c " ADDRS_4, -EBADMSG},
        {SIG "21 41 000c " ADDRS_4, -EBADMSG},
        {SIG "20 41 0000", -EBADMSG},
        {SIG "21 11 000b " ADDRS_4, -EBADMSG},                   /* shorter than its addresses */
        {SIG "21 21 000c " ADDRS_4, -EBADMSG},                   /* IPv6 with room for IPv4 */
        {SIG "21 11 000d " ADDRS_4 " 04", -EBADMSG},             /* half an extension */
        {SIG "21 11 000f " ADDRS_4 " 04 0001", -EBADMSG},        /* one that is cut off */
        {SIG "21 11 0012 " ADDRS_4 " 03 0003 000000", -EBADMSG}, /* a checksum of 3 bytes */
        {CRC_4 "00000000", -EBADMSG},                            /* a wrong one */
        {SIG "21 11 0ff1 " ADDRS_4, -EBADMSG},                   /* 4097 bytes */
        {SIG "21 11 ffff " ADDRS_4, -EBADMSG},
        {SIG "21 31 0000", -EPROTO}, /* a Unix socket's client */
        {SIG "21 32 0000", -EPROTO},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct proxy2 h;
        if (decode_hex(cases[i].hex, &h) != cases[i].err)
            fail_msg("case %zu", i);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    static const char *const whole[] = {PLAIN_4, SIG "21 22 0024 " ADDRS_6, CRC_4 "44da1b80"};
    uint8_t buf[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        struct slice s = hex_bytes(whole[i], buf, sizeof buf);
        for (size_t n = 0; n < s.len; n++) {
            uint8_t *copy = guard_copy(s.p, n);
            struct proxy2 h;
            size_t len = 0;
            assert_int_equal(proxy2_decode(&h, slice_of(copy, n)), -EBADMSG);
            int err = proxy2_length(&len, slice_of(copy, n));
            assert_int_equal(err, n < PROXY2_FIXED_BYTES ? -EAGAIN : 0);
            assert_true(err || len == s.len);
            guard_free(copy, n);
        }
    }
}

static void test_what_is_no_header_is_known_at_once(void **state)
{
    size_t len;

    (void)state;
    assert_int_equal(proxy2_length(&len, SLICE_LIT("P")), -EBADMSG);
    assert_int_equal(proxy2_length(&len, SLICE_LIT("\r\n\r\nG")), -EBADMSG);
    assert_int_equal(proxy2_length(&len, SLICE_LIT("\r\n\r\n\0\r\nQUIT\n\x11")), -EBADMSG);
    assert_int_equal(proxy2_length(&len, (struct slice){0}), -EAGAIN);
}

static void test_longest_header_is_taken(void **state)
{
    static uint8_t buf[PROXY2_MAX];
    struct wr w = wr_init(buf, sizeof buf);
    struct proxy2 h;
    uint8_t head[64];

    (void)state;
    wr_bytes(&w, hex_bytes(SIG "21 11 0ff0 " ADDRS_4 " 04 0fe1", head, sizeof head));
    wr_zero(&w, PROXY2_MAX - w.len);
    assert_int_equal(proxy2_decode(&h, wr_done(&w)), 0);
    assert_int_equal(h.len, PROXY2_MAX);
}

static void test_checksum_covers_every_bit(void **state)
{
    uint8_t buf[64];
    struct slice s = hex_bytes(CRC_4 "44da1b80", buf, sizeof buf);
    struct proxy2 h;

    (void)state;
    for (size_t bit = 0; bit < 8 * s.len; bit++) {
        buf[bit / 8] = (uint8_t)(buf[bit / 8] ^ 1u << bit % 8);
        /* The command's lowest bit makes it LOCAL, and TCP over IPv4 UNSPEC takes two bits: then
         * nothing is read. */
        if (bit != 8 * 12 && bit / 8 != 28)
            assert_int_not_equal(proxy2_decode(&h, s), 0);
        buf[bit / 8] = (uint8_t)(buf[bit / 8] ^ 1u << bit % 8);
    }
    assert_int_equal(proxy2_decode(&h, s), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_read),
        cmocka_unit_test(test_wrong_headers_are_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_what_is_no_header_is_known_at_once),
        cmocka_unit_test(test_longest_header_is_taken),
        cmocka_unit_test(test_checksum_covers_every_bit),
    };
    return cmocka_run_group_tests_name("proxy2", tests, NULL, NULL);
}

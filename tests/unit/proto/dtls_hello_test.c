/* proto/dtls_hello.c: ClientHellos whole, cut, in pieces and wrong; HelloVerifyRequest.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/dtls_hello.h"

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define RANDOM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Handshake, 1.0, epoch 0, sequence 7, 57 bytes: ClientHello of 45, message 1, whole; 1.2, random,
 * no session, cookie of 3, one suite, no compression. */
static const char whole[] = "16 feff 0000 000000000007 0039"
                            "01 00002d 0001 000000 00002d"
                            "fefd " RANDOM " 00 03 aabbcc 0002 c02b 01 00";

static int decode_hex(const char *hex, struct dtls_hello *h)
{
    uint8_t buf[512];
    struct slice s = hex_bytes(hex, buf, sizeof buf);
    uint8_t *copy = guard_copy(s.p, s.len);
    int err = dtls_hello_decode(h, slice_of(copy, s.len));

    guard_free(copy, s.len);
    return err;
}

static void test_whole_hello_is_read(void **state)
{
    uint8_t buf[256], want[32];
    struct slice s = hex_bytes(whole, buf, sizeof buf);
    struct dtls_hello h;

    (void)state;
    assert_true(dtls_hello_is(s));
    assert_int_equal(dtls_hello_decode(&h, s), 0);
    assert_true(slice_eq(h.random, hex_bytes(RANDOM, want, sizeof want)));
    assert_true(slice_eq(h.cookie, SLICE_LIT("\xaa\xbb\xcc")));
    assert_true(slice_eq(h.record_seq, SLICE_LIT("\0\0\0\0\0\7")));
}

static void test_every_truncation_is_refused(void **state)
{
    uint8_t buf[256];
    struct slice s = hex_bytes(whole, buf, sizeof buf);

    (void)state;
    for (size_t n = 0; n < s.len; n++) {
        uint8_t *copy = guard_copy(s.p, n);
        struct dtls_hello h;
        dtls_hello_is(slice_of(copy, n));
        if (dtls_hello_decode(&h, slice_of(copy, n)) != -EBADMSG)
            fail_msg("%zu bytes", n);
        guard_free(copy, n);
    }
}

static void test_what_follows_the_record_does_not_matter(void **state)
{
    char more[512];
    struct dtls_hello h;

    (void)state;
    snprintf(more, sizeof more, "%s 16 feff 00", whole);
    assert_int_equal(decode_hex(more, &h), 0);
}

static void test_wrong_hellos_are_refused(void **state)
{
    static const struct {
        const char *hex, *what;
        int err;
    } cases[] = {
        {"17 feff 0000 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "application data", -EBADMSG},
        {"16 0303 0000 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "TLS in the record", -EBADMSG},
        {"16 feff 0001 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "epoch 1", -EBADMSG},
        {"16 feff 0000 000000000007 0039 02 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "ServerHello", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 00002d 0001 000000 00002d 0303 " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "TLS in the hello", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0003 c02b01 00",
         "odd suites, compression empty", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0000 02 c02b 00",
         "no suite", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 00002d 0001 000000 00002d fefd " RANDOM
         " 00 ff aabbcc 0002 c02b 01 00",
         "cookie too long for it", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 000080 0001 000000 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "first fragment", -EPROTO},
        {"16 feff 0000 000000000007 0039 01 000080 0001 000010 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "later fragment", -EPROTO},
        {"16 feff 0000 000000000007 0039 01 00002d 0001 000010 00002d fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "fragment over the end", -EBADMSG},
        {"16 feff 0000 000000000007 0039 01 00002e 0001 000000 00002e fefd " RANDOM
         " 00 03 aabbcc 0002 c02b 01 00",
         "longer than its record", -EBADMSG},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dtls_hello h;
        if (decode_hex(cases[i].hex, &h) != cases[i].err)
            fail_msg("%s", cases[i].what);
    }
}

static void test_session_id_has_a_limit(void **state)
{
    struct dtls_hello h;

    (void)state;
    assert_int_equal(
        decode_hex("16 feff 0000 000000000000 0056 01 00004a 0000 000000 00004a fefd " RANDOM
                   " 20 " RANDOM " 00 0002 c02b 01 00",
                   &h),
        0);
    assert_int_equal(h.cookie.len, 0);
    assert_int_equal(
        decode_hex("16 feff 0000 000000000000 0057 01 00004b 0000 000000 00004b fefd " RANDOM
                   " 21 00" RANDOM " 00 0002 c02b 01 00",
                   &h),
        -EBADMSG);
}

static void test_verify_request_is_short_and_as_specified(void **state)
{
    uint8_t in[256], buf[128], want[64], cookie[16];
    struct wr w = wr_init(buf, sizeof buf);
    struct dtls_hello h;

    (void)state;
    memset(cookie, 0x5a, sizeof cookie);
    assert_int_equal(dtls_hello_decode(&h, hex_bytes(whole, in, sizeof in)), 0);
    dtls_hello_put_verify(&w, &h, slice_of(cookie, sizeof cookie));
    struct slice expected = hex_bytes("16 feff 0000 000000000007 001f"
                                      "03 000013 0000 000000 000013"
                                      "feff 10 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
                                      want, sizeof want);
    assert_true(slice_eq(wr_done(&w), expected));
    /* The shortest ClientHello has neither session, cookie nor extensions. */
    assert_int_equal(expected.len, 44);
    assert_true(expected.len < 13 + 12 + 2 + 32 + 1 + 1 + 4 + 2);
}

static void test_first_byte_tells_dtls(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 256; b++)
        assert_int_equal(dtls_hello_is_dtls((uint8_t)b), b >= 20 && b <= 63);
    assert_false(dtls_hello_is((struct slice){0}));
}

static void test_what_is_in_the_clear(void **state)
{
    static const struct {
        const char *hex;
        bool want;
    } cases[] = {
        {"", true},
        {whole, true},
        {"16 fefd 0000 000000000001 0001 aa 14 fefd 0000 000000000002 0001 01", true},
        {"16 fefd 0000 000000000001 0000", true},
        {"16 fefd 0001 000000000000 0001 aa", false},
        {"16 fefd 0000 000000000001 0001 aa 16 fefd 0001 000000000000 0001 aa", false},
        {"16 fefd 0000 000000000001 0001", false},       /* cut */
        {"16 fefd 0000 000000000001 0001 aa 16", false}, /* rest */
        {"16 0303 0000 000000000001 0001 aa", false},    /* TLS */
    };
    static uint8_t longest[13 + 16384 + 2048 + 1] = {0x16, 0xfe, 0xfd, [11] = 0x48};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[256];
        struct slice s = hex_bytes(cases[i].hex, buf, sizeof buf);
        uint8_t *copy = guard_copy(s.p, s.len);
        if (dtls_hello_is_clear(slice_of(copy, s.len)) != cases[i].want)
            fail_msg("case %zu", i);
        guard_free(copy, s.len);
    }
    assert_true(dtls_hello_is_clear(slice_of(longest, sizeof longest - 1)));
    longest[12] = 1;
    assert_false(dtls_hello_is_clear(slice_of(longest, sizeof longest)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_hello_is_read),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_what_follows_the_record_does_not_matter),
        cmocka_unit_test(test_wrong_hellos_are_refused),
        cmocka_unit_test(test_session_id_has_a_limit),
        cmocka_unit_test(test_verify_request_is_short_and_as_specified),
        cmocka_unit_test(test_first_byte_tells_dtls),
        cmocka_unit_test(test_what_is_in_the_clear),
    };
    return cmocka_run_group_tests_name("dtls_hello", tests, NULL, NULL);
}

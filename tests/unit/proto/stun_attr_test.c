/* stun_attr.c: addresses of both families there and back, error codes, numbers, wrong lengths.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/stun_attr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static const uint8_t tid[STUN_TID_BYTES] = "transaction";

/* Begins a message in buf, so that putters have one. */
static struct wr begin(uint8_t *buf, size_t cap)
{
    struct wr w = wr_init(buf, cap);

    stun_begin(&w, stun_type(STUN_ALLOCATE, STUN_SUCCESS), tid);
    return w;
}

static struct slice only_value(const struct wr *w, enum stun_attr_type type)
{
    struct stun_msg m;
    struct slice v = {0};

    assert_int_equal(stun_decode(&m, wr_done(w)), 0);
    assert_true(stun_find(&m, type, &v));
    return v;
}

static void test_addresses_survive_a_round_trip(void **state)
{
    static const char *const all[] = {
        "0.0.0.0:0",       "192.0.2.1:32853",       "255.255.255.255:65535", "[::]:0",
        "[2001:db8::1]:1", "[::ffff:1.2.3.4]:3478", "33.18.164.66:1",        "[2112:a442::]:8466"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        uint8_t buf[128];
        struct wr w = begin(buf, sizeof(buf));
        struct addr in, out;
        assert_int_equal(addr_parse(&in, slice_str(all[i])), 0);
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &in, tid);
        struct slice v = only_value(&w, STUN_ATTR_XOR_PEER_ADDRESS);
        assert_int_equal(stun_xaddr_decode(&out, v, tid), 0);
        assert_true(addr_eq(&in, &out));
    }
}

static void test_malformed_addresses_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "0001a147",                                 /* no address */
        "0001a147e112a6",                           /* one byte short */
        "0001a147e112a64300",                       /* one byte long */
        "0000a147e112a643",                         /* family 0 */
        "0003a147e112a643",                         /* family 3 */
        "0002a147e112a643",                         /* IPv6 with four bytes */
        "0001a1470113a9faa5d3f179bc25f4b5bed2b9d9", /* IPv4 with sixteen */
        "0002a1470113a9faa5d3f179bc25f4b5bed2b9",   /* IPv6 short by one */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t buf[64];
        struct slice v = hex_bytes(bad[i], buf, sizeof(buf));
        uint8_t *copy = guard_copy(v.p, v.len);
        struct addr out;
        assert_int_equal(stun_xaddr_decode(&out, slice_of(copy, v.len), tid), -EBADMSG);
        guard_free(copy, v.len);
    }
}

static void test_address_of_no_family_is_not_written(void **state)
{
    uint8_t buf[128];
    struct wr w = begin(buf, sizeof(buf));
    struct addr none = {0};

    (void)state;
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &none, tid);
    assert_true(w.bad);
    w = begin(buf, sizeof(buf));
    stun_put_addr(&w, STUN_ATTR_ALTERNATE_SERVER, &none);
    assert_true(w.bad);
}

static void test_error_codes_survive_a_round_trip(void **state)
{
    static const int codes[] = {300, 400, 401, 403, 405, 420, 437, 438, 440, 446,
                                447, 441, 442, 443, 486, 500, 508, 600, 699};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        uint8_t buf[64];
        struct wr w = begin(buf, sizeof(buf));
        stun_put_error(&w, (enum stun_error)codes[i], false);
        struct slice v = only_value(&w, STUN_ATTR_ERROR_CODE);
        assert_int_equal(v.len, 4);
        assert_int_equal(stun_error_decode(v), codes[i]);
        w = begin(buf, sizeof(buf));
        stun_put_error(&w, (enum stun_error)codes[i], true);
        v = only_value(&w, STUN_ATTR_ERROR_CODE);
        assert_int_equal(v.len > 4, codes[i] < 600); /* every one of ours has a phrase */
        assert_int_equal(stun_error_decode(v), codes[i]);
    }
}

static void test_bad_error_codes_are_refused(void **state)
{
    static const char *const bad[] = {"", "000004", "00000201", "00000701", "00000464"};
    uint8_t buf[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(stun_error_decode(hex_bytes(bad[i], buf, sizeof(buf))), -EBADMSG);
}

static void test_numbers_want_their_length(void **state)
{
    uint8_t buf[8] = {0x40, 0x01, 0, 0, 0};
    uint32_t v;
    uint16_t channel;
    uint8_t byte;

    (void)state;
    for (size_t n = 0; n <= 5; n++) {
        int want = n == 4 ? 0 : -EBADMSG;
        assert_int_equal(stun_u32_decode(&v, slice_of(buf, n)), want);
        assert_int_equal(stun_channel_decode(&channel, slice_of(buf, n)), want);
        assert_int_equal(stun_first_byte_decode(&byte, slice_of(buf, n), 4), want);
        assert_int_equal(stun_first_byte_decode(&byte, slice_of(buf, n), 0), -EBADMSG);
    }
    assert_int_equal(v, 0x40010000);
    assert_int_equal(channel, 0x4001);
    assert_int_equal(byte, 0x40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_survive_a_round_trip),
        cmocka_unit_test(test_malformed_addresses_are_refused),
        cmocka_unit_test(test_address_of_no_family_is_not_written),
        cmocka_unit_test(test_error_codes_survive_a_round_trip),
        cmocka_unit_test(test_bad_error_codes_are_refused),
        cmocka_unit_test(test_numbers_want_their_length),
    };

    return cmocka_run_group_tests_name("stun_attr", tests, NULL, NULL);
}

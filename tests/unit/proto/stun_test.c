/* stun.c: the vectors of RFC 5769 and RFC 8489 appendix B, every truncation, what follows
 * integrity. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/stun.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/crypto.h"
#include "proto/stun_attr.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

/* RFC 5769 §2.1: sample request, short-term credential. */
static const char rfc5769_request[] =
    "0001 0058 2112a442 b7e7a701bc34d686fa87dfae"
    "8022 0010 5354554e207465737420636c69656e74" /* SOFTWARE "STUN test client" */
    "0024 0004 6e0001ff"                         /* PRIORITY */
    "8029 0008 932ff9b151263b36"                 /* ICE-CONTROLLED */
    "0006 0009 6576746a3a68367659 202020"        /* USERNAME "evtj:h6vY", padded with spaces */
    "0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "8028 0004 e57a3bcf";
/* RFC 5769 §2.2: sample IPv4 response. */
static const char rfc5769_response4[] =
    "0101 003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022 000b 7465737420766563746f72 20" /* SOFTWARE "test vector" */
    "0020 0008 0001 a147 e112a643"        /* XOR-MAPPED-ADDRESS 192.0.2.1:32853 */
    "0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "8028 0004 c07d4c96";
/* RFC 5769 §2.3: sample IPv6 response. */
static const char rfc5769_response6[] = "0101 0048 2112a442 b7e7a701bc34d686fa87dfae"
                                        "8022 000b 7465737420766563746f72 20"
                                        "0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
                                        "0008 0014 a382954e4be67bf11784c97c8292c275bfe3ed41"
                                        "8028 0004 c8fb0b4c";
/* RFC 5769 §2.4: sample request with long-term authentication. */
static const char rfc5769_long_term[] =
    "0001 0060 2112a442 78ad3433c6ad72c029da412e"
    "0006 0012 e3839ee38388e383aae38383e382afe382b9 0000" /* USERNAME, six katakana */
    "0015 001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341" /* NONCE */
    "0014 000b 6578616d706c652e6f7267 00"                                /* REALM "example.org" */
    "0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666";
/* RFC 8489 appendix B.1 with erratum 6268: USERHASH, SHA-256 and the nonce cookie. */
static const char rfc8489_b1[] =
    "0001 0090 2112a442 78ad3433c6ad72c029da412e"
    "001e 0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    "0015 0029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473"
    "41 000000"
    "0014 000b 6578616d706c652e6f7267 00"
    "001d 0004 0002 0000"
    "001c 0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

#define SHORT_TERM SLICE_LIT("VOkJxbRl1RmTxUk/WvJxBt")
#define KATAKANA \
    SLICE_LIT("\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9")

static const uint8_t tid[STUN_TID_BYTES] = "transaction";

static struct slice decode_hex(struct stun_msg *m, const char *hex, uint8_t buf[512])
{
    struct slice bytes = hex_bytes(hex, buf, 512);

    assert_int_equal(stun_decode(m, bytes), 0);
    return bytes;
}

static void test_rfc5769_request_verifies(void **state)
{
    uint8_t buf[512];
    struct stun_msg m;
    struct slice v;

    (void)state;
    decode_hex(&m, rfc5769_request, buf);
    assert_int_equal(stun_method_of(m.type), STUN_BINDING);
    assert_int_equal(stun_class_of(m.type), STUN_REQUEST);
    assert_true(m.has_fingerprint);
    assert_true(stun_find(&m, STUN_ATTR_USERNAME, &v) && slice_is(v, "evtj:h6vY"));
    assert_true(stun_verify_sha1(&m, SHORT_TERM));
    assert_false(stun_verify_sha1(&m, SLICE_LIT("VOkJxbRl1RmTxUk/WvJxBs")));
    assert_false(stun_verify_sha256(&m, SHORT_TERM));
}

static void check_response(const char *hex, const char *want)
{
    uint8_t buf[512];
    char text[ADDR_TEXT_MAX];
    struct stun_msg m;
    struct slice v;
    struct addr a;

    decode_hex(&m, hex, buf);
    assert_int_equal(stun_class_of(m.type), STUN_SUCCESS);
    assert_true(stun_find(&m, STUN_ATTR_XOR_MAPPED_ADDRESS, &v));
    assert_int_equal(stun_xaddr_decode(&a, v, m.tid), 0);
    assert_string_equal(addr_format(&a, text), want);
    assert_true(stun_verify_sha1(&m, SHORT_TERM));
    assert_true(m.has_fingerprint);
}

static void test_rfc5769_responses_verify(void **state)
{
    (void)state;
    check_response(rfc5769_response4, "192.0.2.1:32853");
    check_response(rfc5769_response6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
}

static void test_rfc5769_long_term_request_verifies(void **state)
{
    uint8_t buf[512], key[STUN_KEY_BYTES];
    struct stun_msg m;
    struct slice v;

    (void)state;
    decode_hex(&m, rfc5769_long_term, buf);
    assert_false(m.has_fingerprint);
    assert_true(stun_find(&m, STUN_ATTR_USERNAME, &v) && slice_eq(v, KATAKANA));
    assert_int_equal(
        stun_long_term_key(key, KATAKANA, SLICE_LIT("example.org"), SLICE_LIT("TheMatrIX")), 0);
    assert_true(stun_verify_sha1(&m, slice_of(key, sizeof(key))));
}

static void test_rfc8489_b1_sha256_verifies(void **state)
{
    uint8_t buf[512], key[CRYPTO_SHA256_BYTES];
    uint8_t hash[STUN_USERHASH_BYTES];
    struct stun_msg m;
    struct slice v;

    (void)state;
    decode_hex(&m, rfc8489_b1, buf);
    assert_int_equal(stun_userhash(hash, KATAKANA, SLICE_LIT("example.org")), 0);
    assert_true(stun_find(&m, STUN_ATTR_USERHASH, &v));
    assert_true(slice_eq(v, slice_of(hash, sizeof(hash))));
    assert_int_equal(m.mi256_len, STUN_SHA256_BYTES);
    assert_int_equal(
        stun_long_term_key_sha256(key, KATAKANA, SLICE_LIT("example.org"), SLICE_LIT("TheMatrIX")),
        0);
    assert_true(stun_verify_sha256(&m, slice_of(key, sizeof(key))));
    key[0] ^= 1;
    assert_false(stun_verify_sha256(&m, slice_of(key, sizeof(key))));
}

static void test_every_truncation_is_refused(void **state)
{
    static const char *const all[] = {rfc5769_request, rfc5769_response4, rfc5769_response6,
                                      rfc5769_long_term, rfc8489_b1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        uint8_t buf[512];
        struct slice whole = hex_bytes(all[i], buf, sizeof(buf));
        for (size_t n = 0; n < whole.len; n++) {
            uint8_t *copy = guard_copy(whole.p, n);
            struct stun_msg m;
            assert_int_equal(stun_decode(&m, slice_of(copy, n)), -EBADMSG);
            /* The same with a length field that fits: an attribute may be cut, or integrity may
             * be missing, but nothing is read beyond the end. */
            if (n >= STUN_HEADER_BYTES) {
                copy[2] = (uint8_t)((n - STUN_HEADER_BYTES) >> 8);
                copy[3] = (uint8_t)(n - STUN_HEADER_BYTES);
                if (stun_decode(&m, slice_of(copy, n)) == 0)
                    assert_int_equal(n % 4, 0);
            }
            guard_free(copy, n);
        }
    }
}

static void test_malformed_messages_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "4001 0000 2112a442 000000000000000000000000", /* ChannelData's bits */
        "8001 0000 2112a442 000000000000000000000000",
        "0001 0000 2112a443 000000000000000000000000",                   /* cookie */
        "0001 0002 2112a442 000000000000000000000000 0000",              /* not a multiple of 4 */
        "0001 0004 2112a442 000000000000000000000000",                   /* longer than the bytes */
        "0001 0000 2112a442 000000000000000000000000 00060000",          /* shorter */
        "0001 0004 2112a442 000000000000000000000000 00060001",          /* value is missing */
        "0001 0008 2112a442 000000000000000000000000 0006ffff 00000000", /* runs over the end */
        "0001 0008 2112a442 000000000000000000000000 00080004 00000000", /* integrity too short */
        "0001 0010 2112a442 000000000000000000000000 001c000c 000000000000000000000000",
        "0001 0008 2112a442 000000000000000000000000 80280004 00000000", /* wrong fingerprint */
        "0001 0004 2112a442 000000000000000000000000 80280000",          /* empty fingerprint */
    };
    uint8_t buf[512];
    struct stun_msg m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(stun_decode(&m, hex_bytes(bad[i], buf, sizeof(buf))), -EBADMSG);
}

static void test_number_of_attributes_is_bounded(void **state)
{
    uint8_t buf[1024];
    struct stun_msg m;

    (void)state;
    for (unsigned n = STUN_ATTRS_MAX; n <= STUN_ATTRS_MAX + 1; n++) {
        struct wr w = wr_init(buf, sizeof(buf));
        stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
        for (unsigned i = 0; i < n; i++)
            stun_put(&w, STUN_ATTR_SOFTWARE, (struct slice){0});
        assert_int_equal(stun_decode(&m, wr_done(&w)), n > STUN_ATTRS_MAX ? -EBADMSG : 0);
    }
}

static void test_type_packs_and_unpacks_every_method(void **state)
{
    static const enum stun_class classes[] = {STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS,
                                              STUN_ERROR};

    (void)state;
    for (unsigned method = 0; method < 0x1000; method++) {
        for (size_t c = 0; c < ARRAY_LEN(classes); c++) {
            uint16_t type = stun_type((enum stun_method)method, classes[c]);
            assert_int_equal(type & 0xc000, 0);
            assert_int_equal(stun_method_of(type), method);
            assert_int_equal(stun_class_of(type), classes[c]);
        }
    }
}

static void test_attributes_after_integrity_are_out_of_reach(void **state)
{
    struct slice key = SLICE_LIT("key"), v;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct stun_msg m;

    (void)state;
    stun_begin(&w, stun_type(STUN_REFRESH, STUN_REQUEST), tid);
    stun_put(&w, STUN_ATTR_USERNAME, SLICE_LIT("ann"));
    stun_put_sha1(&w, key);
    stun_put(&w, STUN_ATTR_USERNAME, SLICE_LIT("eve"));
    stun_put_u32(&w, STUN_ATTR_LIFETIME, 0);
    stun_put_sha256(&w, key);
    stun_put_sha1(&w, SLICE_LIT("other"));
    stun_put_fingerprint(&w);
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    assert_true(stun_find(&m, STUN_ATTR_USERNAME, &v) && slice_is(v, "ann"));
    assert_false(stun_find(&m, STUN_ATTR_LIFETIME, &v));
    assert_true(stun_verify_sha1(&m, key));
    assert_true(stun_verify_sha256(&m, key));
    assert_false(stun_verify_sha1(&m, SLICE_LIT("other")));
    assert_true(m.has_fingerprint);
}

static void test_fingerprint_must_be_last(void **state)
{
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct stun_msg m;

    (void)state;
    stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
    stun_put_fingerprint(&w);
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    stun_put(&w, STUN_ATTR_SOFTWARE, SLICE_LIT("late"));
    assert_int_equal(stun_decode(&m, wr_done(&w)), -EBADMSG);
}

static void test_first_of_doubled_attributes_counts(void **state)
{
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct stun_msg m;
    struct slice v;

    (void)state;
    stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
    stun_put(&w, STUN_ATTR_REALM, SLICE_LIT("first"));
    stun_put(&w, STUN_ATTR_REALM, SLICE_LIT("second"));
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    assert_true(stun_find(&m, STUN_ATTR_REALM, &v) && slice_is(v, "first"));
}

static void test_one_flipped_bit_breaks_integrity(void **state)
{
    struct slice key = SLICE_LIT("a long-term key!");
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct stun_msg m;

    (void)state;
    stun_begin(&w, stun_type(STUN_ALLOCATE, STUN_REQUEST), tid);
    stun_put(&w, STUN_ATTR_USERNAME, SLICE_LIT("ann"));
    stun_put_sha1(&w, key);
    for (size_t bit = 0; bit < w.len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (stun_decode(&m, wr_done(&w)) == 0)
            assert_false(stun_verify_sha1(&m, key));
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    assert_true(stun_verify_sha1(&m, key));
}

static void test_writer_that_is_too_small_is_bad(void **state)
{
    uint8_t buf[128];

    (void)state;
    for (size_t cap = 0; cap < 20 + 8 + 24 + 8; cap++) {
        struct wr w = wr_init(buf, cap);
        stun_begin(&w, stun_type(STUN_BINDING, STUN_SUCCESS), tid);
        stun_put(&w, STUN_ATTR_USERNAME, SLICE_LIT("ann"));
        stun_put_sha1(&w, SLICE_LIT("key"));
        stun_put_fingerprint(&w);
        assert_true(w.bad);
        assert_int_equal(wr_done(&w).len, 0);
    }
}

static void test_trailing_value_is_counted_with_its_padding(void **state)
{
    static const struct {
        size_t len;
        unsigned pad;
    } cases[] = {{0, 0}, {1, 3}, {2, 2}, {3, 1}, {4, 0}, {65507, 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct wr w = wr_init(buf, sizeof(buf));
        stun_begin(&w, stun_type(STUN_DATA, STUN_INDICATION), tid);
        assert_int_equal(stun_put_trailing(&w, STUN_ATTR_DATA, cases[i].len), cases[i].pad);
        assert_false(w.bad);
        struct rd r = rd_init(slice_of(buf + 2, 2));
        assert_int_equal(rd_be16(&r), 4 + cases[i].len + cases[i].pad);
    }
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    stun_begin(&w, stun_type(STUN_DATA, STUN_INDICATION), tid);
    stun_put_trailing(&w, STUN_ATTR_DATA, 65533); /* the message's length would not fit */
    assert_true(w.bad);
}

/* Decodes every file of a folder of seeds; gives how many there were. */
static unsigned replay(const char *folder)
{
    const char *root = getenv("SORI_VECTORS");
    static uint8_t buf[65536];
    char path[1024];
    unsigned n = 0;

    snprintf(path, sizeof(path), "%s/fuzz-seeds/%s", root ? root : "../shared/vectors", folder);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof(path), "%s/fuzz-seeds/%s/%s", root ? root : "../shared/vectors",
                 folder, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f)
            continue;
        size_t len = fread(buf, 1, sizeof(buf), f);
        fclose(f);
        uint8_t *copy = guard_copy(buf, len);
        struct stun_msg m;
        if (stun_decode(&m, slice_of(copy, len)) == 0) {
            stun_verify_sha1(&m, SLICE_LIT("key"));
            stun_verify_sha256(&m, SLICE_LIT("key"));
        }
        guard_free(copy, len);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

static void test_every_seed_decodes_or_is_refused(void **state)
{
    (void)state;
    unsigned n =
        replay("webrtc/stun-corpus") + replay("coturn/FuzzStun") + replay("coturn/FuzzStunClient");
    if (n == 0) {
        print_message("no seeds found: skipped\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc5769_request_verifies),
        cmocka_unit_test(test_rfc5769_responses_verify),
        cmocka_unit_test(test_rfc5769_long_term_request_verifies),
        cmocka_unit_test(test_rfc8489_b1_sha256_verifies),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_malformed_messages_are_refused),
        cmocka_unit_test(test_number_of_attributes_is_bounded),
        cmocka_unit_test(test_type_packs_and_unpacks_every_method),
        cmocka_unit_test(test_attributes_after_integrity_are_out_of_reach),
        cmocka_unit_test(test_fingerprint_must_be_last),
        cmocka_unit_test(test_first_of_doubled_attributes_counts),
        cmocka_unit_test(test_one_flipped_bit_breaks_integrity),
        cmocka_unit_test(test_writer_that_is_too_small_is_bad),
        cmocka_unit_test(test_trailing_value_is_counted_with_its_padding),
        cmocka_unit_test(test_every_seed_decodes_or_is_refused),
    };

    return cmocka_run_group_tests_name("stun", tests, NULL, NULL);
}

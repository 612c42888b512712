/* access_token.c: a token of coturn's, every truncation and flipped bit, bounds of what is inside.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/access_token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

#define US     UINT64_C(1000000)
#define MADE_S UINT64_C(1700000000)
#define KEY    SLICE_LIT("HGkj32KJGiuy098sdfaqbNjOiaz71923")
#define SERVER SLICE_LIT("example.com")

/* Made by turnutils_oauth -e with this key and name. */
static const char coturn[] =
    "000c b52416152e8d7a8aaf6015d1 f2ca49e6c794ff2eaf5895bc6051d2dc4ad3854b41fcc611dc78738bd9fe3dab"
    "1a78b81a46bae2de2ea93e45c01ae6e3f611";

static void test_token_of_coturn_opens(void **state)
{
    uint8_t buf[128];
    struct slice token = hex_bytes(coturn, buf, sizeof(buf));
    struct access_token t;

    (void)state;
    assert_int_equal(access_token_open(&t, token, CRYPTO_A256GCM, KEY, SERVER), 0);
    assert_true(slice_is(slice_of(t.mac_key, t.mac_key_len), "ZksjpweoixXmvn67534m"));
    assert_true(t.made_us == 249231600 * US && t.until_us == t.made_us + 3600 * US);
}

static void test_every_truncation_and_flipped_bit_is_refused(void **state)
{
    uint8_t buf[128];
    struct slice token = hex_bytes(coturn, buf, sizeof(buf));
    struct access_token t;

    (void)state;
    for (size_t len = 0; len < token.len; len++) {
        uint8_t *g = guard_copy(buf, len);
        assert_int_not_equal(access_token_open(&t, slice_of(g, len), CRYPTO_A256GCM, KEY, SERVER),
                             0);
        guard_free(g, len);
    }
    for (size_t bit = 0; bit < token.len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(access_token_open(&t, token, CRYPTO_A256GCM, KEY, SERVER), 0);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(access_token_open(&t, token, CRYPTO_A256GCM, KEY, SERVER), 0);
}

static void test_key_cipher_and_server_must_be_the_right_ones(void **state)
{
    uint8_t buf[128];
    struct slice token = hex_bytes(coturn, buf, sizeof(buf));
    struct access_token t;

    (void)state;
    assert_int_equal(access_token_open(&t, token, CRYPTO_A256GCM,
                                       SLICE_LIT("HGkj32KJGiuy098sdfaqbNjOiaz71924"), SERVER),
                     -EACCES);
    assert_int_equal(access_token_open(&t, token, CRYPTO_A256GCM, KEY, SLICE_LIT("example.org")),
                     -EACCES);
    assert_int_equal(access_token_open(&t, token, CRYPTO_A256GCM, KEY, (struct slice){0}), -EACCES);
    assert_int_equal(access_token_open(&t, token, CRYPTO_A128GCM, slice_sub(KEY, 0, 16), SERVER),
                     -EACCES);
}

/* Seals a block of our own making. Returns what opening it gives. */
static int sealed(struct access_token *t, struct slice block, uint16_t nonce_len)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    wr_be16(&w, nonce_len);
    wr_zero(&w, nonce_len);
    struct slice nonce = slice_of(buf + 2, CRYPTO_AEAD_NONCE_BYTES);
    uint8_t *out = wr_reserve(&w, block.len + CRYPTO_AEAD_TAG_BYTES);
    assert_non_null(out);
    assert_int_equal(crypto_aead_seal(CRYPTO_A256GCM, KEY, nonce, SERVER, block, out), 0);
    uint8_t *g = guard_copy(buf, w.len);
    int err = access_token_open(t, slice_of(g, w.len), CRYPTO_A256GCM, KEY, SERVER);
    guard_free(g, w.len);
    return err;
}

static void test_lengths_inside_are_checked_before_they_are_used(void **state)
{
    static const struct {
        uint16_t said, there;
        int err;
    } cases[] = {
        {15, 15, -EBADMSG},     {16, 16, 0},          {20, 20, 0},        {64, 64, 0},
        {65, 65, -EBADMSG},     {0, 0, -EBADMSG},     {20, 19, -EBADMSG}, {20, 21, -EBADMSG},
        {0xffff, 32, -EBADMSG}, {256, 256, -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[512];
        struct wr w = wr_init(buf, sizeof(buf));
        struct access_token t = {.mac_key_len = 99};
        wr_be16(&w, cases[i].said);
        for (unsigned k = 0; k < cases[i].there; k++)
            wr_u8(&w, (uint8_t)k);
        wr_be64(&w, MADE_S << 16 | 32000);
        wr_be32(&w, 60);
        assert_int_equal(sealed(&t, wr_done(&w), 12), cases[i].err);
        assert_int_equal(t.mac_key_len, cases[i].err ? 99 : cases[i].said);
        if (!cases[i].err)
            assert_true(t.made_us == MADE_S * US + US / 2 && t.mac_key[15] == 15);
    }
    for (size_t len = 0; len < 34; len++) { /* blocks that end early */
        static const uint8_t block[34] = {0, 20};
        struct access_token t;
        assert_int_equal(sealed(&t, slice_of(block, len), 12), -EBADMSG);
    }
}

static void test_nonce_and_whole_have_one_length_and_a_bound(void **state)
{
    static const uint8_t block[34] = {0, 20}, long_block[ACCESS_TOKEN_MAX] = {0, 20};
    struct access_token t;

    (void)state;
    assert_int_equal(sealed(&t, slice_of(block, sizeof(block)), 12), 0);
    assert_int_equal(sealed(&t, slice_of(long_block, sizeof(block) + 1), 12), -EBADMSG);
    assert_int_equal(sealed(&t, slice_of(block, sizeof(block)), 13), -EBADMSG);
    assert_int_equal(sealed(&t, slice_of(block, sizeof(block)), 11), -EBADMSG);
    assert_int_equal(sealed(&t, slice_of(block, sizeof(block)), 0), -EBADMSG);
    assert_int_equal(sealed(&t, slice_of(long_block, sizeof(long_block)), 12), -EBADMSG);
}

static void test_times_do_not_overflow(void **state)
{
    uint8_t buf[64];
    struct access_token t;

    (void)state;
    for (int over = 0; over < 2; over++) {
        struct wr w = wr_init(buf, sizeof(buf));
        wr_be16(&w, 20);
        wr_zero(&w, 20);
        wr_be64(&w, ((UINT64_C(1) << 40) + (unsigned)over) << 16 | 0xffff);
        wr_be32(&w, UINT32_MAX);
        assert_int_equal(sealed(&t, wr_done(&w), 12), over ? -EBADMSG : 0);
    }
    assert_true(t.until_us > t.made_us);
    assert_int_equal(access_token_left_s(&t, 0), UINT32_MAX);
}

static void test_token_lives_from_its_time_to_its_end_give_or_take_five_seconds(void **state)
{
    const struct access_token t = {.made_us = 100 * US, .until_us = 160 * US};

    (void)state;
    assert_false(access_token_is_live(&t, 95 * US - 1));
    assert_true(access_token_is_live(&t, 95 * US));
    assert_true(access_token_is_live(&t, 165 * US - 1));
    assert_false(access_token_is_live(&t, 165 * US));
    assert_int_equal(access_token_left_s(&t, 100 * US), 60);
    assert_int_equal(access_token_left_s(&t, 159 * US + 1), 1);
    assert_int_equal(access_token_left_s(&t, 164 * US), 1); /* in the skew */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_of_coturn_opens),
        cmocka_unit_test(test_every_truncation_and_flipped_bit_is_refused),
        cmocka_unit_test(test_key_cipher_and_server_must_be_the_right_ones),
        cmocka_unit_test(test_lengths_inside_are_checked_before_they_are_used),
        cmocka_unit_test(test_nonce_and_whole_have_one_length_and_a_bound),
        cmocka_unit_test(test_times_do_not_overflow),
        cmocka_unit_test(test_token_lives_from_its_time_to_its_end_give_or_take_five_seconds),
    };

    return cmocka_run_group_tests_name("access_token", tests, NULL, NULL);
}

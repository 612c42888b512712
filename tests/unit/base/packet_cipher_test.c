/* Packet ciphers: vectors of RFC 3711 and RFC 7714, payloads in two parts, forgeries.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/packet_cipher.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/lib/hex.h"

struct vector {
    enum packet_cipher_kind kind;
    const char *key, *iv, *head, *trail, *text, *sealed, *tag;
};

#define GCM128_KEY "000102030405060708090a0b0c0d0e0f"
#define GCM256_KEY GCM128_KEY "101112131415161718191a1b1c1d1e1f"
#define GALLIA \
    "47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573"
#define MARS                                                                                     \
    "4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef " \
    "deadbeef"

static const struct vector vectors[] = {
    /* RFC 7714 §16.1.1 */
    {PACKET_CIPHER_AES128_GCM, GCM128_KEY, "51753c6580c2726f20718414", "8040f17b8041f8d35501a0b2",
     "", GALLIA, "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
     "899d7f27beb16a9152cf765ee4390cce"},
    /* RFC 7714 §16.2.1 */
    {PACKET_CIPHER_AES256_GCM, GCM256_KEY, "51753c6580c2726f20718414", "8040f17b8041f8d35501a0b2",
     "", GALLIA, "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b",
     "7aa3db36dfffd6b0f9bb7878d7a76c13"},
    /* RFC 7714 §17.1 */
    {PACKET_CIPHER_AES128_GCM, GCM128_KEY, "517524055203726f207170bb", "81c8000d4d617273",
     "800005d4", MARS,
     "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b",
     "c84aa45896cf4d2fc5abf87245d9eade"},
};

static struct packet_cipher *cipher(const struct vector *v, bool seal)
{
    uint8_t key[32], auth[20] = {0};
    struct slice k = hex_bytes(v->key, key, sizeof(key));
    struct packet_cipher *c = packet_cipher_new(v->kind, k, slice_of(auth, sizeof(auth)), seal);

    assert_non_null(c);
    return c;
}

static void test_rfc_7714_vectors(void **state)
{
    uint8_t iv[16], head[64], trail[8], text[64], want[64], tag[16], out[128], got[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct slice h = hex_bytes(v->head, head, sizeof(head));
        struct slice tr = hex_bytes(v->trail, trail, sizeof(trail));
        struct slice t = hex_bytes(v->text, text, sizeof(text));
        struct slice w = hex_bytes(v->sealed, want, sizeof(want));
        hex_bytes(v->iv, iv, sizeof(iv));
        hex_bytes(v->tag, tag, sizeof(tag));
        struct packet_cipher *s = cipher(v, true), *o = cipher(v, false);
        for (size_t cut = 0; cut <= t.len; cut++) { /* wherever the two parts meet */
            assert_true(packet_cipher_seal(s, iv, h, tr, slice_sub(t, 0, cut),
                                           slice_sub(t, cut, t.len), out, got));
            assert_memory_equal(out, w.p, w.len);
            assert_memory_equal(got, tag, 16);
        }
        assert_true(packet_cipher_open(o, iv, h, tr, w, tag, out));
        assert_memory_equal(out, t.p, t.len);
        packet_cipher_free(s);
        packet_cipher_free(o);
    }
}

static void test_rfc_3711_keystream_and_key_derivation(void **state)
{
    /* RFC 3711 appendix B.2; appendix B.3, labels 0, 2 and 1 */
    static const struct {
        const char *key, *iv, *stream;
    } v[] = {
        {"2b7e151628aed2a6abf7158809cf4f3c", "f0f1f2f3f4f5f6f7f8f9fafbfcfd0000",
         "e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab"
         "41e95b3bb0a2e8dd477901e4fca894c0"},
        {"e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afeebb6960b3aabe60000",
         "c61e7a93744f39ee10734afe3ff7a087"},
        {"e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afee9b6960b3aabe60000",
         "30cbbc08863d8c85d49db34a9ae1"},
        {"e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afeeab6960b3aabe60000",
         "cebe321f6ff7716b6fd4ab49af256a15 6d38baa4"},
    };
    uint8_t key[16], iv[16], want[64], got[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct slice w = hex_bytes(v[i].stream, want, sizeof(want));
        hex_bytes(v[i].iv, iv, sizeof(iv));
        assert_true(packet_cipher_keystream(hex_bytes(v[i].key, key, sizeof(key)), iv, got, w.len));
        assert_memory_equal(got, w.p, w.len);
    }
    assert_false(packet_cipher_keystream(slice_of(key, 15), iv, got, 16));
    assert_false(
        packet_cipher_keystream(slice_of(key, 16), iv, got, PACKET_CIPHER_KEYSTREAM_MAX + 1));
}

static void test_any_changed_bit_is_refused(void **state)
{
    static const enum packet_cipher_kind kinds[] = {
        PACKET_CIPHER_AES128_GCM, PACKET_CIPHER_AES256_GCM, PACKET_CIPHER_AES128_CM_SHA1_80};
    const uint8_t key[32] = {1}, auth[20] = {2}, trail[4] = {3};
    uint8_t iv[16] = {4}, pkt[12 + 20 + 16], tag[16], out[64];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct slice ks = slice_of(key, packet_cipher_key_bytes(kinds[k]));
        struct packet_cipher *s = packet_cipher_new(kinds[k], ks, slice_of(auth, 20), true);
        struct packet_cipher *o = packet_cipher_new(kinds[k], ks, slice_of(auth, 20), false);
        struct slice head = slice_of(pkt, 12), text = slice_of(pkt + 12, 20);
        struct slice tr = slice_of(trail, 4);
        size_t tag_len = packet_cipher_tag_bytes(kinds[k]);
        memset(pkt, 7, sizeof(pkt));
        /* in place */
        assert_true(packet_cipher_seal(s, iv, head, tr, text, (struct slice){0}, pkt + 12, tag));
        assert_true(packet_cipher_open(o, iv, head, tr, text, tag, out));
        for (size_t bit = 0; bit < 8 * 32u; bit++) {
            pkt[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(packet_cipher_open(o, iv, head, tr, text, tag, out));
            pkt[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t bit = 0; bit < 8 * tag_len; bit++) {
            tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(packet_cipher_open(o, iv, head, tr, text, tag, out));
            tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_false(packet_cipher_open(o, iv, head, slice_of(trail, 3), text, tag, out));
        assert_true(packet_cipher_open(o, iv, head, tr, text, tag, pkt + 12)); /* in place */
        for (size_t i = 0; i < 32; i++)
            assert_int_equal(pkt[i], 7);
        packet_cipher_free(s);
        packet_cipher_free(o);
    }
}

static void test_wrong_lengths_give_nothing(void **state)
{
    const uint8_t key[32] = {0};

    (void)state;
    assert_null(
        packet_cipher_new(PACKET_CIPHER_AES128_GCM, slice_of(key, 15), (struct slice){0}, 1));
    assert_null(
        packet_cipher_new(PACKET_CIPHER_AES256_GCM, slice_of(key, 16), (struct slice){0}, 1));
    assert_null(packet_cipher_new(PACKET_CIPHER_AES128_CM_SHA1_80, slice_of(key, 16),
                                  slice_of(key, 19), true));
    packet_cipher_free(NULL);
}

static void test_out_of_memory(void **state)
{
    const uint8_t key[16] = {0};
    uint64_t live = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_null(
        packet_cipher_new(PACKET_CIPHER_AES128_GCM, slice_of(key, 16), (struct slice){0}, 1));
    mem_fail_never();
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_7714_vectors),
        cmocka_unit_test(test_rfc_3711_keystream_and_key_derivation),
        cmocka_unit_test(test_any_changed_bit_is_refused),
        cmocka_unit_test(test_wrong_lengths_give_nothing),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

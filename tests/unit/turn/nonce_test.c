/* nonce.c: bound to the client, valid for its lifetime over a key change, unforgeable.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/nonce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

static const uint8_t master[NONCE_MASTER_BYTES] = {1, 2, 3};
static const struct five_tuple client = {
    .client = {.ip = {203, 0, 113, 7}, .port = 4711, .family = ADDR_V4}};

static void test_nonce_lives_for_its_lifetime(void **state)
{
    struct nonce_keys k;
    uint8_t nonce[NONCE_BYTES];
    struct slice n = slice_of(nonce, sizeof(nonce));

    (void)state;
    for (uint64_t start_s = 0; start_s < 250; start_s++) { /* at every phase of the 100 s epochs */
        uint64_t t = start_s * US_PER_S;
        assert_int_equal(nonce_init(&k, master, 100), 0);
        assert_int_equal(nonce_make(&k, 0, &client, t, nonce), 0);
        assert_true(nonce_is_valid(&k, n, &client, t));
        assert_true(nonce_is_valid(&k, n, &client, t + 99 * US_PER_S));
        assert_false(nonce_is_valid(&k, n, &client, t + 100 * US_PER_S));
        assert_false(nonce_is_valid(&k, n, &client, t + 1000 * US_PER_S));
        nonce_fini(&k);
    }
}

static void test_workers_with_one_master_agree(void **state)
{
    struct nonce_keys a, b;
    uint8_t nonce[NONCE_BYTES];

    (void)state;
    assert_int_equal(nonce_init(&a, master, 100), 0);
    assert_int_equal(nonce_init(&b, master, 100), 0);
    assert_int_equal(nonce_make(&a, 0, &client, 550 * US_PER_S, nonce), 0);
    assert_true(nonce_is_valid(&b, slice_of(nonce, sizeof(nonce)), &client, 649 * US_PER_S));
    nonce_fini(&b);
    uint8_t other[NONCE_MASTER_BYTES] = {9};
    assert_int_equal(nonce_init(&b, other, 100), 0);
    assert_false(nonce_is_valid(&b, slice_of(nonce, sizeof(nonce)), &client, 550 * US_PER_S));
    nonce_fini(&a);
    nonce_fini(&b);
}

static void test_other_client_or_changed_byte_is_refused(void **state)
{
    struct nonce_keys k;
    uint8_t nonce[NONCE_BYTES];
    struct slice n = slice_of(nonce, sizeof(nonce));
    struct five_tuple other = client;

    (void)state;
    assert_int_equal(nonce_init(&k, master, 100), 0);
    assert_int_equal(nonce_make(&k, 0, &client, 50 * US_PER_S, nonce), 0);
    other.client.port++;
    assert_false(nonce_is_valid(&k, n, &other, 50 * US_PER_S));
    other = client;
    other.listener = 1;
    assert_false(nonce_is_valid(&k, n, &other, 50 * US_PER_S));
    other = client;
    other.transport = FIVE_TUPLE_TLS;
    assert_false(nonce_is_valid(&k, n, &other, 50 * US_PER_S));
    struct five_tuple control = client, data;
    control.transport = FIVE_TUPLE_TCP;
    data = control;
    data.client.port++; /* a data connection comes from another port of the same client */
    uint8_t of_stream[NONCE_BYTES];
    struct slice s = slice_of(of_stream, sizeof(of_stream));
    assert_int_equal(nonce_make(&k, 0, &control, 50 * US_PER_S, of_stream), 0);
    assert_true(nonce_is_valid(&k, s, &data, 50 * US_PER_S));
    assert_false(nonce_is_valid(&k, s, &client, 50 * US_PER_S));
    data.client.ip[0]++;
    assert_false(nonce_is_valid(&k, s, &data, 50 * US_PER_S));
    for (size_t i = 0; i < NONCE_BYTES; i++) {
        for (unsigned v = 0; v < 256; v++) {
            uint8_t keep = nonce[i];
            nonce[i] = (uint8_t)v;
            assert_int_equal(nonce_is_valid(&k, n, &client, 50 * US_PER_S), v == keep);
            nonce[i] = keep;
        }
    }
    for (size_t len = 0; len < NONCE_BYTES; len++)
        assert_false(nonce_is_valid(&k, slice_sub(n, 0, len), &client, 50 * US_PER_S));
    nonce_fini(&k);
}

/* "The server MUST NOT choose the same NONCE for two requests unless they have the same source IP
 * address and port" (RFC 8489 §9.2.4): also where either is good for both. */
static void test_no_two_clients_have_the_same(void **state)
{
    struct nonce_keys k;
    uint8_t nonce[4][NONCE_BYTES];
    struct five_tuple from = client;

    (void)state;
    assert_int_equal(nonce_init(&k, master, 100), 0);
    for (uint8_t transport = FIVE_TUPLE_UDP; transport <= FIVE_TUPLE_DTLS; transport++) {
        for (unsigned i = 0; i < 4; i++) {
            from = client;
            from.transport = transport;
            from.client.port = (uint16_t)(1 << (5 * i));
            assert_int_equal(nonce_make(&k, 0, &from, 50 * US_PER_S, nonce[i]), 0);
            assert_true(nonce_is_valid(&k, slice_of(nonce[i], NONCE_BYTES), &from, 51 * US_PER_S));
            for (unsigned j = 0; j < i; j++)
                assert_memory_not_equal(nonce[i], nonce[j], NONCE_BYTES);
        }
    }
    nonce_fini(&k);
}

static void test_features_come_back_as_sent_or_not_at_all(void **state)
{
    struct nonce_keys k;
    uint8_t nonce[NONCE_BYTES];
    struct slice n = slice_of(nonce, sizeof(nonce));

    (void)state;
    assert_int_equal(nonce_init(&k, master, 100), 0);
    for (unsigned sent = 0; sent < 4; sent++) {
        assert_int_equal(nonce_make(&k, sent, &client, 50 * US_PER_S, nonce), 0);
        assert_true(slice_starts(n, SLICE_LIT("obMatJos2AAA")));
        assert_int_equal(nonce[12], 'A' + sent);
        assert_int_equal(nonce_features(n), sent);
        for (unsigned got = 0; got < 4; got++) {
            nonce[12] = (uint8_t)('A' + got);
            assert_int_equal(nonce_is_valid(&k, n, &client, 50 * US_PER_S), got == sent);
        }
    }
    /* The cookie of RFC 8489 appendix B.1: bit 1, username anonymity. */
    assert_int_equal(nonce_features(SLICE_LIT("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")),
                     NONCE_USERNAME_ANONYMITY);
    assert_int_equal(nonce_features(SLICE_LIT("obMatJos2AAA")), 0);
    assert_int_equal(nonce_features(SLICE_LIT("obMatJos3AAAC")), 0);
    assert_int_equal(nonce_features(SLICE_LIT("obMatJos2AA.C")), 0);
    assert_int_equal(nonce_features((struct slice){0}), 0);
    nonce_fini(&k);
}

static void test_oom_nonces_come_back_with_memory(void **state)
{
    struct nonce_keys k;
    uint8_t nonce[NONCE_BYTES];

    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        int made = nonce_init(&k, master, 100);
        if (made == 0)
            made = nonce_make(&k, 0, &client, 150 * US_PER_S, nonce);
        bool failed = mem_failed();
        mem_fail_never();
        if (k._keys._master) {
            assert_int_equal(nonce_make(&k, 0, &client, 150 * US_PER_S, nonce), 0);
            assert_true(
                nonce_is_valid(&k, slice_of(nonce, sizeof(nonce)), &client, 150 * US_PER_S));
        }
        nonce_fini(&k);
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nonce_lives_for_its_lifetime),
        cmocka_unit_test(test_workers_with_one_master_agree),
        cmocka_unit_test(test_other_client_or_changed_byte_is_refused),
        cmocka_unit_test(test_no_two_clients_have_the_same),
        cmocka_unit_test(test_features_come_back_as_sent_or_not_at_all),
        cmocka_unit_test(test_oom_nonces_come_back_with_memory),
    };

    return cmocka_run_group_tests_name("nonce", tests, NULL, NULL);
}

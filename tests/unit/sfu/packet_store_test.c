/* packet_store.c: what was committed is found until its bytes or its slot are overwritten.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/packet_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "sfu/media_packet.h"

static struct media_packet *put(struct packet_store *ps, uint64_t seq, size_t len)
{
    uint8_t *p = packet_store_reserve(ps, len);

    assert_non_null(p);
    memset(p, (int)(seq & 0xff), len);
    return packet_store_commit(ps, seq, len);
}

static void assert_whole(const struct media_packet *m)
{
    for (size_t i = 0; i < m->len; i++)
        assert_int_equal(m->p[i], (uint8_t)m->seq);
}

static void test_a_packet_is_seen_from_its_commit_on(void **state)
{
    struct packet_store *ps = packet_store_new(8, 0);
    uint64_t newest;

    (void)state;
    assert_false(packet_store_newest(ps, &newest));
    assert_non_null(packet_store_reserve(ps, 100));
    assert_null(packet_store_find(ps, 7));
    struct media_packet *m = put(ps, 7, 90);
    assert_non_null(m);
    assert_ptr_equal(packet_store_find(ps, 7), m);
    assert_int_equal(m->len, 90);
    assert_int_equal(m->seq, 7);
    assert_int_equal(m->payload_at, 0);
    assert_whole(m);
    assert_true(packet_store_newest(ps, &newest));
    assert_int_equal(newest, 7);
    packet_store_free(ps);
}

static void test_what_was_reserved_and_not_committed_leaves_no_trace(void **state)
{
    struct packet_store *ps = packet_store_new(8, 0);

    (void)state;
    assert_null(packet_store_commit(ps, 1, 10)); /* nothing reserved */
    uint8_t *first = packet_store_reserve(ps, 100);
    assert_ptr_equal(packet_store_reserve(ps, 50), first);
    assert_null(packet_store_commit(ps, 1, 51)); /* more than reserved */
    assert_null(packet_store_commit(ps, 1, 0));
    assert_non_null(packet_store_commit(ps, 1, 50));
    assert_null(packet_store_commit(ps, 2, 50)); /* once only */
    packet_store_free(ps);
}

static void test_lengths(void **state)
{
    struct packet_store *ps = packet_store_new(8, PACKET_STORE_BYTES_MIN);

    (void)state;
    assert_null(packet_store_reserve(ps, 0));
    assert_null(packet_store_reserve(ps, PACKET_STORE_LEN_MAX + 1));
    assert_null(packet_store_commit(ps, 1, 1));
    assert_non_null(put(ps, 1, PACKET_STORE_LEN_MAX));
    assert_non_null(put(ps, 2, PACKET_STORE_LEN_MAX));
    assert_whole(packet_store_find(ps, 1));
    assert_non_null(put(ps, 3, 1));
    assert_null(packet_store_find(ps, 1));
    assert_whole(packet_store_find(ps, 2));
    packet_store_free(ps);
}

static void test_duplicates_and_old_packets_are_refused(void **state)
{
    struct packet_store *ps = packet_store_new(8, 65536);
    uint64_t newest;

    (void)state;
    for (uint64_t seq = 65530; seq < 65540; seq++)
        assert_int_equal(seq == 65534, seq == 65534 || put(ps, seq, 10) == NULL);
    assert_null(put(ps, 65539, 10));
    assert_non_null(put(ps, 65534, 10)); /* late, and missing */
    assert_null(put(ps, 65534, 10));
    assert_null(put(ps, 65531, 10)); /* 8 back: its slot is 65539's */
    assert_non_null(packet_store_find(ps, 65532));
    assert_true(packet_store_newest(ps, &newest));
    assert_int_equal(newest, 65539);
    assert_null(put(ps, UINT64_MAX, 10));
    packet_store_free(ps);
}

static void test_reserving_alone_already_overwrites(void **state)
{
    struct packet_store *ps = packet_store_new(8, PACKET_STORE_BYTES_MIN);

    (void)state;
    for (uint64_t seq = 0; seq < 4; seq++)
        assert_non_null(put(ps, seq, 1024));
    assert_non_null(packet_store_find(ps, 0));
    assert_non_null(packet_store_reserve(ps, 1025));
    assert_null(packet_store_find(ps, 0));
    assert_null(packet_store_find(ps, 1));
    assert_non_null(packet_store_reserve(ps, 10)); /* a shorter one gives nothing back */
    assert_null(packet_store_find(ps, 1));
    assert_non_null(packet_store_find(ps, 2));
    packet_store_free(ps);
}

static void test_reset_forgets(void **state)
{
    struct packet_store *ps = packet_store_new(8, 0);
    uint64_t newest;

    (void)state;
    put(ps, 100, 10);
    packet_store_reset(ps);
    assert_null(packet_store_find(ps, 100));
    assert_false(packet_store_newest(ps, &newest));
    assert_non_null(put(ps, 3, 10));
    packet_store_free(ps);
}

static void test_sizes(void **state)
{
    struct packet_store *audio =
        packet_store_new(PACKET_STORE_AUDIO_PKTS, PACKET_STORE_AUDIO_BYTES);
    struct packet_store *odd = packet_store_new(9, 0);

    (void)state;
    assert_true(packet_store_footprint(audio) <= 12 * 1024);
    for (uint64_t seq = 0; seq < 16; seq++)
        put(odd, seq, 10);
    assert_non_null(packet_store_find(odd, 0)); /* 9 became 16 */
    assert_int_equal(packet_store_bytes_for(4000000, 1), 500000);
    assert_int_equal(packet_store_bytes_for(UINT64_MAX, UINT32_MAX),
                     PACKET_STORE_BPS_MAX / 8 * PACKET_STORE_S_MAX);
    packet_store_free(audio);
    packet_store_free(odd);
    packet_store_free(NULL);
}

/* Against a model: whatever is found is whole, and the last packets that fit are always found. */
static void test_random_streams_never_show_torn_packets(void **state)
{
    struct packet_store *ps = packet_store_new(64, 16384);
    struct rand_src rnd;
    uint64_t next = 1000;

    (void)state;
    rand_src_init(&rnd, 5);
    for (unsigned i = 0; i < 100000; i++) {
        size_t len = 1 + rand_src_below(&rnd, 1500);
        uint64_t seq = next;
        if (rand_src_below(&rnd, 8) == 0)
            seq -= rand_src_below(&rnd, 100);
        else
            next += 1 + (rand_src_below(&rnd, 20) == 0) * rand_src_below(&rnd, 100);
        if (rand_src_below(&rnd, 10) == 0) {
            memset(packet_store_reserve(ps, len), 0xee, len);
            continue;
        }
        struct media_packet *m = put(ps, seq, len);
        if (m)
            assert_ptr_equal(packet_store_find(ps, seq), m);
        m = packet_store_find(ps, next - rand_src_below(&rnd, 100));
        if (m)
            assert_whole(m);
    }
    packet_store_free(ps);
}

static void test_oom_new(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 4; n++) {
        mem_fail_after(n);
        assert_null(packet_store_new(8, 0));
        mem_fail_never();
        assert_int_equal(mem_live(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_is_seen_from_its_commit_on),
        cmocka_unit_test(test_what_was_reserved_and_not_committed_leaves_no_trace),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_duplicates_and_old_packets_are_refused),
        cmocka_unit_test(test_reserving_alone_already_overwrites),
        cmocka_unit_test(test_reset_forgets),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_random_streams_never_show_torn_packets),
        cmocka_unit_test(test_oom_new),
    };

    return cmocka_run_group_tests_name("packet_store", tests, NULL, NULL);
}

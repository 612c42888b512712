/* What clients with bad intentions, or strange habits, can do to a room: nothing to the others.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_room.h"

#define MS US_PER_MS

static const struct fake_offer cam = {.cam = true, .video = 1};

/* One VP8 packet, not yet forwarded: the batch goes on. */
static void frame(struct fake_client *c, uint32_t ssrc, uint64_t index, uint32_t ts, bool key)
{
    uint8_t p[64] = {0x90, 0x80, 0x80 | (uint8_t)(index >> 8 & 0x7f), (uint8_t)index,
                     key ? 0x10 : 0x11};
    struct fake_rtp r = {
        .ssrc = ssrc, .ts = ts, .index = index, .pt = FAKE_PT_VP8, .marker = true, .level = -1};

    memcpy(p + 10, &index, sizeof(index));
    fake_rtp_out(c, &r, slice_of(p, sizeof(p)));
}

/* ---- numbers: with AES-GCM none may be used twice (fake_rtp_in() compares what comes again) ----
 */

static void test_two_packets_of_one_place_in_the_store_are_not_one_number_twice(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &cam);

    (void)state;
    frame(a, a->cam_ssrc, 1000, 0, true);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    assert_int_equal(b->n_got, 1);
    frame(a, a->cam_ssrc, 1001, 3000, false);
    frame(a, a->cam_ssrc, 1001 + PACKET_STORE_VIDEO_PKTS, 6000, true);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    frame(a, a->cam_ssrc, 1002 + PACKET_STORE_VIDEO_PKTS, 9000, false);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    assert_true(b->n_got >= 2);
    fake_room_free(w);
}

static void test_a_nack_after_other_extension_ids_repeats_nothing(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer with = cam, without = {.cam = true, .video = 1, .no_twcc = true};
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &with);

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        frame(a, a->cam_ssrc, 1000 + i, 3000 * i, i == 0);
        fake_turn(w);
        fake_wait(w, 33 * MS);
    }
    unsigned n = b->n_got;
    assert_true(n >= 5);
    assert_true(fake_offer_it(b, &without, false));
    for (unsigned i = 0; i < 5; i++)
        fake_nack(b, b->slot[0].ssrc, b->got[i].seq);
    fake_wait(w, 50 * MS);
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_packets_of_one_place_in_the_store_are_not_one_number_twice),
        cmocka_unit_test(test_a_nack_after_other_extension_ids_repeats_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

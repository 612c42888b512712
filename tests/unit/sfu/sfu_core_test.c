/* sfu_core.c and what is behind it: rooms with clients that do ICE, DTLS and SRTP.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_room.h"

#include <stdlib.h>

#define MS US_PER_MS

static const struct fake_offer talker = {.mic = true, .audio = 3};

static void test_everybody_hears_everybody_else(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &talker);

    (void)state;
    for (int i = 0; i < 10; i++) {
        fake_talk(a, 20, "alice", 5);
        fake_talk(b, 30, "bob", 3);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(a->n_got, 10);
    assert_int_equal(b->n_got, 10);
    assert_int_equal(c->n_got, 20);
    for (unsigned i = 0; i < 10; i++) {
        assert_memory_equal(a->got[i].payload, "bob", 3);
        assert_memory_equal(b->got[i].payload, "alice", 5);
        assert_int_equal(b->got[i].pt, FAKE_PT_OPUS);
        if (i) {
            assert_int_equal((uint16_t)(b->got[i].seq - b->got[i - 1].seq), 1);
            assert_int_equal(b->got[i].ts - b->got[i - 1].ts, 960);
        }
    }
    fake_room_free(w);
}

static void test_rooms_do_not_hear_each_other(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "s", "b", &talker);

    (void)state;
    for (int i = 0; i < 5; i++) {
        fake_talk(a, 20, "x", 1);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(b->n_got, 0);
    fake_room_free(w);
}

static void test_who_leaves_is_gone_and_the_slot_serves_the_next(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer one = {.mic = true, .audio = 1};
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &one);

    (void)state;
    fake_talk(a, 20, "one", 3);
    fake_wait(w, 20 * MS);
    assert_int_equal(b->n_got, 1);
    uint32_t ssrc = b->got[0].ssrc, ts = b->got[0].ts;
    uint16_t seq = b->got[0].seq;
    fake_request(w, a, CTL_LEAVE);
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
    unsigned silence = b->n_got - 1; /* comfort silence ended the run */
    assert_in_range(silence, 1, 3);
    assert_memory_equal(b->got[1].payload, "\xf8\xff\xfe", 3);
    struct fake_client *c = fake_join(w, "r", "c", &talker);
    fake_wait(w, 500 * MS);
    fake_talk(c, 20, "two", 3);
    struct fake_got *g = &b->got[b->n_got - 1];
    assert_memory_equal(g->payload, "two", 3);
    assert_int_equal(g->ssrc, ssrc);
    assert_int_equal((uint16_t)(g->seq - seq), silence + 1);
    assert_in_range(g->ts - ts, 500 * 48, 700 * 48);
    assert_true(g->marker);
    assert_int_equal(fake_events(w, CTL_TRACK, "a", "1 a:0"), 1); /* ended */
    fake_room_free(w);
}

static void test_a_nack_is_answered_with_the_same_bytes(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    b->drop_every = 3;
    for (int i = 0; i < 9; i++) {
        char text[16];
        snprintf(text, sizeof(text), "pkt%d", i);
        fake_talk(a, 20, text, 4);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(b->n_got, 6);
    b->drop_every = 0;
    uint16_t first = b->got[0].seq;
    fake_nack(b, b->got[0].ssrc, (uint16_t)(first + 2));
    assert_int_equal(b->n_got, 7);
    assert_memory_equal(b->got[6].payload, "pkt2", 4);
    assert_int_equal(b->got[6].seq, (uint16_t)(first + 2));
    /* Asked again (fake_rtp_in() compares the bytes), and for what was never sent. */
    fake_nack(b, b->got[0].ssrc, (uint16_t)(first + 2));
    fake_nack(b, b->got[0].ssrc, (uint16_t)(first + 2000));
    assert_int_equal(counter_get(&w->core->count.rtx_pkts), 2);
    assert_int_equal(counter_get(&w->core->count.drop[CORE_DROP_NACK_GONE]), 1);
    fake_room_free(w);
}

static void test_loss_brings_red_and_peace_takes_it_away(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "p0", 2);
    fake_wait(w, 20 * MS);
    assert_int_equal(b->got[0].pt, FAKE_PT_OPUS);
    fake_loss(b, b->got[0].ssrc, 4);
    for (int i = 1; i < 4; i++) {
        char text[16];
        snprintf(text, sizeof(text), "p%d", i);
        fake_talk(a, 20, text, 2);
        fake_wait(w, 20 * MS);
    }
    struct fake_got *g = &b->got[b->n_got - 1];
    assert_int_equal(g->pt, FAKE_PT_RED);
    /* header of one copy (4 bytes), of the primary (1), the copy, the primary */
    assert_int_equal(g->len, 5 + 4);
    assert_int_equal(g->payload[0], 0x80 | FAKE_PT_OPUS);
    assert_int_equal(g->payload[4], FAKE_PT_OPUS);
    assert_memory_equal(g->payload + 5, "p2p3", 4);
    /* A repetition of a RED packet is the same, too. */
    fake_nack(b, g->ssrc, g->seq);
    for (int i = 0; i < 20; i++)
        fake_loss(b, b->got[0].ssrc, 0);
    fake_talk(a, 20, "p4", 2);
    assert_int_equal(b->got[b->n_got - 1].pt, FAKE_PT_OPUS);
    fake_room_free(w);
}

static void test_red_of_a_publisher_is_opened_and_repairs(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer plain = {.mic = true, .audio = 2, .no_red = true};
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &plain);
    static const char red1[] = "\x6f"
                               "one";
    static const char red3[] = "\xef\x0f\x00\x03\x6f"
                               "twothr"; /* copy of 960 = 0x3c0 units: below */
    struct fake_rtp r = {.ssrc = a->ssrc, .pt = FAKE_PT_RED, .level = 20};
    uint8_t copy[sizeof(red3)];

    (void)state;
    r.index = a->seq;
    r.ts = 0;
    fake_rtp_out(a, &r, slice_of(red1, 4));
    fake_turn(w);
    /* Two is lost; three brings it: F=1 PT=111, offset 960 (14 bits), length 3 (10 bits). */
    memcpy(copy, red3, sizeof(copy));
    copy[1] = (uint8_t)(960 >> 6);
    copy[2] = (uint8_t)((960 & 0x3f) << 2);
    copy[3] = 3;
    r.index = a->seq + 2;
    r.ts = 1920;
    fake_rtp_out(a, &r, slice_of(copy, sizeof(red3) - 1));
    fake_turn(w);
    assert_int_equal(b->n_got, 3);
    assert_memory_equal(b->got[0].payload, "one", 3);
    assert_memory_equal(b->got[1].payload, "two", 3);
    assert_memory_equal(b->got[2].payload, "thr", 3);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal((uint16_t)(b->got[i].seq - b->got[i - 1].seq), 1);
        assert_int_equal(b->got[i].ts - b->got[i - 1].ts, 960);
        assert_int_equal(b->got[i].pt, FAKE_PT_OPUS);
    }
    assert_int_equal(counter_get(&w->core->count.repaired_red), 1);
    fake_room_free(w);
}

/* libwebrtc probes its uplink with padding on the audio SSRC. */
static void test_padding_of_a_publisher_leaves_no_gap(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_rtp pad = {.ssrc = a->ssrc, .pt = FAKE_PT_OPUS, .level = -1};

    (void)state;
    fake_talk(a, 20, "one", 3);
    struct fake_rtp late = {
        .ssrc = a->ssrc, .ts = a->ts, .index = a->seq, .pt = FAKE_PT_OPUS, .level = 20};
    a->seq++;
    a->ts += 960;
    for (int i = 0; i < 3; i++) {
        pad.index = a->seq++;
        pad.ts = a->ts - 960;
        fake_rtp_out(a, &pad, (struct slice){0});
    }
    fake_turn(w);
    fake_talk(a, 20, "three", 5);
    fake_rtp_out(a, &late, slice_of("two", 3)); /* all of them overtook it */
    fake_turn(w);
    pad.index = a->seq++;
    fake_rtp_out(a, &pad, (struct slice){0});
    fake_turn(w);
    fake_talk(a, 20, "four", 4);
    assert_int_equal(b->n_got, 4);
    static const int order[] = {0, 2, 1, 3};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal((uint16_t)(b->got[i].seq - b->got[0].seq), order[i]);
        assert_int_equal(b->got[i].ts - b->got[0].ts, 960 * order[i]);
    }
    assert_memory_equal(b->got[2].payload, "two", 3);
    assert_memory_equal(b->got[3].payload, "four", 4);
    /* Redundancy finds the packets on both sides of padding. */
    fake_loss(b, b->got[0].ssrc, 40);
    pad.index = a->seq++;
    fake_rtp_out(a, &pad, (struct slice){0});
    fake_turn(w);
    fake_talk(a, 20, "five", 4);
    struct fake_got *g = &b->got[b->n_got - 1];
    assert_int_equal(g->pt, FAKE_PT_RED);
    assert_memory_equal(g->payload + 9, "threefourfive", 13);
    fake_room_free(w);
}

/* Encrypted end to end, RED's own headers too: what can't be opened goes on whole, to who takes
 * RED. */
static void test_closed_red_goes_on_whole(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer plain = {.mic = true, .audio = 2, .no_red = true};
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &plain);
    struct fake_rtp r = {.ssrc = a->ssrc, .pt = FAKE_PT_RED, .level = 20};

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        r.index = a->seq + i;
        r.ts = 960 * i;
        fake_rtp_out(a, &r, slice_of("\x99sealed", 7));
        fake_turn(w);
    }
    assert_true(b->n_got >= 4);
    assert_int_equal(b->got[b->n_got - 1].pt, FAKE_PT_RED);
    assert_memory_equal(b->got[b->n_got - 1].payload, "\x99sealed", 7);
    assert_int_equal(c->n_got, 0);
    fake_room_free(w);
}

static void test_only_the_loudest_are_heard_and_no_onset_is_cut(void **state)
{
    struct fake_room *w = fake_room_new("[audio]\nlast_n = 2\n");
    struct fake_offer two = {.mic = true, .audio = 2};
    struct fake_client *v[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof(id), "p%d", i);
        v[i] = fake_join(w, "r", id, &two);
    }
    /* 0 and 1 speak, the others are silent. */
    for (int t = 0; t < 50; t++) {
        for (int i = 0; i < 6; i++)
            fake_talk(v[i], i < 2 ? 20 : 100, i < 2 ? "loud" : "hush", 4);
        fake_wait(w, 20 * MS);
    }
    unsigned before = v[5]->n_got;
    assert_int_equal(memcmp(v[5]->got[before - 1].payload, "loud", 4), 0);
    assert_int_equal(memcmp(v[5]->got[before - 2].payload, "loud", 4), 0);
    /* 1 falls silent, 3 begins to speak: its first loud packet is heard. */
    for (int t = 0; t < 40; t++) {
        for (int i = 0; i < 6; i++)
            fake_talk(v[i], i == 0 ? 20 : 100, i == 0 ? "loud" : "hush", 4);
        fake_wait(w, 20 * MS);
    }
    fake_talk(v[3], 20, "first", 5);
    struct fake_got *g = &v[5]->got[v[5]->n_got - 1];
    assert_memory_equal(g->payload, "first", 5);
    fake_room_free(w);
}

/* On air are more than a receiver has slots: who begins to speak is put on one with that packet. */
static void test_few_slots_go_to_who_begins_to_speak(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer one = {.mic = true, .audio = 1};
    struct fake_client *v[3], *ear = fake_join(w, "r", "ear", &one);

    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof(id), "p%d", i);
        v[i] = fake_join(w, "r", id, &talker);
    }
    for (int round = 0; round < 6; round++) {
        for (int t = 0; t < 50; t++) { /* all are silent for a second */
            for (int i = 0; i < 3; i++)
                fake_talk(v[i], 100, "hush", 4);
            fake_wait(w, 20 * MS);
        }
        fake_talk(v[round % 3], 20, "loud", 4);
        assert_memory_equal(ear->got[ear->n_got - 1].payload, "loud", 4);
    }
    fake_room_free(w);
}

static void test_speakers_are_told_within_200_ms(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    int first = -1;

    (void)state;
    for (int t = 0; t < 20; t++) {
        fake_talk(a, 100, "hush", 4);
        fake_talk(b, 100, "hush", 4);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(fake_events(w, CTL_SPEAKERS, NULL, NULL), 0);
    for (int t = 0; t < 15; t++) {
        fake_talk(a, 100, "hush", 4);
        fake_talk(b, 20, "hey", 3);
        fake_wait(w, 20 * MS);
        if (first < 0 && fake_events(w, CTL_SPEAKERS, NULL, "b 1"))
            first = t;
    }
    assert_in_range(first, 0, 9);
    fake_room_free(w);
}

static void test_mute_by_others_stops_forwarding_until_the_owner_unmutes(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "one", 3);
    memset(&w->req.u, 0, sizeof(w->req.u));
    w->req.u.mute.track = slice_str("a:0");
    w->req.u.mute.muted = w->req.u.mute.forced = true;
    fake_request(w, a, CTL_MUTE);
    unsigned n = b->n_got;
    fake_talk(a, 20, "two", 3);
    assert_int_equal(b->n_got, n);
    assert_int_equal(fake_events(w, CTL_TRACK, "a", "muted=1"), 1);
    w->req.u.mute.muted = w->req.u.mute.forced = false;
    fake_request(w, a, CTL_MUTE);
    fake_talk(a, 20, "three", 5);
    assert_memory_equal(b->got[b->n_got - 1].payload, "three", 5);
    fake_room_free(w);
}

static void test_what_may_not_be_published_is_not_heard(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer mute = {
        .mic = true, .audio = 2, .publish = CTL_SOURCE_BIT(CTL_SOURCE_CAMERA)};
    struct fake_client *a = fake_join(w, "r", "a", &mute), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "one", 3);
    assert_int_equal(b->n_got, 0);
    assert_int_equal(counter_get(&w->core->count.drop[CORE_DROP_SSRC_UNKNOWN]), 1);
    fake_room_free(w);
}

static void test_forged_replayed_and_foreign_packets_reach_nobody(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_rtp r = {.ssrc = a->ssrc, .index = a->seq, .pt = FAKE_PT_OPUS, .level = 20};
    uint8_t out[2048];

    (void)state;
    size_t n = fake_protect(a, &r, slice_of("good", 4), out);
    out[n - 1] ^= 1;
    fake_send(a, slice_of(out, n));
    fake_turn(w);
    assert_int_equal(b->n_got, 0);
    out[n - 1] ^= 1;
    fake_send(a, slice_of(out, n));
    fake_send(a, slice_of(out, n));
    fake_send(b, slice_of(out, n)); /* from another client's address */
    fake_turn(w);
    assert_int_equal(b->n_got, 1);
    r.ssrc = 77; /* a stream that nobody described: its payload type says which section */
    r.index++;
    fake_rtp_out(a, &r, slice_of("anon", 4));
    fake_turn(w);
    r.ssrc = a->ssrc;
    r.pt = 35; /* not negotiated */
    r.index++;
    fake_rtp_out(a, &r, slice_of("type", 4));
    fake_turn(w);
    assert_int_equal(counter_get(&w->core->count.drop[CORE_DROP_PT_UNKNOWN]) +
                             counter_get(&w->core->count.drop[CORE_DROP_SSRC_UNKNOWN]) >
                         0,
                     1);
    fake_room_free(w);
}

static void test_video_waits_for_a_key_frame_and_asks_for_one(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer cam = {.cam = true, .video = 1};
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &cam);
    uint32_t ts = 0;
    uint16_t pid = 100;

    (void)state;
    for (int i = 0; i < 10; i++, ts += 3000, pid++) {
        fake_frame(a, a->cam_ssrc, NULL, NULL, a->cam_seq++, ts, pid, false, 300);
        fake_wait(w, 33 * MS);
    }
    assert_int_equal(b->n_got, 0);
    assert_true(fake_rtcp_count(a, RTCP_PSFB, RTCP_FB_PLI) >= 1);
    for (int i = 0; i < 10; i++, ts += 3000, pid++) {
        fake_frame(a, a->cam_ssrc, NULL, NULL, a->cam_seq++, ts, pid, i == 0, 300);
        fake_wait(w, 33 * MS);
    }
    assert_int_equal(b->n_got, 10);
    assert_int_equal(b->got[0].payload[4], 0x10);
    for (unsigned i = 1; i < 10; i++) {
        assert_int_equal((uint16_t)(b->got[i].seq - b->got[i - 1].seq), 1);
        assert_int_equal(b->got[i].ts - b->got[i - 1].ts, 3000);
    }
    /* Lost video comes back inside RTX, under a number of its own. */
    fake_nack(b, b->got[3].ssrc, b->got[3].seq);
    fake_wait(w, 50 * MS);
    struct fake_got *g = NULL;
    for (unsigned i = 10; i < b->n_got; i++)
        if (b->got[i].ssrc == b->slot[0].rtx && b->got[i].len > 255)
            g = &b->got[i];
    assert_non_null(g);
    assert_int_equal(g->pt, FAKE_PT_RTX);
    assert_int_equal(g->payload[0] << 8 | g->payload[1], b->got[3].seq);
    assert_memory_equal(g->payload + 2, b->got[3].payload, b->got[3].len);
    fake_room_free(w);
}

static void test_a_hundred_joiners_cost_few_key_frames(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer cam = {.cam = true}, look = {.video = 1};
    struct fake_client *a = fake_join(w, "r", "a", &cam);
    uint32_t ts = 0;
    unsigned before;

    (void)state;
    for (int i = 0; i < 40; i++, ts += 3000) {
        fake_frame(a, a->cam_ssrc, NULL, NULL, a->cam_seq++, ts, (uint16_t)i, i == 0, 300);
        fake_wait(w, 33 * MS);
    }
    before = (unsigned)counter_get(&w->core->count.keys_out);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof(id), "j%d", i);
        fake_join(w, "r", id, &look);
        if (i % 4 == 0) {
            unsigned asked = (unsigned)counter_get(&w->core->count.keys_out) - before;
            static unsigned given;
            given = i == 0 ? 0 : given;
            fake_frame(a, a->cam_ssrc, NULL, NULL, a->cam_seq++, ts, (uint16_t)(100 + i),
                       asked > given, 300);
            given = asked;
            ts += 3000;
        }
    }
    assert_in_range(counter_get(&w->core->count.keys_out) - before, 1, 2);
    fake_room_free(w);
}

static void test_simulcast_layer_is_switched_by_wish(void **state)
{
    struct fake_room *w = fake_room_new("[video]\nstart_bitrate = 5000000\n");
    struct fake_offer cam = {.cam = true, .layers = 2}, look = {.video = 1};
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &look);
    uint64_t seq[2] = {100, 200};
    uint32_t ts = 0;
    bool key[2] = {true, true};
    unsigned big = 0, small = 0;

    (void)state;
    for (int i = 0; i < 150; i++, ts += 3000) {
        unsigned pli = fake_rtcp_count(a, RTCP_PSFB, RTCP_FB_PLI);
        for (unsigned l = 0; l < 2; l++)
            fake_frame(a, 3000 + l, "0", l ? "l1" : "l0", seq[l]++, ts, (uint16_t)i,
                       key[l] || i % 20 == 0, l ? 1000 : 200);
        key[0] = key[1] = false;
        (void)pli;
        fake_wait(w, 33 * MS);
        if (i == 100) {
            memset(&w->req.u, 0, sizeof(w->req.u));
            w->req.u.subscribe.n = 1;
            w->req.u.subscribe.v[0] = (struct ctl_subscription){
                .track = slice_str("a:0"), .wanted = true, .layer = 0, .temporal = CTL_LAYER_AUTO};
            fake_request(w, b, CTL_SUBSCRIBE);
            assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
            big = small = 0;
            b->n_got = 0;
        }
    }
    for (unsigned i = 0; i < b->n_got; i++) {
        big += b->got[i].ssrc == b->slot[0].ssrc && b->got[i].len > 900;
        small += b->got[i].ssrc == b->slot[0].ssrc && b->got[i].len == 200;
    }
    assert_true(small >= 20);
    assert_true(big <= 25);
    assert_true(fake_events(w, CTL_LAYERS, "a", "wanted=1") >= 1);
    fake_room_free(w);
}

/* libwebrtc names MID and RID until it is sure that we know the SSRC, and not again when the camera
 * goes off and on. */
static void test_a_camera_that_comes_back_need_not_say_whose_it_is(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer cam = {.cam = true, .layers = 2}, watch = {.video = 1};
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &watch);
    uint16_t seq = 7;

    (void)state;
    fake_frame(a, 7000, "0", "l0", seq++, 3000, 1, true, 200);
    fake_wait(w, 33 * MS);
    assert_int_equal(b->n_got, 1);
    memset(&w->req.u, 0, sizeof(w->req.u));
    w->req.u.mute.track = slice_str("a:0");
    fake_request(w, a, CTL_UNPUBLISH);
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
    fake_frame(a, 7000, NULL, NULL, seq++, 6000, 2, true, 200);
    fake_wait(w, 33 * MS);
    assert_int_equal(b->n_got, 1); /* it is off */
    assert_true(fake_offer_it(a, &cam, false));
    fake_wait(w, 33 * MS);
    fake_frame(a, 7000, NULL, NULL, seq++, 9000, 3, true, 200);
    fake_frame(a, 7001, NULL, NULL, seq++, 9000, 3, true, 200); /* never said */
    fake_wait(w, 33 * MS);
    assert_int_equal(b->n_got, 2);
    fake_room_free(w);
}

static void test_a_gap_of_the_publisher_is_asked_for(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker);

    (void)state;
    fake_join(w, "r", "b", &talker);
    for (int i = 0; i < 10; i++) {
        if (i == 5)
            a->seq++, a->ts += 960;
        fake_talk(a, 20, "x", 1);
        fake_wait(w, 20 * MS);
    }
    assert_true(fake_rtcp_count(a, RTCP_RTPFB, RTCP_FB_NACK) >= 1);
    fake_room_free(w);
}

static void test_reports_go_both_ways(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    for (int i = 0; i < 300; i++) {
        fake_talk(a, 20, "x", 1);
        fake_wait(w, 20 * MS);
    }
    assert_true(fake_rtcp_count(b, RTCP_SR, -1) >= 1);
    assert_true(fake_rtcp_count(a, RTCP_RR, -1) >= 1);
    assert_true(fake_rtcp_count(b, RTCP_SDES, -1) >= 1);
    fake_room_free(w);
}

static void test_silence_of_a_client_ends_in_disconnect_and_goodbye(void **state)
{
    struct fake_room *w =
        fake_room_new("[transport]\nconsent_timeout = 5\nreconnect_timeout = 10\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    for (int i = 0; i < 6; i++) { /* b goes on checking */
        fake_wait(w, US_PER_S);
        fake_check(b, false);
    }
    assert_int_equal(fake_events(w, CTL_STATE, "a", "2"), 1); /* disconnected */
    for (int i = 0; i < 20; i++) {
        fake_wait(w, US_PER_S);
        fake_check(b, false);
    }
    assert_int_equal(fake_events(w, CTL_STATE, "a", "4"), 1); /* closed */
    assert_int_equal(fake_events(w, CTL_STATE, "b", "2"), 0);
    assert_int_equal(counter_get(&w->core->count.participants), 1);
    (void)a;
    fake_room_free(w);
}

static void test_the_room_ends_with_its_last(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker);

    (void)state;
    fake_request(w, a, CTL_LEAVE);
    assert_int_equal(w->rooms_gone, 1);
    assert_int_equal(counter_get(&w->core->count.rooms), 0);
    assert_int_equal(counter_get(&w->core->count.participants), 0);
    assert_int_equal(counter_get(&w->core->count.tracks), 0);
    assert_int_equal(counter_get(&w->core->count.consumers), 0);
    fake_request(w, a, CTL_LEAVE); /* gone already: that is what was asked for */
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
    fake_request(w, a, CTL_OFFER);
    assert_int_equal(w->reply.kind, CTL_KIND_ERROR);
    assert_int_equal(w->reply.u.error.code, CTL_ERR_NO_ROOM);
    fake_room_free(w);
}

static void test_ice_restart_keeps_the_room_and_the_numbers(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "one", 3);
    char old[64];
    snprintf(old, sizeof(old), "%s", b->s_ufrag);
    snprintf(b->ufrag, sizeof(b->ufrag), "other");
    snprintf(b->pwd, sizeof(b->pwd), "anotherpasswordanother");
    assert_true(fake_offer_it(b, &talker, false));
    assert_string_not_equal(old, b->s_ufrag);
    b->path.remote.port++; /* another network */
    fake_check(b, true);
    fake_talk(a, 20, "two", 3);
    assert_int_equal(b->n_got, 2);
    assert_memory_equal(b->got[1].payload, "two", 3);
    assert_int_equal((uint16_t)(b->got[1].seq - b->got[0].seq), 1);
    fake_room_free(w);
}

/* The number that a client's only filled audio slot has reached, and of its RTX stream. */
static struct consumer *filled_slot(struct fake_room *w, const char *id)
{
    struct peer *p = room_member(room_find(w->core, SLICE_LIT("r")), slice_str(id))->peer[0];

    for (unsigned i = 0; i < p->n_slots; i++)
        if (p->slot[i]->source)
            return p->slot[i];
    fail();
    return NULL;
}

static void test_new_keys_begin_the_rollover_counters_anew(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_offer again = talker;

    (void)state;
    fake_talk(a, 20, "one", 3);
    /* Both directions of b get into their second round. */
    for (unsigned i = 0; i < 4; i++) {
        audio_forward_stop(&filled_slot(w, "b")->audio);
        filled_slot(w, "b")->audio.seq += 0x7000;
        fake_talk(a, 20, "two", 3);
    }
    for (unsigned i = 0; i < 4; i++) {
        b->seq += 0x7000;
        fake_talk(b, 20, "leap", 4);
    }
    assert_true(b->got[4].index > 0x10000);
    unsigned heard = a->n_got;

    again.sha512 = true; /* another fingerprint: another association (RFC 8842) */
    assert_true(fake_offer_it(b, &again, false));
    fake_connect(b);
    b->seq &= 0xffff;
    b->n_got = 0;
    fake_talk(a, 20, "three", 5);
    fake_talk(b, 20, "four", 4);
    assert_int_equal(b->n_got, 1);
    assert_memory_equal(b->got[0].payload, "three", 5);
    assert_true(b->got[0].index < 0x10000);
    assert_int_equal(a->n_got, heard + 1);
    assert_memory_equal(a->got[heard].payload, "four", 4);
    /* What went out under the old keys is not sent again under these. */
    fake_nack(b, b->got[0].ssrc, (uint16_t)(b->got[0].seq - 1));
    fake_wait(w, 20 * MS);
    assert_int_equal(b->n_got, 1);
    fake_room_free(w);
}

static void test_a_data_channel_that_comes_too_late_is_refused_alone(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_offer late = talker;

    (void)state;
    fake_wait(w, 12 * US_PER_S); /* OpenSSL's part of the handshake is gone */
    fake_talk(a, 20, "one", 3);
    late.data = true;
    assert_true(fake_offer_it(b, &late, false));
    fake_talk(a, 20, "two", 3);
    assert_memory_equal(b->got[b->n_got - 1].payload, "two", 3);
    fake_room_free(w);
}

static void test_a_bad_offer_is_refused_with_a_word_and_changes_nothing(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    memset(&w->req.u, 0, sizeof(w->req.u));
    w->req.u.offer.offer.text = slice_str("hello");
    fake_request(w, a, CTL_OFFER);
    assert_int_equal(w->reply.kind, CTL_KIND_ERROR);
    assert_int_equal(w->reply.u.error.code, CTL_ERR_REJECTED);
    assert_true(w->reply.u.error.text.len > 10);
    fake_talk(a, 20, "one", 3);
    assert_int_equal(b->n_got, 1);
    w->req.u.join.offer.text = slice_str("v=0\r\n");
    struct fake_client *c = fake_client_new(w, "new", "c");
    fake_request(w, c, CTL_JOIN);
    assert_int_equal(w->reply.kind, CTL_KIND_ERROR);
    assert_int_equal(counter_get(&w->core->count.rooms), 1);
    fake_room_free(w);
}

static void test_a_description_longer_than_allowed_is_refused(void **state)
{
    struct fake_room *w = fake_room_new("[limits]\nsdp_bytes = 4096\n");
    struct fake_offer many = {.mic = true, .audio = 20};
    struct fake_client *a = fake_client_new(w, "r", "a");

    (void)state;
    assert_false(fake_offer_it(a, &many, true));
    assert_int_equal(a->refused, CTL_ERR_REJECTED);
    assert_non_null(strstr(a->why, "sdp_bytes"));
    assert_int_equal(counter_get(&w->core->count.rooms), 0);
    fake_room_free(w);
}

static void test_a_room_that_is_refused_is_gone_for_who_placed_it(void **state)
{
    struct fake_room *w = fake_room_new("[limits]\nrooms = 1\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_client_new(w, "s", "b");

    (void)state;
    assert_false(fake_offer_it(b, &talker, true));
    assert_int_equal(b->refused, CTL_ERR_FULL);
    assert_int_equal(w->rooms_gone, 1);
    fake_request(w, a, CTL_LEAVE);
    sfu_core_drain(w->core, true);
    assert_false(fake_offer_it(b, &talker, true));
    assert_int_equal(b->refused, CTL_ERR_DRAINING);
    assert_int_equal(w->rooms_gone, 3);
    fake_room_free(w);
}

static void test_the_node_s_limits_count_what_its_other_workers_have(void **state)
{
    struct fake_room *w = fake_room_new("[limits]\nrooms = 4\nparticipants = 4\n");
    struct core_census node = {3, 2}; /* on other workers */

    (void)state;
    w->core->census = &node;
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_client_new(w, "s", "b");
    struct fake_client *c = fake_client_new(w, "r", "c"), *d = fake_client_new(w, "r", "d");
    assert_false(fake_offer_it(b, &talker, true));
    assert_int_equal(b->refused, CTL_ERR_FULL);
    assert_true(fake_offer_it(c, &talker, true));
    assert_false(fake_offer_it(d, &talker, true));
    assert_int_equal(d->refused, CTL_ERR_FULL);
    fake_request(w, a, CTL_LEAVE);
    d->refused = CTL_OK;
    assert_true(fake_offer_it(d, &talker, true));
    sfu_core_free(w->core);
    w->core = NULL;
    assert_int_equal(node.rooms, 3);
    assert_int_equal(node.participants, 2);
    fake_room_free(w);
}

/* Talks for so long; every lose-th packet does not arrive, 0: all do. What is lost comes later,
 * when repair. b reports this loss every second. */
static void talk(struct fake_client *a, struct fake_client *b, unsigned s, unsigned lose,
                 bool repair, uint8_t b_loses)
{
    for (unsigned i = 1; i <= s * 50; i++) {
        if (lose && i % lose == 0) {
            a->seq++;
            a->ts += 960;
        } else {
            fake_talk(a, 20, "hello", 5);
        }
        if (lose && repair && i % lose == lose / 2 && i > lose) {
            unsigned back = lose / 2 + 1;
            struct fake_rtp r = {.ssrc = a->ssrc,
                                 .ts = a->ts - back * 960,
                                 .index = a->seq - back,
                                 .pt = FAKE_PT_OPUS,
                                 .level = 20};
            fake_rtp_out(a, &r, slice_of("hello", 5));
        }
        if (i % 50 == 0)
            fake_loss(b, b->slot[0].ssrc, b_loses);
        fake_wait(a->w, 20 * MS);
    }
}

static unsigned score(struct fake_room *w, const char *id)
{
    const struct room *r = room_find(w->core, slice_str("r"));

    return room_member(r, slice_str(id))->score.score;
}

static void test_quality_is_told_of_both_directions(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer plain = {.mic = true, .audio = 1, .no_red = true};
    struct fake_client *a = fake_join(w, "r", "a", &plain), *b = fake_join(w, "r", "b", &plain);

    (void)state;
    talk(a, b, 21, 0, false, 0);
    assert_int_equal(score(w, "a"), 5);
    assert_int_equal(score(w, "b"), 5);
    assert_in_range(fake_events(w, CTL_QUALITY, NULL, "a=5"), 1, 2); /* no change: every 15 s */
    talk(a, b, 11, 20, true, 0); /* 5 %, and all of it repaired */
    assert_int_equal(score(w, "a"), 5);
    talk(a, b, 11, 4, false, 0); /* on a's way to us */
    assert_in_range(score(w, "a"), 1, 3);
    assert_int_equal(score(w, "b"), 5);
    assert_true(fake_events(w, CTL_QUALITY, NULL, "a=3") +
                fake_events(w, CTL_QUALITY, NULL, "a=2"));
    talk(a, b, 21, 0, false, 0);
    assert_int_equal(score(w, "a"), 5);
    talk(a, b, 11, 0, false, 77); /* 30 % on our way to b */
    assert_int_equal(score(w, "a"), 5);
    assert_in_range(score(w, "b"), 1, 3);
    fake_request(w, a, CTL_STATS);
    char text[4096];
    slice_to_cstr(w->reply.u.stats.raw, text, sizeof(text));
    assert_non_null(strstr(text, "\"up\":{\"r\":"));
    fake_room_free(w);
}

static void test_redundancy_repairs_quality(void **state)
{
    struct fake_room *w = fake_room_new("[audio]\nmirror_loss = off\n");
    struct fake_offer plain = {.mic = true, .audio = 1, .no_red = true};
    struct fake_client *a = fake_join(w, "r", "a", &plain), *b = fake_join(w, "r", "b", &talker),
                       *c = fake_join(w, "r", "c", &plain);

    (void)state;
    for (int i = 0; i < 11; i++) {
        fake_loss(c, c->slot[0].ssrc, 26);
        talk(a, b, 1, 0, false, 26); /* 10 %: two copies */
    }
    assert_int_equal(score(w, "b"), 5);
    assert_in_range(score(w, "c"), 1, 3);
    fake_room_free(w);
}

static void test_a_lost_participant_has_the_worst_quality(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    talk(a, b, 6, 0, false, 0);
    assert_int_equal(score(w, "b"), 5);
    for (int i = 0; i < 45; i++) { /* b is silent, a checks on */
        fake_wait(w, US_PER_S);
        fake_check(a, false);
        if (fake_events(w, CTL_QUALITY, NULL, "b=1"))
            break;
    }
    assert_true(fake_events(w, CTL_QUALITY, NULL, "b=1"));
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_hears_everybody_else),
        cmocka_unit_test(test_rooms_do_not_hear_each_other),
        cmocka_unit_test(test_who_leaves_is_gone_and_the_slot_serves_the_next),
        cmocka_unit_test(test_a_nack_is_answered_with_the_same_bytes),
        cmocka_unit_test(test_loss_brings_red_and_peace_takes_it_away),
        cmocka_unit_test(test_red_of_a_publisher_is_opened_and_repairs),
        cmocka_unit_test(test_padding_of_a_publisher_leaves_no_gap),
        cmocka_unit_test(test_closed_red_goes_on_whole),
        cmocka_unit_test(test_only_the_loudest_are_heard_and_no_onset_is_cut),
        cmocka_unit_test(test_few_slots_go_to_who_begins_to_speak),
        cmocka_unit_test(test_speakers_are_told_within_200_ms),
        cmocka_unit_test(test_mute_by_others_stops_forwarding_until_the_owner_unmutes),
        cmocka_unit_test(test_what_may_not_be_published_is_not_heard),
        cmocka_unit_test(test_forged_replayed_and_foreign_packets_reach_nobody),
        cmocka_unit_test(test_video_waits_for_a_key_frame_and_asks_for_one),
        cmocka_unit_test(test_a_hundred_joiners_cost_few_key_frames),
        cmocka_unit_test(test_simulcast_layer_is_switched_by_wish),
        cmocka_unit_test(test_a_camera_that_comes_back_need_not_say_whose_it_is),
        cmocka_unit_test(test_a_gap_of_the_publisher_is_asked_for),
        cmocka_unit_test(test_reports_go_both_ways),
        cmocka_unit_test(test_silence_of_a_client_ends_in_disconnect_and_goodbye),
        cmocka_unit_test(test_the_room_ends_with_its_last),
        cmocka_unit_test(test_ice_restart_keeps_the_room_and_the_numbers),
        cmocka_unit_test(test_new_keys_begin_the_rollover_counters_anew),
        cmocka_unit_test(test_a_data_channel_that_comes_too_late_is_refused_alone),
        cmocka_unit_test(test_a_bad_offer_is_refused_with_a_word_and_changes_nothing),
        cmocka_unit_test(test_a_description_longer_than_allowed_is_refused),
        cmocka_unit_test(test_a_room_that_is_refused_is_gone_for_who_placed_it),
        cmocka_unit_test(test_the_node_s_limits_count_what_its_other_workers_have),
        cmocka_unit_test(test_quality_is_told_of_both_directions),
        cmocka_unit_test(test_redundancy_repairs_quality),
        cmocka_unit_test(test_a_lost_participant_has_the_worst_quality),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

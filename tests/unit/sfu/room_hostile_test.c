/* What clients with bad intentions, or strange habits, can do to a room: nothing to the others.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_room.h"

#define MS US_PER_MS

static const struct fake_offer talker = {.mic = true, .audio = 3};
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

/* The publisher's stream goes on under another SSRC, with numbers that the old one had: they are
 * another stream's, and what waits of the old one lies in memory that must not be gone. */
static void test_another_ssrc_by_description_is_a_stream_begun_anew(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_rtp r = {.ssrc = a->ssrc, .pt = FAKE_PT_OPUS, .level = 20};

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        fake_talk(a, 20, "old", 3);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(b->n_got, 200);
    uint16_t last = b->got[199].seq;
    r.index = a->seq++;
    r.ts = a->ts;
    fake_rtp_out(a, &r, slice_of("end", 3)); /* waits for the end of the batch */
    a->ssrc = 777;
    a->seq = 150;
    assert_true(fake_offer_it(a, &talker, false));
    for (unsigned i = 0; i < 50; i++) {
        fake_talk(a, 20, "new", 3);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(b->n_got, 251);
    assert_memory_equal(b->got[250].payload, "new", 3);
    assert_int_equal((uint16_t)(b->got[250].seq - last), 51);
    assert_int_equal(counter_get(&w->core->count.drop[CORE_DROP_SSRC_UNKNOWN]), 0);
    fake_room_free(w);
}

/* ---- sections that are used again ---- */

/* An offer with a microphone and one receive section: of this kind and mid, or rejected. */
static bool offer_slot(struct fake_client *c, bool video, const char *mid, bool rejected)
{
    static char sdp[FAKE_TEXT_MAX], text[FAKE_TEXT_MAX], answer[2 * FAKE_TEXT_MAX];
    struct fake_offer o = {.mic = true, .audio = !video, .video = video};
    struct fake_room *w = c->w;

    slice_to_cstr(fake_sdp(c, &o, sdp), text, sizeof(text));
    char *first = strstr(text, "m="), *m = strstr(first + 2, "\nm=") + 1, *port = strstr(m, " 9 "),
         *at = strstr(m, "a=mid:1");
    struct wr out = wr_init(sdp, sizeof(sdp));
    wr_fmt(&out, "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 %s\r\n",
           rejected ? "" : mid);
    wr_str(&out, "a=extmap-allow-mixed\r\n");
    wr_bytes(&out, slice_of((uint8_t *)first, (size_t)(port - first)));
    wr_str(&out, rejected ? " 0 " : " 9 ");
    wr_bytes(&out, slice_of((uint8_t *)port + 3, (size_t)(at - port - 3)));
    wr_fmt(&out, "a=mid:%s%s", mid, at + 7);
    memset(&w->req, 0, sizeof(w->req));
    w->req.u.offer.offer.text = wr_done(&out);
    fake_request(w, c, CTL_OFFER);
    if (w->reply.kind == CTL_KIND_ERROR) {
        print_error("%.*s\n", SLICE_FMT(w->reply.u.error.text));
        return false;
    }
    slice_to_cstr(w->reply.u.joined.answer.text, answer, sizeof(answer));
    fake_read_answer(c, answer);
    return true;
}

static void test_a_section_used_again_is_a_slot_of_its_own(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer one = {.mic = true, .audio = 1};
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &one);
    char mid[8] = "1";

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        uint32_t before = b->slot[0].ssrc;
        assert_true(offer_slot(b, false, mid, true));
        snprintf(mid, sizeof(mid), "m%u", i);
        assert_true(offer_slot(b, false, mid, false));
        assert_int_equal(b->n_slots, 1);
        assert_int_not_equal(b->slot[0].ssrc, before);
        fake_talk(a, 20, "hear", 4);
        fake_wait(w, 20 * MS);
        assert_int_equal(b->got[b->n_got - 1].ssrc, b->slot[0].ssrc);
        assert_memory_equal(b->got[b->n_got - 1].payload, "hear", 4);
    }
    assert_int_equal(counter_get(&w->core->count.consumers), 4);
    fake_room_free(w);
}

static void test_a_mid_of_another_kind_is_another_stream(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer one = {.mic = true, .audio = 1};
    struct fake_client *a = fake_join(w, "r", "a", &(struct fake_offer){.mic = true, .cam = true}),
                       *b = fake_join(w, "r", "b", &one);

    (void)state;
    fake_talk(a, 20, "hear", 4);
    uint32_t was = b->slot[0].ssrc;
    assert_true(offer_slot(b, false, "1", true));
    assert_true(offer_slot(b, true, "1", false));
    assert_int_not_equal(b->slot[0].ssrc, was);
    b->n_got = 0;
    frame(a, a->cam_ssrc, 1000, 0, true);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    assert_int_equal(b->n_got, 1);
    assert_int_equal(b->got[0].pt, FAKE_PT_VP8);
    fake_room_free(w);
}

/* ---- a publisher that leaps, and a slot that pauses ---- */

static void test_leaps_of_a_publisher_do_not_cost_the_receiver_its_slot(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "one", 3);
    b->deaf = true;
    for (unsigned i = 0; i < 3; i++) {
        a->seq += 0x7000;
        fake_talk(a, 20, "leap", 4);
        fake_wait(w, 20 * MS);
    }
    b->deaf = false;
    fake_talk(a, 20, "two", 3);
    assert_int_equal(b->n_got, 2);
    assert_memory_equal(b->got[1].payload, "two", 3);
    assert_int_equal((uint16_t)(b->got[1].seq - b->got[0].seq), 4);
    assert_int_equal(b->got[1].index >> 16, 0);
    fake_room_free(w);
}

static void test_leaps_in_video_do_not_cost_the_receiver_its_slot(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &cam);
    uint64_t seq = 1000;

    (void)state;
    frame(a, a->cam_ssrc, seq, 0, true);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    b->deaf = true;
    for (unsigned i = 0; i < 3; i++) {
        seq += 0x7000;
        frame(a, a->cam_ssrc, seq, 3000 * (i + 1), true);
        fake_turn(w);
        fake_wait(w, 33 * MS);
    }
    b->deaf = false;
    frame(a, a->cam_ssrc, ++seq, 15000, false);
    fake_turn(w);
    fake_wait(w, 33 * MS);
    assert_true(b->n_got >= 2);
    assert_int_equal(b->got[b->n_got - 1].ssrc, b->slot[0].ssrc);
    assert_int_equal((uint16_t)(b->got[b->n_got - 1].seq - b->got[0].seq), 4);
    fake_room_free(w);
}

static void test_a_long_pause_does_not_count_in_numbers(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "one", 3);
    for (int paused = 1; paused >= 0; paused--) {
        memset(&w->req.u, 0, sizeof(w->req.u));
        w->req.u.subscribe.n = 1;
        w->req.u.subscribe.v[0] = (struct ctl_subscription){.track = slice_str("a:0"),
                                                            .wanted = true,
                                                            .paused = paused,
                                                            .layer = CTL_LAYER_AUTO,
                                                            .temporal = CTL_LAYER_AUTO};
        fake_request(w, b, CTL_SUBSCRIBE);
        assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
        for (int i = 0; paused && i < 40000; i++) /* 13 minutes */
            fake_talk(a, 20, "pause", 5);
    }
    fake_talk(a, 20, "two", 3);
    assert_int_equal(b->n_got, 2);
    assert_int_equal((uint16_t)(b->got[1].seq - b->got[0].seq), 1);
    fake_room_free(w);
}

/* ---- permissions ---- */

static bool offer_as(struct fake_client *c, const struct fake_offer *o, const struct ctl_wish *wish)
{
    static char sdp[FAKE_TEXT_MAX];
    struct fake_room *w = c->w;

    memset(&w->req, 0, sizeof(w->req));
    w->req.u.offer.offer.text = fake_sdp(c, o, sdp);
    if (wish) {
        w->req.u.offer.wishes[0] = *wish;
        w->req.u.offer.wishes_n = 1;
    }
    fake_request(w, c, CTL_OFFER);
    return w->reply.kind == CTL_KIND_REPLY;
}

static void test_video_is_no_microphone(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer o = {.cam = true, .publish = CTL_SOURCE_BIT(CTL_SOURCE_MICROPHONE)};
    struct fake_client *a = fake_join(w, "r", "a", &o), *b = fake_join(w, "r", "b", &cam);
    struct ctl_wish lie = {.mid = slice_str("0"), .source = CTL_SOURCE_MICROPHONE};

    (void)state;
    assert_true(offer_as(a, &o, &lie));
    assert_int_equal(w->reply.u.joined.tracks_n, 0);
    frame(a, a->cam_ssrc, 1000, 0, true);
    fake_turn(w);
    assert_int_equal(b->n_got, 0);
    fake_room_free(w);
}

static void test_an_offer_that_says_nothing_of_a_track_leaves_what_it_is(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer o = {.cam = true, .publish = CTL_SOURCE_BIT(CTL_SOURCE_SCREEN)};
    struct fake_client *a = fake_join(w, "r", "a", &o);
    struct ctl_wish screen = {.mid = slice_str("0"), .source = CTL_SOURCE_SCREEN};

    (void)state;
    assert_true(offer_as(a, &o, &screen));
    assert_int_equal(w->reply.u.joined.tracks_n, 1);
    assert_true(offer_as(a, &o, NULL));
    assert_int_equal(w->reply.u.joined.tracks_n, 1);
    assert_int_equal(w->reply.u.joined.tracks[0].source, CTL_SOURCE_SCREEN);
    fake_room_free(w);
}

/* A clock that leaps: the arithmetic of reports stays within its numbers. */
static void test_sender_reports_of_a_mad_clock(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer both = {.mic = true, .cam = true};
    struct fake_client *a = fake_join(w, "r", "a", &both),
                       *b = fake_join(w, "r", "b", &(struct fake_offer){.audio = 1, .video = 1});
    static const uint64_t ntp[] = {0, UINT64_MAX, 1, UINT64_C(1) << 63, 0x7fffffff00000000};

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        uint8_t buf[128];
        struct wr o = wr_init(buf, sizeof(buf));
        struct rtcp_report r = {
            .ssrc = i & 1 ? a->ssrc : a->cam_ssrc, .ntp = ntp[i % 5], .rtp_ts = i << 28};
        rtcp_put_sr(&o, &r);
        frame(a, a->cam_ssrc, 1000 + i, 3000 * i, i % 4 == 0);
        fake_talk(a, 20, "x", 1);
        fake_rtcp_out(a, wr_done(&o));
        fake_wait(w, 700 * MS);
    }
    assert_true(fake_rtcp_count(b, RTCP_SR, -1) >= 1);
    fake_room_free(w);
}

/* Packets that only pretend to be the client's do not use up what it may send. */
static void test_forged_packets_do_not_count_as_sent(void **state)
{
    struct fake_room *w = fake_room_new("[limits]\npublish_bitrate = 100000\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);
    struct fake_rtp r = {.ssrc = a->ssrc, .index = 1, .pt = FAKE_PT_OPUS, .level = 20};
    uint8_t out[2048];

    (void)state;
    size_t n = fake_protect(a, &r, slice_of("good", 4), out);
    out[n - 1] ^= 1;
    for (int i = 0; i < 1000; i++)
        fake_send(a, slice_of(out, n));
    fake_talk(a, 20, "true", 4);
    assert_int_equal(b->n_got, 1);
    for (int i = 0; i < 1000; i++)
        fake_talk(a, 20, "more", 4);
    assert_in_range(b->n_got, 100, 500);
    assert_true(counter_get(&w->core->count.drop[CORE_DROP_BITRATE]) > 100);
    fake_room_free(w);
}

static void test_nothing_is_sent_after_goodbye(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "x", 1);
    b->n_rtcp = b->n_got = 0;
    fake_request(w, b, CTL_LEAVE);
    assert_int_equal(fake_rtcp_count(b, RTCP_BYE, -1), 1);
    assert_int_equal(b->n_got, 0);
    fake_room_free(w);
}

/* ---- muted ---- */

static void mute(struct fake_client *c, bool muted, bool forced)
{
    struct fake_room *w = c->w;

    memset(&w->req, 0, sizeof(w->req));
    w->req.u.mute.track = slice_str("a:0");
    w->req.u.mute.muted = muted;
    w->req.u.mute.forced = forced;
    fake_request(w, c, CTL_MUTE);
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
}

static bool heard(const struct fake_client *c, const char *word)
{
    for (unsigned i = 0; i < c->n_got; i++)
        for (size_t k = 0; k + strlen(word) <= c->got[i].len; k++)
            if (memcmp(c->got[i].payload + k, word, strlen(word)) == 0)
                return true;
    return false;
}

static void test_who_was_muted_by_others_does_not_open_himself_by_muting(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    fake_talk(a, 20, "fine", 4);
    fake_wait(w, 500 * MS);
    w->n_events = 0;
    mute(a, true, true);
    mute(a, true, false);
    for (int i = 0; i < 30; i++) {
        fake_talk(a, 20, "evil", 4);
        fake_wait(w, 20 * MS);
    }
    assert_false(heard(b, "evil"));
    assert_int_equal(fake_events(w, CTL_SPEAKERS, NULL, "a"), 0); /* nor is he said to speak */
    fake_room_free(w);
}

static void test_what_was_said_while_muted_is_never_told(void **state)
{
    struct fake_room *w = fake_room_new("[audio]\nred = always\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker), *b = fake_join(w, "r", "b", &talker);

    (void)state;
    for (int forced = 0; forced < 2; forced++) {
        for (int i = 0; i < 5; i++) {
            fake_talk(a, 20, "fine", 4);
            fake_wait(w, 20 * MS);
        }
        mute(a, true, forced);
        assert_memory_equal(b->got[b->n_got - 1].payload, "\xf8\xff\xfe", 3); /* silence */
        for (int i = 0; i < 5; i++) {
            fake_talk(a, 20, "secret", 6);
            fake_wait(w, 20 * MS);
        }
        mute(a, false, false);
        for (int i = 0; i < 5; i++) {
            fake_talk(a, 20, "after", 5);
            fake_wait(w, 20 * MS);
        }
        assert_true(heard(b, "after"));
        assert_false(heard(b, "secret"));
    }
    fake_room_free(w);
}

static void test_what_was_shown_while_muted_is_never_shown(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_join(w, "r", "a", &cam), *b = fake_join(w, "r", "b", &cam);
    uint64_t seq = 1000;

    (void)state;
    mute(a, true, false);
    for (int i = 0; i < 5; i++, seq++) {
        frame(a, a->cam_ssrc, seq, (uint32_t)seq * 3000, i == 0);
        fake_turn(w);
        fake_wait(w, 20 * MS);
    }
    mute(a, false, false);
    for (int i = 0; i < 5; i++, seq++) {
        frame(a, a->cam_ssrc, seq, (uint32_t)seq * 3000, i == 3);
        fake_turn(w);
        fake_wait(w, 20 * MS);
    }
    assert_int_equal(b->n_got, 2);
    assert_true(fake_rtcp_count(a, RTCP_PSFB, RTCP_FB_PLI) >= 1);
    fake_room_free(w);
}

/* ---- who never comes, and who is never asked ---- */

static void test_who_never_connects_leaves(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = fake_client_new(w, "r", "a");

    (void)state;
    assert_true(fake_offer_it(a, &talker, true));
    fake_wait(w, 95 * US_PER_S);
    assert_int_equal(counter_get(&w->core->count.participants), 0);
    assert_int_equal(w->rooms_gone, 1);
    fake_room_free(w);
}

static struct fake_client *join_pair(struct fake_room *w, const char *id)
{
    static char sdp[FAKE_TEXT_MAX], answer[2 * FAKE_TEXT_MAX];
    struct fake_client *c = fake_client_new(w, "r", id);
    struct fake_offer o = {.mic = true};

    memset(&w->req, 0, sizeof(w->req));
    w->req.u.join.mode = CTL_MODE_PAIR;
    w->req.u.join.offer.text = fake_sdp(c, &o, sdp);
    w->req.u.join.perms =
        (struct ctl_perms){.publish = CTL_SOURCES_ALL, .subscribe = true, .data = true};
    w->req.u.join.auto_audio = w->req.u.join.auto_video = true;
    fake_request(w, c, CTL_JOIN);
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
    slice_to_cstr(w->reply.u.joined.answer.text, answer, sizeof(answer));
    fake_line(answer, "a=ice-ufrag:", c->s_ufrag, sizeof(c->s_ufrag));
    fake_line(answer, "a=ice-pwd:", c->s_pwd, sizeof(c->s_pwd));
    fake_connect(c);
    return c;
}

static void test_a_pair_alone_in_a_room_stays_and_is_offered_who_comes(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *a = join_pair(w, "a");

    (void)state;
    assert_int_equal(fake_events(w, CTL_NEGOTIATE, "a", NULL), 0);
    for (int i = 0; i < 40; i++) {
        fake_wait(w, 5 * US_PER_S);
        fake_check(a, false);
    }
    assert_int_equal(counter_get(&w->core->count.participants), 1);
    assert_int_equal(fake_events(w, CTL_STATE, "a", "3"), 0); /* failed */
    w->n_events = 0;
    fake_join(w, "r", "b", &talker);
    fake_wait(w, 20 * MS);
    assert_int_equal(fake_events(w, CTL_NEGOTIATE, "a", NULL), 1);
    fake_join(w, "r", "c", &talker); /* the offer is open: the next one waits for its answer */
    fake_wait(w, 20 * MS);
    assert_int_equal(fake_events(w, CTL_NEGOTIATE, "a", NULL), 1);
    fake_room_free(w);
}

/* ---- RTCP ---- */

static void test_reports_of_many_slots_take_several_compounds(void **state)
{
    struct fake_room *w = fake_room_new("[audio]\nlast_n = 0\n");
    struct fake_offer many = {.mic = true, .audio = 60};
    struct fake_client *b = fake_join(w, "r", "b", &many), *v[50];
    unsigned reports = 0, senders = 0;
    uint32_t seen[64];

    (void)state;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "p%d", i);
        v[i] = fake_join(w, "r", id, &(struct fake_offer){.mic = true});
    }
    fake_talk(b, 20, "x", 1);
    for (int i = 0; i < 50; i++)
        fake_talk(v[i], 20, "x", 1);
    b->n_rtcp = 0;
    fake_wait(w, 4 * US_PER_S);
    for (unsigned i = 0; i < b->n_rtcp && i < 32; i++) {
        struct rd r = rd_init(slice_of(b->rtcp[i], b->rtcp_len[i]));
        struct rtcp_packet k;
        bool cname = false;
        for (unsigned n = 0; rtcp_next(&r, &k) == 1; n++) {
            assert_true(n > 0 || k.type == RTCP_SR || k.type == RTCP_RR);
            struct rtcp_report sr;
            bool known = k.type != RTCP_SR || rtcp_report_decode(&sr, &k) != 0;
            for (unsigned m = 0; !known && m < senders; m++)
                known = seen[m] == sr.ssrc;
            if (!known)
                seen[senders++] = sr.ssrc;
            cname = cname || k.type == RTCP_SDES;
        }
        reports += cname;
    }
    assert_true(reports >= 2);
    assert_int_equal(senders, 50);
    assert_true(fake_rtcp_count(b, RTCP_RR, -1) >= 1);
    fake_room_free(w);
}

/* ---- memory ---- */

/* What happens in a room, with the n-th allocation failing. Returns whether it did fail. */
static bool live_with_a_failure(uint64_t n)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer both = {.mic = true, .cam = true, .audio = 2, .video = 2},
                      more = {.mic = true, .cam = true, .audio = 3, .video = 3, .layers = 2};
    struct fake_client *a = fake_join(w, "r", "a", &both), *b = fake_join(w, "r", "b", &both);
    struct fake_client *c = fake_client_new(w, "r", "c");
    static char sdp[3][FAKE_TEXT_MAX];
    struct slice offer[3] = {fake_sdp(c, &both, sdp[0]), fake_sdp(c, &more, sdp[1]),
                             fake_sdp(a, &more, sdp[2])};

    for (unsigned i = 0; i < 3; i++) {
        frame(a, a->cam_ssrc, 1000 + i, 3000 * i, i == 0);
        fake_talk(a, 20, "x", 1);
        fake_wait(w, 20 * MS);
    }
    memset(&w->req, 0, sizeof(w->req));
    w->req.u.join.offer.text = offer[0];
    w->req.u.join.perms = (struct ctl_perms){CTL_SOURCES_ALL, true, true};
    w->req.u.join.auto_audio = w->req.u.join.auto_video = true;
    w->req.kind = CTL_KIND_REQUEST;
    w->req.room = slice_str("r");
    mem_fail_after(n);
    static const enum ctl_type what[] = {CTL_JOIN, CTL_OFFER, CTL_OFFER, CTL_SUBSCRIBE, CTL_LEAVE};
    for (unsigned i = 0; i < ARRAY_LEN(what); i++) {
        w->req.type = what[i];
        w->req.participant = slice_str(i == 2 ? "a" : "c");
        if (i == 1 || i == 2) {
            memset(&w->req.u, 0, sizeof(w->req.u));
            w->req.u.offer.offer.text = offer[i];
        } else if (what[i] == CTL_SUBSCRIBE) {
            memset(&w->req.u, 0, sizeof(w->req.u));
            w->req.u.subscribe.n = 1;
            w->req.u.subscribe.v[0] =
                (struct ctl_subscription){.track = slice_str("a:1"), .wanted = true, .layer = -1};
        }
        sfu_core_request(w->core, &w->req, &w->reply, w->now_us);
        sfu_core_batch(w->core, w->now_us);
        sfu_core_tick(w->core, w->now_us += 20 * MS);
    }
    bool failed = mem_failed();
    mem_fail_never();
    egress_flush(&w->egress);
    a->seq += 1;
    for (unsigned i = 0; i < 3; i++) { /* the room lives on */
        for (unsigned l = 0; l < 2; l++)
            fake_frame(a, 3000 + l, "1", l ? "l1" : "l0", 100 + i, 3000 * i, (uint16_t)i, i == 0,
                       300);
        fake_talk(a, 20, "x", 1);
        fake_talk(b, 20, "y", 1);
        fake_wait(w, 20 * MS);
    }
    assert_memory_equal(a->got[a->n_got - 1].payload, "y", 1);
    fake_room_free(w);
    return failed;
}

static void test_a_room_lives_through_any_failed_allocation(void **state)
{
    uint64_t live = 0, n = 0;

    (void)state;
    live_with_a_failure(UINT32_MAX); /* what is made once for all */
    live = mem_live();
    while (live_with_a_failure(n)) {
        assert_int_equal(mem_live(), live);
        n++;
    }
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_packets_of_one_place_in_the_store_are_not_one_number_twice),
        cmocka_unit_test(test_a_nack_after_other_extension_ids_repeats_nothing),
        cmocka_unit_test(test_another_ssrc_by_description_is_a_stream_begun_anew),
        cmocka_unit_test(test_a_section_used_again_is_a_slot_of_its_own),
        cmocka_unit_test(test_a_mid_of_another_kind_is_another_stream),
        cmocka_unit_test(test_leaps_of_a_publisher_do_not_cost_the_receiver_its_slot),
        cmocka_unit_test(test_leaps_in_video_do_not_cost_the_receiver_its_slot),
        cmocka_unit_test(test_a_long_pause_does_not_count_in_numbers),
        cmocka_unit_test(test_video_is_no_microphone),
        cmocka_unit_test(test_an_offer_that_says_nothing_of_a_track_leaves_what_it_is),
        cmocka_unit_test(test_sender_reports_of_a_mad_clock),
        cmocka_unit_test(test_forged_packets_do_not_count_as_sent),
        cmocka_unit_test(test_nothing_is_sent_after_goodbye),
        cmocka_unit_test(test_who_was_muted_by_others_does_not_open_himself_by_muting),
        cmocka_unit_test(test_what_was_said_while_muted_is_never_told),
        cmocka_unit_test(test_what_was_shown_while_muted_is_never_shown),
        cmocka_unit_test(test_who_never_connects_leaves),
        cmocka_unit_test(test_a_pair_alone_in_a_room_stays_and_is_offered_who_comes),
        cmocka_unit_test(test_reports_of_many_slots_take_several_compounds),
        cmocka_unit_test(test_a_room_lives_through_any_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

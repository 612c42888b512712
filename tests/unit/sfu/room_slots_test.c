/* room_slots.c: who is on whose slot. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_room.h"

#define MS US_PER_MS

static const struct fake_offer cam = {.cam = true};

static struct participant *member(struct fake_room *w, const char *id)
{
    return room_member(room_find(w->core, slice_str("r")), slice_str(id));
}

/* What is on a slot of b: the track's id, or "". */
static const char *on(struct fake_room *w, const struct fake_client *b, unsigned slot)
{
    struct consumer *c =
        peer_slot_by_mid(participant_down(member(w, b->id)), slice_str(b->slot[slot].mid));

    assert_non_null(c);
    return c->source ? c->source->id : "";
}

static bool shows(struct fake_room *w, const struct fake_client *b, const char *track)
{
    for (unsigned i = 0; i < b->n_slots; i++)
        if (strcmp(on(w, b, i), track) == 0)
            return true;
    return false;
}

static void subscribe(struct fake_client *b, const char *track, const char *mid, unsigned priority)
{
    struct fake_room *w = b->w;

    memset(&w->req, 0, sizeof(w->req));
    w->req.u.subscribe.n = 1;
    w->req.u.subscribe.v[0] = (struct ctl_subscription){.track = slice_str(track),
                                                        .mid = slice_str(mid),
                                                        .wanted = true,
                                                        .priority = priority,
                                                        .layer = CTL_LAYER_AUTO,
                                                        .temporal = CTL_LAYER_AUTO};
    fake_request(w, b, CTL_SUBSCRIBE);
    assert_int_equal(w->reply.kind, CTL_KIND_REPLY);
    fake_wait(w, 5 * MS);
}

static void test_a_slot_asked_for_by_name_moves_who_was_there(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.video = 2});

    (void)state;
    fake_join(w, "r", "a", &cam);
    fake_join(w, "r", "c", &cam);
    assert_string_equal(on(w, b, 0), "a:0");
    assert_string_equal(on(w, b, 1), "c:0");
    subscribe(b, "c:0", b->slot[0].mid, 0);
    assert_string_equal(on(w, b, 0), "c:0");
    assert_string_equal(on(w, b, 1), "a:0");
    fake_room_free(w);
}

static void test_of_two_who_ask_for_one_slot_both_are_shown(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.video = 2});

    (void)state;
    fake_join(w, "r", "a", &cam);
    fake_join(w, "r", "c", &cam);
    subscribe(b, "a:0", b->slot[1].mid, 1);
    subscribe(b, "c:0", b->slot[1].mid, 9);
    assert_string_equal(on(w, b, 1), "c:0"); /* the more important one has it */
    assert_string_equal(on(w, b, 0), "a:0");
    uint16_t run = participant_down(member(w, "b"))->slot[0]->run;
    room_assign_all(room_find(w->core, slice_str("r")), w->now_us);
    assert_string_equal(on(w, b, 1), "c:0");
    assert_int_equal(participant_down(member(w, "b"))->slot[0]->run, run);
    fake_room_free(w);
}

static void test_a_slot_that_is_not_there_interrupts_nothing(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.video = 1});

    (void)state;
    fake_join(w, "r", "a", &cam);
    subscribe(b, "a:0", "nowhere", 0);
    uint16_t run = participant_down(member(w, "b"))->slot[0]->run;
    room_assign_all(room_find(w->core, slice_str("r")), w->now_us);
    assert_string_equal(on(w, b, 0), "a:0");
    assert_int_equal(participant_down(member(w, "b"))->slot[0]->run, run);
    fake_room_free(w);
}

static void test_more_tracks_than_slots_go_by_wish_and_priority(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.cam = true, .video = 2});

    (void)state;
    for (int i = 0; i < 5; i++) {
        char id[4] = {'p', (char)('0' + i)};
        fake_join(w, "r", id, &cam);
    }
    assert_true(shows(w, b, "p0:0") && shows(w, b, "p1:0"));
    assert_false(shows(w, b, "b:0")); /* nobody sees himself */
    subscribe(b, "p4:0", "", 1);
    assert_true(shows(w, b, "p4:0"));
    subscribe(b, "p3:0", "", 5);
    subscribe(b, "p2:0", "", 3);
    assert_true(shows(w, b, "p3:0") && shows(w, b, "p2:0"));
    fake_request(w, w->client[1 + 3], CTL_LEAVE);
    fake_wait(w, 5 * MS);
    assert_true(shows(w, b, "p2:0") && shows(w, b, "p4:0"));
    fake_room_free(w);
}

static void test_two_tracks_of_one_participant_have_a_slot_each(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.audio = 1, .video = 1});

    (void)state;
    fake_join(w, "r", "a", &(struct fake_offer){.mic = true, .cam = true});
    assert_true(shows(w, b, "a:0") && shows(w, b, "a:1"));
    fake_room_free(w);
}

static void test_who_may_not_subscribe_has_empty_slots(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b = fake_join(w, "r", "b", &(struct fake_offer){.audio = 1, .video = 1}),
                       *a = fake_join(w, "r", "a", &(struct fake_offer){.mic = true, .cam = true});

    (void)state;
    fake_talk(a, 20, "x", 1);
    assert_int_equal(b->n_got, 1);
    memset(&w->req, 0, sizeof(w->req));
    fake_request(w, b, CTL_PERMISSIONS);
    unsigned n = b->n_got;
    fake_talk(a, 20, "x", 1);
    assert_int_equal(b->n_got, n);
    assert_string_equal(on(w, b, 0), "");
    assert_string_equal(on(w, b, 1), "");
    memset(&w->req, 0, sizeof(w->req));
    w->req.u.subscribe.n = 1;
    w->req.u.subscribe.v[0] =
        (struct ctl_subscription){.track = slice_str("a:0"), .wanted = true, .layer = -1};
    fake_request(w, b, CTL_SUBSCRIBE);
    assert_int_equal(w->reply.kind, CTL_KIND_ERROR);
    assert_int_equal(w->reply.u.error.code, CTL_ERR_FORBIDDEN);
    w->req.u.permissions.perms = (struct ctl_perms){0, true, false};
    fake_request(w, b, CTL_PERMISSIONS);
    assert_true(shows(w, b, "a:0"));
    fake_room_free(w);
}

static void test_without_auto_mode_nothing_comes_unasked(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_client *b =
        fake_join(w, "r", "b", &(struct fake_offer){.audio = 2, .video = 2, .manual = true});

    (void)state;
    fake_join(w, "r", "a", &(struct fake_offer){.mic = true, .cam = true});
    assert_false(shows(w, b, "a:0") || shows(w, b, "a:1"));
    subscribe(b, "a:1", "", 0);
    assert_false(shows(w, b, "a:0"));
    assert_true(shows(w, b, "a:1"));
    fake_room_free(w);
}

/* Talkers who push each other out do not drown sori-server in what that does to slots. */
static void test_slots_are_told_at_a_bounded_rate(void **state)
{
    struct fake_room *w = fake_room_new("[audio]\nlast_n = 1\n");
    struct fake_client *v[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        char id[4] = {'p', (char)('0' + i)};
        v[i] = fake_join(w, "r", id, &(struct fake_offer){.mic = true, .audio = 1});
    }
    for (int i = 0; i < 6; i++)
        fake_talk(v[i], 100, "hush", 4);
    fake_wait(w, US_PER_S);
    w->n_events = 0;
    uint64_t from = w->now_us;
    for (int i = 0; i < 500; i++) { /* each time another one, louder than all */
        fake_talk(v[i % 6], 127 - i % 127, "loud", 4);
        fake_wait(w, 2 * MS);
    }
    unsigned rounds = (unsigned)((w->now_us - from) / (50 * MS)) + 1;
    assert_true(fake_events(w, CTL_SLOTS, "p0", NULL) <= rounds);
    assert_true(w->n_events < FAKE_EVENTS_MAX);
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slot_asked_for_by_name_moves_who_was_there),
        cmocka_unit_test(test_of_two_who_ask_for_one_slot_both_are_shown),
        cmocka_unit_test(test_a_slot_that_is_not_there_interrupts_nothing),
        cmocka_unit_test(test_more_tracks_than_slots_go_by_wish_and_priority),
        cmocka_unit_test(test_two_tracks_of_one_participant_have_a_slot_each),
        cmocka_unit_test(test_who_may_not_subscribe_has_empty_slots),
        cmocka_unit_test(test_without_auto_mode_nothing_comes_unasked),
        cmocka_unit_test(test_slots_are_told_at_a_bounded_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

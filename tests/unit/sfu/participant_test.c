/* participant.c: joins and media when memory is out. The rest of it: sfu_core_test.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_room.h"

#define MS US_PER_MS

/* A join that begins without the n-th allocation. */
static bool joins_without(struct fake_client *c, const struct fake_offer *o, uint64_t n,
                          enum ctl_mode mode)
{
    static char sdp[FAKE_TEXT_MAX];
    struct fake_room *w = c->w;

    memset(&w->req, 0, sizeof(w->req));
    w->req.type = CTL_JOIN;
    w->req.kind = CTL_KIND_REQUEST;
    w->req.id = ++w->id;
    w->req.room = slice_str(c->room);
    w->req.participant = slice_str(c->id);
    w->req.u.join.mode = mode;
    w->req.u.join.offer.text = fake_sdp(c, o, sdp);
    w->req.u.join.perms = (struct ctl_perms){CTL_SOURCES_ALL, true, true};
    w->req.u.join.auto_audio = w->req.u.join.auto_video = true;
    mem_fail_after(n);
    sfu_core_request(w->core, &w->req, &w->reply, w->now_us);
    bool failed = mem_failed();
    mem_fail_never();
    fake_turn(w);
    return failed;
}

static void fails_whole(enum ctl_mode mode)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer all = {
        .mic = true, .cam = true, .audio = 2, .video = 2, .layers = 3, .data = true};
    struct fake_client *a = fake_join(w, "r", "a", &all), *b = fake_client_new(w, "r", "b");
    uint64_t live = 0, n = 0;
    unsigned refused = 0;
    bool failed;

    for (int i = 0; i < 10; i++) { /* everything that comes with time is there */
        fake_talk(a, 20, "on", 2);
        fake_wait(w, 500 * MS);
    }
    do {
        failed = joins_without(b, &all, live ? n++ : UINT64_MAX, mode);
        bool there = room_member(room_find(w->core, slice_str("r")), slice_str("b")) != NULL;

        /* One that is taken can do without what failed, or gets it later. */
        assert_true(there == (w->reply.kind == CTL_KIND_REPLY));
        if (!there) {
            assert_int_equal(w->reply.u.error.code, CTL_ERR_INTERNAL);
            refused++;
        }
        fake_request(w, b, CTL_LEAVE);
        fake_wait(w, 100 * MS);
        fake_talk(a, 20, "on", 2);
        if (!live) {
            assert_true(there);
            live = mem_live();
            failed = true;
        }
        assert_int_equal(mem_live(), live);
    } while (failed);
    assert_true(n > 20);
    assert_true(refused > 10);
    fake_room_free(w);
}

static void test_oom_lets_a_join_fail_whole(void **state)
{
    (void)state;
    fails_whole(CTL_MODE_SINGLE);
    fails_whole(CTL_MODE_PAIR);
}

static void test_oom_costs_media_no_more_than_a_packet(void **state)
{
    struct fake_offer all = {.mic = true, .cam = true, .audio = 2, .video = 2, .layers = 3};
    uint64_t before = mem_live();
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed && n < 200; n++) {
        struct fake_room *w = fake_room_new("");
        struct fake_client *a = fake_join(w, "r", "a", &all), *b = fake_join(w, "r", "b", &all);

        mem_fail_after(n);
        for (unsigned i = 0; i < 3; i++) {
            fake_talk(a, 20, "one", 3);
            for (unsigned l = 0; l < 3; l++) {
                char rid[] = {'l', (char)('0' + l), '\0'};
                fake_frame(a, 70 + l, "1", rid, 100 + i, 3000 * i, (uint16_t)i, i == 0, 400);
            }
            fake_wait(w, 20 * MS);
        }
        failed = mem_failed();
        mem_fail_never();
        unsigned got = b->n_got;
        for (unsigned i = 3; i < 6; i++) {
            fake_talk(a, 20, "two", 3);
            fake_frame(a, 70, "1", "l0", 100 + i, 3000 * i, (uint16_t)i, true, 400);
            fake_wait(w, 600 * MS);
        }
        unsigned audio = 0, video = 0;
        for (unsigned i = got; i < b->n_got; i++) {
            audio += b->got[i].pt == FAKE_PT_OPUS;
            video += b->got[i].pt == FAKE_PT_VP8;
        }
        assert_true(audio >= 2);
        assert_true(video >= 1);
        fake_room_free(w);
    }
    assert_false(failed);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oom_lets_a_join_fail_whole),
        cmocka_unit_test(test_oom_costs_media_no_more_than_a_packet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

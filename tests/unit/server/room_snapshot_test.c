/* Tests of server/room_snapshot.c: a room that is made again is the room that was, and bytes that
 * are none make nothing. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "server/room_snapshot.h"

#define NOW  (1000 * US_PER_S)
#define WALL (1700000000 * US_PER_S)

static void on_tell(void *arg, struct room *r, struct seat *to, const struct room_note *n)
{
    (void)arg, (void)r, (void)to, (void)n;
}
static void on_sfu(void *arg, struct room *r, const struct ctl_msg *m)
{
    (void)arg, (void)r, (void)m;
}
static const struct room_ops OPS = {.tell = on_tell, .sfu = on_sfu};
static const struct room_conf CONF = {.rooms = 4,
                                      .participants = 8,
                                      .per_user = 4,
                                      .tracks = 8,
                                      .metadata_bytes = 512,
                                      .open = true,
                                      .empty_us = US_PER_S,
                                      .gone_us = 60 * US_PER_S,
                                      .restart_us = 60 * US_PER_S};

static struct room_table *table(void)
{
    struct room_table *t = room_table_new(&CONF, &OPS, NULL, NOW);

    assert_non_null(t);
    return t;
}

/* Alice, who has a microphone and has said something of herself; bob is invited, eve banned. */
static struct seat *scene(struct room_table *t)
{
    static struct ctl_msg reply;
    struct sig_room_offer o = {.n = 1, .pair = true, .auto_audio = true};
    struct seat *s = NULL;

    o.v[0].wish = (struct ctl_wish){.mid = SLICE_LIT("0"), .source = CTL_SOURCE_MICROPHONE};
    o.v[0].name = SLICE_LIT("mic");
    o.metadata = SLICE_LIT("{\"hand\":true}");
    struct room_entry in = {.room = SLICE_LIT("r"),
                            .user = SLICE_LIT("alice"),
                            .device = SLICE_LIT("laptop"),
                            .name = SLICE_LIT("Alice A."),
                            .perms = {.publish = 3, .subscribe = true, .admin = true},
                            .offer = &o};
    assert_int_equal(room_join(t, &in, &s, NOW), SIG_OK);
    memset(s->at.session, 9, sizeof(s->at.session));
    reply = (struct ctl_msg){.type = CTL_JOIN, .kind = CTL_KIND_REPLY};
    reply.u.joined.tracks_n = 1;
    reply.u.joined.tracks[0] = (struct ctl_track){.track = SLICE_LIT("p:0"),
                                                  .mid = SLICE_LIT("0"),
                                                  .kind = RTP_KIND_AUDIO,
                                                  .source = CTL_SOURCE_MICROPHONE,
                                                  .muted = true,
                                                  .layers = 1};
    seat_joined(t, s, &reply, NOW - 30 * US_PER_S);
    s->media = CTL_MEDIA_CONNECTED;
    s->connected_once = true;
    memset(s->stay.b, 4, sizeof(s->stay.b));
    assert_true(room_invite(t, s->room, SLICE_LIT("bob")));
    struct seat *eve = NULL;
    in.user = SLICE_LIT("eve");
    assert_int_equal(room_join(t, &in, &eve, NOW), SIG_OK);
    assert_int_equal(room_kick(t, s, eve->id, true, NOW), SIG_OK);
    return s;
}

static void test_a_room_is_made_again(void **state)
{
    struct room_table *a = table(), *b = table();
    struct seat *s = scene(a), *back;
    static uint8_t room_bytes[ROOM_SNAPSHOT_MAX], seat_bytes[ROOM_SNAPSHOT_SEAT_MAX];
    struct wr rw = wr_init(room_bytes, sizeof(room_bytes)),
              sw = wr_init(seat_bytes, sizeof(seat_bytes));
    struct slice sfu, server;

    (void)state;
    s->room->has_call = true;
    memset(s->room->call.b, 5, sizeof(s->room->call.b));
    room_snapshot_write(&rw, s->room, SLICE_LIT("sfu-1"), SLICE_LIT("node-1"));
    room_snapshot_seat_write(&sw, s, NOW, WALL);
    assert_false(rw.bad || sw.bad);
    struct room *r = room_snapshot_read(b, SLICE_LIT("r"), wr_done(&rw), &sfu, &server, NOW);
    assert_non_null(r);
    assert_true(slice_is(sfu, "sfu-1") && slice_is(server, "node-1"));
    assert_true(r->has_call && sig_call_id_eq(&r->call, &s->room->call));
    assert_true(room_is_banned(r, SLICE_LIT("eve")) && r->guests_n == 1);
    back = room_snapshot_seat_read(b, r, s->id, wr_done(&sw), NOW, WALL + US_PER_S);
    assert_non_null(back);
    assert_true(slice_eq(back->id, s->id) && slice_is(back->user, "alice"));
    assert_true(slice_is(back->device, "laptop") && slice_is(back->name, "Alice A."));
    assert_true(slice_is(back->metadata, "{\"hand\":true}") && back->role == SIG_ROLE_ADMIN);
    assert_true(back->perms.publish == 3 && back->perms.subscribe && !back->perms.data);
    assert_true(back->mode == CTL_MODE_PAIR && back->auto_audio && !back->auto_video);
    assert_memory_equal(back->at.session, s->at.session, sizeof(back->at.session));
    assert_true(sig_call_id_eq(&back->stay, &s->stay)); /* its record goes on */
    assert_true(back->in && !back->online && back->at.where == SEAT_NOWHERE);
    assert_int_equal(seat_state(back), SIG_ROOM_RECONNECTING);
    assert_int_equal(back->in_us, NOW - 31 * US_PER_S); /* time went on */
    const struct seat_track *t = seat_track_find(back, SLICE_LIT("p:0"));
    assert_non_null(t);
    assert_true(t->t.muted && slice_is(t->name, "mic") && t->t.kind == RTP_KIND_AUDIO);
    /* local sessions are none of it, until somebody says that it is theirs */
    room_table_session(b, back->user, back->device, ROOM_SESSION_BACK, ROOM_REASON_NONE, NOW);
    assert_false(back->online);
    seat_session(b, back, ROOM_SESSION_BACK, ROOM_REASON_NONE, NOW);
    assert_int_equal(seat_state(back), SIG_ROOM_CONNECTED);
    /* nor is a second one made of it */
    assert_null(room_snapshot_read(b, SLICE_LIT("r"), wr_done(&rw), &sfu, &server, NOW));
    assert_null(room_snapshot_seat_read(b, r, s->id, wr_done(&sw), NOW, WALL));
    room_table_free(a);
    room_table_free(b);
    assert_int_equal(mem_live(), 0);
}

static void test_who_does_not_come_back_leaves(void **state)
{
    struct room_table *a = table(), *b = table();
    const struct seat *s = scene(a);
    static uint8_t room_bytes[ROOM_SNAPSHOT_MAX], seat_bytes[ROOM_SNAPSHOT_SEAT_MAX];
    struct wr rw = wr_init(room_bytes, sizeof(room_bytes)),
              sw = wr_init(seat_bytes, sizeof(seat_bytes));
    struct slice sfu, server;

    (void)state;
    room_snapshot_write(&rw, s->room, (struct slice){0}, (struct slice){0});
    room_snapshot_seat_write(&sw, s, NOW, WALL);
    struct room *r = room_snapshot_read(b, SLICE_LIT("r"), wr_done(&rw), &sfu, &server, NOW);
    assert_non_null(room_snapshot_seat_read(b, r, s->id, wr_done(&sw), NOW, WALL));
    room_table_tick(b, NOW + CONF.gone_us - 1);
    assert_int_equal(room_table_seats(b), 1);
    room_table_tick(b, NOW + CONF.gone_us + US_PER_S);
    assert_int_equal(room_table_seats(b), 0);
    room_table_free(a);
    room_table_free(b);
}

static void test_bytes_that_are_none_make_nothing(void **state)
{
    struct room_table *a = table(), *b = table();
    const struct seat *s = scene(a);
    static uint8_t room_bytes[ROOM_SNAPSHOT_MAX], seat_bytes[ROOM_SNAPSHOT_SEAT_MAX];
    struct wr rw = wr_init(room_bytes, sizeof(room_bytes)),
              sw = wr_init(seat_bytes, sizeof(seat_bytes));
    struct slice sfu, server;

    (void)state;
    room_snapshot_write(&rw, s->room, SLICE_LIT("sfu-1"), SLICE_LIT("node-1"));
    room_snapshot_seat_write(&sw, s, NOW, WALL);
    for (size_t n = 0; n < rw.len; n++)
        assert_null(
            room_snapshot_read(b, SLICE_LIT("r"), slice_of(room_bytes, n), &sfu, &server, NOW));
    assert_int_equal(room_table_count(b), 0);
    struct room *r = room_snapshot_read(b, SLICE_LIT("r"), wr_done(&rw), &sfu, &server, NOW);
    assert_non_null(r);
    for (size_t n = 0; n < sw.len; n++)
        assert_null(room_snapshot_seat_read(b, r, s->id, slice_of(seat_bytes, n), NOW, WALL));
    assert_int_equal(room_table_seats(b), 0);
    seat_bytes[0]++;
    assert_null(room_snapshot_seat_read(b, r, s->id, wr_done(&sw), NOW, WALL));
    room_table_free(a);
    room_table_free(b);
    assert_int_equal(mem_live(), 0);
}

static void test_oom_makes_nothing_by_halves(void **state)
{
    struct room_table *a = table(), *b = table();
    const struct seat *s = scene(a);
    static uint8_t room_bytes[ROOM_SNAPSHOT_MAX], seat_bytes[ROOM_SNAPSHOT_SEAT_MAX];
    struct wr rw = wr_init(room_bytes, sizeof(room_bytes)),
              sw = wr_init(seat_bytes, sizeof(seat_bytes));
    struct slice sfu, server;
    struct room *r = NULL;
    const struct seat *back = NULL;

    (void)state;
    room_snapshot_write(&rw, s->room, SLICE_LIT("sfu-1"), SLICE_LIT("node-1"));
    room_snapshot_seat_write(&sw, s, NOW, WALL);
    for (uint64_t n = 0; !r; n++) {
        assert_int_equal(room_table_count(b), 0);
        mem_fail_after(n);
        r = room_snapshot_read(b, SLICE_LIT("r"), wr_done(&rw), &sfu, &server, NOW);
        mem_fail_never();
    }
    for (uint64_t n = 0; !back; n++) {
        assert_int_equal(room_table_seats(b), 0);
        mem_fail_after(n);
        back = room_snapshot_seat_read(b, r, s->id, wr_done(&sw), NOW, WALL);
        mem_fail_never();
    }
    assert_true(back->tracks_n == 1 && room_is_banned(r, SLICE_LIT("eve")));
    room_table_free(a);
    room_table_free(b);
    assert_int_equal(mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_room_is_made_again),
        cmocka_unit_test(test_who_does_not_come_back_leaves),
        cmocka_unit_test(test_bytes_that_are_none_make_nothing),
        cmocka_unit_test(test_oom_makes_nothing_by_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/room_table.c, room_rules.c, room_media.c and seat.c: who comes in, who is told
 * what, what ends when. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "server/room_table.h"

static struct room_table *t;
static uint64_t now;
static char log_text[8192]; /* what was told: "room>bob joined(alice)" ... */
static char sfu_text[4096]; /* what the SFU was told */

static struct room_conf conf = {.rooms = 4,
                                .participants = 3,
                                .per_user = 2,
                                .tracks = 4,
                                .metadata_bytes = 32,
                                .open = true,
                                .empty_us = 30 * US_PER_S,
                                .gone_us = 120 * US_PER_S,
                                .restart_us = 60 * US_PER_S};

static void add(char *to, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(char *to, size_t cap, const char *fmt, ...)
{
    size_t len = strlen(to);
    va_list ap;

    va_start(ap, fmt);
    if (len > 0)
        to[len++] = ' ';
    vsnprintf(to + len, cap - len, fmt, ap);
    va_end(ap);
}

static void on_tell(void *arg, struct room *r, struct seat *to, const struct room_note *n)
{
    static const char *const kinds[] = {"person", "track", "slots", "restart", "closed", "state"};
    char who[80] = "*", what[80] = "";

    (void)arg;
    (void)r;
    if (to)
        snprintf(who, sizeof(who), "%.*s", SLICE_FMT(to->user));
    if (n->kind == ROOM_NOTE_PERSON || n->kind == ROOM_NOTE_TRACK)
        snprintf(what, sizeof(what), "%s(%.*s%s%.*s)", room_event_name(n->event),
                 SLICE_FMT(n->about->user), n->track ? ":" : "",
                 n->track ? (int)n->track->t.mid.len : 0,
                 n->track ? (const char *)n->track->t.mid.p : "");
    else
        snprintf(what, sizeof(what), "%s", kinds[n->kind]);
    add(log_text, sizeof(log_text), "%s<%s%s%s", who, what, n->reason ? "/" : "",
        room_reason_name(n->reason));
}

static void on_sfu(void *arg, struct room *r, const struct ctl_msg *m)
{
    struct seat *s = seat_find(t, m->participant);

    (void)arg;
    assert_int_not_equal(r->node, ROOM_NODE_NONE);
    add(sfu_text, sizeof(sfu_text), "%s(%.*s)", ctl_type_name(m->type),
        s ? (int)s->user.len : (int)r->id.len, (const char *)(s ? s->user.p : r->id.p));
}
static const struct room_ops OPS = {.tell = on_tell, .sfu = on_sfu};

#define TOLD(text)                             \
    do {                                       \
        assert_string_equal(log_text, (text)); \
        log_text[0] = '\0';                    \
    } while (0)
#define SFU(text)                              \
    do {                                       \
        assert_string_equal(sfu_text, (text)); \
        sfu_text[0] = '\0';                    \
    } while (0)

static const struct sig_room_perms MEMBER = {
    .publish = CTL_SOURCES_ALL, .subscribe = true, .data = true};
static const struct sig_room_perms ADMIN = {
    .publish = CTL_SOURCES_ALL, .subscribe = true, .data = true, .admin = true};

/* A join with one microphone (mid 0) and, with two, a camera (mid 1). */
static enum sig_err enter(const char *room, const char *user, const char *device,
                          const struct sig_room_perms *perms, size_t tracks, struct seat **out)
{
    struct sig_room_offer o = {.auto_audio = true, .n = tracks};

    o.v[0].wish = (struct ctl_wish){.mid = SLICE_LIT("0"), .source = CTL_SOURCE_MICROPHONE};
    o.v[0].name = SLICE_LIT("mic");
    o.v[1].wish = (struct ctl_wish){.mid = SLICE_LIT("1"), .source = CTL_SOURCE_CAMERA};
    return room_join(t,
                     &(struct room_entry){.room = slice_str(room),
                                          .user = slice_str(user),
                                          .device = slice_str(device),
                                          .perms = *perms,
                                          .offer = &o},
                     out, now);
}

/* The SFU's answer to a join or offer of s: n tracks, two slots. */
static struct ctl_msg *answer_of(const struct seat *s, size_t n)
{
    static char ids[2][CTL_TRACK_MAX];
    static struct ctl_msg m;

    m = (struct ctl_msg){.type = CTL_JOIN, .kind = CTL_KIND_REPLY};
    m.u.joined.tracks_n = n;
    m.u.joined.slots_n = 2;
    m.u.joined.slots[0].mid = SLICE_LIT("a");
    m.u.joined.slots[1].mid = SLICE_LIT("v");
    for (size_t i = 0; i < n; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%.*s:%zu", SLICE_FMT(s->id), i);
        m.u.joined.tracks[i] =
            (struct ctl_track){.track = slice_str(ids[i]),
                               .mid = i == 0 ? SLICE_LIT("0") : SLICE_LIT("1"),
                               .kind = i == 0 ? RTP_KIND_AUDIO : RTP_KIND_VIDEO,
                               .source = i == 0 ? CTL_SOURCE_MICROPHONE : CTL_SOURCE_CAMERA,
                               .layers = 1};
    }
    return &m;
}

static struct seat *in(const char *room, const char *user, const struct sig_room_perms *perms)
{
    struct seat *s = NULL;

    assert_int_equal(enter(room, user, "d", perms, 1, &s), SIG_OK);
    s->room->node = 0;
    seat_joined(t, s, answer_of(s, 1), now);
    return s;
}

static void media(struct seat *s, enum ctl_media state)
{
    struct ctl_msg m = {.type = CTL_STATE, .room = s->room->id, .participant = s->id};

    m.u.state.media = state;
    room_sfu_event(t, s->room->node, &m, now);
}

static int setup(void **state)
{
    (void)state;
    now = 1000 * US_PER_S;
    log_text[0] = sfu_text[0] = '\0';
    conf.open = true;
    conf.creator_is_admin = false;
    t = room_table_new(&conf, &OPS, NULL, now);
    return t ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    room_table_free(t);
    assert_int_equal(mem_live(), 0);
    return 0;
}

static void pass(uint64_t us)
{
    now += us;
    room_table_tick(t, now);
}

static void test_joining_is_told_when_the_sfu_has_taken_it(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = NULL;

    (void)state;
    log_text[0] = '\0';
    assert_int_equal(enter("r", "bob", "d", &MEMBER, 1, &b), SIG_OK);
    TOLD("");
    assert_false(b->in);
    seat_joined(t, b, answer_of(b, 1), now);
    TOLD("*<joined(bob)");
    assert_int_equal(seat_state(b), SIG_ROOM_CONNECTING);
    media(b, CTL_MEDIA_CONNECTED);
    media(b, CTL_MEDIA_CONNECTED);
    TOLD("*<connected(bob)");
    media(b, CTL_MEDIA_DISCONNECTED);
    media(b, CTL_MEDIA_FAILED);
    TOLD("*<reconnecting(bob)");
    media(b, CTL_MEDIA_CONNECTED);
    TOLD("*<connected(bob)");
    struct seat_track *track = CONTAINER_OF(list_first(&a->tracks), struct seat_track, of_seat);
    assert_true(slice_is(track->name, "mic") && a->slots_n == 2);
    seat_leave(t, b, ROOM_REASON_LEFT, now);
    TOLD("*<left(bob)/left");
    SFU("leave(bob)");
    assert_int_equal(room_table_seats(t), 1);
}

static void test_limits_are_kept(void **state)
{
    struct seat *s = NULL;
    struct sig_room_offer big = {.metadata =
                                     SLICE_LIT("{\"a\":\"0123456789012345678901234567890\"}")};
    struct room_entry e = {.room = SLICE_LIT("r"),
                           .user = SLICE_LIT("zoe"),
                           .device = SLICE_LIT("d"),
                           .perms = {.publish = CTL_SOURCES_ALL},
                           .offer = &big};

    (void)state;
    assert_int_equal(room_join(t, &e, &s, now), SIG_ERR_BAD_REQUEST);
    big.metadata = (struct slice){0};
    big.n = conf.tracks + 1;
    assert_int_equal(room_join(t, &e, &s, now), SIG_ERR_BAD_REQUEST);
    assert_int_equal(room_table_count(t), 0); /* nothing is left of what was refused */
    in("r1", "a", &MEMBER);
    in("r1", "b", &MEMBER);
    in("r1", "c", &MEMBER);
    assert_int_equal(enter("r1", "d", "d", &MEMBER, 1, &s), SIG_ERR_ROOM_FULL);
    assert_int_equal(enter("r1", "a", "d", &MEMBER, 1, &s), SIG_OK); /* its own place */
    seat_leave(t, s, ROOM_REASON_LEFT, now);
    in("r2", "a", &MEMBER);
    assert_int_equal(enter("r3", "a", "d", &MEMBER, 1, &s), SIG_ERR_ROOM_TOO_MANY);
    in("r3", "d", &MEMBER);
    in("r4", "d", &MEMBER);
    assert_int_equal(enter("r5", "e", "d", &MEMBER, 1, &s), SIG_ERR_OVERLOADED);
}

static void test_permissions_of_the_token_bind(void **state)
{
    struct sig_room_perms mic = MEMBER, viewer = MEMBER;
    struct sig_room_offer o = {0};
    struct room_entry e = {.room = SLICE_LIT("r"),
                           .user = SLICE_LIT("a"),
                           .device = SLICE_LIT("d"),
                           .bound = SLICE_LIT("other"),
                           .perms = MEMBER,
                           .offer = &o};
    struct seat *s = NULL;

    (void)state;
    assert_int_equal(room_join(t, &e, &s, now), SIG_ERR_ROOM_FORBIDDEN);
    mic.publish = CTL_SOURCE_BIT(CTL_SOURCE_MICROPHONE);
    viewer.publish = 0;
    assert_int_equal(enter("r", "a", "d", &mic, 2, &s), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(enter("r", "a", "d", &mic, 1, &s), SIG_OK);
    assert_int_equal(enter("r", "b", "d", &viewer, 1, &s), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(enter("r", "b", "d", &viewer, 0, &s), SIG_OK);
    assert_int_equal(s->role, SIG_ROLE_VIEWER);
    viewer = MEMBER;
    viewer.hidden = true;
    assert_int_equal(enter("r", "c", "d", &viewer, 1, &s), SIG_ERR_ROOM_FORBIDDEN);
}

static void test_a_closed_table_lets_in_who_is_invited(void **state)
{
    struct sig_room_offer o = {0};
    struct room_entry e = {.room = SLICE_LIT("r"),
                           .user = SLICE_LIT("host"),
                           .device = SLICE_LIT("d"),
                           .bound = SLICE_LIT("r"),
                           .perms = MEMBER,
                           .offer = &o};
    struct seat *host = NULL, *s = NULL;

    (void)state;
    room_table_free(t);
    conf.open = false;
    conf.creator_is_admin = true;
    t = room_table_new(&conf, &OPS, NULL, now);
    assert_int_equal(enter("r", "guest", "d", &MEMBER, 1, &s), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(room_join(t, &e, &host, now), SIG_OK);
    assert_int_equal(host->role, SIG_ROLE_ADMIN); /* creator_is_admin */
    host->room->node = 0;
    seat_joined(t, host, answer_of(host, 0), now);
    assert_true(room_invite(t, host->room, SLICE_LIT("guest")));
    assert_true(room_invite(t, host->room, SLICE_LIT("guest")));
    assert_int_equal(enter("r", "guest", "d", &MEMBER, 1, &s), SIG_OK);
    assert_int_equal(s->role, SIG_ROLE_MEMBER);
    seat_joined(t, s, answer_of(s, 1), now);
    assert_int_equal(room_kick(t, host, s->id, true, now), SIG_OK);
    assert_int_equal(enter("r", "guest", "d", &MEMBER, 1, &s), SIG_ERR_ROOM_FORBIDDEN);
    for (int i = 1; i < ROOM_GUESTS_MAX; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%d", i);
        assert_true(room_invite(t, host->room, slice_str(user)));
    }
    assert_false(room_invite(t, host->room, SLICE_LIT("one more")));
}

static void test_the_same_device_takes_its_own_place(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *again = NULL;
    char id[64];

    (void)state;
    in("r", "bob", &MEMBER);
    log_text[0] = '\0';
    snprintf(id, sizeof(id), "%.*s", SLICE_FMT(a->id));
    assert_int_equal(enter("r", "alice", "d", &MEMBER, 1, &again), SIG_OK);
    assert_false(slice_is(again->id, id));
    TOLD(""); /* the join may fail */
    assert_ptr_equal(seat_of(t, SLICE_LIT("r"), SLICE_LIT("alice"), SLICE_LIT("d")), a);
    struct seat *third = NULL;
    assert_int_equal(enter("r", "alice", "d", &MEMBER, 1, &third), SIG_OK);
    assert_int_equal(room_table_seats(t), 3); /* the second one made way */
    SFU("leave(alice)");
    seat_joined(t, third, answer_of(third, 1), now);
    TOLD("*<left(alice)/replaced *<joined(alice)"); /* the device itself knows */
    SFU("leave(alice)");
    assert_ptr_equal(seat_of(t, SLICE_LIT("r"), SLICE_LIT("alice"), SLICE_LIT("d")), third);
    assert_int_equal(enter("r", "alice", "other device", &MEMBER, 1, &again), SIG_OK);
    assert_int_equal(room_table_seats(t), 3);
}

static void test_offers_tell_what_is_new_and_what_is_gone(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER);

    (void)state;
    log_text[0] = '\0';
    seat_offered(t, a, answer_of(a, 2), now);
    TOLD("*<published(alice:1)");
    struct ctl_msg *m = answer_of(a, 2);
    m->u.joined.tracks[1].layers = 3;
    seat_offered(t, a, m, now);
    TOLD("*<updated(alice:1)");
    m->u.joined.tracks[0].kind = RTP_KIND_VIDEO; /* the section was reused */
    seat_offered(t, a, m, now);
    TOLD("*<published(alice:0)");
    seat_offered(t, a, answer_of(a, 0), now);
    assert_int_equal(a->tracks_n, 0);
    TOLD("*<unpublished(alice:1) *<unpublished(alice:0)");
}

static void test_mutes(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = in("r", "bob", &ADMIN),
                *c = in("r", "carol", &MEMBER);
    const struct slice track =
        CONTAINER_OF(list_first(&a->tracks), struct seat_track, of_seat)->t.track;

    (void)state;
    log_text[0] = '\0';
    assert_int_equal(room_mute(t, c, track, true), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(room_mute(t, c, SLICE_LIT("x"), true), SIG_ERR_ROOM_TRACK_NOT_FOUND);
    assert_int_equal(room_mute(t, c, SLICE_LIT("x:0"), true), SIG_ERR_ROOM_TRACK_NOT_FOUND);
    TOLD("");
    SFU("");
    assert_int_equal(room_mute(t, a, track, true), SIG_OK);
    TOLD("*<muted(alice:0)");
    assert_int_equal(room_mute(t, a, track, true), SIG_OK); /* once more: nothing new */
    assert_int_equal(room_mute(t, a, track, false), SIG_OK);
    TOLD("*<unmuted(alice:0)");
    assert_int_equal(room_mute(t, b, track, true), SIG_OK);
    TOLD("*<muted(alice:0) alice<muted(alice:0)");
    assert_int_equal(room_mute(t, b, track, false), SIG_ERR_ROOM_FORBIDDEN);
    SFU("mute(alice) mute(alice) mute(alice) mute(alice)");
    struct seat *d = NULL;
    seat_leave(t, c, ROOM_REASON_LEFT, now);
    assert_int_equal(enter("r", "dave", "d", &ADMIN, 1, &d), SIG_OK);
}

static void test_updates(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = in("r", "bob", &ADMIN), *changed = NULL;
    struct sig_room_update u = {.has_metadata = true, .metadata = SLICE_LIT("{\"a\":1}")};

    (void)state;
    log_text[0] = '\0';
    assert_int_equal(room_update(t, a, &u, &changed), SIG_OK);
    assert_true(changed == a && slice_is(a->metadata, "{\"a\":1}"));
    TOLD("*<updated(alice)");
    u.participant = b->id;
    assert_int_equal(room_update(t, a, &u, &changed), SIG_ERR_ROOM_FORBIDDEN);
    u.participant = a->id;
    assert_int_equal(room_update(t, b, &u, &changed), SIG_ERR_ROOM_FORBIDDEN); /* not his words */
    u = (struct sig_room_update){.participant = SLICE_LIT("nobody"), .has_role = true};
    assert_int_equal(room_update(t, b, &u, &changed), SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND);
    u = (struct sig_room_update){.has_role = true, .role = SIG_ROLE_ADMIN};
    assert_int_equal(room_update(t, a, &u, &changed), SIG_ERR_ROOM_FORBIDDEN); /* not oneself */
    SFU("");
    u = (struct sig_room_update){.participant = a->id, .has_role = true, .role = SIG_ROLE_VIEWER};
    assert_int_equal(room_update(t, b, &u, &changed), SIG_OK);
    assert_int_equal(a->role, SIG_ROLE_VIEWER);
    assert_int_equal(seat_ctl_perms(a).publish, 0);
    SFU("permissions(alice)");
    TOLD("*<updated(alice) alice<updated(alice)");
    u = (struct sig_room_update){.participant = a->id, .has_perms = true};
    u.named.publish = true;
    u.perms.publish = CTL_SOURCE_BIT(CTL_SOURCE_SCREEN);
    assert_int_equal(room_update(t, b, &u, &changed), SIG_OK);
    assert_int_equal(a->role, SIG_ROLE_MEMBER);
    assert_true(a->perms.subscribe && a->perms.data && !a->perms.admin);
    log_text[0] = '\0';
    u = (struct sig_room_update){.participant = a->id, .has_perms = true};
    u.named.hidden = true;
    u.perms.hidden = true;
    assert_int_equal(room_update(t, b, &u, &changed), SIG_OK);
    assert_int_equal(a->perms.publish, 0);
    TOLD("*<left(alice)/left alice<updated(alice)");
    u.perms.hidden = false;
    assert_int_equal(room_update(t, b, &u, &changed), SIG_OK);
    TOLD("*<joined(alice) *<updated(alice) alice<updated(alice)");
    u = (struct sig_room_update){.name = SLICE_LIT("Al")};
    assert_int_equal(room_update(t, a, &u, &changed), SIG_OK);
    a->named_by_token = true;
    assert_int_equal(room_update(t, a, &u, &changed), SIG_ERR_ROOM_FORBIDDEN);
    u = (struct sig_room_update){.has_metadata = true};
    u.metadata = SLICE_LIT("{\"a\":\"0123456789012345678901234567890\"}");
    assert_int_equal(room_update(t, a, &u, &changed), SIG_ERR_BAD_REQUEST);
}

static void test_kicks(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = in("r", "bob", &ADMIN);

    (void)state;
    log_text[0] = '\0';
    assert_int_equal(room_kick(t, a, b->id, false, now), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(room_kick(t, b, b->id, false, now), SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND);
    assert_int_equal(room_kick(t, b, SLICE_LIT("x"), false, now),
                     SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND);
    assert_int_equal(room_kick(t, b, a->id, false, now), SIG_OK);
    TOLD("*<left(alice)/kicked alice<closed/kicked");
    SFU("leave(alice)");
    a = in("r", "alice", &MEMBER); /* a kick is no ban */
    struct seat *second = NULL;
    assert_int_equal(enter("r", "alice", "tablet", &MEMBER, 1, &second), SIG_OK);
    log_text[0] = '\0';
    assert_int_equal(room_kick(t, b, a->id, true, now), SIG_OK);
    TOLD("*<left(alice)/banned alice<closed/banned alice<closed/banned"); /* both devices */
    assert_int_equal(room_table_seats(t), 1);
}

static void test_closing_tells_everybody(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER);

    (void)state;
    in("r", "bob", &MEMBER);
    log_text[0] = '\0';
    room_close(t, a->room, ROOM_REASON_CLOSED, now);
    TOLD("alice<closed/closed bob<closed/closed");
    SFU("close_room(r)");
    assert_int_equal(room_table_count(t), 0);
}

static void test_empty_rooms_end(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER);

    (void)state;
    seat_leave(t, a, ROOM_REASON_LEFT, now);
    assert_int_equal(room_by_id(t, SLICE_LIT("r"))->node, ROOM_NODE_NONE);
    pass(conf.empty_us - US_PER_MS);
    assert_non_null(room_by_id(t, SLICE_LIT("r")));
    a = in("r", "alice", &MEMBER);
    pass(conf.empty_us * 2);
    assert_non_null(room_by_id(t, SLICE_LIT("r"))); /* somebody is there */
    seat_leave(t, a, ROOM_REASON_LEFT, now);
    pass(conf.empty_us + 2 * US_PER_MS);
    assert_null(room_by_id(t, SLICE_LIT("r")));
}

static void test_a_device_without_socket_keeps_its_seat_for_a_while(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER);
    const struct slice user = SLICE_LIT("alice"), device = SLICE_LIT("d");

    (void)state;
    media(a, CTL_MEDIA_CONNECTED);
    log_text[0] = '\0';
    room_table_session(t, user, device, ROOM_SESSION_LOST, ROOM_REASON_NONE, now);
    TOLD("*<reconnecting(alice)");
    pass(conf.gone_us - US_PER_MS);
    room_table_session(t, user, device, ROOM_SESSION_BACK, ROOM_REASON_NONE, now);
    TOLD("*<connected(alice) alice<state");
    pass(conf.gone_us * 2);
    TOLD("");
    room_table_session(t, user, device, ROOM_SESSION_LOST, ROOM_REASON_NONE, now);
    room_table_session(t, user, device, ROOM_SESSION_LOST, ROOM_REASON_NONE, now);
    pass(conf.gone_us + 2 * US_PER_MS);
    TOLD("*<reconnecting(alice) *<left(alice)/expired alice<closed/expired");
    a = in("r", "alice", &MEMBER);
    in("r2", "alice", &MEMBER);
    log_text[0] = '\0';
    room_table_session(t, user, device, ROOM_SESSION_ENDED, ROOM_REASON_LEFT, now);
    TOLD("*<left(alice)/left *<left(alice)/left");
    assert_int_equal(room_table_seats(t), 0);
}

static void test_lost_media_starts_over(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER);

    (void)state;
    media(a, CTL_MEDIA_CONNECTED);
    log_text[0] = '\0';
    media(a, CTL_MEDIA_CLOSED); /* the SFU has removed it */
    TOLD("*<unpublished(alice:0) *<reconnecting(alice) alice<restart/media_lost");
    assert_true(a->lost && a->slots_n == 0);
    media(a, CTL_MEDIA_CONNECTED); /* late news of what is gone */
    TOLD("");
    seat_start_over(t, a, now); /* its fresh offer */
    seat_joined(t, a, answer_of(a, 1), now);
    TOLD("*<published(alice:0)");
    media(a, CTL_MEDIA_CONNECTED);
    TOLD("*<connected(alice)");
    pass(conf.restart_us * 2);
    TOLD("");
    seat_media_lost(t, a, now);
    seat_media_lost(t, a, now); /* told once */
    TOLD("*<unpublished(alice:0) *<reconnecting(alice) alice<restart/media_lost");
    pass(conf.restart_us + 2 * US_PER_MS); /* no offer came */
    TOLD("*<left(alice)/media_failed alice<closed/media_failed");
}

static void test_a_lost_node_restarts_its_rooms(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *joining = NULL;

    (void)state;
    in("r", "bob", &MEMBER);
    assert_int_equal(enter("r", "carol", "d", &MEMBER, 1, &joining), SIG_OK);
    log_text[0] = '\0';
    room_media_lost(t, a->room, ROOM_REASON_SFU_LOST, now);
    TOLD("*<restart/sfu_lost");
    assert_true(a->lost && !joining->lost && a->tracks_n == 0);
    assert_int_equal(a->room->node, ROOM_NODE_NONE);
    SFU("");
    seat_leave(t, joining, ROOM_REASON_LEFT, now);
    pass(conf.restart_us + 2 * US_PER_MS);
    TOLD("*<left(alice)/sfu_unavailable alice<closed/sfu_unavailable "
         "*<left(bob)/sfu_unavailable bob<closed/sfu_unavailable");
}

static void test_a_sync_finds_who_is_missing(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = in("r", "bob", &MEMBER), *c = NULL;
    uint8_t mem[512];
    struct wr ids = wr_init(mem, sizeof(mem));
    char states[256];

    (void)state;
    assert_int_equal(enter("r", "carol", "d", &MEMBER, 1, &c), SIG_OK);
    log_text[0] = '\0';
    room_sync_write(a->room, &ids);
    assert_int_equal(ids.len, 3 * (SIG_CALL_ID_TEXT + 2) + 2); /* who joins is named as well */
    seat_joined(t, c, answer_of(c, 1), now);                   /* between request and reply */
    TOLD("*<joined(carol)");
    snprintf(states, sizeof(states), "[{\"id\":\"%.*s\",\"state\":\"connected\"}]",
             SLICE_FMT(a->id));
    room_synced(t, a->room, slice_str(states), now);
    TOLD("*<connected(alice) *<unpublished(bob:0) *<reconnecting(bob) bob<restart/media_lost");
    assert_true(b->lost && !c->lost && !a->lost);
    ids = wr_init(mem, sizeof(mem));
    room_sync_write(a->room, &ids);
    assert_int_equal(ids.len, 2 * (SIG_CALL_ID_TEXT + 2) + 1); /* bob is not the SFU's now */
    b->busy = true; /* his fresh join is under way, and may have been done */
    ids = wr_init(mem, sizeof(mem));
    room_sync_write(a->room, &ids);
    assert_int_equal(ids.len, 3 * (SIG_CALL_ID_TEXT + 2) + 2);
    log_text[0] = '\0';
    room_synced(t, a->room, SLICE_LIT("[]"), now);
    TOLD("*<unpublished(alice:0) *<reconnecting(alice) alice<restart/media_lost "
         "*<unpublished(carol:0) *<reconnecting(carol) carol<restart/media_lost");
}

static void test_events_of_another_node_or_room_change_nothing(void **state)
{
    struct seat *a = in("r", "alice", &MEMBER), *b = in("r2", "bob", &MEMBER);
    struct ctl_msg m = {.type = CTL_STATE, .room = SLICE_LIT("r"), .participant = a->id};

    (void)state;
    log_text[0] = '\0';
    m.u.state.media = CTL_MEDIA_CONNECTED;
    room_sfu_event(t, 1, &m, now);
    m.participant = b->id;
    room_sfu_event(t, 0, &m, now);
    m.room = SLICE_LIT("nowhere");
    room_sfu_event(t, 0, &m, now);
    m.room = SLICE_LIT("r");
    m.participant = SLICE_LIT("nobody");
    room_sfu_event(t, 0, &m, now);
    m.type = CTL_LOAD;
    m.participant = a->id;
    room_sfu_event(t, 0, &m, now);
    TOLD("");
    m = (struct ctl_msg){.type = CTL_SLOTS, .room = SLICE_LIT("r"), .participant = a->id};
    m.u.slots.n = 1;
    m.u.slots.v[0] = (struct ctl_slot){.mid = SLICE_LIT("v"), .track = SLICE_LIT("x:1")};
    room_sfu_event(t, 0, &m, now);
    TOLD("alice<slots");
    assert_true(slice_is(seat_slot_view(&a->slots[0]).track, "x:1"));
    seat_slot_forward(a, SLICE_LIT("v"), -1, -1, CTL_PAUSE_BANDWIDTH);
    seat_slot_forward(a, SLICE_LIT("w"), 2, 2, CTL_PAUSE_NONE); /* is not there */
    assert_int_equal(seat_slot_view(&a->slots[0]).layer, -1);
    assert_int_equal(seat_slot_view(&a->slots[0]).pause, CTL_PAUSE_BANDWIDTH);
    m = (struct ctl_msg){.type = CTL_ROOM_CLOSED, .room = SLICE_LIT("r")};
    room_sfu_event(t, 0, &m, now);
    TOLD("*<restart/sfu_lost");
}

static void test_a_made_room_waits_for_its_two(void **state)
{
    const struct sig_call_id call = {{1}};
    struct seat *s = NULL;

    (void)state;
    room_table_free(t);
    conf.open = false;
    t = room_table_new(&conf, &OPS, NULL, now);
    struct room *r = room_make(t, SLICE_LIT("m"), &call, SLICE_LIT("alice"), SLICE_LIT("bob"), now);
    assert_true(r && r->has_call);
    assert_int_equal(enter("m", "eve", "d", &MEMBER, 1, &s), SIG_ERR_ROOM_FORBIDDEN);
    assert_int_equal(enter("m", "alice", "d", &MEMBER, 1, &s), SIG_OK);
    assert_int_equal(s->role, SIG_ROLE_ADMIN);
    seat_leave(t, s, ROOM_REASON_LEFT, now);
    pass(conf.empty_us + 2 * US_PER_MS);
    assert_int_equal(room_table_count(t), 0);
}

/* After any failed allocation: an error, and nothing half made. */
static void test_oom_leaves_nothing_half_made(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct seat *s = NULL;
        mem_fail_after(n);
        enum sig_err err = enter("oom", "alice", "d", &MEMBER, 2, &s);
        bool failed = mem_failed();
        mem_fail_never();
        if (err == SIG_OK) {
            assert_false(failed);
            s->room->node = 0;
            break;
        }
        assert_true(failed && err == SIG_ERR_INTERNAL);
        assert_int_equal(room_table_seats(t), 0);
        pass(conf.empty_us + 2 * US_PER_MS);
    }
    struct seat *s = seat_of(t, SLICE_LIT("oom"), SLICE_LIT("alice"), SLICE_LIT("d"));
    for (uint64_t n = 0; n < 6; n++) {
        mem_fail_after(n);
        seat_joined(t, s, answer_of(s, 2), now);
        mem_fail_never();
        assert_true(s->in && s->tracks_n <= 2);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_joining_is_told_when_the_sfu_has_taken_it),
        TEST(test_limits_are_kept),
        TEST(test_permissions_of_the_token_bind),
        TEST(test_a_closed_table_lets_in_who_is_invited),
        TEST(test_the_same_device_takes_its_own_place),
        TEST(test_offers_tell_what_is_new_and_what_is_gone),
        TEST(test_mutes),
        TEST(test_updates),
        TEST(test_kicks),
        TEST(test_closing_tells_everybody),
        TEST(test_empty_rooms_end),
        TEST(test_a_device_without_socket_keeps_its_seat_for_a_while),
        TEST(test_lost_media_starts_over),
        TEST(test_a_lost_node_restarts_its_rooms),
        TEST(test_a_sync_finds_who_is_missing),
        TEST(test_events_of_another_node_or_room_change_nothing),
        TEST(test_a_made_room_waits_for_its_two),
        TEST(test_oom_leaves_nothing_half_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

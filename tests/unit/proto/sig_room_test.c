/* Tests of proto/sig_room_read.c and sig_room_write.c: the data of room messages, field by field.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/json.h"
#include "proto/sig_room.h"

static uint8_t scratch_mem[SIG_SCRATCH_BYTES];
static struct wr scratch;
static struct sig_fault fault;
static struct sig_msg m;

static const struct json_limits limits = {SIG_DEPTH, 100000, SIG_LARGE_BYTES};

static void with(enum sig_type type, const char *data)
{
    m = (struct sig_msg){.type = type, .data = slice_str(data)};
    scratch = wr_init(scratch_mem, sizeof(scratch_mem));
    fault = (struct sig_fault){0};
    if (m.data.len > 0)
        assert_int_equal(json_scan(m.data, &limits), 0);
}

struct wrong {
    const char *data, *starts;
};

#define REFUSES(type, call, rows)                                               \
    for (size_t i_ = 0; i_ < ARRAY_LEN(rows); i_++) {                           \
        with(type, (rows)[i_].data);                                            \
        if ((call) == 0)                                                        \
            fail_msg("accepted: %s", (rows)[i_].data);                          \
        if (!slice_starts(slice_str(fault.text), slice_str((rows)[i_].starts))) \
            fail_msg("%s: %s", (rows)[i_].data, fault.text);                    \
    }

#define OFFER "\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}"

static void test_joins_are_read(void **state)
{
    struct sig_room_offer o;

    (void)state;
    with(SIG_ROOM_JOIN, "{" OFFER "}");
    assert_int_equal(sig_room_join(&o, &m, &scratch, &fault), 0);
    assert_true(slice_is(o.sdp, "\"v=0\\r\\n\"") && !o.pair && o.auto_audio && o.auto_video);
    assert_true(o.n == 0 && !o.has_metadata && !o.fresh);
    with(SIG_ROOM_JOIN,
         "{" OFFER ",\"mode\":\"pair\",\"metadata\":{\"a\":1},\"subscribe\":{\"video\":\"none\"},"
         "\"tracks\":[{\"mid\":\"\\u0030\",\"source\":\"screen_audio\",\"name\":\"n\\u0041\","
         "\"muted\":true},{\"mid\":\"1\",\"source\":\"camera\"}]}");
    assert_int_equal(sig_room_join(&o, &m, &scratch, &fault), 0);
    assert_true(o.pair && o.auto_audio && !o.auto_video && o.n == 2);
    assert_true(slice_is(o.metadata, "{\"a\":1}") && slice_is(o.v[0].wish.mid, "0"));
    assert_true(slice_is(o.v[0].name, "nA") && o.v[0].wish.muted);
    assert_int_equal(o.v[0].wish.source, CTL_SOURCE_SCREEN_AUDIO);
    assert_true(o.v[1].wish.source == CTL_SOURCE_CAMERA && !o.v[1].wish.muted);
}

static void test_wrong_joins_are_refused(void **state)
{
    static const struct wrong rows[] = {
        {"", "data.offer"},
        {"{\"offer\":{\"type\":\"answer\",\"sdp\":\"v\"}}", "data.offer"},
        {"{\"offer\":{\"type\":\"offer\"}}", "data.offer"},
        {"{\"offer\":{\"type\":\"offer\",\"sdp\":1}}", "data.offer"},
        {"{\"offer\":\"v=0\"}", "data.offer"},
        {"{" OFFER "," OFFER "}", "a key is there twice"},
        {"{" OFFER ",\"mode\":\"triple\"}", "data.mode"},
        {"{" OFFER ",\"tracks\":{}}", "data.tracks: a list"},
        {"{" OFFER ",\"tracks\":[{}]}", "data.tracks: each with a mid"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"\",\"source\":\"camera\"}]}", "data.tracks: each"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"12345678901234567\",\"source\":\"camera\"}]}",
         "data.tracks: each"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"0\"}]}", "data.tracks: source"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"0\",\"source\":\"nose\"}]}", "data.tracks: source"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"0\",\"source\":\"camera\",\"name\":\"\"}]}",
         "data.tracks: name"},
        {"{" OFFER ",\"tracks\":[{\"mid\":\"0\",\"source\":\"camera\",\"muted\":1}]}",
         "data.tracks: muted"},
        {"{" OFFER ",\"tracks\":[1]}", "data.tracks: each"},
        {"{" OFFER ",\"metadata\":[]}", "data.metadata"},
        {"{" OFFER ",\"subscribe\":\"all\"}", "data.subscribe: {audio"},
        {"{" OFFER ",\"subscribe\":{\"audio\":true}}", "data.subscribe: audio"},
    };
    static char many[8192];
    struct sig_room_offer o;

    (void)state;
    REFUSES(SIG_ROOM_JOIN, sig_room_join(&o, &m, &scratch, &fault), rows);
    for (int n = CTL_TRACKS_MAX; n <= CTL_TRACKS_MAX + 1; n++) {
        struct wr w = wr_init(many, sizeof(many) - 1);
        wr_str(&w, "{" OFFER ",\"tracks\":[");
        for (int i = 0; i < n; i++)
            wr_str(&w, i ? ",{\"mid\":\"0\",\"source\":\"camera\"}"
                         : "{\"mid\":\"0\",\"source\":\"camera\"}");
        wr_str(&w, "]}");
        many[w.len] = '\0';
        with(SIG_ROOM_JOIN, many);
        assert_int_equal(sig_room_join(&o, &m, &scratch, &fault) == 0, n == CTL_TRACKS_MAX);
    }
    struct wr w = wr_init(many, sizeof(many) - 1);
    wr_str(&w, "{" OFFER ",\"metadata\":{\"a\":\"");
    for (int i = 0; i < SIG_ROOM_METADATA_MAX - 8 + 1; i++)
        wr_u8(&w, 'x');
    wr_str(&w, "\"}}");
    many[w.len] = '\0';
    with(SIG_ROOM_JOIN, many);
    assert_int_not_equal(sig_room_join(&o, &m, &scratch, &fault), 0);
}

static void test_offers_and_answers(void **state)
{
    static const struct wrong offers[] = {{"{}", "data.offer"},
                                          {"{" OFFER ",\"fresh\":1}", "data.fresh"},
                                          {"{" OFFER ",\"tracks\":1}", "data.tracks"}};
    static const struct wrong answers[] = {
        {"{}", "data.answer"},
        {"{\"answer\":{\"type\":\"answer\",\"sdp\":\"v\"}}", "data.negotiationId"},
        {"{\"answer\":{\"type\":\"offer\",\"sdp\":\"v\"},\"negotiationId\":\"n\"}", "data.answer"},
    };
    struct sig_room_offer o;
    struct slice sdp, id;

    (void)state;
    with(SIG_ROOM_OFFER, "{" OFFER ",\"fresh\":true}");
    assert_int_equal(sig_room_offer(&o, &m, &scratch, &fault), 0);
    assert_true(o.fresh && slice_is(o.sdp, "\"v=0\\r\\n\""));
    REFUSES(SIG_ROOM_OFFER, sig_room_offer(&o, &m, &scratch, &fault), offers);
    with(SIG_ROOM_ANSWER,
         "{\"answer\":{\"type\":\"answer\",\"sdp\":\"v\"},\"negotiationId\":\"n1\"}");
    assert_int_equal(sig_room_answer(&sdp, &id, &m, &scratch, &fault), 0);
    assert_true(slice_is(sdp, "\"v\"") && slice_is(id, "n1"));
    REFUSES(SIG_ROOM_ANSWER, sig_room_answer(&sdp, &id, &m, &scratch, &fault), answers);
    with(SIG_ROOM_CANDIDATES, "{\"candidates\":[{\"candidate\":\"\"}]}");
    assert_int_equal(sig_room_candidates(&sdp, &m, &fault), 0);
    assert_true(slice_is(sdp, "[{\"candidate\":\"\"}]"));
    with(SIG_ROOM_CANDIDATES, "{\"candidates\":[]}");
    assert_int_not_equal(sig_room_candidates(&sdp, &m, &fault), 0);
}

static void test_subscriptions_and_mutes(void **state)
{
    static const struct wrong subs[] = {
        {"{}", "data.tracks: a list"},
        {"{\"tracks\":[]}", "data.tracks: at least"},
        {"{\"tracks\":[{}]}", "data.tracks: each with a trackId"},
        {"{\"tracks\":[{\"trackId\":\"a\"}]}", "data.tracks: wanted"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"mid\":\"\"}]}", "data.tracks: mid"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"paused\":1}]}", "data.tracks: wanted"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"layer\":3}]}", "data.tracks: layer"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"layer\":\"x\"}]}",
         "data.tracks: layer"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"temporal\":4}]}", "data.tracks: layer"},
        {"{\"tracks\":[{\"trackId\":\"a\",\"wanted\":true,\"priority\":256}]}",
         "data.tracks: priority"},
    };
    static const struct wrong mutes[] = {{"{}", "data.trackId"},
                                         {"{\"trackId\":\"a\"}", "data.muted"}};
    struct ctl_subscription v[SIG_ROOM_SUBSCRIBE_MAX];
    struct slice track;
    bool muted;
    size_t n;

    (void)state;
    with(SIG_ROOM_SUBSCRIBE, "{\"tracks\":[{\"trackId\":\"a:1\",\"wanted\":true,\"mid\":\"3\","
                             "\"layer\":2,\"temporal\":\"auto\",\"priority\":255,\"paused\":true},"
                             "{\"trackId\":\"b:1\",\"wanted\":false}]}");
    assert_int_equal(sig_room_subscribe(v, &n, &m, &scratch, &fault), 0);
    assert_true(n == 2 && v[0].layer == 2 && v[0].temporal == CTL_LAYER_AUTO && v[0].paused);
    assert_true(v[0].priority == 255 && slice_is(v[0].mid, "3") && !v[1].wanted);
    assert_true(v[1].layer == CTL_LAYER_AUTO && v[1].mid.len == 0);
    REFUSES(SIG_ROOM_SUBSCRIBE, sig_room_subscribe(v, &n, &m, &scratch, &fault), subs);
    with(SIG_ROOM_MUTE, "{\"trackId\":\"a:1\",\"muted\":true}");
    assert_int_equal(sig_room_mute(&track, &muted, &m, &scratch, &fault), 0);
    assert_true(slice_is(track, "a:1") && muted);
    with(SIG_ROOM_UNPUBLISH, "{\"trackId\":\"a:1\"}");
    assert_int_equal(sig_room_mute(&track, &muted, &m, &scratch, &fault), 0);
    REFUSES(SIG_ROOM_MUTE, sig_room_mute(&track, &muted, &m, &scratch, &fault), mutes);
}

static void test_updates_kicks_and_invitations(void **state)
{
    static const struct wrong updates[] = {
        {"{\"participantId\":\"\"}", "data.participantId"},
        {"{\"name\":\"\"}", "data.name"},
        {"{\"metadata\":1}", "data.metadata"},
        {"{\"role\":\"king\"}", "data.role"},
        {"{\"permissions\":[]}", "data.permissions: an object"},
        {"{\"permissions\":{\"publish\":1}}", "data.permissions: publish"},
        {"{\"permissions\":{\"publish\":[\"nose\"]}}", "data.permissions: publish"},
        {"{\"permissions\":{\"data\":1}}", "data.permissions: publish"},
    };
    static const struct wrong kicks[] = {{"{}", "data.participantId"},
                                         {"{\"participantId\":\"p\",\"ban\":1}", "data.ban"}};
    static const struct wrong invites[] = {
        {"{}", "data.users: a list"},
        {"{\"users\":[]}", "data.users: 1 to 16"},
        {"{\"users\":[\"a b\"]}", "data.users: each"},
        {"{\"users\":[1]}", "data.users: each"},
        {"{\"users\":[\"a\"],\"metadata\":[]}", "data.metadata"},
        {"{\"users\":[\"a\"],\"metadata\":{\"isVideo\":1}}", "data.metadata.isVideo"},
        {"{\"users\":[\"a\"],\"ringTimeoutMs\":4999}", "data.ringTimeoutMs"},
        {"{\"users\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\",\"a\",\"a\",\"a\",\"a\"]}",
         "data.users: 1 to 16"},
    };
    struct sig_room_update u;
    struct sig_room_invite in;
    struct slice who;
    bool ban;

    (void)state;
    with(SIG_ROOM_UPDATE, "{\"participantId\":\"p\",\"role\":\"viewer\",\"permissions\":{"
                          "\"publish\":[\"camera\",\"screen\"],\"admin\":true}}");
    assert_int_equal(sig_room_update(&u, &m, &scratch, &fault), 0);
    assert_true(u.has_role && u.role == SIG_ROLE_VIEWER && u.has_perms && u.named.publish);
    assert_true(u.named.admin && u.perms.admin && !u.named.data && !u.named.subscribe);
    assert_int_equal(u.perms.publish,
                     CTL_SOURCE_BIT(CTL_SOURCE_CAMERA) | CTL_SOURCE_BIT(CTL_SOURCE_SCREEN));
    with(SIG_ROOM_UPDATE, "{\"permissions\":{\"publish\":true}}");
    assert_int_equal(sig_room_update(&u, &m, &scratch, &fault), 0);
    assert_int_equal(u.perms.publish, CTL_SOURCES_ALL);
    with(SIG_ROOM_UPDATE, "");
    assert_int_equal(sig_room_update(&u, &m, &scratch, &fault), 0);
    assert_true(!u.has_role && !u.has_perms && !u.has_metadata && u.participant.len == 0);
    REFUSES(SIG_ROOM_UPDATE, sig_room_update(&u, &m, &scratch, &fault), updates);
    with(SIG_ROOM_KICK, "{\"participantId\":\"p\",\"ban\":true}");
    assert_int_equal(sig_room_kick(&who, &ban, &m, &scratch, &fault), 0);
    assert_true(slice_is(who, "p") && ban);
    REFUSES(SIG_ROOM_KICK, sig_room_kick(&who, &ban, &m, &scratch, &fault), kicks);
    with(SIG_ROOM_INVITE, "{\"users\":[\"a\",\"b\"],\"metadata\":{\"isVideo\":true},"
                          "\"ringTimeoutMs\":5000}");
    assert_int_equal(sig_room_invite(&in, &m, &fault), 0);
    assert_true(in.is_video && in.ring_timeout_ms == 5000);
    assert_int_equal(json_items_count(in.users), 2);
    REFUSES(SIG_ROOM_INVITE, sig_room_invite(&in, &m, &fault), invites);
}

static void test_bodies_are_json_with_the_right_fields(void **state)
{
    uint8_t mem[4096];
    struct wr w = wr_init(mem, sizeof(mem));
    const struct sig_room_perms perms = {.publish = CTL_SOURCE_BIT(CTL_SOURCE_CAMERA),
                                         .data = true};
    const struct ctl_track track = {.track = SLICE_LIT("p:1"),
                                    .mid = SLICE_LIT("1"),
                                    .kind = RTP_KIND_VIDEO,
                                    .source = CTL_SOURCE_SCREEN,
                                    .layers = 3};
    const struct ctl_slot full = {.mid = SLICE_LIT("2"),
                                  .track = SLICE_LIT("p:1"),
                                  .participant = SLICE_LIT("p"),
                                  .picture = true,
                                  .layer = 2,
                                  .temporal = 1},
                          paused = {.mid = SLICE_LIT("4"),
                                    .track = SLICE_LIT("p:2"),
                                    .participant = SLICE_LIT("p"),
                                    .picture = true,
                                    .layer = -1,
                                    .temporal = -1,
                                    .pause = CTL_PAUSE_BANDWIDTH},
                          empty = {.mid = SLICE_LIT("3")};

    (void)state;
    wr_u8(&w, '{');
    sig_room_open(&w, &(struct sig_head){.type = SIG_ROOM_STATE, .room = SLICE_LIT("r")});
    sig_room_truth(&w, "full", true);
    sig_room_list(&w, "participants");
    for (int i = 0; i < 2; i++) {
        sig_room_person(&w, NULL,
                        &(struct sig_room_person){.id = SLICE_LIT("p"),
                                                  .user = SLICE_LIT("u"),
                                                  .device = SLICE_LIT("d"),
                                                  .name = SLICE_LIT("N\""),
                                                  .role = SIG_ROLE_ADMIN,
                                                  .state = SIG_ROOM_RECONNECTING});
        sig_room_list(&w, "tracks");
        for (int k = 0; k < i; k++)
            sig_room_track(&w, NULL, &track, SLICE_LIT("t"));
        sig_room_list_end(&w);
        sig_room_person_end(&w);
    }
    sig_room_list_end(&w);
    sig_room_list(&w, "slots");
    sig_room_slot(&w, &full);
    sig_room_slot(&w, &paused);
    sig_room_slot(&w, &empty);
    sig_room_list_end(&w);
    sig_room_perms(&w, &perms);
    sig_room_bits(&w, "wanted", 5);
    sig_room_need(&w, 1, 0);
    sig_room_sdp(&w, "offer", "offer", SLICE_LIT("\"v=0\""));
    sig_room_sdp(&w, "none", "offer", (struct slice){0});
    sig_room_list(&w, "quality");
    sig_room_quality(&w, &(struct ctl_quality){SLICE_LIT("p"), 4, 405});
    sig_room_list_end(&w);
    sig_room_end(&w);
    struct slice text = wr_done(&w);
    assert_int_equal(json_scan(text, &limits), 0);
    static const char want[] =
        "{\"type\":\"room.state\",\"roomId\":\"r\",\"data\":{\"full\":true,\"participants\":[{"
        "\"participantId\":\"p\",\"user\":\"u\",\"deviceId\":\"d\",\"name\":\"N\\\"\",\"role\":"
        "\"admin\",\"state\":\"reconnecting\",\"tracks\":[]},{\"participantId\":\"p\",\"user\":"
        "\"u\",\"deviceId\":\"d\",\"name\":\"N\\\"\",\"role\":\"admin\",\"state\":"
        "\"reconnecting\",\"tracks\":[{\"trackId\":\"p:1\",\"mid\":\"1\",\"kind\":\"video\","
        "\"source\":\"screen\",\"name\":\"t\",\"muted\":false,\"layers\":3}]}],\"slots\":[{"
        "\"mid\":\"2\",\"trackId\":\"p:1\",\"participantId\":\"p\",\"layer\":2,\"temporal\":1,"
        "\"paused\":false},{\"mid\":\"4\",\"trackId\":\"p:2\",\"participantId\":\"p\","
        "\"paused\":true,\"reason\":\"bandwidth\"},{\"mid\":\"3\"}],"
        "\"permissions\":{\"publish\":[\"camera\"],\"subscribe\":false,\"data\":true,\"admin\":"
        "false,\"hidden\":false},\"wanted\":[0,2],\"need\":{\"audio\":1,\"video\":0},\"offer\":{"
        "\"type\":\"offer\",\"sdp\":\"v=0\"},\"quality\":[{\"participantId\":\"p\",\"score\":4,"
        "\"mos\":4.05}]}}";
    if (!slice_is(text, want))
        fail_msg("%.*s", SLICE_FMT(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joins_are_read),
        cmocka_unit_test(test_wrong_joins_are_refused),
        cmocka_unit_test(test_offers_and_answers),
        cmocka_unit_test(test_subscriptions_and_mutes),
        cmocka_unit_test(test_updates_kicks_and_invitations),
        cmocka_unit_test(test_bodies_are_json_with_the_right_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

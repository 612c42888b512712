/* What every engine of the ledger has to pass (server/ledger_store.h), on SQLite and on PostgreSQL:
 * records, pages, marks, devices, requests, retention. What only one of them can get wrong is in
 * ledger_store_{sqlite,pg}_test.c. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/ledger_scene.h"
#include "tests/lib/pg_scene.h"

#include <string.h>

static struct ledger_store *s;

static int set_up(void **state)
{
    (void)state;
    scene_make();
    s = scene_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (s)
        scene_close(s);
    s = NULL;
    scene_remove();
    return 0;
}

/* ---- calls ---- */

static void test_each_party_sees_its_side(void **state)
{
    (void)state;
    assert_int_equal(scene_call(s, 1, A, B, SCENE_NOW, false), 0);
    struct scene_page a = scene_history(s, A), b = scene_history(s, B);

    assert_string_equal(a.text, "1>berta");
    assert_string_equal(b.text, "1<anna@");
    assert_string_equal(scene_history(s, C).text, "");
    assert_true(a.first.video);
    assert_false(a.first.group);
    assert_int_equal(a.first.created_ms, SCENE_NOW);
    assert_int_equal(a.first.ring_ms, SCENE_NOW + 100);
    assert_int_equal(a.first.answer_ms, SCENE_NOW + 4000);
    assert_int_equal(a.first.end_ms, SCENE_NOW + 34000);
    assert_int_equal(a.first.outcome, LEDGER_ANSWERED);
    assert_int_equal(a.first.reason, SIG_REASON_HANGUP);
    assert_int_equal(a.first.ended_by, LEDGER_BY_CALLEE);
    assert_int_equal(a.first.path, LEDGER_TURN);
    assert_int_equal(a.first.relayed_bytes, 5000);
    assert_int_equal(a.first.samples, 0);
}

static void test_the_same_record_twice_is_one(void **state)
{
    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    scene_call(s, 1, A, B, SCENE_NOW, true);
    assert_string_equal(scene_history(s, A).text, "1>berta");
    assert_int_equal(scene_badge(s, B), 1);
}

static void test_an_open_call_is_ended_once_and_not_reopened(void **state)
{
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                           {.user = B, .role = LEDGER_CALLEE}};
    struct ledger_call c = {.id = scene_id(7),
                            .created_ms = SCENE_NOW,
                            .answer_ms = SCENE_NOW + 10,
                            .parties = parties,
                            .parties_n = 2};

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    assert_int_equal(scene_history(s, A).first.end_ms, 0);
    c.end_ms = SCENE_NOW + 5000;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    c.end_ms = 0; /* late */
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    assert_int_equal(scene_history(s, A).first.end_ms, SCENE_NOW + 5000);
}

static void test_a_reused_id_changes_nothing_of_a_call_that_ended(void **state)
{
    const struct ledger_party others[] = {{.user = C, .role = LEDGER_CALLER},
                                          {.user = B, .role = LEDGER_CALLEE, .missed = true}};
    const struct ledger_call other = {.id = scene_id(1),
                                      .created_ms = SCENE_NOW + SCENE_DAY,
                                      .end_ms = SCENE_NOW + SCENE_DAY + 1,
                                      .outcome = LEDGER_MISSED,
                                      .parties = others,
                                      .parties_n = 2};

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    struct scene_page was = scene_history(s, B);
    assert_int_equal(DO(s, put_call(s, &other, true)), 0);
    struct scene_page is = scene_history(s, B);
    assert_string_equal(is.text, was.text);
    assert_true(is.first.video && is.first.outcome == LEDGER_ANSWERED);
    assert_int_equal(scene_badge(s, B), 0);
    assert_int_equal(scene_history(s, C).n, 0); /* who took the id is no party of it */
}

static void test_an_invitation_into_a_room_names_who_invites(void **state)
{
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                           {.user = B, .role = LEDGER_CALLEE, .missed = true}};
    const struct ledger_party stay = {.user = B, .role = LEDGER_MEMBER};
    struct ledger_call c = {.id = scene_id(4),
                            .group = true,
                            .created_ms = SCENE_NOW,
                            .end_ms = SCENE_NOW + 10,
                            .outcome = LEDGER_MISSED,
                            .parties = parties,
                            .parties_n = 2};

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    struct scene_page b = scene_history(s, B);
    assert_true(b.first.group && b.first.missed);
    assert_string_equal(b.text, "4<anna@!");
    assert_string_equal(scene_history(s, A).text, "4>berta");
    assert_int_equal(scene_badge(s, B), 1);
    c = (struct ledger_call){.id = scene_id(5),
                             .group = true,
                             .created_ms = SCENE_NOW + 20,
                             .end_ms = SCENE_NOW + 30,
                             .parties = &stay,
                             .parties_n = 1};
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    assert_int_equal(scene_history(s, B).n, 2);
}

static void test_the_path_of_a_call_may_come_to_light_after_its_end(void **state)
{
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                           {.user = B, .role = LEDGER_CALLEE}};
    struct ledger_call c = {.id = scene_id(8),
                            .created_ms = SCENE_NOW,
                            .answer_ms = SCENE_NOW + 10,
                            .end_ms = SCENE_NOW + 5000,
                            .parties = parties,
                            .parties_n = 2};
    static const struct {
        int later_ms;
        enum ledger_path told, kept;
    } v[] = {
        {0, LEDGER_PATH_UNKNOWN, LEDGER_PATH_UNKNOWN},
        {3600000, LEDGER_P2P, LEDGER_PATH_UNKNOWN}, /* another call under its id */
        {1, LEDGER_P2P, LEDGER_P2P},
        {0, LEDGER_PATH_UNKNOWN, LEDGER_P2P},
        {0, LEDGER_TURN, LEDGER_TURN}, /* one end went over the relay */
        {0, LEDGER_P2P, LEDGER_TURN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct ledger_call again = c;
        again.created_ms += (uint64_t)v[i].later_ms;
        again.end_ms += (uint64_t)v[i].later_ms;
        again.path = v[i].told;
        assert_int_equal(DO(s, put_call(s, &again, true)), 0);
        assert_int_equal(scene_history(s, A).first.path, v[i].kept);
        assert_int_equal(scene_history(s, A).first.end_ms, c.end_ms);
    }
}

#define SUMS                                                                     \
    "SELECT day, path, calls, seconds, relayed_bytes, ice_failed FROM usage_day" \
    " WHERE calls<>0 ORDER BY path"

static struct ledger_call ended_call(unsigned n)
{
    static const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                                  {.user = B, .role = LEDGER_CALLEE}};

    return (struct ledger_call){.id = scene_id(n),
                                .created_ms = SCENE_NOW,
                                .answer_ms = SCENE_NOW + 1000,
                                .end_ms = SCENE_NOW + 9000,
                                .outcome = LEDGER_ANSWERED,
                                .reason = SIG_REASON_MEDIA_FAILED,
                                .relayed_bytes = 40,
                                .region = SLICE_LIT("kr"),
                                .parties = parties,
                                .parties_n = 2};
}

static void test_the_days_sums_follow_a_path_that_is_told_late(void **state)
{
    struct ledger_call c = ended_call(8), other = ended_call(9);

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    assert_int_equal(DO(s, put_call(s, &other, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|unknown|2|16|80|2");
    c.again = true;
    for (unsigned i = 0; i < 3; i++) { /* however often it is told */
        c.path = LEDGER_P2P;
        assert_int_equal(DO(s, put_call(s, &c, true)), 0);
        scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1\n2024-10-04|unknown|1|8|40|1");
    }
    c.path_was = LEDGER_P2P;
    c.path = LEDGER_TURN;
    c.region = SLICE_LIT("jp"); /* the record counts */
    c.video = true;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|turn|1|8|40|1\n2024-10-04|unknown|1|8|40|1");
    c.path_was = LEDGER_TURN;
    c.path = LEDGER_P2P; /* no news: one end went over the relay */
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|turn|1|8|40|1\n2024-10-04|unknown|1|8|40|1");
}

static void test_the_days_sums_follow_without_a_record_too(void **state)
{
    struct ledger_privacy p;
    struct ledger_call c = ended_call(8);

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, false)), 0); /* [privacy] history = no */
    c.again = true;
    c.path = LEDGER_P2P;
    assert_int_equal(DO(s, put_call(s, &c, false)), 0);
    scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1");
    c.path_was = LEDGER_P2P; /* nothing new */
    assert_int_equal(DO(s, put_call(s, &c, false)), 0);
    scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1");

    c = ended_call(9); /* both have deleted it meanwhile */
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    assert_int_equal(DO(s, hide(s, A, &c.id, 1, 0)), 0);
    assert_int_equal(DO(s, hide(s, B, &c.id, 1, 0)), 0);
    c.again = true;
    c.path = LEDGER_TURN;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1\n2024-10-04|turn|1|8|40|1");
    assert_int_equal(scene_history(s, A).n, 0);

    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW - 30 * SCENE_DAY, &p));
    DO(s, erase(s, B, SLICE_LIT("user"), SCENE_NOW - 30 * SCENE_DAY, &p));
    scene_sweep(s, SCENE_NOW + SCENE_DAY);
    c = ended_call(10); /* of two who are gone */
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    c.again = true;
    c.path = LEDGER_TURN;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1\n2024-10-04|turn|2|16|80|2");
}

static void test_a_call_counts_for_the_day_of_its_record(void **state)
{
    struct ledger_call c = ended_call(8);

    (void)state;
    c.end_ms = 0;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    c.created_ms -= 1; /* the clock was set, over midnight */
    c.end_ms = SCENE_NOW + 9000;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    c.again = true;
    c.path = LEDGER_P2P;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    scene_sql_is(SUMS, "2024-10-04|p2p|1|8|40|1");
}

static void test_what_a_crash_left_open_is_ended_and_counted(void **state)
{
    const struct ledger_party party = {.user = A, .role = LEDGER_MEMBER};
    struct ledger_call c = ended_call(1), stay = {.id = scene_id(2),
                                                  .group = true,
                                                  .created_ms = SCENE_NOW + 1,
                                                  .answer_ms = SCENE_NOW + 1,
                                                  .path = LEDGER_SFU,
                                                  .outcome = LEDGER_ANSWERED,
                                                  .node = SLICE_LIT("node-1"),
                                                  .parties = &party,
                                                  .parties_n = 1};
    const struct ledger_quality q = {.call_id = stay.id,
                                     .user = A,
                                     .leg = SLICE_LIT("sfu"),
                                     .at_ms = SCENE_NOW + 60001,
                                     .samples = 1};

    (void)state;
    c.end_ms = 0;
    c.reason = SIG_REASON_NONE;
    c.node = SLICE_LIT("node-1");
    DO(s, put_call(s, &c, true));
    DO(s, put_call(s, &stay, true));
    DO(s, put_quality(s, &q)); /* the last word */
    for (unsigned i = 0; i < 2; i++) {
        scene_close(s);
        s = scene_open();
        struct ledger_entry e = scene_history(s, A).first;
        assert_int_equal(e.end_ms, SCENE_NOW + 60001);
        assert_int_equal(e.reason, SIG_REASON_SERVER_ERROR);
        assert_int_equal(e.ended_by, LEDGER_BY_SYSTEM);
        assert_int_equal(scene_history(s, B).first.end_ms, SCENE_NOW + 1000);
        scene_sql_is(SUMS, "2024-10-04|sfu|1|60|0|0\n2024-10-04|unknown|1|0|40|0");
    }
}

static void test_pages_hold_every_call_once_in_order(void **state)
{
    struct scene_page all = {.n = 0};
    struct ledger_query q = {.user = A, .limit = 7};
    struct ledger_cursor at;
    unsigned pages = 0;

    (void)state;
    for (unsigned i = 0; i < 50; i++) /* five at the same time each */
        scene_call(s, i, A, B, SCENE_NOW + i / 5, false);
    do {
        assert_int_equal(DO(s, history(s, &q, scene_on_entry, &all, &all.more)), 0);
        at = all.last;
        q.after = &at;
        pages++;
    } while (all.more);
    assert_int_equal(pages, 8);
    assert_int_equal(all.n, 50);
    assert_true(strncmp(all.text, "49>berta 48>berta 47>", 21) == 0);
    assert_non_null(strstr(all.text, " 1>berta 0>berta"));
}

static void test_missed_calls_are_counted_until_seen(void **state)
{
    const struct ledger_query q = {.user = B, .limit = 10, .missed_only = true};
    struct scene_page p = {.n = 0};
    struct sig_call_id two = scene_id(2), other = scene_id(1);

    (void)state;
    scene_call(s, 1, B, A, SCENE_NOW, true);
    for (unsigned i = 2; i < 6; i++)
        scene_call(s, i, A, B, SCENE_NOW + i, i != 4);
    assert_int_equal(scene_badge(s, B), 3);
    assert_int_equal(scene_badge(s, A), 1);
    assert_int_equal(DO(s, history(s, &q, scene_on_entry, &p, &p.more)), 0);
    assert_string_equal(p.text, "5<anna@! 3<anna@! 2<anna@!");
    assert_int_equal(DO(s, seen(s, B, &two, 1, 0)), 0);
    assert_int_equal(scene_badge(s, B), 2);
    assert_int_equal(DO(s, seen(s, B, &other, 1, 0)), 0); /* not one that B missed */
    assert_int_equal(scene_badge(s, A), 1);
    assert_int_equal(DO(s, seen(s, B, NULL, 0, SCENE_NOW + 3)), 0);
    assert_int_equal(scene_badge(s, B), 1);
    scene_call(s, 2, A, B, SCENE_NOW + 2, true); /* again: what was seen stays seen */
    assert_int_equal(scene_badge(s, B), 1);
}

static void test_a_call_leaves_one_list_and_then_both(void **state)
{
    struct sig_call_id one = scene_id(1), strange = scene_id(99);

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    scene_call(s, 2, A, B, SCENE_NOW + 1, false);
    assert_int_equal(DO(s, hide(s, B, &one, 1, 0)), 0);
    assert_int_equal(DO(s, hide(s, C, &one, 1, 0)), 0); /* not C's */
    assert_int_equal(DO(s, hide(s, B, &strange, 1, 0)), 0);
    assert_string_equal(scene_history(s, B).text, "2<anna@");
    assert_string_equal(scene_history(s, A).text, "2>berta 1>berta");
    assert_int_equal(scene_badge(s, B), 0);
    assert_int_equal(DO(s, hide(s, A, NULL, 0, SCENE_NOW + 1)), 0);
    assert_string_equal(scene_history(s, A).text, "");
    assert_string_equal(scene_history(s, B).text, "2<anna@");
    assert_int_equal(DO(s, hide(s, B, NULL, 0, SCENE_NOW + 9)), 0);
    scene_call(s, 2, A, B, SCENE_NOW + 1, false); /* it was deleted: a repeated record is new */
    assert_string_equal(scene_history(s, B).text, "2<anna@");
}

static void test_quality_comes_with_the_call(void **state)
{
    struct ledger_quality q = {.call_id = scene_id(1),
                               .user = A,
                               .leg = SLICE_LIT("down"),
                               .model = SLICE_LIT("g107-2015/opus-wb13"),
                               .at_ms = SCENE_NOW,
                               .samples = 6,
                               .mos_avg_milli = 4100,
                               .mos_p10_milli = 3400,
                               .mos_min_milli = 3200,
                               .loss_permille = 7,
                               .rtt_ms = 84,
                               .jitter_ms = 11,
                               .silence_ms = 2500,
                               .codec = SLICE_LIT("opus"),
                               .path = LEDGER_P2P,
                               .worst = SLICE_LIT("delay"),
                               .network = SLICE_LIT("cellular")};

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    assert_int_equal(DO(s, put_quality(s, &q)), 0);
    q.leg = SLICE_LIT("up");
    q.samples = 2;
    q.mos_avg_milli = 1000;
    q.network = SLICE_LIT("wifi");
    assert_int_equal(DO(s, put_quality(s, &q)), 0);
    scene_sql_is("SELECT leg, network FROM quality_leg ORDER BY leg", "down|cellular\nup|wifi");
    q.leg = SLICE_LIT("relay"); /* only as far as a relay: counts where there is no other */
    q.samples = 100;
    assert_int_equal(DO(s, put_quality(s, &q)), 0);
    struct ledger_entry e = scene_history(s, A).first;
    assert_int_equal(e.samples, 6); /* the leg that says most */
    assert_int_equal(e.mos_avg_milli, 4100);
    assert_int_equal(e.mos_p10_milli, 3400);
    assert_int_equal(e.mos_min_milli, 3200);
    assert_int_equal(e.loss_permille, 7);
    assert_int_equal(e.rtt_ms, 84);
    assert_int_equal(e.jitter_ms, 11);
    assert_int_equal(e.silence_ms, 2500);
    assert_int_equal(e.quality_path, LEDGER_P2P);
    assert_int_equal(e.path, LEDGER_TURN);                  /* the call's own */
    assert_int_equal(scene_history(s, B).first.samples, 0); /* it is A's */
}

static void test_groups_have_no_peer(void **state)
{
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_MEMBER},
                                           {.user = B, .role = LEDGER_MEMBER},
                                           {.user = C, .role = LEDGER_MEMBER}};
    const struct ledger_call c = {.id = scene_id(3),
                                  .group = true,
                                  .created_ms = SCENE_NOW,
                                  .end_ms = SCENE_NOW + 1,
                                  .parties = parties,
                                  .parties_n = 3};

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, true)), 0);
    struct scene_page p = scene_history(s, C);
    assert_int_equal(p.n, 1);
    assert_true(p.first.group);
    assert_int_equal(p.first.peer.len, 0);
}

static void test_a_transaction_that_is_taken_back_leaves_nothing(void **state)
{
    const struct ledger_party party = {.user = A, .role = LEDGER_CALLER};
    const struct ledger_call c = {
        .id = scene_id(3), .created_ms = SCENE_NOW, .parties = &party, .parties_n = 1};

    (void)state;
    assert_int_equal(s->ops->begin(s, true), 0);
    assert_int_equal(s->ops->put_call(s, &c, true), 0);
    s->ops->rollback(s);
    assert_string_equal(scene_history(s, A).text, "");
    assert_int_equal(s->ops->health(s), LEDGER_FINE);
}

/* ---- devices ---- */

static void test_devices_come_back_as_they_went_in(void **state)
{
    (void)state;
    assert_int_equal(scene_device(s, A, "phone", "aaaa", SCENE_NOW), 0);
    assert_int_equal(scene_device(s, A, "pad", "bbbb", SCENE_NOW), 0);
    assert_string_equal(scene_devices(s), "anna@/pad=voip:bbbb anna@/phone=voip:aaaa");
    assert_int_equal(scene_device(s, A, "phone", "cccc", SCENE_NOW), 0); /* a new token */
    assert_string_equal(scene_devices(s), "anna@/pad=voip:bbbb anna@/phone=voip:cccc");
    assert_int_equal(DO(s, del_device(s, A, SLICE_LIT("pad"))), 0);
    assert_int_equal(DO(s, del_device(s, A, SLICE_LIT("pad"))), -ENOENT);
    assert_string_equal(scene_devices(s), "anna@/phone=voip:cccc");
}

static void test_a_token_leaves_its_old_user_in_the_same_transaction(void **state)
{
    (void)state;
    scene_device(s, A, "phone", "shared", SCENE_NOW);
    scene_device(s, B, "phone", "shared", SCENE_NOW);
    assert_string_equal(scene_devices(s), "anna@/phone berta/phone=voip:shared");
}

static void test_types_not_given_stay_and_empty_ones_go(void **state)
{
    struct ledger_token t[] = {
        {.type = LEDGER_ALERT, .token = SLICE_LIT("alert")},
        {.type = LEDGER_LIVEACTIVITY, .token = SLICE_LIT("la-1"), .call_id = scene_id(1)},
        {.type = LEDGER_LIVEACTIVITY, .token = SLICE_LIT("la-2"), .call_id = scene_id(2)},
    };
    struct ledger_device d = {
        .user = A, .device = SLICE_LIT("phone"), .seen_ms = 1, .tokens = t, .tokens_n = 3};

    (void)state;
    scene_device(s, A, "phone", "voip", SCENE_NOW);
    assert_int_equal(DO(s, put_device(s, &d)), 0);
    assert_string_equal(scene_devices(s),
                        "anna@/phone=alert:alert=liveactivity:la-1=liveactivity:la-2=voip:voip");
    t[0].token = (struct slice){0};
    d.tokens_n = 1;
    assert_int_equal(DO(s, put_device(s, &d)), 0);
    assert_string_equal(scene_devices(s),
                        "anna@/phone=liveactivity:la-1=liveactivity:la-2=voip:voip");
}

static void test_limits_of_devices_and_tokens_hold(void **state)
{
    struct ledger_token t[9];
    struct ledger_device d = {
        .user = B, .device = SLICE_LIT("phone"), .tokens = t, .tokens_n = ARRAY_LEN(t)};
    char text[9][8];

    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        snprintf(text[i], sizeof(text[i]), "t%u", i);
        t[i] = (struct ledger_token){
            .type = LEDGER_LIVEACTIVITY, .token = slice_str(text[i]), .call_id = scene_id(i)};
    }
    assert_int_equal(scene_device(s, A, "1", "a", 1), 0);
    assert_int_equal(scene_device(s, A, "2", "b", 1), 0);
    assert_int_equal(scene_device(s, A, "3", "c", 1), 0);
    assert_int_equal(scene_device(s, A, "4", "d", 1), -ENOSPC);
    assert_int_equal(scene_device(s, A, "3", "e", 1), 0); /* one that is there */
    assert_int_equal(DO(s, put_device(s, &d)), -ENOSPC);
    assert_string_equal(scene_devices(s), "anna@/1=voip:a anna@/2=voip:b anna@/3=voip:e");
}

static void test_a_bad_token_goes_unless_it_was_registered_since(void **state)
{
    (void)state;
    scene_device(s, A, "phone", "tok", 1000);
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("tok"), 1000)), 0); /* not before it */
    assert_string_equal(scene_devices(s), "anna@/phone=voip:tok");
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("other"), 0)), 0);
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("tok"), 1001)), 0);
    assert_string_equal(scene_devices(s), "anna@/phone");
    scene_device(s, A, "phone", "tok", 2000);
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("tok"), 0)), 0);
    assert_string_equal(scene_devices(s), "anna@/phone");
}

static void on_facts(void *ctx, const struct ledger_device *d)
{
    snprintf(ctx, 256, "%s %s %s %.*s %.*s %.*s %llu", ledger_platform_name(d->platform),
             ledger_env_name(d->env), ledger_call_ui_name(d->call_ui), SLICE_FMT(d->app),
             SLICE_FMT(d->version), SLICE_FMT(d->locale), (unsigned long long)d->seen_ms);
}

static void test_facts_of_a_device_are_kept_and_changed(void **state)
{
    const struct ledger_device_key from = {.user = {0}};
    char text[256];
    bool more;

    (void)state;
    scene_device(s, A, "phone", "tok", 1000);
    DO(s, devices(s, &from, 1, on_facts, text, &more));
    assert_string_equal(text, "ios sandbox lck com.acme.talk 1.2 ko_KR 1000");
    assert_int_equal(DO(s, set_env(s, A, SLICE_LIT("phone"), LEDGER_PRODUCTION)), 0);
    assert_int_equal(DO(s, touch(s, A, SLICE_LIT("phone"), 5000)), 0);
    assert_int_equal(DO(s, touch(s, A, SLICE_LIT("phone"), 4000)), 0);
    DO(s, devices(s, &from, 1, on_facts, text, &more));
    assert_string_equal(text, "ios production lck com.acme.talk 1.2 ko_KR 5000");
}

/* ---- privacy ---- */

static struct ledger_privacy privacy_of(struct slice user, enum ledger_privacy_kind kind)
{
    struct ledger_privacy p;

    assert_int_equal(DO(s, privacy(s, user, kind, &p)), 0);
    return p;
}

static void fill(void)
{
    const struct ledger_push push = {.apns_id = SLICE_LIT("push-1"),
                                     .call_id = scene_id(1),
                                     .user = A,
                                     .device = SLICE_LIT("phone"),
                                     .kind = SLICE_LIT("voip"),
                                     .status = 200,
                                     .sent_ms = SCENE_NOW};
    const struct ledger_quality q = {.call_id = scene_id(1),
                                     .user = A,
                                     .leg = SLICE_LIT("up"),
                                     .at_ms = SCENE_NOW,
                                     .samples = 1};

    scene_device(s, A, "phone", "secret-token", SCENE_NOW);
    scene_call(s, 1, A, B, SCENE_NOW, false);
    scene_call(s, 2, B, A, SCENE_NOW + 1, true);
    scene_call(s, 3, B, C, SCENE_NOW + 2, false);
    assert_int_equal(DO(s, put_push(s, &push)), 0);
    assert_int_equal(DO(s, put_quality(s, &q)), 0);
    assert_int_equal(scene_sample(s, 1, A, SCENE_NOW), 0);
}

#define SEALS "SELECT count(*), count(DISTINCT sealed_by), min(length(sealed_by)) FROM push_token"

static void with_keys(const char *present, const char *other)
{
    scene_conf.seal_key = slice_str(present);
    scene_conf.other_seal_key = slice_str(other);
    scene_close(s);
    s = scene_open();
}

static void test_tokens_get_another_key(void **state)
{
    static struct ledger_reseal count;
    char was[4096];
    bool more = true;

    (void)state;
    count = (struct ledger_reseal){0};
    scene_conf.reseal = &count;
    for (unsigned i = 0; i < 40; i++) { /* more than one step */
        char user[16], token[16];
        snprintf(user, sizeof(user), "user-%u", i);
        snprintf(token, sizeof(token), "token-%u", i);
        scene_device(s, slice_str(user), "phone", token, SCENE_NOW);
    }
    snprintf(was, sizeof(was), "%s", scene_devices(s));
    scene_sql_is(SEALS, "40|1|0");
    with_keys("the first key, of 32 bytes or so", "");
    assert_string_equal(scene_devices(s), was); /* the secret's opens them */
    assert_int_equal(DO(s, sweep(s, SCENE_NOW, &more)), 0);
    assert_true(more);
    with_keys("the first key, of 32 bytes or so", ""); /* a crash on the way */
    assert_string_equal(scene_devices(s), was);
    scene_sweep(s, SCENE_NOW);
    scene_sql_is(SEALS, "40|1|8");
    assert_int_equal(counter_get(&count.done), 40);
    assert_string_equal(scene_devices(s), was);
    with_keys("another key, of 32 bytes or more", "the first key, of 32 bytes or so");
    assert_string_equal(scene_devices(s), was);
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("token-7"), 0)), 0); /* is found as ever */
    scene_sql_is(SEALS, "39|1|8");
    scene_sweep(s, SCENE_NOW);
    with_keys("another key, of 32 bytes or more", ""); /* the first one is not needed any more */
    assert_int_equal(strlen(scene_devices(s)), strlen(was) - strlen("=voip:token-7"));
    scene_device(s, A, "phone", "new", SCENE_NOW);
    with_keys("", "another key, of 32 bytes or more"); /* and back */
    scene_sweep(s, SCENE_NOW);
    scene_sql_is(SEALS, "40|1|0");
    assert_int_equal(counter_get(&count.behind), 0);
}

static void test_tokens_that_no_key_opens_are_counted_and_stay(void **state)
{
    static struct ledger_reseal count;

    (void)state;
    count = (struct ledger_reseal){0};
    scene_conf.reseal = &count;
    with_keys("the first key, of 32 bytes or so", "");
    scene_device(s, A, "phone", "a", SCENE_NOW);
    with_keys("another key, of 32 bytes or more", "");
    scene_device(s, B, "phone", "b", SCENE_NOW);
    scene_sweep(s, SCENE_NOW);
    assert_int_equal(counter_get(&count.behind), 1);
    assert_string_equal(scene_devices(s), "anna@/phone berta/phone=voip:b");
    with_keys("another key, of 32 bytes or more", "the first key, of 32 bytes or so");
    scene_sweep(s, SCENE_NOW);
    assert_int_equal(counter_get(&count.behind), 0);
    assert_string_equal(scene_devices(s), "anna@/phone=voip:a berta/phone=voip:b");
}

static void test_a_step_that_is_taken_back_is_made_again(void **state)
{
    bool more = true;

    (void)state;
    for (unsigned i = 0; i < 20; i++) { /* two steps */
        char user[16], token[16];
        snprintf(user, sizeof(user), "user-%u", i);
        snprintf(token, sizeof(token), "token-%u", i);
        scene_device(s, slice_str(user), "phone", token, SCENE_NOW);
    }
    with_keys("the first key, of 32 bytes or so", "");
    for (int steps = 1; steps <= 2; steps++) {
        assert_int_equal(s->ops->begin(s, true), 0);
        for (int i = 0; i < steps; i++)
            assert_int_equal(s->ops->sweep(s, SCENE_NOW, &more), 0);
        s->ops->rollback(s);
        scene_sql_is(SEALS, "20|1|0");
    }
    assert_false(more); /* the whole pass was taken back */
    scene_sweep(s, SCENE_NOW);
    scene_sql_is(SEALS, "20|1|8");
}

static void test_deletion_by_the_calendar(void **state)
{
    struct ledger_privacy p, again;

    (void)state;
    fill();
    assert_int_equal(DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    assert_int_equal(p.state, LEDGER_PRIVACY_PENDING);
    assert_int_equal(p.due_ms, SCENE_NOW + 30 * SCENE_DAY);
    assert_string_equal(scene_devices(s), ""); /* day 0: no push any more */
    assert_int_equal(DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW + 5, &again)), 0);
    assert_memory_equal(p.id, again.id, sizeof(p.id)); /* asking twice is asking once */
    assert_int_equal(again.due_ms, p.due_ms);
    assert_int_equal(scene_device(s, A, "phone", "t", SCENE_NOW), -EACCES);
    scene_sweep(s, SCENE_NOW + 29 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "2<berta! 1>berta");
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY - 1);
    assert_string_equal(scene_history(s, A).text, "2<berta! 1>berta");
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "");
    assert_string_equal(scene_history(s, B).text, "3>carl@ 2> 1<"); /* with nobody */
    assert_int_equal(privacy_of(A, LEDGER_DELETION).state, LEDGER_PRIVACY_DONE);
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY);
    assert_int_equal(scene_device(s, A, "phone", "t", SCENE_NOW + 31 * SCENE_DAY), 0); /* anew */
    assert_int_equal(scene_call(s, 9, A, B, SCENE_NOW + 32 * SCENE_DAY, false), 0);
    assert_string_equal(scene_history(s, A).text, "9>berta");
}

static void test_a_deletion_is_taken_back_on_day_29(void **state)
{
    struct ledger_privacy p;

    (void)state;
    fill();
    assert_int_equal(DO(s, keep(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), -ENOENT);
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    assert_int_equal(DO(s, keep(s, A, SLICE_LIT("user"), SCENE_NOW + 29 * SCENE_DAY, &p)), 0);
    assert_int_equal(p.state, LEDGER_PRIVACY_CANCELLED);
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "2<berta! 1>berta");
    assert_int_equal(scene_device(s, A, "phone", "t", SCENE_NOW + 31 * SCENE_DAY), 0);
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW + 40 * SCENE_DAY, &p)); /* and asked for anew */
    assert_int_equal(p.due_ms, SCENE_NOW + 70 * SCENE_DAY);
}

static void test_a_purge_that_has_begun_goes_on(void **state)
{
    struct ledger_privacy p;
    bool more;

    (void)state;
    fill();
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, sweep(s, SCENE_NOW + 30 * SCENE_DAY, &more)); /* one step */
    assert_true(more);
    assert_int_equal(privacy_of(A, LEDGER_DELETION).state, LEDGER_PRIVACY_RUNNING);
    assert_int_equal(DO(s, keep(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), -EACCES);
    assert_int_equal(scene_device(s, A, "phone", "t", SCENE_NOW), -EACCES);
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "");
}

static void on_held(void *ctx, const struct ledger_device *d)
{
    char *text = ctx;
    size_t len = strlen(text);

    snprintf(text + len, 256 - len, "%.5s@%llu ", (const char *)d->user.p,
             (unsigned long long)(d->seen_ms - SCENE_NOW));
}

static const char *held(void)
{
    static char text[256];

    text[0] = '\0';
    assert_int_equal(DO(s, holds(s, on_held, text)), 0);
    return text;
}

#define OPERATOR SLICE_LIT("operator")

static void test_a_hold_keeps_a_user_from_purge_and_retention(void **state)
{
    const struct ledger_push push = {.apns_id = SLICE_LIT("old"),
                                     .user = A,
                                     .device = SLICE_LIT("phone"),
                                     .sent_ms = SCENE_NOW - 40 * SCENE_DAY};
    struct ledger_privacy p;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW - 181 * SCENE_DAY, false);
    scene_call(s, 2, C, B, SCENE_NOW - 181 * SCENE_DAY, false);
    scene_sample(s, 1, A, SCENE_NOW - 100 * SCENE_DAY);
    DO(s, put_push(s, &push));
    assert_int_equal(DO(s, hold(s, A, OPERATOR, false, SCENE_NOW)), -ENOENT);
    assert_int_equal(DO(s, hold(s, A, OPERATOR, true, SCENE_NOW + 3)), 0);
    assert_int_equal(DO(s, hold(s, A, OPERATOR, true, SCENE_NOW + 4)), -EEXIST);
    assert_int_equal(DO(s, hold(s, C, OPERATOR, true, SCENE_NOW + 5)), 0);
    assert_string_equal(held(), "anna@@3 carl@@5 ");
    assert_int_equal(DO(s, hold(s, C, OPERATOR, false, SCENE_NOW + 6)), 0);
    assert_string_equal(held(), "anna@@3 ");
    scene_sweep(s, SCENE_NOW);
    assert_string_equal(scene_history(s, A).text, "1>berta");
    assert_string_equal(scene_history(s, C).text, ""); /* not held: too old */
    scene_sql_is("SELECT (SELECT count(*) FROM push_log), (SELECT count(*) FROM quality_sample)",
                 "1|1");
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY); /* due, and it waits */
    assert_int_equal(privacy_of(A, LEDGER_DELETION).state, LEDGER_PRIVACY_PENDING);
    struct sig_call_id id = scene_id(1);
    DO(s, hide(s, A, &id, 1, 0)); /* both take it off their lists: it stays */
    DO(s, hide(s, B, NULL, 0, SCENE_NOW));
    assert_string_equal(scene_history(s, A).text, "");
    scene_sql_is("SELECT count(*) FROM cdr", "1");
    assert_int_equal(DO(s, hold(s, A, OPERATOR, false, SCENE_NOW)), 0);
    assert_string_equal(held(), "");
    scene_sql_is("SELECT actor, action FROM audit WHERE actor='operator' ORDER BY seq",
                 "operator|hold_set\noperator|hold_set\noperator|hold_lifted\n"
                 "operator|hold_lifted");
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY);
    assert_int_equal(privacy_of(A, LEDGER_DELETION).state, LEDGER_PRIVACY_DONE);
    assert_false(scene_greps("anna@example.org"));
}

static void test_a_hold_stops_a_purge_that_has_begun(void **state)
{
    struct ledger_privacy p;
    bool more;

    (void)state;
    fill();
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, sweep(s, SCENE_NOW + 30 * SCENE_DAY, &more)); /* it says so */
    DO(s, hold(s, A, OPERATOR, true, SCENE_NOW + 30 * SCENE_DAY));
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "2<berta! 1>berta");
    DO(s, hold(s, A, OPERATOR, false, SCENE_NOW + 30 * SCENE_DAY));
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "");
}

static void test_so_many_may_be_held(void **state)
{
    char user[32];

    (void)state;
    assert_int_equal(s->ops->begin(s, true), 0);
    for (unsigned i = 0; i < LEDGER_HOLDS_MAX; i++) {
        snprintf(user, sizeof(user), "u%u", i);
        assert_int_equal(s->ops->hold(s, slice_str(user), OPERATOR, true, SCENE_NOW), 0);
    }
    assert_int_equal(s->ops->hold(s, A, OPERATOR, true, SCENE_NOW), -ENOSPC);
    assert_int_equal(s->ops->commit(s), 0);
}

static void test_records_that_come_after_the_purge_do_not_bring_a_user_back(void **state)
{
    struct ledger_privacy p;

    (void)state;
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_int_equal(scene_call(s, 1, A, B, SCENE_NOW + 30 * SCENE_DAY - 5, false), 0);
    assert_string_equal(scene_history(s, A).text, "");
    assert_string_equal(scene_history(s, B).text, "1<");
}

static void test_exports_are_made_once_a_day_and_expire(void **state)
{
    struct ledger_privacy p, q;
    char path[256], hex[33];
    struct wr w = wr_init(hex, 32);

    (void)state;
    fill();
    assert_int_equal(privacy_of(A, LEDGER_EXPORT).state, LEDGER_PRIVACY_NONE);
    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    assert_int_equal(p.state, LEDGER_PRIVACY_PENDING);
    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW + 1, &q)), 0);
    assert_memory_equal(p.id, q.id, sizeof(p.id));
    scene_sweep(s, SCENE_NOW + 10);
    p = privacy_of(A, LEDGER_EXPORT);
    assert_int_equal(p.state, LEDGER_PRIVACY_DONE);
    assert_int_equal(p.expires_ms, SCENE_NOW + 10 + 7 * SCENE_DAY);
    assert_true(p.bytes > 500);
    for (size_t i = 0; i < sizeof(p.id); i++)
        wr_fmt(&w, "%02x", p.id[i]);
    hex[32] = '\0';
    snprintf(path, sizeof(path), "%s/%s.json", scene_dir, hex);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW + 2, &q)), -EBUSY);
    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW + SCENE_DAY, &q)), 0);
    scene_sweep(s, SCENE_NOW + 10 + 7 * SCENE_DAY);
    assert_int_equal(access(path, R_OK), -1); /* the first one is gone */
}

static void test_a_purge_takes_the_users_exports_along(void **state)
{
    struct ledger_privacy p;

    (void)state;
    fill();
    DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW + 29 * SCENE_DAY, &p));
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, SCENE_NOW + 29 * SCENE_DAY);
    assert_true(scene_greps("anna@example.org"));
    assert_int_equal(privacy_of(A, LEDGER_EXPORT).state, LEDGER_PRIVACY_DONE);
    scene_sweep(s, SCENE_NOW + 30 * SCENE_DAY);
    assert_false(scene_greps("anna@example.org"));
    assert_int_equal(privacy_of(A, LEDGER_EXPORT).state, LEDGER_PRIVACY_NONE);
}

static void test_retention_keeps_what_is_young(void **state)
{
    const struct ledger_push push = {.apns_id = SLICE_LIT("old"),
                                     .user = A,
                                     .device = SLICE_LIT("phone"),
                                     .sent_ms = SCENE_NOW - 40 * SCENE_DAY};
    struct ledger_token t = {.type = LEDGER_LIVEACTIVITY,
                             .token = SLICE_LIT("la"),
                             .call_id = scene_id(1),
                             .expires_ms = SCENE_NOW - 1};
    const struct ledger_device d = {
        .user = A, .device = SLICE_LIT("phone"), .seen_ms = SCENE_NOW, .tokens = &t, .tokens_n = 1};

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        scene_call(s, i, A, B, SCENE_NOW - 181 * SCENE_DAY, false);
    scene_call(s, 200, A, B, SCENE_NOW - 179 * SCENE_DAY, false);
    DO(s, put_push(s, &push));
    scene_device(s, A, "phone", "voip", SCENE_NOW);
    DO(s, put_device(s, &d));
    scene_device(s, B, "attic", "dusty", SCENE_NOW - 91 * SCENE_DAY);
    scene_sweep(s, SCENE_NOW);
    assert_string_equal(scene_history(s, A).text, "200>berta");
    assert_string_equal(scene_devices(s), "anna@/phone=voip:voip");
}

static void test_without_history_nothing_names_a_call(void **state)
{
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                           {.user = B, .role = LEDGER_CALLEE}};
    const struct ledger_call c = {.id = scene_id(1),
                                  .created_ms = SCENE_NOW,
                                  .end_ms = SCENE_NOW + 1,
                                  .parties = parties,
                                  .parties_n = 2};

    (void)state;
    assert_int_equal(DO(s, put_call(s, &c, false)), 0);
    assert_string_equal(scene_history(s, A).text, "");
    assert_false(scene_greps("anna@example.org"));
    assert_true(scene_greps("2024-10-04")); /* the day's sums */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_each_party_sees_its_side),
        T(test_the_same_record_twice_is_one),
        T(test_an_open_call_is_ended_once_and_not_reopened),
        T(test_a_reused_id_changes_nothing_of_a_call_that_ended),
        T(test_an_invitation_into_a_room_names_who_invites),
        T(test_the_path_of_a_call_may_come_to_light_after_its_end),
        T(test_the_days_sums_follow_a_path_that_is_told_late),
        T(test_the_days_sums_follow_without_a_record_too),
        T(test_a_call_counts_for_the_day_of_its_record),
        T(test_what_a_crash_left_open_is_ended_and_counted),
        T(test_pages_hold_every_call_once_in_order),
        T(test_missed_calls_are_counted_until_seen),
        T(test_a_call_leaves_one_list_and_then_both),
        T(test_quality_comes_with_the_call),
        T(test_groups_have_no_peer),
        T(test_a_transaction_that_is_taken_back_leaves_nothing),
        T(test_devices_come_back_as_they_went_in),
        T(test_a_token_leaves_its_old_user_in_the_same_transaction),
        T(test_types_not_given_stay_and_empty_ones_go),
        T(test_limits_of_devices_and_tokens_hold),
        T(test_a_bad_token_goes_unless_it_was_registered_since),
        T(test_facts_of_a_device_are_kept_and_changed),
        T(test_tokens_get_another_key),
        T(test_tokens_that_no_key_opens_are_counted_and_stay),
        T(test_a_step_that_is_taken_back_is_made_again),
        T(test_deletion_by_the_calendar),
        T(test_a_deletion_is_taken_back_on_day_29),
        T(test_a_purge_that_has_begun_goes_on),
        T(test_a_hold_keeps_a_user_from_purge_and_retention),
        T(test_a_hold_stops_a_purge_that_has_begun),
        T(test_so_many_may_be_held),
        T(test_records_that_come_after_the_purge_do_not_bring_a_user_back),
        T(test_exports_are_made_once_a_day_and_expire),
        T(test_a_purge_takes_the_users_exports_along),
        T(test_retention_keeps_what_is_young),
        T(test_without_history_nothing_names_a_call),
    };
    int failed = cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);

    return failed + cmocka_run_group_tests_name("postgresql", tests, pg_scene_start, pg_scene_stop);
}

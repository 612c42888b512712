/* ctl_hub.c: the SFU's end of docs/CONTROL.md. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/lib/fake_hub.h"

#define KEY "node-1\nroom"

static struct hub_conn *welcome(struct fake_hub *f, const char *name, uint64_t epoch)
{
    struct hub_conn *c = hub_open(f, false);

    assert_non_null(c);
    hub_hello(c, name, epoch, 0, 0);
    assert_int_equal(hub_last(c)->type, CTL_HELLO);
    if (hub_last(c)->kind != CTL_KIND_REPLY)
        print_message("%s\n", hub_last(c)->text);
    assert_int_equal(hub_last(c)->kind, CTL_KIND_REPLY);
    return c;
}

/* A server with one room, which its worker has made. */
static struct hub_conn *with_room(struct fake_hub *f)
{
    struct hub_conn *c = welcome(f, "node-1", 71);

    hub_request(c, CTL_JOIN, 2, "room", "a");
    assert_int_equal(f->n_jobs, 1);
    hub_reply(f, &f->job[0], CTL_OK);
    return c;
}

/* ---- opening ---- */

static void test_the_challenge_comes_first_and_each_is_another(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *a = hub_open(f, false), *b = hub_open(f, false);

    (void)state;
    assert_int_equal(a->n, 1);
    assert_int_equal(a->got[0].type, CTL_CHALLENGE);
    assert_memory_not_equal(a->nonce, b->nonce, sizeof(a->nonce));
    hub_free(f);
}

static void test_a_wrong_mac_is_refused_and_the_connection_ends(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = hub_open(f, false);

    (void)state;
    hub_hello_as(c, "node-1", 71, 0, 0, CTL_VERSION, true);
    assert_int_equal(hub_last(c)->err, CTL_ERR_UNAUTHORIZED);
    assert_true(c->closed);
    assert_int_equal(counter_get(&ctl_hub_count(f->h)->refused), 1);
    hub_free(f);
}

static void test_another_version_is_refused(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = hub_open(f, false);

    (void)state;
    hub_hello_as(c, "node-1", 71, 0, 0, CTL_VERSION + 1, false);
    assert_int_equal(hub_last(c)->err, CTL_ERR_VERSION);
    assert_true(c->closed);
    hub_free(f);
}

static void test_nothing_else_is_read_before_hello(void **state)
{
    static const enum ctl_type types[] = {CTL_PING, CTL_JOIN, CTL_SYNC_END, CTL_DRAIN, CTL_STATS};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct fake_hub *f = hub_new("");
        struct hub_conn *c = hub_open(f, false);

        hub_request(c, types[i], 2, "room", "a");
        assert_int_equal(hub_last(c)->err, CTL_ERR_UNAUTHORIZED);
        assert_true(c->closed);
        assert_int_equal(f->n_jobs, 0);
        assert_false(f->draining);
        hub_free(f);
    }
}

static void test_a_second_hello_ends_the_connection(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);

    (void)state;
    hub_hello(c, "node-2", 5, 0, 0);
    assert_true(c->closed);
    hub_free(f);
}

static void test_who_says_nothing_is_closed_after_five_seconds(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = hub_open(f, false);

    (void)state;
    hub_wait(f, 5 * US_PER_S);
    assert_false(c->closed);
    hub_wait(f, US_PER_S);
    assert_true(c->closed);
    hub_free(f);
}

static void test_frames_of_no_length_or_too_much_end_the_connection(void **state)
{
    static const uint8_t bad[][4] = {{0, 0, 0, 0}, {0, 4, 0, 1}, {255, 255, 255, 255}};
    static const uint8_t text[] = {0, 0, 0, 3, 'x', 'y', 'z'};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake_hub *f = hub_new("");
        struct hub_conn *c = welcome(f, "node-1", 71);

        hub_bytes(c, slice_of(bad[i], 4));
        assert_true(c->closed);
        hub_free(f);
    }
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);
    assert_int_equal(hub_bytes(c, slice_of(text, 6)), 0); /* one byte is missing */
    assert_false(c->closed);
    assert_int_equal(hub_bytes(c, slice_of(text, 7)), 7);
    assert_true(c->closed);
    hub_free(f);
}

static void test_connections_have_a_limit(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = NULL;
    unsigned n = 0;

    (void)state;
    while (n < HUB_CONNS && (c = hub_open(f, false)))
        n++;
    assert_int_equal(n, 128);
    assert_int_equal(counter_get(&ctl_hub_count(f->h)->connections), 128);
    hub_end(f->conn[3]);
    assert_non_null(hub_open(f, false));
    hub_free(f);
}

static void test_servers_have_a_limit_and_those_that_left_make_room(void **state)
{
    struct fake_hub *f = hub_new("");
    char name[32];

    (void)state;
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "node-%d", i);
        hub_end(welcome(f, name, 71));
    }
    struct hub_conn *c = hub_open(f, false);
    hub_hello(c, "one-more", 71, 0, 0);
    assert_int_equal(hub_last(c)->err, CTL_ERR_FULL);
    hub_end(c);
    hub_wait(f, 130 * US_PER_S);
    (void)welcome(f, "one-more", 71);
    hub_free(f);
}

static void test_a_second_connection_of_a_server_ends_the_first(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *a = with_room(f), *b = hub_open(f, false);

    (void)state;
    hub_hello(b, "node-1", 71, HUB_EPOCH, 0);
    assert_true(a->closed);
    assert_false(b->closed);
    assert_true(b->resumed);
    hub_event(f, KEY, true);
    assert_int_equal(hub_last(b)->type, CTL_STATE);
    hub_end(a); /* late: the second one stays the server's */
    hub_event(f, KEY, true);
    assert_int_equal(hub_last(b)->seq, 2);
    hub_wait(f, 3 * US_PER_S);
    hub_free(f);
}

/* ---- requests ---- */

static void test_a_room_stays_on_its_worker_and_others_go_elsewhere(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_request(c, CTL_JOIN, 3, "other", "b");
    hub_request(c, CTL_JOIN, 4, "room", "b");
    hub_request(c, CTL_MUTE, 5, "room", "a");
    assert_string_equal(f->job[0].key, KEY);
    assert_int_equal(f->job[0].epoch, 71);
    assert_int_equal(f->job[1].worker, 1);
    assert_int_equal(f->job[2].worker, f->job[0].worker);
    assert_int_equal(f->job[3].worker, f->job[0].worker);
    hub_free(f);
}

static void test_a_repeated_id_is_answered_from_the_store(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);
    char first[256];

    (void)state;
    memcpy(first, hub_last(c)->text, sizeof(first));
    hub_request(c, CTL_JOIN, 2, "room", "a");
    assert_int_equal(f->n_jobs, 1);
    assert_string_equal(hub_last(c)->text, first);
    assert_int_equal(counter_get(&ctl_hub_count(f->h)->repeats), 1);
    unsigned n = c->n;
    hub_request(c, CTL_MUTE, 3, "room", "a"); /* twice before it is done: one answer */
    hub_request(c, CTL_MUTE, 3, "room", "a");
    assert_int_equal(f->n_jobs, 2);
    assert_int_equal(c->n, n);
    hub_reply(f, &f->job[1], CTL_OK);
    assert_int_equal(c->n, n + 1);
    hub_free(f);
}

static void test_an_id_older_than_the_store_is_stale(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);

    (void)state;
    hub_request(c, CTL_LEAVE, 5, "room", "a");
    hub_request(c, CTL_LEAVE, 5 + CTL_ANSWERS_MAX - 1, "room", "a");
    hub_request(c, CTL_LEAVE, 5, "room", "a");
    assert_int_equal(hub_last(c)->err, CTL_OK);
    hub_request(c, CTL_LEAVE, 5 + CTL_ANSWERS_MAX, "room", "a");
    hub_request(c, CTL_LEAVE, 5, "room", "a");
    assert_int_equal(hub_last(c)->err, CTL_ERR_STALE);
    hub_request(c, CTL_LEAVE, 4, "room", "a");
    assert_int_equal(hub_last(c)->err, CTL_ERR_STALE);
    assert_int_equal(counter_get(&ctl_hub_count(f->h)->stale), 2);
    assert_false(c->closed);
    hub_free(f);
}

static void test_requests_about_no_room(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);
    static const struct {
        enum ctl_type type;
        enum ctl_err err;
    } cases[] = {
        {CTL_LEAVE, CTL_OK},         {CTL_CLOSE_ROOM, CTL_OK},     {CTL_SYNC, CTL_OK},
        {CTL_MUTE, CTL_ERR_NO_ROOM}, {CTL_STATS, CTL_ERR_NO_ROOM}, {CTL_UNPUBLISH, CTL_ERR_NO_ROOM},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hub_request(c, cases[i].type, 2 + i, "nowhere", "a");
        assert_int_equal(hub_last(c)->id, 2 + i);
        assert_int_equal(hub_last(c)->err, cases[i].err);
    }
    assert_int_equal(f->n_jobs, 0);
    hub_free(f);
}

static void test_an_unknown_request_is_answered_and_an_unknown_event_is_not(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);
    static const char request[] = "\0\0\0\x19{\"t\":\"levitate\",\"id\":777}";
    static const char event[] = "\0\0\0\x15{\"t\":\"fog\",\"seq\":777}";
    static const char poor[] = "\0\0\0\x15{\"t\":\"mute\",\"id\":778}";

    (void)state;
    assert_int_equal(hub_bytes(c, slice_of(request, sizeof(request) - 1)), sizeof(request) - 1);
    assert_non_null(strstr(hub_last(c)->text, "\"re\":777,\"error\":{\"code\":\"unsupported\""));
    unsigned n = c->n;
    hub_bytes(c, slice_of(event, sizeof(event) - 1));
    assert_int_equal(c->n, n);
    hub_bytes(c, slice_of(poor, sizeof(poor) - 1));
    assert_int_equal(hub_last(c)->err, CTL_ERR_BAD_MESSAGE);
    assert_false(c->closed);
    hub_free(f);
}

static void test_two_servers_with_equal_rooms_do_not_meet(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *a = with_room(f), *b = welcome(f, "node-2", 72);

    (void)state;
    hub_request(b, CTL_MUTE, 2, "room", "a");
    assert_int_equal(hub_last(b)->err, CTL_ERR_NO_ROOM);
    hub_request(b, CTL_JOIN, 3, "room", "a");
    assert_string_equal(f->job[1].key, "node-2\nroom");
    unsigned n = a->n;
    hub_reply(f, &f->job[1], CTL_OK);
    hub_event(f, "node-2\nroom", true);
    assert_int_equal(a->n, n);
    assert_int_equal(hub_last(b)->seq, 1);
    hub_request(b, CTL_SYNC_END, 4, "", "");
    assert_int_equal(b->closed_rooms, 0);
    hub_free(f);
}

static void test_a_server_name_with_the_separator_gets_at_nobody_s_room(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c, *a = with_room(f);

    (void)state;
    (void)a;
    c = hub_open(f, false);
    hub_hello(c, "node-1\nroom", 5, 0, 0); /* its key would begin like node-1's */
    assert_true(c->closed || hub_last(c)->kind == CTL_KIND_REPLY);
    if (!c->closed) {
        hub_request(c, CTL_MUTE, 2, "x", "a");
        assert_int_equal(hub_last(c)->err, CTL_ERR_NO_ROOM);
    }
    hub_free(f);
}

static void test_without_memory_a_request_is_answered_by_internal(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    f->no_memory = true;
    hub_request(c, CTL_MUTE, 3, "room", "a");
    assert_int_equal(hub_last(c)->err, CTL_ERR_INTERNAL);
    hub_free(f);
}

static void test_a_join_that_is_refused_leaves_no_room_behind(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);

    (void)state;
    hub_request(c, CTL_JOIN, 2, "room", "a");
    hub_reply(f, &f->job[0], CTL_ERR_REJECTED);
    hub_saying(f, SFU_SAY_ROOM_GONE, KEY, 0, 0, NULL);
    hub_request(c, CTL_MUTE, 3, "room", "a");
    assert_int_equal(hub_last(c)->err, CTL_ERR_NO_ROOM);
    /* One that ends while another join is on its way stays placed. */
    hub_request(c, CTL_JOIN, 4, "room", "a");
    hub_request(c, CTL_JOIN, 5, "room", "b");
    hub_reply(f, &f->job[1], CTL_ERR_REJECTED);
    hub_saying(f, SFU_SAY_ROOM_GONE, KEY, 0, 0, NULL);
    hub_reply(f, &f->job[2], CTL_OK);
    unsigned jobs = f->n_jobs;
    hub_request(c, CTL_MUTE, 6, "room", "b");
    assert_int_equal(f->n_jobs, jobs + 1);
    assert_int_equal(f->job[jobs].worker, f->job[2].worker);
    hub_free(f);
}

/* ---- events ---- */

static void test_events_are_numbered_and_come_again_until_acknowledged(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    for (unsigned i = 1; i <= 5; i++) {
        hub_event(f, KEY, true);
        assert_int_equal(hub_last(c)->seq, i);
    }
    hub_event(f, KEY, false);
    assert_int_equal(hub_last(c)->type, CTL_SPEAKERS);
    assert_int_equal(hub_last(c)->seq, 0);
    hub_ack(c, 2);
    hub_end(c);
    hub_event(f, KEY, true);  /* while it is away: kept */
    hub_event(f, KEY, false); /* lost: the next one replaces it */
    c = hub_open(f, false);
    hub_hello(c, "node-1", 71, HUB_EPOCH, 3);
    assert_true(c->resumed);
    assert_false(c->lost);
    assert_int_equal(hub_count(c, CTL_STATE, CTL_KIND_EVENT), 3);
    assert_int_equal(c->got[2].seq, 4); /* 0: challenge, 1: hello */
    assert_int_equal(hub_last(c)->seq, 6);
    assert_int_equal(hub_count(c, CTL_SPEAKERS, CTL_KIND_EVENT), 0);
    hub_free(f);
}

static void test_too_many_events_are_lost_and_hello_says_so(void **state)
{
    struct fake_hub *f = hub_new("[control]\nevents = 64\n");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_end(c);
    for (int i = 0; i < 65; i++)
        hub_event(f, KEY, true);
    assert_int_equal(counter_get(&ctl_hub_count(f->h)->events_lost), 1);
    hub_event(f, KEY, true);
    c = hub_open(f, false);
    hub_hello(c, "node-1", 71, HUB_EPOCH, 0);
    assert_true(c->resumed && c->lost);
    assert_int_equal(hub_last(c)->seq, 66);
    hub_end(c);
    c = hub_open(f, false); /* said once */
    hub_hello(c, "node-1", 71, HUB_EPOCH, 66);
    assert_true(c->resumed && !c->lost);
    hub_free(f);
}

static void test_a_server_that_never_acknowledges_is_made_to_reconnect(void **state)
{
    struct fake_hub *f = hub_new("[control]\nevents = 64\n");
    struct hub_conn *c = with_room(f);

    (void)state;
    for (int i = 0; i < 65 && !c->closed; i++)
        hub_event(f, KEY, true);
    assert_true(c->closed);
    hub_free(f);
}

static void test_a_connection_that_takes_nothing_more_is_closed(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    c->full = true;
    hub_event(f, KEY, true);
    assert_true(c->closed);
    hub_end(c);
    c = hub_open(f, false);
    hub_hello(c, "node-1", 71, HUB_EPOCH, 0);
    assert_int_equal(hub_last(c)->seq, 1);
    hub_free(f);
}

/* ---- restarts ---- */

static void test_another_epoch_of_a_server_has_no_answers_and_no_events(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_request(c, CTL_MUTE, 3, "room", "a");
    hub_event(f, KEY, true);
    hub_end(c);
    c = welcome(f, "node-1", 72);
    assert_false(c->resumed);
    unsigned n = c->n;
    hub_reply(f, &f->job[1], CTL_OK); /* to the epoch that is gone */
    assert_int_equal(c->n, n);
    hub_request(c, CTL_MUTE, 2, "room", "a"); /* a new request, not the join of before */
    assert_int_equal(f->n_jobs, 3);
    hub_event(f, KEY, true);
    assert_int_equal(hub_last(c)->seq, 1);
    hub_free(f);
}

static void test_sync_end_closes_what_no_sync_named(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_request(c, CTL_JOIN, 3, "stays", "a");
    hub_reply(f, &f->job[1], CTL_OK);
    hub_end(c);
    c = hub_open(f, false);
    hub_hello(c, "node-1", 71, HUB_EPOCH, 0);
    hub_request(c, CTL_SYNC, 4, "stays", "");
    hub_reply(f, &f->job[2], CTL_OK);
    hub_request(c, CTL_JOIN, 5, "new", "a");
    hub_request(c, CTL_SYNC_END, 6, "", "");
    assert_int_equal(hub_last(c)->id, 6);
    assert_int_equal(c->closed_rooms, 1);
    assert_int_equal(f->n_closed, 1);
    assert_string_equal(f->closed[0], KEY);
    hub_free(f);
}

static void test_rooms_of_a_server_that_stays_away_end_after_grace(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_end(c);
    hub_wait(f, 59 * US_PER_S);
    assert_int_equal(f->n_closed, 0);
    hub_wait(f, 2 * US_PER_S);
    assert_true(f->n_closed >= 1);
    assert_string_equal(f->closed[0], KEY);
    hub_saying(f, SFU_SAY_ROOM_GONE, KEY, 0, 0, NULL);
    unsigned n = f->n_closed;
    hub_wait(f, 10 * US_PER_S);
    assert_int_equal(f->n_closed, n);
    hub_free(f);
}

static void test_a_room_that_is_adopted_goes_on_for_its_new_server(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *a = with_room(f), *b = welcome(f, "node-2", 72);

    (void)state;
    hub_request(a, CTL_MUTE, 3, "room", "a");
    hub_request(b, CTL_MUTE, 2, "room", "a");
    assert_int_equal(hub_last(b)->err, CTL_ERR_NO_ROOM);
    hub_request(b, CTL_ADOPT, 3, "other", "");
    assert_int_equal(hub_last(b)->err, CTL_ERR_NO_ROOM);
    for (uint64_t id = 4; id < 6; id++) { /* once more does no harm */
        hub_request(b, CTL_ADOPT, id, "room", "");
        assert_int_equal(hub_last(b)->kind, CTL_KIND_REPLY);
    }
    hub_event(f, KEY, true); /* the worker knows it as before */
    assert_int_equal(hub_last(b)->type, CTL_STATE);
    hub_request(b, CTL_MUTE, 6, "room", "a");
    assert_int_equal(f->n_jobs, 3);
    assert_string_equal(f->job[2].key, KEY);
    hub_reply(f, &f->job[2], CTL_OK);
    assert_int_equal(hub_last(b)->id, 6);
    /* what the former one asked before is answered; it has no such room any more, and may make one
     */
    hub_reply(f, &f->job[1], CTL_OK);
    assert_int_equal(hub_last(a)->id, 3);
    hub_request(a, CTL_MUTE, 4, "room", "a");
    assert_int_equal(hub_last(a)->err, CTL_ERR_NO_ROOM);
    hub_request(a, CTL_JOIN, 5, "room", "z");
    assert_int_equal(f->n_jobs, 4);
    assert_string_not_equal(f->job[3].key, KEY);
    hub_reply(f, &f->job[3], CTL_OK);
    hub_event(f, f->job[3].key, true);
    assert_int_equal(hub_last(a)->type, CTL_STATE);
    hub_request(b, CTL_ADOPT, 7, "room", "");
    assert_int_equal(hub_last(b)->err, CTL_ERR_CONFLICT);
    hub_end(a); /* its end concerns its own */
    hub_wait(f, 61 * US_PER_S);
    assert_true(f->n_closed >= 1);
    for (unsigned i = 0; i < f->n_closed; i++)
        assert_string_equal(f->closed[i], f->job[3].key);
    hub_free(f);
}

static void test_rooms_of_a_server_that_comes_back_in_time_live(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);

    (void)state;
    hub_end(c);
    hub_wait(f, 50 * US_PER_S);
    c = hub_open(f, false);
    hub_hello(c, "node-1", 71, HUB_EPOCH, 0);
    for (int i = 0; i < 10; i++) {
        hub_wait(f, 4 * US_PER_S);
        hub_request(c, CTL_PING, 1, "", "");
    }
    assert_false(c->closed);
    assert_int_equal(f->n_closed, 0);
    hub_free(f);
}

/* ---- time ---- */

static void test_a_quiet_server_is_pinged_then_closed(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = welcome(f, "node-1", 71);

    (void)state;
    hub_wait(f, 5 * US_PER_S);
    assert_false(c->closed);
    /* Load events are something said, every 2 s. */
    assert_true(hub_count(c, CTL_LOAD, CTL_KIND_EVENT) + hub_count(c, CTL_PING, CTL_KIND_REQUEST) >=
                2);
    hub_wait(f, 2 * US_PER_S);
    assert_true(c->closed);
    hub_free(f);
}

static void test_drain_refuses_new_rooms_and_is_told(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f);
    static struct ctl_msg m;

    (void)state;
    m = (struct ctl_msg){.type = CTL_DRAIN, .kind = CTL_KIND_REQUEST, .id = 3, .u.drain.on = true};
    hub_say(c, &m);
    assert_true(f->draining);
    assert_int_equal(hub_count(c, CTL_LOAD, CTL_KIND_EVENT), 1);
    hub_request(c, CTL_JOIN, 4, "new", "a");
    assert_int_equal(hub_last(c)->err, CTL_ERR_DRAINING);
    hub_request(c, CTL_JOIN, 5, "room", "b"); /* a room that is here goes on */
    assert_int_equal(f->n_jobs, 2);
    hub_free(f);
}

static void test_the_operator_s_lines(void **state)
{
    struct fake_hub *f = hub_new("");
    struct hub_conn *c = with_room(f), *o = hub_open(f, true);

    (void)state;
    (void)c;
    assert_int_equal(o->n, 0); /* no challenge */
    hub_bytes(o, slice_str("status\n"));
    assert_non_null(strstr(o->line, "{\"server\":\"node-1\",\"room\":\"room\",\"worker\":0}"));
    hub_bytes(o, slice_str("room nowhere\n"));
    assert_non_null(strstr(o->line, "no such room"));
    hub_bytes(o, slice_str("room room\n"));
    assert_int_equal(f->job[1].type, CTL_STATS);
    assert_int_equal(f->job[1].epoch, 0);
    hub_reply(f, &f->job[1], CTL_OK);
    hub_bytes(o, slice_str("drain\n"));
    assert_true(f->draining);
    hub_bytes(o, slice_str("undrain\n"));
    assert_false(f->draining);
    hub_bytes(o, slice_str("dance\n"));
    assert_non_null(strstr(o->line, "want status"));
    assert_int_equal(hub_bytes(o, slice_str("stat")), 0); /* the rest is yet to come */
    assert_false(o->closed);
    static char longer[1024];
    memset(longer, 'x', sizeof(longer));
    hub_bytes(o, slice_of(longer, sizeof(longer)));
    assert_true(o->closed);
    hub_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_challenge_comes_first_and_each_is_another),
        cmocka_unit_test(test_a_wrong_mac_is_refused_and_the_connection_ends),
        cmocka_unit_test(test_another_version_is_refused),
        cmocka_unit_test(test_nothing_else_is_read_before_hello),
        cmocka_unit_test(test_a_second_hello_ends_the_connection),
        cmocka_unit_test(test_who_says_nothing_is_closed_after_five_seconds),
        cmocka_unit_test(test_frames_of_no_length_or_too_much_end_the_connection),
        cmocka_unit_test(test_connections_have_a_limit),
        cmocka_unit_test(test_servers_have_a_limit_and_those_that_left_make_room),
        cmocka_unit_test(test_a_second_connection_of_a_server_ends_the_first),
        cmocka_unit_test(test_a_room_stays_on_its_worker_and_others_go_elsewhere),
        cmocka_unit_test(test_a_repeated_id_is_answered_from_the_store),
        cmocka_unit_test(test_an_id_older_than_the_store_is_stale),
        cmocka_unit_test(test_requests_about_no_room),
        cmocka_unit_test(test_an_unknown_request_is_answered_and_an_unknown_event_is_not),
        cmocka_unit_test(test_two_servers_with_equal_rooms_do_not_meet),
        cmocka_unit_test(test_a_server_name_with_the_separator_gets_at_nobody_s_room),
        cmocka_unit_test(test_without_memory_a_request_is_answered_by_internal),
        cmocka_unit_test(test_a_join_that_is_refused_leaves_no_room_behind),
        cmocka_unit_test(test_events_are_numbered_and_come_again_until_acknowledged),
        cmocka_unit_test(test_too_many_events_are_lost_and_hello_says_so),
        cmocka_unit_test(test_a_server_that_never_acknowledges_is_made_to_reconnect),
        cmocka_unit_test(test_a_connection_that_takes_nothing_more_is_closed),
        cmocka_unit_test(test_another_epoch_of_a_server_has_no_answers_and_no_events),
        cmocka_unit_test(test_sync_end_closes_what_no_sync_named),
        cmocka_unit_test(test_rooms_of_a_server_that_stays_away_end_after_grace),
        cmocka_unit_test(test_a_room_that_is_adopted_goes_on_for_its_new_server),
        cmocka_unit_test(test_rooms_of_a_server_that_comes_back_in_time_live),
        cmocka_unit_test(test_a_quiet_server_is_pinged_then_closed),
        cmocka_unit_test(test_drain_refuses_new_rooms_and_is_told),
        cmocka_unit_test(test_the_operator_s_lines),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

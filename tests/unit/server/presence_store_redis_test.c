/* Tests of server/presence_store_redis.c, presence_ask.c, presence_command.c and node_lease.c with
 * a scripted Redis: what time, loss and other processes do. The promises of a store itself are
 * tests/lib/presence_conform.c's, on a real one. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/presence_store_redis.h"
#include "server/presence_wire.h"
#include "tests/lib/redis_world.h"

#define S UINT64_C(1000000)

static struct presence_store *store;
static struct redis_client_ops ops;
static int changes, replaced;
static struct {
    int n, err;
    size_t entries;
} found;

static uint64_t now_of(void *arg)
{
    (void)arg;
    return world.now;
}

static void on_up(void *arg, uint64_t now_us)
{
    world_up(arg, now_us);
    presence_store_redis_up(store);
}

static void on_down(void *arg, const char *why, uint64_t now_us)
{
    world_down(arg, why, now_us);
    presence_store_redis_down(store);
}

static void on_changed(void *arg, struct slice user)
{
    (void)arg;
    assert_true(slice_is(user, "ann"));
    changes++;
}

static void on_replaced(void *arg, struct slice user, struct slice device,
                        const uint8_t session[PRESENCE_SESSION_BYTES])
{
    (void)arg;
    assert_true(slice_is(user, "ann") && slice_is(device, "phone") && session[0] == 1);
    replaced++;
}

static void got(struct presence_lookup *l, int err, const struct presence_entry *e, size_t n)
{
    (void)l;
    (void)e;
    found.n++;
    found.err = err;
    found.entries = n;
}

/* Everything up to READY; the lease is asked for, and answered with `lease`. */
static void connect_it(const char *lease)
{
    assert_int_equal(world_open(), 6379);
    world_take(4096);
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    for (int i = 0; i < PRESENCE_SCRIPTS; i++)
        world_say("$40\r\n" REDIS_WORLD_SHA "\r\n");
    assert_true(redis_client_ready(world.c));
    assert_non_null(strstr(world_take(4096), "sori:node:{a}"));
    world_say(lease);
}

static void begin(void)
{
    const struct presence_store_redis_conf conf = {.prefix = SLICE_LIT("sori:"),
                                                   .node = SLICE_LIT("a"),
                                                   .epoch = 1,
                                                   .lease_us = 8 * S,
                                                   .answer_us = 5 * S,
                                                   .now = now_of};
    struct redis_client_conf client = world_conf();

    memset(&world, 0, sizeof(world));
    memset(&found, 0, sizeof(found));
    changes = replaced = 0;
    world.now = 1;
    ops = world_ops;
    ops.up = on_up;
    ops.down = on_down;
    client.scripts = presence_wire_scripts;
    client.scripts_n = PRESENCE_SCRIPTS;
    client.calls_max = 1000;
    store = presence_store_redis_new(&conf);
    world.c = redis_client_new(&client, &ops, NULL, world.now);
    assert_true(store && world.c);
    store->changed = on_changed;
    store->replaced = on_replaced;
    presence_store_redis_use(store, world.c);
}

static void end(void)
{
    presence_store_free(store);
    redis_client_free(world.c);
    world.c = NULL;
}

static int put(const char *device, uint8_t session, uint64_t generation)
{
    const struct presence_entry e = {.user = SLICE_LIT("ann"),
                                     .device = slice_str(device),
                                     .session = {session},
                                     .generation = generation,
                                     .state = SIG_PRESENCE_ONLINE,
                                     .attached = true};

    return presence_store_put(store, &e);
}

static void look_up(struct presence_lookup *l)
{
    *l = (struct presence_lookup){.fn = got};
    presence_store_lookup(store, SLICE_LIT("ann"), l);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void tick(uint64_t us)
{
    world.now += us;
    redis_client_tick(world.c, world.now);
    presence_store_redis_tick(store);
}

/* Answers what the store asks by itself: its lease, whether b lives, whether Redis does. */
static void answer_polls(const char *b)
{
    for (const char *at = world_take(4096); (at = strchr(at, '*')); at++) {
        if (strncmp(at + 4, "$7\r\nEVALSHA", 11) == 0)
            world_say("$2\r\nok\r\n");
        else if (strncmp(at + 4, "$4\r\nHGET", 8) == 0)
            world_say(b);
        else if (strncmp(at + 4, "$4\r\nPING", 8) == 0)
            world_say("+PONG\r\n");
    }
}

#define OK_ENTRY "*3\r\n$2\r\nok\r\n$16\r\n1700000000000001\r\n$0\r\n\r\n"

static void test_nothing_is_written_before_the_lease_stands(void **state)
{
    (void)state;
    begin();
    assert_int_equal(put("phone", 1, 1), 0);
    assert_int_equal(presence_store_redis_behind(store), 1);
    connect_it("-ERR wait\r\n");
    assert_string_equal(world_take(4096), "");
    tick(S);
    assert_non_null(strstr(world_take(4096), "sori:node:{a}"));
    world_say("$3\r\nnew\r\n");
    assert_int_equal(count(world_take(4096), "sori:pres:{ann}"), 1);
    world_say(OK_ENTRY);
    assert_int_equal(presence_store_redis_behind(store), 0);
    end();
}

static void test_a_change_while_it_is_written_is_written_once_more(void **state)
{
    const char *sent;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    put("phone", 1, 1);
    world_take(4096);
    put("phone", 1, 2);
    put("phone", 1, 3);
    assert_string_equal(world_take(4096), "");
    world_say(OK_ENTRY);
    sent = world_take(4096);
    assert_int_equal(count(sent, "sori:pres:{ann}"), 1);
    assert_non_null(strstr(sent, "$1\r\n3\r\n"));
    end();
}

static void test_all_is_written_again_after_a_loss_with_its_stamp(void **state)
{
    const char *sent;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    put("phone", 1, 1);
    put("tab", 2, 1);
    presence_store_watch(store, SLICE_LIT("ann"));
    world_take(4096);
    world_say(OK_ENTRY OK_ENTRY "$2\r\nok\r\n");
    redis_client_closed(world.c, "gone", world.now);
    world.now += S;
    connect_it("$2\r\nok\r\n");
    sent = world_take(4096);
    assert_int_equal(count(sent, "sori:pres:{ann}"), 2);
    assert_int_equal(count(sent, "$16\r\n1700000000000001\r\n"), 2);
    assert_int_equal(count(sent, "sori:watch:{ann}"), 3);
    end();
}

static void test_a_newer_session_elsewhere_ends_ours(void **state)
{
    struct presence_lookup l;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    put("phone", 1, 1);
    world_take(4096);
    world_say("*1\r\n$8\r\nreplaced\r\n");
    assert_int_equal(replaced, 1);
    /* The same, said by the node that has it. */
    put("phone", 1, 1);
    world_take(4096);
    world_say(OK_ENTRY);
    presence_store_redis_heard(store, SLICE_LIT("r 02000000000000000000000000000000 5 phoneann"));
    assert_int_equal(replaced, 1); /* another session */
    presence_store_redis_heard(store, SLICE_LIT("r 01000000000000000000000000000000 5 phoneann"));
    assert_int_equal(replaced, 2);
    look_up(&l);
    world_take(4096);
    world_say("*0\r\n");
    assert_int_equal(found.entries, 0);
    end();
}

/* What is known of a node is up to a second old: a process that was read of since may be newer. */
static void test_a_newer_process_than_the_known_one_is_asked_for_before_it_is_dead(void **state)
{
    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    world_take(4096);
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 6, 0), NODE_UNKNOWN);
    world_take(4096);
    world_say("$16\r\n0000000000000006\r\n");
    world.now += S / 4;
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 6, 0), NODE_ALIVE);
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 7, 0), NODE_UNKNOWN);
    assert_non_null(strstr(world_take(4096), "sori:node:{b}"));
    world_say("$16\r\n0000000000000007\r\n"); /* it has begun anew */
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 7, 0), NODE_ALIVE);
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 6, 0),
                     NODE_DEAD); /* for certain */
    world.now += S / 4;
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 8, 0), NODE_UNKNOWN);
    world_take(4096);
    world_say("$16\r\n0000000000000007\r\n");
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 8, 0), NODE_DEAD);
    end();
}

static void test_a_lease_is_sure_as_long_as_its_last_renewal_that_was_answered(void **state)
{
    (void)state;
    begin();
    assert_false(presence_store_redis_is_sure(store, world.now));
    connect_it("$3\r\nnew\r\n");
    world_take(4096);
    assert_true(presence_store_redis_is_sure(store, world.now));
    world.now += 9 * S; /* this process stood still */
    assert_false(presence_store_redis_is_sure(store, world.now));
    tick(0);
    assert_false(presence_store_redis_is_sure(store, world.now));
    if (strstr(world_take(4096), "PING"))
        world_say("+PONG\r\n");
    world_say("$3\r\nnew\r\n");
    assert_true(presence_store_redis_is_sure(store, world.now));
    end();
}

static void test_who_leaves_gives_its_lease_back(void **state)
{
    (void)state;
    begin();
    presence_store_redis_leave(store); /* there is none yet */
    connect_it("$3\r\nnew\r\n");
    world_take(4096);
    presence_store_redis_leave(store);
    assert_non_null(strstr(world_take(4096), "$1\r\n1\r\n")); /* millisecond that it has */
    presence_store_redis_leave(store);
    tick(60 * S);
    assert_null(strstr(world_take(4096), "serving")); /* it is not renewed */
    world_say("$2\r\nok\r\n");
    end();
}

static void test_a_name_that_was_taken_over_writes_no_more(void **state)
{
    struct presence_lookup l;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    tick(3 * S);
    world_take(4096);
    world_say("$4\r\nlost\r\n");
    assert_true(presence_store_redis_is_lost(store));
    put("phone", 1, 1);
    assert_string_equal(world_take(4096), "");
    look_up(&l);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.err, -EPERM);
    assert_int_equal(found.entries, 1);
    end();
}

#define OTHER                                                                          \
    "*2\r\n$3\r\ntab\r\n$76\r\n1 02000000000000000000000000000000 1 1700000000000001 " \
    "0000000000000007 110 b\r\n"

static void test_others_count_while_their_lease_stands(void **state)
{
    struct presence_lookup l;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 0);
    assert_non_null(strstr(world_take(4096), "sori:node:{b}"));
    world_say("$16\r\n0000000000000007\r\n");
    assert_int_equal(found.n, 1);
    assert_int_equal(found.entries, 1);
    look_up(&l); /* the lease is known for a while */
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 2);
    /* b was started anew: what its former process wrote is taken out. */
    tick(S);
    assert_non_null(strstr(world_take(4096), "sori:node:{b}"));
    world_say("$16\r\n0000000000000008\r\n");
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 3);
    assert_int_equal(found.entries, 0);
    assert_true(l.orphans);
    assert_int_equal(count(world_take(4096), "0000000000000007 110 b"), 0); /* not yet */
    for (int i = 0; i < 11; i++) {
        tick(S);
        answer_polls("$16\r\n0000000000000008\r\n");
    }
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(count(world_take(4096), "0000000000000007 110 b"), 1);
    end();
}

static void test_a_process_that_has_just_begun_is_not_taken_for_dead(void **state)
{
    struct presence_lookup l;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    look_up(&l);
    world_take(4096);
    world_say("*0\r\n");
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 6, 0), NODE_UNKNOWN);
    world_take(4096);
    world_say("$16\r\n0000000000000006\r\n");
    assert_int_equal(presence_store_redis_alive(store, SLICE_LIT("b"), 6, 0), NODE_ALIVE);
    world.now += S / 2;
    /* b has begun anew meanwhile, and has written: it is asked once more before that is judged. */
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 1);
    const char *sent = world_take(4096);
    assert_int_equal(count(sent, "sori:node:{b}"), 1);
    assert_int_equal(count(sent, "0000000000000007 110 b"), 0);
    world_say("$16\r\n0000000000000007\r\n");
    assert_int_equal(found.n, 2);
    assert_int_equal(found.entries, 1);
    end();
}

static void test_a_lease_that_redis_lost_ends_nobody_at_once(void **state)
{
    struct presence_lookup l;

    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    world_take(4096);
    world_say("$16\r\n0000000000000007\r\n");
    assert_int_equal(found.entries, 1);
    redis_client_closed(world.c, "gone", world.now);
    world.now += S;
    connect_it("$3\r\nnew\r\n$-1\r\n"); /* b has not come to this Redis yet */
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 2);
    assert_int_equal(found.entries, 1);
    tick(4 * S); /* it never came */
    world_take(4096);
    world_say("$2\r\nok\r\n$-1\r\n");
    look_up(&l);
    world_take(4096);
    world_say(OTHER);
    assert_int_equal(found.n, 3);
    assert_int_equal(found.entries, 0);
    end();
}

static void test_a_lookup_is_answered_in_time_whatever_redis_does(void **state)
{
    struct presence_lookup l, cancelled;

    (void)state;
    begin();
    put("phone", 1, 1);
    look_up(&l);
    look_up(&cancelled);
    presence_store_cancel(store, &cancelled);
    assert_int_equal(found.n, 0);
    tick(5 * S + 1000);
    assert_int_equal(found.n, 1);
    assert_true(found.err != 0 && found.entries == 1);
    look_up(&l); /* it has been away for so long: at once */
    assert_int_equal(found.n, 2);
    assert_int_equal(found.err, -EAGAIN);
    assert_int_equal(found.entries, 1);
    end();
}

static void test_watchers_elsewhere_are_told_in_their_channels(void **state)
{
    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    put("phone", 1, 1);
    world_take(4096);
    world_say("*7\r\n$2\r\nok\r\n$1\r\n5\r\n$34\r\nb 01000000000000000000000000000000\r\n"
              "$1\r\na\r\n$16\r\n0000000000000001\r\n$1\r\nc\r\n$16\r\n0000000000000003\r\n");
    const char *sent = world_take(4096);
    assert_int_equal(count(sent, "SPUBLISH"), 2);
    assert_non_null(strstr(sent, "sori:say:{b}\r\n"));
    assert_non_null(strstr(sent, "r 01000000000000000000000000000000 5 phoneann"));
    assert_non_null(strstr(sent, "sori:say:{c}\r\n$5\r\nc ann"));
    end();
}

static void test_a_change_that_is_said_reaches_who_watches(void **state)
{
    (void)state;
    begin();
    connect_it("$3\r\nnew\r\n");
    presence_store_watch(store, SLICE_LIT("ann"));
    world_take(4096);
    world_say("$2\r\nok\r\n");
    assert_int_equal(changes, 1);
    presence_store_redis_heard(store, SLICE_LIT("c ann"));
    assert_int_equal(changes, 2);
    presence_store_redis_heard(store, SLICE_LIT("rubbish"));
    presence_store_unwatch(store, SLICE_LIT("ann"));
    world_take(4096);
    presence_store_redis_heard(store, SLICE_LIT("c ann")); /* said in vain: it is told so */
    assert_int_equal(changes, 2);
    assert_int_equal(count(world_take(4096), "sori:watch:{ann}"), 1);
    end();
}

static void test_when_memory_is_out_nothing_is_left(void **state)
{
    uint64_t live = mem_live();
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        begin();
        connect_it("$3\r\nnew\r\n");
        mem_fail_after(n);
        int err = put("phone", 1, 1);
        assert_true(err == 0 || err == -ENOMEM);
        err = presence_store_watch(store, SLICE_LIT("ann"));
        assert_true(err == 0 || err == -ENOMEM);
        struct presence_lookup l;
        look_up(&l);
        failed = mem_failed();
        mem_fail_never();
        presence_store_cancel(store, &l);
        end();
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_written_before_the_lease_stands),
        cmocka_unit_test(test_a_change_while_it_is_written_is_written_once_more),
        cmocka_unit_test(test_all_is_written_again_after_a_loss_with_its_stamp),
        cmocka_unit_test(test_a_newer_session_elsewhere_ends_ours),
        cmocka_unit_test(test_a_name_that_was_taken_over_writes_no_more),
        cmocka_unit_test(test_others_count_while_their_lease_stands),
        cmocka_unit_test(test_a_process_that_has_just_begun_is_not_taken_for_dead),
        cmocka_unit_test(test_a_newer_process_than_the_known_one_is_asked_for_before_it_is_dead),
        cmocka_unit_test(test_a_lease_is_sure_as_long_as_its_last_renewal_that_was_answered),
        cmocka_unit_test(test_who_leaves_gives_its_lease_back),
        cmocka_unit_test(test_a_lease_that_redis_lost_ends_nobody_at_once),
        cmocka_unit_test(test_a_lookup_is_answered_in_time_whatever_redis_does),
        cmocka_unit_test(test_watchers_elsewhere_are_told_in_their_channels),
        cmocka_unit_test(test_a_change_that_is_said_reaches_who_watches),
        cmocka_unit_test(test_when_memory_is_out_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

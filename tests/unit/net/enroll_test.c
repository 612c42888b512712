/* Tests of net/enroll.c on a client without sockets. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "net/enroll.h"
#include "tests/lib/redis_world.h"

#define LEASE_US (6 * US_PER_S)

static struct enroll entry;
static struct node_record record;
static int losses;

static void on_lost(void *arg)
{
    assert_null(arg);
    losses++;
}

static int set_up(void **state)
{
    const struct enroll_conf conf = {.prefix = SLICE_LIT("p:"),
                                     .name = SLICE_LIT("r1"),
                                     .kind = NODE_RELAY,
                                     .lease_us = LEASE_US};
    struct redis_client_conf client = world_conf();

    (void)state;
    client.scripts = node_record_scripts;
    client.scripts_n = NODE_SCRIPTS;
    client.any_role = true;
    client.idle_us = 3600 * US_PER_S;
    client.dead_us = 3600 * US_PER_S;
    world = (struct redis_world){.now = US_PER_S};
    world.c = redis_client_new(&client, &world_ops, NULL, world.now);
    losses = 0;
    record =
        (struct node_record){.epoch = 0xab, .weight = 1, .at = {SLICE_LIT("turn:a:1")}, .at_n = 1};
    enroll_init(&entry, &conf, world.c, on_lost, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    enroll_fini(&entry);
    redis_client_free(world.c);
    return 0;
}

static void connect_it(void)
{
    world_open();
    world_take(65536 - 1);
    world_say("+PONG\r\n");
    for (int i = 0; i < NODE_SCRIPTS; i++)
        world_say("$40\r\n" REDIS_WORLD_SHA "\r\n");
    assert_true(redis_client_ready(world.c));
}

/* What it writes by now; "" when it has nothing to say. */
static const char *writes(void)
{
    return world_take(65536 - 1);
}

static void test_nothing_is_written_before_there_is_something_to_say(void **state)
{
    (void)state;
    connect_it();
    enroll_up(&entry, world.now);
    assert_string_equal(writes(), "");
    assert_true(enroll_deadline(&entry) == CLOCK_NEVER);
}

static void test_it_enters_and_renews_three_times_in_a_lease(void **state)
{
    (void)state;
    assert_int_equal(enroll_say(&entry, &record, false, world.now), 0);
    connect_it();
    enroll_up(&entry, world.now);
    const char *sent = writes();
    assert_non_null(strstr(sent, "\r\np:nodes:{relay}\r\n$2\r\nr1\r\n$16\r\n00000000000000ab\r\n"
                                 "$4\r\n6000\r\n$1\r\n1\r\n"));
    assert_non_null(strstr(sent, "1 epoch=00000000000000ab load=0 drain=0 weight=1 at=turn:a:1"));
    assert_int_equal(counter_get(&entry.count.entered), 0);
    world_say("+new\r\n");
    assert_int_equal(counter_get(&entry.count.entered), 1);
    assert_true(enroll_deadline(&entry) == world.now + LEASE_US / 3);
    world.now += LEASE_US / 3 - 1;
    enroll_tick(&entry, world.now);
    assert_string_equal(writes(), "");
    world.now++;
    record.load = 7;
    enroll_say(&entry, &record, false, world.now);
    enroll_tick(&entry, world.now);
    sent = writes();
    assert_non_null(strstr(sent, "$1\r\n0\r\n")); /* it does not take the name back */
    assert_non_null(strstr(sent, " load=7 "));
    world_say("+ok\r\n");
    assert_int_equal(counter_get(&entry.count.renewals), 2);
}

static void test_a_drain_is_said_at_once(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    connect_it();
    enroll_up(&entry, world.now);
    writes();
    record.draining = true;
    enroll_say(&entry, &record, true, world.now); /* the first one is under way */
    assert_string_equal(writes(), "");
    world_say("+new\r\n");
    assert_true(enroll_deadline(&entry) == 0);
    enroll_tick(&entry, world.now);
    assert_non_null(strstr(writes(), " drain=1 "));
    world_say("+ok\r\n");
    record.draining = false;
    enroll_say(&entry, &record, true, world.now);
    assert_non_null(strstr(writes(), " drain=0 "));
}

static void test_a_failure_is_tried_again_soon(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    connect_it();
    enroll_up(&entry, world.now);
    writes();
    world_say("-NOPERM no\r\n");
    assert_int_equal(counter_get(&entry.count.failures), 1);
    assert_true(enroll_deadline(&entry) == world.now + US_PER_S / 2);
    world.now += US_PER_S / 2;
    enroll_tick(&entry, world.now);
    assert_non_null(strstr(writes(), "$1\r\n1\r\n")); /* it was never ours */
}

static void test_who_has_lost_its_name_says_so_and_is_quiet(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    connect_it();
    enroll_up(&entry, world.now);
    writes();
    world_say("+lost\r\n");
    assert_int_equal(losses, 1);
    assert_true(enroll_deadline(&entry) == CLOCK_NEVER);
    enroll_say(&entry, &record, true, world.now);
    enroll_up(&entry, world.now);
    assert_string_equal(writes(), "");
    enroll_leave(&entry, world.now);
    assert_true(enroll_is_left(&entry));
    assert_string_equal(writes(), "");
}

static void test_a_clean_end_takes_it_out(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    connect_it();
    enroll_up(&entry, world.now);
    writes();
    enroll_leave(&entry, world.now); /* with a renewal under way */
    assert_false(enroll_is_left(&entry));
    assert_non_null(
        strstr(writes(), "\r\np:nodes:{relay}\r\n$2\r\nr1\r\n$16\r\n00000000000000ab\r\n"));
    world_say("+new\r\n");
    assert_false(enroll_is_left(&entry)); /* that was the renewal's */
    world_say(":1\r\n");
    assert_true(enroll_is_left(&entry));
    assert_int_equal(counter_get(&entry.count.entered), 0);
    enroll_leave(&entry, world.now);
    assert_string_equal(writes(), "");
}

static void test_without_redis_it_ends_all_the_same(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    enroll_leave(&entry, world.now);
    assert_true(enroll_is_left(&entry));
}

static void test_an_entry_that_was_not_renewed_does_not_count(void **state)
{
    (void)state;
    enroll_say(&entry, &record, false, world.now);
    connect_it();
    enroll_up(&entry, world.now);
    writes();
    world_say("+new\r\n");
    redis_client_closed(world.c, "gone", world.now);
    assert_true(enroll_deadline(&entry) == world.now + LEASE_US);
    world.now += LEASE_US;
    enroll_tick(&entry, world.now);
    assert_int_equal(counter_get(&entry.count.entered), 0);
}

static void test_a_record_that_is_too_long_changes_nothing(void **state)
{
    char place[NODE_RECORD_PLACE];
    struct node_record big = record;

    (void)state;
    enroll_say(&entry, &record, false, world.now);
    memset(place, 'a', sizeof(place));
    memcpy(place, "turn:", 5);
    for (big.at_n = 0; big.at_n < NODE_RECORD_AT_MAX; big.at_n++)
        big.at[big.at_n] = slice_of(place, sizeof(place));
    assert_int_equal(enroll_say(&entry, &big, false, world.now), -EMSGSIZE);
    connect_it();
    enroll_up(&entry, world.now);
    assert_non_null(strstr(writes(), "at=turn:a:1\r\n"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_written_before_there_is_something_to_say),
        TEST(test_it_enters_and_renews_three_times_in_a_lease),
        TEST(test_a_drain_is_said_at_once),
        TEST(test_a_failure_is_tried_again_soon),
        TEST(test_who_has_lost_its_name_says_so_and_is_quiet),
        TEST(test_a_clean_end_takes_it_out),
        TEST(test_without_redis_it_ends_all_the_same),
        TEST(test_an_entry_that_was_not_renewed_does_not_count),
        TEST(test_a_record_that_is_too_long_changes_nothing),
    };

    return cmocka_run_group_tests_name("enroll", tests, NULL, NULL);
}

/* Tests of net/redis_client.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/lib/redis_world.h"

#define S UINT64_C(1000000)

/* What the last call ended with. */
static struct {
    int n;
    enum redis_end end;
    char text[64];
    struct redis_call *again; /* called from inside of done() */
} last;

static const struct slice GET[] = {SLICE_LIT("GET"), SLICE_LIT("k")};

static void done(struct redis_call *call, enum redis_end end, const struct resp *reply,
                 uint64_t now_us)
{
    (void)call;
    last.n++;
    last.end = end;
    struct slice text = reply && reply->kind == RESP_ERROR ? reply->text : resp_text(reply);
    assert_int_equal(slice_to_cstr(text, last.text, sizeof(last.text)), 0);
    assert_int_equal(reply != NULL, end == REDIS_ANSWERED);
    if (last.again) {
        struct redis_call *next = last.again;
        last.again = NULL;
        assert_int_equal(redis_client_call(world.c, next, GET, 2, now_us), 0);
    }
}

static void begin(const struct redis_client_conf *conf)
{
    memset(&world, 0, sizeof(world));
    memset(&last, 0, sizeof(last));
    world.now = 1;
    world.c = redis_client_new(conf, &world_ops, NULL, world.now);
    assert_non_null(world.c);
}

static void end(void)
{
    redis_client_free(world.c);
    world.c = NULL;
}

/* A client that is READY, without AUTH and scripts. */
static void begin_ready(void)
{
    struct redis_client_conf conf = world_conf();

    begin(&conf);
    assert_int_equal(world_open(), 6379);
    assert_string_equal(world_take(1000), "*1\r\n$4\r\nROLE\r\n");
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_true(redis_client_ready(world.c));
    assert_int_equal(world.ups, 1);
}

static void get(struct redis_call *call, bool again)
{
    *call = (struct redis_call){.fn = done, .again = again};
    assert_int_equal(redis_client_call(world.c, call, GET, 2, world.now), 0);
}

static void tick(uint64_t us)
{
    world.now += us;
    redis_client_tick(world.c, world.now);
}

#define GET_WIRE "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"

static void test_set_up_proves_who_we_are_and_who_it_is(void **state)
{
    static const struct slice scripts[] = {{(const uint8_t *)"return 1", 8}};
    const struct slice words[] = {SLICE_LIT("{u}"), SLICE_LIT("x")};
    struct redis_client_conf conf = world_conf();
    struct redis_call call = {.fn = done};

    (void)state;
    conf.user = SLICE_LIT("sori");
    conf.password = SLICE_LIT("secret");
    conf.database = 3;
    conf.scripts = scripts;
    conf.scripts_n = 1;
    begin(&conf);
    /* Asked before there is a connection: it waits. */
    assert_int_equal(redis_client_eval(world.c, &call, 0, 1, words, 2, world.now), 0);
    assert_string_equal(world_take(1000), "");
    assert_int_equal(world_open(), 6379);
    assert_string_equal(world_take(7), "*3\r\n$4\r\nAUTH\r\n$4\r\nsori\r\n$6\r\nsecret\r\n"
                                       "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
                                       "*1\r\n$4\r\nROLE\r\n"
                                       "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\nreturn 1\r\n");
    world_say("+OK\r\n+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_false(redis_client_ready(world.c));
    world_say("$40\r\n" REDIS_WORLD_SHA "\r\n");
    assert_true(redis_client_ready(world.c));
    assert_string_equal(world_take(7), "*5\r\n$7\r\nEVALSHA\r\n$40\r\n" REDIS_WORLD_SHA
                                       "\r\n$1\r\n1\r\n$3\r\n{u}\r\n$1\r\nx\r\n");
    world_say("+fine\r\n");
    assert_int_equal(last.n, 1);
    assert_string_equal(last.text, "fine");
    end();
}

static void refused(const char *reply, const char *why)
{
    struct redis_client_conf conf = world_conf();
    const struct redis_endpoint *to;

    conf.password = SLICE_LIT("secret");
    begin(&conf);
    assert_int_equal(world_open(), 6379);
    world_take(1000);
    world_say(reply);
    assert_int_equal(world.downs, 1);
    assert_non_null(strstr(world.why, why));
    assert_null(strstr(world.why, "secret"));
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_CLOSE);
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_NOTHING);
    world.now += S;
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_OPEN);
    end();
}

static void test_a_server_that_will_not_do_is_left(void **state)
{
    (void)state;
    refused("-WRONGPASS invalid\r\n", "WRONGPASS");
    refused("+OK\r\n*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$9\r\nconnected\r\n:0\r\n",
            "not the master");
    refused("+OK\r\n-NOPERM no\r\n", "+role");
    refused("HTTP/1.1 400 Bad Request\r\n", "RESP2");
    refused("+OK\r\n-LOADING wait\r\n", "LOADING");
}

static void test_sentinels_name_the_master(void **state)
{
    static const struct redis_endpoint three[] = {{"a", 1}, {"b", 2}, {"c", 3}};
    struct redis_client_conf conf = world_conf();
    const struct redis_endpoint *to;

    (void)state;
    conf.at = three;
    conf.at_n = 3;
    conf.master = SLICE_LIT("mymaster");
    conf.password = SLICE_LIT("secret");
    begin(&conf);
    uint16_t first = world_open();
    assert_string_equal(
        world_take(1000),
        "*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$8\r\nmymaster\r\n");
    world_say("*-1\r\n"); /* it does not know */
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_CLOSE);
    uint16_t second = world_open();
    assert_true(second > 0 && second != first);
    world_take(1000);
    world_say("*2\r\n$9\r\n192.0.2.7\r\n$4\r\n6399\r\n");
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_CLOSE);
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_OPEN);
    assert_string_equal(to->host, "192.0.2.7");
    assert_int_equal(to->port, 6399);
    redis_client_opened(world.c, world.now);
    /* The server's password goes to the server alone. */
    assert_non_null(strstr(world_take(1000), "secret"));
    world_say("+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_true(redis_client_ready(world.c));
    redis_client_closed(world.c, "gone", world.now);
    world.now += S;
    assert_int_equal(world_open(), second); /* asked anew, the one that knew */
    end();
}

static void test_replies_are_given_in_order(void **state)
{
    struct redis_call a, b;

    (void)state;
    begin_ready();
    get(&a, false);
    get(&b, false);
    assert_string_equal(world_take(1000), GET_WIRE GET_WIRE);
    last.again = &a; /* a call from inside of done() */
    world_say("$1\r\n1\r\n-ERR x\r\n");
    assert_int_equal(last.n, 2);
    assert_int_equal(last.end, REDIS_ANSWERED);
    assert_string_equal(last.text, "ERR x");
    assert_string_equal(world_take(1000), GET_WIRE);
    world_say("$1\r\n3\r\n");
    assert_string_equal(last.text, "3");
    assert_int_equal(redis_client_calls(world.c), 0);
    end();
}

static void test_a_late_reply_goes_to_nobody_else(void **state)
{
    struct redis_call a, b;

    (void)state;
    begin_ready();
    get(&a, true);
    world_take(1000);
    tick(S / 2);
    get(&b, false);
    world_take(1000);
    tick(S / 2 + 1000);
    assert_int_equal(last.n, 1);
    assert_int_equal(last.end, REDIS_LATE);
    world_say("$3\r\nold\r\n");
    assert_int_equal(last.n, 1);
    world_say("$3\r\nnew\r\n");
    assert_int_equal(last.n, 2);
    assert_string_equal(last.text, "new");
    end();
}

static void test_a_cancelled_call_is_not_told(void **state)
{
    struct redis_call a, b;

    (void)state;
    begin_ready();
    get(&a, false);
    redis_client_cancel(world.c, &a); /* not sent */
    redis_client_cancel(world.c, &a);
    assert_string_equal(world_take(1000), "");
    get(&a, true);
    get(&b, false);
    world_take(1000);
    redis_client_cancel(world.c, &a); /* sent: its reply is passed over */
    world_say("$1\r\n1\r\n$1\r\n2\r\n");
    assert_int_equal(last.n, 1);
    assert_string_equal(last.text, "2");
    end();
}

static void test_a_broken_connection_ends_what_may_not_be_done_twice(void **state)
{
    struct redis_call once, again, waiting;

    (void)state;
    begin_ready();
    get(&once, false);
    get(&again, true);
    world_take(1000);
    get(&waiting, false);
    redis_client_closed(world.c, "reset", world.now);
    assert_int_equal(world.downs, 1);
    assert_int_equal(last.n, 1);
    assert_int_equal(last.end, REDIS_BROKEN);
    world.now += S / 5;
    assert_int_equal(world_open(), 6379);
    world_take(1000);
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_string_equal(world_take(1000), GET_WIRE GET_WIRE);
    world_say("$1\r\n1\r\n$1\r\n2\r\n");
    assert_int_equal(last.n, 3);
    end();
}

static void test_what_is_said_is_done_as_long_as_it_is_worth_it(void **state)
{
    const struct slice words[] = {SLICE_LIT("GET"), SLICE_LIT("k")};

    (void)state;
    begin_ready();
    assert_int_equal(redis_client_say(world.c, words, 2, 60 * S, world.now), 0);
    world_take(1000);
    redis_client_closed(world.c, "reset", world.now);
    assert_int_equal(redis_client_say(world.c, words, 2, S, world.now), 0);
    tick(5 * S); /* the second one is not worth it any more */
    assert_int_equal(redis_client_calls(world.c), 1);
    assert_int_equal(world_open(), 6379);
    world_take(1000);
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_string_equal(world_take(1000), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    world_say("-READONLY no\r\n"); /* not the master any more: once more */
    assert_int_equal(redis_client_calls(world.c), 1);
    end();
}

static void test_deadlines_say_whether_it_may_have_been_done(void **state)
{
    struct redis_call call;

    (void)state;
    begin_ready();
    get(&call, true);
    world_take(1000);
    redis_client_closed(world.c, "reset", world.now);
    tick(S + 1000);
    assert_int_equal(last.n, 1);
    assert_int_equal(last.end, REDIS_LATE); /* it waited to be sent again, but was sent once */
    get(&call, true);
    tick(S + 1000);
    assert_int_equal(last.n, 2);
    assert_int_equal(last.end, REDIS_UNSENT);
    end();
}

static void test_a_demoted_master_is_left_and_the_call_goes_on(void **state)
{
    struct redis_call again, once;
    const struct redis_endpoint *to;

    (void)state;
    begin_ready();
    get(&again, true);
    world_take(1000);
    world_say("-READONLY You can't write against a read only replica.\r\n");
    assert_int_equal(last.n, 0);
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_CLOSE);
    world.now += S / 5;
    assert_int_equal(world_open(), 6379);
    world_take(1000);
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_string_equal(world_take(1000), GET_WIRE);
    world_say("+OK\r\n");
    assert_int_equal(last.n, 1);
    /* One that is not to be sent again is told the error itself. */
    get(&once, false);
    world_take(1000);
    world_say("-READONLY no\r\n");
    assert_int_equal(last.n, 2);
    assert_int_equal(last.end, REDIS_ANSWERED);
    assert_string_equal(last.text, "READONLY no");
    assert_false(redis_client_ready(world.c));
    end();
}

static void test_silence_is_noticed(void **state)
{
    struct redis_call call;

    (void)state;
    begin_ready();
    tick(5 * S);
    assert_string_equal(world_take(1000), "*1\r\n$4\r\nPING\r\n");
    world_say("+PONG\r\n");
    assert_true(redis_client_deadline(world.c) >= world.now + 4 * S);
    get(&call, true);
    world_take(1000);
    tick(S + 1000);
    assert_int_equal(last.end, REDIS_LATE);
    assert_true(redis_client_ready(world.c));
    tick(S / 2 + 1000);
    assert_false(redis_client_ready(world.c));
    assert_int_equal(world.downs, 1);
    end();
}

static void test_an_attempt_takes_no_longer_than_allowed(void **state)
{
    struct redis_client_conf conf = world_conf();
    const struct redis_endpoint *to;

    (void)state;
    begin(&conf);
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_OPEN);
    assert_true(redis_client_deadline(world.c) <= world.now + 2 * S);
    tick(2 * S);
    assert_int_equal(redis_client_wish(world.c, &to, world.now), REDIS_WISH_CLOSE);
    assert_int_equal(redis_client_stats(world.c)->failures, 1);
    end();
}

static void test_limits_hold(void **state)
{
    struct redis_client_conf conf = world_conf();
    struct redis_call calls[17] = {{0}};
    struct slice many[RESP_WORDS_MAX + 1];

    (void)state;
    begin(&conf);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = SLICE_LIT("x");
    for (size_t i = 0; i < 16; i++)
        get(&calls[i], false);
    calls[16].fn = done;
    assert_int_equal(redis_client_call(world.c, &calls[16], GET, 2, world.now), -ENOBUFS);
    redis_client_cancel(world.c, &calls[3]);
    assert_int_equal(redis_client_call(world.c, NULL, many, RESP_WORDS_MAX + 1, world.now),
                     -EINVAL);
    assert_int_equal(redis_client_call(world.c, NULL, many, RESP_WORDS_MAX, world.now), 0);
    end();
    conf.bytes_max = 100;
    begin(&conf);
    assert_int_equal(redis_client_call(world.c, NULL, many, 10, world.now), -ENOBUFS);
    assert_int_equal(redis_client_call(world.c, NULL, GET, 1, world.now), 0);
    end();
}

static void test_a_subscriber_hears(void **state)
{
    static const struct slice channels[] = {{(const uint8_t *)"node:a", 6}};
    struct redis_client_conf conf = world_conf();
    struct redis_call call = {.fn = done};

    (void)state;
    conf.channels = channels;
    conf.channels_n = 1;
    conf.sharded = true;
    begin(&conf);
    assert_int_equal(redis_client_call(world.c, &call, GET, 2, world.now), -EINVAL);
    assert_int_equal(world_open(), 6379);
    assert_string_equal(world_take(1000),
                        "*1\r\n$4\r\nROLE\r\n*2\r\n$10\r\nSSUBSCRIBE\r\n$6\r\nnode:a\r\n");
    world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_int_equal(world.ups, 0);
    world_say("*3\r\n$10\r\nssubscribe\r\n$6\r\nnode:a\r\n:1\r\n");
    assert_int_equal(world.ups, 1);
    world_say("*3\r\n$8\r\nsmessage\r\n$6\r\nnode:a\r\n$5\r\nhello\r\n");
    assert_int_equal(world.messages, 1);
    assert_string_equal(world.payload, "hello");
    tick(5 * S);
    assert_string_equal(world_take(1000), "*1\r\n$4\r\nPING\r\n");
    world_say("*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_true(redis_client_ready(world.c));
    world_say("*3\r\n$12\r\nsunsubscribe\r\n$6\r\nnode:a\r\n:0\r\n");
    assert_false(redis_client_ready(world.c));
    end();
}

static void test_a_reply_to_nothing_ends_it(void **state)
{
    (void)state;
    begin_ready();
    world_say("+OK\r\n");
    assert_false(redis_client_ready(world.c));
    assert_non_null(strstr(world.why, "reply to nothing"));
    end();
}

static void test_when_memory_is_out_one_call_fails(void **state)
{
    uint64_t live = mem_live();
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        struct redis_client_conf conf = world_conf();
        memset(&world, 0, sizeof(world));
        memset(&last, 0, sizeof(last));
        struct redis_call call = {.fn = done};
        mem_fail_after(n);
        world.c = redis_client_new(&conf, &world_ops, NULL, 0);
        if (world.c) {
            int err = redis_client_call(world.c, &call, GET, 2, 0);
            assert_true(err == 0 || err == -ENOMEM);
            world_open();
            world_take(1000);
            world_say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
            world_take(1000);
            if (redis_client_ready(world.c))
                world_say("+OK\r\n");
        }
        failed = mem_failed();
        mem_fail_never();
        redis_client_free(world.c);
        world.c = NULL;
        assert_int_equal(mem_live(), live);
    }
    assert_int_equal(last.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_up_proves_who_we_are_and_who_it_is),
        cmocka_unit_test(test_a_server_that_will_not_do_is_left),
        cmocka_unit_test(test_sentinels_name_the_master),
        cmocka_unit_test(test_replies_are_given_in_order),
        cmocka_unit_test(test_a_late_reply_goes_to_nobody_else),
        cmocka_unit_test(test_a_cancelled_call_is_not_told),
        cmocka_unit_test(test_a_broken_connection_ends_what_may_not_be_done_twice),
        cmocka_unit_test(test_what_is_said_is_done_as_long_as_it_is_worth_it),
        cmocka_unit_test(test_deadlines_say_whether_it_may_have_been_done),
        cmocka_unit_test(test_a_demoted_master_is_left_and_the_call_goes_on),
        cmocka_unit_test(test_silence_is_noticed),
        cmocka_unit_test(test_an_attempt_takes_no_longer_than_allowed),
        cmocka_unit_test(test_limits_hold),
        cmocka_unit_test(test_a_subscriber_hears),
        cmocka_unit_test(test_a_reply_to_nothing_ends_it),
        cmocka_unit_test(test_when_memory_is_out_one_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

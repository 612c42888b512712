/* Tests of net/redis_seek.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "net/redis_seek.h"

static void test_endpoints_are_read(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"redis.example", "redis.example", 6379},       {"redis.example:1", "redis.example", 1},
        {"192.0.2.1:65535", "192.0.2.1", 65535},        {"2001:db8::1", "2001:db8::1", 6379},
        {"[2001:db8::1]", "2001:db8::1", 6379},         {"[2001:db8::1]:7", "2001:db8::1", 7},
        {"unix:/run/redis.sock", "/run/redis.sock", 0},
    };
    static const char *const bad[] = {"", ":1", "a:", "a:0", "a:65536", "a:x", "unix:", "[]:1"};
    struct redis_endpoint e;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(redis_endpoint_parse(&e, slice_str(good[i].text), 6379), 0);
        assert_string_equal(e.host, good[i].host);
        assert_int_equal(e.port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        e.port = 4711;
        assert_int_equal(redis_endpoint_parse(&e, slice_str(bad[i]), 6379), -EINVAL);
        assert_int_equal(e.port, 4711);
    }
}

static const struct redis_endpoint three[] = {{"a", 1}, {"b", 2}, {"c", 3}};

static void begin(struct redis_seek *s, bool sentinels)
{
    redis_seek_init(s, three, 3, sentinels, 1000, 5000, 7);
}

static uint16_t next(const struct redis_seek *s, uint64_t now, bool *sentinel)
{
    const struct redis_endpoint *e = redis_seek_next(s, now, sentinel);

    return e ? e->port : 0;
}

static void test_a_round_asks_each_once_and_then_waits(void **state)
{
    struct redis_seek s;
    unsigned seen = 0;
    uint64_t now = 0;
    bool sentinel;

    (void)state;
    begin(&s, false);
    for (unsigned round = 0; round < 6; round++) {
        seen = 0;
        for (int i = 0; i < 3; i++) {
            seen |= 1U << next(&s, now, &sentinel);
            assert_false(sentinel);
            redis_seek_failed(&s, now);
        }
        assert_int_equal(seen, 1U << 1 | 1U << 2 | 1U << 3);
        uint64_t most = round < 3 ? 1000U << round : 5000, at = redis_seek_deadline(&s);
        assert_true(at >= now + most / 2 && at <= now + most);
        assert_int_equal(next(&s, at - 1, &sentinel), 0);
        now = at;
    }
}

static void test_the_one_that_was_good_is_asked_first(void **state)
{
    struct redis_seek s;
    bool sentinel;

    (void)state;
    begin(&s, false);
    redis_seek_failed(&s, 0);
    uint16_t good = next(&s, 0, &sentinel);
    redis_seek_found(&s);
    redis_seek_lost(&s, 0);
    assert_true(redis_seek_deadline(&s) >= 500 && redis_seek_deadline(&s) <= 1000);
    assert_int_equal(next(&s, 1000, &sentinel), good);
}

static void test_a_named_master_is_next_and_forgotten_when_it_goes(void **state)
{
    struct redis_seek s;
    bool sentinel;

    (void)state;
    begin(&s, true);
    uint16_t first = next(&s, 0, &sentinel);
    assert_true(sentinel);
    assert_int_equal(redis_seek_named(&s, (struct slice){0}, SLICE_LIT("1")), -EINVAL);
    assert_int_equal(redis_seek_named(&s, SLICE_LIT("m"), SLICE_LIT("0")), -EINVAL);
    assert_int_equal(redis_seek_named(&s, SLICE_LIT("m"), SLICE_LIT("99999")), -EINVAL);
    assert_int_equal(redis_seek_named(&s, SLICE_LIT("m"), SLICE_LIT("6379")), 0);
    assert_int_equal(next(&s, 0, &sentinel), 6379);
    assert_false(sentinel);
    /* It was the wrong one: the next Sentinel may know better. */
    redis_seek_failed(&s, 0);
    uint16_t second = next(&s, 0, &sentinel);
    assert_true(sentinel);
    assert_int_not_equal(first, second);
    assert_int_equal(redis_seek_named(&s, SLICE_LIT("m"), SLICE_LIT("6380")), 0);
    redis_seek_found(&s);
    redis_seek_lost(&s, 0);
    assert_int_equal(next(&s, 1000, &sentinel), second);
    assert_true(sentinel);
}

static void test_clients_do_not_come_back_together(void **state)
{
    uint64_t low = UINT64_MAX, high = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct redis_seek s;
        redis_seek_init(&s, three, 3, false, 1000, 5000, seed);
        redis_seek_lost(&s, 0);
        uint64_t at = redis_seek_deadline(&s);
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    assert_true(low < 550 && high > 950);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints_are_read),
        cmocka_unit_test(test_a_round_asks_each_once_and_then_waits),
        cmocka_unit_test(test_the_one_that_was_good_is_asked_first),
        cmocka_unit_test(test_a_named_master_is_next_and_forgotten_when_it_goes),
        cmocka_unit_test(test_clients_do_not_come_back_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

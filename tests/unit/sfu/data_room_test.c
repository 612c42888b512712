/* data_room.c: both forms, their limits, rates, and what receivers get.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_room.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/lib/guard.h"

static struct data_limits limits;
static struct data_sender sender;
static struct data_message m;

static int setup(void **state)
{
    (void)state;
    limits = data_limits_make(1024, 100, 65536);
    sender = (struct data_sender){0};
    return 0;
}

static enum data_verdict recv(bool text, const char *s, size_t len)
{
    uint8_t *copy = guard_copy(s, len);
    enum data_verdict v =
        data_room_recv(&sender, &limits, true, text, slice_of(copy, len), US_PER_S, &m);

    /* What was read borrows from the message: it has to be looked at before that goes. */
    static uint8_t out[4096];
    if (v == DATA_OK) {
        struct wr w = wr_init(out, sizeof(out));
        data_room_write(&m, SLICE_LIT("me"), &w);
        assert_false(w.bad);
        assert_true(w.len <= len + DATA_HEAD_MAX);
    }
    guard_free(copy, len);
    return v;
}

#define TEXT(s)   recv(true, s, strlen(s))
#define BINARY(s) recv(false, s, sizeof(s) - 1)

static void test_text_to_all_and_to_some(void **state)
{
    static const char all[] = "{\"topic\":\"chat\",\"payload\":{\"t\":\"hi\"}}";
    static const char some[] = " {\"payload\":1,\"to\":[\"a\",\"b\",\"a\",\"\\u0063\"]} ";
    char buf[256];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    assert_int_equal(data_room_recv(&sender, &limits, true, true, slice_str(all), 1, &m), DATA_OK);
    assert_true(m.to_all);
    assert_true(slice_is(m.topic, "chat"));
    data_room_write(&m, SLICE_LIT("me"), &w);
    assert_true(
        slice_is(wr_done(&w), "{\"from\":\"me\",\"topic\":\"chat\",\"payload\":{\"t\":\"hi\"}}"));

    assert_int_equal(data_room_recv(&sender, &limits, true, true, slice_str(some), 1, &m), DATA_OK);
    assert_false(m.to_all);
    assert_int_equal(m.n_to, 3);
    assert_true(slice_is(m.to[2], "c"));
    w = wr_init(buf, sizeof(buf));
    data_room_write(&m, SLICE_LIT("me"), &w);
    assert_true(slice_is(wr_done(&w), "{\"from\":\"me\",\"payload\":1}"));
    assert_int_equal(sender.passed, 2);
}

static void test_binary_to_all_and_to_some(void **state)
{
    char buf[64];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    assert_int_equal(data_room_recv(&sender, &limits, true, false, SLICE_LIT("\0xyz"), 1, &m),
                     DATA_OK);
    assert_true(m.to_all);
    assert_true(slice_is(m.payload, "xyz"));
    assert_int_equal(
        data_room_recv(&sender, &limits, true, false, SLICE_LIT("\2\1a\2bcpay"), 1, &m), DATA_OK);
    assert_int_equal(m.n_to, 2);
    assert_true(slice_is(m.to[1], "bc"));
    data_room_write(&m, SLICE_LIT("me"), &w);
    assert_true(slice_is(wr_done(&w), "\2mepay"));
    assert_int_equal(BINARY("\0"), DATA_OK); /* nothing, to all */
}

static void test_other_forms_are_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"to\":[\"a\"]}",
        "{\"payload\":1",
        "{\"payload\":1,\"payload\":2}",
        "{\"payload\":1,\"to\":\"a\"}",
        "{\"payload\":1,\"to\":[]}",
        "{\"payload\":1,\"to\":[1]}",
        "{\"payload\":1,\"to\":[\"\"]}",
        "{\"payload\":1,\"topic\":1}",
        "{\"payload\":1,\"topic\":\"a b\"}",
        "{\"payload\":1,\"topic\":\"\\n\"}",
        "{\"payload\":\"\xff\"}",
        "{\"payload\":1,\"topic\":\"0123456789012345678901234567890123456789012345678901234567890"
        "1234\"}",
        "{\"payload\":1,\"to\":[\"01234567890123456789012345678901234567890123456789012345678901"
        "234\"]}",
    };
    uint64_t before = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(TEXT(bad[i]), DATA_MALFORMED);
    before = sender.refused[DATA_MALFORMED];
    assert_int_equal(before, ARRAY_LEN(bad));
    assert_int_equal(recv(false, "", 0), DATA_MALFORMED);
    assert_int_equal(BINARY("\1"), DATA_MALFORMED);
    assert_int_equal(BINARY("\1\2a"), DATA_MALFORMED);
    assert_int_equal(BINARY("\1\0"), DATA_MALFORMED);
    assert_int_equal(BINARY("\2\1a"), DATA_MALFORMED);
    assert_int_equal(BINARY("\101"), DATA_TOO_MANY_TO); /* 65 */
}

static void test_receivers_have_a_limit(void **state)
{
    char buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    wr_str(&w, "{\"payload\":0,\"to\":[\"0\"");
    for (unsigned i = 1; i < DATA_TO_MAX; i++)
        wr_fmt(&w, ",\"%u\"", i);
    size_t at = w.len;
    wr_str(&w, "]}");
    assert_int_equal(recv(true, buf, w.len), DATA_OK);
    w.len = at;
    wr_str(&w, ",\"64\"]}");
    assert_int_equal(recv(true, buf, w.len), DATA_TOO_MANY_TO);
}

static void test_size_permission_and_rates(void **state)
{
    static char big[1025];
    struct slice one = SLICE_LIT("\0");

    (void)state;
    assert_int_equal(recv(false, big, 1024), DATA_OK);
    assert_int_equal(recv(false, big, 1025), DATA_TOO_LARGE);
    assert_int_equal(data_room_recv(&sender, &limits, false, false, one, 1, &m), DATA_NOT_ALLOWED);

    limits = data_limits_make(1024, 3, 0);
    sender = (struct data_sender){0};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(data_room_recv(&sender, &limits, true, false, one, US_PER_S, &m), DATA_OK);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, one, US_PER_S, &m),
                     DATA_RATE_MESSAGES);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, one, 2 * US_PER_S, &m), DATA_OK);

    limits = data_limits_make(1024, 0, 128); /* the burst is one message */
    sender = (struct data_sender){0};
    struct slice whole = slice_of(big, 1024);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, whole, US_PER_S, &m), DATA_OK);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, one, US_PER_S, &m),
                     DATA_RATE_BYTES);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, whole, 5 * US_PER_S, &m),
                     DATA_RATE_BYTES);
    assert_int_equal(data_room_recv(&sender, &limits, true, false, whole, 9 * US_PER_S, &m),
                     DATA_OK);
    for (unsigned i = 0; i < DATA_VERDICTS; i++)
        assert_true(strlen(data_verdict_name((enum data_verdict)i)) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_text_to_all_and_to_some, setup),
        cmocka_unit_test_setup(test_binary_to_all_and_to_some, setup),
        cmocka_unit_test_setup(test_other_forms_are_malformed, setup),
        cmocka_unit_test_setup(test_receivers_have_a_limit, setup),
        cmocka_unit_test_setup(test_size_permission_and_rates, setup),
    };

    return cmocka_run_group_tests_name("data_room", tests, NULL, NULL);
}

/* Tests of proto/node_record.c. What the scripts do is in tests/e2e/cluster_nodes_test.py, with a
 * real Redis. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "proto/node_record.h"

#define EPOCH "1 epoch=00000000000000ff"
#define MARK  "0123456789abcdef"

static struct node_record got;

static int decode(enum node_kind kind, const char *text)
{
    got = (struct node_record){0};
    return node_record_decode(&got, kind, slice_str(text));
}

static void test_what_is_written_is_read(void **state)
{
    const struct node_record r = {.epoch = 0xff,
                                  .load = 1000,
                                  .weight = 100,
                                  .draining = true,
                                  .region = SLICE_LIT("eu-1"),
                                  .keys = {SLICE_LIT(MARK), SLICE_LIT("fedcba9876543210")},
                                  .keys_n = 2,
                                  .at = {SLICE_LIT("turn:a:1?transport=udp"), SLICE_LIT("turns:b")},
                                  .at_n = 2};
    char text[NODE_RECORD_TEXT_MAX + 1];
    struct wr w = wr_init(text, NODE_RECORD_TEXT_MAX);

    (void)state;
    node_record_encode(&w, &r);
    assert_false(w.bad);
    text[w.len] = '\0';
    assert_string_equal(text, EPOCH " load=1000 drain=1 weight=100 region=eu-1 key=" MARK
                                    " key=fedcba9876543210 at=turn:a:1?transport=udp at=turns:b");
    assert_int_equal(decode(NODE_RELAY, text), 0);
    assert_true(got.epoch == 0xff && got.load == 1000 && got.weight == 100 && got.draining);
    assert_true(slice_is(got.region, "eu-1") && got.keys_n == 2 && slice_is(got.keys[0], MARK));
    assert_true(got.at_n == 2 && slice_is(got.at[1], "turns:b"));
}

static void test_little_is_needed_and_more_is_passed_over(void **state)
{
    (void)state;
    assert_int_equal(decode(NODE_SFU, EPOCH " at=127.0.0.1:7000 zone=x  later"), 0);
    assert_true(got.weight == 1 && got.load == 0 && !got.draining && got.region.len == 0);
    assert_int_equal(decode(NODE_SFU, EPOCH " at=unix:/run/sfu"), 0);
    assert_int_equal(decode(NODE_SFU, EPOCH " at=[::1]:7000"), 0);
    assert_int_equal(decode(NODE_RELAY, EPOCH " at=stun:[::1]:3478"), 0);
}

static void test_what_must_not_be_is_refused(void **state)
{
    static const char *const relays[] = {
        "",
        "1",
        EPOCH,                                       /* nowhere */
        "2 epoch=00000000000000ff at=turn:a",        /* another version */
        "1 epoch=0000000000000000 at=turn:a",        /* no epoch */
        "1 epoch=ff at=turn:a",                      /* too short */
        "1 load=1 epoch=00000000000000ff at=turn:a", /* not first: scripts look for it there */
        EPOCH " load=1001 at=turn:a",
        EPOCH " load=-1 at=turn:a",
        EPOCH " load= at=turn:a",
        EPOCH " drain=2 at=turn:a",
        EPOCH " weight=0 at=turn:a",
        EPOCH " weight=101 at=turn:a",
        EPOCH " region= at=turn:a",
        EPOCH " region=a/b at=turn:a",
        EPOCH " key=0123 at=turn:a",
        EPOCH " key=0123456789abcdeg at=turn:a",
        EPOCH " at=turn:",
        EPOCH " at=http://a",
        EPOCH " at=turn:a\"b",
        EPOCH " at=turn:a\\b",
        EPOCH " at=turn:a\x7f",
        EPOCH " at=127.0.0.1:7000",
    };
    static const char *const sfus[] = {
        EPOCH " at=turn:a",  EPOCH " at=127.0.0.1",  EPOCH " at=127.0.0.1:0",
        EPOCH " at=name:80", EPOCH " at=unix:run/a", EPOCH " at=unix:",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(relays); i++)
        if (decode(NODE_RELAY, relays[i]) != -EBADMSG)
            fail_msg("taken: %s", relays[i]);
    for (size_t i = 0; i < ARRAY_LEN(sfus); i++)
        if (decode(NODE_SFU, sfus[i]) != -EBADMSG)
            fail_msg("taken: %s", sfus[i]);
}

static void test_as_many_as_fit(void **state)
{
    char text[NODE_RECORD_TEXT_MAX + 64];
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    wr_str(&w, EPOCH);
    for (int i = 0; i < NODE_RECORD_KEYS_MAX; i++)
        wr_str(&w, " key=" MARK);
    for (int i = 0; i < NODE_RECORD_AT_MAX; i++)
        wr_str(&w, " at=turn:a");
    assert_int_equal(node_record_decode(&got, NODE_RELAY, wr_done(&w)), 0);
    assert_int_equal(got.at_n, NODE_RECORD_AT_MAX);
    struct wr more = w;
    wr_str(&more, " at=turn:a");
    assert_int_equal(node_record_decode(&got, NODE_RELAY, wr_done(&more)), -EBADMSG);
    more = w;
    wr_str(&more, " key=" MARK);
    assert_int_equal(node_record_decode(&got, NODE_RELAY, wr_done(&more)), -EBADMSG);
    more = w;
    wr_str(&more, " x=");
    while (more.len < NODE_RECORD_TEXT_MAX)
        wr_u8(&more, 'x');
    assert_int_equal(node_record_decode(&got, NODE_RELAY, wr_done(&more)), 0);
    wr_u8(&more, 'x');
    assert_int_equal(node_record_decode(&got, NODE_RELAY, wr_done(&more)), -EBADMSG);
}

static void test_names_and_places_have_an_end(void **state)
{
    char text[NODE_RECORD_PLACE + 2];

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "turn:", 5);
    assert_true(node_record_place_ok(NODE_RELAY, slice_of(text, NODE_RECORD_PLACE)));
    assert_false(node_record_place_ok(NODE_RELAY, slice_of(text, NODE_RECORD_PLACE + 1)));
    memcpy(text, "unix:/", 6);
    assert_true(node_record_place_ok(NODE_SFU, slice_of(text, 5 + 107)));
    assert_false(node_record_place_ok(NODE_SFU, slice_of(text, 5 + 108)));
    assert_true(node_record_name_ok(slice_of(text + 6, NODE_RECORD_NAME_MAX)));
    assert_false(node_record_name_ok(slice_of(text + 6, NODE_RECORD_NAME_MAX + 1)));
    assert_false(node_record_name_ok(SLICE_LIT("")));
    assert_false(node_record_name_ok(SLICE_LIT("a b")));
    assert_true(node_record_name_ok(SLICE_LIT("Fra-1.a_b")));
}

static void test_keys(void **state)
{
    char text[NODE_RECORD_KEY_MAX];
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    node_record_key(&w, SLICE_LIT("sori:"), NODE_RELAY);
    assert_true(slice_is(wr_done(&w), "sori:nodes:{relay}"));
    w.len = 0;
    node_record_key(&w, SLICE_LIT("p"), NODE_SFU);
    assert_true(slice_is(wr_done(&w), "pnodes:{sfu}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_little_is_needed_and_more_is_passed_over),
        cmocka_unit_test(test_what_must_not_be_is_refused),
        cmocka_unit_test(test_as_many_as_fit),
        cmocka_unit_test(test_names_and_places_have_an_end),
        cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests_name("node_record", tests, NULL, NULL);
}

/* Tests of server/presence_wire.c. The scripts are proved on a real Redis
 * (tests/e2e/presence_store_test.py). SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "server/presence_wire.h"

#define SESSION "000102030405060708090a0b0c0d0e0f"
#define EPOCH   "00000000deadbeef"
#define ENTRY   "1 " SESSION " 7 1700000000000001 " EPOCH " 210 fra-1"

static const char *key(const char *what, const char *id)
{
    static char text[PRESENCE_WIRE_KEY_MAX];
    struct wr w = wr_init(text, sizeof(text) - 1);

    presence_wire_key(&w, SLICE_LIT("sori:"), what, slice_str(id));
    assert_false(w.bad);
    text[w.len] = '\0';
    return text;
}

static void test_keys_of_one_id_have_one_hash_tag(void **state)
{
    char longest[SIG_USER_MAX + 1], prefix[65];
    uint8_t buf[PRESENCE_WIRE_KEY_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    assert_string_equal(key("pres", "ann"), "sori:pres:{ann}");
    assert_string_equal(key("watch", "a{b}c%"), "sori:watch:{a%7Bb%7Dc%25}");
    assert_string_equal(key("pres", "}"), "sori:pres:{%7D}");
    memset(longest, '}', SIG_USER_MAX);
    longest[SIG_USER_MAX] = '\0';
    memset(prefix, 'p', 64);
    prefix[64] = '\0';
    presence_wire_key(&w, slice_str(prefix), "watch", slice_str(longest));
    assert_false(w.bad);
}

static void test_an_entry_is_read(void **state)
{
    struct presence_wire v = {.e = {.device = SLICE_LIT("phone")}};
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    assert_int_equal(presence_wire_decode(&v, SLICE_LIT(ENTRY)), 0);
    assert_true(slice_is(v.e.device, "phone"));
    assert_true(slice_is(v.e.node, "fra-1"));
    assert_true(slice_is(v.stamp, "1700000000000001"));
    assert_int_equal(v.e.session[15], 15);
    assert_int_equal(v.e.generation, 7);
    assert_int_equal(v.epoch, 0xdeadbeef);
    assert_int_equal(v.e.state, SIG_PRESENCE_AWAY);
    assert_true(v.e.attached && !v.e.call_waiting);
    presence_wire_rest(&w, &v.e, v.epoch, v.e.node);
    assert_true(slice_is(wr_done(&w), EPOCH " 210 fra-1"));
    v.e.rooms = v.e.call_waiting = true;
    w = wr_init(buf, sizeof(buf));
    presence_wire_rest(&w, &v.e, v.epoch, v.e.node);
    assert_true(slice_is(wr_done(&w), EPOCH " 213 fra-1"));
    w = wr_init(buf, sizeof(buf));
    presence_wire_session(&w, v.e.session);
    assert_true(slice_is(wr_done(&w), SESSION));
}

static void test_what_nobody_of_ours_wrote_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "2 " SESSION " 7 1 " EPOCH " 210 n",
        "1 " SESSION "0 7 1 " EPOCH " 210 n",
        "1 " SESSION " x 1 " EPOCH " 210 n",
        "1 " SESSION " 9007199254740993 1 " EPOCH " 210 n",
        "1 " SESSION " 7  " EPOCH " 210 n",
        "1 " SESSION " 7 99999999999999999999 " EPOCH " 210 n",
        "1 " SESSION " 7 1 " EPOCH "0 210 n",
        "1 " SESSION " 7 1 " EPOCH " 510 n",
        "1 " SESSION " 7 1 " EPOCH " 220 n",
        "1 " SESSION " 7 1 " EPOCH " 21 n",
        "1 " SESSION " 7 1 " EPOCH " 210 ",
        "1 " SESSION " 7 1 " EPOCH " 214 n",
        "1 " SESSION " 7 1 " EPOCH " 210",
    };
    struct slice good = SLICE_LIT(ENTRY);
    struct presence_wire v = {.epoch = 4711};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (presence_wire_decode(&v, slice_str(wrong[i])) != -EBADMSG)
            fail_msg("%s", wrong[i]);
        assert_int_equal(v.epoch, 4711);
    }
    for (size_t n = 0; n < good.len - 4; n++) /* the name of a node may be shorter */
        assert_int_equal(presence_wire_decode(&v, slice_sub(good, 0, n)), -EBADMSG);
}

static void round_trip(const struct presence_said *said, const char *text)
{
    uint8_t buf[PRESENCE_WIRE_SAY_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct presence_said back;

    presence_wire_say(&w, said);
    assert_true(slice_is(wr_done(&w), text));
    assert_int_equal(presence_wire_said(&back, wr_done(&w)), 0);
    assert_int_equal(back.kind, said->kind);
    assert_true(slice_eq(back.user, said->user));
    assert_true(slice_eq(back.device, said->device));
    assert_memory_equal(back.session, said->session, sizeof(back.session));
}

static void test_what_nodes_say_comes_across(void **state)
{
    static const char *const wrong[] = {"",
                                        "c",
                                        "c ",
                                        "x ann",
                                        "r " SESSION " 0 ann",
                                        "r " SESSION " 9 ann",
                                        "r " SESSION " 3 ann",
                                        "r 00 1 xann"};
    struct presence_said s = {.kind = PRESENCE_SAID_CHANGED, .user = SLICE_LIT("a nn")};

    (void)state;
    round_trip(&s, "c a nn");
    s.kind = PRESENCE_SAID_REPLACED;
    s.device = SLICE_LIT("my phone");
    for (uint8_t i = 0; i < sizeof(s.session); i++)
        s.session[i] = i;
    round_trip(&s, "r " SESSION " 8 my phonea nn");
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(presence_wire_said(&s, slice_str(wrong[i])), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_of_one_id_have_one_hash_tag),
        cmocka_unit_test(test_an_entry_is_read),
        cmocka_unit_test(test_what_nobody_of_ours_wrote_is_refused),
        cmocka_unit_test(test_what_nodes_say_comes_across),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

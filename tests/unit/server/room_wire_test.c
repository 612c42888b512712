/* Tests of server/room_wire.c: what is read is what was written, and nothing else is.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server/room_wire.h"

static struct room_message message(void)
{
    struct room_message m = {.kind = ROOM_WIRE_ASK,
                             .room = SLICE_LIT("standup"),
                             .user = SLICE_LIT("bob"),
                             .device = SLICE_LIT("phone"),
                             .id_hash = 0x1122334455667788,
                             .flags = ROOM_WIRE_REPLY | ROOM_WIRE_IN,
                             .event = ROOM_WIRE_MISSED,
                             .tries = 2,
                             .may_call = true,
                             .perms = {.publish = 5, .data = true, .hidden = true},
                             .name = SLICE_LIT("Bob B."),
                             .bound = SLICE_LIT("standup"),
                             .participant = SLICE_LIT("6f0c"),
                             .text = SLICE_LIT("{\"type\":\"x\"}")};

    memset(m.session, 7, sizeof(m.session));
    return m;
}

static void test_a_message_is_read_as_it_was_written(void **state)
{
    struct room_message m = message(), back;
    uint8_t buf[ROOM_WIRE_HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    room_wire_encode(&w, &m);
    assert_false(w.bad);
    assert_true(room_wire_is(wr_done(&w)));
    assert_int_equal(room_wire_decode(&back, wr_done(&w)), 0);
    assert_true(back.kind == m.kind && slice_eq(back.room, m.room));
    assert_true(slice_eq(back.user, m.user) && slice_eq(back.device, m.device));
    assert_memory_equal(back.session, m.session, sizeof(m.session));
    assert_true(back.id_hash == m.id_hash && back.flags == m.flags && back.event == m.event);
    assert_true(back.tries == 2 && back.may_call && back.perms.publish == 5 && back.perms.data);
    assert_true(back.perms.hidden && !back.perms.admin && !back.perms.subscribe);
    assert_true(slice_eq(back.name, m.name) && slice_eq(back.bound, m.bound));
    assert_true(slice_eq(back.participant, m.participant) && slice_eq(back.text, m.text));
    for (size_t n = 0; n < w.len - m.text.len; n++)
        assert_int_equal(room_wire_decode(&back, slice_of(buf, n)), -EBADMSG);
}

static void test_the_longest_of_all_fits(void **state)
{
    static char longest[SIG_USER_MAX];
    struct room_message m = message(), back;
    static uint8_t buf[ROOM_WIRE_HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    memset(longest, 'x', sizeof(longest));
    m.room = m.user = m.name = m.bound = slice_of(longest, sizeof(longest));
    m.device = m.participant = slice_of(longest, SIG_DEVICE_MAX);
    m.text = (struct slice){0};
    room_wire_encode(&w, &m);
    assert_false(w.bad);
    assert_int_equal(room_wire_decode(&back, wr_done(&w)), 0);
}

static void test_what_no_node_of_ours_says_is_refused(void **state)
{
    struct room_message bad[] = {message(), message(), message(), message(), message(), message()},
                        back;
    uint8_t buf[ROOM_WIRE_HEAD_MAX];

    (void)state;
    bad[0].kind = ROOM_WIRE_KINDS;
    bad[1].event = ROOM_WIRE_EVENTS;
    bad[2].user = SLICE_LIT("b ob");
    bad[3].device = SLICE_LIT("");
    bad[4].room = SLICE_LIT("");
    bad[5].perms.publish = CTL_SOURCES_ALL + 1;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        room_wire_encode(&w, &bad[i]);
        assert_int_equal(room_wire_decode(&back, wr_done(&w)), -EBADMSG);
    }
    struct room_message good = message();
    struct wr w = wr_init(buf, sizeof(buf));
    room_wire_encode(&w, &good);
    buf[0]++; /* another version */
    assert_int_equal(room_wire_decode(&back, wr_done(&w)), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_is_read_as_it_was_written),
        cmocka_unit_test(test_the_longest_of_all_fits),
        cmocka_unit_test(test_what_no_node_of_ours_says_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/session_share.c and of what reliable.c goes on with: a session that moves keeps
 * its numbers and what it has missed. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server/session_share.h"

static struct session_record record(void)
{
    return (struct session_record){.user = SLICE_LIT("ann"),
                                   .device = SLICE_LIT("mac"),
                                   .name = SLICE_LIT("Ann A."),
                                   .watched = SLICE_LIT("[\"bob\"]"),
                                   .rooms = SLICE_LIT("standup ")};
}

static struct session_numbers numbers(void)
{
    return (struct session_numbers){
        .in_seq = 5, .out_seq = 9, .acked = 7, .generation = 3, .state = SIG_PRESENCE_AWAY};
}

static void test_a_record_is_read_as_it_was_written(void **state)
{
    struct session_record in = record(), out;
    uint8_t buf[256];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    session_record_write(&w, &in);
    assert_int_equal(session_record_read(&out, wr_done(&w)), 0);
    assert_true(slice_eq(in.user, out.user) && slice_eq(in.device, out.device) &&
                slice_eq(in.name, out.name) && slice_eq(in.watched, out.watched) &&
                slice_eq(in.rooms, out.rooms));
    for (size_t n = 0; n < w.len; n++)
        assert_int_equal(session_record_read(&out, slice_of(buf, n)), -EBADMSG);
}

static void test_numbers_are_read_as_they_were_written(void **state)
{
    struct session_numbers in = numbers(), out;
    uint8_t buf[SESSION_SHARE_NUMBERS + 1] = {0};
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    session_numbers_write(&w, &in);
    assert_int_equal(w.len, SESSION_SHARE_NUMBERS);
    assert_int_equal(session_numbers_read(&out, wr_done(&w)), 0);
    assert_true(out.in_seq == 5 && out.out_seq == 9 && out.acked == 7 && out.generation == 3 &&
                out.state == SIG_PRESENCE_AWAY);
    for (size_t n = 0; n <= sizeof(buf); n++)
        assert_int_equal(session_numbers_read(&out, slice_of(buf, n)),
                         n == SESSION_SHARE_NUMBERS ? 0 : -EBADMSG);
}

static void test_what_is_no_record_of_ours_is_refused(void **state)
{
    struct session_record bad = record(), out;
    struct session_numbers wrong[] = {numbers(), numbers(), numbers()}, read;
    uint8_t buf[256];

    (void)state;
    bad.user = SLICE_LIT("a nn");
    struct wr w = wr_init(buf, sizeof(buf));
    session_record_write(&w, &bad);
    assert_int_equal(session_record_read(&out, wr_done(&w)), -EBADMSG);
    wrong[0].acked = 10; /* more than was sent */
    wrong[1].state = SIG_PRESENCE_OFFLINE;
    wrong[2].generation = UINT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        w = wr_init(buf, sizeof(buf));
        session_numbers_write(&w, &wrong[i]);
        assert_int_equal(session_numbers_read(&read, wr_done(&w)), -EBADMSG);
    }
}

static void test_fields_are_told_apart(void **state)
{
    static const char *const none[] = {"o", "t0", "x", "m", "m0", "mx", "m-1", "nn", ""};
    struct session_share_message m;

    (void)state;
    assert_int_equal(session_share_field(SLICE_LIT("r"), SLICE_LIT("x"), &m), 'r');
    assert_int_equal(session_share_field(SLICE_LIT("n"), SLICE_LIT("x"), &m), 'n');
    assert_int_equal(session_share_field(SLICE_LIT("m12"), SLICE_LIT("\0\0\0\0\0\0\0\7{}"), &m),
                     'm');
    assert_true(m.seq == 12 && m.id_hash == 7 && slice_is(m.text, "{}"));
    assert_int_equal(session_share_field(SLICE_LIT("m12"), SLICE_LIT("12345678"), &m), 0);
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(session_share_field(slice_str(none[i]), SLICE_LIT("123456789"), &m), 0);
}

static void test_a_session_that_moves_goes_on_with_its_numbers(void **state)
{
    const struct reliable_limits lim = {8, 1024};
    const struct list *pos = NULL;
    struct reliable r;
    uint64_t seq, hash;

    (void)state;
    reliable_init(&r);
    reliable_restore(&r, 5, 9, 7);
    assert_true(reliable_restore_message(&r, 8, 0, SLICE_LIT("{\"seq\":8}")));
    assert_true(reliable_restore_message(&r, 9, 77, SLICE_LIT("{\"seq\":9}")));
    assert_true(reliable_can_resume(&r, 7) && reliable_can_resume(&r, 9));
    assert_false(reliable_can_resume(&r, 6));
    assert_true(slice_is(reliable_replay(&r, 7, &pos), "{\"seq\":8}"));
    reliable_numbers(pos, &seq, &hash);
    assert_true(seq == 8 && hash == 0);
    assert_true(slice_is(reliable_reply(&r, 77), "{\"seq\":9}")); /* a request said again */
    assert_int_equal(reliable_recv(&r, 5, false, 0, 0), RELIABLE_SEEN);
    assert_int_equal(reliable_recv(&r, 6, true, 9, 0), RELIABLE_NEW);
    struct slice next = reliable_send(&r, &lim, SLICE_LIT("\"x\":1}"), 0);
    assert_true(slice_is(next, "{\"seq\":10,\"ack\":6,\"x\":1}"));
    reliable_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_is_read_as_it_was_written),
        cmocka_unit_test(test_numbers_are_read_as_they_were_written),
        cmocka_unit_test(test_what_is_no_record_of_ours_is_refused),
        cmocka_unit_test(test_fields_are_told_apart),
        cmocka_unit_test(test_a_session_that_moves_goes_on_with_its_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* ctl_peer.c: answers for repeats, events until they are acknowledged.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ctl_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct ctl_peer_conf conf = {.events_max = 4, .bytes_max = 400};

static struct ctl_peer *peer(void)
{
    struct ctl_peer *p = ctl_peer_new(SLICE_LIT("node"), 7, &conf);

    assert_non_null(p);
    return p;
}

/* An event as ctl_encode() writes it, with so many bytes of room name. */
static struct slice event(unsigned pad)
{
    static uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    wr_be32(&w, 21 + pad);
    wr_fmt(&w, "{\"t\":\"state\",\"x\":\"%0*d\"}", (int)pad, 0);
    return wr_done(&w);
}

static struct slice slice_text(struct slice m)
{
    return slice_sub(m, CTL_HEADER_BYTES, m.len);
}

static void test_an_answer_is_there_until_a_thousand_later(void **state)
{
    struct ctl_peer *p = peer();
    struct slice again;

    (void)state;
    assert_int_equal(ctl_peer_request(p, 1, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, 1, &again), CTL_PEER_BUSY);
    ctl_peer_answer(p, 1, SLICE_LIT("one"));
    assert_int_equal(ctl_peer_request(p, 1, &again), CTL_PEER_REPEAT);
    assert_true(slice_is(again, "one"));
    assert_int_equal(ctl_peer_request(p, CTL_ANSWERS_MAX, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, 1, &again), CTL_PEER_REPEAT);
    assert_int_equal(ctl_peer_request(p, CTL_ANSWERS_MAX + 1, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, 1, &again), CTL_PEER_STALE);
    ctl_peer_answer(p, 1, SLICE_LIT("late")); /* its place is another's: nothing is overwritten */
    ctl_peer_answer(p, CTL_ANSWERS_MAX + 1, SLICE_LIT("other"));
    assert_int_equal(ctl_peer_request(p, CTL_ANSWERS_MAX + 1, &again), CTL_PEER_REPEAT);
    assert_true(slice_is(again, "other"));
    ctl_peer_free(p);
}

static void test_ids_may_come_out_of_order_within_the_store(void **state)
{
    struct ctl_peer *p = peer();
    struct slice again;

    (void)state;
    assert_int_equal(ctl_peer_request(p, 900, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, 899, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, UINT64_MAX, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_request(p, 899, &again), CTL_PEER_BUSY); /* its answer will come */
    assert_int_equal(ctl_peer_request(p, 898, &again), CTL_PEER_STALE);
    ctl_peer_free(p);
}

static void test_an_answer_twice_keeps_the_first(void **state)
{
    struct ctl_peer *p = peer();
    struct slice again;

    (void)state;
    ctl_peer_request(p, 5, &again);
    ctl_peer_answer(p, 5, SLICE_LIT("first"));
    ctl_peer_answer(p, 5, SLICE_LIT("second"));
    assert_int_equal(ctl_peer_request(p, 5, &again), CTL_PEER_REPEAT);
    assert_true(slice_is(again, "first"));
    ctl_peer_free(p);
}

static void test_an_answer_without_memory_makes_its_repeat_stale(void **state)
{
    struct ctl_peer *p = peer();
    struct slice again;

    (void)state;
    ctl_peer_request(p, 5, &again);
    mem_fail_after(0);
    ctl_peer_answer(p, 5, SLICE_LIT("five"));
    mem_fail_never();
    assert_int_equal(ctl_peer_request(p, 5, &again), CTL_PEER_STALE);
    ctl_peer_free(p);
}

static void test_events_get_numbers_and_stay_until_acknowledged(void **state)
{
    struct ctl_peer *p = peer();
    uint64_t seq = 0;
    struct slice m, text;
    size_t used;

    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        char want[32];
        m = ctl_peer_event(p, event(1));
        snprintf(want, sizeof(want), "{\"seq\":%u,\"t\":\"state\",", i);
        assert_int_equal(ctl_frame(m, &text, &used), 0);
        assert_int_equal(used, m.len);
        assert_true(slice_starts(text, slice_str(want)));
    }
    ctl_peer_ack(p, 1);
    m = ctl_peer_next(p, &seq);
    assert_int_equal(seq, 2);
    assert_true(slice_starts(slice_text(m), SLICE_LIT("{\"seq\":2,")));
    assert_true(ctl_peer_next(p, &seq).len > 0);
    assert_int_equal(ctl_peer_next(p, &seq).len, 0);
    assert_int_equal(seq, 3);
    ctl_peer_ack(p, UINT64_MAX);
    seq = 0;
    assert_int_equal(ctl_peer_next(p, &seq).len, 0);
    assert_false(ctl_peer_lost(p));
    ctl_peer_free(p);
}

static void overflows(unsigned events, unsigned pad)
{
    struct ctl_peer *p = peer();
    uint64_t seq = 0;

    for (unsigned i = 0; i < events; i++)
        assert_true(ctl_peer_event(p, event(pad)).len > 0);
    assert_int_equal(ctl_peer_event(p, event(pad)).len, 0);
    assert_int_equal(ctl_peer_next(p, &seq).len, 0); /* all of them are gone */
    assert_true(ctl_peer_lost(p));
    assert_false(ctl_peer_lost(p));
    assert_true(ctl_peer_event(p, event(pad)).len > 0); /* and it goes on with the next number */
    ctl_peer_next(p, &seq);
    assert_int_equal(seq, events + 2);
    ctl_peer_free(p);
}

static void test_too_many_and_too_large_events_are_dropped_together(void **state)
{
    (void)state;
    overflows(4, 1);  /* events_max */
    overflows(3, 90); /* bytes_max: 25 + 90 + "\"seq\":1," each */
    struct ctl_peer *p = peer();
    assert_int_equal(ctl_peer_event(p, event(500)).len, 0); /* one that never fits is lost, too */
    assert_true(ctl_peer_lost(p));
    ctl_peer_free(p);
}

static void test_another_epoch_knows_nothing(void **state)
{
    struct ctl_peer *p = peer();
    struct slice again;
    uint64_t seq = 0;

    (void)state;
    ctl_peer_request(p, 1000, &again);
    ctl_peer_answer(p, 1000, SLICE_LIT("x"));
    ctl_peer_event(p, event(1));
    ctl_peer_restart(p, 8);
    assert_int_equal(ctl_peer_epoch(p), 8);
    assert_int_equal(ctl_peer_request(p, 1000, &again), CTL_PEER_NEW);
    assert_int_equal(ctl_peer_next(p, &seq).len, 0);
    ctl_peer_event(p, event(1));
    ctl_peer_next(p, &seq);
    assert_int_equal(seq, 1);
    ctl_peer_free(p);
}

static void test_a_name_that_is_too_long_makes_none(void **state)
{
    static char name[CTL_NAME_MAX + 1];

    (void)state;
    memset(name, 'n', sizeof(name));
    assert_null(ctl_peer_new(slice_of(name, sizeof(name)), 1, &conf));
    struct ctl_peer *p = ctl_peer_new(slice_of(name, CTL_NAME_MAX), 1, &conf);
    assert_non_null(p);
    ctl_peer_free(p);
    ctl_peer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_is_there_until_a_thousand_later),
        cmocka_unit_test(test_ids_may_come_out_of_order_within_the_store),
        cmocka_unit_test(test_an_answer_twice_keeps_the_first),
        cmocka_unit_test(test_an_answer_without_memory_makes_its_repeat_stale),
        cmocka_unit_test(test_events_get_numbers_and_stay_until_acknowledged),
        cmocka_unit_test(test_too_many_and_too_large_events_are_dropped_together),
        cmocka_unit_test(test_another_epoch_knows_nothing),
        cmocka_unit_test(test_a_name_that_is_too_long_makes_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

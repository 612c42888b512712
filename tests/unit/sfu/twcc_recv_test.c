/* twcc_recv.c: every arrival is told once, losses show, feedback keeps its pace.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/twcc_recv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proto/twcc_fb.h"

#define MS     US_PER_MS
#define FCI_AT 12 /* RTCP header, sender, media */

/* What feedback has told of each number: 0 nothing, 1 lost, 2 arrived. */
static uint8_t told[65536];
static int64_t told_at_us[65536];

static unsigned tell(struct twcc_recv *t, uint64_t now_us)
{
    uint8_t buf[TWCC_RECV_PACKET_MAX];
    unsigned n = 0;

    for (;; n++) {
        struct wr w = wr_init(buf, sizeof(buf));
        size_t len = twcc_recv_feedback(t, 1, 2, &w, now_us);
        if (len == 0)
            return n;
        assert_int_equal(len, w.len);
        assert_int_equal(len % 4, 0);
        struct twcc_fb fb;
        struct twcc_status st;
        assert_int_equal(twcc_fb_decode(&fb, slice_of(buf + FCI_AT, len - FCI_AT)), 0);
        while (twcc_fb_next(&fb, &st)) {
            if (told[st.seq] == 2)
                continue;
            told[st.seq] = st.arrived ? 2 : 1;
            told_at_us[st.seq] = st.at_us;
        }
    }
}

static int setup(void **state)
{
    (void)state;
    memset(told, 0, sizeof(told));
    return 0;
}

static void test_nothing_arrived_nothing_due(void **state)
{
    struct twcc_recv *t = twcc_recv_new();

    (void)state;
    assert_int_equal(twcc_recv_deadline(t), CLOCK_NEVER);
    assert_int_equal(tell(t, 1000 * MS), 0);
    twcc_recv_packet(t, 1, 100, 1000 * MS);
    assert_in_range(twcc_recv_deadline(t), 1000 * MS, 1100 * MS);
    assert_int_equal(tell(t, 1100 * MS), 1);
    assert_int_equal(twcc_recv_deadline(t), CLOCK_NEVER);
    twcc_recv_free(t);
}

static void test_arrivals_and_losses_are_told_across_the_wrap(void **state)
{
    struct twcc_recv *t = twcc_recv_new();
    uint64_t now = 5000 * MS;
    unsigned packets = 0;

    (void)state;
    for (unsigned i = 0; i < 2000; i++, now += 4 * MS) {
        if (i % 10 != 3)
            twcc_recv_packet(t, (uint16_t)(65000 + i), 1200, now);
        if (now >= twcc_recv_deadline(t))
            packets += tell(t, now);
    }
    packets += tell(t, now);
    for (unsigned i = 0; i < 1999; i++)
        assert_int_equal(told[(uint16_t)(65000 + i)], i % 10 == 3 ? 1 : 2);
    int64_t d = told_at_us[(uint16_t)(65000 + 1000)] - told_at_us[65000];
    assert_in_range(d, 4000 * MS - 250, 4000 * MS + 250);
    assert_in_range(packets, 78, 165); /* 8 s: each 50 to 100 ms */
    twcc_recv_free(t);
}

static void test_slow_streams_are_told_less_often(void **state)
{
    struct twcc_recv *t = twcc_recv_new();
    unsigned packets = 0;

    (void)state;
    for (unsigned i = 0; i < 500; i++) { /* a voice: 20 ms, 10 s */
        uint64_t now = 1000 * MS + i * 20 * MS;
        twcc_recv_packet(t, (uint16_t)i, 120, now);
        if (now >= twcc_recv_deadline(t))
            packets += tell(t, now);
    }
    assert_in_range(packets, 80, 105);
    twcc_recv_free(t);
}

static void test_reordered_and_repeated_packets(void **state)
{
    struct twcc_recv *t = twcc_recv_new();

    (void)state;
    twcc_recv_packet(t, 100, 1, 1000 * MS);
    twcc_recv_packet(t, 103, 1, 1001 * MS);
    twcc_recv_packet(t, 102, 1, 1002 * MS);
    twcc_recv_packet(t, 102, 1, 1003 * MS);
    tell(t, 1050 * MS);
    assert_int_equal(told[101], 1);
    assert_int_equal(told[102], 2);
    twcc_recv_packet(t, 101, 1, 1060 * MS); /* told lost before: told again */
    twcc_recv_packet(t, 104, 1, 1061 * MS);
    tell(t, 1100 * MS);
    assert_int_equal(told[101], 2);
    assert_int_equal(told[104], 2);
    twcc_recv_packet(t, (uint16_t)(104 - 5000), 1, 1200 * MS); /* far behind: no */
    assert_int_equal(tell(t, 1300 * MS), 0);
    twcc_recv_free(t);
}

static void test_much_at_once_is_due_at_once(void **state)
{
    struct twcc_recv *t = twcc_recv_new();
    unsigned i = 0;

    (void)state;
    for (; i < 1000 && twcc_recv_deadline(t) > 1000 * MS; i++)
        twcc_recv_packet(t, (uint16_t)i, 1200, 1000 * MS);
    assert_in_range(i, 50, 128);
    for (; i < 5000; i++) /* nobody asks: bounded, not broken */
        twcc_recv_packet(t, (uint16_t)i, 1200, 1000 * MS);
    assert_true(tell(t, 1000 * MS) >= 1);
    twcc_recv_free(t);
}

static void test_long_gaps_and_pauses(void **state)
{
    struct twcc_recv *t = twcc_recv_new();

    (void)state;
    twcc_recv_packet(t, 10, 1, 1000 * MS);
    tell(t, 1050 * MS);
    twcc_recv_packet(t, 30000, 1, 1100 * MS);
    twcc_recv_packet(t, 30001, 1, 61100 * MS); /* a delta that does not fit */
    tell(t, 61200 * MS);
    assert_int_equal(told[30000], 2);
    assert_int_equal(told[30001], 2);
    assert_int_equal(told[20000], 0); /* not told as lost: nobody needs that */
    twcc_recv_free(t);
}

static void test_no_room_no_harm(void **state)
{
    struct twcc_recv *t = twcc_recv_new();
    uint8_t buf[16];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    twcc_recv_packet(t, 10, 1, 1000 * MS);
    assert_int_equal(twcc_recv_feedback(t, 1, 2, &w, 1050 * MS), 0);
    assert_int_equal(tell(t, 1050 * MS), 1);
    assert_int_equal(told[10], 2);
    twcc_recv_free(t);
}

static void test_oom_new(void **state)
{
    (void)state;
    mem_fail_after(0);
    assert_null(twcc_recv_new());
    mem_fail_never();
    assert_int_equal(mem_live(), 0);
    twcc_recv_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_arrived_nothing_due, setup),
        cmocka_unit_test_setup(test_arrivals_and_losses_are_told_across_the_wrap, setup),
        cmocka_unit_test_setup(test_slow_streams_are_told_less_often, setup),
        cmocka_unit_test_setup(test_reordered_and_repeated_packets, setup),
        cmocka_unit_test_setup(test_much_at_once_is_due_at_once, setup),
        cmocka_unit_test_setup(test_long_gaps_and_pauses, setup),
        cmocka_unit_test_setup(test_no_room_no_harm, setup),
        cmocka_unit_test(test_oom_new),
    };

    return cmocka_run_group_tests_name("twcc_recv", tests, NULL, NULL);
}

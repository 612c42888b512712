/* sctp.c: two associations of one process in a conversation, over a wire that is an array.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sctp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/time.h>

#include <cmocka.h>

#include "base/mem.h"

enum { WIRE_PKTS = 4096, SEEN_MAX = 64 };

struct end {
    struct sctp_assoc *a;
    struct end *peer;
    unsigned ups, downs, messages, resets, writable;
    uint16_t last_stream, last_reset;
    uint32_t last_ppid;
    size_t last_len, longest;
    uint8_t last[16];
    bool deaf; /* what is sent to it is lost */
};

static struct {
    struct end *to;
    uint8_t bytes[1500];
    size_t len;
} wire[WIRE_PKTS];
static unsigned wire_in, wire_out;
static uint64_t now_us = 1000000000;

/* usrsctp asks for the time of day itself, to see how old a packet is before it sends it again: it
 * gets the test's. */
int gettimeofday(struct timeval *tv, void *tz)
{
    (void)tz;
    tv->tv_sec = (time_t)(now_us / 1000000);
    tv->tv_usec = (suseconds_t)(now_us % 1000000);
    return 0;
}

static void output(void *owner, struct slice packet)
{
    struct end *e = owner;

    if (packet.len > e->longest)
        e->longest = packet.len;
    assert_true(packet.len <= sizeof(wire[0].bytes));
    if (e->peer->deaf)
        return;
    assert_true(wire_in - wire_out < WIRE_PKTS);
    wire[wire_in % WIRE_PKTS].to = e->peer;
    memcpy(wire[wire_in % WIRE_PKTS].bytes, packet.p, packet.len);
    wire[wire_in++ % WIRE_PKTS].len = packet.len;
}

static void up(void *owner)
{
    ((struct end *)owner)->ups++;
}

static void down(void *owner)
{
    ((struct end *)owner)->downs++;
}

static void message(void *owner, uint16_t stream, uint32_t ppid, struct slice msg)
{
    struct end *e = owner;

    e->messages++;
    e->last_stream = stream;
    e->last_ppid = ppid;
    e->last_len = msg.len;
    memcpy(e->last, msg.p, msg.len < sizeof(e->last) ? msg.len : sizeof(e->last));
}

static void reset(void *owner, uint16_t stream)
{
    struct end *e = owner;

    e->resets++;
    e->last_reset = stream;
}

static void writable(void *owner)
{
    ((struct end *)owner)->writable++;
}

static const struct sctp_ops ops = {output, up, down, message, reset, writable};

static void deliver(void)
{
    while (wire_out != wire_in) {
        unsigned i = wire_out++ % WIRE_PKTS;
        if (wire[i].to->a)
            sctp_input(wire[i].to->a, slice_of(wire[i].bytes, wire[i].len));
    }
}

/* Lets time pass, delivering what is sent. */
static void pass(uint64_t us)
{
    for (uint64_t until = now_us + us; now_us < until; now_us += SCTP_TICK_US) {
        deliver();
        sctp_tick(now_us);
    }
    deliver();
}

static void open_end(struct end *e, struct end *peer, uint32_t max_message)
{
    struct sctp_conf conf = {5000, 5000, max_message};

    *e = (struct end){.peer = peer};
    e->a = sctp_new(&conf, &ops, e, now_us);
    assert_non_null(e->a);
}

static void pair(struct end *x, struct end *y, uint32_t max_message)
{
    *x = *y = (struct end){0};
    open_end(x, y, max_message);
    open_end(y, x, max_message);
    pass(500000);
    assert_int_equal(x->ups, 1);
    assert_int_equal(y->ups, 1);
}

static void close_both(struct end *x, struct end *y)
{
    struct sctp_assoc *a = x->a, *b = y->a;

    x->a = y->a = NULL;
    sctp_free(a);
    sctp_free(b);
    wire_out = wire_in;
}

static void test_messages_both_ways(void **state)
{
    struct end x, y;
    struct sctp_send_as as = {.stream = 1, .ppid = 51};

    (void)state;
    pair(&x, &y, 65536);
    assert_int_equal(sctp_send(x.a, &as, SLICE_LIT("hello")), 0);
    as.ppid = 53;
    as.unordered = true;
    as.partial = 1;
    assert_int_equal(sctp_send(y.a, &as, SLICE_LIT("world!")), 0);
    pass(100000);
    assert_int_equal(y.messages, 1);
    assert_int_equal(y.last_stream, 1);
    assert_int_equal(y.last_ppid, 51);
    assert_memory_equal(y.last, "hello", 5);
    assert_int_equal(x.last_ppid, 53);
    assert_int_equal(x.last_len, 6);
    close_both(&x, &y);
}

static void test_long_messages_come_whole_in_small_packets(void **state)
{
    static uint8_t big[65536];
    struct end x, y;
    struct sctp_send_as as = {.stream = 0, .ppid = 53};

    (void)state;
    pair(&x, &y, sizeof(big));
    assert_int_equal(sctp_send(x.a, &as, slice_of(big, sizeof(big))), 0);
    pass(1000000);
    assert_int_equal(y.messages, 1);
    assert_int_equal(y.last_len, sizeof(big));
    assert_in_range(x.longest, SCTP_PACKET_MAX - 64, SCTP_PACKET_MAX);
    close_both(&x, &y);
}

static void test_too_long_messages_end_the_association(void **state)
{
    static uint8_t big[4097];
    struct end x, y;
    struct sctp_send_as as = {.stream = 0, .ppid = 53};

    (void)state;
    pair(&x, &y, 4096);
    assert_int_equal(sctp_send(x.a, &as, slice_of(big, 4096)), 0);
    pass(100000);
    assert_int_equal(y.last_len, 4096);
    assert_int_equal(sctp_send(x.a, &as, slice_of(big, 4097)), 0);
    pass(100000);
    assert_int_equal(y.messages, 1);
    assert_int_equal(y.downs, 1);
    close_both(&x, &y);
}

static void test_a_slow_receiver_fills_a_bounded_buffer(void **state)
{
    static uint8_t block[8192];
    struct end x, y;
    struct sctp_send_as as = {.stream = 0, .ppid = 53};
    unsigned taken = 0;

    (void)state;
    pair(&x, &y, sizeof(block));
    y.deaf = true;
    while (sctp_send(x.a, &as, slice_of(block, sizeof(block))) == 0)
        assert_true(++taken <= SCTP_BUFFER_MIN / sizeof(block));
    assert_true(taken >= SCTP_BUFFER_MIN / sizeof(block) / 2);
    assert_int_equal(sctp_send(x.a, &as, slice_of(block, sizeof(block))), -EAGAIN);
    pass(500000);
    assert_int_equal(x.writable, 0);
    y.deaf = false;
    pass(8000000);
    assert_int_equal(y.messages, taken);
    assert_int_equal(x.writable, 1);
    assert_int_equal(sctp_send(x.a, &as, slice_of(block, sizeof(block))), 0);
    close_both(&x, &y);
}

static void test_streams_are_reset(void **state)
{
    struct end x, y;

    (void)state;
    pair(&x, &y, 1024);
    sctp_reset(x.a, 3);
    sctp_reset(x.a, 5); /* waits for the first */
    sctp_reset(x.a, SCTP_STREAMS);
    pass(1000000);
    assert_int_equal(y.resets, 2);
    assert_int_equal(y.last_reset, 5);
    close_both(&x, &y);
}

static void test_closing_aborts_the_other_end(void **state)
{
    struct end x, y;
    struct sctp_send_as as = {.stream = 0, .ppid = 51};

    (void)state;
    pair(&x, &y, 1024);
    struct sctp_assoc *a = x.a;
    sctp_free(a);
    x.a = NULL;
    pass(100000);
    assert_int_equal(y.downs, 1);
    assert_int_equal(sctp_send(y.a, &as, SLICE_LIT("x")), -ENOTCONN);
    sctp_free(y.a);
    y.a = NULL;
}

static void test_nobody_there_ends_it(void **state)
{
    struct end x = {0}, y = {0};

    (void)state;
    y.deaf = true;
    open_end(&x, &y, 1024);
    for (unsigned i = 0; i < 600 && !x.downs; i++)
        pass(1000000);
    assert_int_equal(x.ups, 0);
    assert_int_equal(x.downs, 1);
    sctp_free(x.a);
}

static void test_garbage_is_dropped(void **state)
{
    struct end x, y;
    uint8_t junk[600];

    (void)state;
    pair(&x, &y, 1024);
    srand(7);
    for (unsigned i = 0; i < 2000; i++) {
        size_t len = (size_t)rand() % sizeof(junk);
        for (size_t k = 0; k < len; k++)
            junk[k] = (uint8_t)rand();
        sctp_input(x.a, slice_of(junk, len));
    }
    pass(100000);
    assert_int_equal(x.downs, 0);
    close_both(&x, &y);
}

static void test_many_associations_leave_nothing(void **state)
{
    enum { N = 200 };
    static struct end x[N], y[N];

    (void)state;
    for (unsigned i = 0; i < N; i++) {
        open_end(&x[i], &y[i], 1024);
        open_end(&y[i], &x[i], 1024);
        pass(SCTP_TICK_US);
    }
    pass(1000000);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(x[i].ups, 1);
        close_both(&x[i], &y[i]);
    }
    assert_true(sctp_deadline() != UINT64_MAX);
    pass(3000000);
    assert_int_equal(sctp_deadline(), UINT64_MAX);
}

static void test_oom_makes_no_association_and_leaves_the_others(void **state)
{
    struct end x, y, z = {.peer = &z};
    struct sctp_send_as as = {.stream = 0, .ppid = 51};
    const struct sctp_conf conf = {5000, 5000, 1024};
    unsigned fails = 0;

    (void)state;
    pair(&x, &y, 1024);
    uint64_t live = mem_live();
    for (uint64_t n = 0; n == fails; n++) {
        mem_fail_after(n);
        z.a = sctp_new(&conf, &ops, &z, now_us);
        fails += mem_failed();
        assert_true(mem_failed() == (z.a == NULL));
        mem_fail_never();
        sctp_free(z.a);
        z.a = NULL;
        assert_int_equal(mem_live(), live);
    }
    assert_true(fails > 0);
    mem_fail_after(0); /* what is up needs none of ours */
    assert_int_equal(sctp_send(x.a, &as, SLICE_LIT("on")), 0);
    pass(100000);
    assert_false(mem_failed());
    mem_fail_never();
    assert_int_equal(y.messages, 1);
    close_both(&x, &y);
}

static int start(void **state)
{
    (void)state;
    sctp_start(now_us);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    return sctp_stop() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_both_ways),
        cmocka_unit_test(test_long_messages_come_whole_in_small_packets),
        cmocka_unit_test(test_too_long_messages_end_the_association),
        cmocka_unit_test(test_a_slow_receiver_fills_a_bounded_buffer),
        cmocka_unit_test(test_streams_are_reset),
        cmocka_unit_test(test_closing_aborts_the_other_end),
        cmocka_unit_test(test_nobody_there_ends_it),
        cmocka_unit_test(test_garbage_is_dropped),
        cmocka_unit_test(test_many_associations_leave_nothing),
        cmocka_unit_test(test_oom_makes_no_association_and_leaves_the_others),
    };

    return cmocka_run_group_tests_name("sctp", tests, start, stop);
}

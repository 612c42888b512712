/* udp.c: datagrams through real sockets on loopback: batches, runs, order, borrowed payloads,
 * limits.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

struct pair {
    struct udp_io *io;
    int a, b;
    struct addr at_a, at_b;
};

static struct addr loopback(void)
{
    return (struct addr){.ip = {127, 0, 0, 1}, .family = ADDR_V4};
}

static struct pair open_pair(unsigned slots, size_t slot_bytes)
{
    struct addr any = loopback();
    struct pair p = {.io = udp_io_new(slots, slot_bytes)};

    p.a = udp_open(&any, false, 0);
    p.b = udp_open(&any, false, 1 << 16);
    assert_non_null(p.io);
    assert_true(p.a >= 0 && p.b >= 0);
    p.at_a = udp_local(p.a);
    p.at_b = udp_local(p.b);
    assert_true(p.at_a.port != 0 && p.at_b.port != 0);
    return p;
}

static void close_pair(struct pair *p)
{
    close(p->a);
    close(p->b);
    udp_io_free(p->io);
}

static void wait_readable(int fd)
{
    struct pollfd f = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&f, 1, 5000), 1);
}

static void test_parts_arrive_as_one_datagram(void **state)
{
    struct pair p = open_pair(4, 2048);
    struct udp_msg *m;

    (void)state;
    udp_send(p.io, p.a, &p.at_b, SLICE_LIT("head"), SLICE_LIT("body"), 3);
    udp_send(p.io, p.a, &p.at_b, (struct slice){0}, SLICE_LIT(""), 0);
    udp_send_copy(p.io, p.a, &p.at_b, SLICE_LIT("copied"));
    udp_push(p.io);
    wait_readable(p.b);
    assert_int_equal(udp_recv(p.io, p.b, 4, &m), 3);
    assert_int_equal(m[0].len, 11);
    assert_memory_equal(m[0].p, "headbody\0\0", 11);
    assert_true(addr_eq(&m[0].from, &p.at_a));
    assert_int_equal(m[1].len, 0);
    assert_memory_equal(m[2].p, "copied", 6);
    assert_int_equal(udp_recv(p.io, p.b, 4, &m), 0);
    close_pair(&p);
}

static void test_received_payload_is_forwarded_in_order(void **state)
{
    struct pair p = open_pair(8, 2048);
    struct udp_msg *m;

    (void)state;
    for (uint8_t round = 0; round < 50; round++) {
        for (uint8_t i = 0; i < 6; i++) {
            const uint8_t text[2] = {round, i};
            udp_send_copy(p.io, i % 2 ? p.b : p.a, &p.at_b, slice_of(text, 2));
        }
        udp_push(p.io);
        wait_readable(p.b);
        unsigned n = udp_recv(p.io, p.b, 8, &m);
        assert_int_equal(n, 6);
        for (unsigned i = 0; i < n; i++) /* borrowed: the slots stay until the push */
            udp_send(p.io, p.b, &p.at_a, SLICE_LIT("h"), slice_of(m[i].p, m[i].len), 0);
        udp_push(p.io);
        wait_readable(p.a);
        assert_int_equal(udp_recv(p.io, p.a, 8, &m), 6);
        for (uint8_t i = 0; i < 6; i++) /* a's three came first, each sender's in order */
            assert_int_equal(m[i].p[2], i < 3 ? 2 * i : 2 * (i - 3) + 1);
    }
    close_pair(&p);
}

static void test_full_queue_and_full_slots_are_sent_first(void **state)
{
    struct pair p = open_pair(4, 2048);
    struct udp_msg *m;
    unsigned got = 0;

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        udp_send_copy(p.io, p.a, &p.at_b, SLICE_LIT("x"));
    udp_push(p.io);
    wait_readable(p.b);
    for (unsigned n; (n = udp_recv(p.io, p.b, 3, &m)) > 0; got += n) {
        for (unsigned i = 0; i < n; i++)
            udp_send(p.io, p.b, &p.at_a, (struct slice){0}, slice_of(m[i].p, m[i].len), 0);
    }
    udp_push(p.io);
    assert_int_equal(got, 10);
    assert_int_equal(counter_get(&udp_io_stats(p.io)->sent_pkts), 20);
    close_pair(&p);
}

/* Sends bodies of the given lengths (0 ends) from a to b, each after a head of 4 bytes with its
 * number, and takes them from b again: all there, whole, in order. Returns the reads it took. */
static unsigned relay_lengths(struct pair *p, const unsigned *len, bool gro)
{
    static uint8_t body[1 << 16];
    struct udp_msg *m;
    unsigned sent = 0, got = 0, reads = 0;

    memset(body, 'x', sizeof(body));
    assert_int_equal(gro ? udp_set_gro(p->b) : 0, 0);
    for (; len[sent] > 0; sent++) {
        const uint8_t head[4] = {'n', (uint8_t)sent, 0, 0};
        udp_send(p->io, p->a, &p->at_b, slice_of(head, 4), slice_of(body, len[sent] - 4), 0);
    }
    udp_push(p->io);
    while (got < sent) {
        wait_readable(p->b);
        unsigned n = udp_recv(p->io, p->b, 1, &m);
        reads++;
        for (unsigned i = 0; i < n; i++, got++) {
            assert_int_equal(m[i].len, len[got]);
            assert_int_equal(m[i].p[1], got);
            assert_true(m[i].len == 4 || m[i].p[m[i].len - 1] == 'x');
            assert_true(addr_eq(&m[i].from, &p->at_a));
        }
    }
    assert_int_equal(got, sent);
    assert_int_equal(counter_get(&udp_io_stats(p->io)->sent_pkts), sent);
    return reads;
}

static void test_runs_are_cut_where_they_must_be(void **state)
{
    static const struct {
        unsigned runs, len[70];
    } cases[] = {
        {1, {100}},
        {1, {100, 100, 100}},
        {1, {100, 100, 40}},          /* the last may be shorter */
        {2, {100, 40, 40}},           /* nothing follows the shorter one */
        {2, {40, 100, 100}},          /* longer never */
        {3, {100, 40, 100, 40, 100}}, /* 100+40, 100+40, 100 */
        {1, {4, 4, 4, 4, 4, 4, 4, 4}},
        {2, {30000, 30000, 30000}}, /* 65000 bytes a run */
        {1, {32500, 32500}},        /* exactly */
        {2, {32501, 32501}},        /* one more */
        {2, {65507, 1000}},         /* the longest datagram of all goes alone */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned gro = 0; gro <= 1; gro++) {
            struct pair p = open_pair(8, UDP_DATAGRAM_MAX);
            unsigned n = 0;
            while (cases[i].len[n] > 0)
                n++;
            unsigned reads = relay_lengths(&p, cases[i].len, gro);
            assert_int_equal(reads, gro && udp_io_gso(p.io) ? cases[i].runs : n);
            close_pair(&p);
        }
    }
}

static void test_a_run_has_64_datagrams_at_most(void **state)
{
    unsigned len[131] = {0};

    (void)state;
    for (unsigned n = 63; n <= 129; n++) {
        struct pair p = open_pair(8, UDP_DATAGRAM_MAX);
        for (unsigned i = 0; i < n; i++)
            len[i] = 50;
        unsigned reads = relay_lengths(&p, len, true);
        assert_int_equal(reads, udp_io_gso(p.io) ? (n + 63) / 64 : n);
        close_pair(&p);
    }
}

static void test_runs_keep_to_one_address_and_one_descriptor(void **state)
{
    struct pair p = open_pair(16, UDP_DATAGRAM_MAX);
    struct udp_msg *m;

    (void)state;
    for (uint8_t i = 0; i < 12; i++) { /* a to b, a to a, b to b */
        const uint8_t text[2] = {'t', i};
        udp_send_copy(p.io, i % 3 == 2 ? p.b : p.a, i % 3 == 1 ? &p.at_a : &p.at_b,
                      slice_of(text, 2));
    }
    udp_push(p.io);
    wait_readable(p.a);
    assert_int_equal(udp_recv(p.io, p.a, 16, &m), 4);
    for (uint8_t i = 0; i < 4; i++)
        assert_int_equal(m[i].p[1], 3 * i + 1);
    wait_readable(p.b);
    assert_int_equal(udp_recv(p.io, p.b, 16, &m), 8);
    for (uint8_t i = 0; i < 4; i++) { /* a's first: its chain is older */
        assert_int_equal(m[i].p[1], 3 * i);
        assert_int_equal(m[4 + i].p[1], 3 * i + 2);
    }
    close_pair(&p);
}

/* Descriptors 256 apart share a tail of the queue. */
static void test_order_holds_when_descriptors_share_a_tail(void **state)
{
    struct pair p = open_pair(64, UDP_DATAGRAM_MAX);
    struct addr any = loopback();
    int first = udp_open(&any, false, 0), twin = fcntl(first, F_DUPFD, first + 256);
    struct udp_msg *m;

    (void)state;
    assert_int_equal(twin, first + 256);
    struct addr at = udp_local(first);
    for (uint8_t i = 0; i < 20; i++)
        udp_send_copy(p.io, i % 2 ? twin : first, &p.at_b, slice_of(&i, 1));
    udp_push(p.io);
    wait_readable(p.b);
    assert_int_equal(udp_recv(p.io, p.b, 64, &m), 20);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(m[i].p[0], i);
        assert_true(addr_eq(&m[i].from, &at));
    }
    close(first);
    close(twin);
    close_pair(&p);
}

static void test_run_that_the_kernel_refuses_is_sent_singly(void **state)
{
    static const unsigned len[] = {100, 100, 100, 60, 0};
    struct pair p = open_pair(8, UDP_DATAGRAM_MAX);
    int on = 1;

    (void)state;
    /* A socket without checksums takes no runs: EINVAL, as for datagrams above the MTU. */
    assert_int_equal(setsockopt(p.a, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    assert_int_equal(relay_lengths(&p, len, true), 4);
    assert_int_equal(counter_get(&udp_io_stats(p.io)->failed), 0);
    close_pair(&p);
}

static void test_many_heads_and_parts_fill_the_queue_early(void **state)
{
    uint8_t head[UDP_HEAD_MAX];
    struct pair p = open_pair(2, UDP_DATAGRAM_MAX);
    struct udp_msg *m;
    unsigned got = 0;

    (void)state;
    assert_int_equal(udp_set_gro(p.b), 0);
    for (unsigned i = 0; i < 200; i++) { /* one run until 64, but only 512 bytes of heads */
        memset(head, (int)i, sizeof(head));
        udp_send(p.io, p.a, &p.at_b, slice_of(head, sizeof(head)), SLICE_LIT("body"), 2);
    }
    udp_push(p.io);
    wait_readable(p.b);
    for (unsigned n; (n = udp_recv(p.io, p.b, 1, &m)) > 0;) {
        for (unsigned i = 0; i < n; i++, got++) {
            assert_int_equal(m[i].len, UDP_HEAD_MAX + 6);
            assert_int_equal(m[i].p[0], got);
            assert_int_equal(m[i].p[UDP_HEAD_MAX - 1], got);
            assert_memory_equal(&m[i].p[UDP_HEAD_MAX], "body\0\0", 6);
        }
    }
    assert_int_equal(got, 200);
    close_pair(&p);
}

static void test_expectation_follows_what_comes_together(void **state)
{
    static const struct {
        unsigned waiting, expect, got, then;
    } cases[] = {
        {1, 0, 1, 8}, /* one after the other: seldom a look for a second */
        {1, 8, 1, 9},    {3, 15, 1, 16}, {1, 16, 1, 8}, /* there was none */
        {3, 16, 2, 32},                                 /* there was: ask for twice as many */
        {3, 32, 3, 24},  {0, 32, 0, 16},                /* nothing: half as many */
        {6, 128, 4, 64},                                /* the budget is 4 */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p = open_pair(8, 2048);
        struct udp_msg *m;
        unsigned expect = cases[i].expect;
        for (unsigned k = 0; k < cases[i].waiting; k++)
            udp_send_copy(p.io, p.a, &p.at_b, SLICE_LIT("x"));
        udp_push(p.io);
        if (cases[i].waiting > 0)
            wait_readable(p.b);
        assert_int_equal(udp_recv_expected(p.io, p.b, &expect, 4, &m), cases[i].got);
        assert_int_equal(expect, cases[i].then);
        close_pair(&p);
    }
}

static void test_longer_than_a_slot_is_dropped_and_counted(void **state)
{
    static uint8_t big[1500];
    struct pair p = open_pair(4, 1000);
    struct udp_msg *m;

    (void)state;
    udp_send(p.io, p.a, &p.at_b, (struct slice){0}, slice_of(big, 1000), 0);
    udp_send(p.io, p.a, &p.at_b, (struct slice){0}, slice_of(big, 1001), 0);
    udp_send(p.io, p.a, &p.at_b, (struct slice){0}, SLICE_LIT("last"), 0);
    udp_push(p.io);
    wait_readable(p.b);
    assert_int_equal(udp_recv(p.io, p.b, 4, &m), 2);
    assert_int_equal(m[0].len, 1000);
    assert_memory_equal(m[1].p, "last", 4);
    assert_int_equal(counter_get(&udp_io_stats(p.io)->truncated), 1);
    close_pair(&p);
}

static void test_refused_datagram_does_not_hold_up_the_others(void **state)
{
    struct pair p = open_pair(4, 2048);
    struct addr nowhere = {.ip = {0x20, 1}, .port = 9, .family = ADDR_V6};
    struct udp_msg *m;

    (void)state;
    udp_send_copy(p.io, p.a, &p.at_b, SLICE_LIT("1"));
    udp_send_copy(p.io, p.a, &nowhere, SLICE_LIT("2")); /* IPv6 from an IPv4 socket */
    udp_send_copy(p.io, p.a, &p.at_b, SLICE_LIT("3"));
    udp_push(p.io);
    wait_readable(p.b);
    assert_int_equal(udp_recv(p.io, p.b, 4, &m), 2);
    assert_int_equal(m[1].p[0], '3');
    assert_int_equal(counter_get(&udp_io_stats(p.io)->failed), 1);
    close_pair(&p);
}

static void test_open_shares_a_port_only_when_told(void **state)
{
    struct addr any = loopback(), none = {0};
    int first = udp_open(&any, true, 0);
    struct addr at = udp_local(first);

    (void)state;
    int second = udp_open(&at, true, 0);
    assert_true(second >= 0);
    assert_int_equal(udp_open(&at, false, 0), -EADDRINUSE);
    assert_int_equal(udp_open(&none, false, 0), -EAFNOSUPPORT);
    assert_int_equal(udp_set_dont_fragment(first, true), 0);
    assert_int_equal(udp_set_dont_fragment(first, false), 0);
    close(first);
    close(second);
}

static void test_own_addresses_have_no_port(void **state)
{
    struct addr own[64];
    int n = udp_own_addresses(own, 64);

    (void)state;
    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        assert_true(own[i].port == 0 && own[i].family != ADDR_NONE);
}

static void test_oom_io_is_whole_or_not_there(void **state)
{
    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct udp_io *io = udp_io_new(4, 100);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(io == NULL, failed);
        udp_io_free(io);
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_arrive_as_one_datagram),
        cmocka_unit_test(test_received_payload_is_forwarded_in_order),
        cmocka_unit_test(test_full_queue_and_full_slots_are_sent_first),
        cmocka_unit_test(test_runs_are_cut_where_they_must_be),
        cmocka_unit_test(test_a_run_has_64_datagrams_at_most),
        cmocka_unit_test(test_runs_keep_to_one_address_and_one_descriptor),
        cmocka_unit_test(test_order_holds_when_descriptors_share_a_tail),
        cmocka_unit_test(test_run_that_the_kernel_refuses_is_sent_singly),
        cmocka_unit_test(test_many_heads_and_parts_fill_the_queue_early),
        cmocka_unit_test(test_expectation_follows_what_comes_together),
        cmocka_unit_test(test_longer_than_a_slot_is_dropped_and_counted),
        cmocka_unit_test(test_refused_datagram_does_not_hold_up_the_others),
        cmocka_unit_test(test_open_shares_a_port_only_when_told),
        cmocka_unit_test(test_own_addresses_have_no_port),
        cmocka_unit_test(test_oom_io_is_whole_or_not_there),
    };

    return cmocka_run_group_tests_name("udp", tests, NULL, NULL);
}

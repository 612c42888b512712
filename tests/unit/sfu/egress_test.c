/* The arena: order, lifetimes, fullness. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/egress.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

struct seen {
    struct slice lent[64];
    unsigned n, pushes, wakes, tcp;
    bool refuse;
};

static void on_udp(void *arg, uint16_t sock, const struct addr *to, struct slice dgram)
{
    struct seen *s = arg;

    assert_int_equal(sock, 3);
    assert_int_equal(to->port, 7);
    s->lent[s->n++] = dgram;
}

static bool on_tcp(void *arg, struct ice_tcp *tcp, struct slice packet)
{
    struct seen *s = arg;

    assert_non_null(tcp);
    assert_int_equal(packet.p[0], 'T');
    s->tcp++;
    return !s->refuse;
}

static void on_push(void *arg)
{
    struct seen *s = arg;

    for (unsigned i = 0; i < s->n; i++) { /* what was lent is as it was */
        assert_int_equal(s->lent[i].p[0], s->lent[i].len & 0xff);
        assert_int_equal(s->lent[i].p[s->lent[i].len - 1], s->lent[i].len & 0xff);
    }
    s->n = 0;
    s->pushes++;
}

static void on_wake(void *arg)
{
    ((struct seen *)arg)->wakes++;
}

static const struct egress_ops ops = {on_udp, on_tcp, on_push, on_wake};
static const struct media_path udp = {.sock = 3, .remote = {.family = ADDR_V4, .port = 7}};

static void put(struct egress *e, size_t len)
{
    memset(egress_reserve(e), (int)len, len);
    egress_commit(e, &udp, len);
}

static void test_packets_lie_still_until_the_push(void **state)
{
    struct egress e;
    struct seen s = {0};

    (void)state;
    assert_int_equal(egress_init(&e, 3 * EGRESS_PACKET_MAX, &ops, &s), 0);
    egress_flush(&e);
    assert_int_equal(s.pushes, 0);
    put(&e, 100);
    put(&e, 200);
    assert_int_equal(s.wakes, 1);
    assert_int_equal(s.n, 2);
    assert_ptr_equal(s.lent[1].p, s.lent[0].p + 100); /* side by side */
    egress_flush(&e);
    assert_int_equal(s.pushes, 1);
    put(&e, EGRESS_PACKET_MAX);
    assert_int_equal(s.wakes, 2);
    put(&e, EGRESS_PACKET_MAX);
    put(&e, EGRESS_PACKET_MAX);
    assert_int_equal(s.pushes, 1);
    put(&e, 1); /* full: pushes first */
    assert_int_equal(s.pushes, 2);
    assert_int_equal(s.n, 1);
    egress_flush(&e);
    assert_int_equal(counter_get(&e.pkts), 6);
    assert_int_equal(counter_get(&e.bytes), 300 + 3 * EGRESS_PACKET_MAX + 1);
    egress_fini(&e);
}

static void test_connections_copy(void **state)
{
    struct egress e;
    struct seen s = {0};
    const struct media_path tcp = {.tcp = (struct ice_tcp *)&s};

    (void)state;
    assert_int_equal(egress_init(&e, 0, &ops, &s), 0); /* at least one packet */
    put(&e, 50);
    for (unsigned i = 0; i < 100; i++) {
        egress_reserve(&e)[0] = 'T';
        egress_commit(&e, &tcp, 500);
    }
    assert_int_equal(s.tcp, 100);
    s.refuse = true;
    egress_reserve(&e)[0] = 'T';
    egress_commit(&e, &tcp, 500);
    assert_int_equal(counter_get(&e.tcp_full), 1);
    assert_int_equal(counter_get(&e.pkts), 101);
    egress_flush(&e);
    egress_fini(&e);
    egress_fini(&e);
}

static void test_no_memory(void **state)
{
    struct egress e;

    (void)state;
    mem_fail_after(0);
    assert_int_equal(egress_init(&e, 0, &ops, NULL), -ENOMEM);
    mem_fail_never();
    egress_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets_lie_still_until_the_push),
        cmocka_unit_test(test_connections_copy),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

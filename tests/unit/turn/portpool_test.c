/* portpool.c: each port once, pairs aligned, exact at the edges and under contention.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/portpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>

#include <cmocka.h>

#include "base/rand.h"

static struct portpool p;

static void test_every_port_is_given_once(void **state)
{
    static const struct {
        uint16_t min, max;
    } ranges[] = {{49152, 65535}, {1024, 1024}, {65535, 65535}, {50001, 50130}, {63, 64}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        unsigned n = ranges[i].max - ranges[i].min + 1u;
        portpool_init(&p, ranges[i].min, ranges[i].max);
        for (unsigned k = 0; k < n; k++) {
            uint64_t r;
            rand_bytes(&r, sizeof(r));
            int port = portpool_take(&p, PORTPOOL_ANY, r);
            assert_in_range(port, ranges[i].min, ranges[i].max);
            assert_true(portpool_is_taken(&p, (uint16_t)port));
            assert_int_equal(portpool_in_use(&p), k + 1);
        }
        assert_int_equal(portpool_take(&p, PORTPOOL_ANY, 5), -ENOSPC);
        for (unsigned port = ranges[i].min; port <= ranges[i].max; port++)
            portpool_give(&p, (uint16_t)port);
        assert_int_equal(portpool_in_use(&p), 0);
        assert_false(portpool_is_taken(&p, ranges[i].min));
    }
}

static void test_even_ports_and_pairs(void **state)
{
    (void)state;
    portpool_init(&p, 50001, 50006); /* pairs: 50002, 50004; 50006 has no neighbour */
    assert_true(portpool_take(&p, PORTPOOL_PAIR, 1) % 2 == 0);
    assert_true(portpool_take(&p, PORTPOOL_PAIR, 2) % 2 == 0);
    assert_int_equal(portpool_take(&p, PORTPOOL_PAIR, 3), -ENOSPC);
    assert_int_equal(portpool_in_use(&p), 4);
    assert_int_equal(portpool_take(&p, PORTPOOL_EVEN, 4), 50006);
    assert_int_equal(portpool_take(&p, PORTPOOL_EVEN, 5), -ENOSPC);
    assert_int_equal(portpool_take(&p, PORTPOOL_ANY, 6), 50001);
    assert_int_equal(portpool_in_use(&p), 6);
}

static void test_ports_outside_the_range_are_never_taken(void **state)
{
    (void)state;
    portpool_init(&p, 50000, 50010);
    assert_false(portpool_is_taken(&p, 49999));
    assert_false(portpool_is_taken(&p, 50011));
    assert_false(portpool_is_taken(&p, 22));
    assert_int_equal(portpool_in_use(&p), 0);
}

static void test_random_spreads_the_ports(void **state)
{
    uint8_t seen[65536] = {0};
    unsigned distinct = 0;

    (void)state;
    portpool_init(&p, 49152, 65535);
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t r;
        rand_bytes(&r, sizeof(r));
        int port = portpool_take(&p, PORTPOOL_ANY, r);
        distinct += !seen[port];
        seen[port] = 1;
        portpool_give(&p, (uint16_t)port);
    }
    assert_true(distinct > 3000); /* of 16384, chosen evenly: about 3550 */
}

static void *churn(void *arg)
{
    unsigned mine[64], n = 0, *errors = arg;
    struct rand_src rnd;

    rand_src_init(&rnd, (uint64_t)(uintptr_t)arg);
    for (unsigned i = 0; i < 50000; i++) {
        if (n < 64 && rand_src_below(&rnd, 2)) {
            int port = portpool_take(&p, PORTPOOL_ANY, rand_src_u64(&rnd));
            if (port > 0)
                mine[n++] = (unsigned)port;
        } else if (n > 0) {
            *errors += !portpool_is_taken(&p, (uint16_t)mine[--n]);
            portpool_give(&p, (uint16_t)mine[n]);
        }
    }
    while (n > 0)
        portpool_give(&p, (uint16_t)mine[--n]);
    return NULL;
}

static void test_threads_never_share_a_port(void **state)
{
    pthread_t thread[4];
    unsigned errors[4] = {0};

    (void)state;
    portpool_init(&p, 50000, 50199);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, &errors[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(errors[i], 0);
    }
    assert_int_equal(portpool_in_use(&p), 0); /* a port given twice would have asserted */
}

static void test_a_port_is_open_for_its_own_transport_only(void **state)
{
    (void)state;
    portpool_init(&p, 50000, 50001);
    assert_int_equal(portpool_worker(&p, 50000, false), -ENOENT);
    int port = portpool_take(&p, PORTPOOL_EVEN, 0);
    assert_int_equal(port, 50000);
    assert_int_equal(portpool_worker(&p, 50000, false), -ENOENT); /* taken, no socket yet */
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        for (unsigned worker = 0; worker <= PORTPOOL_WORKER_MAX; worker += PORTPOOL_WORKER_MAX) {
            portpool_open(&p, 50000, worker, tcp);
            assert_int_equal(portpool_worker(&p, 50000, tcp), worker);
            assert_int_equal(portpool_worker(&p, 50000, !tcp), -ENOENT);
            assert_int_equal(portpool_worker(&p, 50001, tcp), -ENOENT);
        }
    }
    portpool_give(&p, 50000);
    assert_int_equal(portpool_worker(&p, 50000, true), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_port_is_given_once),
        cmocka_unit_test(test_even_ports_and_pairs),
        cmocka_unit_test(test_ports_outside_the_range_are_never_taken),
        cmocka_unit_test(test_random_spreads_the_ports),
        cmocka_unit_test(test_threads_never_share_a_port),
        cmocka_unit_test(test_a_port_is_open_for_its_own_transport_only),
    };

    return cmocka_run_group_tests_name("portpool", tests, NULL, NULL);
}

/* offload_plan.c: which channels the kernel may relay, in which words, and until when.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/offload_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#define T0 (1000 * US_PER_S)

static struct addr at(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return a;
}

/* A worker 3 with one relay address and one allocation with one open channel. */
struct world {
    struct turn_relay relay;
    struct turn_shared shared;
    struct alloc a;
    struct chan c;
    struct addr listener;
    struct offload_plan plan;
};

static struct world *world_new(void)
{
    struct world *w = mem_zalloc(sizeof(*w));

    assert_non_null(w);
    w->relay.bound = at("192.0.2.1");
    w->relay.shown = at("203.0.113.1");
    portpool_init(&w->relay.pool, 20000, 29999);
    w->shared.relays = &w->relay;
    w->shared.n_relays = 1;
    w->listener = at("192.0.2.1:3478");
    w->a.tuple.client = at("198.51.100.7:40000");
    w->a.relayed = at("192.0.2.1:20002");
    w->a.until_us = T0 + 600 * US_PER_S;
    w->a.at = 3;
    w->c = (struct chan){.peer = at("198.51.100.9:5004"),
                         .number = 0x4abc,
                         .until_us = T0 + 590 * US_PER_S,
                         .perm_until_us = T0 + 300 * US_PER_S};
    return w;
}

static bool planned(struct world *w)
{
    return offload_plan_channel(&w->plan, &w->shared, 3, &w->a, &w->c, &w->listener, T0);
}

/* Memory that holds these bytes: the words of the maps are in network order. */
#define assert_bytes(at, ...)                                                      \
    do {                                                                           \
        static const uint8_t want[] = {__VA_ARGS__};                               \
        _Static_assert(sizeof(want) == sizeof(at), "the whole of it is compared"); \
        assert_memory_equal(&(at), want, sizeof(want));                            \
    } while (0)

static void test_an_open_channel_in_the_program_s_words(void **state)
{
    struct world *w = world_new();

    (void)state;
    assert_true(planned(w));
    assert_bytes(w->plan.up_key, 192, 0, 2, 1, 198, 51, 100, 7, 3478 >> 8, 3478 & 0xff, 40000 >> 8,
                 40000 & 0xff, 0x4a, 0xbc, 0, 0);
    assert_bytes(w->plan.down_key, 192, 0, 2, 1, 198, 51, 100, 9, 20002 >> 8, 20002 & 0xff,
                 5004 >> 8, 5004 & 0xff);
    assert_bytes(w->plan.up, 192, 0, 2, 1, 198, 51, 100, 9, 20002 >> 8, 20002 & 0xff, 5004 >> 8,
                 5004 & 0xff, 0x4a, 0xbc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    assert_bytes(w->plan.down, 192, 0, 2, 1, 198, 51, 100, 7, 3478 >> 8, 3478 & 0xff, 40000 >> 8,
                 40000 & 0xff, 0x4a, 0xbc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    mem_free(w);
}

static void test_it_ends_with_the_first_of_three(void **state)
{
    struct world *w = world_new();

    (void)state;
    assert_true(planned(w));
    assert_int_equal(w->plan.until_us, w->c.perm_until_us);
    w->c.until_us = T0 + 10;
    assert_true(planned(w));
    assert_int_equal(w->plan.until_us, T0 + 10);
    w->a.until_us = T0 + 1;
    assert_true(planned(w));
    assert_int_equal(w->plan.until_us, T0 + 1);
    w->a.until_us = T0;
    assert_false(planned(w));
    w->a.until_us = w->c.until_us = UINT64_MAX;
    w->c.perm_until_us = 0; /* never had one */
    assert_false(planned(w));
    w->c.perm_until_us = UINT64_MAX;
    w->c.until_us = T0;
    assert_false(planned(w));
    mem_free(w);
}

static void test_the_ipv4_half_of_a_dual_allocation(void **state)
{
    struct world *w = world_new();

    (void)state;
    w->a.second.relayed = at("[2001:db8::1]:20003");
    w->a.second.until_us = T0; /* the other half counts for nothing */
    assert_true(planned(w));
    alloc_swap(&w->a);
    assert_true(planned(w));
    w->a.second.until_us = T0 + 5;
    assert_true(planned(w));
    assert_int_equal(w->plan.until_us, T0 + 5);
    w->a.second = (struct alloc_second){0};
    assert_false(planned(w));
    mem_free(w);
}

/* Each of these alone keeps a channel in user space. */
static void test_what_stays_in_user_space(void **state)
{
    static const struct bucket_rule rule = {1000, 1};
    static struct alloc_mobile lost = {.lost = true};

    (void)state;
    for (unsigned i = 0;; i++) {
        struct world *w = world_new();
        assert_true(planned(w));
        switch (i) {
        case 0:
            w->a.tuple.transport = FIVE_TUPLE_TCP;
            break;
        case 1:
            w->a.tuple.transport = FIVE_TUPLE_TLS;
            break;
        case 2:
            w->a.tuple.transport = FIVE_TUPLE_DTLS;
            break;
        case 3: /* behind a proxy */
            w->a.via = at("198.51.100.1:1");
            break;
        case 4:
            w->a.moving = true;
            break;
        case 5:
            w->a.mobile = &lost;
            break;
        case 6: /* its client comes in by another worker */
            w->a.at = 2;
            break;
        case 7:
            w->a.tcp = true;
            break;
        case 8:
            w->shared.limits.throttle.packets = rule;
            break;
        case 9:
            w->shared.limits.throttle.bandwidth = rule;
            break;
        case 10:
            w->a.throttle.user = &rule;
            break;
        case 11:
            w->a.tuple.client = at("[2001:db8::7]:40000");
            break;
        case 12:
            w->listener = at("[2001:db8::1]:3478");
            break;
        case 13:
            w->a.relayed = at("[2001:db8::1]:20002");
            break;
        case 14:
            w->c.peer = at("[2001:db8::9]:5004");
            break;
        case 15:
            w->c.peer.port = 0;
            break;
        case 16: /* a relayed address of ours, as clients see it and as it is */
            w->c.peer = at("203.0.113.1:20000");
            break;
        case 17:
            w->c.peer = at("192.0.2.1:29999");
            break;
        case 18:
            w->c.guard = &w->relay.pool;
            break;
        default:
            mem_free(w);
            return;
        }
        w->plan.until_us = 77;
        if (planned(w))
            fail_msg("case %u", i);
        assert_int_equal(w->plan.until_us, 77); /* untouched */
        mem_free(w);
    }
}

static void test_ports_beside_the_relay_s_are_anybody_s(void **state)
{
    static const char *const beside[] = {"192.0.2.1:19999", "203.0.113.1:30000"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        struct world *w = world_new();
        w->c.peer = at(beside[i]);
        assert_true(planned(w));
        mem_free(w);
    }
}

static void test_a_limit_on_new_peers_is_no_limit_on_packets(void **state)
{
    struct world *w = world_new();

    (void)state;
    w->shared.limits.throttle.peers = (struct bucket_rule){10000, 100};
    assert_true(planned(w));
    mem_free(w);
}

static void test_sameness(void **state)
{
    struct world *w = world_new();

    (void)state;
    assert_true(planned(w));
    struct offload_plan first = w->plan;
    w->c.until_us = T0 + 1;
    assert_true(planned(w));
    assert_true(offload_plan_same(&first, &w->plan));
    w->c.peer.port++;
    assert_true(planned(w));
    assert_false(offload_plan_same(&first, &w->plan));
    w->c.peer.port--;
    w->c.number++;
    assert_true(planned(w));
    assert_false(offload_plan_same(&first, &w->plan));
    mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_open_channel_in_the_program_s_words),
        cmocka_unit_test(test_it_ends_with_the_first_of_three),
        cmocka_unit_test(test_the_ipv4_half_of_a_dual_allocation),
        cmocka_unit_test(test_what_stays_in_user_space),
        cmocka_unit_test(test_ports_beside_the_relay_s_are_anybody_s),
        cmocka_unit_test(test_a_limit_on_new_peers_is_no_limit_on_packets),
        cmocka_unit_test(test_sameness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

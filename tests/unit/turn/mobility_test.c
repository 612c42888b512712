/* mobility.c and ticket.c: allocations follow their clients, and nobody else.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/mobility.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/fake_relay.h"

#define PEER "8.8.8.8:9"

static int setup(void **state)
{
    static struct fake_relay f;

    *state = &f;
    return fake_relay_init(&f);
}

static int teardown(void **state)
{
    fake_relay_fini(*state);
    return 0;
}

static struct fake_client at(const char *addr, const char *user, const char *password)
{
    struct fake_client c;

    fake_client_init(&c, addr, user, password);
    return c;
}

static struct fake_client ann(const char *addr)
{
    return at(addr, "ann", "of green gables");
}

static void test_ticket_is_sealed(void **state)
{
    static const struct ticket cases[] = {
        {0, 0, 0}, {255, TICKET_SERIAL_MAX, UINT16_MAX}, {3, UINT64_C(0x1122334455), 7}, {3, 1, 8}};
    uint8_t key[TICKET_KEY_BYTES] = {1}, other[TICKET_KEY_BYTES] = {2};
    uint8_t sealed[ARRAY_LEN(cases)][TICKET_BYTES];
    struct ticket got = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *a = sealed[i];
        assert_int_equal(ticket_seal(a, &cases[i], key), 0);
        for (size_t k = 0; k < i; k++) /* nothing of one shows in another */
            assert_memory_not_equal(a + 22, sealed[k] + 22, 10);
        assert_int_equal(ticket_open(&got, slice_of(a, TICKET_BYTES), key), 0);
        assert_int_equal(got.worker, cases[i].worker);
        assert_int_equal(got.serial, cases[i].serial);
        assert_int_equal(got.moves, cases[i].moves);
        assert_int_equal(ticket_open(&got, slice_of(a, TICKET_BYTES), other), -EACCES);
        for (size_t n = 0; n < TICKET_BYTES; n++) {
            assert_int_equal(ticket_open(&got, slice_of(a, n), key), -EBADMSG);
            uint8_t keep = a[n];
            a[n] = keep == 'A' ? 'B' : 'A';
            assert_int_equal(ticket_open(&got, slice_of(a, TICKET_BYTES), key), -EACCES);
            a[n] = '*';
            assert_int_equal(ticket_open(&got, slice_of(a, TICKET_BYTES), key), -EBADMSG);
            a[n] = keep;
        }
    }
}

static void test_allocate_gives_a_ticket_to_who_may_have_one(void **state)
{
    static const struct {
        bool allowed, tcp;
        size_t len;
        int want;
    } cases[] = {{true, false, 0, 0},  {true, false, 1, 400},  {false, false, 0, 405},
                 {true, true, 0, 405}, {false, false, 1, 400}, {false, true, 0, 405}};
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c = ann("203.0.113.7:1");
        uint8_t buf[512];
        struct wr w = wr_init(buf, sizeof(buf));
        struct slice v;
        c.tuple.client.port = (uint16_t)(100 + i);
        c.tuple.transport = cases[i].tcp ? FIVE_TUPLE_TCP : FIVE_TUPLE_UDP;
        f->shared.limits.mobility = cases[i].allowed;
        fake_challenge(f, &c);
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (cases[i].tcp ? 6u : 17u) << 24);
        stun_put(&w, STUN_ATTR_MOBILITY_TICKET, slice_of("x", cases[i].len));
        if (fake_request(f, &c, &w) != cases[i].want)
            fail_msg("case %zu", i);
        assert_int_equal(fake_find(f, STUN_ATTR_MOBILITY_TICKET, &v), cases[i].want == 0);
    }
    struct fake_client c = ann("203.0.113.7:1");
    struct slice v;
    assert_int_equal(fake_allocate(f, &c), 0); /* not asked for */
    assert_false(fake_find(f, STUN_ATTR_MOBILITY_TICKET, &v));
}

/* The client has not heard yet: both 5-tuples work, data goes to the old one until the client
 * sends from the new one. */
static void test_old_place_is_kept_until_data_comes_from_the_new_one(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES], first[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    struct alloc *alloc = fake_alloc(f, &a);
    struct addr relayed = alloc->relayed;
    assert_int_equal(fake_bind(f, &a, 0x4000, PEER), 0);
    memcpy(first, ticket, sizeof(first));
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    assert_memory_not_equal(ticket, first, sizeof(first));
    assert_ptr_equal(fake_alloc(f, &a), alloc);
    assert_ptr_equal(fake_alloc(f, &b), alloc);
    assert_true(five_tuple_eq(&alloc->tuple, &a.tuple));
    assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_true(five_tuple_eq(&alloc->tuple, &a.tuple));
    assert_int_equal(fake_permit(f, &b, "8.8.4.4"), 0); /* a request is no data */
    assert_true(five_tuple_eq(&alloc->tuple, &a.tuple));
    assert_int_equal(fake_channel(f, &b, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_true(five_tuple_eq(&alloc->tuple, &b.tuple));
    assert_null(fake_alloc(f, &a));
    assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
    assert_true(addr_eq(&alloc->relayed, &relayed));
    assert_int_equal(f->opened, 1);
    assert_int_equal(fake_ports(f), 1);
    assert_int_equal(quota_in_use(f->shared.quota), 1);
    /* The old place is free for another allocation. */
    assert_int_equal(fake_allocate(f, &a), 0);
    assert_int_equal(fake_refresh(f, &b, 0), 0);
    assert_int_equal(fake_ports(f), 1);
}

static void test_send_settles_too(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    assert_int_equal(fake_permit(f, &a, "8.8.8.8"), 0);
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    assert_int_equal(fake_send_indication(f, &b, PEER, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_null(fake_alloc(f, &a));
}

static void test_wrong_tickets(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    struct fake_client thief = at("198.18.5.5:3", "bob", "builder");
    uint8_t ticket[TICKET_BYTES], old[TICKET_BYTES], bad[TICKET_BYTES];
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    memcpy(old, ticket, sizeof(old));
    memcpy(bad, ticket, sizeof(bad));
    bad[20] = bad[20] == 'A' ? 'B' : 'A';
    assert_int_equal(fake_move(f, &b, bad, 600), 437);
    assert_int_equal(fake_move(f, &thief, ticket, 600), 441);
    assert_null(fake_alloc(f, &thief));
    assert_int_equal(fake_move(f, &a, ticket, 600), 400); /* it has not moved */
    fake_begin(&b, &w, STUN_REFRESH);
    stun_put(&w, STUN_ATTR_MOBILITY_TICKET, SLICE_LIT("short"));
    assert_int_equal(fake_request(f, &b, &w), 400);
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    struct fake_client c = ann("198.18.5.5:4"), tunneled = ann("[2002:808:808::1]:4");
    assert_int_equal(fake_move(f, &c, old, 600), 437); /* used */
    assert_int_equal(fake_move(f, &tunneled, ticket, 600), 405);
    assert_int_equal(fake_move(f, &c, ticket, 600), 0);
    assert_null(fake_alloc(f, &b)); /* moved on before it said anything */
    f->shared.limits.mobility = false;
    assert_int_equal(fake_move(f, &b, ticket, 600), 405);
    f->shared.limits.mobility = true;
    assert_int_equal(fake_refresh(f, &a, 0), 0);
    assert_int_equal(fake_move(f, &b, ticket, 600), 437); /* there is nothing any more */
}

static void test_retransmission_gets_the_answer_again(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES], old[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    memcpy(old, ticket, sizeof(old));
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    uint64_t tids = b.tids;
    f->now_us += 30 * US_PER_S;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t again[TICKET_BYTES];
        memcpy(again, old, sizeof(again));
        b.tids = tids - 1;
        assert_int_equal(fake_move(f, &b, again, 600), i ? 400 : 0);
        if (i == 0) { /* what it got is as good as the first answer's */
            struct fake_client c = ann("198.18.5.5:4");
            assert_int_equal(fake_move(f, &c, again, 600), 0);
            memcpy(ticket, again, sizeof(ticket));
            assert_int_equal(fake_move(f, &b, ticket, 600), 0);
        }
        b.tids = tids;
    }
    assert_int_equal(f->opened, 1);
}

static void test_refresh_with_ticket_and_zero_ends_it(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    assert_int_equal(fake_move(f, &b, ticket, 0), 0);
    assert_null(fake_alloc(f, &a));
    assert_null(fake_alloc(f, &b));
    assert_int_equal(f->opened, 0);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
}

static void test_a_lost_connection_leaves_time_to_come_by_another(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES];

    a.tuple.transport = FIVE_TUPLE_TCP;
    for (unsigned late = 0; late < 2; late++) {
        assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
        turn_core_client_gone(&f->core, &a.tuple, f->now_us);
        fake_pass(f, MOBILITY_GRACE_US - US_PER_S + late * 2 * US_PER_S);
        assert_int_equal(f->opened, !late);
        assert_int_equal(fake_move(f, &b, ticket, 600), late ? 437 : 0);
        if (late)
            break;
        assert_true(five_tuple_eq(&fake_alloc(f, &b)->tuple, &b.tuple)); /* at once */
        fake_pass(f, 500 * US_PER_S);
        assert_int_equal(f->opened, 1);
        assert_int_equal(fake_refresh(f, &b, 0), 0);
    }
    /* While it is moving, the other one remains. */
    struct fake_client c = ann("198.18.5.5:9");
    c.tuple.transport = FIVE_TUPLE_TLS;
    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    assert_int_equal(fake_move(f, &c, ticket, 600), 0);
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    assert_non_null(fake_alloc(f, &a));
    assert_null(fake_alloc(f, &c));
    assert_int_equal(fake_move(f, &c, ticket, 600), 0);
    turn_core_client_gone(&f->core, &a.tuple, f->now_us);
    assert_true(five_tuple_eq(&fake_alloc(f, &c)->tuple, &c.tuple));
    fake_pass(f, 500 * US_PER_S);
    assert_int_equal(f->opened, 1);
}

/* Another connection from the same address and port, perhaps somebody else's behind a NAT: it is
 * not the client that was lost. */
static void test_who_comes_to_a_lost_place_is_a_stranger(void **state)
{
    static const enum five_tuple_transport transports[] = {FIVE_TUPLE_TCP, FIVE_TUPLE_DTLS};
    struct fake_relay *f = *state;
    uint8_t ticket[TICKET_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
        struct fake_client a = ann("203.0.113.7:1"), b = at("203.0.113.7:1", "bob", "builder");
        a.tuple.transport = b.tuple.transport = transports[i];
        assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
        assert_int_equal(fake_bind(f, &a, 0x4000, PEER), 0);
        turn_core_client_gone(&f->core, &a.tuple, f->now_us);
        assert_int_equal(fake_channel(f, &b, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
        assert_int_equal(fake_send_indication(f, &b, PEER, SLICE_LIT("x")), DISPATCH_DROP);
        assert_int_equal(fake_refresh(f, &a, 600), 437); /* without the ticket */
        assert_int_equal(fake_allocate(f, &b), 0);
        assert_int_equal(f->opened, 2);
        turn_core_client_gone(&f->core, &b.tuple, f->now_us);
        assert_int_equal(f->opened, 1);
        /* The one who was lost may come back to the same place. */
        assert_int_equal(fake_move(f, &a, ticket, 600), 0);
        assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
        assert_int_equal(fake_refresh(f, &a, 0), 0);
        assert_int_equal(f->opened, 0);
    }
}

/* Tickets of another worker: the message goes there, and so does everything after it. */
static void test_a_ticket_of_another_worker_makes_a_guest(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES], mine[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    memcpy(mine, ticket, sizeof(mine));
    f->core.worker = 2; /* as if it had come to another one */
    assert_int_equal(fake_move(f, &b, ticket, 600), REQUEST_FORWARD);
    assert_int_equal(f->core.forward_to, 0);
    assert_int_equal(guests_count(&f->core.guests), 1);
    assert_int_equal(fake_channel(f, &b, 0x4000, SLICE_LIT("x")), DISPATCH_FORWARD);
    assert_int_equal(fake_send_indication(f, &b, PEER, SLICE_LIT("x")), DISPATCH_FORWARD);
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof(buf));
    fake_begin(&b, &w, STUN_BINDING);
    assert_int_equal(fake_send(f, &b, wr_done(&w)), DISPATCH_ANSWER);
    /* Not round in circles, and not to a worker that is not there. */
    f->core.forwarded = true;
    assert_int_equal(fake_channel(f, &b, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
    assert_int_equal(fake_move(f, &b, mine, 600), 437);
    f->core.forwarded = false;
    fake_pass(f, 3600 * US_PER_S + GUEST_US + US_PER_S);
    assert_int_equal(guests_count(&f->core.guests), 0);
}

static void test_a_message_from_another_worker_moves_there(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2"), c = ann("198.18.5.5:3");
    uint8_t ticket[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    f->core.forwarded = true;
    f->core.came_from = 3;
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    assert_int_equal(fake_bind(f, &b, 0x4000, PEER), 0);
    assert_int_equal(fake_channel(f, &b, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(fake_alloc(f, &b)->at, 3);
    assert_int_equal(f->left, 0);
    assert_int_equal(fake_move(f, &c, ticket, 600), 0);
    f->core.forwarded = false;
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(f->left, 1); /* b's place */
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_int_equal(f->left, 2);
}

/* The guest's worker has not heard yet that the allocation is over: a new one is not made where
 * its connection is not. */
static void test_no_allocation_is_made_for_a_guest(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES];

    b.tuple.transport = FIVE_TUPLE_TCP;
    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    f->core.forwarded = true;
    f->core.came_from = 3;
    assert_int_equal(fake_move(f, &b, ticket, 600), 0);
    assert_int_equal(fake_allocate(f, &b), 437); /* it has one */
    assert_int_equal(fake_refresh(f, &b, 0), 0);
    assert_int_equal(fake_allocate(f, &b), 437);
    assert_int_equal(fake_allocate_tcp(f, &b), 437);
    f->core.forwarded = false;
    assert_int_equal(f->opened, 0);
    assert_int_equal(fake_allocate_tcp(f, &b), 0);
}

static void test_oom_guest(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann("203.0.113.7:1"), b = ann("198.18.5.5:2");
    uint8_t ticket[TICKET_BYTES];

    assert_int_equal(fake_allocate_mobile(f, &a, ticket), 0);
    fake_challenge(f, &b);
    f->core.worker = 2;
    bool failed = true, refused = false;
    for (uint64_t n = 0; failed; n++) {
        mem_fail_after(n);
        int code = fake_move(f, &b, ticket, 600);
        failed = mem_failed();
        mem_fail_never();
        refused = refused || code == 508;
        assert_int_equal(guests_count(&f->core.guests), code == REQUEST_FORWARD);
        guest_del(&f->core.guests, guest_find(&f->core.guests, &b.tuple));
    }
    assert_true(refused);
}

/* A model: clients that allocate, move, lose connections and end in any order. Each relayed address
 * holds one port and one unit of quota, whatever moves. */
static void test_ports_and_quota_stay_exact_while_clients_move(void **state)
{
    struct fake_relay *f = *state;
    struct rand_src rnd;
    struct fake_client c[8];
    uint8_t ticket[4][TICKET_BYTES] = {{0}};

    rand_src_init(&rnd, 5);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = i % 4 ? ann("203.0.113.7:1") : at("203.0.113.7:1", "bob", "builder");
        c[i].tuple.client.port = (uint16_t)(1000 + i);
        c[i].tuple.transport = i % 3 == 0 ? FIVE_TUPLE_TCP : FIVE_TUPLE_UDP;
    }
    for (unsigned step = 0; step < 20000; step++) {
        struct fake_client *k = &c[rand_src_below(&rnd, ARRAY_LEN(c))];
        uint8_t *t = ticket[rand_src_below(&rnd, ARRAY_LEN(ticket))];
        f->core.forwarded = rand_src_below(&rnd, 4) == 0;
        f->core.came_from = 1;
        switch (rand_src_below(&rnd, 9)) {
        case 0:
            fake_allocate_mobile(f, k, t);
            break;
        case 1:
        case 2:
            fake_move(f, k, t, (uint32_t)rand_src_below(&rnd, 4) * 700);
            break;
        case 3:
            fake_bind(f, k, 0x4000, PEER);
            break;
        case 4:
            fake_channel(f, k, 0x4000, SLICE_LIT("x"));
            break;
        case 5:
            turn_core_client_gone(&f->core, &k->tuple, f->now_us);
            break;
        case 6:
            fake_allocate_tcp(f, k);
            break;
        case 7:
            if (fake_connect_to(f, k, PEER) == 0 && f->conn)
                connect_done(&f->core, f->conn, rand_src_below(&rnd, 2), f->now_us);
            break;
        default:
            fake_pass(f, rand_src_below(&rnd, 60) * US_PER_S);
        }
        f->core.forwarded = false;
        unsigned live = fake_addresses(f);
        size_t pos = 0, conns = 0;
        struct hnode *saved = NULL;
        const struct alloc *a;
        while ((a = alloc_table_walk(&f->core.allocs, &pos, &saved)))
            conns += a->n_conns;
        assert_int_equal(f->opened, live);
        assert_int_equal(fake_ports(f), live);
        assert_int_equal(quota_in_use(f->shared.quota), live);
        assert_int_equal(conn_ids_count(f->shared.conn_ids), conns);
        assert_int_equal(counter_get(&f->core.metrics.tcp_connections), conns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        cmocka_unit_test(test_ticket_is_sealed),
        T(test_allocate_gives_a_ticket_to_who_may_have_one),
        T(test_old_place_is_kept_until_data_comes_from_the_new_one),
        T(test_send_settles_too),
        T(test_wrong_tickets),
        T(test_retransmission_gets_the_answer_again),
        T(test_refresh_with_ticket_and_zero_ends_it),
        T(test_a_lost_connection_leaves_time_to_come_by_another),
        T(test_who_comes_to_a_lost_place_is_a_stranger),
        T(test_a_ticket_of_another_worker_makes_a_guest),
        T(test_a_message_from_another_worker_moves_there),
        T(test_no_allocation_is_made_for_a_guest),
        T(test_oom_guest),
        T(test_ports_and_quota_stay_exact_while_clients_move),
    };

    return cmocka_run_group_tests_name("mobility", tests, NULL, NULL);
}

/* connect.c and peer_conn.c: Connect, ConnectionBind, ConnectionAttempt, every refusal, every
 * deadline, and that each id and place comes back. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/connect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/fake_relay.h"
#include "turn/tcp_meter.h"

#define PEER "8.8.8.8:80"

static int setup(void **state)
{
    static struct fake_relay f;

    *state = &f;
    return fake_relay_init(&f);
}

static int teardown(void **state)
{
    struct fake_relay *f = *state;
    struct conn_ids *ids = f->shared.conn_ids;

    turn_core_fini(&f->core, f->now_us);
    assert_int_equal(conn_ids_count(ids), 0);
    quota_free(f->shared.quota);
    reserve_free(f->shared.reserve);
    conn_ids_free(ids);
    return 0;
}

static struct fake_client client(const char *at, const char *user, const char *password)
{
    struct fake_client c;

    fake_client_init(&c, at, user, password);
    c.tuple.transport = FIVE_TUPLE_TCP;
    return c;
}

/* Ann with a TCP allocation. */
static struct fake_client ann(struct fake_relay *f)
{
    struct fake_client c = client("203.0.113.7:1", "ann", "of green gables");

    assert_int_equal(fake_allocate_tcp(f, &c), 0);
    assert_true(fake_alloc(f, &c)->tcp);
    return c;
}

/* An established connection; gives its id. */
static uint32_t connected(struct fake_relay *f, struct fake_client *c, const char *peer)
{
    uint32_t id = 0;

    assert_int_equal(fake_connect_to(f, c, peer), 0);
    connect_done(&f->core, f->conn, true, f->now_us);
    assert_int_equal(fake_told(f, &id), 0);
    return id;
}

static void test_allocate_tcp_is_refused_where_it_makes_no_sense(void **state)
{
    static const struct {
        bool allowed, stream;
        enum stun_attr_type type;
        int want;
    } cases[] = {
        {true, true, STUN_ATTR_SOFTWARE, 0},        {true, false, STUN_ATTR_SOFTWARE, 400},
        {false, true, STUN_ATTR_SOFTWARE, 442},     {true, true, STUN_ATTR_EVEN_PORT, 400},
        {true, true, STUN_ATTR_DONT_FRAGMENT, 400}, {true, true, STUN_ATTR_RESERVATION_TOKEN, 400},
    };
    struct fake_relay *f = *state;
    uint8_t buf[1024];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c = client("203.0.113.7:1", "ann", "of green gables");
        struct wr w = wr_init(buf, sizeof(buf));
        c.tuple.transport = cases[i].stream ? FIVE_TUPLE_TLS : FIVE_TUPLE_UDP;
        c.tuple.client.port = (uint16_t)(10 + i);
        f->shared.limits.tcp_allocations = cases[i].allowed;
        fake_challenge(f, &c);
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 6u << 24);
        stun_put(&w, cases[i].type, SLICE_LIT("\0"));
        if (fake_request(f, &c, &w) != cases[i].want)
            fail_msg("case %zu", i);
        assert_int_equal(f->opened, 1); /* the first one's */
    }
}

static void test_channels_and_send_are_not_for_tcp(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);

    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 403);
    assert_int_equal(fake_send_indication(f, &c, PEER, SLICE_LIT("x")), DISPATCH_DROP);
}

static void test_connect_refusals(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = client("203.0.113.7:9", "ann", "of green gables");
    uint8_t buf[512];

    assert_int_equal(fake_connect_to(f, &c, PEER), 437);
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(fake_connect_to(f, &c, PEER), 403); /* a UDP allocation */
    c = ann(f);
    struct fake_client bob = client("203.0.113.7:1", "bob", "builder");
    assert_int_equal(fake_connect_to(f, &bob, PEER), 441);
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:0"), 400);
    assert_int_equal(fake_connect_to(f, &c, "[2001:4860::8888]:80"), 443);
    assert_int_equal(fake_connect_to(f, &c, "127.0.0.1:80"), 403);
    assert_int_equal(fake_connect_to(f, &c, FAKE_OWN ":80"), 403);
    struct wr w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_CONNECT);
    assert_int_equal(fake_request(f, &c, &w), 400);
    f->connect_error = -ENETUNREACH;
    assert_int_equal(fake_connect_to(f, &c, PEER), 447);
    assert_int_equal(conn_ids_count(f->shared.conn_ids), 0);
    assert_int_equal(f->connects, 1);
    f->connect_error = 0;
    assert_int_equal(fake_connect_to(f, &c, PEER), 0);
}

/* Our own relayed addresses: only live TCP allocations of others. */
static void test_connect_to_a_relayed_address_needs_a_tcp_allocation(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f), udp = client("203.0.113.7:2", "bob", "builder"), tcp = udp;
    char text[ADDR_TEXT_MAX];

    tcp.tuple.client.port = 3;
    assert_int_equal(fake_allocate(f, &udp), 0);
    assert_int_equal(fake_allocate_tcp(f, &tcp), 0);
    assert_int_equal(fake_connect_to(f, &c, addr_format(&fake_alloc(f, &udp)->relayed, text)), 403);
    assert_int_equal(fake_connect_to(f, &c, addr_format(&fake_alloc(f, &c)->relayed, text)), 403);
    addr_format(&fake_alloc(f, &tcp)->relayed, text);
    assert_int_equal(fake_connect_to(f, &c, text), 0);
    assert_int_equal(fake_connect_to(f, &c, FAKE_RELAY ":22"), 403);
    /* And datagrams do not go to TCP allocations. */
    assert_int_equal(fake_permit(f, &udp, FAKE_RELAY), 0);
    assert_int_equal(fake_bind(f, &udp, 0x4000, text), 403);
    assert_int_equal(fake_send_indication(f, &udp, text, SLICE_LIT("x")), DISPATCH_DROP);
    assert_int_equal(fake_refresh(f, &tcp, 0), 0);
    connect_done(&f->core, f->conn, false, f->now_us);
    assert_int_equal(fake_connect_to(f, &c, text), 403);
}

static void test_connect_is_answered_when_the_peer_has(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    struct stun_msg m;
    uint32_t id = 0, other = 0;

    assert_int_equal(fake_connect_to(f, &c, PEER), 0);
    assert_int_equal(f->told.len, 0);
    assert_int_equal(fake_connect_to(f, &c, PEER), 446); /* being processed */
    struct peer_conn *p = f->conn;
    assert_int_equal(fake_connection_bind(f, &c, p->id), 400);
    connect_done(&f->core, p, true, f->now_us);
    assert_int_equal(fake_told(f, &id), 0);
    assert_int_equal(id, p->id);
    assert_int_equal(stun_decode(&m, f->told), 0);
    assert_int_equal(m.type, stun_type(STUN_CONNECT, STUN_SUCCESS));
    assert_true(stun_verify_sha1(&m, slice_of(c.key, sizeof(c.key))));
    assert_int_equal(fake_connect_to(f, &c, PEER), 446); /* pending */
    f->relay_addrs[0] = fake_addr("8.8.8.8");            /* refused from now on */
    assert_int_equal(fake_connect_to(f, &c, PEER), 446);
    f->relay_addrs[0] = fake_addr(FAKE_RELAY);
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:81"), 0);
    connect_done(&f->core, f->conn, false, f->now_us);
    assert_int_equal(fake_told(f, &other), 447);
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:81"), 0); /* may try again */
}

static void test_connect_answers_in_the_client_s_own_terms(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr peer = fake_addr(PEER);
    struct stun_msg m;
    struct slice v;
    uint32_t counter;

    fake_begin(&c, &w, STUN_CONNECT);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peer, fake_tid(&w));
    stun_put_u32(&w, STUN_ATTR_TRANSMIT_COUNTER, 0x0300);
    fake_sign(&c, &w);
    stun_put_fingerprint(&w);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_LATER);
    connect_done(&f->core, f->conn, true, f->now_us);
    assert_int_equal(stun_decode(&m, f->told), 0);
    assert_true(m.has_fingerprint);
    assert_memory_equal(m.tid, fake_tid(&w), STUN_TID_BYTES);
    assert_true(stun_find(&m, STUN_ATTR_TRANSMIT_COUNTER, &v));
    assert_int_equal(stun_u32_decode(&counter, v), 0);
    assert_int_equal(counter, 0x0301);
}

static void test_a_connection_is_bound_once_by_its_user(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    struct fake_client data = client("203.0.113.7:5", "ann", "of green gables");
    struct fake_client bob = client("203.0.113.7:6", "bob", "builder");
    uint32_t id = connected(f, &c, PEER);

    assert_int_equal(fake_connection_bind(f, &bob, id), 441);
    assert_int_equal(fake_connection_bind(f, &data, id + 1), 400);
    assert_int_equal(fake_connection_bind(f, &c, id), 400); /* on a control connection */
    data.tuple.transport = FIVE_TUPLE_UDP;
    data.has_nonce = false;
    assert_int_equal(fake_connection_bind(f, &data, id), 400);
    data.tuple.transport = FIVE_TUPLE_TLS;
    data.has_nonce = false;
    f->core.bound_worker = 99;
    assert_int_equal(fake_connection_bind(f, &data, id), 0);
    assert_int_equal(f->core.bound_id, id);
    assert_int_equal(f->core.bound_worker, 0);
    struct peer_conn *p = connect_bound(&f->core, id, 3);
    assert_non_null(p);
    assert_int_equal(p->state, PEER_CONN_BOUND);
    assert_int_equal(p->worker, 3);
    assert_int_equal(fake_connection_bind(f, &data, id), 400);
    assert_null(connect_bound(&f->core, id, 4));
    assert_int_equal(fake_connect_to(f, &c, PEER), 446); /* active */
    fake_pass(f, 300 * US_PER_S);                        /* no deadline any more */
    assert_non_null(peer_conn_find(&f->core.conns, id));
    connect_gone(&f->core, id);
    assert_null(peer_conn_find(&f->core.conns, id));
    assert_int_equal(f->disconnects, 0);
    connect_gone(&f->core, id);
    assert_int_equal(fake_connect_to(f, &c, PEER), 0);
}

static void test_deadlines(void **state)
{
    static const struct {
        bool established;
        uint64_t after_s;
        bool lives;
        int told;
    } cases[] = {
        {false, 29, true, -1},
        {false, 31, false, 447},
        {true, 29, true, 0},
        {true, 31, false, 0}, /* nothing more is told: the client knows the rule */
    };
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c = ann(f);
        uint32_t id = 0, told = 0;
        f->told = (struct slice){0};
        assert_int_equal(fake_connect_to(f, &c, PEER), 0);
        id = f->conn->id;
        if (cases[i].established)
            connect_done(&f->core, f->conn, true, f->now_us);
        assert_true(turn_core_deadline(&f->core, f->now_us) <= f->now_us + US_PER_S);
        fake_pass(f, cases[i].after_s * US_PER_S);
        if ((peer_conn_find(&f->core.conns, id) != NULL) != cases[i].lives ||
            fake_told(f, &told) != cases[i].told)
            fail_msg("case %zu", i);
        struct fake_client data = client("203.0.113.7:5", "ann", "of green gables");
        assert_int_equal(fake_connection_bind(f, &data, id),
                         cases[i].lives && cases[i].established ? 0 : 400);
        assert_int_equal(fake_refresh(f, &c, 0), 0);
        fake_pass(f, US_PER_S);
    }
}

static void test_a_peer_needs_a_permission_and_a_place(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    struct alloc *a = fake_alloc(f, &c);
    struct addr peer = fake_addr("8.8.8.8:4000");
    struct stun_msg m;
    struct slice v;
    uint32_t id = 0;

    assert_null(connect_incoming(&f->core, a, &peer, f->now_us));
    assert_int_equal(f->told.len, 0);
    assert_int_equal(counter_get(&f->core.metrics.drops[TURN_DROP_NO_PERMISSION]), 1);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    struct peer_conn *p = connect_incoming(&f->core, a, &peer, f->now_us);
    assert_non_null(p);
    assert_int_equal(fake_told(f, &id), 0);
    assert_int_equal(id, p->id);
    assert_int_equal(stun_decode(&m, f->told), 0);
    assert_int_equal(m.type, stun_type(STUN_CONNECTION_ATTEMPT, STUN_INDICATION));
    assert_true(stun_find(&m, STUN_ATTR_XOR_PEER_ADDRESS, &v));
    struct addr told;
    assert_int_equal(stun_xaddr_decode(&told, v, m.tid), 0);
    assert_true(addr_eq(&told, &peer));
    for (unsigned i = 1; i < 4; i++) {
        peer.port++;
        assert_non_null(connect_incoming(&f->core, a, &peer, f->now_us));
    }
    peer.port++;
    assert_null(connect_incoming(&f->core, a, &peer, f->now_us));
    assert_int_equal(fake_connect_to(f, &c, PEER), 508);
    assert_int_equal(counter_get(&f->core.metrics.drops[TURN_DROP_TCP_LIMIT]), 1);
    fake_pass(f, 31 * US_PER_S); /* nobody bound them */
    assert_int_equal(a->n_conns, 0);
    f->tell_error = 1;
    assert_null(connect_incoming(&f->core, a, &peer, f->now_us));
    assert_int_equal(a->n_conns, 0);
}

static void test_all_connections_together_are_bounded(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = ann(f), b = client("203.0.113.7:2", "bob", "builder");
    char peer[32];

    assert_int_equal(fake_allocate_tcp(f, &b), 0);
    for (unsigned i = 0; i < 6; i++) {
        snprintf(peer, sizeof(peer), "8.8.8.8:%u", 80 + i);
        assert_int_equal(fake_connect_to(f, i < 4 ? &a : &b, peer), 0);
    }
    assert_int_equal(fake_connect_to(f, &b, PEER), 508);
    assert_int_equal(fake_refresh(f, &a, 0), 0);
    assert_int_equal(fake_connect_to(f, &b, PEER), 0);
}

static void test_connects_come_at_a_limited_rate(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);

    f->shared.limits.throttle.peers = (struct bucket_rule){1000, 2};
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:1"), 0);
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:2"), 0);
    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:3"), 508); /* ports are counted here */
}

static void test_connections_end_with_their_allocation(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    uint32_t waiting = connected(f, &c, "8.8.8.8:1"), bound = connected(f, &c, "8.8.8.8:2");

    assert_int_equal(fake_connect_to(f, &c, "8.8.8.8:3"), 0);
    assert_non_null(connect_bound(&f->core, bound, 1));
    struct tcp_meter *meter = tcp_meter_ref(fake_alloc(f, &c)->meter);
    assert_int_equal(tcp_meter_take(meter, 10, f->now_us), 10);
    f->told = (struct slice){0};
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    assert_int_equal(f->told.len, 0); /* there is nobody to tell */
    assert_int_equal(f->disconnects, 3);
    assert_int_equal(conn_ids_count(f->shared.conn_ids), 0);
    assert_null(peer_conn_find(&f->core.conns, waiting));
    assert_true(tcp_meter_ended(meter));
    assert_int_equal(tcp_meter_take(meter, 10, f->now_us), 0);
    tcp_meter_unref(meter);
    assert_int_equal(counter_get(&f->core.metrics.tcp_connections), 0);
    connect_gone(&f->core, bound); /* the other worker's word was under way */
}

static void test_oom_connect_holds_nothing(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f);
    bool failed = true;

    for (uint64_t n = 0; failed; n++) {
        mem_fail_after(n);
        int code = fake_connect_to(f, &c, PEER);
        failed = mem_failed();
        mem_fail_never();
        if (code == 0)
            connect_end(&f->core, f->conn);
        assert_int_equal(conn_ids_count(f->shared.conn_ids), 0);
        assert_int_equal(fake_alloc(f, &c)->n_conns, 0);
    }
}

/* What waits on a connection that is a data connection now would be answered to nobody. */
static void test_a_data_connection_has_no_request_left(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann(f), data = client("203.0.113.7:2", "ann", "of green gables");
    struct fake_client other = client("203.0.113.7:3", "ann", "of green gables");
    uint32_t id = connected(f, &c, PEER);

    f->core.held.max = 2;
    assert_int_equal(
        held_add(&f->core.held, &data.tuple, f, 0, SLICE_LIT("eve"), SLICE_LIT("request"), 1), 0);
    assert_int_equal(
        held_add(&f->core.held, &other.tuple, f, 0, SLICE_LIT("eve"), SLICE_LIT("request"), 1), 0);
    assert_int_equal(fake_connection_bind(f, &data, id + 1), 400);
    assert_int_equal(f->core.held.n, 2);
    assert_int_equal(fake_connection_bind(f, &data, id), 0);
    assert_int_equal(f->core.held.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_allocate_tcp_is_refused_where_it_makes_no_sense),
        T(test_channels_and_send_are_not_for_tcp),
        T(test_connect_refusals),
        T(test_connect_to_a_relayed_address_needs_a_tcp_allocation),
        T(test_connect_is_answered_when_the_peer_has),
        T(test_connect_answers_in_the_client_s_own_terms),
        T(test_a_connection_is_bound_once_by_its_user),
        T(test_deadlines),
        T(test_a_peer_needs_a_permission_and_a_place),
        T(test_all_connections_together_are_bounded),
        T(test_connects_come_at_a_limited_rate),
        T(test_connections_end_with_their_allocation),
        T(test_oom_connect_holds_nothing),
        T(test_a_data_connection_has_no_request_left),
    };

    return cmocka_run_group_tests_name("connect", tests, NULL, NULL);
}

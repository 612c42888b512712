/* allocate.c: Allocate and Refresh, every refusal, and that each port and quota unit comes back.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/fake_relay.h"

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

static struct fake_client ann(const char *at)
{
    struct fake_client c;

    fake_client_init(&c, at, "ann", "of green gables");
    return c;
}

/* An Allocate with REQUESTED-TRANSPORT and one more attribute; gives fake_code(). */
static int allocate_with(struct fake_relay *f, struct fake_client *c, enum stun_attr_type type,
                         struct slice value)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, type, value);
    return fake_request(f, c, &w);
}

static uint32_t granted(const struct fake_relay *f)
{
    struct slice v;
    uint32_t s = UINT32_MAX;

    if (fake_find(f, STUN_ATTR_LIFETIME, &v))
        stun_u32_decode(&s, v);
    return s;
}

static void test_allocate_gives_an_address_of_the_relay(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    assert_int_equal(fake_allocate(f, &c), 0);
    struct addr relayed = fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS);
    struct addr mapped = fake_find_addr(f, STUN_ATTR_XOR_MAPPED_ADDRESS);
    assert_true(addr_ip_eq(&relayed, &f->relays[0].bound));
    assert_in_range(relayed.port, FAKE_MIN_PORT, FAKE_MAX_PORT);
    assert_true(addr_eq(&mapped, &c.tuple.client));
    assert_int_equal(granted(f), 600);
    assert_int_equal(f->open[relayed.port], 1);
    assert_int_equal(fake_ports(f), 1);
    assert_int_equal(counter_get(&f->core.metrics.allocations), 1);
}

static void test_retransmission_gets_the_same_answer(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1"), bob;
    uint8_t buf[1024], first[DISPATCH_ANSWER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80"));
    fake_sign(&c, &w);
    fake_send(f, &c, wr_done(&w));
    size_t len = f->answer.len;
    memcpy(first, f->answer.p, len);
    assert_int_equal(fake_code(f, &c), 0);
    fake_pass(f, 3 * US_PER_S);
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(f->answer.len, len);
    assert_memory_equal(f->answer.p, first, len);
    assert_int_equal(f->opened, 1);
    /* Another transaction, or another user, is no retransmission. */
    assert_int_equal(fake_allocate(f, &c), 437);
    fake_client_init(&bob, "203.0.113.7:1", "bob", "builder");
    assert_int_equal(fake_allocate(f, &bob), 437);
}

static void test_transport_must_be_udp(void **state)
{
    static const struct {
        struct slice value;
        int want;
    } cases[] = {
        {SLICE_LIT("\x06\0\0\0"), 442}, {SLICE_LIT("\0\0\0\0"), 442}, {SLICE_LIT("\x11\0\0"), 400},
        {SLICE_LIT(""), 400},           {SLICE_LIT("\x11\0\0\0"), 0},
    };
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    uint8_t buf[1024];

    f->shared.limits.tcp_allocations = false;
    fake_challenge(f, &c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put(&w, STUN_ATTR_REQUESTED_TRANSPORT, cases[i].value);
        assert_int_equal(fake_request(f, &c, &w), cases[i].want);
    }
    c = ann("203.0.113.7:2");
    struct wr w = wr_init(buf, sizeof(buf));
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    assert_int_equal(fake_request(f, &c, &w), 400);
}

static void test_family_is_honoured_or_refused(void **state)
{
    static const struct {
        struct slice value;
        int want;
        uint8_t family;
    } cases[] = {
        {SLICE_LIT("\1\0\0\0"), 0, ADDR_V4}, {SLICE_LIT("\2\0\0\0"), 0, ADDR_V6},
        {SLICE_LIT("\3\0\0\0"), 440, 0},     {SLICE_LIT("\0\0\0\0"), 440, 0},
        {SLICE_LIT("\1"), 400, 0},
    };
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c = ann("203.0.113.7:1");
        c.tuple.client.port = (uint16_t)(100 + i);
        assert_int_equal(allocate_with(f, &c, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, cases[i].value),
                         cases[i].want);
        if (cases[i].want == 0)
            assert_int_equal(fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS).family,
                             cases[i].family);
    }
    f->shared.n_relays = 1; /* no IPv6 here */
    struct fake_client c = ann("203.0.113.7:200");
    assert_int_equal(
        allocate_with(f, &c, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0")), 440);
    f->shared.n_relays = 2;
}

/* RFC 8656 §21.4: data would go round between us and the tunnel's end. */
static void test_clients_in_tunnels_get_403(void **state)
{
    static const struct {
        const char *at;
        int want;
    } cases[] = {{"[2002:808:808::1]:1", 403},
                 {"[2001:0:808:808:0:ffff:f7f7:f7f7]:1", 403},
                 {"[2001:200::1]:1", 0}};
    struct fake_relay *f = *state;

    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct fake_client c = ann(cases[i / 2].at);
        c.tuple.transport = i & 1 ? FIVE_TUPLE_TLS : FIVE_TUPLE_UDP;
        assert_int_equal(fake_allocate(f, &c), cases[i / 2].want);
    }
}

static void test_lifetime_is_clamped(void **state)
{
    static const struct {
        uint32_t asked, granted;
    } cases[] = {{0, 600},     {1, 600},     {599, 600},    {600, 600},        {601, 601},
                 {3600, 3600}, {3601, 3600}, {86400, 3600}, {UINT32_MAX, 3600}};
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t v[4];
        struct wr w = wr_init(v, 4);
        wr_be32(&w, cases[i].asked);
        assert_int_equal(allocate_with(f, &c, STUN_ATTR_LIFETIME, wr_done(&w)), 0);
        assert_int_equal(granted(f), cases[i].granted);
        assert_int_equal(fake_refresh(f, &c, cases[i].asked), 0);
        assert_int_equal(granted(f), cases[i].asked ? cases[i].granted : 0);
        if (cases[i].asked)
            assert_int_equal(fake_refresh(f, &c, 0), 0);
        assert_int_equal(f->opened, 0);
    }
    assert_int_equal(allocate_with(f, &c, STUN_ATTR_LIFETIME, SLICE_LIT("\0\0\1")), 400);
}

static void test_allocation_ends_at_its_second(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    assert_int_equal(fake_allocate(f, &c), 0);
    fake_pass(f, 600 * US_PER_S - 1000);
    assert_int_equal(f->opened, 1);
    assert_int_equal(fake_refresh(f, &c, 1200), 0);
    fake_pass(f, 1200 * US_PER_S - 1000);
    assert_int_equal(f->opened, 1);
    fake_pass(f, 3000);
    assert_int_equal(f->opened, 0);
    assert_int_equal(fake_ports(f), 0);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
    assert_int_equal(fake_refresh(f, &c, 600), 438);
    assert_int_equal(fake_refresh(f, &c, 600), 437);
}

static void test_refresh_by_another_user_gets_441(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1"), bob;

    assert_int_equal(fake_allocate(f, &c), 0);
    fake_client_init(&bob, "203.0.113.7:1", "bob", "builder");
    memcpy(bob.nonce, c.nonce, sizeof(c.nonce));
    assert_int_equal(fake_refresh(f, &bob, 0), 441);
    assert_int_equal(fake_permit(f, &bob, "8.8.8.8"), 441);
    assert_int_equal(fake_bind(f, &bob, 0x4000, "8.8.8.8:1"), 441);
    assert_int_equal(f->opened, 1);
}

static void test_refresh_of_another_family_gets_443(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    assert_int_equal(fake_allocate(f, &c), 0);
    fake_begin(&c, &w, STUN_REFRESH);
    stun_put(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
    assert_int_equal(fake_request(f, &c, &w), 443);
}

static void test_even_port_and_its_neighbour(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client rtp = ann("203.0.113.7:1"), rtcp = ann("203.0.113.7:2"), bob;
    struct slice v;
    uint8_t token[8];

    assert_int_equal(allocate_with(f, &rtp, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80")), 0);
    struct addr even = fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS);
    assert_int_equal(even.port % 2, 0);
    assert_true(fake_find(f, STUN_ATTR_RESERVATION_TOKEN, &v) && v.len == 8);
    memcpy(token, v.p, 8);
    assert_int_equal(fake_ports(f), 2);
    assert_int_equal(quota_in_use(f->shared.quota), 2);
    /* Not for another user, not with EVEN-PORT beside it. */
    fake_client_init(&bob, "203.0.113.7:3", "bob", "builder");
    assert_int_equal(allocate_with(f, &bob, STUN_ATTR_RESERVATION_TOKEN, slice_of(token, 8)), 508);
    assert_int_equal(allocate_with(f, &rtcp, STUN_ATTR_RESERVATION_TOKEN, slice_of(token, 7)), 400);
    assert_int_equal(allocate_with(f, &rtcp, STUN_ATTR_RESERVATION_TOKEN, slice_of(token, 8)), 0);
    assert_int_equal(fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS).port, even.port + 1);
    assert_int_equal(fake_ports(f), 2);
    /* A token works once. */
    rtcp.tuple.client.port = 4;
    rtcp.has_nonce = false;
    assert_int_equal(allocate_with(f, &rtcp, STUN_ATTR_RESERVATION_TOKEN, slice_of(token, 8)), 508);
    assert_int_equal(f->opened, 2);
    assert_int_equal(quota_in_use(f->shared.quota), 2);
}

static void test_unclaimed_reservation_comes_back(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80")), 0);
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_int_equal(fake_ports(f), 1);
    fake_pass(f, 29 * US_PER_S);
    assert_int_equal(fake_ports(f), 1);
    fake_pass(f, US_PER_S);
    assert_int_equal(fake_ports(f), 0);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
}

static void test_even_port_without_reservation(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    struct slice v;

    assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("\0")), 0);
    assert_int_equal(fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS).port % 2, 0);
    assert_false(fake_find(f, STUN_ATTR_RESERVATION_TOKEN, &v));
    assert_int_equal(fake_ports(f), 1);
    c = ann("203.0.113.7:2");
    assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("")), 400);
}

static void test_account_quota_gets_486(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    /* One account, whatever call the credential is for. */
    for (uint16_t i = 0; i < 8; i++) {
        char call[8];
        snprintf(call, sizeof(call), "call%u", i);
        fake_client_rest(&c, "203.0.113.7:1", FAKE_SECRET, FAKE_WALL_S + 60, call, "carl");
        c.tuple.client.port = (uint16_t)(10 + i);
        f->now_us += US_PER_S;
        assert_int_equal(fake_allocate(f, &c), 0);
    }
    fake_client_rest(&c, "203.0.113.7:1", FAKE_SECRET, FAKE_WALL_S + 60, "x", "carl");
    f->now_us += US_PER_S;
    assert_int_equal(fake_allocate(f, &c), 486);
    struct fake_client other = ann("203.0.113.7:2");
    assert_int_equal(fake_allocate(f, &other), 0);
    fake_pass(f, 600 * US_PER_S);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
}

static void test_no_port_left_gets_508(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    while (portpool_take(&f->relays[0].pool, PORTPOOL_ANY, 0) > 0)
        ;
    assert_int_equal(fake_allocate(f, &c), 508);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
    for (unsigned port = FAKE_MIN_PORT; port <= FAKE_MAX_PORT; port += 2)
        portpool_give(&f->relays[0].pool, (uint16_t)port); /* even ones only: no pair */
    assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80")), 508);
    assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("\0")), 0);
    assert_int_equal(quota_in_use(f->shared.quota), 1);
}

static void test_socket_errors_get_508_and_hold_nothing(void **state)
{
    static const int errors[] = {-EADDRINUSE, -EMFILE, -ENOMEM, -EACCES};
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        f->open_error = errors[i];
        assert_int_equal(fake_allocate(f, &c), 508);
        assert_int_equal(allocate_with(f, &c, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80")), 508);
        assert_int_equal(fake_ports(f), 0);
        assert_int_equal(quota_in_use(f->shared.quota), 0);
    }
    f->open_error = 0;
    assert_int_equal(fake_allocate(f, &c), 0);
}

static void test_lost_connection_ends_its_allocation(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    c.tuple.transport = FIVE_TUPLE_TLS;
    assert_int_equal(fake_allocate(f, &c), 0);
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    assert_int_equal(f->opened, 0);
    assert_int_equal(fake_ports(f), 0);
}

/* Whatever allocation fails, nothing stays held and the next try works. */
static void test_oom_allocate_holds_nothing(void **state)
{
    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        static struct fake_relay f;
        struct fake_client c = ann("203.0.113.7:1");
        bool failed;
        mem_fail_after(n);
        if (fake_relay_init(&f) == 0) {
            int code = fake_allocate(&f, &c);
            if (code == 0)
                fake_bind(&f, &c, 0x4000, "8.8.8.8:1");
            failed = mem_failed();
            mem_fail_never();
            struct alloc *a = fake_alloc(&f, &c);
            assert_int_equal(f.opened, a ? 1 : 0);
            assert_int_equal(fake_ports(&f), a ? 1 : 0);
            assert_int_equal(quota_in_use(f.shared.quota), a ? 1 : 0);
            if (!a)
                assert_int_equal(fake_allocate(&f, &c), 0);
            assert_int_equal(fake_bind(&f, &c, 0x4000, "8.8.8.8:1"), 0);
            fake_relay_fini(&f);
        } else {
            failed = mem_failed();
            mem_fail_never();
        }
        assert_int_equal(mem_live(), before);
        if (!failed)
            break;
    }
}

/* The families of the relayed addresses in the last answer, in order; the second is 0 when there is
 * one. */
static void relayed_families(const struct fake_relay *f, uint8_t out[2])
{
    struct stun_msg m;
    struct stun_attr attr;
    unsigned n = 0;

    out[0] = out[1] = 0;
    assert_int_equal(stun_decode(&m, f->answer), 0);
    struct slice at = m.attrs;
    while (stun_next(&at, &attr)) {
        struct addr a;
        if (attr.type != STUN_ATTR_XOR_RELAYED_ADDRESS)
            continue;
        assert_true(n < 2);
        assert_int_equal(stun_xaddr_decode(&a, attr.value, m.tid), 0);
        out[n++] = a.family;
    }
}

static int allocate_dual(struct fake_relay *f, struct fake_client *c)
{
    return allocate_with(f, c, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
}

static void test_dual_allocation_has_an_address_of_each_family(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    uint8_t families[2];
    struct slice v;

    assert_int_equal(allocate_dual(f, &c), 0);
    relayed_families(f, families);
    assert_int_equal(families[0], ADDR_V4);
    assert_int_equal(families[1], ADDR_V6);
    assert_false(fake_find(f, STUN_ATTR_ADDRESS_ERROR_CODE, &v));
    assert_int_equal(f->opened, 2);
    assert_int_equal(quota_in_use(f->shared.quota), 2);
    /* Peers of both families, by both ways. */
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "[2001:4860::1]:9"), 0);
    assert_int_equal(fake_send_indication(f, &c, "8.8.8.8:1", SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_true(fake_from_peer(f, &c, "[2001:4860::1]:9", SLICE_LIT("x")));
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_int_equal(f->opened, 0);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
}

static void test_dual_allocation_without_one_family_says_why(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    struct slice v;
    uint8_t families[2];

    f->shared.n_relays = 1; /* no IPv6 */
    assert_int_equal(allocate_dual(f, &c), 0);
    relayed_families(f, families);
    assert_true(families[0] == ADDR_V4 && families[1] == 0);
    assert_true(fake_find(f, STUN_ATTR_ADDRESS_ERROR_CODE, &v));
    assert_true(slice_eq(v, SLICE_LIT("\2\0\4\50")));
    f->shared.n_relays = 2;
    c = ann("203.0.113.7:4"); /* a family that does not exist */
    assert_int_equal(
        allocate_with(f, &c, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, SLICE_LIT("\3\0\0\0")), 0);
    assert_true(fake_find(f, STUN_ATTR_ADDRESS_ERROR_CODE, &v));
    assert_true(slice_eq(v, SLICE_LIT("\3\0\4\50")));
    assert_int_equal(fake_refresh(f, &c, 0), 0);

    /* IPv4 ports run out: the IPv6 one is what the client gets. */
    for (int p; (p = portpool_take(&f->relays[0].pool, PORTPOOL_ANY, 0)) >= 0;)
        ;
    c = ann("203.0.113.7:2");
    assert_int_equal(allocate_dual(f, &c), 0);
    relayed_families(f, families);
    assert_true(families[0] == ADDR_V6 && families[1] == 0);
    assert_true(fake_find(f, STUN_ATTR_ADDRESS_ERROR_CODE, &v));
    assert_true(slice_eq(v, SLICE_LIT("\1\0\5\10")));
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 443);
    assert_int_equal(fake_permit(f, &c, "2001:4860::1"), 0);
    /* Neither: an error. */
    for (int p; (p = portpool_take(&f->relays[1].pool, PORTPOOL_ANY, 0)) >= 0;)
        ;
    c = ann("203.0.113.7:3");
    assert_int_equal(allocate_dual(f, &c), 508);
    assert_int_equal(f->opened, 2);
}

/* "The error code values could be either 440 [...] or 508" (RFC 8656 §18.12): a client knows what
 * to do about those. */
static void test_dual_allocation_over_the_quota_says_508(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    struct slice v;

    for (uint16_t i = 0; i < 7; i++) {
        c = ann("203.0.113.7:1");
        c.tuple.client.port = (uint16_t)(c.tuple.client.port + i);
        assert_int_equal(fake_allocate(f, &c), 0);
    }
    c = ann("203.0.113.7:20");
    assert_int_equal(allocate_dual(f, &c), 0);
    assert_true(fake_find(f, STUN_ATTR_ADDRESS_ERROR_CODE, &v));
    assert_true(slice_eq(v, SLICE_LIT("\2\0\5\10")));
    c = ann("203.0.113.7:21");
    assert_int_equal(allocate_dual(f, &c), 486);
}

static void test_dual_allocation_is_refused_beside_what_names_one_address(void **state)
{
    static const struct {
        enum stun_attr_type type;
        struct slice value, family;
        int want;
    } cases[] = {
        {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, SLICE_LIT("\1\0\0\0"), SLICE_LIT("\2\0\0\0"), 400},
        {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, SLICE_LIT("\3\0\0\0"), SLICE_LIT("\2\0\0\0"), 400},
        {STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80"), SLICE_LIT("\2\0\0\0"), 400},
        {STUN_ATTR_RESERVATION_TOKEN, SLICE_LIT("12345678"), SLICE_LIT("\2\0\0\0"), 400},
        {STUN_ATTR_SOFTWARE, SLICE_LIT(""), SLICE_LIT("\1\0\0\0"), 400},
        {STUN_ATTR_SOFTWARE, SLICE_LIT(""), SLICE_LIT("\2"), 400},
        {STUN_ATTR_EVEN_PORT, SLICE_LIT("\0"), SLICE_LIT("\2\0\0\0"), 0},
    };
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");
    uint8_t buf[1024];

    fake_challenge(f, &c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
        stun_put(&w, cases[i].type, cases[i].value);
        stun_put(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, cases[i].family);
        assert_int_equal(fake_request(f, &c, &w), cases[i].want);
    }
}

static void test_families_are_refreshed_and_end_apart(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    assert_int_equal(allocate_dual(f, &c), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4001, "[2001:4860::1]:9"), 0);
    assert_int_equal(fake_refresh_family(f, &c, 1, 0), 0);
    assert_int_equal(f->opened, 1);
    assert_int_equal(quota_in_use(f->shared.quota), 1);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
    assert_int_equal(fake_channel(f, &c, 0x4001, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(fake_refresh_family(f, &c, 1, 600), 443);
    assert_int_equal(fake_refresh_family(f, &c, 2, 0), 0);
    assert_int_equal(f->opened, 0);
    assert_int_equal(fake_refresh_family(f, &c, 2, 0), 437);

    /* Only IPv6 is kept alive. */
    c = ann("203.0.113.7:2");
    assert_int_equal(allocate_dual(f, &c), 0);
    fake_pass(f, 300 * US_PER_S);
    assert_int_equal(fake_refresh_family(f, &c, 2, 600), 0);
    fake_pass(f, 301 * US_PER_S);
    assert_int_equal(f->opened, 1);
    assert_true(alloc_has(fake_alloc(f, &c), ADDR_V6));
    assert_false(alloc_has(fake_alloc(f, &c), ADDR_V4));
    fake_pass(f, 301 * US_PER_S);
    assert_int_equal(f->opened, 0);
    assert_int_equal(quota_in_use(f->shared.quota), 0);
}

/* A model: clients that do anything in any order. After each step every port in use is a live
 * allocation's or a reservation's, and the quota counts the same. */
static void test_ports_in_use_equal_what_lives(void **state)
{
    struct fake_relay *f = *state;
    struct rand_src rnd;
    struct fake_client c[12];
    uint8_t token[8] = {0};

    rand_src_init(&rnd, 7);
    f->shared.limits.source = (struct bucket_rule){0};
    fake_relay_fini(f);
    fake_relay_init(f);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = ann("203.0.113.7:1");
        if (i % 3 == 0)
            fake_client_init(&c[i], "203.0.113.7:1", "bob", "builder");
        c[i].tuple.client.port = (uint16_t)(1000 + i);
        c[i].tuple.transport = i % 2 ? FIVE_TUPLE_UDP : FIVE_TUPLE_TCP;
    }
    for (unsigned step = 0; step < 20000; step++) {
        struct fake_client *k = &c[rand_src_below(&rnd, ARRAY_LEN(c))];
        struct slice v;
        switch (rand_src_below(&rnd, 11)) {
        case 0:
            fake_allocate(f, k);
            break;
        case 1:
            allocate_with(f, k, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
            break;
        case 2:
            if (allocate_with(f, k, STUN_ATTR_EVEN_PORT, SLICE_LIT("\x80")) == 0 &&
                fake_find(f, STUN_ATTR_RESERVATION_TOKEN, &v))
                memcpy(token, v.p, 8);
            break;
        case 3:
            allocate_with(f, k, STUN_ATTR_RESERVATION_TOKEN, slice_of(token, 8));
            break;
        case 4:
            fake_refresh(f, k, (uint32_t)rand_src_below(&rnd, 2) * 700);
            break;
        case 5:
            turn_core_client_gone(&f->core, &k->tuple, f->now_us);
            break;
        case 6:
            f->open_error = rand_src_below(&rnd, 4) ? 0 : -EADDRINUSE;
            break;
        case 7:
            fake_pass(f, rand_src_below(&rnd, 40) * US_PER_S);
            break;
        case 8:
            allocate_with(f, k, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
            break;
        case 9:
            fake_refresh_family(f, k, (uint8_t)(1 + rand_src_below(&rnd, 2)),
                                (uint32_t)rand_src_below(&rnd, 2) * 700);
            break;
        default:
            fake_bind(f, k, 0x4000, "8.8.8.8:1");
        }
        unsigned live = fake_addresses(f);
        unsigned held = reserve_count(f->shared.reserve);
        assert_int_equal(f->opened, live);
        assert_int_equal(fake_ports(f), live + held);
        assert_int_equal(quota_in_use(f->shared.quota), live + held);
        assert_int_equal(counter_get(&f->core.metrics.allocations),
                         alloc_table_count(&f->core.allocs));
    }
    f->open_error = 0;
}

static void test_drain_refuses_new_allocations_only(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client old, late;
    struct stun_msg m;
    struct slice v;

    fake_client_init(&old, "203.0.113.7:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &old), 0);
    turn_shared_drain(&f->shared);
    fake_client_init(&late, "203.0.113.7:2", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &late), 508);
    assert_int_equal(fake_refresh(f, &old, 900), 0);
    assert_int_equal(fake_bind(f, &old, 0x4000, "8.8.8.8:1"), 0);
    assert_int_equal(fake_channel(f, &old, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    old.tids -= 3; /* the Allocate again: the answer was lost */
    assert_int_equal(fake_allocate(f, &old), 0);
    assert_int_equal(f->opened, 1);

    f->shared.alternate[0] = fake_addr("198.51.100.1:3478");
    assert_int_equal(fake_allocate(f, &late), 300);
    assert_true(fake_find(f, STUN_ATTR_ALTERNATE_SERVER, &v));
    assert_int_equal(v.len, 8);
    assert_memory_equal(v.p, "\0\1\x0d\x96\xc6\x33\x64\x01", 8);
    assert_int_equal(stun_decode(&m, f->answer), 0);
    assert_true(m.mi_at > 0); /* nobody else may redirect */
    fake_client_init(&late, "[2001:db8::7]:2", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &late), 508); /* none of that family */
}

/* The families of the ALTERNATE-SERVERs in the last answer, in order. */
static unsigned alternate_families(struct fake_relay *f)
{
    struct stun_msg m;
    struct stun_attr a;
    unsigned families = 0;

    assert_int_equal(stun_decode(&m, f->answer), 0);
    for (struct slice at = m.attrs; stun_next(&at, &a);) {
        if (a.type == STUN_ATTR_ALTERNATE_SERVER)
            families = families * 10 + a.value.p[1];
    }
    return families;
}

/* RFC 8489 §10: the client's family, then the other; the name in the other server's certificate for
 * those who check one and have shown that they know the attribute. */
static void test_alternate_servers_are_named_as_the_rfc_says(void **state)
{
    struct fake_relay *f = *state;
    struct slice v;

    turn_shared_drain(&f->shared);
    f->shared.alternate[0] = fake_addr("198.51.100.1:3478");
    f->shared.alternate[1] = fake_addr("[2001:db8::1]:3478");
    f->shared.alternate_domain = SLICE_LIT("turn2.example.org");
    for (unsigned i = 0; i < 16; i++) {
        struct fake_client c = ann(i & 1 ? "[2001:db8::7]:2" : "203.0.113.7:1");
        c.sha256 = i & 2;
        c.tuple.transport = (uint8_t)(i >> 2); /* all four */
        bool tls = c.tuple.transport == FIVE_TUPLE_TLS || c.tuple.transport == FIVE_TUPLE_DTLS;
        assert_int_equal(fake_allocate(f, &c), 300);
        assert_int_equal(alternate_families(f), i & 1 ? 21 : 12);
        assert_int_equal(fake_find(f, STUN_ATTR_ALTERNATE_DOMAIN, &v), tls && c.sha256);
        assert_true(!(tls && c.sha256) || slice_is(v, "turn2.example.org"));
    }
    struct fake_client c = ann("203.0.113.7:99");
    c.sha256 = true;
    c.tuple.transport = FIVE_TUPLE_TLS;
    f->shared.alternate_domain = (struct slice){0}; /* the same name as here */
    assert_int_equal(fake_allocate(f, &c), 300);
    assert_false(fake_find(f, STUN_ATTR_ALTERNATE_DOMAIN, &v));
}

static void test_full_relay_sends_clients_on_when_told_to(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = ann("203.0.113.7:1");

    for (int p; (p = portpool_take(&f->relays[0].pool, PORTPOOL_ANY, 0)) >= 0;)
        ;
    f->shared.alternate[0] = fake_addr("198.51.100.1:3478");
    assert_int_equal(fake_allocate(f, &c), 508);
    f->shared.alternate_when_full = true;
    assert_int_equal(fake_allocate(f, &c), 300);
    assert_int_equal(alternate_families(f), 1);
    /* A token is worth nothing elsewhere; a client over his own quota stays so. */
    assert_int_equal(allocate_with(f, &c, STUN_ATTR_RESERVATION_TOKEN, SLICE_LIT("12345678")), 508);
    assert_int_equal(allocate_dual(f, &c), 0);      /* IPv6 is left */
    struct fake_client v6 = ann("[2001:db8::7]:2"); /* no alternate for it */
    assert_int_equal(fake_allocate(f, &v6), 508);
    f->shared.alternate[0] = (struct addr){0};
    struct fake_client other = ann("203.0.113.7:9");
    assert_int_equal(fake_allocate(f, &other), 508);
    assert_int_equal(f->opened, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_allocate_gives_an_address_of_the_relay),
        T(test_retransmission_gets_the_same_answer),
        T(test_transport_must_be_udp),
        T(test_family_is_honoured_or_refused),
        T(test_clients_in_tunnels_get_403),
        T(test_lifetime_is_clamped),
        T(test_allocation_ends_at_its_second),
        T(test_refresh_by_another_user_gets_441),
        T(test_refresh_of_another_family_gets_443),
        T(test_even_port_and_its_neighbour),
        T(test_unclaimed_reservation_comes_back),
        T(test_even_port_without_reservation),
        T(test_account_quota_gets_486),
        T(test_no_port_left_gets_508),
        T(test_socket_errors_get_508_and_hold_nothing),
        T(test_lost_connection_ends_its_allocation),
        T(test_dual_allocation_has_an_address_of_each_family),
        T(test_dual_allocation_without_one_family_says_why),
        T(test_dual_allocation_over_the_quota_says_508),
        T(test_dual_allocation_is_refused_beside_what_names_one_address),
        T(test_families_are_refreshed_and_end_apart),
        cmocka_unit_test(test_oom_allocate_holds_nothing),
        T(test_ports_in_use_equal_what_lives),
        T(test_drain_refuses_new_allocations_only),
        T(test_alternate_servers_are_named_as_the_rfc_says),
        T(test_full_relay_sends_clients_on_when_told_to),
    };

    return cmocka_run_group_tests_name("allocate", tests, NULL, NULL);
}

/* relay.c: data both ways by channel and by indication, permissions, limits, 1:1 NAT.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/fake_relay.h"
#include "tests/lib/hex.h"

#define PEER "8.8.8.8:4444"

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

static struct fake_client allocated(struct fake_relay *f, const char *at)
{
    struct fake_client c;

    fake_client_init(&c, at, "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    return c;
}

static void test_channel_data_goes_both_ways(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    struct addr peer = fake_addr(PEER);

    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("hello")), DISPATCH_DROP);
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("hello")), DISPATCH_RELAY);
    assert_true(addr_eq(&f->out.peer, &peer));
    assert_true(slice_is(f->out.payload, "hello"));
    assert_false(f->out.dont_fragment);
    assert_ptr_equal(f->out.alloc, fake_alloc(f, &c));
    assert_int_equal(fake_channel(f, &c, 0x4001, SLICE_LIT("hello")), DISPATCH_DROP);

    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("world")));
    assert_int_equal(f->back.head_len, 4);
    assert_memory_equal(f->back.head, "\x40\x00\x00\x05", 4);
    assert_int_equal(f->back.pad, 0);
    assert_true(slice_is(f->back.payload, "world"));
    const struct alloc *a = fake_alloc(f, &c);
    assert_int_equal(a->up_pkts, 1);
    assert_int_equal(a->up_bytes, 5);
    assert_int_equal(a->down_pkts, 1);
    assert_int_equal(a->down_bytes, 5);
}

static void test_streams_get_padding(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP;
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("world")));
    assert_int_equal(f->back.pad, 3);
}

static void test_dtls_gets_none(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_DTLS;
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("world")));
    assert_int_equal(f->back.pad, 0);
}

static void test_indications_go_both_ways(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    struct addr peer = fake_addr(PEER), from;
    uint8_t whole[256];
    struct stun_msg m;
    struct slice v;

    assert_int_equal(fake_send_indication(f, &c, PEER, SLICE_LIT("hi")), DISPATCH_DROP);
    assert_false(fake_from_peer(f, &c, PEER, SLICE_LIT("hi")));
    assert_int_equal(fake_permit(f, &c, "8.8.8.8:1"), 0); /* any port */
    assert_int_equal(fake_send_indication(f, &c, PEER, SLICE_LIT("hi")), DISPATCH_RELAY);
    assert_true(addr_eq(&f->out.peer, &peer));
    assert_true(slice_is(f->out.payload, "hi"));
    assert_int_equal(fake_send_indication(f, &c, PEER, SLICE_LIT("")), DISPATCH_RELAY);
    assert_int_equal(f->out.payload.len, 0);

    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("hello")));
    struct wr w = wr_init(whole, sizeof(whole));
    wr_bytes(&w, slice_of(f->back.head, f->back.head_len));
    wr_bytes(&w, f->back.payload);
    wr_zero(&w, f->back.pad);
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    assert_int_equal(m.type, stun_type(STUN_DATA, STUN_INDICATION));
    assert_true(stun_find(&m, STUN_ATTR_DATA, &v) && slice_is(v, "hello"));
    assert_true(stun_find(&m, STUN_ATTR_XOR_PEER_ADDRESS, &v));
    assert_int_equal(stun_xaddr_decode(&from, v, m.tid), 0);
    assert_true(addr_eq(&from, &peer));
    assert_false(fake_from_peer(f, &c, "8.8.4.4:4444", SLICE_LIT("stranger")));
}

static void test_longest_datagram_fits_or_is_dropped(void **state)
{
    static uint8_t big[65535];
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");

    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_true(fake_from_peer(f, &c, PEER, slice_of(big, 65507)));
    assert_false(fake_from_peer(f, &c, PEER, slice_of(big, 65535)));
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_true(fake_from_peer(f, &c, PEER, slice_of(big, 65535)));
}

static void test_dont_fragment_is_passed_on(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    uint8_t buf[256], tid[STUN_TID_BYTES] = {1};
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr peer = fake_addr(PEER);

    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    stun_begin(&w, stun_type(STUN_SEND, STUN_INDICATION), tid);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peer, tid);
    stun_put(&w, STUN_ATTR_DONT_FRAGMENT, (struct slice){0});
    stun_put(&w, STUN_ATTR_DATA, SLICE_LIT("x"));
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_RELAY);
    assert_true(f->out.dont_fragment);
}

/* "The DONT-FRAGMENT attribute MUST be ignored" where a datagram becomes one of the other family or
 * goes from IPv6 to IPv6, but not where it comes over TCP (RFC 8656 §13). */
static void test_dont_fragment_is_for_ipv4_and_streams(void **state)
{
    struct fake_relay *f = *state;
    const struct addr peers[] = {fake_addr(PEER), fake_addr("[2001:4860::1]:9")};
    uint8_t buf[1024], tid[STUN_TID_BYTES] = {1};

    for (unsigned i = 0; i < 16; i++) {
        bool v6_client = i & 1, v6_peer = i & 2;
        struct fake_client c;
        fake_client_init(&c, v6_client ? "[2001:200::1]:7" : "203.0.113.7:1", "ann",
                         "of green gables");
        c.tuple.transport = (uint8_t)(i >> 2); /* all four */
        fake_challenge(f, &c);
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
        stun_put_u32(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, v6_peer ? 2u << 24 : 1u << 24);
        assert_int_equal(fake_request(f, &c, &w), 0);
        assert_int_equal(fake_permit(f, &c, v6_peer ? "2001:4860::1" : "8.8.8.8"), 0);
        w = wr_init(buf, sizeof(buf));
        stun_begin(&w, stun_type(STUN_SEND, STUN_INDICATION), tid);
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peers[v6_peer], tid);
        stun_put(&w, STUN_ATTR_DONT_FRAGMENT, (struct slice){0});
        stun_put(&w, STUN_ATTR_DATA, SLICE_LIT("x"));
        assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_RELAY);
        assert_int_equal(f->out.dont_fragment,
                         five_tuple_is_stream(&c.tuple) || (!v6_client && !v6_peer));
        assert_int_equal(fake_refresh(f, &c, 0), 0);
    }
}

/* RFC 8489 §6.3.2. */
static void test_send_with_an_unknown_required_attribute_is_dropped(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    uint8_t buf[256], tid[STUN_TID_BYTES] = {1};
    struct addr peer = fake_addr(PEER);

    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    for (unsigned optional = 0; optional < 2; optional++) {
        struct wr w = wr_init(buf, sizeof(buf));
        stun_begin(&w, stun_type(STUN_SEND, STUN_INDICATION), tid);
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peer, tid);
        stun_put(&w, STUN_ATTR_DATA, SLICE_LIT("x"));
        stun_put_u32(&w, (enum stun_attr_type)(optional ? 0xC777 : 0x7777), 0);
        assert_int_equal(fake_send(f, &c, wr_done(&w)), optional ? DISPATCH_RELAY : DISPATCH_DROP);
    }
}

static void test_permission_of_a_channel_ends_before_the_channel(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");

    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    fake_pass(f, PERM_LIFETIME_US - 1);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    fake_pass(f, 1);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
    assert_false(fake_from_peer(f, &c, PEER, SLICE_LIT("x")));
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0); /* the binding is still there */
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("x")));
    assert_int_equal(f->back.head_len, 4);
    fake_pass(f, CHAN_LIFETIME_US - PERM_LIFETIME_US - 1);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    fake_pass(f, 1);
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
}

static void test_bandwidth_limit_covers_both_ways(void **state)
{
    static uint8_t packet[640]; /* ten tokens of 64 bytes */
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");

    f->shared.limits.throttle.bandwidth = (struct bucket_rule){20000, 20}; /* 1280 bytes a second */
    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_int_equal(fake_channel(f, &c, 0x4000, slice_of(packet, 640)), DISPATCH_RELAY);
    assert_true(fake_from_peer(f, &c, PEER, slice_of(packet, 640)));
    assert_int_equal(fake_channel(f, &c, 0x4000, slice_of(packet, 640)), DISPATCH_DROP);
    assert_false(fake_from_peer(f, &c, PEER, slice_of(packet, 640)));
    f->now_us += US_PER_S / 2;
    assert_true(fake_from_peer(f, &c, PEER, slice_of(packet, 640)));
    assert_int_equal(counter_get(&f->core.metrics.drops[TURN_DROP_BANDWIDTH]), 2);
}

static void test_packet_rate_and_users_bandwidth_cover_both_ways(void **state)
{
    static uint8_t packet[640];
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1"), d = allocated(f, "203.0.113.7:2");

    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    assert_int_equal(fake_permit(f, &d, PEER), 0);
    f->shared.limits.throttle.packets = (struct bucket_rule){2000, 2};
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("")), DISPATCH_RELAY);
    assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("")));
    assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("")), DISPATCH_DROP);
    assert_false(fake_from_peer(f, &c, PEER, SLICE_LIT("")));
    assert_int_equal(counter_get(&f->core.metrics.drops[TURN_DROP_PACKET_RATE]), 2);

    const struct bucket_rule slow = throttle_rule_bytes(1280);
    f->shared.limits.throttle = (struct throttle_rules){0};
    fake_alloc(f, &c)->throttle.user = fake_alloc(f, &d)->throttle.user = &slow;
    f->now_us += US_PER_S;
    assert_int_equal(fake_channel(f, &c, 0x4000, slice_of(packet, 640)), DISPATCH_RELAY);
    assert_true(fake_from_peer(f, &d, PEER, slice_of(packet, 500))); /* ann's other allocation */
    assert_int_equal(fake_channel(f, &c, 0x4000, slice_of(packet, 640)), DISPATCH_DROP);
    assert_false(fake_from_peer(f, &d, PEER, slice_of(packet, 640)));
    assert_int_equal(counter_get(&f->core.metrics.drops[TURN_DROP_USER_BANDWIDTH]), 2);
}

static void test_relayed_addresses_behind_nat_meet_inside(void **state)
{
    struct fake_relay *f = *state;
    char shown[ADDR_TEXT_MAX], bound[ADDR_TEXT_MAX];

    f->relays[0].bound = fake_addr("10.0.0.5");
    f->own[0] = f->relays[0].bound;
    struct fake_client a = allocated(f, "203.0.113.7:1"), b = allocated(f, "203.0.113.7:2");
    struct addr b_shown = fake_find_addr(f, STUN_ATTR_XOR_RELAYED_ADDRESS);
    struct addr b_bound = fake_alloc(f, &b)->relayed;
    struct addr a_bound = fake_alloc(f, &a)->relayed;
    assert_true(addr_ip_eq(&b_shown, &f->relays[0].shown));
    addr_format(&b_shown, shown);

    assert_int_equal(fake_bind(f, &a, 0x4000, shown), 0);
    assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_true(addr_eq(&f->out.peer, &b_bound));
    /* B has a permission for what A's relayed address is shown as. */
    assert_int_equal(fake_permit(f, &b, FAKE_RELAY), 0);
    assert_true(fake_from_peer(f, &b, addr_format(&a_bound, bound), SLICE_LIT("x")));
}

static void test_icmp_errors_become_data_indications(void **state)
{
    static const struct {
        const char *peer;
        uint8_t type, code;
        uint32_t info;
        const char *want; /* the attribute's value in hex, NULL: dropped */
    } cases[] = {
        {"8.8.8.8:53", 3, 3, 77, "0000 0603 00000000"},      /* port unreachable */
        {"8.8.8.8:53", 3, 4, 1400, "0000 0604 00000578"},    /* fragmentation needed: MTU */
        {"8.8.8.8:53", 11, 0, 0, "0000 1600 00000000"},      /* time exceeded */
        {"8.8.8.8:53", 5, 0, 0, NULL},                       /* redirect */
        {"8.8.8.8:53", 12, 0, 0, NULL},                      /* parameter problem */
        {"8.8.4.4:53", 3, 3, 0, NULL},                       /* no permission */
        {"[2001:4860::1]:9", 1, 4, 9, "0000 0204 00000000"}, /* unreachable */
        {"[2001:4860::1]:9", 2, 0, 1280, "0000 0400 00000500"},
        {"[2001:4860::1]:9", 3, 0, 0, "0000 0600 00000000"},
        {"[2001:4860::1]:9", 4, 0, 0, NULL},
        {"[2001:4860::1]:9", 129, 0, 0, NULL},
    };
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_client_init(&c, "203.0.113.7:77", "ann", "of green gables");
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
    assert_int_equal(fake_request(f, &c, &w), 0);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "[2001:4860::1]:9"), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct icmp_error e = {fake_addr(cases[i].peer), cases[i].type, cases[i].code,
                               cases[i].info};
        struct stun_msg m;
        struct slice v;
        struct addr peer;
        assert_int_equal(relay_icmp(&f->core, fake_alloc(f, &c), &e, f->now_us, &f->back),
                         cases[i].want != NULL);
        if (!cases[i].want)
            continue;
        assert_int_equal(f->back.payload.len + f->back.pad, 0);
        assert_int_equal(stun_decode(&m, slice_of(f->back.head, f->back.head_len)), 0);
        assert_int_equal(m.type, stun_type(STUN_DATA, STUN_INDICATION));
        assert_true(stun_find(&m, STUN_ATTR_XOR_PEER_ADDRESS, &v));
        assert_int_equal(stun_xaddr_decode(&peer, v, m.tid), 0);
        assert_true(addr_eq(&peer, &e.peer));
        assert_false(stun_find(&m, STUN_ATTR_DATA, &v));
        assert_true(stun_find(&m, STUN_ATTR_ICMP, &v));
        assert_true(slice_eq(v, hex_bytes(cases[i].want, buf, sizeof(buf))));
    }
}

static void test_nothing_is_allocated_per_packet(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");

    assert_int_equal(fake_bind(f, &c, 0x4000, PEER), 0);
    mem_fail_after(0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(fake_channel(f, &c, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
        assert_int_equal(fake_send_indication(f, &c, PEER, SLICE_LIT("x")), DISPATCH_RELAY);
        assert_true(fake_from_peer(f, &c, PEER, SLICE_LIT("x")));
        assert_true(fake_from_peer(f, &c, "8.8.8.8:5", SLICE_LIT("x")));
    }
    assert_false(mem_failed());
    mem_fail_never();
}

static void test_a_hop_keeps_dscp_and_ecn_and_takes_one_from_ttl(void **state)
{
    struct fake_relay *f = *state;
    struct turn_core *c = &f->core;
    struct udp_mark out = {0};

    assert_true(relay_hop(c, (struct udp_mark){0, 0}, &out)); /* not known */
    assert_int_equal(out.ttl, 0);
    assert_true(relay_hop(c, (struct udp_mark){0xb9, 64}, &out));
    assert_int_equal(out.tos, 0xb9);
    assert_int_equal(out.ttl, 63);
    assert_true(relay_hop(c, (struct udp_mark){0, 2}, &out));
    assert_int_equal(out.ttl, 1);
    uint64_t before = counter_get(&c->metrics.drops[TURN_DROP_HOP_LIMIT]);
    assert_false(relay_hop(c, (struct udp_mark){0, 1}, &out));
    assert_int_equal(counter_get(&c->metrics.drops[TURN_DROP_HOP_LIMIT]), before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_channel_data_goes_both_ways),
        T(test_streams_get_padding),
        T(test_dtls_gets_none),
        T(test_indications_go_both_ways),
        T(test_longest_datagram_fits_or_is_dropped),
        T(test_dont_fragment_is_passed_on),
        T(test_dont_fragment_is_for_ipv4_and_streams),
        T(test_send_with_an_unknown_required_attribute_is_dropped),
        T(test_permission_of_a_channel_ends_before_the_channel),
        T(test_bandwidth_limit_covers_both_ways),
        T(test_packet_rate_and_users_bandwidth_cover_both_ways),
        T(test_relayed_addresses_behind_nat_meet_inside),
        T(test_icmp_errors_become_data_indications),
        T(test_a_hop_keeps_dscp_and_ecn_and_takes_one_from_ttl),
        T(test_nothing_is_allocated_per_packet),
    };

    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}

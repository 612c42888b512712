/* permit.c: CreatePermission and ChannelBind, and that no special-purpose or own address is
 * reachable by them or by Send. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/fake_relay.h"

/* Every row of the list of addresses that a relay must refuse, one or two of each. */
static const char *const refused4[] = {
    "0.0.0.0",         "0.1.2.3",         "10.0.0.1",    "100.64.0.1",      "127.0.0.1",
    "127.255.255.254", "169.254.169.254", "172.16.0.1",  "172.31.255.254",  "192.0.0.1",
    "192.0.2.1",       "198.51.100.1",    "203.0.113.1", "192.88.99.1",     "192.168.0.1",
    "198.18.0.1",      "198.19.255.254",  "224.0.0.1",   "239.255.255.250", "240.0.0.1",
    "255.255.255.255", FAKE_OWN,
};
static const char *const refused6[] = {
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:" FAKE_OWN,
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:2::1",
    "100::1",
    "2001::1",
    "2001:100::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "::ffff:" FAKE_RELAY,
};

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

/* A client with an allocation of this family. */
static struct fake_client allocated(struct fake_relay *f, const char *at, bool v6)
{
    struct fake_client c;
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_client_init(&c, at, "ann", "of green gables");
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, v6 ? 2u << 24 : 1u << 24);
    assert_int_equal(fake_request(f, &c, &w), 0);
    return c;
}

/* tcp: a client with a TCP allocation of the same family. */
static void check_refused(struct fake_relay *f, struct fake_client *c, struct fake_client *tcp,
                          const char *ip)
{
    char peer[ADDR_TEXT_MAX];
    struct addr a = addr_with_port(fake_addr(ip), 4444);

    addr_format(&a, peer);
    if (fake_permit(f, c, peer) != 403)
        fail_msg("CreatePermission for %s", ip);
    if (fake_bind(f, c, 0x4001, peer) != 403)
        fail_msg("ChannelBind for %s", ip);
    /* Even with a permission that should not be: the policy is asked again at each Send. */
    assert_int_equal(perm_reserve(&fake_alloc(f, c)->perms, 1, f->now_us), 0);
    perm_install(&fake_alloc(f, c)->perms, &a, f->now_us);
    if (fake_send_indication(f, c, peer, SLICE_LIT("x")) != DISPATCH_DROP)
        fail_msg("Send to %s", ip);
    if (fake_connect_to(f, tcp, peer) != 403)
        fail_msg("Connect to %s", ip);
}

/* A client with a TCP allocation of this family. */
static struct fake_client allocated_tcp(struct fake_relay *f, const char *at, bool v6)
{
    struct fake_client c;
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_client_init(&c, at, "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP;
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 6u << 24);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, v6 ? 2u << 24 : 1u << 24);
    assert_int_equal(fake_request(f, &c, &w), 0);
    return c;
}

static void test_no_special_or_own_address_is_reachable(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);
    struct fake_client c6 = allocated(f, "203.0.113.7:2", true);
    struct fake_client t = allocated_tcp(f, "203.0.113.7:3", false);
    struct fake_client t6 = allocated_tcp(f, "203.0.113.7:4", true);

    for (size_t i = 0; i < ARRAY_LEN(refused4); i++)
        check_refused(f, &c, &t, refused4[i]);
    for (size_t i = 0; i < ARRAY_LEN(refused6); i++)
        check_refused(f, &c6, &t6, refused6[i]);
    assert_int_equal(f->connects, 0);
    assert_int_equal(fake_connect_to(f, &t, "8.8.8.8:80"), 0);
    assert_int_equal(fake_connect_to(f, &t6, "[2001:4860::8888]:80"), 0);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_permit(f, &c6, "2001:4860::8888"), 0);
}

/* The same peer in every form, by every method: what the policy says of the bare address is what
 * each of the four answers. (peer_policy_test has a million addresses; here the methods must ask.)
 */
static void test_all_four_methods_ask_the_one_policy(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c6 = allocated(f, "203.0.113.7:2", true);
    struct fake_client t6 = allocated_tcp(f, "203.0.113.7:4", true);
    static const char *const forms[] = {"::ffff:%s", "::%s", "::ffff:0:%s", "64:ff9b::%s",
                                        "64:ff9b:1::%s"};
    static const struct {
        const char *ip;
        bool allowed;
    } bare[] = {{"8.8.8.8", true},
                {"1.1.1.1", true},
                {"127.0.0.1", false},
                {"10.0.0.1", false},
                {"169.254.169.254", false}};

    f->shared.limits.throttle.peers = (struct bucket_rule){0};
    for (size_t i = 0; i < ARRAY_LEN(bare); i++) {
        for (size_t k = 0; k < ARRAY_LEN(forms); k++) {
            uint8_t text[ADDR_TEXT_MAX];
            struct wr w = wr_init(text, sizeof(text) - 1);
            char peer[ADDR_TEXT_MAX];
            wr_bytes(&w, slice_sub(slice_str(forms[k]), 0, strlen(forms[k]) - 2));
            wr_str(&w, bare[i].ip);
            text[w.len] = 0;
            struct addr a = addr_with_port(fake_addr((const char *)text), 80);
            addr_format(&a, peer);
            uint16_t number = (uint16_t)(0x4000 + i * ARRAY_LEN(forms) + k);
            bool want = bare[i].allowed;
            assert_int_equal(fake_permit(f, &c6, peer), want ? 0 : 403);
            assert_int_equal(fake_bind(f, &c6, number, peer), want ? 0 : 403);
            assert_int_equal(perm_reserve(&fake_alloc(f, &c6)->perms, 1, f->now_us), 0);
            perm_install(&fake_alloc(f, &c6)->perms, &a, f->now_us);
            assert_int_equal(fake_send_indication(f, &c6, peer, SLICE_LIT("x")),
                             want ? DISPATCH_RELAY : DISPATCH_DROP);
            assert_int_equal(fake_connect_to(f, &t6, peer), want ? 0 : 403);
            if (f->conn)
                connect_done(&f->core, f->conn, false, f->now_us);
        }
    }
}

static void test_requests_without_allocation_get_437(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 437);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 437);
    assert_int_equal(fake_refresh(f, &c, 600), 437);
    assert_int_equal(fake_refresh(f, &c, 0), 437);
}

static void test_peer_of_another_family_gets_443(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);

    assert_int_equal(fake_permit(f, &c, "2001:4860::8888"), 443);
    assert_int_equal(fake_bind(f, &c, 0x4000, "[2001:4860::8888]:1"), 443);
}

static void test_missing_or_malformed_peer_gets_400(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);
    uint8_t buf[512];

    for (unsigned malformed = 0; malformed < 2; malformed++) {
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_CREATE_PERMISSION);
        if (malformed)
            stun_put(&w, STUN_ATTR_XOR_PEER_ADDRESS, SLICE_LIT("\0\1\0"));
        assert_int_equal(fake_request(f, &c, &w), 400);
    }
    struct wr w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_CHANNEL_BIND);
    stun_put_u32(&w, STUN_ATTR_CHANNEL_NUMBER, 0x4000u << 16);
    assert_int_equal(fake_request(f, &c, &w), 400);
}

static void test_all_peers_are_permitted_or_none(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);

    for (unsigned bad = 0; bad < 2; bad++) {
        uint8_t buf[512];
        struct wr w = wr_init(buf, sizeof(buf));
        struct addr good = fake_addr("8.8.8.8"), other = fake_addr(bad ? "8.8.4.4" : "127.0.0.1");
        fake_begin(&c, &w, STUN_CREATE_PERMISSION);
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &good, fake_tid(&w));
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &other, fake_tid(&w));
        assert_int_equal(fake_request(f, &c, &w), bad ? 0 : 403);
        assert_int_equal(perm_allows(&fake_alloc(f, &c)->perms, &good, f->now_us), bad);
    }
}

/* What a request with several faults is told: malformed before of another family before forbidden
 * (RFC 8656 §10.2, §12.2), in whatever order they stand; and none is permitted. */
static void test_the_first_check_decides_not_the_first_peer(void **state)
{
    enum { DENIED, FAMILY, MALFORMED, KINDS };
    static const int codes[KINDS] = {403, 443, 400};
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);
    struct addr good = fake_addr("8.8.8.8");

    for (unsigned i = 0; i < KINDS * KINDS; i++) {
        const unsigned kinds[] = {i / KINDS, i % KINDS};
        uint8_t buf[512];
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_CREATE_PERMISSION);
        stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &good, fake_tid(&w));
        for (unsigned k = 0; k < 2; k++) {
            struct addr bad = fake_addr(kinds[k] == FAMILY ? "2001:4860::8888" : "127.0.0.1");
            if (kinds[k] == MALFORMED)
                stun_put(&w, STUN_ATTR_XOR_PEER_ADDRESS, SLICE_LIT("\0\1\0"));
            else
                stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &bad, fake_tid(&w));
        }
        unsigned worst = kinds[0] > kinds[1] ? kinds[0] : kinds[1];
        assert_int_equal(fake_request(f, &c, &w), codes[worst]);
        assert_false(perm_allows(&fake_alloc(f, &c)->perms, &good, f->now_us));
    }
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "127.0.0.1:1"), 400); /* bound to another */
    assert_int_equal(fake_bind(f, &c, 0x4000, "[2001:4860::8888]:1"), 400);
    assert_int_equal(fake_bind(f, &c, 0x4001, "[2001:4860::8888]:1"), 443);
}

static void test_channel_numbers_keep_to_their_range(void **state)
{
    static const struct {
        uint16_t number;
        int lenient, strict;
    } cases[] = {{0x0000, 400, 400}, {0x3fff, 400, 400}, {0x4000, 0, 0},     {0x4fff, 0, 0},
                 {0x5000, 0, 400},   {0x7fff, 0, 400},   {0x8000, 400, 400}, {0xffff, 400, 400}};
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned strict = 0; strict < 2; strict++) {
            struct fake_client c = allocated(f, "203.0.113.7:1", false);
            f->shared.limits.channel_max = strict ? 0x4fff : 0x7fff;
            assert_int_equal(fake_bind(f, &c, cases[i].number, "8.8.8.8:1"),
                             strict ? cases[i].strict : cases[i].lenient);
            assert_int_equal(fake_refresh(f, &c, 0), 0);
            f->now_us += US_PER_S;
        }
    }
}

static void test_number_and_peer_are_bound_to_each_other(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);

    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 0); /* refresh */
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:2"), 400);
    assert_int_equal(fake_bind(f, &c, 0x4001, "8.8.8.8:1"), 400);
    assert_int_equal(fake_bind(f, &c, 0x4001, "8.8.8.8:2"), 0);
}

static void test_permissions_are_bounded(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", false);
    char peer[32];

    for (unsigned i = 0; i < PERM_MAX; i++) {
        snprintf(peer, sizeof(peer), "8.8.%u.1", i);
        assert_int_equal(fake_permit(f, &c, peer), 0);
    }
    assert_int_equal(fake_permit(f, &c, "9.9.9.9"), 508);
    assert_int_equal(fake_bind(f, &c, 0x4000, "9.9.9.9:1"), 508);
    fake_pass(f, PERM_LIFETIME_US);
    assert_int_equal(fake_permit(f, &c, "9.9.9.9"), 0);
}

static void test_relay_to_relay_needs_a_live_port(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client a = allocated(f, "203.0.113.7:1", false);
    struct fake_client b = allocated(f, "203.0.113.7:2", false);
    struct addr of_b = fake_alloc(f, &b)->relayed;
    char live[ADDR_TEXT_MAX], dead[ADDR_TEXT_MAX], low[ADDR_TEXT_MAX];
    struct addr unused = of_b, service = addr_with_port(of_b, 22);

    while (portpool_is_taken(&f->relays[0].pool, unused.port))
        unused.port = unused.port < FAKE_MAX_PORT ? unused.port + 1 : FAKE_MIN_PORT;
    addr_format(&of_b, live);
    addr_format(&unused, dead);
    addr_format(&service, low);
    assert_int_equal(fake_permit(f, &a, FAKE_RELAY), 0);
    assert_int_equal(fake_bind(f, &a, 0x4000, live), 0);
    assert_int_equal(fake_bind(f, &a, 0x4001, dead), 403);
    assert_int_equal(fake_bind(f, &a, 0x4001, low), 403);
    assert_int_equal(fake_send_indication(f, &a, live, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(fake_send_indication(f, &a, dead, SLICE_LIT("x")), DISPATCH_DROP);
    assert_int_equal(fake_send_indication(f, &a, low, SLICE_LIT("x")), DISPATCH_DROP);
    assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_RELAY);
    assert_int_equal(fake_refresh(f, &b, 0), 0); /* its port is free, perhaps for somebody else */
    assert_int_equal(fake_channel(f, &a, 0x4000, SLICE_LIT("x")), DISPATCH_DROP);
    f->shared.policy.allow_relay_to_relay = false;
    assert_int_equal(fake_permit(f, &a, FAKE_RELAY), 403);
}

static void test_new_peers_come_at_a_limited_rate(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    f->shared.limits.throttle.peers = (struct bucket_rule){1000, 2};
    assert_int_equal(fake_permit(f, &c, "8.8.8.1"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.2:1"), 0);
    assert_int_equal(fake_permit(f, &c, "8.8.8.3"), 508);
    assert_int_equal(fake_bind(f, &c, 0x4001, "8.8.8.3:1"), 508);
    assert_int_equal(counter_get(&f->core.metrics.peers_refused), 2);
    /* Refreshing what is permitted costs nothing. */
    assert_int_equal(fake_permit(f, &c, "8.8.8.1"), 0);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.2:1"), 0);
    f->now_us += US_PER_S;
    assert_int_equal(fake_permit(f, &c, "8.8.8.3"), 0);
    assert_int_equal(fake_permit(f, &c, "8.8.8.4"), 508);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_no_special_or_own_address_is_reachable),
        T(test_all_four_methods_ask_the_one_policy),
        T(test_requests_without_allocation_get_437),
        T(test_peer_of_another_family_gets_443),
        T(test_missing_or_malformed_peer_gets_400),
        T(test_all_peers_are_permitted_or_none),
        T(test_the_first_check_decides_not_the_first_peer),
        T(test_channel_numbers_keep_to_their_range),
        T(test_number_and_peer_are_bound_to_each_other),
        T(test_permissions_are_bounded),
        T(test_relay_to_relay_needs_a_live_port),
        T(test_new_peers_come_at_a_limited_rate),
    };

    return cmocka_run_group_tests_name("permit", tests, NULL, NULL);
}

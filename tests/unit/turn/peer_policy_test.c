/* peer_policy.c: every special-purpose block, every way to wrap IPv4 in IPv6, our own addresses,
 * the switches and lists. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/peer_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

#define ROUNDS 1000000

static struct addr own[3], relay[2];

static struct addr at(const char *text)
{
    struct addr a;

    if (addr_parse(&a, slice_str(text)) != 0)
        abort();
    return a;
}

static struct cidr block(const char *text)
{
    struct cidr c;

    if (cidr_parse(&c, slice_str(text)) != 0)
        abort();
    return c;
}

/* The default rules of a machine with these addresses. */
static struct peer_policy defaults(void)
{
    own[0] = at("198.41.0.99");
    own[1] = at("10.1.2.3");
    own[2] = at("2606:4700::99");
    relay[0] = at("198.41.0.4");
    relay[1] = at("2606:4700::4");
    return (struct peer_policy){.own = own, .n_own = 3, .relay = relay, .n_relay = 2};
}

/* reliability: both ends of every block that must be refused by default. */
static const char *const refused[] = {
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "192.88.99.0",
    "192.88.99.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "198.41.0.99",
    "198.41.0.4",
    "10.1.2.3",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::ffff:0:127.0.0.1",
    "64:ff9b::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:1::808:808",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "2001::",
    "2001:0:7f00:1::",
    "2001:1::1",
    "2001:10::",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::",
    "2001:db8:ffff:ffff::",
    "2002::",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "2002:808:808::1",
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:0:808:808:0:ffff:f7f7:f7f7",
    "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff::",
    "3fff:fff:ffff::",
    "5f00::",
    "5f00:ffff::",
    "fc00::",
    "fd12:3456::1",
    "fdff:ffff::",
    "fe80::",
    "fe80::1",
    "febf::1",
    "fec0::",
    "feff::1",
    "ff00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2606:4700::99",
    "2606:4700::4",
    "::ffff:198.41.0.4",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:7f00:1",
};

static const char *const allowed[] = {
    "1.0.0.0",          "8.8.8.8",        "9.255.255.255",   "11.0.0.0",
    "100.63.255.255",   "100.128.0.0",    "126.255.255.255", "128.0.0.0",
    "169.253.255.255",  "169.255.0.0",    "172.15.255.255",  "172.32.0.0",
    "191.255.255.255",  "192.0.1.0",      "192.0.3.0",       "192.167.255.255",
    "192.169.0.0",      "198.17.255.255", "198.20.0.0",      "223.255.255.255",
    "198.41.0.98",      "2606:4700::98",  "2001:200::1",     "2001:4860:4860::8888",
    "2003::1",          "2a00:1450::1",   "4000::1",         "::ffff:8.8.8.8",
    "64:ff9b::808:808",
};

static void test_special_and_own_addresses_are_refused(void **state)
{
    struct peer_policy p = defaults();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct addr a = at(refused[i]);
        if (peer_policy_check(&p, &a) != PEER_DENIED)
            fail_msg("%s is not refused", refused[i]);
    }
    struct addr none = {0};
    assert_int_equal(peer_policy_check(&p, &none), PEER_DENIED);
}

static void test_global_addresses_are_allowed(void **state)
{
    struct peer_policy p = defaults();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        struct addr a = at(allowed[i]);
        if (peer_policy_check(&p, &a) != PEER_ALLOWED)
            fail_msg("%s is not allowed", allowed[i]);
    }
}

/* An IPv6 address of 12 given bytes and v4, at offset and XORed with flip. */
static struct addr wrap(const uint8_t prefix[16], size_t offset, const uint8_t v4[4], uint8_t flip)
{
    struct addr a = {.family = ADDR_V6};

    memcpy(a.ip, prefix, 16);
    for (size_t i = 0; i < 4; i++)
        a.ip[offset + i] = v4[i] ^ flip;
    return a;
}

static void test_wrapped_ipv4_gets_the_bare_verdict(void **state)
{
    static const struct {
        const char *name;
        uint8_t prefix[16];
        size_t offset;
        uint8_t flip;
    } forms[] = {
        {"mapped", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 0},
        {"translated", {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 0},
        {"compatible", {0}, 12, 0},
        {"nat64", {0, 0x64, 0xff, 0x9b}, 12, 0},
        {"local nat64", {0, 0x64, 0xff, 0x9b, 0, 1}, 12, 0},
        {"isatap", {0x2a, 0, 0x14, 0x50, 0, 0, 0, 0, 0, 0, 0x5e, 0xfe}, 12, 0},
        {"isatap, unique", {0x2a, 0, 0x14, 0x50, 0, 0, 0, 0, 2, 0, 0x5e, 0xfe}, 12, 0},
    };
    struct peer_policy p = defaults();
    struct rand_src rnd;

    (void)state;
    rand_src_init(&rnd, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct addr bare = {.family = ADDR_V4};
        uint64_t r = rand_src_u64(&rnd);
        memcpy(bare.ip, &r, 4);
        if (i % 4 == 0) { /* half of IPv4 is global: make special ones frequent */
            struct addr special = at(refused[i / 4 % 36]);
            memcpy(bare.ip, special.ip, 4);
        }
        enum peer_verdict want = peer_policy_check(&p, &bare);
        for (size_t k = 0; k < ARRAY_LEN(forms); k++) {
            struct addr a = wrap(forms[k].prefix, forms[k].offset, bare.ip, forms[k].flip);
            if (peer_policy_check(&p, &a) != want) {
                char text[ADDR_TEXT_MAX];
                fail_msg("%s of %s differs", forms[k].name, addr_ip_format(&bare, text));
            }
        }
    }
}

/* "A TURN server MUST NOT accept Teredo or 6to4 addresses" (RFC 8656 §21.4). */
static void test_no_list_opens_tunnels(void **state)
{
    static const struct {
        const char *ip;
        bool tunnel;
    } cases[] = {
        {"2002:808:808::1", true}, {"2001:0:808:808:0:ffff:f7f7:f7f7", true},
        {"2001:1::1", false},      {"2003::1", false},
        {"2001:4860::1", false},   {"8.8.8.8", false},
        {"::ffff:8.8.8.8", false}, {"64:ff9b::808:808", false},
    };
    const struct cidr all = {.base = {.family = ADDR_V6}};
    struct peer_policy p = defaults();

    (void)state;
    p.allow = &all;
    p.n_allow = 1;
    p.allow_private = p.allow_own = p.allow_loopback = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct addr a = at(cases[i].ip);
        assert_int_equal(peer_policy_is_tunnel(&a), cases[i].tunnel);
        assert_int_equal(peer_policy_check(&p, &a), cases[i].tunnel ? PEER_DENIED : PEER_ALLOWED);
    }
}

static void test_private_ranges_have_a_switch(void **state)
{
    static const char *const opened[] = {"10.0.0.1",   "172.16.0.1", "192.168.1.1",
                                         "100.64.0.1", "fd00::1",    "::ffff:192.168.1.1"};
    static const char *const kept[] = {"127.0.0.1", "169.254.169.254", "10.1.2.3", "fe80::1",
                                       "0.0.0.0",   "224.0.0.1",       "::1"};
    struct peer_policy p = defaults();

    (void)state;
    p.allow_private = true;
    for (size_t i = 0; i < ARRAY_LEN(opened); i++) {
        struct addr a = at(opened[i]);
        assert_int_equal(peer_policy_check(&p, &a), PEER_ALLOWED);
    }
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct addr a = at(kept[i]);
        assert_int_equal(peer_policy_check(&p, &a), PEER_DENIED);
    }
}

static void test_development_switches_open_own_and_loopback_only(void **state)
{
    struct peer_policy p = defaults();
    struct addr mine = at("10.1.2.3"), lo = at("127.0.0.1"), lo6 = at("::1"),
                other = at("10.9.9.9");

    (void)state;
    p.allow_own = true;
    assert_int_equal(peer_policy_check(&p, &mine), PEER_ALLOWED);
    assert_int_equal(peer_policy_check(&p, &lo), PEER_DENIED);
    assert_int_equal(peer_policy_check(&p, &other), PEER_DENIED);
    p.allow_loopback = true;
    assert_int_equal(peer_policy_check(&p, &lo), PEER_ALLOWED);
    assert_int_equal(peer_policy_check(&p, &lo6), PEER_ALLOWED);
    assert_int_equal(peer_policy_check(&p, &other), PEER_DENIED);
}

static void test_relayed_addresses_are_told_apart(void **state)
{
    struct peer_policy p = defaults();
    struct addr wrapped = at("::ffff:198.41.0.4");

    (void)state;
    p.allow_relay_to_relay = true;
    assert_int_equal(peer_policy_check(&p, &relay[0]), PEER_RELAY);
    assert_int_equal(peer_policy_check(&p, &relay[1]), PEER_RELAY);
    assert_int_equal(peer_policy_check(&p, &own[0]), PEER_DENIED);
    assert_int_equal(peer_policy_check(&p, &wrapped), PEER_DENIED);
    p.allow_own = true;
    assert_int_equal(peer_policy_check(&p, &relay[0]), PEER_ALLOWED);
}

static void test_lists_go_before_ranges(void **state)
{
    struct peer_policy p = defaults();
    struct cidr allow[] = {block("10.0.0.0/8"), block("169.254.7.0/24"), block("0.0.0.0/0"),
                           block("fd00::/8")};
    struct cidr deny[] = {block("8.8.8.0/24"), block("10.5.0.0/16"), block("2a00::/16")};
    struct {
        const char *text;
        enum peer_verdict want;
    } cases[] = {
        {"10.9.9.9", PEER_ALLOWED},      {"169.254.7.7", PEER_ALLOWED}, {"fd00::1", PEER_ALLOWED},
        {"10.1.2.3", PEER_DENIED}, /* own */
        {"127.0.0.1", PEER_DENIED},      {"0.0.0.0", PEER_DENIED},      {"224.0.0.1", PEER_DENIED},
        {"8.8.8.8", PEER_DENIED},        {"10.5.1.1", PEER_DENIED},     {"2a00::1", PEER_DENIED},
        {"::ffff:8.8.8.8", PEER_DENIED}, {"8.8.9.9", PEER_ALLOWED},
    };

    (void)state;
    p.allow = allow;
    p.n_allow = ARRAY_LEN(allow);
    p.deny = deny;
    p.n_deny = ARRAY_LEN(deny);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct addr a = at(cases[i].text);
        if (peer_policy_check(&p, &a) != cases[i].want)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_and_own_addresses_are_refused),
        cmocka_unit_test(test_global_addresses_are_allowed),
        cmocka_unit_test(test_wrapped_ipv4_gets_the_bare_verdict),
        cmocka_unit_test(test_no_list_opens_tunnels),
        cmocka_unit_test(test_private_ranges_have_a_switch),
        cmocka_unit_test(test_development_switches_open_own_and_loopback_only),
        cmocka_unit_test(test_relayed_addresses_are_told_apart),
        cmocka_unit_test(test_lists_go_before_ranges),
    };

    return cmocka_run_group_tests_name("peer_policy", tests, NULL, NULL);
}

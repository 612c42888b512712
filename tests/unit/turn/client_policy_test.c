/* client_policy.c: deny goes first, an empty allow list allows everybody.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/client_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct cidr block(const char *text)
{
    struct cidr c;

    assert_int_equal(cidr_parse(&c, slice_str(text)), 0);
    return c;
}

static bool allows(const struct client_policy *p, const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return client_policy_allows(p, &a);
}

static void test_empty_lists_allow_everybody(void **state)
{
    const struct client_policy p = {0};

    (void)state;
    assert_true(allows(&p, "203.0.113.7:1"));
    assert_true(allows(&p, "[2001:db8::1]:1"));
}

static void test_deny_goes_before_allow(void **state)
{
    const struct cidr allow[] = {block("203.0.113.0/24"), block("2001:db8::/32")};
    const struct cidr deny[] = {block("203.0.113.128/25")};
    const struct client_policy p = {.allow = allow, .deny = deny, .n_allow = 2, .n_deny = 1};
    static const struct {
        const char *client;
        bool want;
    } cases[] = {
        {"203.0.113.0:1", true},        {"203.0.113.127:65535", true}, {"203.0.113.128:1", false},
        {"203.0.113.255:1", false},     {"203.0.112.255:1", false},    {"203.0.114.0:1", false},
        {"[2001:db8:ffff::1]:1", true}, {"[2001:db9::1]:1", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (allows(&p, cases[i].client) != cases[i].want)
            fail_msg("%s", cases[i].client);
    }
}

static void test_deny_alone_leaves_the_rest(void **state)
{
    const struct cidr deny[] = {block("10.0.0.0/8")};
    const struct client_policy p = {.deny = deny, .n_deny = 1};

    (void)state;
    assert_false(allows(&p, "10.255.255.255:1"));
    assert_true(allows(&p, "11.0.0.0:1"));
    assert_true(allows(&p, "[::1]:1"));
}

static void test_proxies_are_those_that_are_named(void **state)
{
    struct cidr lb;
    struct addr in, out;

    (void)state;
    assert_int_equal(cidr_parse(&lb, SLICE_LIT("10.1.0.0/16")), 0);
    assert_int_equal(addr_parse(&in, SLICE_LIT("10.1.2.3:5")), 0);
    assert_int_equal(addr_parse(&out, SLICE_LIT("10.2.2.3:5")), 0);
    const struct client_policy p = {.proxies = &lb, .n_proxies = 1}, none = {0};
    assert_true(client_policy_is_proxy(&p, &in));
    assert_false(client_policy_is_proxy(&p, &out));
    assert_false(client_policy_is_proxy(&none, &in));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_lists_allow_everybody),
        cmocka_unit_test(test_deny_goes_before_allow),
        cmocka_unit_test(test_proxies_are_those_that_are_named),
        cmocka_unit_test(test_deny_alone_leaves_the_rest),
    };

    return cmocka_run_group_tests_name("client_policy", tests, NULL, NULL);
}

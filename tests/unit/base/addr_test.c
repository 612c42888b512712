/* Tests of base/addr: text both ways, kernel form, CIDR membership, hashing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/addr.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>

static struct addr addr_of(const char *text)
{
    struct addr a = {0};
    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return a;
}

static void test_text_round_trips(void **state)
{
    (void)state;
    static const struct {
        const char *in, *full, *ip;
        uint8_t family;
        uint16_t port;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1:0", "192.0.2.1", ADDR_V4, 0},
        {"192.0.2.1:3478", "192.0.2.1:3478", "192.0.2.1", ADDR_V4, 3478},
        {"0.0.0.0:65535", "0.0.0.0:65535", "0.0.0.0", ADDR_V4, 65535},
        {"2001:db8::1", "[2001:db8::1]:0", "2001:db8::1", ADDR_V6, 0},
        {"[2001:DB8::1]:3478", "[2001:db8::1]:3478", "2001:db8::1", ADDR_V6, 3478},
        {"::", "[::]:0", "::", ADDR_V6, 0},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:0", "::ffff:192.0.2.1", ADDR_V6, 0},
        {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
         "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
         "1111:2222:3333:4444:5555:6666:7777:8888", ADDR_V6, 65535},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i].in);
        uint8_t *g = guard_copy(cases[i].in, n);
        char buf[ADDR_TEXT_MAX];
        struct addr a = {0};
        assert_int_equal(addr_parse(&a, slice_of(g, n)), 0);
        assert_int_equal(a.family, cases[i].family);
        assert_int_equal(a.port, cases[i].port);
        assert_string_equal(addr_format(&a, buf), cases[i].full);
        assert_string_equal(addr_ip_format(&a, buf), cases[i].ip);
        guard_free(g, n);
    }
    char buf[ADDR_TEXT_MAX];
    assert_string_equal(addr_format(&(struct addr){0}, buf), "none");
}

static void test_anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "1.2.3",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:08",
        "1.2.3.4:-1",
        "1.2.3.4 ",
        " 1.2.3.4",
        "256.1.1.1",
        "01.2.3.4",
        "host",
        "[1.2.3.4]:80",
        "[::1]",
        "[::1]:",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[",
        "[]",
        "]",
        "[::1]]:80",
        "[::1]80",
        "::1%lo",
        "1::2::3",
        "::ffff:1.2.3.4:5",
        "1.2.3.4:5:6",
        "[::1]:80 ",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333"};
    struct addr a = {.family = 99};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(addr_parse(&a, slice_str(bad[i])), -EINVAL);
    assert_int_equal(addr_parse(&a, SLICE_LIT("1.2.3.4\0")), -EINVAL);
    assert_int_equal(a.family, 99);
}

static void test_kernel_form_round_trips(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.1:3478", "[2001:db8::1]:443"};
    static const unsigned sizes[] = {sizeof(struct sockaddr_in), sizeof(struct sockaddr_in6)};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct addr a = addr_of(texts[i]);
        struct sockaddr_storage ss;
        assert_int_equal(addr_to_sockaddr(&a, &ss), sizes[i]);
        struct addr back = addr_from_sockaddr((const struct sockaddr *)&ss);
        assert_memory_equal(&a, &back, sizeof(a));
    }
    struct sockaddr_storage ss;
    assert_int_equal(addr_to_sockaddr(&(struct addr){0}, &ss), 0);
    ss.ss_family = AF_UNIX;
    assert_int_equal(addr_from_sockaddr((const struct sockaddr *)&ss).family, ADDR_NONE);
}

static void test_hash_follows_equality(void **state)
{
    (void)state;
    struct addr a = addr_of("192.0.2.1:1"), b = addr_of("192.0.2.1:2"), c = addr_of("192.0.2.2:1");

    assert_true(addr_hash(&a) == addr_hash(&(struct addr){{192, 0, 2, 1}, 1, ADDR_V4, 0}));
    assert_true(addr_hash(&a) != addr_hash(&b));
    assert_true(addr_ip_hash(&a) == addr_ip_hash(&b));
    assert_true(addr_ip_hash(&a) != addr_ip_hash(&c));
    assert_true(addr_ip_eq(&a, &b) && !addr_eq(&a, &b) && !addr_ip_eq(&a, &c));
    a = addr_of("[2001:db8::1]:1");
    b = addr_with_port(a, 2);
    assert_true(addr_hash(&a) != addr_hash(&b) && addr_ip_hash(&a) == addr_ip_hash(&b));
}

static void test_cidr_contains_its_range_and_no_more(void **state)
{
    (void)state;
    static const struct {
        const char *net, *ip;
        bool in;
    } cases[] = {
        {"10.0.0.0/8", "10.0.0.0", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1/32", "192.0.2.0", false},
        {"192.0.2.0/31", "192.0.2.1", true},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
        {"::/0", "1.2.3.4", false},
        {"fc00::/7", "fdff::1", true},
        {"fc00::/7", "fe00::", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"::ffff:0:0/96", "::ffff:10.0.0.1", true},
        {"10.0.0.0/8", "::ffff:10.0.0.1", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cidr c;
        struct addr a = addr_of(cases[i].ip);
        assert_int_equal(cidr_parse(&c, slice_str(cases[i].net)), 0);
        assert_int_equal(cidr_contains(&c, &a), cases[i].in);
    }
    assert_false(cidr_contains(&(struct cidr){0}, &(struct addr){0}));
}

static void test_cidr_refuses_host_bits_and_nonsense(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "/",       "10.0.0.0/",    "10.0.0.0/33", "10.0.0.1/8",   "10.0.0.0/08",
        "::/129",     "::1/127", "10.0.0.0/8/8", "/8",          "10.0.0.0:1/8", "[::]/0",
        "128.0.0.0/0"};
    struct cidr c = {.bits = 99};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(cidr_parse(&c, slice_str(bad[i])), -EINVAL);
    assert_int_equal(c.bits, 99);
}

static void test_loopback_is_127_and_one(void **state)
{
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {{"127.0.0.1", true},
                 {"127.255.255.255", true},
                 {"126.255.255.255", false},
                 {"128.0.0.0", false},
                 {"0.0.0.0", false},
                 {"::1", true},
                 {"::", false},
                 {"::2", false},
                 {"::ffff:127.0.0.1", false},
                 {"1::1", false}};
    struct addr a;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(addr_parse(&a, slice_str(cases[i].text)), 0);
        assert_int_equal(addr_is_loopback(&a), cases[i].loopback);
    }
    a = (struct addr){0};
    assert_false(addr_is_loopback(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_round_trips),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_kernel_form_round_trips),
        cmocka_unit_test(test_hash_follows_equality),
        cmocka_unit_test(test_cidr_contains_its_range_and_no_more),
        cmocka_unit_test(test_cidr_refuses_host_bits_and_nonsense),
        cmocka_unit_test(test_loopback_is_127_and_one),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}

/* Tests of turn/turn_register.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/turncred.h"
#include "turn/turn_register.h"

static struct turn_conf conf;
static struct turn_register out;

static struct addr at(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return a;
}

static int set_up(void **state)
{
    static char realm[] = "sori", none[] = "", node[] = "r1", region[] = "eu", server[] = "";

    (void)state;
    conf = (struct turn_conf){.realm = realm,
                              .server = server,
                              .usage_node = node,
                              .usage_region = region,
                              .cluster = {.node = none, .region = none, .weight = 3}};
    conf.listen_udp[conf.n_udp++] = at("10.0.0.7:3478");
    conf.listen_udp[conf.n_udp++] = at("[2001:db8::7]:3478");
    conf.listen_tcp[conf.n_tcp++] = at("10.0.0.7:3479");
    conf.listen_tls[conf.n_tls++] = at("10.0.0.7:5349");
    return 0;
}

static void is_at(size_t i, const char *url)
{
    assert_true(i < out.record.at_n);
    assert_int_equal(out.record.at[i].len, strlen(url));
    assert_memory_equal(out.record.at[i].p, url, strlen(url));
    assert_true(node_record_place_ok(NODE_RELAY, out.record.at[i]));
}

static void test_addresses_become_urls_as_seen_from_outside(void **state)
{
    (void)state;
    conf.external[conf.n_external++] =
        (struct turn_external){.shown = at("203.0.113.7"), .bound = at("10.0.0.7")};
    assert_int_equal(turn_register_fill(&out, &conf, NULL), 0);
    assert_int_equal(out.record.at_n, 3); /* of TLS we do not know the name */
    is_at(0, "turn:203.0.113.7:3478?transport=udp");
    is_at(1, "turn:[2001:db8::7]:3478?transport=udp");
    is_at(2, "turn:203.0.113.7:3479?transport=tcp");
    assert_int_equal(out.record.weight, 3);
    assert_true(slice_is(out.record.region, "eu"));
    assert_int_equal(out.record.keys_n, 0);
}

static void test_what_is_configured_goes_instead(void **state)
{
    char *urls[] = {(char *)"turns:t.example:5349"};
    char other[] = "us";

    (void)state;
    conf.cluster.urls = (struct conf_list){urls, 1};
    conf.cluster.region = other;
    assert_int_equal(turn_register_fill(&out, &conf, NULL), 0);
    assert_int_equal(out.record.at_n, 1);
    is_at(0, "turns:t.example:5349");
    assert_true(slice_is(out.record.region, "us"));
}

static void test_who_does_stun_only_is_no_relay(void **state)
{
    (void)state;
    conf.stun_only = true;
    assert_int_equal(turn_register_fill(&out, &conf, NULL), 0);
    assert_int_equal(out.record.at_n, 2);
    is_at(0, "stun:10.0.0.7:3478");
}

static void test_more_addresses_than_fit_are_cut(void **state)
{
    (void)state;
    while (conf.n_udp < TURN_LISTEN_MAX)
        conf.listen_udp[conf.n_udp++] = at("10.0.0.7:3478");
    assert_int_equal(turn_register_fill(&out, &conf, NULL), 0);
    assert_int_equal(out.record.at_n, NODE_RECORD_AT_MAX);
}

static void is_marked(size_t i, const char *secret)
{
    uint8_t mark[TURNCRED_MARK_BYTES];

    assert_int_equal(turncred_mark(mark, slice_str(secret)), 0);
    assert_true(i < out.record.keys_n &&
                slice_eq(out.record.keys[i], slice_of(mark, sizeof(mark))));
}

static void test_every_secret_of_the_default_realm_has_a_mark(void **state)
{
    static struct shared_secrets others;

    (void)state;
    conf.secret = (struct conf_secret){.p = (uint8_t *)"one", .len = 3};
    conf.previous_secret = (struct conf_secret){.p = (uint8_t *)"two", .len = 3};
    others.of[0].n = others.of[1].n = 1;
    others.of[0].len[0] = others.of[1].len[0] = 5;
    memcpy(others.of[0].bytes[0], "three", 5);
    memcpy(others.of[1].bytes[0], "other", 5);
    assert_int_equal(turn_register_fill(&out, &conf, &others), 0);
    assert_int_equal(out.record.keys_n, 3);
    is_marked(0, "one");
    is_marked(1, "two");
    is_marked(2, "three");
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_addresses_become_urls_as_seen_from_outside),
        TEST(test_what_is_configured_goes_instead),
        TEST(test_who_does_stun_only_is_no_relay),
        TEST(test_more_addresses_than_fit_are_cut),
        TEST(test_every_secret_of_the_default_realm_has_a_mark),
    };

    return cmocka_run_group_tests_name("turn_register", tests, NULL, NULL);
}

/* Tests of server/ice_servers.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ice_servers.h"

#include "base/clock.h"
#include "proto/json.h"
#include "proto/turncred.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#define WALL (UINT64_C(1767225600) * US_PER_S)

static char secret[] = "relay-secret";

static const char *write(char **urls, size_t n)
{
    static char out[ICE_SERVERS_MAX + 1];
    const struct server_conf conf = {.turn = {.urls = {urls, n},
                                              .secret = {(uint8_t *)secret, sizeof(secret) - 1},
                                              .ttl_s = 600}};
    struct wr w = wr_init(out, ICE_SERVERS_MAX);

    ice_servers_write(&w, &conf, SLICE_LIT("call-1"), SLICE_LIT("alice"), WALL);
    assert_false(w.bad);
    out[w.len] = 0;
    return out;
}

static void test_nothing_configured_is_an_empty_array(void **state)
{
    (void)state;
    assert_string_equal(write(NULL, 0), "[]");
}

static void test_stun_urls_carry_no_credential(void **state)
{
    char *urls[] = {(char *)"stun:a:1", (char *)"stun:b:2"};

    (void)state;
    assert_string_equal(write(urls, 2), "[{\"urls\":[\"stun:a:1\",\"stun:b:2\"]}]");
}

static void test_relays_get_a_credential_that_the_relay_accepts(void **state)
{
    char *urls[] = {(char *)"turn:a:1", (char *)"stun:s:1", (char *)"turns:b:2?transport=tcp"};
    uint8_t password[TURNCRED_PASSWORD_BYTES];
    char want[400];

    (void)state;
    struct slice user = SLICE_LIT("1767226200:call-1:alice");
    assert_int_equal(turncred_password(password, slice_str(secret), user), 0);
    snprintf(want, sizeof(want),
             "[{\"urls\":[\"stun:s:1\"]},{\"urls\":[\"turn:a:1\",\"turns:b:2?transport=tcp\"],"
             "\"username\":\"%.*s\",\"credential\":\"%.*s\"}]",
             SLICE_FMT(user), (int)sizeof(password), (const char *)password);
    assert_string_equal(write(urls, 3), want);
    const struct json_limits limits = {.depth = 8, .values = 100, .bytes = 10000};
    assert_int_equal(json_scan(slice_str(want), &limits), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_configured_is_an_empty_array),
        cmocka_unit_test(test_stun_urls_carry_no_credential),
        cmocka_unit_test(test_relays_get_a_credential_that_the_relay_accepts),
    };

    return cmocka_run_group_tests_name("ice_servers", tests, NULL, NULL);
}

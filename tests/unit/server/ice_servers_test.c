/* Tests of server/ice_servers.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ice_servers.h"

#include "base/clock.h"
#include "proto/json.h"
#include "proto/turncred.h"
#include "server/node_list.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#define WALL (UINT64_C(1767225600) * US_PER_S)

static char secret[] = "relay-secret";

static struct node_list *relays;

static const char *write(char **urls, size_t n)
{
    static char out[ICE_SERVERS_MAX + 1];
    const struct server_conf conf = {.turn = {.urls = {urls, n},
                                              .secret = {(uint8_t *)secret, sizeof(secret) - 1},
                                              .ttl_s = 600,
                                              .relays = 2}};
    struct wr w = wr_init(out, ICE_SERVERS_MAX);

    ice_servers_write(&w, &conf, relays, SLICE_LIT("call-1"), SLICE_LIT("alice"), WALL);
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

/* Tells the list of n relays: records as they stand in Redis. */
static void register_relays(const char *const *records, size_t n)
{
    const struct node_list_conf conf = {.secret = slice_str(secret), .seed = 1};
    struct resp text[8], *item[8], reply = {.kind = RESP_ARRAY, .n = 2 * n, .item = item};

    for (size_t i = 0; i < 2 * n; i++) {
        text[i] = (struct resp){.kind = RESP_STRING,
                                .text = slice_str(i % 2 ? records[i / 2]
                                                  : i   ? "b"
                                                        : "a")};
        item[i] = &text[i];
    }
    relays = node_list_new(&conf);
    assert_int_equal(node_list_take(relays, NODE_RELAY, &reply, 0), 0);
}

#define RECORD "1 epoch=00000000000000ff "

static void test_registered_relays_stand_behind_the_configured_ones(void **state)
{
    static const char *const records[] = {RECORD "load=0 at=turn:r1:1 at=stun:r1:1",
                                          RECORD "load=900 at=turns:r2:2"};
    char *urls[] = {(char *)"turn:a:1"};

    (void)state;
    register_relays(records, 2);
    const char *out = write(urls, 1);
    assert_non_null(strstr(out, "[{\"urls\":[\"stun:r1:1\"]},{\"urls\":[\"turn:a:1\","
                                "\"turn:r1:1\",\"turns:r2:2\"],\"username\":"));
    out = write(NULL, 0);
    assert_non_null(strstr(out, "{\"urls\":[\"turn:r1:1\",\"turns:r2:2\"],\"username\":"));
    node_list_free(relays);
    relays = NULL;
}

static void test_a_relay_that_takes_too_much_room_is_left_out(void **state)
{
    char big[NODE_RECORD_TEXT_MAX + 1];
    const char *const records[] = {big, big};
    size_t len = (size_t)snprintf(big, sizeof(big), RECORD);

    (void)state;
    for (int i = 0; i < 8; i++)
        len += (size_t)snprintf(big + len, sizeof(big) - len, " at=turn:%0*d", 480, i);
    register_relays(records, 2);
    const char *out = write(NULL, 0), *first = strstr(out, "000001\"");
    assert_non_null(first);
    assert_null(strstr(first + 1, "000001\""));
    node_list_free(relays);
    relays = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_configured_is_an_empty_array),
        cmocka_unit_test(test_stun_urls_carry_no_credential),
        cmocka_unit_test(test_relays_get_a_credential_that_the_relay_accepts),
        cmocka_unit_test(test_registered_relays_stand_behind_the_configured_ones),
        cmocka_unit_test(test_a_relay_that_takes_too_much_room_is_left_out),
    };

    return cmocka_run_group_tests_name("ice_servers", tests, NULL, NULL);
}

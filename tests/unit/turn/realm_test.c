/* realm.c: which realm a request belongs to, by listener, host and origin; who may be used where.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/realm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { DEFAULT, PORT, HOST, BOTH, WEB, PORT_WEB };

/* By number: the default realm; at listener 1; for host a; for host b at listener 2; for an origin
 * anywhere; at listener 1 for an origin. */
static const struct realm_table table = {
    .of =
        {
            [DEFAULT] = {.name = SLICE_LIT("default")},
            [PORT] = {.name = SLICE_LIT("port"), .has_listeners = true, .listeners = {[1] = true}},
            [HOST] = {.name = SLICE_LIT("host"), .has_hosts = true},
            [BOTH] = {.name = SLICE_LIT("both"),
                      .has_hosts = true,
                      .has_listeners = true,
                      .listeners = {[2] = true}},
            [WEB] = {.name = SLICE_LIT("web"),
                     .origins = {SLICE_LIT("https://w.example"), SLICE_LIT("https://v.example")},
                     .n_origins = 2},
            [PORT_WEB] = {.name = SLICE_LIT("portweb"),
                          .has_listeners = true,
                          .listeners = {[1] = true, [REALM_LISTENERS_MAX - 1] = true},
                          .origins = {SLICE_LIT("https://w.example")},
                          .n_origins = 1},
        },
    .n = 6,
    .hosts = {{SLICE_LIT("a.example"), HOST}, {SLICE_LIT("b.example"), BOTH}},
    .n_hosts = 2,
};

static void test_where_decides_what_may_be_used_and_origin_what_is_offered(void **state)
{
    static const struct {
        uint16_t listener;
        const char *host, *named, *origin;
        unsigned want;
    } cases[] = {
        {0, "", "", "", DEFAULT},
        {0, "", "nonsense", "", DEFAULT},
        {0, "x.example", "", "", DEFAULT},
        {0, "", "web", "", WEB}, /* named later, without the origin */
        {0, "", "", "https://w.example", WEB},
        {0, "", "", "HTTPS://V.example", WEB},
        {0, "", "", "https://w.example.org", DEFAULT},
        {0, "", "default", "https://w.example", DEFAULT},
        {0, "", "port", "", DEFAULT}, /* is at home elsewhere */
        {1, "", "", "", PORT},
        {1, "", "default", "", PORT}, /* is not at home here */
        {1, "", "web", "", PORT},
        {1, "", "portweb", "", PORT_WEB},
        {1, "", "", "https://w.example", PORT_WEB},
        {1, "", "", "https://v.example", PORT},
        {0, "a.example", "", "", HOST},
        {0, "A.Example", "", "", HOST},
        {0, "a.example", "default", "", HOST},
        {1, "a.example", "", "", HOST}, /* a host says more than a port */
        {1, "a.example", "port", "", PORT},
        {0, "b.example", "", "", DEFAULT}, /* both must agree */
        {2, "", "", "", DEFAULT},
        {2, "b.example", "", "", BOTH},
        {2, "b.example", "host", "", BOTH},
        {REALM_LISTENERS_MAX - 1, "", "", "", PORT_WEB}, /* the only one there */
        {REALM_LISTENERS_MAX, "", "", "", DEFAULT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct five_tuple from = {.listener = cases[i].listener,
                                        .host = realm_host(&table, slice_str(cases[i].host))};
        unsigned got =
            realm_for(&table, &from, slice_str(cases[i].named), slice_str(cases[i].origin));
        if (got != cases[i].want)
            fail_msg("case %zu: %u", i, got);
    }
}

static void test_one_realm_is_everywhere(void **state)
{
    static const struct realm_table one = {.of = {{.name = SLICE_LIT("r")}}, .n = 1}, none;
    const struct five_tuple from = {.listener = 5, .host = 200};

    (void)state;
    assert_int_equal(realm_for(&one, &from, SLICE_LIT("x"), SLICE_LIT("y")), 0);
    assert_int_equal(realm_for(&none, &from, SLICE_LIT("x"), SLICE_LIT("y")), 0);
    assert_int_equal(realm_host(&one, SLICE_LIT("a")), 0);
    assert_int_equal(realm_host(&table, SLICE_LIT("")), 0);
    assert_int_equal(realm_host(&table, SLICE_LIT("b.example")), 2);
}

static void test_names_are_found_and_accounts_are_apart(void **state)
{
    (void)state;
    assert_int_equal(realm_find(&table, SLICE_LIT("both")), BOTH);
    assert_int_equal(realm_find(&table, SLICE_LIT("bot")), -ENOENT);
    assert_true(slice_is(realm_name(&table, WEB), "web"));
    assert_int_equal(realm_name(&table, 6).len, 0);
    for (unsigned i = 0; i < REALMS_MAX; i++)
        for (unsigned k = 0; k < i; k++)
            assert_true(realm_account(i, SLICE_LIT("ann")) != realm_account(k, SLICE_LIT("ann")));
    assert_true(realm_account(1, SLICE_LIT("ann")) == realm_account(1, SLICE_LIT("ann")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_decides_what_may_be_used_and_origin_what_is_offered),
        cmocka_unit_test(test_one_realm_is_everywhere),
        cmocka_unit_test(test_names_are_found_and_accounts_are_apart),
    };

    return cmocka_run_group_tests_name("realm", tests, NULL, NULL);
}

/* Tests of server/redis_conf.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/redis_conf.h"

static struct server_conf conf;
static char err[CONF_ERR_MAX];

/* What is wrong with this text of server.ini; "" when nothing is. */
static const char *wrong(const char *text)
{
    const char *said;

    conf = (struct server_conf){0};
    err[0] = '\0';
    assert_int_equal(
        conf_load_text(server_conf_opts, server_conf_opts_n, &conf, slice_str(text), "t", err), 0);
    said = redis_conf_wrong(&conf, err);
    return said ? said : "";
}

static void done(void)
{
    conf_free(server_conf_opts, server_conf_opts_n, &conf);
}

static void test_by_default_a_node_is_alone(void **state)
{
    (void)state;
    assert_string_equal(wrong(""), "");
    assert_false(redis_conf_wanted(&conf));
    done();
}

static void test_what_is_wrong_is_said_with_what_to_do(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[redis]\nservers = a:0\n", "servers = a:0"},
        {"[redis]\nsentinels = unix:\n", "sentinels = unix:"},
        {"[redis]\nservers = a\nsentinels = b\n", "name one of them"},
        {"[redis]\nsentinels = b\nmaster =\n", "master"},
        {"[server]\nnode_id = a b\n[redis]\nservers = a\n", "node_id"},
        {"[redis]\nservers = a\nca_file = x\n", "tls = yes"},
        {"[redis]\nservers = a\ntls = yes\ncert_file = x\n", "key_file"},
        {"[redis]\nservers = a\nusername = x\n", "password_file"},
        {"[redis]\nservers = a\nsentinel_username = x\n", "sentinel_password_file"},
        {"[redis]\nservers = a\nlease = 2\n", "lease"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *said = wrong(cases[i].text);
        if (!strstr(said, cases[i].says))
            fail_msg("%s: \"%s\"", cases[i].text, said);
        done();
    }
}

static void test_endpoints_and_times_reach_the_client(void **state)
{
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
    struct redis_client_conf c;

    (void)state;
    assert_string_equal(wrong("[redis]\nsentinels = a, b:7\nmaster = m\ntimeout = 500\n"), "");
    assert_true(redis_conf_wanted(&conf));
    redis_conf_client(&conf, at, &c);
    assert_int_equal(c.at_n, 2);
    assert_string_equal(c.at[0].host, "a");
    assert_int_equal(c.at[0].port, 26379);
    assert_int_equal(c.at[1].port, 7);
    assert_true(slice_is(c.master, "m"));
    assert_int_equal(c.timeout_us, 500000);
    done();
    assert_string_equal(wrong("[redis]\nservers = unix:/run/redis.sock\n"), "");
    redis_conf_client(&conf, at, &c);
    assert_int_equal(c.at[0].port, 0);
    assert_int_equal(c.master.len, 0);
    done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_default_a_node_is_alone),
        cmocka_unit_test(test_what_is_wrong_is_said_with_what_to_do),
        cmocka_unit_test(test_endpoints_and_times_reach_the_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

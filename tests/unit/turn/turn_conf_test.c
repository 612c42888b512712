/* turn_conf.c: defaults, what must fit together, and messages that say what is allowed.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char users_path[] = "/tmp/sori-turn-conf-XXXXXX";

static int setup_users(void **state)
{
    int fd = mkstemp(users_path);

    (void)state;
    if (fd == -1 || write(fd, "ann:x\n", 6) != 6)
        return -1;
    return close(fd);
}

static int remove_users(void **state)
{
    (void)state;
    return unlink(users_path);
}

static int load(struct turn_conf *c, const char *more, char err[CONF_ERR_MAX])
{
    char text[2048];

    struct wr w = wr_init(text, sizeof(text));
    wr_fmt(&w, "[auth]\nusers_file = %s\n", users_path);
    for (; *more; more++) { /* "@" stands for a file that is there */
        if (*more == '@')
            wr_str(&w, users_path);
        else
            wr_u8(&w, (uint8_t)*more);
    }
    wr_u8(&w, 0);
    assert_false(w.bad);
    *c = (struct turn_conf){0};
    return turn_conf_load_text(c, slice_str(text), "test.ini", err);
}

static void test_defaults_are_safe(void **state)
{
    struct turn_conf c;
    char err[CONF_ERR_MAX], text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(load(&c, "", err), 0);
    assert_string_equal(addr_format(&c.listen_udp[0], text), "127.0.0.1:3478");
    assert_false(c.dtls || c.tls_on_tcp || turn_conf_wants_tls(&c));
    assert_false(c.allow_private || c.allow_own || c.allow_loopback || c.stun_only);
    struct turn_limits l = turn_conf_limits(&c);
    assert_int_equal(l.default_lifetime_s, 600);
    assert_int_equal(l.max_lifetime_s, 3600);
    assert_int_equal(l.channel_max, 0x7fff);
    assert_int_equal(l.source.milli_per_s, 10000);
    assert_int_equal(l.throttle.bandwidth.milli_per_s, 0);
    assert_int_equal(turn_conf_connects(&c).milli_per_s, 10000);
    assert_int_equal(turn_conf_connects(&c).burst, 50);
    assert_int_equal(c.drain_timeout_s, 30);
    assert_int_equal(l.throttle.peers.milli_per_s, 10000);
    assert_int_equal(l.throttle.packets.milli_per_s, 0);
    assert_int_equal(turn_conf_realm(&c, 0).rule.bytes.milli_per_s, 0);
    turn_conf_free(&c);
}

static void test_open_relay_is_refused(void **state)
{
    struct turn_conf c = {0};
    char err[CONF_ERR_MAX];

    (void)state;
    assert_int_equal(turn_conf_load(&c, NULL, err), -EINVAL);
    assert_non_null(strstr(err, "open relay"));
    c = (struct turn_conf){0};
    assert_int_equal(turn_conf_load_text(&c, SLICE_LIT("[turn]\nstun_only = yes\n"), "t", err), 0);
    turn_conf_free(&c);
}

static void test_lists_are_parsed(void **state)
{
    struct turn_conf c;
    char err[CONF_ERR_MAX];

    (void)state;
    assert_int_equal(load(&c,
                          "[turn]\nlisten_udp = 192.0.2.1:3478, [2001:db8::1]:3478\n"
                          "relay_addresses = 10.0.0.5\nexternal_addresses = 192.0.2.9=10.0.0.5\n"
                          "channel_range = strict\n[peers]\ndeny_peers = 8.8.8.0/24, 2001::/16\n"
                          "[limits]\nbandwidth_per_allocation = 1\n",
                          err),
                     0);
    assert_int_equal(c.n_udp, 2);
    assert_int_equal(c.listen_udp[1].family, ADDR_V6);
    assert_int_equal(c.n_relay, 1);
    assert_int_equal(c.n_external, 1);
    assert_int_equal(c.deny.n, 2);
    assert_int_equal(turn_conf_limits(&c).channel_max, 0x4fff);
    assert_int_equal(turn_conf_limits(&c).throttle.bandwidth.milli_per_s, 1000);
    turn_conf_free(&c);
}

static void test_realms_have_their_own_everything(void **state)
{
    struct turn_conf c;
    char err[CONF_ERR_MAX];
    const char *paths[16];

    (void)state;
    assert_int_equal(load(&c,
                          "secret_file = @\nsecret_files = @, @\n[realm two]\norigins = a, b\n"
                          "secret_files = @\nallocations_per_user = 3\n[limits]\n"
                          "allocations_per_user = 5\nallocations_total = 9\n[realm three x]\n"
                          "listeners = 0.0.0.0:3478\nusers_file = @\nbandwidth_per_user = 6400\n",
                          err),
                     0);
    assert_int_equal(turn_conf_realms(&c), 3);
    struct turn_realm_view v = turn_conf_realm(&c, 0);
    assert_true(slice_is(v.name, "sori") && v.n_secrets == 3 && slice_is(v.users, "ann:x"));
    assert_true(v.rule.per_account == 5 && v.rule.total == 0 && !v.conf);
    v = turn_conf_realm(&c, 1);
    assert_true(slice_is(v.name, "two") && v.n_secrets == 1 && v.users.len == 0);
    assert_true(v.rule.per_account == 3 && v.conf->origins.n == 2);
    v = turn_conf_realm(&c, 2);
    assert_true(slice_is(v.name, "three x") && v.n_secrets == 0 && slice_is(v.users, "ann:x"));
    assert_true(v.rule.per_account == 32 && v.rule.bytes.milli_per_s == 100000);
    assert_int_equal(v.conf->listeners[0].port, 3478);
    assert_int_equal(turn_conf_auth_files(&c, paths, ARRAY_LEN(paths)), 6);
    assert_string_equal(paths[5], users_path);
    assert_int_equal(turn_conf_auth_files(&c, paths, 2), 2);
    turn_conf_free(&c);
}

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_options_that_do_not_fit_are_explained(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"[turn]\nlisten_udp = 192.0.2.1\n", "want ip:port"},
        {"[turn]\nlisten_tcp = example.org:3478\n", "want ip:port"},
        {"[turn]\nlisten_udp = 192.0.2.1:0\n", "want ip:port"},
        {"[turn]\nrelay_addresses = 192.0.2.1:5\n", "without port"},
        {"[turn]\nexternal_addresses = 192.0.2.1\n", "public=private"},
        {"[turn]\nexternal_addresses = 192.0.2.1=::1\n", "same family"},
        {"[turn]\nmin_port = 60000\nmax_port = 50000\n", "min_port"},
        {"[turn]\ndefault_lifetime = 3600\nmax_lifetime = 600\n", "default_lifetime"},
        {"[turn]\nlisten_tls = 192.0.2.1:5349\n", "cert_file"},
        {"[turn]\nrealm =\n", "realm"},
        {"[turn]\nrealm = a\"b\n", "realm"},
        {"[turn]\nrealm = a\\b\n", "realm"},
        {"[turn]\nrealm = cafe\xcc\x81\n", "realm"}, /* not composed */
        {"[realm caf\xe9]\norigins = a\nusers_file = @\n", "realm"},
        {"[turn]\nrealm = " A64 A64 "\n", "realm"}, /* "fewer than 128 characters" */
        {"[turn]\nlisten_udp =\nlisten_tcp =\n", "at least one"},
        {"[turn]\nlisten_udp =\n", "relay_addresses"},
        {"[turn]\nmin_port = 80\n", "min_port"},
        {"[tls]\nmore_certificates = a.pem\n", "CERT:KEY"},
        {"[tls]\nmore_certificates = a.pem:b.pem, c.pem:\n", "CERT:KEY"},
        {"[tls]\nmore_certificates = :b.pem\n", "CERT:KEY"},
        {"[turn]\nalternate_servers = 192.0.2.1\n", "want ip:port"},
        {"[turn]\nalternate_servers = 192.0.2.1:1, 192.0.2.2:1\n", "one per family"},
        {"[turn]\nalternate_servers = 192.0.2.1:1, [::1]:1, 192.0.2.2:1\n", "too many"},
        {"[turn]\nalternate_domain = b.example\n", "need alternate_servers"},
        {"[turn]\nalternate_when_full = yes\n", "need alternate_servers"},
        {"[turn]\nalternate_servers = 192.0.2.1:1\nalternate_domain = a..b\n", "host name"},
        {"[turn]\nalternate_servers = 192.0.2.1:1\nalternate_domain = a_b.c\n", "host name"},
        {"[turn]\nalternate_servers = 192.0.2.1:1\nalternate_domain = " A64 ".c\n", "host name"},
        {"[turn]\nno_such_option = 1\n", "no_such_option"},
        {"[peers]\ndeny_peers = 10.0.0.1/8\n", "deny_peers"},
        {"[realm two]\nlisteners = 127.0.0.1:3478\n", "needs secret_files or users_file"},
        {"[realm two]\nusers_file = @\n", "needs listeners, sni or origins"},
        {"[realm sori]\norigins = a\nusers_file = @\n", "default realm has this name"},
        {"[realm two]\nsni = a\nusers_file = @\n", "listen_tls"},
        {"[realm two]\nlisteners = 127.0.0.1\nusers_file = @\n", "want ip:port"},
        {"[realm two]\norigins = a\nusers_file = @\nusers_files = @\n", "users_file?"},
        {"[realm two]\norigins = a\nsecret_files = @,@,@,@,@,@,@,@,@\n", "more than 8"},
        {"[auth]\nsecret_files = @,@,@,@,@,@,@,@,@\n", "more than 8"},
    };

    (void)state;
    uint64_t before = mem_live();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct turn_conf c;
        char err[CONF_ERR_MAX];
        assert_int_equal(load(&c, cases[i].text, err), -EINVAL);
        if (!strstr(err, cases[i].want))
            fail_msg("%s: %s", cases[i].text, err);
    }
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_safe),
        cmocka_unit_test(test_open_relay_is_refused),
        cmocka_unit_test(test_lists_are_parsed),
        cmocka_unit_test(test_realms_have_their_own_everything),
        cmocka_unit_test(test_options_that_do_not_fit_are_explained),
    };

    return cmocka_run_group_tests_name("turn_conf", tests, setup_users, remove_users);
}

/* Tests of server/server_conf.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/server_conf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/sori-conf-XXXXXX";
static char secret[64], short_secret[64], open_secret[64], ini[64];

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(secret, sizeof(secret), "%s/secret", dir);
    snprintf(short_secret, sizeof(short_secret), "%s/short", dir);
    snprintf(open_secret, sizeof(open_secret), "%s/open", dir);
    snprintf(ini, sizeof(ini), "%s/server.ini", dir);
    put(secret, "0123456789abcdef0123456789abcdef\n", 0600);
    put(short_secret, "0123456789abcdef", 0600);
    put(open_secret, "0123456789abcdef0123456789abcdef\n", 0644);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(secret);
    unlink(short_secret);
    unlink(open_secret);
    unlink(ini);
    return rmdir(dir);
}

/* Loads text; gives the error ("" when it loaded). */
static const char *load(const char *text)
{
    static char err[CONF_ERR_MAX];
    struct server_conf c;

    put(ini, text, 0644);
    err[0] = 0;
    if (server_conf_load(&c, ini, err) == 0)
        server_conf_free(&c);
    return err;
}

static void test_what_is_wrong_is_said(void **state)
{
    char good[512];
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "cert_file"},
        {"[server]\nlisten_tls =\n", "nothing to listen on"},
        {"[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:0\n", "no key to verify tokens"},
        {"[server]\nlisten_tls =\nlisten_clear = 0.0.0.0:80\n", "loopback only"},
        {"[server]\nlisten_tls =\nlisten_clear = 192.0.2.1:80\n", "loopback only"},
        {"[server]\nlisten_tls =\nlisten_clear = example.com:80\n", "not an address"},
        {"[server]\nlisten_tls = 1.2.3.4\n", "not an address with a port"},
        {"[server]\nlisten_tsl = 1.2.3.4:1\n", "listen_tls"},
        {"[sever]\nlisten_tls = 1.2.3.4:1\n", "sever"},
        {"[call]\nring_timeout = 0\n", "ring_timeout"},
        {"[call]\nring_timeout = soon\n", ":2"},
        {"[call]\nbusy_policy = maybe\n", "reject"},
        {"[push]\nack = 10\n", "ack"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *err = load(cases[i].text);
        if (!strstr(err, cases[i].says))
            fail_msg("case %zu: '%s' lacks '%s'", i, err, cases[i].says);
    }
    snprintf(good, sizeof(good),
             "[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:0\n[auth]\nhs256_secret_file = %s\n",
             secret);
    assert_string_equal(load(good), "");
}

static void test_secrets_are_checked(void **state)
{
    char text[512];

    (void)state;
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[auth]\nhs256_secret_file = %s\n",
             short_secret);
    assert_non_null(strstr(load(text), "32 bytes"));
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[auth]\nhs256_secret_file = %s\n",
             open_secret);
    assert_non_null(strstr(load(text), "open"));
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[auth]\nhs256_secret_file = "
             "%s\n[push]\nring_secret_file = %s\n",
             secret, short_secret);
    assert_non_null(strstr(load(text), "[push] ring_secret_file"));
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[auth]\nhs256_secret_file = "
             "%s\n[push]\naddress = https://a/ws\n",
             secret);
    assert_non_null(strstr(load(text), "[push] address"));
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[auth]\nhs256_secret_file = "
             "%s\n[turn]\nurls = turn:a:1\n",
             secret);
    assert_non_null(strstr(load(text), "secret_file"));
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = [::1]:0\n[dev]\nenabled = "
             "yes\n[auth]\njwks_file = x\n");
    assert_non_null(strstr(load(text), "development mode"));
}

static void test_the_ledgers_place_is_checked(void **state)
{
    static const struct {
        const char *more, *says; /* token_key_file is the last line where there is a secret */
    } cases[] = {
        {"[ledger]\npostgres = dbname=sori\n", "token_key_file"},
        {"[ledger]\nfile = x\npostgres = dbname=sori\ntoken_key_file = %s\n", "one of them"},
        {"[ledger]\npostgres = dbname=sori\ntoken_key_file = %s\n", "export_dir"},
        {"[privacy]\nexport_dir = /x\n[ledger]\nerased_file =\npostgres = dbname=sori\n"
         "token_key_file = %s\n",
         "erased_file"},
        {"[privacy]\nexport_dir = /x\n[server]\nnode_id =\n[ledger]\npostgres = dbname=sori\n"
         "token_key_file = %s\n",
         "node_id"},
        {"[privacy]\nexport_dir = /x\n[ledger]\npostgres = host=db dbname=sori sslmode=allow\n"
         "token_key_file = %s\n",
         "verify-full"},
        {"[privacy]\nexport_dir = /x\n[ledger]\npostgres = host=db dbname=sori password=hush\n"
         "token_key_file = %s\n",
         "postgres_password_file"},
        {"[privacy]\nexport_dir = /x\n[ledger]\npostgres = dbname=sori\nquery_timeout = 99\n"
         "token_key_file = %s\n",
         "query_timeout"},
        {"[privacy]\nexport_dir = /x\n[ledger]\npostgres = host=db dbname=sori sslrootcert=/ca\n"
         "token_key_file = %s\n",
         ""},
    };
    char text[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *key = strstr(cases[i].more, "%s");
        size_t n = key ? (size_t)(key - cases[i].more) : strlen(cases[i].more);
        snprintf(text, sizeof(text),
                 "[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:0\n[auth]\nhs256_secret_file = "
                 "%s\n%.*s%s\n",
                 secret, (int)n, cases[i].more, key ? secret : "");
        const char *err = load(text);
        if (*cases[i].says ? !strstr(err, cases[i].says) : *err != 0)
            fail_msg("%s: %s", cases[i].more, err);
        assert_null(strstr(err, "hush"));
    }
}

static void test_clear_text_beyond_loopback_needs_a_word(void **state)
{
    char text[512];

    (void)state;
    snprintf(text, sizeof(text),
             "[server]\nlisten_tls =\nlisten_clear = 10.0.0.1:80\nclear_anywhere = "
             "yes\n[auth]\nhs256_secret_file = %s\n",
             secret);
    assert_string_equal(load(text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_wrong_is_said),
        cmocka_unit_test(test_secrets_are_checked),
        cmocka_unit_test(test_the_ledgers_place_is_checked),
        cmocka_unit_test(test_clear_text_beyond_loopback_needs_a_word),
    };

    return cmocka_run_group_tests_name("server_conf", tests, setup, teardown);
}

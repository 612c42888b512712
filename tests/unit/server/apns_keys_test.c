/* Tests of server/apns_keys.c and of [apns], [app NAME] in the configuration: what is shared, what
 * is refused and how it is said. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/apns_keys.h"
#include "tests/lib/apns_key.h"

#define HEAD                                                       \
    "[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:1\n[auth]\n" \
    "hs256_secret_file = secret\n"
#define IDS "team_id = TEAM123456\nkey_id = KEY1234567\n"

static char dir[] = "/tmp/apns_keys_XXXXXX";
static char err[CONF_ERR_MAX];

static void put(const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(name, mode), 0);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    put("secret", "0123456789abcdef0123456789abcdef", 0600);
    put("good.p8", APNS_KEY_PEM, 0600);
    put("same.p8", APNS_KEY_PEM, 0600);
    put("other.p8", APNS_OTHER_KEY_PEM, 0600);
    put("p384.p8", APNS_P384_KEY_PEM, 0600);
    put("open.p8", APNS_KEY_PEM, 0644);
    put("text.p8", "hello", 0600);
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"secret",  "good.p8", "same.p8", "other.p8",
                                        "p384.p8", "open.p8", "text.p8", "c.ini"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(names[i]);
    assert_int_equal(chdir("/"), 0);
    return rmdir(dir);
}

/* The keys of a configuration; NULL with err. */
static struct apns_keys *load(const char *apps)
{
    struct server_conf conf;
    char text[4096];

    snprintf(text, sizeof(text), HEAD "%s", apps);
    put("c.ini", text, 0600);
    if (server_conf_load(&conf, "c.ini", err) != 0)
        return NULL;
    struct apns_keys *k = apns_keys_load(&conf, err);
    server_conf_free(&conf);
    return k;
}

static void test_apps_share_a_key(void **state)
{
    struct apns_keys *k =
        load("[app com.acme.talk]\n" IDS "key_file = good.p8\nsandbox_key_id = KEYSANDBOX\n"
             "sandbox_key_file = other.p8\n"
             "[app com.acme.two]\n" IDS "key_file = same.p8\n"
             "[app com.acme.cert]\ncert_file = c.pem\ncert_key_file = secret\n"
             "[app com.acme.none]\n");
    const char *key_path;

    (void)state;
    assert_non_null(k);
    const struct apns_conf *c = apns_keys_conf(k);
    assert_int_equal(c->keys_n, 3);
    assert_int_equal(c->apps_n, 4);
    assert_true(slice_is(c->apps[0].topic, "com.acme.talk"));
    assert_int_equal(c->apps[0].production, 0);
    assert_int_equal(c->apps[0].sandbox, 1);
    assert_int_equal(c->apps[1].production, 0); /* the same key, in another file */
    assert_int_equal(c->apps[1].sandbox, -1);
    assert_int_equal(c->apps[2].production, 2);
    assert_int_equal(c->apps[3].production, -1);
    assert_true(slice_is(c->keys[0].kid, "KEY1234567") && slice_is(c->keys[0].team, "TEAM123456"));
    assert_int_equal(c->keys[1].env, APNS_SANDBOX);
    assert_null(c->keys[2].signer);
    assert_null(apns_keys_cert(k, 0, &key_path));
    assert_null(key_path);
    assert_string_equal(apns_keys_cert(k, 2, &key_path), "c.pem");
    assert_string_equal(key_path, "secret");
    apns_keys_free(k);
    k = load("");
    assert_non_null(k);
    assert_int_equal(apns_keys_conf(k)->keys_n, 0);
    apns_keys_free(k);
}

/* Each message names the section, the option and the file, and says what is wrong. */
static void test_what_is_refused(void **state)
{
    static const struct {
        const char *apps, *says[3];
    } cases[] = {
        {"[app com.acme.talk]\n" IDS "key_file = p384.p8\n",
         {"[app com.acme.talk] key_file = p384.p8", "P-256", ""}},
        {"[app com.acme.talk]\n" IDS "key_file = text.p8\n",
         {"[app com.acme.talk] key_file = text.p8", "", ""}},
        {"[app com.acme.talk]\n" IDS "key_file = missing.p8\n", {"key_file", "no such file", ""}},
        {"[app com.acme.talk]\n" IDS "key_file = open.p8\n",
         {"c.ini:9: [app com.acme.talk] key_file", "others", ""}},
        {"[app com.acme.talk]\n" IDS "key_file = good.p8\n[app com.acme.two]\n" IDS
         "key_file = other.p8\n",
         {"[app com.acme.two] key_file = other.p8", "same key id", ""}},
        {"[app com.acme.talk]\nkey_id = KEY1234567\nkey_file = good.p8\n",
         {"[app com.acme.talk]", "team_id", "10 characters"}},
        {"[app com.acme.talk]\nteam_id = TEAM123456\nkey_file = good.p8\n",
         {"[app com.acme.talk]", "key_id", "10 characters"}},
        {"[app com.acme.talk]\nteam_id = team123456\nkey_id = KEY1234567\nkey_file = good.p8\n",
         {"team_id", "A-Z", ""}},
        {"[app com.acme.talk]\n" IDS "sandbox_key_file = good.p8\n",
         {"[app com.acme.talk]", "sandbox_key_id", ""}},
        {"[app com.acme.talk]\n" IDS "key_file = good.p8\ncert_file = x\ncert_key_file = secret\n",
         {"key_file and cert_file", "", ""}},
        {"[app com.acme.talk]\ncert_file = x\n", {"cert_key_file", "missing", ""}},
        {"[app com.acme/talk]\n", {"[app com.acme/talk]", "bundle id", ""}},
        {"[apns]\nconnections = 0\n", {"connections", "1 to 16", ""}},
        {"[apns]\nprodution = x\n", {"prodution", "production", ""}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err[0] = '\0';
        assert_null(load(cases[i].apps));
        for (size_t s = 0; s < 3; s++)
            if (!strstr(err, cases[i].says[s]))
                fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].says[s], err);
    }
}

static void test_rotation(void **state)
{
    struct apns_keys *old = load("[app com.acme.talk]\n" IDS "key_file = good.p8\n");
    struct apns_keys *same = load("[app com.acme.talk]\n" IDS "key_file = same.p8\n");
    struct apns_keys *file = load("[app com.acme.talk]\n" IDS "key_file = other.p8\n");
    struct apns_keys *id = load("[app com.acme.talk]\nteam_id = TEAM123456\nkey_id = KEY7654321\n"
                                "key_file = good.p8\n");
    struct apns_keys *more = load("[app com.acme.talk]\n" IDS "key_file = good.p8\n"
                                  "[app com.acme.two]\n" IDS "key_file = good.p8\n");
    struct apns_keys *moved = load("[app com.acme.talk]\nteam_id = TEAM123456\n"
                                   "sandbox_key_id = KEY1234567\nsandbox_key_file = good.p8\n");

    (void)state;
    assert_true(apns_keys_alike(same, old) && !apns_keys_differ(same, old, 0));
    assert_true(apns_keys_alike(file, old) && apns_keys_differ(file, old, 0));
    assert_true(apns_keys_alike(id, old) && apns_keys_differ(id, old, 0));
    assert_false(apns_keys_alike(more, old));
    assert_false(apns_keys_alike(moved, old));
    apns_keys_free(old);
    apns_keys_free(same);
    apns_keys_free(file);
    apns_keys_free(id);
    apns_keys_free(more);
    apns_keys_free(moved);
}

static void test_oom(void **state)
{
    struct server_conf conf;
    struct apns_keys *k = NULL;

    (void)state;
    put("c.ini", HEAD "[app com.acme.talk]\n" IDS "key_file = good.p8\n", 0600);
    assert_int_equal(server_conf_load(&conf, "c.ini", err), 0);
    for (uint64_t n = 0; !k; n++) {
        uint64_t live = mem_live();
        mem_fail_after(n);
        k = apns_keys_load(&conf, err);
        mem_fail_never();
        if (!k) {
            assert_int_equal(mem_live(), live);
            assert_true(err[0] != '\0');
        }
    }
    apns_keys_free(k);
    server_conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apps_share_a_key),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_oom),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

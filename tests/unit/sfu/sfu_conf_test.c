/* sfu_conf.c, sfu_options.c: what is accepted, what is refused and how that is said.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sfu/codec_policy.h"

static int load(struct sfu_conf *c, const char *text, char err[CONF_ERR_MAX])
{
    *c = (struct sfu_conf){0};
    err[0] = '\0';
    return sfu_conf_load_text(c, slice_str(text), "t.ini", err);
}

static void test_defaults_are_good(void **state)
{
    struct sfu_conf c;
    char err[CONF_ERR_MAX];

    (void)state;
    assert_int_equal(load(&c, "", err), 0);
    assert_true(c.n_listen >= 1);
    assert_int_equal(c.listen[0].port, 0);
    assert_int_equal(c.sfu.grace_s, 60);
    assert_true(c.limits.rooms > 0 && c.limits.sdp_bytes > 0);
    sfu_conf_free(&c);
    assert_int_equal(sfu_conf_load(&c, NULL, err), 0);
    sfu_conf_free(&c);
    sfu_conf_free(&c); /* freed is zeroed */
}

static void test_what_is_printed_is_what_is_the_default(void **state)
{
    struct sfu_conf c, d;
    char err[CONF_ERR_MAX], *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    assert_non_null(f);
    sfu_conf_print(f);
    fclose(f);
    /* With every commented value in force it is still the same. */
    for (char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (*p == ';' && p[1] != ' ')
            *p = ' ';
    int e = load(&c, text, err);
    if (e)
        print_error("%s\n", err);
    assert_int_equal(e, 0);
    assert_int_equal(load(&d, "", err), 0);
    assert_memory_equal(&c.limits, &d.limits, sizeof(c.limits));
    assert_memory_equal(&c.data, &d.data, sizeof(c.data));
    assert_int_equal(c.n_listen, d.n_listen);
    sfu_conf_free(&c);
    sfu_conf_free(&d);
    free(text);
}

static void test_what_is_refused_and_how(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[sfu]\nlisten = 127.0.0.1:7882\n", "without port"},
        {"[sfu]\nlisten = nowhere\n", "without port"},
        {"[sfu]\nlisten = 127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4, 127.0.0.5, 127.0.0.6, "
         "127.0.0.7, 127.0.0.8, 127.0.0.9\n",
         "more than 8"},
        {"[sfu]\nlisten =\n", "at least one"},
        {"[sfu]\nexternal_addresses = 192.0.2.1\n", "public=private"},
        {"[sfu]\nexternal_addresses = 192.0.2.1=2001:db8::1\n", "public=private"},
        {"[sfu]\nexternal_addresses = 192.0.2.1:5=10.0.0.1\n", "without ports"},
        {"[sfu]\nport = 65535\nthreads = 2\n", "above 65535"},
        {"[sfu]\nport = 65536\n", "port"},
        {"[sfu]\nport = -1\n", "port"},
        {"[sfu]\nthreads = many\n", "threads"},
        {"[control]\nlisten = 127.0.0.1:9000\n", "secret_file"},
        {"[control]\nlisten = unix:\n", "unix:/path"},
        {"[control]\nlisten = 127.0.0.1\n", "ip:port"},
        {"[control]\nsecret_file = /nowhere/at/all\n", "/nowhere/at/all"},
        {"[video]\nstart_bitrate = 100000\nmin_bitrate = 200000\n", "rising"},
        {"[audio]\ncodecs = opus, mp3\n", "codecs"},
        {"[video]\ncodecs = vp8, vp8\n", "codecs"},
        {"[audio]\nred = sometimes\n", "red"},
        {"[limits]\nrooms = 0\n", "rooms"},
        {"[limits]\nrooms = 99999999999999999999\n", "rooms"},
        {"[nonsense]\n", "nonsense"},
        {"[sfu]\nnonsense = 1\n", "nonsense"},
        {"[sfu\n", "t.ini"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sfu_conf c;
        char err[CONF_ERR_MAX];
        int e = load(&c, cases[i].text, err);

        if (e >= 0 || !strstr(err, cases[i].says))
            print_error("%s: %d %s\n", cases[i].text, e, err);
        assert_true(e < 0);
        assert_non_null(strstr(err, cases[i].says));
        sfu_conf_free(&c);
    }
}

static void test_addresses_behind_a_nat_are_shown_as_what_stands_for_them(void **state)
{
    struct sfu_conf c;
    char err[CONF_ERR_MAX], text[64];
    struct addr a;

    (void)state;
    assert_int_equal(load(&c,
                          "[sfu]\nlisten = 10.0.0.1, fd00::1\n"
                          "external_addresses = 192.0.2.9=10.0.0.1, 2001:db8::9=fd00::1\n",
                          err),
                     0);
    assert_int_equal(c.n_listen, 2);
    a = sfu_conf_shown(&c, addr_with_port(c.listen[0], 7882));
    addr_format(&a, text);
    assert_string_equal(text, "192.0.2.9:7882");
    a = sfu_conf_shown(&c, addr_with_port(c.listen[1], 7882));
    addr_format(&a, text);
    assert_string_equal(text, "[2001:db8::9]:7882");
    assert_int_equal(addr_parse(&a, SLICE_LIT("10.0.0.2:5")), 0);
    struct addr same = sfu_conf_shown(&c, a);
    assert_true(addr_eq(&a, &same));
    sfu_conf_free(&c);
}

static void test_codecs_follow_the_lists(void **state)
{
    struct sfu_conf c;
    struct codec_policy p;
    char err[CONF_ERR_MAX];

    (void)state;
    assert_int_equal(load(&c, "[video]\ncodecs = h264\n[audio]\ncodecs = opus\n", err), 0);
    codec_policy_default(&p);
    assert_int_equal(sfu_conf_codecs(&c, &p), 0);
    sfu_conf_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_good),
        cmocka_unit_test(test_what_is_printed_is_what_is_the_default),
        cmocka_unit_test(test_what_is_refused_and_how),
        cmocka_unit_test(test_addresses_behind_a_nat_are_shown_as_what_stands_for_them),
        cmocka_unit_test(test_codecs_follow_the_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of base/conf and base/secretfile: values by type, each error with its place, printing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/conf.h"
#include "base/mem.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

struct conf {
    bool flag;
    uint64_t period_s, any;
    unsigned mode;
    char *text;
    struct addr listen;
    struct conf_list names;
    struct conf_cidrs nets;
    struct conf_secret secret;
    struct conf_secrets keys;
    struct conf_named farms;
};

struct farm {
    char *name;
    uint64_t cows;
    struct conf_list fields;
};

#define AT(field) offsetof(struct conf, field)

static const struct conf_opt farm_opts[] = {
    {"farm", "cows", CONF_UINT, offsetof(struct farm, cows), "7", 1, 9, NULL, {NULL}, "Cows."},
    {"farm", "fields", CONF_LIST, offsetof(struct farm, fields), "", 0, 8, NULL, {NULL}, "Land."},
};
static const struct conf_sections farms = {farm_opts, ARRAY_LEN(farm_opts), sizeof(struct farm), 2,
                                           offsetof(struct farm, name)};

static const struct conf_opt opts[] = {
    {"main", "flag", CONF_BOOL, AT(flag), "yes", 0, 0, NULL, {NULL}, "Whether to do it."},
    {"main",
     "period",
     CONF_UINT,
     AT(period_s),
     "25",
     5,
     60,
     "s",
     {NULL},
     "Time between two pings. A shorter one finds dead peers sooner and costs the phones more of "
     "their battery."},
    {"main", "any", CONF_UINT, AT(any), NULL, 0, 0, NULL, {NULL}, "Any number."},
    {"main", "mode", CONF_ENUM, AT(mode), "soft", 0, 0, NULL, {"off|soft|hard"}, "How."},
    {"main", "text", CONF_STRING, AT(text), "hello", 0, 8, NULL, {NULL}, "A text."},
    {"net", "listen", CONF_ADDR, AT(listen), "127.0.0.1:8080", 0, 0, NULL, {NULL}, "Where."},
    {"net", "names", CONF_LIST, AT(names), "a, b", 0, 8, NULL, {NULL}, "Names."},
    {"net", "nets", CONF_CIDRS, AT(nets), NULL, 0, 0, NULL, {NULL}, "Networks."},
    {"net", "secret", CONF_SECRET, AT(secret), NULL, 0, 0, NULL, {NULL}, "A secret."},
    {"net", "keys", CONF_SECRETS, AT(keys), NULL, 0, 0, NULL, {NULL}, "Secrets."},
    {.section = "farm",
     .name = "NAME",
     .type = CONF_SECTIONS,
     .offset = AT(farms),
     .sections = &farms,
     .help = "A farm."},
};
enum { OPTS = ARRAY_LEN(opts) };

static int load(struct conf *c, struct slice text, char err[CONF_ERR_MAX])
{
    uint8_t *g = guard_copy(text.p, text.len);
    *c = (struct conf){0};
    int rc = conf_load_text(opts, OPTS, c, slice_of(g, text.len), "t.ini", err);
    guard_free(g, text.len);
    return rc;
}

static void test_defaults_hold_without_a_file(void **state)
{
    (void)state;
    struct conf c = {0};
    char err[CONF_ERR_MAX];
    uint64_t live = mem_live();

    assert_int_equal(conf_load(opts, OPTS, &c, NULL, err), 0);
    assert_string_equal(err, "");
    assert_true(c.flag && c.period_s == 25 && c.any == 0 && c.mode == 1);
    assert_string_equal(c.text, "hello");
    assert_int_equal(c.listen.port, 8080);
    assert_int_equal(c.names.n, 2);
    assert_string_equal(c.names.v[1], "b");
    assert_int_equal(c.nets.n, 0);
    assert_null(c.secret.p);
    conf_free(opts, OPTS, &c);
    conf_free(opts, OPTS, &c); /* zeroed now */
    assert_int_equal(mem_live(), live);
}

static void test_file_replaces_defaults(void **state)
{
    (void)state;
    struct conf c;
    char err[CONF_ERR_MAX];

    assert_int_equal(load(&c,
                          SLICE_LIT("\xEF\xBB\xBF; a comment\n# another\n[main]\r\nflag=off\r\n"
                                    "  period : 60 ; behind a value\nany=18446744073709551615\n"
                                    "mode=hard\ntext =\n[net] ; behind a section\n"
                                    "listen = [::1]:443\nnames = c\nnames = d , e\n"
                                    "nets = 10.0.0.0/8,::1\n[main]\n"),
                          err),
                     0);
    assert_true(!c.flag && c.period_s == 60 && c.any == UINT64_MAX && c.mode == 2);
    assert_string_equal(c.text, "");
    assert_int_equal(c.listen.family, ADDR_V6);
    assert_int_equal(c.names.n, 3);
    assert_string_equal(c.names.v[2], "e");
    assert_int_equal(c.nets.n, 2);
    conf_free(opts, OPTS, &c);
    assert_int_equal(load(&c, SLICE_LIT("[net]\nnames =\nlisten ="), err), 0);
    assert_int_equal(c.names.n, 0);
    assert_int_equal(c.listen.family, ADDR_NONE);
    conf_free(opts, OPTS, &c);
}

static void test_every_error_says_where_what_and_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *err;
    } cases[] = {
        {"[main]\n\nperiod = 4\n",
         "t.ini:3: [main] period = 4: must be a whole number from 5 to 60 (s)"},
        {"[main]\nperiod = 61\n", "[main] period = 61: must be a whole number from 5 to 60 (s)"},
        {"[main]\nperiod = 1h\n", "t.ini:2: [main] period = 1h: must be a whole number"},
        {"[main]\nperiod =\n", "t.ini:2: [main] period = : must be a whole number"},
        {"[main]\nany = 18446744073709551616\n", "from 0 to 18446744073709551615"},
        {"[main]\nflag = maybe\n", "t.ini:2: [main] flag = maybe: must be yes or no"},
        {"[main]\nflag = YES\n", "must be yes or no"},
        {"[main]\nmode = so\n", "t.ini:2: [main] mode = so: must be one of off, soft, hard"},
        {"[main]\nmode =\n", "must be one of off, soft, hard"},
        {"[main]\ntext = 123456789\n", "must be text of at most 8 bytes"},
        {"[net]\nlisten = localhost:80\n", "must be an address like 192.0.2.1:3478"},
        {"[net]\nnets = 10.0.0.1/8\n", "must be networks like 10.0.0.0/8"},
        {"[net]\nnames = a,\n", "there is an empty item beside a comma; must be texts"},
        {"[net]\nnames = ,a\n", "there is an empty item beside a comma"},
        {"[net]\nnames = 123456789\n", "must be texts of at most 8 bytes"},
        {"[main]\nperoid = 5\n", "t.ini:2: [main] peroid = 5: unknown key, did you mean period?"},
        {"[main]\nlisten = x\n", "unknown key; [net] has one of this name"},
        {"[main]\nzzzzzzzz = x\n", "t.ini:2: [main] zzzzzzzz = x: unknown key"},
        {"[main]\n= x\n", "t.ini:2: [main]  = x: unknown key"},
        {"[mian]\n",
         "t.ini:1: [mian]: unknown section, did you mean [main]? (known: [main] [net] [farm "
         "NAME])"},
        {"[]\n", "t.ini:1: []: unknown section"},
        {"[ main ]\n", "unknown section, did you mean [main]?"},
        {"[main]\nflag = yes\n[other]\n", "t.ini:3: [other]: unknown section"},
        {"\n[main\n", "t.ini:2: a section is written [name], the closing bracket is missing"},
        {"[main] flag = yes\n", "t.ini:1: there is text after a section's closing bracket"},
        {"[farm]\n", "t.ini:1: [farm]: unknown section"},
        {"[farm ]\n", "t.ini:1: [farm ]: unknown section, did you mean [farm NAME]?"},
        {"[farma b]\n", "t.ini:1: [farma b]: unknown section"},
        {"[farm  b]\n", "t.ini:1: [farm  b]: unknown section"},
        {"[farm a]\n[main]\n[farm a]\n", "t.ini:3: a section of this name is there already"},
        {"[farm a]\n[farm b]\n[farm c]\n", "t.ini:3: there are too many sections"},
        {"[farm a]\ncows = 10\n",
         "t.ini:2: [farm a] cows = 10: must be a whole number from 1 to 9"},
        {"[farm a]\ncows = 1\n[farm b]\ncows = 2\ncows = 3\n",
         "t.ini:5: [farm b] cows = 3: the key is given twice"},
        {"[farm a]\nkows = 1\n", "t.ini:2: [farm a] kows = 1: unknown key, did you mean cows?"},
        {"[farm a]\nflag = no\n", "t.ini:2: [farm a] flag = no: unknown key"},
        {"[farm a]\n[main]\ncows = 1\n", "t.ini:3: [main] cows = 1: unknown key"},
        {"[farm a] cows = 1\n", "t.ini:1: there is text after a section's closing bracket"},
        {"[net]\nkeys = hunter2\n", "t.ini:2: [net] keys = (not shown): there is no such file"},
        {"flag = yes\n", "t.ini:1: a key stands before the first [section]"},
        {"[main]\nflag\n", "t.ini:2: this is neither [section], nor key = value"},
        {"[main]\nflag\nflag = maybe\n", "t.ini:2: this is neither"},
        {"[main]\nflag = maybe\nflag\n", "t.ini:2: [main] flag = maybe"},
        {"[main]\nflag = yes\nmode = off\nflag = yes\n",
         "t.ini:4: [main] flag = yes: the key is given twice"},
        {"[net]\nsecret = hunter2\n", "t.ini:2: [net] secret = (not shown): there is no such file"},
        {"[net]\nsecret = /nonexistent/x\n", "secret = /nonexistent/x: there is no such file"},
        {"[net]\nsecret = /\n", "this is not a regular file"},
        {"[net]\nsecret = credential:a/b\n", "ithout directories"},
        {"[net]\nsecret = credential:..\n", "ithout directories"},
        {"[net]\nsecret = credential:\n", "ithout directories"},
        {"[main]\ntext = a\x1b[31mb\n12", "t.ini:3: this is neither"},
        {"[main]\nmode = a\x1b[31mb\n", "mode = a?[31mb: must be one of"},
    };
    uint64_t live = mem_live();

    setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf c, zero = {0};
        char err[CONF_ERR_MAX];
        assert_int_equal(load(&c, slice_str(cases[i].text), err), -EINVAL);
        if (!strstr(err, cases[i].err))
            fail_msg("case %zu: %s", i, err);
        assert_ptr_equal(c.text, zero.text);
        assert_null(c.names.v);
        assert_int_equal(mem_live(), live);
    }
}

static void test_named_sections_fill_elements(void **state)
{
    (void)state;
    static const char long_name[] = "a name that is longer than the fifty bytes that inih keeps";
    struct conf c;
    char err[CONF_ERR_MAX], text[512];
    uint64_t live = mem_live();

    snprintf(text, sizeof(text),
             "[farm one]\nfields = a, b\n[main]\nflag = no\n[farm %s]\ncows = 3\n"
             "fields = c\nfields = d\n[net]\nnames = x\n",
             long_name);
    assert_int_equal(load(&c, slice_str(text), err), 0);
    assert_int_equal(c.farms.n, 2);
    const struct farm *f = c.farms.v;
    assert_string_equal(f[0].name, "one");
    assert_int_equal(f[0].cows, 7);
    assert_int_equal(f[0].fields.n, 2);
    assert_string_equal(f[1].name, long_name);
    assert_int_equal(f[1].cows, 3);
    assert_int_equal(f[1].fields.n, 2);
    assert_string_equal(f[1].fields.v[1], "d");
    assert_false(c.flag);
    assert_int_equal(c.names.n, 1);
    conf_free(opts, OPTS, &c);
    assert_int_equal(mem_live(), live);
    memset(text, 'n', sizeof(text));
    memcpy(text, "[farm ", 6);
    for (size_t len = 128; len <= 129; len++) {
        text[6 + len] = ']';
        assert_int_equal(load(&c, slice_of(text, 7 + len), err), len == 128 ? 0 : -EINVAL);
        if (len == 128)
            conf_free(opts, OPTS, &c);
        text[6 + len] = 'n';
    }
    assert_non_null(strstr(err, "longer than 128 bytes"));
}

static void test_nul_and_long_lines_are_errors(void **state)
{
    (void)state;
    struct conf c;
    char err[CONF_ERR_MAX], text[4096] = "[net]\nnames = ";
    size_t head = strlen(text);

    assert_int_equal(load(&c, SLICE_LIT("[main]\nflag = yes\0 no\n"), err), -EINVAL);
    assert_string_equal(err, "t.ini:2: the line contains a NUL byte");
    for (size_t len = 2038; len <= 2042; len++) { /* of line 2 with its newline */
        for (size_t i = head; i < 6 + len; i++)
            text[i] = i % 4 == 0 ? ',' : 'x';
        text[6 + len - 2] = 'x';
        text[6 + len - 1] = '\n';
        text[head] = 'x';
        text[6 + len - 3] = 'x';
        int rc = load(&c, slice_of(text, 6 + len), err);
        assert_int_equal(rc, len <= 2040 ? 0 : -EINVAL);
        if (rc == 0)
            conf_free(opts, OPTS, &c);
        else
            assert_string_equal(err, "t.ini:2: the line is longer than 2040 bytes");
    }
}

static void test_messages_are_bounded(void **state)
{
    (void)state;
    struct conf c;
    char err[CONF_ERR_MAX], text[2000] = "[main]\n";

    memset(text + 7, 'k', 1900);
    memcpy(text + 1000, "=", 1);
    text[1907] = '\n';
    assert_int_equal(load(&c, slice_str(text), err), -EINVAL);
    assert_true(strlen(err) < CONF_ERR_MAX);
    assert_non_null(strstr(err, "unknown key"));
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_secret_files_must_be_private_and_not_empty(void **state)
{
    (void)state;
    static const struct {
        const char *content, *value, *err; /* err NULL: loads as "key" */
        mode_t mode;
    } cases[] = {
        {"key\n\r\n", "%s/s", NULL, 0600},
        {"key", "%s/s", NULL, 0400},
        {"key", "%s/s", "group or others have access", 0640},
        {"key", "%s/s", "group or others have access", 0604},
        {"\n\n", "%s/s", "the file is empty", 0600},
        {"", "%s/s", "the file is empty", 0600},
        {"key", "credential:s", NULL, 0440},
        {"key", "credential:s", "group or others have access", 0444},
        {"key", "credential:t", "there is no such file", 0400},
    };
    char dir[] = "/tmp/conf_test.XXXXXX", path[64], err[CONF_ERR_MAX];
    uint64_t live = mem_live();

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];
        struct conf c;
        write_file(path, cases[i].content, cases[i].mode);
        bool credential = cases[i].value[0] == 'c';
        snprintf(text, sizeof(text), "[net]\nsecret = %s\n", credential ? cases[i].value : path);
        assert_int_equal(load(&c, slice_str(text), err), cases[i].err ? -EINVAL : 0);
        if (cases[i].err)
            assert_non_null(strstr(err, cases[i].err));
        else
            assert_true(slice_is(slice_of(c.secret.p, c.secret.len), "key") &&
                        strcmp(c.secret.path, credential ? "credential:s" : path) == 0);
        conf_free(opts, OPTS, &c);
        snprintf(text, sizeof(text), "[net]\nkeys = %s, %s\n", credential ? cases[i].value : path,
                 credential ? cases[i].value : path);
        assert_int_equal(load(&c, slice_str(text), err), cases[i].err ? -EINVAL : 0);
        if (!cases[i].err)
            assert_true(c.keys.n == 2 && c.keys.v[1].len == 3);
        conf_free(opts, OPTS, &c);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
    unsetenv("CREDENTIALS_DIRECTORY");
    struct conf c;
    assert_int_equal(load(&c, SLICE_LIT("[net]\nsecret = credential:s\n"), err), -EINVAL);
    assert_non_null(strstr(err, "CREDENTIALS_DIRECTORY is not set"));
    assert_int_equal(mem_live(), live);
}

static void test_missing_file_says_so(void **state)
{
    (void)state;
    struct conf c = {0};
    char err[CONF_ERR_MAX];

    assert_int_equal(conf_load(opts, OPTS, &c, "/nonexistent/x.ini", err), -ENOENT);
    assert_string_equal(err, "/nonexistent/x.ini: No such file or directory");
    assert_int_equal(conf_load(opts, OPTS, &c, "/", err), -EISDIR);
}

static void test_printed_table_loads_as_it_is_and_uncommented(void **state)
{
    (void)state;
    char *text = NULL, err[CONF_ERR_MAX];
    size_t len = 0;
    struct conf c;
    FILE *f = open_memstream(&text, &len);

    conf_print(opts, OPTS, f);
    fclose(f);
    assert_non_null(strstr(text, "[main]\n\n; Whether to do it.\n; Value: yes or no. Default: "
                                 "yes.\n;flag = yes\n"));
    assert_non_null(strstr(text, "; Value: a whole number from 5 to 60 (s). Default: 25.\n"));
    assert_non_null(strstr(text, "\n\n[net]\n"));
    assert_non_null(strstr(text, ";secret =\n"));
    for (const char *l = text, *end; (end = strchr(l, '\n')); l = end + 1)
        assert_in_range(end - l, 0, 80);
    assert_int_equal(load(&c, slice_of(text, len), err), 0);
    assert_true(c.period_s == 25);
    conf_free(opts, OPTS, &c);
    for (size_t i = 0; i + 1 < len; i++) /* ";key = value" to "key = value" */
        if (text[i] == ';' && text[i + 1] != ' ' && (i == 0 || text[i - 1] == '\n'))
            text[i] = ' ';
    char *any = strstr(text, "any ="); /* has no default: empty is for the table only */
    memcpy(any, "; y", 3);
    assert_int_equal(load(&c, slice_of(text, len), err), 0);
    assert_int_equal(c.names.n, 2);
    conf_free(opts, OPTS, &c);
    free(text);
}

static void test_oom_load_fails_whole(void **state)
{
    (void)state;
    static const struct slice text =
        SLICE_LIT("[net]\nnames = a, b, c\nnets = ::1, ::2\n[main]\ntext = x\n"
                  "[farm a]\n[farm b]\nfields = q\n");
    uint64_t live = mem_live();
    bool failed = true;

    for (uint64_t n = 0; failed; n++) {
        struct conf c, zero = {0};
        char err[CONF_ERR_MAX];
        mem_fail_after(n);
        int rc = load(&c, text, err);
        failed = mem_failed();
        mem_fail_never();
        assert_int_equal(rc, failed ? -ENOMEM : 0);
        if (rc != 0) {
            assert_non_null(strstr(err, "out of memory"));
            assert_ptr_equal(c.text, zero.text);
        }
        conf_free(opts, OPTS, &c);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_hold_without_a_file),
        cmocka_unit_test(test_file_replaces_defaults),
        cmocka_unit_test(test_every_error_says_where_what_and_what_is_allowed),
        cmocka_unit_test(test_named_sections_fill_elements),
        cmocka_unit_test(test_nul_and_long_lines_are_errors),
        cmocka_unit_test(test_messages_are_bounded),
        cmocka_unit_test(test_secret_files_must_be_private_and_not_empty),
        cmocka_unit_test(test_missing_file_says_so),
        cmocka_unit_test(test_printed_table_loads_as_it_is_and_uncommented),
        cmocka_unit_test(test_oom_load_fails_whole),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}

/* Tests of proto/json.c: grammar, limits, fields, texts, and the JSON parsing suite when present.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/json.h"
#include "tests/lib/guard.h"

static const struct json_limits wide = {JSON_DEPTH_MAX, 100000, 1 << 20};

/* Scans a guarded copy. */
static int scan_guarded(struct slice text, const struct json_limits *limits)
{
    uint8_t *copy = guard_copy(text.p, text.len);
    int rc = json_scan(slice_of(copy, text.len), limits);

    guard_free(copy, text.len);
    return rc;
}

static void test_valid_texts_are_accepted(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e+10",
        "1E-3",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\\\"b\\\\c\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\\uFFFF\\ud83d\\ude00\"",
        "\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
        "\"exactly 8 and some more, all of them plain ASCII letters\"",
        "[]",
        "{}",
        " \t\r\n[ 1 , 2 ] \n",
        "{\"a\":{\"b\":[{},[],null]},\"\":0}",
        "[[[[[[[[]]]]]]]]",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (scan_guarded(slice_str(good[i]), &wide) != 0)
            fail_msg("refused: %s", good[i]);
}

static void test_malformed_texts_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "0x10",
        "NaN",
        "Infinity",
        "tru",
        "truex",
        "nul",
        "'a'",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "\"abcdefg\n\"",
        "\"\x7f\"\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[}",
        "{]",
        "1 2",
        "{} {}",
        "[1]]",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800\\n\"",
        "\"\x80\"",
        "\"\xC0\x80\"",
        "\"\xC1\xBF\"",
        "\"\xE0\x9F\xBF\"",
        "\"\xED\xA0\x80\"",
        "\"\xF0\x8F\xBF\xBF\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\xF5\x80\x80\x80\"",
        "\"\xE2\x82\"",
        "\"\xF0\x9F\x98\"",
        "\xEF\xBB\xBF{}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (scan_guarded(slice_str(bad[i]), &wide) != -EBADMSG)
            fail_msg("not refused: %s", bad[i]);
    assert_int_equal(scan_guarded(SLICE_LIT("[1]\0"), &wide), -EBADMSG);
    assert_int_equal(scan_guarded(SLICE_LIT("\"a\0b\""), &wide), -EBADMSG);
}

/* Each byte value at each place of a string of 20: the eight-byte path must agree with the rule. */
static void test_every_byte_at_every_place_of_a_string(void **state)
{
    (void)state;
    for (unsigned at = 1; at < 21; at++) {
        for (unsigned c = 0; c < 256; c++) {
            uint8_t text[22];
            memset(text, 'x', sizeof(text));
            text[0] = text[21] = '"';
            text[at] = (uint8_t)c;
            bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
            assert_int_equal(scan_guarded(slice_of(text, sizeof(text)), &wide),
                             plain ? 0 : -EBADMSG);
        }
    }
}

static void test_every_truncation_is_refused(void **state)
{
    struct slice text =
        SLICE_LIT("{\"type\":\"call.invite\",\"n\":[1,-2.5e+7,true,null,\"\\ud83d\\ude00"
                  "\xF0\x9F\x98\x80\"],\"data\":{\"a\":{}}}");

    (void)state;
    assert_int_equal(json_scan(text, &wide), 0);
    for (size_t n = 0; n < text.len; n++)
        assert_int_equal(scan_guarded(slice_sub(text, 0, n), &wide), -EBADMSG);
}

static void test_limits_have_errors_of_their_own(void **state)
{
    const struct json_limits depth3 = {3, 100, 100}, values4 = {9, 4, 100}, bytes5 = {9, 9, 5};

    (void)state;
    assert_int_equal(json_scan(SLICE_LIT("[{\"a\":[]}]"), &depth3), 0);
    assert_int_equal(json_scan(SLICE_LIT("[{\"a\":[[]]}]"), &depth3), -E2BIG);
    assert_int_equal(json_scan(SLICE_LIT("[1,2,3]"), &values4), 0);
    assert_int_equal(json_scan(SLICE_LIT("[1,2,3,4]"), &values4), -E2BIG);
    assert_int_equal(json_scan(SLICE_LIT("{\"a\":[{}],\"b\":0}"), &values4), 0);
    assert_int_equal(json_scan(SLICE_LIT("12345"), &bytes5), 0);
    assert_int_equal(json_scan(SLICE_LIT("123456"), &bytes5), -EMSGSIZE);
}

static void test_fields_of_the_outer_object_are_found(void **state)
{
    struct json_field f[] = {{.key = "type"}, {.key = "n"}, {.key = "data"}, {.key = "none"}};
    struct slice text =
        SLICE_LIT(" {\"data\" : {\"type\":\"inner\"} ,\"n\": -1.5 , \"t\\u0079pe\":\"x\","
                  "\"other\":[{\"n\":1}]} ");

    (void)state;
    assert_int_equal(json_scan_object(text, &wide, f, ARRAY_LEN(f)), 0);
    assert_true(slice_is(f[0].value, "\"x\""));
    assert_int_equal(f[0].kind, JSON_KIND_STRING);
    assert_true(slice_is(f[1].value, "-1.5"));
    assert_int_equal(f[1].kind, JSON_KIND_NUMBER);
    assert_true(slice_is(f[2].value, "{\"type\":\"inner\"}"));
    assert_int_equal(f[2].kind, JSON_KIND_OBJECT);
    assert_int_equal(f[3].kind, JSON_KIND_NONE);

    struct json_field g[] = {{.key = "type"}, {.key = "n"}, {.key = "data"}, {.key = "none"}};
    assert_int_equal(json_fields(text, g, ARRAY_LEN(g)), 0);
    for (size_t i = 0; i < ARRAY_LEN(f); i++)
        assert_true(slice_eq(f[i].value, g[i].value) && f[i].kind == g[i].kind);
}

static void test_wanted_keys_may_not_be_there_twice(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"{\"a\":1,\"b\":2}", 0},
        {"{\"a\":1,\"a\":1}", -EEXIST},
        {"{\"a\":1,\"\\u0061\":1}", -EEXIST},
        {"{\"\\u0061\":null,\"x\":{\"a\":1},\"a\":null}", -EEXIST},
        {"{\"x\":1,\"x\":2,\"a\":3}", 0}, /* nobody reads x */
        {"{\"x\":{\"a\":1,\"a\":2}}", 0}, /* another object */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_field f[] = {{.key = "a"}, {.key = "b"}};
        assert_int_equal(json_scan_object(slice_str(cases[i].text), &wide, f, 2), cases[i].rc);
        assert_int_equal(json_fields(slice_str(cases[i].text), f, 2), cases[i].rc);
    }
}

static void test_only_an_object_has_fields(void **state)
{
    struct json_field f = {.key = "a"};

    (void)state;
    assert_int_equal(json_scan_object(SLICE_LIT("[{\"a\":1}]"), &wide, &f, 1), -EBADMSG);
    assert_int_equal(json_scan_object(SLICE_LIT("\"a\""), &wide, &f, 1), -EBADMSG);
    assert_int_equal(json_fields(SLICE_LIT("[]"), &f, 1), -EBADMSG);
    assert_int_equal(json_fields(SLICE_LIT(""), &f, 1), -EBADMSG);
    assert_int_equal(json_fields(SLICE_LIT("{}"), &f, 1), 0);
    assert_int_equal(f.kind, JSON_KIND_NONE);
}

static void test_texts_are_lent_or_decoded(void **state)
{
    static const struct {
        const char *raw, *text;
    } cases[] = {
        {"\"plain\"", "plain"},
        {"\"\"", ""},
        {"\"a\\u002bb\"", "a+b"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u00e9\\u20AC\\ud83d\\ude00!\"", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80!"},
    };
    uint8_t buf[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wr scratch = wr_init(buf, sizeof(buf));
        struct slice out = {0};
        assert_true(json_text(slice_str(cases[i].raw), &out, &scratch));
        assert_true(slice_is(out, cases[i].text));
    }
    struct wr none = wr_init(buf, 0);
    struct slice out = SLICE_LIT("untouched");
    assert_true(json_text(SLICE_LIT("\"lent\""), &out, &none));
    assert_true(slice_is(out, "lent"));
    assert_false(json_text(SLICE_LIT("\"\\n\""), &out, &none));
    assert_true(slice_is(out, "lent"));
    assert_false(json_text(SLICE_LIT("17"), &out, &none));
    assert_false(json_text(SLICE_LIT("\""), &out, &none));
}

static void test_two_decoded_texts_share_one_scratch(void **state)
{
    uint8_t buf[8];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice a, b;

    (void)state;
    assert_true(json_text(SLICE_LIT("\"\\u0061bc\""), &a, &scratch));
    assert_true(json_text(SLICE_LIT("\"\\u0064ef\""), &b, &scratch));
    assert_true(slice_is(a, "abc") && slice_is(b, "def"));
}

static void test_numbers_and_truths(void **state)
{
    uint64_t n = 7;
    bool t = false;

    (void)state;
    assert_true(json_u64(SLICE_LIT("0"), 10, &n) && n == 0);
    assert_true(json_u64(SLICE_LIT("10"), 10, &n) && n == 10);
    assert_true(json_u64(SLICE_LIT("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    n = 7;
    static const char *const bad[] = {"11", "-1", "1.0", "1e1", "\"1\"", "null", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(json_u64(slice_str(bad[i]), 10, &n));
    assert_false(json_u64(SLICE_LIT("18446744073709551616"), UINT64_MAX, &n));
    assert_int_equal(n, 7);
    assert_true(json_truth(SLICE_LIT("true"), &t) && t);
    assert_true(json_truth(SLICE_LIT("false"), &t) && !t);
    assert_false(json_truth(SLICE_LIT("1"), &t));
    assert_false(json_truth(SLICE_LIT("\"true\""), &t));
}

static void test_items_are_walked(void **state)
{
    struct slice array = SLICE_LIT("[ 1 ,\"a,]\\\"\\\\\" , [2,[3]] ,{\"x\":[\"}\"]}, null]");
    static const char *const want[] = {"1", "\"a,]\\\"\\\\\"", "[2,[3]]", "{\"x\":[\"}\"]}",
                                       "null"};
    struct json_items it = json_items(array);
    struct slice value;
    size_t n = 0;

    (void)state;
    assert_int_equal(json_scan(array, &wide), 0);
    while (json_items_next(&it, &value)) {
        assert_true(n < ARRAY_LEN(want));
        assert_true(slice_is(value, want[n++]));
    }
    assert_int_equal(n, ARRAY_LEN(want));
    assert_int_equal(json_items_count(array), 5);
    assert_int_equal(json_items_count(SLICE_LIT("[]")), 0);
    assert_int_equal(json_items_count(SLICE_LIT("{}")), 0);
    assert_int_equal(json_items_count(SLICE_LIT("")), 0);
}

static void test_written_texts_are_valid_and_read_back(void **state)
{
    static const struct {
        struct slice text;
        const char *json;
    } cases[] = {
        {{(const uint8_t *)"", 0}, "\"\""},
        {{(const uint8_t *)"bob", 3}, "\"bob\""},
        {{(const uint8_t *)"a\"b\\c\n\x01", 7}, "\"a\\\"b\\\\c\\u000a\\u0001\""},
        {{(const uint8_t *)"\xC3\xA9\xF0\x9F\x98\x80", 6}, "\"\xC3\xA9\xF0\x9F\x98\x80\""},
        {{(const uint8_t *)"x\xFFy\xC3", 4}, "\"x\xEF\xBF\xBDy\xEF\xBF\xBD\""},
        {{(const uint8_t *)"\0", 1}, "\"\\u0000\""},
    };
    uint8_t buf[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        json_write_text(&w, cases[i].text);
        assert_true(slice_is(wr_done(&w), cases[i].json));
        assert_int_equal(json_scan(wr_done(&w), &wide), 0);
    }
    struct wr w = wr_init(buf, 4);
    json_write_text(&w, SLICE_LIT("bob"));
    assert_true(w.bad);
}

/* ---- JSONTestSuite ---- */

/* Files whose texts are right JSON but nest deeper than any limit of ours, and so are refused with
 * -E2BIG instead of being judged. */
static bool over_our_depth(const char *name)
{
    return strcmp(name, "n_structure_100000_opening_arrays.json") == 0 ||
           strcmp(name, "n_structure_open_array_object.json") == 0 ||
           strcmp(name, "i_structure_500_nested_arrays.json") == 0;
}

static void check_suite_file(const char *dir, const char *name)
{
    static uint8_t buf[1 << 20];
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, sizeof(buf), f);
    fclose(f);
    int rc = scan_guarded(slice_of(buf, n), &wide);
    if (over_our_depth(name))
        assert_int_equal(rc, -E2BIG);
    else if (name[0] == 'y' && rc != 0)
        fail_msg("%s refused", name);
    else if (name[0] == 'n' && rc != -EBADMSG)
        fail_msg("%s gave %d", name, rc);
}

static void test_json_parsing_suite(void **state)
{
    const char *vectors = getenv("SORI_VECTORS");
    char dir[512];
    unsigned files = 0;

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/json-parsing", vectors ? vectors : "../shared/vectors");
    DIR *d = opendir(dir);
    if (!d) {
        print_message("skipped: no %s\n", dir);
        skip();
    }
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 5, ".json") != 0)
            continue;
        check_suite_file(dir, e->d_name);
        files++;
    }
    closedir(d);
    print_message("%u files\n", files);
    assert_true(files > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_texts_are_accepted),
        cmocka_unit_test(test_malformed_texts_are_refused),
        cmocka_unit_test(test_every_byte_at_every_place_of_a_string),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_limits_have_errors_of_their_own),
        cmocka_unit_test(test_fields_of_the_outer_object_are_found),
        cmocka_unit_test(test_wanted_keys_may_not_be_there_twice),
        cmocka_unit_test(test_only_an_object_has_fields),
        cmocka_unit_test(test_texts_are_lent_or_decoded),
        cmocka_unit_test(test_two_decoded_texts_share_one_scratch),
        cmocka_unit_test(test_numbers_and_truths),
        cmocka_unit_test(test_items_are_walked),
        cmocka_unit_test(test_written_texts_are_valid_and_read_back),
        cmocka_unit_test(test_json_parsing_suite),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}

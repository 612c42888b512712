/* opaque_string.c: spaces of every kind, what is refused, nothing else touched.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/opaque_string.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_text_is_prepared(void **state)
{
    static const struct {
        const char *in, *want; /* NULL: refused */
    } cases[] = {
        {"of green gables", "of green gables"},
        {" two  spaces stay ", " two  spaces stay "},
        {"a\xc2\xa0"
         "b",
         "a b"},
        {"\xe2\x80\x80|\xe2\x80\x8a|\xe2\x80\x8b", " | |\xe2\x80\x8b"}, /* U+200B is no space */
        {"\xe3\x80\x80\xe1\x9a\x80\xe2\x81\x9f\xe2\x80\xaf", "    "},
        {"\xe3\x83\x9e\xe3\x83\x88", "\xe3\x83\x9e\xe3\x83\x88"},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80"},
        /* RFC 8265 §4.3. */
        {"correct horse battery staple", "correct horse battery staple"},
        {"Correct Horse Battery Staple", "Correct Horse Battery Staple"},
        {"\xcf\x80\xc3\x9f\xc3\xa5", "\xcf\x80\xc3\x9f\xc3\xa5"},
        {"Jack of \xe2\x99\xa6s", "Jack of \xe2\x99\xa6s"},
        {"foo\xe1\x9a\x80"
         "bar",
         "foo bar"},
        {"my cat is a \tby", NULL},
        {"", NULL},
        {"tab\there", NULL},
        {"del\x7f", NULL},
        {"\xc2\x85next line", NULL},
        {"latin\xe9", NULL},
        {"cut\xe2\x80", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct wr w = wr_init(buf, sizeof(buf));
        int err = opaque_string(&w, slice_str(cases[i].in));
        assert_int_equal(err, cases[i].want ? 0 : -EBADMSG);
        if (cases[i].want)
            assert_true(slice_is(wr_done(&w), cases[i].want));
    }
}

/* Rows of the Unicode Character Database's NormalizationTest.txt, source and NFC. */
static void test_text_is_composed(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"e\xcc\x81", "\xc3\xa9"},                                /* e, acute */
        {"\xe2\x84\xab", "\xc3\x85"},                             /* Angstrom sign: A with ring */
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul */
        {"\xcd\x84", "\xcc\x88\xcc\x81"},                         /* never composed again */
        {"\xef\xac\x81", "\xef\xac\x81"}, /* a ligature is no fi: not NFKC */
        {"a\xcc\x95\xcc\x80\xd6\xae\xcc\x80"
         "b",
         "\xc3\xa0\xd6\xae\xcc\x80\xcc\x95"
         "b"},                                        /* marks in order */
        {"\xef\xac\xac", "\xd7\xa9\xd6\xbc\xd7\x81"}, /* twice as long */
        {"\xf0\x9d\x85\xa0", "\xf0\x9d\x85\x98\xf0\x9d\x85\xa5\xf0\x9d\x85\xae"}, /* three times */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64], again[64];
        struct wr w = wr_init(buf, sizeof(buf)), w2 = wr_init(again, sizeof(again));
        assert_int_equal(opaque_string(&w, slice_str(cases[i].in)), 0);
        assert_true(slice_is(wr_done(&w), cases[i].want));
        assert_int_equal(opaque_string(&w2, wr_done(&w)), 0);
        assert_true(slice_eq(wr_done(&w), wr_done(&w2)));
    }
}

static void test_longest_text_fits_and_no_longer(void **state)
{
    static uint8_t in[OPAQUE_STRING_MAX + 4], out[3 * sizeof(in)];
    struct wr w = wr_init(out, sizeof(out));

    (void)state;
    for (size_t i = 0; i < sizeof(in); i += 4)
        memcpy(in + i, "\xf0\x9d\x85\xa0", 4);
    assert_int_equal(opaque_string(&w, slice_of(in, OPAQUE_STRING_MAX)), 0);
    assert_int_equal(w.len, 3 * OPAQUE_STRING_MAX);
    assert_int_equal(opaque_string(&w, slice_of(in, sizeof(in))), -ENOSPC);
}

static void test_small_buffer_is_an_error(void **state)
{
    uint8_t buf[4];

    (void)state;
    struct wr w = wr_init(buf, 3);
    assert_int_equal(opaque_string(&w, SLICE_LIT("four")), -ENOSPC);
    w = wr_init(buf, 4);
    assert_int_equal(opaque_string(&w, SLICE_LIT("four")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_prepared),
        cmocka_unit_test(test_text_is_composed),
        cmocka_unit_test(test_longest_text_fits_and_no_longer),
        cmocka_unit_test(test_small_buffer_is_an_error),
    };

    return cmocka_run_group_tests_name("opaque_string", tests, NULL, NULL);
}

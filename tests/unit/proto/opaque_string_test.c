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
        cmocka_unit_test(test_small_buffer_is_an_error),
    };

    return cmocka_run_group_tests_name("opaque_string", tests, NULL, NULL);
}

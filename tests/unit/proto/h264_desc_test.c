/* h264_desc.c: single units, aggregation, fragments, truncations.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/h264_desc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

enum { SPS = 1, PPS = 2, IDR = 4, SLICE = 8, DELIMITER = 16 };

static void test_payloads_decode(void **state)
{
    static const struct {
        const char *hex;
        int err;
        unsigned what;
    } cases[] = {
        {"67 42", 0, SPS},
        {"68 ce", 0, PPS},
        {"65 88", 0, IDR | SLICE},
        {"41 9a", 0, SLICE},
        {"09 10", 0, DELIMITER},
        {"06 05", 0, DELIMITER},
        {"78 0002 6742 0001 68 0002 6588", 0, SPS | PPS | IDR | SLICE}, /* STAP-A */
        {"78", 0, 0},
        {"78 0000", 0, 0},
        {"78 0003 6742", -EBADMSG, 0},
        {"78 00", -EBADMSG, 0},
        {"79 0001 0002 6742", 0, SPS},           /* STAP-B: DON before */
        {"7a 0001 0002 05 0102 6742", 0, SPS},   /* MTAP16 */
        {"7b 0001 0002 05 010203 6742", 0, SPS}, /* MTAP24 */
        {"7c 85 aa", 0, IDR | SLICE},            /* FU-A, first fragment of an IDR slice */
        {"7c 05 aa", 0, 0},                      /* a later one */
        {"7c 45 aa", 0, 0},                      /* the last */
        {"7c 81 aa", 0, SLICE},
        {"7d 87 0001", 0, SPS}, /* FU-B */
        {"7c", -EBADMSG, 0},
        {"60", -EBADMSG, 0},
        {"7e", -EBADMSG, 0},
        {"", -EBADMSG, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[32];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        uint8_t *copy = guard_copy(in.p, in.len);
        struct h264_desc d;
        assert_int_equal(h264_desc_decode(&d, slice_of(copy, in.len)), cases[i].err);
        if (cases[i].err == 0)
            assert_int_equal((d.sps ? SPS : 0) | (d.pps ? PPS : 0) | (d.idr ? IDR : 0) |
                                 (d.slice ? SLICE : 0) | (d.delimiter ? DELIMITER : 0),
                             cases[i].what);
        guard_free(copy, in.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_payloads_decode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

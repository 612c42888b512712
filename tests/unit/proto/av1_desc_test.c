/* av1_desc.c: aggregation headers, OBU elements with and without lengths, truncations.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/av1_desc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_payloads_decode(void **state)
{
    static const struct {
        const char *hex;
        int err, opaque_err;
        bool z, y, n, seq, layer;
        uint8_t tid, sid;
    } cases[] = {
        /* W 1, N: a sequence header */
        {"18 08 00", 0, 0, false, false, true, true, false, 0, 0},
        /* W 2, N: sequence header of 2 bytes, then a frame (6) with extension T1 S2, to go on */
        {"68 02 0800 34 30 aa", 0, 0, false, true, true, true, true, 1, 2},
        /* Z: what looks like a sequence header is a fragment */
        {"90 08 00", 0, 0, true, false, false, false, false, 0, 0},
        /* W 0: all have lengths */
        {"00 01 10 02 0800", 0, 0, false, false, false, true, false, 0, 0},
        {"00 01 10 03 0800", -EBADMSG, 0, false, false, false, false, false, 0, 0},
        {"00 8080808080 01", -EBADMSG, 0, false, false, false, false, false, 0, 0},
        {"20 80", -EBADMSG, 0, false, false, false, false, false, 0, 0},
        /* Z and N exclude each other (§4.4) */
        {"88", -EBADMSG, -EBADMSG, false, false, false, false, false, 0, 0},
        {"", -EBADMSG, -EBADMSG, false, false, false, false, false, 0, 0},
        {"10", 0, 0, false, false, false, false, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[32];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        uint8_t *copy = guard_copy(in.p, in.len);
        struct av1_desc d;
        assert_int_equal(av1_desc_decode(&d, slice_of(copy, in.len), false), cases[i].opaque_err);
        assert_int_equal(av1_desc_decode(&d, slice_of(copy, in.len), true), cases[i].err);
        if (cases[i].err == 0) {
            assert_int_equal(d.continues, cases[i].z);
            assert_int_equal(d.to_continue, cases[i].y);
            assert_int_equal(d.new_sequence, cases[i].n);
            assert_int_equal(d.sequence_header, cases[i].seq);
            assert_int_equal(d.has_layer, cases[i].layer);
            assert_int_equal(d.tid, cases[i].tid);
            assert_int_equal(d.sid, cases[i].sid);
        }
        guard_free(copy, in.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_payloads_decode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

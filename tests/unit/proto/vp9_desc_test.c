/* vp9_desc.c: flexible and non-flexible mode, structures, truncations, round trip.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/vp9_desc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_flexible_mode_decodes(void **state)
{
    uint8_t buf[32];
    struct vp9_desc d;

    (void)state;
    /* I P L F B E, pid 15 bits, T2 U S1 D, two differences */
    assert_int_equal(vp9_desc_decode(&d, hex_bytes("fc 91 11 53 03 04 aa", buf, 32)), 0);
    assert_true(d.inter_picture && d.flexible && d.start && d.end && d.has_layers);
    assert_int_equal(d.pid, 0x1111);
    assert_int_equal(d.pid_bits, 15);
    assert_int_equal(d.tid, 2);
    assert_true(d.up_switch && d.inter_layer);
    assert_int_equal(d.sid, 1);
    assert_false(d.has_tl0);
    assert_int_equal(d.n_refs, 2);
    assert_int_equal(d.ref[0], 1);
    assert_int_equal(d.ref[1], 2);
    assert_int_equal(d.len, 6);
    /* a fourth difference is one too many */
    assert_int_equal(vp9_desc_decode(&d, hex_bytes("fc 91 11 53 03 03 03 04", buf, 32)), -EBADMSG);
}

static void test_a_structure_decodes(void **state)
{
    uint8_t buf[64];
    struct vp9_desc d;

    (void)state;
    /* I L B V; pid 7 bits; T0 S0; TL0; N_S 2, Y, G; sizes; 2 pictures with 1 and 2 references */
    struct slice in = hex_bytes("aa 11 00 07"
                                "58 0140 00b4 0280 0168 0500 02d0"
                                "02 04 01 28 01 02 ff",
                                buf, sizeof(buf));
    assert_int_equal(vp9_desc_decode(&d, in), 0);
    assert_true(d.has_structure && d.has_tl0);
    assert_int_equal(d.tl0, 7);
    assert_int_equal(d.tl0_at, 3);
    assert_int_equal(d.n_spatial, 3);
    assert_int_equal(d.size[2].width, 1280);
    assert_int_equal(d.size[2].height, 720);
    assert_int_equal(d.len, in.len - 1);
    for (size_t n = 0; n < d.len; n++) {
        uint8_t *copy = guard_copy(in.p, n);
        struct vp9_desc cut;
        assert_int_equal(vp9_desc_decode(&cut, slice_of(copy, n)), -EBADMSG);
        guard_free(copy, n);
    }
}

static void test_every_combination_comes_back(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 4096; bits++) {
        struct vp9_desc d = {.start = bits & 1,
                             .end = bits & 2,
                             .inter_picture = bits & 4,
                             .flexible = bits & 8,
                             .non_ref_above = bits & 16,
                             .has_layers = bits & 32,
                             .has_pid = bits & 64,
                             .up_switch = bits & 128,
                             .inter_layer = bits & 256,
                             .pid_bits = bits & 512 ? 15 : 7,
                             .pid = bits & 512 ? 0x7abc : 0x5a,
                             .tl0 = 0xfe,
                             .tid = 7,
                             .sid = 5,
                             .n_refs = bits & 1024 ? 3 : 1,
                             .ref = {1, 2, 127},
                             .has_structure = bits & 2048,
                             .n_spatial = 8,
                             .size = {{1, 2}, {65535, 4}}};
        uint8_t buf[64];
        struct vp9_desc got;
        struct wr w = wr_init(buf, sizeof(buf));
        vp9_desc_encode(&w, &d);
        assert_int_equal(vp9_desc_decode(&got, wr_done(&w)), 0);
        assert_int_equal(got.len, w.len);
        assert_int_equal(got.start, d.start);
        assert_int_equal(got.end, d.end);
        assert_int_equal(got.inter_picture, d.inter_picture);
        assert_int_equal(got.non_ref_above, d.non_ref_above);
        if (d.has_pid)
            assert_int_equal(got.pid, d.pid);
        if (d.has_layers) {
            assert_int_equal(got.sid, 5);
            assert_int_equal(got.tid, 7);
            assert_int_equal(got.up_switch, d.up_switch);
            assert_int_equal(got.inter_layer, d.inter_layer);
        }
        assert_int_equal(got.n_refs, d.flexible && d.inter_picture ? d.n_refs : 0);
        if (d.has_structure)
            assert_int_equal(got.size[1].width, 65535);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flexible_mode_decodes),
        cmocka_unit_test(test_a_structure_decodes),
        cmocka_unit_test(test_every_combination_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* dependency.c: what Chromium sends (L3T3, from the wire), truncations, own dependencies,
 * rewriting. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/dependency.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/rand.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

/* The first packet of a key frame of AV1 in mode L3T3. */
static const char chromium_l3t3[] =
    "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926"
    "e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601"
    "df010d";

static struct dependency_structure l3t3(void)
{
    uint8_t buf[128];
    struct dependency_structure s;
    struct dependency d;

    assert_int_equal(dependency_decode(&d, NULL, &s, hex_bytes(chromium_l3t3, buf, 128)), 0);
    return s;
}

static void test_chromiums_structure_decodes(void **state)
{
    uint8_t buf[128];
    struct dependency_structure s;
    struct dependency d;

    (void)state;
    struct slice in = hex_bytes(chromium_l3t3, buf, sizeof(buf));
    assert_int_equal(dependency_decode(&d, NULL, &s, in), 0);
    assert_true(d.start && d.end && d.has_structure && d.has_active);
    assert_false(d.mask_present);
    assert_int_equal(d.frame, 0x0172);
    assert_int_equal(s.n_targets, 9);
    assert_int_equal(s.n_chains, 3);
    assert_int_equal(s.max_sid, 2);
    assert_int_equal(s.max_tid, 2);
    assert_int_equal(d.active, 0x1ff);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(s.target_sid[i], i / 3);
        assert_int_equal(s.target_tid[i], i % 3);
        assert_int_equal(s.protected_by[i], i / 3);
        assert_int_equal(dependency_dti(d.dti, i), DEPENDENCY_SWITCH);
    }
    assert_true(s.has_resolution);
    assert_int_equal(s.resolution[2].width, 480);
    assert_int_equal(s.resolution[2].height, 270);
    assert_int_equal(d.n_fdiffs, 0);
    assert_int_equal(d.sid, 0);
    for (size_t n = 0; n < in.len; n++) {
        uint8_t *copy = guard_copy(in.p, n);
        int err = dependency_decode(&d, NULL, &s, slice_of(copy, n));
        assert_int_equal(err, n == 3 ? -ENOENT : -EBADMSG);
        guard_free(copy, n);
    }
}

static void test_chromiums_frames_decode(void **state)
{
    static const struct {
        const char *hex;
        bool start, end;
        uint8_t sid, tid;
        uint16_t frame, fdiff[2];
    } cases[] = {
        {"860173", true, false, 1, 0, 0x173, {1, 0}},
        {"460173", false, true, 1, 0, 0x173, {1, 0}},
        {"c30175", true, true, 0, 2, 0x175, {3, 0}},
        {"88017640fc", true, false, 1, 2, 0x176, {3, 1}},
    };
    struct dependency_structure s = l3t3(), same = s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[16];
        struct dependency d;
        assert_int_equal(dependency_decode(&d, &s, &s, hex_bytes(cases[i].hex, buf, 16)), 0);
        assert_int_equal(d.start, cases[i].start);
        assert_int_equal(d.end, cases[i].end);
        assert_int_equal(d.sid, cases[i].sid);
        assert_int_equal(d.tid, cases[i].tid);
        assert_int_equal(d.frame, cases[i].frame);
        assert_int_equal(d.fdiff[0], cases[i].fdiff[0]);
        if (cases[i].fdiff[1] > 0)
            assert_int_equal(d.fdiff[1], cases[i].fdiff[1]);
    }
    assert_memory_equal(&s, &same, sizeof(s)); /* no structure came: nothing was written */
}

static void test_what_is_not_understood_is_refused(void **state)
{
    struct dependency_structure s = l3t3();
    uint8_t buf[300] = {0};
    struct dependency d;

    (void)state;
    assert_int_equal(dependency_decode(&d, NULL, &s, hex_bytes("860173", buf, 8)), -ENOENT);
    assert_int_equal(dependency_decode(&d, &s, &s, hex_bytes("bf0173", buf, 8)), -ENOENT);
    assert_int_equal(dependency_decode(&d, &s, &s, slice_of(buf, 256)), -EBADMSG);
    /* nine frame differences are one too many */
    assert_int_equal(
        dependency_decode(&d, &s, &s,
                          hex_bytes("860173 12 08 20 82 08 20 82 08 20 82 08 20", buf, 300)),
        -EBADMSG);
}

static void test_written_and_read_again(void **state)
{
    struct dependency_structure s = l3t3(), got_s;
    struct rand_src rnd;

    (void)state;
    rand_src_init(&rnd, 7);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned t = (unsigned)rand_src_below(&rnd, s.n_templates);
        const struct dependency_template *tp = &s.v[t];
        struct dependency d = {.start = round & 1,
                               .end = round & 2,
                               .template_id = (uint8_t)((s.offset + t) & 63),
                               .frame = (uint16_t)rand_src_u64(&rnd),
                               .n_fdiffs = tp->n_fdiffs,
                               .dti = tp->dti},
                          got;
        memcpy(d.fdiff, tp->fdiff, sizeof(d.fdiff));
        memcpy(d.chain, tp->chain, sizeof(d.chain));
        bool attach = round % 5 == 0;
        d.mask_present = round % 3 == 0;
        d.active = d.mask_present ? (uint32_t)rand_src_below(&rnd, 512) : 0x1ff;
        if (round % 7 == 0)
            d.dti ^= 3;
        if (round % 11 == 0) {
            d.n_fdiffs = (uint8_t)rand_src_below(&rnd, DEPENDENCY_FDIFFS_MAX + 1);
            for (unsigned i = 0; i < d.n_fdiffs; i++)
                d.fdiff[i] = (uint16_t)(1 + rand_src_below(&rnd, 4096));
        }
        if (round % 13 == 0)
            d.chain[1] = 255;
        uint8_t buf[DEPENDENCY_LEN_MAX], out[DEPENDENCY_LEN_MAX];
        struct wr w = wr_init(buf, sizeof(buf));
        dependency_encode(&w, &d, &s, attach);
        assert_false(w.bad);
        uint8_t *copy = guard_copy(buf, w.len);
        struct slice in = slice_of(copy, w.len);
        assert_int_equal(dependency_decode(&got, &s, &got_s, in), 0);
        assert_int_equal(got.frame, d.frame);
        assert_int_equal(got.has_structure, attach);
        assert_int_equal(got.has_active, attach || d.mask_present);
        if (got.has_active)
            assert_int_equal(got.active, d.active);
        assert_true(got.dti == d.dti);
        assert_int_equal(got.n_fdiffs, d.n_fdiffs);
        assert_memory_equal(got.fdiff, d.fdiff, d.n_fdiffs * sizeof(*d.fdiff));
        assert_memory_equal(got.chain, d.chain, s.n_chains);

        /* rewritten: the same but for what was to be changed */
        struct dependency_patch p = {.frame = (uint16_t)(d.frame + 100),
                                     .template_delta = (uint8_t)rand_src_below(&rnd, 64),
                                     .put_mask = round % 4 == 0,
                                     .n_targets = s.n_targets,
                                     .mask = (uint32_t)rand_src_below(&rnd, 512)};
        struct dependency_structure moved = s, again_s;
        struct dependency again;
        moved.offset = (uint8_t)((s.offset + p.template_delta) & 63);
        struct wr o = wr_init(out, sizeof(out));
        dependency_rewrite(&o, in, &got, &p);
        assert_false(o.bad);
        assert_int_equal(dependency_decode(&again, &moved, &again_s, wr_done(&o)), 0);
        assert_int_equal(again.frame, p.frame);
        assert_int_equal(again.start, d.start);
        assert_int_equal(again.end, d.end);
        assert_int_equal(again.has_structure, attach);
        if (attach) {
            assert_int_equal(again_s.offset, moved.offset);
            again_s.offset = got_s.offset;
            assert_memory_equal(&again_s, &got_s, sizeof(got_s));
        }
        assert_int_equal(again.mask_present, d.mask_present || p.put_mask);
        if (again.mask_present)
            assert_int_equal(again.active, p.put_mask ? p.mask : d.active);
        assert_int_equal(again.sid, got.sid);
        assert_true(again.dti == d.dti);
        assert_int_equal(again.n_fdiffs, d.n_fdiffs);
        assert_memory_equal(again.fdiff, d.fdiff, d.n_fdiffs * sizeof(*d.fdiff));
        assert_memory_equal(again.chain, d.chain, s.n_chains);
        guard_free(copy, w.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chromiums_structure_decodes),
        cmocka_unit_test(test_chromiums_frames_decode),
        cmocka_unit_test(test_what_is_not_understood_is_refused),
        cmocka_unit_test(test_written_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* vp8_desc.c: RFC 7741's examples, both picture id sizes, key frames, truncations, round trip.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/vp8_desc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

static void test_descriptors_decode(void **state)
{
    static const struct {
        const char *hex;
        struct vp8_desc want;
    } cases[] = {
        /* RFC 7741 §4.5.1: key frame, no extension */
        {"10 00", {.start = true, .key = true, .len = 1}},
        {"10 01", {.start = true, .len = 1}},
        {"00 00", {.len = 1}},
        {"11 00", {.len = 1}}, /* partition 1 begins: no frame does */
        {"30 01", {.start = true, .non_ref = true, .len = 1}},
        /* §4.5.2: picture id of 7 bits */
        {"90 80 11 00",
         {.start = true,
          .key = true,
          .has_pid = true,
          .pid_bits = 7,
          .pid = 0x11,
          .pid_at = 2,
          .len = 3}},
        /* §4.5.6: 15 bits, TL0PICIDX, TID */
        {"90 e0 91 11 22 60 01",
         {.start = true,
          .has_pid = true,
          .has_tl0 = true,
          .has_tid = true,
          .pid_bits = 15,
          .pid = 0x1111,
          .pid_at = 2,
          .tl0 = 0x22,
          .tl0_at = 4,
          .tid = 1,
          .sync = true,
          .tid_at = 5,
          .len = 6}},
        {"80 10 1f", {.has_keyidx = true, .keyidx = 31, .tid_at = 2, .len = 3}},
        {"80 00", {.len = 2}},
        {"10", {.start = true, .len = 1}}, /* nothing behind it: no key frame seen */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[16];
        const struct vp8_desc *w = &cases[i].want;
        struct vp8_desc d;
        assert_int_equal(vp8_desc_decode(&d, hex_bytes(cases[i].hex, buf, sizeof(buf))), 0);
        assert_int_equal(d.start, w->start);
        assert_int_equal(d.key, w->key);
        assert_int_equal(d.non_ref, w->non_ref);
        assert_int_equal(d.has_pid, w->has_pid);
        assert_int_equal(d.pid, w->pid);
        assert_int_equal(d.pid_bits, w->pid_bits);
        assert_int_equal(d.pid_at, w->pid_at);
        assert_int_equal(d.has_tl0, w->has_tl0);
        assert_int_equal(d.tl0, w->tl0);
        assert_int_equal(d.tl0_at, w->tl0_at);
        assert_int_equal(d.tid, w->tid);
        assert_int_equal(d.sync, w->sync);
        assert_int_equal(d.tid_at, w->tid_at);
        assert_int_equal(d.keyidx, w->keyidx);
        assert_int_equal(d.len, w->len);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    static const char *const whole[] = {"90 f0 91 11 22 60", "90 80 11", "80 40 01", "80 10 1f"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        uint8_t buf[16];
        struct slice in = hex_bytes(whole[i], buf, sizeof(buf));
        for (size_t n = 0; n <= in.len; n++) {
            uint8_t *copy = guard_copy(in.p, n);
            struct vp8_desc d;
            assert_int_equal(vp8_desc_decode(&d, slice_of(copy, n)), n == in.len ? 0 : -EBADMSG);
            guard_free(copy, n);
        }
    }
}

static void test_every_combination_comes_back(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 256; bits++) {
        struct vp8_desc d = {.start = bits & 1,
                             .non_ref = bits & 2,
                             .has_pid = bits & 4,
                             .has_tl0 = bits & 8,
                             .has_tid = bits & 16,
                             .has_keyidx = bits & 32,
                             .pid_bits = bits & 64 ? 15 : 7,
                             .pid = bits & 64 ? 0x7abc : 0x5a,
                             .tl0 = 0xfe,
                             .tid = 3,
                             .sync = bits & 128,
                             .keyidx = 17};
        uint8_t buf[VP8_DESC_LEN_MAX];
        struct vp8_desc got;
        struct wr w = wr_init(buf, sizeof(buf));
        vp8_desc_encode(&w, &d);
        assert_int_equal(vp8_desc_decode(&got, wr_done(&w)), 0);
        assert_int_equal(got.len, w.len);
        assert_int_equal(got.start, d.start);
        assert_int_equal(got.has_pid, d.has_pid);
        if (d.has_pid)
            assert_int_equal(got.pid, d.pid);
        assert_int_equal(got.has_tl0, d.has_tl0);
        assert_int_equal(got.has_tid, d.has_tid);
        if (d.has_tid)
            assert_true(got.tid == d.tid && got.sync == d.sync);
        assert_int_equal(got.has_keyidx, d.has_keyidx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors_decode),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_combination_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

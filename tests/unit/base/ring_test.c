/* ring.c: every record once, in order and whole; bounded; between two threads.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"

static bool push(struct ring *r, struct slice s)
{
    return ring_push(r, &s, 1);
}

static void test_records_come_out_as_they_went_in(void **state)
{
    struct ring *r = ring_new(64);
    const struct slice parts[] = {SLICE_LIT("one "), SLICE_LIT(""), SLICE_LIT("record")};
    struct slice got;

    (void)state;
    assert_false(ring_next(r, &got));
    for (unsigned i = 0; i < 1000; i++) { /* round the end many times */
        assert_true(ring_push(r, parts, 3));
        assert_true(push(r, (struct slice){0}));
        assert_true(ring_next(r, &got));
        assert_true(slice_eq(got, SLICE_LIT("one record")));
        assert_true(ring_next(r, &got));
        assert_int_equal(got.len, 0);
        assert_false(ring_next(r, &got));
        ring_release(r);
    }
    ring_free(r);
    ring_free(NULL);
}

static void test_a_full_ring_takes_nothing_until_released(void **state)
{
    struct ring *r = ring_new(64);
    struct slice got;
    unsigned n = 0;

    (void)state;
    while (push(r, SLICE_LIT("12345678")))
        n++;
    assert_int_equal(n, 4); /* 16 bytes each */
    assert_true(ring_next(r, &got));
    assert_false(push(r, SLICE_LIT("x"))); /* read, but somebody may still look at it */
    ring_release(r);
    assert_true(push(r, SLICE_LIT("x")));
    assert_false(push(r, SLICE_LIT("x")));
    ring_free(r);
}

static void test_longest_record(void **state)
{
    static const uint8_t bytes[128];

    (void)state;
    for (size_t before = 0; before <= 64; before++) {
        for (size_t len = 0; len <= RING_RECORD_MAX(128); len++) {
            struct ring *r = ring_new(128);
            struct slice got;
            if (push(r, slice_of(bytes, before))) {
                assert_true(ring_next(r, &got));
                ring_release(r);
            }
            if (!push(r, slice_of(bytes, len)))
                fail_msg("%zu after %zu", len, before);
            assert_true(ring_next(r, &got));
            assert_int_equal(got.len, len);
            ring_free(r);
        }
    }
    struct ring *r = ring_new(128);
    assert_false(push(r, slice_of(bytes, 121)));
    assert_false(push(r, slice_of(bytes, SIZE_MAX)));
    ring_free(r);
}

static void test_one_wake_up_per_batch(void **state)
{
    struct ring *r = ring_new(64);

    (void)state;
    assert_true(ring_must_wake(r));
    assert_false(ring_must_wake(r));
    ring_woken(r);
    assert_true(ring_must_wake(r));
    ring_free(r);
}

/* Records of random length, each byte following from the record's number. */
#define RECORDS 200000

static void *produce(void *arg)
{
    struct ring *r = arg;
    struct rand_src rnd;
    uint8_t bytes[64];

    rand_src_init(&rnd, 11);
    for (unsigned i = 0; i < RECORDS;) {
        size_t len = (size_t)rand_src_below(&rnd, sizeof(bytes));
        memset(bytes, (int)(i & 0xff), len);
        while (!push(r, slice_of(bytes, len)))
            sched_yield();
        i++;
    }
    return NULL;
}

static void test_two_threads_lose_and_tear_nothing(void **state)
{
    struct ring *r = ring_new(512);
    struct rand_src rnd;
    struct slice got;
    pthread_t thread;

    (void)state;
    rand_src_init(&rnd, 11);
    assert_int_equal(pthread_create(&thread, NULL, produce, r), 0);
    for (unsigned i = 0; i < RECORDS;) {
        if (!ring_next(r, &got)) {
            ring_release(r);
            sched_yield();
            continue;
        }
        if (got.len != rand_src_below(&rnd, 64))
            fail_msg("record %u has %zu bytes", i, got.len);
        for (size_t k = 0; k < got.len; k++) {
            if (got.p[k] != (i & 0xff))
                fail_msg("record %u is torn", i);
        }
        i++;
    }
    pthread_join(thread, NULL);
    ring_free(r);
}

static void test_oom_new(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_null(ring_new(64));
        mem_fail_never();
        assert_int_equal(mem_live(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_come_out_as_they_went_in),
        cmocka_unit_test(test_a_full_ring_takes_nothing_until_released),
        cmocka_unit_test(test_longest_record),
        cmocka_unit_test(test_one_wake_up_per_batch),
        cmocka_unit_test(test_two_threads_lose_and_tear_nothing),
        cmocka_unit_test(test_oom_new),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}

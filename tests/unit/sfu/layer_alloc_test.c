/* layer_alloc.c: who gets which layer, in which order things are shed, patience on the way up.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/layer_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

#define MS US_PER_MS

/* Three simulcast layers of two temporal layers: 100/150, 300/500, 1000/1500 kbit/s. */
static struct layer_slot slot(uint8_t priority)
{
    return (struct layer_slot){
        .bps = {{100000, 150000}, {300000, 500000}, {1000000, 1500000}},
        .max_layer = 2,
        .max_tid = 1,
        .priority = priority,
        .layer = -1,
    };
}

static struct layer_out run(struct layer_slot *s, unsigned n, uint64_t target_bps, uint64_t now_us)
{
    static struct layer_out out;
    const struct layer_in in = {.target_bps = target_bps, .audio_bps = 50000, .red_bps = 20000};

    layer_alloc_run(s, n, &in, &out, now_us);
    return out;
}

/* Long enough for every patience: runs until nothing changes. */
static uint64_t settle(struct layer_slot *s, unsigned n, uint64_t target_bps, uint64_t now_us)
{
    for (unsigned i = 0; i < 100; i++)
        run(s, n, target_bps, now_us += 500 * MS);
    return now_us;
}

static void test_ample_rate_gives_all_that_is_wished(void **state)
{
    struct layer_slot s[2] = {slot(1), slot(1)};

    (void)state;
    s[1].max_layer = 1;
    s[1].max_tid = 0;
    settle(s, 2, 10000000, 0);
    struct layer_out out = run(s, 2, 10000000, US_PER_S * 1000);
    assert_int_equal(s[0].layer, 2);
    assert_int_equal(s[0].tid, 1);
    assert_int_equal(s[1].layer, 1);
    assert_int_equal(s[1].tid, 0);
    assert_int_equal(out.used_bps, 70000 + 1500000 + 300000);
    assert_int_equal(out.wanted_bps, out.used_bps);
    assert_int_equal(out.next_bps, 0);
    assert_true(out.red);
    assert_false(out.changed);
}

static void test_a_new_slot_starts_at_once(void **state)
{
    struct layer_slot s = slot(1);

    (void)state;
    struct layer_out out = run(&s, 1, 600000, 1);
    assert_true(out.changed);
    assert_int_equal(s.layer, 1);
    assert_int_equal(s.tid, 1);
    assert_false(s.starved);
}

static void test_going_down_is_at_once_and_up_takes_a_while(void **state)
{
    struct layer_slot s = slot(1);
    uint64_t now = settle(&s, 1, 10000000, 0) + 60 * US_PER_S;

    (void)state;
    run(&s, 1, 600000, now);
    assert_int_equal(s.layer, 1);
    run(&s, 1, 10000000, now += 10 * MS);
    assert_int_equal(s.layer, 1);
    run(&s, 1, 10000000, now += 300 * MS);
    assert_int_equal(s.layer, 1);
    run(&s, 1, 10000000, now += 110 * MS);
    assert_int_equal(s.layer, 2);
}

static void test_a_rate_that_wavers_changes_nothing(void **state)
{
    struct layer_slot s = slot(1);
    uint64_t now = settle(&s, 1, 575000, 0);
    unsigned changes = 0;

    (void)state;
    assert_int_equal(s.layer, 1);
    assert_int_equal(s.tid, 1);
    for (unsigned i = 0; i < 1000; i++)
        changes += run(&s, 1, i % 2 ? 558000 : 1080000, now += 200 * MS).changed;
    assert_int_equal(changes, 0);
}

static void test_a_rise_that_did_not_hold_waits_longer(void **state)
{
    struct layer_slot s = slot(1);
    uint64_t now = settle(&s, 1, 600000, 0), waits[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t from = now;
        while (s.layer < 2)
            run(&s, 1, 10000000, now += 10 * MS);
        waits[i] = now - from;
        run(&s, 1, 600000, now += 1 * US_PER_S);
        assert_int_equal(s.layer, 1);
    }
    assert_true(waits[1] > waits[0] + 300 * MS);
    assert_true(waits[2] > waits[1] + 700 * MS);
    now = settle(&s, 1, 10000000, now);
    settle(&s, 1, 10000000, now);
    assert_int_equal(s._failed_ups, 0);
}

static void test_shedding_order(void **state)
{
    struct layer_slot s[2] = {slot(1), slot(9)};
    uint64_t now = settle(s, 2, 10000000, 0);

    (void)state;
    assert_true(run(s, 2, 3100000, now).red); /* all */
    assert_int_equal(s[0].layer, 2);
    run(s, 2, 2200000, now); /* top layers, of the lower priority first */
    assert_int_equal(s[1].layer, 2);
    assert_int_equal(s[0].layer, 1);
    run(s, 2, 700000, now);
    assert_int_equal(s[1].layer, 1);
    assert_int_equal(s[0].layer, 0);
    run(s, 2, 180000, now); /* whole videos, of the lower priority first */
    assert_int_equal(s[1].layer, 0);
    assert_int_equal(s[0].layer, -1);
    assert_true(s[0].starved);
    struct layer_out out = run(s, 2, 100000, now);
    assert_int_equal(s[1].layer, -1);
    assert_true(out.red);
    out = run(s, 2, 60000, now); /* RED copies */
    assert_false(out.red);
    out = run(s, 2, 10000, now); /* never the audio itself */
    assert_int_equal(out.used_bps, 50000);
}

static void test_red_comes_back_with_room_to_spare(void **state)
{
    const struct layer_in tight = {.target_bps = 71000, .audio_bps = 50000, .red_bps = 20000};
    const struct layer_in roomy = {.target_bps = 74000, .audio_bps = 50000, .red_bps = 20000};
    struct layer_out out = {0};

    (void)state;
    layer_alloc_run(NULL, 0, &tight, &out, 0);
    assert_false(out.red);
    layer_alloc_run(NULL, 0, &roomy, &out, 0);
    assert_true(out.red);
    layer_alloc_run(NULL, 0, &tight, &out, 0);
    assert_true(out.red);
}

static void test_equal_slots_share_layer_by_layer(void **state)
{
    struct layer_slot s[4] = {slot(1), slot(1), slot(1), slot(1)};

    (void)state;
    settle(s, 4, 70000 + 4 * 560000, 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(s[i].layer, 1);
        assert_int_equal(s[i].tid, 1);
    }
}

static void test_a_screen_keeps_its_resolution(void **state)
{
    struct layer_slot s = slot(1);

    (void)state;
    s.screen = true;
    settle(&s, 1, 1250000, 0);
    assert_int_equal(s.layer, 2);
    assert_int_equal(s.tid, 0);
}

static void test_paused_absent_and_dominated_layers(void **state)
{
    struct layer_slot s[3] = {slot(1), slot(1), slot(1)};

    (void)state;
    s[0].max_layer = -1;
    memset(s[1].bps, 0, sizeof(s[1].bps));
    s[2].bps[1][1] = 2000000; /* dearer than the layer above: never chosen */
    struct layer_out out;
    settle(s, 3, 10000000, 0);
    out = run(s, 3, 10000000, 1000 * US_PER_S);
    assert_int_equal(s[0].layer, -1);
    assert_false(s[0].starved);
    assert_int_equal(s[1].layer, -1);
    assert_false(s[1].starved);
    assert_int_equal(s[2].layer, 2);
    assert_int_equal(out.wanted_bps, 70000 + 1500000);
    for (uint64_t target = 0; target < 3000000; target += 10000) {
        run(s, 3, target, 2000 * US_PER_S);
        assert_false(s[2].layer == 1 && s[2].tid == 1);
    }
}

static void test_a_layer_that_vanishes_is_left(void **state)
{
    struct layer_slot s = slot(1);
    uint64_t now = settle(&s, 1, 10000000, 0);

    (void)state;
    s.bps[2][0] = s.bps[2][1] = 0;
    run(&s, 1, 10000000, now);
    assert_int_equal(s.layer, 1);
    assert_int_equal(s.tid, 1);
}

static void test_next_tells_what_the_next_step_takes(void **state)
{
    struct layer_slot s = slot(1);

    (void)state;
    settle(&s, 1, 600000, 0);
    struct layer_out out = run(&s, 1, 600000, 1000 * US_PER_S);
    assert_int_equal(out.used_bps, 570000);
    assert_int_equal(out.next_bps, 570000 + 1100000 - 500000);
    uint64_t now = settle(&s, 1, out.next_bps, 2000 * US_PER_S);
    assert_int_equal(s.layer, 2);
    (void)now;
}

/* What is used fits, but for the tolerance of what runs. */
static void test_random_slots_fit(void **state)
{
    struct rand_src rnd;

    (void)state;
    rand_src_init(&rnd, 1);
    for (unsigned round = 0; round < 3000; round++) {
        struct layer_slot s[LAYER_SLOTS_MAX];
        unsigned n = 1 + (unsigned)rand_src_below(&rnd, LAYER_SLOTS_MAX);
        for (unsigned i = 0; i < n; i++) {
            s[i] = slot((uint8_t)rand_src_below(&rnd, 4));
            s[i].max_layer = (int8_t)((int)rand_src_below(&rnd, 5) - 1);
            s[i].max_tid = (int8_t)rand_src_below(&rnd, 6);
            s[i].layer = (int8_t)((int)rand_src_below(&rnd, 4) - 1);
            s[i].tid = (int8_t)rand_src_below(&rnd, 4);
            for (unsigned l = 0; l < RTP_LAYERS_MAX; l++)
                s[i].bps[l][rand_src_below(&rnd, LAYER_TIDS_MAX)] =
                    (uint32_t)rand_src_below(&rnd, 3000000);
        }
        for (uint64_t target = 0; target < 30000000; target += 5000000) {
            struct layer_slot copy[LAYER_SLOTS_MAX];
            memcpy(copy, s, sizeof(s[0]) * n);
            struct layer_out out = run(copy, n, target, 1);
            assert_true(target < 70000 || out.used_bps <= target + target / 30);
            assert_true(out.used_bps <= out.wanted_bps);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ample_rate_gives_all_that_is_wished),
        cmocka_unit_test(test_a_new_slot_starts_at_once),
        cmocka_unit_test(test_going_down_is_at_once_and_up_takes_a_while),
        cmocka_unit_test(test_a_rate_that_wavers_changes_nothing),
        cmocka_unit_test(test_a_rise_that_did_not_hold_waits_longer),
        cmocka_unit_test(test_shedding_order),
        cmocka_unit_test(test_red_comes_back_with_room_to_spare),
        cmocka_unit_test(test_equal_slots_share_layer_by_layer),
        cmocka_unit_test(test_a_screen_keeps_its_resolution),
        cmocka_unit_test(test_paused_absent_and_dominated_layers),
        cmocka_unit_test(test_a_layer_that_vanishes_is_left),
        cmocka_unit_test(test_next_tells_what_the_next_step_takes),
        cmocka_unit_test(test_random_slots_fit),
    };

    return cmocka_run_group_tests_name("layer_alloc", tests, NULL, NULL);
}

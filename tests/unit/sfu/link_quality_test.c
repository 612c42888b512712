/* link_quality.c: losses are counted once they are losses; the score falls at once and does not
 * flap. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/link_quality.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"

static void counted(struct link_runs *r, unsigned judged, unsigned lost, unsigned runs,
                    unsigned late)
{
    struct link_loss l;

    link_runs_take(r, &l);
    assert_int_equal(l.judged, judged);
    assert_int_equal(l.lost, lost);
    assert_int_equal(l.runs, runs);
    assert_int_equal(l.late, late);
}

static void feed(struct link_runs *r, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        link_runs_packet(r, from);
}

static void test_what_came_is_not_lost(void **state)
{
    struct link_runs r = {0};

    (void)state;
    feed(&r, 1000, 1000 + LINK_WINDOW);
    counted(&r, 0, 0, 0, 0); /* nothing is judged yet */
    feed(&r, 1000 + LINK_WINDOW, 1100 + LINK_WINDOW);
    counted(&r, 100, 0, 0, 0);
    link_runs_packet(&r, 1099 + LINK_WINDOW); /* a double */
    counted(&r, 0, 0, 0, 0);
}

static void test_runs_are_counted(void **state)
{
    struct link_runs r = {0};

    (void)state;
    feed(&r, 0, 10); /* 10 is lost, 20..22, 30..99 */
    feed(&r, 11, 20);
    feed(&r, 23, 30);
    feed(&r, 100, 200 + LINK_WINDOW);
    counted(&r, 200, 1 + 3 + 70, 3, 0);
}

static void test_a_repair_within_the_window_is_no_loss(void **state)
{
    struct link_runs r = {0};

    (void)state;
    feed(&r, 0, 10);
    feed(&r, 12, 11 + LINK_WINDOW);
    link_runs_packet(&r, 11);
    link_runs_packet(&r, 10 + LINK_WINDOW); /* 10 is out of it */
    link_runs_packet(&r, 10);               /* too late */
    feed(&r, 11 + LINK_WINDOW, 50 + LINK_WINDOW);
    counted(&r, 50, 1, 1, 1);
}

static void test_each_gap_length_around_the_window(void **state)
{
    (void)state;
    for (unsigned gap = 1; gap < 3 * LINK_WINDOW; gap++) {
        for (unsigned before = 1; before < 2 * LINK_WINDOW; before++) {
            struct link_runs r = {0};
            feed(&r, 7, 7 + before);
            feed(&r, 7 + before + gap, 7 + before + gap + 2 * LINK_WINDOW);
            counted(&r, before + gap + LINK_WINDOW, gap, 1, 0);
        }
    }
}

static void test_a_jump_is_a_new_beginning(void **state)
{
    struct link_runs r = {0};

    (void)state;
    feed(&r, 0, 10);
    feed(&r, 10 + LINK_JUMP_MAX, 110 + LINK_JUMP_MAX);
    counted(&r, 100 - LINK_WINDOW, 0, 0, 0);
    uint64_t at = UINT64_C(1) << 47;
    feed(&r, at, at + 2);
    link_runs_packet(&r, at + 1 + LINK_JUMP_MAX); /* the longest loss that is one */
    feed(&r, at + 2 + LINK_JUMP_MAX, at + 2 + LINK_JUMP_MAX + LINK_WINDOW);
    counted(&r, LINK_JUMP_MAX + 2, LINK_JUMP_MAX - 1, 1, 0);
}

/* Against the plain way: remember all, count at the end. */
static void test_any_order_is_counted_like_by_hand(void **state)
{
    enum { N = 2000 };
    struct rand_src s;

    (void)state;
    rand_src_init(&s, 5);
    for (int round = 0; round < 300; round++) {
        struct link_runs r = {0};
        bool came[N] = {false};
        unsigned lost = 0, runs = 0, part = (unsigned)rand_src_below(&s, 60);
        bool losing = false;
        link_runs_packet(&r, 0);
        came[0] = true;
        for (unsigned i = 1; i < N; i++) {
            if (losing ? rand_src_below(&s, 3) : rand_src_below(&s, 100) < part) {
                losing = true;
                continue;
            }
            losing = false;
            link_runs_packet(&r, i);
            came[i] = true;
            unsigned back = (unsigned)rand_src_below(&s, LINK_WINDOW); /* a late one */
            if (back <= i && rand_src_below(&s, 10) == 0) {
                link_runs_packet(&r, i - back);
                came[i - back] = true;
            }
        }
        for (unsigned i = 0; i < LINK_WINDOW; i++)
            link_runs_packet(&r, N + i);
        for (unsigned i = 0; i < N; i++) {
            lost += !came[i];
            runs += !came[i] && (i == 0 || came[i - 1]);
        }
        counted(&r, N, lost, runs, 0);
    }
}

static void test_r_of_a_path(void **state)
{
    struct link_path good = {.codec = EMODEL_OPUS, .rtt_us = 40000, .jitter_us = 3000}, p = good;
    double r = link_quality_r(&good);

    (void)state;
    assert_true(r > 80 && r < 90);
    p.loss = 0.1;
    assert_true(link_quality_r(&p) < r - 30);
    double lossy = link_quality_r(&p);
    p.copies = 1;
    assert_true(link_quality_r(&p) > lossy + 20);
    p.burst_ratio = 4; /* copies do not help much against long runs */
    assert_true(link_quality_r(&p) < lossy + 10);
    p = good;
    p.rtt_us = 600000;
    assert_true(link_quality_r(&p) < r - 15);
    p = good;
    p.jitter_us = 100000;
    double jitter = link_quality_r(&p);
    assert_true(jitter < r - 5);
    p.buffer_us = 60000; /* the receiver knows better */
    assert_true(link_quality_r(&p) > jitter);
}

static void test_the_score_falls_at_once_and_rises_when_it_lasts(void **state)
{
    static const struct {
        double r;
        uint8_t score;
    } v[] = {
        {85, 5},  {79.9, 4}, {85, 4}, {85, 5},                   /* down, and back after two */
        {45, 1},  {90, 1},   {49, 1}, {90, 1}, {90, 5},          /* a bad one in between */
        {75, 4},  {81, 4},   {81, 4}, {81, 4},                   /* not clear of the border */
        {83, 4},  {83, 5},   {80, 5}, {70, 4}, {60, 3}, {50, 2}, /* borders */
        {NAN, 1},
    };
    struct link_score s = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        uint8_t before = s.score;
        bool changed = link_score_update(&s, v[i].r);
        assert_int_equal(s.score, v[i].score);
        assert_int_equal(changed, s.score != before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_came_is_not_lost),
        cmocka_unit_test(test_runs_are_counted),
        cmocka_unit_test(test_a_repair_within_the_window_is_no_loss),
        cmocka_unit_test(test_each_gap_length_around_the_window),
        cmocka_unit_test(test_a_jump_is_a_new_beginning),
        cmocka_unit_test(test_any_order_is_counted_like_by_hand),
        cmocka_unit_test(test_r_of_a_path),
        cmocka_unit_test(test_the_score_falls_at_once_and_rises_when_it_lasts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of server/sfu_pick.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"
#include "server/sfu_pick.h"

#define EU                       \
    {                            \
        (const uint8_t *)"eu", 2 \
    }
#define US                       \
    {                            \
        (const uint8_t *)"us", 2 \
    }

static size_t pick(const struct sfu_candidate *v, size_t n, struct slice region, size_t avoid,
                   uint64_t a, uint64_t b)
{
    return sfu_pick(v, n, region, avoid, (const uint64_t[2]){a, b});
}

static void test_nobody_usable_is_none(void **state)
{
    const struct sfu_candidate v[] = {{false, 1, 0, EU}, {true, 0, 0, EU}};

    (void)state;
    assert_int_equal(pick(v, 0, (struct slice){0}, SFU_PICK_NONE, 0, 0), SFU_PICK_NONE);
    assert_int_equal(pick(v, 2, (struct slice){0}, SFU_PICK_NONE, 5, 9), SFU_PICK_NONE);
}

static void test_the_less_loaded_of_two_wins(void **state)
{
    const struct sfu_candidate v[] = {{true, 1, 500, EU}, {true, 1, 100, EU}, {true, 1, 10, EU}};

    (void)state;
    assert_int_equal(pick(v, 3, (struct slice){0}, SFU_PICK_NONE, 0, 1), 1);
    assert_int_equal(pick(v, 3, (struct slice){0}, SFU_PICK_NONE, 1, 0), 1);
    assert_int_equal(pick(v, 3, (struct slice){0}, SFU_PICK_NONE, 0, 0), 0); /* drawn twice */
    assert_int_equal(pick(v, 3, (struct slice){0}, SFU_PICK_NONE, 2, 1), 2);
}

static void test_the_region_goes_first_while_it_has_room(void **state)
{
    struct sfu_candidate v[] = {{true, 1, 800, EU}, {true, 1, 0, US}};
    const struct slice eu = SLICE_LIT("eu");

    (void)state;
    for (uint64_t d = 0; d < 4; d++)
        assert_int_equal(pick(v, 2, eu, SFU_PICK_NONE, d, d + 1), 0);
    v[0].load = SFU_PICK_FULL;
    assert_int_equal(pick(v, 2, eu, SFU_PICK_NONE, 0, 1), 1);
    v[1].load = 1000; /* both are full: home again */
    assert_int_equal(pick(v, 2, eu, SFU_PICK_NONE, 0, 1), 0);
    v[0].usable = false;
    assert_int_equal(pick(v, 2, eu, SFU_PICK_NONE, 0, 1), 1);
    assert_int_equal(pick(v, 2, SLICE_LIT("asia"), SFU_PICK_NONE, 0, 1), 1);
}

static void test_the_avoided_one_is_taken_last(void **state)
{
    struct sfu_candidate v[] = {{true, 1, 0, EU}, {true, 1, 999, US}};

    (void)state;
    assert_int_equal(pick(v, 2, SLICE_LIT("eu"), 0, 0, 0), 1);
    v[1].usable = false;
    assert_int_equal(pick(v, 2, SLICE_LIT("eu"), 0, 0, 0), 0);
    assert_int_equal(pick(v, 2, (struct slice){0}, 0, 0, 0), 0);
}

static void test_weights_decide_how_often_one_is_drawn(void **state)
{
    const struct sfu_candidate v[] = {{true, 3, 50, EU}, {true, 1, 50, EU}};
    struct rand_src r;
    unsigned first = 0;

    (void)state;
    rand_src_init(&r, 1);
    for (int i = 0; i < 10000; i++)
        first +=
            pick(v, 2, (struct slice){0}, SFU_PICK_NONE, rand_src_u64(&r), rand_src_u64(&r)) == 0;
    assert_in_range(first, 7200, 7800); /* at equal load the first draw wins: 3 of 4 */
}

static void test_rooms_spread_with_stale_loads(void **state)
{
    struct sfu_candidate v[10];
    unsigned rooms[10] = {0}, most = 0;
    struct rand_src r;

    (void)state;
    rand_src_init(&r, 2);
    for (size_t i = 0; i < 10; i++)
        v[i] = (struct sfu_candidate){true, 1, 0, EU};
    for (unsigned k = 0; k < 800; k++) {
        size_t i =
            pick(v, 10, (struct slice){0}, SFU_PICK_NONE, rand_src_u64(&r), rand_src_u64(&r));
        rooms[i]++;
        if (k % 10 == 9) /* reports come every ten rooms */
            for (size_t n = 0; n < 10; n++)
                v[n].load = rooms[n];
    }
    for (size_t i = 0; i < 10; i++)
        most = rooms[i] > most ? rooms[i] : most;
    assert_in_range(most, 80, 90); /* 80 each would be even */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_usable_is_none),
        cmocka_unit_test(test_the_less_loaded_of_two_wins),
        cmocka_unit_test(test_the_region_goes_first_while_it_has_room),
        cmocka_unit_test(test_the_avoided_one_is_taken_last),
        cmocka_unit_test(test_weights_decide_how_often_one_is_drawn),
        cmocka_unit_test(test_rooms_spread_with_stale_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* key_cache.c: what is known of a user over time, bounds, failing allocations.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/key_cache.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#define T0 (1000 * US_PER_S)

static const struct key_cache_conf conf = {
    .found_us = 60 * US_PER_S,
    .absent_us = 10 * US_PER_S,
    .stale_us = 600 * US_PER_S,
    .asked_us = 2 * US_PER_S,
    .failed_us = US_PER_S,
    .entries = 4,
    .asked = 2,
};
static const struct known_keys keys = {.md5 = {1, 2, 3}, .sha256 = {4}, .has_sha256 = true};
static const struct slice ann = SLICE_LIT("ann");

static enum key_cache_state at(const struct key_cache *c, struct slice name, uint64_t after_us)
{
    struct known_keys out = {0};
    enum key_cache_state s = key_cache_find(c, 0, name, T0 + after_us, &out);

    if (s == KEY_CACHE_FOUND)
        assert_memory_equal(&out, &keys, sizeof(out));
    return s;
}

static void test_answers_count_for_their_time(void **state)
{
    struct key_cache *c = key_cache_new(&conf);

    (void)state;
    assert_int_equal(at(c, ann, 0), KEY_CACHE_UNKNOWN);
    assert_int_equal(key_cache_asked(c, 0, ann, T0), 0);
    assert_int_equal(at(c, ann, 0), KEY_CACHE_ASKED);
    key_cache_answer(c, 0, ann, &keys, T0);
    assert_int_equal(at(c, ann, 60 * US_PER_S - 1), KEY_CACHE_FOUND);
    assert_int_equal(at(c, ann, 60 * US_PER_S), KEY_CACHE_UNKNOWN);
    assert_int_equal(key_cache_asked(c, 0, ann, T0 + 60 * US_PER_S), 0);
    key_cache_answer(c, 0, ann, NULL, T0 + 60 * US_PER_S);
    assert_int_equal(at(c, ann, 70 * US_PER_S - 1), KEY_CACHE_ABSENT);
    assert_int_equal(at(c, ann, 70 * US_PER_S), KEY_CACHE_UNKNOWN);
    assert_int_equal(key_cache_find(c, 1, ann, T0, &(struct known_keys){0}), KEY_CACHE_UNKNOWN);
    key_cache_answer(c, 1, ann, &keys, T0); /* nobody asked */
    assert_int_equal(key_cache_count(c), 1);
    key_cache_free(c);
}

static void test_keys_go_on_counting_while_nobody_can_be_asked(void **state)
{
    struct key_cache *c = key_cache_new(&conf);

    (void)state;
    key_cache_asked(c, 0, ann, T0);
    key_cache_answer(c, 0, ann, &keys, T0);
    key_cache_asked(c, 0, ann, T0 + 100 * US_PER_S);
    assert_int_equal(at(c, ann, 100 * US_PER_S), KEY_CACHE_ASKED);
    key_cache_failed(c, 0, ann, T0 + 100 * US_PER_S);
    assert_int_equal(at(c, ann, 101 * US_PER_S - 1), KEY_CACHE_FOUND);
    assert_int_equal(at(c, ann, 101 * US_PER_S), KEY_CACHE_UNKNOWN); /* time to ask again */
    key_cache_failed(c, 0, ann, T0 + 599 * US_PER_S);
    assert_int_equal(at(c, ann, 600 * US_PER_S - 1), KEY_CACHE_FOUND);
    key_cache_failed(c, 0, ann, T0 + 600 * US_PER_S);
    assert_int_equal(at(c, ann, 600 * US_PER_S), KEY_CACHE_FAILED);
    /* Whoever was absent, or never known, is not let in meanwhile. */
    key_cache_asked(c, 0, SLICE_LIT("bob"), T0);
    key_cache_failed(c, 0, SLICE_LIT("bob"), T0);
    assert_int_equal(at(c, SLICE_LIT("bob"), 0), KEY_CACHE_FAILED);
    key_cache_asked(c, 0, SLICE_LIT("eve"), T0);
    key_cache_answer(c, 0, SLICE_LIT("eve"), NULL, T0);
    key_cache_failed(c, 0, SLICE_LIT("eve"), T0 + 20 * US_PER_S);
    assert_int_equal(at(c, SLICE_LIT("eve"), 20 * US_PER_S), KEY_CACHE_FAILED);
    key_cache_free(c);
}

static void test_open_questions_are_bounded_and_given_up(void **state)
{
    struct key_cache *c = key_cache_new(&conf);

    (void)state;
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("a"), T0), 0);
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("b"), T0 + 1), 0);
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("c"), T0 + 2), -ENOSPC);
    assert_int_equal(key_cache_count(c), 2);
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("c"), T0 + 2 * US_PER_S), 0); /* a is over */
    assert_int_equal(at(c, SLICE_LIT("a"), 2 * US_PER_S), KEY_CACHE_UNKNOWN);
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("d"), T0 + 2 * US_PER_S), -ENOSPC);
    key_cache_answer(c, 0, SLICE_LIT("c"), NULL, T0 + 2 * US_PER_S);
    assert_int_equal(key_cache_asked(c, 0, SLICE_LIT("d"), T0 + 2 * US_PER_S), 0);
    key_cache_free(c);
}

static void test_longest_unasked_makes_room(void **state)
{
    static const struct slice names[] = {SLICE_LIT("a"), SLICE_LIT("b"), SLICE_LIT("c"),
                                         SLICE_LIT("d"), SLICE_LIT("e")};
    struct key_cache *c = key_cache_new(&conf);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        key_cache_asked(c, 0, names[i], T0);
        key_cache_answer(c, 0, names[i], &keys, T0);
    }
    key_cache_asked(c, 0, names[0], T0); /* a is in use */
    key_cache_answer(c, 0, names[0], &keys, T0);
    key_cache_asked(c, 0, names[4], T0);
    assert_int_equal(key_cache_count(c), 4);
    assert_int_equal(at(c, names[0], 0), KEY_CACHE_FOUND);
    assert_int_equal(at(c, names[1], 0), KEY_CACHE_UNKNOWN);
    assert_int_equal(at(c, names[4], 0), KEY_CACHE_ASKED);
    key_cache_free(c);
}

static void test_expire_makes_everything_be_asked_again(void **state)
{
    struct key_cache *c = key_cache_new(&conf);

    (void)state;
    key_cache_asked(c, 0, ann, T0);
    key_cache_answer(c, 0, ann, &keys, T0);
    key_cache_expire(c);
    assert_int_equal(at(c, ann, 0), KEY_CACHE_UNKNOWN);
    key_cache_asked(c, 0, ann, T0);
    key_cache_failed(c, 0, ann, T0); /* and still counts when that does not work */
    assert_int_equal(at(c, ann, 0), KEY_CACHE_FOUND);
    key_cache_free(c);
}

static void test_oom_leaves_a_whole_cache(void **state)
{
    uint64_t before = mem_live();
    bool failed = true;

    (void)state;
    for (uint64_t n = 0; failed; n++) {
        mem_fail_after(n);
        struct key_cache *c = key_cache_new(&conf);
        int err = c ? key_cache_asked(c, 0, ann, T0) : -ENOMEM;
        failed = mem_failed();
        mem_fail_never();
        assert_int_equal(err, failed ? -ENOMEM : 0);
        if (c)
            assert_int_equal(key_cache_count(c), !failed);
        key_cache_free(c);
        assert_int_equal(mem_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_count_for_their_time),
        cmocka_unit_test(test_keys_go_on_counting_while_nobody_can_be_asked),
        cmocka_unit_test(test_open_questions_are_bounded_and_given_up),
        cmocka_unit_test(test_longest_unasked_makes_room),
        cmocka_unit_test(test_expire_makes_everything_be_asked_again),
        cmocka_unit_test(test_oom_leaves_a_whole_cache),
    };

    return cmocka_run_group_tests_name("key_cache", tests, NULL, NULL);
}

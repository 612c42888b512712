/* Tests of base/rand: blocks, forks, bounds, a generator that repeats.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/rand.h"

#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

static void test_every_size_is_filled(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 16, 511, 512, 513, 1024, 5000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t *g = guard_copy(NULL, sizes[i]);
        size_t zero = 0;
        rand_bytes(g, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            zero += g[k] == 0;
        assert_true(sizes[i] < 16 || zero < sizes[i] / 2);
        guard_free(g, sizes[i]);
    }
}

static void test_no_draw_repeats(void **state)
{
    (void)state;
    static uint8_t draws[300][16];

    for (size_t i = 0; i < ARRAY_LEN(draws); i++)
        rand_bytes(draws[i], 16);
    for (size_t i = 0; i < ARRAY_LEN(draws); i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(draws[i], draws[k], 16);
}

static void test_child_does_not_repeat_its_parent(void **state)
{
    (void)state;
    uint8_t parent[16], child[16];
    int fds[2];

    rand_bytes(parent, 1); /* a block is drawn */
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        rand_bytes(child, sizeof(child));
        _exit(write(fds[1], child, sizeof(child)) == (ssize_t)sizeof(child) ? 0 : 1);
    }
    rand_bytes(parent, sizeof(parent));
    assert_int_equal(read(fds[0], child, sizeof(child)), sizeof(child));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_memory_not_equal(parent, child, sizeof(child));
    close(fds[0]);
    close(fds[1]);
}

static void test_below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    unsigned seen[7] = {0};
    struct rand_src r;

    rand_src_init(&r, 3);
    for (unsigned i = 0; i < 7000; i++) {
        uint64_t v = i % 2 ? rand_below(7) : rand_src_below(&r, 7);
        assert_true(v < 7);
        seen[v]++;
    }
    for (size_t i = 0; i < 7; i++)
        assert_in_range(seen[i], 700, 1300); /* 1000, sigma 29 */
    assert_true(rand_below(1) == 0);
    for (unsigned i = 0; i < 100; i++)
        assert_true(rand_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

/* xoshiro256** by its definition from s = {1,2,3,4}: first outputs of the authors' code. */
static void test_source_is_xoshiro256starstar_and_repeats(void **state)
{
    (void)state;
    static const uint64_t want[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    struct rand_src r = {{1, 2, 3, 4}}, a, b;

    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_true(rand_src_u64(&r) == want[i]);
    rand_src_init(&a, 9);
    rand_src_init(&b, 9);
    for (unsigned i = 0; i < 100; i++)
        assert_true(rand_src_u64(&a) == rand_src_u64(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_is_filled),
        cmocka_unit_test(test_no_draw_repeats),
        cmocka_unit_test(test_child_does_not_repeat_its_parent),
        cmocka_unit_test(test_below_stays_below_and_reaches_all),
        cmocka_unit_test(test_source_is_xoshiro256starstar_and_repeats),
    };
    return cmocka_run_group_tests_name("rand", tests, NULL, NULL);
}

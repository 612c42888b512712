/* usage_spool.c: names of record files, and when the next one begins.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage_spool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

/* 2026-11-28 23:59:59 UTC */
#define LATE_US (UINT64_C(1795910399) * US_PER_S)

static void test_name_tells_day_process_and_part(void **state)
{
    struct usage_spool s = {.boot = 0xabc, .most_bytes = 1000};
    char name[USAGE_SPOOL_NAME_MAX];

    (void)state;
    usage_spool_turn(&s, LATE_US, name);
    assert_string_equal(name, "usage-20261128-0000000000000abc-0001.ndjson");
    usage_spool_turn(&s, LATE_US + US_PER_S, name);
    assert_string_equal(name, "usage-20261129-0000000000000abc-0002.ndjson");
    s.part = 9999;
    usage_spool_turn(&s, 0, name); /* more digits when they are needed; a clock that was set back */
    assert_string_equal(name, "usage-19700101-0000000000000abc-10000.ndjson");
}

static void test_a_file_ends_with_its_day_and_its_size(void **state)
{
    struct usage_spool s = {.most_bytes = 1000};
    char name[USAGE_SPOOL_NAME_MAX];

    (void)state;
    assert_true(usage_spool_turns(&s, 1, LATE_US)); /* there is none */
    usage_spool_turn(&s, LATE_US, name);
    assert_false(usage_spool_turns(&s, 5000, LATE_US)); /* longer than a file, but the first */
    s.bytes = 900;
    assert_false(usage_spool_turns(&s, 100, LATE_US));
    assert_true(usage_spool_turns(&s, 101, LATE_US));
    assert_true(usage_spool_turns(&s, 5000, LATE_US));
    s.bytes = UINT64_MAX;
    assert_true(usage_spool_turns(&s, 1, LATE_US));
    s.bytes = 0;
    assert_false(usage_spool_turns(&s, 1, LATE_US + US_PER_S - 1));
    assert_true(usage_spool_turns(&s, 1, LATE_US + US_PER_S)); /* midnight */
}

static void test_day_of_a_name_comes_back(void **state)
{
    static const char *const bad[] = {
        "",
        "usage-",
        "usage-20261128-0000000000000abc-0001",
        "usage-20261128-0000000000000abc-001.ndjson",
        "usage-20261128-0000000000000abc-00x1.ndjson",
        "usage-20261128-0000000000000abC-0001.ndjson",
        "usage-20261131-0000000000000abc-0001.ndjson", /* no such day */
        "usage-20261328-0000000000000abc-0001.ndjson",
        "usage-00000000-0000000000000abc-0001.ndjson",
        "usage-2026112-00000000000000abc-0001.ndjson",
        "usage-20261128-0000000000000abc-0001.ndjson.gz",
        "Usage-20261128-0000000000000abc-0001.ndjson",
    };
    struct usage_spool s = {.boot = UINT64_MAX, .most_bytes = 1000};
    char name[USAGE_SPOOL_NAME_MAX];
    uint64_t day;

    (void)state;
    for (uint64_t d = 0; d < 60000; d += 7) { /* to the year 2134 */
        usage_spool_turn(&s, d * 86400 * US_PER_S, name);
        day = 0;
        assert_int_equal(usage_spool_day(slice_str(name), &day), 0);
        assert_int_equal(day, d);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(usage_spool_day(slice_str(bad[i]), &day), -EBADMSG);
    for (size_t i = 0; i < strlen(name); i++) /* every truncation */
        assert_int_equal(usage_spool_day(slice_of(name, i), &day), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_tells_day_process_and_part),
        cmocka_unit_test(test_a_file_ends_with_its_day_and_its_size),
        cmocka_unit_test(test_day_of_a_name_comes_back),
    };

    return cmocka_run_group_tests_name("usage_spool", tests, NULL, NULL);
}

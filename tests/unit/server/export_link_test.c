/* Tests of server/export_link.c: what a link is good for, and that nothing else is one.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/export_link.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>

#define UNTIL  2000
#define SECRET SLICE_LIT("0123456789abcdef0123456789abcdef")

static const struct ledger_privacy FILE_OF = {.id = {1, 2, 3}, .ndjson = true};

static struct slice link_text(struct export_link *k, char text[EXPORT_LINK_MAX])
{
    struct wr w = wr_init(text, EXPORT_LINK_MAX);

    export_link_write(k, &w, &FILE_OF, UNTIL);
    assert_false(w.bad);
    struct slice s = wr_done(&w);
    assert_true(slice_starts(s, SLICE_LIT(EXPORT_LINK_PATH)));
    return slice_sub(s, sizeof(EXPORT_LINK_PATH) - 1, s.len);
}

static void test_a_link_names_its_file_until_its_end(void **state)
{
    struct export_link *k = export_link_new(SECRET);
    struct ledger_privacy p = {.bytes = 77};
    char text[EXPORT_LINK_MAX];
    struct slice s = link_text(k, text);

    (void)state;
    assert_int_equal(export_link_read(k, s, UNTIL, &p), 0);
    assert_memory_equal(p.id, FILE_OF.id, sizeof(p.id));
    assert_true(p.ndjson);
    assert_int_equal(p.kind, LEDGER_EXPORT);
    p.bytes = 77;
    assert_int_equal(export_link_read(k, s, UNTIL + 1, &p), -ETIME);
    assert_int_equal(p.bytes, 77); /* untouched */
    export_link_free(k);
}

static void test_nothing_else_is_a_link(void **state)
{
    static const char *const foreign[] = {"",
                                          "/",
                                          "..",
                                          "../../etc/passwd",
                                          "%2e%2e",
                                          "AAAA",
                                          "0102030000000000000000000000000000.json"};
    struct export_link *k = export_link_new(SECRET);
    struct export_link *other = export_link_new(SLICE_LIT("another secret of thirty-two bytes"));
    struct ledger_privacy p;
    char text[EXPORT_LINK_MAX];
    struct slice s = link_text(k, text);

    (void)state;
    assert_int_equal(export_link_read(other, s, 0, &p), -EBADMSG);
    for (size_t i = 0; i < s.len; i++) { /* each character counts, and each that is missing */
        char *at = &text[sizeof(EXPORT_LINK_PATH) - 1 + i], was = *at;
        *at = was == 'A' ? 'B' : 'A';
        assert_int_equal(export_link_read(k, s, 0, &p), -EBADMSG);
        *at = was;
        assert_int_equal(export_link_read(k, slice_sub(s, 0, i), 0, &p), -EBADMSG);
    }
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        assert_int_equal(export_link_read(k, slice_str(foreign[i]), 0, &p), -EBADMSG);
    export_link_free(k);
    export_link_free(other);
}

static void test_too_little_room_is_told(void **state)
{
    struct export_link *k = export_link_new(SECRET);
    char text[20];
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    export_link_write(k, &w, &FILE_OF, UNTIL);
    assert_true(w.bad);
    export_link_free(k);
    export_link_free(NULL);
}

static void test_oom(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_null(export_link_new(SECRET));
    mem_fail_never();
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_link_names_its_file_until_its_end),
        cmocka_unit_test(test_nothing_else_is_a_link),
        cmocka_unit_test(test_too_little_room_is_told),
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests_name("export_link", tests, NULL, NULL);
}

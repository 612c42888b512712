/* Tests of server/session.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/session.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static struct session *make(struct session_table *t, const char *user, const char *device)
{
    return session_new(t, slice_str(user), slice_str(device), SLICE_LIT("Name"));
}

static void test_a_session_is_found_by_id_and_by_device(void **state)
{
    struct session_table *t = session_table_new();
    struct session *s = make(t, "alice", "phone"), *s2 = make(t, "alice", "tablet");
    char id[SESSION_ID_TEXT];

    (void)state;
    session_id_text(s, id);
    assert_ptr_equal(session_find(t, slice_of(id, sizeof(id))), s);
    assert_null(session_find(t, SLICE_LIT("AAAAAAAAAAAAAAAAAAAAAA")));
    assert_null(session_find(t, SLICE_LIT("short")));
    assert_null(session_find(t, (struct slice){0}));
    struct user *u = user_find(t, SLICE_LIT("alice"));
    assert_non_null(u);
    assert_int_equal(u->sessions_n, 2);
    assert_ptr_equal(session_find_device(u, SLICE_LIT("tablet")), s2);
    assert_null(session_find_device(u, SLICE_LIT("tab")));
    assert_null(user_find(t, SLICE_LIT("alic")));
    session_table_free(t);
}

static void test_a_user_is_gone_with_its_last_session(void **state)
{
    struct session_table *t = session_table_new();
    struct session *a = make(t, "bob", "1"), *b = make(t, "bob", "2");

    (void)state;
    session_free(t, a);
    assert_non_null(user_find(t, SLICE_LIT("bob")));
    session_free(t, b);
    assert_null(user_find(t, SLICE_LIT("bob")));
    assert_int_equal(session_table_count(t), 0);
    session_table_free(t);
}

static void test_a_resume_token_is_good_until_the_new_one_has_arrived(void **state)
{
    struct session_table *t = session_table_new();
    struct session *s = make(t, "carol", "web");
    char first[SESSION_ID_TEXT], second[SESSION_ID_TEXT], third[SESSION_ID_TEXT];
    struct slice one = slice_of(first, sizeof(first)), two = slice_of(second, sizeof(second)),
                 three = slice_of(third, sizeof(third));

    (void)state;
    session_rotate(s, (struct slice){0}, first);
    assert_true(session_token_ok(s, one));
    session_rotate(s, one, second); /* resumed with the first; the welcome may be lost */
    assert_true(session_token_ok(s, one));
    assert_true(session_token_ok(s, two));
    session_rotate(s, one, third); /* it was: again with the first */
    assert_true(session_token_ok(s, one));
    assert_false(session_token_ok(s, two));
    assert_true(session_token_ok(s, three));
    session_confirm(s);
    assert_false(session_token_ok(s, one));
    assert_true(session_token_ok(s, three));
    session_table_free(t);
}

static void test_bad_tokens_are_refused(void **state)
{
    static const char *const bad[] = {
        "",         "AAAAAAAAAAAAAAAAAAAAAA",   "AAAAAAAAAAAAAAAAAAAAA",
        "A=======", "AAAAAAAAAAAAAAAAAAAAAAAA", "!!!!!!!!!!!!!!!!!!!!!!"};
    struct session_table *t = session_table_new();
    struct session *s = make(t, "dave", "web");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(session_token_ok(s, slice_str(bad[i])));
    session_table_free(t);
}

static void test_too_long_ids_make_no_session(void **state)
{
    static char text[200];
    struct session_table *t = session_table_new();

    (void)state;
    memset(text, 'a', sizeof(text));
    assert_null(
        session_new(t, slice_of(text, SESSION_USER_MAX + 1), SLICE_LIT("d"), (struct slice){0}));
    assert_null(
        session_new(t, SLICE_LIT("u"), slice_of(text, SESSION_DEVICE_MAX + 1), (struct slice){0}));
    assert_null(
        session_new(t, SLICE_LIT("u"), SLICE_LIT("d"), slice_of(text, SESSION_NAME_MAX + 1)));
    assert_non_null(session_new(t, slice_of(text, SESSION_USER_MAX),
                                slice_of(text, SESSION_DEVICE_MAX),
                                slice_of(text, SESSION_NAME_MAX)));
    session_table_free(t);
}

static void test_oom_leaves_nothing_half_made(void **state)
{
    uint64_t before = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct session_table *t = session_table_new();
        struct session *s = t ? make(t, "erin", "web") : NULL;
        bool failed = mem_failed();
        mem_fail_never();
        if (t && !s)
            assert_null(user_find(t, SLICE_LIT("erin")));
        session_table_free(t);
        assert_int_equal(mem_live(), before);
        if (!failed) {
            assert_non_null(s);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session_is_found_by_id_and_by_device),
        cmocka_unit_test(test_a_user_is_gone_with_its_last_session),
        cmocka_unit_test(test_a_resume_token_is_good_until_the_new_one_has_arrived),
        cmocka_unit_test(test_bad_tokens_are_refused),
        cmocka_unit_test(test_too_long_ids_make_no_session),
        cmocka_unit_test(test_oom_leaves_nothing_half_made),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}

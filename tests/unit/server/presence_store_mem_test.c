/* Tests of server/presence_store_mem.c: the promises of presence_store.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "server/presence_store_mem.h"

/* What the last lookup gave. */
static struct {
    size_t n;
    int calls;
    char first_device[32];
    enum sig_presence state;
    uint64_t generation;
} seen;
static int changes;

static void got(struct presence_lookup *l, int err, const struct presence_entry *e, size_t n)
{
    (void)l;
    assert_int_equal(err, 0);
    seen.calls++;
    seen.n = n;
    if (n == 0)
        return;
    assert_int_equal(slice_to_cstr(e[0].device, seen.first_device, sizeof(seen.first_device)), 0);
    seen.state = e[0].state;
    seen.generation = e[0].generation;
}

static size_t lookup(struct presence_store *s, const char *user)
{
    struct presence_lookup l = {.fn = got};

    seen.calls = 0;
    presence_store_lookup(s, slice_str(user), &l);
    assert_int_equal(seen.calls, 1);
    return seen.n;
}

static void changed(void *arg, struct slice user)
{
    (void)arg;
    assert_true(slice_is(user, "bob"));
    changes++;
}

static struct presence_entry entry(const char *device, uint8_t session, uint64_t generation)
{
    return (struct presence_entry){.user = SLICE_LIT("bob"),
                                   .device = slice_str(device),
                                   .node = SLICE_LIT("n1"),
                                   .session = {session},
                                   .generation = generation,
                                   .state = SIG_PRESENCE_ONLINE,
                                   .attached = true};
}

static int put(struct presence_store *s, const char *device, uint8_t session, uint64_t generation)
{
    struct presence_entry e = entry(device, session, generation);

    return presence_store_put(s, &e);
}

static void drop(struct presence_store *s, const char *device, uint8_t session, uint64_t generation)
{
    struct presence_entry e = entry(device, session, generation);

    presence_store_remove(s, e.user, e.device, e.session, generation);
}

static void test_an_old_end_does_not_remove_the_new_connection(void **state)
{
    struct presence_store *s = presence_store_mem_new();

    (void)state;
    assert_int_equal(put(s, "phone", 1, 1), 0);
    assert_int_equal(put(s, "phone", 1, 2), 0); /* resumed */
    drop(s, "phone", 1, 1);
    assert_int_equal(lookup(s, "bob"), 1);
    assert_int_equal(put(s, "phone", 2, 1), 0); /* a new session */
    drop(s, "phone", 1, 9);
    assert_int_equal(lookup(s, "bob"), 1);
    drop(s, "phone", 2, 1);
    assert_int_equal(lookup(s, "bob"), 0);
    drop(s, "phone", 2, 1);
    assert_int_equal(presence_store_mem_count(s), 0);
    presence_store_free(s);
}

static void test_an_old_put_is_ignored(void **state)
{
    struct presence_store *s = presence_store_mem_new();

    (void)state;
    assert_int_equal(put(s, "phone", 1, 5), 0);
    assert_int_equal(put(s, "phone", 1, 4), -ESTALE);
    assert_int_equal(put(s, "phone", 1, 5), 0); /* the same: another state */
    lookup(s, "bob");
    assert_int_equal(seen.generation, 5);
    assert_string_equal(seen.first_device, "phone");
    presence_store_free(s);
}

static void test_devices_of_a_user_are_bounded(void **state)
{
    struct presence_store *s = presence_store_mem_new();
    char name[16];

    (void)state;
    for (int i = 0; i < PRESENCE_DEVICES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "d%d", i);
        assert_int_equal(put(s, name, 1, 1), 0);
    }
    assert_int_equal(put(s, "more", 1, 1), -ENOSPC);
    assert_int_equal(put(s, "d3", 1, 2), 0);
    assert_int_equal(lookup(s, "bob"), PRESENCE_DEVICES_MAX);
    presence_store_free(s);
}

static void test_only_watched_users_are_told_of(void **state)
{
    struct presence_store *s = presence_store_mem_new();

    (void)state;
    s->changed = changed;
    changes = 0;
    put(s, "phone", 1, 1);
    assert_int_equal(changes, 0);
    assert_int_equal(presence_store_watch(s, SLICE_LIT("bob")), 0);
    put(s, "phone", 1, 2);
    drop(s, "phone", 1, 2);
    assert_int_equal(changes, 2);
    drop(s, "phone", 1, 2); /* nothing there */
    assert_int_equal(changes, 2);
    presence_store_unwatch(s, SLICE_LIT("bob"));
    presence_store_unwatch(s, SLICE_LIT("nobody"));
    put(s, "phone", 1, 3);
    assert_int_equal(changes, 2);
    presence_store_free(s);
}

static void test_oom_keeps_the_old_entry(void **state)
{
    uint64_t live = mem_live();
    bool done = false;

    (void)state;
    for (uint64_t n = 0; !done; n++) {
        mem_fail_after(n);
        struct presence_store *s = presence_store_mem_new();
        if (s) {
            int a = put(s, "phone", 1, 1), b = put(s, "phone", 1, 2), c = 0;
            c = presence_store_watch(s, SLICE_LIT("eve"));
            assert_true((a == 0 || a == -ENOMEM) && (b == 0 || b == -ENOMEM));
            assert_true(c == 0 || c == -ENOMEM);
            assert_int_equal(lookup(s, "bob"), 1);
        }
        done = !mem_failed();
        mem_fail_never();
        presence_store_free(s);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_old_end_does_not_remove_the_new_connection),
        cmocka_unit_test(test_an_old_put_is_ignored),
        cmocka_unit_test(test_devices_of_a_user_are_bounded),
        cmocka_unit_test(test_only_watched_users_are_told_of),
        cmocka_unit_test(test_oom_keeps_the_old_entry),
    };

    return cmocka_run_group_tests_name("presence_store_mem", tests, NULL, NULL);
}

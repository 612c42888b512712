/* server/device_read.c: the directory follows the ledger. Over a real store, whose batches the test
 * runs itself. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/ledger_scene.h"

#include <string.h>

#include "base/mem.h"
#include "server/device_read.h"

static struct ledger_store *s; /* the ledger's */
static struct ledger *l;
static struct device_dir *d;
static struct device_read *r;
static int done_rc, done_n;

static void on_read(void *ctx, int rc)
{
    (void)ctx;
    done_rc = rc;
    done_n++;
}

static int make(size_t devices, size_t queue)
{
    const struct device_dir_conf dir = {
        .devices = devices, .devices_per_user = 3, .tokens_per_device = 8};
    const struct ledger_conf conf = {
        .queue = queue, .queue_bytes = 1 << 20, .batch = 100, .history = true};

    scene_make();
    s = scene_open();
    l = ledger_new(&conf, s, NULL, NULL);
    d = device_dir_new(&dir);
    r = device_read_new(d, l, on_read, NULL);
    done_n = 0;
    return l && d && r ? 0 : -1;
}

static int set_up(void **state)
{
    (void)state;
    return make(1000, 1000);
}

static int tear_down(void **state)
{
    (void)state;
    ledger_free(l);
    device_read_free(r);
    device_dir_free(d);
    scene_remove();
    return 0;
}

static void run(void)
{
    while (ledger_run(l) > 0)
        ledger_deliver(l);
}

static struct slice token_of(struct slice user, const char *device)
{
    const struct dir_device *v = device_dir_find(d, user, slice_str(device));

    return v && v->tokens_n > 0 ? v->tokens[0].token : (struct slice){0};
}

static void test_everything_is_read_page_by_page(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        char user[16], token[16];
        snprintf(user, sizeof(user), "user%03u", i);
        snprintf(token, sizeof(token), "t%u", i);
        scene_device(s, slice_str(user), "phone", token, SCENE_NOW);
    }
    device_read_all(r);
    run();
    assert_int_equal(done_n, 1);
    assert_int_equal(done_rc, 0);
    assert_int_equal(device_dir_devices(d), 600);
    assert_true(slice_is(token_of(SLICE_LIT("user599"), "phone"), "t599"));
}

static void test_what_others_changed_is_read_again(void **state)
{
    (void)state;
    scene_device(s, A, "phone", "old", SCENE_NOW);
    scene_device(s, A, "pad", "pad", SCENE_NOW);
    scene_device(s, B, "phone", "b", SCENE_NOW);
    device_read_all(r);
    run();
    scene_device(s, A, "phone", "new", SCENE_NOW);
    assert_int_equal(DO(s, del_device(s, A, SLICE_LIT("pad"))), 0);
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("b"), 0)), 0);
    device_read_user(r, A);
    run();
    assert_true(slice_is(token_of(A, "phone"), "new"));
    assert_int_equal(device_dir_tokens(d, LEDGER_VOIP), 2);
    assert_null(device_dir_find(d, A, SLICE_LIT("pad")));
    assert_true(slice_is(token_of(B, "phone"), "b")); /* not told yet */
    device_read_user(r, B);
    run();
    assert_int_equal(token_of(B, "phone").len, 0);
    assert_int_equal(done_n, 1); /* the first reading's */
}

static void test_a_token_that_moved_leaves_its_old_user(void **state)
{
    (void)state;
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    device_read_all(r);
    run();
    scene_device(s, B, "phone", "tok", SCENE_NOW);
    device_read_user(r, B); /* news come in any order */
    run();
    assert_int_equal(token_of(A, "phone").len, 0);
    assert_true(slice_is(token_of(B, "phone"), "tok"));
    device_read_user(r, A);
    run();
    assert_int_equal(token_of(A, "phone").len, 0);
    assert_true(slice_is(token_of(B, "phone"), "tok"));
}

static void test_a_reading_of_everything_drops_what_is_gone(void **state)
{
    const struct ledger_device mine = {.user = C, .device = SLICE_LIT("phone")};

    (void)state;
    scene_device(s, A, "phone", "a", SCENE_NOW);
    scene_device(s, B, "phone", "b", SCENE_NOW);
    device_read_all(r);
    run();
    assert_int_equal(DO(s, del_device(s, A, SLICE_LIT("phone"))), 0);
    device_read_all(r);
    device_read_all(r); /* once more */
    assert_int_equal(device_dir_put(d, &mine), 0);
    assert_int_equal(ledger_put_device(l, &mine, NULL, NULL), 0);
    run();
    assert_int_equal(done_n, 2);
    assert_null(device_dir_find(d, A, SLICE_LIT("phone")));
    assert_non_null(device_dir_find(d, B, SLICE_LIT("phone")));
    assert_non_null(device_dir_find(d, C, SLICE_LIT("phone")));
}

static void test_a_user_is_read_once_more_for_news_that_came_meanwhile(void **state)
{
    (void)state;
    device_read_user(r, A);
    device_read_user(r, A);
    device_read_user(r, A);
    assert_int_equal(ledger_queued(l), 1);
    assert_true(ledger_run(l) > 0);
    scene_device(s, A, "phone", "late", SCENE_NOW);
    ledger_deliver(l); /* what was read before */
    assert_int_equal(token_of(A, "phone").len, 0);
    run();
    assert_true(slice_is(token_of(A, "phone"), "late"));
    assert_int_equal(done_n, 0);
}

static void test_too_many_users_are_read_as_everything(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICE_READ_USERS_MAX + 1; i++) {
        char user[16];
        snprintf(user, sizeof(user), "user%03u", i);
        device_read_user(r, slice_str(user));
    }
    assert_int_equal(ledger_queued(l), DEVICE_READ_USERS_MAX + 1);
    run();
    assert_int_equal(done_n, 1);
    assert_int_equal(done_rc, 0);
}

static void test_what_is_over_a_limit_is_told(void **state)
{
    (void)state;
    tear_down(state);
    assert_int_equal(make(1, 1000), 0);
    scene_device(s, A, "phone", "a", SCENE_NOW);
    scene_device(s, B, "phone", "b", SCENE_NOW);
    device_read_all(r);
    run();
    assert_int_equal(done_rc, -EDQUOT);
    assert_int_equal(device_dir_devices(d), 1);
    device_read_user(r, B); /* nothing to be done about */
    run();
    assert_int_equal(done_n, 1);
}

static void test_a_full_queue_is_told_so_that_it_is_tried_again(void **state)
{
    (void)state;
    tear_down(state);
    assert_int_equal(make(10, 1), 0);
    device_read_user(r, A);
    device_read_user(r, B); /* no room */
    assert_int_equal(done_n, 1);
    assert_int_equal(done_rc, -ENOSPC);
    run();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_everything_is_read_page_by_page),
        T(test_what_others_changed_is_read_again),
        T(test_a_token_that_moved_leaves_its_old_user),
        T(test_a_reading_of_everything_drops_what_is_gone),
        T(test_a_user_is_read_once_more_for_news_that_came_meanwhile),
        T(test_too_many_users_are_read_as_everything),
        T(test_what_is_over_a_limit_is_told),
        T(test_a_full_queue_is_told_so_that_it_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

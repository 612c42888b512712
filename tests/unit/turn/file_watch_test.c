/* file_watch.c: files rewritten, replaced, or swapped behind a link are other files; the rest of
 * the folder is not looked at. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/file_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char folder[] = "/tmp/sori-cert-watch-XXXXXX";
static const char *const names[] = {"cert.pem", "key.pem"};

static int setup(void **state)
{
    sigset_t set;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    return sigprocmask(SIG_BLOCK, &set, NULL) == 0 && mkdtemp(folder) && chdir(folder) == 0 ? 0
                                                                                            : -1;
}

static int teardown(void **state)
{
    static const char *const all[] = {"cert.pem", "key.pem", "other", "v1.pem", "v2.pem"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        unlink(all[i]);
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool is_told(void)
{
    static const struct timespec second = {.tv_sec = 1};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    return sigtimedwait(&set, NULL, &second) == SIGIO;
}

static void test_each_way_to_renew_is_seen_once(void **state)
{
    (void)state;
    put("cert.pem", "one");
    put("key.pem", "one");
    struct file_watch *w = file_watch_new(names, 2);
    assert_non_null(w);
    assert_false(file_watch_changed(w));

    put("cert.pem", "longer");
    assert_true(is_told());
    assert_true(file_watch_changed(w));
    assert_false(file_watch_changed(w));

    put("other", "two"); /* nothing to us */
    assert_true(is_told());
    assert_false(file_watch_changed(w));
    assert_int_equal(rename("other", "key.pem"), 0);
    assert_true(is_told());
    assert_true(file_watch_changed(w));

    put("v1.pem", "1");
    put("v2.pem", "2");
    unlink("cert.pem");
    assert_false(file_watch_changed(w)); /* gone is no reason to reload */
    assert_int_equal(symlink("v1.pem", "cert.pem"), 0);
    assert_true(file_watch_changed(w));
    unlink("cert.pem");
    assert_int_equal(symlink("v2.pem", "cert.pem"), 0);
    assert_true(file_watch_changed(w));
    assert_false(file_watch_changed(w));
    file_watch_free(w);
}

static void test_oom_or_no_folder_gives_none(void **state)
{
    static const char *const missing[] = {"/nonexistent/cert.pem"};
    uint64_t before = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_null(file_watch_new(names, 2));
    mem_fail_never();
    assert_null(file_watch_new(missing, 1));
    file_watch_free(NULL);
    assert_int_equal(mem_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_way_to_renew_is_seen_once),
        cmocka_unit_test(test_oom_or_no_folder_gives_none),
    };

    return cmocka_run_group_tests_name("file_watch", tests, setup, teardown);
}

/* Tests of net/line_ask.c and net/unix_sock.c: words to a request, and a daemon that answers well,
 * badly, or not at all. SPDX-License-Identifier: BSD-3-Clause */
#include "net/line_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "net/unix_sock.h"

#include <cmocka.h>

static const struct line_command known[] = {
    {"status", {0}, 0}, {"list", {"user", "realm"}, 0}, {"end", {"call"}, 1}};

static void test_words_become_a_request(void **state)
{
    static const struct {
        const char *words[4];
        const char *want; /* NULL: refused */
    } cases[] = {
        {{"status"}, "{\"command\":\"status\"}\n"},
        {{"status", "x"}, NULL},
        {{"list"}, "{\"command\":\"list\"}\n"},
        {{"list", "an\"n"}, "{\"command\":\"list\",\"user\":\"an\\\"n\"}\n"},
        {{"list", "ann", "sori"}, "{\"command\":\"list\",\"user\":\"ann\",\"realm\":\"sori\"}\n"},
        {{"list", "ann", "sori", "x"}, NULL},
        {{"end"}, NULL},
        {{"end", "7"}, "{\"command\":\"end\",\"call\":\"7\"}\n"},
        {{"stat"}, NULL},
        {{NULL}, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[LINE_ASK_REQUEST_MAX];
        struct wr w = wr_init(buf, sizeof(buf));
        char *words[4];
        int n = 0;
        for (; n < 4 && cases[i].words[n]; n++)
            words[n] = (char *)(uintptr_t)cases[i].words[n];
        assert_int_equal(line_ask_write(&w, known, ARRAY_LEN(known), n, words),
                         cases[i].want != NULL);
        if (cases[i].want)
            assert_true(slice_is(wr_done(&w), cases[i].want));
    }
}

static void test_words_that_are_too_long_are_refused(void **state)
{
    uint8_t buf[40];
    struct wr w = wr_init(buf, sizeof(buf));
    char end[] = "end", id[60] = "";

    (void)state;
    memset(id, '7', sizeof(id) - 1);
    assert_false(line_ask_write(&w, known, ARRAY_LEN(known), 2, (char *[]){end, id}));
}

struct daemon {
    int fd;
    const char *answer; /* NULL: closes */
};

static void *serve(void *arg)
{
    struct daemon *d = arg;
    char request[100];
    int fd;

    fcntl(d->fd, F_SETFL, 0); /* waits */
    fd = accept(d->fd, NULL, NULL);
    if (d->answer && read(fd, request, sizeof(request)) > 0 &&
        write(fd, d->answer, strlen(d->answer)) == -1)
        abort();
    close(fd);
    return NULL;
}

static void test_exit_statuses(void **state)
{
    static const struct {
        const char *answer;
        int want;
    } cases[] = {
        {"{\"ok\":true}\n", EX_OK},
        {"{\"call\":\"1\",\"people\":[{\"a\":[1]}]}\n{\"ok\":true}\n", EX_OK},
        {"{\"ok\":false,\"error\":\"no such call\"}\n", 1},
        {"{\"call\":\"1\"}\n", EX_UNAVAILABLE},
        {"{\"ok\":tr", EX_UNAVAILABLE},
        {"hello\n", EX_UNAVAILABLE},
        {NULL, EX_UNAVAILABLE},
    };
    char folder[] = "/tmp/sori-line-XXXXXX", path[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/control", folder);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct daemon d = {unix_listen(path, 1),
                           cases[i].answer}; /* the last one's file is stale */
        pthread_t thread;
        assert_true(d.fd >= 0);
        assert_int_equal(pthread_create(&thread, NULL, serve, &d), 0);
        assert_int_equal(line_ask("test", path, SLICE_LIT("{\"command\":\"status\"}\n")),
                         cases[i].want);
        pthread_join(thread, NULL);
        close(d.fd);
    }
    assert_int_equal(line_ask("test", path, SLICE_LIT("{}\n")), EX_UNAVAILABLE);
    unlink(path);
    assert_int_equal(line_ask("test", path, SLICE_LIT("{}\n")), EX_UNAVAILABLE);
    rmdir(folder);
}

static void test_a_socket_is_its_owners_and_replaces_only_a_dead_one(void **state)
{
    char folder[] = "/tmp/sori-line-XXXXXX", path[64], deep[140];
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/control", folder);
    int fd = unix_listen(path, 1);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(unix_listen(path, 1), -EADDRINUSE); /* it lives */
    close(fd);
    fd = unix_listen(path, 1);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(unix_listen(path, 1), -EADDRINUSE); /* no socket: not ours to remove */
    unlink(path);
    memset(deep, 'x', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    assert_int_equal(unix_listen(deep, 1), -ENAMETOOLONG);
    assert_int_equal(unix_connect(deep, 1), -ENAMETOOLONG);
    assert_int_equal(unix_listen("/nowhere/control", 1), -ENOENT);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_become_a_request),
        cmocka_unit_test(test_words_that_are_too_long_are_refused),
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_a_socket_is_its_owners_and_replaces_only_a_dead_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

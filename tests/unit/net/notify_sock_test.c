/* What a service manager is told, seen at its socket. SPDX-License-Identifier: BSD-3-Clause */
#include "net/notify_sock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME_MAX_BYTES 64

/* A manager's socket in the abstract name space; its name goes to NOTIFY_SOCKET. */
static int manager(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char name[NAME_MAX_BYTES];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int n = snprintf(name, sizeof(name), "@sori-notify-test-%ld", (long)getpid());

    memcpy(at.sun_path + 1, name + 1, (size_t)n - 1);
    assert_return_code(bind(fd, (struct sockaddr *)&at,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
                       errno);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void assert_said(int fd, const char *want)
{
    char got[256] = "";
    ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

    if (want) {
        assert_true(n > 0);
        assert_string_equal(got, want);
    } else {
        assert_int_equal(n, -1);
    }
}

static int clear(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

static void test_without_a_manager_nothing_is_said(void **state)
{
    struct notify n;

    (void)state;
    setenv("WATCHDOG_USEC", "soon", 1); /* nobody's */
    assert_int_equal(notify_init(&n), 0);
    assert_true(notify_deadline(&n) == CLOCK_NEVER);
    notify_ready(&n);
    notify_beat(&n, NULL, 1);
    notify_fini(&n);
    notify_fini(&n);
}

static void test_states(void **state)
{
    struct notify n;
    int fd = manager();

    (void)state;
    assert_int_equal(notify_init(&n), 0);
    assert_said(fd, NULL);
    notify_ready(&n);
    assert_said(fd, "READY=1");
    notify_reloading(&n, 77);
    assert_said(fd, "RELOADING=1\nMONOTONIC_USEC=77");
    notify_stopping(&n, 5 * US_PER_S);
    assert_said(fd, "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000");
    notify_beat(&n, NULL, 1); /* no watchdog */
    assert_said(fd, NULL);
    close(fd);
    notify_ready(&n); /* the manager is gone */
    notify_fini(&n);
    notify_ready(&n);
}

static void test_beats_twice_as_often_as_the_watchdog_demands(void **state)
{
    struct notify n;
    int fd = manager();

    (void)state;
    setenv("WATCHDOG_USEC", "1000", 1);
    assert_int_equal(notify_init(&n), 0);
    assert_true(notify_deadline(&n) == 0);
    notify_beat(&n, NULL, 10000);
    assert_said(fd, "WATCHDOG=1");
    assert_true(notify_deadline(&n) == 10500);
    notify_beat(&n, NULL, 10499);
    assert_said(fd, NULL);
    notify_beat(&n, NULL, 10500);
    assert_said(fd, "WATCHDOG=1");
    notify_fini(&n);
    close(fd);
}

static void test_tells_nothing_while_a_worker_hangs(void **state)
{
    struct notify n;
    struct worker *w = worker_new(0);
    struct pulse *p = pulse_new(1);
    int fd = manager();

    (void)state;
    pulse_add(p, w);
    setenv("WATCHDOG_USEC", "1000", 1);
    assert_int_equal(notify_init(&n), 0);
    notify_beat(&n, p, 1000); /* the first asks */
    assert_said(fd, "WATCHDOG=1");
    notify_beat(&n, p, 1500); /* nobody has run the worker */
    assert_said(fd, NULL);
    assert_true(notify_deadline(&n) == 2000);
    worker_settle(w);
    notify_beat(&n, p, 2000);
    assert_said(fd, "WATCHDOG=1");
    notify_fini(&n);
    worker_free(w);
    pulse_free(p);
    close(fd);
}

static void test_a_watchdog_of_another_process_is_not_ours(void **state)
{
    struct notify n;
    int fd = manager();

    (void)state;
    setenv("WATCHDOG_USEC", "1000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(notify_init(&n), 0);
    assert_true(notify_deadline(&n) == CLOCK_NEVER);
    notify_fini(&n);
    close(fd);
}

static void test_refuses_what_a_manager_would_not_set(void **state)
{
    static const struct {
        const char *socket, *usec, *pid;
    } bad[] = {
        {"", NULL, NULL},         {"@", NULL, NULL},
        {"relative", NULL, NULL}, {"/x", "", NULL},
        {"/x", "0", NULL},        {"/x", "1", NULL},
        {"/x", "-5", NULL},       {"/x", "9 ", NULL},
        {"/x", "1000", "me"},     {"/x", "99999999999999999999", NULL},
    };
    struct notify n;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        clear(state);
        setenv("NOTIFY_SOCKET", bad[i].socket, 1);
        if (bad[i].usec)
            setenv("WATCHDOG_USEC", bad[i].usec, 1);
        if (bad[i].pid)
            setenv("WATCHDOG_PID", bad[i].pid, 1);
        assert_int_equal(notify_init(&n), -EINVAL);
        notify_fini(&n);
    }
}

static void test_a_path_as_long_as_a_socket_can_have(void **state)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    struct notify n;

    (void)state;
    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(notify_init(&n), -EINVAL);
    path[sizeof(path) - 2] = '\0';
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(notify_init(&n), 0);
    notify_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_without_a_manager_nothing_is_said, clear),
        cmocka_unit_test_setup(test_states, clear),
        cmocka_unit_test_setup(test_beats_twice_as_often_as_the_watchdog_demands, clear),
        cmocka_unit_test_setup(test_tells_nothing_while_a_worker_hangs, clear),
        cmocka_unit_test_setup(test_a_watchdog_of_another_process_is_not_ours, clear),
        cmocka_unit_test_setup(test_refuses_what_a_manager_would_not_set, clear),
        cmocka_unit_test_setup(test_a_path_as_long_as_a_socket_can_have, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Sockets that were opened for the process: found by address and type, shared or given away.
 *
 * Descriptors from 3 on are the test's to lay out. SPDX-License-Identifier: BSD-3-Clause */
#include "net/inherited_sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST 3

static struct addr at[4];
static int fds;

/* The next descriptor from 3 on becomes a bound socket; at[] has its address. */
static void lay(int type)
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, type, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_return_code(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&sin, &len), errno);
    at[fds] = addr_from_sockaddr((struct sockaddr *)&sin);
    if (fd != FIRST + fds) {
        assert_return_code(dup2(fd, FIRST + fds), errno);
        close(fd);
    }
    fds++;
}

static void announce(const char *pid, const char *n)
{
    char text[16];

    snprintf(text, sizeof(text), "%ld", (long)getpid());
    setenv("LISTEN_PID", pid ? pid : text, 1);
    setenv("LISTEN_FDS", n, 1);
}

static int begin(void **state)
{
    (void)state;
    fds = 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return 0;
}

static int end(void **state)
{
    for (int fd = FIRST; fd < FIRST + fds; fd++)
        close(fd);
    begin(state);
    return inherited_init();
}

static void test_nothing_without_the_variables_or_for_another_process(void **state)
{
    (void)state;
    assert_int_equal(inherited_init(), 0);
    announce("1", "1");
    assert_int_equal(inherited_init(), 0);
    assert_int_equal(inherited_take(&at[0], SOCK_STREAM), -ENOENT);
}

static void test_found_by_address_and_type(void **state)
{
    (void)state;
    lay(SOCK_STREAM);
    lay(SOCK_DGRAM);
    announce(NULL, "2");
    assert_int_equal(inherited_init(), 2);
    struct addr other = addr_with_port(at[0], (uint16_t)(at[0].port ^ 1));
    assert_int_equal(inherited_take(&at[0], SOCK_DGRAM), -ENOENT);
    assert_int_equal(inherited_take(&other, SOCK_STREAM), -ENOENT);
    int fd = inherited_take(&at[0], SOCK_STREAM);
    assert_true(fd > FIRST);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(FIRST, F_GETFD) & FD_CLOEXEC);
    close(fd);
    inherited_report();
}

static void test_streams_are_shared_and_datagram_sockets_given_away(void **state)
{
    (void)state;
    lay(SOCK_STREAM);
    lay(SOCK_DGRAM);
    announce(NULL, "2");
    assert_int_equal(inherited_init(), 2);
    for (int i = 0; i < 3; i++) {
        int fd = inherited_take(&at[0], SOCK_STREAM);
        assert_true(fd > FIRST);
        close(fd);
    }
    int fd = inherited_take(&at[1], SOCK_DGRAM);
    assert_true(fd > FIRST);
    assert_int_equal(fcntl(FIRST + 1, F_GETFD), -1); /* its only descriptor is the taker's */
    assert_int_equal(inherited_take(&at[1], SOCK_DGRAM), -ENOENT);
    close(fd);
}

static void test_refuses_numbers_that_are_none_and_descriptors_that_are_no_sockets(void **state)
{
    static const char *const bad[] = {"", "-1", "two", "1 ", "99999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        announce(NULL, bad[i]);
        assert_int_equal(inherited_init(), -EINVAL);
    }
    announce("me", "0");
    assert_int_equal(inherited_init(), -EINVAL);
    announce(NULL, "65");
    assert_int_equal(inherited_init(), -E2BIG);
    announce(NULL, "0");
    assert_int_equal(inherited_init(), 0);
    assert_int_equal(dup2(STDERR_FILENO, FIRST), FIRST);
    fds = 1;
    announce(NULL, "1");
    assert_int_equal(inherited_init(), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_without_the_variables_or_for_another_process,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_found_by_address_and_type, begin, end),
        cmocka_unit_test_setup_teardown(test_streams_are_shared_and_datagram_sockets_given_away,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_refuses_numbers_that_are_none_and_descriptors_that_are_no_sockets, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

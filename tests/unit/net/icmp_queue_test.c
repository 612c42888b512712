/* icmp_queue.c: a closed port on loopback is told once, sending goes on.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/icmp_queue.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/udp.h"

static struct addr parse(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return a;
}

/* A port of this address that nobody has. */
static struct addr closed_port(const struct addr *ip)
{
    int fd = udp_open(ip, false, 0);
    struct addr a = udp_local(fd);

    assert_true(fd >= 0);
    close(fd);
    return a;
}

static ssize_t send_to(int fd, const struct addr *to, const char *text)
{
    struct sockaddr_storage ss;
    unsigned len = addr_to_sockaddr(to, &ss);

    return sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&ss, len);
}

static void check(const char *ip, uint8_t type, uint8_t code)
{
    struct addr at = parse(ip), peer = closed_port(&at);
    int fd = udp_open(&at, false, 0);
    struct icmp_error e;

    assert_true(fd >= 0);
    assert_int_equal(icmp_queue_open(fd), 0);
    assert_false(icmp_queue_next(fd, &e));
    assert_int_equal(send_to(fd, &peer, "x"), 1);
    struct pollfd p = {fd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 2000), 1);
    assert_true(p.revents & POLLERR);

    /* The next call tells of it, once, and its own datagram stays behind. */
    int other = udp_open(&at, false, 0);
    struct addr open = udp_local(other);
    assert_int_equal(send_to(fd, &open, "y"), -1);
    assert_int_equal(send_to(fd, &open, "y"), 1);

    assert_true(icmp_queue_next(fd, &e));
    assert_true(addr_eq(&e.peer, &peer));
    assert_int_equal(e.type, type);
    assert_int_equal(e.code, code);
    assert_false(icmp_queue_next(fd, &e));
    close(other);
    close(fd);
}

static void test_closed_port_is_told(void **state)
{
    (void)state;
    check("127.0.0.1", 3, 3);
    const struct addr loopback6 = {.ip = {[15] = 1}, .family = ADDR_V6};
    int probe = udp_open(&loopback6, false, 0);
    if (probe < 0)
        return; /* no IPv6 here */
    close(probe);
    check("::1", 1, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_port_is_told),
    };

    return cmocka_run_group_tests_name("icmp_queue", tests, NULL, NULL);
}

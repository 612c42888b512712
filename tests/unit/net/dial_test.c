/* Tests of net/dial.c: the order of addresses, and who wins when the first ones say nothing. A
 * listener whose queue is full is the black hole: the kernel drops what asks for more.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/dial.h"

#include "base/mem.h"
#include "net/worker.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MAX_US (10 * US_PER_S)

static struct worker *w;
static struct wtimer guard;
static int got;
static char said[128];
static unsigned answers;

static void on_dial(void *arg, int fd, const char *why)
{
    (void)arg;
    answers++;
    got = fd;
    snprintf(said, sizeof(said), "%s", why);
    worker_stop(w);
}

static void on_guard(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    worker_stop(w);
}

/* A listener on 127.0.0.x, port of the first one when there is one. */
static int listener(const char *host, uint16_t *port, int backlog)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, host, &a.sin_addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static struct addr at(const char *host, uint16_t port)
{
    char text[80];
    struct addr a;

    snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    assert_int_equal(addr_parse(&a, slice_str(text)), 0);
    return a;
}

/* Runs until there is an answer; gives the time that it took. */
static uint64_t run(const struct addr *to, size_t n)
{
    uint64_t from = clock_now_us();

    answers = 0;
    got = -2;
    guard = (struct wtimer){.fn = on_guard};
    worker_timer(w, &guard, worker_now(w) + WAIT_MAX_US);
    assert_non_null(dial_new(w, to, n, on_dial, NULL));
    assert_int_equal(answers, 0); /* never from inside */
    worker_run(w);
    worker_timer_cancel(w, &guard);
    assert_int_equal(answers, 1);
    return clock_now_us() - from;
}

static int start(void **state)
{
    (void)state;
    w = worker_new(0);
    return w ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    worker_free(w);
    return 0;
}

static void test_families_take_turns(void **state)
{
    static const struct {
        const char *in, *out;
        unsigned turn;
    } c[] = {
        {"66644", "64646", 0}, {"444", "444", 0},     {"4", "4", 7},
        {"46", "46", 1},       {"64444", "64444", 0},
    };
    struct addr a[DIAL_ADDRS_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        size_t n = strlen(c[i].in);
        for (size_t k = 0; k < n; k++)
            a[k] = at(c[i].in[k] == '6' ? "2001:db8::1" : "192.0.2.1", (uint16_t)(100 + k));
        dial_order(a, n, c[i].turn);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(a[k].family == at("192.0.2.1", 1).family, c[i].out[k] == '4');
    }
    /* another turn, another first machine; none is lost */
    for (unsigned turn = 0; turn < 3; turn++) {
        unsigned seen = 0;
        for (size_t k = 0; k < 3; k++)
            a[k] = at("192.0.2.1", (uint16_t)(100 + k));
        dial_order(a, 3, turn);
        assert_int_equal(a[0].port, 100 + turn);
        for (size_t k = 0; k < 3; k++)
            seen |= 1u << (a[k].port - 100);
        assert_int_equal(seen, 7);
    }
    dial_order(a, 0, 5);
}

static void test_a_black_hole_costs_a_quarter_of_a_second(void **state)
{
    uint16_t port = 0;
    int hole = listener("127.0.0.2", &port, 0), good = listener("127.0.0.3", &port, 8), full[3];
    const struct addr to[] = {at("127.0.0.2", port), at("127.0.0.3", port)};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(full); i++) { /* fills its queue */
        struct sockaddr_storage ss;
        socklen_t len = (socklen_t)addr_to_sockaddr(&to[0], &ss);
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(full[i], (struct sockaddr *)&ss, len);
    }
    uint64_t took_us = run(to, 2);
    assert_true(got >= 0 && took_us >= DIAL_STAGGER_US && took_us < 8 * DIAL_STAGGER_US);
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    assert_int_equal(getpeername(got, (struct sockaddr *)&peer, &len), 0);
    assert_int_equal(ntohl(peer.sin_addr.s_addr) & 0xff, 3);
    close(got);
    /* freed in the middle: nobody is told */
    answers = 0;
    dial_free(dial_new(w, to, 2, on_dial, NULL));
    dial_free(NULL);
    assert_int_equal(answers, 0);
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        close(full[i]);
    close(hole);
    close(good);
}

static void test_a_refusal_costs_nothing(void **state)
{
    uint16_t port = 0;
    int closed = listener("127.0.0.2", &port, -1), good = listener("127.0.0.3", &port, 8);
    const struct addr to[] = {at("127.0.0.2", port), at("127.0.0.2", port), at("127.0.0.3", port)};

    (void)state;
    assert_true(run(to, 3) < DIAL_STAGGER_US);
    assert_true(got >= 0);
    close(got);
    run(to, 2); /* all refuse */
    assert_int_equal(got, -1);
    assert_string_equal(said, "Connection refused");
    run(to, 0);
    assert_int_equal(got, -1);
    close(closed);
    close(good);
}

static void test_oom(void **state)
{
    const struct addr to = at("127.0.0.1", 1);
    uint64_t live = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_null(dial_new(w, &to, 1, on_dial, NULL));
    mem_fail_never();
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_take_turns),
        cmocka_unit_test_setup_teardown(test_a_black_hole_costs_a_quarter_of_a_second, start, stop),
        cmocka_unit_test_setup_teardown(test_a_refusal_costs_nothing, start, stop),
        cmocka_unit_test_setup_teardown(test_oom, start, stop),
    };

    return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}

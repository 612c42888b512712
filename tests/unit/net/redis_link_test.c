/* Tests of net/redis_link.c: what becomes of bytes that have not left when a connection is given
 * up, and when the link ends. The server answers the set-up and then reads nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/redis_link.h"

#include "base/mem.h"
#include "net/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MAX_US (10 * US_PER_S)
#define COMMANDS    64
#define WORD_BYTES  ((size_t)64 << 10) /* all of them: more than the kernels keep */
#define ALL_BYTES   (COMMANDS * WORD_BYTES)

static struct worker *w;
static struct redis_link *redis;
static struct wtimer guard;
static struct event *accepts, *asks;
static int listener, conn[2];
static unsigned conns, ups;

static void on_guard(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    worker_stop(w);
}

/* PING of the set-up. */
static void on_ask(evutil_socket_t fd, short what, void *arg)
{
    static const char pong[] = "+PONG\r\n";
    char text[64];

    (void)what;
    (void)arg;
    assert_true(recv(fd, text, sizeof(text), 0) > 0);
    assert_int_equal(send(fd, pong, sizeof(pong) - 1, 0), sizeof(pong) - 1);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    assert_true(conns < ARRAY_LEN(conn));
    conn[conns] = accept(fd, NULL, NULL);
    assert_true(conn[conns] >= 0);
    if (asks)
        event_free(asks);
    asks = event_new(worker_base(w), conn[conns], EV_READ, on_ask, NULL); /* once */
    event_add(asks, NULL);
    conns++;
}

static void on_up(void *arg, uint64_t now_us)
{
    static uint8_t big[WORD_BYTES];
    const struct slice words[] = {SLICE_LIT("SET"), SLICE_LIT("key"), slice_of(big, sizeof(big))};

    (void)arg;
    if (ups++ > 0) {
        worker_stop(w);
        return;
    }
    for (unsigned i = 0; i < COMMANDS; i++)
        assert_int_equal(
            redis_client_call(redis_link_client(redis), NULL, words, ARRAY_LEN(words), now_us), 0);
}

/* Reads to the end; gives the errno of that, 0: as it was said. */
static int drain(int fd, size_t *bytes)
{
    static uint8_t text[WORD_BYTES];
    ssize_t n;

    *bytes = 0;
    while ((n = recv(fd, text, sizeof(text), 0)) > 0)
        *bytes += (size_t)n;
    return n == 0 ? 0 : errno;
}

static int start(void **state)
{
    static const struct redis_client_ops ops = {.up = on_up};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct redis_endpoint at = {.host = "127.0.0.1"};

    (void)state;
    w = worker_new(0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!w || bind(listener, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener, 4) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &len) != 0)
        return -1;
    accepts = event_new(worker_base(w), listener, EV_READ | EV_PERSIST, on_accept, NULL);
    event_add(accepts, NULL);
    at.port = ntohs(a.sin_port);
    const struct redis_link_conf conf = {.name = "test",
                                         .client = {.at = &at,
                                                    .at_n = 1,
                                                    .any_role = true,
                                                    .timeout_us = WAIT_MAX_US,
                                                    .open_us = US_PER_S,
                                                    .dead_us = 50 * US_PER_MS,
                                                    .idle_us = WAIT_MAX_US,
                                                    .retry_min_us = US_PER_MS,
                                                    .retry_max_us = US_PER_MS,
                                                    .calls_max = 2 * COMMANDS,
                                                    .bytes_max = 2 * ALL_BYTES,
                                                    .reply_bytes = 4096,
                                                    .reply_values = 16}};
    conns = ups = 0;
    redis = redis_link_new(w, &conf, &ops, NULL);
    guard = (struct wtimer){.fn = on_guard};
    worker_timer(w, &guard, worker_now(w) + WAIT_MAX_US);
    return redis ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    redis_link_free(redis);
    for (unsigned i = 0; i < conns; i++)
        close(conn[i]);
    event_free(accepts);
    event_free(asks);
    close(listener);
    asks = NULL;
    worker_timer_cancel(w, &guard);
    worker_free(w);
    return 0;
}

static void test_what_has_not_left_never_arrives_behind_the_next_connection(void **state)
{
    size_t bytes;

    (void)state;
    worker_run(w);
    assert_int_equal(ups, 2);
    assert_int_equal(conns, 2);
    assert_int_equal(drain(conn[0], &bytes), ECONNRESET);
    assert_true(bytes < ALL_BYTES);
}

static void test_what_was_said_before_the_end_arrives(void **state)
{
    static const struct slice words[] = {SLICE_LIT("DEL"), SLICE_LIT("key")};
    size_t bytes;

    (void)state;
    worker_run(w);
    assert_int_equal(ups, 2);
    assert_int_equal(
        redis_client_call(redis_link_client(redis), NULL, words, ARRAY_LEN(words), worker_now(w)),
        0);
    redis_link_push(redis);
    redis_link_free(redis);
    redis = NULL;
    assert_int_equal(drain(conn[1], &bytes), 0);
    assert_true(bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_what_has_not_left_never_arrives_behind_the_next_connection, start, stop),
        cmocka_unit_test_setup_teardown(test_what_was_said_before_the_end_arrives, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Media sockets on loopback, by both back ends of net/udp: an echo by UDP (IPv4, IPv6) and ICE-TCP,
 * runs, connections that bring nothing of use, floods of connections.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/media_sock.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/worker.h"
#include "sfu/ice_tcp_framing.h"

struct echo {
    struct worker *w;
    struct udp_io *io;
    struct media_sock *m;
    unsigned packets, ahead, batches, gone, times;
    unsigned want_packets, want_gone; /* the loop stops when there are so many */
    size_t bytes;
    bool useless;
};

static enum udp_backend_wish backend;

/* Sends each packet back `times` times. */
static bool on_packet(void *arg, const struct media_path *from, uint8_t *p, size_t len,
                      uint64_t now_us)
{
    struct echo *e = arg;
    struct egress *out = media_sock_egress(e->m);

    assert_true(now_us > 0);
    e->packets++;
    e->bytes += len;
    for (unsigned i = 0; i < e->times; i++) {
        memcpy(egress_reserve(out), p, len);
        egress_commit(out, from, len);
    }
    if (e->packets == e->want_packets)
        worker_stop(e->w);
    return !e->useless;
}

static void on_ahead(void *arg, const struct media_path *from, unsigned n)
{
    struct echo *e = arg;

    assert_in_range(n, 1, MEDIA_SOCK_AHEAD);
    assert_int_not_equal(from[n - 1].remote.port, 0);
    e->ahead += n;
}

static void on_batch(void *arg, uint64_t now_us)
{
    (void)now_us;
    ((struct echo *)arg)->batches++;
}

static void on_gone(void *arg, const struct media_path *path, uint64_t now_us)
{
    struct echo *e = arg;

    (void)now_us;
    assert_non_null(path->tcp);
    e->gone++;
    if (e->gone == e->want_gone)
        worker_stop(e->w);
}

static const struct media_sock_ops ops = {on_ahead, on_packet, on_batch, on_gone};

static void on_timeout(void *arg, uint64_t now_us)
{
    (void)now_us;
    worker_stop(((struct echo *)arg)->w);
}

#define PATIENCE (5 * US_PER_S)

/* Lets the worker run for a while, or until the loop is stopped. */
static void run(struct echo *e, uint64_t us)
{
    struct wtimer t = {.fn = on_timeout, .arg = e};

    worker_timer(e->w, &t, worker_now(e->w) + us);
    worker_run(e->w);
    worker_timer_cancel(e->w, &t);
    e->want_packets = e->want_gone = 0;
}

/* Until n packets have come, since the beginning. */
static void run_packets(struct echo *e, unsigned n)
{
    e->want_packets = n;
    if (e->packets < n)
        run(e, PATIENCE);
    assert_int_equal(e->packets, n);
}

static void run_gone(struct echo *e, unsigned n)
{
    e->want_gone = n;
    if (e->gone < n)
        run(e, PATIENCE);
    assert_int_equal(e->gone, n);
}

/* What comes within PATIENCE: bytes, 0 at the end, -1: nothing. */
static ssize_t take(int fd, void *buf, size_t cap)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, (int)(PATIENCE / US_PER_MS)) == 1 ? recv(fd, buf, cap, MSG_DONTWAIT) : -1;
}

static bool echo_open(struct echo *e, bool tcp, unsigned tcp_streams)
{
    const struct addr listen[] = {{.ip = {127, 0, 0, 1}, .family = ADDR_V4},
                                  {.ip = {[15] = 1}, .family = ADDR_V6}};
    const struct udp_io_conf uc = {backend, 64, UDP_DATAGRAM_MAX};
    char why[UDP_WHY_MAX];
    size_t err_at;

    *e = (struct echo){.times = 1, .w = worker_new(0)};
    assert_non_null(e->w);
    e->io = udp_io_new(e->w, &uc, why);
    if (!e->io) {
        worker_free(e->w);
        return false;
    }
    const struct media_sock_conf c = {.listen = listen,
                                      .n_listen = 2,
                                      .tcp = tcp,
                                      .tcp_streams = tcp_streams,
                                      .buffer_bytes = 1 << 20,
                                      .egress_bytes = 64 * 1024,
                                      .ops = &ops,
                                      .arg = e};
    int err = media_sock_new(&e->m, e->w, e->io, &c, &err_at);
    if (err)
        fail_msg("media_sock_new: %s at %zu", strerror(-err), err_at);
    return true;
}

static void echo_close(struct echo *e)
{
    media_sock_free(e->m);
    udp_io_free(e->io);
    worker_free(e->w);
}

static int client(const struct echo *e, size_t i, int type)
{
    struct addr at = media_sock_addr(e->m, i);
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&at, &ss);
    int fd = socket(ss.ss_family, type, 0);

    assert_int_not_equal(fd, -1);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void test_udp_of_both_families_comes_back(void **state)
{
    struct echo e;
    uint8_t buf[2048];

    (void)state;
    if (!echo_open(&e, false, 0))
        skip();
    for (size_t i = 0; i < 2; i++) {
        int fd = client(&e, i, SOCK_DGRAM);
        assert_int_equal(send(fd, "packet", 6, 0), 6);
        run_packets(&e, (unsigned)i + 1);
        assert_int_equal(take(fd, buf, sizeof(buf)), 6);
        assert_memory_equal(buf, "packet", 6);
        close(fd);
    }
    assert_int_equal(e.packets, 2);
    assert_true(e.batches >= 2);
    assert_true(e.ahead > 0 && e.ahead <= e.packets);
    echo_close(&e);
}

static void test_more_than_the_arena_holds_leaves_in_order(void **state)
{
    struct echo e;
    uint8_t buf[2048];

    (void)state;
    if (!echo_open(&e, false, 0))
        skip();
    e.times = 10; /* 10 packets of 1200 bytes for each: more than 64 kB for 8 */
    int fd = client(&e, 0, SOCK_DGRAM), size = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    for (uint8_t i = 0; i < 8; i++) {
        memset(buf, i, 1200);
        assert_int_equal(send(fd, buf, 1200, 0), 1200);
    }
    run_packets(&e, 8);
    for (unsigned i = 0; i < 80; i++) {
        assert_int_equal(take(fd, buf, sizeof(buf)), 1200);
        assert_int_equal(buf[0], i / 10);
        assert_int_equal(buf[1199], i / 10);
    }
    assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
    close(fd);
    echo_close(&e);
}

static void test_ice_tcp_comes_back_framed(void **state)
{
    struct echo e;
    uint8_t buf[64];

    (void)state;
    if (!echo_open(&e, true, 8))
        skip();
    for (size_t i = 0; i < 2; i++) {
        int fd = client(&e, i, SOCK_STREAM);
        assert_int_equal(send(fd, "\0\3one\0\5th", 9, 0), 9); /* one frame and a half */
        run_packets(&e, 3 * (unsigned)i + 1);
        assert_int_equal(media_sock_streams(e.m), 1);
        assert_int_equal(take(fd, buf, sizeof(buf)), 5);
        assert_memory_equal(buf, "\0\3one", 5);
        assert_int_equal(send(fd, "ree\0\0\0\1x", 8, 0), 8); /* an empty one means nothing */
        run_packets(&e, 3 * (unsigned)i + 3);
        assert_int_equal(take(fd, buf, sizeof(buf)), 10);
        assert_memory_equal(buf, "\0\5three\0\1x", 10);
        close(fd);
        run_gone(&e, (unsigned)i + 1);
    }
    echo_close(&e);
}

static void test_bad_connections_end(void **state)
{
    struct echo e;
    uint8_t buf[64];

    (void)state;
    if (!echo_open(&e, true, 4))
        skip();
    int fd = client(&e, 0, SOCK_STREAM);
    assert_int_equal(send(fd, "\x20\1", 2, 0), 2); /* longer than any packet */
    run_gone(&e, 1);
    assert_int_equal(take(fd, buf, sizeof(buf)), 0);
    close(fd);
    e.useless = true; /* it may talk, but its time runs out */
    fd = client(&e, 0, SOCK_STREAM);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(send(fd, "\0\1x", 3, 0), 3);
        run_packets(&e, i + 1);
    }
    assert_int_equal(e.gone, 1);
    /* one that is open when all ends */
    echo_close(&e);
    assert_int_equal(e.gone, 2);
    close(fd);
}

static void test_a_slow_reader_loses_packets_and_harms_nobody(void **state)
{
    struct echo e;

    (void)state;
    if (!echo_open(&e, true, 4))
        skip();
    int fd = client(&e, 0, SOCK_STREAM);
    uint8_t frame[1202];
    ice_tcp_framing_head(frame, 1200);
    e.times = 100;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
        run_packets(&e, i + 1);
    }
    assert_true(counter_get(&media_sock_egress(e.m)->tcp_full) > 0);
    assert_int_equal(media_sock_streams(e.m), 1);
    int u = client(&e, 0, SOCK_DGRAM);
    e.times = 1;
    assert_int_equal(send(u, "udp", 3, 0), 3);
    run_packets(&e, 101);
    uint8_t buf[8];
    assert_int_equal(take(u, buf, sizeof(buf)), 3);
    close(u);
    close(fd);
    echo_close(&e);
}

static void test_an_address_in_use_is_told(void **state)
{
    struct echo e;
    struct media_sock *m;
    size_t err_at = 9;

    (void)state;
    if (!echo_open(&e, true, 4))
        skip();
    struct addr twice[] = {{.ip = {127, 0, 0, 1}, .family = ADDR_V4}, media_sock_addr(e.m, 0)};
    const struct media_sock_conf c = {.listen = twice, .n_listen = 2, .ops = &ops, .arg = &e};
    assert_int_equal(media_sock_new(&m, e.w, e.io, &c, &err_at), -EADDRINUSE);
    assert_int_equal(err_at, 1);
    echo_close(&e);
}

static int use_epoll(void **state)
{
    (void)state;
    backend = UDP_EPOLL;
    return 0;
}

static int use_uring(void **state)
{
    (void)state;
    backend = UDP_URING;
    return 0;
}

#define BOTH(f) cmocka_unit_test_setup(f, use_epoll), cmocka_unit_test_setup(f, use_uring)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_udp_of_both_families_comes_back),
        BOTH(test_more_than_the_arena_holds_leaves_in_order),
        BOTH(test_ice_tcp_comes_back_framed),
        BOTH(test_bad_connections_end),
        BOTH(test_a_slow_reader_loses_packets_and_harms_nobody),
        BOTH(test_an_address_in_use_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Streams over loopback: clear text and TLS, limits, closing, deadlines, accept control.
 *
 * The worker runs in the test's own thread; the client side is non-blocking and is stepped every
 * millisecond from a worker timer until the awaited condition holds.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/stream.h"

#include "base/mem.h"
#include "tests/lib/test_cert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cmocka.h>

#define WAIT_MAX_US (10 * US_PER_S)
#define BIG         (512 * 1024)

struct server {
    struct worker *w;
    struct stream_listener *l;
    struct stream_conf conf;
    struct tls_ctx *tls;
    struct wtimer poll;
    bool (*until)(struct server *);
    uint64_t give_up_us;
    bool timed_out;

    /* What the callbacks saw and shall do. */
    struct stream *s;
    unsigned opened, ended, data_calls, refused_by_admit;
    enum stream_end why;
    size_t got, keep; /* keep: bytes of the input never consumed */
    uint8_t first[64];
    struct counter bad_header;
    struct addr admitted;
    bool echo, refuse, abort_in_open, close_in_data, abort_in_data, switch_ops, admit_none;
    size_t second_got;

    /* The client. */
    int fd;
    SSL *ssl;
    bool handshaken, write_done;
    size_t client_got, client_sent;
    uint8_t *client_buf;
    bool client_eof;
};

static struct test_cert cert;

static void *on_open(void *arg, struct stream *s)
{
    struct server *t = arg;
    t->opened++;
    t->s = s;
    if (t->abort_in_open)
        stream_abort(s);
    return t->refuse ? NULL : t;
}

static void on_end(void *user, enum stream_end why)
{
    struct server *t = user;
    t->ended++;
    t->why = why;
    t->s = NULL;
}

static size_t on_second_data(void *user, uint8_t *data, size_t len)
{
    struct server *t = user;
    (void)data;
    t->second_got += len;
    return len;
}

static const struct stream_ops second_ops = {on_open, on_second_data, on_end};

static size_t on_data(void *user, uint8_t *data, size_t len)
{
    struct server *t = user;
    t->data_calls++;
    if (t->got + len <= sizeof t->first)
        memcpy(t->first + t->got, data, len);
    if (t->switch_ops) {
        stream_set_user(t->s, &second_ops, t);
        t->got += 4;
        return 4;
    }
    if (t->abort_in_data) {
        stream_abort(t->s);
        return len;
    }
    if (len <= t->keep)
        return 0;
    t->got += len - t->keep;
    if (t->echo)
        stream_write2(t->s, slice_of(data, 1), slice_of(data + 1, len - 1));
    if (t->close_in_data)
        stream_close(t->s, US_PER_S);
    return len - t->keep;
}

static const struct stream_ops ops = {on_open, on_data, on_end};

static bool on_admit(void *arg, const struct addr *from, uint64_t now_us)
{
    struct server *t = arg;
    (void)now_us;
    assert_int_equal(from->family, ADDR_V4);
    t->refused_by_admit += t->admit_none;
    t->admitted = *from;
    return !t->admit_none;
}

/* ---- stepping ---- */

static void on_poll(void *arg, uint64_t now_us)
{
    struct server *t = arg;
    t->timed_out = now_us > t->give_up_us;
    if (t->until(t) || t->timed_out)
        worker_stop(t->w);
    else
        worker_timer(t->w, &t->poll, now_us + US_PER_MS);
}

/* Runs the worker until the condition holds. */
static void run(struct server *t, bool (*until)(struct server *))
{
    t->until = until;
    t->poll = (struct wtimer){.fn = on_poll, .arg = t};
    t->give_up_us = clock_now_us() + WAIT_MAX_US;
    worker_timer(t->w, &t->poll, 0);
    worker_run(t->w);
    assert_false(t->timed_out);
}

static bool is_open(struct server *t)
{
    return t->opened > 0;
}
static bool is_ended(struct server *t)
{
    return t->ended > 0;
}
static bool none_left(struct server *t)
{
    return stream_listener_count(t->l) == 0;
}
static bool one_there(struct server *t)
{
    return stream_listener_count(t->l) == 1;
}

/* Reads what is there; true at the end of the stream. */
static bool client_reads_to_end(struct server *t)
{
    uint8_t buf[4096];
    for (;;) {
        ssize_t n =
            t->ssl ? SSL_read(t->ssl, buf, sizeof buf) : recv(t->fd, buf, sizeof buf, MSG_DONTWAIT);
        if (n > 0) {
            if (t->client_buf)
                memcpy(t->client_buf + t->client_got, buf, (size_t)n);
            t->client_got += (size_t)n;
            continue;
        }
        if (t->ssl)
            t->client_eof = SSL_get_error(t->ssl, (int)n) != SSL_ERROR_WANT_READ;
        else
            t->client_eof = n == 0 || (errno != EAGAIN && errno != EINTR);
        return t->client_eof;
    }
}

static bool client_shakes_hands(struct server *t)
{
    return SSL_do_handshake(t->ssl) == 1 && t->opened > 0;
}

static void start(struct server *t)
{
    int err = 0;
    struct addr any = {.ip = {127, 0, 0, 1}, .family = ADDR_V4};
    t->conf.ops = &ops;
    t->conf.arg = t;
    t->conf.admit = on_admit;
    t->l = stream_listen(t->w, &any, false, &t->conf, &err);
    assert_non_null(t->l);
}

static int dial(struct server *t)
{
    struct addr to = stream_listener_addr(t->l);
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&to, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void dial_tls(struct server *t)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    t->fd = dial(t);
    t->ssl = SSL_new(c);
    SSL_CTX_free(c);
    SSL_set_fd(t->ssl, t->fd);
    SSL_set_connect_state(t->ssl);
}

static int setup(void **state)
{
    struct server *t = mem_zalloc(sizeof *t);
    t->w = worker_new(0);
    t->fd = -1;
    t->conf = (struct stream_conf){
        .max_pending = 256,
        .max_queue = 2 * BIG,
        .handshake_us = 200 * US_PER_MS,
    };
    *state = t;
    return t->w ? 0 : -1;
}

static int setup_tls(void **state)
{
    char err[TLS_ERR_MAX];
    setup(state);
    struct server *t = *state;
    t->tls = tls_ctx_new(cert.cert, cert.key, NULL, err);
    t->conf.tls = &t->tls;
    return t->tls ? 0 : -1;
}

static int teardown(void **state)
{
    struct server *t = *state;
    SSL_free(t->ssl);
    if (t->s)
        stream_abort(t->s);
    stream_listener_free(t->l);
    if (t->fd != -1)
        close(t->fd);
    tls_ctx_free(t->tls);
    worker_free(t->w);
    mem_free(t->client_buf);
    mem_free(t);
    return mem_live() == 0 ? 0 : -1;
}

/* ---- clear text ---- */

static bool echoed_5(struct server *t)
{
    client_reads_to_end(t);
    return t->client_got >= 5;
}

static void test_bytes_go_both_ways(void **state)
{
    struct server *t = *state;
    t->echo = true;
    t->client_buf = mem_zalloc(BIG);
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "hello", 5, 0), 5);
    run(t, echoed_5);
    assert_memory_equal(t->client_buf, "hello", 5);
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;
    getsockname(t->fd, (struct sockaddr *)&ss, &len);
    struct addr me = addr_from_sockaddr((struct sockaddr *)&ss), seen = stream_peer(t->s);
    struct addr local = stream_local(t->s), bound = stream_listener_addr(t->l);
    assert_true(addr_eq(&me, &seen));
    assert_true(addr_eq(&local, &bound));
    assert_false(stream_is_tls(t->s));
    assert_ptr_equal(stream_worker(t->s), t->w);
    close(t->fd);
    t->fd = -1;
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_PEER);
}

static bool got_3(struct server *t)
{
    return t->got >= 3;
}

/* Given away inside data(), with bytes behind what the stream's user took. */
static size_t on_data_detach(void *user, uint8_t *data, size_t len)
{
    struct server *t = user;
    struct tls *tls = NULL;
    int fd = -1;
    (void)data;
    stream_write(t->s, SLICE_LIT("x"));
    assert_false(stream_detach(t->s, &fd, &tls)); /* something is queued */
    assert_int_equal(fd, -1);
    t->got += len;
    return len;
}

static const struct stream_ops detach_ops = {on_open, on_data_detach, on_end};

static void test_detached_connection_is_the_caller_s(void **state)
{
    struct server *t = *state;
    struct tls *tls = NULL;
    int fd = -1;
    char buf[8];
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_set_user(t->s, &detach_ops, t);
    assert_int_equal(send(t->fd, "abc", 3, 0), 3);
    run(t, got_3);
    assert_int_equal(stream_queued(t->s), 0);
    assert_true(stream_detach(t->s, &fd, &tls));
    assert_int_equal(t->ended, 0);
    assert_int_equal(stream_listener_count(t->l), 0);
    assert_null(tls);
    assert_int_equal(send(fd, "yz", 2, 0), 2); /* it is open still */
    assert_int_equal(recv(t->fd, buf, 3, MSG_WAITALL), 3);
    assert_memory_equal(buf, "xyz", 3);
    close(fd);
    t->s = NULL;
}

static void test_reset_is_an_error(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    struct linger hard = {1, 0};
    setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(t->fd);
    t->fd = -1;
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_ERROR);
}

static bool got_6(struct server *t)
{
    return t->got >= 6;
}

static void test_unconsumed_bytes_come_back_in_front(void **state)
{
    struct server *t = *state;
    t->keep = 2;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "abcde", 5, 0), 5);
    run(t, got_3);
    assert_int_equal(send(t->fd, "fgh", 3, 0), 3);
    run(t, got_6);
    /* The second call got "de" again, and "fgh" behind it. */
    assert_memory_equal(t->first, "abcdefgh", 8);
}

static void test_more_rest_than_allowed_ends_it(void **state)
{
    struct server *t = *state;
    uint8_t junk[300] = {0};
    t->keep = 1000;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, junk, 256, 0), 256);
    run(t, is_open);
    assert_int_equal(t->ended, 0);
    assert_int_equal(send(t->fd, junk, 1, 0), 1);
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_ERROR);
}

static bool second_got_4(struct server *t)
{
    return t->second_got >= 4;
}

static void test_new_ops_see_the_rest_at_once(void **state)
{
    struct server *t = *state;
    t->switch_ops = true;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "headbody", 8, 0), 8);
    run(t, second_got_4);
    assert_int_equal(t->data_calls, 1);
}

static void test_full_queue_refuses_and_keeps_what_it_has(void **state)
{
    struct server *t = *state;
    t->conf.max_queue = 100;
    t->client_buf = mem_zalloc(BIG);
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    uint8_t z[101] = {0};
    assert_int_equal(stream_write(t->s, slice_of(z, 101)), -ENOBUFS);
    assert_int_equal(stream_write(t->s, slice_of(z, 60)), 0);
    assert_int_equal(stream_write2(t->s, slice_of(z, 40), slice_of(z, 1)), -ENOBUFS);
    assert_int_equal(stream_write2(t->s, slice_of(z, 1), slice_of(z, 39)), 0);
    assert_int_equal(stream_write(t->s, slice_of(z, 1)), -ENOBUFS);
    assert_int_equal(stream_write(t->s, slice_of(z, 0)), 0);
    assert_int_equal(stream_queued(t->s), 100);
    stream_close(t->s, US_PER_S);
    assert_int_equal(stream_write(t->s, slice_of(z, 1)), -EPIPE);
    run(t, client_reads_to_end);
    assert_int_equal(t->client_got, 100);
}

static void fill_pattern(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 251);
}

/* More than the socket takes at once: the rest leaves as the client reads. */
static void big_transfer(struct server *t)
{
    uint8_t *big = mem_zalloc(BIG);
    fill_pattern(big, BIG);
    t->client_buf = mem_zalloc(BIG);
    for (size_t at = 0; at < BIG; at += BIG / 8)
        assert_int_equal(stream_write(t->s, slice_of(big + at, BIG / 8)), 0);
    stream_close(t->s, 5 * US_PER_S);
    run(t, client_reads_to_end);
    assert_int_equal(t->client_got, BIG);
    assert_memory_equal(t->client_buf, big, BIG);
    mem_free(big);
    assert_int_equal(t->ended, 0); /* lingers until the client closes */
    if (t->ssl)
        SSL_shutdown(t->ssl);
    close(t->fd);
    t->fd = -1;
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_LOCAL);
}

static void test_queue_larger_than_the_socket_arrives_whole(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    big_transfer(t);
}

static void test_last_words_survive_unread_input(void **state)
{
    struct server *t = *state;
    uint8_t junk[4096] = {0};
    t->echo = t->close_in_data = true;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "bye", 3, 0), 3);
    run(t, is_open);
    /* Sent into a closing stream; without the linger this would turn the answer into a reset. */
    assert_int_equal(send(t->fd, junk, sizeof junk, 0), sizeof junk);
    run(t, client_reads_to_end);
    assert_true(t->client_got >= 3);
    close(t->fd);
    t->fd = -1;
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_LOCAL);
}

static void test_linger_has_an_end(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_close(t->s, 30 * US_PER_MS);
    stream_close(t->s, 100 * US_PER_S); /* harmless */
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_LOCAL);
}

static void test_close_without_linger_is_over_after_the_turn(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_write(t->s, SLICE_LIT("x"));
    stream_close(t->s, 0);
    assert_int_equal(t->ended, 0);
    run(t, is_ended);
    run(t, client_reads_to_end);
    assert_int_equal(t->client_got, 1);
}

static void test_deadline_ends_it_and_can_be_taken_off(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_deadline(t->s, 1);
    stream_deadline(t->s, CLOCK_NEVER);
    t->echo = true;
    assert_int_equal(send(t->fd, "hello", 5, 0), 5);
    run(t, echoed_5);
    assert_int_equal(t->ended, 0);
    stream_deadline(t->s, worker_now(t->w) + 5000);
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_TIMEOUT);
}

static void test_abort_inside_callbacks(void **state)
{
    struct server *t = *state;
    t->abort_in_data = true;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "x", 1, 0), 1);
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_LOCAL);
    close(t->fd);
    t->abort_in_open = true;
    t->ended = 0;
    t->fd = dial(t);
    run(t, is_ended);
    assert_int_equal(t->ended, 1);
    t->s = NULL;
}

static void test_refused_connection_is_closed_without_an_end_call(void **state)
{
    struct server *t = *state;
    t->refuse = true;
    start(t);
    t->fd = dial(t);
    run(t, client_reads_to_end);
    assert_int_equal(t->opened, 1);
    assert_int_equal(t->ended, 0);
    assert_int_equal(stream_listener_count(t->l), 0);
    t->s = NULL;
}

static void test_admit_is_asked_first(void **state)
{
    struct server *t = *state;
    t->admit_none = true;
    start(t);
    t->fd = dial(t);
    run(t, client_reads_to_end);
    assert_int_equal(t->refused_by_admit, 1);
    assert_int_equal(t->opened, 0);
}

static bool opened_2(struct server *t)
{
    return t->opened >= 2;
}

static bool waited_20ms(struct server *t)
{
    return clock_now_us() > t->give_up_us - WAIT_MAX_US + 20000;
}

static void test_limit_of_streams_holds_and_lets_the_next_in(void **state)
{
    struct server *t = *state;
    t->conf.max_streams = 1;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    struct stream *first = t->s;
    int second = dial(t);
    run(t, waited_20ms);
    assert_int_equal(t->opened, 1);
    stream_abort(first);
    run(t, opened_2);
    assert_int_equal(stream_listener_count(t->l), 1);
    close(second);
}

static void test_no_descriptors_pauses_and_recovers(void **state)
{
    struct server *t = *state;
    struct rlimit old, low;
    start(t);
    t->fd = dial(t);
    getrlimit(RLIMIT_NOFILE, &old);
    low = (struct rlimit){(rlim_t)t->fd + 1, old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    run(t, waited_20ms);
    assert_int_equal(t->opened, 0);
    setrlimit(RLIMIT_NOFILE, &old);
    run(t, is_open);
}

static void count_user(void *user, void *arg)
{
    struct server *t = user;
    (*(unsigned *)arg)++;
    stream_close(t->s, 0);
}

static void test_each_walks_open_streams_only(void **state)
{
    struct server *t = *state;
    unsigned n = 0;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_each(t->l, count_user, &n);
    assert_int_equal(n, 1);
    stream_each(t->l, count_user, &n);
    assert_int_equal(n, 1); /* it is closing */
    run(t, is_ended);
}

static void test_stream_outlives_its_listener(void **state)
{
    struct server *t = *state;
    t->echo = true;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    stream_listener_free(t->l);
    t->l = NULL;
    assert_int_equal(send(t->fd, "hello", 5, 0), 5);
    run(t, echoed_5);
}

static void test_address_in_use_is_told(void **state)
{
    struct server *t = *state;
    int err = 0;
    start(t);
    struct addr same = stream_listener_addr(t->l);
    assert_null(stream_listen(t->w, &same, false, &t->conf, &err));
    assert_int_equal(err, EADDRINUSE);
}

static void test_oom_scenarios_leave_nothing(void **state)
{
    struct server *t = *state;
    (void)t;
    uint64_t before = mem_live();
    for (uint64_t n = 0; n < 40; n++) {
        mem_fail_after(n);
        int err = 0;
        struct addr any = {.ip = {127, 0, 0, 1}, .family = ADDR_V4};
        struct stream_conf conf = {.ops = &ops, .arg = t, .max_pending = 8, .max_queue = 1000};
        t->opened = t->ended = 0;
        t->l = stream_listen(t->w, &any, false, &conf, &err);
        if (t->l) {
            t->keep = 3;
            t->fd = dial(t);
            assert_int_equal(send(t->fd, "hello", 5, 0), 5);
            run(t, waited_20ms);
            if (t->s)
                (void)stream_write(t->s, SLICE_LIT("answer"));
            if (t->s)
                stream_abort(t->s);
            assert_int_equal(t->opened, t->ended);
            close(t->fd);
            t->fd = -1;
            stream_listener_free(t->l);
            t->l = NULL;
        } else {
            assert_int_equal(err, ENOMEM);
        }
        bool failed = mem_failed();
        mem_fail_never();
        assert_true(mem_live() == before);
        if (!failed)
            return;
    }
    fail();
}

/* ---- TLS ---- */

static bool tls_echoed_5(struct server *t)
{
    return client_reads_to_end(t) || t->client_got >= 5;
}

static void test_tls_goes_both_ways_and_closes_cleanly(void **state)
{
    struct server *t = *state;
    t->echo = true;
    t->client_buf = mem_zalloc(BIG);
    start(t);
    dial_tls(t);
    run(t, client_shakes_hands);
    assert_true(stream_is_tls(t->s));
    assert_string_equal(SSL_get_version(t->ssl), "TLSv1.3");
    assert_int_equal(SSL_write(t->ssl, "hello", 5), 5);
    run(t, tls_echoed_5);
    assert_memory_equal(t->client_buf, "hello", 5);
    SSL_shutdown(t->ssl);
    run(t, is_ended);
    assert_int_equal(t->why, STREAM_END_PEER);
}

static void test_tls_big_queue_arrives_whole(void **state)
{
    struct server *t = *state;
    start(t);
    dial_tls(t);
    run(t, client_shakes_hands);
    big_transfer(t);
    assert_int_equal(SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
}

static bool client_sends_big(struct server *t)
{
    uint8_t block[10000];
    while (t->client_sent < BIG) {
        size_t n = BIG - t->client_sent < sizeof block ? BIG - t->client_sent : sizeof block;
        memset(block, 'x', n);
        if (SSL_write(t->ssl, block, (int)n) <= 0)
            break;
        t->client_sent += n;
    }
    return t->got == BIG;
}

static void test_tls_input_over_the_turn_budget_arrives_whole(void **state)
{
    struct server *t = *state;
    start(t);
    dial_tls(t);
    SSL_set_mode(t->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    run(t, client_shakes_hands);
    run(t, client_sends_big);
    assert_int_equal(t->got, BIG);
}

static bool is_portioned(struct server *t)
{
    return t->got == 5000;
}

/* Others get their turn between two portions. */
static void test_input_is_taken_in_portions(void **state)
{
    static const uint8_t bytes[5000];
    struct server *t = *state;
    t->conf.max_read = 1000;
    start(t);
    t->fd = dial(t);
    run(t, is_open);
    assert_int_equal(send(t->fd, bytes, sizeof bytes, 0), sizeof bytes);
    run(t, is_portioned);
    assert_in_range(t->data_calls, 5, 6);
}

static void test_tls_input_is_taken_in_portions(void **state)
{
    static const uint8_t bytes[5000];
    struct server *t = *state;
    t->conf.max_read = 1000;
    start(t);
    dial_tls(t);
    run(t, client_shakes_hands);
    assert_int_equal(SSL_write(t->ssl, bytes, sizeof bytes), sizeof bytes);
    run(t, is_portioned);
    assert_in_range(t->data_calls, 5, 6);
}

static void test_tls_garbage_fails_the_handshake(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    run(t, client_reads_to_end);
    assert_int_equal(t->opened, 0);
    assert_int_equal(stream_listener_tls_failures(t->l), 1);
}

static void test_tls_handshake_has_a_deadline(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, one_there);
    run(t, none_left);
    assert_int_equal(t->opened, 0);
    assert_int_equal(stream_listener_tls_failures(t->l), 1);
}

static void test_tls_context_can_be_replaced_under_a_connection(void **state)
{
    struct server *t = *state;
    char err[TLS_ERR_MAX];
    t->echo = true;
    start(t);
    dial_tls(t);
    run(t, client_shakes_hands);
    tls_ctx_free(t->tls);
    t->tls = tls_ctx_new(cert.cert, cert.key, NULL, err);
    assert_int_equal(SSL_write(t->ssl, "hello", 5), 5);
    run(t, tls_echoed_5);
}

static void test_freeing_the_listener_ends_handshakes(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, one_there);
    stream_listener_free(t->l);
    t->l = NULL;
    run(t, client_reads_to_end);
}

/* ---- clear text and TLS on one port ---- */

static int setup_both(void **state)
{
    int err = setup_tls(state);
    ((struct server *)*state)->conf.tls_optional = true;
    return err;
}

static void test_first_byte_of_a_handshake_means_tls(void **state)
{
    struct server *t = *state;
    t->echo = true;
    t->client_buf = mem_zalloc(BIG);
    start(t);
    dial_tls(t);
    run(t, client_shakes_hands);
    assert_true(stream_is_tls(t->s));
    assert_int_equal(SSL_write(t->ssl, "hello", 5), 5);
    run(t, tls_echoed_5);
    assert_memory_equal(t->client_buf, "hello", 5);
}

static void test_any_other_first_byte_means_clear_text(void **state)
{
    struct server *t = *state;
    t->echo = true;
    t->client_buf = mem_zalloc(BIG);
    start(t);
    t->fd = dial(t);
    run(t, one_there);
    assert_int_equal(t->opened, 0);
    assert_int_equal(send(t->fd,
                          "\x15"
                          "ello",
                          5, 0),
                     5);
    run(t, echoed_5);
    assert_memory_equal(t->client_buf,
                        "\x15"
                        "ello",
                        5);
    assert_false(stream_is_tls(t->s));
    assert_int_equal(stream_listener_tls_failures(t->l), 0);
}

static void test_silence_before_the_first_byte_has_a_deadline(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, one_there);
    run(t, none_left);
    assert_int_equal(t->opened, 0);
    assert_int_equal(stream_listener_tls_failures(t->l), 0);
}

static void test_end_before_the_first_byte_is_quiet(void **state)
{
    struct server *t = *state;
    start(t);
    t->fd = dial(t);
    run(t, one_there);
    close(t->fd);
    t->fd = -1;
    run(t, none_left);
    assert_int_equal(t->opened, 0);
}

/* ---- behind a proxy ---- */

/* PROXY, TCP over IPv4, from 198.51.100.7:54321 to 192.0.2.1:443. */
static const char header[] =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\xc0\0\2\1\xd4\x31\x01\xbb";
static const char local_header[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

static bool from_proxy(void *arg, const struct addr *from)
{
    (void)arg;
    return addr_is_loopback(from);
}

static bool from_nobody(void *arg, const struct addr *from)
{
    (void)arg;
    (void)from;
    return false;
}

static void behind_proxy(struct server *t)
{
    t->conf.proxied = from_proxy;
    t->conf.bad_header = &t->bad_header;
    t->echo = true;
    t->client_buf = mem_zalloc(BIG);
    start(t);
}

static int setup_proxied(void **state)
{
    int err = setup(state);
    behind_proxy(*state);
    return err;
}

static int setup_tls_proxied(void **state)
{
    int err = setup_tls(state);
    behind_proxy(*state);
    return err;
}

static int setup_both_proxied(void **state)
{
    int err = setup_both(state);
    behind_proxy(*state);
    return err;
}

/* Sends one byte a step: the header comes in as many pieces as it has bytes. */
static bool drips_and_gets_its_echo(struct server *t)
{
    static const char hello[] = "hello";
    size_t at = t->client_sent++;
    if (at < sizeof header - 1)
        send(t->fd, header + at, 1, 0);
    else if (at < sizeof header + 4)
        send(t->fd, hello + at - (sizeof header - 1), 1, 0);
    return echoed_5(t);
}

static void test_header_names_the_client(void **state)
{
    struct server *t = *state;
    char text[ADDR_TEXT_MAX];
    t->fd = dial(t);
    run(t, drips_and_gets_its_echo);
    assert_memory_equal(t->client_buf, "hello", 5);
    struct addr peer = stream_peer(t->s);
    assert_string_equal(addr_format(&peer, text), "198.51.100.7:54321");
    assert_true(addr_eq(&t->admitted, &peer));
    assert_int_equal(counter_get(&t->bad_header), 0);
}

static void test_header_comes_before_tls(void **state)
{
    struct server *t = *state;
    char text[ADDR_TEXT_MAX];
    dial_tls(t);
    assert_int_equal(send(t->fd, header, sizeof header - 1, 0), sizeof header - 1);
    run(t, client_shakes_hands);
    assert_int_equal(SSL_write(t->ssl, "hello", 5), 5);
    run(t, tls_echoed_5);
    assert_memory_equal(t->client_buf, "hello", 5);
    struct addr peer = stream_peer(t->s);
    assert_string_equal(addr_format(&peer, text), "198.51.100.7:54321");
    assert_true(stream_is_tls(t->s));
}

static void test_proxy_that_speaks_for_itself_is_its_own_client(void **state)
{
    struct server *t = *state;
    t->fd = dial(t);
    assert_int_equal(send(t->fd, local_header, sizeof local_header - 1, 0), 16);
    assert_int_equal(send(t->fd, "hello", 5, 0), 5);
    run(t, echoed_5);
    struct addr peer = stream_peer(t->s);
    assert_true(addr_is_loopback(&peer));
}

static void test_missing_and_wrong_headers_end_it(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"hello", 5},
        {"PROXY TCP4 198.51.100.7 192.0.2.1 54321 443\r\n", 46},
        {"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc6\x33\x64\x07\xc0\0\2\1\xd4\x31\x01\xbb", 28},
        {"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", 16},
    };
    struct server *t = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        t->fd = dial(t);
        assert_int_equal(send(t->fd, cases[i].bytes, cases[i].len, 0), cases[i].len);
        run(t, client_reads_to_end);
        close(t->fd);
        t->fd = -1;
        assert_int_equal(counter_get(&t->bad_header), i + 1);
    }
    assert_int_equal(t->opened, 0);
}

static void test_header_has_a_deadline(void **state)
{
    struct server *t = *state;
    t->fd = dial(t);
    assert_int_equal(send(t->fd, header, 20, 0), 20);
    run(t, one_there);
    run(t, none_left);
    assert_int_equal(counter_get(&t->bad_header), 1);
}

static void test_whom_the_header_names_may_be_refused(void **state)
{
    struct server *t = *state;
    char text[ADDR_TEXT_MAX];
    t->admit_none = true;
    t->fd = dial(t);
    assert_int_equal(send(t->fd, header, sizeof header - 1, 0), sizeof header - 1);
    run(t, client_reads_to_end);
    assert_int_equal(t->refused_by_admit, 1);
    assert_string_equal(addr_format(&t->admitted, text), "198.51.100.7:54321");
    assert_int_equal(t->opened, 0);
}

static void test_oom_of_a_header_ends_only_its_stream(void **state)
{
    struct server *t = *state;
    t->fd = dial(t);
    assert_int_equal(send(t->fd, header, 5, 0), 5);
    mem_fail_after(1); /* the stream itself is made */
    run(t, client_reads_to_end);
    assert_true(mem_failed());
    mem_fail_never();
    assert_int_equal(t->opened, 0);
    close(t->fd);
    t->fd = dial(t);
    t->client_got = t->client_sent = 0;
    run(t, drips_and_gets_its_echo);
}

static void test_header_of_others_is_not_looked_at(void **state)
{
    struct server *t = *state;
    stream_listener_free(t->l);
    t->conf.proxied = from_nobody;
    start(t);
    t->fd = dial(t);
    assert_int_equal(send(t->fd, header, sizeof header - 1, 0), sizeof header - 1);
    run(t, echoed_5);
    assert_memory_equal(t->client_buf, header, 5);
    struct addr peer = stream_peer(t->s);
    assert_true(addr_is_loopback(&peer));
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_DFL); /* streams must not need it ignored */
    return test_cert_make(&cert);
}

static int group_teardown(void **state)
{
    (void)state;
    test_cert_remove(&cert);
    return 0;
}

#define PLAIN(t)  cmocka_unit_test_setup_teardown(t, setup, teardown)
#define BOTH(t)   cmocka_unit_test_setup_teardown(t, setup_both, teardown)
#define BEHIND(t) cmocka_unit_test_setup_teardown(t, setup_proxied, teardown)
#define SECURE(t) cmocka_unit_test_setup_teardown(t, setup_tls, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(test_bytes_go_both_ways),
        PLAIN(test_reset_is_an_error),
        PLAIN(test_detached_connection_is_the_caller_s),
        PLAIN(test_unconsumed_bytes_come_back_in_front),
        PLAIN(test_more_rest_than_allowed_ends_it),
        PLAIN(test_new_ops_see_the_rest_at_once),
        PLAIN(test_input_is_taken_in_portions),
        PLAIN(test_full_queue_refuses_and_keeps_what_it_has),
        PLAIN(test_queue_larger_than_the_socket_arrives_whole),
        PLAIN(test_last_words_survive_unread_input),
        PLAIN(test_linger_has_an_end),
        PLAIN(test_close_without_linger_is_over_after_the_turn),
        PLAIN(test_deadline_ends_it_and_can_be_taken_off),
        PLAIN(test_abort_inside_callbacks),
        PLAIN(test_refused_connection_is_closed_without_an_end_call),
        PLAIN(test_admit_is_asked_first),
        PLAIN(test_limit_of_streams_holds_and_lets_the_next_in),
        PLAIN(test_no_descriptors_pauses_and_recovers),
        PLAIN(test_each_walks_open_streams_only),
        PLAIN(test_stream_outlives_its_listener),
        PLAIN(test_address_in_use_is_told),
        PLAIN(test_oom_scenarios_leave_nothing),
        SECURE(test_tls_goes_both_ways_and_closes_cleanly),
        SECURE(test_tls_big_queue_arrives_whole),
        SECURE(test_tls_input_over_the_turn_budget_arrives_whole),
        SECURE(test_tls_input_is_taken_in_portions),
        SECURE(test_tls_garbage_fails_the_handshake),
        SECURE(test_tls_handshake_has_a_deadline),
        SECURE(test_tls_context_can_be_replaced_under_a_connection),
        SECURE(test_freeing_the_listener_ends_handshakes),
        BOTH(test_first_byte_of_a_handshake_means_tls),
        BOTH(test_any_other_first_byte_means_clear_text),
        BOTH(test_silence_before_the_first_byte_has_a_deadline),
        BOTH(test_end_before_the_first_byte_is_quiet),
        BOTH(test_freeing_the_listener_ends_handshakes),
        BEHIND(test_header_names_the_client),
        BEHIND(test_proxy_that_speaks_for_itself_is_its_own_client),
        BEHIND(test_missing_and_wrong_headers_end_it),
        BEHIND(test_header_has_a_deadline),
        BEHIND(test_whom_the_header_names_may_be_refused),
        BEHIND(test_header_of_others_is_not_looked_at),
        BEHIND(test_oom_of_a_header_ends_only_its_stream),
        cmocka_unit_test_setup_teardown(test_header_comes_before_tls, setup_tls_proxied, teardown),
        cmocka_unit_test_setup_teardown(test_header_comes_before_tls, setup_both_proxied, teardown),
        cmocka_unit_test_setup_teardown(test_header_names_the_client, setup_both_proxied, teardown),
    };
    return cmocka_run_group_tests_name("stream", tests, group_setup, group_teardown);
}

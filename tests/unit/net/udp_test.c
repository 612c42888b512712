/* udp.c, udp_queue.c, udp_epoll.c, udp_uring.c: datagrams through real sockets on loopback, by both
 * back ends: batches, runs, order, borrowed payloads, limits, sockets that go away.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/icmp_queue.h"
#include "net/udp_backend.h"

#define INBOX     256
#define PATIENCE  (5 * US_PER_S)
#define KEPT_MAX  70000
#define ECHO_NONE ((struct addr){0})

/* One watched socket and what came to it. */
struct box {
    struct udp_sock sock;
    struct addr at;
    struct bench *bench;
    struct addr echo;       /* where to send everything on to, with an "h" before it */
    struct udp_sock *close; /* unwatch and close this one when something comes */
    struct udp_msg msg[INBOX];
    uint8_t *kept[INBOX];
    unsigned n, errors;
    bool drop; /* keep nothing */
};

struct bench {
    struct worker *w;
    struct udp_io *io;
    struct wtimer timeout;
    struct box *until; /* stop when this box has so many */
    unsigned want;
    bool late;
    struct box a, b;
};

static enum udp_backend_wish backend; /* of the test at hand */

static struct addr loopback(void)
{
    return (struct addr){.ip = {127, 0, 0, 1}, .family = ADDR_V4};
}

static void on_recv(void *arg, const struct udp_msg *msg, unsigned n)
{
    struct box *x = arg;

    for (unsigned i = 0; i < n && !x->drop; i++) {
        assert_true(x->n < INBOX);
        struct udp_msg *m = &x->msg[x->n];
        *m = msg[i];
        x->kept[x->n] = mem_zalloc(m->len + 1);
        m->p = memcpy(x->kept[x->n], msg[i].p, m->len);
        x->n++;
        if (x->echo.family != ADDR_NONE) {
            const struct udp_out out = {&x->echo, SLICE_LIT("h"), slice_of(msg[i].p, msg[i].len), 0,
                                        {0},      false};
            udp_send(&x->sock, &out);
        }
    }
    if (x->close && x->close->_io) {
        udp_unwatch(x->close);
        close(x->close->fd);
    }
    if (x == x->bench->until && x->n >= x->bench->want)
        worker_stop(x->bench->w);
}

static void on_error(void *arg)
{
    struct box *x = arg;
    struct icmp_error e;

    while (icmp_queue_next(x->sock.fd, &e))
        x->errors++;
    worker_stop(x->bench->w);
}

static const struct udp_sock_ops ops = {on_recv, on_error};

static void on_timeout(void *arg, uint64_t now_us)
{
    struct bench *b = arg;

    (void)now_us;
    b->late = true;
    worker_stop(b->w);
}

static void open_box_at(struct bench *b, struct box *x, const struct addr *at, bool shared)
{
    int fd = udp_open(at, false, 1 << 18);

    *x = (struct box){.bench = b};
    assert_true(fd >= 0);
    assert_int_equal(udp_watch(b->io, &x->sock, fd, shared, &ops, x), 0);
    x->at = udp_local(fd);
    assert_true(x->at.port != 0);
}

static void open_box(struct bench *b, struct box *x, bool shared)
{
    struct addr any = loopback();

    open_box_at(b, x, &any, shared);
}

static void empty_box(struct box *x)
{
    for (unsigned i = 0; i < x->n; i++)
        mem_free(x->kept[i]);
    x->n = 0;
}

static void close_box(struct box *x)
{
    empty_box(x);
    if (!x->sock._io)
        return;
    udp_unwatch(&x->sock);
    close(x->sock.fd);
}

static struct bench *open_bench(unsigned slots, size_t slot_bytes)
{
    const struct udp_io_conf conf = {backend, slots, slot_bytes};
    struct bench *b = mem_zalloc(sizeof(*b));
    char why[UDP_WHY_MAX];

    b->w = worker_new(0);
    b->timeout = (struct wtimer){.fn = on_timeout, .arg = b};
    b->io = udp_io_new(b->w, &conf, why);
    if (!b->io)
        print_message("%s\n", why);
    assert_non_null(b->io);
    open_box(b, &b->a, false);
    open_box(b, &b->b, true);
    return b;
}

static void close_bench(struct bench *b)
{
    close_box(&b->a);
    close_box(&b->b);
    udp_io_free(b->io);
    worker_free(b->w);
    mem_free(b);
}

/* Runs the loop until the box has n datagrams. */
static void wait_for(struct bench *b, struct box *x, unsigned n)
{
    b->until = x;
    b->want = n;
    if (x->n >= n)
        return;
    worker_timer(b->w, &b->timeout, worker_now(b->w) + PATIENCE);
    worker_run(b->w);
    worker_timer_cancel(b->w, &b->timeout);
    assert_false(b->late);
    b->until = NULL;
}

static void stop_now(void *arg, uint64_t now_us)
{
    (void)now_us;
    worker_stop(arg);
}

/* Runs a turn: the io_uring back end belongs to the loop's thread from its first turn on. */
static void turn(struct bench *b)
{
    assert_int_equal(worker_post(b->w, stop_now, b->w), 0);
    worker_run(b->w);
}

static void send_parts(struct box *from, const struct addr *to, struct slice head,
                       struct slice body, unsigned pad)
{
    const struct udp_out out = {to, head, body, pad, {0}, false};

    udp_send(&from->sock, &out);
}

static void test_parts_arrive_as_one_datagram(void **state)
{
    struct bench *b = open_bench(4, 2048);
    const struct udp_msg *m = b->b.msg;

    (void)state;
    turn(b);
    send_parts(&b->a, &b->b.at, SLICE_LIT("head"), SLICE_LIT("body"), 3);
    send_parts(&b->a, &b->b.at, (struct slice){0}, SLICE_LIT(""), 0);
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("copied"));
    udp_push(b->io);
    wait_for(b, &b->b, 3);
    assert_int_equal(m[0].len, 11);
    assert_memory_equal(m[0].p, "headbody\0\0", 11);
    assert_true(addr_eq(&m[0].from, &b->a.at));
    assert_int_equal(m[1].len, 0);
    assert_memory_equal(m[2].p, "copied", 6);
    close_bench(b);
}

static void test_received_payload_is_forwarded_in_order(void **state)
{
    struct bench *b = open_bench(8, 2048);

    (void)state;
    turn(b);
    b->b.echo = b->a.at;
    for (uint8_t round = 0; round < 50; round++) {
        for (uint8_t i = 0; i < 6; i++) {
            const uint8_t text[2] = {round, i};
            udp_send_copy(&b->a.sock, &b->b.at, slice_of(text, 2));
        }
        udp_push(b->io);
        wait_for(b, &b->a, 6); /* by the flush at the end of a turn, from borrowed slots */
        for (uint8_t i = 0; i < 6; i++) {
            assert_int_equal(b->a.msg[i].len, 3);
            assert_int_equal(b->a.msg[i].p[0], 'h');
            assert_int_equal(b->a.msg[i].p[1], round);
            assert_int_equal(b->a.msg[i].p[2], i);
        }
        empty_box(&b->a);
        empty_box(&b->b);
    }
    close_bench(b);
}

static void test_full_queue_and_full_slots_are_sent_first(void **state)
{
    struct bench *b = open_bench(4, 2048);

    (void)state;
    turn(b);
    b->b.echo = b->a.at;
    for (unsigned i = 0; i < 50; i++)
        udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("x"));
    udp_push(b->io);
    wait_for(b, &b->a, 50);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->sent_pkts), 100);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->recv_pkts), 100);
    close_bench(b);
}

/* Sends bodies of the given lengths (0 ends) from a to b, each after a head of 4 bytes with its
 * number, and takes them from b again: all there, whole, in order. Returns the reads it took. */
static unsigned relay_lengths(struct bench *b, const unsigned *len, bool gro)
{
    static uint8_t body[1 << 16];
    unsigned sent = 0;

    memset(body, 'x', sizeof(body));
    assert_int_equal(gro ? udp_set_gro(b->a.sock.fd) : 0, 0);
    turn(b);
    for (; len[sent] > 0; sent++) {
        const uint8_t head[4] = {'n', (uint8_t)sent, 0, 0};
        send_parts(&b->b, &b->a.at, slice_of(head, 4), slice_of(body, len[sent] - 4), 0);
    }
    udp_push(b->io);
    wait_for(b, &b->a, sent);
    for (unsigned i = 0; i < sent; i++) {
        const struct udp_msg *m = &b->a.msg[i];
        assert_int_equal(m->len, len[i]);
        assert_int_equal(m->p[1], i);
        assert_true(m->len == 4 || m->p[m->len - 1] == 'x');
        assert_true(addr_eq(&m->from, &b->b.at));
    }
    assert_int_equal(b->a.n, sent);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->sent_pkts), sent);
    return (unsigned)counter_get(&udp_io_stats(b->io)->reads);
}

static void test_runs_are_cut_where_they_must_be(void **state)
{
    static const struct {
        unsigned runs, len[12];
    } cases[] = {
        {1, {100}},
        {1, {100, 100, 100}},
        {1, {100, 100, 40}},          /* the last may be shorter */
        {2, {100, 40, 40}},           /* nothing follows the shorter one */
        {2, {40, 100, 100}},          /* longer never */
        {3, {100, 40, 100, 40, 100}}, /* 100+40, 100+40, 100 */
        {1, {4, 4, 4, 4, 4, 4, 4, 4}},
        {2, {30000, 30000, 30000}}, /* 65000 bytes a run */
        {1, {32500, 32500}},        /* exactly */
        {2, {32501, 32501}},        /* one more */
        {2, {65507, 1000}},         /* the longest datagram of all goes alone */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned gro = 0; gro <= 1; gro++) {
            struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);
            unsigned n = 0;
            while (cases[i].len[n] > 0)
                n++;
            unsigned reads = relay_lengths(b, cases[i].len, gro);
            assert_int_equal(reads, gro && udp_io_gso(b->io) ? cases[i].runs : n);
            close_bench(b);
        }
    }
}

static void test_a_run_has_64_datagrams_at_most(void **state)
{
    unsigned len[131] = {0};

    (void)state;
    for (unsigned n = 63; n <= 129; n++) {
        struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);
        for (unsigned i = 0; i < n; i++)
            len[i] = 50;
        unsigned reads = relay_lengths(b, len, true);
        assert_int_equal(reads, udp_io_gso(b->io) ? (n + 63) / 64 : n);
        close_bench(b);
    }
}

static void test_runs_keep_to_one_address_and_one_socket(void **state)
{
    struct bench *b = open_bench(16, UDP_DATAGRAM_MAX);
    unsigned from_a = 0, from_b = 0;

    (void)state;
    turn(b);
    for (uint8_t i = 0; i < 12; i++) { /* a to b, a to a, b to b */
        const uint8_t text[2] = {'t', i};
        udp_send_copy(i % 3 == 2 ? &b->b.sock : &b->a.sock, i % 3 == 1 ? &b->a.at : &b->b.at,
                      slice_of(text, 2));
    }
    udp_push(b->io);
    wait_for(b, &b->a, 4);
    for (uint8_t i = 0; i < 4; i++)
        assert_int_equal(b->a.msg[i].p[1], 3 * i + 1);
    wait_for(b, &b->b, 8);
    for (unsigned i = 0; i < 8; i++) { /* each sender's in order */
        bool a = addr_eq(&b->b.msg[i].from, &b->a.at);
        assert_int_equal(b->b.msg[i].p[1], a ? 3 * from_a++ : 3 * from_b++ + 2);
    }
    close_bench(b);
}

/* Descriptors 256 apart share a tail of the queue. */
static void test_order_holds_when_descriptors_share_a_tail(void **state)
{
    struct bench *b = open_bench(64, UDP_DATAGRAM_MAX);
    struct addr any = loopback();
    int first = udp_open(&any, false, 0), twin = fcntl(first, F_DUPFD, first + 256);
    struct box x = {.bench = b}, y = {.bench = b};

    (void)state;
    assert_int_equal(twin, first + 256);
    assert_int_equal(udp_watch(b->io, &x.sock, first, false, &ops, &x), 0);
    assert_int_equal(udp_watch(b->io, &y.sock, twin, false, &ops, &y), 0);
    turn(b);
    for (uint8_t i = 0; i < 20; i++)
        udp_send_copy(i % 2 ? &x.sock : &y.sock, &b->b.at, slice_of(&i, 1));
    udp_push(b->io);
    wait_for(b, &b->b, 20);
    int last[2] = {-1, -1};
    for (unsigned i = 0; i < 20; i++) { /* each socket's in order */
        int n = b->b.msg[i].p[0];
        assert_true(n > last[n % 2]);
        last[n % 2] = n;
    }
    close_box(&x);
    close_box(&y);
    close_bench(b);
}

static void test_run_that_the_kernel_refuses_is_sent_singly(void **state)
{
    static const unsigned len[] = {100, 100, 100, 60, 0};
    struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);
    int on = 1;

    (void)state;
    /* A socket without checksums takes no runs: EINVAL, as for datagrams above the MTU. */
    assert_int_equal(setsockopt(b->b.sock.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    assert_int_equal(relay_lengths(b, len, true), 4);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->failed), 0);
    close_bench(b);
}

static void test_many_heads_and_parts_fill_the_queue_early(void **state)
{
    uint8_t head[UDP_HEAD_MAX];
    struct bench *b = open_bench(2, UDP_DATAGRAM_MAX);

    (void)state;
    assert_int_equal(udp_set_gro(b->b.sock.fd), 0);
    turn(b);
    for (unsigned i = 0; i < 200; i++) { /* one run until 64, but only 512 bytes of heads */
        memset(head, (int)i, sizeof(head));
        send_parts(&b->a, &b->b.at, slice_of(head, sizeof(head)), SLICE_LIT("body"), 2);
    }
    udp_push(b->io);
    wait_for(b, &b->b, 200);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(b->b.msg[i].len, UDP_HEAD_MAX + 6);
        assert_int_equal(b->b.msg[i].p[0], i);
        assert_int_equal(b->b.msg[i].p[UDP_HEAD_MAX - 1], i);
        assert_memory_equal(&b->b.msg[i].p[UDP_HEAD_MAX], "body\0\0", 6);
    }
    close_bench(b);
}

static void test_expectation_follows_what_comes_together(void **state)
{
    static const struct {
        unsigned expect, asked, reads, then;
    } cases[] = {
        {0, 1, 1, 8}, /* one after the other: seldom a look for a second */
        {8, 1, 1, 9},       {15, 1, 1, 16},     {16, 2, 1, 8}, /* there was none */
        {16, 2, 2, 32},                         /* there was: ask for twice as many */
        {32, 4, 3, 24},     {32, 4, 0, 16},     /* nothing: half as many */
        {128, 16, 16, 256}, {256, 16, 16, 256}, /* the most that is asked for */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(udp_expected(cases[i].expect), cases[i].asked);
        assert_int_equal(udp_expect_next(cases[i].expect, cases[i].asked, cases[i].reads),
                         cases[i].then);
    }
}

static void test_longer_than_a_slot_is_dropped_and_counted(void **state)
{
    static uint8_t big[1500];
    struct bench *b = open_bench(4, 1000);

    (void)state;
    turn(b);
    send_parts(&b->a, &b->b.at, (struct slice){0}, slice_of(big, 1000), 0);
    send_parts(&b->a, &b->b.at, (struct slice){0}, slice_of(big, 1001), 0);
    send_parts(&b->a, &b->b.at, (struct slice){0}, SLICE_LIT("last"), 0);
    udp_push(b->io);
    wait_for(b, &b->b, 2);
    assert_int_equal(b->b.msg[0].len, 1000);
    assert_memory_equal(b->b.msg[1].p, "last", 4);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->truncated), 1);
    close_bench(b);
}

static void test_refused_datagram_does_not_hold_up_the_others(void **state)
{
    struct bench *b = open_bench(4, 2048);
    struct addr nowhere = {.ip = {0x20, 1}, .port = 9, .family = ADDR_V6};

    (void)state;
    turn(b);
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("1"));
    udp_send_copy(&b->a.sock, &nowhere, SLICE_LIT("2")); /* IPv6 from an IPv4 socket */
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("3"));
    udp_push(b->io);
    wait_for(b, &b->b, 2);
    assert_int_equal(b->b.msg[1].p[0], '3');
    assert_int_equal(counter_get(&udp_io_stats(b->io)->failed), 1);
    assert_int_equal(counter_get(&udp_io_stats(b->io)->sent_pkts), 2);
    close_bench(b);
}

static void test_icmp_error_is_told_and_costs_no_datagram(void **state)
{
    struct bench *b = open_bench(4, 2048);
    struct addr closed = b->b.at;

    (void)state;
    assert_int_equal(icmp_queue_open(b->a.sock.fd), 0);
    close_box(&b->b);
    turn(b);
    for (unsigned round = 1; round <= 3; round++) {
        udp_send_copy(&b->a.sock, &closed, SLICE_LIT("nobody there"));
        udp_push(b->io);
        worker_timer(b->w, &b->timeout, worker_now(b->w) + PATIENCE);
        worker_run(b->w);
        worker_timer_cancel(b->w, &b->timeout);
        assert_false(b->late);
        assert_int_equal(b->a.errors, round);
    }
    /* The report of one datagram must not be the end of the next. */
    open_box(b, &b->b, true);
    turn(b);
    udp_send_copy(&b->a.sock, &closed, SLICE_LIT("nobody there"));
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("somebody"));
    udp_push(b->io);
    while (b->b.n == 0 || b->a.errors < 4) { /* and the next send must not swallow it */
        b->until = &b->b;
        b->want = 1;
        worker_timer(b->w, &b->timeout, worker_now(b->w) + PATIENCE);
        worker_run(b->w);
        assert_false(b->late);
    }
    assert_int_equal(counter_get(&udp_io_stats(b->io)->failed), 0);
    close_bench(b);
}

static void test_socket_may_be_closed_by_anybody_at_any_time(void **state)
{
    struct bench *b = open_bench(8, 2048);
    struct box x;

    (void)state;
    turn(b);
    for (unsigned round = 0; round < 200; round++) {
        open_box(b, &x, round % 2);
        if (round % 3 == 0) /* else it goes before it was ever armed */
            turn(b);
        b->b.close = &x.sock; /* b hears first, and what waits for x is nobody's */
        udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("1"));
        udp_send_copy(&b->a.sock, &x.at, SLICE_LIT("2"));
        udp_push(b->io);
        wait_for(b, &b->b, 1);
        empty_box(&b->b);
        turn(b);
        assert_null(x.sock._io);
        empty_box(&x);
        b->b.close = &x.sock;
    }
    /* Its own socket, out of its own callback. */
    open_box(b, &x, false);
    x.close = &x.sock;
    turn(b);
    udp_send_copy(&b->a.sock, &x.at, SLICE_LIT("1"));
    udp_send_copy(&b->a.sock, &x.at, SLICE_LIT("2"));
    udp_push(b->io);
    while (x.sock._io)
        wait_for(b, &x, x.n + 1);
    empty_box(&x);
    close_bench(b);
}

static void test_more_at_once_than_there_are_slots(void **state)
{
    static struct box many[150];
    struct bench *b = open_bench(16, 2048);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        open_box(b, &many[i], false);
    turn(b);
    for (unsigned round = 1; round <= 5; round++) {
        for (unsigned i = 0; i < ARRAY_LEN(many); i++)
            udp_send_copy(&b->a.sock, &many[i].at, SLICE_LIT("x"));
        udp_push(b->io);
        for (unsigned i = 0; i < ARRAY_LEN(many); i++)
            wait_for(b, &many[i], round);
    }
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        close_box(&many[i]);
    close_bench(b);
}

static void test_marks_travel_and_part_runs(void **state)
{
    static const struct udp_mark marks[] = {{0xb8, 17}, {0xb8, 17}, {0x2, 17}, {0x2, 255}, {0, 1}};
    struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);

    (void)state;
    assert_int_equal(udp_set_marks(b->a.sock.fd), 0);
    assert_int_equal(udp_set_gro(b->a.sock.fd), 0);
    turn(b);
    for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
        const struct udp_out out = {
            .to = &b->a.at, .head = SLICE_LIT("h"), .body = SLICE_LIT("b"), .mark = marks[i]};
        udp_send(&b->b.sock, &out);
    }
    send_parts(&b->b, &b->a.at, (struct slice){0}, SLICE_LIT("xx"), 0);
    udp_push(b->io);
    wait_for(b, &b->a, 6);
    for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
        assert_int_equal(b->a.msg[i].mark.tos, marks[i].tos);
        assert_int_equal(b->a.msg[i].mark.ttl, marks[i].ttl);
        assert_memory_equal(b->a.msg[i].p, "hb", 2);
    }
    assert_int_equal(b->a.msg[5].mark.tos, 0);
    assert_true(b->a.msg[5].mark.ttl > 1); /* the system's default */
    /* Not asked for: not told. */
    send_parts(&b->a, &b->b.at, (struct slice){0}, SLICE_LIT("xx"), 0);
    udp_push(b->io);
    wait_for(b, &b->b, 1);
    assert_int_equal(b->b.msg[0].mark.ttl, 0);
    close_bench(b);
}

static void test_marks_travel_over_ipv6(void **state)
{
    const struct addr loopback6 = {.ip = {[15] = 1}, .family = ADDR_V6};
    const struct udp_mark mark = {0xb9, 33};
    struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);
    struct box x, y;

    (void)state;
    open_box_at(b, &x, &loopback6, false);
    open_box_at(b, &y, &loopback6, true);
    assert_int_equal(udp_set_marks(x.sock.fd), 0);
    turn(b);
    const struct udp_out out = {.to = &x.at, .body = SLICE_LIT("b"), .mark = mark};
    udp_send(&y.sock, &out);
    udp_push(b->io);
    wait_for(b, &x, 1);
    assert_int_equal(x.msg[0].mark.tos, mark.tos);
    assert_int_equal(x.msg[0].mark.ttl, mark.ttl);
    close_box(&x);
    close_box(&y);
    close_bench(b);
}

static void test_overflows_are_counted_while_it_lives_and_at_its_end(void **state)
{
    static uint8_t body[1000];
    struct bench *b = open_bench(8, UDP_DATAGRAM_MAX);
    const struct udp_stats *stats = udp_io_stats(b->io);

    (void)state;
    turn(b);
    for (unsigned round = 1; round <= 2; round++) {
        struct box *x = round == 1 ? &b->b : &b->a; /* shared; not */
        uint64_t before = counter_get(&stats->overflow);
        for (unsigned i = 0; i < 2000; i++)
            send_parts(&b->a, &x->at, (struct slice){0}, slice_of(body, sizeof(body)), 0);
        udp_push(b->io);
        assert_int_equal(counter_get(&stats->overflow), before); /* nobody has looked */
        if (round == 1) {
            worker_timer(b->w, &b->timeout, worker_now(b->w) + 3 * US_PER_S / 2);
            b->until = NULL;
            x->drop = true;
            worker_run(b->w);
            assert_true(counter_get(&stats->overflow) > before);
        } else {
            close_box(x);
            assert_true(counter_get(&stats->overflow) > before);
        }
    }
    b->late = false;
    close_bench(b);
}

static void test_open_shares_a_port_only_when_told(void **state)
{
    struct addr any = loopback(), none = {0};
    int first = udp_open(&any, true, 0);
    struct addr at = udp_local(first);

    (void)state;
    int second = udp_open(&at, true, 0);
    assert_true(second >= 0);
    assert_int_equal(udp_open(&at, false, 0), -EADDRINUSE);
    assert_int_equal(udp_open(&none, false, 0), -EAFNOSUPPORT);
    assert_int_equal(udp_set_dont_fragment(first, true), 0);
    assert_int_equal(udp_set_dont_fragment(first, false), 0);
    close(first);
    close(second);
}

static void test_own_addresses_have_no_port(void **state)
{
    struct addr own[64];
    int n = udp_own_addresses(own, 64);

    (void)state;
    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        assert_true(own[i].port == 0 && own[i].family != ADDR_NONE);
}

static void test_oom_io_is_whole_or_not_there(void **state)
{
    const struct udp_io_conf conf = {backend, 4, 100};
    struct worker *w = worker_new(0);
    char why[UDP_WHY_MAX];

    (void)state;
    uint64_t before = mem_live();
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct udp_io *io = udp_io_new(w, &conf, why);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(io == NULL, failed);
        udp_io_free(io);
        if (io)
            break;
        assert_string_equal(why, "out of memory");
        assert_int_equal(mem_live(), before);
    }
    worker_free(w);
}

/* In place of liburing's: a kernel without memory for requests takes none. */
static bool no_requests;

int io_uring_submit(struct io_uring *ring)
{
    static int (*real)(struct io_uring *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
    return no_requests ? -EAGAIN : real(ring);
}

/* What the kernel does not take in time it must not take later: the bytes are others' by then. */
static void test_what_is_not_taken_in_time_is_not_sent_later(void **state)
{
    struct bench *b = open_bench(4, 2048);

    (void)state;
    turn(b);
    if (backend == UDP_URING) {
        no_requests = true;
        udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("first"));
        udp_push(b->io);
        no_requests = false;
        assert_int_equal(counter_get(&udp_io_stats(b->io)->full), 1);
        assert_int_equal(counter_get(&udp_io_stats(b->io)->sent_pkts), 0);
    }
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("then"));
    udp_send_copy(&b->a.sock, &b->b.at, SLICE_LIT("at last"));
    udp_push(b->io);
    wait_for(b, &b->b, 2);
    assert_memory_equal(b->b.msg[0].p, "then", 4);
    assert_memory_equal(b->b.msg[1].p, "at last", 7);
    close_bench(b);
}

static void requests_again(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    no_requests = false;
}

/* And a socket is heard in the end. */
static void test_a_socket_is_watched_as_soon_as_it_can_be(void **state)
{
    struct bench *b = open_bench(4, 2048);
    struct box late;
    struct wtimer timer = {.fn = requests_again};

    (void)state;
    turn(b);
    open_box(b, &late, false);
    no_requests = true;
    turn(b);
    worker_timer(b->w, &timer, worker_now(b->w) + 20000);
    while (no_requests)
        turn(b);
    udp_send_copy(&b->a.sock, &late.at, SLICE_LIT("heard"));
    wait_for(b, &late, 1);
    close_box(&late);
    close_bench(b);
}

static int use_epoll(void **state)
{
    (void)state;
    backend = UDP_EPOLL;
    return 0;
}

static int use_uring(void **state)
{
    const struct udp_io_conf conf = {UDP_URING, 4, 100};
    struct worker *w = worker_new(0);
    char why[UDP_WHY_MAX];
    struct udp_io *io = udp_io_new(w, &conf, why);

    (void)state;
    if (!io)
        print_message("this machine has %s: epoll is tested twice\n", why);
    backend = io ? UDP_URING : UDP_EPOLL;
    if (io)
        assert_string_equal(udp_io_backend(io), "io_uring");
    udp_io_free(io);
    worker_free(w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_arrive_as_one_datagram),
        cmocka_unit_test(test_received_payload_is_forwarded_in_order),
        cmocka_unit_test(test_full_queue_and_full_slots_are_sent_first),
        cmocka_unit_test(test_runs_are_cut_where_they_must_be),
        cmocka_unit_test(test_a_run_has_64_datagrams_at_most),
        cmocka_unit_test(test_runs_keep_to_one_address_and_one_socket),
        cmocka_unit_test(test_order_holds_when_descriptors_share_a_tail),
        cmocka_unit_test(test_run_that_the_kernel_refuses_is_sent_singly),
        cmocka_unit_test(test_many_heads_and_parts_fill_the_queue_early),
        cmocka_unit_test(test_expectation_follows_what_comes_together),
        cmocka_unit_test(test_longer_than_a_slot_is_dropped_and_counted),
        cmocka_unit_test(test_refused_datagram_does_not_hold_up_the_others),
        cmocka_unit_test(test_icmp_error_is_told_and_costs_no_datagram),
        cmocka_unit_test(test_socket_may_be_closed_by_anybody_at_any_time),
        cmocka_unit_test(test_more_at_once_than_there_are_slots),
        cmocka_unit_test(test_what_is_not_taken_in_time_is_not_sent_later),
        cmocka_unit_test(test_a_socket_is_watched_as_soon_as_it_can_be),
        cmocka_unit_test(test_marks_travel_and_part_runs),
        cmocka_unit_test(test_marks_travel_over_ipv6),
        cmocka_unit_test(test_overflows_are_counted_while_it_lives_and_at_its_end),
        cmocka_unit_test(test_open_shares_a_port_only_when_told),
        cmocka_unit_test(test_own_addresses_have_no_port),
        cmocka_unit_test(test_oom_io_is_whole_or_not_there),
    };

    return cmocka_run_group_tests_name("udp by epoll", tests, use_epoll, NULL) +
           cmocka_run_group_tests_name("udp by io_uring", tests, use_uring, NULL);
}

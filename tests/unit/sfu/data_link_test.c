/* data_link.c: a worker and the data thread against clients in a process of their own (usrsctp is
 * one for a process), over a socket pair each. Real time, for usrsctp's own clock is real.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/worker.h"
#include "sfu/sctp.h"

enum {
    CLIENTS = 2,
    POLL_US = 1000,
    PATIENCE_US = 20 * 1000 * 1000,
    BURST = 400,
    BURST_BYTES = 1000,
    QUEUE_BYTES = 65536,
    DEAF_US = 300 * 1000,
};

/* --- The clients' process. */

struct client {
    struct sctp_assoc *a;
    int fd;
    bool up, down, refused, told_lost, done;
    unsigned acks, texts, lossy;
    uint64_t deaf_until_us;
    unsigned long lost;
};

static uint64_t real_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void client_output(void *owner, struct slice packet)
{
    const struct client *c = owner;
    (void)!send(c->fd, packet.p, packet.len, MSG_DONTWAIT);
}

static void client_open(struct client *c, uint16_t stream, const char *label, uint8_t type)
{
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    struct dcep_open open = {.channel_type = type, .label = slice_str(label)};
    struct sctp_send_as as = {.stream = stream, .ppid = DATA_PPID_DCEP};

    dcep_open_encode(&open, &w);
    if (sctp_send(c->a, &as, wr_done(&w)) != 0)
        abort();
}

static void client_say(struct client *c, const char *text)
{
    struct sctp_send_as as = {.stream = 0,
                              .ppid = text[0] ? DATA_PPID_STRING : DATA_PPID_STRING_EMPTY};

    if (sctp_send(c->a, &as, text[0] ? slice_str(text) : SLICE_LIT("\0")) != 0)
        abort();
}

static void client_up(void *owner)
{
    struct client *c = owner;

    c->up = true;
    client_open(c, 0, "sori", DCEP_RELIABLE);
    client_open(c, 2, "sori-lossy", DCEP_UNORDERED | DCEP_REXMIT);
    client_open(c, 4, "files", DCEP_RELIABLE);
}

static void client_down(void *owner)
{
    ((struct client *)owner)->down = true;
}

static void client_message(void *owner, uint16_t stream, uint32_t ppid, struct slice msg)
{
    struct client *c = owner;
    static const char notice[] = "{\"event\":\"lost\",\"reliable\":";

    if (ppid == DATA_PPID_DCEP) {
        if (++c->acks == 2) {
            client_say(c, "hello");
            client_say(c, "");
        }
    } else if (stream == 2) {
        c->lossy++;
    } else if (slice_is(msg, "freeze")) {
        c->deaf_until_us = real_us() + DEAF_US;
    } else if (slice_starts(msg, slice_str(notice))) {
        char text[96];
        (void)slice_to_cstr(msg, text, sizeof(text));
        c->lost += strtoul(text + sizeof(notice) - 1, NULL, 10);
        c->told_lost = true;
        client_say(c, "bye");
    } else {
        c->texts++;
    }
}

static void client_reset(void *owner, uint16_t stream)
{
    struct client *c = owner;
    c->refused |= stream == 4;
}

static void client_writable(void *owner)
{
    (void)owner;
}

/* Runs until the server says that it is over. Returns what went wrong, 0: nothing. */
static int clients_run(const int fd[CLIENTS])
{
    static const struct sctp_ops ops = {client_output,  client_up,    client_down,
                                        client_message, client_reset, client_writable};
    static struct client c[CLIENTS];
    struct sctp_conf conf = {5000, 5000, 65536};
    uint64_t end_us = real_us() + PATIENCE_US;

    sctp_start(real_us());
    for (unsigned i = 0; i < CLIENTS; i++) {
        c[i].fd = fd[i];
        c[i].a = sctp_new(&conf, &ops, &c[i], real_us());
    }
    while (!(c[0].done && c[1].done) && real_us() < end_us) {
        static uint8_t buf[2048];
        ssize_t n;
        for (unsigned i = 0; i < CLIENTS; i++) {
            while (real_us() >= c[i].deaf_until_us &&
                   (n = recv(c[i].fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
                c[i].done |= n == 1; /* no packet of SCTP: the test is over */
                sctp_input(c[i].a, slice_of(buf, (size_t)n));
            }
        }
        sctp_tick(real_us());
        usleep(500);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        sctp_free(c[i].a);
    /* Each got the answer to its words in both channels; the frozen one got or was told of all. */
    return (c[0].done && c[1].done && !c[0].down && !c[1].down ? 0 : 1) |
           (c[0].refused && c[1].refused ? 0 : 2) | (c[0].told_lost && !c[1].told_lost ? 0 : 4) |
           (c[0].lossy == 1 && c[1].lossy == 1 ? 0 : 8) |
           (c[0].texts + c[0].lost == BURST + 3 ? 0 : 16) | (c[1].texts == 3 ? 0 : 32);
}

/* --- The server's. */

struct peer {
    uint32_t id;
    int fd;
    bool up, down, heard_empty;
    unsigned open, hellos;
};

static struct worker *worker;
static struct data_port *port;
static struct peer peers[CLIENTS];
static unsigned finished;
static uint64_t ends_us;

static void peer_output(void *owner, struct slice packet)
{
    const struct peer *p = owner;
    (void)!send(p->fd, packet.p, packet.len, MSG_DONTWAIT);
}

static void peer_up(void *owner)
{
    ((struct peer *)owner)->up = true;
}

static void peer_down(void *owner)
{
    ((struct peer *)owner)->down = true;
}

static void peer_channel(void *owner, enum data_class class, bool open)
{
    struct peer *p = owner;
    assert_true(open);
    assert_true(p->up);
    p->open |= 1u << class;
}

/* Both have spoken: all hear of it; then the first freezes and is sent more than waits. */
static void on_both(void)
{
    static const uint8_t block[BURST_BYTES];
    const uint32_t all[] = {peers[0].id, 12345, peers[1].id};

    data_port_send(port, all, 3, DATA_RELIABLE, true, SLICE_LIT("to all"));
    data_port_send(port, all, 3, DATA_RELIABLE, true, SLICE_LIT(""));
    data_port_send(port, all, 3, DATA_LOSSY, false, SLICE_LIT("to all"));
    data_port_send(port, all, 1, DATA_RELIABLE, true, SLICE_LIT("freeze"));
    for (unsigned i = 0; i < BURST; i++)
        data_port_send(port, all, 1, DATA_RELIABLE, false, slice_of(block, sizeof(block)));
}

static void peer_message(void *owner, enum data_class class, bool text, struct slice msg)
{
    struct peer *p = owner;

    assert_int_equal(class, DATA_RELIABLE);
    assert_true(text);
    if (slice_is(msg, "hello"))
        p->hellos++;
    else if (msg.len == 0)
        p->heard_empty = true;
    if (msg.len == 0 && peers[0].heard_empty && peers[1].heard_empty)
        on_both();
    if (slice_is(msg, "bye")) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            data_port_close(port, peers[i].id);
            (void)!send(peers[i].fd, "q", 1, 0);
        }
        finished = 1;
    }
}

/* Looks for packets; ends the loop when all is done. */
static struct wtimer poll_timer;
static void on_poll(void *arg, uint64_t now_us)
{
    static uint8_t buf[2048];
    ssize_t n;

    (void)arg;
    for (unsigned i = 0; i < CLIENTS; i++) {
        while ((n = recv(peers[i].fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
            data_port_input(port, peers[i].id, slice_of(buf, (size_t)n));
    }
    if (finished && ++finished > 30)
        worker_stop(worker);
    else if (now_us > ends_us)
        worker_stop(worker);
    else
        worker_timer(worker, &poll_timer, now_us + POLL_US);
}

static void test_two_clients_talk_and_one_is_slow(void **state)
{
    static const struct data_port_ops ops = {peer_output, peer_up, peer_down, peer_channel,
                                             peer_message};
    const struct data_conf conf = {5000, 5000, 65536, 65536, QUEUE_BYTES};
    int here[CLIENTS], there[CLIENTS];

    (void)state;
    for (unsigned i = 0; i < CLIENTS; i++) {
        int fd[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
        here[i] = fd[0];
        there[i] = fd[1];
    }
    pid_t pid = fork();
    assert_true(pid != -1);
    if (pid == 0)
        _exit(clients_run(there));

    worker = worker_new(0);
    struct data_link *link = data_link_new(1);
    assert_non_null(link);
    port = data_link_port(link, worker, &ops);
    assert_non_null(port);
    assert_null(data_link_port(link, worker, &ops));
    for (unsigned i = 0; i < CLIENTS; i++) {
        peers[i].fd = here[i];
        peers[i].id = data_port_open(port, &conf, &peers[i]);
        assert_true(peers[i].id != 0);
        /* Before there is a channel, nor even an association. */
        data_port_send(port, &peers[i].id, 1, DATA_RELIABLE, true, SLICE_LIT("early"));
        data_port_send(port, &peers[i].id, 1, DATA_LOSSY, true, SLICE_LIT("early"));
    }
    poll_timer.fn = on_poll;
    ends_us = worker_now(worker) + PATIENCE_US;
    worker_timer(worker, &poll_timer, worker_now(worker));
    worker_run(worker);

    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(peers[i].open, 3);
        assert_int_equal(peers[i].hellos, 1);
        assert_false(peers[i].down);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(data_port_drops(port, DATA_DROP_SLOW) > 0);
    assert_true(data_port_drops(port, DATA_DROP_SLOW) < BURST);
    assert_int_equal(data_port_drops(port, DATA_DROP_DCEP), CLIENTS);
    assert_int_equal(data_port_drops(port, DATA_DROP_RING), 0);
    assert_int_equal(data_port_drops(port, DATA_DROP_NO_CHANNEL), CLIENTS); /* lossy ones */
    data_link_free(link);
    worker_free(worker);
}

static void test_ids_are_used_again_with_other_names(void **state)
{
    static const struct data_port_ops ops = {peer_output, peer_up, peer_down, peer_channel,
                                             peer_message};
    static struct peer p;
    const struct data_conf conf = {5000, 5000, 1024, 0, 1024};
    uint32_t id[64], again[64];

    (void)state;
    p.fd = -1; /* packets go nowhere */
    worker = worker_new(0);
    struct data_link *link = data_link_new(1);
    assert_non_null(link);
    port = data_link_port(link, worker, &ops);
    for (unsigned i = 0; i < ARRAY_LEN(id); i++)
        assert_true((id[i] = data_port_open(port, &conf, &p)) != 0);
    for (unsigned i = 0; i < ARRAY_LEN(id); i++)
        data_port_close(port, id[i]);
    for (unsigned i = 0; i < ARRAY_LEN(id); i++) {
        assert_true((again[i] = data_port_open(port, &conf, &p)) != 0);
        for (unsigned k = 0; k < ARRAY_LEN(id); k++)
            assert_int_not_equal(again[i], id[k]);
    }
    data_port_close(port, id[0]); /* is gone: nothing happens */
    data_port_input(port, id[0], SLICE_LIT("x"));
    data_port_input(port, 0, SLICE_LIT("x"));
    data_port_close(port, 0xffffffff);
    data_link_free(link); /* with associations open */
    worker_free(worker);
}

/* The data thread allocates as well: which of the two meets the failure is up to chance, that
 * nothing is left behind is not. */
static void test_oom_leaves_nothing_behind(void **state)
{
    static const struct data_port_ops ops = {peer_output, peer_up, peer_down, peer_channel,
                                             peer_message};
    static struct peer p;
    const struct data_conf conf = {5000, 5000, 1024, 0, 1024};
    uint64_t live = mem_live(), n = 0;
    unsigned no_link = 0, no_port = 0, no_id = 0;
    bool failed = true;

    (void)state;
    p.fd = -1;
    for (; failed && n < 100; n++) {
        worker = worker_new(0);
        mem_fail_after(n);
        struct data_link *link = data_link_new(2);
        port = link ? data_link_port(link, worker, &ops) : NULL;
        no_link += !link;
        no_port += link && !port;
        for (unsigned i = 0; port && i < 20; i++) {
            uint32_t id = data_port_open(port, &conf, &p);
            no_id += id == 0;
            data_port_send(port, &id, 1, DATA_RELIABLE, true, SLICE_LIT("x"));
            if (i % 2)
                data_port_close(port, id);
        }
        usleep(2000); /* the data thread does its part */
        failed = mem_failed();
        mem_fail_never();
        while (worker_settle(worker))
            ;
        data_link_free(link);
        worker_free(worker);
        assert_int_equal(mem_live(), live);
    }
    assert_false(failed);
    assert_true(no_link > 0 && no_port > 0 && no_id > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_clients_talk_and_one_is_slow),
        cmocka_unit_test(test_ids_are_used_again_with_other_names),
        cmocka_unit_test(test_oom_leaves_nothing_behind),
    };

    return cmocka_run_group_tests_name("data_link", tests, NULL, NULL);
}

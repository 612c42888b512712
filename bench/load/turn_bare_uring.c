/* The bare forwarder on io_uring: see turn_bare.c, and net/udp_uring.c for how a relay does it.
 *
 *     turn_bare_uring IP:PORT
 *
 * One receive stays armed on each socket and takes buffers from one ring; relay sockets are
 * connected; the header towards the client is written in front of the payload; all sends of a turn
 * and the wait for the next are one system call. It sleeps on the ring and serves nothing else.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn_bare.h"

#include <liburing.h>
#include <stdlib.h>

#define BUFS      4096
#define BUF_BYTES 2048
#define HEADROOM  64
#define ENTRIES   4096
#define CQES      16384
#define SENT      UINT64_MAX /* user data of sends; of receives: the descriptor */

static int listener;
static struct io_uring ring;
static struct io_uring_buf_ring *buf_ring;
static uint8_t bufs[BUFS][BUF_BYTES];
static struct msghdr shape = {.msg_namelen = sizeof(struct sockaddr_in)};
static int given; /* buffers to give back before the next wait */

static struct io_uring_sqe *entry(void)
{
    struct io_uring_sqe *s = io_uring_get_sqe(&ring);

    if (!s) {
        io_uring_submit(&ring);
        s = io_uring_get_sqe(&ring);
    }
    return s;
}

static void arm(int fd)
{
    struct io_uring_sqe *s = entry();

    if (fd == listener)
        io_uring_prep_recvmsg_multishot(s, fd, &shape, 0);
    else
        io_uring_prep_recv_multishot(s, fd, NULL, 0, 0);
    s->flags |= IOSQE_BUFFER_SELECT;
    s->ioprio |= IORING_RECVSEND_POLL_FIRST;
    s->user_data = (unsigned)fd;
}

static void give(unsigned id)
{
    io_uring_buf_ring_add(buf_ring, bufs[id] + HEADROOM, BUF_BYTES - HEADROOM, (unsigned short)id,
                          BUFS - 1, given++);
}

static struct io_uring_sqe *put_send(int fd, const uint8_t *p, size_t len)
{
    struct io_uring_sqe *s = entry();

    io_uring_prep_send(s, fd, p, len, MSG_DONTWAIT);
    s->flags |= IOSQE_CQE_SKIP_SUCCESS;
    s->user_data = SENT;
    return s;
}

static void up(uint8_t *p)
{
    struct io_uring_recvmsg_out *out = (struct io_uring_recvmsg_out *)p;
    struct sockaddr_in *from = (struct sockaddr_in *)(out + 1);
    const uint8_t *data = (const uint8_t *)(from + 1);
    struct entry *e = find(from);

    if (data[0] < CHANDATA_CHANNEL_MIN >> 8)
        answer(e, slice_of(data, out->payloadlen), listener, arm);
    else
        put_send(e->relay, data + CHANDATA_HEADER_BYTES, out->payloadlen - CHANDATA_HEADER_BYTES);
}

static void down(const struct entry *e, uint8_t *p, size_t len)
{
    uint8_t *head = p - CHANDATA_HEADER_BYTES;

    put_header(head, len);
    struct io_uring_sqe *s = put_send(listener, head, len + CHANDATA_HEADER_BYTES);
    io_uring_prep_send_set_addr(s, (const struct sockaddr *)&e->client, sizeof(e->client));
}

static void take(const struct io_uring_cqe *c)
{
    int fd = (int)c->user_data;

    if (c->user_data == SENT)
        return;
    if (!(c->flags & IORING_CQE_F_MORE))
        arm(fd);
    if (c->res <= 0)
        return;
    unsigned id = c->flags >> IORING_CQE_BUFFER_SHIFT;
    if (fd == listener)
        up(bufs[id] + HEADROOM);
    else
        down(by_fd[fd], bufs[id] + HEADROOM, (size_t)c->res);
    give(id);
}

static void open_ring(void)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                 IORING_SETUP_DEFER_TASKRUN,
        .cq_entries = CQES,
    };
    buf_ring = aligned_alloc(4096, BUFS * sizeof(struct io_uring_buf));
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)buf_ring, .ring_entries = BUFS};

    if (!buf_ring || io_uring_queue_init_params(ENTRIES, &ring, &p) != 0 ||
        io_uring_register_buf_ring(&ring, &reg, 0) != 0)
        die("no io_uring here");
    io_uring_register_ring_fd(&ring);
    io_uring_buf_ring_init(buf_ring);
    for (unsigned i = 0; i < BUFS; i++)
        give(i);
}

int main(int argc, char **argv)
{
    struct addr at;

    if (argc != 2 || addr_parse(&at, slice_str(argv[1])) != 0)
        die("want IP:PORT");
    listener = udp_open(&at, false, 4u << 20);
    if (listener < 0)
        die("cannot listen");
    open_ring();
    arm(listener);
    for (;;) {
        struct io_uring_cqe *c;
        unsigned head, n = 0;
        io_uring_buf_ring_advance(buf_ring, given);
        given = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, c)
        {
            take(c);
            n++;
        }
        io_uring_cq_advance(&ring, n);
    }
}

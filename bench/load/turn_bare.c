/* Bare forwarders, the limit that a relay is measured against: they take Allocate and ChannelBind
 * without credentials, strip or add the ChannelData header and look the client up, nothing else. No
 * limits, no permissions, no expiry, no counters.
 *
 *     turn_bare IP:PORT mmsg|gro
 *
 * mmsg: epoll, recvmmsg on the shared socket, one recvmsg on each ready relay socket, connected
 * relay sockets, answers of a turn together by sendmmsg. gro: the same, with UDP_GRO on every
 * socket and each merged read sent on as one UDP_SEGMENT. SPDX-License-Identifier: BSD-3-Clause */
#include "turn_bare.h"

#include <netinet/udp.h>
#include <sys/epoll.h>

#define SLOTS      64
#define SLOT_BYTES 65536
#define RUN_MAX    64

struct read {
    struct mmsghdr hdr;
    struct iovec iov;
    struct sockaddr_in from;
    union {
        struct cmsghdr hdr;
        uint8_t room[CMSG_SPACE(sizeof(int))];
    } control;
};

struct send {
    struct iovec iov[2 * RUN_MAX];
    uint8_t head[CHANDATA_HEADER_BYTES], last_head[CHANDATA_HEADER_BYTES];
    union {
        struct cmsghdr hdr;
        uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
    } control;
};

static int listener, epoll;
static bool gro;
static uint8_t buffers[SLOTS][SLOT_BYTES];
static struct read reads[SLOTS];
static struct mmsghdr rx[SLOTS], tx[SLOTS];
static struct send sends[SLOTS];
static unsigned queued; /* in tx, for the listener */

static void watch(int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    int on = 1;

    if (gro)
        setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

static size_t merged_size(struct msghdr *h, size_t len)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    int size = 0;

    if (c && c->cmsg_type == UDP_GRO)
        memcpy(&size, CMSG_DATA(c), sizeof(size));
    return size > 0 ? (size_t)size : len;
}

static void set_segment(struct msghdr *h, struct send *s, size_t seg)
{
    uint16_t size = (uint16_t)seg;

    h->msg_control = &s->control;
    h->msg_controllen = sizeof(s->control);
    s->control.hdr = (struct cmsghdr){CMSG_LEN(sizeof(size)), IPPROTO_UDP, UDP_SEGMENT};
    memcpy(CMSG_DATA(&s->control.hdr), &size, sizeof(size));
}

/* Up: one merged read is one run to the peer, every header skipped. */
static void up(unsigned slot, size_t len)
{
    struct entry *e = find(&reads[slot].from);
    struct msghdr *in = &rx[slot].msg_hdr, out = {0};
    struct send *s = &sends[0];
    size_t seg = merged_size(in, len);

    if (buffers[slot][0] < 0x40) {
        answer(e, slice_of(buffers[slot], len), listener, watch);
        return;
    }
    for (size_t at = 0; at + CHANDATA_HEADER_BYTES < len; at += seg) {
        size_t n = len - at < seg ? len - at : seg;
        s->iov[out.msg_iovlen++] =
            (struct iovec){&buffers[slot][at + CHANDATA_HEADER_BYTES], n - CHANDATA_HEADER_BYTES};
    }
    out.msg_iov = s->iov;
    if (out.msg_iovlen > 1)
        set_segment(&out, s, seg - CHANDATA_HEADER_BYTES);
    sendmsg(e->relay, &out, MSG_DONTWAIT);
}

/* Down: one merged read is one run to the client, a header before each. */
static void down(const struct entry *e, unsigned slot, size_t len)
{
    struct send *s = &sends[queued];
    struct msghdr *h = &tx[queued].msg_hdr;
    size_t seg = merged_size(&rx[slot].msg_hdr, len);

    *h = (struct msghdr){.msg_name = (void *)(uintptr_t)&e->client,
                         .msg_namelen = sizeof(e->client),
                         .msg_iov = s->iov};
    put_header(s->head, seg);
    for (size_t at = 0; at < len; at += seg) {
        size_t n = len - at < seg ? len - at : seg;
        if (n < seg)
            put_header(s->last_head, n);
        s->iov[h->msg_iovlen++] =
            (struct iovec){n < seg ? s->last_head : s->head, CHANDATA_HEADER_BYTES};
        s->iov[h->msg_iovlen++] = (struct iovec){&buffers[slot][at], n};
    }
    if (len > seg)
        set_segment(h, s, seg + CHANDATA_HEADER_BYTES);
    queued++;
}

static void flush(void)
{
    for (unsigned done = 0; done < queued;) {
        int n = sendmmsg(listener, &tx[done], queued - done, MSG_DONTWAIT);
        done += n > 0 ? (unsigned)n : 1;
    }
    queued = 0;
}

static void rearm(unsigned slot)
{
    struct read *r = &reads[slot];

    r->iov = (struct iovec){buffers[slot], SLOT_BYTES};
    rx[slot].msg_hdr = (struct msghdr){&r->from, sizeof(r->from), &r->iov, 1, NULL, 0, 0};
    if (gro) {
        rx[slot].msg_hdr.msg_control = &r->control;
        rx[slot].msg_hdr.msg_controllen = sizeof(r->control);
    }
}

static void on_listener(void)
{
    flush(); /* the slots are about to be used again */
    int n = recvmmsg(listener, rx, SLOTS, MSG_DONTWAIT, NULL);

    for (int i = 0; i < n; i++) {
        up((unsigned)i, rx[i].msg_len);
        rearm((unsigned)i);
    }
}

static void on_relay(int fd)
{
    if (queued == SLOTS)
        flush();
    unsigned slot = queued;
    ssize_t n = recvmsg(fd, &rx[slot].msg_hdr, MSG_DONTWAIT);

    if (n > 0)
        down(by_fd[fd], slot, (size_t)n);
    rearm(slot);
}

int main(int argc, char **argv)
{
    struct addr at;
    struct epoll_event ev[256];

    if (argc != 3 || addr_parse(&at, slice_str(argv[1])) != 0)
        die("want IP:PORT mmsg|gro");
    gro = strcmp(argv[2], "gro") == 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = udp_open(&at, false, 4u << 20);
    if (epoll == -1 || listener < 0)
        die("cannot listen");
    watch(listener);
    for (unsigned i = 0; i < SLOTS; i++)
        rearm(i);
    for (;;) {
        int n = epoll_wait(epoll, ev, ARRAY_LEN(ev), -1);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.fd == listener)
                on_listener();
            else
                on_relay(ev[i].data.fd);
        }
        flush();
    }
}

/* UDP in batches over recvmmsg and sendmmsg, with runs of datagrams merged where the kernel can.
 *
 * Called by the UDP shells of each daemon (turn/turn_udp_listener.c, turn/relay_sock.c).
 *
 *     one read   = a slot:  datagrams of one sender, equally long but for the last (UDP_GRO)
 *     one send   = a run:   datagrams to one address, the same (UDP_SEGMENT), each in parts: iovecs
 *     one call   = a chain: the runs of one descriptor, in the order in which they were queued
 *
 * Slots are released all at once, when nothing that borrows from them is queued any more.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp.h"

#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define UDP_COPY_MAX 2048
/* Slots of a power-of-two stride would fight for the same sets of the L1 and L2 caches; 17 lines
 * more spread them. */
#define UDP_SLOT_SKEW    (17 * 64)
#define UDP_SLOT_PKTS    128   /* datagrams that any kernel merges into one read */
#define UDP_RUN_PKTS     64    /* datagrams that every kernel takes as one run */
#define UDP_RUN_BYTES    65000 /* and bytes: IPv4 has 65507 for them */
#define UDP_QUEUED_PKTS  16    /* datagrams that may be queued for each slot, on average */
#define UDP_PARTS        3     /* of a queued datagram: head, body, padding */
#define UDP_HEAD_AVERAGE 16  /* bytes of a head; many heads of UDP_HEAD_MAX fill the queue early */
#define UDP_CAUTION      8   /* reads of one datagram before two are asked for */
#define UDP_TAILS        256 /* power of two */

/* Datagrams for one address, one UDP_SEGMENT send. */
struct run {
    struct addr to;
    int fd;
    unsigned first_iov, iovs, pkts;
    unsigned next;     /* 1 + index of the next run of the chain, 0: none */
    size_t seg, bytes; /* length of each datagram but the last; of all */
    bool begins;       /* a chain */
    bool closed;       /* the last one was shorter: none may follow */
};

union gro_control {
    struct cmsghdr hdr;
    uint8_t room[CMSG_SPACE(sizeof(int))];
};

union gso_control {
    struct cmsghdr hdr;
    uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
};

struct udp_io {
    struct udp_stats stats;
    bool gso;
    unsigned slots, used; /* receive slots; the first `used` are borrowed from */
    unsigned queued;      /* in run */
    unsigned iovs, copies;
    size_t slot_bytes, stride, heads; /* heads: bytes used of `head` */
    uint8_t *buf;                     /* slots * stride */
    struct udp_msg *msg;              /* slots * UDP_SLOT_PKTS */
    struct mmsghdr *rx_hdr;
    struct iovec *rx_iov;
    struct sockaddr_storage *rx_from;
    union gro_control *rx_control;
    struct run *run;
    struct iovec *iov;             /* slots * UDP_QUEUED_PKTS * UDP_PARTS */
    uint8_t *head;                 /* slots * UDP_QUEUED_PKTS * UDP_HEAD_AVERAGE */
    uint8_t (*copy)[UDP_COPY_MAX]; /* one per slot */
    struct mmsghdr *tx_hdr;        /* of the chain that is being sent; and what they point to: */
    struct sockaddr_storage *tx_to;
    union gso_control *tx_control;
    struct run **tx_run;
    unsigned tail[UDP_TAILS]; /* by descriptor: 1 + index of its last run, 0: none */
};

static size_t iov_cap(const struct udp_io *io)
{
    return (size_t)io->slots * UDP_QUEUED_PKTS * UDP_PARTS;
}

static size_t head_cap(const struct udp_io *io)
{
    return (size_t)io->slots * UDP_QUEUED_PKTS * UDP_HEAD_AVERAGE;
}

/* True when the kernel takes runs (Linux 4.18). */
static bool kernel_has_gso(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), value = 0;
    socklen_t len = sizeof(value);

    if (fd == -1)
        return false;
    bool has = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &len) == 0;
    close(fd);
    return has;
}

static bool allocate(struct udp_io *io, size_t slots)
{
    io->buf = mem_calloc(slots, io->stride);
    io->msg = mem_calloc(slots * UDP_SLOT_PKTS, sizeof(*io->msg));
    io->rx_hdr = mem_calloc(slots, sizeof(*io->rx_hdr));
    io->rx_iov = mem_calloc(slots, sizeof(*io->rx_iov));
    io->rx_from = mem_calloc(slots, sizeof(*io->rx_from));
    io->rx_control = mem_calloc(slots, sizeof(*io->rx_control));
    io->run = mem_calloc(slots, sizeof(*io->run));
    io->iov = mem_calloc(iov_cap(io), sizeof(*io->iov));
    io->head = mem_calloc(head_cap(io), 1);
    io->copy = mem_calloc(slots, sizeof(*io->copy));
    io->tx_hdr = mem_calloc(slots, sizeof(*io->tx_hdr));
    io->tx_to = mem_calloc(slots, sizeof(*io->tx_to));
    io->tx_control = mem_calloc(slots, sizeof(*io->tx_control));
    io->tx_run = mem_calloc(slots, sizeof(*io->tx_run));
    return io->buf && io->msg && io->rx_hdr && io->rx_iov && io->rx_from && io->rx_control &&
           io->run && io->iov && io->head && io->copy && io->tx_hdr && io->tx_to &&
           io->tx_control && io->tx_run;
}

/* Gives a slot back to the kernel: it has shortened name and control. */
static void rearm(struct udp_io *io, unsigned slot)
{
    io->rx_hdr[slot].msg_hdr.msg_namelen = sizeof(io->rx_from[slot]);
    io->rx_hdr[slot].msg_hdr.msg_controllen = sizeof(io->rx_control[slot]);
}

struct udp_io *udp_io_new(unsigned slots, size_t slot_bytes)
{
    struct udp_io *io = mem_zalloc(sizeof(*io));

    if (!io)
        return NULL;
    io->slots = slots;
    io->slot_bytes = slot_bytes;
    io->stride = slot_bytes + UDP_SLOT_SKEW;
    io->gso = kernel_has_gso();
    if (!allocate(io, slots)) {
        udp_io_free(io);
        return NULL;
    }
    for (unsigned i = 0; i < slots; i++) {
        io->rx_iov[i] = (struct iovec){&io->buf[i * io->stride], slot_bytes};
        io->rx_hdr[i].msg_hdr = (struct msghdr){
            .msg_name = &io->rx_from[i],
            .msg_iov = &io->rx_iov[i],
            .msg_iovlen = 1,
            .msg_control = &io->rx_control[i],
        };
        rearm(io, i);
    }
    return io;
}

void udp_io_free(struct udp_io *io)
{
    if (!io)
        return;
    mem_free(io->buf);
    mem_free(io->msg);
    mem_free(io->rx_hdr);
    mem_free(io->rx_iov);
    mem_free(io->rx_from);
    mem_free(io->rx_control);
    mem_free(io->run);
    mem_free(io->iov);
    mem_free(io->head);
    mem_free(io->copy);
    mem_free(io->tx_hdr);
    mem_free(io->tx_to);
    mem_free(io->tx_control);
    mem_free(io->tx_run);
    mem_free(io);
}

bool udp_io_gso(const struct udp_io *io)
{
    return io->gso;
}

struct udp_stats *udp_io_stats(struct udp_io *io)
{
    return &io->stats;
}

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == -1 ? -errno : 0;
}

static int family_of(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == -1 ? -errno : domain;
}

int udp_set_dont_fragment(int fd, bool on)
{
    if (family_of(fd) == AF_INET6)
        return set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
                       on ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
    return set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, on ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
}

int udp_set_gro(int fd)
{
    return set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
}

int udp_open(const struct addr *at, bool reuseport, unsigned buffer_bytes)
{
    struct sockaddr_storage ss;
    unsigned len = addr_to_sockaddr(at, &ss);

    if (len == 0)
        return -EAFNOSUPPORT;
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;

    int err = udp_set_dont_fragment(fd, false);
    if (!err && at->family == ADDR_V6)
        err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (!err && reuseport)
        err = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!err && buffer_bytes > 0) {
        /* The kernel clamps to its limits silently; a smaller buffer is not an error. */
        err = set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)buffer_bytes);
        if (!err)
            err = set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)buffer_bytes);
    }
    if (!err && bind(fd, (const struct sockaddr *)&ss, len) == -1)
        err = -errno;
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

struct addr udp_local(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);

    if (getsockname(fd, (struct sockaddr *)&ss, &len) == -1)
        return (struct addr){0};
    return addr_from_sockaddr((const struct sockaddr *)&ss);
}

int udp_own_addresses(struct addr *out, size_t max)
{
    struct ifaddrs *all;
    size_t n = 0;

    if (getifaddrs(&all) == -1)
        return -errno;
    for (const struct ifaddrs *i = all; i && n < max; i = i->ifa_next) {
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
            continue;
        struct addr a = addr_from_sockaddr(i->ifa_addr);
        if (a.family != ADDR_NONE)
            out[n++] = addr_with_port(a, 0);
    }
    freeifaddrs(all);
    return (int)n;
}

/* The length of each datagram in this read but the last, 0 when there is only one. */
static size_t merged_size(struct msghdr *h)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    int size = 0;

    if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
        memcpy(&size, CMSG_DATA(c), sizeof(size));
    return size > 0 ? (size_t)size : 0;
}

/* Takes one read apart into out (room for UDP_SLOT_PKTS). Returns the number of datagrams. */
static unsigned split(struct udp_io *io, unsigned slot, struct udp_msg *out)
{
    struct msghdr *h = &io->rx_hdr[slot].msg_hdr;
    uint8_t *p = io->rx_iov[slot].iov_base;
    size_t left = io->rx_hdr[slot].msg_len, seg = merged_size(h), at = 0;
    unsigned n = 0;

    /* More merged datagrams than any known kernel makes are cut off like a too long one. */
    if (h->msg_flags & MSG_TRUNC || (seg > 0 && left > seg * UDP_SLOT_PKTS)) {
        counter_inc(&io->stats.truncated);
        return 0;
    }
    struct addr from = addr_from_sockaddr((const struct sockaddr *)&io->rx_from[slot]);
    do {
        size_t len = seg > 0 && left > seg ? seg : left;
        out[n++] = (struct udp_msg){from, &p[at], len};
        at += len;
        left -= len;
    } while (left > 0);
    return n;
}

/* Looking for a second datagram costs a fifth of taking the first: nobody asks for two who does not
 * expect them. */
static int read_some(int fd, struct mmsghdr *h, unsigned budget)
{
    if (budget > 1)
        return recvmmsg(fd, h, budget, MSG_DONTWAIT, NULL);
    ssize_t n = recvmsg(fd, &h->msg_hdr, MSG_DONTWAIT);
    if (n == -1)
        return -1;
    h->msg_len = (unsigned)n;
    return 1;
}

/* As udp_recv(); tells how many reads there were, too. */
static unsigned recv_slots(struct udp_io *io, int fd, unsigned budget, struct udp_msg **out,
                           unsigned *reads)
{
    unsigned kept = 0;

    if (budget > io->slots)
        budget = io->slots;
    if (io->slots - io->used < budget)
        udp_push(io);
    if (io->queued == 0)
        io->used = 0;

    *out = io->msg;
    int n = read_some(fd, &io->rx_hdr[io->used], budget);
    for (int i = 0; i < n; i++) {
        kept += split(io, io->used, &io->msg[kept]);
        rearm(io, io->used++);
    }
    counter_add(&io->stats.recv_pkts, kept);
    *reads = n > 0 ? (unsigned)n : 0;
    return kept;
}

unsigned udp_recv(struct udp_io *io, int fd, unsigned budget, struct udp_msg **out)
{
    unsigned reads;

    return recv_slots(io, fd, budget, out, &reads);
}

unsigned udp_recv_expected(struct udp_io *io, int fd, unsigned *expect, unsigned budget,
                           struct udp_msg **out)
{
    unsigned reads, asked = *expect / UDP_CAUTION;

    if (asked == 0)
        asked = 1;
    if (asked > budget)
        asked = budget;
    unsigned n = recv_slots(io, fd, asked, out, &reads);
    if (reads < asked)
        *expect = UDP_CAUTION * (reads > asked / 2 ? reads : asked / 2);
    else if (asked > 1)
        *expect = UDP_CAUTION * 2 * asked;
    else
        *expect = *expect < UDP_CAUTION ? UDP_CAUTION : *expect + 1;
    return n;
}

/* True when a datagram may become the last one of the run. */
static bool joins(const struct udp_io *io, const struct run *r, int fd, const struct addr *to,
                  size_t len)
{
    return io->gso && r->fd == fd && !r->closed && len > 0 && len <= r->seg &&
           r->pkts < UDP_RUN_PKTS && len <= UDP_RUN_BYTES - r->bytes && addr_eq(&r->to, to);
}

/* A new run, hung on the chain of its descriptor. Two descriptors with the same tail take turns at
 * beginning new chains; each one's order stays, because chains are sent by age. */
static struct run *run_begin(struct udp_io *io, int fd, const struct addr *to, size_t len)
{
    struct run *r = &io->run[io->queued++];
    unsigned *tail = &io->tail[(unsigned)fd % UDP_TAILS];
    struct run *prev = *tail ? &io->run[*tail - 1] : NULL;

    *r = (struct run){
        .to = *to,
        .fd = fd,
        .first_iov = io->iovs,
        .seg = len,
        .closed = len == 0 || len > UDP_RUN_BYTES,
    };
    if (prev && prev->fd == fd)
        prev->next = io->queued;
    else
        r->begins = true;
    *tail = io->queued;
    return r;
}

static void part(struct udp_io *io, struct run *r, const void *p, size_t len)
{
    if (len == 0)
        return;
    io->iov[io->iovs++] = (struct iovec){(void *)(uintptr_t)p, len};
    r->iovs++;
}

/* Makes the datagram's place: the last run, if it fits, or a new one. */
static struct run *place(struct udp_io *io, int fd, const struct addr *to, size_t len)
{
    struct run *r = io->queued > 0 ? &io->run[io->queued - 1] : NULL;

    if (!r || !joins(io, r, fd, to, len))
        r = run_begin(io, fd, to, len);
    r->pkts++;
    r->bytes += len;
    if (len < r->seg)
        r->closed = true;
    return r;
}

static void make_room(struct udp_io *io)
{
    if (io->queued == io->slots || io->copies == io->slots || iov_cap(io) - io->iovs < UDP_PARTS ||
        head_cap(io) - io->heads < UDP_HEAD_MAX)
        udp_push(io);
}

void udp_send(struct udp_io *io, int fd, const struct addr *to, struct slice head,
              struct slice body, unsigned pad)
{
    static const uint8_t zeros[4];

    make_room(io);
    struct wr w = wr_init(&io->head[io->heads], UDP_HEAD_MAX);
    wr_bytes(&w, slice_sub(head, 0, UDP_HEAD_MAX));
    io->heads += w.len;
    struct run *r = place(io, fd, to, w.len + body.len + (pad & 3));
    part(io, r, w.base, w.len);
    part(io, r, body.p, body.len);
    part(io, r, zeros, pad & 3);
}

void udp_send_copy(struct udp_io *io, int fd, const struct addr *to, struct slice bytes)
{
    make_room(io);
    uint8_t *room = io->copy[io->copies++];
    struct wr w = wr_init(room, UDP_COPY_MAX);

    wr_bytes(&w, slice_sub(bytes, 0, UDP_COPY_MAX));
    part(io, place(io, fd, to, w.len), room, w.len);
}

/* Sends a run that the kernel does not take as one, datagram by datagram. */
static void send_singly(struct udp_io *io, const struct run *r, struct msghdr *h)
{
    unsigned end = r->first_iov + r->iovs;

    h->msg_control = NULL;
    h->msg_controllen = 0;
    for (unsigned i = r->first_iov; i < end;) {
        size_t len = 0;
        h->msg_iov = &io->iov[i];
        h->msg_iovlen = 0;
        while (i < end && len < r->seg) {
            len += io->iov[i++].iov_len;
            h->msg_iovlen++;
        }
        if (sendmsg(r->fd, h, MSG_DONTWAIT) != -1)
            counter_inc(&io->stats.sent_pkts);
        else if (errno == EAGAIN || errno == ENOBUFS)
            counter_inc(&io->stats.full);
        else
            counter_inc(&io->stats.failed);
    }
}

/* The kernel's message for one run. */
static void describe(struct udp_io *io, struct run *r, unsigned n)
{
    struct msghdr *h = &io->tx_hdr[n].msg_hdr;
    uint16_t seg = (uint16_t)r->seg;

    *h = (struct msghdr){
        .msg_name = &io->tx_to[n],
        .msg_namelen = addr_to_sockaddr(&r->to, &io->tx_to[n]),
        .msg_iov = &io->iov[r->first_iov],
        .msg_iovlen = r->iovs,
    };
    io->tx_run[n] = r;
    if (r->pkts == 1)
        return;
    union gso_control *c = &io->tx_control[n];
    c->hdr = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(seg)),
        .cmsg_level = IPPROTO_UDP,
        .cmsg_type = UDP_SEGMENT,
    };
    memcpy(CMSG_DATA(&c->hdr), &seg, sizeof(seg));
    h->msg_control = c;
    h->msg_controllen = sizeof(*c);
}

/* Describes the runs of the chain that begins with `first`. Returns how many. */
static unsigned gather(struct udp_io *io, struct run *first)
{
    struct run *r = first;

    for (unsigned n = 0;; r = &io->run[r->next - 1]) {
        describe(io, r, n++);
        if (r->next == 0)
            return n;
    }
}

/* What to do about a run that was refused: one datagram too long for its route's MTU (a run is
 * never fragmented) or a device that can't do it; in the latter case none is tried again. */
static void refused(struct udp_io *io, unsigned at, int err)
{
    const struct run *r = io->tx_run[at];

    if (err == EAGAIN || err == ENOBUFS) {
        counter_add(&io->stats.full, r->pkts);
    } else if (r->pkts > 1 && (err == EINVAL || err == EMSGSIZE || err == EIO)) {
        io->gso = io->gso && err != EIO;
        send_singly(io, r, &io->tx_hdr[at].msg_hdr);
    } else {
        counter_add(&io->stats.failed, r->pkts);
    }
}

/* True for an error that may be an ICMP message about an earlier datagram (net/icmp_queue.h): it is
 * told once, and the datagram at hand has not been sent. */
static bool may_be_of_an_earlier_one(int err)
{
    return err != EAGAIN && err != ENOBUFS && err != EMSGSIZE && err != EINVAL && err != EIO;
}

static void send_chain(struct udp_io *io, int fd, unsigned n)
{
    unsigned done = 0, again = UINT_MAX; /* the one that is tried a second time */

    while (done < n) {
        int sent = sendmmsg(fd, &io->tx_hdr[done], n - done, MSG_DONTWAIT);
        for (int i = 0; i < sent; i++)
            counter_add(&io->stats.sent_pkts, io->tx_run[done++]->pkts);
        if (sent > 0 || (sent == -1 && errno == EINTR))
            continue;
        if (again != done && may_be_of_an_earlier_one(errno)) {
            again = done;
            continue;
        }
        refused(io, done++, errno); /* the first of the rest: drop that one, try the others */
    }
}

void udp_push(struct udp_io *io)
{
    for (unsigned i = 0; i < io->queued; i++) {
        struct run *r = &io->run[i];
        io->tail[(unsigned)r->fd % UDP_TAILS] = 0;
        if (r->begins)
            send_chain(io, r->fd, gather(io, r));
    }
    io->queued = io->iovs = io->copies = 0;
    io->heads = 0;
}

/* Relayed load on a TURN server: N flows, each with its own client socket, its own peer socket, its
 * own allocation and channel; half of the packets go up, half down.
 *
 *     turn_load SERVER_IP:PORT USER PASSWORD PID FLOWS PACKETS_PER_S SECONDS BYTES BURST
 *               udp|tcp|tls|direct
 *
 * BURST 1 is audio: one packet of each flow per turn, so many turns a second that the packets come
 * to the pace. BURST n is video: one flow after the other, at an even pace, sends n packets as one
 * UDP_SEGMENT send, so that they arrive coalesced as from a network card; what comes back is taken
 * coalesced too (UDP_GRO), as a network card that splits and merges would have it.
 *
 * Clients over TCP and TLS write one message a time, as a browser does; they have BURST 1.
 *
 * "direct" makes the same sockets and allocations, but clients and peers send to each other without
 * the server: what the packets cost without a relay.
 *
 * Prints one line: sent, received and lost packets, CPU nanoseconds of the server process (all its
 * threads, /proc/PID/task/.../schedstat) of this generator and of the whole machine (/proc/stat:
 * ticks), and the time, of the paced phase. Counts are the sockets' own, not the server's. Peers
 * are on 127.0.0.2, so the server must allow loopback. SPDX-License-Identifier: BSD-3-Clause */
#include "turn_client.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <time.h>

#define NAP_US      500 /* longest sleep between two looks at the sockets */
#define NAP_MIN_US  200
#define LATE_US     20000 /* behind the pace by more: the generator is the bottleneck */
#define PAYLOAD_MAX 1400
#define BURST_MAX   45 /* 64 kB of the longest payloads */

/* Where packets arrive. */
struct end {
    int fd;
    bool stream;
    SSL *tls;
    size_t packet_bytes, stream_bytes;
};

struct load {
    struct server server;
    unsigned flows, pps, seconds, burst;
    size_t bytes;
    struct flow *flow;
    struct end *end; /* two a flow */
    bool direct;
    struct sockaddr_storage *far; /* with direct, two a flow: the peer, the client */
    socklen_t far_len;
    int epoll;
    uint16_t *seq; /* two a flow: up, down */
    uint32_t ts;   /* of what is sent now, at 48 kHz */
    uint64_t sent, received, late;
};

static void watch(struct load *l, struct end *e)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = e};
    int fd = e->fd, on = 1;

    if (l->burst > 1 && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == -1)
        die("no UDP_GRO here");
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) == -1)
        die("cannot watch a socket");
}

/* As RTP: one stream each way of each flow. */
static void put_media(struct wr *w, struct load *l, unsigned i, bool up)
{
    uint16_t *seq = &l->seq[2 * i + !up];
    size_t header = 12, bytes = l->bytes < header ? l->bytes : header;
    uint8_t buf[12];
    struct wr rtp = wr_init(buf, sizeof(buf));

    wr_be16(&rtp, 0x806f);
    wr_be16(&rtp, ++*seq);
    wr_be32(&rtp, l->ts);
    wr_be32(&rtp, 2 * i + !up + 1);
    wr_bytes(w, slice_of(buf, bytes));
    w->len += l->bytes - bytes;
}

/* Sends l->burst packets of `bytes` each, one after the other in memory, in one go. */
static void send_burst(struct load *l, int fd, const uint8_t *packet, size_t bytes,
                       struct sockaddr_storage *to, socklen_t to_len)
{
    static uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
    static struct iovec iov[BURST_MAX];
    struct msghdr h = {to, to_len, iov, l->burst, NULL, 0, 0};

    for (unsigned i = 0; i < l->burst; i++)
        iov[i] = (struct iovec){(void *)(uintptr_t)&packet[i * bytes], bytes};
    if (l->burst > 1) {
        uint16_t size = (uint16_t)bytes;
        h.msg_control = control;
        h.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){CMSG_LEN(sizeof(size)), IPPROTO_UDP, UDP_SEGMENT};
        memcpy(CMSG_DATA(c), &size, sizeof(size));
    }
    if (sendmsg(fd, &h, MSG_DONTWAIT) > 0)
        l->sent += l->burst;
}

static void send_flow(struct load *l, unsigned i, bool up)
{
    static uint8_t buf[BURST_MAX * (CHANDATA_HEADER_BYTES + PAYLOAD_MAX)];
    struct flow *f = &l->flow[i];
    struct wr w = wr_init(buf, sizeof(buf));

    for (unsigned k = 0; k < l->burst; k++) {
        if (!l->direct && up)
            chandata_put_header(&w, CHANNEL, l->bytes);
        put_media(&w, l, i, up);
    }
    if (l->direct) {
        send_burst(l, up ? f->client : f->peer, buf, l->bytes, &l->far[2 * i + !up], l->far_len);
    } else if (up) {
        if (l->server.transport != OVER_UDP) {
            send_to_server(&l->server, f, &w);
            l->sent++;
            return;
        }
        send_burst(l, f->client, buf, l->bytes + CHANDATA_HEADER_BYTES, &l->server.ss,
                   l->server.ss_len);
    } else {
        send_burst(l, f->peer, buf, l->bytes, &f->relayed_ss, f->relayed_len);
    }
}

/* Reads all there is at one end. */
static void read_all(struct load *l, struct end *e)
{
    static uint8_t buf[65536];
    ssize_t len;

    while ((len = e->tls ? SSL_read(e->tls, buf, sizeof(buf))
                         : recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        size_t bytes = (size_t)len;
        if (!e->stream) {
            l->received += (bytes + e->packet_bytes - 1) / e->packet_bytes;
            continue;
        }
        e->stream_bytes += bytes;
        l->received += e->stream_bytes / e->packet_bytes;
        e->stream_bytes %= e->packet_bytes;
    }
}

/* Takes what has arrived; waits at most ms for it. False when nothing had. */
static bool drain(struct load *l, int ms)
{
    struct epoll_event ev[256];
    int n = epoll_wait(l->epoll, ev, ARRAY_LEN(ev), ms);

    for (int i = 0; i < n; i++)
        read_all(l, ev[i].data.ptr);
    return n > 0;
}

static uint64_t own_cpu_ns(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
}

/* Of all cores together: everything but idling and waiting for discs. */
static uint64_t machine_cpu_ns(void)
{
    enum { IDLE = 3, IOWAIT, STEAL = 7, FIELDS };
    unsigned long long v, ticks = 0;
    FILE *f = fopen("/proc/stat", "re");

    if (!f || fscanf(f, "cpu") == EOF)
        die("no /proc/stat");
    for (int i = 0; i < FIELDS && fscanf(f, "%llu", &v) == 1; i++)
        ticks += i == IDLE || i == IOWAIT || i == STEAL ? 0 : v;
    fclose(f);
    return ticks * 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* Sleeps by the clock, not on the sockets: on loopback whoever sends is billed for waking up who
 * waits, which is work of no server whose clients are behind a network. */
static void nap(uint64_t us)
{
    const struct timespec t = {.tv_nsec = (long)(us < NAP_US ? us : NAP_US) * 1000};

    if (us >= NAP_MIN_US)
        nanosleep(&t, NULL);
}

/* Waits until due; takes what arrives meanwhile. */
static void keep_pace(struct load *l, uint64_t due)
{
    uint64_t now;

    drain(l, 0);
    while ((now = clock_now_us()) < due) {
        nap(due - now);
        drain(l, 0);
    }
    l->late += now > due + LATE_US;
}

/* Every other packet or burst of a flow goes up. Gives the time for which packets were sent. */
static uint64_t run(struct load *l)
{
    uint64_t start = clock_now_us(), bursts = (uint64_t)l->pps * l->seconds / l->burst;
    unsigned step = l->burst == 1 ? l->flows : 1; /* bursts between two looks at the clock */

    for (uint64_t k = 0; k < bursts; k += step) {
        keep_pace(l, start + k * l->burst * US_PER_S / l->pps);
        l->ts = (uint32_t)(clock_now_us() * 48 / 1000);
        for (uint64_t j = k; j < k + step; j++)
            send_flow(l, (unsigned)(j % l->flows), (j / l->flows + j % l->flows) % 2);
    }
    uint64_t took = clock_now_us() - start;
    while (drain(l, 300))
        ;
    return took;
}

static void parse(struct load *l, int argc, char **argv)
{
    if (argc != 11)
        die("want SERVER_IP:PORT USER PASSWORD PID FLOWS PACKETS_PER_S SECONDS BYTES BURST "
            "udp|tcp|tls|direct");
    server_init(&l->server, argv[1], argv[2], argv[3], argv[4]);
    l->flows = (unsigned)strtoul(argv[5], NULL, 10);
    l->pps = (unsigned)strtoul(argv[6], NULL, 10);
    l->seconds = (unsigned)strtoul(argv[7], NULL, 10);
    l->bytes = strtoul(argv[8], NULL, 10);
    l->burst = (unsigned)strtoul(argv[9], NULL, 10);
    l->server.transport = strcmp(argv[10], "tls") == 0   ? OVER_TLS
                          : strcmp(argv[10], "tcp") == 0 ? OVER_TCP
                                                         : OVER_UDP;
    l->direct = strcmp(argv[10], "direct") == 0;
    bool stream = l->server.transport != OVER_UDP;
    if (stream && (l->burst != 1 || chandata_pad(l->bytes) != 0))
        die("streams carry one packet of a multiple of 4 bytes a time");
    if (l->flows == 0 || l->pps == 0 || l->bytes == 0 || l->bytes > PAYLOAD_MAX || l->burst == 0 ||
        l->burst > BURST_MAX)
        die("a number is out of range");
}

int main(int argc, char **argv)
{
    static struct load l;

    parse(&l, argc, argv);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.flow = mem_calloc(l.flows, sizeof(*l.flow));
    l.end = mem_calloc(2 * (size_t)l.flows, sizeof(*l.end));
    l.far = mem_calloc(2 * (size_t)l.flows, sizeof(*l.far));
    l.seq = mem_calloc(2 * (size_t)l.flows, sizeof(*l.seq));
    if (l.epoll == -1 || !l.flow || !l.end || !l.far || !l.seq)
        die("out of memory");
    for (unsigned i = 0; i < l.flows; i++) {
        struct flow *f = &l.flow[i];
        open_flow(&l.server, f);
        l.end[2 * i] =
            (struct end){.fd = f->client,
                         .stream = l.server.transport != OVER_UDP,
                         .tls = f->tls,
                         .packet_bytes = l.bytes + (l.direct ? 0 : CHANDATA_HEADER_BYTES)};
        struct addr peer = udp_local(f->peer), client = udp_local(f->client);
        l.far_len = addr_to_sockaddr(&peer, &l.far[2 * i]);
        addr_to_sockaddr(&client, &l.far[2 * i + 1]);
        l.end[2 * i + 1] = (struct end){.fd = f->peer, .packet_bytes = l.bytes};
        watch(&l, &l.end[2 * i]);
        watch(&l, &l.end[2 * i + 1]);
    }
    uint64_t server = server_cpu_ns(&l.server), own = own_cpu_ns();
    uint64_t machine = machine_cpu_ns();
    uint64_t took = run(&l);
    server = server_cpu_ns(&l.server) - server;
    own = own_cpu_ns() - own;
    machine = machine_cpu_ns() - machine;
    printf("sent=%" PRIu64 " received=%" PRIu64 " lost=%" PRIu64 " server_ns=%" PRIu64
           " own_ns=%" PRIu64 " machine_ns=%" PRIu64 " late=%" PRIu64 " took_us=%" PRIu64 "\n",
           l.sent, l.received, l.sent - l.received, server, own, machine, l.late, took);
    return 0;
}

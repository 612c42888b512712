/* How the load generator sends many clients' packets cheaply: whole Ethernet frames through one
 * packet socket, a batch a system call. On machines where a system call is dear, a send for each
 * packet costs the generator twice what forwarding it costs the server, and then it is the
 * generator that a bench measures. Receiving stays with the clients' own sockets. IPv4, Linux
 * (packet(7)). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_SFU_WIRE_H
#define SORI_BENCH_SFU_WIRE_H

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "sfu_peer.h"

#define WIRE_BATCH   64
#define WIRE_HEADERS (14 + 20 + 8)
#define WIRE_BUFFER  (16 << 20)

struct wire {
    int fd;
    bool on;
    unsigned n;
    uint8_t mac[12]; /* to, from */
    uint8_t frame[WIRE_BATCH][WIRE_HEADERS + PEER_BYTES];
    struct iovec iov[WIRE_BATCH];
    struct mmsghdr msg[WIRE_BATCH];
};

/* device: the veth's end; to: the hardware address of the other end, as hex with colons. */
static inline void wire_open(struct wire *w, const char *device, const char *to)
{
    struct ifreq r = {0};
    struct sockaddr_ll at = {.sll_family = AF_PACKET};
    char *rest;

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", device);
    w->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* 0: it receives nothing */
    if (w->fd == -1 || ioctl(w->fd, SIOCGIFHWADDR, &r) == -1)
        die("wire");
    for (unsigned i = 0; i < 6; i++, to = *rest == ':' ? rest + 1 : rest)
        w->mac[i] = (uint8_t)strtoul(to, &rest, 16);
    memcpy(w->mac + 6, r.ifr_hwaddr.sa_data, 6);
    at.sll_ifindex = (int)if_nametoindex(device);
    if (bind(w->fd, (struct sockaddr *)&at, sizeof(at)) == -1)
        die("wire: bind");
    setsockopt(w->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){1}, sizeof(int));
    setsockopt(w->fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){WIRE_BUFFER}, sizeof(int));
    for (unsigned i = 0; i < WIRE_BATCH; i++) {
        w->iov[i].iov_base = w->frame[i];
        w->msg[i].msg_hdr = (struct msghdr){.msg_iov = &w->iov[i], .msg_iovlen = 1};
    }
    w->on = true;
}

/* Gives how many were not sent. */
static inline unsigned wire_flush(struct wire *w)
{
    unsigned sent = 0;

    while (sent < w->n) {
        int n = sendmmsg(w->fd, w->msg + sent, w->n - sent, 0);
        if (n <= 0)
            break;
        sent += (unsigned)n;
    }
    unsigned lost = w->n - sent;
    w->n = 0;
    return lost;
}

static inline uint16_t wire_sum(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Where the next packet of this client is to be written. */
static inline uint8_t *wire_reserve(struct wire *w)
{
    return w->frame[w->n] + WIRE_HEADERS;
}

/* Queues what was written there. near: the client's address. Gives how many were lost. */
static inline unsigned wire_commit(struct wire *w, const struct sockaddr_in *near,
                                   const struct sockaddr_in *far, size_t len)
{
    uint8_t *f = w->frame[w->n], *ip = f + 14, *udp = ip + 20;

    memcpy(f, w->mac, 12);
    f[12] = 0x08;
    f[13] = 0x00;
    memset(ip, 0, 28); /* the checksum of UDP: none (RFC 768) */
    ip[0] = 0x45;
    ip[2] = (uint8_t)((len + 28) >> 8);
    ip[3] = (uint8_t)(len + 28);
    ip[6] = 0x40; /* don't fragment */
    ip[8] = 64;
    ip[9] = IPPROTO_UDP;
    memcpy(ip + 12, &near->sin_addr, 4);
    memcpy(ip + 16, &far->sin_addr, 4);
    uint16_t sum = wire_sum(ip, 20);
    ip[10] = (uint8_t)(sum >> 8);
    ip[11] = (uint8_t)sum;
    memcpy(udp, &near->sin_port, 2);
    memcpy(udp + 2, &far->sin_port, 2);
    udp[4] = (uint8_t)((len + 8) >> 8);
    udp[5] = (uint8_t)(len + 8);
    w->iov[w->n++].iov_len = WIRE_HEADERS + len;
    return w->n == WIRE_BATCH ? wire_flush(w) : 0;
}

#endif

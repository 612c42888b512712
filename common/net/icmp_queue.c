/* ICMP errors about datagrams that a UDP socket sent (IP_RECVERR, IPV6_RECVERR).
 *
 * Called by turn/relay_sock.c. A shell: what an error means to a client is turn/relay.c's business.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/icmp_queue.h"

#include <errno.h>
#include <time.h> /* timespec, which the next one needs */
#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

int icmp_queue_open(int fd)
{
    int domain = 0, on = 1;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == -1)
        return -errno;
    bool v6 = domain == AF_INET6;
    return setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on,
                      sizeof(on)) == -1
               ? -errno
               : 0;
}

/* Translates the kernel's report. False when it is none that ICMP knows. */
static bool translate(struct icmp_error *out, const struct sock_extended_err *e)
{
    bool v6 = out->peer.family == ADDR_V6;

    out->info = e->ee_info;
    if (e->ee_origin == SO_EE_ORIGIN_LOCAL && e->ee_errno == EMSGSIZE) {
        out->type = v6 ? ICMP6_PACKET_TOO_BIG : ICMP_DEST_UNREACH;
        out->code = v6 ? 0 : ICMP_FRAG_NEEDED;
        return true;
    }
    out->type = e->ee_type;
    out->code = e->ee_code;
    return e->ee_origin == (v6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP);
}

static bool is_report(const struct cmsghdr *c)
{
    return (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
           (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
}

static bool decode(struct icmp_error *out, struct msghdr *m, const struct sockaddr_storage *peer)
{
    struct sock_extended_err e;

    out->peer = addr_from_sockaddr((const struct sockaddr *)peer);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (!is_report(c) || c->cmsg_len < CMSG_LEN(sizeof(e)))
            continue;
        memcpy(&e, CMSG_DATA(c), sizeof(e));
        return translate(out, &e);
    }
    return false;
}

bool icmp_queue_next(int fd, struct icmp_error *out)
{
    for (;;) {
        struct sockaddr_storage peer = {0};
        _Alignas(struct cmsghdr) uint8_t control[256];
        struct msghdr m = {
            .msg_name = &peer,
            .msg_namelen = sizeof(peer),
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        if (recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) == -1)
            return false;
        if (decode(out, &m, &peer))
            return true;
    }
}

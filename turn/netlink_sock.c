/* Questions to the kernel about routes and filters, over netlink.
 *
 * Called by offload_sock.c. A shell. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/netlink_sock.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define NETLINK_MAX  8192
#define NETLINK_WAIT 1 /* s; the kernel answers at once */

int netlink_sock_open(bool news)
{
    const uint32_t groups = news ? RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_IFADDR : 0;
    const int flags = news ? SOCK_NONBLOCK : 0;
    const struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = groups};
    const struct timeval wait = {.tv_sec = NETLINK_WAIT};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);

    if (fd == -1)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == -1) {
        int e = -errno;
        close(fd);
        return e;
    }
    return fd;
}

struct netlink_buf {
    _Alignas(struct nlmsghdr) uint8_t bytes[NETLINK_MAX];
};

bool netlink_sock_has_filters(int fd, int ifindex, uint32_t parent)
{
    struct {
        struct nlmsghdr head;
        struct tcmsg tc;
    } ask = {
        .head = {.nlmsg_len = sizeof(ask),
                 .nlmsg_type = RTM_GETTFILTER,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .tc = {.tcm_ifindex = ifindex, .tcm_parent = parent},
    };
    struct netlink_buf buf;

    if (send(fd, &ask, sizeof(ask), 0) == -1)
        return true;
    for (bool some = false;;) {
        ssize_t got = recv(fd, &buf, sizeof(buf), 0);
        const struct nlmsghdr *m = (const struct nlmsghdr *)(const void *)&buf;
        if (got <= 0)
            return true;
        for (; NLMSG_OK(m, (size_t)got); m = NLMSG_NEXT(m, got)) {
            if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
                return some;
            some = some || m->nlmsg_type == RTM_NEWTFILTER;
        }
    }
}

uint32_t netlink_sock_device(int fd, uint32_t from, uint32_t to)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr dst_head;
        uint32_t dst;
        struct rtattr src_head;
        uint32_t src;
    } ask = {
        .head = {.nlmsg_len = sizeof(ask),
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST},
        .route = {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_src_len = 32},
        .dst_head = {RTA_LENGTH(sizeof(to)), RTA_DST},
        .dst = to,
        .src_head = {RTA_LENGTH(sizeof(from)), RTA_SRC},
        .src = from,
    };
    struct netlink_buf buf;
    const struct nlmsghdr *m = (const struct nlmsghdr *)(const void *)&buf;
    uint32_t ifindex = 0;

    if (send(fd, &ask, sizeof(ask), 0) == -1)
        return 0;
    ssize_t got = recv(fd, &buf, sizeof(buf), 0);
    if (got <= 0 || !NLMSG_OK(m, (size_t)got) || m->nlmsg_type != RTM_NEWROUTE)
        return 0;
    const struct rtmsg *route = NLMSG_DATA(m);
    if (route->rtm_type != RTN_UNICAST && route->rtm_type != RTN_LOCAL)
        return 0;
    unsigned left = (unsigned)RTM_PAYLOAD(m);
    for (const struct rtattr *a = RTM_RTA(route); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_OIF)
            memcpy(&ifindex, RTA_DATA(a), sizeof(ifindex));
    }
    return ifindex;
}

bool netlink_sock_news(int fd)
{
    struct netlink_buf buf;
    bool some = false;
    ssize_t got;

    while ((got = recv(fd, &buf, sizeof(buf), 0)) > 0 || (got == -1 && errno == ENOBUFS))
        some = true;
    return some;
}

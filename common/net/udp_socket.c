/* UDP sockets: opening them, and what the kernel can be asked about them.
 *
 * Called by the UDP shells of each daemon. SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/inherited_sock.h"

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

int udp_set_marks(int fd)
{
    bool v6 = family_of(fd) == AF_INET6;
    int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int err = set_int(fd, level, v6 ? IPV6_RECVTCLASS : IP_RECVTOS, 1);

    return err ? err : set_int(fd, level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1);
}

uint32_t udp_overflows(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);

    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}

int udp_set_gro(int fd)
{
    return set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
}

/* What may be set before and after bind(). */
static int set_options(int fd, unsigned buffer_bytes)
{
    int err = udp_set_dont_fragment(fd, false);

    if (!err && buffer_bytes > 0) {
        /* The kernel clamps to its limits silently; a smaller buffer is not an error. */
        err = set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)buffer_bytes);
        if (!err)
            err = set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)buffer_bytes);
    }
    return err;
}

int udp_listen(const struct addr *at, unsigned buffer_bytes)
{
    int fd = inherited_take(at, SOCK_DGRAM);

    if (fd < 0)
        return udp_open(at, true, buffer_bytes);
    int err = set_options(fd, buffer_bytes);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
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

    int err = set_options(fd, buffer_bytes);
    if (!err && at->family == ADDR_V6)
        err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (!err && reuseport)
        err = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
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

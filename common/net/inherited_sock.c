/* Sockets that whoever started the process has opened for it.
 *
 * Called by the daemons' main.c at the start, and by stream_listener.c and udp_socket.c when they
 * open a listener. The descriptors are the process's, not a worker's: hence a table of the process,
 * written by the main thread before there is another one. SPDX-License-Identifier: BSD-3-Clause */
#include "net/inherited_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define FIRST_FD 3 /* sd_listen_fds(3): SD_LISTEN_FDS_START */

static struct {
    struct addr at[INHERITED_MAX];
    int fd[INHERITED_MAX], type[INHERITED_MAX];
    bool taken[INHERITED_MAX], given[INHERITED_MAX]; /* given: away for good */
    size_t n;
} held;

/* The number in an environment variable. Returns 0, -ENOENT without it, or -EINVAL. */
static int env_number(const char *name, uint64_t *out)
{
    const char *text = getenv(name);

    if (!text)
        return -ENOENT;
    return slice_to_u64(slice_str(text), INT32_MAX, out) == 0 ? 0 : -EINVAL;
}

static int hold(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss), type_len = sizeof(int);
    int type, flags = fcntl(fd, F_GETFL);

    if (flags == -1 || getsockname(fd, (struct sockaddr *)&ss, &len) == -1 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == -1 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
        return -EINVAL;
    held.at[held.n] = addr_from_sockaddr((const struct sockaddr *)&ss);
    held.fd[held.n] = fd;
    held.type[held.n] = type;
    held.n++;
    return 0;
}

int inherited_init(void)
{
    uint64_t pid, n;
    int err = env_number("LISTEN_PID", &pid);

    held.n = 0;
    if (err == -ENOENT || (err == 0 && pid != (uint64_t)getpid()))
        return 0;
    if (err != 0 || env_number("LISTEN_FDS", &n) != 0)
        return -EINVAL;
    if (n > INHERITED_MAX)
        return -E2BIG;
    for (int i = 0; i < (int)n; i++) {
        if (hold(FIRST_FD + i) != 0)
            return -EINVAL;
        held.taken[i] = held.given[i] = false;
    }
    return (int)n;
}

int inherited_take(const struct addr *at, int type)
{
    for (size_t i = 0; i < held.n; i++) {
        if (held.given[i] || held.type[i] != type || !addr_eq(&held.at[i], at))
            continue;
        int fd = fcntl(held.fd[i], F_DUPFD_CLOEXEC, 0);
        if (fd == -1)
            return -errno;
        held.taken[i] = true;
        if (type == SOCK_DGRAM) {
            close(held.fd[i]);
            held.given[i] = true;
        }
        return fd;
    }
    return -ENOENT;
}

void inherited_report(void)
{
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < held.n; i++) {
        const char *kind = held.type[i] == SOCK_DGRAM ? "udp" : "tcp";
        addr_format(&held.at[i], text);
        if (held.taken[i])
            log_info("inherited", "a socket at %s %s was open already", kind, text);
        else
            log_warn("inherited",
                     "a socket at %s %s was handed over, but no option names that address: "
                     "nobody is served there",
                     kind, text);
    }
}

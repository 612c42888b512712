/* Unix sockets of mode 0600 that an operator's tool speaks to.
 *
 * Called by the daemons' control listeners, and by line_ask.c for the tools.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/unix_sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"

static int address(struct sockaddr_un *at, const char *path)
{
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    return slice_to_cstr(slice_str(path), at->sun_path, sizeof(at->sun_path)) == 0 ? 0
                                                                                   : -ENAMETOOLONG;
}

/* True when path is a socket that nobody listens on: left over by a process that was killed. */
static bool is_stale(const struct sockaddr_un *at)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = fd != -1 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) == -1 &&
                   errno == ECONNREFUSED;

    if (fd != -1)
        close(fd);
    return refused && lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* fchmod() before bind() makes the file with that mode: at no time can others open it. */
int unix_listen(const char *path, int backlog)
{
    struct sockaddr_un at;
    int err = address(&at, path);

    if (err)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (is_stale(&at))
        unlink(at.sun_path);
    if (fchmod(fd, 0600) == 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0) {
        if (listen(fd, backlog) == 0)
            return fd;
        err = -errno;
        unlink(at.sun_path);
    } else {
        err = -errno;
    }
    close(fd);
    return err;
}

int unix_connect(const char *path, unsigned timeout_s)
{
    const struct timeval limit = {.tv_sec = (time_t)timeout_s};
    struct sockaddr_un at;
    int err = address(&at, path);

    if (err)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

/* What a service manager is told: sd_notify(3) without its library.
 *
 * Called by the daemons' main.c. SPDX-License-Identifier: BSD-3-Clause */
#include "net/notify_sock.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"

#define MESSAGE_MAX 128

/* WATCHDOG_USEC is for us when WATCHDOG_PID is not there or is ours. */
static int read_watchdog(struct notify *n)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, who;

    n->_beat_every = n->_beat_at = CLOCK_NEVER;
    if (!usec)
        return 0;
    if (slice_to_u64(slice_str(usec), INT64_MAX, &us) != 0 || us < 2 ||
        (pid && slice_to_u64(slice_str(pid), INT32_MAX, &who) != 0))
        return -EINVAL;
    if (pid && who != (uint64_t)getpid())
        return 0;
    n->_beat_every = us / 2;
    n->_beat_at = 0;
    return 0;
}

int notify_init(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");

    *n = (struct notify){._fd = -1, ._beat_every = CLOCK_NEVER, ._beat_at = CLOCK_NEVER};
    if (!path)
        return 0;
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(n->_at.sun_path) ||
        read_watchdog(n) != 0)
        return -EINVAL;
    n->_at.sun_family = AF_UNIX;
    memcpy(n->_at.sun_path, path, len);
    if (path[0] == '@')
        n->_at.sun_path[0] = '\0'; /* the abstract name space (unix(7)) */
    n->_len = (unsigned)(offsetof(struct sockaddr_un, sun_path) + len);
    n->_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return n->_fd == -1 ? -errno : 0;
}

void notify_fini(struct notify *n)
{
    if (n->_fd != -1)
        close(n->_fd);
    n->_fd = -1;
}

static void say(const struct notify *n, const char *text)
{
    /* The manager may be gone or its queue full: then it learns it by our end. */
    if (n->_fd != -1 && sendto(n->_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                               (const struct sockaddr *)&n->_at, n->_len) == -1)
        return;
}

void notify_ready(const struct notify *n)
{
    say(n, "READY=1");
}

void notify_reloading(const struct notify *n, uint64_t now_us)
{
    char text[MESSAGE_MAX];

    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us);
    say(n, text);
}

void notify_stopping(const struct notify *n, uint64_t grace_us)
{
    char text[MESSAGE_MAX];

    snprintf(text, sizeof(text), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, grace_us);
    say(n, text);
}

void notify_beat(struct notify *n, struct pulse *p, uint64_t now_us)
{
    if (n->_beat_every == CLOCK_NEVER || now_us < n->_beat_at)
        return;
    n->_beat_at = now_us + n->_beat_every;
    if (!p || pulse_beat(p))
        say(n, "WATCHDOG=1");
}

/* What a service manager (systemd, Type=notify) is told: that we are ready, alive, stopping.
 *
 * The protocol of sd_notify(3): datagrams of KEY=value lines to the Unix socket that NOTIFY_SOCKET
 * names. Without that variable nothing is sent. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_NOTIFY_SOCK_H
#define SORI_NET_NOTIFY_SOCK_H

#include "net/pulse.h"

#include <sys/un.h>

struct notify {
    struct sockaddr_un _at;
    unsigned _len;
    int _fd;              /* -1: nobody listens */
    uint64_t _beat_every; /* us; CLOCK_NEVER: no watchdog */
    uint64_t _beat_at;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Returns 0, or -EINVAL for values that are
 * none: the service manager would wait in vain. Before any thread. */
int notify_init(struct notify *n);
/* Closes the socket. Twice is allowed. */
void notify_fini(struct notify *n);

/* Sends; a failure is nobody's trouble but the manager's. Any thread after notify_init(). */
void notify_ready(const struct notify *n);
/* A reload begins; notify_ready() ends it. */
void notify_reloading(const struct notify *n, uint64_t now_us);
/* The end begins, and takes at most grace_us: the manager waits that long before it kills. */
void notify_stopping(const struct notify *n, uint64_t grace_us);

/* When the watchdog wants the next beat (twice as often as it demands), CLOCK_NEVER without one. */
static inline uint64_t notify_deadline(const struct notify *n)
{
    return n->_beat_at;
}
/* Tells the watchdog, if that is due at now_us, that this process is alive: the workers of p have
 * answered (NULL: the caller is all there is). While one does not, nothing is told, and the manager
 * ends the process when its time is over. One thread, that of p. */
void notify_beat(struct notify *n, struct pulse *p, uint64_t now_us);

#endif

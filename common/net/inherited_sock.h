/* Sockets that whoever started the process has opened for it (LISTEN_FDS, as systemd's socket units
 * do): they stay open while the process is exchanged, so that nobody is refused meanwhile.
 *
 * Which option names them is told by the address alone: a listener that is to listen at the very
 * address of such a socket takes it instead of opening its own. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_NET_INHERITED_SOCK_H
#define SORI_NET_INHERITED_SOCK_H

#include "base/addr.h"

#define INHERITED_MAX 64 /* sockets that a process may be given */

/* Reads LISTEN_PID and LISTEN_FDS and takes those sockets, which no child gets from then on.
 * Returns how many there are, 0 when there are none for this process, -E2BIG for more than
 * INHERITED_MAX, -EINVAL for a number that is none or a descriptor that is no socket: the start is
 * to be refused. Before any thread and any listener; once. */
int inherited_init(void);

/* A descriptor, the caller's to close, of the socket of this type (SOCK_STREAM, which listens, or
 * SOCK_DGRAM) that is bound to at, or -ENOENT. A stream socket may be taken any number of times, by
 * workers that share its queue; a datagram socket once, since each has a queue of its own. Main
 * thread. */
int inherited_take(const struct addr *at, int type);

/* Logs what was taken, and warns of what no listener wanted. Main thread, after the listeners. */
void inherited_report(void);

#endif

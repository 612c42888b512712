/* Datagrams between two workers' allocations, in memory. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_HANDOVER_H
#define SORI_TURN_HANDOVER_H

#include "turn/turn_worker.h"

/* Lays the lanes between n workers, before any runs: from each to each other, with `bytes` of room.
 * Returns 0 or -ENOMEM; handover_close() frees either way. */
int handover_open(struct turn_worker *const *workers, unsigned n, size_t bytes);

/* Frees the lanes that leave w, after all threads have ended. */
void handover_close(struct turn_worker *w);

/* Hands a datagram from the relayed address `from` of w's to the relayed address `to` of another
 * worker's, which judges it as if it had read it from its socket. payload is copied. False: `to` is
 * not an open UDP port of another worker of ours, send it through the socket. True: handed over, or
 * dropped and counted because that worker does not keep up. */
bool handover_send(struct turn_worker *w, const struct addr *from, const struct addr *to,
                   struct slice payload);

#endif

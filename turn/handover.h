/* What workers hand to each other in memory: datagrams between their allocations (here), messages
 * of clients that have moved (forward.h). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_HANDOVER_H
#define SORI_TURN_HANDOVER_H

#include "turn/turn_worker.h"

/* Lays the lanes between n workers, before any runs: from each to each other, with `bytes` of room.
 * Returns 0 or -ENOMEM; handover_close() frees either way. */
int handover_open(struct turn_worker *const *workers, unsigned n, size_t bytes);

/* Frees the lanes that leave w, after all threads have ended. */
void handover_close(struct turn_worker *w);

enum handover_kind {
    HANDOVER_RELAYED,     /* a datagram from one relayed address to another */
    HANDOVER_FROM_CLIENT, /* a guest's message, for its owner; the others: forward.c */
    HANDOVER_TO_CLIENT,
    HANDOVER_LEFT,
    HANDOVER_GONE,
};

/* Puts a record, the concatenation of n parts (HANDOVER_PARTS_MAX at most), on the lane to another
 * worker; it is looked at there after this turn. False: there is no room, it is counted as dropped.
 */
#define HANDOVER_PARTS_MAX 4
bool handover_push(struct turn_worker *w, unsigned to, enum handover_kind kind,
                   const struct slice *parts, size_t n);

/* Hands a datagram from the relayed address `from` of w's to the relayed address `to` of another
 * worker's, which judges it as if it had read it from its socket. payload is copied. False: `to` is
 * not an open UDP port of another worker of ours, send it through the socket. True: handed over, or
 * dropped and counted because that worker does not keep up. */
bool handover_send(struct turn_worker *w, const struct addr *from, const struct addr *to,
                   struct slice payload);

#endif

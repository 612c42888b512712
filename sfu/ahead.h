/* What the next packets of a batch will touch is brought into the processor's cache together.
 *
 * With thousands of participants whoever sends next is cold: table, path, keys, stream, receiver
 * and its keys, some forty cache lines of which each is found by the one before. Packet by packet
 * that is a wait for memory at every step; here all packets of a group take each step at once, so
 * that the waits overlap. Hints only: nothing is changed, and what a packet of the group changes
 * for the ones behind it costs them the wait, nothing else. Worker-owned. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SFU_AHEAD_H
#define SORI_SFU_AHEAD_H

#include "sfu/sfu_core.h"

/* Packets of one group: more, and what the first ones need has left the near caches again. With
 * fewer than AHEAD_MIN there is nothing to overlap. */
#define AHEAD_MAX 16
#define AHEAD_MIN 3

/* The next n (at most AHEAD_MAX) packets come from there. */
void ahead(const struct sfu_core *c, const struct media_path *from, unsigned n);

#endif

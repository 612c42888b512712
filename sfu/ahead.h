/* What the next packets of a batch will touch is brought into the processor's cache together.
 *
 * With thousands of participants whoever sends next is cold: table, path, keys, stream, receiver and
 * its keys, some forty cache lines of which each is found by the one before. Packet by packet that
 * is a wait for memory at every step; here all packets of a group take each step at once, so that
 * the waits overlap. Hints only: nothing is changed, and what a packet of the group changes for the
 * ones behind it costs them the wait, nothing else. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_AHEAD_H
#define SORI_SFU_AHEAD_H

#include "sfu/sfu_core.h"

#define AHEAD_MAX 16 /* packets of one group: what they touch stays in the nearest cache but one */
#define AHEAD_MIN 3  /* with fewer there is nothing to overlap */

/* The next n (at most AHEAD_MAX) packets come from there. */
void ahead(const struct sfu_core *c, const struct media_path *from, unsigned n);

#endif

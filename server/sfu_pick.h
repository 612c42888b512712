/* Which SFU node takes a new room. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SFU_PICK_H
#define SORI_SERVER_SFU_PICK_H

#include "base/bytes.h"

struct sfu_candidate {
    bool usable;         /* up and not draining */
    unsigned weight;     /* 1 .. 100: a node of weight 2 carries twice as much */
    unsigned load;       /* 0 .. 1000 of what it can do */
    struct slice region; /* may be empty */
};

#define SFU_PICK_NONE SIZE_MAX

/* Gives the index of the node, or SFU_PICK_NONE when no node is usable.
 *
 * Power of two choices: of two nodes drawn at random (by weight), the one with less load. Looking
 * at all of them would send every new room to the node whose report is oldest. Nodes of the wanted
 * region go first, as long as one of them has less than SFU_PICK_FULL; region empty: any. avoid: a
 * node to take only when there is no other (the one that just failed); SFU_PICK_NONE: none.
 * draw: two random numbers. */
size_t sfu_pick(const struct sfu_candidate *v, size_t n, struct slice region, size_t avoid,
                const uint64_t draw[2]);

#define SFU_PICK_FULL 900 /* of 1000 */

#endif

/* Numbers of a stream's packets without those that are nothing but padding.
 *
 * libwebrtc probes its uplink with padding on the audio SSRC when there is no other. Such packets
 * take sequence numbers and are not forwarded: receivers must not see gaps there. What is stored is
 * therefore numbered anew, less the padding before it. The last few paddings are remembered, so
 * that packets that they overtook get the numbers that are kept for them.
 * Pure values; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_UNPADDED_H
#define SORI_SFU_UNPADDED_H

#include "base/bytes.h"

#define UNPADDED_KEPT 16 /* a probe is 3 to 5 packets, one every few seconds */

struct unpadded {
    uint64_t total;
    uint64_t at[UNPADDED_KEPT]; /* numbers as they came, ascending; newest at (total - 1) % KEPT */
};

/* A padding packet with this number, higher than any packet of the stream so far. */
static inline void unpadded_note(struct unpadded *u, uint64_t index)
{
    u->at[u->total++ % UNPADDED_KEPT] = index;
}

/* Remembered paddings with a number of at least index. */
static inline unsigned unpadded_from(const struct unpadded *u, uint64_t index)
{
    unsigned n = 0;

    while (n < UNPADDED_KEPT && n < u->total && u->at[(u->total - 1 - n) % UNPADDED_KEPT] >= index)
        n++;
    return n;
}

/* The number without padding of a packet that came as index, and the way back. */
static inline uint64_t unpadded_seq(const struct unpadded *u, uint64_t index)
{
    return index - u->total + unpadded_from(u, index);
}

static inline uint64_t unpadded_index(const struct unpadded *u, uint64_t seq)
{
    uint64_t index = seq + u->total;

    for (unsigned n = 0;
         n < UNPADDED_KEPT && n < u->total && u->at[(u->total - 1 - n) % UNPADDED_KEPT] >= index;
         n++)
        index--;
    return index;
}

#endif

/* Who speaks: audio levels (RFC 6464) of one source in, how present it is out; and of several
 * sources, which one is the dominant speaker.
 *
 * Pure values; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SPEAKER_H
#define SORI_SFU_SPEAKER_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>

#define SPEAKER_LEVEL_UNKNOWN 255

enum {
    SPEAKER_ACTIVE_US = 300000, /* after its last loud packet a source still counts as speaking */
    SPEAKER_ONSET_US = 60000, /* so long it must have spoken to become dominant of a silent room */
    SPEAKER_TAKEOVER_US = 80000, /* … when the dominant one has fallen silent */
    SPEAKER_PAUSE_US = 100000,   /* silent: no loud packet for so long */
    SPEAKER_OUTDO_US = 600000, /* … against one who goes on speaking: clearly louder for so long */
};

/* One source. Zeroed: has never been heard. */
struct speaker {
    uint64_t heard_us, loud_us; /* last packet; last loud one; 0: never */
    uint64_t since_us;          /* it speaks since then; meaningful while it speaks */
    uint64_t louder_us;         /* it is clearly louder than the dominant one since; 0: it is not */
    float presence;             /* loudness while it speaks, dB over silence, smoothed; decays */
    float floor;                /* its background noise, same unit */
};

/* A packet with this level (0 loud .. 127 silent, SPEAKER_LEVEL_UNKNOWN) and the sender's own
 * opinion, voice. threshold: the level up to which a packet may be speech (50 is usual). Returns
 * whether the packet is loud, that is, speech. */
bool speaker_hear(struct speaker *s, uint8_t level, bool voice, uint8_t threshold, uint64_t now_us);

/* It speaks: it was loud within SPEAKER_ACTIVE_US. */
bool speaker_active(const struct speaker *s, uint64_t now_us);

/* For ranking: presence, decayed until now. 0 (silent) .. 127. */
float speaker_rank(const struct speaker *s, uint64_t now_us);

/* Which of v[0..n) is the dominant speaker, when v[current] has been so far (-1: nobody). Entries
 * may be NULL. Nobody new speaking keeps the present one, even when it is silent. Call it every
 * 50 ms or so while somebody speaks. Returns an index or -1. */
int speaker_dominant(struct speaker *const *v, int n, int current, uint64_t now_us);

#endif

/* How well each participant of a room hears and is heard: from our own counters, told to
 * sori-server every few seconds. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_QUALITY_H
#define SORI_SFU_QUALITY_H

#include "sfu/room.h"

#define QUALITY_INTERVAL_US (5 * US_PER_S)

/* Computes the quality of all members, and tells those that changed (CTL_QUALITY), each one at the
 * latest after QUALITY_REPEAT intervals. To be called every QUALITY_INTERVAL_US. */
#define QUALITY_REPEAT 3
void quality_room(struct room *r, uint64_t now_us);

#endif

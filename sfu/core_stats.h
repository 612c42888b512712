/* The state of one room, or of all rooms of a worker, as JSON for CTL_STATS and sori-sfuctl.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CORE_STATS_H
#define SORI_SFU_CORE_STATS_H

#include "sfu/sfu_core.h"

/* Fills the reply: one object for the room with its participants, tracks and slots; without a room
 * (NULL) a list of the worker's rooms, as many as fit. Borrows from the core until its next call.
 */
void core_stats(struct sfu_core *c, const struct room *r, struct ctl_msg *reply);

#endif

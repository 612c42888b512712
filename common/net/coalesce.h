/* When a loop under load should let arrivals gather before it wakes, as network cards do with
 * interrupts: waking up for each packet costs more than handling it.
 *
 * Pure. Below a rate at which a few packets would come together within the longest wait, there is
 * no waiting at all. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_COALESCE_H
#define SORI_NET_COALESCE_H

#include "base/clock.h"

#define COALESCE_WINDOW_US (32 * US_PER_MS) /* longer than the pause between two voice packets */
#define COALESCE_PKTS      4                /* expected within max_us, or it is not worth it */

struct coalesce {
    uint64_t max_us; /* the longest wait; 0 = never wait */
    uint64_t _since_us;
    uint32_t _now_pkts, _last_pkts; /* of the window that runs, of the one before */
};

/* Takes note of pkts that were handled in the turn at now_us. Returns how long to wait before
 * looking for more: 0 or max_us. */
uint64_t coalesce_after(struct coalesce *c, unsigned pkts, uint64_t now_us);

#endif

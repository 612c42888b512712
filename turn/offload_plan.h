/* Which channels the kernel may relay by itself, and what it must know for that.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_OFFLOAD_PLAN_H
#define SORI_TURN_OFFLOAD_PLAN_H

#include "turn/alloc.h"
#include "turn/bpf/offload_map.h"
#include "turn/turn_shared.h"

/* One channel in the words of the kernel's program; ifindex and slot are the shell's to fill. */
struct offload_plan {
    struct offload_up_key up_key;
    struct offload_down_key down_key;
    struct offload_way up, down;
    uint64_t until_us; /* when the first of binding, permission and relayed address ends */
};

/* Plans channel c of a, which clients reach by the UDP listener at `listener`; worker: our own
 * number. Returns false when its data must go through user space; *out is written only on true. */
bool offload_plan_channel(struct offload_plan *out, const struct turn_shared *s, unsigned worker,
                          const struct alloc *a, const struct chan *c, const struct addr *listener,
                          uint64_t now_us);

/* True when both are of the same client, channel, relayed address and peer. */
bool offload_plan_same(const struct offload_plan *a, const struct offload_plan *b);

#endif

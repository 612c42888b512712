/* From a batch of packets that came in to all that leave for them: each producer's news to each of
 * its receivers, receiver by receiver, so that what goes to one client leaves together.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_FANOUT_H
#define SORI_SFU_FANOUT_H

#include "sfu/sfu_core.h"

/* A packet is stored and shall be forwarded at the end of the batch, or earlier when there is no
 * more room to remember it. */
void fanout_add(struct sfu_core *c, struct producer *t, struct media_packet *m, unsigned layer);

/* Before len bytes are reserved in a store of this producer's: what waits there and might be
 * overwritten is forwarded now. */
void fanout_room(struct sfu_core *c, struct producer *t, size_t len);

/* Forwards what was added. */
void fanout_flush(struct sfu_core *c);

/* The producer goes away: its news are dropped. */
void fanout_forget(struct sfu_core *c, struct producer *t);

#endif

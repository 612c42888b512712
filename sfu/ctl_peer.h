/* What an SFU remembers of one sori-server, whose connection comes and goes (docs/CONTROL.md):
 * answers for repeated requests, events until they are acknowledged.
 *
 * Pure; owned by the control thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CTL_PEER_H
#define SORI_SFU_CTL_PEER_H

#include "base/list.h"
#include "proto/ctl.h"

struct ctl_peer;

enum ctl_peer_verdict {
    CTL_PEER_NEW,    /* do it, then ctl_peer_answer() */
    CTL_PEER_BUSY,   /* it is being done: its answer will come */
    CTL_PEER_REPEAT, /* done before: send the stored answer again */
    CTL_PEER_STALE,  /* older than what is stored */
};

struct ctl_peer_conf {
    unsigned events_max; /* kept until acknowledged */
    size_t bytes_max;    /* of them */
};

/* A server of this name and epoch. NULL when memory is out. */
struct ctl_peer *ctl_peer_new(struct slice name, uint64_t epoch, const struct ctl_peer_conf *conf);
void ctl_peer_free(struct ctl_peer *p); /* NULL is allowed */

/* Another epoch of the same server: its answers and events are another's. */
void ctl_peer_restart(struct ctl_peer *p, uint64_t epoch);

/* Its epoch. */
uint64_t ctl_peer_epoch(const struct ctl_peer *p);

/* A request with this id came. With CTL_PEER_REPEAT *answer is the whole message, lent. */
enum ctl_peer_verdict ctl_peer_request(struct ctl_peer *p, uint64_t id, struct slice *answer);

/* Its answer, a whole message with its header: copied. Without memory a repeat will be stale. */
void ctl_peer_answer(struct ctl_peer *p, uint64_t id, struct slice message);

/* A kept event: message as ctl_encode() wrote it without a seq. Gives the message with its number,
 * lent until the next call; empty when it can't be kept (memory, limits): everything that is kept
 * is dropped then, and ctl_peer_lost() is true. */
struct slice ctl_peer_event(struct ctl_peer *p, struct slice message);

/* Events up to seq were handled. */
void ctl_peer_ack(struct ctl_peer *p, uint64_t seq);

/* The first kept event after seq, *seq is then its number; empty: none. */
struct slice ctl_peer_next(const struct ctl_peer *p, uint64_t *seq);

/* Events had to be dropped since the last hello; clears it. */
bool ctl_peer_lost(struct ctl_peer *p);

#endif

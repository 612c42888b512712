/* Live calls in Redis: whose each is, and what another node needs to go on with it
 * (docs/CLUSTER.md). Each process has a hash of its own, which nobody else writes to but who takes
 * calls of the dead: so that a write is a plain command, and its answer tells who was taken for
 * dead. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_SHARE_H
#define SORI_SERVER_CALL_SHARE_H

#include "server/call_claims.h"

enum call_share_script { CALL_SHARE_TAKE, CALL_SHARE_SCRIPTS };
extern const struct slice call_share_scripts[CALL_SHARE_SCRIPTS];

#define CALL_SHARE_FIELDS 2 /* of a call: its state, its texts */

/* c: as for claims; its client has call_share_scripts from c->first on. Each
 * asks for one command and returns as redis_client_call(); also -EINVAL. */

/* Ours, as it is now; texts: what does not change with each step, or empty when that stands there.
 * Answered with how many of its fields were not there: none, or all the first time. Else somebody
 * may have taken the call: call_share_who() tells. */
int call_share_keep(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice state, struct slice texts,
                    uint64_t now_us);
/* Who has taken ours: answered with an owner's text, or nil. */
int call_share_who(const struct call_claims *c, struct redis_call *call,
                   const struct sig_call_id *id, uint64_t now_us);
/* From that process of a node, which is dead. Answered "ok", its texts and its state; or the text
 * of the owner who has it, or nothing. Of several who try one gets it. */
int call_share_take(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice node, uint64_t epoch,
                    uint64_t now_us);
/* It was taken from this process once, and is its own again: called before it is kept. */
void call_share_ours(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us);
/* What was taken stands elsewhere now. */
void call_share_took(const struct call_claims *c, const struct sig_call_id *id, struct slice node,
                     uint64_t epoch, uint64_t now_us);
/* Ours is over, or another's. */
void call_share_drop(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us);

/* The epoch of the process that has the node's name now; nil: none. */
int call_share_lease(const struct call_claims *c, struct redis_call *call, struct slice node,
                     uint64_t now_us);
/* Asks for the calls of a process: those of its names that are ids of calls. */
int call_share_of_node(const struct call_claims *c, struct redis_call *call, struct slice node,
                       uint64_t epoch, uint64_t now_us);

/* All processes: we are one, and what we keep is good for life_us from now; which there are
 * (owner's text, "1", …); a dead one whose calls are all taken is none any more. */
void call_share_join(const struct call_claims *c, uint64_t life_us, uint64_t now_us);
int call_share_nodes(const struct call_claims *c, struct redis_call *call, uint64_t now_us);
void call_share_leave(const struct call_claims *c, struct slice node, uint64_t epoch,
                      uint64_t now_us);

/* An owner's text: "EPOCH NODE". Returns 0 or -EBADMSG. */
int call_share_owner(struct slice text, uint64_t *epoch, struct slice *node);

#endif

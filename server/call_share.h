/* Live calls in Redis: whose each is, and what another node needs to go on with it
 * (docs/CLUSTER.md). Every write compares the owner first: who has lost a call, because it was
 * taken for dead, is told by its next write. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_SHARE_H
#define SORI_SERVER_CALL_SHARE_H

#include "server/call_claims.h"

enum call_share_script { CALL_SHARE_KEEP, CALL_SHARE_TAKE, CALL_SHARE_DROP, CALL_SHARE_SCRIPTS };
extern const struct slice call_share_scripts[CALL_SHARE_SCRIPTS];

/* c: as for claims; its client has call_share_scripts from c->first + CALL_CLAIMS_SCRIPTS on. Each
 * asks for one command and returns as redis_client_call(); also -EINVAL. */

/* Ours, as it is now. Answered "ok", "new" when it was not there, or the owner's text when it is
 * another's. */
int call_share_keep(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice snapshot, uint64_t life_us,
                    uint64_t now_us);
/* From that process of a node, which is dead. Answered "ok" and the snapshot; or the owner's text,
 * or nothing. Of several who try one gets it. */
int call_share_take(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice node, uint64_t epoch,
                    uint64_t now_us);
/* It is over: if it is ours it goes, from the list of our calls as well. */
void call_share_drop(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us);

/* The list of a node's calls. */
void call_share_list(const struct call_claims *c, const struct sig_call_id *id, uint64_t life_us,
                     uint64_t now_us);
/* Takes one of a dead process out; asks for all (call, epoch, …). */
void call_share_unlist(const struct call_claims *c, const struct sig_call_id *id, struct slice node,
                       uint64_t epoch, uint64_t now_us);
int call_share_of_node(const struct call_claims *c, struct redis_call *call, struct slice node,
                       uint64_t now_us);

/* All nodes: we are one; which there are (node, epoch, …); a dead process whose calls are all taken
 * is none any more. */
void call_share_join(const struct call_claims *c, uint64_t now_us);
int call_share_nodes(const struct call_claims *c, struct redis_call *call, uint64_t now_us);
void call_share_leave(const struct call_claims *c, struct slice node, uint64_t epoch,
                      uint64_t now_us);

/* An owner's text: "EPOCH NODE". Returns 0 or -EBADMSG. */
int call_share_owner(struct slice text, uint64_t *epoch, struct slice *node);

#endif

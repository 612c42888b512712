/* Who calls whom, for all nodes: claims on pairs and users in Redis (docs/CLUSTER.md).
 *
 * A pair's list says which call rings between two users, so that of two that cross one is first. A
 * user's list names the live calls, so that a call elsewhere makes busy here. Who adds an entry
 * stands behind all that were there: one plain command, and only when it is not the first another
 * one that reads them. An entry counts while the lease of its node has its epoch; what the dead
 * have left is taken out by whoever comes across it when nobody can go on with it any more. Entries
 * go by their whole text: nobody takes out another's. Pure. SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SORI_SERVER_CALL_CLAIMS_H
#define SORI_SERVER_CALL_CLAIMS_H

#include "base/clock.h"
#include "net/redis_client.h"
#include "proto/sig.h"

#define CALL_CLAIMS_TEXT_MAX 320

/* How claims are made, and how calls and sessions are shared: their scripts are the client's from
 * `first` on. All borrowed. */
struct call_claims {
    struct redis_client *client;
    struct slice prefix, node;
    uint64_t epoch;
    unsigned first;
};

/* An entry, as read. Slices borrow from the text. */
struct call_claim {
    struct sig_call_id call;
    uint64_t epoch;
    struct slice node;
    struct slice caller; /* of a pair */
    struct slice text;   /* the whole of it */
};
/* Reads an entry of a pair; of a user. Return 0 or -EBADMSG. */
int call_claim_of_pair(struct call_claim *out, struct slice text);
int call_claim_of_user(struct call_claim *out, struct slice text);

/* Each asks for one command that is answered, and returns as redis_client_call(); also -EINVAL.
 *
 * The pair of two users, in either order, for at most life_us: answered with how many entries there
 * are: of one, or if the first of them is ours, it is this call's. */
int call_claims_pair(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice caller, struct slice callee,
                     uint64_t life_us, uint64_t now_us);
/* The pair's first entry: an array of it. */
int call_claims_first(const struct call_claims *c, struct redis_call *call, struct slice caller,
                      struct slice callee, uint64_t now_us);
/* The user has this call for at most life_us: answered with how many entries there are. */
int call_claims_user(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice user, uint64_t life_us,
                     uint64_t now_us);
/* The user's entries, oldest first. */
int call_claims_look(const struct call_claims *c, struct redis_call *call, struct slice user,
                     uint64_t now_us);

/* What nobody waits for. The user has this call, whether Redis knows it or not. */
void call_claims_user_again(const struct call_claims *c, const struct sig_call_id *id,
                            struct slice user, uint64_t life_us, uint64_t now_us);
/* Take ours out. */
void call_claims_drop_pair(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice caller, struct slice callee, uint64_t now_us);
void call_claims_drop_user(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice user, uint64_t now_us);
/* Take out what a dead node left: an entry of a pair, as read; of a user. */
void call_claims_purge_pair(const struct call_claims *c, const struct call_claim *dead,
                            struct slice caller, struct slice callee, uint64_t now_us);
void call_claims_purge_user(const struct call_claims *c, const struct call_claim *dead,
                            struct slice user, uint64_t now_us);

#endif

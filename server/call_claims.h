/* Who calls whom, for all nodes: claims on pairs and users in Redis (docs/CLUSTER.md).
 *
 * A pair's key says which call rings between two users, so that of two that cross one is first. A
 * user's key names the live calls, so that a call elsewhere makes busy here. An entry counts while
 * the lease of its node has its epoch; what the dead have left is replaced or taken out by whoever
 * comes across it, if it still is what was read. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_CLAIMS_H
#define SORI_SERVER_CALL_CLAIMS_H

#include "base/clock.h"
#include "net/redis_client.h"
#include "proto/sig.h"

#define CALL_CLAIMS_MAX      64 /* entries of one user that are looked at */
#define CALL_CLAIMS_TEXT_MAX 320

enum call_claims_script {
    CALL_CLAIMS_PAIR,
    CALL_CLAIMS_USER,
    CALL_CLAIMS_DROP,
    CALL_CLAIMS_SCRIPTS
};
extern const struct slice call_claims_scripts[CALL_CLAIMS_SCRIPTS];

/* How claims are made: the client has call_claims_scripts from `first` on. All borrowed. */
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
    struct slice text;   /* the whole value, to replace it by */
};
/* Reads the value of a pair; a field and its value of a user. Return 0 or -EBADMSG. */
int call_claim_of_pair(struct call_claim *out, struct slice value);
int call_claim_of_user(struct call_claim *out, struct slice field, struct slice value);

/* Each asks for one command and returns as redis_client_call(); also -EINVAL.
 *
 * The pair of two users, in either order, for at most life_us: answered with the value that stands
 * (another call's), or "ok" when it is this call's now. old: the value of a dead node that may be
 * replaced, or empty. */
int call_claims_pair(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice caller, struct slice callee,
                     struct slice old, uint64_t life_us, uint64_t now_us);
/* The user has this call for at most life_us: answered with what it had before, fields and
 * values. */
int call_claims_user(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice user, uint64_t life_us,
                     uint64_t now_us);
/* What the user has: the same answer. */
int call_claims_look(const struct call_claims *c, struct redis_call *call, struct slice user,
                     uint64_t now_us);
/* Takes ours out; nobody waits for it. */
void call_claims_drop_pair(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice caller, struct slice callee, uint64_t now_us);
void call_claims_drop_user(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice user, uint64_t now_us);
/* Takes out what a dead node left. */
void call_claims_purge_user(const struct call_claims *c, const struct call_claim *dead,
                            struct slice user, uint64_t now_us);

#endif

/* Live calls of all nodes: the interface of the call stores.
 *
 * A call is run by one node, its *owner*, in its call_table: the machine stays what it is, and
 * never waits. The store holds, for each live call, who owns it under which epoch, a snapshot that
 * another node can go on from, and the time by which somebody must look at it again. It answers
 * three questions: may I run this call (create, take), did my step count (commit), what must be
 * looked at (due).
 *
 *     create   by the node of the caller's session: it is the owner, unless the id or the pair is
 *              taken (the same invite again, or glare: the one who was first owns it)
 *     commit   after each step that changes the call's state, compare-and-set on (owner, epoch,
 *              version). A *claim* (the step after which the call has a winner or an end) is held
 *              back until its commit is answered: effects of other steps go out at once. That is
 *              what makes one winner of two owners: whoever is not the owner any more is told
 *              -ESTALE, forgets the call, and sends nothing
 *     find     by the node of any other party: its requests go to the owner as they are (the bus of
 *              nodes), effects come back the same way, addressed to user and device
 *     take     when the owner is dead, or gave it away in a drain: the epoch is set to the taker's
 *              in one step, so that of several takers one wins, and the snapshot comes with it
 *     due      deadlines are in the store as well: each node asks for those that are overdue by
 *              more than CALL_STORE_LATE_US, that is whose owner has not acted, and takes them
 *
 * What it needs of call.c (later): call_save() and call_restore(), a codec with its fuzz target for
 * struct call (state, caller, callee, winner, name, legs with state and reason, kept offers, answer
 * and candidates, metadata, room, deadlines as remaining time); a `claim` mark on the effects of a
 * step; of call_table.c: to put a step's effects aside until they are confirmed (answer, reject,
 * cancel, timeout and hangup against one another are the only ones that wait), busy and glare by
 * what create says. What is in memory alone, deadlines of negotiation and push state, is set anew
 * by whoever takes the call.
 *
 * One implementation over memory answers inside the call and never says -ESTALE; the one over Redis
 * keeps all keys of a call under one hash tag, those of a pair and of users under theirs, and never
 * touches two in one script: docs/CLUSTER.md has keys and order.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_STORE_H
#define SORI_SERVER_CALL_STORE_H

#include "base/clock.h"
#include "base/list.h"
#include "proto/sig.h"

#define CALL_STORE_SNAPSHOT_MAX ((size_t)131072) /* offers, answer, candidates among it */
#define CALL_STORE_LATE_US      (1 * US_PER_S)
#define CALL_STORE_DUE_MAX      64 /* calls given by one due() */

/* Whose a call is. Slices are lent. */
struct call_owner {
    struct slice node;
    uint64_t epoch;   /* of the node's process (node_lease.h) */
    uint64_t version; /* grows with each commit */
};

enum call_step {
    CALL_STEP_PLAIN, /* feeds a take-over only: nobody waits for it */
    CALL_STEP_CLAIM, /* answered before its effects are sent */
    CALL_STEP_END,   /* a claim, too: the call is over, kept for late questions, without deadline */
};

/* What a call is made with, and what a step leaves of it. Slices are copied. */
struct call_state_record {
    struct sig_call_id id;
    struct slice caller, callee; /* users: busy, per_user and glare are theirs */
    struct slice snapshot;       /* at most CALL_STORE_SNAPSHOT_MAX */
    uint64_t due_us;  /* from now: when its owner will act next; CLOCK_NEVER: not at all */
    uint64_t keep_us; /* from now: how long the record stays without another step */
    enum call_step step;
};

/* A question under way: owned by the caller, alive until fn ran or it was cancelled.
 *
 * err: 0; -EEXIST (create: owner tells whose it is; other is set when it is glare, the call of the
 * same two users that is first); -EBUSY (create: a party is in as many calls as are allowed);
 * -ESTALE (commit, take: not yours, or not any more; owner tells whose); -ENOENT; -EAGAIN: the
 * store does not answer. After -EAGAIN a create may go on with this node's users alone and a commit
 * may be taken as done while every party is on this node (Redis is gone, calls are not); otherwise
 * the request fails with a retryable error. All lent, inside the call only. */
struct call_store_result {
    int err;
    struct call_owner owner;
    struct sig_call_id other;
    struct slice snapshot; /* take */
};
struct call_store_query;
typedef void call_store_fn(struct call_store_query *q, const struct call_store_result *result);
struct call_store_query {
    struct list _link;
    call_store_fn *fn;
    void *arg;
};

/* Overdue calls, lent: fn as above, once. */
struct call_store_due;
typedef void call_store_due_fn(struct call_store_due *d, int err, const struct sig_call_id *ids,
                               size_t n);
struct call_store_due {
    struct list _link;
    call_store_due_fn *fn;
    void *arg;
};

struct call_store {
    const struct call_store_ops *ops;
};

struct call_store_ops {
    /* The first record of a call; this node becomes its owner. per_user: live calls that each party
     * may have. Asking twice with the same id does no harm. */
    void (*create)(struct call_store *s, const struct call_state_record *r, size_t per_user,
                   struct call_store_query *q);
    /* A step of a call that this node owns; steps of one call are kept in their order. q may be
     * NULL for CALL_STEP_PLAIN. */
    void (*commit)(struct call_store *s, const struct call_state_record *r,
                   struct call_store_query *q);
    void (*find)(struct call_store *s, const struct sig_call_id *id, struct call_store_query *q);
    /* From this owner, who is dead (of a living one only when it has given the call away). */
    void (*take)(struct call_store *s, const struct sig_call_id *id, const struct call_owner *from,
                 struct call_store_query *q);
    /* For a drain: whoever asks first may take it. */
    void (*give)(struct call_store *s, const struct sig_call_id *id);
    void (*due)(struct call_store *s, struct call_store_due *d);
    void (*cancel)(struct call_store *s, struct call_store_query *q);
    void (*cancel_due)(struct call_store *s, struct call_store_due *d);
    void (*free)(struct call_store *s);
};

#endif

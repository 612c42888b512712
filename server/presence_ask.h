/* Lookups of the presence store over Redis: a user's hash is fetched, then the leases of the nodes
 * in it; what dead nodes have left is taken out.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_ASK_H
#define SORI_SERVER_PRESENCE_ASK_H

#include "server/node_lease.h"
#include "server/presence_command.h"

/* What was found: entries of nodes that live, other nodes' and this one's; err as in
 * presence_store.h (then n is 0). Lent, inside the call only. May ask and cancel. */
typedef void presence_asked_fn(void *arg, struct slice user, struct presence_lookup *l, int err,
                               const struct presence_entry *found, size_t n);

/* Embedded; its members are the file's own. */
struct presence_asks {
    const struct presence_commands *commands;
    struct node_lease *lease;
    uint64_t answer_us;
    presence_asked_fn *done;
    void *arg;
    struct list fetching, unsettled;
};

/* commands and lease are borrowed. answer_us: within which each is answered. */
void presence_asks_init(struct presence_asks *a, const struct presence_commands *commands,
                        struct node_lease *lease, uint64_t answer_us, presence_asked_fn *done,
                        void *arg);
/* Forgets what is under way. */
void presence_asks_fini(struct presence_asks *a);

/* done() comes once, with this l, later; or never if it is cancelled. l NULL: there is nobody to
 * tell, only what dead nodes have left is taken out. Returns 0, or a negative errno: done() does
 * not come. */
int presence_ask(struct presence_asks *a, struct slice user, struct presence_lookup *l,
                 uint64_t now_us);
void presence_ask_cancel(struct presence_asks *a, const struct presence_lookup *l);

/* Goes on with those that wait for leases; when one has changed, and by the deadline. */
void presence_asks_look(struct presence_asks *a, uint64_t now_us);
uint64_t presence_asks_deadline(const struct presence_asks *a);

#endif

/* The relays and media servers that have registered themselves, as Redis last told, and which of
 * the relays a client is given (docs/CLUSTER.md).
 *
 * What Redis does not tell any more because it is away stays: nobody loses a relay by it. When it
 * is back, nodes that are missing have NODE_LIST_GRACE_US to come back to it. Pure; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_NODE_LIST_H
#define SORI_SERVER_NODE_LIST_H

#include "base/clock.h"
#include "base/metrics.h"
#include "proto/node_record.h"
#include "proto/resp.h"

#define NODE_LIST_MAX      256 /* nodes of a kind; others are passed over */
#define NODE_LIST_GRACE_US (3 * US_PER_S)
#define NODE_LIST_GRANT    8 /* relays that a client may be given */

struct node_list;

struct node_list_conf {
    struct slice secret; /* of relays' credentials; relays that say that they do not know it are not
                            given to anybody. Empty: none is */
    struct slice region; /* whose relays are preferred; borrowed. Empty: no preference */
    uint64_t seed;       /* of what is left to chance */
};

/* One of them. */
struct listed_node {
    struct slice name;
    struct node_record record;
    bool listed; /* false: Redis does not tell of it any more, it goes when its time is over */
};

struct node_list_counters {
    struct counter nodes[NODE_KINDS], usable[NODE_KINDS]; /* gauges; usable: listed, not draining,
                                                             of relays: knows the secret */
    struct counter bad;                                   /* records that cannot be read */
    struct counter granted;                               /* relays given to clients */
};

/* NULL when memory is out. */
struct node_list *node_list_new(const struct node_list_conf *conf);
void node_list_free(struct node_list *l); /* NULL is allowed */

/* The secret is another one now, as in conf. */
void node_list_secret(struct node_list *l, struct slice secret);

/* Redis is there (again). */
void node_list_up(struct node_list *l, uint64_t now_us);
/* It has told all nodes of a kind: the answer of NODE_SCRIPT_LIST. Returns 0; -EBADMSG: that is no
 * list, -ENOMEM: what is known stays as it was. */
int node_list_take(struct node_list *l, enum node_kind kind, const struct resp *reply,
                   uint64_t now_us);

/* The i-th of a kind; NULL behind the last. Lent until the next node_list_take(). */
const struct listed_node *node_list_at(const struct node_list *l, enum node_kind kind, size_t i);

/* Chooses relays for one client, at most want, none twice: the preferred region first, each the
 * less loaded of two drawn by weight; neither draining ones nor such as do not know the secret.
 * Full ones only when there is no other. Fills out and returns how many; lent until the next
 * node_list_take(). */
size_t node_list_relays(struct node_list *l, size_t want,
                        const struct node_record *out[NODE_LIST_GRANT]);

/* What it counts; lent. */
struct node_list_counters *node_list_count(struct node_list *l);

#endif

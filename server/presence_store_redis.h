/* The presence store of many nodes: each keeps its own devices in memory and in Redis, and asks
 * Redis for those of the others (docs/CLUSTER.md).
 *
 * Truth about a device is with the node that has its session; Redis only says it on. So nothing is
 * lost when Redis loses it: after each connect, and whenever our lease had lapsed, all is written
 * anew, so many at a time. An entry counts while the lease of its node stands (node_lease.h).
 *
 * The owner runs two links (net/redis_link.h): one for commands, with presence_wire_scripts, and
 * one that hears presence_store_redis_channel(). Pure; worker-owned. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_STORE_REDIS_H
#define SORI_SERVER_PRESENCE_STORE_REDIS_H

#include "server/node_lease.h"
#include "server/presence_store.h"

struct presence_store_redis_conf {
    struct slice prefix, node; /* borrowed; node: 1 .. 64 bytes */
    uint64_t epoch;            /* of this process: random, not 0 */
    uint64_t lease_us;
    uint64_t answer_us; /* a lookup is answered by then, with what is known here if need be; when
                           Redis has been away for longer, at once */
    uint64_t (*now)(void *arg); /* the loop turn's time */
    void *now_arg;
    void (*leases)(void *arg); /* of others are known anew; NULL: nobody wants to know. now_arg */
};

/* An empty store, or NULL when memory is out. Free with presence_store_free(), before the links;
 * the lookups still waiting are forgotten. */
struct presence_store *presence_store_redis_new(const struct presence_store_redis_conf *conf);

/* The client that commands go through. Once, before anything else. */
void presence_store_redis_use(struct presence_store *s, struct redis_client *commands);
/* Its up and down. */
void presence_store_redis_up(struct presence_store *s);
void presence_store_redis_down(struct presence_store *s);

/* The channel of this node. */
void presence_store_redis_channel(const struct presence_store *s, struct wr *w);
/* Something was said there; and: it is heard from now on (what was said before has passed). */
void presence_store_redis_heard(struct presence_store *s, struct slice payload);
void presence_store_redis_hears(struct presence_store *s);

/* This process ends: node_lease_leave(). */
void presence_store_redis_leave(struct presence_store *s);

/* Whether that process of a node lives, as far as is known now; asks if it is not. since_us: it is
 * not dead unless its lease was asked for since; 0: by what is known. */
enum node_alive presence_store_redis_alive(struct presence_store *s, struct slice node,
                                           uint64_t epoch, uint64_t since_us);

/* For how long, at least, it is dead: node_lease_dead_us(). */
uint64_t presence_store_redis_dead_us(struct presence_store *s, struct slice node, uint64_t epoch);

/* Asks at once: node_lease_look(). */
void presence_store_redis_look(struct presence_store *s, struct slice node);

/* When to call presence_store_redis_tick(), which does what is due; more often does no harm. */
uint64_t presence_store_redis_deadline(const struct presence_store *s);
void presence_store_redis_tick(struct presence_store *s);

/* Whether this process is certain to live for others: node_lease_is_sure(). */
bool presence_store_redis_is_sure(const struct presence_store *s, uint64_t now_us);
/* Whether another process has taken this node's name: then nothing here reaches others any more,
 * and it should end. Entries of ours that Redis does not have yet; that were refused because the
 * user has PRESENCE_DEVICES_MAX elsewhere. */
bool presence_store_redis_is_lost(const struct presence_store *s);
size_t presence_store_redis_behind(const struct presence_store *s);
uint64_t presence_store_redis_full(const struct presence_store *s);

#endif

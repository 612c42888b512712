/* Which nodes live: our own lease, kept up, and what is known of those of others.
 *
 * A node is alive while its lease stands in Redis; which process of it, its epoch says, drawn at
 * each start. Whatever a node has written counts only as long as the lease has the epoch that it
 * was written under: one expiring key takes back everything that a dead node has said, and what a
 * process writes that has been replaced counts for nobody (fencing).
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_NODE_LEASE_H
#define SORI_SERVER_NODE_LEASE_H

#include "net/redis_client.h"

struct node_lease;

struct node_lease_conf {
    struct slice prefix, node; /* borrowed */
    uint64_t epoch;            /* of this process: random, not 0 */
    uint64_t lease_us;         /* it is renewed three times as often */
    uint64_t poll_us;          /* how old what we know of others may be */
};

struct node_lease_ops {
    /* Ours stands, and did not before, or Redis was away meanwhile: what we wrote may be lost, or
     * have been thrown away by others. */
    void (*stands)(void *arg, uint64_t now_us);
    /* Another process has this node's name now: it is not us who is meant any more. Once. */
    void (*lost)(void *arg, uint64_t now_us);
    /* A node that was asked for has been heard of, for the first time or otherwise than before. */
    void (*changed)(void *arg, uint64_t now_us);
};

enum node_alive { NODE_UNKNOWN, NODE_ALIVE, NODE_DEAD };

/* NULL when memory is out. Nothing is asked before node_lease_use(). */
struct node_lease *node_lease_new(const struct node_lease_conf *conf,
                                  const struct node_lease_ops *ops, void *arg);
void node_lease_free(struct node_lease *l); /* before its client; NULL is allowed */

/* The client that has presence_wire_scripts. */
void node_lease_use(struct node_lease *l, struct redis_client *client);

/* Whether that process of the node lives. NODE_UNKNOWN: it is asked, changed() comes. Also when
 * what is known is too old because Redis is away.
 *
 * read_us: when the epoch was read; it is not dead before the node was asked since, because it may
 * be that of a process which has just begun. 0: now, unless it was asked for before. */
enum node_alive node_lease_of(struct node_lease *l, struct slice node, uint64_t epoch,
                              uint64_t read_us, uint64_t now_us);

/* Asks now instead of with the next poll, for who has heard of a node that seemed dead. */
void node_lease_look(struct node_lease *l, struct slice node, uint64_t now_us);

/* For how long it has been known here that the process is dead, or doubted that it lives. */
uint64_t node_lease_dead_us(const struct node_lease *l, struct slice node, uint64_t epoch,
                            uint64_t now_us);

/* Redis is there (again): renews and asks at once. */
void node_lease_up(struct node_lease *l, uint64_t now_us);
/* This process ends: others may take over at once what it had, instead of when the lease is over.
 * After all else that is to be written; nothing is renewed any more. */
void node_lease_leave(struct node_lease *l, uint64_t now_us);
/* Whether ours stands for certain: nobody can have found it gone. Not after this process stood
 * still, or Redis was away, for as long as a lease. */
bool node_lease_is_sure(const struct node_lease *l, uint64_t now_us);
/* Ours is another process's: see lost(). */
bool node_lease_is_lost(const struct node_lease *l);

/* When to call node_lease_tick(), which renews and asks. */
uint64_t node_lease_deadline(const struct node_lease *l);
void node_lease_tick(struct node_lease *l, uint64_t now_us);

#endif

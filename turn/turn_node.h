/* The whole relay: workers, what they share, reload. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_NODE_H
#define SORI_TURN_NODE_H

#include "base/metrics.h"
#include "turn/turn_conf.h"

struct registrar;
struct turn_node;
struct turn_redis_link;
struct turn_worker;
struct usage_writer;

/* Makes the relay with all its sockets open; nothing runs yet. conf is changed (wildcards become
 * addresses, relay addresses are filled in) and must outlive the node. redis: lent, NULL without
 * it; gets to know the workers, until turn_node_free(). writer: lent, NULL without it. NULL with
 * err. */
struct turn_node *turn_node_new(struct turn_conf *conf, struct metrics *m,
                                struct turn_redis_link *redis, struct usage_writer *writer,
                                char err[CONF_ERR_MAX]);

/* Starts the workers' threads. Returns 0 or -errno. */
int turn_node_start(struct turn_node *n);

/* Takes over credentials and certificates of a newly loaded configuration, in all workers or in
 * none. Other options need a restart. Returns 0, or a negative errno with err. */
int turn_node_reload(struct turn_node *n, const struct turn_conf *fresh, char err[CONF_ERR_MAX]);

/* Begins the drain: every new Allocate is refused, what lives lives on. Main thread. */
void turn_node_drain(struct turn_node *n);

/* From now on the workers publish how media fares by r (lent; NULL: nowhere, and r is not used any
 * more). While they run. */
void turn_node_publish(struct turn_node *n, struct registrar *r);

/* Allocations alive in all workers. Any thread. */
uint64_t turn_node_allocations(const struct turn_node *n);

/* Stops and joins the workers, ends all allocations, frees. NULL is allowed. */
void turn_node_free(struct turn_node *n);

/* How the workers move datagrams: "io_uring" or "epoll"; *why says why not io_uring when that was
 * wished for or left open, and is empty else. Lent. */
const char *turn_node_io(const struct turn_node *n, const char **why);

/* The devices on which the kernel relays open channels, NULL when it does not. Lent. */
const char *turn_node_offload(const struct turn_node *n);

/* How many workers it has, each of them, and what they share; lent. */
unsigned turn_node_threads(const struct turn_node *n);
struct turn_worker *turn_node_worker(const struct turn_node *n, unsigned i);
const struct turn_shared *turn_node_shared(const struct turn_node *n);

#endif

/* Relaying of open channels in the kernel, without user space: [turn] offload = tc.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_OFFLOAD_H
#define SORI_TURN_OFFLOAD_H

#include "net/worker.h"
#include "turn/turn_conf.h"

struct alloc;
struct offload;
struct turn_worker;

/* A worker's part. */
struct offload_worker {
    struct offload *shared; /* NULL: off */
    struct turn_worker *w;
    struct list flows;       /* what the kernel relays for its allocations */
    int route_fd, news_fd;   /* netlink: questions; changes of routes and devices */
    struct wtimer tick;      /* set while there are flows */
    struct counter channels; /* now, a gauge */
    struct counter up_pkts, down_pkts;
    struct counter refused; /* no room, no route */
};

/* Loads the program and attaches it to every device that holds an IPv4 address of a UDP listener or
 * of relayed addresses; conf has neither wildcards nor an empty list any more. What a predecessor
 * has left there is replaced. NULL with err (CONF_ERR_MAX bytes) when that is not possible here, or
 * not built in. Before the workers run. */
struct offload *offload_new(const struct turn_conf *conf, char err[CONF_ERR_MAX]);

/* Detaches and frees; after the last worker. NULL is allowed. */
void offload_free(struct offload *o);

/* The names of those devices, for the log; lent. */
const char *offload_devices(const struct offload *o);

/* Makes a worker's part; without shared it does nothing from then on. Returns 0 or -errno. */
int offload_worker_init(struct offload_worker *o, struct offload *shared, struct turn_worker *w);

/* Frees it, after the worker's last allocation. A zeroed struct is allowed. */
void offload_worker_fini(struct offload_worker *o);

/* Brings what the kernel relays for a into line with its channels, and what has been relayed into
 * a's counts; alive: false when a is about to end. Worker thread; relay_ops.offload. */
void offload_update(struct offload_worker *o, struct alloc *a, bool alive);

/* Registers a worker's counters. Returns 0 or -ENOMEM. */
int offload_register(struct metrics *m, const struct offload_worker *o);

#endif

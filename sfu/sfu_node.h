/* The whole SFU: workers, the control thread, the data thread. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SFU_NODE_H
#define SORI_SFU_NODE_H

#include "base/metrics.h"
#include "sfu/sfu_conf.h"

struct sfu_node;
struct sfu_worker;

/* Makes it with all its sockets open; nothing runs yet. conf outlives it. NULL with err. */
struct sfu_node *sfu_node_new(const struct sfu_conf *conf, struct metrics *m,
                              char err[CONF_ERR_MAX]);
/* Starts the threads. Returns 0 or -errno. */
int sfu_node_start(struct sfu_node *n);
/* Stops and joins them, ends all rooms, frees. NULL is allowed. */
void sfu_node_free(struct sfu_node *n);

/* No new rooms from now on, or again. Any thread. */
void sfu_node_drain(struct sfu_node *n, bool on);

/* Rooms and participants on all workers; any thread. */
uint64_t sfu_node_rooms(const struct sfu_node *n);
uint64_t sfu_node_participants(const struct sfu_node *n);

/* How datagrams move, and why not by io_uring (empty: they do, or nobody wished so). Lent. */
const char *sfu_node_io(const struct sfu_node *n, const char **why);

/* How many workers it has, and each of them; lent. */
unsigned sfu_node_threads(const struct sfu_node *n);
struct sfu_worker *sfu_node_worker(const struct sfu_node *n, unsigned i);

/* 0 (idle) .. 1000 (full): the busiest worker's participants and packets against what one can do.
 * sfu_node_load() measures, in the control thread; sfu_node_load_last() is what it gave last, for
 * any thread. */
unsigned sfu_node_load(struct sfu_node *n, uint64_t now_us);
unsigned sfu_node_load_last(const struct sfu_node *n);

#endif

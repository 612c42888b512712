/* The connection to Redis: users' keys, secrets, records of use. A thread of its own; nothing that
 * it does can make a worker wait. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REDIS_LINK_H
#define SORI_TURN_REDIS_LINK_H

#include "base/metrics.h"
#include "turn/shared_secrets.h"
#include "turn/turn_conf.h"

struct turn_redis_link;
struct turn_worker;

/* Begins to connect, and to read secrets where the configuration asks for them. changed is called
 * in the link's thread when they are others than before. conf is lent and outlives the link. NULL
 * when memory, descriptors or threads are out. */
struct turn_redis_link *turn_redis_link_start(const struct turn_conf *conf, struct metrics *m,
                                              void (*changed)(void));

/* Waits until the secrets have been read once, at most for the configured timeout. False: they have
 * not, they come later. */
bool turn_redis_link_wait(struct turn_redis_link *l);

/* Copies the secrets as they were read last. Any thread; the caller wipes *out. */
void turn_redis_link_secrets(struct turn_redis_link *l, struct shared_secrets *out);

/* Tells who gets answers: n workers, lent. Before they run. Returns 0 or -ENOMEM. */
int turn_redis_link_attach(struct turn_redis_link *l, struct turn_worker **workers, unsigned n);

/* From now on nobody gets any; returns when the last one is on its way. Main thread. */
void turn_redis_link_detach(struct turn_redis_link *l);

/* Asks for a user's keys; turn_worker_known() is called on the worker of this index. Returns 0, or
 * -EAGAIN when Redis is away or too many are waiting. Any thread. */
int turn_redis_link_ask(struct turn_redis_link *l, unsigned worker, unsigned realm,
                        struct slice name);

/* Hands over a record of use, one JSON object; copied. Any thread, never waits: what has no room is
 * counted as lost. */
void turn_redis_link_record(struct turn_redis_link *l, struct slice json);

/* Sends the records that wait, as far as that is quickly done, and ends. NULL is allowed. */
void turn_redis_link_stop(struct turn_redis_link *l);

#endif

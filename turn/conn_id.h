/* CONNECTION-IDs (RFC 6062 §6.2.1): unguessable numbers that lead from the worker where a data
 * connection arrives to the worker that owns the allocation. Shared by all workers, locked: asked
 * once per connection made, bound or ended. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CONN_ID_H
#define SORI_TURN_CONN_ID_H

#include "base/bytes.h"

struct conn_ids;

/* max: peer connections at once over all workers, >= 1. NULL when memory is out. */
struct conn_ids *conn_ids_new(unsigned max);
void conn_ids_free(struct conn_ids *c); /* NULL is allowed */

/* Makes an id for a connection of this worker whose allocation is user's (a keyed hash of the
 * USERNAME). Returns 0; -ENOSPC when there are max of them (answer 508); -ENOMEM. Any thread. */
int conn_ids_add(struct conn_ids *c, unsigned worker, uint64_t user, uint32_t *id);

/* Lets a client data connection claim id; it succeeds once. Returns 0 and the worker; -EACCES for
 * another user's (answer 441), which stays as it is; -ENOENT for one that is unknown, not
 * established or claimed (400). Any thread. */
int conn_ids_claim(struct conn_ids *c, uint32_t id, uint64_t user, unsigned *worker);

/* From now on id may be claimed. Any thread. */
void conn_ids_open(struct conn_ids *c, uint32_t id);

/* Forgets id, which must be known. Any thread. */
void conn_ids_del(struct conn_ids *c, uint32_t id);

/* How many there are. Any thread. */
unsigned conn_ids_count(struct conn_ids *c);

#endif

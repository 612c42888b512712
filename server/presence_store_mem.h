/* The presence store of a single node: everything in memory, every answer at once.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_STORE_MEM_H
#define SORI_SERVER_PRESENCE_STORE_MEM_H

#include "server/presence_store.h"

/* An empty store, or NULL when memory is out. Free with presence_store_free(). */
struct presence_store *presence_store_mem_new(void);

/* Entries in it. */
size_t presence_store_mem_count(const struct presence_store *s);

#endif

/* A PostgreSQL ledger as the destination of a move.
 *
 * What has arrived of a table is counted in the same transaction that it arrives in (table
 * sori_move), so that an interrupted move goes on behind the last whole batch, and nothing is there
 * twice. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_PG_MOVE_H
#define SORI_SERVER_LEDGER_STORE_PG_MOVE_H

#include "server/ledger_move.h"
#include "server/ledger_store_pg.h"

struct ledger_pg_target;

/* Connects, makes the tables; takes the place for this source (mark: ledger_sqlite_source_mark()).
 * Another mark than that of an unfinished move takes what has arrived away and begins anew.
 *
 * Returns 0 and *out; or with why (NUL ended) saying what to do: -EAGAIN: can't be reached;
 * -EEXIST: there are records already, which did not come from an unfinished move; -EBUSY: another
 * move runs; -EPROTONOSUPPORT, -ENOMEM as ledger_pg_open(). */
int ledger_pg_target_open(const char *where, struct slice password, uint64_t mark,
                          struct ledger_pg_target **out, char why[LEDGER_STORE_WHY_MAX]);
void ledger_pg_target_free(struct ledger_pg_target *p); /* NULL is allowed */

/* How many rows of a table were read so far (with those left out), and how many were left out.
 * These and all that follow return 0 or -EAGAIN, which ends the target: free it, begin again. */
int ledger_pg_target_at(struct ledger_pg_target *p, const struct ledger_move_table *t,
                        uint64_t *read, uint64_t *left_out);
/* Stores rows (as of ledger_move.h, with head and tail) and where the table is now. */
int ledger_pg_target_put(struct ledger_pg_target *p, const struct ledger_move_table *t,
                         struct slice rows, uint64_t read, uint64_t left_out);
/* How many rows the table has now. */
int ledger_pg_target_count(struct ledger_pg_target *p, const struct ledger_move_table *t,
                           uint64_t *n);
/* All is there: forgets that it was moved. */
int ledger_pg_target_finish(struct ledger_pg_target *p);
const char *ledger_pg_target_detail(const struct ledger_pg_target *p);

#endif

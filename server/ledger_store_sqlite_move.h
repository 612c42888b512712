/* A SQLite ledger as the source of a move: read row by row, while no server has it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_SQLITE_MOVE_H
#define SORI_SERVER_LEDGER_STORE_SQLITE_MOVE_H

#include "server/ledger_move.h"
#include "server/ledger_store.h"

struct ledger_sqlite_source;

/* Opens file and holds FILE.lock until the source is freed, so that no server writes meanwhile.
 * Returns 0 and *out; or with why (NUL ended) saying what to do: -EBUSY: a server has it; -ENOENT;
 * -EPROTONOSUPPORT: another version, or another program's; -EBADMSG: damaged; -ENOMEM; -EIO. */
int ledger_sqlite_source_open(const char *file, struct ledger_sqlite_source **out,
                              char why[LEDGER_STORE_WHY_MAX]);
void ledger_sqlite_source_free(struct ledger_sqlite_source *s); /* NULL is allowed */

/* Another value after each change of the file. */
uint64_t ledger_sqlite_source_mark(const struct ledger_sqlite_source *s);

/* How many rows a table has. Returns 0 or -EBADMSG. */
int ledger_sqlite_source_count(struct ledger_sqlite_source *s, const struct ledger_move_table *t,
                               uint64_t *n);

/* Begins with the rows of a table, the first `skip` of them left out. */
int ledger_sqlite_source_rows(struct ledger_sqlite_source *s, const struct ledger_move_table *t,
                              uint64_t skip);
/* The next row into f (a field for each column, good until the next call). 1, 0 no more, or
 * -EBADMSG. */
int ledger_sqlite_source_next(struct ledger_sqlite_source *s,
                              struct ledger_move_field f[LEDGER_MOVE_COLUMNS_MAX]);
/* What went wrong, in SQLite's words. */
const char *ledger_sqlite_source_detail(const struct ledger_sqlite_source *s);

#endif

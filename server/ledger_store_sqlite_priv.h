/* Shared by the files ledger_store_sqlite*.c only: the open database and its statements.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_SQLITE_PRIV_H
#define SORI_SERVER_LEDGER_STORE_SQLITE_PRIV_H

#include "server/ledger_sql.h"
#include "server/ledger_store_sqlite.h"

#include <sqlite3.h>

#define SQLITE_STORE_VERSION 6
#define SQLITE_STORE_PAGE    4096

extern const char *const sqlite_store_sql[SQ_COUNT];
extern const char *const sqlite_store_schema[SQLITE_STORE_VERSION]; /* version i to i + 1 */
extern const struct sql_engine sqlite_store_engine;                 /* …_stmt.c */

struct sqlite_store {
    struct ledger_sql sql;
    char *file;
    sqlite3 *db; /* NULL: could not be opened */
    sqlite3_stmt *stmt[SQ_COUNT];
    int lock_fd;
};

static inline struct sqlite_store *sqlite_of(struct ledger_sql *s)
{
    return (struct sqlite_store *)(void *)s;
}

/* Notes what SQLite says is wrong (ledger_store_sqlite.c). Returns -EAGAIN or -EIO. */
int sqlite_fault(struct sqlite_store *s, int sqlite_rc);

/* A column of a row (…_stmt.c). */
struct slice sqlite_col(sqlite3_stmt *q, int i); /* good until the next step */
uint64_t sqlite_col_u64(sqlite3_stmt *q, int i);

/* ---- the layer under SQLite (…_vfs.c) ---- */
/* The name to open the database with. */
const char *sq_layer(void);
/* The part of a page of SQLITE_STORE_PAGE bytes that holds nothing (first: it is page 1). False:
 * there is none. */
bool sq_page_gap(const uint8_t *page, bool first, size_t *at, size_t *len);

#endif

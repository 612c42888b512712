/* Statements of the SQLite ledger: prepared once, bound, stepped, and several as one.
 *
 * Called by ledger_sql.c through sqlite_store_engine. What goes wrong is noted by sqlite_fault().
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include <errno.h>

static sqlite3_stmt *stmt_of(const struct sql_query *q)
{
    return sqlite_of(q->store)->stmt[q->id];
}

static bool get(struct sql_query *q)
{
    struct sqlite_store *s = sqlite_of(q->store);

    if (!s->db)
        return false;
    if (s->stmt[q->id])
        return true;
    int rc = sqlite3_prepare_v3(s->db, sq_sql(q->store, q->id), -1, SQLITE_PREPARE_PERSISTENT,
                                &s->stmt[q->id], NULL);
    if (rc == SQLITE_OK)
        return true;
    /* Our own SQL is right: an error is a table that is not there any more. */
    if (sqlite_fault(s, rc) == -EIO)
        s->sql.health = LEDGER_DAMAGED;
    return false;
}

static void bind_text(struct sql_query *q, int i, struct slice v)
{
    sqlite3_bind_text64(stmt_of(q), i, v.len > 0 ? (const char *)v.p : "", v.len, SQLITE_STATIC,
                        SQLITE_UTF8);
}

static void bind_blob(struct sql_query *q, int i, struct slice v)
{
    sqlite3_bind_blob64(stmt_of(q), i, v.len > 0 ? (const void *)v.p : "", v.len, SQLITE_STATIC);
}

static void bind_number(struct sql_query *q, int i, int64_t v)
{
    sqlite3_bind_int64(stmt_of(q), i, v);
}

struct slice sqlite_col(sqlite3_stmt *q, int i)
{
    const void *p = sqlite3_column_blob(q, i);

    return slice_of(p, p ? (size_t)sqlite3_column_bytes(q, i) : 0);
}

uint64_t sqlite_col_u64(sqlite3_stmt *q, int i)
{
    sqlite3_int64 v = sqlite3_column_int64(q, i);

    return v > 0 ? (uint64_t)v : 0;
}

static struct slice col(struct sql_query *q, int i)
{
    return sqlite_col(stmt_of(q), i);
}

static int64_t col_number(struct sql_query *q, int i)
{
    return sqlite3_column_int64(stmt_of(q), i);
}

static void end(struct sql_query *q)
{
    sqlite3_stmt *st = stmt_of(q);

    sqlite3_reset(st);
    sqlite3_clear_bindings(st); /* they point into memory of the caller */
}

static int step(struct sql_query *q)
{
    int rc = sqlite3_step(stmt_of(q));

    if (rc == SQLITE_ROW)
        return 1;
    int bad = rc == SQLITE_DONE ? 0 : sqlite_fault(sqlite_of(q->store), rc);
    end(q);
    return bad;
}

static uint64_t changed(const struct sql_query *q)
{
    return (uint64_t)sqlite3_changes64(sqlite_of(q->store)->db);
}

static int settle(struct ledger_sql *s, int rc)
{
    sqlite3 *db = sqlite_of(s)->db;

    /* Some faults take the whole transaction back by themselves. */
    if (!db || sqlite3_get_autocommit(db))
        return rc != 0 ? rc : -EAGAIN;
    if (rc != 0) {
        enum ledger_health h = s->health;
        sq_do(s, SQ_UNDO);
        sq_do(s, SQ_RELEASE);
        s->health = h;
        return rc;
    }
    return sq_do(s, SQ_RELEASE);
}

const struct sql_engine sqlite_store_engine = {
    .get = get,
    .text = bind_text,
    .blob = bind_blob,
    .number = bind_number,
    .col = col,
    .col_number = col_number,
    .step = step,
    .end = end,
    .changed = changed,
    .settle = settle,
};

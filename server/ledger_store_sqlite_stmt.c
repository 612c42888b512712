/* Statements of the SQLite ledger: prepared once, bound, stepped, and several as one.
 *
 * Called by all files ledger_store_sqlite*.c. What goes wrong is noted by sq_fault().
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include <errno.h>

sqlite3_stmt *sq_get(struct sqlite_store *s, enum sq_id id)
{
    if (!s->db)
        return NULL;
    if (!s->stmt[id]) {
        int rc = sqlite3_prepare_v3(s->db, sqlite_store_sql[id], -1, SQLITE_PREPARE_PERSISTENT,
                                    &s->stmt[id], NULL);
        if (rc != SQLITE_OK) {
            /* Our own SQL is right: an error is a table that is not there any more. */
            if (sq_fault(s, rc) == -EIO)
                s->health = LEDGER_DAMAGED;
            return NULL;
        }
    }
    return s->stmt[id];
}

void sq_text(sqlite3_stmt *q, int i, struct slice v)
{
    if (q)
        sqlite3_bind_text64(q, i, v.len > 0 ? (const char *)v.p : "", v.len, SQLITE_STATIC,
                            SQLITE_UTF8);
}

void sq_blob(sqlite3_stmt *q, int i, const void *p, size_t n)
{
    if (q)
        sqlite3_bind_blob64(q, i, n > 0 ? p : "", n, SQLITE_STATIC);
}

void sq_u64(sqlite3_stmt *q, int i, uint64_t v)
{
    if (q)
        sqlite3_bind_int64(q, i, (sqlite3_int64)(v < TIME_MAX_MS ? v : TIME_MAX_MS));
}

struct slice sq_col(sqlite3_stmt *q, int i)
{
    const void *p = sqlite3_column_blob(q, i);

    return slice_of(p, p ? (size_t)sqlite3_column_bytes(q, i) : 0);
}

uint64_t sq_col_u64(sqlite3_stmt *q, int i)
{
    sqlite3_int64 v = sqlite3_column_int64(q, i);

    return v > 0 ? (uint64_t)v : 0;
}

void sq_col_bytes(sqlite3_stmt *q, int i, void *out, size_t n)
{
    struct slice v = sq_col(q, i);

    memset(out, 0, n);
    if (v.len == n)
        memcpy(out, v.p, n);
}

void sq_end(sqlite3_stmt *q)
{
    if (!q)
        return;
    sqlite3_reset(q);
    sqlite3_clear_bindings(q); /* they point into memory of the caller */
}

int sq_step(struct sqlite_store *s, sqlite3_stmt *q)
{
    if (!q)
        return -EAGAIN;
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        return 1;
    int bad = rc == SQLITE_DONE ? 0 : sq_fault(s, rc);
    sq_end(q);
    return bad;
}

int sq_run(struct sqlite_store *s, sqlite3_stmt *q, uint64_t *changed)
{
    int rc = sq_step(s, q);

    if (rc > 0) {
        sq_end(q);
        rc = 0;
    }
    if (rc == 0 && changed)
        *changed = (uint64_t)sqlite3_changes64(s->db);
    return rc;
}

int sq_do(struct sqlite_store *s, enum sq_id id)
{
    return sq_run(s, sq_get(s, id), NULL);
}

int sq_save(struct sqlite_store *s)
{
    return sq_do(s, SQ_SAVE);
}

int sq_settle(struct sqlite_store *s, int rc)
{
    /* Some faults take the whole transaction back by themselves. */
    if (!s->db || sqlite3_get_autocommit(s->db))
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

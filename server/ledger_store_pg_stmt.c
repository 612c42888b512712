/* Statements of the PostgreSQL ledger: prepared once per connection, bound, stepped, several as
 * one.
 *
 * Called by ledger_sql.c through pg_store_engine. A result is fetched whole: statements have a
 * LIMIT. What goes wrong is noted by pg_fault().
 *
 * An error ends a PostgreSQL transaction, unless there is a savepoint before it. Most functions of
 * the store are one statement without one: when a record of theirs is refused, the transaction is
 * lost (-EAGAIN) and its next attempt is careful: a savepoint before each statement, so that only
 * that record ends with -EIO.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_priv.h"

#include "proto/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BINARY = 1, PG_SQL_MAX = 2048 };

static struct pg_stmt *stmt_of(const struct sql_query *q)
{
    return &pg_of(q->store)->stmt[q->id];
}

/* ---- faults ---- */

struct meaning {
    const char *state; /* an SQLSTATE, or how it begins */
    enum ledger_health health;
};

/* What the codes of Appendix A of PostgreSQL's manual mean to the ledger; the first that fits. */
static enum ledger_health health_of(const char *state)
{
    static const struct meaning v[] = {
        {"08", LEDGER_AWAY},         {"57P0", LEDGER_AWAY},       {"53300", LEDGER_AWAY},
        {"28", LEDGER_AWAY},         {"3D", LEDGER_AWAY},         {"53100", LEDGER_DISK_FULL},
        {"25006", LEDGER_READ_ONLY}, {"42501", LEDGER_READ_ONLY}, {"XX00", LEDGER_DAMAGED},
        {"42", LEDGER_DAMAGED},      {"3F", LEDGER_DAMAGED},      {"22", LEDGER_FINE},
        {"54", LEDGER_FINE},         {"23", LEDGER_FINE}, /* a record that can't be: not the
                                                             engine's trouble */
    };

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        if (strncmp(state, v[i].state, strlen(v[i].state)) == 0)
            return v[i].health;
    return LEDGER_TROUBLE;
}

int pg_fault(struct pg_store *s, const PGresult *r)
{
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    /* The primary text names tables, not what is in them (that is in the detail). */
    const char *text = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : s->conn.detail;

    s->sql.health = !r ? LEDGER_AWAY : health_of(state ? state : "08");
    snprintf(s->sql.detail, sizeof(s->sql.detail), "PostgreSQL: %.5s%s%.400s", state ? state : "",
             state ? ": " : "", text && *text ? text : "the connection was lost");
    return s->sql.health == LEDGER_FINE ? -EIO : -EAGAIN;
}

/* Whether a result is none (0), or what is wrong with it. */
static int judge(struct pg_store *s, const PGresult *r)
{
    ExecStatusType is = r ? PQresultStatus(r) : PGRES_FATAL_ERROR;

    if (is == PGRES_COMMAND_OK || is == PGRES_TUPLES_OK || is == PGRES_EMPTY_QUERY ||
        is == PGRES_COPY_IN)
        return 0;
    return pg_fault(s, r);
}

int pg_do(struct pg_store *s, const char *sql)
{
    PGresult *r = pg_exec(&s->conn, sql, s->query_ms);
    int rc = judge(s, r);

    PQclear(r);
    return rc;
}

/* ---- binding ---- */

static void clear(struct pg_stmt *st)
{
    PQclear(st->rows);
    st->rows = NULL;
    st->row = st->params_n = 0;
    st->bad = false;
}

void pg_forget(struct pg_store *s)
{
    for (size_t i = 0; i < SQ_COUNT; i++) {
        clear(&s->stmt[i]);
        s->stmt[i].prepared = false;
    }
    s->saves = 0;
    s->sql.sweeping = false;
}

/* ?1 is $1 here. There is no other question mark in our SQL. */
static bool name_params(const char *sql, char out[PG_SQL_MAX])
{
    size_t n = strlen(sql);

    if (n >= PG_SQL_MAX)
        return false;
    for (size_t i = 0; i <= n; i++)
        out[i] = sql[i] == '?' ? '$' : sql[i];
    return true;
}

static bool get(struct sql_query *q)
{
    struct pg_store *s = pg_of(q->store);
    struct pg_stmt *st = stmt_of(q);
    char name[16], sql[PG_SQL_MAX];

    clear(st);
    if (!s->conn.pg || !name_params(sq_sql(q->store, q->id), sql))
        return false;
    if (st->prepared)
        return true;
    snprintf(name, sizeof(name), "s%u", (unsigned)q->id);
    PGresult *r = pg_await(&s->conn, PQsendPrepare(s->conn.pg, name, sql, 0, NULL), s->query_ms);
    int rc = judge(s, r);
    PQclear(r);
    if (rc == -EIO) /* our own SQL is right */
        s->sql.health = LEDGER_DAMAGED;
    st->prepared = rc == 0;
    return st->prepared;
}

static void bind(struct sql_query *q, int i, const void *p, size_t n)
{
    struct pg_stmt *st = stmt_of(q);

    if (i < 1 || i > PG_PARAMS_MAX || n > INT32_MAX) {
        st->bad = true;
        return;
    }
    st->value[i - 1] = n > 0 ? p : "";
    st->len[i - 1] = (int)n;
    if (st->params_n < i)
        st->params_n = i;
}

/* What is no UTF-8, or holds a NUL, is in no text of PostgreSQL's. */
static void bind_text(struct sql_query *q, int i, struct slice v)
{
    if (v.len > 0 && (memchr(v.p, 0, v.len) || !utf8_valid(v)))
        stmt_of(q)->bad = true;
    bind(q, i, v.p, v.len);
}

static void bind_blob(struct sql_query *q, int i, struct slice v)
{
    bind(q, i, v.p, v.len);
}

static void bind_number(struct sql_query *q, int i, int64_t v)
{
    struct pg_stmt *st = stmt_of(q);

    if (i < 1 || i > PG_PARAMS_MAX)
        return;
    struct wr w = wr_init(st->number[i - 1], 8);
    wr_be64(&w, (uint64_t)v);
    bind(q, i, st->number[i - 1], 8);
}

/* ---- columns ---- */

static struct slice col(struct sql_query *q, int i)
{
    struct pg_stmt *st = stmt_of(q);

    if (PQgetisnull(st->rows, st->row, i))
        return (struct slice){0};
    return slice_of(PQgetvalue(st->rows, st->row, i), (size_t)PQgetlength(st->rows, st->row, i));
}

static int64_t col_number(struct sql_query *q, int i)
{
    struct slice v = col(q, i);
    struct rd r = rd_init(v);

    switch (v.len) {
    case 8:
        return (int64_t)rd_be64(&r);
    case 4:
        return (int32_t)rd_be32(&r);
    case 2:
        return (int16_t)rd_be16(&r);
    default:
        return 0;
    }
}

/* ---- stepping ---- */

static PGresult *execute(struct pg_store *s, struct sql_query *q)
{
    struct pg_stmt *st = stmt_of(q);
    int formats[PG_PARAMS_MAX];
    char name[16];

    for (int i = 0; i < st->params_n; i++)
        formats[i] = BINARY;
    snprintf(name, sizeof(name), "s%u", (unsigned)q->id);
    return pg_await(
        &s->conn,
        PQsendQueryPrepared(s->conn.pg, name, st->params_n, st->value, st->len, formats, BINARY),
        s->query_ms);
}

/* Keeps the transaction alive over a statement that may be refused. */
static int execute_carefully(struct pg_store *s, struct sql_query *q, PGresult **out)
{
    int rc = pg_do(s, "SAVEPOINT careful");

    if (rc != 0)
        return rc;
    *out = execute(s, q);
    rc = judge(s, *out);
    if (rc == -EAGAIN)
        return rc;
    enum ledger_health h = s->sql.health;
    int ended = pg_do(s, rc == 0 ? "RELEASE careful" : "ROLLBACK TO careful; RELEASE careful");
    if (ended == 0)
        s->sql.health = h;
    return ended != 0 ? ended : rc;
}

/* Statements about the transaction itself. */
static bool is_control(enum sq_id id)
{
    return id <= SQ_UNDO;
}

static int first_step(struct pg_store *s, struct sql_query *q)
{
    struct pg_stmt *st = stmt_of(q);
    PGresult *r = NULL;
    int rc;

    if (st->bad || !s->conn.pg)
        return st->bad ? -EIO : -EAGAIN;
    bool inside = PQtransactionStatus(s->conn.pg) == PQTRANS_INTRANS;
    if (s->careful && inside && s->saves == 0 && !is_control(q->id)) {
        rc = execute_carefully(s, q, &r);
    } else {
        r = execute(s, q);
        rc = judge(s, r);
        if (rc == -EIO && inside && s->saves == 0) {
            s->careful = true;
            s->sql.health = LEDGER_TROUBLE;
            rc = -EAGAIN;
        }
    }
    if (rc != 0) {
        PQclear(r);
        return rc;
    }
    if (q->id == SQ_COMMIT && strcmp(PQcmdStatus(r), "COMMIT") != 0)
        rc = -EAGAIN; /* it had failed: "ROLLBACK" */
    if (q->id == SQ_SAVE)
        s->saves++;
    else if (q->id == SQ_RELEASE)
        s->saves--;
    s->changed = strtoull(PQcmdTuples(r), NULL, 10);
    st->rows = r;
    st->row = 0;
    return rc;
}

static void end(struct sql_query *q)
{
    clear(stmt_of(q));
}

static int step(struct sql_query *q)
{
    struct pg_store *s = pg_of(q->store);
    struct pg_stmt *st = stmt_of(q);
    int rc = 0;

    if (!st->rows)
        rc = first_step(s, q);
    else
        st->row++;
    if (rc == 0 && PQresultStatus(st->rows) == PGRES_TUPLES_OK && st->row < PQntuples(st->rows))
        return 1;
    clear(st);
    return rc;
}

static uint64_t changed(const struct sql_query *q)
{
    return pg_of(q->store)->changed;
}

static int settle(struct ledger_sql *base, int rc)
{
    struct pg_store *s = pg_of(base);
    enum ledger_health h = base->health;

    if (!s->conn.pg || rc == -EAGAIN)
        return rc != 0 ? rc : -EAGAIN;
    if (rc == 0)
        return sq_do(base, SQ_RELEASE);
    int undone = sq_do(base, SQ_UNDO);
    if (undone == 0)
        undone = sq_do(base, SQ_RELEASE);
    if (undone != 0)
        return undone;
    base->health = h;
    return rc;
}

const struct sql_engine pg_store_engine = {
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

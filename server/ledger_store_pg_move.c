/* A PostgreSQL ledger that a SQLite one is moved into.
 *
 * Called by ledger_main.c (sori-ledger). Rows come in batches by COPY, each a transaction with the
 * place that it brings the table to.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_move.h"
#include "server/ledger_store_pg_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 10000 };

struct ledger_pg_target {
    struct pg_store store; /* of it the connection, and how faults are noted */
};

void ledger_pg_target_free(struct ledger_pg_target *p)
{
    if (!p)
        return;
    pg_close(&p->store.conn);
    mem_free(p);
}

const char *ledger_pg_target_detail(const struct ledger_pg_target *p)
{
    return p->store.sql.detail;
}

static int run(struct ledger_pg_target *p, const char *sql)
{
    return pg_do(&p->store, sql) == 0 ? 0 : -EAGAIN;
}

/* One row of numbers; no row: zeros. */
static int numbers(struct ledger_pg_target *p, const char *sql, uint64_t *v, int n)
{
    PGresult *r = pg_exec(&p->store.conn, sql, PG_PATIENT_MS);
    int rc = 0;

    if (!r || PQresultStatus(r) != PGRES_TUPLES_OK) {
        pg_fault(&p->store, r);
        rc = -EAGAIN;
    }
    for (int i = 0; i < n && rc == 0; i++)
        v[i] = PQntuples(r) > 0 ? strtoull(PQgetvalue(r, 0, i), NULL, 10) : 0;
    PQclear(r);
    return rc;
}

/* All tables empty again. */
static int take_away(struct ledger_pg_target *p)
{
    char sql[128];
    int rc = run(p, "BEGIN");

    for (size_t i = 0; i < LEDGER_MOVE_TABLES && rc == 0; i++) {
        snprintf(sql, sizeof(sql), "TRUNCATE %s", ledger_move_tables[i].name);
        rc = run(p, sql);
    }
    if (rc == 0)
        rc = run(p, "TRUNCATE sori_move");
    return rc == 0 ? run(p, "COMMIT") : rc;
}

/* There is nothing yet. */
static int check_empty(struct ledger_pg_target *p, char why[LEDGER_STORE_WHY_MAX])
{
    char sql[128];
    uint64_t some = 0;
    int rc = 0;

    for (size_t i = 0; i < LEDGER_MOVE_TABLES && rc == 0 && !some; i++) {
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM (SELECT 1 FROM %s LIMIT 1) q",
                 ledger_move_tables[i].name);
        rc = numbers(p, sql, &some, 1);
    }
    if (rc != 0 || !some)
        return rc;
    snprintf(why, LEDGER_STORE_WHY_MAX,
             "the database has records already: move into an empty one, before a sori-server uses "
             "it");
    return -EEXIST;
}

static int take_place(struct ledger_pg_target *p, uint64_t mark, char why[LEDGER_STORE_WHY_MAX])
{
    uint64_t v[2] = {0}, mine = 0;
    char sql[160];
    int rc = numbers(p, "SELECT pg_try_advisory_lock(" PG_LOCK_MOVE ")::int", &mine, 1);

    if (rc == 0 && !mine) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "another move into this database is running");
        return -EBUSY;
    }
    if (rc == 0)
        rc = run(p, "CREATE TABLE IF NOT EXISTS sori_move(name TEXT PRIMARY KEY,"
                    " got BIGINT NOT NULL, left_out BIGINT NOT NULL, mark BIGINT NOT NULL)");
    if (rc == 0)
        rc = numbers(p, "SELECT count(*), coalesce(max(mark), 0) FROM sori_move", v, 2);
    if (rc == 0 && v[0] == 0)
        rc = check_empty(p, why);
    else if (rc == 0 && v[1] != (mark & INT64_MAX))
        rc = take_away(p);
    snprintf(sql, sizeof(sql),
             "INSERT INTO sori_move VALUES('', 0, 0, %llu) ON CONFLICT(name) DO NOTHING",
             (unsigned long long)(mark & INT64_MAX));
    return rc == 0 ? run(p, sql) : rc;
}

static int open_target(struct ledger_pg_target *p, const struct pg_where *w, uint64_t mark,
                       char why[LEDGER_STORE_WHY_MAX])
{
    p->store.query_ms = PG_PATIENT_MS;
    int rc = pg_connect(&p->store.conn, w) == 0 ? 0 : pg_fault(&p->store, NULL);
    if (rc == 0)
        rc = pg_migrate(&p->store, why);
    if (rc == 0)
        rc = take_place(p, mark, why);
    if (rc == -EAGAIN || rc == -EIO) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s", p->store.sql.detail);
        rc = -EAGAIN;
    }
    return rc;
}

int ledger_pg_target_open(const char *where, struct slice password, uint64_t mark,
                          struct ledger_pg_target **out, char why[LEDGER_STORE_WHY_MAX])
{
    struct ledger_pg_target *p = mem_zalloc(sizeof(*p));
    char *secret = password.len > 0 ? mem_strndup(password) : NULL;
    const struct pg_where w = {.where = where,
                               .password = secret,
                               .name = "sori-ledger",
                               .session = "read-write",
                               .connect_ms = CONNECT_MS};
    int rc = -ENOMEM;

    snprintf(why, LEDGER_STORE_WHY_MAX, "out of memory");
    if (p && (secret || password.len == 0))
        rc = open_target(p, &w, mark, why);
    if (secret)
        crypto_wipe(secret, strlen(secret));
    mem_free(secret);
    if (rc != 0) {
        ledger_pg_target_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

int ledger_pg_target_at(struct ledger_pg_target *p, const struct ledger_move_table *t,
                        uint64_t *got, uint64_t *left_out)
{
    uint64_t v[2] = {0};
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT got, left_out FROM sori_move WHERE name='%s'", t->name);
    int rc = numbers(p, sql, v, 2);
    if (rc == 0) {
        *got = v[0];
        *left_out = v[1];
    }
    return rc;
}

/* Hands the rows over; libpq's buffer takes them all, and goes on being sent. */
static int copy(struct ledger_pg_target *p, const struct ledger_move_table *t, struct slice rows)
{
    struct pg_store *s = &p->store;
    char sql[512];

    snprintf(sql, sizeof(sql), "COPY %s(%s) FROM STDIN BINARY", t->name, t->columns);
    if (run(p, sql) != 0)
        return -EAGAIN;
    PQsetnonblocking(s->conn.pg, 0); /* a tool may wait for as long as TCP keeps the connection */
    int sent = PQputCopyData(s->conn.pg, (const char *)rows.p, (int)rows.len) == 1 &&
               PQputCopyEnd(s->conn.pg, NULL) == 1;
    PGresult *r = pg_await(&s->conn, sent, PG_PATIENT_MS);
    int rc = r && PQresultStatus(r) == PGRES_COMMAND_OK ? 0 : pg_fault(s, r);
    PQclear(r);
    return rc == 0 ? 0 : -EAGAIN;
}

int ledger_pg_target_put(struct ledger_pg_target *p, const struct ledger_move_table *t,
                         struct slice rows, uint64_t got, uint64_t left_out)
{
    char sql[256];
    int rc = run(p, "BEGIN");

    if (rc == 0)
        rc = copy(p, t, rows);
    snprintf(sql, sizeof(sql),
             "INSERT INTO sori_move SELECT '%s', %llu, %llu, mark FROM sori_move WHERE name=''"
             " ON CONFLICT(name) DO UPDATE SET got=excluded.got, left_out=excluded.left_out",
             t->name, (unsigned long long)got, (unsigned long long)left_out);
    if (rc == 0)
        rc = run(p, sql);
    return rc == 0 ? run(p, "COMMIT") : rc;
}

int ledger_pg_target_count(struct ledger_pg_target *p, const struct ledger_move_table *t,
                           uint64_t *n)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s%s", t->name, t->where);
    return numbers(p, sql, n, 1);
}

int ledger_pg_target_finish(struct ledger_pg_target *p)
{
    return run(p, "DROP TABLE sori_move; ANALYZE");
}

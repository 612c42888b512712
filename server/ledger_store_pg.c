/* The PostgreSQL ledger: opening, transactions, what goes wrong.
 *
 * Called by ledger.c through ledger_store_ops, on the ledger's thread (ledger_link.c). The work is
 * in ledger_sql*.c, made of statements (ledger_store_pg_{schema,stmt}.c).
 *
 *     away ──recover(): connect, upgrade, take over──► open ──begin … commit──► open
 *       ▲                                               │
 *       └──────── connection lost, late, refused ───────┘
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- transactions ---- */

static int begin(struct ledger_store *base, bool write)
{
    struct pg_store *s = pg_of(sq_of(base));

    s->saves = 0;
    if (!write)
        return sq_do(&s->sql, SQ_BEGIN);
    /* While the lock is held nobody is erased: whether anybody has been holds for all of it. */
    PGresult *r = pg_exec(&s->conn,
                          "BEGIN; SELECT pg_advisory_xact_lock_shared(" PG_LOCK_WRITE ");"
                          "SELECT 1 FROM erased LIMIT 1",
                          s->query_ms);
    int rc = r && PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : pg_fault(s, r);
    s->sql.any_erased = rc == 0 && PQntuples(r) > 0;
    PQclear(r);
    return rc == 0 ? 0 : -EAGAIN;
}

static void rollback(struct ledger_store *base)
{
    struct pg_store *s = pg_of(sq_of(base));
    enum ledger_health h = s->sql.health;
    bool ended = !s->conn.pg || PQtransactionStatus(s->conn.pg) == PQTRANS_IDLE;

    if (!ended && pg_do(s, "ROLLBACK") != 0)
        pg_close(&s->conn);
    if (s->sql.sweeping && s->conn.pg &&
        pg_do(s, "SELECT pg_advisory_unlock(" PG_LOCK_SWEEP ")") != 0)
        pg_close(&s->conn);
    s->sql.sweeping = false;
    s->sql.reseal = (struct sq_reseal){0};
    s->sql.health = h;
}

static int commit(struct ledger_store *base)
{
    struct pg_store *s = pg_of(sq_of(base));

    if (sq_do(&s->sql, SQ_COMMIT) != 0) {
        if (s->sql.health == LEDGER_FINE)
            s->sql.health = LEDGER_TROUBLE;
        rollback(base);
        return -EAGAIN;
    }
    s->sql.health = LEDGER_FINE;
    s->careful = false;
    pg_vacuum_poll(s);
    return 0;
}

/* ---- opening ---- */

/* The first column of the first row, as a number; no row, or NULL: 0. */
static int ask_number(struct pg_store *s, const char *sql, int64_t *out)
{
    PGresult *r = pg_exec(&s->conn, sql, PG_PATIENT_MS);
    int rc = 0;

    if (!r || PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = pg_fault(s, r);
    else
        *out = PQntuples(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    PQclear(r);
    return rc;
}

static int refuse(char why[LEDGER_STORE_WHY_MAX], bool newer)
{
    snprintf(why, LEDGER_STORE_WHY_MAX, "[ledger] postgres: %s",
             newer ? "the tables were made by a newer version of sori-server: start that one, or "
                     "restore a backup made before the upgrade"
                   : "there are tables of another program: give the ledger a database of its own");
    return -EPROTONOSUPPORT;
}

/* Makes or upgrades the tables, alone. */
static int upgrade(struct pg_store *s, char why[LEDGER_STORE_WHY_MAX])
{
    int64_t version = 0, foreign = 0;
    char note[96];
    int rc = pg_do(s, "BEGIN");

    if (rc == 0)
        rc = pg_do(s, "SELECT pg_advisory_xact_lock(" PG_LOCK_SCHEMA ")");
    if (rc == 0)
        rc = ask_number(s,
                        /* By a query: what to_regclass() remembers may be from before the lock. */
                        "SELECT (count(*) FILTER (WHERE relname='cdr')>0 AND"
                        " count(*) FILTER (WHERE relname='sori_ledger')=0)::int FROM pg_class WHERE"
                        " relnamespace=current_schema()::regnamespace",
                        &foreign);
    if (rc == 0 && foreign)
        return refuse(why, false);
    if (rc == 0)
        rc = pg_do(s, "CREATE TABLE IF NOT EXISTS sori_ledger(version BIGINT PRIMARY KEY,"
                      " made TIMESTAMPTZ NOT NULL DEFAULT now())");
    if (rc == 0)
        rc = ask_number(s, "SELECT COALESCE(MAX(version), 0) FROM sori_ledger", &version);
    for (; rc == 0 && version < PG_STORE_VERSION; version++) {
        snprintf(note, sizeof(note), "INSERT INTO sori_ledger(version) VALUES(%d)",
                 (int)version + 1);
        rc = pg_do(s, pg_store_schema[version]);
        if (rc == 0)
            rc = pg_do(s, note);
    }
    return rc == 0 ? pg_do(s, "COMMIT") : rc;
}

int pg_migrate(struct pg_store *s, char why[LEDGER_STORE_WHY_MAX])
{
    int64_t there = 0, version = 0;
    int rc = ask_number(s, "SELECT (to_regclass('sori_ledger') IS NOT NULL)::int", &there);

    if (rc == 0 && there)
        rc = ask_number(s, "SELECT COALESCE(MAX(version), 0) FROM sori_ledger", &version);
    if (rc == 0 && version < PG_STORE_VERSION)
        rc = upgrade(s, why);
    if (rc == 0 && version > PG_STORE_VERSION)
        rc = refuse(why, true);
    return rc;
}

/* One server for each name, for as long as its connection is there: it ends the calls that were
 * open under that name. The connection of a crash may last a moment longer. */
static int take_name(struct pg_store *s)
{
    char sql[256];
    char *name = PQescapeLiteral(s->conn.pg, s->sql.node, strlen(s->sql.node));

    if (!name)
        return pg_fault(s, NULL);
    snprintf(sql, sizeof(sql), "SELECT pg_advisory_lock(hashtextextended(%s, " PG_LOCK_SCHEMA "))",
             name);
    PQfreemem(name);
    int rc = pg_do(s, sql);
    if (rc == -EAGAIN && s->sql.health == LEDGER_TROUBLE)
        snprintf(s->sql.detail, sizeof(s->sql.detail),
                 "PostgreSQL: another server has [server] node_id = %s", s->sql.node);
    return rc;
}

/* A move into it (sori-ledger) is over. */
static int check_moved(struct pg_store *s, char why[LEDGER_STORE_WHY_MAX])
{
    int64_t moving = 0;
    int rc = ask_number(s, "SELECT (to_regclass('sori_move') IS NOT NULL)::int", &moving);

    if (rc != 0 || !moving)
        return rc;
    snprintf(why, LEDGER_STORE_WHY_MAX,
             "[ledger] postgres: a ledger is being moved into this database: start sori-ledger "
             "again until it has ended well");
    return -EPROTONOSUPPORT;
}

static int connect_store(struct pg_store *s)
{
    const struct ledger_store_conf *c = &s->sql.conf;
    const struct pg_where w = {s->where,     s->password,           s->name,
                               "read-write", c->connect_timeout_ms, c->query_timeout_ms};

    pg_forget(s);
    if (pg_connect(&s->conn, &w) == 0)
        return 0;
    return pg_fault(s, NULL);
}

/* What is done at open may take long, where there is much. */
static int be_patient(struct pg_store *s, bool patient)
{
    char set[96];
    unsigned ms = patient ? 0 : (unsigned)s->sql.conf.query_timeout_ms;

    s->query_ms = patient ? PG_PATIENT_MS : s->sql.conf.query_timeout_ms + PG_GRACE_MS;
    snprintf(set, sizeof(set), "SET statement_timeout=%u; SET lock_timeout=%u", ms, ms);
    return pg_do(s, set);
}

/* Returns 0; -EAGAIN: health and detail are set; or a failure of the start with why. */
static int open_store(struct pg_store *s, uint64_t now_ms, char why[LEDGER_STORE_WHY_MAX])
{
    int rc = connect_store(s);

    s->query_ms = s->sql.conf.query_timeout_ms + PG_GRACE_MS;
    if (rc == 0) {
        s->sql.health = LEDGER_FINE;
        rc = take_name(s);
    }
    if (rc == 0)
        rc = be_patient(s, true);
    if (rc == 0)
        rc = pg_migrate(s, why);
    if (rc == 0)
        rc = check_moved(s, why);
    if (rc == 0)
        rc = sq_take(&s->sql, !s->taken, now_ms, why);
    if (rc == 0)
        rc = be_patient(s, false);
    if (rc == 0)
        rc = pg_do(s, "LISTEN " PG_CHANNEL);
    if (rc == 0) {
        s->missed = s->taken;           /* at the first time all is read anyway */
        s->taken = s->sql.scrub = true; /* a crash may have come between a purge and this */
        pg_vacuum_poll(s);
        return 0;
    }
    pg_close(&s->conn);
    pg_forget(s);
    if (s->sql.health == LEDGER_FINE)
        s->sql.health = LEDGER_DAMAGED; /* tables that are not as we made them */
    return rc == -EIO ? -EAGAIN : rc;
}

/* Still connected, and nothing is left of what went wrong (a deadlock, a statement that took too
 * long). */
static bool works_again(struct pg_store *s)
{
    bool passing = s->sql.health == LEDGER_TROUBLE || s->sql.health == LEDGER_FINE;

    return s->conn.pg && passing && PQtransactionStatus(s->conn.pg) == PQTRANS_IDLE &&
           pg_do(s, "SELECT 1") == 0;
}

static int recover(struct ledger_store *base, uint64_t now_ms)
{
    struct pg_store *s = pg_of(sq_of(base));
    char why[LEDGER_STORE_WHY_MAX] = "";

    rollback(base);
    if (works_again(s)) {
        s->sql.health = LEDGER_FINE;
        return 0;
    }
    sq_export_stop(&s->sql);
    int rc = open_store(s, now_ms, why);
    if (rc == 0)
        return 0;
    if (rc != -EAGAIN) { /* somebody has put another database there */
        s->sql.health = LEDGER_DAMAGED;
        snprintf(s->sql.detail, sizeof(s->sql.detail), "%s", why);
    }
    return -EAGAIN;
}

/* ---- what other servers tell ---- */

static int news(struct ledger_store *base, ledger_news_fn *told, void *ctx)
{
    struct pg_store *s = pg_of(sq_of(base));
    const struct slice anybody = {0};
    PGnotify *n;

    if (!s->conn.pg)
        return 0;
    if (!PQconsumeInput(s->conn.pg)) { /* gone, while nothing was asked of it */
        pg_lose(&s->conn);
        return pg_fault(s, NULL);
    }
    while ((n = PQnotifies(s->conn.pg))) {
        if (n->be_pid != PQbackendPID(s->conn.pg) && !told(ctx, slice_str(n->extra)))
            s->missed = true;
        PQfreemem(n);
    }
    if (s->missed && told(ctx, anybody))
        s->missed = false;
    return 0;
}

static int store_fd(const struct ledger_store *base)
{
    const struct pg_store *s = (const struct pg_store *)(const void *)base;

    return s->conn.pg ? PQsocket(s->conn.pg) : -1;
}

/* ---- life ---- */

static void store_free(struct ledger_store *base)
{
    struct pg_store *s = pg_of(sq_of(base));

    pg_vacuum_stop(s);
    pg_forget(s);
    pg_close(&s->conn);
    sq_fini(&s->sql);
    if (s->password)
        crypto_wipe(s->password, strlen(s->password));
    mem_free(s->password);
    mem_free(s->where);
    mem_free(s->name);
    mem_free(s);
}

static const struct ledger_store_ops OPS = {
    .recover = recover,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    SQ_SHARED_OPS,
    .news = news,
    .fd = store_fd,
    .free = store_free,
};

static int fill(struct pg_store *s, const struct ledger_store_conf *conf)
{
    size_t n = strlen("sori ") + strlen(conf->node) + 1;

    s->sql.base.ops = &OPS;
    s->where = mem_strndup(slice_str(conf->postgres));
    s->password = conf->password.len > 0 ? mem_strndup(conf->password) : NULL;
    s->name = mem_zalloc(n);
    if (!s->where || !s->name || (conf->password.len > 0 && !s->password))
        return -ENOMEM;
    snprintf(s->name, n, "sori %s", conf->node);
    return sq_init(&s->sql, &pg_store_engine, pg_store_sql, conf, conf->erased_file,
                   conf->export_dir);
}

int ledger_pg_open(const struct ledger_store_conf *conf, uint64_t now_ms, struct ledger_store **out,
                   char why[LEDGER_STORE_WHY_MAX])
{
    struct pg_store *s = mem_zalloc(sizeof(*s));

    snprintf(why, LEDGER_STORE_WHY_MAX, "out of memory");
    if (!s)
        return -ENOMEM;
    int rc = fill(s, conf);
    if (rc == 0) {
        why[0] = '\0';
        rc = open_store(s, now_ms, why);
    }
    if (rc == -EAGAIN)
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s", s->sql.detail);
    if (rc == 0 || rc == -EAGAIN) {
        *out = &s->sql.base;
        return 0;
    }
    store_free(&s->sql.base);
    return rc;
}

/* Shared by the files ledger_store_pg*.c only: connections and statements.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_PG_PRIV_H
#define SORI_SERVER_LEDGER_STORE_PG_PRIV_H

#include "server/ledger_sql.h"
#include "server/ledger_store_pg.h"

#include <libpq-fe.h>

enum {
    PG_STORE_VERSION = 4,
    PG_PARAMS_MAX = 17,
    PG_GRACE_MS = 300,      /* the database's own limit of a statement comes first */
    PG_PATIENT_MS = 600000, /* for what has to be done at open, however long it takes */
};
/* Names of advisory locks: "sori" and a number. */
#define PG_LOCK_SCHEMA "8318272451017768961" /* who makes or upgrades tables */
#define PG_LOCK_SWEEP  "8318272451017768962" /* who sweeps: of a session */
#define PG_LOCK_MOVE   "8318272451017768963" /* sori-ledger: of a session */
#define PG_LOCK_WRITE  "8318272451017768964" /* shared by all who write; SQ_ALONE has it alone */
#define PG_LOCK_AUDIT  "8318272451017768965" /* who adds to the audit log */

#define PG_CHANNEL "sori_device" /* who has a device changed: a user a notification */

extern const char *const pg_store_sql[SQ_COUNT];
extern const char *const pg_store_schema[PG_STORE_VERSION]; /* version i to i + 1 */
extern const char *const pg_store_vacuum[];                 /* tables that name users; NULL ended */
extern const struct sql_engine pg_store_engine;             /* …_stmt.c */

/* ---- a connection (…_conn.c): every wait has a deadline ---- */

struct pg_conn {
    PGconn *pg;  /* NULL: none */
    size_t host; /* of those that are named: the one that was connected last */
    char detail[LEDGER_STORE_WHY_MAX];
};
struct pg_where {
    const char *where;    /* as checked by ledger_pg_where_check() */
    const char *password; /* NULL: none */
    const char *name;     /* of the application, for the server's own lists */
    const char *session;  /* target_session_attrs */
    uint64_t connect_ms, query_ms;
};
/* Connects to the first of the hosts that answers in its share of the time and is what session
 * asks for, and sets the session up: statements end after query_ms (0: never), what is committed is
 * on a disk. Returns 0; -EAGAIN: detail says why, pg is NULL. */
int pg_connect(struct pg_conn *c, const struct pg_where *w);
void pg_close(struct pg_conn *c); /* none is allowed */
/* Closes it; detail says what libpq says of it. */
void pg_lose(struct pg_conn *c);
/* Waits for the answer to what PQsend…() has been asked (sent: what that returned). NULL: the
 * connection was lost, or the time was over: it is closed, detail says why. */
PGresult *pg_await(struct pg_conn *c, int sent, uint64_t timeout_ms);
/* Sends one or more commands of literals and waits. As pg_await(). */
PGresult *pg_exec(struct pg_conn *c, const char *sql, uint64_t timeout_ms);

/* ---- the store ---- */

struct pg_stmt {
    bool prepared, bad; /* bad: a parameter that no text can be */
    PGresult *rows;     /* being stepped through */
    int row, params_n;
    const char *value[PG_PARAMS_MAX];
    int len[PG_PARAMS_MAX];
    uint8_t number[PG_PARAMS_MAX][8];
};

struct pg_store {
    struct ledger_sql sql;
    char *where, *password, *name;
    struct pg_conn conn;
    struct pg_conn vacuum; /* connected while rows are vacuumed */
    bool missed;           /* others may have told something that did not come */
    bool taken;            /* it was open once: calls that are open are of this process */
    unsigned saves;        /* SQ_SAVEs that have not ended */
    bool careful;          /* a record was refused: keep it from taking others along */
    uint64_t query_ms, changed;
    uint64_t vacuum_us, vacuum_began_us; /* none before; the last one's beginning */
    struct pg_stmt stmt[SQ_COUNT];
};

static inline struct pg_store *pg_of(struct ledger_sql *s)
{
    return (struct pg_store *)(void *)s;
}

/* Makes or upgrades the tables, which several may do at once. Returns 0; -EAGAIN, -EIO; or
 * -EPROTONOSUPPORT with why. (ledger_store_pg.c) */
int pg_migrate(struct pg_store *s, char why[LEDGER_STORE_WHY_MAX]);

/* Notes what PostgreSQL says is wrong (r NULL: the connection's detail). Returns -EAGAIN or -EIO.
 * (…_stmt.c) */
int pg_fault(struct pg_store *s, const PGresult *r);
/* Runs commands of literals on the store's connection. Returns 0, -EAGAIN, -EIO. (…_stmt.c) */
int pg_do(struct pg_store *s, const char *sql);
/* Forgets what belonged to a connection that is gone. (…_stmt.c) */
void pg_forget(struct pg_store *s);

/* ---- vacuuming (…_vacuum.c) ---- */

/* Starts what s->sql.scrub asks for, or looks how far it is. Does not wait, but to connect. */
void pg_vacuum_poll(struct pg_store *s);
void pg_vacuum_stop(struct pg_store *s);

#endif

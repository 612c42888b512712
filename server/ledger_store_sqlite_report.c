/* What the daily report takes from a SQLite ledger.
 *
 * Called by report_main.c. A connection of its own, read-only; each table is one short read, so
 * that the server's checkpoints are not held up for long.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_report.h"
#include "server/ledger_report_row.h"
#include "server/ledger_store_sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"

#define APPLICATION_ID   0x536f7269 /* "Sori" */
#define BUSY_MS          5000
#define ICE_FAILED_SINCE 3 /* version of the tables */
#define NETWORK_SINCE    4

struct source {
    sqlite3 *db;
    struct usage_report *report;
    uint32_t from, to;
    int version; /* of the tables */
    char *why;
};

static int fault(struct source *s, int rc)
{
    int primary = rc & 0xff;

    snprintf(s->why, LEDGER_STORE_WHY_MAX, "%s",
             s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED)
        return -EAGAIN;
    return primary == SQLITE_NOMEM ? -ENOMEM : primary == SQLITE_CANTOPEN ? -ENOENT : -EBADMSG;
}

static struct slice row_text(void *engine, int i)
{
    return sqlite_col(engine, i);
}

static uint64_t row_number(void *engine, int i)
{
    return sqlite_col_u64(engine, i);
}

/* Gives each row of sql, whose parameters are the first and the last millisecond, to fn. table must
 * be there, or there is nothing to read. */
static int each(struct source *s, const char *table, const char *sql, ledger_row_fn *fn)
{
    sqlite3_stmt *q = NULL;
    int rc;

    if (sqlite3_table_column_metadata(s->db, NULL, table, NULL, NULL, NULL, NULL, NULL, NULL) !=
        SQLITE_OK) {
        rc = sqlite3_errcode(s->db) & 0xff;
        return rc == SQLITE_ERROR ? 0 : fault(s, rc); /* SQLITE_ERROR: no such table */
    }
    rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
    if (rc != SQLITE_OK)
        return fault(s, rc);
    sqlite3_bind_int64(q, 1, (sqlite3_int64)(s->from * DAY_MS));
    sqlite3_bind_int64(q, 2, (sqlite3_int64)((s->to + 1) * DAY_MS - 1));
    const struct ledger_row row = {q, row_text, row_number};
    int bad = 0;
    while (bad == 0 && (rc = sqlite3_step(q)) == SQLITE_ROW)
        bad = fn(s->report, &row);
    if (bad == 0 && rc != SQLITE_DONE)
        bad = fault(s, rc);
    sqlite3_finalize(q);
    return bad;
}

#define DAYS                                                            \
    " WHERE day BETWEEN strftime('%Y-%m-%d', ?1/1000, 'unixepoch') AND" \
    " strftime('%Y-%m-%d', ?2/1000, 'unixepoch')"

/* What is kept when calls and pushes are gone. */
static int read_sums(struct source *s)
{
    int rc = each(s, "usage_day",
                  s->version < ICE_FAILED_SINCE
                      ? "SELECT day, region, path, state, SUM(calls), SUM(seconds), 0 FROM"
                        " usage_day" DAYS " GROUP BY 1, 2, 3, 4"
                      : "SELECT day, region, path, state, SUM(calls), SUM(seconds),"
                        " SUM(ice_failed) FROM usage_day" DAYS " GROUP BY 1, 2, 3, 4",
                  ledger_row_sum);

    if (rc == 0)
        rc = each(s, "usage_push", "SELECT day, kind, status, reason, pushes FROM usage_push" DAYS,
                  ledger_row_push_sum);
    return rc;
}

static int read_all(struct source *s)
{
    int rc = each(s, "cdr",
                  "SELECT call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state,"
                  " end_reason, path, region FROM cdr WHERE created_ms BETWEEN ?1 AND ?2 AND"
                  " end_ms>0",
                  ledger_row_call);

    if (rc == 0)
        rc = each(
            s, "quality_leg",
            s->version < NETWORK_SINCE
                ? "SELECT call_id, codec, path, samples, mos_avg, at_ms, '', '' FROM quality_leg"
                  " WHERE at_ms BETWEEN ?1 AND ?2"
                : "SELECT call_id, codec, path, samples, mos_avg, at_ms, network, leg FROM"
                  " quality_leg WHERE at_ms BETWEEN ?1 AND ?2",
            ledger_row_leg);
    if (rc == 0)
        rc = each(s, "push_log",
                  "SELECT call_id, kind, status, reason, sent_ms, answered_ms FROM push_log"
                  " WHERE sent_ms BETWEEN ?1 AND ?2",
                  ledger_row_push);
    return rc == 0 ? read_sums(s) : rc;
}

/* ---- the file ---- */

static int ask(struct source *s, const char *sql, int *out)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        *out = sqlite3_column_int(q, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(q);
    return rc == SQLITE_OK ? 0 : fault(s, rc);
}

/* file as a URI with these parameters: bytes that mean something in one are escaped. Heap memory,
 * or NULL. */
static char *uri_of(const char *file, const char *parameters)
{
    size_t cap = strlen("file:") + 3 * strlen(file) + strlen(parameters) + 1;
    uint8_t *p = mem_realloc(NULL, cap);
    struct wr w = wr_init(p, cap);

    if (!p)
        return NULL;
    wr_str(&w, "file:");
    for (; *file; file++) {
        if (strchr("?#%", *file))
            wr_fmt(&w, "%%%02x", (unsigned)(unsigned char)*file);
        else
            wr_u8(&w, (uint8_t)*file);
    }
    wr_str(&w, parameters);
    wr_u8(&w, 0);
    return (char *)p;
}

static int open_as(struct source *s, const char *file, const char *parameters)
{
    char *uri = uri_of(file, parameters);
    int ignored;

    if (!uri)
        return -ENOMEM;
    int rc = sqlite3_open_v2(uri, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    mem_free(uri);
    if (rc != SQLITE_OK)
        return fault(s, rc);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    return ask(s, "SELECT COUNT(*) FROM sqlite_master", &ignored);
}

/* A ledger whose server does not run, in a directory where we may not write, cannot be opened as
 * one that others may write: but then nobody does, if there is no WAL. */
static int open_ledger(struct source *s, const char *file)
{
    char wal[4096];
    struct stat st;
    int rc = open_as(s, file, "?mode=ro");

    if (rc != -ENOENT || stat(file, &st) != 0 ||
        (size_t)snprintf(wal, sizeof(wal), "%s-wal", file) >= sizeof(wal) ||
        (stat(wal, &st) == 0 && st.st_size > 0))
        return rc;
    sqlite3_close(s->db);
    s->db = NULL;
    return open_as(s, file, "?mode=ro&immutable=1");
}

static int check_version(struct source *s)
{
    int application = 0;
    int rc = ask(s, "PRAGMA application_id", &application);

    if (rc == 0)
        rc = ask(s, "PRAGMA user_version", &s->version);
    if (rc != 0)
        return rc;
    if (application != APPLICATION_ID || s->version < 1) {
        snprintf(s->why, LEDGER_STORE_WHY_MAX, "it is no ledger of sori-server");
        return -EPROTONOSUPPORT;
    }
    if (s->version > SQLITE_STORE_VERSION) {
        snprintf(s->why, LEDGER_STORE_WHY_MAX,
                 "it is of version %d, this program knows %d: take the sori-report of the server's "
                 "version",
                 s->version, SQLITE_STORE_VERSION);
        return -EPROTONOSUPPORT;
    }
    return 0;
}

int ledger_sqlite_report(const char *file, uint32_t from, uint32_t to, struct usage_report *r,
                         char why[LEDGER_STORE_WHY_MAX])
{
    struct source s = {.report = r, .from = from, .to = to, .why = why};

    why[0] = '\0';
    int rc = open_ledger(&s, file);
    if (rc == 0)
        rc = check_version(&s);
    if (rc == 0)
        rc = read_all(&s);
    sqlite3_close(s.db);
    return rc;
}

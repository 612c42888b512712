/* What the daily report takes from a SQLite ledger.
 *
 * Called by report_main.c. A connection of its own, read-only; each table is one short read, so
 * that the server's checkpoints are not held up for long. Nothing here trusts the file: numbers
 * are clamped and words that are not known stand for the first of their kind.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_report.h"
#include "server/ledger_store_sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"

#define APPLICATION_ID   0x536f7269 /* "Sori" */
#define BUSY_MS          5000
#define ICE_FAILED_SINCE 3 /* version of the tables */
#define DAY_MS           UINT64_C(86400000)

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

    snprintf(s->why, LEDGER_SQLITE_WHY_MAX, "%s",
             s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED)
        return -EAGAIN;
    return primary == SQLITE_NOMEM ? -ENOMEM : primary == SQLITE_CANTOPEN ? -ENOENT : -EBADMSG;
}

typedef int row_fn(struct source *s, sqlite3_stmt *q);

/* Gives each row of sql, whose parameters are the first and the last millisecond, to fn. table must
 * be there, or there is nothing to read. */
static int each(struct source *s, const char *table, const char *sql, row_fn *fn)
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
    int bad = 0;
    while (bad == 0 && (rc = sqlite3_step(q)) == SQLITE_ROW)
        bad = fn(s, q);
    if (bad == 0 && rc != SQLITE_DONE)
        bad = fault(s, rc);
    sqlite3_finalize(q);
    return bad;
}

/* ---- rows ---- */

static int on_call(struct source *s, sqlite3_stmt *q)
{
    struct usage_call c = {.group = slice_is(sq_col(q, 1), "group"),
                           .video = slice_is(sq_col(q, 2), "video"),
                           .created_ms = sq_col_u64(q, 3),
                           .ring_ms = sq_col_u64(q, 4),
                           .answer_ms = sq_col_u64(q, 5),
                           .end_ms = sq_col_u64(q, 6),
                           .outcome = LEDGER_FAILED,
                           .region = sq_col(q, 10)};

    sq_col_bytes(q, 0, c.id.b, sizeof(c.id.b));
    ledger_outcome_parse(sq_col(q, 7), &c.outcome);
    ledger_reason_parse(sq_col(q, 8), &c.reason);
    ledger_path_parse(sq_col(q, 9), &c.path);
    return usage_report_call(s->report, &c);
}

static int on_leg(struct source *s, sqlite3_stmt *q)
{
    uint64_t samples = sq_col_u64(q, 3), mos = sq_col_u64(q, 4);
    struct usage_leg l = {.codec = sq_col(q, 1),
                          .samples = samples < UINT32_MAX ? (unsigned)samples : UINT32_MAX,
                          .mos_milli = mos < UINT32_MAX ? (unsigned)mos : UINT32_MAX,
                          .at_ms = sq_col_u64(q, 5)};

    sq_col_bytes(q, 0, l.id.b, sizeof(l.id.b));
    ledger_path_parse(sq_col(q, 2), &l.path);
    return usage_report_leg(s->report, &l);
}

static int on_push(struct source *s, sqlite3_stmt *q)
{
    uint64_t status = sq_col_u64(q, 2);
    struct usage_push p = {.kind = sq_col(q, 1),
                           .status = status < 1000 ? (unsigned)status : 0,
                           .reason = sq_col(q, 3),
                           .sent_ms = sq_col_u64(q, 4),
                           .answered_ms = sq_col_u64(q, 5)};

    sq_col_bytes(q, 0, p.id.b, sizeof(p.id.b));
    return usage_report_push(s->report, &p);
}

static int on_sum(struct source *s, sqlite3_stmt *q)
{
    struct usage_sum sum = {.region = sq_col(q, 1),
                            .outcome = LEDGER_FAILED,
                            .calls = sq_col_u64(q, 4),
                            .seconds = sq_col_u64(q, 5),
                            .ice_failed = sq_col_u64(q, 6)};

    if (usage_day_parse(sq_col(q, 0), &sum.day) != 0)
        return 0;
    ledger_path_parse(sq_col(q, 2), &sum.path);
    ledger_outcome_parse(sq_col(q, 3), &sum.outcome);
    return usage_report_sum(s->report, &sum);
}

static int on_push_sum(struct source *s, sqlite3_stmt *q)
{
    uint64_t status = sq_col_u64(q, 2);
    struct usage_push_sum sum = {.kind = sq_col(q, 1),
                                 .status = status < 1000 ? (unsigned)status : 0,
                                 .reason = sq_col(q, 3),
                                 .count = sq_col_u64(q, 4)};

    if (usage_day_parse(sq_col(q, 0), &sum.day) != 0)
        return 0;
    return usage_report_push_sum(s->report, &sum);
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
                  on_sum);

    if (rc == 0)
        rc = each(s, "usage_push", "SELECT day, kind, status, reason, pushes FROM usage_push" DAYS,
                  on_push_sum);
    return rc;
}

static int read_all(struct source *s)
{
    int rc = each(s, "cdr",
                  "SELECT call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state,"
                  " end_reason, path, region FROM cdr WHERE created_ms BETWEEN ?1 AND ?2 AND"
                  " end_ms>0",
                  on_call);

    if (rc == 0)
        rc = each(s, "quality_leg",
                  "SELECT call_id, codec, path, samples, mos_avg, at_ms FROM quality_leg"
                  " WHERE at_ms BETWEEN ?1 AND ?2",
                  on_leg);
    if (rc == 0)
        rc = each(s, "push_log",
                  "SELECT call_id, kind, status, reason, sent_ms, answered_ms FROM push_log"
                  " WHERE sent_ms BETWEEN ?1 AND ?2",
                  on_push);
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
        snprintf(s->why, LEDGER_SQLITE_WHY_MAX, "it is no ledger of sori-server");
        return -EPROTONOSUPPORT;
    }
    if (s->version > SQLITE_STORE_VERSION) {
        snprintf(s->why, LEDGER_SQLITE_WHY_MAX,
                 "it is of version %d, this program knows %d: take the sori-report of the server's "
                 "version",
                 s->version, SQLITE_STORE_VERSION);
        return -EPROTONOSUPPORT;
    }
    return 0;
}

int ledger_sqlite_report(const char *file, uint32_t from, uint32_t to, struct usage_report *r,
                         char why[LEDGER_SQLITE_WHY_MAX])
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

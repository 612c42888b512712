/* What the daily report takes from a PostgreSQL ledger.
 *
 * Called by report_main.c. A connection and one read-only transaction of its own; a row at a time
 * comes from the database, so that many calls need no memory here.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_report.h"
#include "server/ledger_report_row.h"
#include "server/ledger_store_pg_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 10000, FETCH_ROWS = 2000 };
enum { NETWORK_SINCE = 2 }; /* version of the tables */

struct source {
    struct pg_conn conn;
    struct usage_report *report;
    uint32_t from, to;
    long version; /* of the tables */
    char *why;
};

struct place {
    PGresult *rows;
    int row;
};

static struct slice row_text(void *engine, int i)
{
    struct place *p = engine;

    return slice_of(PQgetvalue(p->rows, p->row, i), (size_t)PQgetlength(p->rows, p->row, i));
}

static uint64_t row_number(void *engine, int i)
{
    struct slice v = row_text(engine, i);
    struct rd r = rd_init(v);
    uint64_t n = v.len == 8 ? rd_be64(&r) : 0;

    return n <= INT64_MAX ? n : 0;
}

static int fault(struct source *s, const PGresult *r)
{
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *text = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : s->conn.detail;

    snprintf(s->why, LEDGER_STORE_WHY_MAX, "PostgreSQL: %.400s", text ? text : "no answer");
    return state && (strncmp(state, "XX", 2) == 0 || strncmp(state, "42", 2) == 0) ? -EBADMSG
                                                                                   : -EAGAIN;
}

/* Does it; the result is of no interest. */
static int run(struct source *s, const char *sql)
{
    PGresult *r = pg_exec(&s->conn, sql, PG_PATIENT_MS);
    bool good = r && PQresultStatus(r) != PGRES_FATAL_ERROR;
    int rc = good ? 0 : fault(s, r);

    PQclear(r);
    return rc;
}

/* The next rows of the cursor, in binary form. */
static int fetch(struct source *s, ledger_row_fn *fn, int *n)
{
    char sql[64];
    int rc = 0;

    snprintf(sql, sizeof(sql), "FETCH %d FROM rows", FETCH_ROWS);
    struct place at = {
        .rows = pg_await(&s->conn, PQsendQueryParams(s->conn.pg, sql, 0, NULL, NULL, NULL, NULL, 1),
                         PG_PATIENT_MS)};
    const struct ledger_row row = {&at, row_text, row_number};

    if (!at.rows || PQresultStatus(at.rows) != PGRES_TUPLES_OK)
        rc = fault(s, at.rows);
    *n = rc == 0 ? PQntuples(at.rows) : 0;
    for (; rc == 0 && at.row < *n; at.row++)
        rc = fn(s->report, &row);
    PQclear(at.rows);
    return rc;
}

/* Gives each row of sql to fn; it ends with the bounds of what: milliseconds, or days. */
static int each(struct source *s, const char *sql, const char *bounds, ledger_row_fn *fn)
{
    char text[1024];
    int rc, n = FETCH_ROWS;

    snprintf(text, sizeof(text), "DECLARE rows NO SCROLL CURSOR FOR %s %s", sql, bounds);
    rc = run(s, text);
    while (rc == 0 && n == FETCH_ROWS)
        rc = fetch(s, fn, &n);
    return rc == 0 ? run(s, "CLOSE rows") : rc;
}

static int read_all(struct source *s)
{
    char ms[128], days[256], group[300], first[16] = "", last[16] = "";
    struct wr a = wr_init(first, sizeof(first) - 1), b = wr_init(last, sizeof(last) - 1);

    usage_day_write(&a, s->from);
    usage_day_write(&b, s->to);
    snprintf(ms, sizeof(ms), "BETWEEN %llu AND %llu", (unsigned long long)(s->from * DAY_MS),
             (unsigned long long)((s->to + 1) * DAY_MS - 1));
    snprintf(days, sizeof(days), "WHERE day BETWEEN '%s' AND '%s'", first, last);
    snprintf(group, sizeof(group), "%s GROUP BY 1, 2, 3, 4", days);
    int rc = each(s,
                  "SELECT call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state,"
                  " end_reason, path, region FROM cdr WHERE end_ms>0 AND created_ms",
                  ms, ledger_row_call);

    if (rc == 0)
        rc = each(s,
                  s->version < NETWORK_SINCE
                      ? "SELECT call_id, codec, path, samples, mos_avg, at_ms, ''::text, leg FROM"
                        " quality_leg WHERE at_ms"
                      : "SELECT call_id, codec, path, samples, mos_avg, at_ms, network, leg FROM"
                        " quality_leg WHERE at_ms",
                  ms, ledger_row_leg);
    if (rc == 0)
        rc = each(s,
                  "SELECT call_id, kind, status, reason, sent_ms, answered_ms FROM push_log WHERE"
                  " sent_ms",
                  ms, ledger_row_push);
    if (rc == 0)
        rc = each(s,
                  "SELECT day, region, path, state, SUM(calls)::bigint, SUM(seconds)::bigint,"
                  " SUM(ice_failed)::bigint FROM usage_day",
                  group, ledger_row_sum);
    if (rc == 0)
        rc = each(s, "SELECT day, kind, status, reason, SUM(pushes)::bigint FROM usage_push", group,
                  ledger_row_push_sum);
    return rc;
}

static int check_version(struct source *s)
{
    PGresult *r =
        pg_exec(&s->conn, "SELECT COALESCE(MAX(version), 0) FROM sori_ledger", PG_PATIENT_MS);
    long version = -1;

    if (r && PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1)
        version = strtol(PQgetvalue(r, 0, 0), NULL, 10);
    int rc = r ? 0 : fault(s, r);
    PQclear(r);
    s->version = version;
    if (rc == 0 && version < 1) {
        snprintf(s->why, LEDGER_STORE_WHY_MAX, "it is no ledger of sori-server");
        rc = -EPROTONOSUPPORT;
    } else if (rc == 0 && version > PG_STORE_VERSION) {
        snprintf(s->why, LEDGER_STORE_WHY_MAX,
                 "it is of version %ld, this program knows %d: take the sori-report of the "
                 "server's version",
                 version, PG_STORE_VERSION);
        rc = -EPROTONOSUPPORT;
    }
    return rc;
}

static int read_from(struct source *s, const struct pg_where *w)
{
    if (pg_connect(&s->conn, w) != 0)
        return fault(s, NULL);
    int rc = run(s, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    if (rc == 0)
        rc = check_version(s);
    if (rc == 0)
        rc = read_all(s);
    if (rc == 0)
        rc = run(s, "COMMIT");
    pg_close(&s->conn);
    return rc;
}

int ledger_pg_report(const char *where, struct slice password, uint32_t from, uint32_t to,
                     struct usage_report *r, char why[LEDGER_STORE_WHY_MAX])
{
    struct source s = {.report = r, .from = from, .to = to, .why = why};
    char *secret = NULL;

    why[0] = '\0';
    int rc = ledger_pg_where_check(where, why);
    if (rc != 0)
        return rc;
    if (password.len > 0 && !(secret = mem_strndup(password)))
        return -ENOMEM;
    const struct pg_where w = {.where = where,
                               .password = secret,
                               .name = "sori-report",
                               .session = "any",
                               .connect_ms = CONNECT_MS};
    rc = read_from(&s, &w);
    if (secret)
        crypto_wipe(secret, strlen(secret));
    mem_free(secret);
    return rc;
}

/* After a purge: the rows of the erased leave the tables' pages and indexes.
 *
 * A deleted row stays in its page until VACUUM, which may take long and must not hold the ledger
 * up: it runs on a connection of its own, all tables in one pipeline, each a transaction. Called
 * after each commit; never waits, but to connect.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_priv.h"

#include "base/clock.h"

#include <stdio.h>

#define PAUSE_US (60 * US_PER_S) /* after one that failed */
#define SHARE    9               /* of the time nothing is vacuumed, to one that it is */

/* Sends all of it; the server works it off by itself. False: the connection is lost. */
static bool send_all(struct pg_conn *c)
{
    char sql[64];

    if (!PQenterPipelineMode(c->pg))
        return false;
    for (size_t i = 0; pg_store_vacuum[i]; i++) {
        snprintf(sql, sizeof(sql), "VACUUM %s", pg_store_vacuum[i]);
        if (!PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0) || !PQpipelineSync(c->pg))
            return false;
    }
    return PQflush(c->pg) >= 0;
}

static void start(struct pg_store *s)
{
    const struct pg_where w = {
        s->where, s->password, s->name, "read-write", s->sql.conf.connect_timeout_ms, 0};

    s->vacuum_began_us = clock_now_us();
    s->vacuum_us = s->vacuum_began_us + PAUSE_US;
    if (pg_connect(&s->vacuum, &w) != 0)
        return; /* it stays asked for */
    if (send_all(&s->vacuum))
        s->sql.scrub = false;
    else
        pg_close(&s->vacuum);
}

/* Reads the answers that are there. True: they were the last ones. */
static bool drain(struct pg_store *s, bool *failed)
{
    PGconn *pg = s->vacuum.pg;
    size_t nulls = 0;

    if (PQflush(pg) < 0 || !PQconsumeInput(pg)) {
        s->sql.scrub = *failed = true; /* once more */
        return true;
    }
    while (!PQisBusy(pg)) {
        PGresult *r = PQgetResult(pg);
        if (!r) {
            if (++nulls > 1) /* nothing is on its way any more */
                return true;
            continue;
        }
        nulls = 0;
        if (PQresultStatus(r) == PGRES_FATAL_ERROR)
            s->sql.scrub = *failed = true;
        PQclear(r);
    }
    return false;
}

void pg_vacuum_poll(struct pg_store *s)
{
    bool failed = false;

    if (s->vacuum.pg) {
        if (!drain(s, &failed))
            return;
        pg_close(&s->vacuum);
        if (!failed)
            s->vacuum_us = clock_now_us() + SHARE * (clock_now_us() - s->vacuum_began_us);
        return; /* what came meanwhile: after a pause */
    }
    if (s->sql.scrub && clock_now_us() >= s->vacuum_us)
        start(s);
}

void pg_vacuum_stop(struct pg_store *s)
{
    pg_close(&s->vacuum);
}

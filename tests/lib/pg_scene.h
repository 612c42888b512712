/* PostgreSQL for the tests of server/ledger*: one server for a group of tests, whose database is
 * emptied for each of them (a new one is made by pg_scene_fresh()). What tests ask of it goes over
 * one connection. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_PG_SCENE_H
#define SORI_TESTS_PG_SCENE_H

#include "tests/lib/ledger_scene.h"

#include <signal.h>
#include <string.h>

#include <libpq-fe.h>

#include "server/ledger_store_pg.h"

static char pg_dir[64], pg_where[160];
static pid_t pg_pid;
static PGconn *pg_conn; /* to the test's database */
static unsigned pg_databases;
static bool pg_used; /* the database can't be given to the next test */

/* Runs SQL in the test's database; gives what the last command of it brings: columns by |, rows by
 * a newline. */
static inline const char *pg_ask(const char *sql)
{
    static char text[4096];
    size_t n = 0;

    if (pg_conn && PQstatus(pg_conn) == CONNECTION_BAD) { /* the server was restarted */
        PQfinish(pg_conn);
        pg_conn = NULL;
    }
    if (!pg_conn)
        pg_conn = PQconnectdb(pg_where);
    PGresult *r = PQexec(pg_conn, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg_conn));
    text[0] = '\0';
    for (int row = 0; row < PQntuples(r); row++)
        for (int col = 0; col < PQnfields(r) && n < sizeof(text); col++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
                                  col > 0   ? "|"
                                  : row > 0 ? "\n"
                                            : "",
                                  PQgetvalue(r, row, col));
    PQclear(r);
    return text;
}

#define pg_sql(sql)          ((void)pg_ask(sql))
#define pg_sql_is(sql, want) assert_string_equal(pg_ask(sql), want)

static inline void pg_hang_up(void)
{
    PQfinish(pg_conn);
    pg_conn = NULL;
}

/* Starts the server on pg_dir; again after pg_end(). */
static inline void pg_begin(void)
{
    pg_pid = fork();
    if (pg_pid == 0) {
        execl("/bin/sh", "sh", "deploy/dev/postgres.sh", "run", pg_dir, (char *)NULL);
        _exit(127);
    }
    scene_shell("deploy/dev/postgres.sh wait '%s'", pg_dir);
}

static inline void pg_end(void)
{
    int status;

    pg_hang_up();
    kill(pg_pid, SIGINT);
    assert_int_equal(waitpid(pg_pid, &status, 0), pg_pid);
}

/* A new database for this test. */
static inline void pg_scene_fresh(void)
{
    char sql[64];

    pg_hang_up();
    snprintf(pg_where, sizeof(pg_where), "host=%s user=sori dbname=postgres", pg_dir);
    snprintf(sql, sizeof(sql), "CREATE DATABASE t%u", ++pg_databases);
    pg_sql(sql);
    pg_hang_up();
    snprintf(pg_where, sizeof(pg_where), "host=%s user=sori dbname=t%u", pg_dir, pg_databases);
    pg_used = true;
}

/* Takes the rows out of all tables: much cheaper than a database, and tests leave few. */
static inline void pg_empty(void)
{
    pg_sql("DO $$ DECLARE t name; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE"
           " schemaname='public' AND tablename<>'sori_ledger' LOOP EXECUTE 'DELETE FROM ' || t;"
           " END LOOP; END $$");
}

static inline void pg_scene_make(void)
{
    if (pg_databases == 0 || pg_used)
        pg_scene_fresh();
    else
        pg_empty();
    pg_used = false;
    snprintf(scene_file, sizeof(scene_file), "%s/ledger.erased", scene_dir);
    scene_conf.postgres = pg_where;
    scene_conf.node = "node-1";
    scene_conf.erased_file = scene_file;
    scene_conf.export_dir = scene_dir;
    scene_conf.connect_timeout_ms = 5000;
    scene_conf.query_timeout_ms = 5000;
}

static inline bool pg_scene_holds(const char *text)
{
    char sql[512];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM pg_tables WHERE schemaname='public' AND position('%s' IN"
             " query_to_xml('SELECT t::text FROM ' || tablename || ' t', false, false,"
             " '')::text) > 0",
             text);
    return strcmp(pg_ask(sql), "0") != 0;
}

static const struct scene_engine scene_pg = {pg_scene_make, ledger_pg_open, pg_scene_holds, pg_ask};

/* Set-up and end of a group of tests. */
static inline int pg_scene_start(void **state)
{
    (void)state;
    scene_engine = &scene_pg;
    snprintf(pg_dir, sizeof(pg_dir), "%s/sori-pg-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(pg_dir));
    pg_begin();
    return 0;
}

static inline int pg_scene_stop(void **state)
{
    (void)state;
    pg_end();
    scene_shell("rm -rf '%s'", pg_dir);
    return 0;
}

#endif

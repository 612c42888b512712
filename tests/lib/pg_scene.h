/* PostgreSQL for the tests of server/ledger*: one server for a group of tests, a database of its
 * own for each. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_PG_SCENE_H
#define SORI_TESTS_PG_SCENE_H

#include "tests/lib/ledger_scene.h"

#include <signal.h>

#include "server/ledger_store_pg.h"

static char pg_dir[64], pg_where[160];
static pid_t pg_pid;
static unsigned pg_databases;

/* Runs SQL in the test's database (or another one); what it prints goes nowhere. */
#define pg_sql(sql) \
    scene_shell("psql -qAt -v ON_ERROR_STOP=1 '%s' -c \"%s\" >/dev/null", pg_where, sql)
/* The same; it must print this. */
#define pg_sql_is(sql, want)                                                                     \
    scene_shell("test \"$(psql -qAt -v ON_ERROR_STOP=1 '%s' -c \"%s\")\" = '%s'", pg_where, sql, \
                want)

/* Starts the server on pg_dir; again after pg_end(). */
static inline void pg_begin(void)
{
    pg_pid = fork();
    if (pg_pid == 0) {
        execl("/bin/sh", "sh", "tests/lib/postgres.sh", "run", pg_dir, (char *)NULL);
        _exit(127);
    }
    scene_shell("tests/lib/postgres.sh wait '%s'", pg_dir);
}

static inline void pg_end(void)
{
    int status;

    kill(pg_pid, SIGINT);
    assert_int_equal(waitpid(pg_pid, &status, 0), pg_pid);
}

static inline void pg_scene_make(void)
{
    snprintf(pg_where, sizeof(pg_where), "host=%s user=sori dbname=postgres", pg_dir);
    pg_databases++;
    scene_shell("psql -qAt '%s' -c 'CREATE DATABASE t%u'", pg_where, pg_databases);
    snprintf(pg_where, sizeof(pg_where), "host=%s user=sori dbname=t%u", pg_dir, pg_databases);
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
    char command[512];

    snprintf(command, sizeof(command), "pg_dump --inserts -a '%s' | grep -qF -- '%s'", pg_where,
             text);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static const struct scene_engine scene_pg = {pg_scene_make, ledger_pg_open, pg_scene_holds};

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

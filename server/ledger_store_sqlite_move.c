/* A SQLite ledger that is moved away: its rows, in the order of their keys.
 *
 * Called by ledger_main.c (sori-ledger). The file is only read, but for its WAL, which is moved
 * into it first, so that the file's time of change tells whether anybody was there.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_move.h"
#include "server/ledger_store_sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { APPLICATION = 0x536f7269 /* "Sori" */ };

struct ledger_sqlite_source {
    sqlite3 *db;
    sqlite3_stmt *rows;
    const struct ledger_move_table *table;
    int lock_fd;
    uint64_t mark;
};

void ledger_sqlite_source_free(struct ledger_sqlite_source *s)
{
    if (!s)
        return;
    sqlite3_finalize(s->rows);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    mem_free(s);
}

const char *ledger_sqlite_source_detail(const struct ledger_sqlite_source *s)
{
    return sqlite3_errmsg(s->db);
}

uint64_t ledger_sqlite_source_mark(const struct ledger_sqlite_source *s)
{
    return s->mark;
}

static int number_of(struct ledger_sqlite_source *s, const char *sql, uint64_t *out)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW)
        *out = sqlite_col_u64(q, 0);
    sqlite3_finalize(q);
    return rc == SQLITE_ROW ? 0 : -EBADMSG;
}

static int take_lock(struct ledger_sqlite_source *s, const char *file,
                     char why[LEDGER_STORE_WHY_MAX])
{
    char name[4096];

    if ((size_t)snprintf(name, sizeof(name), "%s.lock", file) >= sizeof(name))
        return -ENAMETOOLONG;
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd >= 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (s->lock_fd >= 0 && errno == EWOULDBLOCK) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: sori-server has it open: stop that first", file);
        return -EBUSY;
    }
    int rc = -errno;
    snprintf(why, LEDGER_STORE_WHY_MAX, "%.400s: %s", name, strerror(-rc));
    return rc;
}

static int check_version(struct ledger_sqlite_source *s, const char *file,
                         char why[LEDGER_STORE_WHY_MAX])
{
    uint64_t application = 0, version = 0;

    if (number_of(s, "PRAGMA application_id", &application) != 0 ||
        number_of(s, "PRAGMA user_version", &version) != 0) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: %s", file, sqlite3_errmsg(s->db));
        return -EBADMSG;
    }
    if (application == APPLICATION && version == SQLITE_STORE_VERSION)
        return 0;
    snprintf(why, LEDGER_STORE_WHY_MAX, "%s: %s", file,
             application == APPLICATION
                 ? "is of another version: start and stop the sori-server of "
                   "this version with it once"
                 : "is no ledger of sori-server");
    return -EPROTONOSUPPORT;
}

static int open_file(struct ledger_sqlite_source *s, const char *file,
                     char why[LEDGER_STORE_WHY_MAX])
{
    struct stat st;

    if (stat(file, &st) == -1) {
        int rc = -errno;
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: %s", file, strerror(-rc));
        return rc;
    }
    int rc = take_lock(s, file, why);
    if (rc != 0)
        return rc;
    if (sqlite3_open_v2(file, &s->db, SQLITE_OPEN_READWRITE, sq_layer()) != SQLITE_OK ||
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) !=
            SQLITE_OK ||
        stat(file, &st) == -1) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: %s", file, sqlite3_errmsg(s->db));
        return -EIO;
    }
    s->mark = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
    return check_version(s, file, why);
}

int ledger_sqlite_source_open(const char *file, struct ledger_sqlite_source **out,
                              char why[LEDGER_STORE_WHY_MAX])
{
    struct ledger_sqlite_source *s = mem_zalloc(sizeof(*s));

    snprintf(why, LEDGER_STORE_WHY_MAX, "out of memory");
    if (!s)
        return -ENOMEM;
    s->lock_fd = -1;
    int rc = open_file(s, file, why);
    if (rc != 0) {
        ledger_sqlite_source_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int ledger_sqlite_source_count(struct ledger_sqlite_source *s, const struct ledger_move_table *t,
                               uint64_t *n)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM %s%s", t->name, t->where);
    return number_of(s, sql, n);
}

int ledger_sqlite_source_rows(struct ledger_sqlite_source *s, const struct ledger_move_table *t,
                              uint64_t skip)
{
    char sql[1024];

    sqlite3_finalize(s->rows);
    s->rows = NULL;
    s->table = t;
    snprintf(sql, sizeof(sql), "SELECT %s FROM %s%s ORDER BY %s LIMIT -1 OFFSET ?1",
             t->select ? t->select : t->columns, t->name, t->where, t->key);
    if (sqlite3_prepare_v2(s->db, sql, -1, &s->rows, NULL) != SQLITE_OK)
        return -EBADMSG;
    sqlite3_bind_int64(s->rows, 1, (sqlite3_int64)skip);
    return 0;
}

int ledger_sqlite_source_next(struct ledger_sqlite_source *s,
                              struct ledger_move_field f[LEDGER_MOVE_COLUMNS_MAX])
{
    int rc = sqlite3_step(s->rows);

    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? 0 : -EBADMSG;
    for (int i = 0; s->table->types[i]; i++) {
        bool number = strchr("ny", s->table->types[i]) != NULL;
        f[i].null = sqlite3_column_type(s->rows, i) == SQLITE_NULL;
        f[i].number = number ? sqlite3_column_int64(s->rows, i) : 0;
        f[i].bytes = (struct slice){0};
        if (!number)
            f[i].bytes = sqlite_col(s->rows, i);
    }
    return 1;
}

/* The SQLite ledger: opening, transactions, what goes wrong.
 *
 * Called by ledger.c through ledger_store_ops, on the ledger's thread (ledger_link.c). The work is
 * in ledger_sql*.c, made of statements (ledger_store_sqlite_{schema,stmt}.c).
 *
 * WAL with synchronous=FULL: a commit is one sync of the WAL, and nothing committed is lost to a
 * crash of the process or of the machine. secure_delete overwrites what is deleted in the database;
 * after a deletion on behalf of privacy the WAL is emptied too (s->sql.scrub).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x536f7269, /* "Sori" */
    BUSY_MS = 1000,
};

/* ---- faults ---- */

static enum ledger_health health_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return LEDGER_DISK_FULL;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return LEDGER_READ_ONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return LEDGER_DAMAGED;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
    case SQLITE_MISUSE:
    case SQLITE_ERROR:
        return LEDGER_FINE; /* not the engine's trouble */
    default:
        return LEDGER_TROUBLE;
    }
}

static void note(struct sqlite_store *s, enum ledger_health h, const char *what)
{
    s->sql.health = h;
    snprintf(s->sql.detail, sizeof(s->sql.detail), "%s: %s", s->file, what);
}

int sqlite_fault(struct sqlite_store *s, int rc)
{
    enum ledger_health h = health_of(rc);

    note(s, h, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    return h == LEDGER_FINE ? -EIO : -EAGAIN;
}

/* ---- transactions ---- */

static int begin(struct ledger_store *base, bool write)
{
    struct sqlite_store *s = sqlite_of(sq_of(base));

    return sq_do(&s->sql, write ? SQ_BEGIN_WRITE : SQ_BEGIN);
}

static void rollback(struct ledger_store *base)
{
    struct sqlite_store *s = sqlite_of(sq_of(base));
    enum ledger_health h = s->sql.health;

    if (s->db && !sqlite3_get_autocommit(s->db))
        sq_do(&s->sql, SQ_ROLLBACK);
    s->sql.reseal = (struct sq_reseal){0};
    s->sql.health = h;
}

/* Moves all of the WAL into the database, empties it and forgets the pages in memory, in whose
 * unused parts bytes of the erased may be. While another program reads the file this can't be done;
 * then it is tried again after each commit, without waiting. */
static void scrub(struct sqlite_store *s)
{
    if (!s->sql.scrub)
        return;
    sqlite3_busy_timeout(s->db, 0);
    if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) ==
        SQLITE_OK) {
        sqlite3_db_release_memory(s->db);
        s->sql.scrub = false;
    }
    sqlite3_busy_timeout(s->db, BUSY_MS);
}

static int commit(struct ledger_store *base)
{
    struct sqlite_store *s = sqlite_of(sq_of(base));
    int rc = sq_do(&s->sql, SQ_COMMIT);

    if (rc != 0) {
        rollback(base);
        return -EAGAIN;
    }
    s->sql.health = LEDGER_FINE;
    scrub(s);
    return 0;
}

/* ---- opening ---- */

static void close_db(struct sqlite_store *s)
{
    for (size_t i = 0; i < SQ_COUNT; i++) {
        sqlite3_finalize(s->stmt[i]);
        s->stmt[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
}

/* Runs SQL made of literals. Returns 0, -EAGAIN, -EIO. */
static int exec(struct sqlite_store *s, const char *sql)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : sqlite_fault(s, rc);
}

/* The first column of the first row as a number. */
static int ask_number(struct sqlite_store *s, const char *sql, uint64_t *out)
{
    sqlite3_stmt *q;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc != SQLITE_OK)
        return sqlite_fault(s, rc);
    rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        *out = sqlite_col_u64(q, 0);
    int bad = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EAGAIN : sqlite_fault(s, rc);
    sqlite3_finalize(q);
    return bad;
}

/* Whether a word is what the first column of the first row says. */
static int ask_word(struct sqlite_store *s, const char *sql, const char *want, bool *is)
{
    sqlite3_stmt *q;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc != SQLITE_OK)
        return sqlite_fault(s, rc);
    rc = sqlite3_step(q);
    *is = rc == SQLITE_ROW && slice_is(sqlite_col(q, 0), want);
    int bad = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sqlite_fault(s, rc);
    sqlite3_finalize(q);
    return bad;
}

static int set_up(struct sqlite_store *s)
{
    bool is;
    int rc = exec(
        s, "PRAGMA page_size=4096; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
           "PRAGMA secure_delete=ON; PRAGMA synchronous=FULL;"
           "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-32768; PRAGMA wal_autocheckpoint=8192;");

    if (rc == 0)
        rc = ask_word(s, "PRAGMA journal_mode=WAL", "wal", &is);
    if (rc == 0 && !is) {
        note(s, LEDGER_TROUBLE, "its file system can't do WAL; move [ledger] file to a local disk");
        rc = -EAGAIN;
    }
    return rc;
}

static int check_whole(struct sqlite_store *s)
{
    bool ok;
    int rc = ask_word(s, "PRAGMA quick_check(1)", "ok", &ok);

    if (rc == 0 && !ok) {
        note(s, LEDGER_DAMAGED, "PRAGMA quick_check finds damage");
        rc = -EAGAIN;
    }
    return rc;
}

/* Makes or upgrades the tables. */
static int migrate(struct sqlite_store *s, char why[LEDGER_STORE_WHY_MAX])
{
    uint64_t version, application, tables;
    char set[96];

    if (ask_number(s, "PRAGMA user_version", &version) != 0 ||
        ask_number(s, "PRAGMA application_id", &application) != 0 ||
        ask_number(s, "SELECT COUNT(*) FROM sqlite_schema", &tables) != 0)
        return -EAGAIN;
    if (version > SQLITE_STORE_VERSION || (application != 0 && application != APPLICATION_ID) ||
        (application == 0 && tables > 0)) {
        bool ours = application == APPLICATION_ID;
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: %s", s->file,
                 ours ? "was written by a newer version of sori-server: start that one, or restore "
                        "a backup made before the upgrade"
                      : "is a database of another program: set [ledger] file to one of its own");
        return -EPROTONOSUPPORT;
    }
    if (version == SQLITE_STORE_VERSION)
        return 0;
    int rc = exec(s, "BEGIN IMMEDIATE");
    for (; rc == 0 && version < SQLITE_STORE_VERSION; version++)
        rc = exec(s, sqlite_store_schema[version]);
    snprintf(set, sizeof(set), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;",
             APPLICATION_ID, SQLITE_STORE_VERSION);
    if (rc == 0)
        rc = exec(s, set);
    if (rc != 0)
        rollback(&s->sql.base);
    return rc != 0 ? -EAGAIN : 0;
}

/* Makes the file, if there is none, for nobody else to read; shows what may be done with it. */
static int make_file(struct sqlite_store *s)
{
    int fd = open(s->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    bool full = errno == ENOSPC || errno == EDQUOT;
    bool closed = errno == EROFS || errno == EACCES || errno == EPERM;
    note(s, full ? LEDGER_DISK_FULL : closed ? LEDGER_READ_ONLY : LEDGER_TROUBLE, strerror(errno));
    return -EAGAIN;
}

/* Opens the database with all that has to be done before it is used. fresh: the process starts.
 * Returns 0; -EAGAIN: health and detail are set; or a failure of the start with why. */
static int open_db(struct sqlite_store *s, bool fresh, uint64_t now_ms,
                   char why[LEDGER_STORE_WHY_MAX])
{
    close_db(s);
    s->sql.health = LEDGER_FINE;
    int rc = make_file(s);
    if (rc != 0)
        return rc;
    rc = sqlite3_open_v2(s->file, &s->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                         sq_layer());
    if (rc != SQLITE_OK) {
        rc = sqlite_fault(s, rc);
        close_db(s);
        return -EAGAIN;
    }
    sqlite3_busy_timeout(s->db, BUSY_MS);
    rc = sqlite3_db_readonly(s->db, "main") == 1 ? sqlite_fault(s, SQLITE_READONLY) : set_up(s);
    if (rc == 0)
        rc = migrate(s, why);
    if (rc == 0 && s->sql.conf.check)
        rc = check_whole(s);
    if (rc == 0)
        rc = sq_take(&s->sql, fresh, now_ms, why);
    s->sql.scrub = rc == 0; /* a crash may have come between a purge and this */
    if (rc == 0)
        scrub(s);
    if (rc != 0) {
        enum ledger_health h = s->sql.health;
        rollback(&s->sql.base);
        close_db(s);
        s->sql.health =
            h == LEDGER_FINE ? LEDGER_DAMAGED : h; /* tables that are not as we made them */
    }
    return rc == -EIO ? -EAGAIN : rc;
}

/* Whether there is room again: what the WAL holds moves to the database, so that its room can be
 * used again; then a few pages more than a batch's are written. */
static int probe(struct sqlite_store *s)
{
    sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return exec(s, "BEGIN IMMEDIATE; REPLACE INTO meta VALUES('probe', zeroblob(65536));"
                   "DELETE FROM meta WHERE key='probe'; COMMIT;");
}

static int recover(struct ledger_store *base, uint64_t now_ms)
{
    struct sqlite_store *s = sqlite_of(sq_of(base));
    char why[LEDGER_STORE_WHY_MAX] = "";

    rollback(base);
    if (s->db && s->sql.health == LEDGER_DISK_FULL)
        return probe(s) == 0 ? 0 : -EAGAIN;
    sq_export_stop(&s->sql);
    int rc = open_db(s, false, now_ms, why);
    if (rc == 0)
        return 0;
    if (rc != -EAGAIN) { /* somebody has put another file there */
        s->sql.health = LEDGER_DAMAGED;
        snprintf(s->sql.detail, sizeof(s->sql.detail), "%s", why);
    }
    return -EAGAIN;
}

static void store_free(struct ledger_store *base)
{
    struct sqlite_store *s = sqlite_of(sq_of(base));

    close_db(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    sq_fini(&s->sql);
    mem_free(s->file);
    mem_free(s);
}

static const struct ledger_store_ops OPS = {
    .recover = recover,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    SQ_SHARED_OPS,
    .free = store_free,
};

/* The shared part, with FILE.erased, and exports beside FILE. */
static int name_files(struct sqlite_store *s, const struct ledger_store_conf *conf)
{
    struct slice file = slice_str(conf->file);
    size_t n = file.len + sizeof(".erased");
    const uint8_t *slash = memrchr(file.p, '/', file.len);
    char *erased = mem_zalloc(n);
    char *dir = mem_strndup(!slash            ? SLICE_LIT(".")
                            : slash == file.p ? SLICE_LIT("/")
                                              : slice_sub(file, 0, (size_t)(slash - file.p)));
    int rc = -ENOMEM;

    s->file = mem_strndup(file);
    if (s->file && erased && dir) {
        snprintf(erased, n, "%s.erased", s->file);
        rc = sq_init(&s->sql, &sqlite_store_engine, sqlite_store_sql, conf, erased,
                     *conf->export_dir ? conf->export_dir : dir);
    }
    mem_free(erased);
    mem_free(dir);
    return rc;
}

/* One server at a time: two would each push to devices that the other has forgotten. */
static int lock(struct sqlite_store *s, char why[LEDGER_STORE_WHY_MAX])
{
    size_t n = strlen(s->file) + sizeof(".lock");
    char *name = mem_zalloc(n);

    if (!name)
        return -ENOMEM;
    snprintf(name, n, "%s.lock", s->file);
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = s->lock_fd == -1 ? -errno : 0;
    if (rc == 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) == -1)
        rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (rc == -EBUSY)
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s: another server has it open", s->file);
    else if (rc == -EROFS || rc == -ENOSPC || rc == -EDQUOT)
        rc = 0; /* as the database will show; nobody else can write here either */
    else if (rc != 0)
        snprintf(why, LEDGER_STORE_WHY_MAX,
                 "%s: %s: the directory of [ledger] file must be there and be the server's", name,
                 strerror(-rc));
    mem_free(name);
    return rc;
}

int ledger_sqlite_open(const struct ledger_store_conf *conf, uint64_t now_ms,
                       struct ledger_store **out, char why[LEDGER_STORE_WHY_MAX])
{
    struct sqlite_store *s = mem_zalloc(sizeof(*s));
    int rc = -ENOMEM;

    snprintf(why, LEDGER_STORE_WHY_MAX, "out of memory");
    if (!s)
        return -ENOMEM;
    s->sql.base.ops = &OPS;
    s->lock_fd = -1;
    if (name_files(s, conf) != 0)
        goto out;
    why[0] = '\0';
    rc = lock(s, why);
    if (rc == 0)
        rc = open_db(s, true, now_ms, why);
    if (rc == -EAGAIN)
        snprintf(why, LEDGER_STORE_WHY_MAX, "%s", s->sql.detail);
    if (rc == 0 || rc == -EAGAIN) {
        *out = &s->sql.base;
        return 0;
    }
out:
    store_free(&s->sql.base);
    return rc;
}

/* The SQLite ledger: opening, transactions, what goes wrong.
 *
 * Called by ledger.c through ledger_store_ops, on the ledger's thread (ledger_link.c). The work is
 * in ledger_store_sqlite_{calls,devices,privacy,erase,sweep,export,audit}.c.
 *
 * WAL with synchronous=FULL: a commit is one sync of the WAL, and nothing committed is lost to a
 * crash of the process or of the machine. secure_delete overwrites what is deleted in the database;
 * after a deletion on behalf of privacy the WAL is emptied too (s->scrub).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include "base/crypto.h"
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
    s->health = h;
    snprintf(s->detail, sizeof(s->detail), "%s: %s", s->file, what);
}

int sq_fault(struct sqlite_store *s, int rc)
{
    enum ledger_health h = health_of(rc);

    note(s, h, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    return h == LEDGER_FINE ? -EIO : -EAGAIN;
}

/* ---- transactions ---- */

static int begin(struct ledger_store *base, bool write)
{
    struct sqlite_store *s = sq_of(base);

    return sq_do(s, write ? SQ_BEGIN_WRITE : SQ_BEGIN);
}

static void rollback(struct ledger_store *base)
{
    struct sqlite_store *s = sq_of(base);
    enum ledger_health h = s->health;

    if (s->db && !sqlite3_get_autocommit(s->db))
        sq_do(s, SQ_ROLLBACK);
    s->health = h;
}

/* Moves all of the WAL into the database, empties it and forgets the pages in memory, in whose
 * unused parts bytes of the erased may be. While another program reads the file this can't be done;
 * then it is tried again after each commit, without waiting. */
static void scrub(struct sqlite_store *s)
{
    if (!s->scrub)
        return;
    sqlite3_busy_timeout(s->db, 0);
    if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) ==
        SQLITE_OK) {
        sqlite3_db_release_memory(s->db);
        s->scrub = false;
    }
    sqlite3_busy_timeout(s->db, BUSY_MS);
}

static int commit(struct ledger_store *base)
{
    struct sqlite_store *s = sq_of(base);
    int rc = sq_do(s, SQ_COMMIT);

    if (rc != 0) {
        rollback(base);
        return -EAGAIN;
    }
    s->health = LEDGER_FINE;
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

    return rc == SQLITE_OK ? 0 : sq_fault(s, rc);
}

/* The first column of the first row as a number. */
static int ask_number(struct sqlite_store *s, const char *sql, uint64_t *out)
{
    sqlite3_stmt *q;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc != SQLITE_OK)
        return sq_fault(s, rc);
    rc = sq_step(s, q);
    if (rc == 1)
        *out = sq_col_u64(q, 0);
    sqlite3_finalize(q);
    return rc == 1 ? 0 : rc < 0 ? rc : -EAGAIN;
}

/* Whether a word is what the first column of the first row says. */
static int ask_word(struct sqlite_store *s, const char *sql, const char *want, bool *is)
{
    sqlite3_stmt *q;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

    if (rc != SQLITE_OK)
        return sq_fault(s, rc);
    rc = sq_step(s, q);
    *is = rc == 1 && slice_is(sq_col(q, 0), want);
    sqlite3_finalize(q);
    return rc < 0 ? rc : 0;
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
static int migrate(struct sqlite_store *s, char why[LEDGER_SQLITE_WHY_MAX])
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
        snprintf(why, LEDGER_SQLITE_WHY_MAX, "%s: %s", s->file,
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
        rollback(&s->base);
    return rc != 0 ? -EAGAIN : 0;
}

/* The secret is the one that the database was made with; a new database takes it. */
static int check_keys(struct sqlite_store *s, char why[LEDGER_SQLITE_WHY_MAX])
{
    uint8_t check[PRIVACY_HASH_BYTES];
    sqlite3_stmt *q;
    bool equal = true;

    if (privacy_keys_check(s->keys, check) != 0)
        return -ENOMEM;
    int rc =
        sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key='key_check'", -1, &q, NULL);
    if (rc != SQLITE_OK)
        return sq_fault(s, rc);
    rc = sq_step(s, q);
    if (rc == 1)
        equal = crypto_equal(sq_col(q, 0), slice_of(check, sizeof(check)));
    sqlite3_finalize(q);
    if (rc == 0) {
        rc = sqlite3_prepare_v2(s->db, "INSERT INTO meta VALUES('key_check',?1)", -1, &q, NULL);
        if (rc != SQLITE_OK)
            return sq_fault(s, rc);
        sq_blob(q, 1, check, sizeof(check));
        rc = sq_step(s, q);
        sqlite3_finalize(q);
    }
    if (rc < 0)
        return rc;
    if (equal)
        return 0;
    snprintf(why, LEDGER_SQLITE_WHY_MAX,
             "%s: was made with another secret than [ledger] token_key_file: give it the old one "
             "(nobody can open the tokens, and erased users can't be recognised, without it)",
             s->file);
    return -EKEYREJECTED;
}

/* Of calls that a crash ended nobody knows the end: they get the last time that is known. */
static int end_open_calls(struct sqlite_store *s)
{
    return exec(s, "UPDATE cdr SET end_ms=max(created_ms, answer_ms), end_reason='server_error',"
                   " ended_by='system' WHERE end_ms=0");
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
                   char why[LEDGER_SQLITE_WHY_MAX])
{
    uint64_t n = 0;

    close_db(s);
    s->health = LEDGER_FINE;
    int rc = make_file(s);
    if (rc != 0)
        return rc;
    rc = sqlite3_open_v2(s->file, &s->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                         sq_layer());
    if (rc != SQLITE_OK) {
        rc = sq_fault(s, rc);
        close_db(s);
        return -EAGAIN;
    }
    sqlite3_busy_timeout(s->db, BUSY_MS);
    rc = sqlite3_db_readonly(s->db, "main") == 1 ? sq_fault(s, SQLITE_READONLY) : set_up(s);
    if (rc == 0)
        rc = migrate(s, why);
    if (rc == 0)
        rc = check_keys(s, why);
    if (rc == 0 && s->conf.check)
        rc = check_whole(s);
    if (rc == 0 && fresh)
        rc = end_open_calls(s);
    if (rc == 0)
        rc = ask_number(s, "SELECT COUNT(*) FROM (SELECT 1 FROM erased LIMIT 1)", &n);
    s->any_erased = n > 0;
    if (rc == 0)
        rc = sq_erase_again(s, now_ms);
    s->scrub = rc == 0; /* a crash may have come between a purge and this */
    if (rc == 0)
        scrub(s);
    if (rc != 0) {
        enum ledger_health h = s->health;
        rollback(&s->base);
        close_db(s);
        s->health = h == LEDGER_FINE ? LEDGER_DAMAGED : h; /* tables that are not as we made them */
    }
    if (rc == -EBADMSG)
        snprintf(
            why, LEDGER_SQLITE_WHY_MAX,
            "%s: was changed, or cut, by somebody: restore it from its latest copy; without it "
            "erased users could come back with a restored backup",
            s->erased_file);
    return rc == -EIO ? -EAGAIN : rc;
}

static enum ledger_health health(struct ledger_store *base)
{
    return sq_of(base)->health;
}

static const char *detail(struct ledger_store *base)
{
    struct sqlite_store *s = sq_of(base);

    return s->health == LEDGER_FINE ? "" : s->detail;
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
    struct sqlite_store *s = sq_of(base);
    char why[LEDGER_SQLITE_WHY_MAX] = "";

    rollback(base);
    if (s->db && s->health == LEDGER_DISK_FULL)
        return probe(s) == 0 ? 0 : -EAGAIN;
    sq_export_stop(s);
    int rc = open_db(s, false, now_ms, why);
    if (rc == 0)
        return 0;
    if (rc != -EAGAIN) { /* somebody has put another file there */
        s->health = LEDGER_DAMAGED;
        snprintf(s->detail, sizeof(s->detail), "%s", why);
    }
    return -EAGAIN;
}

static void store_free(struct ledger_store *base)
{
    struct sqlite_store *s = sq_of(base);

    if (!s)
        return;
    sq_export_stop(s);
    close_db(s);
    if (s->erased_fd >= 0)
        close(s->erased_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    privacy_keys_free(s->keys);
    mem_free(s->file);
    mem_free(s->erased_file);
    mem_free(s->export_dir);
    mem_free(s);
}

static const struct ledger_store_ops OPS = {
    .health = health,
    .detail = detail,
    .recover = recover,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .put_call = sq_put_call,
    .put_push = sq_put_push,
    .count_push = sq_count_push,
    .put_quality = sq_put_quality,
    .put_sample = sq_put_sample,
    .put_device = sq_put_device,
    .del_device = sq_del_device,
    .bad_token = sq_bad_token,
    .set_env = sq_set_env,
    .touch = sq_touch,
    .history = sq_history,
    .devices = sq_devices,
    .badge = sq_badge,
    .seen = sq_seen,
    .hide = sq_hide,
    .erase = sq_erase,
    .keep = sq_keep,
    .export = sq_ask_export,
    .privacy = sq_privacy,
    .sweep = sq_sweep,
    .free = store_free,
};

/* FILE and what is beside it. False: memory is out. */
static bool name_files(struct sqlite_store *s)
{
    struct slice file = slice_str(s->conf.file);
    size_t n = file.len + sizeof(".erased");
    const uint8_t *slash = memrchr(file.p, '/', file.len);
    struct slice dir = slash ? slice_sub(file, 0, (size_t)(slash - file.p)) : SLICE_LIT(".");

    s->file = mem_strndup(file);
    s->erased_file = mem_zalloc(n);
    s->export_dir = mem_strndup(*s->conf.export_dir ? slice_str(s->conf.export_dir)
                                : dir.len > 0       ? dir
                                                    : SLICE_LIT("/"));
    if (!s->file || !s->erased_file || !s->export_dir)
        return false;
    snprintf(s->erased_file, n, "%s.erased", s->file);
    s->conf.file = s->file;
    s->conf.export_dir = s->export_dir;
    s->conf.secret = (struct slice){0};
    return true;
}

/* One server at a time: two would each push to devices that the other has forgotten. */
static int lock(struct sqlite_store *s, char why[LEDGER_SQLITE_WHY_MAX])
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
        snprintf(why, LEDGER_SQLITE_WHY_MAX, "%s: another server has it open", s->file);
    else if (rc == -EROFS || rc == -ENOSPC || rc == -EDQUOT)
        rc = 0; /* as the database will show; nobody else can write here either */
    else if (rc != 0)
        snprintf(why, LEDGER_SQLITE_WHY_MAX,
                 "%s: %s: the directory of [ledger] file must be there and be the server's", name,
                 strerror(-rc));
    mem_free(name);
    return rc;
}

int ledger_sqlite_open(const struct ledger_sqlite_conf *conf, uint64_t now_ms,
                       struct ledger_store **out, char why[LEDGER_SQLITE_WHY_MAX])
{
    struct sqlite_store *s = mem_zalloc(sizeof(*s));
    int rc = -ENOMEM;

    snprintf(why, LEDGER_SQLITE_WHY_MAX, "out of memory");
    if (!s)
        return -ENOMEM;
    s->base.ops = &OPS;
    s->conf = *conf;
    s->lock_fd = s->erased_fd = s->export.fd = -1;
    s->keys = privacy_keys_new(conf->secret);
    if (!name_files(s) || !s->keys)
        goto out;
    why[0] = '\0';
    rc = lock(s, why);
    if (rc == 0)
        rc = open_db(s, true, now_ms, why);
    if (rc == -EAGAIN)
        snprintf(why, LEDGER_SQLITE_WHY_MAX, "%s", s->detail);
    if (rc == 0 || rc == -EAGAIN) {
        *out = &s->base;
        return 0;
    }
out:
    store_free(&s->base);
    return rc;
}

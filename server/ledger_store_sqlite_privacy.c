/* Privacy in the SQLite ledger: requests, purges, the audit log, retention.
 *
 *     deletion:  pending --due--> running --list of the erased, then rows, step by step--> done
 *                   `--keep--> cancelled
 *     export:    pending --file is complete--> done --expired--> none
 *
 * A purge is made of steps, each a transaction of its own and each harmless when it is repeated, so
 * that a crash anywhere leaves a purge that goes on at the next open. The user goes on the list of
 * the erased before the first row goes: from then on no restored backup brings them back.
 *
 * Called through ledger_store_ops; sq_erase_again() at open.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STEP_ROWS = 1000,           /* most rows of a kind that one step deletes */
    ERASED_MAX_BYTES = 1 << 28, /* of the list: two million users */
};

/* A row of privacy_request. */
struct request {
    struct ledger_privacy is;
    char user[SIG_USER_MAX + 1]; /* "" when it is over */
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    uint64_t done_ms;
};

/* ---- audit ---- */

int sq_audit(struct sqlite_store *s, uint64_t now_ms, struct slice actor, const char *action,
             const uint8_t *subject)
{
    uint8_t prev[PRIVACY_HASH_BYTES] = {0}, hash[PRIVACY_HASH_BYTES];
    sqlite3_stmt *q = sq_get(s, SQ_AUDIT_LAST);
    uint64_t seq = 0;
    int rc = sq_step(s, q);

    if (rc < 0)
        return rc;
    if (rc == 1) {
        seq = sq_col_u64(q, 0);
        sq_col_bytes(q, 1, prev, sizeof(prev));
        sq_end(q);
    }
    const struct privacy_audit a = {seq + 1,
                                    now_ms,
                                    actor,
                                    slice_str(action),
                                    slice_of(subject, subject ? PRIVACY_SUBJECT_BYTES : 0),
                                    slice_of(prev, sizeof(prev))};
    if (privacy_audit_hash(s->keys, &a, hash) != 0)
        return -EIO;
    q = sq_get(s, SQ_AUDIT_ADD);
    sq_u64(q, 1, a.seq);
    sq_u64(q, 2, a.at_ms);
    sq_text(q, 3, a.actor);
    sq_text(q, 4, a.action);
    sq_blob(q, 5, a.subject.p, a.subject.len);
    sq_blob(q, 6, prev, sizeof(prev));
    sq_blob(q, 7, hash, sizeof(hash));
    return sq_run(s, q, NULL);
}

/* One row follows the one before (the oldest one may follow what retention has deleted). */
static bool follows(struct sqlite_store *s, sqlite3_stmt *q, bool first, uint64_t last,
                    const uint8_t last_hash[PRIVACY_HASH_BYTES])
{
    uint8_t hash[PRIVACY_HASH_BYTES];
    const struct privacy_audit a = {sq_col_u64(q, 0), sq_col_u64(q, 1), sq_col(q, 2),
                                    sq_col(q, 3),     sq_col(q, 4),     sq_col(q, 5)};

    if (privacy_audit_hash(s->keys, &a, hash) != 0 ||
        !crypto_equal(sq_col(q, 6), slice_of(hash, sizeof(hash))))
        return false;
    return first ||
           (a.seq == last + 1 && crypto_equal(a.prev, slice_of(last_hash, PRIVACY_HASH_BYTES)));
}

int ledger_sqlite_audit_verify(struct ledger_store *base, uint64_t *seq)
{
    struct sqlite_store *s = sq_of(base);
    uint8_t hash[PRIVACY_HASH_BYTES] = {0};
    sqlite3_stmt *q = sq_get(s, SQ_AUDIT_ALL);
    uint64_t last = 0;
    bool first = true;
    int rc;

    while ((rc = sq_step(s, q)) == 1) {
        uint64_t n = sq_col_u64(q, 0);
        if (!follows(s, q, first, last, hash)) {
            sq_end(q);
            *seq = n;
            return -EBADMSG;
        }
        sq_col_bytes(q, 6, hash, sizeof(hash));
        last = n;
        first = false;
    }
    return rc;
}

/* ---- requests ---- */

static void read_request(sqlite3_stmt *q, struct request *r)
{
    *r = (struct request){.is = {.requested_ms = sq_col_u64(q, 3),
                                 .due_ms = sq_col_u64(q, 4),
                                 .expires_ms = sq_col_u64(q, 5),
                                 .bytes = sq_col_u64(q, 6),
                                 .ndjson = sq_col_u64(q, 8) != 0},
                          .done_ms = sq_col_u64(q, 11)};
    sq_col_bytes(q, 0, r->is.id, sizeof(r->is.id));
    ledger_privacy_kind_parse(sq_col(q, 1), &r->is.kind);
    ledger_privacy_state_parse(sq_col(q, 2), &r->is.state);
    sq_col_bytes(q, 7, r->is.sha256, sizeof(r->is.sha256));
    slice_to_cstr(sq_col(q, 9), r->user, sizeof(r->user));
    sq_col_bytes(q, 10, r->subject, sizeof(r->subject));
}

/* The first row of a bound statement. 1, 0 or negative. */
static int one_request(struct sqlite_store *s, sqlite3_stmt *q, struct request *r)
{
    int rc = sq_step(s, q);

    if (rc == 1) {
        read_request(q, r);
        sq_end(q);
    }
    return rc;
}

/* The user's latest request of a kind; its state is NONE when there is none. */
static int last_request(struct sqlite_store *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                        enum ledger_privacy_kind kind, struct request *r)
{
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_LAST);

    sq_blob(q, 1, subject, PRIVACY_SUBJECT_BYTES);
    sq_text(q, 2, slice_str(ledger_privacy_kind_name(kind)));
    int rc = one_request(s, q, r);
    if (rc == 0) {
        *r = (struct request){.is = {.kind = kind}};
        memcpy(r->subject, subject, PRIVACY_SUBJECT_BYTES);
    }
    return rc < 0 ? rc : 0;
}

static int put_request(struct sqlite_store *s, const struct request *r, struct slice user,
                       struct slice actor)
{
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_PUT);

    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, user);
    sq_blob(q, 3, r->subject, sizeof(r->subject));
    sq_text(q, 4, slice_str(ledger_privacy_kind_name(r->is.kind)));
    sq_text(q, 5, actor);
    sq_u64(q, 6, r->is.requested_ms);
    sq_u64(q, 7, r->is.due_ms);
    return sq_run(s, q, NULL);
}

static int set_state(struct sqlite_store *s, struct request *r, enum ledger_privacy_state state)
{
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_STATE);

    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, slice_str(ledger_privacy_state_name(state)));
    r->is.state = state;
    return sq_run(s, q, NULL);
}

/* The request is over: it names nobody any more. */
static int set_over(struct sqlite_store *s, struct request *r, enum ledger_privacy_state state,
                    uint64_t now_ms)
{
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_DONE);

    r->is.state = state;
    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, slice_str(ledger_privacy_state_name(state)));
    sq_u64(q, 3, now_ms);
    sq_u64(q, 4, r->is.expires_ms);
    sq_u64(q, 5, r->is.bytes);
    sq_blob(q, 6, r->is.sha256, sizeof(r->is.sha256));
    sq_u64(q, 7, r->is.ndjson);
    return sq_run(s, q, NULL);
}

static bool is_open(const struct request *r)
{
    return r->is.state == LEDGER_PRIVACY_PENDING || r->is.state == LEDGER_PRIVACY_RUNNING;
}

int sq_is_leaving(struct sqlite_store *s, struct slice user, bool *is)
{
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_OPEN);

    sq_text(q, 1, user);
    int rc = sq_step(s, q);
    *is = rc == 1;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

int sq_is_erased(struct sqlite_store *s, struct slice user, uint64_t at_ms, bool *is)
{
    uint8_t subject[PRIVACY_SUBJECT_BYTES];

    *is = false;
    if (!s->any_erased)
        return 0;
    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    sqlite3_stmt *q = sq_get(s, SQ_ERASED_IS);
    sq_blob(q, 1, subject, sizeof(subject));
    int rc = sq_step(s, q);
    if (rc == 1) {
        *is = sq_col_u64(q, 0) >= at_ms;
        sq_end(q);
    }
    return rc < 0 ? rc : 0;
}

static int begin_deletion(struct sqlite_store *s, struct request *r, struct slice user,
                          struct slice actor, uint64_t now_ms)
{
    r->is = (struct ledger_privacy){.kind = LEDGER_DELETION,
                                    .state = LEDGER_PRIVACY_PENDING,
                                    .requested_ms = now_ms,
                                    .due_ms = now_ms + s->conf.grace_days * DAY_MS};
    rand_bytes(r->is.id, sizeof(r->is.id));
    int rc = put_request(s, r, user, actor);
    if (rc == 0)
        rc = sq_devices_del_user(s, user, TIME_MAX_MS);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "deletion_requested", r->subject);
    s->scrub = true;
    return rc;
}

int sq_erase(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
             struct ledger_privacy *out)
{
    struct sqlite_store *s = sq_of(base);
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    struct request r = {.user = ""};

    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    int rc = last_request(s, subject, LEDGER_DELETION, &r);
    if (rc == 0 && !is_open(&r)) {
        rc = sq_save(s);
        if (rc == 0)
            rc = sq_settle(s, begin_deletion(s, &r, user, actor, now_ms));
    }
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_keep(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
            struct ledger_privacy *out)
{
    struct sqlite_store *s = sq_of(base);
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    struct request r = {.user = ""};

    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    int rc = last_request(s, subject, LEDGER_DELETION, &r);
    if (rc != 0 || !is_open(&r))
        return rc != 0 ? rc : -ENOENT;
    if (r.is.state == LEDGER_PRIVACY_RUNNING)
        return -EACCES;
    rc = sq_save(s);
    if (rc != 0)
        return rc;
    rc = set_over(s, &r, LEDGER_PRIVACY_CANCELLED, now_ms);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "deletion_cancelled", subject);
    rc = sq_settle(s, rc);
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_ask_export(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
                  struct ledger_privacy *out)
{
    struct sqlite_store *s = sq_of(base);
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    struct request r = {.user = ""};

    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    int rc = last_request(s, subject, LEDGER_EXPORT, &r);
    if (rc == 0 && is_open(&r)) {
        *out = r.is;
        return 0;
    }
    bool was_made = r.is.state != LEDGER_PRIVACY_NONE && r.is.state != LEDGER_PRIVACY_FAILED;
    if (rc == 0 && was_made && r.is.requested_ms + s->conf.export_every_days * DAY_MS > now_ms)
        return -EBUSY;
    if (rc != 0 || (rc = sq_save(s)) != 0)
        return rc;
    r.is = (struct ledger_privacy){.kind = LEDGER_EXPORT,
                                   .state = LEDGER_PRIVACY_PENDING,
                                   .requested_ms = now_ms,
                                   .due_ms = now_ms};
    rand_bytes(r.is.id, sizeof(r.is.id));
    rc = put_request(s, &r, user, actor);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "export_requested", subject);
    rc = sq_settle(s, rc);
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_privacy(struct ledger_store *base, struct slice user, enum ledger_privacy_kind kind,
               struct ledger_privacy *out)
{
    struct sqlite_store *s = sq_of(base);
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    struct request r = {.user = ""};

    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    int rc = last_request(s, subject, kind, &r);
    if (rc == 0)
        *out = r.is;
    return rc;
}

/* ---- the list of the erased ---- */

/* Makes the entry durable, before anything is deleted. */
static int list_erased(struct sqlite_store *s, const struct request *r, uint64_t now_ms)
{
    uint8_t line[PRIVACY_ERASED_LINE];
    struct wr w = wr_init(line, sizeof(line));

    if (s->listed && memcmp(s->listed_id, r->is.id, sizeof(s->listed_id)) == 0)
        return 0;
    privacy_erased_write(s->keys, &w, r->subject, now_ms);
    if (w.bad)
        return -EIO;
    if (s->erased_fd < 0)
        s->erased_fd = open(s->erased_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    off_t was = s->erased_fd < 0 ? -1 : lseek(s->erased_fd, 0, SEEK_END);
    ssize_t n = was < 0 ? -1 : write(s->erased_fd, line, w.len);
    if (n != (ssize_t)w.len || fsync(s->erased_fd) == -1) {
        bool full = errno == ENOSPC || errno == EDQUOT || (n >= 0 && n < (ssize_t)w.len);
        if (n > 0 && ftruncate(s->erased_fd, was) == -1) {
            close(s->erased_fd); /* a cut line at the end is cut off at the next open */
            s->erased_fd = -1;
        }
        return sq_fault(s, full ? SQLITE_FULL : SQLITE_IOERR);
    }
    memcpy(s->listed_id, r->is.id, sizeof(s->listed_id));
    s->listed = true;
    return 0;
}

/* ---- purging ---- */

static int del_rows(struct sqlite_store *s, enum sq_id which, struct slice user, uint64_t until_ms,
                    uint64_t *n)
{
    sqlite3_stmt *q = sq_get(s, which);

    sq_text(q, 1, user);
    sq_u64(q, 2, until_ms);
    sq_u64(q, 3, STEP_ROWS);
    return sq_run(s, q, n);
}

/* Deletes some of what is kept about a user; *left: there may be more. */
static int purge_some(struct sqlite_store *s, struct slice user, uint64_t until_ms, bool *left)
{
    uint64_t pushes = 0, legs = 0;
    size_t calls = 0, in_all = 0;
    int rc = sq_devices_del_user(s, user, until_ms);

    if (rc == 0)
        rc = del_rows(s, SQ_PUSH_DEL_USER, user, until_ms, &pushes);
    if (rc == 0)
        rc = del_rows(s, SQ_QUALITY_DEL_USER, user, until_ms, &legs);
    do {
        if (rc == 0)
            rc = sq_calls_del_user(s, user, until_ms, STEP_ROWS, &calls);
        in_all += calls;
    } while (rc == 0 && calls > 0 && in_all < STEP_ROWS);
    *left = pushes + legs + in_all > 0;
    return rc;
}

static int del_export_files(struct sqlite_store *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES])
{
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    int rc;

    for (;;) {
        sqlite3_stmt *q = sq_get(s, SQ_EXPORT_FILES);
        sq_blob(q, 1, subject, PRIVACY_SUBJECT_BYTES);
        rc = sq_step(s, q);
        if (rc != 1)
            return rc;
        sq_col_bytes(q, 0, id, sizeof(id));
        sq_end(q);
        if (s->export.fd >= 0 && memcmp(id, s->export.id, sizeof(id)) == 0)
            sq_export_stop(s);
        rc = sq_export_unlink(s, id);
        q = sq_get(s, SQ_EXPORT_GONE);
        sq_blob(q, 1, id, sizeof(id));
        if (rc == 0)
            rc = sq_run(s, q, NULL);
        if (rc != 0)
            return rc;
    }
}

static int put_erased(struct sqlite_store *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                      uint64_t at_ms)
{
    sqlite3_stmt *q = sq_get(s, SQ_ERASED_PUT);

    sq_blob(q, 1, subject, PRIVACY_SUBJECT_BYTES);
    sq_u64(q, 2, at_ms);
    s->any_erased = true;
    s->scrub = true;
    return sq_run(s, q, NULL);
}

/* One step of a purge that is due. */
static int purge_step(struct sqlite_store *s, struct request *r, uint64_t now_ms)
{
    struct slice user = slice_str(r->user);
    bool left = true;
    int rc;

    if (r->is.state == LEDGER_PRIVACY_PENDING) {
        rc = set_state(s, r, LEDGER_PRIVACY_RUNNING);
        return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "deletion_started", r->subject)
                       : rc;
    }
    rc = list_erased(s, r, now_ms);
    if (rc == 0)
        rc = del_export_files(s, r->subject);
    if (rc == 0)
        rc = purge_some(s, user, TIME_MAX_MS, &left);
    if (rc != 0 || left)
        return rc;
    rc = put_erased(s, r->subject, now_ms);
    if (rc == 0)
        rc = set_over(s, r, LEDGER_PRIVACY_DONE, now_ms);
    return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "deletion_done", r->subject) : rc;
}

/* ---- erasing again, at open ---- */

struct erased {
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    uint64_t at_ms;
};
struct erased_list {
    struct erased *v;
    size_t n, cap;
};

static int by_subject(const void *a, const void *b)
{
    return memcmp(((const struct erased *)a)->subject, ((const struct erased *)b)->subject,
                  PRIVACY_SUBJECT_BYTES);
}

static int add_erased(struct erased_list *l, const struct erased *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct erased *v = mem_realloc(l->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = *e;
    return 0;
}

/* The database knows of this erasure: it is not an older copy. */
static int is_known(struct sqlite_store *s, const struct erased *e, bool *is)
{
    sqlite3_stmt *q = sq_get(s, SQ_ERASED_IS);

    sq_blob(q, 1, e->subject, sizeof(e->subject));
    int rc = sq_step(s, q);
    *is = rc == 1 && sq_col_u64(q, 0) >= e->at_ms;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

/* Takes the entries that the database does not know of. *whole: the bytes up to the last whole
 * line. */
static int read_list(struct sqlite_store *s, struct slice text, struct erased_list *l,
                     size_t *whole)
{
    struct slice rest = text;
    struct erased e;
    bool known;
    int rc;

    while ((rc = privacy_erased_read(s->keys, &rest, e.subject, &e.at_ms)) == 0) {
        rc = is_known(s, &e, &known);
        if (rc == 0 && !known)
            rc = add_erased(l, &e);
        if (rc != 0)
            return rc;
    }
    *whole = text.len - rest.len;
    return rc == -EBADMSG ? rc : 0;
}

/* The file's bytes (mem_free); no file is an empty one. */
static int load_file(struct sqlite_store *s, uint8_t **out, size_t *len)
{
    struct stat st;
    int fd = open(s->erased_file, O_RDONLY | O_CLOEXEC), rc = 0;

    *out = NULL;
    *len = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : sq_fault(s, SQLITE_IOERR);
    if (fstat(fd, &st) == -1 || st.st_size > ERASED_MAX_BYTES)
        rc = sq_fault(s, SQLITE_IOERR);
    uint8_t *p = rc == 0 ? mem_zalloc((size_t)st.st_size) : NULL;
    if (rc == 0 && !p)
        rc = -ENOMEM;
    while (rc == 0 && *len < (size_t)st.st_size) {
        ssize_t n = read(fd, p + *len, (size_t)st.st_size - *len);
        if (n <= 0)
            rc = sq_fault(s, SQLITE_IOERR);
        else
            *len += (size_t)n;
    }
    close(fd);
    if (rc != 0)
        mem_free(p);
    else
        *out = p;
    return rc;
}

/* Cuts off a line that a crash left unfinished. */
static int cut_list(struct sqlite_store *s, size_t whole, size_t len)
{
    if (whole == len)
        return 0;
    return truncate(s->erased_file, (off_t)whole) == -1 ? sq_fault(s, SQLITE_IOERR) : 0;
}

struct users {
    const struct erased_list *erased;
    struct found {
        char user[SIG_USER_MAX + 1];
        struct erased e;
    } * v;
    size_t n, cap;
};

/* Notes the users of the database that are on the list. */
static int find_users(struct sqlite_store *s, struct users *u)
{
    sqlite3_stmt *q = sq_get(s, SQ_USERS);
    int rc;

    while ((rc = sq_step(s, q)) == 1) {
        struct erased key = {.at_ms = 0};
        if (privacy_subject(s->keys, sq_col(q, 0), key.subject) != 0)
            continue;
        const struct erased *e = bsearch(&key, u->erased->v, u->erased->n, sizeof(key), by_subject);
        if (!e)
            continue;
        if (u->n == u->cap) {
            size_t cap = u->cap ? u->cap * 2 : 16;
            struct found *v = mem_realloc(u->v, cap * sizeof(*v));
            if (!v) {
                sq_end(q);
                return -ENOMEM;
            }
            u->v = v;
            u->cap = cap;
        }
        struct found *f = &u->v[u->n++];
        slice_to_cstr(sq_col(q, 0), f->user, sizeof(f->user));
        f->e = *e;
    }
    return rc;
}

/* One transaction of erasing one user again. */
static int erase_found(struct sqlite_store *s, const struct found *f, uint64_t now_ms, bool *left)
{
    struct request r = {.user = ""};
    int rc = sq_do(s, SQ_BEGIN_WRITE);

    if (rc == 0)
        rc = purge_some(s, slice_str(f->user), f->e.at_ms, left);
    if (rc == 0 && !*left)
        rc = last_request(s, f->e.subject, LEDGER_DELETION, &r);
    if (rc == 0 && !*left && is_open(&r) && r.is.requested_ms <= f->e.at_ms)
        rc = set_over(s, &r, LEDGER_PRIVACY_DONE, now_ms);
    if (rc == 0 && !*left)
        rc = del_export_files(s, f->e.subject);
    if (rc == 0 && !*left)
        rc = sq_audit(s, now_ms, SLICE_LIT("server"), "erased_again", f->e.subject);
    s->scrub = true;
    return rc == 0 ? s->base.ops->commit(&s->base) : rc;
}

/* Keeps the newest entry of each subject, in their order. */
static void sort_list(struct erased_list *l)
{
    size_t n = 0;

    if (l->n > 0)
        qsort(l->v, l->n, sizeof(*l->v), by_subject);
    for (size_t i = 0; i < l->n; i++) {
        if (n > 0 && by_subject(&l->v[n - 1], &l->v[i]) == 0) {
            if (l->v[n - 1].at_ms < l->v[i].at_ms)
                l->v[n - 1].at_ms = l->v[i].at_ms;
        } else {
            l->v[n++] = l->v[i];
        }
    }
    l->n = n;
}

static int note_erased(struct sqlite_store *s, const struct erased_list *l)
{
    int rc = sq_do(s, SQ_BEGIN_WRITE);

    for (size_t i = 0; i < l->n && rc == 0; i++)
        rc = put_erased(s, l->v[i].subject, l->v[i].at_ms);
    return rc == 0 ? s->base.ops->commit(&s->base) : rc;
}

/* Ends purges that a crash interrupted. */
static int end_purges(struct sqlite_store *s, uint64_t now_ms)
{
    struct request r = {.user = ""};
    int rc;

    for (;;) {
        sqlite3_stmt *q = sq_get(s, SQ_REQUEST_DUE);
        sq_u64(q, 1, 0); /* of the pending ones none is due */
        rc = one_request(s, q, &r);
        if (rc != 1)
            return rc;
        rc = sq_do(s, SQ_BEGIN_WRITE);
        if (rc == 0)
            rc = purge_step(s, &r, now_ms);
        if (rc == 0)
            rc = s->base.ops->commit(&s->base);
        if (rc != 0)
            return rc;
    }
}

int sq_erase_again(struct sqlite_store *s, uint64_t now_ms)
{
    struct erased_list l = {0};
    struct users u = {.erased = &l};
    uint8_t *text;
    size_t len, whole = 0;
    int rc = load_file(s, &text, &len);

    if (rc == 0)
        rc = read_list(s, slice_of(text, len), &l, &whole);
    if (rc == 0)
        rc = cut_list(s, whole, len);
    sort_list(&l);
    if (rc == 0 && l.n > 0)
        rc = find_users(s, &u);
    for (size_t i = 0; i < u.n && rc == 0; i++) {
        bool left = true;
        while (rc == 0 && left)
            rc = erase_found(s, &u.v[i], now_ms, &left);
    }
    if (rc == 0 && l.n > 0) /* last: until then the next open begins again */
        rc = note_erased(s, &l);
    if (rc == 0)
        rc = end_purges(s, now_ms);
    mem_free(u.v);
    mem_free(l.v);
    mem_free(text);
    return rc;
}

/* ---- what time brings ---- */

/* One page of the export that waits longest. */
static int export_step(struct sqlite_store *s, struct request *r, uint64_t now_ms)
{
    struct ledger_privacy file = {0};
    bool done = false;
    int rc = sq_export_step(s, r->is.id, slice_str(r->user), now_ms, &done, &file);

    if (rc == -EIO) {
        rc = set_over(s, r, LEDGER_PRIVACY_FAILED, now_ms);
        return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "export_failed", r->subject) : rc;
    }
    if (rc != 0 || !done)
        return rc;
    r->is.bytes = file.bytes;
    r->is.ndjson = file.ndjson;
    memcpy(r->is.sha256, file.sha256, sizeof(file.sha256));
    r->is.expires_ms = now_ms + s->conf.export_keep_days * DAY_MS;
    rc = set_over(s, r, LEDGER_PRIVACY_DONE, now_ms);
    return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "export_done", r->subject) : rc;
}

static uint64_t days_ago(uint64_t days, uint64_t now_ms)
{
    return days == 0 || days > now_ms / DAY_MS ? 0 : now_ms - days * DAY_MS;
}

/* Deletes rows of before a time; *n: how many. */
static int del_old(struct sqlite_store *s, enum sq_id which, uint64_t before_ms, uint64_t *n)
{
    sqlite3_stmt *q = sq_get(s, which);

    sq_u64(q, 1, before_ms);
    sq_u64(q, 2, STEP_ROWS);
    return sq_run(s, q, n);
}

/* One device that was not seen for long. */
static int del_old_device(struct sqlite_store *s, uint64_t before_ms, uint64_t *n)
{
    char user[SIG_USER_MAX + 1], device[SIG_DEVICE_MAX + 1];
    sqlite3_stmt *q = sq_get(s, SQ_DEVICE_OLD);

    sq_u64(q, 1, before_ms);
    int rc = sq_step(s, q);
    if (rc != 1)
        return rc;
    slice_to_cstr(sq_col(q, 0), user, sizeof(user));
    slice_to_cstr(sq_col(q, 1), device, sizeof(device));
    sq_end(q);
    *n = 1;
    return sq_del_device(&s->base, slice_str(user), slice_str(device));
}

static int del_expired_export(struct sqlite_store *s, uint64_t now_ms, uint64_t *n)
{
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    sqlite3_stmt *q = sq_get(s, SQ_EXPORT_EXPIRED);

    sq_u64(q, 1, now_ms);
    int rc = sq_step(s, q);
    if (rc != 1)
        return rc;
    sq_col_bytes(q, 0, id, sizeof(id));
    sq_end(q);
    *n = 1;
    rc = sq_export_unlink(s, id);
    q = sq_get(s, SQ_EXPORT_GONE);
    sq_blob(q, 1, id, sizeof(id));
    return rc == 0 ? sq_run(s, q, NULL) : rc;
}

/* Deletes some of what has been kept long enough; *n: how much. */
static int retain(struct sqlite_store *s, uint64_t now_ms, uint64_t *n)
{
    const struct ledger_sqlite_conf *c = &s->conf;
    uint64_t calls = days_ago(c->calls_days, now_ms), audit = days_ago(c->audit_days, now_ms);
    size_t got = 0;
    int rc = 0;

    for (int i = 0; i < 8 && rc == 0 && *n == 0; i++) {
        got = 0;
        switch (i) {
        case 0:
            rc = sq_calls_del_old(s, calls, STEP_ROWS, &got);
            *n = got;
            break;
        case 1:
            rc = del_old(s, SQ_QUALITY_OLD, calls, n);
            break;
        case 2:
            rc = del_old(s, SQ_PUSH_OLD, days_ago(c->push_days, now_ms), n);
            break;
        case 3:
            rc = del_old(s, SQ_TOKEN_OLD, now_ms, n);
            break;
        case 4:
            rc = del_old_device(s, days_ago(c->device_days, now_ms), n);
            break;
        case 5:
            rc = del_expired_export(s, now_ms, n);
            break;
        case 6:
            rc = del_old(s, SQ_REQUEST_OLD, audit, n);
            break;
        default:
            rc = del_old(s, SQ_AUDIT_OLD, audit, n);
            break;
        }
    }
    return rc;
}

static int sweep_step(struct sqlite_store *s, uint64_t now_ms, uint64_t *n)
{
    struct request r = {.user = ""};
    sqlite3_stmt *q = sq_get(s, SQ_REQUEST_DUE);

    *n = 1;
    sq_u64(q, 1, now_ms);
    int rc = one_request(s, q, &r);
    if (rc != 0)
        return rc == 1 ? purge_step(s, &r, now_ms) : rc;
    q = sq_get(s, SQ_REQUEST_EXPORT);
    rc = one_request(s, q, &r);
    if (rc != 0)
        return rc == 1 ? export_step(s, &r, now_ms) : rc;
    *n = 0;
    return retain(s, now_ms, n);
}

int sq_sweep(struct ledger_store *base, uint64_t now_ms, bool *more)
{
    struct sqlite_store *s = sq_of(base);
    uint64_t n = 0;
    int rc = sq_save(s);

    if (rc != 0)
        return rc;
    rc = sq_settle(s, sweep_step(s, now_ms, &n));
    *more = rc == 0 && n > 0;
    return rc;
}

/* Erasing a user from an SQL ledger, for good.
 *
 * A purge is made of steps, each a transaction of its own and each harmless when it is repeated, so
 * that a crash anywhere leaves a purge that goes on at the next open. The user goes on the list of
 * the erased before the first row goes: from then on no restored backup brings them back.
 *
 * Called by …_sweep.c (a purge that is due); sq_erase_again() at open.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ERASED_MAX_BYTES = 1 << 28, /* of the list: two million users */
};

/* ---- the list of the erased ---- */

/* Makes the entry durable, before anything is deleted. */
static int list_erased(struct ledger_sql *s, const struct sq_request *r, uint64_t now_ms)
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
        return sq_file_fault(s, s->erased_file, full);
    }
    memcpy(s->listed_id, r->is.id, sizeof(s->listed_id));
    s->listed = true;
    return 0;
}

/* ---- purging ---- */

static int del_rows(struct ledger_sql *s, enum sq_id which, struct slice user, uint64_t until_ms,
                    uint64_t *n)
{
    struct sql_query *q = sq_get(s, which);

    sq_text(q, 1, user);
    sq_u64(q, 2, until_ms);
    sq_u64(q, 3, SQ_STEP_ROWS);
    return sq_run(s, q, n);
}

static int drop_hold(struct ledger_sql *s, struct slice user)
{
    struct sql_query *q = sq_get(s, SQ_HOLD_DEL);

    sq_text(q, 1, user);
    return sq_run(s, q, NULL);
}

/* Deletes some of what is kept about a user; *left: there may be more. */
static int purge_some(struct ledger_sql *s, struct slice user, uint64_t until_ms, bool *left)
{
    uint64_t pushes = 0, legs = 0;
    size_t calls = 0, in_all = 0;
    int rc = sq_devices_del_user(s, user, until_ms);

    if (rc == 0) /* one that a restored backup has brought back */
        rc = drop_hold(s, user);
    if (rc == 0)
        rc = del_rows(s, SQ_PUSH_DEL_USER, user, until_ms, &pushes);
    if (rc == 0)
        rc = sq_quality_del_user(s, user, until_ms, SQ_STEP_ROWS, &legs);
    do {
        if (rc == 0)
            rc = sq_calls_del_user(s, user, until_ms, SQ_STEP_ROWS, &calls);
        in_all += calls;
    } while (rc == 0 && calls > 0 && in_all < SQ_STEP_ROWS);
    *left = pushes + legs + in_all > 0;
    return rc;
}

static int del_export_files(struct ledger_sql *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES])
{
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    int rc;

    for (;;) {
        struct sql_query *q = sq_get(s, SQ_EXPORT_FILES);
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

static int put_erased(struct ledger_sql *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                      uint64_t at_ms)
{
    struct sql_query *q = sq_get(s, SQ_ERASED_PUT);

    sq_blob(q, 1, subject, PRIVACY_SUBJECT_BYTES);
    sq_u64(q, 2, at_ms);
    s->any_erased = true;
    s->scrub = true;
    return sq_run(s, q, NULL);
}

int sq_purge_step(struct ledger_sql *s, struct sq_request *r, uint64_t now_ms)
{
    struct slice user = slice_str(r->user);
    bool left = true;
    int rc = sq_do(s, SQ_ALONE);

    if (rc != 0)
        return rc;
    if (r->is.state == LEDGER_PRIVACY_PENDING) {
        rc = sq_request_state(s, r, LEDGER_PRIVACY_RUNNING);
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
        rc = sq_request_over(s, r, LEDGER_PRIVACY_DONE, now_ms);
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
static int is_known(struct ledger_sql *s, const struct erased *e, bool *is)
{
    struct sql_query *q = sq_get(s, SQ_ERASED_IS);

    sq_blob(q, 1, e->subject, sizeof(e->subject));
    int rc = sq_step(s, q);
    *is = rc == 1 && sq_col_u64(q, 0) >= e->at_ms;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

/* Takes the entries that the database does not know of. *whole: the bytes up to the last whole
 * line. */
static int read_list(struct ledger_sql *s, struct slice text, struct erased_list *l, size_t *whole)
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
static int load_file(struct ledger_sql *s, uint8_t **out, size_t *len)
{
    struct stat st;
    int fd = open(s->erased_file, O_RDONLY | O_CLOEXEC), rc = 0;

    *out = NULL;
    *len = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : sq_file_fault(s, s->erased_file, false);
    if (fstat(fd, &st) == -1 || st.st_size > ERASED_MAX_BYTES)
        rc = sq_file_fault(s, s->erased_file, false);
    uint8_t *p = rc == 0 ? mem_zalloc((size_t)st.st_size) : NULL;
    if (rc == 0 && !p)
        rc = -ENOMEM;
    while (rc == 0 && *len < (size_t)st.st_size) {
        ssize_t n = read(fd, p + *len, (size_t)st.st_size - *len);
        if (n <= 0)
            rc = sq_file_fault(s, s->erased_file, false);
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
static int cut_list(struct ledger_sql *s, size_t whole, size_t len)
{
    if (whole == len)
        return 0;
    return truncate(s->erased_file, (off_t)whole) == -1 ? sq_file_fault(s, s->erased_file, false)
                                                        : 0;
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
static int find_users(struct ledger_sql *s, struct users *u)
{
    struct sql_query *q = sq_get(s, SQ_USERS);
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
static int erase_found(struct ledger_sql *s, const struct found *f, uint64_t now_ms, bool *left)
{
    struct sq_request r = {.user = ""};
    int rc = s->base.ops->begin(&s->base, true);

    if (rc == 0)
        rc = sq_do(s, SQ_ALONE);
    if (rc == 0)
        rc = purge_some(s, slice_str(f->user), f->e.at_ms, left);
    if (rc == 0 && !*left)
        rc = sq_request_last(s, f->e.subject, LEDGER_DELETION, &r);
    if (rc == 0 && !*left && sq_request_open(&r) && r.is.requested_ms <= f->e.at_ms)
        rc = sq_request_over(s, &r, LEDGER_PRIVACY_DONE, now_ms);
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

static int note_erased(struct ledger_sql *s, const struct erased_list *l)
{
    int rc = s->base.ops->begin(&s->base, true);

    for (size_t i = 0; i < l->n && rc == 0; i++)
        rc = put_erased(s, l->v[i].subject, l->v[i].at_ms);
    return rc == 0 ? s->base.ops->commit(&s->base) : rc;
}

/* Ends purges that a crash interrupted. */
static int end_purges(struct ledger_sql *s, uint64_t now_ms)
{
    struct sq_request r = {.user = ""};
    int rc;

    for (;;) {
        struct sql_query *q = sq_get(s, SQ_REQUEST_DUE);
        sq_u64(q, 1, 0); /* of the pending ones none is due */
        rc = sq_request_one(s, q, &r);
        if (rc != 1)
            return rc;
        rc = s->base.ops->begin(&s->base, true);
        if (rc == 0)
            rc = sq_purge_step(s, &r, now_ms);
        if (rc == 0)
            rc = s->base.ops->commit(&s->base);
        if (rc != 0)
            return rc;
    }
}

int sq_erase_again(struct ledger_sql *s, uint64_t now_ms)
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

/* Shared by the files ledger_store_sqlite*.c only: the open database and its statements.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_SQLITE_PRIV_H
#define SORI_SERVER_LEDGER_STORE_SQLITE_PRIV_H

#include "server/export_json.h"
#include "server/ledger_store_sqlite.h"

#include <sqlite3.h>

#define SQLITE_STORE_VERSION 3
#define SQLITE_STORE_PAGE    4096
#define DAY_MS               UINT64_C(86400000)
#define TIME_MAX_MS          ((uint64_t)INT64_MAX)

/* Statements that are prepared once; their text is in ledger_store_sqlite_schema.c. */
enum sq_id {
    SQ_BEGIN,
    SQ_BEGIN_WRITE,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_SAVE,
    SQ_RELEASE,
    SQ_UNDO,
    /* calls */
    SQ_CALL_END,
    SQ_CALL_PUT,
    SQ_CALL_PATH,
    SQ_CALL_DEL,
    SQ_CALL_OLD,
    SQ_PARTY_PUT,
    SQ_PARTY_DEL,
    SQ_PARTIES_DEL,
    SQ_PARTY_SHOWN,
    SQ_PARTY_OF_USER,
    SQ_USAGE_ADD,
    SQ_HISTORY,
    SQ_HISTORY_MISSED,
    SQ_COUNT_CALLS,
    SQ_BADGE,
    SQ_SEEN_ONE,
    SQ_SEEN_UNTIL,
    SQ_HIDE_ONE,
    SQ_HIDE_UNTIL,
    SQ_HIDDEN_BY_ALL,
    SQ_PUSH_PUT,
    SQ_PUSH_IS,
    SQ_PUSH_SUM,
    SQ_PUSH_LIST,
    SQ_PUSH_DEL_USER,
    SQ_PUSH_OLD,
    SQ_QUALITY_PUT,
    SQ_QUALITY_OF_CALL_DEL,
    SQ_QUALITY_DEL_USER,
    SQ_QUALITY_OLD,
    SQ_SAMPLE_PUT,
    SQ_SAMPLE_LIST,
    SQ_SAMPLES_OF_CALL_DEL,
    SQ_SAMPLES_DEL_USER,
    SQ_SAMPLES_OLD,
    /* devices */
    SQ_DEVICE_IS,
    SQ_DEVICE_COUNT,
    SQ_DEVICE_PUT,
    SQ_DEVICE_DEL,
    SQ_DEVICE_DEL_USER,
    SQ_DEVICE_OLD,
    SQ_DEVICE_ENV,
    SQ_DEVICE_TOUCH,
    SQ_DEVICES,
    SQ_DEVICES_OF,
    SQ_TOKEN_PUT,
    SQ_TOKEN_DEL_HASH,
    SQ_TOKEN_DEL_KIND,
    SQ_TOKEN_DEL_DEVICE,
    SQ_TOKEN_DEL_USER,
    SQ_TOKEN_BAD,
    SQ_TOKEN_OLD,
    SQ_TOKEN_COUNT,
    SQ_TOKENS,
    /* privacy */
    SQ_REQUEST_LAST,
    SQ_REQUEST_OPEN,
    SQ_REQUEST_PUT,
    SQ_REQUEST_STATE,
    SQ_REQUEST_DONE,
    SQ_REQUEST_DUE,
    SQ_REQUEST_EXPORT,
    SQ_REQUEST_OLD,
    SQ_EXPORT_FILES,
    SQ_EXPORT_EXPIRED,
    SQ_EXPORT_GONE,
    SQ_AUDIT_LAST,
    SQ_AUDIT_ADD,
    SQ_AUDIT_OF,
    SQ_AUDIT_OLD,
    SQ_AUDIT_ALL,
    SQ_ERASED_IS,
    SQ_ERASED_PUT,
    SQ_USERS,
    SQ_COUNT
};
extern const char *const sqlite_store_sql[SQ_COUNT];
extern const char *const sqlite_store_schema[SQLITE_STORE_VERSION]; /* version i to i + 1 */

/* Where a page of samples goes on: behind this one; zero: from the first. */
struct sq_sample_key {
    uint64_t at_ms;
    struct sig_call_id call_id;
    char leg[LEDGER_NAME_MAX + 1];
};

/* The export that is being written (ledger_store_sqlite_export.c). */
struct sq_export {
    int fd; /* -1: none */
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    char user[SIG_USER_MAX + 1];
    struct export_json json;
    struct digest *digest;
    uint64_t bytes, until_ms; /* what is newer does not come into it */
    struct ledger_cursor after;
    uint64_t push_ms; /* where the pushes go on */
    char push_id[65];
    struct sq_sample_key sample; /* the samples */
    uint64_t audit_seq;          /* and the log */
    struct wr *out;
};

struct sqlite_store {
    struct ledger_store base;
    struct ledger_sqlite_conf conf; /* file and export_dir are ours; secret is empty */
    char *file, *erased_file, *export_dir;
    struct privacy_keys *keys;
    sqlite3 *db; /* NULL: could not be opened */
    sqlite3_stmt *stmt[SQ_COUNT];
    enum ledger_health health;
    char detail[LEDGER_SQLITE_WHY_MAX];
    int lock_fd, erased_fd;
    bool scrub;      /* bytes of somebody erased are in the WAL: checkpoint after the commit */
    bool any_erased; /* the table of the erased is not empty */
    bool listed;     /* the purge that runs is on the list of the erased */
    uint8_t listed_id[LEDGER_REQUEST_ID_BYTES];
    struct sq_export export;
};

static inline struct sqlite_store *sq_of(struct ledger_store *s)
{
    return (struct sqlite_store *)(void *)s;
}

/* ---- statements (…_stmt.c) ---- */

/* The statement, ready to be bound: parameters count from 1. NULL: health says why. */
sqlite3_stmt *sq_get(struct sqlite_store *s, enum sq_id id);
/* Bind, or read a column; a NULL statement is allowed. */
void sq_text(sqlite3_stmt *q, int i, struct slice v);
void sq_blob(sqlite3_stmt *q, int i, const void *p, size_t n);
void sq_u64(sqlite3_stmt *q, int i, uint64_t v);
struct slice sq_col(sqlite3_stmt *q, int i); /* good until the next step */
uint64_t sq_col_u64(sqlite3_stmt *q, int i);
void sq_col_bytes(sqlite3_stmt *q, int i, void *out, size_t n); /* zeros when it is not n long */
/* 1: a row; 0: no more; -EAGAIN, -EIO. After a row, sq_end() before anything else. */
int sq_step(struct sqlite_store *s, sqlite3_stmt *q);
void sq_end(sqlite3_stmt *q);
/* Steps one that gives no rows, and ends it. Returns 0, -EAGAIN or -EIO; *changed (may be NULL):
 * how many rows it changed. */
int sq_run(struct sqlite_store *s, sqlite3_stmt *q, uint64_t *changed);
/* The same for a statement without parameters. */
int sq_do(struct sqlite_store *s, enum sq_id id);
/* Several statements that are one: sq_save(), work, rc = sq_settle(s, rc): keeps it or takes it
 * back.
 */
int sq_save(struct sqlite_store *s);
int sq_settle(struct sqlite_store *s, int rc);
/* Notes what SQLite (or a file of ours) says is wrong (ledger_store_sqlite.c). Returns -EAGAIN or
 * -EIO. */
int sq_fault(struct sqlite_store *s, int sqlite_rc);

/* ---- the layer under SQLite (…_vfs.c) ---- */
/* The name to open the database with. */
const char *sq_layer(void);
/* The part of a page of SQLITE_STORE_PAGE bytes that holds nothing (first: it is page 1). False:
 * there is none. */
bool sq_page_gap(const uint8_t *page, bool first, size_t *at, size_t *len);

/* ---- calls (…_calls.c) ---- */
int sq_put_call(struct ledger_store *s, const struct ledger_call *c, bool history);
int sq_put_push(struct ledger_store *s, const struct ledger_push *p);
int sq_count_push(struct ledger_store *s, const struct ledger_push *p);
int sq_history(struct ledger_store *s, const struct ledger_query *q, ledger_entry_fn *row,
               void *ctx, bool *more);
int sq_badge(struct ledger_store *s, struct slice user, uint64_t *count);
int sq_seen(struct ledger_store *s, struct slice user, const struct sig_call_id *ids, size_t n,
            uint64_t until_ms);
int sq_hide(struct ledger_store *s, struct slice user, const struct sig_call_id *ids, size_t n,
            uint64_t until_ms);
/* Pages for an export: with hidden ones. */
int sq_history_all(struct sqlite_store *s, const struct ledger_query *q, ledger_entry_fn *row,
                   void *ctx, bool *more);
/* Deletes a call with everything about it; of a user, at most max calls made up to until_ms. */
int sq_call_del(struct sqlite_store *s, const struct sig_call_id *id);
int sq_calls_del_user(struct sqlite_store *s, struct slice user, uint64_t until_ms, size_t max,
                      size_t *n);
int sq_calls_del_old(struct sqlite_store *s, uint64_t before_ms, size_t max, size_t *n);

/* ---- quality (…_quality.c) ---- */
int sq_put_quality(struct ledger_store *s, const struct ledger_quality *q);
int sq_put_sample(struct ledger_store *s, const struct ledger_sample *v);
/* Deletes what is kept of a call; at most max rows of a user's up to until_ms; or at most max old
 * ones: summaries made before before_ms, samples before samples_ms. *n: how many. */
int sq_quality_del_call(struct sqlite_store *s, const struct sig_call_id *id);
int sq_quality_del_user(struct sqlite_store *s, struct slice user, uint64_t until_ms, size_t max,
                        uint64_t *n);
int sq_quality_del_old(struct sqlite_store *s, uint64_t before_ms, uint64_t samples_ms, size_t max,
                       uint64_t *n);
typedef void sq_sample_fn(void *ctx, const struct ledger_sample *v);
/* At most limit samples of a user, the oldest first, those up to until_ms; moves *after on. */
int sq_samples(struct sqlite_store *s, struct slice user, struct sq_sample_key *after,
               uint64_t until_ms, size_t limit, sq_sample_fn *row, void *ctx, bool *more);

/* ---- devices (…_devices.c) ---- */
int sq_put_device(struct ledger_store *s, const struct ledger_device *d);
int sq_del_device(struct ledger_store *s, struct slice user, struct slice device);
int sq_bad_token(struct ledger_store *s, struct slice token, uint64_t since_ms);
int sq_set_env(struct ledger_store *s, struct slice user, struct slice device, enum ledger_env env);
int sq_touch(struct ledger_store *s, struct slice user, struct slice device, uint64_t now_ms);
int sq_devices(struct ledger_store *s, const struct ledger_device_key *after, size_t limit,
               ledger_device_fn *row, void *ctx, bool *more);
/* All devices of a user that were not seen after until_ms. */
int sq_devices_del_user(struct sqlite_store *s, struct slice user, uint64_t until_ms);
int sq_devices_of(struct sqlite_store *s, struct slice user, ledger_device_fn *row, void *ctx);

/* ---- privacy requests (…_privacy.c) ---- */
int sq_erase(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
             struct ledger_privacy *out);
int sq_keep(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
            struct ledger_privacy *out);
int sq_ask_export(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                  struct ledger_privacy *out);
int sq_privacy(struct ledger_store *s, struct slice user, enum ledger_privacy_kind kind,
               struct ledger_privacy *out);
/* The user's records made at or before at_ms are not to be kept. */
int sq_is_erased(struct sqlite_store *s, struct slice user, uint64_t at_ms, bool *is);
/* The deletion of this user is pending or running. */
int sq_is_leaving(struct sqlite_store *s, struct slice user, bool *is);

/* A row of privacy_request. */
struct sq_request {
    struct ledger_privacy is;
    char user[SIG_USER_MAX + 1]; /* "" when it is over */
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    uint64_t done_ms;
};
static inline bool sq_request_open(const struct sq_request *r)
{
    return r->is.state == LEDGER_PRIVACY_PENDING || r->is.state == LEDGER_PRIVACY_RUNNING;
}
/* The first row of a bound statement. 1, 0 or negative. */
int sq_request_one(struct sqlite_store *s, sqlite3_stmt *q, struct sq_request *r);
/* The latest request of a kind; its state is NONE when there is none. */
int sq_request_last(struct sqlite_store *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                    enum ledger_privacy_kind kind, struct sq_request *r);
int sq_request_state(struct sqlite_store *s, struct sq_request *r, enum ledger_privacy_state state);
/* The request is over: it names nobody any more. */
int sq_request_over(struct sqlite_store *s, struct sq_request *r, enum ledger_privacy_state state,
                    uint64_t now_ms);

/* ---- the audit log (…_audit.c) ---- */
/* Adds a record; subject (PRIVACY_SUBJECT_BYTES) may be NULL. */
int sq_audit(struct sqlite_store *s, uint64_t now_ms, struct slice actor, const char *action,
             const uint8_t *subject);

/* ---- purges (…_erase.c), and what time brings (…_sweep.c) ---- */
enum { SQ_STEP_ROWS = 1000 }; /* most rows of a kind that one step deletes */
/* One step of a purge that is due. */
int sq_purge_step(struct sqlite_store *s, struct sq_request *r, uint64_t now_ms);
/* At open: erases who is on the list and was brought back, and ends purges that had begun. */
int sq_erase_again(struct sqlite_store *s, uint64_t now_ms);
int sq_sweep(struct ledger_store *s, uint64_t now_ms, bool *more);

/* ---- the export's file (…_export.c) ---- */
/* One page of the export id of user. *done: the file is complete, *out says what it is. Returns 0;
 * -EIO: it could not be written (nothing of it is left); -EAGAIN. */
int sq_export_step(struct sqlite_store *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES],
                   struct slice user, uint64_t now_ms, bool *done, struct ledger_privacy *out);
void sq_export_stop(struct sqlite_store *s);
/* Deletes the file of an export. Returns 0 (also when there is none) or -EIO. */
int sq_export_unlink(struct sqlite_store *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES]);

#endif

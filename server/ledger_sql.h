/* A ledger in a database that speaks SQL: what it does, apart from the engine that does it.
 *
 *     ledger_store_ops ──► ledger_sql_{calls,quality,devices,privacy,erase,sweep,export,audit}.c
 *                              │ statements by name: sq_get(), sq_text() …, sq_step()
 *                              ▼
 *                          struct sql_engine: ledger_store_sqlite*.c, ledger_store_pg*.c
 *
 * Shared by these files only. Names begin with sq_. One thread at a time.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_SQL_H
#define SORI_SERVER_LEDGER_SQL_H

#include "server/export_json.h"
#include "server/ledger_store.h"
#include "server/privacy.h"

#define DAY_MS      UINT64_C(86400000)
#define TIME_MAX_MS ((uint64_t)INT64_MAX)

/* Statements, prepared once; an engine may have its own text of one (…_schema.c), with the same
 * parameters and columns. One that an engine need not make has none: it is done as soon as asked.
 */
enum sq_id {
    SQ_BEGIN,
    SQ_BEGIN_WRITE,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_SAVE,
    SQ_RELEASE,
    SQ_UNDO,
    SQ_ALONE, /* until the end of the transaction no other server records or registers anything */
    /* the database */
    SQ_META_GET,
    SQ_META_PUT,
    SQ_OPEN_SUM,
    SQ_OPEN_END,
    SQ_ERASED_ANY,
    /* calls */
    SQ_CALL_END,
    SQ_CALL_PUT,
    SQ_CALL_PATH_OF,
    SQ_CALL_PATH,
    SQ_CALL_DEL,
    SQ_CALL_OLD,
    SQ_PARTY_PUT,
    SQ_PARTY_DEL,
    SQ_PARTIES_DEL,
    SQ_PARTY_SHOWN,
    SQ_PARTY_OF_USER,
    SQ_USAGE_ADD,
    SQ_USAGE_TAKE,
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
    SQ_TOKEN_OTHER,
    SQ_TOKEN_RESEAL,
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
    SQ_SWEEP_MINE, /* this server may sweep: until SQ_SWEEP_FREE, or until it is gone */
    SQ_SWEEP_FREE,
    SQ_AUDIT_LOCK,
    SQ_AUDIT_LAST,
    SQ_AUDIT_ADD,
    SQ_AUDIT_OF,
    SQ_AUDIT_OLD,
    SQ_AUDIT_ALL,
    SQ_HOLD_IS,
    SQ_HOLD_COUNT,
    SQ_HOLD_PUT,
    SQ_HOLD_DEL,
    SQ_HOLD_LIST,
    SQ_ERASED_IS,
    SQ_ERASED_PUT,
    SQ_USERS,
    SQ_COUNT
};

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

struct ledger_sql;

/* A statement of a store: what is bound to it, and its rows. */
struct sql_query {
    struct ledger_sql *store;
    enum sq_id id;
};

/* An engine. Parameters count from 1, columns from 0. A parameter that the engine's text does not
 * have is left out. */
struct sql_engine {
    /* Makes the statement ready to be bound. False: health says why. */
    bool (*get)(struct sql_query *q);
    void (*text)(struct sql_query *q, int i, struct slice v); /* v is good until the step */
    void (*blob)(struct sql_query *q, int i, struct slice v);
    void (*number)(struct sql_query *q, int i, int64_t v);
    struct slice (*col)(struct sql_query *q, int i); /* NULL: empty; good until the next step */
    int64_t (*col_number)(struct sql_query *q, int i);
    /* 1: a row; 0: no more, and it has ended; -EAGAIN, -EIO: it has ended. */
    int (*step)(struct sql_query *q);
    void (*end)(struct sql_query *q);
    uint64_t (*changed)(const struct sql_query *q); /* rows, after the last step */
    /* What was done since SQ_SAVE is kept (rc 0) or taken back. */
    int (*settle)(struct ledger_sql *s, int rc);
};

struct ledger_sql {
    struct ledger_store base;
    const struct sql_engine *engine;
    const char *const *own;        /* SQ_COUNT texts; NULL: need not be done */
    struct ledger_store_conf conf; /* texts are ours; password and secret are empty */
    char *node, *erased_file, *export_dir;
    struct privacy_keys *keys;
    struct sql_query query[SQ_COUNT];
    enum ledger_health health;
    char detail[LEDGER_STORE_WHY_MAX];
    int erased_fd;
    bool scrub;      /* bytes of somebody erased are still about: the engine does what it can */
    bool any_erased; /* the table of the erased is not empty, or others may fill it */
    bool listed;     /* the purge that runs is on the list of the erased */
    uint8_t listed_id[LEDGER_REQUEST_ID_BYTES];
    bool sweeping;    /* SQ_SWEEP_MINE said so */
    bool tell_reseal; /* also a pass that finds nothing to do: the first one beside a sealing key */
    struct sq_reseal {  /* zeroed when a transaction is taken back: its steps may have been in it */
        uint64_t at_ms; /* when the next pass begins */
        uint64_t done, behind;
        uint8_t after[PRIVACY_HASH_BYTES]; /* the pass has come so far */
        bool going;
    } reseal;
    struct sq_export export;
};

static inline struct ledger_sql *sq_of(struct ledger_store *s)
{
    return (struct ledger_sql *)(void *)s;
}

/* ---- life (ledger_sql.c) ---- */

/* Fills what every engine shares; s is zeroed and freed with sq_fini(), also after a failure.
 * erased_file, export_dir: where they are (the conf's may be empty). Returns 0 or -ENOMEM. */
int sq_init(struct ledger_sql *s, const struct sql_engine *engine, const char *const *own,
            const struct ledger_store_conf *conf, const char *erased_file, const char *export_dir);
void sq_fini(struct ledger_sql *s);
/* After the tables are up to date: holds the secret against the database's, ends calls that a crash
 * of this server left open (fresh), erases again who was brought back. Returns 0; -EAGAIN; or
 * -EKEYREJECTED, -EBADMSG, -ENOMEM with why. Not in a transaction. */
int sq_take(struct ledger_sql *s, bool fresh, uint64_t now_ms, char why[LEDGER_STORE_WHY_MAX]);
/* A file of ours (not the database) can't be written or read: notes errno. Returns -EAGAIN. */
int sq_file_fault(struct ledger_sql *s, const char *file, bool full);
/* The functions of ledger_store_ops that are the same for all engines; the others are the
 * engine's. */
#define SQ_SHARED_OPS                                                                           \
    .health = sq_health, .detail = sq_detail, .put_call = sq_put_call, .put_push = sq_put_push, \
    .count_push = sq_count_push, .put_quality = sq_put_quality, .put_sample = sq_put_sample,    \
    .put_device = sq_put_device, .del_device = sq_del_device, .bad_token = sq_bad_token,        \
    .set_env = sq_set_env, .touch = sq_touch, .history = sq_history, .devices = sq_devices,     \
    .devices_of = sq_devices_of, .badge = sq_badge, .seen = sq_seen, .hide = sq_hide,           \
    .erase = sq_erase, .keep = sq_keep, .export = sq_ask_export, .privacy = sq_privacy,         \
    .hold = sq_hold, .holds = sq_holds, .sweep = sq_sweep, .export_path = sq_export_path
enum ledger_health sq_health(struct ledger_store *s);
const char *sq_detail(struct ledger_store *s);

/* ---- statements (ledger_sql.c) ---- */

extern const char *const sq_common_sql[SQ_COUNT]; /* ledger_sql_text.c */
/* The text of a statement; parameters are ?1, ?2 …; NULL: this engine need not do it. */
const char *sq_sql(const struct ledger_sql *s, enum sq_id id);

/* The statement, ready to be bound: parameters count from 1. NULL: health says why. */
struct sql_query *sq_get(struct ledger_sql *s, enum sq_id id);
/* Bind, or read a column; a NULL statement is allowed. */
void sq_text(struct sql_query *q, int i, struct slice v);
void sq_blob(struct sql_query *q, int i, const void *p, size_t n);
void sq_u64(struct sql_query *q, int i, uint64_t v);
struct slice sq_col(struct sql_query *q, int i); /* good until the next step */
uint64_t sq_col_u64(struct sql_query *q, int i);
void sq_col_bytes(struct sql_query *q, int i, void *out,
                  size_t n); /* zeros when it is not n long */
/* 1: a row; 0: no more; -EAGAIN, -EIO. After a row, sq_end() before anything else. */
int sq_step(struct ledger_sql *s, struct sql_query *q);
void sq_end(struct sql_query *q);
/* Steps one that gives no rows, and ends it. Returns 0, -EAGAIN or -EIO; *changed (may be NULL):
 * how many rows it changed. */
int sq_run(struct ledger_sql *s, struct sql_query *q, uint64_t *changed);
/* The same for a statement without parameters. */
int sq_do(struct ledger_sql *s, enum sq_id id);
/* Several statements that are one: sq_save(), work, rc = sq_settle(s, rc): keeps it or takes it
 * back. */
int sq_save(struct ledger_sql *s);
int sq_settle(struct ledger_sql *s, int rc);

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
int sq_history_all(struct ledger_sql *s, const struct ledger_query *q, ledger_entry_fn *row,
                   void *ctx, bool *more);
/* Deletes a call with everything about it; of a user, at most max calls made up to until_ms. */
int sq_call_del(struct ledger_sql *s, const struct sig_call_id *id);
int sq_calls_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms, size_t max,
                      size_t *n);
int sq_calls_del_old(struct ledger_sql *s, uint64_t before_ms, size_t max, size_t *n);

/* ---- quality (…_quality.c) ---- */
int sq_put_quality(struct ledger_store *s, const struct ledger_quality *q);
int sq_put_sample(struct ledger_store *s, const struct ledger_sample *v);
/* Deletes what is kept of a call; at most max rows of a user's up to until_ms; or at most max old
 * ones: summaries made before before_ms, samples before samples_ms. *n: how many. */
int sq_quality_del_call(struct ledger_sql *s, const struct sig_call_id *id);
int sq_quality_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms, size_t max,
                        uint64_t *n);
int sq_quality_del_old(struct ledger_sql *s, uint64_t before_ms, uint64_t samples_ms, size_t max,
                       uint64_t *n);
typedef void sq_sample_fn(void *ctx, const struct ledger_sample *v);
/* At most limit samples of a user, the oldest first, those up to until_ms; moves *after on. */
int sq_samples(struct ledger_sql *s, struct slice user, struct sq_sample_key *after,
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
int sq_devices_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms);
int sq_devices_of(struct ledger_store *s, struct slice user, ledger_device_fn *row, void *ctx);

/* ---- privacy requests (…_privacy.c) ---- */
int sq_erase(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
             struct ledger_privacy *out);
int sq_keep(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
            struct ledger_privacy *out);
int sq_ask_export(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                  struct ledger_privacy *out);
int sq_privacy(struct ledger_store *s, struct slice user, enum ledger_privacy_kind kind,
               struct ledger_privacy *out);
int sq_hold(struct ledger_store *s, struct slice user, struct slice actor, bool on,
            uint64_t now_ms);
int sq_holds(struct ledger_store *s, ledger_device_fn *row, void *ctx);
/* The user's records made at or before at_ms are not to be kept. */
int sq_is_erased(struct ledger_sql *s, struct slice user, uint64_t at_ms, bool *is);
/* The deletion of this user is pending or running. */
int sq_is_leaving(struct ledger_sql *s, struct slice user, bool *is);

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
int sq_request_one(struct ledger_sql *s, struct sql_query *q, struct sq_request *r);
/* The latest request of a kind; its state is NONE when there is none. */
int sq_request_last(struct ledger_sql *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                    enum ledger_privacy_kind kind, struct sq_request *r);
int sq_request_state(struct ledger_sql *s, struct sq_request *r, enum ledger_privacy_state state);
/* The request is over: it names nobody any more. */
int sq_request_over(struct ledger_sql *s, struct sq_request *r, enum ledger_privacy_state state,
                    uint64_t now_ms);

/* ---- the audit log (…_audit.c) ---- */
/* Follows the audit log's chain. Returns 0; -EBADMSG: the record with number *seq was changed, or
 * one before it is missing; -EAGAIN. */
int ledger_sql_audit_verify(struct ledger_store *s, uint64_t *seq);
/* Adds a record; subject (PRIVACY_SUBJECT_BYTES) may be NULL. */
int sq_audit(struct ledger_sql *s, uint64_t now_ms, struct slice actor, const char *action,
             const uint8_t *subject);

/* ---- purges (…_erase.c), and what time brings (…_sweep.c) ---- */
enum { SQ_STEP_ROWS = 1000 }; /* most rows of a kind that one step deletes */
/* One step of a purge that is due. */
int sq_purge_step(struct ledger_sql *s, struct sq_request *r, uint64_t now_ms);
/* At open: erases who is on the list and was brought back, and ends purges that had begun. */
int sq_erase_again(struct ledger_sql *s, uint64_t now_ms);
int sq_sweep(struct ledger_store *s, uint64_t now_ms, bool *more);
/* Seals some tokens that have another key with the present one (…_reseal.c); *n: 0 when the pass is
 * over, which begins anew after an hour. */
int sq_reseal_step(struct ledger_sql *s, uint64_t now_ms, uint64_t *n);

/* ---- the export's file (…_export.c) ---- */
int sq_export_path(const struct ledger_store *s, const struct ledger_privacy *p, char *out,
                   size_t cap);
/* One page of the export id of user. *done: the file is complete, *out says what it is. Returns 0;
 * -EIO: it could not be written (nothing of it is left); -EAGAIN. */
int sq_export_step(struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES],
                   struct slice user, uint64_t now_ms, bool *done, struct ledger_privacy *out);
void sq_export_stop(struct ledger_sql *s);
/* Deletes the file of an export. Returns 0 (also when there is none) or -EIO. */
int sq_export_unlink(struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES]);

#endif

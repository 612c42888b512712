/* What the ledger asks of a database engine: one struct of functions per engine, all synchronous,
 * all called by one thread at a time.
 *
 *     ledger_store_sqlite.h   a file beside the server
 *     ledger_store_pg.h       a PostgreSQL database, of one server or of several
 *
 * tests/unit/server/ledger_store_test.c is what every engine has to pass.
 *
 * Each function is atomic: when it fails it has done nothing. Results: 0; -EAGAIN: the engine is in
 * trouble (health() says which), the transaction is lost, everything in it may be tried again;
 * -EIO: this one record or row is not acceptable; others as in ledger.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_H
#define SORI_SERVER_LEDGER_STORE_H

#include "base/metrics.h"
#include "server/ledger.h"

struct ledger_store;

/* Rows of a read, one after the other; what they point to is good until the function returns. */
typedef void ledger_entry_fn(void *ctx, const struct ledger_entry *e);
typedef void ledger_device_fn(void *ctx, const struct ledger_device *d);

/* Another server has changed something of this user's devices; an empty user: of anybody's. False:
 * no memory for it; it is told again. */
typedef bool ledger_news_fn(void *ctx, struct slice user);

/* Where ledger_devices() goes on: behind this device of this user; both empty: from the first. */
struct ledger_device_key {
    struct slice user, device;
};

struct ledger_store_ops {
    /* What is wrong, and in the engine's words (good until the next call of anything; "": nothing).
     */
    enum ledger_health (*health)(struct ledger_store *s);
    const char *(*detail)(struct ledger_store *s);
    /* Tries to get out of trouble. Returns 0 or -EAGAIN. */
    int (*recover)(struct ledger_store *s, uint64_t now_ms);
    /* A transaction: everything until commit() is durable after it, or never was. write: it will
     * change something. */
    int (*begin)(struct ledger_store *s, bool write);
    int (*commit)(struct ledger_store *s);
    void (*rollback)(struct ledger_store *s);

    int (*put_call)(struct ledger_store *s, const struct ledger_call *c, bool history);
    int (*put_push)(struct ledger_store *s, const struct ledger_push *p);
    /* Without history: adds it to the day's sums, which put_push() does for each new one. */
    int (*count_push)(struct ledger_store *s, const struct ledger_push *p);
    int (*put_quality)(struct ledger_store *s, const struct ledger_quality *q);
    int (*put_sample)(struct ledger_store *s, const struct ledger_sample *v);
    int (*put_device)(struct ledger_store *s, const struct ledger_device *d);
    int (*del_device)(struct ledger_store *s, struct slice user, struct slice device);
    int (*bad_token)(struct ledger_store *s, struct slice token, uint64_t since_ms);
    int (*set_env)(struct ledger_store *s, struct slice user, struct slice device,
                   enum ledger_env env);
    int (*touch)(struct ledger_store *s, struct slice user, struct slice device, uint64_t now_ms);

    /* At most limit rows; *more: there are others behind them. */
    int (*history)(struct ledger_store *s, const struct ledger_query *q, ledger_entry_fn *row,
                   void *ctx, bool *more);
    int (*devices)(struct ledger_store *s, const struct ledger_device_key *after, size_t limit,
                   ledger_device_fn *row, void *ctx, bool *more);
    int (*devices_of)(struct ledger_store *s, struct slice user, ledger_device_fn *row, void *ctx);
    int (*badge)(struct ledger_store *s, struct slice user, uint64_t *count);
    int (*seen)(struct ledger_store *s, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms);
    int (*hide)(struct ledger_store *s, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms);

    int (*erase)(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                 struct ledger_privacy *out);
    int (*keep)(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                struct ledger_privacy *out);
    int (*export)(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                  struct ledger_privacy *out);
    int (*privacy)(struct ledger_store *s, struct slice user, enum ledger_privacy_kind kind,
                   struct ledger_privacy *out);
    /* As ledger_hold(); who is held, at most LEDGER_HOLDS_MAX. */
    int (*hold)(struct ledger_store *s, struct slice user, struct slice actor, bool on,
                uint64_t now_ms);
    int (*holds)(struct ledger_store *s, ledger_device_fn *row, void *ctx);
    /* One bounded step; *more: there is another one. -EBUSY: another server is at it, try again in
     * a second. */
    int (*sweep)(struct ledger_store *s, uint64_t now_ms, bool *more);

    /* An engine that several servers share; NULL: no other server is there. Between transactions:
     * takes in what the others tell, without waiting. Returns 0 or -EAGAIN. */
    int (*news)(struct ledger_store *s, ledger_news_fn *told, void *ctx);
    /* What to wait for until there are news; -1: nothing now. */
    int (*fd)(const struct ledger_store *s);

    /* Any thread. The path of a finished export (p->state is LEDGER_PRIVACY_DONE), NUL ended.
     * Returns 0 or -ENAMETOOLONG. */
    int (*export_path)(const struct ledger_store *s, const struct ledger_privacy *p, char *out,
                       size_t cap);

    void (*free)(struct ledger_store *s);
};

struct ledger_store {
    const struct ledger_store_ops *ops;
};

#define LEDGER_STORE_WHY_MAX 512

/* Tokens that got another key. One writer; any thread may read. */
struct ledger_reseal {
    struct counter done;   /* since the start */
    struct counter behind; /* gauge: those that another key has, as found last, and no key opens */
};

/* What an engine has to go by. */
struct ledger_store_conf {
    const char *file;        /* SQLite: the database; copied */
    const char *postgres;    /* PostgreSQL: where it is (ledger_store_pg.h); copied */
    struct slice password;   /* of it; empty: none is asked for; copied, wiped at the end */
    const char *node;        /* this server's name among those that share the database; copied */
    const char *erased_file; /* PostgreSQL: the list of the erased; copied */
    uint64_t connect_timeout_ms, query_timeout_ms; /* PostgreSQL */

    const char *export_dir; /* where exports are written; "": beside the file; copied */
    struct slice secret;    /* PRIVACY_SECRET_MIN bytes or more; not kept */
    struct slice seal_key,
        other_seal_key;           /* of tokens: privacy_keys_seal(); may be empty; not kept */
    struct ledger_reseal *reseal; /* counted here; lent; NULL: nowhere */
    bool check;                   /* SQLite: look through the whole file at open */
    size_t devices_per_user, tokens_per_device;
    uint64_t grace_days;        /* between a request for deletion and the purge */
    uint64_t export_keep_days;  /* an export's file */
    uint64_t export_every_days; /* one export per user in so many; 0: no limit */
    uint64_t ndjson_calls;      /* exports with more calls have one object a line */
    /* Retention; 0: for ever. */
    uint64_t calls_days, samples_days, push_days, device_days, audit_days;
};

#endif

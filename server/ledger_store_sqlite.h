/* The ledger in one SQLite file: WAL, a sync with every commit, secure_delete.
 *
 *     FILE  FILE-wal  FILE-shm     the database
 *     FILE.erased                  who was erased (privacy.h): never restore it from a backup
 *     FILE.lock                    held by the server that has it open
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_SQLITE_H
#define SORI_SERVER_LEDGER_STORE_SQLITE_H

#include "server/ledger_store.h"

#define LEDGER_SQLITE_WHY_MAX 512

struct ledger_sqlite_conf {
    const char *file;       /* copied */
    const char *export_dir; /* where exports are written; "": beside the file; copied */
    struct slice secret;    /* PRIVACY_SECRET_MIN bytes or more; not kept */
    bool check;             /* look through the whole file at open */
    size_t devices_per_user, tokens_per_device;
    uint64_t grace_days;        /* between a request for deletion and the purge */
    uint64_t export_keep_days;  /* an export's file */
    uint64_t export_every_days; /* one export per user in so many; 0: no limit */
    uint64_t ndjson_calls;      /* exports with more calls have one object a line */
    /* Retention; 0: for ever. */
    uint64_t calls_days, samples_days, push_days, device_days, audit_days;
};

/* Opens or makes the file, brings its tables up to date, ends records of calls that a crash left
 * open, goes on with purges that were interrupted and erases again who was erased after a restored
 * backup was made: all before it returns.
 *
 * Returns 0 and *out. A file that is damaged, read-only, on a full disk or locked by another
 * program is no failure: health() says so, why holds the details, and recover() tries again.
 * Otherwise, with why = what to do (NUL ended): -EPROTONOSUPPORT: the file was made by a newer
 * version, or by another program; -EKEYREJECTED: made with another secret; -EBUSY: another server
 * has it open; -EBADMSG: FILE.erased was changed; -ENOMEM; or the -errno of the directory or file.
 */
int ledger_sqlite_open(const struct ledger_sqlite_conf *conf, uint64_t now_ms,
                       struct ledger_store **out, char why[LEDGER_SQLITE_WHY_MAX]);

/* The path of a finished export (p->state is LEDGER_PRIVACY_DONE), NUL ended. Any thread. Returns 0
 * or -ENAMETOOLONG. */
int ledger_sqlite_export_path(const struct ledger_store *s, const struct ledger_privacy *p,
                              char *out, size_t cap);

/* Follows the audit log's chain. Returns 0; -EBADMSG: the record with number *seq was changed, or
 * one before it is missing; -EAGAIN. */
int ledger_sqlite_audit_verify(struct ledger_store *s, uint64_t *seq);

#endif

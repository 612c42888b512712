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
int ledger_sqlite_open(const struct ledger_store_conf *conf, uint64_t now_ms,
                       struct ledger_store **out, char why[LEDGER_STORE_WHY_MAX]);

#endif

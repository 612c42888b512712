/* The ledger in a PostgreSQL database, of one server or of several that share it.
 *
 *     ledger's thread ──libpq, non-blocking, a deadline for each wait──► PostgreSQL 13 or later
 *         └── a second connection while rows of the erased are vacuumed
 *
 * A database that is away is a degraded state (LEDGER_AWAY): calls go on, records wait in the
 * ledger's queue, recover() connects again. A commit whose answer is lost is made again: records
 * have keys, so that nothing is there twice (without [privacy] history the day's sums may be).
 *
 * Several servers: each ends only its own calls that a crash left open, one sweeps at a time, and
 * who is erased while others record is erased for them too. Exports are files: export_dir has to
 * be one directory for all of them.
 *
 *     erased_file    who was erased (privacy.h), by this server: never restore it from a backup
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_PG_H
#define SORI_SERVER_LEDGER_STORE_PG_H

#include "server/ledger_store.h"

/* Whether where is a connection string that may be used: libpq's key=value form, or a URI. It has a
 * dbname and no password (that is in a file of its own). Over TCP the server's certificate and name
 * are verified (sslmode=verify-full is the default, verify-ca may be chosen) against sslrootcert,
 * which must be named; only on the loopback another sslmode is taken. Pure.
 *
 * Returns 0, or -EINVAL with why (NUL ended): what to write instead. Never repeats a password. */
int ledger_pg_where_check(const char *where, char why[LEDGER_STORE_WHY_MAX]);

/* Connects, makes or upgrades the tables (several servers may do so at once), ends records of calls
 * that a crash of this server left open, erases again who was erased after a restored backup was
 * made. Takes as long as connect_timeout_ms when the database is away, and longer for the rest.
 *
 * conf: postgres, password, node, erased_file, the two timeouts, export_dir and what follows it.
 *
 * Returns 0 and *out. A database that is away, read-only or full is no failure: health() says so,
 * why holds the details, and recover() tries again. Otherwise, with why = what to do (NUL ended):
 * -EPROTONOSUPPORT: the tables were made by a newer version, or by another program; -EKEYREJECTED:
 * made with another secret; -EBADMSG: erased_file was changed; -ENOMEM. */
int ledger_pg_open(const struct ledger_store_conf *conf, uint64_t now_ms, struct ledger_store **out,
                   char why[LEDGER_STORE_WHY_MAX]);

#endif

/* What the daily report takes from a SQLite ledger, read-only, beside a server that writes it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_SQLITE_REPORT_H
#define SORI_SERVER_LEDGER_STORE_SQLITE_REPORT_H

#include "server/ledger_store_sqlite.h"
#include "server/usage_report.h"

/* Puts the calls, pushes and quality of the days from..to into r, and the sums of these days.
 * Tables that are not there (of an older version) are left out.
 *
 * Returns 0; or with why (NUL ended) saying what to do: -ENOENT: there is no such file, or it
 * cannot be opened; -EPROTONOSUPPORT: of a newer version or another program; -EBADMSG: damaged;
 * -EAGAIN: locked; -ENOSPC, -ENOMEM as of usage_report_call(). */
int ledger_sqlite_report(const char *file, uint32_t from, uint32_t to, struct usage_report *r,
                         char why[LEDGER_STORE_WHY_MAX]);

#endif

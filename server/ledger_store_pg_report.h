/* What the daily report takes from a PostgreSQL ledger, read-only, beside servers that write it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_STORE_PG_REPORT_H
#define SORI_SERVER_LEDGER_STORE_PG_REPORT_H

#include "server/ledger_store_pg.h"
#include "server/usage_report.h"

/* Puts the calls, pushes and quality of the days from..to into r, and the sums of these days, of
 * all nodes: as they stood at one moment. A standby will do. where is as ledger_pg_where_check()
 * wants it; password may be empty.
 *
 * Returns 0; or with why (NUL ended) saying what to do: -EINVAL: where; -EAGAIN: it can't be
 * reached, or is too slow; -EPROTONOSUPPORT: of a newer version, or no ledger; -EBADMSG: damaged;
 * -ENOSPC, -ENOMEM as of usage_report_call(). */
int ledger_pg_report(const char *where, struct slice password, uint32_t from, uint32_t to,
                     struct usage_report *r, char why[LEDGER_STORE_WHY_MAX]);

#endif

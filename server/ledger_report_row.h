/* Rows of a ledger's tables, as the daily report takes them, whichever engine they come from.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_REPORT_ROW_H
#define SORI_SERVER_LEDGER_REPORT_ROW_H

#include "server/usage_report.h"

/* One row; columns count from 0. */
struct ledger_row {
    void *engine;
    struct slice (*text)(void *engine, int column); /* good until the next row */
    uint64_t (*number)(void *engine, int column);   /* 0 for what is none, or below 0 */
};

/* Put a row into the report; return as usage_report_call() does. Nothing here trusts the database:
 * numbers are clamped, words that are not known stand for the first of their kind, a day that is
 * none is left out. Columns:
 *
 * call:     call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state, end_reason, path,
 *           region
 * leg:      call_id, codec, path, samples, mos_avg, at_ms, network, leg
 * push:     call_id, kind, status, reason, sent_ms, answered_ms
 * sum:      day, region, path, state, calls, seconds, ice_failed
 * push_sum: day, kind, status, reason, pushes */
typedef int ledger_row_fn(struct usage_report *r, const struct ledger_row *row);
int ledger_row_call(struct usage_report *r, const struct ledger_row *row);
int ledger_row_leg(struct usage_report *r, const struct ledger_row *row);
int ledger_row_push(struct usage_report *r, const struct ledger_row *row);
int ledger_row_sum(struct usage_report *r, const struct ledger_row *row);
int ledger_row_push_sum(struct usage_report *r, const struct ledger_row *row);

#endif

/* Rows of a ledger's tables into the daily report.
 *
 * Called by ledger_store_{sqlite,pg}_report.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_report_row.h"

#include <string.h>

static struct slice text(const struct ledger_row *row, int i)
{
    return row->text(row->engine, i);
}

static uint64_t number(const struct ledger_row *row, int i)
{
    return row->number(row->engine, i);
}

static void read_id(const struct ledger_row *row, struct sig_call_id *id)
{
    struct slice v = text(row, 0);

    if (v.len == sizeof(id->b))
        memcpy(id->b, v.p, sizeof(id->b));
}

int ledger_row_call(struct usage_report *r, const struct ledger_row *row)
{
    struct usage_call c = {.group = slice_is(text(row, 1), "group"),
                           .video = slice_is(text(row, 2), "video"),
                           .created_ms = number(row, 3),
                           .ring_ms = number(row, 4),
                           .answer_ms = number(row, 5),
                           .end_ms = number(row, 6),
                           .outcome = LEDGER_FAILED,
                           .region = text(row, 10)};

    read_id(row, &c.id);
    ledger_outcome_parse(text(row, 7), &c.outcome);
    ledger_reason_parse(text(row, 8), &c.reason);
    ledger_path_parse(text(row, 9), &c.path);
    return usage_report_call(r, &c);
}

int ledger_row_leg(struct usage_report *r, const struct ledger_row *row)
{
    uint64_t samples = number(row, 3), mos = number(row, 4);
    struct usage_leg l = {.codec = text(row, 1),
                          .samples = samples < UINT32_MAX ? (unsigned)samples : UINT32_MAX,
                          .mos_milli = mos < UINT32_MAX ? (unsigned)mos : UINT32_MAX,
                          .at_ms = number(row, 5),
                          .network = text(row, 6),
                          .leg = text(row, 7)};

    read_id(row, &l.id);
    ledger_path_parse(text(row, 2), &l.path);
    return usage_report_leg(r, &l);
}

int ledger_row_push(struct usage_report *r, const struct ledger_row *row)
{
    uint64_t status = number(row, 2);
    struct usage_push p = {.kind = text(row, 1),
                           .status = status < 1000 ? (unsigned)status : 0,
                           .reason = text(row, 3),
                           .sent_ms = number(row, 4),
                           .answered_ms = number(row, 5)};

    read_id(row, &p.id);
    return usage_report_push(r, &p);
}

int ledger_row_sum(struct usage_report *r, const struct ledger_row *row)
{
    struct usage_sum sum = {.region = text(row, 1),
                            .outcome = LEDGER_FAILED,
                            .calls = number(row, 4),
                            .seconds = number(row, 5),
                            .ice_failed = number(row, 6)};

    if (usage_day_parse(text(row, 0), &sum.day) != 0)
        return 0;
    ledger_path_parse(text(row, 2), &sum.path);
    ledger_outcome_parse(text(row, 3), &sum.outcome);
    return usage_report_sum(r, &sum);
}

int ledger_row_push_sum(struct usage_report *r, const struct ledger_row *row)
{
    uint64_t status = number(row, 2);
    struct usage_push_sum sum = {.kind = text(row, 1),
                                 .status = status < 1000 ? (unsigned)status : 0,
                                 .reason = text(row, 3),
                                 .count = number(row, 4)};

    if (usage_day_parse(text(row, 0), &sum.day) != 0)
        return 0;
    return usage_report_push_sum(r, &sum);
}

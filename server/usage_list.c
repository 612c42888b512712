/* The report's lists, in their order, and arithmetic on their rows.
 *
 * Called by usage_fold.c, and through usage_report.h. Pure. SPDX-License-Identifier: BSD-3-Clause
 */
#include "server/usage_report_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

static bool takes_archive(const struct usage_day_entry *d)
{
    return d->has_archive && d->archived_detail > d->fresh.detail;
}

static int row_order(const void *a, const void *b)
{
    const struct usage_row *x = a, *y = b;

    if (x->day != y->day)
        return x->day < y->day ? -1 : 1;
    if (x->path != y->path)
        return x->path < y->path ? -1 : 1;
    int c = strcmp(x->region, y->region);
    return c != 0 ? c : strcmp(x->codec, y->codec);
}

static int push_order(const void *a, const void *b)
{
    const struct usage_push_row *x = a, *y = b;

    if (x->day != y->day)
        return x->day < y->day ? -1 : 1;
    int c = strcmp(x->kind, y->kind);
    if (c != 0)
        return c;
    if (x->status != y->status)
        return x->status < y->status ? -1 : 1;
    return strcmp(x->reason, y->reason);
}

static int day_order(const void *a, const void *b)
{
    const struct usage_day *x = a, *y = b;

    return (x->day > y->day) - (x->day < y->day);
}

static int user_order(const void *a, const void *b)
{
    const struct usage_user *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return memcmp(x->hash, y->hash, sizeof(x->hash));
}

static int list_rows(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->rows, &pos, &saved))) {
        const struct usage_row_entry *e = CONTAINER_OF(n, struct usage_row_entry, node);
        const struct usage_day_entry *d = usage_day_at(r, e->row.day);
        if (!d)
            return -ENOMEM;
        if (e->archived == takes_archive(d))
            r->row_list[r->rows_n++] = e->row;
    }
    qsort(r->row_list, r->rows_n, sizeof(*r->row_list), row_order);
    return 0;
}

static struct usage_push_row with_sum(const struct usage_push_entry *e)
{
    struct usage_push_row row = e->row;

    if (e->sum > row.count)
        row.count = e->sum;
    return row;
}

static int list_pushes(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->pushes, &pos, &saved))) {
        const struct usage_push_entry *e = CONTAINER_OF(n, struct usage_push_entry, node);
        const struct usage_day_entry *d = usage_day_at(r, e->row.day);
        if (!d)
            return -ENOMEM;
        if (e->archived == takes_archive(d))
            r->push_list[r->pushes_n++] = with_sum(e);
    }
    qsort(r->push_list, r->pushes_n, sizeof(*r->push_list), push_order);
    return 0;
}

static void list_days_and_users(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->days, &pos, &saved))) {
        const struct usage_day_entry *d = CONTAINER_OF(n, struct usage_day_entry, node);
        r->day_list[r->days_n++] = takes_archive(d) ? d->archive : d->fresh;
    }
    qsort(r->day_list, r->days_n, sizeof(*r->day_list), day_order);
    saved = NULL;
    pos = 0;
    while ((n = htable_walk(&r->users, &pos, &saved)))
        r->user_list[r->users_n++] = CONTAINER_OF(n, struct usage_user_entry, node)->sum;
    qsort(r->user_list, r->users_n, sizeof(*r->user_list), user_order);
}

int usage_list(struct usage_report *r)
{
    /* Each day of a row has an entry by now; archived ones have theirs if they were begun. */
    r->row_list = mem_calloc(r->rows.count, sizeof(*r->row_list));
    r->push_list = mem_calloc(r->pushes.count, sizeof(*r->push_list));
    if (!r->row_list || !r->push_list || list_rows(r) != 0 || list_pushes(r) != 0)
        return -ENOMEM;
    r->day_list = mem_calloc(r->days.count, sizeof(*r->day_list));
    r->user_list = mem_calloc(r->users.count, sizeof(*r->user_list));
    if (!r->day_list || !r->user_list)
        return -ENOMEM;
    list_days_and_users(r);
    return 0;
}

/* ---- what came of it ---- */

const struct usage_row *usage_report_rows(const struct usage_report *r, size_t *n)
{
    *n = r->rows_n;
    return r->row_list;
}

const struct usage_push_row *usage_report_pushes(const struct usage_report *r, size_t *n)
{
    *n = r->pushes_n;
    return r->push_list;
}

const struct usage_day *usage_report_days(const struct usage_report *r, size_t *n)
{
    *n = r->days_n;
    return r->day_list;
}

const struct usage_user *usage_report_users(const struct usage_report *r, size_t *n)
{
    *n = r->users_n;
    return r->user_list;
}

const struct usage_skipped *usage_report_skipped(const struct usage_report *r)
{
    return &r->skipped;
}

const struct usage_conf *usage_report_conf(const struct usage_report *r)
{
    return &r->conf;
}

void usage_traffic_add(struct usage_traffic *t, const struct usage_traffic *more)
{
    t->up_pkts += more->up_pkts;
    t->up_bytes += more->up_bytes;
    t->down_pkts += more->down_pkts;
    t->down_bytes += more->down_bytes;
    t->wire_in += more->wire_in;
    t->wire_out += more->wire_out;
}

void usage_row_add(struct usage_row *row, const struct usage_row *o)
{
    for (unsigned i = 0; i < LEDGER_OUTCOME_COUNT; i++)
        row->calls[i] += o->calls[i];
    row->seconds += o->seconds;
    row->ice_failed += o->ice_failed;
    row->inferred += o->inferred;
    row->allocations += o->allocations;
    row->alloc_seconds += o->alloc_seconds;
    usage_traffic_add(&row->traffic, &o->traffic);
    row->voice.seconds += o->voice.seconds;
    row->voice.pkts += o->voice.pkts;
    row->voice.bytes += o->voice.bytes;
    row->mos_n += o->mos_n;
    row->mos_milli += o->mos_milli;
    for (unsigned i = 0; i < USAGE_MOS_BUCKETS; i++)
        row->mos[i] += o->mos[i];
    for (size_t i = 0; i < USAGE_NETWORK_COUNT; i++) {
        row->net[i].legs += o->net[i].legs;
        row->net[i].ice_failed += o->net[i].ice_failed;
        row->net[i].mos_n += o->net[i].mos_n;
        row->net[i].mos_milli += o->net[i].mos_milli;
    }
}

uint64_t usage_row_calls(const struct usage_row *row)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < LEDGER_OUTCOME_COUNT; i++)
        n += row->calls[i];
    return n;
}

unsigned usage_row_mos(const struct usage_row *row)
{
    return row->mos_n == 0 ? 0 : (unsigned)(row->mos_milli / row->mos_n);
}

unsigned usage_net_mos(const struct usage_net *n)
{
    return n->mos_n == 0 ? 0 : (unsigned)(n->mos_milli / n->mos_n);
}

unsigned usage_row_mos_quantile(const struct usage_row *row, unsigned permille)
{
    uint64_t rank = (row->mos_n * permille + 999) / 1000, seen = 0;

    for (unsigned i = 0; i < USAGE_MOS_BUCKETS; i++) {
        seen += row->mos[i];
        if (row->mos[i] > 0 && seen >= rank)
            return 1000 + 100 * i + 50;
    }
    return 0;
}

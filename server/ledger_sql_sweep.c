/* What time brings in an SQL ledger: purges that are due, exports, retention; a bounded step a
 * call.
 *
 * Called through ledger_store_ops.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include <errno.h>

/* One page of the export that waits longest. */
static int export_step(struct ledger_sql *s, struct sq_request *r, uint64_t now_ms)
{
    struct ledger_privacy file = {0};
    bool done = false;
    int rc = sq_export_step(s, r->is.id, slice_str(r->user), now_ms, &done, &file);

    if (rc == -EIO) {
        rc = sq_request_over(s, r, LEDGER_PRIVACY_FAILED, now_ms);
        return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "export_failed", r->subject) : rc;
    }
    if (rc != 0 || !done)
        return rc;
    r->is.bytes = file.bytes;
    r->is.ndjson = file.ndjson;
    memcpy(r->is.sha256, file.sha256, sizeof(file.sha256));
    r->is.expires_ms = now_ms + s->conf.export_keep_days * DAY_MS;
    rc = sq_request_over(s, r, LEDGER_PRIVACY_DONE, now_ms);
    return rc == 0 ? sq_audit(s, now_ms, SLICE_LIT("server"), "export_done", r->subject) : rc;
}

static uint64_t days_ago(uint64_t days, uint64_t now_ms)
{
    return days == 0 || days > now_ms / DAY_MS ? 0 : now_ms - days * DAY_MS;
}

/* Deletes rows of before a time; *n: how many. */
static int del_old(struct ledger_sql *s, enum sq_id which, uint64_t before_ms, uint64_t *n)
{
    struct sql_query *q = sq_get(s, which);

    sq_u64(q, 1, before_ms);
    sq_u64(q, 2, SQ_STEP_ROWS);
    return sq_run(s, q, n);
}

/* One device that was not seen for long. */
static int del_old_device(struct ledger_sql *s, uint64_t before_ms, uint64_t *n)
{
    char user[SIG_USER_MAX + 1], device[SIG_DEVICE_MAX + 1];
    struct sql_query *q = sq_get(s, SQ_DEVICE_OLD);

    sq_u64(q, 1, before_ms);
    int rc = sq_step(s, q);
    if (rc != 1)
        return rc;
    slice_to_cstr(sq_col(q, 0), user, sizeof(user));
    slice_to_cstr(sq_col(q, 1), device, sizeof(device));
    sq_end(q);
    *n = 1;
    return sq_del_device(&s->base, slice_str(user), slice_str(device));
}

static int del_expired_export(struct ledger_sql *s, uint64_t now_ms, uint64_t *n)
{
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    struct sql_query *q = sq_get(s, SQ_EXPORT_EXPIRED);

    sq_u64(q, 1, now_ms);
    int rc = sq_step(s, q);
    if (rc != 1)
        return rc;
    sq_col_bytes(q, 0, id, sizeof(id));
    sq_end(q);
    *n = 1;
    rc = sq_export_unlink(s, id);
    q = sq_get(s, SQ_EXPORT_GONE);
    sq_blob(q, 1, id, sizeof(id));
    return rc == 0 ? sq_run(s, q, NULL) : rc;
}

/* Deletes some of what has been kept long enough; *n: how much. */
static int retain(struct ledger_sql *s, uint64_t now_ms, uint64_t *n)
{
    const struct ledger_store_conf *c = &s->conf;
    uint64_t calls = days_ago(c->calls_days, now_ms), audit = days_ago(c->audit_days, now_ms);
    size_t got = 0;
    int rc = 0;

    for (int i = 0; i < 8 && rc == 0 && *n == 0; i++) {
        got = 0;
        switch (i) {
        case 0:
            rc = sq_calls_del_old(s, calls, SQ_STEP_ROWS, &got);
            *n = got;
            break;
        case 1:
            rc = sq_quality_del_old(s, calls, days_ago(c->samples_days, now_ms), SQ_STEP_ROWS, n);
            break;
        case 2:
            rc = del_old(s, SQ_PUSH_OLD, days_ago(c->push_days, now_ms), n);
            break;
        case 3:
            rc = del_old(s, SQ_TOKEN_OLD, now_ms, n);
            break;
        case 4:
            rc = del_old_device(s, days_ago(c->device_days, now_ms), n);
            break;
        case 5:
            rc = del_expired_export(s, now_ms, n);
            break;
        case 6:
            rc = del_old(s, SQ_REQUEST_OLD, audit, n);
            break;
        default:
            rc = del_old(s, SQ_AUDIT_OLD, audit, n);
            break;
        }
    }
    return rc;
}

static int sweep_step(struct ledger_sql *s, uint64_t now_ms, uint64_t *n)
{
    struct sq_request r = {.user = ""};
    struct sql_query *q = sq_get(s, SQ_REQUEST_DUE);

    *n = 1;
    sq_u64(q, 1, now_ms);
    int rc = sq_request_one(s, q, &r);
    if (rc != 0)
        return rc == 1 ? sq_purge_step(s, &r, now_ms) : rc;
    q = sq_get(s, SQ_REQUEST_EXPORT);
    rc = sq_request_one(s, q, &r);
    if (rc != 0)
        return rc == 1 ? export_step(s, &r, now_ms) : rc;
    *n = 0;
    rc = retain(s, now_ms, n);
    return rc == 0 && *n == 0 ? sq_reseal_step(s, now_ms, n) : rc;
}

/* Of several servers one sweeps at a time, from the first of its steps to the last. */
static int sweep_is_mine(struct ledger_sql *s, bool *mine)
{
    if (!sq_sql(s, SQ_SWEEP_MINE) || s->sweeping)
        return 0;
    struct sql_query *q = sq_get(s, SQ_SWEEP_MINE);
    int rc = sq_step(s, q);
    s->sweeping = *mine = rc == 1 && sq_col_u64(q, 0) != 0;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

int sq_sweep(struct ledger_store *base, uint64_t now_ms, bool *more)
{
    struct ledger_sql *s = sq_of(base);
    uint64_t n = 0;
    bool mine = true;
    int rc = sweep_is_mine(s, &mine);

    if (rc != 0 || !mine)
        return rc != 0 ? rc : -EBUSY;
    rc = sq_save(s);
    if (rc != 0)
        return rc;
    rc = sq_settle(s, sweep_step(s, now_ms, &n));
    *more = rc == 0 && n > 0;
    if (rc == -EAGAIN || *more)
        return rc;
    s->sweeping = false;
    int freed = sq_do(s, SQ_SWEEP_FREE);
    return rc != 0 ? rc : freed;
}

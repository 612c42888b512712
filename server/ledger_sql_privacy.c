/* Privacy requests in an SQL ledger: what users ask for, and how it stands.
 *
 *     deletion:  pending --due--> running --list of the erased, then rows, step by step--> done
 *                   `--keep--> cancelled
 *     export:    pending --file is complete--> done --expired--> none
 *
 * Called through ledger_store_ops. What is due is done by …_sweep.c, a purge by …_erase.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/rand.h"

#include <errno.h>

/* ---- rows ---- */

static void read_request(struct sql_query *q, struct sq_request *r)
{
    *r = (struct sq_request){.is = {.requested_ms = sq_col_u64(q, 3),
                                    .due_ms = sq_col_u64(q, 4),
                                    .expires_ms = sq_col_u64(q, 5),
                                    .bytes = sq_col_u64(q, 6),
                                    .ndjson = sq_col_u64(q, 8) != 0},
                             .done_ms = sq_col_u64(q, 11)};
    sq_col_bytes(q, 0, r->is.id, sizeof(r->is.id));
    ledger_privacy_kind_parse(sq_col(q, 1), &r->is.kind);
    ledger_privacy_state_parse(sq_col(q, 2), &r->is.state);
    sq_col_bytes(q, 7, r->is.sha256, sizeof(r->is.sha256));
    slice_to_cstr(sq_col(q, 9), r->user, sizeof(r->user));
    sq_col_bytes(q, 10, r->subject, sizeof(r->subject));
}

int sq_request_one(struct ledger_sql *s, struct sql_query *q, struct sq_request *r)
{
    int rc = sq_step(s, q);

    if (rc == 1) {
        read_request(q, r);
        sq_end(q);
    }
    return rc;
}

int sq_request_last(struct ledger_sql *s, const uint8_t subject[PRIVACY_SUBJECT_BYTES],
                    enum ledger_privacy_kind kind, struct sq_request *r)
{
    struct sql_query *q = sq_get(s, SQ_REQUEST_LAST);

    sq_blob(q, 1, subject, PRIVACY_SUBJECT_BYTES);
    sq_text(q, 2, slice_str(ledger_privacy_kind_name(kind)));
    int rc = sq_request_one(s, q, r);
    if (rc == 0) {
        *r = (struct sq_request){.is = {.kind = kind}};
        memcpy(r->subject, subject, PRIVACY_SUBJECT_BYTES);
    }
    return rc < 0 ? rc : 0;
}

static int put_request(struct ledger_sql *s, const struct sq_request *r, struct slice user,
                       struct slice actor)
{
    struct sql_query *q = sq_get(s, SQ_REQUEST_PUT);

    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, user);
    sq_blob(q, 3, r->subject, sizeof(r->subject));
    sq_text(q, 4, slice_str(ledger_privacy_kind_name(r->is.kind)));
    sq_text(q, 5, actor);
    sq_u64(q, 6, r->is.requested_ms);
    sq_u64(q, 7, r->is.due_ms);
    return sq_run(s, q, NULL);
}

int sq_request_state(struct ledger_sql *s, struct sq_request *r, enum ledger_privacy_state state)
{
    struct sql_query *q = sq_get(s, SQ_REQUEST_STATE);

    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, slice_str(ledger_privacy_state_name(state)));
    r->is.state = state;
    return sq_run(s, q, NULL);
}

int sq_request_over(struct ledger_sql *s, struct sq_request *r, enum ledger_privacy_state state,
                    uint64_t now_ms)
{
    struct sql_query *q = sq_get(s, SQ_REQUEST_DONE);

    r->is.state = state;
    sq_blob(q, 1, r->is.id, sizeof(r->is.id));
    sq_text(q, 2, slice_str(ledger_privacy_state_name(state)));
    sq_u64(q, 3, now_ms);
    sq_u64(q, 4, r->is.expires_ms);
    sq_u64(q, 5, r->is.bytes);
    sq_blob(q, 6, r->is.sha256, sizeof(r->is.sha256));
    sq_u64(q, 7, r->is.ndjson);
    return sq_run(s, q, NULL);
}

int sq_is_leaving(struct ledger_sql *s, struct slice user, bool *is)
{
    struct sql_query *q = sq_get(s, SQ_REQUEST_OPEN);

    sq_text(q, 1, user);
    int rc = sq_step(s, q);
    *is = rc == 1;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

int sq_is_erased(struct ledger_sql *s, struct slice user, uint64_t at_ms, bool *is)
{
    uint8_t subject[PRIVACY_SUBJECT_BYTES];

    *is = false;
    if (!s->any_erased)
        return 0;
    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_ERASED_IS);
    sq_blob(q, 1, subject, sizeof(subject));
    int rc = sq_step(s, q);
    if (rc == 1) {
        *is = sq_col_u64(q, 0) >= at_ms;
        sq_end(q);
    }
    return rc < 0 ? rc : 0;
}

/* The latest request of a user, as sq_request_last(); -EIO. */
static int request_of(struct ledger_sql *s, struct slice user, enum ledger_privacy_kind kind,
                      struct sq_request *r)
{
    uint8_t subject[PRIVACY_SUBJECT_BYTES];

    *r = (struct sq_request){.user = ""};
    return privacy_subject(s->keys, user, subject) == 0 ? sq_request_last(s, subject, kind, r)
                                                        : -EIO;
}

static int begin_deletion(struct ledger_sql *s, struct sq_request *r, struct slice user,
                          struct slice actor, uint64_t now_ms)
{
    r->is = (struct ledger_privacy){.kind = LEDGER_DELETION,
                                    .state = LEDGER_PRIVACY_PENDING,
                                    .requested_ms = now_ms,
                                    .due_ms = now_ms + s->conf.grace_days * DAY_MS};
    rand_bytes(r->is.id, sizeof(r->is.id));
    int rc = put_request(s, r, user, actor);
    if (rc == 0)
        rc = sq_devices_del_user(s, user, TIME_MAX_MS);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "deletion_requested", r->subject);
    s->scrub = true;
    return rc;
}

int sq_erase(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
             struct ledger_privacy *out)
{
    struct ledger_sql *s = sq_of(base);
    struct sq_request r = {.user = ""};
    int rc = sq_save(s);

    if (rc != 0)
        return rc;
    rc = sq_do(s, SQ_ALONE); /* nobody registers a device meanwhile */
    if (rc == 0)
        rc = request_of(s, user, LEDGER_DELETION, &r);
    if (rc == 0 && !sq_request_open(&r))
        rc = begin_deletion(s, &r, user, actor, now_ms);
    rc = sq_settle(s, rc);
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_keep(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
            struct ledger_privacy *out)
{
    struct ledger_sql *s = sq_of(base);
    struct sq_request r;
    int rc = request_of(s, user, LEDGER_DELETION, &r);

    if (rc != 0 || !sq_request_open(&r))
        return rc != 0 ? rc : -ENOENT;
    if (r.is.state == LEDGER_PRIVACY_RUNNING)
        return -EACCES;
    rc = sq_save(s);
    if (rc != 0)
        return rc;
    rc = sq_request_over(s, &r, LEDGER_PRIVACY_CANCELLED, now_ms);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "deletion_cancelled", r.subject);
    rc = sq_settle(s, rc);
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_ask_export(struct ledger_store *base, struct slice user, struct slice actor, uint64_t now_ms,
                  struct ledger_privacy *out)
{
    struct ledger_sql *s = sq_of(base);
    struct sq_request r;
    int rc = request_of(s, user, LEDGER_EXPORT, &r);

    if (rc == 0 && sq_request_open(&r)) {
        *out = r.is;
        return 0;
    }
    bool was_made = r.is.state != LEDGER_PRIVACY_NONE && r.is.state != LEDGER_PRIVACY_FAILED;
    if (rc == 0 && was_made && r.is.requested_ms + s->conf.export_every_days * DAY_MS > now_ms)
        return -EBUSY;
    if (rc != 0 || (rc = sq_save(s)) != 0)
        return rc;
    r.is = (struct ledger_privacy){.kind = LEDGER_EXPORT,
                                   .state = LEDGER_PRIVACY_PENDING,
                                   .requested_ms = now_ms,
                                   .due_ms = now_ms};
    rand_bytes(r.is.id, sizeof(r.is.id));
    rc = put_request(s, &r, user, actor);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, "export_requested", r.subject);
    rc = sq_settle(s, rc);
    if (rc == 0)
        *out = r.is;
    return rc;
}

int sq_privacy(struct ledger_store *base, struct slice user, enum ledger_privacy_kind kind,
               struct ledger_privacy *out)
{
    struct ledger_sql *s = sq_of(base);
    struct sq_request r;
    int rc = request_of(s, user, kind, &r);

    if (rc == 0)
        *out = r.is;
    return rc;
}

/* ---- holds ---- */

/* 1, 0 or negative. */
static int is_held(struct ledger_sql *s, struct slice user)
{
    struct sql_query *q = sq_get(s, SQ_HOLD_IS);

    sq_text(q, 1, user);
    int rc = sq_step(s, q);
    if (rc == 1)
        sq_end(q);
    return rc;
}

static int may_hold(struct ledger_sql *s)
{
    struct sql_query *q = sq_get(s, SQ_HOLD_COUNT);
    int rc = sq_step(s, q);

    if (rc != 1)
        return rc;
    uint64_t n = sq_col_u64(q, 0);
    sq_end(q);
    return n < LEDGER_HOLDS_MAX ? 0 : -ENOSPC;
}

static int change_hold(struct ledger_sql *s, struct slice user, bool on, uint64_t now_ms)
{
    struct sql_query *q = sq_get(s, on ? SQ_HOLD_PUT : SQ_HOLD_DEL);

    sq_text(q, 1, user);
    if (on)
        sq_u64(q, 2, now_ms);
    return sq_run(s, q, NULL);
}

int sq_hold(struct ledger_store *base, struct slice user, struct slice actor, bool on,
            uint64_t now_ms)
{
    struct ledger_sql *s = sq_of(base);
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    int rc = is_held(s, user);

    if (rc < 0 || (rc == 1) == on)
        return rc < 0 ? rc : on ? -EEXIST : -ENOENT;
    rc = on ? may_hold(s) : 0;
    if (rc != 0)
        return rc;
    if (privacy_subject(s->keys, user, subject) != 0)
        return -EIO;
    rc = sq_save(s);
    if (rc != 0)
        return rc;
    rc = change_hold(s, user, on, now_ms);
    if (rc == 0)
        rc = sq_audit(s, now_ms, actor, on ? "hold_set" : "hold_lifted", subject);
    return sq_settle(s, rc);
}

int sq_holds(struct ledger_store *base, ledger_device_fn *row, void *ctx)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *q = sq_get(s, SQ_HOLD_LIST);
    int rc;

    sq_u64(q, 1, LEDGER_HOLDS_MAX);
    while ((rc = sq_step(s, q)) == 1) {
        const struct ledger_device d = {.user = sq_col(q, 0), .seen_ms = sq_col_u64(q, 1)};
        row(ctx, &d);
    }
    return rc;
}

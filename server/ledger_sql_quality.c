/* Quality in an SQL ledger: a summary for each leg of a call, and for a shorter time the
 * samples that it was made of.
 *
 * Called through ledger_store_ops, and by ledger_sql_{calls,privacy,export}.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

static void bind_leg(struct sql_query *q, const struct sig_call_id *id, struct slice user,
                     struct slice leg, uint64_t at_ms)
{
    sq_blob(q, 1, id->b, sizeof(id->b));
    sq_text(q, 2, user);
    sq_text(q, 3, leg);
    sq_u64(q, 4, at_ms);
}

static void bind_numbers(struct sql_query *q, int from, const unsigned *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sq_u64(q, from + (int)i, v[i]);
}

int sq_put_quality(struct ledger_store *base, const struct ledger_quality *v)
{
    const unsigned figures[] = {v->samples,       v->mos_avg_milli, v->mos_p10_milli,
                                v->mos_min_milli, v->loss_permille, v->rtt_ms,
                                v->jitter_ms,     v->silence_ms};
    struct ledger_sql *s = sq_of(base);
    bool erased = false;
    int rc = sq_is_erased(s, v->user, v->at_ms, &erased);

    if (rc != 0 || erased)
        return rc;
    struct sql_query *q = sq_get(s, SQ_QUALITY_PUT);
    bind_leg(q, &v->call_id, v->user, v->leg, v->at_ms);
    sq_text(q, 5, v->model);
    sq_text(q, 6, v->codec);
    sq_text(q, 7, slice_str(ledger_path_name(v->path)));
    bind_numbers(q, 8, figures, ARRAY_LEN(figures));
    sq_text(q, 16, v->worst);
    sq_text(q, 17, v->network);
    return sq_run(s, q, NULL);
}

int sq_put_sample(struct ledger_store *base, const struct ledger_sample *v)
{
    const unsigned figures[] = {v->interval_ms, v->rtt_ms,        v->jitter_ms,   v->buffer_ms,
                                v->silence_ms,  v->loss_permille, v->burst_centi, v->bps};
    struct ledger_sql *s = sq_of(base);
    bool erased = false;
    int rc = sq_is_erased(s, v->user, v->at_ms, &erased);

    if (rc != 0 || erased)
        return rc;
    struct sql_query *q = sq_get(s, SQ_SAMPLE_PUT);
    bind_leg(q, &v->call_id, v->user, v->leg, v->at_ms);
    bind_numbers(q, 5, figures, ARRAY_LEN(figures));
    sq_text(q, 13, v->codec);
    sq_text(q, 14, slice_str(ledger_path_name(v->path)));
    sq_u64(q, 15, v->r_milli);
    sq_u64(q, 16, v->mos_milli);
    return sq_run(s, q, NULL);
}

static void read_sample(struct sql_query *q, struct slice user, struct ledger_sample *v)
{
    *v = (struct ledger_sample){.user = user,
                                .leg = sq_col(q, 1),
                                .at_ms = sq_col_u64(q, 2),
                                .interval_ms = (unsigned)sq_col_u64(q, 3),
                                .rtt_ms = (unsigned)sq_col_u64(q, 4),
                                .jitter_ms = (unsigned)sq_col_u64(q, 5),
                                .buffer_ms = (unsigned)sq_col_u64(q, 6),
                                .silence_ms = (unsigned)sq_col_u64(q, 7),
                                .loss_permille = (unsigned)sq_col_u64(q, 8),
                                .burst_centi = (unsigned)sq_col_u64(q, 9),
                                .bps = (unsigned)sq_col_u64(q, 10),
                                .codec = sq_col(q, 11),
                                .r_milli = (unsigned)sq_col_u64(q, 13),
                                .mos_milli = (unsigned)sq_col_u64(q, 14)};
    sq_col_bytes(q, 0, v->call_id.b, sizeof(v->call_id.b));
    ledger_path_parse(sq_col(q, 12), &v->path);
}

int sq_samples(struct ledger_sql *s, struct slice user, struct sq_sample_key *after,
               uint64_t until_ms, size_t limit, sq_sample_fn *row, void *ctx, bool *more)
{
    const struct sq_sample_key from = *after;
    struct sql_query *q = sq_get(s, SQ_SAMPLE_LIST);
    size_t n = 0;
    int rc;

    sq_text(q, 1, user);
    sq_u64(q, 2, from.at_ms);
    sq_blob(q, 3, from.call_id.b, sizeof(from.call_id.b));
    sq_text(q, 4, slice_str(from.leg));
    sq_u64(q, 5, until_ms);
    sq_u64(q, 6, limit);
    while ((rc = sq_step(s, q)) == 1) {
        struct ledger_sample v;
        read_sample(q, user, &v);
        row(ctx, &v);
        after->at_ms = v.at_ms;
        after->call_id = v.call_id;
        slice_to_cstr(v.leg, after->leg, sizeof(after->leg));
        n++;
    }
    *more = n == limit;
    return rc;
}

/* ---- deleting ---- */

int sq_quality_del_call(struct ledger_sql *s, const struct sig_call_id *id)
{
    static const enum sq_id WHICH[] = {SQ_QUALITY_OF_CALL_DEL, SQ_SAMPLES_OF_CALL_DEL};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(WHICH) && rc == 0; i++) {
        struct sql_query *q = sq_get(s, WHICH[i]);
        sq_blob(q, 1, id->b, sizeof(id->b));
        rc = sq_run(s, q, NULL);
    }
    return rc;
}

int sq_quality_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms, size_t max,
                        uint64_t *n)
{
    static const enum sq_id WHICH[] = {SQ_QUALITY_DEL_USER, SQ_SAMPLES_DEL_USER};
    int rc = 0;

    *n = 0;
    for (size_t i = 0; i < ARRAY_LEN(WHICH) && rc == 0; i++) {
        struct sql_query *q = sq_get(s, WHICH[i]);
        uint64_t rows = 0;
        sq_text(q, 1, user);
        sq_u64(q, 2, until_ms);
        sq_u64(q, 3, max);
        rc = sq_run(s, q, &rows);
        *n += rows;
    }
    return rc;
}

int sq_quality_del_old(struct ledger_sql *s, uint64_t before_ms, uint64_t samples_ms, size_t max,
                       uint64_t *n)
{
    const struct {
        enum sq_id which;
        uint64_t before_ms;
    } old[] = {{SQ_QUALITY_OLD, before_ms}, {SQ_SAMPLES_OLD, samples_ms}};
    int rc = 0;

    *n = 0;
    for (size_t i = 0; i < ARRAY_LEN(old) && rc == 0; i++) {
        struct sql_query *q = sq_get(s, old[i].which);
        uint64_t rows = 0;
        sq_u64(q, 1, old[i].before_ms);
        sq_u64(q, 2, max);
        rc = sq_run(s, q, &rows);
        *n += rows;
    }
    return rc;
}

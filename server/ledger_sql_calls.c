/* Calls in an SQL ledger: records by party, pages of history, missed calls, pushes.
 *
 * Called through ledger_store_ops, and by ledger_sql_{privacy,export}.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include <errno.h>

enum { HIDE_STEP = 64, SAME_CALL_MS = 1000 };

static void bind_id(struct sql_query *q, int i, const struct sig_call_id *id)
{
    sq_blob(q, i, id->b, sizeof(id->b));
}

static void bind_word(struct sql_query *q, int i, const char *word)
{
    sq_text(q, i, slice_str(word));
}

/* ---- records ---- */

static int put_cdr(struct ledger_sql *s, const struct ledger_call *c)
{
    struct sql_query *q = sq_get(s, SQ_CALL_PUT);

    bind_id(q, 1, &c->id);
    bind_word(q, 2, c->group ? "group" : "1:1");
    bind_word(q, 3, c->video ? "video" : "audio");
    sq_u64(q, 4, c->created_ms);
    sq_u64(q, 5, c->ring_ms);
    sq_u64(q, 6, c->answer_ms);
    sq_u64(q, 7, c->end_ms);
    bind_word(q, 8, ledger_outcome_name(c->outcome));
    bind_word(q, 9, sig_reason_name(c->reason));
    bind_word(q, 10, ledger_by_name(c->ended_by));
    bind_word(q, 11, ledger_path_name(c->path));
    sq_text(q, 12, c->node);
    sq_text(q, 13, c->region);
    sq_u64(q, 14, c->relayed_bytes);
    return sq_run(s, q, NULL);
}

static int put_party(struct ledger_sql *s, const struct ledger_call *c,
                     const struct ledger_party *p)
{
    struct sql_query *q = sq_get(s, SQ_PARTY_PUT);

    sq_text(q, 1, p->user);
    sq_u64(q, 2, c->created_ms);
    bind_id(q, 3, &c->id);
    bind_word(q, 4, ledger_role_name(p->role));
    sq_text(q, 5, p->device);
    sq_u64(q, 6, p->joined_ms);
    sq_u64(q, 7, p->left_ms);
    sq_u64(q, 8, p->missed);
    return sq_run(s, q, NULL);
}

/* What a call is in its day's sums. */
struct usage {
    uint64_t created_ms, answer_ms, end_ms, relayed_bytes;
    struct slice region;
    const char *media, *outcome;
    bool media_failed;
};

static struct usage usage_of(const struct ledger_call *c)
{
    return (struct usage){.created_ms = c->created_ms,
                          .answer_ms = c->answer_ms,
                          .end_ms = c->end_ms,
                          .relayed_bytes = c->relayed_bytes,
                          .region = c->region,
                          .media = c->video ? "video" : "audio",
                          .outcome = ledger_outcome_name(c->outcome),
                          .media_failed = c->reason == SIG_REASON_MEDIA_FAILED};
}

/* Adds to the day's sums, which name nobody, or takes from them. */
static int change_usage(struct ledger_sql *s, enum sq_id which, const struct usage *u,
                        enum ledger_path path, uint64_t *changed)
{
    struct sql_query *q = sq_get(s, which);
    bool talked = u->answer_ms != 0 && u->end_ms > u->answer_ms;

    sq_u64(q, 1, u->created_ms / 1000);
    sq_text(q, 2, u->region);
    bind_word(q, 3, ledger_path_name(path));
    bind_word(q, 4, u->media);
    bind_word(q, 5, u->outcome);
    sq_u64(q, 6, talked ? (u->end_ms - u->answer_ms) / 1000 : 0);
    sq_u64(q, 7, u->relayed_bytes);
    sq_u64(q, 8, u->media_failed);
    sq_text(q, 9, slice_str(s->node));
    return sq_run(s, q, changed);
}

/* The call's path is another one. What the sums do not have (another node counted it) stays where
 * it is. */
static int move_usage(struct ledger_sql *s, const struct usage *u, enum ledger_path from,
                      enum ledger_path to)
{
    uint64_t changed = 0;
    int rc = change_usage(s, SQ_USAGE_TAKE, u, from, &changed);

    return rc == 0 && changed > 0 ? change_usage(s, SQ_USAGE_ADD, u, to, NULL) : rc;
}

/* What is known of the call: 1, 0 not, or negative; its end, and when it was made. */
static int call_end(struct ledger_sql *s, const struct sig_call_id *id, uint64_t *end_ms,
                    uint64_t *created_ms)
{
    struct sql_query *q = sq_get(s, SQ_CALL_END);

    bind_id(q, 1, id);
    int rc = sq_step(s, q);
    if (rc == 1) {
        *end_ms = sq_col_u64(q, 0);
        *created_ms = sq_col_u64(q, 1);
        sq_end(q);
    }
    return rc;
}

static int put_parties(struct ledger_sql *s, const struct ledger_call *c)
{
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < c->parties_n && rc == 0; i++) {
        bool erased = false;
        rc = sq_is_erased(s, c->parties[i].user, c->created_ms, &erased);
        if (rc != 0 || erased)
            continue;
        rc = put_party(s, c, &c->parties[i]);
        kept++;
    }
    if (rc == 0 && (kept > 0 || c->parties_n == 0))
        rc = put_cdr(s, c);
    return rc;
}

/* One end over the relay makes a relayed call; otherwise the first word counts. */
static bool path_is_news(enum ledger_path was, enum ledger_path now)
{
    return now != was && now != LEDGER_PATH_UNKNOWN &&
           (was == LEDGER_PATH_UNKNOWN || now == LEDGER_TURN);
}

/* The record of a call that has ended, as the day's sums have it. Its end, reckoned anew, tells it
 * from another one under its id: an id stays taken for longer ([call] ended_keep). 1, 0 or
 * negative. region: LEDGER_NAME_MAX bytes for u->region. */
static int ended_call(struct ledger_sql *s, const struct ledger_call *c, struct usage *u,
                      enum ledger_path *path, uint8_t region[LEDGER_NAME_MAX])
{
    enum ledger_outcome outcome = LEDGER_FAILED;
    struct sql_query *q = sq_get(s, SQ_CALL_PATH_OF);

    bind_id(q, 1, &c->id);
    sq_u64(q, 2, c->end_ms);
    sq_u64(q, 3, SAME_CALL_MS);
    int rc = sq_step(s, q);
    if (rc != 1)
        return rc;
    struct wr w = wr_init(region, LEDGER_NAME_MAX);
    wr_bytes(&w, sq_col(q, 1));
    ledger_outcome_parse(sq_col(q, 3), &outcome);
    ledger_path_parse(sq_col(q, 4), path);
    *u = (struct usage){.created_ms = sq_col_u64(q, 0),
                        .region = slice_of(region, w.len),
                        .media = slice_is(sq_col(q, 2), "video") ? "video" : "audio",
                        .outcome = ledger_outcome_name(outcome),
                        .relayed_bytes = sq_col_u64(q, 5),
                        .answer_ms = sq_col_u64(q, 6),
                        .end_ms = sq_col_u64(q, 7),
                        .media_failed =
                            slice_is(sq_col(q, 8), sig_reason_name(SIG_REASON_MEDIA_FAILED))};
    sq_end(q);
    return 1;
}

/* A call that has ended: its path may come to light afterwards, once in the record and in the day's
 * sums, however often it is told. */
static int learn_path(struct ledger_sql *s, const struct ledger_call *c)
{
    uint8_t region[LEDGER_NAME_MAX];
    enum ledger_path was = LEDGER_PATH_UNKNOWN;
    uint64_t changed = 0;
    struct usage u;
    int rc = ended_call(s, c, &u, &was, region);

    if (rc != 1 || !path_is_news(was, c->path))
        return rc < 0 ? rc : 0;
    struct sql_query *q = sq_get(s, SQ_CALL_PATH);
    bind_id(q, 1, &c->id);
    bind_word(q, 2, ledger_path_name(c->path));
    bind_word(q, 3, ledger_path_name(was));
    rc = sq_run(s, q, &changed);
    return rc == 0 && changed > 0 ? move_usage(s, &u, was, c->path) : rc;
}

/* A call of which no record is kept, or none any more. */
static int count_call(struct ledger_sql *s, const struct ledger_call *c)
{
    const struct usage u = usage_of(c);

    if (c->end_ms == 0)
        return 0;
    if (!c->again)
        return change_usage(s, SQ_USAGE_ADD, &u, c->path, NULL);
    return path_is_news(c->path_was, c->path) ? move_usage(s, &u, c->path_was, c->path) : 0;
}

static int put_new(struct ledger_sql *s, const struct ledger_call *c, uint64_t created_ms)
{
    struct usage u = usage_of(c);
    int rc = put_parties(s, c);

    u.created_ms = created_ms;
    return rc == 0 && c->end_ms != 0 ? change_usage(s, SQ_USAGE_ADD, &u, c->path, NULL) : rc;
}

int sq_put_call(struct ledger_store *base, const struct ledger_call *c, bool history)
{
    struct ledger_sql *s = sq_of(base);
    uint64_t end_ms = 0, created_ms = c->created_ms;
    int known = history ? call_end(s, &c->id, &end_ms, &created_ms) : 0;

    if (known < 0)
        return known;
    int rc = sq_save(s);
    if (rc != 0)
        return rc;
    if (known && end_ms != 0)
        rc = learn_path(s, c); /* the first end counts: the rest may be another call's */
    else if (!history || (!known && c->again))
        rc = count_call(s, c);
    else
        rc = put_new(s, c, created_ms);
    return sq_settle(s, rc);
}

int sq_count_push(struct ledger_store *base, const struct ledger_push *p)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *q = sq_get(s, SQ_PUSH_SUM);

    sq_u64(q, 1, p->sent_ms / 1000);
    sq_text(q, 2, p->kind);
    sq_u64(q, 3, p->status);
    sq_text(q, 4, p->reason);
    sq_text(q, 5, slice_str(s->node));
    return sq_run(s, q, NULL);
}

/* Whether a push of this id is in the log: 1, 0, or negative. */
static int push_is(struct ledger_sql *s, struct slice apns_id)
{
    struct sql_query *q = sq_get(s, SQ_PUSH_IS);

    sq_text(q, 1, apns_id);
    int rc = sq_step(s, q);
    if (rc == 1)
        sq_end(q);
    return rc;
}

static int log_push(struct ledger_sql *s, const struct ledger_push *p)
{
    struct sql_query *q = sq_get(s, SQ_PUSH_PUT);

    sq_text(q, 1, p->apns_id);
    bind_id(q, 2, &p->call_id);
    sq_text(q, 3, p->user);
    sq_text(q, 4, p->device);
    sq_text(q, 5, p->kind);
    sq_u64(q, 6, p->status);
    sq_text(q, 7, p->reason);
    sq_u64(q, 8, p->sent_ms);
    sq_u64(q, 9, p->answered_ms);
    return sq_run(s, q, NULL);
}

int sq_put_push(struct ledger_store *base, const struct ledger_push *p)
{
    struct ledger_sql *s = sq_of(base);
    bool erased = false;
    int known = push_is(s, p->apns_id);
    int rc = known < 0 ? known : sq_is_erased(s, p->user, p->sent_ms, &erased);

    if (rc != 0)
        return rc;
    rc = sq_save(s);
    if (rc != 0)
        return rc;
    if (!erased)
        rc = log_push(s, p);
    if (rc == 0 && known == 0) /* once per push */
        rc = sq_count_push(base, p);
    return sq_settle(s, rc);
}

/* ---- history ---- */

/* Words that this version does not know (the file was written by hand) read as the first one. */
static void read_entry(struct sql_query *q, struct ledger_entry *e)
{
    *e = (struct ledger_entry){.group = slice_is(sq_col(q, 2), "group"),
                               .video = slice_is(sq_col(q, 3), "video"),
                               .missed = sq_col_u64(q, 4) != 0,
                               .seen = sq_col_u64(q, 5) != 0,
                               .hidden = sq_col_u64(q, 6) != 0,
                               .device = sq_col(q, 7),
                               .created_ms = sq_col_u64(q, 8),
                               .ring_ms = sq_col_u64(q, 9),
                               .answer_ms = sq_col_u64(q, 10),
                               .end_ms = sq_col_u64(q, 11),
                               .relayed_bytes = sq_col_u64(q, 16),
                               .peer = sq_col(q, 17),
                               .samples = (unsigned)sq_col_u64(q, 18),
                               .mos_avg_milli = (unsigned)sq_col_u64(q, 19),
                               .mos_min_milli = (unsigned)sq_col_u64(q, 20),
                               .loss_permille = (unsigned)sq_col_u64(q, 21),
                               .rtt_ms = (unsigned)sq_col_u64(q, 22),
                               .model = sq_col(q, 23),
                               .mos_p10_milli = (unsigned)sq_col_u64(q, 24),
                               .jitter_ms = (unsigned)sq_col_u64(q, 25),
                               .silence_ms = (unsigned)sq_col_u64(q, 26),
                               .leg = sq_col(q, 28),
                               .codec = sq_col(q, 29),
                               .worst = sq_col(q, 30),
                               .network = sq_col(q, 31)};
    sq_col_bytes(q, 0, e->id.b, sizeof(e->id.b));
    ledger_role_parse(sq_col(q, 1), &e->role);
    ledger_outcome_parse(sq_col(q, 12), &e->outcome);
    ledger_reason_parse(sq_col(q, 13), &e->reason);
    ledger_by_parse(sq_col(q, 14), &e->ended_by);
    ledger_path_parse(sq_col(q, 15), &e->path);
    ledger_path_parse(sq_col(q, 27), &e->quality_path);
}

static int page(struct ledger_sql *s, struct sql_query *q, const struct ledger_query *want,
                ledger_entry_fn *row, void *ctx, bool *more)
{
    static const struct ledger_cursor newest = {.created_ms = TIME_MAX_MS};
    const struct ledger_cursor *after = want->after ? want->after : &newest;
    size_t n = 0;
    int rc;

    sq_text(q, 1, want->user);
    sq_u64(q, 2, after->created_ms);
    bind_id(q, 3, &after->id);
    sq_u64(q, 4, want->limit + 1);
    *more = false;
    while ((rc = sq_step(s, q)) == 1) {
        struct ledger_entry e;
        if (n == want->limit) {
            *more = true;
            sq_end(q);
            return 0;
        }
        read_entry(q, &e);
        row(ctx, &e);
        n++;
    }
    return rc;
}

int sq_history(struct ledger_store *base, const struct ledger_query *q, ledger_entry_fn *row,
               void *ctx, bool *more)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *st = sq_get(s, q->missed_only ? SQ_HISTORY_MISSED : SQ_HISTORY);

    if (!q->missed_only)
        sq_u64(st, 5, 0);
    return page(s, st, q, row, ctx, more);
}

int sq_history_all(struct ledger_sql *s, const struct ledger_query *q, ledger_entry_fn *row,
                   void *ctx, bool *more)
{
    struct sql_query *st = sq_get(s, SQ_HISTORY);

    sq_u64(st, 5, 1);
    return page(s, st, q, row, ctx, more);
}

int sq_badge(struct ledger_store *base, struct slice user, uint64_t *count)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *q = sq_get(s, SQ_BADGE);

    sq_text(q, 1, user);
    int rc = sq_step(s, q);
    if (rc == 1) {
        *count = sq_col_u64(q, 0);
        sq_end(q);
    }
    return rc < 0 ? rc : 0;
}

/* ---- marks ---- */

/* Sets a mark on some of a user's calls, or (n 0) on all up to until_ms. */
static int mark(struct ledger_sql *s, enum sq_id one, enum sq_id until, struct slice user,
                const struct sig_call_id *ids, size_t n, uint64_t until_ms)
{
    struct sql_query *q;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        q = sq_get(s, one);
        bind_id(q, 1, &ids[i]);
        sq_text(q, 2, user);
        rc = sq_run(s, q, NULL);
    }
    if (n > 0)
        return rc;
    q = sq_get(s, until);
    sq_text(q, 1, user);
    sq_u64(q, 2, until_ms);
    return sq_run(s, q, NULL);
}

int sq_seen(struct ledger_store *base, struct slice user, const struct sig_call_id *ids, size_t n,
            uint64_t until_ms)
{
    struct ledger_sql *s = sq_of(base);
    int rc = sq_save(s);

    if (rc != 0)
        return rc;
    return sq_settle(s, mark(s, SQ_SEEN_ONE, SQ_SEEN_UNTIL, user, ids, n, until_ms));
}

/* ---- deleting ---- */

static int run_with_id(struct ledger_sql *s, enum sq_id which, const struct sig_call_id *id)
{
    struct sql_query *q = sq_get(s, which);

    bind_id(q, 1, id);
    return sq_run(s, q, NULL);
}

int sq_call_del(struct ledger_sql *s, const struct sig_call_id *id)
{
    int rc = run_with_id(s, SQ_PARTIES_DEL, id);

    if (rc == 0)
        rc = sq_quality_del_call(s, id);
    return rc == 0 ? run_with_id(s, SQ_CALL_DEL, id) : rc;
}

/* Collects call ids from a bound statement. */
static int collect(struct ledger_sql *s, struct sql_query *q, struct sig_call_id *ids, size_t max,
                   size_t *n)
{
    int rc;

    *n = 0;
    while ((rc = sq_step(s, q)) == 1)
        if (*n < max)
            sq_col_bytes(q, 0, ids[(*n)++].b, sizeof(ids->b));
    return rc;
}

static int del_all(struct ledger_sql *s, const struct sig_call_id *ids, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = sq_call_del(s, &ids[i]);
    return rc;
}

/* Deletes the calls of a user that no party has on its list any more. */
static int del_hidden(struct ledger_sql *s, struct slice user, uint64_t until_ms)
{
    struct sig_call_id ids[HIDE_STEP];
    size_t n;
    int rc;

    do {
        struct sql_query *q = sq_get(s, SQ_HIDDEN_BY_ALL);
        sq_text(q, 1, user);
        sq_u64(q, 2, until_ms);
        sq_u64(q, 3, HIDE_STEP);
        rc = collect(s, q, ids, HIDE_STEP, &n);
        if (rc == 0)
            rc = del_all(s, ids, n);
    } while (rc == 0 && n == HIDE_STEP);
    return rc;
}

/* Whether somebody still has the call on their list: 1, 0, or negative. */
static int is_shown(struct ledger_sql *s, const struct sig_call_id *id)
{
    struct sql_query *q = sq_get(s, SQ_PARTY_SHOWN);

    bind_id(q, 1, id);
    int rc = sq_step(s, q);
    if (rc == 1)
        sq_end(q);
    return rc;
}

static int del_unshown(struct ledger_sql *s, const struct sig_call_id *id)
{
    int rc = is_shown(s, id);

    return rc == 0 ? sq_call_del(s, id) : rc < 0 ? rc : 0;
}

int sq_hide(struct ledger_store *base, struct slice user, const struct sig_call_id *ids, size_t n,
            uint64_t until_ms)
{
    struct ledger_sql *s = sq_of(base);
    int rc = sq_save(s);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++) {
        uint64_t changed = 0;
        struct sql_query *q = sq_get(s, SQ_HIDE_ONE);
        bind_id(q, 1, &ids[i]);
        sq_text(q, 2, user);
        rc = sq_run(s, q, &changed);
        if (rc == 0 && changed > 0) /* else it is not a call of this user's */
            rc = del_unshown(s, &ids[i]);
    }
    if (n == 0) {
        rc = mark(s, SQ_HIDE_ONE, SQ_HIDE_UNTIL, user, NULL, 0, until_ms);
        if (rc == 0)
            rc = del_hidden(s, user, until_ms);
    }
    return sq_settle(s, rc);
}

int sq_calls_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms, size_t max,
                      size_t *n)
{
    struct sig_call_id ids[HIDE_STEP];
    struct sql_query *q = sq_get(s, SQ_PARTY_OF_USER);

    sq_text(q, 1, user);
    sq_u64(q, 2, until_ms);
    sq_u64(q, 3, max < HIDE_STEP ? max : HIDE_STEP);
    int rc = collect(s, q, ids, HIDE_STEP, n);
    for (size_t i = 0; i < *n && rc == 0; i++) {
        q = sq_get(s, SQ_PARTY_DEL);
        bind_id(q, 1, &ids[i]);
        sq_text(q, 2, user);
        rc = sq_run(s, q, NULL);
        if (rc == 0)
            rc = del_unshown(s, &ids[i]);
    }
    return rc;
}

int sq_calls_del_old(struct ledger_sql *s, uint64_t before_ms, size_t max, size_t *n)
{
    struct sig_call_id ids[HIDE_STEP];
    struct sql_query *q = sq_get(s, SQ_CALL_OLD);

    sq_u64(q, 1, before_ms);
    sq_u64(q, 2, max < HIDE_STEP ? max : HIDE_STEP);
    int rc = collect(s, q, ids, HIDE_STEP, n);
    return rc == 0 ? del_all(s, ids, *n) : rc;
}

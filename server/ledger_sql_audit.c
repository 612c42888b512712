/* The audit log in an SQL ledger: a chain of records that name nobody.
 *
 * Called by whoever changes something that must be accounted for (…_privacy.c, …_erase.c,
 * …_sweep.c), within its transaction. What a record says and how it is chained is in privacy.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/crypto.h"

#include <errno.h>

int sq_audit(struct ledger_sql *s, uint64_t now_ms, struct slice actor, const char *action,
             const uint8_t *subject)
{
    uint8_t prev[PRIVACY_HASH_BYTES] = {0}, hash[PRIVACY_HASH_BYTES];
    uint64_t seq = 0;
    int rc = sq_do(s, SQ_AUDIT_LOCK);

    if (rc != 0)
        return rc;
    struct sql_query *q = sq_get(s, SQ_AUDIT_LAST);
    rc = sq_step(s, q);
    if (rc < 0)
        return rc;
    if (rc == 1) {
        seq = sq_col_u64(q, 0);
        sq_col_bytes(q, 1, prev, sizeof(prev));
        sq_end(q);
    }
    const struct privacy_audit a = {seq + 1,
                                    now_ms,
                                    actor,
                                    slice_str(action),
                                    slice_of(subject, subject ? PRIVACY_SUBJECT_BYTES : 0),
                                    slice_of(prev, sizeof(prev))};
    if (privacy_audit_hash(s->keys, &a, hash) != 0)
        return -EIO;
    q = sq_get(s, SQ_AUDIT_ADD);
    sq_u64(q, 1, a.seq);
    sq_u64(q, 2, a.at_ms);
    sq_text(q, 3, a.actor);
    sq_text(q, 4, a.action);
    sq_blob(q, 5, a.subject.p, a.subject.len);
    sq_blob(q, 6, prev, sizeof(prev));
    sq_blob(q, 7, hash, sizeof(hash));
    return sq_run(s, q, NULL);
}

/* One row follows the one before (the oldest one may follow what retention has deleted). */
static bool follows(struct ledger_sql *s, struct sql_query *q, bool first, uint64_t last,
                    const uint8_t last_hash[PRIVACY_HASH_BYTES])
{
    uint8_t hash[PRIVACY_HASH_BYTES];
    const struct privacy_audit a = {sq_col_u64(q, 0), sq_col_u64(q, 1), sq_col(q, 2),
                                    sq_col(q, 3),     sq_col(q, 4),     sq_col(q, 5)};

    if (privacy_audit_hash(s->keys, &a, hash) != 0 ||
        !crypto_equal(sq_col(q, 6), slice_of(hash, sizeof(hash))))
        return false;
    return first ||
           (a.seq == last + 1 && crypto_equal(a.prev, slice_of(last_hash, PRIVACY_HASH_BYTES)));
}

int ledger_sql_audit_verify(struct ledger_store *base, uint64_t *seq)
{
    struct ledger_sql *s = sq_of(base);
    uint8_t hash[PRIVACY_HASH_BYTES] = {0};
    struct sql_query *q = sq_get(s, SQ_AUDIT_ALL);
    uint64_t last = 0;
    bool first = true;
    int rc;

    while ((rc = sq_step(s, q)) == 1) {
        uint64_t n = sq_col_u64(q, 0);
        if (!follows(s, q, first, last, hash)) {
            sq_end(q);
            *seq = n;
            return -EBADMSG;
        }
        sq_col_bytes(q, 6, hash, sizeof(hash));
        last = n;
        first = false;
    }
    return rc;
}

/* Tokens that another key has get the present one, a few at a time.
 *
 * Called by ledger_sql_sweep.c when there is nothing else to do. Each step is a part of its
 * transaction, so a crash costs nothing: what has the new key says so in its row. Tokens that no
 * key opens stay as they are and are counted. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"

enum { STEP_ROWS = 16 };
#define PASS_EVERY_MS (3600 * UINT64_C(1000))
#define SEALED_MAX    (LEDGER_TOKEN_MAX + PRIVACY_SEAL_EXTRA)

/* A row that was read. */
struct sealed {
    uint8_t hash[PRIVACY_HASH_BYTES], token[SEALED_MAX];
    size_t len;
    char user[SIG_USER_MAX + 1], device[SIG_DEVICE_MAX + 1];
};

static int read_rows(struct ledger_sql *s, struct sealed *v, size_t *n)
{
    struct sql_query *q = sq_get(s, SQ_TOKEN_OTHER);
    int rc;

    *n = 0;
    sq_text(q, 1, slice_str(privacy_seal_id(s->keys)));
    sq_blob(q, 2, s->reseal.after, s->reseal.going ? sizeof(s->reseal.after) : 0);
    sq_u64(q, 3, STEP_ROWS);
    while ((rc = sq_step(s, q)) == 1) {
        struct slice token = sq_col(q, 3);
        struct sealed *row = &v[*n];
        *row = (struct sealed){.len = token.len <= SEALED_MAX ? token.len : 0};
        sq_col_bytes(q, 0, row->hash, sizeof(row->hash));
        slice_to_cstr(sq_col(q, 1), row->user, sizeof(row->user));
        slice_to_cstr(sq_col(q, 2), row->device, sizeof(row->device));
        if (row->len > 0)
            memcpy(row->token, token.p, row->len);
        if (++*n == STEP_ROWS) {
            sq_end(q);
            return 0;
        }
    }
    return rc;
}

static int reseal(struct ledger_sql *s, const struct sealed *row)
{
    struct slice user = slice_str(row->user), device = slice_str(row->device);
    uint8_t token[LEDGER_TOKEN_MAX], sealed[SEALED_MAX];

    if (row->len <= PRIVACY_SEAL_EXTRA ||
        privacy_token_open(s->keys, user, device, slice_of(row->token, row->len), token) != 0) {
        s->reseal.behind++;
        return 0;
    }
    int rc = privacy_token_seal(s->keys, user, device,
                                slice_of(token, row->len - PRIVACY_SEAL_EXTRA), sealed);
    crypto_wipe(token, sizeof(token));
    if (rc != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_TOKEN_RESEAL);
    sq_blob(q, 1, row->hash, sizeof(row->hash));
    sq_blob(q, 2, sealed, row->len);
    sq_text(q, 3, slice_str(privacy_seal_id(s->keys)));
    sq_text(q, 4, user);
    sq_text(q, 5, device);
    s->reseal.done++;
    return sq_run(s, q, NULL);
}

static void gauge(struct counter *c, uint64_t value)
{
    uint64_t was = counter_get(c);

    if (value > was)
        counter_add(c, value - was);
    else
        counter_sub(c, was - value);
}

/* The pass is over. The first one tells also that another server has done everything. */
static void tell(struct ledger_sql *s, uint64_t now_ms)
{
    if (s->tell_reseal || s->reseal.done + s->reseal.behind > 0)
        log_info("ledger",
                 "%" PRIu64 " push tokens were sealed with the present key; %" PRIu64
                 " have another one that is not configured",
                 s->reseal.done, s->reseal.behind);
    if (s->conf.reseal)
        gauge(&s->conf.reseal->behind, s->reseal.behind);
    s->tell_reseal = false;
    s->reseal = (struct sq_reseal){.at_ms = now_ms + PASS_EVERY_MS};
}

int sq_reseal_step(struct ledger_sql *s, uint64_t now_ms, uint64_t *n)
{
    uint64_t before = s->reseal.done;
    size_t rows = 0;

    *n = 0;
    if (now_ms < s->reseal.at_ms)
        return 0;
    struct sealed *v = mem_calloc(STEP_ROWS, sizeof(*v));
    int rc = v ? read_rows(s, v, &rows) : -EAGAIN;
    for (size_t i = 0; i < rows && rc == 0; i++)
        rc = reseal(s, &v[i]);
    if (rc == 0 && rows > 0) {
        memcpy(s->reseal.after, v[rows - 1].hash, sizeof(s->reseal.after));
        s->reseal.going = true;
        if (s->conf.reseal)
            counter_add(&s->conf.reseal->done, s->reseal.done - before);
    }
    mem_free(v);
    if (rc == 0 && rows < STEP_ROWS)
        tell(s, now_ms);
    *n = rows == STEP_ROWS;
    return rc;
}

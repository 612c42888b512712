/* Devices and push tokens in an SQL ledger. Tokens are sealed; a keyed hash makes them unique.
 *
 * Called through ledger_store_ops, and by ledger_sql_{privacy,export}.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/crypto.h"

#include <errno.h>

static int run_on_device(struct ledger_sql *s, enum sq_id which, struct slice user,
                         struct slice device, uint64_t *changed)
{
    struct sql_query *q = sq_get(s, which);

    sq_text(q, 1, user);
    sq_text(q, 2, device);
    return sq_run(s, q, changed);
}

static int count_of(struct ledger_sql *s, struct sql_query *q, uint64_t *n)
{
    int rc = sq_step(s, q);

    if (rc == 1) {
        *n = sq_col_u64(q, 0);
        sq_end(q);
    }
    return rc < 0 ? rc : 0;
}

/* A new device finds room among the user's. */
static int check_room(struct ledger_sql *s, const struct ledger_device *d)
{
    uint64_t known = 0, n = 0;
    struct sql_query *q = sq_get(s, SQ_DEVICE_IS);

    sq_text(q, 1, d->user);
    sq_text(q, 2, d->device);
    int rc = count_of(s, q, &known);
    if (rc != 0 || known)
        return rc;
    q = sq_get(s, SQ_DEVICE_COUNT);
    sq_text(q, 1, d->user);
    rc = count_of(s, q, &n);
    return rc == 0 && n >= s->conf.devices_per_user ? -ENOSPC : rc;
}

static int put_row(struct ledger_sql *s, const struct ledger_device *d)
{
    struct sql_query *q = sq_get(s, SQ_DEVICE_PUT);

    sq_text(q, 1, d->user);
    sq_text(q, 2, d->device);
    sq_text(q, 3, slice_str(ledger_platform_name(d->platform)));
    sq_text(q, 4, d->app);
    sq_text(q, 5, d->version);
    sq_text(q, 6, d->locale);
    sq_text(q, 7, slice_str(ledger_env_name(d->env)));
    sq_text(q, 8, slice_str(ledger_call_ui_name(d->call_ui)));
    sq_u64(q, 9, d->seen_ms);
    return sq_run(s, q, NULL);
}

/* A token of this kind goes away. */
static int del_kind(struct ledger_sql *s, const struct ledger_device *d,
                    const struct ledger_token *t)
{
    struct sql_query *q = sq_get(s, SQ_TOKEN_DEL_KIND);

    sq_text(q, 1, d->user);
    sq_text(q, 2, d->device);
    sq_text(q, 3, slice_str(ledger_token_type_name(t->type)));
    sq_blob(q, 4, t->call_id.b, sizeof(t->call_id.b));
    return sq_run(s, q, NULL);
}

static int insert_token(struct ledger_sql *s, const struct ledger_device *d,
                        const struct ledger_token *t, const uint8_t hash[PRIVACY_HASH_BYTES])
{
    uint8_t sealed[LEDGER_TOKEN_MAX + PRIVACY_SEAL_EXTRA];

    if (t->token.len > LEDGER_TOKEN_MAX ||
        privacy_token_seal(s->keys, d->user, d->device, t->token, sealed) != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_TOKEN_PUT);
    sq_blob(q, 1, hash, PRIVACY_HASH_BYTES);
    sq_text(q, 2, d->user);
    sq_text(q, 3, d->device);
    sq_text(q, 4, slice_str(ledger_token_type_name(t->type)));
    sq_blob(q, 5, t->call_id.b, sizeof(t->call_id.b));
    sq_blob(q, 6, sealed, t->token.len + PRIVACY_SEAL_EXTRA);
    sq_u64(q, 7, t->registered_ms);
    sq_u64(q, 8, t->expires_ms);
    sq_text(q, 9, slice_str(privacy_seal_id(s->keys)));
    return sq_run(s, q, NULL);
}

static int put_token(struct ledger_sql *s, const struct ledger_device *d,
                     const struct ledger_token *t)
{
    uint8_t hash[PRIVACY_HASH_BYTES];
    int rc = del_kind(s, d, t);

    if (rc != 0 || t->token.len == 0)
        return rc;
    if (privacy_token_hash(s->keys, t->token, hash) != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_TOKEN_DEL_HASH); /* it leaves whoever had it */
    sq_blob(q, 1, hash, sizeof(hash));
    rc = sq_run(s, q, NULL);
    return rc == 0 ? insert_token(s, d, t, hash) : rc;
}

static int put_all(struct ledger_sql *s, const struct ledger_device *d)
{
    uint64_t n = 0;
    int rc = check_room(s, d);

    if (rc == 0)
        rc = put_row(s, d);
    for (size_t i = 0; i < d->tokens_n && rc == 0; i++)
        rc = put_token(s, d, &d->tokens[i]);
    if (rc != 0)
        return rc;
    struct sql_query *q = sq_get(s, SQ_TOKEN_COUNT);
    sq_text(q, 1, d->user);
    sq_text(q, 2, d->device);
    rc = count_of(s, q, &n);
    return rc == 0 && n > s->conf.tokens_per_device ? -ENOSPC : rc;
}

int sq_put_device(struct ledger_store *base, const struct ledger_device *d)
{
    struct ledger_sql *s = sq_of(base);
    bool leaving = false;
    int rc = sq_is_leaving(s, d->user, &leaving);

    if (rc != 0 || leaving)
        return rc != 0 ? rc : -EACCES;
    rc = sq_save(s);
    return rc != 0 ? rc : sq_settle(s, put_all(s, d));
}

int sq_del_device(struct ledger_store *base, struct slice user, struct slice device)
{
    struct ledger_sql *s = sq_of(base);
    uint64_t n = 0;
    int rc = sq_save(s);

    if (rc != 0)
        return rc;
    rc = run_on_device(s, SQ_TOKEN_DEL_DEVICE, user, device, NULL);
    if (rc == 0)
        rc = run_on_device(s, SQ_DEVICE_DEL, user, device, &n);
    rc = sq_settle(s, rc);
    return rc == 0 && n == 0 ? -ENOENT : rc;
}

int sq_bad_token(struct ledger_store *base, struct slice token, uint64_t since_ms)
{
    struct ledger_sql *s = sq_of(base);
    uint8_t hash[PRIVACY_HASH_BYTES];

    if (privacy_token_hash(s->keys, token, hash) != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_TOKEN_BAD);
    sq_blob(q, 1, hash, sizeof(hash));
    sq_u64(q, 2, since_ms);
    return sq_run(s, q, NULL);
}

int sq_set_env(struct ledger_store *base, struct slice user, struct slice device,
               enum ledger_env env)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *q = sq_get(s, SQ_DEVICE_ENV);

    sq_text(q, 1, user);
    sq_text(q, 2, device);
    sq_text(q, 3, slice_str(ledger_env_name(env)));
    return sq_run(s, q, NULL);
}

int sq_touch(struct ledger_store *base, struct slice user, struct slice device, uint64_t now_ms)
{
    struct ledger_sql *s = sq_of(base);
    struct sql_query *q = sq_get(s, SQ_DEVICE_TOUCH);

    sq_text(q, 1, user);
    sq_text(q, 2, device);
    sq_u64(q, 3, now_ms);
    return sq_run(s, q, NULL);
}

/* ---- reading ---- */

/* The opened tokens of one device. */
struct opened {
    struct ledger_token t[LEDGER_TOKENS_MAX];
    size_t n, used;
    uint8_t bytes[LEDGER_TOKENS_MAX * LEDGER_TOKEN_MAX];
};

static int open_tokens(struct ledger_sql *s, struct slice user, struct slice device,
                       struct opened *o)
{
    struct sql_query *q = sq_get(s, SQ_TOKENS);
    int rc;

    o->n = o->used = 0;
    sq_text(q, 1, user);
    sq_text(q, 2, device);
    sq_u64(q, 3, LEDGER_TOKENS_MAX);
    while ((rc = sq_step(s, q)) == 1) {
        struct ledger_token t = {.registered_ms = sq_col_u64(q, 3), .expires_ms = sq_col_u64(q, 4)};
        struct slice sealed = sq_col(q, 2);
        uint8_t *out = o->bytes + o->used;
        if (ledger_token_type_parse(sq_col(q, 0), &t.type) != 0 ||
            sealed.len <= PRIVACY_SEAL_EXTRA ||
            sealed.len - PRIVACY_SEAL_EXTRA > LEDGER_TOKEN_MAX ||
            privacy_token_open(s->keys, user, device, sealed, out) != 0)
            continue; /* somebody changed the row: the client will register again */
        sq_col_bytes(q, 1, t.call_id.b, sizeof(t.call_id.b));
        t.token = slice_of(out, sealed.len - PRIVACY_SEAL_EXTRA);
        o->used += t.token.len;
        o->t[o->n++] = t;
    }
    return rc;
}

static int read_device(struct ledger_sql *s, struct sql_query *q, ledger_device_fn *row, void *ctx)
{
    struct ledger_device d = {.user = sq_col(q, 0),
                              .device = sq_col(q, 1),
                              .app = sq_col(q, 3),
                              .version = sq_col(q, 4),
                              .locale = sq_col(q, 5),
                              .platform = LEDGER_PLATFORM_OTHER,
                              .call_ui = LEDGER_UI_NONE,
                              .seen_ms = sq_col_u64(q, 8)};
    struct opened o;

    ledger_platform_parse(sq_col(q, 2), &d.platform);
    ledger_env_parse(sq_col(q, 6), &d.env);
    ledger_call_ui_parse(sq_col(q, 7), &d.call_ui);
    int rc = open_tokens(s, d.user, d.device, &o);
    d.tokens = o.t;
    d.tokens_n = o.n;
    if (rc == 0)
        row(ctx, &d);
    crypto_wipe(o.bytes, o.used);
    return rc;
}

/* Devices behind (user, device). */
static int read_devices(struct ledger_sql *s, enum sq_id which,
                        const struct ledger_device_key *after, size_t limit, ledger_device_fn *row,
                        void *ctx, bool *more)
{
    struct sql_query *q = sq_get(s, which);
    size_t n = 0;
    int rc;

    sq_text(q, 1, after->user);
    sq_text(q, 2, after->device);
    sq_u64(q, 3, limit + 1);
    *more = false;
    while ((rc = sq_step(s, q)) == 1) {
        if (n++ == limit) {
            *more = true;
            break;
        }
        rc = read_device(s, q, row, ctx);
        if (rc != 0)
            break;
    }
    sq_end(q);
    return rc > 0 ? 0 : rc;
}

int sq_devices(struct ledger_store *base, const struct ledger_device_key *after, size_t limit,
               ledger_device_fn *row, void *ctx, bool *more)
{
    return read_devices(sq_of(base), SQ_DEVICES, after, limit, row, ctx, more);
}

int sq_devices_of(struct ledger_store *base, struct slice user, ledger_device_fn *row, void *ctx)
{
    struct ledger_device_key first = {.user = user};
    bool more;

    return read_devices(sq_of(base), SQ_DEVICES_OF, &first, LEDGER_PAGE_MAX, row, ctx, &more);
}

int sq_devices_del_user(struct ledger_sql *s, struct slice user, uint64_t until_ms)
{
    struct sql_query *q = sq_get(s, SQ_DEVICE_DEL_USER);

    sq_text(q, 1, user);
    sq_u64(q, 2, until_ms);
    int rc = sq_run(s, q, NULL);
    if (rc != 0)
        return rc;
    q = sq_get(s, SQ_TOKEN_DEL_USER);
    sq_text(q, 1, user);
    return sq_run(s, q, NULL);
}

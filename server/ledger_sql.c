/* The part of an SQL ledger that all engines share: statements, life, what is done at open.
 *
 * Called by ledger_sql_*.c and by the engines (ledger_store_sqlite.c, ledger_store_pg.c). What the
 * ledger does is in ledger_sql_{calls,quality,devices,privacy,erase,sweep,export,audit}.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- statements ---- */

const char *sq_sql(const struct ledger_sql *s, enum sq_id id)
{
    return s->own[id] ? s->own[id] : sq_common_sql[id];
}

struct sql_query *sq_get(struct ledger_sql *s, enum sq_id id)
{
    struct sql_query *q = &s->query[id];

    return s->engine->get(q) ? q : NULL;
}

void sq_text(struct sql_query *q, int i, struct slice v)
{
    if (q)
        q->store->engine->text(q, i, v);
}

void sq_blob(struct sql_query *q, int i, const void *p, size_t n)
{
    if (q)
        q->store->engine->blob(q, i, slice_of(p, n));
}

void sq_u64(struct sql_query *q, int i, uint64_t v)
{
    if (q)
        q->store->engine->number(q, i, (int64_t)(v < TIME_MAX_MS ? v : TIME_MAX_MS));
}

struct slice sq_col(struct sql_query *q, int i)
{
    return q->store->engine->col(q, i);
}

uint64_t sq_col_u64(struct sql_query *q, int i)
{
    int64_t v = q->store->engine->col_number(q, i);

    return v > 0 ? (uint64_t)v : 0;
}

void sq_col_bytes(struct sql_query *q, int i, void *out, size_t n)
{
    struct slice v = sq_col(q, i);

    memset(out, 0, n);
    if (v.len == n)
        memcpy(out, v.p, n);
}

void sq_end(struct sql_query *q)
{
    if (q)
        q->store->engine->end(q);
}

int sq_step(struct ledger_sql *s, struct sql_query *q)
{
    return q ? s->engine->step(q) : -EAGAIN;
}

int sq_run(struct ledger_sql *s, struct sql_query *q, uint64_t *changed)
{
    int rc = sq_step(s, q);

    if (rc > 0) {
        sq_end(q);
        rc = 0;
    }
    if (rc == 0 && changed)
        *changed = s->engine->changed(q);
    return rc;
}

int sq_do(struct ledger_sql *s, enum sq_id id)
{
    return sq_sql(s, id) ? sq_run(s, sq_get(s, id), NULL) : 0;
}

int sq_save(struct ledger_sql *s)
{
    return sq_do(s, SQ_SAVE);
}

int sq_settle(struct ledger_sql *s, int rc)
{
    return s->engine->settle(s, rc);
}

/* ---- what is wrong ---- */

enum ledger_health sq_health(struct ledger_store *base)
{
    return sq_of(base)->health;
}

const char *sq_detail(struct ledger_store *base)
{
    struct ledger_sql *s = sq_of(base);

    return s->health == LEDGER_FINE ? "" : s->detail;
}

int sq_file_fault(struct ledger_sql *s, const char *file, bool full)
{
    s->health = full ? LEDGER_DISK_FULL : LEDGER_TROUBLE;
    snprintf(s->detail, sizeof(s->detail), "%s: %s", file, strerror(full ? ENOSPC : errno));
    return -EAGAIN;
}

/* ---- at open ---- */

/* Whether the database's check is this one: 1, 0 it has none, or negative. */
static int check_kept(struct ledger_sql *s, const uint8_t check[PRIVACY_HASH_BYTES], bool *equal)
{
    struct sql_query *q = sq_get(s, SQ_META_GET);

    sq_text(q, 1, SLICE_LIT("key_check"));
    int rc = sq_step(s, q);
    if (rc == 1) {
        *equal = crypto_equal(sq_col(q, 0), slice_of(check, PRIVACY_HASH_BYTES));
        sq_end(q);
    }
    return rc;
}

/* The secret is the one that the database was made with; a new database takes it. */
static int check_keys(struct ledger_sql *s, char why[LEDGER_STORE_WHY_MAX])
{
    uint8_t check[PRIVACY_HASH_BYTES];
    bool equal = true;

    if (privacy_keys_check(s->keys, check) != 0)
        return -ENOMEM;
    int rc = check_kept(s, check, &equal);
    if (rc == 0) {
        struct sql_query *q = sq_get(s, SQ_META_PUT); /* two servers may be new at once */
        sq_text(q, 1, SLICE_LIT("key_check"));
        sq_blob(q, 2, check, sizeof(check));
        rc = sq_run(s, q, NULL);
        if (rc == 0)
            rc = check_kept(s, check, &equal);
    }
    if (rc < 0 || equal)
        return rc < 0 ? rc : 0;
    snprintf(why, LEDGER_STORE_WHY_MAX,
             "the ledger was made with another secret than [ledger] token_key_file: give it the "
             "old one (nobody can open the tokens, and erased users can't be recognised, without "
             "it)");
    return -EKEYREJECTED;
}

static int run_for_node(struct ledger_sql *s, enum sq_id which)
{
    struct sql_query *q = sq_get(s, which);

    sq_text(q, 1, slice_str(s->node));
    return sq_run(s, q, NULL);
}

/* Of calls and stays that a crash ended nobody knows the end: they get the last time that is known,
 * and count. */
static int end_open_calls(struct ledger_sql *s)
{
    int rc = s->base.ops->begin(&s->base, true);

    if (rc != 0)
        return rc;
    rc = run_for_node(s, SQ_OPEN_SUM);
    if (rc == 0)
        rc = run_for_node(s, SQ_OPEN_END);
    if (rc == 0)
        rc = s->base.ops->commit(&s->base);
    if (rc != 0)
        s->base.ops->rollback(&s->base);
    return rc;
}

static int look_for_erased(struct ledger_sql *s)
{
    struct sql_query *q;
    int rc;

    s->any_erased = true;
    if (!sq_sql(s, SQ_ERASED_ANY))
        return 0;
    q = sq_get(s, SQ_ERASED_ANY);
    rc = sq_step(s, q);
    s->any_erased = rc == 1;
    if (rc == 1)
        sq_end(q);
    return rc < 0 ? rc : 0;
}

int sq_take(struct ledger_sql *s, bool fresh, uint64_t now_ms, char why[LEDGER_STORE_WHY_MAX])
{
    int rc = check_keys(s, why);

    if (rc == 0 && fresh)
        rc = end_open_calls(s);
    if (rc == 0)
        rc = look_for_erased(s);
    if (rc == 0)
        rc = sq_erase_again(s, now_ms);
    if (rc == -EBADMSG)
        snprintf(why, LEDGER_STORE_WHY_MAX,
                 "%s: was changed, or cut, by somebody: restore it from its latest copy; without "
                 "it erased users could come back with a restored backup",
                 s->erased_file);
    return rc;
}

/* ---- life ---- */

int sq_init(struct ledger_sql *s, const struct sql_engine *engine, const char *const *own,
            const struct ledger_store_conf *conf, const char *erased_file, const char *export_dir)
{
    s->engine = engine;
    s->own = own;
    s->conf = *conf;
    s->conf.file = s->conf.postgres = s->conf.node = s->conf.erased_file = NULL;
    s->conf.export_dir = NULL;
    s->conf.secret = s->conf.password = (struct slice){0};
    s->conf.seal_key = s->conf.other_seal_key = (struct slice){0};
    s->tell_reseal = conf->seal_key.len > 0 || conf->other_seal_key.len > 0;
    s->erased_fd = s->export.fd = -1;
    for (size_t i = 0; i < SQ_COUNT; i++)
        s->query[i] = (struct sql_query){s, (enum sq_id)i};
    s->keys = privacy_keys_new(conf->secret);
    s->node = mem_strndup(slice_str(conf->node ? conf->node : ""));
    s->erased_file = mem_strndup(slice_str(erased_file));
    s->export_dir = mem_strndup(slice_str(export_dir));
    bool made = s->keys && s->node && s->erased_file && s->export_dir;
    return made && privacy_keys_seal(s->keys, conf->seal_key, conf->other_seal_key) == 0 ? 0
                                                                                         : -ENOMEM;
}

void sq_fini(struct ledger_sql *s)
{
    if (s->engine)
        sq_export_stop(s);
    if (s->engine && s->erased_fd >= 0)
        close(s->erased_fd);
    privacy_keys_free(s->keys);
    mem_free(s->node);
    mem_free(s->erased_file);
    mem_free(s->export_dir);
}

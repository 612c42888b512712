/* The file of an export: written page by page, a page a sweep, so that other work goes between and
 * memory stays small.
 *
 *     export_dir/REQUEST.part  ──complete, synced──► REQUEST.json | REQUEST.ndjson
 *
 * Called by ledger_sql_sweep.c. What a crash leaves is a .part, which the next attempt
 * begins anew. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 200,
    PAGE_BYTES = PAGE * 4096, /* a call or push is far smaller, a device is not (LEDGER_PAGE_MAX) */
    PATH_BYTES = 4096,
};

/* export_dir/REQUEST.suffix. False: too long. */
static bool name_into(const struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES],
                      const char *suffix, char *out, size_t cap)
{
    char hex[2 * LEDGER_REQUEST_ID_BYTES + 1] = "";
    struct wr w = wr_init(hex, sizeof(hex) - 1);

    hex_encode(&w, slice_of(id, LEDGER_REQUEST_ID_BYTES));
    return (size_t)snprintf(out, cap, "%s/%s.%s", s->export_dir, hex, suffix) < cap;
}

static bool name_file(const struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES],
                      const char *suffix, char out[PATH_BYTES])
{
    return name_into(s, id, suffix, out, PATH_BYTES);
}

int sq_export_path(const struct ledger_store *base, const struct ledger_privacy *p, char *out,
                   size_t cap)
{
    const struct ledger_sql *s = (const struct ledger_sql *)(const void *)base;

    return name_into(s, p->id, p->ndjson ? "ndjson" : "json", out, cap) ? 0 : -ENAMETOOLONG;
}

void sq_export_stop(struct ledger_sql *s)
{
    struct sq_export *e = &s->export;
    char part[PATH_BYTES];

    if (e->fd < 0)
        return;
    close(e->fd);
    if (name_file(s, e->id, "part", part))
        unlink(part);
    digest_free(e->digest);
    *e = (struct sq_export){.fd = -1};
}

int sq_export_unlink(struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES])
{
    static const char *const SUFFIX[] = {"part", "json", "ndjson"};
    char path[PATH_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(SUFFIX); i++)
        if (!name_file(s, id, SUFFIX[i], path) || (unlink(path) == -1 && errno != ENOENT))
            return -EIO;
    return 0;
}

/* ---- pages ---- */

/* Writes what a page has collected. */
static int put_out(struct sq_export *e, struct wr *w)
{
    struct slice left = wr_done(w);

    if (w->bad || digest_add(e->digest, left) != 0)
        return -EIO;
    e->bytes += left.len;
    while (left.len > 0) {
        ssize_t n = write(e->fd, left.p, left.len);
        if (n <= 0)
            return -EIO;
        left = slice_sub(left, (size_t)n, left.len);
    }
    return 0;
}

static void on_device(void *ctx, const struct ledger_device *d)
{
    struct sq_export *e = ctx;

    export_device(&e->json, e->out, d);
}

static void on_call(void *ctx, const struct ledger_entry *c)
{
    struct sq_export *e = ctx;

    e->after = (struct ledger_cursor){c->created_ms, c->id};
    export_call(&e->json, e->out, c);
}

static int count_calls(struct ledger_sql *s, struct slice user, uint64_t *n)
{
    struct sql_query *q = sq_get(s, SQ_COUNT_CALLS);

    sq_text(q, 1, user);
    sq_u64(q, 2, s->conf.ndjson_calls + 1);
    int rc = sq_step(s, q);
    if (rc == 1) {
        *n = sq_col_u64(q, 0);
        sq_end(q);
    }
    return rc < 0 ? rc : 0;
}

static int start(struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES], struct slice user,
                 uint64_t now_ms)
{
    struct sq_export *e = &s->export;
    char part[PATH_BYTES];

    *e = (struct sq_export){.fd = -1, .until_ms = now_ms};
    memcpy(e->id, id, sizeof(e->id));
    slice_to_cstr(user, e->user, sizeof(e->user));
    e->after = (struct ledger_cursor){.created_ms = now_ms + 1};
    e->digest = digest_new(CRYPTO_SHA256);
    if (name_file(s, id, "part", part))
        e->fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (e->digest && e->fd >= 0)
        return 0;
    sq_export_stop(s); /* when there is a file */
    digest_free(e->digest);
    e->digest = NULL;
    return -EIO;
}

static int put_devices(struct ledger_sql *s, struct wr *w, uint64_t now_ms)
{
    struct sq_export *e = &s->export;
    uint64_t calls = 0;
    int rc = count_calls(s, slice_str(e->user), &calls);

    export_open(&e->json, w, calls > s->conf.ndjson_calls, slice_str(e->user), now_ms);
    export_part(&e->json, w, EXPORT_DEVICES);
    return rc == 0 ? sq_devices_of(&s->base, slice_str(e->user), on_device, e) : rc;
}

static int put_calls(struct ledger_sql *s, bool *more)
{
    struct sq_export *e = &s->export;
    struct ledger_cursor after = e->after;
    struct ledger_query q = {.user = slice_str(e->user), .after = &after, .limit = PAGE};

    return sq_history_all(s, &q, on_call, e, more);
}

static void on_sample(void *ctx, const struct ledger_sample *v)
{
    struct sq_export *e = ctx;

    export_sample(&e->json, e->out, v);
}

static int put_samples(struct ledger_sql *s, bool *more)
{
    struct sq_export *e = &s->export;

    return sq_samples(s, slice_str(e->user), &e->sample, e->until_ms, PAGE, on_sample, e, more);
}

static int put_pushes(struct ledger_sql *s, struct wr *w, bool *more)
{
    struct sq_export *e = &s->export;
    struct slice after = slice_str(e->push_id);
    char last[sizeof(e->push_id)] = "";
    struct sql_query *q = sq_get(s, SQ_PUSH_LIST);
    size_t n = 0;
    int rc;

    sq_text(q, 1, slice_str(e->user));
    sq_u64(q, 2, e->push_ms);
    sq_text(q, 3, after);
    sq_u64(q, 4, e->until_ms);
    sq_u64(q, 5, PAGE);
    while ((rc = sq_step(s, q)) == 1) {
        struct ledger_push p = {.apns_id = sq_col(q, 0),
                                .user = sq_col(q, 2),
                                .device = sq_col(q, 3),
                                .kind = sq_col(q, 4),
                                .status = (unsigned)sq_col_u64(q, 5),
                                .reason = sq_col(q, 6),
                                .sent_ms = sq_col_u64(q, 7),
                                .answered_ms = sq_col_u64(q, 8)};
        sq_col_bytes(q, 1, p.call_id.b, sizeof(p.call_id.b));
        export_push(&e->json, w, &p);
        slice_to_cstr(p.apns_id, last, sizeof(last));
        e->push_ms = p.sent_ms;
        n++;
    }
    if (n > 0)
        memcpy(e->push_id, last, sizeof(last));
    *more = n == PAGE;
    return rc;
}

static int put_log(struct ledger_sql *s, struct wr *w, bool *more)
{
    struct sq_export *e = &s->export;
    uint8_t subject[PRIVACY_SUBJECT_BYTES];
    size_t n = 0;
    int rc;

    if (privacy_subject(s->keys, slice_str(e->user), subject) != 0)
        return -EIO;
    struct sql_query *q = sq_get(s, SQ_AUDIT_OF);
    sq_blob(q, 1, subject, sizeof(subject));
    sq_u64(q, 2, e->audit_seq);
    sq_u64(q, 3, PAGE);
    while ((rc = sq_step(s, q)) == 1) {
        struct export_log l = {sq_col_u64(q, 1), sq_col(q, 2), sq_col(q, 3)};
        e->audit_seq = sq_col_u64(q, 0);
        export_log(&e->json, w, &l);
        n++;
    }
    *more = n == PAGE;
    return rc;
}

/* Writes one page of the part that the file is at, and goes to the next part after its last. */
static int put_page(struct ledger_sql *s, struct wr *w, uint64_t now_ms)
{
    struct sq_export *e = &s->export;
    bool more = false;
    int rc;

    switch (e->json.part) {
    case EXPORT_HEAD:
        rc = put_devices(s, w, now_ms);
        break;
    case EXPORT_CALLS:
        rc = put_calls(s, &more);
        break;
    case EXPORT_SAMPLES:
        rc = put_samples(s, &more);
        break;
    case EXPORT_PUSHES:
        rc = put_pushes(s, w, &more);
        break;
    default:
        rc = put_log(s, w, &more);
        break;
    }
    if (rc != 0 || more)
        return rc;
    if (e->json.part == EXPORT_LOG)
        export_close(&e->json, w);
    else
        export_part(&e->json, w, e->json.part + 1);
    return 0;
}

/* ---- the end ---- */

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : -EIO;

    if (fd >= 0)
        close(fd);
    return rc;
}

static int finish(struct ledger_sql *s, struct ledger_privacy *out)
{
    struct sq_export *e = &s->export;
    char part[PATH_BYTES], whole[PATH_BYTES];

    if (digest_end(e->digest, out->sha256) != 0 || fsync(e->fd) == -1 ||
        !name_file(s, e->id, "part", part) ||
        !name_file(s, e->id, e->json.ndjson ? "ndjson" : "json", whole) ||
        rename(part, whole) == -1 || sync_dir(s->export_dir) != 0)
        return -EIO;
    out->bytes = e->bytes;
    out->ndjson = e->json.ndjson;
    close(e->fd);
    digest_free(e->digest);
    *e = (struct sq_export){.fd = -1};
    return 0;
}

int sq_export_step(struct ledger_sql *s, const uint8_t id[LEDGER_REQUEST_ID_BYTES],
                   struct slice user, uint64_t now_ms, bool *done, struct ledger_privacy *out)
{
    struct sq_export *e = &s->export;
    int rc = 0;

    *done = false;
    if (e->fd >= 0 && memcmp(e->id, id, sizeof(e->id)) != 0)
        sq_export_stop(s);
    if (e->fd < 0)
        rc = start(s, id, user, now_ms);
    if (rc != 0)
        return rc;
    uint8_t *page = mem_zalloc(PAGE_BYTES);
    if (!page) {
        sq_export_stop(s);
        return -EIO;
    }
    struct wr w = wr_init(page, PAGE_BYTES);
    e->out = &w;
    rc = put_page(s, &w, now_ms);
    e->out = NULL;
    if (rc == 0)
        rc = put_out(e, &w);
    mem_free(page);
    if (rc == 0 && e->json.part == EXPORT_END) {
        rc = finish(s, out);
        *done = rc == 0;
    }
    if (rc != 0)
        sq_export_stop(s);
    return rc;
}

/* RESP2 values and commands.
 *
 * Called by redis_client.c. Pure. Commands are written here rather than by hiredis's formatter,
 * which gives memory of libc's that is copied once more; its reader is all that is used of it.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/resp.h"

#include <errno.h>
#include <hiredis/read.h>

#include "base/mem.h"

#define HEADER_MAX 24 /* "$" or "*", a number, CRLF */

struct resp_reader {
    redisReader *reader;
    size_t bytes_max, values_max;
    size_t bytes, values; /* of the reply that is being read: what became values */
    bool too_large;
};

/* ---- the values, as hiredis asks for them ---- */

/* Room for one more value with `more` bytes behind it, hung into the array that it belongs to. NULL
 * (hiredis calls it out of memory) also when the reply would be too large. */
static struct resp *new_value(const redisReadTask *task, enum resp_kind kind, size_t more)
{
    struct resp_reader *r = task->privdata;

    if (r->values >= r->values_max || more > r->bytes_max - r->bytes) {
        r->too_large = true;
        return NULL;
    }
    struct resp *v = mem_zalloc(sizeof(*v) + more);
    if (!v)
        return NULL;
    v->kind = kind;
    r->values++;
    r->bytes += more;
    if (task->parent) {
        struct resp *array = task->parent->obj;
        array->item[task->idx] = v;
    }
    return v;
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    enum resp_kind kind = task->type == REDIS_REPLY_ERROR    ? RESP_ERROR
                          : task->type == REDIS_REPLY_STATUS ? RESP_STATUS
                                                             : RESP_STRING;
    struct resp *v = new_value(task, kind, len);

    if (!v)
        return NULL;
    if (len > 0)
        memcpy(v + 1, text, len);
    v->text = slice_of(v + 1, len);
    return v;
}

static void *make_array(const redisReadTask *task, int n)
{
    struct resp_reader *r = task->privdata;

    /* Each member is a value yet to come, and costs a pointer now. */
    if (n < 0 || (size_t)n > r->values_max - r->values) {
        r->too_large = true;
        return NULL;
    }
    struct resp **item = mem_calloc((size_t)n, sizeof(*item));
    struct resp *v = item ? new_value(task, RESP_ARRAY, 0) : NULL;
    if (!v) {
        mem_free(item);
        return NULL;
    }
    v->item = item;
    v->n = (size_t)n;
    return v;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct resp *v = new_value(task, RESP_INTEGER, 0);

    if (v)
        v->integer = value;
    return v;
}

static void *make_nil(const redisReadTask *task)
{
    return new_value(task, RESP_NIL, 0);
}

/* Depth is bounded by the reader's stack (hiredis: 7 arrays in one another). */
void resp_free(struct resp *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->n; i++)
        resp_free(v->item[i]);
    mem_free(v->item);
    mem_free(v);
}

static void free_value(void *v)
{
    resp_free(v);
}

/* ---- reading ---- */

struct resp_reader *resp_reader_new(size_t bytes_max, size_t values_max)
{
    static redisReplyObjectFunctions objects = {make_string, make_array, make_integer, make_nil,
                                                free_value};
    struct resp_reader *r = mem_zalloc(sizeof(*r));

    if (!r)
        return NULL;
    r->bytes_max = bytes_max;
    r->values_max = values_max;
    r->reader = redisReaderCreateWithFunctions(&objects);
    if (!r->reader) {
        mem_free(r);
        return NULL;
    }
    r->reader->privdata = r;
    return r;
}

void resp_reader_free(struct resp_reader *r)
{
    if (!r)
        return;
    redisReaderFree(r->reader);
    mem_free(r);
}

int resp_feed(struct resp_reader *r, struct slice bytes)
{
    size_t unread = r->reader->len - r->reader->pos;

    if (bytes.len == 0)
        return 0;
    /* Unread is at most one string that has not come whole, and its line: what came before it was
     * taken by resp_next(). */
    if (r->too_large || unread > r->bytes_max + HEADER_MAX)
        return -EMSGSIZE;
    return redisReaderFeed(r->reader, (const char *)bytes.p, bytes.len) == REDIS_OK ? 0 : -ENOMEM;
}

int resp_next(struct resp_reader *r, struct resp **out)
{
    void *v = NULL;

    if (r->too_large)
        return -EMSGSIZE;
    if (redisReaderGetReply(r->reader, &v) != REDIS_OK) {
        if (r->too_large)
            return -EMSGSIZE;
        return r->reader->err == REDIS_ERR_OOM ? -ENOMEM : -EBADMSG;
    }
    if (!v)
        return -EAGAIN;
    r->bytes = r->values = 0;
    *out = v;
    return 0;
}

/* ---- looking ---- */

struct slice resp_text(const struct resp *v)
{
    if (!v || (v->kind != RESP_STRING && v->kind != RESP_STATUS))
        return (struct slice){0};
    return v->text;
}

const struct resp *resp_at(const struct resp *v, size_t i)
{
    return v && v->kind == RESP_ARRAY && i < v->n ? v->item[i] : NULL;
}

bool resp_is_error(const struct resp *v, const char *code)
{
    struct slice word = slice_str(code);

    return v && v->kind == RESP_ERROR && slice_starts(v->text, word) &&
           (v->text.len == word.len || v->text.p[word.len] == ' ');
}

/* ---- writing ---- */

void resp_command(struct wr *w, const struct slice *words, size_t n)
{
    wr_u8(w, '*');
    wr_u64(w, n);
    wr_str(w, "\r\n");
    for (size_t i = 0; i < n; i++) {
        wr_u8(w, '$');
        wr_u64(w, words[i].len);
        wr_str(w, "\r\n");
        wr_bytes(w, words[i]);
        wr_str(w, "\r\n");
    }
}

size_t resp_command_size(const struct slice *words, size_t n)
{
    size_t size = HEADER_MAX;

    for (size_t i = 0; i < n; i++)
        size += HEADER_MAX + words[i].len + 2;
    return size;
}

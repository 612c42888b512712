/* Exports on their way out: a file in pieces into a stream.
 *
 *     request ──link, range──► open ──head──► piece ──queue is empty──► piece … ──► close
 *
 * Called by ws_listener.c. A worker must not wait for a disk: a piece is read only when it is in
 * memory (RWF_NOWAIT), else the kernel is asked to fetch it and the worker looks again in a moment.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/export_sock.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/export_link.h"
#include "server/limit_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE          (32 * 1024)
#define AGAIN_US       (2 * US_PER_MS) /* a stream does not tell when it has room */
#define STUCK_US       (60 * US_PER_S) /* a client that takes nothing for so long is let go */
#define LINGER_US      (10 * US_PER_S)
#define LIMIT_KEYS     4096
#define PATH_MAX_BYTES 4096

struct export_sock {
    struct worker *worker;
    struct ledger_link *ledger;
    struct export_link *link;
    struct limit_table *per_export;
    struct export_sock_counters count;
    uint8_t piece[PIECE];
};

struct download {
    struct export_sock *e;
    struct stream *s;
    struct wtimer timer;
    int fd;
    uint64_t at, end; /* of the file */
};

/* ---- sending ---- */

static size_t on_data(void *user, uint8_t *data, size_t len)
{
    (void)user;
    (void)data;
    return len; /* the answer is "Connection: close" */
}

static void on_end(void *user, enum stream_end why)
{
    struct download *d = user;

    (void)why;
    worker_timer_cancel(d->e->worker, &d->timer);
    counter_sub(&d->e->count.open, 1);
    close(d->fd);
    mem_free(d);
}

static const struct stream_ops OPS = {.data = on_data, .end = on_end};

/* The next bytes, without waiting for a disk. Returns bytes, 0 at the file's end, -1 with errno. */
static ssize_t read_piece(struct download *d)
{
    uint64_t left = d->end - d->at;
    struct iovec v = {d->e->piece, left < PIECE ? (size_t)left : PIECE};
    ssize_t n = preadv2(d->fd, &v, 1, (off_t)d->at, RWF_NOWAIT);

    if (n == -1 && (errno == EOPNOTSUPP || errno == ENOSYS))
        n = pread(d->fd, v.iov_base, v.iov_len, (off_t)d->at);
    else if (n == -1 && errno == EAGAIN)
        (void)posix_fadvise(d->fd, (off_t)d->at, 16 * PIECE, POSIX_FADV_WILLNEED);
    return n;
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct download *d = arg;
    uint64_t again_us = now_us + AGAIN_US;

    if (stream_queued(d->s) == 0 && d->at < d->end) {
        ssize_t n = read_piece(d);
        if (n > 0 && stream_write(d->s, slice_of(d->e->piece, (size_t)n)) == 0) {
            d->at += (uint64_t)n;
            counter_add(&d->e->count.bytes, (uint64_t)n);
            stream_deadline(d->s, now_us + STUCK_US);
            again_us = now_us;
        } else if (n == 0 || (n == -1 && errno != EAGAIN)) {
            stream_abort(d->s); /* cut short, so that nobody takes it for whole; d is gone */
            return;
        }
    }
    if (d->at < d->end)
        worker_timer(d->e->worker, &d->timer, again_us);
    else
        stream_close(d->s, LINGER_US);
}

/* ---- answering ---- */

static struct http_page refusal(struct export_sock *e, unsigned status, const char *text)
{
    struct slice body = slice_str(text);

    counter_inc(&e->count.refused);
    return (struct http_page){{.status = status,
                               .type = "text/plain; charset=utf-8",
                               .body_bytes = body.len,
                               .keep_alive = true,
                               .extra = status == 429   ? "Retry-After: 3600\r\n"
                                        : status == 503 ? "Retry-After: 10\r\n"
                                                        : NULL},
                              body};
}

/* Opens the file of an export. Returns its descriptor, or -1: it is not there any more. */
static int open_file(const struct export_sock *e, const struct ledger_privacy *p, uint64_t *size)
{
    char path[PATH_MAX_BYTES];
    struct stat st;

    if (ledger_link_export_path(e->ledger, p, path, sizeof(path)) != 0)
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -1)
        return -1;
    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -1;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

/* The head of an answer; false: the range is not there, *page says so. */
static bool make_head(struct export_sock *e, const struct http1_request *q,
                      const struct ledger_privacy *p, struct download *d, struct http_page *page,
                      char scratch[EXPORT_SOCK_HEAD_MAX])
{
    uint64_t size = d->end, from = 0, len = size;
    int part = http1_range(http1_header(q, "Range"), size, &from, &len);
    char range[96] = "";

    if (part == -ERANGE) {
        *page = refusal(e, 416, "the file is not so long\n");
        snprintf(scratch, EXPORT_SOCK_HEAD_MAX, "Content-Range: bytes */%llu\r\n",
                 (unsigned long long)size);
        page->head.extra = scratch;
        return false;
    }
    if (part == 1)
        snprintf(range, sizeof(range), "Content-Range: bytes %llu-%llu/%llu\r\n",
                 (unsigned long long)from, (unsigned long long)(from + len - 1),
                 (unsigned long long)size);
    snprintf(scratch, EXPORT_SOCK_HEAD_MAX,
             "%sAccept-Ranges: bytes\r\n"
             "Content-Disposition: attachment; filename=\"call-export.%s\"\r\n"
             "Content-Security-Policy: default-src 'none'; sandbox\r\n",
             range, p->ndjson ? "ndjson" : "json");
    d->at = from;
    d->end = from + len;
    *page =
        (struct http_page){.head = {.status = part == 1 ? 206 : 200,
                                    .type = p->ndjson ? "application/x-ndjson" : "application/json",
                                    .body_bytes = len,
                                    .extra = scratch}};
    return true;
}

/* Sends the head and goes on with the file. */
static void begin(struct download *d, const struct http_page *page)
{
    struct export_sock *e = d->e;
    uint8_t head[2048];
    struct wr w = wr_init(head, sizeof(head));

    counter_inc(&e->count.served);
    counter_inc(&e->count.open);
    d->timer = (struct wtimer){.fn = on_timer, .arg = d};
    stream_set_user(d->s, &OPS, d);
    stream_deadline(d->s, worker_now(e->worker) + STUCK_US);
    http1_write_response(&w, &page->head);
    if (w.bad || stream_write(d->s, wr_done(&w)) != 0)
        stream_close(d->s, 0);
    else
        worker_timer(e->worker, &d->timer, worker_now(e->worker));
}

bool export_sock_get(struct export_sock *e, struct stream *s, const struct http1_request *q,
                     uint64_t wall_us, struct http_page *page, char scratch[EXPORT_SOCK_HEAD_MAX])
{
    struct slice text = slice_sub(q->path, sizeof(EXPORT_LINK_PATH) - 1, q->path.len);
    uint64_t now_us = worker_now(e->worker), size = 0;
    struct ledger_privacy p;
    int rc = export_link_read(e->link, text, wall_us / US_PER_S, &p);

    if (rc != 0) {
        *page = rc == -ETIME ? refusal(e, 410, "this link is over: ask for another one\n")
                             : refusal(e, 404, "not found\n");
        return true;
    }
    if (!limit_take(e->per_export, hash_bytes(slice_of(p.id, sizeof(p.id))), 1, now_us)) {
        *page = refusal(e, 429, "fetched too often\n");
        return true;
    }
    int fd = open_file(e, &p, &size);
    if (fd == -1) {
        *page = refusal(e, 404, "not found\n");
        return true;
    }
    struct download *d = mem_zalloc(sizeof(*d));
    if (!d || counter_get(&e->count.open) >= EXPORT_SOCK_MAX) {
        *page = refusal(e, 503, "too many are being fetched\n");
        goto out;
    }
    *d = (struct download){.e = e, .s = s, .fd = fd, .end = size};
    if (!make_head(e, q, &p, d, page, scratch) || q->head)
        goto out;
    begin(d, page);
    return false;
out:
    close(fd);
    mem_free(d);
    return true;
}

/* ---- life ---- */

struct export_sock *export_sock_new(struct worker *w, struct ledger_link *k, struct slice secret)
{
    const struct bucket_rule rule = {.milli_per_s = EXPORT_SOCK_PER_HOUR * 1000 / 3600,
                                     .burst = EXPORT_SOCK_PER_HOUR};
    struct export_sock *e = mem_zalloc(sizeof(*e));

    if (!e)
        return NULL;
    e->worker = w;
    e->ledger = k;
    e->link = export_link_new(secret);
    e->per_export = limit_table_new(&rule, LIMIT_KEYS);
    if (e->link && e->per_export)
        return e;
    export_sock_free(e);
    return NULL;
}

void export_sock_free(struct export_sock *e)
{
    if (!e)
        return;
    export_link_free(e->link);
    limit_table_free(e->per_export);
    mem_free(e);
}

const struct export_sock_counters *export_sock_count(const struct export_sock *e)
{
    return &e->count;
}

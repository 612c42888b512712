/* Records of use into files of a directory: usage_spool.h has their names.
 *
 * Called by turn_worker.c (records), main.c. A record leaves with the next turn of the writer's
 * loop, many in one write(2), so that a process that is killed loses what came in a few
 * milliseconds; once a second the file is synced, for machines that are. While the disk does not
 * take them records wait, as many as configured, and then the oldest is lost and counted: later
 * ones of an allocation have its whole amounts. A write that was cut short is taken back, so that
 * each line is whole. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/worker.h"
#include "turn/usage.h"
#include "turn/usage_spool.h"

#define TICK_US     US_PER_S
#define POSTED_MAX  4096  /* on their way to this thread */
#define CHUNK_BYTES 65536 /* of one write; holds any record */
#define DAYS(us)    ((us) / (86400 * US_PER_S))

struct waiting_record {
    struct list link;
    struct usage_writer *u;
    size_t len; /* with its line's end */
    uint8_t text[];
};

struct usage_writer {
    const struct turn_conf *conf;
    struct worker *loop;
    struct wtimer tick;
    struct wflush flush;
    struct list waiting;
    size_t n_waiting;
    struct usage_spool spool;
    int dir_fd, fd; /* fd -1: no file is open */
    bool dirty;     /* written since the last sync */
    bool troubled;  /* told so */
    uint64_t swept_day;
    uint8_t chunk[CHUNK_BYTES];
    /* Shared with other threads. */
    unsigned posted;  /* atomic */
    uint64_t refused; /* atomic: had no room */
    uint64_t refused_told;
    struct counter written, lost, waiting_now, writable;
};

static void gauge(struct counter *c, uint64_t value)
{
    uint64_t was = counter_get(c);

    if (value > was)
        counter_add(c, value - was);
    else
        counter_sub(c, was - value);
}

static void drop_first(struct usage_writer *u)
{
    struct waiting_record *r = CONTAINER_OF(list_first(&u->waiting), struct waiting_record, link);

    list_del(&r->link);
    u->n_waiting--;
    mem_free(r);
}

/* ---- the file ---- */

static void close_file(struct usage_writer *u)
{
    if (u->fd == -1)
        return;
    if (u->dirty)
        fdatasync(u->fd);
    close(u->fd);
    u->fd = -1;
    u->dirty = false;
}

/* Tells once that it goes wrong, and once that it goes right again. */
static void tell(struct usage_writer *u, int err)
{
    gauge(&u->writable, err == 0);
    if (err == 0 && u->troubled)
        log_info("usage", "records are written again; %zu wait", u->n_waiting);
    else if (err != 0 && !u->troubled)
        log_error("usage",
                  "records cannot be written to [usage] directory %s: %s. They wait, as many as "
                  "[usage] buffer says: make room, or the directory writable",
                  u->conf->usage_directory, strerror(-err));
    u->troubled = err != 0;
}

/* Deletes our files that are older than [usage] keep_days. */
static void sweep(struct usage_writer *u, uint64_t today)
{
    int fd = openat(u->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    const struct dirent *e;
    uint64_t day;

    u->swept_day = today;
    if (!dir) {
        if (fd != -1)
            close(fd);
        return;
    }
    while (u->conf->usage_keep_days > 0 && (e = readdir(dir)))
        if (usage_spool_day(slice_str(e->d_name), &day) == 0 &&
            day + u->conf->usage_keep_days < today)
            unlinkat(u->dir_fd, e->d_name, 0);
    closedir(dir);
}

static int open_next(struct usage_writer *u, uint64_t wall_us)
{
    struct usage_spool next = u->spool;
    char name[USAGE_SPOOL_NAME_MAX];

    close_file(u);
    usage_spool_turn(&next, wall_us, name);
    int fd = openat(u->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (fd == -1)
        return -errno;
    fsync(u->dir_fd); /* the name outlives a crash, too */
    u->fd = fd;
    u->spool = next;
    if (DAYS(wall_us) != u->swept_day)
        sweep(u, DAYS(wall_us));
    return 0;
}

/* Writes all of it or nothing. Returns 0 or -errno. */
static int append(struct usage_writer *u, struct slice lines)
{
    size_t done = 0;
    int err = 0;

    while (done < lines.len && err == 0) {
        ssize_t n = write(u->fd, lines.p + done, lines.len - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            err = -errno;
    }
    if (err != 0) {
        if (done > 0 && ftruncate(u->fd, (off_t)u->spool.bytes) == -1)
            close_file(u); /* its last line stays cut: the next one begins another file */
        return err;
    }
    u->spool.bytes += done;
    u->dirty = true;
    return 0;
}

/* The records that fit into one write and one file, as one piece; *n: how many. */
static struct slice gather(struct usage_writer *u, size_t *n)
{
    struct wr w = wr_init(u->chunk, sizeof(u->chunk));
    size_t room =
        (size_t)(u->spool.most_bytes -
                 (u->spool.bytes < u->spool.most_bytes ? u->spool.bytes : u->spool.most_bytes));

    *n = 0;
    LIST_EACH(it, tmp, &u->waiting)
    {
        const struct waiting_record *r = CONTAINER_OF(it, struct waiting_record, link);
        if (r->len > w.cap - w.len || (*n > 0 && w.len + r->len > room))
            break;
        wr_bytes(&w, slice_of(r->text, r->len));
        (*n)++;
    }
    return wr_done(&w);
}

static void pump(struct usage_writer *u)
{
    int err = 0;

    while (!list_empty(&u->waiting) && err == 0) {
        uint64_t wall_us = clock_wall_us();
        const struct waiting_record *first =
            CONTAINER_OF(list_first(&u->waiting), struct waiting_record, link);
        size_t n = 0;
        if (u->fd == -1 || usage_spool_turns(&u->spool, first->len, wall_us))
            err = open_next(u, wall_us);
        if (err == 0)
            err = append(u, gather(u, &n));
        for (; err == 0 && n > 0; n--) {
            drop_first(u);
            counter_inc(&u->written);
        }
        tell(u, err);
    }
    gauge(&u->waiting_now, u->n_waiting);
}

/* ---- the thread ---- */

static void on_flush(void *arg, uint64_t now_us)
{
    struct usage_writer *u = arg;

    (void)now_us;
    if (!u->troubled) /* else at the next tick */
        pump(u);
}

static void on_record(void *arg, uint64_t now_us)
{
    struct waiting_record *r = arg;
    struct usage_writer *u = r->u;

    (void)now_us;
    __atomic_fetch_sub(&u->posted, 1, __ATOMIC_RELAXED);
    list_append(&u->waiting, &r->link);
    u->n_waiting++;
    while (u->n_waiting > u->conf->usage_buffer) {
        drop_first(u);
        counter_inc(&u->lost);
    }
    worker_want_flush(u->loop, &u->flush);
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct usage_writer *u = arg;
    uint64_t refused = __atomic_load_n(&u->refused, __ATOMIC_RELAXED);

    counter_add(&u->lost, refused - u->refused_told);
    u->refused_told = refused;
    pump(u);
    if (u->dirty && u->fd != -1) {
        fdatasync(u->fd);
        u->dirty = false;
    }
    worker_timer(u->loop, &u->tick, now_us + TICK_US);
}

static void on_finish(void *arg, uint64_t now_us)
{
    struct usage_writer *u = arg;

    (void)now_us;
    pump(u);
    worker_stop(u->loop);
}

static int register_counters(struct metrics *m, const struct usage_writer *u)
{
    static const char records[] = "sori_turn_usage_records_total";
    static const char help[] = "Records of use for files, by result";

    int e = metrics_add(m, records, "result=\"written\"", help, METRIC_COUNTER, &u->written);
    if (!e)
        e = metrics_add(m, records, "result=\"lost\"", help, METRIC_COUNTER, &u->lost);
    if (!e)
        e = metrics_add(m, "sori_turn_usage_records_waiting", "",
                        "Records of use that are in no file yet", METRIC_GAUGE, &u->waiting_now);
    if (!e)
        e = metrics_add(m, "sori_turn_usage_writable", "", "1 while records of use can be written",
                        METRIC_GAUGE, &u->writable);
    return e;
}

static void writer_free(struct usage_writer *u)
{
    close_file(u);
    if (u->dir_fd != -1)
        close(u->dir_fd);
    while (!list_empty(&u->waiting))
        drop_first(u);
    worker_free(u->loop);
    mem_free(u);
}

struct usage_writer *usage_writer_start(const struct turn_conf *conf, struct metrics *m,
                                        char err[CONF_ERR_MAX])
{
    struct usage_writer *u = mem_zalloc(sizeof(*u));

    snprintf(err, CONF_ERR_MAX, "out of memory or descriptors");
    if (!u)
        return NULL;
    list_init(&u->waiting);
    u->conf = conf;
    u->fd = -1;
    u->spool.most_bytes = conf->usage_file_bytes;
    rand_bytes(&u->spool.boot, sizeof(u->spool.boot));
    u->tick = (struct wtimer){.fn = on_tick, .arg = u};
    u->flush = (struct wflush){.fn = on_flush, .arg = u};
    u->dir_fd = open(conf->usage_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->dir_fd == -1 || faccessat(u->dir_fd, ".", W_OK | X_OK, 0) != 0) {
        snprintf(err, CONF_ERR_MAX,
                 "[usage] directory %s: %s: make it, and let the relay's user write there",
                 conf->usage_directory, strerror(errno));
        writer_free(u);
        return NULL;
    }
    u->loop = worker_new(0);
    if (u->loop && register_counters(m, u) == 0) {
        gauge(&u->writable, 1);
        worker_timer(u->loop, &u->tick, worker_now(u->loop));
        if (worker_start(u->loop, "usage") == 0)
            return u;
    }
    writer_free(u);
    return NULL;
}

void usage_writer_record(struct usage_writer *u, struct slice json)
{
    struct waiting_record *r = NULL;

    if (json.len < CHUNK_BYTES && __atomic_load_n(&u->posted, __ATOMIC_RELAXED) < POSTED_MAX)
        r = mem_zalloc(sizeof(*r) + json.len + 1);
    if (r) {
        struct wr w = wr_init(r->text, json.len + 1);
        r->u = u;
        r->len = json.len + 1;
        wr_bytes(&w, json);
        wr_u8(&w, '\n');
        __atomic_fetch_add(&u->posted, 1, __ATOMIC_RELAXED);
        if (worker_post(u->loop, on_record, r) == 0)
            return;
        __atomic_fetch_sub(&u->posted, 1, __ATOMIC_RELAXED);
        mem_free(r);
    }
    __atomic_fetch_add(&u->refused, 1, __ATOMIC_RELAXED);
}

void usage_writer_stop(struct usage_writer *u)
{
    if (!u)
        return;
    while (worker_post(u->loop, on_finish, u) != 0)
        continue; /* nothing can go on without: memory comes back */
    worker_join(u->loop);
    if (u->n_waiting > 0)
        log_warn("usage", "%zu records of use are lost", u->n_waiting);
    writer_free(u);
}

/* sori-ledger: moves the ledger of one server, a SQLite file, into a PostgreSQL database.
 *
 * Reads the file in the order of its keys and sends batches of rows, each in one transaction with
 * the place that it reaches: what is interrupted goes on there the next time. At the end the rows
 * of both are counted. The file stays as it is.
 *
 * Exit status: 0 done; 64 wrong command line; 65 a file that is damaged, of another version, or
 * whose rows are not all there; 66 no such file; 70 out of memory; 73 the database has other
 * records; 75 the file is in use, or the database can't be reached: try again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/secretfile.h"
#include "server/ledger_store_pg_move.h"
#include "server/ledger_store_sqlite_move.h"

enum {
    BATCH_BYTES = 4 << 20,
    ROW_BYTES = 64 << 10, /* no row is longer: texts and tokens have limits far below */
};

struct run {
    const char *file, *postgres, *password_file;
    uint64_t stop_after; /* batches; for tests of what is interrupted */
    struct ledger_sqlite_source *from;
    struct ledger_pg_target *to;
    uint8_t *batch;
    uint64_t batches, left_out;
};

static void usage(FILE *f)
{
    fputs(
        "usage: sori-ledger --from FILE --to WHERE [--password-file FILE]\n"
        "  -f, --from FILE     [ledger] file of a sori-server that is stopped; it stays as it is\n"
        "  -t, --to WHERE      [ledger] postgres: an empty database\n"
        "      --password-file FILE  the file with its password, or credential:NAME\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this and exit\n"
        "What is interrupted goes on where it was when it is started again. Afterwards give\n"
        "[ledger] postgres, the same token_key_file, FILE.erased as erased_file, and the\n"
        "directory of the exports as [privacy] export_dir.\n"
        "Exit status: 0 done, 64 wrong command line, 65 damaged or not all there, 66 no such\n"
        "file, 70 out of memory, 73 the database has other records, 75 try again.\n",
        f);
}

enum { PASSWORD = 256, VERSION, STOP };

/* Returns -1 to go on, or an exit status. */
static int parse(struct run *r, int argc, char **argv)
{
    static const struct option longs[] = {
        {"from", required_argument, NULL, 'f'},
        {"to", required_argument, NULL, 't'},
        {"password-file", required_argument, NULL, PASSWORD},
        {"stop-after", required_argument, NULL, STOP},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "f:t:h", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            r->file = optarg;
            break;
        case 't':
            r->postgres = optarg;
            break;
        case PASSWORD:
            r->password_file = optarg;
            break;
        case STOP:
            if (slice_to_u64(slice_str(optarg), UINT32_MAX, &r->stop_after) == 0)
                break;
            usage(stderr);
            return EX_USAGE;
        case VERSION:
            puts("sori-ledger " SORI_VERSION);
            return EX_OK;
        case 'h':
            usage(stdout);
            return EX_OK;
        default:
            usage(stderr);
            return EX_USAGE;
        }
    }
    if (optind == argc && r->file && r->postgres)
        return -1;
    usage(stderr);
    return EX_USAGE;
}

static int status_of(int rc)
{
    switch (rc) {
    case 0:
        return EX_OK;
    case -ENOENT:
        return EX_NOINPUT;
    case -ENOMEM:
        return EX_SOFTWARE;
    case -EEXIST:
        return EX_CANTCREAT;
    case -EAGAIN:
    case -EBUSY:
        return EX_TEMPFAIL;
    case -EINVAL:
        return EX_USAGE;
    default:
        return EX_DATAERR;
    }
}

static int fail(const char *where, const char *why, int rc)
{
    fprintf(stderr, "sori-ledger: %s%s%s\n", where, *where ? ": " : "", why);
    return status_of(rc);
}

static int open_both(struct run *r)
{
    char why[LEDGER_STORE_WHY_MAX] = "";
    const char *wrong = "";
    uint8_t *password = NULL;
    size_t len = 0;
    int rc = ledger_pg_where_check(r->postgres, why);

    if (rc != 0)
        return fail("--to", why, rc);
    if (r->password_file &&
        (rc = secretfile_load(slice_str(r->password_file), &password, &len, &wrong)) != 0)
        return fail("--password-file", wrong, -EINVAL);
    rc = ledger_sqlite_source_open(r->file, &r->from, why);
    if (rc == 0)
        rc = ledger_pg_target_open(r->postgres, slice_of(password, len),
                                   ledger_sqlite_source_mark(r->from), &r->to, why);
    if (password)
        crypto_wipe(password, len);
    mem_free(password);
    return rc == 0 ? EX_OK : fail("", why, rc);
}

static int bad_file(struct run *r)
{
    return fail(r->file, ledger_sqlite_source_detail(r->from), -EBADMSG);
}

static int lost(struct run *r)
{
    return fail("--to", ledger_pg_target_detail(r->to), -EAGAIN);
}

/* Fills a batch. *n: rows read. 1: there may be more, 0: there are none, or -EBADMSG. */
static int fill(struct run *r, const struct ledger_move_table *t, struct wr *w, uint64_t *n,
                uint64_t *left_out)
{
    struct ledger_move_field f[LEDGER_MOVE_COLUMNS_MAX];
    int rc = 1;

    ledger_move_head(w);
    while (w->cap - w->len > ROW_BYTES && (rc = ledger_sqlite_source_next(r->from, f)) == 1) {
        (*n)++;
        if (ledger_move_row(w, t, f) != 0)
            (*left_out)++;
    }
    ledger_move_tail(w);
    return w->bad ? -EBADMSG : rc;
}

static int move_table(struct run *r, const struct ledger_move_table *t)
{
    uint64_t at = 0, left_out = 0;
    int more = 1;

    if (ledger_pg_target_at(r->to, t, &at, &left_out) != 0)
        return lost(r);
    if (ledger_sqlite_source_rows(r->from, t, at) != 0)
        return bad_file(r);
    while (more == 1) {
        struct wr w = wr_init(r->batch, BATCH_BYTES);
        uint64_t n = 0;
        more = fill(r, t, &w, &n, &left_out);
        if (more < 0)
            return bad_file(r);
        at += n;
        if (n > 0 && ledger_pg_target_put(r->to, t, wr_done(&w), at, left_out) != 0)
            return lost(r);
        r->batches += n > 0;
        if (r->stop_after && r->batches >= r->stop_after)
            return fail("", "stopped, as --stop-after says", -EAGAIN);
    }
    r->left_out += left_out;
    return EX_OK;
}

/* Both have the same number of rows. */
static int compare(struct run *r, const struct ledger_move_table *t)
{
    uint64_t had = 0, has = 0, at = 0, left_out = 0;

    if (ledger_sqlite_source_count(r->from, t, &had) != 0)
        return bad_file(r);
    if (ledger_pg_target_count(r->to, t, &has) != 0 ||
        ledger_pg_target_at(r->to, t, &at, &left_out) != 0)
        return lost(r);
    printf("%-16s %12" PRIu64 " rows", t->name, has);
    if (left_out > 0)
        printf(", %" PRIu64 " left out: a text that PostgreSQL can't hold", left_out);
    putchar('\n');
    if (has + left_out == had)
        return EX_OK;
    fprintf(stderr, "sori-ledger: %s: %" PRIu64 " rows in the file, %" PRIu64 " in the database\n",
            t->name, had, has);
    return EX_DATAERR;
}

static int move_all(struct run *r)
{
    int status = EX_OK;

    for (size_t i = 0; i < LEDGER_MOVE_TABLES && status == EX_OK; i++)
        status = move_table(r, &ledger_move_tables[i]);
    for (size_t i = 0; i < LEDGER_MOVE_TABLES && status == EX_OK; i++)
        status = compare(r, &ledger_move_tables[i]);
    if (status == EX_OK && ledger_pg_target_finish(r->to) != 0)
        status = lost(r);
    return status;
}

int main(int argc, char **argv)
{
    struct run r = {0};
    int status = parse(&r, argc, argv);

    if (status >= 0)
        return status;
    r.batch = mem_realloc(NULL, BATCH_BYTES);
    status = r.batch ? open_both(&r) : fail("", "out of memory", -ENOMEM);
    if (status == EX_OK)
        status = move_all(&r);
    ledger_pg_target_free(r.to);
    ledger_sqlite_source_free(r.from);
    mem_free(r.batch);
    return status;
}

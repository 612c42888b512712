/* sori-report: what was called, what it went over, what it costs; one run for one or more days.
 *
 * Reads the records that relays have written and the server's ledger (read-only, while it runs),
 * writes JSON, CSV, a page, and each full day's sums into an archive. Lines that are damaged are
 * counted, told and left out. Exit status: 0 done; 64 wrong command line; 65 a ledger that is
 * damaged or of another version; 66 something that is not there; 70 too much or out of memory; 73
 * something that cannot be written; 75 a locked ledger; 78 wrong configuration.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/secretfile.h"
#include "server/ledger_store_pg_report.h"
#include "server/ledger_store_sqlite_report.h"
#include "server/report_archive.h"
#include "server/report_csv.h"
#include "server/report_html.h"
#include "server/report_json.h"
#include "server/report_prom.h"
#include "server/report_source.h"

enum {
    RELAYS_MAX = 64, /* --relay on one command line */
    DAYS_MAX = 3660, /* of one report */
    PATH_BYTES = 4096,
    KEY_BYTES = 32,
};
#define DAY_S  UINT64_C(86400)
#define SUFFIX ".ndjson"

struct options {
    const char *config, *ledger, *postgres, *password_file, *archive, *json, *csv, *html, *prom;
    const char *relays[RELAYS_MAX];
    size_t relays_n;
    const char *from, *to, *days, *now;
    bool check, print;
};

struct run {
    struct options o;
    struct report_conf conf;
    struct report_inputs inputs;
    struct usage_report *report;
    uint64_t now_s;
    uint32_t from, to;
    uint8_t key[KEY_BYTES]; /* when none is configured */
};

static void usage(FILE *f)
{
    fputs("usage: sori-report [options]\n"
          "  -l, --ledger FILE   [ledger] file of sori-server; read only, while it runs or not\n"
          "  -p, --postgres WHERE  instead: [ledger] postgres of sori-server; a standby will do\n"
          "      --password-file FILE  the file with its password, or credential:NAME\n"
          "  -r, --relay PATH    records of sori-turn: its [usage] directory, a file, or - for\n"
          "                      standard input; may be given several times\n"
          "  -a, --archive DIR   directory of days that are over: written, and read for days of\n"
          "                      which more was known once\n"
          "      --from DAY      first day, as 2026-11-28 (UTC)\n"
          "      --to DAY        last day; without --from and --to: yesterday\n"
          "  -d, --days N        instead of --from: so many days, up to the last one\n"
          "  -j, --json FILE     write the report as JSON (default: to standard output, -)\n"
          "      --csv FILE      write a line for each day, path, region and codec\n"
          "      --html FILE     write a page\n"
          "      --prometheus FILE  write sums for node_exporter's textfile collector\n"
          "  -c, --config FILE   tariff and settings (default: built-in values)\n"
          "      --check-config  read it, say what is wrong, and exit\n"
          "      --print-config  print the commented default configuration and exit\n"
          "      --now SECONDS   what time it is (Unix time), instead of the clock\n"
          "      --version       print the version and exit\n"
          "  -h, --help          print this and exit\n"
          "Files are replaced when they are complete. Lines that cannot be used are counted.\n"
          "Exit status: 0 done, 64 wrong command line, 65 damaged or foreign ledger, 66 no such\n"
          "input, 70 too much for memory, 73 cannot write, 75 ledger locked, 78 wrong\n"
          "configuration.\n",
          f);
}

/* ---- the command line ---- */

enum { CHECK = 256, PRINT, VERSION, FROM, TO, CSV, HTML, PROM, NOW, PASSWORD };

/* Takes one option. Returns -1 to go on, or an exit status. */
static int take_option(struct options *o, int c, const char *value)
{
    switch (c) {
    case 'l':
        o->ledger = value;
        break;
    case 'p':
        o->postgres = value;
        break;
    case PASSWORD:
        o->password_file = value;
        break;
    case 'r':
        if (o->relays_n == RELAYS_MAX)
            return EX_USAGE;
        o->relays[o->relays_n++] = value;
        break;
    case 'a':
        o->archive = value;
        break;
    case 'j':
        o->json = value;
        break;
    case CSV:
        o->csv = value;
        break;
    case HTML:
        o->html = value;
        break;
    case PROM:
        o->prom = value;
        break;
    case 'c':
        o->config = value;
        break;
    case 'd':
        o->days = value;
        break;
    case FROM:
        o->from = value;
        break;
    case TO:
        o->to = value;
        break;
    case NOW:
        o->now = value;
        break;
    case CHECK:
        o->check = true;
        break;
    case PRINT:
        o->print = true;
        break;
    case VERSION:
        puts("sori-report " SORI_VERSION);
        return EX_OK;
    case 'h':
        usage(stdout);
        return EX_OK;
    default:
        return EX_USAGE;
    }
    return -1;
}

/* Returns -1 to go on, or an exit status. */
static int parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"ledger", required_argument, NULL, 'l'},
        {"postgres", required_argument, NULL, 'p'},
        {"password-file", required_argument, NULL, PASSWORD},
        {"relay", required_argument, NULL, 'r'},
        {"archive", required_argument, NULL, 'a'},
        {"json", required_argument, NULL, 'j'},
        {"csv", required_argument, NULL, CSV},
        {"html", required_argument, NULL, HTML},
        {"config", required_argument, NULL, 'c'},
        {"days", required_argument, NULL, 'd'},
        {"from", required_argument, NULL, FROM},
        {"to", required_argument, NULL, TO},
        {"prometheus", required_argument, NULL, PROM},
        {"now", required_argument, NULL, NOW},
        {"check-config", no_argument, NULL, CHECK},
        {"print-config", no_argument, NULL, PRINT},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c, status = -1;

    while (status < 0 && (c = getopt_long(argc, argv, "l:p:r:a:j:c:d:h", longs, NULL)) != -1)
        status = take_option(o, c, optarg);
    if (status < 0 && optind < argc)
        status = EX_USAGE;
    if (status == EX_USAGE)
        usage(stderr);
    return status;
}

static int wrong(const char *option, const char *value, const char *allowed)
{
    fprintf(stderr, "sori-report: %s %s: %s\n", option, value, allowed);
    return EX_USAGE;
}

/* Which days, from the options. Returns EX_OK or EX_USAGE. */
static int choose_days(struct run *r)
{
    const struct options *o = &r->o;
    uint64_t days = 1;

    r->now_s = clock_wall_us() / US_PER_S;
    if (o->now && slice_to_u64(slice_str(o->now), (USAGE_DAY_MAX + 1) * DAY_S - 1, &r->now_s) != 0)
        return wrong("--now", o->now, "seconds since 1970");
    if (r->now_s < DAY_S)
        return wrong("--now", o->now ? o->now : "", "seconds since 1970, a day at least");
    r->to = (uint32_t)(r->now_s / DAY_S) - 1;
    if (o->to && usage_day_parse(slice_str(o->to), &r->to) != 0)
        return wrong("--to", o->to, "a day, such as 2026-11-28");
    if (o->from && o->days)
        return wrong("--days", o->days, "not together with --from");
    if (o->days && (slice_to_u64(slice_str(o->days), DAYS_MAX, &days) != 0 || days == 0))
        return wrong("--days", o->days, "a number from 1 to 3660");
    r->from = days - 1 > r->to ? 0 : r->to - (uint32_t)(days - 1);
    if (o->from && usage_day_parse(slice_str(o->from), &r->from) != 0)
        return wrong("--from", o->from, "a day, such as 2026-11-28");
    if (r->from > r->to)
        return wrong("--from", o->from, "it is behind the last day");
    if (r->to - r->from >= DAYS_MAX)
        return wrong("--from", o->from, "at most 3660 days before the last one");
    return EX_OK;
}

/* ---- what is read ---- */

/* What the report makes of something. Returns an exit status. */
static int status_of(const struct run *r, int rc)
{
    if (rc == 0)
        return EX_OK;
    if (rc == -ENOSPC)
        fprintf(stderr,
                "sori-report: more than %" PRIu64
                " records at once: report fewer days, or raise [report] most_records\n",
                r->conf.most);
    else
        fprintf(stderr, "sori-report: out of memory\n");
    return EX_SOFTWARE;
}

/* The same, of files. */
static int status_of_files(const struct run *r, const char *option, int rc, const char *why)
{
    if (rc == 0 || why[0] == '\0')
        return status_of(r, rc);
    fprintf(stderr, "sori-report: %s %s\n", option, why);
    return rc == -EIO ? EX_IOERR : EX_NOINPUT;
}

static int read_relays(struct run *r)
{
    char why[REPORT_SOURCE_WHY_MAX];
    int status = EX_OK;

    for (size_t i = 0; i < r->o.relays_n && status == EX_OK; i++) {
        int rc = report_source_relay(r->report, &r->inputs, r->o.relays[i], why);
        status = status_of_files(r, "--relay", rc, why);
    }
    return status;
}

static int read_archive(struct run *r)
{
    char why[REPORT_SOURCE_WHY_MAX];

    if (!r->o.archive)
        return EX_OK;
    int rc = report_source_archive(r->report, &r->inputs, r->o.archive, why);
    return status_of_files(r, "--archive", rc, why);
}

/* The first day of from's month: what the month's tiers begin with. */
static uint32_t month_begin(uint32_t day)
{
    uint8_t text[USAGE_DAY_TEXT];
    struct wr w = wr_init(text, sizeof(text));
    uint32_t first = day;

    usage_day_write(&w, day);
    text[8] = '0';
    text[9] = '1';
    (void)usage_day_parse(slice_of(text, sizeof(text)), &first);
    return first;
}

/* The ledger of several servers. As ledger_pg_report(). */
static int read_postgres(struct run *r, uint32_t from, uint32_t to, char why[LEDGER_STORE_WHY_MAX])
{
    uint8_t *password = NULL;
    const char *wrong_file = "";
    size_t len = 0;

    if (r->o.password_file &&
        secretfile_load(slice_str(r->o.password_file), &password, &len, &wrong_file) != 0) {
        snprintf(why, LEDGER_STORE_WHY_MAX, "--password-file %s: %s", r->o.password_file,
                 wrong_file);
        return -EINVAL;
    }
    int rc = ledger_pg_report(r->o.postgres, slice_of(password, len), from, to, r->report, why);
    if (password)
        crypto_wipe(password, len);
    mem_free(password);
    return rc;
}

static int read_ledger(struct run *r)
{
    char why[LEDGER_STORE_WHY_MAX];

    if (!r->o.ledger && !r->o.postgres)
        return EX_OK;
    /* A day more at both ends: quality is told when a call is over, maybe after midnight. */
    uint32_t from = month_begin(r->from), to = r->to < USAGE_DAY_MAX ? r->to + 1 : r->to;
    from -= from > 0;
    int rc = r->o.postgres ? read_postgres(r, from, to, why)
                           : ledger_sqlite_report(r->o.ledger, from, to, r->report, why);
    r->inputs.ledger = rc == 0;
    if (rc == 0 || rc == -ENOSPC || rc == -ENOMEM)
        return status_of(r, rc);
    if (r->o.postgres)
        fprintf(stderr, "sori-report: --postgres: %s\n", why);
    else
        fprintf(stderr, "sori-report: --ledger %s: %s\n", r->o.ledger, why);
    if (rc == -EINVAL)
        return EX_USAGE;
    return rc == -ENOENT ? EX_NOINPUT : rc == -EAGAIN ? EX_TEMPFAIL : EX_DATAERR;
}

static int read_all(struct run *r)
{
    int status = read_relays(r);

    if (status == EX_OK)
        status = read_ledger(r);
    if (status == EX_OK)
        status = read_archive(r);
    return status == EX_OK ? status_of(r, usage_report_close(r->report)) : status;
}

/* ---- what is written ---- */

typedef void write_fn(FILE *f, const struct report_view *v, size_t i);

static int not_written(const char *path)
{
    fprintf(stderr, "sori-report: cannot write %s: %s\n", path, strerror(errno));
    return EX_CANTCREAT;
}

/* Writes a file anew and puts it in the place of the old one when it is complete. */
static int write_file(const char *path, mode_t mode, write_fn *fn, const struct report_view *v,
                      size_t i)
{
    char part[PATH_BYTES];

    if (strcmp(path, "-") == 0) {
        fn(stdout, v, i);
        return fflush(stdout) == 0 && !ferror(stdout) ? EX_OK : not_written("standard output");
    }
    if ((size_t)snprintf(part, sizeof(part), "%s.part", path) >= sizeof(part)) {
        errno = ENAMETOOLONG;
        return not_written(path);
    }
    FILE *f = fopen(part, "we");
    if (!f)
        return not_written(part);
    fn(f, v, i);
    bool good =
        fflush(f) == 0 && !ferror(f) && fchmod(fileno(f), mode) == 0 && fsync(fileno(f)) == 0;
    good = fclose(f) == 0 && good && rename(part, path) == 0;
    if (good)
        return EX_OK;
    int status = not_written(path);
    unlink(part);
    return status;
}

static void as_json(FILE *f, const struct report_view *v, size_t i)
{
    (void)i;
    report_json(f, v);
}

static void as_csv(FILE *f, const struct report_view *v, size_t i)
{
    (void)i;
    report_csv(f, v);
}

static void as_html(FILE *f, const struct report_view *v, size_t i)
{
    (void)i;
    report_html(f, v);
}

static void as_prom(FILE *f, const struct report_view *v, size_t i)
{
    (void)i;
    report_prom(f, v);
}

/* Days that are over and did not come from there. */
static int write_archive(const struct run *r, const struct report_view *v)
{
    int status = EX_OK;

    for (size_t i = 0; i < v->days_n && status == EX_OK; i++) {
        uint8_t text[USAGE_DAY_TEXT];
        struct wr w = wr_init(text, sizeof(text));
        char path[PATH_BYTES];
        if (v->days[i].archived || (v->days[i].day + 1) * DAY_S > r->now_s)
            continue;
        usage_day_write(&w, v->days[i].day);
        if ((size_t)snprintf(path, sizeof(path), "%s/usage-day-%.*s" SUFFIX, r->o.archive,
                             SLICE_FMT(wr_done(&w))) >= sizeof(path)) {
            errno = ENAMETOOLONG;
            return not_written(r->o.archive);
        }
        status = write_file(path, 0640, report_archive_write, v, i);
    }
    return status;
}

/* What was left out is told on standard error; the report has it, too. */
static void tell_skipped(const struct run *r)
{
    const struct report_inputs *in = &r->inputs;
    const struct usage_skipped *s = usage_report_skipped(r->report);

    if (in->damaged + in->version + in->absurd + s->future + s->outside > 0)
        fprintf(stderr,
                "sori-report: left out: %" PRIu64 " damaged lines, %" PRIu64
                " of another version, %" PRIu64 " that cannot be, %" PRIu64
                " records of days to come, %" PRIu64 " out of range\n",
                in->damaged, in->version, in->absurd, s->future, s->outside);
}

static int write_all(struct run *r)
{
    const struct options *o = &r->o;
    struct report_view v;
    int status = status_of(r, report_view_init(&v, r->report, &r->conf, &r->inputs));

    if (status == EX_OK && o->archive)
        status = write_archive(r, &v);
    if (status == EX_OK && o->csv)
        status = write_file(o->csv, 0640, as_csv, &v, 0);
    if (status == EX_OK && o->html)
        status = write_file(o->html, 0640, as_html, &v, 0);
    if (status == EX_OK && o->prom)
        status = write_file(o->prom, 0644, as_prom, &v, 0);
    if (status == EX_OK && (o->json || !(o->csv || o->html || o->prom || o->archive)))
        status = write_file(o->json ? o->json : "-", 0640, as_json, &v, 0);
    report_view_fini(&v);
    if (status == EX_OK)
        tell_skipped(r);
    return status;
}

static int report(struct run *r)
{
    struct slice key = slice_of(r->conf.user_key.p, r->conf.user_key.len);

    if (key.len == 0) {
        rand_bytes(r->key, sizeof(r->key));
        key = slice_of(r->key, sizeof(r->key));
    }
    const struct usage_conf conf = {.from = r->from,
                                    .to = r->to,
                                    .now_s = r->now_s,
                                    .relayed_bytes_s = r->conf.relayed_bytes_s,
                                    .most = (size_t)r->conf.most,
                                    .user_key = key};
    r->report = usage_report_new(&conf);
    if (!r->report)
        return status_of(r, -ENOMEM);
    int status = read_all(r);
    if (status == EX_OK)
        status = write_all(r);
    usage_report_free(r->report);
    return status;
}

int main(int argc, char **argv)
{
    static struct run r;
    char err[CONF_ERR_MAX];
    int status = parse(&r.o, argc, argv);

    if (status >= 0)
        return status;
    if (r.o.print) {
        report_conf_print(stdout);
        return EX_OK;
    }
    if (report_conf_load(&r.conf, r.o.config, err) != 0) {
        fprintf(stderr, "sori-report: %s\n", err);
        return EX_CONFIG;
    }
    if (r.o.check)
        puts("configuration is valid");
    else if (r.o.ledger && r.o.postgres)
        status = wrong("--postgres", "", "not together with --ledger");
    else if (!r.o.ledger && !r.o.postgres && r.o.relays_n == 0 && !r.o.archive)
        status = wrong("no input", "", "give --ledger, --postgres, --relay or --archive (--help)");
    else if ((status = choose_days(&r)) == EX_OK)
        status = report(&r);
    report_conf_free(&r.conf);
    return status < 0 ? EX_OK : status;
}

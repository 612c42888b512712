/* Files that the report is made from.
 *
 * Called by report_main.c. Files are read in the order of their names; nothing depends on it.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "server/report_archive.h"

enum {
    PATH_BYTES = 4096,
    FILES_MAX = 1000000, /* of one directory */
};
#define SUFFIX ".ndjson"

/* What a file's lines go to. */
struct source {
    struct usage_report *report;
    struct report_inputs *in;
    char *why;
    uint8_t line[RELAY_RECORD_LINE_MAX], scratch[RELAY_RECORD_LINE_MAX];
};

static int refused(struct source *s, const char *path, int err)
{
    snprintf(s->why, REPORT_SOURCE_WHY_MAX, "%s: %s", path, strerror(err));
    return -err;
}

/* ---- records ---- */

static int take_line(struct source *s, struct slice line)
{
    struct wr scratch = wr_init(s->scratch, sizeof(s->scratch));
    struct relay_record rec;

    if (line.len == 0)
        return 0;
    s->in->lines++;
    switch (relay_record_decode(&rec, line, &scratch)) {
    case 0:
        return usage_report_relay(s->report, &rec);
    case -EPROTONOSUPPORT:
        s->in->version++;
        return 0;
    case -ERANGE:
        s->in->absurd++;
        return 0;
    default:
        s->in->damaged++;
        return 0;
    }
}

/* Lines of f, one by one. One that is too long is damaged, and so is what a crash has cut. */
static int take_lines(struct source *s, FILE *f)
{
    size_t len = 0;
    int c, rc = 0;

    while (rc == 0 && (c = getc_unlocked(f)) != EOF) {
        if (c != '\n' && len < sizeof(s->line))
            s->line[len++] = (uint8_t)c;
        else if (c != '\n')
            len = sizeof(s->line) + 1; /* and stays so */
        if (c != '\n')
            continue;
        rc = take_line(s, len <= sizeof(s->line) ? slice_of(s->line, len) : SLICE_LIT("-"));
        len = 0;
    }
    if (rc == 0 && len > 0)
        rc = take_line(s, len <= sizeof(s->line) ? slice_of(s->line, len) : SLICE_LIT("-"));
    return rc;
}

static int take_records(struct source *s, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");

    if (!f)
        return refused(s, path, errno);
    s->in->files++;
    int rc = take_lines(s, f);
    if (rc == 0 && ferror(f))
        rc = refused(s, path, errno);
    if (!standard)
        fclose(f);
    return rc;
}

/* ---- archived days ---- */

static int take_text(struct source *s, const char *path, FILE *f, uint8_t *text)
{
    size_t len = fread(text, 1, REPORT_ARCHIVE_BYTES_MAX, f);

    if (ferror(f))
        return refused(s, path, errno);
    bool whole = getc(f) == EOF;
    int rc = whole ? report_archive_read(s->report, slice_of(text, len)) : -EBADMSG;
    if (rc == -EBADMSG) {
        fprintf(stderr, "sori-report: --archive %s: damaged, or of another version: left out\n",
                path);
        s->in->bad_archives++;
        return 0;
    }
    s->in->archived += rc == 0;
    return rc;
}

static int take_day(struct source *s, const char *path)
{
    FILE *f = fopen(path, "re");

    if (!f)
        return refused(s, path, errno);
    uint8_t *text = mem_realloc(NULL, REPORT_ARCHIVE_BYTES_MAX);
    int rc = text ? take_text(s, path, f, text) : -ENOMEM;
    mem_free(text);
    fclose(f);
    return rc;
}

/* ---- directories ---- */

struct names {
    char **v;
    size_t n, cap;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_ours(const char *name)
{
    size_t len = strlen(name), suffix = sizeof(SUFFIX) - 1;

    return len > suffix && strcmp(name + len - suffix, SUFFIX) == 0;
}

static int add_name(struct names *n, const char *name)
{
    if (n->n == FILES_MAX)
        return -EMFILE;
    if (n->n == n->cap) {
        size_t cap = n->cap > 0 ? 2 * n->cap : 64;
        char **v = mem_realloc(n->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        n->v = v;
        n->cap = cap;
    }
    n->v[n->n] = mem_strndup(slice_str(name));
    return n->v[n->n] ? (n->n++, 0) : -ENOMEM;
}

static int list(const char *dir, struct names *n)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int rc = d ? 0 : -errno;

    while (rc == 0 && (e = readdir(d)))
        if (is_ours(e->d_name))
            rc = add_name(n, e->d_name);
    if (d)
        closedir(d);
    if (n->n > 0)
        qsort(n->v, n->n, sizeof(*n->v), by_name);
    return rc;
}

static int each_file(struct source *s, const char *dir,
                     int (*fn)(struct source *s, const char *path))
{
    struct names names = {0};
    int rc = list(dir, &names);

    if (rc < 0 && rc != -ENOMEM)
        rc = refused(s, dir, -rc);
    for (size_t i = 0; i < names.n; i++) {
        char path[PATH_BYTES];
        if (rc == 0)
            rc = (size_t)snprintf(path, sizeof(path), "%s/%s", dir, names.v[i]) < sizeof(path)
                     ? fn(s, path)
                     : refused(s, dir, ENAMETOOLONG);
        mem_free(names.v[i]);
    }
    mem_free(names.v);
    return rc;
}

static int with_source(struct usage_report *r, struct report_inputs *in, const char *path,
                       char *why, int (*fn)(struct source *s, const char *path))
{
    struct source *s = mem_zalloc(sizeof(*s));

    why[0] = '\0';
    if (!s)
        return -ENOMEM;
    s->report = r;
    s->in = in;
    s->why = why;
    int rc = fn(s, path);
    mem_free(s);
    return rc;
}

static int take_path(struct source *s, const char *path)
{
    struct stat st;

    if (strcmp(path, "-") == 0)
        return take_records(s, path);
    if (stat(path, &st) != 0)
        return refused(s, path, errno);
    return S_ISDIR(st.st_mode) ? each_file(s, path, take_records) : take_records(s, path);
}

static int take_archive(struct source *s, const char *dir)
{
    return each_file(s, dir, take_day);
}

int report_source_relay(struct usage_report *r, struct report_inputs *in, const char *path,
                        char why[REPORT_SOURCE_WHY_MAX])
{
    return with_source(r, in, path, why, take_path);
}

int report_source_archive(struct usage_report *r, struct report_inputs *in, const char *dir,
                          char why[REPORT_SOURCE_WHY_MAX])
{
    return with_source(r, in, dir, why, take_archive);
}

/* Loads an INI file against an option table, and prints the table as such a file.
 *
 * Called by main.c of each daemon at start (and with --check-config). inih splits lines into
 * section, key and value; this file makes sure that no line passes unseen: inih cuts long lines,
 * ends a line at a NUL, ignores what follows a section's bracket and reports empty sections to
 * nobody, so the reader checks these before inih gets the line.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/conf.h"

#include "base/conf_value.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONF_LINE_MAX = 2040,   /* with its newline */
    CONF_BUFFER_MAX = 2048, /* inih wants room for CR, LF and NUL behind a line */
    CONF_FILE_MAX_BYTES = 1 << 20,
    CONF_SHOWN_MAX = 80, /* bytes of a value in a message */
    CONF_NAME_MAX = 32,  /* longest name that is compared for "did you mean" */
    CONF_NEAR = 2,       /* edits that still look like a slip */
    CONF_WRAP = 78,      /* columns of printed comments */
};

/* A table, what it fills, and which of its options the file names. */
struct scope {
    const struct conf_opt *opts;
    size_t n;
    void *out;
    bool *seen;
};

struct conf_loader {
    const struct conf_opt *opts;
    size_t n;
    void *out;
    bool *seen;
    const struct conf_sections *named; /* of the [kind NAME] that we are in, or NULL */
    struct conf_named *into;           /* where its element is the last one */
    bool named_seen[CONF_SECTION_OPTS_MAX];
    struct slice rest;
    const char *file;
    unsigned line;
    char *err; /* CONF_ERR_MAX */
    int status;
};

/* The last element of the named sections that we are in. */
static char *element_of(const struct conf_loader *l)
{
    return (char *)l->into->v + (l->into->n - 1) * l->named->size;
}

/* What the pairs that come now belong to. */
static struct scope scope_of(struct conf_loader *l)
{
    if (l->named)
        return (struct scope){l->named->opts, l->named->n, element_of(l), l->named_seen};
    return (struct scope){l->opts, l->n, l->out, l->seen};
}

/* --- Messages -----------------------------------------------------------------------------------
 */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions and changes that turn a into b; CONF_NAME_MAX when either is longer. */
static size_t edit_distance(struct slice a, struct slice b)
{
    size_t row[CONF_NAME_MAX + 1];

    if (a.len > CONF_NAME_MAX || b.len > CONF_NAME_MAX)
        return CONF_NAME_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            row[j] = min_size(change, min_size(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

/* The option whose name (section NULL: whose section) is nearest to text, NULL when none is near.
 */
static const struct conf_opt *nearest(const struct scope *in, const char *section,
                                      struct slice text)
{
    const struct conf_opt *best = NULL;
    size_t least = CONF_NEAR + 1;

    for (size_t i = 0; i < in->n; i++) {
        const struct conf_opt *o = &in->opts[i];
        if (section && (strcmp(o->section, section) != 0 || o->type == CONF_SECTIONS))
            continue;
        struct slice name = slice_str(section ? o->name : o->section);
        size_t distance = edit_distance(text, name);
        if (distance < least && distance < name.len) {
            least = distance;
            best = o;
        }
    }
    return best;
}

static void fail(struct conf_loader *l, int status, const struct wr *text)
{
    size_t len = min_size(text->len, CONF_ERR_MAX - 1);

    for (size_t i = 0; i < len; i++) {
        uint8_t c = text->base[i];
        l->err[i] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
    }
    l->err[len] = '\0';
    l->status = status;
}

/* Starts a message in w: where it is. */
static void fail_where(const struct conf_loader *l, struct wr *w)
{
    wr_fmt(w, "%.200s:", l->file);
    if (l->line > 0)
        wr_fmt(w, "%u:", l->line);
    wr_u8(w, ' ');
}

static void fail_line(struct conf_loader *l, const char *what)
{
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    fail_where(l, &w);
    wr_str(&w, what);
    fail(l, -EINVAL, &w);
}

static const char *named_suffix(const struct conf_opt *o)
{
    return o->type == CONF_SECTIONS ? " NAME" : "";
}

static void fail_section(struct conf_loader *l, struct slice name)
{
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    const struct scope whole = {l->opts, l->n, NULL, NULL};
    const struct conf_opt *near = nearest(&whole, NULL, name);
    const char *last = "";

    fail_where(l, &w);
    wr_str(&w, "[");
    wr_bytes(&w, slice_sub(name, 0, CONF_SHOWN_MAX));
    wr_str(&w, "]: unknown section");
    if (near)
        wr_fmt(&w, ", did you mean [%s%s]?", near->section, named_suffix(near));
    wr_str(&w, " (known:");
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->opts[i].section, last) != 0)
            wr_fmt(&w, " [%s%s]", l->opts[i].section, named_suffix(&l->opts[i]));
        last = l->opts[i].section;
    }
    wr_str(&w, ")");
    fail(l, -EINVAL, &w);
}

/* Starts a message about a pair: "file:line: [section] key = value: ". */
static void fail_pair(const struct conf_loader *l, struct wr *w, const char *section,
                      const char *key, const char *value)
{
    const char *kind = l->named ? l->named->opts[0].section : "";
    const char *name = l->named ? *(char **)(void *)(element_of(l) + l->named->name) : "";

    fail_where(l, w);
    wr_fmt(w, "[%.*s%s%.*s] %.*s = %.*s%s: ", CONF_SHOWN_MAX, l->named ? kind : section,
           l->named ? " " : "", CONF_SHOWN_MAX, name, CONF_SHOWN_MAX, key, CONF_SHOWN_MAX, value,
           strlen(value) > CONF_SHOWN_MAX ? "..." : "");
}

static void fail_key(struct conf_loader *l, const char *section, const char *key, const char *value)
{
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    const struct scope in = scope_of(l);
    const struct conf_opt *near =
        nearest(&in, l->named ? l->named->opts[0].section : section, slice_str(key));

    fail_pair(l, &w, section, key, value);
    wr_str(&w, "unknown key");
    if (near)
        wr_fmt(&w, ", did you mean %s?", near->name);
    for (size_t i = 0; i < l->n && !near; i++)
        if (strcmp(l->opts[i].name, key) == 0)
            wr_fmt(&w, "; [%s] has one of this name", l->opts[i].section);
    fail(l, -EINVAL, &w);
}

/* A bad value. A secret's value is shown only when it looks like what belongs there: somebody may
 * have put the secret itself into the file. */
static void fail_value(struct conf_loader *l, const struct conf_opt *o, const char *value,
                       int status, const char *why)
{
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v = slice_str(value);
    bool hide = (o->type == CONF_SECRET || o->type == CONF_SECRETS) &&
                !slice_starts(v, SLICE_LIT("/")) && !slice_starts(v, SLICE_LIT(".")) &&
                !slice_starts(v, SLICE_LIT("credential:"));

    fail_pair(l, &w, o->section, o->name, hide ? "(not shown)" : value);
    if (status == -ENOMEM) {
        wr_str(&w, "out of memory");
    } else {
        wr_str(&w, why ? why : "");
        wr_str(&w, why ? "; must be " : "must be ");
        conf_value_allowed(o, &w);
    }
    fail(l, status, &w);
}

/* --- Loading ------------------------------------------------------------------------------------
 */

static bool section_known(const struct conf_loader *l, struct slice name)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->opts[i].type != CONF_SECTIONS && slice_is(name, l->opts[i].section))
            return true;
    return false;
}

static void set_defaults(struct conf_loader *l)
{
    const struct scope in = scope_of(l);

    for (size_t i = 0; i < in.n && l->status == 0; i++) {
        const struct conf_opt *o = &in.opts[i];
        const char *why, *def = o->def ? o->def : "";
        int err = in.seen[i] ? 0 : conf_value_set(o, in.out, slice_str(def), true, &why);
        if (err != 0)
            fail_value(l, o, def, err == -ENOMEM ? err : -EINVAL, why);
    }
}

/* Gives the element of a [kind NAME] that has ended what the file did not say. */
static void leave_named(struct conf_loader *l)
{
    if (l->named)
        set_defaults(l);
    l->named = NULL;
}

/* Splits "kind NAME" of a table's entry. */
static bool named_matches(const struct conf_opt *o, struct slice section, struct slice *name)
{
    struct slice kind = slice_str(o->section);

    if (o->type != CONF_SECTIONS || !slice_starts(section, kind) || section.len < kind.len + 2 ||
        section.p[kind.len] != ' ')
        return false;
    *name = slice_sub(section, kind.len + 1, SIZE_MAX);
    return name->p[0] != ' ' && name->p[name->len - 1] != ' ';
}

static bool named_is_taken(const struct conf_sections *s, const struct conf_named *into,
                           struct slice name)
{
    for (size_t i = 0; i < into->n; i++) {
        char *element = (char *)into->v + i * s->size;
        if (slice_is(name, *(char **)(void *)(element + s->name)))
            return true;
    }
    return false;
}

/* Begins an element for [kind NAME]: later pairs are its own. */
static void enter_named(struct conf_loader *l, const struct conf_opt *o, struct slice name)
{
    const struct conf_sections *s = o->sections;
    struct conf_named *into = (void *)((char *)l->out + o->offset);

    if (name.len > CONF_SECTION_NAME_MAX) {
        fail_line(l, "the section's name is longer than 128 bytes");
    } else if (named_is_taken(s, into, name)) {
        fail_line(l, "a section of this name is there already");
    } else if (into->n == s->max) {
        fail_line(l, "there are too many sections of this kind");
    } else {
        void *v = mem_realloc(into->v, (into->n + 1) * s->size);
        char *copy = v ? mem_strndup(name) : NULL;
        into->v = v ? v : into->v;
        if (!copy) {
            fail_line(l, "out of memory");
            l->status = -ENOMEM;
            return;
        }
        l->named = s;
        l->into = into;
        into->n++;
        memset(element_of(l), 0, s->size);
        memset(l->named_seen, 0, sizeof(l->named_seen));
        *(char **)(void *)(element_of(l) + s->name) = copy;
    }
}

/* Takes "[section]" or "[kind NAME]" for the pairs that follow. */
static void enter_section(struct conf_loader *l, struct slice section)
{
    struct slice name;

    leave_named(l);
    for (size_t i = 0; i < l->n && l->status == 0; i++) {
        if (named_matches(&l->opts[i], section, &name)) {
            enter_named(l, &l->opts[i], name);
            return;
        }
    }
    if (l->status == 0 && !section_known(l, section))
        fail_section(l, section);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice skip_blanks(struct slice s)
{
    size_t at = 0;

    while (at < s.len && is_blank(s.p[at]))
        at++;
    return slice_sub(s, at, s.len);
}

/* Checks "[name]" lines, which inih reports to nobody. */
static void check_section_line(struct conf_loader *l, struct slice line)
{
    if (l->line == 1 && slice_starts(line, SLICE_LIT("\xEF\xBB\xBF")))
        line = slice_sub(line, 3, line.len);
    line = skip_blanks(line);
    if (line.len == 0 || line.p[0] != '[')
        return;
    line = slice_sub(line, 1, line.len);
    const uint8_t *end = line.len > 0 ? memchr(line.p, ']', line.len) : NULL;
    if (!end) {
        fail_line(l, "a section is written [name], the closing bracket is missing");
        return;
    }
    struct slice name = slice_sub(line, 0, (size_t)(end - line.p));
    struct slice after = skip_blanks(slice_sub(line, name.len + 1, line.len));
    enter_section(l, name);
    if (l->status == 0 && after.len > 0 && after.p[0] != ';' && after.p[0] != '#')
        fail_line(l, "there is text after a section's closing bracket");
}

/* inih's fgets: gives the next line, or NULL at the end and after the first error. */
static char *read_line(char *str, int num, void *stream)
{
    struct conf_loader *l = stream;
    const uint8_t *end = l->rest.len > 0 ? memchr(l->rest.p, '\n', l->rest.len) : NULL;
    size_t len = end ? (size_t)(end - l->rest.p) + 1 : l->rest.len;
    struct slice line = slice_sub(l->rest, 0, len);

    if (l->status != 0 || len == 0)
        return NULL;
    l->line++;
    l->rest = slice_sub(l->rest, len, l->rest.len);
    if (len >= (size_t)num || len > CONF_LINE_MAX)
        fail_line(l, "the line is longer than 2040 bytes");
    else if (slice_to_cstr(line, str, (size_t)num) != 0)
        fail_line(l, "the line contains a NUL byte");
    else
        check_section_line(l, line);
    return l->status == 0 ? str : NULL;
}

/* inih's handler: one pair. Gives 0 on error, as inih wants it. */
static int take_pair(void *user, const char *section, const char *key, const char *value)
{
    struct conf_loader *l = user;
    const struct conf_opt *o = NULL;
    const char *why = NULL;
    size_t i = 0;

    if (l->status != 0)
        return 0;
    const struct scope in = scope_of(l);
    const char *want = l->named ? in.opts[0].section : section; /* inih cuts long names */
    for (; i < in.n && !o; i++)
        if (strcmp(in.opts[i].section, want) == 0 && strcmp(in.opts[i].name, key) == 0 &&
            in.opts[i].type != CONF_SECTIONS)
            o = &in.opts[i];
    if (!o && section[0] == '\0') {
        fail_line(l, "a key stands before the first [section]");
    } else if (!o) {
        fail_key(l, section, key, value);
    } else if (in.seen[i - 1] && !conf_value_is_list(o)) {
        fail_value(l, o, value, -EINVAL, "the key is given twice");
    } else {
        in.seen[i - 1] = true;
        int err = conf_value_set(o, in.out, slice_str(value), false, &why);
        if (err != 0)
            fail_value(l, o, value, err == -ENOMEM ? err : -EINVAL, why);
    }
    return l->status == 0;
}

static void read_all(struct conf_loader *l)
{
    /* Debian's inih takes its limits from these variables. */
    ini_use_stack = false;
    ini_allow_realloc = false;
    ini_max_line = ini_initial_alloc = CONF_BUFFER_MAX;
    ini_allow_multiline = false; /* else an indented line would continue the value above it */
    int rc = ini_parse_stream(read_line, l, take_pair, l);

    if (rc > 0 && (l->status == 0 || (unsigned)rc < l->line)) {
        l->line = (unsigned)rc;
        fail_line(l, "this is neither [section], nor key = value, nor a comment after ; or #");
    } else if (rc < 0 && l->status == 0) {
        fail_line(l, "out of memory");
        l->status = -ENOMEM;
    }
}

int conf_load_text(const struct conf_opt *opts, size_t n, void *out, struct slice text,
                   const char *name, char err[CONF_ERR_MAX])
{
    struct conf_loader l = {
        .opts = opts, .n = n, .out = out, .rest = text, .file = name, .err = err};

    err[0] = '\0';
    l.seen = mem_calloc(n, sizeof(*l.seen));
    if (!l.seen) {
        fail_line(&l, "out of memory");
        return -ENOMEM;
    }
    read_all(&l);
    l.line = 0;
    leave_named(&l);
    if (l.status == 0)
        set_defaults(&l);
    mem_free(l.seen);
    if (l.status != 0)
        conf_free(opts, n, out);
    return l.status;
}

/* Reads the whole file; *text is heap memory. Gives 0 or -errno. */
static int read_file(const char *path, uint8_t **text, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
    uint8_t *p = fd == -1 ? NULL : mem_zalloc(CONF_FILE_MAX_BYTES + 1);
    size_t at = 0;
    ssize_t n = 1;

    if (!p)
        err = fd == -1 ? -errno : -ENOMEM;
    while (err == 0 && n > 0 && at <= CONF_FILE_MAX_BYTES) {
        n = read(fd, p + at, CONF_FILE_MAX_BYTES + 1 - at);
        if (n == -1 && errno != EINTR)
            err = -errno;
        else if (n == -1)
            n = 1;
        else
            at += (size_t)n;
    }
    if (err == 0 && at > CONF_FILE_MAX_BYTES)
        err = -EFBIG;
    if (fd != -1)
        close(fd);
    if (err != 0) {
        mem_free(p);
        return err;
    }
    *text = p;
    *len = at;
    return 0;
}

int conf_load(const struct conf_opt *opts, size_t n, void *out, const char *path,
              char err[CONF_ERR_MAX])
{
    struct conf_loader l = {.file = path, .err = err};
    uint8_t *text = NULL;
    size_t len = 0;

    if (!path)
        return conf_load_text(opts, n, out, (struct slice){0}, "defaults", err);
    int rc = read_file(path, &text, &len);
    if (rc != 0) {
        fail_line(&l, strerrordesc_np(-rc));
        return rc;
    }
    rc = conf_load_text(opts, n, out, slice_of(text, len), path, err);
    mem_free(text);
    return rc;
}

void conf_free(const struct conf_opt *opts, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++)
        conf_value_free(&opts[i], out);
}

/* --- Printing -----------------------------------------------------------------------------------
 */

/* Prints text as comment lines, broken at spaces. */
static void print_wrapped(struct slice text, FILE *f)
{
    size_t column = 0;

    while (text.len > 0) {
        const uint8_t *space = memchr(text.p, ' ', text.len);
        struct slice word = slice_sub(text, 0, space ? (size_t)(space - text.p) : text.len);

        if (column > 0 && column + 1 + word.len > CONF_WRAP) {
            fputc('\n', f);
            column = 0;
        }
        fprintf(f, column == 0 ? "; %.*s" : " %.*s", SLICE_FMT(word));
        column += word.len + (column == 0 ? 2 : 1);
        text = slice_sub(text, word.len + 1, text.len);
    }
    fputc('\n', f);
}

static void print_option(const struct conf_opt *o, FILE *f)
{
    const char *def = o->def ? o->def : "";
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    print_wrapped(slice_str(o->help), f);
    wr_str(&w, "Value: ");
    conf_value_allowed(o, &w);
    wr_fmt(&w, ". Default: %s.", def[0] ? def : "empty");
    print_wrapped(wr_done(&w), f);
    fprintf(f, def[0] ? ";%s = %s\n" : ";%s =%s\n", o->name, def);
}

/* A named section as an example, all of it commented out: an empty one would have a meaning. */
static void print_sections(const struct conf_opt *o, FILE *f)
{
    uint8_t buf[CONF_BUFFER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    print_wrapped(slice_str(o->help), f);
    wr_str(&w, "Value: ");
    conf_value_allowed(o, &w);
    wr_str(&w, ". Default: none.");
    print_wrapped(wr_done(&w), f);
    fprintf(f, ";[%s %s]\n", o->section, o->name);
    for (size_t i = 0; i < o->sections->n; i++) {
        fputc('\n', f);
        print_option(&o->sections->opts[i], f);
    }
}

void conf_print(const struct conf_opt *opts, size_t n, FILE *f)
{
    for (size_t i = 0; i < n; i++) {
        if (opts[i].type == CONF_SECTIONS) {
            fputs(i > 0 ? "\n" : "", f);
            print_sections(&opts[i], f);
            continue;
        }
        if (i == 0 || strcmp(opts[i].section, opts[i - 1].section) != 0)
            fprintf(f, "%s[%s]\n", i > 0 ? "\n" : "", opts[i].section);
        fputc('\n', f);
        print_option(&opts[i], f);
    }
}

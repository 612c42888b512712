/* Configuration: an INI file (read by inih) held against one table of options per daemon.
 *
 * The table is the only place that knows an option: its default, unit, range and text come out of
 * --help and of config/NAME.ini (which `make check` compares with the table). An unknown section or
 * key, a value out of range, a doubled scalar key: the start fails with file, line and what is
 * allowed. Options of one section stand together in the table. In the file, ; and # begin a comment
 * line, and ; after a space begins a comment behind a value. Main thread, at start.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_CONF_H
#define SORI_BASE_CONF_H

#include "base/addr.h"

#include <stdio.h>

enum conf_type {
    CONF_BOOL,    /* bool             yes|no (also true|false, on|off, 1|0) */
    CONF_UINT,    /* uint64_t         decimal, min..max, in `unit` */
    CONF_ENUM,    /* unsigned         index into `choices` ("a|b|c") */
    CONF_STRING,  /* char *           heap, never NULL after a load */
    CONF_ADDR,    /* struct addr      ip:port, or empty for none */
    CONF_LIST,    /* struct conf_list several lines or commas; each a string */
    CONF_CIDRS,   /* struct conf_cidrs several lines or commas */
    CONF_SECRET,  /* struct conf_secret: value is a path, or "credential:NAME" for a file NAME under
                     $CREDENTIALS_DIRECTORY; group and others must not have access (secretfile.h);
                     the content without trailing newlines is loaded; empty: no secret */
    CONF_SECRETS, /* struct conf_secrets: several lines or commas, each the same */
    CONF_SECTIONS, /* struct conf_named: every [section NAME], see struct conf_sections */
};

struct conf_list {
    char **v;
    size_t n;
};
struct conf_cidrs {
    struct cidr *v;
    size_t n;
};
struct conf_secret {
    uint8_t *p; /* wiped on conf_free */
    size_t len;
    char *path; /* the file, or credential:NAME; NULL without a secret */
};
struct conf_secrets {
    struct conf_secret *v;
    size_t n;
};
/* What the [section NAME]s have filled, in the order of the file: n elements side by side. */
struct conf_named {
    void *v;
    size_t n;
};

/* A section that stands any number of times, each time under a name of its own: [realm NAME]. */
struct conf_sections {
    const struct conf_opt *opts; /* their section is the kind ("realm"), offsets are into one */
    size_t n, size, max;         /* options; bytes of an element; most elements */
    size_t name;                 /* offset of its name: char *, heap */
};
#define CONF_SECTION_OPTS_MAX 32 /* options of one such section */
#define CONF_SECTION_NAME_MAX 128

struct conf_opt {
    const char *section, *name;
    enum conf_type type;
    size_t offset;     /* of the field in the daemon's struct */
    const char *def;   /* as it would stand in the file; NULL or "" = empty */
    uint64_t min, max; /* CONF_UINT: value, max 0 = no limit; STRING/LIST: max = bytes, 0 = 1024 */
    const char *unit;  /* "s", "ms", "bytes", ... or NULL */
    union {
        const char *choices;                  /* CONF_ENUM: "a|b|c" */
        const struct conf_sections *sections; /* CONF_SECTIONS; name is "NAME" */
    };
    const char *help; /* one or two sentences */
};

#define CONF_ERR_MAX 512

/* Sets defaults, then reads path (NULL: defaults only) into *out, a zeroed daemon struct.
 * Returns 0; or -EINVAL with err = "file:line: [section] key = value: what is allowed" (NUL ended);
 * or -errno of the file, with err set too. On failure *out is already freed. */
int conf_load(const struct conf_opt *opts, size_t n, void *out, const char *path,
              char err[CONF_ERR_MAX]);

/* The same from text in memory; name stands for the file in messages. */
int conf_load_text(const struct conf_opt *opts, size_t n, void *out, struct slice text,
                   const char *name, char err[CONF_ERR_MAX]);

/* Frees and wipes what a load put into *out. A zeroed struct is allowed. */
void conf_free(const struct conf_opt *opts, size_t n, void *out);

/* Prints the whole table as a commented INI file with defaults (--print-config, config/NAME.ini).
 */
void conf_print(const struct conf_opt *opts, size_t n, FILE *f);

#endif

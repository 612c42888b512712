/* Session descriptions (RFC 8866): lines, media sections, attributes.
 *
 * sdp_parse() checks the form of every line once and remembers where the sections are; attributes
 * are then walked where they lie, nothing is copied. What an attribute's value means is sdp_attr.h.
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SDP_H
#define SORI_PROTO_SDP_H

#include "base/bytes.h"

enum {
    SDP_BYTES_MAX = 512 * 1024,
    SDP_LINE_MAX = 8192, /* bytes of a line's value; real ones stay below 1000 */
    SDP_LINES_MAX = 16384,
    SDP_SECTIONS_MAX = 128,
    SDP_FORMATS_MAX = 128, /* of one m= line: there are 128 payload types */
};

enum sdp_err {
    SDP_OK,
    SDP_E_EMPTY,         /* no bytes */
    SDP_E_TOO_LARGE,     /* over SDP_BYTES_MAX */
    SDP_E_LINES,         /* over SDP_LINES_MAX */
    SDP_E_LINE_TOO_LONG, /* over SDP_LINE_MAX */
    SDP_E_LINE_FORM,     /* not letter=value */
    SDP_E_CHARACTER,     /* NUL or a bare CR in a line */
    SDP_E_VERSION,       /* the first line is not v=0 */
    SDP_E_ORIGIN,        /* o= is not the second line, or not of six fields */
    SDP_E_NAME,          /* s= is not the third line */
    SDP_E_TIME,          /* no t= before the first section */
    SDP_E_SECTIONS,      /* over SDP_SECTIONS_MAX */
    SDP_E_MEDIA,         /* an m= line is not "media port proto formats" */
    SDP_E_FORMATS,       /* over SDP_FORMATS_MAX, or an empty one */
    SDP_E_ATTRIBUTE,     /* an a= line without a name */
    SDP_ERRS,
};

struct sdp_error {
    enum sdp_err code;
    unsigned line; /* from 1; 0: the whole */
};

/* What is wrong and what to do, a sentence without its full stop. */
const char *sdp_error_text(enum sdp_err code);

/* One m= line and what belongs to it. */
struct sdp_section {
    unsigned line;             /* of the m= line */
    uint16_t port;             /* 0: rejected, or bundle-only */
    struct slice media, proto; /* "audio", "UDP/TLS/RTP/SAVPF" */
    struct slice formats;      /* separated by single spaces: sdp_word() */
    struct slice body;         /* its lines, without the m= line */
};

struct sdp {
    struct slice origin, name; /* values of o= and s= */
    struct slice body;         /* the session's lines behind s= */
    unsigned body_line;        /* number of the first of them */
    struct sdp_section section[SDP_SECTIONS_MAX];
    unsigned n_sections;
};

/* Parses text; lines end with CRLF or LF (RFC 8866 §5 asks parsers to take both), the last may end
 * with the text. *out borrows from text. Returns 0, or -EBADMSG: *e says what and where, *out is
 * undefined. Takes time linear in the text. */
int sdp_parse(struct sdp *out, struct slice text, struct sdp_error *e);

/* A walk over the lines of one body. */
struct sdp_walk {
    struct slice _rest;
    unsigned _line;
};

struct sdp_line {
    char type; /* 'a', 'b', 'c', … */
    unsigned line;
    struct slice value;     /* behind the '=' */
    struct slice name, arg; /* type 'a': "name" or "name:arg"; else empty */
};

/* Begins at the session's or a section's first line; the next line, false at the end. Only for
 * bodies that sdp_parse() gave. */
struct sdp_walk sdp_walk_session(const struct sdp *s);
struct sdp_walk sdp_walk_section(const struct sdp_section *m);
bool sdp_next(struct sdp_walk *w, struct sdp_line *out);

/* The arg of the first attribute of that name. False: it is not there. */
bool sdp_find(struct sdp_walk from, const char *name, struct sdp_line *out);

/* Takes the next word off *rest, which spaces separate. False: there is none. */
bool sdp_word(struct slice *rest, struct slice *word);

/* Writes "v=0", o= with the given numbers, s=-, t=0 0. */
void sdp_put_head(struct wr *w, uint64_t session_id, uint64_t version);
/* Writes an m= line (formats separated by spaces) and "c=IN IP4 0.0.0.0". */
void sdp_put_media(struct wr *w, struct slice media, uint16_t port, struct slice proto,
                   struct slice formats);
/* Writes "a=name" or "a=name:arg". */
void sdp_put_flag(struct wr *w, const char *name);
void sdp_put_attr(struct wr *w, const char *name, struct slice arg);

#endif

/* Session descriptions (RFC 8866): lines, media sections, attributes.
 *
 * The grammar is checked as far as it keeps a description readable: v=, o= and s= come first, t=
 * before the first m=, all else is letter=value. Orders that RFC 8866 asks for beyond that are not
 * enforced: no reader needs them, and stacks differ (b= behind a=, i= anywhere).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sdp.h"

#include <errno.h>

enum { ORIGIN_WORDS = 6 };

static const char *const texts[SDP_ERRS] = {
    [SDP_OK] = "no error",
    [SDP_E_EMPTY] = "the description is empty",
    [SDP_E_TOO_LARGE] = "the description is too large: offer fewer sections",
    [SDP_E_LINES] = "the description has too many lines: offer fewer sections",
    [SDP_E_LINE_TOO_LONG] = "the line is too long",
    [SDP_E_LINE_FORM] = "the line is not of the form letter=value",
    [SDP_E_CHARACTER] = "the line holds a NUL or a bare CR: end lines with CRLF or LF",
    [SDP_E_VERSION] = "the first line must be v=0: send the sdp string unchanged",
    [SDP_E_ORIGIN] = "the second line must be o= with six fields",
    [SDP_E_NAME] = "the third line must be s=",
    [SDP_E_TIME] = "a t= line must come before the first m= line",
    [SDP_E_SECTIONS] = "the description has too many m= lines",
    [SDP_E_MEDIA] = "an m= line must be: media port proto formats",
    [SDP_E_FORMATS] = "the m= line has too many formats, or none",
    [SDP_E_ATTRIBUTE] = "an a= line needs a name",
};

const char *sdp_error_text(enum sdp_err code)
{
    return code < SDP_ERRS ? texts[code] : texts[SDP_OK];
}

/* Takes one line with its end off *rest. */
static struct slice take_line(struct slice *rest)
{
    const uint8_t *nl = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;
    size_t len = nl ? (size_t)(nl - rest->p) : rest->len;
    struct slice line = slice_of(rest->p, len);

    *rest = slice_sub(*rest, nl ? len + 1 : len, SIZE_MAX);
    if (line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

static enum sdp_err check_form(struct slice line)
{
    if (line.len < 2 || line.p[0] < 'a' || line.p[0] > 'z' || line.p[1] != '=')
        return SDP_E_LINE_FORM;
    if (line.len - 2 > SDP_LINE_MAX)
        return SDP_E_LINE_TOO_LONG;
    if (memchr(line.p, '\0', line.len) || memchr(line.p, '\r', line.len))
        return SDP_E_CHARACTER;
    if (line.p[0] == 'a' && (line.len == 2 || line.p[2] == ':'))
        return SDP_E_ATTRIBUTE;
    return SDP_OK;
}

bool sdp_word(struct slice *rest, struct slice *word)
{
    size_t at = 0;

    while (at < rest->len && rest->p[at] == ' ')
        at++;
    *rest = slice_sub(*rest, at, SIZE_MAX);
    if (rest->len == 0)
        return false;
    const uint8_t *sp = memchr(rest->p, ' ', rest->len);
    size_t len = sp ? (size_t)(sp - rest->p) : rest->len;
    *word = slice_of(rest->p, len);
    *rest = slice_sub(*rest, len, SIZE_MAX);
    return true;
}

static unsigned count_words(struct slice text)
{
    struct slice word;
    unsigned n = 0;

    while (sdp_word(&text, &word))
        n++;
    return n;
}

/* "audio 9 UDP/TLS/RTP/SAVPF 111 63"; a port may be "9/2" (RFC 8866 §5.14). */
static enum sdp_err read_media(struct sdp_section *m, struct slice value)
{
    struct slice port;
    uint64_t number;

    if (!sdp_word(&value, &m->media) || !sdp_word(&value, &port) || !sdp_word(&value, &m->proto))
        return SDP_E_MEDIA;
    const uint8_t *slash = memchr(port.p, '/', port.len);
    if (slash)
        port.len = (size_t)(slash - port.p);
    if (slice_to_u64(port, UINT16_MAX, &number) != 0)
        return SDP_E_MEDIA;
    m->port = (uint16_t)number;
    m->formats = slice_sub(value, 1, SIZE_MAX);
    unsigned n = count_words(m->formats);
    return n == 0 || n > SDP_FORMATS_MAX ? SDP_E_FORMATS : SDP_OK;
}

/* What is being read. */
struct reader {
    struct sdp *out;
    unsigned line;
    bool time;
};

static enum sdp_err read_head(struct reader *r, char type, struct slice value)
{
    switch (r->line) {
    case 1:
        return type == 'v' && slice_is(value, "0") ? SDP_OK : SDP_E_VERSION;
    case 2:
        r->out->origin = value;
        return type == 'o' && count_words(value) == ORIGIN_WORDS ? SDP_OK : SDP_E_ORIGIN;
    default:
        r->out->name = value;
        return type == 's' ? SDP_OK : SDP_E_NAME;
    }
}

/* One line behind s=; next: where the line behind it begins. */
static enum sdp_err read_body(struct reader *r, char type, struct slice value, const uint8_t *next)
{
    struct sdp *s = r->out;

    if (type == 't')
        r->time = true;
    if (type != 'm')
        return SDP_OK;
    if (!r->time)
        return SDP_E_TIME;
    if (s->n_sections == SDP_SECTIONS_MAX)
        return SDP_E_SECTIONS;
    struct sdp_section *m = &s->section[s->n_sections];
    *m = (struct sdp_section){.line = r->line, .body = slice_of(next, 0)};
    enum sdp_err err = read_media(m, value);
    if (!err)
        s->n_sections++;
    return err;
}

/* The body that is open gets a line more. */
static void extend(struct sdp *s, const uint8_t *end)
{
    struct slice *body = s->n_sections ? &s->section[s->n_sections - 1].body : &s->body;

    body->len = (size_t)(end - body->p);
}

static int fail(struct sdp_error *e, enum sdp_err code, unsigned line)
{
    *e = (struct sdp_error){code, line};
    return -EBADMSG;
}

int sdp_parse(struct sdp *out, struct slice text, struct sdp_error *e)
{
    struct reader r = {.out = out};
    struct slice rest = text;

    if (text.len == 0)
        return fail(e, SDP_E_EMPTY, 0);
    if (text.len > SDP_BYTES_MAX)
        return fail(e, SDP_E_TOO_LARGE, 0);
    out->n_sections = 0;
    out->origin = out->name = out->body = (struct slice){0};
    out->body_line = 4;
    while (rest.len > 0) {
        struct slice line = take_line(&rest);
        if (++r.line > SDP_LINES_MAX)
            return fail(e, SDP_E_LINES, r.line);
        enum sdp_err err = check_form(line);
        if (err)
            return fail(e, err, r.line);
        struct slice value = slice_sub(line, 2, SIZE_MAX);
        const uint8_t *next = text.p + (text.len - rest.len);
        if (r.line < out->body_line) {
            err = read_head(&r, (char)line.p[0], value);
            out->body = slice_of(next, 0);
        } else {
            unsigned before = out->n_sections;
            err = read_body(&r, (char)line.p[0], value, next);
            if (!err && before == out->n_sections)
                extend(out, next);
        }
        if (err)
            return fail(e, err, r.line);
    }
    if (r.line < 3)
        return fail(e, r.line == 1 ? SDP_E_ORIGIN : SDP_E_NAME, r.line + 1);
    if (!r.time)
        return fail(e, SDP_E_TIME, 0);
    return 0;
}

struct sdp_walk sdp_walk_session(const struct sdp *s)
{
    return (struct sdp_walk){s->body, s->body_line};
}

struct sdp_walk sdp_walk_section(const struct sdp_section *m)
{
    return (struct sdp_walk){m->body, m->line + 1};
}

bool sdp_next(struct sdp_walk *w, struct sdp_line *out)
{
    if (w->_rest.len == 0)
        return false;
    struct slice line = take_line(&w->_rest);
    *out = (struct sdp_line){.type = (char)line.p[0], .line = w->_line++};
    out->value = slice_sub(line, 2, SIZE_MAX);
    if (out->type == 'a') {
        const uint8_t *colon = memchr(out->value.p, ':', out->value.len);
        size_t len = colon ? (size_t)(colon - out->value.p) : out->value.len;
        out->name = slice_of(out->value.p, len);
        out->arg = slice_sub(out->value, len + 1, SIZE_MAX);
    }
    return true;
}

bool sdp_find(struct sdp_walk from, const char *name, struct sdp_line *out)
{
    while (sdp_next(&from, out)) {
        if (out->type == 'a' && slice_is(out->name, name))
            return true;
    }
    return false;
}

static void put_end(struct wr *w)
{
    wr_bytes(w, SLICE_LIT("\r\n"));
}

void sdp_put_head(struct wr *w, uint64_t session_id, uint64_t version)
{
    wr_str(w, "v=0\r\no=- ");
    wr_u64(w, session_id);
    wr_u8(w, ' ');
    wr_u64(w, version);
    wr_str(w, " IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
}

void sdp_put_media(struct wr *w, struct slice media, uint16_t port, struct slice proto,
                   struct slice formats)
{
    wr_str(w, "m=");
    wr_bytes(w, media);
    wr_u8(w, ' ');
    wr_u64(w, port);
    wr_u8(w, ' ');
    wr_bytes(w, proto);
    wr_u8(w, ' ');
    wr_bytes(w, formats);
    wr_str(w, "\r\nc=IN IP4 0.0.0.0\r\n");
}

void sdp_put_flag(struct wr *w, const char *name)
{
    wr_str(w, "a=");
    wr_str(w, name);
    put_end(w);
}

void sdp_put_attr(struct wr *w, const char *name, struct slice arg)
{
    wr_str(w, "a=");
    wr_str(w, name);
    wr_u8(w, ':');
    wr_bytes(w, arg);
    put_end(w);
}

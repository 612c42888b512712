/* HTTP/1.1 request heads under hard limits, the WebSocket opening handshake, response heads.
 *
 * Called by ws_listener.c on the first bytes of a connection. The head is looked at line by line,
 * so that a breach is told at the first line that shows it; nothing is kept between calls (a head
 * that comes in many small parts is read again from its start: at most 8 kB). Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/http1.h"

#include "base/crypto.h"

#include <errno.h>

#define KEY_TEXT_BYTES 24 /* Sec-WebSocket-Key: 16 bytes in base64, RFC 6455 §4.1 */
#define KEY_BYTES      16
#define WS_GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 §1.3 */
#define HEAD_MORE      1 /* read_head(): no verdict yet; not an HTTP status */

/* ---- lines ---- */

enum line { LINE_OK, LINE_MORE, LINE_BAD };

/* Takes the next line off r, without its CRLF. RFC 9112 §2.2 allows to take a bare LF for a line
 * end; we don't, since proxies differ there. */
static enum line next_line(struct rd *r, struct slice *line)
{
    struct slice rest = rd_rest(r);
    if (rest.len == 0)
        return LINE_MORE;
    const uint8_t *lf = memchr(rest.p, '\n', rest.len);
    const uint8_t *cr = memchr(rest.p, '\r', rest.len);
    if (!lf) /* a CR that is not the last byte is a bare one already */
        return cr && cr != rest.p + rest.len - 1 ? LINE_BAD : LINE_MORE;
    if (!cr || cr + 1 != lf)
        return LINE_BAD;
    size_t len = (size_t)(cr - rest.p);
    *line = rd_take(r, len);
    rd_take(r, 2);
    return LINE_OK;
}

/* RFC 9110 §5.6.2 */
static bool is_tchar(uint8_t c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != 0 && strchr(others, c));
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_tchar(s.p[i]))
            return false;
    return s.len > 0;
}

/* Splits s at the first c: returns the part before, leaves the part after. found: there was one. */
static struct slice split(struct slice *s, uint8_t c, bool *found)
{
    const uint8_t *at = s->len ? memchr(s->p, c, s->len) : NULL;
    size_t n = at ? (size_t)(at - s->p) : s->len;
    struct slice before = slice_sub(*s, 0, n);
    *s = slice_sub(*s, n + 1, s->len);
    *found = at != NULL;
    return before;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    size_t from = 0, to = s.len;
    while (from < to && is_blank(s.p[from]))
        from++;
    while (to > from && is_blank(s.p[to - 1]))
        to--;
    return slice_sub(s, from, to - from);
}

/* ---- request line ---- */

/* Origin form only (RFC 9112 §3.2.1): no proxy speaks to us, and "*" belongs to OPTIONS. */
static bool set_target(struct http1_request *r, struct slice target)
{
    if (target.len == 0 || target.p[0] != '/')
        return false;
    for (size_t i = 0; i < target.len; i++)
        if (target.p[i] <= ' ' || target.p[i] >= 0x7F || target.p[i] == '#')
            return false;
    bool found;
    r->path = split(&target, '?', &found);
    r->query = target;
    return true;
}

/* Returns 0 or the status to answer with. */
static unsigned request_line(struct http1_request *r, struct slice line)
{
    bool one, two;
    struct slice method = split(&line, ' ', &one);
    struct slice target = split(&line, ' ', &two);
    if (!one || !two || !is_token(method))
        return 400;
    if (!slice_starts(line, SLICE_LIT("HTTP/")) || line.len != 8 || line.p[6] != '.')
        return 400;
    if (line.p[5] != '1')
        return 505;
    if (line.p[7] != '0' && line.p[7] != '1')
        return 400;
    r->keep_alive = line.p[7] == '1';
    r->head = slice_is(method, "HEAD");
    if (!r->head && !slice_is(method, "GET"))
        return 405;
    return set_target(r, target) ? 0 : 400;
}

/* ---- headers ---- */

/* RFC 9110 §5.5: visible characters, spaces, tabs, and bytes from 0x80 on. */
static bool is_field_value(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7F)
            return false;
    return true;
}

static unsigned header_line(struct http1_request *r, struct slice line)
{
    bool colon;
    struct slice name = split(&line, ':', &colon);
    /* A name that begins with white space is a folded line, one that ends so is a smuggling trick
     * (RFC 9112 §5.1, §5.2): neither is a token. */
    if (!colon || !is_token(name) || !is_field_value(line))
        return 400;
    if (r->n_headers == HTTP1_HEADERS_MAX)
        return 431;
    r->headers[r->n_headers++] = (struct http1_header){name, trim(line)};
    return 0;
}

struct slice http1_header(const struct http1_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (slice_eq_nocase(r->headers[i].name, slice_str(name)))
            return r->headers[i].value;
    return (struct slice){0};
}

static size_t header_count(const struct http1_request *r, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_headers; i++)
        n += slice_eq_nocase(r->headers[i].name, slice_str(name));
    return n;
}

bool http1_has_token(const struct http1_request *r, const char *name, const char *token)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (!slice_eq_nocase(r->headers[i].name, slice_str(name)))
            continue;
        struct slice list = r->headers[i].value;
        for (bool more = true; more;)
            if (slice_eq_nocase(trim(split(&list, ',', &more)), slice_str(token)))
                return true;
    }
    return false;
}

/* A host name, address or "[v6]", perhaps with a port (RFC 3986 §3.2.2, §3.2.3). */
static bool is_authority(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  (c != 0 && strchr("-._~%!$&'()*+,;=:[]", c));
        if (!ok)
            return false;
    }
    return s.len > 0;
}

/* What holds for the head as a whole. A body is refused even when it says it is empty: there is no
 * reason to send one with GET but to make two parsers disagree on where the request ends. */
static unsigned check_head(struct http1_request *r)
{
    if (header_count(r, "host") != 1 || header_count(r, "content-length") > 0)
        return 400;
    if (header_count(r, "transfer-encoding") > 0)
        return 501;
    r->host = http1_header(r, "host");
    if (!is_authority(r->host))
        return 400;
    if (http1_has_token(r, "connection", "close"))
        r->keep_alive = false;
    return 0;
}

/* Returns 0, the status to answer with, or HEAD_MORE. */
static unsigned read_head(struct http1_request *r, struct slice in)
{
    struct rd rd = rd_init(in);
    struct slice line;
    enum line got = next_line(&rd, &line);
    unsigned status = got == LINE_OK ? request_line(r, line) : 0;
    while (got == LINE_OK && status == 0) {
        got = next_line(&rd, &line);
        if (got != LINE_OK)
            break;
        if (line.len == 0) {
            r->len = in.len - rd.left;
            return check_head(r);
        }
        status = header_line(r, line);
    }
    if (status)
        return status;
    return got == LINE_BAD ? 400 : HEAD_MORE;
}

int http1_decode(struct http1_request *out, struct slice in, unsigned *status)
{
    struct http1_request r = {0};
    struct slice limited = slice_sub(in, 0, HTTP1_HEAD_MAX);
    unsigned rc = read_head(&r, limited);
    if (rc == HEAD_MORE && limited.len < HTTP1_HEAD_MAX)
        return -EAGAIN;
    if (rc == HEAD_MORE) /* RFC 9110 §15.5.15 when not even the target fits */
        rc = memchr(limited.p, '\n', limited.len) ? 431 : 414;
    if (rc) {
        *status = rc;
        return -EBADMSG;
    }
    *out = r;
    return 0;
}

/* ---- target ---- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http1_percent_decode(struct slice s, struct wr *w)
{
    for (size_t i = 0; i < s.len; i++) {
        int c = s.p[i];
        if (c == '%') {
            if (s.len - i < 3)
                return -EBADMSG;
            int hi = hex_value(s.p[i + 1]), lo = hex_value(s.p[i + 2]);
            if (hi < 0 || lo < 0)
                return -EBADMSG;
            c = hi << 4 | lo;
            i += 2;
        }
        if (c == 0)
            return -EBADMSG;
        wr_u8(w, (uint8_t)c);
    }
    return w->bad ? -ENOSPC : 0;
}

int http1_query_get(struct slice query, const char *name, struct wr *w)
{
    for (bool more = true; more;) {
        bool has_value;
        struct slice value = split(&query, '&', &more);
        struct slice key = split(&value, '=', &has_value);
        if (slice_is(key, name))
            return http1_percent_decode(value, w);
    }
    return -ENOENT;
}

/* ---- WebSocket opening handshake ---- */

/* A number of digits at the start of *s, which it leaves. */
static bool take_number(struct slice *s, uint64_t *n)
{
    size_t i = 0;

    for (*n = 0; i < s->len && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
        if (*n > (UINT64_MAX - 9) / 10) /* no file is so long */
            return false;
        *n = *n * 10 + (uint64_t)(s->p[i] - '0');
    }
    *s = slice_sub(*s, i, s->len);
    return i > 0;
}

int http1_range(struct slice value, uint64_t size, uint64_t *from, uint64_t *len)
{
    struct slice s = value;
    uint64_t first, last = UINT64_MAX;

    if (s.len < 6 || !slice_eq_nocase(slice_of(s.p, 6), SLICE_LIT("bytes=")))
        return 0;
    s = slice_sub(s, 6, s.len);
    if (slice_starts(s, SLICE_LIT("-"))) { /* so many at the end */
        s = slice_sub(s, 1, s.len);
        if (!take_number(&s, &last) || s.len > 0)
            return 0;
        if (last == 0 || size == 0)
            return -ERANGE;
        *from = last < size ? size - last : 0;
        *len = size - *from;
        return 1;
    }
    if (!take_number(&s, &first) || !slice_starts(s, SLICE_LIT("-")))
        return 0;
    s = slice_sub(s, 1, s.len);
    if (s.len > 0 && (!take_number(&s, &last) || s.len > 0 || last < first))
        return 0;
    if (first >= size)
        return -ERANGE;
    *from = first;
    *len = (last < size ? last + 1 : size) - first;
    return 1;
}

bool http1_wants_websocket(const struct http1_request *r)
{
    return http1_has_token(r, "upgrade", "websocket");
}

static bool key_valid(struct slice key)
{
    uint8_t nonce[KEY_BYTES];
    size_t len;
    return key.len == KEY_TEXT_BYTES && base64_decode(key, nonce, sizeof nonce, &len) == 0 &&
           len == KEY_BYTES;
}

static int accept_key(struct slice key, char accept[HTTP1_ACCEPT_BYTES])
{
    uint8_t sum[CRYPTO_SHA1_BYTES];
    const struct slice parts[] = {key, SLICE_LIT(WS_GUID)};
    if (crypto_digest(CRYPTO_SHA1, parts, ARRAY_LEN(parts), sum) != 0)
        return -EIO;
    struct wr w = wr_init(accept, HTTP1_ACCEPT_BYTES);
    base64_encode(&w, slice_of(sum, sizeof sum));
    return w.bad ? -EIO : 0;
}

int http1_websocket_check(const struct http1_request *r, const char *protocol,
                          char accept[HTTP1_ACCEPT_BYTES], unsigned *status)
{
    struct slice key = http1_header(r, "sec-websocket-key");
    *status = 400;
    if (r->head || !http1_wants_websocket(r) || !http1_has_token(r, "connection", "upgrade") ||
        header_count(r, "sec-websocket-key") != 1 || !key_valid(key))
        return -EBADMSG;
    if (header_count(r, "sec-websocket-version") != 1 ||
        !slice_is(http1_header(r, "sec-websocket-version"), "13")) {
        *status = 426; /* RFC 6455 §4.4 */
        return -EBADMSG;
    }
    if (!http1_has_token(r, "sec-websocket-protocol", protocol))
        return -EBADMSG;
    return accept_key(key, accept);
}

/* ---- responses ---- */

void http1_write_switch(struct wr *w, const char accept[HTTP1_ACCEPT_BYTES], const char *protocol)
{
    wr_str(w, "HTTP/1.1 101 Switching Protocols\r\n"
              "Upgrade: websocket\r\n"
              "Connection: Upgrade\r\n"
              "Sec-WebSocket-Accept: ");
    wr_bytes(w, slice_of(accept, HTTP1_ACCEPT_BYTES));
    wr_str(w, "\r\nSec-WebSocket-Protocol: ");
    wr_str(w, protocol);
    wr_str(w, "\r\n\r\n");
}

const char *http1_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } known[] = {
        {200, "OK"},
        {204, "No Content"},
        {206, "Partial Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {410, "Gone"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Error";
}

void http1_write_response(struct wr *w, const struct http1_response *r)
{
    wr_fmt(w, "HTTP/1.1 %u %s\r\n", r->status, http1_reason(r->status));
    if (r->type)
        wr_fmt(w, "Content-Type: %s\r\n", r->type);
    wr_fmt(w, "Content-Length: %llu\r\n", (unsigned long long)r->body_bytes);
    if (r->status == 405)
        wr_str(w, "Allow: GET, HEAD\r\n");
    if (r->status == 426)
        wr_fmt(w, "Upgrade: websocket\r\nConnection: Upgrade%s\r\nSec-WebSocket-Version: 13\r\n",
               r->keep_alive ? "" : ", close");
    else
        wr_fmt(w, "Connection: %s\r\n", r->keep_alive ? "keep-alive" : "close");
    wr_str(w, "X-Content-Type-Options: nosniff\r\n"
              "X-Frame-Options: DENY\r\n"
              "Referrer-Policy: no-referrer\r\n"
              "Cache-Control: no-store\r\n");
    if (r->extra)
        wr_str(w, r->extra);
    wr_str(w, "\r\n");
}

/* ---- Origin ---- */

/* A serialised origin (RFC 6454 §6.2) taken apart. */
struct origin {
    struct slice scheme, host;
    uint64_t port;
};

static uint64_t default_port(struct slice scheme)
{
    if (slice_eq_nocase(scheme, SLICE_LIT("https")) || slice_eq_nocase(scheme, SLICE_LIT("wss")))
        return 443;
    if (slice_eq_nocase(scheme, SLICE_LIT("http")) || slice_eq_nocase(scheme, SLICE_LIT("ws")))
        return 80;
    return 0;
}

static bool origin_split(struct slice s, struct origin *o)
{
    bool found;
    o->scheme = split(&s, ':', &found);
    if (!found || !is_token(o->scheme) || !slice_starts(s, SLICE_LIT("//")))
        return false;
    s = slice_sub(s, 2, s.len);
    size_t host = 0;
    if (s.len > 0 && s.p[0] == '[') {
        const uint8_t *end = memchr(s.p, ']', s.len);
        if (!end)
            return false;
        host = (size_t)(end - s.p) + 1;
    } else {
        while (host < s.len && s.p[host] != ':')
            host++;
    }
    o->host = slice_sub(s, 0, host);
    o->port = default_port(o->scheme);
    s = slice_sub(s, host, s.len);
    if (s.len > 0 && (s.p[0] != ':' || slice_to_u64(slice_sub(s, 1, s.len), 65535, &o->port) != 0))
        return false;
    return is_authority(o->host);
}

static bool origin_eq(const struct origin *a, const struct origin *b)
{
    return a->port == b->port && slice_eq_nocase(a->scheme, b->scheme) &&
           slice_eq_nocase(a->host, b->host);
}

bool http1_origin_allowed(struct slice origin, bool missing_ok, char *const *allowed, size_t n)
{
    struct origin theirs, ours;
    for (size_t i = 0; i < n; i++)
        if (slice_is(slice_str(allowed[i]), "*"))
            return true;
    if (!origin.p)
        return missing_ok;
    if (!origin_split(origin, &theirs))
        return false;
    for (size_t i = 0; i < n; i++)
        if (origin_split(slice_str(allowed[i]), &ours) && origin_eq(&theirs, &ours))
            return true;
    return false;
}

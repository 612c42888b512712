/* HTTP/1.1, the little of it that a WebSocket server needs: one GET or HEAD request head under hard
 * limits, the WebSocket opening handshake (RFC 6455 §4.2), response heads, the Origin check.
 *
 * Grammar is RFC 9112's, strictly: CRLF line ends only, no folding, no space before a colon,
 * exactly one Host, no body. What a proxy could read in two ways is refused. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_HTTP1_H
#define SORI_PROTO_HTTP1_H

#include "base/bytes.h"

#define HTTP1_HEAD_MAX     8192 /* bytes, request line and headers and the empty line */
#define HTTP1_HEADERS_MAX  64
#define HTTP1_ACCEPT_BYTES 28 /* Sec-WebSocket-Accept */

struct http1_header {
    struct slice name, value; /* value without surrounding white space */
};

/* All slices borrow from the bytes that were decoded. */
struct http1_request {
    bool head;          /* HEAD instead of GET: answer without a body */
    bool keep_alive;    /* HTTP/1.1 without "Connection: close" */
    struct slice path;  /* begins with '/'; still percent-encoded */
    struct slice query; /* after the '?', without it */
    struct slice host;
    size_t len; /* bytes of the head: what follows in the input is not HTTP any more */
    size_t n_headers;
    struct http1_header headers[HTTP1_HEADERS_MAX];
};

/* Decodes one request head at the start of in.
 *
 * Returns 0; -EAGAIN when the head is not complete yet (call again with more bytes; a breach or a
 * head over the limit is told as soon as it shows in a whole line or in HTTP1_HEAD_MAX bytes); or
 * -EBADMSG: send a response with *status (400, 405, 414, 431, 501, 505) and close. *out is written
 * on success only. */
int http1_decode(struct http1_request *out, struct slice in, unsigned *status);

/* The value of the first header of that name (any case); {NULL,0} when there is none. */
struct slice http1_header(const struct http1_request *r, const char *name);

/* True when token is an element of the comma-separated list that all headers `name` make together;
 * without case. */
bool http1_has_token(const struct http1_request *r, const char *name, const char *token);

/* Writes s with its %XX escapes decoded. Returns 0, -EBADMSG for a bad escape or a NUL, -ENOSPC. */
int http1_percent_decode(struct slice s, struct wr *w);

/* Decodes the value of the query parameter `name` into w; an absent one gives -ENOENT. */
int http1_query_get(struct slice query, const char *name, struct wr *w);

/* What a Range header (its value; p NULL when there is none) asks of a body of size bytes (RFC 9110
 * §14.2): one range of bytes. Returns 0: the whole (no header, another unit, several ranges, or
 * nonsense: it may be ignored); 1: *from and *len are set, send 206 and Content-Range; -ERANGE:
 * nothing of it is there, send 416. */
int http1_range(struct slice value, uint64_t size, uint64_t *from, uint64_t *len);

/* True when the request asks for the WebSocket protocol at all ("Upgrade: websocket"). */
bool http1_wants_websocket(const struct http1_request *r);

/* Checks the opening handshake whole; protocol ("sori.v1") must be among those the client offers.
 * Returns 0 with the Sec-WebSocket-Accept text; -EBADMSG: send *status (400, or 426 for another
 * version, which http1_write_response() completes with Sec-WebSocket-Version) and close; -EIO when
 * there is no SHA-1. */
int http1_websocket_check(const struct http1_request *r, const char *protocol,
                          char accept[HTTP1_ACCEPT_BYTES], unsigned *status);

/* Writes the 101 response. */
void http1_write_switch(struct wr *w, const char accept[HTTP1_ACCEPT_BYTES], const char *protocol);

struct http1_response {
    unsigned status;
    const char *type; /* Content-Type, or NULL */
    uint64_t
        body_bytes; /* Content-Length; the body itself is the caller's to send after the head */
    bool keep_alive;
    const char *extra; /* more header lines, each with its CRLF (a literal of ours), or NULL */
};

/* Writes a response head: status line, Content-Length, Connection, security headers (nosniff,
 * no-referrer, no-store, no framing), for 405 Allow, for 426 Upgrade and Sec-WebSocket-Version. */
void http1_write_response(struct wr *w, const struct http1_response *r);

/* The reason phrase of a status that Sori sends, "Error" for others. */
const char *http1_reason(unsigned status);

/* Whether a browser page of this Origin may open a connection. origin: the header's value, p NULL
 * when there was none (native apps: missing_ok decides). allowed: n texts "scheme://host[:port]"
 * that must match exactly (host without case, default ports alike), or "*" for all. "null" and
 * anything malformed are refused unless "*" is there. */
bool http1_origin_allowed(struct slice origin, bool missing_ok, char *const *allowed, size_t n);

#endif

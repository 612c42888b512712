/* HTTP/2 requests and what becomes of them, as the pool's users see them.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_MESSAGE_H
#define SORI_SERVER_H2_MESSAGE_H

#include "base/bytes.h"

#define H2_REQUEST_HEADERS_MAX 16    /* besides the four that begin with ':' and authorization */
#define H2_REQUEST_BODY_MAX    65536 /* bytes */
#define H2_RESPONSE_BODY_MAX   4096  /* bytes kept of an answer's body */
#define H2_RESPONSE_HEAD_MAX   4096  /* bytes kept of an answer's header names and values */
#define H2_RESPONSE_FIELDS_MAX 32    /* header fields kept of an answer */

/* Whether the peer is asked to keep a field in its header table (RFC 7541 §6.2). */
enum h2_indexing {
    H2_INDEX,       /* kept: values that come again */
    H2_INDEX_FIRST, /* kept the first time on a connection, so that its name is there; then not */
    H2_INDEX_NEVER, /* never: secrets, and values that do not come again */
};

struct h2_header {
    struct slice name, value; /* name in lower case */
    enum h2_indexing indexing;
};

struct h2_request {
    struct slice method;        /* empty: POST */
    struct slice path;          /* begins with '/'; never indexed */
    struct slice authorization; /* empty: no such field; never indexed, never logged */
    const struct h2_header *headers;
    size_t n_headers;
    struct slice body;
    uint64_t deadline_us;  /* when the answer is of no use any more */
    bool resend_uncertain; /* may be done twice: sent once more, on another connection, when the
                              first one ends without telling */
};

enum h2_outcome {
    H2_ANSWERED,  /* status, fields and body are set */
    H2_UNCERTAIN, /* it went out and no answer will come: perhaps done, perhaps not */
    H2_LATE,      /* the deadline passed without an answer; maybe_done tells whether it was out */
    H2_REFUSED,   /* never done: the peer refused it each time, until the deadline */
    H2_NO_CONNECTION, /* never sent: no connection up to the deadline, or the pool was freed */
};

/* Lent to the callback. */
struct h2_response {
    enum h2_outcome outcome;
    unsigned status; /* 100 .. 999 when ANSWERED, else 0 */
    bool maybe_done; /* the peer may have acted on it, perhaps twice when resends > 0 */
    bool cut;        /* the answer was longer than the limits above: the rest is not here */
    struct slice body;
    const struct h2_header *fields; /* regular fields, names in lower case */
    size_t n_fields;
    unsigned conn;        /* the connection of the (last) attempt; 0: none */
    unsigned resends;     /* attempts after an uncertain one */
    const char *why;      /* not ANSWERED: what happened, for the log; never NULL, no secrets */
    uint64_t queued_us;   /* when h2_pool_send() took it */
    uint64_t sent_us;     /* when it was first given to a connection; 0: never */
    uint64_t answered_us; /* now */
};

/* The value of the first field of that (lower-case) name; {NULL,0} when there is none. */
static inline struct slice h2_field(const struct h2_response *r, const char *name)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (slice_is(r->fields[i].name, name))
            return r->fields[i].value;
    return (struct slice){0};
}

/* Hears what became of a request, once. May send further requests; must not free the pool. */
typedef void h2_done_fn(void *ctx, const struct h2_response *r);

#endif

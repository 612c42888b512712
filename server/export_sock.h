/* Fetching an export over HTTP(S): GET and HEAD of /export/<link> (export_link.h).
 *
 * One file a link, read in pieces as the client takes them; nothing is listed, no name comes from
 * the request. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_EXPORT_SOCK_H
#define SORI_SERVER_EXPORT_SOCK_H

#include "base/metrics.h"
#include "net/stream.h"
#include "server/http_page.h"
#include "server/ledger_link.h"

enum {
    EXPORT_SOCK_MAX = 32,       /* downloads at once; more are told to come back (503) */
    EXPORT_SOCK_PER_HOUR = 30,  /* requests for one export; more are refused (429) */
    EXPORT_SOCK_HEAD_MAX = 512, /* bytes of scratch that export_sock_get() needs */
};

struct export_sock;

struct export_sock_counters {
    struct counter served, refused, bytes;
    struct counter open; /* gauge */
};

/* secret: [ledger] token_key; k outlives it. NULL when memory is out. */
struct export_sock *export_sock_new(struct worker *w, struct ledger_link *k, struct slice secret);
/* After the streams have ended. NULL is allowed. */
void export_sock_free(struct export_sock *e);

/* Answers a request whose path begins with EXPORT_LINK_PATH.
 *
 * Returns true: *page is the answer, for the caller to send; scratch is lent to it. False: the
 * stream is not the caller's any more: the file goes out, then it is closed. */
bool export_sock_get(struct export_sock *e, struct stream *s, const struct http1_request *q,
                     uint64_t wall_us, struct http_page *page, char scratch[EXPORT_SOCK_HEAD_MAX]);

/* What the operator sees; lives as long as e. */
const struct export_sock_counters *export_sock_count(const struct export_sock *e);

#endif

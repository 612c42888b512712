/* What the server answers over plain HTTP beside the WebSocket (docs/SIGNALING.md §8).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_HTTP_PAGE_H
#define SORI_SERVER_HTTP_PAGE_H

#include "proto/http1.h"
#include "server/server_conf.h"

#define HTTP_PAGE_SCRATCH 4096

struct http_page {
    struct http1_response head;
    struct slice body; /* may lie in scratch */
};

/* Answers a request for anything but /ws.
 *
 * tls: the connection is https. not_ready: NULL, or why the server is not ready (/readyz).
 * scratch: for bodies that are made on the spot. Pure; wall_us is for development tokens. */
struct http_page http_page_get(const struct http1_request *q, const struct server_conf *conf,
                               bool tls, const char *not_ready, uint64_t wall_us,
                               uint8_t scratch[HTTP_PAGE_SCRATCH]);

/* Whether a page that was loaded from this request's Host may talk to us: scheme://Host is one of
 * [server] origins. (A host name that somebody else points at us is not.) */
bool http_page_host_allowed(const struct http1_request *q, const struct server_conf *conf,
                            bool tls);

#endif

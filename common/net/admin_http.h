/* The operator's HTTP listener: GET /metrics (Prometheus text), /livez, /readyz, and pages of the
 * daemon's. Loopback only.
 *
 * It has a thread of its own (libmicrohttpd's), so that a stuck worker can still be seen from
 * outside. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_ADMIN_HTTP_H
#define SORI_NET_ADMIN_HTTP_H

#include "base/addr.h"
#include "base/metrics.h"

#define ADMIN_HTTP_ERR_MAX 256

struct admin_http;

/* Listens and serves until admin_http_stop(). /livez is 200 "ok" as long as the process answers;
 * /readyz is 200 "ready" or 503 "not ready" by ready(arg), which is called on the listener's
 * thread. Other paths get 404, other methods than GET and HEAD 405, bodies are not read.
 *
 * Refuses any address that is not a loopback one: the metrics have no authentication. To publish
 * them, put a proxy with access control in front. m and arg must outlive it.
 * Returns NULL with the reason in err. */
struct admin_http *admin_http_start(const struct addr *listen, struct metrics *m,
                                    bool (*ready)(void *arg), void *arg,
                                    char err[ADMIN_HTTP_ERR_MAX]);

/* From now on a ready daemon says with /readyz what does not work, too: "ready, degraded: …",
 * status 200, since what does work is worth the traffic. degraded(arg), with the arg of the start
 * and on the listener's thread, gives a text that stays, or NULL. */
void admin_http_degraded(struct admin_http *a, const char *(*degraded)(void *arg));

/* Something else that is served with GET and HEAD. */
struct admin_page {
    const char *path, *type;
    struct slice body; /* stays; empty: make() it */
    /* Heap memory (mem_free()) of *len bytes, on the listener's thread; NULL: 503, not now. */
    char *(*make)(void *arg, size_t *len);
};
/* Serves n pages, too, which stay. arg of make() is that of the start. Once. */
void admin_http_pages(struct admin_http *a, const struct admin_page *pages, size_t n);

/* The port that it listens on (the kernel's choice for port 0). */
uint16_t admin_http_port(const struct admin_http *a);

/* Finishes open requests and ends the thread; NULL is allowed. */
void admin_http_stop(struct admin_http *a);

#endif

/* The operator's HTTP listener on libmicrohttpd: metrics, liveness, readiness.
 *
 * Called by the daemons' main.c. Everything below serve() runs on libmicrohttpd's thread and
 * touches nothing but the metrics registry (thread safe) and the daemon's ready().
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/admin_http.h"

#include "base/mem.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>

#define ADMIN_CONNECTIONS 16
#define ADMIN_TIMEOUT_S   10
#define READY_MAX         512
#define ADMIN_MEMORY      16384 /* per connection: bounds the request head */

struct admin_http {
    struct MHD_Daemon *daemon;
    struct metrics *metrics;
    bool (*ready)(void *arg);
    const char *(*degraded)(void *arg); /* atomic */
    const struct admin_page *pages;     /* atomic */
    size_t n_pages;
    void *arg;
    uint16_t port;
};

static const char TEXT[] = "text/plain; charset=utf-8";
/* A page may fetch from here and nowhere else, and nobody may put it into a frame. */
static const char PAGE_POLICY[] =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
static const char PROMETHEUS[] = "text/plain; version=0.0.4; charset=utf-8";

/* Queues r (taken over, may be NULL) as the answer. */
static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type,
                              struct MHD_Response *r)
{
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

/* text must be a literal: libmicrohttpd keeps the pointer (and takes it without const). */
static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *text)
{
    return answer(c, status, TEXT,
                  MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                  MHD_RESPMEM_PERSISTENT));
}

/* text is taken over. */
static enum MHD_Result say_made(struct MHD_Connection *c, const char *type, char *text, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer_with_free_callback(len, text, mem_free);
    if (!r)
        mem_free(text);
    return answer(c, MHD_HTTP_OK, type, r);
}

static enum MHD_Result say_metrics(struct MHD_Connection *c, struct metrics *m)
{
    size_t len;
    char *text = metrics_render(m, &len);
    if (!text)
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    return say_made(c, PROMETHEUS, text, len);
}

static enum MHD_Result say_page(struct MHD_Connection *c, struct admin_http *a,
                                const struct admin_page *p)
{
    size_t len;
    if (p->body.len > 0) {
        struct MHD_Response *r = MHD_create_response_from_buffer(
            p->body.len, (void *)(uintptr_t)p->body.p, MHD_RESPMEM_PERSISTENT);
        if (r)
            MHD_add_response_header(r, "Content-Security-Policy", PAGE_POLICY);
        return answer(c, MHD_HTTP_OK, p->type, r);
    }
    char *text = p->make(a->arg, &len);
    if (!text)
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "not now: ask again in a second\n");
    return say_made(c, p->type, text, len);
}

static enum MHD_Result say_ready(struct MHD_Connection *c, struct admin_http *a)
{
    const char *(*degraded)(void *arg) = __atomic_load_n(&a->degraded, __ATOMIC_ACQUIRE);
    char text[READY_MAX];

    if (!a->ready(a->arg))
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "not ready\n");
    const char *what = degraded ? degraded(a->arg) : NULL;
    if (!what)
        return say(c, MHD_HTTP_OK, "ready\n");
    snprintf(text, sizeof(text), "ready, degraded: %s\n", what);
    return answer(c, MHD_HTTP_OK, TEXT,
                  MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY));
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* MHD_AccessHandlerCallback */
static enum MHD_Result serve(void *arg, struct MHD_Connection *c, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_size, void **state)
{
    struct admin_http *a = arg;
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    if (!same(method, MHD_HTTP_METHOD_GET) && !same(method, MHD_HTTP_METHOD_HEAD))
        return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed\n");
    if (same(url, "/metrics"))
        return say_metrics(c, a->metrics);
    if (same(url, "/livez"))
        return say(c, MHD_HTTP_OK, "ok\n");
    if (same(url, "/readyz"))
        return say_ready(c, a);
    const struct admin_page *pages = __atomic_load_n(&a->pages, __ATOMIC_ACQUIRE);
    for (size_t i = 0; pages && i < a->n_pages; i++)
        if (same(url, pages[i].path))
            return say_page(c, a, &pages[i]);
    return say(c, MHD_HTTP_NOT_FOUND, "not found\n");
}

static struct MHD_Daemon *daemon_start(struct admin_http *a, const struct addr *listen)
{
    struct sockaddr_storage ss;
    addr_to_sockaddr(listen, &ss);
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL;
    if (listen->family == ADDR_V6)
        flags |= MHD_USE_IPv6;
    return MHD_start_daemon(flags, listen->port, NULL, NULL, serve, a, MHD_OPTION_SOCK_ADDR, &ss,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)ADMIN_TIMEOUT_S,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)ADMIN_MEMORY,
                            MHD_OPTION_END);
}

struct admin_http *admin_http_start(const struct addr *listen, struct metrics *m,
                                    bool (*ready)(void *arg), void *arg,
                                    char err[ADMIN_HTTP_ERR_MAX])
{
    char text[ADDR_TEXT_MAX];
    addr_format(listen, text);
    if (!addr_is_loopback(listen)) {
        snprintf(err, ADMIN_HTTP_ERR_MAX, "%s is not a loopback address", text);
        return NULL;
    }
    struct admin_http *a = mem_zalloc(sizeof *a);
    if (!a) {
        snprintf(err, ADMIN_HTTP_ERR_MAX, "out of memory");
        return NULL;
    }
    a->metrics = m;
    a->ready = ready;
    a->arg = arg;
    errno = 0;
    a->daemon = daemon_start(a, listen);
    if (!a->daemon) {
        snprintf(err, ADMIN_HTTP_ERR_MAX, "cannot listen on %s: %s", text,
                 errno ? strerror(errno) : "libmicrohttpd refused");
        mem_free(a);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_BIND_PORT);
    a->port = info ? info->port : listen->port;
    return a;
}

void admin_http_degraded(struct admin_http *a, const char *(*degraded)(void *arg))
{
    __atomic_store_n(&a->degraded, degraded, __ATOMIC_RELEASE);
}

void admin_http_pages(struct admin_http *a, const struct admin_page *pages, size_t n)
{
    a->n_pages = n;
    __atomic_store_n(&a->pages, pages, __ATOMIC_RELEASE);
}

uint16_t admin_http_port(const struct admin_http *a)
{
    return a->port;
}

void admin_http_stop(struct admin_http *a)
{
    if (!a)
        return;
    MHD_stop_daemon(a->daemon);
    mem_free(a);
}

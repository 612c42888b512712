/* A pool, its connections, their names and their time, on one worker.
 *
 * Made by main.c for each kind of push. All work is done at the end of a turn: h2_pool_pump()
 * places requests, then each link sends; what that ends is pumped again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/h2_client_link.h"

#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/resolve.h"
#include "net/worker.h"
#include "server/h2_link.h"
#include "server/h2_proxy.h"

#define ROUNDS_MAX   8 /* of pump and flush in a turn */
#define PORT_DEFAULT 443
#define OPEN_US      (10 * US_PER_S)
#define PING_US      (1 * US_PER_S)
#define PING_IDLE_US (60 * US_PER_S)
#define DEAD_US      (1 * US_PER_S)
#define TEXT_MAX     280 /* "host:port" */

struct wire {
    struct list link; /* client.wires */
    struct h2_link *shell;
};

struct h2_client {
    struct h2_link_env env;
    struct h2_pool *pool;
    struct list wires;
    struct wtimer timer;
    struct wflush flush;
    bool again; /* woken while it flushes */
    char *name, *host, *authority, *dial_host, *proxy_auth;
};

static struct h2_client *client_of(struct h2_link_env *env)
{
    return CONTAINER_OF(env, struct h2_client, env);
}

static void wake_client(struct h2_client *c)
{
    c->again = true;
    worker_want_flush(c->env.worker, &c->flush);
}

static void env_wake(struct h2_link_env *env)
{
    wake_client(client_of(env));
}

/* ---- h2_conn_ops ---- */

static void *op_open(void *env, struct h2_conn *conn)
{
    struct h2_client *c = env;
    struct wire *w = mem_zalloc(sizeof(*w));

    if (!w)
        return NULL;
    w->shell = h2_link_new(&c->env, conn);
    if (!w->shell) {
        mem_free(w);
        return NULL;
    }
    list_append(&c->wires, &w->link);
    return w;
}

static int op_submit(void *wire, const struct h2_request *q, struct h2_job *job, void **stream,
                     uint64_t now_us)
{
    struct wire *w = wire;

    return h2_link_submit(w->shell, q, job, stream, now_us);
}

static void op_forget(void *wire, void *stream)
{
    struct wire *w = wire;

    h2_link_forget(w->shell, stream);
}

static void free_wire(struct wire *w)
{
    list_del(&w->link);
    h2_link_free(w->shell);
    mem_free(w);
}

static void op_close(void *wire)
{
    free_wire(wire);
}

static void op_wake(void *env)
{
    wake_client(env);
}

static const struct h2_conn_ops OPS = {op_open, op_submit, op_forget, op_close, op_wake};

/* ---- turns ---- */

static void arm(struct h2_client *c)
{
    uint64_t at = h2_pool_deadline(c->pool);

    LIST_EACH(it, tmp, &c->wires)
    {
        uint64_t of = h2_link_deadline(CONTAINER_OF(it, struct wire, link)->shell);
        if (of < at)
            at = of;
    }
    worker_timer(c->env.worker, &c->timer, at);
}

/* Those that are over are freed; the pool knows. */
static void flush_wires(struct h2_client *c)
{
    LIST_EACH(it, tmp, &c->wires)
    {
        struct wire *w = CONTAINER_OF(it, struct wire, link);
        if (!h2_link_flush(w->shell))
            free_wire(w);
    }
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct h2_client *c = arg;
    unsigned rounds = 0;

    do {
        c->again = false;
        h2_pool_pump(c->pool, now_us);
        flush_wires(c);
    } while (c->again && ++rounds < ROUNDS_MAX);
    arm(c);
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct h2_client *c = arg;

    LIST_EACH(it, tmp, &c->wires)
    {
        struct wire *w = CONTAINER_OF(it, struct wire, link);
        if (!h2_link_tick(w->shell, now_us))
            free_wire(w);
    }
    wake_client(c);
}

/* ---- making ---- */

/* "name", "name:port", "[v6]:port" to a copy of the name and its port. */
static int split(const char *text, uint16_t port, char **name, uint16_t *out_port)
{
    struct slice s = slice_str(text);
    size_t colon = s.len;
    uint64_t n = port;

    for (size_t i = s.len; i > 0 && colon == s.len; i--)
        if (s.p[i - 1] == ':')
            colon = i - 1;
    if (colon < s.len && memchr(s.p, ':', colon) && s.p[0] != '[')
        colon = s.len; /* an IPv6 address without port */
    if (colon < s.len && s.p[colon - 1 < s.len ? colon - 1 : 0] != ']' && s.p[0] == '[')
        colon = s.len; /* "[::1]" */
    if (colon < s.len &&
        (slice_to_u64(slice_sub(s, colon + 1, s.len), UINT16_MAX, &n) != 0 || n == 0))
        return -EINVAL;
    struct slice host = slice_sub(s, 0, colon);
    if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
        host = slice_sub(host, 1, host.len - 2);
    if (host.len == 0 || host.len > RESOLVE_HOST_MAX)
        return -EINVAL;
    *name = mem_strndup(host);
    *out_port = (uint16_t)n;
    return *name ? 0 : -ENOMEM;
}

static int set_peer(struct h2_client *c, const struct h2_client_conf *conf, char err[TLS_ERR_MAX])
{
    char text[TEXT_MAX];
    const char *dial = conf->proxy ? conf->proxy : conf->connect_to ? conf->connect_to : conf->host;
    uint16_t port = conf->port ? conf->port : PORT_DEFAULT;
    size_t host_len = strlen(conf->host);

    if (host_len == 0 || host_len > RESOLVE_HOST_MAX) {
        snprintf(err, TLS_ERR_MAX, "name the host to connect to (at most %d characters): \"%.40s\"",
                 RESOLVE_HOST_MAX, conf->host);
        return -EINVAL;
    }
    if (conf->proxy_auth && strlen(conf->proxy_auth) > H2_PROXY_AUTH_MAX) {
        snprintf(err, TLS_ERR_MAX, "the proxy's user and password: at most %d characters",
                 H2_PROXY_AUTH_MAX);
        return -EINVAL;
    }
    if (port == PORT_DEFAULT)
        snprintf(text, sizeof(text), "%s", conf->host);
    else
        snprintf(text, sizeof(text), "%s:%u", conf->host, (unsigned)port);
    c->host = mem_strndup(slice_str(conf->host));
    c->authority = mem_strndup(slice_str(text));
    c->proxy_auth = conf->proxy_auth ? mem_strndup(slice_str(conf->proxy_auth)) : NULL;
    int rc = split(dial, conf->proxy ? 3128 : port, &c->dial_host, &c->env.dial_port);
    if (rc == -EINVAL)
        snprintf(err, TLS_ERR_MAX, "\"%s\": write name, name:port or [address]:port", dial);
    if (rc != 0 || !c->host || !c->authority || (conf->proxy_auth && !c->proxy_auth))
        return rc != 0 ? rc : -ENOMEM;
    c->env.host = c->host;
    c->env.authority = c->authority;
    c->env.dial_host = c->dial_host;
    c->env.proxy_auth = c->proxy_auth;
    c->env.port = port;
    c->env.by_proxy = conf->proxy != NULL;
    return 0;
}

static uint64_t or_else(uint64_t us, uint64_t def)
{
    return us > 0 ? us : def;
}

static void free_parts(struct h2_client *c)
{
    resolver_free(c->env.resolver);
    tls_ctx_free(c->env.tls);
    if (c->proxy_auth)
        explicit_bzero(c->proxy_auth, strlen(c->proxy_auth));
    mem_free(c->proxy_auth);
    mem_free(c->name);
    mem_free(c->host);
    mem_free(c->authority);
    mem_free(c->dial_host);
    mem_free(c);
}

struct h2_client *h2_client_new(struct worker *w, const struct h2_client_conf *conf,
                                char err[TLS_ERR_MAX])
{
    struct h2_client *c = mem_zalloc(sizeof(*c));

    snprintf(err, TLS_ERR_MAX, "out of memory");
    if (!c)
        return NULL;
    list_init(&c->wires);
    c->env.worker = w;
    c->env.streams_max = conf->pool.streams_max;
    c->env.open_us = or_else(conf->open_us, OPEN_US);
    c->env.ping_us = or_else(conf->ping_us, PING_US);
    c->env.ping_idle_us = or_else(conf->ping_idle_us, PING_IDLE_US);
    c->env.dead_us = or_else(conf->dead_us, DEAD_US);
    c->env.wake = env_wake;
    c->timer = (struct wtimer){.fn = on_timer, .arg = c};
    c->flush = (struct wflush){.fn = on_flush, .arg = c};
    if (set_peer(c, conf, err) != 0)
        goto fail;
    c->name = mem_strndup(slice_str(conf->name));
    c->env.name = c->name;
    c->env.tls = c->name
                     ? tls_client_ctx_new(conf->ca_file, conf->cert_file, conf->key_file, "h2", err)
                     : NULL;
    if (!c->env.tls)
        goto fail;
    c->env.resolver = resolver_new(w);
    c->pool = c->env.resolver ? h2_pool_new(&conf->pool, &OPS, c, worker_now(w)) : NULL;
    if (!c->pool) {
        snprintf(err, TLS_ERR_MAX, "out of memory or threads, or a limit of the pool is 0");
        goto fail;
    }
    worker_timer(w, &c->timer, 0); /* as soon as it runs */
    return c;
fail:
    free_parts(c);
    return NULL;
}

void h2_client_free(struct h2_client *c)
{
    if (!c)
        return;
    h2_pool_free(c->pool, worker_now(c->env.worker));
    worker_timer_cancel(c->env.worker, &c->timer);
    worker_cancel_flush(&c->flush);
    free_parts(c);
}

struct h2_pool *h2_client_pool(struct h2_client *c)
{
    return c->pool;
}

int h2_client_send(struct h2_client *c, const struct h2_request *q, h2_done_fn *done, void *ctx,
                   unsigned avoid_conn)
{
    return h2_pool_send(c->pool, q, done, ctx, avoid_conn, worker_now(c->env.worker));
}

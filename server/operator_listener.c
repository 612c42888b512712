/* The operator's socket: accepts, reads lines, answers each from the router.
 *
 * Called by libevent on the server's worker, where the router is: an answer is written at once into
 * memory (at most OPERATOR_REPLY_MAX), and the next line is read when the operator has taken it, so
 * that one who does not read costs one answer and no time. SPDX-License-Identifier: BSD-3-Clause */
#include "server/operator_listener.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/unix_sock.h"

#define BACKLOG      8
#define CONNS_MAX    8
#define IO_TIMEOUT_S 10

struct operator_conn {
    struct list link;
    struct operator_listener *l;
    struct bufferevent *bev;
    bool waits; /* for the ledger: its next line is not read */
    bool gone;  /* the operator is, while it waits */
};

struct operator_listener {
    struct worker *worker;
    struct router *router;
    struct ws_listener *clock;
    struct operator_host host;
    const char *path;
    int fd;
    struct event *acceptable;
    struct list conns;
    size_t n;
    uint8_t line[OPERATOR_LINE_MAX];
    uint8_t reply[OPERATOR_REPLY_MAX];
};

static void conn_free(struct operator_conn *c)
{
    list_del(&c->link);
    c->l->n--;
    bufferevent_free(c->bev);
    mem_free(c);
}

/* The ledger has answered. */
static void on_ledger(void *ctx, int rc, const struct ledger_result *res)
{
    struct operator_conn *c = ctx;
    struct wr w = wr_init(c->l->reply, sizeof(c->l->reply));

    c->waits = false;
    operator_put_ledger(&w, rc, res);
    if (c->gone || w.bad || evbuffer_add(bufferevent_get_output(c->bev), w.base, w.len) != 0)
        conn_free(c);
}

static void ask_ledger(struct operator_conn *c, const struct operator_request *q, struct wr *w)
{
    int rc = operator_ask_ledger(c->l->router, q, on_ledger, c);

    if (rc == 0)
        c->waits = true;
    else
        operator_put_ledger(w, rc, NULL);
}

static void answer(struct operator_conn *c, struct slice line, struct wr *w)
{
    struct operator_listener *l = c->l;
    struct operator_request q;
    struct operator_facts facts;
    const char *why;

    if (operator_decode(&q, line, &why) != 0) {
        operator_put_error(w, why);
        return;
    }
    ws_listener_enter(l->clock);
    switch (q.command) {
    case OPERATOR_STATUS:
        facts = l->host.facts(l->host.arg);
        operator_put_status(w, l->router, &facts);
        return;
    case OPERATOR_LOG_LEVEL:
        log_set_level(q.level);
        log_write(LOG_ERROR <= q.level ? q.level : LOG_ERROR, "operator", "log level is %s",
                  log_level_text());
        break;
    case OPERATOR_DRAIN:
        l->host.drain(l->host.arg, q.seconds * US_PER_S);
        break;
    case OPERATOR_HOLD:
    case OPERATOR_UNHOLD:
    case OPERATOR_HOLDS:
        ask_ledger(c, &q, w);
        return;
    default:
        operator_answer(w, l->router, &q);
        return;
    }
    wr_str(w, "{\"ok\":true}\n");
}

/* Answers the next line. False: there is no whole one, or c is gone. */
static bool answer_next(struct operator_conn *c)
{
    struct operator_listener *l = c->l;
    struct evbuffer *in = bufferevent_get_input(c->bev), *out = bufferevent_get_output(c->bev);

    if (c->waits || evbuffer_get_length(out) > 0)
        return false; /* on_ledger(), on_written() go on */
    struct evbuffer_ptr end = evbuffer_search(in, "\n", 1, NULL);
    if (end.pos < 0 || end.pos >= OPERATOR_LINE_MAX) {
        if (evbuffer_get_length(in) < OPERATOR_LINE_MAX)
            return false;
        conn_free(c);
        return false;
    }
    struct wr w = wr_init(l->reply, sizeof(l->reply));
    size_t n = (size_t)end.pos;
    if (evbuffer_remove(in, l->line, n + 1) != (int)n + 1) {
        conn_free(c);
        return false;
    }
    answer(c, slice_of(l->line, n), &w);
    if (w.bad || evbuffer_add(out, w.base, w.len) != 0) {
        conn_free(c);
        return false;
    }
    return true;
}

static void on_ready(struct bufferevent *bev, void *arg)
{
    (void)bev;
    while (answer_next(arg))
        ;
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    (void)what; /* the end, an error or silence: all the same */
    struct operator_conn *c = arg;

    c->gone = true;
    if (c->waits)
        bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    else
        conn_free(c);
}

static void begin(struct operator_listener *l, int fd)
{
    const struct timeval limit = {.tv_sec = IO_TIMEOUT_S};
    struct operator_conn *c = l->n < CONNS_MAX ? mem_zalloc(sizeof(*c)) : NULL;
    struct bufferevent *bev =
        c ? bufferevent_socket_new(worker_base(l->worker), fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    if (!bev) {
        mem_free(c);
        close(fd);
        return;
    }
    c->l = l;
    c->bev = bev;
    list_append(&l->conns, &c->link);
    l->n++;
    bufferevent_setcb(bev, on_ready, on_ready, on_event, c);
    bufferevent_setwatermark(bev, EV_READ, 0, OPERATOR_LINE_MAX);
    bufferevent_set_timeouts(bev, &limit, &limit);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)what;
    if (conn != -1)
        begin(arg, conn);
}

struct operator_listener *operator_listener_new(struct worker *w, const char *path,
                                                struct router *r, struct ws_listener *clock,
                                                const struct operator_host *host,
                                                char err[OPERATOR_LISTENER_ERR_MAX])
{
    struct operator_listener *l = mem_zalloc(sizeof(*l));
    int fd = l ? unix_listen(path, BACKLOG) : -ENOMEM;

    if (fd < 0) {
        snprintf(err, OPERATOR_LISTENER_ERR_MAX, "[admin] control: %s: %s", path, strerror(-fd));
        mem_free(l);
        return NULL;
    }
    l->worker = w;
    l->router = r;
    l->clock = clock;
    l->host = *host;
    l->path = path;
    l->fd = fd;
    list_init(&l->conns);
    l->acceptable = event_new(worker_base(w), fd, EV_READ | EV_PERSIST, on_accept, l);
    if (l->acceptable && event_add(l->acceptable, NULL) == 0)
        return l;
    snprintf(err, OPERATOR_LISTENER_ERR_MAX, "[admin] control: out of memory");
    operator_listener_free(l);
    return NULL;
}

void operator_listener_free(struct operator_listener *l)
{
    if (!l)
        return;
    LIST_EACH(it, tmp, &l->conns)
    conn_free(CONTAINER_OF(it, struct operator_conn, link));
    if (l->acceptable)
        event_free(l->acceptable);
    unlink(l->path);
    close(l->fd);
    mem_free(l);
}

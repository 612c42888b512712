/* The connection to one SFU node: connect, back off, bytes in and out, the node's time.
 *
 * Made by main.c for each node of [sfu] nodes. node.c is the protocol; this shell only moves bytes.
 * Retries begin at 100 ms and double to 5 s, each with full jitter, so that servers do not come
 * back in step after an SFU's restart. SPDX-License-Identifier: BSD-3-Clause */
#include "server/node_link.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/worker.h"
#include "server/node.h"
#include "server/server_conf.h"
#include "server/ws_listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_FIRST_US (100 * US_PER_MS)
#define RETRY_MAX_US   (5 * US_PER_S)
#define IN_BYTES       (CTL_HEADER_BYTES + CTL_MESSAGE_MAX)
#define OUT_FIRST      65536

struct node_link {
    struct worker *worker;
    struct ws_listener *listener;
    struct node *node;
    struct sockaddr_storage to;
    socklen_t to_len;
    int fd; /* -1: none */
    struct event *readable, *writable;
    bool connecting, doomed;
    uint64_t give_up_us; /* connecting: until then */
    uint64_t retry_us, tries;
    struct wtimer timer; /* retry, or the node's deadline */
    struct wflush flush;
    uint8_t *out;
    size_t out_len, out_cap;
    struct log_limit noise;
    size_t in_len;
    uint8_t in[IN_BYTES];
};

static void want_flush(struct node_link *k)
{
    worker_want_flush(k->worker, &k->flush);
}

static void arm(struct node_link *k)
{
    uint64_t at = node_deadline(k->node);

    if (k->fd < 0 && k->retry_us < at)
        at = k->retry_us;
    if (k->connecting && k->give_up_us < at)
        at = k->give_up_us;
    worker_timer(k->worker, &k->timer, at);
}

/* ---- ending ---- */

/* Waits 0 .. the present interval, which doubles. */
static void back_off(struct node_link *k, uint64_t now_us)
{
    uint64_t tries = k->tries < 6 ? k->tries : 6;
    uint64_t interval = RETRY_FIRST_US << tries;

    k->tries++;
    k->retry_us = now_us + rand_below(interval < RETRY_MAX_US ? interval : RETRY_MAX_US);
}

static void drop(struct node_link *k, const char *why)
{
    uint64_t now = worker_now(k->worker);
    struct slice name = node_name(k->node);
    bool open = !k->connecting;

    if (k->fd < 0)
        return;
    if (log_allow(&k->noise, 1, now))
        log_warn("sfu", "%.*s: %s", SLICE_FMT(name), why);
    event_free(k->readable);
    event_free(k->writable);
    k->readable = k->writable = NULL;
    close(k->fd);
    k->fd = -1;
    k->connecting = k->doomed = false;
    k->in_len = k->out_len = 0;
    back_off(k, now);
    if (open)
        node_closed(k->node, now);
}

/* Connecting has failed. A refusal, and a socket file that is gone, say that no process is there.
 */
static void failed(struct node_link *k, int err)
{
    drop(k, strerror(err));
    if (err == ECONNREFUSED || err == ENOENT)
        node_refused(k->node);
}

/* ---- sending ---- */

static bool grow(struct node_link *k, size_t need)
{
    size_t cap = k->out_cap ? k->out_cap : OUT_FIRST;

    while (cap < need)
        cap *= 2;
    if (cap == k->out_cap)
        return true;
    uint8_t *out = mem_realloc(k->out, cap);
    if (!out)
        return false;
    k->out = out;
    k->out_cap = cap;
    return true;
}

/* node_wire: what does not fit ends the connection at the end of the turn. */
static void wire_send(void *wire, struct slice bytes)
{
    struct node_link *k = wire;

    want_flush(k);
    if (k->doomed || bytes.len > NODE_LINK_QUEUE_BYTES - k->out_len ||
        !grow(k, k->out_len + bytes.len)) {
        k->doomed = true;
        return;
    }
    memcpy(k->out + k->out_len, bytes.p, bytes.len);
    k->out_len += bytes.len;
}
static const struct node_wire WIRE = {wire_send};

/* Sends what is queued; waits for the socket if it takes no more. */
static void send_queued(struct node_link *k)
{
    size_t at = 0;

    while (at < k->out_len) {
        ssize_t n = send(k->fd, k->out + at, k->out_len - at, MSG_NOSIGNAL);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n == -1) {
            drop(k, strerror(errno));
            return;
        }
        at += (size_t)n;
    }
    memmove(k->out, k->out + at, k->out_len - at);
    k->out_len -= at;
    if (k->out_len > 0)
        event_add(k->writable, NULL);
    else
        event_del(k->writable);
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct node_link *k = arg;

    (void)now_us;
    if (k->doomed)
        drop(k, "it does not read what it is sent");
    if (k->fd >= 0 && !k->connecting && k->out_len > 0)
        send_queued(k);
    arm(k);
}

/* ---- receiving ---- */

/* Hands the node what it can take. False: the connection is gone. */
static bool take_in(struct node_link *k)
{
    long used = node_recv(k->node, slice_of(k->in, k->in_len), worker_now(k->worker));

    if (used < 0) {
        drop(k, node_why(k->node));
        return false;
    }
    memmove(k->in, k->in + used, k->in_len - (size_t)used);
    k->in_len -= (size_t)used;
    if (node_up(k->node))
        k->tries = 0;
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct node_link *k = arg;

    (void)fd;
    (void)what;
    ws_listener_enter(k->listener);
    want_flush(k);
    ssize_t n = recv(k->fd, k->in + k->in_len, sizeof(k->in) - k->in_len, 0);
    if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        drop(k, n == 0 ? "it has closed the connection" : strerror(errno));
        return;
    }
    k->in_len += (size_t)n;
    take_in(k);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct node_link *k = arg;
    int err = 0;
    socklen_t len = sizeof(err);

    (void)fd;
    (void)what;
    ws_listener_enter(k->listener);
    want_flush(k);
    if (!k->connecting) {
        send_queued(k);
        return;
    }
    if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
        err = errno;
    if (err != 0) {
        failed(k, err);
        return;
    }
    k->connecting = false;
    event_del(k->writable);
    event_add(k->readable, NULL);
    node_opened(k->node, &WIRE, k, worker_now(k->worker));
}

/* ---- connecting ---- */

static void start(struct node_link *k)
{
    int one = 1;

    k->retry_us = CLOCK_NEVER;
    k->fd = socket(k->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (k->fd == -1) {
        back_off(k, worker_now(k->worker));
        return;
    }
    k->connecting = true;
    k->give_up_us = worker_now(k->worker) + NODE_OPEN_US;
    k->readable = event_new(worker_base(k->worker), k->fd, EV_READ | EV_PERSIST, on_readable, k);
    k->writable = event_new(worker_base(k->worker), k->fd, EV_WRITE | EV_PERSIST, on_writable, k);
    if (!k->readable || !k->writable) {
        if (k->readable)
            event_free(k->readable);
        if (k->writable)
            event_free(k->writable);
        k->readable = k->writable = NULL;
        close(k->fd);
        k->fd = -1;
        k->connecting = false;
        back_off(k, worker_now(k->worker));
        return;
    }
    if (k->to.ss_family != AF_UNIX)
        setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(k->fd, (struct sockaddr *)&k->to, k->to_len) == -1 && errno != EINPROGRESS &&
        errno != EAGAIN) {
        failed(k, errno);
        return;
    }
    event_add(k->writable, NULL); /* writable: connected, or failed */
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct node_link *k = arg;

    ws_listener_enter(k->listener);
    want_flush(k);
    if (!node_tick(k->node, now_us))
        drop(k, node_why(k->node));
    if (k->connecting && k->give_up_us <= now_us)
        drop(k, "it does not accept the connection");
    if (k->fd < 0 && k->retry_us <= now_us)
        start(k);
}

static void set_address(struct node_link *k, const struct server_sfu *sfu)
{
    if (sfu->path.len == 0) {
        k->to_len = (socklen_t)addr_to_sockaddr(&sfu->addr, &k->to);
        return;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&k->to;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, sfu->path.p, sfu->path.len);
    k->to_len = (socklen_t)sizeof(*un);
}

struct node_link *node_link_new(struct worker *w, struct ws_listener *l, struct node *n,
                                struct slice entry)
{
    struct node_link *k = mem_zalloc(sizeof(*k));
    struct server_sfu sfu;

    if (!k || server_sfu_parse(&sfu, entry) != 0) {
        mem_free(k);
        return NULL;
    }
    k->worker = w;
    k->listener = l;
    k->node = n;
    k->fd = -1;
    k->timer = (struct wtimer){.fn = on_timer, .arg = k};
    k->flush = (struct wflush){.fn = on_flush, .arg = k};
    set_address(k, &sfu);
    worker_timer(w, &k->timer, 0); /* as soon as it runs */
    return k;
}

void node_link_free(struct node_link *k)
{
    if (!k)
        return;
    ws_listener_enter(k->listener);
    drop(k, "we end the connection");
    worker_timer_cancel(k->worker, &k->timer);
    worker_cancel_flush(&k->flush);
    mem_free(k->out);
    mem_free(k);
}

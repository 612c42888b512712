/* The control socket: accepts, reads a line, asks the workers, answers.
 *
 * Called by main.c. A shell around control.c in a thread of its own, so that a slow reader stops
 * neither a worker nor the signals. What touches a core is posted to the core's worker and waited
 * for; nothing here runs while a packet is looked at.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/control_listener.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/unix_sock.h"
#include "proto/json.h"
#include "turn/control.h"
#include "turn/turn_worker.h"

#define IO_TIMEOUT_MS 5000
#define BACKLOG       8

struct control_listener {
    struct turn_node *node;
    void (*drain)(void);
    int fd, stop_fd;
    uint64_t start_us;
    const char *path;
    pthread_t thread;
    uint8_t line[CONTROL_LINE_MAX];
    uint8_t reply[CONTROL_REPLY_MAX];
};

/* One request on its way over the workers. */
struct visit {
    const struct control_request *r;
    struct wr *w;
    unsigned worker;
    uint64_t shown, left;
    bool killed;
};

static void on_list(struct turn_worker *w, void *arg, uint64_t now_us)
{
    struct visit *v = arg;

    control_list(v->w, &w->core, v->worker, v->r, now_us, &v->shown, &v->left);
}

static void on_kill(struct turn_worker *w, void *arg, uint64_t now_us)
{
    struct visit *v = arg;

    v->killed = control_kill(&w->core, v->r->id.serial, now_us);
}

static void answer_list(struct control_listener *l, const struct control_request *r, struct wr *w)
{
    struct visit v = {.r = r, .w = w};
    int err = 0;

    for (; !err && v.worker < turn_node_threads(l->node); v.worker++)
        err = turn_worker_call(turn_node_worker(l->node, v.worker), on_list, &v);
    if (err)
        control_put_error(w, "out of memory");
    else
        wr_fmt(w, "{\"ok\":true,\"shown\":%" PRIu64 ",\"left_out\":%" PRIu64 "}\n", v.shown,
               v.left);
}

static void answer_kill(struct control_listener *l, const struct control_request *r, struct wr *w)
{
    struct visit v = {.r = r};

    if (r->id.worker < turn_node_threads(l->node) &&
        turn_worker_call(turn_node_worker(l->node, r->id.worker), on_kill, &v) != 0) {
        control_put_error(w, "out of memory");
    } else if (!v.killed) {
        control_put_error(w, "no such allocation");
    } else {
        log_info("control", "killed allocation %u.%" PRIu64, r->id.worker, r->id.serial);
        wr_str(w, "{\"ok\":true}\n");
    }
}

static void answer_quota(struct control_listener *l, const struct control_request *r, struct wr *w)
{
    const struct realm_table *realms = &turn_node_shared(l->node)->realms;
    struct quota *q = turn_node_shared(l->node)->quota;
    int realm = r->has_realm ? realm_find(realms, slice_of(r->realm, r->realm_len)) : 0;

    if (realm < 0) {
        control_put_error(w, "no such realm");
        return;
    }
    const struct quota_rule *rule = quota_rule_of(q, (unsigned)realm);
    wr_fmt(w, "{\"ok\":true,\"in_use\":%" PRIu64 ",\"allocations_total\":%" PRIu64 ",\"realm\":",
           quota_in_use(q), quota_total(q));
    json_write_text(w, realm_name(realms, (unsigned)realm));
    wr_fmt(w,
           ",\"realm_in_use\":%" PRIu64 ",\"realm_allocations_total\":%" PRIu64
           ",\"allocations_per_user\":%" PRIu64,
           quota_in_use_of(q, (unsigned)realm), rule->total, rule->per_account);
    if (r->has_user) {
        struct slice user = slice_of(r->user, r->user_len);
        wr_str(w, ",\"user\":");
        json_write_text(w, user);
        wr_fmt(w, ",\"user_in_use\":%" PRIu64, quota_held(q, realm_account((unsigned)realm, user)));
    }
    wr_str(w, "}\n");
}

static void answer_status(struct control_listener *l, struct wr *w)
{
    uint64_t made = 0, up = 0, up_bytes = 0, down = 0, down_bytes = 0;

    for (unsigned i = 0; i < turn_node_threads(l->node); i++) {
        const struct turn_metrics *m = &turn_node_worker(l->node, i)->core.metrics;
        made += counter_get(&m->allocations_made);
        turn_metrics_relayed(m->up, &up, &up_bytes);
        turn_metrics_relayed(m->down, &down, &down_bytes);
    }
    wr_fmt(w,
           "{\"ok\":true,\"version\":\"%s\",\"pid\":%ld,\"seconds\":%" PRIu64
           ",\"threads\":%u,\"draining\":%s,\"log_level\":\"%s\",\"allocations\":%" PRIu64
           ",\"allocations_made\":%" PRIu64 ",\"up_packets\":%" PRIu64 ",\"up_bytes\":%" PRIu64
           ",\"down_packets\":%" PRIu64 ",\"down_bytes\":%" PRIu64 "}\n",
           SORI_VERSION, (long)getpid(), (clock_now_us() - l->start_us) / US_PER_S,
           turn_node_threads(l->node),
           turn_shared_draining(turn_node_shared(l->node)) ? "true" : "false", log_level_text(),
           turn_node_allocations(l->node), made, up, up_bytes, down, down_bytes);
}

static void answer(struct control_listener *l, struct slice line, struct wr *w)
{
    struct control_request r;
    const char *why;

    if (control_decode(&r, line, &why) != 0) {
        control_put_error(w, why);
        return;
    }
    switch (r.command) {
    case CONTROL_STATUS:
        answer_status(l, w);
        return;
    case CONTROL_LIST:
        answer_list(l, &r, w);
        return;
    case CONTROL_KILL:
        answer_kill(l, &r, w);
        return;
    case CONTROL_QUOTA:
        answer_quota(l, &r, w);
        return;
    case CONTROL_LOG_LEVEL:
        log_set_level(r.level);
        log_info("control", "log level is %s", log_level_text());
        break;
    case CONTROL_DRAIN:
        l->drain();
        break;
    }
    wr_str(w, "{\"ok\":true}\n");
}

/* Waits until fd is ready. False when time is up or we are to stop. */
static bool wait_for(const struct control_listener *l, int fd, short events, int timeout_ms)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = l->stop_fd, .events = POLLIN}};
    int n;

    do {
        n = poll(p, 2, timeout_ms);
    } while (n == -1 && errno == EINTR);
    return n > 0 && p[1].revents == 0;
}

static bool send_all(const struct control_listener *l, int fd, struct slice rest)
{
    while (rest.len > 0) {
        ssize_t n = send(fd, rest.p, rest.len, MSG_NOSIGNAL);
        if (n > 0)
            rest = slice_sub(rest, (size_t)n, SIZE_MAX);
        else if (errno != EAGAIN || !wait_for(l, fd, POLLOUT, IO_TIMEOUT_MS))
            return false;
    }
    return true;
}

/* Answers each whole line of what has been read; keeps the rest. False when it cannot go on. */
static bool take_lines(struct control_listener *l, int fd, size_t *have)
{
    struct slice rest = slice_of(l->line, *have);
    const uint8_t *end;

    while ((end = rest.len > 0 ? memchr(rest.p, '\n', rest.len) : NULL)) {
        size_t n = (size_t)(end - rest.p);
        struct wr w = wr_init(l->reply, sizeof(l->reply));
        answer(l, slice_sub(rest, 0, n), &w);
        if (!send_all(l, fd, wr_done(&w)))
            return false;
        rest = slice_sub(rest, n + 1, SIZE_MAX);
    }
    if (rest.len == sizeof(l->line))
        return false;
    if (rest.len > 0)
        memmove(l->line, rest.p, rest.len);
    *have = rest.len;
    return true;
}

static void serve(struct control_listener *l, int fd)
{
    size_t have = 0;

    while (wait_for(l, fd, POLLIN, IO_TIMEOUT_MS)) {
        ssize_t n = recv(fd, l->line + have, sizeof(l->line) - have, 0);
        if (n <= 0)
            return;
        have += (size_t)n;
        if (!take_lines(l, fd, &have))
            return;
    }
}

static void *run(void *arg)
{
    struct control_listener *l = arg;

    while (wait_for(l, l->fd, POLLIN, -1)) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1) {
            wait_for(l, -1, 0, 100); /* out of descriptors: not in a busy loop */
            continue;
        }
        serve(l, fd);
        close(fd);
    }
    return NULL;
}

struct control_listener *control_listener_start(const char *path, struct turn_node *node,
                                                void (*drain)(void), char err[CONTROL_ERR_MAX])
{
    struct control_listener *l = mem_zalloc(sizeof(*l));
    int e = l ? 0 : -ENOMEM;

    if (!e) {
        *l = (struct control_listener){.node = node, .drain = drain, .path = path, .fd = -1};
        l->start_us = clock_now_us();
        l->stop_fd = eventfd(0, EFD_CLOEXEC);
        e = l->stop_fd == -1 ? -errno : 0;
    }
    if (!e) {
        l->fd = unix_listen(path, BACKLOG);
        e = l->fd < 0 ? l->fd : 0;
    }
    if (!e) {
        e = -pthread_create(&l->thread, NULL, run, l);
        if (!e)
            return l;
        unlink(path);
    }
    snprintf(err, CONTROL_ERR_MAX, "%s: %s", path, strerror(-e));
    if (l && l->fd >= 0)
        close(l->fd);
    if (l && l->stop_fd != -1)
        close(l->stop_fd);
    mem_free(l);
    return NULL;
}

void control_listener_stop(struct control_listener *l)
{
    if (!l)
        return;
    eventfd_write(l->stop_fd, 1);
    pthread_join(l->thread, NULL);
    unlink(l->path);
    close(l->fd);
    close(l->stop_fd);
    mem_free(l);
}

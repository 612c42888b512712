/* Attempts to connect, side by side.
 *
 *     attempt ──DIAL_STAGGER_US, or it failed──► next attempt … ──one is writable──► fn, others
 * closed
 *
 * Called by server/h2_link.c. SPDX-License-Identifier: BSD-3-Clause */
#include "net/dial.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/worker.h"

struct attempt {
    struct dial *d;
    struct event *ev; /* NULL: not begun, or over */
    int fd;
};

struct dial {
    struct worker *w;
    dial_fn *fn;
    void *arg;
    struct wtimer next; /* begins the next attempt */
    size_t n, begun, open;
    struct addr addrs[DIAL_ADDRS_MAX];
    struct attempt attempts[DIAL_ADDRS_MAX];
    char why[128];
};

void dial_order(struct addr *addrs, size_t n, unsigned turn)
{
    struct addr of[2][DIAL_ADDRS_MAX];
    size_t have[2] = {0}, taken[2] = {0};

    assert(n <= DIAL_ADDRS_MAX);
    for (size_t i = 0; i < n; i++) {
        int other = addrs[i].family != addrs[0].family;
        of[other][have[other]++] = addrs[i];
    }
    for (size_t i = 0; i < n; i++) {
        int f = taken[i % 2] < have[i % 2] ? (int)(i % 2) : !(i % 2);
        if (taken[f] == have[f])
            f = !f;
        addrs[i] = of[f][(turn + taken[f]++) % have[f]];
    }
}

static void end_attempt(struct attempt *a)
{
    if (!a->ev)
        return;
    event_free(a->ev);
    a->ev = NULL;
    if (a->fd != -1)
        close(a->fd);
    a->fd = -1;
    a->d->open--;
}

void dial_free(struct dial *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->begun; i++)
        end_attempt(&d->attempts[i]);
    worker_timer_cancel(d->w, &d->next);
    mem_free(d);
}

static void finish(struct dial *d, int fd)
{
    dial_fn *fn = d->fn;
    void *arg = d->arg;
    char why[sizeof(d->why)];

    memcpy(why, d->why, sizeof(why));
    dial_free(d);
    fn(arg, fd, fd == -1 ? why : "");
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct attempt *a = arg;
    struct dial *d = a->d;
    int err = 0;
    socklen_t len = sizeof(err);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
        err = errno;
    if (err == 0) {
        a->fd = -1; /* it is the callee's */
        finish(d, fd);
        return;
    }
    snprintf(d->why, sizeof(d->why), "%s", strerror(err));
    end_attempt(a);
    worker_timer(d->w, &d->next, worker_now(d->w)); /* RFC 8305 §5: not the whole delay */
}

/* Begins one attempt. False: it failed at once, d->why says why. */
static bool begin(struct dial *d)
{
    struct sockaddr_storage ss;
    struct attempt *a = &d->attempts[d->begun];
    socklen_t len = (socklen_t)addr_to_sockaddr(&d->addrs[d->begun++], &ss);

    *a = (struct attempt){.d = d};
    a->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd != -1 && connect(a->fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS) {
        snprintf(d->why, sizeof(d->why), "%s", strerror(errno));
        close(a->fd);
        return false;
    }
    a->ev = a->fd == -1 ? NULL : event_new(worker_base(d->w), a->fd, EV_WRITE, on_writable, a);
    if (!a->ev || event_add(a->ev, NULL) != 0) {
        snprintf(d->why, sizeof(d->why), "%s", strerror(a->fd == -1 ? errno : ENOMEM));
        if (a->ev)
            event_free(a->ev);
        a->ev = NULL;
        if (a->fd != -1)
            close(a->fd);
        return false;
    }
    d->open++;
    return true;
}

static void on_next(void *arg, uint64_t now_us)
{
    struct dial *d = arg;

    while (d->begun < d->n)
        if (begin(d)) {
            worker_timer(d->w, &d->next, now_us + DIAL_STAGGER_US);
            return;
        }
    if (d->open == 0)
        finish(d, -1);
}

struct dial *dial_new(struct worker *w, const struct addr *addrs, size_t n, dial_fn *fn, void *arg)
{
    struct dial *d = mem_zalloc(sizeof(*d));

    assert(n <= DIAL_ADDRS_MAX);
    if (!d)
        return NULL;
    d->w = w;
    d->fn = fn;
    d->arg = arg;
    d->n = n;
    memcpy(d->addrs, addrs, n * sizeof(*addrs));
    snprintf(d->why, sizeof(d->why), "no address");
    d->next = (struct wtimer){.fn = on_next, .arg = d};
    worker_timer(w, &d->next, worker_now(w));
    return d;
}

void dial_forget_unsent(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (fd != -1)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* Client data connections: each spliced to its peer connection, byte for byte.
 *
 * Called by turn_tcp_listener.c after a ConnectionBind. A shell: splice.c keeps the bytes,
 * tcp_meter.c the limits. The kernel may bring a data connection to another worker than its control
 * connection; TLS ties it to the one it came to, so the peer's descriptor travels:
 *
 *     here: tcp_data_sock_join ──mail──► owner: on_asked (connect_bound: the descriptor)
 *     here: on_told, splice    ◄──mail──┘
 *     here: finish             ──mail──► owner: on_over (connect_gone)
 *     here: on_end             ◄──mail── owner: tcp_data_sock_end (the allocation is over)
 *
 * The way is the same when both are one worker. Until the descriptor is here nothing is read.
 * Each side that ends is half-closed on the other when all that it sent has been passed on; when
 * one side breaks, what it sent before still goes to the other.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/tcp_data_sock.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "turn/connect.h"
#include "turn/splice.h"
#include "turn/tcp_meter.h"
#include "turn/tcp_relay_sock.h"

#define JOIN_US (10 * US_PER_S) /* for the owner's answer */
#define LOOK_US (60 * US_PER_S) /* how often an idle connection is looked at */
#define ROUNDS  4               /* reads per direction and turn */
#define BROKEN  (-EPIPE)        /* any error that ends a side */

/* Between the two workers; also the mail at the end, which must not need memory of its own. */
struct join {
    struct turn_worker *owner, *at;
    struct tcp_meter *meter; /* NULL: there is no such connection any more */
    uint32_t id;
    int fd;
};

/* Which connection to end. */
struct ending {
    struct turn_worker *at;
    uint32_t id;
};

struct side {
    int fd;
    struct tls *tls;
    struct event ev;
    bool blocked;       /* takes no more for now */
    bool write_on_read; /* TLS wants to read before it can write, */
    bool read_on_write; /* and the other way round */
};

struct tcp_data {
    struct hnode node; /* in the worker's table, by id */
    struct turn_worker *w;
    struct join *join; /* ours again when joined */
    struct side client, peer;
    struct splice up, down; /* client to peer, peer to client */
    size_t up_credit, down_credit;
    struct wtimer timer;
    struct wflush again;
    uint64_t last_us; /* when bytes moved last */
    uint32_t id;
    bool joined, waits; /* waits: for the meter */
};

static void pump(struct tcp_data *d);

/* ---- life ---- */

static void close_side(struct side *s)
{
    if (s->fd == -1)
        return;
    if (event_initialized(&s->ev))
        event_del(&s->ev);
    tls_free(s->tls);
    close(s->fd);
    s->fd = -1;
    s->tls = NULL;
}

static void on_over(void *arg, uint64_t now_us)
{
    struct join *j = arg;

    (void)now_us;
    connect_gone(&j->owner->core, j->id);
    mem_free(j);
}

/* Posts to a worker of ours. False: not done, arg is still the caller's. */
static bool post(struct turn_worker *to, worker_fn *fn, void *arg)
{
    return !to->stopped && worker_post(to->loop, fn, arg) == 0;
}

/* Ends d. A mail to the owner that cannot be sent leaves a number in its allocation until that
 * ends. */
static void finish(struct tcp_data *d)
{
    struct turn_worker *w = d->w;

    htable_del(&w->data_conns, &d->node);
    worker_timer_cancel(w->loop, &d->timer);
    worker_cancel_flush(&d->again);
    close_side(&d->client);
    close_side(&d->peer);
    splice_fini(&d->up);
    splice_fini(&d->down);
    if (d->joined) {
        tcp_meter_unref(d->join->meter);
        if (!post(d->join->owner, on_over, d->join))
            mem_free(d->join);
    }
    mem_free(d);
}

static struct tcp_data *find(const struct turn_worker *w, uint32_t id)
{
    struct hnode *n = htable_first(&w->data_conns, id);

    return n ? CONTAINER_OF(n, struct tcp_data, node) : NULL;
}

/* ---- bytes ---- */

/* Writes once. Returns bytes, -EAGAIN, or BROKEN. */
static ssize_t side_write(struct side *s, struct slice b)
{
    s->blocked = s->write_on_read = false;
    if (s->tls) {
        bool want_write;
        int n = tls_write(s->tls, b, &want_write);
        if (n == -EAGAIN) {
            s->blocked = want_write;
            s->write_on_read = !want_write;
            return n;
        }
        return n > 0 ? n : BROKEN;
    }
    ssize_t n = send(s->fd, b.p, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return n;
    if (errno != EAGAIN && errno != EINTR)
        return BROKEN;
    s->blocked = true;
    return -EAGAIN;
}

/* Reads once. Returns bytes, 0 at the end, -EAGAIN, or BROKEN. */
static ssize_t side_read(struct side *s, uint8_t *buf, size_t cap)
{
    s->read_on_write = false;
    if (s->tls) {
        bool want_write;
        int n = tls_read(s->tls, buf, cap, &want_write);
        if (n == -EAGAIN)
            s->read_on_write = want_write;
        return n >= 0 || n == -EAGAIN ? n : BROKEN;
    }
    ssize_t n = recv(s->fd, buf, cap, MSG_DONTWAIT);
    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : BROKEN;
    return n;
}

static void side_end_output(struct side *s)
{
    if (s->tls)
        tls_shutdown(s->tls);
    shutdown(s->fd, SHUT_WR); /* if it fails, reading will tell */
}

/* A side is broken: nothing comes from it any more, and nothing goes to it. */
static void break_side(struct splice *from_it, struct splice *to_it)
{
    splice_end_in(from_it);
    splice_abandon(to_it);
}

/* Writes what is left of earlier reads. Returns 0, -EAGAIN, or BROKEN. */
static int write_left(struct splice *s, struct side *to)
{
    for (struct slice left; (left = splice_left(s)).len > 0;) {
        ssize_t n = side_write(to, left);
        if (n < 0)
            return (int)n;
        splice_wrote(s, (size_t)n);
    }
    return 0;
}

/* Passes on what was just read, keeps what the destination does not take. */
static int pass_on(struct splice *s, struct side *to, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = side_write(to, bytes);
        if (n == -EAGAIN)
            return splice_keep(s, bytes) == 0 ? -EAGAIN : BROKEN;
        if (n < 0)
            return BROKEN;
        bytes = slice_sub(bytes, (size_t)n, SIZE_MAX);
    }
    return 0;
}

/* One step of one direction. Returns true when another may follow at once. back: the direction from
 * `to`. */
static bool move(struct tcp_data *d, struct side *from, struct side *to, struct splice *s,
                 struct splice *back, size_t *credit)
{
    uint64_t now_us = worker_now(d->w->loop);
    size_t cap = (size_t)d->w->conf->tcp_buffer_bytes;
    int err = write_left(s, to);

    if (err == BROKEN)
        break_side(back, s);
    if (splice_take_end(s))
        side_end_output(to);
    if (err || !splice_wants_read(s))
        return false;
    if (*credit == 0)
        *credit = tcp_meter_take(d->join->meter, cap, now_us);
    d->waits = d->waits || *credit == 0;
    if (*credit == 0)
        return false;
    ssize_t n = side_read(from, d->w->tcp_buf, cap < *credit ? cap : *credit);
    if (n == -EAGAIN)
        return false;
    if (n == BROKEN)
        break_side(s, back);
    if (n == 0)
        splice_end_in(s);
    if (n > 0) {
        *credit -= (size_t)n;
        d->last_us = now_us;
        tcp_meter_count(d->join->meter, s == &d->up ? (uint64_t)n : 0,
                        s == &d->up ? 0 : (uint64_t)n);
        struct turn_metrics *m = &d->w->core.metrics;
        counter_add(&(s == &d->up ? m->up : m->down)[FIVE_TUPLE_TCP].bytes, (uint64_t)n);
        if (pass_on(s, to, slice_of(d->w->tcp_buf, (size_t)n)) == BROKEN)
            break_side(back, s);
    }
    return true;
}

static void on_side(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pump(arg);
}

/* Tells libevent what one side waits for; a system call only when that changes. Returns 0 or
 * -ENOMEM. */
static int watch(struct tcp_data *d, struct side *s, bool reads, bool writes)
{
    short want = EV_PERSIST;

    if (reads || s->write_on_read)
        want |= EV_READ;
    if (writes || s->read_on_write)
        want |= EV_WRITE;
    if (event_initialized(&s->ev)) {
        if (event_get_events(&s->ev) == want && event_pending(&s->ev, EV_READ | EV_WRITE, NULL))
            return 0;
        event_del(&s->ev);
    }
    if (want == EV_PERSIST)
        return 0;
    event_assign(&s->ev, worker_base(d->w->loop), s->fd, want, on_side, d);
    return event_add(&s->ev, NULL) == 0 ? 0 : -ENOMEM;
}

/* The next look at d: soon when the meter makes it wait, else when it may have been idle too long.
 */
static void set_timer(struct tcp_data *d)
{
    uint64_t now_us = worker_now(d->w->loop), next_us = now_us + LOOK_US;
    uint64_t idle_us = d->w->conf->tcp_idle_s * US_PER_S;

    if (idle_us > 0 && d->last_us + idle_us < next_us)
        next_us = d->last_us + idle_us;
    if (d->waits)
        next_us = now_us + TCP_METER_RETRY_US;
    worker_timer(d->w->loop, &d->timer, next_us);
}

static void pump(struct tcp_data *d)
{
    bool more = true;

    d->waits = false;
    for (unsigned i = 0; more && i < ROUNDS; i++) {
        more = move(d, &d->client, &d->peer, &d->up, &d->down, &d->up_credit);
        more = move(d, &d->peer, &d->client, &d->down, &d->up, &d->down_credit) || more;
    }
    if (splice_done(&d->up) && splice_done(&d->down)) {
        finish(d);
        return;
    }
    bool up = splice_wants_read(&d->up) && (d->up_credit > 0 || !d->waits);
    bool down = splice_wants_read(&d->down) && (d->down_credit > 0 || !d->waits);
    if (watch(d, &d->client, up, splice_left(&d->down).len > 0 && d->client.blocked) != 0 ||
        watch(d, &d->peer, down, splice_left(&d->up).len > 0 && d->peer.blocked) != 0) {
        finish(d);
        return;
    }
    set_timer(d);
    /* TLS may hold what the socket won't announce. */
    if (more || (up && d->client.tls && tls_pending(d->client.tls) > 0))
        worker_want_flush(d->w->loop, &d->again);
}

static void on_again(void *arg, uint64_t now_us)
{
    (void)now_us;
    pump(arg);
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct tcp_data *d = arg;
    uint64_t idle_us = d->w->conf->tcp_idle_s * US_PER_S;

    if (!d->joined || tcp_meter_ended(d->join->meter) ||
        (idle_us > 0 && now_us >= d->last_us + idle_us))
        finish(d);
    else
        pump(d);
}

/* ---- joining ---- */

/* A connection that is read slowly on purpose is alive as long as it answers, and what the kernel
 * keeps for it is bounded, too. */
static void prepare(int fd, int unsent_bytes)
{
    int on = 1, never = 0;

    /* Without these, a dead connection ends later, a slow one earlier or costs more: no reason to
     * refuse it. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &never, sizeof(never));
}

/* Here: the owner has answered. */
static void on_told(void *arg, uint64_t now_us)
{
    struct join *j = arg;
    struct tcp_data *d = find(j->at, j->id);

    if (!j->meter || !d) {
        if (d)
            finish(d);
        if (j->meter) {
            close(j->fd);
            tcp_meter_unref(j->meter);
            if (post(j->owner, on_over, j))
                return;
        }
        mem_free(j);
        return;
    }
    d->join = j;
    d->joined = true;
    d->last_us = now_us;
    d->peer.fd = j->fd;
    prepare(d->client.fd, (int)d->w->conf->tcp_buffer_bytes);
    prepare(d->peer.fd, (int)d->w->conf->tcp_buffer_bytes);
    pump(d);
}

/* At the owner: somebody has claimed a connection of ours. */
static void on_asked(void *arg, uint64_t now_us)
{
    struct join *j = arg;
    struct peer_conn *p = connect_bound(&j->owner->core, j->id, worker_index(j->at->loop));

    (void)now_us;
    if (p) {
        j->meter = tcp_meter_ref(p->alloc->meter);
        j->fd = tcp_relay_sock_take(p);
    }
    if (post(j->at, on_told, j))
        return;
    if (p) {
        close(j->fd);
        tcp_meter_unref(j->meter);
        connect_gone(&j->owner->core, j->id);
    }
    mem_free(j);
}

void tcp_data_sock_join(struct turn_worker *w, int fd, struct tls *tls, unsigned owner, uint32_t id,
                        struct slice answer, struct slice rest)
{
    struct tcp_data *d = mem_zalloc(sizeof(*d));
    struct join *j = mem_zalloc(sizeof(*j));

    if (d)
        *d = (struct tcp_data){.w = w, .id = id, .peer.fd = -1};
    if (!d || !j || splice_keep(&d->down, answer) != 0 || splice_keep(&d->up, rest) != 0)
        goto fail;
    *j = (struct join){.owner = w->all[owner], .at = w, .id = id, .fd = -1};
    if (!post(j->owner, on_asked, j))
        goto fail;
    d->client = (struct side){.fd = fd, .tls = tls};
    d->timer = (struct wtimer){.fn = on_timer, .arg = d};
    d->again = (struct wflush){.fn = on_again, .arg = d};
    htable_add(&w->data_conns, &d->node, id);
    worker_timer(w->loop, &d->timer, worker_now(w->loop) + JOIN_US);
    return;
fail:
    if (d) {
        splice_fini(&d->up);
        splice_fini(&d->down);
    }
    mem_free(d);
    mem_free(j);
    tls_free(tls);
    close(fd);
}

/* ---- the allocation is over ---- */

static void on_end(void *arg, uint64_t now_us)
{
    struct ending *e = arg;
    struct tcp_data *d = find(e->at, e->id);

    (void)now_us;
    if (d)
        finish(d);
    mem_free(e);
}

void tcp_data_sock_end(struct turn_worker *w, unsigned at, uint32_t id)
{
    struct ending *e = mem_zalloc(sizeof(*e));

    if (e)
        *e = (struct ending){w->all[at], id};
    /* Without it, the meter says so at the next byte or look. */
    if (e && !post(e->at, on_end, e))
        mem_free(e);
}

void tcp_data_sock_end_all(struct turn_worker *w)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    while ((n = htable_walk(&w->data_conns, &pos, &saved)))
        finish(CONTAINER_OF(n, struct tcp_data, node));
}

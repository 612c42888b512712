/* TCP and TLS byte streams: read, bounded write queue, one flush per loop turn, deadlines.
 *
 * Called by libevent, by stream_listener.c with each new descriptor, and by every shell that speaks
 * over a connection (ws_listener, turn_tcp_listener). The states of a stream, and who moves it:
 *
 *   stream_begin() -> HANDSHAKE -handshake_step()-> OPENING -open_user()-> OPEN
 *               |        |      (clear text begins at OPENING)              | stream_close()
 *               +-> PREFACE -preface_step()-> HANDSHAKE | OPENING           |
 *                        |                                                  v
 *                        |                         LINGER <-half_close()- CLOSING (queue drains)
 *                        +------- stream_destroy() from any state -> DEAD <-+
 *
 * A DEAD stream's memory goes when the outermost of our frames that holds it returns (enter,
 * leave): users may abort inside their callbacks. All of a turn's writes leave in one send() or
 * SSL_write() at its end. Closing half-closes first and discards what still comes in, because
 * close() on unread input makes the kernel send a reset, which would overtake our last words.
 *
 * Three budgets keep a turn short for everybody: bytes read per stream, new connections, and TLS
 * handshake steps (0.4 ms each: a reconnect storm must not stall the calls that are running).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/stream_priv.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_HANDSHAKES      8 /* handshake steps per listener and turn */
#define STREAM_QUEUE_MIN_BYTES 1024

_Static_assert(sizeof(struct stream) < 400, "an idle stream stays small");

static void on_stream(evutil_socket_t fd, short what, void *arg);

/* ---- life and death ---- */

static void enter(struct stream *s)
{
    assert(!s->busy);
    s->busy = true;
}

static void leave(struct stream *s)
{
    s->busy = false;
    if (s->state == STREAM_DEAD)
        mem_free(s);
}

/* Ends s whatever its state; the user hears of it if there is one. */
void stream_destroy(struct stream *s, enum stream_end why)
{
    struct stream_listener *l = s->l;
    bool told = s->state == STREAM_OPEN || s->state == STREAM_CLOSING || s->state == STREAM_LINGER;
    if (s->tls && s->state == STREAM_OPEN && (why == STREAM_END_LOCAL || why == STREAM_END_PEER))
        tls_shutdown(s->tls);
    s->state = STREAM_DEAD;
    worker_timer_cancel(l->w, &s->timer);
    worker_cancel_flush(&s->flush);
    event_del(&s->ev);
    tls_free(s->tls);
    if (s->fd != -1)
        close(s->fd);
    mem_free(s->out);
    mem_free(s->in);
    s->tls = NULL;
    s->out = NULL;
    s->in = NULL;
    list_del(&s->link);
    l->count--;
    stream_listener_resume(l);
    if (told)
        s->ops->end(s->user, why);
    stream_listener_unref(l);
    if (!s->busy)
        mem_free(s);
}

bool stream_detach(struct stream *s, int *fd, struct tls **tls)
{
    if (s->state != STREAM_OPEN || s->out)
        return false;
    *fd = s->fd;
    *tls = s->tls;
    event_del(&s->ev);
    s->fd = -1;
    s->tls = NULL;
    s->state = STREAM_OPENING; /* there is nobody to tell */
    stream_destroy(s, STREAM_END_LOCAL);
    return true;
}

/* Tells libevent what s waits for; a system call only when that changes. */
static void watch(struct stream *s)
{
    /* What waits for room to write must not be woken by input that it can't take yet. */
    bool reads = s->state == STREAM_PREFACE || (s->state == STREAM_HANDSHAKE && !s->blocked) ||
                 (s->state == STREAM_OPEN && !s->read_on_write) || s->state == STREAM_LINGER;
    bool writes = s->blocked || s->read_on_write;
    short want = EV_PERSIST;
    if (reads || s->write_on_read)
        want |= EV_READ;
    if (writes)
        want |= EV_WRITE;
    if (event_get_events(&s->ev) == want && event_pending(&s->ev, EV_READ | EV_WRITE, NULL))
        return;
    event_del(&s->ev);
    if (want == EV_PERSIST)
        return;
    event_assign(&s->ev, worker_base(s->l->w), s->fd, want, on_stream, s);
    if (event_add(&s->ev, NULL) != 0)
        stream_destroy(s, STREAM_END_ERROR);
}

/* ---- output ---- */

/* One send. Returns bytes, or -EAGAIN with the flags set, or another negative errno. */
static ssize_t send_some(struct stream *s, struct slice b)
{
    s->blocked = s->write_on_read = false;
    if (s->tls) {
        bool want_write;
        int n = tls_write(s->tls, b, &want_write);
        if (n == -EAGAIN) {
            s->blocked = want_write;
            s->write_on_read = !want_write;
        }
        return n == 0 ? -EPIPE : n;
    }
    ssize_t n = send(s->fd, b.p, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR) {
        s->blocked = true;
        return -EAGAIN;
    }
    return -errno;
}

/* The queue is sent: says so to the peer and waits for its end. */
static void half_close(struct stream *s)
{
    if (s->tls)
        tls_shutdown(s->tls);
    if (s->no_linger || shutdown(s->fd, SHUT_WR) == -1) {
        stream_destroy(s, STREAM_END_LOCAL);
        return;
    }
    s->state = STREAM_LINGER;
    s->blocked = s->write_on_read = s->read_on_write = false;
    watch(s);
}

/* Sends what is queued as far as the socket takes it. s may be DEAD afterwards. */
static void send_queue(struct stream *s)
{
    struct stream_queue *q = s->out;
    while (q) {
        ssize_t n = send_some(s, slice_of(q->bytes + q->head, q->len));
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            stream_destroy(s, s->state == STREAM_OPEN ? STREAM_END_ERROR : STREAM_END_LOCAL);
            return;
        }
        q->head += (size_t)n;
        q->len -= (size_t)n;
        if (q->len == 0) {
            mem_free(q);
            s->out = q = NULL;
        }
    }
    if (s->state == STREAM_CLOSING && (!q || s->no_linger))
        half_close(s);
    else
        watch(s);
}

/* Room for n more bytes behind the queued ones, or NULL when memory is out. */
static struct stream_queue *queue_reserve(struct stream_queue *q, size_t n, size_t max)
{
    size_t len = q ? q->len : 0;
    if (q && n <= q->cap - q->head - len)
        return q;
    if (q && n <= q->cap - len) {
        memmove(q->bytes, q->bytes + q->head, len);
        q->head = 0;
        return q;
    }
    size_t cap = STREAM_QUEUE_MIN_BYTES;
    while (cap < len + n)
        cap *= 2;
    if (cap > max)
        cap = max;
    struct stream_queue *to = mem_realloc(NULL, sizeof *to + cap);
    if (!to)
        return NULL;
    *to = (struct stream_queue){.len = len, .cap = cap};
    if (q)
        memcpy(to->bytes, q->bytes + q->head, len);
    mem_free(q);
    return to;
}

static void queue_append(struct stream_queue *q, struct slice b)
{
    if (b.len == 0)
        return;
    memcpy(q->bytes + q->head + q->len, b.p, b.len);
    q->len += b.len;
}

/* ---- input ---- */

enum fill { FILL_DRAINED, FILL_MORE, FILL_PEER, FILL_ERROR };

static enum fill fill_tls(struct stream *s, uint8_t *buf, size_t cap, size_t *got)
{
    s->read_on_write = false;
    *got = 0;
    while (*got < cap) {
        bool want_write;
        int n = tls_read(s->tls, buf + *got, cap - *got, &want_write);
        if (n == -EAGAIN) {
            s->read_on_write = want_write;
            return FILL_DRAINED;
        }
        if (n <= 0)
            return n == 0 ? FILL_PEER : FILL_ERROR;
        *got += (size_t)n;
        if (tls_dry(s->tls))
            return FILL_DRAINED;
    }
    return FILL_MORE;
}

static enum fill fill_tcp(struct stream *s, uint8_t *buf, size_t cap, size_t *got)
{
    *got = 0;
    ssize_t n = recv(s->fd, buf, cap, MSG_DONTWAIT);
    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? FILL_DRAINED : FILL_ERROR;
    *got = (size_t)n;
    return n == 0 ? FILL_PEER : (size_t)n == cap ? FILL_MORE : FILL_DRAINED;
}

/* Keeps the unconsumed end of the input. Returns 0, -ENOSPC, -ENOMEM. */
static int keep_rest(struct stream *s, struct slice rest)
{
    if (rest.len == 0) {
        mem_free(s->in);
        s->in = NULL;
        return 0;
    }
    if (rest.len > s->l->conf.max_pending)
        return -ENOSPC;
    struct stream_rest *in = mem_realloc(s->in, sizeof *in + rest.len);
    if (!in)
        return -ENOMEM;
    in->len = rest.len;
    memcpy(in->bytes, rest.p, rest.len);
    s->in = in;
    return 0;
}

/* Shows the user data[0..len) until a call leaves the ops as they were. s may be DEAD afterwards.
 */
static void deliver(struct stream *s, uint8_t *data, size_t len)
{
    const struct stream_ops *ops;
    do {
        ops = s->ops;
        size_t used = ops->data(s->user, data, len);
        if (s->state != STREAM_OPEN)
            return;
        assert(used <= len);
        data += used;
        len -= used;
    } while (ops != s->ops && len > 0);
    if (keep_rest(s, slice_of(data, len)) != 0)
        stream_destroy(s, STREAM_END_ERROR);
}

/* Reads one budget and shows it to the user. s may be DEAD afterwards. */
static void read_input(struct stream *s)
{
    uint8_t *buf = s->l->buf;
    size_t kept = s->in ? s->in->len : 0, got;
    size_t max = s->l->conf.max_read > 0 ? s->l->conf.max_read : STREAM_READ_BYTES;
    enum fill fill =
        s->tls ? fill_tls(s, buf + kept, max, &got) : fill_tcp(s, buf + kept, max, &got);
    if (got > 0) {
        if (kept > 0)
            memcpy(buf, s->in->bytes, kept);
        deliver(s, buf, kept + got);
    }
    if (s->state != STREAM_OPEN)
        return;
    if (fill == FILL_PEER || fill == FILL_ERROR) {
        stream_destroy(s, fill == FILL_PEER ? STREAM_END_PEER : STREAM_END_ERROR);
        return;
    }
    if (fill == FILL_MORE && s->tls && tls_pending(s->tls) > 0) {
        s->reread = true;
        worker_want_flush(s->l->w, &s->flush);
    }
    watch(s);
}

/* Throws away what comes in after our half-close, until the peer closes too. */
static void discard_input(struct stream *s)
{
    ssize_t n = recv(s->fd, s->l->buf, STREAM_READ_BYTES, MSG_DONTWAIT);
    if (n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR)))
        return;
    stream_destroy(s, STREAM_END_LOCAL);
}

/* ---- opening ---- */

static void open_user(struct stream *s)
{
    worker_timer_cancel(s->l->w, &s->timer);
    s->state = STREAM_OPENING;
    void *user = s->ops->open(s->l->conf.arg, s);
    if (s->state == STREAM_DEAD) {
        if (user)
            s->ops->end(user, STREAM_END_LOCAL);
        return;
    }
    s->user = user;
    if (!user) {
        s->state = STREAM_OPENING; /* whatever open() did with it: there is nobody to tell */
        stream_destroy(s, STREAM_END_LOCAL);
        return;
    }
    if (s->state == STREAM_OPENING)
        s->state = STREAM_OPEN;
    if (s->state == STREAM_OPEN && s->tls)
        read_input(s); /* the client's first bytes may have come with its Finished */
    else
        watch(s);
}

static bool handshake_allowed(struct stream_listener *l)
{
    uint64_t now = worker_now(l->w);
    if (l->handshake_turn_us != now) {
        l->handshake_turn_us = now;
        l->handshakes = 0;
    }
    return l->handshakes++ < STREAM_HANDSHAKES;
}

/* One step of the TLS handshake. The SSL object is made when the client's first bytes are there:
 * idle connections that never speak cost a descriptor and a struct only. */
static void handshake_step(struct stream *s)
{
    struct stream_listener *l = s->l;
    if (!handshake_allowed(l))
        return; /* still readable in the next turn */
    if (!s->tls && !(s->tls = tls_accept_new(*l->conf.tls, s->fd))) {
        stream_destroy(s, STREAM_END_ERROR);
        return;
    }
    bool want_write;
    int rc = tls_handshake(s->tls, &want_write);
    if (rc == -EAGAIN) {
        s->blocked = want_write;
        watch(s);
        return;
    }
    if (rc <= 0) {
        l->tls_failures++;
        stream_destroy(s, STREAM_END_ERROR);
        return;
    }
    s->blocked = false;
    open_user(s);
}

/* Asks what the stream is; goes on as soon as that is known. */
static void preface_step(struct stream *s)
{
    switch (stream_preface(s)) {
    case STREAM_KIND_WAIT:
        watch(s);
        break;
    case STREAM_KIND_TLS:
        s->state = STREAM_HANDSHAKE;
        watch(s); /* readable still: the handshake begins in the next turn */
        break;
    case STREAM_KIND_CLEAR:
        open_user(s);
        break;
    case STREAM_KIND_GONE:
        stream_destroy(s, STREAM_END_ERROR);
        break;
    }
}

/* ---- events of a stream ---- */

static void on_stream(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    (void)fd;
    enter(s);
    if (s->state == STREAM_HANDSHAKE || s->state == STREAM_PREFACE) {
        if (s->state == STREAM_HANDSHAKE)
            handshake_step(s);
        else
            preface_step(s);
        leave(s);
        return;
    }
    bool can_write = (what & EV_WRITE && s->blocked) || (what & EV_READ && s->write_on_read);
    bool can_read = what & EV_READ || (what & EV_WRITE && s->read_on_write);
    if (can_write)
        send_queue(s);
    if (can_read && s->state == STREAM_OPEN)
        read_input(s);
    else if (can_read && s->state == STREAM_LINGER)
        discard_input(s);
    leave(s);
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct stream *s = arg;
    (void)now_us;
    enter(s);
    bool reread = s->reread;
    s->reread = false;
    if (!s->blocked && !s->write_on_read)
        send_queue(s);
    else if (s->no_linger)
        half_close(s);
    if (reread && s->state == STREAM_OPEN)
        read_input(s);
    leave(s);
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct stream *s = arg;
    (void)now_us;
    if (s->state == STREAM_HANDSHAKE)
        s->l->tls_failures++;
    if (s->state == STREAM_PREFACE && s->proxied)
        counter_inc(s->l->conf.bad_header);
    bool closing = s->state == STREAM_CLOSING || s->state == STREAM_LINGER;
    stream_destroy(s, closing ? STREAM_END_LOCAL : STREAM_END_TIMEOUT);
}

/* A stream for a new descriptor, which it takes over, failing or not. */
void stream_begin(struct stream_listener *l, int fd, const struct addr *peer, bool proxied)
{
    struct stream *s = mem_zalloc(sizeof *s);
    if (!s) {
        close(fd);
        return;
    }
    s->l = l;
    s->fd = fd;
    s->ops = l->conf.ops;
    s->peer = *peer;
    s->flush = (struct wflush){.fn = on_flush, .arg = s};
    s->timer = (struct wtimer){.fn = on_timer, .arg = s};
    s->proxied = proxied;
    s->state = stream_has_preface(s) ? STREAM_PREFACE : STREAM_HANDSHAKE;
    event_assign(&s->ev, worker_base(l->w), fd, EV_READ | EV_PERSIST, on_stream, s);
    list_append(&l->streams, &s->link);
    l->count++;
    l->refs++;
    enter(s);
    if (l->conf.tls || s->state == STREAM_PREFACE) {
        worker_timer(l->w, &s->timer, worker_now(l->w) + l->conf.handshake_us);
        watch(s);
    } else {
        open_user(s);
    }
    leave(s);
}

/* ---- the user's side ---- */

int stream_write(struct stream *s, struct slice bytes)
{
    return stream_write2(s, bytes, (struct slice){0});
}

int stream_write2(struct stream *s, struct slice a, struct slice b)
{
    size_t len = s->out ? s->out->len : 0, max = s->l->conf.max_queue;
    if (s->state != STREAM_OPEN && s->state != STREAM_OPENING)
        return -EPIPE;
    if (a.len > max - len || b.len > max - len - a.len)
        return -ENOBUFS;
    if (a.len + b.len == 0)
        return 0;
    struct stream_queue *q = queue_reserve(s->out, a.len + b.len, max);
    if (!q)
        return -ENOMEM;
    queue_append(q, a);
    queue_append(q, b);
    s->out = q;
    if (!s->blocked && !s->write_on_read)
        worker_want_flush(s->l->w, &s->flush);
    return 0;
}

size_t stream_queued(const struct stream *s)
{
    return s->out ? s->out->len : 0;
}

void stream_close(struct stream *s, uint64_t linger_us)
{
    if (s->state != STREAM_OPEN && s->state != STREAM_OPENING)
        return;
    s->state = STREAM_CLOSING;
    s->no_linger = linger_us == 0;
    s->read_on_write = false;
    mem_free(s->in);
    s->in = NULL;
    if (!s->no_linger)
        worker_timer(s->l->w, &s->timer, worker_now(s->l->w) + linger_us);
    else
        worker_timer_cancel(s->l->w, &s->timer);
    worker_want_flush(s->l->w, &s->flush);
}

void stream_abort(struct stream *s)
{
    if (s->state != STREAM_DEAD)
        stream_destroy(s, STREAM_END_LOCAL);
}

void stream_deadline(struct stream *s, uint64_t deadline_us)
{
    if (s->state == STREAM_OPEN || s->state == STREAM_OPENING)
        worker_timer(s->l->w, &s->timer, deadline_us);
}

void stream_set_user(struct stream *s, const struct stream_ops *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

struct addr stream_peer(const struct stream *s)
{
    return s->peer;
}

struct addr stream_local(const struct stream *s)
{
    return stream_local_addr(s->fd);
}

bool stream_is_tls(const struct stream *s)
{
    return s->tls != NULL;
}

struct slice stream_host(const struct stream *s)
{
    return s->tls ? tls_host(s->tls) : (struct slice){0};
}

struct worker *stream_worker(const struct stream *s)
{
    return s->l->w;
}

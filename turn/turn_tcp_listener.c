/* One TCP or TLS address that clients connect to: framing, deadlines, bounded queues.
 *
 * Called by turn_worker.c. A shell: framing.c cuts, dispatch.c decides. A connection lives for
 * idle_timeout without an allocation, and that long after its allocation's last second.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_tcp_listener.h"

#include <errno.h>

#include "base/mem.h"
#include "net/stream.h"
#include "turn/dispatch.h"
#include "turn/forward.h"
#include "turn/framing.h"
#include "turn/relay_sock.h"
#include "turn/tcp_data_sock.h"

/* Per client and turn. A message may be as short as 4 bytes: more would keep the others waiting. */
#define READ_BYTES 16384

struct turn_tcp_listener {
    struct turn_worker *w;
    struct stream_listener *sl;
    uint16_t number;
    uint64_t idle_us;
    bool lent;                            /* a payload too long to be copied waits to be sent */
    uint8_t padded[UDP_DATAGRAM_MAX + 4]; /* a payload with its padding, for one stream_write2() */
};

struct conn {
    struct turn_tcp_listener *l;
    struct stream *s;
    struct five_tuple tuple;
    bool allocated; /* had an allocation when last seen */
};

/* After each answer: ends the connection idle_us after its allocation, or after the moment when it
 * lost it. One that never had any keeps its first deadline, whatever it asks. */
static void move_deadline(struct conn *c, uint64_t now_us)
{
    const struct alloc *a = alloc_find(&c->l->w->core.allocs, &c->tuple);

    if (a || c->allocated)
        stream_deadline(c->s, (a ? a->timer.deadline_us : now_us) + c->l->idle_us);
    c->allocated = a != NULL;
}

static bool on_admit(void *listener_arg, const struct addr *from, uint64_t now_us)
{
    struct turn_worker *w = ((struct turn_tcp_listener *)listener_arg)->w;
    enum turn_refusal why = TURN_REFUSED_RATE;

    if (!client_policy_allows(&w->core.shared->clients, from))
        why = TURN_REFUSED_DENIED;
    else if (source_limit_take(w->connects, from, now_us))
        return true;
    counter_inc(&w->core.metrics.refused[why]);
    return false;
}

static bool on_proxied(void *listener_arg, const struct addr *from)
{
    const struct turn_worker *w = ((struct turn_tcp_listener *)listener_arg)->w;

    return client_policy_is_proxy(&w->core.shared->clients, from);
}

static void *on_open(void *listener_arg, struct stream *s)
{
    struct turn_tcp_listener *l = listener_arg;
    struct conn *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct conn){.l = l, .s = s};
    c->tuple = (struct five_tuple){
        .client = stream_peer(s),
        .listener = l->number,
        .transport = stream_is_tls(s) ? FIVE_TUPLE_TLS : FIVE_TUPLE_TCP,
        .host = realm_host(&l->w->core.shared->realms, stream_host(s)),
    };
    stream_deadline(s, worker_now(l->w->loop) + l->idle_us);
    return c;
}

enum outcome { GO_ON, LOST, DETACHED };

/* Makes the connection a client data connection. c is gone when it is DETACHED. */
static enum outcome join(struct conn *c, struct slice answer, struct slice rest)
{
    struct turn_worker *w = c->l->w;
    struct tls *tls;
    int fd;

    if (!stream_detach(c->s, &fd, &tls)) /* earlier answers are not read: its peer will time out */
        return LOST;
    mem_free(c);
    tcp_data_sock_join(w, fd, tls, w->core.bound_worker, w->core.bound_id, answer, rest);
    return DETACHED;
}

/* Handles one message; rest: what is there behind it. */
static enum outcome take(struct conn *c, struct slice msg, struct slice rest)
{
    struct turn_worker *w = c->l->w;
    uint64_t now_us = worker_now(w->loop);
    uint8_t buf[DISPATCH_ANSWER_MAX];
    struct wr answer = wr_init(buf, sizeof(buf));
    struct relay_to_peer out;

    switch (dispatch_client(&w->core, &c->tuple, c, msg, now_us, &answer, &out)) {
    case DISPATCH_RELAY:
        out.copy = out.payload.len <= UDP_COPY_MAX;
        c->l->lent = c->l->lent || !out.copy;
        relay_sock_send(w, &out);
        return GO_ON;
    case DISPATCH_ANSWER:
        move_deadline(c, now_us);
        return stream_write(c->s, wr_done(&answer)) == 0 ? GO_ON : LOST;
    case DISPATCH_BIND:
        return join(c, wr_done(&answer), rest);
    case DISPATCH_FORWARD:
        forward_message(w, &c->tuple, msg);
        stream_deadline(c->s, now_us + w->core.shared->limits.max_lifetime_s * US_PER_S + GUEST_US);
        break;
    case DISPATCH_ANSWER_ELSEWHERE: /* UDP only */
    case DISPATCH_LATER:
    case DISPATCH_DROP:
        break;
    }
    return GO_ON;
}

void turn_tcp_listener_again(void *link, struct slice msg)
{
    struct conn *c = link;

    if (take(c, msg, (struct slice){0}) == LOST)
        stream_close(c->s, 0);
}

static size_t on_data(void *user, uint8_t *data, size_t len)
{
    struct conn *c = user;
    struct turn_tcp_listener *l = c->l; /* which outlives c */
    struct turn_worker *w = l->w;
    struct slice rest = slice_of(data, len);
    enum outcome outcome = GO_ON;
    struct frame f;
    int err = 0;

    while (outcome == GO_ON && (err = framing_next(&f, rest)) == 0) {
        struct slice msg = slice_sub(rest, 0, f.msg_len);
        rest = slice_sub(rest, f.total_len, SIZE_MAX);
        outcome = take(c, msg, rest);
        worker_handled(w->loop, 1);
    }
    if (l->lent)
        udp_push(w->io); /* payloads in the stream's buffer, which is ours until we return */
    l->lent = false;
    if (outcome == DETACHED || (outcome == GO_ON && err != -EBADMSG))
        return len - rest.len;
    if (outcome == GO_ON)
        turn_metrics_drop(&w->core.metrics, TURN_DROP_NOT_TURN);
    stream_close(c->s, 0);
    return len;
}

static void on_end(void *user, enum stream_end why)
{
    struct conn *c = user;
    struct turn_worker *w = c->l->w;

    (void)why;
    turn_core_client_gone(&w->core, &c->tuple, worker_now(w->loop));
    forward_gone(w, &c->tuple);
    mem_free(c);
}

static const struct stream_ops ops = {on_open, on_data, on_end};

int turn_tcp_listener_new(struct turn_tcp_listener **out, struct turn_worker *w,
                          const struct addr *at, enum five_tuple_transport transport,
                          uint16_t number)
{
    struct turn_tcp_listener *l = mem_zalloc(sizeof(*l));
    int err = 0;

    if (!l)
        return -ENOMEM;
    *l = (struct turn_tcp_listener){.w = w, .number = number};
    l->idle_us = w->conf->idle_s * US_PER_S;
    const struct stream_conf conf = {
        .ops = &ops,
        .arg = l,
        .tls = transport == FIVE_TUPLE_TLS || w->conf->tls_on_tcp ? &w->tls : NULL,
        .tls_optional = transport == FIVE_TUPLE_TCP,
        .max_pending = FRAMING_MAX,
        .max_queue = (size_t)w->conf->client_queue_bytes,
        .max_read = READ_BYTES,
        .handshake_us = w->conf->handshake_s * US_PER_S,
        .max_streams = (unsigned)w->conf->max_connections,
        .admit = on_admit,
        .proxied = on_proxied,
        .bad_header = &w->core.metrics.refused[TURN_REFUSED_HEADER],
    };
    l->sl = stream_listen(w->loop, at, true, &conf, &err);
    if (!l->sl) {
        mem_free(l);
        return err > 0 ? -err : err;
    }
    *out = l;
    return 0;
}

static void end_conn(void *user, void *arg)
{
    struct conn *c = user;

    (void)arg;
    stream_abort(c->s);
}

void turn_tcp_listener_free(struct turn_tcp_listener *l)
{
    if (!l)
        return;
    stream_each(l->sl, end_conn, NULL);
    stream_listener_free(l->sl);
    mem_free(l);
}

void turn_tcp_listener_left(void *link)
{
    struct conn *c = link;

    stream_deadline(c->s, worker_now(c->l->w->loop) + c->l->idle_us);
}

int turn_tcp_listener_tell(void *link, struct slice msg)
{
    const struct conn *c = link;

    return stream_write(c->s, msg);
}

void turn_tcp_listener_send(void *link, const struct relay_to_client *out)
{
    struct conn *c = link;
    struct wr w = wr_init(c->l->padded, sizeof(c->l->padded));
    struct slice body = out->payload;

    if (out->pad > 0) {
        wr_bytes(&w, out->payload);
        wr_zero(&w, out->pad);
        body = wr_done(&w);
    }
    if (stream_write2(c->s, slice_of(out->head, out->head_len), body) != 0)
        turn_metrics_drop(&c->l->w->core.metrics, TURN_DROP_CLIENT_QUEUE);
}

/* One UDP address that clients send to: batches in, batches out.
 *
 * Called by turn_worker.c. A shell: dispatch.c decides. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_udp_listener.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/proxy2.h"
#include "turn/dispatch.h"
#include "turn/relay_sock.h"
#include "turn/turn_dtls_listener.h"

#define READ_BUDGET 64 /* reads per loop turn */

struct turn_udp_listener {
    int fd;
    uint16_t number;
    struct turn_worker *w;
    struct event readable;
};

static void take(struct turn_udp_listener *l, const struct addr *client, const struct udp_msg *m)
{
    struct turn_worker *w = l->w;
    struct five_tuple from = {.client = *client, .listener = l->number};
    uint8_t buf[DISPATCH_ANSWER_MAX];
    struct wr answer = wr_init(buf, sizeof(buf));
    struct relay_to_peer out;

    if (w->dtls && turn_dtls_listener_wants(m)) {
        turn_dtls_listener_take(w->dtls, &from, m);
        return;
    }
    switch (dispatch_client(&w->core, &from, NULL, slice_of(m->p, m->len), worker_now(w->loop),
                            &answer, &out)) {
    case DISPATCH_RELAY:
        relay_sock_send(w, &out);
        break;
    case DISPATCH_ANSWER:
        udp_send_copy(w->io, l->fd, &m->from, wr_done(&answer));
        break;
    case DISPATCH_ANSWER_ELSEWHERE:
        udp_send_copy(w->io, w->udp[w->core.elsewhere_from]->fd, &w->core.elsewhere_to,
                      wr_done(&answer));
        break;
    case DISPATCH_LATER:
    case DISPATCH_BIND: /* TCP and TLS only */
    case DISPATCH_DROP:
        break;
    }
}

/* What a proxy sent begins with a header, each datagram: takes it off. Answers go to the proxy,
 * bare. */
static void take_proxied(struct turn_udp_listener *l, const struct udp_msg *m)
{
    struct turn_core *c = &l->w->core;
    struct proxy2 h;

    if (proxy2_decode(&h, slice_of(m->p, m->len)) != 0 || h.transport == PROXY2_STREAM) {
        turn_metrics_drop(&c->metrics, TURN_DROP_PROXY_HEADER);
        return;
    }
    bool named = h.src.family != ADDR_NONE;
    const struct udp_msg bare = {.from = m->from, .p = m->p + h.len, .len = m->len - h.len};
    if (named)
        c->via = m->from;
    take(l, named ? &h.src : &m->from, &bare);
    c->via = (struct addr){0};
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct turn_udp_listener *l = arg;
    struct udp_msg *msg;

    (void)what;
    unsigned n = udp_recv(l->w->io, fd, READ_BUDGET, &msg);
    for (unsigned i = 0; i < n; i++) {
        if (client_policy_is_proxy(&l->w->core.shared->clients, &msg[i].from))
            take_proxied(l, &msg[i]);
        else
            take(l, &msg[i].from, &msg[i]);
    }
    worker_want_flush(l->w->loop, &l->w->push);
}

int turn_udp_listener_new(struct turn_udp_listener **out, struct turn_worker *w,
                          const struct addr *at, uint16_t number)
{
    struct turn_udp_listener *l = mem_zalloc(sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->w = w;
    l->number = number;
    l->fd = udp_open(at, true, (unsigned)w->conf->udp_buffer_bytes);
    if (l->fd < 0) {
        int err = l->fd;
        mem_free(l);
        return err;
    }
    (void)udp_set_gro(l->fd); /* without it, each datagram is a read of its own */
    if (event_assign(&l->readable, worker_base(w->loop), l->fd, EV_READ | EV_PERSIST, on_readable,
                     l) == -1 ||
        event_add(&l->readable, NULL) == -1) {
        close(l->fd);
        mem_free(l);
        return -ENOMEM;
    }
    *out = l;
    return 0;
}

void turn_udp_listener_free(struct turn_udp_listener *l)
{
    if (!l)
        return;
    event_del(&l->readable);
    close(l->fd);
    mem_free(l);
}

int turn_udp_listener_fd(const struct turn_udp_listener *l)
{
    return l->fd;
}

void turn_udp_listener_send(struct turn_udp_listener *l, const struct addr *client,
                            const struct relay_to_client *out)
{
    udp_send(l->w->io, l->fd, client, slice_of(out->head, out->head_len), out->payload, out->pad);
}

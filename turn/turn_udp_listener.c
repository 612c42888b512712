/* One UDP address that clients send to: batches in, batches out.
 *
 * Called by turn_worker.c. A shell: dispatch.c decides. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_udp_listener.h"

#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/proxy2.h"
#include "turn/dispatch.h"
#include "turn/forward.h"
#include "turn/relay_sock.h"
#include "turn/turn_dtls_listener.h"

struct turn_udp_listener {
    struct udp_sock sock;
    uint16_t number;
    struct turn_worker *w;
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
        if (relay_hop(&w->core, m->mark, &out.mark))
            relay_sock_send(w, &out);
        break;
    case DISPATCH_ANSWER:
        udp_send_copy(&l->sock, &m->from, wr_done(&answer));
        break;
    case DISPATCH_ANSWER_ELSEWHERE:
        udp_send_copy(&w->udp[w->core.elsewhere_from]->sock, &w->core.elsewhere_to,
                      wr_done(&answer));
        break;
    case DISPATCH_FORWARD:
        forward_message(w, &from, slice_of(m->p, m->len));
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
    const struct udp_msg bare = {
        .from = m->from, .p = m->p + h.len, .len = m->len - h.len, .mark = m->mark};
    if (named)
        c->via = m->from;
    take(l, named ? &h.src : &m->from, &bare);
    c->via = (struct addr){0};
}

static void on_recv(void *arg, const struct udp_msg *msg, unsigned n)
{
    struct turn_udp_listener *l = arg;

    for (unsigned i = 0; i < n; i++) {
        if (client_policy_is_proxy(&l->w->core.shared->clients, &msg[i].from))
            take_proxied(l, &msg[i]);
        else
            take(l, &msg[i].from, &msg[i]);
    }
}

static const struct udp_sock_ops ops = {.recv = on_recv};

int turn_udp_listener_new(struct turn_udp_listener **out, struct turn_worker *w,
                          const struct addr *at, uint16_t number)
{
    struct turn_udp_listener *l = mem_zalloc(sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->w = w;
    l->number = number;
    int fd = udp_listen(at, (unsigned)w->conf->udp_buffer_bytes);
    if (fd < 0) {
        mem_free(l);
        return fd;
    }
    (void)udp_set_gro(fd); /* without it, each datagram is a read of its own */
    if (w->conf->ip_headers == TURN_IP_HEADERS_COPY)
        (void)udp_set_marks(fd);
    int err = udp_watch(w->io, &l->sock, fd, true, &ops, l);
    if (err) {
        close(fd);
        mem_free(l);
        return err;
    }
    *out = l;
    return 0;
}

void turn_udp_listener_free(struct turn_udp_listener *l)
{
    if (!l)
        return;
    udp_unwatch(&l->sock);
    close(l->sock.fd);
    mem_free(l);
}

struct udp_sock *turn_udp_listener_sock(struct turn_udp_listener *l)
{
    return &l->sock;
}

void turn_udp_listener_send(struct turn_udp_listener *l, const struct addr *client,
                            const struct relay_to_client *out)
{
    const struct udp_out dgram = {
        client, slice_of(out->head, out->head_len), out->payload, out->pad, out->mark, out->copy};

    udp_send(&l->sock, &dgram);
}

/* The socket of an allocation's relayed address: peers' datagrams in, clients' payloads out.
 *
 * Called through relay_ops by allocate.c, and by the listeners. A shell: what a datagram means is
 * relay.c's business.
 *
 * What one allocation sends to another of ours is handed over in memory (to one of another worker
 * by handover.c), with the same checks, limits and counts on both sides: it saves a send, the
 * loopback device and a read. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/relay_sock.h"

#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "turn/handover.h"

#define ERRORS_MAX 16 /* reports taken from one socket at once */

struct relay_sock {
    struct hnode node; /* in the worker's table, by `at` */
    struct addr at;
    struct udp_sock sock;
    struct turn_worker *w;
    struct alloc *alloc;
};

/* Passes on what routers and peers said about datagrams of ours. */
static void on_error(void *arg)
{
    struct relay_sock *s = arg;
    struct relay_to_client out;
    struct icmp_error e;

    for (unsigned i = 0; i < ERRORS_MAX && icmp_queue_next(s->sock.fd, &e); i++) {
        if (relay_icmp(&s->w->core, s->alloc, &e, worker_now(s->w->loop), &out))
            turn_worker_to_client(s->w, s->alloc, &out);
    }
}

static void on_recv(void *arg, const struct udp_msg *msg, unsigned n)
{
    struct relay_sock *s = arg;
    struct turn_worker *w = s->w;
    struct relay_to_client out;

    for (unsigned i = 0; i < n; i++) {
        struct slice payload = slice_of(msg[i].p, msg[i].len);
        if (relay_from_peer(&w->core, s->alloc, &msg[i].from, payload, worker_now(w->loop), &out) &&
            relay_hop(&w->core, msg[i].mark, &out.mark))
            turn_worker_to_client(w, s->alloc, &out);
    }
}

static const struct udp_sock_ops ops = {on_recv, on_error};

int relay_sock_open(struct turn_worker *w, struct alloc *a, const struct addr *at)
{
    struct relay_sock *s = mem_zalloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->w = w;
    s->alloc = a;
    s->at = *at;
    int fd = udp_open(at, false, 0);
    if (fd < 0) {
        mem_free(s);
        return fd;
    }
    (void)icmp_queue_open(fd); /* without it, clients learn of no ICMP errors */
    (void)udp_set_gro(fd);     /* without it, each datagram is a read of its own */
    if (w->conf->ip_headers == TURN_IP_HEADERS_COPY)
        (void)udp_set_marks(fd);
    int err = udp_watch(w->io, &s->sock, fd, false, &ops, s);
    if (err) {
        close(fd);
        mem_free(s);
        return err;
    }
    htable_add(&w->relays, &s->node, addr_hash(&s->at));
    a->sock = s;
    return 0;
}

void relay_sock_close(struct turn_worker *w, struct alloc *a)
{
    struct relay_sock *s = a->sock;

    if (!s)
        return;
    htable_del(&w->relays, &s->node);
    udp_unwatch(&s->sock);
    close(s->sock.fd);
    mem_free(s);
    a->sock = NULL;
}

/* The socket of this worker at that address, or NULL. */
static struct relay_sock *find(const struct turn_worker *w, const struct addr *at)
{
    if (!turn_shared_relay(w->core.shared, at))
        return NULL;
    for (struct hnode *n = htable_first(&w->relays, addr_hash(at)); n; n = htable_next(n)) {
        struct relay_sock *s = CONTAINER_OF(n, struct relay_sock, node);
        if (addr_eq(&s->at, at))
            return s;
    }
    return NULL;
}

/* As if `to` had read it from its socket. */
static void hand_over(struct relay_sock *to, const struct addr *from, struct slice payload,
                      bool copy)
{
    struct turn_worker *w = to->w;
    struct relay_to_client out;

    if (!relay_from_peer(&w->core, to->alloc, from, payload, worker_now(w->loop), &out))
        return;
    out.copy = copy;
    turn_worker_to_client(w, to->alloc, &out);
}

void relay_sock_take(struct turn_worker *w, const struct addr *to, const struct addr *from,
                     struct slice payload)
{
    struct relay_sock *s = find(w, to);

    if (s)
        hand_over(s, from, payload, false);
    else
        turn_metrics_drop(&w->core.metrics, TURN_DROP_NO_ALLOCATION);
}

void relay_sock_send(struct turn_worker *w, const struct relay_to_peer *out)
{
    struct relay_sock *s = alloc_sock(out->alloc, out->peer.family);
    struct relay_sock *to = find(w, &out->peer);
    const struct udp_out dgram = {
        .to = &out->peer, .body = out->payload, .mark = out->mark, .copy = out->copy};

    if (to) {
        hand_over(to, &s->at, out->payload, out->copy);
        return;
    }
    if (handover_send(w, &s->at, &out->peer, out->payload))
        return;
    if (!out->dont_fragment) {
        udp_send(&s->sock, &dgram);
        return;
    }
    /* DF is the socket's, not the datagram's: send alone what must not be fragmented. */
    udp_push(w->io);
    udp_set_dont_fragment(s->sock.fd, true);
    udp_send(&s->sock, &dgram);
    udp_push(w->io);
    udp_set_dont_fragment(s->sock.fd, false);
}
